"""The functional forms of all optimizers in one place."""

from __future__ import annotations

import math

from ..tensor import Tensor
from .adadelta import adadelta
from .adagrad import adagrad
from .adam import adam
from .adamax import adamax
from .adamw import adamw
from .asgd import asgd
from .nadam import nadam
from .radam import radam
from .rmsprop import rmsprop
from .rprop import rprop
from .sgd import sgd

__all__ = [
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "adamw",
    "asgd",
    "nadam",
    "radam",
    "rmsprop",
    "rprop",
    "sgd",
    "sparse_adam",
]


def sparse_adam(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    state_steps: list[int],
    *,
    eps: float,
    beta1: float,
    beta2: float,
    lr: float,
    maximize: bool,
) -> None:
    """One step of Adam on the entries that the sparse ``grads`` hold; ``state_steps`` count this step already."""
    for param, grad, exp_avg, exp_avg_sq, step in zip(params, grads, exp_avgs, exp_avg_sqs, state_steps):
        grad = (-grad if maximize else grad).coalesce()
        values = grad._values()
        if values.numel() == 0:
            continue
        where = grad._indices().unbind(0)
        mean, square = exp_avg[where], exp_avg_sq[where]
        mean = mean + (values - mean) * (1 - beta1)
        square = square + (values * values - square) * (1 - beta2)
        exp_avg[where], exp_avg_sq[where] = mean, square
        step_size = lr * math.sqrt(1 - beta2**step) / (1 - beta1**step)
        param.index_put_(where, mean * -step_size / (square.sqrt() + eps), accumulate=True)
