"""Peak memory of the training steps of a comparison's models: eager, compiled, and the whole step compiled.

    python benchmarks/memory.py WORKLOADS [--only REGEX] [--steps 8]

WORKLOADS is the folder of the comparison's workloads (``catalog.py``, ``w_train.py``).  Each model and mode runs in a
process of its own, one after the other, with kernels on disk (the first run of all compiles them, and is not counted).
For each are printed, in MB, the most that tensors and temporary memory took at one time by the allocator's count, the
most that it held from the system, and the process's peak resident memory from before the model is built, by which
import and planning count too.  The last lines are geometric means of the compiled modes' figures by eager mode's.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

MODES = ("eager", "compiled", "whole step")
FIGURES = ("in use", "held", "resident")


def _resident() -> float:
    """The most memory of this process that was resident since the count was set back, in MB."""
    return int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0]) / 1000


def measure(workloads: str, name: str, mode: str, steps: int) -> dict[str, float]:
    """Trains one model in this process; the figures of its steps, and its last loss."""
    sys.path.insert(0, workloads)
    os.environ["BENCH_FRAMEWORK"] = "flambeau"
    import flambeau as torch
    from flambeau.runtime import memory

    catalog, common, train = (importlib.import_module(m) for m in ("catalog", "common", "w_train"))
    (case,) = (c.as_dict() for c in catalog.CASES if c.id == name)
    Path("/proc/self/clear_refs").write_text("5")
    arrays = common.arrays(case)
    train.maybe_compile = torch.compile if mode == "compiled" else lambda f: f
    step = train.build(case, arrays).step
    if mode == "whole step":
        bare = step
        step = torch.compile(lambda: bare().detach(), mode="reduce-overhead")
    loss = held = 0.0
    for _ in range(steps):
        loss = float(step())
        held = max(held, memory.statistics().reserved / 1e6)
    return dict(zip(FIGURES, (memory.statistics().peak / 1e6, held, _resident()))) | {"loss": loss}


def main() -> None:
    """Runs every model in every mode and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workloads")
    parser.add_argument("--only", default="")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.workloads, *args.one, args.steps)))
        return
    sys.path.insert(0, args.workloads)
    cases = importlib.import_module("catalog").CASES
    names = [c.id for c in cases if c.id.startswith("train/") and re.search(args.only, c.id)]
    ratios: dict[tuple[str, str], list[float]] = {}
    print(f"{'MB':32}" + "".join(f"{m + ': ' + ', '.join(FIGURES):>34}" for m in MODES))
    for name in names:
        found = {}
        for mode in MODES:
            command = [sys.executable, __file__, args.workloads, "--steps", str(args.steps), "--one", name, mode]
            for _ in range(2):
                text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found[mode] = json.loads(text.splitlines()[-1])
        line = ""
        for mode in MODES:
            line += f"{'  '.join(f'{found[mode][f]:8.1f}' for f in FIGURES):>34}"
            for f in FIGURES:
                ratios.setdefault((mode, f), []).append(found[mode][f] / found["eager"][f])
        print(f"{name:32}{line}", flush=True)
    for mode in MODES[1:]:
        means = (math.exp(sum(map(math.log, r)) / len(r)) for r in (ratios[mode, f] for f in FIGURES))
        print(f"{mode:12} by eager: " + "  ".join(f"{f} {m:.2f}" for f, m in zip(FIGURES, means)))


if __name__ == "__main__":
    main()
