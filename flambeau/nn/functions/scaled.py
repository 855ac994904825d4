"""Products of scaled float8 matrices, and of many matrices at once that lie one after the other."""

from __future__ import annotations

import enum
from typing import Any

from ...ops.common import overridable
from ...quantized.products import _scaled_mm
from .._base import Tensor, bfloat16, float32, ops

__all__ = ["ScalingType", "SwizzleType", "grouped_mm", "scaled_grouped_mm", "scaled_mm"]


class ScalingType(enum.Enum):
    """Over which elements of a matrix a scale holds."""

    TensorWise, RowWise, BlockWise1x16, BlockWise1x32, BlockWise1x128, BlockWise128x128 = range(6)


class SwizzleType(enum.Enum):
    """How blockwise scales lie in memory."""

    NO_SWIZZLE, SWIZZLE_32_4_4 = range(2)


def _only(value: Any) -> Any:
    return value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value


_PAIRS = {ScalingType.TensorWise: "a single number", ScalingType.RowWise: "a number for each row"}


@overridable
def scaled_mm(
    mat_a: Tensor, mat_b: Tensor, scale_a: Any, scale_recipe_a: Any, scale_b: Any, scale_recipe_b: Any,
    swizzle_a: Any = None, swizzle_b: Any = None, bias: Tensor | None = None, output_dtype: Any = None,
    contraction_dim: Any = (), use_fast_accum: bool = False,
) -> Tensor:  # fmt: skip
    """``(mat_a * scale_a) @ (mat_b * scale_b) + bias`` of float8 matrices, accumulated in float32.

    Both recipes are ``TensorWise`` or ``RowWise``; the result has the type ``output_dtype`` (bfloat16 by default).
    Raises ValueError for other recipes, which the CPU does not have in PyTorch either.
    """
    recipes = _only(scale_recipe_a), _only(scale_recipe_b)
    if recipes[0] not in _PAIRS or recipes[0] is not recipes[1]:
        raise ValueError(
            f"Invalid scaling configuration: both scales must be TensorWise or RowWise on the CPU, got {recipes}"
        )
    scales = [_only(scale_a).to(float32), _only(scale_b).to(float32)]
    if recipes[0] is ScalingType.RowWise:
        scales = [scales[0].reshape(-1, 1), scales[1].reshape(1, -1)]
    kind = bfloat16 if output_dtype is None else output_dtype
    return _scaled_mm(mat_a, mat_b, *scales, bias=bias, out_dtype=kind)


def _ends(offs: Any, count: int) -> list[tuple[int, int]]:
    ends = offs.tolist()
    if any(b < a for a, b in zip([0, *ends], ends)) or (ends and ends[-1] > count):
        raise RuntimeError(f"grouped_mm: offs must not fall and not go beyond {count}, got {ends}")
    return list(zip([0, *ends], ends))


@overridable
def grouped_mm(
    mat_a: Tensor, mat_b: Tensor, *, offs: Tensor | None = None, bias: Tensor | None = None, out_dtype: Any = None
) -> Tensor:
    """Products of groups: of ``mat_a`` (G, M, K) and ``mat_b`` (G, K, N), either of which may be a matrix whose rows or
    columns are cut at ``offs``, the ends of the groups.

    (M, K) by (G, K, N) gives (M, N): rows by groups.  (G, M, K) by (K, N) gives (M, N): columns by groups.
    (M, K) by (K, N) gives (G, M, N): the contraction is cut.  Raises RuntimeError for other shapes, for a ``bias``, and
    if ``offs`` is missing or not wanted.
    """
    if bias is not None:
        raise RuntimeError("Bias not supported yet")
    if mat_a.ndim not in (2, 3) or mat_b.ndim not in (2, 3):
        raise RuntimeError(f"grouped_mm: matrices must have 2 or 3 dimensions, got {mat_a.ndim} and {mat_b.ndim}")
    if (offs is not None) == (mat_a.ndim == 3 and mat_b.ndim == 3):
        raise RuntimeError("Have to provide offsets if there is a 2d matrix, or no offset if both matrices are 3d")
    if mat_a.shape[-1] != mat_b.shape[-2]:
        raise RuntimeError(
            f"contraction dimension of mat_a and mat_b must match: {mat_a.shape[-1]} and {mat_b.shape[-2]}"
        )
    if offs is None:
        found = ops.bmm(mat_a, mat_b)
    elif mat_a.ndim == 2 and mat_b.ndim == 2:
        parts = [ops.mm(mat_a[:, i:j], mat_b[i:j]) for i, j in _ends(offs, mat_a.shape[1])]
        found = ops.stack(parts)
    elif mat_a.ndim == 2:
        found = ops.cat([ops.mm(mat_a[i:j], mat_b[g]) for g, (i, j) in enumerate(_ends(offs, mat_a.shape[0]))])
    else:
        found = ops.cat([ops.mm(mat_a[g], mat_b[:, i:j]) for g, (i, j) in enumerate(_ends(offs, mat_b.shape[1]))], 1)
    return found if out_dtype is None else found.to(out_dtype)


@overridable
def scaled_grouped_mm(
    mat_a: Tensor, mat_b: Tensor, scale_a: Any, scale_recipe_a: Any, scale_b: Any, scale_recipe_b: Any,
    swizzle_a: Any = None, swizzle_b: Any = None, bias: Tensor | None = None, offs: Tensor | None = None,
    output_dtype: Any = None, contraction_dim: Any = (), use_fast_accum: bool = False,
) -> Tensor:  # fmt: skip
    """``grouped_mm`` of float8 matrices with a scale for each row of ``mat_a`` and each column of ``mat_b``.

    Raises ValueError for other recipes than ``RowWise``.
    """
    if not (_only(scale_recipe_a) is _only(scale_recipe_b) is ScalingType.RowWise):
        raise ValueError(f"scaled_grouped_mm: both scales must be RowWise, got {scale_recipe_a} and {scale_recipe_b}")
    a, b = _only(scale_a).to(float32), _only(scale_b).to(float32)
    wide_a = mat_a.to(float32) * a.reshape((*a.shape[: mat_a.ndim - 2], -1, 1))  # type: ignore[attr-defined]
    wide_b = mat_b.to(float32) * b.reshape((*b.shape[: mat_b.ndim - 2], 1, -1))  # type: ignore[attr-defined]
    kind = bfloat16 if output_dtype is None else output_dtype
    return grouped_mm(wide_a, wide_b, offs=offs, bias=bias, out_dtype=kind)
