"""Operators that programs add: schemas, kernels, shapes, gradients, autocast, and ``torch.ops``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Optional

import numpy as np
import pytest

import flambeau as torch
from flambeau import Tensor, library
from flambeau.library import registry
from flambeau.library.schema import parse


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    before = dict(registry.OPERATORS)
    yield
    for name in set(registry.OPERATORS) - set(before):
        del registry.OPERATORS[name]


def make_sine(name: str = "tests::sine") -> library.CustomOpDef:
    @library.custom_op(name, mutates_args=())
    def sine(x: Tensor, factor: float = 1.0) -> Tensor:
        """The sine by numpy."""
        return torch.from_numpy(np.sin(x.numpy()) * np.float32(factor))

    return sine


def test_an_operator_with_gradient() -> None:
    sine = make_sine()
    x = torch.randn(3, requires_grad=True)
    with pytest.raises(RuntimeError, match="no autograd formula"):
        sine(x).sum().backward()

    def setup(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])
        ctx.factor = inputs[1]

    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * x.cos() * ctx.factor, None

    sine.register_autograd(backward, setup_context=setup)
    sine(x, factor=2.0).sum().backward()
    assert torch.allclose(x.grad, 2 * x.cos())

    assert torch.equal(torch.ops.tests.sine(x.detach()), torch.ops.tests.sine.default(x.detach()))
    assert str(torch.ops.tests.sine.default._schema) == "sine(Tensor x, float factor=1.0) -> Tensor"
    assert sine.__doc__ == "The sine by numpy."


def test_shapes_without_data() -> None:
    sine = make_sine()
    x = torch.empty(2, 3, device="meta")
    with pytest.raises((NotImplementedError, TypeError)):
        library.lookup("tests::sine").kernels.clear()
        sine(x)

    @sine.register_fake
    def _(x, factor=1.0):
        return torch.empty_like(x)

    assert sine(x).shape == (2, 3) and sine(x).device.type == "meta"


def test_kernels_by_name() -> None:
    library.register_fake("tests::twice", lambda x: torch.empty_like(x))  # before it is defined
    library.define("tests::twice", "(Tensor x) -> Tensor")
    with pytest.raises(NotImplementedError, match="no kernel"):
        torch.ops.tests.twice(torch.ones(1))
    library.impl("tests::twice", "cpu", lambda x: x * 2)
    assert torch.ops.tests.twice(torch.ones(2)).tolist() == [2, 2]
    assert torch.ops.tests.twice(torch.empty(2, device="meta")).shape == (2,)
    with library._scoped_library("tests", "FRAGMENT") as lib:
        lib.define("thrice(Tensor x, *, int n=3) -> Tensor")
        lib.impl("thrice", lambda x, *, n: x * n, "CompositeImplicitAutograd")
        y = torch.ones(1, requires_grad=True)
        torch.ops.tests.thrice(y, n=4).backward()
        assert y.grad.tolist() == [4]
        with pytest.raises(TypeError, match="unknown argument"):
            torch.ops.tests.thrice(y, m=4)
    assert not hasattr(torch.ops.tests, "thrice")


def test_writing_operators_and_autocast() -> None:
    @library.custom_op("tests::fill", mutates_args={"x"})
    def fill(x: Tensor, value: int, mask: Optional[Tensor] = None) -> None:  # noqa: UP045
        x.fill_(value)

    x = torch.zeros(2)
    version = x._version
    fill(x, 3)
    assert x.tolist() == [3, 3] and x._version > version
    sine = make_sine("tests::sine2")
    sine.register_autocast("cpu", torch.float32)
    with torch.autocast("cpu"):
        assert sine(torch.ones(1).bfloat16()).dtype is torch.float32


def test_schemas() -> None:
    def f(a: Tensor, b: list[Tensor], c: Optional[int], *, d: bool = True, e: str = "x") -> tuple[Tensor, float]:  # noqa: UP045
        raise NotImplementedError

    text = "(Tensor a, Tensor[] b, SymInt? c, *, bool d=True, str e='x') -> (Tensor, float)"
    assert library.infer_schema(f, mutates_args=()) == text
    assert "Tensor(a!) a" in library.infer_schema(f, mutates_args={"a"})
    read = parse("ns::op.over" + text)
    assert (read.name, read.overload_name, read.returns) == ("ns::op", "over", ("Tensor", "float"))
    assert [a.name for a in read.arguments if a.kwarg_only] == ["d", "e"]
    with pytest.raises(RuntimeError, match="not a schema"):
        parse("nothing")

    def bare(x):
        raise NotImplementedError

    with pytest.raises(ValueError, match="type annotation"):
        library.infer_schema(bare, mutates_args=())


def test_our_own_operators() -> None:
    x = torch.arange(3.0)
    assert torch.equal(torch.ops.aten.add.Tensor(x, 1), x + 1) and torch.equal(
        torch.ops.aten.relu(x - 1), torch.relu(x - 1)
    )
    with pytest.raises(AttributeError):
        torch.ops.aten.no_such_operator
    with pytest.raises(OSError, match="Could not load"):
        torch.ops.load_library("extension.so")
    with pytest.raises(RuntimeError, match="does not exist"):
        torch.classes.space.Thing
    with pytest.raises(RuntimeError, match="defined already"):
        make_sine()
        make_sine()
