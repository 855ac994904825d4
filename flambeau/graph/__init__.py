"""Graphs of values, and what becomes of them: fusion, loops, plans.

The modules are imported when they are first used (PEP 562): a program that runs no kernel plans none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import names

if TYPE_CHECKING:
    from . import batch as batch
    from . import kernel as kernel
    from . import plan as plan
    from . import schedule as schedule
    from . import varying as varying

__getattr__ = names.submodules(__name__)
