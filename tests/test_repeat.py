"""``mode="reduce-overhead"``: what is repeated without Python, and what is noticed or never repeated."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn

REPEATED = {"mode": "reduce-overhead"}


class Counted:
    """A function that counts how often its Python runs."""

    def __init__(self, fn):
        self.fn, self.calls = fn, 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        return self.fn(*args, **kwargs)


def check(fn, calls, python):
    """Compares each call with eager; ``python`` is how often the function itself may run."""
    counted = Counted(fn)
    compiled = torch.compile(counted, **REPEATED)
    for args in calls:
        wanted, got = fn(*args), compiled(*args)
        for w, g in zip(wanted if isinstance(wanted, tuple) else (wanted,), got if isinstance(got, tuple) else (got,)):
            np.testing.assert_allclose(g.numpy(), w.numpy(), rtol=1e-6, atol=1e-6)
    assert counted.calls == python


def rows(*values):
    return [(torch.tensor([[v, 2 * v, -v]]),) for v in values]


def test_repeated_calls_run_no_python():
    check(lambda x: (x * 2 + 1).softmax(-1), rows(1.0, 2.0, 3.0, 4.0, 5.0), 2)


def test_results_are_fresh_and_views_share():
    compiled = torch.compile(lambda x: (y := x + 1, y[0]), **REPEATED)
    kept = [compiled(*args) for args in rows(1.0, 2.0, 3.0, 4.0)]
    assert [y[0, 0].item() for y, _ in kept] == [2, 3, 4, 5]
    y, row = kept[-1]
    y.zero_()
    assert row.tolist() == [0, 0, 0] and kept[-2][1].tolist() == [4, 7, -2]


def test_signatures():
    def fn(x, scale=2, *, names=("a",)):
        return x * scale + len(names)

    counted = Counted(fn)
    compiled = torch.compile(counted, **REPEATED)
    for _ in range(4):
        for n in (2, 3):
            for scale in (1, 2.5):
                x = torch.arange(n) * 1.0
                np.testing.assert_allclose(compiled(x, scale, names=("b", "c")).numpy(), x.numpy() * scale + 2)
    assert counted.calls == 8


def test_writes_to_arguments():
    x = torch.zeros(3)
    compiled = torch.compile(lambda t: t.add_(1) * 2, **REPEATED)
    for k in range(1, 6):
        assert compiled(x).tolist() == [2.0 * k] * 3
        assert x.tolist() == [float(k)] * 3 and x._version == k


def test_aliased_arguments_are_another_signature():
    compiled = torch.compile(lambda a, b: (a.add_(1), a + b)[1], **REPEATED)
    for _ in range(4):
        a, b = torch.ones(2), torch.ones(2)
        assert compiled(a, b).tolist() == [3, 3]
        assert compiled(a, a).tolist() == [6, 6]


def test_modules_are_watched():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()
    compiled = torch.compile(net, **REPEATED)
    x = torch.randn(5, 3)

    def same():
        with torch.no_grad():
            for _ in range(3):
                np.testing.assert_allclose(compiled(x).numpy(), net(x).numpy(), rtol=1e-5, atol=1e-6)

    same()
    with torch.no_grad():
        net[0].weight.mul_(2)  # the same memory
    same()
    net[0].weight = nn.Parameter(torch.randn(4, 3))
    same()
    net[2].bias.data = torch.randn(2)
    same()
    net.train()
    before = net[1].running_mean.clone()
    with torch.no_grad():
        for k in range(1, 4):
            compiled(x)
            assert int(net[1].num_batches_tracked) == k
    assert not torch.equal(before, net[1].running_mean)
    net.eval()
    same()


def test_gradients_are_recorded_as_ever():
    net = nn.Linear(3, 2)
    compiled = torch.compile(net, **REPEATED)
    x = torch.randn(4, 3)
    for k in range(1, 4):
        compiled(x).sum().backward()
        np.testing.assert_allclose(net.bias.grad.numpy(), [4.0 * k] * 2)


def test_looks_at_values_are_never_repeated():
    check(lambda x: x * (2 if x[0, 0].item() > 0 else 3), rows(1.0, -1.0, 2.0, -2.0), 4)
    check(lambda x: x + 1 if (x.sum() > 0) else x - 1, rows(1.0, -1.0, 2.0, -2.0), 4)


def test_outside_operators_are_never_repeated():
    check(lambda x: torch.fft.fft(x).real, rows(1.0, -1.0, 2.0, -2.0), 4)


def test_random_numbers_are_drawn_anew():
    compiled = torch.compile(lambda x: torch.dropout(x, 0.5, True), **REPEATED)
    torch.manual_seed(3)
    found = [compiled(torch.ones(64)).tolist() for _ in range(4)]
    assert len({tuple(f) for f in found}) == 4


def test_results_kept_elsewhere_are_never_repeated():
    kept = []

    def fn(x):
        y = x + 1
        kept.append(y)
        return y * 2

    compiled = torch.compile(fn, **REPEATED)
    for args in rows(1.0, 2.0, 3.0, 4.0):
        compiled(*args)
    assert [t[0, 0].item() for t in kept] == [2, 3, 4, 5]


def test_errors_leave_the_arguments_usable():
    def fn(x, n):
        y = x + 1
        if n > 2:
            raise ValueError(n)
        return y

    compiled = torch.compile(fn, **REPEATED)
    x = torch.ones(2)
    for _ in range(3):
        with pytest.raises(ValueError):
            compiled(x, 3)
        assert compiled(x, 1).tolist() == [2, 2]
        assert (x + 1).tolist() == [2, 2]


def test_trees_and_the_arguments_themselves():
    def fn(x, table):
        return {"sum": x + table["a"], "same": x, "pair": [x * 2, (table["b"], 7)]}

    compiled = torch.compile(fn, **REPEATED)
    for k in range(4):
        x, b = torch.full((2,), float(k)), torch.ones(1)
        found = compiled(x, {"a": torch.ones(2), "b": b})
        assert found["sum"].tolist() == [k + 1.0] * 2 and found["same"] is x
        assert found["pair"][0].tolist() == [2.0 * k] * 2 and found["pair"][1] == (b, 7)


def test_results_without_grad_mode_are_there_when_the_call_returns():
    program = torch.compile(lambda x: x.exp() + 1, mode="reduce-overhead")
    x = torch.tensor([0.0, 1.0])
    with torch.no_grad():
        for _ in range(3):
            y = program(x)
            assert y._storage.pending is None
            torch.testing.assert_close(y, x.exp() + 1)


@pytest.mark.parametrize("mode", ["default", "reduce-overhead", None])
@pytest.mark.parametrize("grad", [False, True])
def test_batches_that_are_parts_of_one_tensor(mode: str | None, grad: bool) -> None:
    """Every part lies elsewhere; ``None``: not compiled, where calls without grad mode are repeated, too."""
    net = torch.nn.Sequential(torch.nn.Linear(512, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 8))
    data = torch.randn(96, 512)
    wanted = net[2](net[1](net[0](data))).detach().numpy()
    run = net if mode is None else torch.compile(net, mode=mode)
    with torch.set_grad_enabled(grad):
        for k in range(24):
            at = k * 16 % 96
            found = run(data[at : at + 16])
            np.testing.assert_allclose(found.detach().numpy(), wanted[at : at + 16], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_writes_into_parts_of_one_tensor(mode: str) -> None:
    @torch.compile(mode=mode)
    def double(x: torch.Tensor) -> torch.Tensor:
        x.mul_(2)
        return x[:2]

    data = torch.ones(40, 8)
    for k in range(12):
        at = k % 4 * 10
        found = double(data[at : at + 10])
        assert found.tolist() == data[at : at + 2].tolist() == [[2.0 ** (k // 4 + 1)] * 8] * 2
