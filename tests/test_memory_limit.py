"""``options={"memory_limit": n}``: values are computed again rather than kept, and the numbers stay the same."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn
from flambeau.compiled import default_mode
from flambeau.deferred import families
from flambeau.deferred.deferral import plans
from flambeau.graph import recompute
from flambeau.nn import functional as F


class Layer(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(dim), nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        q, k, v = (y.unflatten(-1, (2, -1)).transpose(1, 2) for y in self.qkv(self.norm(x)).chunk(3, -1))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(x)))


def transformer():
    return nn.Sequential(*[Layer(16) for _ in range(2)]), (4, 12, 16)


def convolutions():
    layers = [[nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Tanh()] for _ in range(3)]
    return nn.Sequential(*[m for group in layers for m in group]), (2, 4, 12, 12)


def with_dropout():
    layers = [[nn.Linear(16, 64), nn.Dropout(0.3), nn.GELU(), nn.Linear(64, 16)] for _ in range(3)]
    return nn.Sequential(*[m for group in layers for m in group]), (32, 16)


def trained(make, limit, compiled=True):
    """(losses and parameters of a short training, bytes of temporary memory)"""
    torch.manual_seed(0)
    model, shape = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)  # not one that makes noise large
    run = torch.compile(model, options=limit and {"memory_limit": limit}) if compiled else model
    x = torch.randn(*shape)
    plans.clear()
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = (run(x) - x.flip(0)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    found = [np.array(losses, np.float32), *[p.detach().numpy() for p in model.parameters()]]
    return found, max((plan.temporary for plan in plans.values()), default=0)


@pytest.mark.parametrize("make", [transformer, convolutions, with_dropout])
def test_a_step_within_a_limit_gives_the_numbers_of_eager(make):
    expected, _ = trained(make, 0, compiled=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, most = trained(make, 1 << 40)
    for share in (0.7, 0.0):
        limit = max(1, int(most * share))
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found, nbytes = trained(make, limit)
        for a, b in zip(expected, found):
            np.testing.assert_allclose(b, a, rtol=2e-4, atol=2e-6)
        assert nbytes < most and (nbytes <= limit or "memory_limit" in str(told[0].message))


def test_what_a_limit_may_be():
    with pytest.raises(RuntimeError, match="positive"):
        torch.compile(lambda x: x, options={"memory_limit": 0})
    with pytest.raises(RuntimeError, match="should be int"):
        torch.compile(lambda x: x, options={"memory_limit": 1.5})
    with pytest.raises(RuntimeError, match="Unexpected optimization option memory"):
        torch.compile(lambda x: x, options={"memory": 1})


def test_a_limit_is_that_of_one_function():
    x = torch.ones(64, 64, requires_grad=True)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.compile(lambda t: (t @ t).exp() @ t, options={"memory_limit": 1})(x).sum().backward()
        assert x.grad.shape == x.shape and x.grad.sum().item() > 0
        count = len(told)
        torch.compile(lambda t: (t @ t).exp() @ t, fullgraph=True)(x).sum().backward()
        assert x.grad.sum().item() > 0
    assert len(told) == count


def test_without_a_limit_cheap_values_are_computed_again(monkeypatch):
    """The activations that the gradients of weights read do not wait for the backward pass."""

    def make():
        layers = [[nn.LayerNorm(64), nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64)] for _ in range(4)]
        return nn.Sequential(*[m for group in layers for m in group]), (256, 64)

    monkeypatch.setattr(default_mode, "_MUCH", -1)  # so that it is recorded
    found, temporary = trained(make, None)
    monkeypatch.setattr(recompute, "_SHARE", 1 << 60)
    families._families.clear()
    kept, more = trained(make, None)
    assert temporary < 0.9 * more
    for a, b in zip(found, kept):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
