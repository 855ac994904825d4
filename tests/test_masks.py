"""Elements and positions where a mask holds, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch
from flambeau.dispatch.operator import OPERATORS

_SIZES = (1, 7, 16, 65, 1000, 16383, 16385, 40000)


@pytest.mark.parametrize("density", [0, 0.001, 0.5, 1])
@pytest.mark.parametrize("kind", ["f4", "f8", "i8", "i1", "i2", "?", "c8", "c16"])
def test_selection(kind: str, density: float) -> None:
    random = np.random.default_rng(0)
    for n in _SIZES:
        mask = random.random(n) < density
        x = (random.standard_normal(n) * 100).astype(kind)
        np.testing.assert_array_equal(torch.from_numpy(x)[torch.from_numpy(mask)].numpy(), x[mask])
        np.testing.assert_array_equal(torch.from_numpy(mask).nonzero().numpy()[:, 0], mask.nonzero()[0])


@pytest.mark.parametrize("threads", [1, 2])
def test_many_pieces_and_views(threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        random = np.random.default_rng(1)
        mask, x = random.random((301, 1000)) < 0.3, random.standard_normal((301, 1000)).astype(np.float32)
        a, m = torch.from_numpy(x), torch.from_numpy(mask)
        np.testing.assert_array_equal(a[m].numpy(), x[mask])
        np.testing.assert_array_equal(a.t()[m.t()].numpy(), x.T[mask.T])
        np.testing.assert_array_equal(a.masked_select(m[:, :1]).numpy(), x[np.broadcast_to(mask[:, :1], x.shape)])
        found = m.nonzero()
        np.testing.assert_array_equal(found.numpy(), np.argwhere(mask))
        assert found.stride() == (1, found.shape[0])
        for column, want in zip(m.nonzero(as_tuple=True), mask.nonzero()):
            np.testing.assert_array_equal(column.numpy(), want)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0), (1,), (2, 3, 4)])
def test_shapes(shape: tuple[int, ...]) -> None:
    mask = np.random.default_rng(2).random(shape) < 0.5
    found = torch.tensor(mask).nonzero()
    want = np.argwhere(mask)
    assert found.shape == want.shape
    np.testing.assert_array_equal(found.numpy(), want)


def test_derivatives() -> None:
    x = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    s = torch.randn(30, dtype=torch.float64, requires_grad=True)
    m = torch.randn(4, 5) > 0
    assert torch.autograd.gradcheck(lambda t: t[m] * 2, (x,))
    assert torch.autograd.gradgradcheck(lambda t: t[m] ** 3, (x,))
    assert torch.autograd.gradcheck(lambda t, s: t.masked_scatter(m, s), (x, s))
    assert torch.autograd.gradgradcheck(lambda t, s: t.masked_scatter(m, s) ** 2, (x, s))
    plain = x.detach()
    _, tangent = torch.func.jvp(lambda t: t[m] ** 2, (plain,), (torch.ones_like(plain),))
    torch.testing.assert_close(tangent, 2 * plain[m])


def test_other_numbers_need_no_other_plan() -> None:
    x = torch.randn(1000)
    x[x > 0]
    plans = len(OPERATORS["_picked"].plans)
    for k in range(1, 9):
        x[x > k / 10]
    assert len(OPERATORS["_picked"].plans) == plans
