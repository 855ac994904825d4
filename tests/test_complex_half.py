"""complex32: complex numbers whose parts are float16."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest

import flambeau as torch

VALUES = np.array([[1 + 2j, 3 - 1j], [0.5, -1j]], np.complex64)


@pytest.fixture
def x():
    return torch.tensor(VALUES.tolist(), dtype=torch.complex32)


def test_type():
    assert torch.chalf is torch.complex32 and torch.complex32.itemsize == 4 and torch.complex32.is_complex
    assert torch.complex32.to_real() is torch.float16 and torch.float16.to_complex() is torch.complex32
    assert torch.bfloat16.to_complex() is torch.complex64
    assert torch.finfo(torch.complex32).dtype == "float16"


@pytest.mark.parametrize(
    ("other", "common"),
    [
        ("float16", "complex32"), ("bfloat16", "complex64"), ("int64", "complex32"), ("bool", "complex32"),
        ("float32", "complex64"), ("float64", "complex128"), ("complex64", "complex64"), ("complex128", "complex128"),
    ],
)  # fmt: skip
def test_promotion(other, common):
    found = torch.promote_types(torch.complex32, getattr(torch, other))
    assert found is torch.promote_types(getattr(torch, other), torch.complex32) is getattr(torch, common)


def test_numbers_promote_half_to_complex32():
    assert (torch.ones(2, dtype=torch.float16) * 1j).dtype is torch.complex32
    assert (torch.ones(2, dtype=torch.bfloat16) * 1j).dtype is torch.complex64


def test_values_come_and_go(x):
    assert x.tolist() == VALUES.tolist() and x[0, 1].item() == 3 - 1j
    assert repr(x[0]) == "tensor([1.+2.j, 3.-1.j], dtype=torch.complex32)"
    assert x.cfloat().numpy().tolist() == VALUES.tolist()
    assert torch.from_numpy(VALUES).chalf().equal(x)
    assert torch.view_as_real(x).dtype is torch.float16 and x.real.tolist() == VALUES.real.tolist()
    assert torch.view_as_complex(torch.view_as_real(x)).equal(x)
    with pytest.raises(TypeError, match="ComplexHalf"):
        x.numpy()


def test_arithmetic_is_that_of_complex64_rounded(x):
    wide = x.cfloat()
    for f in (
        lambda t: t * t, lambda t: t + 1j, lambda t: t / (t + 3), torch.exp, torch.abs, torch.sum, torch.mean,
        lambda t: t.prod(), lambda t: t.cumsum(0), lambda t: t @ t, lambda t: t.conj().mT.contiguous(), torch.angle,
        lambda t: torch.cat([t, t]), lambda t: t.index_add(0, torch.tensor([0]), t[:1]), torch.var,
    ):  # fmt: skip
        found, expected = f(x), f(wide)
        narrow = torch.complex32 if expected.dtype.is_complex else torch.float16
        assert found.dtype is narrow
        torch.testing.assert_close(found.to(expected.dtype), expected, rtol=2e-3, atol=2e-3)


def test_gradients():
    x = torch.ones(2, dtype=torch.complex32, requires_grad=True)
    (x * (2 + 1j)).abs().float().sum().backward()
    assert x.grad.dtype is torch.complex32
    torch.testing.assert_close(x.grad.cfloat(), torch.full((2,), 5**0.5 + 0j), rtol=2e-3, atol=2e-3)
    half = torch.ones(2, dtype=torch.float16, requires_grad=True)
    (half * (2 + 1j)).abs().float().sum().backward()
    assert half.grad.dtype is torch.float16


def test_copies_and_files(x):
    file = io.BytesIO()
    torch.save(x, file)
    file.seek(0)
    assert torch.load(file).equal(x) and copy.deepcopy(x).equal(x) and x.to("meta").dtype is torch.complex32


@pytest.mark.filterwarnings("ignore:ComplexHalf support")
def test_random_numbers_are_those_of_pytorch():
    peer = pytest.importorskip("torch")
    for name in ("rand", "randn"):
        torch.manual_seed(3)
        peer.manual_seed(3)
        found = getattr(torch, name)(5, dtype=torch.complex32)
        assert found.tolist() == getattr(peer, name)(5, dtype=peer.complex32).tolist()


def test_refusals(x):
    for f in (torch.linalg.inv, torch.linalg.svdvals, torch.fft.fft):
        with pytest.raises(RuntimeError, match="complex32"):
            f(x)


def test_compiled(x):
    assert torch.compile(lambda t: (t * t).abs())(x).equal((x * x).abs())
