"""The default generator of random numbers: seeds and states (PyTorch's ``torch.random``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from .device import of as _usable
from .generator import Generator, default_generator
from .tensor import Tensor

__all__ = [
    "default_generator", "fork_rng", "get_rng_state", "initial_seed", "manual_seed", "seed", "set_rng_state",
    "thread_safe_generator",
]  # fmt: skip


def manual_seed(seed: Any) -> Generator:
    """Seeds the default generator with ``int(seed)`` and returns it: the stream is then PyTorch's for that seed.

    Raises ValueError for a seed that is not from -2**63 to 2**64 - 1; a negative one stands for itself plus 2**64.
    """
    return default_generator.manual_seed(int(seed))


def seed() -> int:
    """Seeds the default generator from the operating system; returns the seed."""
    return default_generator.seed()


def initial_seed() -> int:
    """The seed that the default generator was last given."""
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The state of the default generator, a uint8 tensor of 5056 elements in PyTorch's format."""
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Continues from a state that ``get_rng_state`` (or PyTorch's) returned; raises as ``Generator.set_state``."""
    default_generator.set_state(new_state)


@contextmanager
def fork_rng(
    devices: Iterable[Any] | None = None,
    enabled: bool = True,
    _caller: str = "fork_rng",
    _devices_kw: str = "devices",
    device_type: str | None = None,
) -> Iterator[None]:
    """Inside the ``with`` block draws leave no trace: afterwards the default generator continues where it was.

    ``enabled=False`` does nothing.  ``devices`` names further devices whose generators are kept; raises RuntimeError
    for one that is not available.
    """
    if not enabled:
        yield
        return
    for device in devices or ():
        _usable(device)
    state = default_generator.snapshot()
    try:
        yield
    finally:
        default_generator.restore(state)


def thread_safe_generator() -> Generator | None:
    """The generator to be used by a thread that must not share the default one: None, as every draw is locked."""
    return None
