"""Derivatives of functions: products with Jacobians and Hessians, and the matrices themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import ops
from ..tensor import Tensor
from ..transform.level import Batched, Dual, Level, levels, vmap_level
from .api import grad
from .mode import enable_grad

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

Several = Any  # Tensor | tuple[Tensor, ...]


def _as_tuple(what: Any, name: str, function: str) -> tuple[bool, tuple[Any, ...]]:
    """(whether it was a tuple, the tensors); raises TypeError for anything else."""
    several = isinstance(what, (tuple, list))
    found = tuple(what) if several else (what,)
    for index, item in enumerate(found):
        if not isinstance(item, Tensor):
            which = f"value at index {index}" if several else f"given {name}"
            raise TypeError(
                f"The {name} given to {function} must be either a Tensor or a tuple of Tensors but the {which} has "
                f"type {type(item)}."
            )
    return several, found


def _prepare(inputs: Sequence[Any], create_graph: bool) -> tuple[Any, ...]:
    """Inputs to differentiate by: still part of the caller's graph only if one is to be created."""
    if not create_graph:
        return tuple(x.detach().requires_grad_() for x in inputs)
    return tuple(x.view_as(x) if x._requires_grad else x.detach().requires_grad_() for x in inputs)


def _finish(what: Sequence[Any], create_graph: bool) -> tuple[Any, ...]:
    return tuple(what) if create_graph else tuple(x.detach() for x in what)


def _shape_like(found: Sequence[Any], several: bool) -> Any:
    return tuple(found) if several else found[0]


def _check_outputs(outputs: Sequence[Any], function: str, strict: bool) -> None:
    if not strict:
        return
    for index, output in enumerate(outputs):
        if not output._requires_grad:
            raise RuntimeError(
                f"Output {index} of the user-provided function does not require gradient. The outputs must be computed "
                f"in a differentiable manner from the input when running {function} in strict mode."
            )


def _directions(v: Any, like: Sequence[Any], name: str, function: str) -> tuple[Any, ...]:
    """The vectors ``v``, of the shapes of ``like``; a one for a scalar when there are none."""
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(
                f"The vector v can only be None if the {name} of {function} is a single Tensor with a single element."
            )
        return (like[0].new_ones(like[0].shape),)
    _, found = _as_tuple(v, "v", function)
    if len(found) != len(like):
        raise RuntimeError(f"v is a tuple of invalid length: should be {len(like)} but got {len(found)}.")
    for index, (vector, tensor) in enumerate(zip(found, like)):
        if vector.shape != tensor.shape:
            where = f"Entry {index} in v" if len(like) > 1 else "v"
            raise RuntimeError(f"{where} has invalid size: should be {tensor.shape} but got {vector.shape}.")
    return found


def _derivatives(
    outputs: Sequence[Any], inputs: Sequence[Any], seeds: Sequence[Any], create_graph: bool
) -> tuple[Any, ...]:
    """``grad``, also where no output depends on an input (None)."""
    pairs = [(out, seed) for out, seed in zip(outputs, seeds) if out._requires_grad]
    if not pairs:
        return (None,) * len(inputs)
    return grad(
        [out for out, _ in pairs],
        inputs,
        [seed for _, seed in pairs],
        create_graph=create_graph,
        retain_graph=True,
        allow_unused=True,
    )


def _fill(found: Sequence[Any], like: Sequence[Any], strict: bool, function: str, what: str) -> tuple[Any, ...]:
    """Zeros in the place of missing derivatives, which ``strict`` refuses."""
    filled = []
    for index, (derivative, tensor) in enumerate(zip(found, like)):
        if derivative is None:
            if strict:
                raise RuntimeError(
                    f"{what} is independent of entry {index} of the inputs. This is not allowed when running "
                    f"{function} in strict mode."
                )
            derivative = tensor.new_zeros(tensor.shape)
        filled.append(derivative)
    return tuple(filled)


def vjp(
    func: Callable[..., Any], inputs: Several, v: Several = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(``func(*inputs)``, the product of ``v`` with its Jacobian).

    ``v`` has the shape of the outputs; it may be left out for one scalar output.  ``strict`` raises RuntimeError where
    an output does not depend on an input (otherwise the derivative is zero).
    """
    with enable_grad():
        several, given = _as_tuple(inputs, "inputs", "vjp")
        xs = _prepare(given, create_graph)
        several_out, outputs = _as_tuple(func(*xs), "outputs of the user-provided function", "vjp")
        _check_outputs(outputs, "vjp", strict)
        seeds = _directions(v, outputs, "output", "vjp")
        found = _derivatives(outputs, xs, seeds, create_graph)
        found = _fill(found, xs, strict, "vjp", "The output of the user-provided function")
    return (
        _shape_like(_finish(outputs, create_graph), several_out),
        _shape_like(_finish(found, create_graph), several),
    )


def _push(outputs: Sequence[Any], xs: Sequence[Any], directions: Sequence[Any], create_graph: bool) -> tuple[Any, ...]:
    """The product of the Jacobian with ``directions``: the derivative of v -> v'J along them ("double backward")."""
    dual = tuple(out.new_zeros(out.shape).requires_grad_() for out in outputs)
    first = _derivatives(outputs, xs, dual, True)
    used = [(g, direction) for g, direction in zip(first, directions) if g is not None]
    return _derivatives([g for g, _ in used], dual, [direction for _, direction in used], create_graph)


def jvp(
    func: Callable[..., Any], inputs: Several, v: Several = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(``func(*inputs)``, the product of its Jacobian with ``v``).

    ``v`` has the shape of the inputs; it may be left out for one scalar input.
    """
    with enable_grad():
        _, given = _as_tuple(inputs, "inputs", "jvp")
        xs = _prepare(given, create_graph)
        directions = _directions(v, xs, "input", "jvp")
        several_out, outputs = _as_tuple(func(*xs), "outputs of the user-provided function", "jvp")
        _check_outputs(outputs, "jvp", strict)
        found = _push(outputs, xs, directions, create_graph)
        found = _fill(found, outputs, strict, "jvp", "The output of the user-provided function")
    return (
        _shape_like(_finish(outputs, create_graph), several_out),
        _shape_like(_finish(found, create_graph), several_out),
    )


def jacobian(
    func: Callable[..., Any],
    inputs: Several,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """The Jacobian of ``func``: for each output and input a tensor of shape ``output.shape + input.shape``.

    A tuple where there are several outputs or inputs, a tuple of tuples for both.  ``vectorize`` computes all rows at
    once (``vmap``); ``strategy="forward-mode"``, which needs it, all columns.
    """
    if strategy not in ("reverse-mode", "forward-mode"):
        raise AssertionError(
            'Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your function has more outputs '
            'than inputs, "forward-mode" tends to be more performant. Otherwise, prefer to use "reverse-mode".'
        )
    if strategy == "forward-mode" and create_graph:
        raise NotImplementedError(
            'torch.autograd.functional.jacobian: `create_graph=True` and `strategy="forward-mode"` are not supported '
            "together (yet)."
        )
    if strategy == "forward-mode":
        if strict:
            raise RuntimeError(
                'torch.autograd.functional.jacobian: `strict=True` and `strategy="forward-mode"` are not supported '
                'together (yet). Please either set `strict=False` or `strategy="reverse-mode"`.'
            )
        if not vectorize:
            raise NotImplementedError(
                "Computing Jacobian using forward-AD or forward-over-reverse Hessian is only implemented for "
                "`vectorize=True`."
            )
        return _columns(func, inputs)
    if strict and vectorize:
        raise RuntimeError(
            "torch.autograd.functional.jacobian: `strict=True` and `vectorized=True` are not supported together. "
            "Please either set `strict=False` or `vectorize=False`."
        )
    with enable_grad():
        several, given = _as_tuple(inputs, "inputs", "jacobian")
        xs = _prepare(given, create_graph)
        several_out, outputs = _as_tuple(func(*xs), "outputs of the user-provided function", "jacobian")
        _check_outputs(outputs, "jacobian", strict)
        if vectorize:
            rows = [_rows_at_once(output, xs, create_graph) for output in outputs]
        else:
            rows = [_rows(index, output, xs, create_graph, strict) for index, output in enumerate(outputs)]
    shaped = [_shape_like(_finish(row, create_graph), several) for row in rows]
    return _shape_like(shaped, several_out)


def _rows(index: int, output: Any, xs: Sequence[Any], create_graph: bool, strict: bool) -> list[Any]:
    """The derivatives of every element of one output by every input."""
    flat = output.reshape(-1)
    columns: list[list[Any]] = [[] for _ in xs]
    for element in range(flat.numel()):
        seed = flat.new_zeros(flat.shape)
        seed[element] = 1
        found = _derivatives([flat], xs, [seed], create_graph)
        found = _fill(found, xs, strict, "jacobian", f"Output {index} of the user-provided function")
        for column, derivative in zip(columns, found):
            column.append(derivative)
    return [
        ops.stack(column).reshape(output.shape + x.shape) if column else output.new_zeros(output.shape + x.shape)
        for column, x in zip(columns, xs)
    ]


def _rows_at_once(output: Any, xs: Sequence[Any], create_graph: bool) -> list[Any]:
    """``_rows``, for all elements of the output together."""
    size = output.numel()
    found: Sequence[Any] = [None] * len(xs)
    if size and output._requires_grad:
        seeds = ops.eye(size, dtype=output.dtype, device=output.device).reshape((size, *output.shape))
        found = grad(
            [output], xs, [seeds], retain_graph=True, create_graph=create_graph, allow_unused=True,
            is_grads_batched=True,
        )  # fmt: skip
    shapes = [(*output.shape, *x.shape) for x in xs]
    return [x.new_zeros(s) if g is None else g.reshape(s) for g, x, s in zip(found, xs, shapes)]


def _columns(func: Callable[..., Any], inputs: Several) -> Any:
    """The Jacobian by columns: the derivatives along the unit vectors of all inputs together."""
    several, given = _as_tuple(inputs, "inputs", "jacobian")
    counts = [x.numel() for x in given]
    total = sum(counts)
    with vmap_level(total) as batch:
        forward = levels.push()
        try:
            duals, start = [], 0
            for x, n in zip(given, counts):
                unit = x.new_zeros((total, n))
                unit.diagonal(-start).fill_(1)
                direction = Batched.of(unit.reshape((total, *x.shape)), 0, batch)
                duals.append(Dual.of(x.detach(), direction, forward))
                start += n
            several_out, outputs = _as_tuple(func(*duals), "outputs of the user-provided function", "jacobian")
            parts = [
                (y._value, y._tangent) if isinstance(y, Dual) and y._level is forward else (y, None) for y in outputs
            ]
        finally:
            levels.pop(forward)
        blocks = [_finish(_column_blocks(y, t, given, counts, total, batch), False) for y, t in parts]
    return _shape_like([_shape_like(block, several) for block in blocks], several_out)


def _column_blocks(
    y: Any, tangent: Any, xs: Sequence[Any], counts: Sequence[int], total: int, batch: Level
) -> list[Any]:  # fmt: skip
    """The derivatives of one output by every input, from those along all unit vectors."""
    shape = tuple(y.shape)
    if isinstance(tangent, Batched) and tangent._level is batch:
        columns = tangent._value.movedim(tangent._bdim, -1)  # type: ignore[attr-defined]
    elif tangent is not None:
        columns = tangent.unsqueeze(-1).expand((*shape, total))
    else:
        columns = xs[0].new_zeros((*shape, total), dtype=y.dtype)
    return [part.reshape((*shape, *x.shape)) for part, x in zip(columns.split(list(counts), -1), xs)]


def _scalar(output: Any, function: str) -> Any:
    if not isinstance(output, Tensor):
        raise RuntimeError(f"The function given to {function} should return a single Tensor")
    if output._layout.numel != 1:
        raise RuntimeError(f"The Tensor returned by the function given to {function} should contain a single element")
    return output.squeeze()  # type: ignore[attr-defined]


def hessian(
    func: Callable[..., Any],
    inputs: Several,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """The Hessian of a scalar function: for each pair of inputs a tensor of shape ``a.shape + b.shape``."""
    several, given = _as_tuple(inputs, "inputs", "hessian")
    if outer_jacobian_strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')

    def gradient(*xs: Any) -> Any:
        if outer_jacobian_strategy == "forward-mode":
            xs = tuple(x.requires_grad_() for x in xs)
        found = jacobian(
            lambda *args: _scalar(func(*args), "hessian"), xs, create_graph=True, strict=strict, vectorize=vectorize
        )
        return found if several else found[0]

    return jacobian(
        gradient,
        given if several else given[0],
        create_graph=create_graph,
        strict=strict,
        vectorize=vectorize,
        strategy=outer_jacobian_strategy,
    )


def vhp(
    func: Callable[..., Any], inputs: Several, v: Several = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(``func(*inputs)``, the product of ``v`` with its Hessian) of a scalar ``func``; ``v`` has the inputs' shapes."""
    return _hessian_product("vhp", _derivatives, func, inputs, v, create_graph, strict)


def hvp(
    func: Callable[..., Any], inputs: Several, v: Several = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """(``func(*inputs)``, the product of its Hessian with ``v``) of a scalar ``func``; ``v`` has the inputs' shapes."""
    return _hessian_product("hvp", _push, func, inputs, v, create_graph, strict)


def _hessian_product(
    name: str, differentiate: Callable[..., Any], func: Callable[..., Any], inputs: Several, v: Several,
    create_graph: bool, strict: bool,
) -> tuple[Any, Any]:  # fmt: skip
    """``func``'s value, and its gradient differentiated with ``v``: backwards, or along it."""
    with enable_grad():
        several, given = _as_tuple(inputs, "inputs", name)
        xs = _prepare(given, create_graph)
        directions = _directions(v, xs, "input", name)
        output, first = _gradient(func, xs, strict, name)
        found = differentiate(first, xs, directions, create_graph)
        found = _fill(found, xs, strict, name, "The gradient of the user-provided function")
    return _finish([output], create_graph)[0], _shape_like(_finish(found, create_graph), several)


def _gradient(func: Callable[..., Any], xs: Sequence[Any], strict: bool, function: str) -> tuple[Any, tuple[Any, ...]]:
    """A scalar function's value, and its gradient as part of the graph."""
    value = func(*xs)
    output = _scalar(value, function)
    _check_outputs([output], function, strict)
    first = _derivatives([output], xs, [output.new_ones(output.shape)], True)
    return value, _fill(first, xs, strict, function, "The output of the user-provided function")
