"""Training steps of a comparison's models: compiled against eager, loss by loss.

    python benchmarks/fifty_steps.py WORKLOADS [--only REGEX] [--steps 50]

WORKLOADS is the folder of the comparison's workloads (``catalog.py``, ``w_train.py``).  Every model is trained in eager
mode, with ``compile`` and with ``mode="reduce-overhead"``, from the same weights on the same data.  Printed is the
largest difference of a loss from that of eager execution, relative to it, and the first and last loss.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from typing import Any

import numpy as np

import flambeau as torch

MODES: dict[str, Any] = {
    "eager": lambda f: f,
    "compiled": torch.compile,
    "reduce-overhead": lambda f: torch.compile(f, mode="reduce-overhead"),
}


def main() -> None:
    """Trains each model in each mode and prints a line for it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workloads")
    parser.add_argument("--only", default="")
    parser.add_argument("--steps", type=int, default=50)
    args = parser.parse_args()
    sys.path.insert(0, args.workloads)
    os.environ["BENCH_FRAMEWORK"] = "flambeau"
    catalog, common, train = (importlib.import_module(name) for name in ("catalog", "common", "w_train"))
    for case in (c.as_dict() for c in catalog.CASES):
        name = case["id"]
        if not name.startswith("train/") or not re.search(args.only, name):
            continue
        arrays = common.arrays(case)
        losses = {}
        for mode, compiled in MODES.items():
            train.maybe_compile = compiled
            torch.manual_seed(0)
            bench = train.build(case, arrays)
            losses[mode] = np.array([float(bench.step()) for _ in range(args.steps)])
        eager = losses["eager"]
        apart = [np.max(np.abs(losses[m] - eager) / np.maximum(np.abs(eager), 1e-12)) for m in list(MODES)[1:]]
        print(f"{name:32} {apart[0]:9.1e} {apart[1]:9.1e}   loss {eager[0]:.4f} -> {eager[-1]:.4f}", flush=True)


if __name__ == "__main__":
    main()
