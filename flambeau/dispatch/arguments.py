"""The arguments of a call of an operator: checked, made plain, and as the key of its plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..tensor import Tensor
from . import operator as records
from .operator import FACTOR, OPERAND, SCALAR, STATIC, TENSORS, Operator
from .planning import NUMBERS, frozen, is_one

__all__ = ["literal", "plain_arguments", "signature"]


def signature(op: Operator, args: Sequence[Any]) -> tuple[list[Any], list[Tensor], list[Any]]:
    """(key, tensors, run-time numbers) of a call."""
    key: list[Any] = []
    tensors: list[Tensor] = []
    numbers: list[Any] = []
    for a, kind in zip(args, op.kinds):
        if isinstance(a, Tensor):
            key.append((a._layout, "number") if a._weak else a._layout)
            tensors.append(a)
        elif a is None or (kind == FACTOR and is_one(a)):
            key.append(None)
        elif kind in (OPERAND, SCALAR, FACTOR):
            c = a.__class__
            key.append(c)
            if c is complex:
                numbers += [a.real, a.imag]
            elif c is float:
                numbers.append(a)
            else:
                if not -(1 << 63) <= a < 1 << 63:
                    if not 0 <= a < 1 << 64:
                        raise RuntimeError(
                            f"{op.name}: value cannot be converted to type int64_t without overflow: {a}"
                        )
                    a -= 1 << 64
                numbers.append(int(a))
        elif kind == TENSORS:
            key.append(tuple(t._layout for t in a))
            tensors.extend(a)
        else:
            key.append(a.__class__)
            key.append(frozen(a))
    return key, tensors, numbers


def literal(op: Operator, args: Sequence[Any]) -> Sequence[Any]:
    """The arguments with Python's numbers in place of tensors that stand for them, as in ``x.sum(torch.tensor(0))``."""
    for i in op.numerals:
        a = args[i]
        if isinstance(a, Tensor):
            args = [*args[:i], _numeral(op, i, a), *args[i + 1 :]]
        elif isinstance(a, (list, tuple)) and any(isinstance(x, Tensor) for x in a):
            found = [_numeral(op, i, x) if isinstance(x, Tensor) else x for x in a]
            args = [*args[:i], found, *args[i + 1 :]]
    return args


def _numeral(op: Operator, i: int, value: Tensor) -> Any:
    if value._layout.numel != 1:
        raise TypeError(
            f"{op.name}(): argument '{op.params[i]}' (position {i + 1}) must be a number, not Tensor: only a tensor of "
            f"one element stands for it, this one has shape {list(value._layout.shape)}"
        )
    return value.item()  # type: ignore[attr-defined]


def plain_arguments(op: Operator, args: Sequence[Any]) -> Sequence[Any]:
    """Checks the kinds of arguments, and makes numpy's numbers Python's."""
    result = None
    for i, (a, kind) in enumerate(zip(args, op.kinds)):
        if (
            kind == STATIC
            or (a is None and kind != records.TENSOR and i not in op.numbers)
            or (kind not in (TENSORS, SCALAR, FACTOR) and isinstance(a, Tensor))
            or (kind in (SCALAR, FACTOR) and isinstance(a, Tensor) and not a._layout.ndim and not a._requires_grad)
        ):
            continue
        if kind == TENSORS:
            if not isinstance(a, (list, tuple)) or not all(isinstance(t, Tensor) for t in a):
                if isinstance(a, (list, tuple)):
                    bad = next(t for t in a if not isinstance(t, Tensor))
                    raise TypeError(
                        f"{op.name}(): expected Tensor as element in argument '{op.params[i]}', but "
                        f"got {type(bad).__name__}"
                    )
                raise TypeError(
                    f"{op.name}(): argument '{op.params[i]}' must be tuple of Tensors, not {type(a).__name__}"
                )
            continue
        if kind in (OPERAND, SCALAR, FACTOR) and a.__class__ in NUMBERS:
            continue
        if kind in (OPERAND, SCALAR, FACTOR) and isinstance(a, (np.generic, *NUMBERS)):
            result = list(args) if result is None else result
            result[i] = a.item() if isinstance(a, np.generic) else int(a) if isinstance(a, int) else float(a)  # type: ignore[arg-type]
            continue
        what = "Tensor" if kind not in (SCALAR, FACTOR) else "Number"
        raise TypeError(
            f"{op.name}(): argument '{op.params[i]}' (position {i + 1}) must be {what}, not {type(a).__name__}"
        )
    return args if result is None else result
