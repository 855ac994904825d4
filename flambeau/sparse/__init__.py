"""Sparse tensors: PyTorch's ``torch.sparse``, and the constructors of the main namespace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import ops
from ..dtype import int64
from ..tensor import Tensor
from . import display
from .base import SparseTensor
from .compressed import to_sparse
from .coo import coalesced, make_coo
from .create import (
    check_sparse_tensor_invariants,
    sparse_bsc_tensor,
    sparse_bsr_tensor,
    sparse_compressed_tensor,
    sparse_coo_tensor,
    sparse_csc_tensor,
    sparse_csr_tensor,
)
from .pointwise import softmax_like, sum_sparse
from .products import addmm as _addmm
from .products import hspmm, mm, sampled_addmm, smm, sspaddmm

__all__ = [
    "addmm", "as_sparse_gradcheck", "check_sparse_tensor_invariants", "log_softmax", "mm", "sampled_addmm", "softmax",
    "spdiags", "spsolve", "sum",
]  # fmt: skip


def addmm(mat: Any, mat1: Any, mat2: Any, *, beta: float = 1.0, alpha: float = 1.0) -> Any:
    """``beta * mat + alpha * mat1 @ mat2`` with a sparse ``mat1``."""
    return _addmm(mat, mat1, mat2, beta=beta, alpha=alpha)


def sum(input: Any, dim: Any = None, dtype: Any = None) -> Any:
    """The sum of a sparse tensor, over all dimensions (a dense number) or over some of them."""
    return sum_sparse(input, dim, dtype=dtype)


def softmax(input: Any, dim: int, *, dtype: Any = None) -> Any:
    """Softmax of the stored elements along ``dim``; those not stored are taken as minus infinity."""
    return softmax_like(input, dim, dtype, False)


def log_softmax(input: Any, dim: int, *, dtype: Any = None) -> Any:
    """The logarithm of ``softmax``."""
    return softmax_like(input, dim, dtype, True)


def spdiags(diagonals: Any, offsets: Any, shape: Sequence[int], layout: Any = None) -> Any:
    """A sparse matrix with the rows of ``diagonals`` along the diagonals numbered ``offsets``.

    Raises RuntimeError for shapes that do not fit, ValueError for offsets that repeat.
    """
    diagonals, offsets = ops.atleast_2d(diagonals), ops.atleast_1d(offsets).to(int64)
    if len(shape) != 2 or diagonals.dim() != 2 or offsets.shape[0] != diagonals.shape[0]:
        raise RuntimeError(
            f"spdiags: number of diagonals ({diagonals.shape[0]}) does not match the number of offsets "
            f"({offsets.shape[0]}), or the output shape {tuple(shape)} is not 2-dimensional"
        )
    if len(set(offsets.tolist())) != offsets.shape[0]:
        raise RuntimeError("spdiags: Offset tensor contains duplicate values")
    columns = ops.arange(diagonals.shape[1], dtype=int64).expand(diagonals.shape)
    rows = columns - offsets.unsqueeze(-1)
    inside = ((rows >= 0) & (rows < shape[0]) & (columns < shape[1])).nonzero().unbind(1)
    found = make_coo(ops.stack([rows[inside], columns[inside]]), diagonals[inside], shape)
    return found if layout is None else to_sparse(coalesced(found), layout=layout)


def spsolve(input: Any, other: Any, *, left: bool = True) -> Any:
    """The solution of ``input @ x = other`` (``left``) or ``x @ input = other`` with a sparse square matrix."""
    matrix = input.to_dense()
    return ops.linalg_solve(matrix, other) if left else ops.linalg_solve(matrix.mT, other.mT).mT


def as_sparse_gradcheck(gradcheck: Callable[..., bool]) -> Callable[..., bool]:
    """A ``gradcheck`` that takes sparse inputs: it checks the derivatives by their stored elements."""

    def check(func: Callable[..., Any], inputs: Any, **kwargs: Any) -> bool:
        given = tuple(inputs) if isinstance(inputs, (list, tuple)) else (inputs,)
        kwargs.pop("masked", None)
        plain = tuple(x._data.detach().requires_grad_() if isinstance(x, SparseTensor) else x for x in given)

        def on_values(*values: Any) -> Any:
            rebuilt = [x._like(v) if isinstance(x, SparseTensor) else v for x, v in zip(given, values)]
            found = func(*rebuilt)
            outs = found if isinstance(found, (list, tuple)) else (found,)
            outs = tuple(o._data if isinstance(o, SparseTensor) else o for o in outs)
            return outs if isinstance(found, (list, tuple)) else outs[0]

        return gradcheck(on_values, plain, **kwargs)

    return check


def _copied(name: str) -> Callable[..., Any]:
    def function(input: Any, *, out: Any = None) -> Any:
        if not isinstance(input, Tensor):
            raise TypeError(f"{name}_copy(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
        found = getattr(input, name)().clone()
        return found if out is None else out.copy_(found)

    function.__name__ = function.__qualname__ = f"{name}_copy"
    function.__doc__ = f"A copy of ``input.{name}()``."
    return function


(indices_copy, values_copy, crow_indices_copy, col_indices_copy, ccol_indices_copy, row_indices_copy) = map(
    _copied, ("indices", "values", "crow_indices", "col_indices", "ccol_indices", "row_indices")
)
