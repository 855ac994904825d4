"""Dropout of elements and channels, and the randomised leaky ReLU.

A mask is drawn when the operator is called (see ``ops/random_fill.py``); the product with it is an
operator like any other.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import generator as draw
from ..autograd.mode import no_grad
from ..dispatch.operator import OPERATORS, operator
from ..dtype import bool_
from ..generator import Generator
from ..tensor import Tensor, address, contiguous
from ..transform.level import levels
from .create import empty_like, full
from .random_fill import check_generator, fill_in_order, like_members, need, number, row_major, title

__all__: list[str] = []


def _check_p(p: float) -> float:
    p = float(p)
    if not 0 <= p <= 1:
        raise RuntimeError(f"dropout probability has to be between 0 and 1, but got {p:g}")
    return p


def _noise(input: Tensor, p: float, value: float, feature: bool) -> Tensor:
    """``value`` with the probability 1 - p, else 0: for each element, or for each channel."""
    if input.dtype.kind != "f" and input.dtype.kind != "c":
        raise RuntimeError(f"dropout: result type Float can't be cast to the desired output type {title(input.dtype)}")
    need("bernoulli_scalar_cpu_", input.dtype)
    if feature:
        if input.ndim < 2:
            raise RuntimeError(f"Feature dropout requires at least 2 dimensions in the input, got {input.ndim}")
        shape = (*input.shape[:2], *[1] * (input.ndim - 2))
        noise = like_members(input.new_empty(shape))  # type: ignore[attr-defined]
    elif levels.stack:
        noise = like_members(input)
    else:
        noise = empty_like(input)
    code = input.dtype.code
    fill_in_order(noise, lambda at, n: draw.fill_bernoulli(None, at, n, code, 1 - p, value))
    return noise


def _dropped(input: Tensor, p: float, train: bool, feature: bool, alpha: bool, inplace: bool) -> Tensor:
    p = _check_p(p)
    if not train or p == 0 or input._layout.numel == 0:
        return input
    multiply = input.mul_ if inplace else input.mul  # type: ignore[attr-defined]
    if p == 1:
        return multiply(full((), 0, dtype=input.dtype, device=input.device))
    if not alpha:
        # the reciprocal in the precision that the elements are computed in
        value = 1 / (1 - p) if input.dtype.code == "f64" else float(np.float32(1) / np.float32(1 - p))
        return multiply(_noise(input, p, value, feature))
    negative = 1.7580993408473766  # what SELU tends to at minus infinity, with its sign changed
    scale = 1 / math.sqrt((negative * negative * p + 1) * (1 - p))
    with no_grad():
        noise = _noise(input, p, 1.0, feature)
        shift = noise.add(-1).mul_(negative * scale).add_(negative * scale * p)  # type: ignore[attr-defined]
        noise = noise.mul_(scale)  # type: ignore[attr-defined]
    result = multiply(noise)
    return result.add_(shift) if inplace else result + shift


def _dropout(name: str, text: str, *, feature: bool, alpha: bool) -> None:
    """Defines a kind of dropout and its in-place form."""

    def define(inplace: bool) -> None:
        def body(input: Tensor, p: float, train: bool) -> Tensor:
            return _dropped(input, p, train, feature, alpha, inplace)

        body.__name__ = name + "_" * inplace
        body.__doc__ = text + " In place." * inplace
        operator(kind="composite", method=False, out=False)(body)

    define(False)
    define(True)


_ZEROED = (
    "with the probability ``p`` {0}, divided by 1 - p otherwise; ``input`` itself unless ``train``.  RuntimeError "
    "unless 0 <= p <= 1."
)
_SELU = "with the probability ``p`` {0} the negative limit of SELU, then shifted and scaled to keep mean and variance."
_dropout("dropout", "Each element " + _ZEROED.format("zero"), feature=False, alpha=False)
_dropout("feature_dropout", "Each channel " + _ZEROED.format("zero"), feature=True, alpha=False)
_dropout("alpha_dropout", "Each element " + _SELU.format("becomes"), feature=False, alpha=True)
_dropout("feature_alpha_dropout", "Each channel " + _SELU.format("becomes"), feature=True, alpha=True)


@operator(kind="composite", method=False, out=False)
def native_dropout(input: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    """(the result of dropout, a boolean mask of the elements that were kept); trains unless ``train`` is False."""
    p = _check_p(p)
    if train is False or not input._layout.numel:
        return input.clone(), full(input.shape, True, dtype=bool_, device=input.device)  # type: ignore[attr-defined]
    mask = empty_like(input, dtype=bool_)
    fill_in_order(mask, lambda at, n: draw.fill_bernoulli(None, at, n, "b1", 1 - p))
    return input * (mask.to(input.dtype) * (0.0 if p == 1 else 1 / (1 - p))), mask  # type: ignore[attr-defined]


@operator(kind="eager", method=False, function=False, out=False)
def rrelu_with_noise(
    input: Tensor, noise: Tensor, lower: float, upper: float, training: bool, generator: Generator | None = None
) -> Tensor:
    """Elements not above 0 times a slope drawn from [lower, upper); ``noise`` becomes the slopes, 1 for the others."""
    need("rrelu_with_noise_out_cpu", input.dtype, ("f32", "f64", "bf16"))
    values, slopes = row_major(input), contiguous(input.dtype, input.shape, input.device)
    result, code = contiguous(input.dtype, input.shape, input.device), input.dtype.code
    fill_in_order(
        result, lambda p, n: draw.fill_rrelu(generator, p, n, code, address(values), address(slopes), lower, upper)
    )  # fmt: skip
    with no_grad():
        noise.copy_(slopes)  # type: ignore[attr-defined]
    return result


@rrelu_with_noise.gradient("noise")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad * ctx.noise, None


def _rrelu(input: Tensor, lower: Any, upper: Any, training: bool, generator: Generator | None) -> Tensor:
    check_generator("rrelu", generator)
    low, high = number("rrelu", "lower", lower), number("rrelu", "upper", upper)
    if not math.isfinite(low) or not math.isfinite(high):
        raise RuntimeError(f"rrelu: lower and upper bound must be finite, got {low:g} and {high:g}")
    if low > high:
        raise RuntimeError(
            f"rrelu: Lower bound should be less than or equal to the upper bound, got {low:g} and {high:g}"
        )
    if not training:
        return OPERATORS["leaky_relu"].function(input, (low + high) / 2)
    return rrelu_with_noise.function(input, empty_like(input), low, high, True, generator)


@operator(kind="composite", method=False, out=False)
def rrelu(
    input: Tensor, lower: Any = 1 / 8, upper: Any = 1 / 3, training: bool = False, generator: Generator | None = None
) -> Tensor:
    """Elements not above 0 times a slope: drawn for each from [lower, upper) in training, else the mean of both."""
    return _rrelu(input, lower, upper, training, generator)


@operator(kind="composite", method=False, out=False)
def rrelu_(
    input: Tensor, lower: Any = 1 / 8, upper: Any = 1 / 3, training: bool = False, generator: Generator | None = None
) -> Tensor:
    """``rrelu`` in place."""
    return input.copy_(_rrelu(input.clone(), lower, upper, training, generator))  # type: ignore[attr-defined]
