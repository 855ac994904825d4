"""A module trained by several processes, each with a part of every batch (Li et al., "PyTorch Distributed", 2020)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ...autograd.mode import no_grad
from ...distributed import distributed_c10d as c10d
from ...tensor import Tensor
from ..modules.module import Module

__all__ = ["DistributedDataParallel"]


class DistributedDataParallel(Module):
    """Runs ``module`` and averages the gradients of its parameters over the processes of a group.

    All processes start with the parameters and buffers of the first.  A gradient is averaged as soon as it has been
    accumulated, unless inside of ``no_sync()``.  The state has the prefix "module." in this module's.

    Args:
        module: the module; RuntimeError if none of its parameters requires a gradient.
        device_ids: the accelerator of this process; None on CPUs.
        output_device: where results go; None on CPUs.
        broadcast_buffers: send the first process's buffers to all before a forward pass.
        process_group: the group, by default all processes.
        bucket_cap_mb, find_unused_parameters, gradient_as_bucket_view, static_graph: how PyTorch groups gradients;
            accepted, every gradient is sent by itself.
    """

    module: Module

    def __init__(
        self,
        module: Module,
        device_ids: Any = None,
        output_device: Any = None,
        dim: int = 0,
        broadcast_buffers: bool = True,
        init_sync: bool = True,
        process_group: Any = None,
        bucket_cap_mb: float | None = None,
        find_unused_parameters: bool = False,
        check_reduction: bool = False,
        gradient_as_bucket_view: bool = False,
        static_graph: bool = False,
        delay_all_reduce_named_params: Any = None,
        param_to_hook_all_reduce: Any = None,
        mixed_precision: Any = None,
        device_mesh: Any = None,
        skip_all_reduce_unused_params: bool = False,
    ) -> None:
        super().__init__()
        if not any(p.requires_grad for p in module.parameters()):
            raise RuntimeError(
                "DistributedDataParallel is not needed when a module doesn't have any parameter that requires a "
                "gradient."
            )
        if mixed_precision is not None:
            raise NotImplementedError("DistributedDataParallel: mixed_precision needs accelerators; use torch.autocast")
        self.process_group = process_group if process_group is not None else c10d._get_default_group()
        self.module = module
        self.dim, self.device_ids, self.output_device = dim, device_ids, output_device
        self.broadcast_buffers = broadcast_buffers
        self.find_unused_parameters, self.static_graph = find_unused_parameters, static_graph
        self.require_backward_grad_sync = True
        if init_sync:
            self._send([*module.parameters(), *module.buffers()])
        for p in module.parameters():
            if p.requires_grad:
                p.register_post_accumulate_grad_hook(self._average)

    def _send(self, tensors: list[Tensor]) -> None:
        with no_grad():
            for t in tensors:
                c10d.broadcast(t, 0, self.process_group)

    def _average(self, param: Tensor) -> None:
        grad = param.grad
        size = c10d.get_world_size(self.process_group)
        if not self.require_backward_grad_sync or grad is None or size == 1:
            return
        with no_grad():
            c10d.all_reduce(grad, group=self.process_group)
            grad.div_(size)

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """Inside, gradients are accumulated without being averaged."""
        before, self.require_backward_grad_sync = self.require_backward_grad_sync, False
        try:
            yield
        finally:
            self.require_backward_grad_sync = before

    @contextlib.contextmanager
    def join(
        self, divide_by_initial_world_size: bool = True, enable: bool = True, throw_on_early_termination: bool = False
    ) -> Iterator[None]:
        """Inside, processes may have different numbers of batches; of one process there is nothing to wait for."""
        yield

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        if self.broadcast_buffers and self.require_backward_grad_sync and self.training:
            self._send(list(self.module.buffers()))
        return self.module(*inputs, **kwargs)
