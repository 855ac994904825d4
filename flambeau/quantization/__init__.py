"""The old name of ``torch.ao.quantization``."""

from __future__ import annotations

from ..ao import quantization as _home

__all__ = _home.__all__
globals().update({name: getattr(_home, name) for name in dir(_home) if not name.startswith("_")})
