"""Programs of several processes.  Groups of one process work; larger ones are refused until there is communication.

So a program written for many processes runs as one: collectives copy, and ranks are 0.
"""

from __future__ import annotations

from .. import operator as _records
from . import distributed_c10d as distributed_c10d
from .distributed_c10d import *  # noqa: F403

_LAZY = {
    "DeviceMesh": ".device_mesh", "init_device_mesh": ".device_mesh", "constants": ".", "device_mesh": ".",
    "rpc": ".",
}  # fmt: skip
__getattr__, __dir__ = _records.namespace(globals(), {}, _LAZY)
