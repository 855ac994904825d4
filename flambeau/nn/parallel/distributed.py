"""A module trained by several processes, each with a part of every batch (Li et al., "PyTorch Distributed", 2020)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from ...autograd.engine import queue_callback
from ...autograd.mode import is_grad_enabled, no_grad
from ...distributed import distributed_c10d as c10d
from ...distributed.algorithms.join import Join, Joinable, JoinHook
from ...futures import Future
from ...tensor import Tensor
from .._base import int32, ops
from ..modules.module import Module

__all__ = ["DistributedDataParallel"]


class GradBucket:
    """Gradients of one type that are averaged together, one after the other in a flat tensor: what a communication hook
    gets."""

    def __init__(self, index: int, params: list[Any], last: bool, buffer: Any) -> None:
        self._index, self._params, self._last, self._buffer = index, params, last, buffer

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


class _Shadow(JoinHook):
    """What a process without batches does while others still train."""

    def __init__(self, ddp: DistributedDataParallel, by_all: bool) -> None:
        self._ddp = ddp
        ddp._by_all = by_all

    def main_hook(self) -> None:
        """Takes part in an iteration: sends nothing, and gradients of zero."""
        averaged, source = self._ddp._agree(False, -1)
        if source >= 0:
            self._ddp._send(list(self._ddp.module.buffers()), source)
        if averaged:
            self._ddp._average(zero=True)

    def post_hook(self, is_last_joiner: bool) -> None:
        """All processes end with the model of one that trained to the end."""
        ddp = self._ddp
        source = ddp._agree(False, ddp.process_group.rank() if is_last_joiner else -1)[1]
        ddp._send([*ddp.module.parameters(), *ddp.module.buffers()], source)


class DistributedDataParallel(Module, Joinable):
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
        self._by_all = True  # gradients are divided by the size of the group, not by how many still have batches
        if init_sync:
            self._send([*module.parameters(), *module.buffers()])
        for p in module.parameters():
            if p.requires_grad:
                p.register_post_accumulate_grad_hook(self._arrived)

    def _send(self, tensors: list[Tensor], source: int = 0) -> None:
        with no_grad():
            for t in tensors:
                c10d.broadcast(t, group=self.process_group, group_src=source)

    def _arrived(self, param: Tensor) -> None:
        """A gradient is there: at the end of the backward pass all are averaged."""
        if self.require_backward_grad_sync and not self._waiting:
            self._waiting = True
            queue_callback(self._average)

    def _average(self, zero: bool = False) -> None:
        """Averages all gradients; ``zero``: of a process that has none, and takes no part in the sums."""
        self._waiting = False
        if self.process_group.size() == 1 and self._hook is None:
            return
        with no_grad():
            params = [p for p in self.module.parameters() if p.requires_grad]
            if self.find_unused_parameters:
                used = ops.tensor([p.grad is not None and not zero for p in params]).to(int32)
                c10d.all_reduce(used, group=self.process_group)
                params = [p for p, n in zip(params, used.tolist()) if n]
            grads = [ops.zeros_like(p) if zero or p.grad is None else p.grad.detach() for p in params]
            kinds = list(dict.fromkeys(g.dtype for g in grads))
            for i, kind in enumerate(kinds):
                chosen = [(p, g) for p, g in zip(params, grads) if g.dtype is kind]
                flat = ops.cat([g.reshape(-1) for _, g in chosen])
                bucket = GradBucket(i, [p for p, _ in chosen], i + 1 == len(kinds), flat)
                bucket.set_buffer(self._reduced(bucket))
                if zero:
                    continue
                for (p, own), grad in zip(chosen, bucket.gradients()):
                    own.copy_(grad)
                    if p.grad is None:
                        p.grad = own

    def _reduced(self, bucket: GradBucket) -> Any:
        if self._hook is not None:
            state, hook = self._hook
            found = hook(state, bucket)
            found = found.wait() if isinstance(found, Future) else found
            return found[0] if isinstance(found, (list, tuple)) else found
        buffer = bucket.buffer()
        c10d.all_reduce(buffer, group=self.process_group)
        context = self._join_context
        if self._by_all or context is None or context.active is None:
            return buffer.div_(self.process_group.size())
        return buffer.div_(context.active.item())

    def _agree(self, averaged: bool, rank: int) -> tuple[bool, int]:
        """(whether any process will average gradients, the greatest of the ranks given)."""
        with no_grad():
            said = ops.tensor([int(averaged), rank])
            c10d.all_reduce(said, c10d.ReduceOp.MAX, group=self.process_group)
        any_averaged, source = said.tolist()
        return bool(any_averaged), source

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

    def join(
        self, divide_by_initial_world_size: bool = True, enable: bool = True, throw_on_early_termination: bool = False
    ) -> Join:
        """Inside, processes may have unequal numbers of batches: see ``distributed.algorithms.Join``.

        Who has none left counts as a gradient of zero, or not at all if not ``divide_by_initial_world_size``.
        """
        return Join(
            [self], enable, throw_on_early_termination, divide_by_initial_world_size=divide_by_initial_world_size
        )

    def join_hook(self, **kwargs: Any) -> JoinHook:
        """What this module does in a process without batches; takes ``divide_by_initial_world_size``."""
        return _Shadow(self, kwargs.get("divide_by_initial_world_size", True))

    @property
    def join_device(self) -> Any:
        """The device of the parameters."""
        return next(self.module.parameters()).device

    @property
    def join_process_group(self) -> Any:
        """The group that gradients are averaged in."""
        return self.process_group

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        sends = self.broadcast_buffers and self.require_backward_grad_sync and self.training
        source = 0
        if self._join_context is not None:
            work = Join.notify_join_context(self)
            if work is not None:
                work.wait()
            averaged = is_grad_enabled() and self.require_backward_grad_sync
            source = self._agree(averaged, self.process_group.rank() if sends else -1)[1]
        if sends:
            self._send(list(self.module.buffers()), source)
        return self.module(*inputs, **kwargs)
