"""Which arguments of a call were written as keywords.

A form of an operator has named parameters, so it cannot tell ``x.sum(1)`` from ``x.sum(dim=1)``, but who overrides
calls may read either spelling (transformations of ``torch.fx`` graphs do).  The names stand in the caller's code, next
to the instruction that makes the call (CPython's documentation of ``dis``: CALL_KW, KW_NAMES, CALL_FUNCTION_KW).  Only
overridden calls are looked at.
"""

from __future__ import annotations

import dis
import sys
from functools import lru_cache
from types import CodeType

__all__ = ["keywords_of_call"]

_DEPTH = 8  # frames between an operator's form and whoever asks


def keywords_of_call(form: str) -> tuple[str, ...]:
    """The keywords with which the innermost frame whose code is in the file ``form`` was called.

    Empty where there are none, where the call spreads a dictionary (``f(**options)``), and where it was not made by
    Python code at all.
    """
    frame = sys._getframe(1)
    for _ in range(_DEPTH):
        caller = frame.f_back
        if caller is None:
            return ()
        if frame.f_code.co_filename == form:
            return _keywords_at(caller.f_code, caller.f_lasti)
        frame = caller
    return ()


@lru_cache(maxsize=4096)
def _keywords_at(code: CodeType, offset: int) -> tuple[str, ...]:
    """The keywords of the call that the instruction at ``offset``, or with its cache there, makes."""
    until = [i for i in dis.get_instructions(code) if i.offset <= offset]
    call = until[-1].opname
    if call in ("CALL_KW", "CALL_FUNCTION_KW"):  # Python 3.13; 3.10
        named = until[-2:-1]
    elif call == "CALL":  # 3.11 and 3.12; in 3.11 PRECALL stands between
        named = [i for i in until[-3:-1] if i.opname == "KW_NAMES"]
    else:
        named = []
    for instruction in named:
        names = code.co_consts[instruction.arg or 0]
        if isinstance(names, tuple):
            return names
    return ()
