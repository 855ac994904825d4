"""What all schedules of learning rates share: the base class, and access to the options of groups."""

from __future__ import annotations

import functools
import types
import warnings
import weakref
from typing import Any

from ..deferred.steps import acting
from ..tensor import Tensor
from .optimizer import Optimizer, _to_scalar

__all__ = ["EPOCH_DEPRECATION_WARNING", "LRScheduler"]

EPOCH_DEPRECATION_WARNING = (
    "The epoch parameter of scheduler.step() is deprecated: call scheduler.step() without it. With it, the closed "
    "form of the schedule is used where there is one, instead of the chainable form."
)


def _values(optimizer: Optimizer, key: str) -> list[Any]:
    """The option ``key`` of every group; tensors are copied."""
    found = [group[key] for group in optimizer.param_groups]
    return [value.clone() if isinstance(value, Tensor) else value for value in found]


def _set_value(group: dict[str, Any], key: str, value: Any) -> None:
    """Set an option of a group; a tensor keeps its identity and is filled."""
    if isinstance(group[key], Tensor):
        group[key].fill_(_to_scalar(value))
    else:
        group[key] = value


def _per_group(name: str, optimizer: Optimizer, value: Any) -> list[Any]:
    """One value for every group, from a list of them or a single one."""
    count = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * count
    if len(value) != count:
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups. "
            f"{name} has {len(value)} values, param_groups has {count}."
        )
    return list(value)


def _check_optimizer(optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")


def _state_of_callable(function: Any) -> dict[str, Any] | None:
    """What of a callable is saved: the attributes of an object, nothing of a function."""
    return None if isinstance(function, types.FunctionType) else function.__dict__.copy()


class _initial_mode:
    """While a scheduler sets the first rate."""

    def __init__(self, scheduler: LRScheduler) -> None:
        self.scheduler = scheduler

    def __enter__(self) -> None:
        self.scheduler._is_initial = True

    def __exit__(self, *exception: object) -> None:
        self.scheduler._is_initial = False


class _enable_get_lr_call:
    """While a scheduler asks itself for rates."""

    def __init__(self, scheduler: LRScheduler) -> None:
        self.scheduler = scheduler

    def __enter__(self) -> _enable_get_lr_call:
        self.scheduler._get_lr_called_within_step = True
        return self

    def __exit__(self, *exception: object) -> None:
        self.scheduler._get_lr_called_within_step = False


class LRScheduler:
    """Base class of schedules: a subclass says in :meth:`get_lr` what the rates are at ``self.last_epoch``.

    Args:
        optimizer: the optimizer whose groups' ``"lr"`` is set.
        last_epoch: the last epoch done, -1 to begin; otherwise groups need their ``"initial_lr"``.

    Raises:
        TypeError: ``optimizer`` is none.
        KeyError: a group lacks ``"initial_lr"`` on resuming.
    """

    _get_lr_called_within_step: bool = False
    _is_initial: bool = False

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        _check_optimizer(optimizer)
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                lr = group["lr"]
                group.setdefault("initial_lr", lr.clone() if isinstance(lr, Tensor) else lr)
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming scheduler with "
                    f"last_epoch >= 0: load the optimizer's state before making the scheduler"
                )
        self.base_lrs: list[Any] = _values(optimizer, "initial_lr")
        self.last_epoch = last_epoch
        _watch_step(optimizer)
        self._initial_step()

    def _initial_step(self) -> None:
        self._step_count = 0
        with _initial_mode(self):
            self.step()

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimizer."""
        return {key: value for key, value in self.__dict__.items() if key != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` gave."""
        self.__dict__.update(state_dict)

    def get_last_lr(self) -> list[Any]:
        """The rates set last."""
        return self._last_lr

    def get_lr(self) -> list[Any]:
        """The rates at ``self.last_epoch``, from those that the groups have now; called by :meth:`step`."""
        raise NotImplementedError(f"{type(self).__name__} does not define get_lr()")

    def step(self, epoch: int | None = None) -> None:
        """Go on to the next epoch, or to ``epoch``, and set the rates of all groups."""
        if self._step_count == 1:
            self._warn_of_order()
        self._step_count += 1
        if epoch is not None:
            warnings.warn(EPOCH_DEPRECATION_WARNING, UserWarning, stacklevel=2)
        with acting(self, repeatable=epoch is None):
            self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        with _enable_get_lr_call(self):
            if epoch is None:
                self.last_epoch += 1
                rates = self.get_lr()
            else:
                self.last_epoch = epoch
                closed = getattr(self, "_get_closed_form_lr", None)
                rates = self.get_lr() if closed is None else closed()
        for group, rate in zip(self.optimizer.param_groups, rates):
            _set_value(group, "lr", rate)
        self._last_lr: list[Any] = _values(self.optimizer, "lr")

    def _warn_of_order(self) -> None:
        if not hasattr(self.optimizer.step, "_wrapped_by_lr_sched"):
            warnings.warn(
                "Seems like `optimizer.step()` has been overridden after learning rate scheduler initialization. "
                "Please, make sure to call `optimizer.step()` before `lr_scheduler.step()`.",
                UserWarning,
                stacklevel=3,
            )
        elif not getattr(self.optimizer, "_opt_called", False):
            warnings.warn(
                "Detected call of `lr_scheduler.step()` before `optimizer.step()`. You should call them in the "
                "opposite order: `optimizer.step()` before `lr_scheduler.step()`. Otherwise the first value of the "
                "learning rate schedule is skipped.",
                UserWarning,
                stacklevel=3,
            )

    def _warn_unless_stepping(self) -> None:
        if not self._get_lr_called_within_step:
            warnings.warn(
                "To get the last learning rate computed by the scheduler, please use `get_last_lr()`.",
                UserWarning,
                stacklevel=3,
            )

    def _rates(self) -> list[Any]:
        """The rates that the groups have now."""
        return _values(self.optimizer, "lr")


class _LRScheduler(LRScheduler):
    """The name that the base class had before; kept for subclasses in the wild."""


def _watch_step(optimizer: Optimizer) -> None:
    """Let ``optimizer`` note that its step was called, so that a wrong order can be reported."""
    step = optimizer.step
    if hasattr(step, "_wrapped_by_lr_sched"):
        return
    owner = weakref.ref(optimizer)
    function = step.__func__  # type: ignore[attr-defined]

    @functools.wraps(function)
    def watched(*args: Any, **kwargs: Any) -> Any:
        this = owner()
        this._opt_called = True  # type: ignore[union-attr]
        return function.__get__(this, type(this))(*args, **kwargs)

    watched._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
    optimizer.step = watched  # type: ignore[method-assign]
