"""Architecture optimisation: quantisation so far only in the parts that models are written with."""

from __future__ import annotations

from . import quantization as quantization
