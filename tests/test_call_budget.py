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

# Frames and builtins.  Four frames are the form itself, the allocation, the end of the storage and its release.
BUDGET: dict[str, tuple[Callable[[], Any], int, int]] = {
    "a + b": (lambda: a + b, 4, 5),
    "a * 2.0": (lambda: a * 2.0, 4, 5),
    "a.exp()": (lambda: a.exp(), 4, 5),
    "a.add_(b)": (lambda: target.add_(b), 1, 1),
    "a.mul_(0.5)": (lambda: target.mul_(0.5), 1, 1),
    "m.sum(1)": (lambda: m.sum(1), 4, 5),
    "softmax": (lambda: torch.softmax(m, -1), 6, 6),
    "m.t()": (lambda: m.t(), 5, 5),
    "m[1]": (lambda: m[1], 5, 5),
    "m.view(2, 8)": (lambda: m.view(2, 8), 6, 8),
    "m @ m": (lambda: m @ m, 4, 5),
    "torch.zeros(4)": (lambda: torch.zeros(4), 8, 7),
    "g + b": (lambda: g + b, 8, 11),
    "linear": (lambda: layer(m), 16, 13),
}


@pytest.mark.parametrize("name", BUDGET)
def test_a_cached_call_stays_within_its_budget(name: str) -> None:
    call, frames, builtins = BUDGET[name]
    found = cost(call)
    assert found[0] <= frames and found[1] <= builtins, f"{found} frames and builtins, {(frames, builtins)} allowed"
