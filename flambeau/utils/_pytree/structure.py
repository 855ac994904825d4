"""What is a leaf, and the structure of a tree."""

from __future__ import annotations

from collections import defaultdict, deque, namedtuple
from collections.abc import Iterable, Iterator
from typing import Any

from .containers import STANDARD_DICT_TYPES, is_namedtuple_class
from .registry import SUPPORTED_NODES, Context, IsLeaf, PyTree

__all__: list[str] = []


def _get_node_type(tree: Any) -> Any:
    """What a tree's node is registered as: its class, or ``namedtuple`` for all of these."""
    kind = type(tree)
    return namedtuple if kind not in SUPPORTED_NODES and is_namedtuple_class(kind) else kind


def tree_is_leaf(tree: PyTree, is_leaf: IsLeaf = None) -> bool:
    """Whether a tree is only a leaf."""
    return (is_leaf is not None and is_leaf(tree)) or _get_node_type(tree) not in SUPPORTED_NODES


# -- structure -------------------------------------------------------------------------------------
class TreeSpec:
    """The structure of a tree: the type of its root (None for a leaf), its context, and the structures of children.

    Structures compare and hash by all three; a context that cannot be hashed counts as its text.
    """

    __slots__ = ("_children", "_context", "_type", "num_children", "num_leaves", "num_nodes")

    def __init__(self, type: Any, context: Context = None, children_specs: Iterable[TreeSpec] = ()) -> None:
        self._type = type
        self._context = context
        self._children: list[TreeSpec] = list(children_specs)
        self.num_children = len(self._children)
        self.num_nodes = 1 + sum(child.num_nodes for child in self._children)
        self.num_leaves = 1 if type is None else sum(child.num_leaves for child in self._children)

    @property
    def type(self) -> Any:
        """The type of the root; None for a leaf."""
        return self._type

    @property
    def context(self) -> Context:
        """What besides its children makes the root."""
        return self._context

    @property
    def children_specs(self) -> list[TreeSpec]:
        """The structures of the children."""
        return self._children

    def children(self) -> list[TreeSpec]:
        """The structures of the children."""
        return list(self._children)

    def child(self, index: int) -> TreeSpec:
        """The structure of one child."""
        return self._children[index]

    def is_leaf(self) -> bool:
        """Whether the tree is only a leaf."""
        return self.num_nodes == 1 and self.num_leaves == 1

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, TreeSpec):
            return NotImplemented
        return self._type == other._type and self._context == other._context and self._children == other._children

    def __hash__(self) -> int:
        try:
            context = hash(self._context)
        except TypeError:
            context = hash(repr(self._context))
        return hash((self._type, context, tuple(self._children)))

    def __repr__(self, indent: int = 0) -> str:
        if self._type is None:
            return "*"
        inner = indent + 2
        children = (",\n" + " " * inner).join(child.__repr__(inner) for child in self._children)
        return f"TreeSpec({self._type.__name__}, {self._context}, [{children}])"

    def __reduce__(self) -> tuple[Any, ...]:
        return (TreeSpec, (self._type, self._context, self._children))

    def flatten_up_to(self, tree: PyTree) -> list[PyTree]:
        """The subtrees of a tree where this structure has leaves.

        Raises:
            ValueError: the tree's upper part has another structure.
        """
        found: list[PyTree] = []
        self._match(tree, found)
        return found

    def _match(self, tree: PyTree, found: list[PyTree]) -> None:
        if self._type is None:
            found.append(tree)
            return
        for spec, child in zip(self._children, self._children_of(tree)):
            spec._match(child, found)

    def _children_of(self, tree: PyTree) -> list[PyTree]:
        """The children of a node, in the order of this structure's; raises ValueError if it is another kind of node."""
        kind = _get_node_type(tree)
        # Dictionaries of any kind match each other by their keys.
        both_dicts = self._type in STANDARD_DICT_TYPES and kind in STANDARD_DICT_TYPES
        if kind != self._type and not both_dicts:
            raise ValueError(f"Node type mismatch; expected {self._type!r}, but got {type(tree)!r}.")
        if self._type in STANDARD_DICT_TYPES:
            keys = self._context[1] if self._type is defaultdict else self._context
            if len(tree) != len(keys) or set(tree) != set(keys):
                raise ValueError(
                    f"Node keys mismatch; missing key(s): {set(keys) - set(tree)}; "
                    f"extra key(s): {set(tree) - set(keys)}."
                )
            children = [tree[key] for key in keys]
        else:
            children, context = SUPPORTED_NODES[kind].flatten_fn(tree)
            if len(children) != self.num_children:
                raise ValueError(f"Node arity mismatch; expected {self.num_children}, but got {len(children)}.")
            if context != self._context and self._type is not deque:
                raise ValueError(
                    f"Node context mismatch for custom node type {self._type!r}; expected {self._context!r}, but got "
                    f"{context!r}."
                )
        return children

    def unflatten(self, leaves: Iterable[Any]) -> PyTree:
        """The tree of this structure with these leaves; raises ValueError for the wrong number of them."""
        leaves = list(leaves)
        if len(leaves) != self.num_leaves:
            raise ValueError(
                f"treespec.unflatten(leaves): `leaves` has length {len(leaves)} but the spec refers to a pytree that "
                f"holds {self.num_leaves} items ({self})."
            )
        return self._build(iter(leaves))

    def _build(self, leaves: Iterator[Any]) -> PyTree:
        if self._type is None:
            return next(leaves)
        return SUPPORTED_NODES[self._type].unflatten_fn(
            [child._build(leaves) for child in self._children], self._context
        )


PyTreeSpec = TreeSpec


class LeafSpec(TreeSpec):
    """The structure of a leaf."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(None)


_LEAF_SPEC = LeafSpec()
