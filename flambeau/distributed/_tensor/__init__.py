"""The name that ``torch.distributed.tensor`` had before."""

from __future__ import annotations

from ..tensor import *  # noqa: F403
from ..tensor import __all__ as __all__
