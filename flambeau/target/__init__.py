"""LLVM text: from single instructions to kernels of the loop IR.

The modules are imported when they are first used (PEP 562): a process that finds its kernels on disk generates none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import names

if TYPE_CHECKING:
    from . import emit as emit

__getattr__ = names.submodules(__name__)
