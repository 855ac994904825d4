"""``make_tensor``: tensors of random values to test with."""

from __future__ import annotations

import math
from typing import Any

from .. import ops
from ..dtype import bool_, float32, int64
from ..dtype import dtype as dtype_
from ..dtype_info import finfo, iinfo

__all__ = ["make_tensor"]


def _range(kind: dtype_, low: float | None, high: float | None) -> tuple[float, float]:
    """The interval to draw from: what was given, inside of what the type holds; [-9, 9) unless said otherwise."""
    if kind is bool_:
        lowest, highest, default = 0.0, 2.0, (0.0, 2.0)
    elif kind.kind in "ui":
        info = iinfo(kind)
        lowest, highest = info.min, info.max + (kind is not int64)
        default = (0.0, 10.0) if kind.kind == "u" else (-9.0, 10.0)
    else:
        limits = finfo(kind.to_real())
        lowest, highest, default = limits.min, limits.max, (-9.0, 9.0)
    first, last = (default[0] if low is None else low), (default[1] if high is None else high)
    for name, value in (("low", first), ("high", last)):
        if isinstance(value, float) and math.isnan(value):
            raise ValueError(f"`{name}` cannot be NaN, but got {name}={value}")
    if first >= last:
        raise ValueError(f"`low` must be less than `high`, but got {first} >= {last}")
    if last < lowest or first > highest:
        raise ValueError(
            f"The value interval specified by `low` and `high` is [{first}, {last}), but {kind} only supports "
            f"[{lowest}, {highest})"
        )
    return max(first, lowest), min(last, highest)


def make_tensor(
    *shape: Any, dtype: dtype_, device: Any, low: float | None = None, high: float | None = None,
    requires_grad: bool = False, noncontiguous: bool = False, exclude_zero: bool = False, memory_format: Any = None,
) -> Any:  # fmt: skip
    """A tensor of this shape with values drawn uniformly from [low, high), which are -9 and 9 by default (for unsigned
    integers 0 and 10, for booleans both values).

    ``exclude_zero`` puts the smallest positive number in place of zeros; ``noncontiguous`` gives strides that are not
    those of a fresh tensor.  Raises ValueError for an empty interval, for both of ``noncontiguous`` and
    ``memory_format``, and for gradients of integers.
    """
    size = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    if requires_grad and not (dtype.is_floating_point or dtype.is_complex):
        raise ValueError(
            f"`requires_grad=True` is only supported for floating point and complex dtypes, but got dtype={dtype!r}"
        )
    if noncontiguous and memory_format is not None:
        raise ValueError(
            f"The parameters `noncontiguous` and `memory_format` are mutually exclusive, but got noncontiguous=True "
            f"and memory_format={memory_format!r}"
        )
    first, last = _range(dtype, low, high)
    spread = noncontiguous and math.prod(size) > 1
    drawn = (*size[:-1], 2 * size[-1]) if spread else size
    made: Any
    if dtype.kind in "bui":
        made = ops.randint(math.ceil(first), math.ceil(last), drawn, device=device).to(dtype)
    else:
        real = dtype.to_real()
        wide = float32 if real.itemsize < 4 else real
        parts = [ops.empty(drawn, dtype=wide, device=device).uniform_(first, last) for _ in range(1 + dtype.is_complex)]  # type: ignore[attr-defined]
        made = (ops.complex(*parts) if dtype.is_complex else parts[0]).to(dtype)
    if spread:
        made = made[..., ::2]
    elif memory_format is not None:
        made = made.clone(memory_format=memory_format)
    if exclude_zero:
        least = 1 if dtype.kind in "bui" else finfo(dtype.to_real()).tiny
        made[made == 0] = least
    return made.requires_grad_(requires_grad) if requires_grad else made
