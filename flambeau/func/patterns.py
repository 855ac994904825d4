"""``rearrange``: dimensions moved, split and joined by a pattern of names (A. Rogozhnikov, "Einops", ICLR 2022)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from .. import ops
from ..tensor import Tensor

__all__ = ["rearrange"]

_TOKEN = re.compile(r"\s*(\(|\)|\.\.\.|[A-Za-z_][A-Za-z0-9_]*|1)")


def _parse(text: str, pattern: str) -> list[list[str]]:
    """One side of a pattern: for each dimension the names that it is made of (none: a dimension of size 1)."""
    dims: list[list[str]] = []
    group: list[str] | None = None
    at = 0
    text = text.strip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"rearrange: {text[at:]!r} in the pattern {pattern!r} is no name, parenthesis or ellipsis")
        token, at = found.group(1), found.end()
        if token == "(":
            if group is not None:
                raise ValueError(f"rearrange: parentheses are nested in the pattern {pattern!r}")
            group = []
            dims.append(group)
        elif token == ")":
            if group is None:
                raise ValueError(f"rearrange: a parenthesis is not opened in the pattern {pattern!r}")
            group = None
        else:
            names = [] if token == "1" else [token]
            if group is not None:
                group.extend(names)
            else:
                dims.append(names)
    if group is not None:
        raise ValueError(f"rearrange: a parenthesis is not closed in the pattern {pattern!r}")
    names = [n for d in dims for n in d]
    if len(set(names)) != len(names):
        raise ValueError(f"rearrange: a name occurs twice on one side of the pattern {pattern!r}")
    return dims


def rearrange(tensor: Tensor | Sequence[Tensor], pattern: str, **axes_lengths: int) -> Tensor:
    """The elements with their dimensions in another order, split or joined: ``rearrange(x, "b (h w) c -> b c h w",
    h=4)``.

    A list of tensors counts as stacked along a new first dimension.  "..." stands for any dimensions, "1" for one of
    size 1.  Raises ValueError for a pattern that does not fit the shape.
    """
    x: Any = ops.stack(list(tensor)) if not isinstance(tensor, Tensor) else tensor
    sides = pattern.split("->")
    if len(sides) != 2:
        raise ValueError(f"rearrange: the pattern {pattern!r} must have one '->'")
    left, right = (_parse(side, pattern) for side in sides)
    rest = x.ndim - sum("..." not in d for d in left)
    if rest < 0 or (rest and not any("..." in d for d in left)):
        raise ValueError(f"rearrange: the pattern {pattern!r} does not fit a tensor of {x.ndim} dimensions")
    hidden = [f"...{i}" for i in range(rest)]
    left = [p for d in left for p in ([[h] for h in hidden] if d == ["..."] else [d])]
    if any("..." in d for d in left):
        raise ValueError(f"rearrange: an ellipsis stands in parentheses on the left of the pattern {pattern!r}")
    right = [
        p
        for d in right
        for p in ([[h] for h in hidden] if d == ["..."] else [[n for m in d for n in (hidden if m == "..." else [m])]])
    ]
    sizes = dict(axes_lengths)
    for names, n in zip(left, x.shape):
        unknown = [name for name in names if name not in sizes]
        known = math.prod(sizes[name] for name in names if name in sizes)
        if len(unknown) > 1 or (unknown and (known == 0 or n % known)) or (not unknown and known != n):
            raise ValueError(f"rearrange: a dimension of size {n} does not fit {names} in the pattern {pattern!r}")
        if unknown:
            sizes[unknown[0]] = n // known
    order, wanted = [n for d in left for n in d], [n for d in right for n in d]
    if sorted(order) != sorted(wanted):
        raise ValueError(f"rearrange: the sides of the pattern {pattern!r} have different names")
    apart = x.reshape([sizes[n] for n in order])
    turned = apart.permute([order.index(n) for n in wanted])
    return turned.reshape([math.prod(sizes[n] for n in d) for d in right])  # type: ignore[no-any-return]
