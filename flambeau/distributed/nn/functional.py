"""Collectives with gradients: the derivative of each is the collective that carries gradients back."""

from __future__ import annotations

from typing import Any

from ... import ops
from ...autograd.function import Function
from .. import distributed_c10d as c10d

__all__ = [
    "all_gather", "all_reduce", "all_to_all", "all_to_all_single", "broadcast", "gather", "reduce", "reduce_scatter",
    "scatter",
]  # fmt: skip

SUM = c10d.ReduceOp.SUM


class _AllReduce(Function):
    @staticmethod
    def forward(ctx: Any, op: Any, group: Any, tensor: Any) -> Any:
        ctx.op, ctx.group = op, group
        found = tensor.clone()
        c10d.all_reduce(found, op, group)
        return found

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return None, None, _AllReduce.apply(ctx.op, ctx.group, grad)


class _Broadcast(Function):
    @staticmethod
    def forward(ctx: Any, src: int, group: Any, tensor: Any) -> Any:
        ctx.src, ctx.group = src, group
        found = tensor.clone()
        c10d.broadcast(found, src, group)
        return found

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        found = _Reduce.apply(ctx.src, SUM, ctx.group, grad)
        return None, None, found if c10d.get_rank() == ctx.src else ops.zeros_like(found)


class _Reduce(Function):
    @staticmethod
    def forward(ctx: Any, dst: int, op: Any, group: Any, tensor: Any) -> Any:
        ctx.dst, ctx.group = dst, group
        found = tensor.clone()
        c10d.reduce(found, dst, op, group)
        return found

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return None, None, None, _Broadcast.apply(ctx.dst, ctx.group, grad)


class _AllToAll(Function):
    @staticmethod
    def forward(ctx: Any, group: Any, shapes: Any, *tensors: Any) -> Any:
        ctx.group, ctx.shapes = group, [t.shape for t in tensors]
        found = [tensors[0].new_empty(tuple(s)) for s in shapes]
        c10d.all_to_all(found, [t.contiguous() for t in tensors], group)
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return None, None, *_AllToAll.apply(ctx.group, ctx.shapes, *grads)


class _Parts(Function):
    """What the process of rank ``root`` holds in parts, one for each process: gathered there, or scattered from it."""

    @staticmethod
    def forward(ctx: Any, root: int, group: Any, to_root: bool, *tensors: Any) -> Any:
        ctx.root, ctx.group, ctx.to_root = root, group, to_root
        here, size = c10d.get_rank() == root, c10d.get_world_size(group)
        if to_root:
            found = [ops.zeros_like(tensors[0]) for _ in range(size)]
            c10d.gather(tensors[0], found if here else None, root, group)
            return tuple(found)
        target = ops.empty_like(tensors[0])
        c10d.scatter(target, [t.contiguous() for t in tensors] if here else None, root, group)
        return target

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        found = _Parts.apply(ctx.root, ctx.group, not ctx.to_root, *grads)
        return (None, None, None, *(found if isinstance(found, tuple) else (found,)))


def all_reduce(tensor: Any, op: Any = SUM, group: Any = None) -> Any:
    """The tensors of all processes combined; gradients are combined so, too."""
    return _AllReduce.apply(op, group, tensor)  # type: ignore[no-untyped-call]


def broadcast(tensor: Any, src: int, group: Any = None) -> Any:
    """The tensor of rank ``src``; gradients are summed there."""
    return _Broadcast.apply(src, group, tensor)  # type: ignore[no-untyped-call]


def reduce(tensor: Any, dst: int, op: Any = SUM, group: Any = None) -> Any:
    """The tensors of all processes combined in rank ``dst``; its gradient goes to all."""
    return _Reduce.apply(dst, op, group, tensor)  # type: ignore[no-untyped-call]


def all_to_all(output_tensor_list: Any, input_tensor_list: Any, group: Any = None) -> Any:
    """Every process gives one of its tensors to every other, of the shapes of ``output_tensor_list``."""
    return _AllToAll.apply(group, [t.shape for t in output_tensor_list], *input_tensor_list)  # type: ignore[no-untyped-call]


def all_to_all_single(
    output: Any, input: Any, output_split_sizes: Any = None, input_split_sizes: Any = None, group: Any = None
) -> Any:
    """Every process gives a part of its tensor to every other."""
    size = c10d.get_world_size(group)
    outs = output.split(list(output_split_sizes)) if output_split_sizes else output.chunk(size)
    ins = input.split(list(input_split_sizes)) if input_split_sizes else input.chunk(size)
    return ops.cat(all_to_all(outs, ins, group))


def all_gather(tensor: Any, group: Any = None) -> Any:
    """The tensors of all processes, as a tuple; the gradient of each is summed where it came from."""
    size = c10d.get_world_size(group)
    return all_to_all([tensor] * size, [tensor] * size, group)


def reduce_scatter(output: Any, input_list: Any, op: Any = SUM, group: Any = None) -> Any:
    """The sum of the tensors that all processes have for this one; raises ValueError for other reductions."""
    if op is not SUM:
        raise ValueError(f"reduce_scatter with gradients sums, it cannot {op}")
    found = all_to_all([output] * len(input_list), input_list, group)
    return ops.stack(list(found)).sum(0)


def gather(tensor: Any, dst: int = 0, group: Any = None) -> Any:
    """The tensors of all processes in rank ``dst``, as a tuple; zeros elsewhere."""
    return _Parts.apply(dst, group, True, tensor)  # type: ignore[no-untyped-call]


def scatter(tensors: Any, src: int = 0, group: Any = None) -> Any:
    """One of the tensors of rank ``src`` for every process; elsewhere ``tensors`` say the shape."""
    return _Parts.apply(src, group, False, *tensors)  # type: ignore[no-untyped-call]
