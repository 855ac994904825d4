"""Exporting programs: what says which sizes may change.  Exporting itself is not there yet."""

from __future__ import annotations

from . import dynamic_shapes as dynamic_shapes
from .dynamic_shapes import Dim, dims

__all__ = ["Dim", "dims"]
