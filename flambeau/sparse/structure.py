"""Operators that move the elements of sparse tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from ..dtype import int64
from ..ops import members
from ..ops.common import dim_of
from .base import BLOCKS, COLUMNS, ROWS, SparseTensor, make_sparse
from .compressed import compress
from .coo import coalesced, coo, make_coo

__all__: list[str] = []


@SparseTensor.implements("permute")
def permute(input: Any, *dims: Any) -> SparseTensor:
    """The dimensions in another order; sparse ones stay before dense ones."""
    order = dims[0] if len(dims) == 1 and isinstance(dims[0], Sequence) else dims
    order = [dim_of(d, input.dim(), "permute") for d in order]
    t = coo(input)
    n = t._where[0].shape[0]
    if len(order) != t.dim() or sorted(order) != list(range(t.dim())):
        raise RuntimeError(f"permute(sparse): number of dimensions in the tensor input does not match: {order}")
    if sorted(order[:n]) != list(range(n)):
        raise RuntimeError("permute: sparse and dense dimensions cannot be mixed")
    data = t._data.permute([0, *(d - n + 1 for d in order[n:])])
    same = order[:n] == list(range(n))
    return make_coo(t._where[0][order[:n]], data, [t.shape[d] for d in order], t._coalesced and same)


_TURNED = {
    members.sparse_csr: members.sparse_csc, members.sparse_csc: members.sparse_csr,
    members.sparse_bsr: members.sparse_bsc, members.sparse_bsc: members.sparse_bsr,
}  # fmt: skip


@SparseTensor.implements("transpose", "swapaxes", "swapdims")
def transpose(input: Any, dim0: int, dim1: int) -> SparseTensor:
    """Two dimensions exchanged; compressed rows become compressed columns."""
    a, b = dim_of(dim0, input.dim(), "transpose"), dim_of(dim1, input.dim(), "transpose")
    if input._kind is members.sparse_coo:
        order = list(range(input.dim()))
        order[a], order[b] = b, a
        return permute(input, order)
    batch = input._where[0].dim() - 1
    if {a, b} != {batch, batch + 1}:
        if a == b:
            return input
        raise RuntimeError("transpose: only the two sparse dimensions of a compressed tensor can be exchanged")
    data = input._data
    if input._kind in BLOCKS:
        data = data.transpose(batch + 1, batch + 2)
    shape = list(input.shape)
    shape[a], shape[b] = shape[b], shape[a]
    return make_sparse(_TURNED[input._kind], input._where, data, shape)


SparseTensor.implements("mT")(lambda self: transpose(self, -2, -1))


@SparseTensor.implements("t", "T")
def t(self: Any) -> SparseTensor:
    """A matrix turned over."""
    if self.dim() > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {self.dim()}D")
    return transpose(self, 0, 1) if self.dim() == 2 else self


@SparseTensor.implements("unsqueeze")
def unsqueeze(input: Any, dim: int) -> SparseTensor:
    """Another dimension of size 1."""
    s = coo(input)
    d, n = dim_of(dim, s.dim() + 1, "unsqueeze"), s._where[0].shape[0]
    shape = [*s.shape[:d], 1, *s.shape[d:]]
    if d > n:
        return make_coo(s._where[0], s._data.unsqueeze(d - n + 1), shape, s._coalesced)
    row = ops.zeros((1, s._where[0].shape[1]), dtype=int64)
    return make_coo(ops.cat([s._where[0][:d], row, s._where[0][d:]]), s._data, shape, s._coalesced)


@SparseTensor.implements("squeeze")
def squeeze(input: Any, dim: Any = None) -> SparseTensor:
    """Without dimensions of size 1."""
    s = coo(input)
    dims = (
        range(s.dim())
        if dim is None
        else [dim_of(d, s.dim(), "squeeze") for d in (dim if isinstance(dim, Sequence) else (dim,))]
    )
    gone = {d for d in dims if s.shape[d] == 1}
    n = s._where[0].shape[0]
    where = s._where[0][[d for d in range(n) if d not in gone]]
    data = s._data
    for d in sorted((d for d in gone if d >= n), reverse=True):
        data = data.squeeze(d - n + 1)
    return make_coo(where, data, [x for d, x in enumerate(s.shape) if d not in gone], s._coalesced)


@SparseTensor.implements("cat")
def cat(tensors: Sequence[Any], dim: int = 0) -> SparseTensor:
    """One after the other along a dimension."""
    if not all(isinstance(x, SparseTensor) for x in tensors):
        raise RuntimeError("Concatenating sparse tensors, but a dense tensor was found")
    parts = [coo(x) for x in tensors]
    first = parts[0]
    d, n = dim_of(dim, first.dim(), "cat"), first._where[0].shape[0]
    for i, p in enumerate(parts):
        if p._where[0].shape[0] != n or [*p.shape[:d], *p.shape[d + 1 :]] != [*first.shape[:d], *first.shape[d + 1 :]]:
            raise RuntimeError(
                f"All tensors must have the same shape: {list(first.shape)} (except in the concatenating dimension), "
                f"but got {list(p.shape)} at position {i}"
            )
    shape = list(first.shape)
    shape[d] = sum(p.shape[d] for p in parts)
    where, values, before = [], [], 0
    for p in parts:
        index, data = p._where[0], p._data
        if d < n:
            index = index.clone()
            index[d] += before
        else:
            lead, after = data.shape[: d - n + 1], data.shape[d - n + 2 :]
            zeros = [data.new_zeros((*lead, size, *after)) for size in (before, shape[d] - before - p.shape[d])]
            data = ops.cat([zeros[0], data, zeros[1]], d - n + 1)
        before += p.shape[d]
        where.append(index)
        values.append(data)
    return make_coo(ops.cat(where, 1), ops.cat(values), shape)


@SparseTensor.implements("stack")
def stack(tensors: Sequence[Any], dim: int = 0) -> SparseTensor:
    """Side by side along another dimension."""
    return cat([unsqueeze(x, dim) for x in tensors], dim)


@SparseTensor.implements("index_select")
def index_select(input: Any, dim: int, index: Any) -> SparseTensor:
    """The slices at ``index`` along a dimension."""
    s = coo(input)
    d, n = dim_of(dim, s.dim(), "index_select"), s._where[0].shape[0]
    shape = list(s.shape)
    size = shape[d]
    shape[d] = index.shape[0]
    if d >= n:
        return make_coo(s._where[0], s._data.index_select(d - n + 1, index), shape, s._coalesced)
    if index.numel() and not (-size <= int(index.min()) and int(index.max()) < size):
        raise IndexError(
            f"index_select(): index contains {index.tolist()}, out of range for tensor of size {list(s.shape)}"
        )
    s = coalesced(s)
    # every pair of a stored element and a place where its slice is asked for
    wanted, order = (index % size).sort(stable=True)
    line = s._where[0][d]
    low, high = ops.searchsorted(wanted, line), ops.searchsorted(wanted, line, right=True)
    times = high - low
    source = ops.arange(line.shape[0], dtype=int64).repeat_interleave(times)
    within = ops.arange(source.shape[0], dtype=int64) - (times.cumsum(0) - times).index_select(0, source)
    where = s._where[0].index_select(1, source)
    where[d] = order.index_select(0, low.index_select(0, source) + within)
    return coalesced(make_coo(where, s._data.index_select(0, source), shape))


@SparseTensor.implements("select")
def select(input: Any, dim: int, index: int) -> Any:
    """One slice: dense if no sparse dimension remains."""
    s = coo(input)
    d, n = dim_of(dim, s.dim(), "select"), s._where[0].shape[0]
    size = s.shape[d]
    if not -size <= index < size:
        raise IndexError(f"select(): index {index} out of range for tensor of size {list(s.shape)} at dimension {d}")
    index %= size
    shape = [*s.shape[:d], *s.shape[d + 1 :]]
    if d >= n:
        return make_coo(s._where[0], s._data.select(d - n + 1, index), shape, s._coalesced)
    at = (s._where[0][d] == index).nonzero().squeeze(1)
    data = s._data.index_select(0, at)
    if n == 1:
        return data.sum(0)
    where = ops.cat([s._where[0][:d], s._where[0][d + 1 :]]).index_select(1, at)
    found = make_coo(where, data, shape, s._coalesced)
    return found if input._kind is members.sparse_coo or len(shape) < 2 else compress(found, input._kind)


@SparseTensor.implements("narrow")
def narrow(input: Any, dim: int, start: int, length: int) -> SparseTensor:
    """The slices from ``start`` on."""
    return index_select(input, dim, ops.arange(int(start), int(start) + length, dtype=int64))


@SparseTensor.implements("__getitem__")
def getitem(self: Any, index: Any) -> Any:
    """Numbers and ranges, one for each of the first dimensions."""
    found, d = self, 0
    for item in index if isinstance(index, tuple) else (index,):
        if isinstance(item, int):
            found = select(found, d, item) if isinstance(found, SparseTensor) else found[item]
        elif isinstance(item, slice):
            start, stop, step = item.indices(found.shape[d])
            if (start, stop, step) != (0, found.shape[d], 1):
                found = index_select(found, d, ops.arange(start, stop, step, dtype=int64))
            d += 1
        else:
            raise NotImplementedError(f"indexing a sparse tensor with {type(item).__name__}; use index_select")
    return found


@SparseTensor.implements("unbind")
def unbind(input: Any, dim: int = 0) -> tuple[Any, ...]:
    """All slices along a dimension."""
    return tuple(select(input, dim, i) for i in range(input.shape[dim]))


SparseTensor.implements("__iter__")(lambda self: iter(unbind(self)))
SparseTensor.implements("is_contiguous")(lambda self, memory_format=None: False)
SparseTensor.implements("is_pinned")(lambda self, device=None: False)
SparseTensor.implements("stride")(lambda self, dim=None: (0,) * self.dim() if dim is None else 0)
SparseTensor.implements("is_same_size")(lambda self, other: tuple(self.shape) == tuple(other.shape))
assert set(_TURNED) == {*ROWS, *COLUMNS}


@SparseTensor.implements("item")
def item(self: Any) -> Any:
    """The number of a tensor of one element."""
    if self.numel() != 1:
        raise RuntimeError(f"a Tensor with {self.numel()} elements cannot be converted to Scalar")
    return coo(self)._data.sum().item()


@SparseTensor.implements("numpy", "__array__", "_array")
def _numpy(self: Any, *args: Any, **kwargs: Any) -> Any:
    raise TypeError("can't convert Sparse layout tensor to numpy. Use Tensor.to_dense() first.")
