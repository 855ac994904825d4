"""A module on several devices, or in several processes, at once."""

from __future__ import annotations

from ...dispatch import operator as _records
from .data_parallel import DataParallel, data_parallel

__all__ = ["DataParallel", "DistributedDataParallel", "data_parallel", "gather", "scatter"]

_LAZY = {
    "DistributedDataParallel": ".distributed", "distributed": ".", "gather": ".scatter_gather",
    "scatter": ".scatter_gather", "scatter_gather": ".",
}  # fmt: skip
__getattr__, __dir__ = _records.namespace(globals(), {}, _LAZY)
