"""Attention over sequences of unequal length that lie one after the other in one tensor."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from .. import functional as F
from .._base import Tensor, no_grad, ops

__all__ = ["AuxRequest", "varlen_attn", "varlen_attn_out"]


class AuxRequest(NamedTuple):
    """What ``varlen_attn`` gives besides the output: the logarithms of the sums of exponentials."""

    lse: bool = False


def _allowed(rows: int, columns: int, window: tuple[int, int], device: Any) -> Tensor | None:
    """Which keys each query may see; the diagonal ends in the lower right corner.  None for all."""
    left, right = window
    if left < 0 and right < 0:
        return None
    distance = ops.arange(columns, device=device) - ops.arange(rows, device=device).unsqueeze(1) - (columns - rows)
    allowed = ops.ones_like(distance) == 1
    if left >= 0:
        allowed = allowed & (distance >= -left)
    if right >= 0:
        allowed = allowed & (distance <= right)
    return allowed


def varlen_attn(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor | None,
    max_q: int,
    max_k: int,
    *,
    return_aux: AuxRequest | None = None,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
    seqused_k: Tensor | None = None,
    block_table: Tensor | None = None,
    num_splits: int | None = None,
) -> Any:
    """softmax(q k^T scale) v for each sequence of a batch by itself.

    Args:
        query: (all queries, heads, d).
        key: (all keys, heads, d).
        value: (all keys, heads, d).
        cu_seq_q: (sequences + 1,), where each sequence of queries begins and, last, their number.
        cu_seq_k: the same of keys; that of queries if None.
        max_q: the longest sequence of queries.
        max_k: the longest sequence of keys.
        return_aux: ask for (output, log-sum-exp (heads, all queries)).
        scale: 1 / sqrt(d) if None.
        window_size: how many keys before and after its own a query sees; -1 for all.
        enable_gqa: keys and values have fewer heads, each serving several of the queries'.
        seqused_k: (sequences,), how many keys of each sequence count.
        block_table: paged keys; not supported (NotImplementedError).
        num_splits: a hint without effect.
    """
    if block_table is not None:
        raise NotImplementedError("varlen_attn: paged keys (block_table) are not supported; gather the keys first")
    scale = 1.0 / math.sqrt(query.size(-1)) if scale is None else scale
    starts_q = cu_seq_q.tolist()
    starts_k = starts_q if cu_seq_k is None else cu_seq_k.tolist()
    used = None if seqused_k is None else seqused_k.tolist()
    outputs, sums = [], []
    for i in range(len(starts_q) - 1):
        end_k = starts_k[i + 1] if used is None else starts_k[i] + used[i]
        q = query[starts_q[i] : starts_q[i + 1]].transpose(0, 1).unsqueeze(0)  # (1, heads, L, d)
        k = key[starts_k[i] : end_k].transpose(0, 1).unsqueeze(0)
        v = value[starts_k[i] : end_k].transpose(0, 1).unsqueeze(0)
        mask = _allowed(q.size(2), k.size(2), window_size, query.device)
        output = F.scaled_dot_product_attention(q, k, v, mask, scale=scale, enable_gqa=enable_gqa)
        outputs.append(output.squeeze(0).transpose(0, 1))
        if return_aux is not None and return_aux.lse:
            groups = q.size(1) // k.size(1)
            with no_grad():
                scores = q.float() @ k.float().repeat_interleave(groups, 1).transpose(-1, -2) * scale
                if mask is not None:
                    scores = scores.masked_fill(mask.logical_not(), float("-inf"))
                sums.append(ops.logsumexp(scores, -1).squeeze(0))
    result = ops.cat(outputs)
    return (result, ops.cat(sums, 1)) if sums else result


def varlen_attn_out(
    out: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor | None,
    max_q: int,
    max_k: int,
    *,
    return_aux: AuxRequest | None = None,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
    enable_gqa: bool = False,
    seqused_k: Tensor | None = None,
    block_table: Tensor | None = None,
    num_splits: int | None = None,
) -> Any:
    """``varlen_attn`` with the output written to ``out``."""
    result = varlen_attn(
        query,
        key,
        value,
        cu_seq_q,
        cu_seq_k,
        max_q,
        max_k,
        return_aux=return_aux,
        scale=scale,
        window_size=window_size,
        enable_gqa=enable_gqa,
        seqused_k=seqused_k,
        block_table=block_table,
        num_splits=num_splits,
    )
    if isinstance(result, tuple):
        return (out.copy_(result[0]), result[1])
    return out.copy_(result)
