"""Convolutions and their gradients against a direct sum in double precision."""

from __future__ import annotations

import dataclasses
import itertools

import ml_dtypes
import numpy as np
import pytest
import template_kernels as harness
from hypothesis import given
from hypothesis import strategies as st

import flambeau
from flambeau.runtime import llvm, pool
from flambeau.target.isa import ISA
from flambeau.template import conv, conv_problem, conv_weight
from flambeau.template.conv import AddIn, ConvSpec, Plain
from flambeau.template.formula import Formula

HOST = ISA.host()
NUMPY = {"f32": np.float32, "f64": np.float64, "f16": np.float16, "bf16": ml_dtypes.bfloat16}
F32 = ConvSpec("f32", "f32", "f32")
DIRECT = ConvSpec("f32", "f32", "f32", direct=True)


def taps(kernel, sizes, stride, padding, dilation):
    """For every tap: its index, and the slices of the padded image that its products read."""
    for tap in itertools.product(*map(range, kernel)):
        yield tap, tuple(slice(t * d, t * d + (o - 1) * s + 1, s) for t, o, s, d in zip(tap, sizes, stride, dilation))


def pad(x, padding):
    return np.pad(x.astype(np.float64), [(0, 0), (0, 0), *((p, p) for p in padding)])


def exact_forward(x, w, stride, padding, dilation, groups):
    sizes = [conv.output_size(*v) for v in zip(x.shape[2:], w.shape[2:], stride, padding, dilation)]
    y = np.zeros((x.shape[0], w.shape[0], *sizes))
    padded, ci, co = pad(x, padding), w.shape[1], w.shape[0] // groups
    for (tap, where), g in itertools.product(taps(w.shape[2:], sizes, stride, padding, dilation), range(groups)):
        part = padded[(slice(None), slice(g * ci, (g + 1) * ci), *where)]
        y[:, g * co : (g + 1) * co] += np.einsum(
            "nc...,oc->no...", part, w[(slice(g * co, (g + 1) * co), slice(None), *tap)].astype(np.float64)
        )
    return y


def exact_input_gradient(dy, w, x_shape, stride, padding, dilation, groups):
    dx = pad(np.zeros(x_shape), padding)
    ci, co = w.shape[1], w.shape[0] // groups
    for (tap, where), g in itertools.product(taps(w.shape[2:], dy.shape[2:], stride, padding, dilation), range(groups)):
        part = np.einsum(
            "no...,oc->nc...",
            dy[:, g * co : (g + 1) * co].astype(np.float64),
            w[(slice(g * co, (g + 1) * co), slice(None), *tap)].astype(np.float64),
        )
        dx[(slice(None), slice(g * ci, (g + 1) * ci), *where)] += part
    return dx[(slice(None), slice(None), *(slice(p, p + s) for p, s in zip(padding, x_shape[2:])))]


def exact_weight_gradient(dy, x, w_shape, stride, padding, dilation, groups):
    dw = np.zeros(w_shape)
    padded, ci, co = pad(x, padding), w_shape[1], w_shape[0] // groups
    for (tap, where), g in itertools.product(taps(w_shape[2:], dy.shape[2:], stride, padding, dilation), range(groups)):
        part = padded[(slice(None), slice(g * ci, (g + 1) * ci), *where)]
        outer = slice(g * co, (g + 1) * co)
        flat = (v.reshape(*v.shape[:2], -1) for v in (dy[:, outer].astype(np.float64), part))
        dw[(outer, slice(None), *tap)] = np.einsum("nop,ncp->oc", *flat)
    return dw


def launch(spec, bound, isa, result, weights, image, extra=(), module=conv):
    name, key = module.kernel_name(spec), module.key(spec, isa)
    entry = harness.function(name, key, lambda: module.make_ir(spec, isa), isa, 4 + len(extra))
    first, second = (image, weights) if bound.swap else (weights, image)
    harness.launch(entry, bound.params, [result, first, second, *extra], bound.scratch_bytes)


def forward(spec, x, w, y, stride, padding, dilation, groups, *, isa=HOST, extra=(), words=(), threads=1):
    strides = [harness.element_strides(v) for v in (x, w, y)]
    bound = conv.bind_forward(
        spec, isa, x.shape, strides[0], w.shape, strides[1], strides[2], stride, padding, dilation, groups,
        pool.address() if threads > 1 else 0, threads, words,
    )  # fmt: skip
    launch(spec, bound, isa, y, w, x, extra)


def input_gradient(spec, dx, w, dy, stride, padding, dilation, groups, *, isa=HOST, threads=1):
    strides = [harness.element_strides(v) for v in (dx, w, dy)]
    bound = conv.bind_input_gradient(
        spec, isa, dx.shape, strides[0], w.shape, strides[1], dy.shape, strides[2], stride, padding, dilation, groups,
        pool.address() if threads > 1 else 0, threads,
    )  # fmt: skip
    launch(spec, bound, isa, dx, w, dy)


def weight_gradient(spec, dw, dy, x, stride, padding, dilation, groups, *, isa=HOST, threads=1):
    strides = [harness.element_strides(v) for v in (dw, x, dy)]
    bound = conv_weight.bind(
        spec, isa, dw.shape, strides[0], x.shape, strides[1], dy.shape, strides[2], stride, padding, dilation, groups,
        pool.address() if threads > 1 else 0, threads,
    )  # fmt: skip
    launch(spec, bound, isa, dw, dy, x, module=conv_weight)


def normal(rng, shape, dtype=np.float32, last=False):
    """A random array, in memory with channels last on demand."""
    made = rng.standard_normal(shape).astype(dtype)
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(made, 1, -1)), -1, 1) if last else made


def empty(shape, dtype=np.float32, last=False):
    made = np.full(shape, np.nan, dtype)
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(made, 1, -1)), -1, 1) if last else made


# batch, channels in and out, size, kernel, stride, padding, dilation, groups
CASES = [
    (2, 3, 5, (8,), (3,), (1,), (1,), (1,), 1),
    (3, 4, 6, (17,), (4,), (3,), (2,), (2,), 2),
    (2, 1, 4, (8, 8), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    (2, 3, 5, (9, 7), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    (5, 20, 33, (7, 7), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    (2, 64, 40, (20, 50), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    (1, 3, 64, (61, 60), (7, 7), (2, 2), (3, 3), (1, 1), 1),
    (2, 6, 8, (12, 13), (1, 1), (1, 1), (0, 0), (1, 1), 1),
    (3, 70, 80, (9, 9), (1, 1), (2, 2), (0, 0), (1, 1), 1),
    (2, 5, 7, (12, 13), (2, 4), (3, 1), (1, 3), (2, 1), 1),
    (2, 8, 12, (12, 11), (3, 3), (2, 2), (1, 1), (1, 1), 4),
    (2, 6, 6, (10, 11), (3, 3), (1, 1), (1, 1), (2, 2), 6),
    (1, 2, 3, (5, 6, 7), (3, 2, 3), (1, 2, 1), (1, 0, 2), (1, 1, 2), 1),
    (2, 4, 4, (6, 6, 6), (3, 3, 3), (2, 2, 2), (1, 1, 1), (1, 1, 1), 2),
    (1, 130, 7, (3, 3), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    (4, 2, 3, (1, 1), (1, 1), (1, 1), (0, 0), (1, 1), 1),
    (1, 40, 70, (7, 7), (3, 3), (1, 1), (1, 1), (1, 1), 1),
]  # fmt: skip


# batch, channels in and out, size, padding: 3x3 kernels
TILED = [
    (2, 3, 5, (17, 19), 1), (3, 1, 2, (6, 9), 0),
    (2, 24, 40, (12, 12), 1), (1, 64, 64, (30, 57), 1), (3, 48, 33, (7, 7), 1), (2, 32, 64, (9, 31), 0),
    (1, 24, 100, (17, 40), 2), (5, 160, 120, (14, 14), 1), (33, 512, 24, (4, 4), 1), (1, 24, 24, (1, 90), 1),
]  # fmt: skip


@pytest.mark.skipif(HOST.name not in ("avx512", "avx2"), reason="the algorithm is for vectors of eight and more")
@pytest.mark.parametrize("case", TILED, ids=str)
@pytest.mark.parametrize("last", [False, True])
def test_winograd(case, last):
    n, ci, co, size, padding = case
    ones, around = (1, 1), (padding, padding)
    rng = np.random.default_rng(0)
    x, w = normal(rng, (n, ci, *size)), normal(rng, (co, ci, 3, 3), last=last)
    bias = normal(rng, (co,))
    exact = exact_forward(x, w, ones, around, ones, 1) + bias.reshape(-1, 1, 1)
    tail = AddIn("f32", "f32", "f32")
    results = []
    for threads in (1, 2):
        y = empty(exact.shape)
        spec = ConvSpec("f32", "f32", "f32", tail, winograd=True)
        forward(spec, x, w, y, ones, around, ones, 1, extra=(bias,), words=(0, 1, 0), threads=threads)
        np.testing.assert_allclose(y, exact, rtol=1e-5, atol=5e-6 * np.sqrt(9 * ci))
        results.append(y)
    np.testing.assert_array_equal(*results)
    spec = ConvSpec("f32", "f32", "f32", winograd=True)
    dx = empty(x.shape)
    input_gradient(spec, dx, w, exact.astype(np.float32), ones, around, ones, 1, threads=2)
    exact_dx = exact_input_gradient(exact.astype(np.float32), w, x.shape, ones, around, ones, 1)
    np.testing.assert_allclose(dx, exact_dx, rtol=1e-5, atol=1e-6 * np.abs(exact_dx).max())


MORE_TILED = [
    (2, 3, 5, (17, 19), 1),
    (3, 1, 2, (6, 9), 0),
    (2, 17, 30, (5, 130), 1),
    (3, 16, 14, (2, 2), 1),
    (1, 40, 200, (1, 1), 1),
    (17, 64, 80, (16, 16), 1),
]


@pytest.mark.skipif(HOST.name not in ("avx512", "avx2"), reason="the algorithm is for vectors of eight and more")
@pytest.mark.parametrize("case", TILED + MORE_TILED, ids=str)
@pytest.mark.parametrize("weights_last", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_winograd_of_channels_last(case, weights_last, known):
    n, ci, co, size, padding = case
    ones, around = (1, 1), (padding, padding)
    rng = np.random.default_rng(0)
    x, w = normal(rng, (n, ci, *size), last=True), normal(rng, (co, ci, 3, 3), last=weights_last)
    bias = normal(rng, (co,))
    exact = exact_forward(x, w, ones, around, ones, 1) + bias.reshape(-1, 1, 1)
    tail = AddIn("f32", "f32", "f32").bound((0, 1, 0), True) if known else AddIn("f32", "f32", "f32")
    spec = ConvSpec("f32", "f32", "f32", tail, winograd=True, last=True)
    results = []
    for threads in (1, 2):
        y = empty(exact.shape, last=True)
        forward(spec, x, w, y, ones, around, ones, 1, extra=(bias,), words=(0, 1, 0), threads=threads)
        np.testing.assert_allclose(y, exact, rtol=1e-5, atol=5e-6 * np.sqrt(9 * ci))
        results.append(y)
    np.testing.assert_array_equal(*results)
    dx, dy = empty(x.shape, last=True), normal(rng, exact.shape, last=True)
    input_gradient(dataclasses.replace(spec, epilogue=None), dx, w, dy, ones, around, ones, 1, threads=2)
    exact_dx = exact_input_gradient(dy, w, x.shape, ones, around, ones, 1)
    np.testing.assert_allclose(dx, exact_dx, rtol=1e-5, atol=5e-6 * np.sqrt(9 * co))


@pytest.mark.skipif(HOST.name not in ("avx512", "avx2"), reason="the algorithm is for vectors of eight and more")
@pytest.mark.parametrize("case", TILED + MORE_TILED, ids=str)
@pytest.mark.parametrize("last", range(8))
def test_winograd_weight_gradient(case, last):
    n, ci, co, size, padding = case
    ones, around = (1, 1), (padding, padding)
    rng = np.random.default_rng(0)
    x = normal(rng, (n, ci, *size), last=last & 1)
    dy = normal(rng, (n, co, *(s + 2 * padding - 2 for s in size)), last=last & 2)
    exact = exact_weight_gradient(dy, x, (co, ci, 3, 3), ones, around, ones, 1)
    results = []
    for threads in (1, 2):
        dw = empty(exact.shape, last=last & 4)
        spec = ConvSpec("f32", "f32", "f32", winograd=True)
        weight_gradient(spec, dw, dy, x, ones, around, ones, 1, threads=threads)
        np.testing.assert_allclose(dw, exact, rtol=1e-5, atol=5e-6 * np.sqrt((exact**2).mean()))
        results.append(dw)
    np.testing.assert_array_equal(*results)


@pytest.mark.skipif(HOST.name not in ("avx512", "avx2"), reason="the algorithm is for vectors of eight and more")
def test_choice_of_winograd_for_weight_gradients():
    def chosen(n, ci, co, size, kernel=(3, 3), stride=(1, 1), groups=1, source="f32", last=False):
        x, dw = empty((n, ci, *size), last=last), empty((co, ci // groups, *kernel), last=last)
        return conv_weight.choose(
            ConvSpec(source, "f32", source), HOST, dw.shape, harness.element_strides(dw), x.shape,
            harness.element_strides(x), stride, (1, 1), (1, 1), groups,
        ).winograd  # fmt: skip

    assert chosen(8, 64, 64, (56, 56)) and chosen(1, 128, 128, (28, 28)) and chosen(8, 64, 64, (9, 9), last=True)
    assert chosen(8, 64, 8, (56, 56)) and not chosen(8, 3, 64, (56, 56)) and not chosen(1, 8, 8, (8, 8))
    assert not chosen(8, 64, 64, (56, 56), stride=(2, 2)) and not chosen(8, 64, 64, (56, 56), kernel=(3, 5))
    assert not chosen(8, 64, 64, (56, 56), groups=2) and not chosen(8, 64, 64, (56, 56), source="bf16")
    assert not chosen(1, 512, 512, (2, 2))


@pytest.mark.skipif(HOST.name not in ("avx512", "avx2"), reason="the algorithm is for vectors of eight and more")
def test_choice_of_winograd():
    def chosen(n, ci, co, size, kernel=(3, 3), stride=(1, 1), last=False, source="f32"):
        x, w = empty((n, ci, *size), last=last), empty((co, ci, *kernel))
        y = empty((n, co, *(-(-s // t) for s, t in zip(size, stride))), last=last)
        strides = [harness.element_strides(v) for v in (x, w, y)]
        problem = conv_problem.forward_problem(
            x.shape, strides[0], w.shape, strides[1], strides[2], stride, (1, 1), (1, 1), 1
        )
        spec = conv.choose(ConvSpec(source, "f32", source), HOST, [problem])
        assert spec.last == (spec.winograd and last)
        return spec.winograd

    assert chosen(8, 64, 64, (56, 56)) and chosen(1, 128, 128, (28, 28))
    assert chosen(8, 3, 64, (56, 56)) and chosen(8, 64, 8, (56, 56))
    assert not chosen(8, 64, 8, (2, 2)) and not chosen(8, 3, 64, (2, 2))
    assert not chosen(8, 64, 64, (56, 56), stride=(2, 2)) and not chosen(8, 64, 64, (56, 56), kernel=(3, 5))
    assert chosen(8, 64, 64, (56, 56), last=True) and chosen(1, 128, 128, (28, 28), last=True)
    assert not chosen(8, 3, 64, (56, 56), last=True) and not chosen(1, 64, 8, (2, 2), last=True)
    assert not chosen(8, 64, 64, (56, 56), source="bf16")
    assert not chosen(1, 512, 512, (2, 2))


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("last", range(8))
@pytest.mark.parametrize("spec", [F32, DIRECT], ids=["packed", "direct"])
def test_forward(case, last, spec):
    n, ci, co, size, kernel, stride, padding, dilation, groups = case
    rng = np.random.default_rng(0)
    x = normal(rng, (n, ci, *size), last=last & 1)
    w = normal(rng, (co, ci // groups, *kernel), last=last & 2)
    exact = exact_forward(x, w, stride, padding, dilation, groups)
    y = empty(exact.shape, last=last & 4)
    forward(spec, x, w, y, stride, padding, dilation, groups, threads=2)
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=2e-5 * np.sqrt(w[0].size))


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("last", range(8))
@pytest.mark.parametrize("spec", [F32, DIRECT], ids=["packed", "direct"])
def test_input_gradient(case, last, spec):
    n, ci, co, size, kernel, stride, padding, dilation, groups = case
    rng = np.random.default_rng(1)
    sizes = [conv.output_size(*v) for v in zip(size, kernel, stride, padding, dilation)]
    dy = normal(rng, (n, co, *sizes), last=last & 1)
    w = normal(rng, (co, ci // groups, *kernel), last=last & 2)
    exact = exact_input_gradient(dy, w, (n, ci, *size), stride, padding, dilation, groups)
    dx = empty(exact.shape, last=last & 4)
    input_gradient(spec, dx, w, dy, stride, padding, dilation, groups, threads=2)
    np.testing.assert_allclose(dx, exact, rtol=1e-5, atol=2e-5 * np.sqrt(w[:, 0].size))


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("last", range(8))
@pytest.mark.parametrize("spec", [F32, DIRECT], ids=["packed", "direct"])
def test_weight_gradient(case, last, spec):
    n, ci, co, size, kernel, stride, padding, dilation, groups = case
    rng = np.random.default_rng(3)
    sizes = [conv.output_size(*v) for v in zip(size, kernel, stride, padding, dilation)]
    dy = normal(rng, (n, co, *sizes), last=last & 1)
    x = normal(rng, (n, ci, *size), last=last & 2)
    exact = exact_weight_gradient(dy, x, (co, ci // groups, *kernel), stride, padding, dilation, groups)
    dw = empty(exact.shape, last=last & 4)
    weight_gradient(spec, dw, dy, x, stride, padding, dilation, groups, threads=2)
    np.testing.assert_allclose(dw, exact, rtol=1e-5, atol=2e-5 * np.sqrt(dy[:, 0].size))


@pytest.mark.parametrize("code", ["f64", "bf16", "f16"])
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("direct", [False, True])
def test_other_types(code, case, direct):
    n, ci, co, size, kernel, stride, padding, dilation, groups = case
    rng = np.random.default_rng(2)
    acc = "f64" if code == "f64" else "f32"
    spec = ConvSpec(code, acc, code, direct=direct)
    unit = {"f64": 1e-13, "bf16": 8e-3, "f16": 1e-3}[code]
    for last in range(2):
        x, w = normal(rng, (n, ci, *size), NUMPY[code], last), normal(rng, (co, ci // groups, *kernel), NUMPY[code])
        exact = exact_forward(x, w, stride, padding, dilation, groups)
        y = empty(exact.shape, NUMPY[code], last)
        forward(spec, x, w, y, stride, padding, dilation, groups)
        np.testing.assert_allclose(y.astype(np.float64), exact, rtol=unit, atol=1e-4 if acc == "f32" else 1e-12)
        dy = normal(rng, exact.shape, NUMPY[code], last)
        exact = exact_input_gradient(dy, w, x.shape, stride, padding, dilation, groups)
        dx = empty(x.shape, NUMPY[code], last)
        input_gradient(spec, dx, w, dy, stride, padding, dilation, groups)
        np.testing.assert_allclose(dx.astype(np.float64), exact, rtol=unit, atol=1e-4 if acc == "f32" else 1e-12)
        exact = exact_weight_gradient(dy, x, w.shape, stride, padding, dilation, groups)
        dw = empty(w.shape, NUMPY[code])
        weight_gradient(spec, dw, dy, x, stride, padding, dilation, groups)
        np.testing.assert_allclose(dw.astype(np.float64), exact, rtol=unit, atol=2e-4 if acc == "f32" else 1e-12)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("spec", [F32, DIRECT], ids=["packed", "direct"])
def test_bias_of_channels(last, spec):
    rng = np.random.default_rng(4)
    x, w, bias = normal(rng, (3, 4, 9, 10), last=last), normal(rng, (6, 2, 3, 3)), normal(rng, (6,))
    exact = exact_forward(x, w, (1, 1), (1, 1), (1, 1), 2) + bias[:, None, None]
    y = empty(exact.shape, last=last)
    with_bias = dataclasses.replace(spec, epilogue=AddIn("f32", "f32", "f32"))
    # a row is a channel within its group: strides of groups, rows and columns
    forward(with_bias, x, w, y, (1, 1), (1, 1), (1, 1), 2, extra=[bias], words=(3, 1, 0))
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-5)


SWEPT = [(1, 16, 13, (12, 14)), (3, 20, 23, (5, 9)), (2, 33, 7, (9, 9)), (1, 900, 20, (5, 8)), (2, 5, 3, (40, 3))]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("case", SWEPT, ids=str)
def test_epilogues_in_registers(case, kernel, last):
    n, ci, co, size = case
    rng = np.random.default_rng(6)
    x, w, bias = normal(rng, (n, ci, *size), last=last), normal(rng, (co, ci, kernel, kernel)), normal(rng, (co,))
    around = (kernel // 2,) * 2
    exact = exact_forward(x, w, (1, 1), around, (1, 1), 1) + bias[:, None, None]
    residual = normal(rng, exact.shape, last=last)
    # an image of several is not stepped through evenly unless its channels come last
    steps = (0, 1, co) if last else (0, size[0] * size[1], 1)
    formula = Formula(
        "f32", ("f32", "f32"),
        (("add", "f32", "f32", (0, 1), 0), ("add", "f32", "f32", (3, 2), 0), ("max", "f32", "f32", (4, 1), 0)),
    )  # fmt: skip
    operands = [(AddIn("f32", "f32", "f32"), (0, 1, 0), (bias,), exact)]
    if last or n == 1:
        both = np.maximum(exact + residual, bias[:, None, None])
        operands.append((formula, (0, 1, 0, *steps), (bias, residual), both))
    for tail, words, extra, wanted in operands:
        results = []
        for threads in (1, 2):
            y = empty(exact.shape, last=last)
            spec = dataclasses.replace(F32, epilogue=tail.bound(words, last))
            assert spec.epilogue.straight
            forward(spec, x, w, y, (1, 1), around, (1, 1), 1, extra=extra, words=words, threads=threads)
            np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=3e-6 * np.sqrt(ci * kernel**2))
            results.append(y)
        np.testing.assert_array_equal(*results)


def test_which_epilogues_are_computed_in_registers():
    def formula(op, known):
        code = (("add", "f32", "f32", (0, 1), 0), (op, "f32", "f32", (2,), 0))
        return Formula("f32", ("f32",), code, None, known)

    assert Plain("f32", "f32").straight and formula("neg", ((1, 0),)).straight
    assert not AddIn("f32", "f32", "f32").straight and AddIn("f32", "f32", "f32").bound((0, 1, 0), False).straight
    assert not AddIn("f32", "f32", "f32").bound((0, 1, 3), False).straight
    # functions would want the registers of the sums, strides that are not known make branches
    assert not formula("sigmoid", ((1, 0),)).straight and not formula("neg", ((1, None),)).straight
    assert not dataclasses.replace(formula("neg", ((1, 0),)), kept=2).straight


def test_bias_where_pixels_are_few():
    rng = np.random.default_rng(4)
    x, w, bias = normal(rng, (1, 40, 5, 7)), normal(rng, (70, 40, 3, 3)), normal(rng, (70,))
    exact = exact_forward(x, w, (1, 1), (1, 1), (1, 1), 1) + bias[:, None, None]
    y = empty(exact.shape)
    with_bias = dataclasses.replace(F32, epilogue=AddIn("f32", "f32", "f32"))
    forward(with_bias, x, w, y, (1, 1), (1, 1), (1, 1), 1, extra=[bias], words=(0, 1, 0))
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("rows", [40, 600])
@pytest.mark.parametrize("size", [(14, 14), (9, 7)])
def test_pixels_of_a_single_tap_are_packed_for_many_rows(rows, size):
    rng = np.random.default_rng(5)
    x, w = normal(rng, (2, 36, *size)), normal(rng, (rows, 36, 1, 1))
    strides = [harness.element_strides(v) for v in (x, w)]
    y = empty((2, rows, *size))
    bound = conv.bind_forward(
        F32, HOST, x.shape, strides[0], w.shape, strides[1], harness.element_strides(y), (1, 1), (0, 0), (1, 1), 1, 0, 1
    )  # fmt: skip
    assert bound.params[conv._WORDS.index["x_direct"]] == (rows == 40)
    forward(F32, x, w, y, (1, 1), (0, 0), (1, 1), 1)
    np.testing.assert_allclose(y, exact_forward(x, w, (1, 1), (0, 0), (1, 1), 1), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("isa", ISA.available())
@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("code", ["f32", "f64", "bf16"])
def test_other_instruction_sets(isa, direct, code):
    isa = ISA.named(isa)
    spec = ConvSpec(code, "f64" if code == "f64" else "f32", code, direct=direct)
    rng = np.random.default_rng(5)
    unit = {"f64": 1e-13, "f32": 1e-5, "bf16": 8e-3}[code]
    for case in (
        (2, 5, 7, (9, 10), (3, 3), (1, 1), (1, 1), (1, 1), 1),
        (1, 4, 6, (11, 12), (3, 2), (2, 2), (1, 0), (1, 2), 2),
    ):
        n, ci, co, size, kernel, *rest = case
        x, w = normal(rng, (n, ci, *size), NUMPY[code]), normal(rng, (co, ci // rest[-1], *kernel), NUMPY[code])
        exact = exact_forward(x, w, *rest)
        y = empty(exact.shape, NUMPY[code])
        forward(spec, x, w, y, *rest, isa=isa)
        np.testing.assert_allclose(y.astype(np.float64), exact, rtol=unit, atol=10 * unit)
        dy = normal(rng, y.shape, NUMPY[code])
        dx, dw = empty(x.shape, NUMPY[code]), empty(w.shape, NUMPY[code])
        input_gradient(spec, dx, w, dy, *rest, isa=isa)
        weight_gradient(spec, dw, dy, x, *rest, isa=isa)
        exact = exact_input_gradient(dy, w, x.shape, *rest)
        np.testing.assert_allclose(dx.astype(np.float64), exact, rtol=unit, atol=10 * unit)
        exact = exact_weight_gradient(dy, x, w.shape, *rest)
        np.testing.assert_allclose(dw.astype(np.float64), exact, rtol=unit, atol=10 * unit)


@pytest.mark.parametrize("module", [conv, conv_weight], ids=["forward", "weight"])
@pytest.mark.parametrize("direct", [False, True])
def test_code_for_arm(module, direct):
    isa = ISA.named("neon")
    for request in module.requests(ConvSpec("f32", "f32", "f32", direct=direct), isa):
        assert llvm.assembly(request.make_ir(), isa)


@pytest.mark.parametrize("spec", [F32, DIRECT], ids=["packed", "direct"])
def test_same_bits_for_any_number_of_threads(spec):
    rng = np.random.default_rng(6)
    groups = 1 if spec is F32 else 8
    x, w = normal(rng, (6, 24, 20, 21)), normal(rng, (40, 24 // groups, 3, 3))
    dy = normal(rng, (6, 40, 20, 21))
    results = []
    for threads in (1, 2):
        y, dx, dw = empty(dy.shape), empty(x.shape), empty(w.shape)
        forward(spec, x, w, y, (1, 1), (1, 1), (1, 1), groups, threads=threads)
        input_gradient(spec, dx, w, dy, (1, 1), (1, 1), (1, 1), groups, threads=threads)
        weight_gradient(spec, dw, dy, x, (1, 1), (1, 1), (1, 1), groups, threads=threads)
        results.append((y.tobytes(), dx.tobytes(), dw.tobytes()))
    assert results[0] == results[1]


def test_transposed_convolution_with_output_padding():
    rng = np.random.default_rng(7)
    x, w = normal(rng, (2, 3, 5, 6)), normal(rng, (3, 4, 3, 3))
    y = empty((2, 4, 10, 12))  # stride 2, padding 1, output padding 1
    input_gradient(F32, y, w, x, (2, 2), (1, 1), (1, 1), 1)
    np.testing.assert_allclose(y, exact_input_gradient(x, w, y.shape, (2, 2), (1, 1), (1, 1), 1), rtol=1e-5, atol=1e-5)


def test_views_and_broadcast_weights():
    rng = np.random.default_rng(8)
    x = normal(rng, (2, 9, 22, 26))[:, 1::2, ::2, ::2]
    w = np.broadcast_to(normal(rng, (5, 1, 3, 3)), (5, 4, 3, 3))
    y = empty((2, 10, 11, 26))[:, ::2, :, ::2]
    forward(F32, x, w, y, (1, 1), (1, 1), (1, 1), 1)
    np.testing.assert_allclose(y, exact_forward(x, w, (1, 1), (1, 1), (1, 1), 1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spec", [F32, DIRECT], ids=["packed", "direct"])
def test_nothing_to_do(spec):
    w = np.ones((3, 2, 3, 3), np.float32)
    y = empty((0, 3, 4, 4))
    forward(spec, np.ones((0, 2, 4, 4), np.float32), w, y, (1, 1), (1, 1), (1, 1), 1)
    dw = empty(w.shape)
    weight_gradient(spec, dw, y, np.ones((0, 2, 4, 4), np.float32), (1, 1), (1, 1), (1, 1), 1)
    np.testing.assert_array_equal(dw, 0)


def test_nonfinite_values_spread_to_their_neighbours_only():
    rng = np.random.default_rng(9)
    x, w = normal(rng, (2, 3, 8, 9)), normal(rng, (4, 3, 3, 3))
    x[1, 2, 4, 5] = np.nan
    y = empty((2, 4, 8, 9))
    forward(F32, x, w, y, (1, 1), (1, 1), (1, 1), 1)
    spoilt = np.zeros(y.shape, bool)
    spoilt[1, :, 3:6, 4:7] = True
    np.testing.assert_array_equal(np.isnan(y), spoilt)


@st.composite
def convolutions(draw):
    """Arguments of a convolution: sizes, and strides, padding, dilation, groups."""
    rank = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 3))
    ci, co = (groups * draw(st.integers(1, 18)) for _ in range(2))
    kernel = [draw(st.integers(1, 4)) for _ in range(rank)]
    stride, dilation = ([draw(st.integers(1, 3)) for _ in range(rank)] for _ in range(2))
    padding = [draw(st.integers(0, 3)) for _ in range(rank)]
    size = [draw(st.integers(max(1, d * (k - 1) + 1 - 2 * p), 20)) for k, d, p in zip(kernel, dilation, padding)]
    return draw(st.integers(1, 3)), ci, co, size, kernel, stride, padding, dilation, groups


@given(convolutions(), st.booleans(), st.integers(0, 7))
def test_any_convolution(case, direct, last):
    n, ci, co, size, kernel, *rest = case
    rng = np.random.default_rng(sum(size))
    x = normal(rng, (n, ci, *size), last=last & 1)
    w = normal(rng, (co, ci // rest[-1], *kernel), last=last & 2)
    exact = exact_forward(x, w, *rest)
    spec = DIRECT if direct else F32
    y, dx, dw = empty(exact.shape, last=last & 4), empty(x.shape), empty(w.shape)
    forward(spec, x, w, y, *rest)
    np.testing.assert_allclose(y, exact, rtol=1e-5, atol=1e-4)
    dy = normal(rng, y.shape)
    input_gradient(spec, dx, w, dy, *rest)
    np.testing.assert_allclose(dx, exact_input_gradient(dy, w, x.shape, *rest), rtol=1e-5, atol=1e-4)
    weight_gradient(spec, dw, dy, x, *rest)
    # a weight's gradient is the sum of a product for each pixel, whose rounding errors grow as the root of their number
    limit = 6e-6 * np.sqrt(y[:, 0].size) + 2e-5
    np.testing.assert_allclose(dw, exact_weight_gradient(dy, x, w.shape, *rest), rtol=1e-5, atol=limit)


@pytest.mark.parametrize(
    "case", [(1, 256, 7, 1024, 1), (3, 256, 7, 1024, 1), (1, 128, 14, 512, 2), (1, 512, 7, 512, 1)]
)
def test_weights_kept_packed_beside_pixels_that_are_packed_for_everyone(case):
    """Few pixels by many weights, called often enough that the weights are kept."""
    n, ci, size, co, stride = case
    rng = np.random.default_rng(0)
    x, w = normal(rng, (n, ci, size, size)), normal(rng, (co, ci, 3, 3))
    exact = exact_forward(x, w, (stride, stride), (1, 1), (1, 1), 1)
    layer = flambeau.nn.Sequential(flambeau.nn.Conv2d(ci, co, 3, stride, 1, bias=False)).eval()
    image = flambeau.tensor(x)
    with flambeau.no_grad():
        layer[0].weight.copy_(flambeau.tensor(w))
        for _ in range(6):
            y = layer(image)
    np.testing.assert_allclose(y.numpy(), exact, rtol=1e-4, atol=1e-4 * np.abs(exact).max())


@pytest.mark.parametrize(
    "sizes", [(1, 16, 20, 13, 29), (1, 24, 33, 7, 7), (3, 40, 18, 40, 31), (5, 24, 33, 7, 7)], ids=str
)
@pytest.mark.parametrize("last", [False, True])
def test_tiles_of_short_sums_are_finished_together(sizes, last):
    n, ci, co, high, wide = sizes
    rng = np.random.default_rng(0)
    x, w = normal(rng, (n, ci, high, wide), last=last), normal(rng, (co, ci, 1, 1))
    bias, more = normal(rng, (co,)), normal(rng, (n, co, high, wide), last=last)
    exact = exact_forward(x, w, (1, 1), (0, 0), (1, 1), 1) + bias[:, None, None]

    def program(x, w, bias, more):
        return flambeau.relu(flambeau.nn.functional.conv2d(x, w, bias) + more)

    with flambeau.no_grad():
        y = flambeau.compile(program)(*map(flambeau.from_numpy, (x, w, bias, more)))
    np.testing.assert_allclose(y.numpy(), np.maximum(exact + more, 0), rtol=1e-5, atol=1e-4)
