"""Products of matrices of int8 and of scaled float8."""

from __future__ import annotations

from typing import Any

from ..dtype import float32
from ..ops.products import int_mm
from ..tensor import Tensor

__all__ = ["_int_mm", "_scaled_mm"]


_int_mm = int_mm.function


def _scaled_mm(
    self: Any, mat2: Any, scale_a: Any, scale_b: Any, bias: Any = None, scale_result: Any = None, out_dtype: Any = None,
    use_fast_accum: bool = False, *, out: Any = None,
) -> Tensor:  # fmt: skip
    """``(self * scale_a) @ (mat2 * scale_b) + bias`` of float8 matrices, accumulated in float32.

    Scales are float32: one number each, or one per row of ``self`` (M, 1) and per column of ``mat2`` (1, N).  The
    result has the type ``out_dtype`` (by default that of ``self``).  Raises RuntimeError for other types and shapes.
    """
    for name, matrix in (("self", self), ("mat2", mat2)):
        if matrix.ndim != 2 or not (matrix.dtype.is_floating_point and matrix.dtype.itemsize == 1):
            raise RuntimeError(f"_scaled_mm: {name} must be a float8 matrix, got {matrix.dtype} {list(matrix.shape)}")
    if self.shape[1] != mat2.shape[0]:
        raise RuntimeError(f"_scaled_mm: cannot multiply shapes {list(self.shape)} and {list(mat2.shape)}")
    for name, scale, shape in (("scale_a", scale_a, (self.shape[0], 1)), ("scale_b", scale_b, (1, mat2.shape[1]))):
        if scale.dtype is not float32 or (scale.numel() != 1 and tuple(scale.shape) != shape):
            raise RuntimeError(
                f"_scaled_mm: {name} must be float32 of one number or of shape {shape}, got {scale.dtype} "
                f"{list(scale.shape)}"
            )
    found = (self.to(float32) @ mat2.to(float32)) * (scale_a if scale_a.ndim == 2 else scale_a.reshape(()))
    found = found * (scale_b if scale_b.ndim == 2 else scale_b.reshape(()))
    if bias is not None:
        found = found + bias
    if scale_result is not None:
        found = found * scale_result
    found = found.to(self.dtype if out_dtype is None else out_dtype)
    return found if out is None else out.copy_(found)
