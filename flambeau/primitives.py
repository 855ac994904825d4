"""The closed set of operations that the compiler knows, as functions of tensors being traced.

The body of an operator is written with these and with other operators.  They may be called only while a graph is
recorded (``Recorder``); a tensor that takes part is then a layout over a pending value.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

from .device import cpu
from .dtype import coded, dtype
from .graph.node import Graph, Map, Node
from .layout import Layout, contiguous_strides, dense, of
from .storage import Pending, Storage, Trace
from .tensor import Tensor, make

__all__ = [
    "Recorder", "apply", "argreduce", "bitcast", "cast", "const", "current", "extern", "gather", "iota", "move", "read",
    "reduce", "require",
    "scalar", "scan", "scatter", "share", "size", "undef", "update", "wrap", "write",
]  # fmt: skip

_stack: list[Recorder] = []
"""The recorders in use, of the one thread that is tracing; others see that it is not empty, and ask `tracing`."""


class _Turn:
    """Which thread may trace: the others wait for it to end."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.thread = 0  # the last one that had its turn


_turn = _Turn()


class Recorder(Trace):
    """Records a graph.  As a context manager it is the one that primitives add to, in one thread at a time.

    ``arguments`` are the storages (with layout and offset) that the graph reads, in the order of its input slots;
    ``numbers`` are the run-time numbers.
    """

    def __init__(self) -> None:
        self.graph = Graph()
        self.arguments: list[tuple[Storage | None, Layout, int]] = []
        self.numbers: list[float | int] = []
        self._known: dict[tuple[int, int, int], Node] = {}

    def __enter__(self) -> Recorder:
        _turn.lock.acquire()
        _turn.thread = threading.get_ident()
        _stack.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        _stack.pop()
        _turn.lock.release()

    def kept(self, storage: Storage) -> None:
        """Called for every storage whose value is pending in this graph."""

    def wrote(self, storage: Storage) -> None:
        """Called when a storage that has memory gets a pending value."""
        raise RuntimeError("an operator's body wrote into the memory of an argument")

    def argument(self, layout: Layout, storage: Storage | None = None, offset: int = 0) -> Node:
        """The input node for elements in memory."""
        key = (id(storage), id(layout), offset)
        if storage is not None and key in self._known:
            return self._known[key]
        node = self.graph.input(len(self.arguments), layout.shape, layout.strides, layout.dtype.code)
        self.arguments.append((storage, layout, offset))
        if storage is not None:
            self._known[key] = node
        return node

    def placeholder(self, layout: Layout) -> Tensor:
        """A tensor that stands for an argument of this layout (while an operator is planned)."""
        return wrap(self.argument(layout), layout.strides, layout)

    def number(self, value: complex | float | int | bool) -> Node:
        """A run-time number of the widest type of its kind."""
        if isinstance(value, complex):
            return self.graph.complex(self.number(value.real), self.number(value.imag))
        code = "f64" if isinstance(value, float) else "i64"
        if code == "i64" and not -(1 << 63) <= value < 1 << 63:
            if value >= 1 << 64 or value < 0:
                raise RuntimeError(f"value cannot be converted to type int64_t without overflow: {value}")
            value -= 1 << 64  # the same bits
        self.numbers.append(value)
        return self.graph.scalar(len(self.numbers) - 1, code)


def current() -> Recorder:
    """The recorder in use; raises RuntimeError outside of one."""
    if not tracing():
        raise RuntimeError("a primitive was called outside of a trace")
    return _stack[-1]


def tracing() -> bool:
    """Whether this thread is recording a graph."""
    return bool(_stack) and _turn.thread == threading.get_ident()


# -- between tensors and nodes -----------------------------------------------------------------------


def wrap(node: Node, strides: Sequence[int] | None = None, layout: Layout | None = None) -> Tensor:
    """A fresh tensor whose value is ``node``."""
    if layout is None:
        layout = of(coded(node.type), cpu, node.shape, contiguous_strides(node.shape) if strides is None else strides)
    storage = Storage(0, 0)
    natural = dense(layout.dtype, layout.shape) if not layout.dense else layout
    recorder = current()
    storage.pending = Pending(node, natural, recorder)
    recorder.kept(storage)
    return make(storage, natural)


def read(t: Tensor) -> Node:
    """The value of a tensor in the graph being recorded."""
    pending = t._storage.pending
    recorder = current()
    if pending is not None and pending.trace is not recorder:  # another thread's, or one that failed
        pending.trace.flush()
        pending = None
    if pending is None:
        return recorder.argument(t._layout, t._storage, t._offset)
    natural, node, layout = pending.layout, pending.node, t._layout
    if layout is natural and t._offset == 0:
        return node
    if layout.dtype is not natural.dtype:
        return _read_reinterpreted(t, pending)
    return look(node, natural, layout.shape, layout.strides, t._offset)


def _read_reinterpreted(t: Tensor, pending: Pending) -> Node:
    """A view of other type: real and imaginary parts of complex elements, or the same bits."""
    natural, node, layout = pending.layout, pending.node, t._layout
    g = current().graph
    if natural.dtype.is_complex and layout.dtype is natural.dtype.to_real():
        parts = [g.reshape(g.part(p, node), (*node.shape, 1)) for p in ("real", "imag")]
        pair = (*node.shape, 2)
        joined = g.apply("select", g.apply("eq", g.iota(pair, len(pair) - 1), g.const(0, "i64")), *parts)
        base = of(layout.dtype, cpu, pair, (*(2 * s for s in natural.strides), 1))
        return look(joined, base, layout.shape, layout.strides, t._offset)
    if layout.dtype.is_complex and natural.dtype is layout.dtype.to_real():
        flat = g.reshape(row_major(node, natural), (natural.numel // 2, 2))
        half = (flat.shape[0],)
        re, im = (g.move(flat, ((0, ((0, 1),)), (k, ())), half) for k in (0, 1))
        return look(g.complex(re, im), dense(layout.dtype, half), layout.shape, layout.strides, t._offset)
    if layout.itemsize == natural.itemsize:
        bits = g.bitcast(node, layout.dtype.code)
        return look(
            bits, of(layout.dtype, cpu, natural.shape, natural.strides), layout.shape, layout.strides, t._offset
        )
    raise RuntimeError(f"view of {natural.dtype} as {layout.dtype} cannot be traced; it needs memory")


def row_major(node: Node, natural: Layout) -> Node:
    """The value in the order of its memory, as one dimension."""
    g = current().graph
    order = sorted(range(natural.ndim), key=lambda d: (-natural.strides[d], -natural.shape[d]))
    return g.reshape(g.permute(node, order), (natural.numel,))


def look(node: Node, natural: Layout, shape: Sequence[int], strides: Sequence[int], offset: int) -> Node:
    """The elements that a strided view sees of a value whose elements lie as ``natural``."""
    g = current().graph
    if 0 in shape:
        return g.undef(shape, node.type)
    map_ = region(natural, shape, strides, offset)
    if map_ is not None:
        return g.move(node, map_, shape)
    # the view joins dimensions: through the flat memory, splitting it again as far as the strides say
    flat = row_major(node, natural)
    if offset == 0 and tuple(strides) == contiguous_strides(shape) and math.prod(shape) == natural.numel:
        return g.reshape(flat, shape)
    return g.move(flat, ((offset, tuple((d, s) for d, s in enumerate(strides) if s)),), shape)


def region(natural: Layout, shape: Sequence[int], strides: Sequence[int], offset: int) -> Map | None:
    """The index in a dense layout as an affine function of the index of a view; None when a view's step carries from
    one dimension of the layout into the next."""
    sizes, steps = natural.shape, natural.strides
    order = sorted(range(len(sizes)), key=lambda d: (steps[d], sizes[d]))
    const = [0] * len(sizes)
    terms: list[list[tuple[int, int]]] = [[] for _ in sizes]
    reach = [0] * len(sizes)

    def digits(value: int) -> list[int]:
        found = [0] * len(sizes)
        for d in reversed(order):
            if sizes[d] > 1:
                found[d], value = divmod(value, steps[d])
        return found if value == 0 else [-1]

    for d, c in enumerate(digits(offset)):
        if c < 0:
            return None
        const[d] = reach[d] = c
    for v, (n, s) in enumerate(zip(shape, strides)):
        if n <= 1 or s == 0:
            continue
        for d, c in enumerate(digits(s)):
            if c < 0:
                return None
            if c:
                terms[d].append((v, c))
                reach[d] += c * (n - 1)
    if any(r >= n for r, n in zip(reach, sizes)):
        return None
    return tuple((c, tuple(t)) for c, t in zip(const, terms))


def write(t: Tensor, node: Node) -> None:
    """Replaces the value of ``t``, and with it the part of its storage that it sees."""
    storage, layout = t._storage, t._layout
    recorder = current()
    g = recorder.graph
    node = g.expand(g.cast(node, layout.dtype.code), layout.shape)
    pending = storage.pending
    if pending is None:
        natural = layout if t._offset == 0 and layout.dense and layout.nbytes == storage.nbytes else None
        if natural is None:
            natural = dense(layout.dtype, (storage.nbytes // layout.itemsize,))
        base = recorder.argument(natural, storage, 0)
        pending = Pending(base, natural, recorder)
        storage.pending = pending
        recorder.wrote(storage)
    if pending.layout is layout and t._offset == 0:
        pending.node = node
        return
    if 0 in layout.shape:
        return
    map_ = region(pending.layout, layout.shape, layout.strides, t._offset)
    if map_ is None:
        flat = dense(pending.layout.dtype, (pending.layout.numel,))
        pending.node, pending.layout = row_major(pending.node, pending.layout), flat
        map_ = ((t._offset, tuple((d, s) for d, s in enumerate(layout.strides) if s and layout.shape[d] > 1)),)
    pending.node = g.update(pending.node, node, map_)


# -- primitives --------------------------------------------------------------------------------------


def apply(op: str, *args: Tensor) -> Tensor:
    """An elementwise operation of ``loop.nodes.ELEMENTWISE``; operands of one type are broadcast."""
    return wrap(current().graph.apply(op, *[read(a) for a in args]))


def cast(x: Tensor, type_: dtype) -> Tensor:
    """Elements converted to ``type_``; raises NotImplementedError for types that name memory alone."""
    if type_.kind == "s":
        raise NotImplementedError(f"\"copy_\" not implemented for '{type_.name}', which names memory alone")
    return x if x._layout.dtype is type_ else wrap(current().graph.cast(read(x), type_.code))


def bitcast(x: Tensor, type_: dtype) -> Tensor:
    """The same bits as another type of the same size."""
    return wrap(current().graph.bitcast(read(x), type_.code))


def const(value: complex, type_: dtype, shape: Sequence[int] = ()) -> Tensor:
    """One number everywhere, part of the code."""
    return wrap(current().graph.const(value, type_.code, shape))


def scalar(value: complex | float | int | bool) -> Tensor:
    """A run-time number, shape ()."""
    return wrap(
        current().graph.cast(n, "b1")
        if isinstance(value, bool) and (n := current().number(value))
        else current().number(value)
    )


def size(n: int, type_: dtype) -> Tensor:
    """A number that follows from shapes, shape (): given at run time, so that no code is made for it."""
    return wrap(current().graph.size(n, type_.code))


def share(x: Tensor, n: int) -> Tensor:
    """``x / n`` for a number that follows from shapes: traced or not."""
    if not tracing():
        return x / n  # type: ignore[operator, return-value]
    divisor = size(n, x._layout.dtype.wide.to_real())
    divisor._weak = True
    return x / divisor  # type: ignore[operator]


def iota(shape: Sequence[int], dim: int) -> Tensor:
    """The index along ``dim``, int64."""
    return wrap(current().graph.iota(shape, dim))


def undef(shape: Sequence[int], type_: dtype) -> Tensor:
    """Elements that are written before they are read."""
    return wrap(current().graph.undef(shape, type_.code))


def part(which: str, z: Tensor) -> Tensor:
    """``"real"`` or ``"imag"`` of complex elements."""
    return wrap(current().graph.part(which, read(z)))


def join(re: Tensor, im: Tensor) -> Tensor:
    """Complex elements from their parts."""
    return wrap(current().graph.complex(read(re), read(im)))


def reduce(kind: str, x: Tensor, dims: Sequence[int]) -> Tensor:
    """Combines ("add", "mul", "max", "min", "and", "or") over ``dims``, which stay with size 1."""
    return wrap(current().graph.reduce(kind, read(x), dims))


def argreduce(kind: str, x: Tensor, dims: Sequence[int]) -> Tensor:
    """Row-major position within ``dims`` of the first "argmax" or "argmin"; NaN counts as most extreme."""
    return wrap(current().graph.argreduce(kind, read(x), dims))


def require(x: Tensor, holds: Tensor, code: int) -> Tensor:
    """x; an element of ``holds`` (bool) that is false makes the kernel report the error ``code``
    (``graph.plan.CODES``)."""
    return wrap(current().graph.require(read(x), read(holds), code))


def scan(kind: str, x: Tensor, dim: int) -> Tensor:
    """Running combination along ``dim``; for "argmax" and "argmin" the position of the extreme so far."""
    return wrap(current().graph.scan(kind, read(x), dim))


def move(x: Tensor, map_: Map, shape: Sequence[int]) -> Tensor:
    """x at an affine function of the index (``graph.node``)."""
    return wrap(current().graph.move(read(x), map_, shape))


def gather(x: Tensor, indices: Sequence[Tensor], map_: Sequence[tuple[str, int]], shape: Sequence[int]) -> Tensor:
    """x at computed indices: for each dimension of x, ("i", k) takes the k-th index (broadcast to ``shape``), ("d", r)
    the result's index along r.  An index outside of its dimension raises IndexError."""
    return wrap(current().graph.gather(read(x), [read(i) for i in indices], map_, shape))


def scatter(kind: str, base: Tensor, x: Tensor, indices: Sequence[Tensor], map_: Sequence[tuple[str, int]]) -> Tensor:
    """``base`` with the elements of x combined ("set", "add", "mul", "max", "min") at computed indices, in order."""
    return wrap(current().graph.scatter(kind, read(base), read(x), [read(i) for i in indices], map_))


def update(base: Tensor, x: Tensor, map_: Map) -> Tensor:
    """``base`` with x written at an affine function of x's index."""
    return wrap(current().graph.update(read(base), read(x), map_))


def extern(
    spec: object, inputs: Sequence[Tensor], results: Sequence[tuple[Sequence[int], dtype]]
) -> tuple[Tensor, ...]:
    """The results of a template or host computation (``graph.plan.Extern``)."""
    nodes = current().graph.extern(spec, [read(i) for i in inputs], [(s, t.code) for s, t in results])
    return tuple(wrap(n) for n in nodes)
