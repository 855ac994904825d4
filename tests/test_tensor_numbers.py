"""Tensors of one element where an operator takes a number that is part of its plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau as torch

F = torch.nn.functional
one, two = torch.tensor(1), torch.tensor(2)

CASES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "sum": lambda x, i, n: x.sum(i),
    "sum of two": lambda x, i, n: x.sum((i, n)),
    "softmax": lambda x, i, n: x.softmax(i),
    "cat": lambda x, i, n: torch.cat([x, x], i),
    "stack": lambda x, i, n: torch.stack([x, x], i),
    "roll": lambda x, i, n: x.roll(n, i),
    "topk": lambda x, i, n: x.topk(n, i)[0],
    "cumsum": lambda x, i, n: x.cumsum(i),
    "diag": lambda x, i, n: torch.diag(x[0], i),
    "tril": lambda x, i, n: torch.tril(x[0], i),
    "movedim": lambda x, i, n: x.movedim(i, n),
    "as_strided": lambda x, i, n: x.as_strided((n, n), (i, n)),
    "eye": lambda x, i, n: torch.eye(n),
    "linspace": lambda x, i, n: torch.linspace(0, 1, n),
    "logspace": lambda x, i, n: torch.logspace(0, 1, n),
    "zeros": lambda x, i, n: torch.zeros(n, i),
    "var": lambda x, i, n: x.var(i),
    "hardtanh": lambda x, i, n: F.hardtanh(x, i * 0.5, n * 1.0),
    "max_pool1d": lambda x, i, n: F.max_pool1d(x, n, stride=i),
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_as_with_numbers(name: str) -> None:
    x = torch.arange(24.0).reshape(2, 3, 4)
    expected = CASES[name](x, 1, 2)
    for i, n in [(one, two), (torch.tensor([1]), two)]:
        if name not in ("eye", "linspace", "logspace", "zeros"):
            np.testing.assert_array_equal(CASES[name](x, i, n).numpy(), expected.numpy())
    np.testing.assert_array_equal(CASES[name](x, one, two).numpy(), expected.numpy())


def test_gradient_of_a_window() -> None:
    x = torch.arange(6.0, requires_grad=True)
    x.as_strided((two, two), (one, two)).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1, 1, 1, 1, 0, 0])


def test_more_elements_are_refused() -> None:
    with pytest.raises(TypeError, match=r"sum.*'dim'.*shape \[2\]"):
        torch.ones(2, 2).sum(torch.tensor([0, 1]))
