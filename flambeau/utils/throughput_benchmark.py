"""How many calls a second a module answers when several threads ask it at once."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from typing import Any

from ..autograd.mode import no_grad

__all__ = ["BenchmarkConfig", "BenchmarkExecutionStats", "ExecutionStats", "ThroughputBenchmark", "format_time"]


def format_time(time_us: float | None = None, time_ms: float | None = None, time_s: float | None = None) -> str:
    """A time, given in one of three units, in the unit that suits it."""
    given = [(t, factor) for t, factor in ((time_us, 1.0), (time_ms, 1e3), (time_s, 1e6)) if t is not None]
    if len(given) != 1:
        raise AssertionError("format_time: give exactly one of time_us, time_ms and time_s")
    us = given[0][0] * given[0][1]
    for size, unit in ((1e6, "s"), (1e3, "ms")):
        if us >= size:
            return f"{us / size:.3f}{unit}"
    return f"{us:.3f}us"


@dataclass
class BenchmarkConfig:
    """``num_calling_threads`` make ``num_iters`` calls together, after ``num_warmup_iters`` each that do not count."""

    num_calling_threads: int = 1
    num_worker_threads: int = 1
    num_warmup_iters: int = 1
    num_iters: int = 100
    profiler_output_path: str = ""


@dataclass
class BenchmarkExecutionStats:
    """Milliseconds that a call took on average, and how many calls were timed."""

    latency_avg_ms: float = 0.0
    num_iters: int = 0


class ExecutionStats:
    """What was measured, with the configuration it was measured with."""

    def __init__(self, c_stats: BenchmarkExecutionStats, benchmark_config: BenchmarkConfig) -> None:
        self._c_stats, self.benchmark_config = c_stats, benchmark_config

    @property
    def latency_avg_ms(self) -> float:
        """Milliseconds of a call."""
        return self._c_stats.latency_avg_ms

    @property
    def num_iters(self) -> int:
        """Calls that were timed."""
        return self._c_stats.num_iters

    @property
    def iters_per_second(self) -> float:
        """Calls a second, of all threads together."""
        return self.num_iters / self.total_time_seconds

    @property
    def total_time_seconds(self) -> float:
        """Seconds from the first call to the last."""
        return self.num_iters * (self.latency_avg_ms / 1000.0) / self.benchmark_config.num_calling_threads

    def __str__(self) -> str:
        return "\n".join([
            f"Average latency per example: {format_time(time_ms=self.latency_avg_ms)}",
            f"Total number of iterations: {self.num_iters}",
            f"Total number of iterations per second (across all threads): {self.iters_per_second:.2f}",
            f"Total time: {format_time(time_s=self.total_time_seconds)}",
        ])  # fmt: skip


class ThroughputBenchmark:
    """Calls a module, or a function, on inputs that were added, from several threads.

    ``benchmark`` takes the numbers by keyword, or a ``BenchmarkConfig``.  Raises RuntimeError without inputs.
    """

    def __init__(self, module: Any) -> None:
        self._module = module
        self._inputs: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def add_input(self, *args: Any, **kwargs: Any) -> None:
        """Adds the arguments of one call; each call that is timed takes those of a random one."""
        self._inputs.append((args, kwargs))

    def run_once(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the module once."""
        return self._module(*args, **kwargs)

    def benchmark(
        self, num_calling_threads: int | BenchmarkConfig = 1, num_warmup_iters: int = 10, num_iters: int = 100,
        profiler_output_path: str = "",
    ) -> ExecutionStats:  # fmt: skip
        """Times the calls."""
        config = (
            num_calling_threads
            if isinstance(num_calling_threads, BenchmarkConfig)
            else BenchmarkConfig(num_calling_threads, 1, num_warmup_iters, num_iters, profiler_output_path)
        )
        if not self._inputs:
            raise RuntimeError("ThroughputBenchmark: there are no inputs; please provide some with add_input")
        count = config.num_calling_threads
        shares = [config.num_iters // count + (k < config.num_iters % count) for k in range(count)]
        ready, go, errors = threading.Barrier(count + 1), threading.Event(), []

        def call(seed: int) -> None:
            choose = random.Random(seed)
            try:
                with no_grad():
                    for _ in range(config.num_warmup_iters):
                        args, kwargs = choose.choice(self._inputs)
                        self._module(*args, **kwargs)
                    ready.wait()
                    go.wait()
                    for _ in range(shares[seed]):
                        args, kwargs = choose.choice(self._inputs)
                        self._module(*args, **kwargs)
            except Exception as error:
                errors.append(error)
                ready.abort()

        threads = [threading.Thread(target=call, args=(k,)) for k in range(count)]
        for thread in threads:
            thread.start()
        try:
            ready.wait()
        except threading.BrokenBarrierError:
            pass
        start = time.perf_counter()
        go.set()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - start
        if errors:
            raise errors[0]
        stats = BenchmarkExecutionStats(seconds * 1e3 * count / max(config.num_iters, 1), config.num_iters)
        return ExecutionStats(stats, config)
