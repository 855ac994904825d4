"""Losses."""

from __future__ import annotations

import math
import warnings
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import OPERATORS, operator
from ..dispatch.planning import LIMIT
from ..graph.node import broadcast_shapes
from ..tensor import Tensor
from ..transform.level import recorded
from .distance import pairwise_norm

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


@operator(name="_nll", method=False, function=False)
def nll_kernel(input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int) -> Any:
    """(-weight[t] * input[n, t, ...], weight[t]) for every target t; 0 for ignored ones."""
    g = prim.current().graph
    shape = (input.shape[0], *input.shape[2:])
    t = g.reshape(prim.read(target), shape)
    ignored = g.apply("eq", t, g.const(ignore_index, "i64"))
    safe = g.apply("select", ignored, g.const(0, "i64"), t)
    picked = g.gather(prim.read(input), [safe], [("d", 0), ("i", 0), *(("d", d) for d in range(1, len(shape)))], shape)
    w = (
        g.gather(prim.read(weight), [safe], [("i", 0)], shape)
        if weight is not None
        else g.const(1, input.dtype.code, shape)
    )
    w = g.apply("select", ignored, g.const(0, input.dtype.code), w)
    # the product of an ignored entry's zero weight with infinity must not become NaN
    loss = g.apply("select", ignored, g.const(0, input.dtype.code), g.apply("neg", g.apply("mul", picked, w)))
    return prim.wrap(loss), prim.wrap(w)


@nll_kernel.gradient("target", "weight")
def _(ctx, grad, grad_weight):  # type: ignore[no-untyped-def]
    if grad is None:
        return None, None, None
    return nll_backward.function(grad, ctx.target, ctx.weight, ctx.ignore_index, tuple(ctx.shape("input"))), None, None


@operator(name="_nll_backward", method=False, function=False)
def nll_backward(
    grad: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, size: tuple[int, ...]
) -> Tensor:
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


@operator(name="_nll_loss", method=False, function=False)
def nll_reduced(input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, reduction: str) -> Tensor:
    """``_nll``, reduced; the mean divides by the sum of the weights."""
    loss, w = nll_kernel.function(input, target, weight, ignore_index)
    return loss.sum() / w.sum() if reduction == "mean" else reduced(loss, reduction)  # type: ignore[no-any-return]


@nll_reduced.gradient("target", "weight")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    size, mean = tuple(ctx.shape("input")), ctx.reduction == "mean"
    return nll_reduced_backward.function(grad, ctx.target, ctx.weight, ctx.ignore_index, size, mean), None, None


@operator(name="_nll_loss_backward", method=False, function=False)
def nll_reduced_backward(
    grad: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, size: tuple[int, ...], mean: bool
) -> Tensor:
    """The gradient of ``_nll_loss`` by its input."""
    share: Any = grad
    if mean:
        share = share / _class_weights(target, weight, ignore_index, grad.dtype).sum()  # type: ignore[attr-defined]
    if not grad.ndim:
        share = share.expand((size[0], *size[2:]))
    return nll_backward.function(share, target, weight, ignore_index, size)  # type: ignore[no-any-return]


def _classes_of(name: str, input: Tensor, target: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scores (n, c, ...) and class numbers (n, ...), from those of a single sample too; checks their shapes."""
    layouts = input._layout, target._layout, None if weight is None else weight._layout
    if layouts in _fitting:
        return input, target
    if target.dtype not in (dtypes.int64, dtypes.uint8):
        raise RuntimeError(f"expected scalar type Long but found {target.dtype} for the target of {name}")
    if input.ndim == 0:
        raise RuntimeError(f"{name}: input tensor should be 1D or higher")
    x = input.unsqueeze(0) if input.ndim == 1 else input  # type: ignore[attr-defined]
    t = target.unsqueeze(0) if input.ndim == 1 and target.ndim == 0 else target  # type: ignore[attr-defined]
    if t.shape != (x.shape[0], *x.shape[2:]):
        have = t.shape[0] if t.ndim else 1
        if x.shape[0] != have:
            raise ValueError(f"Expected input batch_size ({x.shape[0]}) to match target batch_size ({have}).")
        raise RuntimeError(f"{name}: expected target of size {[x.shape[0], *x.shape[2:]]}, got {list(t.shape)}")
    if weight is not None and tuple(weight.shape) != (x.shape[1],):
        raise RuntimeError(
            f"weight tensor should be defined either for all {x.shape[1]} classes or no classes "
            f"but got weight tensor of shape: {list(weight.shape)}"
        )
    if x is input and t is target and t.dtype is dtypes.int64:
        if len(_fitting) >= LIMIT:
            _fitting.clear()
        _fitting.add(layouts)
    return x, t.to(dtypes.int64)


_fitting: set[Any] = set()  # what ``_classes_of`` has found to fit, and to need no change


@operator(kind="composite", method=False, out=False, namespace=_F)
def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """``-weight[t] * input[n, t]`` for log-probabilities input (n, c, ...) or (c,) and class numbers target (n, ...) or
    ().

    The mean divides by the sum of the weights.  Raises ValueError or RuntimeError for shapes that do not fit,
    IndexError for a class that does not exist.
    """
    reduction = reduction_of(reduction, size_average, reduce)
    x, t = _classes_of("nll_loss", input, target, weight)
    loss = nll_reduced.function(x, t, weight, ignore_index, reduction)
    return loss.squeeze(0) if input.ndim == 1 and reduction == "none" else loss  # type: ignore[no-any-return]


@operator(kind="composite", method=False, out=False, namespace=_F)
def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None, reduction: str = "mean", label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """The negative log-likelihood of classes, or of a distribution over them, under ``softmax(input)`` over dimension 1
    (0 of a vector).

    target: class numbers (n, ...) or probabilities in the shape of input.  ``label_smoothing`` mixes in the uniform
    distribution.
    """
    reduction = reduction_of(reduction, size_average, reduce)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}")
    if target.shape == input.shape and target.dtype.kind == "f":
        return _mixture_entropy.function(input, target, weight, float(label_smoothing), reduction)  # type: ignore[no-any-return]
    x, t = _classes_of("cross_entropy", input, target, weight)
    loss = _class_entropy.function(x, t, weight, ignore_index, float(label_smoothing), reduction)[0]
    return loss.squeeze(0) if input.ndim == 1 and reduction == "none" and target.ndim == 0 else loss  # type: ignore[no-any-return]


def _log_of_total(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """(x less its greatest element along ``dim``, the logarithm of the sum of its exponentials): their difference is
    the logarithm of the softmax."""
    shifted = x - prim.reduce("max", x, (dim,))  # type: ignore[operator]
    return shifted, shifted.exp().sum(dim, True).log()


@operator(name="_pick_class", method=False, function=False)
def _pick_class(input: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    """``input[n, target[n, ...], ...]``; that of class 0 where the target is to be ignored."""
    g = prim.current().graph
    t = prim.read(target)
    safe = g.apply("select", g.apply("eq", t, g.const(ignore_index, "i64")), g.const(0, "i64"), t)
    places = [("d", 0), ("i", 0), *(("d", d) for d in range(1, len(t.shape)))]
    return prim.wrap(g.gather(prim.read(input), [safe], places, t.shape))


@_pick_class.gradient("target")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return nll_backward.function(-grad, ctx.target, None, ctx.ignore_index, tuple(ctx.shape("input"))), None


def _class_weights(target: Tensor, weight: Tensor | None, ignore_index: int, kind: dtypes.dtype) -> Tensor:
    """The weight of each target's class: 0 of ignored ones, otherwise 1 by default."""
    g = prim.current().graph
    t = prim.read(target)
    ignored = g.apply("eq", t, g.const(ignore_index, "i64"))
    w = g.const(1, kind.code, t.shape)
    if weight is not None:
        w = g.gather(prim.read(weight), [g.apply("select", ignored, g.const(0, "i64"), t)], [("i", 0)], t.shape)
    return prim.wrap(g.apply("select", ignored, g.const(0, kind.code), w))


def _spread_weights(weight: Tensor | None, ndim: int, dim: int) -> Tensor | None:
    """One weight a class, along dimension ``dim``."""
    return None if weight is None else weight.reshape([-1 if d == dim else 1 for d in range(ndim)])  # type: ignore[attr-defined,no-any-return]


@operator(name="_cross_entropy", method=False, function=False)
def _class_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, label_smoothing: float, reduction: str
) -> Any:
    """Cross-entropy of class numbers (n, ...) under ``softmax(input, 1)``, without the softmax in memory.

    For the gradient also the greatest score of each sample, and one by the sum of the exponentials of the others'
    distance to it.
    """
    kind = input.dtype
    if kind.kind != "f":
        raise RuntimeError(f'"cross_entropy" not implemented for {kind}')
    x = prim.cast(input, dtypes.float32) if kind.itemsize < 4 else input
    each = None if weight is None else prim.cast(weight, x.dtype)
    top = prim.reduce("max", x, (1,))
    total = (x - top).exp().sum(1, True)  # type: ignore[operator]
    w = _class_weights(target, each, ignore_index, x.dtype)
    off = total.log().squeeze(1)
    kept = target != ignore_index
    loss = where_of(kept, (off - (_pick_class.function(x, target, ignore_index) - top.squeeze(1))) * w, 0.0)  # type: ignore[attr-defined]
    if label_smoothing:
        spread = total.log() - (x - top)  # type: ignore[operator]
        wide = _spread_weights(each, x.ndim, 1)
        spread = where_of(kept, (spread if wide is None else spread * wide).sum(1), 0.0)
        loss = (1 - label_smoothing) * loss + spread * (label_smoothing / x.shape[1])  # type: ignore[operator]
    loss = loss.sum() / w.sum() if reduction == "mean" else reduced(loss, reduction)  # type: ignore[attr-defined]
    return prim.cast(loss, kind), top, total.reciprocal()


@_class_entropy.gradient("input", "target", "weight", "result1", "result2")
def _(ctx, grad, *_):  # type: ignore[no-untyped-def]
    x, top, scale = ctx.input, ctx.results[1], ctx.results[2]
    if recorded():  # to be differentiated again: how the sum depends on the scores must be on the tape
        wide = x.to(dtypes.float32) if x.dtype.itemsize < 4 else x
        top = wide.detach().amax(1, True)
        scale = (wide - top).exp().sum(1, True).reciprocal()
    made = _class_entropy_backward.function(
        grad, x, ctx.target, ctx.weight, top, scale, ctx.ignore_index, ctx.label_smoothing, ctx.reduction == "mean"
    )
    return made, None, None


@operator(name="_class_entropy_backward", method=False, function=False)
def _class_entropy_backward(
    grad: Tensor, input: Tensor, target: Tensor, weight: Tensor | None, top: Tensor, scale: Tensor, ignore_index: int,
    label_smoothing: float,
    mean: bool,
) -> Tensor:  # fmt: skip
    """The gradient of ``_class_entropy`` by its input: ``(softmax(input) - onehot(target)) * weight * grad``, in one
    pass."""
    g = prim.current().graph
    x = input.to(dtypes.float32) if input.dtype.itemsize < 4 else input  # type: ignore[attr-defined]
    each = None if weight is None else prim.cast(weight, x.dtype)
    classes = x.shape[1]
    w = _class_weights(target, each, ignore_index, x.dtype)
    share = grad.to(x.dtype)  # type: ignore[attr-defined]
    if mean:
        share = share / w.sum()  # type: ignore[attr-defined]
    t = g.expand(g.reshape(prim.read(target), (x.shape[0], 1, *x.shape[2:])), x.shape)
    hit = prim.wrap(
        g.apply("select", g.apply("eq", t, g.iota(x.shape, 1)), g.const(1, x.dtype.code), g.const(0, x.dtype.code))
    )
    p = (x - top).exp() * scale
    if share.ndim:
        share = share.unsqueeze(1)
    if not label_smoothing:
        return ((p - hit) * (share * w.unsqueeze(1))).to(input.dtype)  # type: ignore[attr-defined,no-any-return]
    kept = _class_weights(target, None, ignore_index, x.dtype).unsqueeze(1)  # type: ignore[attr-defined]
    own = (p - hit) * w.unsqueeze(1) * (1 - label_smoothing)  # type: ignore[attr-defined]
    wide = _spread_weights(each, x.ndim, 1)
    spread = (p * classes - 1 if wide is None else p * each.sum() - wide) * (label_smoothing / classes)  # type: ignore[attr-defined,union-attr]
    return ((own + spread * kept) * share).to(input.dtype)  # type: ignore[no-any-return]


@operator(name="_mixture_entropy", promote=("input", "target", "weight"), method=False, function=False)
def _mixture_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None, label_smoothing: float, reduction: str
) -> Tensor:
    """Cross-entropy of probabilities in the shape of input."""
    dim = 0 if input.ndim == 1 else 1
    shifted, total = _log_of_total(input, dim)
    p = target * (1 - label_smoothing) + label_smoothing / input.shape[dim] if label_smoothing else target  # type: ignore[operator]
    each = _spread_weights(weight, input.ndim, dim)
    terms = (total - shifted) * p  # type: ignore[operator]
    loss = (terms if each is None else terms * each).sum(dim)
    if reduction == "mean":
        return prim.share(loss.sum(), max(math.prod(loss.shape), 1))  # type: ignore[no-any-return]
    return reduced(loss, reduction)


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


@operator(kind="composite", method=False, out=False, namespace="torch.nn.functional")
def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """input where target is 1, ``max(0, margin - input)`` where it is -1."""
    reduction = reduction_of(reduction, size_average, reduce)
    far = where_of(target != 1, (margin - input).clamp(min=0), 0.0)  # type: ignore[operator]
    return reduced(far + where_of(target != -1, input, 0.0), reduction)  # type: ignore[operator]


@operator(kind="composite", method=False, out=False, namespace="torch.nn.functional")
def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, -target * (input1 - input2) + margin)``"""
    reduction = reduction_of(reduction, size_average, reduce)
    if not input1.ndim == input2.ndim == target.ndim:
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.shape}, input2: {input2.shape}, target: {target.shape} "
        )
    return reduced((-target * (input1 - input2) + margin).clamp(min=0), reduction)  # type: ignore[operator]


@operator(kind="composite", method=False, out=False, namespace=_F)
def soft_margin_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
) -> Tensor:
    """``log(1 + exp(-target * input))``"""
    reduction = reduction_of(reduction, size_average, reduce)
    return _soft_margin.function(input, target, reduction)  # type: ignore[no-any-return]


@operator(name="_soft_margin", promote=("input", "target"), method=False, function=False)
def _soft_margin(input: Tensor, target: Tensor, reduction: str) -> Tensor:
    """``log(1 + exp(-target * input))``, reduced."""
    return reduced(-OPERATORS["logsigmoid"].function(target * input), reduction)  # type: ignore[operator]


@operator(kind="composite", method=False, out=False)
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """``x1 . x2 / (max(|x1|, eps) * max(|x2|, eps))`` along ``dim``."""
    if x1.dtype.kind != "f" and x2.dtype.kind != "f":
        raise RuntimeError(f"expected common dtype to be floating point, yet common dtype is {x1.dtype}")
    return _cosine.function(x1, x2, dim, float(eps))  # type: ignore[no-any-return]


@operator(name="_cosine", promote=("x1", "x2"), method=False, function=False)
def _cosine(x1: Tensor, x2: Tensor, dim: int, eps: float) -> Tensor:
    """The kernel of ``cosine_similarity``."""
    shape = broadcast_shapes(x1.shape, x2.shape)
    if shape and -len(shape) <= dim < len(shape):
        # Norms are of the vectors as they are broadcast: numbers that are repeated along ``dim`` count repeatedly.
        dim = dim - len(shape) if dim >= 0 else dim
        x1, x2 = (t if t.ndim >= -dim and t.shape[dim] == shape[dim] else t.expand(shape) for t in (x1, x2))  # type: ignore[attr-defined]
    a = x1 / (x1 * x1).sum(dim, True).sqrt().clamp(min=eps)  # type: ignore[operator]
    b = x2 / (x2 * x2).sum(dim, True).sqrt().clamp(min=eps)  # type: ignore[operator]
    return (a * b).sum(dim)  # type: ignore[no-any-return]


@operator(kind="composite", method=False, out=False, namespace="torch.nn.functional")
def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``1 - cos(x1, x2)`` where target is 1, ``max(0, cos(x1, x2) - margin)`` where it is -1."""
    reduction = reduction_of(reduction, size_average, reduce)
    if target.ndim + 1 != input1.ndim or target.ndim + 1 != input2.ndim:
        if target.ndim not in (0, 1):
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        raise RuntimeError(
            f"{target.ndim}D target tensor expects {target.ndim + 1}D input tensors, but found "
            f"inputs with sizes {list(input1.shape)} and {list(input2.shape)}."
        )
    return _cosine_margin.function(input1, input2, target, float(margin), reduction)  # type: ignore[no-any-return]


@operator(name="_cosine_margin", promote=("input1", "input2"), method=False, function=False)
def _cosine_margin(input1: Tensor, input2: Tensor, target: Tensor, margin: float, reduction: str) -> Tensor:
    """The kernel of ``cosine_embedding_loss``."""
    eps = 1e-12
    dim = target.ndim
    product = (input1 * input2).sum(dim)  # type: ignore[operator]
    size = ((input1 * input1).sum(dim) + eps) * ((input2 * input2).sum(dim) + eps)  # type: ignore[operator]
    cos = product / size.sqrt()
    near = where_of(target == 1, 1 - cos, 0.0)
    far = where_of(target == -1, (cos - margin).clamp(min=0), 0.0)
    return reduced(near + far, reduction)  # type: ignore[operator]


@operator(kind="composite", method=False, out=False)
def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of ``x1 - x2 + eps`` along the last dimension."""
    if x1.dtype.kind not in "fc" and x2.dtype.kind not in "fc":
        return (x1 - x2 + eps).norm(p, -1, keepdim)  # type: ignore[operator,no-any-return]
    return pairwise_norm.function(x1, x2, float(p), float(eps), keepdim)  # type: ignore[no-any-return]


@operator(kind="composite", method=False, out=False, namespace="torch.nn.functional")
def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2, eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """``max(0, |a - p| - |a - n| + margin)``; with ``swap`` the nearer of anchor and positive counts.  Balntas et al.
    2016."""
    reduction = reduction_of(reduction, size_average, reduce)
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    near = pairwise_distance.function(anchor, positive, p, eps)
    far = pairwise_distance.function(anchor, negative, p, eps)
    if swap:
        far = OPERATORS["minimum"].function(far, pairwise_distance.function(positive, negative, p, eps))
    return reduced((margin + near - far).clamp(min=0), reduction)


@operator(kind="composite", method=False, out=False, namespace=_F)
def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over classes of the binary cross-entropy of ``sigmoid(input)``."""
    reduction = reduction_of(reduction, size_average, reduce)
    logsigmoid = OPERATORS["logsigmoid"].function
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))  # type: ignore[operator]
    loss = loss if weight is None else loss * weight
    return reduced(loss.mean(-1), reduction)


@operator(kind="composite", method=False, out=False, namespace=_F)
def multi_margin_loss(
    input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The mean over other classes of ``max(0, margin - input[target] + input)**p``, weighted by the target's class."""
    reduction = reduction_of(reduction, size_average, reduce)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    if weight is not None and weight.ndim != 1:
        raise ValueError(f"weight must be one-dimensional, got {weight.ndim} dimensions")
    x = input if input.ndim == 2 else input.reshape(1, -1)  # type: ignore[attr-defined]
    t = target.reshape(-1)  # type: ignore[attr-defined]
    if x.shape[0] != t.shape[0]:
        raise RuntimeError(f"inconsistent target size, expected {x.shape[0]} but got {list(target.shape)}")
    own = x.gather(1, t.unsqueeze(1))
    gap = (margin - own + x).clamp(min=0) ** p
    if weight is not None:
        gap = gap * weight[t].unsqueeze(1)  # type: ignore[index]
    classes = x.shape[1]
    number = t.new_ones(x.shape).cumsum(1) - 1
    loss = where_of(number == t.unsqueeze(1), 0.0, gap).sum(1) / classes  # type: ignore[attr-defined]
    return reduced(loss if input.ndim == 2 else loss.squeeze(0), reduction)


@operator(kind="composite", method=False, out=False, namespace=_F)
def multilabel_margin_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None, reduction: str = "mean"
) -> Tensor:
    """The mean over classes of ``max(0, 1 - (input[j] - input[i]))``, summed over the classes j of a sample and those i
    that are not its.

    target (n, c) or (c,), int64: the classes of each sample, ended by -1.  Raises RuntimeError for other shapes.
    """
    reduction = reduction_of(reduction, size_average, reduce)
    if input.ndim > 2 or (input.numel() == 0 and (input.ndim != 2 or input.shape[1] == 0)):
        raise RuntimeError(
            f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(input.shape)}"
        )
    if target.shape != input.shape and (input.ndim == 2 or target.ndim > 1 or target.numel() != input.numel()):
        raise RuntimeError(f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}")
    if target.dtype is not dtypes.int64:
        raise RuntimeError(f"expected scalar type Long but found {target.dtype}")
    x = input if input.ndim == 2 else input.reshape(1, -1)  # type: ignore[attr-defined]
    t = target if target.ndim == 2 else target.reshape(1, -1)  # type: ignore[attr-defined]
    if (t < -1).any() or (t >= x.shape[1]).any():
        raise RuntimeError("multilabel_margin_loss: argument #3 target is out of range")
    valid = (t >= 0).cumprod(1).bool()  # up to the first -1
    own = t.new_zeros(x.shape).scatter_add(1, t.clamp(min=0), valid.to(dtypes.int64)) > 0
    chosen = x.gather(1, t.clamp(min=0))
    gap = (1 - chosen.unsqueeze(2) + x.unsqueeze(1)).clamp(min=0)
    counted = valid.unsqueeze(2) & ~own.unsqueeze(1)
    loss = where_of(counted, gap, 0.0).sum((1, 2)) / x.shape[1]  # type: ignore[attr-defined]
    return reduced(loss if input.ndim == 2 else loss.squeeze(0), reduction)
