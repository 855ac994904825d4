"""``Compare``: measurements side by side in tables."""

from __future__ import annotations

from collections.abc import Iterable

from .measurement import Measurement, select_unit, trim_sigfig, unit_to_english

__all__ = ["Compare"]


class Compare:
    """Tables of measurements: one for each label, a row for each sub-label and number of threads, a column for each
    description."""

    def __init__(self, results: list[Measurement]) -> None:
        self._results: list[Measurement] = []
        self.extend_results(results)
        self._trim = self._colorize = self._warn = False

    def __str__(self) -> str:
        return "\n".join(self._tables())

    def extend_results(self, results: Iterable[Measurement]) -> None:
        """Adds measurements.  Raises ValueError for anything else."""
        for r in results:
            if not isinstance(r, Measurement):
                raise ValueError(f"Expected an instance of `Measurement`, got {type(r)} instead.")
            self._results.append(r)

    def trim_significant_figures(self) -> None:
        """Shows only digits that can be trusted."""
        self._trim = True

    def colorize(self, rowwise: bool = False) -> None:
        """Marks the quickest of each row with an asterisk."""
        self._colorize = True

    def highlight_warnings(self) -> None:
        """Marks times that scatter with an exclamation mark."""
        self._warn = True

    def print(self) -> None:
        """Prints the tables."""
        print(str(self))

    def _tables(self) -> list[str]:
        merged = Measurement.merge(self._results)
        labels = list(dict.fromkeys(m.task_spec.label for m in merged))
        return [self._table(label, [m for m in merged if m.task_spec.label == label]) for label in labels]

    def _table(self, label: str | None, results: list[Measurement]) -> str:
        unit, scale = select_unit(min(m.median for m in results))
        columns = list(dict.fromkeys(m.task_spec.description or "" for m in results))
        cells = {(m.task_spec.num_threads, m.as_row_name, m.task_spec.description or ""): m for m in results}
        rows = list(dict.fromkeys((m.task_spec.num_threads, m.as_row_name) for m in results))
        names = max(len(row[1]) for row in rows)
        widths = {c: max(len(c), 10) for c in columns}
        head = " " * (names + 4) + "".join(f"|  {c:^{widths[c]}}  " for c in columns)
        title = f"[{'-' * 4} {label or ''} {'-' * 4}]".center(len(head), "-")
        lines = [title, head.rstrip()]
        for threads in dict.fromkeys(t for t, _ in rows):
            lines.append(f"{threads} threads: ".ljust(len(head), "-"))
            for _, name in (row for row in rows if row[0] == threads):
                found = {c: cells.get((threads, name, c)) for c in columns}
                best = min(m.median for m in found.values() if m is not None)
                text = "".join(f"|  {self._cell(found[c], scale, best):^{widths[c]}}  " for c in columns)
                lines.append(f"  {name:<{names}}  {text}".rstrip())
        lines.append(f"\nTimes are in {unit_to_english(unit)}s ({unit}).\n")
        return "\n".join(lines)

    def _cell(self, m: Measurement | None, scale: float, best: float) -> str:
        if m is None:
            return ""
        value = m.median / scale
        text = f"{trim_sigfig(value, m.significant_figures):g}" if self._trim else f"{value:.1f}"
        if self._colorize and m.median == best:
            text += "*"
        return text + "!" if self._warn and m.has_warnings else text
