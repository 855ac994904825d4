"""PyTorch's zip archives: reading with every claim of the file checked, and writing.

An archive is a zip file of uncompressed entries in one folder: ``data.pkl`` (the pickle), ``data/KEY`` (the bytes of
storages, each starting at a multiple of 64 bytes), ``byteorder``, ``version`` and a few marks. The format of zip
files is PKWARE's APPNOTE 6.3.10.
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import mmap
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, Any

__all__ = ["ALIGNMENT", "ArchiveError", "Reader", "is_zip", "write_archive"]

ALIGNMENT = 64
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_LOCAL_MAGIC = b"PK\x03\x04"
# Deflate cannot shrink more than about a thousandfold; what claims more than this many times the size of the whole
# file was made to exhaust memory.
_LARGEST_EXPANSION = 64
_PADDING_TAG = b"FB"


class ArchiveError(RuntimeError):
    """The file is not a well-formed archive."""


def is_zip(head: bytes) -> bool:
    """Whether a file that starts with ``head`` is a zip file."""
    return head[:4] in (_LOCAL_MAGIC, b"PK\x05\x06")


class Reader:
    """The entries of an archive.

    Opening checks the directory: one folder, plain names, no entry twice, none encrypted, no two entries sharing
    bytes, nothing beyond the end of the file, and no claim to expand to far more than the file holds. The check sum
    of an entry is tested when it is read (0 means that the writer made none), unless ``check_sums`` is false.

    Raises:
        ArchiveError: something of this does not hold.
    """

    def __init__(self, file: IO[bytes], name: str, check_sums: bool = True) -> None:
        self._check_sums = check_sums
        self._file = file
        self._name = name
        try:
            self._zip = zipfile.ZipFile(file)
            infos = self._zip.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, struct.error, NotImplementedError) as error:
            raise ArchiveError(
                f"PytorchStreamReader failed reading zip archive {name}: {error}. The file is truncated or damaged, "
                "or not a file that save() wrote"
            ) from error
        size = file.seek(0, os.SEEK_END)
        self.folder = self._check_names(infos)
        self._entries = {info.filename[len(self.folder) + 1 :]: info for info in infos}
        self._starts = self._check_places(infos, size)

    def _fail(self, why: str) -> ArchiveError:
        return ArchiveError(f"invalid archive {self._name}: {why}")

    def _check_names(self, infos: list[zipfile.ZipInfo]) -> str:
        if not infos:
            raise self._fail("it holds no entries")
        folder = infos[0].filename.split("/")[0]
        seen = set()
        for info in infos:
            parts = info.filename.split("/")
            if parts[0] != folder or len(parts) < 2:
                raise self._fail(f"entry {info.filename!r} lies outside of the folder {folder!r}")
            if any(part in ("", ".", "..") for part in parts) or "\\" in info.filename:
                raise self._fail(f"entry {info.filename!r} has a name that is no plain path")
            if info.filename in seen:
                raise self._fail(f"entry {info.filename!r} is there twice")
            seen.add(info.filename)
        return folder

    def _check_places(self, infos: list[zipfile.ZipInfo], size: int) -> dict[str, int]:
        """Where the bytes of every entry begin."""
        starts, spans, total = {}, [], 0
        for info in infos:
            if info.flag_bits & 0x1:
                raise self._fail(f"entry {info.filename!r} is encrypted")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise self._fail(f"entry {info.filename!r} is compressed by method {info.compress_type}")
            if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
                raise self._fail(f"entry {info.filename!r} has {info.file_size} bytes but stores {info.compress_size}")
            if info.header_offset < 0:  # zipfile counts from where it believes the archive to begin
                raise self._fail(f"entry {info.filename!r} would begin at byte {info.header_offset}")
            self._file.seek(info.header_offset)
            header = self._file.read(_LOCAL_HEADER.size)
            if len(header) != _LOCAL_HEADER.size or header[:4] != _LOCAL_MAGIC:
                raise self._fail(f"entry {info.filename!r} has no header at offset {info.header_offset}")
            *_, name_length, extra_length = _LOCAL_HEADER.unpack(header)
            start = info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
            end = start + info.compress_size
            if end > size:
                raise self._fail(f"entry {info.filename!r} ends at byte {end} of a file of {size}: it is truncated")
            starts[info.filename] = start
            spans.append((info.header_offset, end, info.filename))
            total += info.file_size
        if total > _LARGEST_EXPANSION * max(size, 1024):
            raise self._fail(f"its entries claim {total} bytes, the file has {size}")
        spans.sort()
        for (_, end, first), (begin, _, second) in itertools.pairwise(spans):
            if begin < end:
                raise self._fail(f"entries {first!r} and {second!r} overlap")
        return starts

    def __contains__(self, entry: str) -> bool:
        return entry in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def size(self, entry: str) -> int:
        """The number of bytes of an entry."""
        return self._info(entry).file_size

    def _info(self, entry: str) -> zipfile.ZipInfo:
        try:
            return self._entries[entry]
        except KeyError:
            raise self._fail(f"file not found: {self.folder}/{entry}") from None

    def read(self, entry: str) -> bytes:
        """The bytes of an entry."""
        info = self._info(entry)
        buffer = bytearray(info.file_size)
        self._read_into(info, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, entry: str, address: int, nbytes: int) -> None:
        """Read an entry of exactly ``nbytes`` bytes to memory at ``address``."""
        info = self._info(entry)
        if info.file_size != nbytes:
            raise self._fail(f"entry {entry!r} has {info.file_size} bytes, its storage {nbytes}")
        if nbytes:
            self._read_into(info, memoryview((ctypes.c_char * nbytes).from_address(address)).cast("B"))

    def _read_into(self, info: zipfile.ZipInfo, target: memoryview) -> None:
        if info.compress_type == zipfile.ZIP_STORED:
            self._file.seek(self._starts[info.filename])
            done = 0
            while done < len(target):
                count = _fill(self._file, target[done:])
                if not count:
                    raise self._fail(f"entry {info.filename!r} ends early")
                done += count
            if self._check_sums and info.CRC and zlib.crc32(target) != info.CRC:
                raise self._fail(
                    f"bad check sum (CRC-32) of entry {info.filename!r}: the file was damaged, or changed through a "
                    "shared mapping; torch.serialization.set_crc32_options(False) reads it all the same"
                )
            return
        try:
            with self._zip.open(info) as stream:
                target[:] = stream.read(len(target) + 1)
        except (zipfile.BadZipFile, zlib.error, ValueError, EOFError) as error:
            raise self._fail(f"entry {info.filename!r} cannot be decompressed: {error}") from error

    def map(self, entry: str, nbytes: int, mapping: mmap.mmap) -> int | None:
        """The address of an entry within a mapping of the whole file; None when it is compressed."""
        info = self._info(entry)
        if info.file_size != nbytes:
            raise self._fail(f"entry {entry!r} has {info.file_size} bytes, its storage {nbytes}")
        if info.compress_type != zipfile.ZIP_STORED:
            return None
        return ctypes.addressof(ctypes.c_char.from_buffer(mapping, self._starts[info.filename])) if nbytes else 0

    def start(self, entry: str) -> int:
        """The offset in the file of an entry's first byte."""
        return self._starts[self._info(entry).filename]


def _fill(file: IO[bytes], target: memoryview) -> int:
    """Read into ``target`` from a file that may know no ``readinto``; the number of bytes read."""
    readinto = getattr(file, "readinto", None)
    if readinto is not None:
        return readinto(target) or 0
    chunk = file.read(len(target))
    target[: len(chunk)] = chunk
    return len(chunk)


def write_archive(
    file: IO[bytes], folder: str, pickle: bytes, storages: Iterable[tuple[str, Any]], byteorder: str | None, crc: bool
) -> None:
    """Write an archive as PyTorch lays it out.

    Args:
        folder: the folder that holds all entries.
        pickle: the bytes of ``data.pkl``.
        storages: key and contents (a buffer of bytes) of every storage.
        byteorder: "little" or "big", or None to leave the mark out.
        crc: whether to compute check sums.
    """
    writer = ArchiveWriter(file, folder, crc)
    writer.add("data.pkl", pickle)
    writer.add(".format_version", b"1")
    writer.add(".storage_alignment", str(ALIGNMENT).encode())
    if byteorder is not None:
        writer.add("byteorder", byteorder.encode())
    for key, contents in storages:
        writer.add(f"data/{key}", contents)
    writer.add("version", b"3\n")
    writer.add(".data/serialization_id", writer.identity())
    writer.finish()


class ArchiveWriter:
    """Writes entries without compression, each aligned by padding in its header."""

    _CENTRAL = struct.Struct("<4s6H3I5H2I")
    _FLAGS = 0x0800  # names are UTF-8
    _LIMIT = 0xFFFFFFFF

    def __init__(self, file: IO[bytes], folder: str, crc: bool) -> None:
        self._file, self._folder, self._crc = file, folder, crc
        self._at = 0
        self._directory: list[bytes] = []
        self._digest = hashlib.sha256()

    def _write(self, data: Any) -> None:
        view = memoryview(data)
        while len(view):  # a raw file may take only a part at a time
            written = self._file.write(view)
            if written is None or written >= len(view):
                break
            view = view[written:]
        self._at += memoryview(data).nbytes

    def add(self, entry: str, contents: Any) -> None:
        """Append an entry; ``contents`` is a contiguous buffer."""
        name = f"{self._folder}/{entry}".encode()
        contents = memoryview(contents).cast("B")
        size = len(contents)
        crc = zlib.crc32(contents) if self._crc else 0
        self._digest.update(struct.pack("<IQ", crc, size) + name)
        offset = self._at
        big = size >= self._LIMIT
        wide = struct.pack("<HHQQ", 1, 16, size, size) if big else b""
        unpadded = offset + _LOCAL_HEADER.size + len(name) + len(wide) + 4
        padding = -unpadded % ALIGNMENT
        extra = wide + struct.pack("<2sH", _PADDING_TAG, padding) + b"Z" * padding
        short = self._LIMIT if big else size
        self._write(
            _LOCAL_HEADER.pack(
                _LOCAL_MAGIC, 45 if big else 10, self._FLAGS, 0, 0, 0x21, crc, short, short, len(name), len(extra)
            )
            + name
            + extra
        )
        self._write(contents)
        far = offset >= self._LIMIT
        wide_values = ([size, size] if big else []) + ([offset] if far else [])
        wide = struct.pack(f"<HH{len(wide_values)}Q", 1, 8 * len(wide_values), *wide_values) if wide_values else b""
        needed = 45 if wide_values else 10
        self._directory.append(
            self._CENTRAL.pack(
                b"PK\x01\x02", needed, needed, self._FLAGS, 0, 0, 0x21, crc, short, short, len(name), len(wide),
                0, 0, 0, 0, self._LIMIT if far else offset,
            )
            + name
            + wide
        )  # fmt: skip

    def identity(self) -> bytes:
        """Forty digits that depend on the contents."""
        return f"{int.from_bytes(self._digest.digest()[:16], 'little'):040d}".encode()

    def finish(self) -> None:
        """Write the directory."""
        start, count = self._at, len(self._directory)
        directory = b"".join(self._directory)
        self._write(directory)
        if count >= 0xFFFF or start >= self._LIMIT or len(directory) >= self._LIMIT:
            end = self._at
            self._write(
                struct.pack("<4sQ2H2I4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(directory), start)
                + struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
            )
        self._write(
            struct.pack(
                "<4s4H2IH", b"PK\x05\x06", 0, 0, min(count, 0xFFFF), min(count, 0xFFFF),
                min(len(directory), self._LIMIT), min(start, self._LIMIT), 0,
            )
        )  # fmt: skip
