"""Several threads that call what has not been planned yet."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import flambeau as torch
from flambeau import primitives
from flambeau.dispatch.forms import LazyMethod

THREADS = 4


@pytest.fixture
def hurried() -> Iterator[None]:
    """Threads that take turns much more often than usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def together(work: Callable[[int], None]) -> None:
    """Runs ``work(k)`` in a thread for each k; raises what one of them raised."""
    errors: list[BaseException] = []

    def run(k: int) -> None:
        try:
            work(k)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(THREADS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


@pytest.mark.parametrize("compiled", [False, True])
def test_threads_plan_at_the_same_time(hurried: None, compiled: bool) -> None:
    def work(k: int) -> None:
        for n in range(31 + k, 71, THREADS):
            rng = np.random.default_rng(n)
            a, b = rng.normal(size=(n, 3)), rng.normal(size=(3, n + 1))

            def fn(x, y):
                z = (x @ y).softmax(-1)
                return torch.cat([z.cumsum(0), z.t()[:1, :1].expand(len(x), 1)], 1).sum(0)

            x, y = (torch.tensor(v, requires_grad=True) for v in (a, b))
            call = torch.compile(fn) if compiled else fn
            for _ in range(3):
                x.grad = None
                found = call(x, y)
                (found * found).sum().backward()
            e = np.exp(a @ b)
            z = e / e.sum(-1, keepdims=True)
            np.testing.assert_allclose(found.detach()[:-1].numpy(), z.cumsum(0).sum(0), rtol=1e-9)
            # The derivative, by the sums of rows: each row of z counts n - i times.
            g = 2 * np.append(z.cumsum(0).sum(0), n * z[0, 0])
            dz = (n - np.arange(n))[:, None] * g[None, :-1]
            dz[0, 0] += n * g[-1]
            ds = z * (dz - (dz * z).sum(-1, keepdims=True))
            np.testing.assert_allclose(x.grad.numpy(), ds @ b.T, rtol=1e-7, atol=1e-9)

    together(work)


def test_only_the_thread_that_traces_is_tracing() -> None:
    seen: list[bool] = []
    with primitives.Recorder():
        assert primitives.tracing()
        other = threading.Thread(target=lambda: seen.append(primitives.tracing()))
        other.start()
        other.join()
    assert seen == [False] and not primitives.tracing()


def test_a_method_that_two_threads_make() -> None:
    class Owner:
        pass

    met = threading.Barrier(2)

    def make() -> Callable[..., str]:
        met.wait(10)
        return lambda self: "made"

    Owner.method = LazyMethod("method", make)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(Owner().method())) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert found == ["made", "made"] and Owner().method() == "made"
