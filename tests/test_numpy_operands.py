"""Tensors and arrays of numpy on the two sides of a symbol: numpy computes, and the result is a tensor."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest

import flambeau

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # of PyTorch's

X = np.array([[-1.5, 0.0, 2.25], [0.5, -0.25, 3.0]], np.float32)
SYMBOLS = {name: getattr(operator, name) for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "eq")}


def same(ours: Any, theirs: Any) -> None:
    assert (
        isinstance(ours, flambeau.Tensor) and isinstance(theirs, torch.Tensor) and str(ours.dtype) == str(theirs.dtype)
    )
    np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_an_array_on_the_right(symbol: str, dtype: Any) -> None:
    array = np.array([[1, 2, 3], [2, 1, 3]], dtype)
    with np.errstate(all="ignore"):
        same(*(SYMBOLS[symbol](m.tensor(X), array) for m in (flambeau, torch)))


def test_an_array_on_the_left_of_a_quotient_or_a_comparison() -> None:
    array = np.full((2, 3), 2, np.float32)
    for symbol in (operator.truediv, operator.eq):
        with np.errstate(all="ignore"):
            same(*(symbol(array, m.tensor(X)) for m in (flambeau, torch)))


def test_bits_products_and_numbers_of_no_dimension() -> None:
    array = np.arange(3)
    same(*(m.tensor(X).long() & array for m in (flambeau, torch)))
    same(*((m.tensor(X) > 0) & (X > 0) for m in (flambeau, torch)))
    same(*(m.tensor(X) @ X.T for m in (flambeau, torch)))
    same(*(m.tensor(X) * np.array(2.0) for m in (flambeau, torch)))


def test_in_place_the_name_gets_a_new_tensor() -> None:
    x = y = flambeau.tensor(X)
    y += X
    assert y is not x and isinstance(y, flambeau.Tensor)
    np.testing.assert_array_equal(y.numpy(), 2 * X)
    np.testing.assert_array_equal(x.numpy(), X)


def test_methods_and_functions_refuse_arrays() -> None:
    for call in (lambda: flambeau.add(flambeau.tensor(X), X), lambda: flambeau.tensor(X).add_(X)):
        with pytest.raises(TypeError, match="must be Tensor, not ndarray"):
            call()
