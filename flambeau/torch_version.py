"""The version of PyTorch's API, a string that compares as a version does."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["TorchVersion"]


def _key(text: str) -> tuple[Any, ...]:
    """What versions are ordered by (PEP 440): the release, then whether it is a pre-release, then the local part."""
    match = re.match(r"v?(\d+(?:\.\d+)*)(?:[.-]?(a|b|rc|dev|post)\.?(\d*))?(?:\+(.*))?$", text.strip())
    if match is None:
        raise ValueError(f"not a version: {text!r}")
    release = [int(part) for part in match[1].split(".")]
    while release and release[-1] == 0:
        release.pop()
    stage = {"dev": -4, "a": -3, "b": -2, "rc": -1, None: 0, "post": 1}[match[2]]
    local = tuple(
        (1, int(p), "") if p.isdigit() else (0, 0, p) for p in re.split(r"[.\-_]", match[4].lower())
    ) if match[4] else ()  # fmt: skip
    return tuple(release), stage, int(match[3] or 0), local


class TorchVersion(str):
    """A version that compares with strings and tuples as versions: ``"2.13.0" >= (2, 4)``."""

    __slots__ = ()

    def _compare(self, other: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]] | None:
        text = ".".join(map(str, other)) if isinstance(other, (tuple, list)) else other
        try:
            return _key(self), _key(str(text))
        except ValueError:
            return None

    def __lt__(self, other: Any) -> bool:
        found = self._compare(other)
        return str.__lt__(self, other) if found is None else found[0] < found[1]

    def __le__(self, other: Any) -> bool:
        found = self._compare(other)
        return str.__le__(self, other) if found is None else found[0] <= found[1]

    def __gt__(self, other: Any) -> bool:
        found = self._compare(other)
        return str.__gt__(self, other) if found is None else found[0] > found[1]

    def __ge__(self, other: Any) -> bool:
        found = self._compare(other)
        return str.__ge__(self, other) if found is None else found[0] >= found[1]

    def __eq__(self, other: Any) -> bool:
        found = self._compare(other)
        return str.__eq__(self, other) if found is None else found[0] == found[1]

    def __ne__(self, other: Any) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return str.__hash__(self)
