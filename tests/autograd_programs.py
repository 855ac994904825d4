"""Small programs that must do the same in flambeau and in PyTorch, down to the errors they raise.

A program is a function of the module that it calls ``torch``.  ``check`` runs it with both and compares what it
returned: tensors by type, shape, values and whether they require grad, nodes by name, exceptions by class and text.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau

Program = Callable[[Any], Any]


class Programs:
    """A list of programs; the decorator ``add`` appends one."""

    def __init__(self) -> None:
        self.all: list[Any] = []

    def add(self, program: Program) -> Program:
        self.all.append(pytest.param(program, id=program.__name__))
        return program


def describe(value: Any) -> Any:
    """Something that compares equal for the same value of both packages."""
    kind = type(value).__module__.split(".")[0]
    if hasattr(value, "requires_grad") and hasattr(value, "detach"):
        array = value.detach().numpy()
        return ("tensor", str(value.dtype), tuple(value.shape), bool(value.requires_grad), array)
    if hasattr(value, "next_functions"):
        return ("node", value.name())
    if isinstance(value, dict):
        return {key: describe(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [describe(item) for item in value]
    if kind in ("torch", "flambeau"):
        return str(value)
    return value


def run(program: Program, package: Any) -> Any:
    """What the program returned, or the class and text of its exception."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return describe(program(package))
        except Exception as error:
            return ("raised", type(error).__name__, str(error))


def same(one: Any, two: Any) -> bool:
    if isinstance(one, np.ndarray):
        return isinstance(two, np.ndarray) and np.allclose(one, two, rtol=1e-5, atol=1e-6, equal_nan=True)
    if isinstance(one, (list, tuple)):
        return isinstance(two, (list, tuple)) and len(one) == len(two) and all(same(a, b) for a, b in zip(one, two))
    if isinstance(one, dict):
        return isinstance(two, dict) and one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    return type(one) is type(two) and one == two


def check(program: Program) -> None:
    """Fails unless both packages do the same."""
    torch = pytest.importorskip("torch")
    expected, found = run(program, torch), run(program, flambeau)
    if isinstance(expected, tuple) and isinstance(found, tuple) and expected[:1] == found[:1] == ("raised",):
        # The same class; the message may go on with the values and a remedy.
        assert expected[1] == found[1] and found[2].startswith(expected[2]), f"PyTorch: {expected}\nflambeau: {found}"
        return
    assert same(expected, found), f"PyTorch: {expected}\nflambeau: {found}"
