"""The sparse tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ..composed import ComposedTensor
from ..ops import members
from ..tensor import Tensor

__all__ = ["BLOCKS", "COLUMNS", "ROWS", "SparseTensor", "make_sparse"]

ROWS = (members.sparse_csr, members.sparse_bsr)
COLUMNS = (members.sparse_csc, members.sparse_bsc)
BLOCKS = (members.sparse_bsr, members.sparse_bsc)


class SparseTensor(ComposedTensor):
    """A tensor of which only some elements are stored; the others are zero.

    ``_where`` are the index tensors: one of (sparse dims, n) for COO, compressed and plain ones for the other layouts.
    ``_data`` are the values (n, dense dims...).  ``_coalesced`` says of COO that its indices are sorted and unique.
    """

    _kind: members.layout
    _where: tuple[Any, ...]
    _coalesced: bool
    _table: ClassVar[dict[str, Callable[..., Any]]] = {}
    _backend = "SparseCPU"

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


def make_sparse(
    kind: members.layout, where: Sequence[Tensor], data: Any, shape: Sequence[int], coalesced: bool = False
) -> SparseTensor:
    """A sparse tensor of these parts, which are not checked."""
    t = object.__new__(SparseTensor)
    t._shape_as(data.dtype, data.device, shape)
    t._kind, t._where, t._data, t._coalesced = kind, tuple(where), data, coalesced
    return t
