"""The loader with worker processes."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import signal
import time
from typing import Any

import numpy as np
import pytest

import flambeau as fl
from flambeau.tensor import from_numpy, numpy_view
from flambeau.utils import data
from flambeau.utils.data._utils import worker as worker_module
from flambeau.utils.data._utils.worker import _generate_state

torch = pytest.importorskip("torch")

pytestmark = [
    pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="workers are forked here"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded"),
]


class Rows(data.Dataset):
    """Rows of numbers, with the worker that gave them."""

    def __init__(self, size: int = 23, width: int = 5) -> None:
        self.table = np.arange(size * width, dtype=np.float32).reshape(size, width)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Any:
        info = data.get_worker_info()
        return {"row": from_numpy(self.table[index]), "index": index, "worker": -1 if info is None else info.id}


class Stream(data.IterableDataset):
    """A stream that workers share."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __iter__(self) -> Any:
        info = data.get_worker_info()
        first, step = (info.id, info.num_workers) if info else (0, 1)
        return iter(range(first, self.size, step))


def as_list(batch: list[Any]) -> list[Any]:
    return batch


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"drop_last": True}, {"prefetch_factor": 1}, {"persistent_workers": True}])
def test_batches_and_their_order(workers: int, options: dict[str, Any]) -> None:
    loader = data.DataLoader(Rows(), batch_size=4, num_workers=workers, **options)
    expected = list(data.DataLoader(Rows(), batch_size=4, drop_last=options.get("drop_last", False)))
    for _ in range(2):
        found = list(loader)
        assert len(found) == len(expected) == len(loader)
        for i, (mine, reference) in enumerate(zip(found, expected)):
            assert mine["row"].tolist() == reference["row"].tolist()
            assert mine["index"].tolist() == reference["index"].tolist()
            assert set(mine["worker"].tolist()) == {i % workers}


def test_iteration_can_stop_early() -> None:
    before = multiprocessing.active_children()
    iterator = iter(data.DataLoader(Rows(), num_workers=2, collate_fn=as_list))
    next(iterator)
    processes = [worker.process for worker in iterator._workers]
    assert all(process.is_alive() for process in processes)
    folder = iterator._folder
    del iterator
    gc.collect()
    assert not any(process.is_alive() for process in processes)
    assert len(multiprocessing.active_children()) <= len(before)
    assert folder is None or not os.path.exists(folder)


def test_persistent_workers_begin_anew() -> None:
    loader = data.DataLoader(Rows(), batch_size=2, num_workers=2, persistent_workers=True, collate_fn=as_list)
    iterator = iter(loader)
    pids = [worker.process.pid for worker in iterator._workers]
    next(iterator)
    # A new epoch starts while batches of the old one are still on their way.
    assert [sample["index"] for batch in loader for sample in batch] == list(range(23))
    assert [worker.process.pid for worker in loader._iterator._workers] == pids
    stream = data.DataLoader(Stream(9), batch_size=2, num_workers=2, persistent_workers=True, collate_fn=as_list)
    assert [sorted(sum(stream, [])) for _ in range(3)] == [list(range(9))] * 3


def test_iterable_datasets_end_worker_by_worker() -> None:
    loader = data.DataLoader(Stream(10), batch_size=2, num_workers=3, collate_fn=as_list)
    expected = torch.utils.data.DataLoader(_TheirStream(10), batch_size=2, num_workers=3, collate_fn=as_list)
    assert list(loader) == list(expected)
    assert list(data.DataLoader(Stream(0), num_workers=2, collate_fn=as_list)) == []


class _TheirStream(torch.utils.data.IterableDataset):
    def __init__(self, size: int) -> None:
        self.size = size

    def __iter__(self) -> Any:
        info = torch.utils.data.get_worker_info()
        return iter(range(info.id, self.size, info.num_workers))


class Slow(data.Dataset):
    """The first sample takes its time."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> int:
        if index == 0:
            time.sleep(0.5)
        return index


def test_order_can_be_given_up() -> None:
    loader = data.DataLoader(Slow(), num_workers=2, in_order=False, collate_fn=as_list)
    found = sum(loader, [])
    assert sorted(found) == list(range(6)) and found[0] != 0
    assert sum(data.DataLoader(Slow(), num_workers=2, collate_fn=as_list), []) == list(range(6))


# -- seeds -----------------------------------------------------------------------------------------
class Draws(data.Dataset):
    """What each random generator gives in a worker."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        info = data.get_worker_info()
        return info.seed, fl.rand(1).item(), random.random(), float(np.random.rand())


class _TheirDraws(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        info = torch.utils.data.get_worker_info()
        return info.seed, torch.rand(1).item(), random.random(), float(np.random.rand())


def test_workers_are_seeded_as_pytorchs() -> None:
    fl.manual_seed(11)
    torch.manual_seed(11)
    ours = data.DataLoader(Draws(), num_workers=2, collate_fn=as_list)
    theirs = torch.utils.data.DataLoader(_TheirDraws(), num_workers=2, collate_fn=as_list)
    for _ in range(2):
        assert list(ours) == list(theirs)
    assert fl.rand(1).item() == torch.rand(1).item()


def test_numpy_seeds() -> None:
    from torch.utils.data._utils.worker import _generate_state as reference

    for base_seed, worker_id in ((0, 0), (123456789012345, 3), (2**63 - 1, 64)):
        assert _generate_state(base_seed, worker_id) == reference(base_seed, worker_id)


def test_worker_info() -> None:
    assert data.get_worker_info() is None
    info = worker_module.WorkerInfo(id=1, num_workers=2)
    assert repr(info) == "WorkerInfo(id=1, num_workers=2)"
    with pytest.raises(RuntimeError, match="Cannot assign"):
        info.id = 3


# -- what samples are made of ----------------------------------------------------------------------
class Things(data.Dataset):
    """Samples of many kinds and sizes."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        big = np.arange(50_000 * index, dtype=np.float32)
        base = np.arange(24.0).reshape(4, 6)
        return {
            "big": from_numpy(big),
            "array": big.copy(),
            "crossed": from_numpy(base.T),
            "strided": from_numpy(base[::2, 1::2]),
            "empty": fl.empty(0, 3),
            "zero-dim": fl.full((), index),
            "text": f"n{index}",
            "half": fl.ones(3, dtype=fl.bfloat16),
            "grad": fl.ones(2, requires_grad=True),
            "none": None,
        }


def test_samples_of_many_kinds() -> None:
    kept = []
    for _ in range(2):
        for index, sample in enumerate(data.DataLoader(Things(), batch_size=None, num_workers=2)):
            reference = Things()[index]
            kept.append(sample)
            for key in ("big", "crossed", "strided", "empty", "zero-dim", "half"):
                assert sample[key].dtype is reference[key].dtype and sample[key].shape == reference[key].shape, key
                np.testing.assert_array_equal(numpy_view(sample[key]), numpy_view(reference[key]))
            assert sample["crossed"].stride() == (1, 6)
            np.testing.assert_array_equal(sample["array"], reference["array"])
            assert sample["grad"].requires_grad and sample["text"] == f"n{index}" and sample["none"] is None
    for i, sample in enumerate(kept):
        assert numpy_view(sample["big"]).size == 50_000 * (i % 6)
        np.testing.assert_array_equal(numpy_view(sample["big"]), np.arange(50_000 * (i % 6), dtype=np.float32))


class Big(data.Dataset):
    def __len__(self) -> int:
        return 60

    def __getitem__(self, index: int) -> Any:
        return from_numpy(np.full(20_000, index, np.float32))


def test_all_batches_can_be_kept() -> None:
    """More batches than blocks of shared memory may be in use at once; each stays what it was."""
    kept = list(data.DataLoader(Big(), batch_size=None, num_workers=1))
    for i, tensor in enumerate(kept):
        assert (numpy_view(tensor) == i).all()
    for tensor in kept:
        numpy_view(tensor)[0] = -1


class Graph(data.Dataset):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Any:
        return fl.ones(2, requires_grad=True) * 2


def test_tensors_with_a_history_are_refused() -> None:
    with pytest.raises(RuntimeError, match="Cowardly refusing"):
        list(data.DataLoader(Graph(), batch_size=None, num_workers=1))


# -- failures --------------------------------------------------------------------------------------
class Failing(data.Dataset):
    def __init__(self, error: Any) -> None:
        self.error = error

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        if index == 2:
            raise self.error
        return index


class Picky(Exception):
    """Cannot be made from a text alone."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(one, two)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (KeyError("gone"), KeyError),
        (ValueError("bad"), ValueError),
        (Picky(1, 2), RuntimeError),
        (StopIteration("odd"), StopIteration),
    ],
)
def test_exceptions_pass_on_with_their_traceback(error: Exception, raised: type[Exception]) -> None:
    found: list[Any] = []
    with pytest.raises(raised) as caught:
        iterator = iter(data.DataLoader(Failing(error), num_workers=2, collate_fn=as_list))
        while True:
            found.append(next(iterator))
    assert found == [[0], [1]]
    text = str(caught.value)
    assert f"Caught {type(error).__name__} in DataLoader worker process 0." in text
    assert "in __getitem__" in text and "\n" in text


def test_iteration_goes_on_after_an_exception() -> None:
    iterator = iter(data.DataLoader(Failing(ValueError("bad")), num_workers=1, collate_fn=as_list))
    assert [next(iterator), next(iterator)] == [[0], [1]]
    with pytest.raises(ValueError, match="bad"):
        next(iterator)
    assert next(iterator) == [3]


def explode(worker_id: int) -> None:
    raise OSError(f"worker {worker_id} has no disk")


def note(worker_id: int) -> None:
    data.get_worker_info().dataset.table[:] = 100 + worker_id


def test_worker_init_fn() -> None:
    with pytest.raises(OSError, match="worker 0 has no disk"):
        list(data.DataLoader(Rows(), num_workers=1, worker_init_fn=explode, collate_fn=as_list))
    loader = data.DataLoader(Rows(4), num_workers=2, worker_init_fn=note, collate_fn=as_list)
    assert [batch[0]["row"].tolist()[0] for batch in loader] == [100, 101, 100, 101]


class Dying(data.Dataset):
    def __init__(self, how: str) -> None:
        self.how = how

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        if index == 1:
            if self.how == "exit":
                os._exit(3)
            os.kill(os.getpid(), signal.SIGKILL)
        return index


@pytest.mark.parametrize("how", ["exit", "kill"])
def test_workers_that_die_are_reported(how: str) -> None:
    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid.*(exited unexpectedly|killed by signal)"):
        list(data.DataLoader(Dying(how), num_workers=1, collate_fn=as_list))


def test_timeout() -> None:
    with pytest.raises(RuntimeError, match=r"timed out after 0\.1 seconds"):
        list(data.DataLoader(Slow(), num_workers=1, timeout=0.1, collate_fn=as_list))


class Unpicklable(data.Dataset):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Any:
        return lambda: None


def test_results_that_cannot_be_sent_are_reported() -> None:
    with pytest.raises((AttributeError, RuntimeError, TypeError), match=r"pickle|worker process 0"):
        list(data.DataLoader(Unpicklable(), num_workers=1, collate_fn=as_list))


def test_many_large_tasks_do_not_block_each_other() -> None:
    """Lists of indices longer than a pipe holds, and results too."""
    sampler = [list(range(20_000))] * 6
    loader = data.DataLoader(list(range(20_000)), batch_sampler=sampler, num_workers=1, collate_fn=as_list)
    assert [len(batch) for batch in loader] == [20_000] * 6


def test_spawned_workers() -> None:
    loader = data.DataLoader(Rows(6), batch_size=3, num_workers=1, multiprocessing_context="spawn", collate_fn=as_list)
    assert [[sample["index"] for sample in batch] for batch in loader] == [[0, 1, 2], [3, 4, 5]]
