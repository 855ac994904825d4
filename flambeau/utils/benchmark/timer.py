"""``Timer``: how long a statement takes."""

from __future__ import annotations

import enum
import textwrap
import timeit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...runtime.pool import get_num_threads, set_num_threads
from .measurement import Measurement, TaskSpec

__all__ = ["Language", "Timer", "timer"]


def timer() -> float:
    """Seconds of a clock that never goes back."""
    return timeit.default_timer()


class Language(enum.Enum):
    """What a statement is written in; only Python can be timed."""

    PYTHON = 0
    CPP = 1


@contextmanager
def _threads(n: int) -> Iterator[None]:
    before = get_num_threads()
    set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(before)


class Timer:
    """Times ``stmt`` with ``num_threads`` threads (1, unless said otherwise), after ``setup``.

    ``globals`` are the names that both may use; ``label``, ``sub_label``, ``description`` and ``env`` tell results
    apart in tables.  Raises ValueError for statements in other languages than Python.
    """

    def __init__(
        self, stmt: str = "pass", setup: str = "pass", global_setup: str = "", timer: Callable[[], float] = timer,
        globals: dict[str, Any] | None = None, label: str | None = None, sub_label: str | None = None,
        description: str | None = None, env: str | None = None, num_threads: int = 1,
        language: Language | str = Language.PYTHON,
    ) -> None:  # fmt: skip
        if language not in (Language.PYTHON, "py", "python"):
            raise ValueError(f"only statements in Python can be timed, not in {language}: there is no C++ core")
        if not isinstance(stmt, str):
            raise ValueError("Currently only a `str` stmt is supported.")
        if global_setup:
            raise ValueError("global_setup is C++ only, got a value for a Python statement; use setup")
        stmt, setup = (textwrap.dedent(text).strip() for text in (stmt, setup))
        self._task_spec = TaskSpec(stmt, setup, global_setup, label, sub_label, description, env, num_threads)
        self._timer = timeit.Timer(stmt, setup, timer, dict(globals or {}))

    def _run(self, number: int) -> float:
        return max(self._timer.timeit(number), 1e-9)

    def _measured(self, number: int, times: list[float]) -> Measurement:
        return Measurement(number, times, self._task_spec)

    def timeit(self, number: int = 1000000) -> Measurement:
        """One block of ``number`` runs, after a short warm-up."""
        with _threads(self._task_spec.num_threads):
            self._run(max(number // 100, 2))
            return self._measured(number, [self._run(number)])

    def repeat(self, repeat: int = -1, number: int = -1) -> None:
        """Not there, as in PyTorch: raises NotImplementedError; use ``blocked_autorange``."""
        raise NotImplementedError("See `Timer.blocked_autorange.`")

    def autorange(self, callback: Callable[[int, float], None] | None = None) -> None:
        """Not there, as in PyTorch: raises NotImplementedError; use ``blocked_autorange``."""
        raise NotImplementedError("See `Timer.blocked_autorange.`")

    def _block_size(self, least: float) -> int:
        """How many runs take ``least`` seconds, so that reading the clock does not count."""
        number = 1
        self._run(1)  # the first run may compile
        while True:
            taken = self._run(number)
            if taken >= least or number >= 10**9:
                return number
            number = int(min(max(number * least / taken * 1.2, number * 2), number * 10))

    def blocked_autorange(
        self, callback: Callable[[int, float], None] | None = None, min_run_time: float = 0.2
    ) -> Measurement:
        """Blocks of runs, each long enough to be timed, until ``min_run_time`` seconds have gone; ``callback(number,
        seconds)`` is told of each."""
        with _threads(self._task_spec.num_threads):
            number = self._block_size(min_run_time / 1000)
            times: list[float] = []
            while sum(times) < min_run_time:
                times.append(self._run(number))
                if callback is not None:
                    callback(number, times[-1])
        return self._measured(number, times)

    def adaptive_autorange(
        self, threshold: float = 0.1, *, min_run_time: float = 0.01, max_run_time: float = 10.0,
        callback: Callable[[int, float], None] | None = None,
    ) -> Measurement:  # fmt: skip
        """Blocks of runs until the quarters' bounds lie within ``threshold`` of the median, or the time is up."""
        with _threads(self._task_spec.num_threads):
            number = self._block_size(min(min_run_time, 0.2) / 4)
            times: list[float] = []
            while sum(times) < max_run_time:
                times.append(self._run(number))
                if callback is not None:
                    callback(number, times[-1])
                if sum(times) >= min_run_time and len(times) >= 4:
                    first, middle, last = np.quantile(times, (0.25, 0.5, 0.75))
                    if (last - first) / middle < threshold:
                        break
        return self._measured(number, times)

    def collect_callgrind(self, *args: Any, **kwargs: Any) -> None:
        """Instruction counts need Valgrind and PyTorch's C++ core: raises NotImplementedError."""
        raise NotImplementedError("collect_callgrind counts the instructions of PyTorch's C++ core, which is not here")
