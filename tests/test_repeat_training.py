"""``mode="reduce-overhead"`` on whole training steps: eager mode's numbers, and what makes one be watched anew."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn, optim
from flambeau.compiled.default_mode import DefaultMode
from flambeau.compiled.reduce_overhead import ReduceOverhead
from flambeau.compiled.replay import Recording
from flambeau.nn import functional as F


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))


def batch(k: int, rows: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(k)
    return torch.randn(rows, 4, generator=generator), torch.randn(rows, 2, generator=generator)


class Trainer:
    """A model with its optimizer; ``python`` counts how often the step's own Python ran."""

    def __init__(
        self, make: Callable[[Any], Any], compiled: bool, schedule: Callable[[Any], Any] | None = None
    ) -> None:
        self.model = net()
        self.optimizer = make(self.model.parameters())
        self.schedule = schedule(self.optimizer) if schedule is not None else None
        self.python = 0
        self.run = torch.compile(self.step, mode="reduce-overhead") if compiled else self.step

    def step(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.python += 1
        self.optimizer.zero_grad()
        loss = F.mse_loss(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        return loss


def same(a: Trainer, b: Trainer, tolerance: float = 2e-5) -> None:
    for (name, p), q in zip(a.model.state_dict().items(), b.model.state_dict().values()):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=tolerance, atol=tolerance, err_msg=name)
    for p, q in zip(a.model.parameters(), b.model.parameters()):
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None:
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=10 * tolerance, atol=10 * tolerance)


def follow(
    make: Callable[[Any], Any],
    steps: int = 8,
    python: int | None = 2,
    between: Callable[[Trainer, int], None] | None = None,
    schedule: Callable[[Any], Any] | None = None,
) -> tuple[Trainer, Trainer]:
    """Trains with and without ``compile``; ``between`` changes something before step k."""
    a, b = Trainer(make, False, schedule), Trainer(make, True, schedule)
    for k in range(steps):
        for t in (a, b):
            if between is not None:
                between(t, k)
        x, y = batch(k)
        wanted, got = a.run(x, y), b.run(x, y)
        np.testing.assert_allclose(got.detach().numpy(), wanted.detach().numpy(), rtol=2e-5, atol=2e-5)
        same(a, b)
    if python is not None:
        assert b.python == python
    return a, b


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, 0.05),
        lambda p: optim.SGD(p, 0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda p: optim.Adam(p, 0.01),
        lambda p: optim.Adam(p, 0.01, amsgrad=True),
        lambda p: optim.AdamW(p, 0.01),
        lambda p: optim.RMSprop(p, 0.01, momentum=0.5, centered=True),
        lambda p: optim.Adagrad(p, 0.05),
        lambda p: optim.Adadelta(p),
        lambda p: optim.Adamax(p, 0.01),
    ],
)  # fmt: skip
def test_optimizers_are_repeated(make):
    follow(make)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.RAdam(p, 0.01),  # which does something else from the sixth step on
        lambda p: optim.NAdam(p, 0.01),
        lambda p: optim.ASGD(p, 0.01),
        lambda p: optim.Rprop(p, 0.01),
    ],
)
def test_other_optimizers_are_right(make):
    follow(make, python=None)


def test_fifty_steps():
    a, b = follow(lambda p: optim.AdamW(p, 0.003), steps=50)
    assert {float(s["step"]) for s in b.optimizer.state.values()} == {50.0}
    assert str(a.optimizer.state_dict()["param_groups"]) == str(b.optimizer.state_dict()["param_groups"])


@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: optim.lr_scheduler.StepLR(o, 2, 0.5),
        lambda o: optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=20),
        lambda o: optim.lr_scheduler.SequentialLR(
            o, [optim.lr_scheduler.LinearLR(o), optim.lr_scheduler.ExponentialLR(o, 0.9)], [3]
        ),
    ],
)
def test_schedules_inside_of_the_step_go_on(schedule):
    a, b = follow(lambda p: optim.AdamW(p, 0.01), schedule=schedule)
    assert a.optimizer.param_groups[0]["lr"] == b.optimizer.param_groups[0]["lr"]
    assert a.schedule.last_epoch == b.schedule.last_epoch


def test_rates_may_change_between_steps():
    def between(t, k):
        t.optimizer.param_groups[0]["lr"] = 0.01 * (k + 1)

    follow(lambda p: optim.Adam(p, 0.01), between=between)


def test_what_is_noticed():
    def between(t, k):
        if k == 4:
            t.optimizer.param_groups[0]["weight_decay"] = 0.1
        if k == 7:
            t.model.eval()
        if k == 10:
            t.model.train()
            t.model[3].bias.requires_grad_(False)
            t.model[3].bias.grad = None
        if k == 13:
            t.model[3].weight = nn.Parameter(t.model[3].weight.detach() * 2)
        if k == 16:
            t.optimizer.load_state_dict(copy.deepcopy(t.optimizer.state_dict()))
        if k == 19:
            t.model[2] = nn.ReLU()

    follow(lambda p: optim.Adam(p, 0.01), steps=23, python=None, between=between)


@pytest.mark.parametrize("held", ["attribute", "list", "closure"])
def test_an_optimizer_or_module_that_is_replaced(held):
    def trained(compiled: bool) -> list[float]:
        t = Trainer(lambda p: optim.SGD(p, 0.05, momentum=0.9), False)
        both = [t.model, t.optimizer]
        model, optimizer = both

        def closed(x, y):
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        def listed(x, y):
            both[1].zero_grad()
            loss = F.mse_loss(both[0](x), y)
            loss.backward()
            both[1].step()
            return loss

        step = {"attribute": t.step, "list": listed, "closure": closed}[held]
        run = torch.compile(step, mode="reduce-overhead") if compiled else step
        found = []
        for k in range(15):
            if k == 5:
                optimizer = both[1] = t.optimizer = optim.Adam(model.parameters(), 0.01)
            if k == 10:
                model = both[0] = t.model = copy.deepcopy(model)
                optimizer = both[1] = t.optimizer = optim.SGD(model.parameters(), 0.1)
            found.append(run(*batch(k)).item())
        return found

    np.testing.assert_allclose(trained(True), trained(False), rtol=1e-3, atol=1e-4)


def test_hooks_run():
    seen: list[int] = []

    def between(t, k):
        if k == 4 and t.run is not t.step:
            t.model[0].register_forward_hook(lambda *_: seen.append(k))

    follow(lambda p: optim.SGD(p, 0.01), between=between, python=None)
    assert len(seen) in (4, 8)
    a, b = Trainer(lambda p: optim.SGD(p, 0.01), False), Trainer(lambda p: optim.SGD(p, 0.01), True)
    for k in range(6):
        for t in (a, b):
            if k == 3:
                t.model[0].weight.register_hook(lambda g: g * 2)
            t.run(*batch(k))
        same(a, b)


def test_gradients_of_earlier_steps_stay():
    t = Trainer(lambda p: optim.SGD(p, 0.01), True)
    kept, copies = [], []
    for k in range(6):
        t.run(*batch(k))
        grad = t.model[0].weight.grad
        kept.append(grad if k % 2 else grad.view(-1))
        copies.append(kept[-1].clone())
    for a, b in zip(kept, copies):
        assert torch.equal(a, b)


def test_losses_of_earlier_steps_stay_and_have_no_graph():
    t = Trainer(lambda p: optim.SGD(p, 0.01), True)
    losses = [t.run(*batch(k)) for k in range(6)]
    assert len({loss.item() for loss in losses}) == 6 and t.python == 2
    assert losses[-1].requires_grad and losses[-1].grad_fn is not None
    with pytest.raises(RuntimeError, match="second time"):
        losses[-1].backward()


def test_a_loss_whose_last_operator_saved_nothing():
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.01)
    calls = 0

    def step(x):
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        loss = model(x).sum()
        loss.backward()
        optimizer.step()
        return loss

    run = torch.compile(step, mode="reduce-overhead")
    for k in range(5):
        loss = run(batch(k)[0])
    assert calls == 2
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


@pytest.mark.parametrize("to_none", [True, False])
@pytest.mark.parametrize("where", ["before", "after", "never"])
def test_gradients_reset_elsewhere(where, to_none):
    def trained(compiled: bool) -> list[list[float]]:
        model = net()
        optimizer = optim.SGD(model.parameters(), 0.02)

        def step(x, y):
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        run = torch.compile(step, mode="reduce-overhead") if compiled else step
        found = []
        for k in range(7):
            if where == "before" or (where == "never" and k == 4):
                optimizer.zero_grad(set_to_none=to_none)
            run(*batch(k))
            found.append([p.detach().sum().item() for p in model.parameters()])
            found.append([p.grad.sum().item() for p in model.parameters()])
            if where == "after":
                optimizer.zero_grad(set_to_none=to_none)
        return found

    for a, b in zip(trained(False), trained(True)):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, 0.05, momentum=0.9), lambda p: optim.Adam(p, 0.01)])
def test_a_step_that_ends_without_gradients_is_repeated(make):
    def trained(compiled: bool) -> tuple[list[float], int]:
        model = net()
        optimizer = make(model.parameters())
        calls = 0

        def step(x, y):
            nonlocal calls
            calls += 1
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            return loss.detach()

        run = torch.compile(step, mode="reduce-overhead") if compiled else step
        found = []
        for k in range(8):
            found.append(run(*batch(k)).item())
            found += [p.detach().sum().item() for p in model.parameters()]
            assert all(p.grad is None for p in model.parameters())
        return found, calls

    (wanted, _), (got, calls) = trained(False), trained(True)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
    assert calls == 2


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
@pytest.mark.parametrize("clear", ["optimizer", "module"])
def test_gradients_that_come_and_go_inside_of_a_step(clear, mode):
    """A gradient that is there when a later step begins takes part in it, though the watched call began with none."""

    def trained(compiled: bool) -> list[float]:
        model = net()
        optimizer = optim.SGD(model.parameters(), 0.05, momentum=0.9)

        def step(x, y):
            F.mse_loss(model(x), y).backward()
            optimizer.step()
            (optimizer if clear == "optimizer" else model).zero_grad()

        run = torch.compile(step, mode=mode) if compiled else step
        found = []
        for k in range(10):
            if k in (5, 8):
                model[0].weight.grad = torch.ones(8, 4)
            run(*batch(k))
            found.append(model[0].weight.detach().sum().item())
        return found

    np.testing.assert_allclose(trained(True), trained(False), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
@pytest.mark.parametrize("clear", ["optimizer", "module"])
def test_gradients_cleared_inside_and_made_outside(clear, mode):
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.05)

    def loss(x, y):
        (optimizer if clear == "optimizer" else model).zero_grad()
        return F.mse_loss(model(x), y)

    run = torch.compile(loss, mode=mode)
    for k in range(9):
        run(*batch(k))
        if k > 3:  # the watched calls found no gradients to clear
            run(*batch(k)).backward()
            got = model[0].weight.grad.numpy().copy()
            loss(*batch(k)).backward()
            np.testing.assert_allclose(got, model[0].weight.grad.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_gradients_of_leaves_among_the_arguments(mode):
    run = torch.compile(lambda w: (w * w).sum().backward(), mode=mode)
    first = torch.full((3,), -1.0, requires_grad=True)
    for k in range(9):
        w = first if k % 4 == 0 else torch.full((3,), float(k), requires_grad=True)
        before = 0.0 if w.grad is None else w.grad[0].item()
        run(w)
        assert w.grad.tolist() == [before + 2 * w[0].item()] * 3


def test_an_optimizer_that_finds_fewer_gradients_than_in_the_watched_call():
    def trained(compiled: bool) -> list[float]:
        first, second = net(), net()
        optimizer = optim.SGD([*first.parameters(), *second.parameters()], 0.05, momentum=0.9)

        def step(x, y):
            F.mse_loss(first(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()

        run = torch.compile(step, mode="reduce-overhead") if compiled else step
        for k in range(9):
            if k in (1, 6):  # gradients of the second net, which the step takes along and clears
                F.mse_loss(second(batch(k)[0]), batch(k)[1]).backward()
            run(*batch(k))
        return [p.detach().sum().item() for p in (*first.parameters(), *second.parameters())]

    np.testing.assert_allclose(trained(True), trained(False), rtol=1e-4, atol=1e-4)


def test_accumulation_over_steps():
    def trained(compiled: bool) -> list[float]:
        model = net()
        optimizer = optim.Adam(model.parameters(), 0.01)

        def forward_and_backward(x, y):
            loss = F.mse_loss(model(x), y) / 2
            loss.backward()
            return loss.detach()

        run = torch.compile(forward_and_backward, mode="reduce-overhead") if compiled else forward_and_backward
        for k in range(12):
            run(*batch(k))
            if k % 2:
                nn.utils.clip_grad_norm_(model.parameters(), 0.5)
                optimizer.step()
                optimizer.zero_grad()
        return [p.detach().sum().item() for p in model.parameters()]

    np.testing.assert_allclose(trained(False), trained(True), rtol=1e-4, atol=1e-4)


def test_clipping_is_repeated():
    def trained(compiled: bool) -> tuple[list[float], int]:
        model = net()
        optimizer = optim.SGD(model.parameters(), 0.1)
        calls = 0

        def step(x, y):
            nonlocal calls
            calls += 1
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
            return loss.detach(), norm

        run = torch.compile(step, mode="reduce-overhead") if compiled else step
        found = [float(v) for k in range(8) for v in run(*batch(k))]
        return found, calls

    (wanted, _), (got, calls) = trained(False), trained(True)
    np.testing.assert_allclose(got, wanted, rtol=1e-4)
    assert calls == 2


def test_two_optimizers_and_higher_derivatives():
    def trained(compiled: bool) -> tuple[list[float], int]:
        torch.manual_seed(1)
        g, d = nn.Linear(3, 4), nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))
        og, od = optim.Adam(g.parameters(), 0.01), optim.SGD(d.parameters(), 0.05, momentum=0.5)
        calls = 0

        def step(z, real):
            nonlocal calls
            calls += 1
            fake = g(z)
            mixed = (0.5 * real + 0.5 * fake.detach()).requires_grad_()
            (slope,) = torch.autograd.grad(d(mixed).sum(), mixed, create_graph=True)
            loss = d(fake.detach()).mean() - d(real).mean() + ((slope.norm(dim=1) - 1) ** 2).mean()
            od.zero_grad()
            loss.backward()
            od.step()
            og.zero_grad()
            other = -d(fake).mean()
            other.backward()
            og.step()
            return loss.detach(), other.detach()

        run = torch.compile(step, mode="reduce-overhead") if compiled else step
        generator = torch.Generator().manual_seed(2)
        found = []
        for _ in range(7):
            z, real = torch.randn(5, 3, generator=generator), torch.randn(5, 4, generator=generator)
            found += [v.item() for v in run(z, real)]
        return found, calls

    (wanted, _), (got, calls) = trained(False), trained(True)
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4)
    assert calls == 2


def test_an_error_leaves_the_optimizer_as_it_was():
    torch.manual_seed(0)
    table = nn.Embedding(5, 3)
    optimizer = optim.Adam(table.parameters(), 0.1)

    def step(i):
        optimizer.zero_grad()
        loss = table(i).square().sum()
        loss.backward()
        optimizer.step()
        return loss.detach()

    run = torch.compile(step, mode="reduce-overhead")
    for _ in range(4):
        run(torch.tensor([0, 3]))
    with pytest.raises(IndexError):
        run(torch.tensor([0, 5]))
    (state,) = optimizer.state.values()
    assert state["step"].item() == 4.0
    run(torch.tensor([0, 4]))
    assert state["step"].item() == 5.0


def test_a_tensor_made_and_changed_inside_is_never_repeated():
    def fn(x):
        total = torch.tensor(1.0)
        total += x.sum()
        return total

    compiled = torch.compile(fn, mode="reduce-overhead")
    assert [compiled(torch.ones(3)).item() for _ in range(5)] == [4.0] * 5


def test_dropout_draws_anew():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.5), nn.Linear(64, 1))
    optimizer = optim.SGD(model.parameters(), 0.0)

    def step(x):
        optimizer.zero_grad()
        loss = model(x).sum()
        loss.backward()
        optimizer.step()
        return loss.detach()

    run = torch.compile(step, mode="reduce-overhead")
    x = torch.ones(2, 4)
    assert len({run(x).item() for _ in range(6)}) == 6


def test_an_optimizer_stepped_with_a_closure_is_never_repeated():
    model = net()
    optimizer = optim.SGD(model.parameters(), 0.01)
    calls = 0

    def step(x, y):
        def closure():
            nonlocal calls
            calls += 1
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            return loss

        return optimizer.step(closure)

    run = torch.compile(step, mode="reduce-overhead")
    for k in range(5):
        run(*batch(k)).item()
    assert calls == 5


@pytest.mark.parametrize("mode", [None, "reduce-overhead"])
def test_a_step_that_differentiates_by_its_input_is_repeated(mode):
    """The input's own gradient is reached only through the freed graph of the loss, and is not computed."""
    model, twin = net().double(), net().double()
    twin.load_state_dict(model.state_dict())
    x = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(6, 4)

    def step_of(model, optimizer):
        def step(x):
            optimizer.zero_grad()
            x = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
            loss = slope.square().mean()
            loss.backward()
            optimizer.step()
            return loss

        return step

    repeated = (DefaultMode if mode is None else ReduceOverhead)(step_of(model, optim.SGD(model.parameters(), 0.1)))
    eager = step_of(twin, optim.SGD(twin.parameters(), 0.1))
    for _ in range(8):
        assert repeated(x).item() == pytest.approx(eager(x).item(), rel=1e-9)
    assert [type(found) for found in repeated.known.values()] == [Recording]
    assert x.grad is None
    for p, q in zip(model.parameters(), twin.parameters()):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-8, atol=1e-10)


def test_a_gradient_that_somebody_holds_is_computed():
    weight, held = torch.full((3,), 2.0, requires_grad=True), []

    def step(x):
        inner = x.detach().requires_grad_()
        held.append(inner)
        loss = (inner * inner * weight).sum()
        loss.backward()
        return loss

    compiled = torch.compile(step, mode="reduce-overhead")
    for k in range(1, 5):
        compiled(torch.full((3,), float(k)))
        assert held[-1].grad.tolist() == [4.0 * k] * 3
