"""Proxies: what a program is called with in place of tensors, so that what it does with them becomes nodes."""

from __future__ import annotations

import dis
import inspect
import operator
import sys
from collections.abc import Callable, Iterator
from typing import Any

from ..tensor import OWN_ATTRIBUTES, Tensor
from .graph import Graph
from .immutable_collections import immutable_dict
from .node import BASE_TYPES, Argument, Node, Target, map_aggregate

__all__ = [
    "Attribute", "GraphAppendingTracer", "ParameterProxy", "Proxy", "Scope", "ScopeContextManager", "TraceError",
    "TracerBase",
]  # fmt: skip


class TraceError(ValueError):
    """A program asked a proxy for something that only a value has."""


class Scope:
    """The submodule that is being called."""

    def __init__(self, module_path: str, module_type: Any) -> None:
        self.module_path, self.module_type = module_path, module_type


class ScopeContextManager:
    """``with`` this, ``scope`` says what ``current_scope`` says; it is set back at the end."""

    def __init__(self, scope: Scope, current_scope: Scope) -> None:
        self._scope, self._before = scope, (scope.module_path, scope.module_type)
        scope.module_path, scope.module_type = current_scope.module_path, current_scope.module_type

    def __enter__(self) -> Scope:
        return self._scope

    def __exit__(self, *args: object) -> None:
        self._scope.module_path, self._scope.module_type = self._before


class TracerBase:
    """Turns what happens to proxies into nodes of ``graph``."""

    graph: Graph
    record_stack_traces = False
    check_mutable_operations = False
    trace_asserts = False
    proxy_buffer_attributes = False
    traced_func_name = "forward"

    def create_node(
        self, kind: str, target: Target, args: tuple[Argument, ...], kwargs: dict[str, Argument],
        name: str | None = None, type_expr: Any = None,
    ) -> Node:  # fmt: skip
        """A new node at the end of the graph."""
        return self.graph.create_node(kind, target, args, kwargs, name, type_expr)

    def proxy(self, node: Node) -> Proxy:
        """The proxy of a node."""
        return Proxy(node, self)

    def create_proxy(
        self, kind: str, target: Target, args: tuple[Any, ...], kwargs: dict[str, Any], name: str | None = None,
        type_expr: Any = None, proxy_factory_fn: Callable[[Node], Proxy] | None = None,
    ) -> Proxy:  # fmt: skip
        """The proxy of a new node, whose arguments may hold proxies."""
        node_args, node_kwargs = self.create_arg(args), self.create_arg(kwargs)
        node = self.create_node(kind, target, node_args, node_kwargs, name, type_expr)
        if self.record_stack_traces:
            node.stack_trace = "".join(
                f'File "{f.filename}", line {f.lineno}, in {f.function}\n' for f in reversed(inspect.stack()[2:])
            )
        return (proxy_factory_fn or self.proxy)(node)

    def create_arg(self, a: Any) -> Argument:
        """An argument as a node may hold it: proxies become their nodes.

        Raises NotImplementedError for objects that the code of a graph cannot name.
        """
        return map_aggregate(a, self._leaf)

    def _leaf(self, a: Any) -> Argument:
        if isinstance(a, Proxy):
            return a.node
        if isinstance(a, (*BASE_TYPES, Node)) or callable(a) or type(a).__module__.startswith("flambeau"):
            return a
        if hasattr(a, "__fx_create_arg__"):
            return a.__fx_create_arg__(self)
        if type(a).__module__ == "enum" or hasattr(type(a), "__members__"):
            return a
        raise NotImplementedError(f"argument of type: {type(a)}")

    def to_bool(self, obj: Proxy) -> bool:
        """What a program gets that asks for the truth of a proxy: TraceError."""
        raise TraceError("symbolically traced variables cannot be used as inputs to control flow")

    def iter(self, obj: Proxy) -> Iterator[Any]:
        """What a program gets that iterates over a proxy: items where it unpacks a known number, else TraceError."""
        frame = sys._getframe(2)
        for instruction in dis.get_instructions(frame.f_code):
            if instruction.offset == frame.f_lasti and instruction.opname == "UNPACK_SEQUENCE":
                return iter([obj[i] for i in range(instruction.argval)])
        raise TraceError(
            "Proxy object cannot be iterated. This can be attempted when the Proxy is used in a loop or as a *args or "
            "**kwargs function argument. See the torch.fx docs on pytorch.org for a more detailed explanation of what "
            "types of control flow can be traced, and check out the Proxy docstring for help troubleshooting Proxy "
            "iteration errors"
        )

    def keys(self, obj: Proxy) -> Any:
        """What a program gets that asks a proxy for its keys."""
        return Attribute(obj, "keys")()


class GraphAppendingTracer(TracerBase):
    """Appends nodes to a graph that is there already."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.scope = Scope("", None)


class Proxy:
    """Stands for the value of a node: operators, functions, methods and attributes of it become nodes."""

    def __init__(self, node: Node, tracer: TracerBase | None = None) -> None:
        self.tracer = tracer if tracer is not None else GraphAppendingTracer(node.graph)
        self.node = node

    def __repr__(self) -> str:
        return f"Proxy({self.node.name})"

    def __getattr__(self, k: str) -> Any:
        if k in OWN_ATTRIBUTES:  # what operators look at to see that this is no tensor
            raise AttributeError(k)
        return Attribute(self, k)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.tracer.create_proxy("call_method", "__call__", (self, *args), kwargs)

    def __iter__(self) -> Iterator[Any]:
        return self.tracer.iter(self)

    def __bool__(self) -> bool:
        return self.tracer.to_bool(self)

    def __index__(self) -> int:
        return int(self.tracer.to_bool(self))

    def __len__(self) -> int:
        raise RuntimeError(
            "'len' is not supported in symbolic tracing by default. If you want this call to be recorded, please call "
            "torch.fx.wrap('len') at module scope"
        )

    def __hash__(self) -> int:
        return id(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        raise TraceError("a Proxy cannot be copied: it stands for a value that is not there yet")

    def keys(self) -> Any:
        """The keys, where the program passes the proxy on as ``**kwargs``."""
        return self.tracer.keys(self)

    @classmethod
    def __torch_function__(
        cls, orig_method: Any, types: Any, args: Any = None, kwargs: dict[str, Any] | None = None
    ) -> Any:
        args, kwargs = args or (), kwargs or {}
        tracers: dict[TracerBase, None] = {}

        def find(a: Any) -> Any:
            if isinstance(a, Proxy):
                tracers[a.tracer] = None
            return a

        map_aggregate(tuple(args), find)
        map_aggregate(immutable_dict(kwargs), find)
        if len(tracers) > 1:
            raise RuntimeError(f"Found multiple different tracers {list(tracers)} while trying to trace {orig_method}")
        tracer = next(iter(tracers))
        name = getattr(orig_method, "__name__", "")
        if getattr(orig_method, "__module__", None) == "torch.Tensor" or (
            isinstance(inspect.getattr_static(Tensor, name, None), (property, type(Tensor.__hash__)))
            and getattr(Tensor, name, None) is orig_method
        ):
            return tracer.create_proxy("call_method", name, tuple(args), kwargs)
        return tracer.create_proxy("call_function", orig_method, tuple(args), kwargs)


class Attribute(Proxy):
    """An attribute of a proxy: a node of its own only if something else than calling it is done with it."""

    def __init__(self, root: Proxy, attr: str) -> None:
        self.root, self.attr, self.tracer = root, attr, root.tracer
        self._node: Node | None = None

    @property
    def node(self) -> Node:  # type: ignore[override]
        """The node that reads the attribute."""
        if self._node is None:
            self._node = self.tracer.create_proxy("call_function", getattr, (self.root, self.attr), {}).node
        return self._node

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.tracer.create_proxy("call_method", self.attr, (self.root, *args), kwargs)


class ParameterProxy(Proxy):
    """Stands for a parameter; answers for its shape, which is known."""

    def __init__(self, tracer: TracerBase, node: Node, name: str, param: Tensor) -> None:
        super().__init__(node, tracer)
        self.param, self.name = param, name

    def __repr__(self) -> str:
        return f"ParameterProxy({self.name})"

    @property
    def shape(self) -> Any:
        """The shape of the parameter."""
        return self.param.shape

    @property
    def ndim(self) -> int:
        """The number of dimensions of the parameter."""
        return self.param.ndim

    def size(self) -> Any:
        """The shape of the parameter."""
        return self.param.shape

    def dim(self) -> int:
        """The number of dimensions of the parameter."""
        return self.param.dim()

    def numel(self) -> int:
        """The number of elements of the parameter."""
        return self.param.numel()

    nelement = numel


def _forward(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def method(*args: Any, **kwargs: Any) -> Any:
        return args[0].tracer.create_proxy("call_function", function, args, kwargs)

    method.__name__ = method.__qualname__ = f"__{name}__"
    return method


def _reflected(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def method(self: Proxy, rhs: Any) -> Any:
        return self.tracer.create_proxy("call_function", function, (rhs, self), {})

    method.__name__ = method.__qualname__ = f"__r{name}__"
    return method


_BINARY = ("add", "and_", "floordiv", "lshift", "matmul", "mod", "mul", "or_", "pow", "rshift", "sub", "truediv", "xor")
_OTHER = (
    "abs", "eq", "ge", "getitem", "gt", "invert", "le", "lt", "ne", "neg", "pos", "setitem",
    "iadd", "iand", "ifloordiv", "ilshift", "imod", "imul", "imatmul", "ior", "ipow", "irshift", "isub", "itruediv",
    "ixor",
)  # fmt: skip
for _name in (*_BINARY, *_OTHER):
    _plain = _name.rstrip("_")
    setattr(Proxy, f"__{_plain}__", _forward(getattr(operator, _name), _plain))
for _name in _BINARY:
    _plain = _name.rstrip("_")
    setattr(Proxy, f"__r{_plain}__", _reflected(getattr(operator, _name), _plain))
