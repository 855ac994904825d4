"""Packed and padded sequences, and recurrent layers that take them; compared with PyTorch."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from nn_reference import check

import flambeau
from flambeau.nn import _recurrent
from flambeau.nn.utils.rnn import PackedSequence, pack_sequence


def utilities(p):
    return p.nn.utils.rnn


def batch(p):
    return p.arange(30.0).reshape(5, 3, 2)


PROGRAMS = {
    "pack": lambda p, r: tuple(r.pack_padded_sequence(batch(p), [5, 3, 2])),
    "pack batch first": lambda p, r: tuple(r.pack_padded_sequence(batch(p), [3, 3, 2, 2, 1], batch_first=True)),
    "pack unsorted": lambda p, r: tuple(r.pack_padded_sequence(batch(p), p.tensor([2, 5, 3]), enforce_sorted=False)),
    "pack in wrong order": lambda p, r: r.pack_padded_sequence(batch(p), [3, 5, 2]),
    "pack too few lengths": lambda p, r: r.pack_padded_sequence(batch(p), [3, 2]),
    "pack empty sequence": lambda p, r: r.pack_padded_sequence(batch(p), [5, 2, 0]),
    "pack nothing": lambda p, r: r.pack_padded_sequence(p.ones(0, 3, 2), [0, 0, 0]),
    "pack lengths of rank 2": lambda p, r: r.pack_padded_sequence(batch(p), p.ones(3, 1)),
    "pad": lambda p, r: r.pad_packed_sequence(r.pack_padded_sequence(batch(p), [5, 3, 2]), padding_value=-1.0),
    "pad unsorted": lambda p, r: r.pad_packed_sequence(
        r.pack_padded_sequence(batch(p), [2, 5, 3], enforce_sorted=False), batch_first=True, total_length=7
    ),
    "pad too short": lambda p, r: r.pad_packed_sequence(r.pack_padded_sequence(batch(p), [5, 3, 2]), total_length=3),
    "pad sequence": lambda p, r: r.pad_sequence([p.ones(2, 3), p.ones(4, 3)], padding_value=9.0),
    "pad sequence left": lambda p, r: r.pad_sequence([p.ones(2), p.ones(4)], True, 9.0, "left"),
    "pad sequence generator": lambda p, r: r.pad_sequence(x for x in [p.ones(2), p.ones(3)]),
    "pad sequence tensor": lambda p, r: r.pad_sequence(p.ones(2, 3)),
    "pad sequence side": lambda p, r: r.pad_sequence([p.ones(2)], padding_side="x"),
    "pad sequence number": lambda p, r: r.pad_sequence(3),
    "pad sequence none": lambda p, r: r.pad_sequence([]),
    "unpad": lambda p, r: r.unpad_sequence(batch(p), p.tensor([5, 3, 1])),
    "pack sequence": lambda p, r: tuple(r.pack_sequence([p.ones(3), p.ones(2)])),
    "pack sequence in wrong order": lambda p, r: r.pack_sequence([p.ones(2), p.ones(3)]),
    "unpack": lambda p, r: r.unpack_sequence(r.pack_sequence([p.ones(2), p.ones(3)], enforce_sorted=False)),
    "invert": lambda p, r: (r.invert_permutation(p.tensor([2, 0, 1])), r.invert_permutation(None)),
    "to": lambda p, r: (lambda s: (s.double().data.dtype, s.half().data.dtype, s.to("cpu") is s, s.is_cuda))(
        r.pack_sequence([p.ones(3)])
    ),
    "made by hand": lambda p, r: tuple(r.PackedSequence(p.ones(3), p.tensor([2, 1]), p.tensor([1, 0]))),
    "made of one": lambda p, r: r.PackedSequence(p.ones(2), None),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_utilities(name):
    check(lambda p: PROGRAMS[name](p, utilities(p)))


def test_lengths_beyond_the_padding_are_refused():
    with pytest.raises(RuntimeError, match="lengths of at most 5"):
        flambeau.nn.utils.rnn.pack_padded_sequence(flambeau.ones(5, 2), [6, 1])


def test_packed_sequences_can_be_copied():
    packed = pack_sequence([flambeau.ones(3), flambeau.ones(2)])
    copied = copy.deepcopy(packed)
    assert isinstance(copied, PackedSequence)
    assert copied.data.tolist() == packed.data.tolist() and copied.sorted_indices is None


@pytest.mark.parametrize("sorted_", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        "RNN(2, 3)",
        "RNN(2, 3, 2, nonlinearity='relu', bidirectional=True)",
        "LSTM(2, 3, 2, bidirectional=True)",
        "LSTM(2, 3, proj_size=2)",
        "GRU(2, 3, 2, bias=False, bidirectional=True)",
        "GRU(2, 3, batch_first=True)",
    ],
)
def test_packed_input(text, sorted_):
    def program(p):
        layer = eval(f"p.nn.{text}")
        x = (batch(p) / 30).requires_grad_()
        lengths = [5, 3, 2] if sorted_ else [2, 5, 3]
        packed = utilities(p).pack_padded_sequence(x, lengths, enforce_sorted=sorted_)
        output, state = layer(packed)
        states = state if isinstance(state, tuple) else (state,)
        again, _ = layer(packed, tuple(s.detach() for s in states) if len(states) > 1 else state.detach())
        ((output.data**2).sum() + sum((s**3).sum() for s in states)).backward()
        padded = utilities(p).pad_packed_sequence(output)
        return padded, states, again.data, x.grad, [w.grad for w in layer.parameters()]

    check(program)


@pytest.mark.parametrize("text", ["RNN(2, 3)", "LSTM(2, 3, bidirectional=True)", "GRU(2, 3, bias=False)"])
def test_gradients_of_gradients(text):
    def program(p):
        layer = eval(f"p.nn.{text}").double()
        x = p.linspace(-1, 1, 24, dtype=p.float64).reshape(4, 3, 2).requires_grad_()
        grads = p.autograd.grad((layer(x)[0] ** 2).sum(), [x, *layer.parameters()], create_graph=True)
        sum((g**2).sum() for g in grads).backward()
        return grads, x.grad, [w.grad for w in layer.parameters()]

    check(program, tolerance=1e-10)


def test_no_steps():
    check(lambda p: p.nn.LSTM(2, 3)(p.ones(0, 1, 2)))


def test_weights_are_listed_and_may_be_replaced():
    def program(p):
        layer = p.nn.LSTM(2, 3, 2, bidirectional=True)
        shapes = [[list(w.shape) for w in ws] for ws in layer.all_weights]
        layer.weight_ih_l0 = p.nn.Parameter(p.zeros(12, 2))
        layer.flatten_parameters()
        return shapes, layer(p.ones(2, 1, 2))[0], [len(layer._flat_weights), layer._flat_weights_names[:5]]

    check(program)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [3, 6, 16])
@pytest.mark.parametrize(
    "make",
    [
        lambda **k: flambeau.nn.LSTM(5, 64, bidirectional=True, **k),
        lambda **k: flambeau.nn.GRU(5, 64, bidirectional=True, **k),
        lambda **k: flambeau.nn.RNN(5, 64, bidirectional=True, **k),
        lambda **k: flambeau.nn.RNN(5, 64, 2, nonlinearity="relu", **k),
    ],
)
def test_sequences_as_one_call_equal_single_steps(make, batch, bias, monkeypatch):
    layer = make(bias=bias)
    x = flambeau.randn(6, batch, 5, requires_grad=True)

    def run():
        output, states = layer(x)
        states = states if isinstance(states, tuple) else (states,)
        before = [t.detach().clone() for t in (output, *states)]
        output.mul_(2)  # what the layer's gradient needs is kept elsewhere
        loss = (output * output).sum()
        for s in states:
            loss = loss + s.sin().sum()
        return [*before, *flambeau.autograd.grad(loss, [x, *layer.parameters()])]

    assert _recurrent._whole([batch] * 6, x, x)
    found = run()
    with flambeau.no_grad():
        found.append(layer(x)[0])
    monkeypatch.setattr(_recurrent, "_whole", lambda *_: False)
    expected = run()
    expected.append(expected[0])
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-5, atol=2e-6 * max(1, b.abs().max().item()))


def test_sequences_as_one_call_give_the_same_bits_for_any_number_of_threads():
    layer = flambeau.nn.LSTM(64, 96)
    x = flambeau.randn(5, 20, 64)
    threads = flambeau.get_num_threads()
    try:
        found = []
        for count in (1, 3):
            flambeau.set_num_threads(count)
            found.append(layer(x)[0].detach().numpy().tobytes())
    finally:
        flambeau.set_num_threads(threads)
    assert found[0] == found[1]
