"""Averages of weights: stochastic weight averaging (Izmailov et al., UAI 2018) and exponential moving averages."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any, Literal

from .. import ops
from ..autograd.mode import no_grad
from ..device import device as device_type
from ..dtype import int64
from ..nn.modules import Module
from ..nn.modules.batchnorm import _BatchNorm
from ..tensor import Tensor
from ._schedule import LRScheduler, _per_group
from .optimizer import Optimizer

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]

MultiAverage = Callable[[Any, Any, Any], None]
Average = Callable[[Tensor, Tensor, Any], Tensor]


def _check_decay(decay: float) -> None:
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1] range.")


def get_ema_multi_avg_fn(decay: float = 0.999) -> MultiAverage:
    """A function that moves a list of averages towards the current values by ``1 - decay``, in place."""
    _check_decay(decay)

    @no_grad()
    def ema_update(ema_param_list: list[Tensor], current_param_list: list[Tensor], _: Any) -> None:
        for mean, current in zip(ema_param_list, current_param_list):
            if mean.is_floating_point() or mean.is_complex():
                mean.lerp_(current.to(mean.dtype), 1 - decay)
            else:
                mean.copy_(mean * decay + current * (1 - decay))

    return ema_update


def get_swa_multi_avg_fn() -> MultiAverage:
    """A function that takes the current values into the means of ``num_averaged`` values before, in place."""

    @no_grad()
    def swa_update(averaged_param_list: list[Tensor], current_param_list: list[Tensor], num_averaged: Any) -> None:
        for mean, current in zip(averaged_param_list, current_param_list):
            if mean.is_floating_point() or mean.is_complex():
                mean.lerp_(current.to(mean.dtype), float(1 / (num_averaged + 1)))
            else:
                mean.add_((current - mean) // (num_averaged + 1))

    return swa_update


def get_ema_avg_fn(decay: float = 0.999) -> Average:
    """A function of average, current value and count: ``decay * average + (1 - decay) * current``."""
    _check_decay(decay)

    @no_grad()
    def ema_update(ema_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        return decay * ema_param + (1 - decay) * current_param

    return ema_update


def get_swa_avg_fn() -> Average:
    """A function of average, current value and count: the mean with the current value taken in."""

    @no_grad()
    def swa_update(averaged_param: Tensor, current_param: Tensor, num_averaged: Any) -> Tensor:
        return averaged_param + (current_param - averaged_param) / (num_averaged + 1)

    return swa_update


class AveragedModel(Module):
    """A model whose parameters are averages of another's.

    Args:
        model: the model to copy and follow.
        device: where the averages live; None: where the model does.
        avg_fn: new average from average, current value and count, for one tensor.
        multi_avg_fn: the same in place for lists of tensors; at most one of the two may be given, and with
            neither the plain mean is taken.
        use_buffers: average buffers too, instead of copying them.
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: int | device_type | None = None,
        avg_fn: Average | None = None,
        multi_avg_fn: MultiAverage | None = None,
        use_buffers: bool = False,
    ) -> None:
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", ops.tensor(0, dtype=int64, device=device))
        self.avg_fn = avg_fn
        self.multi_avg_fn = multi_avg_fn
        self.use_buffers = use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The averaged model's result."""
        return self.module(*args, **kwargs)

    def update_parameters(self, model: Module) -> None:
        """Take the current parameters of ``model`` into the averages."""
        mine, theirs = ([value.detach() for value in self._averaged(m)] for m in (self.module, model))
        current = [value.to(mean.device) for mean, value in zip(mine, theirs)]
        if self.n_averaged == 0:
            for mean, value in zip(mine, current):
                mean.copy_(value)
        elif self.avg_fn is not None:
            count = self.n_averaged.to(mine[0].device) if mine else self.n_averaged
            for mean, value in zip(mine, current):
                mean.copy_(self.avg_fn(mean, value, count))
        elif mine:
            average = self.multi_avg_fn or get_swa_multi_avg_fn()
            average(mine, current, self.n_averaged.to(mine[0].device))
        if not self.use_buffers:
            for ours, buffer in zip(self.module.buffers(), model.buffers()):
                ours.detach().copy_(buffer.detach().to(ours.device))
        self.n_averaged += 1

    def _averaged(self, model: Module) -> Iterable[Tensor]:
        return itertools.chain(model.parameters(), model.buffers()) if self.use_buffers else model.parameters()


@no_grad()
def update_bn(loader: Iterable[Any], model: Module, device: int | device_type | None = None) -> None:
    """Compute the running statistics of all batch norms in ``model`` anew, by one pass over ``loader``.

    Args:
        loader: gives inputs, or lists and tuples whose first item is the input.
        model: the model; its training flags are restored.
        device: where inputs are moved to first.
    """
    momenta: dict[Module, float | None] = {}
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
            momenta[module] = module.momentum
    if not momenta:
        return
    was_training = model.training
    model.train()
    for module in momenta:
        module.momentum = None  # the plain mean over all batches
    for batch in loader:
        inputs = batch[0] if isinstance(batch, (list, tuple)) else batch
        model(inputs if device is None else inputs.to(device))
    for module, momentum in momenta.items():
        module.momentum = momentum
    model.train(was_training)


class SWALR(LRScheduler):
    """The rate goes to a fixed value and stays there.

    Args:
        optimizer: the optimizer.
        swa_lr: the value, for all groups or for each.
        anneal_epochs: epochs on the way.
        anneal_strategy: "cos" or "linear".
        last_epoch: the last epoch done.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        last_epoch: int = -1,
    ) -> None:
        for rate, group in zip(_per_group("swa_lr", optimizer, swa_lr), optimizer.param_groups):
            group["swa_lr"] = rate
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"anneal_strategy must by one of 'cos' or 'linear', instead got {anneal_strategy}")
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        self._anneal_strategy = anneal_strategy
        self.anneal_epochs = anneal_epochs
        super().__init__(optimizer, last_epoch)

    def anneal_func(self, t: float) -> float:
        """How much of the way is done at the part ``t`` of the time."""
        return t if self._anneal_strategy == "linear" else (1 - math.cos(math.pi * t)) / 2

    def get_lr(self) -> list[Any]:
        """The rates at this step, from those that the groups have now."""
        self._warn_unless_stepping()
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = (self.anneal_func(max(0, min(1, at / max(1, self.anneal_epochs)))) for at in (step - 1, step))
        rates = []
        for group in self.optimizer.param_groups:
            end, rate = group["swa_lr"], group["lr"]
            # The rate was a mix of its start and its end: find the start, then mix anew.
            start = end if before == 1 else (rate - before * end) / (1 - before)
            rates.append(end * now + start * (1 - now))
        return rates
