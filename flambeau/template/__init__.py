"""Kernels that are not plain loops.

The modules are imported when they are first used (PEP 562): a process that multiplies no matrices needs no code for
products.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import attend as attend
    from . import attention as attention
    from . import contract as contract
    from . import conv as conv
    from . import conv_problem as conv_problem
    from . import conv_weight as conv_weight
    from . import epilogue as epilogue
    from . import gemm as gemm
    from . import pool as pool
    from . import random as random
    from . import sort as sort


def __getattr__(name: str) -> ModuleType:
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
