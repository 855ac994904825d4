"""The thread pool."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from flambeau.runtime import engine, pool, pool_code
from flambeau.target.isa import ISA

# entry(pool, counts, workers, chunks, spin): chunk i adds 1 to counts[i] (not atomically: a chunk that runs twice at
# once, or a caller that returns early, would show) and 1 to workers[its worker]; each chunk takes ``spin`` steps.
TEXT = """
define internal void @body(ptr %block, i64 %chunk, i64 %worker) {
entry:
  %counts = load ptr, ptr %block
  %workers.p = getelementptr ptr, ptr %block, i64 1
  %workers = load ptr, ptr %workers.p
  %spin.p = getelementptr i64, ptr %block, i64 2
  %spin = load i64, ptr %spin.p
  br label %wait
wait:
  %i = phi i64 [ 0, %entry ], [ %i.next, %wait ]
  %i.next = add i64 %i, 1
  fence seq_cst
  %again = icmp slt i64 %i.next, %spin
  br i1 %again, label %wait, label %count
count:
  %c.p = getelementptr i64, ptr %counts, i64 %chunk
  %c = load i64, ptr %c.p
  %c1 = add i64 %c, 1
  store i64 %c1, ptr %c.p
  %w.p = getelementptr i64, ptr %workers, i64 %worker
  %old = atomicrmw add ptr %w.p, i64 1 monotonic
  ret void
}
define void @entry(ptr %pool, ptr %counts, ptr %workers, i64 %chunks, i64 %spin) {
  %block = alloca [3 x i64]
  store ptr %counts, ptr %block
  %workers.p = getelementptr ptr, ptr %block, i64 1
  store ptr %workers, ptr %workers.p
  %spin.p = getelementptr i64, ptr %block, i64 2
  store i64 %spin, ptr %spin.p
  %parallel_for = load ptr, ptr %pool
  call void %parallel_for(ptr %pool, ptr @body, ptr %block, i64 %chunks)
  ret void
}
; Every chunk of the outer job runs an inner job of 5 chunks on its own eighth of the counts.
define internal void @outer(ptr %block, i64 %chunk, i64 %worker) {
  %pool = load ptr, ptr %block
  %counts.p = getelementptr ptr, ptr %block, i64 1
  %counts = load ptr, ptr %counts.p
  %workers.p = getelementptr ptr, ptr %block, i64 2
  %workers = load ptr, ptr %workers.p
  %start = mul i64 %chunk, 8
  %mine = getelementptr i64, ptr %counts, i64 %start
  call void @entry(ptr %pool, ptr %mine, ptr %workers, i64 5, i64 10)
  ret void
}
define void @nested(ptr %pool, ptr %counts, ptr %workers, i64 %chunks, i64 %spin) {
  %block = alloca [3 x i64]
  store ptr %pool, ptr %block
  %counts.p = getelementptr ptr, ptr %block, i64 1
  store ptr %counts, ptr %counts.p
  %workers.p = getelementptr ptr, ptr %block, i64 2
  store ptr %workers, ptr %workers.p
  %parallel_for = load ptr, ptr %pool
  call void %parallel_for(ptr %pool, ptr @outer, ptr %block, i64 %chunks)
  ret void
}
"""
PROTOTYPE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


@cache
def kernel(symbol: str) -> Callable[..., None]:
    return PROTOTYPE(engine.load("pool test", "3", lambda: TEXT, ISA.named("generic")).address(symbol))


class Job:
    """Arrays of counts for repeated runs."""

    def __init__(self, symbol: str = "entry", size: int = 512) -> None:
        self.call = kernel(symbol)
        self.counts = (ctypes.c_int64 * size)()
        self.workers = (ctypes.c_int64 * (pool.MAX_THREADS + 1))()

    def run(self, chunks: int, spin: int = 0) -> None:
        pointers = ctypes.addressof(self.counts), ctypes.addressof(self.workers)
        self.call(pool.address(), *pointers, chunks, spin)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Leaves the pool as it was."""
    before = pool.get_num_threads()
    yield
    pool.set_num_threads(before)


def alive() -> int:
    """Threads in the workers' loop."""
    return ctypes.c_int32.from_address(pool.address() + pool_code.LAYOUT["alive"]).value


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("chunks", [0, 1, 2, 7, 500])
def test_every_chunk_runs_once(count: int, chunks: int) -> None:
    pool.set_num_threads(count)
    job = Job()
    for repeat in range(1, 21):
        job.run(chunks, spin=repeat % 3 * 50)
        assert list(job.counts[:chunks]) == [repeat] * chunks
        assert not any(job.counts[chunks:])
    assert sum(job.workers) == 20 * chunks
    assert not any(job.workers[count:])
    if count == 1 or chunks <= 1:
        assert job.workers[0] == 20 * chunks


def test_work_is_shared() -> None:
    pool.set_num_threads(3)
    job = Job()
    deadline = time.monotonic() + 60
    while not all(job.workers[:3]) and time.monotonic() < deadline:
        job.run(64, spin=20_000)
    assert all(job.workers[:3])


def test_many_short_jobs() -> None:
    """Jobs that follow each other closely, with workers that come late."""
    pool.set_num_threads(4)
    job = Job()
    expected = [0] * 40
    for step in range(20_000):
        chunks = (step * 7) % 40
        job.run(chunks)
        for chunk in range(chunks):
            expected[chunk] += 1
    assert list(job.counts[:40]) == expected


def test_jobs_within_jobs() -> None:
    pool.set_num_threads(3)
    job = Job("nested")
    for _ in range(50):
        job.run(16)
    assert [job.counts[8 * chunk + k] for chunk in range(16) for k in range(5)] == [50] * 80


def test_callers_from_several_threads() -> None:
    pool.set_num_threads(3)
    jobs = [Job() for _ in range(4)]

    def work(job: Job) -> None:
        for _ in range(400):
            job.run(20, spin=100)

    callers = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert all(list(job.counts[:20]) == [400] * 20 for job in jobs)


def test_resizing_under_load() -> None:
    job, stop, runs = Job(), threading.Event(), 0

    def work() -> None:
        nonlocal runs
        while not stop.is_set():
            job.run(30, spin=200)
            runs += 1

    caller = threading.Thread(target=work)
    caller.start()
    try:
        for step in range(60):
            pool.set_num_threads(1 + step % 5)
            assert pool.get_num_threads() == 1 + step % 5
            assert alive() <= step % 5
    finally:
        stop.set()
        caller.join()
    assert list(job.counts[:30]) == [runs] * 30


def test_superfluous_threads_leave() -> None:
    pool.set_num_threads(5)
    Job().run(10)
    assert alive() == 4
    pool.set_num_threads(2)
    assert alive() == 1
    pool.set_num_threads(1)
    assert alive() == 0


def test_threads_start_with_the_first_job() -> None:
    pool.set_num_threads(1)
    pool.set_num_threads(4)
    assert alive() == 0
    Job().run(1)
    assert alive() == 0
    Job().run(2)
    assert alive() == 3


def test_idle_workers_sleep() -> None:
    pool.set_num_threads(4)
    job = Job()
    job.run(100)
    sleepers = ctypes.c_int32.from_address(pool.address() + pool_code.LAYOUT["sleepers"])
    deadline = time.monotonic() + 60
    while sleepers.value != 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sleepers.value == 3
    job.run(100, spin=1000)
    assert list(job.counts[:100]) == [2] * 100


def test_the_address_never_changes() -> None:
    before = pool.address()
    pool.set_num_threads(4)
    Job().run(8)
    assert pool.address() == before and before % 4096 == 0


@pytest.mark.parametrize("count", [0, -1, 4096, 10**9])
def test_bad_numbers(count: int) -> None:
    with pytest.raises(ValueError, match=f"got {count}"):
        pool.set_num_threads(count)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("busy", [False, True])
def test_fork(busy: bool) -> None:
    """A child has a pool of its own, even when the parent was in the middle of a job."""
    pool.set_num_threads(3)
    job, other, stop = Job(), Job(), threading.Event()
    job.run(10)

    def work() -> None:
        while not stop.is_set():
            other.run(50, spin=2000)

    caller = threading.Thread(target=work)
    if busy:
        caller.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                signal.alarm(60)  # a deadlock ends the child
                status = 1
                try:
                    mine = Job()
                    fresh = alive() == 0
                    for _ in range(50):
                        mine.run(20)
                    pool.set_num_threads(2)
                    mine.run(20)
                    status = 0 if fresh and list(mine.counts[:20]) == [51] * 20 and alive() == 1 else 2
                finally:
                    os._exit(status)
            job.run(10)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        if busy:
            caller.join()
    assert list(job.counts[:10]) == [6] * 10


EXIT = """
import sys, threading, time
sys.path.insert(0, {tests!r})
from test_runtime_pool import Job
from flambeau.runtime import pool
pool.set_num_threads(4)
job = Job()
job.run(100)
{end}
"""


@pytest.mark.parametrize(
    "end",
    [
        "",  # workers are spinning
        "time.sleep(0.2)",  # workers are asleep
        "sys.exit(0)",
        "threading.Thread(target=job.run, args=(200, 500_000), daemon=True).start(); time.sleep(0.05)",
        "threading.Thread(target=job.run, args=(20, 100_000)).start()",
    ],
)
def test_the_process_ends_quietly(end: str) -> None:
    code = EXIT.format(tests=os.path.dirname(__file__), end=end)
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"FLAMBEAU_NUM_THREADS": "3", "OMP_NUM_THREADS": "5"}, "3"),
        ({"FLAMBEAU_NUM_THREADS": "", "OMP_NUM_THREADS": "5,2"}, "5"),
        ({"FLAMBEAU_NUM_THREADS": "0", "OMP_NUM_THREADS": "many"}, None),
        ({"FLAMBEAU_NUM_THREADS": "", "OMP_NUM_THREADS": "999999"}, str(pool.MAX_THREADS)),
    ],
)
def test_number_of_threads_at_the_start(environment: dict[str, str], expected: str | None) -> None:
    code = "from flambeau.runtime import cpu, pool; print(pool.get_num_threads(), cpu.physical_cores())"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    threads, cores = result.stdout.split()
    assert threads == (expected or cores)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a limit of threads that binds")
def test_a_system_without_threads_to_give() -> None:
    code = EXIT.format(
        tests=os.path.dirname(__file__),
        end="""
pool.set_num_threads(1)
import ctypes, resource
import mmap
used = int(open("/proc/self/statm").read().split()[0]) * mmap.PAGESIZE
resource.setrlimit(resource.RLIMIT_AS, (used + (20 << 20), -1))  # room for two stacks of 8 MiB
pool.set_num_threads(60)
job.run(100)
print(list(job.counts[:100]) == [2] * 100)
""",
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout.strip()) == (0, "True"), result.stderr


def test_signals_reach_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers block signals, so that a handler runs in Python's main thread at once."""
    pool.set_num_threads(4)
    Job().run(10)
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
    try:
        for _ in range(20):
            os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.01)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen
