"""The second call of an operator takes a shorter way than the first: it must not mean anything else."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import flambeau as fl
from flambeau.dispatch.operator import OPERATORS


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


def test_the_tables_of_short_paths_are_used() -> None:
    """A call in place, one with a number and one with several results are planned into tables that skip dispatch."""
    a, b = fl.arange(6.0), fl.ones(6)
    a.add_(b)
    a.mul_(2.0)
    a[:3] = b[:3]
    assert all(
        any(plan is not None for plan in OPERATORS[name].hot_inplace.values()) for name in ("add", "mul", "copy")
    )
    assert a.tolist() == [1.0, 1.0, 1.0, 8.0, 10.0, 12.0]
    a * 3.5
    assert any(plan is not None for key, plan in OPERATORS["mul"].hot.items() if float in key)
    values, places = fl.eye(3).max(1)
    assert (values.tolist(), places.tolist()) == ([1.0] * 3, [0, 1, 2])


def test_numbers_that_do_not_fit_leave_the_short_path() -> None:
    """An int beyond 64 bits is refused as on the first call, and nothing is written."""
    a = fl.arange(3)
    a + 1
    a.add_(1)
    with pytest.raises(RuntimeError, match="overflow"):
        a + (1 << 70)
    with pytest.raises(RuntimeError, match="overflow"):
        a.add_(1 << 70)
    assert a.tolist() == [1, 2, 3]


def test_a_kernel_that_reads_nothing_fills_results_of_every_size() -> None:
    """x ** 0 is a constant: bound for one size first, its short path must not write as many elements for another."""
    for n in (384, 48, 384, 48, 5):
        x = fl.full((n,), 3.0)
        around = [fl.full((n,), 7.0) for _ in range(3)]
        for _ in range(3):
            assert (x**0.0).tolist() == [1.0] * n
        assert all(t.tolist() == [7.0] * n for t in around)


def test_numpy_names_of_parameters() -> None:
    x = fl.arange(6.0).reshape(2, 3)
    for _ in range(3):  # the second call is a short one
        assert fl.sum(x, axis=1).tolist() == [3, 12] and x.sum().item() == 15
        assert x.mean(axis=0, keepdims=True).shape == (1, 3) and fl.cat([x, x], axis=1).shape == (2, 6)
        assert fl.softmax(x, axis=1).shape == x.shape and x.unsqueeze(axis=1).shape == (2, 1, 3)
        assert fl.equal(fl.max(x, axis=1).values, x.max(1).values) and fl.prod(x, axis=0).shape == (3,)
        assert x.all(axis=-1).tolist() == [False, True]
    with pytest.raises(TypeError, match="'dim'"):
        fl.softmax(x)
    with pytest.raises(TypeError):
        fl.sum(x, 1, False, 2)


def test_plans_outlive_being_bound_to_more_threads():
    """A plan with scratch memory is bound again for more threads; calls with fewer threads run the earlier code."""
    x, w = fl.randn(2, 16, 40, 40), fl.randn(32, 16, 3, 3)
    threads = fl.get_num_threads()
    results = []
    try:
        for count in (1, 2, 1, 3, 2, 1):
            fl.set_num_threads(count)
            results.append(fl.nn.functional.conv2d(x, w).numpy().tobytes())
            gc.collect()
    finally:
        fl.set_num_threads(threads)
    assert len(set(results)) == 1


def test_calls_in_place_with_static_arguments_take_a_short_path() -> None:
    start = fl.arange(12.0).reshape(3, 4)
    step = fl.full((3, 4), 2.0)
    for _ in range(3):  # the second and third call take it
        x = start.clone()
        assert x.lerp_(step, 0.25) is x
        assert fl.equal(x, start + (step - start) * 0.25)
        x.add_(step, alpha=3)
        assert fl.equal(x, start + (step - start) * 0.25 + 6)
        assert x._version == 2
        part = start.clone()
        part[1:].addcmul_(part[1:], step[1:], value=0.5)  # an operand that is the target itself
        assert fl.equal(part[1:], start[1:] * 2) and fl.equal(part[0], start[0])
        turned = start[:, :3].clone()
        with pytest.raises(RuntimeError, match="refer to a single memory location"):
            turned.lerp_(turned.t(), 0.5)  # an operand that shares its memory otherwise
        assert fl.equal(turned, start[:, :3])


def test_calls_in_place_on_the_short_path_are_recorded_and_refused_as_ever() -> None:
    weight = fl.nn.Parameter(fl.ones(3))
    for _ in range(3):
        x = fl.full((3,), 2.0, requires_grad=True)
        y = x * 3
        y.lerp_(weight, 0.5)
        y.sum().backward()
        assert x.grad is not None and x.grad.tolist() == [1.5] * 3
        with pytest.raises(RuntimeError, match="leaf"):
            weight.lerp_(x.detach(), 0.5)
        with fl.no_grad():
            before = weight.detach().clone()
            weight.lerp_(x.detach(), 0.5)
        assert fl.equal(weight.detach(), (before + 2) / 2)


def test_lists_of_dimensions_are_read_at_each_call() -> None:
    x = fl.arange(6.0).reshape(2, 3)
    dims = [0]
    for _ in range(3):  # from the second on by the short path
        assert x.sum(dims).tolist() == [3.0, 5.0, 7.0]
    dims[0] = 1
    assert x.sum(dims).tolist() == [3.0, 12.0]
    assert x.sum((1,)).tolist() == x.sum(1).tolist() == [3.0, 12.0]
    with pytest.raises(TypeError):
        x.sum([{}])
    with pytest.raises(TypeError):
        fl.cat(5)
