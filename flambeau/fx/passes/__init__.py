"""Passes over graphs."""

from __future__ import annotations

from . import infra as infra
