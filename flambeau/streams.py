"""Streams and events of any device: on the CPU the program itself is the one stream."""

from __future__ import annotations

import itertools
import time
from typing import Any

from .device import device as device_

__all__ = ["Event", "Stream"]


def _device(device: Any) -> device_:
    found = device_("cpu") if device is None else device_(device)
    if found.type != "cpu":
        raise RuntimeError(f"PyTorch is not linked with support for {found.type} devices")
    return found


class Stream:
    """The order of work on a device.  Operators on the CPU are done when they return, so nothing has to be waited for.

    Raises RuntimeError for devices that are not there.
    """

    def __init__(self, device: Any = None, *, priority: int = 0, **kwargs: Any) -> None:
        self.device = _device(device)
        self.device_index, self.stream_id, self.device_type = -1, kwargs.get("stream_id", 0), 0
        self.native_handle = 0
        self.priority = priority

    def query(self) -> bool:
        """True: all work is done."""
        return True

    def is_capturing(self) -> bool:
        """Whether a graph records the stream: no."""
        return False

    def synchronize(self) -> None:
        """Waits for the work, which is done."""

    def wait_event(self, event: Event) -> None:
        """Waits for an event, which has happened."""

    def wait_stream(self, stream: Stream) -> None:
        """Waits for the work of another stream, which is done."""

    def record_event(self, event: Event | None = None) -> Event:
        """An event at the present point."""
        made = Event(self.device) if event is None else event
        made.record(self)
        return made

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and (self.device, self.stream_id) == (other.device, other.stream_id)

    def __hash__(self) -> int:
        return hash((self.device, self.stream_id))

    def __repr__(self) -> str:
        return f"torch.Stream device_type=cpu, device_index={self.device_index}, stream_id={self.stream_id}"


class Event:
    """A point in a stream; of the CPU's, the time it was recorded."""

    _numbers = itertools.count(1)

    def __init__(
        self, device: Any = None, *, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False
    ) -> None:
        self.device = _device(device)
        self.event_id = 0
        self._timed, self._at = enable_timing, 0.0

    @classmethod
    def from_ipc_handle(cls, device: Any, ipc_handle: bytes) -> Event:
        """An event of another process; raises NotImplementedError on the CPU, which shares none."""
        refused = f"events of {_device(device)} cannot be shared between processes"
        raise NotImplementedError(refused)

    def ipc_handle(self) -> bytes:
        """What another process finds the event by; raises NotImplementedError on the CPU."""
        refused = f"events of {self.device} cannot be shared between processes"
        raise NotImplementedError(refused)

    def record(self, stream: Stream | None = None) -> None:
        """Marks the present point."""
        self.event_id, self._at = next(self._numbers), time.perf_counter()

    def query(self) -> bool:
        """True: what came before is done."""
        return True

    def synchronize(self) -> None:
        """Waits for what came before, which is done."""

    def wait(self, stream: Stream | None = None) -> None:
        """Makes a stream wait for it: it has happened."""

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this event to another; raises RuntimeError unless both were recorded with timing."""
        if not (self._timed and end_event._timed):
            raise RuntimeError("Both events must be created with argument 'enable_timing=True'.")
        if not (self.event_id and end_event.event_id):
            raise RuntimeError("Both events must be recorded before calculating elapsed time.")
        return (end_event._at - self._at) * 1000.0

    def __repr__(self) -> str:
        return f"torch.Event device_type=cpu, device_index=-1, event_flag=0, event_id={self.event_id}"
