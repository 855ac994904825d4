"""Carrying batches from a worker process to the loader's.

The elements of tensors and arrays go through blocks of shared memory, which the two sides use over and over; the rest
is pickled (PEP 574, out-of-band buffers). The loader's tensors lie in the shared block itself; when the last of them
has gone, the block is handed back to the worker.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import mmap
import os
import pickle
import tempfile
from collections import deque
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

from ....device import cpu
from ....dtype import named
from ....layout import of
from ....storage import Storage, allocate
from ....tensor import Tensor, make, numpy_view

__all__ = ["Receiver", "Sender", "shared_folder"]

_ALIGNMENT = 64
_SMALL = 16384  # bytes that are cheaper to send than to share
_LEASES = 16  # blocks of one worker that may be in use before batches are copied out of them


def shared_folder() -> str | None:
    """A new private folder whose files lie in memory, or None where the system has none."""
    if os.name != "posix":
        return None
    memory = "/dev/shm"
    with contextlib.suppress(OSError):
        return tempfile.mkdtemp(prefix="flambeau-", dir=memory if os.path.isdir(memory) else None)
    return None


class _Block(NamedTuple):
    """Where the buffers of a message are: a block of shared memory, named by its file when it is new."""

    number: int
    path: str
    size: int


def _reduce(tensor: Tensor) -> tuple[Any, ...]:
    if tensor.requires_grad and not tensor.is_leaf:
        raise RuntimeError(
            "Cowardly refusing to serialize non-leaf tensor which requires_grad, since autograd does not support "
            "crossing process boundaries. If you just want to transfer the data, call detach() on the tensor before "
            "serializing (e.g., putting it on the queue)."
        )
    array = numpy_view(tensor)
    strides = tensor._layout.strides
    if not tensor._layout.dense:
        array = np.ascontiguousarray(array).reshape(array.shape)
        strides = tuple(stride // array.itemsize for stride in array.strides)
    # All elements as bytes, in the order of memory.
    order = sorted(range(array.ndim), key=lambda i: -array.strides[i])
    flat = array.transpose(order).reshape(-1).view(np.uint8)
    return (_tensor, (pickle.PickleBuffer(flat), tensor.dtype.name, tuple(tensor.shape), strides, tensor.requires_grad))


def _tensor(buffer: Any, dtype: str, shape: tuple[int, ...], strides: tuple[int, ...], requires_grad: bool) -> Tensor:
    view = memoryview(buffer)
    if view.readonly:
        view = memoryview(bytearray(view))
    address = ctypes.addressof(ctypes.c_char.from_buffer(view)) if len(view) else 0
    tensor = make(Storage(address, len(view), owner=view), of(named(dtype), cpu, shape, strides))
    return tensor.requires_grad_() if requires_grad else tensor


class _Pickler(pickle.Pickler):
    """Keeps the elements of tensors and arrays out of the pickle."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is Tensor and obj.device is cpu and obj.dtype is not None:
            return _reduce(obj)
        return NotImplemented


class Sender:
    """The worker's end.

    Args:
        connection: where messages go.
        folder: where blocks of shared memory are made; None sends everything.
    """

    def __init__(self, connection: Connection, folder: str | None) -> None:
        self._connection = connection
        self._folder = folder
        self._blocks: dict[int, tuple[mmap.mmap, int]] = {}
        self._free: list[int] = []

    def release(self, numbers: list[int]) -> None:
        """Take note that the loader has done with these blocks."""
        self._free.extend(numbers)

    def send(self, task: int, data: Any) -> None:
        """Send what became of a task; raises what pickling raises."""
        stream = io.BytesIO()
        buffers: list[pickle.PickleBuffer] = []
        _Pickler(stream, 5, buffer_callback=buffers.append).dump(data)
        views = [buffer.raw() for buffer in buffers]
        offsets, total = [], 0
        for view in views:
            offsets.append(total)
            total += -(-len(view) // _ALIGNMENT) * _ALIGNMENT
        block = self._place(total) if total > _SMALL else None
        if block is None:
            sent: Any = [bytes(view) for view in views]
        else:
            sent = [(offset, len(view)) for offset, view in zip(offsets, views)]
            target = memoryview(self._blocks[block.number][0])
            for offset, view in zip(offsets, views):
                target[offset : offset + len(view)] = view
        self._connection.send_bytes(pickle.dumps((task, block, sent, stream.getvalue()), protocol=5))

    def _place(self, total: int) -> _Block | None:
        """A block with room for so many bytes; None when no shared memory is to be had."""
        fitting = [number for number in self._free if self._blocks[number][1] >= total]
        if fitting:
            number = min(fitting, key=lambda n: self._blocks[n][1])
            self._free.remove(number)
            return _Block(number, "", self._blocks[number][1])
        if self._folder is None:
            return None
        size = -(-(total + total // 8) // mmap.PAGESIZE) * mmap.PAGESIZE
        try:
            handle, path = tempfile.mkstemp(dir=self._folder)
            try:
                # Without this, memory that runs out would end the process at the first write instead of here.
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(handle, 0, size)
                else:
                    os.truncate(handle, size)
                mapping = mmap.mmap(handle, size)
            finally:
                os.close(handle)
        except OSError:
            return None
        number = len(self._blocks)
        self._blocks[number] = (mapping, size)
        return _Block(number, path, size)


class _Lease:
    """Held by everything that lies in a block; hands the block back when it has gone."""

    def __init__(self, number: int, returned: deque[int]) -> None:
        self._number, self._returned = number, returned

    def __del__(self) -> None:
        self._returned.append(self._number)


class Receiver:
    """The loader's end."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._blocks: dict[int, mmap.mmap] = {}
        self._returned: deque[int] = deque()
        self._leased = 0

    def returned(self) -> list[int]:
        """The blocks that the worker may use again; each is told once."""
        found = []
        while self._returned:
            found.append(self._returned.popleft())
        self._leased -= len(found)
        return found

    def receive(self) -> tuple[int, Any]:
        """The next message: the number of a task and what became of it."""
        task, block, sent, pickled = pickle.loads(self.connection.recv_bytes())
        if block is None:
            return task, pickle.loads(pickled, buffers=[bytearray(part) for part in sent])
        if block.path:
            with open(block.path, "r+b") as file:
                self._blocks[block.number] = mmap.mmap(file.fileno(), block.size)
            os.unlink(block.path)
        mapping = self._blocks[block.number]
        self._leased += 1
        lease = _Lease(block.number, self._returned)
        if self._leased > _LEASES:
            parts = [_copy(mapping, offset, length) for offset, length in sent]
        else:
            parts = [_part(mapping, offset, length, lease) for offset, length in sent]
        return task, pickle.loads(pickled, buffers=parts)


def _part(mapping: mmap.mmap, offset: int, length: int, lease: _Lease) -> memoryview:
    """Bytes within a block, which stay as long as anything made of them."""
    if not length:
        return memoryview(bytearray())
    part = (ctypes.c_ubyte * length).from_buffer(mapping, offset)
    part._lease = lease  # type: ignore[attr-defined]
    return memoryview(part)


def _copy(mapping: mmap.mmap, offset: int, length: int) -> memoryview:
    """A copy of bytes within a block, in memory of the allocator."""
    storage = allocate(length)
    if not length:
        return memoryview(bytearray())
    copied = (ctypes.c_ubyte * length).from_address(storage.ptr)
    copied._storage = storage  # type: ignore[attr-defined]
    view = memoryview(copied).cast("B")
    view[:] = memoryview(mapping)[offset : offset + length]
    return view
