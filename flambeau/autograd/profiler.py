"""What operators a program called, for how long, and in which order: recording, tables, and traces for Chrome.

While a profile records, a wrapper stands around every operator of the thread (``call.around``); ``record_function``
adds ranges of the program's own.  Times are wall-clock, by ``time.perf_counter_ns``.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from ..dispatch.call import around, special
from ..dispatch.operator import Operator
from ..runtime import memory
from ..tensor import Tensor

__all__ = [
    "EventList",
    "FunctionEvent",
    "FunctionEventAvg",
    "Recorder",
    "emit_itt",
    "emit_nvtx",
    "profile",
    "record_function",
]

_ids = itertools.count()
_recorders: list[Recorder] = []


class Interval:
    """A span of time in microseconds."""

    def __init__(self, start: float, end: float) -> None:
        self.start, self.end = start, end

    def elapsed_us(self) -> float:
        """Its length."""
        return self.end - self.start


class _Times:
    """What events and averages of them tell alike."""

    cpu_time_total: float
    self_cpu_time_total: float
    count: int

    @property
    def cpu_time(self) -> float:
        """Microseconds of one call, on average."""
        return self.cpu_time_total / self.count if self.count else 0.0

    @property
    def cpu_time_str(self) -> str:
        """``cpu_time`` with its unit."""
        return format_time(self.cpu_time)

    @property
    def cpu_time_total_str(self) -> str:
        """``cpu_time_total`` with its unit."""
        return format_time(self.cpu_time_total)

    @property
    def self_cpu_time_total_str(self) -> str:
        """``self_cpu_time_total`` with its unit."""
        return format_time(self.self_cpu_time_total)

    device_time = device_time_total = self_device_time_total = 0.0
    cuda_time = cuda_time_total = self_cuda_time_total = 0.0
    device_memory_usage = self_device_memory_usage = 0
    device_time_str = device_time_total_str = self_device_time_total_str = "0.000us"


class FunctionEvent(_Times):
    """One call of an operator, or one range of ``record_function``; times in microseconds."""

    count = 1
    is_async = is_remote = is_legacy = False
    node_id = sequence_nr = -1

    def __init__(
        self, id: int, name: str, thread: int, start_us: float, end_us: float, input_shapes: Any = None,
        stack: Any = None, cpu_memory_usage: int = 0, flops: int = 0, is_user_annotation: bool = False,
    ) -> None:  # fmt: skip
        self.id, self.name, self.trace_name, self.thread = id, name, name, thread
        self.time_range = Interval(start_us, end_us)
        self.input_shapes, self.stack = input_shapes or [], stack or []
        self.cpu_memory_usage, self.flops, self.is_user_annotation = cpu_memory_usage, flops, is_user_annotation
        self.cpu_children: list[FunctionEvent] = []
        self.cpu_parent: FunctionEvent | None = None

    @property
    def key(self) -> str:
        """The name that averages go by."""
        return self.name

    def append_cpu_child(self, child: FunctionEvent) -> None:
        """Adds an event that happened inside of this one."""
        self.cpu_children.append(child)

    def set_cpu_parent(self, parent: FunctionEvent) -> None:
        """Says inside of which event this one happened."""
        self.cpu_parent = parent

    @property
    def cpu_time_total(self) -> float:  # type: ignore[override]
        """Microseconds from the beginning to the end."""
        return self.time_range.elapsed_us()

    @property
    def self_cpu_time_total(self) -> float:  # type: ignore[override]
        """Microseconds that no event inside accounts for."""
        return self.cpu_time_total - sum(child.cpu_time_total for child in self.cpu_children)

    @property
    def self_cpu_memory_usage(self) -> int:
        """Bytes allocated less bytes freed, that no event inside accounts for."""
        return self.cpu_memory_usage - sum(child.cpu_memory_usage for child in self.cpu_children)

    def __repr__(self) -> str:
        return f"<FunctionEvent id={self.id} name={self.name} cpu_time={self.cpu_time_str} thread={self.thread}>"


class FunctionEventAvg(_Times):
    """All events of one name."""

    def __init__(self, key: str = "Total") -> None:
        self.key = key
        self.count = 0
        self.cpu_time_total = self.self_cpu_time_total = 0.0
        self.cpu_memory_usage = self.self_cpu_memory_usage = self.flops = 0
        self.input_shapes: Any = []
        self.stack: Any = []

    def add(self, other: Any) -> FunctionEventAvg:
        """Adds an event, or other events of the name."""
        self.count += other.count
        self.cpu_time_total += other.cpu_time_total
        self.self_cpu_time_total += other.self_cpu_time_total
        self.cpu_memory_usage += other.cpu_memory_usage
        self.self_cpu_memory_usage += other.self_cpu_memory_usage
        self.flops += other.flops
        return self

    __iadd__ = add

    def __repr__(self) -> str:
        return f"<FunctionEventAvg key={self.key} self_cpu_time={self.self_cpu_time_total_str} count={self.count}>"


def format_time(microseconds: float) -> str:
    """A time with the unit that suits it."""
    for unit, size in (("s", 1e6), ("ms", 1e3)):
        if microseconds >= size:
            return f"{microseconds / size:.3f}{unit}"
    return f"{microseconds:.3f}us"


def format_memory(nbytes: int) -> str:
    """A number of bytes with the unit that suits it."""
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if abs(nbytes) >= size:
            return f"{nbytes / size:.2f} {unit}"
    return f"{nbytes} B"


class EventList(list[Any]):
    """Events, or averages of them, that can be summed up, printed and written."""

    def __init__(self, *args: Iterable[Any], profile_memory: bool = False, with_flops: bool = False) -> None:
        super().__init__(*args)
        self._profile_memory, self._with_flops = profile_memory, with_flops

    def key_averages(
        self, group_by_input_shapes: bool = False, group_by_stack_n: int = 0, group_by_overload_name: bool = False
    ) -> EventList:
        """The events summed up by name, and by the shapes of their arguments or their callers if asked for."""
        found: dict[Any, FunctionEventAvg] = {}
        for event in self:
            key = (event.key, str(event.input_shapes) if group_by_input_shapes else "",
                   tuple(event.stack[:group_by_stack_n]))  # fmt: skip
            if key not in found:
                found[key] = FunctionEventAvg(event.key)
                found[key].input_shapes = event.input_shapes if group_by_input_shapes else []
                found[key].stack = event.stack[:group_by_stack_n]
            found[key].add(event)
        return EventList(found.values(), profile_memory=self._profile_memory, with_flops=self._with_flops)

    def total_average(self) -> FunctionEventAvg:
        """Everything summed up."""
        total = FunctionEventAvg()
        for event in self:
            total.add(event)
        return total

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds of all events, none counted twice."""
        return sum(event.self_cpu_time_total for event in self)

    def table(
        self, sort_by: str | None = None, row_limit: int = 100, max_src_column_width: int = 75,
        max_name_column_width: int = 55, max_shapes_column_width: int = 80, header: str | None = None,
        top_level_events_only: bool = False, time_unit: str | None = None,
    ) -> str:  # fmt: skip
        """A table of the events, the largest by ``sort_by`` ("cpu_time_total", "count") first."""
        rows = [e for e in self if not top_level_events_only or getattr(e, "cpu_parent", None) is None]
        if sort_by is not None:
            rows.sort(key=lambda e: getattr(e, sort_by), reverse=True)
        total = sum(e.self_cpu_time_total for e in self)
        shapes = any(e.input_shapes for e in rows)
        titles = ["Name", "Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg"]
        titles += ["CPU Mem", "Self CPU Mem"] if self._profile_memory else []
        titles += ["# of Calls"] + (["Input Shapes"] if shapes else []) + (["Total FLOPs"] if self._with_flops else [])
        lines = [titles]
        for e in rows[: row_limit if row_limit >= 0 else None]:
            line = [
                _shortened(e.key, max_name_column_width), _share(e.self_cpu_time_total, total),
                e.self_cpu_time_total_str, _share(e.cpu_time_total, total), e.cpu_time_total_str, e.cpu_time_str,
            ]  # fmt: skip
            if self._profile_memory:
                line += [format_memory(e.cpu_memory_usage), format_memory(e.self_cpu_memory_usage)]
            line.append(str(e.count))
            if shapes:
                line.append(_shortened(str(e.input_shapes), max_shapes_column_width))
            if self._with_flops:
                line.append(str(e.flops) if e.flops else "--")
            lines.append(line)
        widths = [max(len(line[i]) for line in lines) for i in range(len(titles))]
        rule = "  ".join("-" * w for w in widths)
        text = ["  ".join(c.rjust(w) for c, w in zip(line, widths)) for line in lines]
        body = [*([header] if header else []), rule, text[0], rule, *text[1:], rule]
        return "\n".join(body) + f"\nSelf CPU time total: {format_time(total)}\n"

    def __str__(self) -> str:
        return self.table()

    def export_chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Writes a trace that chrome://tracing and Perfetto show."""
        with open(path, "w") as file:
            json.dump({"traceEvents": self._trace()}, file)

    def _trace(self) -> list[dict[str, Any]]:
        return [
            {
                "name": e.trace_name, "ph": "X", "ts": e.time_range.start, "dur": e.time_range.elapsed_us(),
                "tid": e.thread, "pid": os.getpid(), "cat": "user_annotation" if e.is_user_annotation else "cpu_op",
                "args": {"Input Dims": e.input_shapes} if e.input_shapes else {},
            }
            for e in self
        ]  # fmt: skip

    def export_stacks(self, path: str, metric: str) -> None:
        """Writes the callers of the events with a metric ("self_cpu_time_total"), as flame graphs are made from."""
        if metric not in self.supported_export_stacks_metrics():
            raise ValueError(f"metric should be one of: {self.supported_export_stacks_metrics()}")
        with open(path, "w") as file:
            for event in self:
                value = int(getattr(event, metric))
                if event.stack and value > 0:
                    file.write(";".join(reversed([s.translate(_PLAIN) for s in event.stack])) + f" {value}\n")

    @staticmethod
    def supported_export_stacks_metrics() -> list[str]:
        """The metrics that ``export_stacks`` knows."""
        return ["self_cpu_time_total"]


_PLAIN = str.maketrans(" ;\t\n", "____")


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _share(part: float, total: float) -> str:
    return f"{100 * part / total:.2f}%" if total else "NaN"


# -- recording ----------------------------------------------------------------------------------------


class Recorder:
    """Events of the threads that started it; ``start`` and ``stop`` may be called again and again."""

    def __init__(self, record_shapes: bool, profile_memory: bool, with_stack: bool, with_flops: bool) -> None:
        self.record_shapes, self.profile_memory = record_shapes, profile_memory
        self.with_stack, self.with_flops = with_stack, with_flops
        self.events: list[FunctionEvent] = []
        self.open = threading.local()

    def start(self) -> None:
        """Records from now on, in this thread."""
        _recorders.append(self)
        if len(_recorders) == 1:
            special.append(_around)
        if _around not in around.wrappers:
            around.wrappers = (_around, *around.wrappers)

    def stop(self) -> None:
        """Records no more."""
        _recorders.remove(self)
        if not _recorders:
            special.remove(_around)
            around.wrappers = tuple(w for w in around.wrappers if w is not _around)

    def begin(self, name: str, shapes: Any, flops: int, user: bool) -> FunctionEvent:
        """An event begins."""
        stack = None
        if self.with_stack:
            frames = traceback.extract_stack()[:-3]
            stack = [f"{f.filename}({f.lineno}): {f.name}" for f in reversed(frames)]
        event = FunctionEvent(
            next(_ids), name, threading.get_ident(), 0.0, 0.0, shapes, stack, self._used(), flops, user
        )
        opened = self.open.__dict__.setdefault("events", [])
        if opened:
            event.set_cpu_parent(opened[-1])
            opened[-1].append_cpu_child(event)
        opened.append(event)
        event.time_range.start = time.perf_counter_ns() / 1000
        return event

    def end(self, event: FunctionEvent) -> None:
        """An event ends."""
        event.time_range.end = time.perf_counter_ns() / 1000
        event.cpu_memory_usage = self._used() - event.cpu_memory_usage
        self.open.events.remove(event)
        self.events.append(event)

    def _used(self) -> int:
        return memory.statistics().allocated if self.profile_memory else 0

    def list(self) -> EventList:
        """The events so far, in the order of their beginnings."""
        ordered = sorted(self.events, key=lambda e: e.time_range.start)
        return EventList(ordered, profile_memory=self.profile_memory, with_flops=self.with_flops)


def _around(op: Operator, args: tuple[Any, ...], proceed: Callable[[Any], Any], inplace: bool) -> Any:
    """Records a call of an operator."""
    name = f"aten::{op.name}{'_' if inplace else ''}"
    shapes = [list(a._layout.shape) if isinstance(a, Tensor) else [] for a in args]
    opened = [(r, r.begin(name, shapes if r.record_shapes else None, _flops(op, shapes) if r.with_flops else 0, False))
              for r in _recorders]  # fmt: skip
    try:
        return proceed(args)
    finally:
        for recorder, event in opened:
            recorder.end(event)


def _flops(op: Operator, shapes: list[list[int]]) -> int:
    """Multiplications and additions of a product, or elements of a sum or product of elements; 0 for others."""
    if op.name in ("add", "mul", "sub"):
        return math.prod(max(shapes, key=math.prod))
    a, b = (shapes[1], shapes[2]) if op.name in ("addmm", "baddbmm") else (shapes + [[], []])[:2]
    if op.name in ("mm", "bmm", "addmm", "baddbmm", "matmul") and len(a) > 1 and len(b) > 1:
        return 2 * math.prod(a) * b[-1]
    if op.name == "linear" and a and len(b) == 2:
        return 2 * math.prod(a) * b[0]
    return 0


class record_function:
    """``with record_function(name)``: the block is an event of the profiles that record; also a decorator."""

    def __init__(self, name: str, args: str | None = None) -> None:
        self.name, self.args = name, args
        self._opened: list[list[tuple[Recorder, FunctionEvent]]] = []

    def __enter__(self) -> record_function:
        self._opened.append([(r, r.begin(self.name, None, 0, True)) for r in _recorders])
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        for recorder, event in self._opened.pop():
            recorder.end(event)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def decorated(*args: Any, **kwargs: Any) -> Any:
            with record_function(self.name, self.args):
                return function(*args, **kwargs)

        return decorated


class _Absent:
    """A context for a vendor's profiler, which refuses to be entered."""

    _what = ""

    def __init__(self, enabled: bool = True, record_shapes: bool = False) -> None:
        self.enabled, self.record_shapes = enabled, record_shapes

    def __enter__(self) -> Any:
        if self.enabled:
            raise RuntimeError(f"{type(self).__name__}: {self._what} is not there; use torch.profiler.profile")
        return self

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> None:
        return None


class emit_nvtx(_Absent):
    """Ranges of operators for NVIDIA's profilers: raises RuntimeError when entered with ``enabled``."""

    _what = "CUDA"


class emit_itt(_Absent):
    """Ranges of operators for Intel's profilers: raises RuntimeError when entered with ``enabled``."""

    _what = "Intel's instrumentation library"


class profile:
    """``with profile() as prof``: records the block; ``prof.key_averages().table()`` tells.

    Raises RuntimeError when asked for events before the block has ended.
    """

    def __init__(
        self, enabled: bool = True, *, use_cuda: bool = False, use_device: str | None = None,
        record_shapes: bool = False, with_flops: bool = False, profile_memory: bool = False, with_stack: bool = False,
        with_modules: bool = False, use_kineto: bool = False, use_cpu: bool = True, experimental_config: Any = None,
        acc_events: bool = False, custom_trace_id_callback: Callable[[], str] | None = None,
        post_processing_timeout_s: float | None = None, activity_filters: Any = None,
    ) -> None:  # fmt: skip
        self.enabled = enabled
        self._recorder = Recorder(record_shapes or with_flops, profile_memory, with_stack, with_flops)
        self._events: EventList | None = None

    def __enter__(self) -> profile:
        if self.enabled:
            self._recorder.start()
        return self

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> bool:
        if self.enabled:
            self._recorder.stop()
            self._events = self._recorder.list()
        return False

    @property
    def function_events(self) -> EventList:
        """The events."""
        if self._events is None:
            raise RuntimeError("Profiler didn't finish running")
        return self._events

    @property
    def self_cpu_time_total(self) -> float:
        """Microseconds of all events, none counted twice."""
        return self.function_events.self_cpu_time_total

    def key_averages(
        self, group_by_input_shape: bool = False, group_by_stack_n: int = 0, group_by_overload_name: bool = False
    ) -> EventList:
        """See ``EventList.key_averages``."""
        return self.function_events.key_averages(group_by_input_shape, group_by_stack_n, group_by_overload_name)

    def table(
        self, sort_by: str | None = None, row_limit: int = 100, max_src_column_width: int = 75,
        max_name_column_width: int = 55, max_shapes_column_width: int = 80, header: str | None = None,
        top_level_events_only: bool = False,
    ) -> str:  # fmt: skip
        """See ``EventList.table``."""
        return self.function_events.table(
            sort_by, row_limit, max_src_column_width, max_name_column_width, max_shapes_column_width, header,
            top_level_events_only,
        )  # fmt: skip

    def export_chrome_trace(self, path: str, metadata: Any = None, use_python_export: bool = False) -> None:
        """See ``EventList.export_chrome_trace``."""
        self.function_events.export_chrome_trace(path)

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """See ``EventList.export_stacks``."""
        self.function_events.export_stacks(path, metric)

    def total_average(self) -> FunctionEventAvg:
        """Everything summed up."""
        return self.function_events.total_average()

    def __repr__(self) -> str:
        return "<unfinished profiler_autograd.profile>" if self._events is None else repr(self._events)

    def __str__(self) -> str:
        return "<unfinished torch.autograd.profile>" if self._events is None else str(self._events)
