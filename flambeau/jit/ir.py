"""TorchScript's intermediate representation: nodes over values, in blocks (``graph.py`` has whole graphs)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .types import TensorType, Type

if TYPE_CHECKING:
    from .graph import Graph

__all__ = ["CONSTANT", "Block", "Node", "Use", "Value"]

CONSTANT = "prim::Constant"


class Use:
    """One place where a value is used: the node and the number of its input."""

    def __init__(self, user: Node, offset: int) -> None:
        self.user, self.offset = user, offset

    def isAfter(self, arg0: Use, /) -> bool:
        """Whether this place comes later in the graph than another one."""
        order = list(self.user.owningGraph()._all_nodes())
        mine, other = order.index(self.user), order.index(arg0.user)
        return mine > other or (mine == other and self.offset > arg0.offset)

    def __repr__(self) -> str:
        return f"Use(user={self.user.kind()}, offset={self.offset})"


class Value:
    """What a node computes, or a block or graph is given."""

    def __init__(self, node: Node, name: str = "", type_: Type | None = None, written: str = "") -> None:
        self._node, self._name = node, name
        self._type: Type = TensorType.get() if type_ is None else type_
        self._written = written  # a type with sizes, as it was read
        self._number = node.owningGraph()._take_number(name)

    def node(self) -> Node:
        """The node that computes it."""
        return self._node

    def unique(self) -> int:
        """Its number in the graph."""
        return self._number

    def debugName(self) -> str:
        """Its name, without the percent sign."""
        return self._name or str(self._number)

    def setDebugName(self, arg0: str, /) -> Value:
        """Gives it a name; one that is taken gets a number behind it."""
        taken = self._node.owningGraph()._names() - {self.debugName()}
        name, k = arg0, 0
        while name in taken:
            k += 1
            name = f"{arg0.partition('.')[0]}.{k}"
        self._name = name
        return self

    def type(self) -> Type:
        """Its type."""
        return self._type

    def setType(self, arg0: Type, /) -> Value:
        """Gives it a type."""
        self._type, self._written = arg0, ""
        return self

    def setTypeAs(self, arg0: Value, /) -> Value:
        """Gives it the type of another value."""
        self._type, self._written = arg0._type, arg0._written
        return self

    def isCompleteTensor(self) -> bool:
        """Whether its type states the sizes of a tensor."""
        return "(" in self._written

    def offset(self) -> int:
        """The number of the output that it is."""
        return self._node._outputs.index(self)

    def uses(self) -> list[Use]:
        """Where it is used."""
        return [
            Use(node, k)
            for node in self._node.owningGraph()._all_nodes()
            for k, value in enumerate(node._inputs)
            if value is self
        ]

    def replaceAllUsesWith(self, arg0: Value, /) -> None:
        """Puts another value wherever this one is used."""
        for use in self.uses():
            use.user._inputs[use.offset] = arg0

    def replaceAllUsesAfterNodeWith(self, arg0: Node, arg1: Value, /) -> None:
        """Puts another value where this one is used behind a node."""
        order = list(self._node.owningGraph()._all_nodes())
        for use in self.uses():
            if order.index(use.user) > order.index(arg0):
                use.user._inputs[use.offset] = arg1

    def toIValue(self) -> Any:
        """The number, text or list that a constant is; None for other values."""
        return self._node._attributes.get("value") if self._node.kind() == CONSTANT else None

    def requires_grad(self) -> bool:
        """Whether its type says that it requires grad."""
        return "requires_grad=1" in self._written

    requiresGrad = requires_grad

    def copyMetadata(self, arg0: Value, /) -> Value:
        """Takes name and type of another value."""
        return self.setTypeAs(arg0).setDebugName(arg0.debugName())

    def _text(self) -> str:
        return f"%{self.debugName()} : {self._written or self._type}"

    def __repr__(self) -> str:
        return f"{self.debugName()} defined in ({self._node._line()})"


class Block:
    """Nodes in order, with values given and values returned."""

    def __init__(self, graph: Graph | None, owner: Node | None) -> None:
        self._graph, self._owner, self._nodes = graph, owner, []  # type: tuple[Graph | None, Node | None, list[Node]]
        self._param, self._return = Node(self, "prim::Param"), Node(self, "prim::Return")

    def nodes(self) -> Iterator[Node]:
        """The nodes, in order."""
        return iter(list(self._nodes))

    def inputs(self) -> Iterator[Value]:
        """The values given."""
        return self._param.outputs()

    def outputs(self) -> Iterator[Value]:
        """The values returned."""
        return self._return.inputs()

    def paramNode(self) -> Node:
        """The node whose outputs are the values given."""
        return self._param

    def returnNode(self) -> Node:
        """The node whose inputs are the values returned."""
        return self._return

    def owningNode(self) -> Node | None:
        """The node that the block belongs to; None for a graph's own."""
        return self._owner

    def addInputToBlock(self) -> Value:
        """One more value given."""
        return self._param.addOutput()

    def addNode(self, arg0: str, arg1: list[Value], /) -> Node:
        """A new node of a kind with these inputs, at the end."""
        node = Node(self, arg0, arg1)
        node.addOutput()
        self._nodes.append(node)
        return node

    def registerOutput(self, arg0: Value, /) -> int:
        """One more value returned; its number."""
        self._return._inputs.append(arg0)
        return len(self._return._inputs) - 1

    def findNode(self, kind: str, recurse: bool = True) -> Node | None:
        """The first node of a kind, or None."""
        return next(iter(self.findAllNodes(kind, recurse)), None)

    def findAllNodes(self, kind: str, recurse: bool = True) -> list[Node]:
        """All nodes of a kind; ``recurse``: those in blocks of nodes, too."""
        return [n for n in (self._all() if recurse else self._nodes) if n.kind() == kind]

    def _all(self) -> Iterator[Node]:
        for node in self._nodes:
            yield node
            for block in node._blocks:
                yield from block._all()
                yield block._return

    def _lines(self, indent: str) -> Iterator[str]:
        for node in self._nodes:
            yield f"{indent}{node._line()}"
            for k, block in enumerate(node._blocks):
                given = ", ".join(v._text() for v in block.inputs())
                yield f"{indent}  block{k}({given}):"
                yield from block._lines(indent + "    ")
                yield f"{indent}    -> ({', '.join('%' + v.debugName() for v in block.outputs())})"


def _attribute(kinds: Any, title: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def read(self: Node, arg0: str, /) -> Any:
        if arg0 not in self._attributes:
            raise IndexError(f"{self.kind()} has no attribute '{arg0}', only {sorted(self._attributes)}")
        value = self._attributes[arg0]
        if not isinstance(value, kinds) or (kinds is int and isinstance(value, bool)):
            raise RuntimeError(f"the attribute '{arg0}' of {self.kind()} is not {title}: {value!r}")
        return value

    def write(self: Node, arg0: str, arg1: Any, /) -> Node:
        self._attributes[arg0] = arg1
        return self

    read.__doc__, write.__doc__ = f"An attribute that is {title}.", f"Sets an attribute to {title}."
    return read, write


class Node:
    """One operation: its kind (``aten::add``), inputs, outputs, attributes and blocks."""

    def __init__(self, block: Block, kind: str, inputs: Any = ()) -> None:
        self._block: Block | None = block
        self._home = block  # whose graph numbers its values
        self._kind, self._inputs = kind, list(inputs)
        self._outputs: list[Value] = []
        self._attributes: dict[str, Any] = {}
        self._blocks: list[Block] = []

    def kind(self) -> str:
        """What it does: "aten::add"."""
        return self._kind

    def owningGraph(self) -> Graph:
        """The graph it belongs to."""
        block = self._home
        while block._owner is not None:
            block = block._owner._home
        assert block._graph is not None
        return block._graph

    def owningBlock(self) -> Block:
        """The block it is in."""
        return self._home

    def inputs(self) -> Iterator[Value]:
        """The values it uses."""
        return iter(list(self._inputs))

    def outputs(self) -> Iterator[Value]:
        """The values it computes."""
        return iter(list(self._outputs))

    def inputsSize(self) -> int:
        """How many values it uses."""
        return len(self._inputs)

    def outputsSize(self) -> int:
        """How many values it computes."""
        return len(self._outputs)

    def output(self) -> Value:
        """The only value it computes; RuntimeError if there is not one."""
        return self._only(self._outputs, "output")

    def input(self) -> Value:
        """The only value it uses; RuntimeError if there is not one."""
        return self._only(self._inputs, "input")

    def _only(self, values: list[Value], what: str) -> Value:
        if len(values) != 1:
            raise RuntimeError(f"{self._kind} has {len(values)} {what}s, not one")
        return values[0]

    def inputsAt(self, arg0: int, /) -> Value:
        """One of the values it uses."""
        return self._inputs[arg0]

    def outputsAt(self, arg0: int, /) -> Value:
        """One of the values it computes."""
        return self._outputs[arg0]

    def blocks(self) -> Iterator[Block]:
        """The blocks it owns."""
        return iter(list(self._blocks))

    def addBlock(self) -> Block:
        """One more block."""
        self._blocks.append(Block(None, self))
        return self._blocks[-1]

    def addInput(self, arg0: Value, /) -> Value:
        """One more value to use."""
        self._inputs.append(arg0)
        return arg0

    def addOutput(self) -> Value:
        """One more value to compute."""
        self._outputs.append(Value(self))
        return self._outputs[-1]

    def eraseOutput(self, arg0: int, /) -> None:
        """Drops a value that is computed; RuntimeError if it is used."""
        if self._outputs[arg0].uses():
            raise RuntimeError(f"output {arg0} of {self._kind} is used and cannot be erased")
        del self._outputs[arg0]

    def replaceInput(self, arg0: int, arg1: Value, /) -> Value:
        """Uses another value in the place of one, which is returned."""
        old, self._inputs[arg0] = self._inputs[arg0], arg1
        return old

    def replaceInputWith(self, arg0: Value, arg1: Value, /) -> None:
        """Uses another value wherever it uses one."""
        self._inputs = [arg1 if v is arg0 else v for v in self._inputs]

    def removeInput(self, arg0: int, /) -> None:
        """Uses a value no longer."""
        del self._inputs[arg0]

    def removeAllInputs(self) -> None:
        """Uses no value any longer."""
        self._inputs.clear()

    def replaceAllUsesWith(self, arg0: Node, /) -> None:
        """Puts the outputs of another node wherever its own are used."""
        for mine, other in zip(self._outputs, arg0._outputs):
            mine.replaceAllUsesWith(other)

    def insertBefore(self, arg0: Node, /) -> Node:
        """Puts the node, which is in no block yet, in front of another one."""
        return self._put(arg0, 0)

    def insertAfter(self, arg0: Node, /) -> Node:
        """Puts the node, which is in no block yet, behind another one."""
        return self._put(arg0, 1)

    def _put(self, other: Node, behind: int) -> Node:
        block = other._home
        at = block._nodes.index(other) + behind if other in block._nodes else len(block._nodes)
        block._nodes.insert(at, self)
        self._block = self._home = block
        return self

    def moveBefore(self, arg0: Node, /) -> None:
        """Moves it in front of another node."""
        self._home._nodes.remove(self)
        self._put(arg0, 0)

    def moveAfter(self, arg0: Node, /) -> None:
        """Moves it behind another node."""
        self._home._nodes.remove(self)
        self._put(arg0, 1)

    def destroy(self) -> None:
        """Takes it out of its block; RuntimeError if a value it computes is used."""
        if any(v.uses() for v in self._outputs):
            raise RuntimeError(f"{self._kind} computes a value that is used and cannot be destroyed")
        self._home._nodes.remove(self)

    def hasAttribute(self, arg0: str, /) -> bool:
        """Whether it has an attribute."""
        return arg0 in self._attributes

    def hasAttributes(self) -> bool:
        """Whether it has any attribute."""
        return bool(self._attributes)

    def attributeNames(self) -> list[str]:
        """The names of its attributes."""
        return list(self._attributes)

    def removeAttribute(self, arg0: str, /) -> Node:
        """Drops an attribute."""
        del self._attributes[arg0]
        return self

    def copyAttributes(self, arg0: Node, /) -> Node:
        """Takes the attributes of another node."""
        self._attributes = dict(arg0._attributes)
        return self

    def kindOf(self, arg0: str, /) -> str:
        """What kind of value an attribute is: "i", "f", "s", or "is" and so on for lists."""
        value = self._attributes[arg0]
        if isinstance(value, list):
            return _letter(value[0] if value else 0) + "s"
        return _letter(value)

    i, i_ = _attribute(int, "an integer")
    f, f_ = _attribute(float, "a number")
    s, s_ = _attribute(str, "text")
    c, c_ = _attribute(complex, "a complex number")
    is_, is__ = _attribute(list, "a list of integers")
    fs, fs_ = _attribute(list, "a list of numbers")
    ss, ss_ = _attribute(list, "a list of texts")

    def findNode(self, kind: str, recurse: bool = True) -> Node | None:
        """The first node of a kind in its blocks, or None."""
        return next(iter(self.findAllNodes(kind, recurse)), None)

    def findAllNodes(self, kind: str, recurse: bool = True) -> list[Node]:
        """The nodes of a kind in its blocks."""
        return [n for block in self._blocks for n in block.findAllNodes(kind, recurse)]

    def mustBeNone(self) -> bool:
        """Whether it is the constant None."""
        return self._kind == CONSTANT and self._attributes.get("value") is None

    def _line(self) -> str:
        results = ", ".join(v._text() for v in self._outputs)
        inside = ", ".join(f"{k}={_literal(v)}" for k, v in self._attributes.items() if v is not None)
        attributes = f"[{inside}]" if inside else ""
        return f"{results} = {self._kind}{attributes}({', '.join('%' + v.debugName() for v in self._inputs)})"

    def __repr__(self) -> str:
        return self._line()


setattr(Node, "is", Node.is_)  # names that Python keeps for itself


def _letter(value: Any) -> str:
    return {bool: "i", int: "i", float: "f", str: "s", complex: "c"}.get(type(value), "t")


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, float) and value == int(value) and abs(value) < 1e15:
        return f"{value:.0f}."
    return str(int(value) if isinstance(value, bool) else value)
