"""Moves and reshapes of values: every way to say the same view of a value becomes one node."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from flambeau.graph.node import Graph
from flambeau.layout import contiguous_strides


def read(node, values):
    """What a chain of moves and reshapes of an input shows of its values."""
    if node.op == "input":
        return values
    below = read(node.inputs[0], values)
    if node.op == "reshape":
        return below.reshape(node.shape)
    index = np.indices(node.shape)
    places = [sum((c * index[d] for d, c in terms), np.full(node.shape, first)) for first, terms in node.attrs[0]]
    return below[tuple(places)] if places else np.broadcast_to(below, node.shape)


def factors(draw, n):
    """A shape with so many elements."""
    shape = []
    while n > 1:
        k = draw(st.sampled_from([k for k in range(2, n + 1) if n % k == 0]))
        shape.append(k)
        n //= k
    return tuple(shape)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_views_of_views_show_the_same_elements(data):
    n = data.draw(st.sampled_from([1, 6, 12, 16, 36, 60]))
    graph = Graph()
    shape = factors(data.draw, n)
    node = graph.input(0, shape, contiguous_strides(shape), "f32")
    values = plain = np.arange(n).reshape(shape)
    for _ in range(data.draw(st.integers(1, 5))):
        what = data.draw(st.sampled_from(["reshape", "permute", "flat", "slice"]))
        rank = len(node.shape)
        if what == "reshape":
            node = graph.reshape(node, factors(data.draw, math.prod(node.shape)))
            plain = plain.reshape(node.shape)
        elif what == "permute":
            dims = data.draw(st.permutations(range(rank)))
            node, plain = graph.permute(node, dims), plain.transpose(dims)
        elif what == "slice" and rank:
            d = data.draw(st.integers(0, rank - 1))
            first = data.draw(st.integers(0, node.shape[d] - 1))
            map_ = tuple((first if k == d else 0, ((k, 1),)) for k in range(rank))
            part = tuple(s - first if k == d else s for k, s in enumerate(node.shape))
            node, plain = (
                graph.move(node, map_, part),
                plain[tuple(slice(first if k == d else 0, None) for k in range(rank))],
            )
        else:  # strides over the elements in a row, in another order
            size = math.prod(node.shape)
            flat = graph.reshape(node, (size,))
            parts = factors(data.draw, size)
            dims = data.draw(st.permutations(range(len(parts))))
            steps = contiguous_strides(parts)
            terms = tuple((k, steps[d]) for k, d in enumerate(dims))
            node = graph.move(flat, ((0, terms),), tuple(parts[d] for d in dims))
            plain = plain.reshape(parts).transpose(dims)
        assert node.shape == plain.shape
        np.testing.assert_array_equal(read(node, values), plain)


def test_strides_over_a_row_are_a_transposition():
    graph = Graph()
    x = graph.input(0, (6, 4), (4, 1), "f32")
    flat = graph.reshape(x, (24,))
    assert graph.move(flat, ((0, ((0, 1), (1, 4))),), (4, 6)) is graph.permute(x, (1, 0))
    joined = graph.move(x, ((0, ((0, 3), (1, 1))), (0, ((2, 1),))), (2, 3, 4))
    assert graph.reshape(joined, (24,)) is flat
    split = graph.input(1, (2, 3, 4), (12, 4, 1), "f32")
    turned = graph.move(graph.reshape(split, (24,)), ((0, ((0, 1), (1, 4))),), (4, 6))
    assert turned is graph.permute(graph.reshape(split, (6, 4)), (1, 0))
