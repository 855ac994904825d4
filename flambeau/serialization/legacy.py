"""The formats before zip archives: pickles with raw storages after them (PyTorch 0.1.10 to 1.5), and tar files."""

from __future__ import annotations

import ctypes
import io
import pickle
import struct
import sys
import tarfile
from collections.abc import Callable
from typing import IO, Any

from ..device import cpu
from ..dtype import dtype
from ..storage import Storage
from .pickling import Pickler, StorageTable
from .rebuild import LoadedStorage, dtype_of, loaded, memory_of, rebuild_tensor, storage_type
from .unpickle import Globals, Unpickler, UnpicklingError, short

__all__ = ["MAGIC", "buffer_of", "in_native_order", "load_legacy", "load_tar", "parse_id", "save_legacy"]

MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_SYSTEM = {
    "protocol_version": _PROTOCOL,
    "little_endian": sys.byteorder == "little",
    "type_sizes": {"short": 2, "int": 4, "long": 4},
}
_COUNT = struct.Struct("<q")
MakeStorage = Callable[[int, str], Storage]
"""Makes a storage of so many bytes for what was at a location."""


class _Stream:
    """A buffer of pickles and numbers, read one after the other."""

    def __init__(self, data: bytes, names: Globals, encoding: str) -> None:
        self.data, self.names, self.encoding = data, names, encoding
        self.position = 0

    def object(self, persistent_load: Callable[[Any], Any] | None = None) -> Any:
        """The next pickle."""
        unpickler = Unpickler(
            self.data, self.names, persistent_load or _no_storages, self.encoding, position=self.position
        )
        found = unpickler.load()
        self.position = unpickler.position
        return found

    def take(self, count: int) -> bytes:
        """The next bytes."""
        start = self.position
        if count < 0 or start + count > len(self.data):
            raise UnpicklingError(f"the file is truncated: {count} bytes expected at byte {start} of {len(self.data)}")
        self.position = start + count
        return bytes(self.data[start : start + count])

    def integers(self, count: int) -> tuple[int, ...]:
        """The next 64-bit integers."""
        return struct.unpack(f"<{count}q", self.take(8 * count))

    def count(self) -> int:
        """The next pickle, which must be a number that is not negative."""
        found = self.object()
        if type(found) is not int or found < 0:
            raise UnpicklingError(f"expected a count, got {short(found)}")
        return found


def _no_storages(pid: Any) -> Any:
    raise UnpicklingError("a storage where none may be")


def load_legacy(data: bytes, names: Globals, make: MakeStorage, encoding: str) -> Any:
    """The object in a file of pickles and storages.

    Raises:
        UnpicklingError: the file is damaged, or names something that is not allowed.
    """
    stream = _Stream(data, names, encoding)
    if stream.object() != MAGIC:
        raise UnpicklingError("Invalid magic number; corrupt file?")
    version = stream.object()
    if version != _PROTOCOL:
        raise UnpicklingError(f"Invalid protocol version: {version}")
    system = stream.object()
    order = "big" if isinstance(system, dict) and system.get("little_endian") is False else "little"
    storages: dict[str, LoadedStorage] = {}
    views: dict[Any, LoadedStorage] = {}

    def load_storage(pid: Any) -> Any:
        if isinstance(pid, tuple) and pid and pid[0] == "module":
            return pid[1]  # a class with its source, which is not looked at
        type_, key, location, count = parse_id(pid)
        width = 1 if type_ is None else type_.itemsize
        if key not in storages:
            if count * width > len(data):
                raise UnpicklingError(f"storage {key!r}: {count * width} bytes in a file of {len(data)}")
            storages[key] = loaded(make(count * width, location), type_)
        whole = storages[key]
        view = pid[5] if len(pid) > 5 else None
        if view is None:
            return whole
        name, offset, size = view
        if name not in views:
            views[name] = _part(whole, offset * width, size * width)
        return views[name]

    result = stream.object(load_storage)
    keys = stream.object()
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise UnpicklingError("the list of storages does not name those that the tensors use")
    for key in keys:
        _read_storage(stream, storages[str(key)], order)
    return result


def _read_storage(stream: _Stream, storage: LoadedStorage, order: str) -> None:
    """Fill a storage from its count and its elements."""
    type_, memory = dtype_of(storage), memory_of(storage)
    width = 1 if type_ is None else type_.itemsize
    (count,) = stream.integers(1)
    if count * width != memory.nbytes:
        raise UnpicklingError(f"a storage has {count * width} bytes, but its tensors were saved with {memory.nbytes}")
    contents = in_native_order(stream.take(memory.nbytes), order, type_)
    if memory.device is cpu:
        ctypes.memmove(memory.ptr, contents, memory.nbytes)


def _part(whole: LoadedStorage, offset: int, nbytes: int) -> LoadedStorage:
    """A part of a storage, as old files name views of it."""
    memory = memory_of(whole)
    if offset < 0 or nbytes < 0 or offset + nbytes > memory.nbytes:
        raise UnpicklingError(f"a view of bytes {offset} to {offset + nbytes} of a storage of {memory.nbytes}")
    part = Storage(memory.ptr + offset, nbytes, owner=memory, device_=memory.device)
    return loaded(part, dtype_of(whole))


def in_native_order(contents: bytes, order: str, type_: dtype | None) -> bytes:
    """The bytes of numbers that were written in the given order, in that of this machine."""
    width = 1 if type_ is None else type_.itemsize // 2 if type_.is_complex else type_.itemsize
    if order == sys.byteorder or width == 1:
        return contents
    swapped = bytearray(len(contents))
    for i in range(width):
        swapped[i::width] = contents[width - 1 - i :: width]
    return bytes(swapped)


def buffer_of(storage: Storage) -> memoryview:
    """The bytes of a storage in memory."""
    if not storage.nbytes:
        return memoryview(b"")
    return memoryview((ctypes.c_char * storage.nbytes).from_address(storage.ptr)).cast("B")


def parse_id(pid: Any) -> tuple[dtype | None, str, str, int]:
    """Element type, key, location and number of elements in a persistent id, checked."""
    if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] not in ("storage", b"storage"):
        raise UnpicklingError(f"unknown persistent id {short(pid)}; only storages are known")
    _, kind, key, location, count = pid[:5]
    key = str(key) if isinstance(key, int) else key
    if not isinstance(key, str) or not isinstance(location, str) or type(count) is not int or count < 0:
        raise UnpicklingError(f"a storage with key {short(key)}, location {short(location)} and size {short(count)}")
    if "/" in key or "\\" in key:
        raise UnpicklingError(f"a storage with key {short(key)}, which is no plain name")
    return storage_type(kind).dtype, key, location, count


def load_tar(file: IO[bytes], names: Globals, make: MakeStorage, encoding: str) -> Any:
    """The object in a tar file of PyTorch before 0.1.10."""
    with tarfile.open(fileobj=file, mode="r:") as tar:
        parts = {}
        for member in ("storages", "tensors", "pickle"):
            try:
                entry = tar.extractfile(member)
            except KeyError:
                raise UnpicklingError(f"a tar file without {member!r} is no checkpoint") from None
            if entry is None:
                raise UnpicklingError(f"{member!r} is no plain file")
            parts[member] = _Stream(entry.read(), names, encoding)
    objects: dict[int, Any] = {}
    stream = parts["storages"]
    for _ in range(stream.count()):
        key, location, kind = stream.object()
        type_ = storage_type(kind).dtype
        width = 1 if type_ is None else type_.itemsize
        nbytes = struct.unpack_from("<q", stream.data, stream.position)[0] * width
        if not 0 <= nbytes <= len(stream.data):
            raise UnpicklingError(f"storage {short(key)}: {nbytes} bytes in a file of {len(stream.data)}")
        objects[key] = loaded(make(nbytes, location), type_)
        _read_storage(stream, objects[key], "little")
    for target, root, offset, size in stream.object():
        type_ = dtype_of(objects[root])
        width = 1 if type_ is None else type_.itemsize
        objects[target] = _part(objects[root], offset * width, size * width)
    stream = parts["tensors"]
    for _ in range(stream.count()):
        key, storage, _ = stream.object()
        ndim = struct.unpack("<i", stream.take(4))[0]
        stream.take(4)
        size, stride = stream.integers(ndim), stream.integers(ndim)
        objects[key] = rebuild_tensor(objects[storage], stream.integers(1)[0], size, stride)

    def load(pid: Any) -> Any:
        return pid[0] if isinstance(pid, tuple) else objects[int(pid)]

    return parts["pickle"].object(load)


def save_legacy(obj: Any, file: IO[bytes], protocol: int) -> None:
    """Write the row of pickles and storages."""
    for part in (MAGIC, _PROTOCOL, _SYSTEM):
        file.write(pickle.dumps(part, protocol=protocol))
    table = StorageTable()
    buffer = io.BytesIO()
    Pickler(buffer, protocol, table, with_view=True).dump(obj)
    file.write(buffer.getvalue())
    keys = sorted(table.storages)
    file.write(pickle.dumps(keys, protocol=protocol))
    for key in keys:
        storage = table.storages[key]
        file.write(_COUNT.pack(storage.nbytes // table.width(storage)))
        file.write(buffer_of(storage))
