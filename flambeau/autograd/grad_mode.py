"""``torch.autograd.grad_mode``: the switches of ``mode.py`` under PyTorch's name of their module."""

from __future__ import annotations

from .mode import enable_grad, inference_mode, no_grad, set_grad_enabled, set_multithreading_enabled

__all__ = ["enable_grad", "inference_mode", "no_grad", "set_grad_enabled", "set_multithreading_enabled"]
