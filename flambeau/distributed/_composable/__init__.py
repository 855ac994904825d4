"""Changes to modules that leave them the modules they are."""

from __future__ import annotations

from . import fsdp as fsdp
from .fsdp import fully_shard

__all__ = ["fully_shard"]
