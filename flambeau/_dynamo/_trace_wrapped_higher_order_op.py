"""Indexing inside of compiled and mapped functions."""

from __future__ import annotations

import contextlib

__all__ = ["TransformGetItemToIndex"]


class TransformGetItemToIndex(contextlib.AbstractContextManager[None]):
    """``with`` this, indexing by 0-dim tensors stays an operator; here it always does."""

    def __exit__(self, *exc: object) -> None:
        return None
