"""The public forms of an operator, written out from its record: function, method, in-place method, ``out=``.

Each form is a Python function generated for its operator.  It begins with the hot path, a look into a table of
plans by the layouts of the operands, and leaves everything else to ``call.py``.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from .. import device as devices
from .. import primitives as prim
from ..autograd import tape
from ..autograd.mode import state as grad_state
from ..autograd.view import How
from ..deferred.deferral import Deferral, threads
from ..layout import Layout
from ..storage import Storage, maker
from ..tensor import Tensor, make
from . import operator as records
from .call import around, dispatch, dispatch_inplace, run_several, signature, special
from .callforms import call_forms
from .given import dispatch_out
from .misuse import FAULTS, blamed
from .operator import FACTOR, OPERAND, SCALAR, TENSORS, Operator
from .overriding import ordinary
from .planning import LIMIT, OpPlan, build
from .reuse import SMALLEST, getframe, getrefcount, make_over

__all__ = ["LazyMethod", "inplace_function", "sized_view"]

_HOT = """
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
        except (KeyError, TypeError, AttributeError):
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
            except (KeyError, TypeError, AttributeError):
                recipe = None
            if recipe is not None:
                t = (recorder.put if recorder.depth else recorder.record)(recipe, {operands}, {run_numbers})
                if t is not None:
                    t = {results}
                    if ({quick_grads}) and grad_state.grad and (op._derivative or op.derivative) is not None:
                        record(op, ({arguments}), t)
                    return t
"""
_LOOK = """
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
_AGAIN = """
    if not special:
        try:
            seen = hot[{first}._key, {rest}]
        except (KeyError, TypeError, AttributeError):
            seen = None
        if seen is not None:
            return again({first}, seen)
"""
_LOOKS = """
def {name}({signature}):
{again}
    return remember(op, ({arguments}), dispatch(op, ({arguments}), {name}))
"""
_PARTS = """
def {name}({signature}):
{again}
    if {plain}ordinary(({classes})) and (not special or not around.wrappers):
        try:
            return {body}
        except faults as error:
            raise blamed(op, ({arguments}), error)
    {out}return dispatch(op, ({arguments}), {name})
"""
_COLD = """
def {name}({signature}):
{defer}
{warm}
    {out}return dispatch(op, ({arguments}), {name})
"""
_INPLACE = """
def {name}({signature}):
{written}
    return dispatch_inplace(op, ({arguments}), {name})
"""
_INPLACE_HOT = """
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

_numbers = frozenset((int, float, bool))


class _HotPlan:
    """What the hot path needs of a plan of one kernel."""

    __slots__ = ("call", "elementwise", "layout", "make", "plan", "small")

    def __init__(self, plan: OpPlan) -> None:
        assert plan.plan is not None and plan.plan.single is not None
        self.plan = plan  # owns what the function points to
        self.call, self.layout, self.make = plan.plan.single, plan.layout, maker(plan.nbytes)
        self.small, self.elementwise = plan.nbytes <= SMALLEST, plan.plan.elementwise


_APART = "({0}._storage is not {1}._storage or {0}._layout is {1}._layout and {0}._offset == {1}._offset)"
_WHERE = "{0}._storage.ptr + {0}._offset * {0}._layout.itemsize"


def _hot_parts(op: Operator, names: Sequence[str], count: int, out: bool) -> dict[str, str]:
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
    where = _WHERE
    for n, kind in zip(names, op.kinds):
        if kind == records.TENSOR:
            keys.append(f"{n}._key")
            quick.append(f"{n}._layout")
            operands.append(n)
            addresses.append(where.format(n))
            grads.append(f"{n}._requires_grad")
        elif kind == records.OPTIONAL:
            quick.append(f"None if {n} is None else {n}._layout")
            operands.append(f"*(() if {n} is None else ({n},))")
            keys.append(f"0 if {n} is None else {n}._key")
            addresses.append(f"*(() if {n} is None else ({where.format(n)},))")
            grads.append(f"{n} is not None and {n}._requires_grad")
        elif kind == TENSORS:
            quick.append(f"*[t._layout for t in {n}]")
            operands.append(f"*{n}")
            keys.append(f"*[t._key for t in {n}]")
            addresses.append(f"*[{where.format('t')} for t in {n}]")
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
            addresses.append(f"*(({where.format(n)},) if {n}.__class__ is Tensor else ())")
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


def _written(op: Operator, names: Sequence[str]) -> str:
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


_NUMBERS = (bool, int, float, complex)


class _HotTable(dict):
    """Plans by the keys of the operands alone (all other arguments at their defaults): the layout of a tensor, the
    class of a number.  A key that is not there is planned here if the call is a plain one; KeyError, or None for a plan
    of more than one kernel, sends it the long way.  ``inplace``: the result replaces the first operand."""

    def __init__(self, op: Operator, operands: int, rest: tuple[Any, ...], inplace: bool) -> None:
        self.op, self.operands, self.rest, self.inplace = op, operands, rest, inplace

    def __missing__(self, key: Any) -> _HotPlan | None:
        op = self.op
        keys = key if self.operands > 1 else (key,)
        layouts = [k for k in keys if isinstance(k, Layout)]
        if (
            special
            or any(k not in _NUMBERS for k in keys if k.__class__ is not Layout)
            or any(k.device is not devices.cpu or not k.numel for k in layouts)
        ):
            raise KeyError(key)
        if self.inplace and layouts[0].overlapping and layouts[0].numel > 1:
            raise KeyError(key)
        args = [make(Storage(0, 0), k) if isinstance(k, Layout) else k(1) for k in keys] + list(self.rest)
        full, tensors, _ = signature(op, args)
        k = ("in place", *full) if self.inplace else tuple(full)
        plan = op.plans.get(k)
        if plan is None:
            plan = op.plans[k] = build(op, args, tensors, layouts[0] if self.inplace else None)
        found: _HotPlan | None
        if (
            plan.plan is None
            or plan.plan.single is None
            or plan.several
            or plan.plan.scalar_order != tuple(range(len(keys) - len(layouts)))
            or plan.plan.order != tuple(range(self.inplace, len(layouts) + 1))
        ):
            found = None  # remembered, so that the next call goes on to the table of other plans at once
        else:
            found = _HotPlan(plan)
        if len(self) >= LIMIT:
            self.clear()
        self[key] = found
        return found


class LazyMethod:
    """A method that is made when it is first looked up: most programs use few of the hundreds of operators."""

    __slots__ = ("make", "name")

    def __init__(self, name: str, make: Callable[[], Callable[..., Any]]) -> None:
        self.name, self.make = name, make

    def __get__(self, instance: Any, owner: type) -> Any:
        form = self.make()
        holder = next(c for c in owner.__mro__ if vars(c).get(self.name) is self)
        setattr(holder, self.name, form)
        return form if instance is None else form.__get__(instance, owner)


def finish(
    op: Operator, *, method: bool, function: bool, inplace: bool, out: bool, aliases: tuple[str, ...], namespace: str
) -> None:
    """Attaches the methods of an operator to ``Tensor`` and says how its function is made."""
    op.make_function = lambda name: _public(op, name, out and op.kind != "view", _HOT)
    op.namespace = namespace if function else ""
    op.aliases = aliases
    if inplace:
        op.make_inplace = lambda: _public(op, op.name + "_", False, _INPLACE, method=True)
    for name in (op.name, *aliases):
        if method:
            setattr(
                Tensor,
                name,
                LazyMethod(name, partial(_public, op, name, False, _HOT if op.kind == "kernel" else _COLD, True)),
            )
        if inplace:
            setattr(
                Tensor,
                name + "_",
                LazyMethod(
                    name + "_",
                    partial(getattr, op, "inplace")
                    if name == op.name
                    else partial(_public, op, name + "_", False, _INPLACE, True),
                ),
            )


_Seen = tuple[tuple[tuple[Layout, int], ...], How, bool]
"""Views of a tensor: the layout of each and how far from the source it lies, how they are made, and whether they are
several."""


def _again(source: Tensor, seen: _Seen) -> Any:
    """The views that were seen of one tensor, of another one with the same layout."""
    parts, how, several = seen
    storage, offset = source._storage, source._offset
    outs = []
    for layout, delta in parts:
        t = _new(Tensor)
        t._layout = t._key = layout
        t._storage = storage
        t._offset = offset + delta
        outs.append(t)
    if several:
        tape.record_looks(source, how, outs)
        return tuple(outs)
    tape.record_look(source, how, outs[0])
    return outs[0]


def _remember(op: Operator, args: tuple[Any, ...], found: Any) -> Any:
    """Remembers the result of a call of an operator that ``looks``, which it returns, for the next source with this
    layout: if it is views that one operator made of the source, and the other arguments are plain numbers."""
    source, several = args[0], isinstance(found, tuple)
    views = found if several else (found,)
    if not views or source.__class__ is not Tensor or source._key is None or special:
        return found
    made, over = views[0]._view, source._view
    if (
        made is None
        or made.parent is not over
        or made.base is not (source if over is None else over.base)
        or any(v._storage is not source._storage or v._key is None or v is source for v in views)
        or made.how[0]._derivative is None
        or (several and made.how[2] is None)  # each was made by itself
        or views[0]._layout.dtype is not source._layout.dtype
        or not all(a is None or a.__class__ is int or (isinstance(a, tuple) and _ints(map(type, a))) for a in args[1:])
    ):
        return found
    if len(op.hot) >= LIMIT:
        op.hot.clear()
    parts = tuple([(v._layout, v._offset - source._offset) for v in views])
    key = source._key, *args[1:]
    op.hot[key] = parts, (*made.how[:2], None), several
    return found


_new = object.__new__
_ints = frozenset({int}).issuperset


def sized_view(
    op: Operator,
    name: str,
    read: Callable[[Sequence[object], str], Any],
    call: Callable[[Tensor, Any], Tensor],
    keyword: str = "size",
    other: Callable[..., Tensor] | None = None,
    forms: Sequence[str] = (),
    text: str = "",
) -> Callable[..., Tensor]:
    """The method ``name(*sizes)``, ``name(sizes)`` or ``name(keyword=sizes)`` of a view: ``call(tensor, sizes)``.

    It is remembered where it shared memory, as the view ``op`` makes it.  ``read(given, name)`` gives the sizes as ints
    of what is no row of ints, which goes to ``other`` if there is one.  ``forms`` are the calls (``call_forms``),
    ``text`` what they do.
    """
    seen: dict[Any, tuple[Layout, int, How]] = {}
    ints = _ints
    new, record_look, off = object.__new__, tape.record_look, special

    def method(self: Tensor, *size: Any, **named: Any) -> Tensor:
        if named or not ints(map(type, size)):
            return spelled(self, *size, **named)
        key = (self._key, size)
        if not off:
            found = seen.get(key)
            if found is not None:
                t = new(Tensor)
                t._layout = t._key = found[0]
                t._storage = self._storage
                t._offset = self._offset + found[1]
                record_look(self, found[2], t)
                return t
        sizes = read(size, name)
        result = call(self, sizes)
        if key[0] is not None and result._storage is self._storage and result is not self:
            if len(seen) >= LIMIT:
                seen.clear()
            seen[key] = result._layout, result._offset - self._offset, (op, (sizes,), None)
        return result

    def by_keyword(self: Tensor, *size: Any, **named: Any) -> Tensor:
        if named:
            if size or list(named) != [keyword]:
                raise TypeError(f"{name}() got an unexpected keyword argument '{next(iter(named))}'")
            size = tuple(named.values())
        return method(self, *read(size, name))

    spelled = other or by_keyword
    method.__name__ = method.__qualname__ = name
    method.__doc__ = text
    return call_forms(*forms or (f"{name}(*{keyword})", f"{name}({keyword})"))(method)


_absent = object()  # stands for an argument that a call leaves out


_NUMPY_NAMES = (("dim", ("axis",)), ("keepdim", ("keepdims",)))


def _other_names(op: Operator, params: Sequence[inspect.Parameter], names: list[str], words: list[str]) -> str:
    """Adds the other names of parameters, numpy's ``axis`` and ``keepdims`` among them, to a signature; the lines that
    read them.

    They are keywords alone, as in PyTorch.  A parameter that must be given has a default then, so that it may be given
    by another name, and so have those behind it.
    """
    lines = ""
    behind: list[str] = []  # parameters that must be given, behind one that has other names
    if not any(w.startswith("*") for w in words):
        words.append("*")
    numpy = dict(_NUMPY_NAMES)
    for official in dict.fromkeys((*numpy, *op.synonyms)):
        known = (*numpy.get(official, ()), *op.synonyms.get(official, ()))
        others = tuple(other for other in known if other not in names)
        if official not in names or not others:
            continue
        place = names.index(official)
        if params[place].default is inspect.Parameter.empty:
            after = range(place + 1, len(params))
            behind += [names[i] for i in after if params[i].default is inspect.Parameter.empty and names[i] in words]
            words[words.index(official) if official in words else words.index(f"{official}=absent")] = (
                f"{official}=absent"
            )
            lines += f"    if {official} is absent:\n        {official} = given('{official}', {', '.join(others)})\n"
        else:
            for other in others:
                lines += f"    if {other} is not absent:\n        {official} = {other}\n"
        words += [f"{other}=absent" for other in others]
    for name in behind:
        if name in words:
            words[words.index(name)] = f"{name}=absent"
            lines += f"    if {name} is absent:\n        given('{name}')\n"
    if words[-1] == "*":
        words.pop()
    return lines


def _given(name: str, official: str, *values: Any) -> Any:
    """What a call gave by another name than ``official``; raises TypeError if nothing."""
    value = next((v for v in values if v is not _absent), _absent)
    if value is _absent:
        raise TypeError(f"{name}() missing 1 required positional arguments: '{official}'")
    return value


_warned: set[str] = set()


def _old_call(form: Callable[..., Any], op: Operator, args: tuple[Any, ...]) -> Any:
    """A call with its factors by position, before or between the tensors, as PyTorch took them in its first days."""
    tensors = [a for a in args if isinstance(a, Tensor)]
    numbers = [a for a in args if not isinstance(a, Tensor)]
    if len(tensors) != len(op.tensors) or len(numbers) > len(op.factors):
        raise TypeError(f"{op.name}() takes {len(op.tensors)} positional arguments but {len(args)} were given")
    if form.__name__ not in _warned:
        _warned.add(form.__name__)
        warnings.warn(
            f"This overload of {form.__name__} is deprecated: "
            f"give {', '.join(op.factors)} by keyword, after the tensors",
            stacklevel=3,
        )
    return form(*tensors, **dict(zip(op.factors, numbers)))


def _public(op: Operator, name: str, out: bool, template: str, method: bool = False) -> Callable[..., Any]:
    """A function with the operator's signature that dispatches."""
    defaults: dict[str, Any] = {}
    words: list[str] = []
    keyword = False
    loose = op.loose if method or op.namespace != "torch" else ()
    params = list(op.signature.parameters.values())
    names = ["self" if method and i == 0 else p.name for i, p in enumerate(params)]
    for p, n in zip(params, names):
        if p.kind is inspect.Parameter.KEYWORD_ONLY and not keyword and p.name not in loose:
            words.append("*")
            keyword = True
        if p.default is inspect.Parameter.empty:
            words.append(n)
        else:
            defaults["_d_" + n] = p.default
            words.append(f"{n}=_d_{n}")
    if out:
        words += (["*"] if not keyword and "out" not in op.loose else []) + ["out=None"]
    if op.factors:
        words.insert(words.index("*"), "*old")
        words.remove("*")
    spelled = list(words)
    renamed = _other_names(op, params, names, words)
    count = next((i for i, k in enumerate(op.kinds) if k not in (records.TENSOR, OPERAND)), len(params))
    arguments = ", ".join(names) + ("," if names else "")
    fill = {
        "name": "form", "signature": ", ".join(words), "arguments": arguments,
        "out": f"if out is not None:\n        return dispatch_out(op, ({arguments}), out)\n    " if out else "",
    }  # fmt: skip
    rest = params[count:]
    parts = _warm_parts(op, names, out) if template in (_HOT, _COLD) else None
    op.warmable = op.warmable or parts is not None
    fill["warm"] = _WARM.format(**fill, **parts) if parts is not None else ""
    fill["written"] = _written(op, names) if template is _INPLACE else ""
    results = "t[0] if not recipe.several else " + ("tuple(t)" if op.returns is None else "op.returns(*t)")
    fill["defer"] = _DEFER.format(**fill, **parts, results=results) if parts is not None else ""
    space: dict[str, Any] = {
        "op": op, "dispatch": dispatch, "dispatch_out": dispatch_out, "dispatch_inplace": dispatch_inplace,
        "run_several": run_several, "hot": op.hot, "warm": op.warm, "writing": op.writing, "numbers": _numbers,
        "recording": Deferral.recording, "around": around, "threads": threads, "quick": op.quick,
        "special": special, "tracing": prim._stack, "reading": Deferral.reading, "grad_state": grad_state,
        "Tensor": Tensor, "new": object.__new__, "faults": FAULTS, "blamed": blamed,
        "record": tape.record, "record_look": tape.record_look,
        "make_over": make_over, "getrefcount": getrefcount, "getframe": getframe, **defaults,
    }  # fmt: skip
    if template in (_HOT, _INPLACE):
        if (
            op.kind == "kernel"
            and 1 <= count <= 3
            and all(p.default is not inspect.Parameter.empty for p in rest)
            and not op.lists
        ):
            table = op.hot_inplace if template is _INPLACE else op.hot
            if not isinstance(table, _HotTable):
                table = _HotTable(op, count, tuple(p.default for p in rest), template is _INPLACE)
            space["hot"] = table
            if template is _INPLACE:
                op.hot_inplace, template = table, _INPLACE_HOT
            else:
                op.hot = table
            fill.update(_hot_parts(op, names, count, out))
        elif template is _HOT:
            template = _COLD
    if op.kind == "composite" and op._derivative is None and not op.lists and template not in (_INPLACE, _INPLACE_HOT):
        template = _PARTS  # nothing is recorded or planned of the operator itself
        space["body"], space["ordinary"] = op.body, ordinary
        fill["plain"] = "out is None and " if out else ""
        fill["classes"] = "".join(f"{n}.__class__, " for n in names)
        call = ", ".join(
            f"{p.name}={n}" if p.kind is inspect.Parameter.KEYWORD_ONLY else n for p, n in zip(params, names)
        )
        fill["body"] = f"remember(op, ({arguments}), body({call}))" if op.looks else f"body({call})"
    if op.kind == "view":
        template = _LOOKS if op.looks else _LOOK
        fill["look"] = f"record_look({names[0]}, how, t)" if op._derivative is not None else "pass"
    if op.kind == "view" or op.looks:
        fill["first"], fill["rest"] = names[0], ", ".join(names[1:])
        space["again"], space["remember"] = _again, _remember
    fill["again"] = _AGAIN.format(**fill) if op.looks else ""
    text = template.format(**fill)
    if op.factors:
        given = ", ".join(n for p, n in zip(params, names) if p.kind is not inspect.Parameter.KEYWORD_ONLY)
        renamed += f"    if old:\n        return old_call(form, op, ({given}, *old))\n"
        space["old_call"] = _old_call
    if renamed:
        head = f"def form({fill['signature']}):\n"
        text = text.replace(head, head + renamed, 1)
        space["absent"], space["given"] = _absent, partial(_given, name)
    exec(compile(text, f"<{op.name}>", "exec"), space)
    form: Callable[..., Any] = space["form"]
    form.__name__ = form.__qualname__ = name
    form.__doc__ = op.__doc__
    form.__module__ = "torch.Tensor" if method else "flambeau" + (op.namespace or "torch")[len("torch") :]
    form.operator = op  # type: ignore[attr-defined]
    if op.overloads:
        written = [name + f[f.index("(") :] for f in op.overloads if not (method and "(self" in f)]
        if method:
            written = [f.replace("(input, ", "(").replace("(input)", "()") for f in written]
        call_forms(*written, *_special_names(op, name, method))(form)
    elif any(others != ("x2",) for others in op.synonyms.values()):  # numpy's name is a keyword alone
        call_forms(*_spellings(op, name, spelled, defaults, method))(form)
    return form


def _spellings(op: Operator, name: str, words: list[str], defaults: dict[str, Any], method: bool) -> Iterator[str]:
    """The calls of a form whose parameters have other names, too: each name in the place of the official one."""
    plain = [_DEFAULT.sub(lambda m: repr(defaults[m[0]]), w) for w in (words[1:] if method else words)]
    yield f"{name}({', '.join(plain)})"
    most = max(map(len, op.synonyms.values()))
    for i in range(most):
        other = {official: others[min(i, len(others) - 1)] for official, others in op.synonyms.items()}
        parts = [w.partition("=") for w in plain]
        changed = [other.get(first, first) + sign + rest for first, sign, rest in parts]
        yield f"{name}({', '.join(changed)})"
    yield from _special_names(op, name, method)


def _special_names(op: Operator, name: str, method: bool) -> Iterator[str]:
    """The calls of the special methods that a method is, too."""
    for symbol in op.symbols if method and name.removesuffix("_") == op.name else ():
        yield f"__{'i' * name.endswith('_')}{symbol}__({op.params[1]})"


_DEFAULT = re.compile(r"_d_\w+")


def inplace_function(op: Operator, name: str) -> Callable[..., Any]:
    """The function ``name(input, ...)`` that does what the in-place method of the operator does."""
    return _public(op, name, False, _INPLACE)


records.finish = finish
