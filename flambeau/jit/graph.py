"""Graphs of TorchScript's intermediate representation, and reading them from their text (``ir.py`` has the nodes).

The text is the one that PyTorch prints: ``%3 : Tensor = aten::add(%1, %2, %c)`` lines, blocks indented below the nodes
that own them, ``-> (%v)`` at the end of a block, ``return (%v)`` at the end of the graph.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from .ir import CONSTANT, Block, Node, Value
from .types import from_schema_text

__all__ = ["Graph", "parse_ir"]


class Graph:
    """A program: values given, nodes in order, values returned."""

    def __init__(self) -> None:
        self._count = 0
        self._taken: set[int] = set()
        self._block = Block(self, None)
        self._point: Node | None = None

    def _take_number(self, name: str) -> int:
        if name.isdecimal():
            self._taken.add(int(name))
            return int(name)
        while self._count in self._taken:
            self._count += 1
        self._taken.add(self._count)
        return self._count

    def _all_nodes(self) -> Iterator[Node]:
        yield from self._block._all()
        yield self._block._return

    def _names(self) -> set[str]:
        every = [self._block._param, *self._all_nodes()]
        every += [b._param for n in self._all_nodes() for b in n._blocks]
        return {v.debugName() for n in every for v in n._outputs}

    def block(self) -> Block:
        """The block of the graph itself."""
        return self._block

    def nodes(self) -> Iterator[Node]:
        """The nodes, in order."""
        return self._block.nodes()

    def inputs(self) -> Iterator[Value]:
        """The values given."""
        return self._block.inputs()

    def outputs(self) -> Iterator[Value]:
        """The values returned."""
        return self._block.outputs()

    def param_node(self) -> Node:
        """The node whose outputs are the values given."""
        return self._block.paramNode()

    def return_node(self) -> Node:
        """The node whose inputs are the values returned."""
        return self._block.returnNode()

    def findNode(self, kind: str, recurse: bool = True) -> Node | None:
        """The first node of a kind, or None."""
        return self._block.findNode(kind, recurse)

    def findAllNodes(self, kind: str, recurse: bool = True) -> list[Node]:
        """All nodes of a kind."""
        return self._block.findAllNodes(kind, recurse)

    def addInput(self, name: str = "") -> Value:
        """One more value given."""
        value = self._block.addInputToBlock()
        return value.setDebugName(name) if name else value

    def eraseInput(self, arg0: int, /) -> None:
        """Drops a value given; RuntimeError if it is used."""
        self._block._param.eraseOutput(arg0)

    def registerOutput(self, arg0: Value, /) -> int:
        """One more value returned; its number."""
        return self._block.registerOutput(arg0)

    def eraseOutput(self, arg0: int, /) -> None:
        """Drops a value returned."""
        self._block._return.removeInput(arg0)

    def create(self, kind: str, args: Any = (), num_outputs: int = 1) -> Node:
        """A new node that is in no block yet; ``create(kind, num_outputs)`` has no inputs."""
        if isinstance(args, int):
            args, num_outputs = (), args
        node = Node(self._block, kind, args)
        for _ in range(num_outputs):
            node.addOutput()
        return node

    def appendNode(self, arg0: Node, /) -> Node:
        """Puts a node at the end."""
        self._block._nodes.append(arg0)
        return arg0

    def prependNode(self, arg0: Node, /) -> Node:
        """Puts a node at the beginning."""
        self._block._nodes.insert(0, arg0)
        return arg0

    def setInsertPoint(self, arg0: Node | Block, /) -> None:
        """From now on ``insertNode`` puts nodes in front of a node, or at the end of a block."""
        self._point = arg0.returnNode() if isinstance(arg0, Block) else arg0

    def insertPoint(self) -> Node:
        """The node in front of which ``insertNode`` puts nodes."""
        return self._block._return if self._point is None else self._point

    def insertNode(self, arg0: Node, /) -> Node:
        """Puts a node at the point of insertion."""
        return arg0.insertBefore(self.insertPoint())

    def insertConstant(self, arg0: Any, /) -> Value:
        """A constant at the point of insertion."""
        node = self.create(CONSTANT)
        node._attributes["value"] = arg0
        name = {bool: "bool", int: "int", float: "float", str: "str", type(None): "NoneType"}.get(type(arg0))
        if name is not None:
            node.output().setType(from_schema_text(name))
        return self.insertNode(node).output()

    def copy(self) -> Graph:
        """Another graph with the same text."""
        return parse_ir(str(self))

    def lint(self) -> None:
        """Raises RuntimeError if a node uses a value that is not known where it stands."""

        def check(block: Block, known: set[int]) -> None:
            known = known | {id(v) for v in block._param._outputs}
            for node in [*block._nodes, block._return]:
                for value in node._inputs:
                    if id(value) not in known:
                        raise RuntimeError(f"%{value.debugName()} is used in {node.kind()} and not known there")
                for inner in node._blocks:
                    check(inner, known)
                known |= {id(v) for v in node._outputs}

        check(self._block, set())

    def str(self, arg0: bool = True, /) -> Any:
        """The text."""
        given = ",\n      ".join(v._text() for v in self.inputs())
        body = "".join(f"{line}\n" for line in self._block._lines("  "))
        return f"graph({given}):\n{body}  return ({', '.join('%' + v.debugName() for v in self.outputs())})\n"

    def __repr__(self) -> Any:
        return self.str()

    toString = str


# -- reading -----------------------------------------------------------------------------------------

_NAME = r"%([\w.]+)"
_LINE = re.compile(r"(?P<results>.*?)\s*=\s*(?P<kind>\^?[\w:]+)\s*(?P<rest>[\[(].*)$", re.S)


def parse_ir(input: Any, parse_tensor_constants: bool = False) -> Graph:
    """The graph that a text says.  Raises RuntimeError for what cannot be read, and for values that are not known."""
    if not isinstance(input, str):
        raise TypeError(f"parse_ir(): argument 'input' (position 1) must be str, not {type(input).__name__}")
    return _Reader(input).graph()


class _Reader:
    """Reads the lines of a text one after the other."""

    def __init__(self, text: str) -> None:
        joined: list[str] = []
        for line in text.splitlines():
            line = re.sub(r"\s#(?![^\"]*\"\s*[\])]).*$", "", line).rstrip()
            if not line.strip():
                continue
            if joined and _open(joined[-1]):
                joined[-1] += " " + line.strip()
            else:
                joined.append(line)
        self._lines, self._at = joined, 0
        self._values: dict[str, Value] = {}

    def graph(self) -> Graph:
        head = self._next()
        match = re.fullmatch(r"\s*graph\((.*)\):", head, re.S)
        if match is None:
            self._fail(head)
        graph = Graph()
        self._declare(graph._block._param, match[1])
        self._body(graph._block, 0)
        last = self._next()
        match = re.fullmatch(r"\s*return\s*\((.*)\)", last)
        if match is None:
            self._fail(last)
        graph._block._return._inputs = self._used(match[1])
        return graph

    def _fail(self, line: str) -> Any:
        raise RuntimeError(f"parse_ir: cannot read line {self._at}: {line.strip()!r}")

    def _next(self) -> Any:
        if self._at >= len(self._lines):
            raise RuntimeError("parse_ir: the text ends before the graph does")
        self._at += 1
        return self._lines[self._at - 1]

    def _peek(self) -> str:
        return self._lines[self._at].strip() if self._at < len(self._lines) else ""

    def _declare(self, node: Node, text: str) -> None:
        """Adds the values that "%a : T, %b" names to the outputs of a node."""
        for piece in _split(text):
            match = re.fullmatch(_NAME + r"\s*(?::\s*(.*))?", piece, re.S)
            if match is None:
                self._fail(piece)
            written = (match[2] or "").strip()
            try:
                type_ = from_schema_text(written) if written else None
            except (RuntimeError, ValueError, KeyError):
                type_ = None  # a tensor's with sizes: ``Float(2, 3)``
            value = Value(node, match[1], type_, written if type_ is None else "")
            node._outputs.append(value)
            self._values[match[1]] = value

    def _used(self, text: str) -> list[Value]:
        found = []
        for piece in _split(text):
            name = piece.lstrip("%")
            if name not in self._values:
                raise RuntimeError(f"parse_ir: the value %{name} is used before it is computed (line {self._at})")
            found.append(self._values[name])
        return found

    def _body(self, block: Block, depth: int) -> None:
        while self._at < len(self._lines):
            ahead = self._peek()
            if ahead.startswith(("return", "->", "block")):
                return
            line = self._next().strip()
            match = _LINE.fullmatch(line)
            if match is None:
                self._fail(line)
            node = Node(block, match["kind"])
            rest = match["rest"]
            if rest.startswith("["):
                end = _closing(rest, 0)
                for piece in _split(rest[1:end]):
                    key, _, value = piece.partition("=")
                    node._attributes[key.strip()] = _value(value.strip())
                rest = rest[end + 1 :].strip()
            elif node._kind == CONSTANT:
                node._attributes["value"] = None
            node._inputs = self._used(rest[1 : _closing(rest, 0)])
            self._declare(node, match["results"])
            block._nodes.append(node)
            while self._peek().startswith("block"):
                inner = node.addBlock()
                given = re.fullmatch(r"\s*block\d+\((.*)\):", self._next(), re.S)
                if given is None:
                    self._fail(self._lines[self._at - 1])
                self._declare(inner._param, given[1])
                self._body(inner, depth + 1)
                result = re.fullmatch(r"\s*->\s*\((.*)\)", self._next())
                if result is None:
                    self._fail(self._lines[self._at - 1])
                inner._return._inputs = self._used(result[1])


def _open(text: str) -> bool:
    """Whether a line goes on in the next one."""
    plain = re.sub(r'"(\\.|[^"\\])*"', "", text)
    return plain.count("(") > plain.count(")")


def _closing(text: str, start: int) -> int:
    """Where the bracket at ``start`` closes; -1 if it does not."""
    depth, quoted = 0, False
    for k in range(start, len(text)):
        c = text[k]
        if c == '"' and text[k - 1] != "\\":
            quoted = not quoted
        elif not quoted:
            depth += (c in "([{") - (c in ")]}")
            if not depth:
                return k
    return -1


def _split(text: str) -> list[str]:
    """The pieces between commas that are in no bracket."""
    pieces, depth, start, quoted = [], 0, 0, False
    for k, c in enumerate(text):
        if c == '"' and text[k - 1] != "\\":
            quoted = not quoted
        elif not quoted:
            depth += (c in "([{") - (c in ")]}")
            if c == "," and not depth:
                pieces.append(text[start:k].strip())
                start = k + 1
    return [p for p in (*pieces, text[start:].strip()) if p]


def _value(text: str) -> Any:
    """An attribute: a number, text, or a list of them; other things stay as they are written (``<Tensor>``)."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
