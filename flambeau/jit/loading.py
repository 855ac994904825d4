"""Reading programs that ``torch.jit.save`` wrote.

An archive holds code in TorchScript's own language, which is a small part of Python's grammar, and pickled objects.
Nothing of it is run as Python: each function is read as a syntax tree of which only the statements and expressions of
that language are accepted; names, attributes, methods and operators become calls of functions of this file, which look
them up in the archive's own classes and among the operators of tensors (``script_ops.py``), and nowhere else.
"""

from __future__ import annotations

import ast
import io
import os
from collections import namedtuple
from collections.abc import Callable
from typing import IO, Any

from .. import serialization
from ..nn.parameter import Parameter
from ..serialization.archive import Reader, is_zip
from ..serialization.restore import CheckpointGlobals
from ..serialization.unpickle import UnpicklingError
from ..tensor import Tensor
from . import ScriptModule
from .objects import CompilationUnit, ScriptObject
from .script_ops import resolve

__all__ = ["import_ir_module", "import_ir_module_from_buffer", "load"]

_BINARY = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
_ROOTS = ("torch", "ops", "__torch__", "CONSTANTS")
_NUMBERS = {
    "inf": float("inf"),
    "nan": float("nan"),
    "infj": complex(0, float("inf")),
    "nanj": complex(0, float("nan")),
}
_SAFE = ("bool", "int", "float", "str", "len", "range", "isinstance", "print", "abs", "min", "max")
_SPECIAL = (
    "__init__",
    "__len__",
    "__getitem__",
    "__contains__",
    "__setitem__",
    "__call__",
    "__iter__",
    "__eq__",
    "__str__",
)


class _Translator:
    """Makes Python of the functions of one archive."""

    def __init__(self, program: _Program) -> None:
        self._space: dict[str, Any] = {
            "__builtins__": {}, "_op": resolve, "_ref": program.find, "_get": _attribute, "_set": _assign,
            "_new": program.new, "_const": program.constant, "_range": range, "AssertionError": AssertionError,
            **{f"_{n}": f for n, f in (("bool", bool), ("int", int), ("float", float), ("str", str), ("len", len),
                                       ("print", print), ("abs", abs), ("min", min), ("max", max))},
        }  # fmt: skip
        self._cast = {"bool", "int", "float", "str", "len", "range", "print", "abs", "min", "max"}

    def function(self, tree: ast.FunctionDef) -> Callable[..., Any]:
        """The function, whose parameters keep their names behind "v_"."""
        a = tree.args
        if a.vararg or a.kwarg or a.kwonlyargs or a.posonlyargs or tree.decorator_list:
            self._refuse(tree)
        args = ast.arguments(
            posonlyargs=[], args=[ast.arg("v_" + p.arg) for p in a.args], kwonlyargs=[], kw_defaults=[],
            defaults=[self.value(d) for d in a.defaults],
        )  # fmt: skip
        made = ast.FunctionDef("made", args, self.block(tree.body), [])
        if hasattr(made, "type_params") or "type_params" in ast.FunctionDef._fields:
            made.type_params = []  # type: ignore[attr-defined]
        module = ast.fix_missing_locations(ast.Module([made], []))
        space = dict(self._space)
        exec(compile(module, f"<torchscript {tree.name}>", "exec"), space)
        made_function = space["made"]

        def call(*given: Any, **named: Any) -> Any:
            return made_function(*given, **{"v_" + k: v for k, v in named.items()})

        call.__name__ = call.__qualname__ = tree.name
        return call

    def _refuse(self, node: ast.AST) -> Any:
        raise RuntimeError(
            f"jit.load: line {getattr(node, 'lineno', '?')} of the archive's code is no TorchScript: "
            f"{type(node).__name__}"
        )

    # statements

    def block(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """Statements."""
        return [self.statement(s) for s in body]

    def statement(self, s: ast.stmt) -> ast.stmt:
        """A statement."""
        if isinstance(s, (ast.Pass, ast.Break, ast.Continue)):
            return s
        if isinstance(s, ast.Return):
            return ast.Return(None if s.value is None else self.value(s.value))
        if isinstance(s, ast.Expr):
            return ast.Expr(self.value(s.value))
        if isinstance(s, ast.If):
            return ast.If(self.value(s.test), self.block(s.body), self.block(s.orelse))
        if isinstance(s, ast.While) and not s.orelse:
            return ast.While(self.value(s.test), self.block(s.body), [])
        if isinstance(s, ast.For) and not s.orelse:
            return ast.For(self.target(s.target), self.value(s.iter), self.block(s.body), [])
        if isinstance(s, ast.AnnAssign) and s.value is not None:
            return ast.Assign([self.target(s.target)], self.value(s.value))
        if isinstance(s, ast.Assign) and len(s.targets) == 1:
            goal = s.targets[0]
            if isinstance(goal, ast.Attribute):
                name = ast.Constant(goal.attr)
                return ast.Expr(self._call("_set", self.value(goal.value), name, self.value(s.value)))
            return ast.Assign([self.target(goal)], self.value(s.value))
        if isinstance(s, ast.Assert):
            return ast.Assert(self.value(s.test), None if s.msg is None else self.value(s.msg))
        return self._refuse(s)  # type: ignore[no-any-return]

    def target(self, e: ast.expr) -> ast.expr:
        """What is assigned to: variables and elements."""
        if isinstance(e, ast.Name):
            return ast.Name("v_" + e.id, ast.Store())
        if isinstance(e, ast.Tuple):
            return ast.Tuple([self.target(x) for x in e.elts], ast.Store())
        if isinstance(e, ast.Subscript):
            return ast.Subscript(self.value(e.value), self.value(e.slice), ast.Store())
        return self._refuse(e)  # type: ignore[no-any-return]

    # expressions

    def _call(self, name: str, *args: ast.expr, keywords: Any = ()) -> ast.Call:
        return ast.Call(ast.Name(name, ast.Load()), list(args), list(keywords))

    def value(self, e: ast.expr) -> ast.expr:
        """An expression."""
        if isinstance(e, ast.Constant):
            return e
        if isinstance(e, ast.Name):
            return ast.Constant(_NUMBERS[e.id]) if e.id in _NUMBERS else ast.Name("v_" + e.id, ast.Load())
        if isinstance(e, (ast.Tuple, ast.List)):
            return type(e)([self.value(x) for x in e.elts], ast.Load())
        if isinstance(e, ast.Dict) and None not in e.keys:
            return ast.Dict([self.value(k) for k in e.keys if k is not None], [self.value(v) for v in e.values])
        if isinstance(e, ast.Subscript):
            return ast.Subscript(self.value(e.value), self.value(e.slice), ast.Load())
        if isinstance(e, ast.Slice):
            return ast.Slice(*[None if x is None else self.value(x) for x in (e.lower, e.upper, e.step)])
        if isinstance(e, ast.UnaryOp):
            return ast.UnaryOp(e.op, self.value(e.operand))
        if isinstance(e, ast.BinOp) and isinstance(e.op, _BINARY):
            return ast.BinOp(self.value(e.left), e.op, self.value(e.right))
        if isinstance(e, ast.BoolOp):
            return ast.BoolOp(e.op, [self.value(v) for v in e.values])
        if isinstance(e, ast.Compare):
            return ast.Compare(self.value(e.left), e.ops, [self.value(c) for c in e.comparators])
        if isinstance(e, ast.IfExp):
            return ast.IfExp(self.value(e.test), self.value(e.body), self.value(e.orelse))
        if isinstance(e, ast.Attribute):
            path = _path(e)
            if path[0] == "CONSTANTS":
                return self._call("_const", ast.Constant(path[1]))
            if path[0] in _ROOTS:
                return self._call("_ref", ast.Constant(".".join(path)))
            return self._call("_get", self.value(e.value), ast.Constant(e.attr))
        if isinstance(e, ast.Call):
            return self.call(e)
        return self._refuse(e)  # type: ignore[no-any-return]

    def call(self, e: ast.Call) -> ast.expr:
        """A call of an operator, a function or class of the archive, or a method of an object of it."""
        if any(isinstance(a, ast.Starred) for a in e.args) or any(k.arg is None for k in e.keywords):
            self._refuse(e)
        function, name = e.func, getattr(e.func, "id", "")
        if name in ("annotate", "unchecked_cast"):  # (type, value)
            return self.value(e.args[1])
        if name == "uninitialized":
            return ast.Constant(None)
        args = [
            self.value(a) for a in e.args if not (isinstance(function, ast.Attribute) and function.attr == "__new__")
        ]
        keywords = [ast.keyword(k.arg, self.value(k.value)) for k in e.keywords]
        if name == "getattr":
            return self._call("_get", *args)
        if name in self._cast:
            return self._call("_" + name, *args)
        if isinstance(function, ast.Attribute):
            path = _path(function)
            if path[0] == "torch" and len(path) == 2:
                made: ast.expr = self._call("_op", ast.Constant("aten"), ast.Constant(path[1]))
            elif path[0] == "ops" and len(path) == 3:
                made = self._call("_op", ast.Constant(path[1]), ast.Constant(path[2]))
            elif path[0] == "__torch__" and path[-1] == "__new__":
                return self._call("_new", ast.Constant(".".join(path[:-1])))
            elif path[0] == "__torch__":
                made = self._call("_ref", ast.Constant(".".join(path)))
            else:
                made = self._call("_get", self.value(function.value), ast.Constant(function.attr))
        else:
            made = self.value(function)
        return ast.Call(made, args, keywords)


def _path(e: ast.expr) -> list[str]:
    """The names of ``a.b.c``; [""] for attributes of other things than names."""
    parts: list[str] = []
    while isinstance(e, ast.Attribute):
        parts.append(e.attr)
        e = e.value
    return [e.id, *reversed(parts)] if isinstance(e, ast.Name) else [""]


def _attribute(owner: Any, name: str) -> Any:
    """An attribute, or a method, of an object of the archive; of a named tuple a field."""
    known = getattr(type(owner), "_script_names", None)
    if known is None and isinstance(owner, tuple):
        known = getattr(owner, "_fields", ())
    if name not in (known or ()) and not (known is not None and name in getattr(owner, "_script_state", ())):
        raise RuntimeError(f"jit.load: an object of type {type(owner).__name__} has no attribute '{name}'")
    return getattr(owner, name)


def _assign(owner: Any, name: str, value: Any) -> None:
    if name not in getattr(type(owner), "_script_names", ()):
        raise RuntimeError(f"jit.load: an object of type {type(owner).__name__} has no attribute '{name}'")
    setattr(owner, name, value)


class _Program:
    """The code and the constants of one archive."""

    def __init__(self, reader: Reader, unit: CompilationUnit) -> None:
        self._unit = unit
        self._texts = {e: reader.read(e) for e in reader if e.startswith("code/") and e.endswith(".py")}
        self._trees: dict[str, dict[str, Any]] = {}
        self._made: dict[str, Any] = {}
        self._constants: tuple[Any, ...] = ()
        self._translator = _Translator(self)

    def _tree(self, module: str) -> dict[str, Any]:
        """The definitions in a file of code, by name."""
        found = self._trees.get(module)
        if found is None:
            entry = "code/" + module.replace(".", "/") + ".py"
            if entry not in self._texts:
                raise RuntimeError(f"jit.load: the archive has no code for {module}")
            try:
                body = ast.parse(self._texts[entry].decode()).body
            except (SyntaxError, ValueError, RecursionError) as error:
                raise RuntimeError(f"jit.load: the code of {module} cannot be read: {error}") from error
            found = self._trees[module] = {d.name: d for d in body if isinstance(d, (ast.ClassDef, ast.FunctionDef))}
        return found

    def find(self, name: str) -> Any:
        """The class or function with this full name."""
        found = self._made.get(name)
        if found is None:
            module, _, last = name.rpartition(".")
            tree = self._tree(module).get(last)
            if tree is None:
                raise RuntimeError(f"jit.load: the archive has no {name}")
            found = self._class(name, tree) if isinstance(tree, ast.ClassDef) else self._translator.function(tree)
            self._made[name] = found
            self._unit._add(name, found)
        return found

    def _class(self, name: str, tree: ast.ClassDef) -> Any:
        base = tree.bases[0].id if tree.bases and isinstance(tree.bases[0], ast.Name) else ""
        fields = [s.target.id for s in tree.body if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)]
        if base == "NamedTuple":
            return namedtuple(tree.name, fields)
        members: dict[str, Any] = {"__module__": name.rpartition(".")[0], "__doc__": f"{name}, as it was loaded."}
        names = set(fields)
        for s in tree.body:
            if isinstance(s, ast.FunctionDef):
                if s.name.startswith("__") and s.name not in _SPECIAL:
                    raise RuntimeError(f"jit.load: the method {s.name} of {name} is not one of TorchScript")
                members[s.name] = _method(self._translator.function(s))
                names.add(s.name)
            elif isinstance(s, ast.AnnAssign) and s.value is not None and isinstance(s.target, ast.Name):
                members[s.target.id] = ast.literal_eval(s.value)  # Final
            elif isinstance(s, ast.Assign):
                goal = s.targets[0]
                if isinstance(goal, ast.Subscript) and isinstance(goal.slice, ast.Constant):
                    names.add(goal.slice.value)  # __annotations__["0"]
                elif isinstance(goal, ast.Name) and goal.id in ("__parameters__", "__buffers__"):
                    members[goal.id] = [c.value for c in s.value.elts if isinstance(c, ast.Constant)]  # type: ignore[attr-defined]
                    names.update(members[goal.id])
        members["_script_names"] = frozenset(names)
        return type(tree.name, (_LoadedModule if base == "Module" else ScriptObject,), members)

    def new(self, name: str) -> Any:
        """An object of a class, before ``__init__``."""
        cls = self.find(name)
        return cls() if issubclass(cls, _LoadedModule) else cls.__new__(cls)

    def constant(self, name: str) -> Any:
        """``CONSTANTS.c0``: a tensor."""
        return self._constants[int(name[1:])]


def _method(function: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return function(self, *args, **kwargs)

    method.__name__ = method.__qualname__ = function.__name__
    return method


class _LoadedModule(ScriptModule):
    """A module of an archive."""

    def _restore(self, state: dict[str, Any]) -> None:
        parameters, buffers = getattr(type(self), "__parameters__", ()), getattr(type(self), "__buffers__", ())
        for name, value in state.items():
            if name in parameters and isinstance(value, Tensor):
                value = value if isinstance(value, Parameter) else Parameter(value.detach(), value._requires_grad)
                self.register_parameter(name, value)
            elif name in buffers:
                self.register_buffer(name, value)
            elif isinstance(value, ScriptModule):
                self.add_module(name, value)
            else:
                object.__setattr__(self, name, value)


class _Names(CheckpointGlobals):
    """The names in the pickled objects of an archive: its own classes, and what tensors need."""

    _TAGS = ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "build_tensor_from_id")

    def __init__(self, program: _Program) -> None:
        super().__init__(False)
        self._program = program

    def resolve(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return self._program.find(f"{module}.{name}")
        if module == "torch.jit._pickle":
            if name in self._TAGS:
                return _as_list
            if name == "restore_type_tag":
                return _untagged
        return super().resolve(module, name)

    def call(self, function: Any, args: tuple[Any, ...]) -> Any:
        if function in (_as_list, _untagged) or _is_named_tuple(function):
            return function(*args)
        return super().call(function, args)

    def new(self, cls: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(cls, type) and issubclass(cls, (_LoadedModule, ScriptObject)):
            return cls() if issubclass(cls, _LoadedModule) else cls.__new__(cls)
        return super().new(cls, args, kwargs)

    def build(self, instance: Any, state: Any) -> None:
        if isinstance(instance, _LoadedModule):
            instance._restore(dict(state))
        elif isinstance(instance, ScriptObject):
            if "__setstate__" in type(instance)._script_names:
                raise UnpicklingError(f"{type(instance).__name__} restores itself, which is not supported")
            for name, value in dict(state).items():
                _assign(instance, name, value)
        else:
            super().build(instance, state)


def _is_named_tuple(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, tuple) and hasattr(cls, "_fields")


def _as_list(values: Any) -> Any:
    return list(values) if isinstance(values, tuple) else values


def _untagged(value: Any, type_: Any) -> Any:
    return value


# -- loading -----------------------------------------------------------------------------------------


def load(
    f: Any, map_location: Any = None, _extra_files: dict[str, Any] | None = None, _restore_shapes: bool = False
) -> Any:
    """The module in a file, by name or open, that ``torch.jit.save`` of PyTorch wrote.

    Args:
        map_location: where its tensors go, as in ``load``.
        _extra_files: names of further files in the archive, whose contents are put as values.

    Its code is interpreted as TorchScript, never as Python.  Raises ValueError if there is no such file, RuntimeError
    for other files and for code that is not TorchScript's.
    """
    if isinstance(f, (str, os.PathLike)):
        if not os.path.exists(f):
            raise ValueError(f"The provided filename {f} does not exist")
        if os.path.isdir(f):
            raise ValueError(f"The provided filename {f} is a directory")
        with open(f, "rb") as file:
            return _load(file, os.fspath(f), CompilationUnit(), map_location, _extra_files)
    return _load(io.BytesIO(f.read()), "buffer", CompilationUnit(), map_location, _extra_files)


def import_ir_module(
    arg0: CompilationUnit, arg1: str, arg2: Any = None, arg3: dict[str, Any] | None = None, arg4: bool = False
) -> Any:
    """``load`` of a file by name, whose classes and functions the compilation unit keeps."""
    with open(arg1, "rb") as file:
        return _load(file, arg1, arg0, arg2, arg3)


def import_ir_module_from_buffer(
    arg0: CompilationUnit, arg1: bytes, arg2: Any = None, arg3: dict[str, Any] | None = None, arg4: bool = False
) -> Any:
    """``load`` of the bytes of a file, whose classes and functions the compilation unit keeps."""
    return _load(io.BytesIO(arg1), "buffer", arg0, arg2, arg3)


def _load(
    file: IO[bytes], name: str, unit: CompilationUnit, map_location: Any, extra_files: dict[str, Any] | None
) -> Any:
    head = file.read(4)
    file.seek(0)
    if not is_zip(head):
        raise RuntimeError(f"jit.load: {name} is no archive that torch.jit.save wrote")
    reader = Reader(file, name, True)
    if "constants.pkl" not in reader:
        raise RuntimeError(f"jit.load: {name} holds no program; a file that torch.save wrote is read by torch.load")
    program = _Program(reader, unit)
    names, restore = _Names(program), serialization.restorer(map_location)
    program._constants = tuple(serialization.load_entry(reader, "constants", names, restore))
    module = serialization.load_entry(reader, "data", names, restore)
    for key in extra_files or {}:
        entry = f"extra/{key}"
        assert extra_files is not None
        if entry in reader:
            extra_files[key] = reader.read(entry)
    return module
