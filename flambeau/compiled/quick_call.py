"""The shortest way to repeat a call: one function, written out for its arguments.

``ReduceOverhead.call`` builds a signature of whatever it is given, looks it up, and has the call it finds run.  For a
small net that takes longer than the kernels.  A call whose arguments are plain tensors and constants by position, and
which does nothing but compute its results, becomes a function here that compares these arguments with those of the
watched call, one by one, and runs the program.  Everything else is ``MISSED``, and goes the long way.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import TYPE_CHECKING, Any

from ..autograd.mode import state as grad_state
from ..autograd.saved import watch
from ..deferred.deferral import Deferral, threads
from ..dispatch.call import special
from ..dtype import Default
from ..storage import Storage
from ..tensor import Tensor
from ..transform.level import levels

if TYPE_CHECKING:
    from ..deferred.executed import Parts
    from .replay import Recording

__all__ = ["MISSED", "Quick", "missed", "quick_call"]

MISSED = object()
"""What a quick call returns that is not the one it was made for."""

Quick = Callable[[tuple[Any, ...], dict[str, Any]], Any]
_CONSTANTS = (int, float, bool, str, type(None))

_TEXT = """
def quick(args, kwargs):
    recorder = threads.deferral
    if (
        kwargs or len(args) != {count} or recorder.active or recorder.__class__ is not Deferral or special
        or watch.count or levels.stack or grad_state.grad is not grad or Default.dtype is not default
    ):
        return MISSED
    {arguments}
    if not (guards.same() or guards.hold()){more}:
        return MISSED
    {made}
    status = enter({values})
    if status:
        recover(status, [{results}], [{addresses}], numbers)
    {written}
    {answer}
"""
_TENSOR = """if (
        a{k}.__class__ is not class{k} or a{k}._key is not key{k} or a{k}._requires_grad is not grad{k}
        or a{k}._offset != {offset}{own}
    ):
        return MISSED
    s{k} = a{k}._storage
    if s{k}.__class__ is not Storage or s{k}.nbytes != {nbytes}:
        return MISSED"""
_ALONE = """t = new(Tensor)
    t._layout = t._key = layout
    t._storage = r{place}
    t._offset = {offset}
    return t"""
_DIFFERENTIABLE = """storages = [{storages}]
    storages.append(found.differentiable(backward, storages, [{tensors}], [{names}], b"", fn, args, kwargs))
    return build(storages, [{tensors}])"""


def missed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Makes no call."""
    return MISSED


def quick_call(found: Recording, fn: Callable[..., Any], args: tuple[Any, ...]) -> Quick | None:
    """A function that makes the call ``found``, of ``fn`` with ``args``, again; None for a call of another kind."""
    ran = found.ran
    parts = ran.parts() if found.straight and ran is not None else None
    if parts is None or ran is None:
        return None
    space: dict[str, Any] = {
        "threads": threads, "Deferral": Deferral, "special": special, "watch": watch, "levels": levels,
        "grad_state": grad_state, "grad": grad_state.grad, "Default": Default, "default": Default.dtype,
        "Storage": Storage, "Tensor": Tensor, "new": object.__new__, "MISSED": MISSED, "guards": found.guards,
        "found": found, "backward": found.backward, "fn": fn, "recover": parts.recover,
        "enter": parts.enter, "numbers": ran.numbers, "build": found.build, "grads": found.grads,
    }  # fmt: skip
    tensors: list[int] = []
    checks = _checks(found, args, tensors, space)
    if checks is None:
        return None
    names: list[str] = []
    for k, (at, storage, _) in enumerate(found.sources):
        names.append(f"s{tensors[at]}" if storage is None else f"w{k}")
        space[f"w{k}"] = storage
    space |= {f"m{k}": make for k, make in enumerate(parts.makers)}
    results = ["0" if make is None else f"r{k}.ptr" for k, make in enumerate(parts.makers)]
    addresses = [f"{name}.ptr + {start}" if start else f"{name}.ptr" for name, start in zip(names, found.starts)]
    more = " or found.twice" if found.backward is not None else ""
    values = [*results, *addresses, *(f"numbers[{k}]" for k in range(len(ran.numbers)))]
    text = _TEXT.format(
        count=len(args),
        arguments="\n    ".join([", ".join(f"a{k}" for k in range(len(args))) + ", = args", *checks]) if args else "",
        more=more + (" or not grads.hold()" if found.asked else ""),
        made="\n    ".join(f"r{k} = None" if m is None else f"r{k} = m{k}()" for k, m in enumerate(parts.makers)),
        values=", ".join(values[k] for k in parts.order),
        results=", ".join(results),
        addresses=", ".join(addresses),
        written="\n    ".join(f"{names[i]}.version += 1" for i in found.written),
        answer=_answer(found, parts, names, [f"a{k}" for k in tensors], space),
    )
    exec(compile(text, "<repeated call>", "exec"), space)
    quick: Quick = space.pop("quick")  # which would refer to itself
    return quick


def _checks(
    found: Recording, args: tuple[Any, ...], tensors: list[int], space: dict[str, Any]
) -> list[str] | None:  # fmt: skip
    """What tells that arguments are like ``args``; ``tensors`` gets the numbers of those that are tensors."""
    lines: list[str] = []
    own = dict(found.own)
    for k, value in enumerate(args):
        if isinstance(value, Tensor):
            if value._key is None or value._storage.__class__ is not Storage:
                return None
            mine = own.get(len(tensors))
            tensors.append(k)
            space |= {
                f"class{k}": value.__class__, f"key{k}": value._key, f"grad{k}": value._requires_grad, f"own{k}": mine,
            }  # fmt: skip
            also = "" if mine is None else f" or a{k} is not own{k}"
            lines.append(_TENSOR.format(k=k, offset=value._offset, nbytes=value._storage.nbytes, own=also))
        elif value.__class__ in _CONSTANTS:
            space[f"c{k}"] = value
            lines.append(f"if a{k} is not c{k}:\n        return MISSED")
        else:
            return None
    if len({id(args[k]._storage) for k in tensors}) < len(tensors):
        return None
    return lines + [f"if s{a} is s{b}:\n        return MISSED" for a, b in combinations(tensors, 2)]


def _answer(found: Recording, parts: Parts, names: list[str], given: list[str], space: dict[str, Any]) -> str:
    """What makes the result of the storages, and puts it on the tape."""
    storages = ", ".join(f"r{k}" for k in range(len(parts.makers)))
    tensors = ", ".join(given)
    if found.backward is not None:
        return _DIFFERENTIABLE.format(storages=storages, tensors=tensors, names=", ".join(names))
    if found.alone is not None and parts.makers[found.alone[0]] is not None:
        place, space["layout"], offset = found.alone
        return _ALONE.format(place=place, offset=offset)
    return f"return build([{storages}], [{tensors}])"
