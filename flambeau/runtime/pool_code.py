"""The thread pool's native code: LLVM IR of the workers' loop and of ``parallel_for``.

``pool.py`` says how a job is handed over.  Everything that threads share lies in the pool's page, at the byte offsets
of `LAYOUT`, and is read and written by atomic operations only while a job runs.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

from . import cpu
from .system import PAGE

__all__ = ["CLOSED", "LAYOUT", "PARTS", "module"]

# Byte offsets in the pool's page; what different threads write lies in different cache lines.
LAYOUT = {
    "function": 0,  # ptr: parallel_for, where generated code looks for it
    "wanted": 8,  # i64: participants, the caller included
    "started": 16,  # i64: threads that were started and not stopped
    "body": 64,  # ptr: the job ...
    "block": 72,  # ptr
    "chunks": 80,  # i64
    "parts": 88,  # i64
    "backwards": 96,  # i64: 1 if the parts are done from their last chunk to their first
    "ticket": 128,  # i64: number of the job; low half 0 while it is open
    "done": 192,  # i32: chunks finished
    "waiting": 196,  # i32: 1 while the caller sleeps on "done"
    "wake": 256,  # i32: the workers sleep on it; changes with every job
    "sleepers": 320,  # i32: workers asleep, or about to be
    "busy": 384,  # i32: 1 while a job runs
    "turn": 392,  # i64: "backwards" of the next job
    "alive": 448,  # i32: threads that have not left the worker's loop
    "processor": 452,  # i32: where the caller was when it woke workers
    "tickets": 512,  # i64, one in each cache line: number of the job and next chunk of a part
}
CLOSED = 0xFFFFFFFF
PARTS = (PAGE - LAYOUT["tickets"]) // 64  # at most
_SPINS = 8000  # looks, each followed by a pause, before a caller that waits for the others gives way
# The same before a worker without a job sleeps.  Waking it costs the caller a call of the system, and the job its help
# for the first tens of microseconds; between the kernels of a training step lies Python that was put out of the caches.
_IDLE_SPINS = 40_000
_PATIENCE = 400  # looks, with a pause after each, before another's last chunk is taken
_YIELDS = 64  # times that a waiting caller offers its processor before it sleeps

_FUTEX_NUMBERS = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}
# Signals go to Python's threads, but for those that a fault raises on the spot:
# SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV.
_SIGNAL_MASK = ~sum(1 << number - 1 for number in (4, 5, 6, 7, 8, 11)) & 0xFFFFFFFFFFFFFFFF
# The system may wake a worker on the processor of the caller, which is busy, and leave it there for milliseconds
# although another one is idle: then the worker goes away from there, and is free to go anywhere again.
_LEAVE = """  %all = alloca [128 x i8]
  %others = alloca [128 x i8]
  call void @llvm.memset.p0.i64(ptr %all, i8 0, i64 128, i1 false)
  %got = call i32 @sched_getaffinity(i32 0, i64 128, ptr %all)
  call void @llvm.memcpy.p0.p0.i64(ptr %others, ptr %all, i64 128, i1 false)
  %index = lshr i32 %place, 3
  %byte.p = getelementptr i8, ptr %others, i32 %index
  %byte = load i8, ptr %byte.p
  %low = and i32 %place, 7
  %bit = shl i32 1, %low
  %mask = xor i32 %bit, 255
  %mask8 = trunc i32 %mask to i8
  %rest = and i8 %byte, %mask8
  store i8 %rest, ptr %byte.p
  %moved = call i32 @sched_setaffinity(i32 0, i64 128, ptr %others)
  %back = call i32 @sched_setaffinity(i32 0, i64 128, ptr %all)"""


class _System(NamedTuple):
    """What differs between systems and processors, as instructions."""

    declared: str  # functions that not all have
    pause: str  # tells the processor that this is a loop that waits
    sleep: str  # until woken, while the word still has this value
    rouse: str  # wakes so many that sleep on the word
    here: str  # the processor at hand
    leave: str  # goes to another processor than %place
    block_signals: str
    restore_signals: str


def _system() -> _System:
    machine, linux = cpu.machine(), sys.platform.startswith("linux")
    pauses = {
        "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
        "aarch64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
    }
    declared, pause = pauses.get(machine, ("", ""))
    sleep, rouse = "call i32 @usleep(i32 100)", "or i32 0, 0"
    if linux and machine in _FUTEX_NUMBERS:
        futex = f"call i64 (i64, ...) @syscall(i64 {_FUTEX_NUMBERS[machine]}, ptr %word"
        sleep = f"{futex}, i32 128, i32 %value, ptr null)"  # FUTEX_WAIT_PRIVATE
        rouse = f"{futex}, i32 129, i32 %count)"  # FUTEX_WAKE_PRIVATE
    if not linux:
        return _System(declared, pause, sleep, rouse, "or i32 0, 0", "", "", "")
    block_signals = f"""  store [16 x i64] [{", ".join(["i64 -1"] * 16)}], ptr %mask
  store i64 {_SIGNAL_MASK}, ptr %mask
  call i32 @pthread_sigmask(i32 0, ptr %mask, ptr %old)"""
    restore_signals = "call i32 @pthread_sigmask(i32 2, ptr %old, ptr null)"
    return _System(declared, pause, sleep, rouse, "call i32 @sched_getcpu()", _LEAVE, block_signals, restore_signals)


def _fields(*names: str) -> str:
    """Instructions that name the addresses of fields of the pool's page."""
    return "\n".join(f"  %{name}.p = getelementptr i8, ptr %pool, i64 {LAYOUT[name]}" for name in names)


def module() -> str:
    """The pool's LLVM module for the host."""
    system = _system()
    parts = (_declarations(system), _worker(system), _start(system), _parallel_for(system), _resize())
    return "\n".join(parts)


def _declarations(system: _System) -> str:
    """What the functions call: the system's functions, and small ones of our own."""
    return f"""
declare i64 @syscall(i64, ...)
declare i32 @usleep(i32)
declare i32 @sched_yield()
declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_detach(ptr)
declare i32 @pthread_sigmask(i32, ptr, ptr)
declare i64 @llvm.umin.i64(i64, i64)
declare i32 @sched_getcpu()
declare i32 @sched_getaffinity(i32, i64, ptr)
declare i32 @sched_setaffinity(i32, i64, ptr)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
{system.declared}

define internal void @sleep_while(ptr %word, i32 %value) {{
  %r = {system.sleep}
  ret void
}}

define internal void @rouse(ptr %word, i32 %count) {{
  %r = {system.rouse}
  ret void
}}

define internal void @move_from(i32 %place) noinline {{
{system.leave}
  ret void
}}
"""


def _worker(system: _System) -> str:
    """The loop of a thread; ``%argument`` is the pool's address plus the worker's number."""
    phases = (_look(), _claim(system), _run(), _idle(system))
    return f"""
define ptr @worker(ptr %argument) {{
entry:
  %bits = ptrtoint ptr %argument to i64
  %number = and i64 %bits, 4095
  %start = and i64 %bits, -4096
  %pool = inttoptr i64 %start to ptr
{_fields("wanted", "ticket", "wake", "sleepers", "chunks", "parts", "tickets")}
{_fields("body", "block", "backwards", "done", "waiting", "alive", "processor")}
  br label %look
{"".join(phases)}}}
"""


def _look() -> str:
    """Reads the job that is open: to "choose" if there is one, otherwise to "idle", or to "leave" for good."""
    return f"""look:
  %spins = phi i64 [ 0, %entry ], [ %spins.next, %spin ], [ 0, %awoken ], [ 0, %ask ]
  %seen = load atomic i32, ptr %wake.p seq_cst, align 4
  %wanted = load atomic i64, ptr %wanted.p monotonic, align 8
  %superfluous = icmp sge i64 %number, %wanted
  br i1 %superfluous, label %leave, label %examine
examine:
  %ticket = load atomic i64, ptr %ticket.p acquire, align 8
  %job = lshr i64 %ticket, 32
  %low = and i64 %ticket, {CLOSED}
  %chunks = load atomic i64, ptr %chunks.p monotonic, align 8
  %parts = load atomic i64, ptr %parts.p monotonic, align 8
  %body.i = load atomic i64, ptr %body.p monotonic, align 8
  %block.i = load atomic i64, ptr %block.p monotonic, align 8
  %backwards = load atomic i64, ptr %backwards.p monotonic, align 8
  %reverse = icmp ne i64 %backwards, 0
  fence acquire
  %open = icmp eq i64 %low, 0
  br i1 %open, label %choose, label %idle
"""


def _claim(system: _System) -> str:
    """Claims a chunk, of its own part first, then of the others': to "run", or to "idle" when there are no more."""
    return f"""choose:
  %tried = phi i64 [ 0, %examine ], [ %tried.next, %exhausted ]
  %some = icmp ult i64 %tried, %parts
  br i1 %some, label %enter, label %idle
enter:
  %turn = add i64 %number, %tried
  %part = urem i64 %turn, %parts
  %part.after = add i64 %part, 1
  %limit.n = mul i64 %part.after, %chunks
  %limit = udiv i64 %limit.n, %parts
  %first.n = mul i64 %part, %chunks
  %first = udiv i64 %first.n, %parts
  %ends = add i64 %first, %limit
  %mirror = add i64 %ends, -1
  %line = mul i64 %part, 64
  %own.p = getelementptr i8, ptr %tickets.p, i64 %line
  br label %ask
ask:
  %waits = phi i64 [ 0, %enter ], [ %waits, %claim ], [ 0, %finished ], [ %waits.next, %hold ]
  %own = load atomic i64, ptr %own.p acquire, align 8
  %own.job = lshr i64 %own, 32
  %same = icmp eq i64 %own.job, %job
  br i1 %same, label %more, label %look
more:
  %next = and i64 %own, {CLOSED}
  %left = icmp ult i64 %next, %limit
  br i1 %left, label %consider, label %exhausted
consider:
  %foreign = icmp ne i64 %tried, 0
  %begun = icmp ugt i64 %next, %first
  %after.next = add i64 %next, 1
  %only = icmp eq i64 %after.next, %limit
  %patient = icmp ult i64 %waits, {_PATIENCE}
  %owned = and i1 %begun, %only
  %polite = and i1 %foreign, %patient
  %spare = and i1 %owned, %polite
  br i1 %spare, label %hold, label %claim
hold:
  {system.pause}
  %waits.next = add i64 %waits, 1
  br label %ask
exhausted:
  %tried.next = add i64 %tried, 1
  br label %choose
claim:
  %advanced = add i64 %own, 1
  %pair = cmpxchg ptr %own.p, i64 %own, i64 %advanced acq_rel monotonic, align 8
  %claimed = extractvalue {{ i64, i1 }} %pair, 1
  br i1 %claimed, label %run, label %ask
"""


def _run() -> str:
    """Computes the chunk, and wakes the caller after the job's last one; then back to "ask" for another."""
    return """run:
  %body = inttoptr i64 %body.i to ptr
  %block = inttoptr i64 %block.i to ptr
  %mirrored = sub i64 %mirror, %next
  %chunk = select i1 %reverse, i64 %mirrored, i64 %next
  call void %body(ptr %block, i64 %chunk, i64 %number)
  %before = atomicrmw add ptr %done.p, i32 1 seq_cst, align 4
  %total = trunc i64 %chunks to i32
  %after = add i32 %before, 1
  %last = icmp eq i32 %after, %total
  br i1 %last, label %notify, label %finished
notify:
  %waiting = load atomic i32, ptr %waiting.p seq_cst, align 4
  %asleep = icmp ne i32 %waiting, 0
  br i1 %asleep, label %ring, label %finished
ring:
  call void @rouse(ptr %done.p, i32 1)
  br label %finished
finished:
  br label %ask
"""


def _idle(system: _System) -> str:
    """Waits for another job, asleep after a while, and goes back to "look"; and the end of a thread."""
    return f"""idle:
  %spins.next = add i64 %spins, 1
  %tired = icmp ugt i64 %spins.next, {_IDLE_SPINS}
  br i1 %tired, label %sleep, label %spin
spin:
  {system.pause}
  br label %look
sleep:
  %s0 = atomicrmw add ptr %sleepers.p, i32 1 seq_cst, align 4
  call void @sleep_while(ptr %wake.p, i32 %seen)
  %s1 = atomicrmw sub ptr %sleepers.p, i32 1 seq_cst, align 4
  %caller.at = load atomic i32, ptr %processor.p monotonic, align 4
  %here = {system.here}
  %crowded = icmp eq i32 %here, %caller.at
  %known = icmp ult i32 %here, 1024
  %go = and i1 %crowded, %known
  br i1 %go, label %move, label %awoken
move:
  call void @move_from(i32 %here)
  br label %awoken
awoken:
  br label %look
leave:
  %a0 = atomicrmw sub ptr %alive.p, i32 1 seq_cst, align 4
  ret ptr null
"""


def _start(system: _System) -> str:
    """Starts the threads that are wanted and not there; the caller has the pool to itself."""
    return f"""
define internal void @start(ptr %pool) {{
entry:
  %thread = alloca ptr
  %mask = alloca [16 x i64]
  %old = alloca [16 x i64]
{_fields("wanted", "started", "alive")}
  %wanted = load atomic i64, ptr %wanted.p monotonic, align 8
  %first = load i64, ptr %started.p
  %base = ptrtoint ptr %pool to i64
{system.block_signals}
  br label %test
test:
  %count = phi i64 [ %first, %entry ], [ %number, %started ]
  %number = add i64 %count, 1
  %more = icmp slt i64 %number, %wanted
  br i1 %more, label %create, label %end
create:
  %argument.i = or i64 %base, %number
  %argument = inttoptr i64 %argument.i to ptr
  %a0 = atomicrmw add ptr %alive.p, i32 1 seq_cst, align 4
  %failed.i = call i32 @pthread_create(ptr %thread, ptr null, ptr @worker, ptr %argument)
  %failed = icmp ne i32 %failed.i, 0
  br i1 %failed, label %refused, label %started
started:
  %handle = load ptr, ptr %thread
  %d = call i32 @pthread_detach(ptr %handle)
  br label %test
refused:
  ; The system gives no more threads: carry on with those that there are.
  %a1 = atomicrmw sub ptr %alive.p, i32 1 seq_cst, align 4
  store atomic i64 %number, ptr %wanted.p monotonic, align 8
  br label %end
end:
  store i64 %count, ptr %started.p
  {system.restore_signals}
  ret void
}}
"""


def _parallel_for(system: _System) -> str:
    """Calls ``body(block, chunk, worker)`` for every chunk, and returns when all are done."""
    phases = (_publish(system), _work(system), _wait(system), _close(), _serial())
    return f"""
define void @parallel_for(ptr %pool, ptr %body, ptr %block, i64 %chunks) {{
entry:
{_fields("wanted", "started", "busy", "body", "block", "chunks", "parts", "tickets", "ticket")}
{_fields("done", "waiting", "wake", "processor", "sleepers", "backwards", "turn")}
  %wanted = load atomic i64, ptr %wanted.p monotonic, align 8
  %backwards = load atomic i64, ptr %turn.p monotonic, align 8
  %reverse = icmp ne i64 %backwards, 0
  %turned = xor i64 %backwards, 1
  store atomic i64 %turned, ptr %turn.p monotonic, align 8
  %alone = icmp sle i64 %wanted, 1
  %spread = add i64 %chunks, -2
  %odd = icmp ugt i64 %spread, {CLOSED - 4096}
  %simple = or i1 %alone, %odd
  br i1 %simple, label %serial, label %acquire
acquire:
  %pair = cmpxchg ptr %busy.p, i32 0, i32 1 acquire monotonic, align 4
  %free = extractvalue {{ i32, i1 }} %pair, 1
  br i1 %free, label %check, label %serial
check:
  %started = load i64, ptr %started.p
  %helpers = add i64 %wanted, -1
  %missing = icmp slt i64 %started, %helpers
  br i1 %missing, label %recruit, label %publish
recruit:
  call void @start(ptr %pool)
  br label %publish
{"".join(phases)}}}
"""


def _publish(system: _System) -> str:
    """Writes the job into the page, opens its parts, and wakes as many workers as can be of use; on to "work"."""
    return f"""publish:
  %body.i = ptrtoint ptr %body to i64
  %block.i = ptrtoint ptr %block to i64
  store atomic i64 %body.i, ptr %body.p monotonic, align 8
  store atomic i64 %block.i, ptr %block.p monotonic, align 8
  store atomic i64 %chunks, ptr %chunks.p monotonic, align 8
  %shares = call i64 @llvm.umin.i64(i64 %wanted, i64 %chunks)
  %parts = call i64 @llvm.umin.i64(i64 %shares, i64 {PARTS})
  store atomic i64 %parts, ptr %parts.p monotonic, align 8
  store atomic i64 %backwards, ptr %backwards.p monotonic, align 8
  store atomic i32 0, ptr %done.p monotonic, align 4
  %closed = load atomic i64, ptr %ticket.p monotonic, align 8
  %opened = add i64 %closed, 1
  br label %open.part
open.part:
  %o = phi i64 [ 0, %publish ], [ %o.next, %open.part ]
  %first.n = mul i64 %o, %chunks
  %first = udiv i64 %first.n, %parts
  %numbered = or i64 %opened, %first
  %o.line = mul i64 %o, 64
  %o.p = getelementptr i8, ptr %tickets.p, i64 %o.line
  store atomic i64 %numbered, ptr %o.p release, align 8
  %o.next = add i64 %o, 1
  %o.more = icmp ult i64 %o.next, %parts
  br i1 %o.more, label %open.part, label %announce
announce:
  store atomic i64 %opened, ptr %ticket.p release, align 8
  %w0 = atomicrmw add ptr %wake.p, i32 1 seq_cst, align 4
  %sleepers = load atomic i32, ptr %sleepers.p seq_cst, align 4
  %any = icmp ne i32 %sleepers, 0
  br i1 %any, label %wake, label %work
wake:
  %others = add i64 %chunks, -1
  %useful = call i64 @llvm.umin.i64(i64 %others, i64 %helpers)
  %useful32 = trunc i64 %useful to i32
  %here = {system.here}
  store atomic i32 %here, ptr %processor.p monotonic, align 4
  call void @rouse(ptr %wake.p, i32 %useful32)
  br label %work
"""


def _work(system: _System) -> str:
    """The caller's own share: every part in turn, as the workers do; to "wait" when no chunk is left."""
    return f"""work:
  %mine = phi i32 [ 0, %announce ], [ 0, %wake ], [ %mine.now, %advance ]
  %part = phi i64 [ 0, %announce ], [ 0, %wake ], [ %part.after, %advance ]
  %some = icmp ult i64 %part, %parts
  br i1 %some, label %begin, label %wait
begin:
  %part.after = add i64 %part, 1
  %limit.n = mul i64 %part.after, %chunks
  %limit = udiv i64 %limit.n, %parts
  %line = mul i64 %part, 64
  %own.p = getelementptr i8, ptr %tickets.p, i64 %line
  %own.first.n = mul i64 %part, %chunks
  %own.first = udiv i64 %own.first.n, %parts
  %ends = add i64 %own.first, %limit
  %mirror = add i64 %ends, -1
  %foreign = icmp ne i64 %part, 0
  br label %ask
ask:
  %mine.now = phi i32 [ %mine, %begin ], [ %mine.next, %run ], [ %mine.now, %hold ]
  %waits = phi i64 [ 0, %begin ], [ 0, %run ], [ %waits.next, %hold ]
  br i1 %foreign, label %consider, label %claim
consider:
  %theirs = load atomic i64, ptr %own.p acquire, align 8
  %theirs.next = and i64 %theirs, {CLOSED}
  %begun = icmp ugt i64 %theirs.next, %own.first
  %theirs.after = add i64 %theirs.next, 1
  %only = icmp eq i64 %theirs.after, %limit
  %patient = icmp ult i64 %waits, {_PATIENCE}
  %owned = and i1 %begun, %only
  %spare = and i1 %owned, %patient
  br i1 %spare, label %hold, label %claim
hold:
  {system.pause}
  %waits.next = add i64 %waits, 1
  br label %ask
claim:
  %own = atomicrmw add ptr %own.p, i64 1 acq_rel, align 8
  %next = and i64 %own, {CLOSED}
  %left = icmp ult i64 %next, %limit
  br i1 %left, label %run, label %advance
run:
  %mirrored = sub i64 %mirror, %next
  %own.chunk = select i1 %reverse, i64 %mirrored, i64 %next
  call void %body(ptr %block, i64 %own.chunk, i64 0)
  %mine.next = add i32 %mine.now, 1
  br label %ask
advance:
  br label %work
"""


def _wait(system: _System) -> str:
    """Until the workers are done too: looks for a while, gives way to other threads, and sleeps; on to "close"."""
    return f"""wait:
  %total = trunc i64 %chunks to i32
  %before = atomicrmw add ptr %done.p, i32 %mine seq_cst, align 4
  %after = add i32 %before, %mine
  %complete = icmp eq i32 %after, %total
  br i1 %complete, label %close, label %spin
spin:
  %spins = phi i64 [ 0, %wait ], [ %spins.next, %spin.more ]
  %done.spin = load atomic i32, ptr %done.p acquire, align 4
  %over = icmp eq i32 %done.spin, %total
  br i1 %over, label %close, label %spin.more
spin.more:
  {system.pause}
  %spins.next = add i64 %spins, 1
  %tired = icmp ugt i64 %spins.next, {_SPINS}
  br i1 %tired, label %yield, label %spin
yield:
  %yields = phi i64 [ 0, %spin.more ], [ %yields.next, %yield.more ]
  %y = call i32 @sched_yield()
  %done.yield = load atomic i32, ptr %done.p acquire, align 4
  %over.yield = icmp eq i32 %done.yield, %total
  br i1 %over.yield, label %close, label %yield.more
yield.more:
  %yields.next = add i64 %yields, 1
  %exhausted = icmp ugt i64 %yields.next, {_YIELDS}
  br i1 %exhausted, label %doze, label %yield
doze:
  store atomic i32 1, ptr %waiting.p seq_cst, align 4
  br label %doze.look
doze.look:
  %done.doze = load atomic i32, ptr %done.p seq_cst, align 4
  %over.doze = icmp eq i32 %done.doze, %total
  br i1 %over.doze, label %awake, label %doze.sleep
doze.sleep:
  call void @sleep_while(ptr %done.p, i32 %done.doze)
  br label %doze.look
awake:
  store atomic i32 0, ptr %waiting.p monotonic, align 4
  br label %close
"""


def _close() -> str:
    """Ends the job, so that no worker takes part in it any more, and returns."""
    return f"""close:
  %shut = or i64 %opened, {CLOSED}
  store atomic i64 %shut, ptr %ticket.p monotonic, align 8
  br label %close.part
close.part:
  %c = phi i64 [ 0, %close ], [ %c.next, %close.part ]
  %c.line = mul i64 %c, 64
  %c.p = getelementptr i8, ptr %tickets.p, i64 %c.line
  store atomic i64 %shut, ptr %c.p monotonic, align 8
  %c.next = add i64 %c, 1
  %c.more = icmp ult i64 %c.next, %parts
  br i1 %c.more, label %close.part, label %closed.all
closed.all:
  fence seq_cst ; nobody may see the next job's description under this job's number
  store atomic i32 0, ptr %busy.p release, align 4
  ret void
"""


def _serial() -> str:
    """All chunks on the caller: it is alone, another job runs, or this one does not fit into the tickets."""
    return """serial:
  %none = icmp sle i64 %chunks, 0
  %greatest = add i64 %chunks, -1
  br i1 %none, label %end, label %each
each:
  %chunk = phi i64 [ 0, %serial ], [ %chunk.next, %each ]
  %opposite = sub i64 %greatest, %chunk
  %serial.chunk = select i1 %reverse, i64 %opposite, i64 %chunk
  call void %body(ptr %block, i64 %serial.chunk, i64 0)
  %chunk.next = add i64 %chunk, 1
  %again = icmp slt i64 %chunk.next, %chunks
  br i1 %again, label %each, label %end
end:
  ret void
"""


def _resize() -> str:
    """Changes the number of participants between jobs, and waits until superfluous threads have left."""
    return f"""
define void @resize(ptr %pool, i64 %wanted) {{
entry:
{_fields("wanted", "started", "busy", "wake", "alive")}
  br label %acquire
acquire:
  %pair = cmpxchg ptr %busy.p, i32 0, i32 1 acquire monotonic, align 4
  %free = extractvalue {{ i32, i1 }} %pair, 1
  br i1 %free, label %change, label %again
again:
  %y = call i32 @sched_yield()
  br label %acquire
change:
  store atomic i64 %wanted, ptr %wanted.p seq_cst, align 8
  %w0 = atomicrmw add ptr %wake.p, i32 1 seq_cst, align 4
  call void @rouse(ptr %wake.p, i32 2147483647)
  %started = load i64, ptr %started.p
  %helpers = add i64 %wanted, -1
  %kept = call i64 @llvm.umin.i64(i64 %started, i64 %helpers)
  store i64 %kept, ptr %started.p
  %kept32 = trunc i64 %kept to i32
  br label %watch
watch:
  %alive = load atomic i32, ptr %alive.p seq_cst, align 4
  %gone = icmp sle i32 %alive, %kept32
  br i1 %gone, label %release, label %watch.more
watch.more:
  %y2 = call i32 @sched_yield()
  br label %watch
release:
  store atomic i32 0, ptr %busy.p release, align 4
  ret void
}}
"""
