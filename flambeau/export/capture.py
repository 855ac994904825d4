"""``export``: one call of a module, run without memory, as an ``ExportedProgram``."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import compiler
from ..deferred.deferral import deferral
from ..dispatch.operator import Operator
from ..errors import Unsupported
from ..fx.graph_module import GraphModule
from ..fx.interpreter import Interpreter
from ..fx.node import Node
from ..nn.modules.module import Module
from ..tensor import Tensor
from ..utils._pytree import tree_flatten, tree_unflatten
from . import exported_program
from .dynamic_shapes import DerivedDim, Hint, specified
from .exported_program import ExportedProgram, ValueRanges
from .graph_signature import (
    ConstantArgument,
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    SymIntArgument,
    TensorArgument,
)
from .symbol import Symbolic
from .targets import FACTORIES
from .trace import Specialize, Symbol, Traced, Tracer, as_from, traced_call, tracing

__all__ = ["export"]

_PROBES = 4
_CONSTANT = (int, float, str, bool, type(None))


def export(
    mod: Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None, *, dynamic_shapes: Any = None,
    strict: bool = False, preserve_module_call_signature: tuple[str, ...] = (),
    prefer_deferred_runtime_asserts_over_guards: bool = False,
) -> ExportedProgram:  # fmt: skip
    """Captures what a module does in one call as a graph that runs without the module's Python.

    ``dynamic_shapes`` says which sizes may change (a tree like the arguments of ``Dim``, or a dictionary by parameter
    name); all others are fixed.  The call runs on tensors without memory, for several choices of these sizes: what
    the program decides by a size must come out the same for all, and becomes a check.  Branches by values of
    tensors cannot be captured.

    ``strict``, ``preserve_module_call_signature`` and ``prefer_deferred_runtime_asserts_over_guards`` are accepted for
    programs written for PyTorch.  Raises ValueError for what is no module, RuntimeError (``Unsupported``) with the
    user's file and line for what cannot be captured.
    """
    if not isinstance(mod, Module):
        raise ValueError(f"export: Expected `mod` to be an instance of `torch.nn.Module`, got {type(mod).__name__}.")
    if not isinstance(args, tuple):
        raise ValueError(
            f"export: Expecting `args` to be a tuple of example positional inputs, got {type(args).__name__}"
        )
    kwargs = dict(kwargs or {})
    names = _names(mod.forward, args, kwargs)
    wanted = specified(names, args, kwargs, dynamic_shapes)
    leaves, in_spec = tree_flatten((args, kwargs))
    fixed: set[tuple[int, int]] = set()
    while True:
        symbols, shapes = _symbols(leaves, wanted, fixed)
        try:
            program = _captured(mod, names, leaves, in_spec, symbols, shapes, None)
        except Specialize as found:
            auto = {(i, d) for i, dims in shapes.items() for d, s in dims.items() if s[0] in found.symbols}
            fixed |= auto
            continue
        program.example_inputs = (args, kwargs)
        return program


def _names(forward: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> list[str]:
    """A name for each argument of the call."""
    names = []
    parameters = [p for p in inspect.signature(forward).parameters.values() if p.kind is not p.KEYWORD_ONLY]
    for k in range(len(args)):
        p = parameters[min(k, len(parameters) - 1)] if parameters else None
        variadic = p is not None and p.kind is p.VAR_POSITIONAL
        names.append(
            f"{p.name}_{k - len(parameters) + 1}" if p is not None and variadic else p.name if p else f"arg_{k}"
        )
    return [*names, *kwargs]


# -- sizes that may change -----------------------------------------------------------------------------

_Dims = dict[int, tuple[Symbol, int, int]]  # by dimension: symbol, factor, offset


def _symbols(
    leaves: Sequence[Any], wanted: Sequence[dict[int, Any]], fixed: set[tuple[int, int]]
) -> tuple[list[Symbol], dict[int, _Dims]]:
    """(the symbols, for each leaf with any the sizes that are functions of one)"""
    known: dict[str, Symbol] = {}
    unnamed: list[Symbol] = []
    found: dict[int, _Dims] = {}
    for i, (leaf, dims) in enumerate(zip(leaves, wanted)):
        for d, dim in dims.items():
            size = int(leaf.shape[d])
            if (i, d) in fixed:
                continue
            if isinstance(dim, Hint):
                if size < 2:
                    continue
                # Sizes without a name that are the same in the example are taken for the same, as in PyTorch.
                same = next((s for s in unnamed if s.values[0] == size), None)
                if same is None:
                    name = f"s{len(known)}"
                    same = known[name] = _symbol(name, size, 0, None, len(known), True)
                    unnamed.append(same)
                same.auto &= dim is Hint.AUTO
                found.setdefault(i, {})[d] = (same, 1, 0)
                continue
            root, factor, offset = (dim.root, dim.factor, dim.offset) if isinstance(dim, DerivedDim) else (dim, 1, 0)
            hint, rest = divmod(size - offset, factor)
            if rest or hint < root.min or (root.max is not None and hint > root.max):
                raise Unsupported(
                    f"export: argument {i} has size {size} in dimension {d}, which {dim!r} cannot be: {dim.__name__} "
                    f"with {root.__name__} from {root.min} to {'infinity' if root.max is None else root.max}"
                )
            symbol = known.get(root.__name__)
            if symbol is None:
                symbol = known[root.__name__] = _symbol(root.__name__, hint, root.min, root.max, len(known), False)
            elif symbol.values[0] != hint:
                raise Unsupported(
                    f"export: Dim {root.__name__!r} is {symbol.values[0]} in one argument and {hint} in another "
                    f"(argument {i}, dimension {d}); the example's sizes must agree"
                )
            found.setdefault(i, {})[d] = (symbol, factor, offset)
    return list(known.values()), found


def _symbol(name: str, hint: int, low: int, high: int | None, number: int, auto: bool) -> Symbol:
    """A symbol whose probes are its size in the example, its bounds, and sizes that share no factor with others.

    0 and 1 are not among them, as in PyTorch: dimensions of size 1 are broadcast.
    """
    least = max(low, 2)
    most = high if high is not None else 16 * hint + 10_007 + 2 * number
    between = least + (most - least) * (number + 2) // (number + 5)
    values = [hint, most - number if most - number > least else most, least + number, between | 1]
    values = [min(max(v, least), most) for v in values]
    return Symbol(name, low, high, values[:_PROBES], auto)


# -- capturing -----------------------------------------------------------------------------------------


def _captured(
    mod: Any, names: Sequence[str], leaves: list[Any], in_spec: Any, symbols: list[Symbol], shapes: dict[int, _Dims],
    decompose: Callable[[Operator], Any] | None, call: Callable[..., Any] | None = None,
) -> ExportedProgram:  # fmt: skip
    tracer = Tracer(symbols, decompose)
    deferral().flush()
    specs: list[InputSpec] = []
    state: dict[str, Tensor] = {}
    constants: dict[str, Tensor] = {}
    with tracing(tracer), _Members(mod, tracer, specs, state, constants) as members:
        values: list[Any] = []
        inputs: list[InputSpec] = []
        for i, (leaf, path) in enumerate(zip(leaves, _paths(names, in_spec))):
            if isinstance(leaf, Tensor):
                traced = tracer.placeholder(path, _probe_shapes(leaf, shapes.get(i, {}), tracer.probes), leaf)
                tracer.first_input = tracer.first_input or traced._fx
                inputs.append(InputSpec(InputKind.USER_INPUT, TensorArgument(traced._fx.name)))
                values.append(traced)
            elif isinstance(leaf, _CONSTANT):
                inputs.append(InputSpec(InputKind.USER_INPUT, ConstantArgument(path, leaf)))
                values.append(leaf)
            else:
                raise Unsupported(
                    f"export: argument {path} is a {type(leaf).__name__}; tensors and numbers can be exported"
                )
        args, kwargs = tree_unflatten(values, in_spec)
        result = (call or mod)(*args, **kwargs)
        members.write_back()
        outputs, out_spec = tree_flatten(result)
        returned = [_output(tracer, o) for o in outputs]
    tracer.graph.output(tuple(node for node, _ in returned))
    lifted = [InputSpec(InputKind.CONSTANT_TENSOR, TensorArgument(name), name) for name in tracer.constants]
    constants.update(tracer.constants)
    signature = ExportGraphSignature([*specs, *lifted, *inputs], [spec for _, spec in returned])
    ranges = _ranges(symbols, shapes)
    return ExportedProgram(tracer.graph, signature, state, constants, ranges, in_spec, out_spec, None, list(names))


def _ranges(symbols: list[Symbol], shapes: dict[int, _Dims]) -> dict[str, ValueRanges]:
    """The bounds of the symbols, and of the sizes that are made of them."""
    found = {s.name: ValueRanges(s.low, math.inf if s.high is None else s.high) for s in symbols}
    for dims in shapes.values():
        for s, factor, offset in dims.values():
            if (factor, offset) != (1, 0):
                text = (f"{factor}*" if factor != 1 else "") + s.name
                text += f" + {offset}" if offset > 0 else f" - {-offset}" if offset else ""
                high = math.inf if s.high is None else factor * s.high + offset
                found[text] = ValueRanges(factor * s.low + offset, high)
    return found


def _probe_shapes(leaf: Tensor, dims: _Dims, probes: int) -> list[tuple[int, ...]]:
    shapes = [list(leaf.shape) for _ in range(probes)]
    for d, (symbol, factor, offset) in dims.items():
        for k, shape in enumerate(shapes):
            shape[d] = factor * symbol.values[k] + offset
    return [tuple(shape) for shape in shapes]


def _paths(names: Sequence[str], in_spec: Any) -> list[str]:
    """A name for every leaf of the arguments."""
    positional, named = in_spec.children()
    found = []
    for name, spec in zip(names, [*positional.children(), *named.children()]):
        count = spec.num_leaves
        found += [name] if spec.is_leaf() else [f"{name}_{k}" for k in range(count)]
    return found


def _output(tracer: Tracer, value: Any) -> tuple[Any, OutputSpec]:
    if isinstance(value, Traced):
        return value._fx, OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(value._fx.name))
    if isinstance(value, Symbolic):
        return value.node, OutputSpec(OutputKind.USER_OUTPUT, SymIntArgument(value.node.name))
    if isinstance(value, Tensor):
        node = tracer.constant(value)
        return node, OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(node.name))
    if isinstance(value, _CONSTANT):
        return value, OutputSpec(OutputKind.USER_OUTPUT, ConstantArgument("", value))
    raise Unsupported(f"export: the result contains a {type(value).__name__}; tensors and numbers can be exported")


class _Members:
    """Puts traced tensors in the place of a module's parameters and buffers while it is being captured."""

    def __init__(
        self, mod: Any, tracer: Tracer, specs: list[InputSpec], state: dict[str, Tensor], constants: dict[str, Tensor]
    ) -> None:
        self.tracer, self.specs, self.state, self.constants = tracer, specs, state, constants
        self.modules = list(mod.named_modules()) if isinstance(mod, Module) else []
        self.saved: list[tuple[dict[str, Any], str, Any, Any]] = []

    def __enter__(self) -> _Members:
        known: dict[int, Traced] = {}
        for prefix, module in self.modules:  # in the order of a state dictionary
            lasting = {k: b for k, b in module._buffers.items() if k not in module._non_persistent_buffers_set}
            for name, t in (*module._parameters.items(), *lasting.items()):
                if t is not None:
                    self.state[f"{prefix}.{name}" if prefix else name] = t
        for kind in (InputKind.PARAMETER, InputKind.BUFFER):
            for prefix, module in self.modules:
                table = module._parameters if kind is InputKind.PARAMETER else module._buffers
                for name, t in table.items():
                    if t is None:
                        continue
                    path = f"{prefix}.{name}" if prefix else name
                    persistent = name not in module._non_persistent_buffers_set
                    if id(t) not in known:
                        known[id(t)] = self._traced(kind, path, t, persistent)
                    self.saved.append((table, name, t, known[id(t)]))
        for table, name, _, traced in self.saved:
            table[name] = traced
        return self

    def _traced(self, kind: InputKind, path: str, t: Tensor, persistent: bool) -> Traced:
        prefix = "p" if kind is InputKind.PARAMETER else "b"
        traced = self.tracer.placeholder(f"{prefix}_{path.replace('.', '_')}", [t.shape] * self.tracer.probes, t)
        keep = None if kind is InputKind.PARAMETER else persistent
        self.specs.append(InputSpec(kind, TensorArgument(traced._fx.name), path, keep))
        if keep is False:
            self.constants[path] = t
        return traced

    def write_back(self) -> None:
        """Buffers that the call has replaced are written in the program."""
        for table, name, _, traced in self.saved:
            now = table.get(name)
            if now is not traced and isinstance(now, Tensor):
                traced.copy_(now)

    def __exit__(self, *error: object) -> None:
        for table, name, t, _ in self.saved:
            table[name] = t


# -- again ---------------------------------------------------------------------------------------------


def _decomposed(program: ExportedProgram, table: Mapping[Any, Callable[..., Any]] | None) -> ExportedProgram:
    """See ``ExportedProgram.run_decompositions``: the graph runs again and is captured anew."""
    by_name = {getattr(t, "__name__", str(t)).partition(".")[0]: fn for t, fn in (table or {}).items()}

    def body(op: Operator) -> Callable[..., Any] | None:
        if table is not None:
            return by_name.get(op.name)
        if op.kind != "composite" or op._derivative is not None:
            return None

        def run(*args: Any, **kwargs: Any) -> Any:
            bound = op.signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return op.body(*bound.args, **bound.kwargs)

        return run

    nodes = {n.name: n for n in program.graph.nodes if n.op == "placeholder"}
    symbols, shapes = _symbols_of(program, nodes)
    module = program.module(check_guards=False)
    inputs = [s for s in program.graph_signature.input_specs if s.kind is InputKind.USER_INPUT]
    leaves = [s.arg.value if isinstance(s.arg, ConstantArgument) else nodes[s.arg.name].meta["val"] for s in inputs]
    runner = _Again(program.graph_module)

    def call(*args: Any, **kwargs: Any) -> Any:
        given = iter(tree_flatten((args, kwargs))[0])
        found = [_lookup(module, program, s, given) for s in program.graph_signature.input_specs]
        return tree_unflatten(runner.run(*[f for f in found if f is not _NOTHING]), program._out_spec)

    return _captured(module, program._names, leaves, program._in_spec, symbols, shapes, body, call)


class _Again(Interpreter):
    """Runs a graph on traced tensors; functions that make tensors are traced too."""

    def run_node(self, n: Node) -> Any:
        with as_from(n.meta.get("stack_trace", "")):
            return super().run_node(n)

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if getattr(target, "__name__", "") in FACTORIES:
            return traced_call(target, args, kwargs)
        return super().call_function(target, args, kwargs)


_NOTHING = object()


def _lookup(module: Module, program: ExportedProgram, spec: InputSpec, given: Any) -> Any:
    """What the graph's argument is in a call."""
    if spec.kind is InputKind.USER_INPUT:
        value = next(given)
        return _NOTHING if isinstance(spec.arg, ConstantArgument) else value
    assert spec.target is not None
    if spec.kind is InputKind.CONSTANT_TENSOR:
        return program.constants[spec.target]
    at: Any = module
    for part in spec.target.split("."):
        at = getattr(at, part)
    return at


def _symbols_of(program: ExportedProgram, nodes: Mapping[str, Node]) -> tuple[list[Symbol], dict[int, _Dims]]:
    """The symbols of a program, from the shapes of its arguments."""
    known: dict[str, Symbol] = {}
    found: dict[int, _Dims] = {}
    inputs = [s for s in program.graph_signature.input_specs if s.kind is InputKind.USER_INPUT]
    for i, spec in enumerate(inputs):
        if isinstance(spec.arg, ConstantArgument):
            continue
        node = nodes[spec.arg.name]
        for d, size in enumerate(node.meta["shape"]):
            if isinstance(size, str):
                root, factor, offset = exported_program._affine(size)
                bounds = program.range_constraints[root]
                high = None if bounds.upper == math.inf else int(bounds.upper)
                hint = (node.meta["val"].shape[d] - offset) // factor
                if root not in known:
                    known[root] = _symbol(root, hint, bounds.lower, high, len(known), False)
                found.setdefault(i, {})[d] = (known[root], factor, offset)
    return list(known.values()), found


exported_program.decompose = _decomposed


# -- backends of the user's ----------------------------------------------------------------------------


def _through_backend(fn: Callable[..., Any], backend: Callable[..., Any], module: Any) -> Callable[..., Any]:
    """A function that runs ``fn`` through ``backend(graph_module, example_inputs)``, once for each signature.

    A function that cannot be captured runs as it is, with a warning, as it does under PyTorch from where its graph
    breaks.
    """
    known: dict[Any, Any] = {}

    def run(*args: Any, **kwargs: Any) -> Any:
        leaves, spec = tree_flatten((args, kwargs))
        key = (spec, tuple([(t._layout, t._requires_grad) if isinstance(t, Tensor) else t for t in leaves]))
        found = known.get(key)
        if found is None:
            found = known[key] = _compiled_by(fn, backend, module, leaves, spec)
        return fn(*args, **kwargs) if found is _NOTHING else found(leaves)

    return run


def _compiled_by(fn: Any, backend: Callable[..., Any], module: Any, leaves: list[Any], spec: Any) -> Any:
    names = [f"L_{k}" for k in range(len(spec.children()[0].children()) + len(spec.children()[1].children()))]
    try:
        program = _captured(module if module is not None else fn, names, leaves, spec, [], {}, None, fn)
    except Unsupported as error:
        warnings.warn(f"compile: {fn} runs without the backend: {error}", stacklevel=3)
        return _NOTHING
    members = {**program.constants, **program.state_dict}
    specs = program.graph_signature.input_specs
    fixed = [members[s.target] for s in specs if s.target is not None and s.kind is not InputKind.USER_INPUT]
    given = [s for s in specs if s.kind is InputKind.USER_INPUT]
    tensors = [k for k, s in enumerate(given) if not isinstance(s.arg, ConstantArgument)]
    graph_module: GraphModule = program.graph_module
    made = backend(graph_module, [*fixed, *(leaves[k] for k in tensors)])

    def run(values: list[Any]) -> Any:
        return tree_unflatten(made(*fixed, *(values[k] for k in tensors)), program._out_spec)

    return run


compiler.capture = _through_backend
