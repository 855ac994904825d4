"""Adaptive and fractional pooling, triangles' indices, distances of pairs, and sums over strided views, beside
PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau

reference = pytest.importorskip("torch")

RNG = np.random.default_rng(0)
SPATIAL = {1: (17,), 2: (11, 9), 3: (7, 5, 9)}


def same(program: Callable[..., Any], *arrays: np.ndarray, gradients: bool = True) -> None:
    """Compares results, and the gradients of the sum of the squares of the first, of both frameworks."""
    found = []
    for framework in (reference, flambeau):
        leaves = [framework.from_numpy(a.copy()).requires_grad_(gradients) for a in arrays]
        results = program(framework, *leaves)
        results = results if isinstance(results, tuple) else (results,)
        grads = framework.autograd.grad((results[0] * results[0]).sum(), leaves) if gradients else ()
        found.append([t.detach().numpy() for t in (*results, *grads)])
    for expected, actual in zip(*found, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("size", [1, 2, 4, 5, 20])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_adaptive_pooling_of_uneven_windows(ndim: int, size: int) -> None:
    x = normal(2, 3, *SPATIAL[ndim])
    for values in (x, np.maximum(x, 0), np.round(x)):  # the latter have equal elements in a window
        same(lambda m, t: getattr(m.nn.functional, f"adaptive_avg_pool{ndim}d")(t, size), values)
        same(lambda m, t: getattr(m.nn.functional, f"adaptive_max_pool{ndim}d")(t, size, return_indices=True), values)


def test_adaptive_pooling_of_infinities_and_nan_stays_in_their_windows() -> None:
    x = np.zeros((1, 1, 9), np.float32)
    x[0, 0, 3], x[0, 0, 7] = np.inf, np.nan
    same(lambda m, t: m.nn.functional.adaptive_avg_pool1d(t, 4), x, gradients=False)
    same(lambda m, t: m.nn.functional.adaptive_max_pool1d(t, 4, return_indices=True), x, gradients=False)


def test_adaptive_pooling_of_nothing_and_of_integers() -> None:
    functional: Any = flambeau.nn.functional
    for pool in (functional.adaptive_avg_pool2d, functional.adaptive_max_pool2d):
        assert pool(flambeau.ones(2, 3, 5, 6), (0, 4)).shape == (2, 3, 0, 4)
        x = flambeau.ones(0, 3, 5, 6, requires_grad=True)
        pool(x, 4).sum().backward()
        assert x.grad is not None
        assert x.grad.shape == x.shape
        assert pool(flambeau.ones(2, 3, 5, 6, device="meta"), 4).shape == (2, 3, 4, 4)
    with pytest.raises(NotImplementedError, match="adaptive_avg_pool2d"):
        functional.adaptive_avg_pool2d(flambeau.ones(1, 5, 6, dtype=flambeau.int64), 4)
    half = functional.adaptive_avg_pool2d(flambeau.ones(1, 5, 6, dtype=flambeau.bfloat16), 4)
    assert half.dtype is flambeau.bfloat16


@pytest.mark.parametrize("ndim", [2, 3])
def test_fractional_pooling(ndim: int) -> None:
    samples = RNG.random((2, 3, ndim)).astype(np.float32)

    def pooled(m: Any, t: Any) -> Any:
        pool = getattr(m.nn.functional, f"fractional_max_pool{ndim}d")
        return pool(t, 2, 3, return_indices=True, _random_samples=m.from_numpy(samples))

    same(pooled, np.round(normal(2, 3, *SPATIAL[ndim])))


def test_triangle_indices() -> None:
    for rows, columns in ((0, 3), (1, 1), (3, 5), (5, 3), (8, 8), (7, 0)):
        for offset in range(-9, 10):
            for name in ("tril_indices", "triu_indices"):
                expected = getattr(reference, name)(rows, columns, offset).numpy()
                found = getattr(flambeau, name)(rows, columns, offset).numpy()
                assert found.shape == expected.shape
                assert (found == expected).all(), (name, rows, columns, offset)
    assert flambeau.tril_indices(3, 4, dtype=flambeau.int32).dtype is flambeau.int32
    assert flambeau.triu_indices(3, 4, device="meta").shape == (2, 9)


def test_large_triangle_whose_second_row_is_not_on_a_line_of_the_cache() -> None:
    """Results larger than half of the last cache are streamed, which needs whole lines."""
    n = 3001
    found = flambeau.tril_indices(n, n).numpy()
    assert (found == np.array(np.tril_indices(n))).all()


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, math.inf])
def test_distances_of_pairs(p: float) -> None:
    x = normal(9, 5)
    same(lambda m, t: m.nn.functional.pdist(t, p), x)
    if 1 <= p < math.inf:
        same(lambda m, t: m.nn.functional.pdist(t, p), np.round(x))
        leaf = flambeau.from_numpy(x.astype(np.float64)).requires_grad_()
        assert flambeau.autograd.gradgradcheck(lambda t: flambeau.nn.functional.pdist(t, p), (leaf,))


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ((6, 6), (1, 6), 0), ((3, 3), (1, 6), 2), ((3, 3), (2, 1), 0), ((5, 3), (7, 2), 0), ((36,), (1,), 0),
        ((2, 3), (18, 6), 3), ((4,), (0,), 5),
    ],
)  # fmt: skip
def test_gradient_through_strided_views(size: tuple[int, ...], stride: tuple[int, ...], offset: int) -> None:
    x = normal(6, 6)
    same(lambda m, t: t.as_strided(size, stride, offset) * 1, x)
    same(lambda m, t: (t.t() * 1).as_strided(size, stride, offset) * 1, x)
    same(lambda m, t: t.t().as_strided(size, stride, offset) * 1, x)


def test_vector_products() -> None:
    x, y = normal(7, 3, 4), normal(7, 3, 4)
    same(lambda m, a, b: m.cross(a, b, 1), x, y)
    same(lambda m, a, b: m.linalg.cross(a.transpose(1, 2), b[:1].transpose(1, 2)), x, y)
    z = flambeau.complex(flambeau.from_numpy(x).double(), flambeau.from_numpy(y).double()).requires_grad_()
    assert flambeau.autograd.gradcheck(lambda t: flambeau.cross(t, t.flip(0), 1), (z,))


def test_pieces_that_are_unsafe_and_rolls_of_all_elements() -> None:
    x = normal(6, 6)
    same(lambda m, t: m.unsafe_split(t, 4)[1] * 2, x)
    same(lambda m, t: m.unsafe_chunk(t, 4, 1)[1] * 2, x)
    same(lambda m, t: m.unsafe_split_with_sizes(t, (4, 2), 1)[1] * 2, x)
    same(lambda m, t: t.roll(7), x)
    same(lambda m, t: t.t().roll(-5), x)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_negative_log_likelihood(reduction: str) -> None:
    targets = RNG.integers(0, 5, (7, 4))
    targets[1, 2] = -100
    weights = RNG.random(5).astype(np.float32)
    x = normal(7, 5, 4)

    def loss(m: Any, t: Any) -> Any:
        return m.nn.functional.nll_loss(t, m.from_numpy(targets), m.from_numpy(weights), reduction=reduction)

    same(loss, x)
    same(lambda m, t: m.nn.functional.nll_loss(t, m.from_numpy(targets), reduction=reduction), x)
    same(lambda m, t: m.nn.functional.nll_loss(t[0, :, 0], m.tensor(2), reduction=reduction, ignore_index=3), x)


@pytest.mark.parametrize("kind", [np.float32, np.complex128])
@pytest.mark.parametrize("shape", [(5, 5), (7, 3), (3, 7), (2, 3, 6, 4), (1, 1)])
def test_orthogonal_and_symmetric_factors(shape: tuple[int, ...], kind: Any) -> None:
    x = (RNG.standard_normal(shape) + (1j * RNG.standard_normal(shape) if kind is np.complex128 else 0)).astype(kind)
    given = reference.from_numpy(x), flambeau.from_numpy(x)

    def agree(expected: Any, found: Any) -> None:
        for u, v in zip(expected, found, strict=True):
            np.testing.assert_allclose(v.numpy(), u.numpy(), atol=3e-5, rtol=1e-4)

    for mode in ("reduced", "complete", "r"):
        agree(reference.linalg.qr(given[0], mode), flambeau.linalg.qr(given[1], mode))
    agree(reference.geqrf(given[0]), flambeau.geqrf(given[1]))
    for hermitian in (False, True):
        square = x @ (x.conj() if hermitian else x).swapaxes(-1, -2)
        square[..., 0, 0] *= -1
        made = reference.from_numpy(square), flambeau.from_numpy(square)
        found = flambeau.linalg.ldl_factor_ex(made[1], hermitian=hermitian)
        if shape[-2] <= shape[-1]:  # the others have no full rank, and so no factors to compare
            agree(reference.linalg.ldl_factor_ex(made[0], hermitian=hermitian), found)


def test_low_rank_factors() -> None:
    flambeau.manual_seed(0)
    a = flambeau.from_numpy(normal(20, 3) @ normal(3, 12))
    u, s, v = flambeau.svd_lowrank(a, 4)
    np.testing.assert_allclose((u * s @ v.mT).numpy(), a.numpy(), atol=1e-4)
    leaf = a.clone().requires_grad_()
    flambeau.svd_lowrank(leaf, 3)[1].sum().backward()
    assert leaf.grad is not None


def test_transforms_of_real_numbers_with_all_frequencies() -> None:
    x = normal(6, 8, 5)
    for name in ("fft", "ifft", "fft2", "ifft2", "fftn", "ifftn"):
        expected = getattr(reference.fft, name)(reference.from_numpy(x)).resolve_conj().numpy()
        np.testing.assert_allclose(getattr(flambeau.fft, name)(flambeau.from_numpy(x)).numpy(), expected, atol=1e-4)
    leaf = flambeau.from_numpy(x[0].astype(np.float64)).requires_grad_()
    assert flambeau.autograd.gradcheck(lambda t: flambeau.fft.fft2(t, (9, 4)), (leaf,))
    assert flambeau.autograd.gradgradcheck(lambda t: flambeau.fft.ifft(t, 3, 0, "ortho"), (leaf,))
