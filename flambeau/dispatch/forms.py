"""The public forms of an operator, written out from its record: function, method, in-place method, ``out=``.

Each form is a Python function generated for its operator.  It begins with the hot path, a look into a table of
plans by the layouts of the operands, and leaves everything else to ``call.py``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from .. import device as devices
from .. import primitives as prim
from ..autograd import tape
from ..autograd.mode import state as grad_state
from ..deferred.deferral import Deferral, threads
from ..layout import Layout
from ..storage import Storage, maker
from ..tensor import Tensor, make
from . import operator as records
from .argument_aliases import ABSENT, by_other_name, old_call, other_names, special_names, spellings
from .argument_errors import FAULTS
from .arguments import signature
from .call import around, dispatch, dispatch_inplace, mended, run_several, special
from .callforms import call_forms
from .operator import OPERAND, Operator
from .out_variants import dispatch_out
from .planning import LIMIT, OpPlan, build, hashable
from .reuse import SMALLEST, getframe, getrefcount, make_over
from .texts import AGAIN, COLD, HOT, INPLACE, INPLACE_HOT, LOOK, LOOKS, PARTS, hot_parts, short_paths, written
from .torch_function import ordinary
from .view_cache import again, remember

__all__ = ["LazyMethod", "inplace_function", "symbol_form"]


class _HotPlan:
    """What the hot path needs of a plan of one kernel."""

    __slots__ = ("call", "elementwise", "layout", "make", "plan", "small")

    def __init__(self, plan: OpPlan) -> None:
        assert plan.plan is not None and plan.plan.single is not None
        self.plan = plan  # owns what the function points to
        self.call, self.layout, self.make = plan.plan.single, plan.layout, maker(plan.nbytes)
        self.small, self.elementwise = plan.nbytes <= SMALLEST, plan.plan.elementwise


_NUMBERS = (bool, int, float, complex)
_numbers = frozenset((int, float, bool))


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
        holder = next((c for c in owner.__mro__ if vars(c).get(self.name) is self), None)
        if holder is not None:  # no other thread has made it meanwhile
            setattr(holder, self.name, form)
        return form if instance is None else form.__get__(instance, owner)


def finish(
    op: Operator, *, method: bool, function: bool, inplace: bool, out: bool, aliases: tuple[str, ...], namespace: str
) -> None:
    """Attaches the methods of an operator to ``Tensor`` and says how its function is made."""
    op.make_function = lambda name: _form(op, name, HOT, out and op.kind != "view")
    op.namespace = namespace if function else ""
    op.aliases = aliases
    if inplace:
        op.make_inplace = lambda: _form(op, op.name + "_", INPLACE, method=True)
    usual = HOT if op.kind == "kernel" else COLD
    for name in (op.name, *aliases):
        if method:
            setattr(Tensor, name, LazyMethod(name, partial(_form, op, name, usual, method=True)))
        if inplace:
            other = partial(_form, op, name + "_", INPLACE, method=True)
            make = partial(getattr, op, "inplace") if name == op.name else other
            setattr(Tensor, name + "_", LazyMethod(name + "_", make))


def inplace_function(op: Operator, name: str) -> Callable[..., Any]:
    """The function ``name(input, ...)`` that does what the in-place method of the operator does."""
    return _form(op, name, INPLACE)


def symbol_form(op: Operator, inplace: bool = False) -> Callable[..., Any]:
    """The special method of a symbol (``x + y``): the operator's method, but for an array of numpy on the right, which
    it leaves to numpy; that computes with the tensor as an array and makes a tensor of the result."""
    name = op.name + "_" if inplace else op.name
    calls: dict[str, Callable[..., Any]] = {
        "dispatch": dispatch,
        "dispatch_inplace": dispatch_inplace,
        "mended": mended,
    }
    space = {word: partial(_by_symbol, call, name) for word, call in calls.items()}
    template = INPLACE if inplace else HOT if op.kind == "kernel" else COLD
    return _form(op, name, template, method=True, space=space)


def _by_symbol(call: Callable[..., Any], method: str, op: Operator, args: Sequence[Any], rest: Any) -> Any:
    """A call by a symbol; its form or the error comes last, and to others the form is the method's."""
    if isinstance(args[1], np.ndarray):
        return NotImplemented
    return call(op, args, getattr(Tensor, method) if callable(rest) else rest)


def _form(
    op: Operator, name: str, template: str, out: bool = False, method: bool = False, space: dict[str, Any] | None = None
) -> Callable[..., Any]:
    """A function with the operator's signature that dispatches, made of ``template``; ``space`` has other meanings of
    the template's free names."""
    params = list(op.signature.parameters.values())
    names = ["self" if method and i == 0 else p.name for i, p in enumerate(params)]
    words, defaults = _words(op, params, names, out, op.loose if method or op.namespace != "torch" else ())
    spelled = list(words)
    renamed = other_names(op, params, names, words)
    arguments = ", ".join(names) + ("," if names else "")
    fill = {
        "name": "form", "signature": ", ".join(words), "arguments": arguments,
        "out": f"if out is not None:\n        return dispatch_out(op, ({arguments}), out)\n    " if out else "",
    }  # fmt: skip
    space = _space(op) | defaults | (space or {})
    short = short_paths(op, names, out, fill) if template in (HOT, COLD) else ("", "")
    fill["defer"], fill["warm"] = short
    fill["written"] = written(op, names) if template is INPLACE else ""
    fill["again"] = ""
    if template in (HOT, INPLACE):
        template = _with_table(op, params, names, template, out, fill, space)
    if op.kind == "composite" and op._derivative is None and not op.lists and template not in (INPLACE, INPLACE_HOT):
        template = PARTS  # nothing is recorded or planned of the operator itself
        _fill_body(op, params, names, out, fill)
    if op.kind == "view":
        template = LOOKS if op.looks else LOOK
        fill["look"] = f"record_look({names[0]}, how, t)" if op._derivative is not None else "pass"
    if op.kind == "view" or op.looks:
        fill["first"], fill["rest"] = names[0], ", ".join(names[1:])
    if op.looks:
        fill["again"] = AGAIN.format(**fill)
    text = template.format(**fill)
    if op.factors:
        given_ones = ", ".join(n for p, n in zip(params, names) if p.kind is not inspect.Parameter.KEYWORD_ONLY)
        renamed += f"    if old:\n        return old_call(form, op, ({given_ones}, *old))\n"
    if renamed:
        head = f"def form({fill['signature']}):\n"
        text = text.replace(head, head + renamed, 1)
        space["given"] = partial(by_other_name, name)
    exec(compile(text, f"<{op.name}>", "exec"), space)
    form: Callable[..., Any] = space["form"]
    _describe(form, op, name, method)
    if op.overloads:
        calls = [name + f[f.index("(") :] for f in op.overloads if not (method and "(self" in f)]
        if method:
            calls = [f.replace("(input, ", "(").replace("(input)", "()") for f in calls]
        call_forms(*calls, *special_names(op, name, method))(form)
    elif any(others != ("x2",) for others in op.synonyms.values()):  # numpy's name is a keyword alone
        call_forms(*spellings(op, name, spelled, defaults, method))(form)
    return form


def _words(
    op: Operator, params: Sequence[inspect.Parameter], names: Sequence[str], out: bool, loose: Sequence[str]
) -> tuple[list[str], dict[str, Any]]:
    """The words of a form's signature, and its defaults by the names that stand for them there.  ``loose``: keywords
    that may be given by position, too."""
    defaults: dict[str, Any] = {}
    words: list[str] = []
    keyword = False
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
    return words, defaults


def _space(op: Operator) -> dict[str, Any]:
    """The free names of the texts of an operator's forms."""
    return {
        "op": op, "dispatch": dispatch, "dispatch_out": dispatch_out, "dispatch_inplace": dispatch_inplace,
        "run_several": run_several, "hot": op.hot, "warm": op.warm, "writing": op.writing, "numbers": _numbers,
        "recording": Deferral.recording, "around": around, "threads": threads, "quick": op.quick,
        "special": special, "tracing": prim._stack, "reading": Deferral.reading, "grad_state": grad_state,
        "Tensor": Tensor, "new": object.__new__, "faults": FAULTS, "mended": mended,
        "record": tape.record, "record_look": tape.record_look, "again": again, "remember": remember,
        "make_over": make_over, "getrefcount": getrefcount, "getframe": getframe,
        "body": op.body, "ordinary": ordinary, "absent": ABSENT, "old_call": old_call, "hashable": hashable,
    }  # fmt: skip


def _with_table(
    op: Operator, params: Sequence[inspect.Parameter], names: Sequence[str], template: str, out: bool,
    fill: dict[str, str], space: dict[str, Any],
) -> str:  # fmt: skip
    """The template with the look into the table of hot plans, and what it says of the operator; the one without where
    the operator has no such table: it is no kernel, or something besides its operands must be given."""
    count = next((i for i, k in enumerate(op.kinds) if k not in (records.TENSOR, OPERAND)), len(params))
    rest = tuple([p.default for p in params[count:]])
    if op.kind != "kernel" or not 1 <= count <= 3 or any(d is inspect.Parameter.empty for d in rest) or op.lists:
        return COLD if template is HOT else template
    inplace = template is INPLACE
    table = op.hot_inplace if inplace else op.hot
    if not isinstance(table, _HotTable):
        table = _HotTable(op, count, rest, inplace)
    space["hot"] = table
    if inplace:
        op.hot_inplace = table
    else:
        op.hot = table
    fill.update(hot_parts(op, names, count, out))
    return INPLACE_HOT if inplace else HOT


def _fill_body(
    op: Operator, params: Sequence[inspect.Parameter], names: Sequence[str], out: bool, fill: dict[str, str]
) -> None:
    """What the text says of an operator whose body is called as it is."""
    fill["plain"] = "out is None and " if out else ""
    fill["classes"] = "".join(f"{n}.__class__, " for n in names)
    call = ", ".join(f"{p.name}={n}" if p.kind is inspect.Parameter.KEYWORD_ONLY else n for p, n in zip(params, names))
    fill["body"] = f"remember(op, ({fill['arguments']}), body({call}))" if op.looks else f"body({call})"


def _describe(form: Callable[..., Any], op: Operator, name: str, method: bool) -> None:
    """Gives a form what programs read of a function."""
    form.__name__ = form.__qualname__ = name
    form.__doc__ = op.__doc__
    form.__module__ = "torch.Tensor" if method else "flambeau" + (op.namespace or "torch")[len("torch") :]
    form.operator = op  # type: ignore[attr-defined]


records.finish = finish
