"""Tensors in memory shared by processes, and many processes started at once."""

from __future__ import annotations

from typing import Any

import pytest

import flambeau as torch
import flambeau.multiprocessing as mp


def _write(index: int, shared: Any, queue: Any, done: Any) -> None:
    shared[index] = index + 1
    queue.put(torch.full((2,), float(index)))
    done.wait(60)  # the memory of what was sent belongs to this process until it has been received


def _fail(index: int) -> None:
    raise ValueError(f"process {index} cannot")


def _leave(index: int) -> None:
    raise SystemExit(3)


def test_shared_memory() -> None:
    x = torch.arange(4.0)
    view = x[1:3]
    before = x.data_ptr()
    assert not x.is_shared() and x.share_memory_() is x and x.is_shared() and view.is_shared()
    assert x.data_ptr() != before and view.tolist() == [1, 2]
    view.add_(1)
    assert x.tolist() == [0, 2, 3, 3]
    storage = torch.zeros(2).untyped_storage()
    assert storage.share_memory_().is_shared()
    empty = torch.zeros(0).share_memory_()
    assert empty.numel() == 0
    model = torch.nn.Linear(2, 2)
    model.share_memory()
    assert all(p.is_shared() for p in model.parameters())


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_processes_see_one_memory(method: str) -> None:
    context = mp.get_context(method)
    shared, queue, done = torch.zeros(2).share_memory_(), context.Queue(), context.Event()
    processes = mp.start_processes(_write, (shared, queue, done), nprocs=2, join=False, start_method=method)
    received = sorted(queue.get(timeout=60)[0].item() for _ in range(2))
    done.set()
    while not processes.join():
        pass
    assert received == [0, 1] and shared.tolist() == [1, 2]


def test_failures_of_processes() -> None:
    with pytest.raises(mp.ProcessRaisedException, match="process 0 cannot") as info:
        mp.spawn(_fail)
    assert info.value.error_index == 0
    with pytest.raises(mp.ProcessExitedException, match="exit code 3"):
        mp.start_processes(_leave, start_method="fork")


def test_what_cannot_be_sent() -> None:
    x = torch.ones(2, requires_grad=True) * 2
    with pytest.raises(RuntimeError, match="non-leaf"):
        mp.reductions.reduce_tensor(x)
    assert mp.get_sharing_strategy() in mp.get_all_sharing_strategies()
    with pytest.raises(AssertionError, match="invalid"):
        mp.set_sharing_strategy("pigeons")
