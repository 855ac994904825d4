"""Training steps of a comparison's models: compiled against eager, and both against double precision.

    python benchmarks/fifty_steps.py WORKLOADS [--only REGEX] [--steps 50] [--double]

WORKLOADS is the folder of the comparison's workloads (``catalog.py``, ``w_train.py``).  Every model is trained in eager
mode, with ``compile`` and with ``mode="reduce-overhead"``, from the same weights on the same data.  Printed is the
largest difference of a loss from that of eager execution, relative to it, and the first and last loss.

Once a loss is a thousandth of what it was, its relative difference tells how far training magnified the rounding errors
of all steps before, not whether a step is right.  ``--double`` separates the two: the same steps are run eagerly in
double precision, and once more in single precision from weights that were moved by at most a unit in the last place
("moved").  A mode is right if it stays about as far from double precision as eager execution and the moved run do.

Each comparison has two numbers: over the steps while the loss is above a hundredth of the first one, and over all.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from types import ModuleType
from typing import Any

import numpy as np

import flambeau as torch

MODES: dict[str, Any] = {
    "eager": lambda f: f,
    "compiled": torch.compile,
    "reduce-overhead": lambda f: torch.compile(f, mode="reduce-overhead"),
}
_ULP = 2.0**-23


def _losses(case: dict[str, Any], modules: tuple[ModuleType, ModuleType], how: str, steps: int) -> np.ndarray:
    """The losses of a case in a mode, or in eager mode with "double" precision or "moved" weights."""
    common, train = modules
    train.maybe_compile = MODES.get(how, MODES["eager"])  # type: ignore[attr-defined]
    arrays, weight = common.arrays(case), common.weight
    moves = np.random.default_rng(1)

    def moved(name: str, shape: Any, dtype: Any = np.float32) -> np.ndarray:
        w = weight(name, shape, dtype)
        return (w * (1 + _ULP * moves.uniform(-1, 1, w.shape))).astype(dtype)

    torch.manual_seed(0)
    try:
        if how == "double":
            torch.set_default_dtype(torch.float64)
            arrays = [a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays]
        elif how == "moved":
            common.weight = moved  # type: ignore[attr-defined]
        bench = train.build(case, arrays)
        return np.array([float(bench.step()) for _ in range(steps)])
    finally:
        torch.set_default_dtype(torch.float32)
        common.weight = weight  # type: ignore[attr-defined]


def _apart(losses: np.ndarray, reference: np.ndarray) -> str:
    """The largest relative difference while the loss is above a hundredth of its first value, and over all steps."""
    relative = np.abs(losses - reference) / np.maximum(np.abs(reference), 1e-12)
    low = np.flatnonzero(np.abs(reference) < 0.01 * abs(reference[0]))
    return f"{np.max(relative[: low[0] if low.size else None]):7.1e} {np.max(relative):7.1e}"


def main() -> None:
    """Trains each model in each mode and prints a line for it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workloads")
    parser.add_argument("--only", default="")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--double", action="store_true")
    args = parser.parse_args()
    sys.path.insert(0, args.workloads)
    os.environ["BENCH_FRAMEWORK"] = "flambeau"
    catalog, common, train = (importlib.import_module(name) for name in ("catalog", "common", "w_train"))
    for case in (c.as_dict() for c in catalog.CASES):
        name = case["id"]
        if not name.startswith("train/") or not re.search(args.only, name):
            continue
        losses = {mode: _losses(case, (common, train), mode, args.steps) for mode in MODES}
        eager = losses["eager"]
        apart = "  ".join(f"{mode} {_apart(losses[mode], eager)}" for mode in list(MODES)[1:])
        print(f"{name:32} from eager: {apart}   loss {eager[0]:.4f} -> {eager[-1]:.4f}", flush=True)
        if args.double:
            exact = _losses(case, (common, train), "double", args.steps)
            losses["moved"] = _losses(case, (common, train), "moved", args.steps)
            apart = "  ".join(f"{mode} {_apart(found, exact)}" for mode, found in losses.items())
            print(f"{'':32} from double: {apart}", flush=True)


if __name__ == "__main__":
    main()
