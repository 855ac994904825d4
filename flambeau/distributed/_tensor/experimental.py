"""The name that ``torch.distributed.tensor.experimental`` had before."""

from __future__ import annotations

from ..tensor.experimental import *  # noqa: F403
from ..tensor.experimental import __all__ as __all__
