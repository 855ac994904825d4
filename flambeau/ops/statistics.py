"""Variance and standard deviation, medians and quantiles, covariance."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import operator
from ..tensor import Tensor
from .common import dims_of, drop_dims, unreduce
from .elementwise import complex_of

__all__: list[str] = []


def _spread(input: Tensor, dims: Sequence[int], correction: float) -> tuple[Tensor, Tensor]:
    """(variance, mean) over ``dims`` in the type that is computed in, in two passes over each row."""
    kind = input.dtype
    work = kind.wide
    x = prim.cast(input, work)
    count = math.prod(input.shape[d] for d in dims)
    center = prim.apply("div", prim.reduce("add", x, dims), prim.cast(prim.size(count, work.to_real()), work))
    off = prim.apply("sub", x, center)
    if work.is_complex:
        re, im = prim.part("real", off), prim.part("imag", off)
        square = prim.apply("add", prim.apply("mul", re, re), prim.apply("mul", im, im))
    else:
        square = prim.apply("mul", off, off)
    left = max(0, count - correction)
    divisor = (prim.size if isinstance(left, int) else prim.const)(left, work.to_real())
    return prim.apply("div", prim.reduce("add", square, dims), divisor), center


@operator(name="_var_mean", method=False, function=False)
def var_mean_kernel(input: Tensor, dim: Any, correction: float, keepdim: bool) -> Any:
    """Variance and mean over ``dim``."""
    dims = dims_of(dim, input.ndim, "var_mean")
    kind = input.dtype
    return tuple(
        drop_dims(prim.cast(t, k), dims, keepdim)
        for t, k in zip(_spread(input, dims, correction), (kind.to_real(), kind))
    )


@var_mean_kernel.gradient("input")
def _(ctx, grad_var, grad_mean):  # type: ignore[no-untyped-def]
    shape = ctx.shape("input")
    count = math.prod(shape[d] for d in dims_of(ctx.dim, len(shape)))
    total = None if grad_var is None else _spread_back(ctx, grad_var)
    if grad_mean is not None:
        part = unreduce(prim.share(grad_mean, count) if count else grad_mean, ctx.dim, ctx.keepdim, shape)
        total = part if total is None else total + part
    return total


def _spread_back(ctx: Any, grad: Tensor) -> Tensor:
    """The gradient of the variance: ``2 (x - mean) / (n - correction)``."""
    shape = ctx.shape("input")
    dims = dims_of(ctx.dim, len(shape))
    left = math.prod(shape[d] for d in dims) - ctx.correction
    off = ctx.input - ctx.input.mean(dims, True) if shape else ctx.input * 0
    return unreduce(grad * (2.0 / left if left > 0 else math.nan), ctx.dim, ctx.keepdim, shape) * off  # type: ignore[no-any-return]


@operator(name="_var", method=False, function=False)
def var_kernel(input: Tensor, dim: Any, correction: float, keepdim: bool) -> Tensor:
    """The variance over ``dim``."""
    dims = dims_of(dim, input.ndim, "var")
    return drop_dims(prim.cast(_spread(input, dims, correction)[0], input.dtype.to_real()), dims, keepdim)


@var_kernel.gradient("input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return _spread_back(ctx, grad)


@operator(name="_std", method=False, function=False)
def std_kernel(input: Tensor, dim: Any, correction: float, keepdim: bool) -> Tensor:
    """The standard deviation over ``dim``."""
    dims = dims_of(dim, input.ndim, "std")
    return drop_dims(
        prim.cast(prim.apply("sqrt", _spread(input, dims, correction)[0]), input.dtype.to_real()), dims, keepdim
    )


@std_kernel.gradient("input", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return _spread_back(ctx, (grad / (ctx.result * 2)).masked_fill(ctx.result == 0, 0))


def _arguments(
    name: str, input: Tensor, dim: Any, unbiased: bool | None, correction: float | None
) -> tuple[Any, float]:
    """(dim, correction) from the overloads: ``(dim, unbiased)``, ``(unbiased)``, ``(dim, correction=)``."""
    if input.dtype.kind not in "fc":
        raise RuntimeError(f"{name} only support floating point and complex dtypes, got {input.dtype}")
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise TypeError(f"{name}(): give either unbiased or correction, not both")
    by = correction if correction is not None else 1 if unbiased is None or unbiased else 0
    dims = dims_of(dim, input.ndim, name)
    count = math.prod(input.shape[d] for d in dims)
    if count - by <= 0 and input.numel() + (not input.ndim) > 0:
        warnings.warn(
            f"{name}(): degrees of freedom is <= 0. Correction should be strictly less than the "
            "reduction factor (input numel divided by output numel).",
            stacklevel=5,
        )
    return tuple(dim) if isinstance(dim, (tuple, list)) else dim, by


@operator(kind="composite")
def var(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """The variance over ``dim`` (all dimensions for None): squared distances from the mean, their sum divided by ``n -
    correction``.

    ``correction`` is 1 by default (Bessel's), 0 for ``unbiased=False``.
    """
    dim, by = _arguments("var", input, dim, unbiased, correction)
    return var_kernel.function(input, dim, by, keepdim)  # type: ignore[no-any-return]


@operator(kind="composite")
def std(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """The standard deviation over ``dim``: the root of ``var``."""
    dim, by = _arguments("std", input, dim, unbiased, correction)
    return std_kernel.function(input, dim, by, keepdim)  # type: ignore[no-any-return]


@operator(kind="composite", method=False)
def var_mean(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Any:
    """Variance and mean over ``dim``: see ``var``."""
    dim, by = _arguments("var_mean", input, dim, unbiased, correction)
    return var_mean_kernel.function(input, dim, by, keepdim)


@operator(kind="composite", method=False)
def std_mean(
    input: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Any:
    """Standard deviation and mean over ``dim``: see ``std``."""
    dim, by = _arguments("std_mean", input, dim, unbiased, correction)
    return std_kernel.function(input, dim, by, keepdim), input.mean(dim, keepdim)  # type: ignore[attr-defined]


# -- covariance --------------------------------------------------------------------------------------


@operator(kind="composite", out=False)
def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """The covariance matrix of variables (rows) from observations (columns); of a vector, its variance.

    ``fweights`` are whole numbers of repetitions, ``aweights`` weights of observations.  The sums are divided by the
    number of observations (with weights: their sum) minus ``correction``, as numpy.cov does.
    """
    if input.ndim > 2:
        raise RuntimeError(
            f"cov(): expected input to have two or fewer dimensions but got an input with {input.ndim} dimensions"
        )
    if input.dtype is dtypes.bool_:
        raise RuntimeError("cov(): bool dtype is not supported for input")
    x = input if input.ndim == 2 else input.reshape(1, -1)  # type: ignore[attr-defined]
    n = x.shape[1]
    weights = None
    for name, w, kinds in (("fweights", fweights, "ui"), ("aweights", aweights, "f")):
        if w is None:
            continue
        if w.ndim > 1:
            raise RuntimeError(
                f"cov(): expected {name} to have one or fewer dimensions but got {name} with {w.ndim} dimensions"
            )
        if w.dtype.kind not in kinds:
            raise RuntimeError(
                f"cov(): expected {name} to have "
                f"{'integral' if kinds == 'ui' else 'floating point'} dtype but got {name} with "
                f"{w.dtype} dtype"
            )
        if w.numel() != n:
            raise RuntimeError(
                f"cov(): expected {name} to have the same numel as there are observations in the "
                f"input but got {w.numel()} != {n}"
            )
        if n and bool((w < 0).any()):
            raise RuntimeError(f"cov(): {name} cannot be negative")
        weights = w if weights is None else weights * w
    total: Any = n if weights is None else weights.sum()  # type: ignore[attr-defined]
    if weights is not None and n and float(total) == 0:
        raise RuntimeError("cov(): weights sum to zero, can't be normalized")
    if input.dtype.kind in "bui":
        x = x.to(dtypes.get_default_dtype())  # type: ignore[attr-defined]
    center = x.mean(1, True) if weights is None else (x * weights).sum(1, True) / total  # type: ignore[attr-defined,operator]
    if weights is None or aweights is None or correction == 0:
        left = total - correction
    else:
        left = total - correction * (weights * aweights).sum() / total  # type: ignore[attr-defined]
    if float(left) <= 0:
        warnings.warn(
            "cov(): degrees of freedom is <= 0. Correction should be strictly less than the number of observations.",
            stacklevel=4,
        )
        left = 0.0
    off = x - center
    scaled = off if weights is None else off * weights
    found = off.mm(scaled.to(off.dtype).t().conj()) / left  # type: ignore[attr-defined]
    return found.squeeze()  # type: ignore[no-any-return]


@operator(kind="composite", out=False)
def corrcoef(input: Tensor) -> Tensor:
    """The correlation coefficients of variables (rows), from observations (columns); parts are kept within [-1, 1]."""
    if input.ndim > 2:
        raise RuntimeError(
            f"corrcoef(): expected input to have two or fewer dimensions but got an input with {input.ndim} dimensions"
        )
    c = cov.function(input)
    if not c.ndim:
        return c / c  # type: ignore[no-any-return]
    spread = c.diagonal()
    root = (spread.real if spread.dtype.is_complex else spread).sqrt()
    c = c / root.unsqueeze(-1) / root.unsqueeze(0)
    if c.dtype.is_complex:
        re, im = c.real.clamp(-1, 1), c.imag.clamp(-1, 1)
        return complex_of.function(re, im)  # type: ignore[no-any-return]
    return c.clamp(-1, 1)  # type: ignore[no-any-return]
