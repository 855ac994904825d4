"""Symbolic tracing: running a program on proxies, and keeping what it did as a graph."""

from __future__ import annotations

import builtins
import functools
import inspect
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

from ..nn.modules.container import Sequential
from ..nn.modules.module import Module
from ..nn.parameter import Parameter
from ..tensor import Tensor
from .graph import Graph
from .graph_module import GraphModule
from .node import Argument
from .proxy import ParameterProxy, Proxy, Scope, ScopeContextManager, TracerBase

__all__ = ["Tracer", "is_fx_tracing", "symbolic_trace", "wrap"]

_wrapped: dict[tuple[int, str], dict[str, Any]] = {}  # globals and names of functions that are not looked into
_tracing = [0]
# Parts of the library itself: calls of their modules are nodes.
_LIBRARY = ("torch.nn", "torch.ao.nn", "flambeau.nn", "flambeau.ao.nn")


def is_fx_tracing() -> bool:
    """Whether a program is being traced."""
    return _tracing[0] > 0


def wrap(fn_or_name: str | Callable[..., Any]) -> Any:
    """Says that calls of a function, by its name in the calling module, are nodes and are not looked into.

    Call it at the top level of a module, or use it as a decorator there; raises RuntimeError elsewhere, and
    NotImplementedError for what is neither.
    """
    if not callable(fn_or_name) and not isinstance(fn_or_name, str):
        raise RuntimeError("Unsupported type for global function! Must be either a callable or string name")
    name = fn_or_name if isinstance(fn_or_name, str) else fn_or_name.__name__
    frame = sys._getframe(1)
    if frame.f_code.co_name != "<module>":
        raise NotImplementedError("wrap must be called at the top level of a module")
    _wrapped[id(frame.f_globals), name] = frame.f_globals
    return fn_or_name


def _contains_proxy(args: Any, kwargs: Any) -> Proxy | None:
    found: list[Proxy] = []

    def look(a: Any) -> None:
        if isinstance(a, Proxy):
            found.append(a)
        elif isinstance(a, (tuple, list)):
            for x in a:
                look(x)
        elif isinstance(a, dict):
            for x in a.values():
                look(x)

    look(args)
    look(kwargs)
    return found[0] if found else None


def _as_node(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose calls with proxies are nodes."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        proxy = _contains_proxy(args, kwargs)
        if proxy is None:
            return function(*args, **kwargs)
        made = proxy.tracer.create_proxy("call_function", function, args, kwargs)
        made.node.meta["is_wrapped"] = True
        return made

    return call


class Tracer(TracerBase):
    """Traces modules and functions; subclasses say which modules are looked into.

    ``autowrap_modules`` are modules whose functions become nodes when they are called with proxies (``math``), and
    ``autowrap_functions`` further such functions.  ``param_shapes_constant``: shapes of parameters are known.
    """

    def __init__(
        self, autowrap_modules: tuple[ModuleType, ...] = (math,),
        autowrap_functions: tuple[Callable[..., Any], ...] = (), param_shapes_constant: bool = False,
    ) -> None:  # fmt: skip
        self._modules_wrapped = autowrap_modules
        self._functions_wrapped: dict[int, Callable[..., Any]] = {id(f): f for f in autowrap_functions}
        for module in autowrap_modules:
            for name, value in vars(module).items():
                if not name.startswith("_") and callable(value):
                    self._functions_wrapped[id(value)] = value
        self.param_shapes_constant = param_shapes_constant
        self.root: Module = Module()
        self.submodule_paths: dict[Module, str] | None = None
        self.tensor_attrs: dict[int, str] = {}
        self.scope = Scope("", None)
        self.module_stack: dict[str, Any] = {}

    # -- what subclasses may change ------------------------------------------------------------------

    def is_leaf_module(self, m: Module, module_qualified_name: str) -> bool:
        """Whether a call of a submodule is one node: those of the library are, but for ``Sequential``."""
        return type(m).__module__.startswith(_LIBRARY) and not isinstance(m, Sequential)

    def path_of_module(self, mod: Module) -> str:
        """The path of a submodule; raises NameError for one that the root does not have."""
        if self.submodule_paths is not None:
            path = self.submodule_paths.get(mod)
            if path is None:
                raise NameError("module is not installed as a submodule")
            return path
        for name, module in self.root.named_modules():
            if module is mod:
                return name
        raise NameError("module is not installed as a submodule")

    def call_module(self, m: Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a call of a submodule gives: a node, or what its code gives when it is looked into."""
        path = self.path_of_module(m)
        with ScopeContextManager(self.scope, Scope(path, type(m))):
            self.module_stack[path] = (path, type(m))
            try:
                if self.is_leaf_module(m, path):
                    return self.create_proxy("call_module", path, args, kwargs)
                return forward(*args, **kwargs)
            finally:
                self.module_stack.pop(path, None)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """What a program gets that reads a parameter of a module: its proxy."""
        groups: list[Any] = []
        if isinstance(attr_val, Parameter):
            groups = list(self.root.named_parameters())
        elif self.proxy_buffer_attributes and isinstance(attr_val, Tensor):
            groups = list(self.root.named_buffers())
        for name, value in groups:
            if value is attr_val:
                if name not in parameter_proxy_cache:
                    make = None
                    if self.param_shapes_constant:
                        make = functools.partial(_parameter_proxy, self, name, attr_val)
                    parameter_proxy_cache[name] = self.create_proxy("get_attr", name, (), {}, proxy_factory_fn=make)
                return parameter_proxy_cache[name]
        return attr_val

    def get_fresh_qualname(self, prefix: str) -> str:
        """A name that the root has no attribute of: ``prefix`` and a number."""
        number = 0
        while hasattr(self.root, f"{prefix}{number}"):
            number += 1
        return f"{prefix}{number}"

    # -- arguments -----------------------------------------------------------------------------------

    def _leaf(self, a: Any) -> Argument:
        if isinstance(a, Parameter):
            for name, value in self.root.named_parameters():
                if value is a:
                    return self.create_node("get_attr", name, (), {})
            raise NameError("parameter is not a member of this module")
        if isinstance(a, Tensor):
            for name, value in self.root.named_buffers():
                if value is a:
                    return self.create_node("get_attr", name, (), {})
            path = self.tensor_attrs.get(id(a))
            if path is None:
                path = self.get_fresh_qualname("_tensor_constant")
                self.tensor_attrs[id(a)] = path
                setattr(self.root, path, a)
            return self.create_node("get_attr", path, (), {})
        if isinstance(a, Module):
            return self.create_node("get_attr", self.path_of_module(a), (), {})
        return super()._leaf(a)

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        """(the function, what to call it with): a proxy for every parameter that ``concrete_args`` has no value for."""
        parameters = list(inspect.signature(inspect.unwrap(root_fn)).parameters.values())
        args: list[Any] = []
        if is_module:
            if not parameters:
                raise RuntimeError("``self`` argument cannot be part of *args expansion!")
            args.append(self.root)
            parameters = parameters[1:]
        concrete = concrete_args or {}
        named: dict[str, Any] = {}
        for p in parameters:
            star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
            if p.name in concrete:
                value = concrete[p.name]
            else:
                default = () if p.default is p.empty or star else (p.default,)
                type_ = None if p.annotation is p.empty or star else p.annotation
                value = self.create_proxy(
                    "placeholder", star + p.name, default, {}, type_expr=type_ if isinstance(type_, type) else None
                )
            if p.kind is p.KEYWORD_ONLY:
                named[p.name] = value
            elif p.kind is p.VAR_POSITIONAL:
                root_fn = _with_star(root_fn, value, "args")
            elif p.kind is p.VAR_KEYWORD:
                root_fn = _with_star(root_fn, value, "kwargs")
            else:
                args.append(value)
        return (functools.partial(root_fn, **named) if named else root_fn), args

    # -- the run -------------------------------------------------------------------------------------

    def trace(self, root: Module | Callable[..., Any], concrete_args: dict[str, Any] | None = None) -> Graph:
        """The graph of a module or function; ``concrete_args`` are values of parameters that are not to be traced."""
        if isinstance(root, Module):
            self.root = root
            function: Callable[..., Any] = getattr(type(root), self.traced_func_name)
            self.submodule_paths = {module: name for name, module in root.named_modules()}
        else:
            self.root = Module()
            function = root
        self.graph = Graph(tracer_cls=getattr(self, "__class__", None))
        self.tensor_attrs = {}
        for path, module in self.root.named_modules():
            for name, value in vars(module).items():
                if isinstance(value, Tensor):
                    self.tensor_attrs[id(value)] = f"{path}.{name}" if path else name
        function, args = self.create_args_for_root(function, isinstance(root, Module), concrete_args)
        with self._patched():
            result = function(*args)
            self.create_node("output", "output", (self.create_arg(result),), {})
        return self.graph

    @contextmanager
    def _patched(self) -> Iterator[None]:
        """Calls and attributes of modules, and calls of wrapped functions, come to this tracer inside of the block."""
        cache: dict[str, Any] = {}
        call, get = Module.__call__, Module.__getattr__
        tracer = self

        def traced_call(mod: Module, *args: Any, **kwargs: Any) -> Any:
            return tracer.call_module(mod, functools.partial(call, mod), args, kwargs)

        def traced_get(mod: Module, attr: str) -> Any:
            return tracer.getattr(attr, get(mod, attr), cache)

        with ExitStack() as stack:
            stack.callback(setattr, Module, "__call__", call)
            stack.callback(setattr, Module, "__getattr__", get)
            Module.__call__, Module.__getattr__ = traced_call, traced_get  # type: ignore[method-assign,assignment]
            for (_, name), space in _wrapped.items():
                self._patch(stack, space, name)
            for space in self._spaces():
                for name, value in list(space.items()):
                    if not name.startswith("_") and callable(value) and id(value) in self._functions_wrapped:
                        self._patch(stack, space, name)
            for module in self._modules_wrapped:
                for name in [n for n, v in vars(module).items() if not n.startswith("_") and callable(v)]:
                    self._patch(stack, vars(module), name)
            _tracing[0] += 1
            stack.callback(_leave)
            yield

    def _spaces(self) -> list[dict[str, Any]]:
        """The globals of the code that is traced."""
        function = getattr(type(self.root), self.traced_func_name, None)
        found = getattr(inspect.unwrap(function), "__globals__", None) if function is not None else None
        return [found] if found is not None else []

    def _patch(self, stack: ExitStack, space: dict[str, Any], name: str) -> None:
        missing = name not in space
        before = getattr(builtins, name) if missing else space[name]
        if not callable(before) or getattr(before, "__fx_wrapped__", False):
            return
        made = _as_node(before)
        made.__fx_wrapped__ = True  # type: ignore[attr-defined]
        stack.callback(space.pop if missing else space.__setitem__, name, *(() if missing else (before,)))
        space[name] = made


def _leave() -> None:
    _tracing[0] -= 1


def _parameter_proxy(tracer: Tracer, name: str, param: Tensor, node: Any) -> ParameterProxy:
    return ParameterProxy(tracer, node, name, param)


def _with_star(function: Callable[..., Any], value: Any, kind: str) -> Callable[..., Any]:
    """The function with a proxy for its ``*args`` or ``**kwargs``, which it may pass on but not count."""
    code = inspect.unwrap(function).__code__
    name = code.co_varnames[code.co_argcount + code.co_kwonlyargcount + (kind == "kwargs" and bool(code.co_flags & 4))]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"tracing a function whose '{name}' takes any number of arguments needs concrete_args for it")

    if isinstance(value, Proxy):
        return call
    return functools.partial(function, **value) if kind == "kwargs" else lambda *a, **k: function(*a, *value, **k)


def symbolic_trace(root: Module | Callable[..., Any], concrete_args: dict[str, Any] | None = None) -> GraphModule:
    """The ``GraphModule`` that does what a module or function does, as it ran on proxies.

    Raises TraceError where the program asks a proxy for a value, as in ``if x.sum() > 0``.
    """
    tracer = Tracer()
    graph = tracer.trace(root, concrete_args)
    name = type(root).__name__ if isinstance(root, Module) else getattr(root, "__name__", type(root).__name__)
    return GraphModule(tracer.root, graph, name)
