"""A program that has run, and can run again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from .. import graph, prepared
from ..layout import Layout
from ..runtime import memory
from ..storage import Storage

if TYPE_CHECKING:
    from ..graph.plan import Plan

__all__ = ["Ran"]


class Ran(NamedTuple):
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
                kind, text = graph.plan.CODES[error.code]
                raise kind(
                    f"{text} (in an operator of a compiled function, which ran when a value was needed)"
                ) from None
            raise
        return results
