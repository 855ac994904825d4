"""Convolutions by few rows of weights, which read planes of their image in place, against PyTorch's."""

from __future__ import annotations

import re

import numpy as np
import pytest

import flambeau as torch
from flambeau import settings
from flambeau.nn import functional as F
from flambeau.runtime import llvm
from flambeau.target.isa import ISA
from flambeau.template import conv, conv_planes
from flambeau.template.conv_problem import ConvSpec, forward_problem, input_gradient_problems
from flambeau.template.micro import blocking, number

# batch, channels, size, results, window, stride, padding, dilation, groups
CASES = [
    (1, 3, (224, 224), 64, (7, 7), 2, 3, 1, 1),
    (2, 3, (33, 47), 20, (3, 3), 2, 1, 1, 1),
    (1, 3, (40, 19), 7, (5, 3), (1, 2), (2, 0), 1, 1),
    (1, 4, (30, 30), 8, (3, 3), 1, 2, 2, 1),
    (2, 24, (14, 14), 48, (3, 3), 1, 1, 1, 6),
    (1, 64, (28, 28), 64, (3, 3), 2, 1, 1, 8),
    (3, 2, (70,), 30, (4,), 1, 2, 1, 1),
    (1, 3, (9, 130), 5, (1, 6), 1, 0, 1, 1),
    (2, 3, (9, 11), 5, (3, 2), 1, 2, 1, 1),  # windows that lie outside of the image as a whole
    (2, 16, (6, 16, 16), 16, (3, 3, 3), 1, 1, 1, 1),
    (1, 4, (5, 12, 19), 6, (2, 3, 3), (2, 1, 2), (1, 2, 0), (2, 1, 1), 2),
]


def _problem(case, strides=None):
    n, ci, size, co, window, stride, padding, dilation, groups = case

    def each(value):
        return (value,) * len(size) if isinstance(value, int) else value

    stride, padding, dilation = each(stride), each(padding), each(dilation)
    w = torch.empty(co, ci // groups, *window)
    y = getattr(F, f"conv{len(size)}d")
    y = y(torch.zeros(n, ci, *size), w, None, stride, padding, dilation, groups)
    x = torch.empty(n, ci, *size)
    return forward_problem(
        x.shape, strides or x.stride(), w.shape, w.stride(), y.stride(), stride, padding, dilation, groups
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_cases_are_for_this_kernel(case):
    assert conv_planes.suits(ConvSpec("f32", "f32", "f32"), ISA.host(), [_problem(case)])


def test_not_for_images_with_channels_last_nor_for_single_pixels():
    spec, isa = ConvSpec("f32", "f32", "f32"), ISA.host()
    case = (1, 3, (32, 32), 16, (3, 3), 1, 1, 1, 1)
    assert not conv_planes.suits(spec, isa, [_problem(case, (3072, 1, 96, 3))])
    assert not conv_planes.suits(spec, isa, [_problem((1, 30, (32, 32), 16, (1, 1), 1, 0, 1, 1))])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("isa", ["native", "avx2", "x86-64"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values(case, isa, dtype):
    reference = pytest.importorskip("torch")
    n, ci, size, co, window, stride, padding, dilation, groups = case
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, ci, *size)).astype(dtype)
    w = rng.standard_normal((co, ci // groups, *window)).astype(dtype)
    bias = rng.standard_normal(co).astype(dtype)
    name = f"conv{len(size)}d"
    with settings.override(isa=isa):
        y = getattr(F, name)(
            torch.tensor(x), torch.tensor(w), torch.tensor(bias), stride, padding, dilation, groups
        )  # fmt: skip
    exact = getattr(reference.nn.functional, name)(
        *(reference.from_numpy(v).double() for v in (x, w, bias)), stride, padding, dilation, groups
    )
    limit = 2e-5 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(y.numpy(), exact.numpy(), rtol=limit, atol=limit * 5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("isa", ["native", "avx2", "x86-64"])
@pytest.mark.parametrize("case", [c for c in CASES if c[5] == 1], ids=str)
def test_gradients_by_the_image(case, isa, dtype):
    reference = pytest.importorskip("torch")
    n, ci, size, co, window, stride, padding, dilation, groups = case
    rng = np.random.default_rng(0)
    y = rng.standard_normal((n, ci, *size)).astype(dtype)
    w = rng.standard_normal((ci, co // groups, *window)).astype(dtype)
    if ci % groups or co % groups:
        return
    name = f"conv_transpose{len(size)}d"
    with settings.override(isa=isa):
        x = getattr(F, name)(torch.tensor(y), torch.tensor(w), None, stride, padding, 0, groups, dilation)
    exact = getattr(reference.nn.functional, name)(
        *(reference.from_numpy(v).double() for v in (y, w)), None, stride, padding, 0, groups, dilation
    )
    limit = 2e-5 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(x.numpy(), exact.numpy(), rtol=limit, atol=limit * 5)


def test_weights_in_another_order_are_copied():
    spec, isa = ConvSpec("f32", "f32", "f32"), ISA.host()
    problem = input_gradient_problems(
        (2, 16, 8, 16, 16), (32768, 2048, 256, 16, 1), (16, 16, 3, 3, 3), (432, 27, 9, 3, 1), (2, 16, 8, 16, 16),
        (32768, 2048, 256, 16, 1), (1, 1, 1), (1, 1, 1), (1, 1, 1), 1,
    )  # fmt: skip
    assert conv_planes.suits(spec, isa, problem)
    small = input_gradient_problems(
        (1, 16, 1, 5, 5), (400, 25, 25, 5, 1), (16, 16, 1, 3, 3), (144, 9, 9, 3, 1), (1, 16, 1, 5, 5),
        (400, 25, 25, 5, 1), (1, 1, 1), (0, 1, 1), (1, 1, 1), 1,
    )  # fmt: skip
    assert not conv_planes.suits(spec, isa, small)  # copying would take longer than what they are read for


def test_rows_are_swept_where_tiles_fill_them():
    isa = ISA.named("avx2")
    block = blocking(number("f32", "f32", "f32", isa), isa)
    assert block.columns == 16
    assert [conv_planes._swept(*sizes, block) for sizes in ((112, 113), (125, 130), (15, 16))] == [112, 112, 0]
    assert conv_planes._swept(17, 19, block) == 0  # 24 places would be computed for 19


@pytest.mark.parametrize("name", ["avx512", "avx2", "neon", "x86-64"])
def test_sums_of_a_swept_tile_stay_in_registers(name):
    isa = ISA.named(name)
    text = llvm.assembly(conv.make_ir(ConvSpec("f32", "f32", "f32", planes=True), isa), isa)
    sweeps = re.findall(r"^\S*sweep\d+:\n(.*?)\n\.Lfunc_end", text, re.S | re.M)
    assert len(sweeps) >= 3
    for body in sweeps:
        assert not re.search(r"[xyz]mm\d+, [-\d]*\(%rsp\)|[-\d]*\(%rsp\), %[xyz]mm\d+|\bldr\s+q\d+, \[sp", body)


def test_pixels_outside_are_zeros_also_beside_nan():
    x = torch.full((2, 3, 20, 20), float("nan"))
    x[:, :, 1:-1, 1:-1] = 1
    y = F.conv2d(x[:, :, 1:-1, 1:-1], torch.ones(5, 3, 3, 3), padding=1, stride=2)
    line = np.array([2.0] + [3.0] * 8)
    np.testing.assert_array_equal(y.numpy(), np.broadcast_to(3 * np.outer(line, line), (2, 5, 9, 9)))


def test_the_number_of_threads_does_not_matter():
    x, w = torch.randn(2, 3, 90, 75), torch.randn(32, 3, 5, 5)
    had = torch.get_num_threads()
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append(F.conv2d(x, w, padding=2, stride=2).numpy().copy())
    torch.set_num_threads(had)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    "tail",
    [
        lambda y, r: F.relu6(y),
        lambda y, r: F.hardswish(y + r),
        lambda y, r: torch.tanh(y + r),  # needs registers of its own: tiles are stored before they are finished
        lambda y, r: (y * r).sum(1),
    ],
)
def test_what_follows_joins_it(tail):
    x, w, r = torch.randn(2, 8, 15, 21), torch.randn(12, 4, 3, 3), torch.randn(2, 12, 15, 21)

    def program(x):
        return tail(F.conv2d(x, w, padding=1, groups=2) * 0.5, r)

    with torch.no_grad():
        np.testing.assert_allclose(torch.compile(program)(x).numpy(), program(x).numpy(), rtol=1e-5, atol=1e-5)
