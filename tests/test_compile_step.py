"""Whole training steps in the default mode of ``compile``: calls that are repeated take an optimizer's step again, and
whatever is done to the optimizer in between has its effect."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn, optim
from flambeau.compiled.default_mode import DefaultMode
from flambeau.compiled.replay import Recording
from flambeau.nn import functional as F

OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adamw": lambda p: optim.AdamW(p, lr=1e-2),
    "amsgrad": lambda p: optim.Adam(p, lr=1e-2, amsgrad=True),
    "rmsprop": lambda p: optim.RMSprop(p, lr=1e-2, centered=True),
    "adagrad": lambda p: optim.Adagrad(p, lr=1e-2),
}
CALLS, CHANGE = 10, 6


def nothing(model, optimizer, found):
    """Nothing is done."""


def other_rate(model, optimizer, found):
    optimizer.param_groups[0]["lr"] *= 0.25


def other_option(model, optimizer, found):
    optimizer.param_groups[0]["weight_decay"] = 0.125


def frozen_layer(model, optimizer, found):
    model[0].requires_grad_(False)


def another_group(model, optimizer, found):
    extra = nn.Parameter(torch.ones(3))
    extra.grad = torch.ones(3)
    optimizer.add_param_group({"params": [extra]})
    model.extra = extra


def loaded_state(model, optimizer, found):
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def cleared_state(model, optimizer, found):
    optimizer.state.clear()


def hook(model, optimizer, found):
    optimizer.register_step_post_hook(lambda *_: found.append(model[0].weight.sum().item()))


def other_step(model, optimizer, found):
    optimizer.step = lambda: found.append(-1.0)


def own_gradient(model, optimizer, found):
    model[0].weight.grad = torch.full((8, 4), 100.0)  # zero_grad takes it away


CHANGES = [
    nothing, other_rate, other_option, frozen_layer, another_group, loaded_state, cleared_state, hook, other_step,
    own_gradient,
]  # fmt: skip


def train(make, change, compiled, scheduled=False):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.2), nn.LayerNorm(8), nn.Linear(8, 3))
    optimizer = make(model.parameters())
    schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.5) if scheduled else None

    def step(x, y):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss

    run = DefaultMode(step) if compiled else step
    found: list[float] = []
    rng = np.random.default_rng(1)
    before = False
    for number in range(CALLS):
        x, y = torch.from_numpy(rng.normal(size=(6, 4)).astype(np.float32)), torch.from_numpy(rng.integers(0, 3, 6))
        if number == CHANGE:
            before = compiled and any(type(r) is Recording for r in run.known.values())
            change(model, optimizer, found)
        found.append(run(x, y).item())
        if schedule is not None:
            schedule.step()
    values = [*model.parameters(), *(p.grad for p in model.parameters() if p.grad is not None)]
    return found, [v.detach().numpy() for v in values], before


@pytest.mark.parametrize("scheduled", [False, True])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_steps_are_repeated_and_are_the_same(make, change, scheduled):
    losses, values, _ = train(make, change, False, scheduled)
    found, got, repeated = train(make, change, True, scheduled)
    assert repeated
    np.testing.assert_allclose(found, losses, rtol=1e-4, atol=1e-6)
    assert len(values) == len(got)
    for a, b in zip(values, got):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5)


def test_code_that_reads_an_optimizers_options_is_not_repeated():
    model = nn.Linear(3, 2)
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @DefaultMode
    def step(x):
        optimizer.zero_grad()
        loss = model(x).sum() * optimizer.param_groups[0]["lr"]
        loss.backward()
        optimizer.step()
        return loss

    x = torch.ones(4, 3)
    for _ in range(6):
        step(x)
    assert not any(type(r) is Recording for r in step.known.values())
    optimizer.param_groups[0]["lr"] = 0.0
    assert step(x).item() == 0.0


def test_an_optimizer_of_the_programs_own_is_not_repeated():
    class Own(optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {})
            self.steps = 0

        @torch.no_grad()
        def step(self, closure=None):
            self.steps += 1
            for group in self.param_groups:
                for p in group["params"]:
                    p.add_(p.grad, alpha=-0.1)

    model = nn.Linear(3, 2)
    optimizer = Own(model.parameters())

    @torch.compile
    def step(x):
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()

    for _ in range(6):
        step(torch.ones(4, 3))
    assert optimizer.steps == 6
