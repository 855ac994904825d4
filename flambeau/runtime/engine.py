"""From LLVM text to callable code, compiled once.

``load`` looks for the code of a key in memory, then on disk, and compiles it when neither has it.  ``load_many`` does
so for several kernels at once: those that must be compiled are compiled in parallel.

With ``FLAMBEAU_DEBUG`` at 1 every compilation is reported, from 2 on also why it was necessary, from 5 on the LLVM text
of every kernel that is loaded, from 6 on its assembly.  With ``FLAMBEAU_VERIFY`` every request makes its text again and
compares it with the text that the code found was made from: a key that does not determine the code is reported.
"""

from __future__ import annotations

import hashlib
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from .. import settings
from . import cache, cpu, llvm
from .image import Image, LinkError, link, load_images

if TYPE_CHECKING:
    from ..target.isa import ISA

__all__ = ["Compiled", "Request", "Statistics", "load", "load_many", "statistics"]


class Compiled:
    """Loaded code.  It stays for the life of the process."""

    __slots__ = ("_addresses", "name", "source")

    def __init__(self, name: str, addresses: dict[str, int], source: str) -> None:
        self.name = name
        self.source = source
        """Digest of the LLVM text that the code was made from."""
        self._addresses = addresses

    def address(self, symbol: str) -> int:
        """The address of a function that the kernel defines; raises ``KeyError`` for an unknown one."""
        return self._addresses[symbol]

    def addresses(self) -> tuple[int, ...]:
        """The addresses of all functions."""
        return tuple(self._addresses.values())

    def __repr__(self) -> str:
        return f"Compiled({self.name!r})"


class Request(NamedTuple):
    """The arguments of ``load``."""

    name: str
    key: str
    make_ir: Callable[[], str]
    isa: ISA


class Statistics(NamedTuple):
    """What was done so far: kernels compiled, found on disk, found in memory; seconds of compilation and of loading."""

    compiled: int
    disk_hits: int
    memory_hits: int
    compile_seconds: float
    load_seconds: float


class _Work:
    """Code that one thread is getting; others wait for ``finished`` and look again."""

    __slots__ = ("error", "finished", "image", "request", "stored")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.finished = threading.Event()
        self.image: Image | None = None
        self.error: BaseException | None = None
        self.stored = ""  # its name on disk; "" without a disk cache


_Key = tuple[str, str, str]

_lock = threading.Lock()
_loaded: dict[_Key, Compiled] = {}
_pending: dict[_Key, _Work] = {}
observer: Callable[[Request, Compiled], None] | None = None  # told of all code that is loaded
_compiled = _disk_hits = _memory_hits = 0
_compile_seconds = _load_seconds = 0.0


def load(name: str, key: str, make_ir: Callable[[], str], isa: ISA) -> Compiled:
    """The code of the kernel ``name`` with ``key``, which determine it together with ``isa``.

    ``make_ir()`` returns its LLVM text, and is called only if the code is neither in memory nor on disk.  Several
    threads may ask for the same code: one gets it, the others wait.  Raises ``CompileError`` when LLVM rejects the
    text, and whatever ``make_ir`` raises.
    """
    global _memory_hits
    found = _loaded.get((name, key, isa.key))
    if found is None:
        return load_many([Request(name, key, make_ir, isa)])[0]
    _memory_hits += 1
    if settings.verify:
        _check_key(Request(name, key, make_ir, isa), found.source)
    return found


def _check_key(request: Request, source: str) -> None:
    text = request.make_ir()
    if _digest(text) != source:
        raise AssertionError(
            f"kernel {request.name}: its key does not determine its code. Two requests with the key\n{request.key}\n"
            f"made different LLVM texts; the present one is\n{text}"
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def load_many(requests: Iterable[Request]) -> list[Compiled]:
    """As ``load`` for each request; what has to be compiled is compiled by several threads."""
    requests = list(requests)
    keys = [(r.name, r.key, r.isa.key) for r in requests]
    while missing := {key: request for key, request in zip(keys, requests) if key not in _loaded}:
        own: dict[_Key, _Work] = {}
        foreign: list[_Work] = []
        with _lock:
            for key, request in missing.items():
                if key in _pending:
                    foreign.append(_pending[key])
                elif key not in _loaded:
                    own[key] = _pending[key] = _Work(request)
        if own:
            _get(own)
        for work in foreign:  # if the thread that has it in hand fails, the next round tries here
            work.finished.wait()
    return [_loaded[key] for key in keys]


def _get(own: dict[_Key, _Work]) -> None:
    """Finds or compiles what the calling thread has announced, and makes it executable."""
    global _load_seconds
    start = time.perf_counter()
    try:
        absent = [work for work in own.values() if not _from_disk(work)]
        found = time.perf_counter()
        if absent:
            _compile_all(absent)
        compiled = time.perf_counter()
        good = [(key, work.image) for key, work in own.items() if work.image is not None]
        for (key, image), addresses in zip(good, load_images([image for _, image in good])):
            code = _loaded[key] = Compiled(key[0], addresses, image.source)
            if observer is not None:
                observer(own[key].request, code)
            if settings.perf:
                _write_perf_map(image, addresses)
        with _lock:
            _load_seconds += time.perf_counter() - start - (compiled - found)
        for work in own.values():
            if work.error is not None:
                raise work.error
    finally:
        with _lock:
            for key in own:
                del _pending[key]
        for work in own.values():
            work.finished.set()


def _from_disk(work: _Work) -> bool:
    """Fills in the work's image from the disk cache, if it has it."""
    global _disk_hits
    request, disk = work.request, cache.current()
    reason = "the disk cache is off"
    if disk is not None:
        reason = "it is new to the disk cache"
        work.stored = cache.digest(request.name, request.key, request.isa.key)
        data = disk.get(work.stored)
        if data is not None:
            try:
                work.image = Image.from_bytes(data)
            except ValueError:
                disk.discard(work.stored)
    if work.image is None:
        if settings.debug >= 2:
            _say(f"must compile {request.name}: {reason}")
        return False
    with _lock:
        _disk_hits += 1
    if settings.verify:
        _check_key(request, work.image.source)
    if settings.debug >= 5:
        _show(request, request.make_ir())
    return True


def _compile_all(works: list[_Work]) -> None:
    """Compiles, in as many threads as there are processors; the texts are made one by one by the caller.

    Failures are left in ``error``.
    """
    if len(works) == 1:
        _compile(works[0], None)
        return
    texts: queue.SimpleQueue[tuple[_Work, str] | None] = queue.SimpleQueue()

    def worker() -> None:
        while (item := texts.get()) is not None:
            _compile(*item)

    threads = [threading.Thread(target=worker, daemon=True) for _ in range(min(len(works), cpu.physical_cores()))]
    for thread in threads:
        thread.start()
    try:
        for work in works:
            try:
                texts.put((work, work.request.make_ir()))
            except Exception as error:
                work.error = error
    finally:
        for _ in threads:
            texts.put(None)
        for thread in threads:
            thread.join()


def _compile(work: _Work, text: str | None) -> None:
    global _compiled, _compile_seconds
    request = work.request
    try:
        if text is None:
            text = request.make_ir()
        if settings.debug >= 5:
            _show(request, text)
        start = time.perf_counter()
        work.image = link(llvm.to_object(text, request.isa))._replace(source=_digest(text))
        took = time.perf_counter() - start
        with _lock:
            _compiled += 1
            _compile_seconds += took
        if settings.debug >= 1:
            _say(f"compiled {request.name} in {took * 1e3:.1f} ms to {len(work.image.code)} bytes")
        disk = cache.current()
        if disk is not None and work.stored:
            disk.put(work.stored, work.image.to_bytes())
    except (llvm.CompileError, LinkError) as error:
        work.error = type(error)(f"kernel {request.name}: {error}")
    except Exception as error:
        work.error = error


def _show(request: Request, text: str) -> None:
    """Prints a kernel's LLVM text and, from level 6 on, its assembly."""
    _say(f"LLVM of {request.name} ({request.isa.name})\n{text}")
    if settings.debug >= 6:
        _say(f"assembly of {request.name}\n{llvm.assembly(text, request.isa)}")


def _say(text: str) -> None:
    print("flambeau:", text, file=sys.stderr)


def _write_perf_map(image: Image, addresses: dict[str, int]) -> None:
    """Tells Linux' ``perf`` the names of the functions (its JIT map: address, size, name)."""
    places = sorted((offset, name) for name, offset in image.symbols.items())
    ends = [offset for offset, _ in places[1:]] + [len(image.code)]
    with open(f"/tmp/perf-{os.getpid()}.map", "a") as file:
        for (offset, name), end in zip(places, ends):
            file.write(f"{addresses[name]:x} {end - offset:x} {name}\n")


def statistics() -> Statistics:
    """Counts and times since the process started."""
    return Statistics(_compiled, _disk_hits, _memory_hits, _compile_seconds, _load_seconds)


def _after_fork_in_child() -> None:
    """Forgets what other threads, which the child does not have, were compiling."""
    global _lock
    _lock = threading.Lock()
    _pending.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
