"""``torch.distributed.rpc``: remote procedure calls, which are not available.

As in builds of PyTorch without them, the module only says so; programs that use them ask first.
"""

from __future__ import annotations

__all__ = ["is_available"]


def is_available() -> bool:
    """Whether there are remote procedure calls: False."""
    return False
