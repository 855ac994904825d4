"""Collectives: operations that all processes of a group do together, on tensors and on objects.

Every process sends what others need and reduces what it gets in the order of the ranks, so that all processes have the
same bits.  Large tensors are reduced in parts, one by each process, which are then gathered (Thakur, Rabenseifner and
Gropp, "Optimization of Collective Communication Operations in MPICH", 2005).
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from .. import ops
from ..autograd.mode import no_grad
from ..dtype import uint8
from ..ops.interop import frombuffer
from ..tensor import Tensor
from .groups import ProcessGroup, ReduceOp, Work, get_group_rank, resolve

__all__ = [
    "P2POp", "all_gather", "all_gather_coalesced", "all_gather_into_tensor", "all_gather_object", "all_gather_single",
    "all_reduce", "all_reduce_coalesced", "all_to_all", "all_to_all_single", "barrier", "batch_isend_irecv",
    "broadcast", "broadcast_object_list", "gather", "gather_object", "irecv", "isend", "monitored_barrier", "recv",
    "recv_object_list", "reduce", "reduce_scatter", "reduce_scatter_single", "reduce_scatter_tensor", "scatter",
    "scatter_object_list", "send", "send_object_list",
]  # fmt: skip

_WHOLE = 1 << 13  # bytes up to which all processes reduce everything themselves
Tag = tuple[int, int]


# -- tensors and bytes --------------------------------------------------------------------------------


def _tensor(value: Any, name: str) -> Any:
    if not isinstance(value, Tensor):
        raise TypeError(f"Invalid function argument. Expected parameter `{name}` of type torch.Tensor but got "
                        f"{type(value)} instead.")  # fmt: skip
    if value._layout.device.type != "cpu":
        raise RuntimeError(f"No backend type associated with device type {value._layout.device.type}")
    return value.detach()  # type: ignore[attr-defined]


def _list(values: Any, name: str, size: int) -> list[Any]:
    if not isinstance(values, (list, tuple)) or len(values) != size:
        raise ValueError(f"`{name}` must be a list with one tensor for each of the group's {size} processes, got "
                         f"{values!r:.80}")  # fmt: skip
    return [_tensor(v, name) for v in values]


def _flat(t: Any) -> Any:
    """The elements one after the other: the tensor's own memory if they lie so."""
    return t.contiguous().reshape(-1)


def _data(t: Any) -> Any:
    """The bytes of a tensor."""
    return memoryview(_flat(t).view(uint8).numpy()).cast("B") if t.numel() else b""


def _made(data: bytearray, like: Any) -> Any:
    """A flat tensor of these bytes with the type of another."""
    if not data:
        return like.new_empty((0,))
    return frombuffer(data, dtype=uint8).view(like.dtype)


def _put(target: Any, source: Any) -> None:
    """Copies between tensors of one size and type."""
    if target.numel() != source.numel() or target.dtype is not source.dtype:
        raise ValueError(
            f"tensors of a collective must agree: {list(target.shape)} of {target.dtype}, {list(source.shape)} of "
            f"{source.dtype}"
        )
    with no_grad():
        target.copy_(source.reshape(target.shape))


_COMBINE: dict[Any, Callable[[Any, Any], Any]] = {
    ReduceOp.SUM: lambda a, b: a.add_(b), ReduceOp.AVG: lambda a, b: a.add_(b),
    ReduceOp.PRODUCT: lambda a, b: a.mul_(b),
    ReduceOp.MIN: ops.minimum, ReduceOp.MAX: ops.maximum, ReduceOp.BAND: ops.bitwise_and,
    ReduceOp.BOR: ops.bitwise_or, ReduceOp.BXOR: ops.bitwise_xor,
}  # fmt: skip


def _combined(parts: Sequence[Any], op: Any) -> Any:
    """The parts of all ranks reduced, in order."""
    if op not in _COMBINE:
        raise ValueError(f"the reduction {op} is not there for tensors on the CPU")
    with no_grad():
        found = parts[0].clone()
        for part in parts[1:]:
            found = _COMBINE[op](found, part)
        if op is ReduceOp.AVG and len(parts) > 1:
            found = (
                found / len(parts) if found.dtype.is_floating_point or found.dtype.is_complex else found // len(parts)
            )
    return found


def _exchange(group: ProcessGroup, tag: Tag, outgoing: Sequence[Any]) -> list[Any]:
    """Sends the bytes ``outgoing[r]`` to rank r; what every rank sent to this one (its own not at all)."""
    me = group.rank()
    for step in range(1, group.size()):  # everybody begins with another
        rank = (me + step) % group.size()
        group.send_to(rank, tag, outgoing[rank])
    return [None if r == me else group.receive_from(r, tag) for r in range(group.size())]


def _reduced(group: ProcessGroup, tag: Tag, flat: Any, op: Any) -> Any:
    """The flat tensors of all ranks reduced, in every rank."""
    size, me = group.size(), group.rank()
    if size == 1:
        return _combined([flat], op)
    if flat.numel() * flat.dtype.itemsize <= _WHOLE:
        arrived = _exchange(group, tag, [_data(flat)] * size)
        return _combined([flat if r == me else _made(a, flat) for r, a in enumerate(arrived)], op)
    step = -(-flat.numel() // size)
    pieces = [flat[r * step : (r + 1) * step] for r in range(size)]
    arrived = _exchange(group, tag, [_data(p) for p in pieces])
    mine = _combined([pieces[me] if r == me else _made(a, flat) for r, a in enumerate(arrived)], op)
    arrived = _exchange(group, tag, [_data(mine)] * size)
    return ops.cat([mine if r == me else _made(a, flat) for r, a in enumerate(arrived)])


def _do(group: ProcessGroup, async_op: bool, result: Any, operation: Callable[[], Any]) -> Work | None:
    """Does an operation, or starts it."""
    if async_op and group.size() > 1:
        return group.start(Work(result), operation)
    if async_op:
        return Work(result)._run(operation)
    operation()
    return None


def _root(group: ProcessGroup, rank: int | None, group_rank: int | None, name: str, default: int | None = None) -> int:
    """The rank in the group of the process that is meant."""
    if (rank is None) == (group_rank is None):
        if rank is not None:
            raise ValueError(f"{name}: give the rank in the default group or that in the group, not both")
        if default is None:
            raise ValueError(f"{name}: a rank is needed")
        rank = group.ranks[default]
    found = group_rank if group_rank is not None else get_group_rank(group, rank)  # type: ignore[arg-type]
    if not 0 <= found < group.size():
        raise ValueError(f"{name}: there is no process of rank {found} in a group of {group.size()}")
    return found


# -- collectives on tensors -------------------------------------------------------------------------------


def all_reduce(tensor: Tensor, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False) -> Work | None:
    """Combines a tensor of every process, in place."""
    g, t = resolve(group), _tensor(tensor, "tensor")
    tag = g.next_tag()
    return _do(g, async_op, [tensor], lambda: _put(t, _reduced(g, tag, _flat(t), op)) if g.size() > 1 else None)


def all_reduce_coalesced(
    tensors: Any, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Work | None:
    """``all_reduce`` of several tensors of one type, as one."""
    g = resolve(group)
    parts = [_tensor(t, "tensors") for t in ([tensors] if isinstance(tensors, Tensor) else tensors)]
    tag = g.next_tag()

    def operation() -> None:
        whole = _reduced(g, tag, ops.cat([_flat(t) for t in parts]), op)
        for t, part in zip(parts, whole.split([t.numel() for t in parts])):
            _put(t, part)

    return _do(g, async_op, parts, operation)


def reduce(
    tensor: Tensor, dst: int | None = None, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False,
    group_dst: int | None = None,
) -> Work | None:  # fmt: skip
    """Combines a tensor of every process in that of rank ``dst``."""
    g, t = resolve(group), _tensor(tensor, "tensor")
    root, tag = _root(g, dst, group_dst, "reduce"), g.next_tag()

    def operation() -> None:
        if g.rank() != root:
            g.send_to(root, tag, _data(t))
            return
        flat = _flat(t)
        parts = [flat if r == root else _made(g.receive_from(r, tag), flat) for r in range(g.size())]
        _put(t, _combined(parts, op))

    return _do(g, async_op, [tensor], operation)


def broadcast(
    tensor: Tensor, src: int | None = None, group: Any = None, async_op: bool = False, group_src: int | None = None
) -> Work | None:
    """Copies the tensor of rank ``src`` to all processes."""
    g, t = resolve(group), _tensor(tensor, "tensor")
    root, tag = _root(g, src, group_src, "broadcast"), g.next_tag()

    def operation() -> None:
        if g.rank() == root:
            data = _data(t)
            for r in range(g.size()):
                if r != root:
                    g.send_to(r, tag, data)
        else:
            _put(t, _made(g.receive_from(root, tag), t))

    return _do(g, async_op, [tensor], operation)


def all_gather(tensor_list: list[Tensor], tensor: Tensor, group: Any = None, async_op: bool = False) -> Work | None:
    """Copies the tensor of every process to a list of all."""
    g, t = resolve(group), _tensor(tensor, "tensor")
    targets, tag = _list(tensor_list, "tensor_list", g.size()), g.next_tag()

    def operation() -> None:
        arrived = _exchange(g, tag, [_data(t)] * g.size())
        for target, data in zip(targets, arrived):
            _put(target, t if data is None else _made(data, t))

    return _do(g, async_op, [tensor_list], operation)


def all_gather_coalesced(
    output_tensor_lists: Any, input_tensor_list: Any, group: Any = None, async_op: bool = False
) -> Work | None:
    """``all_gather`` of several tensors: ``output_tensor_lists[r][i]`` is tensor i of rank r."""
    g = resolve(group)
    works = [
        all_gather([outs[i] for outs in output_tensor_lists], t, g, async_op) for i, t in enumerate(input_tensor_list)
    ]
    return works[-1] if works else None


def all_gather_into_tensor(
    output_tensor: Tensor, input_tensor: Tensor, group: Any = None, async_op: bool = False
) -> Work | None:
    """Copies the tensor of every process into one tensor, one after the other."""
    g, t, whole = resolve(group), _tensor(input_tensor, "input_tensor"), _tensor(output_tensor, "output_tensor")
    if whole.numel() != t.numel() * g.size():
        raise ValueError(f"output_tensor must have {t.numel() * g.size()} elements, got {list(whole.shape)}")
    tag = g.next_tag()

    def operation() -> None:
        arrived = _exchange(g, tag, [_data(t)] * g.size())
        _put(whole, ops.cat([_flat(t) if a is None else _made(a, t) for a in arrived]))

    return _do(g, async_op, [output_tensor], operation)


def all_gather_single(output_tensor: Tensor, input_tensor: Tensor, group: Any = None, async_op: bool = False) -> Any:
    """``all_gather_into_tensor``."""
    return all_gather_into_tensor(output_tensor, input_tensor, group, async_op)


def gather(
    tensor: Tensor, gather_list: list[Tensor] | None = None, dst: int | None = None, group: Any = None,
    async_op: bool = False, group_dst: int | None = None,
) -> Work | None:  # fmt: skip
    """Copies the tensor of every process to a list of rank ``dst``; raises ValueError for lists elsewhere."""
    g, t = resolve(group), _tensor(tensor, "tensor")
    root, tag = _root(g, dst, group_dst, "gather", 0), g.next_tag()
    if g.rank() != root and gather_list:
        raise ValueError("Argument ``gather_list`` must NOT be specified on non-destination ranks.")
    targets = _list(gather_list, "gather_list", g.size()) if g.rank() == root else []

    def operation() -> None:
        if g.rank() != root:
            g.send_to(root, tag, _data(t))
            return
        for r, target in enumerate(targets):
            _put(target, t if r == root else _made(g.receive_from(r, tag), t))

    return _do(g, async_op, [gather_list], operation)


def scatter(
    tensor: Tensor, scatter_list: list[Tensor] | None = None, src: int | None = None, group: Any = None,
    async_op: bool = False, group_src: int | None = None,
) -> Work | None:  # fmt: skip
    """Copies one of the tensors of rank ``src`` to every process; raises ValueError for lists elsewhere."""
    g, t = resolve(group), _tensor(tensor, "tensor")
    root, tag = _root(g, src, group_src, "scatter", 0), g.next_tag()
    if g.rank() != root and scatter_list:
        raise ValueError("Argument ``scatter_list`` must NOT be specified on non-source ranks.")
    sources = _list(scatter_list, "scatter_list", g.size()) if g.rank() == root else []

    def operation() -> None:
        if g.rank() != root:
            _put(t, _made(g.receive_from(root, tag), t))
            return
        for r, source in enumerate(sources):
            if r == root:
                _put(t, source)
            else:
                g.send_to(r, tag, _data(source))

    return _do(g, async_op, [tensor], operation)


def _scattered(g: ProcessGroup, target: Any, parts: Sequence[Any], op: Any, async_op: bool, result: Any) -> Any:
    tag, me = g.next_tag(), g.rank()

    def operation() -> None:
        arrived = _exchange(g, tag, [_data(p) for p in parts])
        own = _flat(parts[me])
        _put(target, _combined([own if a is None else _made(a, own) for a in arrived], op))

    return _do(g, async_op, result, operation)


def reduce_scatter(
    output: Tensor, input_list: list[Tensor], op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Work | None:
    """Combines lists of tensors; every process gets one."""
    g = resolve(group)
    parts = _list(input_list, "input_list", g.size())
    return _scattered(g, _tensor(output, "output"), parts, op, async_op, [output])  # type: ignore[no-any-return]


def reduce_scatter_tensor(
    output: Tensor, input: Tensor, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Work | None:
    """Combines tensors; every process gets a part."""
    g, t, target = resolve(group), _tensor(input, "input"), _tensor(output, "output")
    if t.numel() != target.numel() * g.size():
        raise ValueError(f"input must have {target.numel() * g.size()} elements, got {list(t.shape)}")
    return _scattered(g, target, _flat(t).chunk(g.size()), op, async_op, [output])  # type: ignore[no-any-return]


def reduce_scatter_single(
    output: Tensor, input: Tensor, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Any:
    """``reduce_scatter_tensor``."""
    return reduce_scatter_tensor(output, input, op, group, async_op)


def all_to_all(
    output_tensor_list: list[Tensor], input_tensor_list: list[Tensor], group: Any = None, async_op: bool = False
) -> Work | None:
    """Every process gives one of its tensors to every other."""
    g = resolve(group)
    targets = _list(output_tensor_list, "output_tensor_list", g.size())
    sources = _list(input_tensor_list, "input_tensor_list", g.size())
    tag, me = g.next_tag(), g.rank()

    def operation() -> None:
        arrived = _exchange(g, tag, [_data(s) for s in sources])
        for target, data in zip(targets, arrived):
            _put(target, sources[me] if data is None else _made(data, target))

    return _do(g, async_op, [output_tensor_list], operation)


def all_to_all_single(
    output: Tensor, input: Tensor, output_split_sizes: Any = None, input_split_sizes: Any = None, group: Any = None,
    async_op: bool = False,
) -> Work | None:  # fmt: skip
    """Every process gives a part of its tensor, cut along dimension 0, to every other; by default all are equal."""
    g, t, whole = resolve(group), _tensor(input, "input"), _tensor(output, "output")
    size = g.size()

    def cut(x: Any, sizes: Any, name: str) -> list[Any]:
        if not sizes:
            if x.shape[0] % size:
                raise RuntimeError(f"{name}'s dim 0 ({x.shape[0]}) does not divide equally across group size {size}")
            sizes = [x.shape[0] // size] * size
        if len(sizes) != size or sum(sizes) != x.shape[0]:
            raise RuntimeError(f"{name}: the sizes {sizes} do not fit {size} processes and dim 0 of {x.shape[0]}")
        return list(x.split(list(sizes)))

    return all_to_all(cut(whole, output_split_sizes, "output"), cut(t, input_split_sizes, "input"), g, async_op)


def barrier(group: Any = None, async_op: bool = False, device_ids: Any = None, timeout: Any = None) -> Work | None:
    """Waits for all processes."""
    g = resolve(group)
    tag = g.next_tag()
    return _do(g, async_op, None, lambda: _exchange(g, tag, [b""] * g.size()) and None)


def monitored_barrier(group: Any = None, timeout: timedelta | None = None, wait_all_ranks: bool = False) -> None:
    """Waits for all processes; raises RuntimeError in rank 0, which names those that do not come in time."""
    g = resolve(group)
    tag, missing = g.next_tag(), []
    if g.rank() != 0:
        g.send_to(0, tag, b"")
        g.receive_from(0, tag)
        return
    before, g._seconds = g._seconds, timeout.total_seconds() if timeout else g._seconds
    try:
        for r in range(1, g.size()):
            try:
                g.receive_from(r, tag)
            except RuntimeError:
                missing.append(g.ranks[r])
                if not wait_all_ranks:
                    break
    finally:
        g._seconds = before
    if missing:
        raise RuntimeError(f"Rank {', '.join(map(str, missing))} failed to pass monitoredBarrier in {timeout}")
    for r in range(1, g.size()):
        g.send_to(r, tag, b"")


# -- collectives on objects -------------------------------------------------------------------------------
# Objects are pickled, as in PyTorch: they come from the processes of one's own job.


def all_gather_object(object_list: list[Any], obj: Any, group: Any = None) -> None:
    """Copies an object of every process to a list of all."""
    g = resolve(group)
    data = pickle.dumps(obj)
    object_list[:] = [pickle.loads(data if a is None else a) for a in _exchange(g, g.next_tag(), [data] * g.size())]


def gather_object(
    obj: Any, object_gather_list: list[Any] | None = None, dst: int | None = None, group: Any = None,
    group_dst: int | None = None,
) -> None:  # fmt: skip
    """Copies an object of every process to a list of rank ``dst``; raises ValueError if it gives none."""
    g = resolve(group)
    root, tag, data = _root(g, dst, group_dst, "gather_object", 0), g.next_tag(), pickle.dumps(obj)
    if g.rank() != root:
        if object_gather_list:
            raise ValueError("Argument object_gather_list should NOT be specified on non-destination ranks.")
        g.send_to(root, tag, data)
        return
    if object_gather_list is None:
        raise ValueError("Argument ``object_gather_list`` must be specified on destination rank.")
    arrived = [data if r == root else g.receive_from(r, tag) for r in range(g.size())]
    object_gather_list[:] = map(pickle.loads, arrived)


def broadcast_object_list(
    object_list: list[Any], src: int | None = None, group: Any = None, device: Any = None,
    group_src: int | None = None,
) -> None:  # fmt: skip
    """Copies the objects of rank ``src`` to all processes."""
    g = resolve(group)
    root, tag = _root(g, src, group_src, "broadcast_object_list", 0), g.next_tag()
    if g.rank() == root:
        data = pickle.dumps(object_list)
        for r in range(g.size()):
            if r != root:
                g.send_to(r, tag, data)
    else:
        object_list[:] = pickle.loads(g.receive_from(root, tag))


def scatter_object_list(
    scatter_object_output_list: list[Any], scatter_object_input_list: list[Any] | None = None, src: int | None = None,
    group: Any = None, group_src: int | None = None,
) -> None:  # fmt: skip
    """Copies one of the objects of rank ``src`` to every process; raises ValueError if there is not one for each."""
    g = resolve(group)
    root, tag = _root(g, src, group_src, "scatter_object_list", 0), g.next_tag()
    if g.rank() != root:
        scatter_object_output_list[0] = pickle.loads(g.receive_from(root, tag))
        return
    if scatter_object_input_list is None or len(scatter_object_input_list) != g.size():
        raise ValueError("source rank must provide scatter_object_input_list with one object for each process")
    for r, obj in enumerate(scatter_object_input_list):
        if r != root:
            g.send_to(r, tag, pickle.dumps(obj))
    scatter_object_output_list[0] = pickle.loads(pickle.dumps(scatter_object_input_list[root]))


# -- from one to another -------------------------------------------------------------------------------


def _peer(g: ProcessGroup, rank: int | None, group_rank: int | None, name: str) -> int:
    found = _root(g, rank, group_rank, name)
    if found == g.rank():
        raise ValueError(f"{name}(): a process cannot send to or receive from itself")
    return found


def _mark(g: ProcessGroup, tag: int) -> Tag:
    return g._number, -1 - tag


def isend(
    tensor: Tensor, dst: int | None = None, group: Any = None, tag: int = 0, group_dst: int | None = None
) -> Work | None:
    """Starts to send a tensor to another process."""
    g, t = resolve(group), _tensor(tensor, "tensor")
    peer = _peer(g, dst, group_dst, "isend")
    return Work([tensor])._run(lambda: g.send_to(peer, _mark(g, tag), _data(t)))


def irecv(
    tensor: Tensor, src: int | None = None, group: Any = None, tag: int = 0, group_src: int | None = None
) -> Work | None:
    """Starts to receive a tensor from another process, from any if none is named."""
    g, t = resolve(group), _tensor(tensor, "tensor")
    named = src is not None or group_src is not None
    peers = (_peer(g, src, group_src, "irecv"),) if named else tuple(r for r in range(g.size()) if r != g.rank())
    return _Receive([tensor], g, peers, _mark(g, tag), t)


class _Receive(Work):
    """A receive: what arrives is kept by the connection, and copied when somebody waits."""

    def __init__(self, result: Any, group: ProcessGroup, peers: tuple[int, ...], tag: Tag, target: Any) -> None:
        super().__init__(result)
        self._group, self._tag, self._target = group, tag, target
        self._peers = tuple(group.ranks[p] for p in peers)

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Waits for the message: True."""
        if not self._done.is_set():
            seconds = self._group._seconds if timeout is None else timeout.total_seconds()

            def operation() -> int:
                peer, data = self._group._mesh.receive_any(self._peers, self._tag, seconds)
                _put(self._target, _made(data, self._target))
                return peer

            self._run(operation)
        return super().wait()

    def is_completed(self) -> bool:
        """Whether the message has arrived."""
        return self._done.is_set() or any(self._group._mesh.ready(p, self._tag) for p in self._peers)


def send(tensor: Tensor, dst: int | None = None, group: Any = None, tag: int = 0, group_dst: int | None = None) -> None:
    """Sends a tensor to another process; raises ValueError for a process that does not exist, and for this one."""
    work = isend(tensor, dst, group, tag, group_dst)
    assert work is not None
    work.wait()


def recv(tensor: Tensor, src: int | None = None, group: Any = None, tag: int = 0, group_src: int | None = None) -> int:
    """Receives a tensor from another process, from any if none is named; the rank of that."""
    work = irecv(tensor, src, group, tag, group_src)
    assert work is not None
    work.wait()
    return work.source_rank()


class P2POp:
    """A send or receive, for ``batch_isend_irecv``."""

    def __init__(
        self, op: Callable[..., Any], tensor: Tensor, peer: int | None = None, group: Any = None, tag: int = 0,
        group_peer: int | None = None,
    ) -> None:  # fmt: skip
        if op not in (isend, irecv):
            raise ValueError("Invalid ``op``. Expected ``op`` to be ``torch.distributed.isend`` or "
                             "``torch.distributed.irecv``.")  # fmt: skip
        self.op, self.tensor, self.peer, self.group, self.tag = op, tensor, peer, group, tag
        self.group_peer = group_peer
        _tensor(tensor, "tensor")


def batch_isend_irecv(p2p_op_list: list[P2POp]) -> list[Work]:
    """Starts sends and receives; raises ValueError for other than a list of them."""
    if not p2p_op_list or not all(isinstance(p, P2POp) for p in p2p_op_list):
        raise ValueError("Invalid ``p2p_op_list``. Each op is expected to be of type ``torch.distributed.P2POp``.")
    return [p.op(p.tensor, p.peer, p.group, p.tag, p.group_peer) for p in p2p_op_list]


_OBJECTS = -(1 << 40)  # tags of objects are apart from those of tensors


def send_object_list(
    object_list: list[Any], dst: int | None = None, group: Any = None, device: Any = None,
    group_dst: int | None = None, use_batch: bool = False,
) -> None:  # fmt: skip
    """Sends a list of objects to another process."""
    g = resolve(group)
    g.send_to(_peer(g, dst, group_dst, "send_object_list"), (g._number, _OBJECTS), pickle.dumps(object_list))


def recv_object_list(
    object_list: list[Any], src: int | None = None, group: Any = None, device: Any = None,
    group_src: int | None = None, use_batch: bool = False,
) -> int:  # fmt: skip
    """Receives a list of objects from another process, from any if none is named; the rank of that."""
    g = resolve(group)
    named = src is not None or group_src is not None
    peers = (_peer(g, src, group_src, "recv_object_list"),) if named else tuple(
        r for r in range(g.size()) if r != g.rank()
    )  # fmt: skip
    peer, data = g._mesh.receive_any(tuple(g.ranks[p] for p in peers), (g._number, _OBJECTS), g._seconds)
    object_list[:] = pickle.loads(data)
    return peer
