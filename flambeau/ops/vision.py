"""Images resized by interpolation.

Every mode is linear in the image and separable: along each dimension a table (`resample.py`).  The cubic kernel is that
of R. Keys, "Cubic convolution interpolation for digital image processing" (1981), with a = -0.75, and -0.5 where the
image is smoothed ("antialias").
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import dtype as dtypes
from ..dispatch.operator import OPERATORS, operator
from ..tensor import Tensor
from .resample import Table, resample, tables

__all__: list[str] = []

_F = "torch.nn.functional"
_LINEAR = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}


def _scale(n: int, o: int, align: bool, factor: float | None, real: Any) -> Any:
    """Elements of the input for one of the output."""
    if align:
        return real(n - 1) / real(o - 1) if o > 1 else real(0)
    return real(1.0 / factor) if factor is not None and factor > 0 else real(n) / real(o)


def _nearest(n: int, o: int, factor: float | None, exact: bool) -> Table:
    step = _scale(n, o, False, factor, np.float32)
    place = np.arange(o, dtype=np.float32) + np.float32(0.5 if exact else 0)
    if o == n and factor in (None, 1):
        index = np.arange(o)
    else:
        index = np.minimum(np.floor(place * step).astype(np.int64), n - 1)
    return index[:, None], np.ones((o, 1))


def _source(n: int, o: int, align: bool, factor: float | None, real: Any) -> np.ndarray:
    step = _scale(n, o, align, factor, real)
    place = np.arange(o, dtype=real)
    return place * step if align else (place + real(0.5)) * step - real(0.5)


def _linear(n: int, o: int, align: bool, factor: float | None, real: Any) -> Table:
    source = np.maximum(_source(n, o, align, factor, real), 0)
    first = np.minimum(source.astype(np.int64), n - 1)
    part = np.clip(source - first, 0, 1)
    return np.stack([first, np.minimum(first + 1, n - 1)], 1), np.stack([1 - part, part], 1)


def _keys(a: float, t: np.ndarray) -> np.ndarray:
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0))


def _cubic(n: int, o: int, align: bool, factor: float | None, real: Any) -> Table:
    source = _source(n, o, align, factor, real)
    first = np.floor(source)
    taps = np.arange(-1, 3)
    weight = _keys(-0.75, (source - first)[:, None] - taps.astype(real))
    return np.clip(first.astype(np.int64)[:, None] + taps, 0, n - 1), weight


def _smooth(
    n: int,
    o: int,
    align: bool,
    factor: float | None,
    real: Any,
    radius: int,
    kernel: Callable[[np.ndarray], np.ndarray],
) -> Table:
    """The kernel is made wider than the input's step where the image shrinks, and cut at the borders."""
    step = _scale(n, o, align, factor, real)
    reach = radius * max(step, real(1))
    centre = step * (np.arange(o, dtype=real) + real(0.5))
    first = np.maximum((centre - reach + real(0.5)).astype(np.int64), 0)
    count = np.minimum((centre + reach + real(0.5)).astype(np.int64), n) - first
    taps = np.arange(max(int(count.max(initial=0)), 1))
    weight = kernel((taps + (first[:, None] - centre[:, None] + real(0.5))) / max(step, real(1)))
    weight = np.where(taps < count[:, None], weight, 0)
    total = weight.sum(1, keepdims=True)
    return np.minimum(first[:, None] + taps, n - 1), weight / np.where(total == 0, 1, total)


def _fixed(index: np.ndarray, weight: np.ndarray) -> Table:
    """A table whose weights are as numbers of 16 bits would have them, of as many fractional bits as the largest one
    leaves: how images of bytes are resized.  What falls on one pixel at the border is one weight."""
    weight = weight.copy()
    for k in range(weight.shape[1] - 1, 0, -1):
        same = index[:, k] == index[:, k - 1]
        weight[:, k - 1] += np.where(same, weight[:, k], 0)
        weight[:, k] = np.where(same, 0, weight[:, k])
    largest, bits = float(weight.max(initial=0)), 0
    while bits < 22 and int(0.5 + largest * 2.0 ** (bits + 1)) < 1 << 15:
        bits += 1
    scaled = weight * 2.0**bits
    return index, np.trunc(scaled + np.copysign(0.5, scaled)) / 2.0**bits


@functools.lru_cache(maxsize=256)
def _tables(
    n: int, o: int, mode: str, align: bool, factor: float | None, antialias: bool, double: bool, device: str,
    fixed: bool = False,
) -> tuple[Tensor, ...]:  # fmt: skip
    """(index, weight, transposed index, transposed weight) along one dimension of ``n`` elements that becomes ``o``;
    ``fixed``, weights are multiples of a power of two."""
    real: Any = np.float64 if double else np.float32
    if mode.startswith("nearest"):
        table = _nearest(n, o, factor, mode == "nearest-exact")
    elif antialias and mode == "bicubic":
        table = _smooth(n, o, align, factor, real, 2, functools.partial(_keys, -0.5))
    elif antialias:
        table = _smooth(n, o, align, factor, real, 1, lambda t: np.maximum(1 - np.abs(t), 0))
    elif mode == "bicubic":
        table = _cubic(n, o, align, factor, real)
    else:
        table = _linear(n, o, align, factor, real)
    if fixed:
        table = _fixed(*table)
    return tables(table, n, double, device)


def _per_dim(value: Any, ndim: int, what: str, input: Tensor) -> list[Any]:
    if isinstance(value, (tuple, list)):
        if len(value) != ndim:
            raise ValueError(
                "Input and output must have the same number of spatial dimensions, but got input with spatial "
                "dimensions of "
                f"{list(input.shape[2:])} and {what} of {value}. Please provide input tensor in (N, C, d1, d2, "
                "...,dK) format and "
                f"{what} in (s1, s2, ...,sK) format."
            )
        return list(value)
    return [value] * ndim


@operator(kind="composite", namespace=_F, method=False, out=False)
def interpolate(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None, antialias: bool = False,
) -> Tensor:  # fmt: skip
    """Resizes the spatial dimensions of (N, C, ...) to ``size`` or by ``scale_factor``; one of both is given.

    ``mode`` is "nearest", "nearest-exact", "linear" (3-D input), "bilinear", "bicubic" (4-D), "trilinear" (5-D) or
    "area" (the mean of what a place covers).  ``align_corners`` makes the centres of corner pixels fall together
    instead of their outer edges; ``recompute_scale_factor`` takes the factor from the rounded size; ``antialias``
    (bilinear and bicubic) smooths what shrinks.
    Raises ValueError for arguments that do not go together, NotImplementedError for a mode that the input does not
    have.
    """
    if mode in ("nearest", "area", "nearest-exact"):
        if align_corners is not None:
            raise ValueError(
                "align_corners option can only be set with the interpolating modes: linear | bilinear | bicubic "
                "| trilinear"
            )
    elif align_corners is None:
        align_corners = False
    ndim = input.ndim - 2
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    factors: list[float | None] = [None] * ndim
    if size is not None:
        sizes = [int(n) for n in _per_dim(size, ndim, "output size", input)]
    else:
        factors = [float(f) for f in _per_dim(scale_factor, ndim, "scale_factor", input)]
        sizes = [math.floor(float(n) * f) for n, f in zip(input.shape[2:], factors) if f is not None]
    if recompute_scale_factor:
        if size is not None:
            raise ValueError("recompute_scale_factor is not meaningful with an explicit size.")
        factors = [None] * ndim
    if antialias and not (mode in ("bilinear", "bicubic") and input.ndim == 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear and bicubic modes and requires a 4-D tensor as input"
        )
    if mode == "area" and ndim in (1, 2, 3):
        return OPERATORS[f"adaptive_avg_pool{ndim}d"].function(input, sizes)  # type: ignore[no-any-return]
    if not ((mode in ("nearest", "nearest-exact") and ndim in (1, 2, 3)) or _LINEAR.get(mode) == ndim):
        if mode in (*_LINEAR, "nearest", "nearest-exact", "area"):
            raise NotImplementedError(
                f"Got {input.ndim}D input, but {mode} mode needs {_LINEAR.get(mode, 1) + 2}D input"
            )
        raise NotImplementedError(
            f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {input.ndim}D) for the modes: nearest "
            "| linear | bilinear | bicubic | "
            f"trilinear | area | nearest-exact (got {mode})"
        )
    return resized(input, sizes, factors, mode, bool(align_corners), antialias)


def resized(
    input: Tensor, sizes: Sequence[int], factors: Sequence[float | None], mode: str, align: bool, antialias: bool
) -> Tensor:
    """``interpolate`` with its arguments checked."""
    if any(n <= 0 for n in (*sizes, *input.shape[2:])):
        raise RuntimeError(
            f"Input and output sizes should be greater than 0, but got input {list(input.shape[2:])} output "
            f"{list(sizes)}"
        )
    kind = input.dtype
    nearest = mode.startswith("nearest")
    if kind.is_complex or not (kind.kind == "f" or kind is dtypes.uint8):
        raise NotImplementedError(f'"interpolate" not implemented for {kind} in mode {mode!r}')
    if kind is dtypes.uint8 and mode in ("bilinear", "bicubic"):
        return _resized_bytes(input, sizes, factors, mode, align, antialias)
    double = kind is dtypes.float64
    x = input
    if kind.itemsize < 4 and (
        not nearest or (kind.kind == "f" and input._requires_grad)
    ):  # sums, of the gradient too, are in float32
        x = x.to(dtypes.float32)  # type: ignore[attr-defined]
    for d, (n, o, factor) in enumerate(zip(input.shape[2:], sizes, factors)):
        if n == o and (factor is None or factor == 1):
            continue  # every mode leaves such a dimension as it is
        x = resample.function(x, *_tables(n, o, mode, align, factor, antialias, double, str(input.device)), 2 + d)
    if x is input:
        return input.clone()  # type: ignore[attr-defined,no-any-return]
    if kind is dtypes.uint8 and not nearest:
        x = x.round().clamp(0, 255)  # type: ignore[attr-defined]
    return x.to(kind)  # type: ignore[attr-defined,no-any-return]


def _resized_bytes(
    input: Tensor, sizes: Sequence[int], factors: Sequence[float | None], mode: str, align: bool, antialias: bool
) -> Tensor:
    """Images of bytes: with weights of fixed precision, and whole numbers from 0 to 255 between the dimensions, of
    which the last one is first."""
    x: Any = input
    for d in (3, 2):
        n, o, factor = input.shape[d], sizes[d - 2], factors[d - 2]
        if n != o:
            found = _tables(n, o, mode, align, factor, antialias, True, str(input.device), True)
            x = resample.function(x.to(dtypes.float64), *found, d).add(0.5).floor().clamp(0, 255)
    return input.clone() if x is input else x.to(dtypes.uint8)  # type: ignore[attr-defined,no-any-return]


def _deprecated(name: str) -> None:
    warnings.warn(f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.", stacklevel=4)


@operator(kind="composite", namespace=_F, method=False, out=False)
def upsample(
    input: Tensor, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None
) -> Tensor:
    """``interpolate`` by its old name."""
    _deprecated("upsample")
    return interpolate.function(input, size, scale_factor, mode, align_corners)  # type: ignore[no-any-return]


@operator(kind="composite", namespace=_F, method=False, out=False)
def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """``interpolate`` with mode "nearest"."""
    _deprecated("upsample_nearest")
    return interpolate.function(input, size, scale_factor, "nearest")  # type: ignore[no-any-return]


@operator(kind="composite", namespace=_F, method=False, out=False)
def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """``interpolate`` with mode "bilinear" and aligned corners."""
    _deprecated("upsample_bilinear")
    return interpolate.function(input, size, scale_factor, "bilinear", True)  # type: ignore[no-any-return]
