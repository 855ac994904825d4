"""``torch.autograd.graph``: places on the tape, hooks on several tensors, and saved tensors.

The nodes are made in ``node.py``, ``operator_node.py`` and ``view.py``.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

from ..tensor import Tensor
from .mode import current_task
from .node import Node, RemovableHandle
from .saved import disable_saved_tensors_hooks, save_on_cpu, saved_tensors_hooks
from .view import edge_of

__all__ = [
    "GradientEdge", "Node", "allow_mutation_on_saved_tensors", "disable_saved_tensors_hooks", "get_gradient_edge",
    "increment_version", "region_activation_memory_budget", "register_multi_grad_hook", "save_on_cpu",
    "saved_tensors_hooks", "set_override_stale_capture_stream", "set_warn_on_accumulate_grad_stream_mismatch",
]  # fmt: skip


class GradientEdge(NamedTuple):
    """A place on the tape: output ``output_nr`` of ``node``.  Stands for a tensor in ``backward`` and ``grad``."""

    node: Node
    output_nr: int
    ownership_token: object = None


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """Where the gradient of ``tensor`` arrives; of a leaf, the node that accumulates it.

    Raises RuntimeError if the tensor does not require grad.
    """
    node, output_nr = edge_of(tensor)
    if node is None:
        raise RuntimeError("It is not possible to get the gradient edge for a Tensor that does not require gradients")
    return GradientEdge(node, output_nr)


def increment_version(tensor: Tensor | Iterable[Tensor]) -> None:
    """Counts a write in place that flambeau could not see, so that saved tensors notice it."""
    for each in (tensor,) if isinstance(tensor, Tensor) else tensor:
        each._storage.version += 1


@contextmanager
def allow_mutation_on_saved_tensors() -> Iterator[_Originals]:
    """Inside the block, tensors that were saved for the backward pass may be written to: it sees what they were.

    Forward and backward pass both belong in the block.  What is saved is copied when it is saved, so this costs as much
    memory as all that is saved, whether written to or not.
    """
    originals = _Originals()
    with saved_tensors_hooks(originals.keep, originals.give):
        try:
            yield originals
        finally:
            originals.clear()


class _Originals:
    """Copies of what was saved, by number."""

    def __init__(self) -> None:
        self._copies: dict[int, Tensor] = {}
        self._next = 0

    def keep(self, tensor: Tensor) -> int:
        """Copies a tensor; its number."""
        self._next += 1
        self._copies[self._next] = tensor.detach().clone()  # type: ignore[attr-defined]
        return self._next

    def give(self, number: int) -> Tensor:
        """The copy of a number; raises AssertionError when the block has ended."""
        if number not in self._copies:
            raise AssertionError("Trying to backward outside of the 'allow_mutation_on_saved_tensors' context")
        return self._copies[number]

    def clear(self) -> None:
        """Forgets all copies."""
        self._copies.clear()


@contextmanager
def region_activation_memory_budget(budget: float) -> Iterator[None]:
    """Inside of a compiled function: how much of the block's intermediate values may be kept, from 0 to 1.

    Accepted: the compiler computes cheap values again and keeps the others anyway.  Raises ValueError otherwise.
    """
    if not 0 <= budget <= 1:
        raise ValueError(f"region_activation_memory_budget: budget must lie between 0 and 1, got {budget}")
    yield


class _Streams:
    warn_on_mismatch = True
    override_stale = False


def set_warn_on_accumulate_grad_stream_mismatch(enabled: bool) -> None:
    """Whether to warn when a gradient comes from another stream than its leaf's: there is one stream on the CPU."""
    _Streams.warn_on_mismatch = bool(enabled)


def set_override_stale_capture_stream(enabled: bool) -> None:
    """Which stream a node uses while a CUDA graph is captured: there are none on the CPU."""
    _Streams.override_stale = bool(enabled)


class _MultiHandle(RemovableHandle):
    """Removes the hooks of several tensors."""

    def __init__(self, handles: Sequence[RemovableHandle]) -> None:
        self.handles = tuple(handles)

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()

    def __getstate__(self) -> tuple[Any, ...]:
        return self.handles

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.handles = state


def register_multi_grad_hook(
    tensors: Sequence[Tensor],
    fn: Callable[[Sequence[Tensor | None]], None] | Callable[[Tensor], None],
    *,
    mode: Literal["all", "any"] = "all",
) -> RemovableHandle:
    """Calls ``fn`` once in every backward pass that computes gradients of ``tensors``.

    ``mode="all"``: with the list of their gradients (None for those that the pass does not compute) when the last has
    been computed.  ``mode="any"``: with the first gradient that is computed.
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    lock = threading.Lock()
    if mode == "any":
        ran: set[int] = set()

        def first(grad: Tensor) -> None:
            task = current_task()
            assert task is not None
            with lock:
                if task.id in ran:
                    return
                ran.add(task.id)
                task.callbacks.append(lambda: ran.discard(task.id))
            fn(grad)  # type: ignore[arg-type]

        return _MultiHandle([tensor.register_hook(first) for tensor in tensors])  # type: ignore[attr-defined]

    # Weak, since the nodes and leaves hold the hooks.
    where = [weakref.ref(edge_of(t)[0] if t._node is not None else t) for t in tensors]
    runs: dict[int, tuple[int, list[Tensor | None], list[bool]]] = {}

    def expected(task: Any) -> int:
        count = 0
        for reference in where:
            what: Any = reference()
            node = edge_of(what)[0] if isinstance(what, Tensor) else what
            count += node is not None and task.will_run(node)
        return count

    def collect(index: int, grad: Tensor) -> None:
        task = current_task()
        assert task is not None
        with lock:
            if task.id not in runs:
                runs[task.id] = (expected(task), [None] * len(tensors), [False] * len(tensors))
                task.callbacks.append(lambda: runs.pop(task.id, None))
            count, grads, arrived = runs[task.id]
            grads[index] = grad
            arrived[index] = True
            complete = sum(arrived) == count
        if complete:
            fn(grads)  # type: ignore[arg-type]

    def collector(index: int) -> Callable[[Tensor], None]:
        return lambda grad: collect(index, grad)

    return _MultiHandle([t.register_hook(collector(i)) for i, t in enumerate(tensors)])  # type: ignore[attr-defined]
