"""``profile``: which steps of a program are recorded, and what is done with their traces."""

from __future__ import annotations

import enum
import gzip
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterable
from typing import Any

from ..autograd.profiler import EventList, Recorder, record_function

__all__ = [
    "DeviceType", "ProfilerAction", "ProfilerActivity", "kineto_available", "profile", "schedule",
    "supported_activities", "tensorboard_trace_handler",
]  # fmt: skip


class ProfilerActivity(enum.Enum):
    """What can be recorded; CPU is."""

    CPU, XPU, MTIA, CUDA, HPU, PrivateUse1 = range(6)


class DeviceType(enum.Enum):
    """Where an event ran."""

    CPU, CUDA, MKLDNN, OPENGL, OPENCL, IDEEP, HIP, FPGA, MAIA, XLA, Vulkan, Metal, XPU, MPS, Meta, HPU, VE = range(17)
    Lazy, IPU, MTIA, PrivateUse1 = range(17, 21)


class ProfilerAction(enum.Enum):
    """What is done in a step."""

    NONE, WARMUP, RECORD, RECORD_AND_SAVE = range(4)


def kineto_available() -> bool:
    """Whether PyTorch's recorder of accelerators is there: no."""
    return False


def supported_activities() -> set[ProfilerActivity]:
    """What can be recorded: the CPU."""
    return {ProfilerActivity.CPU}


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0, skip_first_wait: int = 0
) -> Callable[[int], ProfilerAction]:
    """What to do in every step: after ``skip_first`` steps, cycles of waiting, warming up and recording.

    ``repeat`` is the number of cycles (0: no end); ``skip_first_wait``: the first cycle does not wait.  Raises
    ValueError for negative numbers and no active step.
    """
    if min(wait, warmup, repeat, skip_first) < 0 or active <= 0:
        raise ValueError(
            f"Invalid profiler schedule arguments: wait={wait}, warmup={warmup}, active={active}, repeat={repeat}, "
            f"skip_first={skip_first}; active must be positive and the others not negative"
        )

    def action(step: int) -> ProfilerAction:
        if step < skip_first:
            return ProfilerAction.NONE
        step -= skip_first
        if skip_first_wait:
            step += wait
        cycle = wait + warmup + active
        if repeat > 0 and step // cycle >= repeat:
            return ProfilerAction.NONE
        place = step % cycle
        if place < wait:
            return ProfilerAction.NONE
        if place < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD if place < cycle - 1 else ProfilerAction.RECORD_AND_SAVE

    return action


def tensorboard_trace_handler(
    dir_name: str, worker_name: str | None = None, use_gzip: bool = False, use_python_export: bool = False
) -> Callable[[profile], None]:
    """An ``on_trace_ready`` that writes every trace to a folder, where TensorBoard's profiler finds it."""

    def handle(prof: profile) -> None:
        os.makedirs(dir_name, exist_ok=True)
        worker = worker_name or f"{socket.gethostname()}_{os.getpid()}"
        name = f"{worker}.{time.time_ns()}.pt.trace.json" + (".gz" if use_gzip else "")
        prof.export_chrome_trace(os.path.join(dir_name, name))

    return handle


_RECORDING = (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)


class profile:
    """Records the operators of a ``with`` block, or between ``start`` and ``stop``.

    ``schedule(step)`` says what to do in each step, which ``step()`` ends (without one, everything is recorded);
    ``on_trace_ready`` is called with this object when a recording is complete.  ``record_shapes``, ``profile_memory``,
    ``with_stack`` and ``with_flops`` say what is recorded of each call.
    """

    def __init__(
        self, *, activities: Iterable[ProfilerActivity] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None, on_trace_ready: Callable[..., Any] | None = None,
        record_shapes: bool = False, profile_memory: bool = False, with_stack: bool = False, with_flops: bool = False,
        with_modules: bool = False, experimental_config: Any = None, execution_trace_observer: Any = None,
        acc_events: bool = False, use_cuda: bool | None = None,
        custom_trace_id_callback: Callable[[], str] | None = None, post_processing_timeout_s: float | None = None,
    ) -> None:  # fmt: skip
        wanted = set(activities) if activities is not None else supported_activities()
        if not wanted:
            raise AssertionError("No valid profiler activities found")
        self.activities = wanted
        self.schedule = schedule or (lambda _: ProfilerAction.RECORD)
        self.on_trace_ready = on_trace_ready
        self.record_shapes, self.profile_memory = record_shapes or with_flops, profile_memory
        self.with_stack, self.with_flops = with_stack, with_flops
        self.step_num = 0
        self.current_action = self.schedule(0)
        self._recorder: Recorder | None = None
        self._step: record_function | None = None
        self._events: EventList | None = None
        self._metadata: dict[str, Any] = {}
        self._by_step = schedule is not None

    def __enter__(self) -> profile:
        self.start()
        return self

    def __exit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        self.stop()

    def start(self) -> None:
        """Begins with the first step."""
        self._act(ProfilerAction.NONE, self.current_action)
        self._begin_step()

    def stop(self) -> None:
        """Ends; what was being recorded is complete."""
        self._end_step()
        if self.current_action in _RECORDING:
            self._save()

    def step(self) -> None:
        """A step has ended and the next begins."""
        self._end_step()
        before = self.current_action
        self.step_num += 1
        self.current_action = self.schedule(self.step_num)
        self._act(before, self.current_action)
        self._begin_step()

    def _begin_step(self) -> None:
        if self._by_step and self._recorder is not None:
            self._step = record_function(f"ProfilerStep#{self.step_num}")
            self._step.__enter__()

    def _end_step(self) -> None:
        if self._step is not None:
            self._step.__exit__(None, None, None)
            self._step = None

    def _act(self, before: ProfilerAction, now: ProfilerAction) -> None:
        if before is ProfilerAction.RECORD_AND_SAVE or (before in _RECORDING and now not in _RECORDING):
            self._save()
        if now in _RECORDING and self._recorder is None:
            self._recorder = Recorder(self.record_shapes, self.profile_memory, self.with_stack, self.with_flops)
            if ProfilerActivity.CPU in self.activities:
                self._recorder.start()

    def _save(self) -> None:
        if self._recorder is None:
            return
        if ProfilerActivity.CPU in self.activities:
            self._recorder.stop()
        self._events, self._recorder = self._recorder.list(), None
        if self.on_trace_ready is not None:
            self.on_trace_ready(self)

    def events(self) -> EventList:
        """The events of the last complete recording; raises AssertionError if there is none."""
        if self._events is None:
            raise AssertionError("the profiler has recorded nothing yet: stop it, or reach the end of a cycle, first")
        return self._events

    def key_averages(
        self, group_by_input_shape: bool = False, group_by_stack_n: int = 0, group_by_overload_name: bool = False
    ) -> EventList:
        """The events of the last complete recording, summed up by name."""
        return self.events().key_averages(group_by_input_shape, group_by_stack_n, group_by_overload_name)

    def export_chrome_trace(self, path: str, use_python_export: bool = False) -> None:
        """Writes a trace that chrome://tracing and Perfetto show, compressed if the name ends in ".gz"."""
        content = json.dumps({"traceEvents": self.events()._trace(), **self._metadata})
        with tempfile.NamedTemporaryFile("wb", dir=os.path.dirname(path) or ".", delete=False) as file:
            file.write(gzip.compress(content.encode()) if str(path).endswith(".gz") else content.encode())
        shutil.move(file.name, path)

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Writes the callers of the events with a metric, as flame graphs are made from."""
        self.events().export_stacks(path, metric)

    def add_metadata(self, key: str, value: str) -> None:
        """Adds a text to the trace."""
        self._metadata[key] = value

    def add_metadata_json(self, key: str, value: str) -> None:
        """Adds a value, given as JSON, to the trace."""
        self._metadata[key] = json.loads(value)
