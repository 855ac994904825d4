"""Recurrent layers in compiled functions: their sequences are steps of the program, forwards and backwards."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn, optim
from flambeau.compiled.default_mode import DefaultMode
from flambeau.compiled.reduce_overhead import ReduceOverhead
from flambeau.compiled.replay import Recording
from flambeau.nn import functional as F
from flambeau.ops import recurrent

KINDS = {
    "lstm": lambda **options: nn.LSTM(8, 16, **options),
    "gru": lambda **options: nn.GRU(8, 16, **options),
    "tanh": lambda **options: nn.RNN(8, 16, **options),
    "relu": lambda **options: nn.RNN(8, 16, nonlinearity="relu", **options),
}
MODES = {"default": DefaultMode, "reduce-overhead": ReduceOverhead}


class Model(nn.Module):
    """A language model of a few words."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.last = nn.Embedding(11, 8), nn.Linear(32, 11)
        self.layer = KINDS[kind](num_layers=2, batch_first=True, bidirectional=True)

    def forward(self, x):
        return self.last(self.layer(self.words(x))[0])


def training(kind, wrap_model, wrap_step):
    """A model, and a step of its training."""
    model = Model(kind)
    optimizer = optim.Adam(model.parameters(), 0.01)
    forward = wrap_model(model)

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(forward(x).reshape(-1, 11), y.reshape(-1))
        loss.backward()
        optimizer.step()
        return loss

    return model, wrap_step(step)


def as_it_is(fn):
    return fn


def recordings(compiled):
    return [found for found in compiled.known.values() if type(found) is Recording]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("whole", [False, True])
def test_training_is_one_native_call_with_the_numbers_of_eager_mode(kind, mode, whole):
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randint(0, 11, (13, 7), generator=generator) for _ in "xy")
    made = []

    def compiled(fn):
        made.append(MODES[mode](fn))
        return made[0]

    eager, step = training(kind, as_it_is, as_it_is)
    expected = [step(x, y).item() for _ in range(8)]
    model, step = training(kind, *((as_it_is, compiled) if whole else (compiled, as_it_is)))
    assert [step(x, y).item() for _ in range(8)] == pytest.approx(expected, rel=1e-5)
    (recording,) = recordings(made[0])
    names = [step.name for step in recording.ran.plan.steps()]
    assert names.count("_Sequence") == (8 if whole else 4)
    assert len(recording.ran.plan._parts) == 1
    for p, q in zip(eager.parameters(), model.parameters()):
        np.testing.assert_allclose(q.detach().numpy(), p.detach().numpy(), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_and_batches_that_vary(kind):
    """Few rows read the weights where they lie, more of them rows apart from each other, many rows panels."""
    layer = KINDS[kind]()
    compiled = torch.compile(lambda x: layer(x)[0].sin())
    for times, batch in [(3, 2), (7, 6), (4, 6), (5, 20), (9, 20), (1, 20), (7, 6), (3, 2)]:
        x = torch.linspace(-1, 1, times * batch * 8).reshape(times, batch, 8)
        for _ in range(3):
            np.testing.assert_allclose(
                compiled(x).detach().numpy(), layer(x)[0].sin().detach().numpy(), rtol=1e-5, atol=1e-6
            )


@pytest.mark.parametrize("kind", ["lstm", "gru", "tanh"])
def test_a_repeated_call_is_differentiated_twice(kind):
    layer = KINDS[kind]()
    x = torch.linspace(-1, 1, 5 * 6 * 8).reshape(5, 6, 8).requires_grad_()

    def norm_of_gradient(call):
        (g,) = torch.autograd.grad(call(x).square().sum(), x, create_graph=True)
        return torch.autograd.grad(g.square().sum(), x)[0]

    def plain(x):
        return layer(x)[0] * 2

    repeated = ReduceOverhead(plain)
    for _ in range(4):
        repeated(x).sum().backward()
    assert recordings(repeated)
    np.testing.assert_allclose(
        norm_of_gradient(repeated).numpy(), norm_of_gradient(plain).numpy(), rtol=2e-4, atol=1e-5
    )


def test_the_gradient_of_a_layer_is_freed_with_its_graph():
    layer = nn.LSTM(8, 16)
    output = layer(torch.ones(3, 2, 8))[0].sum()
    output.backward()
    with pytest.raises(RuntimeError, match="second time"):
        output.backward()


@pytest.mark.parametrize("mode", [None, "reduce-overhead"])
def test_weights_that_change_and_outputs_that_are_written(mode):
    def calls(wrap):
        layer = KINDS["gru"]()

        def call(x):
            output, last = layer(x)
            output = output * 1
            output[0] = 0
            return output.sum() + last.sum()

        with torch.no_grad():
            for p in layer.parameters():
                p.copy_(torch.linspace(-0.5, 0.5, p.numel()).reshape(p.shape))
        call, found = wrap(call), []
        for k in range(8):
            with torch.no_grad():
                layer.weight_hh_l0.mul_(1.1)
            layer.weight_ih_l0.requires_grad_(k != 5)
            loss = call(torch.linspace(-1, 1, 96).reshape(3, 4, 8) + k)
            loss.backward()
            found.append([loss.item(), *(p.grad.sum().item() for p in layer.parameters() if p.grad is not None)])
            layer.zero_grad()
        return found

    expected, found = calls(as_it_is), calls(lambda fn: torch.compile(fn, mode=mode))
    for a, b in zip(expected, found):
        assert b == pytest.approx(a, rel=1e-4, abs=1e-5)


def test_steps_are_traced_by_one_thread_at_a_time(monkeypatch):
    build, inside, most, met = recurrent.build, [], [], threading.Event()

    def watched(*args):
        inside.append(args)
        most.append(len(inside))
        if len(inside) > 1:
            met.set()
        met.wait(0.1)  # for another thread to come, which it may not
        try:
            return build(*args)
        finally:
            inside.pop()

    monkeypatch.setattr(recurrent, "build", watched)
    found = {}

    def run(size):
        layer = nn.GRU(size, size)
        with torch.no_grad():
            for p in layer.parameters():
                p.fill_(0.01)
        found[size] = layer(torch.ones(4, 2, size))[0]

    workers = [threading.Thread(target=run, args=(size,)) for size in (9, 10, 11)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(most) >= 3 and max(most) == 1
    for size, result in found.items():
        assert result.shape == (4, 2, size) and bool((result[1:] > result[:-1]).all())
