"""What a timing found, and how it is told."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = ["Measurement", "TaskSpec", "select_unit", "trim_sigfig", "unit_to_english"]

_UNITS = (("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0))
_ENGLISH = {"ns": "nanosecond", "us": "microsecond", "ms": "millisecond", "s": "second"}


@dataclasses.dataclass(init=True, repr=False, eq=True, frozen=True)
class TaskSpec:
    """What was measured; measurements of equal tasks can be merged."""

    stmt: str
    setup: str
    global_setup: str = ""
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    num_threads: int = 1

    @property
    def title(self) -> str:
        """The label, or else the statement, with what tells it apart."""
        if self.label is not None:
            return self.label + (f": {self.sub_label}" if self.sub_label else "")
        if "\n" not in self.stmt:
            return self.stmt + (f": {self.sub_label}" if self.sub_label else "")
        return f"stmt:{f' ({self.sub_label})' if self.sub_label else ''}\n{_indented(self.stmt)}"

    def setup_str(self) -> str:
        """The setup as a report shows it; nothing for none."""
        if not self.setup or self.setup == "pass":
            return ""
        return f"setup:\n{_indented(self.setup)}" if "\n" in self.setup else f"setup: {self.setup}"

    def summarize(self) -> str:
        """The task in some lines."""
        parts = [self.title, self.description or "", *(() if not self.setup_str() else (self.setup_str(),))]
        return "\n".join(p for p in parts if p)


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.strip().splitlines())


def select_unit(t: float) -> tuple[str, float]:
    """(unit, seconds) in which a time is best read."""
    found = [u for u in _UNITS if u[1] <= t]
    return found[-1] if found else _UNITS[0]


def unit_to_english(u: str) -> str:
    """The name of a unit: "us" gives "microsecond"."""
    return _ENGLISH[u]


def trim_sigfig(x: float, n: int) -> float:
    """``x`` with ``n`` significant digits."""
    if x == 0:
        return x
    scale = 10 ** (n - 1 - math.floor(math.log10(abs(x))))
    return round(x * scale) / scale if math.isfinite(scale) else x


@dataclasses.dataclass(init=True, repr=False)
class Measurement:
    """Times of one task: ``raw_times`` of blocks of ``number_per_run`` runs each, in seconds."""

    number_per_run: int
    raw_times: list[float]
    task_spec: TaskSpec
    metadata: dict[Any, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "task_spec":
            raise AttributeError(name)
        return getattr(self.task_spec, name)

    @property
    def times(self) -> list[float]:
        """Seconds for one run, of every block."""
        return [t / self.number_per_run for t in self.raw_times]

    def _statistic(self, q: float) -> float:
        if not self.raw_times:
            raise AssertionError("the measurement holds no times")
        return float(np.quantile(self.times, q))

    @property
    def median(self) -> float:
        """The middle time."""
        return self._statistic(0.5)

    @property
    def mean(self) -> float:
        """The mean time."""
        self._statistic(0.5)
        return float(np.mean(self.times))

    @property
    def iqr(self) -> float:
        """The distance between the quarters' bounds."""
        return self._statistic(0.75) - self._statistic(0.25)

    @property
    def significant_figures(self) -> int:
        """How many digits of the median can be trusted, by the spread of the times; at most five."""
        n = len(self.raw_times)
        if n < 2:
            return 3
        middle = self._statistic(0.5)
        inside = (self._statistic(0.25), self._statistic(0.75))
        # 1.35 quartile distances are one standard deviation of a normal distribution; 1.645 hold 90 % of it.
        error = max((inside[1] - inside[0]) / 1.35 / math.sqrt(n) * 1.645, 1e-12)
        digits = math.floor(math.log10(middle)) - math.floor(math.log10(2 * error)) if middle > 0 else 1
        return max(1, min(5, digits + 1))

    @property
    def has_warnings(self) -> bool:
        """Whether the times scatter by more than 10 % or are too few."""
        return len(self.raw_times) < 2 or not self.meets_confidence(0.1)

    def meets_confidence(self, threshold: float = 0.1) -> bool:
        """Whether the quarters' bounds lie within this share of the median."""
        return self.iqr / max(self.median, 1e-12) < threshold

    @property
    def title(self) -> str:
        """The task's title."""
        return self.task_spec.title

    @property
    def env(self) -> str:
        """Where it was measured."""
        return self.task_spec.env or "Unspecified env"

    @property
    def as_row_name(self) -> str:
        """What a table calls the row."""
        return self.task_spec.sub_label or self.task_spec.stmt or "[Unknown]"

    def __repr__(self) -> str:
        lines = [f"{type(self).__module__}.{type(self).__name__} object", self.task_spec.summarize()]
        unit, scale = select_unit(self.median)
        middle = trim_sigfig(self.median / scale, self.significant_figures)
        n = len(self.raw_times)
        lines.append(f"  {'' if n == 1 else 'Median: '}{middle:.2f} {unit}")
        if n >= 4:
            quarters = [f"{self._statistic(q) / scale:.2f}" for q in (0.25, 0.75)]
            lines.append(f"  IQR:    {self.iqr / scale:.2f} {unit} ({quarters[0]} to {quarters[1]})")
        runs = f"{self.number_per_run} run{'s' if self.number_per_run > 1 else ''} per measurement"
        threads = f"{self.task_spec.num_threads} thread{'s' if self.task_spec.num_threads > 1 else ''}"
        lines.append(f"  {n} measurement{'s' if n > 1 else ''}, {runs}, {threads}")
        if n > 1 and self.has_warnings:
            lines.append(
                f"  WARNING: the times scatter by {100 * self.iqr / max(self.median, 1e-12):.1f} % of the median"
            )
        return "\n".join(lines)

    @staticmethod
    def merge(measurements: Iterable[Measurement]) -> list[Measurement]:
        """Measurements of equal tasks as one each."""
        groups: dict[TaskSpec, list[Measurement]] = defaultdict(list)
        for m in measurements:
            groups[m.task_spec].append(m)

        def joined(task: TaskSpec, group: list[Measurement]) -> Measurement:
            # of blocks of different lengths the times for one run can still be put together
            same = len({m.number_per_run for m in group}) == 1
            times = [t for m in group for t in (m.raw_times if same else m.times)]
            return Measurement(group[0].number_per_run if same else 1, times, task, None)

        return [joined(*item) for item in groups.items()]
