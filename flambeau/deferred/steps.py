"""What a call does besides the work on tensors: optimizers and schedules step, and random numbers are drawn; a repeated
call does it again.

An optimizer's step is Python that counts, asks its schedule for a rate, and ends in numbers for one update of all
tensors.  When a call that will be repeated is watched (``Steps``), it notes which optimizers and schedules stepped, in
which order, and where their numbers stand in the program.  When it is repeated (``Again``), they step again, as far as
the numbers.  Of random numbers it is noted which memory was filled how (``Draw``); a repeated call fills memory of its
own in the same order, so that the stream of numbers goes on as it would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import ref

from ..generator import default_generator
from ..layout import Layout
from ..storage import Storage, allocate
from ..tensor import Tensor, address, numpy_view
from .deferral import Deferral, deferral

__all__ = ["Again", "Changed", "Draw", "Steps", "Update", "acting", "draw"]


class Changed(Exception):
    """A repeated call does something else than the one that was watched."""


class Update(NamedTuple):
    """An update of tensors in the program: what tells it apart, what it writes, and its run-time numbers."""

    key: tuple[Any, ...]
    written: list[Storage]
    first: int
    count: int


class Draw:
    """Memory that a call filled with random numbers, all of it: its storage (while that lives), bytes, elements, and
    what fills so many elements at an address."""

    __slots__ = ("fill", "nbytes", "numel", "storage")

    def __init__(self, storage: Storage, numel: int, fill: Callable[[int, int], object]) -> None:
        self.storage, self.nbytes, self.numel, self.fill = ref(storage), storage.nbytes, numel, fill

    def again(self) -> Storage:
        """New memory, filled with the next numbers."""
        storage = allocate(self.nbytes)
        self.fill(storage.ptr, self.numel)
        return storage


class Steps:
    """Notes what steps, and what is drawn, while a call is watched.

    ``actors`` are what is to ``step()`` again, in order; ``stepped`` the leaves that had a gradient when their
    optimizer did, with its layout; ``draws`` the memory to be filled again; ``spoiled``: something was done that a
    repeated call could not do.
    """

    again = False

    def __init__(self, recorder: Deferral) -> None:
        self.recorder = recorder
        self.actors: list[Any] = []
        self.stepped: dict[Tensor, Layout] = {}
        self.updates: list[Update] = []
        self.draws: list[Draw] = []
        self.spoiled = False
        self._stream = default_generator.snapshot()
        self._depth = 0
        self._own = 0  # words of the program that belong to updates

    def update(self, key: tuple[Any, ...], written: Sequence[Tensor], first: int, count: int, words: int) -> None:
        """An update was recorded, in so many words of the program, with its numbers from ``first`` on."""
        self.updates.append(Update(key, [t._storage for t in written], first, count))
        self._own += words
        self.spoiled |= not self._depth  # a function of ``optim`` called by itself: nobody would call it again

    @contextmanager
    def acting(self, owner: Any, repeatable: bool) -> Iterator[None]:
        """While ``owner.step`` runs."""
        if self._depth:
            yield
            return
        recorder = self.recorder
        before = len(recorder.text) - self._own, recorder.runs, recorder.outside
        for group in getattr(owner, "param_groups", ()):
            self.stepped.update((t, t._grad._layout) for t in group["params"] if t._grad is not None)
        self._depth = 1
        try:
            yield
        finally:
            self._depth = 0
            self.actors.append(owner)
            self.spoiled |= not repeatable or before != (
                len(recorder.text) - self._own,
                recorder.runs,
                recorder.outside,
            )

    def advanced(self, counters: Sequence[Tensor]) -> None:
        """These counters were advanced by one."""

    def draw(self, target: Tensor, fill: Callable[[int, int], object]) -> None:
        """Fills a tensor, which is to be all of its memory, with numbers of the generator that everybody shares; they
        are to depend on nothing else."""
        storage, layout = target._storage, target._layout
        self.spoiled |= (
            self._depth > 0
            or not self.explains()
            or storage.owner is not None
            or storage.nbytes != layout.nbytes
            or any(isinstance(c.cell_contents, Tensor) for c in getattr(fill, "__closure__", None) or ())
        )
        fill(address(target), layout.numel)
        self.spoiled |= self.explains()
        self._stream = default_generator.snapshot()
        self.draws.append(Draw(storage, layout.numel, fill))

    def explains(self) -> bool:
        """Whether that generator gave no numbers but those that are noted."""
        return self._stream == default_generator.snapshot()


class Again:
    """Takes the numbers of updates while the actors of a repeated call step; ``numbers`` are those of its
    program."""

    again = True

    def __init__(self, updates: Sequence[Update], numbers: list[float | int]) -> None:
        self._updates, self._numbers = updates, numbers
        self._taken = 0
        self._counters: list[Sequence[Tensor]] = []

    def take(self, key: tuple[Any, ...], written: Sequence[Tensor], numbers: Sequence[float]) -> None:
        """The next update has these numbers."""
        at = self._taken
        if at >= len(self._updates):
            raise Changed
        wanted = self._updates[at]
        if key != wanted.key or wanted.count != len(numbers) or [t._storage for t in written] != wanted.written:
            raise Changed
        self._numbers[wanted.first : wanted.first + wanted.count] = numbers
        self._taken = at + 1

    def run(self, actors: Sequence[Any]) -> None:
        """Has all of them step; raises Changed, with their counters as they were."""
        recorder = deferral()
        before, recorder.steps = recorder.steps, self
        try:
            for actor in actors:
                actor.step()
            if self._taken != len(self._updates):
                raise Changed
        except Changed:
            self.undo()
            raise
        finally:
            recorder.steps = before

    def acting(self, owner: Any, repeatable: bool) -> Any:
        """While ``owner.step`` runs."""
        return _NOTHING

    def advanced(self, counters: Sequence[Tensor]) -> None:
        """These counters were advanced by one."""
        self._counters.append(counters)

    def undo(self) -> None:
        """Sets the counters back."""
        for counters in self._counters:
            for counter in counters:
                numpy_view(counter)[...] -= 1
        self._counters.clear()


class _Nothing:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        pass


_NOTHING = _Nothing()


def draw(target: Tensor, fill: Callable[[int, int], object]) -> None:
    """Fills a tensor with random numbers by a function of an address and a number of elements: a watched call notes
    it."""
    steps = deferral().steps
    if steps is None or steps.again:
        fill(address(target), target._layout.numel)
    else:
        steps.draw(target, fill)


def acting(owner: Any, repeatable: bool = True) -> Any:
    """A context for the body of ``owner.step``, which changes Python's state only, and tensors by updates: a watched
    call notes that it has to be called again, if it is ``repeatable``."""
    steps = deferral().steps
    return _NOTHING if steps is None else steps.acting(owner, repeatable)
