"""Engines of quantised operators: our own kernels alone."""

from __future__ import annotations

__all__ = ["engine", "supported_engines"]

supported_engines = ["none"]
engine = "none"
