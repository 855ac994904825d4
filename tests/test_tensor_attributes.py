"""``__dict__`` of a tensor: the attributes that a program has given it, and nothing of the tensor's own."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import flambeau


def tagged() -> Any:
    x: Any = flambeau.ones(3, requires_grad=True)
    x.tag, x.other = [1], 2
    return x


def test_a_tensor_without_attributes_has_an_empty_dictionary() -> None:
    x = flambeau.ones(3, requires_grad=True)
    x.sum().backward()
    y = x * 2
    assert vars(x) == {} == y.__dict__ == y[0].__dict__
    assert vars(flambeau.nn.Parameter(flambeau.ones(2))) == {}


def test_it_has_what_a_program_set() -> None:
    x = tagged()
    assert x.__dict__ == {"tag": [1], "other": 2} and {**vars(x)} == vars(x)
    assert "tag" in dir(x) and "_layout" not in vars(x)
    del x.tag
    assert list(x.__dict__) == ["other"]


def test_what_is_changed_there_is_changed_in_the_tensor() -> None:
    x = tagged()
    own = x.__dict__
    own["more"] = 3
    own.update(less=4, most=5)
    own |= {"least": 6}
    assert (x.more, x.less, x.most, x.least) == (3, 4, 5, 6)
    assert own.setdefault("tag", 0) == [1] and own.setdefault("fresh", 7) == 7 == x.fresh
    assert own.pop("fresh") == 7 and own.pop("fresh", None) is None and own.popitem() == ("least", 6)
    del own["more"]
    assert not any(hasattr(x, name) for name in ("fresh", "least", "more"))
    own.clear()
    assert vars(x) == {} and x.tolist() == [1, 1, 1]
    with pytest.raises(KeyError, match="part of the tensor"):
        own["_layout"] = None


def test_it_can_be_given_from_one_tensor_to_another() -> None:
    x, y = tagged(), flambeau.zeros(2, 2)
    y.gone = 1
    y.__dict__ = x.__dict__.copy()
    assert vars(y) == vars(x) and y.shape == (2, 2) and not y.requires_grad
    z = (x * 3).detach()
    z.__dict__.update(x.__dict__)
    assert z.tag is x.tag and z.tolist() == [3, 3, 3] and not z.requires_grad


class Mixed:
    """A class whose instances have dictionaries too."""


class Mixture(Mixed, flambeau.Tensor):
    pass


def test_subclasses_of_several_classes_show_the_same() -> None:
    x: Any = flambeau.ones(2).as_subclass(Mixture)
    x.tag = 1
    assert vars(x) == {"tag": 1} and vars(x + 1) == {}


def test_copies_and_pickles_keep_them() -> None:
    for found in (copy.deepcopy(tagged()), copy.copy(tagged()), pickle.loads(pickle.dumps(tagged()))):
        assert vars(found) == {"tag": [1], "other": 2} and found.requires_grad
