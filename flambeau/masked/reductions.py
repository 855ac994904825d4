"""Reductions and normalisations of the elements where a mask is true (None: all).

A result of no elements is the identity of the reduction (0 for sums, infinite for extremes) or NaN.
"""

from __future__ import annotations

import math
from typing import Any

from .. import ops
from ..dtype import dtype as dtype_
from ..dtype import float32, int64
from ..dtype_info import iinfo
from ..ops.common import dims_of
from ..tensor import Tensor
from .maskedtensor import MaskedTensor

__all__ = [
    "amax", "amin", "argmax", "argmin", "cumprod", "cumsum", "log_softmax", "logaddexp", "logsumexp", "mean", "median",
    "norm", "normalize", "prod", "softmax", "softmin", "std", "sum", "var",
]  # fmt: skip


def _parts(input: Any, mask: Any, dtype: dtype_ | None) -> tuple[Any, Any]:
    """(elements, mask or None, which has their shape)."""
    if isinstance(input, MaskedTensor):
        own = input._mask
        input, mask = input._data, own if mask is None else own & mask
    if dtype is not None:
        input = input.to(dtype)
    return input, None if mask is None else mask.expand(input.shape)


def _end(type_: dtype_, sign: int) -> Any:
    """The number at one end of a type."""
    if type_.is_floating_point:
        return sign * math.inf
    return (iinfo(type_).max if sign > 0 else iinfo(type_).min) if type_.kind in "iu" else sign > 0


def _kept(x: Any, mask: Any, instead: Any) -> Any:
    """The elements, with a number in the place of those left out."""
    return x if mask is None else ops.where(mask, x, ops.full((), instead, dtype=x.dtype, device=x.device))


def _wide(x: Any, dtype: dtype_ | None) -> Any:
    return x.to(int64) if dtype is None and x.dtype.kind in "bui" else x


def _dims(x: Any, dim: Any, name: str) -> list[int]:
    return list(dims_of(dim, x.ndim, name))


def _count(x: Any, mask: Any, dims: list[int], keepdim: bool) -> Any:
    """How many elements each result is of."""
    if mask is None:
        return math.prod(x.shape[d] for d in dims)
    return mask.sum(dims, keepdim) if dims else mask.to(int64)


def sum(
    input: Any, dim: Any = None, *, keepdim: bool | None = False, dtype: dtype_ | None = None, mask: Any = None
) -> Tensor:
    """The sum over ``dim`` (None: all) where ``mask`` is true."""
    x, m = _parts(input, mask, dtype)
    x = _kept(_wide(x, dtype), m, 0)
    return x.sum(_dims(x, dim, "sum"), bool(keepdim)) if x.ndim else x


def prod(
    input: Any, dim: Any = None, *, keepdim: bool | None = False, dtype: dtype_ | None = None, mask: Any = None
) -> Tensor:
    """The product over ``dim`` (None: all) where ``mask`` is true."""
    x, m = _parts(input, mask, dtype)
    x = _kept(_wide(x, dtype), m, 1)
    for d in sorted(_dims(x, dim, "prod"), reverse=True) if x.ndim else []:
        x = x.prod(d, bool(keepdim))
    return x


def amax(
    input: Any, dim: Any = None, *, keepdim: bool | None = False, dtype: dtype_ | None = None, mask: Any = None
) -> Tensor:
    """The greatest element over ``dim`` (None: all) where ``mask`` is true."""
    x, m = _parts(input, mask, dtype)
    return _kept(x, m, _end(x.dtype, -1)).amax(_dims(x, dim, "amax"), bool(keepdim))


def amin(
    input: Any, dim: Any = None, *, keepdim: bool | None = False, dtype: dtype_ | None = None, mask: Any = None
) -> Tensor:
    """The least element over ``dim`` (None: all) where ``mask`` is true."""
    x, m = _parts(input, mask, dtype)
    return _kept(x, m, _end(x.dtype, +1)).amin(_dims(x, dim, "amin"), bool(keepdim))


def argmax(
    input: Any, dim: int | None = None, *, keepdim: bool | None = False, dtype: dtype_ | None = None, mask: Any = None
) -> Tensor:
    """The index of the greatest element along ``dim`` (None: of all in row-major order) where ``mask`` is true.

    The result has the type of ``input``, or ``dtype``, as PyTorch's.
    """
    x, m = _parts(input, mask, dtype)
    return _kept(x, m, _end(x.dtype, -1)).argmax(dim, bool(keepdim)).to(x.dtype)


def argmin(
    input: Any, dim: int | None = None, *, keepdim: bool | None = False, dtype: dtype_ | None = None, mask: Any = None
) -> Tensor:
    """The index of the least element along ``dim`` (None: of all in row-major order) where ``mask`` is true.

    The result has the type of ``input``, or ``dtype``, as PyTorch's.
    """
    x, m = _parts(input, mask, dtype)
    return _kept(x, m, _end(x.dtype, +1)).argmin(dim, bool(keepdim)).to(x.dtype)


def cumsum(input: Any, dim: int, *, dtype: dtype_ | None = None, mask: Any = None) -> Tensor:
    """Running sums along ``dim`` of the elements where ``mask`` is true; integers keep their type."""
    x, m = _parts(input, mask, dtype)
    return _kept(x, m, 0).cumsum(dim, dtype=x.dtype)


def cumprod(input: Any, dim: int, *, dtype: dtype_ | None = None, mask: Any = None) -> Tensor:
    """Running products along ``dim`` of the elements where ``mask`` is true; integers keep their type."""
    x, m = _parts(input, mask, dtype)
    return _kept(x, m, 1).cumprod(dim, dtype=x.dtype)


def mean(
    input: Any, dim: Any = None, *, keepdim: bool | None = False, dtype: dtype_ | None = None, mask: Any = None
) -> Tensor:
    """The mean over ``dim`` (None: all) where ``mask`` is true; integers as float32."""
    x, m = _parts(input, mask, dtype)
    x = x.to(float32) if x.dtype.kind in "bui" else x
    dims = _dims(x, dim, "mean")
    return _kept(x, m, 0).sum(dims, bool(keepdim)) / _count(x, m, dims, bool(keepdim))


def median(
    input: Any, dim: int = -1, *, keepdim: bool = False, dtype: dtype_ | None = None, mask: Any = None
) -> Tensor:
    """The lower median along ``dim`` where ``mask`` is true: NaN where a row has no element.

    Raises ValueError for such a row of other than floating-point elements, which are compared as float32.
    """
    x, m = _parts(input, mask, dtype)
    kind = x.dtype
    if not kind.is_floating_point:
        if m is not None and not m.any(dim).all():
            raise ValueError(
                f"masked median: a row has no element that is not masked out, and {kind} has no value that says so"
            )
        x = x.to(float32)
    return ops.nanmedian(_kept(x, m, math.nan), dim, keepdim).values.to(kind)


def norm(
    input: Any, ord: float | None = 2.0, dim: Any = None, *, keepdim: bool | None = False, dtype: dtype_ | None = None,
    mask: Any = None,
) -> Tensor:  # fmt: skip
    """The vector norm over ``dim`` (None: all) where ``mask`` is true."""
    x, m = _parts(input, mask, dtype)
    lowest = math.inf if ord is not None and ord < 0 else 0
    return ops.linalg_vector_norm(
        _kept(x, m, lowest), 2.0 if ord is None else ord, _dims(x, dim, "norm"), bool(keepdim)
    )


def var(
    input: Any, dim: Any = None, unbiased: bool | None = None, *, correction: int | float | None = None,
    keepdim: bool | None = False, dtype: dtype_ | None = None, mask: Any = None,
) -> Tensor:  # fmt: skip
    """The variance over ``dim`` (None: all) where ``mask`` is true, of n - ``correction`` degrees of freedom.

    ``unbiased`` stands for a correction of 1 (default) or 0; RuntimeError for both.
    """
    if unbiased is not None and correction is not None:
        raise RuntimeError("Only one of unbiased and correction may be given")
    less = correction if correction is not None else 1 if unbiased is None or unbiased else 0
    x, m = _parts(input, mask, dtype)
    x = x.to(float32) if x.dtype.kind in "bui" else x
    dims = _dims(x, dim, "var")
    count = _count(x, m, dims, True)
    off = x - _kept(x, m, 0).sum(dims, True) / count
    total = _kept(off * off.conj() if x.dtype.is_complex else off.square(), m, 0).sum(dims, bool(keepdim))
    freedom = _count(x, m, dims, bool(keepdim)) - less
    freedom = freedom.clamp(min=0).to(total.dtype) if isinstance(freedom, Tensor) else max(freedom, 0)  # type: ignore[attr-defined]
    return total / freedom  # type: ignore[attr-defined]


def std(
    input: Any, dim: Any = None, unbiased: bool | None = None, *, correction: int | None = None,
    keepdim: bool | None = False, dtype: dtype_ | None = None, mask: Any = None,
) -> Tensor:  # fmt: skip
    """The root of ``var``."""
    return var(input, dim, unbiased, correction=correction, keepdim=keepdim, dtype=dtype, mask=mask).sqrt()  # type: ignore[attr-defined]


def softmax(input: Any, dim: int, *, dtype: dtype_ | None = None, mask: Any = None) -> Tensor:
    """Softmax along ``dim`` of the elements where ``mask`` is true; others get 0, and NaN where there are none."""
    x, m = _parts(input, mask, dtype)
    return _kept(x, m, -math.inf).softmax(dim)


def log_softmax(input: Any, dim: int, *, dtype: dtype_ | None = None, mask: Any = None) -> Tensor:
    """The logarithm of ``softmax``."""
    x, m = _parts(input, mask, dtype)
    return _kept(x, m, -math.inf).log_softmax(dim)


def softmin(input: Any, dim: int, *, dtype: dtype_ | None = None, mask: Any = None) -> Tensor:
    """Softmax of the negative elements."""
    x, m = _parts(input, mask, dtype)
    return _kept(-x, m, -math.inf).softmax(dim)


def normalize(
    input: Any, ord: float, dim: int, *, eps: float = 1e-12, dtype: dtype_ | None = None, mask: Any = None
) -> Tensor:
    """The elements over their norm along ``dim`` where ``mask`` is true (at least ``eps``); 0 elsewhere."""
    x, m = _parts(input, mask, dtype)
    size = norm(x, ord, dim, keepdim=True, mask=m).clamp(min=eps)  # type: ignore[attr-defined]
    return _kept(x, m, 0) / size


def logsumexp(
    input: Any, dim: Any = None, *, keepdim: bool = False, dtype: dtype_ | None = None, mask: Any = None
) -> Tensor:
    """The logarithm of the sum of exponentials over ``dim`` (None: all) where ``mask`` is true."""
    x, m = _parts(input, mask, dtype)
    if x.dtype.kind == "f" or x.dtype.is_complex:
        return _kept(x, m, -math.inf).logsumexp(_dims(x, dim, "logsumexp"), keepdim)
    return _kept(x.to(float32), m, -math.inf).logsumexp(_dims(x, dim, "logsumexp"), keepdim).to(x.dtype)


def logaddexp(
    input: Any, other: Any, *, dtype: dtype_ | None = None, input_mask: Any = None, other_mask: Any = None
) -> Tensor:
    """``log(exp(input) + exp(other))`` of the elements where the masks are true."""
    (a, m), (b, n) = _parts(input, input_mask, dtype), _parts(other, other_mask, dtype)
    return ops.logaddexp(_kept(a, m, -math.inf), _kept(b, n, -math.inf))
