"""Norms, powers, exponentials and products of matrices: the part of ``torch.linalg`` that is no decomposition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import device as devices
from .. import dtype as dtypes
from ..autograd.mode import no_grad
from ..dispatch.operator import Tensors, operator
from ..dtype import dtype as dtype_
from ..layout import dense
from ..tensor import Tensor
from .common import dim_of, dims_of
from .distance import linalg_vector_norm
from .join import cat
from .lapack import (
    adjoint,
    check_floating,
    check_matrix,
    check_square,
    identity_like,
    matrix_kernel,
    on_host,
    scipy_module,
)
from .products import cross
from .solve import inverted, linalg_inv
from .svd_eig import linalg_svdvals

__all__: list[str] = []

_L = "torch.linalg"

# -- norms -----------------------------------------------------------------------------------------


@operator(name="linalg_matrix_norm", kind="composite", method=False, namespace=_L)
def linalg_matrix_norm(
    A: Tensor,
    ord: float | str = "fro",
    dim: Sequence[int] = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: dtype_ | None = None,
) -> Tensor:
    """The norm of matrices: "fro", "nuc" (sum of singular values), 2 and -2 (greatest and least one), 1 and -1 (of the
    sums of columns), inf and -inf (of rows)."""
    check_floating("linalg.matrix_norm", A) if A.dtype not in (dtypes.bfloat16, dtypes.float16) else None
    check_matrix("linalg.matrix_norm", A)
    dims = tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    if len(dims) != 2:
        raise RuntimeError("linalg.matrix_norm: dim must be a 2-tuple of ints")
    first, second = (d % A.ndim if -A.ndim <= d < A.ndim else dims_of(d, A.ndim, "linalg.matrix_norm")[0] for d in dims)
    if first == second:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({dims[0]}, {dims[1]})")
    if ord == "fro":
        return linalg_vector_norm.function(A, 2, dims, keepdim, dtype=dtype)  # type: ignore[no-any-return]
    x = A if dtype is None else A.to(dtype)  # type: ignore[attr-defined]
    if ord == "nuc" or (not isinstance(ord, str) and abs(ord) == 2):
        values = linalg_svdvals.function(x.movedim((first, second), (-2, -1)))
        found = values.sum(-1) if ord == "nuc" else values.amax(-1) if ord > 0 else values.amin(-1)
    elif not isinstance(ord, str) and abs(ord) in (1, math.inf):
        down, across = (first, second) if abs(ord) == 1 else (second, first)
        sums = linalg_vector_norm.function(x, 1, down)
        across -= across > down
        found = sums.amax(across) if ord > 0 else sums.amin(across)
    else:
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    if keepdim:
        for d in sorted((first, second)):
            found = found.unsqueeze(d)
    return found  # type: ignore[no-any-return]


@operator(name="linalg_norm", kind="composite", method=False, namespace=_L)
def linalg_norm(
    input: Tensor,
    ord: Any = None,
    dim: int | Sequence[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: dtype_ | None = None,
) -> Tensor:
    """The norm of vectors (one dimension, or no ``ord``) or matrices (two); see ``vector_norm`` and ``matrix_norm``."""
    dims = None if dim is None else tuple(dim) if isinstance(dim, (tuple, list)) else (dim,)
    if ord is None:
        return linalg_vector_norm.function(input, 2, dims, keepdim, dtype=dtype)  # type: ignore[no-any-return]
    if dims is not None and len(dims) not in (1, 2):
        raise RuntimeError(f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dims)}")
    if dims is None and input.ndim not in (1, 2):
        raise RuntimeError(
            f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {input.ndim}D."
        )
    if isinstance(ord, str) or (len(dims) == 2 if dims is not None else input.ndim == 2):
        return linalg_matrix_norm.function(input, ord, dims or (-2, -1), keepdim, dtype=dtype)  # type: ignore[no-any-return]
    return linalg_vector_norm.function(input, ord, dims, keepdim, dtype=dtype)  # type: ignore[no-any-return]


@operator(name="linalg_cond", kind="composite", method=False, namespace=_L)
def linalg_cond(A: Tensor, p: Any = None) -> Tensor:
    """The condition number by a matrix norm (2 for None): of A times that of its inverse; infinite for singular
    matrices."""
    check_floating("linalg.cond", A)
    check_matrix("linalg.cond", A)
    if p is not None and not isinstance(p, (str, int, float)):
        raise TypeError(f"linalg.cond: expected p to be a number or the name of a norm, got {type(p).__name__}")
    if p is None or (not isinstance(p, str) and abs(p) == 2):
        S = linalg_svdvals.function(A)
        if not S.numel():
            return S.new_zeros(A.shape[:-2])  # type: ignore[no-any-return]
        high, low = S.select(-1, 0), S.select(-1, -1)
        return high / low if p is None or p > 0 else low / high  # type: ignore[no-any-return]
    check_square(f"linalg.cond(ord={p})", A)
    if not A.numel():
        return A.new_zeros(A.shape[:-2], dtype=A.dtype.to_real())  # type: ignore[attr-defined,no-any-return]
    inverse, info = inverted(A)
    inverse = inverse.masked_fill((info != 0).unsqueeze(-1).unsqueeze(-1), math.inf)
    product = linalg_matrix_norm.function(A, p) * linalg_matrix_norm.function(inverse, p) if p != "nuc" else None
    if product is None:
        S = linalg_svdvals.function(A)
        product = S.sum(-1) * S.reciprocal().sum(-1)
    return product  # type: ignore[no-any-return]


# -- powers and exponentials -----------------------------------------------------------------------


@operator(name="linalg_matrix_power", kind="composite", method=False, namespace=_L)
def linalg_matrix_power(A: Tensor, n: int) -> Tensor:
    """The n-th power of square matrices, by repeated squaring; negative ones are powers of the inverse."""
    check_square("linalg.matrix_power", A)
    if n < 0:
        A, n = linalg_inv.function(A), -n
    if n == 0:
        return A.clone().copy_(identity_like(A))  # type: ignore[attr-defined,no-any-return]
    found = None
    square = A
    while n:
        if n & 1:
            found = square if found is None else found.matmul(square)  # type: ignore[attr-defined]
        n >>= 1
        square = square.matmul(square) if n else square  # type: ignore[attr-defined]
    assert found is not None
    return found.clone() if found is A else found  # type: ignore[attr-defined]


@operator(kind="composite")
def matrix_power(input: Tensor, n: int) -> Tensor:
    """See ``torch.linalg.matrix_power``."""
    return linalg_matrix_power.function(input, n)  # type: ignore[no-any-return]


@matrix_kernel("_matrix_exp")
def matrix_exp_kernel(A: Tensor) -> Tensor:
    """The exponential of matrices: scipy's (Al-Mohy and Higham 2009), in single precision ``_short_exponential``."""
    if A.dtype is dtypes.float32 and A.numel() and A.device is not devices.meta:
        return _short_exponential(A.double()).float()  # type: ignore[attr-defined,no-any-return]
    return on_host([dense(A.dtype, A.shape)], [A], _exponential)[0]


def _exponential(a: np.ndarray) -> np.ndarray:
    """In double precision: squaring loses digits."""
    return scipy_module("linalg").expm(a.astype(np.promote_types(a.dtype, np.float64))) if a.size else a  # type: ignore[no-any-return]


_DEGREE, _REACH = 12, 1.15
"""Of a Taylor polynomial of the exponential, and the norm up to which what is left of the series is below 1e-9."""


@no_grad()
def _short_exponential(A: Tensor) -> Tensor:
    """The exponential to single precision's digits of matrices in double precision.

    Scaling and squaring (Moler and Van Loan 2003) of a Taylor polynomial that Paterson and Stockmeyer's scheme (1973)
    computes with five products.
    """
    norms = A.abs().sum(-2).amax(-1)  # type: ignore[attr-defined]
    times = (norms / _REACH).log2().ceil().clamp(0, 64).nan_to_num(0)
    bad = norms - norms  # no number where the norm is none or infinite, which has no exponential
    x: Any = A * (-times).exp2()[..., None, None] + bad[..., None, None]
    square = x @ x
    cube = square @ x
    fourth = square @ square
    total: Any = None
    for k in range(_DEGREE - 4, -1, -4):
        a, b, c, d = (1 / math.factorial(k + i) for i in range(4))
        part = x * b + square * c + cube * d
        part.diagonal(0, -2, -1).add_(a)
        total = part + (fourth * (1 / math.factorial(k + 4)) if total is None else fourth @ total)
    for k in range(int(times.max())):
        squared = total @ total
        total = squared if not times.ndim else squared.where((k < times)[..., None, None], total)
    return total  # type: ignore[no-any-return]


@matrix_exp_kernel.gradient("A")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    # The exponential of [[A^H, G], [0, A^H]] has the derivative of exp at A^H in the direction G at its upper right.
    back = adjoint(ctx.A)
    n = back.shape[-1]
    if not back.numel():
        return back
    top, bottom = cat([back, grad], -1), cat([back * 0, back], -1)
    return matrix_exp_kernel.function(cat([top, bottom], -2)).narrow(-2, 0, n).narrow(-1, n, n)


@operator(name="linalg_matrix_exp", kind="composite", method=False, out=False, namespace=_L)
def linalg_matrix_exp(A: Tensor) -> Tensor:
    """The exponential of square matrices."""
    if A.dtype.kind not in "fc":
        raise RuntimeError(f"linalg.matrix_exp: Expected a floating point or complex tensor as input. Got {A.dtype}")
    check_square("linalg.matrix_exp", A)
    if A.dtype.kind == "f" and A.dtype.itemsize < 4:
        return matrix_exp_kernel.function(A.float()).to(A.dtype)  # type: ignore[attr-defined,no-any-return]
    return matrix_exp_kernel.function(A)  # type: ignore[no-any-return]


@operator(kind="composite", out=False, synonyms={"input": ("A",)})
def matrix_exp(input: Tensor) -> Tensor:
    """See ``torch.linalg.matrix_exp``."""
    return linalg_matrix_exp.function(input)  # type: ignore[no-any-return]


# -- products --------------------------------------------------------------------------------------


@operator(name="linalg_vecdot", kind="composite", method=False, namespace=_L)
def linalg_vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """``sum(conj(x) * y)`` along ``dim``, broadcast."""
    if x.dtype is not y.dtype:
        raise RuntimeError(
            "linalg.vecdot: Expected x and y to have the same dtype, but found x of type "
            f"{x.dtype} and y of type {y.dtype} instead"
        )
    return ((x.conj() if x.dtype.is_complex else x) * y).sum(dim)  # type: ignore[attr-defined,no-any-return]


@operator(name="linalg_vander", kind="composite", method=False, out=False, namespace=_L)
def linalg_vander(x: Tensor, N: int | None = None) -> Tensor:
    """The powers 0 to ``N - 1`` (by default as many as elements) of each element, in a new last dimension."""
    n = x.shape[-1] if N is None and x.ndim else N
    if n is None:
        raise RuntimeError("Input dim must be greater than or equal to 1.")
    if n <= 1 and N is not None:
        raise RuntimeError(f"N must be greater than 1, but got {N}")
    x = x if x.ndim else x.unsqueeze(0)  # type: ignore[attr-defined]
    kind = x.dtype if x.dtype.kind in "fc" else dtypes.int64
    base = x.to(kind).unsqueeze(-1)  # type: ignore[attr-defined]
    one = base.new_ones((*x.shape, 1))
    return cat.function([one, base.expand((*x.shape, n - 1)).cumprod(-1)], -1) if n > 1 else one  # type: ignore[no-any-return]


@operator(name="linalg_multi_dot", kind="composite", method=False, namespace=_L)
def linalg_multi_dot(tensors: Tensors) -> Tensor:
    """The product of two or more matrices (the first and the last may be vectors), in the order that takes the fewest
    operations (Cormen et al., Introduction to Algorithms, 15.2)."""
    n = len(tensors)
    if n < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {n}")
    parts = list(tensors)
    row, column = parts[0].ndim == 1, parts[-1].ndim == 1
    parts[0] = parts[0].unsqueeze(0) if row else parts[0]  # type: ignore[attr-defined]
    parts[-1] = parts[-1].unsqueeze(1) if column else parts[-1]  # type: ignore[attr-defined]
    for i, part in enumerate(parts):
        if part.ndim != 2:
            raise RuntimeError(f"multi_dot(): tensor {i} must be 2D but got {part.ndim}D")
        if i and part.shape[0] != parts[i - 1].shape[1]:
            raise RuntimeError(
                f"multi_dot(): tensors {i - 1} and {i} with shapes {list(tensors[i - 1].shape)} "
                f"and {list(tensors[i].shape)} cannot be multiplied"
            )
    sizes = [p.shape[0] for p in parts] + [parts[-1].shape[1]]
    cost = [[0] * n for _ in range(n)]
    cut = [[0] * n for _ in range(n)]
    for length in range(1, n):
        for i in range(n - length):
            j = i + length
            cost[i][j], cut[i][j] = min(
                (cost[i][k] + cost[k + 1][j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k) for k in range(i, j)
            )

    def product(i: int, j: int) -> Tensor:
        return parts[i] if i == j else product(i, cut[i][j]).mm(product(cut[i][j] + 1, j))  # type: ignore[attr-defined,no-any-return]

    found = product(0, n - 1)
    if column:
        found = found.squeeze(-1)  # type: ignore[attr-defined]
    return found.squeeze(0) if row else found  # type: ignore[attr-defined,no-any-return]


@operator(name="linalg_cross", kind="composite", method=False, namespace=_L)
def linalg_cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The cross product of vectors of three along ``dim``, broadcast."""
    if input.ndim != other.ndim:
        raise RuntimeError(
            f"linalg.cross: inputs must have the same number of dimensions. Got {input.ndim} and {other.ndim}"
        )
    if not input.ndim:
        raise RuntimeError("linalg.cross: inputs must have at least one dimension")
    dim = dim_of(dim, input.ndim, "linalg.cross")
    if input.shape[dim] != 3 or other.shape[dim] != 3:
        raise RuntimeError(
            f"linalg.cross: inputs dimension {dim} must have length 3. Got {input.shape[dim]} and {other.shape[dim]}"
        )
    return cross.function(input, other, dim)  # type: ignore[no-any-return]
