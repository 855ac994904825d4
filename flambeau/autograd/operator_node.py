"""The node of a recorded operator: what it keeps of a call, and how its derivative reads that.

Every operator has a class of nodes (``node_class``), whose two functions that every recorded call goes through are
written out for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from ..dtype import bfloat16, float16, float32
from ..layout import Layout, Size
from ..tensor import Tensor
from .mode import state
from .node import NO_EDGE, Edge, Node, accumulator, number
from .saved import FREED, SavedTensor, modified, restore_output
from .view import edge_of, refresh

__all__ = ["HALF", "PACKED", "Context", "OperatorNode", "node_class", "node_classes"]

HALF = (bfloat16, float16)
_NO_SHAPE = Size()
ALWAYS = -1
PACKED = -1  # in the place of a version: the value is a SavedTensor, which does its own checks


class Context:
    """What a derivative reads: the operator's arguments by name, saved tensors among them.

    A tensor that was not saved appears as its ``Layout``, which has ``shape``, ``dtype`` and ``device``.
    ``result`` is the saved output, ``results`` are the saved outputs of an operator with several.  An argument with
    the name of a method here has an underscore behind it (``dtype_``).
    """

    __slots__ = ("_mask", "result", "results")

    _operator: Any
    _bits: dict[str, int]  # per tensor parameter
    _mask: int  # the gradients asked for
    result: Tensor
    results: tuple[Tensor | None, ...]

    def needs(self, name: str) -> bool:
        """Whether the gradient of this argument (of any tensor in it, if it is a list) is asked for."""
        return self._mask & self._bits[name] != 0

    def shape(self, name: str) -> Size:
        """The shape of an argument; a number has none."""
        value = getattr(self, name)
        if value.__class__ is Tensor:
            shape: Size = value._layout.shape
            return shape
        return getattr(value, "shape", _NO_SHAPE)

    def dtype(self, name: str) -> Any:
        """The element type of a tensor argument."""
        return getattr(self, name).dtype

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the derivative of {self._operator.name} reads '{name}', which it does not save")


class OperatorNode(Node):
    """A recorded operator.  Every operator has its own subclass, made by ``node_class``, with what all its nodes
    share; the class is named as PyTorch names it ("MulBackward0").

    ``_values`` are the arguments: a saved tensor itself (or a ``SavedTensor``), any other tensor as its layout.
    ``_versions`` has an entry per tensor parameter: the version of what is saved (or ``PACKED``; of a list, a tuple
    of them), None for what is not saved.  ``_mask`` has the bits of the gradients that lead anywhere.
    """

    __slots__ = ("_mask", "_results", "_values", "_versions")

    _operator: Any
    _names: tuple[str, ...]
    _tensors: tuple[int, ...]  # positions of the tensor parameters; their bits in a mask are 1, 2, 4...
    _lists: frozenset[int]  # positions of parameters that are lists of tensors
    _saved_outputs: tuple[int, ...] | None  # numbers of the saved outputs; None: all
    _context: type[Context]
    _derive: ClassVar[Callable[..., Any]]
    _make: ClassVar[Callable[[Sequence[Any]], OperatorNode]]
    _read: ClassVar[Callable[[OperatorNode, Context, Node], None]]

    _mask: int
    _values: tuple[Any, ...] | None
    _versions: tuple[Any, ...]
    _results: Any

    def _apply(
        self, grads: list[Tensor | None], wanted: Sequence[bool] | None, owner: Node | None = None
    ) -> Sequence[Tensor | None]:
        """See ``Node``; saved outputs are read as those of ``owner``."""
        edges = self.next_functions
        if grads[0] is None and not any(grad is not None for grad in grads):
            return [None] * len(edges)
        if self._values is None:
            raise RuntimeError(FREED)
        context = self._context()
        context._mask = self._mask if wanted is None else self._mask_of(wanted)
        self._read(context, owner or self)
        results = self._results
        if results is not None:
            if type(results) is list:
                context.results = tuple(_unpack_output(kept, owner or self, nr) for nr, kept in enumerate(results))
            else:
                context.result = _unpack_output(results, owner or self, 0)
        recorded, task = state.grad, state.task
        if (recorded or (task is not None and task.wide)) and self._is_wide(grads, recorded):
            grads = self._widen(context, grads)
        found = self._derive(context, *grads)
        if found is None or isinstance(found, Tensor):
            return (found,) if len(edges) == 1 else (found, *[None] * (len(edges) - 1))
        return self._flatten(found) if self._lists else found

    def _is_wide(self, grads: Sequence[Tensor | None], recorded: bool = False) -> bool:
        """Whether some output of half precision has a gradient, in float32 or while the run is ``recorded``."""
        outputs: Any = self._outputs
        if type(outputs) is not tuple:
            if outputs.dtype not in HALF:
                return False
            outputs = (outputs,)
        return any(
            grad is not None and output is not None and output.dtype in HALF
            and (recorded or grad._layout.dtype is float32)
            for grad, output in zip(grads, outputs)
        )  # fmt: skip

    def _widen(self, context: Context, grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Half precision in float32, of the context and of the gradients.

        A derivative that is going to be differentiated itself is many operators where the fused kernel of a first
        derivative is one: rounding after each of them would add up.
        """
        for field in context.__slots__:
            setattr(context, field, _wider(getattr(context, field)))
        if self._results is not None:
            field = "results" if type(self._results) is list else "result"
            setattr(context, field, self._again(context) if self._repeatable() else _wider(getattr(context, field)))
        return [_wider(grad) for grad in grads]

    def _repeatable(self) -> bool:
        """Whether the result can be computed again from what was saved; so it need not be the one that was rounded."""
        op = self._operator
        return (
            op.kind == "kernel" and not op.random and None not in self._versions and type(self._results) is not list
            and type(self._outputs) is not tuple
        )  # fmt: skip

    def _again(self, context: Context) -> Any:
        """The result, of the arguments as the context has them."""
        op = self._operator
        fields = [f"{n}_" if hasattr(Context, n) else n for n in op.params]
        result = op.function(**dict(zip(op.params, [getattr(context, field) for field in fields])))
        return _wider(result)

    def _differentiate(
        self, grads: list[Tensor | None], wanted: Sequence[bool] | None, owner: Node
    ) -> Sequence[Tensor | None]:
        return self._apply(grads, wanted, owner)

    def _counts(self) -> list[int]:
        """The number of edges of each tensor parameter."""
        values = self._values
        assert values is not None
        return [len(values[position]) if position in self._lists else 1 for position in self._tensors]

    def _mask_of(self, wanted: Sequence[bool]) -> int:
        mask = start = 0
        for nr, count in enumerate(self._counts()):
            if any(wanted[start : start + count]):
                mask |= 1 << nr
            start += count
        return mask

    def _flatten(self, found: Sequence[Any]) -> list[Tensor | None]:
        """One gradient per edge from one entry per tensor parameter."""
        flat: list[Tensor | None] = []
        for position, count, entry in zip(self._tensors, self._counts(), found):
            if position not in self._lists:
                flat.append(entry)
            else:
                flat.extend([None] * count if entry is None else entry)
        return flat

    def _release(self) -> None:
        versions = self._versions
        if self._results is not None or versions.count(None) != len(versions):
            self._values = None
            self._versions = ()
            self._results = None

    def __getattr__(self, name: str) -> Any:
        """``_saved_NAME`` and ``_raw_saved_NAME`` read an argument or the result as it was saved."""
        raw = name.startswith("_raw_saved_")
        field = name.removeprefix("_raw_saved_" if raw else "_saved_")
        if field != name:
            if self._values is None:
                raise RuntimeError(FREED)
            if field == "result" and self._results is not None and type(self._results) is not list:
                return self._read_result(raw)
            for position in range(len(self._names)):
                if field == self._public_name(position):
                    return self._read_saved(position, raw)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __dir__(self) -> list[str]:
        saved = [
            f"_saved_{self._public_name(position)}"
            for position, version in zip(self._tensors, self._versions)
            if version is not None
        ]
        return [*super().__dir__(), *saved, *(["_saved_result"] if self._results is not None else [])]

    def _public_name(self, position: int) -> str:
        """PyTorch calls the first argument "self" here, whatever the function calls it."""
        name = self._names[position]
        return "self" if position == 0 and name == "input" else name

    def _read_result(self, raw: bool) -> Any:
        if not raw:
            return _unpack_output(self._results, self, 0)
        if type(self._results) is not SavedTensor:
            self._results = SavedTensor(restore_output(self._results, self, 0), True, None)
        return self._results

    def _read_saved(self, position: int, raw: bool) -> Any:
        value = self._values[position]  # type: ignore[index]
        if position not in self._tensors:
            return value
        at = self._tensors.index(position)
        version = self._versions[at]
        if version is None:
            if isinstance(value, Layout):
                raise AttributeError(f"{self.name()} saves no '{self._names[position]}'")
            return value
        if raw and isinstance(value, Tensor):
            value = SavedTensor(value, False, None)
            self._replace(at, value, PACKED)
        return value if raw else _unpack(value, version, self)

    def _replace(self, at: int, value: Any, version: Any) -> None:
        """Another saved value of tensor parameter number ``at``."""
        values, versions = list(self._values), list(self._versions)  # type: ignore[arg-type]
        values[self._tensors[at]] = value
        versions[at] = version
        self._values, self._versions = tuple(values), tuple(versions)


def _wider(value: Any) -> Any:
    """Tensors of half precision, in lists too, as float32."""
    if isinstance(value, Tensor):
        return value._widened() if value._layout.dtype in HALF else value  # type: ignore[attr-defined]
    if isinstance(value, (tuple, list)) and any(isinstance(item, Tensor) for item in value):
        return tuple(_wider(item) for item in value)
    return value


def _unpack(value: Any, version: Any, owner: Node) -> Any:
    """A saved argument: a tensor or a list of them."""
    if isinstance(value, SavedTensor):
        return value.unpack(owner)
    if isinstance(value, tuple):
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


def _take_list(items: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Edge, ...], bool]:
    """A list of tensors: its members, their edges, and whether one of them leads anywhere."""
    edges = tuple(edge_of(item) if isinstance(item, Tensor) else NO_EDGE for item in items)
    return tuple(items), edges, any(edge is not NO_EDGE for edge in edges)


def _keep_list(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """The versions of the members of a list that is saved."""
    return tuple(item._storage.version if isinstance(item, Tensor) else None for item in items)


def _forget_list(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """What stays of a list that is not saved."""
    return tuple(item._layout if isinstance(item, Tensor) else item for item in items)


# The two functions that every recorded call goes through are written out for each operator: the tensor parameters are
# few and known, and a loop over them would cost more than all the rest.

_TAKE = """
    if isinstance({v}, Tensor):
        view = {v}._view
        if view is not None and view.version != {v}._storage.version:
            refresh({v})
        {e} = {v}._node
        if {e} is not None:
            {e} = ({e}, {v}._output_nr)
            mask |= {bit}
        elif {v}._requires_grad:
            {e} = (accumulator({v}), 0)
            mask |= {bit}
        else:
            {e} = NO_EDGE
    else:
        {e} = NO_EDGE
"""


_TAKE_LIST = """
    {v}, {e}, found = take_list({v})
    if found:
        mask |= {bit}
"""


_KEEP = """
    if mask & {rule}:
        {n} = {v}._storage.version if isinstance({v}, Tensor) else None
    else:
        {n} = None
        if isinstance({v}, Tensor):
            {v} = {v}._layout
"""


_KEEP_LIST = """
    if mask & {rule}:
        {n} = keep_list({v})
    else:
        {n} = None
        {v} = forget_list({v})
"""


_MAKE = """
def make(arguments):
    {values} = arguments
    mask = 0
{take}
{keep}
    node = cls()
    node._values = ({values})
    node._versions = ({versions})
    node._mask = mask
    node._results = None
    node._extras = None
    node.next_functions = ({edges})
    node._sequence = number()
    return node
"""


_CHECK = """
    if {n} is not None and ({n} < 0 or {v}._storage.version != {n}):
        {v} = unpack({v}, {n}, owner)
"""


_CHECK_LIST = """
    if {n} is not None:
        {v} = unpack({v}, {n}, owner)
"""


_READ = """
def read(node, context, owner):
    {values} = node._values
    {versions} = node._versions
{check}
{fill}
"""


def _write_out(cls: type[OperatorNode], fields: Sequence[str], rules: Sequence[int]) -> tuple[Any, Any]:
    """The functions ``_make`` and ``_read`` of a class of nodes."""
    take, keep, check = [], [], []
    for nr, (position, rule) in enumerate(zip(cls._tensors, rules)):
        several = position in cls._lists
        names = {"v": f"v{position}", "e": f"e{nr}", "n": f"n{nr}", "bit": 1 << nr, "rule": rule}
        take.append((_TAKE_LIST if several else _TAKE).format(**names))
        keep.append((_KEEP_LIST if several else _KEEP).format(**names))
        if rule:
            check.append((_CHECK_LIST if several else _CHECK).format(**names))
    counted = range(len(cls._tensors))
    text = {
        "values": "".join(f"v{i}, " for i in range(len(fields))),
        "versions": "".join(f"n{nr}, " for nr in counted),
        "edges": "".join(f"{'*' if cls._tensors[nr] in cls._lists else ''}e{nr}, " for nr in counted),
        "take": "".join(take),
        "keep": "".join(keep),
        "check": "".join(check),
        "fill": "\n".join(f"    context.{field} = v{i}" for i, field in enumerate(fields)),
    }
    names = {
        "cls": cls, "Tensor": Tensor, "refresh": refresh, "accumulator": accumulator, "NO_EDGE": NO_EDGE,
        "number": number, "take_list": _take_list, "keep_list": _keep_list, "forget_list": _forget_list,
        "unpack": _unpack,
    }  # fmt: skip
    exec(compile((_MAKE + _READ).format(**text), f"<tape of {cls._operator.name}>", "exec"), names)
    return names["make"], names["read"]


# Where PyTorch's name of a node does not come from the name of the function.
_TITLES = {
    "_contiguous": "Clone", "_pow_number": "Pow", "_pow_tensor": "Pow", "_to_dtype": "ToCopy", "floor_divide": "Div",
    "true_divide": "Div",
}  # fmt: skip


node_classes: dict[Any, type[OperatorNode]] = {}
"""What `node_class` has made, by operator."""


def node_class(op: Any) -> type[OperatorNode]:
    """The class of the nodes of an operator that has a derivative."""
    found = node_classes.get(op)
    if found is not None:
        return found
    derivative = op.derivative
    names, tensors = tuple(op.params), tuple(op.tensors)
    bits = {names[position]: 1 << nr for nr, position in enumerate(tensors)}
    rules, outputs = _rules(op, bits)
    fields = tuple(f"{name}_" if hasattr(Context, name) else name for name in names)
    title = _TITLES.get(op.name) or "".join(part[:1].upper() + part[1:] for part in op.name.split("_"))
    context = type(f"{title}Context", (Context,), {"__slots__": fields, "_operator": op, "_bits": bits})
    members = {
        "__slots__": (),
        "__module__": __name__,
        "_operator": op,
        "_names": names,
        "_tensors": tensors,
        "_lists": frozenset(op.lists),
        "_saved_outputs": outputs,
        "_context": context,
        "_derive": staticmethod(derivative.fn),
    }
    found = type(f"{title}Backward0", (OperatorNode,), members)
    make, read = _write_out(found, fields, rules)
    found._make, found._read = staticmethod(make), read
    node_classes[op] = found
    return found


def _rules(op: Any, bits: dict[str, int]) -> tuple[list[int], tuple[int, ...] | None]:
    """Per tensor parameter the gradients (a mask) for which it is saved, and the outputs that are (None: all)."""
    rules = dict.fromkeys(bits, 0)
    outputs: list[int] = []
    every = False
    for entry in op.derivative.saves:
        name, _, only = entry.partition(":")
        if name in rules:
            rules[name] |= bits[only] if only else ALWAYS
        elif name in ("result", "results"):
            every = True
        elif name.startswith("result") and name[6:].isdigit():
            outputs.append(int(name[6:]))
        else:
            raise ValueError(f"{op.name}: its derivative saves {entry!r}, which is no tensor parameter and no result")
    return list(rules.values()), None if every else tuple(outputs)
