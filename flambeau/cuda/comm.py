"""Copies between CUDA devices, which need devices."""

from __future__ import annotations

from ..absent import define
from ._absent import need

define(
    globals(),
    need,
    """
    broadcast(tensor, devices=None, *, out=None)
    broadcast_coalesced(tensors, devices, buffer_size=10485760)
    gather(tensors, dim=0, destination=None, *, out=None)
    reduce_add(inputs, destination=None)
    reduce_add_coalesced(inputs, destination=None, buffer_size=10485760)
    scatter(tensor, devices=None, chunk_sizes=None, dim=0, streams=None, *, out=None)
    """,
)
