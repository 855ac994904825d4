"""Parts of PyTorch's graph tools that programs use although they are called experimental."""

from __future__ import annotations

from . import symbolic_shapes as symbolic_shapes
