"""Random numbers on CUDA devices: seeds are taken and have nobody to use them."""

from __future__ import annotations

from ..absent import define
from ._absent import need

__all__ = ["set_rng_state_all"]

define(
    globals(),
    need,
    """
    get_rng_state(device="cuda")
    initial_seed()
    set_rng_state(new_state, device="cuda")
    """,
    {
        "get_rng_state_all()": [],
        "manual_seed(seed)": None,
        "manual_seed_all(seed)": None,
        "seed()": None,
        "seed_all()": None,
    },
)


def set_rng_state_all(new_states: list[object]) -> None:
    """Sets the state of every device; raises AssertionError for more than none."""
    if list(new_states):
        need()
