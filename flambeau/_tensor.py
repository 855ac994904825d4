"""The module in which PyTorch defines ``Tensor``, whence packages take it."""

from __future__ import annotations

from .tensor import Tensor

__all__ = ["Tensor"]
