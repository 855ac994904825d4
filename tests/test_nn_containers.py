"""Containers: their operators, text, states and errors; compared with PyTorch."""

from __future__ import annotations

from collections import OrderedDict

import pytest
from nn_reference import check

from flambeau import nn


def names(module):
    return [f"{name}:{type(each).__name__}" for name, each in module._modules.items()]


def abc(p):
    return p.nn.Sequential(p.nn.ReLU(), p.nn.Tanh(), p.nn.SiLU())


def after(module, *changes):
    """The module's parts after changes in place."""
    for change in changes:
        change(module)
    return names(module)


def replaced(module, change):
    """What an augmented assignment leaves."""
    changed = change(module)
    return changed is module, names(changed)


SEQUENTIAL = {
    "index": lambda p: (repr(abc(p)[1]), repr(abc(p)[-1]), names(abc(p)[0:2]), names(abc(p)[::-2]), len(abc(p))),
    "out of range": lambda p: abc(p)[5],
    "no index": lambda p: abc(p)["a"],
    "set": lambda p: after(abc(p), lambda s: s.__setitem__(1, p.nn.GELU()), lambda s: s.__setitem__(-1, p.nn.ELU())),
    "delete": lambda p: (
        after(abc(p), lambda s: s.__delitem__(0)),
        after(abc(p), lambda s: s.__delitem__(slice(0, 2))),
    ),
    "pop": lambda p: (lambda s: (repr(s.pop(0)), names(s)))(abc(p)),
    "pop slice": lambda p: (lambda s: (repr(s.pop(slice(0, 2))), names(s)))(abc(p)),
    "pop nothing": lambda p: abc(p).pop(5),
    "append": lambda p: names(abc(p).append(p.nn.ELU())),
    "append nothing": lambda p: abc(p).append(3),
    "insert": lambda p: names(abc(p).insert(1, p.nn.ELU()).insert(-1, p.nn.GELU()).insert(5, p.nn.Mish())),
    "insert far": lambda p: abc(p).insert(9, p.nn.ELU()),
    "extend": lambda p: names(abc(p).extend([p.nn.ELU()]).extend(abc(p))),
    "add": lambda p: (names(abc(p) + abc(p)), names(abc(p) * 2), names(2 * abc(p))),
    "iadd": lambda p: replaced(abc(p), lambda s: s.__iadd__(abc(p))),
    "imul": lambda p: replaced(abc(p), lambda s: s.__imul__(2)),
    "add no sequence": lambda p: abc(p) + 3,
    "times nothing": lambda p: abc(p) * 0,
    "times no number": lambda p: abc(p) * "a",
    "imul negative": lambda p: abc(p).__imul__(-1),
    "no module": lambda p: p.nn.Sequential(3),
    "dictionary": lambda p: p.nn.Sequential({"a": p.nn.ReLU()}),
    "ordered": lambda p: names(p.nn.Sequential(OrderedDict(b=p.nn.ReLU(), a=p.nn.Tanh()))),
    "slice of named": lambda p: names(p.nn.Sequential(OrderedDict(b=p.nn.ReLU(), a=p.nn.Tanh()))[1:]),
    "keyword": lambda p: p.nn.Sequential(a=p.nn.ReLU()),
    "no digits": lambda p: [n for n in dir(abc(p)) if n.isdigit()],
    "empty": lambda p: (repr(p.nn.Sequential()), p.nn.Sequential()(p.ones(2))),
    "shared": lambda p: (lambda r: names(p.nn.Sequential(r, r)))(p.nn.ReLU()),
}

LIST = {
    "text": lambda p: repr(p.nn.ModuleList([p.nn.ReLU(), p.nn.ReLU(), p.nn.Linear(1, 1), p.nn.ReLU()])),
    "nested text": lambda p: repr(p.nn.ModuleList([p.nn.ModuleList([p.nn.ReLU()] * 2)] * 2)),
    "empty": lambda p: repr(p.nn.ModuleList()),
    "index": lambda p: (repr(p.nn.ModuleList(abc(p))[-1]), names(p.nn.ModuleList(abc(p))[1:])),
    "out of range": lambda p: p.nn.ModuleList(abc(p))[7],
    "no index": lambda p: p.nn.ModuleList(abc(p))["a"],
    "set": lambda p: after(p.nn.ModuleList(abc(p)), lambda m: m.__setitem__(-1, p.nn.ELU())),
    "delete": lambda p: after(p.nn.ModuleList(abc(p)), lambda m: m.__delitem__(1)),
    "delete slice": lambda p: after(p.nn.ModuleList(abc(p)), lambda m: m.__delitem__(slice(0, 2))),
    "add": lambda p: names(p.nn.ModuleList(abc(p)) + [p.nn.ELU()]),
    "iadd": lambda p: replaced(p.nn.ModuleList(abc(p)), lambda m: m.__iadd__([p.nn.ELU()])),
    "insert": lambda p: after(p.nn.ModuleList(abc(p)), lambda m: m.insert(1, p.nn.ELU())),
    "pop": lambda p: (lambda m: (repr(m.pop(1)), names(m)))(p.nn.ModuleList(abc(p))),
    "pop slice": lambda p: (lambda m: (names(m.pop(slice(0, 2))), names(m)))(p.nn.ModuleList(abc(p))),
    "extend module": lambda p: p.nn.ModuleList().extend(p.nn.ReLU()),
    "extend number": lambda p: p.nn.ModuleList().extend(3),
    "append nothing": lambda p: p.nn.ModuleList().append(3),
    "call": lambda p: p.nn.ModuleList()(1),
    "contains": lambda p: (lambda m: (m[0] in m, p.nn.ReLU() in m, len(list(reversed(m)))))(p.nn.ModuleList(abc(p))),
}

DICT = {
    "text": lambda p: repr(p.nn.ModuleDict({"b": p.nn.ReLU(), "a": p.nn.Tanh()})),
    "pairs": lambda p: names(p.nn.ModuleDict([["a", p.nn.ReLU()], ("b", p.nn.Tanh())])),
    "no pair": lambda p: p.nn.ModuleDict([3]),
    "triple": lambda p: p.nn.ModuleDict([(1, 2, 3)]),
    "number": lambda p: p.nn.ModuleDict(3),
    "no module": lambda p: p.nn.ModuleDict({"a": 3}),
    "no name": lambda p: p.nn.ModuleDict({3: p.nn.ReLU()}),
    "method's name": lambda p: p.nn.ModuleDict({"pop": p.nn.ReLU()}),
    "missing": lambda p: p.nn.ModuleDict()["a"],
    "pop missing": lambda p: p.nn.ModuleDict().pop("a"),
    "views": lambda p: (
        lambda d: (
            list(d),
            list(d.keys()),
            names(d),
            [k for k, _ in d.items()],
            len(list(d.values())),
            "a" in d,
            len(d),
        )
    )(p.nn.ModuleDict({"b": p.nn.ReLU(), "a": p.nn.Tanh()})),
    "change": lambda p: after(
        p.nn.ModuleDict({"b": p.nn.ReLU(), "a": p.nn.Tanh()}),
        lambda d: d.update({"b": p.nn.ELU(), "c": p.nn.GELU()}),
        lambda d: d.__delitem__("a"),
    ),
    "clear": lambda p: after(p.nn.ModuleDict({"b": p.nn.ReLU()}), lambda d: d.clear()),
    "update itself": lambda p: after(p.nn.ModuleDict({"b": p.nn.ReLU()}), lambda d: d.update(d)),
    "call": lambda p: p.nn.ModuleDict()(1),
}


def mixed(p):
    return p.nn.ParameterList([p.nn.Parameter(p.ones(2, 3)), p.ones(2), 3, "a", p.nn.ParameterList([p.ones(1)])])


PARAMETER_LIST = {
    "text": lambda p: repr(mixed(p)),
    "state": lambda p: mixed(p).state_dict(),
    "kinds": lambda p: [type(x) for x in mixed(p)],
    "slice": lambda p: repr(mixed(p)[1:3]),
    "out of range": lambda p: mixed(p)[9],
    "no index": lambda p: mixed(p)["a"],
    "append": lambda p: len(mixed(p).append(4)),
    "extend": lambda p: repr(mixed(p).extend(p.nn.ParameterList([1]))),
    "extend number": lambda p: mixed(p).extend(3),
    "set": lambda p: (lambda m: (m.__setitem__(1, p.zeros(4)), repr(m[1]), type(m[1])))(mixed(p)),
    "set negative": lambda p: (lambda m: (m.__setitem__(-1, 5), m[4]))(mixed(p)),
    "iadd": lambda p: (lambda m: (m.__iadd__([p.ones(1)]) is m, repr(m)))(mixed(p)),
    "call": lambda p: mixed(p)(1),
    "empty": lambda p: repr(p.nn.ParameterList()),
    "number": lambda p: p.nn.ParameterList(3),
}


def dictionary(p):
    return p.nn.ParameterDict({"b": p.nn.Parameter(p.ones(2, 3)), "a": p.ones(1), "c": 3, "z": "s"})


PARAMETER_DICT = {
    "text": lambda p: repr(dictionary(p)),
    "nested text": lambda p: repr(p.nn.ParameterDict({"a": p.nn.ReLU(), "x": dictionary(p)})),
    "state": lambda p: dictionary(p).state_dict(),
    "views": lambda p: (lambda d: (list(d), list(d.keys()), [k for k, _ in d.items()], len(list(d.values())), len(d)))(
        dictionary(p)
    ),
    "pairs": lambda p: list(p.nn.ParameterDict([("x", p.ones(1)), ("a", 2)])),
    "number": lambda p: p.nn.ParameterDict(3),
    "no pair": lambda p: p.nn.ParameterDict([3]),
    "short pair": lambda p: p.nn.ParameterDict([(1,)]),
    "missing": lambda p: dictionary(p)["q"],
    "pop": lambda p: (lambda d: (d.pop("c"), list(d)))(dictionary(p)),
    "pop missing": lambda p: dictionary(p).pop("q"),
    "popitem": lambda p: (lambda d: (d.popitem(), list(d)))(dictionary(p)),
    "get": lambda p: (dictionary(p).get("b"), dictionary(p).get("q", 5), dictionary(p).get("q")),
    "setdefault": lambda p: (lambda d: (d.setdefault("k", p.ones(1)), d.setdefault("c", 4), list(d)))(dictionary(p)),
    "fromkeys": lambda p: list(dictionary(p).fromkeys(["u", "v"], 1).items()),
    "or": lambda p: list(p.nn.ParameterDict({"a": p.ones(1)}) | p.nn.ParameterDict({"b": p.ones(1)})),
    "ior": lambda p: (lambda d: (d.__ior__(p.nn.ParameterDict({"k": 1})) is d, list(d)))(dictionary(p)),
    "copy": lambda p: (lambda d: (d.copy() is d, list(d.copy()), d.copy()["b"] is d["b"]))(dictionary(p)),
    "contains": lambda p: ("b" in dictionary(p), "q" in dictionary(p), list(reversed(dictionary(p)))),
    "clear": lambda p: (lambda d: (d.clear(), repr(d)))(dictionary(p)),
    "delete": lambda p: (lambda d: (d.__delitem__("a"), list(d), d.state_dict()))(dictionary(p)),
    "attribute": lambda p: dictionary(p).a,
    "update order": lambda p: (lambda d: (d.update({"d": 1, "c": 1}), list(d)))(p.nn.ParameterDict()),
    "call": lambda p: dictionary(p)(2),
}


@pytest.mark.parametrize(
    ("table", "name"),
    [
        pytest.param(table, name, id=f"{kind} {name}")
        for kind, table in (
            ("Sequential", SEQUENTIAL),
            ("ModuleList", LIST),
            ("ModuleDict", DICT),
            ("ParameterList", PARAMETER_LIST),
            ("ParameterDict", PARAMETER_DICT),
        )
        for name in table
    ],
)
def test_container(table, name):
    check(table[name])


def test_key_of_parameter_dict_must_be_a_string():
    def program(p):
        d = p.nn.ParameterDict()
        try:
            d[3] = 4
        except TypeError as error:
            return str(error)[:80]

    check(program)


def test_module_list_takes_only_modules():
    with pytest.raises(TypeError, match="int is not a Module subclass"):
        nn.ModuleList().insert(0, 3)
