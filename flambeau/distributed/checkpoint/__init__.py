"""Checkpoints that every process writes its part of, and that processes of another number can read."""

from __future__ import annotations

import os
from typing import Any

from ...autograd.mode import no_grad
from ...dispatch import operator as _records
from ...tensor import Tensor
from .. import distributed_c10d as c10d
from ..tensor import DTensor, Shard
from ..tensor._utils import compute_local_shape_and_global_offset
from .default_planner import DefaultLoadPlanner
from .hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter, place

__all__ = ["DefaultLoadPlanner", "HuggingFaceStorageReader", "HuggingFaceStorageWriter", "load", "save"]


def _part(tensor: Any, name: str) -> tuple[Any, tuple[int, ...]]:
    """What this process has of a tensor, and where it begins."""
    if not isinstance(tensor, DTensor):
        return tensor, (0,) * tensor.ndim
    if any(p.is_partial() or (isinstance(p, Shard) and not p.is_shard()) for p in tensor.placements):
        raise NotImplementedError(f"checkpoint: {name} has placements {tensor.placements}: redistribute it to Shard")
    _, offsets = compute_local_shape_and_global_offset(tensor.shape, tensor.device_mesh, tensor.placements)
    return tensor.to_local(), offsets


def _is_mine(tensor: Any, rank: int) -> bool:
    """Whether this process writes what it has: of several that have the same, the first does."""
    if not isinstance(tensor, DTensor):
        return rank == 0
    at = tensor.device_mesh.get_coordinate()
    return at is not None and all(r == 0 or p.is_shard() for r, p in zip(at, tensor.placements))


def _tensors(state_dict: dict[str, Any], name: str) -> dict[str, Any]:
    wrong = next((key for key, value in state_dict.items() if not isinstance(value, Tensor)), None)
    if wrong is not None:
        raise NotImplementedError(
            f"checkpoint.{name}: entry {wrong!r} is of type {type(state_dict[wrong]).__name__}; tensors are supported"
        )
    return state_dict


def save(
    state_dict: dict[str, Any], *, checkpoint_id: str | os.PathLike[str] | None = None, storage_writer: Any = None,
    planner: Any = None, process_group: Any = None, no_dist: bool = False, use_collectives: bool = True,
) -> None:  # fmt: skip
    """Writes a dictionary of tensors; all processes must call it.

    ``checkpoint_id`` is a folder, or ``storage_writer`` says where.  Raises NotImplementedError for other values than
    tensors and for parts with gaps.
    """
    rank, size = (0, 1) if no_dist else place(process_group)
    writer = storage_writer or HuggingFaceStorageWriter(_folder(checkpoint_id, "save"))
    mine = {k: _part(v, k) for k, v in _tensors(state_dict, "save").items() if _is_mine(v, rank)}
    with no_grad():
        writer.write(mine, rank, size)
    if size > 1:
        c10d.barrier(process_group)


def _folder(checkpoint_id: Any, name: str) -> Any:
    if checkpoint_id is None:
        raise RuntimeError(f"checkpoint.{name}: give checkpoint_id, a folder, or the storage")
    return checkpoint_id


def load(
    state_dict: dict[str, Any], *, checkpoint_id: str | os.PathLike[str] | None = None, storage_reader: Any = None,
    planner: Any = None, process_group: Any = None, no_dist: bool = False,
) -> None:  # fmt: skip
    """Reads the values of the tensors of a dictionary in place, of each what this process has.

    Raises RuntimeError for names that the checkpoint does not have, unless the planner allows it, and for shapes that
    differ.
    """
    reader = storage_reader or HuggingFaceStorageReader(_folder(checkpoint_id, "load"))
    known = reader.read_metadata().state_dict_metadata
    partial = getattr(planner, "allow_partial_load", False)
    with no_grad():
        for name, tensor in _tensors(state_dict, "load").items():
            if name not in known:
                if partial:
                    continue
                raise RuntimeError(f"Missing key in checkpoint state_dict: {name}.")
            local, start = _part(tensor, name)
            whole = [max(c.offsets[d] + c.sizes[d] for c in known[name]) for d in range(tensor.ndim)]
            if whole != list(tensor.shape):
                raise RuntimeError(f"checkpoint.load: {name} has shape {tuple(tensor.shape)}, in the file {whole}")
            for chunk in known[name]:
                low = [max(a, b) for a, b in zip(start, chunk.offsets)]
                ends = zip(start, local.shape, chunk.offsets, chunk.sizes)
                high = [min(a + n, b + m) for a, n, b, m in ends]
                if all(a < b for a, b in zip(low, high)):
                    here = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start))
                    there = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, chunk.offsets))
                    local[here].copy_(chunk.read()[there])


__getattr__, __dir__ = _records.namespace(globals(), {}, {"state_dict": "."})
