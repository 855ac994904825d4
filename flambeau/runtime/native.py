"""Calling native functions from Python at little more than the price of ``len(x)``.

``ctypes`` takes 0.3 to 0.5 us for a call with four addresses, a third of what dispatching an operator may cost.  Here
a call goes through a *builtin function*: a trampoline in machine code, generated for each signature, that takes
CPython's vector of arguments, converts each one, calls the target, and converts the result.  It uses functions of the
stable ABI only (``PyLong_AsVoidPtr`` and the like) and no layout of any CPython object, so it is the same for every
version of CPython.  Other interpreters get a ``ctypes`` function with the same behaviour.

Reference: Python/C API manual, "Common Object Structures" (METH_FASTCALL, PyMethodDef).
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Callable
from functools import partial

from ..target.isa import ISA
from . import engine

__all__ = ["METH_FASTCALL", "MethodDef", "keep_forever", "make_caller"]

METH_FASTCALL = 0x80

_TYPES = {"p": "ptr", "i": "i64", "d": "double"}
_CTYPES = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "d": ctypes.c_double}
_CONVERTERS = {"p": "PyLong_AsVoidPtr", "i": "PyLong_AsLongLong", "d": "PyFloat_AsDouble"}
# The result of a converter that may mean an error, and how to compare with it.
_SUSPECT = {"p": "icmp eq ptr {}, null", "i": "icmp eq i64 {}, -1", "d": "fcmp oeq double {}, -1.0"}


class MethodDef(ctypes.Structure):
    """PyMethodDef."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("method", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


Order = tuple[int | None, ...]


def keep_forever(value: object) -> None:
    """Never frees ``value``, which native objects point to that may outlive every module when the interpreter ends."""
    if sys.implementation.name == "cpython":
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(value))


def _ir(signature: str, bound: int, release: bool, order: Order) -> str:
    """The trampoline ``PyObject *call(PyObject *self, PyObject **args, Py_ssize_t count)``.

    ``self`` is a ``bytes`` object that holds the address of the target and of its ``bound`` leading arguments.
    """
    message = f"expected {len(signature)} arguments ({signature})".encode() + b"\0"
    lines = [f"  %fits = icmp eq i64 %count, {len(signature)}", "  br i1 %fits, label %a0, label %miscounted"]
    for index, code in enumerate(signature):
        type_, value = _TYPES[code], f"%v{index}"
        lines += [
            f"a{index}:",
            f"  %p{index} = getelementptr ptr, ptr %args, i64 {index}",
            f"  %o{index} = load ptr, ptr %p{index}",
            f"  {value} = call {type_} @{_CONVERTERS[code]}(ptr %o{index})",
            f"  %s{index} = {_SUSPECT[code].format(value)}",
            f"  br i1 %s{index}, label %c{index}, label %a{index + 1}, !prof !0",
            f"c{index}:",
            f"  %e{index} = call ptr @PyErr_Occurred()",
            f"  %f{index} = icmp ne ptr %e{index}, null",
            f"  br i1 %f{index}, label %failed, label %a{index + 1}",
        ]
    lines += [
        f"a{len(signature)}:",
        "  %words = call ptr @PyBytes_AsString(ptr %self)",
        "  %target = load ptr, ptr %words",
    ]
    for index in range(bound):
        lines += [
            f"  %q{index} = getelementptr ptr, ptr %words, i64 {index + 1}",
            f"  %b{index} = load ptr, ptr %q{index}",
        ]
    arguments = ", ".join(
        [f"ptr %b{index}" for index in range(bound)]
        + ["ptr null" if index is None else f"{_TYPES[signature[index]]} %v{index}" for index in order]
    )
    if release:
        lines.append("  %state = call ptr @PyEval_SaveThread()")
    lines.append(f"  %status = call i64 %target({arguments})")
    if release:
        lines.append("  call void @PyEval_RestoreThread(ptr %state)")
    lines += ["  %result = call ptr @PyLong_FromLongLong(i64 %status)", "  ret ptr %result"]
    body = "\n".join(lines)
    return f"""
@PyExc_TypeError = external global ptr
@message = private constant [{len(message)} x i8] c"{message.decode().replace(chr(0), chr(92) + "00")}"
declare ptr @PyBytes_AsString(ptr)
declare ptr @PyLong_AsVoidPtr(ptr)
declare i64 @PyLong_AsLongLong(ptr)
declare double @PyFloat_AsDouble(ptr)
declare ptr @PyLong_FromLongLong(i64)
declare ptr @PyErr_Occurred()
declare void @PyErr_SetString(ptr, ptr)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)

define ptr @call(ptr %self, ptr %args, i64 %count) nounwind {{
{body}
miscounted:
  %class = load ptr, ptr @PyExc_TypeError
  call void @PyErr_SetString(ptr %class, ptr @message)
  ret ptr null
failed:
  ret ptr null
}}
!0 = !{{!"branch_weights", i32 1, i32 1000}}
"""


_definitions: dict[tuple[str, int, bool, Order], MethodDef] = {}


def _definition(signature: str, bound: int, release: bool, order: Order) -> MethodDef:
    """The method definition of a signature, made once: functions refer to it for as long as they live."""
    found = _definitions.get((signature, bound, release, order))
    if found is None:
        kind = f"call {bound}+{signature}{' released' if release else ''}"
        if order != tuple(range(len(signature))):
            kind += " as " + " ".join("0" if i is None else str(i + 1) for i in order)
        code = engine.load(kind, "trampoline", lambda: _ir(signature, bound, release, order), ISA.named("generic"))
        made = MethodDef(b"native", code.address("call"), METH_FASTCALL, b"A function of generated code.")
        keep_forever(made)
        found = _definitions.setdefault((signature, bound, release, order), made)
    return found


_new_function = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)


def make_caller(
    address: int,
    signature: str,
    *,
    bound: tuple[int, ...] = (),
    release_gil: bool = False,
    order: Order | None = None,
) -> Callable[..., int]:
    """A Python function that calls the native ``i64 f(...)`` at ``address`` and returns its result.

    ``bound`` are addresses passed as the first arguments in every call (a kernel's ``params``, say); then come the
    arguments of the Python function, for which ``signature`` has one letter each: ``p`` an address (int), ``i`` an int
    of 64 bits, ``d`` a float.  ``release_gil`` lets other Python threads run meanwhile; it costs some 50 ns, and for a
    call that lasts longer than a few microseconds it should be on.  ``order`` says which argument of the Python
    function each further argument of the native one is (``None``: the null address); by default they are the same.

    The function raises ``TypeError`` for the wrong number or kind of arguments and ``OverflowError`` for an int that
    does not fit.
    """
    if any(code not in _TYPES for code in signature):
        raise ValueError(f"make_caller: signature {signature!r} has letters other than p, i and d")
    if sys.implementation.name != "cpython":
        return _make_with_ctypes(address, signature, bound, release_gil, order)
    definition = _definition(signature, len(bound), release_gil, order or tuple(range(len(signature))))
    new = _new_function(("PyCFunction_NewEx", ctypes.pythonapi))
    words = struct.pack(f"{1 + len(bound)}Q", address, *bound)
    caller: Callable[..., int] = new(ctypes.addressof(definition), words, None)
    return caller


def _make_with_ctypes(
    address: int, signature: str, bound: tuple[int, ...], release_gil: bool, order: Order | None = None
) -> Callable[..., int]:
    prototype = ctypes.CFUNCTYPE if release_gil else ctypes.PYFUNCTYPE
    codes = [signature[i] if i is not None else "p" for i in order] if order is not None else list(signature)
    types = [ctypes.c_void_p] * len(bound) + [_CTYPES[code] for code in codes]
    native: Callable[..., int] = partial(prototype(ctypes.c_int64, *types)(address), *bound)
    if order is None:
        return native
    return lambda *args: native(*[None if i is None else args[i] for i in order])
