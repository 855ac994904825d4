"""Exporting: a call of a module as a graph that runs without the module's Python, and files of such graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..utils._pytree import register_dataclass
from . import dynamic_shapes as dynamic_shapes
from . import exported_program as exported_program
from . import graph_signature as graph_signature
from .archive import load, save
from .capture import export
from .dynamic_shapes import AdditionalInputs, Constraint, Dim, ShapesCollection, dims
from .exported_program import ExportedProgram
from .graph_signature import ExportGraphSignature

__all__ = [
    "AdditionalInputs", "Constraint", "Dim", "ExportGraphSignature", "ExportedProgram", "ShapesCollection",
    "default_decompositions", "dims", "draft_export", "export", "load", "register_dataclass", "save",
]  # fmt: skip

draft_export = export


def default_decompositions() -> dict[Any, Callable[..., Any]] | None:
    """What ``run_decompositions`` does without a table: None, for every operator that is Python over other ones."""
    return None
