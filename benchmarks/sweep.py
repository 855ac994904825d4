"""Operators at 1 MB and 64 MB beside PyTorch, forward and with the gradient: the ratios of their times.

    python benchmarks/sweep.py                                    # everything; about 10 minutes
    python benchmarks/sweep.py --only 'sum|softmax' --mb 1 --threads 1
    python benchmarks/sweep.py --below 1.0                        # only what is slower than PyTorch

Both frameworks run the same text, each in a process of its own, in alternating rounds of some milliseconds; a ratio
is the median over the rounds of PyTorch's time by flambeau's: above 1 flambeau is faster.  A name that ends in " grad"
times forward and backward.
"""

from __future__ import annotations

import argparse
import re
import statistics
from collections.abc import Iterator
from typing import NamedTuple

from workers import Workers


class Case(NamedTuple):
    """What is timed: ``setup`` makes the operands from ``torch`` and ``n`` (float32 elements of the size at hand),
    ``call`` is the expression; ``grad`` also runs the backward pass into the leaves named."""

    name: str
    setup: str
    call: str
    grad: str = ""


_X = "x = torch.randn(n // 1024, 1024)"
_XY = "x, y = torch.randn(n // 1024, 1024), torch.randn(n // 1024, 1024)"
_POSITIVE = "x = torch.rand(n // 1024, 1024) + 0.5"
_IMAGE = "x = torch.randn(max(n // 65536, 1), 64, 32, 32)"


def _cases() -> Iterator[Case]:
    for name in ("neg", "abs", "exp", "log", "sqrt", "rsqrt", "sin", "tanh", "sigmoid", "erf", "reciprocal", "floor"):
        yield Case(name, _POSITIVE, f"torch.{name}(x)", "x" if name in ("exp", "tanh", "sigmoid") else "")
    for name in ("relu", "gelu", "silu", "leaky_relu", "elu", "softplus", "mish", "hardswish"):
        yield Case(name, _X, f"torch.nn.functional.{name}(x)", "x")
    for symbol in ("+", "-", "*", "/"):
        yield Case(f"x {symbol} y", _XY, f"x {symbol} y", "x y" if symbol in "+*" else "")
    yield Case("x * 2", _X, "x * 2")
    yield Case("x ** 2", _X, "x ** 2", "x")
    yield Case("x + row", _X + "; y = torch.randn(1024)", "x + y", "x y")
    yield Case("x + column", _X + "; y = torch.randn(n // 1024, 1)", "x + y", "x y")
    yield Case("maximum", _XY, "torch.maximum(x, y)")
    yield Case("clamp", _X, "x.clamp(-1, 1)", "x")
    yield Case("lerp", _XY, "torch.lerp(x, y, 0.3)")
    yield Case("addcmul", _XY, "torch.addcmul(x, x, y, value=0.5)")
    yield Case("where", _XY + "; m = x > y", "torch.where(m, x, y)", "x y")
    yield Case("masked_fill", _X + "; m = x > 1", "x.masked_fill(m, 0.0)", "x")
    for symbol in (">", "==", "<="):
        yield Case(f"x {symbol} y", _XY, f"x {symbol} y")
    yield Case("isnan", _X, "torch.isnan(x)")
    yield Case("isfinite", _X, "torch.isfinite(x)")
    yield Case("x.add_(y)", _XY, "x.add_(y)")
    yield Case("x.mul_(2)", _X, "x.mul_(1.0)")
    yield Case("x.zero_()", _X, "x.zero_()")
    yield Case("x.copy_(y)", _XY, "x.copy_(y)")
    yield Case("x.relu_()", _X, "x.relu_()")
    yield Case("clone", _X, "x.clone()")
    yield Case("to float64", _X, "x.to(torch.float64)")
    yield Case("to bfloat16", _X, "x.to(torch.bfloat16)")
    yield Case("to int64", _X, "x.to(torch.int64)")
    yield Case("zeros", "", "torch.zeros(n)")
    yield Case("arange", "", "torch.arange(n)")
    for name in ("sum", "mean", "amax", "argmax", "var", "prod", "norm", "logsumexp"):
        for where, dim in (("all", ""), ("rows", "1"), ("columns", "0")):
            if where == "all" and name == "logsumexp":
                continue
            comma = f"dim={dim}" if dim else ""
            grad = "x" if name in ("sum", "mean", "var", "amax") else ""
            yield Case(f"{name} {where}", _X, f"x.{name}({comma})", grad)
    yield Case("max columns", _X, "x.max(0)[0]", "x")
    yield Case("max rows", _X, "x.max(1)[0]", "x")
    yield Case("all", _X + "; m = x > -100", "m.all()")
    yield Case("count_nonzero", _X + "; m = x > 0", "m.sum()")
    yield Case("x.t().sum rows", _X, "x.t().sum(1)")
    yield Case("sum middle", _IMAGE, "x.sum((0, 2, 3))", "x")
    for name in ("softmax", "log_softmax"):
        yield Case(name, _X, f"torch.{name}(x, -1)", "x")
        yield Case(f"{name} columns", _X, f"torch.{name}(x, 0)")
    norm = "; w, b = torch.ones(1024), torch.zeros(1024)"
    yield Case("layer_norm", _X + norm, "torch.nn.functional.layer_norm(x, (1024,), w, b)", "x w b")
    yield Case("rms_norm", _X + norm, "torch.nn.functional.rms_norm(x, (1024,), w)", "x w")
    w = "; w, b = torch.ones(64), torch.zeros(64); m, v = torch.zeros(64), torch.ones(64)"
    yield Case("batch_norm", _IMAGE + w, "torch.nn.functional.batch_norm(x, m, v, w, b, True)", "x w b")
    yield Case("group_norm", _IMAGE + w, "torch.nn.functional.group_norm(x, 8, w, b)", "x w b")
    t = "; t = torch.randint(0, 1024, (n // 1024,))"
    yield Case("cross_entropy", _X + t, "torch.nn.functional.cross_entropy(x, t)", "x")
    yield Case("mse_loss", _XY, "torch.nn.functional.mse_loss(x, y)", "x")
    yield Case(
        "bce_with_logits", _XY + "; y = y.sigmoid()", "torch.nn.functional.binary_cross_entropy_with_logits(x, y)", "x"
    )
    for name in ("cumsum", "cumprod"):
        for where, dim in (("rows", 1), ("columns", 0)):
            yield Case(f"{name} {where}", _X, f"torch.{name}(x, {dim})", "x" if name == "cumsum" else "")
    yield Case("cumsum one row", "x = torch.randn(n)", "torch.cumsum(x, 0)")
    yield Case("cummax rows", _X, "torch.cummax(x, 1)[0]")
    yield Case("sort rows", _X, "torch.sort(x, 1)[0]", "x")
    yield Case("sort one row", "x = torch.randn(n // 4)", "torch.sort(x)[0]")
    yield Case("argsort columns", _X, "torch.argsort(x, 0)")
    yield Case("topk rows", _X, "torch.topk(x, 10, 1)[0]", "x")
    i = "; i = torch.randint(0, 1024, (n // 1024, 1024))"
    yield Case("gather rows", _X + i, "torch.gather(x, 1, i)", "x")
    r = "; i = torch.randint(0, n // 1024, (n // 1024,))"
    yield Case("index_select rows", _X + r, "torch.index_select(x, 0, i)", "x")
    yield Case("x[i]", _X + r, "x[i]", "x")
    yield Case("index_select columns", _X + "; i = torch.randint(0, 1024, (1024,))", "torch.index_select(x, 1, i)", "x")
    e = "w = torch.randn(5000, 256); i = torch.randint(0, 5000, (n // 256,))"
    yield Case("embedding", e, "torch.nn.functional.embedding(i, w)", "w")
    yield Case("index_add", _XY + r, "x.index_add(0, i, y)")
    yield Case("scatter_add", _XY + i, "x.scatter_add(1, i, y)")
    yield Case("masked_select", _X + "; m = x > 0", "x[m]")
    yield Case("nonzero", _X + "; m = x > 1", "m.nonzero()")
    yield Case("cat rows", _XY, "torch.cat([x, y], 0)", "x y")
    yield Case("cat columns", _XY, "torch.cat([x, y], 1)", "x y")
    yield Case("stack", _XY, "torch.stack([x, y], 1)", "x y")
    yield Case("transpose copy", _X, "x.t().contiguous()", "x")
    heads = "x = torch.randn(max(n // 1048576, 1), 2048 if n > 1048576 else n // 512, 8, 64)"
    yield Case("heads copy", heads, "x.transpose(1, 2).contiguous()", "x")
    yield Case("flip", _X, "x.flip(1)")
    yield Case("roll", _X, "x.roll(3, 1)")
    yield Case("pad", _IMAGE, "torch.nn.functional.pad(x, (1, 1, 1, 1))", "x")
    yield Case("tril", _X, "x.tril()", "x")
    yield Case("repeat", "x = torch.randn(n // 4096, 1024)", "x.repeat(4, 1)", "x")
    yield Case("x[:, ::2] copy", _X, "x[:, ::2].contiguous()", "x")
    yield Case("dropout", _X, "torch.nn.functional.dropout(x, 0.1)", "x")
    yield Case("max_pool2d", _IMAGE, "torch.nn.functional.max_pool2d(x, 2)", "x")
    yield Case("avg_pool2d", _IMAGE, "torch.nn.functional.avg_pool2d(x, 2)", "x")
    yield Case("rand", "", "torch.rand(n)")
    yield Case("randn", "", "torch.randn(n)")


def program(case: Case, n: int, training: bool) -> str:
    """A program whose ``call()`` is one call of a case: forward, or forward and backward."""
    lines = [f"n = {n}", case.setup]
    if not training:
        return "\n".join([*lines, "def call():", f"    {case.call}"])
    leaves = case.grad.split()
    lines += [f"{leaf}.requires_grad_()" for leaf in leaves]
    lines += [f"shaped = {case.call}", "seed = torch.ones_like(shaped)", "del shaped", "def call():"]
    return "\n".join([*lines, f"    torch.autograd.grad({case.call}, [{', '.join(leaves)}], seed)"])


def main() -> None:
    """Runs the sweep that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="regular expression for the names of cases")
    parser.add_argument("--mb", type=int, nargs="*", default=[1, 64], help="megabytes of an operand")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--below", type=float, default=1e9, help="show only ratios below this")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slot", type=float, default=0.006, help="seconds that a framework runs in a round")
    options = parser.parse_args()
    ratios = []
    workers = Workers()
    for threads in options.threads:
        workers.set_threads(threads)
        for mb in options.mb:
            for case in _cases():
                for training in (False, True)[: 1 + bool(case.grad)]:
                    name = case.name + " grad" * training
                    if not re.search(options.only, name):
                        continue
                    try:
                        text = program(case, mb << 18, training)
                        times, ratio = workers.measure(text, options.rounds, options.slot)
                    except Exception as error:
                        print(f"{threads} {mb:3d} MB  {name:28s} failed: {error!r:.120}", flush=True)
                        continue
                    ratios.append(ratio)
                    if ratio < options.below:
                        pair = " ".join(f"{t.median * 1e6:10.1f}" for t in times.values())
                        print(f"{threads} {mb:3d} MB  {name:28s} {ratio:6.2f}x {pair} us", flush=True)
    if ratios:
        workers.close()
        print(f"{len(ratios)} cases, geometric mean {statistics.geometric_mean(ratios):.2f}x, least {min(ratios):.2f}x")


if __name__ == "__main__":
    main()
