"""The module in which PyTorch defines ``FullyShardedDataParallel``, whence packages take it."""

from __future__ import annotations

from .sharding import FullyShardedDataParallel

__all__ = ["FullyShardedDataParallel"]
