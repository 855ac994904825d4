"""Tools around training: loading data, hooks, trees of tensors."""

from __future__ import annotations

from ..operator import namespace as _namespace
from . import _pytree as _pytree
from . import checkpoint as checkpoint
from . import data as data
from . import hooks as hooks

__getattr__, __dir__ = _namespace(globals(), {}, {"model_zoo": "."})
