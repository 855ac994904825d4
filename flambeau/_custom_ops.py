"""An older name of what ``torch.library`` does."""

from __future__ import annotations

from .library import custom_op, impl, register_fake

__all__ = ["custom_op", "impl", "impl_abstract"]

impl_abstract = register_fake
