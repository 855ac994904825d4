"""Recurrent cells and whole sequences of their steps.

First the elementwise half of each cell, what is left of a step when the products with the weights are done: one kernel,
and its gradient another.  Then whole steps, and sequences of them as one native call.  All are private; ``nn``
builds cells and layers from them.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .. import primitives as prim
from ..device import cpu
from ..dispatch.arguments import signature
from ..dispatch.operator import Operator, operator
from ..dispatch.planning import build
from ..dtype import coded
from ..graph.program import Copy, Launch, Slot
from ..layout import contiguous_strides, of
from ..storage import Storage
from ..tensor import Tensor, make
from .join import cat
from .products import addmm, baddbmm, bmm, mm

__all__: list[str] = []


def _beside(parts: Sequence[Any], gap: int = 0) -> Tensor:
    """Matrices side by side, and ``gap`` more columns, of zeros, which keep the rows apart."""
    rows = [part.new_zeros((part.shape[0], gap)) for part in parts[:1] if gap]
    return cat.function([*parts, *rows], -1) if len(parts) + len(rows) > 1 else parts[0]  # type: ignore[no-any-return]


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b


@operator(name="_lstm_cell", method=False, function=False)
def lstm_cell(gates: Tensor, c: Tensor) -> Any:
    """(h', c') of gates (N, 4 H) in the order i, f, g, o, before their sigmoid (tanh for g), and c (N, H):
    c' = f c + i g, h' = o tanh(c')."""
    i, f, g, o = gates.chunk(4, -1)  # type: ignore[attr-defined]
    new = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * new.tanh(), new


@lstm_cell.gradient("gates", "c")
def _(ctx, grad_h, grad_c):  # type: ignore[no-untyped-def]
    if grad_h is None and grad_c is None:
        return None, None
    return lstm_cell_backward.function(ctx.gates, ctx.c, None, grad_h, grad_c)


@operator(name="_lstm_cell_backward", method=False, function=False)
def lstm_cell_backward(
    gates: Tensor, c: Tensor, grad_y: Tensor | None, grad_h: Tensor | None, grad_c: Tensor | None, gap: int = 0
) -> Any:
    """The gradients of ``gates`` and ``c`` by those of h' (the sum of ``grad_y`` and ``grad_h``) and of c'; the first
    has ``gap`` more columns, of zeros."""
    i, f, g, o = gates.chunk(4, -1)  # type: ignore[attr-defined]
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    squashed = (f * c + i * g).tanh()
    grad_h = _sum(grad_y, grad_h)
    if grad_h is None:
        grad_new, grad_o = grad_c, o * 0
    else:
        grad_new = _sum(grad_c, grad_h * o * (1 - squashed * squashed))  # type: ignore[attr-defined]
        grad_o = grad_h * squashed * o * (1 - o)  # type: ignore[attr-defined]
    parts = [grad_new * g * i * (1 - i), grad_new * c * f * (1 - f), grad_new * i * (1 - g * g), grad_o]  # type: ignore[operator]
    return _beside(parts, gap), grad_new * f  # type: ignore[operator]


@operator(name="_gru_cell", method=False, function=False)
def gru_cell(x_gates: Tensor, h_gates: Tensor, h: Tensor) -> Tensor:
    """h' = (1 - z) n + z h, n = tanh(x_n + r h_n), of the gates (N, 3 H) of input and state in the order r, z, n."""
    x_r, x_z, x_n = x_gates.chunk(3, -1)  # type: ignore[attr-defined]
    h_r, h_z, h_n = h_gates.chunk(3, -1)  # type: ignore[attr-defined]
    n = (x_n + (x_r + h_r).sigmoid() * h_n).tanh()
    return (h - n) * (x_z + h_z).sigmoid() + n


@gru_cell.gradient("x_gates", "h_gates", "h")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return gru_cell_backward.function(ctx.x_gates, ctx.h_gates, ctx.h, None, grad)


@operator(name="_gru_cell_backward", method=False, function=False)
def gru_cell_backward(
    x_gates: Tensor, h_gates: Tensor, h: Tensor, grad_y: Tensor | None, grad_h: Tensor | None, gap: int = 0
) -> Any:
    """The gradients of the three tensors by that of h', the sum of ``grad_y`` and ``grad_h``; the second has ``gap``
    more columns, of zeros."""
    x_r, x_z, x_n = x_gates.chunk(3, -1)  # type: ignore[attr-defined]
    h_r, h_z, h_n = h_gates.chunk(3, -1)  # type: ignore[attr-defined]
    r, z = (x_r + h_r).sigmoid(), (x_z + h_z).sigmoid()
    n = (x_n + r * h_n).tanh()
    grad = _sum(grad_y, grad_h)
    grad_n = grad * (1 - z) * (1 - n * n)
    grad_r = grad_n * h_n * r * (1 - r)
    grad_z = grad * (h - n) * z * (1 - z)
    return _beside([grad_r, grad_z, grad_n]), _beside([grad_r, grad_z, grad_n * r], gap), grad * z


@operator(name="_rnn_cell_backward", method=False, function=False)
def rnn_cell_backward(result: Tensor, grad_y: Tensor | None, grad_h: Tensor | None, relu: bool) -> Tensor:
    """The gradient before tanh (or relu) of ``result`` by that of the result, the sum of ``grad_y`` and ``grad_h``."""
    grad = _sum(grad_y, grad_h)
    if relu:
        return grad * (result > 0).to(result.dtype)  # type: ignore[attr-defined,operator]
    return grad * (1 - result * result)  # type: ignore[operator]


# -- steps -------------------------------------------------------------------------------------------


def _product(x: Tensor, w: Tensor, addend: Tensor | None = None) -> Tensor:
    """``addend + x @ w`` for w (K, N), or the panels of it that `_in_panels` makes: (N / P, K, P)."""
    if w.dim() == 2:  # type: ignore[attr-defined]
        return mm.function(x, w) if addend is None else addmm.function(addend, x, w)  # type: ignore[no-any-return]
    count, _, width = w.shape
    each = x.expand(count, -1, -1)  # type: ignore[attr-defined]
    if addend is None:
        side_by_side = bmm.function(each, w)
    else:
        rows = addend.expand(x.shape[0], -1).reshape(-1, count, width)  # type: ignore[attr-defined]
        side_by_side = baddbmm.function(rows.transpose(0, 1), each, w)
    return side_by_side.transpose(0, 1).reshape(x.shape[0], -1)  # type: ignore[no-any-return]


@operator(name="_lstm_step", method=False, function=False)
def lstm_step(gates: Tensor, h: Tensor, c: Tensor, w_t: Tensor) -> Any:
    """(h', c', all gates) for what the input contributes to the gates, the state, and the state's weights (H, 4 H), or
    their panels."""
    full = _product(h, w_t, gates)
    return (*lstm_cell.function(full, c), full)


@operator(name="_lstm_step_backward", method=False, function=False)
def lstm_step_backward(
    full: Tensor, c: Tensor, grad_y: Tensor, grad_h: Tensor, grad_c: Tensor, w: Tensor, gap: int
) -> Any:
    """The gradients of gates, h and c by those of h' (the sum of ``grad_y`` and ``grad_h``) and c'; w is (4 H, H), or
    its panels. The first has ``gap`` more columns, of zeros."""
    grad_gates, before = lstm_cell_backward.function(full, c, grad_y, grad_h, grad_c, gap)
    return grad_gates, _product(grad_gates.narrow(1, 0, w.shape[-2]), w), before


@operator(name="_gru_step", method=False, function=False)
def gru_step(gates: Tensor, h: Tensor, w_t: Tensor, b_hh: Tensor | None) -> Any:
    """(h', the state's own gates)"""
    own = _product(h, w_t, b_hh)
    return gru_cell.function(gates, own, h), own


@operator(name="_gru_step_backward", method=False, function=False)
def gru_step_backward(
    gates: Tensor, own: Tensor, h: Tensor, grad_y: Tensor, grad_h: Tensor, w: Tensor, gap: int
) -> Any:
    """The gradients of the input's gates, of the state's own (with ``gap`` more columns, of zeros), and of h."""
    grad_gates, grad_own, before = gru_cell_backward.function(gates, own, h, grad_y, grad_h, gap)
    return grad_gates, grad_own, _product(grad_own.narrow(1, 0, w.shape[-2]), w, before)


@operator(name="_rnn_step", method=False, function=False)
def rnn_step(gates: Tensor, h: Tensor, w_t: Tensor, relu: bool) -> Tensor:
    """h' by relu or tanh"""
    full = _product(h, w_t, gates)
    return full.relu() if relu else full.tanh()  # type: ignore[attr-defined,no-any-return]


@operator(name="_rnn_step_backward", method=False, function=False)
def rnn_step_backward(result: Tensor, grad_y: Tensor, grad_h: Tensor, w: Tensor, relu: bool, gap: int) -> Any:
    """The gradients of gates (with ``gap`` more columns, of zeros) and h."""
    grad_gates = _beside([rnn_cell_backward.function(result, grad_y, grad_h, relu)], gap)
    return grad_gates, _product(grad_gates.narrow(1, 0, w.shape[-2]), w)  # type: ignore[attr-defined]


# -- sequences ---------------------------------------------------------------------------------------


class _Rows(NamedTuple):
    """One row of an operand at each step: the first one (from the end if negative), and how many rows further the next
    is.  Operand k is the k-th input of a sequence, ~k its k-th result."""

    operand: int
    first: int
    step: int


class _Weights(NamedTuple):
    """An operand that is the same at every step: as many of its columns as there are ``columns``; ``anyhow`` says that
    it may have any strides."""

    operand: int
    columns: int
    anyhow: bool


_one_at_a_time = threading.Lock()
"""Held while a step is traced and bound: the templates of a plan are bound by several threads."""


@dataclass(frozen=True)
class _Sequence:
    """An operator run once for each row of the first input, as one call (``graph.plan.Extern``).

    ``results`` and ``arguments`` are those of the operator, `_Rows`, `_Weights`, or values that are no tensors.
    ``starts`` are rows of results that are there before the first step: (result, row, input).
    """

    step: Operator
    results: tuple[_Rows, ...]
    arguments: tuple[Any, ...]
    starts: tuple[tuple[int, int, int], ...]

    def operations(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        """Multiplications and additions of the products."""
        times, batch = inputs[0].shape[:2]
        (weights,) = (inputs[a.operand] for a in self.arguments if isinstance(a, _Weights) and a.columns)
        return 2 * times * batch * math.prod(weights.shape)

    def accepts(self, k: int, shape: Sequence[int], strides: Sequence[int], result: Sequence[int]) -> bool:
        """Whether an operand is taken as it lies."""
        anyhow = any(isinstance(a, _Weights) and a.operand == k and a.anyhow for a in self.arguments)
        return anyhow or tuple(strides) == contiguous_strides(shape)

    def launches(self, inputs: Sequence[Any], outputs: Sequence[Any], workers: int) -> list[Launch]:
        """The operator's own program, repeated."""
        count = len(inputs)

        def seen(operand: int) -> Any:
            return inputs[operand] if operand >= 0 else outputs[~operand]

        def buffer(operand: int) -> int:
            return operand if operand >= 0 else count + ~operand

        def slot(a: _Rows | _Weights) -> Slot:
            if isinstance(a, _Weights):
                return Slot(buffer(a.operand), 0, 0)
            o = seen(a.operand)
            nbytes = math.prod(o.shape[1:]) * coded(o.type).itemsize
            return Slot(buffer(a.operand), a.first % o.shape[0] * nbytes, a.step * nbytes)

        def stand_in(a: Any) -> Any:
            if not isinstance(a, (_Rows, _Weights)):
                return a
            o = seen(a.operand)
            if isinstance(a, _Rows):
                shape, strides = o.shape[1:], contiguous_strides(o.shape[1:])
            else:
                shape, strides = (*o.shape[:-1], a.columns or o.shape[-1]), o.strides
            return make(Storage(0, 0), of(coded(o.type), cpu, shape, strides))

        stand_ins = [stand_in(a) for a in self.arguments]
        key, tensors, _ = signature(self.step, stand_ins)
        with _one_at_a_time:
            plan = self.step.plans.get(tuple(key))
            if plan is None:
                plan = self.step.plans[tuple(key)] = build(self.step, stand_ins, tensors)
            assert plan.plan is not None
            program, nbytes = plan.plan.program()
        moving = [slot(a) for a in (*self.results, *self.arguments) if isinstance(a, (_Rows, _Weights))]
        copies = []
        for result, row, source in self.starts:
            o = outputs[result]
            size = math.prod(o.shape[1:]) * coded(o.type).itemsize
            copies.append(Copy(source, count + result, row % o.shape[0] * size, size))
        total = count + len(outputs)
        address, words = program.repeated(inputs[0].shape[0], total + 1, [*moving, Slot(total, 0, 0)], copies)
        places = [*((k, 0) for k in range(count)), *((~k, 0) for k in range(len(outputs)))]
        return [Launch(address, words, tuple(places), nbytes, keep=program)]


_GAP = 16
"""Columns that keep rows apart which would lie a multiple of half a page from each other: such rows compete for the
same lines of the caches."""
_HALF_PAGE = 2048


def _gap(t: Tensor, features: int) -> int:
    """`_GAP` where rows of so many features need it."""
    return _GAP if features * t._layout.itemsize % _HALF_PAGE == 0 else 0


_PANEL = 64
"""Columns of a panel."""
_PANEL_BATCH = 12
"""Rows of a step's product from which on it gains more by panels than they take to make."""


def _laid_out(operand: int, matrix: Tensor, times: int, batch: int) -> tuple[Tensor, _Weights]:
    """Weights (K, N) as the products of so many steps read them best, and as operand number ``operand``: panels
    (N / P, K, P) of P columns that lie in memory as they are read, or, where N is no multiple of P, rows apart from
    each other.

    Without a copy where one does not pay: products with at most four rows read the weights where they are, once.
    """
    rows, columns = matrix.shape
    if batch <= 4 or times < 4:
        return matrix, _Weights(operand, columns, True)
    if batch >= _PANEL_BATCH and columns % _PANEL == 0:
        panels = matrix.reshape(rows, -1, _PANEL).transpose(0, 1)  # type: ignore[attr-defined]
        return panels, _Weights(operand, _PANEL, False)
    return _beside([matrix], _GAP), _Weights(operand, columns, False)


@operator(name="_recurrent", method=False, function=False, out=False, differentiable=False)
def recurrent(
    mode: str, reverse: bool, keep: bool, gates: Tensor, w_hh: Tensor, b_hh: Tensor | None, h: Tensor, c: Tensor | None
) -> Any:
    """All steps of one direction of a layer: gates (T, N, G), w_hh (G, H), first states (N, H).

    Returns the states (T + 1, N, H) before and after the steps in the order of time, then for an LSTM the cells in the
    same way, then (but for plain networks) the gates of each step that the gradient needs, of one step only unless
    ``keep``.
    """
    times, batch, width = gates.shape
    w_t, weights = _laid_out(1, w_hh.t(), times, batch)  # type: ignore[attr-defined]
    row, way = (-1, -1) if reverse else (0, 1)
    there = row + way
    inputs, state, after = _Rows(0, row, way), _Rows(~0, row, way), _Rows(~0, there, way)
    operands, starts = [gates, w_t, h], [(0, row, 2)]
    results = [((times + 1, *h.shape), gates.dtype)]
    kept = _Rows(~1, row * keep, way * keep)
    left = [((times if keep else 1, batch, width), gates.dtype)]
    if mode == "LSTM":
        assert c is not None
        cells, kept = _Rows(~1, row, way), kept._replace(operand=~2)
        spec = _Sequence(
            lstm_step,
            (after, cells._replace(first=there), kept),
            (inputs, state, cells, weights),
            (*starts, (1, row, 3)),
        )
        return prim.extern(spec, [*operands, c], [*results, *results, *left])
    if mode == "GRU":
        bias = None if b_hh is None else _Weights(3, 0, False)
        spec = _Sequence(gru_step, (after, kept), (inputs, state, weights, bias), tuple(starts))
        return prim.extern(spec, operands if b_hh is None else [*operands, b_hh], [*results, *left])
    spec = _Sequence(rnn_step, (after,), (inputs, state, weights, mode == "RNN_RELU"), tuple(starts))
    return prim.extern(spec, operands, results)


@operator(name="_recurrent_backward", method=False, function=False, out=False, differentiable=False)
def recurrent_backward(
    mode: str, reverse: bool, gates: Tensor, w_hh: Tensor, states: Tensor, cells: Tensor | None, kept: Tensor | None,
    grad_y: Tensor, grad_h: Tensor, grad_c: Tensor | None,
) -> Any:  # fmt: skip
    """The gradients of the gates (T, N, G), of the first states, and of a GRU's own gates, by those of all outputs
    (T, N, H) and of the last states; see `recurrent` for the others.  There may be more columns behind those of the own
    gates (of the gates, but for a GRU)."""
    times, batch, width = gates.shape
    gap = _gap(gates, width) if batch > 4 else 0
    w, weights = _laid_out(1, w_hh, times, batch)
    row, way = (0, 1) if reverse else (-1, -1)
    there = row + way
    before = 1 if reverse else -2  # the state before the step
    kind, steps, state = gates.dtype, (times, batch), (times + 1, *grad_h.shape)
    by_y, by_gates = _Rows(0, row, way), _Rows(~0, row, way)
    by_h, to_h = _Rows(~1, row, way), _Rows(~1, there, way)
    starts = [(1, row, 2)]
    last = -1 if reverse else 0
    results = [((*steps, width + gap * (mode != "GRU")), kind), (state, kind)]
    if mode == "LSTM":
        assert grad_c is not None and cells is not None and kept is not None
        by_c = _Rows(~2, row, way)
        spec = _Sequence(
            lstm_step_backward,
            (by_gates, to_h, by_c._replace(first=there)),
            (_Rows(4, row, way), _Rows(5, before, way), by_y, by_h, by_c, weights, gap),
            (*starts, (2, row, 3)),
        )
        found = prim.extern(spec, [grad_y, w, grad_h, grad_c, kept, cells], [*results, (state, kind)])
        return found[0], found[1].select(0, last), found[2].select(0, last)  # type: ignore[attr-defined]
    if mode == "GRU":
        assert kept is not None
        spec = _Sequence(
            gru_step_backward,
            (by_gates, _Rows(~2, row, way), to_h),
            (_Rows(3, row, way), _Rows(4, row, way), _Rows(5, before, way), by_y, by_h, weights, gap),
            tuple(starts),
        )
        found = prim.extern(spec, [grad_y, w, grad_h, gates, kept, states], [*results, ((*steps, width + gap), kind)])
        return found[0], found[1].select(0, last), found[2]  # type: ignore[attr-defined]
    spec = _Sequence(
        rnn_step_backward, (by_gates, to_h), (_Rows(3, row, way), by_y, by_h, weights, mode == "RNN_RELU", gap),
        tuple(starts),
    )  # fmt: skip
    found = prim.extern(spec, [grad_y, w, grad_h, states], results)
    return found[0], found[1].select(0, last)  # type: ignore[attr-defined]
