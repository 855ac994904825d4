"""The default mode of ``compile`` where a module is trained: batch norm, views as results, and much work."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn
from flambeau.compiled.default_mode import DefaultMode
from flambeau.compiled.replay import Recording
from flambeau.deferred.deferral import deferral
from flambeau.deferred.record import independent
from flambeau.nn import functional as F

pytestmark = pytest.mark.usefixtures("few_operators_are_worth_repeating")


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))


def images(k):
    return torch.from_numpy(np.random.default_rng(k).standard_normal((4, 3, 6, 6)).astype(np.float32))


def same(a, b):
    for x, y in zip(a, b, strict=True):
        assert x.shape == y.shape and x.stride() == y.stride()
        np.testing.assert_allclose(x.detach().numpy(), y.detach().numpy(), rtol=2e-5, atol=1e-6)


def repeated(fn):
    return any(type(found) is Recording for found in fn.known.values())


def test_batch_norm_trains_repeated():
    model = net()
    other = copy.deepcopy(model)
    calls = DefaultMode(other)
    pair = [(model, model, torch.optim.SGD(model.parameters(), 0.1)), (calls, other, None)]
    pair[1] = (calls, other, torch.optim.SGD(other.parameters(), 0.1))
    for k in range(7):
        if k == 5:  # another flag is another call
            model.eval(), other.eval()
        for run, _, optimizer in pair:
            optimizer.zero_grad()
            F.cross_entropy(run(images(k)), torch.tensor([0, 1, 2, 3])).backward()
            optimizer.step()
        if k == 4:
            assert repeated(calls)
        same([*model.parameters(), *model.buffers()], [*other.parameters(), *other.buffers()])
    assert int(other[1].num_batches_tracked) == 5


def test_a_second_derivative_of_a_repeated_call_writes_once():
    model = net()
    other = copy.deepcopy(model)
    calls = DefaultMode(other)
    for k in range(8):
        found = []
        for run, m in ((model, model), (calls, other)):
            x = images(k).requires_grad_()
            (g,) = torch.autograd.grad(run(x).square().sum(), x, create_graph=k >= 5)
            if k >= 5:
                m.zero_grad()
                g.square().sum().backward()
            found.append([g, *m.buffers(), *([p.grad for p in m.parameters() if p.grad is not None])])
        same(*found)
    assert int(other[1].num_batches_tracked) == 8


def test_what_reads_what_it_writes_is_not_repeated():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            self.seen += 1
            return x * self.seen

    calls = DefaultMode(Counts())
    for k in range(6):
        x = torch.ones(2, requires_grad=True)
        y = calls(x)
        y.sum().backward()
        assert y.tolist() == [k + 1.0] * 2 and x.grad.tolist() == [k + 1.0] * 2
    assert not repeated(calls)


VIEWS = {
    "transposed": lambda h: h.t(),
    "split": lambda h: h.view(-1, 2, 3).transpose(0, 1),
    "part": lambda h: h[1:, ::2],
    "chunks": lambda h: h.chunk(2, dim=1),
    "view and base": lambda h: (h, h.unsqueeze(0)),
    "twice": lambda h: [h[0], h[0], h],
}


@pytest.mark.parametrize("name", VIEWS)
def test_results_that_are_views(name):
    torch.manual_seed(0)
    layer = nn.Linear(4, 6)

    def fn(x):
        return VIEWS[name](layer(x).tanh())

    calls = DefaultMode(fn)
    for k in range(6):
        found = []
        for run in (fn, calls):
            x = torch.linspace(-1, 1 + k, 20).view(5, 4).requires_grad_()
            layer.zero_grad()
            results = run(x)
            results = list(results) if isinstance(results, (tuple, list)) else [results]
            assert all(r._is_view() for r in results if r is not results[-1]) or name == "view and base"
            bases = [r._base for r in results if r._base is not None]
            assert all(r.grad_fn is not None for r in results)
            sum((r * r * (1 + n)).sum() for n, r in enumerate(results)).backward()
            found.append([*results, *bases, x.grad, *[p.grad for p in layer.parameters()]])
        same(*found)
    assert repeated(calls)


def test_writes_into_a_view_reach_its_base():
    def fn(x):
        return (x * 3).view(2, 3)

    calls = DefaultMode(fn)
    for _ in range(6):
        found = []
        for run in (fn, calls):
            x = torch.arange(6.0).requires_grad_()
            y = run(x)
            y[0] *= 2
            (y._base * y._base).sum().backward()
            found.append([y, y._base, x.grad])
        same(*found)
    assert repeated(calls)


def test_much_work_is_repeated_once_its_signature_is_one_of_the_usual(monkeypatch):
    monkeypatch.setattr("flambeau.compiled.default_mode._MUCH", 0)
    count = 0
    weight = torch.randn(4, 4, requires_grad=True)

    def fn(x):
        return (x @ weight).relu()

    calls = DefaultMode(fn)
    for _ in range(3):
        for rows in (1, 2, 3, 4):
            calls(torch.ones(rows, 4)).sum().backward()
            count += 1
    assert not repeated(calls)
    for _ in range(6):
        calls(torch.ones(2, 4)).sum().backward()
    assert sum(type(found) is Recording for found in calls.known.values()) == 1


def test_what_a_program_computes_from_what_it_writes():
    recorder = deferral()
    for reads in (False, True):
        buffer, x = torch.ones(3), torch.ones(3)
        recorder.enter()
        try:
            recorder.borrow(buffer)
            y = x * (buffer + 1 if reads else 2)
            buffer.add_(x)
            held = [y._storage.memory, buffer._storage.memory]
            assert independent(recorder.text, recorder.wanted(held)) is not reads
        finally:
            recorder.leave()
            recorder.flush()


def test_little_work_that_is_differentiated_twice_runs_as_if_not_compiled():
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
    calls = DefaultMode(model)
    for k in range(8):
        x = torch.linspace(0, k + 1, 12).view(6, 2).requires_grad_()
        y = calls(x)
        assert k < 6 or y._storage.pending is None
        (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        g.square().sum().backward()
        (wanted,) = torch.autograd.grad(model(x).sum(), x)
        same([g], [wanted])
    assert not repeated(calls)
