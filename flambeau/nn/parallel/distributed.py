"""A module trained by several processes, each with a part of every batch (Li et al., "PyTorch Distributed", 2020)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from ...autograd.engine import queue_callback
from ...autograd.mode import no_grad
from ...distributed import distributed_c10d as c10d
from ...futures import Future
from ...tensor import Tensor
from .._base import int32, ops
from ..modules.module import Module

__all__ = ["DistributedDataParallel"]


class GradBucket:
    """Gradients of one type that are averaged together, one after the other in a flat tensor: what a communication hook
    gets."""

    def __init__(self, index: int, params: list[Any], last: bool) -> None:
        self._index, self._params, self._last = index, params, last
        self._buffer = ops.cat([p.grad.detach().reshape(-1) for p in params])

    def index(self) -> int:
        """The number of the bucket."""
        return self._index

    def buffer(self) -> Any:
        """All gradients, flat."""
        return self._buffer

    def set_buffer(self, buffer: Any) -> None:
        """Replaces the flat tensor."""
        self._buffer = buffer

    def gradients(self) -> list[Any]:
        """The gradients, as parts of the flat tensor."""
        parts = self._buffer.split([p.numel() for p in self._params])
        return [part.reshape(p.shape) for part, p in zip(parts, self._params)]

    def parameters(self) -> list[Any]:
        """The parameters that they belong to."""
        return list(self._params)

    def is_last(self) -> bool:
        """Whether no other bucket comes in this backward pass."""
        return self._last


class DistributedDataParallel(Module):
    """Runs ``module`` and averages the gradients of its parameters over the processes of a group.

    All processes start with the parameters and buffers of the first.  At the end of a backward pass the gradients are
    averaged, those of one type together, unless inside of ``no_sync()``.  The state has the prefix "module." in this
    module's.

    Args:
        module: the module; RuntimeError if none of its parameters requires a gradient.
        device_ids: the accelerator of this process; None on CPUs.
        output_device: where results go; None on CPUs.
        broadcast_buffers: send the first process's buffers to all before a forward pass.
        process_group: the group, by default all processes.
        find_unused_parameters: parameters may go without a gradient in some processes; one that does in all keeps none.
        bucket_cap_mb, gradient_as_bucket_view, static_graph and so on: how PyTorch groups gradients; accepted.
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
        bucket_cap_mb_list: Any = None,
        batched_grad_copy: bool = False,
        forward_sync_buffers: bool = True,
    ) -> None:
        super().__init__()
        if not any(p.requires_grad for p in module.parameters()):
            raise RuntimeError(
                "DistributedDataParallel is not needed when a module doesn't have any parameter that requires a "
                "gradient."
            )
        if mixed_precision is not None:
            raise NotImplementedError("DistributedDataParallel: mixed_precision needs accelerators; use torch.autocast")
        if device_mesh is not None and process_group is None:
            process_group = device_mesh.get_group()
        self.process_group = process_group if process_group is not None else c10d._get_default_group()
        self.module = module
        self.dim, self.device_ids, self.output_device = dim, device_ids, output_device
        self.broadcast_buffers = broadcast_buffers
        self.find_unused_parameters, self.static_graph = find_unused_parameters, static_graph
        self.require_backward_grad_sync = True
        self._waiting = False
        self._hook: tuple[Any, Callable[..., Any]] | None = None
        if init_sync:
            self._send([*module.parameters(), *module.buffers()])
        for p in module.parameters():
            if p.requires_grad:
                p.register_post_accumulate_grad_hook(self._arrived)

    def _send(self, tensors: list[Tensor]) -> None:
        with no_grad():
            for t in tensors:
                c10d.broadcast(t, group=self.process_group, group_src=0)

    def _arrived(self, param: Tensor) -> None:
        """A gradient is there: at the end of the backward pass all are averaged."""
        if self.require_backward_grad_sync and not self._waiting:
            self._waiting = True
            queue_callback(self._average)

    def _average(self) -> None:
        self._waiting = False
        if self.process_group.size() == 1 and self._hook is None:
            return
        with no_grad():
            params = [p for p in self.module.parameters() if p.requires_grad]
            if self.find_unused_parameters:
                used = ops.tensor([p.grad is not None for p in params]).to(int32)
                c10d.all_reduce(used, group=self.process_group)
                params = [p for p, n in zip(params, used.tolist()) if n]
            for p in params:
                if p.grad is None:
                    p.grad = ops.zeros_like(p)
            kinds = list(dict.fromkeys(p.grad.dtype for p in params))
            for i, kind in enumerate(kinds):
                chosen = [p for p in params if p.grad.dtype is kind]
                bucket = GradBucket(i, chosen, i + 1 == len(kinds))
                bucket.set_buffer(self._reduced(bucket))
                for p, grad in zip(chosen, bucket.gradients()):
                    p.grad.copy_(grad)

    def _reduced(self, bucket: GradBucket) -> Any:
        if self._hook is not None:
            state, hook = self._hook
            found = hook(state, bucket)
            found = found.wait() if isinstance(found, Future) else found
            return found[0] if isinstance(found, (list, tuple)) else found
        buffer = bucket.buffer()
        c10d.all_reduce(buffer, group=self.process_group)
        return buffer.div_(self.process_group.size())

    def register_comm_hook(self, state: Any, hook: Callable[[Any, GradBucket], Any]) -> None:
        """Averages gradients by ``hook(state, bucket)``, which returns a future of the flat tensor.

        Raises TypeError for what cannot be called, RuntimeError for a second hook.
        """
        if not callable(hook):
            raise TypeError("Communication hook must be callable.")
        if self._hook is not None:
            raise RuntimeError("register_comm_hook or register_builtin_comm_hook can only be called once.")
        self._hook = (state, hook)

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
        """Inside, one process may have fewer batches than the others, in PyTorch; here all must have as many."""
        yield

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        if self.broadcast_buffers and self.require_backward_grad_sync and self.training:
            self._send(list(self.module.buffers()))
        return self.module(*inputs, **kwargs)
