"""What a cached call costs, counted and not timed: Python frames entered and builtin functions called.

``a + b`` is to stay at the price of a dictionary look-up, an allocation and a native call.  Whoever adds a frame to
the path of every operator finds it here, and not in somebody's training loop.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

import flambeau as torch


def cost(call: Callable[[], Any]) -> tuple[int, int]:
    """(Python frames, builtin functions) of a call that has been made before; a result is freed within it."""
    for _ in range(3):
        call()
    counts = {"call": 0, "c_call": 0}

    def count(frame: Any, event: str, argument: Any) -> None:
        if event in counts:
            counts[event] += 1

    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(None)
    return counts["call"] - 1, counts["c_call"] - 1  # without ``call`` itself and the end of the profile


a, b, m = torch.ones(4), torch.ones(4), torch.ones(4, 4)
g = torch.ones(4, requires_grad=True)
target = torch.ones(4)
layer = torch.nn.Linear(4, 4)
F = torch.nn.functional

# Frames and builtins.  The frame is the form itself; the builtins are the storage's maker, the kernel, the new tensor.
BUDGET: dict[str, tuple[Callable[[], Any], int, int]] = {
    "a + b": (lambda: a + b, 1, 3),
    "a * 2.0": (lambda: a * 2.0, 1, 3),
    "a.exp()": (lambda: a.exp(), 1, 3),
    "a.add_(b)": (lambda: target.add_(b), 1, 1),
    "a.mul_(0.5)": (lambda: target.mul_(0.5), 1, 1),
    "m.sum(1)": (lambda: m.sum(1), 1, 3),
    "softmax": (lambda: torch.softmax(m, -1), 3, 4),
    "m.t()": (lambda: m.t(), 2, 4),
    "m[1]": (lambda: m[1], 2, 4),
    "m.view(2, 8)": (lambda: m.view(2, 8), 2, 6),
    "m.chunk(2)": (lambda: m.chunk(2), 7, 10),
    "m @ m": (lambda: m @ m, 1, 3),
    "torch.zeros(4)": (lambda: torch.zeros(4), 4, 5),  # one frame asks whether a mode is entered
    "torch.zeros_like(a)": (lambda: torch.zeros_like(a), 5, 6),
    "torch.randn(4)": (lambda: torch.randn(4), 7, 7),
    "g + b": (lambda: g + b, 5, 9),
    "linear": (lambda: layer(m), 13, 11),
}


@pytest.mark.parametrize("name", BUDGET)
def test_a_cached_call_stays_within_its_budget(name: str) -> None:
    call, frames, builtins = BUDGET[name]
    found = cost(call)
    assert found[0] <= frames and found[1] <= builtins, f"{found} frames and builtins, {(frames, builtins)} allowed"
