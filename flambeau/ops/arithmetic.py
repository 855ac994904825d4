"""Arithmetic of two operands, comparisons, logic and bits."""

from __future__ import annotations

from collections.abc import Callable

from .. import dtype as dtypes
from .. import primitives as prim
from ..operator import Operand, Operator, operator
from ..tensor import Tensor

__all__: list[str] = []



def _check_alpha(name: str, type_: dtypes.dtype, alpha: float) -> None:
    if isinstance(alpha, bool) and type_ is not dtypes.bool_:
        raise RuntimeError(f"{name}: Boolean alpha only supported for Boolean results.")
    if isinstance(alpha, float) and type_.kind in "bui":
        raise RuntimeError(f"{name}: For integral input tensors, argument alpha must not be a floating point number, got {alpha}")
    if isinstance(alpha, complex) and type_.kind != "c":
        raise RuntimeError(f"{name}: For non-complex input tensors, argument alpha must not be a complex number, got {alpha}")


@operator(promote=("input", "other"), inplace=True)
def add(input: Tensor, other: Operand, *, alpha: float = 1) -> Tensor:
    """``input + alpha * other``, broadcast; the element types are promoted.

    Raises RuntimeError for shapes that do not broadcast and for an ``alpha`` of a higher kind than the result.
    """
    _check_alpha("add", input.dtype, alpha)
    if alpha != 1:
        other = prim.apply("mul", other, prim.const(alpha, other.dtype))
    return prim.apply("or" if input.dtype is dtypes.bool_ else "add", input, other)


@add.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad, grad if ctx.alpha == 1 else grad * _conj(ctx.alpha)


@operator(promote=("input", "other"), inplace=True, aliases=("subtract",))
def sub(input: Tensor, other: Operand, *, alpha: float = 1) -> Tensor:
    """``input - alpha * other``, broadcast; the element types are promoted.  Booleans cannot be subtracted (RuntimeError)."""
    if input.dtype is dtypes.bool_:
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` operator instead."
        )
    _check_alpha("sub", input.dtype, alpha)
    if alpha != 1:
        other = prim.apply("mul", other, prim.const(alpha, other.dtype))
    return prim.apply("sub", input, other)


@sub.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad, -grad if ctx.alpha == 1 else grad * -_conj(ctx.alpha)


def _conj(value: Tensor | complex) -> Tensor | complex:
    """The complex conjugate of an operand that may be a number; real ones are their own."""
    if isinstance(value, Tensor):
        return value.conj() if value.dtype.is_complex else value  # type: ignore[attr-defined]
    return value.conjugate() if isinstance(value, complex) else value


@operator(promote=("input", "other"), inplace=True, aliases=("multiply",))
def mul(input: Tensor, other: Operand) -> Tensor:
    """``input * other``, broadcast; the element types are promoted."""
    return prim.apply("and" if input.dtype is dtypes.bool_ else "mul", input, other)


@mul.gradient("input:other", "other:input")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return (
        grad * _conj(ctx.other) if ctx.needs("input") else None,
        grad * _conj(ctx.input) if ctx.needs("other") else None,
    )


@operator(name="true_divide", promote=("input", "other"), to="float", inplace=True)
def true_divide(input: Tensor, other: Operand) -> Tensor:
    """``input / other``, broadcast; integers give the default floating type."""
    return prim.apply("div", input, other)


@true_divide.gradient("input:other", "other")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    inverse = grad / _conj(ctx.other)
    return inverse, -inverse * _conj(ctx.input / ctx.other) if ctx.needs("other") else None


def _unary(name: str, what: str, derivative: Callable[..., Tensor] | None, saves: tuple[str, ...] = ("input",), **options: object) -> Operator:
    """Defines an elementwise function that is one primitive of floating-point numbers."""

    def body(input: Tensor) -> Tensor:
        return prim.apply(name, input)

    body.__name__ = name
    body.__doc__ = what
    op = operator(promote=("input",), to="float", inplace=True, **options)(body)  # type: ignore[arg-type]
    if derivative is not None:
        op.gradient(*saves)(derivative)
    return op


_unary("exp", "e to the power of each element.", lambda ctx, g: g * _conj(ctx.result), ("result",))


@operator(promote=("input",), inplace=True, aliases=("negative",))
def neg(input: Tensor) -> Tensor:
    """``-input``; booleans cannot be negated (RuntimeError)."""
    if input.dtype is dtypes.bool_:
        raise RuntimeError("Negation, the `-` operator, on a bool tensor is not supported. If you are trying to invert a mask, use the `~` or `logical_not()` operator instead.")
    return prim.apply("neg", input)


@neg.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return -grad


@operator(promote=("input", "other"), inplace=True, differentiable=False)
def eq(input: Tensor, other: Operand) -> Tensor:
    """Whether elements are equal: a bool tensor."""
    return prim.apply("eq", input, other)


