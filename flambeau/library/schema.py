"""Schemas of operators: PyTorch's one-line signatures, ``add(Tensor x, int n=1, *, float? y=None) -> Tensor``."""

from __future__ import annotations

import ast
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..device import device
from ..dtype import dtype
from ..tensor import Tensor

__all__ = ["Argument", "Schema", "infer_schema", "parse"]

_PARAMETER = re.compile(
    r"^(?P<type>[A-Za-z_][\w.]*(?:\((?P<alias>[^)]*)\))?(?:\[\d*\])?(?:\([^)]*\))?\??(?:\[\d*\]\??)?)\s+(?P<name>\w+)"
    r"(?:\s*=\s*(?P<default>.+))?$"
)
_MISSING = object()


@dataclass(frozen=True)
class Argument:
    """One parameter: its name, type as it is written, default, and whether it is written to."""

    name: str
    type: str
    default: Any = _MISSING
    kwarg_only: bool = False
    is_write: bool = False

    def has_default_value(self) -> bool:
        """Whether a call may leave it out."""
        return self.default is not _MISSING


@dataclass(frozen=True)
class Schema:
    """The signature of an operator, and the text that it was read from."""

    name: str
    overload_name: str
    arguments: tuple[Argument, ...]
    returns: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return self.text

    def bind(self, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
        """The values of all parameters in order; raises TypeError for a call that does not fit."""
        positional = [a for a in self.arguments if not a.kwarg_only]
        if len(args) > len(positional):
            raise TypeError(f"{self.name}() expected at most {len(positional)} arguments, got {len(args)}: {self.text}")
        values = dict(zip((a.name for a in positional), args))
        for name, value in kwargs.items():
            if name not in (a.name for a in self.arguments):
                raise TypeError(f"{self.name}() got an unknown argument {name!r}: {self.text}")
            if name in values:
                raise TypeError(f"{self.name}() got the argument {name!r} twice: {self.text}")
            values[name] = value
        for a in self.arguments:
            if a.name not in values:
                if not a.has_default_value():
                    raise TypeError(f"{self.name}() is missing the argument {a.name!r}: {self.text}")
                values[a.name] = a.default
        return [values[a.name] for a in self.arguments]


def _split(text: str) -> list[str]:
    """The parts between commas that stand in no brackets."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c in "([") - (c in ")]")
        if c == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    last = text[start:].strip()
    return [*parts, last] if last else parts


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def parse(text: str) -> Schema:
    """Reads a schema; raises RuntimeError for a text that is none."""
    match = re.fullmatch(r"\s*([\w:.]+)?\s*\((.*)\)\s*->\s*(.+?)\s*", text, re.DOTALL)
    if match is None:
        raise RuntimeError(f"not a schema of an operator: {text!r}; expected 'name(Tensor x, ...) -> Tensor'")
    name, _, overload = (match[1] or "").partition(".")
    arguments, kwarg_only = [], False
    for part in _split(match[2]):
        if part == "*":
            kwarg_only = True
            continue
        found = _PARAMETER.match(part)
        if found is None:
            raise RuntimeError(f"cannot read the parameter {part!r} of the schema {text!r}")
        written = "!" in (found["alias"] or "")
        default = _MISSING if found["default"] is None else _value(found["default"])
        arguments.append(Argument(found["name"], found["type"], default, kwarg_only, written))
    returned = match[3].strip()
    inner = returned[1:-1] if returned.startswith("(") else returned
    return Schema(name, overload, tuple(arguments), tuple(_split(inner)), text)


# -- from annotations ---------------------------------------------------------------------------------

_PLAIN: dict[Any, str] = {
    Tensor: "Tensor", int: "SymInt", float: "float", bool: "bool", str: "str", dtype: "ScalarType", device: "Device",
}  # fmt: skip


def _type_text(annotation: Any, where: str) -> str:
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        rest = [a for a in args if a is not type(None)]
        if len(rest) == 1 and len(rest) < len(args):
            return _type_text(rest[0], where) + "?"
        if set(rest) <= {int, float, bool}:
            return "Scalar" + ("?" if len(rest) < len(args) else "")
    if origin in (list, tuple, Sequence, typing.Sequence) and args:
        return _type_text(args[0], where) + "[]"
    raise ValueError(f"infer_schema(func): {where} has the type {annotation}, which no operator can have")


def infer_schema(
    prototype_function: Callable[..., Any], /, *, mutates_args: str | Iterable[str], op_name: str | None = None,
    tags: Any = None,
) -> str:  # fmt: skip
    """The schema that the annotations of a function say.

    ``mutates_args`` names the tensors that it writes to, or is "unknown" for all.  Raises ValueError for parameters
    without types, or with types that operators cannot have.
    """
    hints = typing.get_type_hints(prototype_function)
    words: list[str] = []
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    named = set() if isinstance(mutates_args, str) else set(mutates_args)
    parameters = inspect.signature(prototype_function).parameters
    unknown = named - set(parameters)
    if unknown:
        raise ValueError(f"infer_schema(func): mutates_args names {sorted(unknown)}, which are no parameters")
    star = False
    for p in parameters.values():
        where = f"Parameter {p.name}"
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            raise ValueError(f"infer_schema(func): {where} takes any number of arguments, which no operator can")
        if p.name not in hints:
            raise ValueError(f"infer_schema(func): {where} must have a type annotation")
        text = _type_text(hints[p.name], where)
        if text.startswith("Tensor") and (mutates_args == "unknown" or p.name in named):
            text = f"Tensor({next(letters)}!)" + text[len("Tensor") :]
        if p.kind is p.KEYWORD_ONLY and not star:
            words.append("*")
            star = True
        default = "" if p.default is p.empty else f"={p.default!r}"
        words.append(f"{text} {p.name}{default}")
    returned = hints.get("return", type(None))
    if returned is type(None):
        result = "()"
    elif typing.get_origin(returned) is tuple:
        result = "(" + ", ".join(_type_text(a, "Return") for a in typing.get_args(returned)) + ")"
    else:
        result = _type_text(returned, "Return")
    return f"{op_name or ''}({', '.join(words)}) -> {result}"
