"""TorchScript's lists and dictionaries: shared by reference with scripted code, with elements of one type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["ScriptDict", "ScriptDictIterator", "ScriptDictKeyIterator", "ScriptList", "ScriptListIterator"]


class _Iterator:
    """Goes over what a container had when it was asked."""

    def __init__(self, values: Iterator[Any]) -> None:
        self._values = values

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next(self._values)


class ScriptDictIterator(_Iterator):
    """Goes over the pairs of a ``ScriptDict``."""


class ScriptDictKeyIterator(_Iterator):
    """Goes over the keys of a ``ScriptDict``."""


class ScriptListIterator(_Iterator):
    """Goes over the elements of a ``ScriptList``."""


def _same_type(known: Any, value: Any) -> None:
    if known is not None and type(value) is not known:
        raise TypeError(f"expected a value of type {known.__name__}, as the others are, got {type(value).__name__}")


def _type_of(values: Any) -> Any:
    """The type of all the values, None of nothing; raises TypeError if there are several."""
    known = None
    for value in values:
        _same_type(known, value)
        known = type(value)
    return known


class ScriptDict:
    """A dictionary whose keys are of one type, and whose values are; raises TypeError for others."""

    def __init__(self, dict: Any) -> None:
        self._values = {**dict}
        self._types = _type_of(self._values), _type_of(self._values.values())

    def __getitem__(self, arg0: Any) -> Any:
        _same_type(self._types[0], arg0)
        return self._values[arg0]

    def __setitem__(self, arg0: Any, arg1: Any) -> None:
        _same_type(self._types[0], arg0)
        _same_type(self._types[1], arg1)
        self._values[arg0] = arg1
        self._types = type(arg0), type(arg1)

    def __delitem__(self, arg0: Any) -> None:
        del self._values[arg0]

    def __contains__(self, arg0: Any) -> bool:
        return arg0 in self._values

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> ScriptDictKeyIterator:
        return self.keys()

    def keys(self) -> ScriptDictKeyIterator:
        """The keys."""
        return ScriptDictKeyIterator(iter([*self._values]))

    def items(self) -> ScriptDictIterator:
        """Pairs of key and value."""
        return ScriptDictIterator(iter([*self._values.items()]))

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{k}: {v}' for k, v in self._values.items())}}}"


class ScriptList:
    """A list of elements of one type; raises TypeError for others."""

    def __init__(self, list: Any) -> None:
        self._values = [*list]
        self._type = _type_of(self._values)

    def _take(self, value: Any) -> Any:
        _same_type(self._type, value)
        self._type = type(value)
        return value

    def __getitem__(self, arg0: Any) -> Any:
        found = self._values[arg0]
        return ScriptList(found) if isinstance(arg0, slice) else found

    def __setitem__(self, arg0: Any, arg1: Any) -> None:
        self._values[arg0] = [self._take(v) for v in arg1] if isinstance(arg0, slice) else self._take(arg1)

    def __delitem__(self, arg0: Any) -> None:
        del self._values[arg0]

    def __contains__(self, arg0: Any) -> bool:
        return arg0 in self._values

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> ScriptListIterator:
        return ScriptListIterator(iter([*self._values]))

    def append(self, arg0: Any) -> None:
        """Adds an element."""
        self._values.append(self._take(arg0))

    def extend(self, arg0: Any) -> None:
        """Adds elements."""
        self._values += [self._take(v) for v in arg0]

    def insert(self, arg0: int, arg1: Any) -> None:
        """Puts an element before the place ``arg0``."""
        self._values.insert(arg0, self._take(arg1))

    def pop(self, arg0: int = -1) -> Any:
        """Takes an element away and returns it; raises IndexError if there is none."""
        return self._values.pop(arg0)

    def remove(self, arg0: Any) -> None:
        """Takes the first such element away; raises ValueError if there is none."""
        self._values.remove(arg0)

    def count(self, arg0: Any) -> int:
        """How often an element is there."""
        return self._values.count(arg0)

    def clear(self) -> None:
        """Takes all away."""
        self._values.clear()

    def __repr__(self) -> str:
        return f"[{', '.join(map(str, self._values))}]"
