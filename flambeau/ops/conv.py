"""Convolution and its transpose, in one to three dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import index
from typing import Any

from .. import primitives as prim
from .. import template
from ..autograd.mode import state as grad_state
from ..deferred.deferral import threads
from ..deferred.record import Recipe
from ..dispatch.operator import operator
from ..dispatch.waiting import recall, remember, wait
from ..tensor import Tensor
from .arithmetic import conj_of
from .convert import as_image
from .products import same_type

__all__: list[str] = []


_INT = frozenset({int})


def per_dim(value: int | Sequence[int], ndim: int, what: str, name: str) -> tuple[int, ...]:
    """An argument such as stride, for every spatial dimension; raises RuntimeError for another number of values."""
    if value.__class__ is tuple and len(value) == ndim and _INT.issuperset(map(type, value)):  # type: ignore[arg-type]
        return value  # type: ignore[return-value]
    if isinstance(value, (tuple, list)):
        if len(value) == 1:
            value = value[0]
        elif len(value) != ndim:
            raise RuntimeError(
                f"{name}: expected {what} to be a single integer value or a list of {ndim} values "
                f"to match the convolution dimensions, but got {what}={list(value)}"
            )
        else:
            return tuple(index(v) for v in value)
    return (index(value),) * ndim  # type: ignore[arg-type]


def _check(
    name: str,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    transposed: bool,
) -> None:
    ndim = weight.ndim - 2
    if input.ndim != weight.ndim:
        raise RuntimeError(
            f"Expected {ndim + 1}D (unbatched) or {ndim + 2}D (batched) input to {name}, but got "
            f"input of size: {list(input.shape)}"
        )
    if any(s <= 0 for s in stride):
        raise RuntimeError(f"{name}: non-positive stride is not supported, got {tuple(stride)}")
    if any(d <= 0 for d in dilation):
        raise RuntimeError(f"{name}: dilation should be greater than zero, got {tuple(dilation)}")
    if groups <= 0:
        raise RuntimeError(f"{name}: non-positive groups is not supported, got {groups}")
    channels = weight.shape[0] if transposed else weight.shape[1] * groups
    if input.shape[1] != channels or weight.shape[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, weight of size {list(weight.shape)}, expected "
            f"input{list(input.shape)} to have {channels} channels, but got {input.shape[1]} "
            "channels instead"
        )
    out = weight.shape[1] * groups if transposed else weight.shape[0]
    if bias is not None and (bias.ndim != 1 or bias.shape[0] != out):
        raise RuntimeError(
            f"Given weight of size {list(weight.shape)}, expected bias to be 1-dimensional with "
            f"{out} elements, but got bias of size {list(bias.shape)} instead"
        )
    same_type(name, input, weight)
    if bias is not None:
        same_type(name, input, bias)


@operator(name="_convolution", method=False, function=False)
def convolution_kernel(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Tensor:
    """Batched convolution: (n, c, *spatial) with (out, c/groups, *kernel) gives (n, out, *places)."""
    _check(f"conv{weight.ndim - 2}d", input, weight, bias, stride, dilation, groups, False)
    places = []
    for n, k, s, p, d in zip(input.shape[2:], weight.shape[2:], stride, padding, dilation):
        reach = d * (k - 1) + 1
        if n + 2 * p < reach:
            raise RuntimeError(
                f"Calculated padded input size per channel: ({n + 2 * p}). Kernel size: ({reach}). "
                "Kernel size can't be greater than actual input size"
            )
        places.append((n + 2 * p - reach) // s + 1)
    shape = (input.shape[0], weight.shape[0], *places)
    if 0 in shape or 0 in input.shape or 0 in weight.shape:
        return _only_bias(bias, shape, input)
    made = _contracted(
        lambda *operands: template.extern.Conv(stride, padding, dilation, groups, len(operands) > 2),
        input,
        weight,
        bias,
        shape,
    )
    return as_image(made, input, weight)


def _contracted(spec: Callable[..., object], a: Tensor, b: Tensor, bias: Tensor | None, shape: Sequence[int]) -> Tensor:
    """The template's result; of complex operands by four products of their parts."""
    if not a.dtype.is_complex:
        operands = [_in_runs(x) for x in ([a, b] if bias is None else [a, b, bias])]
        return prim.extern(spec(*operands), operands, [(shape, a.dtype)])[0]
    ar, ai, br, bi = (prim.part(p, x) for x in (a, b) for p in ("real", "imag"))
    cr, ci = (None, None) if bias is None else (prim.part("real", bias), prim.part("imag", bias))
    re = prim.apply("sub", _contracted(spec, ar, br, cr, shape), _contracted(spec, ai, bi, None, shape))
    im = prim.apply("add", _contracted(spec, ar, bi, ci, shape), _contracted(spec, ai, br, None, shape))
    return prim.join(re, im)


def _in_runs(x: Tensor) -> Tensor:
    """An operand, or a copy of one of which neither pixels nor channels lie side by side: it is read many times."""
    node = prim.read(x)
    if node.op != "input" or x.ndim < 3 or 1 in (node.attrs[1][1], node.attrs[1][-1]):
        return x
    return prim.wrap(prim.current().graph.in_memory(node))


def _only_bias(bias: Tensor | None, shape: Sequence[int], like: Tensor) -> Tensor:
    """A result to which no product contributes."""
    g = prim.current().graph
    if bias is None:
        return prim.const(0, like.dtype, shape)
    return prim.wrap(g.expand(g.reshape(prim.read(bias), (bias.shape[0],) + (1,) * (len(shape) - 2)), shape))


@convolution_kernel.gradient("input:weight", "weight:input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    geometry = (ctx.stride, ctx.padding, ctx.dilation, ctx.groups)
    dx = dw = db = None
    if ctx.needs("input"):
        extra = output_padding(
            ctx.shape("input")[2:], grad.shape[2:], ctx.shape("weight")[2:], ctx.stride, ctx.padding, ctx.dilation
        )
        dx = transpose_kernel.function(
            grad, conj_of(ctx.weight), None, ctx.stride, ctx.padding, extra, ctx.groups, ctx.dilation
        )
    if ctx.needs("weight"):
        dw = convolution_weight.function(conj_of(ctx.input), tuple(ctx.shape("weight")), grad, *geometry)
    if ctx.needs("bias"):
        db = grad.sum((0, *range(2, grad.ndim)))
    return dx, dw, db


def output_padding(
    sizes: Sequence[int],
    places: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> tuple[int, ...]:
    """What the transposed convolution of ``places`` has to add to come out at ``sizes``."""
    return tuple(
        n - ((o - 1) * s - 2 * p + d * (k - 1) + 1)
        for n, o, k, s, p, d in zip(sizes, places, kernel, stride, padding, dilation)
    )


@operator(name="_convolution_transpose", method=False, function=False)
def transpose_kernel(
    input: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...], padding: tuple[int, ...],
    output_padding: tuple[int, ...],
    groups: int, dilation: tuple[int, ...],
) -> Tensor:  # fmt: skip
    """Batched transposed convolution: (n, c, *places) with (c, out/groups, *kernel) gives (n, out, *spatial)."""
    _check(f"conv_transpose{weight.ndim - 2}d", input, weight, bias, stride, dilation, groups, True)
    sizes = [
        (o - 1) * s - 2 * p + d * (k - 1) + 1 + e
        for o, k, s, p, d, e in zip(input.shape[2:], weight.shape[2:], stride, padding, dilation, output_padding)
    ]
    if any(n < 0 for n in sizes):
        raise RuntimeError(
            f"Given input size per channel: {list(input.shape[2:])}. Calculated output size per "
            f"channel: {sizes}. Output size is too small"
        )
    shape = (input.shape[0], weight.shape[1] * groups, *sizes)
    if 0 in shape or 0 in input.shape or 0 in weight.shape:
        return _only_bias(bias, shape, input)
    made = _contracted(
        lambda *operands: template.extern.ConvTranspose(stride, padding, dilation, groups, len(operands) > 2),
        input,
        weight,
        bias,
        shape,
    )
    return as_image(made, input, weight)


@transpose_kernel.gradient("input:weight", "weight:input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    dx = dw = db = None
    if ctx.needs("input"):
        dx = convolution_kernel.function(
            grad, conj_of(ctx.weight), None, ctx.stride, ctx.padding, ctx.dilation, ctx.groups
        )
        dx = _cropped(dx, ctx.shape("input"))
    if ctx.needs("weight"):
        dw = convolution_weight.function(
            grad, tuple(ctx.shape("weight")), conj_of(ctx.input), ctx.stride, ctx.padding, ctx.dilation, ctx.groups
        )
    if ctx.needs("bias"):
        db = grad.sum((0, *range(2, grad.ndim)))
    return dx, dw, db


def _cropped(x: Tensor, shape: Sequence[int]) -> Tensor:
    for d in range(2, x.ndim):
        if x.shape[d] != shape[d]:
            x = x.narrow(d, 0, shape[d])  # type: ignore[attr-defined]
    return x


@operator(name="_convolution_weight", method=False, function=False)
def convolution_weight(
    input: Tensor, weight_size: tuple[int, ...], grad_output: Tensor, stride: tuple[int, ...], padding: tuple[int, ...],
    dilation: tuple[int, ...],
    groups: int,
) -> Tensor:  # fmt: skip
    """The gradient of a convolution by its weights (without conjugation): the sum of ``input * grad_output`` over
    images and places."""
    if 0 in input.shape or 0 in grad_output.shape or 0 in weight_size:
        return prim.const(0, input.dtype, weight_size)
    reached = [
        template.conv_problem.output_size(n, k, s, p, d)
        for n, k, s, p, d in zip(input.shape[2:], weight_size[2:], stride, padding, dilation, strict=True)
    ]
    if tuple(reached) != tuple(
        grad_output.shape[2:]
    ):  # output padding of a transposed convolution made room for further places
        full = prim.const(0, grad_output.dtype, (*grad_output.shape[:2], *reached))
        grad_output = prim.update(full, grad_output, tuple((0, ((d, 1),)) for d in range(grad_output.ndim)))
    made = _contracted(
        lambda *_: template.extern.ConvWeight(stride, padding, dilation, groups), input, grad_output, None, weight_size
    )
    return as_image(made, input, grad_output)


@convolution_weight.gradient("input", "grad_output")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    x, dy = ctx.shape("input"), ctx.shape("grad_output")
    dx = ddy = None
    if ctx.needs("input"):
        extra = output_padding(x[2:], dy[2:], ctx.weight_size[2:], ctx.stride, ctx.padding, ctx.dilation)
        dx = transpose_kernel.function(
            conj_of(ctx.grad_output), grad, None, ctx.stride, ctx.padding, extra, ctx.groups, ctx.dilation
        )
    if ctx.needs("grad_output"):
        ddy = _cropped(
            convolution_kernel.function(
                conj_of(ctx.input), grad, None, ctx.stride, ctx.padding, ctx.dilation, ctx.groups
            ),
            dy,
        )
    return dx, ddy


def _same_padding(
    name: str, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], padding: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(padding on both sides, further padding at the end) for "same" and "valid"."""
    if padding == "valid":
        return (0,) * len(kernel), (0,) * len(kernel)
    if padding != "same":
        raise RuntimeError(f"{name}: Invalid padding string: '{padding}'; expected 'same' or 'valid'")
    if any(s != 1 for s in stride):
        raise RuntimeError(
            f"{name}: padding='same' is not supported for strided convolutions; stride is {list(stride)}"
        )
    total = [d * (k - 1) for k, d in zip(kernel, dilation)]
    return tuple(t // 2 for t in total), tuple(t % 2 for t in total)


def _define(ndim: int) -> None:
    name = f"conv{ndim}d"
    seen: dict[Any, Recipe] = {}

    def body(
        input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1, groups: int = 1,
    ) -> Tensor:  # fmt: skip
        recorder, key = threads.deferral, None
        if recorder.waits or recorder.depth:
            layouts = input._layout, weight._layout, None if bias is None else bias._layout
            key = (*layouts, stride, padding, dilation, groups)
            found = recall(seen, key, (input, weight, bias))
            if found is not None:
                return found  # type: ignore[no-any-return]
        steps, spread = per_dim(stride, ndim, "stride", name), per_dim(dilation, ndim, "dilation", name)
        batched = input.ndim == ndim + 2
        if weight.ndim != ndim + 2 or input.ndim not in (ndim + 1, ndim + 2):
            raise RuntimeError(
                f"Expected {ndim + 1}D (unbatched) or {ndim + 2}D (batched) input to {name}, but "
                f"got input of size: {list(input.shape)}"
            )
        x = input if batched else input.unsqueeze(0)  # type: ignore[attr-defined]
        if isinstance(padding, str):
            around, more = _same_padding(name, weight.shape[2:], steps, spread, padding)
            if any(more):
                x = _pad.function(x, more)
        else:
            around = per_dim(padding, ndim, "padding", name)
            if min(around) < 0:
                raise RuntimeError("negative padding is not supported")
        y = wait(convolution_kernel, (x, weight, bias), (steps, around, spread, groups))
        if key is not None and x is input and y._storage.pending is not None and not grad_state.grad:
            remember(seen, key, convolution_kernel, (x, weight, bias, steps, around, spread, groups))
        return y if batched else y.squeeze(0)  # type: ignore[no-any-return]

    body.__name__, body.__module__ = name, __name__
    body.__doc__ = f"""Convolution over {ndim} dimension{"s" if ndim > 1 else ""}: input (n, c, ...) or (c, ...), weight
    (out, c/groups, kernel...).

    ``padding`` may be "same" or "valid".  Raises RuntimeError for sizes that do not fit."""
    operator(kind="composite", method=False, out=False)(body)


@operator(name="_pad_end", method=False, function=False)
def _pad(input: Tensor, more: tuple[int, ...]) -> Tensor:
    """Zeros after the end of the last dimensions."""
    lead = input.ndim - len(more)
    shape = (*input.shape[:lead], *(n + m for n, m in zip(input.shape[lead:], more)))
    return prim.update(prim.const(0, input.dtype, shape), input, tuple((0, ((d, 1),)) for d in range(input.ndim)))


@_pad.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return _cropped(grad, ctx.shape("input"))


def _define_transpose(ndim: int) -> None:
    name = f"conv_transpose{ndim}d"

    def body(
        input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0, groups: int = 1, dilation: int | Sequence[int] = 1,
    ) -> Tensor:  # fmt: skip
        steps, spread = per_dim(stride, ndim, "stride", name), per_dim(dilation, ndim, "dilation", name)
        around, extra = per_dim(padding, ndim, "padding", name), per_dim(output_padding, ndim, "output_padding", name)
        for e, s, d in zip(extra, steps, spread):
            if e >= max(s, d):
                raise RuntimeError(
                    "output padding must be smaller than either stride or dilation, but got "
                    f"output_padding: {extra}, stride: {steps}, dilation: {spread}"
                )
        batched = input.ndim == ndim + 2
        if weight.ndim != ndim + 2 or input.ndim not in (ndim + 1, ndim + 2):
            raise RuntimeError(
                f"Expected {ndim + 1}D (unbatched) or {ndim + 2}D (batched) input to {name}, but "
                f"got input of size: {list(input.shape)}"
            )
        x = input if batched else input.unsqueeze(0)  # type: ignore[attr-defined]
        y = wait(transpose_kernel, (x, weight, bias), (steps, around, extra, groups, spread))
        return y if batched else y.squeeze(0)  # type: ignore[no-any-return]

    body.__name__, body.__module__ = name, __name__
    body.__doc__ = f"""Transposed convolution over {ndim} dimension{"s" if ndim > 1 else ""} (the gradient of
    ``conv{ndim}d`` by its input).

    Raises RuntimeError for sizes that do not fit."""
    operator(kind="composite", method=False, out=False)(body)


for _ndim in (1, 2, 3):
    _define(_ndim)
    _define_transpose(_ndim)
