"""``Module``: the base class of every layer and model."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ...autograd.mode import state as grad_state
from ...compiled.inference_replay import InferenceReplay
from ...compiler import compile as compile_
from ...deferred.deferral import Habit, threads
from .. import functional
from .._base import Tensor
from . import _hooks
from ._backward_hook import BackwardHook
from ._convert import ConvertMethods
from ._hooks import (
    HookMethods,
    _global_backward_hooks,
    _global_backward_pre_hooks,
    _global_buffer_registration_hooks,
    _global_forward_hooks,
    _global_forward_hooks_always_called,
    _global_forward_hooks_with_kwargs,
    _global_forward_pre_hooks,
    _global_module_registration_hooks,
    _global_parameter_registration_hooks,
    _has_any_global_hook,
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from ._hooks import WrappedHook as _WrappedHook
from ._members import MemberMethods
from ._state import _EXTRA_STATE_KEY_SUFFIX, StateMethods, _IncompatibleKeys

__all__ = [
    "Module",
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]

# PyTorch's programs look these up in this file.
_ = (
    _EXTRA_STATE_KEY_SUFFIX,
    _IncompatibleKeys,
    _WrappedHook,
    _global_buffer_registration_hooks,
    _global_module_registration_hooks,
    _global_parameter_registration_hooks,
    _has_any_global_hook,
)


def _addindent(s_: str, numSpaces: int) -> str:
    """``s_`` with all lines but the first moved ``numSpaces`` to the right."""
    return s_.replace("\n", "\n" + numSpaces * " ")


def _forward_unimplemented(self: Any, *input: Any) -> None:
    """The computation of the module, done by every call of it; each subclass defines it.

    Call the module itself, which runs its hooks, and not this method.
    """
    raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')


class _Call:
    """One call of a module that has hooks: what they may still replace, and which forward hooks were run."""

    __slots__ = ("args", "kwargs", "ran", "result")

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.args = args
        self.kwargs = kwargs
        self.result: Any = None
        self.ran: set[int] = set()


class Module(HookMethods, StateMethods, ConvertMethods, MemberMethods):
    """A part of a model: parameters, buffers and submodules as attributes, and a computation, ``forward``.

    Subclasses call ``super().__init__()`` first, then assign ``Parameter``, ``Buffer`` and ``Module`` objects to
    attributes, and define ``forward``.  Each concern of this class has a file: ``_members`` (what a module
    owns), ``_state`` (saving and loading), ``_convert`` (devices and types), ``_hooks``.
    """

    _everywhere = (
        _global_forward_hooks, _global_forward_pre_hooks, _global_backward_hooks, _global_backward_pre_hooks,
        _global_buffer_registration_hooks, _global_module_registration_hooks, _global_parameter_registration_hooks,
    )  # fmt: skip
    """The hooks of all modules; a compiled call that is repeated looks whether there are any."""

    dump_patches: bool = False
    _version: int = 1  # raised by a class whose state changes, see _load_from_state_dict
    training: bool
    call_super_init: bool = False
    _compiled_call_impl: Callable[..., Any] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init:
            if kwargs:
                raise TypeError(
                    f"{type(self).__name__}.__init__() got an unexpected keyword argument '{next(iter(kwargs))}'"
                )
            if args:
                raise TypeError(
                    f"{type(self).__name__}.__init__() takes 1 positional argument but {len(args) + 1} were given"
                )
        # Straight into the dictionary: __setattr__ has nothing to sort before these are there.
        self.__dict__.update(
            training=True,
            _parameters={},
            _buffers={},
            _non_persistent_buffers_set=set(),
            _backward_pre_hooks=OrderedDict(),
            _backward_hooks=OrderedDict(),
            _is_full_backward_hook=None,
            _forward_hooks=OrderedDict(),
            _forward_hooks_with_kwargs=OrderedDict(),
            _forward_hooks_always_called=OrderedDict(),
            _forward_pre_hooks=OrderedDict(),
            _forward_pre_hooks_with_kwargs=OrderedDict(),
            _state_dict_hooks=OrderedDict(),
            _state_dict_pre_hooks=OrderedDict(),
            _load_state_dict_pre_hooks=OrderedDict(),
            _load_state_dict_post_hooks=OrderedDict(),
            _modules={},
        )
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    forward: Callable[..., Any] = _forward_unimplemented

    # -- the call -------------------------------------------------------------------------------

    def _wrapped_call_impl(self, *args: Any, **kwargs: Any) -> Any:
        if self._compiled_call_impl is not None:
            return self._compiled_call_impl(*args, **kwargs)
        return self._call_impl(*args, **kwargs)

    def _call_impl(self, *args: Any, **kwargs: Any) -> Any:
        if not (
            self._forward_hooks
            or self._forward_pre_hooks
            or self._backward_hooks
            or self._backward_pre_hooks
            or _global_forward_hooks
            or _global_forward_pre_hooks
            or _global_backward_hooks
            or _global_backward_pre_hooks
        ):
            if not grad_state.grad and self._modules and not threads.deferral.waits:
                return self._call_together(args, kwargs)
            return self.forward(*args, **kwargs)
        call = _Call(args, kwargs)
        try:
            self._call_hooked(call)
        except Exception:
            self._call_remaining_hooks(call)
            raise
        return call.result

    __call__: Callable[..., Any] = _wrapped_call_impl

    def _call_together(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call without gradients, of which the Python is left out where nobody can notice."""
        habit = Habit.known(self)
        if habit is None or not habit.steady:
            return self._call_at_once(*args, **kwargs)
        if habit.again is None:
            habit.again = InferenceReplay(self, self._call_at_once, vars(functional))
        return habit.again.call(args, kwargs)

    def _call_at_once(self, *args: Any, **kwargs: Any) -> Any:
        """The call without gradients: convolutions wait for what follows them, but not for longer than the call of the
        outermost module."""
        recorder = threads.deferral
        recorder.wait(self, args)
        try:
            return self.forward(*args, **kwargs)
        finally:
            recorder.resume()

    def _call_hooked(self, call: _Call) -> None:
        """The call with all hooks."""
        for hook_id, hook in (*_global_forward_pre_hooks.items(), *self._forward_pre_hooks.items()):
            if hook_id in self._forward_pre_hooks_with_kwargs:
                replaced = hook(self, call.args, call.kwargs)
                if replaced is None:
                    continue
                if not (isinstance(replaced, tuple) and len(replaced) == 2):
                    raise RuntimeError(
                        f"forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got {replaced}."
                    )
                call.args, call.kwargs = replaced
            else:
                replaced = hook(self, call.args)
                if replaced is not None:
                    call.args = replaced if isinstance(replaced, tuple) else (replaced,)

        full, old = self._get_backward_hooks()
        pre = self._get_backward_pre_hooks()
        backward_hook = BackwardHook(self, full, pre) if full or pre else None
        if backward_hook is not None:
            call.args = backward_hook.setup_input_hook(call.args)

        call.result = self.forward(*call.args, **call.kwargs)

        for hook_id, hook in (*_global_forward_hooks.items(), *self._forward_hooks.items()):
            call.ran.add(hook_id)
            replaced = self._call_forward_hook(hook_id, hook, call)
            if replaced is not None:
                call.result = replaced

        if backward_hook is not None:
            if not isinstance(call.result, (Tensor, tuple)):
                warnings.warn(
                    "For backward hooks to be called, module output should be a Tensor or a tuple of Tensors but "
                    f"received {type(call.result)}",
                    stacklevel=4,
                )
            call.result = backward_hook.setup_output_hook(call.result)
        if old:
            self._register_old_backward_hooks(old, call)

    def _call_forward_hook(self, hook_id: int, hook: Callable[..., Any], call: _Call) -> Any:
        if hook_id in self._forward_hooks_with_kwargs or hook_id in _global_forward_hooks_with_kwargs:
            return hook(self, call.args, call.kwargs, call.result)
        return hook(self, call.args, call.result)

    def _call_remaining_hooks(self, call: _Call) -> None:
        """After an exception: run the forward hooks that are always called and were not yet."""
        always = (
            (_global_forward_hooks_always_called, _global_forward_hooks, "global module forward hook"),
            (self._forward_hooks_always_called, self._forward_hooks, "module forward hook"),
        )
        for marks, hooks, what in always:
            for hook_id, hook in list(hooks.items()):
                if hook_id not in marks or hook_id in call.ran:
                    continue
                try:
                    replaced = self._call_forward_hook(hook_id, hook, call)
                    if replaced is not None:
                        call.result = replaced
                except Exception as error:
                    warnings.warn(
                        f"{what} with ``always_call=True`` raised an exception that was silenced as another error was "
                        f"raised in forward: {error}",
                        stacklevel=4,
                    )

    def _register_old_backward_hooks(self, hooks: list[Any], call: _Call) -> None:
        """Hooks of the old kind sit on the last operator of the (first) output."""
        first = call.result
        while not isinstance(first, Tensor):
            if isinstance(first, dict):
                first = next(v for v in first.values() if isinstance(v, Tensor))
            else:
                first = first[0]
        grad_fn = first.grad_fn
        if grad_fn is not None:
            for hook in hooks:
                grad_fn.register_hook(_hooks.WrappedHook(hook, self))
            self._maybe_warn_non_full_backward_hook(call.args, call.result, grad_fn)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Make calls of this module run compiled; the arguments are those of ``flambeau.compile``."""
        self._compiled_call_impl = compile_(self._call_impl, *args, **kwargs)

    def _as_compiled(self, make_call: Callable[[Module], Callable[..., Any]]) -> OptimizedModule:
        """What ``flambeau.compile`` makes of this module."""
        return OptimizedModule(self, make_call)

    # -- modes ----------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Any:
        """Set training mode (dropout drops, batch norm uses the batch) here and below; returns self."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Any:
        """Set evaluation mode: ``train(False)``."""
        return self.train(False)

    # -- text and copies ------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What ``repr`` shows between the parentheses, one or several lines; subclasses define it."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        extra_lines = extra.split("\n") if extra else []
        child_lines = [f"({name}): {_addindent(repr(module), 2)}" for name, module in self._modules.items()]
        lines = extra_lines + child_lines
        if not lines:
            body = ""
        elif len(extra_lines) == 1 and not child_lines:
            body = extra_lines[0]
        else:
            body = "\n  " + "\n  ".join(lines) + "\n"
        return f"{self._get_name()}({body})"

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("_compiled_call_impl", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Modules pickled by old versions lack the hooks invented since.
        for name in (
            "_forward_pre_hooks",
            "_forward_pre_hooks_with_kwargs",
            "_forward_hooks_with_kwargs",
            "_forward_hooks_always_called",
            "_state_dict_hooks",
            "_state_dict_pre_hooks",
            "_load_state_dict_pre_hooks",
            "_load_state_dict_post_hooks",
            "_backward_pre_hooks",
        ):
            self.__dict__[name] = OrderedDict()
        self.__dict__["_non_persistent_buffers_set"] = set()
        self.__dict__["_is_full_backward_hook"] = None
        self.__dict__.update(state)

    def _replicate_for_data_parallel(self) -> Any:
        """A shallow copy with dictionaries of its own and no parameters, to be filled for one device."""
        replica = self.__new__(type(self))
        replica.__dict__ = self.__dict__.copy()
        replica._parameters = {}
        replica._buffers = replica._buffers.copy()
        replica._modules = replica._modules.copy()
        replica._is_replica = True
        return replica


_OWN = frozenset({"_make_call", "_call", "_orig_mod"})


class OptimizedModule(Module):
    """A module made by ``flambeau.compile``: calls run compiled, everything else is the original's, which is the only
    child, ``_orig_mod``.  ``make_call`` makes the compiled function of a module."""

    def __init__(self, module: Module, make_call: Callable[[Module], Callable[..., Any]]) -> None:
        super().__init__()
        self._orig_mod = module
        self._make_call, self._call = make_call, make_call(module)
        self.__dict__["forward"] = self._call  # without the frame of the method

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the original, compiled."""
        return self._call(*args, **kwargs)

    def _call_together(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._call(*args, **kwargs)

    __call__: Callable[..., Any] = Module._call_impl

    @property
    def training(self) -> bool:  # type: ignore[override]
        """The original's mode."""
        found: bool = self._orig_mod.training
        return found

    @training.setter
    def training(self, mode: bool) -> None:
        self._orig_mod.training = mode

    def __getattr__(self, name: str) -> Any:
        original = self.__dict__.get("_modules", {}).get("_orig_mod")
        if name == "_orig_mod" and original is not None:
            return original
        if original is None:
            raise AttributeError(f"'OptimizedModule' object has no attribute '{name}'")
        return getattr(original, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            super().__setattr__(name, value)
        else:
            setattr(self._orig_mod, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._orig_mod, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self._orig_mod)})

    def __reduce__(self) -> tuple[Any, ...]:
        return OptimizedModule, (self._orig_mod, self._make_call)
