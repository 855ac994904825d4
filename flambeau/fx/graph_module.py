"""``GraphModule``: a module whose ``forward`` is written from a graph."""

from __future__ import annotations

import copy
import linecache
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..nn.modules.module import Module
from ..nn.parameter import Parameter
from ..serialization import save
from ..tensor import Tensor
from .graph import Graph, PythonCode

__all__ = ["GraphModule", "reduce_graph_module", "reduce_package_graph_module"]

_USER_PRESERVED_ATTRIBUTES_KEY = "_user_preserved_attributes"
_count = iter(range(1 << 62))


def _compiled(code: PythonCode) -> Callable[..., Any]:
    """The function ``forward`` of a source text, which tracebacks can show."""
    name = f"<graph {next(_count)}>"
    linecache.cache[name] = (len(code.src), None, code.src.splitlines(True), name)
    scope = dict(code.globals)
    exec(compile(code.src, name, "exec"), scope)
    return scope["forward"]  # type: ignore[no-any-return]


def _copy_attr(from_module: Module, to_module: Module, target: str) -> None:
    """Gives a module the attribute that another has at a path, with the modules on the way."""
    *path, field = target.split(".")
    for part in path:
        found, there = getattr(from_module, part), getattr(to_module, part, None)
        if there is found:
            return  # a parent that is shared has the attribute
        if there is None:
            there = Module()
            setattr(to_module, part, there)
        from_module, to_module = found, there
    value = getattr(from_module, field)
    if isinstance(value, Tensor) and not isinstance(value, Parameter):
        to_module.register_buffer(field, value, persistent=field not in from_module._non_persistent_buffers_set)
    else:
        setattr(to_module, field, value)


def _assign_attr(value: Any, to_module: Module, target: str) -> None:
    *path, field = target.split(".")
    for part in path:
        there = getattr(to_module, part, None)
        if there is None:
            there = Module()
            setattr(to_module, part, there)
        to_module = there
    if isinstance(value, Tensor) and not isinstance(value, Parameter):
        to_module.register_buffer(field, value)
    else:
        setattr(to_module, field, value)


class _CodeOnlyModule(Module):
    """A module with the attributes of another and without its code."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__()
        self.__dict__ = body


def reduce_graph_module(body: dict[str, Any], import_block: str) -> Module:
    """The module that a pickle of a ``GraphModule`` holds."""
    graph, name = body.pop("_pickled_graph"), body.pop("_graphmodule_cls_name", "GraphModule")
    return GraphModule(_CodeOnlyModule(body), graph(), name)


def reduce_package_graph_module(importer: Any, body: dict[str, Any], generated_module_name: str) -> Module:
    """The module that a package of ``torch.package`` holds."""
    return reduce_graph_module(body, "")


class _PickledGraph:
    """The nodes of a graph as plain data, for a pickle."""

    def __init__(self, graph: Graph) -> None:
        self.rows = [
            (n.op, n.target, _plain(n.args), _plain(n.kwargs), n.name, n.type) for n in graph.nodes
        ]  # fmt: skip

    def __call__(self) -> Graph:
        graph, known = Graph(), {}
        for op, target, args, kwargs, name, type_ in self.rows:
            known[name] = graph.create_node(op, target, _filled(args, known), _filled(kwargs, known), name, type_)
        return graph


class _Ref:
    """Stands for a node in plain data."""

    def __init__(self, name: str) -> None:
        self.name = name


def _mapped(a: Any, fn: Callable[[Any], Any]) -> Any:
    if isinstance(a, tuple):
        items = [_mapped(x, fn) for x in a]
        return type(a)(*items) if hasattr(a, "_fields") else tuple(items)
    if isinstance(a, list):
        return [_mapped(x, fn) for x in a]
    if isinstance(a, dict):
        return {k: _mapped(v, fn) for k, v in a.items()}
    if isinstance(a, slice):
        return slice(_mapped(a.start, fn), _mapped(a.stop, fn), _mapped(a.step, fn))
    return fn(a)


def _plain(a: Any) -> Any:
    return _mapped(a, lambda x: _Ref(x.name) if hasattr(x, "all_input_nodes") else x)


def _filled(a: Any, known: dict[str, Any]) -> Any:
    return _mapped(a, lambda x: known[x.name] if isinstance(x, _Ref) else x)


class GraphModule(Module):
    """A module made of a graph and of the parameters, buffers and submodules that the graph names.

    ``root`` is a module that has them, or a dictionary of them by path.  Setting ``graph``, or ``recompile()`` after
    changing it, writes ``forward`` anew.  Every instance has a class of its own.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> GraphModule:
        for base in cls.__mro__:
            if not base.__dict__.get("_is_one_of_many", False):
                break
        made = type(
            cls.__name__, (base,), {"_is_one_of_many": True, "__doc__": cls.__doc__, "__module__": cls.__module__}
        )
        return super().__new__(made)  # type: ignore[no-any-return]

    def __init__(self, root: Module | dict[str, Any], graph: Graph, class_name: str = "GraphModule") -> None:
        super().__init__()
        type(self).__name__ = class_name
        targets = [str(n.target) for n in graph.nodes if n.op in ("get_attr", "call_module")]
        if isinstance(root, Module):
            if hasattr(root, "training"):
                self.training = root.training
            for target in targets:
                _copy_attr(root, self, target)
        elif isinstance(root, dict):
            for target in sorted(targets, key=lambda t: t.count(".")):
                if target not in root:
                    raise RuntimeError(
                        f"GraphModule: the graph references {target} but that name was not in the dictionary of "
                        f"attributes: {sorted(root)}"
                    )
                _assign_attr(root[target], self, target)
        else:
            raise RuntimeError(f"Unsupported type {type(root).__name__} passed for root!")
        self.graph = graph
        self._tracer_cls = graph._tracer_cls
        self.meta: dict[str, Any] = dict(getattr(root, "meta", {}) or {})

    @property
    def graph(self) -> Graph:
        """The graph; setting it writes ``forward`` anew."""
        return self._graph

    @graph.setter
    def graph(self, g: Graph) -> None:
        if not isinstance(g, Graph):
            raise AssertionError(f"Expected a Graph instance, but got {type(g).__name__}")
        if g.owning_module is not None and g.owning_module is not self:
            g = copy.deepcopy(g)
        self._graph = g
        g.owning_module = self
        self.recompile()

    @property
    def code(self) -> str:
        """The source of ``forward``."""
        return self._code

    def recompile(self) -> PythonCode:
        """Writes ``forward`` from the graph; call it after changing the graph."""
        code = self._graph.python_code(root_module="self")
        if self._graph._transform is not None:
            code.src = "\n".join(self._graph._transform(code.src.split("\n")))
        self._code = code.src
        type(self).forward = _compiled(code)  # type: ignore[method-assign]
        return code

    # -- submodules ----------------------------------------------------------------------------------

    def add_submodule(self, target: str, m: Module) -> bool:
        """Adds a submodule at a path; False if something on the way is no module."""
        *path, field = target.split(".")
        place: Any = self
        for part in path:
            found = getattr(place, part, None)
            if found is None:
                found = Module()
                setattr(place, part, found)
            if not isinstance(found, Module):
                return False
            place = found
        place.add_module(field, m)
        return True

    def delete_submodule(self, target: str) -> bool:
        """Takes a submodule away; False if there is none at the path."""
        *path, field = target.split(".")
        place: Any = self
        for part in path:
            place = getattr(place, part, None)
            if not isinstance(place, Module):
                return False
        if not isinstance(getattr(place, field, None), Module):
            return False
        delattr(place, field)
        return True

    def delete_all_unused_submodules(self) -> None:
        """Takes away the submodules that the graph does not call or read from."""
        used: set[str] = set()
        for node in self._graph.nodes:
            if node.op in ("call_module", "get_attr"):
                parts = str(node.target).split(".")
                used.update(".".join(parts[:i]) for i in range(1, len(parts) + 1))
                if node.op == "call_module":
                    module = self.get_submodule(str(node.target))
                    used.update(f"{node.target}.{name}" for name, _ in module.named_modules() if name)
        for name in [n for n, _ in self.named_modules() if n and n not in used]:
            self.delete_submodule(name)

    # -- text ----------------------------------------------------------------------------------------

    def print_readable(
        self, print_output: bool = True, include_stride: bool = False, include_device: bool = False,
        colored: bool = False, *, fast_sympy_print: bool = False, expanded_def: bool = False,
        additional_meta: Any = None,
    ) -> str:  # fmt: skip
        """The source of this module and of the graph modules in it; printed unless ``print_output`` is False."""
        body = self._graph.python_code("self", expanded_def=expanded_def).src
        text = f"class {type(self).__name__}(torch.nn.Module):" + body.replace("\n", "\n    ").rstrip() + "\n"
        for child in self.children():
            if isinstance(child, GraphModule):
                text += "\n    " + child.print_readable(False).replace("\n", "\n    ").rstrip() + "\n"
        if print_output:
            print(text)
        return text

    def to_folder(self, folder: str | os.PathLike[str], module_name: str = "FxModule") -> None:
        """Writes a package with this module's code and state to a folder."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        save(self.state_dict(), place / "state_dict.pt")
        lines = ["import torch", "from torch import device", "", f"class {module_name}(torch.nn.Module):"]
        lines += ["    def __init__(self):", "        super().__init__()"]
        for name, child in self.named_children():
            file = f"{name}.pt"
            save(child, place / file)
            warnings.warn(f"{name} is saved as an object, since its code is not part of the graph", stacklevel=2)
            lines.append(f"        self.{name} = torch.load(r'{place / file}', weights_only=False)")
        for kind, found in (("parameter", self._parameters), ("buffer", self._buffers)):
            for name, value in found.items():
                if value is not None:
                    made = f"torch.empty({list(value.shape)}, dtype={value.dtype})"
                    made = f"torch.nn.Parameter({made})" if kind == "parameter" else made
                    lines.append(f"        self.register_{kind}('{name}', {made})")
        lines.append(f"        self.load_state_dict(torch.load(r'{place / 'state_dict.pt'}'))")
        lines += ["    " + line for line in self._code.splitlines()]
        (place / "module.py").write_text("\n".join(lines) + "\n")
        (place / "__init__.py").write_text("from .module import *\n")

    def __str__(self) -> str:
        return (
            f"{super().__str__()}\n{self._code}\n\n# To see more debug info, please use `graph_module.print_readable()`"
        )

    # -- copies --------------------------------------------------------------------------------------

    def _body(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_graph", "_code")}

    def __deepcopy__(self, memo: dict[int, Any]) -> GraphModule:
        body = copy.deepcopy(self._body(), memo)
        made = GraphModule(_CodeOnlyModule(body), copy.deepcopy(self._graph), type(self).__name__)
        for name, value in body.items():
            made.__dict__.setdefault(name, value)
        for kind in ("_parameters", "_buffers", "_modules"):
            for name, value in body[kind].items():
                getattr(made, kind).setdefault(name, value)
        made.meta = body.get("meta", {})
        return made

    def __copy__(self) -> GraphModule:
        return GraphModule(self, copy.deepcopy(self._graph), type(self).__name__)

    def __reduce__(self) -> tuple[Any, ...]:
        body = {
            **self._body(),
            "_pickled_graph": _PickledGraph(self._graph),
            "_graphmodule_cls_name": type(self).__name__,
        }
        return (reduce_graph_module, (body, ""))
