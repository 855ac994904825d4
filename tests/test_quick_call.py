"""The shortest way of repeated calls: taken by the calls it was made for, and by no others."""

import gc
import types
import weakref

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn
from flambeau.compiled.default_mode import DefaultMode
from flambeau.compiled.quick_call import MISSED
from flambeau.compiled.reduce_overhead import ReduceOverhead

X = np.linspace(-1.0, 1.0, 12, dtype=np.float32).reshape(3, 4)
_factor = 2.0


def function(x, y, k=1):
    return torch.relu(x * _factor + y * k) - y


def expected(x, y, k=1):
    return np.maximum(x * _factor + y * k, 0) - y


def settled(fn, *args, kind=DefaultMode):
    """A compiled function that has been called with these arguments until there is a quick way."""
    calls = kind(fn)
    for _ in range(8):
        calls(*args)
    assert calls.quick(args, {}) is not MISSED
    return calls


def tensors():
    return torch.tensor(X), torch.tensor(X[::-1].copy())


@pytest.mark.parametrize("kind", [DefaultMode, ReduceOverhead])
def test_a_call_like_the_one_before_is_quick(kind):
    x, y = tensors()
    calls = settled(function, x, y, 3, kind=kind)
    other = torch.tensor(X + 5)
    found = calls.quick((other, x, 3), {})
    np.testing.assert_allclose(found.numpy(), expected(X + 5, X, 3), rtol=1e-6)
    with pytest.raises(TypeError):  # nothing that is no tensor is taken for one
        calls(3.0, "x", 3)


def test_other_calls_go_the_long_way():
    x, y = tensors()
    calls = settled(function, x, y, 3)
    whole = torch.tensor(np.stack([X, X + 1]))
    others = [
        ((x, y), {}), ((x, y, 2), {}), ((x, y, 3.0), {}), ((x, y), {"k": 3}), ((x, x, 3), {}), ((x, y[0], 3), {}),
        ((x.double(), y, 3), {}), ((whole[1], y, 3), {}), ((x.t().contiguous().t(), y, 3), {}),
        ((nn.Parameter(x.clone()), y, 3), {}), ((x.clone().requires_grad_(), y, 3), {}), ((x, x[:], 3), {}),
        ((x.data, y, 3), {}),
    ]  # fmt: skip
    for args, kwargs in others:
        assert calls.quick(args, kwargs) is MISSED
        found = calls(*args, **kwargs)
        arrays = [a.detach().numpy() if isinstance(a, torch.Tensor) else a for a in args]
        np.testing.assert_allclose(found.detach().numpy(), expected(*arrays, **kwargs), rtol=1e-6)
        np.testing.assert_allclose(calls(x, y, 3).numpy(), expected(X, X[::-1], 3), rtol=1e-6)


def test_what_stands_around_a_call_is_seen():
    x, y = tensors()
    calls = settled(function, x, y)
    with torch.no_grad():
        assert calls.quick((x, y), {}) is MISSED
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert calls.quick((x, y), {}) is MISSED
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        assert calls.quick((x, y), {}) is MISSED
    torch.set_default_dtype(torch.float64)
    try:
        assert calls.quick((x, y), {}) is MISSED
    finally:
        torch.set_default_dtype(torch.float32)
    missed = []
    torch.func.vmap(lambda a: missed.append(calls.quick((x, y), {}) is MISSED) or a)(x)
    torch.compile(lambda: missed.append(calls.quick((x, y), {}) is MISSED))()
    assert missed == [True, True]
    assert calls.quick((x, y), {}) is not MISSED


def test_names_that_mean_something_else():
    global _factor
    x, y = tensors()
    calls = settled(function, x, y)
    _factor = 5.0
    try:
        assert calls.quick((x, y), {}) is MISSED
        np.testing.assert_allclose(calls(x, y).numpy(), np.maximum(X * 5 + X[::-1], 0) - X[::-1], rtol=1e-6)
    finally:
        _factor = 2.0


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 3)
        self.factor = 2.0

    def forward(self, x):
        return torch.relu(self.inner(x) * self.factor)


def changes():
    def by_class(m):
        Layer.forward = lambda self, x: self.inner(x) - 1

    def by_object(m):
        m.forward = types.MethodType(lambda self, x: self.inner(x) + 1, m)

    def by_number(m):
        m.factor = -1.0

    def by_weight(m):
        m.inner.weight = nn.Parameter(torch.ones(3, 4))

    def by_data(m):
        m.inner.weight.data = torch.zeros(3, 4)

    def by_child(m):
        m.inner = nn.Linear(4, 3)

    def by_hook(m):
        m.inner.register_forward_hook(lambda module, args, result: result * 7)

    def by_freezing(m):
        m.inner.weight.requires_grad_(False)

    return [by_class, by_object, by_number, by_weight, by_data, by_child, by_hook, by_freezing]


@pytest.mark.parametrize("change", changes(), ids=lambda change: change.__name__)
@pytest.mark.parametrize("grad", [True, False])
def test_modules_that_change(change, grad):
    forward = Layer.forward
    m = Layer()
    x = torch.tensor(X)
    with torch.set_grad_enabled(grad):
        calls = settled(m, x)
        try:
            change(m)
            for _ in range(8):
                found, wanted = calls(x), m(x)
                np.testing.assert_allclose(found.detach().numpy(), wanted.detach().numpy(), rtol=1e-6)
                if grad:
                    first = torch.autograd.grad(found.sum(), m.inner.bias)[0]
                    second = torch.autograd.grad(wanted.sum(), m.inner.bias)[0]
                    np.testing.assert_allclose(first.numpy(), second.numpy(), rtol=1e-6)
        finally:
            Layer.forward = forward


def test_gradients_of_quick_calls():
    m = Layer()
    x = torch.tensor(X, requires_grad=True)
    calls = settled(m, x)
    other = torch.tensor(X + 1, requires_grad=True)
    for given, seed in ((x, None), (other, torch.ones(3, 3).expand(3, 3)), (other, torch.arange(3.0).expand(3, 3))):
        wanted = [given, *m.parameters()]
        grads = []
        for f in (m, calls):
            grads.append(torch.autograd.grad(f(given), wanted, torch.ones(3, 3) if seed is None else seed))
        for a, b in zip(*grads):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)
    y = calls(x)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()
    y = calls(x)
    with torch.no_grad():
        m.inner.weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_writes_of_quick_calls_are_counted():
    def scaled(x):
        x.mul_(2.0).add_(1.0)
        return x.sum()

    x = torch.tensor(X)
    calls = settled(scaled, x)
    before, was = x._version, x.numpy().copy()
    assert calls.quick((x,), {}).item() == pytest.approx(float((was * 2 + 1).sum()), rel=1e-5)
    assert x._version > before
    np.testing.assert_allclose(x.numpy(), was * 2 + 1, rtol=1e-6)


def test_signatures_that_alternate():
    x, y = tensors()
    calls = DefaultMode(function)
    for k in range(40):
        n = 1 + k % 3
        np.testing.assert_allclose(calls(x[:n].clone(), y[:n].clone()).numpy(), expected(X[:n], X[::-1][:n]), rtol=1e-6)


def adding(held):
    return lambda x: torch.relu(x + held) * 2


def test_a_function_that_is_let_go_goes_at_once():
    held = torch.tensor(X + 1)
    gone = weakref.ref(held)
    calls = settled(adding(held), torch.tensor(X))
    gc.disable()
    try:
        del calls, held
        assert gone() is None
    finally:
        gc.enable()
