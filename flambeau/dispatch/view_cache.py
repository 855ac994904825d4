"""Views that are remembered by the layout of their source, and made again without asking the operator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..autograd import tape
from ..autograd.view import How
from ..layout import Layout
from ..tensor import Tensor
from .call import special
from .callforms import call_forms
from .operator import Operator
from .planning import LIMIT

__all__ = ["again", "remember", "sized_view"]

_new = object.__new__
_ints = frozenset({int}).issuperset

_Seen = tuple[tuple[tuple[Layout, int], ...], tuple[How, ...], str]
"""Views of a tensor: the layout of each and how far from the source it lies, how they are made, and whether they are
"one", or several that an operator made "together" (made in one way) or "apart" (each in its own)."""


def again(source: Tensor, seen: _Seen) -> Any:
    """The views that were seen of one tensor, of another one with the same layout."""
    parts, hows, several = seen
    storage, offset = source._storage, source._offset
    outs = []
    for layout, delta in parts:
        t = _new(Tensor)
        t._layout = t._key = layout
        t._storage = storage
        t._offset = offset + delta
        outs.append(t)
    if several == "one":
        tape.record_look(source, hows[0], outs[0])
        return outs[0]
    if several == "together":
        tape.record_looks(source, hows[0], outs)
    else:
        for how, t in zip(hows, outs):
            tape.record_look(source, how, t)
    return tuple(outs)


def remember(op: Operator, args: tuple[Any, ...], found: Any) -> Any:
    """Remembers the result of a call of an operator that ``looks``, which it returns, for the next source with this
    layout: if it is views that one operator made of the source, and the other arguments are plain numbers."""
    source = args[0]
    views = found if isinstance(found, tuple) else (found,)
    if not views or source.__class__ is not Tensor or source._key is None or special:
        return found
    over = source._view
    base = source if over is None else over.base
    made = [v._view for v in views]
    if (
        any(m is None or m.parent is not over or m.base is not base or m.how[0]._derivative is None for m in made)
        or any(v._storage is not source._storage or v._key is None or v is source for v in views)
        or views[0]._layout.dtype is not source._layout.dtype
        or not all(a is None or a.__class__ is int or (isinstance(a, tuple) and _ints(map(type, a))) for a in args[1:])
    ):
        return found
    several = "one" if views[0] is found else "apart" if made[0].how[2] is None else "together"
    hows = tuple([(*m.how[:2], None) for m in (made if several == "apart" else made[:1])])
    if len(op.hot) >= LIMIT:
        op.hot.clear()
    parts = tuple([(v._layout, v._offset - source._offset) for v in views])
    key = source._key, *args[1:]
    op.hot[key] = parts, hows, several
    return found


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
