"""What programs ask of PyTorch's bytecode compiler.  ``compile`` here runs Python, so that most of it has no effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..compiler import allow_in_graph, assume_constant_result, disable, flush, is_compiling, reset
from . import config as config
from . import utils as utils

__all__ = [
    "allow_in_graph", "assume_constant_result", "disable", "disallow_in_graph", "graph_break", "is_compiling",
    "mark_dynamic", "mark_static", "mark_static_address", "maybe_mark_dynamic", "reset",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])


def disallow_in_graph(fn: F) -> F:
    """Says that a function is not to be part of a compiled graph."""
    return fn


def graph_break() -> None:
    """Ends the graph that is being recorded: computes what is pending."""
    flush()


def mark_dynamic(t: Any, index: Any, *, min: int | None = None, max: int | None = None) -> None:
    """Says that a size will change; no size is built into the compiled code."""


maybe_mark_dynamic = mark_dynamic


def mark_static(t: Any, index: Any = None) -> None:
    """Says that a size will not change."""


def mark_static_address(t: Any, guard: bool = True) -> None:
    """Says that a tensor's memory will stay where it is."""
