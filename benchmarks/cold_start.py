"""How long the first training steps of GPT-2 small take with every cache empty: here, and with torch.compile.

    python benchmarks/cold_start.py [--frameworks torch,flambeau] [--steps 6] [--layers 12] [--threads 2] [--touch 6]

Each framework runs in a process of its own, with empty caches in a temporary folder (its own home, so that nothing is
found elsewhere either), one after the other.  Printed are the seconds of every step; the last line is the ratio of the
first steps, by which compiling is compared: both include one run of the step.  torch.compile needs a C++ compiler.

Some virtual machines get their memory when it is first written to, at 4 s a GiB, which would be most of what is
measured: so ``--touch`` GiB are written to and freed just before each process begins.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

_WIDTH, _HEADS, _VOCABULARY, _TOKENS = 768, 12, 50257, 64


def _model(torch: Any, layers: int) -> Any:
    """GPT-2 with learnt positions and a head that shares the embedding's weights."""
    nn, F = torch.nn, torch.nn.functional

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(_WIDTH), nn.LayerNorm(_WIDTH)
            self.qkv, self.out = nn.Linear(_WIDTH, 3 * _WIDTH), nn.Linear(_WIDTH, _WIDTH)
            self.up, self.down = nn.Linear(_WIDTH, 4 * _WIDTH), nn.Linear(4 * _WIDTH, _WIDTH)

        def forward(self, x: Any) -> Any:
            b, t, _ = x.shape
            q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, _HEADS, -1).permute(2, 0, 3, 1, 4)
            found = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(found.transpose(1, 2).reshape(b, t, _WIDTH))
            return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))

    class GPT(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(_VOCABULARY, _WIDTH), nn.Embedding(_TOKENS, _WIDTH)
            self.blocks = nn.ModuleList([Block() for _ in range(layers)])
            self.norm = nn.LayerNorm(_WIDTH)

        def forward(self, tokens: Any) -> Any:
            x = self.tokens(tokens) + self.places.weight
            for block in self.blocks:
                x = block(x)
            return self.norm(x) @ self.tokens.weight.t()

    return GPT()


def measure(framework: str, steps: int, layers: int, threads: int) -> list[float]:
    """The seconds of the first steps in this process."""
    torch = importlib.import_module(framework)
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = _model(torch, layers)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    tokens = torch.randint(0, _VOCABULARY, (1, _TOKENS + 1))
    compiled = torch.compile(model)
    found = []
    for _ in range(steps):
        start = time.perf_counter()
        optimizer.zero_grad()
        z = compiled(tokens[:, :-1])
        loss = torch.nn.functional.cross_entropy(z.view(-1, _VOCABULARY), tokens[:, 1:].reshape(-1))
        loss.backward()
        optimizer.step()
        loss.item()
        found.append(time.perf_counter() - start)
    return found


def _touch(gibibytes: float) -> None:
    """Writes to every page of so much memory, and frees it."""
    subprocess.run(
        [sys.executable, "-c", f"memory = bytearray({int(gibibytes * 2**30)})\nmemory[::4096] = memory[::4096]"],
        check=True,
    )


def main() -> None:
    """Measures each framework in a process with empty caches and prints what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frameworks", default="torch,flambeau")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--touch", type=float, default=6)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.steps, args.layers, args.threads)))
        return
    first = {}
    for name in args.frameworks.split(","):
        with tempfile.TemporaryDirectory() as folder:
            own = ("HOME", "TMPDIR", "XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "FLAMBEAU_CACHE_DIR")
            command = [sys.executable, __file__, "--one", name, "--steps", str(args.steps)]
            command += ["--layers", str(args.layers), "--threads", str(args.threads)]
            environment = os.environ | dict.fromkeys(own, folder)
            _touch(args.touch)
            text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
        seconds = json.loads(text.splitlines()[-1])
        first[name] = seconds[0]
        print(f"{name:10}" + " ".join(f"{s:7.2f}" for s in seconds), flush=True)
    if len(first) > 1:
        (base, *_), (last, *_) = list(first.values())[:1], list(first.values())[-1:]
        print(f"first step: {last / base:.3f} of the other's")


if __name__ == "__main__":
    main()
