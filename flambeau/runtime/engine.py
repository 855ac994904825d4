"""From LLVM text to callable code, compiled once.

``load(name, key, make_ir, isa)`` looks for the code in memory, then on disk, and compiles it when neither has it.
"""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import settings
from .image import Image, link, load_images

if TYPE_CHECKING:
    from ..target.isa import ISA

__all__ = ["Compiled", "Statistics", "load", "statistics"]


class Compiled:
    """Loaded code.  It stays for the life of the process."""

    __slots__ = ("_addresses", "name")

    def __init__(self, name: str, addresses: dict[str, int]) -> None:
        self.name = name
        self._addresses = addresses

    def address(self, symbol: str) -> int:
        """The address of an exported function; raises ``KeyError`` for an unknown one."""
        return self._addresses[symbol]


class Statistics(NamedTuple):
    """What ``load`` did so far: counts, and the seconds that compilation took."""

    compiled: int
    disk_hits: int
    memory_hits: int
    seconds: float


_loaded: dict[tuple[str, str, str], Compiled] = {}
_locks: dict[tuple[str, str, str], threading.Lock] = {}
_lock = threading.Lock()
_counts = {"compiled": 0, "disk_hits": 0, "memory_hits": 0}
_seconds = 0.0


def _llvm() -> Any:
    """llvmlite's binding, imported when first needed: it takes 0.1 s that a warm start does not spend."""
    return importlib.import_module("llvmlite.binding")


def load(name: str, key: str, make_ir: Callable[[], str], isa: ISA) -> Compiled:
    """The code of the kernel ``name`` with ``key``, which determines it together with ``isa``.

    ``make_ir()`` returns its LLVM text, and is called only if the code is neither in memory nor on disk.  Several
    threads may ask for the same code: one compiles it, the others wait.
    """
    full = (name, key, isa.key)
    found = _loaded.get(full)
    if found is not None:
        _counts["memory_hits"] += 1
        return found
    with _lock:
        own = _locks.setdefault(full, threading.Lock())
    with own:
        found = _loaded.get(full)
        if found is None:
            found = _loaded[full] = Compiled(name, load_images([_compile(name, make_ir(), isa)])[0])
    return found


def _compile(name: str, text: str, isa: ISA) -> Image:
    global _seconds
    start = time.perf_counter()
    image = link(emit(text, isa))
    took = time.perf_counter() - start
    with _lock:
        _counts["compiled"] += 1
        _seconds += took
    if settings.debug >= 1:
        print(f"flambeau: compiled {name} in {took * 1e3:.1f} ms, {len(image.code)} bytes", file=sys.stderr)
    return image


def _machine(isa: ISA) -> Any:
    llvm = _llvm()
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(isa.triple)
    return target.create_target_machine(
        cpu=isa.cpu, features=isa.feature_text, opt=2, reloc="pic", codemodel="small", jit=False
    )


def emit(text: str, isa: ISA, *, optimize: bool = True, assembly: bool = False) -> Any:
    """The object file (or assembly text) of an LLVM module."""
    llvm = _llvm()
    machine = _machine(isa)
    module = llvm.parse_assembly(text, context=llvm.create_context())
    module.triple = isa.triple
    module.data_layout = str(machine.target_data)
    if settings.verify:
        module.verify()
    if optimize:
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        options.loop_vectorization = options.slp_vectorization = False
        builder = llvm.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
    return machine.emit_assembly(module) if assembly else machine.emit_object(module)


def statistics() -> Statistics:
    """Counts since the process started."""
    return Statistics(_counts["compiled"], _counts["disk_hits"], _counts["memory_hits"], _seconds)
