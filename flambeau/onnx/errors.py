"""Errors of exports."""

from __future__ import annotations

__all__ = ["OnnxExporterError", "UnsupportedOperatorError"]


class OnnxExporterError(RuntimeError):
    """A model cannot be written as ONNX."""


class UnsupportedOperatorError(OnnxExporterError):
    """An operator of the model has no translation."""
