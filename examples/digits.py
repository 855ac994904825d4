"""Trains a small convolutional network on 1,797 real handwritten digits (8 x 8 pixels) to over 98 %.

    python examples/digits.py                      # flambeau
    python examples/digits.py --framework torch    # the same lines under PyTorch

Data: UCI "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, 1998), which scikit-learn
carries: nothing is downloaded.  Writes a checkpoint and a picture of predictions to out/digits/.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path

import numpy as np

try:
    import matplotlib
    from sklearn.datasets import load_digits
    from tqdm import tqdm
except ImportError as missing:
    sys.exit(f"This example needs {missing.name}, which is not installed. Run:  pip install '.[examples]'")

parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
parser.add_argument("--framework", choices=["flambeau", "torch"], default="flambeau")
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--steps", type=int, help="stop after so many training steps, whatever --epochs says")
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--lr", type=float, default=2e-3, help="highest learning rate")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--threads", type=int, help="CPU threads; the framework's choice when left out")
parser.add_argument("--losses", type=Path, help="write the loss of every step to this JSON file")
parser.add_argument("--out", type=Path, default=Path("out/digits"), help="folder of the checkpoint and the picture")
args = parser.parse_args()

if args.framework == "torch":
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset, random_split
else:
    import flambeau as torch
    from flambeau import nn
    from flambeau.utils.data import DataLoader, TensorDataset, random_split


class Net(nn.Module):
    """(N, 1, 8, 8) images -> (N, 10) scores.

    GELU and average pooling have no kinks.  With ReLU and maximum pooling rounding errors of the seventh
    digit would decide which way some values go, and runs would differ visibly within a hundred steps.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.GELU(),
            nn.Conv2d(32, 64, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.GELU(),
            nn.AvgPool2d(2),
        )  # (N, 64, 4, 4)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64 * 4 * 4, 128),
            nn.GELU(),
            nn.Dropout(0.3),
            nn.Linear(128, 10),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images))


def load() -> TensorDataset:
    """All images, (1797, 1, 8, 8) in 0..1, with their digits."""
    digits = load_digits()
    images = torch.from_numpy(digits.images.astype(np.float32) / 16).unsqueeze(1)
    return TensorDataset(images, torch.from_numpy(digits.target.astype(np.int64)))


@torch.no_grad()
def predict(model: nn.Module, loader: DataLoader) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The images of ``loader``, their digits, and the digits that the model takes them for."""
    model.eval()
    images, labels, guesses = [], [], []
    for image, label in loader:
        images.append(image)
        labels.append(label)
        guesses.append(model(image).argmax(dim=1))
    return torch.cat(images), torch.cat(labels), torch.cat(guesses)


def draw(images: torch.Tensor, labels: torch.Tensor, guesses: torch.Tensor, path: Path) -> None:
    """A picture of 40 test digits with the prediction above each; the mistakes come first, in red."""
    matplotlib.use("agg")
    from matplotlib import pyplot

    order = torch.argsort((guesses == labels).to(torch.int64), stable=True)[:40].tolist()
    figure, axes = pyplot.subplots(5, 8, figsize=(8, 6))
    for axis, index in zip(axes.flat, order):
        guess, label = guesses[index].item(), labels[index].item()
        axis.imshow(images[index, 0].numpy(), cmap="gray_r")
        axis.set_title(f"{guess}" if guess == label else f"{guess}, is {label}", color="k" if guess == label else "r")
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main() -> None:
    torch.manual_seed(args.seed)
    if args.threads:
        torch.set_num_threads(args.threads)
    train_set, test_set = random_split(load(), [1437, 360])
    train = DataLoader(train_set, batch_size=args.batch_size, shuffle=True, drop_last=True)
    test = DataLoader(test_set, batch_size=360)

    model = Net()
    print(model)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(train_set)} + {len(test_set)} images")
    steps = min(args.steps or math.inf, args.epochs * len(train))
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, eps=1e-5, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=args.lr, total_steps=args.epochs * len(train), pct_start=0.4, cycle_momentum=False
    )
    criterion = nn.CrossEntropyLoss(label_smoothing=0.05)

    losses: list[float] = []
    seconds: list[float] = []
    progress = tqdm(total=steps, unit="step")
    while len(losses) < steps:
        model.train()
        for images, labels in train:
            start = time.perf_counter()
            loss = criterion(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            seconds.append(time.perf_counter() - start)
            progress.update()
            progress.set_postfix(loss=f"{losses[-1]:.4f}")
            if len(losses) == steps:
                break
    progress.close()

    images, labels, guesses = predict(model, test)
    accuracy = (guesses == labels).float().mean().item()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.save({"model": model.state_dict(), "accuracy": accuracy}, args.out / "digits.pt")
    draw(images, labels, guesses, args.out / "predictions.png")
    if args.losses:
        args.losses.write_text(json.dumps({"framework": args.framework, "losses": losses, "seconds": seconds}))

    # The checkpoint holds the whole model: a new one that loads it says the same.
    restored = Net()
    restored.load_state_dict(torch.load(args.out / "digits.pt")["model"])
    assert torch.equal(predict(restored, test)[2], guesses)
    print(f"test accuracy {accuracy:.2%}; wrote {args.out}/digits.pt and {args.out}/predictions.png")


if __name__ == "__main__":
    main()
