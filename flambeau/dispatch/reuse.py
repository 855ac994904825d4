"""Results that take over the memory of an operand which nobody will look at again.

In ``x * y + z`` the product is a temporary: the interpreter drops it as soon as the sum is there.  A large elementwise
operator writes its result over such an operand instead of into fresh memory, which would have to be brought into the
caches only to be overwritten (a quarter less time for the sum).

That an operand is dying takes two proofs, both of which the interpreter gives:

* Nobody else holds the tensor or its storage: their reference counts are those of an operand that lies on the caller's
  stack alone (``_Probe`` measures what that is).
* It lies on the stack, and not in some container whose operators call ours (an array of objects in numpy adds its
  elements one by one): the caller stands at a binary or unary operator whose first operand was put there, as the code
  object tells, by another such operator at which this storage was made.

What is recorded on the tape, traced or deferred never comes here.
"""

from __future__ import annotations

import dis
import sys
from types import CodeType, FrameType
from typing import Any

from ..storage import Storage
from ..tensor import Tensor

__all__ = ["SMALLEST", "getframe", "getrefcount", "make_over"]

SMALLEST = 1 << 16  # bytes of the smallest results for which looking costs little beside computing

getrefcount = sys.getrefcount
getframe = sys._getframe


class _Probe:
    """Counts the references to a first operand that lies on the caller's stack alone, as a form counts them."""

    __slots__ = ("part",)

    def __init__(self) -> None:
        self.part = object()

    def __add__(self, other: int) -> tuple[int, int]:
        return getrefcount(self), getrefcount(self.part)


_ALONE, _OWN = _Probe() + 0
_SURE = (
    sys.implementation.name == "cpython"
    and (3, 10) <= sys.version_info[:2] <= (3, 13)
    and getattr(sys, "_is_gil_enabled", lambda: True)()
)
"""The code of other interpreters was not studied; without a global lock reference counts prove nothing."""

_BINARY = {f"BINARY_{name}" for name in (
    "ADD", "SUBTRACT", "MULTIPLY", "TRUE_DIVIDE", "FLOOR_DIVIDE", "MODULO", "POWER", "AND", "OR", "XOR", "LSHIFT",
    "RSHIFT", "MATRIX_MULTIPLY",
)}  # fmt: skip
_UNARY = {"UNARY_NEGATIVE", "UNARY_POSITIVE", "UNARY_INVERT"}
_STEPS = {
    *_BINARY, *_UNARY, "BINARY_OP", "BINARY_SUBSCR", "BINARY_SLICE", "COMPARE_OP", "LOAD_FAST", "LOAD_FAST_LOAD_FAST",
    "LOAD_FAST_CHECK", "LOAD_CONST", "LOAD_NAME", "LOAD_GLOBAL", "LOAD_DEREF", "LOAD_ATTR", "LOAD_METHOD", "PUSH_NULL",
    "PRECALL", "KW_NAMES", "CALL", "CALL_KW", "CALL_FUNCTION", "CALL_FUNCTION_KW", "CALL_METHOD", "BUILD_TUPLE",
    "BUILD_SLICE",
}  # fmt: skip
"""Instructions that touch no more of the stack than what they take off and put there."""
_known: dict[int, tuple[CodeType, dict[int, int]]] = {}
_LIMIT = 1000


def _operands(instruction: dis.Instruction) -> int:
    """How many operands an arithmetic operator takes that gives a new value; 0 for other instructions."""
    name = instruction.opname
    if name in _UNARY:
        return 1
    return 2 if name in _BINARY or (name == "BINARY_OP" and not instruction.argrepr.endswith("=")) else 0


def _makers(code: CodeType) -> dict[int, int]:
    """Where the first operand of each operator in some code is made, if that is by another operator and for nobody
    else."""
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("CACHE", "EXTENDED_ARG")]
    found: dict[int, int] = {}
    for j, user in enumerate(steps):
        above = _operands(user) - 1  # values on the stack above the first operand
        k = j
        while above >= 0 and k and not steps[k].is_jump_target:
            k -= 1
            step = steps[k]
            if above == 0:
                if _operands(step):
                    found[user.offset] = step.offset
                break
            if step.opname not in _STEPS:
                break
            above -= dis.stack_effect(step.opcode, step.arg, jump=False)
    return found


def make_over(count: int, plan: Any, operand: Tensor, caller: FrameType) -> Storage:
    """The storage of the result of ``plan``, a form's plan of a large result: that of its first operand, if it is dying
    and the plan reads each element just before it writes it, else a new one.

    ``count`` are the references to the operand that the form counted; ``caller`` is who called the form.
    """
    storage: Storage = operand._storage
    if (
        count == _ALONE
        and plan.elementwise
        and operand._layout is plan.layout
        and getrefcount(operand._storage) == _OWN + 1
        and storage.made == (id(caller), _maker(caller))
        and storage.nbytes == plan.layout.nbytes
        and storage.version == 0
        and not operand._offset
    ):
        storage.made = (id(caller), caller.f_lasti)
        return storage
    storage = plan.make()
    storage.made = (id(caller), caller.f_lasti)
    return storage


def _maker(caller: FrameType) -> int:
    """Where the first operand of the operator was made at which somebody stands; -1 if that is not known."""
    code = caller.f_code
    known = _known.get(id(code))
    if known is None:
        if len(_known) >= _LIMIT:
            _known.clear()
        known = _known[id(code)] = code, _makers(code) if _SURE else {}
    return known[1].get(caller.f_lasti, -1)
