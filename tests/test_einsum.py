"""``einsum`` against numpy's, and the order of its products."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau
from flambeau.autograd import gradcheck
from flambeau.ops.einsum import _order

F64 = flambeau.float64


def operands(terms: list[str], sizes: dict[str, int], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal([sizes[c] for c in term]) for term in terms]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_random_equations(data: st.DataObject) -> None:
    letters = data.draw(st.lists(st.sampled_from("abcdeXY"), min_size=1, max_size=5, unique=True))
    sizes = {c: data.draw(st.integers(0, 3)) for c in letters}
    terms = data.draw(st.lists(st.text(letters, min_size=1, max_size=4), min_size=1, max_size=5))
    used = sorted(set("".join(terms)))
    equation = ",".join(terms)
    if data.draw(st.booleans()):
        equation += "->" + "".join(data.draw(st.lists(st.sampled_from(used), unique=True)))
    arrays = operands(terms, sizes)
    found = flambeau.einsum(equation, *map(flambeau.from_numpy, arrays))
    np.testing.assert_allclose(found.numpy(), np.einsum(equation, *arrays), 1e-10, 1e-12)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("...ij,...jk->...ik", [(2, 1, 3, 4), (5, 4, 2)]),
        ("b...d,d->b...", [(2, 3, 4, 5), (5,)]),
        ("i...->...", [(3, 2, 4)]),
        ("bij,cjk->bcik", [(2, 3, 4), (5, 4, 2)]),
        ("iij->ji", [(3, 3, 2)]),
        ("ij,jk,kl,lm->im", [(2, 9), (9, 2), (2, 7), (7, 3)]),
        (" i j , j -> i ", [(2, 3), (3,)]),
    ],
)
def test_values_and_gradients(equation: str, shapes: list[tuple[int, ...]]) -> None:
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal(s) for s in shapes]
    tensors = tuple(flambeau.from_numpy(a).requires_grad_() for a in arrays)
    np.testing.assert_allclose(
        flambeau.einsum(equation, *tensors).detach().numpy(), np.einsum(equation, *arrays), 1e-12
    )
    assert gradcheck(lambda *ts: flambeau.einsum(equation, *ts), tensors)


def test_operands_with_lists_of_dimensions() -> None:
    a, b = flambeau.randn(2, 3, 4), flambeau.randn(2, 4, 5)
    found = flambeau.einsum(a, [0, 1, 2], b, [0, 2, 3], [0, 1, 3])
    np.testing.assert_allclose(found.numpy(), (a @ b).numpy(), 1e-5, 1e-6)
    assert flambeau.einsum(a, [..., 1], [...]).shape == (2, 3)
    assert flambeau.einsum("ij,jk", [a[0], b[0]]).shape == (3, 5)


def test_products_are_taken_in_the_order_of_least_work() -> None:
    sizes = {"a": 1000, "b": 2, "c": 1000, "d": 1}
    wanted = frozenset("ad")
    assert _order(["ab", "bc", "cd"], wanted, sizes) == [(1, 2), (0, 3)]
    chain = ["ab", "bc", "ce", "ef", "fg", "gd"]  # more than are tried: the best gain first
    assert _order(chain, wanted, {**sizes, "e": 50, "f": 60, "g": 70})[0] == (1, 2)
    big = flambeau.ones(20_000, 1), flambeau.ones(1, 20_000), flambeau.ones(20_000, 1)
    assert flambeau.einsum("ab,bc,cd->ad", *big)[0].item() == 20_000  # the other order would need 1.6 GB


def test_errors() -> None:
    a = flambeau.ones(2, 3)
    for equation, given_, words in [
        ("ij,jk->ik", (a,), "fewer operands"),
        ("ij->ik", (a,), "output subscript k does not appear"),
        ("ij->ii", (a,), "more than once in the output"),
        ("ijk->i", (a,), "does not match the number of dimensions"),
        ("ii->i", (a,), "sizes don't match"),
        ("ij,jk->ik", (a, flambeau.ones(4, 2)), "does not broadcast"),
        ("i1->i", (a,), "must be in"),
        ("i.j->i", (a,), "not part of any ellipsis"),
    ]:
        for _ in range(2):  # what is remembered of an equation is not that it failed
            with pytest.raises(RuntimeError, match=words):
                flambeau.einsum(equation, *given_)
    with pytest.raises(TypeError, match="operand 1 must be Tensor"):
        flambeau.einsum("i,i->", flambeau.ones(2), 3)


@pytest.mark.parametrize("bad", [-1, 52, 1 << 40])
def test_numbers_that_are_no_subscripts(bad: int) -> None:
    with pytest.raises(ValueError, match="valid range"):
        flambeau.einsum(flambeau.ones(2, 2), [0, bad], [0])
