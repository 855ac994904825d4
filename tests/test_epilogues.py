"""Elementwise work that becomes part of the product or convolution before it: which does, and that values stay."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch
from flambeau.compiled.watch import watching
from flambeau.deferred.deferral import deferral
from flambeau.nn import functional as F

RNG = np.random.default_rng(0)


def tensor(*shape):
    return torch.tensor(RNG.standard_normal(shape).astype(np.float32))


X, W, B, R = tensor(33, 40), tensor(50, 40), tensor(50), tensor(33, 50)
X3, R3 = tensor(3, 11, 40), tensor(3, 11, 50)
IMAGE, K3, K1, BIAS = tensor(2, 6, 9, 9), tensor(8, 6, 3, 3), tensor(8, 6, 1, 1), tensor(8)
SCALE, MEAN, VAR = tensor(8), tensor(8), tensor(8).abs() + 0.5


def norm(x):
    return F.batch_norm(x, MEAN, VAR, SCALE, BIAS)


def run(program, *arguments):
    """The results of a program, and the templates that its compiled form calls."""
    specs = []

    def tell(found):
        specs.extend(s.spec for s in found.ran.plan._schedule.steps if hasattr(s, "spec"))

    with watching(tell):
        results = torch.compile(program)(*arguments)
        deferral().flush()
    return results, specs


CASES = {
    "bias and relu": (lambda x, w, b: F.relu(F.linear(x, w, b)), (X, W, B)),
    "gelu": (lambda x, w, b: F.gelu(F.linear(x, w, b)), (X, W, B)),
    "three dimensions": (lambda x, w, b: F.gelu(F.linear(x, w, b), approximate="tanh"), (X3, W, B)),
    "residual": (lambda x, w, b, r: F.silu(r + F.linear(x, w, b) * 0.5), (X3, W, B, R3)),
    "residual before a norm": (lambda x, w, b, r: F.layer_norm(r + F.linear(x, w, b), (50,)), (X3, W, B, R3)),
    "mask": (lambda x, w, r: torch.where(r > 0, x @ w.t(), 0.0), (X, W, R)),
    "rows": (lambda x, w, c: F.relu((x @ w.t()) * c), (X, W, tensor(33, 1))),
    "batches": (lambda a, b, c: torch.tanh(torch.bmm(a, b) + c), (tensor(4, 5, 6), tensor(4, 6, 7), tensor(5, 7))),
    "two rows": (lambda x, w, b, r: F.relu(F.linear(x, w, b) + r), (tensor(2, 40), W, B, tensor(2, 50))),
    "three columns": (lambda x, w, r: F.relu(x @ w + r), (tensor(40, 40), tensor(40, 3), tensor(40, 3))),
    "double precision": (lambda x, w: (x.double() @ w.double().t()).exp(), (X, W)),
    "convolution": (lambda x, k, b: F.relu(F.conv2d(x, k, b, padding=1)), (IMAGE, K3, BIAS)),
    "convolution and norm": (lambda x, k: F.relu(norm(F.conv2d(x, k, padding=1))), (IMAGE, K3)),
    "norm and residual": (lambda x, k, r: F.relu(norm(F.conv2d(x, k)) + r), (IMAGE[:1], K1, tensor(1, 8, 9, 9))),
    "two images and residual": (lambda x, k, r: F.relu(norm(F.conv2d(x, k)) + r), (IMAGE, K1, tensor(2, 8, 9, 9))),
    "depthwise": (
        lambda x, k: F.hardtanh(norm(F.conv2d(x, k, padding=1, groups=8)), 0, 6),
        (tensor(2, 8, 9, 9), tensor(8, 1, 3, 3)),
    ),
    "winograd": (lambda x, k: F.relu(F.conv2d(x, k, padding=1) * 2 + 1), (tensor(1, 64, 28, 28), tensor(64, 64, 3, 3))),
    "transposed": (lambda x, k: F.relu(F.conv_transpose2d(x, k, stride=2)), (IMAGE, tensor(6, 8, 3, 3))),
    "channels last": (
        lambda x, k, r: F.relu(norm(F.conv2d(x, k)) + r),
        tuple(t.to(memory_format=torch.channels_last) for t in (IMAGE, K1, tensor(2, 8, 9, 9))),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_tail_is_part_of_the_template(name):
    program, arguments = CASES[name]
    found, specs = run(program, *arguments)
    expected = program(*arguments)
    assert found.shape == expected.shape and found.stride() == expected.stride()
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=2e-4, atol=2e-4)
    assert [s.formula is not None for s in specs] == [True]


def test_a_value_needed_before_its_activation_is_kept():
    v = tensor(50, 7)

    def program(x, w, b):
        z = F.linear(x, w, b)
        return z.sum(0), F.gelu(z) @ v

    found, specs = run(program, X, W, B)
    for a, b in zip(found, program(X, W, B)):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-4)
    assert specs[0].formula.kept is not None


def test_what_reads_other_elements_stays_outside():
    for program in (
        lambda x, w: F.linear(x, w).softmax(-1),
        lambda x, w: F.linear(x, w) - F.linear(x, w).sum(0),
        lambda x, w: F.linear(x, w).cumsum(1),
    ):
        found, specs = run(program, X, W)
        np.testing.assert_allclose(found.numpy(), program(X, W).numpy(), rtol=1e-4, atol=1e-4)
        assert all(s.formula is None for s in specs)


def test_values_that_depend_on_each_other():
    def program(x, w):
        a, b = x @ w.t(), (x * 2) @ w.t()
        c = a * b
        return c.sigmoid(), F.relu(b - c), (c.sum(1, keepdim=True) + a) * b

    found, _ = run(program, X, W)
    for a, b in zip(found, program(X, W)):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-3)


def test_gradients_accumulate_in_the_product():
    w = torch.nn.Parameter(tensor(50, 40) / 10)
    specs = []
    step = torch.compile(lambda x: (F.linear(x, w).exp() * R).sum())
    with watching(lambda p: specs.append([s.spec for s in p.ran.plan._schedule.steps if hasattr(s, "spec")])):
        for _ in range(3):
            step(X).backward()
            deferral().flush()
    expected = 3 * (R * F.linear(X, w.detach()).exp()).numpy().T @ X.numpy()
    np.testing.assert_allclose(w.grad.numpy(), expected, rtol=1e-3, atol=1e-3)
    assert any(s.formula is not None for s in specs[-1])


def test_infinities_and_empty_results():
    x = X.clone()
    x[0, 0], x[1, 1] = float("inf"), float("nan")
    program = CASES["bias and relu"][0]
    np.testing.assert_array_equal(np.isnan(run(program, x, W, B)[0].numpy()), np.isnan(program(x, W, B).numpy()))
    assert run(program, tensor(0, 40), W, B)[0].shape == (0, 50)
    np.testing.assert_allclose(
        run(program, tensor(3, 0), tensor(50, 0), B)[0].numpy(), np.tile(F.relu(B).numpy(), (3, 1))
    )


def kernels(program):
    """The result of a program, and how many kernels that are no templates its compiled form runs."""
    counts = []
    with watching(lambda found: counts.append(sum(not hasattr(s, "spec") for s in found.ran.plan._schedule.steps))):
        result = torch.compile(program)()
        deferral().flush()
    return result, counts


def test_sums_of_branches_lie_where_the_next_branch_finds_them():
    weights = [tensor(40, 40) for _ in range(6)]

    def program(depth=6):
        x = X3
        for w in weights[:depth]:
            x = x + F.linear(F.layer_norm(x, (40,)), w)
        return x

    found, specs = run(program)
    np.testing.assert_allclose(found.numpy(), program().numpy(), rtol=2e-4, atol=2e-4)
    assert len(specs) == 6 and all(s.formula is not None for s in specs)


def test_views_of_gradients_are_not_copied():
    layer, t = torch.nn.Linear(40, 30), torch.arange(33) % 30

    def through_views():
        y = layer(X3)
        return torch.autograd.grad(F.cross_entropy(y.view(-1, 30), t), list(layer.parameters()))

    def without():
        return torch.autograd.grad(F.cross_entropy(layer(X3.view(-1, 40)), t), list(layer.parameters()))

    (found, seen), (expected, plain) = kernels(through_views), kernels(without)
    assert sum(seen) == sum(plain)
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)
