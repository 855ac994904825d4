"""Tensors that are distributed over the processes of a mesh.

placement_types.py: how they lie.  layouts.py: from one placement to another, with gradients.  dtensor.py: the tensor.
rules.py: what operators do with it.  api.py: distributed tensors and modules out of ordinary ones.  parallel/: layers
whose parameters are shared out.
"""

from __future__ import annotations

from ...dispatch import operator as _records
from . import placement_types as placement_types
from . import rules as _rules
from .api import distribute_module, distribute_tensor, empty, full, ones, rand, randn, zeros
from .dtensor import DTensor
from .placement_types import Partial, Placement, Replicate, Shard

__all__ = [
    "DTensor", "Partial", "Placement", "Replicate", "Shard", "distribute_module", "distribute_tensor", "empty", "full",
    "ones", "rand", "randn", "zeros",
]  # fmt: skip
__getattr__, __dir__ = _records.namespace(globals(), {}, {"_utils": ".", "experimental": ".", "parallel": "."})
