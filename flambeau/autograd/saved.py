"""Tensors that a node keeps for its derivative: version checks, and hooks that pack and unpack them.

A node may not own its outputs (they own the node), so a saved output is kept as ``(layout, storage, offset,
version)`` and becomes a tensor again when it is read.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from ..dtype import bfloat16, dtype
from ..tensor import Tensor, all_attributes, make
from ..transform.level import Wrapper
from .mode import state
from .node import AccumulateGrad, Node, accumulator, extras_of

__all__ = ["SavedTensor", "disable_saved_tensors_hooks", "save_on_cpu", "saved_tensors_hooks"]

Pack = Callable[[Tensor], Any]
Unpack = Callable[[Any], Tensor]

FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already "
    "been freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). "
    "Specify retain_graph=True if you need to backward through the graph a second time or if you need to access saved "
    "tensors after calling backward."
)


class _Watch:
    """What makes recording take the long way: hooks of any thread, or anomaly mode."""

    __slots__ = ("anomaly", "check_nan", "count", "lock")

    def __init__(self) -> None:
        self.count = 0  # hooks in force in all threads, plus one in anomaly mode
        self.anomaly = False
        self.check_nan = True
        self.lock = threading.Lock()

    def add(self, change: int) -> None:
        """Changes the count."""
        with self.lock:
            self.count += change


watch = _Watch()


class _Hooks(threading.local):
    """The pairs of hooks of a thread, innermost last, and why new ones are refused (None: they are not)."""

    disabled: str | None = None

    def __init__(self) -> None:
        self.stack: list[tuple[Pack, Unpack]] = []


hooks = _Hooks()

_NAMES = {
    "float32": "Float", "float64": "Double", "float16": "Half", "bfloat16": "BFloat16", "complex64": "ComplexFloat",
    "complex128": "ComplexDouble", "uint8": "Byte", "int8": "Char", "int16": "Short", "int32": "Int", "int64": "Long",
    "bool": "Bool", "complex32": "ComplexHalf",
}  # fmt: skip


def scalar_name(kind: dtype) -> str:
    """PyTorch's short name of an element type ("Float" for float32)."""
    return _NAMES.get(kind.name, kind.name.capitalize())


def type_name(kind: dtype) -> str:
    """PyTorch's name of the tensors of an element type ("torch.FloatTensor")."""
    return "CPUBFloat16Type" if kind is bfloat16 else f"torch.{scalar_name(kind)}Tensor"


def modified(tensor: Tensor, node: Node | None, output_nr: int, version: int) -> RuntimeError:
    """The error for a saved tensor, output ``output_nr`` of ``node``, that was written to after it was saved."""
    what = f"[{type_name(tensor._layout.dtype)} {list(tensor._layout.shape)}]"
    if node is not None:
        what += f", which is output {output_nr} of {node._short_name()},"
    hint = (
        "Hint: the backtrace further above shows the operation that failed to compute its gradient. The variable in "
        "question was changed in there or anywhere later. Good luck!"
        if watch.anomaly
        else "Hint: enable anomaly detection to find the operation that failed to compute its gradient, with "
        "torch.autograd.set_detect_anomaly(True, check_nan=False)."
    )
    return RuntimeError(
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"{what} is at version {tensor._storage.version}; expected version {version} instead. {hint}"
    )


class _KeptWrapper:
    """A wrapper (``transform/level.py``), or a tensor that handles operators itself, without its place on the tape."""

    __slots__ = ("twin", "version")

    def __init__(self, wrapper: Tensor) -> None:
        self.twin, self.version = _twin(wrapper), wrapper._storage.version


def _twin(wrapper: Tensor) -> Tensor:
    """The same tensor off the tape."""
    if isinstance(wrapper, Wrapper):
        return wrapper._twin()
    made: Tensor = object.__new__(type(wrapper))
    all_attributes(made).update(all_attributes(wrapper))
    made._node, made._requires_grad, made._view = None, False, None
    return made


def keep_output(tensor: Tensor) -> Any:
    """What a node may keep of one of its own outputs."""
    storage = tensor._storage
    if isinstance(tensor, Wrapper) or hasattr(tensor, "__torch_dispatch__"):
        return _KeptWrapper(tensor)
    return (tensor._layout, storage, tensor._offset, storage.version)


def restore_output(kept: Any, owner: Node | None, output_nr: int) -> Tensor:
    """The tensor kept by ``keep_output``, as output ``output_nr`` of ``owner`` again.

    Raises RuntimeError when its storage was written to in between.
    """
    if kept.__class__ is _KeptWrapper:
        tensor = _twin(kept.twin)
        layout, storage, version = tensor._layout, tensor._storage, kept.version
    else:
        layout, storage, offset, version = kept
        tensor = make(storage, layout, offset)
    if storage.version != version:
        raise modified(tensor, owner, output_nr, version)
    if owner is not None and layout.dtype.kind in "fc":
        tensor._node, tensor._output_nr = owner._history(output_nr, tensor)
        tensor._requires_grad = tensor._node is not None
    return tensor


class SavedTensor:
    """One saved tensor, with hooks that hold it in another form (PyTorch's ``torch._C._autograd.SavedTensor``).

    Without hooks an input is kept itself and an output as by ``keep_output``.  With hooks only what ``pack`` returned
    is kept, and what ``unpack`` makes of it takes the saved tensor's place in the graph.
    """

    __slots__ = ("_accumulator", "_is_output", "_kept", "_node", "_output_nr", "_unpack", "_version", "layout")

    def __init__(self, tensor: Tensor, is_output: bool, pair: tuple[Pack, Unpack] | None) -> None:
        self.layout = tensor._layout
        self._version = tensor._storage.version
        self._is_output = is_output
        # The owner of an output is given again when it is read: kept here, it would be a cycle.
        self._node = None if is_output else tensor._node
        self._output_nr = tensor._output_nr
        self._accumulator: AccumulateGrad | None = None
        self._unpack: Unpack | None = None
        self._kept: Any = keep_output(tensor) if is_output else tensor
        if pair is not None:
            self._pack(tensor, pair)

    def _pack(self, tensor: Tensor, pair: tuple[Pack, Unpack]) -> None:
        if tensor._requires_grad and tensor._node is None:
            self._accumulator = accumulator(tensor)
        before = tensor._storage.version
        with _nothing_recorded():
            kept = pair[0](tensor)
        if tensor._storage.version != before:
            raise RuntimeError(
                "A saved tensor pack hook is modifying its input in place. Tensors provided as input to pack hook "
                "cannot be modified by in-place operations as this can lead to unexpected side-effects. Please open "
                "an issue if you need to perform in-place operations on the input to a pack hook."
            )
        self._kept = kept
        self._unpack = pair[1]

    def unpack(self, owner: Node | None) -> Tensor:
        """The saved tensor; ``owner`` is the node that keeps it."""
        kept = self._kept
        if self._unpack is None:
            if type(kept) is tuple or type(kept) is _KeptWrapper:
                return restore_output(kept, owner, self._output_nr)
            if kept._storage.version != self._version:
                raise modified(kept, kept._node, kept._output_nr, self._version)
            return kept
        with _nothing_recorded():
            found = self._unpack(kept)
        if not isinstance(found, Tensor):
            raise TypeError(
                "Output of saved tensor unpack_hook expected to be a Tensor but got result of type "
                f"{type(found).__name__}"
            )
        tensor = make(found._storage, found._layout, found._offset)
        if self._is_output and owner is not None:
            tensor._node, tensor._output_nr = owner._history(self._output_nr, tensor)
        elif self._node is not None:
            tensor._node, tensor._output_nr = self._node, self._output_nr
        elif self._accumulator is not None:
            extras_of(tensor).accumulator = weakref.ref(self._accumulator)
        else:
            return found
        tensor._requires_grad = True
        return tensor

    def register_hooks(self, pack_hook: Pack, unpack_hook: Unpack) -> None:
        """Packs the tensor with ``pack_hook`` now, and unpacks it with ``unpack_hook`` when it is read."""
        if self._unpack is not None:
            raise RuntimeError(
                "Calling register_hooks on a saved tensor whose hooks have already been set. Hint: only one pair of "
                "hooks is allowed at a time."
            )
        self._pack(self.unpack(None), (pack_hook, unpack_hook))


@contextmanager
def _nothing_recorded() -> Iterator[None]:
    """No grad mode, and no hooks on what is saved meanwhile."""
    grad, stack = state.grad, hooks.stack
    state.grad = False
    hooks.stack = []
    try:
        yield
    finally:
        state.grad = grad
        hooks.stack = stack


class saved_tensors_hooks:
    """Inside the block, tensors saved for the backward pass are kept as ``pack_hook(tensor)``, and
    ``unpack_hook`` makes a tensor of that again when the backward pass reads it.

    ``pack_hook`` may not write to its argument.  The innermost pair counts.
    """

    def __init__(self, pack_hook: Pack, unpack_hook: Unpack) -> None:
        self.pack_hook = pack_hook
        self.unpack_hook = unpack_hook

    def __enter__(self) -> None:
        if hooks.disabled is not None:
            raise RuntimeError(hooks.disabled)
        hooks.stack.append((self.pack_hook, self.unpack_hook))
        watch.add(1)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        hooks.stack.pop()
        watch.add(-1)


class save_on_cpu(saved_tensors_hooks):
    """Inside the block, tensors saved for the backward pass wait in the CPU's memory and return to their device when
    they are read.  ``pin_memory`` keeps them in pinned memory where the device is ``device_type``.
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        def pack(tensor: Tensor) -> tuple[Any, Tensor]:
            kept = tensor.cpu()  # type: ignore[attr-defined]
            if pin_memory and tensor.device.type == device_type:
                kept = kept.pin_memory()
            return tensor.device, kept

        def unpack(packed: tuple[Any, Tensor]) -> Tensor:
            device, kept = packed
            return kept.to(device, non_blocking=pin_memory)  # type: ignore[attr-defined]

        super().__init__(pack, unpack)


@contextmanager
def disable_saved_tensors_hooks(error_message: str) -> Iterator[None]:
    """Inside the block, ``saved_tensors_hooks`` raises RuntimeError with this message."""
    if hooks.stack:
        raise RuntimeError(error_message)
    previous = hooks.disabled
    hooks.disabled = error_message
    try:
        yield
    finally:
        hooks.disabled = previous
