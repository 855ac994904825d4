"""Trains the same example with the same seed under flambeau and under PyTorch and compares the loss curves.

    python examples/compare.py digits
    python examples/compare.py chargpt --steps 100

Prints the largest relative difference and the time of a step, draws both curves to out/compare/, and fails
when the difference is larger than rounding errors of float32 explain (--tolerance).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot


class Run(NamedTuple):
    """What one training reported of every step."""

    losses: list[float]
    seconds: list[float]


def train(example: str, framework: str, rest: list[str], out: Path) -> Run:
    """Runs one example in a process of its own; CalledProcessError when it fails."""
    losses = out / f"{example}-{framework}.json"
    script = Path(__file__).with_name(f"{example}.py")
    command = [sys.executable, str(script), "--framework", framework, "--losses", str(losses)]
    command += ["--out", str(out / framework), *rest]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    report = json.loads(losses.read_text())
    return Run(report["losses"], report["seconds"])


def draw(example: str, runs: dict[str, Run], differences: list[float], path: Path) -> None:
    """Both curves above, their relative difference below."""
    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(7, 6))
    for (framework, run), style in zip(runs.items(), ("-", "--")):
        above.plot(range(1, len(run.losses) + 1), run.losses, style, label=framework)
    above.set_ylabel("loss")
    above.set_title(f"{example}, same seed")
    above.legend()
    below.semilogy(range(1, len(differences) + 1), [max(d, 1e-9) for d in differences], "k.", markersize=3)
    below.axhline(2**-23, color="gray", linewidth=0.8)
    below.annotate("distance of neighbouring float32 numbers", (1, 2**-23), fontsize=8, va="bottom")
    below.set_ylabel("relative difference")
    below.set_xlabel("step")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], epilog="Other options are passed on to the example."
    )
    parser.add_argument("example", choices=["digits", "chargpt"])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tolerance", type=float, default=1e-5, help="largest relative difference of two losses")
    parser.add_argument("--out", type=Path, default=Path("out/compare"))
    args, rest = parser.parse_known_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rest = ["--steps", str(args.steps), "--seed", str(args.seed), *rest]

    runs = {}
    for framework in ("torch", "flambeau"):
        try:
            runs[framework] = train(args.example, framework, rest, args.out)
        except subprocess.CalledProcessError as error:
            sys.exit(f"{args.example} failed under {framework}:\n{(error.stderr or b'').decode()}")
    reference, ours = runs["torch"], runs["flambeau"]
    differences = [abs(a - b) / abs(a) for a, b in zip(reference.losses, ours.losses)]
    picture = args.out / f"{args.example}.png"
    draw(args.example, runs, differences, picture)

    for framework, run in runs.items():
        half = run.seconds[len(run.seconds) // 2 :]
        milliseconds = statistics.median(half) * 1e3
        print(f"{framework:9} loss {run.losses[0]:.6f} -> {run.losses[-1]:.6f}, {milliseconds:.1f} ms a step")
    worst = max(range(len(differences)), key=differences.__getitem__)
    print(f"largest relative difference in {len(differences)} steps: {differences[worst]:.1e}, at step {worst + 1}")
    print(f"wrote {picture}")
    return int(differences[worst] > args.tolerance)


if __name__ == "__main__":
    sys.exit(main())
