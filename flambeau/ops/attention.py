"""Scaled dot-product attention.

Operands that the flash kernels take (``template/attention.py``) are one launch, forward and backward, whose memory
grows with the length of the sequence; everything else (broadcast batches, masks with a gradient, second derivatives)
is a composite of products and a fused softmax.
"""

from __future__ import annotations

import math

from .. import dtype as dtypes
from .. import generator as draw
from .. import primitives as prim
from .. import template
from ..autograd.mode import is_grad_enabled
from ..dispatch.operator import OPERATORS, operator
from ..layout import contiguous_strides
from ..tensor import Tensor, contiguous
from .random_fill import fill_in_order

__all__: list[str] = []

_FEW = 4  # queries up to which products of few rows, which stream the keys from where they are, are faster
_TYPES = frozenset({"f32", "f64", "bf16", "f16"})


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
    factor = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale
    if _takes_flash(query, key, value, attn_mask, dropout_p, enable_gqa):
        return _flash(query, key, value, attn_mask, dropout_p, is_causal, factor)
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)  # type: ignore[attr-defined]
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)  # type: ignore[attr-defined]
    recorded = is_grad_enabled() and any(t is not None and t.requires_grad for t in (query, key, value, attn_mask))
    if query._layout.numel and not dropout_p and not recorded:
        return plain_attention.function(query, key, value, attn_mask, factor, is_causal)  # type: ignore[no-any-return]
    return _composite(query, key, value, attn_mask, dropout_p, is_causal, factor)


def _composite(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, dropout_p: float, is_causal: bool,
    factor: float,
) -> Tensor:  # fmt: skip
    """Attention by operators."""
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


@operator(name="_plain_attention", method=False, function=False, out=False)
def plain_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, factor: float, causal: bool
) -> Tensor:
    """Attention by operators, planned as one: two products and a softmax."""
    return _composite(query, key, value, mask, 0.0, causal, factor)


def _takes_flash(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout_p: float, enable_gqa: bool
) -> bool:
    """Whether the flash kernels take these operands, and are the best way."""
    q, k, v = query.shape, key.shape, value.shape
    if query.dtype.code not in _TYPES or not query.ndim == key.ndim == value.ndim or 0 in (*q, *k, *v):
        return False
    if k[:-1] != v[:-1] or q[-1] != k[-1] or dropout_p >= 1:
        return False
    if enable_gqa:
        if len(q) < 3 or q[:-3] != k[:-3] or q[-3] % k[-3]:
            return False
    elif q[:-2] != k[:-2]:
        return False
    if mask is not None:
        if mask.requires_grad or mask.ndim > query.ndim or mask.dtype.code not in {"b1", *_TYPES}:
            return False
        scores = (*q[:-1], k[-2])[query.ndim - mask.ndim :]
        if any(n not in (1, m) for n, m in zip(mask.shape, scores)):
            return False
    return q[-2] > _FEW or dropout_p > 0


def _flash(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout_p: float, causal: bool, factor: float
) -> Tensor:
    """Attention by the flash kernels, on operands of any number of dimensions."""
    lead = query.shape[:-2]
    flat = query.ndim != 4

    def four(t: Tensor) -> Tensor:
        batch = math.prod(t.shape[:-3])
        return t.reshape(batch, *t.shape[-3:]) if t.ndim > 2 else t.reshape(1, 1, *t.shape)  # type: ignore[attr-defined,no-any-return]

    if flat:
        scores = (*query.shape[:-1], key.shape[-2])
        if mask is not None:
            mask = four(mask.expand(scores)) if mask.ndim > 2 else mask  # type: ignore[attr-defined]
        query, key, value = four(query), four(key), four(value)
    keep = None
    if dropout_p > 0:
        # drawn as the dropout of the weights would: a generator's numbers do not depend on the way
        keep = contiguous(dtypes.bool_, (*query.shape[:3], key.shape[-2]), query.device)
        fill_in_order(keep, lambda at, n: draw.fill_bernoulli(None, at, n, "b1", 1 - dropout_p, 1.0))
    found = flash_attention.function(query, key, value, mask, keep, causal, factor)[0]
    if dropout_p > 0:
        found = found / (1 - dropout_p)
    return found.reshape(*lead, *found.shape[-2:]) if flat else found  # type: ignore[no-any-return]


def _by_position(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of (batch, head, position, feature) in memory where heads lie side by side in every position."""
    batch, heads, positions, features = shape
    b, p, h, f = contiguous_strides((batch, positions, heads, features))
    return b, h, p, f


def _spec(query: Tensor, mask: Tensor | None, keep: Tensor | None, causal: bool) -> template.attention.Spec:
    return template.attention.Spec(
        query.dtype.code, causal, None if mask is None else mask.dtype.code, None if keep is None else keep.dtype.code
    )


def _extras(query: Tensor, key: Tensor, mask: Tensor | None, keep: Tensor | None) -> list[Tensor]:
    scores = (*query.shape[:3], key.shape[2])
    return [t.expand(scores) for t in (mask, keep) if t is not None]  # type: ignore[attr-defined]


def _launch(spec: object, operands: list[Tensor], results: list[Tensor]) -> tuple[Tensor, ...]:
    """The results of a kernel, in memory by position; ``results`` are tensors of their shapes and types."""
    nodes = prim.current().graph.extern(
        spec, [prim.read(t) for t in operands], [(t.shape, t.dtype.code) for t in results]
    )
    return tuple(prim.wrap(n, _by_position(n.shape)) for n in nodes)


@operator(name="_flash_attention", method=False, function=False, out=False)
def flash_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, keep: Tensor | None, causal: bool, scale: float
) -> Tensor:
    """(result, base-2 logarithms of the softmax's denominators) of four-dimensional operands; weights are multiplied
    by ``keep``."""
    batch, heads, positions, _ = query.shape
    work = dtypes.float64 if query.dtype is dtypes.float64 else dtypes.float32
    operands = [query, key, value, *_extras(query, key, mask, keep)]
    nodes = prim.current().graph.extern(
        template.attend.Attention(_spec(query, mask, keep, causal), scale),
        [prim.read(t) for t in operands],
        [((batch, heads, positions, value.shape[3]), query.dtype.code), ((batch, heads, positions), work.code)],
    )
    return prim.wrap(nodes[0], _by_position(nodes[0].shape)), prim.wrap(nodes[1])  # type: ignore[return-value]


@flash_attention.gradient("query", "key", "value", "mask", "keep", "result0", "result1")
def _(ctx, grad, grad_logs):  # type: ignore[no-untyped-def]
    if is_grad_enabled():
        return (*_differentiable(ctx, grad), None, None)
    found = flash_attention_gradient.function(
        grad, ctx.query, ctx.key, ctx.value, ctx.results[0], ctx.results[1], ctx.mask, ctx.keep, ctx.causal, ctx.scale
    )
    return (*found, None, None)


def _differentiable(ctx, grad):  # type: ignore[no-untyped-def]
    """The gradients by q, k and v in operators, for derivatives of higher order."""
    query, key, value = ctx.query, ctx.key, ctx.value
    groups = query.shape[1] // key.shape[1]
    kind = query.dtype
    work = dtypes.float64 if kind is dtypes.float64 else dtypes.float32
    query, key, value, grad = (t.to(work) for t in (query, key, value, grad))
    if groups > 1:
        key, value = (t.repeat_interleave(groups, 1) for t in (key, value))
    weights = _weights(query @ key.transpose(-2, -1), ctx.mask, ctx.causal, ctx.scale)
    kept = weights if ctx.keep is None else weights * ctx.keep
    change = grad @ value.transpose(-2, -1)
    if ctx.keep is not None:
        change = change * ctx.keep
    change = weights * (change - (weights * change).sum(-1, True)) * ctx.scale
    found = change @ key, change.transpose(-2, -1) @ query, kept.transpose(-2, -1) @ grad
    if groups > 1:
        shared = [t.reshape(t.shape[0], -1, groups, *t.shape[2:]).sum(2) for t in found[1:]]
        found = found[0], *shared
    return tuple(t.to(kind) for t in found)


def _weights(scores: Tensor, mask: Tensor | None, causal: bool, scale: float) -> Tensor:
    """The softmax of scaled and masked scores."""
    if mask is not None and mask.dtype is not dtypes.bool_:
        return biased_softmax.function(scores, mask, scale)  # type: ignore[no-any-return]
    return masked_softmax.function(scores, mask, scale, causal)  # type: ignore[no-any-return]


@operator(name="_flash_attention_gradient", method=False, function=False, out=False, differentiable=False)
def flash_attention_gradient(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, result: Tensor, logs: Tensor, mask: Tensor | None,
    keep: Tensor | None, causal: bool, scale: float,
) -> Tensor:  # fmt: skip
    """The gradients of `flash_attention` by query, key and value."""
    kernel = template.attend.AttentionGradient(_spec(query, mask, keep, causal), scale)
    operands = [grad, query, key, value, result, logs, *_extras(query, key, mask, keep)]
    return _launch(kernel, operands, [query, key, value])  # type: ignore[return-value]


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
