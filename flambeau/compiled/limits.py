"""What this machine can do at most, measured: bytes a second by the size of what is moved, operations a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

from .. import ops
from ..dispatch.operator import OPERATORS
from ..runtime import cpu, pool

__all__ = ["Limits", "Roof", "limits"]

_SIDE = 512  # of the product of matrices that shows the speed of arithmetic
_SHORTEST, _LONGEST = 0.02, 0.4  # seconds that a measurement takes
_SETTLED = 8  # calls in a row that are no quicker than the best, after which that is believed


class Roof(NamedTuple):
    """Copying ``nbytes`` (read and written) runs at ``rate`` bytes a second; ``name`` says where they lie."""

    name: str
    nbytes: int
    rate: float


class Limits(NamedTuple):
    """The roofs of a roofline (S. Williams, A. Waterman, D. Patterson, "Roofline", 2009), for ``threads`` threads."""

    roofs: tuple[Roof, ...]
    peak: float
    """Operations a second of a product of float32 matrices."""
    threads: int

    def bandwidth(self, nbytes: int) -> float:
        """Bytes a second that steps which touch ``nbytes`` can move: that of the cache which holds them."""
        return next((r.rate for r in self.roofs if nbytes <= r.nbytes), self.roofs[-1].rate)

    def seconds(self, nbytes: int, work: int) -> float:
        """The time that a step of these bytes and operations takes at least."""
        return max(nbytes / self.bandwidth(nbytes), work / self.peak)


def limits() -> Limits:
    """The machine's limits with the present number of threads, measured at the first call (under a second)."""
    return _measured(pool.get_num_threads())


@cache
def _measured(threads: int) -> Limits:
    caches = cpu.cache_sizes()
    sizes = {"L2": caches.l2, "L3": min(caches.l3, 32 << 20), "memory": max(4 * caches.l3, 64 << 20)}
    roofs = []
    for name, size in sizes.items():
        nbytes = min(size // 2, 256 << 20) if name != "memory" else min(size, 256 << 20)
        x, y = ops.full((nbytes // 8,), 1.0), ops.full((nbytes // 8,), 1.0)
        roofs.append(Roof(name, size, nbytes / _best(partial(y.copy_, x))))
    a = ops.full((_SIDE, _SIDE), 0.5)
    product = OPERATORS["mm"].function
    return Limits(tuple(roofs), 2 * _SIDE**3 / _best(partial(product, a, a)), threads)


def _best(call: Callable[[], object]) -> float:
    """The seconds of the quickest of several calls after the first.

    Others may have the processor meanwhile: it goes on until quicker calls have stopped coming.
    """
    call()  # compiles
    best, began, since = float("inf"), time.perf_counter(), 0
    while True:
        start = time.perf_counter()
        if start - began > _LONGEST or (start - began > _SHORTEST and since >= _SETTLED):
            return best
        call()
        seconds = time.perf_counter() - start
        since = 0 if seconds < 0.98 * best else since + 1
        best = min(best, seconds)
