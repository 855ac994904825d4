"""Fifty training steps, compiled, give the losses and parameters of eager execution."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn
from flambeau.nn import functional as F

STEPS = 50


class Residual(nn.Module):
    """Convolutions with batch norm (and so no bias: its gradient is rounding errors alone), a residual, pooling and a
    classifier."""

    def __init__(self):
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.second, self.norm2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.out = nn.Linear(8, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm1(self.first(x))), 2)
        x = F.relu(self.norm2(self.second(x)) + x)
        return self.out(x.mean((2, 3)))


class Transformer(nn.Module):
    """A causal language model with tied embeddings (no bias of keys: its gradient is rounding errors alone)."""

    def __init__(self):
        super().__init__()
        self.embedding, self.norm1, self.norm2 = nn.Embedding(20, 16), nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.project = nn.Linear(16, 48, bias=False), nn.Linear(16, 16)
        self.up, self.down = nn.Linear(16, 64), nn.Linear(64, 16)

    def forward(self, i):
        x = self.embedding(i)
        q, k, v = (t.unflatten(2, (2, 8)).transpose(1, 2) for t in self.qkv(self.norm1(x)).chunk(3, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        x = x + self.project(y)
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        return (x @ self.embedding.weight.t()).flatten(0, 1)


class Recurrent(nn.Module):
    """An LSTM over a sequence."""

    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(6, 12, batch_first=True), nn.Linear(12, 5)

    def forward(self, x):
        return self.out(self.lstm(x)[0][:, -1])


MODELS = {
    "residual": (Residual, lambda: torch.randn(6, 3, 8, 8), lambda: torch.randint(0, 5, (6,))),
    "transformer": (Transformer, lambda: torch.randint(0, 20, (2, 7)), lambda: torch.randint(0, 20, (14,))),
    "recurrent": (Recurrent, lambda: torch.randn(4, 5, 6), lambda: torch.randint(0, 5, (4,))),
    "dropout": (
        lambda: nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Dropout(0.2), nn.Linear(32, 5)),
        lambda: torch.randn(8, 10),
        lambda: torch.randint(0, 5, (8,)),
    ),
}
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-3),
}


def train(make, data, target, optimizer, compiled):
    torch.manual_seed(3)
    model = make()
    batches = [(data(), target()) for _ in range(3)]
    update = OPTIMIZERS[optimizer](model.parameters())
    run = torch.compile(model) if compiled else model
    losses = []
    for step in range(STEPS):
        update.zero_grad(set_to_none=step % 5 != 4)
        x, y = batches[step % 3]
        loss = F.cross_entropy(run(x), y)
        loss.backward()
        update.step()
        losses.append(loss.item() if step % 7 == 0 else loss.detach())
    return np.array([float(v) for v in losses]), [p.detach().numpy() for p in model.parameters()]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", MODELS)
def test_fifty_steps(name, optimizer):
    losses, parameters = train(*MODELS[name], optimizer, False)
    found, compiled = train(*MODELS[name], optimizer, True)
    assert losses[-3:].mean() < losses[:3].mean()
    np.testing.assert_allclose(found, losses, rtol=2e-3, atol=2e-4)
    for a, b in zip(compiled, parameters):
        np.testing.assert_allclose(a, b, rtol=2e-2, atol=2e-3)
