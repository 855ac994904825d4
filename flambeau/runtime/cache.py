"""Compiled kernels on disk, so that a second process compiles nothing.

One file for each kernel, named by the digest of everything that determines its code.  The cache may only ever save
time: a folder that cannot be used is reported by one warning and done without, a damaged file is removed and its kernel
compiled again.

Because its files are executed, the folder must be private: it is made with mode 0700, and used only if it belongs to
the user (or to root) and nobody else may write to it.  It is opened once and its files are reached through that handle,
so that exchanging the folder after the check achieves nothing.

Files are written under another name and renamed, so that readers see all of a file or none of it.  When the folder
has outgrown its bound, what was used least recently goes.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import stat
import time
import warnings
from collections.abc import Iterable
from functools import cache as remember
from pathlib import Path

from .. import settings

__all__ = ["DiskCache", "current", "digest"]

_MAGIC = b"flambeau kernel 1\n"
_CHECKSUM = hashlib.sha256().digest_size
_TOUCH_AFTER = 24 * 3600  # a file's time of last use is kept to the day
_ABANDONED = 3600  # age of a temporary file that nobody is going to rename any more
_SWEEP_EVERY = 100  # writes between two looks at the size of the folder

# Folders whose Python sources determine the code of a kernel with a given key.
_GENERATORS = ("target", "loop", "graph", "template", "runtime")


_STARTED = time.time()


@remember
def _generation() -> bytes:
    """Digest of what makes code out of a key: the sources of the code generators and the version of LLVM.

    ``b""`` if a source was changed since this process read it, as happens to developers: its code would be stored
    under the digest of another.
    """
    total = hashlib.sha256(_MAGIC)
    package = Path(__file__).parent.parent
    for folder in _GENERATORS:
        for path in sorted((package / folder).rglob("*.py")):
            total.update(path.relative_to(package).as_posix().encode() + b"\0")
            total.update(hashlib.sha256(path.read_bytes()).digest())
            if _STARTED - 2 < path.stat().st_mtime <= time.time() + 1:
                return b""
    # The version file is read and not imported: importing llvmlite loads LLVM.
    spec = importlib.util.find_spec("llvmlite")
    if spec is not None and spec.origin is not None:
        version = Path(spec.origin).with_name("_version.py")
        total.update(version.read_bytes() if version.exists() else spec.origin.encode())
    return total.digest()


def digest(*parts: str) -> str:
    """The name under which a kernel is kept: of its key's parts and of the code generators."""
    total = hashlib.sha256(_generation())
    for part in parts:
        data = part.encode()
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()


class DiskCache:
    """The cache in the folder ``directory``, of at most about ``limit`` bytes.  No method raises."""

    def __init__(self, directory: str, limit: int) -> None:
        self.directory = directory
        self.limit = limit
        self._writes = 0
        self._warned = False
        self._handle: int | None = self._open()

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            with contextlib.suppress(OSError):
                os.close(self._handle)  # type: ignore[arg-type]

    @property
    def usable(self) -> bool:
        """Whether the folder could be opened and is private."""
        return self._handle is not None

    def _warn(self, problem: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"flambeau's kernel cache {self.directory}: {problem}; kernels are compiled again in every process. "
                "Set FLAMBEAU_CACHE_DIR to a folder of your own, or FLAMBEAU_CACHE=0 to do without.",
                RuntimeWarning,
                stacklevel=3,
            )

    def _open(self) -> int | None:
        """Makes the folder if necessary and opens it; ``None`` after a warning when it cannot be trusted or used."""
        try:
            os.makedirs(os.path.dirname(self.directory) or ".", exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.directory, 0o700)
            handle = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            self._warn(f"cannot be used ({error.strerror})")
            return None
        problem = _distrust(os.fstat(handle))
        if problem:
            os.close(handle)
            self._warn(f"is not used because it {problem}")
            return None
        return handle

    def get(self, name: str) -> bytes | None:
        """What ``put`` stored under ``name``, or ``None``; a damaged file is removed."""
        if self._handle is None:
            return None
        try:
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=self._handle)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn(f"cannot read {name} ({error.strerror})")
            return None
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode) or _distrust(status):
                self._warn(f"holds {name}, which is not a private file")
                return None
            data = _read_all(file, status.st_size)
            if time.time() - status.st_mtime > _TOUCH_AFTER:
                with contextlib.suppress(OSError):
                    os.utime(file)
        except OSError as error:
            self._warn(f"cannot read {name} ({error.strerror})")
            return None
        finally:
            os.close(file)
        start = len(_MAGIC) + _CHECKSUM
        if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC) : start] != _checksum(name, data[start:]):
            self.discard(name)
            return None
        return data[start:]

    def discard(self, name: str) -> None:
        """Removes a damaged file, and says so."""
        self._warn(f"held a damaged file ({name}), now removed")
        if self._handle is not None:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._handle)

    def put(self, name: str, data: bytes) -> None:
        """Stores ``data`` under ``name``."""
        if self._handle is None:
            return
        try:
            try:
                self._write(name, data)
            except FileNotFoundError:  # somebody removed the folder: make it anew
                os.close(self._handle)
                self._handle = self._open()
                self._write(name, data)
        except OSError as error:
            self._warn(f"cannot be written to ({error.strerror})")
            return
        if self._writes % _SWEEP_EVERY == 0:
            self.sweep()
        self._writes += 1

    def _write(self, name: str, data: bytes) -> None:
        if self._handle is None:
            return
        temporary = f"{name}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(temporary, flags, 0o600, dir_fd=self._handle)
        try:
            try:
                rest = memoryview(_MAGIC + _checksum(name, data) + data)
                while rest:
                    rest = rest[os.write(file, rest) :]
            finally:
                os.close(file)
            os.replace(temporary, name, src_dir_fd=self._handle, dst_dir_fd=self._handle)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=self._handle)
            raise

    def files(self) -> list[tuple[str, int, float]]:
        """(name, bytes, time of last use) of every kernel, the latest first."""
        if self._handle is None:
            return []
        found = []
        with os.scandir(self._handle) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if not entry.name.endswith(".tmp"):
                        found.append((entry.name, status.st_size, status.st_mtime))
        return sorted(found, key=lambda file: -file[2])

    def remove(self, names: Iterable[str]) -> None:
        """Removes kernels; those that are gone already count as removed."""
        for name in names:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._handle)

    def sweep(self) -> None:
        """Removes abandoned temporary files and, beyond the bound, the files used least recently.

        The folder is brought down to four fifths of its bound, so that not every write has to sweep.
        """
        if self._handle is None:
            return
        files, now = [], time.time()
        try:
            with os.scandir(self._handle) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):
                        status = entry.stat(follow_symlinks=False)
                        if not entry.name.endswith(".tmp"):
                            files.append((status.st_mtime, status.st_size, entry.name))
                        elif now - status.st_mtime > _ABANDONED:
                            os.unlink(entry.name, dir_fd=self._handle)
        except OSError as error:
            self._warn(f"cannot be listed ({error.strerror})")
            return
        total = sum(size for _, size, _ in files)
        if total <= self.limit:
            return
        for _, size, name in sorted(files):
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._handle)
            total -= size
            if total <= self.limit * 4 // 5:
                return


def _distrust(status: os.stat_result) -> str:
    """Why a folder or file may hold what somebody else wrote; "" when it may not."""
    if status.st_uid not in (os.geteuid(), 0):
        return f"belongs to another user ({status.st_uid})"
    if status.st_mode & 0o022:
        return f"can be written by others (mode {stat.S_IMODE(status.st_mode):o})"
    return ""


def _checksum(name: str, data: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\0" + data).digest()


def _read_all(file: int, size: int) -> bytes:
    """Everything in the file, which had ``size`` bytes a moment ago."""
    parts = []
    while part := os.read(file, max(size, 1) + 1):
        parts.append(part)
        if len(part) == size:  # the usual end; a longer file shows in the checksum
            break
    return b"".join(parts)


@remember
def _cache(directory: str, limit: int) -> DiskCache:
    return DiskCache(directory, limit)


def current() -> DiskCache | None:
    """The cache that the settings name; ``None`` when they turn it off or a code generator has just been edited."""
    if not _generation():
        return None
    return _cache(settings.cache_dir, settings.cache_size << 20) if settings.cache else None
