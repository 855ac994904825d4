"""Elementwise operators and reductions of sparse tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .. import ops
from ..dtype import int64, promote_types
from ..ops import members
from ..ops.common import dims_of
from ..tensor import Tensor
from .base import SparseTensor
from .compressed import compress
from .coo import coalesced, coo, gathered, keys, make_coo, scattered, sparse_shape

__all__ = ["sum_sparse"]

# f(0) = 0, so that elements not stored stay zero; of a linear function values of one index need not be added first
_LINEAR = (
    "neg clone contiguous to double float half bfloat16 int long short cdouble cfloat real imag conj conj_physical "
    "positive cpu"
)
_ZERO_AT_ZERO = (
    "abs asin asinh atan atanh ceil deg2rad erf erfinv expm1 floor frac isinf isnan isneginf isposinf log1p nan_to_num "
    "rad2deg relu round sgn sign signbit sin sinh sqrt square tan tanh trunc angle bool"
)


def _mapped(name: str, linear: bool) -> Callable[..., Any]:
    def operator(self: Any, *args: Any, **kwargs: Any) -> Any:
        t = self if linear or self._kind is not members.sparse_coo else coalesced(self)
        kwargs.pop("memory_format", None)
        return t._like(getattr(t._data, name)(*args, **kwargs))

    return operator


for _name in _LINEAR.split():
    SparseTensor.implements(_name)(_mapped(_name, True))
for _name in _ZERO_AT_ZERO.split():
    SparseTensor.implements(_name)(_mapped(_name, False))


def _restored(t: SparseTensor, like: SparseTensor) -> SparseTensor:
    """A COO tensor in the layout of another."""
    if like._kind is members.sparse_coo:
        return t
    blocks = like._data.shape[1:3] if like._kind in (members.sparse_bsr, members.sparse_bsc) else None
    return compress(t, like._kind, blocks)


@SparseTensor.implements("add")
def add(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """``input + alpha * other``: of two sparse tensors a sparse one; of a dense and a sparse one a dense one."""
    if not isinstance(input, SparseTensor):
        if not isinstance(input, Tensor):
            raise TypeError(f"add(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
        return _added_to_dense(input.clone(), other, alpha)
    if not isinstance(other, SparseTensor):
        if input._kind is members.sparse_coo:
            raise RuntimeError("add(sparse, dense) is not supported. Use add(dense, sparse) instead.")
        return _added_to_dense(other * alpha, input, 1)
    if tuple(input.shape) != tuple(other.shape):
        raise RuntimeError(
            f"add: expected sizes of 'self' and 'other' to match, but {list(input.shape)} != {list(other.shape)}"
        )
    a, b = coo(input), coo(other)
    values = b._data if alpha == 1 else b._data * alpha
    common = promote_types(a.dtype, values.dtype)
    found = make_coo(
        ops.cat([a._where[0], b._where[0]], 1), ops.cat([a._data.to(common), values.to(common)]), input.shape
    )
    both = a._coalesced and b._coalesced
    return _restored(coalesced(found) if both or input._kind is not members.sparse_coo else found, input)


def _added_to_dense(dense: Any, other: SparseTensor, alpha: Any) -> Any:
    """Adds the elements of a sparse tensor to a dense one in place."""
    if tuple(dense.shape) != tuple(other.shape):
        raise RuntimeError(
            f"add: Expected 'self' to have same size as 'other', but self has size {list(dense.shape)} while other has "
            f"size {list(other.shape)} (FYI: dense-sparse addition does not currently support broadcasting)"
        )
    other = coo(other)
    values = other._data if alpha == 1 else other._data * alpha
    index = other._where[0]
    if index.shape[0] == 1:
        return dense.index_add_(0, index[0], values.to(dense.dtype))
    if index.shape[0] == 0:
        return dense.add_(values.sum(0))
    return dense.index_put_(tuple(index.unbind(0)), values.to(dense.dtype), accumulate=True)


@SparseTensor.implements("add_")
def add_(self: Any, other: Any, *, alpha: Any = 1) -> Any:
    """``add`` in place."""
    if isinstance(self, SparseTensor):
        return self._replace(add(self, other, alpha=alpha))
    return _added_to_dense(self, other, alpha)


@SparseTensor.implements("sub")
def sub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    """``input - alpha * other``."""
    return add(input, other, alpha=-alpha)


@SparseTensor.implements("sub_")
def sub_(self: Any, other: Any, *, alpha: Any = 1) -> Any:
    """``sub`` in place."""
    return add_(self, other, alpha=-alpha)


def _is_number(value: Any) -> bool:
    return not isinstance(value, Tensor) or (value.ndim == 0 and not isinstance(value, SparseTensor))


@SparseTensor.implements("mul")
def mul(input: Any, other: Any) -> Any:
    """The product; elements that one of both does not store are zero."""
    if not isinstance(input, SparseTensor):
        input, other = other, input
    if _is_number(other):
        return input._like(input._data * other)
    if isinstance(other, SparseTensor):
        return _restored(_intersection(coalesced(coo(input)), coalesced(coo(other))), input)
    t = coo(input)
    return _restored(t._like(t._data * gathered(other.expand(t.shape), t)), input)


def _intersection(a: SparseTensor, b: SparseTensor) -> SparseTensor:
    """The product of coalesced tensors: of the indices that both have."""
    if tuple(a.shape) != tuple(b.shape):
        raise RuntimeError(
            f"mul: expected 'self' and 'other' to have same sizes, but {list(a.shape)} != {list(b.shape)}"
        )
    if a._where[0].shape[0] != b._where[0].shape[0]:
        raise RuntimeError("mul: expected 'self' and 'other' to have the same number of sparse dimensions")
    shape = sparse_shape(a)
    first, second = keys(a._where[0], shape), keys(b._where[0], shape)
    if not second.shape[0]:
        at = ops.zeros(0, dtype=int64)
        return make_coo(a._where[0][:, :0], a._data[:0] * b._data[:0].sum(), a.shape, True)
    place = ops.searchsorted(second, first).clamp(max=second.shape[0] - 1)
    at = (second[place] == first).nonzero().squeeze(1)
    values = a._data.index_select(0, at) * b._data.index_select(0, place.index_select(0, at))
    return make_coo(a._where[0].index_select(1, at), values, a.shape, True)


@SparseTensor.implements("div", "true_divide")
def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    """The quotient by a number or 0-dim tensor."""
    if not isinstance(input, SparseTensor) or not _is_number(other):
        raise RuntimeError("div: Sparse division requires a scalar or zero-dim tensor divisor (got shape "
                           f"{list(getattr(other, 'shape', []))} for divisor)")  # fmt: skip
    t = input if rounding_mode is None else coalesced(coo(input))
    return t._like(t._data.div(other, rounding_mode=rounding_mode))


@SparseTensor.implements("pow")
def power(input: Any, exponent: Any) -> Any:
    """A positive power of each element."""
    if not isinstance(input, SparseTensor) or isinstance(exponent, Tensor):
        raise RuntimeError("pow: only a sparse tensor to the power of a number is supported")
    if exponent == 0:
        raise RuntimeError("pow: cannot raise to zeroth power on sparse tensor; it would make the result tensor dense")
    t = coalesced(coo(input)) if input._kind is members.sparse_coo else input
    return t._like(t._data.pow(exponent))


@SparseTensor.implements("zero")
def zero(self: Any) -> Any:
    """Without elements."""
    t = coo(self)
    return _restored(make_coo(t._where[0][:, :0], t._data.detach()[:0], self.shape, True), self)


@SparseTensor.implements("zeros_like", "empty_like")
def _zeros_like(input: Any, *, dtype: Any = None, requires_grad: bool = False, **kwargs: Any) -> Any:
    found = zero(input if dtype is None else input.to(dtype))
    return found.requires_grad_() if requires_grad else found


@SparseTensor.implements("zero_")
def zero_(self: Any) -> Any:
    """Forgets all elements."""
    return self._replace(zero(self))


@SparseTensor.implements("copy_")
def copy_(self: Any, src: Any, non_blocking: bool = False) -> Any:
    """Takes the elements of another tensor; a dense one takes all, zeros too."""
    if isinstance(self, SparseTensor):
        if not isinstance(src, SparseTensor):
            raise RuntimeError("copy_() between dense and sparse Tensors is not implemented! Found self type = sparse")
        return self._replace(src._like(src._data.to(self.dtype)))
    return self.copy_(scattered(src))


# -- reductions --------------------------------------------------------------------------------------


@SparseTensor.implements("sum")
def sum_sparse(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """The sum: over all dimensions a dense number, over some a sparse tensor unless no sparse dimension remains."""
    t = coo(input)
    data = t._data if dtype is None else t._data.to(dtype)
    if dim is None or (isinstance(dim, Sequence) and not len(dim)):
        return data.sum()
    dims = dims_of(dim, t.dim(), "sum")
    n = t._where[0].shape[0]
    dense = [d - n + 1 for d in dims if d >= n]
    if dense:
        data = data.sum(dense, keepdim)
    kept = [d for d in range(n) if d not in dims]
    if not kept and not keepdim:
        return data.sum(0)
    where = t._where[0]
    if keepdim:
        where = where.clone()
        where[[d for d in dims if d < n]] = 0
        shape = tuple(1 if d in dims else s for d, s in enumerate(t.shape))
    else:
        where = where[kept]
        shape = tuple(s for d, s in enumerate(t.shape) if d not in dims)
    return _restored(coalesced(make_coo(where, data, shape)), input)


SparseTensor.implements("mean")(
    lambda input, *args, **kwargs: sum_sparse(input, *args, **kwargs) / _reduced(input, *args)
)


def _reduced(t: Any, dim: Any = None, *args: Any) -> int:
    """How many elements each mean is of."""
    found = 1
    for d in dims_of(dim, t.dim(), "mean"):
        found *= t.shape[d]
    return found


@SparseTensor.implements("norm")
def norm(input: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    """The norm of all elements."""
    if dim is not None and len(dims_of(dim, input.dim(), "norm")) < input.dim():
        raise RuntimeError("norm_sparse currently only supports full reductions, so 'dim' must name all or none")
    t = coalesced(coo(input)) if input._kind is members.sparse_coo else input
    found = t._data.norm(p, dtype=dtype)
    return found.reshape((1,) * input.dim()) if keepdim else found


SparseTensor.implements("native_norm", "linalg_vector_norm")(
    lambda x, ord=2, dim=None, keepdim=False, *, dtype=None: norm(x, ord, dim, keepdim, dtype)
)


@SparseTensor.implements("any")
def _any(input: Any, *args: Any) -> Any:
    return coalesced(coo(input))._data.any()


def softmax_like(input: Any, dim: int, dtype: Any, logarithm: bool) -> SparseTensor:
    """Softmax over the stored elements along ``dim``: those not stored are taken as minus infinity."""
    t = coalesced(coo(input))
    data = t._data if dtype is None else t._data.to(dtype)
    (d,) = dims_of(dim, t.dim(), "softmax")
    n = t._where[0].shape[0]
    if d >= n:
        data = data.log_softmax(d - n + 1) if logarithm else data.softmax(d - n + 1)
        return t._like(data)
    kept = [k for k in range(n) if k != d]
    shape = tuple(t.shape[k] for k in kept)
    group, count = keys(t._where[0][kept], shape), math.prod(shape)
    if count > data.shape[0]:  # more rows than elements: only those that have some are worth a place
        numbered = ops.unique_consecutive if d == n - 1 else ops.unique  # the indices are sorted
        unique, group = numbered(group, return_inverse=True)
        count = unique.shape[0]
    rest = tuple(data.shape[1:])
    spread = group.reshape((-1, *(1,) * len(rest))).expand(data.shape)
    low = ops.full((count, *rest), float("-inf"), dtype=data.dtype)
    top = low.scatter_reduce(0, spread, data.detach(), "amax", include_self=False)
    off = data - top.index_select(0, group)
    scale = off.exp()
    total = ops.zeros((count, *rest), dtype=data.dtype).index_add(0, group, scale).index_select(0, group)
    return _restored(t._like(off - total.log() if logarithm else scale / total), input)


SparseTensor.implements("softmax")(lambda input, dim, dtype=None: softmax_like(input, dim, dtype, False))
SparseTensor.implements("log_softmax")(lambda input, dim, dtype=None: softmax_like(input, dim, dtype, True))
