"""What was wrong with the arguments of a call that failed.

Bodies take their arguments' classes on trust, which costs a good call nothing.  When one fails with an exception that
may come of that trust, its arguments are held against the annotations of the operator's record, and the first that does
not fit is named in PyTorch's words.  If all seem to fit and yet it was Python that could not go on (no such key, no
such attribute, a division by zero), the exception is one of PyTorch's, names the call, and has Python's as its
cause.
"""

from __future__ import annotations

import functools
import inspect
import opcode
import os
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dtype import dtype, meant
from ..tensor import Tensor
from .operator import FACTOR, OPERAND, SCALAR, STATIC, TENSORS, Operator, parameters

__all__ = ["FAULTS", "blamed", "blamed_function", "with_dtypes"]

FAULTS = (
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    ArithmeticError,
    AssertionError,
    StopIteration,
    struct.error,
)
"""Classes of exceptions that an argument of the wrong class may have caused."""


def _number(value: Any) -> bool:
    return isinstance(value, (int, float, complex, np.generic)) or _one(value)


def _one(value: Any) -> bool:
    """Whether a tensor stands for a number."""
    return isinstance(value, Tensor) and value._layout.numel == 1


def _integer(value: Any) -> bool:
    return hasattr(value, "__index__") and (not isinstance(value, Tensor) or _one(value))


def _real(value: Any) -> bool:
    return hasattr(value, "__float__") and not isinstance(value, (str, complex)) and _number(value)


def _row(of: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A row of such values; one of them stands for a row of the same, and a tensor for its elements."""
    return lambda value: (
        all(map(of, value))
        if isinstance(value, (list, tuple))
        else of(value) or isinstance(value, (Tensor, np.ndarray))
    )


_ATOMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "int": (_integer, "int"), "float": (_real, "float"), "None": (lambda v: v is None, "None"),
    "bool": (lambda v: isinstance(v, (bool, int, np.bool_)) or _one(v), "bool"),
    "str": (lambda v: isinstance(v, str), "str"), "Tensor": (lambda v: isinstance(v, Tensor), "Tensor"),
    "dtype_": (lambda v: isinstance(v, dtype), "torch.dtype"), "Size": (_row(_integer), "tuple of ints"),
    "Sequence[Tensor]": (
        lambda v: isinstance(v, (list, tuple)) and all(isinstance(t, Tensor) for t in v), "tuple of Tensors"
    ),
    "Sequence[int]": (_row(_integer), "tuple of ints"), "tuple[int, ...]": (_row(_integer), "tuple of ints"),
    "tuple[int, int]": (_row(_integer), "tuple of ints"), "Sequence[float]": (_row(_real), "tuple of floats"),
}  # fmt: skip


@functools.lru_cache(maxsize=1024)
def _accepted(annotation: str) -> tuple[tuple[Callable[[Any], bool], str], ...]:
    """What each part of an annotation accepts; empty where a part is not known, which accepts anything."""
    atoms = [_ATOMS.get(part) for part in annotation.split(" | ")]
    return () if None in atoms else tuple(a for a in atoms if a is not None)


def _wants_rows(error: Exception) -> bool:
    """Whether a body took a number for a row of them."""
    text = str(error)
    return isinstance(error, TypeError) and any(words in text for words in ("no len()", "iterable", "subscriptable"))


def _expected(kind: int, annotation: str, value: Any, strictly: bool = False) -> str | None:
    """What a parameter wants where it is not ``value``; ``strictly``, no number stands for a row of them."""
    if kind == TENSORS:
        fits = isinstance(value, (list, tuple)) and all(isinstance(t, Tensor) for t in value)
        return None if fits else "tuple of Tensors"
    if kind in (OPERAND, SCALAR, FACTOR):
        fits = (
            _number(value)
            or (kind == OPERAND and isinstance(value, Tensor))
            or (value is None and "None" in annotation)
        )
        return None if fits else "Number" if kind != OPERAND else "Tensor"
    accepted = _accepted(annotation)
    if not accepted or any(
        fits(value) and not (strictly and what.startswith("tuple") and isinstance(value, (int, float)))
        for fits, what in accepted
    ):
        return None
    return accepted[0][1]


def _wrong(function: str, name: str, place: int, wanted: str, value: Any) -> TypeError:
    error = TypeError(
        f"{function}(): argument '{name}' (position {place + 1}) must be {wanted}, not {type(value).__name__}"
    )
    error.__suppress_context__ = True
    return error


def _asked(value: Any, error: Exception) -> bool:
    """Whether the error is that this value, which is no tensor, was asked for something that tensors have."""
    return (
        isinstance(error, AttributeError)
        and value is error.obj
        and not isinstance(value, Tensor)
        and error.name is not None
        and hasattr(Tensor, error.name)
    )


_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_RAISES = (opcode.opmap["RAISE_VARARGS"], opcode.opmap["RERAISE"])
_TOO_LARGE = re.compile("too big|size exceeded")
_NO_NUMBER = ("invalid literal", "could not convert", "not enough values", "too many values")


def _of_python(error: Exception) -> bool:
    """Whether Python raised an exception while it ran code of this package, and no ``raise`` statement did."""
    tb = error.__traceback__
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    code = None if tb is None else tb.tb_frame.f_code
    return tb is not None and code.co_filename.startswith(_HOME) and code.co_code[tb.tb_lasti] not in _RAISES


def _kind(error: Exception) -> type[Exception]:
    """The class of exceptions in which PyTorch says what Python says with this one."""
    if isinstance(error, ValueError):
        text = str(error)
        return TypeError if text.startswith(_NO_NUMBER) else RuntimeError if _TOO_LARGE.search(text) else ValueError
    if isinstance(error, (AttributeError, TypeError, struct.error, StopIteration)):
        return TypeError
    return IndexError if isinstance(error, IndexError) else RuntimeError


def _described(value: Any) -> str:
    """An argument in an error's words."""
    if isinstance(value, Tensor):
        return f"{value._layout.dtype} tensor of shape {list(value._layout.shape)}"
    text = repr(value) if isinstance(value, (int, float, complex, str, type(None), dtype)) else type(value).__name__
    return text if len(text) <= 40 else f"{text[:37]}..."


def with_dtypes(args: Sequence[Any]) -> tuple[Any, ...] | None:
    """The arguments with dtypes in the place of Python's types of numbers, which stand for them; None if there are
    none."""
    plain = tuple([meant(a) for a in args])
    return plain if any(p is not a for p, a in zip(plain, args)) else None


def _named(function: str, args: Sequence[Any], error: Exception) -> Exception:
    """The error, in words that say more where Python raised it in a body."""
    if not _of_python(error):
        return error
    if not isinstance(error, IndexError) or str(error) != "tuple index out of range":
        given = ", ".join(_described(a) for a in args)
        why = {ZeroDivisionError: "division by zero", KeyError: f"there is nothing for {error}"}.get(
            type(error), str(error)
        )
        made = _kind(error)(f"{function}(): cannot be computed of these arguments ({given}): {why}")
        made.__cause__ = error
        return made
    flat = (t for a in args for t in (a if isinstance(a, (list, tuple)) else (a,)))
    shapes = [list(t._layout.shape) for t in flat if isinstance(t, Tensor)]
    return IndexError(f"{function}(): Dimension out of range: too few dimensions among the tensors of shapes {shapes}")


def blamed(op: Operator, args: Sequence[Any], error: Exception) -> Exception:
    """What to raise for a call that failed with ``error``: a TypeError for the first argument that is not what its
    parameter's annotation says, an IndexError in the operator's name where a tensor has too few dimensions, or the
    error itself."""
    annotations = parameters(op.body)[1]
    for strictly in (False, _wants_rows(error)):
        for i, (name, kind, value) in enumerate(zip(op.params, op.kinds, args)):
            wanted = _expected(kind, str(annotations.get(name, "")), value, strictly)
            if wanted is not None:
                return _wrong(op.name, name, i, wanted, value)
    return _named(op.name, args, error)


def blamed_function(function: Callable[..., Any], args: Any, kwargs: Any, error: Exception) -> Exception:
    """``blamed`` for a function that is no operator."""
    try:
        given = inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return error
    for strictly in (False, _wants_rows(error)):
        for i, (name, value) in enumerate(given.arguments.items()):
            parameter = given.signature.parameters[name]
            if parameter.kind is parameter.VAR_KEYWORD or value is parameter.default:
                continue
            for one in value if parameter.kind is parameter.VAR_POSITIONAL else (value,):
                annotation = str(parameter.annotation)
                wanted = "Tensor" if _asked(one, error) else _expected(STATIC, annotation, one, strictly)
                if wanted is not None:
                    return _wrong(function.__name__, name, i, wanted, one)
    return _named(function.__name__, (*args, *kwargs.values()), error)
