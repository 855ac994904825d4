"""``Tensor.grad_dtype``: the element type of the gradients that a leaf accumulates."""

from __future__ import annotations

import pytest

import flambeau as torch


def test_default_is_the_tensors_own() -> None:
    assert torch.ones(2, requires_grad=True).grad_dtype is torch.float32
    assert torch.ones(2, dtype=torch.int64).grad_dtype is torch.int64


def test_gradients_are_cast_and_summed_in_it() -> None:
    x = torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
    x.grad_dtype = torch.float32
    (x * 2).sum().backward()
    assert x.grad is not None and x.grad.dtype is torch.float32
    (x * 2).sum().backward()
    assert x.grad.dtype is torch.float32 and x.grad.tolist() == [4.0, 4.0, 4.0]
    assert torch.autograd.grad((x * 2).sum(), x)[0].dtype is torch.float32
    assert x.detach().grad_dtype is torch.bfloat16


def test_it_may_change_while_a_tape_holds_the_leaf() -> None:
    x = torch.ones(2, requires_grad=True)
    y = (x * 3).sum()
    x.grad_dtype = torch.float64
    y.backward()
    assert x.grad is not None and x.grad.dtype is torch.float64
    x.grad = None
    x.grad_dtype = torch.float32
    (x * 3).sum().backward()
    assert x.grad.dtype is torch.float32


def test_any_type() -> None:
    x = torch.ones(2, requires_grad=True)
    x.grad_dtype = None
    x.grad = torch.zeros(2, dtype=torch.float64)
    (x * 2).sum().backward()
    assert x.grad.dtype is torch.float64 and x.grad.tolist() == [2.0, 2.0]


def test_refusals() -> None:
    x = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"must be a torch\.dtype or None"):
        x.grad_dtype = 3
    x.grad = torch.zeros(2)
    with pytest.raises(RuntimeError, match="already a gradient"):
        x.grad_dtype = torch.float64
    x.grad = None
    x.grad_dtype = torch.float64
    with pytest.raises(RuntimeError, match="grad_dtype 'Double'"):
        x.grad = torch.zeros(2)
    y = x * 2
    with pytest.raises(RuntimeError, match="leaf"):
        _ = y.grad_dtype
    with pytest.raises(RuntimeError, match="leaf"):
        y.grad_dtype = torch.float64
