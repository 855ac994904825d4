"""Graphs to numbers: the interpreter of the loop IR and the machine code of every instruction set against numpy."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from flambeau import settings
from flambeau.dtype import coded
from flambeau.graph.kernel import KernelCall
from flambeau.graph.node import Graph, Node
from flambeau.graph.plan import make_plan
from flambeau.graph.schedule import Output, schedule
from flambeau.layout import contiguous_strides
from flambeau.loop.interpret import interpret
from flambeau.loop.nodes import Expr, Pool
from flambeau.loop.printer import kernel_text
from flambeau.loop.verify import VerifyError, verify
from flambeau.target.isa import ISA
from flambeau.template.extern import MatMul

CODES = {
    np.dtype(np.float32): "f32",
    np.dtype(np.float64): "f64",
    np.dtype(np.int64): "i64",
    np.dtype(np.int32): "i32",
    np.dtype(np.int8): "i8",
    np.dtype(np.uint8): "u8",
    np.dtype(np.bool_): "b1",
    np.dtype(np.complex64): "c64",
}
ISAS = [name for name in ISA.available() if name != "generic"] + ["native"]


def build(make, arrays):
    """(result nodes, arguments) of a graph."""
    g = Graph()
    inputs = [g.input(i, a.shape, [s // a.itemsize for s in a.strides], CODES[a.dtype]) for i, a in enumerate(arrays)]
    found = make(g, *inputs)
    return found if isinstance(found, tuple) else (found,)


def compiled(make, *arrays):
    nodes = build(make, arrays)
    plan = make_plan([Output(n, contiguous_strides(n.shape)) for n in nodes], len(arrays))
    results = [np.zeros(n.shape, coded(n.type).numpy) for n in nodes]
    plan.run([r.ctypes.data for r in results], [a.ctypes.data for a in arrays], [])
    return results


def interpreted(make, *arrays):
    """The same through the interpreter."""
    nodes = build(make, arrays)
    plan = schedule([Output(n, contiguous_strides(n.shape)) for n in nodes])
    results = [np.zeros(n.shape, coded(n.type).numpy) for n in nodes]
    memory = []
    for b in plan.buffers:
        if b.kind == "input":
            a = arrays[b.slot]
            raw = (ctypes.c_byte * (b.size * a.itemsize)).from_address(a.ctypes.data) if b.size else b""
            memory.append(np.frombuffer(raw, a.dtype))
        elif b.kind == "output":
            memory.append(results[b.slot].reshape(-1))
        else:
            memory.append(np.zeros(b.size, coded(b.type).numpy))
    parts = {np.dtype(np.complex64): np.float32}
    memory = [m.view(parts.get(m.dtype, m.dtype)) for m in memory]
    for step in plan.steps:
        assert isinstance(step, KernelCall)
        verify(step.kernel)
        assert interpret(step.kernel, (step.chunks, 0, *step.words), [memory[b] for b in step.buffers]) == 0
    return results


def softmax(g: Graph, x: Node) -> Node:
    e = g.apply("exp", g.apply("sub", x, g.reduce("max", x, (1,))))
    return g.apply("div", e, g.reduce("add", e, (1,)))


def standardised(g: Graph, x: Node) -> tuple[Node, Node]:
    n = g.const(x.shape[0], "f32")
    mean = g.apply("div", g.reduce("add", x, (0,)), n)
    off = g.apply("sub", x, mean)
    return g.apply(
        "mul", off, g.apply("rsqrt", g.apply("div", g.reduce("add", g.apply("mul", off, off), (0,)), n))
    ), mean


RNG = np.random.default_rng(0)
A = RNG.standard_normal((7, 19)).astype(np.float32)
B = RNG.standard_normal((19,)).astype(np.float32)
I = RNG.integers(0, 7, (5, 3))
PROGRAMS = {
    "add": (lambda g, x, y: g.apply("add", x, y), (A, B), lambda: A + B),
    "transposed": (lambda g, x: g.apply("neg", g.permute(x, (1, 0))), (A,), lambda: -A.T),
    "rows": (lambda g, x: g.reduce("add", x, (1,)), (A,), lambda: A.sum(1, keepdims=True)),
    "columns": (lambda g, x: g.reduce("max", x, (0,)), (A,), lambda: A.max(0, keepdims=True)),
    "all": (lambda g, x: g.reduce("mul", x, (0, 1)), (A,), lambda: A.astype(np.float64).prod(keepdims=True)),
    "argmax": (lambda g, x: g.argreduce("argmax", x, (1,)), (A,), lambda: A.argmax(1)[:, None]),
    "argmin all": (lambda g, x: g.argreduce("argmin", x, (0, 1)), (A,), lambda: A.argmin().reshape(1, 1)),
    "softmax": (softmax, (A,), lambda: np.exp(A) / np.exp(A).sum(1, keepdims=True)),
    "scan": (lambda g, x: g.scan("add", x, 1), (A,), lambda: A.cumsum(1)),
    "scan of columns": (lambda g, x: g.scan("max", x, 0), (A,), lambda: np.maximum.accumulate(A, 0)),
    "reshape": (lambda g, x: g.reshape(g.permute(x, (1, 0)), (7, 19)), (A,), lambda: A.T.reshape(7, 19)),
    "gather": (lambda g, x, i: g.gather(x, [g.reshape(i, (5, 3, 1))], (("i", 0), ("d", 2)), (5, 3, 19)), (A, I),
    lambda: A[I]),
    "flip": (lambda g, x: g.move(x, ((6, ((0, -1),)), (0, ((1, 1),))), (7, 19)), (A,), lambda: A[::-1]),
    "windows": (lambda g, x: g.reduce("add", g.move(x, ((0, ((0, 1),)), (0, ((1, 2), (2, 1)))), (7, 9, 3)), (2,)), (A,),
                lambda: np.lib.stride_tricks.sliding_window_view(A, 3, 1)[:, ::2].sum(-1, keepdims=True)),
    "complex": (lambda g, x: g.apply("mul", g.complex(x, x), g.complex(x, g.apply("neg", x))), (A,),
    lambda: 2 * A * A + 0j),
    "cast": (lambda g, x: g.cast(g.apply("mul", x, g.const(100, "f32")), "i8"), (A / 4,),
    lambda: (A * 25).astype(np.int8)),
}  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_interpreter(name):
    make, arrays, wanted = PROGRAMS[name]
    np.testing.assert_allclose(interpreted(make, *arrays)[0], wanted(), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_machine_code(name, isa):
    make, arrays, wanted = PROGRAMS[name]
    with settings.override(isa=isa, verify=True):
        np.testing.assert_allclose(compiled(make, *arrays)[0], wanted(), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("isa", ISAS)
def test_several_results_share_their_pass(isa):
    with settings.override(isa=isa):
        y, mean = compiled(standardised, A)
    np.testing.assert_allclose(mean, A.mean(0, keepdims=True), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(y, (A - A.mean(0)) / A.std(0), rtol=1e-4, atol=1e-5)


def test_rows_are_folded_side_by_side():
    """Wide rows go from end to end, several at a time, into the result; the interpreter and every instruction set
    agree, also where neither rows nor columns come in whole groups."""
    x = RNG.standard_normal((37, 300)).astype(np.float32)

    def sums(g: Graph, x: Node) -> Node:
        return g.reduce("add", g.apply("mul", x, x), (0,))

    nodes = build(sums, (x,))
    (step,) = schedule([Output(n, contiguous_strides(n.shape)) for n in nodes]).steps
    assert isinstance(step, KernelCall) and "prefetch" in kernel_text(step.kernel)
    wanted = (x.astype(np.float64) ** 2).sum(0, keepdims=True)
    np.testing.assert_allclose(interpreted(sums, x)[0], wanted, rtol=1e-5)
    for isa in ISAS:
        with settings.override(isa=isa, verify=True):
            np.testing.assert_allclose(compiled(sums, x)[0], wanted, rtol=1e-5)


LONG_ROWS = {
    "sum": (lambda g, x: g.reduce("add", x, (1,)), lambda x: x.sum(1)),
    "greatest": (lambda g, x: g.reduce("max", x, (1,)), lambda x: x.max(1)),
    "of two arrays": (lambda g, x: g.reduce("add", g.apply("mul", x, g.move(x, ((2, ((0, -1),)), (0, ((1, 1),))),
    x.shape)), (1,)), lambda x: (x * x[::-1]).sum(1)),
    "with their places": (lambda g, x: g.reduce("add", g.apply("mul", x, g.cast(g.iota(x.shape, 1), "f32")), (1,)),
    lambda x: (x * np.arange(x.shape[1])).sum(1)),
}  # fmt: skip


@pytest.mark.parametrize("length", [16384, 2 * 16384 + 1, 17 * 1024 - 1])
@pytest.mark.parametrize("name", LONG_ROWS)
def test_long_rows_are_read_in_several_places(name, length):
    """Parts of a row are folded side by side, then what is left over; the interpreter and every instruction set
    agree."""
    make, wanted = LONG_ROWS[name]
    x = RNG.random((3, length), np.float32)
    (step,) = schedule([Output(n, contiguous_strides(n.shape)) for n in build(make, (x,))]).steps
    assert isinstance(step, KernelCall) and "i1 + v" in kernel_text(step.kernel)
    expected = wanted(x.astype(np.float64))[:, None]
    np.testing.assert_allclose(interpreted(make, x)[0], expected, rtol=1e-5)
    for isa in ISAS:
        with settings.override(isa=isa, verify=True):
            np.testing.assert_allclose(compiled(make, x)[0], expected, rtol=1e-5)


@pytest.mark.parametrize("program", [softmax, lambda g, x: standardised(g, x)[0]])
def test_rows_fuse_into_one_kernel(program):
    nodes = build(program, (A,))
    assert len(schedule([Output(n, contiguous_strides(n.shape)) for n in nodes]).steps) == 1


def test_a_product_of_another_shape_is_computed_where_its_result_lies():
    x, w = (RNG.standard_normal(shape).astype(np.float32) for shape in ((3, 5, 40), (40, 24)))

    def rows(g: Graph, x: Node, w: Node) -> Node:
        (value,) = g.extern(MatMul(), (g.reshape(x, (15, 40)), w), (((15, 24), "f32"),))
        return g.reshape(value, (3, 5, 24))

    (step,) = schedule([Output(n, contiguous_strides(n.shape)) for n in build(rows, (x, w))]).steps
    assert not isinstance(step, KernelCall)
    np.testing.assert_allclose(compiled(rows, x, w)[0], x @ w, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("strides", "shape"), [((50, 1), (6, 40)), ((7, 3), (9, 2)), ((1, 6), (6, 8))])
def test_a_copy_into_a_strided_argument_is_one_step(strides, shape):
    x = RNG.standard_normal(shape).astype(np.float32)
    (node,) = build(lambda g, x: x, (x,))
    assert len(schedule([Output(node, strides, into=1)]).steps) == 1
    memory = np.full(1 + sum((n - 1) * s for n, s in zip(shape, strides)), -1, np.float32)
    make_plan([Output(node, strides, into=1)], 2).run([0], [x.ctypes.data, memory.ctypes.data], [])
    target = np.lib.stride_tricks.as_strided(memory, shape, [4 * s for s in strides])
    np.testing.assert_array_equal(target, x)
    assert (memory == -1).sum() == memory.size - x.size


def written(g: Graph, x: Node, offsets: tuple[int, ...]) -> Node:
    """tanh x, its negative and twice its value in the columns from ``offsets`` on, one after the other."""
    t = g.apply("tanh", x)
    out = g.undef((x.shape[0], 3 * x.shape[1]), x.type)
    for offset, part in zip(offsets, (t, g.apply("neg", t), g.apply("add", t, t))):
        out = g.update(out, part, ((0, ((0, 1),)), (offset, ((1, 1),))))
    return out


@pytest.mark.parametrize(
    ("offsets", "disjoint"), [((0, 40, 80), True), ((80, 0, 40), True), ((0, 40, 79), False), ((0, 0, 40), False)]
)
def test_parts_of_one_result_share_their_pass_where_they_are_apart(offsets, disjoint):
    x = RNG.standard_normal((7, 40)).astype(np.float32)
    nodes = build(lambda g, x: written(g, x, offsets), (x,))
    assert (len(schedule([Output(n, contiguous_strides(n.shape)) for n in nodes]).steps) == 1) == disjoint
    wanted = np.zeros((7, 120))
    for offset, factor in zip(offsets, (1, -1, 2)):
        wanted[:, offset : offset + 40] = factor * np.tanh(x.astype(np.float64))
    seen = sorted({c for offset in offsets for c in range(offset, offset + 40)})
    for found in (compiled, interpreted):
        got = found(lambda g, x: written(g, x, offsets), x)[0]
        np.testing.assert_allclose(got[:, seen], wanted[:, seen], rtol=1e-5, atol=1e-6)


def heads(g: Graph, x: Node) -> Node:
    """(4, 6, 8 * 5) -> (4, 8, 6, 5) -> doubled -> (4, 6, 40)"""
    split = g.permute(g.reshape(x, (4, 6, 8, 5)), (0, 2, 1, 3))
    return g.reshape(g.permute(g.apply("add", split, split), (0, 2, 1, 3)), (4, 6, 40))


def test_reshapes_of_heads_take_no_division():
    x = RNG.standard_normal((4, 8, 6, 5)).astype(np.float32)

    def make(g, x):
        return g.reshape(g.apply("neg", g.permute(x, (0, 2, 1, 3))), (4, 6, 40))

    nodes = build(make, (x,))
    (step,) = schedule([Output(n, contiguous_strides(n.shape)) for n in nodes]).steps
    assert isinstance(step, KernelCall)
    inner = kernel_text(step.kernel).split("in vectors")[1]
    assert "quot" not in inner and "rem" not in inner
    wanted = -x.transpose(0, 2, 1, 3).reshape(4, 6, 40)
    np.testing.assert_array_equal(compiled(make, x)[0], wanted)
    np.testing.assert_array_equal(interpreted(make, x)[0], wanted)
    y = RNG.standard_normal((4, 6, 40)).astype(np.float32)
    np.testing.assert_array_equal(compiled(heads, y)[0], 2 * y)


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_reshapes_and_permutations(data):
    """Chains of reshape and permute of small arrays, with sums in between, against numpy."""
    sizes = [(2, 3, 4), (6, 4), (24,), (4, 6), (2, 2, 6), (3, 8), (2, 12), (4, 3, 2), (1, 24), (2, 2, 3, 2)]
    array = RNG.standard_normal(data.draw(st.sampled_from(sizes))).astype(np.float32)
    steps = data.draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 99)), min_size=1, max_size=6))

    def run(value, permute, reshape, add):
        for kind, which in steps:
            if kind == 0:
                order = list(range(len(value.shape)))
                np.random.default_rng(which).shuffle(order)
                value = permute(value, order)
            elif kind == 1:
                value = reshape(value, sizes[which % len(sizes)])
            else:
                value = add(value, value)
        return value

    def make(g, x):
        return run(x, g.permute, g.reshape, lambda a, b: g.apply("add", a, b))

    wanted = run(array, np.transpose, np.reshape, np.add)
    np.testing.assert_array_equal(compiled(make, array)[0], wanted)


def test_scatter_combines_repeated_indices():
    def make(g, x, s, i):
        return g.scatter("add", x, s, [g.reshape(i, (5, 3, 1))], (("i", 0), ("d", 2)))

    s = RNG.standard_normal((5, 3, 19)).astype(np.float32)
    wanted = A.copy()
    np.add.at(wanted, I, s)
    np.testing.assert_allclose(compiled(make, A, s, I)[0], wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(interpreted(make, A, s, I)[0], wanted, rtol=1e-5, atol=1e-5)


@hypothesis_settings(max_examples=40, deadline=None)
@given(st.data())
def test_elementwise_programs(data):
    """Random expressions over random broadcast shapes, against numpy."""
    shape = data.draw(st.lists(st.integers(0, 5), min_size=0, max_size=3).map(tuple))
    arrays = [
        RNG.standard_normal([n if data.draw(st.booleans()) else 1 for n in shape]).astype(np.float32) for _ in range(2)
    ]
    steps = data.draw(
        st.lists(
            st.tuples(st.sampled_from(["add", "sub", "mul", "max", "min"]), st.integers(0, 9)), min_size=1, max_size=6
        )
    )
    functions = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "max": np.maximum, "min": np.minimum}

    def make(g, *inputs):
        values = list(inputs)
        for name, which in steps:
            values.append(g.apply(name, values[-1], values[which % len(values)]))
        return values[-1]

    values = list(arrays)
    for name, which in steps:
        values.append(functions[name](values[-1], values[which % len(values)]))
    np.testing.assert_array_equal(compiled(make, *arrays)[0], values[-1])


def test_large_sums_are_the_same_for_any_number_of_threads():
    from flambeau.runtime import pool

    x = RNG.standard_normal(1 << 19).astype(np.float32)
    before = pool.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            pool.set_num_threads(threads)
            found.append(compiled(lambda g, x: g.reduce("add", x, (0,)), x)[0])
    finally:
        pool.set_num_threads(before)
    assert found[0] == found[1] == found[2]
    np.testing.assert_allclose(found[0][0], x.sum(dtype=np.float64), rtol=1e-4, atol=0.01)


def test_sizes_do_not_change_the_kernel():
    def text(n):
        x = np.zeros((n, n + 3), np.float32)
        plan = schedule([Output(k, contiguous_strides(k.shape)) for k in build(softmax, (x,))])
        return [kernel_text(s.kernel) for s in plan.steps]

    assert text(10) == text(11) == text(60)  # a few rows are a loop inside one unit of work
    assert text(100) == text(101) == text(500)


def test_verifier_finds_what_is_wrong():
    plan = schedule([Output(k, contiguous_strides(k.shape)) for k in build(softmax, (A,))])
    kernel = plan.steps[0].kernel
    verify(kernel)
    pool = Pool()
    stray: Expr = pool.make("var", "i64", (), "nowhere")
    loop = kernel.body[0]
    with pytest.raises(VerifyError, match="not known here"):
        verify(kernel._replace(body=(loop._replace(hi=stray), *kernel.body[1:])))
    with pytest.raises(VerifyError):
        verify(kernel._replace(buffers=tuple(b._replace(written=False) for b in kernel.buffers)))
