"""Trees of containers against PyTorch's."""

from __future__ import annotations

import collections
import dataclasses
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.layout import Size
from flambeau.utils import _pytree as ours

torch = pytest.importorskip("torch")
theirs = torch.utils._pytree

Point = collections.namedtuple("Point", "x y")
LEAVES = st.one_of(st.integers(), st.none(), st.text(max_size=2), st.booleans())


def grown(children: Any) -> Any:
    some = st.lists(children, max_size=3)
    keys = st.dictionaries(st.sampled_from("abcd"), children, max_size=3)
    return st.one_of(
        some,
        some.map(tuple),
        keys,
        keys.map(collections.OrderedDict),
        keys.map(lambda d: collections.defaultdict(list, d)),
        st.tuples(some, st.sampled_from([None, 3, 5])).map(lambda p: collections.deque(p[0], maxlen=p[1])),
        st.tuples(children, children).map(lambda p: Point(*p)),
    )


TREES = st.recursive(LEAVES, grown, max_leaves=12)


@given(TREES)
def test_flattening_as_pytorch(tree: Any) -> None:
    leaves, spec = ours.tree_flatten(tree)
    expected, reference = theirs.tree_flatten(tree)
    assert leaves == expected == ours.tree_leaves(tree) == list(ours.tree_iter(tree))
    assert repr(spec) == repr(reference)
    assert (spec.num_leaves, spec.num_nodes, spec.num_children) == (
        reference.num_leaves,
        reference.num_nodes,
        reference.num_children,
    )
    assert ours.treespec_pprint(spec) == theirs.treespec_pprint(reference)
    again = ours.tree_unflatten(leaves, spec)
    assert again == tree and type(again) is type(tree)
    assert ours.tree_structure(again) == spec and hash(ours.tree_structure(again)) == hash(spec)
    assert pickle.loads(pickle.dumps(spec)) == spec


@given(TREES)
def test_paths_as_pytorch(tree: Any) -> None:
    mine, reference = ours.tree_leaves_with_path(tree), theirs.tree_leaves_with_path(tree)
    assert [(ours.keystr(path), leaf) for path, leaf in mine] == [(theirs.keystr(p), leaf) for p, leaf in reference]
    assert [repr(path) for path, _ in mine] == [repr(path) for path, _ in reference]
    assert all(ours.key_get(tree, path) is leaf or ours.key_get(tree, path) == leaf for path, leaf in mine)
    assert ours.tree_map_with_path(lambda path, leaf: leaf, tree) == tree


@given(TREES)
def test_maps(tree: Any) -> None:
    assert ours.tree_leaves(ours.tree_map(repr, tree)) == [repr(leaf) for leaf in ours.tree_leaves(tree)]
    assert ours.tree_map(lambda a, b: (a, b), tree, tree) == theirs.tree_map(lambda a, b: (a, b), tree, tree)
    seen: list[Any] = []
    assert ours.tree_map_(seen.append, tree) is tree and seen == ours.tree_leaves(tree)
    assert ours.tree_map_only(int, lambda x: -x, tree) == theirs.tree_map_only(int, lambda x: -x, tree)
    assert ours.tree_all(bool, tree) == theirs.tree_all(bool, tree)
    assert ours.tree_any_only(int, bool, tree) == theirs.tree_any_only(int, bool, tree)


def test_maps_by_types_and_predicates() -> None:
    tree = [1, "a", 2.0, None]
    assert ours.tree_map_only((int, float), lambda x: x * 2, tree) == [2, "a", 4.0, None]
    assert ours.tree_map_only(lambda x: x == "a", lambda x: x * 2, tree) == [1, "aa", 2.0, None]
    with pytest.raises(TypeError, match="Argument must be"):
        ours.tree_map_only(3, abs, tree)
    assert ours.tree_all_only(int, lambda x: x > 0, tree)
    seen: list[Any] = []
    ours.tree_map_only_(str, seen.append, tree)
    assert seen == ["a"] and ours.arg_tree_leaves(1, [2], a=(3,)) == [1, 2, 3]


def test_leaves_by_choice() -> None:
    tree = [(1, 2), [3]]
    assert ours.tree_leaves(tree, is_leaf=lambda x: isinstance(x, tuple)) == [(1, 2), 3]
    assert ours.tree_map(len, tree, is_leaf=lambda x: x is not tree) == [2, 1]
    assert ours.tree_is_leaf(3) and not ours.tree_is_leaf([]) and ours.tree_is_leaf([], lambda x: True)


def test_shapes_are_nodes() -> None:
    assert ours.tree_leaves([Size((2, 3))]) == [2, 3]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ([1, 2], [1]),
        ([1, 2], (1, 2)),
        ({"a": 1}, {"b": 1}),
        ([[1], 2], [1, 2]),
        (Point(1, 2), (1, 2)),
        ({"a": 1}, {"a": 1, "b": 2}),
    ],
)
def test_trees_that_do_not_match(first: Any, second: Any) -> None:
    for package in (ours, theirs):
        with pytest.raises(ValueError, match="mismatch"):
            package.tree_map(lambda a, b: a, first, second)


def test_trees_that_match() -> None:
    assert ours.tree_map(lambda a, b: (a, b), {"a": 1, "b": 2}, {"b": 3, "a": 4}) == {"a": (1, 4), "b": (2, 3)}
    assert ours.tree_map(lambda a, b: (a, b), [1, 2], [[1], 2]) == [(1, [1]), (2, 2)]
    assert ours.tree_map(lambda a, b: a, {"a": 1}, collections.OrderedDict(a=2)) == {"a": 1}


@given(TREES, TREES)
def test_broadcasting_as_pytorch(first: Any, second: Any) -> None:
    mine = ours._broadcast_to_and_flatten(first, ours.tree_structure(second))
    reference = theirs._broadcast_to_and_flatten(first, theirs.tree_structure(second))
    # With keys in another order PyTorch pairs them by position instead of by key.
    assert (mine is None) == (reference is None) and len(mine or ()) == len(reference or ())
    assert ours._broadcast_to_and_flatten(7, ours.tree_structure(second)) == [7] * len(ours.tree_leaves(second))


def test_errors() -> None:
    with pytest.raises(ValueError, match="length 1 but the spec"):
        ours.tree_unflatten([1], ours.tree_structure([1, 2]))
    with pytest.raises(TypeError, match="instance of TreeSpec"):
        ours.tree_unflatten([1], [1])
    with pytest.raises(ValueError, match="already registered"):
        ours.register_pytree_node(list, None, None)
    with pytest.raises(ValueError, match="Unknown protocol"):
        ours.treespec_loads("[3, {}]")


class Box:
    def __init__(self, items: list[Any], label: str) -> None:
        self.items, self.label = items, label


def test_types_of_ones_own() -> None:
    ours.register_pytree_node(Box, lambda b: (b.items, b.label), Box, serialized_type_name="box")
    try:
        box = ours.tree_map(lambda x: x + 1, Box([1, [2]], "l"))
        assert box.items == [2, [3]] and box.label == "l"
        spec = ours.tree_structure(Box([1, [2]], "l"))
        assert ours.treespec_loads(ours.treespec_dumps(spec)) == spec
        assert spec != ours.tree_structure(Box([1, [2]], "other"))
        with pytest.raises(ValueError, match="context mismatch"):
            ours.tree_map(lambda a, b: a, Box([1], "l"), Box([1], "m"))
        with pytest.raises(ValueError, match="flatten_with_keys_fn"):
            ours.tree_leaves_with_path(Box([1], "l"))
    finally:
        ours._deregister_pytree_node(Box)
    assert ours.tree_is_leaf(Box([], ""))


@dataclasses.dataclass
class Record:
    first: Any
    second: Any = None


@dataclasses.dataclass(frozen=True)
class Setting:
    value: int


def test_dataclasses_and_constants() -> None:
    ours.register_dataclass(Record)
    ours.register_constant(Setting)
    try:
        assert ours.tree_map(lambda x: -x, Record(1, [2])) == Record(-1, [-2])
        assert ours.tree_leaves(Record(1)) == [1]
        assert [ours.keystr(path) for path, _ in ours.tree_leaves_with_path(Record(1, [2]))] == [".first", ".second[0]"]
        leaves, spec = ours.tree_flatten([Setting(3), 1])
        assert leaves == [1] and ours.tree_unflatten([5], spec) == [Setting(3), 5]
        assert ours.is_constant_class(Setting)
        with pytest.raises(TypeError, match="__eq__"):
            ours.register_constant(Box)
        with pytest.raises(ValueError, match="field_names"):
            ours.register_dataclass(Box)
    finally:
        ours._deregister_pytree_node(Record)
        ours._deregister_pytree_node(Setting)


def test_structures_as_text_are_pytorchs() -> None:
    tree = {
        "b": [1, (2, None)],
        "o": collections.OrderedDict(x=4),
        "d": collections.defaultdict(list, q=5),
        "e": collections.deque([1], maxlen=4),
    }
    text = ours.treespec_dumps(ours.tree_structure(tree))
    assert text == theirs.treespec_dumps(theirs.tree_structure(tree))
    assert ours.treespec_loads(text) == ours.tree_structure(tree)
    with pytest.raises(NotImplementedError, match="namedtuple"):
        ours.treespec_dumps(ours.tree_structure(Point(1, 2)))
    ours._register_namedtuple(Point, serialized_type_name="tests.Point")
    spec = ours.tree_structure(Point(1, [2]))
    assert ours.treespec_loads(ours.treespec_dumps(spec)) == spec


def test_named_tuples() -> None:
    assert ours.is_namedtuple(Point) and ours.is_namedtuple_instance(Point(1, 2)) and not ours.is_namedtuple((1, 2))
    import time

    assert ours.is_structseq(time.gmtime()) and ours.is_structseq_class(time.struct_time)
    assert not ours.is_structseq_instance(Point(1, 2))
