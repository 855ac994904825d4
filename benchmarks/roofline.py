"""Kernels against the machine's limits, and beside PyTorch where it is installed: tables, plots, one HTML file.

    python benchmarks/roofline.py --html report.html             # about 4 minutes
    python benchmarks/roofline.py --only 'matmul|softmax' --threads 1

The limits are measured in the same run (``fma_peak.py``, ``bandwidth.py``).  For every kernel the operations and the
least bytes that must move are counted from its definition; its limit is the larger of the two times that they take at
the measured rates, and its efficiency that limit divided by its time.  A ratio is PyTorch's time by flambeau's, the
median over alternating rounds: above 1 flambeau is faster.
"""

from __future__ import annotations

import argparse
import base64
import html
import io
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import bandwidth
import fma_peak

import flambeau

try:
    import torch
except ImportError:  # the peer is optional
    torch = None  # type: ignore[assignment]


class Kernel(NamedTuple):
    """What is timed: ``setup`` makes the operands from ``torch``, ``call`` is the expression; ``operations`` and
    ``nbytes`` are what any program for it must do and move at least."""

    name: str
    setup: str
    call: str
    operations: float
    nbytes: float


class Result(NamedTuple):
    """Of one kernel and number of threads: seconds, the limit in seconds, and PyTorch's time by flambeau's."""

    kernel: Kernel
    threads: int
    seconds: float
    limit: float
    ratio: float | None

    @property
    def efficiency(self) -> float:
        return self.limit / self.seconds


def _kernels() -> Iterator[Kernel]:
    yield from _products()
    yield from _convolutions()
    yield from _attention()
    yield from _streams()


def _products() -> Iterator[Kernel]:
    for m, n, k in (
        (128,) * 3,
        (512,) * 3,
        (1024,) * 3,
        (2048,) * 3,
        (2048, 768, 768),
        (64, 3072, 768),
        (8192, 64, 64),
    ):
        yield Kernel(
            f"matmul {m} x {k} x {n}", f"a = torch.randn({m}, {k}); b = torch.randn({k}, {n})", "a @ b",
            2.0 * m * n * k, 4.0 * (m * k + k * n + m * n),
        )  # fmt: skip
    yield Kernel(
        "matvec 4096", "a = torch.randn(4096, 4096); b = torch.randn(4096)", "a @ b", 2.0 * 4096**2, 4.0 * 4096**2
    )
    yield Kernel(
        "bmm 64 x 64 x 64 x 64", "a = torch.randn(64, 64, 64); b = torch.randn(64, 64, 64)", "torch.bmm(a, b)",
        2.0 * 64**4, 12.0 * 64**3,
    )  # fmt: skip


def _convolutions() -> Iterator[Kernel]:
    for batch, c, size, out, window, stride, groups in (
        (4, 3, 224, 64, 7, 2, 1), (4, 64, 56, 64, 3, 1, 1), (4, 64, 56, 256, 1, 1, 1), (4, 256, 14, 256, 3, 1, 1),
        (4, 512, 7, 512, 3, 1, 1), (4, 96, 56, 96, 3, 1, 96),
    ):  # fmt: skip
        to = size // stride
        operations = 2.0 * batch * out * to * to * (c // groups) * window**2
        nbytes = 4.0 * (batch * c * size**2 + out * (c // groups) * window**2 + batch * out * to**2)
        setup = (
            f"x = torch.randn({batch}, {c}, {size}, {size}); w = torch.randn({out}, {c // groups}, {window}, {window})"
        )
        call = f"torch.nn.functional.conv2d(x, w, stride={stride}, padding={window // 2}, groups={groups})"
        yield Kernel(f"conv {window}x{window}/{stride} {c}-{out}@{size} g{groups}", setup, call, operations, nbytes)


def _attention() -> Iterator[Kernel]:
    for length in (256, 1024):
        shape = f"(2, 8, {length}, 64)"
        yield Kernel(
            f"attention 2 x 8 x {length} x 64", f"q, k, v = (torch.randn({shape}) for _ in range(3))",
            "torch.nn.functional.scaled_dot_product_attention(q, k, v)",
            4.0 * 16 * length**2 * 64, 16.0 * 16 * length * 64,
        )  # fmt: skip


def _streams() -> Iterator[Kernel]:
    for megabytes in (1, 64):
        n = megabytes << 18
        setup = f"x, y = torch.randn({n // 1024}, 1024), torch.randn({n // 1024}, 1024); w = torch.ones(1024)"
        for name, call, operations, passes in (
            ("x + y", "x + y", 1, 3), ("x.add_(y)", "x.add_(y)", 1, 3), ("exp", "x.exp()", 16, 2),
            ("gelu", "torch.nn.functional.gelu(x)", 24, 2), ("sum", "x.sum()", 1, 1), ("sum rows", "x.sum(1)", 1, 1),
            ("sum columns", "x.sum(0)", 1, 1), ("softmax", "torch.softmax(x, -1)", 20, 2),
            ("layer_norm", "torch.nn.functional.layer_norm(x, (1024,), w, w)", 6, 2),
            ("transpose copy", "x.t().contiguous()", 0, 2), ("cumsum", "x.cumsum(1)", 1, 2),
        ):  # fmt: skip
            yield Kernel(f"{name}, {megabytes} MB", setup, call, float(operations * n), 4.0 * passes * n)


def _timer(module: ModuleType, kernel: Kernel) -> Callable[[int], float]:
    """The seconds that a number of calls take."""
    space: dict[str, Any] = {"torch": module}
    exec(f"{kernel.setup}\ndef run(count):\n    for _ in range(count):\n        {kernel.call}\n", space)
    run = space["run"]

    def measure(count: int) -> float:
        start = time.perf_counter()
        run(count)
        return time.perf_counter() - start

    measure(3)
    return measure


def measure(kernel: Kernel, threads: int, limit: float, rounds: int, block: float) -> Result:
    """Times a kernel in alternating rounds of ``block`` seconds."""
    modules = [flambeau] + ([torch] if torch is not None else [])
    timers = []
    for module in modules:
        module.set_num_threads(threads)
        timer = _timer(module, kernel)
        timers.append((timer, max(1, int(block / max(timer(2) / 2, 1e-7)))))
    seconds: list[list[float]] = [[] for _ in timers]
    for _ in range(rounds):
        for (timer, count), times in zip(timers, seconds):
            times.append(timer(count) / count)
    ratio = statistics.median(b / a for a, b in zip(*seconds)) if len(seconds) > 1 else None
    return Result(kernel, threads, statistics.median(seconds[0]), limit, ratio)


def processor() -> str:
    """What the operating system says of the processor."""
    text = Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    found = dict(re.findall(r"^(model name|cpu family|model)\s*: (.*)$", text, re.MULTILINE))
    name = f"{found['model name']} (family {found['cpu family']}, model {found['model']})" if found else ""
    return f"{name or platform.processor() or platform.machine()}, {os.cpu_count()} processors"


# -- the report ---------------------------------------------------------------------------------------


def markdown(results: list[Result]) -> str:
    """The table of all results."""
    lines = [
        "| kernel | threads | time | GFLOP/s | GB/s | of the limit | by PyTorch's time |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in results:
        rates = f"{r.kernel.operations / r.seconds / 1e9:.1f} | {r.kernel.nbytes / r.seconds / 1e9:.1f}"
        ratio = "" if r.ratio is None else f"{r.ratio:.2f}x"
        lines.append(
            f"| {r.kernel.name} | {r.threads} | {r.seconds * 1e6:.4g} us | {rates} | {r.efficiency:.0%} | {ratio} |"
        )
    return "\n".join(lines)


def _picture(figure: Any) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110, bbox_inches="tight")
    return f'<img alt="" src="data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}">'


def _roofline_plot(results: list[Result], peak: float, stream: float) -> str:
    from matplotlib.figure import Figure  # an extra, which only the report needs

    figure = Figure(figsize=(9, 5))
    axes = figure.subplots()
    intensity = [2.0**k for k in range(-6, 12)]
    axes.loglog(intensity, [min(peak, i * stream) / 1e9 for i in intensity], color="black", label="limit (64 MB)")
    shown = [r for r in results if r.kernel.operations]
    axes.scatter(
        [r.kernel.operations / r.kernel.nbytes for r in shown],
        [r.kernel.operations / r.seconds / 1e9 for r in shown],
        s=18,
    )
    for r in shown:
        place = (r.kernel.operations / r.kernel.nbytes, r.kernel.operations / r.seconds / 1e9)
        axes.annotate(r.kernel.name, place, fontsize=5, xytext=(3, 2), textcoords="offset points")
    axes.set_xlabel("operations per byte that must move")
    axes.set_ylabel("GFLOP/s")
    axes.set_title(f"Roofline, {results[0].threads} thread(s)")
    axes.legend()
    return _picture(figure)


def _bars(results: list[Result]) -> str:
    from matplotlib.figure import Figure  # an extra, which only the report needs

    shown = [r for r in results if r.ratio is not None]
    if not shown:
        return ""
    figure = Figure(figsize=(9, 0.22 * len(shown) + 1))
    axes = figure.subplots()
    ratios = [r.ratio or 0.0 for r in shown]
    axes.barh([r.kernel.name for r in shown], ratios, color=["tab:green" if x >= 1 else "tab:red" for x in ratios])
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.invert_yaxis()
    axes.tick_params(labelsize=7)
    axes.set_xlabel("PyTorch's time by flambeau's")
    axes.set_title(f"{shown[0].threads} thread(s)")
    return _picture(figure)


def page(results: list[Result], head: str, limits: dict[int, tuple[float, dict[int, float]]]) -> str:
    """The report as one HTML file without references to others."""
    parts = [
        "<!doctype html><meta charset=utf-8><title>flambeau: kernels against the machine's limits</title>",
        "<style>body{font:14px sans-serif;max-width:60em;margin:2em auto}table{border-collapse:collapse}"
        "td,th{padding:2px 8px;border-bottom:1px solid #ddd;text-align:right}td:first-child{text-align:left}</style>",
        f"<h1>Kernels against the machine's limits</h1><p>{html.escape(head)}</p>",
    ]
    for threads, (peak, rates) in limits.items():
        mine = [r for r in results if r.threads == threads]
        copies = ", ".join(f"{n >> 10} KB {rate / 1e9:.0f} GB/s" for n, rate in rates.items())
        parts.append(f"<h2>{threads} thread(s)</h2><p>Peak {peak / 1e9:.0f} GFLOP/s; copies of {copies}</p>")
        parts += [_roofline_plot(mine, peak, rates[max(rates)]), _bars(mine)]
        rows = [line.strip("| ").split("|") for line in markdown(mine).splitlines() if not line.startswith("|---")]
        cells = ["".join(f"<td>{html.escape(cell.strip())}</td>" for cell in row) for row in rows]
        parts.append("<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>")
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="regular expression on the names of kernels")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--block", type=float, default=0.05, help="seconds of one round of one framework")
    parser.add_argument("--html", type=Path, help="where to write the report")
    options = parser.parse_args()
    peer = f", PyTorch {torch.__version__}" if torch is not None else ""
    head = f"{processor()}; flambeau {flambeau.__version__}{peer}, Python {platform.python_version()}"
    print(head, flush=True)
    kernels = [k for k in _kernels() if re.search(options.only, k.name)]
    results: list[Result] = []
    limits: dict[int, tuple[float, dict[int, float]]] = {}
    for threads in options.threads:
        peak = fma_peak.peak(threads)
        rates = {n: bandwidth.copy(n, threads) for n in bandwidth.SIZES}
        limits[threads] = peak, rates
        print(
            f"{threads} thread(s): {peak / 1e9:.0f} GFLOP/s, copy of 64 MB {rates[max(rates)] / 1e9:.0f} GB/s",
            flush=True,
        )
        for kernel in kernels:
            # What fits into a cache moves at that cache's rate: the rate of a copy of as many bytes in all.
            size = next((n for n in rates if 2 * n >= kernel.nbytes), max(rates))
            limit = max(kernel.operations / peak, kernel.nbytes / rates[size])
            results.append(measure(kernel, threads, limit, options.rounds, options.block))
            print(markdown(results[-1:]).splitlines()[-1], flush=True)
    if options.html:
        options.html.write_text(page(results, head, limits))


if __name__ == "__main__":
    main()
