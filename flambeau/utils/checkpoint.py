"""Trading computation for memory: parts of a model whose inner values are computed again in the backward pass.

Chen, Xu, Zhang and Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from weakref import ref

from .. import autograd
from ..autograd import Function
from ..autograd.graph import saved_tensors_hooks
from ..autograd.mode import enable_grad, is_grad_enabled, no_grad
from ..generator import default_generator
from ..random import fork_rng
from ..tensor import Tensor
from .selective import (
    SAC_IGNORED_OPS,
    CheckpointPolicy,
    GraphExecGroup,
    SelectiveCheckpointContext,
    create_selective_checkpoint_contexts,
)

__all__ = [
    "SAC_IGNORED_OPS",
    "CheckpointError",
    "CheckpointFunction",
    "CheckpointPolicy",
    "DefaultDeviceType",
    "GraphExecGroup",
    "SelectiveCheckpointContext",
    "check_backward_validity",
    "checkpoint",
    "checkpoint_sequential",
    "create_selective_checkpoint_contexts",
    "detach_variable",
    "get_device_states",
    "noop_context_fn",
    "set_checkpoint_debug_enabled",
    "set_checkpoint_early_stop",
    "set_device_states",
]

Contexts = tuple["AbstractContextManager[Any]", "AbstractContextManager[Any]"]


class CheckpointError(RuntimeError):
    """The part computed something else the second time."""


class _Options:
    debug: bool | None = None
    early_stop: bool = True


@contextmanager
def set_checkpoint_debug_enabled(enabled: bool | None) -> Iterator[None]:
    """Override the ``debug`` argument of :func:`checkpoint` for the length of a ``with`` block; None does not."""
    before, _Options.debug = _Options.debug, enabled
    try:
        yield
    finally:
        _Options.debug = before


@contextmanager
def set_checkpoint_early_stop(enable: bool) -> Iterator[None]:
    """Choose, for parts made in a ``with`` block, whether the second pass ends when it has all that is needed."""
    before, _Options.early_stop = _Options.early_stop, enable
    try:
        yield
    finally:
        _Options.early_stop = before


class DefaultDeviceType:
    """The kind of device whose random state is kept besides the CPU's."""

    _default = "cuda"

    @staticmethod
    def set_device_type(device: str = "cuda") -> None:
        """Set it."""
        DefaultDeviceType._default = device

    @staticmethod
    def get_device_type() -> str:
        """What was set."""
        return DefaultDeviceType._default


def noop_context_fn() -> Contexts:
    """Two contexts that do nothing."""
    return contextlib.nullcontext(), contextlib.nullcontext()


def get_device_states(*args: Any) -> tuple[list[int], list[Tensor]]:
    """The devices of tensors other than the CPU, and the states of their generators: there are none."""
    return [], []


def set_device_states(devices: Iterable[int], states: Iterable[Tensor], *, device_type: str | None = None) -> None:
    """Restore what :func:`get_device_states` gave."""


def detach_variable(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The inputs with their tensors off the tape, as leaves that require gradients where the tensors did.

    Raises:
        RuntimeError: the inputs are no tuple.
    """
    if not isinstance(inputs, tuple):
        raise RuntimeError(f"Only tuple of tensors is supported. Got Unsupported input type: {type(inputs).__name__}")
    return tuple(
        value.detach().requires_grad_(value.requires_grad) if isinstance(value, Tensor) else value for value in inputs
    )


def check_backward_validity(inputs: Iterable[Any]) -> None:
    """Warn when no input requires a gradient."""
    if not any(value.requires_grad for value in inputs if isinstance(value, Tensor)):
        warnings.warn("None of the inputs have requires_grad=True. Gradients will be None", stacklevel=2)


class _Replay:
    """What a second pass needs to go like the first: the state of the random generator."""

    def __init__(self, preserve: bool) -> None:
        self._state = default_generator.snapshot() if preserve else None

    @contextmanager
    def again(self) -> Iterator[None]:
        """The state of then, for the length of a ``with`` block."""
        if self._state is None:
            yield
            return
        with fork_rng(devices=[]):
            default_generator.restore(self._state)
            yield


# -- with a function of one's own on the tape ------------------------------------------------------
class CheckpointFunction(Function):
    """The reentrant form: one node, whose derivative runs the part again and differentiates that."""

    @staticmethod
    def forward(ctx: Any, run_function: Callable[..., Any], preserve_rng_state: bool, *args: Any) -> Any:
        """The part's results, without a tape."""
        check_backward_validity(args)
        ctx.run_function = run_function
        ctx.replay = _Replay(preserve_rng_state)
        ctx.inputs = [None if isinstance(arg, Tensor) else arg for arg in args]
        ctx.positions = [i for i, arg in enumerate(args) if isinstance(arg, Tensor)]
        ctx.save_for_backward(*(arg for arg in args if isinstance(arg, Tensor)))
        with no_grad():
            return run_function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """The gradients of the tensors among the arguments."""
        inputs = list(ctx.inputs)
        for position, tensor in zip(ctx.positions, ctx.saved_tensors):
            inputs[position] = tensor
        fresh = detach_variable(tuple(inputs))
        with ctx.replay.again(), enable_grad():
            outputs = ctx.run_function(*fresh)
        if isinstance(outputs, Tensor):
            outputs = (outputs,)
        pairs = [
            (output, grad)
            for output, grad in zip(outputs, grads)
            if isinstance(output, Tensor) and output.requires_grad
        ]
        if not pairs:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
        autograd.backward([output for output, _ in pairs], [grad for _, grad in pairs])
        return (None, None, *(value.grad if isinstance(value, Tensor) else None for value in fresh))


# -- with hooks on what the tape keeps -------------------------------------------------------------
class _Holder:
    """Takes the place of a tensor that the tape would have kept."""

    __slots__ = ("__weakref__", "index")

    def __init__(self, index: int) -> None:
        self.index = index


class _Enough(Exception):
    """Ends the second pass when all that is needed has been computed."""


def _description(tensor: Tensor) -> dict[str, Any]:
    return {"shape": tensor.shape, "dtype": tensor.dtype, "device": tensor.device}


class _Part:
    """One run of a part: what its tape would have kept, to be computed again on demand."""

    def __init__(
        self, run: Callable[[], Any], replay: _Replay, context: Any, early_stop: bool, check: bool, debug: bool
    ) -> None:
        self._run = run
        self._replay = replay
        self._context = context
        self._early_stop = early_stop
        self._check = check
        self._debug = debug
        self._holders: list[ref[_Holder]] = []
        self._descriptions: list[dict[str, Any]] = []
        self._values: dict[int, Tensor] = {}

    def pack(self, tensor: Tensor) -> _Holder:
        """Instead of a tensor, keep its number."""
        holder = _Holder(len(self._holders))
        self._holders.append(ref(holder))
        self._descriptions.append(_description(tensor))
        return holder

    def unpack(self, holder: _Holder) -> Tensor:
        """The tensor of a number; each is given once, so that memory goes as the backward pass goes on."""
        if holder.index not in self._values:
            self._compute_again()
        return self._values.pop(holder.index)

    def _compute_again(self) -> None:
        count = 0
        wanted = len(self._holders)
        differing = []

        def keep(tensor: Tensor) -> Tensor:
            nonlocal count
            index, count = count, count + 1
            if index < wanted:
                if self._check and _description(tensor) != self._descriptions[index]:
                    differing.append((index, self._descriptions[index], _description(tensor)))
                if self._holders[index]() is not None:
                    self._values[index] = tensor.detach()
                if self._early_stop and count == wanted:
                    raise _Enough
            return tensor.detach()

        with (
            contextlib.suppress(_Enough),
            self._replay.again(),
            self._context,
            enable_grad(),
            saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            self._run()
        if count != wanted:
            raise CheckpointError(
                "torch.utils.checkpoint: A different number of tensors was saved during the original forward and "
                f"recomputation.\nNumber of tensors saved during forward: {wanted}\nNumber of tensors saved during "
                f"recomputation: {count}.\nThe part must compute the same both times."
            )
        if differing:
            shown = "\n".join(
                f"tensor at position {index}:\nsaved metadata: {before}\nrecomputed metadata: {after}"
                for index, before, after in differing
            )
            raise CheckpointError(
                "torch.utils.checkpoint: Recomputed values for the following tensors have different metadata than "
                f"during the forward pass.\n{shown}\nThe part must compute the same both times."
            )


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool | None = None,
    context_fn: Callable[[], Contexts] = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    **kwargs: Any,
) -> Any:
    """The results of ``function(*args, **kwargs)``, whose inner values are forgotten and computed again when needed.

    Args:
        function: the part; it must compute the same both times.
        use_reentrant: True puts one node on the tape, which cannot be used with ``autograd.grad`` and takes tensors
            only as positional arguments; False has none of these limits and is recommended.
        context_fn: makes two contexts, for the first and the second pass.
        determinism_check: "default" compares shapes, types and devices of both passes, "none" does not.
        debug: accepted.
        early_stop: end the second pass when it has all that is needed.
        kwargs: ``preserve_rng_state`` (True: both passes draw the same random numbers), and the part's own.

    Raises:
        ValueError: options that do not go together.
    """
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint: the use_reentrant parameter should be passed explicitly. use_reentrant=False is "
            "recommended, but if you need to preserve the current default behavior, you can pass use_reentrant=True.",
            stacklevel=2,
        )
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if use_reentrant:
        if kwargs:
            raise ValueError(f"Unexpected keyword arguments: {','.join(kwargs)}")
        if context_fn is not noop_context_fn or debug:
            raise ValueError("Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
        return CheckpointFunction.apply(function, preserve, *args)
    if determinism_check not in ("default", "none"):
        raise ValueError(f"determinism_check should be one of ['default', 'none'], but got {determinism_check}")
    if not is_grad_enabled():
        return function(*args, **kwargs)
    first, second = context_fn()
    part = _Part(
        lambda: function(*args, **kwargs),
        _Replay(preserve),
        second,
        early_stop and _Options.early_stop,
        determinism_check == "default",
        debug if _Options.debug is None else _Options.debug,
    )
    with saved_tensors_hooks(part.pack, part.unpack), first:
        return function(*args, **kwargs)


def checkpoint_sequential(
    functions: Any, segments: int, input: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """A chain of functions with only the values between ``segments`` pieces of it kept.

    Args:
        functions: a ``Sequential``, or a list of functions.
        segments: the number of pieces; the last one is not checkpointed.
        input: what goes into the first function.
        use_reentrant: see :func:`checkpoint`.
        kwargs: ``preserve_rng_state``.
    """
    if use_reentrant is None:
        warnings.warn(
            "torch.utils.checkpoint.checkpoint_sequential: the use_reentrant parameter should be passed explicitly.",
            stacklevel=2,
        )
        use_reentrant = True
    preserve = kwargs.pop("preserve_rng_state", True)
    if kwargs:
        raise ValueError(f"Unexpected keyword arguments: {','.join(kwargs)}")
    steps = list(functions.children()) if hasattr(functions, "children") else list(functions)

    def piece(start: int, end: int) -> Callable[[Any], Any]:
        def run(value: Any) -> Any:
            for step in steps[start:end]:
                value = step(value)
            return value

        return run

    size = len(steps) // segments
    end = 0
    for start in range(0, size * (segments - 1), size or 1):
        end = start + size
        input = checkpoint(piece(start, end), input, use_reentrant=use_reentrant, preserve_rng_state=preserve)
    return piece(end, len(steps))(input)
