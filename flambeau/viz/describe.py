"""What was collected, as plain data for the page: numbers, texts, and lists of them."""

from __future__ import annotations

import linecache
from collections.abc import Callable, Sequence
from typing import Any

from .. import target
from ..compiled.limits import Limits
from ..dtype import coded
from ..graph.plan import StepInfo
from ..graph.schedule import BufferSpec
from ..loop.printer import kernel_text
from ..runtime import llvm
from ..target.isa import ISA
from ..version import __version__
from .collect import Collection, Run
from .layout import layered

__all__ = ["describe"]

_AROUND = 12  # lines of the user's file that are shown on both sides of a call


class _Table:
    """Values by number, each once."""

    def __init__(self) -> None:
        self.items: list[str] = []
        self._number: dict[str, int] = {}

    def __call__(self, item: str) -> int:
        found = self._number.setdefault(item, len(self.items))
        if found == len(self.items):
            self.items.append(item)
        return found


def describe(collection: Collection, limits: Limits, title: str) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """(the page's data, the texts of each kernel: loop IR, LLVM, assembly)"""
    isa = ISA.host()
    names, places = _Table(), _Table()
    codes: dict[str, int] = {}
    texts: list[dict[str, str]] = []

    def code(step: StepInfo) -> int:
        key, make = _code(step, collection, isa)
        if key not in codes:
            codes[key] = len(texts)
            texts.append(make())
        return codes[key]

    runs = [_run(run, limits, names, places, code) for run in collection.runs]
    zero = collection.began
    events = [
        [round((e.start - zero) * 1e6, 1), round(e.seconds * 1e6, 1), e.depth, names(e.name), places(e.place), e.run,
         int(e.first)]
        for e in sorted(collection.events)
    ]  # fmt: skip
    data = {
        "title": title,
        "version": str(__version__),
        "isa": isa.name,
        "threads": limits.threads,
        "seconds": collection.ended - collection.began,
        "dropped": collection.dropped,
        "peak": limits.peak,
        "roofs": [{"name": r.name, "rate": r.rate} for r in limits.roofs],
        "runs": runs,
        "events": events,
        "names": names.items,
        "places": places.items,
        "files": _excerpts(places.items),
    }
    return data, texts


def _run(run: Run, limits: Limits, names: _Table, places: _Table, code: Callable[[StepInfo], int]) -> dict[str, Any]:
    steps = [work.step for work in run.work]
    edges = _edges(steps)
    kernels = []
    for work in run.work:
        step = work.step
        made_for = [run.calls[k] for k in work.operators]
        calls = dict.fromkeys(
            (names(c.name), places(c.origin or c.place), places(c.place) if c.origin else -1) for c in made_for
        )
        kernels.append(
            {
                "name": step.name,
                "ops": [names(name) for name in step.operators or ("(copy)",)],
                "calls": [list(call) for call in calls],
                "bytes": step.nbytes,
                "work": step.work,
                "us": round(work.seconds * 1e6, 3),
                "limit": round(limits.seconds(step.nbytes, step.work) * 1e6, 3),
                "roof": limits.bandwidth(step.nbytes),
                "in": [_buffer(run.buffers[b]) for b in dict.fromkeys(step.inputs)],
                "out": [_buffer(run.buffers[b]) for b in dict.fromkeys(step.outputs)],
                "code": code(step),
            }
        )
    return {
        "name": names(run.name),
        "reason": names(run.reason.name),
        "place": places(run.reason.place),
        "count": run.count,
        "us": round(run.seconds * 1e6, 1),
        "operators": len(run.calls),
        "temporary": run.temporary,
        "kernels": kernels,
        "edges": edges,
        "at": layered(len(steps), edges),
    }


def _buffer(b: BufferSpec) -> str:
    kind = {"input": "argument", "output": "result", "temp": "temporary"}[b.kind]
    return f"{kind} {b.type}[{b.size}], {_bytes(b.size * coded(b.type).itemsize)}"


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"


def _edges(steps: Sequence[StepInfo]) -> list[tuple[int, int]]:
    """Which step reads, or goes on with, what which other one has written."""
    writer: dict[int, int] = {}
    found: dict[tuple[int, int], None] = {}
    for k, step in enumerate(steps):
        for b in (*step.inputs, *step.outputs):
            if b in writer and writer[b] != k:
                found[writer[b], k] = None
        writer.update(dict.fromkeys(step.outputs, k))
    return list(found)


def _code(step: StepInfo, collection: Collection, isa: ISA) -> tuple[str, Callable[[], dict[str, str]]]:
    """(what tells the code of a step apart, a function that makes its texts)"""
    kernel = step.kernel
    if kernel is not None:
        loops = kernel_text(kernel)
        return loops, lambda: _texts(loops, target.emit.kernel_ir(kernel._replace(name="kernel"), isa), isa)
    found = [collection.requests[a] for a in step.addresses if a in collection.requests]
    if not found:
        why = "A host library computes this step: there is no generated code."
        return step.name, lambda: {"loop": why, "llvm": why, "assembly": why}
    title = f"The template {step.name} writes LLVM directly; it is no loop nest of the IR.\n\n{found[0].name}"
    return found[0].key, lambda: _texts(title, "\n".join(r.make_ir() for r in found), isa, [r.make_ir() for r in found])


def _texts(loops: str, ir: str, isa: ISA, parts: Sequence[str] = ()) -> dict[str, str]:
    assembly = "\n".join(llvm.assembly(part, isa) for part in parts or (ir,))
    return {"loop": loops, "llvm": ir, "assembly": assembly}


def _excerpts(places: Sequence[str]) -> dict[str, dict[int, str]]:
    """The lines of the user's files around the places."""
    found: dict[str, dict[int, str]] = {}
    for place in places:
        file, _, line = place.rpartition(":")
        if file and line.isdigit():
            lines = linecache.getlines(file)
            low, high = max(0, int(line) - 1 - _AROUND), min(len(lines), int(line) + _AROUND)
            found.setdefault(file, {}).update({k + 1: lines[k].rstrip("\n") for k in range(low, high)})
    return {file: dict(sorted(lines.items())) for file, lines in found.items()}
