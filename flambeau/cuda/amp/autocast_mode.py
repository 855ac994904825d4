"""``torch.cuda.amp.autocast``: deprecated name of ``torch.amp.autocast("cuda")``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ...amp import autocast_mode as amp
from ...dtype import dtype, float16
from ...errors import deprecated

__all__ = ["autocast", "custom_bwd", "custom_fwd"]


class autocast(amp.autocast):
    """See ``torch.amp.autocast``, with "cuda" as the device."""

    def __init__(self, enabled: bool = True, dtype: dtype = float16, cache_enabled: bool = True) -> None:
        deprecated("torch.cuda.amp.autocast(args...)", "torch.amp.autocast('cuda', args...)")
        super().__init__("cuda", enabled=enabled, dtype=dtype, cache_enabled=cache_enabled)


def custom_fwd(fwd: Callable[..., Any] | None = None, **kwargs: Any) -> Callable[..., Any]:
    """See ``torch.amp.custom_fwd``, with "cuda" as the device."""
    deprecated("torch.cuda.amp.custom_fwd(args...)", "torch.amp.custom_fwd(args..., device_type='cuda')")
    return functools.partial(amp.custom_fwd, device_type="cuda")(fwd=fwd, **kwargs)


def custom_bwd(bwd: Callable[..., Any]) -> Callable[..., Any]:
    """See ``torch.amp.custom_bwd``, with "cuda" as the device."""
    deprecated("torch.cuda.amp.custom_bwd(args...)", "torch.amp.custom_bwd(args..., device_type='cuda')")
    return functools.partial(amp.custom_bwd, device_type="cuda")(bwd)
