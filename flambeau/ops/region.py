"""Views of a part of the elements: selections, slices, diagonals, windows; and their inverses.

A part is described as primitives describe one (``graph.node``): for each dimension of the whole, an offset and the
dimensions of the part that step through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import primitives as prim
from ..device import cpu
from ..dispatch.operator import operator
from ..graph.node import Map
from ..layout import Size, of
from ..tensor import Tensor
from ..tensor import view as make_view
from ..transform.level import Batched, Dual, Wrapper, blank_like
from .common import dim_of
from .shape import in_order

__all__: list[str] = []


def integer(value: Any, name: str, what: str) -> int:
    """An int from an int, a numpy integer or a 0-dim tensor of integers; TypeError otherwise."""
    if isinstance(value, Tensor):
        if value.ndim or value.dtype.kind not in "ui":
            raise TypeError(
                f"{name}(): argument '{what}' must be int, not a tensor of {value.dtype} with {value.ndim} dimensions"
            )
        return int(value.item())  # type: ignore[attr-defined]
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name}(): argument '{what}' must be int, not {type(value).__name__}")
    return int(value.__index__())


def look(input: Tensor, map_: Map, shape: Sequence[int]) -> Tensor:
    steps = input._layout.strides
    strides = [0] * len(shape)
    offset = input._offset
    for (start, terms), step in zip(map_, steps):
        offset += start * step
        for d, k in terms:
            strides[d] += k * step
    taken = {d for _, terms in map_ for d, _ in terms}
    for d in range(len(shape) - 1, -1, -1):  # dimensions of size 1 that are new
        if d not in taken:
            strides[d] = strides[d + 1] * shape[d + 1] if d + 1 < len(shape) else 1
    return make_view(input, shape, strides, offset)


@operator(name="slice", kind="view", method=False, function=False)
def region(input: Tensor, map: Map, shape: tuple[int, ...]) -> Tensor:
    """The part of the elements that ``map`` names, which is ``shape`` large."""
    return look(input, map, shape)


@region.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return embed.function(grad, ctx.shape("input"), ctx.map)


@operator(name="_embed", kind="composite", method=False, function=False)
def embed(input: Tensor, shape: Size, map: Map) -> Tensor:
    """Zeros in ``shape`` with ``input`` in the part that ``map`` names."""
    if prim.tracing() and not isinstance(input, Wrapper):
        return prim.update(prim.const(0, input.dtype, shape), input, map)
    whole = blank_like(input, input.dtype, shape, input.device)
    whole.zero_()  # type: ignore[attr-defined]
    region.function(whole, map, tuple(input.shape)).copy_(input)
    return whole


@embed.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return region.function(grad, ctx.map, tuple(ctx.shape("input")))


_UNMOVED = [(0, ((d, 1),)) for d in range(8)]  # dimensions of most maps


def identity(ndim: int) -> list[Any]:
    """The map of a part that is all."""
    return [*_UNMOVED[:ndim]] if ndim <= len(_UNMOVED) else [(0, ((d, 1),)) for d in range(ndim)]


def select_map(ndim: int, dim: int, index: int) -> Map:
    """The map of one index along ``dim``, which is no dimension of the part."""
    return tuple((index, ()) if d == dim else (0, ((d - (d > dim), 1),)) for d in range(ndim))


@operator(kind="view")
def select(input: Tensor, dim: int, index: int) -> Tensor:
    """The elements at ``index`` along ``dim``, without that dimension.  Raises IndexError for an index outside of
    it."""
    layout = input._layout
    if not layout.ndim:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    d, i = dim_of(dim, layout.ndim, "select"), integer(index, "select", "index")
    n = layout.shape[d]
    if not -n <= i < n:
        raise IndexError(f"select(): index {i} out of range for tensor of size {list(layout.shape)} at dimension {d}")
    i += n if i < 0 else 0
    return make_view(
        input,
        (*layout.shape[:d], *layout.shape[d + 1 :]),
        (*layout.strides[:d], *layout.strides[d + 1 :]),
        input._offset + i * layout.strides[d],
    )


@select.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    shape = ctx.shape("input")
    d = ctx.dim % len(shape)
    return embed.function(grad, shape, select_map(len(shape), d, int(ctx.index) % shape[d]))


def slice_map(ndim: int, dim: int, start: int, step: int = 1) -> Map:
    """The map of every ``step``-th index along ``dim`` from ``start`` on."""
    found = identity(ndim)
    found[dim] = (start, ((dim, step),))
    return tuple(found)


def slice_of(input: Tensor, dim: int, start: int, length: int, step: int = 1) -> Tensor:
    """``length`` indices along ``dim``, as a recorded view."""
    shape = [*input.shape]
    shape[dim] = length
    return region.function(input, slice_map(len(shape), dim, start if length else 0, step), tuple(shape))  # type: ignore[no-any-return]


@operator(kind="composite", looks=True, synonyms={"dim": ("dimension",)})
def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """The ``length`` elements along ``dim`` from ``start`` on.  Raises IndexError or RuntimeError outside of the
    dimension."""
    if not input.ndim:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    d = dim_of(dim, input.ndim, "narrow")
    if isinstance(start, Tensor) and (start.ndim or start.dtype.kind not in "ui"):
        raise RuntimeError("start must be an 0-dim integral Tensor.")
    first, count, n = integer(start, "narrow", "start"), integer(length, "narrow", "length"), input.shape[d]
    if count < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    if not -n <= first <= n:
        raise IndexError(f"start out of range (expected to be in range of [{-n}, {n}], but got {first})")
    first += n if first < 0 else 0
    if first + count > n:
        raise RuntimeError(f"start ({first}) + length ({count}) exceeds dimension size ({n}).")
    return slice_of(input, d, first, count)


@operator(kind="composite", synonyms={"dim": ("dimension",)})
def narrow_copy(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """``narrow`` with memory of its own.  Raises RuntimeError for arguments outside of the shape."""
    if dim >= max(input.ndim, 1):
        raise RuntimeError(f"narrow_copy(): dim {dim} is out of range for a tensor of {input.ndim} dimensions")
    return in_order(narrow.function(input, dim, start, length))


@operator(kind="view")
def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of the plane of two dimensions, as a last dimension; ``offset`` > 0 is above the main one."""
    shape, map_ = _diagonal(input.shape, offset, dim1, dim2)
    return look(input, map_, shape)


def _diagonal(shape: Size, offset: int, dim1: int, dim2: int) -> tuple[tuple[int, ...], Map]:
    ndim = len(shape)
    a, b = dim_of(dim1, ndim, "diagonal"), dim_of(dim2, ndim, "diagonal")
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    rest = [d for d in range(ndim) if d not in (a, b)]
    offset = integer(offset, "diagonal", "offset")
    down, right = max(-offset, 0), max(offset, 0)
    count = max(0, min(shape[a] - down, shape[b] - right))
    at = {d: i for i, d in enumerate(rest)}
    last = len(rest)
    start = {a: down if count else 0, b: right if count else 0}
    map_ = tuple((start[d], ((last, 1),)) if d in (a, b) else (0, ((at[d], 1),)) for d in range(ndim))
    return (*(shape[d] for d in rest), count), map_


@diagonal.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    shape = ctx.shape("input")
    return embed.function(grad, shape, _diagonal(shape, ctx.offset, ctx.dim1, ctx.dim2)[1])


@operator(kind="composite")
def as_strided(input: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None) -> Tensor:
    """The storage seen with any shape and strides.  Raises RuntimeError for a view that leaves the storage."""
    shape, strides = tuple(size), tuple(stride)
    if any(isinstance(n, float) for n in (*shape, *strides, storage_offset)):
        raise TypeError(
            f"as_strided(): size, stride and storage_offset must be ints, but got {size}, {stride} and {storage_offset}"
        )
    if len(shape) != len(strides):
        raise RuntimeError(f"mismatch in length of strides and shape: {list(shape)} and {list(strides)}")
    if any(n < 0 for n in shape):
        raise RuntimeError(f"as_strided: negative sizes are not allowed, got {list(shape)}")
    if any(s < 0 for s in strides):
        raise RuntimeError(
            f"as_strided: Negative strides are not supported at the moment, got strides: {list(strides)}"
        )
    offset = input._offset if storage_offset is None else storage_offset
    if offset < 0:
        raise RuntimeError(f"Tensor: invalid storage offset {offset}")
    storage = input._storage
    held = storage.nbytes if storage.pending is None else storage.pending.layout.nbytes
    if 0 not in shape:
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides))
        if (last + 1) * input.itemsize > held:
            raise RuntimeError(
                f"setStorage: sizes {list(shape)}, strides {list(strides)}, storage offset "
                f"{offset}, and itemsize {input.itemsize} requiring a "
                f"storage size of {(last + 1) * input.itemsize} are out of bounds for storage of size {held}"
            )
        if isinstance(input, Wrapper):
            _check_stand_ins(input, offset - input._offset, last - input._offset)
    return strided_view.function(input, shape, strides, offset - input._offset)


def _check_stand_ins(input: Tensor, low: int, high: int) -> None:
    """Refuses a view from ``low`` to ``high`` elements after the first one if it would leave the memory of a tensor
    that ``input`` stands for: that of a tangent ends where the tensor ends, not where the tensor's storage does."""
    if isinstance(input, Dual):
        for part in (input._value, input._tangent):
            if part is not None:
                _check_stand_ins(part, low, high)
    elif isinstance(input, Batched):
        step = 0 if input._bdim is None else input._value.stride(input._bdim) * (input._level.size - 1)  # type: ignore[attr-defined]
        _check_stand_ins(input._value, low, high + step)
    else:
        storage = input._storage
        held = storage.nbytes if storage.pending is None else storage.pending.layout.nbytes
        if input._offset + low < 0 or (input._offset + high + 1) * input.itemsize > held:
            raise RuntimeError(
                f"as_strided: a view of the elements {low} to {high} after the tensor's first one leaves the memory of "
                "a tangent, or of a member of a batch; take it of the whole tensor, inside of the transform"
            )


@operator(name="_as_strided", kind="view", method=False, function=False)
def strided_view(input: Tensor, size: tuple[int, ...], stride: tuple[int, ...], shift: int) -> Tensor:
    """The storage from ``shift`` elements after the tensor's first on, with this shape and these strides."""
    return make_view(input, size, stride, input._offset + shift)


@strided_view.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return strided_sum.function(grad, ctx.size, ctx.stride, ctx.shift, ctx.input)


@operator(name="_strided_sum", method=False, function=False)
def strided_sum(input: Tensor, size: tuple[int, ...], stride: tuple[int, ...], shift: int, like: Any) -> Tensor:
    """Adds up elements at their addresses, then reads them as the layout ``like`` does, whose first element is
    ``shift`` before the first of ``input``."""
    if 0 in like.shape or 0 in size:
        return prim.const(0, input.dtype, like.shape)
    seen = of(input.dtype, cpu, size, stride)
    if seen.dense and 0 <= -shift <= seen.span - like.span:
        return prim.wrap(prim.look(prim.read(input), seen, like.shape, like.strides, -shift))
    before = max(0, -shift)
    start = shift + before
    reach = max(start + 1 + sum((n - 1) * s for n, s in zip(size, stride)), before + like.span)
    g = prim.current().graph
    flat = prim.const(0, input.dtype, (reach,))
    if seen.overlapping:
        index = g.const(start, "i64", input.shape)
        for d, s in enumerate(stride):
            index = g.apply("add", index, g.apply("mul", g.iota(input.shape, d), g.const(s, "i64")))
        flat = prim.scatter("add", flat, input, [prim.wrap(index)], [("i", 0)])
    else:
        flat = prim.update(flat, input, ((start, tuple((d, s) for d, s in enumerate(stride) if s)),))
    return prim.move(flat, ((before, tuple((d, s) for d, s in enumerate(like.strides) if s)),), like.shape)


@strided_sum.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    whole = embed_strided.function(grad, ctx.like, max(0, -ctx.shift), ctx.size, ctx.stride, ctx.shift)
    return whole


@operator(name="_embed_strided", kind="composite", method=False, function=False)
def embed_strided(
    input: Tensor, like: Any, before: int, size: tuple[int, ...], stride: tuple[int, ...], shift: int
) -> Tensor:
    """``input`` written to zeroed memory as the layout ``like`` lies, which is then read with ``size`` and
    ``stride``."""
    start = shift + before
    reach = max(start + 1 + sum((n - 1) * s for n, s in zip(size, stride)) if 0 not in size else 1, before + like.span)
    flat: Any = input.new_zeros((reach,))  # type: ignore[attr-defined]
    as_strided.function(flat, tuple(like.shape), like.strides, before).copy_(input)
    return as_strided.function(flat, size, stride, start)


# -- a part replaced ---------------------------------------------------------------------------------


@operator(name="_put_region", strides="first", method=False, function=False)
def put_region(input: Tensor, src: Tensor, map: Map) -> Tensor:
    """``input`` with ``src`` in the part that ``map`` names."""
    return prim.update(input, prim.cast(src, input.dtype), map)


@put_region.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    shape = tuple(ctx.shape("src"))
    rest = put_region.function(grad, grad.new_zeros(shape), ctx.map) if ctx.needs("input") else None
    return rest, region.function(grad, ctx.map, shape)


def _checked(name: str, src: Tensor, shape: Sequence[int]) -> None:
    if tuple(src.shape) != tuple(shape):
        raise RuntimeError(
            f"{name}: expected src to have a size equal to the slice of self. src size = "
            f"{list(src.shape)}, slice size = {list(shape)}"
        )


@operator(kind="composite")
def select_scatter(input: Tensor, src: Tensor, dim: int, index: int) -> Tensor:
    """A copy of ``input`` with ``src`` at ``index`` along ``dim``."""
    _checked("select_scatter", src, select.body(input, dim, index).shape)
    d = dim_of(dim, input.ndim, "select_scatter")
    return put_region.function(input, src, select_map(input.ndim, d, index % input.shape[d]))


@operator(kind="composite")
def slice_scatter(
    input: Tensor, src: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Tensor:
    """A copy of ``input`` with ``src`` in the slice ``start:end:step`` of ``dim``."""
    d = dim_of(dim, input.ndim, "slice_scatter")
    if step <= 0:
        raise RuntimeError(f"slice step must be positive, got {step}")
    first, last, by = slice(start, end, step).indices(input.shape[d])
    count = len(range(first, last, by))
    _checked("slice_scatter", src, (*input.shape[:d], count, *input.shape[d + 1 :]))
    return put_region.function(input, src, slice_map(input.ndim, d, first if count else 0, by))


@operator(kind="composite")
def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A copy of ``input`` with ``src`` on a diagonal."""
    shape, map_ = _diagonal(input.shape, offset, dim1, dim2)
    _checked("diagonal_scatter", src, shape)
    return put_region.function(input, src, map_)


@operator(kind="composite")
def as_strided_scatter(
    input: Tensor, src: Tensor, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Tensor:
    """A copy of ``input`` with ``src`` where ``as_strided`` would see it.

    The gradient of ``input`` is PyTorch's: that of the elements that were written, and zero for the others.
    """
    part = as_strided.function(input, size, stride, storage_offset)
    _checked("as_strided_scatter", src, part.shape)
    # All that either of them may see is copied: elements of the view may lie before, behind or between the input's.
    end = max(t._offset + t._layout.span for t in (input, part))
    whole = strided_view.function(input, (end,), (1,), -input._offset).clone()
    strided_view.function(whole, tuple(size), tuple(stride), part._offset).copy_(src)
    return strided_view.function(whole, tuple(input.shape), input.stride(), input._offset)  # type: ignore[no-any-return]


as_strided_scatter.linear = True  # the gradient of ``input`` is not the transpose


@as_strided_scatter.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    where = (ctx.size, ctx.stride, ctx.storage_offset or 0)
    grad = grad.contiguous()
    seen = as_strided.function(grad, *where)
    return as_strided_scatter.function(grad.new_zeros(grad.shape), seen, *where), seen
