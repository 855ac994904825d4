"""The caching allocator of tensor memory.

A block is 64-byte aligned and its bytes are uninitialised.  Sizes are rounded up to classes, eight to each doubling, so
that at most an eighth is wasted; a freed block waits in its class's list for the next request and is not given back to
the system, so that a steady state never faults in fresh pages.

* Blocks up to 64 KiB are cut from chunks of 1 MiB, and stay in their class.
* Bigger blocks, and those chunks, are cut from regions of huge pages, where caches and their prefetchers do better than
  on scattered small pages (an addition of 2 MB tensors is a fifth faster); from 8 MiB on each is mapped by itself, on
  huge pages too.  A request may take a waiting block of the next class as well.  What waits is bounded by a quarter of
  the machine's memory: beyond it the oldest goes back.
* Before new pages are asked for, what would exceed the most that was ever in use at a time goes back, the oldest first:
  a program that turns to other sizes does not need the memory of both.  Where sizes that went back are asked for again,
  as much more may wait, so that a steady state of sizes by turns faults in nothing from its second round on.

``allocate`` and ``free`` are closures over their tables because they are on the path of every operator.
The caller remembers the size: ``free(address, nbytes)`` takes the ``nbytes`` that ``allocate`` was called with.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from .. import settings
from ..errors import OutOfMemoryError
from .cpu import total_memory
from .system import HUGE_PAGE, NONE, PAGE, advise_huge, map_pages, protect, seal, unmap

__all__ = [
    "ALIGNMENT", "MIDDLE", "SMALL", "Allocator", "allocate", "empty_cache", "free", "reset_peak", "size_class",
    "statistics",
]  # fmt: skip

ALIGNMENT = 64
SMALL = 1 << 16  # the biggest block that is cut from a chunk
MIDDLE = 4 << 20  # bytes of the largest blocks of which the last ones freed are at hand
_AT_HAND = 4  # of each class
_CHUNK = 1 << 20
_REGION = 32 << 20  # bytes of address space that blocks are cut from
_OWN = 8 << 20  # bytes of the smallest blocks with a mapping of their own
_BATCH = 1 << 14  # a class's list is refilled with about this many bytes at a time
_LOOSE = 8 << 20  # bytes that may wait beyond the most that was in use
_WORTH = 1 << 18  # bytes of the smallest blocks that go back before others are mapped
_LIMIT = 1 << 47  # no request beyond the address space reaches the system


class Statistics(NamedTuple):
    """Bytes in use (rounded to their classes), the most that were, bytes held from the system, and counts."""

    allocated: int
    peak: int
    reserved: int
    allocations: int
    frees: int
    system_calls: int


def size_class(nbytes: int) -> int:
    """The size that a request of ``nbytes`` is rounded up to: a multiple of 64 with at most 4 leading bits.

    At most 12.5 % is added beyond 512 bytes.
    """
    if nbytes <= 64:
        return 64
    shift = max(6, (nbytes - 1).bit_length() - 4)
    return -(-nbytes >> shift) << shift


def _map_aligned(nbytes: int) -> int | None:
    """Maps ``nbytes`` (whole pages) on a huge page's boundary, huge pages advised; ``None`` if the system refuses."""
    raw = map_pages(nbytes + HUGE_PAGE)
    if raw is None:
        return None
    address = -(-raw // HUGE_PAGE) * HUGE_PAGE
    if address > raw:
        unmap(raw, address - raw)
    unmap(address + nbytes, raw + HUGE_PAGE - address)
    advise_huge(address, nbytes)
    return address


def _round_to_page(nbytes: int) -> int:
    return -(-nbytes // PAGE) * PAGE


@functools.lru_cache(maxsize=4096)
def _big_classes(nbytes: int) -> tuple[int, int]:
    """The size in whole pages of a big block for ``nbytes``, and the next that would do as well."""
    exact = _round_to_page(size_class(nbytes))
    return exact, _round_to_page(size_class(exact + 1))


class Allocator:
    """One allocator with its own lists.  ``allocate`` and ``free`` are plain functions kept as attributes.

    ``limit`` bounds the bytes of big blocks that wait for reuse.
    """

    allocate: Callable[[int], int]
    free: Callable[[int, int], None]
    statistics: Callable[[], Statistics]
    empty_cache: Callable[[], None]
    reset_peak: Callable[[], None]
    after_fork: Callable[[], None]

    def __init__(self, limit: int | None = None) -> None:
        # The garbage collector may run a tensor's finaliser, and so ``free`` or even ``allocate``, in the middle of
        # these functions on the same thread, at any call and any creation of a container.  Hence a lock that its
        # holder may take again, and steps between such points that leave nothing half done.
        bound = total_memory() // 4 if limit is None else limit
        lock = threading.RLock()
        counts = range(SMALL // ALIGNMENT + 1)
        sizes = [size_class(ALIGNMENT * k) for k in counts]  # of requests of 64 (k - 1) < nbytes <= 64 k
        classes = sorted(set(sizes))
        lists: dict[int, list[int]] = {size: [] for size in classes}
        table = [lists[sizes[k]] for k in counts]
        big: dict[int, int] = {}  # big blocks in use: address -> size
        waiting: OrderedDict[int, int] = OrderedDict()  # big blocks to be reused: address -> size, oldest first
        by_size: dict[int, list[int]] = {}  # the same by size; an address that is not in ``waiting`` is out of date
        # The last blocks freed of each size up to MIDDLE, on the shortest way back: each step is one operation of a
        # list, which nothing can interrupt.
        last: dict[int, list[int]] = {}
        most = 0  # bytes that ``last`` can hold at most
        used = peak = reserved = cached = allocations = frees = calls = 0
        returned: dict[int, int] = {}  # size -> big blocks that went back before others were mapped
        regret = 0  # bytes of such blocks that were mapped again
        bump = bump_end = 0  # what is left of the present chunk
        region = region_end = 0  # what is left of the present region

        def allocate(nbytes: int) -> int:
            nonlocal used, peak, allocations
            if 0 <= nbytes <= SMALL:
                index = (nbytes + 63) >> 6
                try:
                    address = table[index].pop()
                except IndexError:
                    address = refill(index)
                used += sizes[index]
            else:
                address = allocate_big(nbytes)
            if used > peak:
                peak = used
            allocations += 1
            return address

        def free(address: int, nbytes: int) -> None:
            nonlocal used, frees
            if nbytes <= SMALL:
                index = (nbytes + 63) >> 6
                used -= sizes[index]
                table[index].append(address)
            else:
                free_big(address)
            frees += 1

        def refill(index: int) -> int:
            """Cuts blocks of one class off a chunk; returns one and lists the others."""
            size = sizes[index]
            count = max(1, _BATCH // size)
            with lock:
                first = cut(count * size)
            table[index].extend(range(first + (count - 1) * size, first, -size))
            return first

        def cut(nbytes: int) -> int:
            """The next ``nbytes`` of the present chunk, or of a new one."""
            nonlocal bump, bump_end, reserved
            while True:
                start = bump
                if start + nbytes <= bump_end:
                    bump = start + nbytes  # nothing can run between this line and the last but one
                    return start
                chunk = map_or_flush(_CHUNK, _CHUNK)
                rest, rest_end = bump, bump_end
                bump = chunk
                bump_end = chunk + _CHUNK
                reserved += _CHUNK
                for size in reversed(classes):  # what was left goes to the classes that it fits
                    while rest + size <= rest_end:
                        lists[size].append(rest)
                        rest += size

        def map_or_flush(nbytes: int, asked: int) -> int:
            """New pages; gives back what waits and tries once more before giving up."""
            nonlocal calls
            mapper = _map_aligned if nbytes >= _OWN else from_region
            calls += 1
            address = mapper(nbytes)
            if address is None:
                empty_cache()
                address = mapper(nbytes)
            if address is None:
                raise fail(asked)
            return address

        def from_region(nbytes: int) -> int | None:
            """The next pages of the present region, or of a new one; pages of their own if there is none to be had."""
            nonlocal region, region_end
            while True:
                start = region
                if start + nbytes <= region_end:
                    region = start + nbytes  # nothing can run between this line and the last but one
                    return start
                fresh = _map_aligned(_REGION)
                if fresh is None:
                    return map_pages(nbytes)
                rest, rest_end = region, region_end
                region, region_end = fresh, fresh + _REGION
                if rest < rest_end:
                    unmap(rest, rest_end - rest)

        def allocate_big(nbytes: int) -> int:
            nonlocal used, reserved, cached
            if 0 <= nbytes <= MIDDLE:
                size = _big_classes(nbytes)[0]
                at_hand = last.get(size)
                if at_hand:
                    try:
                        address = at_hand.pop()
                    except IndexError:  # another thread took it just now
                        pass
                    else:
                        used += size
                        return address
            if not 0 <= nbytes <= _LIMIT:
                raise fail(nbytes)
            sizes_that_do = _big_classes(nbytes)
            exact = sizes_that_do[0]
            with lock:
                for size in sizes_that_do:
                    blocks = by_size.get(size)
                    while blocks:
                        address = blocks.pop()
                        if waiting.get(address) == size and waiting.pop(address, 0):
                            cached -= size
                            big[address] = size
                            used += size
                            return address
                if exact >= HUGE_PAGE:
                    make_room(exact)
                address = map_or_flush(exact, nbytes)
                big[address] = exact
                reserved += exact
                used += exact
                return address

        def make_room(size: int) -> None:
            """Gives old blocks back, before one of this size is mapped, that keep more from the system than the program
            ever used at a time and has been seen to ask for again."""
            nonlocal regret
            count = returned.get(size, 0)
            if count:
                returned[size] = count - 1
                regret += size
            collect()
            most_used = max(peak, used + size)
            excess = reserved + size - most_used - max(_LOOSE, regret)
            if excess <= 0:
                return
            for address in list(waiting):
                old = waiting.get(address, 0)
                if old >= _WORTH and release(address):
                    returned[old] = returned.get(old, 0) + 1
                    excess -= old
                    if excess <= 0:
                        return

        def free_big(address: int) -> None:
            nonlocal used, most
            size = big[address]
            used -= size
            if size <= MIDDLE:
                at_hand = last.get(size)
                if at_hand is None:
                    at_hand = last.setdefault(size, [])
                    most += (_AT_HAND + 1) * size
                at_hand.append(address)
                if len(at_hand) <= _AT_HAND:
                    return
                try:
                    address = at_hand.pop(0)
                except IndexError:  # another thread took them all just now
                    return
            keep(address, size)

        def keep(address: int, size: int) -> None:
            """Lets a big block that is not in use wait to be used again."""
            nonlocal cached
            with lock:
                del big[address]
                cached += size
                waiting[address] = size
                by_size.setdefault(size, []).append(address)
                while cached + most > bound and cached + at_hand_bytes() > bound:
                    if not release_oldest():
                        break

        def at_hand_bytes() -> int:
            return sum(size * len(at_hand) for size, at_hand in tuple(last.items()))

        def release_oldest() -> bool:
            """Gives the big block that has waited longest back to the system; false when there is none."""
            try:
                address = next(iter(waiting))
            except StopIteration:
                return False
            release(address)
            return True

        def release(address: int) -> bool:
            """Gives a big block that waits back to the system; false if it does not wait any more."""
            nonlocal cached, reserved
            size = waiting.pop(address, 0)
            if not size:
                return False
            cached -= size
            reserved -= size
            with contextlib.suppress(ValueError):
                by_size[size].remove(address)
            unmap(address, size)
            return True

        def collect() -> None:
            """Lets the big blocks at hand wait like the others."""
            for give_back in holders:
                give_back()
            for size, at_hand in tuple(last.items()):
                with contextlib.suppress(IndexError):
                    while True:
                        keep(at_hand.pop(), size)

        def empty_cache() -> None:
            collect()
            with lock:
                while release_oldest():
                    pass

        def fail(nbytes: int) -> OutOfMemoryError:
            return OutOfMemoryError(
                f"allocate: cannot get {nbytes} bytes ({nbytes / 2**30:.2f} GiB); flambeau holds {reserved} bytes, "
                f"of which {used} are in use. Free tensors or use smaller ones."
            )

        def statistics() -> Statistics:
            return Statistics(used, peak, reserved, allocations, frees, calls)

        def reset_peak() -> None:
            nonlocal peak
            peak = used

        def after_fork() -> None:
            nonlocal lock
            lock = threading.RLock()  # another thread, which the child does not have, may have held the old one

        self.allocate = allocate
        self.free = free
        self.statistics = statistics
        self.empty_cache = empty_cache
        self.reset_peak = reset_peak
        self.after_fork = after_fork


class GuardAllocator(Allocator):
    """An allocator that finds out-of-bounds accesses: every block ends at an inaccessible page.

    A block starts at the last 64-byte boundary that leaves room for it before that page; the few bytes between its end
    and the page are checked when it is freed.  There is an inaccessible page before it too, and freed blocks become
    inaccessible for good, so that a use after the end of the tensor crashes as well.  New blocks are filled with ones:
    NaN, -1, or a Boolean that is neither true nor false.
    """

    def __init__(self) -> None:
        lock = threading.Lock()
        used = peak = allocations = frees = 0

        def layout(nbytes: int) -> tuple[int, int]:
            """Bytes of the accessible pages, and where the block starts in them."""
            body = _round_to_page(max(1, nbytes))
            return body, (body - nbytes) // ALIGNMENT * ALIGNMENT

        def allocate(nbytes: int) -> int:
            nonlocal used, peak, allocations
            start = None
            if 0 <= nbytes <= _LIMIT:
                body, offset = layout(nbytes)
                start = map_pages(body + 2 * PAGE)
            if start is None:
                raise OutOfMemoryError(f"allocate: cannot get {nbytes} bytes (in guard mode)")
            protect(start, PAGE, NONE)
            protect(start + PAGE + body, PAGE, NONE)
            ctypes.memset(start + PAGE, 0xFF, body)
            with lock:
                used += body
                peak = max(peak, used)
                allocations += 1
            return start + PAGE + offset

        def free(address: int, nbytes: int) -> None:
            nonlocal used, frees
            body, offset = layout(nbytes)
            start = address - offset
            slack = body - offset - nbytes
            intact = ctypes.string_at(address + nbytes, slack) == b"\xff" * slack
            seal(start - PAGE, body + 2 * PAGE)
            with lock:
                used -= body
                frees += 1
            if not intact:
                raise AssertionError(f"a kernel wrote beyond the end of a block of {nbytes} bytes at {address:#x}")

        def reset_peak() -> None:
            nonlocal peak
            peak = used

        def after_fork() -> None:
            nonlocal lock
            lock = threading.Lock()

        self.allocate = allocate
        self.free = free
        self.statistics = lambda: Statistics(used, peak, used, allocations, frees, allocations)
        self.empty_cache = lambda: None
        self.reset_peak = reset_peak
        self.after_fork = after_fork


waiting: list[Callable[[], int]] = []
"""Each gives bytes that are allocated, but that nobody uses: ``blocks`` keeps some at hand."""
holders: list[Callable[[], None]] = []
"""Each gives back what it keeps at hand of big blocks; called before an allocator gives its own back."""

_allocator = GuardAllocator() if settings.guard else Allocator()
allocate = _allocator.allocate
free = _allocator.free
empty_cache = _allocator.empty_cache
reset_peak = _allocator.reset_peak


def statistics() -> Statistics:
    """What is in use, and was.  Blocks that ``blocks`` keeps at hand are not in use, but count in ``peak``, and that
    they come and go is not counted."""
    found = _allocator.statistics()
    return found._replace(allocated=found.allocated - sum(count() for count in waiting))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_allocator.after_fork)
