"""Operators on lists of tensors against PyTorch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau as fl
from flambeau.ops import foreach

torch = pytest.importorskip("torch")

SHAPES = ((3, 2), (4,), ())


def lists(count: int = 1, seed: int = 0) -> list[tuple[list[Any], list[Any]]]:
    """Lists of the same positive numbers in both packages."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        values = [np.asarray(rng.random(shape) * 0.8 + 0.1) for shape in SHAPES]
        found.append(([fl.tensor(v) for v in values], [torch.tensor(v) for v in values]))
    return found


def assert_same(ours: list[Any], theirs: Any) -> None:
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        assert tuple(a.shape) == tuple(b.shape)
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10)


def test_all_names_are_there() -> None:
    assert {name for name in dir(torch) if name.startswith("_foreach_")} == set(foreach.__all__)


@pytest.mark.parametrize("op", foreach._UNARY)
def test_unary(op: str) -> None:
    ((mine, theirs),) = lists()
    assert_same(getattr(foreach, f"_foreach_{op}")(mine), getattr(torch, f"_foreach_{op}")(theirs))
    assert getattr(foreach, f"_foreach_{op}_")(mine) is None
    getattr(torch, f"_foreach_{op}_")(theirs)
    assert_same(mine, theirs)


@pytest.mark.parametrize("op", foreach._BINARY)
@pytest.mark.parametrize("kind", ["list", "number", "numbers", "tensor"])
def test_binary(op: str, kind: str) -> None:
    (mine, theirs), (mine2, theirs2) = lists(2)
    if kind == "tensor" and op not in ("add", "mul", "div"):
        pytest.skip("takes no single tensor")
    ours_other, their_other = {
        "list": (mine2, theirs2),
        "number": (0.5, 0.5),
        "numbers": ([0.1, 0.2, 0.9], [0.1, 0.2, 0.9]),
        "tensor": (fl.tensor(0.3, dtype=fl.float64), torch.tensor(0.3, dtype=torch.float64)),
    }[kind]
    alpha = {"alpha": 0.7} if op in ("add", "sub") and kind == "list" else {}
    name = f"_foreach_{op}"
    assert_same(getattr(foreach, name)(mine, ours_other, **alpha), getattr(torch, name)(theirs, their_other, **alpha))
    assert getattr(foreach, name + "_")(mine, ours_other, **alpha) is None
    getattr(torch, name + "_")(theirs, their_other, **alpha)
    assert_same(mine, theirs)


@pytest.mark.parametrize("op", ["addcmul", "addcdiv"])
@pytest.mark.parametrize("value", [1, 0.3, [0.1, 0.2, 0.3]])
def test_pointwise(op: str, value: Any) -> None:
    (a, ta), (b, tb), (c, tc) = lists(3)
    assert_same(getattr(foreach, f"_foreach_{op}")(a, b, c, value), getattr(torch, f"_foreach_{op}")(ta, tb, tc, value))
    getattr(foreach, f"_foreach_{op}_")(a, b, c, value)
    getattr(torch, f"_foreach_{op}_")(ta, tb, tc, value)
    assert_same(a, ta)


def test_the_rest() -> None:
    (a, ta), (b, tb) = lists(2)
    assert_same(foreach._foreach_lerp(a, b, 0.3), torch._foreach_lerp(ta, tb, 0.3))
    assert_same(foreach._foreach_lerp(a, b, b), torch._foreach_lerp(ta, tb, tb))
    for order in (1, 2, float("inf")):
        assert_same(foreach._foreach_norm(a, order), torch._foreach_norm(ta, order))
    assert_same(foreach._foreach_max(a), torch._foreach_max(ta))
    assert_same(foreach._foreach_pow(2.0, a), torch._foreach_pow(2.0, ta))
    foreach._foreach_lerp_(a, b, 0.3)
    torch._foreach_lerp_(ta, tb, 0.3)
    assert_same(a, ta)
    copies = foreach._foreach_clone(a)
    foreach._foreach_zero_(a)
    assert all((t == 0).all() for t in a) and not all((t == 0).all() for t in copies)
    foreach._foreach_copy_(a, copies)
    assert_same(a, ta)
    assert foreach._foreach_mm([fl.ones(2, 3)], [fl.ones(3, 1)])[0].tolist() == [[3], [3]]
    assert foreach._foreach_powsum([fl.tensor([1.0, -2.0])], 2)[0].item() == 5


def test_errors() -> None:
    ((a, _),) = lists()
    with pytest.raises(RuntimeError, match="at least one tensor"):
        foreach._foreach_abs([])
    with pytest.raises(RuntimeError, match="same number of tensors, got 3 and 2"):
        foreach._foreach_add(a, a[:2])
    with pytest.raises(RuntimeError, match="scalar list, got 3 and 2"):
        foreach._foreach_add_(a, [1.0, 2.0])
    with pytest.raises(TypeError, match="must be tuple of Tensors"):
        foreach._foreach_abs(a[0])
