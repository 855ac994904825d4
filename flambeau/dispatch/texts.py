"""The texts of an operator's forms: the hot path and the short ones, and what they say of the operator.

``forms.py`` says which text a form has, and what its free names are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from . import operator as records
from .operator import FACTOR, OPERAND, SCALAR, TENSORS, Operator

__all__ = [
    "AGAIN", "COLD", "HOT", "INPLACE", "INPLACE_HOT", "LOOK", "LOOKS", "PARTS", "hot_parts", "short_paths", "written",
]  # fmt: skip

HOT = """
def {name}({signature}):
{defer}
    if {plain}:{number}
        try:
            plan = hot[{keys}]
        except (KeyError, AttributeError):
            plan = None
        if plan is not None and not special and not tracing:
            if plan.small or ({grads}) and grad_state.grad:
                s = plan.make()
            else:
                s = make_over(getrefcount({first}), plan, {first}, getframe(1))
            try:
                status = plan.call(s.ptr, {addresses})
            except OverflowError:
                status = -1
            if status:
                return dispatch(op, ({arguments}), {name})
            t = new(Tensor)
            t._layout = t._key = plan.layout
            t._storage = s
            t._offset = 0
            if ({grads}) and grad_state.grad:
                record(op, ({arguments}), t)
            return t
{warm}
    {out}return dispatch(op, ({arguments}), {name})
"""
_WARM = """
    if {unless}not special and not tracing:
        try:
            plan = warm[({warm_keys})]
        except (KeyError, AttributeError):
            plan = None
        except TypeError:  # a static argument is a list
            try:
                plan = warm.get(hashable(({warm_keys})))
            except TypeError:
                plan = None
        if plan is not None:
            if plan.several:
                return run_several(
                    plan, op, ({arguments}), [{warm_addresses}], ({warm_grads}) and grad_state.grad
                )
            s = plan.make()
            try:
                status = plan.run(s.ptr, {warm_addresses})
            except OverflowError:
                status = -1
            if status:
                return dispatch(op, ({arguments}), {name})
            t = new(Tensor)
            t._layout = t._key = plan.layout
            t._storage = s
            t._offset = 0
            if ({warm_grads}) and grad_state.grad and op.derivative is not None:
                record(op, ({arguments}), t)
            return t
"""
_DEFER = """
    if recording and {unless}not tracing and not around.wrappers:
        recorder = threads.deferral
        if recorder.active:{whole}
            try:
                recipe = quick[{quick_keys}]
            except (KeyError, AttributeError):
                recipe = None
            except TypeError:
                try:
                    recipe = quick.get(hashable({quick_keys}))
                except TypeError:
                    recipe = None
            if recipe is not None:
                t = (recorder.put if recorder.depth else recorder.record)(recipe, {operands}, {run_numbers})
                if t is not None:
                    t = {results}
                    if ({quick_grads}) and grad_state.grad and (op._derivative or op.derivative) is not None:
                        record(op, ({arguments}), t)
                    return t
"""
LOOK = """
def {name}({signature}):
    if not special:
        try:
            layout, delta, how = hot[{first}._key, {rest}]
        except (KeyError, TypeError, AttributeError):
            pass
        else:
            t = new(Tensor)
            t._layout = t._key = layout
            t._storage = {first}._storage
            t._offset = {first}._offset + delta
            {look}
            return t
    elif recording and not tracing and not around.wrappers:
        try:
            layout, delta, how = hot[{first}._layout, {rest}]
            known = {first}._plain
        except (KeyError, TypeError, AttributeError):
            known = False
        if known:
            t = new(Tensor)
            t._layout = layout
            t._storage = {first}._storage
            t._offset = {first}._offset + delta
            t._key = layout if t._storage.pending is None else None
            {look}
            return t
    return dispatch(op, ({arguments}), {name})
"""
AGAIN = """
    if not special:
        try:
            seen = hot[{first}._key, {rest}]
        except (KeyError, TypeError, AttributeError):
            seen = None
        if seen is not None:
            return again({first}, seen)
"""
LOOKS = """
def {name}({signature}):
{again}
    return remember(op, ({arguments}), dispatch(op, ({arguments}), {name}))
"""
PARTS = """
def {name}({signature}):
{again}
    if {plain}ordinary(({classes})) and (not special or not around.wrappers):
        try:
            return {body}
        except faults as error:
            return mended(op, ({arguments}), error)
    {out}return dispatch(op, ({arguments}), {name})
"""
COLD = """
def {name}({signature}):
{defer}
{warm}
    {out}return dispatch(op, ({arguments}), {name})
"""
INPLACE = """
def {name}({signature}):
{written}
    return dispatch_inplace(op, ({arguments}), {name})
"""
INPLACE_HOT = """
def {name}({signature}):
{defer}
    if {plain}:{number}
        try:
            plan = hot[{keys}]
        except (KeyError, AttributeError):
            plan = None
        if (
            plan is not None
            and not special
            and not tracing
            and not reading
            and not (({grads}) and grad_state.grad)
            {apart}
        ):
            try:
                status = plan.call({addresses})
            except OverflowError:
                status = -1
            if not status:
                {first}._storage.version += 1
                return {first}
{written}
    return dispatch_inplace(op, ({arguments}), {name})
"""
_WRITTEN = """
    if not special and not tracing and not reading:
        try:
            plan = writing[({warm_keys})]
        except (KeyError, TypeError, AttributeError):
            plan = None
        if plan is not None and not (({writes}) and grad_state.grad){apart_from}:
            try:
                status = plan.run(0, {warm_addresses})
            except OverflowError:
                status = -1
            if not status:
                {target}._storage.version += 1
                return {target}
"""
_NUMBER = """
        number = {last}.__class__ in numbers"""

_APART = "({0}._storage.ptr != {1}._storage.ptr or {0}._layout is {1}._layout and {0}._offset == {1}._offset)"
_WHERE = "{0}._storage.ptr + {0}._offset * {0}._layout.itemsize"


def hot_parts(op: Operator, names: Sequence[str], count: int, out: bool) -> dict[str, str]:
    """What the text of the hot path says of an operator with ``count`` operands, of which the last may be a number."""
    tensors = list(names[:count])
    keys = [f"{n}._key" for n in tensors]
    addresses = [_WHERE.format(n) for n in tensors]
    grads = [f"{n}._requires_grad" for n in tensors]
    first, last = tensors[0], tensors[-1]
    apart = [_APART.format(n, first) for n in tensors[1:]]
    number = ""
    if count > 1 and op.kinds[count - 1] == OPERAND:
        number = _NUMBER.format(last=last)
        keys[-1] = f"{last}.__class__ if number else {keys[-1]}"
        addresses[-1] = f"{last} if number else {addresses[-1]}"
        grads[-1] = f"not number and {grads[-1]}"
        apart[-1] = f"(number or {apart[-1]})"
    plain = [f"{n} is _d_{n}" for n in names[count:]] + (["out is None"] if out else [])
    return {
        "plain": " and ".join(plain) or "True", "number": number, "keys": ", ".join(keys), "first": first,
        "addresses": ", ".join(addresses), "grads": " or ".join(grads) if op.differentiable else "False",
        "apart": " ".join(f"and {condition}" for condition in apart),
    }  # fmt: skip


def _warm_parts(op: Operator, names: Sequence[str], out: bool) -> dict[str, str] | None:
    """What the text of the short path says of an operator; None if it has none: where several lists could be told
    apart only by more than their members."""
    if op.kind != "kernel" or len(op.lists) > 1:
        return None
    keys: list[str] = []
    quick: list[str] = []
    operands: list[str] = []
    addresses: list[str] = []
    numbers: list[str] = []
    grads: list[str] = []
    for n, kind in zip(names, op.kinds):
        if kind == records.TENSOR:
            keys.append(f"{n}._key")
            quick.append(f"{n}._layout")
            operands.append(n)
            addresses.append(_WHERE.format(n))
            grads.append(f"{n}._requires_grad")
        elif kind == records.OPTIONAL:
            quick.append(f"None if {n} is None else {n}._layout")
            operands.append(f"*(() if {n} is None else ({n},))")
            keys.append(f"0 if {n} is None else {n}._key")
            addresses.append(f"*(() if {n} is None else ({_WHERE.format(n)},))")
            grads.append(f"{n} is not None and {n}._requires_grad")
        elif kind == TENSORS:
            quick.append(f"*[t._layout for t in {n}]")
            operands.append(f"*{n}")
            keys.append(f"*[t._key for t in {n}]")
            addresses.append(f"*[{_WHERE.format('t')} for t in {n}]")
            grads.append(f"any([t._requires_grad for t in {n}])")
        elif kind == SCALAR:
            quick.append(f"None if {n} is None else {n}.__class__")
            keys.append(f"{n}.__class__")
            numbers.append(f"*(() if {n} is None else ({n},))")
        elif kind == FACTOR:
            # The default need not be told by value: a number that equals it gives the same result as a factor.
            quick.append(f"None if {n} is _d_{n} else {n}.__class__")
            keys.append(quick[-1])
            numbers.append(f"*(() if {n} is _d_{n} else ({n},))")
        elif kind == OPERAND:
            quick.append(f"None if {n} is None else {n}.__class__ if {n}.__class__ in numbers else {n}._layout")
            operands.append(f"*(() if {n} is None or {n}.__class__ in numbers else ({n},))")
            keys.append(f"{n}._key if {n}.__class__ is Tensor else {n}.__class__")
            addresses.append(f"*(({_WHERE.format(n)},) if {n}.__class__ is Tensor else ())")
            numbers.append(f"*(({n},) if {n}.__class__ in numbers else ())")
            grads.append(f"{n}.__class__ not in numbers and {n} is not None and {n}._requires_grad")
        else:
            keys.append(f"{n}, {n}.__class__")
            quick.append(f"{n}, {n}.__class__")
    recorded = [f"({', '.join(p)}{',' * bool(p)})" for p in (quick, operands, numbers)]
    warm_grads = " or ".join(grads) if op.differentiable and grads else "False"
    quick_grads, whole = warm_grads, ""
    loose = [n for n, kind in zip(names, op.kinds) if kind == OPERAND]
    if loose and all(kind in (records.TENSOR, OPERAND) for kind in op.kinds):
        # Mostly all operands are tensors: told by one question, the rest is short.
        whole = " and ".join(f"{n}.__class__ not in numbers and {n} is not None" for n in loose)
        whole = f"\n            whole = {whole}"
        plain = [f"{', '.join(n + field for n in names)}," for field in ("._layout", "")]
        recorded = [f"({p}) if whole else {r}" for p, r in zip((*plain, ""), recorded)]
        if warm_grads != "False":
            quick_grads = f"({' or '.join(n + '._requires_grad' for n in names)}) if whole else ({warm_grads})"
    return {
        "quick_keys": recorded[0], "operands": recorded[1], "run_numbers": recorded[2], "whole": whole,
        "quick_grads": quick_grads,
        "warm_keys": ", ".join(keys) + ",", "warm_addresses": ", ".join(addresses + numbers),
        "warm_grads": warm_grads,
        "unless": "out is None and " if out else "",
    }  # fmt: skip


def written(op: Operator, names: Sequence[str]) -> str:
    """The text of the short path of a call in place with static arguments or several numbers; empty if it has none."""
    tensors = (records.TENSOR, OPERAND)
    parts = _warm_parts(op, names, False)
    if parts is None or not op.kinds or op.kinds[0] != records.TENSOR or records.OPTIONAL in op.kinds or op.lists:
        return ""
    target, apart = names[0], ""
    for n, kind in list(zip(names, op.kinds))[1:]:
        if kind in tensors:
            apart += f" and ({n}.__class__ is not Tensor or {_APART.format(n, target)})"
    writes = parts["warm_grads"] if op.differentiable else f"{target}._requires_grad"
    op.writes = True
    return _WRITTEN.format(**parts, target=target, writes=writes, apart_from=apart)


def short_paths(op: Operator, names: Sequence[str], out: bool, fill: Mapping[str, str]) -> tuple[str, str]:
    """The texts of the path of a deferred call, and of that of a call by the table of all plans; empty if the operator
    has none."""
    parts = _warm_parts(op, names, out)
    if parts is None:
        return "", ""
    op.warmable = True
    results = "t[0] if not recipe.several else " + ("tuple(t)" if op.returns is None else "op.returns(*t)")
    return _DEFER.format(**fill, **parts, results=results), _WARM.format(**fill, **parts)
