"""The caching allocator of tensor memory.

A block is 64-byte aligned and its bytes are uninitialised.  Sizes are rounded up to classes, eight to each doubling, so
that at most an eighth is wasted; a freed block waits in its class's list for the next request and is not given back to
the system, so that a steady state never faults in fresh pages.

* Blocks up to 64 KiB are cut from chunks of 1 MiB, and stay in their class.
* Bigger blocks are mapped one by one (huge pages advised from 2 MiB on).  A request may take a waiting block of the
  next class as well.  What waits is bounded by a quarter of the machine's memory: beyond it the oldest goes back.

``allocate`` and ``free`` are closures over their tables because they are on the path of every operator.
The caller remembers the size: ``free(address, nbytes)`` takes the ``nbytes`` that ``allocate`` was called with.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from .. import settings
from .cpu import total_memory
from .system import HUGE_PAGE, NONE, PAGE, advise_huge, map_pages, protect, seal, unmap

__all__ = ["ALIGNMENT", "Allocator", "allocate", "empty_cache", "free", "reset_peak", "size_class", "statistics"]

ALIGNMENT = 64
_SMALL = 1 << 16  # the biggest block that is cut from a chunk
_CHUNK = 1 << 20
_BATCH = 1 << 14  # a class's list is refilled with about this many bytes at a time
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


class Allocator:
    """One allocator with its own lists.  ``allocate`` and ``free`` are plain functions kept as attributes.

    ``limit`` bounds the bytes of big blocks that wait for reuse.
    """

    allocate: Callable[[int], int]
    free: Callable[[int, int], None]
    statistics: Callable[[], Statistics]
    empty_cache: Callable[[], None]
    reset_peak: Callable[[], None]

    def __init__(self, limit: int | None = None) -> None:
        bound = total_memory() // 4 if limit is None else limit
        lock = threading.RLock()
        # table[k] is the list of the class of requests of 64 (k - 1) < nbytes <= 64 k
        classes = sorted({size_class(64 * k) for k in range(1, _SMALL // 64 + 1)})
        small: dict[int, list[int]] = {size: [] for size in classes}
        table = [small[size_class(max(1, 64 * k))] for k in range(_SMALL // 64 + 1)]
        sizes = [size_class(max(1, 64 * k)) for k in range(_SMALL // 64 + 1)]
        waiting: OrderedDict[int, int] = OrderedDict()  # big blocks: address -> size, oldest first
        by_size: dict[int, list[int]] = {}
        big: dict[int, int] = {}  # big blocks in use: address -> size
        used = peak = reserved = cached = allocations = frees = calls = 0
        bump = bump_end = 0

        def fail(nbytes: int) -> MemoryError:
            return MemoryError(
                f"allocate: cannot get {nbytes} bytes ({nbytes / 2**30:.2f} GiB); flambeau holds {reserved} bytes, "
                f"of which {used} are in use. Free tensors or use smaller ones."
            )

        def allocate(nbytes: int) -> int:
            nonlocal used, peak, allocations
            if 0 <= nbytes <= _SMALL:
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
            if nbytes <= _SMALL:
                index = (nbytes + 63) >> 6
                used -= sizes[index]
                table[index].append(address)
            else:
                free_big(address)
            frees += 1

        def refill(index: int) -> int:
            """Cuts blocks of one class off the present chunk; returns one and lists the others."""
            nonlocal bump, bump_end, reserved, calls
            size, blocks = sizes[index], table[index]
            with lock:
                if bump + size > bump_end:
                    chunk = map_or_flush(_CHUNK, _CHUNK)
                    # What is left of the old chunk goes to the classes that it fits.
                    while bump_end - bump >= 64:
                        left = max(s for s in classes if s <= bump_end - bump)
                        small[left].append(bump)
                        bump += left
                    bump, bump_end = chunk, chunk + _CHUNK
                    reserved += _CHUNK
                first = bump
                count = max(1, min(_BATCH, bump_end - bump) // size)
                bump += count * size
                blocks.extend(range(first + (count - 1) * size, first, -size))
                return first

        def map_or_flush(nbytes: int, asked: int) -> int:
            """Maps pages; gives back what waits and tries once more before giving up."""
            nonlocal calls
            mapper = _map_aligned if nbytes >= HUGE_PAGE else map_pages
            calls += 1
            address = mapper(nbytes)
            if address is None:
                empty_cache()
                address = mapper(nbytes)
            if address is None:
                raise fail(asked)
            return address

        def allocate_big(nbytes: int) -> int:
            nonlocal used, reserved, cached
            if not 0 <= nbytes <= _LIMIT:
                raise fail(nbytes)
            size = _round_to_page(size_class(nbytes))
            with lock:
                for fitting in (size, _round_to_page(size_class(size + 1))):
                    blocks = by_size.get(fitting)
                    if blocks:
                        address = blocks.pop()
                        del waiting[address]
                        cached -= fitting
                        size = fitting
                        break
                else:
                    address = map_or_flush(size, nbytes)
                    reserved += size
                big[address] = size
                used += size
            return address

        def free_big(address: int) -> None:
            nonlocal used, cached
            with lock:
                size = big.pop(address)
                used -= size
                by_size.setdefault(size, []).append(address)
                waiting[address] = size
                cached += size
                while cached > bound:
                    release(next(iter(waiting)))

        def release(address: int) -> None:
            """Gives a waiting big block back to the system."""
            nonlocal cached, reserved
            size = waiting.pop(address)
            by_size[size].remove(address)
            cached -= size
            reserved -= size
            unmap(address, size)

        def empty_cache() -> None:
            with lock:
                while waiting:
                    release(next(iter(waiting)))

        def statistics() -> Statistics:
            return Statistics(used, peak, reserved, allocations, frees, calls)

        def reset_peak() -> None:
            nonlocal peak
            peak = used

        self.allocate = allocate
        self.free = free
        self.statistics = statistics
        self.empty_cache = empty_cache
        self.reset_peak = reset_peak


class GuardAllocator(Allocator):
    """An allocator that finds out-of-bounds accesses: every block ends at an inaccessible page.

    A block starts at the 64-byte boundary that leaves the least room before that page (less than 64 bytes), with
    an inaccessible page before it too; freed blocks become inaccessible for good, so that a use after the end of the
    tensor crashes as well.
    """

    def __init__(self) -> None:
        lock = threading.Lock()
        counts = [0, 0, 0, 0]  # used, peak, allocations, frees

        def layout(nbytes: int) -> tuple[int, int]:
            body = _round_to_page(max(1, nbytes))
            return body, (body - max(1, nbytes)) // ALIGNMENT * ALIGNMENT

        def allocate(nbytes: int) -> int:
            if not 0 <= nbytes <= _LIMIT:
                raise MemoryError(f"allocate: cannot get {nbytes} bytes")
            body, offset = layout(nbytes)
            start = map_pages(body + 2 * PAGE)
            if start is None:
                raise MemoryError(f"allocate: cannot get {nbytes} bytes (guard mode)")
            protect(start, PAGE, NONE)
            protect(start + PAGE + body, PAGE, NONE)
            with lock:
                counts[0] += body
                counts[1] = max(counts[0], counts[1])
                counts[2] += 1
            return start + PAGE + offset

        def free(address: int, nbytes: int) -> None:
            body, offset = layout(nbytes)
            start = address - offset - PAGE
            seal(start, body + 2 * PAGE)
            with lock:
                counts[0] -= body
                counts[3] += 1

        def reset_peak() -> None:
            counts[1] = counts[0]

        self.allocate = allocate
        self.free = free
        self.statistics = lambda: Statistics(counts[0], counts[1], counts[0], counts[2], counts[3], counts[2])
        self.empty_cache = lambda: None
        self.reset_peak = reset_peak


_allocator = GuardAllocator() if settings.guard else Allocator()
allocate = _allocator.allocate
free = _allocator.free
statistics = _allocator.statistics
empty_cache = _allocator.empty_cache
reset_peak = _allocator.reset_peak
