"""Discrete Fourier transforms: PyTorch's ``torch.fft``."""

from __future__ import annotations

from ..dispatch.operator import OPERATORS, namespace
from ..ops.fft import fftfreq, rfftfreq

__all__ = ["fftfreq", "rfftfreq"]

_members = {o.name.removeprefix("fft_"): o for o in OPERATORS.values() if o.namespace == "torch.fft"}
__getattr__, __dir__ = namespace(globals(), _members)
__all__ += sorted(_members)
