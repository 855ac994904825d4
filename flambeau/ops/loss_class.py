"""Losses of classes: negative log-likelihood and cross-entropy."""

from __future__ import annotations

import math
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import operator
from ..dispatch.planning import LIMIT
from ..tensor import Tensor
from ..transform.level import recorded
from .loss import reduced, reduction_of, where_of

__all__: list[str] = []

_F = "torch.nn.functional"


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
