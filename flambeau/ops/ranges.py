"""Matrices and vectors made by a rule: identities, even steps, indices of positions."""

from __future__ import annotations

from numbers import Number
from typing import Any

from .. import device as devices
from .. import dtype as dtypes
from .. import primitives as prim
from .. import promotion
from ..dispatch.callforms import call_forms
from ..dispatch.operator import Operand, operator
from ..dtype import dtype as dtype_
from ..tensor import Tensor
from ..transform.level import Wrapper
from . import create, from_data
from .common import factory, give, overridable
from .create import type_of_number

__all__ = ["asarray", "detach", "eye", "linspace", "logspace", "range", "result_type", "unravel_index"]


@operator(name="_identity", method=False, function=False, differentiable=False)
def _identity(n: int, m: int, dtype: dtype_) -> Tensor:
    """Ones on the diagonal of a matrix of zeros."""
    g = prim.current().graph
    same = g.apply("eq", g.iota((n, m), 0), g.iota((n, m), 1))
    return prim.wrap(g.apply("select", same, g.const(1, dtype.code, (n, m)), g.const(0, dtype.code, (n, m))))


def _given(made: Tensor, out: Tensor | None, requires_grad: bool) -> Tensor:
    if out is not None:
        return give(made, out)
    return made.requires_grad_(True) if requires_grad else made  # type: ignore[attr-defined]


@factory
def eye(
    n: int, m: int | None = None, *, out: Tensor | None = None, dtype: dtype_ | None = None, layout: Any = None,
    device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """A matrix (n, m) with ones on the diagonal and zeros elsewhere.  Raises RuntimeError for negative sizes."""
    columns = n if m is None else m
    for what, size in (("n", n), ("m", columns)):
        if size < 0:
            raise RuntimeError(f"{what} must be greater or equal to 0, got {size}")
    create.check_out("eye", out, dtype, device)
    kind = dtype or (out.dtype if out is not None else dtypes.get_default_dtype())
    if devices.of(device) is devices.meta:
        return create.empty((n, columns), dtype=kind, device=device, requires_grad=requires_grad)
    return _given(_identity.function(n, columns, kind), out, requires_grad)


@operator(name="_linear_steps", method=False, function=False)
def _linear_steps(start: Operand, end: Operand, steps: int, dtype: dtype_) -> Tensor:
    """Even steps from ``start`` to ``end``: the first half counted from the start, the second from the end, so that
    both ends are exact."""
    g = prim.current().graph
    work = "c128" if dtype.is_complex else "f64"
    index = g.iota((steps,), 0)
    ends = [prim.read(x) for x in (start, end)]
    if dtype.kind in "iu":  # the ends are integers too: the steps run between those
        ends = [g.cast(x, dtype.code) for x in ends]
    first, last = (g.cast(x, work) for x in ends)
    step = g.apply("div", g.apply("sub", last, first), g.const(max(steps - 1, 1), work))
    up = g.apply("add", first, g.apply("mul", step, g.cast(index, work)))
    down = g.apply("sub", last, g.apply("mul", step, g.cast(g.apply("sub", g.const(steps - 1, "i64"), index), work)))
    found = g.apply("select", g.apply("lt", index, g.const(steps // 2 if steps > 1 else 1, "i64")), up, down)
    return prim.wrap(g.cast(g.expand(found, (steps,)), dtype.code))


_linear_steps.without_gradient()


def _numbers(name: str, start: Any, end: Any, steps: Any) -> tuple[Any, Any, bool]:
    for which, x in (("start", start), ("end", end)):
        if not isinstance(x, (Tensor, Number)):
            raise TypeError(f"{name}(): argument '{which}' must be a number or a Tensor, not {type(x).__name__}")
        if isinstance(x, Tensor) and x.ndim:
            raise RuntimeError(
                f"{name} only supports 0-dimensional start and end tensors, but got {x.ndim} dimension(s)."
            )
    if not isinstance(steps, int) or isinstance(steps, bool):
        raise TypeError(f"{name}(): argument 'steps' must be int, not {type(steps).__name__}")
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    values = [x.item() if isinstance(x, Tensor) and not isinstance(x, Wrapper) else x for x in (start, end)]  # type: ignore[attr-defined]
    return (
        values[0],
        values[1],
        any(v.is_complex() if isinstance(v, Tensor) else isinstance(v, complex) for v in values),
    )  # type: ignore[attr-defined]


def _kind(out: Tensor | None, complex_: bool) -> dtype_:
    """The element type of the numbers if none is asked for."""
    if out is not None:
        return out.dtype
    default = dtypes.get_default_dtype()
    return default.to_complex() if complex_ else default


@factory
def linspace(
    start: Any, end: Any, steps: int, *, out: Tensor | None = None, dtype: dtype_ | None = None, layout: Any = None,
    device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``steps`` numbers from ``start`` to ``end``, both included, in even steps."""
    steps = int(steps) if isinstance(steps, Tensor) else steps
    create.check_out("linspace", out, dtype, device)
    first, last, complex_ = _numbers("linspace", start, end, steps)
    kind = dtype or _kind(out, complex_)
    if devices.of(device) is devices.meta:
        return create.empty((steps,), dtype=kind, device=device, requires_grad=requires_grad)
    return _given(_linear_steps.function(first, last, steps, kind), out, requires_grad)


@factory
def logspace(
    start: Any, end: Any, steps: int, base: float = 10.0, *, out: Tensor | None = None, dtype: dtype_ | None = None,
    layout: Any = None,
    device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``base`` to the power of ``linspace(start, end, steps)``."""
    steps = int(steps) if isinstance(steps, Tensor) else steps
    create.check_out("logspace", out, dtype, device)
    first, last, complex_ = _numbers("logspace", start, end, steps)
    kind = dtype or _kind(out, complex_)
    if devices.of(device) is devices.meta:
        return create.empty((steps,), dtype=kind, device=device, requires_grad=requires_grad)
    if kind.kind in "iu":  # the exponents lie between integers
        first, last = int(first), int(last)
    wide = dtypes.complex128 if kind.is_complex else dtypes.float64
    powers: Any = create.full((), base, dtype=wide) ** _linear_steps.function(first, last, steps, wide)
    return _given(powers.to(kind), out, requires_grad)


@factory
@call_forms(
    "range(start, end, step=1, *, out=None, dtype=None, layout=torch.strided, device=None, requires_grad=False)",
    "range(end, *, out=None, dtype=None, layout=torch.strided, device=None, requires_grad=False)",
)
def range(
    start: Any = 0, end: Any = None, step: Any = 1, *, out: Tensor | None = None, dtype: dtype_ | None = None,
    layout: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False,
) -> Tensor:  # fmt: skip
    """``start, start + step, ...`` up to and with ``end``; the default floating type.  ``arange`` is what one wants."""
    if end is None:
        start, end = 0, start
    create.check_out("range", out, dtype, device)
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError(
            f"range: upper bound and lower bound inconsistent with step sign: from {start} to {end} by {step}"
        )
    count = int((end - start) / step) + 1
    made: Any = create.arange(0, count, dtype=dtypes.float64, device=device) * step + start
    return _given(made.to(dtype or dtypes.get_default_dtype()), out, requires_grad)


@overridable
def unravel_index(indices: Tensor, shape: Any) -> tuple[Tensor, ...]:
    """The index along each dimension of ``shape`` of row-major positions (negative ones count from the end)."""
    if indices.dtype.kind not in "ui":
        raise TypeError(f"expected 'indices' to be integer dtype, but got {indices.dtype}")
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if any(n < 0 for n in sizes):
        raise ValueError(f"'shape' cannot have negative values, but got {sizes}")
    found: list[Tensor] = []
    rest: Any = indices.to(dtypes.int64)  # type: ignore[attr-defined]
    for n in reversed(sizes):
        found.append(rest % n)
        rest = rest.div(n, rounding_mode="floor")
    return tuple(reversed(found))


@call_forms(
    "result_type(tensor1, tensor2)", "result_type(tensor, other)", "result_type(scalar, tensor)",
    "result_type(scalar1, scalar2)",
)  # fmt: skip
def result_type(*args: Any, **kwargs: Any) -> dtype_:
    """The element type of arithmetic on two operands, tensors or numbers."""
    if not {"tensor1", "tensor2", "tensor", "other", "scalar", "scalar1", "scalar2"}.issuperset(kwargs):
        raise TypeError(f"result_type() got an unexpected keyword argument '{next(reversed(kwargs))}'")
    given = [*args, *kwargs.values()]
    if len(given) != 2:
        raise TypeError(f"result_type() takes 2 arguments but {len(given)} were given")
    operands = []
    for x in given:
        if isinstance(x, Tensor):
            operands.append(x)
        else:
            operands.append(create.empty((), dtype=type_of_number(x)))
            operands[-1]._weak = True
    return promotion.result_type(operands)


@factory
def asarray(
    obj: Any, *, dtype: dtype_ | None = None, device: Any = None, copy: bool | None = None, requires_grad: bool = False
) -> Tensor:
    """``obj`` as a tensor: sharing its memory where it can unless ``copy`` is True.  Raises ValueError if ``copy`` is
    False and it cannot."""
    made = (
        from_data.as_tensor(obj, dtype=dtype, device=device)
        if not copy
        else from_data.tensor(obj, dtype=dtype, device=device)
    )
    if copy is False and isinstance(obj, Tensor) and made._storage is not obj._storage:
        raise ValueError("can't alias tensor: another type or device needs a copy")
    if requires_grad != made._requires_grad:
        made = made.detach().requires_grad_(requires_grad)  # type: ignore[attr-defined]
    return made


@overridable
def detach(input: Tensor) -> Tensor:
    """The same memory without a history."""
    return input.detach()  # type: ignore[attr-defined]
