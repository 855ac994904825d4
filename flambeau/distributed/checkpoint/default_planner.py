"""What loading does about tensors that a checkpoint does not have."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DefaultLoadPlanner"]


@dataclass
class DefaultLoadPlanner:
    """Tensors that are not there raise, or with ``allow_partial_load`` stay as they are."""

    flatten_state_dict: bool = True
    flatten_sharded_tensors: bool = True
    allow_partial_load: bool = False
