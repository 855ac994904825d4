"""``python -m flambeau cache``: the compiled kernels on disk."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from . import ops, settings
from .dispatch.operator import OPERATORS
from .dtype import float32, float64
from .runtime import cache, cpu, engine

__all__ = ["main"]

_USAGE = """usage: python -m flambeau cache [list | warm | prune [MIB] | clear]

list   where the compiled kernels are, how many, how big, and the latest (the default)
warm   compile what common operators need, several kernels at a time
prune  remove the kernels used least recently until no more than MIB are left (default: the cache's bound)
clear  remove all kernels"""

_ELEMENTWISE = "exp log sqrt rsqrt tanh sigmoid relu abs neg sin cos erf floor square reciprocal".split()
_BINARY = "add sub mul div maximum minimum pow eq lt gt".split()
_REDUCTIONS = "sum mean amax amin argmax prod var softmax log_softmax cumsum".split()


def _tasks() -> list[Callable[[], Any]]:
    """Calls of common operators on vectors, matrices and rows of them."""
    tasks: list[Callable[[], Any]] = []
    for type_ in (float32, float64):
        matrix = ops.full((33, 65), 0.5, dtype=type_)
        vector = ops.full((65,), 0.5, dtype=type_)
        for x in (matrix, vector):
            tasks += [partial(OPERATORS[name].function, x) for name in _ELEMENTWISE if name in OPERATORS]
            tasks += [partial(OPERATORS[name].function, x, y) for name in _BINARY for y in (x, vector, 2.0)]
            tasks += [partial(OPERATORS[name].function, x, -1) for name in _REDUCTIONS if name in OPERATORS]
            tasks.append(partial(OPERATORS["sum"].function, x))
        across = matrix.t()  # type: ignore[attr-defined]
        tasks += [partial(OPERATORS["mm"].function, a, b) for a, b in ((matrix, across), (across, matrix))]
        tasks.append(partial(OPERATORS["linear"].function, matrix, matrix, ops.full((33,), 0.5, dtype=type_)))
    return tasks


def _attempt(task: Callable[[], Any]) -> None:
    try:
        task()
    except (RuntimeError, TypeError, NotImplementedError) as error:
        print(f"skipped: {error}", file=sys.stderr)


def _warm() -> None:
    start, before = time.perf_counter(), engine.statistics()
    with ThreadPoolExecutor(max(2, cpu.physical_cores())) as threads:
        list(threads.map(_attempt, _tasks()))
    after = engine.statistics()
    print(
        f"{after.compiled - before.compiled} kernels compiled, {after.disk_hits - before.disk_hits} were there, "
        f"in {time.perf_counter() - start:.1f} s"
    )


def _report(disk: cache.DiskCache) -> None:
    files = disk.files()
    total = sum(size for _, size, _ in files)
    print(f"{disk.directory}: {len(files)} kernels, {total / 2**20:.1f} of {settings.cache_size} MiB")
    for name, size, used in files[:10]:
        print(f"  {name}  {size:8} bytes  used {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(used))}")


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns the exit status: 2 for a command line that it does not understand."""
    what = arguments[0] if arguments else "list"
    if what not in ("list", "warm", "prune", "clear") or len(arguments) > 1 + (what == "prune"):
        print(_USAGE)
        return 0 if what in ("-h", "--help") else 2
    disk = cache.current()
    if disk is None or not disk.usable:
        print("the kernel cache is off (FLAMBEAU_CACHE=0), or its folder cannot be used", file=sys.stderr)
        return 1
    if what == "list":
        _report(disk)
    elif what == "warm":
        _warm()
    else:
        if len(arguments) > 1 and not arguments[1].isdigit():
            print(_USAGE)
            return 2
        limit = 0 if what == "clear" else int(arguments[1]) if len(arguments) > 1 else settings.cache_size
        left = sum(size for _, size, _ in disk.files())
        removed = []
        for name, size, _ in reversed(disk.files()):
            if left <= limit << 20:
                break
            removed.append(name)
            left -= size
        disk.remove(removed)
        print(f"removed {len(removed)} kernels; {left / 2**20:.1f} MiB are left")
    return 0
