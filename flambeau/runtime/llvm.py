"""LLVM text to object files, by llvmlite.

llvmlite is imported by the first compilation, not with this module: it takes 0.1 to 0.2 s, which a process that finds
its kernels in the disk cache does not have to spend.

Several threads may compile at once: every compilation has an LLVM context and a target machine of its own.  llvmlite
serialises all of its calls by one lock, which LLVM does not need then, so the three calls that take long (parsing,
passes, code generation) go to its library directly.

Which passes run was measured on row kernels, explicitly vectorised and written as our emitter writes them: ``-O1`` and
``-O2`` take 20 ms a kernel and gain nothing over promoting stack slots, tidying the control flow and removing redundant
loads (2.5 ms).  Loop strength reduction takes a quarter of code generation and gains nothing where addressing modes do
the work, as on x86-64.
"""

from __future__ import annotations

import ctypes
import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .. import settings
from . import cpu

if TYPE_CHECKING:
    from ..target.isa import ISA

__all__ = ["CompileError", "assembly", "optimized", "to_object"]


class CompileError(RuntimeError):
    """LLVM rejected generated code: a mistake of the code generator, never of the user's program."""


_PASSES = ("always_inliner", "sroa", "simplify_cfg", "new_gvn", "instruction_combine", "dead_code_elimination")
_LONG_CALLS = ("LLVMPY_ParseAssembly", "LLVMPY_RunNewModulePassManager", "LLVMPY_TargetMachineEmitToMemory")

_machines = threading.local()


@cache
def _binding() -> Any:
    """llvmlite's binding, with the host's target ready."""
    binding = importlib.import_module("llvmlite.binding")
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding


@cache
def _initialize_all() -> None:
    """Readies the targets of other machines."""
    _binding().initialize_all_targets()
    _binding().initialize_all_asmprinters()


@cache
def _unlocked() -> Any:
    """The long calls without llvmlite's lock, as attributes."""
    ffi = _binding().ffi
    library = ctypes.CDLL(ffi.lib._name)
    functions = {}
    for name in _LONG_CALLS:
        function, locked = getattr(library, name), getattr(ffi.lib, name)
        function.argtypes, function.restype = locked.argtypes, locked.restype
        functions[name.removeprefix("LLVMPY_")] = function
    return SimpleNamespace(**functions)


def _machine(isa: ISA) -> Any:
    """The calling thread's target machine of ``isa``."""
    own: dict[str, Any] = _machines.__dict__
    if isa.key not in own:
        if not isa.triple.startswith(cpu.machine()):
            _initialize_all()
        target = _binding().Target.from_triple(isa.triple)
        own[isa.key] = target.create_target_machine(
            cpu=isa.cpu, features=isa.feature_text, opt=2, reloc="pic", codemodel="small"
        )
    return own[isa.key]


def _parse(text: str, machine: Any, isa: ISA) -> Any:
    binding = _binding()
    context = binding.create_context()
    with binding.ffi.OutputString() as message:
        pointer = _unlocked().ParseAssembly(context, ctypes.c_char_p(text.encode()), message)
        module = binding.ModuleRef(pointer, context)
        if message:
            module.close()
            raise CompileError(f"LLVM cannot parse generated code: {message}\n{_around(text, str(message))}")
    module.triple = isa.triple
    module.data_layout = str(machine.target_data)
    return module


def _around(text: str, message: str) -> str:
    """The lines of the module that the parser's message is about."""
    for word in message.split(":"):
        if word.isdigit():
            line = int(word)
            lines = text.splitlines()[max(0, line - 4) : line + 2]
            return "\n".join(lines)
    return text[:400]


def _verify(module: Any, when: str) -> None:
    try:
        module.verify()
    except RuntimeError as error:
        raise CompileError(f"generated code does not verify {when}: {error}") from None


def _optimize(module: Any, machine: Any) -> None:
    binding = _binding()
    builder = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(speed_level=1))
    manager = binding.create_new_module_pass_manager()
    for name in _PASSES:
        getattr(manager, f"add_{name}_pass")()
    _unlocked().RunNewModulePassManager(manager, module, builder)


_lsr_lock = threading.Lock()
_lsr_users = 0


@contextmanager
def _without_loop_strength_reduction() -> Iterator[None]:
    """Turns that pass off while anybody is in the block.

    The option belongs to the process, and other users of llvmlite (numba) want the pass: the last one out turns it on.
    """
    global _lsr_users
    with _lsr_lock:
        _lsr_users += 1
        if _lsr_users == 1:
            _binding().set_option("flambeau", "-disable-lsr=true")
    try:
        yield
    finally:
        with _lsr_lock:
            _lsr_users -= 1
            if _lsr_users == 0:
                _binding().set_option("flambeau", "-disable-lsr=false")


def _emit(module: Any, machine: Any, as_object: bool) -> bytes:
    binding = _binding()
    with binding.ffi.OutputString() as message, _without_loop_strength_reduction():
        buffer = _unlocked().TargetMachineEmitToMemory(machine, module, int(as_object), message)
        if not buffer:
            raise CompileError(f"LLVM cannot generate code: {message}")
    lib = binding.ffi.lib
    try:
        return ctypes.string_at(lib.LLVMPY_GetBufferStart(buffer), lib.LLVMPY_GetBufferSize(buffer))
    finally:
        lib.LLVMPY_DisposeMemoryBuffer(buffer)


def _prepared(text: str, isa: ISA) -> tuple[Any, Any]:
    machine = _machine(isa)
    module = _parse(text, machine, isa)
    if settings.verify:
        _verify(module, "as it was generated")
    _optimize(module, machine)
    if settings.verify:
        _verify(module, "after optimisation")
    return module, machine


def to_object(text: str, isa: ISA) -> bytes:
    """The object file of an LLVM module; raises ``CompileError`` when LLVM rejects it."""
    module, machine = _prepared(text, isa)
    return _emit(module, machine, True)


def optimized(text: str, isa: ISA) -> str:
    """The module's text after the passes."""
    return str(_prepared(text, isa)[0])


def assembly(text: str, isa: ISA) -> str:
    """The assembly text that the module becomes."""
    module, machine = _prepared(text, isa)
    return _emit(module, machine, False).decode()
