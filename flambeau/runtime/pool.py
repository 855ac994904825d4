"""The fork-join thread pool that generated kernels call.

One native function, ``parallel_for(pool, body, block, chunks)``, calls ``body(block, chunk, worker)`` for every chunk,
on the caller (worker 0) and on the pool's threads, and returns when all are done.  It and the workers' loop are LLVM
IR written here; the workers are plain POSIX threads that never touch Python, started by the first parallel kernel.

How a job is handed over.  The chunks are cut into as many *parts* of neighbours as there are participants; everyone
begins with its own part, so that kernel after kernel the same data stay in the same processor's cache, and helps with
the others' when it is done; the last chunk of a part that its owner is working on is left to the owner for some
microseconds, because its data are in the owner's cache (two kernels of 1 MB were slower by half in some processes where
chunks went back and forth).  One 64-bit word for each part, its *ticket*, holds the job's number (high half) and the
next chunk (low half).  A participant claims a chunk by compare-and-swap of the whole word, which fails if the job has
changed since it was described; so a worker that the system stopped at any point can neither take a chunk of a later
job by mistake, nor hold up the caller by anything but a chunk that it has really begun.  Between jobs the low halves
are `CLOSED`.  The caller takes chunks like every worker, so it finishes alone whatever nobody else begins.

Job after job, the chunks of a part are done forwards and backwards by turns, also where there is one thread: what a
kernel touched last is still in the nearest cache when the next begins, and of operands bigger than a cache a part is
found there where always the same order would find nothing.

* A pool that is busy (another Python thread, a kernel within a kernel) makes the caller run all its chunks itself.
* Idle workers spin for about a millisecond, then sleep on a futex; waiting callers spin for less, then yield, then
  sleep.
* After ``fork`` the child's pool is as new: its first parallel kernel starts threads again.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable

from .. import settings
from ..target.isa import ISA
from . import cpu, engine, pool_code
from .pool_code import CLOSED, LAYOUT, PARTS
from .system import PAGE, map_pages

__all__ = ["MAX_THREADS", "address", "get_num_threads", "set_num_threads"]

MAX_THREADS = 4095  # a worker's number travels in the low bits of the pool's address


def _default_threads() -> int:
    """The setting, else the first number of ``OMP_NUM_THREADS``, else the physical cores."""
    omp = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(MAX_THREADS, settings.num_threads or (int(omp) if omp.isdigit() else 0) or cpu.physical_cores())


_lock = threading.Lock()
_address = 0
_wanted = _default_threads()
_Resize = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)
_resize: Callable[[int, int], None]


def _word(name: str) -> ctypes.c_int64:
    return ctypes.c_int64.from_address(_address + LAYOUT[name])


def address() -> int:
    """The address of the pool, to be passed to kernels; it never changes.  Its first word is ``parallel_for``."""
    global _address, _resize
    if _address:
        return _address
    with _lock:
        if not _address:
            code = engine.load("thread pool", "pool", pool_code.module, ISA.named("generic"))
            _resize = _Resize(code.address("resize"))
            start = map_pages(PAGE)  # never given back: threads sleep on it until the process ends
            if start is None:
                raise MemoryError("the system refuses a page for the thread pool")
            fields = {"function": code.address("parallel_for"), "wanted": _wanted, "ticket": CLOSED}
            for name, value in fields.items():
                ctypes.c_int64.from_address(start + LAYOUT[name]).value = value
            _address = start
    return _address


def get_num_threads() -> int:
    """How many threads a kernel may use, the caller included."""
    return _wanted


def set_num_threads(count: int, /) -> None:
    """Sets how many threads a kernel may use; results do not depend on it.

    Waits for a parallel kernel that is running.  Raises ``ValueError`` unless 1 <= count <= 4095.
    """
    global _wanted
    if not 1 <= count <= MAX_THREADS:
        raise ValueError(f"set_num_threads: expected an integer from 1 to {MAX_THREADS}, got {count}")
    with _lock:
        _wanted = count
        if _address:
            _resize(_address, count)


def _after_fork_in_child() -> None:
    """Forgets the threads, which the child does not have, and whatever job was running elsewhere."""
    global _lock
    _lock = threading.Lock()
    if _address:
        for name in ("started", "done", "wake", "sleepers", "busy", "alive"):
            _word(name).value = 0
        _word("ticket").value |= CLOSED
        for part in range(PARTS):
            ctypes.c_int64.from_address(_address + LAYOUT["tickets"] + 64 * part).value |= CLOSED
        _word("wanted").value = _wanted


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
