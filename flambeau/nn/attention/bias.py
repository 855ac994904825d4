"""Causal masks for queries and keys of different lengths."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from ...dtype import bool_
from .._base import Tensor, make_subclass, ops

__all__ = ["CausalBias", "CausalVariant", "causal_lower_right", "causal_upper_left"]


class CausalVariant(IntEnum):
    """Where the diagonal of a causal mask that is not square begins (upper left) or ends (lower right)."""

    UPPER_LEFT = 1
    LOWER_RIGHT = 2


class CausalBias(Tensor):
    """A causal mask (queries, keys): True where a query may look.

    Args:
        variant: see ``CausalVariant``.
        seq_len_q: the number of queries.
        seq_len_kv: the number of keys.
    """

    def __new__(cls, variant: CausalVariant, seq_len_q: int, seq_len_kv: int) -> CausalBias:
        if not isinstance(variant, CausalVariant):
            raise AssertionError(f"variant must be a CausalVariant, got {type(variant).__name__}")
        offset = 0 if variant is CausalVariant.UPPER_LEFT else seq_len_kv - seq_len_q
        allowed = ops.ones(seq_len_q, seq_len_kv, dtype=bool_).tril(diagonal=offset)
        result = make_subclass(cls, allowed, False)
        result.variant = variant
        result.seq_len_q = seq_len_q
        result.seq_len_kv = seq_len_kv
        return result

    def _materialize(self, device: Any = None) -> Tensor:
        """The mask as a plain tensor."""
        plain = make_subclass(Tensor, self, False)
        return plain if device is None else plain.to(device)

    def __repr__(self, *, tensor_contents: str | None = None) -> str:
        return repr(self._materialize())


def _sizes(name: str, size: tuple[int, ...]) -> tuple[int, int]:
    if len(size) != 2:
        raise AssertionError(f"{name} only supports 2D tensors")
    return size[0], size[1]


def causal_upper_left(*size: int) -> CausalBias:
    """The causal mask (queries, keys) whose diagonal begins in the upper left corner: what ``is_causal`` means."""
    return CausalBias(CausalVariant.UPPER_LEFT, *_sizes("causal_upper_left", size))


def causal_lower_right(*size: int) -> CausalBias:
    """The causal mask (queries, keys) whose diagonal ends in the lower right corner: the last query sees all keys."""
    return CausalBias(CausalVariant.LOWER_RIGHT, *_sizes("causal_lower_right", size))
