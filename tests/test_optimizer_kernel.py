"""The kernel that applies a rule to many arrays, against the same rule in NumPy."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flambeau as fl
from flambeau import settings
from flambeau.optim import adadelta, adagrad, adam, adamax, asgd, nadam, radam, rmsprop, rprop, sgd
from flambeau.optim._launch import advance_counters, launch
from flambeau.target.isa import ISA
from flambeau.template.optimizer import CHUNK
from flambeau.tensor import from_numpy, numpy_view

CODES = {"f32": np.float32, "f64": np.float64, "bf16": ml_dtypes.bfloat16, "f16": np.float16}


class NumpyMaths:
    """The names that rules use, on arrays."""

    sqrt, abs, maximum = np.sqrt, np.abs, np.maximum

    @staticmethod
    def lerp(start: Any, end: Any, weight: Any) -> Any:
        return np.where(abs(weight) < 0.5, start + weight * (end - start), end - (end - start) * (1 - weight))

    @staticmethod
    def sign(x: Any) -> Any:
        return np.where(np.isnan(x), 0, np.sign(x)).astype(x.dtype)

    @staticmethod
    def select(mask: Any, yes: Any, no: Any) -> Any:
        return np.where(mask, yes, no).astype(no.dtype)

    @staticmethod
    def clamp(x: Any, least: Any, most: Any) -> Any:
        return np.clip(x, least, most)


RULES = [
    (sgd.RULE, (False, True, "later", True), 3, (0.1, 0.2, 0.9, 0.7)),
    (sgd.RULE, (True, False, "first", False), 3, (0.1, 0.2, 0.9, 0.7)),
    (sgd.RULE, (False, False, "", False), 2, (0.1, 0.0, 0.0, 1.0)),
    (adam.RULE, (False, "decoupled", False), 4, (0.99, 0.1, 0.1, 0.999, 0.001, 0.01, 0.03, 1e-8)),
    (adam.RULE, (True, "coupled", True), 5, (0.99, 0.1, 0.7, 0.9, 0.1, 0.01, 0.3, 1e-8)),
    (adagrad.RULE, (False, True), 3, (0.1, 0.01, 1e-10)),
    (rmsprop.RULE, (False, True, True, True), 5, (0.01, 0.1, 0.9, 0.1, 1e-3, 0.5)),
    (rmsprop.RULE, (False, False, False, False), 3, (0.01, 0.1, 0.9, 0.1, 1e-8, 0.5)),
    (adadelta.RULE, (True, True), 4, (1.0, 0.1, 0.9, 0.1, 1e-6)),
    (adamax.RULE, (False, True), 4, (0.1, 0.1, 0.999, 0.02, 1e-8)),
    (nadam.RULE, (False, "decoupled"), 4, (0.99, 0.1, 0.1, 0.999, 0.001, 0.01, 0.002, 0.003, 1e-8)),
    (radam.RULE, (False, "", True), 4, (0.99, 0.0, 0.1, 0.999, 0.001, 0.2, 0.1, 0.01, 0.8, 1e-8)),
    (radam.RULE, (False, "coupled", False), 4, (0.99, 0.1, 0.1, 0.999, 0.001, 0.2, 0.1, 0.01, 1.0, 1e-8)),
    (asgd.RULE, (False, True, True), 3, (0.1, 0.999, 0.01, 0.5)),
    (rprop.RULE, (True,), 4, (0.5, 1.2, 1e-6, 50.0)),
]
SIZES = [0, 1, 7, 16, 33, 1000, CHUNK, CHUNK + 5]


def arrays(count: int, size: int, code: str, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    found = [rng.standard_normal(size) for _ in range(2)] + [rng.random(size) + 0.1 for _ in range(count - 2)]
    return [np.asarray(x).astype(CODES[code]) for x in found]


def columns(rows: Any) -> list[Any]:
    """Rows of tensors as one list for each array."""
    return list(zip(*rows)) or [[]]


def expected(rule: Any, variant: Any, row: list[np.ndarray], scalars: Any, work: Any) -> list[np.ndarray]:
    with np.errstate(invalid="ignore"):
        values = rule.formula(variant, [x.astype(work) for x in row], [work(s) for s in scalars], NumpyMaths)
    found = list(row)
    for i, value in zip(rule.written(len(row)), values):
        found[i] = np.asarray(value).astype(row[i].dtype)
    return found


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("case", range(len(RULES)))
def test_rules(case: int, code: str) -> None:
    rule, variant, count, scalars = RULES[case]
    work = np.float64 if code == "f64" else np.float32
    rows = [arrays(count, size, code, size) for size in SIZES]
    own = [tuple(s * (1 + 0.01 * i) for s in scalars) for i in range(len(rows))]
    tensors = [tuple(from_numpy(x.copy()) for x in row) for row in rows]
    assert launch(rule.name, rule.formula, variant, columns(tensors), own, rule.written(count)) == []
    for row, numbers, updated in zip(rows, own, tensors):
        for i, (value, tensor) in enumerate(zip(expected(rule, variant, row, numbers, work), updated)):
            # NumPy rounds every operation once as well; only square roots of narrow types may differ in the last bit.
            np.testing.assert_allclose(
                numpy_view(tensor).astype(np.float64), value.astype(np.float64), rtol=1e-6 if code == "f32" else 1e-2
                if code in ("bf16", "f16") else 1e-13, atol=1e-7, err_msg=f"{rule.name}: array {i}",
            )  # fmt: skip
            assert tensor._storage.version == (i in rule.written(count))


@pytest.mark.parametrize("isa", ISA.available())
def test_other_instruction_sets(isa: str) -> None:
    """Bit for bit the same with narrower vectors: nothing is contracted or reordered."""
    rule, variant, count, scalars = RULES[4]
    results = []
    for chosen in (settings.isa, isa):
        row = tuple(from_numpy(x) for x in arrays(count, 1003, "f32", 5))
        with settings.override(isa=chosen):
            assert launch(rule.name, rule.formula, variant, columns([row]), [scalars], rule.written(count)) == []
        results.append([numpy_view(t) for t in row])
    for a, b in zip(*results):
        np.testing.assert_array_equal(a, b)


def test_any_number_of_threads_gives_the_same() -> None:
    rule, variant, count, scalars = RULES[3]
    results = []
    before = fl.get_num_threads()
    try:
        for threads in (1, 2, 5):
            fl.set_num_threads(threads)
            row = tuple(from_numpy(x) for x in arrays(count, 10 * CHUNK + 3, "f32", 5))
            launch(rule.name, rule.formula, variant, columns([row]), [scalars], rule.written(count))
            results.append([numpy_view(t) for t in row])
    finally:
        fl.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_array_equal(a, b)


@given(st.lists(st.integers(0, 70), max_size=8), st.sampled_from(["f32", "f64", "bf16"]))
def test_neighbours_are_left_alone(sizes: list[int], code: str) -> None:
    """Arrays that lie side by side in one block: each is changed, and nothing between."""
    rule, variant, count, scalars = RULES[3]
    blocks, rows = [], []
    for size in sizes:
        row = []
        for x in arrays(count, size, code, size):
            block = np.full(size + 2, 77).astype(x.dtype)
            block[1:-1] = x
            blocks.append(block)
            row.append(from_numpy(block[1:-1]))
        rows.append(tuple(row))
    assert launch(rule.name, rule.formula, variant, columns(rows), [scalars] * len(rows), rule.written(count)) == []
    assert all(block[0] == 77 and block[-1] == 77 for block in blocks)


def test_special_values() -> None:
    rule, variant, count, scalars = RULES[4]
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 3e38, 1.0], np.float32)
    row = [np.roll(special, i) for i in range(count)]
    tensors = tuple(from_numpy(x.copy()) for x in row)
    with np.errstate(all="ignore"):
        reference = expected(rule, variant, row, scalars, np.float32)
        launch(rule.name, rule.formula, variant, columns([tensors]), [scalars], rule.written(count))
        for value, tensor in zip(reference, tensors):
            np.testing.assert_allclose(numpy_view(tensor), value, rtol=1e-6)


def test_what_a_kernel_cannot_take_is_left() -> None:
    rule, variant, count, scalars = RULES[2]
    whole = np.arange(24, dtype=np.float32).reshape(4, 6)

    def left(*rows: Any) -> int:
        return len(launch(rule.name, rule.formula, variant, columns(rows), [scalars] * len(rows), rule.written(count)))

    def tensors(p: np.ndarray, g: np.ndarray) -> Any:
        return from_numpy(p), from_numpy(g)

    assert left(tensors(whole.copy(), whole.copy())) == 0
    assert left(tensors(whole.T.copy().T, whole.T.copy().T)) == 0
    assert left(tensors(whole.copy(), whole.T.copy().T)) == 1
    assert left(tensors(whole.copy()[::2], whole[::2].copy())) == 1
    assert left(tensors(whole.astype(np.int32), whole.astype(np.int32))) == 1
    assert left(tensors(whole.astype(np.complex64), whole.astype(np.complex64))) == 1
    twice = tensors(whole.copy(), whole.copy())
    assert left(twice, twice) == 1


def test_mixed_types_are_split() -> None:
    rule, variant, count, scalars = RULES[2]
    rows = [tuple(from_numpy(x) for x in arrays(count, 5, code, 1)) for code in ("f32", "bf16", "f32", "f64")]
    assert launch(rule.name, rule.formula, variant, columns(rows), [scalars] * 4, rule.written(count)) == []
    assert all(row[0]._storage.version == 1 for row in rows)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_counters(dtype: Any) -> None:
    counters = [from_numpy(np.array(float(i), dtype)) for i in range(5)]
    assert advance_counters(counters) == [1, 2, 3, 4, 5]
    assert advance_counters(counters) == [2, 3, 4, 5, 6]
    assert [float(numpy_view(c)) for c in counters] == [2, 3, 4, 5, 6]
    assert advance_counters([]) == []
    assert advance_counters([from_numpy(np.array(1, np.int64))]) is None
    assert advance_counters([from_numpy(np.ones(1, np.float32))]) is None
