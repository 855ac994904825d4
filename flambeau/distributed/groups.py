"""Process groups: who belongs to them, how they are made, and what an operation that was started can be asked."""

from __future__ import annotations

import enum
import os
import queue
import threading
import urllib.parse
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, ClassVar

from ..futures import Future
from .constants import default_pg_timeout
from .store import FileStore, HashStore, PrefixStore, Store, TCPStore
from .wire import Mesh

__all__ = [
    "Backend", "BackendConfig", "GroupMember", "ProcessGroup", "ProcessGroupGloo", "ReduceOp", "Work",
    "destroy_process_group", "get_backend", "get_backend_config", "get_default_backend_for_device", "get_global_rank",
    "get_group_rank", "get_node_local_rank", "get_pg_count", "get_process_group_ranks", "get_rank", "get_world_size",
    "group", "init_process_group", "is_available", "is_backend_available", "is_gloo_available", "is_initialized",
    "is_mpi_available", "is_nccl_available", "is_torchelastic_launched", "is_ucc_available", "is_xccl_available",
    "new_group", "new_subgroups", "new_subgroups_by_enumeration", "reduce_op", "register_rendezvous_handler",
    "rendezvous", "resolve", "split_group", "supports_complex",
]  # fmt: skip


class ReduceOp:
    """How a reduction combines: ``ReduceOp.SUM`` and so on."""

    class RedOpType(enum.Enum):
        """The ways of combining."""

        SUM, AVG, PRODUCT, MIN, MAX, BAND, BOR, BXOR, PREMUL_SUM = range(9)

    SUM, AVG, PRODUCT = RedOpType.SUM, RedOpType.AVG, RedOpType.PRODUCT
    MIN, MAX = RedOpType.MIN, RedOpType.MAX
    BAND, BOR, BXOR, PREMUL_SUM = RedOpType.BAND, RedOpType.BOR, RedOpType.BXOR, RedOpType.PREMUL_SUM


class reduce_op:
    """``ReduceOp``'s members by their old place."""

    SUM, PRODUCT, MIN, MAX = ReduceOp.SUM, ReduceOp.PRODUCT, ReduceOp.MIN, ReduceOp.MAX


def supports_complex(reduceOp: Any) -> bool:
    """Whether complex numbers can be combined so: where order does not count."""
    return reduceOp not in (
        ReduceOp.MAX, ReduceOp.MIN, ReduceOp.PRODUCT, ReduceOp.BAND, ReduceOp.BOR, ReduceOp.BXOR,
    )  # fmt: skip


class Backend(str):
    """The name of a way of communicating, in lower case; raises ValueError for other than text."""

    UNDEFINED, GLOO, NCCL, UCC, MPI, XCCL, FAKE = "undefined", "gloo", "nccl", "ucc", "mpi", "xccl", "fake"
    backend_list: ClassVar[list[str]] = ["undefined", "gloo", "nccl", "xccl", "ucc", "mpi", "fake"]
    default_device_backend_map: ClassVar[dict[str, str]] = {"cpu": "gloo", "cuda": "nccl", "xpu": "xccl", "mps": "gloo"}
    backend_capability: ClassVar[dict[str, list[str]]] = {"gloo": ["cpu"]}

    def __new__(cls, name: str) -> Backend:
        if not isinstance(name, str):
            raise ValueError(f"Backend constructor parameter must be string-ish, but got {name}")
        return super().__new__(cls, name.lower())


def get_default_backend_for_device(device: Any) -> str:
    """The way of communicating for tensors on a device; raises ValueError for a device without one."""
    kind = device.type if hasattr(device, "type") else str(device).partition(":")[0]
    if kind not in Backend.default_device_backend_map:
        raise ValueError(f"Default backend not registered for device : {device}")
    return Backend.default_device_backend_map[kind]


class BackendConfig:
    """The way of communicating for every kind of device, as ``init_process_group`` writes it."""

    def __init__(self, backend: Any) -> None:
        text = str(backend)
        self.device_backend_map = (
            dict(p.split(":") for p in text.split(",")) if ":" in text else {"cpu": text, "cuda": text}
        )

    def get_device_backend_map(self) -> dict[str, str]:
        """The ways by kind of device."""
        return dict(self.device_backend_map)

    def __repr__(self) -> str:
        return ",".join(f"{d}:{b}" for d, b in self.device_backend_map.items())


# -- operations that were started ------------------------------------------------------------------------


class Work:
    """An operation that was started: it is done when ``wait`` returns."""

    def __init__(self, result: Any = None, source: int = 0) -> None:
        self._result, self._source = result, source
        self._done = threading.Event()
        self._error: BaseException | None = None
        self._future: Future[Any] = Future()

    def _run(self, operation: Callable[[], Any]) -> Work:
        """Does the operation, and keeps what it raises for whoever waits."""
        try:
            found = operation()
            if isinstance(found, int):
                self._source = found
        except Exception as error:
            self._error = error
            self._done.set()
            self._future.set_exception(error)
        else:
            self._done.set()
            self._future.set_result(self._result)
        return self

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Waits for it: True.  Raises what it ended with, and RuntimeError after ``timeout``."""
        if not self._done.wait(timeout.total_seconds() if timeout else None):
            raise RuntimeError(f"the operation was not done within {timeout}")
        if self._error is not None:
            raise self._error
        return True

    def is_completed(self) -> bool:
        """Whether it is done."""
        return self._done.is_set()

    def is_success(self) -> bool:
        """Whether it is done, and well."""
        return self._done.is_set() and self._error is None

    def exception(self) -> BaseException | None:
        """The error that it ended with."""
        return self._error

    def result(self) -> Any:
        """The tensors that it wrote."""
        return self._result

    def source_rank(self) -> int:
        """The rank that a receive got from."""
        return self._source

    def synchronize(self) -> None:
        """Waits for it."""
        self.wait()

    def block_current_stream(self) -> None:
        """Waits for it: the program is the only stream."""
        self.wait()

    def get_future(self) -> Future[Any]:
        """The future of the tensors that it writes."""
        return self._future


class _Worker:
    """The thread that does what was started and is not waited for, one after the other."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()
        self._started = False

    def put(self, task: Callable[[], Any]) -> None:
        """Does a task when those before are done."""
        if not self._started:
            self._started = True
            threading.Thread(target=self._work, name="collectives", daemon=True).start()
        self._tasks.put(task)

    def _work(self) -> None:
        while True:
            self._tasks.get()()


# -- groups -------------------------------------------------------------------------------------------


class ProcessGroup:
    """Processes that communicate: ``ranks`` in the default group, in the order of their ranks in this one."""

    def __init__(
        self, ranks: Sequence[int] = (0,), backend: str = "gloo", name: str = "0", desc: str = "default_pg",
        mesh: Mesh | None = None, store: Store | None = None, number: int = 0, seconds: float = 1800.0,
    ) -> None:  # fmt: skip
        self.ranks = tuple(ranks)
        self._backend, self.group_name, self.group_desc = backend, name, desc
        self._mesh = mesh or Mesh(HashStore(), 0, 1, seconds)
        self._store = store or HashStore()
        self._number, self._seconds = number, seconds
        self._operations = 0
        self._worker = _Worker()
        self.bound_device_id = None

    def rank(self) -> int:
        """The rank of this process."""
        return self.ranks.index(self._mesh.rank) if self._mesh.rank in self.ranks else -1

    def size(self) -> int:
        """The number of processes."""
        return len(self.ranks)

    def name(self) -> str:
        """The name of the backend."""
        return self._backend

    def get_group_store(self) -> Store:
        """The store of the group."""
        return self._store

    def set_timeout(self, timeout: timedelta) -> None:
        """Sets how long an operation may take."""
        self._seconds = timeout.total_seconds()

    def shutdown(self) -> None:
        """Ends the group: its connections are those of the job, and end with it."""

    abort = shutdown

    # -- messages ---------------------------------------------------------------------------------------

    def next_tag(self) -> tuple[int, int]:
        """The tag of the next operation of the group, which is the same in all processes."""
        self._operations += 1
        return self._number, self._operations

    def start(self, work: Work, operation: Callable[[], Any]) -> Work:
        """Starts an operation in the thread for that."""
        self._worker.put(lambda: work._run(operation))
        return work

    def send_to(self, rank: int, tag: tuple[int, int], data: Any) -> None:
        """Sends bytes to a rank of the group."""
        self._mesh.send(self.ranks[rank], tag, data)

    def receive_from(self, rank: int, tag: tuple[int, int]) -> bytearray:
        """The bytes that a rank of the group sends."""
        return self._mesh.receive(self.ranks[rank], tag, self._seconds)

    def __repr__(self) -> str:
        return f"<ProcessGroup {self.group_name}: ranks {list(self.ranks)}, {self._backend}>"


class ProcessGroupGloo(ProcessGroup):
    """A group that communicates over TCP: ``ProcessGroupGloo(store, rank, size)``."""

    def __init__(self, store: Store, rank: int, size: int, timeout: timedelta = default_pg_timeout) -> None:
        seconds = timeout.total_seconds()
        mesh = Mesh(PrefixStore("gloo", store), rank, size, seconds)
        super().__init__(tuple(range(size)), "gloo", "gloo", "undefined", mesh, store, seconds=seconds)


class _World:
    """What this process has started."""

    default: ProcessGroup | None = None
    groups: ClassVar[list[ProcessGroup]] = []
    made = 0  # groups, those that this process does not belong to included


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
    """Whether programs of several processes can be run: yes."""
    return True


def is_initialized() -> bool:
    """Whether there is a default group."""
    return _World.default is not None


def is_gloo_available() -> bool:
    """Whether groups on the CPU can be made: yes."""
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


def resolve(group_: Any) -> ProcessGroup:
    """The group meant by an argument."""
    if group_ is None:
        return _get_default_group()
    if not isinstance(group_, ProcessGroup):
        raise TypeError(f"expected a ProcessGroup or None, got {type(group_).__name__}")
    return group_


# -- how processes find each other --------------------------------------------------------------------------

_handlers: dict[str, Callable[..., Any]] = {}


def register_rendezvous_handler(scheme: str, handler: Callable[..., Any]) -> None:
    """Says how processes find each other by addresses with a scheme: a function (url, timeout) that yields (store,
    rank, size).  Raises RuntimeError for a scheme that is known."""
    if scheme in _handlers or scheme in ("env", "tcp", "file"):
        raise RuntimeError(f"Rendezvous handler for {scheme}:// already registered")
    _handlers[scheme] = handler


def _needed(name: str, given: int) -> int:
    if given != -1:
        return given
    if name not in os.environ:
        raise ValueError(f"Error initializing torch.distributed using env:// rendezvous: environment variable {name} "
                         "expected, but not set")  # fmt: skip
    return int(os.environ[name])


def rendezvous(url: str, rank: int = -1, world_size: int = -1, **kwargs: Any) -> Any:
    """Yields (store, rank, size) for an address: "env://", "tcp://host:port" or "file:///path", with rank and
    world_size behind "?" or as arguments.  Raises RuntimeError for other schemes, ValueError for what is missing."""
    parts = urllib.parse.urlsplit(url)
    timeout: timedelta = kwargs.get("timeout") or default_pg_timeout
    query = dict(urllib.parse.parse_qsl(parts.query))
    rank = int(query.get("rank", rank))
    world_size = int(query.get("world_size", world_size))
    if parts.scheme in _handlers:
        yield from _handlers[parts.scheme](url, timeout=timeout)
        return
    if parts.scheme not in ("env", "tcp", "file"):
        raise RuntimeError(f"No rendezvous handler for {parts.scheme}://")
    if parts.scheme == "env":
        rank, world_size = _needed("RANK", rank), _needed("WORLD_SIZE", world_size)
    if rank < 0 or world_size < 1:
        raise ValueError(f"{url}: rank and world_size are needed, got {rank} and {world_size}")
    store: Store
    if parts.scheme == "file":
        store = FileStore(parts.path or parts.netloc, world_size)
    else:
        host = os.environ.get("MASTER_ADDR", "") if parts.scheme == "env" else parts.hostname
        port = os.environ.get("MASTER_PORT") if parts.scheme == "env" else parts.port
        if not host or port is None:
            raise ValueError(f"{url}: the master's address is needed (MASTER_ADDR and MASTER_PORT, or tcp://host:port)")
        store = TCPStore(host, int(port), world_size, rank == 0, timeout, wait_for_workers=False)
    yield store, rank, world_size


def init_process_group(
    backend: str | None = None, init_method: str | None = None, timeout: timedelta | None = None, world_size: int = -1,
    rank: int = -1, store: Store | None = None, group_name: str = "", pg_options: Any = None, device_id: Any = None,
    _ranks: list[int] | None = None,
) -> None:  # fmt: skip
    """Starts the default group, and connects its processes over TCP.

    Args:
        backend: "gloo"; RuntimeError for those that are not there.
        init_method: how the processes find each other: "env://" (the default: MASTER_ADDR, MASTER_PORT, RANK and
            WORLD_SIZE from the environment), "tcp://host:port", "file:///path".
        timeout: how long an operation may take.
        world_size, rank: how many processes there are, and which this is; for one process without a store nothing else
            is needed.
        store: instead of ``init_method``.

    Raises ValueError if there is a group already or a size or rank is bad.
    """
    if _World.default is not None:
        raise ValueError("trying to initialize the default process group twice!")
    if timeout is not None and not isinstance(timeout, timedelta):
        raise TypeError(f"Expected timeout argument to be of type datetime.timedelta, got {timeout}")
    if store is not None and init_method is not None:
        raise ValueError("Cannot specify both init_method and store.")
    name = (backend or "gloo").lower()
    parts = [p.partition(":")[2] or p for p in name.split(",")]
    if not any(map(is_backend_available, parts)):
        raise RuntimeError(f"init_process_group(): the backend {backend!r} is not there; there is 'gloo'")
    size = int(os.environ.get("WORLD_SIZE", 1)) if world_size == -1 else world_size
    place = int(os.environ.get("RANK", 0)) if rank == -1 else rank
    if store is not None and (world_size < 1 or rank < 0):
        raise ValueError("world_size and rank are needed when using a store")
    if init_method is None and (size < 1 or not 0 <= place < size):
        raise ValueError(f"init_process_group(): rank {place} of a group of {size} processes does not exist")
    limit = timeout or default_pg_timeout
    if store is None and (size > 1 or init_method is not None):
        store, place, size = next(iter(rendezvous(init_method or "env://", rank, world_size, timeout=limit)))
        if not 0 <= place < size:
            raise ValueError(f"init_process_group(): rank {place} of a group of {size} processes does not exist")
    own = store if store is None else PrefixStore(f"default_pg/{_World.made}", store)
    if own is not None:
        own.set_timeout(limit)
    mesh = Mesh(own or HashStore(), place, size, limit.total_seconds())
    _World.default = ProcessGroup(
        range(size), "gloo", group_name or "0", "default_pg", mesh, own, _World.made, limit.total_seconds()
    )
    _World.made += 1
    _World.groups.append(_World.default)


def destroy_process_group(group: ProcessGroup | None = None) -> None:
    """Ends a group, or all of them with their connections; raises ValueError for one that does not exist."""
    if group is None or group is _World.default:
        _get_default_group()._mesh.close()
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
    """A group of some of the processes, all by default; all processes call it, those outside too.

    Raises ValueError for ranks that do not exist or repeat.
    """
    world = _get_default_group()
    wanted = list(world.ranks) if ranks is None else list(ranks)
    if len(set(wanted)) != len(wanted) or any(r not in world.ranks for r in wanted):
        raise ValueError(f"new_group(): the ranks {wanted} are not all among the group's: {list(world.ranks)}")
    number = _World.made
    _World.made += 1
    if world._mesh.rank not in wanted:
        return GroupMember.NON_GROUP_MEMBER
    seconds = world._seconds if timeout is None else timeout.total_seconds()
    made = ProcessGroup(
        sorted(wanted) if sort_ranks else wanted, "gloo", str(number), group_desc or "undefined", world._mesh,
        PrefixStore(str(number), world._store), number, seconds,
    )  # fmt: skip
    _World.groups.append(made)
    return made


def new_subgroups_by_enumeration(
    ranks_per_subgroup_list: list[list[int]], timeout: timedelta | None = None, backend: str | None = None,
    pg_options: Any = None, group_desc: str | None = None,
) -> tuple[Any, list[Any]]:  # fmt: skip
    """(the group that this process is in, all groups) of the lists of ranks; ValueError if one is in two of them."""
    if not ranks_per_subgroup_list:
        raise ValueError("The arg 'ranks_per_subgroup_list' cannot be empty")
    flat = [r for ranks in ranks_per_subgroup_list for r in ranks]
    if len(set(flat)) != len(flat):
        raise ValueError(f"a rank is in more than one of the groups {ranks_per_subgroup_list}")
    groups = [new_group(list(r), timeout, backend, pg_options, group_desc=group_desc) for r in ranks_per_subgroup_list]
    mine = next((g for g in groups if g != GroupMember.NON_GROUP_MEMBER), None)
    return mine, groups


def new_subgroups(
    group_size: int | None = None, group: ProcessGroup | None = None, timeout: timedelta | None = None,
    backend: str | None = None, pg_options: Any = None, group_desc: str | None = None,
) -> tuple[Any, list[Any]]:  # fmt: skip
    """(the group that this process is in, all groups) of ``group_size`` neighbours each; ValueError if they do not come
    out even."""
    ranks = resolve(group).ranks
    size = group_size or int(os.environ.get("LOCAL_WORLD_SIZE", len(ranks)))
    if size < 1 or len(ranks) % size:
        raise ValueError(f"The world size ({len(ranks)}) must be divisible by group_size={size}")
    parts = [list(ranks[i : i + size]) for i in range(0, len(ranks), size)]
    return new_subgroups_by_enumeration(parts, timeout, backend, pg_options, group_desc)


def split_group(
    parent_pg: ProcessGroup | None = None, split_ranks: list[list[int]] | None = None,
    timeout: timedelta | None = None, pg_options: Any = None, group_desc: str | None = None, backend: Any = None,
) -> ProcessGroup | None:  # fmt: skip
    """The group of those of ``split_ranks`` (ranks in ``parent_pg``) that this process is in, or None."""
    if not split_ranks:
        raise ValueError("split_ranks cannot be None or empty")
    parent = resolve(parent_pg)
    lists = [[parent.ranks[r] for r in ranks] for ranks in split_ranks]
    return new_subgroups_by_enumeration(lists, timeout, group_desc=group_desc)[0]  # type: ignore[no-any-return]


# -- ranks --------------------------------------------------------------------------------------------


def get_rank(group: ProcessGroup | None = None) -> int:
    """The rank of this process in a group, -1 if it is not in it."""
    return -1 if group == GroupMember.NON_GROUP_MEMBER else resolve(group).rank()


def get_world_size(group: ProcessGroup | None = None) -> int:
    """The number of processes in a group, -1 if this one is not in it."""
    return -1 if group == GroupMember.NON_GROUP_MEMBER else resolve(group).size()


def get_backend(group: ProcessGroup | None = None) -> Backend:
    """The name of a group's way of communicating."""
    return Backend(resolve(group)._backend)


def get_backend_config(group: ProcessGroup | None = None) -> str:
    """A group's ways of communicating by kinds of devices."""
    return str(BackendConfig(f"cpu:{resolve(group)._backend}"))


def get_global_rank(group: ProcessGroup, group_rank: int) -> int:
    """The rank in the default group of a process of a group; raises ValueError if there is none."""
    ranks = resolve(group).ranks
    if not 0 <= group_rank < len(ranks):
        raise ValueError(f"get_global_rank(): there is no process of rank {group_rank} in a group of {len(ranks)}")
    return ranks[group_rank]


def get_group_rank(group: ProcessGroup, global_rank: int) -> int:
    """The rank in a group of a process of the default group; raises ValueError if there is none."""
    ranks = resolve(group).ranks
    if global_rank not in ranks:
        raise ValueError(f"Global rank {global_rank} is not part of group {group}")
    return ranks.index(global_rank)


def get_process_group_ranks(group: ProcessGroup | None) -> list[int]:
    """The ranks in the default group of a group's processes."""
    return list(resolve(group).ranks)


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """The rank among the processes of this machine, $LOCAL_RANK; raises RuntimeError if nothing tells."""
    if "LOCAL_RANK" in os.environ:
        return int(os.environ["LOCAL_RANK"])
    if fallback_rank is None:
        raise RuntimeError(
            "LOCAL_RANK is not in the environment. Consider passing fallback_rank to allow `get_node_local_rank` to "
            "work, assuming you are not running in a multi-device context."
        )
    return int(fallback_rank)


def get_pg_count() -> int:
    """How many groups this process is in."""
    return len(_World.groups)
