"""``torch.onnx.export``: a module as an ONNX model, by way of ``flambeau.export``."""

from __future__ import annotations

import importlib
import operator
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..dispatch.operator import OPERATORS as RECORDS
from ..export import Dim, ExportedProgram
from ..export import export as capture
from ..export.graph_signature import ConstantArgument, InputKind
from ..export.targets import assert_scalar, name_of, sym_size
from ..fx.node import Node
from ..tensor import Tensor, from_numpy, numpy_view
from ..utils._pytree import tree_flatten, tree_leaves
from .emit import Emitter, onnx_package, scalar_type
from .errors import OnnxExporterError, UnsupportedOperatorError
from .operators import METHODS, OPERATORS, factory, index, swapped

__all__ = ["ONNXProgram", "export"]

_VERSIONS = range(18, 24)
_ARITHMETIC: dict[Any, str] = {operator.add: "Add", operator.sub: "Sub", operator.mul: "Mul", operator.neg: "Neg",
                               operator.floordiv: "Div", operator.mod: "Mod"}  # fmt: skip
_COMPARISONS = (operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge)


class ONNXProgram:
    """A model in ONNX: ``model`` (``model_proto``) is the model of the package onnx, ``exported_program`` what it was
    made from."""

    def __init__(self, model: Any, exported_program: ExportedProgram) -> None:
        self.model = self.model_proto = model
        self.exported_program = exported_program

    def save(
        self, destination: str | os.PathLike[str], *, include_initializers: bool = True,
        keep_initializers_as_inputs: bool = False, external_data: bool | None = None,
    ) -> None:  # fmt: skip
        """Writes the model to a file, whole or not at all; ``external_data``: its tensors in a file beside it."""
        path = os.fspath(destination)
        model = self.model_proto
        if external_data:
            onnx_package().save_model(
                model, path, save_as_external_data=True, location=os.path.basename(path) + ".data", size_threshold=0
            )
            return
        part = f"{path}.{os.getpid()}.part"
        try:
            Path(part).write_bytes(model.SerializeToString())
            os.replace(part, path)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise

    def optimize(self) -> None:
        """Accepted for programs written for PyTorch: runtimes fold constants themselves."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the model in the reference evaluator of the package onnx; returns its results as tensors."""
        return self.call_reference(*args, **kwargs)

    def call_reference(self, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        """Runs the model in the reference evaluator of the package onnx, which is slow and follows the standard."""
        evaluator = importlib.import_module("onnx.reference").ReferenceEvaluator(self.model_proto)
        names = [i.name for i in self.model_proto.graph.input]
        leaves = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        given = {n: np.ascontiguousarray(numpy_view(t.detach())) for n, t in zip(names, leaves)}  # type: ignore[attr-defined]
        return tuple(from_numpy(np.array(r)) for r in evaluator.run(None, given))


def export(
    model: Any, args: tuple[Any, ...] = (), f: str | os.PathLike[str] | None = None, *,
    kwargs: Mapping[str, Any] | None = None, verbose: bool | None = None, input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None, opset_version: int | None = None, dynamo: bool = True,
    external_data: bool = False, dynamic_shapes: Any = None,
    custom_translation_table: Mapping[Any, Callable[..., Any]] | None = None, report: bool = False,
    optimize: bool = True, verify: bool = False, profile: bool = False, dump_exported_program: bool = False,
    artifacts_dir: str | os.PathLike[str] = ".", export_params: bool = True, keep_initializers_as_inputs: bool = False,
    dynamic_axes: Mapping[str, Any] | None = None, **former: Any,
) -> ONNXProgram:  # fmt: skip
    """Writes a module, or an ``ExportedProgram``, as an ONNX model (operator set 18, or ``opset_version`` up to 23).

    ``dynamic_shapes`` says which sizes may change, as for ``flambeau.export.export``; so does ``dynamic_axes``, by the
    names in ``input_names``.  ``f`` is the file to write; the model is returned in every case.  Needs the package
    onnx.  Raises UnsupportedOperatorError with the user's line for an operator without a translation.  The other
    arguments are accepted for programs written for PyTorch.
    """
    version = 18 if opset_version is None else max(18, int(opset_version))
    if version not in _VERSIONS:
        raise OnnxExporterError(f"onnx.export: opset_version {version} is not written; 18 to 23 are")
    args = args if isinstance(args, tuple) else (args,)
    program = model
    if not isinstance(model, ExportedProgram):
        if dynamic_axes and dynamic_shapes is None:
            dynamic_shapes = _shapes_of(args, dict(kwargs or {}), list(input_names or ()), dynamic_axes)
        was = [(m, m.training) for m in model.modules()]
        model.eval()
        try:
            program = capture(model, args, kwargs, dynamic_shapes=dynamic_shapes)
        finally:
            for m, training in was:
                m.training = training
    made = ONNXProgram(_model(program, version, input_names, output_names), program)
    if f is not None:
        made.save(f, external_data=external_data)
    return made


def _shapes_of(
    args: tuple[Any, ...], kwargs: dict[str, Any], names: list[str], axes: Mapping[str, Any]
) -> tuple[Any, ...]:
    """The sizes that ``dynamic_axes`` names, for each argument."""
    dims: dict[str, Dim] = {}
    found = []
    for k, value in enumerate([*args, *kwargs.values()]):
        name = names[k] if k < len(names) else ""
        wanted = axes.get(name, {})
        pairs = wanted.items() if isinstance(wanted, Mapping) else [(d, f"{name}_dim_{d}") for d in wanted]
        shape = {int(d): dims.setdefault(str(n), Dim(_identifier(str(n)))) for d, n in pairs}
        found.append(shape if isinstance(value, Tensor) and shape else None)
    return tuple(found)


def _identifier(name: str) -> str:
    text = "".join(c if c.isalnum() or c == "_" else "_" for c in name)
    return text if text.isidentifier() else f"dim_{text}"


def _model(
    program: ExportedProgram, version: int, input_names: Sequence[str] | None, output_names: Sequence[str] | None
) -> Any:  # fmt: skip
    e = Emitter()
    helper = e.onnx.helper
    specs = program.graph_signature.input_specs
    nodes = {n.name: n for n in program.graph.nodes if n.op == "placeholder"}
    inputs = []
    given = list(input_names or ())
    for spec in specs:
        if isinstance(spec.arg, ConstantArgument):
            continue
        node = nodes[spec.arg.name]
        if spec.kind is InputKind.USER_INPUT:
            name = e.fresh(given.pop(0) if given else node.name)
            type_ = scalar_type(node.meta["val"].dtype)
            inputs.append(helper.make_tensor_value_info(name, type_, list(node.meta["shape"])))
        else:
            assert spec.target is not None
            name = e.fresh(spec.target)
            e.tensor(name, program.state_dict[spec.target] if spec.target in program.state_dict
                     else program.constants[spec.target])  # fmt: skip
        e.names[node] = name
    outputs = []
    for node in program.graph.nodes:
        if node.op == "output":
            outputs = _outputs(e, node, list(output_names or ()))
        elif node.op != "placeholder":
            _translate(e, node, version)
    graph = helper.make_graph(e.nodes, "main_graph", inputs, outputs, e.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], producer_name="flambeau")
    model.ir_version = min(model.ir_version, 10)
    e.onnx.checker.check_model(model)
    return model


def _outputs(e: Emitter, node: Node, names: list[str]) -> list[Any]:
    """The results: each gets a node of its own, so that it can have the name that is wanted."""
    found = []
    for k, value in enumerate(tree_flatten(node.args[0])[0]):
        if not isinstance(value, Node):
            continue
        name = e.fresh(names[k] if k < len(names) else f"output_{k}" if value.op == "placeholder" else value.name)
        e.nodes.append(e.onnx.helper.make_node("Identity", [e.value(value)], [name]))
        type_ = e.type_of(value)
        shape = list(value.meta["shape"]) if type_ is not None else []
        code = scalar_type(type_) if type_ is not None else e.onnx.TensorProto.INT64
        shape = [s if isinstance(s, int) or s.isidentifier() else None for s in shape]
        found.append(e.onnx.helper.make_tensor_value_info(name, code, shape))
    return found


def _translate(e: Emitter, node: Node, version: int) -> None:
    try:
        e.names[node] = _translated(e, node)
    except (NotImplementedError, KeyError, AttributeError) as error:
        place = " ".join(str(node.meta.get("stack_trace", "")).split())
        raise UnsupportedOperatorError(f"{node.target} ({error})", version, None, place or "the graph") from error


def _translated(e: Emitter, node: Node) -> Any:
    target: Any = node.target
    args: Any = node.args
    if target is sym_size:
        shape = e.op("Shape", e.value(args[0]))
        return e.op("Gather", shape, e.constant(args[1], "int64"))
    if target is assert_scalar:
        return ""
    if target is operator.getitem:
        found = e.names.get(args[0])
        return found[args[1]] if isinstance(found, list) else index(e, args[0], args[1])
    if target is getattr:
        return OPERATORS["t"](e, SimpleNamespace(input=args[0]), node)
    if target in _ARITHMETIC and node.meta.get("val") is None:
        return e.op(_ARITHMETIC[target], *map(e.value, args))
    if target in _COMPARISONS:
        return ""  # of sizes, for a check that runtimes do not make
    if node.op == "call_method":
        a = SimpleNamespace(self=args[0], args=list(args[1:]), kwargs=dict(node.kwargs))
        if str(target).startswith("__"):
            return swapped(e, str(target), a, node)
        return METHODS[str(target)](e, a, node)
    name = name_of("call_function", target)
    kind, _, rest = name.partition(":")
    if kind != "aten":
        return factory(e, name, node)
    bound = RECORDS[rest].signature.bind(*args, **node.kwargs)
    bound.apply_defaults()
    return OPERATORS[rest](e, SimpleNamespace(**bound.arguments), node)
