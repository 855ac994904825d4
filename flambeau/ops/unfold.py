"""Windows of a dimension, and the sum of windows where they came from."""

from __future__ import annotations

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import operator
from ..layout import Size
from ..tensor import Tensor
from ..tensor import view as make_view
from .common import dim_of

__all__: list[str] = []


@operator(kind="view", function=False)
def unfold(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """All windows of ``size`` along a dimension, ``step`` apart: the window's elements are a last dimension of the
    view."""
    layout = input._layout
    d = dim_of(dimension, layout.ndim, "unfold")
    n = layout.shape[d] if layout.ndim else 1
    if size < 0:
        raise RuntimeError(f"size is {size} but must be >= 0")
    if size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {d} is {n} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    if not layout.ndim:
        return make_view(input, (size,), (1,), input._offset)
    shape = [*layout.shape, size]
    shape[d] = (n - size) // step + 1
    strides = [*layout.strides, layout.strides[d]]
    strides[d] *= step
    return make_view(input, shape, strides, input._offset)


@unfold.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return fold_windows.function(grad, ctx.shape("input"), ctx.dimension, ctx.step)


@operator(name="_fold_windows", method=False, function=False)
def fold_windows(input: Tensor, shape: Size, dimension: int, step: int) -> Tensor:
    """Zeros in ``shape`` to which every window is added at its place: the inverse of ``unfold`` where windows
    overlap."""
    base = prim.const(0, input.dtype, shape)
    if not shape:
        g = prim.current().graph
        return prim.wrap(g.reshape(g.reduce("add", prim.read(input), (0,)), ())) if input.shape[0] else base
    d = dimension % len(shape)
    if step >= input.shape[-1]:  # nothing overlaps
        return _apart(base, input, d, step)
    index = prim.apply(
        "add",
        prim.apply("mul", prim.iota(input.shape, d), prim.const(step, dtypes.int64)),
        prim.iota(input.shape, input.ndim - 1),
    )
    return prim.scatter("add", base, input, [index], [("i", 0) if k == d else ("d", k) for k in range(len(shape))])


def _apart(base: Tensor, input: Tensor, d: int, step: int) -> Tensor:
    """``fold_windows`` of windows that do not overlap, put into ``base``."""
    last = input.ndim - 1
    n, windows, size = base.shape[d], input.shape[d], input.shape[-1]
    if step > size or windows * size < n:
        terms = [(0, ((k, 1),)) if k != d else (0, ((d, step), (last, 1))) for k in range(last)]
        return prim.update(base, input, tuple(terms))
    g = prim.current().graph
    order = [*range(d + 1), last, *range(d + 1, last)]
    return prim.wrap(g.reshape(g.permute(prim.read(input), order), base.shape))


@fold_windows.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad.unfold(ctx.dimension, ctx.shape("input")[-1], ctx.step)
