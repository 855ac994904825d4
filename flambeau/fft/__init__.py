"""Discrete Fourier transforms: PyTorch's ``torch.fft``."""

from __future__ import annotations

from ..operator import OPERATORS
from ..ops.fft import fftfreq, rfftfreq

__all__ = ["fftfreq", "rfftfreq"]

for _op in OPERATORS.values():
    if _op.namespace == "torch.fft":
        _name = _op.name.removeprefix("fft_")
        globals()[_name] = _op.function
        __all__ += [_name]  # noqa: PLE0605
