"""Nodes of a graph: one operation each, with the nodes it reads as arguments.

A node knows its neighbours in the graph's order (a ring that starts at the graph's root) and its users, so that edits
are local.
"""

from __future__ import annotations

import builtins
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..device import device
from ..dtype import dtype
from ..tensor import Tensor
from .immutable_collections import immutable_dict, immutable_list

if TYPE_CHECKING:
    from .graph import Graph

__all__ = ["Argument", "Node", "Target", "has_side_effect", "map_aggregate", "map_arg"]

Target = Callable[..., Any] | str
Argument = Any  # a node, a constant, or tuples, lists, dictionaries and slices of these
OPS = ("placeholder", "call_method", "call_module", "call_function", "get_attr", "output", "root")
F = TypeVar("F", bound=Callable[..., Any])

_impure: set[Callable[..., Any]] = {print}


def has_side_effect(fn: F) -> F:
    """Says that calls of ``fn`` must stay, though nobody reads their result; also a decorator."""
    _impure.add(fn)
    return fn


def map_aggregate(a: Argument, fn: Callable[[Argument], Argument]) -> Argument:
    """``a`` with ``fn`` applied to everything in it that is no tuple, list, dictionary or slice."""
    if isinstance(a, tuple):
        items = tuple(map_aggregate(x, fn) for x in a)
        return type(a)(*items) if hasattr(a, "_fields") else items
    if isinstance(a, list):
        return immutable_list([map_aggregate(x, fn) for x in a])
    if isinstance(a, dict):
        return immutable_dict({k: map_aggregate(v, fn) for k, v in a.items()})
    if isinstance(a, slice):
        return slice(map_aggregate(a.start, fn), map_aggregate(a.stop, fn), map_aggregate(a.step, fn))
    return fn(a)


def map_arg(a: Argument, fn: Callable[[Node], Argument]) -> Argument:
    """``a`` with ``fn`` applied to every node in it."""
    return map_aggregate(a, lambda x: fn(x) if isinstance(x, Node) else x)


def _type_name(t: Any) -> str:
    return t.__name__ if isinstance(t, type) else str(t).replace("typing.", "")


def _text(a: Argument) -> str:
    """An argument as the text of a graph shows it."""
    if isinstance(a, Node):
        return f"%{a.name}"
    if isinstance(a, tuple):
        return "(" + ", ".join(map(_text, a)) + ("," if len(a) == 1 else "") + ")"
    if isinstance(a, list):
        return "[" + ", ".join(map(_text, a)) + "]"
    if isinstance(a, dict):
        return "{" + ", ".join(f"{k}: {_text(v)}" for k, v in a.items()) + "}"
    return str(a)


def qualified_name(function: Any) -> str:
    """How a function is called in source text: "torch.add", "operator.add"."""
    if getattr(builtins, getattr(function, "__name__", ""), None) is function:
        return str(function.__name__)
    name = getattr(function, "__name__", type(function).__name__)
    module = getattr(function, "__module__", None) or "torch"
    if module.partition(".")[0] == "flambeau":
        module = "torch" + module[len("flambeau") :]
    return f"{module.replace('_operator', 'operator')}.{name}"


class Node:
    """One operation of a graph.

    ``op`` says what kind: "placeholder" (an argument, named by ``target``), "get_attr" (an attribute of the module),
    "call_function", "call_method" (of its first argument), "call_module", "output".  ``users`` are the nodes that read
    it; ``meta`` is for passes.
    """

    _args: tuple[Argument, ...]
    _kwargs: dict[str, Argument]

    def __init__(
        self, graph: Graph, name: str, op: str, target: Target, args: tuple[Argument, ...],
        kwargs: dict[str, Argument], return_type: Any = None,
    ) -> None:  # fmt: skip
        if op not in OPS:
            raise AssertionError(f"unknown kind of node {op!r}; known are {', '.join(OPS)}")
        if op == "call_function" and not callable(target):
            raise ValueError(f"Node [graph = {graph}, name = '{name}'] target {target} has to be a Callable")
        if op not in ("call_function", "root") and not isinstance(target, str):
            raise ValueError(f"Node [graph = {graph}, name = '{name}'] target {target} has to be a str")
        self.graph, self.name, self.op, self.target, self.type = graph, name, op, target, return_type
        self.users: dict[Node, None] = {}
        self._input_nodes: dict[Node, None] = {}
        self.meta: dict[str, Any] = {}
        self._prev = self._next = self
        self._erased = False
        self._repr_fn: Callable[[Node], str] | None = None
        self._set(tuple(args), dict(kwargs))

    def _set(self, args: tuple[Argument, ...], kwargs: dict[str, Argument]) -> None:
        for old in self._input_nodes:
            old.users.pop(self, None)
        self._input_nodes = {}

        def use(n: Node) -> Node:
            self._input_nodes.setdefault(n)
            n.users.setdefault(self)
            return n

        self._args, self._kwargs = map_arg(args, use), map_arg(kwargs, use)

    @property
    def args(self) -> tuple[Argument, ...]:
        """The positional arguments; setting them keeps the users of all nodes up to date."""
        return self._args

    @args.setter
    def args(self, a: tuple[Argument, ...]) -> None:
        self._set(tuple(a), self._kwargs)

    @property
    def kwargs(self) -> dict[str, Argument]:
        """The named arguments; setting them keeps the users of all nodes up to date."""
        return self._kwargs

    @kwargs.setter
    def kwargs(self, k: dict[str, Argument]) -> None:
        self._set(self._args, dict(k))

    @property
    def all_input_nodes(self) -> list[Node]:
        """The nodes that this one reads, each once, in the order of their first use."""
        return list(self._input_nodes)

    @property
    def next(self) -> Node:
        """The node after this one."""
        return self._next

    @property
    def prev(self) -> Node:
        """The node before this one."""
        return self._prev

    @property
    def stack_trace(self) -> str | None:
        """Where in the program the operation was called, if it was recorded."""
        return self.meta.get("stack_trace")

    @stack_trace.setter
    def stack_trace(self, trace: str | None) -> None:
        self.meta["stack_trace"] = trace

    # -- the order -----------------------------------------------------------------------------------

    def _unlink(self) -> None:
        self._prev._next, self._next._prev = self._next, self._prev

    def prepend(self, x: Node) -> None:
        """Moves ``x`` in front of this node; raises AssertionError for one of another graph."""
        if self.graph is not x.graph:
            raise AssertionError("Attempting to move a Node into a different Graph")
        if self is x:
            return
        x._unlink()
        before = self._prev
        before._next, x._prev, x._next, self._prev = x, before, self, x

    def append(self, x: Node) -> None:
        """Moves ``x`` behind this node."""
        self._next.prepend(x)

    def __lt__(self, other: Node) -> bool:
        return self.graph._position(self) < self.graph._position(other)

    def __gt__(self, other: Node) -> bool:
        return other < self

    def __le__(self, other: Node) -> bool:
        return not other < self

    def __ge__(self, other: Node) -> bool:
        return not self < other

    # -- edits ---------------------------------------------------------------------------------------

    def insert_arg(self, idx: int, arg: Argument) -> None:
        """Inserts a positional argument; raises AssertionError for a place outside."""
        if not 0 <= idx <= len(self._args):
            raise AssertionError("insert_args index must be between 0 and len(self.args)")
        self.args = (*self._args[:idx], arg, *self._args[idx:])

    def update_arg(self, idx: int, arg: Argument) -> None:
        """Replaces a positional argument."""
        args = list(self._args)
        args[idx] = arg
        self.args = tuple(args)

    def update_kwarg(self, key: str, arg: Argument) -> None:
        """Replaces a named argument."""
        self.kwargs = {**self._kwargs, key: arg}

    def replace_input_with(self, old_input: Node, new_input: Node) -> None:
        """Reads ``new_input`` wherever it read ``old_input``."""

        def swap(n: Node) -> Node:
            return new_input if n is old_input else n

        self._set(map_arg(self._args, swap), map_arg(self._kwargs, swap))

    def replace_all_uses_with(
        self, replace_with: Node, delete_user_cb: Callable[[Node], bool] | None = None, *, propagate_meta: bool = False
    ) -> list[Node]:
        """Makes the users of this node (those that ``delete_user_cb`` agrees to) read another; returns them."""
        if propagate_meta:
            if replace_with.meta:
                raise AssertionError("Called node.replace_all_uses_with(replace_with, propagate_meta=True), but "
                                     "replace_with already has .meta keys")  # fmt: skip
            replace_with.meta.update(self.meta)
        changed = [user for user in list(self.users) if delete_user_cb is None or delete_user_cb(user)]
        for user in changed:
            user.replace_input_with(self, replace_with)
        return changed

    # -- questions -----------------------------------------------------------------------------------

    def is_impure(self, impure_random: bool = True) -> bool:
        """Whether the operation does something besides giving a result, so that it must stay when nobody reads it."""
        if self.op in ("placeholder", "output"):
            return True
        if self.op == "call_function":
            name = getattr(self.target, "__name__", "")
            writes = (name.endswith("_") and not name.endswith("__")) or "out" in self._kwargs
            return self.target in _impure or writes or name == "_assert" or name in ("setitem", "iadd", "imul")
        if self.op == "call_method":
            assert isinstance(self.target, str)
            return self.target.endswith("_") and not self.target.endswith("__")
        if self.op == "call_module":
            module = self.graph.owning_module
            if module is None:
                return True
            found = module.get_submodule(self.target)
            return bool(getattr(found, "_is_impure", False))
        return False

    def format_node(
        self, placeholder_names: list[str] | None = None, maybe_return_typename: list[str] | None = None, *,
        include_tensor_metadata: bool = False,
    ) -> str | None:  # fmt: skip
        """A line of text that says what the node does."""
        kind = f"%{self.name} : " + (f"{_type_name(self.type)} " if self.type else "")
        if self.op == "placeholder":
            if placeholder_names is not None:
                placeholder_names.append(self.name + (f": {_type_name(self.type)}" if self.type else ""))
            default = f"(default={self._args[0]})" if self._args else ""
            return f"{kind}[num_users={len(self.users)}] = placeholder[target={self.target}]{default}"
        if self.op == "get_attr":
            return f"{kind}[num_users={len(self.users)}] = get_attr[target={self.target}]"
        if self.op == "output":
            if self.type and maybe_return_typename is not None:
                maybe_return_typename[0] = f" -> {_type_name(self.type)}"
            return f"return {self._args[0]}"
        target = self.target if isinstance(self.target, str) else qualified_name(self.target)
        return (
            f"{kind}[num_users={len(self.users)}] = {self.op}[target={target}]"
            f"(args = {_text(self._args)}, kwargs = {_text(self._kwargs)})"
        )

    def _format_arg(self) -> str:
        return self._repr_fn(self) if self._repr_fn is not None else self.name

    def __repr__(self) -> str:
        return self._format_arg()

    def __reduce__(self) -> Any:
        raise TypeError("a Node cannot be pickled by itself; pickle its graph's GraphModule")


BASE_TYPES = (
    str, int, float, bool, complex, dtype, Tensor, device, types.EllipsisType, range, type(None),
)  # fmt: skip
