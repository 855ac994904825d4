"""Programs that differ in sizes share plans (``families.py``, ``graph/varying.py``)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as torch
from flambeau import nn
from flambeau.compiled import default_mode
from flambeau.deferred import deferral, families
from flambeau.graph.kernel import KernelCall
from flambeau.graph.varying import Scope, Varying
from flambeau.nn import functional as F
from flambeau.runtime import engine


@pytest.fixture(autouse=True)
def recorded(monkeypatch):
    """Calls of little work are recorded too, and nothing is known of other tests' programs."""
    monkeypatch.setattr(default_mode, "_MUCH", -1)
    families._families.clear()
    deferral.plans.clear()


class Block(nn.Module):
    """Attention, normalisation, GELU and a residual over a sequence."""

    def __init__(self):
        super().__init__()
        self.embedding, self.norm = nn.Embedding(19, 24), nn.LayerNorm(24)
        self.qkv, self.up, self.down = nn.Linear(24, 72, bias=False), nn.Linear(24, 40), nn.Linear(40, 24)

    def forward(self, i):
        x = self.embedding(i) + torch.arange(i.shape[1]).unsqueeze(1) * 0.01
        q, k, v = (t.unflatten(2, (3, 8)).transpose(1, 2) for t in self.qkv(self.norm(x)).chunk(3, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.down(F.gelu(self.up(y)))
        return x.mean(1)


class Images(nn.Module):
    """Convolution, batch norm, pooling."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Conv2d(6, 5, 1)

    def forward(self, x):
        return self.second(F.max_pool2d(F.relu(self.norm(self.first(x))), 2)).mean((2, 3))


class Odds(nn.Module):
    """Slices, writes in place, sums of many kinds, a softmax over what varies."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(6, 7)

    def forward(self, x):
        y = self.line(x).clone()
        y[1:] += y[:-1] / x.shape[0]
        y[::2] = y[::2] - 1
        z = torch.cat([y.softmax(0), y.cumsum(0), y.flip(0)], 1)
        return (z / z.shape[0]).tanh().sum(0, keepdim=True) + y.var(0).mean() + y.amax()


MODELS = {
    "block": (Block, lambda n: torch.randint(0, 19, (2, n))),
    "images": (Images, lambda n: torch.randn(2, 3, n + 2, 2 * n + 1)),
    "odds": (Odds, lambda n: torch.randn(n + 1, 6)),
    "recurrent": (lambda: nn.GRU(5, 6), lambda n: torch.randn(n, 3, 5)),
    "bag": (lambda: nn.EmbeddingBag(11, 4), lambda n: torch.randint(0, 11, (n, 3))),
}


def steps(make, data, sizes, compiled):
    torch.manual_seed(5)
    model = make()
    run = torch.compile(model) if compiled else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    found = []
    for n in sizes:
        out = run(data(n))
        loss = sum(t.square().mean() for t in (out if isinstance(out, tuple) else (out,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found, [p.detach().numpy() for p in model.parameters()]


@pytest.mark.parametrize("name", MODELS)
def test_ever_new_sizes_train_as_in_eager(name):
    sizes = [9, 10, 11, 14, 1, 2, 33, 40, 9, 150, 151, 3, 64, 65, 70, 17]
    losses, parameters = steps(*MODELS[name], sizes, True)
    wanted, expected = steps(*MODELS[name], sizes, False)
    np.testing.assert_allclose(losses, wanted, rtol=2e-5, atol=1e-6)
    for a, b in zip(parameters, expected):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-4)


Resizable = families._Resizable


class Watched(Resizable):
    """Compares every plan with one that was made for these very sizes."""

    served = made = 0

    def __init__(self, text, members, owners, constant):
        super().__init__(text, members, owners, constant)
        Watched.made += 1
        self.again = text, owners, constant

    def plan(self, numbers):
        plan = super().plan(numbers)
        if plan is None:
            return None
        Watched.served += 1
        text, owners, constant = self.again
        own = Resizable(text, [numbers], owners, constant).plan(numbers)
        assert own.buffers == plan.buffers
        for a, b in zip(own.schedule.steps, plan.schedule.steps, strict=True):
            assert type(a) is type(b)
            if isinstance(a, KernelCall):
                # a size may be equal to a number by chance, and then needs no word of its own
                if a.address == b.address:
                    assert (a.words, a.chunks, a.stream_from, a.work) == (b.words, b.chunks, b.stream_from, b.work)
                else:
                    assert len(a.words) < len(b.words)
            else:
                assert a == b
        return plan


@pytest.mark.parametrize("name", MODELS)
def test_a_plan_for_other_sizes_is_what_planning_gives(name, monkeypatch):
    monkeypatch.setattr(families, "_Resizable", Watched)
    monkeypatch.setattr(Watched, "served", 0)
    monkeypatch.setattr(Watched, "made", 0)
    steps(*MODELS[name], list(range(20, 60, 3)), True)
    assert Watched.served >= 10 > Watched.made


def test_a_new_length_compiles_nothing():
    torch.manual_seed(0)
    steps(*MODELS["block"], [36, 37], True)
    before = engine.statistics().compiled
    steps(*MODELS["block"], [36, 37, 38, 41, 42, 43, 45, 46, 47, 49, 50], True)
    assert engine.statistics().compiled == before


OPERATIONS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "divmod": lambda a, b: divmod(a, b)[1],
    "max": max,
    "min": min,
    "prod": lambda a, b: math.prod((a, b)),
    "sum": lambda a, b: sum((a, b, 1)),
    "neg": lambda a, b: -a + b,
    "if": lambda a, b: a + 1 if a < b else b - 1 if a == b else 2 * b,
    "abs": lambda a, b: abs(a - b),
    "bits": lambda a, b: a.bit_length() + b,
    "shift": lambda a, b: (a << 1) + (b >> 1) + (a & 6),
    "float": lambda a, b: int(a / 3 + b * 0.5),
    "text": lambda a, b: len(f"{a}") + int(str(b)),
    "order": lambda a, b: sorted([a, b, 7])[1],
    "truth": lambda a, b: a if b else 3,
}


@settings(deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(OPERATIONS)), st.integers(0, 9), st.integers(0, 9)), max_size=12),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_terms_hold_where_guards_do(program, sizes, others):
    """Whatever is computed of sizes comes out for other sizes as if it were computed of those, or is refused."""

    def run(a, b):
        values = [a, b, 3, 16]
        for op, x, y in program:
            values.append(OPERATIONS[op](values[x % len(values)], values[y % len(values)]))
        return values

    scope = Scope(sizes)
    try:
        found = run(*scope.sizes)
    except (ZeroDivisionError, ValueError, OverflowError, MemoryError) as error:
        with pytest.raises(type(error)):
            run(*sizes)
        return
    assert [int.__int__(v) for v in found] == run(*sizes)
    values = scope.values(others)
    if values is not None:
        assert [values[v.at] if isinstance(v, Varying) else v for v in found] == run(*others)
    assert scope.values(sizes) is not None


def test_programs_that_reduce_other_dimensions_are_no_family():
    a = np.random.default_rng(2).normal(size=(5, 6, 7, 8)).astype("f")
    for order in ((0, 1, 2, 3), (0, 2, 3, 1), (3, 1, 0, 2)):
        for dims in ((0, 1), (1, 2), (2, 3), (0, 3)):
            run = torch.compile(lambda x, order=order, dims=dims: (x * 2).permute(*order).sum(dims))
            want = (a * 2).transpose(order).sum(axis=dims)
            np.testing.assert_allclose(run(torch.from_numpy(a)).numpy(), want, rtol=1e-4, atol=1e-4)
