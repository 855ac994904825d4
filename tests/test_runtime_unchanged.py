"""What one word of memory tells of Python's objects."""

from __future__ import annotations

from collections import OrderedDict

import pytest

from flambeau.runtime.unchanged import Unchanged

pytestmark = pytest.mark.skipif(not Unchanged.possible, reason="dictionaries have no versions here")


class Thing:
    def __init__(self):
        self.a = 1
        self.b = [1]


class Other(Thing):
    pass


CHANGES = [
    lambda t, d, e, o: setattr(t, "a", 2),
    lambda t, d, e, o: setattr(t, "c", 2),
    lambda t, d, e, o: delattr(t, "b"),
    lambda t, d, e, o: vars(t).update(a=3),
    lambda t, d, e, o: setattr(t, "__class__", Other),
    lambda t, d, e, o: d.__setitem__("x", 2),
    lambda t, d, e, o: d.pop("y"),
    lambda t, d, e, o: d.setdefault("z", 2),
    lambda t, d, e, o: d.clear(),
    lambda t, d, e, o: d.popitem(),
    lambda t, d, e, o: e.append(1),
    lambda t, d, e, o: o.update(k=1),
]


def made():
    return Thing(), {"x": 1, "y": 2}, [], OrderedDict()


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_told(change):
    t, d, e, o = made()
    all_of_it = Unchanged([vars(t), d], [e, o], [t])
    assert all_of_it.holds() and all_of_it.holds()
    t.b.append(2)  # what attributes hold is not looked at
    assert all_of_it.holds()
    change(t, d, e, o)
    assert not all_of_it.holds()


FUNCTION_CHANGES = [
    lambda f, g: setattr(f, "__code__", g.__code__),
    lambda f, g: setattr(f, "__defaults__", (3,)),
    lambda f, g: setattr(f, "__defaults__", None),
    lambda f, g: setattr(f, "__kwdefaults__", {"k": 4}),
    lambda f, g: setattr(f, "__kwdefaults__", None),
    lambda f, g: setattr(f.__closure__[0], "cell_contents", 8),
    lambda f, g: delattr(f.__closure__[0], "cell_contents"),
]


@pytest.mark.parametrize("change", FUNCTION_CHANGES)
def test_changes_of_functions_and_cells_are_told(change):
    held, other = [5], [6]

    def f(a=(1,), *, k=2):
        return held, a, k

    def g(a=(1,), *, k=2):
        return other, a, k

    plain = Unchanged([], [], [], [], [lambda: None])  # neither defaults nor cells
    all_of_it = Unchanged([], [], [], f.__closure__, [f])
    assert all_of_it.holds() and plain.holds()
    held.append(7)  # what a cell holds is not looked at
    f.note = 1
    assert all_of_it.holds()
    change(f, g)
    assert not all_of_it.holds() and plain.holds()


def test_nothing_is_told_without_versions(monkeypatch):
    monkeypatch.setattr(Unchanged, "possible", False)
    assert not Unchanged([{}], [], []).holds()
