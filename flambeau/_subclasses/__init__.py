"""Kinds of tensors that PyTorch makes while it compiles."""

from __future__ import annotations

from ..tensor import Tensor

__all__ = ["FakeTensor"]


class FakeTensor(Tensor):
    """A tensor without data that knows its device.  None is ever made here: tensors without data are on "meta"."""
