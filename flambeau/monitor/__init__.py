"""Events and statistics of a running program, handed to whoever registered for them."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

__all__ = [
    "STAT_EVENT", "Aggregation", "Event", "EventHandlerHandle", "Stat", "TensorboardEventHandler", "data_value_t",
    "log_event", "register_event_handler", "unregister_event_handler",
]  # fmt: skip

STAT_EVENT = "torch.monitor.Stat"
data_value_t = int | float | bool | str
_lock = threading.Lock()


class Aggregation(enum.Enum):
    """What a statistic says of the numbers of an interval."""

    VALUE, MEAN, COUNT, SUM, MAX, MIN = 0, 2, 3, 4, 5, 6


VALUE, MEAN, COUNT = Aggregation.VALUE, Aggregation.MEAN, Aggregation.COUNT
SUM, MAX, MIN = Aggregation.SUM, Aggregation.MAX, Aggregation.MIN


class Event:
    """Something that happened: a name, when, and plain values by name.

    Raises TypeError for values other than numbers, booleans and text.
    """

    def __init__(self, name: str, timestamp: datetime, data: dict[str, data_value_t]) -> None:
        for key, value in data.items():
            if not isinstance(value, (int, float, bool, str)):
                raise TypeError(f"Event: the value of {key!r} must be a number, bool or str, got {type(value)}")
        self.name, self.timestamp, self.data = name, timestamp, dict(data)


class EventHandlerHandle:
    """What ``register_event_handler`` gives back."""

    def __init__(self, callback: Callable[[Event], Any]) -> None:
        self._callback = callback


_handlers: list[EventHandlerHandle] = []


def register_event_handler(callback: Callable[[Event], Any]) -> EventHandlerHandle:
    """Calls ``callback`` with every event from now on."""
    handle = EventHandlerHandle(callback)
    _handlers.append(handle)
    return handle


def unregister_event_handler(handler: EventHandlerHandle) -> None:
    """Ends a registration."""
    _handlers[:] = [h for h in _handlers if h is not handler]


def log_event(event: Event) -> None:
    """Hands an event to all handlers."""
    for handler in tuple(_handlers):
        handler._callback(event)


def _aggregate(values: Sequence[float], how: Aggregation) -> float:
    if how is COUNT:
        return float(len(values))
    if not values:
        return 0.0
    if how is VALUE:
        return values[-1]
    total = sum(values)
    return {MEAN: total / len(values), SUM: total, MAX: max(values), MIN: min(values)}[how]


class Stat:
    """Numbers gathered over intervals of ``window_size``.

    When a number comes after an interval has ended (or the interval has ``max_samples`` numbers), what the interval had
    becomes what ``get`` returns and is logged as an event ``torch.monitor.Stat``.
    """

    def __init__(
        self, name: str, aggregations: Sequence[Aggregation], window_size: timedelta, max_samples: int | None = None
    ) -> None:
        self.name = name
        self._how = list(aggregations)
        self._window, self._most = window_size.total_seconds(), max_samples
        self._values: list[float] = []
        self._last: list[float] = []
        self._until = time.monotonic() + self._window

    @property
    def count(self) -> int:
        """How many numbers the running interval has."""
        self._turn()
        return len(self._values)

    def _turn(self) -> None:
        now = time.monotonic()
        full = self._most is not None and len(self._values) >= self._most
        if now < self._until and not full:
            return
        self._last, self._values = self._values, []
        self._until = now + self._window
        if self._last:
            data: dict[str, Any] = {f"{self.name}.{h.name.lower()}": _aggregate(self._last, h) for h in self._how}
            log_event(Event(STAT_EVENT, datetime.now(), data))

    def add(self, v: float) -> None:
        """Adds a number."""
        with _lock:
            self._turn()
            self._values.append(float(v))

    def get(self) -> dict[Aggregation, float]:
        """What the last whole interval had; 0 before there was one."""
        with _lock:
            self._turn()
        return {h: _aggregate(self._last, h) for h in self._how}


class TensorboardEventHandler:
    """Writes statistics as scalars to a ``SummaryWriter``; register it with ``register_event_handler``."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def __call__(self, event: Event) -> None:
        if event.name == STAT_EVENT:
            for key, value in event.data.items():
                self._writer.add_scalar(key, value, walltime=event.timestamp.timestamp())
