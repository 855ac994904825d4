"""Pooling as compositions: norms, maxima with their places, and maxima put back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ...ops.window_max import window_max
from .._base import Tensor, int64, ops, overridable

__all__ = [
    "adaptive_max_pool1d_with_indices",
    "adaptive_max_pool2d_with_indices",
    "adaptive_max_pool3d_with_indices",
    "fractional_max_pool2d",
    "fractional_max_pool2d_with_indices",
    "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d_with_indices",
    "max_pool2d_with_indices",
    "max_pool3d_with_indices",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
]


def _sizes(value: Any, n: int) -> tuple[int, ...]:
    """One number for all dimensions, or one each, as a tuple of ``n``."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * n if len(values) == 1 else values


def _named(function: Callable[..., Any], pool: str) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = f"{pool}_with_indices"
    function.__doc__ = f"``{pool}`` and the place of each maximum."
    return function


def _max_pool_with_indices(pool: str) -> Callable[..., tuple[Tensor, Tensor]]:
    def pooled(
        input: Tensor,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> tuple[Tensor, Tensor]:
        return getattr(ops, pool)(input, kernel_size, stride, padding, dilation, ceil_mode, True)  # type: ignore[no-any-return]

    return _named(pooled, pool)


def _adaptive_max_pool_with_indices(pool: str) -> Callable[..., tuple[Tensor, Tensor]]:
    def pooled(input: Tensor, output_size: Any, return_indices: bool = False) -> tuple[Tensor, Tensor]:
        return getattr(ops, pool)(input, output_size, True)  # type: ignore[no-any-return]

    return _named(pooled, pool)


max_pool1d_with_indices = _max_pool_with_indices("max_pool1d")
max_pool2d_with_indices = _max_pool_with_indices("max_pool2d")
max_pool3d_with_indices = _max_pool_with_indices("max_pool3d")
adaptive_max_pool1d_with_indices = _adaptive_max_pool_with_indices("adaptive_max_pool1d")
adaptive_max_pool2d_with_indices = _adaptive_max_pool_with_indices("adaptive_max_pool2d")
adaptive_max_pool3d_with_indices = _adaptive_max_pool_with_indices("adaptive_max_pool3d")


def _lp_pool(n: int, input: Tensor, p: float, kernel_size: Any, stride: Any, ceil_mode: bool) -> Tensor:
    """(sum of x^p)^(1/p) through the mean; a negative sum under an odd power has no root and gives NaN."""
    if input.dim() < n + 1:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [-{input.dim()}, {input.dim() - 1}], but got {-n - 1})"
        )
    mean = getattr(ops, f"avg_pool{n}d")(input.pow(p), kernel_size, stride, 0, ceil_mode)
    count = math.prod(_sizes(kernel_size, n))
    return (mean.sign() * ops.relu(mean.abs())).mul(count).pow(1.0 / p)


@overridable
def lp_pool1d(
    input: Tensor, norm_type: int | float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of x^p)^(1/p), p = ``norm_type``, under a window sliding over (N, C, L) or (C, L)."""
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode)


@overridable
def lp_pool2d(
    input: Tensor, norm_type: int | float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of x^p)^(1/p), p = ``norm_type``, under a window sliding over (N, C, H, W) or (C, H, W)."""
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode)


@overridable
def lp_pool3d(
    input: Tensor, norm_type: int | float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of x^p)^(1/p), p = ``norm_type``, under a window sliding over (N, C, D, H, W) or (C, D, H, W)."""
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode)


def _unpooled_size(
    spatial: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    output_size: Sequence[int] | None,
) -> list[int]:
    """The spatial sizes of the output: those asked for, if a pooling could have come from them (ValueError)."""
    n = len(kernel)
    default = [(spatial[d] - 1) * stride[d] + kernel[d] - 2 * padding[d] for d in range(n)]
    if output_size is None:
        return default
    sizes = list(output_size)
    if len(sizes) == n + 2:
        sizes = sizes[2:]
    if len(sizes) != n:
        raise ValueError(
            f"output_size should be a sequence containing {n} or {n + 2} elements, but it has a length of "
            f"'{len(sizes)}'"
        )
    for d in range(n):
        low, high = default[d] - stride[d], default[d] + stride[d]
        if not low < sizes[d] < high:
            raise ValueError(f'invalid output_size "{tuple(sizes)}" (dim {d} must be between {low} and {high})')
    return sizes


def _max_unpool(
    n: int,
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    output_size: Sequence[int] | None,
) -> Tensor:
    if indices.dtype is not int64:
        raise RuntimeError(f"elements in indices should be type int64 but got: {indices.dtype}")
    if indices.shape != input.shape:
        raise RuntimeError(
            f"Expected shape of indices to be same as that of the input tensor ({list(input.shape)}) but got indices "
            f"tensor with shape: {list(indices.shape)}"
        )
    if input.dim() not in (n + 1, n + 2):
        raise RuntimeError(
            f"Input to max_unpooling{n}d should be a {n + 1}d or {n + 2}d Tensor, but got a tensor with {input.dim()} "
            "dimensions."
        )
    kernel, padded = _sizes(kernel_size, n), _sizes(padding, n)
    steps = _sizes(stride, n) if stride is not None else kernel
    spatial = _unpooled_size(input.shape[-n:], kernel, steps, padded, output_size)
    leading = tuple(input.shape[:-n])
    places = math.prod(spatial)
    flat = indices.reshape(*leading, -1)
    if flat.numel():
        low, high = int(flat.min()), int(flat.max())
        if low < 0 or high >= places:
            raise RuntimeError(
                f"Found an invalid max index: {low if low < 0 else high} (output volumes are of size "
                f"{'x'.join(map(str, spatial))})"
            )
    zeros = input.new_zeros((*leading, places))
    return zeros.scatter(-1, flat, input.reshape(*leading, -1)).reshape(*leading, *spatial)


@overridable
def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Maxima (N, C, L) or (C, L) at the places where ``max_pool1d`` found them, zeros elsewhere."""
    return _max_unpool(1, input, indices, kernel_size, stride, padding, output_size)


@overridable
def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Maxima (N, C, H, W) or (C, H, W) at the places where ``max_pool2d`` found them, zeros elsewhere."""
    return _max_unpool(2, input, indices, kernel_size, stride, padding, output_size)


@overridable
def max_unpool3d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Maxima (N, C, D, H, W) or (C, D, H, W) at the places where ``max_pool3d`` found them, zeros elsewhere."""
    return _max_unpool(3, input, indices, kernel_size, stride, padding, output_size)


def _window_starts(sample: Tensor, input: int, output: int, kernel: int) -> Tensor:
    """Where the windows of one dimension begin, (N, C, output), for random numbers (N, C): Graham, 2014.

    Steps of alpha = (input - kernel) / (output - 1), shifted by the random number; the last window ends at the end.
    """
    last = ops.full((*sample.shape, 1), input - kernel, dtype=int64)
    if output == 1:
        return last
    like = {"dtype": sample.dtype, "device": sample.device}  # the step is rounded as the random numbers are
    alpha = ops.full((), input - kernel, **like) / ops.full((), output - 1, **like)
    steps = ops.arange(output - 1).to(sample.dtype)
    u = sample.unsqueeze(-1)
    starts = ((steps + u) * alpha).to(int64) - (u * alpha).to(int64)
    return ops.cat([starts, last], -1)


def _fractional(
    n: int,
    input: Tensor,
    kernel_size: Any,
    output_size: Any,
    output_ratio: Any,
    samples: Tensor | None,
) -> tuple[Tensor, Tensor]:
    name = f"fractional_max_pool{n}d"
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    kernel = _sizes(kernel_size, n)
    if output_size is None:
        ratio = (output_ratio,) * n if isinstance(output_ratio, (int, float)) else tuple(output_ratio)
        output = tuple(int(input.size(d - n) * ratio[d]) for d in range(n))
    else:
        output = _sizes(output_size, n)
    if input.dim() not in (n + 1, n + 2):
        raise RuntimeError(f"{name}(): Expected {n + 1}D or {n + 2}D tensor, but got: {list(input.shape)}")
    spatial = input.shape[-n:]
    for d in range(n):
        if output[d] + kernel[d] - 1 > spatial[d]:
            what = ("time", "height", "width")[d - n]
            raise RuntimeError(f"{name}(): pool {what} {kernel[d]} too large relative to input {what} {spatial[d]}")
    batched = input.dim() == n + 2
    x = input if batched else input.unsqueeze(0)
    if samples is None:
        samples = ops.rand(x.size(0), x.size(1), n, dtype=input.dtype, device=input.device)
    samples = samples[: x.size(0)]
    places = []
    for d in range(n):
        # The random numbers of images are those of width and height, of volumes depth, height and width.
        starts = _window_starts(samples[:, :, 1 - d if n == 2 else d], spatial[d], output[d], kernel[d])
        places.append(starts.unsqueeze(-2) + ops.arange(kernel[d]).unsqueeze(-1))
    best, indices = window_max.function(x, *places, *[None] * (3 - n))
    return (best, indices) if batched else (best.squeeze(0), indices.squeeze(0))


@overridable
def fractional_max_pool2d_with_indices(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """``fractional_max_pool2d`` and the place of each maximum."""
    return _fractional(2, input, kernel_size, output_size, output_ratio, _random_samples)


@overridable
def fractional_max_pool2d(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """Maxima of windows at pseudo-random places of (N, C, H, W) or (C, H, W): Graham, 2014.

    Args:
        input: the images.
        kernel_size: the window.
        output_size: the number of windows; either this
        output_ratio: or its ratio to the input's size.
        return_indices: also give the place of each maximum.
        _random_samples: (N, C, 2) numbers in [0, 1) that place the windows; drawn if None.
    """
    result = _fractional(2, input, kernel_size, output_size, output_ratio, _random_samples)
    return result if return_indices else result[0]


@overridable
def fractional_max_pool3d_with_indices(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """``fractional_max_pool3d`` and the place of each maximum."""
    return _fractional(3, input, kernel_size, output_size, output_ratio, _random_samples)


@overridable
def fractional_max_pool3d(
    input: Tensor,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:
    """``fractional_max_pool2d`` for (N, C, D, H, W) or (C, D, H, W), with random samples (N, C, 3)."""
    result = _fractional(3, input, kernel_size, output_size, output_ratio, _random_samples)
    return result if return_indices else result[0]
