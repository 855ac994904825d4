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


def same_exception(expected: Any, got: Any) -> bool:
    """Whether both raised the same class, ours with PyTorch's message, to which it may add values and a remedy."""
    if not (isinstance(expected, list) and isinstance(got, list)):
        return False
    return expected[:2] == got[:2] and len(got) == 3 and bool(got[2].startswith(expected[2]))


def difference(a: Any, b: Any, tolerance: float, where: str = "result") -> str:
    """Where and how two results differ (numbers: by more than rounding), or ""."""
    if isinstance(a, dict) and isinstance(b, dict) and list(a) == list(b):
        parts = [(f"{where}[{key!r}]", a[key], b[key]) for key in a]
    elif isinstance(a, tuple) and isinstance(b, tuple) and isinstance(a[1], np.ndarray):
        if a[0] != b[0] or a[1].shape != b[1].shape:
            return f"{where}: PyTorch's is {a[0]} {a[1].shape}, flambeau's {b[0]} {b[1].shape}"
        if np.allclose(a[1], b[1], rtol=tolerance, atol=tolerance, equal_nan=True):
            return ""
        return f"{where}: PyTorch:\n{a[1]}\nflambeau:\n{b[1]}"
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        parts = [(f"{where}[{i}]", x, y) for i, (x, y) in enumerate(zip(a, b))]
    elif isinstance(a, float) and isinstance(b, float) and np.isclose(a, b, rtol=tolerance, atol=tolerance):
        return ""
    else:
        return "" if a is b or (type(a) is type(b) and a == b) else f"{where}:\nPyTorch:  {a}\nflambeau: {b}"
    return next(filter(None, (difference(x, y, tolerance, place) for place, x, y in parts)), "")


def check(program: Callable[[Any], Any], tolerance: float = 1e-5) -> None:
    """``program`` gives the same with both packages, exceptions included."""
    expected, got = (outcome(package, program) for package in PACKAGES)
    raised = [each[:1] == ["raised"] for each in (expected, got) if isinstance(each, list)]
    if any(raised):
        assert same_exception(expected, got), f"\nPyTorch:  {str(expected)[:500]}\nflambeau: {str(got)[:500]}"
        return
    found = difference(expected, got, tolerance)
    assert not found, found


def from_numpy(package: Any, array: Any, requires_grad: bool = False) -> Any:
    """A tensor with a copy of the array's values."""
    tensor = package.from_numpy(np.array(array))
    return tensor.requires_grad_() if requires_grad else tensor
