"""Schemas of operators as objects: their arguments with types, defaults and aliasing, and comparison of versions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from ..library.schema import parse
from ..ops.common import blaming
from .types import IntType, ListType, OptionalType, SymIntType, Type, from_schema_text

__all__ = ["Argument", "FunctionSchema", "merge_type_from_type_comment", "parse_schema", "parse_type_comment"]


class _AliasInfo:
    """Which storage an argument shares, by the letters of a schema, and whether it is written to."""

    def __init__(self, text: str) -> None:
        before, _, after = text.replace("!", "").partition("->")
        self.is_write = "!" in text
        self.before_set = {s.strip() for s in before.split("|")}
        self.after_set = {s.strip() for s in after.split("|")} if after else set(self.before_set)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _AliasInfo) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class Argument:
    """An argument or result of an operator: ``name``, ``type``, ``N`` (of a list with a fixed length),
    ``default_value``, ``kwarg_only``, ``alias_info``."""

    def __init__(
        self, name: str, type: Type, N: int | None, default_value: Any, kwarg_only: bool, alias_info: Any,
        _default: bool | None = None, _spelled: str = "",
    ) -> None:  # fmt: skip
        self.name, self._real_type, self.N = name, type, N
        self.type = IntType.get() if isinstance(type, SymIntType) else type
        self.default_value, self.kwarg_only, self.alias_info = default_value, kwarg_only, alias_info
        self._default = default_value is not None if _default is None else _default
        self._spelled = _spelled or str(type)

    def has_default_value(self) -> bool:
        """Whether a call may leave it out."""
        return self._default

    @property
    def real_type(self) -> Type:
        """The type, with symbolic sizes kept apart from integers."""
        return self._real_type

    @property
    def is_write(self) -> bool:
        """Whether the operator writes to it."""
        return self.alias_info is not None and self.alias_info.is_write

    @property
    def is_out(self) -> bool:
        """Whether it is where a result goes: a keyword that is written to."""
        return self.kwarg_only and self.is_write

    def _like(self, other: Argument) -> bool:
        return (self.name, self.type, self.N) == (other.name, other.type, other.N)

    def _text(self) -> str:
        default = self.default_value
        if self.N and self._spelled.startswith("int") and isinstance(default, list) and len(set(default)) == 1:
            default = default[0]
        value = f'"{default}"' if isinstance(default, str) else str(default)
        if isinstance(default, float) and default.is_integer():
            value = value.removesuffix("0")
        spelled = f"{self._spelled} {self.name}".rstrip()
        return spelled + (f"={value.replace('(', '[').replace(')', ']')}" if self._default else "")


class FunctionSchema:
    """The signature of an operator: ``name``, ``overload_name``, ``arguments`` and ``returns``."""

    def __init__(
        self, name: str, overload_name: str, arguments: Sequence[Argument], returns: Sequence[Argument],
        is_vararg: bool = False, is_varret: bool = False,
    ) -> None:  # fmt: skip
        self.name, self.overload_name = name, overload_name
        self.arguments, self.returns = list(arguments), list(returns)
        self.is_vararg, self.is_varret = is_vararg, is_varret

    @property
    def is_mutable(self) -> bool:
        """Whether it writes to an argument."""
        return any(a.is_write for a in self.arguments)

    def __str__(self) -> str:
        words: list[str] = []
        for i, a in enumerate(self.arguments):
            if a.kwarg_only and (i == 0 or not self.arguments[i - 1].kwarg_only):
                words.append("*")
            words.append(a._text())
        if self.is_vararg:
            words.append("...")
        results = ", ".join(r._text() for r in self.returns)
        tail = "..." if self.is_varret else results if len(self.returns) == 1 else f"({results})"
        full = f"{self.name}.{self.overload_name}" if self.overload_name else self.name
        return f"{full}({', '.join(words)}) -> {tail}"

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FunctionSchema) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def is_backward_compatible_with(self, arg0: FunctionSchema) -> bool:
        """Whether every call of the older schema ``arg0`` is a call of this one: arguments added since have defaults
        and come last among those of their kind."""
        if (self.name, self.overload_name) != (arg0.name, arg0.overload_name) or len(self.returns) != len(arg0.returns):
            return False
        if not all(new._like(old) for new, old in zip(self.returns, arg0.returns)):
            return False
        mine, theirs = ([a for a in s.arguments if not a.kwarg_only] for s in (self, arg0))
        if len(mine) < len(theirs) or not all(new._like(old) for new, old in zip(mine, theirs)):
            return False
        known = {a.name for a in arg0.arguments}
        by_name = {a.name: a for a in self.arguments}
        if not all(a.name in by_name and by_name[a.name]._like(a) for a in arg0.arguments):
            return False
        return all(a.has_default_value() for a in self.arguments if a.name not in known) and all(
            by_name[a.name].has_default_value() or not a.has_default_value() for a in arg0.arguments
        )

    def check_forward_compatible_with(self, arg0: FunctionSchema) -> tuple[bool, str]:
        """(whether old code can run new calls written with this schema instead of ``arg0``, why not)."""
        if not self.is_backward_compatible_with(arg0):
            return False, f"{self} is not even backward compatible with {arg0}"
        added = [a.name for a in self.arguments if a.name not in {b.name for b in arg0.arguments}]
        if added and not all(a.kwarg_only or a.has_default_value() for a in self.arguments if a.name in added):
            return False, f"the arguments {added} are new and have no defaults"
        return True, ""


def _typed(text: str) -> tuple[Type, int | None, Any]:
    """(type, length of a list, aliasing) of a type in a schema."""
    found = from_schema_text(text)
    count = re.search(r"\[(\d+)\]\??$", text)
    alias = re.search(r"\w+(?:\[\d*\])?\(([^),]*)\)\??(?:\[\d*\]\??)?$", text)
    shared = alias is not None and not text.startswith(("Future", "Await", "RRef"))
    return found, int(count[1]) if count else None, _AliasInfo(alias[1]) if alias is not None and shared else None


def parse_schema(schema: str, allow_typevars: bool = True) -> FunctionSchema:
    """Reads ``name.overload(Tensor(a!) x, int[2] n=1, *, float? y=None) -> Tensor``.

    Raises RuntimeError for a text that is no schema, TypeError for what is no text.
    """
    if not isinstance(schema, str):
        raise TypeError(f"parse_schema(): argument 'schema' must be str, not {type(schema).__name__}")
    read = parse(schema)
    arguments = []
    for a in read.arguments:
        kind, count, alias = _typed(a.type)
        default = a.default if a.has_default_value() else None
        plain = kind.getElementType() if isinstance(kind, OptionalType) else kind
        if isinstance(plain, ListType) and count and isinstance(default, (int, float)) and a.has_default_value():
            default = [default] * count
        arguments.append(Argument(a.name, kind, count, default, a.kwarg_only, alias, a.has_default_value(), a.type))
    results = []
    for text in read.returns:
        spelled, _, name = text.rpartition(" ") if re.search(r"[\])?\w] \w+$", text) else (text, "", "")
        kind, count, alias = _typed(spelled)
        results.append(Argument(name, kind, count, None, False, alias, False, spelled))
    return FunctionSchema(read.name, read.overload_name, arguments, results)


@blaming
def parse_type_comment(arg0: str) -> FunctionSchema:
    """The signature in a comment ``# type: (int, Tensor) -> Tensor``: a schema without a name.

    Raises RuntimeError for other text.
    """
    found = re.search(r"#\s*type:\s*\((.*)\)\s*->\s*(.+?)\s*$", arg0)
    if found is None:
        raise RuntimeError(f"expected a comment like '# type: (int, Tensor) -> Tensor', got {arg0!r}")

    def python(text: str) -> Type:
        text = text.strip()
        inner = re.fullmatch(r"(List|Optional|Tuple|Dict|Future)\[(.*)\]", text)
        if inner is None:
            return from_schema_text(text)
        spelled = {"List": "{0}[]", "Optional": "{0}?", "Tuple": "({})", "Dict": "Dict({})", "Future": "Future({})"}
        return from_schema_text(spelled[inner[1]].format(inner[2]))

    words = re.findall(r"(?:[^,\[\]]|\[[^\]]*\])+", found[1])
    arguments = [Argument(f"arg{i}", python(w), None, None, False, None) for i, w in enumerate(words)]
    return FunctionSchema("", "", arguments, [Argument("", python(found[2]), None, None, False, None)])


def merge_type_from_type_comment(arg0: FunctionSchema, arg1: FunctionSchema, arg2: bool) -> FunctionSchema:
    """A signature with the types that a comment states; ``arg2``: the first argument, ``self``, has none there.

    Raises RuntimeError if they differ in the number of arguments.
    """
    for i, arg in enumerate((arg0, arg1)):
        if not isinstance(arg, FunctionSchema):
            raise TypeError(
                f"merge_type_from_type_comment(): argument 'arg{i}' must be FunctionSchema, not {type(arg).__name__}"
            )
    kept = arg0.arguments[:1] if arg2 else []
    rest = arg0.arguments[len(kept) :]
    if len(rest) != len(arg1.arguments):
        raise RuntimeError(
            f"number of type annotations for the function's parameters ({len(arg1.arguments)}) does not match the "
            f"number of parameters ({len(rest)})"
        )
    typed = [
        Argument(a.name, t.type, a.N, a.default_value, a.kwarg_only, a.alias_info, a.has_default_value())
        for a, t in zip(rest, arg1.arguments)
    ]
    return FunctionSchema(arg0.name, arg0.overload_name, [*kept, *typed], arg1.returns)
