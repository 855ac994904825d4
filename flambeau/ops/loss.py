"""Losses that compare element by element, and what all losses share."""

from __future__ import annotations

import math
import warnings
from typing import Any

from .. import primitives as prim
from ..dispatch.operator import OPERATORS, operator
from ..tensor import Tensor

__all__: list[str] = []

_F = "torch.nn.functional"


def reduction_of(reduction: str, size_average: bool | None, reduce: bool | None) -> str:
    """The reduction meant, with PyTorch's two old flags; raises ValueError for unknown words."""
    if size_average is not None or reduce is not None:
        reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
        warnings.warn(
            f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.",
            stacklevel=3,
        )
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """The mean or sum of a loss, or itself."""
    return loss.mean() if reduction == "mean" else loss.sum() if reduction == "sum" else loss  # type: ignore[attr-defined,no-any-return]


@operator(kind="composite", method=False, out=False, namespace=_F)
def mse_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """``(input - target)**2``, reduced."""
    reduction = reduction_of(reduction, size_average, reduce)
    _check_sizes(input, target)
    return square_difference.function(input, target, weight, reduction)  # type: ignore[no-any-return]


@operator(name="_square_difference", promote=("input", "target", "weight"), method=False, function=False)
def square_difference(input: Tensor, target: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """``(input - target)**2``, reduced."""
    return _weighted((input - target) ** 2, weight, reduction)  # type: ignore[operator]


def _check_sizes(input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size "
                f"({input.shape}). This will likely lead to incorrect "
            "results due to broadcasting. Please ensure they have the same size.", stacklevel=3,
        )  # fmt: skip


def _weighted(loss: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    if weight is None:
        return reduced(loss, reduction)
    loss = loss * weight  # type: ignore[operator]
    return loss.sum() / weight.expand(loss.shape).sum() if reduction == "mean" else reduced(loss, reduction)  # type: ignore[attr-defined,no-any-return]


@operator(name="_smooth_l1", promote=("input", "target", "weight"), method=False, function=False)
def _smooth(input: Tensor, target: Tensor, weight: Tensor | None, beta: float, huber: bool, reduction: str) -> Tensor:
    """Quadratic within ``beta``, linear beyond; reduced."""
    off = input - target  # type: ignore[operator]
    gap = off.abs()
    inside = off * off * (0.5 if huber else 0.5 / beta)  # of |x| there is no second derivative at 0
    beyond = beta * (gap - 0.5 * beta) if huber else gap - 0.5 * beta
    return _weighted(where_of(gap < beta, inside, beyond), weight, reduction)


def where_of(cond: Tensor, yes: Any, no: Any) -> Tensor:
    """``where`` of tensors or numbers while an operator is traced."""
    return OPERATORS["_where"].function(cond, yes, no)  # type: ignore[no-any-return]


@operator(name="_absolute_difference", promote=("input", "target", "weight"), method=False, function=False)
def _absolute(input: Tensor, target: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """``|input - target|``, reduced."""
    return _weighted((input - target).abs(), weight, reduction)  # type: ignore[operator]


@operator(kind="composite", method=False, out=False, namespace=_F)
def l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """``|input - target|``, reduced."""
    reduction = reduction_of(reduction, size_average, reduce)
    _check_sizes(input, target)
    return _absolute.function(input, target, weight, reduction)  # type: ignore[no-any-return]


@operator(kind="composite", method=False, out=False, namespace=_F)
def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """``0.5 * d**2 / beta`` where ``d = |input - target| < beta``, ``d - 0.5 * beta`` elsewhere.  Girshick 2015."""
    reduction = reduction_of(reduction, size_average, reduce)
    _check_sizes(input, target)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    if beta == 0:
        return _absolute.function(input, target, None, reduction)  # type: ignore[no-any-return]
    return _smooth.function(input, target, None, float(beta), False, reduction)  # type: ignore[no-any-return]


@operator(kind="composite", method=False, out=False, namespace=_F)
def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """``0.5 * d**2`` where ``d = |input - target| < delta``, ``delta * (d - 0.5 * delta)`` elsewhere.  Huber 1964."""
    reduction = reduction_of(reduction, None, None)
    _check_sizes(input, target)
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    return _smooth.function(input, target, weight, float(delta), True, reduction)  # type: ignore[no-any-return]


@operator(name="_bce", promote=("input", "target"), method=False, function=False)
def _bce(input: Tensor, target: Tensor) -> Tensor:
    """``-(t log x + (1 - t) log(1 - x))`` with logarithms bounded below by -100."""
    if input.dtype.kind != "f":
        raise RuntimeError(f'"binary_cross_entropy" not implemented for {input.dtype}')
    low = prim.const(-100, input.dtype)
    one = prim.const(1, input.dtype)
    yes = prim.apply("max", prim.apply("log", input), low)
    no = prim.apply("max", prim.apply("log1p", prim.apply("neg", input)), low)
    inside = prim.apply("and", prim.apply("ge", input, prim.const(0, input.dtype)), prim.apply("le", input, one))
    value = prim.apply("sub", prim.apply("mul", prim.apply("sub", target, one), no), prim.apply("mul", target, yes))
    return prim.require(value, inside, 3)


@_bce.gradient("input", "target")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    x, t = ctx.input, ctx.target
    dx = grad * (x - t) / ((1 - x) * x).clamp(min=1e-12) if ctx.needs("input") else None
    dt = grad * ((1 - x).log().clamp(min=-100) - x.log().clamp(min=-100)) if ctx.needs("target") else None
    return dx, dt


@operator(kind="composite", method=False, out=False, namespace=_F)
def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``-(target * log(input) + (1 - target) * log(1 - input))`` for probabilities input.  Raises RuntimeError for
    others, ValueError for another shape of the target."""
    reduction = reduction_of(reduction, size_average, reduce)
    if target.shape != input.shape:
        raise ValueError(
            f"Using a target size ({target.shape}) that is different to the input size "
            f"({input.shape}) is deprecated. Please ensure they have the same size."
        )
    loss = _bce.function(input, target)
    return reduced(loss if weight is None else loss * weight, reduction)


@operator(name="_bce_logits", promote=("input", "target", "weight", "pos_weight"), method=False, function=False)
def _bce_logits(
    input: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, reduction: str
) -> Tensor:
    """``(1 - t) x - (1 + (p - 1) t) log(sigmoid(x))``, weighted and reduced."""
    factor = 1 if pos_weight is None else (pos_weight - 1) * target + 1  # type: ignore[operator]
    loss = (1 - target) * input - factor * OPERATORS["logsigmoid"].function(input)  # type: ignore[operator]
    return reduced(loss if weight is None else loss * weight, reduction)


@operator(kind="composite", method=False, out=False, namespace=_F)
def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Binary cross-entropy of ``sigmoid(input)`` without overflow; ``pos_weight`` weighs positive targets."""
    reduction = reduction_of(reduction, size_average, reduce)
    if target.shape != input.shape:
        raise ValueError(f"Target size ({target.shape}) must be the same as input size ({input.shape})")
    return _bce_logits.function(input, target, weight, pos_weight, reduction)  # type: ignore[no-any-return]


@operator(kind="composite", method=False, out=False, namespace=_F)
def kl_div(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """``target * (log(target) - input)`` for log-probabilities input; "batchmean" divides the sum by the batch size."""
    batchmean = reduction == "batchmean"
    reduction = "sum" if batchmean else reduction_of(reduction, size_average, reduce)
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support "
            "size.'batchmean' divides only by the batch size, and aligns with the KL div math "
            "definition.",
            stacklevel=2,
        )
    loss = _kl.function(input, target, log_target, reduction)
    return loss / input.shape[0] if batchmean and input.ndim else loss  # type: ignore[operator,no-any-return]


@operator(name="_kl", promote=("input", "target"), method=False, function=False)
def _kl(input: Tensor, target: Tensor, log_target: bool, reduction: str) -> Tensor:
    """``target * (log(target) - input)``, reduced; ``log_target``: of the logarithm of target."""
    if log_target:
        return reduced(target.exp() * (target - input), reduction)  # type: ignore[attr-defined,operator]
    return reduced(OPERATORS["xlogy"].function(target, target) - target * input, reduction)  # type: ignore[operator]


@operator(kind="composite", method=False, out=False, namespace=_F)
def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool = True, full: bool = False, size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """``exp(x) - t x`` (or ``x - t log(x + eps)``), with Stirling's approximation of ``log(t!)`` if ``full``."""
    reduction = reduction_of(reduction, size_average, reduce)
    loss = input.exp() - target * input if log_input else input - target * (input + eps).log()  # type: ignore[attr-defined,operator]
    if full:
        stirling = target * target.log() - target + 0.5 * (2 * math.pi * target).log()  # type: ignore[attr-defined,operator]
        loss = loss + where_of(target > 1, stirling, 0.0)
    return reduced(loss, reduction)


@operator(kind="composite", method=False, out=False, namespace=_F)
def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Tensor | float, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """``0.5 * (log(var) + (input - target)**2 / var)`` with the variance bounded below by ``eps``.  Nix & Weigend
    1994."""
    if isinstance(var, (int, float)):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        var = var * OPERATORS["mul"].function(input.detach(), 0).add(1)  # type: ignore[attr-defined]
    elif (var < 0).any():  # type: ignore[attr-defined,operator]
        raise ValueError("var has negative entry/entries")
    if var.shape != input.shape:  # type: ignore[union-attr]
        if input.shape[:-1] == var.shape:  # type: ignore[union-attr]
            var = var.unsqueeze(-1)  # type: ignore[union-attr]
        elif input.ndim != var.ndim or [n for m, n in zip(input.shape, var.shape) if m != n] != [1]:  # type: ignore[union-attr]
            raise ValueError("var is of incorrect size")
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(reduction + " is not valid")
    bounded = var + (var.detach().clamp(min=eps) - var.detach())  # type: ignore[union-attr,operator]
    loss = 0.5 * (bounded.log() + (input - target) ** 2 / bounded)
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)
