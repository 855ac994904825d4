"""What runs kernels: compilation, caches, threads and memory.  Knows nothing of tensors.

The modules are imported when they are first used (PEP 562): nothing is compiled or called before the first kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import names

if TYPE_CHECKING:
    from . import blocks as blocks
    from . import cache as cache
    from . import engine as engine
    from . import native as native
    from . import pool as pool

__getattr__ = names.submodules(__name__)
