"""``torch.cpu.amp.autocast``: deprecated name of ``torch.amp.autocast("cpu")``."""

from __future__ import annotations

from ...amp import autocast_mode as amp
from ...dtype import bfloat16, dtype
from ...errors import deprecated

__all__ = ["autocast"]


class autocast(amp.autocast):
    """See ``torch.amp.autocast``, with "cpu" as the device."""

    def __init__(self, enabled: bool = True, dtype: dtype = bfloat16, cache_enabled: bool = True) -> None:
        deprecated("torch.cpu.amp.autocast(args...)", "torch.amp.autocast('cpu', args...)")
        super().__init__("cpu", enabled=enabled, dtype=dtype, cache_enabled=cache_enabled)
