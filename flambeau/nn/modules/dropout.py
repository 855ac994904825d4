"""Dropout: in training, elements or whole channels are zeroed with probability p and the rest scaled up."""

from __future__ import annotations

from .. import functional as F
from .._base import Tensor
from .module import Module

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"]


class _DropoutNd(Module):
    """Args: p, the probability of zeroing; inplace.  Raises ValueError unless 0 <= p <= 1."""

    __constants__ = ("p", "inplace")
    p: float
    inplace: bool

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if p < 0 or p > 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p = p
        self.inplace = inplace

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_DropoutNd):
    """Zeroes elements and divides the others by 1 - p: Hinton et al., 2012."""

    def forward(self, input: Tensor) -> Tensor:
        """The input with elements dropped in training, itself otherwise."""
        return F.dropout(input, self.p, self.training, self.inplace)


class Dropout1d(_DropoutNd):
    """Zeroes whole channels of (N, C, L) or (C, L)."""

    def forward(self, input: Tensor) -> Tensor:
        """The input (n, c, l) with channels dropped in training, itself otherwise."""
        return F.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(_DropoutNd):
    """Zeroes whole channels of (N, C, H, W) or (N, C, L): Tompson et al., 2014."""

    def forward(self, input: Tensor) -> Tensor:
        """The input (n, c, h, w) with channels dropped in training, itself otherwise."""
        return F.dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(_DropoutNd):
    """Zeroes whole channels of (N, C, D, H, W) or (C, D, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        """The input (n, c, d, h, w) with channels dropped in training, itself otherwise."""
        return F.dropout3d(input, self.p, self.training, self.inplace)


class AlphaDropout(_DropoutNd):
    """Sets elements to the negative saturation of SELU and keeps mean and variance: Klambauer et al., 2017."""

    def forward(self, input: Tensor) -> Tensor:
        """The input with elements at SELU's negative limit in training, itself otherwise."""
        return F.alpha_dropout(input, self.p, self.training)


class FeatureAlphaDropout(_DropoutNd):
    """``AlphaDropout`` of whole channels."""

    def forward(self, input: Tensor) -> Tensor:
        """The input with channels at SELU's negative limit in training, itself otherwise."""
        return F.feature_alpha_dropout(input, self.p, self.training)
