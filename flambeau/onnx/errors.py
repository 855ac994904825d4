"""Errors of exports."""

from __future__ import annotations

__all__ = ["OnnxExporterError", "UnsupportedOperatorError"]


class OnnxExporterError(RuntimeError):
    """A model cannot be written as ONNX."""


class UnsupportedOperatorError(OnnxExporterError):
    """An operator of the model has no translation.

    ``name`` is the operator, ``version`` the set of operators asked for, ``supported_version`` the first one that has a
    translation (None: no version has).
    """

    def __init__(self, name: str, version: int, supported_version: int | None, place: str = "") -> None:
        told = (
            f"is supported from opset {supported_version} on, not in {version}; ask for that one"
            if supported_version is not None
            else f"has no translation to ONNX (opset {version})"
        )
        super().__init__(f"onnx.export: the operator '{name}' {told}" + (f"; it comes from {place}" if place else ""))
