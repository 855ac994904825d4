"""Schedules of the learning rate against PyTorch's."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import flambeau as fl
from flambeau import optim
from flambeau.nn import Parameter
from flambeau.optim import lr_scheduler, swa_utils

torch = pytest.importorskip("torch")


class Halving:
    """A callable object, whose attributes are saved."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, epoch: int) -> float:
        return self.rate**epoch


Make = Callable[[Any, Any, Any], Any]
SCHEDULES: dict[str, Make] = {
    "LambdaLR": lambda s, w, o: s.LambdaLR(o, [lambda e: 0.95**e, Halving(0.5)]),
    "MultiplicativeLR": lambda s, w, o: s.MultiplicativeLR(o, lambda e: 1 - 1 / (e + 2)),
    "StepLR": lambda s, w, o: s.StepLR(o, 4, gamma=0.3),
    "MultiStepLR": lambda s, w, o: s.MultiStepLR(o, [2, 9, 9, 11], gamma=0.5),
    "ConstantLR": lambda s, w, o: s.ConstantLR(o, factor=0.25, total_iters=4),
    "LinearLR": lambda s, w, o: s.LinearLR(o, 0.2, 0.8, total_iters=7),
    "ExponentialLR": lambda s, w, o: s.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda s, w, o: s.PolynomialLR(o, total_iters=9, power=2.0),
    "CosineAnnealingLR": lambda s, w, o: s.CosineAnnealingLR(o, T_max=5, eta_min=0.01),
    "CosineAnnealingWarmRestarts": lambda s, w, o: s.CosineAnnealingWarmRestarts(o, T_0=3, T_mult=2, eta_min=0.01),
    "CosineAnnealingWarmRestarts even": lambda s, w, o: s.CosineAnnealingWarmRestarts(o, T_0=3),
    "CyclicLR": lambda s, w, o: s.CyclicLR(o, [0.01, 0.02], 0.3, step_size_up=3, step_size_down=5),
    "CyclicLR triangular2": lambda s, w, o: s.CyclicLR(o, 0.01, 0.3, step_size_up=3, mode="triangular2"),
    "CyclicLR exp_range": lambda s, w, o: s.CyclicLR(o, 0.01, 0.3, 3, mode="exp_range", gamma=0.9),
    "CyclicLR function": lambda s, w, o: s.CyclicLR(o, 0.01, 0.3, 3, scale_fn=Halving(0.7), scale_mode="cycle"),
    "CyclicLR alone": lambda s, w, o: s.CyclicLR(o, 0.01, 0.3, 3, cycle_momentum=False),
    "OneCycleLR": lambda s, w, o: s.OneCycleLR(o, max_lr=[0.5, 0.2], total_steps=25),
    "OneCycleLR linear": lambda s, w, o: s.OneCycleLR(
        o, 0.5, epochs=5, steps_per_epoch=5, anneal_strategy="linear", three_phase=True, div_factor=10
    ),
    "OneCycleLR alone": lambda s, w, o: s.OneCycleLR(o, 0.5, total_steps=25, cycle_momentum=False, pct_start=0.6),
    "SequentialLR": lambda s, w, o: s.SequentialLR(
        o, [s.LinearLR(o, 0.1, total_iters=3), s.StepLR(o, 2), s.ExponentialLR(o, 0.9)], [4, 9]
    ),
    "ChainedScheduler": lambda s, w, o: s.ChainedScheduler([s.ConstantLR(o, 0.5, 4), s.ExponentialLR(o, 0.9)]),
    "SWALR": lambda s, w, o: w.SWALR(o, [0.05, 0.01], anneal_epochs=6),
    "SWALR linear": lambda s, w, o: w.SWALR(o, 0.05, anneal_epochs=4, anneal_strategy="linear"),
    "SWALR at once": lambda s, w, o: w.SWALR(o, 0.05, anneal_epochs=0),
}
EPOCHS = 22


def optimizers(name: str = "SGD", lr: Any = None) -> tuple[Any, Any]:
    """The same optimizer of two groups in both packages."""
    pair = []
    for package, module, parameter in ((fl, optim, Parameter), (torch, torch.optim, torch.nn.Parameter)):
        groups = [{"params": [parameter(package.ones(1))]}, {"params": [parameter(package.ones(1))], "lr": 0.03}]
        options = {"momentum": 0.9} if name == "SGD" else {}
        pair.append(getattr(module, name)(groups, lr=0.1 if lr is None else lr(package), **options))
    return pair[0], pair[1]


def both(name: str, optimizer: str = "SGD") -> tuple[Any, Any, Any, Any]:
    mine, theirs = optimizers(optimizer)
    make = SCHEDULES[name]
    return (
        mine,
        theirs,
        make(lr_scheduler, swa_utils, mine),
        make(torch.optim.lr_scheduler, torch.optim.swa_utils, theirs),
    )


def options_of(optimizer: Any) -> list[float]:
    keys = ("lr", "initial_lr", "momentum", "betas", "max_lr", "min_lr", "swa_lr")
    found = [group[key] for group in optimizer.param_groups for key in keys if key in group]
    return [float(x) for value in found for x in (value if isinstance(value, tuple) else (value,))]


def plain(state: Any) -> Any:
    """A state with callables replaced by None and floats rounded."""
    if isinstance(state, dict):
        return {key: plain(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [plain(value) for value in state]
    return round(state, 12) if isinstance(state, float) else None if callable(state) else state


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_and_state_agree_with_pytorch(name: str) -> None:
    mine, theirs, ours, reference = both(name)
    assert options_of(mine) == pytest.approx(options_of(theirs), rel=1e-12)
    for _ in range(EPOCHS):
        for optimizer, scheduler in ((mine, ours), (theirs, reference)):
            optimizer.step()
            scheduler.step()
        assert options_of(mine) == pytest.approx(options_of(theirs), rel=1e-12)
        assert ours.get_last_lr() == pytest.approx(reference.get_last_lr(), rel=1e-12)
    state, expected = ours.state_dict(), reference.state_dict()
    if "SWALR" in name:
        expected = {key: value for key, value in expected.items() if key != "anneal_func"}
    assert plain(state) == plain(expected)


@pytest.mark.parametrize("name", [n for n in SCHEDULES if "Cycl" in n])
def test_momentum_cycles_in_betas(name: str) -> None:
    mine, theirs, ours, reference = both(name, "Adam")
    for _ in range(EPOCHS):
        for optimizer, scheduler in ((mine, ours), (theirs, reference)):
            optimizer.step()
            scheduler.step()
        assert options_of(mine) == pytest.approx(options_of(theirs), rel=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_loaded_state_continues_the_same(name: str) -> None:
    mine, _, ours, _ = both(name)
    for _ in range(7):
        mine.step()
        ours.step()
    states = copy.deepcopy((mine.state_dict(), ours.state_dict()))
    other, _, fresh, _ = both(name)
    other.load_state_dict(states[0])
    fresh.load_state_dict(states[1])
    for _ in range(9):
        for optimizer, scheduler in ((mine, ours), (other, fresh)):
            optimizer.step()
            scheduler.step()
        assert options_of(mine) == options_of(other)


RESUMABLE = {
    "LambdaLR": lambda s, o, k: s.LambdaLR(o, lambda e: 0.9**e, last_epoch=k),
    "MultiplicativeLR": lambda s, o, k: s.MultiplicativeLR(o, lambda e: 0.9, last_epoch=k),
    "StepLR": lambda s, o, k: s.StepLR(o, 3, last_epoch=k),
    "MultiStepLR": lambda s, o, k: s.MultiStepLR(o, [2, 5], last_epoch=k),
    "ConstantLR": lambda s, o, k: s.ConstantLR(o, 0.5, 3, last_epoch=k),
    "LinearLR": lambda s, o, k: s.LinearLR(o, 0.5, total_iters=4, last_epoch=k),
    "ExponentialLR": lambda s, o, k: s.ExponentialLR(o, 0.9, last_epoch=k),
    "PolynomialLR": lambda s, o, k: s.PolynomialLR(o, 8, last_epoch=k),
    "CosineAnnealingLR": lambda s, o, k: s.CosineAnnealingLR(o, 4, last_epoch=k),
    "CosineAnnealingWarmRestarts": lambda s, o, k: s.CosineAnnealingWarmRestarts(o, 4, last_epoch=k),
    "CyclicLR": lambda s, o, k: s.CyclicLR(o, 0.1, 0.3, 4, last_epoch=k),
}


@pytest.mark.parametrize("last_epoch", [0, 1, 2, 3, 4, 6])
@pytest.mark.parametrize("name", RESUMABLE)
def test_resuming_at_an_epoch(name: str, last_epoch: int) -> None:
    rates = []
    for optimizer, module in zip(optimizers(), (lr_scheduler, torch.optim.lr_scheduler)):
        with pytest.raises(KeyError, match="initial_lr"):
            RESUMABLE[name](module, optimizer, last_epoch)
        for group in optimizer.param_groups:
            group["initial_lr"] = 2 * group["lr"]
        scheduler = RESUMABLE[name](module, optimizer, last_epoch)
        rates.append([scheduler.get_last_lr()])
        for _ in range(5):
            optimizer.step()
            scheduler.step()
            rates[-1].append(scheduler.get_last_lr())
    for ours, theirs in zip(*rates):
        assert ours == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("name", [n for n in SCHEDULES if "Sequential" not in n and "Chained" not in n])
def test_steps_to_a_given_epoch(name: str) -> None:
    mine, theirs, ours, reference = both(name)
    for epoch in (3, 7, 4, 12):
        for optimizer, scheduler in ((mine, ours), (theirs, reference)):
            optimizer.step()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                scheduler.step(epoch)
        assert options_of(mine) == pytest.approx(options_of(theirs), rel=1e-12)


def test_warm_restarts_at_fractions_of_an_epoch() -> None:
    mine, theirs = optimizers()
    ours = lr_scheduler.CosineAnnealingWarmRestarts(mine, 3, 2)
    reference = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(theirs, 3, 2)
    for i in range(40):
        ours.step(i / 3)
        reference.step(i / 3)
        assert ours.get_last_lr() == pytest.approx(reference.get_last_lr(), rel=1e-12)
    with pytest.raises(ValueError, match="non-negative epoch"):
        ours.step(-1)


@pytest.mark.parametrize("name", ["StepLR", "ExponentialLR", "LinearLR", "OneCycleLR alone", "CosineAnnealingLR"])
def test_tensor_rates_keep_their_identity(name: str) -> None:
    mine, theirs = optimizers("Adam", lambda package: package.tensor(0.1, dtype=package.float64))
    held = mine.param_groups[0]["lr"]
    ours = SCHEDULES[name](lr_scheduler, swa_utils, mine)
    reference = SCHEDULES[name](torch.optim.lr_scheduler, torch.optim.swa_utils, theirs)
    for _ in range(8):
        for optimizer, scheduler in ((mine, ours), (theirs, reference)):
            optimizer.step()
            scheduler.step()
        assert mine.param_groups[0]["lr"] is held
        assert options_of(mine) == pytest.approx(options_of(theirs), rel=1e-6)


PLATEAU = [
    {},
    {"patience": 1, "factor": 0.5, "cooldown": 2, "min_lr": [0.02, 0.0]},
    {"mode": "max", "patience": 0, "threshold": 0.1},
    {"threshold_mode": "abs", "threshold": 0.5, "patience": 2},
    {"mode": "max", "threshold_mode": "abs", "patience": 1, "eps": 0.02},
]


@pytest.mark.parametrize("options", PLATEAU)
def test_reduce_on_plateau(options: dict[str, Any]) -> None:
    mine, theirs = optimizers()
    ours = lr_scheduler.ReduceLROnPlateau(mine, **options)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    for i in range(40):
        metric = math.sin(i / 3) + 10 / (i + 1) if i < 20 else 0.3
        ours.step(metric)
        reference.step(metric)
        assert options_of(mine) == pytest.approx(options_of(theirs), rel=1e-12)
        assert ours.in_cooldown == reference.in_cooldown
    assert plain(ours.state_dict()) == plain(reference.state_dict())
    fresh = lr_scheduler.ReduceLROnPlateau(mine)
    fresh.load_state_dict(ours.state_dict())
    assert plain(fresh.state_dict()) == plain(ours.state_dict())


def test_plateau_with_groups_added_later() -> None:
    optimizer = optimizers()[0]
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    optimizer.add_param_group({"params": [Parameter(fl.ones(1))], "lr": 1.0})
    for _ in range(2):
        scheduler.step(1.0)
    assert optimizer.param_groups[2]["lr"] == 0.5
    strict = lr_scheduler.ReduceLROnPlateau(optimizers()[0], patience=0, min_lr=[0.0, 0.0])
    strict.optimizer.add_param_group({"params": [Parameter(fl.ones(1))]})
    strict.step(1.0)
    with pytest.raises(RuntimeError, match="number of param groups"):
        strict.step(1.0)


SGD = optimizers()[0]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda s: s.StepLR(3, 3), TypeError, "is not an Optimizer"),
        (lambda s: s.LambdaLR(SGD, [abs]), ValueError, "Expected 2 lr_lambdas, but got 1"),
        (lambda s: s.ConstantLR(SGD, 2.0), ValueError, "between 0 and 1"),
        (lambda s: s.LinearLR(SGD, 0.0), ValueError, "greater than 0"),
        (lambda s: s.LinearLR(SGD, 0.5, 1.5), ValueError, "between 0 and 1"),
        (lambda s: s.CosineAnnealingWarmRestarts(SGD, 0), ValueError, "T_0"),
        (lambda s: s.CosineAnnealingWarmRestarts(SGD, 1, 0), ValueError, "T_mult"),
        (lambda s: s.CosineAnnealingWarmRestarts(SGD, 1, 1, "x"), ValueError, "eta_min"),
        (lambda s: s.CyclicLR(SGD, 0.1, 0.2, mode="x"), ValueError, "mode is invalid"),
        (lambda s: s.CyclicLR(SGD, [0.1], 0.2), ValueError, "base_lr must have the same length"),
        (lambda s: s.OneCycleLR(SGD, 0.1), ValueError, "total_steps"),
        (lambda s: s.OneCycleLR(SGD, 0.1, total_steps=0), ValueError, "total_steps"),
        (lambda s: s.OneCycleLR(SGD, 0.1, total_steps=5, pct_start=2.0), ValueError, "pct_start"),
        (lambda s: s.OneCycleLR(SGD, 0.1, total_steps=5, anneal_strategy="x"), ValueError, "anneal_strategy"),
        (lambda s: s.CyclicLR(optim.Rprop([Parameter(fl.ones(1))]), 0.1, 0.2), ValueError, "momentum or beta1"),
        (lambda s: s.ReduceLROnPlateau(SGD, factor=1.0), ValueError, "Factor"),
        (lambda s: s.ReduceLROnPlateau(SGD, mode="x"), ValueError, "mode x is unknown"),
        (lambda s: s.ReduceLROnPlateau(SGD, threshold_mode="x"), ValueError, "threshold mode x"),
        (lambda s: s.ReduceLROnPlateau(SGD, min_lr=[0.0]), ValueError, "expected 2 min_lrs"),
        (lambda s: s.SequentialLR(SGD, [], []), ValueError, "at least one"),
        (lambda s: s.SequentialLR(SGD, [s.StepLR(SGD, 3)], [3]), ValueError, "one more than"),
        (lambda s: s.SequentialLR(SGD, [s.ReduceLROnPlateau(SGD)], []), ValueError, "ReduceLROnPlateau"),
        (lambda s: s.SequentialLR(SGD, [3], []), TypeError, "optimizer"),
        (lambda s: s.ChainedScheduler([]), ValueError, "at least one"),
        (lambda s: s.ChainedScheduler([s.StepLR(SGD, 3), s.StepLR(optimizers()[0], 3)]), ValueError, "same optimizer"),
        (lambda s: swa_utils.SWALR(SGD, 0.1, anneal_epochs=-1), ValueError, "anneal_epochs"),
        (lambda s: swa_utils.SWALR(SGD, 0.1, anneal_strategy="x"), ValueError, "anneal_strategy"),
    ],
)
def test_errors(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make(lr_scheduler)


def test_one_cycle_ends() -> None:
    optimizer = optimizers()[0]
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=2)
    optimizer.step()
    scheduler.step()
    scheduler.step()
    with pytest.raises(ValueError, match="Tried to step 3 times"):
        scheduler.step()


def test_warnings_of_wrong_order_and_use() -> None:
    optimizer = optimizers()[0]
    scheduler = lr_scheduler.StepLR(optimizer, 3)
    with pytest.warns(UserWarning, match="before `optimizer.step"):
        scheduler.step()
    with pytest.warns(UserWarning, match="get_last_lr"):
        scheduler.get_lr()
    optimizer = optimizers()[0]
    scheduler = lr_scheduler.StepLR(optimizer, 3)
    optimizer.step = lambda: None
    with pytest.warns(UserWarning, match="overridden"):
        scheduler.step()


def test_a_watched_optimizer_still_runs_its_hooks() -> None:
    optimizer = optimizers()[0]
    lr_scheduler.StepLR(optimizer, 3)
    lr_scheduler.StepLR(optimizer, 3)
    calls: list[int] = []
    optimizer.register_step_post_hook(lambda *_: calls.append(1))
    optimizer.step()
    assert calls == [1] and optimizer._opt_called


def test_composites_nest() -> None:
    """PyTorch cannot begin a composite at a milestone; here its parts begin at their epoch 0."""
    optimizer = optim.SGD([Parameter(fl.ones(1))], lr=1.0)
    s = lr_scheduler
    inner = s.SequentialLR(optimizer, [s.StepLR(optimizer, 2, 0.5), s.ConstantLR(optimizer, 0.1, 2)], [3])
    both = s.ChainedScheduler([s.ConstantLR(optimizer, 0.5, 2), s.ExponentialLR(optimizer, 0.5)])
    outer = s.SequentialLR(optimizer, [s.ConstantLR(optimizer, 0.25, 9), inner, both], [2, 7])
    rates = []
    for _ in range(10):
        rates.append(outer.get_last_lr()[0])
        optimizer.step()
        outer.step()
    assert rates == pytest.approx([0.25, 0.25, 1, 1, 0.5, 0.1, 0.1, 0.5, 0.25, 0.25])


@pytest.mark.parametrize("name", lr_scheduler.__all__)
def test_checkpoints_name_schedules_as_pytorch_does(name: str) -> None:
    ours, theirs = (getattr(m.optim.lr_scheduler, name) for m in (fl, torch))
    assert ours.__module__ == theirs.__module__.replace("torch", "flambeau", 1)
    assert ours.__qualname__ == theirs.__qualname__ == name
