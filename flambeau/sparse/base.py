"""The sparse tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ..composed import ComposedTensor
from ..ops import members
from ..tensor import Tensor

__all__ = ["BLOCKS", "COLUMNS", "ROWS", "SparseTensor", "check_indices", "index_bounds", "make_sparse"]

ROWS = (members.sparse_csr, members.sparse_bsr)
COLUMNS = (members.sparse_csc, members.sparse_bsc)
BLOCKS = (members.sparse_bsr, members.sparse_bsc)


class SparseTensor(ComposedTensor):
    """A tensor of which only some elements are stored; the others are zero.

    ``_where`` are the index tensors: one of (sparse dims, n) for COO, compressed and plain ones for the other layouts.
    ``_data`` are the values (n, dense dims...).  ``_coalesced`` says of COO that its indices are sorted and unique.
    Indices of COO that a user gave (``_given``) are checked when the first operator reads them: making a tensor of
    them, as loaders of data do by the thousand, costs no pass over them.
    """

    _kind: members.layout
    _given: tuple[Any, ...]
    _checked: bool
    _coalesced: bool
    _table: ClassVar[dict[str, Callable[..., Any]]] = {}
    _backend = "SparseCPU"

    @property
    def _where(self) -> tuple[Any, ...]:
        """The index tensors, which lie inside of the shape.  Raises RuntimeError if they do not."""
        if not self._checked:
            check_indices(self._given[0], self._layout.shape)
            self._checked = True
        return self._given

    @property
    def layout(self) -> members.layout:
        """How elements are stored."""
        return self._kind

    @property
    def is_sparse(self) -> bool:
        """Whether elements are stored by coordinates (COO)."""
        return self._kind is members.sparse_coo

    @property
    def is_sparse_csr(self) -> bool:
        """Whether elements are stored by compressed rows."""
        return self._kind is members.sparse_csr

    def _like(self, data: Any, coalesced: bool | None = None) -> SparseTensor:
        """A tensor of the same indices with other values."""
        shape = self._layout.shape
        return make_sparse(self._kind, self._where, data, shape, self._coalesced if coalesced is None else coalesced)

    def _matching(self, gradient: Any) -> Any:
        if isinstance(gradient, SparseTensor):
            return gradient._data
        return self._table["sparse_mask"](gradient, self)._data


def index_bounds(indices: Any) -> tuple[list[int], list[int]]:
    """The least and the greatest index of each row; 0 and -1 where there are none.  RuntimeError for negative ones."""
    if indices.numel():
        least, most = (found.tolist() for found in indices.aminmax(dim=1))
    else:
        least, most = [0] * indices.shape[0], [-1] * indices.shape[0]
    for d, value in enumerate(least):
        if value < 0:
            raise RuntimeError(f"found negative index {value} for dim {d}")
    return least, most


def check_indices(indices: Any, shape: Sequence[int]) -> None:
    """Raises RuntimeError for indices (sparse dims, n) outside of a tensor of this shape."""
    for d, value in enumerate(index_bounds(indices)[1]):
        if value >= shape[d]:
            raise RuntimeError(
                f"size is inconsistent with indices: for dim {d}, size is {shape[d]} but found index {value}"
            )


def make_sparse(
    kind: members.layout, where: Sequence[Tensor], data: Any, shape: Sequence[int], coalesced: bool = False,
    checked: bool = True,
) -> SparseTensor:  # fmt: skip
    """A sparse tensor of these parts, not checked here; without ``checked`` indices are when they are first used."""
    t = object.__new__(SparseTensor)
    t._shape_as(data.dtype, data.device, shape)
    t._kind, t._given, t._checked, t._data, t._coalesced = kind, tuple(where), checked, data, coalesced
    return t
