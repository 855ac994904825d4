"""The matrix product against numpy in double precision (or wrapping integers)."""

from __future__ import annotations

import ctypes
import re

import ml_dtypes
import numpy as np
import pytest
import template_kernels as harness
from hypothesis import given
from hypothesis import strategies as st

from flambeau.graph.program import RETRY
from flambeau.runtime import llvm, pool
from flambeau.target.isa import ISA
from flambeau.template import gemm
from flambeau.template.blocking import cut
from flambeau.template.epilogue import EXTRAS, Plain, near_words, number_word
from flambeau.template.formula import Formula
from flambeau.template.gemm import AddIn, GemmSpec
from flambeau.template.micro import blocking, micro_request, number
from flambeau.template.words import COMMON

HOST = ISA.host()
NUMPY = {
    "f32": np.float32, "f64": np.float64, "f16": np.float16, "bf16": ml_dtypes.bfloat16, "i8": np.int8, "u8": np.uint8,
    "i16": np.int16, "i32": np.int32, "i64": np.int64,
}  # fmt: skip
F32 = GemmSpec("f32", "f32", "f32", "f32")


def run(spec, a, b, c, *, isa=HOST, extra=(), words=(), threads=1):
    """c = epilogue(a @ b) by the kernel of ``spec``; a, b and c have the same number of batch dimensions."""
    strides = [harness.element_strides(x) for x in (a, b, c)]
    spec = gemm.choose(spec, c.shape[-2], c.shape[-1], a.shape[-1], *strides)
    name, key = gemm.kernel_name(spec), gemm.key(spec, isa)
    entry = harness.function(name, key, lambda: gemm.make_ir(spec, isa), isa, 4 + len(extra))
    sizes = c.shape[-2], c.shape[-1], a.shape[-1]
    address = pool.address() if threads > 1 else 0
    bound = gemm.bind(spec, isa, c.shape[:-2], *sizes, *strides, address, threads, words)
    first, second = (b, a) if bound.swap else (a, b)
    harness.launch(entry, bound.params, [c, first, second, *extra], bound.scratch_bytes)


def normal(rng, shape, dtype=np.float32, order=None):
    """A random array; ``order`` permutes the dimensions in memory."""
    order = range(len(shape)) if order is None else order
    made = rng.standard_normal([shape[i] for i in order]).astype(dtype)
    return made.transpose(np.argsort(order))


def empty(shape, dtype=np.float32, order=None):
    """An array of NaN (integers: 77)."""
    order = range(len(shape)) if order is None else order
    made = np.full([shape[i] for i in order], 77 if np.dtype(dtype).kind in "iu" else np.nan, dtype)
    return made.transpose(np.argsort(order))


SIZES = [
    (1, 1, 1), (1, 1, 0), (14, 32, 8), (15, 33, 7), (13, 31, 16), (64, 64, 64), (100, 100, 100), (3, 200, 17),
    (200, 5, 1000), (1, 300, 400), (300, 1, 400), (333, 333, 333), (17, 40, 20000), (600, 50, 2000), (50, 600, 700),
    (5, 5, 0), (8, 900, 1600), (70, 7, 800), (3, 5000, 300), (5000, 3, 300), (1, 1500, 1), (4, 7, 100),
    (2, 1, 513), (1, 2, 100000), (3, 3, 0),
]  # fmt: skip


OTHER_SIZES = [
    (1, 1, 1),
    (1, 600, 70),
    (600, 3, 70),
    (37, 75, 33),
    (64, 64, 64),
    (30, 50, 1999),
    (400, 90, 800),
    (7, 130, 1000),
]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("transposed", range(8))
def test_f32(size, transposed):
    m, n, k = size
    rng = np.random.default_rng(0)
    a = normal(rng, (m, k), order=(1, 0) if transposed & 1 else None)
    b = normal(rng, (k, n), order=(1, 0) if transposed & 2 else None)
    c = empty((m, n), order=(1, 0) if transposed & 4 else None)
    run(F32, a, b, c, threads=2)
    np.testing.assert_allclose(c, a.astype(np.float64) @ b, rtol=1e-5, atol=4e-6 * np.sqrt(k + 1))


@pytest.mark.parametrize("m", [*range(1, 32), 47])
def test_every_tail(m):
    rng = np.random.default_rng(m)
    a, b = normal(rng, (m, 21)), normal(rng, (21, 80))
    for n in range(1, 81, 1 if m in (1, 13, 47) else 7):
        c = empty((m, n))
        run(F32, a, b[:, :n], c)
        np.testing.assert_allclose(c, a.astype(np.float64) @ b[:, :n], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("out", ["same", "f32"])
@pytest.mark.parametrize("code", ["f64", "bf16", "f16"])
@pytest.mark.parametrize("size", OTHER_SIZES, ids=str)
def test_other_floats(code, out, size):
    m, n, k = size
    if out == "f32" and code == "f64":
        out = "same"
    out = code if out == "same" else out
    rng = np.random.default_rng(0)
    acc = gemm.accumulator(code, code)
    for transposed in range(4):
        a = normal(rng, (m, k), NUMPY[code], order=(1, 0) if transposed & 1 else None)
        b = normal(rng, (k, n), NUMPY[code], order=(1, 0) if transposed & 2 else None)
        c = empty((m, n), NUMPY[out])
        run(GemmSpec(code, code, acc, out), a, b, c, threads=2)
        exact = a.astype(np.float64) @ b.astype(np.float64)
        unit = {"f64": 1e-14, "f32": 1e-5, "f16": 1e-3, "bf16": 8e-3}[out]
        np.testing.assert_allclose(
            c.astype(np.float64), exact, rtol=unit, atol=4e-6 * np.sqrt(k) if acc == "f32" else 1e-12
        )


def test_strided_bf16_and_mixed_types():
    rng = np.random.default_rng(1)
    a, b = normal(rng, (40, 3, 61), NUMPY["bf16"])[:, 1], normal(rng, (122, 90))[::2, ::3]
    c = empty((40, 60), order=None)[:, ::2]
    run(GemmSpec("bf16", "f32", "f32", "f32"), a, b, c)
    np.testing.assert_allclose(c, a.astype(np.float64) @ b, rtol=1e-5, atol=1e-5)
    a, b, c = (
        normal(rng, (40, 122), NUMPY["bf16"])[:, ::2],
        normal(rng, (61, 90), NUMPY["bf16"])[:, ::3],
        empty((40, 30)),
    )
    run(GemmSpec("bf16", "bf16", "f32", "f32"), a, b, c)
    np.testing.assert_allclose(c, a.astype(np.float64) @ b.astype(np.float64), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("code", ["i8", "u8", "i16", "i32", "i64"])
def test_integers_wrap_around(code):
    rng = np.random.default_rng(2)
    info = np.iinfo(NUMPY[code])
    a = rng.integers(info.min, info.max, (45, 300), NUMPY[code], endpoint=True)
    b = rng.integers(info.min, info.max, (70, 300), NUMPY[code], endpoint=True).T
    c = empty((45, 70), NUMPY[code])
    run(GemmSpec(code, code, gemm.accumulator(code, code), code), a, b, c)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(c, (a.astype(np.int64) @ b.astype(np.int64)).astype(NUMPY[code]))


@pytest.mark.parametrize("isa", ISA.available())
@pytest.mark.parametrize("code", ["f32", "f64", "bf16", "f16", "i32", "i64"])
def test_other_instruction_sets(isa, code):
    rng = np.random.default_rng(3)
    scale = 8 if code[0] == "i" else 1
    a, b = ((rng.standard_normal(s) * scale).astype(NUMPY[code]) for s in ((35, 130), (130, 47)))
    for left in (a, np.asfortranarray(a)):
        for right in (b, np.asfortranarray(b)):
            c = empty((35, 47), NUMPY[code])
            run(GemmSpec(code, code, gemm.accumulator(code, code), code), left, right, c, isa=ISA.named(isa))
            exact = a.astype(np.float64) @ b.astype(np.float64)
            unit = {"f64": 1e-13, "f32": 1e-5, "f16": 1e-3, "bf16": 8e-3}.get(code, 0)
            np.testing.assert_allclose(c.astype(np.float64), exact, rtol=unit, atol=unit)


@pytest.mark.parametrize("code", ["f32", "bf16", "i64"])
def test_code_for_arm(code):
    isa = ISA.named("neon")
    for request in gemm.requests(GemmSpec(code, code, gemm.accumulator(code, code), code), isa):
        assert llvm.assembly(request.make_ir(), isa)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4), (40,), (0,)], ids=str)
@pytest.mark.parametrize("size", [(20, 30, 40), (130, 150, 170), (9, 100, 2000), (1, 70, 90), (70, 2, 90)], ids=str)
def test_batches(shape, size):
    m, n, k = size
    rng = np.random.default_rng(4)
    a = normal(rng, (*shape, m, k))
    b = np.broadcast_to(normal(rng, (*shape[:-1], 1, k, n)), (*shape, k, n))
    c = empty((*shape, m, n), order=(len(shape), *range(len(shape)), len(shape) + 1))
    run(F32, a, b, c, threads=2)
    np.testing.assert_allclose(c, np.matmul(a.astype(np.float64), b), rtol=1e-5, atol=1e-5 * np.sqrt(k))


def test_large_batch_uses_shared_panels():
    rng = np.random.default_rng(5)
    a, b = normal(rng, (2, 300, 200)), normal(rng, (2, 250, 200)).transpose(0, 2, 1)
    c = empty((2, 300, 250))
    run(F32, a, b, c, threads=2)
    np.testing.assert_allclose(c, np.matmul(a.astype(np.float64), b), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("code", ["f32", "f64", "bf16", "i64"])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("kind", ["column", "row", "full", "scalar", "strided"])
@pytest.mark.parametrize("size", [(37, 43, 29), (2, 43, 50), (37, 3, 40)], ids=str)
def test_scaled_addend(code, transposed, kind, size):
    (m, n, k), dtype = size, NUMPY[code]
    rng = np.random.default_rng(6)
    a, b = ((rng.standard_normal(s) * 4).astype(dtype) for s in ((2, m, k), (2, k, n)))
    shape, words = {
        "column": ((n,), (0, 0, 1)), "row": ((m,), (0, 1, 0)), "full": ((2, m, n), (m * n, n, 1)),
        "scalar": ((1,), (0, 0, 0)), "strided": ((2, n, m), (m * n, 1, m)),
    }[kind]  # fmt: skip
    addend = (rng.standard_normal(shape) * 4).astype(dtype)
    spread = np.lib.stride_tricks.as_strided(addend, (2, m, n), [w * addend.itemsize for w in words])
    acc = gemm.accumulator(code, code)
    spec = GemmSpec(code, code, acc, code, AddIn(acc, code, code, scaled=True))
    c = empty((2, m, n), dtype, order=(0, 2, 1) if transposed else None)
    alpha, beta = (3, -2) if code == "i64" else (0.5, -2.0)
    run(spec, a, b, c, extra=[addend], words=(*words, number_word(alpha, acc), number_word(beta, acc)))
    wide = np.int64 if code == "i64" else np.float64
    exact = alpha * np.matmul(a.astype(wide), b.astype(wide)) + beta * spread.astype(wide)
    unit = {"f64": 1e-13, "f32": 1e-5, "bf16": 8e-3}.get(code, 0)
    np.testing.assert_allclose(c.astype(wide), exact, rtol=unit, atol=unit * 10 if code != "bf16" else 1e-4)


@pytest.mark.parametrize("isa", ISA.available())
@pytest.mark.parametrize("code", ["f32", "f64"])
def test_few_rows_by_a_transpose(isa, code):
    """The transpose is read in place as the rows of a product whose tiles are turned over when they are stored."""
    chosen = ISA.named(isa)
    rng = np.random.default_rng(0)
    for m, n, k in (
        (16, 70, 64),
        (32, 101, 65),
        (47, 400, 700),
        (128, 400, 200),
        (31, 999, 90),
        (5, 70, 1000),
        (8, 301, 64),
        (16, 97, 1024),  # rows of the weights a page apart
        (45, 200, 2048),
    ):
        a, b = normal(rng, (m, k), NUMPY[code]), normal(rng, (k, n), NUMPY[code], order=(1, 0))
        exact = a.astype(np.float64) @ b.astype(np.float64)
        close = {"rtol": 1e-5, "atol": 4e-6 * np.sqrt(k)} if code == "f32" else {"rtol": 1e-12, "atol": 1e-12}
        spec = GemmSpec(code, code, code, code)
        c = empty((m, n + 3), NUMPY[code])
        run(spec, a, b, c[:, :n], isa=chosen, threads=2)
        np.testing.assert_allclose(c[:, :n], exact, **close)
        assert np.isnan(c[:, n:]).all()
        bias, full = normal(rng, (n,), NUMPY[code]), normal(rng, (m, n), NUMPY[code])
        added = GemmSpec(code, code, code, code, AddIn(code, code, code))
        for addend, words in ((bias, (0, 0, 1)), (full, (0, n, 1))):
            c = empty((m, n), NUMPY[code])
            run(added, a, b, c, isa=chosen, extra=[addend], words=words, threads=2)
            np.testing.assert_allclose(c, exact + addend, **close)


@pytest.mark.parametrize("code", ["f32", "f64", "bf16", "f16", "i8"])
@pytest.mark.parametrize("size", [(460, 300, 131), (450, 97, 701), (600, 1024, 64), (14, 20, 3)], ids=str)
def test_panels_packed_side_by_side(code, size):
    """Many rows: several panels of B are packed together, reading its rows from end to end."""
    m, n, k = size
    rng = np.random.default_rng(6)
    if code == "i8":
        a, b = (rng.integers(-9, 9, s).astype(np.int8) for s in ((m, k), (k, n + 1)))
    else:
        a, b = (normal(rng, s).astype(NUMPY[code]) for s in ((m, k), (k, n + 1)))
    acc = gemm.accumulator(code, code)
    c = empty((m, n), NUMPY[acc])
    run(GemmSpec(code, code, acc, acc), a, b[:, :n], c, threads=2)
    exact = a.astype(np.float64) @ b[:, :n].astype(np.float64)
    np.testing.assert_allclose(c, exact, rtol=1e-4, atol=1e-12 if code == "f64" else 1e-4)


@pytest.mark.parametrize("code", ["f32", "f64", "bf16", "i8"])
@pytest.mark.parametrize("size", [(40, 1024, 1031), (130, 1100, 520), (100, 1050, 1024)], ids=str)
def test_wide_chunks_of_few_rows(code, size):
    """Rows of B that compete for the caches, or lie anyhow, are packed in wide chunks; the number of threads is not to
    be seen in the sum."""
    m, n, k = size
    rng = np.random.default_rng(8)
    if code == "i8":
        a, b = (rng.integers(-9, 9, s).astype(np.int8) for s in ((m, k), (k, n)))
    else:
        a, b = (normal(rng, s).astype(NUMPY[code]) for s in ((m, k), (k, n)))
    acc = gemm.accumulator(code, code)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    found = []
    for threads in (1, 2, 7):
        c = empty((m, n), NUMPY[acc])
        run(GemmSpec(code, code, acc, acc), a, b, c, threads=threads)
        np.testing.assert_allclose(c, exact, rtol=1e-4, atol=1e-12 if code == "f64" else 2e-4)
        found.append(c)
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


@pytest.mark.parametrize("code", ["f32", "f64", "bf16", "f16", "i8"])
@pytest.mark.parametrize("size", [(1024, 200, 77), (1000, 97, 190), (33, 700, 801)], ids=str)
def test_panels_of_columns_packed_side_by_side(code, size):
    """A is contiguous across panels, and its columns compete for the caches or are to be converted."""
    m, n, k = size
    rng = np.random.default_rng(7)
    if code == "i8":
        a, b = (rng.integers(-9, 9, s).astype(np.int8) for s in ((k, 4096), (k, n)))
    else:
        a, b = (normal(rng, s).astype(NUMPY[code]) for s in ((k, 4096), (k, n)))
    acc = gemm.accumulator(code, code)
    exact = a[:, 1 : m + 1].T.astype(np.float64) @ b.astype(np.float64)
    found = []
    for threads in (1, 2):
        c = empty((m, n), NUMPY[acc])
        run(GemmSpec(code, code, acc, acc), a[:, 1 : m + 1].T, b, c, threads=threads)
        np.testing.assert_allclose(c, exact, rtol=1e-4, atol=1e-12 if code == "f64" else 1e-4)
        found.append(c)
    assert np.array_equal(*found)


@pytest.mark.parametrize("isa", ISA.available())
@pytest.mark.parametrize("code", ["f32", "f64"])
def test_few_rows_by_a_large_matrix(isa, code):
    """B goes by once, four of its rows at a time."""
    chosen = ISA.named(isa)
    rng = np.random.default_rng(5)
    for m, n, k in ((5, 1025, 800), (8, 700, 1203), (9, 512, 1024), (17, 3001, 301), (32, 256, 3073), (30, 40000, 22)):
        a, b = normal(rng, (m, k), NUMPY[code]), normal(rng, (k, n + 5), NUMPY[code])[:, :n]
        exact = a.astype(np.float64) @ b.astype(np.float64)
        close = {"rtol": 1e-5, "atol": 4e-6 * np.sqrt(k)} if code == "f32" else {"rtol": 1e-12, "atol": 1e-11}
        c = empty((m, n + 3), NUMPY[code])
        spec = gemm.choose(GemmSpec(code, code, code, code), m, n, k, (k, 1), (n + 5, 1), (n + 3, 1))
        assert spec.thin == 32
        run(spec, a, b, c[:, :n], isa=chosen, threads=2)
        np.testing.assert_allclose(c[:, :n], exact, **close)
        assert np.isnan(c[:, n:]).all()
        bias, turned = normal(rng, (n,), NUMPY[code]), np.asfortranarray(a)
        added = GemmSpec(code, code, code, code, AddIn(code, code, code))
        run(added, turned, b, c[:, :n], isa=chosen, extra=[bias], words=(0, 0, 1), threads=2)
        np.testing.assert_allclose(c[:, :n], exact + bias, **close)
    b[-1, 3], a[4, -1] = np.inf, 0
    c = empty((m, n), NUMPY[code])
    run(spec, a, b, c, isa=chosen)
    assert np.isnan(c[4, 3]) and np.isinf(c[5, 3]) and np.isfinite(np.delete(c, 3, axis=1)).all()


def test_accumulates_into_output():
    rng = np.random.default_rng(7)
    a, b, c = normal(rng, (50, 60)), normal(rng, (60, 70)), normal(rng, (50, 70))
    exact = a.astype(np.float64) @ b + c
    run(GemmSpec("f32", "f32", "f32", "f32", AddIn("f32", "f32", "f32")), a, b, c, extra=[c], words=(0, 70, 1))
    np.testing.assert_allclose(c, exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "size", [(700, 500, 300), (20, 30, 30000), (64, 3000, 500), (2, 900, 4000), (9, 600, 900)], ids=str
)
def test_same_bits_for_any_number_of_threads(size):
    m, n, k = size
    rng = np.random.default_rng(8)
    a, b = normal(rng, (m, k)), normal(rng, (k, n))
    alone, several = empty((m, n)), empty((m, n))
    run(F32, a, b, alone)
    run(F32, a, b, several, threads=2)
    assert alone.tobytes() == several.tobytes()


def test_nonfinite_values_stay_in_their_row_and_column():
    rng = np.random.default_rng(9)
    a, b, c = normal(rng, (30, 40)), normal(rng, (40, 50)), empty((30, 50))
    a[29, 3], b[7, 49] = np.nan, np.inf
    run(F32, a, b, c)
    with np.errstate(invalid="ignore"):
        exact = a.astype(np.float64) @ b
    np.testing.assert_allclose(c, exact, rtol=1e-5, atol=1e-5)
    assert np.isfinite(c[:29, :49]).all()


def test_bad_arguments():
    with pytest.raises(ValueError, match="4 batch dimensions"):
        gemm.bind(F32, HOST, (1, 1, 1, 1), 2, 2, 2, (0,) * 6, (0,) * 6, (0,) * 6, 0, 1)
    with pytest.raises(ValueError, match="no thin product of 9 rows"):
        gemm.bind(GemmSpec("f32", "f32", "f32", "f32", thin=8), HOST, (), 9, 9, 9, (9, 1), (9, 1), (9, 1), 0, 1)
    with pytest.raises(ValueError, match="strides of b"):
        gemm.bind(F32, HOST, (), 2, 2, 2, (2, 1), (1,), (2, 1), 0, 1)


@given(
    st.tuples(*[st.integers(1, 70)] * 3),
    st.tuples(*[st.integers(0, 1)] * 3),
    st.tuples(*[st.integers(1, 3)] * 6),
    st.data(),
)
def test_any_strides(size, orders, steps, data):
    m, n, k = size
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))

    def view(rows, cols, order, row_step, col_step, make):
        big = make((rows * row_step, cols * col_step), order=(1, 0) if order else None)
        return big[::row_step, ::col_step]

    a = view(m, k, orders[0], *steps[:2], lambda s, order: normal(rng, s, order=order))
    b = view(k, n, orders[1], *steps[2:4], lambda s, order: normal(rng, s, order=order))
    c = view(m, n, orders[2], *steps[4:], lambda s, order: empty(s, order=order))
    whole = c.base if c.base is not None else c
    before = whole.copy()
    run(F32, a, b[:, ::-1], c)
    np.testing.assert_allclose(c, a.astype(np.float64) @ b[:, ::-1], rtol=1e-5, atol=1e-5)
    c[...] = np.nan
    np.testing.assert_array_equal(whole, before)  # nothing between the elements was written


@pytest.mark.parametrize("size", [(64, 64, 64), (33, 50, 70), (3, 200, 300), (128, 300, 128)])
def test_scratch_memory_from_the_stack(size):
    m, k, n = size
    rng = np.random.default_rng(9)
    a, b, c = normal(rng, (1, m, k)), normal(rng, (1, k, n)), empty((1, m, n), np.float32)
    strides = [harness.element_strides(x) for x in (a, b, c)]
    spec = gemm.choose(F32, m, n, k, *strides)
    name = gemm.kernel_name(spec)
    entry = harness.function(name, gemm.key(spec, HOST), lambda: gemm.make_ir(spec, HOST), HOST, 4)
    for threads, refused in ((1, False), (2, False), (1, True)):
        bound = gemm.bind(spec, HOST, 1, m, n, k, *strides, pool.address(), threads)
        words = list(bound.params)
        if refused:  # a part of the scratch memory that is too big for any stack
            words[COMMON.index("worker_at")] = 1 << 30
        c[:] = -1
        params = (ctypes.c_int64 * len(words))(*words)
        operands = [x.ctypes.data for x in ((b, a) if bound.swap else (a, b))]
        status = entry(ctypes.addressof(params), c.ctypes.data, *operands, None)
        assert status == (RETRY if refused else 0)
        if refused:
            assert (c == -1).all()
        else:
            np.testing.assert_allclose(c, a @ b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(1000, 4, 4, 4), (333, 5, 7, 9), (40, 16, 16, 16), (17, 1, 30, 20), (3000, 1, 4, 4)])
def test_small_matrices_share_chunks(size):
    count, m, k, n = size
    rng = np.random.default_rng(10)
    a, b, c = normal(rng, (count, m, k)), normal(rng, (count, k, n)), empty((count, m, n), np.float32)
    for threads in (1, 2):
        c[:] = -1
        run(F32, a, b, c, threads=threads)
        np.testing.assert_allclose(c, a @ b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)])
def test_rows_a_page_apart(transposed):
    rng = np.random.default_rng(11)
    a, b = (normal(rng, s, order=(1, 0) if t else None) for s, t in zip(((150, 1024), (1024, 1024)), transposed))
    c = empty((1, 150, 1024), np.float32)
    run(F32, a[None], b[None], c, threads=2)
    np.testing.assert_allclose(c[0], a @ b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [(5, 7, 3), (17, 33, 65), (100, 64, 127), (64, 100, 3001), (3, 40, 50)], ids=str)
def test_products_of_int8_are_exact_in_int32(size):
    m, n, k = size
    rng = np.random.default_rng(0)
    for transposed in range(4):
        a = rng.integers(-128, 127, (m, k), np.int8, endpoint=True)
        b = rng.integers(-128, 127, (k, n), np.int8, endpoint=True)
        a = np.asfortranarray(a) if transposed & 1 else a
        b = np.asfortranarray(b) if transposed & 2 else b
        c = empty((m, n), np.int32)
        run(GemmSpec("i8", "i8", "i32", "i32"), a, b, c, threads=2)
        np.testing.assert_array_equal(c, a.astype(np.int64) @ b.astype(np.int64))


def test_the_operand_that_is_fetched_ahead():
    tail = Formula("f32", ("f32", "bf16", "f32"), (("add", "f32", "f32", (0, 1), None),))
    assert near_words(tail, (0, 1, 0, 9, 64, 1, 0, 64, 1)) == {
        "near": EXTRAS + 1, "near_batch": 18, "near_row": 128, "near_step": 2
    }  # fmt: skip
    assert near_words(tail, (0, 1, 0, 0, 0, 1, 9, 1, 64)) == {}
    assert near_words(Plain("f32", "f32"), ()) == {}
    assert near_words(AddIn("f32", "f32", "f32"), (0, 32, 1))["near"] == EXTRAS


@pytest.mark.parametrize("name", ["avx512", "avx2", "neon"])
@pytest.mark.parametrize(("in_place", "listed"), [(False, False), (True, False), (False, True), (True, True)])
def test_sums_of_a_block_stay_in_registers(name, in_place, listed):
    isa = ISA.named(name)
    request = micro_request(number("f32", "f32", "f32", isa), isa, in_place, listed=listed)
    text = llvm.assembly(request.make_ir(), isa)
    blocks = re.findall(r"^(micro\d+x\d+\w*):\n(.*?)\n\.Lfunc_end", text, re.S | re.M)
    assert len(blocks) >= 8
    for block, body in blocks:
        spilled = re.findall(r"[xyz]mm\d+, [-\d]*\(%rsp\)|\(%rsp\), %[xyz]mm\d+|\b(?:st[rp]|ld[rp])\s+q\d+.*\[sp", body)
        # what AArch64's calling convention has a function keep of the registers is saved once
        assert len(spilled) <= (8 if name == "neon" else 0), block


def test_a_product_of_few_units_is_shared_out_if_its_elements_are_costly_to_finish():
    host = ISA.host()
    num = number("f32", "f32", "f32", host)
    sizes = (1, 1024, 96, 2, num, blocking(num, host), True, True, 4)
    assert not cut(*sizes).parallel
    shared = cut(*sizes, finished=True)
    assert shared.parallel and shared.chunks >= 4 and shared.splits == 1
    assert not cut(1, 64, 64, 2, *sizes[4:], finished=True).parallel
