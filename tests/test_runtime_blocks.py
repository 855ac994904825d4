"""Storages made and finished in machine code: what they hold, where their memory goes, and who may take it away."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

import flambeau as torch
from flambeau import settings, storage
from flambeau.runtime import blocks, memory

native = pytest.mark.skipif(
    settings.guard or sys.implementation.name != "cpython", reason="guarded memory is not kept at hand"
)


class Owner:
    """The least that ``maker`` needs of a class."""

    __slots__ = ("__weakref__", "_home", "nbytes", "ptr")
    released: list[tuple[int, int]] = []  # noqa: RUF012

    def _release(self) -> None:
        if self.ptr:
            self.released.append((self.ptr, self.nbytes))
            memory.free(self.ptr, self.nbytes)


@native
@pytest.mark.parametrize("nbytes", [1, 63, 64, 65, 1000, 1 << 14])
def test_a_block_goes_back_and_is_given_again(nbytes: int) -> None:
    make = blocks.maker(Owner, nbytes)
    assert make is not None
    first = make()
    assert first.nbytes == nbytes and first.ptr % 64 == 0
    at = first.ptr
    del first
    second = make()
    assert second.ptr == at
    third = make()
    assert abs(third.ptr - at) >= nbytes
    assert not Owner.released


@native
def test_zeros_are_zero_in_memory_that_was_used() -> None:
    make, zeros = blocks.maker(Owner, 200), blocks.maker(Owner, 200, True)
    assert make is not None and zeros is not None
    made = make()
    at = made.ptr
    memory_of = (np.ctypeslib.ctypes.c_ubyte * 200).from_address(at)
    memory_of[:] = [255] * 200
    del made
    cleared = zeros()
    assert cleared.ptr == at and not any(memory_of)


@native
def test_an_object_that_was_changed_is_released_by_its_class() -> None:
    make = blocks.maker(Owner, 128)
    assert make is not None
    Owner.released.clear()
    changed, empty, unmoored = make(), make(), make()
    memory.free(empty.ptr, empty.nbytes)
    empty.ptr = 0
    at, away = changed.ptr, unmoored.ptr
    changed.nbytes = 120  # of the same class of sizes
    del unmoored._home
    del changed, empty, unmoored
    assert sorted(Owner.released) == sorted([(at, 120), (away, 128)])
    Owner.released.clear()


@native
def test_what_waits_is_not_in_use() -> None:
    gc.collect()
    before = memory.statistics().allocated
    held = [torch.empty(100) for _ in range(3000)]
    assert memory.statistics().allocated - before == 3000 * memory.size_class(400)
    addresses = {t.data_ptr() for t in held}
    assert len(addresses) == 3000
    del held
    gc.collect()
    assert memory.statistics().allocated == before


def test_memory_that_moves_leaves_its_home() -> None:
    for _ in range(50):
        t = torch.ones(4)
        t.resize_(1000)
        shared = torch.ones(4).share_memory_()
        assert float(shared.sum()) == 4
        del t, shared
    assert torch.zeros(4).tolist() == [0, 0, 0, 0]
    kept = [torch.full((4,), float(i)) for i in range(100)]
    assert [float(k[3]) for k in kept] == [float(i) for i in range(100)]


def test_a_storage_can_be_watched_and_has_room_for_notes() -> None:
    t = torch.zeros(4)
    gone: list[int] = []
    weakref.finalize(t._storage, gone.append, 1)
    t._storage.version += 1
    assert t._version == 1
    del t
    assert gone == [1]


def test_threads_share_the_shelves() -> None:
    wrong: list[float] = []

    def work(k: int) -> None:
        for i in range(1500):
            t = torch.full((5,), float(k * 10000 + i)) + torch.zeros(5)
            if t.tolist() != [float(k * 10000 + i)] * 5:
                wrong.append(float(t[0]))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_storages_that_are_big_and_cleared_are_made_in_python() -> None:
    make = storage.maker(1 << 20, True)
    made = make()
    assert made.nbytes == 1 << 20 and not hasattr(made, "_home")
    assert float(torch.zeros(1 << 18).sum()) == 0


@native
@pytest.mark.parametrize("nbytes", [(1 << 16) + 1, 1 << 20, memory.MIDDLE])
def test_big_blocks_that_recur_are_kept_and_go_back_when_memory_is_needed(nbytes: int) -> None:
    make = storage.maker(nbytes)
    held = [make() for _ in range(20)]
    assert len({s.ptr for s in held}) == 20
    before = memory.statistics().allocated
    del held
    assert memory.statistics().allocated <= before - 20 * nbytes
    shelf = blocks._shelves[memory.size_class(nbytes)]
    assert 4 <= shelf.words[1] <= max(4, (1 << 24) // shelf.size)
    memory.empty_cache()
    assert shelf.words[1] == 0 and make().nbytes == nbytes


def test_without_memory_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    make = storage.maker(16320)  # a size of its own, so that the shelf is empty
    held = [make()]

    def refuse(nbytes: int) -> int:
        raise MemoryError(f"no {nbytes} bytes")

    monkeypatch.setattr(memory, "allocate", refuse)
    if hasattr(held[0], "_home"):
        with pytest.raises(MemoryError, match="no 16384 bytes"):
            held.extend(make() for _ in range(100))


def test_a_process_ends_in_peace_with_storages_alive() -> None:
    code = (
        "import flambeau as t; kept = [t.ones(3) for _ in range(100)]; loop = [kept]; loop.append(loop); print('end')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout == "end\n" and not done.stderr


def test_native_functions_and_storages_may_outlive_every_module() -> None:
    """Under Python's debugging allocator, which overwrites what is freed."""
    code = (
        "import sys, flambeau as t\n"
        "from flambeau.runtime import native\n"
        "class Loop: pass\n"
        "loop = sys.loop = Loop()\n"
        "loop.held = loop, native.make_caller(1, 'p'), t.ones(3), t.ones(3000) + 1, [t.ones(30000)]\n"
        "print('end')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONMALLOC": "debug"},
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout == "end\n" and not done.stderr
