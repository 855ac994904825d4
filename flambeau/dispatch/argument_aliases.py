"""Calls in other words: parameters by their other names, and factors by position."""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..tensor import Tensor
from .operator import Operator

__all__ = ["ABSENT", "by_other_name", "old_call", "other_names", "special_names", "spellings"]

_DEFAULT = re.compile(r"_d_\w+")
ABSENT = object()  # stands for an argument that a call leaves out
_NUMPY_NAMES = (("dim", ("axis",)), ("keepdim", ("keepdims",)))


def other_names(op: Operator, params: Sequence[inspect.Parameter], names: list[str], words: list[str]) -> str:
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


def by_other_name(name: str, official: str, *values: Any) -> Any:
    """What a call gave by another name than ``official``; raises TypeError if nothing."""
    value = next((v for v in values if v is not ABSENT), ABSENT)
    if value is ABSENT:
        raise TypeError(f"{name}() missing 1 required positional arguments: '{official}'")
    return value


_warned: set[str] = set()


def old_call(form: Callable[..., Any], op: Operator, args: tuple[Any, ...]) -> Any:
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


def spellings(op: Operator, name: str, words: list[str], defaults: dict[str, Any], method: bool) -> Iterator[str]:
    """The calls of a form whose parameters have other names, too: each name in the place of the official one."""
    plain = [_DEFAULT.sub(lambda m: repr(defaults[m[0]]), w) for w in (words[1:] if method else words)]
    yield f"{name}({', '.join(plain)})"
    most = max(map(len, op.synonyms.values()))
    for i in range(most):
        other = {official: others[min(i, len(others) - 1)] for official, others in op.synonyms.items()}
        parts = [w.partition("=") for w in plain]
        changed = [other.get(first, first) + sign + rest for first, sign, rest in parts]
        yield f"{name}({', '.join(changed)})"
    yield from special_names(op, name, method)


def special_names(op: Operator, name: str, method: bool) -> Iterator[str]:
    """The calls of the special methods that a method is, too."""
    for symbol in op.symbols if method and name.removesuffix("_") == op.name else ():
        yield f"__{'i' * name.endswith('_')}{symbol}__({op.params[1]})"
