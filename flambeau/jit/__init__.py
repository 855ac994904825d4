"""TorchScript's names: functions and modules run as the Python that they are.

Nothing has to be translated here, so ``script`` and ``trace`` give back something that runs the Python code itself, and
the decorators that tell TorchScript's compiler what to do only leave their marks.  There is no TorchScript program to
look at (``.graph``, ``.code``) or to save.
"""

from __future__ import annotations

import functools
import threading
from builtins import isinstance as _isa
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from ..dispatch.operator import namespace as _namespace
from ..futures import Future
from ..nn.modules.module import Module
from ..tensor import Tensor
from . import annotations as annotations
from .annotations import isinstance_of

__all__ = [
    "Attribute", "Error", "Final", "Future", "ScriptFunction", "ScriptModule", "TracerWarning", "annotate",
    "enable_onednn_fusion", "export", "fork", "freeze", "ignore", "interface", "is_scripting", "is_tracing",
    "onednn_fusion_enabled", "optimize_for_inference", "script", "script_if_tracing", "script_method",
    "set_fusion_strategy", "strict_fusion", "trace", "trace_module", "unused", "wait",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])


class Error(RuntimeError):
    """An error raised inside of a compiled program."""


class TracerWarning(Warning):
    """What a trace cannot hold; nothing here, since Python runs at every call."""


class Attribute(NamedTuple):
    """A value with the type that it is to have in a compiled module."""

    value: Any
    type: Any


class _State(threading.local):
    tracing = 0


_state = _State()


def is_scripting() -> bool:
    """Whether TorchScript's compiler runs this code: never."""
    return False


def is_tracing() -> bool:
    """Whether ``trace`` is calling the function with its example inputs."""
    return _state.tracing > 0


# -- what is called instead ---------------------------------------------------------------------------


class ScriptFunction:
    """A function that was given to ``script`` or ``trace``; calls it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self.name = getattr(function, "__name__", type(function).__name__)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return (ScriptFunction, (self._function,))


class ScriptModule(Module):
    """A module that was given to ``script`` or ``trace``: of its own class, too, and sharing its state."""

    def __init__(self) -> None:
        super().__init__()

    @property
    def original_name(self) -> str:
        """The name of the module's own class."""
        return type(self).__name__


@functools.cache
def _scripted_class(cls: type[Module]) -> type[ScriptModule]:
    return type(cls.__name__, (ScriptModule, cls), {"__module__": cls.__module__, "__doc__": cls.__doc__})


def _scripted(module: Module) -> Module:
    if _isa(module, ScriptModule):
        return module
    cls = _scripted_class(type(module))
    made: Module = cls.__new__(cls)
    made.__dict__ = module.__dict__
    return made


def script(obj: Any, optimize: Any = None, _frames_up: int = 0, _rcb: Any = None, example_inputs: Any = None) -> Any:
    """A function or module that runs as the Python it is; classes, lists and dictionaries are returned as they are.

    Raises RuntimeError for what cannot be called.
    """
    if _isa(obj, Module):
        return _scripted(obj)
    if _isa(obj, (ScriptFunction, type, list, dict)):
        return obj
    if not callable(obj):
        raise RuntimeError(f"script() takes a function, a class or an nn.Module, got {type(obj).__name__}")
    return ScriptFunction(obj)


def _inputs(example: Any) -> tuple[Any, ...]:
    return tuple(example) if _isa(example, (tuple, list)) else () if example is None else (example,)


def _run_traced(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    _state.tracing += 1
    try:
        return call(*args, **kwargs)
    finally:
        _state.tracing -= 1


def _check_result(result: Any) -> None:
    """Raises RuntimeError for results that a trace cannot have, as PyTorch does."""
    if _isa(result, Tensor):
        return
    if _isa(result, (tuple, list)):
        for item in result:
            _check_result(item)
    elif _isa(result, dict):
        for item in result.values():
            _check_result(item)
    elif result is None or _isa(result, (str, int, float)):
        raise RuntimeError(
            "Only tensors, lists, tuples of tensors, or dictionary of tensors can be output from traced functions, "
            f"got {type(result).__name__}"
        )


def trace(
    func: Any, example_inputs: Any = None, optimize: Any = None, check_trace: bool = True, check_inputs: Any = None,
    check_tolerance: float = 1e-5, strict: bool = True, _force_outplace: bool = False, _module_class: Any = None,
    _compilation_unit: Any = None, example_kwarg_inputs: dict[str, Any] | None = None, _store_inputs: bool = True,
) -> Any:  # fmt: skip
    """Calls ``func`` with the example inputs once, and returns something that runs it as the Python it is.

    So, unlike PyTorch's traces, it follows the control flow of each call.  Raises RuntimeError without example inputs,
    and for results other than tensors and their containers.
    """
    if example_inputs is None and example_kwarg_inputs is None:
        raise RuntimeError("trace(): give example_inputs or example_kwarg_inputs")
    _check_result(_run_traced(func, _inputs(example_inputs), example_kwarg_inputs or {}))
    return _scripted(func) if _isa(func, Module) else ScriptFunction(func)


def trace_module(
    mod: Module, inputs: dict[str, Any], optimize: Any = None, check_trace: bool = True, check_inputs: Any = None,
    check_tolerance: float = 1e-5, strict: bool = True, _force_outplace: bool = False, _module_class: Any = None,
    _compilation_unit: Any = None, example_inputs_is_kwarg: bool = False, _store_inputs: bool = True,
) -> Module:  # fmt: skip
    """Calls the methods named in ``inputs`` with their example inputs once; see ``trace``."""
    if not _isa(mod, Module):
        raise AttributeError(f"expected torch.nn.Module as the first argument, got {type(mod).__name__}")
    if not _isa(inputs, dict):
        raise AttributeError("expected a dictionary of (method_name, input) pairs")
    for name, example in inputs.items():
        method = mod if name == "forward" else getattr(mod, name)
        args, kwargs = ((), example) if example_inputs_is_kwarg else (_inputs(example), {})
        _check_result(_run_traced(method, args, kwargs))
    return _scripted(mod)


def freeze(mod: Module, preserved_attrs: Sequence[str] | None = None, optimize_numerics: bool = True) -> Module:
    """A scripted module, as it is; raises RuntimeError for one that is not scripted or is in training mode."""
    if not _isa(mod, ScriptModule):
        raise RuntimeError(f"Freezing expects a ScriptModule as input, got {type(mod).__name__}; call script() first")
    if mod.training:
        raise RuntimeError("Freezing is currently only implemented for modules in eval mode; call .eval() first")
    return mod


def optimize_for_inference(mod: Module, other_methods: Sequence[str] | None = None) -> Module:
    """A scripted module, as it is; raises RuntimeError for one that is not scripted."""
    if not _isa(mod, ScriptModule):
        raise RuntimeError(f"optimize_for_inference expects a ScriptModule as input, got {type(mod).__name__}")
    return mod


# -- marks for TorchScript's compiler ------------------------------------------------------------------


def _marked(fn: F, mark: str) -> F:
    target = fn.fget if _isa(fn, property) else fn
    target._torchscript_modifier = mark  # type: ignore[union-attr]
    return fn


def export(fn: F) -> F:
    """Marks a method that is to be compiled beside ``forward``."""
    return _marked(fn, "EXPORT")


def unused(fn: F) -> F:
    """Marks a method that is not to be compiled."""
    return _marked(fn, "UNUSED")


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """Marks a method that is to stay Python; ``drop=True``: that is not to be kept at all."""
    if callable(drop):
        return _marked(drop, "IGNORE")
    if not _isa(drop, bool):
        raise RuntimeError(f"Argument to @torch.jit.ignore must be a bool or a function but got {drop}")
    return lambda fn: _marked(fn, "UNUSED" if drop else "IGNORE")


def script_method(fn: F) -> F:
    """A method that is compiled: it runs as the Python it is."""
    return fn


def script_if_tracing(fn: F) -> F:
    """A function that is compiled when it is first called inside of a trace: it runs as the Python it is."""
    return fn


def annotate(the_type: Any, the_value: Any) -> Any:
    """``the_value``; tells TorchScript's compiler its type."""
    return the_value


def interface(obj: type) -> type:
    """Marks a class of method signatures; raises RuntimeError for other than classes."""
    if not _isa(obj, type):
        raise RuntimeError("interface must be applied to a class")
    obj.__torch_script_interface__ = True  # type: ignore[attr-defined]
    return obj


def _overload(fn: F) -> F:
    """Marks one of several signatures of a function; the last definition is the one that runs."""
    return fn


def _overload_method(fn: F) -> F:
    """Marks one of several signatures of a method; the last definition is the one that runs."""
    return fn


_script_if_tracing = script_if_tracing


# -- switches ------------------------------------------------------------------------------------------

_switches: dict[str, Any] = {"onednn": False, "fusion": [("STATIC", 2), ("DYNAMIC", 10)]}


def enable_onednn_fusion(enabled: bool) -> None:
    """Sets whether oneDNN may fuse operators of a compiled program; kept for programs that ask for it."""
    _switches["onednn"] = enabled


def onednn_fusion_enabled() -> bool:
    """What ``enable_onednn_fusion`` was given last."""
    return bool(_switches["onednn"])


def set_fusion_strategy(strategy: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Sets how often shapes may specialise a compiled program; returns the setting before.  Kept, without effect."""
    before = _switches["fusion"]
    _switches["fusion"] = list(strategy)
    return before  # type: ignore[no-any-return]


class strict_fusion:
    """``with strict_fusion():``: asks that everything in a compiled block be fused; has no effect."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, type: Any, value: Any, tb: Any) -> None:
        return None


# -- tasks --------------------------------------------------------------------------------------------


def fork(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
    """The future of a call, which is done at once."""
    future: Future[Any] = Future()
    try:
        future.set_result(func(*args, **kwargs))
    except Exception as error:
        future.set_exception(error)
    return future


def wait(future: Future[Any]) -> Any:
    """The result of a future."""
    return future.wait()


class _DisabledTracing:
    """``with`` this, ``is_tracing`` is False."""

    def __enter__(self) -> None:
        self._before, _state.tracing = _state.tracing, 0

    def __exit__(self, *exc: object) -> None:
        _state.tracing = self._before


_disable_tracing = _DisabledTracing
isinstance = isinstance_of


JITException = Error
__getattr__, __dir__ = _namespace(
    globals(), {}, {"load": ".loading", "CompilationUnit": ".objects", "ScriptObject": ".objects"}
)
