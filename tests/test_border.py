"""Borders that mirror, repeat or go round (``nn.functional.pad``), against numpy, with their gradients."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch

F = torch.nn.functional
_NUMPY = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@pytest.mark.parametrize("mode", _NUMPY)
@pytest.mark.parametrize(
    ("shape", "widths"),
    [
        ((2, 3, 5), [(1, 2)]),
        ((3, 6), [(4, 0)]),
        ((2, 3, 5, 6), [(1, 2), (3, 1)]),
        ((1, 2, 4, 5, 6), [(1, 0), (2, 2), (0, 3)]),
    ],
)
def test_against_numpy(mode: str, shape: tuple[int, ...], widths: list[tuple[int, int]]) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    pad = [n for w in reversed(widths) for n in w]
    want = np.pad(x, [(0, 0)] * (len(shape) - len(widths)) + widths, _NUMPY[mode])
    t = torch.from_numpy(x).requires_grad_()
    np.testing.assert_array_equal(F.pad(t, pad, mode).detach().numpy(), want)
    weights = np.random.default_rng(1).standard_normal(want.shape)
    (F.pad(t, pad, mode) * torch.from_numpy(weights)).sum().backward()
    place = np.pad(np.arange(x.size).reshape(shape), [(0, 0)] * (len(shape) - len(widths)) + widths, _NUMPY[mode])
    sums = np.bincount(place.ravel(), weights.ravel(), x.size).reshape(shape)
    np.testing.assert_allclose(t.grad.numpy(), sums, atol=1e-12)


@pytest.mark.parametrize("mode", _NUMPY)
def test_cut_off_and_second_order(mode: str) -> None:
    x = torch.arange(7.0).view(1, 7)
    inner = {"reflect": [2, 3, 4, 5, 6, 5, 4], "replicate": [2, 3, 4, 5, 6, 6, 6], "circular": [2, 3, 4, 5, 6, 2, 3]}
    assert F.pad(x, (-2, 2), mode).tolist() == [inner[mode]]
    t = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: F.pad(t, (1, 2, 2, 1), mode), (t,))
    assert torch.autograd.gradgradcheck(lambda t: F.pad(t * t, (1, 2, -1, 1), mode), (t,))


def test_windows_and_triangles() -> None:
    k = np.arange(9)
    np.testing.assert_allclose(torch.hann_window(9, False).numpy(), np.hanning(9), atol=1e-7)
    np.testing.assert_allclose(torch.hamming_window(9, False).numpy(), np.hamming(9), atol=1e-7)
    np.testing.assert_allclose(torch.blackman_window(9, False).numpy(), np.blackman(9), atol=1e-7)
    np.testing.assert_allclose(torch.bartlett_window(9, False).numpy(), np.bartlett(9), atol=1e-7)
    np.testing.assert_allclose(torch.hann_window(9).numpy(), np.sin(np.pi * k / 9) ** 2, atol=1e-7)
    for m, n, offset in ((3, 4, 0), (4, 3, 1), (5, 5, -2), (5, 2, 3), (0, 3, 0), (3, 3, -5)):
        np.testing.assert_array_equal(torch.tril_indices(m, n, offset).numpy(), np.tril_indices(m, offset, n))
        np.testing.assert_array_equal(torch.triu_indices(m, n, offset).numpy(), np.triu_indices(m, offset, n))
