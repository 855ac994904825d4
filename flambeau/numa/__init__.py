"""Memory that is nearer to some processors than to others."""

from __future__ import annotations

from . import binding as binding
