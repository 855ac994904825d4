"""Which arguments of a call were written as keywords.

A form of an operator has named parameters, so it cannot tell ``x.sum(1)`` from ``x.sum(dim=1)``, but who overrides
calls may read either spelling (transformations of ``torch.fx`` graphs do).  The names stand in the caller's code, next
to the instruction that makes the call (CPython's documentation of ``dis``: CALL_KW, KW_NAMES, CALL_FUNCTION_EX).  A
dictionary that is spread (``f(*args, **kwargs)``) is looked up where the code has it from: a variable, an attribute.
Only overridden calls are looked at.
"""

from __future__ import annotations

import dis
import sys
from collections.abc import Mapping
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any

__all__ = ["keywords_of_call"]

_DEPTH = 8  # frames between an operator's form and whoever asks


def keywords_of_call(form: str) -> tuple[str, ...]:
    """The keywords with which the innermost frame whose code is in the file ``form`` was called.

    Empty where there are none, where the call spreads what another call returned, and where it was not made by Python
    code at all.
    """
    frame = sys._getframe(1)
    for _ in range(_DEPTH):
        caller = frame.f_back
        if caller is None:
            return ()
        if frame.f_code.co_filename == form:
            names, spread = _keywords_at(caller.f_code, caller.f_lasti)
            return _spread(caller, spread) if spread else names
        frame = caller
    return ()


@lru_cache(maxsize=4096)
def _keywords_at(code: CodeType, offset: int) -> tuple[tuple[str, ...], tuple[dis.Instruction, ...]]:
    """The keywords of the call that the instruction at ``offset``, or with its cache there, makes; of one that spreads
    a dictionary the instructions that lead to it."""
    until = [i for i in dis.get_instructions(code) if i.offset <= offset]
    call = until[-1].opname
    if call in ("CALL_KW", "CALL_FUNCTION_KW"):  # Python 3.13; 3.10
        named = until[-2:-1]
    elif call == "CALL":  # 3.11 and 3.12; in 3.11 PRECALL stands between
        named = [i for i in until[-3:-1] if i.opname == "KW_NAMES"]
    elif call == "CALL_FUNCTION_EX" and (until[-1].arg or 0) & 1:
        start = next((n for n in range(len(until) - 1, 0, -1) if until[n].is_jump_target), 0)
        return (), tuple(until[start:-1])
    else:
        named = []
    for instruction in named:
        names = code.co_consts[instruction.arg or 0]
        if isinstance(names, tuple):
            return names, ()
    return (), ()


def _spread(frame: FrameType, instructions: tuple[dis.Instruction, ...]) -> tuple[str, ...]:
    """The keys of the dictionary that these instructions leave on top of the stack; empty if it is not known.

    They are followed on a stack of values of which only variables, attributes and the dictionaries made of them are
    known (None stands for the others); nothing is run.
    """
    stack: list[Any] = []
    for i in instructions:
        name, count = i.opname, i.arg or 0
        if name == "LOAD_CONST":
            stack.append(i.argval)
        elif name.startswith("LOAD_FAST") or name in ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_DEREF"):
            several = i.argval if isinstance(i.argval, tuple) else (i.argval,)
            stack += [frame.f_locals.get(n, frame.f_globals.get(n)) for n in several]
        elif name == "LOAD_ATTR" and stack:
            stack.append(getattr(stack.pop(), "__dict__", {}).get(i.argval))
        elif name in ("BUILD_TUPLE", "BUILD_LIST") and len(stack) >= count:
            stack[len(stack) - count :] = [None]
        elif name == "BUILD_MAP" and len(stack) >= 2 * count:
            parts = stack[len(stack) - 2 * count :]
            stack[len(stack) - 2 * count :] = [dict.fromkeys(parts[::2])]
        elif name == "BUILD_CONST_KEY_MAP" and len(stack) > count:
            stack[len(stack) - count - 1 :] = [dict.fromkeys(stack[-1])]
        elif name in ("DICT_MERGE", "DICT_UPDATE") and len(stack) > 1:
            more = stack.pop()
            known = isinstance(more, Mapping) and isinstance(stack[-1], dict)
            stack[-1] = {**stack[-1], **dict.fromkeys(more)} if known else None
        elif name == "LIST_EXTEND" and stack:
            stack.pop()
        elif name == "PUSH_NULL":
            stack.append(None)
        elif name not in ("LIST_TO_TUPLE", "CALL_INTRINSIC_1", "RESUME", "NOP", "EXTENDED_ARG", "CACHE"):
            stack = [None] * len(stack)  # of what another instruction makes nothing is known
    return tuple(stack[-1]) if stack and isinstance(stack[-1], dict) else ()
