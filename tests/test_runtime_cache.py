"""The disk cache: it may be damaged, full, shared, forbidden or dangerous, and must never be a reason to fail."""

from __future__ import annotations

import ctypes
import os
import random
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from flambeau import settings
from flambeau.runtime import cache, engine
from flambeau.runtime.cache import DiskCache
from flambeau.target.isa import ISA

ROOT = os.name == "posix" and os.geteuid() == 0
MIB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "some" / "cache"


def entry(disk: DiskCache, name: str = "n" * 64) -> Path:
    return Path(disk.directory) / name


def test_what_is_put_is_got(folder: Path) -> None:
    disk = DiskCache(str(folder), MIB)
    assert disk.usable and folder.stat().st_mode & 0o777 == 0o700
    assert disk.get("absent") is None
    for data in (b"", b"x", os.urandom(100_000)):
        disk.put("name", data)
        assert disk.get("name") == data
        assert DiskCache(str(folder), MIB).get("name") == data
    assert (folder / "name").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir()] == ["name"]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "longer", "head", "other"])
def test_damage_is_noticed_and_removed(folder: Path, damage: str) -> None:
    disk = DiskCache(str(folder), MIB)
    disk.put("name", b"payload" * 100)
    path = entry(disk, "name")
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[:-1]
    elif damage == "flip":
        data[-5] ^= 1
    elif damage == "empty":
        data = bytearray()
    elif damage == "longer":
        data += b"x"
    elif damage == "head":
        data[0] ^= 1
    else:  # a good entry under another's name
        disk.put("other", b"something else")
        data = bytearray(entry(disk, "other").read_bytes())
    path.write_bytes(data)
    with pytest.warns(RuntimeWarning, match="damaged file"):
        assert disk.get("name") is None
    assert not path.exists()
    disk.put("name", b"new")
    assert disk.get("name") == b"new"


def test_random_damage_never_passes(folder: Path) -> None:
    disk, r = DiskCache(str(folder), MIB), random.Random(1)
    disk.put("name", bytes(range(256)))
    good = entry(disk, "name").read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(200):
            data = bytearray(good)
            data[r.randrange(len(data))] ^= 1 << r.randrange(8)
            entry(disk, "name").write_bytes(data)
            assert disk.get("name") is None


def test_one_warning_only(folder: Path) -> None:
    disk = DiskCache(str(folder), MIB)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(5):
            disk.put("name", b"payload")
            entry(disk, "name").write_bytes(b"rubbish")
            assert disk.get("name") is None
    assert len(caught) == 1
    assert "FLAMBEAU_CACHE_DIR" in str(caught[0].message)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_folders_that_others_can_write_are_refused(folder: Path, mode: int) -> None:
    folder.mkdir(parents=True)
    (folder / "name").write_bytes(b"code of somebody else")
    folder.chmod(mode)
    with pytest.warns(RuntimeWarning, match=f"can be written by others \\(mode {mode:o}\\)"):
        disk = DiskCache(str(folder), MIB)
    assert not disk.usable
    disk.put("x", b"data")
    assert disk.get("name") is None and disk.get("x") is None
    assert [path.name for path in folder.iterdir()] == ["name"]


def test_files_that_others_can_write_are_refused(folder: Path) -> None:
    disk = DiskCache(str(folder), MIB)
    disk.put("name", b"payload")
    entry(disk, "name").chmod(0o622)
    with pytest.warns(RuntimeWarning, match="not a private file"):
        assert disk.get("name") is None


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
def test_what_belongs_to_another_user_is_refused(folder: Path) -> None:
    folder.mkdir(parents=True, mode=0o700)
    os.chown(folder, 12345, 12345)
    with pytest.warns(RuntimeWarning, match="belongs to another user"):
        assert not DiskCache(str(folder), MIB).usable
    os.chown(folder, 0, 0)
    disk = DiskCache(str(folder), MIB)
    disk.put("name", b"payload")
    os.chown(folder / "name", 12345, 12345)
    with pytest.warns(RuntimeWarning, match="not a private file"):
        assert disk.get("name") is None


@pytest.mark.parametrize("kind", ["link", "folder", "pipe"])
def test_only_plain_files_are_read(folder: Path, kind: str) -> None:
    disk = DiskCache(str(folder), MIB)
    disk.put("good", b"payload")
    path = entry(disk, "name")
    if kind == "link":
        path.symlink_to(folder / "good")
    elif kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.warns(RuntimeWarning):
        assert disk.get("name") is None


def test_impossible_folders(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    for path in (file, file / "below", Path("/proc/nowhere/cache"), Path("/dev/null")):
        with pytest.warns(RuntimeWarning, match="compiled again in every process"):
            disk = DiskCache(str(path), MIB)
        disk.put("name", b"data")
        assert disk.get("name") is None
        disk.sweep()


@pytest.mark.skipif(ROOT, reason="root may write everywhere")
def test_folders_that_cannot_be_written(folder: Path) -> None:
    disk = DiskCache(str(folder), MIB)
    disk.put("name", b"payload")
    folder.chmod(0o500)
    with pytest.warns(RuntimeWarning, match="cannot be written to"):
        disk.put("other", b"data")
    assert disk.get("name") == b"payload"
    folder.chmod(0o700)


def test_a_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = DiskCache(str(folder), MIB)
    disk.put("name", b"payload")

    def write(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", write)
    with pytest.warns(RuntimeWarning, match="No space left"):
        disk.put("other", b"data")
    monkeypatch.undo()
    assert [path.name for path in folder.iterdir()] == ["name"]
    assert disk.get("name") == b"payload"


def test_a_removed_folder_is_made_again(folder: Path) -> None:
    disk = DiskCache(str(folder), MIB)
    disk.put("name", b"payload")
    (folder / "name").unlink()
    folder.rmdir()
    assert disk.get("name") is None
    disk.put("name", b"again")
    assert disk.get("name") == b"again" == DiskCache(str(folder), MIB).get("name")


def test_the_folder_cannot_be_exchanged(folder: Path, tmp_path: Path) -> None:
    """What counts is the folder that was checked, not what bears its name later."""
    disk = DiskCache(str(folder), MIB)
    disk.put("name", b"payload")
    folder.rename(tmp_path / "elsewhere")
    other = DiskCache(str(folder), MIB)
    other.put("name", b"exchanged")
    assert disk.get("name") == b"payload"


def test_the_oldest_go_first(folder: Path) -> None:
    disk = DiskCache(str(folder), 100_000)
    now = time.time()
    for n in range(20):
        disk.put(f"name{n}", bytes(9000))
        os.utime(folder / f"name{n}", (now, now - 1000 * (20 - n)))
    disk.sweep()
    left = {path.name for path in folder.iterdir()}
    assert left == {f"name{n}" for n in range(12, 20)}  # 8 of 9 KB: under four fifths of the bound


def test_use_is_remembered(folder: Path) -> None:
    disk = DiskCache(str(folder), MIB)
    disk.put("name", b"payload")
    long_ago = time.time() - 10 * 24 * 3600
    os.utime(folder / "name", (long_ago, long_ago))
    disk.get("name")
    assert time.time() - (folder / "name").stat().st_mtime < 1000


def test_the_size_is_looked_after(folder: Path) -> None:
    disk = DiskCache(str(folder), 50_000)
    for n in range(150):
        disk.put(f"name{n}", bytes(1000))
    assert sum(path.stat().st_size for path in folder.iterdir()) < 170_000
    disk.sweep()
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 50_000


def test_abandoned_temporary_files_go(folder: Path) -> None:
    disk = DiskCache(str(folder), MIB)
    (folder / "a.1.x.tmp").write_bytes(b"abandoned")
    (folder / "b.2.x.tmp").write_bytes(b"in use")
    os.utime(folder / "a.1.x.tmp", (1, 1))
    disk.sweep()
    assert [path.name for path in folder.iterdir()] == ["b.2.x.tmp"]


WRITERS = """
import os, random, sys
from flambeau.runtime.cache import DiskCache
disk, r = DiskCache(sys.argv[1], 60_000), random.Random(int(sys.argv[2]))
for step in range(300):
    n = r.randrange(12)
    got = disk.get(f"name{n}")
    assert got is None or got == bytes([n]) * 10_000, (n, got[:10])
    disk.put(f"name{n}", bytes([n]) * 10_000)
    if step % 37 == 0:
        disk.sweep()
"""


def test_several_processes_share_the_folder(folder: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", WRITERS, str(folder)]
    processes = [subprocess.Popen([*command, str(seed)]) for seed in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert not list(folder.glob("*.tmp"))


# -- with the engine ---------------------------------------------------------------------------------


@pytest.fixture
def used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The engine uses ``folder``, however recently sources were edited."""
    monkeypatch.setattr(cache, "_generation", lambda: b"test")
    with settings.override(cache_dir=str(folder), cache=True, verify=False):
        yield folder


_serial = iter(range(10**9))


def load(key: str, value: int = 6) -> int:
    text = f"define i64 @f() {{\n ret i64 {value}\n}}"
    code = engine.load("f", key, lambda: text, ISA.host())
    return int(ctypes.CFUNCTYPE(ctypes.c_int64)(code.address("f"))())


def test_a_damaged_kernel_is_compiled_again(used: Path) -> None:
    key = f"damaged {next(_serial)}"
    assert load(key) == 6
    (path,) = used.iterdir()
    data = path.read_bytes()
    path.write_bytes(data[:-3])
    engine._loaded.clear()
    compiled = engine.statistics().compiled
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert load(key) == 6
    assert engine.statistics().compiled == compiled + 1
    assert path.read_bytes() == data  # compilation is deterministic


def test_a_good_file_with_a_bad_image_is_compiled_again(used: Path) -> None:
    key = f"bad image {next(_serial)}"
    name = cache.digest("f", key, ISA.host().key)
    disk = cache.current()
    assert disk is not None
    disk.put(name, b"not an image")
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert load(key) == 6


def test_without_a_disk_cache(used: Path) -> None:
    with settings.override(cache=False):
        assert cache.current() is None
        assert load(f"off {next(_serial)}") == 6
    assert not used.exists()


def test_a_forbidden_folder_costs_a_warning(used: Path) -> None:
    used.mkdir(parents=True)
    used.chmod(0o777)
    with pytest.warns(RuntimeWarning, match="can be written by others"):
        assert load(f"forbidden {next(_serial)}") == 6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(f"forbidden {next(_serial)}") == 6


def test_names_depend_on_every_part() -> None:
    names = {cache.digest(*parts) for parts in (("a", "b"), ("ab", ""), ("", "ab"), ("a", "b", ""), ("b", "a"))}
    assert len(names) == 5
    assert all(len(name) == 64 for name in names)


def test_sources_are_part_of_the_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "flambeau"
    (package / "target").mkdir(parents=True)
    (package / "runtime").mkdir()
    source = package / "target" / "emit.py"
    source.write_text("one")
    os.utime(source, (1, 1))
    monkeypatch.setattr(cache, "__file__", str(package / "runtime" / "cache.py"))
    first = cache._generation.__wrapped__()
    source.write_text("two")
    os.utime(source, (1, 1))
    second = cache._generation.__wrapped__()
    assert first and second and first != second
    source.touch()  # edited while this process runs: what it compiles now belongs to neither text
    monkeypatch.setattr(cache, "_STARTED", time.time() - 1)
    assert cache._generation.__wrapped__() == b""
