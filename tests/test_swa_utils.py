"""Averages of weights against PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau as fl
from flambeau.optim import swa_utils

torch = pytest.importorskip("torch")

OPTIONS = {
    "plain": lambda s: {},
    "buffers": lambda s: {"use_buffers": True},
    "ema": lambda s: {"multi_avg_fn": s.get_ema_multi_avg_fn(0.7)},
    "ema by tensor": lambda s: {"avg_fn": s.get_ema_avg_fn(0.7)},
    "swa by tensor": lambda s: {"avg_fn": s.get_swa_avg_fn()},
    "swa": lambda s: {"multi_avg_fn": s.get_swa_multi_avg_fn()},
}


def model(package: Any) -> Any:
    net = package.nn.Sequential(package.nn.Linear(3, 4), package.nn.BatchNorm1d(4))
    with package.no_grad():
        for i, param in enumerate(net.parameters()):
            values = np.arange(param.numel(), dtype="float32").reshape(tuple(param.shape))
            param.copy_(package.tensor(values * 0.1 + i))
    return net


@pytest.mark.parametrize("name", OPTIONS)
def test_averages_as_pytorch(name: str) -> None:
    states = []
    for package, module in ((fl, swa_utils), (torch, torch.optim.swa_utils)):
        net = model(package)
        averaged = module.AveragedModel(net, **OPTIONS[name](module))
        for i in range(4):
            with package.no_grad():
                for param in net.parameters():
                    param.mul_(1.2)
            net(package.ones(2, 3) * i)
            averaged.update_parameters(net)
        assert averaged(package.ones(2, 3)).shape == (2, 4)
        states.append({key: value.numpy() for key, value in averaged.state_dict().items()})
    assert list(states[0]) == list(states[1])
    for key in states[0]:
        np.testing.assert_allclose(states[0][key], states[1][key], rtol=1e-5, atol=1e-6, err_msg=key)


def test_statistics_of_batch_norm_are_computed_anew() -> None:
    rng = np.random.default_rng(0)
    batches = [rng.standard_normal((4, 3)).astype("float32") for _ in range(3)]
    found = []
    for package, module in ((fl, swa_utils), (torch, torch.optim.swa_utils)):
        net = model(package).eval()
        module.update_bn([package.tensor(b) for b in batches[:2]] + [[package.tensor(batches[2]), 0]], net)
        assert not net.training and net[1].momentum == 0.1
        found.append([net[1].running_mean.numpy(), net[1].running_var.numpy(), net[1].num_batches_tracked.item()])
    for ours, theirs in zip(*found):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    swa_utils.update_bn([], fl.nn.Linear(1, 1))


def test_integers_are_averaged_too() -> None:
    for make, expected in ((swa_utils.get_swa_multi_avg_fn(), [3]), (swa_utils.get_ema_multi_avg_fn(0.5), [4])):
        mean, current = fl.tensor([2]), fl.tensor([6])
        make([mean], [current], fl.tensor(3))
        assert mean.tolist() == expected


def test_errors() -> None:
    for make in (swa_utils.get_ema_avg_fn, swa_utils.get_ema_multi_avg_fn):
        with pytest.raises(ValueError, match="Invalid decay"):
            make(1.5)
    with pytest.raises(AssertionError, match="Only one of"):
        swa_utils.AveragedModel(fl.nn.Linear(1, 1), avg_fn=lambda *_: None, multi_avg_fn=lambda *_: None)
