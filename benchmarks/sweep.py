"""Every operator beside PyTorch, forward and with the gradient: the ratios of their times.

    python benchmarks/sweep.py --json sweep.jsonl                 # all of them at 1 MB, one and two threads
    python benchmarks/sweep.py --json sweep.jsonl --seconds 60    # what a minute is enough for; call again to go on
    python benchmarks/sweep.py --only 'sum|softmax' --mb 64 --threads 1
    python benchmarks/sweep.py --below 1.0                        # show only what is slower than PyTorch
    python benchmarks/sweep.py --json sweep.jsonl --html sweep.html --seconds 0    # a bar for each, from the file
    python benchmarks/sweep.py --small --threads 1                # calls on four elements
    python benchmarks/sweep.py --missing                          # public names without a case, and the reasons

Both frameworks run the same text, each in a process of its own, in alternating rounds of some milliseconds; a ratio
is the median over the rounds of PyTorch's time by flambeau's: above 1 flambeau is faster.  A name that ends in " grad"
times forward and backward.  Cases that are in the file already are not run again.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import sweep_numbers
import sweep_report
import sweep_shapes
import sweep_small
from sweep_group import Group
from workers import Workers

GROUPS = [*sweep_numbers.GROUPS, *sweep_shapes.GROUPS]


class Case(NamedTuple):
    """What is timed: the expression ``call`` on what ``setup`` makes, and its gradient by ``leaves`` unless empty."""

    name: str
    setup: str
    call: str
    leaves: tuple[str, ...]

    def program(self, n: int) -> str:
        """A program whose ``call()`` is one call, for operands of about ``n`` float32 elements."""
        lines = ["F = torch.nn.functional", f"n = {n}", self.setup]
        if not self.leaves:
            return "\n".join([*lines, "def call():", f"    {self.call}"])
        lines += [f"{leaf}.requires_grad_()" for leaf in self.leaves]
        lines += ["pick = lambda result: result if isinstance(result, torch.Tensor) else result[0]"]
        lines += [f"seed = torch.ones_like(pick({self.call}))", "def call():"]
        leaves = f"[{', '.join(self.leaves)}]"
        return "\n".join([*lines, f"    torch.autograd.grad(pick({self.call}), {leaves}, seed, allow_unused=True)"])


def cases(groups: Sequence[Group]) -> Iterator[Case]:
    """All cases, each name once: a later one of the same text says what its operands are."""
    seen: set[str] = set()
    for group in groups:
        used = group.leaves.split()
        for call in group.calls:
            name = call if call not in seen else f"{call}  # {group.setup}"
            seen.add(call)
            yield Case(name, group.setup, call, ())
            leaves = tuple(leaf for leaf in used if re.search(rf"\b{leaf}\b", call))
            if leaves:
                yield Case(name + " grad", group.setup, call, leaves)


def _read(path: str) -> list[dict[str, Any]]:
    """The rows of an earlier run, the last one of each case."""
    if not path or not Path(path).exists():
        return []
    rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    return list({(row["name"], row["mb"], row["threads"]): row for row in rows}.values())


def main() -> None:
    """Runs the part of the sweep that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="regular expression for the names of cases")
    parser.add_argument("--mb", type=int, nargs="*", default=[1], help="megabytes of an operand")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--below", type=float, default=1e9, help="show only ratios below this")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slot", type=float, default=0.004, help="seconds that a framework runs in a round")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after this time")
    parser.add_argument("--cpu", action="store_true", help="the processor's time, where other programs run as well")
    parser.add_argument("--json", default="", help="file of results, one line a case; what it has is not run again")
    parser.add_argument("--again", action="store_true", help="run also what the file of results has")
    parser.add_argument("--html", default="", help="write the report of all results to this file")
    parser.add_argument("--small", action="store_true", help="calls on a few elements instead")
    parser.add_argument("--missing", action="store_true", help="list public names that no case calls")
    options = parser.parse_args()
    if options.small:
        options.mb = [0]
    if options.missing:
        sweep_report.print_missing([case.call for case in cases(GROUPS)])
        return
    rows = _read(options.json)
    have = set() if options.again else {(row["name"], row["mb"], row["threads"]) for row in rows}
    waiting = [
        (threads, mb, case)
        for threads in options.threads
        for mb in options.mb
        for case in cases(sweep_small.GROUPS if options.small else GROUPS)
        if (case.name, mb, threads) not in have and re.search(options.only, case.name)
    ]
    end = time.monotonic() + options.seconds
    workers = Workers(options.cpu) if waiting and options.seconds else None
    current = 0
    for done, (threads, mb, case) in enumerate(waiting):
        if workers is None or time.monotonic() > end:
            break
        if threads != current:
            workers.set_threads(threads)
            current = threads
        row: dict[str, Any] = {"name": case.name, "mb": mb, "threads": threads}
        try:
            times, row["ratio"] = workers.measure(case.program(mb << 18), options.rounds, options.slot)
            row |= {name: found.median for name, found in times.items()}
        except Exception as error:
            row["error"] = f"{type(error).__name__}: {error}"[:200]
        rows.append(row)
        if options.json:
            with open(options.json, "a") as file:
                file.write(json.dumps(row) + "\n")
        if "error" in row or row["ratio"] < options.below:
            print(sweep_report.line(row), flush=True)
        if sys.stderr.isatty():
            print(f"\r{done + 1} of {len(waiting)}", end="", file=sys.stderr, flush=True)
    if workers is not None:
        workers.close()
    for threads in options.threads:
        for mb in options.mb:
            ratios = [r["ratio"] for r in rows if "ratio" in r and (r["threads"], r["mb"]) == (threads, mb)]
            if ratios:
                print(
                    f"{threads} threads, {mb} MB: {len(ratios)} cases, geometric mean"
                    f" {statistics.geometric_mean(ratios):.2f}x, {sum(r < 1 for r in ratios)} below 1x,"
                    f" {sum(r < 0.5 for r in ratios)} below 0.5x, least {min(ratios):.2f}x"
                )
    if options.html:
        sweep_report.write(rows, Path(options.html))


if __name__ == "__main__":
    main()
