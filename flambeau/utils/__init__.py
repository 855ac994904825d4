"""Tools around training: loading data, hooks, trees of tensors."""

from __future__ import annotations

from . import _pytree as _pytree
from . import checkpoint as checkpoint
from . import data as data
from . import hooks as hooks
