"""Branches for what few lanes need.

A vector function computes the common case for all lanes; where that is wrong in some lane, a branch leads
to more code.  Every lane's result is independent of the lanes beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..builder import Builder, Val
from .lanes import Lanes, any_true, where

__all__ = ["improve", "patch"]


def improve(mask: Lanes, result: Lanes, make: Callable[[], Lanes]) -> Lanes:
    """``result``, with the lanes of ``mask`` from ``make()``, whose code runs only if there are such lanes."""
    b = result.builder
    rare, done, before = b.label("rare"), b.label("done"), b.current
    b.cond_br(any_true(mask), rare, done)
    b.place(rare)
    better = where(mask, make(), result)
    after = b.current
    b.br(done)
    b.place(done)
    return Lanes(b, b.phi(result.type, (result.value, before), (better.value, after)))


def patch(
    name: str,
    operands: Sequence[Lanes],
    result: Lanes,
    rare: Callable[[Sequence[Lanes]], Lanes],
    scalar: Callable[[Builder], str],
) -> Lanes:
    """``result``, with the lanes whose operands satisfy ``rare`` from a scalar function of doubles, one by one.

    ``scalar`` makes that function in the module and returns its symbol.  The loop over the lanes is a cold
    function of its own, so that the room it needs on the stack costs nothing otherwise.
    """
    b = result.builder
    symbol = _define_patch(name, operands, result, rare, scalar)

    def make() -> Lanes:
        return Lanes(b, b.call(result.type, symbol, *(x.value for x in operands), result.value))

    return improve(rare(operands), result, make)


def _define_patch(
    name: str,
    operands: Sequence[Lanes],
    result: Lanes,
    rare: Callable[[Sequence[Lanes]], Lanes],
    scalar: Callable[[Builder], str],
) -> str:
    module, type_, elem, count = result.builder.module, result.type, result.elem, result.count
    symbol = f"fb.{name}.patch.{elem}.{count}"

    def make() -> str:
        b = Builder(module)
        parameters = [Val(f"%x{i}", type_) for i in range(len(operands))] + [Val("%y", type_)]
        rooms = [b.alloca(type_) for _ in parameters]
        for parameter, room in zip(parameters, rooms, strict=True):
            b.store(parameter, room, 64)
        loop, needed, step, end = b.label("loop"), b.label("needed"), b.label("step"), b.label("end")
        b.br(loop)
        b.place(loop)
        lane = Val("%lane", "i64")
        b.emit(f"%lane = phi i64 [ 0, %entry ], [ %next, %{step} ]")
        places = [b.gep(elem, room, lane) for room in rooms]
        values = [Lanes(b, b.load(elem, place, 4)) for place in places[:-1]]
        b.cond_br(rare(values).value, needed, step)
        b.place(needed)
        wide = [v.widen() if v.single else v for v in values]
        answer = Lanes(b, b.call("double", scalar(b), *(v.value for v in wide)))
        b.store((answer.narrow() if elem == "float" else answer).value, places[-1], 4)
        b.br(step)
        b.place(step)
        b.emit("%next = add i64 %lane, 1")
        b.cond_br(b.cmp("ult", Val("%next", "i64"), b.const("i64", count)), loop, end)
        b.place(end)
        b.ret(b.load(type_, rooms[-1], 64))
        head = f"define internal {type_} @{symbol}({', '.join(map(str, parameters))})"
        return f"{head} noinline cold nounwind {module.attributes} {{\nentry:\n{b.body()}\n}}"

    return module.require(symbol, make)
