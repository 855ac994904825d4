"""Multi-head attention: Vaswani et al., 2017."""

from __future__ import annotations

import warnings
from typing import Any

from .. import functional as F
from .. import init
from .._base import Tensor, ops
from ..parameter import Parameter
from .linear import NonDynamicallyQuantizableLinear
from .module import Module

__all__ = ["MultiheadAttention"]


class MultiheadAttention(Module):
    """concat(head_1, ..., head_h) W_o, head_i = softmax(q_i k_i^T / sqrt(d)) v_i, with q_i, k_i, v_i projections of
    query, key and value to d = embed_dim / num_heads dimensions.

    Shapes are (L, N, E) for queries and (S, N, kdim or vdim) for keys and values, batch first with ``batch_first``,
    or without N.  Where all three have ``embed_dim`` features their projections lie in ``in_proj_weight``
    (3 E, E), otherwise in ``q_proj_weight`` (E, E), ``k_proj_weight`` (E, kdim), ``v_proj_weight`` (E, vdim).

    Args:
        embed_dim: E.
        num_heads: h; it must divide E (AssertionError).
        dropout: probability of dropping an attention weight in training.
        bias: whether the projections have biases.
        add_bias_kv: add a learned key and value at the end of the sequences.
        add_zero_attn: add a key and value of zeros at the end of the sequences.
        kdim: features of keys; E if None.
        vdim: features of values; E if None.
        batch_first: the batch comes first.
        device: where the parameters are.
        dtype: their element type.
    """

    __constants__ = ("batch_first",)
    bias_k: Tensor | None
    bias_v: Tensor | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if embed_dim <= 0 or num_heads <= 0:
            raise ValueError(
                f"embed_dim and num_heads must be greater than 0, got embed_dim={embed_dim} and num_heads={num_heads} "
                "instead"
            )
        super().__init__()
        self.embed_dim = embed_dim
        self.kdim = kdim if kdim is not None else embed_dim
        self.vdim = vdim if vdim is not None else embed_dim
        self._qkv_same_embed_dim = self.kdim == embed_dim and self.vdim == embed_dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        if self.head_dim * num_heads != embed_dim:
            raise AssertionError(f"embed_dim must be divisible by num_heads, got {embed_dim} and {num_heads}")

        def parameter(*shape: int) -> Parameter:
            return Parameter(ops.empty(shape, device=device, dtype=dtype))

        if not self._qkv_same_embed_dim:
            self.q_proj_weight = parameter(embed_dim, embed_dim)
            self.k_proj_weight = parameter(embed_dim, self.kdim)
            self.v_proj_weight = parameter(embed_dim, self.vdim)
            self.register_parameter("in_proj_weight", None)
        else:
            self.in_proj_weight = parameter(3 * embed_dim, embed_dim)
            self.register_parameter("q_proj_weight", None)
            self.register_parameter("k_proj_weight", None)
            self.register_parameter("v_proj_weight", None)
        if bias:
            self.in_proj_bias = parameter(3 * embed_dim)
        else:
            self.register_parameter("in_proj_bias", None)
        self.out_proj = NonDynamicallyQuantizableLinear(embed_dim, embed_dim, bias=bias, device=device, dtype=dtype)
        if add_bias_kv:
            self.bias_k = parameter(1, 1, embed_dim)
            self.bias_v = parameter(1, 1, embed_dim)
        else:
            self.bias_k = self.bias_v = None
        self.add_zero_attn = add_zero_attn
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        if self._qkv_same_embed_dim:
            init.xavier_uniform_(self.in_proj_weight)
        else:
            init.xavier_uniform_(self.q_proj_weight)
            init.xavier_uniform_(self.k_proj_weight)
            init.xavier_uniform_(self.v_proj_weight)
        if self.in_proj_bias is not None:
            init.constant_(self.in_proj_bias, 0.0)
            init.constant_(self.out_proj.bias, 0.0)
        if self.bias_k is not None:
            init.xavier_normal_(self.bias_k)
        if self.bias_v is not None:
            init.xavier_normal_(self.bias_v)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({"_qkv_same_embed_dim": True, **state})

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The output (L, N, E), and with ``need_weights`` the attention weights (N, L, S), else None.

        Args:
            query: (L, N, E).
            key: (S, N, kdim).
            value: (S, N, vdim).
            key_padding_mask: (N, S), True (or a number to add) where a key does not count.
            need_weights: give the weights too; without them the computation is faster.
            attn_mask: (L, S) or (N h, L, S), True (or a number to add) where a query may not look.
            average_attn_weights: the mean over the heads, else (N, h, L, S).
            is_causal: a hint that ``attn_mask`` is the causal mask.
        """
        batched = query.dim() == 3
        transposed = self.batch_first and batched
        if transposed:
            # One transposed tensor for all that are the same, so that projections can be shared.
            same_key, same_value = key is query, value is key
            query = query.transpose(1, 0)
            key = query if same_key else key.transpose(1, 0)
            value = key if same_value else value.transpose(1, 0)
        output, weights = F.multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            training=self.training,
            key_padding_mask=key_padding_mask,
            need_weights=need_weights,
            attn_mask=attn_mask,
            use_separate_proj_weight=not self._qkv_same_embed_dim,
            q_proj_weight=self.q_proj_weight,
            k_proj_weight=self.k_proj_weight,
            v_proj_weight=self.v_proj_weight,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
        )
        return (output.transpose(1, 0) if transposed else output), weights

    def merge_masks(
        self, attn_mask: Tensor | None, key_padding_mask: Tensor | None, query: Tensor
    ) -> tuple[Tensor | None, int | None]:
        """Both masks as one, and its kind: 0 for an attention mask, 1 for padding, 2 for both (N, h, L, S)."""
        if attn_mask is None:
            return (None, None) if key_padding_mask is None else (key_padding_mask, 1)
        batch, length, _ = query.shape
        mask = attn_mask
        if attn_mask.dim() == 3:
            mask = attn_mask.view(batch, -1, length, attn_mask.size(-1))
        else:
            mask = attn_mask.view(1, 1, length, attn_mask.size(-1)).expand(batch, self.num_heads, -1, -1)
        if key_padding_mask is None:
            return mask, 2
        padding = key_padding_mask.view(batch, 1, 1, -1).expand(-1, self.num_heads, -1, -1)
        if padding.dtype != mask.dtype:
            warnings.warn(
                "Support for mismatched key_padding_mask and attn_mask is deprecated. Use same type for both instead.",
                stacklevel=2,
            )
        return mask + padding, 2
