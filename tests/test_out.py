"""``out=``: results where the caller wants them."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch


def test_memory_stays() -> None:
    a, b, c = torch.randn(64, 64), torch.randn(64, 64), torch.zeros(64, 64)
    for _ in range(3):  # the last calls take the short way
        address, version = c.data_ptr(), c._version
        c.zero_()
        assert torch.add(a, b, out=c) is c
        assert c.data_ptr() == address
        assert c._version == version + 2
        np.testing.assert_array_equal(c.numpy(), a.numpy() + b.numpy())
        torch.mul(a, 2.5, out=c)
        np.testing.assert_array_equal(c.numpy(), a.numpy() * np.float32(2.5))


def test_numbers_and_flags_are_told_apart() -> None:
    a, c = torch.randn(8, 8), torch.zeros(8, 8)
    for alpha in (1, 2, 1, 3):
        torch.add(a, a, alpha=alpha, out=c)
        np.testing.assert_allclose(c.numpy(), a.numpy() * (1 + alpha), rtol=1e-6)
    for dim in (0, 1, 0, 1):
        torch.cumsum(a, dim, out=c)
        np.testing.assert_allclose(c.numpy(), a.numpy().cumsum(dim), atol=1e-5)


def test_operands_that_are_written() -> None:
    x = torch.randn(8, 8)
    before = x.clone()
    for _ in range(2):
        torch.mul(x, 2, out=x)
    np.testing.assert_array_equal(x.numpy(), before.numpy() * 4)
    torch.cumsum(x, 0, out=x)
    np.testing.assert_allclose(x.numpy(), (before.numpy() * 4).cumsum(0), rtol=1e-5, atol=1e-5)
    line = torch.arange(100.0)
    with pytest.raises(RuntimeError, match="single memory location"):
        torch.add(line[:64], 1, out=line[32:96])
    array = np.zeros(100, np.float32)
    whole = torch.from_numpy(array)
    torch.add(whole, 1, out=whole)
    assert (array == 1).all()


def test_other_layouts_types_and_shapes() -> None:
    a = torch.randn(6, 8)
    wide, empty, part = torch.zeros(6, 8, dtype=torch.float64), torch.empty(0), torch.zeros(200)
    for _ in range(2):
        torch.exp(a, out=wide)
        np.testing.assert_allclose(wide.numpy(), np.exp(a.numpy()), rtol=1e-6)
        torch.add(torch.ones(100), 1, out=part[1:101])
        assert part.sum() == 200
        turned = torch.zeros(8, 6).t()
        torch.neg(a, out=turned)
        np.testing.assert_array_equal(turned.numpy(), -a.numpy())
    torch.neg(a, out=empty)
    assert empty.shape == a.shape
    values, places = torch.zeros(6), torch.zeros(6, dtype=torch.int64)
    torch.max(a, 1, out=(values, places))
    np.testing.assert_array_equal(values.numpy(), a.numpy().max(1))
    np.testing.assert_array_equal(places.numpy(), a.numpy().argmax(1))


def test_tape_and_programs() -> None:
    a, c = torch.randn(4, 4), torch.zeros(4, 4)
    torch.add(a, 1, out=c)
    with pytest.raises(RuntimeError, match="don't support automatic"):
        torch.add(a.clone().requires_grad_(), 1, out=c)

    @torch.compile
    def program(x: torch.Tensor) -> torch.Tensor:
        torch.add(x, 1, out=c)
        return c * 2

    np.testing.assert_allclose(program(a).numpy(), (a.numpy() + 1) * 2, rtol=1e-6)
