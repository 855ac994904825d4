"""Frameworks side by side, each in a process of its own: PyTorch's threads go on spinning after a call, which would
take a core from whoever else is in the same process."""

from __future__ import annotations

import importlib
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

__all__ = ["FRAMEWORKS", "Times", "Workers"]

FRAMEWORKS = ("flambeau", "torch")
_PAUSE = 0.03  # seconds for the other framework's threads to stop spinning


class Times(NamedTuple):
    """Seconds of one call over the rounds."""

    least: float
    median: float


def _serve(name: str, orders: Connection) -> None:
    """Runs in a process of its own: makes the function ``call`` of the program that it is sent, or times the one it has
    for some seconds."""
    call: Callable[[], Any] = list
    count, clock = 1, time.perf_counter
    for order in iter(orders.recv, None):
        try:
            if order[0] == "threads":
                importlib.import_module(name).set_num_threads(order[1])
                clock = time.process_time if order[2] else time.perf_counter
            elif order[0] == "make":
                module = importlib.import_module(name)
                module.manual_seed(0)
                scope: dict[str, Any] = {"torch": module}
                exec(order[1], scope)
                call = scope["call"]
                call()
                call()
                start = clock()
                call()
                count = max(1, int(order[2] / max(clock() - start, 1e-7)))
            call()
            start = clock()
            for _ in range(count):
                call()
            orders.send((clock() - start) / count)
        except Exception as error:
            orders.send(error if type(error).__module__ == "builtins" else RuntimeError(repr(error)))


class Workers:
    """The frameworks' processes.

    With ``processor`` it is the processor's time that counts instead of the clock's: for one thread, where other
    programs run as well.
    """

    def __init__(self, processor: bool = False) -> None:
        self.processor = processor
        context = multiprocessing.get_context("spawn")
        self.orders: dict[str, Connection] = {}
        for name in FRAMEWORKS:
            mine, theirs = context.Pipe()
            context.Process(target=_serve, args=(name, theirs), daemon=True).start()
            self.orders[name] = mine

    def _ask(self, *order: Any) -> dict[str, float]:
        """What each framework answers, one after the other."""
        found = {}
        for name, orders in self.orders.items():
            if not self.processor:
                time.sleep(_PAUSE)
            orders.send(order)
            found[name] = orders.recv()
            if isinstance(found[name], Exception):
                raise found[name]
        return found

    def set_threads(self, count: int) -> None:
        """The number of threads of each framework from now on."""
        self._ask("threads", count, self.processor)

    def measure(self, program: str, rounds: int, slot: float) -> tuple[dict[str, Times], float]:
        """The times of ``call()`` in each framework, and PyTorch's time by flambeau's (the median over the rounds).

        ``program`` defines ``call`` with the framework under the name ``torch``; a round gives each ``slot`` seconds.
        """
        self._ask("make", program, slot)
        rows = [self._ask("time") for _ in range(rounds)]
        times = {
            name: Times(min(row[name] for row in rows), statistics.median(row[name] for row in rows))
            for name in FRAMEWORKS
        }
        return times, statistics.median(row["torch"] / row["flambeau"] for row in rows)

    def close(self) -> None:
        """Ends the processes."""
        for orders in self.orders.values():
            orders.send(None)
