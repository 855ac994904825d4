"""Recording: the dispatch of operators calls this file and nothing else of autograd.

* ``record(op, arguments, outputs)`` after an operator, when grad mode is on and an argument requires grad;
* ``record_view(op, arguments, outputs)`` after an operator whose output shares the storage of its first argument,
  always (it does what ``record`` does as well);
* ``before_inplace(op, arguments)`` before a write to the first argument, when grad mode is on and an argument
  requires grad, and ``after_inplace(node, target)`` with its result when the write is done and the version counted.

``arguments`` stand in the order of ``op.params``.  Only what ``op.derivative.saves`` names is kept; an entry
``"self:other"`` keeps ``self`` only if the gradient of ``other`` is asked for.  Outputs of integer type have no
gradient.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any
from weakref import ref

from ..layout import Layout
from ..tensor import Tensor
from .mode import state
from .node import Node
from .operator_node import PACKED, OperatorNode, node_class, node_classes
from .saved import SavedTensor, hooks, keep_output, watch
from .view import DEFAULT, MULTIPLE, NO_GRAD, How, View, check_view, make_room, rebase, set_history

__all__ = ["after_inplace", "before_inplace", "record", "record_look", "record_looks", "record_view", "take_traceback"]

_new = object.__new__


def record(op: Any, arguments: Sequence[Any], outputs: Any) -> None:
    """Makes ``outputs`` (a tensor, or a tuple of tensors) the results of ``op(*arguments)`` on the tape."""
    cls = node_classes.get(op) or node_class(op)
    if not isinstance(outputs, Tensor):
        _record_several(cls._make(arguments), outputs)
        return
    layout = outputs._layout
    if layout.dtype.kind not in "fc":
        return
    node = cls._make(arguments)
    node._outputs = layout
    if cls._saved_outputs is None:
        storage = outputs._storage
        node._results = (
            (layout, storage, outputs._offset, storage.version) if outputs.__class__ is Tensor else keep_output(outputs)
        )
    outputs._node = node
    outputs._output_nr = 0
    outputs._requires_grad = True
    if watch.count:
        _take_notes(node, (outputs,))


def _record_several(node: OperatorNode, outputs: Sequence[Tensor]) -> None:
    layouts: list[Layout | None] = []
    for nr, output in enumerate(outputs):
        if output._layout.dtype.kind in "fc":
            layouts.append(output._layout)
            output._node = node
            output._output_nr = nr
            output._requires_grad = True
        else:
            layouts.append(None)
    node._outputs = tuple(layouts)
    saved = node._saved_outputs
    if saved is None or saved:
        node._results = [
            keep_output(output) if saved is None or nr in saved else None for nr, output in enumerate(outputs)
        ]
    if watch.count:
        _take_notes(node, outputs)


def take_traceback(node: Node) -> None:
    """Remembers in anomaly mode where the node was recorded."""
    node.metadata["traceback_"] = traceback.format_stack()[:-2]


def _take_notes(node: OperatorNode, outputs: Sequence[Tensor]) -> None:
    """The long way: packs what is saved with the hooks in force, and remembers where the operator was called."""
    if watch.anomaly:
        take_traceback(node)
    if not hooks.stack:
        return
    pair = hooks.stack[-1]
    values = node._values
    assert values is not None
    for at, (position, version) in enumerate(zip(node._tensors, node._versions)):
        if version is None:
            continue
        value = values[position]
        if position in node._lists:
            packed = tuple(SavedTensor(item, False, pair) if isinstance(item, Tensor) else item for item in value)
            node._replace(at, packed, (PACKED,) * len(value))
        else:
            node._replace(at, SavedTensor(value, False, pair), PACKED)
    results = node._results
    if type(results) is list:
        node._results = [
            None if kept is None else SavedTensor(output, True, pair) for kept, output in zip(results, outputs)
        ]
    elif results is not None:
        node._results = SavedTensor(outputs[0], True, pair)


def record_view(op: Any, arguments: Sequence[Any], outputs: Any) -> None:
    """Makes ``outputs`` views of ``arguments[0]``, and records the operator if that requires grad."""
    if op._derivative is None and op.derivative is None:
        return  # detach: shares memory, but is no view of anything as far as gradients go
    source, how = arguments[0], (op, tuple(arguments[1:]), None)
    (record_look if isinstance(outputs, Tensor) else record_looks)(source, how, outputs)


def record_look(source: Tensor, how: How, output: Tensor) -> None:
    """``record_view`` where it must be quick: one plain output of an operator that has a derivative.  ``how`` is the
    operator, its arguments after the source, and None."""
    parent = source._view
    grad = state.grad
    if parent is None:
        base, creation = source, DEFAULT
    else:
        base, creation = parent.base, parent.creation
    if not grad:
        if not state.track_views:
            return
        creation = NO_GRAD
    elif source._requires_grad:
        record(how[0], (source, *how[1]), output)
    view = output._view = _new(View)  # field by field: half the time of a call of the class
    view.base = base
    view.parent = parent
    view.how = how
    view.creation = creation
    view.version = base._storage.version
    if base._requires_grad:
        output._requires_grad = True
    elif grad and base._layout.dtype.kind in "fc":
        extras = base._hooks
        views = None if extras is None else extras.views
        if views is None or len(views) >= extras.room:
            views = make_room(base)
        views.append(ref(output))


def record_looks(source: Tensor, how: How, outputs: Sequence[Tensor]) -> None:
    """``record_look`` of several outputs: each a view through which nothing may be written in grad mode."""
    op, rest, _ = how
    grad = state.grad
    if grad:
        creation = MULTIPLE
        if source._requires_grad:
            record(op, (source, *rest), outputs)
    elif state.track_views:
        creation = NO_GRAD
    else:
        return
    parent = source._view
    base = source if parent is None else parent.base
    version, index, required = base._storage.version, 0, base._requires_grad
    watched = grad and not required and base._layout.dtype.kind in "fc"
    for output in outputs:
        view = output._view = _new(View)
        view.base, view.parent, view.how = base, parent, (op, rest, index)
        view.creation, view.version = creation, version
        index += 1
        if required:
            output._requires_grad = True
        elif watched:
            make_room(base).append(ref(output))


def before_inplace(op: Any, arguments: Sequence[Any]) -> OperatorNode | None:
    """Prepares the record of a write to ``arguments[0]``; None if there is nothing to record.

    Raises RuntimeError where PyTorch forbids the write: to a leaf that requires grad or a view of one, and to views
    whose history could not be told.
    """
    target: Tensor = arguments[0]
    view = target._view
    if view is not None:
        check_view(target, view, indirect=False)
        if target._requires_grad and view.base._node is None:
            raise RuntimeError("a view of a leaf Variable that requires grad is being used in an in-place operation.")
    elif target._requires_grad and target._node is None:
        raise RuntimeError("a leaf Variable that requires grad is being used in an in-place operation.")
    if target._layout.dtype.kind not in "fc":
        return None
    cls = node_classes.get(op) or node_class(op)
    node = cls._make(arguments)
    if node._tensors[0] == 0 and node._versions[0] is not None:
        # The derivative reads the value that is about to go.  The copy is recorded: higher derivatives go through it.
        old = target.clone()  # type: ignore[attr-defined]
        node._replace(0, old, old._storage.version)
    return node


def after_inplace(node: OperatorNode | None, target: Tensor) -> None:
    """Records the write that ``before_inplace`` prepared, now that it is done."""
    if node is None:
        return
    node._outputs = target._layout
    if node._saved_outputs is None:
        node._results = keep_output(target)
    view = target._view
    if view is None:
        set_history(target, node, 0)
    else:
        rebase(target, view, node)
    if watch.count:
        _take_notes(node, (target,))
        if view is not None and watch.anomaly:
            view.base._node.metadata.update(node.metadata)
