"""Collectives with gradients."""

from __future__ import annotations

from . import functional as functional
from .functional import *  # noqa: F403
