"""Comparisons, logic, bits, selection and bounds."""

from __future__ import annotations

from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import Operand, operator
from ..promotion import result_type
from ..tensor import Tensor
from .common import each_once, need_tensor

__all__: list[str] = []


def _comparison(name: str, symbol: str, aliases: tuple[str, ...], ordered: bool) -> None:
    def body(input: Tensor, other: Operand) -> Tensor:
        if ordered and input.dtype.is_complex:
            raise RuntimeError(f'"{name}" not implemented for {input.dtype}: complex numbers have no order')
        return prim.apply(name, input, other)

    body.__name__, body.__module__ = name, __name__
    body.__doc__ = f"Whether ``input {symbol} other``, element by element: a bool tensor."
    operator(promote=("input", "other"), inplace=True, differentiable=False, aliases=aliases)(body)


_comparison("eq", "==", (), False)
_comparison("ne", "!=", ("not_equal",), False)
_comparison("lt", "<", ("less",), True)
_comparison("le", "<=", ("less_equal",), True)
_comparison("gt", ">", ("greater",), True)
_comparison("ge", ">=", ("greater_equal",), True)


def _truth(x: Tensor) -> Tensor:
    return prim.cast(x, dtypes.bool_)


@operator(preserve=True, inplace=True, differentiable=False)
def logical_not(input: Tensor) -> Tensor:
    """Whether each element is zero."""
    return prim.apply("not", _truth(input))


_SECOND = {"other": ("x2",)}  # as numpy's universal functions call it


def _logic(name: str, primitive: str) -> None:
    def body(input: Tensor, other: Tensor) -> Tensor:
        return prim.apply(primitive, _truth(input), _truth(other))

    body.__name__, body.__module__ = name, __name__
    body.__doc__ = f"``{name.removeprefix('logical_')}`` of the truth (``!= 0``) of the elements."
    operator(preserve=True, inplace=True, differentiable=False, synonyms=_SECOND)(body).disjoint = ("other",)


_logic("logical_and", "and")
_logic("logical_or", "or")
_logic("logical_xor", "ne")


def _bits(name: str, primitive: str, aliases: tuple[str, ...] = ()) -> None:
    def body(input: Operand, other: Operand) -> Tensor:
        if input.dtype.kind in "fc" or (primitive in ("shl", "shr") and input.dtype is dtypes.bool_):
            raise RuntimeError(f'"{name}" not implemented for {input.dtype}; it takes integers')
        need_tensor(name, input, other)
        return prim.apply(primitive, input, other)

    body.__name__, body.__module__ = name, __name__
    body.__doc__ = f"``{name.removeprefix('bitwise_')}`` of the bits of integers or booleans."
    operator(promote=("input", "other"), inplace=True, differentiable=False, aliases=aliases, synonyms=_SECOND)(body)


_bits("bitwise_and", "and")
_bits("bitwise_or", "or")
_bits("bitwise_xor", "xor")
_bits("bitwise_left_shift", "shl")
_bits("bitwise_right_shift", "shr")


@operator(preserve=True, inplace=True, differentiable=False)
def bitwise_not(input: Tensor) -> Tensor:
    """Every bit of integers inverted; logical not of booleans."""
    if input.dtype.kind in "fc":
        raise RuntimeError(f'"bitwise_not" not implemented for {input.dtype}; it takes integers and booleans')
    return prim.apply("not", input)


@operator(promote=("input", "other"))
def maximum(input: Tensor, other: Tensor) -> Tensor:
    """The greater of two elements; NaN if either is NaN."""
    if input.dtype.is_complex:
        raise RuntimeError("maximum not implemented for complex tensors.")
    return prim.apply("max", input, other)


@maximum.gradient("input", "other")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    tie = (grad / 2).masked_fill(ctx.input != ctx.other, 0)
    return grad.masked_fill(ctx.input <= ctx.other, 0) + tie, grad.masked_fill(ctx.input >= ctx.other, 0) + tie


@operator(promote=("input", "other"))
def minimum(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two elements; NaN if either is NaN."""
    if input.dtype.is_complex:
        raise RuntimeError("minimum not implemented for complex tensors.")
    return prim.apply("min", input, other)


@minimum.gradient("input", "other")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    tie = (grad / 2).masked_fill(ctx.input != ctx.other, 0)
    return grad.masked_fill(ctx.input >= ctx.other, 0) + tie, grad.masked_fill(ctx.input <= ctx.other, 0) + tie


@operator(name="_where", method=False, function=False, promote=("input", "other"))
def _where(condition: Tensor, input: Operand, other: Operand) -> Tensor:
    """The kernel of ``where``."""
    return prim.apply("select", prim.cast(condition, dtypes.bool_), input, other)


@_where.gradient("condition")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return None, _where.function(ctx.condition, grad, 0), _where.function(ctx.condition, 0, grad)


@operator(kind="composite", method=False)
def where(condition: Tensor, input: Operand | None = None, other: Operand | None = None) -> Any:
    """``input`` where ``condition`` holds, ``other`` elsewhere, broadcast and promoted; the condition alone gives the
    indices of its true elements."""
    if input is None:
        return condition.nonzero(as_tuple=True)  # type: ignore[attr-defined]
    if condition.dtype not in (dtypes.bool_, dtypes.uint8):
        raise RuntimeError(
            f"where expected condition to be a boolean tensor, but got a tensor with dtype {condition.dtype}"
        )
    return _where.function(condition, input, other)


def _method_where(self: Tensor, condition: Tensor, other: Operand) -> Tensor:
    """``self`` where ``condition`` holds, ``other`` elsewhere."""
    return where.function(condition, self, other)  # type: ignore[no-any-return]


_method_where.__name__ = _method_where.__qualname__ = "where"
Tensor.where = _method_where  # type: ignore[attr-defined]


@operator(inplace=True)
def masked_fill(input: Tensor, mask: Tensor, value: Operand) -> Tensor:
    """``input`` with ``value`` (a number or 0-dim tensor) where ``mask`` holds."""
    if mask.dtype is not dtypes.bool_:
        raise RuntimeError(f"masked_fill_ only supports boolean masks, but got mask with dtype {mask.dtype}")
    if value.ndim:
        raise RuntimeError(
            f"masked_fill only supports a 0-dimensional value tensor, but got tensor with {value.ndim} dimension(s)."
        )
    if (not value._weak and result_type([input, value]) is not input.dtype) or (
        value._weak and value.dtype.kind == "c" and input.dtype.kind != "c"
    ):
        raise RuntimeError(f"value cannot be converted to type {input.dtype} without overflow")
    return prim.apply("select", mask, prim.cast(value, input.dtype), input)


def _masked_once(input: Tensor, mask: Tensor, value: Any) -> tuple[Any, ...]:
    """An element that stands for several is filled if the mask holds for any of them."""
    target = each_once(input)
    if mask._layout.dtype is dtypes.bool_:
        mask = mask.expand(input.shape)
        for d in range(input.ndim):
            if target.shape[d] != input.shape[d]:
                mask = mask.any(d, True)
    return target, mask, value


masked_fill.folded = _masked_once


@masked_fill.gradient("mask")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad.masked_fill(ctx.mask, 0), None, _where.function(ctx.mask, grad, 0).sum() if ctx.needs("value") else None


@operator(promote=("input", "min", "max"), inplace=True, aliases=("clip",))
def clamp(input: Tensor, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """Elements bounded below by ``min`` and above by ``max`` (numbers or tensors, either may be None); NaN stays.

    Where ``min > max`` the result is ``max``.  Raises RuntimeError if both are None, or for complex numbers.
    """
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    if input.dtype.is_complex:
        raise RuntimeError("clamp is not supported for complex types")
    value = input
    if min is not None:  # NaN costs less in the second operand, and a bound is mostly the same number for all elements
        value = prim.apply("max", min, value)
    if max is not None:
        value = prim.apply("min", max, value)
    return value


@clamp.gradient("input", "min", "max")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    x, low, high = ctx.input, ctx.min, ctx.max
    inside = None
    for bound, ok in ((low, lambda: x >= low), (high, lambda: x <= high)):
        if bound is not None:
            inside = ok() if inside is None else inside & ok()
    dx = _where.function(inside, grad, 0) if inside is not None else grad
    dlow = dhigh = None
    if ctx.needs("min"):
        dlow = _where.function((x < low) if high is None else (x < low) & (low < high), grad, 0)
    if ctx.needs("max"):
        dhigh = _where.function((x > high) if low is None else (x > high) | (high < low), grad, 0)
    return dx, dlow, dhigh


@operator(preserve=True, differentiable=False, method=True)
def isnan(input: Tensor) -> Tensor:
    """Whether each element is not a number."""
    return prim.apply("isnan", input) if input.dtype.kind in "fc" else prim.const(False, dtypes.bool_, input.shape)


@operator(kind="composite", differentiable=False, out=False)
def isclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> Tensor:
    """Whether ``|input - other| <= atol + rtol * |other|``; equal infinities are close, NaN only with ``equal_nan``."""
    for position, (name, x) in enumerate((("input", input), ("other", other)), 1):
        if not isinstance(x, Tensor):
            raise TypeError(
                f"isclose(): argument '{name}' (position {position}) must be Tensor, not {type(x).__name__}"
            )
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{input.dtype} did not match {other.dtype}")
    if rtol < 0 or atol < 0:
        raise RuntimeError(f"rtol and atol must be greater than or equal to zero, but got rtol={rtol}, atol={atol}")
    close = input == other
    if equal_nan and input.dtype.kind in "fc":
        close = close | (input.isnan() & other.isnan())  # type: ignore[attr-defined]
    if rtol == 0 and atol == 0:
        return close  # type: ignore[no-any-return]
    kind = input.dtype if input.dtype.kind in "fc" else dtypes.get_default_dtype()
    a, b = input.to(kind), other.to(kind)  # type: ignore[attr-defined]
    gap = (a - b).abs()
    return close | (gap.isfinite() & (gap <= atol + (rtol * b).abs()))  # type: ignore[no-any-return]


@operator(kind="composite", differentiable=False, out=False)
def allclose(input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False) -> bool:
    """Whether all elements are close (see ``isclose``)."""
    return bool(isclose.function(input, other, rtol, atol, equal_nan).all())


@operator(kind="composite", differentiable=False, out=False)
def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and elements."""
    if input.shape != other.shape:
        return False
    if input.dtype is not other.dtype or input.device is not other.device:
        return bool((input == other).all())  # type: ignore[attr-defined]
    return bool(_all_equal.function(input, other))


@operator(method=False, function=False, differentiable=False, out=False)
def _all_equal(input: Tensor, other: Tensor) -> Tensor:
    """Whether all elements are equal: (), bool."""
    return prim.reduce("and", prim.apply("eq", input, other), tuple(range(input.ndim)))


@operator(kind="composite", inplace=True)
def clamp_min(input: Tensor, min: Operand) -> Tensor:
    """Elements bounded below."""
    return clamp.function(input, min, None)  # type: ignore[no-any-return]


@operator(kind="composite", inplace=True)
def clamp_max(input: Tensor, max: Operand) -> Tensor:
    """Elements bounded above."""
    return clamp.function(input, None, max)  # type: ignore[no-any-return]


def _ignoring_nan(name: str, primitive: str) -> None:
    def body(input: Tensor, other: Tensor) -> Tensor:
        if input.dtype.is_complex:
            raise RuntimeError(f"{name}: not implemented for complex tensors")
        value = prim.apply(primitive, input, other)
        if input.dtype.kind == "f":
            value = prim.apply(
                "select",
                prim.apply("isnan", other),
                input,
                prim.apply("select", prim.apply("isnan", input), other, value),
            )
        return value

    body.__name__, body.__module__ = name, __name__
    body.__doc__ = f"The {'greater' if primitive == 'max' else 'smaller'} of two elements; the other one if one is NaN."
    op = operator(promote=("input", "other"))(body)

    @op.gradient("input", "other")
    def _(ctx, grad):  # type: ignore[no-untyped-def]
        first = (ctx.input >= ctx.other if primitive == "max" else ctx.input <= ctx.other) | ctx.other.isnan()
        return _where.function(first, grad, 0), _where.function(first, 0, grad)


_ignoring_nan("fmax", "max")
_ignoring_nan("fmin", "min")
