"""Whole models trained for a few steps: the same losses as PyTorch's, eager and compiled."""

from __future__ import annotations

import numpy as np
import pytest
from nn_reference import check, torch

import flambeau


def perceptron(p):
    # No bias before the normalisation: its gradient is rounding alone, which AdamW would magnify.
    return p.nn.Sequential(
        p.nn.Linear(6, 16, bias=False), p.nn.BatchNorm1d(16), p.nn.ReLU(), p.nn.Dropout(0.2), p.nn.Linear(16, 3)
    )


def convolutional(p):
    m = p.nn
    return m.Sequential(
        m.Unflatten(1, (1, 2, 3)),
        m.Conv2d(1, 4, 2, padding=1),
        m.GroupNorm(2, 4),
        m.GELU(),
        m.MaxPool2d(2),
        m.Conv2d(4, 4, 1, groups=2, bias=False),
        m.AdaptiveAvgPool2d(1),
        m.Flatten(),
        m.Linear(4, 3),
    )


def recurrent(p):
    class Model(p.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = p.nn.LSTM(2, 5, bidirectional=True, batch_first=True)
            self.out = p.nn.Linear(10, 3)

        def forward(self, x):
            return self.out(self.rnn(x.reshape(-1, 3, 2))[0][:, -1])

    return Model()


def transformer(p):
    class Model(p.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = p.nn.Linear(2, 8)
            layer = p.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=True)
            self.encoder = p.nn.TransformerEncoder(layer, 2, p.nn.LayerNorm(8), enable_nested_tensor=False)
            self.out = p.nn.Linear(8, 3)

        def forward(self, x):
            mask = p.nn.Transformer.generate_square_subsequent_mask(3)
            return self.out(self.encoder(self.embed(x.reshape(-1, 3, 2)), mask=mask).mean(1))

    return Model()


def losses(p, make, steps=4, compiled=False):
    rng = np.random.default_rng(0)
    x = p.from_numpy(rng.standard_normal((12, 6)).astype(np.float32))
    y = p.from_numpy(rng.integers(0, 3, 12))
    model = make(p)
    if compiled:
        model = p.compile(model)
    optimizer = p.optim.AdamW(model.parameters(), lr=0.02)
    criterion = p.nn.CrossEntropyLoss(label_smoothing=0.1)
    result = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        p.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        result.append(loss.item())
    model.eval()
    return result, model(x), {name: tensor for name, tensor in model.state_dict().items() if "num_batches" in name}


MODELS = [perceptron, convolutional, recurrent, transformer]


@pytest.mark.parametrize("make", MODELS, ids=[make.__name__ for make in MODELS])
def test_training(make):
    check(lambda p: losses(p, make), tolerance=2e-4)


@pytest.mark.parametrize("make", MODELS[1:], ids=[make.__name__ for make in MODELS[1:]])
def test_compiled_training(make):
    torch.manual_seed(0)
    flambeau.manual_seed(0)
    expected = losses(torch, make)[0]
    np.testing.assert_allclose(losses(flambeau, make, compiled=True)[0], expected, rtol=2e-4)
