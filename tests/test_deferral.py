"""Deferred execution gives what eager execution gives: values, aliasing, random numbers, errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as torch
from flambeau import nn
from flambeau.deferred.deferral import deferral


def pending(t):
    return t._storage.pending is not None


def both(program, *arrays):
    """The results of a program in eager mode and compiled, as numpy arrays."""
    found = []
    for run in (program, torch.compile(program)):
        torch.manual_seed(7)
        results = run(*[torch.tensor(a) for a in arrays])
        results = results if isinstance(results, tuple) else (results,)
        found.append([r.detach().numpy().copy() if isinstance(r, torch.Tensor) else np.asarray(r) for r in results])
    return found


def same(program, *arrays):
    for eager, deferred in zip(*both(program, *arrays)):
        assert eager.shape == deferred.shape and eager.dtype == deferred.dtype
        np.testing.assert_allclose(deferred, eager, rtol=2e-6, atol=1e-6)


X = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)


def test_operators_wait_until_a_value_is_looked_at():
    @torch.compile
    def program(x):
        return x.exp() + 1

    y = program(torch.tensor(X))
    z = y * 2  # not inside of the compiled function, but its operand is pending
    assert pending(y) and pending(z)
    np.testing.assert_allclose(z.numpy(), (np.exp(X) + 1) * 2, rtol=1e-6)
    assert not pending(y) and not pending(z)


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_a_call_without_grad_mode_runs_when_the_outermost_one_returns(off):
    inner = torch.compile(lambda x: x.exp())
    waits = []

    @torch.compile
    def program(x):
        y = inner(x)
        waits.append(pending(y))
        return y + 1

    with off():
        y = program(torch.tensor(X))
    assert waits == [True] and not pending(y)
    np.testing.assert_allclose(y.numpy(), np.exp(X) + 1, rtol=1e-6)


def test_results_that_a_call_without_grad_mode_drops_are_computed():
    target = torch.zeros(4, 6)
    program = torch.compile(lambda x: target.copy_(x * 2))
    recorder = deferral()
    before = recorder.runs
    with torch.no_grad():
        program(torch.tensor(X))
    assert recorder.runs == before + 1 and not recorder.text
    np.testing.assert_array_equal(target.numpy(), 2 * X)


def test_values_nobody_holds_are_not_computed():
    @torch.compile
    def program(x):
        x.exp()
        return x + 1

    y = program(torch.tensor(X))
    recorder, ran = deferral(), []
    plan = recorder._plan
    recorder._plan = lambda wanted: ran.append(wanted) or plan(wanted)
    try:
        y.tolist()
    finally:
        del recorder._plan
    ((wanted,),) = ran
    assert wanted[1] is y._layout


def test_writes_through_views():
    def program(x):
        y = x * 2
        v = y[1:3].t()
        v.add_(10)
        y[0, ::2] = -1
        w = y.view(-1)[5:9]
        w.mul_(3)
        return y, v, w, y.sum(0)

    same(program, X)


def test_writes_to_arguments_reach_their_memory():
    x = torch.tensor(X)
    alias = x.numpy()
    row = x[2]

    @torch.compile
    def program(t):
        t.mul_(2)
        t[2] = 0
        return t + 1

    y = program(x)
    assert (y.numpy() == X * 2 * np.array([1, 1, 0, 1], np.float32)[:, None] + 1).all()
    assert (row.numpy() == 0).all()
    np.testing.assert_array_equal(alias[0], X[0] * 2)


def test_a_write_waits_for_deferred_readers():
    x = torch.tensor(X)
    y = torch.compile(lambda t: t + 1)(x)
    x.zero_()
    np.testing.assert_array_equal(y.numpy(), X + 1)
    assert x.abs().sum().item() == 0


def test_looking_early_branching_and_printing():
    def program(x):
        y = x * 2
        if y.sum() > 0:
            y = y + 1
        count = int((y > 0).sum())
        repr(y)
        return y * count, y[y > 0]

    same(program, X)
    same(program, -X)


def test_random_numbers_come_in_the_order_of_the_calls():
    def program(x):
        a = torch.randn(3)
        b = torch.nn.functional.dropout(x, 0.5)
        c = torch.rand(2)
        return a, b, c, a.sum() + b.sum()

    same(program, X)


def test_changing_shapes():
    def program(x):
        return torch.softmax(x @ x.t(), -1).sum(0)

    for n in (1, 2, 5, 4):
        same(program, X[:n])


def test_exceptions_leave_everything_usable():
    @torch.compile
    def program(x):
        y = x + 1
        y @ torch.ones(5, 5)
        return y

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        program(torch.tensor(X))
    assert deferral().depth == 0
    same(lambda x: x - 1, X)


def test_index_errors_come_when_the_graph_runs():
    y = torch.compile(lambda x, i: x.index_select(0, i))(torch.tensor(X), torch.tensor([1, 99]))
    with pytest.raises(IndexError):
        y.numpy()


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 3))


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_training_gives_the_numbers_of_eager(optimizer):
    targets = torch.tensor([0, 2, 1, 1])
    curves = []
    for compiled in (False, True):
        net = model()
        run = torch.compile(net) if compiled else net
        opt = getattr(torch.optim, optimizer)(net.parameters(), lr=0.05)
        losses = []
        for k in range(8):
            opt.zero_grad()
            loss = nn.functional.cross_entropy(run(torch.tensor(X)), targets)
            assert pending(loss) == compiled or k > 2  # then the call is repeated
            loss.backward()
            opt.step()
            losses.append(loss.item())
        curves.append(losses)
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-5)
    assert curves[0][-1] < curves[0][0]


def test_a_compiled_module_stands_for_the_module():
    net = model()
    compiled = torch.compile(net)
    assert [name.removeprefix("_orig_mod.") for name in compiled.state_dict()] == list(net.state_dict())
    assert next(iter(compiled.parameters())) is next(iter(net.parameters()))
    compiled.eval()
    assert not net.training


STEPS = {
    "double": lambda t: t * 2,
    "shift": lambda t: t.add_(1),
    "row": lambda t: t[1].mul_(-1),
    "column": lambda t: t[:, 1:4].exp_(),
    "transpose": lambda t: t.t().contiguous().t(),
    "cut": lambda t: t.clamp_(-2, 2),
    "mean": lambda t: t - t.mean(0),
    "flip": lambda t: t.flip(1),
    "corner": lambda t: t[::2, ::3].zero_(),
}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=8))
def test_random_programs(names):
    def program(x):
        t = x.clone()
        for name in names:
            found = STEPS[name](t)
            if found.shape == t.shape:
                t = found
        return t, t.sum(1)

    same(program, X)


@pytest.mark.parametrize("name", ["leaf", "computed", "two dimensions", "scan"])
def test_elements_picked_from_what_was_flipped(name):
    """An index into a reversed dimension runs backwards."""
    picked = {
        "leaf": lambda x, i: x.flip(0)[i],
        "computed": lambda x, i: (x + 1).flip(0)[i] * 2,
        "two dimensions": lambda x, i: x.flip(0, 1)[i, i[:, None]],
        "scan": lambda x, i: x.flip(0).logcumsumexp(0).flip(0)[i],
    }[name]
    x, i = torch.arange(15.0).reshape(5, 3), torch.tensor([0, 1, 2])
    np.testing.assert_allclose(torch.compile(picked)(x, i).numpy(), picked(x, i).numpy(), rtol=1e-6)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_memory_takes_nothing_from_tensors_without_data(shape):
    without = torch.ones(shape, device="meta")

    def program():
        with pytest.raises(RuntimeError, match="on the same device"):
            torch.ones(shape).copy_(without)
        with pytest.raises(RuntimeError, match="does not match device type of out"):
            torch.fft.rfftfreq(4, device="meta", out=torch.ones(3))
        return without.clone().add_(1), torch.ones(3) + 1

    found, after = torch.compile(program)()
    assert found.device.type == "meta" and found.shape == shape
    assert after.tolist() == [2.0, 2.0, 2.0]
