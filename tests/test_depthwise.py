"""Convolutions of single channels with small windows, and their gradients by the image, against PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch
from flambeau import settings
from flambeau.nn import functional as F

# batch, channels, height, width, results a channel, window, stride, padding
CASES = [
    (1, 32, 14, 14, 1, (3, 3), 1, 1),
    (2, 5, 7, 9, 1, (3, 3), 1, 1),
    (1, 4, 33, 40, 2, (3, 3), 2, 1),
    (2, 3, 20, 17, 1, (5, 5), 1, 2),
    (1, 6, 23, 31, 1, (5, 5), 2, (2, 1)),
    (1, 3, 30, 30, 1, (7, 7), 1, 3),
    (1, 4, 9, 50, 1, (1, 3), 1, 0),
    (1, 4, 9, 9, 1, (3, 1), 2, 0),
    (1, 4, 5, 5, 1, (3, 3), 1, 4),  # rows and columns that see the border only
    (1, 4, 4, 4, 1, (4, 2), 1, 1),
    (1, 3, 8, 130, 1, (2, 2), (3, 1), 0),
    (1, 2, 1, 1, 1, (1, 1), 1, 0),
    (2, 4, 15, 29, 1, (7, 7), 2, 3),
    (1, 4, 19, 12, 1, (3, 3), 1, 0),
    (1, 3, 11, 70, 1, (6, 4), (1, 2), (0, 1)),
    (1, 2, 61, 120, 1, (3, 3), 1, 1),  # in bands
    (1, 2, 90, 130, 1, (3, 3), 2, 1),
]


@pytest.mark.parametrize("isa", ["native", "avx2"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward_and_gradient_by_the_image(case, isa):
    reference = pytest.importorskip("torch")
    n, c, h, w, m, window, stride, padding = case
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, c, h, w)).astype(np.float32)
    weight = rng.standard_normal((c * m, 1, *window)).astype(np.float32)
    bias = rng.standard_normal(c * m).astype(np.float32)
    found = []
    with settings.override(isa=isa):
        for lib, conv in ((torch, F.conv2d), (reference, reference.nn.functional.conv2d)):
            image = lib.tensor(x, requires_grad=True)
            y = conv(image, lib.tensor(weight), lib.tensor(bias), stride, padding, 1, c)
            y.backward(lib.tensor(np.cos(np.arange(y.numel(), dtype=np.float32)).reshape(tuple(y.shape))))
            found.append((y.detach().numpy(), image.grad.numpy()))
    for ours, theirs in zip(*found):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-5)


def test_borders_are_zeros_also_beside_nan_and_at_the_edge_of_memory():
    x = torch.full((1, 2, 6, 6), float("nan"))
    x[:, :, 1:-1, 1:-1] = 1
    y = F.conv2d(x[:, :, 1:-1, 1:-1], torch.ones(2, 1, 3, 3), padding=1, groups=2)
    expected = np.outer([2, 3, 3, 2], [2, 3, 3, 2])
    np.testing.assert_array_equal(y.numpy(), np.broadcast_to(expected, (1, 2, 4, 4)))


def test_the_number_of_threads_does_not_matter():
    x, w = torch.randn(2, 96, 28, 28), torch.randn(96, 1, 3, 3)
    had = torch.get_num_threads()
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append(F.conv2d(x, w, padding=1, groups=96).numpy().copy())
    torch.set_num_threads(had)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    "tail",
    [lambda y, r: F.relu6(y), lambda y, r: F.hardswish(y + r), lambda y, r: (y * r).sum(1), lambda y, r: r.add_(y)],
)
def test_what_follows_joins_it(tail):
    x, w, r = torch.randn(2, 6, 15, 21), torch.randn(6, 1, 3, 3), torch.randn(2, 6, 15, 21)

    def program(x):
        return tail(F.conv2d(x, w, padding=1, groups=6) * 0.5, r)

    with torch.no_grad():
        kept = r.clone()
        expected = program(x).numpy().copy()
        r.copy_(kept)
        np.testing.assert_allclose(torch.compile(program)(x).numpy(), expected, rtol=1e-5, atol=1e-5)
