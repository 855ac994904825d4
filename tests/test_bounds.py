"""Ranges of indices: never narrower than what the computation can give, and told where they matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flambeau
from flambeau.graph.bounds import within
from flambeau.graph.node import Graph, Node

F = flambeau.nn.functional
_N = 7


def _numbers(draw: st.DrawFn, g: Graph, deep: int) -> tuple[Node, np.ndarray]:
    """A random integer value of length ``_N`` and its elements."""
    kind = draw(st.sampled_from(["iota", "const", "u8", "add", "sub", "mul", "min", "max", "neg", "select", "float"]))
    if deep == 0 or kind == "iota":
        return g.iota((_N,), 0), np.arange(_N)
    if kind == "const":
        value = draw(st.integers(-20, 20))
        return g.const(value, "i64", (_N,)), np.full(_N, value)
    if kind == "u8":
        values = np.array(draw(st.lists(st.integers(0, 255), min_size=_N, max_size=_N)))
        return g.cast(g.make("input", (), (0, (1,)), (_N,), "u8"), "i64"), values
    a, x = _numbers(draw, g, deep - 1)
    if kind == "neg":
        return g.apply("neg", a), -x
    if kind == "float":
        how, exact = draw(st.sampled_from([("floor", np.floor), ("ceil", np.ceil), ("rint", np.rint)]))
        scale = draw(st.floats(-4, 4, width=32))
        y = exact(x.astype(np.float32) * np.float32(scale))
        part = g.apply(how, g.apply("mul", g.cast(a, "f32"), g.const(scale, "f32", (_N,))))
        return g.cast(part, "i64"), y.astype(np.int64)
    b, y = _numbers(draw, g, deep - 1)
    if kind == "select":
        compare, numpy = draw(st.sampled_from([("lt", np.less), ("ge", np.greater_equal), ("le", np.less_equal)]))
        limit = draw(st.integers(-30, 30))
        inside, there = g.apply(compare, a, g.const(limit, "i64", (_N,))), numpy(x, limit)
        return g.apply("select", inside, a, b), np.where(there, x, y)
    return g.apply(kind, a, b), {"add": np.add, "sub": np.subtract, "mul": np.multiply, "min": np.minimum,
                                 "max": np.maximum}[kind](x, y)  # fmt: skip


@given(st.data())
def test_what_is_told_to_be_inside_is_inside(data: st.DataObject) -> None:
    node, values = _numbers(data.draw, Graph(), 5)
    size = data.draw(st.integers(1, 600))
    if within(node, size):
        assert values.min() >= 0
        assert values.max() < size


def test_ranges_of_usual_indices() -> None:
    g = Graph()
    zero, last = g.const(0, "i64", (_N,)), g.const(9, "i64", (_N,))
    given_ = g.make("input", (), (0, (1,)), (_N,), "i64")
    assert not within(given_, 10)
    assert within(g.apply("min", g.apply("max", given_, zero), last), 10)
    assert not within(g.apply("min", g.apply("max", given_, zero), last), 9)
    assert within(g.cast(g.make("input", (), (0, (1,)), (_N,), "u8"), "i64"), 256)
    assert not within(g.cast(g.make("input", (), (0, (1,)), (_N,), "i8"), "i64"), 256)
    narrow = g.apply("add", g.make("input", (), (0, (1,)), (_N,), "u8"), g.const(1, "u8", (_N,)))
    assert within(g.cast(narrow, "i64"), 256)  # it wraps around
    place = g.make("input", (), (0, (1,)), (_N,), "f32")
    inside = g.apply("and", g.apply("ge", place, g.const(0.0, "f32", (_N,))),
                     g.apply("le", place, g.const(9.0, "f32", (_N,))))  # fmt: skip
    chosen = g.apply("select", inside, place, g.const(0.0, "f32", (_N,)))
    assert within(g.cast(chosen, "i64"), 10)
    assert not within(g.cast(place, "i64"), 1 << 62)  # it may be no number


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e30, -1e30])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_images_sampled_at_no_place(bad: float, mode: str, padding: str) -> None:
    x = flambeau.randn(2, 40, 8, 8, requires_grad=True)
    grid = flambeau.zeros(2, 16, 16, 2)
    grid[:, 3, 5, 0] = bad
    result = F.grid_sample(x, grid, mode, padding, align_corners=True)
    clean = F.grid_sample(x, flambeau.zeros(2, 16, 16, 2), mode, padding, align_corners=True)
    keep = flambeau.ones(16, 16, dtype=flambeau.bool)
    keep[3, 5] = False
    assert flambeau.equal(result[:, :, keep], clean[:, :, keep])
    result.nan_to_num(0, 0, 0).sum().backward()
    assert x.grad.shape == x.shape


def test_computed_indices_outside_are_refused() -> None:
    x = flambeau.arange(10.0)
    with pytest.raises(IndexError):
        x[flambeau.arange(5) * 2 + 2]
    assert x[(flambeau.arange(5) * 2 + 1)].tolist() == [1, 3, 5, 7, 9]
