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
from collections.abc import Callable, Sequence
from typing import Any

from ..layout import Layout, Size
from ..tensor import Tensor
from .mode import state
from .node import NO_EDGE, Edge, Node, accumulator, number
from .saved import FREED, SavedTensor, hooks, keep_output, modified, restore_output, watch
from .view import (
    DEFAULT, MULTIPLE, NO_GRAD, View, check_view, edge_of, rebase, refresh, set_history, watch_view,
)  # fmt: skip

__all__ = ["Context", "OperatorNode", "after_inplace", "before_inplace", "record", "record_view"]

ALWAYS = -1


class Context:
    """What a derivative reads: the operator's arguments by name, saved tensors among them.

    A tensor that was not saved appears as its ``Layout``, which has ``shape``, ``dtype`` and ``device``.
    ``result`` is the saved output, ``results`` are the saved outputs of an operator with several.  An argument with
    the name of a method here has an underscore behind it (``dtype_``).
    """

    result: Tensor
    results: tuple[Tensor, ...]

    def __init__(self, node: OperatorNode, wanted: Sequence[bool] | None) -> None:
        self._node = node
        self._wanted = wanted

    def needs(self, name: str) -> bool:
        """Whether the gradient of this argument (of any tensor in it, if it is a list) is asked for."""
        where = self._node._edges_of(name)
        if self._wanted is not None:
            return any(self._wanted[where])
        return any(edge[0] is not None for edge in self._node.next_functions[where])

    def shape(self, name: str) -> Size:
        """The shape of an argument; a number has none."""
        return getattr(self.__dict__[name], "shape", Size())

    def dtype(self, name: str) -> Any:
        """The element type of a tensor argument."""
        return self.__dict__[name].dtype

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the derivative of {self._node._operator.name} reads '{name}', which it does not save")


class OperatorNode(Node):
    """A recorded operator.  Every operator has its own subclass, made by ``node_class``, with what all its nodes
    share; the class is named as PyTorch names it ("MulBackward0").

    ``_values`` are the arguments: a saved tensor itself (or a ``SavedTensor``), any other tensor as its layout.
    ``_kept`` lists the positions of what is saved, ``_versions`` the versions of the storages then.
    """

    __slots__ = ("_kept", "_results", "_values", "_versions")

    _operator: Any
    _names: tuple[str, ...]
    _fields: tuple[str, ...]  # the names as a Context has them
    _tensors: tuple[tuple[int, int], ...]  # position of each tensor parameter, and its bit in a mask
    _lists: frozenset[int]  # positions of parameters that are lists of tensors
    _rules: tuple[int, ...]  # per tensor parameter: a mask of the gradients for which it is saved
    _plans: dict[int, tuple[int, ...]]  # mask of the gradients asked for -> positions of what is saved
    _saved_outputs: tuple[int, ...] | None  # numbers of the saved outputs; None: all
    _derive: Callable[..., Any]

    _kept: tuple[int, ...]
    _values: list[Any] | None
    _versions: list[Any]
    _results: Any

    def _apply(self, grads: list[Tensor | None], wanted: Sequence[bool] | None) -> Sequence[Tensor | None]:
        return self._differentiate(grads, wanted, self)

    def _differentiate(
        self, grads: list[Tensor | None], wanted: Sequence[bool] | None, owner: Node
    ) -> Sequence[Tensor | None]:
        """Runs the derivative; saved outputs are read as those of ``owner``."""
        if not any(grad is not None for grad in grads):
            return [None] * len(self.next_functions)
        values = self._values
        if values is None:
            raise RuntimeError(FREED)
        context = Context(self, wanted)
        arguments = context.__dict__
        arguments.update(zip(self._fields, values))
        for position, version in zip(self._kept, self._versions):
            value = values[position]
            if type(version) is int and value._storage.version == version:
                continue
            arguments[self._fields[position]] = _unpack(value, version, owner)
        results = self._results
        if results is not None:
            if type(results) is list:
                context.results = tuple(_unpack_output(kept, owner, nr) for nr, kept in enumerate(results))
            else:
                context.result = _unpack_output(results, owner, 0)
        found = self._derive(context, *grads)
        if found is None or isinstance(found, Tensor):
            return (found,) if len(self.next_functions) == 1 else (found, *[None] * (len(self.next_functions) - 1))
        return self._flatten(found) if self._lists else found

    def _flatten(self, found: Sequence[Any]) -> list[Tensor | None]:
        """One gradient per edge from one entry per tensor parameter."""
        flat: list[Tensor | None] = []
        for (position, _), entry in zip(self._tensors, found):
            if position not in self._lists:
                flat.append(entry)
            elif entry is None:
                flat.extend([None] * len(self._values[position]))  # type: ignore[index]
            else:
                flat.extend(entry)
        return flat

    def _edges_of(self, name: str) -> slice:
        """The edges that belong to a parameter."""
        start = 0
        for position, _ in self._tensors:
            count = len(self._values[position]) if position in self._lists else 1  # type: ignore[index]
            if self._names[position] == name:
                return slice(start, start + count)
            start += count
        raise AttributeError(f"{self._operator.name} has no tensor parameter {name!r}")

    def _release(self) -> None:
        if self._kept or self._results is not None:
            self._values = None
            self._versions = []
            self._results = None

    def __getattr__(self, name: str) -> Any:
        """``_saved_NAME`` and ``_raw_saved_NAME`` read an argument or the result as it was saved."""
        raw = name.startswith("_raw_saved_")
        field = name.removeprefix("_raw_saved_" if raw else "_saved_")
        results = self._results
        if field != name and self._values is None:
            raise RuntimeError(FREED)
        if field == "result" and results is not None and type(results) is not list:
            if not raw:
                return _unpack_output(results, self, 0)
            if type(results) is tuple:
                results = self._results = SavedTensor(restore_output(results, self, 0), True, None)
            return results
        if field != name and field in self._names:
            return self._read_saved(self._names.index(field), raw)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __dir__(self) -> list[str]:
        saved = [f"_saved_{self._names[position]}" for position in self._kept]
        return [*super().__dir__(), *saved, *(["_saved_result"] if self._results is not None else [])]

    def _read_saved(self, position: int, raw: bool) -> Any:
        values = self._values
        assert values is not None
        value = values[position]
        if position not in self._kept:
            if isinstance(value, Layout):
                raise AttributeError(f"{self.name()} saves no '{self._names[position]}'")
            return value
        at = self._kept.index(position)
        if raw and isinstance(value, Tensor):
            value = values[position] = SavedTensor(value, False, None)
            self._versions[at] = None
        return value if raw else _unpack(value, self._versions[at], self)


def _unpack(value: Any, version: Any, owner: Node) -> Any:
    """A saved argument: a tensor, a list of them, or something that is no tensor in the place of one."""
    if isinstance(value, SavedTensor):
        return value.unpack(owner)
    if isinstance(value, tuple) and version is not None:
        return tuple(_unpack(item, at, owner) for item, at in zip(value, version))
    if isinstance(value, Tensor) and value._storage.version != version:
        raise modified(value, value._node, value._output_nr, version)
    return value


def _unpack_output(kept: Any, owner: Node, number_of_output: int) -> Any:
    if kept is None:
        return None
    if type(kept) is SavedTensor:
        return kept.unpack(owner)
    return restore_output(kept, owner, number_of_output)


_classes: dict[Any, type[OperatorNode]] = {}


def node_class(op: Any) -> type[OperatorNode]:
    """The class of the nodes of an operator that has a derivative."""
    found = _classes.get(op)
    if found is not None:
        return found
    derivative = op.derivative
    names = tuple(op.params)
    tensors = tuple((position, 1 << nr) for nr, position in enumerate(op.tensors))
    bits = {names[position]: bit for position, bit in tensors}
    rules = dict.fromkeys(bits, 0)
    outputs: list[int] | None = []
    for entry in derivative.saves:
        name, _, only = entry.partition(":")
        if name in rules:
            rules[name] |= bits[only] if only else ALWAYS
        elif name in ("result", "results"):
            outputs = None
        elif name.startswith("result") and name[6:].isdigit() and outputs is not None:
            outputs.append(int(name[6:]))
        else:
            raise ValueError(f"{op.name}: its derivative saves {entry!r}, which is no tensor parameter and no result")
    members = {
        "__slots__": (),
        "__module__": __name__,
        "_operator": op,
        "_names": names,
        "_fields": tuple(f"{name}_" if hasattr(Context, name) else name for name in names),
        "_tensors": tensors,
        "_lists": frozenset(op.lists),
        "_rules": tuple(rules.values()),
        "_plans": {},
        "_saved_outputs": None if outputs is None else tuple(outputs),
        "_derive": staticmethod(derivative.fn),
    }
    title = "".join(part[:1].upper() + part[1:] for part in op.name.split("_"))
    found = _classes[op] = type(f"{title}Backward0", (OperatorNode,), members)
    return found


def _make(cls: type[OperatorNode], arguments: Sequence[Any]) -> OperatorNode:
    """A node with its edges and saved arguments."""
    values: list[Any] = list(arguments)
    edges: list[Edge] = []
    mask = 0
    for position, bit in cls._tensors:
        value = values[position]
        if isinstance(value, Tensor):
            view = value._view
            if view is not None and view.version != value._storage.version:
                refresh(value)
            node = value._node
            if node is not None:
                edges.append((node, value._output_nr))
                mask |= bit
            elif value._requires_grad:
                edges.append((accumulator(value), 0))
                mask |= bit
            else:
                edges.append(NO_EDGE)
        elif position in cls._lists:
            found = [edge_of(item) if isinstance(item, Tensor) else NO_EDGE for item in value]
            edges.extend(found)
            if any(edge is not NO_EDGE for edge in found):
                mask |= bit
        else:
            edges.append(NO_EDGE)
    kept = cls._plans.get(mask)
    if kept is None:
        kept = cls._plans[mask] = tuple(p for (p, _), rule in zip(cls._tensors, cls._rules) if rule & mask)
    versions: list[Any] = []
    for position, _ in cls._tensors:
        value = values[position]
        if isinstance(value, Tensor):
            if position in kept:
                versions.append(value._storage.version)
            else:
                values[position] = value._layout
        elif position in cls._lists:
            values[position], version = _keep_list(value, position in kept)
            if position in kept:
                versions.append(version)
        elif position in kept:
            versions.append(None)
    made = cls()
    made._values = values
    made._kept = kept
    made._versions = versions
    made._results = None
    made._extras = None
    made.next_functions = tuple(edges)
    made._sequence = number()
    return made


def _keep_list(items: Sequence[Any], keep: bool) -> tuple[tuple[Any, ...], tuple[Any, ...] | None]:
    """What is kept of a list of tensors, and the versions of its members."""
    if not keep:
        return tuple(item._layout if isinstance(item, Tensor) else item for item in items), None
    return tuple(items), tuple(item._storage.version if isinstance(item, Tensor) else None for item in items)


def record(op: Any, arguments: Sequence[Any], outputs: Any) -> None:
    """Makes ``outputs`` (a tensor, or a tuple of tensors) the results of ``op(*arguments)`` on the tape."""
    cls = _classes.get(op) or node_class(op)
    if not isinstance(outputs, Tensor):
        _record_several(_make(cls, arguments), outputs)
        return
    layout = outputs._layout
    if layout.dtype.kind not in "fc":
        return
    node = _make(cls, arguments)
    node._outputs = layout
    if cls._saved_outputs is None:
        node._results = (layout, outputs._storage, outputs._offset, outputs._storage.version)
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
    for at, position in enumerate(node._kept):
        value = values[position]
        if isinstance(value, Tensor):
            values[position] = SavedTensor(value, False, pair)
            node._versions[at] = None
        elif position in node._lists:
            values[position] = tuple(
                SavedTensor(item, False, pair) if isinstance(item, Tensor) else item for item in value
            )
            node._versions[at] = (None,) * len(value)
    results = node._results
    if type(results) is list:
        node._results = [
            None if kept is None else SavedTensor(output, True, pair) for kept, output in zip(results, outputs)
        ]
    elif results is not None:
        node._results = SavedTensor(outputs[0], True, pair)


def record_view(op: Any, arguments: Sequence[Any], outputs: Any) -> None:
    """Makes ``outputs`` views of ``arguments[0]``, and records the operator if that requires grad."""
    source: Tensor = arguments[0]
    if op.derivative is None:
        return  # detach: shares memory, but is no view of anything as far as gradients go
    if state.grad:
        creation = DEFAULT if isinstance(outputs, Tensor) else MULTIPLE
        if source._requires_grad:
            record(op, arguments, outputs)
    elif state.track_views:
        creation = NO_GRAD
    else:
        return
    parent = source._view
    base = source if parent is None else parent.base
    if parent is not None and creation == DEFAULT:
        creation = parent.creation
    rest = tuple(arguments[1:])
    several = () if isinstance(outputs, Tensor) else outputs
    if not several:
        outputs._view = View(base, parent, op, rest, None, creation)
        several = (outputs,)
    else:
        for index, output in enumerate(several):
            output._view = View(base, parent, op, rest, index, creation)
    if base._requires_grad:
        for output in several:
            output._requires_grad = True
    elif state.grad and base._layout.dtype.kind in "fc":
        for output in several:
            watch_view(base, output)


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
    cls = _classes.get(op) or node_class(op)
    node = _make(cls, arguments)
    if 0 in node._kept:  # the derivative reads the value that is about to be lost
        grad = state.grad
        state.grad = False
        try:
            old = target.clone()  # type: ignore[attr-defined]
        finally:
            state.grad = grad
        node._values[0] = old  # type: ignore[index]
        node._versions[node._kept.index(0)] = old._storage.version
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
