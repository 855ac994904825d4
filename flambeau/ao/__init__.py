"""Model optimisation: quantization."""

from __future__ import annotations

from . import nn as nn
from . import quantization as quantization
