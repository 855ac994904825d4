"""A program that has run, and can run again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from .. import graph, prepared
from ..graph.program import RETRY
from ..layout import Layout
from ..runtime import memory
from ..storage import Storage, maker

if TYPE_CHECKING:
    from ..graph.plan import Plan

__all__ = ["Executed"]

_MUCH = 1 << 20  # bytes of results


class Executed(NamedTuple):
    """A program that has run, and can run again: its plan, what it read, and for each result None or the argument that
    it was written to."""

    plan: Plan
    arguments: list[tuple[Storage, Layout, int]]
    numbers: list[float | int]
    into: list[int | None]

    def run(
        self,
        addresses: Sequence[int],
        storages: Sequence[Storage],
        numbers: Sequence[float | int] | None = None,
        places: Mapping[int, tuple[int, Storage]] = MappingProxyType({}),
        done: Callable[[int], object] | None = None,
    ) -> list[int]:
        """Runs on arguments at these addresses in these storages, with these numbers or those of the first time.

        Returns the addresses of the results, memory of the caller's now but for those that have ``places`` (an address,
        and what owns it).  ``done`` is told which leaving arguments have been read for the last time.
        """
        plan = self.plan
        derived = plan.derived()
        constants = prepared.Run(derived, storages, addresses) if derived else None
        given = self.numbers if numbers is None else numbers
        results = [0] * len(self.into)

        def begin(k: int) -> int:
            nbytes = plan.sizes.get(k, 0)
            if nbytes and self.into[k] is None:
                results[k] = places[k][0] if k in places else memory.allocate(nbytes)
            return results[k]

        try:
            more = constants.addresses if constants is not None else ()
            if plan.in_stages:
                plan.run_in_stages((*addresses, *more), given, begin, done)
            else:
                for k in range(len(results)):
                    begin(k)
                plan.run(results, addresses, given, more)
        except BaseException as error:
            for k, address in enumerate(results):
                if address and k not in places:
                    memory.free(address, plan.sizes[k])
            if isinstance(error, graph.plan.KernelError):
                raise _raised(error.code) from None
            raise
        return results

    def parts(self) -> Parts | None:
        """What the shortest way to run is made of.  There is none where memory comes and goes while the program runs,
        or something is kept of its constants, or for much memory, which had better not wait on the shelves that small
        storages are taken from."""
        plan = self.plan
        sizes = [plan.sizes.get(k, 0) if into is None else 0 for k, into in enumerate(self.into)]
        if plan.in_stages or plan.derived() or sum(sizes) > _MUCH:
            return None
        makers = [maker(nbytes) if nbytes else None for nbytes in sizes]
        count = len(self.into) + plan.inputs
        if plan.single is not None:
            return Parts(plan, plan.single, makers, [*plan.order, *(count + k for k in plan.scalar_order)])
        return Parts(plan, plan.function(), makers, [*range(count + len(self.numbers))])

    def short(self) -> Callable[[Sequence[int], Sequence[float | int]], list[Storage | None]] | None:
        """The shortest way to run: a function of the addresses of the arguments and of the numbers, which returns new
        storages (None for results that go into an argument, or are empty).  None if ``parts`` is."""
        parts = self.parts()
        if parts is None:
            return None
        _, enter, makers, order = parts
        straight = order == [*range(len(makers) + self.plan.inputs)]

        def run(addresses: Sequence[int], numbers: Sequence[float | int]) -> list[Storage | None]:
            made = [None if make is None else make() for make in makers]
            results = [0 if s is None else s.ptr for s in made]
            if straight:
                status = enter(*results, *addresses)
            else:
                values = (*results, *addresses, *numbers)
                status = enter(*[values[k] for k in order])
            if status:
                parts.recover(status, results, addresses, numbers)
            return made

        return run


class Parts(NamedTuple):
    """What the shortest way to run a program is made of: ``enter`` takes those in ``order`` of the addresses of the
    results, those of the arguments and the numbers, and returns 0, or a status that ``recover`` is to be given;
    ``makers`` make the storages of results that are new and not empty."""

    plan: Plan
    enter: Callable[..., int]
    makers: list[Callable[[], Storage] | None]
    order: list[int]

    def recover(
        self, status: int, results: Sequence[int], addresses: Sequence[int], numbers: Sequence[float | int]
    ) -> None:  # fmt: skip
        """Runs the long way where ``enter`` had done nothing yet; raises what went wrong otherwise."""
        if status != RETRY:
            raise _raised(status)
        self.plan.run(results, addresses, numbers)


def _raised(code: int) -> Exception:
    """What a kernel's error code means."""
    kind, text = graph.plan.CODES[code]
    return kind(f"{text} (in an operator of a compiled function, which ran when a value was needed)")
