"""Fourier transforms by kernels, beside numpy's in double precision and mpmath's."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import flambeau
from flambeau import settings
from flambeau.target.isa import ISA
from flambeau.template import butterfly, fourier_plan

fft = flambeau.fft
SLACK = {"float32": 5e-7, "float64": 1e-15, "complex64": 5e-7, "complex128": 1e-15}
LENGTHS = [*range(1, 65), 73, 127, 128, 131, 210, 243, 255, 307, 510, 512, 1000, 1022, 1024]


def _numbers(shape: tuple[int, ...], kind: str) -> np.ndarray:
    draw = np.random.default_rng(sum(shape))
    a = draw.standard_normal(shape)
    return (a + 1j * draw.standard_normal(shape) if kind.startswith("c") else a).astype(kind)


def _near(found: flambeau.Tensor, known: np.ndarray, kind: str) -> None:
    assert found.shape == known.shape
    error = np.linalg.norm(found.numpy() - known)
    assert error <= SLACK[kind] * max(float(np.linalg.norm(known)), 1e-30), error


def _check(a: np.ndarray, dim: int, norm: str = "backward") -> None:
    """All transforms along one dimension of complex numbers."""
    kind, wide, n = str(a.dtype), a.astype(complex), a.shape[dim]
    x = flambeau.from_numpy(a)
    _near(fft.fft(x, dim=dim, norm=norm), np.fft.fft(wide, axis=dim, norm=norm), kind)
    _near(fft.ifft(x, dim=dim, norm=norm), np.fft.ifft(wide, axis=dim, norm=norm), kind)
    real = flambeau.from_numpy(np.ascontiguousarray(a.real))
    _near(fft.fft(real, dim=dim, norm=norm), np.fft.fft(wide.real, axis=dim, norm=norm), kind)
    _near(fft.ifft(real, dim=dim, norm=norm), np.fft.ifft(wide.real, axis=dim, norm=norm), kind)
    _near(fft.rfft(real, dim=dim, norm=norm), np.fft.rfft(wide.real, axis=dim, norm=norm), kind)
    _near(fft.ihfft(real, dim=dim, norm=norm), np.fft.ihfft(wide.real, axis=dim, norm=norm), kind)
    have = n // 2 + 1
    half, part = x.narrow(dim, 0, have), np.take(wide, range(have), dim)
    _near(fft.irfft(half, n, dim, norm=norm), np.fft.irfft(part, n, axis=dim, norm=norm), kind)
    _near(fft.hfft(half, n, dim, norm=norm), np.fft.hfft(part, n, axis=dim, norm=norm), kind)


@pytest.mark.parametrize("kind", ["complex64", "complex128"])
@pytest.mark.parametrize("dim", [0, 1])
def test_lengths(kind: str, dim: int) -> None:
    for n in LENGTHS:
        _check(_numbers((3, n) if dim else (n, 3), kind), dim)


@pytest.mark.parametrize("kind", ["complex64", "complex128"])
@pytest.mark.parametrize("lines", [1, 16, 21])
def test_numbers_of_lines(kind: str, lines: int) -> None:
    for n in (1, 2, 15, 16, 49, 64, 120, 256, 768, 2048):
        for shape, dim in (((lines, n), 1), ((n, lines), 0), ((2, n, lines), 1)):
            _check(_numbers(shape, kind), dim, "ortho")


@pytest.mark.parametrize("kind", ["complex64", "complex128"])
def test_long_lines(kind: str) -> None:
    for shape in ((1 << 17,), (3, 1 << 15), (5, 30030), (2, 2 * 3**9), (40, 4096), (2, 8190)):
        _check(_numbers(shape, kind), len(shape) - 1)


@pytest.mark.parametrize("kind", ["complex64", "complex128"])
def test_every_thread_has_memory_that_is_aligned(kind: str) -> None:
    threads = flambeau.get_num_threads()
    flambeau.set_num_threads(3)
    try:
        for n in (2310, 3003, 4095, 15015):  # in two parts, of lines that are no multiple of a vector
            _check(_numbers((40, n), kind), 1)
    finally:
        flambeau.set_num_threads(threads)


@pytest.mark.parametrize("isa", ISA.available())
def test_instruction_sets(isa: str) -> None:
    with settings.override(isa=isa):
        for n in (5, 16, 22, 63, 240, 1024):
            for kind in ("complex64", "complex128"):
                _check(_numbers((19, n), kind), 1)
                _check(_numbers((n, 19), kind), 0)


def test_strides() -> None:
    a = _numbers((6, 10, 7, 12), "complex64")
    for dim in range(4):
        for order in ((0, 1, 2, 3), (3, 1, 0, 2), (1, 3, 2, 0)):
            turned = a.transpose(order)
            _near(fft.fft(flambeau.from_numpy(turned), dim=dim), np.fft.fft(turned, axis=dim), "complex64")
        spaced = a[::2, 1::3, ::2, ::3]
        _near(fft.fft(flambeau.from_numpy(spaced), dim=dim), np.fft.fft(spaced, axis=dim), "complex64")
    row = flambeau.from_numpy(a[0, 0, 0]).expand(5, 12)
    _near(fft.ifft(row), np.fft.ifft(row.numpy()), "complex64")
    for one in (
        flambeau.ones(1, 1).expand(5, 12),
        flambeau.ones(1, 1).expand(5, 9),
        flambeau.ones(3, 1).expand(3, 512),
    ):
        _near(fft.rfft(one), np.fft.rfft(one.numpy()), "float32")
        _near(fft.rfft(one, dim=0), np.fft.rfft(one.numpy(), axis=0), "float32")
        _near(fft.irfft(one.to(flambeau.complex64)), np.fft.irfft(one.numpy()), "float32")
    frames = flambeau.from_numpy(a.real.copy().ravel()).unfold(0, 64, 16)
    _near(fft.rfft(frames), np.fft.rfft(frames.numpy()), "float32")


def test_several_dimensions() -> None:
    a = _numbers((5, 16, 9, 33), "complex128")
    x = flambeau.from_numpy(a)
    _near(fft.fftn(x), np.fft.fftn(a), "complex128")
    _near(fft.ifft2(x, norm="ortho"), np.fft.ifft2(a, norm="ortho"), "complex128")
    _near(fft.rfftn(x.real, dim=(1, 3, 0)), np.fft.rfftn(a.real, axes=(1, 3, 0)), "complex128")
    known = np.fft.irfftn(a, s=(16, 9, 64), axes=(1, 2, 3), norm="forward")
    _near(fft.irfftn(x, s=(16, 9, 64), dim=(1, 2, 3), norm="forward"), known, "complex128")


def test_no_numbers_and_numbers_that_are_not_finite() -> None:
    assert fft.fft(flambeau.zeros(0, 8)).shape == (0, 8)
    assert fft.rfft(flambeau.zeros(3, 0, 8)).shape == (3, 0, 5)
    assert fft.fft(flambeau.zeros(8, 4, device="meta"), dim=0).shape == (8, 4)
    x = flambeau.ones(3, 64)
    x[1, 5] = float("nan")
    x[2, 5] = float("inf")
    found = fft.fft(x).numpy()
    assert np.isfinite(found[0]).all() and np.isnan(found[1]).all() and not np.isfinite(found[2]).any()


def test_threads_do_not_change_a_bit() -> None:
    before = flambeau.get_num_threads()
    x = flambeau.from_numpy(_numbers((1 << 17,), "complex64"))
    y = flambeau.from_numpy(_numbers((300, 512), "complex64"))
    try:
        found = []
        for threads in (1, 3):
            flambeau.set_num_threads(threads)
            found.append((fft.fft(x).numpy(), fft.ifft(y).numpy(), fft.rfft(y.real, dim=0).numpy()))
    finally:
        flambeau.set_num_threads(before)
    for one, other in zip(*found):
        assert one.tobytes() == other.tobytes()


def test_factors_are_rounded_once() -> None:
    n = 1000003
    for k in (1, 125000, 125001, 250001, 499999, 777777, n - 1, n, 2 * n + 5):
        with mpmath.workdps(40):
            angle = -2 * mpmath.pi * mpmath.mpf(k) / n
            known = float(mpmath.cos(angle)), float(mpmath.sin(angle))
        np.testing.assert_allclose(fourier_plan.roots(np.array([k]), n)[0], known, rtol=3e-16, atol=1e-30)


def test_the_longest_is_as_exact_as_numpy() -> None:
    a = _numbers((1 << 20,), "complex64")
    known = np.fft.fft(a.astype(complex))
    error = np.linalg.norm(fft.fft(flambeau.from_numpy(a)).numpy() - known) / np.linalg.norm(known)
    assert error < 3e-7


def test_which_lengths_have_kernels() -> None:
    assert fourier_plan.form_of("c2c", "f32", 1 << 20, 1).split
    assert fourier_plan.form_of("c2c", "f32", 2 * 307, 1) is None
    for r in butterfly.RADICES:
        form = fourier_plan.form_of("c2c", "f64", r, 100)
        assert form is not None and not form.split


def test_gradients() -> None:
    z = flambeau.randn(3, 12, dtype=flambeau.complex128, requires_grad=True)
    r = flambeau.randn(3, 12, dtype=flambeau.float64, requires_grad=True)
    for f in (fft.fft, fft.ifft, fft.irfft, fft.hfft, fft.fft2):
        assert flambeau.autograd.gradcheck(f, (z,))
    for f in (fft.rfft, fft.ihfft, fft.fft, fft.rfft2):
        assert flambeau.autograd.gradcheck(f, (r,))


def test_gradients_that_are_spread_out() -> None:
    x = flambeau.ones(4, 64, requires_grad=True)
    (fft.irfft(fft.rfft(x * 2) * 3).sum(-1)).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), 6, rtol=1e-5)


def test_programs() -> None:
    def step(x: flambeau.Tensor) -> flambeau.Tensor:
        return fft.irfft(fft.rfft(x * 2) * 3).sum(-1)

    deferred = flambeau.compile(step)
    for _ in range(3):
        x = flambeau.randn(4, 64, requires_grad=True)
        deferred(x).sum().backward()
        assert x.grad is not None
        np.testing.assert_allclose(x.grad.numpy(), 6, rtol=1e-5)


def test_batches() -> None:
    x = flambeau.from_numpy(_numbers((4, 6, 20), "complex64"))
    found = flambeau.vmap(lambda row: fft.fft(row, dim=0), in_dims=1, out_dims=1)(x)
    _near(found, np.fft.fft(x.numpy(), axis=0), "complex64")
