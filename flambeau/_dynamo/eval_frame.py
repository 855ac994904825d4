"""What stands for a compiled module."""

from __future__ import annotations

from ..nn.modules.module import OptimizedModule

__all__ = ["OptimizedModule"]
