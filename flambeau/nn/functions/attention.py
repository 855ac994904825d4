"""Multi-head attention as a function: projections, masks, attention, output projection."""

from __future__ import annotations

import math
import warnings
from typing import cast

from ...dtype import bool_
from .._base import Tensor, dtype, ops, overridable

__all__ = ["canonical_mask", "dtype_or_none", "multi_head_attention_forward"]


def dtype_or_none(mask: Tensor | None) -> dtype | None:
    """The element type of a mask, None for no mask."""
    if mask is None:
        return None
    if isinstance(mask, Tensor):
        return mask.dtype
    raise RuntimeError("input to _none_or_dtype() must be None or torch.Tensor")


def canonical_mask(
    mask: Tensor | None,
    mask_name: str,
    other_type: dtype | None,
    other_name: str,
    target_type: dtype,
    check_other: bool = True,
) -> Tensor | None:
    """A mask as numbers to add: True becomes minus infinity.  Raises RuntimeError for integer masks."""
    if mask is None:
        return None
    if mask.dtype is not bool_ and not mask.is_floating_point():
        raise RuntimeError(f"only bool and floating types of {mask_name} are supported")
    if check_other and other_type is not None and mask.dtype != other_type:
        warnings.warn(
            f"Support for mismatched {mask_name} and {other_name} is deprecated. Use same type for both instead.",
            stacklevel=3,
        )
    if mask.dtype is bool_:
        return ops.zeros_like(mask, dtype=target_type).masked_fill_(mask, float("-inf"))
    return mask


def _check_shapes(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None,
    attn_mask: Tensor | None,
    num_heads: int,
) -> bool:
    """Whether the inputs have a batch; raises AssertionError for ranks and shapes that do not go together."""
    if query.dim() not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2D or batched 3D tensor but received {query.dim()}-D query tensor"
        )
    batched = query.dim() == 3
    kind = "batched" if batched else "unbatched"
    if key.dim() != query.dim() or value.dim() != query.dim():
        raise AssertionError(
            f"For {kind} ({query.dim()}-D) `query`, expected `key` and `value` to be {query.dim()}-D but found "
            f"{key.dim()}-D and {value.dim()}-D tensors respectively"
        )
    mask_rank = 2 if batched else 1
    if key_padding_mask is not None and key_padding_mask.dim() != mask_rank:
        raise AssertionError(
            f"For {kind} ({query.dim()}-D) `query`, expected `key_padding_mask` to be `None` or {mask_rank}-D but "
            f"found {key_padding_mask.dim()}-D tensor instead"
        )
    if attn_mask is not None:
        if attn_mask.dim() not in (2, 3):
            raise AssertionError(
                f"For {kind} ({query.dim()}-D) `query`, expected `attn_mask` to be `None`, 2-D or 3-D but found "
                f"{attn_mask.dim()}-D tensor instead"
            )
        if not batched and attn_mask.dim() == 3:
            expected = (num_heads, query.shape[0], key.shape[0])
            if attn_mask.shape != expected:
                raise AssertionError(f"Expected `attn_mask` shape to be {expected} but got {attn_mask.shape}")
    return batched


def _project_packed(q: Tensor, k: Tensor, v: Tensor, w: Tensor | None, b: Tensor | None) -> list[Tensor]:
    """q, k and v times the thirds of ``w`` (3 E, E); inputs that are one tensor are projected in one product."""
    if k.shape != v.shape:
        raise AssertionError(f"key shape {k.shape} does not match value shape {v.shape}")
    if w is None:
        raise AssertionError("use_separate_proj_weight is False but in_proj_weight is None")
    size = q.size(-1)
    if k is v and q is k:
        return list(ops.linear(q, w, b).chunk(3, -1))
    if k is v:
        w_q, w_kv = w.split([size, size * 2])
        b_q, b_kv = (None, None) if b is None else b.split([size, size * 2])
        return [ops.linear(q, w_q, b_q), *ops.linear(k, w_kv, b_kv).chunk(2, -1)]
    biases = (None, None, None) if b is None else b.chunk(3)
    return [ops.linear(x, w_x, b_x) for x, w_x, b_x in zip((q, k, v), w.chunk(3), biases)]


def _project(
    q: Tensor, k: Tensor, v: Tensor, w_q: Tensor | None, w_k: Tensor | None, w_v: Tensor | None, b: Tensor | None
) -> list[Tensor]:
    """q, k and v times a weight each: (E, E), (E, kdim), (E, vdim)."""
    if k.shape[:2] != v.shape[:2]:
        raise AssertionError(f"key's sequence and batch dims {k.shape[:2]} do not match value's {v.shape[:2]}")
    for name, weight in (("q", w_q), ("k", w_k), ("v", w_v)):
        if weight is None:
            raise AssertionError(f"use_separate_proj_weight is True but {name}_proj_weight is None")
    weights = cast("tuple[Tensor, ...]", (w_q, w_k, w_v))
    features = (q.size(-1), k.size(-1), v.size(-1))
    for name, weight, size in zip(("query", "key", "value"), weights, features):
        expected = (features[0], size)
        if tuple(weight.shape) != expected:
            raise AssertionError(f"expecting {name} weights shape of {expected}, but got {weight.shape}")
    biases = (None, None, None) if b is None else b.chunk(3)
    return [ops.linear(x, w_x, b_x) for x, w_x, b_x in zip((q, k, v), weights, biases)]


def _by_heads(projected: Tensor, static: Tensor | None, name: str, heads: int, head_dim: int) -> Tensor:
    """(S, N, E) as (N h, S, d); or what stands for it, which has that shape."""
    if static is None:
        return projected.reshape(projected.shape[0], heads, head_dim).transpose(0, 1)
    for dim, expected in ((0, heads), (2, head_dim)):
        if static.size(dim) != expected:
            raise AssertionError(f"expecting {name}.size({dim}) of {expected}, but got {static.size(dim)}")
    return static


def _three_dimensional(mask: Tensor, expected: tuple[int, int, int]) -> Tensor:
    """A mask (L, S) or (N h, L, S) with three dimensions."""
    if mask.dim() == 2:
        if tuple(mask.shape) != expected[1:]:
            raise RuntimeError(f"The shape of the 2D attn_mask is {mask.shape}, but should be {expected[1:]}.")
        return mask.unsqueeze(0)
    if tuple(mask.shape) != expected:
        raise RuntimeError(f"The shape of the 3D attn_mask is {mask.shape}, but should be {expected}.")
    return mask


def _with_padding(mask: Tensor | None, padding: Tensor, batch: int, num_heads: int, source_length: int) -> Tensor:
    """The mask of all queries with that of the keys (N, S) added: (N h, 1 or L, S)."""
    if tuple(padding.shape) != (batch, source_length):
        raise AssertionError(f"expecting key_padding_mask shape of {(batch, source_length)}, but got {padding.shape}")
    padding = padding.view(batch, 1, 1, source_length).expand(-1, num_heads, -1, -1)
    padding = padding.reshape(batch * num_heads, 1, source_length)
    return padding if mask is None else mask + padding


def _extended(mask: Tensor | None) -> Tensor | None:
    """The mask with a further key that may be seen."""
    return None if mask is None else ops.pad(mask, (0, 1))


def _attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, num_heads: int, dropout: float, is_causal: bool
) -> Tensor:
    """The values (N h, S, d) as the queries (N h, L, d) see them: (L, N, E), without weights to be seen."""
    batch = q.shape[0] // num_heads
    if mask is not None:
        if mask.size(0) == 1 and mask.dim() == 3:
            mask = mask.unsqueeze(0)
        else:
            mask = mask.view(batch, num_heads, -1, k.shape[1])
    by_batch = [x.view(batch, num_heads, *x.shape[1:]) for x in (q, k, v)]
    output = ops.scaled_dot_product_attention(*by_batch, mask, dropout, is_causal)
    return output.permute(2, 0, 1, 3).reshape(q.shape[1], batch, num_heads * q.shape[2])


def _attend_with_weights(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, num_heads: int, dropout: float
) -> tuple[Tensor, Tensor]:
    """The same from products and a softmax, which give the weights (N, h, L, S) too."""
    weights = ops.bmm(q * math.sqrt(1.0 / q.shape[2]), k.transpose(-2, -1))
    if mask is not None:
        weights = weights + mask
    weights = ops.softmax(weights, -1)
    if dropout > 0.0:
        weights = ops.dropout(weights, dropout, True)
    output = ops.bmm(weights, v)
    batch = q.shape[0] // num_heads
    output = output.transpose(0, 1).reshape(q.shape[1], batch, num_heads * q.shape[2])
    return output, weights.view(batch, num_heads, *weights.shape[1:])


@overridable
def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Multi-head attention; see ``MultiheadAttention`` for the formula and the shapes (L, N, E), (S, N, E).

    Args:
        query, key, value: the inputs, with or without a batch.
        embed_dim_to_check: E.
        num_heads: h.
        in_proj_weight: (3 E, E), or None with separate weights.
        in_proj_bias: (3 E,).
        bias_k, bias_v: (1, 1, E), a key and value to add at the end.
        add_zero_attn: add a key and value of zeros at the end.
        dropout_p: probability of dropping an attention weight in training.
        out_proj_weight, out_proj_bias: (E, E) and (E,).
        training: see ``dropout_p``.
        key_padding_mask: (N, S), True (or a number to add) where a key does not count.
        need_weights: return the attention weights.
        attn_mask: (L, S) or (N h, L, S), True (or a number to add) where a query may not look.
        use_separate_proj_weight: use the next three.
        q_proj_weight, k_proj_weight, v_proj_weight: (E, E), (E, kdim), (E, vdim).
        static_k, static_v: (N h, S, E / h) in place of the projected keys and values.
        average_attn_weights: the weights' mean over the heads.
        is_causal: a hint that ``attn_mask`` is the causal mask.

    Returns:
        The output (L, N, E) and the weights (N, L, S), (N, h, L, S) or None.

    Raises AssertionError and RuntimeError for shapes that do not go together.
    """
    batched = _check_shapes(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        # Unsqueezed once where it is one tensor: the projections look at identity.
        same_key, same_value = key is query, value is key
        query = query.unsqueeze(1)
        key = query if same_key else key.unsqueeze(1)
        value = key if same_value else value.unsqueeze(1)
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
    target_length, batch, embed_dim = query.shape
    source_length = key.shape[0]
    key_padding_mask = canonical_mask(
        key_padding_mask, "key_padding_mask", dtype_or_none(attn_mask), "attn_mask", query.dtype
    )
    if is_causal and attn_mask is None:
        raise RuntimeError(
            "Need attn_mask if specifying the is_causal hint. You may use the Transformer module method "
            "`generate_square_subsequent_mask` to create this mask."
        )
    if is_causal and key_padding_mask is None and not need_weights:
        attn_mask = None  # the kernel masks by itself
    else:
        attn_mask = canonical_mask(attn_mask, "attn_mask", None, "", query.dtype, check_other=False)
        is_causal = is_causal and key_padding_mask is None
    if embed_dim != embed_dim_to_check:
        raise AssertionError(f"was expecting embedding dimension of {embed_dim_to_check}, but got {embed_dim}")
    head_dim = embed_dim // num_heads
    if head_dim * num_heads != embed_dim:
        raise AssertionError(f"embed_dim {embed_dim} not divisible by num_heads {num_heads}")
    if use_separate_proj_weight:
        q, k, v = _project(query, key, value, q_proj_weight, k_proj_weight, v_proj_weight, in_proj_bias)
    else:
        q, k, v = _project_packed(query, key, value, in_proj_weight, in_proj_bias)

    heads = batch * num_heads
    if attn_mask is not None:
        attn_mask = _three_dimensional(attn_mask, (heads, target_length, source_length))
    if bias_k is not None and bias_v is not None:
        if static_k is not None or static_v is not None:
            raise AssertionError("bias cannot be added to static key or value.")
        k = ops.cat([k, bias_k.expand(1, batch, embed_dim)])
        v = ops.cat([v, bias_v.expand(1, batch, embed_dim)])
        attn_mask, key_padding_mask = _extended(attn_mask), _extended(key_padding_mask)

    q = _by_heads(q, None, "", heads, head_dim)
    k = _by_heads(k, static_k, "static_k", heads, head_dim)
    v = _by_heads(v, static_v, "static_v", heads, head_dim)
    if add_zero_attn:
        k = ops.cat([k, k.new_zeros((heads, 1, head_dim))], 1)
        v = ops.cat([v, v.new_zeros((heads, 1, head_dim))], 1)
        attn_mask, key_padding_mask = _extended(attn_mask), _extended(key_padding_mask)
    if key_padding_mask is not None:
        attn_mask = _with_padding(attn_mask, key_padding_mask, batch, num_heads, k.size(1))

    dropout = dropout_p if training else 0.0
    weights = None
    if need_weights:
        output, weights = _attend_with_weights(q, k, v, attn_mask, num_heads, dropout)
        if average_attn_weights:
            weights = weights.mean(1)
    else:
        output = _attend(q, k, v, attn_mask, num_heads, dropout, is_causal)
    output = ops.linear(output, out_proj_weight, out_proj_bias)
    if not batched:
        output = output.squeeze(1)
        if weights is not None:
            weights = weights.squeeze(0)
    return output, weights
