"""Compiled functions that copy a view before an operator: the copy may be left out, the operator's kernel then finds
its operand as the view lies, and has to read it so or have it copied after all."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch
import flambeau.nn.functional as F

VIEWS = {
    "turned": lambda t: t.transpose(-1, -2).contiguous(),
    "every second column": lambda t: t[..., ::2].contiguous(),
    "turned, every second column": lambda t: t.transpose(-1, -2)[..., ::2].contiguous(),
    "every second row and column": lambda t: t[..., ::2, ::2].contiguous(),
    "first dimensions exchanged": lambda t: t.transpose(0, 1).contiguous(),
}
CALLS = {
    "sort": lambda x: x.sort(-1)[0],
    "sort along the first dimension": lambda x: x.sort(0)[1],
    "topk": lambda x: x.topk(2)[0],
    "median": lambda x: x.median(-1)[0],
    "cumsum": lambda x: x.cumsum(0),
    "cummax": lambda x: x.cummax(-1)[0],
    "softmax": lambda x: x.softmax(-1),
    "layer_norm": lambda x: F.layer_norm(x, x.shape[-1:]),
    "matmul": lambda x: x @ x.mT,
    "fft": lambda x: torch.fft.fft(x).abs(),
    "cdist": lambda x: torch.cdist(x, x),
    "bessel_y0": lambda x: torch.special.bessel_y0(x.abs() + 1),
    "masked_select": lambda x: x[x > 0],
    "searchsorted": lambda x: torch.searchsorted(x.sort(-1)[0], x),
    "embedding_bag": lambda x: F.embedding_bag(torch.tensor([0, 1, 2, 1]), x.flatten(0, -2), torch.tensor([0, 1])),
    "embedding_bag of bags of one length": lambda x: F.embedding_bag(torch.tensor([[0, 1], [2, 1]]), x.flatten(0, -2)),
    "inverse": lambda x: torch.linalg.inv(x @ x.mT + 9 * torch.eye(x.shape[-2])),
    "inverse of a corner": lambda x: torch.linalg.inv(x[..., :3, :3] + 4 * torch.eye(3)),
    "cholesky": lambda x: torch.linalg.cholesky(x @ x.mT + 9 * torch.eye(x.shape[-2])),
    "triangular": lambda x: torch.linalg.solve_triangular(x[..., :3, :3] + 4 * torch.eye(3), x[..., :3, :], upper=True),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "convolution": lambda x: F.conv2d(x.reshape(1, 1, -1, x.shape[-1]), torch.ones(2, 1, 3, 3), padding=1),
    "pooling": lambda x: F.max_pool2d(x.reshape(1, 1, -1, x.shape[-1]), 2),
    "unpooling": lambda x: F.max_unpool2d(*F.max_pool2d(x.reshape(1, 1, -1, x.shape[-1]), 2, return_indices=True), 2),
    "histogram": lambda x: x.histc(10, -3, 3),
}


@pytest.mark.parametrize("shape", [(8, 8), (4, 6, 8, 8)], ids=str)
@pytest.mark.parametrize("view", VIEWS)
def test_operands_that_were_copied(view: str, shape: tuple[int, ...]) -> None:
    x = torch.tensor(np.random.default_rng(1).standard_normal(shape).astype(np.float32))
    for name, call in CALLS.items():

        def program(x, call=call):
            return call(VIEWS[view](x))

        expected, found = program(x), torch.compile(program)(x)
        assert found.shape == expected.shape, name
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=2e-4, atol=2e-4, err_msg=name)
