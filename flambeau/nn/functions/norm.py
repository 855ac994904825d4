"""Normalisations that are compositions."""

from __future__ import annotations

from ...ops.distance import unit_vectors
from .._base import Tensor, ops, overridable

__all__ = ["local_response_norm", "normalize"]


@overridable
def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None) -> Tensor:
    """x / max(|x|_p, eps), the norm along ``dim`` (a number or several)."""
    if out is None and input.numel() and input.dtype.kind in "fc":
        return unit_vectors.function(input, float(p), dim if isinstance(dim, int) else tuple(dim), float(eps))
    norm = ops.linalg_vector_norm(input, p, dim, True).clamp_min(eps).expand_as(input)
    return ops.div(input, norm) if out is None else ops.div(input, norm, out=out)


@overridable
def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + alpha * mean of x^2 over ``size`` neighbouring channels)^beta for (N, C, *): Krizhevsky et al., 2012.

    The neighbours of channel c are c - size // 2 to c + (size - 1) // 2; channels that are not there count as 0.
    Raises ValueError for fewer than 3 dimensions.
    """
    if input.dim() < 3:
        raise ValueError(f"Expected 3D or higher dimensionality input (got {input.dim()} dimensions)")
    if input.numel() == 0:
        return input
    squares = (input * input).unsqueeze(1)  # (N, 1, C, *)
    rest = input.dim() - 2
    if rest == 1:
        padded = ops.pad(squares, (0, 0, size // 2, (size - 1) // 2))
        mean = ops.avg_pool2d(padded, (size, 1), stride=1).squeeze(1)
    else:
        sizes = input.shape
        squares = squares.reshape(sizes[0], 1, sizes[1], sizes[2], -1)
        padded = ops.pad(squares, (0, 0, 0, 0, size // 2, (size - 1) // 2))
        mean = ops.avg_pool3d(padded, (size, 1, 1), stride=1).squeeze(1).reshape(sizes)
    return input / (mean * alpha + k).pow(beta)
