"""Recurrent cells and whole sequences of their steps.

First the elementwise half of each cell, what is left of a step when the products with the weights are done: one kernel,
and its gradient another.  Then whole steps, and sequences of them as one native call.  All are private; ``nn``
builds cells and layers from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..dispatch.call import signature
from ..dispatch.operator import operator
from ..dispatch.planning import build
from ..layout import contiguous_strides, of
from ..storage import Storage
from ..tensor import Tensor, address, empty, make
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
    """One row of a contiguous tensor at each step: the first one, and how many rows further the next is."""

    tensor: Tensor
    first: int
    step: int


def _repeat(op: Any, times: int, results: Sequence[_Rows], arguments: Sequence[Any]) -> None:
    """Runs an operator ``times`` times, from one row to the next of those operands that are `_Rows`."""

    def bytes_of(rows: _Rows) -> int:
        return rows.tensor._layout.strides[0] * rows.tensor._layout.itemsize

    stand_ins: list[Any] = []
    places: list[tuple[int, int]] = [(address(r.tensor) + r.first * bytes_of(r), r.step * bytes_of(r)) for r in results]
    for a in arguments:
        if isinstance(a, _Rows):
            layout = a.tensor._layout
            shape = layout.shape[1:]
            a_row = of(layout.dtype, layout.device, shape, contiguous_strides(shape))
            stand_ins.append(make(Storage(0, 0), a_row))
            places.append((address(a.tensor) + a.first * bytes_of(a), a.step * bytes_of(a)))
        else:
            stand_ins.append(a)
            if isinstance(a, Tensor):
                places.append((address(a), 0))
    key, tensors, _ = signature(op, stand_ins)
    plan = op.plans.get(tuple(key))
    if plan is None:
        plan = op.plans[tuple(key)] = build(op, stand_ins, tensors)
    if plan.plan is not None:  # on the meta device there is nothing to compute
        plan.plan.repeat([at for at, _ in places], [by for _, by in places], times)


def _states(first: Tensor, times: int, at: int) -> Tensor:
    """(times + 1, ...) states, of which the one at ``at`` is given."""
    shape = (times + 1, *first.shape)
    states = empty(of(first.dtype, first.device, shape, contiguous_strides(shape)))
    states.select(0, at).copy_(first)  # type: ignore[attr-defined]
    return states


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


def _in_panels(matrix: Tensor, times: int, batch: int) -> Tensor:
    """Weights (K, N) as the products of so many steps read them best: panels (N / P, K, P) of P columns that lie in
    memory as they are read, or, where N is no multiple of P, rows apart from each other.

    Without a copy where one does not pay: products with at most four rows read the weights where they are, once.
    """
    if batch <= 4 or times < 4:
        return matrix
    rows, columns = matrix.shape
    if batch >= _PANEL_BATCH and columns % _PANEL == 0:
        return matrix.reshape(rows, -1, _PANEL).transpose(0, 1).contiguous()  # type: ignore[attr-defined,no-any-return]
    room = empty(of(matrix.dtype, matrix.device, (rows, columns + _GAP), (columns + _GAP, 1)))
    return room.narrow(1, 0, columns).copy_(matrix)  # type: ignore[attr-defined,no-any-return]


def _like(t: Tensor, count: int, features: int) -> Tensor:
    shape = (count, t.shape[1], features)
    return empty(of(t.dtype, t.device, shape, contiguous_strides(shape)))


@operator(name="_recurrent", kind="eager", method=False, function=False, out=False, differentiable=False)
def recurrent(
    mode: str, reverse: bool, keep: bool, gates: Tensor, w_hh: Tensor, b_hh: Tensor | None, h: Tensor, c: Tensor | None
) -> Any:
    """All steps of one direction of a layer: gates (T, N, G) contiguous, w_hh (G, H), first states (N, H).

    Returns the states (T + 1, N, H) before and after the steps in the order of time, then for an LSTM the cells in the
    same way, then (but for plain networks) the gates of each step that the gradient needs, of one step only unless
    ``keep``.
    """
    times, batch, width = gates.shape
    w_t = _in_panels(w_hh.t(), times, batch)  # type: ignore[attr-defined]
    at, way = (times, -1) if reverse else (0, 1)
    there = at + way
    row = times - 1 if reverse else 0
    inputs = _Rows(gates, row, way)
    states = _states(h, times, at)
    kept = None if mode.startswith("RNN") else _like(gates, times if keep else 1, width)
    left = () if kept is None else (_Rows(kept, row * keep, way * keep),)
    state, after = _Rows(states, at, way), _Rows(states, there, way)
    if mode == "LSTM":
        assert c is not None
        cells = _states(c, times, at)
        results = (after, _Rows(cells, there, way), *left)
        _repeat(lstm_step, times, results, (inputs, state, _Rows(cells, at, way), w_t))
        return states, cells, kept
    if mode == "GRU":
        _repeat(gru_step, times, (after, *left), (inputs, state, w_t, b_hh))
        return states, kept
    _repeat(rnn_step, times, (after,), (inputs, state, w_t, mode == "RNN_RELU"))
    return (states,)


@operator(name="_recurrent_backward", kind="eager", method=False, function=False, out=False, differentiable=False)
def recurrent_backward(
    mode: str, reverse: bool, gates: Tensor, w_hh: Tensor, states: Tensor, cells: Tensor | None, kept: Tensor | None,
    grad_y: Tensor, grad_h: Tensor, grad_c: Tensor | None,
) -> Any:  # fmt: skip
    """The gradients of the gates (T, N, G), of the state's own part of them, and of the first states, by those of all
    outputs (T, N, H) contiguous and of the last states; see `recurrent` for the others."""
    times, batch, width = gates.shape
    gap = _gap(gates, width) if batch > 4 else 0
    w_hh = _in_panels(w_hh, times, batch)
    at, way = (0, 1) if reverse else (times, -1)
    row = 0 if reverse else times - 1
    before = row + 1 if reverse else row  # the state before the step
    grads = _states(grad_h, times, at)
    grad_gates = _like(gates, times, width + gap * (mode != "GRU"))
    inner = grad_gates.narrow(2, 0, width)
    there = at + way
    by_y, by_h, by_gates = _Rows(grad_y, row, way), _Rows(grads, at, way), _Rows(grad_gates, row, way)
    results: tuple[_Rows, ...]
    if mode == "LSTM":
        assert grad_c is not None and cells is not None and kept is not None
        grad_cells = _states(grad_c, times, at)
        results = (by_gates, _Rows(grads, there, way), _Rows(grad_cells, there, way))
        args = (_Rows(kept, row, way), _Rows(cells, before, way), by_y, by_h, _Rows(grad_cells, at, way), w_hh)
        _repeat(lstm_step_backward, times, results, (*args, gap))
        return inner, inner, grads.select(0, times - at), grad_cells.select(0, times - at)  # type: ignore[attr-defined]
    if mode == "GRU":
        assert kept is not None
        grad_own = _like(gates, times, width + gap)
        results = (by_gates, _Rows(grad_own, row, way), _Rows(grads, there, way))
        own = (_Rows(gates, row, way), _Rows(kept, row, way), _Rows(states, before, way))
        _repeat(gru_step_backward, times, results, (*own, by_y, by_h, w_hh, gap))
        return grad_gates, grad_own.narrow(2, 0, width), grads.select(0, times - at)  # type: ignore[attr-defined]
    result = _Rows(states, row if reverse else row + 1, way)
    results = (by_gates, _Rows(grads, there, way))
    _repeat(rnn_step_backward, times, results, (result, by_y, by_h, w_hh, mode == "RNN_RELU", gap))
    return inner, inner, grads.select(0, times - at)  # type: ignore[attr-defined]
