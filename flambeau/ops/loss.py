"""Losses."""

from __future__ import annotations

import warnings
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..operator import operator
from ..tensor import Tensor
from .compare import where

__all__: list[str] = []

_F = "torch.nn.functional"


def reduction_of(reduction: str, size_average: bool | None, reduce: bool | None) -> str:
    """The reduction meant, with PyTorch's two old flags; raises ValueError for unknown words."""
    if size_average is not None or reduce is not None:
        reduction = "none" if reduce is False else "sum" if size_average is False else "mean"
        warnings.warn(f"size_average and reduce args will be deprecated, please use reduction='{reduction}' instead.", stacklevel=3)
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return reduction


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """The mean or sum of a loss, or itself."""
    return loss.mean() if reduction == "mean" else loss.sum() if reduction == "sum" else loss  # type: ignore[attr-defined,no-any-return]


@operator(name="_nll", method=False, function=False)
def nll_kernel(input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int) -> Any:
    """(-weight[t] * input[n, t, ...], weight[t]) for every target t; 0 for ignored ones."""
    g = prim.current().graph
    shape = (input.shape[0], *input.shape[2:])
    t = g.reshape(prim.read(target), shape)
    ignored = g.apply("eq", t, g.const(ignore_index, "i64"))
    safe = g.apply("select", ignored, g.const(0, "i64"), t)
    picked = g.gather(prim.read(input), [safe], [("d", 0), ("i", 0), *(("d", d) for d in range(1, len(shape)))], shape)
    w = g.gather(prim.read(weight), [safe], [("i", 0)], shape) if weight is not None else g.const(1, input.dtype.code, shape)
    w = g.apply("select", ignored, g.const(0, input.dtype.code), w)
    # the product of an ignored entry's zero weight with infinity must not become NaN
    loss = g.apply("select", ignored, g.const(0, input.dtype.code), g.apply("neg", g.apply("mul", picked, w)))
    return prim.wrap(loss), prim.wrap(w)


@nll_kernel.gradient("target", "weight")
def _(ctx, grad, grad_weight):  # type: ignore[no-untyped-def]
    return nll_backward.function(grad, ctx.target, ctx.weight, ctx.ignore_index, tuple(ctx.shape("input"))), None, None


@operator(name="_nll_backward", method=False, function=False)
def nll_backward(grad: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, size: tuple[int, ...]) -> Tensor:
    """The gradient of ``_nll`` by its input: ``-weight * grad`` at the targets, 0 elsewhere."""
    g = prim.current().graph
    one = (size[0], 1, *size[2:])
    t = g.expand(g.reshape(prim.read(target), one), size)
    hit = g.apply("eq", t, g.iota(size, 1))
    hit = g.apply("and", hit, g.apply("ne", t, g.const(ignore_index, "i64")))
    value = g.expand(g.reshape(prim.read(grad), one), size)
    if weight is not None:
        value = g.apply("mul", value, g.move(prim.read(weight), ((0, ((1, 1),)),), size))
    return prim.wrap(g.apply("select", hit, g.apply("neg", value), g.const(0, grad.dtype.code)))


@nll_backward.gradient("target", "weight")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return nll_kernel.function(grad, ctx.target, ctx.weight, ctx.ignore_index)[0], None, None


@operator(kind="composite", method=False, out=False, namespace=_F)
def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None, ignore_index: int = -100,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """``-weight[t] * input[n, t]`` for log-probabilities input (n, c, ...) or (c,) and class numbers target (n, ...) or ().

    The mean divides by the sum of the weights.  Raises ValueError or RuntimeError for shapes that do not fit, IndexError for a class
    that does not exist.
    """
    reduction = reduction_of(reduction, size_average, reduce)
    if target.dtype not in (dtypes.int64, dtypes.uint8):
        raise RuntimeError(f"expected scalar type Long but found {target.dtype} for the target of nll_loss")
    if input.ndim == 0:
        raise RuntimeError("nll_loss: input tensor should be 1D or higher")
    x = input.unsqueeze(0) if input.ndim == 1 else input  # type: ignore[attr-defined]
    t = target.unsqueeze(0) if input.ndim == 1 and target.ndim == 0 else target  # type: ignore[attr-defined]
    if t.shape != (x.shape[0], *x.shape[2:]):
        if x.shape[0] != (t.shape[0] if t.ndim else 1):
            raise ValueError(f"Expected input batch_size ({x.shape[0]}) to match target batch_size ({t.shape[0] if t.ndim else 1}).")
        raise RuntimeError(f"nll_loss: expected target of size {[x.shape[0], *x.shape[2:]]}, got {list(t.shape)}")
    if weight is not None and tuple(weight.shape) != (x.shape[1],):
        raise RuntimeError(f"weight tensor should be defined either for all {x.shape[1]} classes or no classes but got weight tensor of shape: {list(weight.shape)}")
    loss, w = nll_kernel.function(x, t.to(dtypes.int64), weight, ignore_index)
    if reduction == "none":
        return loss.squeeze(0) if input.ndim == 1 else loss  # type: ignore[no-any-return]
    return loss.sum() / w.sum() if reduction == "mean" else loss.sum()  # type: ignore[no-any-return]


@operator(kind="composite", method=False, out=False, namespace=_F)
def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None, ignore_index: int = -100,
    reduce: bool | None = None, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """The negative log-likelihood of classes, or of a distribution over them, under ``softmax(input)`` over dimension 1 (0 of a vector).

    target: class numbers (n, ...) or probabilities in the shape of input.  ``label_smoothing`` mixes in the uniform distribution.
    """
    reduction = reduction_of(reduction, size_average, reduce)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    dim = 0 if input.ndim == 1 else 1
    logs = input.log_softmax(dim)  # type: ignore[attr-defined]
    classes = input.shape[dim] if input.ndim else 0
    if target.shape == input.shape and target.dtype.kind == "f":
        p = target * (1 - label_smoothing) + label_smoothing / classes if label_smoothing else target
        if weight is not None:
            logs = logs * weight.reshape([classes if d == dim else 1 for d in range(input.ndim)])  # type: ignore[attr-defined]
        loss = -(logs * p).sum(dim)  # type: ignore[attr-defined]
        if reduction == "mean":
            return loss.sum() / (input.numel() // classes)  # type: ignore[no-any-return]
        return reduced(loss, reduction)
    plain = nll_loss.function(logs, target, weight, None, ignore_index, None, reduction)
    if not label_smoothing:
        return plain  # type: ignore[no-any-return]
    kept = target != ignore_index
    spread = -(logs * weight.reshape([classes if d == dim else 1 for d in range(input.ndim)]) if weight is not None else logs).sum(dim)  # type: ignore[attr-defined]
    spread = where.function(kept, spread, 0.0)
    if reduction == "mean":
        if weight is not None:
            safe = where.function(kept, target, 0)
            below = where.function(kept, weight[safe], 0.0).sum()  # type: ignore[index]
        else:
            below = kept.sum()  # type: ignore[attr-defined]
        spread = spread.sum() / below
    elif reduction == "sum":
        spread = spread.sum()
    return (1 - label_smoothing) * plain + spread * (label_smoothing / classes)  # type: ignore[no-any-return]


@operator(kind="composite", method=False, out=False, namespace=_F)
def mse_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """``(input - target)**2``, reduced."""
    reduction = reduction_of(reduction, size_average, reduce)
    if input.shape != target.shape:
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size ({input.shape}). This will likely lead to incorrect "
            "results due to broadcasting. Please ensure they have the same size.", stacklevel=2,
        )  # fmt: skip
    loss = square_difference.function(input, target)
    if weight is None:
        return reduced(loss, reduction)
    loss = loss * weight
    return loss.sum() / weight.expand(loss.shape).sum() if reduction == "mean" else reduced(loss, reduction)  # type: ignore[attr-defined,no-any-return]


@operator(name="_square_difference", promote=("input", "target"), method=False, function=False)
def square_difference(input: Tensor, target: Tensor) -> Tensor:
    """``(input - target)**2``"""
    return (input - target) ** 2  # type: ignore[operator,no-any-return]
