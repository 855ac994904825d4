"""Rare arguments that once crashed, hung, gave wrong numbers or exceptions of Python's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

import flambeau as torch
import flambeau.nn.functional as F


def test_as_strided_stays_in_the_memory_of_a_tangent() -> None:
    x = torch.randn(15)[5:]
    with pytest.raises(RuntimeError, match="leaves the memory"):
        torch.func.jvp(lambda v: v.as_strided((2, 2), (1, 3), 1), (x,), (torch.ones(10),))
    value, tangent = torch.func.jvp(lambda v: v.as_strided((2, 2), (1, 3), 6), (x,), (torch.arange(10.0),))
    assert torch.equal(value, x.as_strided((2, 2), (1, 3), 6))
    assert tangent.tolist() == [[1.0, 4.0], [2.0, 5.0]]


@pytest.mark.parametrize("kind", "tuvw")
def test_chebyshev_polynomials_of_huge_degrees(kind: str) -> None:
    function = getattr(torch.special, f"chebyshev_polynomial_{kind}")
    degree = 10**8
    x = torch.tensor([1.0, -1.0, 1.0 + 1e-12, 3.0], dtype=torch.float64)
    right, left = {"t": (1, 1), "u": (degree + 1, degree + 1), "v": (1, 2 * degree + 1), "w": (2 * degree + 1, 1)}[kind]
    found = function(x, torch.full((4,), float(degree), dtype=torch.float64)).tolist()
    assert found[:2] == [right, left] and found[2] > right and math.isnan(found[3])


@pytest.mark.parametrize("degree", [70000, 70001])
def test_legendre_and_laguerre_polynomials_of_high_degrees(degree: int) -> None:
    x = np.array([0.9, -0.9, 0.1, 1.0, -1.0, 1.0 + 1e-9])
    n = torch.full((6,), float(degree), dtype=torch.float64)
    found = torch.special.legendre_polynomial_p(torch.from_numpy(x), n).numpy()
    wanted = special.eval_legendre(degree, x)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-7)
    found = torch.special.laguerre_polynomial_l(torch.from_numpy(x), n).numpy()
    wanted = special.eval_laguerre(degree, x)
    np.testing.assert_allclose(found, wanted, rtol=1e-2, atol=1e-3)


def test_determinants_of_matrices_that_are_not_finite() -> None:
    a = torch.tensor([[[math.nan, 1.0], [1.0, 1.0]], [[math.inf, 1.0], [2.0, 3.0]], [[1.0, 2.0], [2.0, 4.0]]])
    assert [str(v) for v in torch.linalg.det(a).tolist()] == ["nan", "inf", "-0.0"]  # rows are exchanged
    assert math.isnan(torch.linalg.slogdet(a)[1][0]) and math.isnan(torch.logdet(a)[0])


def test_cosine_similarity_along_a_dimension_that_is_broadcast() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 1, 2, 3)).astype("f4")[:, :, :, :]
    y = y.reshape(2, 1, 3)
    a, b = np.broadcast_arrays(x, y)
    wanted = (a * b).sum(-2) / np.linalg.norm(a, axis=-2) / np.linalg.norm(b, axis=-2)
    found = F.cosine_similarity(torch.from_numpy(x), torch.from_numpy(y), dim=-2)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5)
    found = F.cosine_similarity(torch.from_numpy(x[0]), torch.from_numpy(y), dim=1)
    a, b = np.broadcast_arrays(x[0], y)
    wanted = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5)


def test_gradient_of_avg_pool_with_a_negative_divisor() -> None:
    x = torch.ones(1, 1, 4, 4, requires_grad=True)
    F.avg_pool2d(x, 2, divisor_override=-2).sum().backward()
    assert x.grad is not None and x.grad.unique().tolist() == [-0.5]


def test_masked_std_keeps_the_element_type() -> None:
    x = torch.randn(5, 5, dtype=torch.bfloat16)
    assert torch.masked.std(x, correction=0.5, keepdim=True, mask=x > 0).dtype is torch.bfloat16


_SQUARE = torch.eye(2, dtype=torch.int64)
_REFUSED = [
    (TypeError, lambda: torch.tensor(4, dtype=math.nan)),
    (TypeError, lambda: torch.arange((1, 2))),
    (TypeError, lambda: torch.linalg.cond(torch.eye(2), (3, -1))),
    (TypeError, lambda: torch.norm(torch.ones(2), p=(1, 2))),
    (RuntimeError, lambda: torch.tensordot(torch.ones(2), torch.ones(2), 1j)),
    (RuntimeError, lambda: torch.addmm(_SQUARE, _SQUARE, _SQUARE, alpha=math.nan)),
    (TypeError, lambda: torch.xlogy_(2.0, torch.ones(2))),
    (TypeError, lambda: torch.detach_("x")),
    (TypeError, lambda: torch.crow_indices_copy(1j)),
    (TypeError, lambda: torch.ctc_loss(torch.zeros(5, 1, 3), torch.ones(1, 2, dtype=torch.int64), None, (2,))),
    (RuntimeError, lambda: torch.sparse_bsr_tensor(torch.tensor([0, 1]), torch.tensor([0]), torch.ones(1))),
    (RuntimeError, lambda: torch.choose_qparams_optimized(torch.ones(3), 3, 1 << 40, 0.5, 8)),
]


@pytest.mark.parametrize("index", range(len(_REFUSED)))
def test_wrong_arguments_are_named(index: int) -> None:
    kind, call = _REFUSED[index]
    with pytest.raises(kind):
        call()


def test_copies_between_memory_and_tensors_without() -> None:
    bare = torch.ones(3, device="meta")
    assert bare.copy_(torch.zeros(3)) is bare and bare.device.type == "meta"
    for x in (torch.zeros(3), torch.zeros(())):
        with pytest.raises(NotImplementedError, match="no data"):
            x.copy_(bare.sum())
        assert not x.any()
    with pytest.raises(NotImplementedError, match="no data"):
        torch.zeros(()).add_(bare.sum())


@pytest.mark.parametrize(
    "make",
    [
        lambda **how: torch.arange(3, **how), lambda **how: torch.linspace(0, 1, 3, **how),
        lambda **how: torch.logspace(0, 1, 3, **how), lambda **how: torch.eye(3, **how),
        lambda **how: torch.range(0, 2, **how), lambda **how: torch.fft.fftfreq(3, **how),
        lambda **how: torch.fft.rfftfreq(4, **how),
    ],
)  # fmt: skip
def test_factories_compute_what_out_holds(make) -> None:  # type: ignore[no-untyped-def]
    wide = torch.empty(0, dtype=torch.float64)
    assert torch.equal(make(out=wide), make(dtype=torch.float64)) and wide.dtype is torch.float64
    with pytest.raises(RuntimeError, match="does not match dtype of out"):
        make(out=wide, dtype=torch.float32)
    with pytest.raises(RuntimeError, match="device type meta does not match"):
        make(out=wide, device="meta")
    bare = torch.empty(0, device="meta")
    assert make(out=bare).shape == make().shape and bare.device.type == "meta"


def test_frequencies_are_no_integers() -> None:
    with pytest.raises(RuntimeError, match="floating point"):
        torch.fft.fftfreq(5, out=torch.zeros(5, dtype=torch.int64))


@pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.int64])
def test_running_sums_under_a_mask_keep_the_type(dtype: torch.dtype) -> None:
    x, mask = torch.tensor([1, 2, 3], dtype=dtype), torch.tensor([True, False, True])
    total, product = torch.masked.cumsum(x, 0, mask=mask), torch.masked.cumprod(x, 0, mask=mask)
    assert total.tolist() == [1, 1, 4] and total.dtype is dtype
    assert product.tolist() == [1, 1, 3] and product.dtype is dtype
