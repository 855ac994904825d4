"""Pooling: maxima, means and norms under a sliding window, or of a fixed number of windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import functional as F
from .._base import Tensor
from ..common_types import (
    _ratio_2_t,
    _ratio_3_t,
    _size_1_t,
    _size_2_opt_t,
    _size_2_t,
    _size_3_opt_t,
    _size_3_t,
    _size_any_opt_t,
    _size_any_t,
)
from .module import Module
from .utils import _pair, _single, _triple

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "FractionalMaxPool2d",
    "FractionalMaxPool3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
]


class _MaxPoolNd(Module):
    """The largest element under each position of a window.

    A spatial size n becomes floor((n + 2 padding - dilation (kernel_size - 1) - 1) / stride + 1), ceil in place of
    floor with ``ceil_mode``.

    Args:
        kernel_size: the window, one number or one a dimension.
        stride: the step between windows; the window itself by default.
        padding: border of minus infinity, at most half a window.
        dilation: step between the elements under the window.
        return_indices: also give the place of each maximum, for ``MaxUnpool``.
        ceil_mode: keep a last window that reaches beyond the border.
    """

    __constants__ = ("kernel_size", "stride", "padding", "dilation", "return_indices", "ceil_mode")
    return_indices: bool
    ceil_mode: bool

    def __init__(
        self,
        kernel_size: _size_any_t,
        stride: _size_any_t | None = None,
        padding: _size_any_t = 0,
        dilation: _size_any_t = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )

    def _options(self) -> dict[str, Any]:
        return {"ceil_mode": self.ceil_mode, "return_indices": self.return_indices}


class MaxPool1d(_MaxPoolNd):
    """Maxima over (N, C, L) or (C, L)."""

    def forward(self, input: Tensor) -> Any:
        """(n, c, l) -> (n, c, l'); the batch may be missing.  With ``return_indices`` also the places of the maxima."""
        return F.max_pool1d(input, self.kernel_size, self.stride, self.padding, self.dilation, **self._options())


class MaxPool2d(_MaxPoolNd):
    """Maxima over (N, C, H, W) or (C, H, W)."""

    def forward(self, input: Tensor) -> Any:
        """(n, c, h, w) -> (n, c, h', w'); the batch may be missing.  With ``return_indices`` also the places of the
        maxima."""
        return F.max_pool2d(input, self.kernel_size, self.stride, self.padding, self.dilation, **self._options())


class MaxPool3d(_MaxPoolNd):
    """Maxima over (N, C, D, H, W) or (C, D, H, W)."""

    def forward(self, input: Tensor) -> Any:
        """(n, c, d, h, w) -> (n, c, d', h', w'); the batch may be missing.  With ``return_indices`` also the places of
        the maxima."""
        return F.max_pool3d(input, self.kernel_size, self.stride, self.padding, self.dilation, **self._options())


class _MaxUnpoolNd(Module):
    """Puts maxima back where ``MaxPool`` took them, zeros elsewhere."""

    kernel_size: Any
    stride: Any
    padding: Any

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpoolNd):
    """The partial inverse of ``MaxPool1d``; a length n becomes (n - 1) stride - 2 padding + kernel_size, or
    ``output_size``."""

    def __init__(self, kernel_size: _size_1_t, stride: _size_1_t | None = None, padding: _size_1_t = 0) -> None:
        super().__init__()
        self.kernel_size = _single(kernel_size)
        self.stride = _single(stride if stride is not None else kernel_size)
        self.padding = _single(padding)

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Zeros but for the maxima at ``indices``: (n, c, l') -> (n, c, l); the batch may be missing."""
        return F.max_unpool1d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool2d(_MaxUnpoolNd):
    """The partial inverse of ``MaxPool2d``."""

    def __init__(self, kernel_size: _size_2_t, stride: _size_2_t | None = None, padding: _size_2_t = 0) -> None:
        super().__init__()
        self.kernel_size = _pair(kernel_size)
        self.stride = _pair(stride if stride is not None else kernel_size)
        self.padding = _pair(padding)

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Zeros but for the maxima at ``indices``: (n, c, h', w') -> (n, c, h, w); the batch may be missing."""
        return F.max_unpool2d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool3d(_MaxUnpoolNd):
    """The partial inverse of ``MaxPool3d``."""

    def __init__(self, kernel_size: _size_3_t, stride: _size_3_t | None = None, padding: _size_3_t = 0) -> None:
        super().__init__()
        self.kernel_size = _triple(kernel_size)
        self.stride = _triple(stride if stride is not None else kernel_size)
        self.padding = _triple(padding)

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Zeros but for the maxima at ``indices``: (n, c, d', h', w') -> (n, c, d, h, w); the batch may be missing."""
        return F.max_unpool3d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class _AvgPoolNd(Module):
    """The mean under each position of a window.

    A spatial size n becomes floor((n + 2 padding - kernel_size) / stride + 1), ceil with ``ceil_mode``.
    """

    __constants__ = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
    kernel_size: Any
    stride: Any
    padding: Any
    ceil_mode: bool
    count_include_pad: bool

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPoolNd):
    """Means over (N, C, L) or (C, L).

    Args:
        kernel_size: the window.
        stride: the step between windows; the window itself by default.
        padding: border of zeros.
        ceil_mode: keep a last window that reaches beyond the border.
        count_include_pad: count the zeros of the border in the mean.
    """

    def __init__(
        self,
        kernel_size: _size_1_t,
        stride: _size_1_t | None = None,
        padding: _size_1_t = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = _single(kernel_size)
        self.stride = _single(stride if stride is not None else kernel_size)
        self.padding = _single(padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        """(n, c, l) -> (n, c, l'); the batch may be missing."""
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class _AvgPoolDivisor(_AvgPoolNd):
    """Means of images or volumes, whose divisor can be given."""

    __constants__ = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
    _function = staticmethod(F.avg_pool2d)

    def __init__(
        self,
        kernel_size: _size_any_t,
        stride: _size_any_t | None = None,
        padding: _size_any_t = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        return self._function(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )


class AvgPool2d(_AvgPoolDivisor):
    """Means over (N, C, H, W) or (C, H, W); arguments as for ``AvgPool1d``, and ``divisor_override`` to divide the
    sums by."""


class AvgPool3d(_AvgPoolDivisor):
    """Means over (N, C, D, H, W) or (C, D, H, W); arguments as for ``AvgPool2d``."""

    _function = staticmethod(F.avg_pool3d)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({"padding": 0, "ceil_mode": False, "count_include_pad": True, **state})


class _FractionalMaxPoolNd(Module):
    """Maxima of windows at pseudo-random places: Graham, "Fractional Max-Pooling", 2014.

    Args:
        kernel_size: the window.
        output_size: the spatial sizes of the output; either this
        output_ratio: or their ratio to those of the input, between 0 and 1.
        return_indices: also give the place of each maximum.
        _random_samples: (N, C, spatial dimensions) numbers that place the windows; drawn if None.

    Raises ValueError unless one of both is given, and for a ratio out of range.
    """

    __constants__ = ("kernel_size", "return_indices", "output_size", "output_ratio")
    kernel_size: Any
    return_indices: bool
    output_size: Any
    output_ratio: Any
    _tuple = staticmethod(_pair)

    def __init__(
        self,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.kernel_size = self._tuple(kernel_size)
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        self.output_size = self._tuple(output_size) if output_size is not None else None
        self.output_ratio = self._tuple(output_ratio) if output_ratio is not None else None
        if output_size is None and output_ratio is None:
            raise ValueError(f"{name} requires specifying either an output size, or a pooling ratio")
        if output_size is not None and output_ratio is not None:
            raise ValueError("only one of output_size and output_ratio may be specified")
        if self.output_ratio is not None and not all(0 < ratio < 1 for ratio in self.output_ratio):
            raise ValueError(f"output_ratio must be between 0 and 1 (got {output_ratio})")


class FractionalMaxPool2d(_FractionalMaxPoolNd):
    """Fractional maxima over (N, C, H, W) or (C, H, W)."""

    def __init__(
        self,
        kernel_size: _size_2_t,
        output_size: _size_2_t | None = None,
        output_ratio: _ratio_2_t | None = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> None:
        super().__init__(kernel_size, output_size, output_ratio, return_indices, _random_samples)

    def forward(self, input: Tensor) -> Any:
        """(n, c, h, w) -> (n, c, *output_size); the batch may be missing.  With ``return_indices`` also the places of
        the maxima."""
        return F.fractional_max_pool2d(
            input,
            self.kernel_size,
            self.output_size,
            self.output_ratio,
            self.return_indices,
            _random_samples=self._random_samples,
        )


class FractionalMaxPool3d(_FractionalMaxPoolNd):
    """Fractional maxima over (N, C, D, H, W) or (C, D, H, W)."""

    _tuple = staticmethod(_triple)

    def __init__(
        self,
        kernel_size: _size_3_t,
        output_size: _size_3_t | None = None,
        output_ratio: _ratio_3_t | None = None,
        return_indices: bool = False,
        _random_samples: Tensor | None = None,
    ) -> None:
        super().__init__(kernel_size, output_size, output_ratio, return_indices, _random_samples)

    def forward(self, input: Tensor) -> Any:
        """(n, c, d, h, w) -> (n, c, *output_size); the batch may be missing.  With ``return_indices`` also the places
        of the maxima."""
        return F.fractional_max_pool3d(
            input,
            self.kernel_size,
            self.output_size,
            self.output_ratio,
            self.return_indices,
            _random_samples=self._random_samples,
        )


class _LPPoolNd(Module):
    """(sum of x^p)^(1/p) under each position of a window, p = ``norm_type``.

    Args:
        norm_type: p; 1 gives sums, infinity maxima.
        kernel_size: the window.
        stride: the step between windows; the window itself by default.
        ceil_mode: keep a last window that reaches beyond the border.
    """

    __constants__ = ("norm_type", "kernel_size", "stride", "ceil_mode")
    norm_type: float
    ceil_mode: bool

    def __init__(
        self,
        norm_type: float,
        kernel_size: _size_any_t,
        stride: _size_any_t | None = None,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def extra_repr(self) -> str:
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPoolNd):
    """Norms over (N, C, L) or (C, L)."""

    def forward(self, input: Tensor) -> Tensor:
        """(n, c, l) -> (n, c, l'); the batch may be missing."""
        return F.lp_pool1d(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class LPPool2d(_LPPoolNd):
    """Norms over (N, C, H, W) or (C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, h', w'); the batch may be missing."""
        return F.lp_pool2d(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class LPPool3d(_LPPoolNd):
    """Norms over (N, C, D, H, W) or (C, D, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        """(n, c, d, h, w) -> (n, c, d', h', w'); the batch may be missing."""
        return F.lp_pool3d(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class _AdaptiveMaxPoolNd(Module):
    """The largest element of each of ``output_size`` windows, from floor(i n / m) to ceil((i + 1) n / m).

    Args:
        output_size: the spatial sizes of the output; None keeps the input's.
        return_indices: also give the place of each maximum.
    """

    __constants__ = ("output_size", "return_indices")
    return_indices: bool

    def __init__(self, output_size: _size_any_opt_t, return_indices: bool = False) -> None:
        super().__init__()
        self.output_size = output_size
        self.return_indices = return_indices

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_AdaptiveMaxPoolNd):
    """A fixed number of maxima of (N, C, L) or (C, L)."""

    output_size: _size_1_t

    def forward(self, input: Tensor) -> Any:
        """(n, c, l) -> (n, c, *output_size); the batch may be missing.  With ``return_indices`` also the places of the
        maxima."""
        return F.adaptive_max_pool1d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_AdaptiveMaxPoolNd):
    """A fixed number of maxima of (N, C, H, W) or (C, H, W)."""

    output_size: _size_2_opt_t

    def forward(self, input: Tensor) -> Any:
        """(n, c, h, w) -> (n, c, *output_size); the batch may be missing.  With ``return_indices`` also the places of
        the maxima."""
        return F.adaptive_max_pool2d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool3d(_AdaptiveMaxPoolNd):
    """A fixed number of maxima of (N, C, D, H, W) or (C, D, H, W)."""

    output_size: _size_3_opt_t

    def forward(self, input: Tensor) -> Any:
        """(n, c, d, h, w) -> (n, c, *output_size); the batch may be missing.  With ``return_indices`` also the places
        of the maxima."""
        return F.adaptive_max_pool3d(input, self.output_size, self.return_indices)


class _AdaptiveAvgPoolNd(Module):
    """The mean of each of ``output_size`` windows, from floor(i n / m) to ceil((i + 1) n / m).

    Args:
        output_size: the spatial sizes of the output; None keeps the input's.
    """

    __constants__ = ("output_size",)

    def __init__(self, output_size: _size_any_opt_t) -> None:
        super().__init__()
        self.output_size = output_size

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPoolNd):
    """A fixed number of means of (N, C, L) or (C, L)."""

    output_size: _size_1_t

    def forward(self, input: Tensor) -> Tensor:
        """(n, c, l) -> (n, c, *output_size); the batch may be missing."""
        return F.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(_AdaptiveAvgPoolNd):
    """A fixed number of means of (N, C, H, W) or (C, H, W)."""

    output_size: _size_2_opt_t

    def forward(self, input: Tensor) -> Tensor:
        """(n, c, h, w) -> (n, c, *output_size); the batch may be missing."""
        return F.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveAvgPool3d(_AdaptiveAvgPoolNd):
    """A fixed number of means of (N, C, D, H, W) or (C, D, H, W)."""

    output_size: _size_3_opt_t

    def forward(self, input: Tensor) -> Tensor:
        """(n, c, d, h, w) -> (n, c, *output_size); the batch may be missing."""
        return F.adaptive_avg_pool3d(input, self.output_size)
