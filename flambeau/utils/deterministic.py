"""``fill_uninitialized_memory``: kept for programs that set it; see ``torch.use_deterministic_algorithms``."""

from __future__ import annotations

__all__ = ["fill_uninitialized_memory"]

fill_uninitialized_memory = True
