"""MIOpen: not here.  Its switch is kept for programs that set it."""

from __future__ import annotations

import contextlib

from ._flags import changed

__all__ = ["flags", "set_flags"]

immediate = False


def set_flags(_immediate: bool | None = None) -> tuple[bool]:
    """Sets the switch if it is not None; returns it as it was."""
    global immediate
    before = immediate
    if _immediate is not None:
        immediate = _immediate
    return (before,)


def flags(immediate: bool = False) -> contextlib.AbstractContextManager[None]:
    """``with flags(...)``: the switch inside of the block."""
    return changed(globals(), {"immediate": immediate})
