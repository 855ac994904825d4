"""Copies in another arrangement: triangles, diagonals, flips, rolls, repetitions, combinations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import operator
from ..layout import Size
from ..tensor import Tensor
from . import create, from_data
from .common import dim_of, shape_of
from .index_slices import index_select
from .join import stack
from .region import diagonal, embed
from .shape import reshaped_copy

__all__: list[str] = []


# -- triangles and diagonals -------------------------------------------------------------------------


def _triangle(name: str, test: str, text: str) -> Any:
    def body(input: Tensor, diagonal: int = 0) -> Tensor:
        if input.ndim < 2:
            raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")
        g = prim.current().graph
        rows, columns = g.iota(input.shape, input.ndim - 2), g.iota(input.shape, input.ndim - 1)
        keep = g.apply(test, g.apply("sub", columns, rows), g.const(diagonal, "i64"))
        return prim.wrap(g.apply("select", keep, prim.read(input), g.const(0, input.dtype.code, input.shape)))

    body.__name__, body.__module__, body.__doc__ = name, __name__, text
    op = operator(inplace=True)(body)

    @op.gradient()
    def _(ctx, grad):  # type: ignore[no-untyped-def]
        return op.function(grad, ctx.diagonal)

    return op


tril = _triangle("tril", "le", "The lower triangle of matrices (up to ``diagonal``), zeros elsewhere.")
triu = _triangle("triu", "ge", "The upper triangle of matrices (from ``diagonal`` on), zeros elsewhere.")


@operator(kind="composite")
def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix as a copy, or the matrix that has a vector as its diagonal."""
    if input.ndim == 1:
        return diag_embed.function(input, diagonal)
    if input.ndim == 2:
        return input.diagonal(diagonal).clone()  # type: ignore[attr-defined]
    raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")


@operator(kind="composite")
def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Zeros with the last dimension of ``input`` on the diagonal of two new dimensions."""
    if not input.ndim:
        raise IndexError("diag_embed: the input must have at least one dimension")
    ndim = input.ndim + 1
    a, b = dim_of(dim1, ndim, "diag_embed"), dim_of(dim2, ndim, "diag_embed")
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    n, last = input.shape[-1], input.ndim - 1
    size = n + abs(offset)
    rest = iter(range(last))
    shape, map_ = [], []
    for d in range(ndim):
        if d in (a, b):
            shape.append(size)
            map_.append((max(-offset if d == a else offset, 0), ((last, 1),)))
        else:
            k = next(rest)
            shape.append(input.shape[k])
            map_.append((0, ((k, 1),)))
    return embed.function(input, Size(shape), tuple(map_))


@operator(kind="composite")
def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """The matrix that has all elements on its diagonal."""
    return diag_embed.function(input.reshape(-1), offset)  # type: ignore[attr-defined]


@operator()
def trace(input: Tensor) -> Tensor:
    """The sum of the diagonal of a matrix."""
    if input.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input.ndim}")
    return diagonal.function(input).sum()


trace.linear = True


@trace.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    shape = ctx.shape("input")
    return embed.function(grad.expand(min(shape)), shape, ((0, ((0, 1),)),) * 2)


# -- flips and rolls ---------------------------------------------------------------------------------


@operator(strides="first", method=False)
def flip(input: Tensor, dims: Sequence[int]) -> Tensor:
    """A copy with the order of the elements along ``dims`` reversed."""
    named = {dim_of(d, input.ndim, "flip") for d in dims}
    if len(named) != len(dims):
        raise RuntimeError(f"flip: a dimension appears multiple times in the list of dims {list(dims)}")
    if 0 in input.shape:
        return input
    return prim.move(
        input,
        tuple((n - 1, ((d, -1),)) if d in named else (0, ((d, 1),)) for d, n in enumerate(input.shape)),
        input.shape,
    )


@flip.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return flip.function(grad, tuple(ctx.dims))


def _flip_method(self: Tensor, *args: Any, dims: Any = None) -> Tensor:
    return flip.function(self, tuple(shape_of(args if dims is None else (dims,), "flip")))


_flip_method.__name__, _flip_method.__doc__ = "flip", flip.__doc__
Tensor.flip = _flip_method  # type: ignore[attr-defined]


@operator(kind="composite")
def fliplr(input: Tensor) -> Tensor:
    """A copy with the columns in the opposite order."""
    if input.ndim < 2:
        raise RuntimeError("Input must be >= 2-d.")
    return flip.function(input, (1,))


@operator(kind="composite")
def flipud(input: Tensor) -> Tensor:
    """A copy with the rows in the opposite order."""
    if input.ndim < 1:
        raise RuntimeError("Input must be >= 1-d.")
    return flip.function(input, (0,))


@operator(kind="composite")
def rot90(input: Tensor, k: int = 1, dims: Sequence[int] = (0, 1)) -> Tensor:
    """A copy turned by ``k`` quarters in the plane of two dimensions, from the first towards the second."""
    if len(dims) != 2:
        raise RuntimeError(f"expected total rotation dims == 2, but got dims = {len(dims)}")
    if input.ndim < 2:
        raise RuntimeError(f"expected total dims >= 2, but got total dims = {input.ndim}")
    if dims[0] == dims[1] or abs(dims[0] - dims[1]) == input.ndim:
        raise RuntimeError(f"expected rotation dims to be different, but got dim0 = {dims[0]} and dim1 = {dims[1]}")
    for d in dims:
        if not -input.ndim <= d < input.ndim:
            raise RuntimeError(f"Rotation dim out of range, dim = {d}")
    turns = k % 4
    if turns == 1:
        return flip.function(input, (dims[1],)).transpose_(*dims)
    if turns == 2:
        return flip.function(input, tuple(dims))
    if turns == 3:
        return flip.function(input, (dims[0],)).transpose_(*dims)
    return input.clone()  # type: ignore[attr-defined]


@operator(strides="image")
def roll(input: Tensor, shifts: int | Sequence[int], dims: int | Sequence[int] = ()) -> Tensor:
    """A copy with the elements moved along ``dims`` by ``shifts``, those that leave entering at the other end.

    Without ``dims`` the flattened tensor is rolled.
    """
    by = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    along = (dims,) if isinstance(dims, int) else tuple(dims)
    g = prim.current().graph
    if not by:
        raise RuntimeError("`shifts` required")
    if not along:
        if len(by) != 1:
            raise RuntimeError(f"shifts and dimensions must align. shifts: {len(by)}, dims:0")
        if not input.numel():
            return input
        flat = prim.wrap(g.reshape(prim.read(input), (input.numel(),)))
        return prim.wrap(g.reshape(prim.read(_rolled(flat, by[0], 0)), input.shape))
    if len(by) != len(along):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(by)}, dims:{len(along)}")
    if not input.ndim:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    for n, d in zip(by, along):
        input = _rolled(input, n, dim_of(d, input.ndim, "roll"))
    return input


def _rolled(x: Tensor, by: int, d: int) -> Tensor:
    n = x.shape[d] if x.ndim else 1
    if not x.numel() or not by % n:
        return x
    by %= n
    out = prim.undef(x.shape, x.dtype)
    for source, target, count in ((0, by, n - by), (n - by, 0, by)):
        shape = [count if k == d else m for k, m in enumerate(x.shape)]
        piece = prim.move(x, tuple((source if k == d else 0, ((k, 1),)) for k in range(x.ndim)), shape)
        out = prim.update(out, piece, tuple((target if k == d else 0, ((k, 1),)) for k in range(x.ndim)))
    return out


@roll.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    shifts = -ctx.shifts if isinstance(ctx.shifts, int) else tuple(-s for s in ctx.shifts)
    return grad.roll(shifts, ctx.dims)


# -- repetitions -------------------------------------------------------------------------------------


@operator(name="_repeat", method=False, function=False)
def repeat(input: Tensor, repeats: tuple[int, ...]) -> Tensor:
    """The tensor ``repeats`` times along each dimension; it may have fewer dimensions than there are repeats."""
    g = prim.current().graph
    lead = len(repeats) - input.ndim
    shape = (*(1,) * lead, *input.shape)
    pairs = [n for r, m in zip(repeats, shape) for n in (r, m)]
    whole = [r * m for r, m in zip(repeats, shape)]
    if 0 in whole:
        return prim.undef(whole, input.dtype)
    map_ = tuple((0, ((2 * (lead + d) + 1, 1),)) for d in range(input.ndim))
    return prim.wrap(g.reshape(g.move(prim.read(input), map_, pairs), whole))


@repeat.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    shape = ctx.shape("input")
    full = (*(1,) * (len(ctx.repeats) - len(shape)), *shape)
    if not full:
        return grad
    if 0 in ctx.repeats:
        return grad.new_zeros(shape)
    pairs = [n for r, m in zip(ctx.repeats, full) for n in (r, m)]
    return grad.reshape(pairs).sum(list(range(0, len(pairs), 2))).reshape(shape)


def _repeat_method(self: Tensor, *args: Any, repeats: Any = None) -> Tensor:
    """``repeat(*sizes)``: a copy with the tensor so many times along each dimension."""
    times = tuple(shape_of(args if repeats is None else (repeats,), "repeat"))
    if len(times) < self.ndim:
        raise RuntimeError("Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor")
    if any(n < 0 for n in times):
        raise RuntimeError(f"Trying to create tensor with negative dimension {min(times)}: {list(times)}")
    return repeat.function(self, times)


_repeat_method.__name__ = "repeat"
Tensor.repeat = _repeat_method  # type: ignore[attr-defined]


@operator(kind="composite", method=False)
def tile(input: Tensor, dims: Sequence[int]) -> Tensor:
    """The tensor so many times along each dimension; dimensions that are not named stay."""
    times = tuple(dims)
    return input.repeat((1,) * (input.ndim - len(times)) + times)  # type: ignore[attr-defined]


def _tile_method(self: Tensor, *args: Any, dims: Any = None) -> Tensor:
    return tile.function(self, tuple(shape_of(args if dims is None else (dims,), "tile")))


_tile_method.__name__, _tile_method.__doc__ = "tile", tile.__doc__
Tensor.tile = _tile_method  # type: ignore[attr-defined]


@operator(
    kind="composite",
    overloads=(
        "repeat_interleave(input, repeats, dim=None, *, output_size=None)",
        "repeat_interleave(repeats, *, output_size=None)",
    ),
)
def repeat_interleave(
    input: Tensor, repeats: Any = None, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Every element along ``dim`` repeated: so often all, or each as often as the tensor ``repeats`` says.

    Without ``dim`` the flattened tensor; of a tensor of counts alone, the index of each count so many times.
    """
    if repeats is None:
        if input.ndim != 1 or input.dtype not in (dtypes.int64, dtypes.int32):
            raise RuntimeError(
                "repeat_interleave only accept 1D vector as repeat"
                if input.ndim != 1
                else "repeats has to be Long or Int tensor"
            )
        return _spread_indices(input).to(input.dtype)  # type: ignore[attr-defined]
    x: Any = input.reshape(-1) if dim is None else input  # type: ignore[attr-defined]
    d = 0 if dim is None else dim_of(dim, x.ndim, "repeat_interleave")
    if x.ndim == 0:
        x = x.reshape(1)
    n = x.shape[d]
    if isinstance(repeats, (list, tuple)):
        repeats = from_data.tensor(repeats, dtype=dtypes.int64)
    if isinstance(repeats, Tensor):
        if repeats.dtype not in (dtypes.int64, dtypes.int32):
            raise RuntimeError("repeats has to be Long or Int tensor")
        if repeats.ndim > 1:
            raise RuntimeError("repeat_interleave only accept 1D vector as repeat")
        if repeats.numel() != 1:
            if repeats.numel() != n:
                raise RuntimeError(
                    "repeats must have the same size as input along dim, but got repeats.size(0) = "
                    f"{repeats.numel()} and input.size({d}) = {n}"
                )
            return index_select.function(x, d, _spread_indices(repeats))
        repeats = int(repeats.item())  # type: ignore[attr-defined]
    if repeats < 0:
        raise RuntimeError("Repeats must be non-negative")
    whole = x.unsqueeze(d + 1).expand((*x.shape[: d + 1], repeats, *x.shape[d + 1 :]))
    return reshaped_copy.function(whole, Size((*x.shape[:d], n * repeats, *x.shape[d + 1 :])))


def _spread_indices(counts: Tensor) -> Tensor:
    """Index i counts[i] times: the number of the ends at or before each place."""
    ends: Any = counts.long().cumsum(0)  # type: ignore[attr-defined]
    if counts.numel() and int(counts.min().item()) < 0:  # type: ignore[attr-defined]
        raise RuntimeError("repeats can not be negative")
    total = int(ends[-1].item()) if counts.numel() else 0
    starts: Any = create.zeros((total + 1,), dtype=dtypes.int64)
    ones = create.ones((counts.numel(),), dtype=dtypes.int64)
    return starts.index_add(0, ends, ones)[:total].cumsum(0)


@operator(kind="composite", method=False)
def combinations(input: Tensor, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All combinations of ``r`` elements of a vector, as rows in the order of their indices."""
    if input.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {list(input.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    if r == 0:
        return create.empty((0,), dtype=input.dtype)
    n = input.shape[0]
    index: Any = create.arange(n)
    grids = [index.reshape([-1 if k == i else 1 for k in range(r)]).expand((n,) * r) for i in range(r)]
    keep: Any = create.ones((n,) * r, dtype=dtypes.bool_)
    for before, after in zip(grids, grids[1:]):
        keep = keep & ((before <= after) if with_replacement else (before < after))
    rows = [input[g.masked_select(keep)] for g in grids]  # type: ignore[index]
    return stack.function(rows, 1)


@operator(kind="composite", method=False, namespace="torch.nn.functional", out=False)
def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """A last dimension of zeros with a one at the class: (...,) of int64 -> (..., num_classes).

    Raises RuntimeError for classes that are negative or too large.
    """
    if tensor.dtype is not dtypes.int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if not tensor.numel():
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        return create.empty((*tensor.shape, num_classes), dtype=dtypes.int64)
    t: Any = tensor
    blind = tensor.device.type == "meta" and num_classes >= 1  # no values to check
    least, top = (0, num_classes - 1) if blind else (int(end.item()) for end in t.aminmax())
    if least < 0:
        raise RuntimeError("Class values must be non-negative.")
    if num_classes == -1:
        num_classes = top + 1
    elif num_classes < 1:
        raise RuntimeError("num_classes should be positive")
    elif top >= num_classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    return _one_hot.function(t, num_classes)  # type: ignore[no-any-return]


@operator(method=False, function=False, differentiable=False, out=False)
def _one_hot(tensor: Tensor, num_classes: int) -> Tensor:
    """Whether each class is the one of ``tensor``, as int64."""
    g, shape = prim.current().graph, (*tensor.shape, num_classes)
    given = prim.wrap(g.expand(g.reshape(prim.read(tensor), (*tensor.shape, 1)), shape))
    return prim.cast(prim.apply("eq", given, prim.iota(shape, tensor.ndim)), dtypes.int64)


@operator(kind="composite", method=False)
def vander(x: Tensor, N: int | None = None, increasing: bool = False) -> Tensor:
    """Powers of a vector as columns: the highest first unless ``increasing``."""
    if x.ndim != 1:
        raise RuntimeError("x must be a one-dimensional tensor.")
    n = x.shape[0] if N is None else N
    if n < 0:
        raise RuntimeError("N must be non-negative.")
    powers: Any = create.arange(n)
    found = x.unsqueeze(1) ** (powers if increasing else flip.function(powers, (0,)))  # type: ignore[attr-defined]
    return found.to(x.dtype) if x.dtype.kind != "b" else found.long()
