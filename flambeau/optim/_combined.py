"""Schedules made of schedules."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from ..deferred.steps import acting
from ._plateau import ReduceLROnPlateau
from ._schedule import LRScheduler, _set_value, _values
from .optimizer import Optimizer

__all__ = ["ChainedScheduler", "SequentialLR"]


def _check_parts(owner: str, schedulers: Sequence[Any], optimizer: Optimizer) -> None:
    for i, scheduler in enumerate(schedulers):
        if not hasattr(scheduler, "optimizer"):
            raise TypeError(
                f"{owner} at index {i} should have `optimizer` as its attribute, but got {type(scheduler).__name__}"
            )
        if isinstance(scheduler, ReduceLROnPlateau):
            raise ValueError(
                f"{owner} does not support `ReduceLROnPlateau` scheduler as it requires additional kwargs to be "
                f"specified when calling `step`, but got one at index {i} in the given schedulers sequence."
            )
        if scheduler.optimizer is not optimizer:
            raise ValueError(
                f"{owner} expects all schedulers to belong to the same optimizer, but got scheduler "
                f"{type(scheduler).__name__} at index {i} has {scheduler.optimizer}, which is different from "
                f"{type(optimizer).__name__}."
            )


class _Composite(LRScheduler):
    """A schedule that owns others: its state nests theirs."""

    _schedulers: list[LRScheduler]

    def _begin(self, parts: Sequence[LRScheduler]) -> None:
        """Set the initial rates, then let ``parts`` set theirs for epoch 0, each from what the last one left."""
        for group in self.optimizer.param_groups:
            _set_value(group, "lr", group["initial_lr"])
        for part in parts:
            if isinstance(part, _Composite):
                part._update_lr(0)
            else:
                part.last_epoch = -1
                part._initial_step()
        self._last_lr = _values(self.optimizer, "lr")

    def state_dict(self) -> dict[str, Any]:
        """The state, with that of every part under ``"_schedulers"``."""
        state = {key: value for key, value in self.__dict__.items() if key not in ("optimizer", "_schedulers")}
        state["_schedulers"] = [scheduler.state_dict() for scheduler in self._schedulers]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self.__dict__.update({key: value for key, value in state_dict.items() if key != "_schedulers"})
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"]):
            scheduler.load_state_dict(state)


class SequentialLR(_Composite):
    """One schedule after another.

    Args:
        optimizer: the optimizer.
        schedulers: the schedules, in order.
        milestones: the epochs at which the second and later ones begin, each at its epoch 0.
        last_epoch: the last epoch done.
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: list[LRScheduler], milestones: list[int], last_epoch: int = -1
    ) -> None:
        if len(schedulers) < 1:
            raise ValueError(
                f"{type(self).__name__} expects at least one scheduler to be chained, but got no scheduler."
            )
        _check_parts(type(self).__name__, schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                "Sequential Schedulers expects number of schedulers provided to be one more than the number of "
                f"milestone points, but got number of schedulers {len(schedulers)} and the number of milestones to "
                f"be equal to {len(milestones)}"
            )
        self._schedulers = schedulers
        self._milestones = milestones
        self.last_epoch = last_epoch + 1
        self.optimizer = optimizer
        # All parts have set their first rate on being made: undo that, then let the first do it again.
        self.recursive_undo()
        self._begin(schedulers[:1])

    def _update_lr(self, epoch: int | None = None) -> None:
        self.last_epoch = 0
        self._begin(self._schedulers[:1])

    def recursive_undo(self, sched: Any = None) -> None:
        """Set every part back by one epoch."""
        sched = self if sched is None else sched
        if hasattr(sched, "_schedulers"):
            for part in sched._schedulers:
                self.recursive_undo(part)
        elif hasattr(sched, "last_epoch"):
            sched.last_epoch -= 1

    def step(self) -> None:  # type: ignore[override]
        """Go on to the next epoch."""
        with acting(self):
            self.last_epoch += 1
            index = bisect_right(self._milestones, self.last_epoch)
            scheduler = self._schedulers[index]
            if index > 0 and self._milestones[index - 1] == self.last_epoch:
                scheduler._update_lr(0)
            else:
                scheduler.step()
            self._last_lr = scheduler.get_last_lr()


class ChainedScheduler(_Composite):
    """Several schedules at once: each changes the rate that the one before left.

    Args:
        schedulers: the schedules, in order.
        optimizer: their optimizer; None takes that of the first.
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        if len(schedulers) < 1:
            raise ValueError(
                f"{type(self).__name__} expects at least one scheduler to be chained, but got no scheduler."
            )
        optimizer = optimizer or schedulers[0].optimizer
        _check_parts(type(self).__name__, schedulers, optimizer)
        self._schedulers = schedulers  # type: ignore[assignment]
        self.optimizer = optimizer
        self._last_lr = _values(optimizer, "lr")

    def _update_lr(self, epoch: int | None = None) -> None:
        self._begin(self._schedulers)

    def step(self) -> None:  # type: ignore[override]
        """Go on to the next epoch, in all schedules."""
        with acting(self):
            for scheduler in self._schedulers:
                scheduler.step()
            self._last_lr = _values(self.optimizer, "lr")
