"""The engine: runs the tape backwards.

A node runs when it has the highest number of all that wait, which is when all its gradients have arrived (see
``node.py``); so backward needs no recursion and no count of dependencies, and graphs may be as deep as memory
allows.  Everything is computed with the tensors' own public operators: with ``create_graph`` they are recorded.
"""

from __future__ import annotations

import itertools
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from typing import Any

from .. import ops
from ..dtype import float32
from ..layout import Layout, contiguous_strides, of
from ..storage import Storage
from ..tensor import Tensor, empty
from ..transform.level import Wrapper, levels
from .mode import state
from .node import AccumulateGrad, Edge, Node
from .operator_node import HALF, OperatorNode
from .saved import type_name, watch

__all__ = ["Task", "execute", "queue_callback"]

_ids = itertools.count()
_lock = threading.RLock()  # two threads may add to the gradient of one leaf


class Task:
    """One run of the engine."""

    def __init__(self, keep_graph: bool, create_graph: bool, roots: Sequence[Node], needed: set[int] | None) -> None:
        self.id = next(_ids)
        self.keep_graph = keep_graph
        self.create_graph = create_graph
        self._roots = roots
        self._needed = needed
        self.wide = False  # a gradient of half precision was kept in float32
        self.callbacks: list[Callable[[], object]] = []

    def will_run(self, node: Node) -> bool:
        """Whether the run comes by ``node`` (or did)."""
        if self._needed is None:
            self._needed = set(_reachable(self._roots))
        return node._sequence in self._needed


def queue_callback(callback: Callable[[], object]) -> None:
    """Calls ``callback()`` when the present run of the engine is done.

    Raises RuntimeError outside of a run.
    """
    if state.task is None:
        raise RuntimeError("Final callbacks can only be installed during backward pass.")
    state.task.callbacks.append(callback)


def execute(
    roots: Iterable[tuple[Edge, Tensor | None]],
    *,
    keep_graph: bool,
    create_graph: bool,
    targets: Sequence[Edge] | None = None,
    accumulate: bool = True,
) -> list[Tensor | None]:
    """Sends gradients into the tape at ``roots`` (edges and their gradients) and runs it to its leaves.

    With ``targets`` only the nodes on the way to these edges run; the gradients that arrive there are returned
    unless ``accumulate``.  ``keep_graph`` keeps what nodes have saved, ``create_graph`` records the run itself.
    """
    roots = list(roots)
    tops = [edge[0] for edge, _ in roots if edge[0] is not None]
    needed: set[int] | None = None
    captures: dict[int, list[tuple[int, int]]] = {}
    captured: list[Tensor | None] = []
    if targets is not None:
        aims: set[int] = set()
        for index, (node, output_nr) in enumerate(targets):
            assert node is not None
            if accumulate:
                aims.add(node._sequence)
            else:
                captures.setdefault(node._sequence, []).append((output_nr, index))
        captured = [None] * len(targets)
        needed = _needed(tops, aims, captures.keys())
    task = Task(keep_graph, create_graph, tops, needed)
    outer = (state.task, state.grad, state.track_views)
    level = levels.stack[-1] if levels.stack else None
    if level is not None:
        level.modes.append(state.grad)
    state.gradients += accumulate
    state.task = task
    state.grad = create_graph
    state.track_views = create_graph
    try:
        _run(roots, task, needed, captures, captured)
        while task.callbacks:
            task.callbacks.pop(0)()
    finally:
        state.task, state.grad, state.track_views = outer
        if level is not None:
            level.modes.pop()
    return captured


def _reachable(roots: Iterable[Node]) -> dict[int, Node]:
    """The nodes on the tape below ``roots``, by number."""
    nodes: dict[int, Node] = {}
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node._sequence not in nodes:
            nodes[node._sequence] = node
            stack.extend(edge[0] for edge in node.next_functions if edge[0] is not None)
    return nodes


def _needed(roots: Sequence[Node], aims: set[int], captured: Iterable[int]) -> set[int]:
    """The numbers of the nodes that must run for gradients to arrive at ``aims`` (which run too) or ``captured``."""
    nodes = _reachable(roots)
    found = set(aims)
    wanted = found.union(captured)
    for sequence in sorted(nodes):  # a node's inputs have lower numbers
        if any(edge[0] is not None and edge[0]._sequence in wanted for edge in nodes[sequence].next_functions):
            found.add(sequence)
            wanted.add(sequence)
    return found


def _run(
    roots: Sequence[tuple[Edge, Tensor | None]],
    task: Task,
    needed: set[int] | None,
    captures: dict[int, list[tuple[int, int]]],
    captured: list[Tensor | None],
) -> None:
    waiting: dict[int, list[Any]] = {}  # by number: the gradients that arrived at each output, then the node
    heap: list[int] = []  # numbers that wait, negated
    owned: set[tuple[int, int]] = set()  # sums that the engine made and may add to in place
    keep_graph, create_graph = task.keep_graph, task.create_graph
    for edge, grad in roots:
        if needed is None or edge[0]._sequence in needed or edge[0]._sequence in captures:  # type: ignore[union-attr]
            _send(edge, grad, waiting, heap, owned, create_graph)
    del roots
    edge = grad = None  # type: ignore[assignment] # a gradient held here could not be given away
    while heap:
        sequence = -heappop(heap)
        grads = waiting.pop(sequence)
        node: Node = grads.pop()
        leaf = type(node) is AccumulateGrad
        if task.wide and (
            leaf or sequence in captures or node._extras is not None or not isinstance(node, OperatorNode)
        ):
            grads = _narrowed(node, grads)
        if needed is not None:
            arriving = captures.get(sequence)
            if sequence not in needed:
                _call_tensor_hooks(node, grads)
            for output_nr, index in arriving or ():
                captured[index] = grads[output_nr]
            if sequence not in needed:
                continue
        if leaf:
            _finish(node, grads, create_graph)  # type: ignore[arg-type]
            continue
        extras = node._extras
        inputs: tuple[Any, ...] | None = None
        if extras is not None:
            _call_tensor_hooks(node, grads)
            if extras.pre_hooks:
                grads = _call_pre_hooks(node, grads)
            if extras.post_hooks:
                inputs = tuple(grads)
        edges = node.next_functions
        wanted = None
        if needed is not None:
            wanted = [to[0] is not None and (to[0]._sequence in needed or to[0]._sequence in captures) for to in edges]
        found = node._apply(grads, wanted) if not watch.anomaly else _apply_watched(node, grads, wanted)
        if len(found) != len(edges):
            raise RuntimeError(
                f"{node.name()} returned {len(found)} gradients for {len(edges)} inputs; its derivative must return "
                "one entry per tensor parameter"
            )
        if inputs is not None:
            found = _call_post_hooks(node, _conform_all(node, found), inputs)
        if not keep_graph:
            node._release()
        for index, (edge, grad) in enumerate(zip(edges, found)):
            target = edge[0]
            if target is None or (wanted is not None and not wanted[index]):
                continue
            if grad is not None:
                expected: Any = target._outputs
                if type(expected) is tuple:
                    expected = expected[edge[1]]
                if grad._layout is not expected:
                    grad = _as_expected(grad, expected, node, index, task)
            sequence = target._sequence
            if sequence in waiting or type(target._outputs) is tuple:
                _send(edge, grad, waiting, heap, owned, create_graph)
            else:  # the first gradient of a single output, which most are
                waiting[sequence] = [grad, target]
                heappush(heap, -sequence)
        found = grads = inputs = grad = edge = target = None  # type: ignore[assignment]


def _as_expected(grad: Tensor, expected: Layout, node: Node, index: int, task: Task) -> Tensor:
    """Gradient ``index`` that ``node`` returned with the shape, type and device that is ``expected`` of it, or left in
    float32."""
    layout = grad._layout
    if layout.shape == expected.shape and layout.dtype is expected.dtype and layout.device is expected.device:
        return grad
    wide = task.create_graph or task.wide or _is_widened(node)
    if layout.dtype is float32 and expected.dtype in HALF and wide:
        task.wide = True
        expected = of(float32, expected.device, expected.shape, expected.strides)
    return conform(grad, expected, node, index)


# A gradient of half precision is left in float32 (``Task.wide``) on the way through a derivative that is or was
# recorded, where float32 was used so that roundings do not add up, as far as the next place that the program can see:
# a leaf, a hook, a function of the program's own.


def _is_widened(node: Node) -> bool:
    """Whether a float32 gradient that the node returns comes from a derivative that was recorded."""
    return isinstance(node, OperatorNode) and node._operator is ops.convert.widened


def _narrowed(node: Node, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Gradients as the program is to see them: those of half precision rounded."""
    outputs = node._outputs if type(node._outputs) is tuple else (node._outputs,)
    return [
        grad.to(output.dtype)  # type: ignore[attr-defined]
        if grad is not None and output is not None and output.dtype in HALF and grad._layout.dtype is float32
        else grad
        for grad, output in zip(grads, outputs)
    ]


def _send(
    edge: Edge,
    grad: Tensor | None,
    waiting: dict[int, list[Any]],
    heap: list[int],
    owned: set[tuple[int, int]],
    create_graph: bool,
) -> None:
    """Adds a gradient to what waits at the end of an edge; None makes the node run all the same."""
    node, output_nr = edge
    sequence = node._sequence  # type: ignore[union-attr]
    slot = waiting.get(sequence)
    if slot is None:
        outputs = node._outputs  # type: ignore[union-attr]
        if type(outputs) is tuple:
            slot = [None] * len(outputs)
            slot[output_nr] = grad
            slot.append(node)
        else:
            slot = [grad, node]
        waiting[sequence] = slot
        heappush(heap, -sequence)
        return
    present = slot[output_nr]
    if present is None:
        slot[output_nr] = grad
    elif grad is not None:
        key = (sequence, output_nr)
        if key in owned and grad._layout.dtype is present._layout.dtype and not isinstance(grad, Wrapper):
            present.add_(grad)
        else:
            slot[output_nr] = present.add(grad)
            if not create_graph:
                owned.add(key)


def _finish(node: AccumulateGrad, grads: list[Tensor | None], create_graph: bool) -> None:
    """Runs the end of the tape at a leaf: its hooks, and the sum into ``.grad``."""
    variable = node.variable
    extras, watched = node._extras, variable._hooks
    if extras is None and not create_graph and not (watched.hooks or watched.post_accumulate):
        with _lock:
            if variable._grad is None and variable._requires_grad and _may_keep(grads, variable._layout):
                variable._grad = grads[0]
                return
    _call_tensor_hooks(node, grads)
    inputs: tuple[Any, ...] | None = None
    if extras is not None:
        if extras.pre_hooks:
            grads = _call_pre_hooks(node, grads)
        if extras.post_hooks:
            inputs = tuple(grads)
    if grads[0] is not None and variable._requires_grad:
        with _lock:
            _accumulate(variable, grads, create_graph)
    hooks = variable._hooks.post_accumulate
    if hooks:
        for hook in tuple(hooks.values()):
            hook(variable)
    if inputs is not None:
        _call_post_hooks(node, (), inputs)


def _accumulate(variable: Tensor, grads: list[Any], create_graph: bool) -> None:
    present = variable._grad
    if getattr(grads[0], "_foreign", False) or getattr(present, "_foreign", False):
        variable._grad = _added(present, grads[0])
    elif present is not None:
        if create_graph or isinstance(grads[0], Wrapper):
            variable._grad = present.add(grads[0])  # type: ignore[attr-defined]
        else:
            present.add_(grads[0])  # type: ignore[attr-defined]
    elif create_graph:
        variable._grad = grads[0].clone()
    elif _references(grads) == _SOLE and _fits(grads[0], variable._layout):
        variable._grad = grads[0]
    else:
        variable._grad = _copy_like(grads[0], variable._layout)


def _added(present: Any, grad: Any) -> Any:
    """The sum of gradients one of which is made of other tensors (sparse): dense as soon as one is."""
    if present is None:
        return grad
    return grad.add(present) if getattr(present, "_foreign", False) else present.add(grad)


class _Probe:
    """Stands for a tensor that nobody else holds."""

    __slots__ = ("_storage",)

    def __init__(self) -> None:
        self._storage = object()


def _references(cell: list[Any]) -> tuple[int, int]:
    """How many hold the tensor in ``cell``, and its storage."""
    return sys.getrefcount(cell[0]), sys.getrefcount(cell[0]._storage)


_SOLE = _references([_Probe()])


def _may_keep(grads: list[Any], layout: Layout) -> bool:
    """Whether the gradient in ``grads`` is a plain one with this layout that nobody else holds: the short answer to
    what ``_accumulate`` asks, which may be False where that is True."""
    if grads[0].__class__ is not Tensor or grads[0]._layout is not layout or _references(grads) != _SOLE:
        return False
    grad = grads[0]
    storage = grad._storage
    return (
        (layout.contiguous or layout.dense)
        and not grad._requires_grad
        and grad._view is None
        and grad._hooks is None
        and storage.pending is None
        and storage.nbytes == layout.nbytes
    )


def _fits(grad: Tensor, layout: Layout) -> bool:
    """Whether a gradient that nobody else holds may itself become the ``.grad`` of a leaf with this layout."""
    return (
        type(grad) is Tensor
        and not grad._requires_grad
        and grad._view is None
        and grad._hooks is None
        and _strides_of_grad(layout) == grad._layout.strides
        and _fills(grad._storage, grad._layout)
    )


def _fills(storage: Storage, layout: Layout) -> bool:
    """Whether a tensor with this layout is all that the storage holds."""
    pending = storage.pending
    return storage.nbytes == layout.nbytes if pending is None else pending.layout is layout


def _strides_of_grad(layout: Layout) -> tuple[int, ...]:
    """The strides that PyTorch promises for ``.grad``: the leaf's if it is dense, else row-major."""
    return layout.strides if layout.contiguous or layout.dense else contiguous_strides(layout.shape)


def _copy_like(grad: Any, layout: Layout) -> Tensor:
    if isinstance(grad, Wrapper) or hasattr(grad, "__torch_dispatch__"):
        return grad.clone()  # type: ignore[attr-defined,no-any-return]
    strides = _strides_of_grad(layout)
    if grad._storage.pending is not None and strides == contiguous_strides(layout.shape):
        # a value like others, without memory of its own yet
        return ops.convert._clone(grad, memory_format=ops.convert.contiguous_format)
    found: Any = empty(of(grad._layout.dtype, layout.device, layout.shape, strides))
    return found.copy_(grad)


def conform(grad: Any, expected: Any, node: Node, index: int) -> Tensor:
    """A gradient brought to the layout of what it is the gradient of: summed over broadcast dimensions and cast.

    Raises RuntimeError if its shape is not a broadcast of the expected one, or it lies on another device.
    """
    layout = grad._layout
    where = f"Function {node.name()} returned an invalid gradient at index {index} -"
    if layout.device is not expected.device:
        raise RuntimeError(f"{where} expected device {expected.device} but got {layout.device}")
    if layout.shape != expected.shape:
        lead = layout.ndim - expected.ndim
        tail = layout.shape[max(lead, 0) :]
        if lead < 0 or any(want not in (1, got) for want, got in zip(expected.shape, tail)):
            raise RuntimeError(
                f"{where} got {list(layout.shape)} but expected shape compatible with {list(expected.shape)}"
            )
        stretched = [lead + d for d, (want, got) in enumerate(zip(expected.shape, tail)) if want != got]
        grad = grad.sum([*range(lead), *stretched], True).reshape(expected.shape)
    if layout.dtype is not expected.dtype and expected.dtype is not None:
        if layout.dtype.is_complex and not expected.dtype.is_complex:
            if not node._takes_real_part:
                raise RuntimeError(
                    f"{where} got a complex gradient ({layout.dtype}) for a real input ({expected.dtype}); return its "
                    "real part"
                )
            grad = ops.view_as_real(grad).select(-1, 0)
        grad = grad.to(expected.dtype)
    return grad


def _conform_all(node: Node, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
    """``conform`` for every gradient that a node returned."""
    found = list(grads)
    for index, ((target, output_nr), grad) in enumerate(zip(node.next_functions, grads)):
        if target is not None and grad is not None:
            outputs = target._outputs
            expected: Any = outputs[output_nr] if type(outputs) is tuple else outputs
            if grad._layout is not expected:
                found[index] = conform(grad, expected, node, index)
    return found


def _hook_name(hook: Any) -> str:
    return getattr(hook, "__name__", "<unknown>")


def _check_hook(hook: Any, before: Tensor | None, after: Any) -> Any:
    """What a hook returned in the place of ``before``; raises what PyTorch raises if it cannot stand there."""
    if after is None:
        return None
    if not isinstance(after, Tensor):
        raise TypeError(f"expected Variable, but hook returned '{type(after).__name__}'")
    if before is None:
        raise RuntimeError("can't replace a None gradient with a non-None value")
    old, new = before._layout, after._layout
    if new.dtype is not old.dtype:
        raise RuntimeError(
            f"hook '{_hook_name(hook)}' has changed the type of value (was {type_name(old.dtype)} got "
            f"{type_name(new.dtype)})"
        )
    if new.device is not old.device:
        raise RuntimeError(f"hook '{_hook_name(hook)}' has changed the device of value")
    if new.shape != old.shape:
        raise RuntimeError(f"hook '{_hook_name(hook)}' has changed the size of value")
    return after


def _check_hooks(hook: Any, before: Sequence[Tensor | None], after: Any) -> list[Tensor | None]:
    if not isinstance(after, tuple):
        raise TypeError(f"expected tuple, but hook returned '{type(after).__name__}'")
    if len(after) != len(before):
        raise RuntimeError(
            f"hook '{_hook_name(hook)}' has returned an incorrect number of values (got {len(after)}, but expected "
            f"{len(before)})"
        )
    return [_check_hook(hook, old, new) for old, new in zip(before, after)]


def _call_tensor_hooks(node: Node, grads: list[Tensor | None]) -> None:
    """The hooks of the tensors that the node made, then the gradients that they retain."""
    if type(node) is AccumulateGrad:
        hooks = node.variable._hooks.hooks
        if hooks:
            _call_on(hooks, grads, 0)
        return
    extras = node._extras
    if extras is None:
        return
    for output_nr, hooks in tuple(extras.tensor_hooks.items()):
        _call_on(hooks, grads, output_nr)
    for output_nr, reference in tuple(extras.retained.items()):
        tensor, grad = reference(), grads[output_nr]
        if tensor is not None and grad is not None:
            before: Any = tensor._grad
            tensor._grad = grad.clone() if before is None else before.add(grad)  # type: ignore[attr-defined]


def _call_on(hooks: dict[int, Any], grads: list[Tensor | None], output_nr: int) -> None:
    for hook in tuple(hooks.values()):
        found = _check_hook(hook, grads[output_nr], hook(grads[output_nr]))
        if found is not None:
            grads[output_nr] = found


def _call_pre_hooks(node: Node, grads: list[Tensor | None]) -> list[Tensor | None]:
    for hook in tuple(node._extras.pre_hooks.values()):  # type: ignore[union-attr]
        found = hook(tuple(grads))
        if found is not None:
            grads = _check_hooks(hook, grads, found)
    return grads


def _call_post_hooks(
    node: Node, found: Sequence[Tensor | None], grads: tuple[Tensor | None, ...]
) -> Sequence[Tensor | None]:
    for hook in tuple(node._extras.post_hooks.values()):  # type: ignore[union-attr]
        replaced = hook(tuple(found), grads)
        if replaced is not None:
            found = _check_hooks(hook, found, replaced)
    return found


def _apply_watched(node: Node, grads: list[Tensor | None], wanted: Sequence[bool] | None) -> Sequence[Tensor | None]:
    """Runs a node in anomaly mode: an error, or a nan among the gradients, tells where the node was recorded."""
    try:
        found = node._apply(grads, wanted)
        if watch.check_nan:
            _refuse_nan(node, found)
    except Exception:
        _tell_origin(node)
        raise
    return found


def _refuse_nan(node: Node, grads: Sequence[Tensor | None]) -> None:
    grad_mode = state.grad
    state.grad = False
    try:
        for index, grad in enumerate(grads):
            if grad is not None and bool(grad.isnan().any()):  # type: ignore[attr-defined]
                raise RuntimeError(f"Function '{node.name()}' returned nan values in its {index}th output.")
    finally:
        state.grad = grad_mode


def _tell_origin(node: Node) -> None:
    lines = node.metadata.get("traceback_")
    if lines is None:
        text = (
            f"Error detected in {node.name()}. No forward pass information available. Enable detect anomaly during "
            "forward pass for more information."
        )
    else:
        text = f"Error detected in {node.name()}. Traceback of forward call that caused the error:\n{''.join(lines)}"
    warnings.warn(text, stacklevel=2)
