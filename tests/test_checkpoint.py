"""Checkpointed parts compute the same values and gradients as plain ones, and keep less."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import flambeau as fl
from flambeau import nn
from flambeau.autograd.graph import saved_tensors_hooks
from flambeau.utils import checkpoint as module
from flambeau.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential


def net() -> Any:
    fl.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 3))


def gradients(run: Any) -> list[Any]:
    model = net()
    x = fl.linspace(-1, 1, 8).reshape(2, 4).requires_grad_()
    run(model, x).pow(2).sum().backward()
    return [x.grad.tolist(), *(param.grad.tolist() for param in model.parameters())]


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradients_are_those_of_the_plain_part(reentrant: bool) -> None:
    expected = gradients(lambda model, x: model(x))
    assert gradients(lambda model, x: checkpoint(model, x, use_reentrant=reentrant)) == expected
    for segments in (1, 2, 5):
        found = gradients(lambda m, x, s=segments: checkpoint_sequential(m, s, x, use_reentrant=reentrant))
        assert found == expected
    assert gradients(lambda m, x: checkpoint_sequential([m[0], m[1:]], 2, x, use_reentrant=reentrant)) == expected


@pytest.mark.parametrize("reentrant", [True, False])
def test_dropout_is_the_same_both_times(reentrant: bool) -> None:
    x = fl.ones(1000, requires_grad=True)

    def part(value: Any) -> Any:
        return nn.functional.dropout(value * value, 0.5)

    fl.manual_seed(3)
    y = checkpoint(part, x, use_reentrant=reentrant)
    after = fl.rand(1).item()
    y.sum().backward()
    assert (x.grad / 2).tolist() == y.tolist()
    fl.manual_seed(3)
    part(x)
    assert fl.rand(1).item() == after


def test_inner_values_are_not_kept_and_computed_once() -> None:
    runs = []

    def part(value: Any) -> Any:
        runs.append(1)
        return value.sin().exp().tanh()

    x = fl.ones(3, requires_grad=True)
    kept: list[Any] = []
    with saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        y = checkpoint(part, x, use_reentrant=False)
    assert kept == [] and len(runs) == 1
    y.sum().backward(retain_graph=True)
    assert len(runs) == 2
    first = x.grad.tolist()
    y.sum().backward()
    assert len(runs) == 3 and x.grad.tolist() == [2 * g for g in first]


def test_the_second_pass_ends_early() -> None:
    ends = []

    def part(value: Any) -> Any:
        result = value.sin().exp()
        ends.append(1)
        return result

    x = fl.ones(3, requires_grad=True)
    checkpoint(part, x, use_reentrant=False).sum().backward()
    assert len(ends) == 1
    with module.set_checkpoint_early_stop(False):
        y = checkpoint(part, x, use_reentrant=False)
    y.sum().backward()
    assert len(ends) == 3
    checkpoint(part, x, use_reentrant=False, early_stop=False).sum().backward()
    assert len(ends) == 5


def test_keywords_higher_derivatives_and_grad() -> None:
    x = fl.tensor(0.5, dtype=fl.float64, requires_grad=True)

    def part(value: Any, *, power: int) -> Any:
        return value.sin() ** power

    y = checkpoint(part, x, power=3, use_reentrant=False)
    (slope,) = fl.autograd.grad(y, x, create_graph=True)
    (curve,) = fl.autograd.grad(slope, x)
    plain = part(x, power=3)
    (slope2,) = fl.autograd.grad(plain, x, create_graph=True)
    (curve2,) = fl.autograd.grad(slope2, x)
    assert slope.item() == slope2.item() and curve.item() == pytest.approx(curve2.item(), rel=1e-12)


@pytest.mark.filterwarnings("ignore:None of the inputs")
@pytest.mark.parametrize("reentrant", [True, False])
def test_nested_parts(reentrant: bool) -> None:
    x = fl.ones(3, requires_grad=True)

    def inner(value: Any) -> Any:
        return value.sin().exp()

    def outer(value: Any) -> Any:
        return checkpoint(inner, value.tanh(), use_reentrant=reentrant).cos()

    outer(x).sum().backward()
    expected, x.grad = x.grad.tolist(), None
    checkpoint(outer, x, use_reentrant=reentrant).sum().backward()
    assert x.grad.tolist() == expected


def test_contexts_of_both_passes() -> None:
    seen: list[str] = []

    class Note:
        def __init__(self, name: str) -> None:
            self.name = name

        def __enter__(self) -> None:
            seen.append(self.name)

        def __exit__(self, *_: object) -> None:
            pass

    x = fl.ones(3, requires_grad=True)
    checkpoint(fl.sin, x, use_reentrant=False, context_fn=lambda: (Note("first"), Note("second"))).sum().backward()
    assert seen == ["first", "second"]


def test_parts_that_differ_are_reported() -> None:
    x = fl.ones(3, requires_grad=True)
    runs: list[int] = []

    def shorter(value: Any) -> Any:
        runs.append(1)
        return value.sin().exp() if len(runs) == 1 else value.sin()

    with pytest.raises(CheckpointError, match="different number of tensors"):
        checkpoint(shorter, x, use_reentrant=False).sum().backward()
    runs.clear()

    def wider(value: Any) -> Any:
        runs.append(1)
        return (value if len(runs) == 1 else fl.cat([value, value])).sin().exp()

    with pytest.raises(CheckpointError, match="different metadata"):
        checkpoint(wider, x, use_reentrant=False).sum().backward()


def test_without_gradients_it_is_a_plain_call() -> None:
    x = fl.ones(3, requires_grad=True)
    with fl.no_grad():
        assert not checkpoint(fl.sin, x, use_reentrant=False).requires_grad
    with pytest.warns(UserWarning, match="None of the inputs"):
        checkpoint(fl.sin, fl.ones(3), use_reentrant=True)


def test_options() -> None:
    x = fl.ones(3, requires_grad=True)
    with pytest.warns(UserWarning, match="use_reentrant"):
        checkpoint(fl.sin, x)
    with pytest.raises(ValueError, match="Unexpected keyword"):
        checkpoint(fl.sin, x, use_reentrant=True, foo=1)
    with pytest.raises(ValueError, match="context_fn"):
        checkpoint(fl.sin, x, use_reentrant=True, debug=True)
    with pytest.raises(ValueError, match="determinism_check"):
        checkpoint(fl.sin, x, use_reentrant=False, determinism_check="x")
    with pytest.raises(RuntimeError, match="Only tuple"):
        module.detach_variable([x])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module.check_backward_validity([x])
