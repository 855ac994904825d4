"""flambeau beside PyTorch on the processor at hand: figures of docs/performance.md.

    pip install -e ".[bench,examples]"
    python benchmarks/first_light.py                         # everything, 1 and 2 threads; about 10 minutes
    python benchmarks/first_light.py --only gemm dispatch    # some sections

Both frameworks run in alternating rounds of some milliseconds, products and operators in processes of their own; a cell
gives the least and the median time of a call over the rounds.  The ratio compares medians: above 1 flambeau is faster.
Training steps run in processes of their own (the scripts in examples/), again alternating.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fma_peak
import torch
from workers import Times, Workers

import flambeau
from flambeau.runtime import engine

FRAMEWORKS = {"flambeau": flambeau, "torch": torch}
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def processor() -> str:
    """The processor's name, and what the operating system tells of its make."""
    text = Path("/proc/cpuinfo").read_text() if os.path.exists("/proc/cpuinfo") else ""
    found = dict(re.findall(r"^(model name|cpu family|model)\s*: (.*)$", text, re.MULTILINE))
    if not found:
        return platform.processor() or platform.machine()
    return f"{found['model name']} (family {found['cpu family']}, model {found['model']}), {os.cpu_count()} processors"


def measure(statement: str, setup: str, rounds: int, block: float, **names: Any) -> dict[str, Times]:
    """The time of ``statement`` in each framework, called ``torch`` in ``setup`` and in the statement."""
    timers = {
        name: timeit.Timer(statement, setup, globals={"torch": module, **names}) for name, module in FRAMEWORKS.items()
    }
    counts = {}
    for name, timer in timers.items():
        timer.timeit(2)  # compiles, faults pages in
        once = timer.timeit(1)
        counts[name] = max(1, int(block / max(once, 1e-7)))
        if counts[name] > 10:
            counts[name] = max(1, int(block / (timer.timeit(counts[name] // 10) / (counts[name] // 10))))
    seconds: dict[str, list[float]] = {name: [] for name in timers}
    for _ in range(rounds):
        for name, timer in timers.items():
            seconds[name].append(timer.timeit(counts[name]) / counts[name])
    return {name: Times(min(times), statistics.median(times)) for name, times in seconds.items()}


def measure_apart(workers: Workers, statement: str, setup: str, rounds: int, block: float) -> dict[str, Times]:
    """As ``measure``, with each framework in a process of its own."""
    return workers.measure(f"{setup}\ndef call():\n    {statement}\n", rounds, block)[0]


def time_text(seconds: float) -> str:
    for factor, unit in ((1e9, "ns"), (1e6, "us"), (1e3, "ms")):
        if seconds * factor < 1000:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def pair_text(times: Times) -> str:
    return f"{time_text(times.least)} / {time_text(times.median)}"


def ratio_text(times: dict[str, Times]) -> str:
    return f"{times['torch'].median / times['flambeau'].median:.2f}x"


def table(title: str, head: list[str], rows: list[list[str]]) -> str:
    """One Markdown table."""
    lines = [f"### {title}", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def set_threads(count: int) -> None:
    for module in FRAMEWORKS.values():
        module.set_num_threads(count)


# Sections --------------------------------------------------------------------------------------------


def gemm(threads: list[int], rounds: int, block: float) -> str:
    """float32 matrix products against the measured peak and PyTorch."""
    rows = []
    workers = Workers()
    for count in threads:
        workers.set_threads(count)
        top = fma_peak.peak(count)
        for size in (64, 128, 256, 512, 768, 1024, 1536, 2048):
            setup = f"a = torch.randn({size}, {size}); b = torch.randn({size}, {size})"
            times = measure_apart(workers, "a @ b", setup, rounds, block)
            best = {name: 2 * size**3 / t.least for name, t in times.items()}
            rows.append(
                [
                    str(size), str(count), f"{top / 1e9:.0f}", f"{best['flambeau'] / 1e9:.0f}",
                    f"{best['flambeau'] / top:.0%}", f"{best['torch'] / 1e9:.0f}",
                    pair_text(times["flambeau"]), pair_text(times["torch"]), ratio_text(times),
                ]
            )  # fmt: skip
    workers.close()
    head = ["n", "threads", "FMA peak, GFLOP/s", "flambeau", "of peak", "PyTorch"]
    return table("Matrix product, float32, n x n", [*head, "flambeau min / median", "PyTorch", "ratio"], rows)


def import_seconds(module: str) -> Times:
    """The time of ``import module`` in fresh processes that find the bytecode on disk."""
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", code]
    runs = [float(subprocess.check_output(command, env=environment, stderr=subprocess.DEVNULL)) for _ in range(8)]
    return Times(min(runs[1:]), statistics.median(runs[1:]))


def new_shapes() -> tuple[Times, int]:
    """The first call of ``a + b`` on 200 new shapes of a known class, and how many kernels that compiled."""
    pairs = [(flambeau.ones(3, 200 + n), flambeau.ones(3, 200 + n)) for n in range(210)]
    for a, b in pairs[:10]:
        a + b
    before = engine.statistics().compiled
    runs = [timeit.timeit(lambda: a + b, number=1) for a, b in pairs[10:]]  # noqa: B023
    return Times(min(runs), statistics.median(runs)), engine.statistics().compiled - before


def dispatch(threads: list[int], rounds: int, block: float) -> str:
    """What a call costs when there is nothing to compute."""
    set_threads(1)
    rows = []
    for what, statement, setup, limit in (
        ("4-element a + b", "a + b", "a = torch.ones(4); b = torch.ones(4)", "2.5 us"),
        ("4-element a + b, with grad", "a + b", "a = torch.ones(4, requires_grad=True); b = torch.ones(4)", "5 us"),
        ("4-element a.add_(b)", "a.add_(b)", "a = torch.ones(4); b = torch.ones(4)", ""),
        ("4-element a.relu()", "a.relu()", "a = torch.ones(4)", ""),
        ("view(2, 2) of 4", "a.view(2, 2)", "a = torch.ones(4)", ""),
        ("softmax of 4", "torch.softmax(a, 0)", "a = torch.ones(4)", ""),
        ("4 x 4 matrix product", "a @ a", "a = torch.ones(4, 4)", ""),
    ):
        times = measure(statement, setup, rounds, block)
        rows.append([what, pair_text(times["flambeau"]), limit, pair_text(times["torch"]), ratio_text(times)])
    shapes, compiled = new_shapes()
    rows.append([f"a + b, new shape of a known class ({compiled} compilations)", pair_text(shapes), "100 us", "", ""])
    imports = {name: import_seconds(name) for name in FRAMEWORKS}
    rows.append(["import", pair_text(imports["flambeau"]), "250 ms", pair_text(imports["torch"]), ratio_text(imports)])
    return table("Dispatch", ["", "flambeau min / median", "at most", "PyTorch", "ratio"], rows)


OPERATIONS = {
    "a + b": ("x + y", ""),
    "x * y + z": ("x * y + z", ""),
    "x.add_(y)": ("x.add_(y)", ""),
    "exp": ("torch.exp(x)", ""),
    "gelu": ("gelu(x)", "gelu = torch.nn.functional.gelu"),
    "sum": ("x.sum()", ""),
    "sum over rows": ("x.sum(1)", ""),
    "sum over columns": ("x.sum(0)", ""),
    "max over rows": ("x.amax(1)", ""),
    "softmax": ("torch.softmax(x, 1)", ""),
    "layer_norm": ("layer_norm(x, (1024,), w, v)", "layer_norm = torch.nn.functional.layer_norm"),
}


def memory(threads: list[int], rounds: int, block: float) -> str:
    """Operators bound by memory, on (rows, 1024) float32 tensors."""
    rows = []
    workers = Workers()
    for count in threads:
        workers.set_threads(count)
        for size, bytes_ in (("4 KB", 4096), ("1 MB", 1 << 20), ("64 MB", 1 << 26)):
            data = f"x, y, z = (torch.randn({bytes_ // 4096}, 1024) for _ in range(3))"
            data += "; w, v = torch.randn(1024), torch.randn(1024)"
            for what, (statement, setup) in OPERATIONS.items():
                times = measure_apart(workers, statement, f"{data}\n{setup}", rounds, block)
                rows.append(
                    [what, size, str(count), pair_text(times["flambeau"]), pair_text(times["torch"]), ratio_text(times)]
                )
    workers.close()
    return table("Operators", ["", "size", "threads", "flambeau min / median", "PyTorch", "ratio"], rows)


def example(
    name: str, framework: str, count: int, steps: int, folder: str, **environment: str
) -> tuple[list[float], str]:
    """Runs an example in a process of its own: the seconds of its steps, and what it wrote to stderr."""
    losses = os.path.join(folder, "losses.json")
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), "--framework", framework, "--threads", str(count)]
    command += ["--steps", str(steps), "--losses", losses, "--out", folder]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(Path(losses).read_text())["seconds"], done.stderr


def training(threads: list[int], rounds: int, block: float) -> str:
    """Eager training steps of the examples; the first quarter of each run, which warms up, is left out."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, steps in (("digits", 200), ("chargpt", 60)):
            for count in threads:
                seconds: dict[str, list[float]] = {framework: [] for framework in FRAMEWORKS}
                for _ in range(3):
                    for framework in FRAMEWORKS:
                        run, _ = example(name, framework, count, steps, folder)
                        seconds[framework] += run[len(run) // 4 :]
                times = {f: Times(min(s), statistics.median(s)) for f, s in seconds.items()}
                rows.append(
                    [name, str(count), pair_text(times["flambeau"]), pair_text(times["torch"]), ratio_text(times)]
                )
    return table("Training step, eager", ["", "threads", "flambeau min / median", "PyTorch", "ratio"], rows)


def second_process(threads: list[int], rounds: int, block: float) -> str:
    """Kernels compiled by the first and by the second process that run the same example."""
    rows = []
    for name, steps in (("digits", 30), ("chargpt", 3)):
        with tempfile.TemporaryDirectory() as folder:
            row = [name]
            for _ in range(2):
                cache = os.path.join(folder, "kernels")
                _, log = example(name, "flambeau", 1, steps, folder, FLAMBEAU_CACHE_DIR=cache, FLAMBEAU_DEBUG="1")
                row.append(str(len(re.findall(r"^flambeau: compiled ", log, re.MULTILINE))))
            rows.append(row)
    return table("Kernels compiled", ["example", "first process", "second process"], rows)


SECTIONS: dict[str, Callable[[list[int], int, float], str]] = {
    "gemm": gemm,
    "dispatch": dispatch,
    "memory": memory,
    "training": training,
    "second-process": second_process,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--block", type=float, default=0.02, help="seconds that one round of one framework takes")
    parser.add_argument("--out", type=Path, help="also write the tables to this file")
    args = parser.parse_args()
    versions = f"flambeau {flambeau.__version__}, PyTorch {torch.__version__}, Python {platform.python_version()}"
    texts = [f"{processor()}; {versions}\n"]
    print(texts[0], flush=True)
    for name in args.only:
        texts.append(SECTIONS[name](args.threads, args.rounds, args.block))
        print(texts[-1], flush=True)
    if args.out:
        args.out.write_text("\n".join(texts))


if __name__ == "__main__":
    main()
