"""Compressed rows (CSR, BSR) and columns (CSC, BSC): pointers to where each begins, and the plain indices of the other
dimension; with leading batch dimensions, and values that are numbers or blocks, each possibly with dense dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import ops
from ..dispatch.callforms import call_forms
from ..dtype import bool_, int64
from ..ops import members
from ..ops.bags import numbers_of_rows
from ..tensor import Tensor
from .base import BLOCKS, COLUMNS, ROWS, SparseTensor, make_sparse
from .coo import coalesced, coo, from_dense, gathered, make_coo

__all__ = ["compress", "major"]


def major(kind: Any) -> int:
    """Which of the two sparse dimensions is compressed: 0 for rows, 1 for columns."""
    return 0 if kind in ROWS else 1


def _batch(t: SparseTensor) -> tuple[int, ...]:
    return tuple(t._where[0].shape[:-1])


def _block(t: SparseTensor) -> tuple[int, int]:
    """The size of a block: 1 x 1 for CSR and CSC."""
    at = len(_batch(t)) + 1
    return tuple(t._data.shape[at : at + 2]) if t._kind in BLOCKS else (1, 1)  # type: ignore[return-value]


@SparseTensor.implements("to_sparse_coo")
def _to_coo(self: Any) -> SparseTensor:
    """The elements by coordinates, in the order of the values."""
    if self._kind is members.sparse_coo:
        return self
    pointers, plain = (w.to(int64) for w in self._where)
    batch, (height, width) = _batch(self), _block(self)
    n = plain.shape[-1]
    if batch:
        space = math.prod(batch)
        lanes = [numbers_of_rows(p, n) for p in pointers.reshape(space, -1)]
        compressed = ops.cat(lanes) if lanes else ops.zeros(0, dtype=int64)
        numbers = ops.arange(space, dtype=int64).repeat_interleave(n)
        lead, rest = [], numbers
        for size in reversed(batch):
            lead.insert(0, rest % size)
            rest = rest // size
    else:
        compressed, lead = numbers_of_rows(pointers, n), []
    plain = plain.reshape(-1)
    rows, columns = (compressed, plain) if major(self._kind) == 0 else (plain, compressed)
    values = self._data.flatten(0, len(batch)) if batch else self._data
    if self._kind in BLOCKS:
        down, across = ops.arange(height, dtype=int64)[:, None], ops.arange(width, dtype=int64)[None, :]
        shape = (-1, height, width)
        rows = (rows[:, None, None] * height + down).expand(shape).reshape(-1)
        columns = (columns[:, None, None] * width + across).expand(shape).reshape(-1)
        lead = [x[:, None, None].expand(shape).reshape(-1) for x in lead]
        values = values.flatten(0, 2)
    sorted_ = self._kind is members.sparse_csr
    return make_coo(ops.stack([*lead, rows, columns]), values, self.shape, sorted_)


def compress(t: Any, kind: Any, blocksize: Sequence[int] | None = None, dense_dim: int | None = None) -> SparseTensor:
    """A matrix (or batch of matrices with as many elements each) in a compressed layout."""
    name = f"to_{kind.name}"
    if isinstance(t, SparseTensor):
        if t._kind is kind and (kind not in BLOCKS or blocksize is None or tuple(blocksize) == _block(t)):
            return t
        t = coalesced(coo(t))
        sparse_dims = t._where[0].shape[0]
    else:
        sparse_dims = t.ndim - (dense_dim or 0)
        if sparse_dims >= 2:
            t = from_dense(t, sparse_dims)
    if sparse_dims < 2:
        raise RuntimeError(f"{name}: only tensors with two or more sparse dimensions can be converted, got {t.ndim}")
    if kind in BLOCKS and blocksize is None:
        raise RuntimeError(f"{name}: conversion from Strided to {kind.name} needs a blocksize")
    if kind in BLOCKS and (len(blocksize) != 2 or min(blocksize) < 1):  # type: ignore[arg-type]
        raise RuntimeError(f"{name}: blocksize must be two positive ints, got {blocksize}")
    batch = tuple(t.shape[: sparse_dims - 2])
    if not batch:
        where, data = _compress(t._where[0], t._data, tuple(t.shape), kind, blocksize)
        return make_sparse(kind, where, data, t.shape)
    lanes = []
    for number in range(math.prod(batch)):
        index, rest = [], number
        for size in reversed(batch):
            index.insert(0, rest % size)
            rest //= size
        chosen = ops.ones(t._where[0].shape[1], dtype=bool_)
        for d, i in enumerate(index):
            chosen = chosen & (t._where[0][d] == i)
        at = chosen.nonzero().squeeze(1)
        part = t._where[0][len(batch) :].index_select(1, at)
        lanes.append(_compress(part, t._data.index_select(0, at), tuple(t.shape[len(batch) :]), kind, blocksize))
    if len({tuple(data.shape) for _, data in lanes}) > 1:
        raise RuntimeError(
            f"{name}: Expect the same number of specified elements per batch, got {[d.shape[0] for _, d in lanes]}"
        )
    where = [ops.stack([w[i] for w, _ in lanes]).reshape((*batch, -1)) for i in (0, 1)]
    data = ops.stack([d for _, d in lanes])
    return make_sparse(kind, where, data.reshape((*batch, *data.shape[1:])), t.shape)


def _compress(
    indices: Any, values: Any, shape: tuple[int, ...], kind: Any, blocksize: Sequence[int] | None
) -> tuple[list[Tensor], Any]:
    """((pointers, plain indices), values) of sorted, unique coordinates."""
    row, column = indices[0], indices[1]
    height, width = blocksize if kind in BLOCKS and blocksize is not None else (1, 1)
    if kind in BLOCKS:
        if shape[0] % height or shape[1] % width:
            raise RuntimeError(
                f"tensor sparse size ({shape[0]}, {shape[1]}) must be divisible by given blocksize ({height}, {width})"
            )
        down, across = row % height, column % width
        row, column = row // height, column // width
    first, second = (row, column) if major(kind) == 0 else (column, row)
    sizes = (shape[0] // height, shape[1] // width)
    count, other = sizes[major(kind)], sizes[1 - major(kind)]
    key = first * other + second
    if kind in BLOCKS:
        unique, place = ops.unique(key, return_inverse=True)
        blocks = ops.zeros((unique.shape[0] * height * width, *values.shape[1:]), dtype=values.dtype)
        values = blocks.index_add(0, (place * height + down) * width + across, values)
        values = values.reshape((unique.shape[0], height, width, *values.shape[1:]))
        key = unique
    elif kind is members.sparse_csc:
        key, order = key.sort()
        values = values.index_select(0, order)
    pointers = ops.searchsorted(key, ops.arange(count + 1, dtype=int64) * other)
    return [pointers, key % other if other else key], values


def _pointers_of(kinds: Sequence[Any], at: int, name: str, title: str) -> None:
    def member(self: Any) -> Tensor:
        if self.layout not in kinds:
            got = "".join(part.capitalize() for part in self.layout.name.split("_"))
            raise RuntimeError(f"{name} expected sparse {title} compressed tensor layout but got {got}")
        return self._where[at]

    part = f"first elements of each compressed {title}, and their count" if not at else f"indices within each {title}"
    member.__doc__ = f"The {part}.  RuntimeError for tensors in other layouts."
    SparseTensor.implements(name)(member)


_pointers_of(ROWS, 0, "crow_indices", "row")
_pointers_of(ROWS, 1, "col_indices", "row")
_pointers_of(COLUMNS, 0, "ccol_indices", "column")
_pointers_of(COLUMNS, 1, "row_indices", "column")

_KINDS = {kind.name: kind for kind in (*ROWS, *COLUMNS)}


def _conversion(kind: Any) -> None:
    def plain(self: Any, dense_dim: int | None = None) -> SparseTensor:
        return compress(self, kind, None, dense_dim)

    def blocks(self: Any, blocksize: Sequence[int], dense_dim: int | None = None) -> SparseTensor:
        return compress(self, kind, tuple(blocksize), dense_dim)

    SparseTensor.implements(f"to_{kind.name}")(blocks if kind in BLOCKS else plain)


for _kind in _KINDS.values():
    _conversion(_kind)


@SparseTensor.implements("to_sparse")
@call_forms(
    "to_sparse(sparse_dim)", "to_sparse(sparseDims)", "to_sparse(*, layout=None, blocksize=None, dense_dim=None)"
)
def to_sparse(
    self: Any, sparse_dim: Any = None, *, layout: Any = None, blocksize: Any = None, dense_dim: int | None = None,
    sparseDims: int | None = None,
) -> SparseTensor:  # fmt: skip
    """A tensor in a sparse layout: COO unless said otherwise."""
    if sparseDims is not None:  # as PyTorch's documentation calls it
        sparse_dim = sparseDims
    if isinstance(sparse_dim, members.layout):
        layout, sparse_dim = sparse_dim, None
    if layout is not None and layout is not members.sparse_coo:
        if layout not in _KINDS.values():
            raise RuntimeError(f"to_sparse: conversion to layout {layout} is not supported")
        return compress(self, layout, blocksize, dense_dim)
    if isinstance(self, SparseTensor):
        return coo(self)
    return from_dense(self, self.ndim if sparse_dim is None else sparse_dim)


@SparseTensor.implements("_elements_at")
def _elements_at(self: Any, dense: Any) -> Any:
    """The elements of a dense tensor where this one has values, in their order and shape."""
    return gathered(dense, coo(self)).reshape(self._data.shape)
