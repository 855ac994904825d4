"""Recurrent networks from operators: one step, one direction of one layer, and stacks of layers.

Sequences are (T, N, features), or packed: the rows of all time steps one after the other, with the number of
sequences still running at each step, ``batch_sizes``, which never grows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import functional as F
from ._base import Tensor, ops

__all__ = ["gru_cell", "lstm_cell", "rnn_relu_cell", "rnn_tanh_cell", "run_layers"]

# The hidden state of one step: (h,) or, of an LSTM, (h, c).
State = tuple[Tensor, ...]


def rnn_tanh_step(gates: Tensor, state: State, weights: dict[str, Tensor | None]) -> State:
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh); ``gates`` is W_ih x + b_ih."""
    return (ops.tanh(gates + F.linear(state[0], weights["weight_hh"], weights["bias_hh"])),)


def rnn_relu_step(gates: Tensor, state: State, weights: dict[str, Tensor | None]) -> State:
    """h' = relu(W_ih x + b_ih + W_hh h + b_hh)."""
    return (F.relu(gates + F.linear(state[0], weights["weight_hh"], weights["bias_hh"])),)


def lstm_step(gates: Tensor, state: State, weights: dict[str, Tensor | None]) -> State:
    """c' = f c + i g, h' = o tanh(c'), projected where there is a ``weight_hr``: Hochreiter and Schmidhuber, 1997.

    The gates lie in the order i, f, g, o; i, f and o pass through sigmoid, g through tanh.
    """
    h, c = state
    i, f, g, o = (gates + F.linear(h, weights["weight_hh"], weights["bias_hh"])).chunk(4, -1)
    c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
    h = ops.sigmoid(o) * ops.tanh(c)
    if weights.get("weight_hr") is not None:
        h = F.linear(h, weights["weight_hr"])
    return h, c


def gru_step(gates: Tensor, state: State, weights: dict[str, Tensor | None]) -> State:
    """h' = (1 - z) n + z h, n = tanh(W_in x + b_in + r (W_hn h + b_hn)): Cho et al., 2014, in cuDNN's variant.

    The gates lie in the order r, z, n; r and z pass through sigmoid.
    """
    h = state[0]
    r_x, z_x, n_x = gates.chunk(3, -1)
    r_h, z_h, n_h = F.linear(h, weights["weight_hh"], weights["bias_hh"]).chunk(3, -1)
    z = ops.sigmoid(z_x + z_h)
    n = ops.tanh(n_x + ops.sigmoid(r_x + r_h) * n_h)
    return ((h - n) * z + n,)


STEPS: dict[str, Callable[[Tensor, State, dict[str, Any]], State]] = {
    "RNN_TANH": rnn_tanh_step,
    "RNN_RELU": rnn_relu_step,
    "LSTM": lstm_step,
    "GRU": gru_step,
}


def _run_direction(mode: str, input: Tensor, state: State, weights: dict[str, Tensor | None], reverse: bool) -> Any:
    """One layer in one direction: (T, N, in) gives (T, N, out) and the last state."""
    step = STEPS[mode]
    # The inputs of all steps meet their weights in one product.
    gates = F.linear(input, weights["weight_ih"], weights["bias_ih"]).unbind(0)
    outputs: list[Any] = [None] * len(gates)
    for t in range(len(gates) - 1, -1, -1) if reverse else range(len(gates)):
        state = step(gates[t], state, weights)
        outputs[t] = state[0]
    return ops.stack(outputs), state


def _run_packed(
    mode: str,
    input: Tensor,
    batch_sizes: Sequence[int],
    state: State,
    weights: dict[str, Tensor | None],
    reverse: bool,
) -> Any:
    """As ``_run_direction`` for packed rows (sum of batch sizes, in).  Sequences are sorted by length, so those
    that have ended are always the last ones of the batch."""
    step = STEPS[mode]
    gates = F.linear(input, weights["weight_ih"], weights["bias_ih"]).split(list(batch_sizes))
    outputs: list[Any] = [None] * len(gates)
    initial = state
    ended: list[State] = []  # last states of the sequences that ended, longest last
    running = 0 if reverse else batch_sizes[0]
    if reverse:
        state = tuple(s[:0] for s in initial)
    for t in range(len(gates) - 1, -1, -1) if reverse else range(len(gates)):
        size = batch_sizes[t]
        if size > running:  # backwards, sequences join as their last step comes up
            state = tuple(ops.cat([s, s0[running:size]]) for s, s0 in zip(state, initial))
        elif size < running:
            ended.append(tuple(s[size:] for s in state))
            state = tuple(s[:size] for s in state)
        running = size
        state = step(gates[t], state, weights)
        outputs[t] = state[0]
    if ended:
        parts = [state, *reversed(ended)]
        state = tuple(ops.cat([part[i] for part in parts]) for i in range(len(state)))
    return ops.cat(outputs), state


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
    """
    directions = 2 if bidirectional else 1
    last: list[State] = []
    for index in range(0, len(layers), directions):
        outputs = []
        for direction in range(directions):
            number = index + direction
            state = tuple(h[number] for h in hidden)
            if batch_sizes is None:
                output, state = _run_direction(mode, input, state, layers[number], direction == 1)
            else:
                output, state = _run_packed(mode, input, batch_sizes, state, layers[number], direction == 1)
            outputs.append(output)
            last.append(state)
        input = outputs[0] if directions == 1 else ops.cat(outputs, -1)
        if dropout and training and index + directions < len(layers):
            input = F.dropout(input, dropout, True)
    return input, tuple(ops.stack(list(states)) for states in zip(*last))


def _check_cell(input: Tensor, hidden: Sequence[Tensor], w_ih: Tensor, w_hh: Tensor) -> None:
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
    weights = {"weight_hh": w_hh, "bias_hh": b_hh}
    return STEPS[mode](F.linear(input, w_ih, b_ih), hidden, weights)


def rnn_tanh_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> Tensor:
    """tanh(W_ih x + b_ih + W_hh h + b_hh) for x (N, in) and h (N, hidden)."""
    return _cell("RNN_TANH", input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


def rnn_relu_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> Tensor:
    """relu(W_ih x + b_ih + W_hh h + b_hh) for x (N, in) and h (N, hidden)."""
    return _cell("RNN_RELU", input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]


def lstm_cell(
    input: Tensor,
    hx: Sequence[Tensor],
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The next (h, c) of an LSTM for x (N, in), h and c (N, hidden); see ``lstm_step``."""
    h, c = _cell("LSTM", input, tuple(hx), w_ih, w_hh, b_ih, b_hh)
    return h, c


def gru_cell(
    input: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor | None = None, b_hh: Tensor | None = None
) -> Tensor:
    """The next h of a GRU for x (N, in) and h (N, hidden); see ``gru_step``."""
    return _cell("GRU", input, (hx,), w_ih, w_hh, b_ih, b_hh)[0]
