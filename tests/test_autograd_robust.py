"""Deep graphs, memory, threads and states after errors."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import numpy as np
import pytest

import flambeau as torch

DEEP = 100_000


def test_deep_graph_runs_and_is_freed() -> None:
    x = torch.ones(1, requires_grad=True)
    y = x
    for _ in range(DEEP):
        y = y + 1
    y.backward()
    assert x.grad is not None and x.grad.item() == 1.0
    del y
    assert gc.collect() >= 0


def test_deep_graph_of_saved_tensors_is_freed() -> None:
    x = torch.ones(1, requires_grad=True)
    y = x
    for _ in range(DEEP):
        y = y * 1.0000001
        y = y.neg()
    node = weakref.ref(y.grad_fn)
    del y
    assert node() is None


def test_deep_graph_with_targets() -> None:
    x = torch.ones(1, requires_grad=True)
    y = x
    for _ in range(DEEP):
        y = y + 1
    (found,) = torch.autograd.grad(y, x)
    assert found.item() == 1.0


def test_wide_graph() -> None:
    x = torch.ones(1, requires_grad=True)
    total = x
    for _ in range(5000):
        total = total + x
    total.backward()
    assert x.grad is not None and x.grad.item() == 5001.0


def test_graphs_leave_no_cycles() -> None:
    """What a step allocates is freed when the last name is gone, without the collector."""
    gc.collect()
    gc.disable()
    try:
        x = torch.ones(3, requires_grad=True)
        y = x.exp()
        z = (y * y).sum()
        z.backward()
        references = [weakref.ref(t) for t in (y, z)] + [weakref.ref(y.grad_fn), weakref.ref(z.grad_fn)]
        reference = weakref.ref(x)
        del y, z
        assert [r() for r in references] == [None] * 4
        del x
        assert reference() is None
    finally:
        gc.enable()


def test_unused_graph_leaves_no_cycles() -> None:
    gc.collect()
    gc.disable()
    try:
        x = torch.ones(2, 2, requires_grad=True)
        y = (x * 1).exp()
        y.mul_(2)
        y.view(4).add_(1)
        y.retain_grad()
        reference, node = weakref.ref(y), weakref.ref(y.grad_fn)
        del y
        assert reference() is None and node() is None
    finally:
        gc.enable()


def test_backward_frees_what_was_saved() -> None:
    x = torch.ones(3, requires_grad=True)
    y = x.exp()
    z = (y * y).sum()
    saved = weakref.ref(y._storage)
    del y
    assert saved() is not None
    z.backward()
    assert saved() is None


def test_leaf_owns_its_gradient() -> None:
    """The gradient that arrives becomes ``.grad`` without a copy when nobody else holds it."""
    x = torch.ones(1000, requires_grad=True)
    pointers: list[int] = []
    y = x * torch.full((1000,), 3.0)
    y.grad_fn.register_hook(lambda inputs, outputs: pointers.append(inputs[0].data_ptr()))
    y.backward(torch.ones(1000))
    assert x.grad is not None
    assert x.grad.data_ptr() == pointers[0]


def test_hook_that_keeps_the_gradient() -> None:
    """A gradient that somebody else holds is copied."""
    x = torch.ones(3, requires_grad=True)
    kept: list[Any] = []
    x.register_hook(kept.append)
    (x * 2).backward(torch.ones(3))
    (x * 2).backward(torch.ones(3))
    assert x.grad is not None
    np.testing.assert_array_equal(kept[0].numpy(), [2, 2, 2])
    np.testing.assert_array_equal(x.grad.numpy(), [4, 4, 4])


def test_states_after_an_error() -> None:
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            raise KeyError("backward")

    x = torch.ones(2, requires_grad=True)
    y = Fails.apply(x * 1).sum()
    with pytest.raises(KeyError, match="backward"):
        y.backward()
    assert torch.is_grad_enabled()
    assert torch.autograd.mode.current_task() is None
    assert x.grad is None
    (x * 2).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [2.0, 2.0]


def test_error_in_forward_of_function() -> None:
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            raise KeyError("forward")

    with pytest.raises(KeyError):
        Fails.apply(torch.ones(2, requires_grad=True))
    assert torch.is_grad_enabled()


def test_nested_backward_is_deep() -> None:
    """Functions whose backward runs a backward, inside each other."""

    class Checkpoint(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any, depth: int) -> Any:
            ctx.depth = depth
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            x = ctx.saved_tensors[0].detach().requires_grad_()
            with torch.enable_grad():
                y = Checkpoint.apply(x, ctx.depth - 1) if ctx.depth else x * 2
            torch.autograd.backward(y, grad)
            return x.grad, None

    x = torch.ones(2, requires_grad=True)
    Checkpoint.apply(x, 40).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [2.0, 2.0]


def test_threads_share_leaves() -> None:
    x = torch.ones(8, requires_grad=True)
    errors: list[BaseException] = []
    count, runs = 4, 50

    def work() -> None:
        try:
            assert torch.is_grad_enabled()
            for _ in range(runs):
                (x * 2).sum().backward()
        except BaseException as error:
            errors.append(error)

    with torch.no_grad():  # grad mode belongs to the thread
        threads = [threading.Thread(target=work) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy(), np.full(8, 2.0 * count * runs))


def test_threads_share_a_graph() -> None:
    x = torch.ones(4, requires_grad=True)
    y = (x * x).exp().sum()
    results: list[Any] = []

    def work() -> None:
        results.append(torch.autograd.grad(y, x, retain_graph=True)[0].numpy())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for found in results:
        np.testing.assert_allclose(found, np.full(4, 2 * np.e), rtol=1e-6)


def test_many_views_of_a_constant_base_are_forgotten() -> None:
    base = torch.zeros(2, 2)
    for _ in range(1000):
        base.view(4)
    extras = base._hooks
    assert extras is None or len(extras.views) < 64


def test_mode_of_a_new_thread() -> None:
    seen: list[bool] = []
    with torch.no_grad():
        thread = threading.Thread(target=lambda: seen.append(torch.is_grad_enabled()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_derivative_with_wrong_number_of_gradients() -> None:
    x = torch.ones(2, requires_grad=True)
    y = x * x
    node = y.grad_fn
    original = type(node)._derive
    try:
        type(node)._derive = staticmethod(lambda ctx, grad: (grad, grad, grad))
        with pytest.raises(RuntimeError, match="returned 3 gradients for 2 inputs"):
            y.sum().backward()
    finally:
        type(node)._derive = staticmethod(original)
