"""The element type of a result, by the operands together, and what may be written to memory of another type."""

from __future__ import annotations

from collections.abc import Sequence

from .dtype import dtype, get_default_dtype, promote_types
from .tensor import Tensor

__all__ = ["TITLES", "check_cast", "result_type"]

_CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}

TITLES = {
    "bool": "Bool", "uint8": "Byte", "int8": "Char", "int16": "Short", "int32": "Int", "int64": "Long",
    "float16": "Half", "bfloat16": "BFloat16",
    "float32": "Float", "float64": "Double", "complex32": "ComplexHalf", "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
}  # fmt: skip
"""PyTorch's names of scalar types in messages."""


def result_type(tensors: Sequence[Tensor]) -> dtype:
    """The element type of arithmetic on these tensors (PyTorch's rules): tensors with dimensions decide, 0-dim ones
    only by a higher category, Python numbers (``_weak``) last of all."""
    found: list[dtype | None] = [None, None, None]
    for t in tensors:
        layout = t._layout
        if t._weak:
            rank = 2
            kind = layout.dtype.kind
            type_ = (
                get_default_dtype()
                if kind == "f"
                else get_default_dtype().to_complex()
                if kind == "c"
                else layout.dtype
            )
        else:
            rank, type_ = (0 if layout.ndim else 1), layout.dtype
        before = found[rank]
        found[rank] = type_ if before is None else promote_types(before, type_)
    result = found[0]
    for lower in found[1:]:
        result = _combine(result, lower)
    assert result is not None
    return result


def _combine(higher: dtype | None, lower: dtype | None) -> dtype | None:
    if higher is None or lower is None:
        return higher or lower
    if _CATEGORY[lower.kind] <= _CATEGORY[higher.kind]:
        return higher
    if lower.kind == "c" and higher.kind == "f":
        return higher.to_complex()
    return promote_types(higher, lower)


def check_cast(source: dtype, target: dtype) -> None:
    """Raises RuntimeError if a result of type ``source`` must not be written to ``target``."""
    if _CATEGORY[source.kind] > _CATEGORY[target.kind]:
        raise RuntimeError(
            f"result type {TITLES.get(source.name, source.name)} can't be cast to the desired "
            f"output type {TITLES.get(target.name, target.name)}"
        )
