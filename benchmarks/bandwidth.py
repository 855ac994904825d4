"""What memory gives at most: the rate at which C's memmove copies.

python benchmarks/bandwidth.py
"""

from __future__ import annotations

import ctypes
import threading
import time

SIZES = (16 << 10, 256 << 10, 1 << 20, 8 << 20, 64 << 20)


def copy(nbytes: int, threads: int = 1, seconds: float = 0.2) -> float:
    """Bytes read and written per second while ``threads`` threads copy ``nbytes`` in all, again and again; the best of
    seven rounds.  Every thread has its own part of both blocks."""
    part = max(nbytes // threads // 64 * 64, 64)
    blocks = [(ctypes.create_string_buffer(part + 64), ctypes.create_string_buffer(part + 64)) for _ in range(threads)]
    places = [tuple(-(-ctypes.addressof(block) // 64) * 64 for block in pair) for pair in blocks]
    memmove = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)(
        ctypes.cast(ctypes.memmove, ctypes.c_void_p).value
    )
    for to, start in places:
        memmove(to, start, part)
    begin = time.perf_counter()
    memmove(*places[0], part)
    count = max(1, int(seconds / 7 / max(time.perf_counter() - begin, 1e-7)))

    def work(to: int, start: int, gate: threading.Barrier, times: list[tuple[float, float]]) -> None:
        for _ in range(7):
            gate.wait()
            begun = time.perf_counter()
            for _ in range(count):
                memmove(to, start, part)
            times.append((begun, time.perf_counter()))

    gate = threading.Barrier(threads)
    times: list[list[tuple[float, float]]] = [[] for _ in range(threads)]
    workers = [threading.Thread(target=work, args=(*place, gate, mine)) for place, mine in zip(places, times)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    spans = [max(end for _, end in together) - min(first for first, _ in together) for together in zip(*times)]
    return 2 * threads * part * count / min(spans)


if __name__ == "__main__":
    for number in (1, 2):
        print(f"{number} thread(s): " + ", ".join(f"{n >> 10} KB {copy(n, number) / 1e9:.0f} GB/s" for n in SIZES))
