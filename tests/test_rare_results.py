"""Results that only rare arguments have, as PyTorch gives them."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch
import flambeau.nn.functional as F


def test_positions_of_small_types_become_indices_of_64_bits() -> None:
    rows, columns = torch.unravel_index(torch.tensor([200], dtype=torch.uint8), (400, 3))
    assert (rows.dtype, rows.tolist(), columns.tolist()) == (torch.int64, [66], [2])


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("align", [False, True])
def test_images_of_bytes_are_resized_bit_for_bit(mode: str, antialias: bool, align: bool) -> None:
    reference = pytest.importorskip("torch")
    draw = np.random.default_rng(3)
    for shape, to in (
        ((1, 2, 5, 6), (7, 9)),
        ((2, 3, 9, 8), (3, 4)),
        ((1, 7, 11, 13), (11, 40)),
        ((1, 1, 3, 2), (9, 1)),
    ):
        image = draw.integers(0, 256, shape).astype(np.uint8)
        options = {"size": to, "mode": mode, "antialias": antialias, "align_corners": align}
        wanted = reference.nn.functional.interpolate(reference.from_numpy(image), **options).numpy()
        np.testing.assert_array_equal(F.interpolate(torch.from_numpy(image), **options).numpy(), wanted)
        if not align:
            wanted = reference.nn.functional.interpolate(
                reference.from_numpy(image), scale_factor=1.7, mode=mode, antialias=antialias
            ).numpy()
            found = F.interpolate(torch.from_numpy(image), scale_factor=1.7, mode=mode, antialias=antialias)
            np.testing.assert_array_equal(found.numpy(), wanted)


def test_batch_norm_of_nothing() -> None:
    for training in (False, True):
        assert F.batch_norm(torch.ones(0), torch.ones(0), torch.ones(0), training=training).shape == (0,)
    with pytest.raises(RuntimeError, match="expected 2D or higher"):
        F.batch_norm(torch.ones(3), torch.ones(3), torch.ones(3))


def test_results_given_on_another_device() -> None:
    for make in (torch.zeros, torch.ones, torch.empty):
        with pytest.raises(RuntimeError, match="device type meta does not match device type of out parameter"):
            make(2, out=torch.ones(2), device="meta")
        assert make(3, out=torch.ones(2), device="cpu").shape == (3,)


def test_second_derivatives_of_products_with_zeros() -> None:
    """Of every kind: no zero, one, several, of the input and of what is scattered."""
    index = torch.tensor([0, 1, 1, 2, 3, 3, 4, 4, 5])

    def product(x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        return x.scatter_reduce(0, index, s, "prod")

    x = torch.tensor([2.0, 0.0, 3.0, 0.0, 0.0, -1.0], dtype=torch.float64, requires_grad=True)
    s = torch.tensor([0.0, 2.0, 0.0, 4.0, 0.0, 3.0, 0.0, 0.0, 5.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(product, (x, s))
    assert torch.autograd.gradgradcheck(product, (x, s))


def test_sparse_gradients_of_gather() -> None:
    x = torch.arange(6.0).reshape(2, 3).requires_grad_()
    weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    (x.gather(-1, torch.tensor([[0, 0], [1, 2]]), sparse_grad=True) * weight).sum().backward()
    assert x.grad is not None and x.grad.is_sparse
    assert x.grad._indices().tolist() == [[0, 0, 1, 1], [0, 0, 1, 2]]
    assert x.grad._values().tolist() == [1, 2, 3, 4]
    assert x.grad.to_dense().tolist() == [[3, 0, 0], [0, 3, 4]]
    y = torch.arange(6.0).requires_grad_()
    y.gather(0, torch.tensor(2), sparse_grad=True).backward()
    assert y.grad is not None and y.grad.to_dense().tolist() == [0, 0, 1, 0, 0, 0]
    short = torch.arange(6.0).reshape(2, 3).requires_grad_()
    torch.gather(short**2, 0, torch.tensor([[1, 0]]), sparse_grad=True).sum().backward()
    assert short.grad is not None and short.grad.to_dense().tolist() == [[0, 2, 0], [6, 0, 0]]
