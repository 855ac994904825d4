"""Coordinates: an index tensor of (sparse dims, n) and n values, each a number or a dense tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import ops
from ..dtype import int64
from ..ops import members
from ..tensor import Tensor
from .base import SparseTensor, make_sparse

__all__ = ["coalesced", "coo", "keys", "make_coo", "unravel"]


def make_coo(
    indices: Tensor, values: Any, shape: Sequence[int], is_coalesced: bool = False, checked: bool = True
) -> SparseTensor:
    """A COO tensor of these parts, which are not checked; indices that are not ``checked`` are at their first use."""
    return make_sparse(members.sparse_coo, (indices,), values, shape, is_coalesced, checked)


def keys(indices: Any, shape: Sequence[int]) -> Any:
    """The row-major number of each column of indices in a space of this shape."""
    if not shape:
        return ops.zeros(indices.shape[1], dtype=int64, device=indices.device)
    found = indices[0]
    for d, size in enumerate(shape[1:], 1):
        found = found * size + indices[d]
    return found


def unravel(key: Any, shape: Sequence[int]) -> Any:
    """The indices (len(shape), n) of row-major numbers."""
    rows = []
    for size in reversed(shape):
        rows.append(key % size)
        key = key // size
    return ops.stack(rows[::-1]) if rows else ops.zeros((0, key.shape[0]), dtype=int64, device=key.device)


def sparse_shape(t: SparseTensor) -> tuple[int, ...]:
    """The sizes of the dimensions that have indices."""
    return tuple(t.shape[: t._where[0].shape[0]])


def coalesced(t: SparseTensor) -> SparseTensor:
    """The tensor with sorted, unique indices; values of one index are added."""
    if t._coalesced:
        return t
    indices, values, shape = t._where[0], t._data, sparse_shape(t)
    if indices.shape[1] < 2:
        return t._like(values, True)
    key, order = keys(indices, shape).sort(stable=True)
    unique, place = ops.unique_consecutive(key, return_inverse=True)
    values = values.index_select(0, order)
    if unique.shape[0] < key.shape[0]:
        values = ops.zeros((unique.shape[0], *values.shape[1:]), dtype=values.dtype).index_add(0, place, values)
    return make_coo(unravel(unique, shape), values, t.shape, True)


def coo(t: SparseTensor) -> SparseTensor:
    """The tensor in COO layout."""
    return t if t._kind is members.sparse_coo else t._table["to_sparse_coo"](t)


def scattered(t: SparseTensor) -> Tensor:
    """A dense tensor of the elements."""
    t = coo(t)
    shape = sparse_shape(t)
    rest = tuple(t.shape[len(shape) :])
    flat = ops.zeros((math.prod(shape), *rest), dtype=t.dtype, device=t.device)
    return flat.index_add_(0, keys(t._where[0], shape), t._data).view(t.shape)


def gathered(dense: Any, t: SparseTensor) -> Any:
    """The elements of a dense tensor at the indices of a COO tensor."""
    return dense[tuple(t._where[0].unbind(0))] if t._where[0].shape[0] else dense.unsqueeze(0)


def from_dense(dense: Any, sparse_dims: int) -> SparseTensor:
    """The elements that are not zero; with fewer sparse dimensions, all slices that have such an element."""
    if not 0 <= sparse_dims <= max(dense.ndim, 0):
        raise RuntimeError(f"sparse_dim(s) expected to be in range of [0, {dense.ndim}], but got {sparse_dims}")
    filled = dense.detach() != 0
    if sparse_dims < dense.ndim:
        filled = filled.flatten(sparse_dims).any(-1)
    indices = filled.nonzero().t().contiguous()
    if sparse_dims == 0:
        return make_coo(ops.zeros((0, 1), dtype=int64), dense.unsqueeze(0), dense.shape, True)
    return make_coo(indices, dense[tuple(indices.unbind(0))], dense.shape, True)


# -- members -----------------------------------------------------------------------------------------


def _need_coo(t: Any, name: str) -> None:
    if t.layout is not members.sparse_coo:
        raise RuntimeError(f"{name} expected sparse coordinate tensor layout but got {_title(t.layout)}")


def _title(layout: Any) -> str:
    return "".join(part.capitalize() for part in layout.name.split("_"))


@SparseTensor.implements("coalesce")
def _coalesce(self: Any) -> SparseTensor:
    """The tensor with its indices sorted and unique; values of one index are added.  RuntimeError unless in COO."""
    if self._coalesced:
        return self
    _need_coo(self, "coalesce")
    return coalesced(self)


@SparseTensor.implements("is_coalesced")
def _is_coalesced(self: Any) -> bool:
    """Whether indices are known to be sorted and unique.  RuntimeError unless in COO."""
    _need_coo(self, "is_coalesced")
    return self._coalesced


@SparseTensor.implements("_coalesced_")
def _set_coalesced(self: Any, coalesced: bool) -> SparseTensor:
    self._coalesced = coalesced
    return self


@SparseTensor.implements("indices")
def _indices_of(self: Any) -> Tensor:
    """The indices (sparse dims, n) of a coalesced tensor in COO; RuntimeError for others."""
    _need_coo(self, "indices")
    if not self._coalesced:
        raise RuntimeError("Cannot get indices on an uncoalesced tensor, please call .coalesce() first")
    return self._given[0]


@SparseTensor.implements("values")
def _values_of(self: Any) -> Tensor:
    """The values (n, dense dims...), of a tensor in COO only if it is coalesced; RuntimeError otherwise."""
    if self._kind is members.sparse_coo and not self._coalesced:
        raise RuntimeError("Cannot get values on an uncoalesced tensor, please call .coalesce() first")
    return self._data


@SparseTensor.implements("_indices")
def _raw_indices(self: Any) -> Tensor:
    """The indices (sparse dims, n) of a tensor in COO as they were given."""
    _need_coo(self, "_indices")
    return self._given[0]


@SparseTensor.implements("_values")
def _raw_values(self: Any) -> Tensor:
    """The values as they were given."""
    return self._data


@SparseTensor.implements("_nnz")
def _nnz(self: Any) -> int:
    """The number of stored elements; in blocked layouts of blocks."""
    return self._given[-1].shape[-1]


@SparseTensor.implements("sparse_dim", "_dimI")
def _sparse_dim(self: Any) -> int:
    """The number of dimensions that have indices."""
    return self._given[0].shape[0] if self._kind is members.sparse_coo else 2


@SparseTensor.implements("dense_dim", "_dimV")
def _dense_dim(self: Any) -> int:
    """The number of dimensions that each stored value has."""
    return self.dim() - _sparse_dim(self) - (self._given[0].dim() - 1 if self._kind is not members.sparse_coo else 0)


@SparseTensor.implements("to_dense")
def _to_dense(self: Any, dtype: Any = None, *, masked_grad: bool | None = None) -> Tensor:
    """The tensor with all its elements, of type ``dtype`` if given."""
    found = scattered(self)
    return found if dtype is None else found.to(dtype)


@SparseTensor.implements("sparse_mask")
def _sparse_mask(self: Any, mask: Any) -> SparseTensor:
    """The elements of this tensor where a sparse tensor of the same shape has some; RuntimeError for other masks."""
    if not isinstance(mask, SparseTensor):
        raise RuntimeError("sparse_mask expected a sparse mask: make one with to_sparse()")
    if tuple(self.shape) != tuple(mask.shape):
        raise RuntimeError(
            f"sparse_mask(): operands have incompatible sizes; self has size {list(self.shape)} but mask has size "
            f"{list(mask.shape)}"
        )
    if isinstance(self, SparseTensor):
        self = scattered(self)
    if mask._kind is members.sparse_coo:
        return mask._like(gathered(self, mask))
    indices = coo(mask)
    return mask._like(gathered(self, indices).reshape(mask._data.shape))


@SparseTensor.implements("sparse_resize_", "sparse_resize_and_clear_")
def _sparse_resize(self: Any, size: Sequence[int], sparse_dim: int, dense_dim: int) -> SparseTensor:
    """Gives a tensor in COO another size; RuntimeError if elements would change their number of dense dimensions."""
    _need_coo(self, "sparse_resize_")
    if len(size) != sparse_dim + dense_dim:
        raise RuntimeError(f"number of dimensions must be sparse_dim ({sparse_dim}) + dense_dim ({dense_dim})")
    if _nnz(self) and (tuple(size[sparse_dim:]) != tuple(self._data.shape[1:]) or sparse_dim != _sparse_dim(self)):
        raise RuntimeError("changing the number of sparse or dense dimensions of a non-empty tensor is not supported")
    empty = make_coo(
        ops.zeros((sparse_dim, 0), dtype=int64), ops.zeros((0, *size[sparse_dim:]), dtype=self.dtype), size, True
    )
    return self._replace(make_coo(self._where[0], self._data, size, self._coalesced) if _nnz(self) else empty)
