"""How single operators are written in ONNX, as libraries say for their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["is_in_onnx_export", "register_custom_op_symbolic", "symbolic_of", "unregister_custom_op_symbolic"]

_symbolics: dict[tuple[str, int], Callable[..., Any]] = {}


def is_in_onnx_export() -> bool:
    """Whether a model is being exported: no."""
    return False


def _checked(symbolic_name: str) -> str:
    space, separator, name = symbolic_name.partition("::")
    if not separator or not space or not name:
        raise ValueError(f"Failed to register operator {symbolic_name}. The symbolic name must match 'domain::name'")
    return symbolic_name


def register_custom_op_symbolic(symbolic_name: str, symbolic_fn: Callable[..., Any], opset_version: int) -> None:
    """Says how an operator "domain::name" is written from an opset on; raises ValueError for other names."""
    _symbolics[_checked(symbolic_name), opset_version] = symbolic_fn


def unregister_custom_op_symbolic(symbolic_name: str, opset_version: int) -> None:
    """Forgets how an operator is written."""
    _symbolics.pop((_checked(symbolic_name), opset_version), None)


def symbolic_of(symbolic_name: str, opset_version: int) -> Callable[..., Any] | None:
    """How an operator is written in an opset: what was registered for the latest one up to it."""
    versions = [v for name, v in _symbolics if name == symbolic_name and v <= opset_version]
    return _symbolics[symbolic_name, max(versions)] if versions else None
