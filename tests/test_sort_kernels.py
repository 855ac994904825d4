"""Sort kernels against numpy's stable sort."""

from __future__ import annotations

from functools import cache

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from template_kernels import function, launch

from flambeau.runtime import cpu, pool
from flambeau.target.isa import ISA
from flambeau.template import sort

DTYPES = {
    "f32": np.float32, "f64": np.float64, "f16": np.float16, "bf16": ml_dtypes.bfloat16, "i8": np.int8, "i16": np.int16,
    "i32": np.int32, "i64": np.int64, "u8": np.uint8, "b1": np.bool_,
}  # fmt: skip
FLOATS = ("f32", "f64", "f16", "bf16")


@cache
def kernel(dtype: str, descending: bool, isa: ISA):
    name = f"sort_{dtype}_{'descending' if descending else 'ascending'}"
    return function(name, name, lambda: sort.kernel_ir(name, dtype, descending, isa), isa, 4)


def run(
    x: np.ndarray, dtype: str, descending: bool, k: int | None = None, isa: ISA | None = None, threads: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Values and indices, with a scratch memory of exactly the size asked for."""
    rows, n = x.shape
    wanted = n if k is None else k
    values = np.full((rows, wanted), 77, x.dtype)
    indices = np.full((rows, wanted), -1, np.int64)
    words = sort.params(dtype, rows, n, pool.address() if threads else 0, k)
    room = sort.scratch_bytes(dtype, rows, n, pool.get_num_threads() if threads else 1, k)
    launch(kernel(dtype, descending, isa or ISA.host()), words, [values, indices, np.ascontiguousarray(x)], room)
    return values, indices


def order(x: np.ndarray, descending: bool) -> np.ndarray:
    """The stable order of every row; NaN is the greatest."""
    comparable = x.astype(np.float64) if x.dtype == ml_dtypes.bfloat16 else x
    if not descending:
        return np.argsort(comparable, axis=-1, kind="stable")
    last = x.shape[-1] - 1
    return (last - np.argsort(comparable[..., ::-1], axis=-1, kind="stable"))[..., ::-1]


def check(x: np.ndarray, dtype: str, descending: bool, k: int | None = None, **options) -> None:
    values, indices = run(x, dtype, descending, k, **options)
    wanted = order(x, descending)[:, : x.shape[1] if k is None else k]
    np.testing.assert_array_equal(indices, wanted)
    # the elements themselves, payloads of NaN and signs of zeros included
    assert values.tobytes() == np.take_along_axis(x, wanted, axis=1).tobytes()


def random_rows(dtype: str, rows: int, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    kind = DTYPES[dtype]
    if dtype == "b1":
        return rng.integers(0, 2, (rows, n)).astype(bool)
    raw = rng.integers(0, 256, (rows, n * np.dtype(kind).itemsize), dtype=np.uint8)
    return raw.view(kind)  # random bits: every exponent, NaN of all payloads


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_lengths(dtype: str, descending: bool) -> None:
    for n in (1, 2, 3, 7, 8, 9, 31, 64, 65, 97, 200, 257, 300, 513, 1000, 5000):
        with np.errstate(invalid="ignore"):
            check(random_rows(dtype, 3, n, n), dtype, descending)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_ties_keep_their_order(dtype: str, descending: bool) -> None:
    rng = np.random.default_rng(5)
    for n in (10, 100, 3000):
        x = rng.integers(0, 2 if dtype == "b1" else 7, (4, n)).astype(DTYPES[dtype])
        check(x, dtype, descending)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", FLOATS)
def test_special_values(dtype: str, descending: bool) -> None:
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan, 1.0, -1.0, 1e-7, -1e-7]
    for n in (20, 2000):
        x = np.random.default_rng(2).choice(special, (3, n)).astype(DTYPES[dtype])
        check(x, dtype, descending)


@pytest.mark.parametrize("dtype", ["f32", "i64", "bf16"])
def test_orders_that_are_hard(dtype: str) -> None:
    for n in (128, 4000):
        up = np.arange(n)
        cases = np.stack([up, up[::-1], np.zeros(n, int), up % 3, np.minimum(up, n - up)])
        for descending in (False, True):
            check((cases % 256 if dtype == "bf16" else cases).astype(DTYPES[dtype]), dtype, descending)
            check((cases % 256 if dtype == "bf16" else cases).astype(DTYPES[dtype]), dtype, descending, k=10)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_first_k(dtype: str, descending: bool) -> None:
    small = [(5, 2), (5, 5), (8, 2), (64, 16), (100, 0), (100, 1), (100, 12), (600, 1), (600, 17)]
    for n, k in [*small, (1000, 125), (1000, 126), (20_000, 1), (20_000, 16), (20_000, 50), (9000, 999)]:
        with np.errstate(invalid="ignore"):
            check(random_rows(dtype, 2, n, k), dtype, descending, k)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_empty(shape: tuple[int, int]) -> None:
    check(np.zeros(shape, np.float32), "f32", False)


def test_threads() -> None:
    """Rows in many chunks, on all threads, give what one thread gives."""
    x = np.random.default_rng(1).standard_normal((300, 700)).astype(np.float32)
    check(x, "f32", True, threads=True)
    check(x, "f32", False, k=3, threads=True)


@pytest.mark.parametrize("level", ["x86-64", "avx2"])
def test_other_instruction_sets(level: str) -> None:
    isa = ISA.named(level)
    if cpu.machine() != "x86_64" or (level == "avx2" and "avx2" not in cpu.features()):
        pytest.skip("needs an x86-64 processor with this instruction set")
    for dtype in ("f32", "i64", "f16", "u8"):
        with np.errstate(invalid="ignore"):
            check(random_rows(dtype, 2, 1500), dtype, False, isa=isa)
            check(random_rows(dtype, 2, 1500), dtype, True, k=20, isa=isa)


@given(st.lists(st.floats(width=32), min_size=1, max_size=400), st.booleans())
def test_any_floats(numbers: list[float], descending: bool) -> None:
    check(np.array([numbers], np.float32), "f32", descending)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=700), st.booleans())
def test_any_integers(numbers: list[int], descending: bool) -> None:
    check(np.array([numbers], np.int64), "i64", descending)


def test_errors() -> None:
    with pytest.raises(ValueError, match="no order is defined on 'c64'"):
        sort.kernel_ir("bad", "c64", False, ISA.host())
    with pytest.raises(ValueError, match="got k=6 and 5 elements"):
        sort.params("f32", 1, 5, 0, 6)
    with pytest.raises(ValueError, match="at most 2\\^32 - 1"):
        sort.params("u8", 1, 1 << 32, 0)
