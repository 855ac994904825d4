"""What may change about distributed tensors."""

from __future__ import annotations

from ..rules import implicit_replication

__all__ = ["implicit_replication"]
