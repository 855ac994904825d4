"""The caching allocator."""

from __future__ import annotations

import ctypes
import gc
import itertools
import os
import random
import signal
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.errors import OutOfMemoryError
from flambeau.runtime import memory
from flambeau.runtime.memory import Allocator, GuardAllocator, size_class

POSIX_LIMITS = pytest.importorskip("resource")


@given(st.integers(1, 1 << 45))
def test_size_class(nbytes: int) -> None:
    size = size_class(nbytes)
    assert size >= nbytes and size % 64 == 0
    assert size - nbytes < max(64, nbytes / 8 + 1)
    assert size_class(size) == size


def test_alignment_and_reuse() -> None:
    a = Allocator()
    for nbytes in (0, 1, 64, 65, 1000, 65536, 65537, 1 << 20, 3 << 20):
        first = a.allocate(nbytes)
        assert first % 64 == 0
        ctypes.memset(first, 7, nbytes)
        a.free(first, nbytes)
        assert a.allocate(nbytes) == first  # the block freed last comes first, while it is in the cache
        a.free(first, nbytes)


def test_big_blocks_lie_on_huge_pages() -> None:
    a = Allocator()
    assert a.allocate(9 << 20) % (2 << 20) == 0
    assert a.allocate(9 << 20) % (2 << 20) == 0


def test_smaller_blocks_share_huge_pages() -> None:
    a = Allocator()
    blocks = [a.allocate(1 << 20) for _ in range(20)]
    assert len(set(blocks)) == 20
    assert len({block >> 21 for block in blocks}) == 10
    a.empty_cache()
    for block in blocks:
        ctypes.memset(block, 1, 1 << 20)
        a.free(block, 1 << 20)
    a.empty_cache()
    assert a.statistics().reserved == 0


def test_steady_state_asks_nothing_of_the_system() -> None:
    a = Allocator()

    def step() -> None:
        blocks = [(a.allocate(n), n) for n in (4, 400, 40_000, 400_000, 4_000_000)]
        for address, n in blocks:
            a.free(address, n)

    step()
    before = a.statistics()
    for _ in range(100):
        step()
    after = a.statistics()
    assert after.system_calls == before.system_calls and after.reserved == before.reserved
    assert after.allocations - before.allocations == after.frees - before.frees == 500


def test_statistics() -> None:
    a = Allocator()
    assert a.statistics() == (0, 0, 0, 0, 0, 0)
    x, y = a.allocate(100), a.allocate(1 << 20)
    s = a.statistics()
    assert s.allocated == 128 + (1 << 20) == s.peak
    a.free(y, 1 << 20)
    s = a.statistics()
    assert s.allocated == 128 and s.peak == 128 + (1 << 20) and s.reserved >= s.peak
    a.reset_peak()
    assert a.statistics().peak == 128
    a.empty_cache()
    assert a.statistics().reserved == s.reserved - (1 << 20)
    a.free(x, 100)
    assert a.statistics().allocated == 0


def test_reuse_is_bounded() -> None:
    a = Allocator()
    block = a.allocate(1 << 24)
    a.free(block, 1 << 24)
    assert a.allocate(1 << 20) != block  # a small tensor does not sit on a big block
    near = a.allocate((1 << 24) - (1 << 20))
    assert near == block  # but the next class is near enough


def test_waiting_memory_is_bounded() -> None:
    a = Allocator(limit=10 << 20)
    blocks = [a.allocate(1 << 20) for _ in range(20)]
    for block in blocks:
        a.free(block, 1 << 20)
    assert a.statistics().reserved <= 10 << 20
    last = a.allocate(1 << 20)
    assert last in blocks[10:]


@pytest.mark.parametrize("nbytes", [2**62, 2**63, 2**46, 10**30, -1])
@pytest.mark.parametrize("kind", [Allocator, GuardAllocator])
def test_absurd_sizes(kind: type[Allocator], nbytes: int) -> None:
    for error in (MemoryError, RuntimeError, OutOfMemoryError):  # Python's custom and PyTorch's
        with pytest.raises(error, match=str(nbytes)):
            kind().allocate(nbytes)


@given(st.lists(st.tuples(st.integers(0, 1 << 18), st.integers(0, 5)), max_size=60))
def test_blocks_never_overlap(requests: list[tuple[int, int]]) -> None:
    a = Allocator(limit=1 << 20)
    live: list[tuple[int, int]] = []
    for nbytes, age in requests:
        live.append((a.allocate(nbytes), nbytes))
        if len(live) > age:
            a.free(*live.pop(age))
        if age == 5:
            a.empty_cache()
        spans = sorted((start, start + max(n, 1)) for start, n in live)
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    assert a.statistics().allocated >= sum(n for _, n in live)
    for block in live:
        a.free(*block)
    assert a.statistics().allocated == 0


def test_threads() -> None:
    a = Allocator(limit=1 << 20)
    failures: list[str] = []

    def work(seed: int) -> None:
        r = random.Random(seed)
        live: list[tuple[int, int]] = []
        for step in range(1500):
            if live and r.random() < 0.5:
                address, nbytes = live.pop(r.randrange(len(live)))
                if ctypes.string_at(address, min(nbytes, 8)) != bytes([seed]) * min(nbytes, 8):
                    failures.append(f"thread {seed}, step {step}: somebody else wrote to the block")
                a.free(address, nbytes)
            else:
                nbytes = r.choice((8, 100, 5000, 70_000, 200_000))
                address = a.allocate(nbytes)
                ctypes.memset(address, seed, nbytes)
                live.append((address, nbytes))
        for block in live:
            a.free(*block)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failures
    assert a.statistics().allocated == 0


def test_finalisers_may_run_inside() -> None:
    """A garbage collection in the middle of the allocator frees tensors."""
    a = Allocator(limit=1 << 20)

    class Cycle:
        def __init__(self, nbytes: int) -> None:
            self.me, self.nbytes, self.address = self, nbytes, a.allocate(nbytes)

        def __del__(self) -> None:
            a.free(a.allocate(self.nbytes), self.nbytes)
            a.free(self.address, self.nbytes)

    thresholds = gc.get_threshold()
    gc.set_threshold(3, 2, 2)
    try:
        for step in range(2000):
            Cycle((100, 3000, 70_000, 150_000, 300_000)[step % 5])
            if step % 50 == 0:
                a.empty_cache()
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    assert a.statistics().allocated == 0


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )


def test_exhaustion_flushes_and_retries() -> None:
    """Under a limit of address space: what waits is given back before an allocation fails."""
    code = """
import resource
from flambeau.errors import OutOfMemoryError
from flambeau.runtime import memory
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20), -1))
a = memory.Allocator(limit=1 << 40)
for k in range(1, 40):  # each size is new: without the flush the waiting blocks would exhaust the limit
    n = (20 << 20) + k * (3 << 20)
    a.free(a.allocate(n), n)
try:
    a.allocate(1 << 30)
except MemoryError as error:
    print(error)
n = 100 << 20
a.free(a.allocate(n), n)
print("alive")
"""
    result = run_python(code)
    assert "1073741824 bytes (1.00 GiB)" in result.stdout, result.stderr
    assert result.stdout.strip().endswith("alive")


@pytest.mark.parametrize(
    "access",
    [
        "ctypes.memset(m.allocate(4096) + 4096, 1, 1)",
        "ctypes.memset(m.allocate(128) + 128, 1, 1)",
        "ctypes.memset(m.allocate(4096) - 1, 1, 1)",
        "p = m.allocate(4096); m.free(p, 4096); ctypes.string_at(p, 1)",
    ],
)
def test_guard_mode_crashes_on_bad_accesses(access: str) -> None:
    code = f"import ctypes; from flambeau.runtime import memory as m; {access}"
    assert run_python(code, FLAMBEAU_GUARD="1").returncode == -signal.SIGSEGV
    good = "import ctypes; from flambeau.runtime import memory as m; p = m.allocate(100); ctypes.memset(p, 1, 100)"
    assert run_python(good + "; m.free(p, 100)", FLAMBEAU_GUARD="1").returncode == 0


def test_guard_mode_checks_the_last_bytes() -> None:
    a = GuardAllocator()
    address = a.allocate(100)
    assert address % 64 == 0 and ctypes.string_at(address, 4) == b"\xff" * 4
    ctypes.memset(address, 0, 101)
    with pytest.raises(AssertionError, match="beyond the end of a block of 100 bytes"):
        a.free(address, 100)
    assert a.statistics().allocated == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_fork_while_another_thread_allocates() -> None:
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            memory.free(memory.allocate(100_000), 100_000)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                signal.alarm(20)  # a deadlock ends the child
                memory.free(memory.allocate(200_000), 200_000)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join()


def test_other_sizes_do_not_need_the_memory_of_both() -> None:
    a = Allocator()
    for size in (40 << 20, 48 << 20, 56 << 20, 64 << 20):
        blocks = [a.allocate(size) for _ in range(2)]
        for block in blocks:
            a.free(block, size)
        assert a.statistics().reserved <= a.statistics().peak + (8 << 20)
    a.empty_cache()
    assert a.statistics().reserved == 0


def test_sizes_that_take_turns_fault_in_nothing_in_the_end() -> None:
    a = Allocator()
    sizes = [(32 + 4 * k) << 20 for k in range(6)]

    def turn() -> int:
        before = a.statistics().system_calls
        for size in sizes:
            a.free(a.allocate(size), size)
        return a.statistics().system_calls - before

    assert turn() == len(sizes)
    for _ in range(8):
        turn()
    assert turn() == 0
    a.empty_cache()
