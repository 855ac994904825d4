"""The second call of an operator takes a shorter way than the first: it must not mean anything else."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as fl


def twice(call):  # type: ignore[no-untyped-def]
    first, second = call(), call()
    assert first.tolist() == second.tolist() and first.dtype is second.dtype
    return second


def test_static_arguments_of_equal_value_and_other_type_are_told_apart() -> None:
    x = fl.tensor([1, 2, 3])
    assert twice(lambda: x**2).dtype is fl.int64
    assert twice(lambda: x**2.0).dtype is fl.float32
    assert twice(lambda: x.sum(0)).tolist() == 6
    assert twice(lambda: x.sum(0, dtype=fl.float64)).dtype is fl.float64


def test_layout_offset_and_memory_are_read_at_each_call() -> None:
    base = fl.arange(24.0).view(4, 6)
    for row in range(3):
        assert fl.cat([base[row], base[row + 1]]).tolist() == list(range(6 * row, 6 * row + 12))
        assert base[row : row + 2].softmax(-1).sum(1).numpy() == pytest.approx(np.ones(2))
    assert fl.cat([base[0].double(), base[1]]).dtype is fl.float64
    assert fl.stack([base[:, 0], base[:, 1]], 1).tolist() == base[:, :2].tolist()


def test_gradients_are_recorded_on_every_call() -> None:
    x = fl.ones(3, requires_grad=True)
    for _ in range(3):
        x.grad = None
        fl.cat([x, fl.zeros(1)]).sum(0).backward()
        assert x.grad.tolist() == [1, 1, 1]
    with fl.no_grad():
        assert fl.cat([x, x]).grad_fn is None
    assert fl.cat([x.detach(), fl.zeros(1)]).grad_fn is None


def test_errors_of_kernels_are_raised_on_every_call() -> None:
    x = fl.arange(3.0)
    x.index_select(0, fl.tensor([1]))
    for _ in range(2):
        with pytest.raises(IndexError):
            x.index_select(0, fl.tensor([7]))
    assert x.index_select(0, fl.tensor([2])).tolist() == [2.0]


def test_out_is_written_after_plain_calls() -> None:
    x, out = fl.ones(2), fl.zeros(4)
    fl.cat([x, x])
    assert fl.cat([x, x], out=out) is out and out.tolist() == [1] * 4


def test_subclasses_are_asked_after_plain_calls() -> None:
    class Tagged(fl.Tensor):
        pass

    x = fl.ones(2, 2)
    x.sum(0)
    assert type(x.as_subclass(Tagged).sum(0)) is Tagged
    assert type(fl.cat([x, x.as_subclass(Tagged)])) is Tagged
