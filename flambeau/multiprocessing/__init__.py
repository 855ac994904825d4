"""Python's ``multiprocessing``, with tensors that travel as shared memory, and ``spawn`` of many processes at once."""

from __future__ import annotations

import multiprocessing as _python
import sys as _sys
from multiprocessing import *  # noqa: F403
from multiprocessing import reducer as reducer

from . import reductions as reductions
from .spawn import ENV_VAR_PARALLEL_START as ENV_VAR_PARALLEL_START
from .spawn import (
    ProcessContext,
    ProcessException,
    ProcessExitedException,
    ProcessRaisedException,
    SpawnContext,
    spawn,
    start_processes,
)

__all__ = [
    *_python.__all__, "ProcessContext", "ProcessException", "ProcessExitedException", "ProcessRaisedException",
    "SpawnContext", "get_all_sharing_strategies", "get_sharing_strategy", "set_sharing_strategy", "spawn",
    "start_processes",
]  # fmt: skip

reductions.init_reductions()

_STRATEGIES = {"file_descriptor"} if _sys.platform != "win32" else {"file_system"}
_strategy = next(iter(_STRATEGIES))


def get_all_sharing_strategies() -> set[str]:
    """The ways of sharing memory that there are: by the descriptor of an anonymous file."""
    return set(_STRATEGIES)


def get_sharing_strategy() -> str:
    """The way of sharing memory that is in use."""
    return _strategy


def set_sharing_strategy(new_strategy: str) -> None:
    """Sets the way of sharing memory; raises AssertionError for one that there is not."""
    if new_strategy not in _STRATEGIES:
        raise AssertionError(f"invalid sharing strategy {new_strategy!r}; there are {sorted(_STRATEGIES)}")
