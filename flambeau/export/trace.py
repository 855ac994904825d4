"""A call of a module as a graph: what it did to arguments, parameters and buffers, run on tensors without memory."""

from __future__ import annotations

import contextlib
import operator
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..autograd.mode import state as grad_state
from ..compiled.places import who_called
from ..compiler import exporting
from ..device import cpu, device, meta
from ..dispatch.operator import Operator
from ..errors import Unsupported
from ..fx.graph import Graph
from ..fx.node import Node, map_aggregate
from ..tensor import Tensor
from ..utils._pytree import tree_flatten, tree_unflatten
from .symbol import Symbolic, SymBool, symbolic
from .targets import ATTRIBUTES, FACTORIES, assert_scalar, resolve, sym_size

__all__ = ["Specialize", "Symbol", "Traced", "Tracer", "as_from", "traced_call", "tracing"]


class Symbol:
    """A size that may change: its name, bounds, its value for each probe; ``auto`` if it may turn out not to."""

    def __init__(self, name: str, low: int, high: int | None, values: list[int], auto: bool) -> None:
        self.name, self.low, self.high, self.values, self.auto = name, low, high, values, auto


class Specialize(Exception):
    """These symbols turned out to be fixed by the program."""

    def __init__(self, symbols: list[Symbol]) -> None:
        super().__init__()
        self.symbols = symbols


class Traced(Tensor):
    """A tensor of a program that is being exported: its value, without memory, for each probe, and its node."""

    _values: list[Tensor]
    _fx: Node

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return traced_call(func, args, kwargs or {})


class _Active(threading.local):
    tracer: Tracer | None = None
    trace = ""  # where the calls come from that are being made again


_active = _Active()


def traced_call(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """A call that the program being exported makes; raises Unsupported if there is none."""
    if _active.tracer is None:
        raise Unsupported("export: a tensor of an exported program was kept and used after it had been exported")
    return _active.tracer.call_public(func, args, kwargs)


class Tracer:
    """Records the graph of one call; see ``Keeper`` for what it does for symbolic numbers."""

    def __init__(self, symbols: Sequence[Symbol], decompose: Callable[[Operator], Any] | None = None) -> None:
        self.graph = Graph()
        self.symbols = list(symbols)
        self.probes = len(symbols[0].values) if symbols else 1
        self.decompose = decompose
        self.constants: dict[str, Tensor] = {}
        self._constant_nodes: dict[int, tuple[Tensor, Node]] = {}
        self._twins: dict[int, tuple[Tensor, Tensor]] = {}
        self.first_input: Node | None = None
        self._checked: set[str] = set()

    # -- tensors -----------------------------------------------------------------------------------
    def wrap(self, values: Sequence[Tensor], node: Node) -> Traced:
        """A traced tensor; the node learns what it stands for."""
        made: Traced = values[0].as_subclass(Traced)  # type: ignore[attr-defined]
        made._values, made._fx = list(values), node
        node.meta.setdefault("val", values[0])
        node.meta.setdefault("shape", tuple(self._dim_text(values, d) for d in range(values[0].ndim)))
        return made

    def _dim_text(self, values: Sequence[Tensor], d: int) -> int | str:
        sizes = [v.shape[d] for v in values]
        return sizes[0] if len(set(sizes)) == 1 else self.spelled(sizes)

    def placeholder(self, name: str, shapes: Sequence[Sequence[int]], like: Tensor) -> Traced:
        """An argument of the graph with a shape for each probe."""
        node = self.graph.placeholder(name)
        values = [_without_memory(shape, like) for shape in shapes]
        return self.wrap(values, node)

    def twin(self, t: Tensor) -> Tensor:
        """A tensor without memory that has the layout of one with memory."""
        if t._layout.device is meta:
            return t
        found = self._twins.get(id(t))
        if found is None:
            found = self._twins[id(t)] = (t, _without_memory(t.shape, t))
        return found[1]

    def constant(self, t: Tensor) -> Node:
        """The node of a tensor that is no argument: it becomes a constant of the program."""
        found = self._constant_nodes.get(id(t))
        if found is None:
            name = f"c_lifted_tensor_{len(self.constants)}"
            before = self.first_input or next(iter(self.graph.nodes), None)
            with self.graph.inserting_before(before):
                node = self.graph.placeholder(name)
            node.meta["val"], node.meta["shape"] = self.twin(t), tuple(t.shape)
            self.constants[name] = t.detach().clone()  # type: ignore[attr-defined]
            found = self._constant_nodes[id(t)] = (t, node)
        return found[1]

    # -- calls -------------------------------------------------------------------------------------
    def call_public(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """A call that the program makes of a function, method or property with a traced tensor or symbolic number."""
        owner = getattr(func, "__self__", None)
        if isinstance(owner, property):
            return self._property(owner, func.__name__, args)
        name = getattr(func, "__name__", "")
        if name in ("_size", "size"):
            return self._size(*args, **kwargs)
        op = getattr(func, "operator", None)
        if op is not None and self.decompose is not None and name == op.name:
            body = self.decompose(op)
            if body is not None:
                last = next(iter(reversed(self.graph.nodes)), None)
                try:
                    return body(*args, **kwargs)
                except (Unsupported, Specialize):  # it decides by sizes: it stays whole
                    self._forget(last)
        values = [self._execute(func, args, kwargs, k) for k in range(self.probes)]
        leaves, spec = tree_flatten(values[0])
        others = [tree_flatten(v)[0] for v in values]
        if not any(isinstance(leaf, Tensor) for leaf in leaves) and not (values[0] is None and name == "__setitem__"):
            return self._number(func, args, kwargs, values)
        try:
            kind, target, label = resolve(func)
        except (KeyError, TypeError):
            if hasattr(func, "__wrapped__"):  # a function above operators: the program has those
                return func.__wrapped__(*args, **kwargs)
            raise Unsupported(
                f"export: {who_called().place} calls {name or func}, which no exported program can contain"
            ) from None
        node = self._node(kind, target, label, args, kwargs)
        if values[0] is None:
            return None
        if isinstance(values[0], Tensor):
            return self._result([v for (v,) in others], node, args)
        found = []
        for k, leaf in enumerate(leaves):
            if not isinstance(leaf, Tensor):
                found.append(leaf)
                continue
            part = self.graph.call_function(operator.getitem, (node, k), name="getitem")
            part.meta.update(node.meta)
            found.append(self.wrap([o[k] for o in others], part))
        return tree_unflatten(found, spec)

    def _forget(self, last: Node | None) -> None:
        """Removes the nodes after ``last``."""
        for node in reversed(list(self.graph.nodes)):
            if node is last:
                break
            self.graph.erase_node(node)

    def _result(self, values: list[Tensor], node: Node, args: Sequence[Any]) -> Traced:
        for a in args[:1]:
            if isinstance(a, Traced) and all(v is w for v, w in zip(values, a._values)):
                # written in place, or the same for another reason: the same tensor goes on
                a._fx = node
                node.meta.setdefault("val", values[0])
                node.meta.setdefault("shape", tuple(self._dim_text(values, d) for d in range(values[0].ndim)))
                return a
        return self.wrap(values, node)

    def _execute(self, func: Any, args: Any, kwargs: Any, probe: int) -> Any:
        """What the call gives for one probe."""
        method = getattr(func, "__name__", "") in ("_to", "to")

        def plain(a: Any) -> Any:
            if isinstance(a, Traced):
                return a._values[probe]
            if isinstance(a, Symbolic):
                return a.values[probe]
            if isinstance(a, Tensor):
                return self.twin(a)
            if isinstance(a, device) or (method and a == "cpu"):
                return meta
            return a

        named = {k: meta if k == "device" and v is not None else _mapped(v, plain) for k, v in kwargs.items()}
        if getattr(func, "__name__", "") in FACTORIES and not named.get("device"):
            named["device"] = meta
        try:
            return func(*[_mapped(a, plain) for a in args], **named)
        except NotImplementedError as error:
            raise self._needs_value(func, error) from error
        except RuntimeError as error:
            if "meta" in str(error).lower():
                raise self._needs_value(func, error) from error
            raise

    def _needs_value(self, func: Any, error: Exception) -> Unsupported:
        caller = who_called()
        return Unsupported(
            f"export: {caller.place} ({caller.line}) needs the value of a tensor ({getattr(func, '__name__', func)}), "
            f"which an exported program does not know: {error}"
        )

    def _node(self, kind: str, target: Any, label: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Node:
        def argument(a: Any) -> Any:
            if isinstance(a, Traced):
                return a._fx
            if isinstance(a, Symbolic):
                return a.node
            if isinstance(a, Tensor):
                return self.constant(a)
            return a

        node = self.graph.create_node(
            kind, target, tuple(_mapped(a, argument) for a in args),
            {k: _mapped(v, argument) for k, v in kwargs.items()}, label or "call",
        )  # fmt: skip
        caller = who_called()
        node.meta["stack_trace"] = _active.trace or f'  File "{caller.place}"\n    {caller.line}'
        return node

    def _property(self, owner: property, action: str, args: Sequence[Any]) -> Any:
        x = args[0]
        name = next(n for n, member in vars(Tensor).items() if member is owner)
        if action != "__get__":
            if name in ("requires_grad", "grad"):
                return None
            raise Unsupported(f"export: {who_called().place} sets .{name} of a tensor, which is no operator")
        if name == "shape":
            return self._size(x)
        if name == "data":
            return x.detach()
        if name == "device":
            return cpu
        if name == "is_meta":
            return False
        if name == "grad":
            return None
        if name in ATTRIBUTES:
            values = [owner.__get__(v) for v in x._values]
            node = self.graph.call_function(getattr, (x._fx, name), name=name.lower())
            return self.wrap(values, node)
        return owner.__get__(x._values[0])

    def _size(self, x: Traced, dim: int | None = None) -> Any:
        if dim is not None:
            return self._dim(x, dim % x._values[0].ndim if x._values[0].ndim else dim)
        found = [self._dim(x, d) for d in range(x._values[0].ndim)]
        return _Shape(found) if any(isinstance(n, Symbolic) for n in found) else x._values[0].shape

    def _dim(self, x: Traced, d: int) -> Any:
        node = x._fx
        return symbolic(self, [v.shape[d] for v in x._values], lambda: self.call(sym_size, node, d))

    def _number(self, func: Any, args: Any, kwargs: Any, values: list[Any]) -> Any:
        """The result of a call that is no tensor."""
        if all(v == values[0] for v in values):
            return values[0]
        name = getattr(func, "__name__", "")
        if name in ("numel", "nelement"):
            total: Any = 1
            for n in self._size(args[0]):
                total = total * n
            return total
        if name == "__len__":
            return int(self._dim(args[0], 0))
        raise self._conflict(values, f"{name}() gives different results")

    # -- symbolic numbers --------------------------------------------------------------------------
    def call(self, function: Callable[..., Any], *args: Any) -> Node:
        """See ``Keeper``."""
        return self.graph.call_function(function, args, name=getattr(function, "__name__", None))

    def decide(self, condition: SymBool) -> bool:
        """See ``Keeper``."""
        raise self._conflict(condition.values, "a branch goes different ways")

    def settle(self, number: Symbolic) -> Any:
        """See ``Keeper``."""
        raise self._conflict(number.values, "a plain number is needed of a size")

    def spelled(self, values: Sequence[Any]) -> str:
        """See ``Keeper``: a multiple of one symbol and a number more, if it is that."""
        for s in self.symbols:
            x, y = s.values, values
            if len(set(x)) < 2:
                continue
            if list(x) == list(y):
                return s.name
            other = next(k for k in range(1, len(x)) if x[k] != x[0])
            factor, rest = divmod(y[other] - y[0], x[other] - x[0])
            offset = y[0] - factor * x[0]
            if factor and not rest and all(factor * a + offset == b for a, b in zip(x, y)):
                text = f"{factor}*{s.name}" if factor != 1 else s.name
                return text + (f" + {offset}" if offset > 0 else f" - {-offset}" if offset else "")
        return "u" + "_".join(map(str, values))

    def _conflict(self, values: Sequence[Any], what: str) -> Exception:
        """The error of something that depends on which sizes are chosen."""
        involved = [s for s in self.symbols if _depends(values, s.values)] or self.symbols
        if all(s.auto for s in involved):
            return Specialize(involved)
        caller = who_called()
        names = ", ".join(s.name for s in involved)
        cases = "; ".join(f"{s.name} = {s.values}" for s in involved)
        return Unsupported(
            f"Constraints violated ({names})! export: {what} at {caller.place}"
            f"{f' ({caller.line})' if caller.line else ''}: {list(values)} for {cases}. Narrow the Dim "
            f"(Dim({involved[0].name!r}, min=..., max=...)) so that one way is always taken, write the program so that "
            "it does not depend on the size, or leave the size fixed."
        )

    def met(self, function: Callable[..., Any], args: Sequence[Any], value: Any) -> None:
        """See ``Keeper``: the program checks it."""
        text = f"{function.__name__}({', '.join(map(str, args))}) == {value}"
        if text in self._checked:
            return
        self._checked.add(text)
        node = self.call(function, *[a.node if isinstance(a, Symbolic) else a for a in args])
        if value is not True:
            node = self.call(operator.eq, node, value)
        caller = who_called()
        where = f" at {caller.place}{f' ({caller.line})' if caller.line else ''}"
        message = f"the program was exported for sizes with {text}{where}, which does not hold for these arguments"
        self.graph.call_function(assert_scalar, (node, message), name="assert_scalar")


class _Shape(tuple[Any, ...]):
    """A shape with symbolic sizes."""

    def numel(self) -> Any:
        """The number of elements."""
        total: Any = 1
        for n in self:
            total = total * n
        return total


def _depends(values: Sequence[Any], sizes: Sequence[int]) -> bool:
    """Whether values may be functions of sizes that are not the same for all probes."""
    return len(set(sizes)) > 1 and len({(s, v) for s, v in zip(sizes, values)}) == len(set(sizes))


def _mapped(a: Any, fn: Callable[[Any], Any]) -> Any:
    """``fn`` of every item of an argument."""
    if isinstance(a, slice):
        return slice(_mapped(a.start, fn), _mapped(a.stop, fn), _mapped(a.step, fn))
    if isinstance(a, _Shape):
        return [fn(x) for x in a]
    return map_aggregate(a, fn)


def _without_memory(shape: Sequence[int], like: Tensor) -> Tensor:
    """A tensor without memory."""
    found = like.new_empty(tuple(shape), device="meta")  # type: ignore[attr-defined]
    if tuple(shape) == tuple(like.shape) and not like._layout.contiguous and like._layout.dense:
        found = found.as_strided(tuple(shape), like._layout.strides)
    return found


@contextlib.contextmanager
def as_from(trace: str) -> Iterator[None]:
    """Inside of ``with``, calls are those of a node that says where it came from."""
    before, _active.trace = _active.trace, trace
    try:
        yield
    finally:
        _active.trace = before


@contextlib.contextmanager
def tracing(tracer: Tracer) -> Iterator[None]:
    """Inside of ``with``, what happens to this tracer's tensors is recorded, and so is what functions that make tensors
    are called with."""
    package = sys.modules[__name__.partition(".")[0]]
    before, grad = _active.tracer, grad_state.grad
    saved = {name: getattr(package, name) for name in FACTORIES if hasattr(package, name)}

    def recorded(function: Callable[..., Any]) -> Callable[..., Any]:
        def make(*args: Any, **kwargs: Any) -> Any:
            return tracer.call_public(function, args, kwargs)

        make.__name__ = function.__name__
        return make

    _active.tracer = tracer
    grad_state.grad = False
    vars(package).update({name: recorded(function) for name, function in saved.items()})
    try:
        with exporting():
            yield
    finally:
        vars(package).update(saved)
        _active.tracer, grad_state.grad = before, grad
