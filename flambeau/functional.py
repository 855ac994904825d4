"""Functions of ``torch`` under their other name, ``torch.functional``."""

from __future__ import annotations

import sys
from typing import Any

_NAMES = (
    "align_tensors", "atleast_1d", "atleast_2d", "atleast_3d", "block_diag", "broadcast_shapes", "broadcast_tensors",
    "cartesian_prod", "cdist", "chain_matmul", "einsum", "istft", "lu", "meshgrid", "norm", "split", "stft",
    "svd_lowrank", "tensordot", "unique", "unique_consecutive", "unravel_index",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'torch.functional' has no attribute {name!r}")
    return getattr(sys.modules["flambeau"], name)


def __dir__() -> list[str]:
    return sorted(_NAMES)
