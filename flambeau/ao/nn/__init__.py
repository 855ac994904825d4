"""Modules of quantized models, and of models on their way there."""

from __future__ import annotations

from . import qat as qat
from . import quantized as quantized
