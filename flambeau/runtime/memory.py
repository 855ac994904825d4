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


# The garbage collector may run a tensor's finaliser, and so ``free`` or even ``allocate``, in the middle of all that
# follows on the same thread, at any call and any creation of a container.  Hence a lock that its holder may take again,
# and steps between such points that leave nothing half done.


class _Pages:
    """Pages from the system, counted, and the lock under which an allocator asks for them.

    What is smaller than ``_OWN`` is cut from a region of huge pages.
    """

    __slots__ = ("calls", "lock", "region", "region_end", "reserved")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.calls = self.reserved = 0
        self.region = self.region_end = 0  # what is left of the present region

    def map(self, nbytes: int) -> int | None:
        """The address of ``nbytes`` (whole pages); ``None`` if the system refuses.  The lock is held."""
        self.calls += 1
        address = _map_aligned(nbytes) if nbytes >= _OWN else self._from_region(nbytes)
        if address is not None:
            self.reserved += nbytes
        return address

    def _from_region(self, nbytes: int) -> int | None:
        """The next pages of the present region, or of a new one; pages of their own if there is none to be had."""
        while True:
            start = self.region
            if start + nbytes <= self.region_end:
                self.region = start + nbytes  # nothing can run between this line and the last but one
                return start
            fresh = _map_aligned(_REGION)
            if fresh is None:
                return map_pages(nbytes)
            rest, rest_end = self.region, self.region_end
            self.region, self.region_end = fresh, fresh + _REGION
            if rest < rest_end:
                unmap(rest, rest_end - rest)

    def unmap(self, address: int, nbytes: int) -> None:
        """Gives back what ``map`` gave."""
        self.reserved -= nbytes
        unmap(address, nbytes)

    def after_fork(self) -> None:
        """Makes a new lock: another thread, which the child does not have, may have held the old one."""
        self.lock = threading.RLock()


class _BigBlocks:
    """The blocks of more than ``SMALL`` bytes: in use, at hand, or waiting to be used again.

    ``bound`` limits the bytes that wait; ``in_use()`` gives the bytes in use and the most that ever were.
    """

    def __init__(self, pages: _Pages, bound: int, in_use: Callable[[], tuple[int, int]]) -> None:
        self.pages = pages
        self.bound = bound
        self.in_use = in_use
        self.sizes: dict[int, int] = {}  # of the blocks in use and at hand: address -> size
        # The last blocks freed of each size up to MIDDLE, on the shortest way back: each step is one operation of a
        # list, which nothing can interrupt.
        self.at_hand: dict[int, list[int]] = {}
        self.most_at_hand = 0  # bytes that ``at_hand`` can hold at most
        self.waiting: OrderedDict[int, int] = OrderedDict()  # address -> size, oldest first
        self.by_size: dict[int, list[int]] = {}  # the same by size; an address not in ``waiting`` is out of date
        self.waiting_bytes = 0
        self.returned: dict[int, int] = {}  # size -> blocks that went back before others were mapped
        self.regret = 0  # bytes of such blocks that were mapped again

    def take(self, nbytes: int) -> int:
        """The address of a block for ``nbytes``, whose size is then found in ``sizes``."""
        if 0 <= nbytes <= MIDDLE:
            at_hand = self.at_hand.get(_big_classes(nbytes)[0])
            if at_hand:
                try:
                    return at_hand.pop()
                except IndexError:  # another thread took it just now
                    pass
        if not 0 <= nbytes <= _LIMIT:
            raise self._error(nbytes)
        with self.pages.lock:
            return self._reuse(nbytes) or self._map_block(nbytes)

    def put(self, address: int, size: int) -> None:
        """Takes back a block of this size."""
        if size <= MIDDLE:
            at_hand = self.at_hand.get(size)
            if at_hand is None:
                at_hand = self.at_hand.setdefault(size, [])
                self.most_at_hand += (_AT_HAND + 1) * size
            at_hand.append(address)
            if len(at_hand) <= _AT_HAND:
                return
            try:
                address = at_hand.pop(0)
            except IndexError:  # another thread took them all just now
                return
        self._keep(address, size)

    def map(self, nbytes: int, asked: int) -> int:
        """New pages; gives back what waits and tries once more before giving up.  The lock is held."""
        address = self.pages.map(nbytes)
        if address is None:
            self.empty_cache()
            address = self.pages.map(nbytes)
        if address is None:
            raise self._error(asked)
        return address

    def empty_cache(self) -> None:
        """Gives all that waits back to the system."""
        self._collect()
        with self.pages.lock:
            while self._release_oldest():
                pass

    def _reuse(self, nbytes: int) -> int:
        """A block that waits, of the class of ``nbytes`` or the next; 0 if there is none."""
        for size in _big_classes(nbytes):
            blocks = self.by_size.get(size)
            while blocks:
                address = blocks.pop()
                if self.waiting.get(address) == size and self.waiting.pop(address, 0):
                    self.waiting_bytes -= size
                    self.sizes[address] = size
                    return address
        return 0

    def _map_block(self, nbytes: int) -> int:
        size = _big_classes(nbytes)[0]
        if size >= HUGE_PAGE:
            self._make_room(size)
        address = self.map(size, nbytes)
        self.sizes[address] = size
        return address

    def _make_room(self, size: int) -> None:
        """Gives old blocks back, before one of this size is mapped, that keep more from the system than the program
        ever used at a time and has been seen to ask for again."""
        count = self.returned.get(size, 0)
        if count:
            self.returned[size] = count - 1
            self.regret += size
        self._collect()
        used, peak = self.in_use()
        excess = self.pages.reserved + size - max(peak, used + size) - max(_LOOSE, self.regret)
        if excess <= 0:
            return
        for address in list(self.waiting):
            old = self.waiting.get(address, 0)
            if old >= _WORTH and self._release(address):
                self.returned[old] = self.returned.get(old, 0) + 1
                excess -= old
                if excess <= 0:
                    return

    def _keep(self, address: int, size: int) -> None:
        """Lets a block that is not in use wait to be used again."""
        with self.pages.lock:
            del self.sizes[address]
            self.waiting_bytes += size
            self.waiting[address] = size
            self.by_size.setdefault(size, []).append(address)
            while (
                self.waiting_bytes + self.most_at_hand > self.bound
                and self.waiting_bytes + self._at_hand_bytes() > self.bound
            ):
                if not self._release_oldest():
                    break

    def _at_hand_bytes(self) -> int:
        return sum(size * len(at_hand) for size, at_hand in tuple(self.at_hand.items()))

    def _collect(self) -> None:
        """Lets the blocks at hand wait like the others."""
        for give_back in holders:
            give_back()
        for size, at_hand in tuple(self.at_hand.items()):
            with contextlib.suppress(IndexError):
                while True:
                    self._keep(at_hand.pop(), size)

    def _release_oldest(self) -> bool:
        """Gives the block that has waited longest back to the system; false when there is none."""
        try:
            address = next(iter(self.waiting))
        except StopIteration:
            return False
        self._release(address)
        return True

    def _release(self, address: int) -> bool:
        """Gives a block that waits back to the system; false if it does not wait any more."""
        size = self.waiting.pop(address, 0)
        if not size:
            return False
        self.waiting_bytes -= size
        with contextlib.suppress(ValueError):
            self.by_size[size].remove(address)
        self.pages.unmap(address, size)
        return True

    def _error(self, nbytes: int) -> OutOfMemoryError:
        return OutOfMemoryError(
            f"allocate: cannot get {nbytes} bytes ({nbytes / 2**30:.2f} GiB); flambeau holds {self.pages.reserved} "
            f"bytes, of which {self.in_use()[0]} are in use. Free tensors or use smaller ones."
        )


class _SmallBlocks:
    """The blocks of up to ``SMALL`` bytes that are not in use: a list for each class, filled from chunks.

    Requests of 64 (k - 1) < n <= 64 k bytes are served from ``lists[k]``, whose blocks have ``sizes[k]`` bytes.
    """

    def __init__(self, big: _BigBlocks) -> None:
        self.big = big
        self.sizes = [size_class(ALIGNMENT * k) for k in range(SMALL // ALIGNMENT + 1)]
        self.classes: dict[int, list[int]] = {size: [] for size in sorted(set(self.sizes), reverse=True)}
        self.lists = [self.classes[size] for size in self.sizes]
        self.chunk = self.chunk_end = 0  # what is left of the present chunk

    def refill(self, index: int) -> int:
        """Cuts blocks of one class off a chunk; returns one and lists the others."""
        size = self.sizes[index]
        count = max(1, _BATCH // size)
        with self.big.pages.lock:
            first = self._cut(count * size)
        self.lists[index].extend(range(first + (count - 1) * size, first, -size))
        return first

    def _cut(self, nbytes: int) -> int:
        """The next ``nbytes`` of the present chunk, or of a new one."""
        while True:
            start = self.chunk
            if start + nbytes <= self.chunk_end:
                self.chunk = start + nbytes  # nothing can run between this line and the last but one
                return start
            fresh = self.big.map(_CHUNK, _CHUNK)
            rest, rest_end = self.chunk, self.chunk_end
            self.chunk = fresh
            self.chunk_end = fresh + _CHUNK
            for size, blocks in self.classes.items():  # what was left goes to the classes that it fits
                while rest + size <= rest_end:
                    blocks.append(rest)
                    rest += size


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
        used = peak = allocations = frees = 0
        pages = _Pages()
        big = _BigBlocks(pages, total_memory() // 4 if limit is None else limit, lambda: (used, peak))
        small = _SmallBlocks(big)
        sizes, lists, big_sizes = small.sizes, small.lists, big.sizes

        def allocate(nbytes: int) -> int:
            nonlocal used, peak, allocations
            if 0 <= nbytes <= SMALL:
                index = (nbytes + 63) >> 6
                try:
                    address = lists[index].pop()
                except IndexError:
                    address = small.refill(index)
                used += sizes[index]
            else:
                address = big.take(nbytes)
                used += big_sizes[address]
            if used > peak:
                peak = used
            allocations += 1
            return address

        def free(address: int, nbytes: int) -> None:
            nonlocal used, frees
            if nbytes <= SMALL:
                index = (nbytes + 63) >> 6
                used -= sizes[index]
                lists[index].append(address)
            else:
                size = big_sizes[address]
                used -= size
                big.put(address, size)
            frees += 1

        def reset_peak() -> None:
            nonlocal peak
            peak = used

        self.allocate = allocate
        self.free = free
        self.statistics = lambda: Statistics(used, peak, pages.reserved, allocations, frees, pages.calls)
        self.empty_cache = big.empty_cache
        self.reset_peak = reset_peak
        self.after_fork = pages.after_fork


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
