"""The records of a ``.pt`` file one by one, under the name that PyTorch gives them."""

from __future__ import annotations

import os
import zipfile
from typing import IO, Any

from ..ops.interop import frombuffer

__all__ = ["PyTorchFileReader"]


class PyTorchFileReader:
    """Reads single records of an archive written by ``torch.save``; raises RuntimeError for other files."""

    def __init__(self, file: str | os.PathLike[str] | IO[bytes], /) -> None:
        try:
            self._zip = zipfile.ZipFile(file)
        except zipfile.BadZipFile as error:
            raise RuntimeError(f"PytorchStreamReader failed reading zip archive: {error}") from error
        names = self._zip.namelist()
        self._folder = names[0].partition("/")[0] if names else "archive"

    def archive_name(self) -> str:
        """The folder in the archive that all records lie in."""
        return self._folder

    def get_all_records(self) -> list[str]:
        """The names of the records."""
        return [n.partition("/")[2] for n in self._zip.namelist()]

    def has_record(self, name: str) -> bool:
        """Whether there is a record of this name."""
        return f"{self._folder}/{name}" in self._zip.NameToInfo

    def get_record(self, name: str) -> bytes:
        """The bytes of a record; raises RuntimeError if there is none of this name or it is damaged."""
        try:
            return self._zip.read(f"{self._folder}/{name}")
        except (KeyError, zipfile.BadZipFile) as error:
            raise RuntimeError(f"PytorchStreamReader failed locating file {name}: {error}") from error

    def get_storage_from_record(self, name: str, numel: int, dtype: Any) -> Any:
        """A tensor of ``numel`` elements that holds a record."""
        data = self.get_record(name)
        if len(data) < numel * dtype.itemsize:
            raise RuntimeError(f"record {name} holds {len(data)} bytes, fewer than {numel} elements of {dtype}")
        return frombuffer(bytearray(data), dtype=dtype, count=numel)

    def get_record_offset(self, name: str) -> int:
        """Where a record's bytes start in the file."""
        info = self._zip.getinfo(f"{self._folder}/{name}")
        assert self._zip.fp is not None
        self._zip.fp.seek(info.header_offset + 26)
        lengths = self._zip.fp.read(4)
        return info.header_offset + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")
