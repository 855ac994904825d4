"""``FileCheck``: looks in a text for others, in order, as LLVM's tool of that name does."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["FileCheck"]

_KINDS = {
    "CHECK-NEXT": "next", "CHECK-SAME": "same", "CHECK-NOT": "not", "CHECK-DAG": "dag", "CHECK-COUNT": "count",
    "CHECK-REGEX": "regex", "CHECK-SOURCE-HIGHLIGHTED": "highlighted", "CHECK": "check",
}  # fmt: skip


class FileCheck:
    """Expectations of a text, one after the other; ``run(text)`` raises RuntimeError where one does not hold."""

    def __init__(self) -> None:
        self._checks: list[tuple[str, str, int]] = []

    def _add(self, kind: str, text: str, count: int = 1) -> FileCheck:
        self._checks.append((kind, text, count))
        return self

    def check(self, arg0: str) -> FileCheck:
        """The text comes somewhere later."""
        return self._add("check", arg0)

    def check_not(self, arg0: str) -> FileCheck:
        """The text does not come before what the next expectation finds."""
        return self._add("not", arg0)

    def check_next(self, arg0: str) -> FileCheck:
        """The text comes on the next line."""
        return self._add("next", arg0)

    def check_same(self, arg0: str) -> FileCheck:
        """The text comes later on the same line."""
        return self._add("same", arg0)

    def check_dag(self, arg0: str) -> FileCheck:
        """The text comes later, in any order with those of neighbouring expectations of this kind."""
        return self._add("dag", arg0)

    def check_regex(self, arg0: str) -> FileCheck:
        """Something that the regular expression matches comes later."""
        return self._add("regex", arg0)

    def check_source_highlighted(self, arg0: str) -> FileCheck:
        """The text comes later, with a line of ``~`` under it."""
        return self._add("highlighted", arg0)

    def check_count(self, str: str, count: int, exactly: bool = False) -> FileCheck:
        """The text comes ``count`` times, with ``exactly`` no more often."""
        self._add("count", str, count)
        return self._add("not", str) if exactly else self

    def run(self, *args: Any, **kwargs: Any) -> None:
        """``run(text)``, or ``run(checks, text)`` with the expectations as lines ``# CHECK: ...`` of the first.

        Raises RuntimeError where one does not hold.
        """
        texts = [str(a) for a in (*args, *kwargs.values())]
        if len(texts) == 2:
            made = FileCheck()
            for line in texts[0].splitlines():
                found = re.match(r"\s*#\s*(CHECK[A-Z-]*?)(?:-(\d+))?(?:-EXACTLY)?:\s*(.*?)\s*$", line)
                if found and found[1] in _KINDS:
                    made._add(_KINDS[found[1]], found[3], int(found[2] or 1))
            made.run(texts[1])
            return
        at, pending = 0, []
        i = 0
        while i < len(self._checks):
            kind, wanted, count = self._checks[i]
            if kind == "not":
                pending.append(wanted)
                i += 1
                continue
            begin = at
            if kind == "dag":
                ends = []
                while i < len(self._checks) and self._checks[i][0] == "dag":
                    ends.append(self._find(texts[0], "dag", self._checks[i][1], begin))
                    i += 1
                first, at = min(s for s, _ in ends), max(e for _, e in ends)
            else:
                first = -1
                for _ in range(count):
                    start, at = self._find(texts[0], kind, wanted, at)
                    first = start if first < 0 else first
                i += 1
            self._absent(texts[0], pending, begin, first)
            pending = []
        self._absent(texts[0], pending, at, len(texts[0]))

    @staticmethod
    def _absent(text: str, unwanted: list[str], begin: int, end: int) -> None:
        for word in unwanted:
            if word in text[begin:end]:
                raise RuntimeError(f'Expected to not find "{word}" but found it\n{text}\nFrom CHECK-NOT: {word}\n')

    @staticmethod
    def _find(text: str, kind: str, wanted: str, at: int) -> tuple[int, int]:
        if kind == "regex":
            found = re.compile(wanted).search(text, at)
            span = (-1, -1) if found is None else found.span()
        else:
            start = text.find(wanted, at)
            span = (start, start + len(wanted))
        between = text[at : max(span[0], at)]
        wrong = span[0] < 0
        if kind == "next":
            wrong = wrong or between.count("\n") != 1
        elif kind == "same":
            wrong = wrong or "\n" in between
        elif kind == "highlighted" and not wrong:
            rest = text[span[1] :].split("\n", 2)
            wrong = len(rest) < 2 or "~" * len(wanted.strip()) not in rest[1]
        if wrong:
            raise RuntimeError(
                f'Expected to find "{wanted}" but did not find it\nSearched string:\n{text[at:]}\n'
                f"From CHECK{'' if kind == 'check' else '-' + kind.upper()}: {wanted}\n"
            )
        return span
