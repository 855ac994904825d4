"""Losses of margins, and the similarities and distances that they compare."""

from __future__ import annotations

from .. import dtype as dtypes
from ..dispatch.operator import OPERATORS, operator
from ..graph.node import broadcast_shapes
from ..tensor import Tensor
from .distance import pairwise_norm
from .loss import reduced, reduction_of, where_of

__all__: list[str] = []

_F = "torch.nn.functional"


@operator(kind="composite", method=False, out=False, namespace=_F)
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


@operator(kind="composite", method=False, out=False, namespace=_F)
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


@operator(kind="composite", method=False, out=False, namespace=_F)
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


@operator(kind="composite", method=False, out=False, namespace=_F)
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
