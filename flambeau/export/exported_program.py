"""``ExportedProgram``: a captured call, with the tensors it needs and what is known of its arguments."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from ..fx.graph import Graph
from ..fx.graph_module import GraphModule
from ..fx.node import Node
from ..nn.modules.module import Module
from ..nn.parameter import Parameter
from ..tensor import Tensor
from ..utils._pytree import TreeSpec, tree_flatten, tree_unflatten
from .graph_signature import ConstantArgument, ExportGraphSignature, InputKind

__all__ = ["ExportedModule", "ExportedProgram", "ValueRanges"]


class ValueRanges(NamedTuple):
    """The sizes that a symbol may be: from ``lower`` to ``upper``."""

    lower: int
    upper: float

    def __repr__(self) -> str:
        return f"VR[{self.lower}, {'int_oo' if self.upper == math.inf else self.upper}]"


class ExportedProgram:
    """A call as a graph.

    ``graph`` takes parameters, buffers, constants and the call's tensors, as ``graph_signature`` says, and needs none
    of the model's Python.  ``state_dict`` and ``constants`` are the tensors, ``range_constraints`` the bounds of the
    sizes that may change.  ``module()`` makes something that can be called.
    """

    def __init__(
        self, graph: Graph, graph_signature: ExportGraphSignature, state_dict: dict[str, Tensor],
        constants: dict[str, Tensor], range_constraints: dict[str, ValueRanges], in_spec: TreeSpec, out_spec: TreeSpec,
        example_inputs: tuple[tuple[Any, ...], dict[str, Any]] | None, names: list[str],
    ) -> None:  # fmt: skip
        self.graph_module = GraphModule(Module(), graph, "GraphModule")
        self.graph_signature, self.state_dict, self.constants = graph_signature, state_dict, constants
        self.range_constraints, self.example_inputs = range_constraints, example_inputs
        self._in_spec, self._out_spec, self._names = in_spec, out_spec, names

    @property
    def graph(self) -> Graph:
        """The graph."""
        found: Graph = self.graph_module.graph
        return found

    @property
    def call_spec(self) -> tuple[TreeSpec, TreeSpec]:
        """The trees of the arguments and of the results."""
        return self._in_spec, self._out_spec

    @property
    def tensor_constants(self) -> dict[str, Tensor]:
        """The constants."""
        return self.constants

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their names."""
        for name in self.graph_signature.parameters:
            yield name, self.state_dict[name]  # type: ignore[misc]

    def parameters(self) -> Iterator[Parameter]:
        """The parameters."""
        for _, p in self.named_parameters():
            yield p

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their names."""
        for name in self.graph_signature.buffers:
            yield name, self.state_dict[name] if name in self.state_dict else self.constants[name]

    def buffers(self) -> Iterator[Tensor]:
        """The buffers."""
        for _, b in self.named_buffers():
            yield b

    def module(self, check_guards: bool = True) -> Module:
        """A module that runs the program on this program's own parameters and buffers.  Arguments are checked first
        (AssertionError) unless ``check_guards`` is False."""
        return ExportedModule(self, check_guards)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "Unable to call ExportedProgram directly. You should use `exported_program.module()` instead."
        )

    def run_decompositions(self, decomp_table: Mapping[Any, Callable[..., Any]] | None = None) -> ExportedProgram:
        """The program with operators replaced by what they are made of.

        ``decomp_table`` maps targets (``torch.ops.aten.NAME.default``) to functions; by default every operator whose
        body is Python that calls other operators is replaced by these.
        """
        assert decompose is not None
        return decompose(self, decomp_table)

    def __str__(self) -> str:
        body = "\n".join(f"        {line}".rstrip() for line in code_text(self.graph))
        signature = str(self.graph_signature)
        return (
            f"ExportedProgram:\n    class GraphModule(torch.nn.Module):\n{body}\n\nGraph signature: \n{signature}\n"
            f"Range constraints: {self.range_constraints}\n"
        )

    __repr__ = __str__


decompose: Callable[..., ExportedProgram] | None = None
"""Traces a program again; set by ``capture``, which needs this file."""


def type_text(node: Node) -> str:
    """The element type and shape of a node's value: "f32[s0, 4]"; "" where there is none."""
    value, shape = node.meta.get("val"), node.meta.get("shape")
    if not isinstance(value, Tensor) or shape is None:
        return ""
    code = {"b1": "b8", "i8": "i8", "u8": "u8"}.get(value._layout.dtype.code, value._layout.dtype.code)
    return f"{code}[{', '.join(map(str, shape))}]"


def code_text(graph: Graph) -> list[str]:
    """The graph as the lines of a function, with types and the user's lines."""
    lines: list[str] = []
    types = {n.name: type_text(n) for n in graph.nodes}
    places = {n.name: n.meta.get("stack_trace", "") for n in graph.nodes}
    before = ""
    for line in graph.python_code("self").src.strip().split("\n"):
        name, equals, rest = line.strip().partition(" = ")
        if line.startswith("def ") or not equals or name not in types:
            if line.startswith("def "):
                inputs = [n.name for n in graph.nodes if n.op == "placeholder"]
                line = (
                    "def forward(self"
                    + "".join(f', {n}: "{types[n]}"' if types[n] else f", {n}" for n in inputs)
                    + "):"
                )
            lines.append(line)
            continue
        if places[name] and places[name] != before:
            before = places[name]
            file, _, code = before.strip().partition("\n")
            lines += ["", f"    # {file.replace('File ', 'File: ')}, code: {code.strip()}"]
        lines.append(f'    {name}: "{types[name]}" = {rest}' if types[name] else f"    {name} = {rest}")
    return lines


class ExportedModule(Module):
    """A module that runs an exported program; parameters and buffers have the names that they had."""

    def __init__(self, program: ExportedProgram, check: bool) -> None:
        super().__init__()
        self._program, self._check = program, check
        for spec in program.graph_signature.input_specs:
            if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER):
                assert spec.target is not None
                found = program.state_dict.get(spec.target, program.constants.get(spec.target))
                self._place(spec.target, found, spec.kind is InputKind.PARAMETER, spec.persistent is not False)

    def _place(self, path: str, value: Any, parameter: bool, persistent: bool) -> None:
        *parents, name = path.split(".")
        at: Module = self
        for part in parents:
            if part not in at._modules:
                at.add_module(part, Module())
            at = at._modules[part]
        if parameter:
            at.register_parameter(name, value)
        else:
            at.register_buffer(name, value, persistent)

    @property
    def graph(self) -> Graph:
        """The graph."""
        return self._program.graph

    @property
    def code(self) -> str:
        """The text of the graph."""
        return "\n".join(code_text(self.graph))

    def print_readable(self, print_output: bool = True, **_: Any) -> str:
        """The text of the graph, printed."""
        if print_output:
            print(self.code)
        return self.code

    def train(self, mode: bool = True) -> Any:
        """Raises NotImplementedError: the mode is part of the program."""
        raise NotImplementedError(
            "Calling train() is not supported yet: the mode was fixed when the program was exported."
        )

    def eval(self) -> Any:
        """Raises NotImplementedError: the mode is part of the program."""
        raise NotImplementedError(
            "Calling eval() is not supported yet: the mode was fixed when the program was exported."
        )

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the program."""
        program = self._program
        names = program._names
        if set(kwargs) <= set(names) and len(args) + len(kwargs) == len(names):
            given = dict(zip(names, args)) | kwargs
            count = len(program._in_spec.child(0).children()) if len(given) == len(names) else len(args)
            values = [given[n] for n in names] if len(given) == len(names) else []
            args, kwargs = tuple(values[:count]), dict(zip(names[count:], values[count:]))
        leaves, spec = tree_flatten((args, kwargs))
        if spec != program._in_spec:
            raise ValueError(f"the arguments are {spec}, but the program was exported for {program._in_spec}")
        if self._check:
            _check_arguments(program, leaves)
        inputs = iter(leaves)
        found = []
        members = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        for s in program.graph_signature.input_specs:
            if s.kind is InputKind.USER_INPUT:
                value = next(inputs)
                if not isinstance(s.arg, ConstantArgument):
                    found.append(value)
            elif s.kind is InputKind.CONSTANT_TENSOR:
                found.append(program.constants[s.target])  # type: ignore[index]
            else:
                found.append(members[s.target])  # type: ignore[index]
        return tree_unflatten(program.graph_module.forward(*found), program._out_spec)


def _check_arguments(program: ExportedProgram, leaves: list[Any]) -> None:
    """Raises AssertionError for arguments that the program was not exported for."""
    sizes: dict[str, int] = {}
    nodes = {n.name: n for n in program.graph.nodes if n.op == "placeholder"}
    specs = [s for s in program.graph_signature.input_specs if s.kind is InputKind.USER_INPUT]
    for spec, value in zip(specs, leaves):
        if isinstance(spec.arg, ConstantArgument):
            if value != spec.arg.value or type(value) is not type(spec.arg.value):
                raise AssertionError(f"Guard failed: {spec.arg.name} == {spec.arg.value!r}, got {value!r}")
            continue
        name, node = spec.arg.name, nodes[spec.arg.name]
        if not isinstance(value, Tensor):
            raise AssertionError(f"Guard failed: {name} is a tensor, got {type(value).__name__}")
        wanted, shape = node.meta["val"], node.meta["shape"]
        if value.dtype is not wanted.dtype:
            raise AssertionError(f"Guard failed: {name}.dtype == {wanted.dtype}, got {value.dtype}")
        if value.ndim != len(shape):
            raise AssertionError(f"Guard failed: {name}.dim() == {len(shape)}, got {value.ndim}")
        for d, (size, want) in enumerate(zip(value.shape, shape)):
            if isinstance(want, str):
                _check_size(program, f"{name}.size()[{d}]", size, want, sizes)
            elif size != want:
                raise AssertionError(f"Guard failed: {name}.size()[{d}] == {want}, got {size}")


def _check_size(program: ExportedProgram, what: str, size: int, want: str, sizes: dict[str, int]) -> None:
    bounds = program.range_constraints[want]
    if size < bounds.lower:
        raise AssertionError(f"Guard failed: {what} >= {bounds.lower}, got {size}")
    if size > bounds.upper:
        raise AssertionError(f"Guard failed: {what} <= {bounds.upper}, got {size}")
    root, factor, offset = _affine(want)
    value, rest = divmod(size - offset, factor)
    if rest or sizes.setdefault(root, value) != value:
        raise AssertionError(
            f"Guard failed: {what} == {want}, got {size}" + (f" with {root} = {sizes[root]}" if root in sizes else "")
        )


def _affine(text: str) -> tuple[str, int, int]:
    """(root, factor, offset) of "2*s0 + 1"."""
    body, sign, offset = text.replace(" - ", " + -").partition(" + ")
    factor, star, root = body.rpartition("*")
    return root, int(factor) if star else 1, int(offset) if sign else 0
