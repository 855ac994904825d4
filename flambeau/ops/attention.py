"""Scaled dot-product attention."""

from __future__ import annotations

import math

from .. import dtype as dtypes
from .. import primitives as prim
from ..operator import OPERATORS, operator
from ..tensor import Tensor

__all__: list[str] = []


@operator(kind="composite", method=False, namespace="torch.nn.functional", out=False)
def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """``softmax(query @ key.T * scale + mask) @ value`` for query (..., l, e), key (..., s, e), value (..., s, d).

    ``attn_mask``: bool (True takes part) or added to the scores; ``is_causal`` masks what lies ahead; ``scale``
    defaults to 1/sqrt(e); ``enable_gqa`` repeats the heads (third dimension from the end) of key and value.  Vaswani et
    al. 2017.
    """
    if is_causal and attn_mask is not None:
        raise RuntimeError("scaled_dot_product_attention: Explicit attn_mask should not be set when is_causal=True")
    for name, t in (("query", query), ("key", key), ("value", value)):
        if t.ndim < 2:
            raise RuntimeError(
                f"scaled_dot_product_attention: expected {name} to have at least 2 dimensions, got {t.ndim}"
            )
    if not query.dtype == key.dtype == value.dtype:
        raise RuntimeError(
            "Expected query, key, and value to have the same dtype, but got query.dtype: "
            f"{query.dtype} key.dtype: {key.dtype} and value.dtype: {value.dtype} instead."
        )
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)  # type: ignore[attr-defined]
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)  # type: ignore[attr-defined]
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    kind = query.dtype
    if kind.itemsize < 4:  # scores and weights keep float32's precision
        query, key, value = (t.to(dtypes.float32) for t in (query, key, value))  # type: ignore[attr-defined]
        if attn_mask is not None and attn_mask.dtype is kind:
            attn_mask = attn_mask.to(dtypes.float32)  # type: ignore[attr-defined]
    scores = query @ key.transpose(-2, -1)  # type: ignore[attr-defined,operator]
    if attn_mask is not None and attn_mask.dtype is not dtypes.bool_:
        weights = biased_softmax.function(scores, attn_mask, factor)
    else:
        weights = masked_softmax.function(scores, attn_mask, factor, is_causal)
    if dropout_p > 0.0:
        weights = OPERATORS["dropout"].function(weights, dropout_p, True)
    found = weights @ value
    return found if found.dtype is kind else found.to(kind)  # type: ignore[no-any-return]


@operator(name="_masked_softmax", method=False, function=False)
def masked_softmax(scores: Tensor, mask: Tensor | None, scale: float, causal: bool) -> Tensor:
    """softmax of scaled scores over the last dimension, where the mask allows; rows without any are 0."""
    x = _scaled(scores, scale)
    if causal:
        rows, columns = _positions(scores)
        mask = columns <= rows
    if mask is not None:
        x = OPERATORS["_where"].function(mask, x, -math.inf)
    top = x.amax(-1, True)  # type: ignore[attr-defined]
    if mask is not None:
        top = OPERATORS["_where"].function(top == -math.inf, 0.0, top)
    e = (x - top).exp()
    total = e.sum(-1, True)
    if mask is not None:
        total = OPERATORS["_where"].function(total == 0, 1.0, total)
    return (e / total).to(scores.dtype)  # type: ignore[no-any-return]


def _scaled(scores: Tensor, scale: float) -> Tensor:
    return (scores.to(dtypes.float32) if scores.dtype.itemsize < 4 else scores) * scale  # type: ignore[attr-defined,no-any-return,operator]


@masked_softmax.gradient("result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return scaled_softmax_backward.function(grad, ctx.result, ctx.scale), None


@operator(name="_biased_softmax", method=False, function=False)
def biased_softmax(scores: Tensor, bias: Tensor, scale: float) -> Tensor:
    """softmax of scaled scores plus a bias over the last dimension."""
    x = _scaled(scores, scale) + bias
    top = x.amax(-1, True)
    top = OPERATORS["_where"].function(top == -math.inf, 0.0, top)
    e = (x - top).exp()
    total = e.sum(-1, True)
    return (e / OPERATORS["_where"].function(total == 0, 1.0, total)).to(scores.dtype)  # type: ignore[no-any-return]


@biased_softmax.gradient("result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return (
        scaled_softmax_backward.function(grad, ctx.result, ctx.scale) if ctx.needs("scores") else None,
        scaled_softmax_backward.function(grad, ctx.result, 1.0) if ctx.needs("bias") else None,
    )


@operator(name="_scaled_softmax_backward", method=False, function=False)
def scaled_softmax_backward(grad: Tensor, output: Tensor, scale: float) -> Tensor:
    """``scale * y * (g - sum(g * y))`` over the last dimension."""
    kind = output.dtype
    work = dtypes.float32 if kind.itemsize < 4 else kind
    g, y = grad.to(work), output.to(work)  # type: ignore[attr-defined]
    return (y * (g - (g * y).sum(-1, True)) * scale).to(kind)  # type: ignore[no-any-return]


@operator(name="_positions", method=False, function=False, differentiable=False)
def _positions(scores: Tensor) -> Tensor:
    """(row, column) of each of the last two dimensions."""
    ndim = scores.ndim
    return prim.iota(scores.shape, ndim - 2), prim.iota(scores.shape, ndim - 1)  # type: ignore[return-value]
