"""Backward hooks of modules: two identities on the tape, one before the module and one after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .._base import Function, Tensor, is_grad_enabled

__all__ = ["BackwardHook", "BackwardHookFunction"]


class BackwardHookFunction(Function):
    """The identity on tensors; its backward passes the gradients through ``react(grads) -> grads``."""

    @staticmethod
    def forward(ctx: Any, react: Callable[[tuple[Any, ...]], Sequence[Any]], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.react = react
        ctx.mark_non_differentiable(*[t for t in tensors if not t.requires_grad])
        return tensors

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        return (None, *ctx.react(grads))


class BackwardHook:
    """Runs the full backward hooks of one call of one module.

    The identity after the module sees the gradients of its outputs: it runs the pre-hooks and keeps what they
    leave.  The identity before the module sees the gradients of its inputs: it runs the hooks with both.
    When no input requires grad there is no identity before the module, and the one after it runs the hooks too.

    Args:
        module: the module, as the hooks get it.
        user_hooks: ``hook(module, grad_input, grad_output)``; a result replaces ``grad_input``.
        user_pre_hooks: ``hook(module, grad_output)``; a result replaces ``grad_output``.
    """

    def __init__(self, module: Any, user_hooks: Sequence[Any], user_pre_hooks: Sequence[Any]) -> None:
        self.module = module
        self.user_hooks = user_hooks
        self.user_pre_hooks = user_pre_hooks
        self.n_inputs = 0
        self.n_outputs = 0
        self.input_positions: list[int] | None = None  # None: the module's inputs are not on the tape
        self.output_positions: list[int] = []
        self.grad_outputs: tuple[Any, ...] | None = None

    def setup_input_hook(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The positional arguments with the tensors among them sent through the identity."""
        result, self.input_positions, self.n_inputs = _through(self._on_input_gradients, args)
        return result

    def setup_output_hook(self, args: Any) -> Any:
        """The module's result with its tensors sent through the identity."""
        single = not isinstance(args, tuple)
        result, positions, self.n_outputs = _through(self._on_output_gradients, (args,) if single else args)
        self.output_positions = positions or []
        return result[0] if single else result

    def _on_output_gradients(self, grads: tuple[Any, ...]) -> Sequence[Any]:
        grad_outputs = _spread(self.output_positions, grads, self.n_outputs)
        for hook in self.user_pre_hooks:
            replaced = hook(self.module, grad_outputs)
            if replaced is not None:
                grad_outputs = _checked("Backward pre hook", "grad_output", replaced, len(grad_outputs))
        self.grad_outputs = grad_outputs
        if self.input_positions is None:
            grad_inputs = (None,) * self.n_inputs
            for hook in self.user_hooks:
                replaced = hook(self.module, grad_inputs, grad_outputs)
                if replaced is not None and not (isinstance(replaced, tuple) and all(g is None for g in replaced)):
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should always return None or None "
                        f"for all gradients, got {replaced!r}."
                    )
            self.grad_outputs = None
        return [grad_outputs[i] for i in self.output_positions]

    def _on_input_gradients(self, grads: tuple[Any, ...]) -> Sequence[Any]:
        if self.grad_outputs is None:
            # The gradient reached the inputs without passing the outputs: there is nothing to show the hooks.
            return grads
        assert self.input_positions is not None
        grad_inputs = _spread(self.input_positions, grads, self.n_inputs)
        for hook in self.user_hooks:
            replaced = hook(self.module, grad_inputs, self.grad_outputs)
            if replaced is not None:
                grad_inputs = _checked("Backward hook", "grad_input", replaced, len(grad_inputs))
        self.grad_outputs = None
        return [grad_inputs[i] for i in self.input_positions]


def _through(react: Callable[[tuple[Any, ...]], Sequence[Any]], args: tuple[Any, ...]) -> tuple[Any, Any, int]:
    """``args`` with its tensors sent through one identity, the tensors' positions (None if it has none), its length."""
    positions = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
    if not is_grad_enabled() or not any(args[i].requires_grad for i in positions):
        return args, None, len(args)
    outputs = BackwardHookFunction.apply(react, *[args[i] for i in positions])
    result = list(args)
    for i, output in zip(positions, outputs):
        result[i] = output
    if hasattr(args, "_fields"):  # a named tuple takes its fields one by one
        return type(args)(*result), positions, len(args)
    return tuple(result), positions, len(args)


def _spread(positions: Sequence[int], grads: Sequence[Any], length: int) -> tuple[Any, ...]:
    """Gradients at their places in a tuple of ``length``, None elsewhere."""
    result: list[Any] = [None] * length
    for i, grad in zip(positions, grads):
        result[i] = grad
    return tuple(result)


def _checked(kind: str, what: str, replaced: Any, expected: int) -> tuple[Any, ...]:
    """A hook's result as a tuple of the right length."""
    values = replaced if isinstance(replaced, tuple) else (replaced,)
    if len(values) != expected:
        raise RuntimeError(f"{kind} returned an invalid number of {what}, got {len(values)}, but expected {expected}")
    return values
