"""Indexing, gathering and scattering against numpy and PyTorch."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as fl
import flambeau.nn.functional as F
from flambeau.dispatch.operator import OPERATORS

os.environ.setdefault("OMP_NUM_THREADS", "1")
torch = pytest.importorskip("torch")


def both(shape: tuple[int, ...], seed: int = 0) -> tuple[Any, Any]:
    array = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return fl.from_numpy(array.copy()), torch.from_numpy(array.copy())


def same(ours: Any, theirs: Any) -> None:
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert str(ours.dtype) == str(theirs.dtype)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-6)


# -- brackets ----------------------------------------------------------------------------------------

BASIC = [
    0, -1, slice(1, 3), slice(None, None, 2), (1, 2), (slice(None), 1), (..., 0), (None, 1), (1, None, slice(2)),
    (slice(4, 1), 0), Ellipsis, None,
    (slice(-2, None), ..., slice(0, 9)), (np.int64(1), 0), (), slice(10, 20), (0, 1, 2),
]  # fmt: skip


@pytest.mark.parametrize("index", BASIC, ids=repr)
def test_basic_index_is_a_view(index: Any) -> None:
    ours, theirs = both((4, 3, 5))
    found = ours[index]
    same(found, theirs[index])
    assert found._storage is ours._storage
    assert [k for n, k in zip(found.shape, found.stride()) if n > 1] == [
        k for n, k in zip(found.shape, theirs[index].stride()) if n > 1
    ] or 0 in found.shape
    if found.numel():
        found.fill_(7)
        theirs[index] = 7
        same(ours, theirs)


ADVANCED = [
    [0, 2, -1], ([0, 1], [1, 2]), (slice(None), [0, 1]), ([[0], [1]], [0, 1, 2]), (0, [1, 1]), (slice(1, 3), [0, 2], 1),
    ([0, 1], slice(None), [1, 2]),
    (None, [0, 1]), (..., [0, 1]), True, False, ([True, False, True, True],), (slice(None), [True, False, True]), ([],
    slice(None)),
    (0, slice(None), [0, 4]), ([0, 1], None, [1, 2]),
]  # fmt: skip


@pytest.mark.parametrize("index", ADVANCED, ids=repr)
def test_advanced_index(index: Any) -> None:
    ours, theirs = both((4, 3, 5))
    same(ours[index], theirs[index])
    x, y = ours.clone().requires_grad_(), theirs.clone().requires_grad_()
    weight = np.arange(x[index].numel(), dtype=np.float32).reshape(tuple(x[index].shape)) + 1
    (x[index] * fl.from_numpy(weight)).sum().backward()
    (y[index] * torch.from_numpy(weight)).sum().backward()
    same(x.grad, y.grad)
    ours[index] = fl.tensor(3.0)
    theirs[index] = torch.tensor(3.0)
    same(ours, theirs)


def test_masks() -> None:
    ours, theirs = both((4, 3, 5))
    same(ours[ours > 0], theirs[theirs > 0])
    mask = np.array([[True, False, True], [False] * 3, [True] * 3, [False, True, False]])
    same(ours[fl.from_numpy(mask)], theirs[torch.from_numpy(mask)])
    same(ours[fl.from_numpy(mask), 1:3], theirs[torch.from_numpy(mask), 1:3])
    ours[ours > 0] = -1.0
    theirs[theirs > 0] = -1.0
    same(ours, theirs)
    values = np.arange(int(mask.sum()) * 5, dtype=np.float32).reshape(-1, 5)
    ours[fl.from_numpy(mask)] = fl.from_numpy(values)
    theirs[torch.from_numpy(mask)] = torch.from_numpy(values)
    same(ours, theirs)


def test_repeated_indices() -> None:
    ours, theirs = both((3, 2))
    index = [0, 0, 2]
    ours.index_put_((fl.tensor(index),), fl.ones(3, 2), accumulate=True)
    theirs.index_put_((torch.tensor(index),), torch.ones(3, 2), accumulate=True)
    same(ours, theirs)
    ours[index] = fl.arange(6.0).view(3, 2)  # the last one stays
    assert ours[0].tolist() == [2.0, 3.0]


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
@pytest.mark.parametrize(
    "index",
    [
        5,
        -5,
        (0, 9),
        1.0,
        (0, 0, 0),
        "a",
        [5],
        [[0, 1], [0, 1, 2]],
        ([0, 1], [0, 1, 2]),
        ([True, False],),
        (slice(None), [7]),
        slice(None, None, -1),
    ],
    ids=repr,
)
def test_index_errors_are_pytorchs(index: Any) -> None:
    ours, theirs = both((3, 4))
    with pytest.raises(Exception) as expected:
        theirs[index]
    if isinstance(index, str):  # PyTorch's class for text depends on the text
        expected_class: Any = (TypeError, IndexError)
    else:
        expected_class = expected.type
    with pytest.raises(expected_class):
        ours[index]
    before = ours.clone()
    with pytest.raises(expected_class):
        ours[index] = 0.0
    same(ours, torch.from_numpy(before.numpy()))


def test_zero_dimensional_tensor_has_no_index() -> None:
    with pytest.raises(IndexError, match="item"):
        fl.tensor(3.0)[0]
    with pytest.raises(TypeError):
        iter(fl.tensor(3.0))


def test_number_of_a_tensor_as_index() -> None:
    x = fl.arange(12).view(3, 4)
    assert x[fl.tensor(1)].tolist() == [4, 5, 6, 7]
    assert x[fl.tensor(1)]._storage is x._storage
    assert x[1 : fl.tensor(3)].shape == (2, 4)


@pytest.mark.parametrize("place", ["start", "stop", "step"])
def test_an_end_of_a_slice_in_a_tensor_is_read_at_each_call(place: str) -> None:
    x, end = fl.arange(8), fl.tensor(2)
    index = slice(*{"start": (end, 8, 1), "stop": (0, end, 1), "step": (0, 8, end)}[place])
    for value in (2, 3):
        end.fill_(value)
        plain = slice(*{"start": (value, 8, 1), "stop": (0, value, 1), "step": (0, 8, value)}[place])
        assert x[index].tolist() == list(range(8))[plain]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_index_agrees_with_numpy(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    array = np.arange(int(np.prod(shape)), dtype=np.int64).reshape(shape)
    entries: list[Any] = []
    advanced = data.draw(st.booleans())
    for n in shape[: data.draw(st.integers(0, len(shape)))]:
        kind = data.draw(st.sampled_from(["int", "slice", "list"] if advanced else ["int", "slice", "new"]))
        if kind == "int" and not advanced:
            entries.append(data.draw(st.integers(-n, n - 1)))
        elif kind == "list" and advanced:
            entries.append(np.array(data.draw(st.lists(st.integers(-n, n - 1), min_size=2, max_size=2))))
        else:
            bound = st.none() | st.integers(-n - 1, n + 1)
            entries.append(slice(data.draw(bound), data.draw(bound), data.draw(st.none() | st.integers(1, 3))))
            if kind == "new":
                entries.append(None)
    expected = array[tuple(entries)]
    ours = fl.from_numpy(array.copy())
    assert ours[tuple(entries)].tolist() == expected.tolist()
    target, reference = fl.from_numpy(array.copy()), array.copy()
    target[tuple(entries)] = -1
    reference[tuple(entries)] = -1
    assert target.tolist() == reference.tolist()


def test_writes_through_views_reach_the_tape() -> None:
    x = fl.ones(3, 3, requires_grad=True)
    y = x * 2
    y[1] = 0.0
    y[:, 0] *= 3
    y.sum().backward()
    assert x.grad.tolist() == [[6.0, 2.0, 2.0], [0.0, 0.0, 0.0], [6.0, 2.0, 2.0]]
    with pytest.raises(RuntimeError, match="leaf"):
        x[0] = 1.0


# -- along a dimension -------------------------------------------------------------------------------


INDEX = np.array([[0, 1, 2, 0], [2, 1, 0, 0]])
CALLS = {
    "gather": lambda t, x, s: x.gather(0, t(INDEX)),
    "scatter": lambda t, x, s: x.scatter(0, t(INDEX), s[:2]),
    "scatter value": lambda t, x, s: x.scatter(1, t(INDEX), 2.5),
    "scatter_add": lambda t, x, s: x.scatter_add(0, t(INDEX), s[:2]),
    "scatter_reduce prod": lambda t, x, s: x.scatter_reduce(0, t(INDEX), s[:2], "prod"),
    "scatter_reduce amax": lambda t, x, s: x.scatter_reduce(0, t(INDEX), s[:2], "amax", include_self=False),
    "scatter_reduce mean": lambda t, x, s: x.scatter_reduce(0, t(INDEX), s[:2], "mean"),
    "index_select": lambda t, x, s: x.index_select(1, t(INDEX[0])),
    "index_add": lambda t, x, s: x.index_add(0, t(INDEX[1][:3]), s, alpha=2),
    "index_copy": lambda t, x, s: x.index_copy(0, t(np.array([2, 0, 1])), s),
    "index_fill": lambda t, x, s: x.index_fill(1, t(INDEX[0]), 4.0),
    "take": lambda t, x, s: x.take(t(INDEX)),
    "put": lambda t, x, s: x.put(t(np.array([1, 1])), s[0, :2], accumulate=True),
    "take_along_dim": lambda t, x, s: x.take_along_dim(t(np.array([[-1], [0], [2]])), 1),
    "masked_select": lambda t, x, s: x.masked_select(x > 0),
    "masked_scatter": lambda t, x, s: x.masked_scatter(x > 0, s),
    "index_put": lambda t, x, s: x.index_put((t(np.array([0, 2])), t(np.array([1, 1]))), s[0, :2]),
    "select_scatter": lambda t, x, s: x.select_scatter(s[0], 0, -1),
    "slice_scatter": lambda t, x, s: x.slice_scatter(s[:, :2], 1, 0, 4, 2),
    "diagonal_scatter": lambda t, x, s: x.diagonal_scatter(s[0, :3], 1),
}


@pytest.mark.parametrize("name", CALLS)
def test_reading_and_writing_along_a_dimension(name: str) -> None:
    call = CALLS[name]
    (x, y), (s, r) = both((3, 4)), both((3, 4), 1)
    for t in (x, y, s, r):
        t.requires_grad_()
    ours, theirs = call(fl.from_numpy, x, s), call(torch.from_numpy, y, r)
    same(ours, theirs)
    weight = np.arange(ours.numel(), dtype=np.float32).reshape(tuple(ours.shape)) + 1
    (ours * fl.from_numpy(weight)).sum().backward()
    (theirs * torch.from_numpy(weight)).sum().backward()
    for a, b in ((x, y), (s, r)):
        if b.grad is None:
            assert a.grad is None
        else:
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda x: x.gather(0, fl.tensor([[3]])), RuntimeError),
        (lambda x: x.gather(0, fl.tensor([[-1]])), RuntimeError),
        (lambda x: x.scatter(0, fl.tensor([[9]]), 1.0), RuntimeError),
        (lambda x: x.scatter_add(0, fl.tensor([[9]]), fl.ones(1, 1)), RuntimeError),
        (lambda x: x.index_select(0, fl.tensor([3])), IndexError),
        (lambda x: x.index_add(0, fl.tensor([9]), fl.ones(1, 4)), RuntimeError),
        (lambda x: x.take(fl.tensor([50])), IndexError),
        (lambda x: fl.embedding(x, fl.tensor([3])), IndexError),
        (lambda x: x.gather(0, fl.tensor([0])), RuntimeError),
        (lambda x: x.gather(0, fl.tensor([[0.0]])), RuntimeError),
        (lambda x: x.scatter_add(0, fl.tensor([[0]]), fl.ones(1, 1, dtype=fl.float64)), RuntimeError),
        (lambda x: x.masked_select(fl.tensor([1])), RuntimeError),
    ],
)
def test_bad_indices_raise_before_anything_is_written(call: Any, error: type[Exception]) -> None:
    x = fl.arange(12.0).view(3, 4)
    with pytest.raises(error):
        call(x)
    assert x.tolist() == np.arange(12.0).reshape(3, 4).tolist()


def test_in_place_forms_leave_the_tensor_alone_when_an_index_is_bad() -> None:
    x = fl.zeros(3, 4)
    for call in (
        lambda: x.scatter_(0, fl.tensor([[0, 9]]), 1.0),
        lambda: x.index_add_(0, fl.tensor([0, 9]), fl.ones(2, 4)),
        lambda: x.__setitem__([0, 9], 1.0),
    ):
        with pytest.raises((RuntimeError, IndexError)):
            call()
        assert not x.any()


@pytest.mark.parametrize("type_", ["float64", "bfloat16", "int64", "int8", "bool", "complex64"])
def test_gather_of_every_type(type_: str) -> None:
    array = np.array([[1, 0, 3], [4, 5, 0]])
    ours, theirs = fl.tensor(array).to(getattr(fl, type_)), torch.tensor(array).to(getattr(torch, type_))
    index = [[1, 0, 0]]
    assert ours.gather(0, fl.tensor(index)).tolist() == theirs.gather(0, torch.tensor(index)).tolist()
    assert ours[[1, 1, 0]].tolist() == theirs[[1, 1, 0]].tolist()
    assert (
        ours.index_add(0, fl.tensor([0, 0]), ours).tolist()
        == theirs.index_add(0, torch.tensor([0, 0]), theirs).tolist()
    )
    assert fl.nonzero(ours).tolist() == torch.nonzero(theirs).tolist()


def test_nonzero_of_large_and_of_empty_tensors() -> None:
    array = np.random.default_rng(0).random((300, 401)) > 0.7
    assert np.array_equal(fl.from_numpy(array).nonzero().numpy(), np.argwhere(array))
    _, columns = fl.from_numpy(array).nonzero(as_tuple=True)
    assert np.array_equal(columns.numpy(), np.nonzero(array)[1])
    assert fl.zeros(3, 0).nonzero().shape == (0, 2)
    assert fl.tensor(5).nonzero().shape == (1, 0)
    assert fl.zeros(4).nonzero().shape == (0, 1)


# -- tables ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"padding_idx": 1}, {"padding_idx": -1}, {"scale_grad_by_freq": True}, {"max_norm": 1.0}]
)
def test_embedding(options: dict[str, Any]) -> None:
    w, v = both((5, 3))
    w.requires_grad_()
    v.requires_grad_()
    index = np.array([[0, 1, 1], [4, 0, 1]])
    ours, theirs = (
        F.embedding(fl.from_numpy(index), w, **options),
        torch.nn.functional.embedding(torch.from_numpy(index), v, **options),
    )
    same(ours, theirs)
    (ours**2).sum().backward()
    (theirs**2).sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), v.grad.numpy(), rtol=1e-5)
    np.testing.assert_allclose(w.detach().numpy(), v.detach().numpy(), rtol=1e-5)


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 2])
def test_embedding_bag(mode: str, padding: int | None) -> None:
    w, v = both((5, 3))
    index, offsets = np.array([0, 2, 2, 4, 1]), np.array([0, 2, 2])
    ours = F.embedding_bag(fl.from_numpy(index), w, fl.from_numpy(offsets), mode=mode, padding_idx=padding)
    theirs = torch.nn.functional.embedding_bag(
        torch.from_numpy(index), v, torch.from_numpy(offsets), mode=mode, padding_idx=padding
    )
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5)


def test_one_hot() -> None:
    assert F.one_hot(fl.tensor([0, 2, 1])).tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert F.one_hot(fl.tensor([0]), 4).tolist() == [[1, 0, 0, 0]]
    with pytest.raises(RuntimeError, match="smaller"):
        F.one_hot(fl.tensor([4]), 3)
    with pytest.raises(RuntimeError, match="non-negative"):
        F.one_hot(fl.tensor([-1]))


@pytest.mark.parametrize("dims", [(-1,), (0,), (0, 2), (1, 0), (0, 0), ()])
def test_dimensions_of_the_operator_are_checked(dims: tuple[int, ...]) -> None:
    at = fl.tensor([0, 1])
    with pytest.raises(IndexError, match="one index for each dimension"):
        OPERATORS["index"].function(fl.ones(2, 3), [at, at], dims)


def test_the_operator_refuses_indices_that_are_no_integers() -> None:
    with pytest.raises(IndexError, match="must be long, int, byte or bool"):
        OPERATORS["index"].function(fl.ones(2, 3), [fl.ones(2)], (0,))
