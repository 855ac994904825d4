"""Recurrent networks: one step, one direction of one layer, and stacks of layers.

Sequences are rows: those of all time steps one after the other, with the number of sequences at each step
(``sizes``, which never grows), so that packed sequences are no special case.  The inputs of all steps meet their
weights in one product before the first step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..autograd import grad
from ..ops.common import overridable
from ..transform.level import levels
from . import functional as F
from ._base import Function, Tensor, enable_grad, float32, float64, is_grad_enabled, ops

__all__ = ["gru_cell", "lstm_cell", "rnn_relu_cell", "rnn_tanh_cell", "run_layers"]

State = tuple[Tensor, ...]  # the hidden state of one step: (h,) or, of an LSTM, (h, c)


class _Cell(NamedTuple):
    """One kind of network.

    ``forward(gates, state, w_t, b_hh)`` gives the next state and what ``backward`` wants to know; ``gates`` is what
    the input contributes, ``w_t`` the transposed weight of the state.  ``backward(kept, grad_y, grad_state, w)`` gives
    the gradients of ``gates``, of the state's own contribution, and of the state before.
    """

    forward: Callable[[Tensor, State, Tensor, Tensor | None], tuple[State, State]]
    backward: Callable[[State, Tensor, State, Tensor], tuple[Tensor, Tensor, State]]


def _lstm_forward(gates: Tensor, state: State, w_t: Tensor, b_hh: Tensor | None) -> tuple[State, State]:
    gates = ops.addmm(gates, state[0], w_t)
    return ops._lstm_cell(gates, state[1]), (gates, state[1])


def _lstm_backward(kept: State, grad_y: Tensor, grad_state: State, w: Tensor) -> tuple[Tensor, Tensor, State]:
    grad_gates, grad_c = ops._lstm_cell_backward(*kept, grad_y, *grad_state)
    return grad_gates, grad_gates, (ops.mm(grad_gates, w), grad_c)


def _gru_forward(gates: Tensor, state: State, w_t: Tensor, b_hh: Tensor | None) -> tuple[State, State]:
    own = ops.mm(state[0], w_t) if b_hh is None else ops.addmm(b_hh, state[0], w_t)
    return (ops._gru_cell(gates, own, state[0]),), (gates, own, state[0])


def _gru_backward(kept: State, grad_y: Tensor, grad_state: State, w: Tensor) -> tuple[Tensor, Tensor, State]:
    grad_gates, grad_own, grad_h = ops._gru_cell_backward(*kept, grad_y, *grad_state)
    return grad_gates, grad_own, (ops.addmm(grad_h, grad_own, w),)


def _tanh_forward(gates: Tensor, state: State, w_t: Tensor, b_hh: Tensor | None) -> tuple[State, State]:
    h = ops.addmm(gates, state[0], w_t).tanh()
    return (h,), (h,)


def _relu_forward(gates: Tensor, state: State, w_t: Tensor, b_hh: Tensor | None) -> tuple[State, State]:
    h = ops.relu(ops.addmm(gates, state[0], w_t))
    return (h,), (h,)


def _tanh_backward(kept: State, grad_y: Tensor, grad_state: State, w: Tensor) -> tuple[Tensor, Tensor, State]:
    grad_gates = ops._rnn_cell_backward(kept[0], grad_y, grad_state[0], False)
    return grad_gates, grad_gates, (ops.mm(grad_gates, w),)


def _relu_backward(kept: State, grad_y: Tensor, grad_state: State, w: Tensor) -> tuple[Tensor, Tensor, State]:
    grad_gates = ops._rnn_cell_backward(kept[0], grad_y, grad_state[0], True)
    return grad_gates, grad_gates, (ops.mm(grad_gates, w),)


_CELLS = {
    "RNN_TANH": _Cell(_tanh_forward, _tanh_backward),
    "RNN_RELU": _Cell(_relu_forward, _relu_backward),
    "LSTM": _Cell(_lstm_forward, _lstm_backward),
    "GRU": _Cell(_gru_forward, _gru_backward),
}


class _Walk(NamedTuple):
    """What a walk along the sequences leaves, by time step."""

    outputs: list[Tensor]
    before: list[Tensor]  # h of the step before
    kept: list[State]
    last: State


def _order(sizes: Sequence[int], reverse: bool) -> Sequence[int]:
    """The time steps in the order in which they are taken."""
    return range(len(sizes) - 1, -1, -1) if reverse else range(len(sizes))


def _joined(parts: list[State]) -> State:
    return parts[0] if len(parts) == 1 else tuple(ops.cat(list(column)) for column in zip(*parts))


def _walk(
    mode: str,
    sizes: Sequence[int],
    reverse: bool,
    gates: Tensor,
    w_hh: Tensor,
    b_hh: Tensor | None,
    w_hr: Tensor | None,
    initial: State,
) -> _Walk:
    """All steps of one direction of one layer.

    The sequences are sorted by length, so that those that end (or, backwards, begin) later are the first rows.
    """
    forward = _CELLS[mode].forward
    w_t = w_hh.t()
    rows = gates.split(list(sizes))
    outputs: list[Any] = [None] * len(rows)
    before: list[Any] = [None] * len(rows)
    kept: list[Any] = [None] * len(rows)
    order = _order(sizes, reverse)
    running = sizes[order[0]]
    state = initial if running == initial[0].size(0) else tuple(s[:running] for s in initial)
    ended: list[State] = []
    for t in order:
        size = sizes[t]
        if size > running:
            state = _joined([state, tuple(s[running:size] for s in initial)])
        elif size < running:
            ended.append(tuple(s[size:] for s in state))
            state = tuple(s[:size] for s in state)
        running = size
        before[t] = state[0]
        state, kept[t] = forward(rows[t], state, w_t, b_hh)
        if w_hr is not None:
            state = (F.linear(state[0], w_hr), *state[1:])
        outputs[t] = state[0]
    return _Walk(outputs, before, kept, _joined([state, *reversed(ended)]))


def _whole(sizes: Sequence[int], gates: Tensor, *others: Tensor | None) -> bool:
    """Whether all steps can be one native call: as many sequences at every step, of a type that needs no rounding
    between the product and what follows."""
    return (
        sizes[0] == sizes[-1] > 0
        and gates.dtype in (float32, float64)
        and all(t is None or (t.device.type == "cpu" and t.dtype is gates.dtype) for t in (gates, *others))
    )


class _Layer(Function):
    """One direction of one layer as one node of the tape: the weights' gradients are one product for all steps."""

    _only_computes = True

    @staticmethod
    def forward(
        ctx: Any,
        mode: str,
        sizes: Sequence[int],
        reverse: bool,
        gates: Tensor,
        w_hh: Tensor,
        b_hh: Tensor | None,
        *initial: Tensor,
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(gates, w_hh, b_hh, *initial)
        ctx.how = mode, sizes, reverse
        ctx.whole = False
        if _whole(sizes, gates, w_hh, b_hh, *initial):
            keep = any(ctx.needs_input_grad)
            times, (h, *c) = len(sizes), initial
            steps = gates.reshape(times, sizes[0], gates.size(1))
            found = ops._recurrent(mode, reverse, keep, steps, w_hh, b_hh, h, c[0] if c else None)
            states = found[: len(initial)]
            output = (states[0][:-1] if reverse else states[0][1:]).reshape(-1, h.size(1))
            if keep:  # the states are kept for the gradient, so that nobody may write to them
                ctx.whole = True
                kept = None if len(found) == len(states) else found[-1]
                ctx.save_for_backward(gates, w_hh, b_hh, *initial, states[0], states[1] if c else None, kept)
                output = output.clone()
            return (output, *(s[0 if reverse else times].clone() for s in states))
        walk = _walk(mode, sizes, reverse, gates, w_hh, b_hh, None, initial)
        ctx.before, ctx.kept = walk.before, walk.kept
        return (ops.cat(walk.outputs), *walk.last)

    @staticmethod
    def backward(ctx: Any, grad_rows: Tensor, *grad_last: Tensor) -> tuple[Any, ...]:
        if is_grad_enabled():
            return (None, None, None, *_differentiable(ctx, (grad_rows, *grad_last)))
        mode, sizes, reverse = ctx.how
        w_hh, b_hh = ctx.saved_tensors[1:3]
        if ctx.whole:
            states, cells, kept = ctx.saved_tensors[-3:]
            times, batch = len(sizes), sizes[0]
            gates = ctx.saved_tensors[0].reshape(times, batch, -1)
            grad_y, (grad_h, *grad_c) = grad_rows.reshape(times, batch, -1), grad_last
            grad_gates, *grad_first = ops._recurrent_backward(
                mode, reverse, gates, w_hh, states, cells, kept, grad_y, grad_h, grad_c[0] if grad_c else None
            )
            width = gates.size(2)
            own = grad_first.pop() if mode == "GRU" else grad_gates
            grad_gates, own = grad_gates[..., :width], own[..., :width]
            before = (states[1:] if reverse else states[:-1]).reshape(times * batch, -1)
            own = own.reshape(times * batch, -1)
            return (
                None,
                None,
                None,
                grad_gates.reshape(times * batch, -1),
                ops.mm(own.t(), before) if ctx.needs_input_grad[4] else None,
                None if b_hh is None else own.sum(0),
                *grad_first,
            )
        backward = _CELLS[mode].backward
        grad_y = grad_rows.split(list(sizes))
        grad_gates: list[Any] = [None] * len(sizes)
        grad_own: list[Any] = [None] * len(sizes)
        order = _order(sizes, reverse)
        running = sizes[order[-1]]
        state = grad_last if running == grad_last[0].size(0) else tuple(g[:running] for g in grad_last)
        joined: list[State] = []  # gradients of the first states of sequences that begin later
        for step in range(len(order) - 1, -1, -1):
            t = order[step]
            grad_gates[t], grad_own[t], state = backward(ctx.kept[t], grad_y[t], state, w_hh)
            size = sizes[order[step - 1]] if step else running
            if size > running:
                state = _joined([state, tuple(g[running:size] for g in grad_last)])
            elif size < running:
                joined.append(tuple(g[size:] for g in state))
                state = tuple(g[:size] for g in state)
            running = size
        own = ops.cat(grad_own)
        return (
            None,
            None,
            None,
            ops.cat(grad_gates) if mode == "GRU" else own,
            ops.mm(own.t(), ops.cat(ctx.before)) if ctx.needs_input_grad[4] else None,
            None if b_hh is None else own.sum(0),
            *_joined([state, *reversed(joined)]),
        )


def _differentiable(ctx: Any, grads: tuple[Tensor, ...]) -> Sequence[Tensor | None]:
    """The gradients of a layer's inputs as results that can be differentiated again, from a walk on the tape."""
    mode, sizes, reverse = ctx.how
    gates, w_hh, b_hh, *initial = inputs = ctx.saved_tensors[: 3 + len(grads) - 1]
    with enable_grad():
        walk = _walk(mode, sizes, reverse, gates, w_hh, b_hh, None, tuple(initial))
        results = (ops.cat(walk.outputs), *walk.last)
    wanted = [i for i, t in enumerate(inputs) if t is not None and t.requires_grad]
    found = grad(results, [inputs[i] for i in wanted], grads, create_graph=True, allow_unused=True)
    by_input: list[Tensor | None] = [None] * len(inputs)
    for i, value in zip(wanted, found):
        by_input[i] = value
    return by_input


def _run(
    mode: str, rows: Tensor, sizes: Sequence[int], state: State, weights: dict[str, Tensor | None], reverse: bool
) -> tuple[Tensor, State]:
    """One direction of one layer: rows (sum of sizes, in) give (sum of sizes, out) and the last state."""
    b_ih, b_hh = weights["bias_ih"], weights["bias_hh"]
    if mode != "GRU" and b_ih is not None and b_hh is not None:
        b_ih, b_hh = b_ih + b_hh, None  # a GRU's gate r multiplies the state's part with its bias
    gates = F.linear(rows, weights["weight_ih"], b_ih)
    w_hh, w_hr = weights["weight_hh"], weights["weight_hr"]
    assert w_hh is not None
    if w_hr is not None or levels.stack:  # what a function transform stands for has rules for operators only
        walk = _walk(mode, sizes, reverse, gates, w_hh, b_hh, w_hr, state)
        return ops.cat(walk.outputs), walk.last
    output, *last = _Layer.apply(mode, sizes, reverse, gates, w_hh, b_hh, *state)
    return output, tuple(last)


def run_layers(
    mode: str,
    input: Tensor,
    hidden: State,
    layers: Sequence[dict[str, Tensor | None]],
    *,
    dropout: float,
    training: bool,
    bidirectional: bool,
    batch_sizes: Sequence[int] | None = None,
) -> tuple[Tensor, State]:
    """A stack of recurrent layers.

    Args:
        mode: "RNN_TANH", "RNN_RELU", "LSTM" or "GRU".
        input: (T, N, features), or packed rows with ``batch_sizes``.
        hidden: the first states (layers * directions, N, size): (h,) or (h, c).
        layers: weights by name (weight_ih, weight_hh, bias_ih, bias_hh, weight_hr), a direction each.
        dropout: of every layer's output but the last one's, in training.
        training: see ``dropout``.
        bidirectional: layers come in pairs, forwards and backwards; their outputs stand side by side.
        batch_sizes: see ``input``.

    Returns:
        The last layer's output, and the last states.

    Raises RuntimeError for sequences without a step.
    """
    sizes = [input.size(1)] * input.size(0) if batch_sizes is None else batch_sizes
    if not sizes:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    rows = input if batch_sizes is not None else input.reshape(-1, input.size(-1))
    directions = 2 if bidirectional else 1
    last: list[State] = []
    for index in range(0, len(layers), directions):
        outputs = []
        for direction in range(directions):
            number = index + direction
            state = tuple(h[number] for h in hidden)
            output, state = _run(mode, rows, sizes, state, layers[number], direction == 1)
            outputs.append(output)
            last.append(state)
        rows = outputs[0] if directions == 1 else ops.cat(outputs, -1)
        if dropout and training and index + directions < len(layers):
            shape = rows.shape
            # The random numbers fall on the elements in the order of the padded tensor.
            rows = F.dropout(rows if batch_sizes is not None else rows.reshape(len(sizes), -1, shape[1]), dropout, True)
            rows = rows.reshape(shape)
    output = rows if batch_sizes is not None else rows.reshape(len(sizes), -1, rows.size(-1))
    return output, tuple(ops.stack(list(states)) for states in zip(*last))


def _check_cell(input: Tensor, hidden: Sequence[Tensor], w_ih: Tensor, w_hh: Tensor) -> None:
    named = {"input": input, "w_ih": w_ih, "w_hh": w_hh, **{f"hidden{i}": h for i, h in enumerate(hidden)}}
    for name, t in named.items():
        if not isinstance(t, Tensor):
            raise TypeError(f"recurrent cell: {name} must be Tensor, not {type(t).__name__}")
        if t.ndim != 2:
            raise RuntimeError(f"recurrent cell: expected {name} of 2 dimensions, but got shape {list(t.shape)}")
    if input.size(1) != w_ih.size(1):
        raise RuntimeError(f"input has inconsistent input_size: got {input.size(1)} expected {w_ih.size(1)}")
    for i, h in enumerate(hidden):
        if input.size(0) != h.size(0):
            raise RuntimeError(f"Input batch size {input.size(0)} doesn't match hidden{i} batch size {h.size(0)}")
        if h.size(1) != w_hh.size(1):
            raise RuntimeError(f"hidden{i} has inconsistent hidden_size: got {h.size(1)}, expected {w_hh.size(1)}")


def _cell(
    mode: str,
    input: Tensor,
    hidden: State,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
) -> State:
    """One step of one cell: input (N, in), states (N, hidden)."""
    _check_cell(input, hidden, w_ih, w_hh)
    gates = F.linear(input, w_ih, b_ih)
    if mode != "GRU" and b_hh is not None:
        gates = gates + b_hh
    return _CELLS[mode].forward(gates, hidden, w_hh.t(), b_hh)[0]


@overridable
def rnn_tanh_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> Tensor:
    """tanh(W_ih x + b_ih + W_hh h + b_hh) for x (N, in) and h (N, hidden)."""
    return _cell("RNN_TANH", input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


@overridable
def rnn_relu_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> Tensor:
    """relu(W_ih x + b_ih + W_hh h + b_hh) for x (N, in) and h (N, hidden)."""
    return _cell("RNN_RELU", input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


@overridable
def lstm_cell(
    input: Tensor,
    hx: Sequence[Tensor],
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The next (h, c) of an LSTM for x (N, in), h and c (N, hidden); see ``LSTM``."""
    h, c = _cell("LSTM", input, tuple(hx), w_ih, w_hh, b_ih, b_hh)
    return h, c


@overridable
def gru_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> Tensor:
    """The next h of a GRU for x (N, in) and h (N, hidden); see ``GRU``."""
    return _cell("GRU", input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]
