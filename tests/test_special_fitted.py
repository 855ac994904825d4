"""Special functions by fitted series, and polynomials by recurrences, against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special

import flambeau as torch

_NAMES = {
    "i0": "i0", "i0e": "i0e", "i1": "i1", "i1e": "i1e", "bessel_j0": "j0", "bessel_j1": "j1", "bessel_y0": "y0",
    "bessel_y1": "y1", "modified_bessel_i0": "i0", "modified_bessel_i1": "i1", "modified_bessel_k0": "k0",
    "modified_bessel_k1": "k1", "scaled_modified_bessel_k0": "k0e", "scaled_modified_bessel_k1": "k1e",
    "erfcx": "erfcx", "log_ndtr": "log_ndtr",
}  # fmt: skip


@pytest.mark.parametrize("name", _NAMES)
def test_single_precision(name: str) -> None:
    wide = np.logspace(-38, 3, 800)
    edges = [0, -0.0, 2, 8, -8, np.nextafter(8, 9), np.nan]
    x = np.concatenate([wide, -wide, np.linspace(-40, 40, 997), edges]).astype(np.float32)
    with np.errstate(all="ignore"):
        want = getattr(scipy.special, _NAMES[name])(x.astype(np.float64)).astype(np.float32)
    found = getattr(torch.special, name)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, want, rtol=2e-7, atol=1e-9 if "_j" in name or "_y" in name else 0)
    shape = getattr(torch.special, name)(torch.ones(2, 3)[:, ::2])
    assert shape.shape == (2, 2)


def test_quantiles_of_the_normal_distribution() -> None:
    low = np.concatenate([np.logspace(-45, -1, 900), np.linspace(0.01, 0.5, 500), [0.075, 0.0749]]).astype(np.float32)
    x = np.concatenate([low, 1 - low, np.array([0, 1, -0.1, 1.1, -np.inf, np.inf, np.nan], np.float32)])
    want = scipy.special.ndtri(x.astype(np.float64)).astype(np.float32)
    np.testing.assert_allclose(torch.special.ndtri(torch.from_numpy(x)).numpy(), want, rtol=2e-7)


def test_airy() -> None:
    x = np.concatenate([np.linspace(-60, 12, 1001), [0, -0.0, 2, 8, -8, 30, 100, -1e3]])
    want = scipy.special.airy(x)[0]
    size = np.where(x > 0, want, np.abs(x).clip(1) ** -0.25)
    found = torch.special.airy_ai(torch.from_numpy(x)).numpy()
    assert (np.abs(found - want) / size).max() < 1e-12
    narrow = torch.special.airy_ai(torch.from_numpy(x).float()).numpy()
    wide = scipy.special.airy(x.astype(np.float32).astype(np.float64))[0]
    assert (np.abs(narrow - wide) <= 2e-7 * np.abs(wide) + 1e-9 * size + 1e-45).all()
    ends = torch.special.airy_ai(torch.tensor([torch.nan, torch.inf, 1e20])).tolist()
    assert np.isnan(ends[:2]).all() and ends[2] == 0


@pytest.mark.parametrize("name", ["i0", "i0e", "i1", "i1e", "erfcx", "log_ndtr"])
def test_gradients(name: str) -> None:
    x = torch.linspace(-4, 4, 31, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(getattr(torch.special, name), (x,))
    narrow = x.detach().float().requires_grad_()
    getattr(torch.special, name)(narrow).sum().backward()
    getattr(torch.special, name)(x).sum().backward()
    np.testing.assert_allclose(narrow.grad.numpy(), x.grad.numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "reference"),
    [("chebyshev_polynomial_t", "eval_chebyt"), ("chebyshev_polynomial_u", "eval_chebyu"),
     ("hermite_polynomial_h", "eval_hermite"),
     ("hermite_polynomial_he", "eval_hermitenorm"), ("laguerre_polynomial_l", "eval_laguerre"),
     ("legendre_polynomial_p", "eval_legendre"),
     ("shifted_chebyshev_polynomial_t", "eval_sh_chebyt"), ("shifted_chebyshev_polynomial_u", "eval_sh_chebyu")],
)  # fmt: skip
@pytest.mark.parametrize("top", [3, 7, 12, 40])
def test_polynomials(name: str, reference: str, top: int) -> None:
    x = np.linspace(-0.95, 0.95, 50)
    n = np.arange(50) % (top + 1)
    found = getattr(torch.special, name)(torch.from_numpy(x), torch.from_numpy(n))
    np.testing.assert_allclose(found.numpy(), getattr(scipy.special, reference)(n, x), rtol=1e-8, atol=1e-9)
    one = getattr(torch.special, name)(torch.from_numpy(x), top + 0.5)
    np.testing.assert_allclose(one.numpy(), getattr(scipy.special, reference)(top, x), rtol=1e-8, atol=1e-9)
    assert not getattr(torch.special, name)(torch.ones(3), -1).any()
    with pytest.raises(RuntimeError, match="not implemented"):
        getattr(torch.special, name)(torch.ones(3, requires_grad=True), 2).sum().backward()


@pytest.mark.parametrize("upper", [False, True])
def test_incomplete_gamma(upper: bool) -> None:
    sizes = [1e-30, 1e-4, 0.01, 0.5, 1, 3, 7, 19.9, 20, 20.1, 50, 1e3, 1e4]
    ratios = [1e-20, 1e-6, 0.1, 0.49, 0.5, 0.51, 0.9, 1, 1.01, 1.5, 1.99, 2, 2.01, 5, 100]
    pairs = [(a, a * r) for a in sizes for r in ratios]
    pairs += [(a, a + d * max(a, 1) ** 0.5) for a in sizes for d in np.linspace(-5, 5, 21)]
    a, x = np.array([p for p in pairs if p[1] >= 0], np.float32).T.copy()
    reference = scipy.special.gammaincc if upper else scipy.special.gammainc
    function = torch.igammac if upper else torch.igamma
    found = function(torch.from_numpy(a), torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(found, reference(a.astype(np.float64), x.astype(np.float64)), rtol=2e-7, atol=1e-44)
    a = torch.tensor([0, 0, 0, torch.inf, torch.inf, 1, 1, -1, 1, torch.nan, torch.inf])
    x = torch.tensor([0, 1, torch.inf, 1, torch.inf, torch.inf, 0, 1, -1, 1, 0])
    want = np.array([np.nan, 1, 1, 0, np.nan, 1, 0, np.nan, np.nan, np.nan, 0])
    np.testing.assert_array_equal(function(a, x).numpy(), 1 - want if upper else want)
