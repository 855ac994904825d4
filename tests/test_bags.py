"""Sums of rows of a table over bags: against sums in numpy, their gradients against finite differences, ranges and
indices that lie outside, batches of them, and the products of compressed sparse rows, which are the same sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as torch

F = torch.nn.functional


def expected(table: Any, index: Any, starts: Any, ends: Any, weights: Any, mean: bool, padding: int) -> np.ndarray:
    out = np.zeros((len(starts), table.shape[1]))
    for bag, (start, end) in enumerate(zip(starts, ends)):
        places = [k for k in range(start, end) if index[k] != padding]
        for k in places:
            out[bag] += table[index[k]].astype(np.float64) * (1 if weights is None else weights[k])
        if mean and places:
            out[bag] /= len(places)
    return out


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_sums_are_those_of_numpy(data: st.DataObject) -> None:
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, columns = draw(st.integers(1, 40)), draw(st.sampled_from([1, 2, 3, 7, 8, 16, 31, 64, 65, 130, 257]))
    count, bags = draw(st.integers(0, 90)), draw(st.integers(1, 12))
    kind, whole = draw(st.sampled_from(["f4", "f8"])), draw(st.sampled_from(["i4", "i8"]))
    table = rng.normal(size=(rows, columns)).astype(kind)
    index = rng.integers(0, rows, count).astype(whole)
    offsets = np.sort(rng.integers(0, count + 1, bags)).astype(whole)
    offsets[0] = 0
    mode = draw(st.sampled_from(["sum", "mean"]))
    weights = rng.normal(size=count).astype(kind) if mode == "sum" and draw(st.booleans()) else None
    padding = draw(st.integers(0, rows - 1)) if draw(st.booleans()) else None
    closed = draw(st.booleans()) and bags > 1
    ends = offsets[1:] if closed else np.append(offsets[1:], count)
    want = expected(
        table, index, offsets[: len(ends)], ends, weights, mode == "mean", -1 if padding is None else padding
    )
    wide = torch.from_numpy(np.repeat(table, 2, 1))[:, ::2] if draw(st.booleans()) else torch.from_numpy(table)
    found = F.embedding_bag(
        torch.from_numpy(index), wide, torch.from_numpy(offsets), mode=mode, include_last_offset=closed,
        padding_idx=padding, per_sample_weights=None if weights is None else torch.from_numpy(weights),
    )  # fmt: skip
    np.testing.assert_allclose(found.numpy(), want, rtol=2e-5 if kind == "f4" else 1e-12, atol=1e-5)


@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("padding", [None, 1])
def test_gradients(mode: str, padding: int | None) -> None:
    table = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    index, offsets = torch.tensor([0, 1, 4, 4, 1, 2]), torch.tensor([0, 2, 2, 5])
    weights = torch.rand(6, dtype=torch.float64, requires_grad=True) if mode == "sum" else None

    def call(table: Any, *weights: Any) -> Any:
        return F.embedding_bag(
            index, table, offsets, mode=mode, padding_idx=padding, per_sample_weights=(*weights, None)[0]
        )

    inputs = (table,) if weights is None else (table, weights)
    assert torch.autograd.gradcheck(call, inputs)
    assert torch.autograd.gradgradcheck(call, inputs)


def test_gradients_are_divided_by_how_often_a_row_is_used() -> None:
    table = torch.ones(4, 2, requires_grad=True)
    index = torch.tensor([[0, 1, 1], [1, 3, 0]])
    F.embedding_bag(index, table, mode="sum", scale_grad_by_freq=True).sum().backward()
    assert table.grad.tolist() == [[1.0, 1.0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]  # type: ignore[union-attr]


def test_what_lies_outside_is_refused() -> None:
    table = torch.ones(4, 20)
    for index in ([0, 4, 1], [0, -1, 1]):
        with pytest.raises(IndexError, match="out of range"):
            F.embedding_bag(torch.tensor(index), table, torch.tensor([0, 2]))
    for offsets in ([1, 2], [0, 4], [0, 2, 1], [0, -1, 2]):
        with pytest.raises(ValueError, match=r"offsets\[0\] has to be 0"):
            F.embedding_bag(torch.tensor([0, 1, 2]), table, torch.tensor(offsets))


def test_nothing_is_read_of_bags_that_are_empty() -> None:
    table = torch.full((2, 9), float("nan"))
    assert F.embedding_bag(torch.zeros(0, dtype=torch.int64), table, torch.tensor([0, 0])).tolist() == [[0.0] * 9] * 2
    found = F.embedding_bag(torch.tensor([0, 1]), table, torch.tensor([0, 0]), padding_idx=1, mode="sum")
    assert found[0].tolist() == [0.0] * 9 and found[1].isnan().all()


def test_results_do_not_depend_on_threads() -> None:
    table, index = torch.randn(1000, 96), torch.randint(0, 1000, (20000,))
    offsets = torch.arange(0, 20000, 7)
    before = torch.get_num_threads()
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(F.embedding_bag(index, table, offsets).numpy())
    torch.set_num_threads(before)
    assert all(np.array_equal(found[0], f) for f in found[1:])


def test_batches() -> None:
    tables, index = torch.randn(3, 6, 5), torch.randint(0, 6, (3, 8))
    offsets, weights = torch.tensor([0, 3, 3]), torch.rand(3, 8)

    def one(table: Any, index: Any, weights: Any) -> Any:
        return F.embedding_bag(index, table, offsets, mode="sum", per_sample_weights=weights)

    for dims in ((0, 0, 0), (None, 0, 0), (0, None, None), (None, 0, None)):
        args = [t if d == 0 else t[0] for t, d in zip((tables, index, weights), dims)]
        want = [one(*[t if d is None else t[k] for t, d in zip(args, dims)]) for k in range(3)]
        np.testing.assert_allclose(
            torch.func.vmap(one, in_dims=dims)(*args).numpy(), torch.stack(want).numpy(), rtol=1e-6
        )


def test_inside_of_a_compiled_step() -> None:
    table, index, offsets = torch.randn(30, 12), torch.randint(0, 30, (40,)), torch.arange(0, 40, 8)

    def step(index: Any) -> Any:
        return F.embedding_bag(index + 0, table * 2, offsets).relu()

    compiled = torch.compile(step)
    for _ in range(3):
        np.testing.assert_allclose(compiled(index).numpy(), step(index).numpy(), rtol=1e-6)


@pytest.mark.parametrize("columns", [1, 5, 64])
@pytest.mark.parametrize("whole", [torch.int32, torch.int64])
def test_products_of_compressed_rows(columns: int, whole: Any) -> None:
    dense = torch.randn(20, 30) * (torch.rand(20, 30) < 0.2)
    other = torch.randn(30, columns)
    c = dense.to_sparse_csr()
    c = torch.sparse_csr_tensor(c.crow_indices().to(whole), c.col_indices().to(whole), c.values(), dense.shape)
    np.testing.assert_allclose((c @ other).numpy(), dense.numpy() @ other.numpy(), rtol=1e-4, atol=1e-5)
    values = c.values().clone().requires_grad_()
    right = other.clone().requires_grad_()
    (torch.sparse_csr_tensor(c.crow_indices(), c.col_indices(), values, dense.shape) @ right).cos().sum().backward()
    slope = -np.sin(dense.numpy() @ other.numpy())
    np.testing.assert_allclose(right.grad.numpy(), dense.numpy().T @ slope, rtol=1e-4, atol=1e-4)  # type: ignore[union-attr]
    places = dense.numpy().nonzero()
    np.testing.assert_allclose(values.grad.numpy(), (slope @ other.numpy().T)[places], rtol=1e-4, atol=1e-4)  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("columns", [1, 13, 64])
def test_half_precision_is_rounded_once(kind: Any, columns: int) -> None:
    table, index = torch.randn(50, columns).to(kind), torch.randint(0, 50, (400,))
    offsets, weights = torch.tensor([0, 3, 3, 390]), torch.rand(400).to(kind)
    for mode, by in (("sum", weights), ("sum", None), ("mean", None)):
        wide = None if by is None else by.float()
        want = F.embedding_bag(index, table.float(), offsets, mode=mode, per_sample_weights=wide).to(kind)
        found = F.embedding_bag(index, table, offsets, mode=mode, per_sample_weights=by)
        assert found.dtype is kind and torch.equal(found, want)
    copy = table.clone().requires_grad_()
    F.embedding_bag(index, copy, offsets).float().square().sum().backward()
    assert copy.grad.dtype is kind and copy.grad.isfinite().all()  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize("padding", [None, 2])
@pytest.mark.parametrize("both", [False, True])
def test_bags_of_several_tables(mode, padding, both):
    """A batch of tables is one long table: rows that are left out are those of every member, and a row number beyond a
    table is not one of the next."""
    generator = torch.Generator().manual_seed(0)
    tables = torch.randn(3, 5, 9, generator=generator)
    index = torch.tensor([[[2, 1, 1], [0, 2, 4]], [[2, 2, 2], [3, 0, 1]], [[4, 4, 2], [0, 0, 0]]])

    def bags(index, table):
        return F.embedding_bag(index, table, mode=mode, padding_idx=padding)

    found = torch.vmap(bags, (0 if both else None, 0))(index if both else index[0], tables)
    expected = [bags(index[k if both else 0], tables[k]) for k in range(3)]
    np.testing.assert_allclose(found.numpy(), np.stack([e.numpy() for e in expected]), rtol=1e-6)
    for wrong in (5, -1):
        with pytest.raises(IndexError, match="out of range"):
            torch.vmap(bags, (None, 0))(torch.tensor([[0, wrong]]), tables)
