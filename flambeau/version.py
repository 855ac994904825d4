"""Versions: that of PyTorch whose API this is, our own, and those of devices' toolkits, of which there are none."""

from __future__ import annotations

from .torch_version import TorchVersion

__all__ = ["cuda", "debug", "flambeau", "git_version", "hip", "rocm", "xpu"]

flambeau = "0.1.0"
__version__ = TorchVersion(f"2.13.0+flambeau.{flambeau}")
debug = False
cuda: str | None = None
hip: str | None = None
rocm: str | None = None
xpu: str | None = None
git_version = "unknown"
