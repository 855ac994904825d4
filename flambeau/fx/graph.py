"""Graphs: a list of nodes, and the Python code that does what they say."""

from __future__ import annotations

import builtins
import enum
import keyword
import math
import operator
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from ..device import device
from ..dtype import dtype
from ..layout import Size
from ..nn.modules.module import Module
from ..ops.convert import memory_format
from ..ops.members import layout
from .node import Argument, Node, Target, map_arg, qualified_name

__all__ = ["CodeGen", "Graph", "PythonCode"]

# How operators are written; all others are called.
_SYMBOLS: dict[Any, str] = {
    **{
        getattr(operator, name): f"{{}} {symbol} {{}}"
        for name, symbol in (
            ("add", "+"), ("sub", "-"), ("mul", "*"), ("truediv", "/"), ("floordiv", "//"), ("mod", "%"), ("pow", "**"),
            ("matmul", "@"), ("eq", "=="), ("ne", "!="), ("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="),
            ("and_", "&"), ("or_", "|"), ("xor", "^"), ("lshift", "<<"), ("rshift", ">>"),
        )
    },
    operator.neg: "-{}",
    operator.pos: "+{}",
    operator.invert: "~{}",
    operator.getitem: "{}[{}]",
}  # fmt: skip
_ILLEGAL = re.compile(r"[^0-9a-zA-Z_]+")
_NUMBERED = re.compile(r"(.*)_(\d+)$")


@dataclass
class PythonCode:
    """The source text of a graph, the objects that it names, and which of its lines come from which node."""

    src: str
    globals: dict[str, Any]
    _lineno_map: dict[int, int | None] | None = None
    _prologue_start: int = -1


class Namespace:
    """Names that are taken; gives every object one of its own."""

    def __init__(self) -> None:
        self._taken: dict[str, Any] = {}
        self._count: dict[str, int] = {}

    def create_name(self, candidate: str, obj: Any = None) -> str:
        """A name like ``candidate`` that nothing else has; the same for the same object."""
        candidate = _ILLEGAL.sub("_", candidate) or "_unnamed"
        if candidate[0].isdigit():
            candidate = "_" + candidate
        match = _NUMBERED.match(candidate)
        base, number = (match[1], int(match[2])) if match else (candidate, None)
        name = candidate
        while name in self._taken or keyword.iskeyword(name) or hasattr(builtins, name):
            number = max(self._count.get(base, 0), number or 0) + 1
            self._count[base] = number
            name = f"{base}_{number}"
        self._taken[name] = obj
        return name


class CodeGen:
    """Writes the function of a graph; subclasses may change its signature and what it returns."""

    def gen_fn_def(self, free_vars: list[str], maybe_return_annotation: str, *, expanded_def: bool = False) -> str:
        """The line that begins the function."""
        names = free_vars if free_vars and free_vars[0] == "self" else ["self", *free_vars]
        if expanded_def:
            return "def forward(\n    " + ",\n    ".join(names) + f",\n){maybe_return_annotation}:"
        return f"def forward({', '.join(names)}){maybe_return_annotation}:"

    def generate_output(self, output_args: Argument, *, descs: Any = None, repr_fn: Callable[[Any], str] = repr) -> str:
        """The line that ends the function."""
        return f"return {repr_fn(output_args)}"

    def process_inputs(self, *args: Any) -> Any:
        """The arguments of a call as the placeholders take them."""
        return args

    def process_outputs(self, outputs: Any) -> Any:
        """The results of the graph as a call returns them."""
        return outputs

    def additional_globals(self) -> list[tuple[str, Any]]:
        """Further names that the function needs."""
        return []


class _InsertPoint(AbstractContextManager[Any]):
    def __init__(self, graph: Graph, insert: Callable[[Node], None]) -> None:
        self.graph, self.before = graph, graph._insert
        graph._insert = insert

    def __exit__(self, *exc: object) -> None:
        self.graph._insert = self.before


class _Writer:
    """Writes the source of one graph, and collects the objects that it names."""

    def __init__(self, root: str, graph: Graph) -> None:
        self.root, self.graph = root, graph
        self.globals: dict[str, Any] = {}
        self.names = Namespace()
        for node in graph.nodes:
            self.names._taken[node.name] = node
        self.names._taken["self"] = None

    def name_of(self, hint: str, obj: Any) -> str:
        """The name of a global object in the text."""
        if getattr(builtins, hint, None) is obj:
            return hint
        for name, known in self.globals.items():
            if known is obj:
                return name
        name = self.names.create_name(hint.replace(".", "_"), obj)
        self.globals[name] = obj
        return name

    def function(self, target: Any) -> str:
        """The text of a function: by its path where that leads to it, so that the code reads well."""
        path = qualified_name(target)
        top, _, rest = path.partition(".")
        module = sys.modules.get("flambeau" if top == "torch" else top)
        found: Any = module
        for part in rest.split(".") if rest else ():
            found = getattr(found, part, None)
        if rest and found is target and module is not None and self.globals.get(top, module) is module:
            self.globals[top] = module
            return path
        return self.name_of(path, target)

    def value(self, a: Argument) -> str:
        """The text of an argument."""
        if isinstance(a, tuple):
            if isinstance(a, Size):
                return f"{self.name_of('torch_Size', Size)}({self.value(list(a))})"
            if hasattr(a, "_fields"):
                return f"{self.name_of(type(a).__name__, type(a))}({', '.join(map(self.value, a))})"
            return "(" + ", ".join(map(self.value, a)) + ("," if len(a) == 1 else "") + ")"
        if isinstance(a, list):
            return "[" + ", ".join(map(self.value, a)) + "]"
        if isinstance(a, dict):
            return "{" + ", ".join(f"{self.value(k)}: {self.value(v)}" for k, v in a.items()) + "}"
        if isinstance(a, slice):
            return f"slice({self.value(a.start)}, {self.value(a.stop)}, {self.value(a.step)})"
        if isinstance(a, Node):
            return repr(a)
        if isinstance(a, (dtype, memory_format, layout)):
            return self.function_path(str(a), a)
        if isinstance(a, device):
            return f"{self.name_of('device', device)}({str(a)!r})"
        if isinstance(a, enum.Enum):
            return f"{self.name_of(type(a).__name__, type(a))}.{a.name}"
        if isinstance(a, float) and not math.isfinite(a):
            return self.name_of(repr(a).replace("-", "minus_"), a)
        if isinstance(a, (str, int, float, complex, bool, type(None))):
            return repr(a)
        if a is Ellipsis:
            return "..."
        if isinstance(a, range):
            return repr(a)
        if callable(a):
            return self.function(a)
        return self.name_of(f"_constant_{type(a).__name__}", a)

    def function_path(self, path: str, obj: Any) -> str:
        """The text of an object that ``torch.NAME`` leads to."""
        self.globals["torch"] = sys.modules["flambeau"]
        return (
            path if getattr(sys.modules["flambeau"], path.partition(".")[2], None) is obj else self.name_of(path, obj)
        )

    def arguments(self, node: Node) -> str:
        return ", ".join([*map(self.value, node.args), *(f"{k} = {self.value(v)}" for k, v in node.kwargs.items())])

    def attribute(self, path: str) -> str:
        """``self.a.b``, with getattr for parts that are no names ("0")."""
        text = self.root
        for part in path.split("."):
            text = f"{text}.{part}" if part.isidentifier() else f'getattr({text}, "{part}")'
        return text

    def line(self, node: Node, parameters: list[str]) -> str | None:
        """The statement of a node; a placeholder adds to the parameters instead."""
        if node.op == "placeholder":
            target = str(node.target)
            default = f" = {self.value(node.args[0])}" if node.args else ""
            raw = target.lstrip("*")
            type_ = "" if node.type is None else f" : {self.value(node.type)}"
            parameters.append(f"{target}{type_}{default}")
            return f"{node.name} = {raw}" if raw != node.name else None
        if node.op == "get_attr":
            return f"{node.name} = {self.attribute(str(node.target))}"
        if node.op == "call_module":
            return f"{node.name} = {self.attribute(str(node.target))}({self.arguments(node)})"
        if node.op == "call_method":
            rest = ", ".join(
                [*map(self.value, node.args[1:]), *(f"{k} = {self.value(v)}" for k, v in node.kwargs.items())]
            )
            return f"{node.name} = {self.value(node.args[0])}.{node.target}({rest})"
        if node.op == "output":
            return self.graph._codegen.generate_output(node.args[0], repr_fn=self.value)
        return f"{node.name} = {self.call(node)}"

    def call(self, node: Node) -> str:
        target: Any = node.target
        if target is getattr and len(node.args) == 2 and isinstance(node.args[1], str) and node.args[1].isidentifier():
            return f"{self.value(node.args[0])}.{node.args[1]}"
        symbol = _SYMBOLS.get(target)
        if symbol is not None and not node.kwargs:
            return symbol.format(*map(self.value, node.args))
        return f"{self.function(target)}({self.arguments(node)})"


class Graph:
    """A list of nodes, in an order in which they can run.

    ``owning_module`` is the module whose attributes and submodules the nodes name; ``tracer_cls`` made the graph.
    """

    def __init__(self, owning_module: Module | None = None, tracer_cls: Any = None, tracer_extras: Any = None) -> None:
        self._root = Node(self, "", "root", "", (), {})
        self._insert: Callable[[Node], None] = self._root.prepend
        self._names = Namespace()
        self._codegen = CodeGen()
        self.owning_module = owning_module
        self._tracer_cls, self._tracer_extras = tracer_cls, tracer_extras
        self._transform: Callable[[Any], Any] | None = None

    # -- looking -------------------------------------------------------------------------------------

    @property
    def nodes(self) -> _NodeList:
        """The nodes, in order; ``len``, iteration and ``reversed`` work, also while nodes are being changed."""
        return _NodeList(self)

    def _position(self, node: Node) -> int:
        return next(i for i, n in enumerate(self.nodes) if n is node)

    def find_nodes(self, *, op: str, target: Target | None = None, sort: bool = True) -> list[Node]:
        """The nodes of a kind, and of a target if one is given."""
        return [n for n in self.nodes if n.op == op and (target is None or n.target == target)]

    def output_node(self) -> Node:
        """The node that returns."""
        return next(n for n in reversed(self.nodes) if n.op == "output")

    # -- making nodes --------------------------------------------------------------------------------

    def create_node(
        self, op: str, target: Target, args: tuple[Argument, ...] | None = None,
        kwargs: dict[str, Argument] | None = None, name: str | None = None, type_expr: Any = None,
    ) -> Node:  # fmt: skip
        """A new node at the point of insertion (the end, unless ``inserting_before`` or ``_after`` says otherwise)."""
        if not isinstance(args or (), tuple):
            raise AssertionError(f"args must be a tuple, got {type(args).__name__}")
        candidate = name if name is not None else self._name_for(op, target)
        node = Node(self, "", op, target, args or (), kwargs or {}, type_expr)
        node.name = self._names.create_name(candidate, node)
        self._insert(node)
        return node

    def _name_for(self, op: str, target: Target) -> str:
        if callable(target):
            name = getattr(target, "__name__", type(target).__name__)
        else:
            name = target.lstrip("*").replace(".", "_")
        if op == "call_method" or op == "call_function":
            name = name.strip("_") or name
        return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower() if op != "placeholder" else name

    def placeholder(self, name: str, type_expr: Any = None, default_value: Any = ...) -> Node:
        """An argument of the graph; ``default_value`` is what it is when a call leaves it out."""
        args = () if default_value is ... else (default_value,)
        return self.create_node("placeholder", name, args=args, type_expr=type_expr)

    def get_attr(self, qualified_name: str, type_expr: Any = None) -> Node:
        """An attribute of the module, by its path."""
        return self.create_node("get_attr", qualified_name, type_expr=type_expr)

    def call_module(
        self, module_name: str, args: tuple[Argument, ...] | None = None, kwargs: dict[str, Argument] | None = None,
        type_expr: Any = None,
    ) -> Node:  # fmt: skip
        """A call of a submodule, by its path."""
        return self.create_node("call_module", module_name, args, kwargs, type_expr=type_expr)

    def call_method(
        self, method_name: str, args: tuple[Argument, ...] | None = None, kwargs: dict[str, Argument] | None = None,
        type_expr: Any = None,
    ) -> Node:  # fmt: skip
        """A call of a method of the first argument."""
        return self.create_node("call_method", method_name, args, kwargs, type_expr=type_expr)

    def call_function(
        self, the_function: Callable[..., Any], args: tuple[Argument, ...] | None = None,
        kwargs: dict[str, Argument] | None = None, type_expr: Any = None, name: str | None = None,
    ) -> Node:  # fmt: skip
        """A call of a function."""
        return self.create_node("call_function", the_function, args, kwargs, name=name, type_expr=type_expr)

    def output(self, result: Argument, type_expr: Any = None) -> Node:
        """The node that returns ``result``."""
        return self.create_node("output", "output", args=(result,), type_expr=type_expr)

    def node_copy(self, node: Node, arg_transform: Callable[[Node], Argument] = lambda x: x) -> Node:
        """A copy of a node of another graph; ``arg_transform`` says which node here stands for one there."""
        args, kwargs = map_arg(node.args, arg_transform), map_arg(node.kwargs, arg_transform)
        made = self.create_node(node.op, node.target, args, dict(kwargs), node.name, node.type)
        made.meta = dict(node.meta)
        return made

    def graph_copy(self, g: Graph, val_map: dict[Node, Argument], return_output_node: bool = False) -> Argument:
        """Copies the nodes of another graph, but those that ``val_map`` has a value for; returns what it returns."""
        for node in g.nodes:
            if node in val_map:
                continue
            if node.op == "output":
                value = map_arg(node.args[0], lambda n: val_map[n])
                return (value, node) if return_output_node else value
            val_map[node] = self.node_copy(node, lambda n: val_map[n])
        return None

    def inserting_before(self, n: Node | None = None) -> AbstractContextManager[Any]:
        """``with graph.inserting_before(n)``: new nodes go in front of ``n``; without one, to the beginning."""
        if n is None:
            return self.inserting_after(self._root)
        if n.graph is not self:
            raise AssertionError("Node to insert before is not in graph.")
        return _InsertPoint(self, n.prepend)

    def inserting_after(self, n: Node | None = None) -> AbstractContextManager[Any]:
        """``with graph.inserting_after(n)``: new nodes go right behind ``n``; without one, to the end."""
        if n is None:
            return _InsertPoint(self, self._root.prepend)
        if n.graph is not self:
            raise AssertionError("Node to insert after is not in graph.")
        return _InsertPoint(self, n.append)

    def erase_node(self, to_erase: Node) -> None:
        """Takes a node away; raises RuntimeError while others read it."""
        if to_erase.users:
            raise RuntimeError(
                f"Tried to erase Node {to_erase} but it still had {len(to_erase.users)} users in the graph: "
                f"{to_erase.users}!"
            )
        if to_erase.graph is not self:
            raise RuntimeError(f"Attempting to remove {to_erase} from wrong graph!")
        to_erase._set((), {})
        to_erase._unlink()
        to_erase._erased = True

    def eliminate_dead_code(self, is_impure_node: Callable[[Node], bool] | None = None) -> bool:
        """Takes away the nodes that nobody reads and that do nothing else; True if there were any."""
        self.lint()
        impure = is_impure_node or Node.is_impure
        changed = False
        for node in reversed(self.nodes):
            if not node.users and not impure(node):
                self.erase_node(node)
                changed = True
        return changed

    def lint(self) -> None:
        """Checks that nodes come before their users, have names of their own, and name what the module has.

        Raises RuntimeError otherwise.
        """
        seen: set[Node] = set()
        names: set[str] = set()
        for node in self.nodes:
            if node.graph is not self:
                raise RuntimeError(f"Node '{node}' does not belong to this Graph!")
            for read in node.all_input_nodes:
                if read not in seen:
                    raise RuntimeError(
                        f"Argument '{read}' of Node '{node}' was used before it has been defined! Please check that "
                        f"Nodes in the graph are topologically ordered\n{self}"
                    )
            if node.name in names:
                raise RuntimeError(f"Node redefined name {node.name}!")
            names.add(node.name)
            seen.add(node)
            if self.owning_module is not None and node.op in ("get_attr", "call_module"):
                self._check_path(node)

    def _check_path(self, node: Node) -> None:
        found: Any = self.owning_module
        for part in str(node.target).split("."):
            if not hasattr(found, part):
                raise RuntimeError(f"Node {node} target {node.target} references nonexistent attribute {part}")
            found = getattr(found, part)
        if node.op == "call_module" and not isinstance(found, Module):
            raise RuntimeError(f"Node {node} target {node.target} does not reference an nn.Module")

    # -- code ----------------------------------------------------------------------------------------

    def python_code(
        self, root_module: str, *, verbose: bool = False, include_stride: bool = False, include_device: bool = False,
        colored: bool = False, expanded_def: bool = False, record_func: bool = False, additional_meta: Any = None,
    ) -> PythonCode:  # fmt: skip
        """The source of a function that does what the graph says, whose first argument is called ``root_module``."""
        writer = _Writer(root_module, self)
        lines: list[str] = []
        parameters: list[str] = []
        left = {node: len(node.users) for node in self.nodes}
        for node in self.nodes:
            line = writer.line(node, parameters)
            done = []
            for read in node.all_input_nodes:
                left[read] -= 1
                if not left[read] and node.op != "output":
                    done.append(read.name)
            if line is None:
                continue
            if done:  # memory goes back as soon as nobody needs it
                line += ";  " + " = ".join(done) + " = None"
            lines.append(line)
        returned = next((n.type for n in self.nodes if n.op == "output"), None)
        annotation = f" -> {writer.value(returned)}" if returned is not None else ""
        for name, value in self._codegen.additional_globals():
            writer.globals[name] = value
        head = self._codegen.gen_fn_def(parameters, annotation, expanded_def=expanded_def)
        body = "\n".join("    " + line for text in lines for line in text.split("\n")) or "    pass"
        return PythonCode(f"\n{head}\n{body}\n", writer.globals)

    def set_codegen(self, codegen: CodeGen) -> None:
        """Sets what writes the function."""
        self._codegen = codegen

    def on_generate_code(
        self, make_transformer: Callable[[Callable[[Any], Any] | None], Callable[[list[str]], list[str]]]
    ) -> AbstractContextManager[Any]:
        """Registers a change of the lines of code; ``with`` it, for the block alone."""
        before = self._transform
        self._transform = make_transformer(before)
        graph = self

        class Restore(AbstractContextManager[Any]):
            def __exit__(self, *exc: object) -> None:
                graph._transform = before

        return Restore()

    def process_inputs(self, *args: Any) -> Any:
        """The arguments of a call as the placeholders take them."""
        return self._codegen.process_inputs(*args)

    def process_outputs(self, out: Any) -> Any:
        """The results of the graph as a call returns them."""
        return self._codegen.process_outputs(out)

    def print_tabular(self) -> None:
        """Prints a table of the nodes."""
        rows = [("opcode", "name", "target", "args", "kwargs")]
        rows += [(n.op, n.name, str(n.target), str(n.args), str(n.kwargs)) for n in self.nodes]
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        rows.insert(1, tuple("-" * w for w in widths))  # type: ignore[arg-type]
        for row in rows:
            print("  ".join(text.ljust(w) for text, w in zip(row, widths)).rstrip())

    def __str__(self) -> str:
        placeholders: list[str] = []
        returned = [""]
        lines = [n.format_node(placeholders, returned) for n in self.nodes]
        text = f"graph(){returned[0]}:"
        return text + "".join("\n    " + line for line in lines if line)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Graph:
        made = Graph(tracer_cls=self._tracer_cls)
        made._codegen = self._codegen
        known: dict[Node, Argument] = {}
        result = made.graph_copy(self, known)
        old = next((n for n in self.nodes if n.op == "output"), None)
        if old is not None:
            made.output(result, old.type).meta = dict(old.meta)
        return made


class _NodeList:
    """The nodes of a graph, in order."""

    def __init__(self, graph: Graph, backwards: bool = False) -> None:
        self.graph, self.backwards = graph, backwards

    def __iter__(self) -> Iterator[Node]:
        root = self.graph._root
        node = root._prev if self.backwards else root._next
        while node is not root:
            if not node._erased:
                yield node
            node = node._prev if self.backwards else node._next

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __reversed__(self) -> _NodeList:
        return _NodeList(self.graph, not self.backwards)
