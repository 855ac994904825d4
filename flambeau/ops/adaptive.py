"""Adaptive pooling: windows that divide a dimension into a given number of nearly equal, possibly overlapping parts.

Window i of o over n elements covers ``floor(i * n / o)`` up to ``ceil((i + 1) * n / o)``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from .. import dtype as dtypes
from ..dispatch.operator import operator
from ..tensor import Tensor
from .from_data import tensor
from .pool import avg_pool_kernel, max_pool_kernel
from .resample import resample, tables
from .window_max import window_max

__all__: list[str] = []

_F = "torch.nn.functional"


def _reach(n: int, o: int) -> int:
    """The greatest number of elements of a window."""
    # Window i begins at i n / o, and what is lost by rounding down takes every multiple of gcd / o below 1.
    step = math.gcd(n, o)
    return -(-(o - step + n) // o) if o else 0


def _checked(name: str, input: Tensor, size: Sequence[int]) -> None:
    ndim = len(size)
    if input.ndim not in (ndim + 1, ndim + 2):
        raise RuntimeError(f"{name}(): Expected {ndim + 1}D or {ndim + 2}D tensor, but got {list(input.shape)}")
    if any(n == 0 for n in input.shape[1:]):
        raise RuntimeError(
            f"{name}(): Expected input to have non-zero size for non-batch dimensions, but input "
            f"has sizes {list(input.shape)}"
        )
    if any(o < 0 for o in size):
        raise RuntimeError(f"{name}: elements of output_size must be greater than or equal to 0")
    shape = (*input.shape[:-ndim], *size)
    if math.prod(shape) * input.itemsize >= 2**63:
        raise RuntimeError(f"{name}: Storage size calculation overflowed with sizes={list(shape)}")


def _ends(n: int, o: int) -> tuple[np.ndarray, np.ndarray]:
    """(first, one past the last) element of every window along a dimension."""
    place = np.arange(o)
    return place * n // o, -(-(place + 1) * n // o)


def _positions(n: int, o: int) -> tuple[np.ndarray, np.ndarray]:
    """(elements of every window along a dimension, whether each is inside): the last of a window stands in for what a
    shorter one has too few."""
    start, end = _ends(n, o)
    index = start[:, None] + np.arange(_reach(n, o))
    return np.minimum(index, end[:, None] - 1), index < end[:, None]


@functools.lru_cache(maxsize=256)
def _places(n: int, o: int, device: str) -> Tensor:
    """The elements of every window along a dimension, as `window_max` takes them."""
    return tensor(np.ascontiguousarray(_positions(n, o)[0].T), device=device)


@functools.lru_cache(maxsize=256)
def _sums(n: int, o: int, double: bool, device: str) -> tuple[Tensor, ...]:
    """The tables of the sums of the windows along a dimension."""
    index, inside = _positions(n, o)
    return tables((index, np.where(inside, 1.0, np.nan)), n, double, device)


@functools.lru_cache(maxsize=256)
def _elements(have: tuple[int, ...], size: tuple[int, ...], double: bool, device: str) -> Tensor:
    """How many elements every window has."""
    lengths = [end - start for start, end in (_ends(n, o) for n, o in zip(have, size))]
    counts = functools.reduce(np.multiply.outer, lengths)
    return tensor(counts, dtype=dtypes.float64 if double else dtypes.float32, device=device)


def _uneven_means(input: Tensor, size: tuple[int, ...]) -> Tensor:
    """The mean of each window: sums over one dimension after the other."""
    ndim, lead, kind = len(size), input.ndim - len(size), input.dtype
    name = f"adaptive_avg_pool{ndim}d"
    _checked(name, input, size)
    if kind.kind != "f":
        raise NotImplementedError(f'"{name}" not implemented for {kind}: means are of floating-point numbers')
    double, device = kind is dtypes.float64, str(input.device)
    x: Any = input.to(dtypes.float32) if kind.itemsize < 4 else input  # type: ignore[attr-defined]
    have = input.shape[lead:]
    for d, (n, o) in enumerate(zip(have, size), lead):
        if n != o:
            x = resample.function(x, *_sums(n, o, double, device), d)
    return (x / _elements(have, size, double, device)).to(kind)  # type: ignore[no-any-return]


def _uneven_maxima(input: Tensor, size: tuple[int, ...]) -> Any:
    """(greatest element of each window, its position in the flattened spatial dimensions)"""
    ndim, lead = len(size), input.ndim - len(size)
    _checked(f"adaptive_max_pool{ndim}d", input, size)
    places = [_places(n, o, str(input.device)) for n, o in zip(input.shape[lead:], size)]
    return window_max.function(input, *places, *[None] * (3 - ndim))


def _size(value: int | Sequence[int | None] | None, ndim: int, input: Tensor, name: str) -> tuple[int, ...]:
    if isinstance(value, (tuple, list)):
        if ndim > 1 and input.ndim <= len(value):
            raise ValueError(f"{name}: Input dimension should be at least {len(value) + 1}, but got {input.ndim}")
        if len(value) not in (1, ndim):
            raise RuntimeError(f"{name}: output_size must be {ndim}")
        values = list(value) * (ndim if len(value) == 1 else 1)
    else:
        values = [value] * ndim
    return tuple(n if v is None else index(v) for v, n in zip(values, input.shape[-ndim:]))


def _equal_windows(input: Tensor, size: tuple[int, ...]) -> tuple[int, ...] | None:
    """The size of the windows where they are equal and do not overlap, which plain pooling is faster for."""
    have = input.shape[input.ndim - len(size) :]
    fits = input.ndim in (len(size) + 1, len(size) + 2) and input.dtype.kind == "f" and 0 not in input.shape
    if not fits or any(o <= 0 or n % o for n, o in zip(have, size)):
        return None
    return tuple(n // o for n, o in zip(have, size))


def _define(ndim: int) -> None:
    def avg_pool(input: Tensor, output_size: Any) -> Tensor:
        size = _size(output_size, ndim, input, f"adaptive_avg_pool{ndim}d")
        windows = _equal_windows(input, size)
        if windows is None:
            return _uneven_means(input, size)
        if all(n == 1 for n in size):
            return input.mean(tuple(range(-ndim, 0)), True)  # type: ignore[attr-defined,no-any-return]
        return avg_pool_kernel.function(input, windows, windows, (0,) * ndim, False, True, None)  # type: ignore[no-any-return]

    def max_pool(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        size = _size(output_size, ndim, input, f"adaptive_max_pool{ndim}d")
        windows = _equal_windows(input, size)
        if windows is None:
            found = _uneven_maxima(input, size)
        else:
            found = max_pool_kernel.function(input, windows, windows, (0,) * ndim, (1,) * ndim, False)
        return found if return_indices else found[0]

    avg_pool.__name__, max_pool.__name__ = f"adaptive_avg_pool{ndim}d", f"adaptive_max_pool{ndim}d"
    avg_pool.__module__ = max_pool.__module__ = __name__
    avg_pool.__doc__ = (
        f"The means of windows that divide {ndim} dimension(s) into ``output_size`` parts; None keeps a size."
    )
    max_pool.__doc__ = (
        f"The greatest elements of windows that divide {ndim} dimension(s) into ``output_size`` "
        "parts, and their positions."
    )
    operator(kind="composite", method=False, out=False, namespace="torch" if ndim == 1 else _F)(avg_pool)
    operator(kind="composite", method=False, out=False, namespace=_F)(max_pool)


for _ndim in (1, 2, 3):
    _define(_ndim)
