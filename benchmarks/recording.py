"""What a compiled call costs besides its kernels: replayed, and recorded operator by operator.

    python benchmarks/recording.py [--repeats 300]

Printed are microseconds.  "replayed" is a call with next to nothing in it whose Python does not run.  The other lines
are per operator of functions that count their calls, so that their Python runs at every call; their results are dropped
before anything looks at them, so that nothing but recording is timed.  Each is the least of all repeats.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import flambeau as torch
from flambeau.nn import functional as F

_LAYERS = 20
calls = [0]


def _pointwise(x: Any, w: Any) -> Any:
    calls[0] += 1
    for _ in range(_LAYERS):
        x = (x * w + x).tanh()
    return x


def _layers(x: Any, w: Any) -> Any:
    calls[0] += 1
    for _ in range(_LAYERS):
        x = F.gelu(F.layer_norm(F.linear(x, w), (512,)))
    return x


def _views(x: Any, w: Any) -> Any:
    calls[0] += 1
    for _ in range(_LAYERS):
        x = (x.view(64, 8, 512).transpose(0, 1) * 2.0).transpose(0, 1).reshape(512, 512)
    return x


def _least(run: Callable[[], object], repeats: int) -> float:
    """The seconds of the fastest run."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        result = run()
        best = min(best, time.perf_counter() - start)
        del result
    return best


def main() -> None:
    """Prints a line for each kind of call."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=300)
    repeats = parser.parse_args().repeats
    small = torch.randn(4)
    for mode in ("default", "reduce-overhead"):
        one = torch.compile(lambda x: x + 1, mode=mode)
        with torch.no_grad():
            for _ in range(10):
                one(small)
            print(f"replayed, {mode:40} {1e6 * _least(lambda: one(small), 20 * repeats):6.2f}")  # noqa: B023
    x, w = torch.randn(512, 512), torch.randn(512, 512, requires_grad=True)
    for name, function, operators in (
        ("products, sums, tanh", _pointwise, 3 * _LAYERS),
        ("linear, layer_norm, gelu", _layers, 3 * _LAYERS),
        ("views, products", _views, 5 * _LAYERS),
    ):
        for grad in (False, True):
            compiled = torch.compile(function)
            weight = w if grad else w.detach()
            with torch.enable_grad():
                seconds = _least(lambda: compiled(x, weight), repeats) / operators  # noqa: B023
            print(f"recorded, {name:25} {'with grad mode' if grad else 'without':14} {1e6 * seconds:6.2f}")


if __name__ == "__main__":
    main()
