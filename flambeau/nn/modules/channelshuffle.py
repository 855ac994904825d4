"""Channels of groups interleaved: Zhang et al., "ShuffleNet", 2017."""

from __future__ import annotations

from .. import functional as F
from .._base import Tensor
from .module import Module

__all__ = ["ChannelShuffle"]


class ChannelShuffle(Module):
    """Reads the channels of (N, C, *) as (groups, C / groups) and transposes these."""

    __constants__ = ("groups",)
    groups: int

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Tensor) -> Tensor:
        """The same shape; channel i of group g becomes channel i * groups + g."""
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"
