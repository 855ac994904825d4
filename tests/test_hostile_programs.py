"""Random programs that do what compilers stumble over, compiled and in eager mode: the same values, errors and order.

Each is a list of acts on a small model in training: calls with changing shapes, writes in place and through views,
changed training flags, hooks that come and go, exceptions in the middle of a call, looks at values, optimizer steps.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as torch
from flambeau import nn


class Oops(Exception):
    pass


class Model(nn.Module):
    """Layers whose forward pass also writes, looks at values and raises as it is told."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
        self.register_buffer("total", torch.zeros(8))
        self.calls, self.manner = 0, "plain"

    def forward(self, x):
        self.calls += 1
        h = self.norm(self.first(x))
        if self.manner == "view":
            h = h.clone()
            h[:, 1:4].mul_(2.0)
            h.t()[0] += 1.0
        elif self.manner == "buffer":
            self.total += h.detach().sum(0)
            h = h + self.total
        elif self.manner == "branch":
            h = h * 2 if float(h.detach().sum()) > 0 else h - 1
        elif self.manner == "raise":
            self.total[2:5] += h.detach()[0, 2:5]
            raise Oops(self.calls)
        return self.last(torch.tanh(h))


ACT = st.one_of(
    st.tuples(st.just("step"), st.integers(2, 5)),
    st.tuples(st.just("call"), st.integers(2, 5)),
    st.tuples(st.just("infer"), st.integers(2, 5)),
    st.tuples(st.just("accumulate"), st.integers(2, 5)),
    st.tuples(st.just("manner"), st.sampled_from(["plain", "view", "buffer", "branch", "raise"])),
    st.tuples(st.just("train"), st.booleans()),
    st.tuples(st.just("hook"), st.sampled_from(["module", "tensor", "none"])),
    st.tuples(st.just("write"), st.sampled_from(["weight", "view", "data"])),
    st.tuples(st.just("freeze"), st.booleans()),
    st.tuples(st.just("replace"), st.integers(0, 3)),
)


class _Player:
    """Plays a program and keeps what could be seen of it."""

    def __init__(self, wrap):
        torch.manual_seed(5)
        self.model = Model()
        self.run = wrap(self.model)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)
        self.handles, self.seen = [], []
        self.rng = np.random.default_rng(1)

    def play(self, acts):
        for name, value in acts:
            try:
                getattr(self, name)(value)
            except Oops as error:
                self.see("oops", torch.tensor(float(error.args[0])))
            except RuntimeError as error:
                self.seen.append(("error", type(error).__name__))
        for name, t in (*self.model.named_parameters(), *self.model.named_buffers()):
            self.see(name, t)
        self.see("calls", torch.tensor(float(self.model.calls)))
        return self.seen

    def see(self, what, t):
        self.seen.append((what, np.array(t.detach().numpy(), dtype=np.float64)))

    def batch(self, rows):
        return torch.from_numpy(self.rng.standard_normal((rows, 6)).astype(np.float32))

    def loss(self, rows):
        return self.run(self.batch(rows)).square().mean()

    def step(self, rows):
        self.optimizer.zero_grad()
        loss = self.loss(rows)
        loss.backward()
        self.optimizer.step()
        self.see("loss", loss)

    def accumulate(self, rows):
        self.loss(rows).backward()
        self.see("grad", self.model.last.weight.grad)

    def call(self, rows):
        out = self.run(self.batch(rows))
        out = out * 2
        out[0].zero_()
        self.see("out", out)

    def infer(self, rows):
        with torch.no_grad():
            self.see("inferred", self.run(self.batch(rows)))

    def manner(self, manner):
        self.model.manner = manner

    def train(self, on):
        self.model.train(on)

    def hook(self, where):
        for handle in self.handles:
            handle.remove()
        self.handles = []
        if where == "module":
            self.handles.append(self.model.last.register_forward_hook(lambda m, args, out: out * 1.5))
        elif where == "tensor" and self.model.first.weight.requires_grad:
            self.handles.append(self.model.first.weight.register_hook(lambda g: g * 0.5))

    def write(self, how):
        weight = self.model.first.weight
        with torch.no_grad():
            if how == "weight":
                weight.mul_(0.9)
            elif how == "view":
                weight[1:3, ::2].add_(0.1)
            else:
                weight.data.t()[0] = 0.25

    def freeze(self, on):
        self.model.first.bias.requires_grad_(not on)

    def replace(self, number):
        torch.manual_seed(number)
        self.model.last.bias = nn.Parameter(torch.randn(3))


MODES = {"default": torch.compile, "replay": lambda m: torch.compile(m, mode="reduce-overhead")}


def check(acts, mode):
    expected, found = _Player(lambda m: m).play(acts), _Player(MODES[mode]).play(acts)
    assert [what for what, _ in found] == [what for what, _ in expected]
    for (what, a), (_, b) in zip(found, expected):
        if what == "error":
            assert a == b
        elif what != "calls" or mode == "default":  # a repeated call does not run its Python
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4, err_msg=what)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.lists(ACT, min_size=4, max_size=14))
def test_programs(acts):
    check(acts, "default")


@pytest.mark.parametrize("mode", MODES)
def test_repeated_steps_between_changes(mode):
    """Steps of one signature are repeated natively; whatever happens between them is noticed."""
    steady = [("step", 4)] * 4
    acts = list(steady)
    for change in (
        ("write", "view"), ("train", False), ("train", True), ("hook", "tensor"), ("hook", "none"), ("freeze", True),
        ("freeze", False), ("replace", 1), ("write", "data"), ("accumulate", 4), ("infer", 4), ("call", 4),
    ):  # fmt: skip
        acts += [change, *steady]
    check(acts, mode)
