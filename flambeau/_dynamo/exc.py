"""Errors of compiled functions, by PyTorch's names."""

from __future__ import annotations

from ..errors import InvalidBackend, Unsupported

__all__ = ["InvalidBackend", "TorchDynamoException", "Unsupported"]

TorchDynamoException = RuntimeError
