"""Python's types of numbers in the place of element types, as PyTorch takes them: ``dtype=float``, ``x.to(int)``."""

from __future__ import annotations

from typing import Any

import pytest

import flambeau

torch = pytest.importorskip("torch")

PLACES = {
    "tensor": lambda m, t: m.tensor([0, 1], dtype=t),
    "as_tensor": lambda m, t: m.as_tensor([1], dtype=t),
    "zeros": lambda m, t: m.zeros(2, dtype=t),
    "full": lambda m, t: m.full((2,), 1, dtype=t),
    "zeros_like": lambda m, t: m.zeros_like(m.ones(2), dtype=t),
    "new_zeros": lambda m, t: m.ones(2).new_zeros(2, dtype=t),
    "to": lambda m, t: m.ones(2).to(t),
    "to by name": lambda m, t: m.ones(2).to(dtype=t),
    "to a device and a type": lambda m, t: m.ones(2).to("cpu", t),
    "sum": lambda m, t: m.ones(2).sum(dtype=t),
    "prod of a dimension": lambda m, t: m.prod(m.ones(2, 2), 0, dtype=t),
    "promote_types": lambda m, t: m.zeros(1, dtype=m.promote_types(t, m.float32)),
    "a view of the bytes": lambda m, t: m.zeros(4, dtype=m.int64).view(t)[:0],
}


@pytest.mark.parametrize("type_", [bool, int, float, complex])
@pytest.mark.parametrize("place", PLACES)
def test_types_of_numbers_stand_for_element_types(place: str, type_: type) -> None:
    ours, theirs = (PLACES[place](m, type_) for m in (flambeau, torch))
    assert str(ours.dtype) == str(theirs.dtype) and ours.tolist() == theirs.tolist()


def test_modules_take_them() -> None:
    assert flambeau.nn.Linear(2, 2, dtype=float).weight.dtype is flambeau.float64
    assert flambeau.nn.Linear(2, 2).to(float).weight.dtype is flambeau.float64
    assert flambeau.finfo(float).bits == 64 and flambeau.iinfo(int).bits == 64


@pytest.mark.parametrize("type_", [str, object])
def test_other_types_do_not(type_: Any) -> None:
    for make in (lambda: flambeau.zeros(2, dtype=type_), lambda: flambeau.tensor(1, dtype=type_),
                 lambda: flambeau.ones(2).sum(dtype=type_)):  # fmt: skip
        with pytest.raises(TypeError, match=r"must be torch\.dtype, not type"):
            make()


@pytest.mark.parametrize("values", [[True, True, False], [False, False], [1.0, 1.0], [2.0, -2.0]])
def test_booleans_add_up_to_whether_one_is_true(values: list[Any]) -> None:
    for sum_ in ("sum", "nansum"):
        ours, theirs = (getattr(m.tensor(values), sum_)(dtype=m.bool) for m in (flambeau, torch))
        assert ours.item() is theirs.item()
    with pytest.raises(NotImplementedError, match="booleans"):
        flambeau.tensor(values).cumsum(0, dtype=bool)
