"""Archives of records written one by one, as PyTorch's C++ writer does."""

from __future__ import annotations

import os
from typing import IO, Any

from ..tensor import Tensor
from .archive import ArchiveWriter
from .legacy import buffer_of

__all__ = ["DeserializationStorageContext", "PyTorchFileWriter", "SerializationStorageContext"]


class PyTorchFileWriter:
    """Writes the records of an archive to a file, by name, or to something with ``write``.

    ``write_end_of_file`` completes it.  Raises RuntimeError for a name that was written before, and for records after
    the end.
    """

    def __init__(
        self, name: str | os.PathLike[str] | IO[bytes], /, compute_crc32: bool = True, storage_alignment: int = 64
    ) -> None:
        path = None if hasattr(name, "write") else os.fspath(name)  # type: ignore[arg-type]
        self._folder = "archive" if path is None else os.path.splitext(os.path.basename(path))[0]
        self._own = None if path is None else open(path, "wb")  # closed at the end of the archive
        self._writer = ArchiveWriter(self._own or name, self._folder, compute_crc32)  # type: ignore[arg-type]
        self._records: set[str] = set()
        self._version, self._identity = 3, ""

    def archive_name(self) -> str:
        """The folder in the archive that all records lie in."""
        return self._folder

    def get_all_written_records(self) -> set[str]:
        """The names of the records so far."""
        return set(self._records)

    def set_min_version(self, arg0: int, /) -> None:
        """Readers must know this version of the format, at least."""
        self._version = max(self._version, arg0)

    def write_record(self, name: str, data: Any, size: int | None = None) -> None:
        """Writes the first ``size`` bytes of ``data``: bytes, an object with a buffer, or a storage."""
        self._check(name)
        storage = getattr(data, "_storage", None)
        contents = memoryview(buffer_of(storage) if storage is not None else data).cast("B")
        self._writer.add(name, contents if size is None else contents[:size])
        self._records.add(name)

    def write_record_metadata(self, name: str, size: int, /) -> None:
        """Leaves room for a record of ``size`` bytes, all zero."""
        self.write_record(name, bytes(size), size)

    def write_end_of_file(self) -> None:
        """Completes the archive."""
        self._check("version")
        self._writer.add("version", f"{self._version}\n".encode())
        self._writer.add("byteorder", b"little")
        self._identity = self._writer.identity().decode()
        self._writer.add(".data/serialization_id", self._identity.encode())
        self._writer.finish()
        if self._own is not None:
            self._own.close()
        self._records.add("version")

    def serialization_id(self) -> str:
        """A number that the names, sizes and check sums of the records make; empty until the end is written."""
        return self._identity

    def _check(self, name: str) -> None:
        if "version" in self._records:
            raise RuntimeError("PytorchStreamWriter: the archive is complete; nothing more can be written")
        if name in self._records:
            raise RuntimeError(f"PytorchStreamWriter: the record '{name}' was written before")


class SerializationStorageContext:
    """Numbers the storages of what is being written: the same memory keeps its number."""

    def __init__(self) -> None:
        self._numbers: dict[int, tuple[int, Any]] = {}

    def has_storage(self, arg0: Any, /) -> bool:
        """Whether a storage has a number."""
        return id(arg0._storage) in self._numbers

    def get_or_add_storage(self, arg0: Any, /) -> int:
        """The number of a storage, which it gets if it has none."""
        return self._numbers.setdefault(id(arg0._storage), (len(self._numbers), arg0))[0]


class DeserializationStorageContext:
    """The storages that have been read, as tensors by name."""

    def __init__(self) -> None:
        self._read: dict[str, Tensor] = {}

    def has_storage(self, arg0: str, /) -> bool:
        """Whether a storage of this name was read."""
        return arg0 in self._read

    def add_storage(self, arg0: str, arg1: Tensor, /) -> int:
        """Keeps what was read under a name; how many there are."""
        self._read[arg0] = arg1
        return len(self._read)

    def get_storage(self, arg0: str, arg1: Any = None, /) -> Tensor:
        """What was read under a name; raises RuntimeError if nothing was."""
        if arg0 not in self._read:
            raise RuntimeError(f"DeserializationStorageContext: no storage '{arg0}' was read")
        return self._read[arg0]
