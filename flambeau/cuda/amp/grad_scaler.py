"""``torch.cuda.amp.GradScaler``: deprecated name of ``torch.amp.GradScaler("cuda")``."""

from __future__ import annotations

from ...amp import grad_scaler as amp
from ...errors import deprecated

__all__ = ["GradScaler"]


class GradScaler(amp.GradScaler):
    """See ``torch.amp.GradScaler``, with "cuda" as the device."""

    def __init__(
        self, init_scale: float = 2.0**16, growth_factor: float = 2.0, backoff_factor: float = 0.5,
        growth_interval: int = 2000, enabled: bool = True,
    ) -> None:  # fmt: skip
        deprecated("torch.cuda.amp.GradScaler(args...)", "torch.amp.GradScaler('cuda', args...)")
        super().__init__("cuda", init_scale, growth_factor, backoff_factor, growth_interval, enabled)
