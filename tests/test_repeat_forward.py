"""``mode="reduce-overhead"`` on functions whose results are differentiated: forward and backward pass are programs."""

from __future__ import annotations

import math

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn
from flambeau.nn import functional as F

REPEATED = {"mode": "reduce-overhead"}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.calls = 0
        # without a bias, whose gradient would be nothing but rounding errors, which Adam makes large
        self.first, self.norm, self.last = nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.Linear(8, 3)

    def forward(self, x):
        self.calls += 1
        return self.last(torch.tanh(self.norm(self.first(x))))


def close(a, b, tolerance=2e-5):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tolerance, atol=tolerance)


def check(fn, args, python=2, calls=5, leaves=()):
    """Results and gradients of compiled calls against eager ones; ``python``: how often the function itself runs."""
    count = 0

    def counted(*given):
        nonlocal count
        count += 1
        return fn(*given)

    compiled = torch.compile(counted, **REPEATED)
    for k in range(calls):
        found = []
        for run in (fn, compiled):
            given = args(k)
            for leaf in (*given, *leaves):
                leaf.grad = None
            results = run(*given)
            results = results if isinstance(results, tuple) else (results,)
            sum((r * r.detach().cos()).sum() for r in results).backward()
            found.append([*results, *[t.grad for t in (*given, *leaves) if t.grad is not None]])
        assert len(found[0]) == len(found[1])
        for a, b in zip(*found):
            assert a.shape == b.shape and a.stride() == b.stride()
            close(a, b)
    assert count == python


def inputs(*shapes):
    def made(k):
        generator = torch.Generator().manual_seed(k)
        return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]

    return made


def test_training_with_the_module_compiled():
    a, b = Net(), Net()
    compiled = torch.compile(b, **REPEATED)
    optimizers = [torch.optim.Adam(m.parameters(), 0.01) for m in (a, b)]
    for k in range(12):
        generator = torch.Generator().manual_seed(k)
        x, y = torch.randn(6, 4, generator=generator), torch.randint(0, 3, (6,), generator=generator)
        losses = []
        for run, optimizer in zip((a, compiled), optimizers):
            optimizer.zero_grad()
            loss = F.cross_entropy(run(x), y)
            loss.backward()
            optimizer.step()
            losses.append(loss)
        close(*losses)
    for p, q in zip(a.state_dict().values(), b.state_dict().values()):
        close(p.float(), q.float(), 1e-4)
    assert b.calls == 2


def test_functions_of_leaves():
    w = torch.randn(3, 2, requires_grad=True)
    check(lambda x: (x @ w).exp() + x.sum(), inputs((4, 3)), leaves=[])
    check(lambda x, y: (x * y, x.t() + y.t()), inputs((2, 3), (2, 3)))
    check(lambda x: (x * 2).t(), inputs((2, 3)))  # a result that is a view
    check(lambda x: x.sort(dim=1).values[:, 1:] * x[:, :2], inputs((3, 3)))
    check(lambda x: F.layer_norm(x, (5,)).softmax(-1), inputs((2, 5)))
    check(lambda x: torch.cat([x, x * 2], 1).view(-1, 2).sum(0), inputs((3, 4)))


def test_inner_derivatives():
    def slope(x):
        (g,) = torch.autograd.grad((x**3).sum(), x, create_graph=True)
        return g + x

    check(slope, inputs((4,)))


def test_some_results_or_inputs_have_no_gradient():
    def fn(x, y):
        return x * 2, y.detach() + 1, (x * y).sum()

    compiled = torch.compile(fn, **REPEATED)
    for k in range(5):
        x, y = torch.full((3,), k + 1.0, requires_grad=True), torch.arange(3.0)
        a, b, c = compiled(x, y)
        assert a.requires_grad and not b.requires_grad
        c.backward()
        assert x.grad.tolist() == [0.0, 1.0, 2.0] and b.tolist() == [1.0, 2.0, 3.0]


def test_higher_derivatives_call_the_function():
    compiled = torch.compile(lambda x: (x**3).sum(), **REPEATED)
    for k in range(5):
        x = torch.tensor([1.0 + k, 2.0], requires_grad=True)
        (g,) = torch.autograd.grad(compiled(x), x, create_graph=True)
        (h,) = torch.autograd.grad(g.sum(), x)
        assert g.tolist() == [3 * (1.0 + k) ** 2, 12.0] and h.tolist() == [6 * (1.0 + k), 12.0]


def test_what_eager_mode_refuses():
    w = torch.ones(3, requires_grad=True)
    compiled = torch.compile(lambda x: (x * w).exp(), **REPEATED)
    for _ in range(4):
        x = torch.ones(3, requires_grad=True)
        y = compiled(x).sum()
        y.backward(retain_graph=True)
        y.backward()
        with pytest.raises(RuntimeError, match="second time"):
            y.backward()
        y = compiled(x).sum()
        with torch.no_grad():
            w.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.backward()
        z = compiled(x)
        z.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            z.sum().backward()


def test_gradients_add_up_and_hooks_on_leaves_are_noticed():
    w = nn.Linear(2, 2)
    compiled = torch.compile(w, **REPEATED)
    seen = []
    for k in range(6):
        if k == 4:
            w.weight.register_hook(seen.append)
        w.zero_grad()
        for _ in range(3):
            compiled(torch.ones(1, 2)).sum().backward()
        assert w.bias.grad.tolist() == [3.0, 3.0]
    assert len(seen) == 6


def test_functions_of_the_programs_own_keep_their_python():
    class Double(torch.autograd.Function):
        backwards = 0

        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            Double.backwards += 1
            return grad * 2

    compiled = torch.compile(lambda x: Double.apply(x) + 1, **REPEATED)
    for _ in range(5):
        x = torch.ones(2, requires_grad=True)
        compiled(x).sum().backward()
        assert x.grad.tolist() == [2.0, 2.0]
    assert Double.backwards == 5


def test_half_precision():
    w = torch.randn(8, 8).bfloat16().requires_grad_()
    compiled = torch.compile(lambda x: torch.tanh(x @ w), **REPEATED)
    for _ in range(4):
        x = torch.randn(4, 8).bfloat16()
        found = []
        for run in (lambda t: torch.tanh(t @ w), compiled):
            w.grad = None
            run(x).float().sum().backward()
            found.append(w.grad.float())
        close(*found, 0.05)


def test_a_value_that_the_function_keeps_is_noticed_even_if_the_tape_keeps_it():
    kept = {}

    def program(x):
        kept["h"] = x.exp()  # whose derivative reads it
        return kept["h"] * 2

    compiled = torch.compile(program, **REPEATED)
    for k in range(8):
        x = torch.full((3,), float(k), requires_grad=True)
        compiled(x).sum().backward()
        np.testing.assert_allclose(kept["h"].detach().numpy(), np.full(3, math.exp(k)), rtol=1e-6)


def test_a_call_whose_graph_somebody_holds_is_repeated_later():
    count, kept = 0, []

    def program(x):
        nonlocal count
        count += 1
        return x.exp() * 2

    compiled = torch.compile(program, **REPEATED)
    for k in range(6):
        kept.append(compiled(torch.full((3,), float(k), requires_grad=True)))
        if k == 3:
            kept.clear()
    assert count == 4


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_second_derivatives_reach_leaves_through_the_result_and_through_its_gradient(mode):
    def program(m):
        found = []
        for k in range(7):  # the first repeated call among them
            (x,) = inputs((4, 3))(k)
            y = m(x)
            (d,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)  # 2 y J(x)
            (h,) = torch.autograd.grad(d.square().sum(), x)
            found.append(h)
        return found

    torch.manual_seed(0)
    m = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    for got, wanted in zip(program(torch.compile(m, mode=mode)), program(m)):
        close(got, wanted)


def test_a_call_that_is_differentiated_twice_is_not_repeated():
    count = 0

    def program(x):
        nonlocal count
        count += 1
        return torch.tanh(x).pow(3)

    compiled = torch.compile(program, **REPEATED)
    for k in range(6):
        x = torch.full((3,), 0.1 * k, requires_grad=True)
        (g,) = torch.autograd.grad(compiled(x).sum(), x, create_graph=True)
        (h,) = torch.autograd.grad(g.sum(), x)
        y = torch.full((3,), 0.1 * k, requires_grad=True)
        (g,) = torch.autograd.grad(torch.tanh(y).pow(3).sum(), y, create_graph=True)
        close(h, torch.autograd.grad(g.sum(), y)[0])
    assert count <= 7  # one call was made twice, the later ones once
