"""Files of exported programs: a zip of the graph as JSON and of tensors, from which nothing is ever executed.

``program.json`` names what it calls by the names of ``targets.py``; whatever is not among them, has another form, or
lacks a part, makes ``load`` raise RuntimeError.  The tensors are in the format of ``flambeau.save``, read as weights.
"""

from __future__ import annotations

import io
import json
import math
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from ..device import device, meta
from ..dtype import coded, dtype
from ..fx.graph import Graph
from ..fx.node import Node
from ..layout import Size
from ..nn.parameter import Parameter
from ..ops import convert as _convert
from ..ops import members as _members
from ..ops.convert import memory_format
from ..ops.members import layout as layout_type
from ..serialization import load as load_tensors
from ..serialization import save as save_tensors
from ..tensor import Tensor, contiguous
from ..utils._pytree import treespec_dumps, treespec_loads
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
from .targets import ATTRIBUTES, name_of, target_of

__all__ = ["load", "save"]

_VERSION = 1
_MOST = 1 << 28  # bytes of program.json
_DEEP = 32  # levels of nesting of an argument
_FORMATS = {str(f): f for f in vars(_convert).values() if isinstance(f, memory_format)}
_LAYOUTS = {str(x): x for x in vars(_members).values() if isinstance(x, layout_type)}
_ARGUMENTS: dict[str, Any] = {"tensor": TensorArgument, "int": SymIntArgument, "constant": ConstantArgument}


def save(
    ep: ExportedProgram, f: str | os.PathLike[str] | IO[bytes], *, extra_files: Mapping[str, Any] | None = None,
    opset_version: Mapping[str, int] | None = None, pickle_protocol: int = 2,
) -> None:  # fmt: skip
    """Writes an exported program to a file, whole or not at all; ``extra_files`` are texts to go with it.

    Raises TypeError for what is no exported program, RuntimeError for one that calls what has no name in a file.
    """
    if not isinstance(ep, ExportedProgram):
        raise TypeError(
            f"save: the 'ep' parameter must be an instance of 'ExportedProgram', got '{type(ep).__name__}'."
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive_format", "flambeau.export")
        archive.writestr("version", str(_VERSION))
        archive.writestr("program.json", json.dumps(_encoded(ep), allow_nan=False))
        archive.writestr("state.pt", _tensors({k: v.detach() for k, v in ep.state_dict.items()}))  # type: ignore[attr-defined]
        archive.writestr("constants.pt", _tensors(ep.constants))
        for name, text in (extra_files or {}).items():
            archive.writestr(f"extra/{name}", text)
    if not isinstance(f, (str, os.PathLike)):
        f.write(buffer.getvalue())
        return
    path = os.fspath(f)
    part = f"{path}.{os.getpid()}.part"
    try:
        with open(part, "wb") as file:
            file.write(buffer.getvalue())
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def load(
    f: str | os.PathLike[str] | IO[bytes], *, extra_files: dict[str, Any] | None = None,
    expected_opset_version: Mapping[str, int] | None = None,
) -> ExportedProgram:  # fmt: skip
    """Reads an exported program; the texts named by ``extra_files`` are filled in.

    Raises RuntimeError for a file that is damaged, cut short, or says what no exported program says; nothing in it is
    executed.
    """
    try:
        with zipfile.ZipFile(f) as archive:
            if archive.read("archive_format") != b"flambeau.export" or archive.read("version") != b"1":
                raise RuntimeError("it is not an exported program of this version")
            if archive.getinfo("program.json").file_size > _MOST:
                raise RuntimeError("its graph is too large")
            body = json.loads(archive.read("program.json"))
            state = load_tensors(io.BytesIO(archive.read("state.pt")), weights_only=True)
            constants = load_tensors(io.BytesIO(archive.read("constants.pt")), weights_only=True)
            for name in extra_files or ():
                extra_files[name] = archive.read(f"extra/{name}").decode()  # type: ignore[index]
        return _decoded(body, state, constants)
    except OSError:
        raise
    except Exception as error:
        raise RuntimeError(f"export.load: {f} cannot be read as an exported program: {error}") from error


def _tensors(tensors: Mapping[str, Tensor]) -> bytes:
    buffer = io.BytesIO()
    save_tensors(dict(tensors), buffer)
    return buffer.getvalue()


# -- writing -------------------------------------------------------------------------------------------


def _encoded(ep: ExportedProgram) -> dict[str, Any]:
    signature = ep.graph_signature
    return {
        "nodes": [_node(n) for n in ep.graph.nodes],
        "inputs": [[s.kind.name, _spec_argument(s.arg), s.target, s.persistent] for s in signature.input_specs],
        "outputs": [[s.kind.name, _spec_argument(s.arg), s.target] for s in signature.output_specs],
        "parameters": {k: v._requires_grad for k, v in ep.state_dict.items() if isinstance(v, Parameter)},
        "ranges": {k: [v.lower, None if v.upper == math.inf else v.upper] for k, v in ep.range_constraints.items()},
        "in_spec": treespec_dumps(ep._in_spec),
        "out_spec": treespec_dumps(ep._out_spec),
        "names": ep._names,
    }


def _spec_argument(a: Any) -> list[Any]:
    kind = next(k for k, cls in _ARGUMENTS.items() if isinstance(a, cls))
    return [kind, a.name, _value(a.value)] if isinstance(a, ConstantArgument) else [kind, a.name]


def _node(n: Node) -> dict[str, Any]:
    try:
        target = n.target if n.op in ("placeholder", "output") else name_of(n.op, n.target)
    except KeyError:
        raise RuntimeError(f"export.save: node {n.name} calls {n.target}, which has no name in a file") from None
    made: dict[str, Any] = {"op": n.op, "name": n.name, "target": target}
    if n.op != "placeholder":
        made["args"] = [_value(a) for a in n.args]
        made["kwargs"] = {k: _value(v) for k, v in n.kwargs.items()}
    value = n.meta.get("val")
    if isinstance(value, Tensor):
        made["type"] = value.dtype.code
        made["shape"], made["hint"] = list(n.meta["shape"]), list(value.shape)
    if n.meta.get("stack_trace"):
        made["trace"] = n.meta["stack_trace"]
    return made


_PLAIN = (bool, int, str, type(None))
_ENCODERS: list[tuple[Any, str, Callable[[Any], Any]]] = [
    (Node, "node", lambda a: a.name),
    (float, "float", repr),
    (complex, "complex", lambda a: [repr(a.real), repr(a.imag)]),
    (Size, "tuple", lambda a: [_value(x) for x in a]),
    (tuple, "tuple", lambda a: [_value(x) for x in a]),
    (list, "list", lambda a: [_value(x) for x in a]),
    (dict, "dict", lambda a: {str(k): _value(v) for k, v in a.items()}),
    (slice, "slice", lambda a: [_value(x) for x in (a.start, a.stop, a.step)]),
    (dtype, "dtype", lambda a: a.code),
    (device, "device", str),
    (memory_format, "format", str),
    (layout_type, "layout", str),
    (type(Ellipsis), "ellipsis", lambda a: 0),
]


def _value(a: Any) -> Any:
    """An argument as JSON: plain values as they are, others as {kind: content}."""
    if type(a) in _PLAIN:
        return a
    for cls, kind, encode in _ENCODERS:
        if isinstance(a, cls):
            return {kind: encode(a)}
    raise RuntimeError(f"export.save: an argument is a {type(a).__name__}, which has no form in a file")


# -- reading -------------------------------------------------------------------------------------------


def _decoded(body: Any, state: Any, constants: Any) -> ExportedProgram:
    for tensors in (state, constants):
        _expect(isinstance(tensors, dict) and all(isinstance(t, Tensor) for t in tensors.values()), "its tensors")
    parameters = body["parameters"]
    state = {k: Parameter(v, bool(parameters[k])) if k in parameters else v for k, v in state.items()}
    graph, known = Graph(), dict[str, Node]()
    for item in body["nodes"]:
        _add_node(graph, item, known)
    _expect(bool(body["nodes"]) and body["nodes"][-1]["op"] == "output", "its last node")
    inputs = [
        InputSpec(InputKind[k], _read_argument(a, known), _text(t), p if p is None else bool(p))
        for k, a, t, p in body["inputs"]
    ]
    outputs = [OutputSpec(OutputKind[k], _read_argument(a, known), _text(t)) for k, a, t in body["outputs"]]
    for spec in inputs:
        if spec.kind is InputKind.PARAMETER:
            _expect(spec.target in state, f"parameter {spec.target}")
        elif spec.kind is not InputKind.USER_INPUT:
            _expect(spec.target in state or spec.target in constants, f"tensor {spec.target}")
    given = [s.arg.name for s in inputs if not isinstance(s.arg, ConstantArgument)]
    _expect(given == [n.name for n in graph.nodes if n.op == "placeholder"], "its arguments")
    ranges = {
        str(k): ValueRanges(int(low), math.inf if high is None else int(high))
        for k, (low, high) in body["ranges"].items()
    }
    for n in graph.nodes:
        if n.op == "placeholder":
            _expect(all(isinstance(s, int) or s in ranges for s in n.meta["shape"]), f"the sizes of {n.name}")
    names = [str(n) for n in body["names"]]
    signature = ExportGraphSignature(inputs, outputs)
    in_spec, out_spec = treespec_loads(body["in_spec"]), treespec_loads(body["out_spec"])
    return ExportedProgram(graph, signature, state, constants, ranges, in_spec, out_spec, None, names)


def _expect(condition: object, what: str) -> None:
    if not condition:
        raise RuntimeError(f"{what} is not as it must be")


def _text(value: Any) -> str | None:
    _expect(value is None or isinstance(value, str), "a name")
    return value


def _read_argument(a: Any, known: Mapping[str, Node]) -> Any:
    kind, name, *rest = a
    _expect(isinstance(name, str) and (kind == "constant" or name in known), f"argument {name!r}")
    return _ARGUMENTS[kind](name, *(_read_value(v, known) for v in rest))


def _add_node(graph: Graph, item: Any, known: dict[str, Node]) -> None:
    op, name = item["op"], item["name"]
    _expect(isinstance(name, str) and name.isidentifier() and name.isascii() and name not in known, f"node {name!r}")
    if op == "placeholder":
        node = graph.create_node(op, _word(item["target"]), name=name)
    elif op == "output":
        node = graph.output(_read_value(item["args"][0], known))
    else:
        try:
            kind, target = target_of(item["target"])
        except KeyError:
            raise RuntimeError(f"node {name} calls {item['target']!r}, which no exported program calls") from None
        _expect(kind == op, f"node {name!r}")
        args = tuple(_read_value(a, known) for a in item["args"])
        kwargs = {_word(k): _read_value(v, known) for k, v in item["kwargs"].items()}
        if target is getattr:
            _expect(len(args) == 2 and not kwargs and args[1] in ATTRIBUTES, f"node {name!r}")
        node = graph.create_node(op, target, args, kwargs, name)
    _expect(node.name == name or op == "output", f"node {name!r}")
    known[name] = node
    if "type" in item:
        shape = [s if isinstance(s, str) else int(s) for s in item["shape"]]
        node.meta["val"] = contiguous(coded(item["type"]), [int(n) for n in item["hint"]], meta)
        node.meta["shape"] = tuple(shape)
    if isinstance(item.get("trace"), str):
        node.meta["stack_trace"] = item["trace"]


def _word(text: Any) -> str:
    _expect(isinstance(text, str) and text.isidentifier(), f"argument {text!r}")
    return text


def _read_value(a: Any, known: Mapping[str, Node], depth: int = 0) -> Any:
    _expect(depth < _DEEP, "the nesting of an argument")
    if type(a) in _PLAIN:
        return a
    _expect(isinstance(a, dict) and len(a) == 1, "an argument")
    ((kind, content),) = a.items()

    def items() -> list[Any]:
        return [_read_value(x, known, depth + 1) for x in content]

    readers: dict[str, Callable[[], Any]] = {
        "node": lambda: known[content],
        "float": lambda: float(content),
        "complex": lambda: complex(float(content[0]), float(content[1])),
        "tuple": lambda: tuple(items()),
        "list": items,
        "dict": lambda: {k: _read_value(v, known, depth + 1) for k, v in content.items()},
        "slice": lambda: slice(*items()),
        "dtype": lambda: coded(content),
        "device": lambda: device(content),
        "format": lambda: _FORMATS[content],
        "layout": lambda: _LAYOUTS[content],
        "ellipsis": lambda: ...,
    }
    _expect(kind in readers, f"an argument of kind {kind!r}")
    return readers[kind]()
