"""The processor's own peak: how many float32 operations a loop of nothing but fused multiply-adds does.

python benchmarks/fma_peak.py
"""

from __future__ import annotations

import ctypes
import threading
import time

from flambeau.runtime import engine
from flambeau.target.isa import ISA

# More chains than two pipelines of latency 4 to 5 need, fewer than the narrowest ISA has registers.
CHAINS = 12


def _llvm(isa: ISA) -> str:
    """``void peak(i64 n, ptr out)``: n rounds of CHAINS independent x = x * a + b on vectors of full width."""
    lanes = isa.lanes("float")
    vector = f"<{lanes} x float>"

    def splat(value: str) -> str:
        return "<" + ", ".join([f"float {value}"] * lanes) + ">"

    fused = f"@llvm.fma.v{lanes}f32"
    lines = [
        f"declare {vector} {fused}({vector}, {vector}, {vector})",
        f"define void @peak(i64 %n, ptr %out) {isa.function_attributes()} {{",
        "entry:",
        "  br label %loop",
        "loop:",
        "  %i = phi i64 [0, %entry], [%next, %loop]",
    ]
    chains = range(CHAINS)
    lines += [f"  %x{c} = phi {vector} [{splat(f'{c}.0')}, %entry], [%y{c}, %loop]" for c in chains]
    lines += [
        f"  %y{c} = call {vector} {fused}({vector} %x{c}, {vector} {splat('0.5')}, {vector} {splat('1.0')})"
        for c in chains
    ]
    lines += [
        "  %next = add i64 %i, 1",
        "  %more = icmp ult i64 %next, %n",
        "  br i1 %more, label %loop, label %done",
        "done:",
    ]
    lines += [f"  %s0 = fadd {vector} %y0, %y1"]
    lines += [f"  %s{c - 1} = fadd {vector} %s{c - 2}, %y{c}" for c in range(2, CHAINS)]
    lines += [f"  store {vector} %s{CHAINS - 2}, ptr %out, align 4", "  ret void", "}"]
    return "\n".join(lines) + "\n"


def peak(threads: int = 1, seconds: float = 0.3) -> float:
    """Operations per second (a multiply-add is two) of ``threads`` threads at once; the best of ten rounds."""
    isa = ISA.host()
    code = engine.load("fma_peak", f"fma_peak {CHAINS}", lambda: _llvm(isa), isa)
    function = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)(code.address("peak"))
    rounds = 20_000
    start = time.perf_counter()
    function(rounds, ctypes.create_string_buffer(64))
    rounds = max(rounds, int(rounds * seconds / 10 / (time.perf_counter() - start)))

    def work(gate: threading.Barrier, times: list[tuple[float, float]]) -> None:
        out = ctypes.create_string_buffer(64)
        for _ in range(10):
            gate.wait()
            begin = time.perf_counter()
            function(rounds, out)
            times.append((begin, time.perf_counter()))

    gate = threading.Barrier(threads)
    times: list[list[tuple[float, float]]] = [[] for _ in range(threads)]
    workers = [threading.Thread(target=work, args=(gate, mine)) for mine in times]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    spans = [max(end for _, end in together) - min(begin for begin, _ in together) for together in zip(*times)]
    return threads * rounds * CHAINS * isa.lanes("float") * 2 / min(spans)


if __name__ == "__main__":
    for count in (1, 2):
        print(f"{count} thread(s): {peak(count) / 1e9:.0f} GFLOP/s")
