"""Process groups and their collectives, by the name of the module that PyTorch has them in."""

from __future__ import annotations

from . import collectives as _collectives
from . import groups as _groups
from .collectives import *  # noqa: F403
from .constants import default_pg_timeout as default_pg_timeout
from .groups import *  # noqa: F403
from .groups import _get_default_group as _get_default_group
from .groups import _World as _World
from .store import FileStore, HashStore, PrefixStore, Store, TCPStore

__all__ = [
    *(name for name in _groups.__all__ if name != "resolve"), *_collectives.__all__, "FileStore", "HashStore",
    "PrefixStore", "Store", "TCPStore",
]  # fmt: skip
