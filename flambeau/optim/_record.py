"""An update rule as part of the deferred program that computes the gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import primitives as prim
from ..deferred.deferral import NeedsMemory, deferral
from ..deferred.record import Recipe
from ..deferred.steps import Changed
from ..dispatch.call import around
from ..dtype import float32, float64
from ..layout import Layout
from ..primitives import Recorder
from ..tensor import Tensor
from ._launch import alike, others_watch, pending

__all__ = ["record"]

_KEPT = 512  # recipes that are remembered
Formula = Callable[..., Any]
_recipes: dict[tuple[Any, ...], Recipe] = {}


def record(
    name: str,
    formula: Formula,
    variant: Any,
    arrays: Sequence[Sequence[Tensor]],
    scalars: Sequence[Sequence[Any]],
    written: tuple[int, ...],
    maths: Any,
) -> bool:
    """Adds the update of all tensors to the deferred program; False, with nothing done, if none of them waits for it or
    that cannot be.  In a repeated call (``steps.py``) the program has it, and only takes the numbers."""
    every: list[Tensor] = [tensor for tensors in arrays for tensor in tensors]
    recorder = deferral()
    steps = recorder.steps
    again = steps is not None and steps.again
    if not every or not (again or pending(every)):
        return False
    count = len(arrays[0])
    targets = [tensor for i in written for tensor in arrays[i]]
    first = scalars[0]
    shared = list(scalars).count(first) == len(scalars)
    numbers = list(first) if shared else [x for own in scalars for x in own]
    if (
        around.wrappers
        or prim.tracing()
        or others_watch(recorder)
        or not all(t._plain for t in every)
        or len({t._storage.memory for t in targets}) < len(targets)
        or recorder.full()
        or any(isinstance(x, Tensor) for x in numbers)
    ):
        if again:
            raise Changed
        return False
    layouts = tuple([tensor._layout for tensor in every])
    key = (name, variant, count, shared, len(first), layouts)
    if again:
        steps.take(key, targets, numbers)
        return True
    recipe = _recipes.get(key)
    if recipe is None:
        if not all(alike(layouts[i::count]) for i in range(count)):
            return False
        if len(_recipes) >= _KEPT:
            _recipes.clear()
        recipe = _recipes[key] = _trace(name, formula, variant, layouts, count, written, len(numbers), shared, maths)
    words, first = len(recorder.text), len(recorder.numbers)
    try:
        recorder.write_all(targets, recipe, every, [float(x) for x in numbers])
    except NeedsMemory:
        return False
    if steps is not None:
        steps.update(key, targets, first, len(numbers), len(recorder.text) - words)
    return True


def _trace(
    name: str,
    formula: Formula,
    variant: Any,
    layouts: Sequence[Layout],
    count: int,
    written: tuple[int, ...],
    number_count: int,
    shared: bool,
    maths: Any,
) -> Recipe:
    """The rule on tensors of these layouts, array after array, computed as by its kernel (``template.optimizer``).

    Numbers come once for all tensors where they are ``shared``, otherwise for one tensor after the other.
    """
    wide = any(layout.dtype is float64 for layout in layouts)
    work = float64 if wide else float32
    with Recorder() as recorder:
        every = [recorder.placeholder(layout) for layout in layouts]
        numbers = [prim.cast(prim.wrap(recorder.number(0.0)), work) for _ in range(number_count)]
        each = number_count if shared else number_count // count
        found: list[list[Tensor]] = []
        for i in range(count):
            row = [prim.cast(t, work) for t in every[i::count]]
            own = numbers if shared else numbers[i * each : (i + 1) * each]
            found.append(list(formula(variant, row, own, maths)))
        targets = [layouts[i * count + k] for i in written for k in range(count)]
        results = [found[k][j] for j in range(len(written)) for k in range(count)]
        nodes = tuple([prim.read(prim.cast(r, layout.dtype)) for r, layout in zip(results, targets)])
    return Recipe(f"step_{name}", nodes, tuple(targets), True, len(layouts), number_count)
