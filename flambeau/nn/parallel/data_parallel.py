"""Batches split over the accelerators of one process.

The devices that flambeau has at present, the CPU and "meta", are one each, so the module runs as it is; that is
what PyTorch does too where it finds no accelerator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..modules.module import Module

__all__ = ["DataParallel", "data_parallel"]


class DataParallel(Module):
    """Runs ``module``, whose state has the prefix "module." in this module's.

    Args:
        module: the module.
        device_ids: the accelerators to split batches over; there are none.
        output_device: where the results come together.
        dim: the dimension of the batch.
    """

    module: Module

    def __init__(
        self, module: Module, device_ids: Sequence[Any] | None = None, output_device: Any = None, dim: int = 0
    ) -> None:
        super().__init__()
        self.module = module
        self.device_ids: list[Any] = []

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)


def data_parallel(
    module: Module,
    inputs: Any,
    device_ids: Sequence[Any] | None = None,
    output_device: Any = None,
    dim: int = 0,
    module_kwargs: dict[str, Any] | None = None,
) -> Any:
    """``module(*inputs)`` with the batch split over accelerators; arguments as for ``DataParallel``."""
    args = inputs if isinstance(inputs, tuple) else (inputs,)
    return module(*args, **(module_kwargs or {}))
