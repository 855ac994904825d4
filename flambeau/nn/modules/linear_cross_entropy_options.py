"""How the cross entropy of a linear layer may be computed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .._base import bfloat16, dtype, float16, float32, float64

__all__ = ["LinearCrossEntropyOptions"]

_POLICIES = ("accurate", "balanced", "compact", "auto")
_ACC_DTYPES = (None, float16, bfloat16, float32, float64)


@dataclass(frozen=True, slots=True)
class LinearCrossEntropyOptions:
    """Hints to ``linear_cross_entropy`` on computing the batch in chunks, which saves the memory of the logits.

    They never change what is computed.  Raises ValueError for values out of range.

    Args:
        allow_retain_graph: keep what a second backward pass needs.
        batch_chunk_size: rows a chunk; chosen if None.
        chunking_method: how it is chosen: "auto", None or "aspect_ratio:NUMBER".
        acc_policy: memory against rounding: "accurate", "balanced", "compact" or "auto".
        acc_dtype: the type in which gradients are accumulated; chosen if None.
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: str = "auto"
    acc_dtype: dtype | None = None

    def __post_init__(self) -> None:
        size = self.batch_chunk_size
        if size is not None and (not isinstance(size, int) or size <= 0):
            raise ValueError(f"batch_chunk_size must be positive int or None, got {size!r}")
        method = self.chunking_method
        if method not in (None, "auto") and not re.fullmatch(r"aspect_ratio:\d+(\.\d+)?", str(method)):
            raise ValueError(f"invalid chunking_method: {method!r}")
        if self.acc_policy not in _POLICIES:
            raise ValueError(f"invalid acc_policy: {self.acc_policy!r}")
        if self.acc_dtype not in _ACC_DTYPES:
            allowed = ", ".join(str(t) for t in _ACC_DTYPES)
            raise ValueError(
                f"acc_dtype must be one of {{{allowed}}}, got {self.acc_dtype}. Pass acc_dtype=None to let the op pick "
                "automatically."
            )
