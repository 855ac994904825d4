"""Values of a forward pass that its backward pass computes again rather than have them kept in between: what is
computed element by element from values that are kept anyway (an activation, a normalised value from its statistics)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from ..deferred.record import ARGUMENT, VIEW, WRITE, Recipe
from ..layout import Layout

__all__ = ["Again", "computed_again"]

Again = dict[int, tuple[Recipe, list[int]]]
"""By number of the value: how it is computed again, and of which others."""

_SHARE = 40  # part of the work of both passes that computing values again may take
_LARGE = 1 << 16  # bytes of the smallest values that are worth it
_DEEP = 3  # values in a row that are computed for one


def computed_again(
    text: Sequence[Any], starts: Sequence[int], layouts: Sequence[Layout], saved: Sequence[int], there: Collection[int]
) -> Again:
    """Those of the values ``saved`` of a program that had better be computed again, and what they are computed of on
    the way.  Values begin at ``starts`` in the text and lie as ``layouts`` say; those in ``there`` are kept."""
    kept = {*saved, *there}
    left = sum(what.work() for what in _recipes(text)) // _SHARE
    found: Again = {}
    needed: set[int] = set()  # by those that are computed again
    for number in saved:
        if number in needed or layouts[number].nbytes < _LARGE:
            continue
        steps: Again = {}
        if not _steps(number, text, starts, kept - {number}, steps, _DEEP):
            continue
        left -= sum(recipe.work() for recipe, _ in steps.values())
        if left < 0:
            break
        found.update(steps)
        kept.discard(number)
        needed.update(k for _, operands in steps.values() for k in operands)
    return found


def _recipes(text: Sequence[Any]) -> Iterable[Recipe]:
    at = 0
    while at < len(text):
        what = text[at]
        if isinstance(what, Recipe):
            yield what
            at += 1 + what.inputs
        else:
            at += {ARGUMENT: 3, VIEW: 4, WRITE: 5}[what]


def _steps(number: int, text: Sequence[Any], starts: Sequence[int], kept: set[int], steps: Again, deep: int) -> bool:
    """Whether a value can be computed element by element from kept ones; adds how to ``steps``."""
    if number in kept or number in steps:
        return True
    at = starts[number]
    what = text[at]
    if what is VIEW:
        return _steps(text[at + 1], text, starts, kept, steps, deep)
    if not isinstance(what, Recipe) or not deep:
        return False
    first = number
    while first and starts[first - 1] == at:
        first -= 1
    given = [k for k in range(len(what.layouts)) if first + k in kept]
    part = what.part(number - first, given)
    if part is None:
        return False
    recipe, arguments, results = part
    operands = [text[at + 1 + k] for k in arguments] + [first + k for k in results]
    if not all(_steps(k, text, starts, kept, steps, deep - 1) for k in operands):
        return False
    steps[number] = recipe, operands
    return True
