"""Training on parts of unequal length: who has run out of batches shadows the communication of the others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any

from ... import ops
from .. import distributed_c10d as c10d

__all__ = ["Join", "JoinHook", "Joinable"]


class JoinHook:
    """What one ``Joinable`` does in a process that has no batches left."""

    def main_hook(self) -> None:
        """Takes part in everything that the others communicate in one iteration."""

    def post_hook(self, is_last_joiner: bool) -> None:
        """Runs once all processes have joined; ``is_last_joiner``: this one was among the last."""


class _Context:
    """What the joinables inside of a ``Join`` know of it; the ``first`` tells the others of each iteration."""

    def __init__(self, first: Joinable, throw: bool) -> None:
        self.first, self.throw = first, throw
        self.active: Any = None  # how many processes take part in this iteration, once the communication is done


class Joinable(ABC):
    """What communicates in every iteration, and can be shadowed.  In each iteration, before anything else is sent, it
    has to call ``Join.notify_join_context(self)``."""

    _join_context: _Context | None = None  # of the class: modules and optimizers are made in their own ways

    @abstractmethod
    def join_hook(self, **kwargs: Any) -> JoinHook:
        """The hook for one ``Join``, whose further arguments arrive here."""

    @property
    @abstractmethod
    def join_device(self) -> Any:
        """Where the tensors of the context's own communication live."""

    @property
    @abstractmethod
    def join_process_group(self) -> Any:
        """The group in which processes tell each other that they still take part."""


class Join:
    """Inside, each process runs through its own batches; who leaves early shadows the others until all are done.

    Args:
        joinables: what communicates, in the order in which it does so in an iteration.
        enable: False makes the context do nothing, where all are known to have as many batches.
        throw_on_early_termination: raise RuntimeError everywhere as soon as one process has no batches left.
        kwargs: what the ``join_hook`` of each joinable gets.

    Raises ValueError without joinables, and where they are of several devices or process groups.
    """

    def __init__(
        self, joinables: list[Joinable], enable: bool = True, throw_on_early_termination: bool = False, **kwargs: Any
    ) -> None:
        if not joinables:
            raise ValueError("The join context manager requires at least one joinable")
        self._joinables = list(joinables)
        self._hooks = [joinable.join_hook(**kwargs) for joinable in self._joinables]
        self._enable, self._throw = enable, throw_on_early_termination
        first = self._joinables[0]
        self._device, self._group = first.join_device, first.join_process_group
        for other in self._joinables[1:]:
            if other.join_process_group is not self._group:
                raise ValueError("Using join context manager with multiple process groups")
            if other.join_device != self._device:
                raise ValueError("Using join context manager with multiple devices")

    def __enter__(self) -> None:
        if self._enable:
            context = _Context(self._joinables[0], self._throw)
            for joinable in self._joinables:
                joinable._join_context = context

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._enable:
            return
        for joinable in self._joinables:
            joinable._join_context = None
        if kind is None:
            self._shadow()

    def _count(self, mine: int) -> Any:
        """The sum of a number over the processes."""
        number = ops.full((1,), float(mine), device=self._device)
        c10d.all_reduce(number, group=self._group)
        return number.item()

    def _shadow(self) -> None:
        last = True
        while self._count(0):
            if self._throw:
                self._count(1)
                raise RuntimeError(f"Rank {c10d.get_rank(self._group)} exhausted all inputs.")
            for hook in self._hooks:
                hook.main_hook()
            last = False
        for hook in self._hooks:
            hook.post_hook(last)

    @staticmethod
    def notify_join_context(joinable: Joinable) -> Any:
        """Tells the processes that have joined of another iteration; called by every joinable at its beginning.

        Returns the communication under way, and None outside of a context and for others than its first joinable.
        Raises RuntimeError if a process has no batches left and the context is to end then.
        """
        context = joinable._join_context
        if context is None or context.first is not joinable:
            return None
        device, group = joinable.join_device, joinable.join_process_group
        context.active = ops.ones((1,), device=device)
        work = c10d.all_reduce(context.active, group=group, async_op=True)
        if context.throw:
            ended = ops.zeros((1,), device=device)
            c10d.all_reduce(ended, group=group)
            if ended.item():
                raise RuntimeError("Detected at least one rank that exhausted inputs. Throwing across all ranks.")
        return work
