"""Programs that differ in sizes alone share a plan.

A program of other sizes is another text (``record.py``), so it would be planned anew, which takes as long as a training
step.  Instead the second one of a *family* is planned with every number in which it differs from the first left open
(``graph/varying.py``).  What comes out serves all sizes that the planner would not have treated differently; for them
only numbers are computed.  Where one did matter (a dimension of size 1, a cut of the work), there is a further plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import graph
from ..graph.node import Node, topological
from ..layout import Layout, of
from ..primitives import Recorder
from .record import ARGUMENT, VIEW, WRITE, Recipe, replay

if TYPE_CHECKING:
    from ..graph.plan import Plan
    from ..graph.schedule import Schedule

__all__ = ["Wanted", "shared_plan"]

Wanted = tuple[int, Layout, "int | None"]
"""A value to compute: its number, how it lies, and the argument that it goes into or None."""

_FAMILIES = 512  # that are remembered
_MEMBERS = 16  # plans of a family; programs beyond them are planned one by one


class _Parts(NamedTuple):
    """A layout or recipe: what is left of it without numbers, and these in order."""

    form: object
    numbers: tuple[int, ...]


class _Text(NamedTuple):
    """A program taken apart: its words, in which an object stands by its place among the objects, and these."""

    words: tuple[Any, ...]
    objects: list[Any]

    def parts(self) -> tuple[tuple[object, ...], list[int]]:
        """(what the members of a family have in common, the numbers in which they may differ)"""
        parts = [_parts(x) for x in self.objects]
        own = [w for w in self.words if w.__class__ is _Number]
        numbers = [n for p in parts for n in p.numbers] + [w.value for w in own]
        words = tuple(None if w.__class__ is _Number else w for w in self.words)
        return (words, tuple(p.form for p in parts)), numbers


class _Number(NamedTuple):
    """A number of the text itself: the offset of a view."""

    value: int


def _taken_apart(text: Sequence[Any], wanted: Sequence[Wanted]) -> _Text:
    words: list[Any] = []
    objects: list[Any] = []
    places: dict[int, int] = {}

    def place(x: Layout | Recipe) -> int:
        found = places.get(id(x))
        if found is None:
            found = places[id(x)] = len(objects)
            objects.append(x)
        return found

    at = 0
    while at < len(text):
        what = text[at]
        if what is ARGUMENT:
            words += (ARGUMENT, place(text[at + 1]), text[at + 2])
            at += 3
        elif what is VIEW or what is WRITE:
            words += (what, text[at + 1], place(text[at + 2]), _Number(text[at + 3]))
            at += 4
            if what is WRITE:
                words.append(text[at])
                at += 1
        else:
            words += ("recipe", place(what), *text[at + 1 : at + 1 + what.inputs])
            at += 1 + what.inputs
    for number, layout, into in wanted:
        words += ("wanted", number, place(layout), into)
    return _Text(tuple(words), objects)


def _parts(x: Layout | Recipe) -> _Parts:
    if isinstance(x, Layout):
        return _Parts((x.dtype, x.device, x.ndim), (*x.shape, *x.strides))
    if x.parts is None:
        numbers: list[int] = []
        nodes = topological(x.nodes)
        place = {id(n): k for k, n in enumerate(nodes)}
        forms = tuple(
            (
                n.op,
                n.type,
                tuple(place[id(i)] for i in n.inputs),
                _form(_marked(n.op, n.attrs), numbers),
                _form(n.shape, numbers),
            )
            for n in nodes
        )
        results = tuple((layout.dtype, layout.device, layout.ndim) for layout in x.layouts)
        numbers += [n for layout in x.layouts for n in (*layout.shape, *layout.strides)]
        form = (x.name, forms, tuple(place[id(n)] for n in x.nodes), results, x.several, x.inputs, x.numbers, x.joins)
        x.parts = _Parts(form, tuple(numbers))
    found: _Parts = x.parts
    return found


def _form(value: Any, numbers: list[int]) -> object:
    """An attribute without its integers, which are added to ``numbers``."""
    if value.__class__ is int:
        numbers.append(value)
        return int
    if value.__class__ is tuple:
        return tuple([_form(v, numbers) for v in value])
    return value.__class__, value if value == value else repr(value)


class _Which(NamedTuple):
    """An integer that says which dimension or operand is meant: no size, so that members of a family have the same."""

    number: int


_WHICH_ALONE = ("argreduce", "gather", "iota", "reduce", "scan", "scatter")
"""Values whose attributes have no integers but such."""


def _marked(op: str, attrs: Any) -> Any:
    """Attributes with those integers marked that are no sizes."""
    if op in _WHICH_ALONE:
        if attrs.__class__ is tuple:
            return tuple([_marked(op, a) for a in attrs])
        return _Which(attrs) if attrs.__class__ is int else attrs
    if op in ("move", "update"):
        map_, *rest = attrs
        return (tuple([(at, tuple([(_Which(d), c) for d, c in terms])) for at, terms in map_]), *rest)
    return attrs


class _Rebuilt:
    """A program again, with other numbers."""

    def __init__(self, text: _Text, numbers: Sequence[int]) -> None:
        self._numbers = iter(numbers)
        objects = [self._layout(x) if isinstance(x, Layout) else self._recipe(x) for x in text.objects]
        self.text: list[Any] = []
        self.wanted: list[Wanted] = []
        words = text.words
        at = 0
        while at < len(words):
            what = words[at]
            if what == "wanted":
                number, place, into = words[at + 1 : at + 4]
                self.wanted.append((number, objects[place], into))
                at += 4
            elif what == "recipe":
                recipe = objects[words[at + 1]]
                self.text += (recipe, *words[at + 2 : at + 2 + recipe.inputs])
                at += 2 + recipe.inputs
            elif what == ARGUMENT:
                self.text += (ARGUMENT, objects[words[at + 1]], words[at + 2])
                at += 3
            else:
                self.text += (what, words[at + 1], objects[words[at + 2]], next(self._numbers))
                at += 4
                if what == WRITE:
                    self.text.append(words[at])
                    at += 1

    def _take(self, like: Sequence[int]) -> list[int]:
        return [next(self._numbers) for _ in like]

    def _layout(self, x: Layout) -> Layout:
        shape = self._take(x.shape)
        return of(x.dtype, x.device, shape, self._take(x.strides))

    def _attributes(self, value: Any) -> Any:
        if value.__class__ is int:
            return next(self._numbers)
        if value.__class__ is _Which:
            return value.number
        return tuple([self._attributes(v) for v in value]) if value.__class__ is tuple else value

    def _recipe(self, x: Recipe) -> Recipe:
        made: dict[int, Node] = {}
        for old in topological(x.nodes):
            n = made[id(old)] = Node()
            n.op, n.type, n.origin, n.number = old.op, old.type, old.origin, old.number
            n.inputs = tuple([made[id(i)] for i in old.inputs])
            n.attrs = self._attributes(_marked(old.op, old.attrs))
            n.shape = self._attributes(old.shape)
        layouts = tuple([self._layout(layout) for layout in x.layouts])
        return Recipe(x.name, tuple([made[id(n)] for n in x.nodes]), layouts, x.several, x.inputs, x.numbers, x.joins)


class _Resizable:
    """A plan for all sizes that the planner would treat as it treated those at hand."""

    def __init__(self, text: _Text, members: Sequence[Sequence[int]], owners: Sequence[int], constant: bool) -> None:
        # Numbers that were the same in every member are given; those that were always equal are one size.
        now = members[-1]
        self._given = [k for k, values in enumerate(zip(*members)) if len(set(values)) == 1]
        groups: dict[tuple[int, ...], list[int]] = {}
        for k, values in enumerate(zip(*members)):
            if len(set(values)) > 1:
                groups.setdefault(values, []).append(k)
        self._groups = list(groups.values())
        self._now = now
        self._owners, self._constant = owners, constant
        self._scope = graph.varying.Scope([now[group[0]] for group in self._groups])
        numbers = list(now)
        for size, group in zip(self._scope.sizes, self._groups):
            for k in group:
                numbers[k] = size
        again = _Rebuilt(text, numbers)
        with Recorder() as recorder:
            nodes = replay(again.text, recorder)
            self._into = [into for _, _, into in again.wanted]
            found = graph.passes.improved(recorder.graph, [nodes[k] for k, _, _ in again.wanted], self._into)
        outputs = [graph.schedule.Output(n, layout.strides, into) for n, (_, layout, into) in zip(found, again.wanted)]
        self._schedule = graph.schedule.schedule(outputs, owners)

    def plan(self, numbers: Sequence[int]) -> Plan | None:
        """The plan for these numbers, or None if it does not serve them."""
        now = self._now
        if any(numbers[k] != now[k] for k in self._given):
            return None
        sizes = []
        for group in self._groups:
            size = numbers[group[0]]
            if any(numbers[k] != size for k in group):
                return None
            sizes.append(size)
        values = self._scope.values(sizes)
        if values is None:
            return None
        plan = graph.plan.Plan(
            _valued(self._schedule, values), self._into, len(self._owners), self._owners, self._constant, True
        )
        self._schedule = _with_code(self._schedule, plan)
        return plan


def _valued(x: Any, values: Sequence[int]) -> Any:
    """What a schedule is for the values of its terms."""
    kind = x.__class__
    if kind is graph.varying.Varying:
        return values[x.at]
    if kind is tuple:
        return tuple([_valued(y, values) if y.__class__ not in _PLAIN else y for y in x])
    if kind is graph.kernel.KernelCall:
        return x._replace(
            chunks=_valued(x.chunks, values), words=_valued(x.words, values), flat=_valued(x.flat, values),
            stream_from=_valued(x.stream_from, values), work=_valued(x.work, values),
        )  # fmt: skip
    if kind is graph.schedule.ExternCall:
        return x._replace(inputs=_valued(x.inputs, values), outputs=_valued(x.outputs, values))
    if isinstance(x, tuple):
        return kind(*[_valued(y, values) if y.__class__ not in _PLAIN else y for y in x])
    return x


_PLAIN = frozenset({int, str, type(None), bool})


def _with_code(schedule: Schedule, plan: Plan) -> Schedule:
    """The schedule with the addresses of code that a plan of it has found or compiled."""
    steps = zip(schedule.steps, plan.schedule.steps)
    found = [s._replace(address=t.address) if isinstance(t, graph.kernel.KernelCall) else s for s, t in steps]  # type: ignore[call-arg]
    return schedule._replace(steps=tuple(found))


class _Family:
    """Programs that differ in numbers: some members, and the plans that were made for all."""

    def __init__(self) -> None:
        self.members: list[list[int]] = []
        self.plans: list[_Resizable] = []


_families: dict[object, _Family] = {}


def shared_plan(text: Sequence[Any], wanted: Sequence[Wanted], owners: Sequence[int], constant: bool) -> Plan | None:
    """The plan of a program that differs from earlier ones in sizes alone; None if it is the first of its family, or
    the sizes matter too often.  Arguments as in ``deferral.planned``."""
    apart = _taken_apart(text, wanted)
    form, numbers = apart.parts()
    key = (form, tuple(owners), constant)
    family = _families.get(key)
    if family is None:
        if len(_families) >= _FAMILIES:
            _families.clear()
        family = _families[key] = _Family()
    for known in family.plans:
        plan = known.plan(numbers)
        if plan is not None:
            return plan
    if len(family.plans) >= _MEMBERS:
        return None
    family.members.append(numbers)
    if len(family.members) < 2:
        return None
    made = _Resizable(apart, family.members, owners, constant)
    family.plans.append(made)
    return made.plan(numbers)
