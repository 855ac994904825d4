"""Pooling, batch norm and convolution in both memory formats, against sums and maxima over windows by numpy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import flambeau as torch
import flambeau.nn.functional as F


def windows(x, kernel, stride, padding, dilation, places, fill):
    """(elements, positions in the flattened image, whether they lie in it) of all windows, taps first."""
    spatial = x.shape[2:]
    full = [max((o - 1) * s + d * (k - 1) + 1, n + 2 * p) for o, s, d, k, n, p in zip(
        places, stride, dilation, kernel, spatial, padding)]  # fmt: skip
    padded = np.full((*x.shape[:2], *full), fill, x.dtype)
    inside = np.zeros(full, bool)
    number = np.zeros(full, np.int64)
    at = tuple(slice(p, p + n) for p, n in zip(padding, spatial))
    padded[(slice(None), slice(None), *at)] = x
    inside[at] = True
    number[at] = np.arange(math.prod(spatial)).reshape(spatial)
    taps = []
    for tap in itertools.product(*map(range, kernel)):
        where = tuple(slice(t * d, t * d + (o - 1) * s + 1, s) for t, d, o, s in zip(tap, dilation, places, stride))
        taps.append((padded[(slice(None), slice(None), *where)], number[where], inside[where]))
    values, numbers, valid = (np.stack(part) for part in zip(*taps))
    return values, np.broadcast_to(numbers[:, None, None], values.shape), valid[:, None, None]


def first_maximum(values, numbers, valid):
    """PyTorch's rule: NaN wins, otherwise the first of the greatest elements in the image."""
    keyed = np.where(np.isnan(values), np.inf, values)
    rank = np.where(valid, np.where(np.isnan(values), 2, np.where(keyed == -np.inf, 0, 1)), -1)
    order = np.lexsort((np.where(rank == 1, keyed, 0), rank), axis=0)
    best = order[-1:]
    same = (rank == np.take_along_axis(rank, best, 0)) & (
        (rank != 1) | (keyed == np.take_along_axis(keyed, best, 0))
    )  # fmt: skip
    nan = np.take_along_axis(rank, best, 0)[0] == 2
    first = np.where(nan, same.shape[0] - 1 - same[::-1].argmax(0), same.argmax(0))[None]
    return np.take_along_axis(values, first, 0)[0], np.take_along_axis(numbers, first, 0)[0]


def image(shape, kind, dtype, last):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(dtype)
    if kind == "ties":
        x = np.round(x)
    if kind == "least":
        x[rng.random(shape) < 0.9] = -np.inf
    if kind == "nan":
        x[rng.random(shape) < 0.02] = np.nan
    t = torch.from_numpy(x)
    return x, t.to(memory_format=torch.channels_last) if last else t


# shape, kernel, stride, padding, dilation
CASES = [
    ((2, 3, 8, 8), (2, 2), (2, 2), (0, 0), (1, 1)), ((2, 5, 17, 33), (3, 3), (2, 2), (1, 1), (1, 1)),
    ((1, 70, 9, 7), (3, 2), (1, 3), (1, 1), (2, 1)), ((3, 16, 40, 50), (5, 5), (3, 3), (2, 2), (1, 1)),
    ((1, 2, 300, 400), (3, 3), (1, 1), (1, 1), (1, 1)),
]  # fmt: skip


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kind", ["plain", "ties", "least", "nan"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_maximum(case, kind, last):
    shape, kernel, stride, padding, dilation = case
    x, t = image(shape, kind, np.float32, last)
    found, at = F.max_pool2d(t, kernel, stride, padding, dilation, return_indices=True)
    if kind == "nan":
        assert not torch.isnan(found).all()
    value, position = first_maximum(*windows(x, kernel, stride, padding, dilation, found.shape[2:], -np.inf))
    np.testing.assert_array_equal(found.numpy(), value)
    np.testing.assert_array_equal(at.numpy(), position)
    if last:
        assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", [c for c in CASES if c[4] == (1, 1)], ids=str)
def test_mean(case, dtype, last):
    shape, kernel, stride, padding, dilation = case
    x, t = image(shape, "plain", dtype, last)
    for counted in (True, False):
        found = F.avg_pool2d(t, kernel, stride, padding, count_include_pad=counted)
        values, _, valid = windows(x.astype(np.float64), kernel, stride, padding, dilation, found.shape[2:], 0)
        count = len(values) if counted else valid.sum(0)
        np.testing.assert_allclose(found.numpy(), values.sum(0) / count, rtol=1e-5, atol=1e-6)
    found = F.avg_pool2d(t, kernel, stride, padding, divisor_override=3)
    np.testing.assert_allclose(found.numpy(), values.sum(0) / 3, rtol=1e-5, atol=1e-6)


def test_ceiling_and_other_ranks():
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 3, 7, 8, 9)))
    found, at = F.max_pool3d(x, 3, 2, 1, return_indices=True)
    three = (3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1)
    value, position = first_maximum(*windows(x.numpy(), *three, found.shape[2:], -np.inf))
    np.testing.assert_array_equal(found.numpy(), value)
    np.testing.assert_array_equal(at.numpy(), position)
    row = torch.arange(10.0).reshape(1, 10)
    assert F.max_pool1d(row, 4, 4, ceil_mode=True).tolist() == [[3, 7, 9]]
    assert F.avg_pool1d(row, 4, 4, ceil_mode=True).tolist() == [[1.5, 5.5, 8.5]]
    assert F.max_pool2d(torch.zeros(0, 3, 4, 4), 2).shape == (0, 3, 2, 2)


def test_the_number_of_threads_changes_nothing():
    x = torch.randn(4, 8, 40, 40)
    w, d = torch.randn(32, 8, 3, 3), torch.randn(8, 1, 3, 3)
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            y = F.conv2d(x, d, padding=1, groups=8)
            results.append(
                [F.max_pool2d(x, 3, 2, 1), F.avg_pool2d(x, 2), y, F.conv2d(F.conv2d(y, w), torch.ones(32, 32, 3, 3))]
            )
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results))


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 5)])
@pytest.mark.parametrize("last", [False, True])
def test_adaptive(size, last):
    x, t = image((2, 5, 6, 10), "plain", np.float64, last)
    t.requires_grad_()
    mean, best = F.adaptive_avg_pool2d(t, size), F.adaptive_max_pool2d(t, size)
    for i, j in itertools.product(range(size[0]), range(size[1])):
        rows = slice(i * 6 // size[0], -(-(i + 1) * 6 // size[0]))
        part = x[:, :, rows, j * 10 // size[1] : -(-(j + 1) * 10 // size[1])]
        np.testing.assert_allclose(mean[:, :, i, j].detach().numpy(), part.mean((2, 3)), rtol=1e-12)
        np.testing.assert_array_equal(best[:, :, i, j].detach().numpy(), part.max((2, 3)))
    assert torch.autograd.gradcheck(lambda v: F.adaptive_avg_pool2d(v, size), [t])


def test_channels_last_goes_through_a_network():
    """Convolution, batch norm and pooling keep the memory format, with the values and gradients of the other one."""
    x = torch.randn(2, 8, 70, 65)
    w = torch.randn(16, 8, 3, 3, requires_grad=True)
    scale, shift = torch.rand(16).requires_grad_(), torch.randn(16, requires_grad=True)
    made = []
    for format_ in (torch.contiguous_format, torch.channels_last):
        v = x.to(memory_format=format_).requires_grad_()
        steps = [F.conv2d(v, w, padding=1)]
        steps.append(F.batch_norm(steps[-1], None, None, scale, shift, True))
        steps += [
            F.max_pool2d(steps[-1], 3, 2, 1),
            F.avg_pool2d(steps[-1], 2),
            F.adaptive_avg_pool2d(steps[-1], (7, 5)),
        ]
        assert all(s.is_contiguous(memory_format=format_) for s in steps)
        out = sum((s * s).sum() for s in steps[1:])
        made.append([*steps, *torch.autograd.grad(out, [v, w, scale, shift])])
    for a, b in zip(*made):
        a, b = a.detach().numpy(), b.detach().numpy()
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4 * np.abs(a).max())


@pytest.mark.parametrize("layout", ["rows", "last", "turned", "turned gradient"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding"),
    [
        ((2, 3, 9, 8), (3, 3), (2, 2), (1, 1)), ((1, 40, 12, 13), (2, 2), (2, 2), (0, 0)),
        ((40, 20, 6, 6), (3, 3), (1, 1), (1, 1)), ((2, 5, 20), (3,), (2,), (1,)),
        ((2, 3, 6, 7, 8), (2, 2, 2), (2, 2, 2), (0, 0, 0)),
    ],
)  # fmt: skip
def test_gradient_of_maxima(shape, kernel, stride, padding, dtype, layout):
    x, t = image(shape, "normal", dtype, layout == "last" and len(shape) == 4)
    if layout == "turned":
        t = t.transpose(-1, -2).contiguous().transpose(-1, -2)
    t.requires_grad_()
    y = getattr(F, f"max_pool{len(kernel)}d")(t, kernel, stride, padding)
    dy = np.random.default_rng(1).standard_normal(tuple(y.shape)).astype(dtype)
    g = torch.from_numpy(dy)
    y.backward(g.transpose(-1, -2).contiguous().transpose(-1, -2) if layout == "turned gradient" else g)
    values, numbers, valid = windows(x, kernel, stride, padding, (1,) * len(kernel), y.shape[2:], -np.inf)
    _, at = first_maximum(values, numbers, valid)
    exact = np.zeros((*shape[:2], math.prod(shape[2:])))
    n, c = np.ogrid[: shape[0], : shape[1]]
    np.add.at(exact, (n[..., None], c[..., None], at.reshape(*shape[:2], -1)), dy.reshape(*shape[:2], -1))
    np.testing.assert_allclose(t.grad.numpy(), exact.reshape(shape), rtol=1e-5, atol=1e-5)


def test_positions_outside_of_the_image():
    ones = torch.ones(1, 1, 2, 2)
    for position in (16, -1):
        with pytest.raises(IndexError, match="index out of range"):
            torch.ops.aten.max_pool2d_with_indices_backward(
                ones, torch.ones(1, 1, 4, 4), [2, 2], [2, 2], [0, 0], [1, 1], False, torch.full((1, 1, 2, 2), position)
            )
