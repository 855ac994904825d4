"""Functions of tensors that layers are made of: operators by PyTorch's names, and compositions of them."""

from __future__ import annotations

from typing import Any

from .. import ops
from ._attention import canonical_mask as _canonical_mask
from ._attention import dtype_or_none as _none_or_dtype
from ._attention import multi_head_attention_forward

__all__ = ["multi_head_attention_forward"]

_ = (_canonical_mask, _none_or_dtype)


def __getattr__(name: str) -> Any:
    return getattr(ops, name)
