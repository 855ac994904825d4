"""Methods of every tensor that have to do with sparse ones: conversions of dense tensors, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..composed import member_of
from ..ops import members
from ..tensor import Tensor
from .base import SparseTensor
from .compressed import compress
from .compressed import to_sparse as _to_sparse
from .products import smm, sspaddmm

__all__ = ["METHODS"]

_EXPECTED = {
    "coalesce": "coordinate tensor", "is_coalesced": "coordinate tensor", "indices": "coordinate tensor",
    "_indices": "coordinate tensor", "_values": "tensor", "_nnz": "tensor", "values": "tensor",
    "crow_indices": "row compressed tensor", "col_indices": "row compressed tensor",
    "ccol_indices": "column compressed tensor", "row_indices": "column compressed tensor",
    "sparse_resize_": "tensor", "sparse_resize_and_clear_": "tensor",
}  # fmt: skip


def _refusal(name: str) -> Callable[..., Any]:
    def dense(self: Tensor, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(f"{name} expected sparse {_EXPECTED[name]} layout but got Strided")

    dense.__doc__ = f"``{name}`` of a sparse tensor; RuntimeError for a dense one."
    return member_of(name, dense, SparseTensor._table[name])


def _to(kind: Any) -> Callable[..., Any]:
    def plain(self: Tensor, dense_dim: int | None = None) -> Any:
        return compress(self, kind, None, dense_dim)

    def blocks(self: Tensor, blocksize: Any, dense_dim: int | None = None) -> Any:
        return compress(self, kind, tuple(blocksize), dense_dim)

    convert = blocks if "bs" in kind.name else plain
    convert.__doc__ = f"The tensor in the layout {kind}."
    return member_of(f"to_{kind.name}", convert)


def to_sparse_coo(self: Tensor) -> Any:
    """The tensor in COO layout."""
    return _to_sparse(self)


def sparse_mask(self: Tensor, mask: Any) -> Any:
    """The elements where the sparse ``mask`` has some, in its layout."""
    return SparseTensor._table["sparse_mask"](self, mask)


METHODS: dict[str, Callable[..., Any]] = {
    **{name: _refusal(name) for name in _EXPECTED},
    **{
        f"to_{k.name}": _to(k) for k in (members.sparse_csr, members.sparse_csc, members.sparse_bsr, members.sparse_bsc)
    },
    "to_sparse": member_of("to_sparse", _to_sparse),
    "to_sparse_coo": member_of("to_sparse_coo", to_sparse_coo),
    "sparse_mask": member_of("sparse_mask", sparse_mask),
    "smm": smm,
    "sspaddmm": sspaddmm,
}
