"""Borders around images: of zeros, of a constant, mirrored, repeated or wrapped around."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from .._base import Tensor
from ..common_types import _size_2_t, _size_4_t, _size_6_t
from .module import Module
from .utils import _ntuple, _pair, _quadruple

__all__ = [
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
]


class _CircularPadNd(Module):
    """The border continues with the opposite side; ``padding`` is (left, right, top, bottom, front, back)."""

    __constants__ = ("padding",)
    padding: Any

    def _check_input_dim(self, input: Tensor) -> None:
        raise NotImplementedError(f"{type(self).__name__} does not define _check_input_dim")

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        return F.pad(input, self.padding, "circular")

    def extra_repr(self) -> str:
        return f"{self.padding}"


def _check_dim(input: Tensor, *dims: int) -> None:
    if input.dim() not in dims:
        raise ValueError(f"expected {dims[0]}D or {dims[1]}D input (got {input.dim()}D input)")


class CircularPad1d(_CircularPadNd):
    """Wraps (N, C, W) or (C, W) around by ``padding`` = (left, right) or one number for both."""

    def __init__(self, padding: _size_2_t) -> None:
        super().__init__()
        self.padding = _pair(padding)

    def _check_input_dim(self, input: Tensor) -> None:
        _check_dim(input, 2, 3)


class CircularPad2d(_CircularPadNd):
    """Wraps (N, C, H, W) or (C, H, W) around by ``padding`` = (left, right, top, bottom)."""

    def __init__(self, padding: _size_4_t) -> None:
        super().__init__()
        self.padding = _quadruple(padding)

    def _check_input_dim(self, input: Tensor) -> None:
        _check_dim(input, 3, 4)


class CircularPad3d(_CircularPadNd):
    """Wraps (N, C, D, H, W) or (C, D, H, W) around by ``padding`` = (left, right, top, bottom, front, back)."""

    def __init__(self, padding: _size_6_t) -> None:
        super().__init__()
        self.padding = _ntuple(6)(padding)

    def _check_input_dim(self, input: Tensor) -> None:
        _check_dim(input, 4, 5)


class _ConstantPadNd(Module):
    """The border is ``value``."""

    __constants__ = ("padding", "value")
    value: float
    padding: Any

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad1d(_ConstantPadNd):
    """Pads the last dimension by ``padding`` = (left, right) or one number for both."""

    def __init__(self, padding: _size_2_t, value: float) -> None:
        super().__init__(value)
        self.padding = _pair(padding)


class ConstantPad2d(_ConstantPadNd):
    """Pads the last 2 dimensions by ``padding`` = (left, right, top, bottom)."""

    def __init__(self, padding: _size_4_t, value: float) -> None:
        super().__init__(value)
        self.padding = _quadruple(padding)


class ConstantPad3d(_ConstantPadNd):
    """Pads the last 3 dimensions by ``padding`` = (left, right, top, bottom, front, back)."""

    def __init__(self, padding: _size_6_t, value: float) -> None:
        super().__init__(value)
        self.padding = _ntuple(6)(padding)


class _PadNd(Module):
    """A border whose values come from the input, in the way ``_mode`` says."""

    __constants__ = ("padding",)
    _mode = ""
    padding: Any

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ReflectionPadNd(_PadNd):
    """The border mirrors the inside; the edge itself is not repeated."""

    _mode = "reflect"


class ReflectionPad1d(_ReflectionPadNd):
    """Mirrors (N, C, W) or (C, W) by ``padding`` = (left, right) or one number for both."""

    def __init__(self, padding: _size_2_t) -> None:
        super().__init__()
        self.padding = _pair(padding)


class ReflectionPad2d(_ReflectionPadNd):
    """Mirrors (N, C, H, W) or (C, H, W) by ``padding`` = (left, right, top, bottom)."""

    def __init__(self, padding: _size_4_t) -> None:
        super().__init__()
        self.padding = _quadruple(padding)


class ReflectionPad3d(_ReflectionPadNd):
    """Mirrors (N, C, D, H, W) or (C, D, H, W) by ``padding`` = (left, right, top, bottom, front, back)."""

    def __init__(self, padding: _size_6_t) -> None:
        super().__init__()
        self.padding = _ntuple(6)(padding)


class _ReplicationPadNd(_PadNd):
    """The border repeats the edge."""

    _mode = "replicate"


class ReplicationPad1d(_ReplicationPadNd):
    """Repeats the edge of (N, C, W) or (C, W) by ``padding`` = (left, right) or one number for both."""

    def __init__(self, padding: _size_2_t) -> None:
        super().__init__()
        self.padding = _pair(padding)


class ReplicationPad2d(_ReplicationPadNd):
    """Repeats the edge of (N, C, H, W) or (C, H, W) by ``padding`` = (left, right, top, bottom)."""

    def __init__(self, padding: _size_4_t) -> None:
        super().__init__()
        self.padding = _quadruple(padding)


class ReplicationPad3d(_ReplicationPadNd):
    """Repeats the edge of (N, C, D, H, W) or (C, D, H, W) by ``padding`` = (left, right, top, bottom, front, back)."""

    def __init__(self, padding: _size_6_t) -> None:
        super().__init__()
        self.padding = _ntuple(6)(padding)


class ZeroPad1d(ConstantPad1d):
    """``ConstantPad1d`` with zeros."""

    def __init__(self, padding: _size_2_t) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad2d(ConstantPad2d):
    """``ConstantPad2d`` with zeros."""

    def __init__(self, padding: _size_4_t) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad3d(ConstantPad3d):
    """``ConstantPad3d`` with zeros."""

    def __init__(self, padding: _size_6_t) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"
