"""Products with sparse matrices: each row of the result is a sum of rows of the dense factor."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..dispatch.callforms import call_forms
from ..dtype import dtype, int64, promote_types
from ..ops import members
from ..ops.bags import bag_sums, row_products, suits, weighted_rows
from ..ops.common import blaming
from ..tensor import Tensor
from .base import SparseTensor
from .compressed import compress
from .coo import coalesced, coo, from_dense, make_coo, scattered
from .pointwise import add
from .structure import transpose

__all__ = ["addmm", "hspmm", "mm", "sampled_addmm", "smm", "spmm_rows", "sspaddmm"]


def _check(name: str, a: Any, b: Any) -> None:
    for t in (a, b):
        if not isinstance(t, Tensor):
            raise TypeError(f"{name}(): expected Tensor, but got {type(t).__name__}")
    if a.dim() != 2 or b.dim() != 2:
        raise RuntimeError(f"{name}: Tensors must be matrices, got {a.dim()}-D and {b.dim()}-D")
    if a.shape[1] != b.shape[0]:
        raise RuntimeError(
            f"{name}: mat1 and mat2 shapes cannot be multiplied ({a.shape[0]}x{a.shape[1]} and "
            f"{b.shape[0]}x{b.shape[1]})"
        )


def spmm_rows(a: SparseTensor, b: Any) -> Any:
    """Sparse (n, k) times dense (k, m)."""
    if a._kind is members.sparse_csr:
        pointers, columns = a._where
        common = promote_types(a.dtype, b.dtype)
        if a._data.ndim == 1 and common is b.dtype and suits(b, columns, pointers):
            return bag_sums.function(b, columns, pointers, a._data.to(common), True, False, -1, False)
    t = coo(a)
    rows, columns = t._where[0].unbind(0)
    common = promote_types(t.dtype, b.dtype)
    return weighted_rows.function(t._data.to(common), rows, columns, b.to(common), a.shape[0])


def _sparse_sparse(a: SparseTensor, b: SparseTensor) -> SparseTensor:
    """Gustavson's product: every element of a with the row of b at its column (F. G. Gustavson, 1978)."""
    a, right = coalesced(coo(a)), compress(b, members.sparse_csr)
    pointers, plain = right._where
    rows, columns = a._where[0].unbind(0)
    lengths = (pointers[1:] - pointers[:-1]).index_select(0, columns)
    source = ops.arange(rows.shape[0], dtype=int64).repeat_interleave(lengths)
    within = ops.arange(source.shape[0], dtype=int64) - (lengths.cumsum(0) - lengths).index_select(0, source)
    at = pointers.index_select(0, columns).index_select(0, source) + within
    where = ops.stack([rows.index_select(0, source), plain.index_select(0, at)])
    values = a._data.index_select(0, source) * right._data.index_select(0, at)
    return coalesced(make_coo(where, values, (a.shape[0], b.shape[1])))


_REDUCTIONS = ("sum", "mean", "amax", "amin")


def _reduced_rows(a: SparseTensor, b: Any, reduce: str) -> Any:
    """For every row of ``a`` the sum, mean, greatest or least of its elements' products with rows of ``b``; 0 where a
    row stores nothing.  Half precision is rounded once, at the end."""
    if reduce not in _REDUCTIONS:
        raise RuntimeError(f"mm: reduce argument must be either sum, mean, amax or amin, got {reduce}")
    if a.layout is not members.sparse_csr:
        raise RuntimeError(f"torch.sparse.mm: expected a sparse CSR mat1 with reduce, got {a.layout}")
    t = coo(a)
    rows, columns = t._where[0].unbind(0)
    kind = promote_types(t.dtype, b.dtype)
    terms = t._data.to(kind.wide).unsqueeze(-1) * b.to(kind.wide).index_select(0, columns)
    out = ops.zeros((a.shape[0], b.shape[1]), dtype=kind.wide)
    found = out.scatter_reduce(0, rows.unsqueeze(-1).expand(terms.shape), terms, reduce, include_self=False)
    return found.to(kind)


@SparseTensor.implements("mm", "_sparse_mm", "__matmul_mm")
@call_forms("mm(input, mat2, *, out=None)", "mm(input, mat2, out_dtype, *, out=None)", "mm(input, mat2, reduce)")
def mm(input: Any, mat2: Any, reduce: Any = None, *, out_dtype: dtype | None = None, out: Any = None) -> Any:
    """The product of two matrices of which at least one is sparse: sparse if both are, else dense.

    With ``reduce`` ("sum", "mean", "amax", "amin") the elements of a row of a CSR ``input``, times the rows of a dense
    ``mat2``, are combined in that way.  ``out_dtype``: the type in which to compute.
    """
    if isinstance(reduce, dtype):
        out_dtype, reduce = reduce, None
    if out_dtype is not None:
        input, mat2 = input.to(out_dtype), mat2.to(out_dtype)
    if out is not None:
        return out.copy_(mm(input, mat2, reduce))
    _check("mm", input, mat2)
    if reduce is not None:
        return _reduced_rows(input, mat2, reduce)
    if isinstance(input, SparseTensor) and isinstance(mat2, SparseTensor):
        found = _sparse_sparse(input, mat2)
        return found if input._kind is members.sparse_coo else compress(found, members.sparse_csr)
    if isinstance(input, SparseTensor):
        return spmm_rows(input, mat2)
    return spmm_rows(transpose(mat2, 0, 1), input.t()).t()


@SparseTensor.implements("matmul", "__matmul__")
def matmul(input: Any, other: Any) -> Any:
    """The product, of matrices, vectors or batches."""
    if input.dim() == 2 and other.dim() == 1:
        return mv(input, other)
    if input.dim() == 1 and other.dim() == 2:
        return mv(transpose(other, 0, 1) if isinstance(other, SparseTensor) else other.t(), input)
    if input.dim() == 2 and other.dim() == 2:
        return mm(input, other)
    if input.dim() == 3 and other.dim() == 3:
        return bmm(input, other)
    if isinstance(input, SparseTensor) and not isinstance(other, SparseTensor) and input.dim() == 2:
        # the sparse matrix with every matrix of a batch at once
        flat = other.movedim(-2, 0).reshape(other.shape[-2], -1)
        found = spmm_rows(input, flat).reshape((input.shape[0], *other.shape[:-2], other.shape[-1]))
        return found.movedim(0, -2)
    if isinstance(other, SparseTensor) and not isinstance(input, SparseTensor) and other.dim() == 2:
        return mm(input.reshape(-1, input.shape[-1]), other).reshape((*input.shape[:-1], other.shape[1]))
    raise NotImplementedError(f"matmul of sparse tensors of {input.dim()} and {other.dim()} dimensions")


@SparseTensor.implements("mv")
def mv(input: Any, vec: Any) -> Any:
    """A matrix times a vector."""
    if isinstance(vec, SparseTensor):
        vec = scattered(vec)
    if input.dim() != 2 or vec.dim() != 1 or input.shape[1] != vec.shape[0]:
        raise RuntimeError(f"mv: size mismatch, got input {list(input.shape)}, vec {list(vec.shape)}")
    return spmm_rows(input, vec.unsqueeze(-1)).squeeze(-1) if isinstance(input, SparseTensor) else input @ vec


@SparseTensor.implements("bmm")
def bmm(input: Any, mat2: Any) -> Any:
    """Products of a batch of sparse matrices with dense ones: one product with the matrices along a diagonal."""
    if not isinstance(input, SparseTensor) or isinstance(mat2, SparseTensor):
        raise NotImplementedError("bmm: only sparse with dense batches is supported")
    if input.dim() != 3 or mat2.dim() != 3 or input.shape[0] != mat2.shape[0] or input.shape[2] != mat2.shape[1]:
        raise RuntimeError(
            f"bmm_sparse: expected (b, n, k) and (b, k, m), got {list(input.shape)} and {list(mat2.shape)}"
        )
    t = coo(input)
    b, n, k = t.shape
    batch, rows, columns = t._where[0].unbind(0)
    wide = make_coo(ops.stack([batch * n + rows, batch * k + columns]), t._data, (b * n, b * k))
    return spmm_rows(wide, mat2.reshape(b * k, -1)).reshape(b, n, -1)


@SparseTensor.implements("addmm", "_sparse_addmm")
def addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """``beta * input + alpha * mat1 @ mat2``."""
    product = mm(mat1, mat2) if isinstance(mat1, SparseTensor) or isinstance(mat2, SparseTensor) else mat1 @ mat2
    product = product * alpha
    if beta == 0:
        return product
    scaled = input * beta
    if isinstance(scaled, SparseTensor) and not isinstance(product, SparseTensor):
        return add(product, scaled)
    return scaled + product


@blaming
def smm(input: Any, mat: Any) -> SparseTensor:
    """Sparse times dense, as a sparse tensor of the rows that are not empty."""
    return from_dense(mm(input, mat), 2)


@blaming
def sspaddmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1, out: Any = None) -> SparseTensor:
    """``beta * input + alpha * mat1 @ mat2`` of sparse ``input`` and ``mat1``, as a sparse tensor."""
    found = add(input * beta, smm(mat1, mat2) * alpha)
    return found if out is None else out._replace(found)


def hspmm(mat1: Any, mat2: Any, *, out: Any = None) -> SparseTensor:
    """Sparse times dense, as a tensor with one sparse dimension."""
    if not isinstance(mat1, SparseTensor) or isinstance(mat2, SparseTensor):
        raise NotImplementedError("hspmm: expected a sparse and a dense matrix; dense ones are multiplied by mm")
    found = from_dense(mm(mat1, mat2), 1)
    return found if out is None else out._replace(found)


def sampled_addmm(input: Any, mat1: Any, mat2: Any, *, beta: Any = 1.0, alpha: Any = 1.0) -> SparseTensor:
    """``beta * input + alpha * mat1 @ mat2`` where the sparse ``input`` has elements, and only there."""
    _check("sampled_addmm", mat1, mat2)
    rows, columns = coo(input)._where[0].unbind(0)
    found = row_products.function(mat1, mat2.t().contiguous().conj(), rows, columns).reshape(input._data.shape)
    return input._like(input._data * beta + found * alpha)


SparseTensor.implements("linear")(
    lambda input, weight, bias=None: matmul(input, transpose(weight, 0, 1)) + (0 if bias is None else bias)
)
SparseTensor.implements("__rmatmul__")(lambda self, other: matmul(other, self))
