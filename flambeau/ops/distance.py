"""Norms of vectors, and distances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import primitives as prim
from ..dispatch.operator import OPERATORS, Scalar, operator
from ..dtype import dtype as dtype_
from ..tensor import Tensor
from ..transform.level import recorded
from .common import dims_of, drop_dims, give, overridable, unreduce
from .triangles import triu_indices

__all__ = ["pairwise_norm", "unit_vectors"]


@operator(name="_vector_norm", method=False, function=False)
def vector_norm_kernel(input: Tensor, ord: float, dim: Any, keepdim: bool, dtype: dtype_ | None) -> Tensor:
    """``sum(|x| ** ord) ** (1 / ord)`` over ``dim``, with its limits for 0 and both infinities."""
    dims = dims_of(dim, input.ndim, "linalg.vector_norm")
    kind = dtype or input.dtype
    work = kind.wide
    x = prim.apply("abs", prim.cast(input, work))
    x = prim.part("real", x) if work.is_complex else x
    real = work.to_real()
    if ord == 0:
        found = prim.reduce("add", prim.cast(prim.apply("ne", x, prim.const(0, real)), real), dims)
    elif ord == math.inf:
        found = prim.reduce("max", x, dims) if _some(input, dims) else prim.reduce("add", x, dims)
    elif ord == -math.inf:
        found = prim.reduce("min", x, dims)
    elif ord == 1:
        found = prim.reduce("add", x, dims)
    elif ord == 2:
        found = prim.apply("sqrt", prim.reduce("add", prim.apply("mul", x, x), dims)) if input.ndim and dims else x
    else:
        total = prim.reduce("add", prim.apply("pow", x, prim.const(ord, real)), dims)
        found = prim.apply("pow", total, prim.const(1.0 / ord, real))
    return drop_dims(prim.cast(found, kind.to_real()), dims, keepdim)


def _some(input: Tensor, dims: Sequence[int]) -> bool:
    return all(input.shape[d] for d in dims)


@vector_norm_kernel.gradient("input", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    x, p = ctx.input, ctx.ord
    kind = ctx.dtype_ or x.dtype
    x = x.to(kind)
    norm = unreduce(ctx.result, ctx.dim, ctx.keepdim, x.shape)
    g = unreduce(grad, ctx.dim, ctx.keepdim, x.shape)
    if p == 0:
        return g * 0 if not kind.is_complex else x * 0
    if p == 1:
        return g * x.sgn()
    if p == 2:
        return g * (x / norm.masked_fill(norm == 0, 1) if not recorded() else _unit(x, norm))
    size = x.abs()
    if math.isinf(p):
        hit = (size == norm) | (size != size)
        return x.sgn() * (g / hit.sum(dims_of(ctx.dim, x.ndim), keepdim=True)) * hit if x.ndim else g * x.sgn()
    zero = norm == 0
    scale = (norm.masked_fill(zero, 1)) ** (p - 1)
    if p < 2:  # powers of |x| below 1 have no derivative at 0; their limit in x is 0 times a sign
        gone = size == 0
        power = size.masked_fill(gone, 1).pow(p - 1).masked_fill(gone, 0)
    else:
        power = size.pow(p - 1)
    return x.sgn() * power * (g / scale).masked_fill(zero, 0)


def _unit(x: Tensor, norm: Tensor) -> Tensor:
    """x / norm, 0 where the norm is 0; in a form whose own derivative is finite there."""
    return (x / norm).masked_fill(norm == 0, 0)  # type: ignore[attr-defined,no-any-return]


def _floating(name: str, x: Tensor, dtype: dtype_ | None) -> None:
    if x.dtype.kind not in "fc":
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got {x.dtype}")
    if dtype is not None:
        if dtype.kind not in "fc":
            raise RuntimeError(f"{name}: dtype should be floating point or complex. Got {dtype}")
        if dtype.is_complex != x.dtype.is_complex:
            raise RuntimeError(
                f"{name}: dtype should be {'complex' if x.dtype.is_complex else 'real'} for "
                f"{'complex' if x.dtype.is_complex else 'real'} inputs, but got {dtype}"
            )
        if dtype.itemsize < x.dtype.itemsize:
            raise RuntimeError(
                f"{name}: the dtype of the input ({x.dtype}) should be convertible without "
                f"narrowing to the specified dtype ({dtype})"
            )


@operator(name="linalg_vector_norm", kind="composite", method=False, namespace="torch.linalg")
def linalg_vector_norm(
    x: Tensor,
    ord: float = 2,
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: dtype_ | None = None,
) -> Tensor:
    """The ``ord``-norm of vectors: of the flattened tensor for ``dim=None``, else over ``dim``.

    ``sum(|x| ** ord) ** (1 / ord)``; the greatest and the least absolute value for ``inf`` and ``-inf``, the number of
    elements that are not zero for 0.  Raises RuntimeError for integers and for norms of nothing that do not exist.
    """
    _floating("linalg.vector_norm", x, dtype)
    ord = float(ord)
    dims = dims_of(dim, x.ndim, "linalg.vector_norm")
    if (ord < 0 or ord == math.inf) and x.numel() == 0:
        if dim is None or len(dims) == x.ndim:
            raise RuntimeError(
                f"linalg.vector_norm cannot compute the {ord} norm on an empty tensor because the "
                "operation does not have an identity"
            )
        for d in dims:
            if x.shape[d] == 0:
                raise RuntimeError(
                    f"linalg.vector_norm cannot compute the {ord} norm on the dimension {d} because "
                    "this dimension is empty and the operation does not have an identity"
                )
    return vector_norm_kernel.function(
        x, ord, None if dim is None else dims if dim != [] and dim != () else None, keepdim, dtype
    )  # type: ignore[no-any-return]


@operator(name="_unit_vectors", promote=("input",), method=False, function=False)
def unit_vectors(input: Tensor, ord: float, dim: Any, eps: float) -> Tensor:
    """``input`` over its norms along ``dim``, which count as ``eps`` at least: one kernel."""
    norms = vector_norm_kernel.function(input, ord, dim, True, None)
    return input / OPERATORS["clamp_min"].function(norms, eps)  # type: ignore[no-any-return]


@operator(name="_pairwise_norm", promote=("x1", "x2"), method=False, function=False)
def pairwise_norm(x1: Tensor, x2: Tensor, ord: float, eps: float, keepdim: bool) -> Tensor:
    """The norm of ``x1 - x2 + eps`` along the last dimension: one kernel."""
    return vector_norm_kernel.function(x1 - x2 + eps, ord, -1, keepdim, None)  # type: ignore[no-any-return]


@overridable
def norm(
    input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, out: Tensor | None = None,
    dtype: dtype_ | None = None,
) -> Tensor:  # fmt: skip
    """The norm of vectors or matrices: see ``Tensor.norm``; ``out`` takes the result."""
    found = norm_method.function(input, p, dim, keepdim, dtype)
    return found if out is None else give(found, out)


@operator(name="norm", kind="composite", function=False)
def norm_method(
    input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: dtype_ | None = None
) -> Tensor:
    """The norm of vectors (``p`` a number; over all of ``dim``), or of matrices for ``p="nuc"``; "fro" is 2.  See
    ``torch.linalg``."""
    if dtype is not None:
        input = input.to(dtype)  # type: ignore[attr-defined]
    if p == "nuc":
        if dim is None:
            dim = (0, 1) if input.ndim == 2 else tuple(range(input.ndim))
        return OPERATORS["linalg_matrix_norm"].function(input, "nuc", tuple(dim), keepdim)  # type: ignore[no-any-return]
    if isinstance(p, str) and p != "fro":
        raise RuntimeError(f"only valid string values are 'fro' and 'nuc', found {p}")
    if not (p is None or isinstance(p, (str, int, float))):
        raise TypeError(f"norm(): argument 'p' must be a number or the name of a norm, not {type(p).__name__}")
    order = 2.0 if p is None or p == "fro" else float(p)
    return (
        vector_norm_kernel.function(input, order, tuple(dim) if isinstance(dim, (tuple, list)) else dim, keepdim, None)
        if input.dtype.kind in "fc"
        else linalg_vector_norm.function(input, order, dim, keepdim)
    )  # type: ignore[no-any-return]


@operator(kind="composite", method=True)
def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The ``p``-norm of ``input - other``."""
    return norm_method.function(input - other, float(p))  # type: ignore[no-any-return]


# -- distances between rows --------------------------------------------------------------------------


@operator(name="_cdist", method=False, function=False)
def cdist_kernel(x1: Tensor, x2: Tensor, p: float) -> Tensor:
    """The ``p``-norms of the differences of all rows of the two, without keeping the differences."""
    return vector_norm_kernel.function(x1.unsqueeze(-2) - x2.unsqueeze(-3), p, -1, False, None)  # type: ignore[attr-defined,no-any-return]


@operator(name="_euclidean", kind="composite", method=False, function=False)
def euclidean(x1: Tensor, x2: Tensor) -> Tensor:
    """Euclidean distances of all rows through one matrix product: ``|a|^2 + |b|^2 - 2 a.b``."""
    squares = (x1 * x1).sum(-1, True) + (x2 * x2).sum(-1).unsqueeze(-2)  # type: ignore[attr-defined]
    return (squares - 2 * x1.matmul(x2.transpose(-1, -2))).clamp(min=0).sqrt()  # type: ignore[attr-defined,no-any-return]


@euclidean.gradient("x1", "x2", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    share = (grad / ctx.result).masked_fill(ctx.result == 0, 0)
    return (
        ctx.x1 * share.sum(-1, True) - share.matmul(ctx.x2) if ctx.needs("x1") else None,
        ctx.x2 * share.sum(-2).unsqueeze(-1) - share.transpose(-1, -2).matmul(ctx.x1) if ctx.needs("x2") else None,
    )


@operator(kind="composite", method=False, out=False)
def cdist(
    x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = "use_mm_for_euclid_dist_if_necessary"
) -> Tensor:
    """The ``p``-norm distances (..., P, R) of all rows of ``x1`` (..., P, M) and ``x2`` (..., R, M); batches are
    broadcast.

    ``compute_mode`` says whether Euclidean distances may go through a matrix product, which is quicker and less
    accurate: always, never, or for more than 25 rows.
    """
    modes = {
        "use_mm_for_euclid_dist_if_necessary": None,
        "use_mm_for_euclid_dist": True,
        "donot_use_mm_for_euclid_dist": False,
    }
    if compute_mode is not None and compute_mode not in modes:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    through = modes[compute_mode or "use_mm_for_euclid_dist_if_necessary"]
    for name, x in (("X1", x1), ("X2", x2)):
        if x.dtype.kind != "f":
            raise RuntimeError(f"cdist only supports floating-point dtypes, {name} got: {x.dtype}")
        if x.ndim < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {name} got: {x.ndim}D")
    if x1.shape[-1] != x2.shape[-1]:
        raise RuntimeError(f"X1 and X2 must have the same number of columns. X1: {x1.shape[-1]} X2: {x2.shape[-1]}")
    if p < 0:
        raise RuntimeError(f"cdist only supports non-negative p values, got {p}")
    if through is None:
        through = x1.shape[-2] > 25 or x2.shape[-2] > 25
    if p == 2 and through and x1.shape[-1]:
        return euclidean.function(x1, x2)  # type: ignore[no-any-return]
    if x1.shape[-1] == 0:
        return (x1.unsqueeze(-2) - x2.unsqueeze(-3)).sum(-1)  # type: ignore[attr-defined,no-any-return]
    return cdist_kernel.function(x1, x2, float(p))  # type: ignore[no-any-return]


@operator(name="_pdist", method=False, function=False)
def pdist_kernel(input: Tensor, first: Tensor, second: Tensor, p: float) -> Tensor:
    """The ``p``-norms of the differences of pairs of rows."""
    select = OPERATORS["index_select"].function
    return vector_norm_kernel.function(select(input, 0, first) - select(input, 0, second), p, -1, False, None)  # type: ignore[no-any-return]


@pdist_kernel.gradient("input", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    x, p = ctx.input, ctx.p
    n = x.shape[0]
    if p == 0:
        return x.new_zeros(x.shape), None, None
    g, size = _symmetric.function(grad, n, n), _symmetric.function(ctx.result, n, n)
    if p == 2:
        share = (g / size).masked_fill(size == 0, 0)
        return x * share.sum(1, True) - share.matmul(x), None, None
    return _pulled.function(x, g, size, p), None, None


@operator(name="_pairwise_pull", method=False, function=False)
def _pulled(x: Tensor, grad: Tensor, size: Tensor, p: float) -> Tensor:
    """The gradient of the ``p``-norms ``size`` of all differences of rows by the rows, of which it keeps none."""
    apart: Any = x.unsqueeze(1) - x.unsqueeze(0)  # type: ignore[attr-defined]
    g: Any = grad
    if p == 1:
        share = g.unsqueeze(-1)
    elif math.isinf(p):
        share = g.unsqueeze(-1) * (apart.abs() == size.unsqueeze(-1))  # type: ignore[attr-defined]
    else:
        zero: Any = size == 0
        length = apart.abs()
        if p < 2:  # powers of |x| below 1 have no derivative at 0
            gone = length == 0
            power = length.masked_fill(gone, 1).pow(p - 1).masked_fill(gone, 0)
        else:
            power = length.pow(p - 1)
        share = (g / size.masked_fill(zero, 1).pow(p - 1)).masked_fill(zero, 0).unsqueeze(-1) * power  # type: ignore[attr-defined]
    return (apart.sgn() * share).sum(1)  # type: ignore[no-any-return]


@operator(name="_symmetric", method=False, function=False)
def _symmetric(pairs: Tensor, n: int, rows: Scalar) -> Tensor:
    """The symmetric matrix of ``n`` rows whose upper triangle is ``pairs``, with zeros on its diagonal."""
    g, shape = prim.current().graph, (n, n)
    one, two = g.const(1, "i64"), g.const(2, "i64")
    i, j, count = g.iota(shape, 0), g.iota(shape, 1), g.cast(prim.read(rows), "i64")
    low, high = g.apply("min", i, j), g.apply("max", i, j)
    twice = g.apply("mul", low, g.apply("sub", g.apply("sub", g.apply("mul", two, count), low), one))
    at = g.apply("add", g.apply("quot", twice, two), g.apply("sub", g.apply("sub", high, low), one))
    same = g.apply("eq", i, j)
    found = g.gather(prim.read(pairs), [g.apply("select", same, g.const(0, "i64"), at)], [("i", 0)], shape)
    return prim.wrap(g.apply("select", same, g.const(0, pairs.dtype.code), found))


@_symmetric.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    n = ctx.n
    first, second = triu_indices(n, n, 1)
    return (grad + grad.t()).reshape(-1).index_select(0, first * n + second)


@operator(kind="composite", method=False, out=False)
def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The ``p``-norm distances of all pairs of rows i < j of an (N, M) matrix, row by row: N (N - 1) / 2 of them."""
    if input.ndim != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {input.ndim}D")
    if input.dtype.kind != "f":
        raise RuntimeError(f"pdist only supports floating-point dtypes, got {input.dtype}")
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    first, second = triu_indices(input.shape[0], input.shape[0], 1)  # type: ignore[misc]
    if not input.shape[1] or not first.shape[0]:
        return input.sum(-1).index_select(0, first) * 0  # type: ignore[attr-defined,no-any-return]
    rows = input.contiguous()  # type: ignore[attr-defined]
    return pdist_kernel.function(rows, first, second, float(p))  # type: ignore[no-any-return]
