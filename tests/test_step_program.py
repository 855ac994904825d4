"""A training step as one program: updates of optimizers, and values computed in the memory of arguments."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn
from flambeau.compiled.watch import watching
from flambeau.deferred.deferral import deferral
from flambeau.nn import functional as F

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=0.01, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-3, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=1e-3, momentum=0.5, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p),
    "adamax": lambda p: torch.optim.Adamax(p),
    "nadam": lambda p: torch.optim.NAdam(p),
    "radam": lambda p: torch.optim.RAdam(p),
    "rprop": lambda p: torch.optim.Rprop(p),
    "asgd": lambda p: torch.optim.ASGD(p),
    "adadelta": lambda p: torch.optim.Adadelta(p),
}


def trained(make_optimizer, compiled, steps=9, look=0):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(10, 24), nn.ReLU(), nn.BatchNorm1d(24), nn.Linear(24, 24), nn.GELU(), nn.LayerNorm(24),
        nn.Linear(24, 5),
    )  # fmt: skip
    optimizer = make_optimizer(model.parameters())
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.9)
    x, y = torch.randn(16, 10), torch.randint(0, 5, (16,))
    run = torch.compile(model) if compiled else model
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(run(x), y)
        loss.backward()
        if step % 4 == 3:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item() if look and step % look == 0 else loss)
    state = [p.detach().numpy() for p in model.parameters()] + [b.numpy() for b in model.buffers()]
    return [float(v) for v in losses], state


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_in_the_program_are_those_outside(name):
    losses, state = trained(OPTIMIZERS[name], False)
    for look in (0, 2):
        found, compiled = trained(OPTIMIZERS[name], True, look=look)
        np.testing.assert_allclose(found, losses, rtol=1e-6)
        for a, b in zip(compiled, state):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def schedules(action):
    """The schedules of the programs that an action runs."""
    found = []
    with watching(lambda program: found.append(program.ran.plan._schedule)):
        held = action()
        deferral().flush()
        del held
    return found


def test_a_step_is_one_program_that_updates_in_place(few_operators_are_worth_repeating):
    model = nn.Linear(16, 16)
    run = torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    x = torch.randn(32, 16)

    def step():
        optimizer.zero_grad()
        (run(x) ** 2).mean().backward()
        optimizer.step()

    step()
    step()
    deferral().flush()
    (found,) = schedules(lambda: (step(), optimizer.zero_grad()))
    kernels = [s for s in found.steps if hasattr(s, "kernel")]
    touched = [(found.buffers[b], k.written) for s in kernels for b, k in zip(s.buffers, s.kernel.buffers)]
    written = {buffer.slot for buffer, changed in touched if changed and buffer.kind == "input"}
    assert len(written) == 6  # two parameters and their two states each
    assert not any(b.kind == "output" for b in found.buffers)  # nobody holds the gradients
    updates = [s for s in found.steps if "step_adam" in getattr(s, "origins", ())]
    assert len(updates) == 2


def test_gradients_that_somebody_holds_are_there():
    model = nn.Linear(4, 3)
    run = torch.compile(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    before = model.weight.detach().numpy().copy()
    run(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    np.testing.assert_allclose(model.weight.grad.numpy(), np.full((3, 4), 2.0))
    np.testing.assert_allclose(model.weight.detach().numpy(), before - 1.0, rtol=1e-6)


def test_a_parameter_given_twice_is_updated_twice():
    w = nn.Parameter(torch.ones(3))
    with pytest.warns(UserWarning, match="duplicate"):
        optimizer = torch.optim.SGD([w, w], lr=0.5)
    torch.compile(lambda t: t.sum())(w).backward()
    optimizer.step()
    np.testing.assert_allclose(w.detach().numpy(), np.zeros(3))


def test_tied_and_strided_parameters():
    results = []
    for compiled in (False, True):
        torch.manual_seed(1)
        conv = nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)
        first, second = nn.Embedding(9, 6), nn.Linear(6, 9, bias=False)
        second.weight = first.weight
        optimizer = torch.optim.Adam([*conv.parameters(), *first.parameters()], lr=0.01)

        def forward(x, i, conv=conv, first=first, second=second):
            return second(conv(x).mean((2, 3)) + first(i))

        run = torch.compile(forward) if compiled else forward
        x, i, y = torch.randn(5, 4, 6, 6), torch.randint(0, 9, (5,)), torch.randint(0, 9, (5,))
        for _ in range(4):
            optimizer.zero_grad()
            F.cross_entropy(run(x, i), y).backward()
            optimizer.step()
        results.append([p.detach().numpy().copy() for p in [*conv.parameters(), first.weight]])
    for a, b in zip(*results):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_arguments_that_exchange_their_values():
    @torch.compile
    def exchange(a, b, c):
        old = a.clone()
        a.copy_(b)
        b.copy_(c)
        c.copy_(old)
        return a + b

    x = [np.arange(6, dtype=np.float32).reshape(2, 3) + 10 * k for k in range(3)]
    a, b, c = (torch.tensor(v) for v in x)
    total = exchange(a, b, c).numpy()
    for t, v in zip((a, b, c), (x[1], x[2], x[0])):
        np.testing.assert_array_equal(t.numpy(), v)
    np.testing.assert_array_equal(total, x[1] + x[2])


def test_each_new_value_is_computed_from_old_ones():
    @torch.compile
    def mix(a, b):
        old = a.clone()
        a.add_(b)
        b.mul_(2).sub_(old)
        a.sub_(b)
        return (a * old).sum(1), a.t() + 1

    x, y = np.random.default_rng(0).standard_normal((2, 5, 7)).astype(np.float32)
    a, b = torch.tensor(x), torch.tensor(y)
    first, second = mix(a, b)
    new_b = y * 2 - x
    new_a = x + y - new_b
    np.testing.assert_allclose(a.numpy(), new_a, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(b.numpy(), new_b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(first.numpy(), (new_a * x).sum(1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(second.numpy(), new_a.T + 1, rtol=1e-5, atol=1e-6)


def test_rows_written_in_place_leave_the_rest_alone():
    cache = torch.zeros(2, 8, 4)

    @torch.compile
    def put(cache, row, at):
        cache[:, at] = row
        return cache.sum((1, 2))

    (found,) = schedules(lambda: put(cache, torch.ones(2, 4), 3))
    assert all(b.kind != "temp" for b in found.buffers)
    np.testing.assert_array_equal(put(cache, torch.full((2, 4), 2.0), 5).numpy(), [12, 12])

    @torch.compile
    def shift(t):
        t[1:] = t[:-1].clone()
        t += 1
        return t.sum()

    t = torch.arange(6.0)
    assert shift(t).item() == 16
    np.testing.assert_array_equal(t.numpy(), [1, 1, 2, 3, 4, 5])


def test_zeros_made_inside_are_part_of_the_program():
    @torch.compile
    def program(x):
        total = torch.zeros(3, 4)
        total[1] += x
        return total

    (found,) = schedules(lambda: program(torch.ones(4)))
    assert sum(b.kind == "input" for b in found.buffers) == 1
    np.testing.assert_array_equal(program(torch.ones(4)).numpy().sum(1), [0, 4, 0])
