"""Averaging gradients as they are, or in a type of half the size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .... import ops
from ....dtype import bfloat16, dtype, float16
from ....futures import Future
from ... import distributed_c10d as c10d

__all__ = [
    "allreduce_hook", "bf16_compress_hook", "bf16_compress_wrapper", "fp16_compress_hook", "fp16_compress_wrapper",
]  # fmt: skip

Hook = Callable[[Any, Any], Future[Any]]


def _averaged(process_group: Any, tensor: Any) -> Future[Any]:
    group = process_group if process_group is not None else c10d._get_default_group()
    tensor.div_(group.size())
    work = c10d.all_reduce(tensor, group=group, async_op=True)
    assert work is not None
    return work.get_future().then(lambda future: future.value()[0])


def allreduce_hook(process_group: Any, bucket: Any) -> Future[Any]:
    """The average, as without a hook."""
    return _averaged(process_group, bucket.buffer())


def _compressed(kind: dtype, process_group: Any, bucket: Any) -> Future[Any]:
    whole = bucket.buffer()
    return _averaged(process_group, whole.to(kind)).then(lambda future: whole.copy_(future.value()))


def fp16_compress_hook(process_group: Any, bucket: Any) -> Future[Any]:
    """The average of gradients rounded to float16."""
    return _compressed(float16, process_group, bucket)


def bf16_compress_hook(process_group: Any, bucket: Any) -> Future[Any]:
    """The average of gradients rounded to bfloat16."""
    return _compressed(bfloat16, process_group, bucket)


def _wrapped(kind: dtype, hook: Hook) -> Hook:
    def compressed(state: Any, bucket: Any) -> Future[Any]:
        whole = bucket.buffer()
        bucket.set_buffer(whole.to(kind))
        return hook(state, bucket).then(lambda future: ops.clone(future.value()).to(whole.dtype))

    return compressed


def fp16_compress_wrapper(hook: Hook) -> Hook:
    """Another hook, on gradients rounded to float16."""
    return _wrapped(float16, hook)


def bf16_compress_wrapper(hook: Hook) -> Hook:
    """Another hook, on gradients rounded to bfloat16."""
    return _wrapped(bfloat16, hook)
