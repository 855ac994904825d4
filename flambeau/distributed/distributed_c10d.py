"""Process groups and their collectives, for a group of one process.

Everything takes PyTorch's arguments and checks them; what a collective of one process does is a copy.
"""

from __future__ import annotations

import copy
import enum
import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from ..futures import Future
from ..tensor import Tensor

__all__ = [
    "Backend", "GroupMember", "HashStore", "P2POp", "ProcessGroup", "ReduceOp", "Store", "Work", "all_gather",
    "all_gather_into_tensor", "all_gather_object", "all_reduce", "all_to_all", "all_to_all_single", "barrier",
    "batch_isend_irecv", "broadcast", "broadcast_object_list", "destroy_process_group", "gather", "gather_object",
    "get_backend", "get_global_rank", "get_group_rank", "get_process_group_ranks", "get_rank", "get_world_size",
    "group", "init_process_group", "irecv", "is_available", "is_backend_available", "is_gloo_available",
    "is_initialized", "is_mpi_available", "is_nccl_available", "is_torchelastic_launched", "is_ucc_available",
    "is_xccl_available", "isend", "monitored_barrier", "new_group", "recv", "reduce", "reduce_scatter",
    "reduce_scatter_tensor", "scatter", "scatter_object_list", "send",
]  # fmt: skip


class ReduceOp:
    """How a reduction combines: ``ReduceOp.SUM`` and so on."""

    class RedOpType(enum.Enum):
        """The ways of combining."""

        SUM, AVG, PRODUCT, MIN, MAX, BAND, BOR, BXOR, PREMUL_SUM = range(9)

    SUM, AVG, PRODUCT = RedOpType.SUM, RedOpType.AVG, RedOpType.PRODUCT
    MIN, MAX = RedOpType.MIN, RedOpType.MAX
    BAND, BOR, BXOR, PREMUL_SUM = RedOpType.BAND, RedOpType.BOR, RedOpType.BXOR, RedOpType.PREMUL_SUM


class Backend(str):
    """The name of a way of communicating, in lower case; raises ValueError for other than text."""

    UNDEFINED, GLOO, NCCL, UCC, MPI, XCCL, FAKE = "undefined", "gloo", "nccl", "ucc", "mpi", "xccl", "fake"
    backend_list: ClassVar[list[str]] = ["undefined", "gloo", "nccl", "xccl", "ucc", "mpi", "fake"]
    default_device_backend_map: ClassVar[dict[str, str]] = {"cpu": "gloo", "cuda": "nccl", "xpu": "xccl", "mps": "gloo"}

    def __new__(cls, name: str) -> Backend:
        if not isinstance(name, str):
            raise ValueError(f"Backend constructor parameter must be string-ish, but got {name}")
        return super().__new__(cls, name.lower())


class Work:
    """A collective that has been started; of one process, it is done when it returns."""

    def __init__(self, result: Any = None) -> None:
        self._result = result

    def wait(self, timeout: Any = None) -> bool:
        """Waits for it: True."""
        return True

    def is_completed(self) -> bool:
        """True."""
        return True

    def is_success(self) -> bool:
        """True."""
        return True

    def exception(self) -> None:
        """The error that it ended with: none."""
        return None

    def result(self) -> Any:
        """The tensors that it wrote."""
        return self._result

    def source_rank(self) -> int:
        """The rank that a receive got from."""
        return 0

    def synchronize(self) -> None:
        """Waits for it."""

    def get_future(self) -> Future[Any]:
        """The future of the tensors that it wrote, which is done."""
        future: Future[Any] = Future()
        future.set_result(self._result)
        return future


class ProcessGroup:
    """Processes that communicate: one, whose rank is 0."""

    def __init__(self, backend: str = "gloo", name: str = "0", desc: str = "default_pg") -> None:
        self._backend, self.group_name, self.group_desc = backend, name, desc

    def rank(self) -> int:
        """The rank of this process: 0."""
        return 0

    def size(self) -> int:
        """The number of processes: 1."""
        return 1

    def name(self) -> str:
        """The name of the backend."""
        return self._backend

    def __repr__(self) -> str:
        return f"<ProcessGroup {self.group_name}: 1 process, {self._backend}>"


class Store:
    """Values that processes leave for each other, by key."""


class HashStore(Store):
    """A store within this process."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}

    def set(self, key: str, value: str | bytes) -> None:
        """Leaves a value."""
        self._values[key] = value.encode() if isinstance(value, str) else bytes(value)

    def get(self, key: str) -> bytes:
        """A value that was left; raises RuntimeError if there is none, since nobody else could leave it."""
        if key not in self._values:
            raise RuntimeError(f"HashStore.get(): no value for the key {key!r}")
        return self._values[key]

    def add(self, key: str, amount: int) -> int:
        """Adds to a counter; returns it."""
        value = int(self._values.get(key, b"0")) + amount
        self.set(key, str(value))
        return value

    def delete_key(self, key: str) -> bool:
        """Takes a value away; True if there was one."""
        return self._values.pop(key, None) is not None

    def num_keys(self) -> int:
        """The number of values."""
        return len(self._values)

    def check(self, keys: Sequence[str]) -> bool:
        """Whether all values are there."""
        return all(key in self._values for key in keys)

    def wait(self, keys: Sequence[str], timeout: Any = None) -> None:
        """Waits for values; raises RuntimeError if they are not there."""
        if not self.check(keys):
            raise RuntimeError(f"HashStore.wait(): no values for {[k for k in keys if k not in self._values]}")


class _World:
    """What this process has started."""

    default: ProcessGroup | None = None
    groups: ClassVar[list[ProcessGroup]] = []


class _MetaGroup(type):
    @property
    def WORLD(cls) -> ProcessGroup | None:
        """The default group, or None."""
        return _World.default


class group(metaclass=_MetaGroup):
    """``group.WORLD``: the default group."""


class GroupMember(metaclass=_MetaGroup):
    """``GroupMember.WORLD``: the default group; ``NON_GROUP_MEMBER`` stands for a group that one is not in."""

    NON_GROUP_MEMBER = -100


# -- what there is ------------------------------------------------------------------------------------


def is_available() -> bool:
    """Whether programs of several processes can be run: not yet.  (Groups of one process work all the same.)"""
    return False


def is_initialized() -> bool:
    """Whether there is a default group."""
    return _World.default is not None


def is_gloo_available() -> bool:
    """Whether groups on the CPU can be made: yes, of one process."""
    return True


def is_nccl_available() -> bool:
    """Whether NCCL is there: no."""
    return False


def is_mpi_available() -> bool:
    """Whether MPI is there: no."""
    return False


def is_ucc_available() -> bool:
    """Whether UCC is there: no."""
    return False


def is_xccl_available() -> bool:
    """Whether XCCL is there: no."""
    return False


def is_backend_available(backend: str) -> bool:
    """Whether a way of communicating is there."""
    return backend.lower() == "gloo"


def is_torchelastic_launched() -> bool:
    """Whether an elastic agent started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def _get_default_group() -> ProcessGroup:
    if _World.default is None:
        raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")
    return _World.default


def _resolve(group_: Any) -> ProcessGroup:
    """The group meant by an argument."""
    if group_ is None:
        return _get_default_group()
    if not isinstance(group_, ProcessGroup):
        raise TypeError(f"expected a ProcessGroup or None, got {type(group_).__name__}")
    return group_


def init_process_group(
    backend: str | None = None, init_method: str | None = None, timeout: timedelta | None = None, world_size: int = -1,
    rank: int = -1, store: Store | None = None, group_name: str = "", pg_options: Any = None, device_id: Any = None,
) -> None:  # fmt: skip
    """Starts the default group.  ``world_size`` and ``rank`` come from $WORLD_SIZE and $RANK if they are not given.

    Raises ValueError if there is a group already or a size or rank is bad, RuntimeError for more than one process and
    for backends that are not there.
    """
    if _World.default is not None:
        raise ValueError("trying to initialize the default process group twice!")
    if timeout is not None and not isinstance(timeout, timedelta):
        raise TypeError(f"Expected timeout argument to be of type datetime.timedelta, got {timeout}")
    size = int(os.environ.get("WORLD_SIZE", 1)) if world_size == -1 else world_size
    place = int(os.environ.get("RANK", 0)) if rank == -1 else rank
    if size < 1 or not 0 <= place < size:
        raise ValueError(f"init_process_group(): rank {place} of a group of {size} processes does not exist")
    name = (backend or "gloo").lower()
    parts = [p.partition(":")[2] or p for p in name.split(",")]
    if not any(map(is_backend_available, parts)):
        raise RuntimeError(f"init_process_group(): the backend {backend!r} is not there; there is 'gloo'")
    if size > 1:
        raise RuntimeError(
            f"init_process_group(): a group of {size} processes needs communication, which is not there yet; "
            "groups of one process work"
        )
    _World.default = ProcessGroup("gloo", group_name or "0")
    _World.groups.append(_World.default)


def destroy_process_group(group: ProcessGroup | None = None) -> None:
    """Ends a group, or all of them; raises ValueError for one that does not exist."""
    if group is None or group is _World.default:
        _get_default_group()
        _World.default = None
        _World.groups.clear()
    elif group in _World.groups:
        _World.groups.remove(group)
    else:
        raise ValueError("Invalid process group specified: it does not exist (any more)")


def new_group(
    ranks: list[int] | None = None, timeout: timedelta | None = None, backend: str | None = None,
    pg_options: Any = None, use_local_synchronization: bool = False, group_desc: str | None = None,
    device_id: Any = None, sort_ranks: bool = True,
) -> Any:  # fmt: skip
    """A group of some of the processes; raises ValueError for ranks that do not exist."""
    _get_default_group()
    wanted = [0] if ranks is None else list(ranks)
    if any(r != 0 for r in wanted) or len(wanted) > 1:
        raise ValueError(f"new_group(): the ranks {wanted} are not all among the group's: [0]")
    if not wanted:
        return GroupMember.NON_GROUP_MEMBER
    made = ProcessGroup("gloo", str(len(_World.groups)), group_desc or "undefined")
    _World.groups.append(made)
    return made


def get_rank(group: ProcessGroup | None = None) -> int:
    """The rank of this process in a group, -1 if it is not in it."""
    return -1 if group == GroupMember.NON_GROUP_MEMBER else _resolve(group).rank()


def get_world_size(group: ProcessGroup | None = None) -> int:
    """The number of processes in a group, -1 if this one is not in it."""
    return -1 if group == GroupMember.NON_GROUP_MEMBER else _resolve(group).size()


def get_backend(group: ProcessGroup | None = None) -> Backend:
    """The name of a group's way of communicating."""
    return Backend(_resolve(group)._backend)


def get_global_rank(group: ProcessGroup, group_rank: int) -> int:
    """The rank in the default group of a process of a group; raises ValueError if there is none."""
    _resolve(group)
    return _rank(group_rank, "get_global_rank")


def get_group_rank(group: ProcessGroup, global_rank: int) -> int:
    """The rank in a group of a process of the default group; raises ValueError if there is none."""
    _resolve(group)
    return _rank(global_rank, "get_group_rank")


def get_process_group_ranks(group: ProcessGroup | None) -> list[int]:
    """The ranks in the default group of a group's processes."""
    _resolve(group)
    return [0]


def _rank(rank: Any, function: str) -> int:
    if rank != 0:
        raise ValueError(f"{function}(): there is no process of rank {rank} in a group of one")
    return 0


# -- collectives --------------------------------------------------------------------------------------


def _tensor(value: Any, name: str) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(f"Invalid function argument. Expected parameter `{name}` of type torch.Tensor but got "
                        f"{type(value)} instead.")  # fmt: skip
    return value


def _one(values: Any, name: str) -> Tensor:
    """The only tensor of a list with one for each process."""
    if not isinstance(values, (list, tuple)) or len(values) != 1:
        raise ValueError(f"`{name}` must be a list with one tensor for each of the group's processes, of which there "
                         f"is one; got {values!r:.80}")  # fmt: skip
    return _tensor(values[0], name)


def _put(target: Tensor, source: Tensor) -> None:
    """Copies as a collective does: without a history, and between tensors of one size and type."""
    if target.numel() != source.numel() or target.dtype is not source.dtype:
        raise ValueError(
            f"tensors of a collective must agree: {list(target.shape)} of {target.dtype}, {list(source.shape)} of "
            f"{source.dtype}"
        )
    target.detach().copy_(source.detach().reshape(target.shape))  # type: ignore[attr-defined]


def _done(async_op: bool, result: Any) -> Work | None:
    return Work(result) if async_op else None


def all_reduce(tensor: Tensor, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False) -> Work | None:
    """Combines a tensor of every process, in place: of one process, the tensor stays."""
    _resolve(group)
    return _done(async_op, [_tensor(tensor, "tensor")])


def reduce(
    tensor: Tensor, dst: int | None = None, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False,
    group_dst: int | None = None,
) -> Work | None:  # fmt: skip
    """Combines a tensor of every process in that of rank ``dst``."""
    _resolve(group)
    _rank(group_dst if dst is None else dst, "reduce")
    return _done(async_op, [_tensor(tensor, "tensor")])


def broadcast(
    tensor: Tensor, src: int | None = None, group: Any = None, async_op: bool = False, group_src: int | None = None
) -> Work | None:
    """Copies the tensor of rank ``src`` to all processes."""
    _resolve(group)
    _rank(group_src if src is None else src, "broadcast")
    return _done(async_op, [_tensor(tensor, "tensor")])


def all_gather(tensor_list: list[Tensor], tensor: Tensor, group: Any = None, async_op: bool = False) -> Work | None:
    """Copies the tensor of every process to a list of all."""
    _resolve(group)
    _put(_one(tensor_list, "tensor_list"), _tensor(tensor, "tensor"))
    return _done(async_op, [tensor_list])


def all_gather_into_tensor(
    output_tensor: Tensor, input_tensor: Tensor, group: Any = None, async_op: bool = False
) -> Work | None:
    """Copies the tensor of every process into one tensor, one after the other."""
    _resolve(group)
    _put(_tensor(output_tensor, "output_tensor"), _tensor(input_tensor, "input_tensor"))
    return _done(async_op, [output_tensor])


def gather(
    tensor: Tensor, gather_list: list[Tensor] | None = None, dst: int | None = None, group: Any = None,
    async_op: bool = False, group_dst: int | None = None,
) -> Work | None:  # fmt: skip
    """Copies the tensor of every process to a list of rank ``dst``."""
    _resolve(group)
    _rank((group_dst or 0) if dst is None else dst, "gather")
    _put(_one(gather_list, "gather_list"), _tensor(tensor, "tensor"))
    return _done(async_op, [gather_list])


def scatter(
    tensor: Tensor, scatter_list: list[Tensor] | None = None, src: int | None = None, group: Any = None,
    async_op: bool = False, group_src: int | None = None,
) -> Work | None:  # fmt: skip
    """Copies one of the tensors of rank ``src`` to every process."""
    _resolve(group)
    _rank((group_src or 0) if src is None else src, "scatter")
    _put(_tensor(tensor, "tensor"), _one(scatter_list, "scatter_list"))
    return _done(async_op, [tensor])


def reduce_scatter(
    output: Tensor, input_list: list[Tensor], op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Work | None:
    """Combines lists of tensors; every process gets one."""
    _resolve(group)
    _put(_tensor(output, "output"), _one(input_list, "input_list"))
    return _done(async_op, [output])


def reduce_scatter_tensor(
    output: Tensor, input: Tensor, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Work | None:
    """Combines tensors; every process gets a part."""
    _resolve(group)
    _put(_tensor(output, "output"), _tensor(input, "input"))
    return _done(async_op, [output])


def all_to_all(
    output_tensor_list: list[Tensor], input_tensor_list: list[Tensor], group: Any = None, async_op: bool = False
) -> Work | None:
    """Every process gives one of its tensors to every other."""
    _resolve(group)
    _put(_one(output_tensor_list, "output_tensor_list"), _one(input_tensor_list, "input_tensor_list"))
    return _done(async_op, [output_tensor_list])


def all_to_all_single(
    output: Tensor, input: Tensor, output_split_sizes: Any = None, input_split_sizes: Any = None, group: Any = None,
    async_op: bool = False,
) -> Work | None:  # fmt: skip
    """Every process gives a part of its tensor to every other."""
    _resolve(group)
    _put(_tensor(output, "output"), _tensor(input, "input"))
    return _done(async_op, [output])


def barrier(group: Any = None, async_op: bool = False, device_ids: Any = None, timeout: Any = None) -> Work | None:
    """Waits for all processes."""
    _resolve(group)
    return _done(async_op, None)


def monitored_barrier(group: Any = None, timeout: Any = None, wait_all_ranks: bool = False) -> None:
    """Waits for all processes, and says which one does not come."""
    _resolve(group)


# -- objects ------------------------------------------------------------------------------------------


def all_gather_object(object_list: list[Any], obj: Any, group: Any = None) -> None:
    """Copies an object of every process to a list of all."""
    _resolve(group)
    object_list[0] = copy.deepcopy(obj)


def gather_object(
    obj: Any, object_gather_list: list[Any] | None = None, dst: int | None = None, group: Any = None,
    group_dst: int | None = None,
) -> None:  # fmt: skip
    """Copies an object of every process to a list of rank ``dst``; raises ValueError if it gives none."""
    _resolve(group)
    _rank((group_dst or 0) if dst is None else dst, "gather_object")
    if object_gather_list is None:
        raise ValueError("Argument ``object_gather_list`` must be specified on destination rank.")
    object_gather_list[0] = copy.deepcopy(obj)


def broadcast_object_list(
    object_list: list[Any], src: int | None = None, group: Any = None, device: Any = None,
    group_src: int | None = None,
) -> None:  # fmt: skip
    """Copies the objects of rank ``src`` to all processes."""
    _resolve(group)
    _rank((group_src or 0) if src is None else src, "broadcast_object_list")


def scatter_object_list(
    scatter_object_output_list: list[Any], scatter_object_input_list: list[Any] | None = None, src: int | None = None,
    group: Any = None, group_src: int | None = None,
) -> None:  # fmt: skip
    """Copies one of the objects of rank ``src`` to every process; raises ValueError if there is not one for each."""
    _resolve(group)
    _rank((group_src or 0) if src is None else src, "scatter_object_list")
    if scatter_object_input_list is None or len(scatter_object_input_list) != 1:
        raise ValueError("source rank must provide scatter_object_input_list with one object for each process")
    scatter_object_output_list[0] = copy.deepcopy(scatter_object_input_list[0])


# -- from one to another -------------------------------------------------------------------------------


def _nobody(function: str, group_: Any) -> None:
    _resolve(group_)
    raise ValueError(f"{function}(): a process cannot send to or receive from itself, and there is no other")


def send(tensor: Tensor, dst: int | None = None, group: Any = None, tag: int = 0, group_dst: int | None = None) -> None:
    """Sends a tensor to another process; raises ValueError, since there is none."""
    _nobody("send", group)


def recv(tensor: Tensor, src: int | None = None, group: Any = None, tag: int = 0, group_src: int | None = None) -> int:
    """Receives a tensor from another process; raises ValueError, since there is none."""
    _nobody("recv", group)
    return 0


def isend(
    tensor: Tensor, dst: int | None = None, group: Any = None, tag: int = 0, group_dst: int | None = None
) -> Work | None:
    """Starts to send a tensor to another process; raises ValueError, since there is none."""
    _nobody("isend", group)
    return None


def irecv(
    tensor: Tensor, src: int | None = None, group: Any = None, tag: int = 0, group_src: int | None = None
) -> Work | None:
    """Starts to receive a tensor from another process; raises ValueError, since there is none."""
    _nobody("irecv", group)
    return None


class P2POp:
    """A send or receive, for ``batch_isend_irecv``."""

    def __init__(
        self, op: Callable[..., Any], tensor: Tensor, peer: int | None = None, group: Any = None, tag: int = 0,
        group_peer: int | None = None,
    ) -> None:  # fmt: skip
        if op not in (isend, irecv):
            raise ValueError("Invalid ``op``. Expected ``op`` to be ``torch.distributed.isend`` or "
                             "``torch.distributed.irecv``.")  # fmt: skip
        self.op, self.tensor, self.peer, self.group, self.tag = op, _tensor(tensor, "tensor"), peer, group, tag


def batch_isend_irecv(p2p_op_list: list[P2POp]) -> list[Work]:
    """Starts sends and receives; raises ValueError for other than a list of them."""
    if not p2p_op_list or not all(isinstance(p, P2POp) for p in p2p_op_list):
        raise ValueError("Invalid ``p2p_op_list``. Each op is expected to be of type ``torch.distributed.P2POp``.")
    return [p.op(p.tensor, p.peer, p.group, p.tag) for p in p2p_op_list]
