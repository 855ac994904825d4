"""``autograd.functional`` against PyTorch, and ``gradcheck`` on right and wrong derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from autograd_programs import Programs, check

import flambeau
from flambeau.autograd.gradcheck import GradcheckError, gradcheck, gradgradcheck

programs = Programs()


def numbers(torch: Any, *shape: int, start: float = 0.5) -> Any:
    count = int(np.prod(shape))
    return torch.tensor([start + 0.3 * i for i in range(count)], dtype=torch.float64).view(shape)


# -- functional --------------------------------------------------------------------------------------


@programs.add
def vjp(torch):
    x, w, v = numbers(torch, 3), numbers(torch, 2, 3), numbers(torch, 2, 3, start=-1.0)
    return torch.autograd.functional.vjp(lambda a, b: (a * b).exp(), (x, w), v)


@programs.add
def vjp_of_scalar(torch):
    return torch.autograd.functional.vjp(lambda a: (a * a).sum(), numbers(torch, 3))


@programs.add
def vjp_of_several(torch):
    x = numbers(torch, 3)
    return torch.autograd.functional.vjp(lambda a: (a * a, a.sum()), x, (x, torch.ones((), dtype=torch.float64)))


@programs.add
def vjp_creates_graph(torch):
    x = numbers(torch, 3).requires_grad_()
    _, product = torch.autograd.functional.vjp(lambda a: (a * a * a).sum(), x, create_graph=True)
    return product, torch.autograd.grad(product.sum(), x)


@programs.add
def jvp(torch):
    x, w = numbers(torch, 3), numbers(torch, 2, 3)
    return torch.autograd.functional.jvp(lambda a, b: (a * b).exp(), (x, w), (w[0].clone(), w * 2))


@programs.add
def jvp_of_several(torch):
    x = numbers(torch, 3)
    return torch.autograd.functional.jvp(lambda a: (a.sin(), (a * a).sum()), x, x * 3)


@programs.add
def jacobian(torch):
    x, w = numbers(torch, 3), numbers(torch, 2, 3)
    return torch.autograd.functional.jacobian(lambda a, b: ((a * b).exp(), a.sum()), (x, w))


@programs.add
def jacobian_of_one(torch):
    return torch.autograd.functional.jacobian(lambda a: a * a, numbers(torch, 2, 2))


@programs.add
def jacobian_vectorized(torch):
    return torch.autograd.functional.jacobian(lambda a: a * a, numbers(torch, 3), vectorize=True)


@programs.add
def jacobian_of_scalar_creates_graph(torch):
    x = numbers(torch, 3).requires_grad_()
    found = torch.autograd.functional.jacobian(lambda a: (a * a * a).sum(), x, create_graph=True)
    return found, torch.autograd.grad(found.sum(), x)


@programs.add
def hessian(torch):
    return torch.autograd.functional.hessian(lambda a: (a * a * a).sum() * a.sum(), numbers(torch, 3))


@programs.add
def hessian_of_two(torch):
    x, w = numbers(torch, 2), numbers(torch, 2, start=-1.0)
    return torch.autograd.functional.hessian(lambda a, b: (a * a * b).sum(), (x, w))


@programs.add
def vhp(torch):
    x, w = numbers(torch, 2), numbers(torch, 2, start=-1.0)
    return torch.autograd.functional.vhp(lambda a, b: (a * a * b).exp().sum(), (x, w), (w, x))


@programs.add
def hvp(torch):
    x, w = numbers(torch, 2), numbers(torch, 2, start=-1.0)
    return torch.autograd.functional.hvp(lambda a, b: (a * a * b).exp().sum(), (x, w), (w, x))


@programs.add
def hvp_of_linear(torch):
    x = numbers(torch, 2)
    return torch.autograd.functional.hvp(lambda a: (a * 3).sum(), x, x)


@programs.add
def independent_is_zero(torch):
    x, w = numbers(torch, 2), numbers(torch, 3)
    return torch.autograd.functional.jacobian(lambda a, b: a * 2, (x, w))


@pytest.mark.parametrize("program", programs.all)
def test_same_as_pytorch(program: Any) -> None:
    check(program)


FUNCTIONAL = flambeau.autograd.functional


def test_strict_refuses_independence() -> None:
    x, w = numbers(flambeau, 2), numbers(flambeau, 3)
    with pytest.raises(RuntimeError, match="independent of entry 1"):
        FUNCTIONAL.jacobian(lambda a, b: a * 2, (x, w), strict=True)
    with pytest.raises(RuntimeError, match="does not require gradient"):
        FUNCTIONAL.vjp(lambda a: w.sum(), x, strict=True)
    with pytest.raises(RuntimeError, match="independent"):
        FUNCTIONAL.hvp(lambda a: (a * 3).sum(), x, x, strict=True)


def test_bad_arguments() -> None:
    x = numbers(flambeau, 2)
    with pytest.raises(TypeError, match="inputs given to vjp must be either a Tensor or a tuple of Tensors"):
        FUNCTIONAL.vjp(lambda a: a, 3.0)
    with pytest.raises(TypeError, match="value at index 1"):
        FUNCTIONAL.vjp(lambda a, b: a, (x, 3.0))
    with pytest.raises(RuntimeError, match="v can only be None"):
        FUNCTIONAL.vjp(lambda a: a * 2, x)
    with pytest.raises(RuntimeError, match="invalid size"):
        FUNCTIONAL.vjp(lambda a: a * 2, x, numbers(flambeau, 3))
    with pytest.raises(RuntimeError, match="single element"):
        FUNCTIONAL.hessian(lambda a: a * 2, x)


# -- gradcheck ---------------------------------------------------------------------------------------


def wrong(factor: float) -> Any:
    class Square(flambeau.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return grad * ctx.saved_tensors[0] * factor

    return Square.apply


@pytest.mark.parametrize("fast", [False, True])
def test_gradcheck_of_right_derivatives(fast: bool) -> None:
    x, w = numbers(flambeau, 2, 3).requires_grad_(), numbers(flambeau, 3).requires_grad_()
    assert gradcheck(lambda a, b: (a * b).exp(), (x, w), fast_mode=fast)
    assert gradcheck(lambda a, n, b: ((a * b).sum(), a * n), (x, 3, w), fast_mode=fast, check_batched_grad=True)
    assert gradgradcheck(lambda a, b: (a * b).exp(), (x, w), fast_mode=fast)
    assert gradcheck(wrong(2.0), x, fast_mode=fast)


@pytest.mark.parametrize("fast", [False, True])
def test_gradcheck_finds_wrong_derivatives(fast: bool) -> None:
    x = numbers(flambeau, 3).requires_grad_()
    with pytest.raises(GradcheckError, match="Jacobian mismatch for output 0 with respect to input 0"):
        gradcheck(wrong(2.1), x, fast_mode=fast)
    assert not gradcheck(wrong(2.1), x, fast_mode=fast, raise_exception=False)


def test_gradcheck_finds_wrong_second_derivatives() -> None:
    class Cube(flambeau.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            (x,) = ctx.saved_tensors
            return grad * 3 * x * x.detach()

    x = numbers(flambeau, 3).requires_grad_()
    assert gradcheck(Cube.apply, x)
    assert not gradgradcheck(Cube.apply, x, raise_exception=False)


def test_gradcheck_of_constant_output() -> None:
    x = numbers(flambeau, 3).requires_grad_()
    assert gradcheck(lambda a: a.detach() * 0, x)
    assert not gradcheck(lambda a: a.detach() * 2, x, raise_exception=False)


def test_gradcheck_finds_gradients_that_ignore_the_seed() -> None:
    class Ignores(flambeau.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            return flambeau.full((1,), 2.0, dtype=flambeau.float64)

    x = numbers(flambeau, 1).requires_grad_()
    with pytest.raises(GradcheckError, match="not multiplied by grad_output"):
        gradcheck(Ignores.apply, x)


def test_gradcheck_finds_derivatives_that_need_all_gradients() -> None:
    class Needs(flambeau.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.set_materialize_grads(False)
            return x * 2

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            if grad is None:
                raise RuntimeError("no gradient")
            return grad * 2

    x = numbers(flambeau, 2).requires_grad_()
    with pytest.raises(GradcheckError, match="undefined output grads"):
        gradcheck(Needs.apply, x)
    assert gradcheck(Needs.apply, x, check_undefined_grad=False)


def test_gradcheck_arguments() -> None:
    with pytest.raises(ValueError, match="at least one input tensor to require gradient"):
        gradcheck(lambda a: a, numbers(flambeau, 2))
    with pytest.warns(UserWarning, match="double precision"):
        gradcheck(lambda a: a * 2, flambeau.ones(2, requires_grad=True), eps=1e-2, atol=1e-2)
    with pytest.raises(RuntimeError, match="stride 0"):
        gradcheck(lambda a: a * 2, flambeau.ones(1, dtype=flambeau.float64).expand(3).requires_grad_())


def test_gradcheck_of_complex() -> None:
    z = flambeau.tensor([1 + 2j, -0.5 + 0.3j, 0.2 - 1j], dtype=flambeau.complex128, requires_grad=True)
    x = numbers(flambeau, 3).requires_grad_()
    assert gradcheck(lambda a, b: a * a * b, (z, x))
    assert gradcheck(lambda a, b: a * a * b, (z, x), fast_mode=True)
    assert gradgradcheck(lambda a, b: a * a * b, (z, x))


def test_gradcheck_restores_its_inputs() -> None:
    x = numbers(flambeau, 3).requires_grad_()
    before = x.detach().clone()
    gradcheck(lambda a: a.exp(), x)
    np.testing.assert_array_equal(x.detach().numpy(), before.numpy())
