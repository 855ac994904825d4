"""Saving objects with tensors, and loading them: PyTorch's ``.pt`` files, without executing anything in them."""

from __future__ import annotations

import io
import mmap as mmap_module
import os
import pickle
import stat
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import IO, Any, TypeAlias

from ..device import device, meta
from ..ops.storage_classes import TypedStorage, UntypedStorage
from ..storage import Storage, allocate
from . import legacy
from .archive import ArchiveError, Reader, is_zip, write_archive
from .pickling import Pickler, StorageTable
from .rebuild import LoadedStorage, dtype_of, loaded, memory_of
from .restore import (
    CheckpointGlobals,
    NameCollector,
    add_safe_globals,
    clear_safe_globals,
    get_safe_globals,
    safe_globals,
)
from .unpickle import Unpickler, UnpicklingError

__all__ = [
    "LoadEndianness",
    "SourceChangeWarning",
    "add_safe_globals",
    "check_module_version_greater_or_equal",
    "clear_safe_globals",
    "default_restore_location",
    "get_crc32_options",
    "get_default_load_endianness",
    "get_default_mmap_options",
    "get_safe_globals",
    "get_unsafe_globals_in_checkpoint",
    "load",
    "location_tag",
    "mkdtemp",
    "register_package",
    "safe_globals",
    "save",
    "set_crc32_options",
    "set_default_load_endianness",
    "set_default_mmap_options",
    "skip_data",
    "validate_cuda_device",
]

DEFAULT_PROTOCOL = 2
STORAGE_KEY_SEPARATOR = ","
MAGIC_NUMBER = legacy.MAGIC
PROTOCOL_VERSION = 1001

FILE_LIKE: TypeAlias = "str | os.PathLike[str] | IO[bytes]"
MAP_LOCATION: TypeAlias = "Callable[[UntypedStorage, str], UntypedStorage] | device | str | dict[str, str] | None"

mkdtemp = tempfile.mkdtemp


class SourceChangeWarning(Warning):
    """The source of a saved class has changed; kept for programs that filter it, never given."""


class LoadEndianness(Enum):
    """The order of bytes that a file without a mark of it is read in."""

    NATIVE = 1
    LITTLE = 2
    BIG = 3


class _Options(threading.local):
    """What the ``set_*`` functions set."""

    endianness: LoadEndianness | None = None
    mmap_flags: int = getattr(mmap_module, "MAP_PRIVATE", 2)
    crc32: bool = True
    skip: bool = False


_options = _Options()
_packages: list[tuple[int, Callable[[Any], str | None], Callable[[Any, str], Any]]] = []


# -- options ---------------------------------------------------------------------------------------
def get_default_load_endianness() -> LoadEndianness | None:
    """The order of bytes assumed of files that do not say theirs; None means little."""
    return _options.endianness


def set_default_load_endianness(endianness: LoadEndianness | None) -> None:
    """Set the order of bytes assumed of files that do not say theirs."""
    if not isinstance(endianness, LoadEndianness) and endianness is not None:
        raise TypeError("Invalid argument type in function set_default_load_endianness")
    _options.endianness = endianness


def get_crc32_options() -> bool:
    """Whether :func:`save` computes check sums, and :func:`load` tests them."""
    return _options.crc32


def set_crc32_options(compute_crc32: bool) -> None:
    """Choose whether :func:`save` computes check sums and :func:`load` tests them; without, damage stays unseen."""
    _options.crc32 = compute_crc32


def get_default_mmap_options() -> int:
    """How ``load(mmap=True)`` maps files: ``mmap.MAP_PRIVATE`` or ``mmap.MAP_SHARED``."""
    return _options.mmap_flags


class set_default_mmap_options:
    """Choose how ``load(mmap=True)`` maps files; as a context manager, for the length of a ``with`` block.

    ``mmap.MAP_PRIVATE``: writes to tensors stay in memory. ``mmap.MAP_SHARED``: they go to the file.
    """

    def __init__(self, flags: int) -> None:
        if flags not in (getattr(mmap_module, "MAP_PRIVATE", 2), getattr(mmap_module, "MAP_SHARED", 1)):
            raise ValueError(
                "Invalid argument in function set_default_mmap_options, expected mmap.MAP_PRIVATE or mmap.MAP_SHARED, "
                f"but got {flags}"
            )
        self.prev = _options.mmap_flags
        _options.mmap_flags = flags

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        _options.mmap_flags = self.prev


class skip_data:
    """Within the ``with`` block, :func:`save` leaves room for storages without writing them, and :func:`load` leaves
    them uninitialised.
    """

    def __init__(self, materialize_fake_tensors: bool = False) -> None:
        self.materialize_fake_tensors = materialize_fake_tensors

    def __enter__(self) -> None:
        self._before = _options.skip
        _options.skip = True

    def __exit__(self, *exception: object) -> None:
        _options.skip = self._before


# -- devices ---------------------------------------------------------------------------------------
def register_package(
    priority: int,
    tagger: Callable[[Any], str | None],
    deserializer: Callable[[Any, str], Any],
) -> None:
    """Register how storages of another kind of device are named and restored; low priorities are asked first.

    Args:
        tagger: the location of a storage, or None.
        deserializer: the storage moved to a location, or None.
    """
    _packages.append((priority, tagger, deserializer))
    _packages.sort(key=lambda package: package[0])


def location_tag(storage: Any) -> str:
    """Where a storage is, as files say it."""
    for _, tagger, _ in _packages:
        found = tagger(storage)
        if found:
            return found
    return str(storage.device)


def default_restore_location(storage: Any, location: str) -> Any:
    """The storage moved to where it was saved; raises RuntimeError when that is no device of this machine."""
    for _, _, deserializer in _packages:
        found = deserializer(storage, location)
        if found is not None:
            return found
    if location == "cpu" or location.startswith("cpu:"):
        return storage
    if location == "meta":
        return UntypedStorage(Storage(0, storage.nbytes(), device_=meta))
    if location.startswith("cuda"):
        validate_cuda_device(location)
    raise RuntimeError(
        f"don't know how to restore data location of {type(storage).__name__} (tagged with {location}): pass "
        "map_location='cpu' to load it to memory"
    )


def validate_cuda_device(location: str) -> int:
    """The index of a CUDA device that exists; raises RuntimeError, for this build has none."""
    raise RuntimeError(
        f"Attempting to deserialize object on CUDA device {location!r} but torch.cuda.is_available() is False. If you "
        "are running on a cpu-only machine, please use torch.load with map_location=torch.device('cpu') to map your "
        "storages to the cpu."
    )


def restorer(map_location: Any) -> Callable[[Any, str], Any]:
    """``load``'s ``map_location`` as a function of a storage and the location that its file names."""
    if map_location is None:
        return default_restore_location
    if isinstance(map_location, dict):
        return lambda storage, location: default_restore_location(storage, str(map_location.get(location, location)))
    if isinstance(map_location, (str, device)) and str(map_location) == "meta":
        return _to_meta
    if isinstance(map_location, (str, device)):
        return lambda storage, _: default_restore_location(storage, str(map_location))
    if callable(map_location):

        def restore(storage: Any, location: str) -> Any:
            found = map_location(storage, location)
            return default_restore_location(storage, location) if found is None else found

        return restore
    raise TypeError(
        f"load: map_location must be None, a device, a string, a dict or a function, got {type(map_location).__name__}"
    )


def check_module_version_greater_or_equal(
    module: Any, req_version_tuple: tuple[Any, ...], error_if_malformed: bool = True
) -> bool:
    """Whether ``module.__version__`` is at least a version; a malformed one raises RuntimeError or warns."""
    try:
        found = tuple(type(wanted)(part) for wanted, part in zip(req_version_tuple, module.__version__.split(".")))
    except (AttributeError, ValueError) as error:
        message = f"'{module.__name__}' module version string is malformed: {module.__version__!r}"
        if error_if_malformed:
            raise RuntimeError(message) from error
        warnings.warn(message + "; continuing as if it were new enough", stacklevel=2)
        return True
    return found >= req_version_tuple


# -- files -----------------------------------------------------------------------------------------
@contextmanager
def _written_whole(path: str) -> Iterator[IO[bytes]]:
    """A file for writing that takes the place of ``path`` only when all has been written."""
    path = os.path.realpath(path)
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "wb") as file:  # a pipe or device, which cannot be replaced
            yield file
        return
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise RuntimeError(f"Parent directory {folder} does not exist.")
    handle, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(path)[:100]}.", suffix=".tmp", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(temporary, _mode_for(path))
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _mode_for(path: str) -> int:
    """The permissions of the file that is replaced, or those a new one would have."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def _is_path(f: Any) -> bool:
    return isinstance(f, (str, os.PathLike))


def _folder_of(f: Any) -> str:
    """The folder within an archive: the file's name without its ending."""
    if not _is_path(f):
        return "archive"
    name = os.path.basename(os.fspath(f))
    stem = name[: name.rfind(".")] if name.rfind(".") > 0 else name
    return stem or "archive"


def save(
    obj: object,
    f: FILE_LIKE,
    pickle_module: Any = pickle,
    pickle_protocol: int = DEFAULT_PROTOCOL,
    _use_new_zipfile_serialization: bool = True,
    _disable_byteorder_record: bool = False,
) -> None:
    """Save an object, with all tensors in it, to a file that this package and PyTorch can load.

    Tensors that share memory still do when they are loaded; of a view the whole storage is saved. A file given by
    its path is replaced only when all of the new one has been written.

    Args:
        obj: the object: tensors, containers of them, state dictionaries, modules.
        f: a path, or a file open for writing in binary mode.
        pickle_module: accepted; objects are always written by this package's pickler.
        pickle_protocol: the protocol of the pickle inside.

    Raises:
        AttributeError: ``f`` is neither a path nor has ``write``.
        RuntimeError: the folder of the path does not exist.
    """
    if not _is_path(f) and not hasattr(f, "write"):
        raise AttributeError(
            f"expected 'f' to be string, path, or a file-like object with a 'write' attribute, got {type(f).__name__}"
        )
    if not _use_new_zipfile_serialization:
        _save_to(f, lambda file: legacy.save_legacy(obj, file, pickle_protocol))
        return
    table = StorageTable()
    buffer = io.BytesIO()
    Pickler(buffer, pickle_protocol, table).dump(obj)
    byteorder = None if _disable_byteorder_record else sys.byteorder
    contents = ((key, _bytes_of(storage)) for key, storage in table.storages.items())
    _save_to(
        f,
        lambda file: write_archive(file, _folder_of(f), buffer.getvalue(), contents, byteorder, get_crc32_options()),
    )


def _save_to(f: Any, write: Callable[[IO[bytes]], None]) -> None:
    if _is_path(f):
        with _written_whole(os.fspath(f)) as file:
            write(file)
    else:
        write(f)
        if hasattr(f, "flush"):
            f.flush()


def _bytes_of(storage: Storage) -> Any:
    if _options.skip:
        return bytes(storage.nbytes)
    return legacy.buffer_of(storage)


# -- loading ---------------------------------------------------------------------------------------
def load(
    f: FILE_LIKE,
    map_location: MAP_LOCATION = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = None,
    mmap: bool | None = None,
    **pickle_load_args: Any,
) -> Any:
    """Load an object that :func:`save`, or PyTorch, saved. Nothing in the file is executed.

    Args:
        f: a path, or a file open for reading in binary mode with ``seek``.
        map_location: where storages go: a device, a dict from saved to new locations, or a function of storage and
            location; None puts them back where they were.
        pickle_module: accepted; objects are always read by this package's unpickler.
        weights_only: allow only tensors, plain containers and what :func:`add_safe_globals` was given (the
            default). False also allows modules and other classes whose instances are plain data.
        mmap: map the file into memory instead of reading it; it must be given by its path.
        pickle_load_args: ``encoding`` and ``errors`` for strings of Python 2.

    Raises:
        UnpicklingError: the file names something that is not allowed, or its pickle is damaged.
        RuntimeError: the archive is damaged, or a device does not exist.
    """
    if weights_only is None:
        forced = os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "0").lower() in ("1", "y", "yes", "true")
        weights_only = not (forced and pickle_module is None)
    if weights_only and pickle_module is not None:
        raise RuntimeError("Can not safely load weights when explicit pickle_module is specified")
    if mmap and not _is_path(f):
        raise ValueError("f must be a file path in order to use the mmap argument")
    unknown = set(pickle_load_args) - {"encoding", "errors", "fix_imports", "buffers"}
    if unknown:
        raise TypeError(f"load: unknown arguments {sorted(unknown)}")
    encoding = pickle_load_args.get("encoding", "utf-8")
    errors = pickle_load_args.get("errors", "strict")
    names = CheckpointGlobals(weights_only)
    restore = restorer(map_location)
    if not _is_path(f):
        _check_readable(f)
        return _load_file(f, "archive", names, restore, None, encoding, errors)
    path = os.fspath(f)
    with open(path, "rb") as file:
        mapping = _map(file) if mmap else None
        return _load_file(file, path, names, restore, mapping, encoding, errors)


def _check_readable(f: Any) -> None:
    for method in ("read", "seek", "tell"):
        if not hasattr(f, method):
            raise AttributeError(
                f"'{type(f).__name__}' object has no attribute '{method}'. You can only torch.load from a file that "
                "is seekable. Please pre-load the data into a buffer like io.BytesIO and try to load from it instead."
            )


def _map(file: IO[bytes]) -> mmap_module.mmap:
    """The whole file in memory, with writes going where the option says."""
    shared = _options.mmap_flags == getattr(mmap_module, "MAP_SHARED", 1)
    if shared:
        with open(file.name, "r+b") as writable:
            return mmap_module.mmap(writable.fileno(), 0, access=mmap_module.ACCESS_WRITE)
    return mmap_module.mmap(file.fileno(), 0, access=mmap_module.ACCESS_COPY)


def _load_file(
    file: IO[bytes], name: str, names: CheckpointGlobals, restore: Any, mapping: Any, encoding: str, errors: str
) -> Any:
    start = file.tell()
    head = file.read(512)
    file.seek(start)
    if is_zip(head):
        if start:
            file = io.BytesIO(file.read())
        return _load_archive(Reader(file, name, _options.crc32), names, restore, mapping, encoding, errors)
    if mapping is not None:
        raise RuntimeError(
            "mmap can only be used with files saved with `torch.save(_use_new_zipfile_serialization=True), "
            f"please torch.save your checkpoint with this option in order to use mmap: {name}"
        )

    def make(nbytes: int, location: str) -> Storage:
        return _checked(restore(UntypedStorage(allocate(nbytes)), location), nbytes)

    if head[257:262] == b"ustar":
        return legacy.load_tar(file, names, make, encoding)
    data = file.read()
    if not data:
        raise EOFError(f"Ran out of input: {name} is empty")
    if data[:1] != b"\x80":
        raise UnpicklingError(f"{name} is no file that save() wrote: it starts with {data[:8]!r}")
    return legacy.load_legacy(data, names, make, encoding)


def _checked(storage: Any, nbytes: int) -> Storage:
    """The memory of what a ``map_location`` function made of a storage."""
    if not isinstance(storage, (TypedStorage, UntypedStorage)) or storage.nbytes() != nbytes:
        raise RuntimeError(
            f"map_location must return a storage of {nbytes} bytes, but returned {type(storage).__name__}"
        )
    return memory_of(storage)


def _load_archive(
    reader: Reader, names: CheckpointGlobals, restore: Any, mapping: Any, encoding: str, errors: str
) -> Any:
    if "constants.pkl" in reader:
        raise RuntimeError("this is a TorchScript archive, which torch.jit.load reads")
    if "data.pkl" not in reader:
        raise ArchiveError("the archive holds no data.pkl: it is not a file that save() wrote")
    return load_entry(reader, "data", names, restore, mapping, encoding, errors)


def load_entry(
    reader: Reader, name: str, names: CheckpointGlobals, restore: Any, mapping: Any = None, encoding: str = "utf-8",
    errors: str = "strict",
) -> Any:  # fmt: skip
    """The object that is pickled as ``name``.pkl in an archive, its storages in the folder ``name``."""
    order = _byte_order(reader)
    storages: dict[str, LoadedStorage] = {}

    def load_storage(pid: Any) -> Any:
        type_, key, location, count = legacy.parse_id(pid)
        found = storages.get(key)
        nbytes = count * (1 if type_ is None else type_.itemsize)
        if found is None:
            entry = f"{name}/{key}"
            if reader.size(entry) != nbytes:
                raise UnpicklingError(
                    f"storage {key!r}: the archive holds {reader.size(entry)} bytes, "
                    f"its tensors were saved with {nbytes}"
                )
            storage = _read_storage(reader, entry, nbytes, order, type_, mapping, restore is _to_meta)
            found = storages[key] = loaded(_checked(restore(UntypedStorage(storage), location), nbytes), type_)
        elif memory_of(found).nbytes != nbytes:
            raise UnpicklingError(f"storage {key!r} is given two sizes, {memory_of(found).nbytes} and {nbytes} bytes")
        return found if dtype_of(found) is type_ else loaded(memory_of(found), type_)

    pickled = reader.read(f"{name}.pkl")
    return Unpickler(pickled, names, load_storage, encoding, errors).load()


def _to_meta(storage: Any, location: str) -> Any:
    return UntypedStorage(Storage(0, storage.nbytes(), device_=meta))


def _byte_order(reader: Reader) -> str:
    if "byteorder" not in reader:
        return {LoadEndianness.BIG: "big", LoadEndianness.NATIVE: sys.byteorder}.get(_options.endianness, "little")  # type: ignore[arg-type]
    mark = reader.read("byteorder")
    if mark not in (b"little", b"big"):
        raise ValueError(f"Unknown endianness type: {mark!r:.40}")
    return mark.decode()


def _read_storage(reader: Reader, entry: str, nbytes: int, order: str, type_: Any, mapping: Any, skip: bool) -> Storage:
    """A storage with the bytes of an entry: mapped, or read."""
    native = order == sys.byteorder or type_ is None or type_.itemsize == 1
    if mapping is not None and native and not skip:
        address = reader.map(entry, nbytes, mapping)
        # Kernels want elements at multiples of their size; every file that save() writes has them there.
        if address is not None and (type_ is None or address % type_.itemsize == 0):
            return Storage(address, nbytes, owner=mapping)
    if skip:
        return Storage(0, nbytes, device_=meta)
    storage = allocate(nbytes)
    if _options.skip or not nbytes:
        return storage
    reader.read_into(entry, storage.ptr, nbytes)
    if not native:
        target = legacy.buffer_of(storage)
        target[:] = legacy.in_native_order(bytes(target), order, type_)
    return storage


def get_unsafe_globals_in_checkpoint(f: FILE_LIKE) -> list[str]:
    """The names in a file that ``load(weights_only=True)`` would refuse, without loading it."""
    collector = NameCollector()

    def collect(file: IO[bytes]) -> list[str]:
        head = file.read(4)
        file.seek(0)
        if not is_zip(head):
            raise ValueError(
                "Expected input to be a checkpoint returned by torch.save but got a torchscript checkpoint"
            )
        data = Reader(file, "archive").read("data.pkl")
        Unpickler(data, collector, lambda _: collector.call(None, ())).load()
        return sorted(collector.refused)

    if not _is_path(f):
        return collect(f)  # type: ignore[arg-type]
    with open(os.fspath(f), "rb") as file:  # type: ignore[arg-type]
        return collect(file)
