"""Checkpoints of several processes as safetensors files, one of each process.

The format: the length of a header as 8 bytes, little-endian; the header, JSON, which says type, shape and bytes of
every tensor; the bytes.  Where a part begins in the whole is in the header's metadata, under "DCP_SHARDING_INFO".
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...dtype import bfloat16, bool_, dtype, float16, float32, float64, int8, int16, int32, int64, uint8
from ...ops import interop
from .. import distributed_c10d as c10d

__all__ = ["HuggingFaceStorageReader", "HuggingFaceStorageWriter"]

_TYPES: dict[str, dtype] = {
    "BOOL": bool_, "U8": uint8, "I8": int8, "I16": int16, "I32": int32, "I64": int64, "F16": float16,
    "BF16": bfloat16, "F32": float32, "F64": float64,
}  # fmt: skip
_NAMES = {t: name for name, t in _TYPES.items()}


@dataclass
class Chunk:
    """A part of a tensor in a file: where it begins in the whole, its shape, its type, its bytes."""

    file: Path
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    dtype: dtype
    begin: int
    end: int

    def read(self) -> Any:
        """The tensor."""
        with self.file.open("rb") as f:
            f.seek(self.begin)
            data = bytearray(f.read(self.end - self.begin))
        found: Any = interop.frombuffer(data or bytearray(8), dtype=self.dtype)
        if not data:
            found = found[:0]
        return found.reshape(self.sizes)


@dataclass
class Metadata:
    """What is in a checkpoint: the parts of every tensor, by its name."""

    state_dict_metadata: dict[str, list[Chunk]] = field(default_factory=dict)


class HuggingFaceStorageWriter:
    """Writes the parts of this process to ``path``; raises NotImplementedError for ``enable_consolidation``."""

    def __init__(
        self, path: str | os.PathLike[str], fqn_to_index_mapping: dict[str, int] | None = None, thread_count: int = 1,
        save_distributed: bool = False, enable_consolidation: bool = False, thread_count_consolidation: int = 1,
    ) -> None:  # fmt: skip
        if enable_consolidation:
            raise NotImplementedError("HuggingFaceStorageWriter: enable_consolidation is not supported; load the parts")
        self.path = Path(path)

    def write(self, parts: dict[str, tuple[Any, tuple[int, ...]]], rank: int, size: int) -> None:
        """One file of tensors and where they begin.  Raises TypeError for types that the format does not have."""
        self.path.mkdir(parents=True, exist_ok=True)
        header: dict[str, Any] = {}
        where, blobs = 0, []
        for name, (tensor, _) in parts.items():
            if tensor.dtype not in _NAMES:
                raise TypeError(
                    f"HuggingFaceStorageWriter: {name} is of type {tensor.dtype}, not one of {list(_NAMES)}"
                )
            flat = tensor.detach().contiguous().reshape(-1)
            blobs.append(flat.view(uint8).numpy().tobytes() if flat.numel() else b"")
            end = where + len(blobs[-1])
            header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [where, end]}
            where = end
        info = {name: {"saved_offsets": list(offsets)} for name, (_, offsets) in parts.items()}
        header["__metadata__"] = {"format": "pt", "DCP_VERSION": "1.0", "DCP_SHARDING_INFO": json.dumps(info)}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        file = self.path / f"shard-{rank + 1:05d}-model-{1:05d}-of-{1:05d}.safetensors"
        with file.open("wb") as f:
            f.write(len(text).to_bytes(8, "little") + text)
            f.writelines(blobs)


class HuggingFaceStorageReader:
    """Reads what is in the safetensors files of a folder."""

    def __init__(self, path: str | os.PathLike[str], thread_count: int = 1) -> None:
        self.path = Path(path)

    def read_metadata(self) -> Metadata:
        """The parts of all tensors.  Raises FileNotFoundError for a folder without such files."""
        found = Metadata()
        files = sorted(self.path.glob("*.safetensors"))
        if not files:
            raise FileNotFoundError(f"HuggingFaceStorageReader: there are no safetensors files in {self.path}")
        for file in files:
            with file.open("rb") as f:
                start = int.from_bytes(f.read(8), "little")
                header = json.loads(f.read(start))
            info = json.loads(header.pop("__metadata__", {}).get("DCP_SHARDING_INFO", "{}"))
            for name, entry in header.items():
                sizes, (begin, end) = tuple(entry["shape"]), entry["data_offsets"]
                kind = _TYPES[entry["dtype"]]
                if end - begin != math.prod(sizes) * kind.itemsize:
                    raise ValueError(f"{file}: {name} of shape {sizes} has {end - begin} bytes")
                offsets = tuple(info.get(name, {}).get("saved_offsets", (0,) * len(sizes)))
                chunk = Chunk(file, offsets, sizes, kind, 8 + start + begin, 8 + start + end)
                found.state_dict_metadata.setdefault(name, []).append(chunk)
        return found


def place(group: Any) -> tuple[int, int]:
    """Rank and number of processes."""
    return (c10d.get_rank(group), c10d.get_world_size(group)) if c10d.is_initialized() else (0, 1)
