"""Programs of several processes, which communicate over TCP as PyTorch's gloo does.

store.py: values that processes leave for each other.  wire.py: the connections.  groups.py: process groups.
collectives.py: what they do together.  A group of one process needs none of it: collectives copy.
"""

from __future__ import annotations

from ..dispatch import operator as _records
from . import distributed_c10d as distributed_c10d
from .distributed_c10d import *  # noqa: F403

_LAZY = {
    "DeviceMesh": ".device_mesh", "init_device_mesh": ".device_mesh", "constants": ".", "device_mesh": ".",
    "algorithms": ".", "nn": ".", "rpc": ".", "tensor": ".", "_tensor": ".", "fsdp": ".",
    "_composable": ".", "checkpoint": ".",
}  # fmt: skip
__getattr__, __dir__ = _records.namespace(globals(), {}, _LAZY)
