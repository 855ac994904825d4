"""Programs run with PyTorch and with flambeau, and their results compared."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau

torch = pytest.importorskip("torch")

PACKAGES = (torch, flambeau)


def plain(value: Any) -> Any:
    """A result in a form that does not say which package it is from."""
    if isinstance(value, (torch.Tensor, flambeau.Tensor)):
        array = value.detach()
        kind = str(array.dtype)
        if kind == "torch.bfloat16":
            array = array.float()
        return (kind, np.array(array.numpy()))
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, (bool, int, float, str, type(None))):
        return neutral(value) if isinstance(value, str) else value
    return neutral(repr(value))


def neutral(text: str) -> str:
    """A text without the package's name."""
    return text.replace("flambeau", "torch")


def outcome(package: Any, program: Callable[[Any], Any]) -> Any:
    """What ``program(package)`` gives, or the class and text of its exception."""
    random.seed(0)
    package.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return plain(program(package))
        except Exception as error:
            return ["raised", type(error).__name__, neutral(str(error))]


def same(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two results agree, numbers up to rounding."""
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b) == 2 and isinstance(a[1], np.ndarray):
        return (
            a[0] == b[0]
            and a[1].shape == b[1].shape
            and np.allclose(a[1], b[1], rtol=tolerance, atol=tolerance, equal_nan=True)
        )
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[k], b[k], tolerance) for k in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same(x, y, tolerance) for x, y in zip(a, b))
    if isinstance(a, float) and isinstance(b, float):
        return bool(np.isclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True))
    return bool(a == b)


def check(program: Callable[[Any], Any], tolerance: float = 1e-5) -> None:
    """``program`` gives the same with both packages, exceptions included."""
    expected, got = (outcome(package, program) for package in PACKAGES)
    assert same(expected, got, tolerance), f"\nPyTorch:  {expected}\nflambeau: {got}"


def from_numpy(package: Any, array: Any, requires_grad: bool = False) -> Any:
    """A tensor with a copy of the array's values."""
    tensor = package.from_numpy(np.array(array))
    return tensor.requires_grad_() if requires_grad else tensor
