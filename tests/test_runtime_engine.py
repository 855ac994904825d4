"""Compilation, linking and loading of LLVM text."""

from __future__ import annotations

import ctypes
import math
import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flambeau import settings
from flambeau.runtime import cache, engine, llvm
from flambeau.runtime.engine import Request
from flambeau.runtime.image import Image, LinkError, link, load_images, symbol_address
from flambeau.target.isa import ISA

HOST = ISA.host()
I64, PTR = ctypes.c_int64, ctypes.c_void_p


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Every test starts with a disk cache of its own, which is used even if sources were edited a moment ago."""
    monkeypatch.setattr(cache, "_generation", lambda: b"test")
    with settings.override(cache_dir=str(tmp_path / "cache"), cache=True, debug=0, verify=False):
        yield tmp_path / "cache"


_serial = iter(range(10**9))


def fresh() -> str:
    """A key that no other test has used."""
    return f"test {next(_serial)} {os.getpid()}"


def run(text: str, symbol: str, result: Any, *args: Any) -> Any:
    """Compiles ``text`` and calls ``symbol``; arguments are ctypes instances."""
    code = engine.load(symbol, fresh(), lambda: text, HOST)
    return ctypes.CFUNCTYPE(result, *(type(a) for a in args))(code.address(symbol))(*args)


def constant(value: int) -> str:
    return f"define i64 @f() {{\n ret i64 {value}\n}}\n"


def call_constant(code: engine.Compiled) -> int:
    return int(ctypes.CFUNCTYPE(I64)(code.address("f"))())


# -- what the linker must handle ---------------------------------------------------------------------


def test_outside_functions() -> None:
    text = """
declare double @sin(double)
define double @f(double %x) {
  %y = call double @sin(double %x)
  %z = call double @sin(double %y)
  ret double %z
}"""
    assert run(text, "f", ctypes.c_double, ctypes.c_double(0.7)) == math.sin(math.sin(0.7))


def test_constants_and_tables() -> None:
    text = """
@table = private constant [4 x double] [double 1.5, double 2.5, double 3.5, double 4.5], align 64
@bytes = private constant [5 x i8] c"abcde"
define double @f(i64 %n) {
  %p = getelementptr double, ptr @table, i64 %n
  %x = load double, ptr %p
  %q = getelementptr i8, ptr @bytes, i64 %n
  %b = load i8, ptr %q
  %c = uitofp i8 %b to double
  %s = fadd double %x, %c
  ret double %s
}"""
    for n, letter in enumerate(b"abcd"):
        assert run(text, "f", ctypes.c_double, I64(n)) == n + 1.5 + letter


def test_function_pointers_and_jump_tables() -> None:
    cases = "\n".join(f"    i64 {n}, label %s{n}" for n in range(12))
    blocks = "\n".join(f"s{n}:\n  %r{n} = mul i64 %v, {n * n + 3}\n  ret i64 %r{n}" for n in range(12))
    text = f"""
@functions = private constant [2 x ptr] [ptr @twice, ptr @negate]
define internal i64 @twice(i64 %x) noinline {{
  %y = mul i64 %x, 2
  ret i64 %y
}}
define internal i64 @negate(i64 %x) noinline {{
  %y = sub i64 0, %x
  ret i64 %y
}}
define i64 @f(i64 %n, i64 %x) {{
  %odd = and i64 %n, 1
  %p = getelementptr ptr, ptr @functions, i64 %odd
  %g = load ptr, ptr %p
  %v = call i64 %g(i64 %x)
  switch i64 %n, label %other [
{cases}
  ]
{blocks}
other:
  ret i64 -1
}}"""
    for n in range(12):
        value = -5 if n % 2 else 10
        assert run(text, "f", I64, I64(n), I64(5)) == value * (n * n + 3)
    assert run(text, "f", I64, I64(12), I64(5)) == -1


def test_outside_data_and_addresses() -> None:
    text = """
@PyExc_TypeError = external global ptr
@stored = constant ptr @strlen
declare i64 @strlen(ptr)
define ptr @data() {
  %p = load ptr, ptr @PyExc_TypeError
  ret ptr %p
}
define i64 @pointer(ptr %s) {
  %f = load ptr, ptr @stored
  %n = call i64 %f(ptr %s)
  ret i64 %n
}"""
    assert run(text, "data", PTR) == id(TypeError)
    assert run(text, "pointer", I64, ctypes.c_char_p(b"seven!!")) == 7


def test_big_memory_operations() -> None:
    text = """
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
define void @f(ptr %p, i64 %n) {
  call void @llvm.memset.p0.i64(ptr %p, i8 7, i64 %n, i1 false)
  ret void
}"""
    buffer = ctypes.create_string_buffer(1000)
    run(text, "f", None, PTR(ctypes.addressof(buffer)), I64(999))
    assert buffer.raw == b"\x07" * 999 + b"\0"


def test_writable_data_is_refused() -> None:
    text = """
@counter = internal global i64 0
define i64 @f() {
  %old = atomicrmw add ptr @counter, i64 1 monotonic
  ret i64 %old
}"""
    with pytest.raises(LinkError, match=r"kernel k: .* is writable"):
        engine.load("k", fresh(), lambda: text, HOST)


def test_unknown_symbols_are_named() -> None:
    text = "declare void @no_such_thing()\ndefine void @f() {\n call void @no_such_thing()\n ret void\n}"
    with pytest.raises(LinkError, match="no_such_thing"):
        engine.load("k", fresh(), lambda: text, HOST)
    assert symbol_address("memcpy") and symbol_address("sinf") and symbol_address("PyLong_FromLongLong")


@pytest.mark.parametrize("data", [b"", b"\x7fELF\x01\x01" + bytes(100), b"MZ" + bytes(100)])
def test_other_object_files_are_refused(data: bytes) -> None:
    with pytest.raises(LinkError, match="ELF"):
        link(data)


ARM_TEXT = """
@table = private constant [4 x double] [double 1.0, double 2.0, double 3.0, double 4.0]
@outside = external global i64
declare i64 @ext(i64)
define i64 @f(ptr %p, i64 %n) {
  %a = getelementptr [4 x double], ptr @table, i64 0, i64 %n
  %x = load double, ptr %a
  store double %x, ptr %p
  %o = load i64, ptr @outside
  %r = call i64 @ext(i64 %o)
  ret i64 %r
}"""


def test_other_machines_link() -> None:
    """AArch64 code can be made and linked anywhere; here the branch and the page of the table are decoded."""
    image = link(llvm.to_object(ARM_TEXT, ISA.named("neon")))
    assert {f.symbol for f in image.fixups} == {"ext", "outside"}
    words = struct.unpack(f"<{len(image.code) // 4}I", image.code)
    stub = next(f.offset for f in image.fixups if f.symbol == "ext") - 8
    assert words[stub // 4 : stub // 4 + 2] == (0x58000050, 0xD61F0200)  # ldr x16, .+8; br x16
    branches = [(4 * i, w) for i, w in enumerate(words[: stub // 4]) if w >> 26 in (0b000101, 0b100101)]
    targets = [at + 4 * ((w & 0x3FFFFFF) - ((w & 0x2000000) << 1)) for at, w in branches]
    assert stub in targets
    assert struct.pack("<4d", 1, 2, 3, 4) in image.code


# -- images ------------------------------------------------------------------------------------------


def test_images_survive_serialisation() -> None:
    image = link(llvm.to_object(constant(41), HOST))._replace(source="abc")
    again = Image.from_bytes(image.to_bytes())
    assert again == image
    (addresses,) = load_images([again])
    assert ctypes.CFUNCTYPE(I64)(addresses["f"])() == 41


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x05\0\0\0{}",
        b"\x02\0\0\0{}",
        b"\xff\xff\xff\xff{}",
        b'\x33\0\0\0{"symbols":{},"fixups":[[99,"",0]],"source":"x"}    ' + bytes(20),
    ],
)
def test_damaged_images_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a kernel image"):
        Image.from_bytes(data)


def test_images_load_together() -> None:
    images = [link(llvm.to_object(constant(value), HOST)) for value in (1, 2, 3)]
    assert [ctypes.CFUNCTYPE(I64)(a["f"])() for a in load_images(images)] == [1, 2, 3]
    assert load_images([]) == []


def test_code_pages_are_not_writable() -> None:
    code = engine.load("f", fresh(), lambda: constant(5), HOST)
    address = code.address("f")
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(word, 16) for word in line.split()[0].split("-"))
        if start <= address < end:
            assert line.split()[1] == "r-xp"
            return
    raise AssertionError("the code is not mapped")


# -- the engine --------------------------------------------------------------------------------------


def counts() -> tuple[int, int, int]:
    return engine.statistics()[:3]


def test_memory_then_disk_then_compiler(empty_cache: Path) -> None:
    key, made = fresh(), []

    def make() -> str:
        made.append(1)
        return constant(17)

    compiled, disk, memory = counts()
    first = engine.load("f", key, make, HOST)
    assert call_constant(first) == 17
    assert counts() == (compiled + 1, disk, memory)
    assert engine.load("f", key, make, HOST) is first
    assert counts() == (compiled + 1, disk, memory + 1)
    engine._loaded.clear()
    second = engine.load("f", key, make, HOST)
    assert second is not first and call_constant(second) == 17
    assert counts() == (compiled + 1, disk + 1, memory + 1)
    assert made == [1]
    assert len(list(empty_cache.iterdir())) == 1


def test_kernels_are_told_apart() -> None:
    key = fresh()
    a = engine.load("f", key, lambda: constant(1), HOST)
    b = engine.load("f", key + "'", lambda: constant(2), HOST)
    c = engine.load("f", key, lambda: constant(3), ISA.named("generic"))
    assert [call_constant(x) for x in (a, b, c)] == [1, 2, 3]
    with pytest.raises(KeyError):
        a.address("g")


def test_threads_compile_once() -> None:
    key, made = fresh(), []
    barrier = threading.Barrier(8)
    results: list[engine.Compiled] = []

    def make() -> str:
        made.append(1)
        time.sleep(0.02)
        return constant(3)

    def ask() -> None:
        barrier.wait()
        results.append(engine.load("f", key, make, HOST))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1] and len(results) == 8 and len(set(map(id, results))) == 1


def test_load_many_compiles_in_parallel_and_once() -> None:
    key = fresh()
    requests = [Request("f", f"{key} {n % 6}", (lambda n=n: constant(n % 6)), HOST) for n in range(12)]
    compiled = counts()[0]
    codes = engine.load_many(requests)
    assert [call_constant(code) for code in codes] == [n % 6 for n in range(12)]
    assert counts()[0] == compiled + 6
    assert engine.load_many([]) == []


def test_overlapping_sets_from_several_threads() -> None:
    key = fresh()
    errors: list[BaseException] = []

    def ask(order: Callable[[list[Request]], list[Request]]) -> None:
        requests = [Request("f", f"{key} {n}", (lambda n=n: constant(n)), HOST) for n in range(10)]
        try:
            for request, code in zip(order(requests), engine.load_many(order(requests))):
                assert call_constant(code) == int(request.key.split()[-1])
        except BaseException as error:
            errors.append(error)

    compiled = counts()[0]
    threads = [threading.Thread(target=ask, args=(order,)) for order in (list, lambda r: r[::-1], lambda r: r[3:])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and counts()[0] == compiled + 10


def test_failures_are_raised_and_forgotten() -> None:
    key = fresh()

    def fail() -> str:
        raise ZeroDivisionError("no text today")

    with pytest.raises(ZeroDivisionError, match="no text today"):
        engine.load("f", key, fail, HOST)
    good = Request("f", key + "good", lambda: constant(8), HOST)
    with pytest.raises(ZeroDivisionError):
        engine.load_many([Request("f", key, fail, HOST), good])
    compiled = counts()[0]
    assert call_constant(engine.load(*good)) == 8  # was compiled beside the one that failed
    assert counts()[0] == compiled
    assert call_constant(engine.load("f", key, lambda: constant(9), HOST)) == 9


def test_mistakes_in_the_text_show_the_line() -> None:
    text = "define i64 @f() {\n  %x = add i64 1, 2\n  %y = addd i64 %x, 1\n  ret i64 %y\n}"
    with pytest.raises(llvm.CompileError, match=r"(?s)kernel bad: LLVM cannot parse.*%y = addd"):
        engine.load("bad", fresh(), lambda: text, HOST)


def test_verification() -> None:
    # Parsing verifies types, not that a value is defined on every path to its use.
    text = """
define i64 @f(i1 %c) {
entry:
  br i1 %c, label %a, label %b
a:
  %x = add i64 1, 2
  br label %b
b:
  ret i64 %x
}"""
    with settings.override(verify=True), pytest.raises(llvm.CompileError, match="does not verify"):
        engine.load("f", fresh(), lambda: text, HOST)


def test_verification_finds_keys_that_do_not_determine_the_code() -> None:
    key = fresh()
    engine.load("f", key, lambda: constant(1), HOST)
    with settings.override(verify=True):
        engine.load("f", key, lambda: constant(1), HOST)
        with pytest.raises(AssertionError, match="its key does not determine its code"):
            engine.load("f", key, lambda: constant(2), HOST)
        engine._loaded.clear()
        with pytest.raises(AssertionError, match="its key does not determine its code"):
            engine.load("f", key, lambda: constant(2), HOST)


@pytest.mark.parametrize(
    ("level", "words"), [(1, ["compiled f"]), (2, ["must compile f: it is new to the disk cache"])]
)
def test_debugging_reports(level: int, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with settings.override(debug=level):
        engine.load("f", fresh(), lambda: constant(1), HOST)
    text = capsys.readouterr().err
    assert all(word in text for word in words)
    assert ("must compile" in text) == (level >= 2)
    assert "define i64" not in text


def test_debugging_shows_llvm_and_assembly(capsys: pytest.CaptureFixture[str]) -> None:
    key = fresh()
    with settings.override(debug=6):
        engine.load("f", key, lambda: constant(12345), HOST)
        engine._loaded.clear()
        engine.load("f", key, lambda: constant(12345), HOST)  # found on disk, and shown all the same
    text = capsys.readouterr().err
    assert text.count("define i64 @f()") == 2
    assert text.count("ret i64 12345") == 2
    assert text.count("$12345") == 2 or text.count("#12345") == 2


def test_optimized_text() -> None:
    text = """
define i64 @f(i64 %x) {
  %slot = alloca i64
  store i64 %x, ptr %slot
  %y = load i64, ptr %slot
  ret i64 %y
}"""
    assert "alloca" not in llvm.optimized(text, HOST)


def test_loop_strength_reduction_is_given_back() -> None:
    """Other users of llvmlite in the process keep their pass."""
    with llvm._without_loop_strength_reduction(), llvm._without_loop_strength_reduction():
        assert llvm._lsr_users == 2
    assert llvm._lsr_users == 0


def test_perf_map(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(f"/tmp/perf-{os.getpid()}.map")
    try:
        with settings.override(perf=True):
            code = engine.load("f", fresh(), lambda: constant(1), HOST)
        address, size, name = path.read_text().splitlines()[-1].split()
        assert (int(address, 16), name) == (code.address("f"), "f") and int(size, 16) > 0
    finally:
        path.unlink(missing_ok=True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_fork_while_another_thread_compiles() -> None:
    key = fresh()
    inside, leave = threading.Event(), threading.Event()

    def make() -> str:
        inside.set()
        leave.wait(30)
        return constant(4)

    thread = threading.Thread(target=engine.load, args=("f", key, make, HOST))
    thread.start()
    inside.wait(30)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if call_constant(engine.load("f", key, lambda: constant(4), HOST)) == 4 else 2
        finally:
            os._exit(status)
    leave.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


WARM = """
import sys, ctypes
from flambeau.runtime import engine, memory, native, pool
from flambeau.target.isa import ISA
code = engine.load("f", "warm", lambda: "define i64 @f() {{\\n ret i64 {0}\\n}}", ISA.host())
pool.address()
assert native.make_caller(code.address("f"), "")() == {0}
print(engine.statistics().compiled, "llvmlite" in sys.modules)
"""


def test_a_warm_process_does_not_load_llvm(empty_cache: Path) -> None:
    environment = {**os.environ, "FLAMBEAU_CACHE_DIR": str(empty_cache)}

    def start() -> list[str]:
        command = [sys.executable, "-W", "error", "-c", WARM.format(77)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()

    assert start() == ["3", "True"]
    assert start() == ["0", "False"]
