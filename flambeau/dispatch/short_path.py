"""What makes the next call of an operator with the same layouts a short one: tables that ``forms`` looks into first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..deferred.record import Recipe
from ..storage import maker
from ..tensor import Tensor
from . import operator as records
from .operator import FACTOR, OPERAND, SCALAR, STATIC, TENSORS, Operator
from .planning import LIMIT, OpPlan, hashable, is_one, tensors_in

if TYPE_CHECKING:
    from ..graph.plan import Plan

__all__ = ["WarmPlan", "WarmWrite", "keep_plan", "keep_recipe"]


class WarmPlan:
    """A plan as a function of the addresses of the results and those of the arguments."""

    __slots__ = ("layout", "make", "plan", "results", "run", "several")

    def __init__(self, plan: OpPlan) -> None:
        assert plan.plan is not None and plan.layout is not None
        self.plan = plan
        self.layout, self.several = plan.layout, plan.several
        self.results = [(layout, maker(layout.span * layout.itemsize)) for layout in plan.layouts]
        self.make, self.run = maker(plan.nbytes), plan.plan.function()


class WarmWrite:
    """A plan of a call in place as a function of 0, the addresses of the arguments, and the numbers."""

    __slots__ = ("plan", "run")

    def __init__(self, plan: Plan) -> None:
        self.plan, self.run = plan, plan.function()


def keep_recipe(op: Operator, args: Sequence[Any], recipe: Recipe) -> None:
    """Makes the next deferred call with these layouts and static arguments a short one."""
    key: list[Any] = []
    for a, kind in zip(args, op.kinds):
        if (a is None and kind in (records.OPTIONAL, SCALAR, OPERAND)) or (kind == FACTOR and is_one(a)):
            key.append(None)
        elif kind == TENSORS:
            key.extend(t._layout for t in a)
        elif kind == STATIC:
            key += [a, a.__class__]
        elif isinstance(a, Tensor):
            key.append(a._layout)
        elif a.__class__ in (int, float, bool):
            key.append(a.__class__)
        else:
            return
    if len(op.quick) >= LIMIT:
        op.quick.clear()
    whole = hashable(tuple(key))
    if whole is not None:
        op.quick[whole] = recipe


def keep_plan(
    table: dict[Any, Any], op: Operator, args: Sequence[Any], kind_of_plan: Callable[[Any], Any], plan: Any
) -> None:
    """Makes the next call with these layouts and static arguments a short one."""
    key: list[Any] = []
    for a, kind in zip(args, op.kinds):
        if kind in (records.TENSOR, records.OPTIONAL):
            key.append(0 if a is None else a._key)
        elif kind == TENSORS:
            key.extend(t._key for t in a)
        elif kind == STATIC:
            key += [a, a.__class__]
        elif a.__class__ is Tensor and kind == OPERAND:
            key.append(a._key)
        elif kind == FACTOR and is_one(a):
            key.append(None)
        elif a is None or a.__class__ in (int, float, bool):
            key.append(a.__class__)
        else:
            return
    if any(t._key is None for t in tensors_in(args)):
        return
    if len(table) >= LIMIT:
        table.clear()
    whole = hashable(tuple(key))
    if whole is not None:
        table[whole] = kind_of_plan(plan)
