"""The classes of what is in ``torch.ops``, by the name of PyTorch's module."""

from __future__ import annotations

from .library.namespaces import OpOverload, OpOverloadPacket

__all__ = ["OpOverload", "OpOverloadPacket"]
