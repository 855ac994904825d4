"""Counters of a program, and the loggers that keep or drop them."""

from __future__ import annotations

import enum
import threading
from typing import Any

__all__ = ["AVG", "SUM", "AggregationType", "LockingLogger", "NoopLogger", "add_stat_value", "set_logger"]


class AggregationType(enum.Enum):
    """Whether a counter is the sum of what was added to it, or the mean."""

    SUM = 0
    AVG = 1


SUM, AVG = AggregationType.SUM, AggregationType.AVG


class LockingLogger:
    """Keeps counters, also for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[str, list[int]] = {}
        self._how: dict[str, Any] = {}

    def set_aggregation_type(self, arg0: str, arg1: AggregationType) -> None:
        """Says whether the counter ``arg0`` is a sum (the default) or a mean."""
        self._how[arg0] = arg1

    def get_counter_val(self, arg0: str) -> int:
        """What a counter stands at; 0 if nothing was added."""
        with self._lock:
            total, count = self._counters.get(arg0, (0, 0))
        return total // count if count and self._how.get(arg0) is AVG else total

    def _add(self, name: str, value: int) -> None:
        with self._lock:
            entry = self._counters.setdefault(name, [0, 0])
            entry[0] += value
            entry[1] += 1


class NoopLogger:
    """Drops what is added."""

    def _add(self, name: str, value: int) -> None:
        return None


_current: list[Any] = [NoopLogger()]


def set_logger(logger: Any) -> Any:
    """Makes a logger the one that counts; returns the one before."""
    before, _current[0] = _current[0], logger
    return before


def add_stat_value(name: str, value: int) -> None:
    """Adds to a counter of the current logger."""
    _current[0]._add(name, value)
