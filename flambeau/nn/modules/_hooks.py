"""Hooks of all modules, and the registration of hooks on one module."""

from __future__ import annotations

import functools
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from .._base import RemovableHandle, Tensor

__all__ = ["HookMethods", "WrappedHook"]

_global_buffer_registration_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()
_global_module_registration_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()
_global_parameter_registration_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()
_global_backward_pre_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()
_global_backward_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()
_global_forward_pre_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()
_global_forward_hooks: OrderedDict[int, Callable[..., Any]] = OrderedDict()
_global_forward_hooks_always_called: OrderedDict[int, bool] = OrderedDict()
_global_forward_hooks_with_kwargs: OrderedDict[int, bool] = OrderedDict()


class _BackwardKind:
    """Which kind of backward hook is in use for all modules: full (True), the old kind (False) or none yet."""

    full: bool | None = None


class WrappedHook:
    """A hook that gets ``module`` (held weakly) as its first argument, or the hook alone when that is None."""

    def __init__(self, hook: Callable[..., Any], module: Any = None) -> None:
        self.hook = hook
        functools.update_wrapper(self, hook)
        self.with_module = module is not None
        if module is not None:
            self.module = weakref.ref(module)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not self.with_module:
            return self.hook(*args, **kwargs)
        module = self.module()
        if module is None:
            raise RuntimeError("You are trying to call the hook of a dead Module!")
        return self.hook(module, *args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = {"hook": self.hook, "with_module": self.with_module}
        if self.with_module:
            state["module"] = self.module()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.hook = state["hook"]
        self.with_module = state["with_module"]
        if self.with_module:
            if state["module"] is None:
                raise RuntimeError("You are trying to revive the hook of a dead Module!")
            self.module = weakref.ref(state["module"])


def _has_any_global_hook() -> bool:
    """Whether a call of a module has to look at the hooks of all modules."""
    return bool(
        _global_forward_pre_hooks or _global_forward_hooks or _global_backward_pre_hooks or _global_backward_hooks
    )


def _add(hooks: OrderedDict[int, Any], hook: Any, *marks: OrderedDict[int, bool], prepend: bool = False) -> Any:
    """Put ``hook`` into ``hooks``, last or first, note its id in each of ``marks``, and return the handle."""
    handle = RemovableHandle(hooks, extra_dict=list(marks))
    hooks[handle.id] = hook
    for mark in marks:
        mark[handle.id] = True
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle


def register_module_buffer_registration_hook(hook: Callable[..., None]) -> RemovableHandle:
    """Call ``hook(module, name, buffer)`` whenever any module registers a buffer; a result replaces the buffer."""
    return _add(_global_buffer_registration_hooks, hook)


def register_module_module_registration_hook(hook: Callable[..., None]) -> RemovableHandle:
    """Call ``hook(module, name, submodule)`` whenever any module registers a submodule; a result replaces it."""
    return _add(_global_module_registration_hooks, hook)


def register_module_parameter_registration_hook(hook: Callable[..., None]) -> RemovableHandle:
    """Call ``hook(module, name, param)`` whenever any module registers a parameter; a result replaces it."""
    return _add(_global_parameter_registration_hooks, hook)


def register_module_forward_pre_hook(hook: Callable[..., None]) -> RemovableHandle:
    """Call ``hook(module, args)`` before the forward pass of every module; a result replaces ``args``."""
    return _add(_global_forward_pre_hooks, hook)


def register_module_forward_hook(
    hook: Callable[..., None], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call ``hook(module, args, output)`` after the forward pass of every module; a result replaces the output.

    Args:
        hook: the hook; with ``with_kwargs`` it is called with ``(module, args, kwargs, output)``.
        with_kwargs: pass the keyword arguments too.
        always_call: call it even when the forward pass raises.
    """
    marks = [_global_forward_hooks_with_kwargs] * with_kwargs + [_global_forward_hooks_always_called] * always_call
    return _add(_global_forward_hooks, hook, *marks)


def register_module_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, grad_input, grad_output)`` in the backward pass of every module: the old kind, which
    sees the last operator of the module only.  Use ``register_module_full_backward_hook``.

    Raises RuntimeError if full hooks are in use.
    """
    return _add_backward(hook, full=False)


def _add_backward(hook: Callable[..., Any], full: bool) -> RemovableHandle:
    if _BackwardKind.full is (not full):
        raise RuntimeError(
            "Cannot use both regular backward hooks and full backward hooks as a global Module hook. "
            "Please use only one of them."
        )
    _BackwardKind.full = full
    return _add(_global_backward_hooks, hook)


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, grad_output)`` in the backward pass of every module; a result replaces ``grad_output``."""
    return _add(_global_backward_pre_hooks, hook)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Call ``hook(module, grad_input, grad_output)`` in the backward pass of every module; a result replaces
    ``grad_input``.

    Raises RuntimeError if hooks of the old kind are in use.
    """
    return _add_backward(hook, full=True)


class HookMethods:
    """The part of ``Module`` that registers hooks on one module."""

    _forward_pre_hooks: OrderedDict[int, Callable[..., Any]]
    _forward_pre_hooks_with_kwargs: OrderedDict[int, bool]
    _forward_hooks: OrderedDict[int, Callable[..., Any]]
    _forward_hooks_with_kwargs: OrderedDict[int, bool]
    _forward_hooks_always_called: OrderedDict[int, bool]
    _backward_pre_hooks: OrderedDict[int, Callable[..., Any]]
    _backward_hooks: OrderedDict[int, Callable[..., Any]]
    _is_full_backward_hook: bool | None

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args)`` before each forward pass.

        A result that is not None replaces the positional arguments; one value stands for a tuple of one.

        Args:
            hook: the hook; with ``with_kwargs`` it gets ``(module, args, kwargs)`` and returns None or both.
            prepend: run it before this module's other pre-hooks.
            with_kwargs: pass the keyword arguments too.
        """
        marks = [self._forward_pre_hooks_with_kwargs] * with_kwargs
        return _add(self._forward_pre_hooks, hook, *marks, prepend=prepend)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call ``hook(module, args, output)`` after each forward pass; a result that is not None replaces the output.

        Args:
            hook: the hook; with ``with_kwargs`` it gets ``(module, args, kwargs, output)``.
            prepend: run it before this module's other forward hooks.
            with_kwargs: pass the keyword arguments too.
            always_call: call it even when the forward pass raises.
        """
        marks = [self._forward_hooks_with_kwargs] * with_kwargs + [self._forward_hooks_always_called] * always_call
        return _add(self._forward_hooks, hook, *marks, prepend=prepend)

    def register_full_backward_pre_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` when the gradients of the outputs are known; a result replaces them."""
        return _add(self._backward_pre_hooks, hook, prepend=prepend)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` at the last operator of the module: the old kind of hook,
        kept for old programs.  Use ``register_full_backward_hook``.

        Raises RuntimeError if the module has full hooks.
        """
        return self._add_backward_hook(hook, full=False)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)`` when the gradients of the inputs are known.

        Both are tuples as long as the positional inputs and the outputs, None where there is no gradient.
        A result that is not None replaces ``grad_input``.

        Raises RuntimeError if the module has hooks of the old kind.
        """
        return self._add_backward_hook(hook, full=True, prepend=prepend)

    def _add_backward_hook(self, hook: Callable[..., Any], full: bool, prepend: bool = False) -> RemovableHandle:
        if self._is_full_backward_hook is not None and self._is_full_backward_hook is not full:
            raise RuntimeError(
                "Cannot use both regular backward hooks and full backward hooks on a single Module. "
                "Please use only one of them."
            )
        self._is_full_backward_hook = full
        return _add(self._backward_hooks, hook, prepend=prepend)

    def _get_backward_hooks(self) -> tuple[list[Any], list[Any]]:
        """The full backward hooks of all modules and this one, and those of the old kind."""
        full: list[Any] = []
        old: list[Any] = []
        if _global_backward_hooks:
            (full if _BackwardKind.full is True else old).extend(_global_backward_hooks.values())
        if self._backward_hooks:
            (full if self._is_full_backward_hook is True else old).extend(self._backward_hooks.values())
        return full, old

    def _get_backward_pre_hooks(self) -> list[Any]:
        """The backward pre-hooks of all modules and of this one."""
        return [*_global_backward_pre_hooks.values(), *self._backward_pre_hooks.values()]

    def _maybe_warn_non_full_backward_hook(self, inputs: Any, result: Any, grad_fn: Any) -> None:
        """Warn when a hook of the old kind cannot show the gradients of all inputs."""
        results = result if isinstance(result, tuple) else (result,)
        if not all(isinstance(r, Tensor) for r in results):
            warnings.warn(
                "Using non-full backward hooks on a Module that does not return a single Tensor or a tuple of Tensors "
                "is deprecated and will be removed in future versions. This hook will be missing some of the "
                "grad_output. Please use register_full_backward_hook to get the documented behavior.",
                FutureWarning,
                stacklevel=2,
            )
            return
        inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        if not all(isinstance(i, Tensor) for i in inputs):
            warnings.warn(
                "Using non-full backward hooks on a Module that does not take as input a single Tensor or a tuple of "
                "Tensors is deprecated and will be removed in future versions. This hook will be missing some of the "
                "grad_input. Please use register_full_backward_hook to get the documented behavior.",
                FutureWarning,
                stacklevel=2,
            )
        elif any(r.grad_fn is not None and r.grad_fn is not grad_fn for r in results):
            warnings.warn(
                "Using a non-full backward hook when outputs are generated by different autograd Nodes is deprecated "
                "and will be removed in future versions. This hook will be missing some grad_output. Please use "
                "register_full_backward_hook to get the documented behavior.",
                FutureWarning,
                stacklevel=2,
            )
        elif {i.grad_fn for i in inputs if i.grad_fn is not None} != {
            f for f, _ in grad_fn.next_functions if f is not None
        }:
            warnings.warn(
                "Using a non-full backward hook when the forward contains multiple autograd Nodes is deprecated and "
                "will be removed in future versions. This hook will be missing some grad_input. Please use "
                "register_full_backward_hook to get the documented behavior.",
                FutureWarning,
                stacklevel=2,
            )
