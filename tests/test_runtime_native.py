"""Calls of native functions from Python."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import time
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flambeau.runtime import engine, native
from flambeau.target.isa import ISA

TEXT = """
declare i32 @usleep(i32)
define i64 @four(ptr %a, ptr %b, ptr %c, ptr %d) {
  %w = ptrtoint ptr %a to i64
  %x = ptrtoint ptr %b to i64
  %y = ptrtoint ptr %c to i64
  %z = ptrtoint ptr %d to i64
  %w3 = mul i64 %w, 1000
  %x3 = mul i64 %x, 100
  %y3 = mul i64 %y, 10
  %s = add i64 %w3, %x3
  %t = add i64 %y3, %z
  %u = add i64 %s, %t
  ret i64 %u
}
define i64 @same(i64 %a) {
  ret i64 %a
}
define i64 @address(ptr %a) {
  %x = ptrtoint ptr %a to i64
  ret i64 %x
}
define i64 @store(ptr %p, i64 %i, double %d) {
  %q = getelementptr double, ptr %p, i64 %i
  store double %d, ptr %q
  ret i64 0
}
define i64 @nothing() {
  ret i64 -7
}
define i64 @sleep(i64 %us) {
  %n = trunc i64 %us to i32
  %r = call i32 @usleep(i32 %n)
  ret i64 0
}
"""


@cache
def address(symbol: str) -> int:
    return engine.load("native test", "3", lambda: TEXT, ISA.host()).address(symbol)


def make_with_ctypes(where: int, signature: str, *, bound: tuple[int, ...] = (), release_gil: bool = False) -> object:
    """What interpreters other than CPython get."""
    return native._make_with_ctypes(where, signature, bound, release_gil)


MAKERS = [pytest.param(native.make_caller, id="builtin"), pytest.param(make_with_ctypes, id="ctypes")]
Maker = Callable[..., Callable[..., int]]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("release", [False, True])
def test_arguments_arrive_in_order(make: Maker, release: bool) -> None:
    assert make(address("four"), "pppp", release_gil=release)(1, 2, 3, 4) == 1234
    for count in range(5):
        bound, rest = (1, 2, 3, 4)[:count], (1, 2, 3, 4)[count:]
        assert make(address("four"), "p" * len(rest), bound=bound, release_gil=release)(*rest) == 1234
    assert make(address("nothing"), "")() == -7


@pytest.mark.parametrize("make", MAKERS)
def test_kinds_of_arguments(make: Maker) -> None:
    values = np.zeros(4)
    store = make(address("store"), "pid", bound=())
    assert store(values.ctypes.data, 2, 2.5) == 0
    assert store(values.ctypes.data, 0, float("-inf")) == 0
    assert store(values.ctypes.data, 1, -1.0) == 0  # the value by which the C API reports errors
    assert store(values.ctypes.data, 3, 7) == 0
    assert values.tolist() == [float("-inf"), -1.0, 2.5, 7.0]


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers(value: int) -> None:
    assert native.make_caller(address("same"), "i")(value) == value


@given(st.integers(0, 2**64 - 1))
def test_addresses(value: int) -> None:
    assert native.make_caller(address("address"), "p")(value) % 2**64 == value


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), TypeError),
        ((1, 2), TypeError),
        ((1, 2, 3.0, 4), TypeError),
        (("1", 2, 3.0), TypeError),
        ((1.5, 2, 3.0), TypeError),
        ((None, 2, 3.0), TypeError),
        ((1, 2.0, 3.0), TypeError),
        ((1, 2, "3"), TypeError),
        ((1, 2, None), TypeError),
        ((1, 2**63, 3.0), OverflowError),
        ((1, -(2**63) - 1, 3.0), OverflowError),
        ((2**64, 2, 3.0), OverflowError),
    ],
)
def test_bad_arguments(arguments: tuple[object, ...], error: type[Exception]) -> None:
    store = native.make_caller(address("store"), "pid")
    with pytest.raises(error):
        store(*arguments)
    with pytest.raises(TypeError):
        store(1, 2, d=3.0)


def test_the_count_is_named() -> None:
    with pytest.raises(TypeError, match=r"expected 3 arguments \(pid\)"):
        native.make_caller(address("store"), "pid")(1)


def test_bad_signatures() -> None:
    with pytest.raises(ValueError, match="'px'"):
        native.make_caller(0, "px")


def test_no_reference_is_lost() -> None:
    """A thousand calls leave the reference counts of arguments, results and errors as they were."""
    call = native.make_caller(address("same"), "i")
    big, bad = 2**40, "no number".upper()  # a string that nobody else refers to
    before = sys.getrefcount(big), sys.getrefcount(bad), sys.getrefcount(call)
    for _ in range(1000):
        call(big)
        with pytest.raises(TypeError):
            call(bad)
    gc.collect()
    assert (sys.getrefcount(big), sys.getrefcount(bad), sys.getrefcount(call)) == before


def test_callers_go_away() -> None:
    """What a caller is made of lives exactly as long as the caller."""
    calls = [native.make_caller(address("four"), "ppp", bound=(k,)) for k in range(1000)]
    gc.collect()
    assert [call(2, 3, 4) for call in calls] == [1000 * k + 234 for k in range(1000)]


@pytest.mark.parametrize("make", MAKERS)
def test_released_calls_let_other_threads_run(make: Maker) -> None:
    sleep = make(address("sleep"), "i", release_gil=True)
    ticks: list[float] = []
    stop = threading.Event()

    def tick() -> None:
        while not stop.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        progress = 0
        while progress < 2 and time.monotonic() < deadline:
            before = len(ticks)
            assert sleep(50_000) == 0
            progress = len(ticks) - before
    finally:
        stop.set()
        thread.join()
    assert progress >= 2


def test_many_threads_call() -> None:
    call = native.make_caller(address("four"), "pppp", release_gil=True)
    wrong: list[int] = []

    def work(seed: int) -> None:
        for k in range(3000):
            if call(seed, k, 0, 0) != 1000 * seed + 100 * k:
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_layout_of_method_definitions() -> None:
    """Four words, as in Python's headers."""
    assert ctypes.sizeof(native.MethodDef) == 4 * ctypes.sizeof(ctypes.c_void_p)


@pytest.mark.parametrize("maker", ["builtin", "ctypes"])
def test_arguments_in_another_order(maker):
    order = (2, None, 0, 2)
    if maker == "builtin":
        call = native.make_caller(address("four"), "ppp", order=order)
    else:
        call = native._make_with_ctypes(address("four"), "ppp", (), False, order)
    assert call(1, 2, 3) == 3013


def test_other_order_after_bound_arguments():
    call = native.make_caller(address("four"), "pp", bound=(7,), order=(1, 0, None))
    assert call(1, 2) == 7210
