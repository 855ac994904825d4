"""Calls in place on memory that they also read are refused as PyTorch refuses them, and never computed half-way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import flambeau as torch

REFUSED: dict[str, Callable[[torch.Tensor], object]] = {
    "transposed": lambda y: y.add_(y.t()), "through data": lambda y: y.data.add_(y.t()),
    "into data": lambda y: y.add_(y.t().data), "rows": lambda y: y[1:].mul_(y[:-1]), "row": lambda y: y.add_(y[0]),
    "element": lambda y: y.sub_(y[0, 0]), "copy": lambda y: y.copy_(y.t()), "slices": lambda y: y[1:].copy_(y[:-1]),
    "lerp": lambda y: y.lerp_(y.t(), 0.5), "addcmul": lambda y: y.addcmul_(y.t(), y),
    "comparison": lambda y: y.gt_(y.t()), "quotient": lambda y: y[1:].div_(y[:-1]),
    "rounded quotient": lambda y: y[1:].div_(y[:-1], rounding_mode="floor"), "power": lambda y: y.pow_(y.t()),
    "logic": lambda y: y.logical_and_(y.t()), "put": lambda y: y[1:].put_(torch.arange(12), y[:-1]),
    "index_add": lambda y: y[1:].index_add_(0, torch.arange(3), y[:-1]),
    "index_copy": lambda y: y[1:].index_copy_(0, torch.arange(3), y[:-1]),
    "scatter": lambda y: y[1:].scatter_(0, torch.zeros(3, 4, dtype=torch.int64), y[:-1]),
    "scatter_add": lambda y: y[1:].scatter_add_(0, torch.zeros(3, 4, dtype=torch.int64), y[:-1]),
    "index_put": lambda y: y[1:].index_put_((torch.arange(3),), y[:-1]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    for run in (REFUSED[name], torch.compile(REFUSED[name])):
        y = torch.arange(16.0).reshape(4, 4)
        for _ in range(3):
            with pytest.raises(RuntimeError, match="refer to a single memory location"):
                run(y)
        assert y.tolist() == torch.arange(16.0).reshape(4, 4).tolist()


def test_what_does_not_meet_is_computed() -> None:
    y = torch.arange(16.0).reshape(4, 4)
    assert y[:, ::2].add_(y[:, 1::2]).tolist() == [[1, 5], [9, 13], [17, 21], [25, 29]]
    assert y[:2].add_(y[2:])[0].tolist() == [18, 10, 26, 14]
    assert y.add_(y)[3].tolist() == [50, 26, 58, 30]
    assert y.data.add_(y)[3].tolist() == [100, 52, 116, 60]
