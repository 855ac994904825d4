"""The loader: batches of a dataset's samples, made in this process or in workers."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import shutil
import signal
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from typing import Any, Generic, TypeVar

from ...generator import Generator
from . import _utils
from ._utils.collate import default_collate, default_convert
from ._utils.fetch import IterableFetcher, MapFetcher
from ._utils.transfer import Receiver, shared_folder
from ._utils.worker import ExceptionWrapper, IterableEnd, Resumed, get_worker_info, worker_loop
from .dataset import Dataset, IterableDataset
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, new_seed

__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]

T_co = TypeVar("T_co", covariant=True)
_T = TypeVar("_T")
_collate_fn_t = Callable[[list[_T]], Any]
_worker_init_fn_t = Callable[[int], None]


class _DatasetKind:
    """The two kinds of datasets."""

    Map = 0
    Iterable = 1


class _InfiniteConstantSampler(Sampler[None]):
    """The "indices" of an iterable dataset, which needs none."""

    def __iter__(self) -> Iterator[None]:
        return itertools.repeat(None)


def _check_workers(num_workers: int, timeout: float, prefetch_factor: int | None, persistent: bool) -> None:
    """Raises ValueError for options of workers that are out of range or need workers."""
    if num_workers < 0:
        raise ValueError(
            "num_workers option should be non-negative; use num_workers=0 to disable multiprocessing, "
            f"but got {num_workers}"
        )
    if timeout < 0:
        raise ValueError(f"timeout option should be non-negative, but got {timeout}")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing: let num_workers > 0 to enable "
            "multiprocessing, otherwise set prefetch_factor to None."
        )
    if prefetch_factor is not None and prefetch_factor < 0:
        raise ValueError(f"prefetch_factor option should be non-negative, but got {prefetch_factor}")
    if persistent and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")


def _check_order(
    iterable: bool, batch_size: int | None, shuffle: bool | None, sampler: Any, batch_sampler: Any, drop_last: bool
) -> None:
    """Raises ValueError for options of order and batches that exclude each other or do not suit the dataset."""
    if iterable:
        if shuffle not in (False, None):
            raise ValueError(
                f"DataLoader with IterableDataset: expected unspecified shuffle option, but got shuffle={shuffle}"
            )
        for name, value in (("sampler", sampler), ("batch_sampler", batch_sampler)):
            if value is not None:
                raise ValueError(
                    f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={value}"
                )
    if sampler is not None and shuffle:
        raise ValueError("sampler option is mutually exclusive with shuffle")
    if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
        raise ValueError("batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last")
    if batch_sampler is None and batch_size is None and drop_last:
        raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")


class DataLoader(Generic[T_co]):
    """Iterates over a dataset in batches.

    Args:
        dataset: a map from index to sample, or an iterable of samples.
        batch_size: samples in a batch; None gives single samples.
        shuffle: draw the samples in random order, anew at every iteration.
        sampler: gives the order instead.
        batch_sampler: gives lists of indices instead of ``batch_size``, ``shuffle``, ``sampler`` and ``drop_last``.
        num_workers: processes that make batches; 0 makes them in this one.
        collate_fn: makes a batch of a list of samples (or, without batches, changes a sample).
        pin_memory: accepted; there is nothing to pin without an accelerator.
        drop_last: leave out a last batch that is not full.
        timeout: seconds to wait for a worker's batch; 0 waits for ever.
        worker_init_fn: called in each worker with its number, after seeding.
        multiprocessing_context: how workers are started: a context of ``multiprocessing`` or its name.
        generator: where orders and the workers' seeds come from; None is the default one.
        prefetch_factor: batches that each worker makes ahead (None: 2).
        persistent_workers: keep the workers between iterations.
        pin_memory_device: accepted.
        in_order: give batches in the order of the sampler, not as they are ready.

    Raises:
        ValueError: options that exclude each other, or out of range.
    """

    dataset: Dataset[T_co]
    batch_size: int | None
    num_workers: int
    pin_memory: bool
    drop_last: bool
    timeout: float
    sampler: Any
    pin_memory_device: str
    prefetch_factor: int | None
    _iterator: Any = None
    __initialized = False

    def __init__(
        self,
        dataset: Dataset[T_co],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Any = None,
        batch_sampler: Any = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        if num_workers > 0 and prefetch_factor is None:
            prefetch_factor = 2
        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.in_order = in_order
        iterable = isinstance(dataset, IterableDataset)
        self._dataset_kind = _DatasetKind.Iterable if iterable else _DatasetKind.Map
        _check_order(iterable, batch_size, shuffle, sampler, batch_sampler, drop_last)
        if batch_sampler is not None:
            batch_size, drop_last = None, False
        if sampler is None:
            if iterable:
                sampler = _InfiniteConstantSampler()
            elif shuffle:
                sampler = RandomSampler(dataset, generator=generator)  # type: ignore[arg-type]
            else:
                sampler = SequentialSampler(dataset)  # type: ignore[arg-type]
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.generator = generator
        self.collate_fn = collate_fn or (default_convert if batch_sampler is None else default_collate)
        self.persistent_workers = persistent_workers
        self.__initialized = True
        self._IterableDataset_len_called: int | None = None
        self._iterator = None
        self.check_worker_number_rationality()

    # -- options ---------------------------------------------------------------------------------
    @property
    def multiprocessing_context(self) -> Any:
        """How workers are started."""
        return self.__multiprocessing_context

    @multiprocessing_context.setter
    def multiprocessing_context(self, context: Any) -> None:
        if context is not None:
            if self.num_workers <= 0:
                raise ValueError(
                    "multiprocessing_context can only be used with multi-process loading (num_workers > 0), but got "
                    f"num_workers={self.num_workers}"
                )
            if isinstance(context, str):
                known = multiprocessing.get_all_start_methods()
                if context not in known:
                    raise ValueError(
                        "multiprocessing_context option should specify a valid start method in "
                        f"{known!r}, but got multiprocessing_context={context!r}"
                    )
                context = multiprocessing.get_context(context)
            if not isinstance(context, multiprocessing.context.BaseContext):
                raise TypeError(
                    "multiprocessing_context option should be a valid context object or a string specifying the start "
                    f"method, but got multiprocessing_context={context}"
                )
        self.__multiprocessing_context = context

    def __setattr__(self, name: str, value: Any) -> None:
        fixed = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")
        if self.__initialized and name in fixed:
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(name, value)

    @property
    def _auto_collation(self) -> bool:
        return self.batch_sampler is not None

    @property
    def _index_sampler(self) -> Any:
        """What gives the indices to fetch: of batches, or of single samples."""
        return self.batch_sampler if self._auto_collation else self.sampler

    def check_worker_number_rationality(self) -> None:
        """Warn when there are more workers than processors for them."""
        try:
            available = len(os.sched_getaffinity(0))
        except (AttributeError, OSError):
            available = os.cpu_count() or 0
        if available and self.num_workers > available:
            warnings.warn(
                f"This DataLoader will create {self.num_workers} worker processes in total. Our suggested max number "
                f"of worker in current system is {available}, which is smaller than what this DataLoader is going to "
                "create. Please be aware that excessive worker creation might get DataLoader running slow or even "
                "freeze, lower the worker number to avoid potential slowness/freeze if necessary.",
                stacklevel=3,
            )

    # -- iteration -------------------------------------------------------------------------------
    def _get_iterator(self) -> _BaseDataLoaderIter:
        return _SingleProcessDataLoaderIter(self) if self.num_workers == 0 else _MultiProcessingDataLoaderIter(self)

    def __iter__(self) -> Any:
        if not self.persistent_workers:
            return self._get_iterator()
        if self._iterator is None:
            self._iterator = self._get_iterator()
        else:
            self._iterator._reset(self)
        return self._iterator

    def __len__(self) -> int:
        if self._dataset_kind == _DatasetKind.Map:
            return len(self._index_sampler)
        length = self._IterableDataset_len_called = len(self.dataset)  # type: ignore[arg-type]
        if self.batch_size is None:
            return length
        return length // self.batch_size if self.drop_last else -(-length // self.batch_size)


class _BaseDataLoaderIter:
    """One iteration over a loader."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._dataset = loader.dataset
        self._dataset_kind = loader._dataset_kind
        self._auto_collation = loader._auto_collation
        self._drop_last = loader.drop_last
        self._index_sampler = loader._index_sampler
        self._num_workers = loader.num_workers
        self._timeout = loader.timeout
        self._collate_fn = loader.collate_fn
        self._persistent_workers = loader.persistent_workers
        self._expected = loader._IterableDataset_len_called
        if loader.pin_memory:
            warnings.warn(
                "'pin_memory' argument is set as true but no accelerator is found, then device pinned memory won't "
                "be used.",
                stacklevel=4,
            )
        self._sampler_iter: Iterator[Any] = iter(self._index_sampler)
        # Drawn without workers too, so that their number does not change what a seed gives.
        self._base_seed = new_seed(loader.generator)
        self._num_yielded = 0

    def __iter__(self) -> _BaseDataLoaderIter:
        return self

    def _reset(self, loader: DataLoader[Any], first_iter: bool = False) -> None:
        self._sampler_iter = iter(self._index_sampler)
        self._num_yielded = 0
        self._expected = loader._IterableDataset_len_called

    def _make_fetcher(self) -> Callable[..., Any]:
        return MapFetcher if self._dataset_kind == _DatasetKind.Map else IterableFetcher

    def _next_data(self) -> Any:
        raise NotImplementedError

    def __next__(self) -> Any:
        data = self._next_data()
        self._num_yielded += 1
        if self._expected is not None and self._num_yielded > self._expected:
            self._warn_of_length()
        return data

    def _warn_of_length(self) -> None:
        text = (
            f"Length of IterableDataset {self._dataset} was reported to be {self._expected} (when accessing "
            f"len(dataloader)), but {self._num_yielded} samples have been fetched. "
        )
        if self._num_workers > 0:
            text += (
                "For multiprocessing data-loading, this could be caused by not properly configuring the "
                "IterableDataset replica at each worker. Please see `get_worker_info` for examples."
            )
        warnings.warn(text, stacklevel=3)

    def __len__(self) -> int:
        return len(self._index_sampler)

    def __getstate__(self) -> Any:
        raise NotImplementedError(f"{type(self).__name__} cannot be pickled")


class _SingleProcessDataLoaderIter(_BaseDataLoaderIter):
    """Batches are made in this process, when they are asked for."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        super().__init__(loader)
        self._dataset_fetcher = self._make_fetcher()(
            self._dataset, self._auto_collation, self._collate_fn, self._drop_last
        )

    def _next_data(self) -> Any:
        return self._dataset_fetcher.fetch(next(self._sampler_iter))


class _Worker:
    """A worker process as its loader sees it."""

    def __init__(self, number: int, process: Any, tasks: Any, receiver: Receiver) -> None:
        self.number = number
        self.process = process
        self.tasks = tasks
        self.receiver = receiver
        self.running = True  # whether it takes tasks in this epoch
        self.waiting = 0  # tasks whose results have not come


class _MultiProcessingDataLoaderIter(_BaseDataLoaderIter):
    """Batches are made by worker processes, ahead of being asked for.

    Each worker has two pipes, for tasks and for results. Tasks are numbered; with ``in_order`` results are given by
    number. A worker never has more than ``prefetch_factor`` tasks, so that memory is bounded.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        super().__init__(loader)
        self._prefetch_factor = loader.prefetch_factor or 0
        self._in_order = loader.in_order
        context = loader.multiprocessing_context or multiprocessing.get_context()
        self._folder = shared_folder()
        self._workers: list[_Worker] = []
        self._finish = weakref.finalize(self, _shut_down, self._workers, self._folder, os.getpid())
        forks = context.get_start_method() == "fork"
        for number in range(self._num_workers):
            task_reader, task_writer = context.Pipe(duplex=False)
            result_reader, result_writer = context.Pipe(duplex=False)
            # A forked process has copies of all pipes of this one, and must not keep them open.
            unused = [task_writer, result_reader] if forks else []
            if forks:
                for other in self._workers:
                    unused += [other.tasks, other.receiver.connection]
            process = context.Process(
                target=worker_loop,
                args=(
                    self._make_fetcher(),
                    self._dataset,
                    task_reader,
                    result_writer,
                    unused,
                    self._auto_collation,
                    self._collate_fn,
                    self._drop_last,
                    self._base_seed,
                    loader.worker_init_fn,
                    number,
                    self._num_workers,
                    os.getpid(),
                    self._folder,
                ),
                daemon=True,
            )
            process.start()
            task_reader.close()
            result_writer.close()
            self._workers.append(_Worker(number, process, task_writer, Receiver(result_reader)))
        self._start_epoch()

    # -- epochs ----------------------------------------------------------------------------------
    def _start_epoch(self) -> None:
        self._sent = 0
        self._given = 0
        self._owner: dict[int, _Worker] = {}
        self._ready: dict[int, Any] = {}
        self._cycle = itertools.cycle(self._workers)
        for _ in range(max(self._prefetch_factor, 1) * self._num_workers):
            self._send_task()

    def _reset(self, loader: DataLoader[Any], first_iter: bool = False) -> None:
        super()._reset(loader, first_iter)
        for worker in self._workers:
            self._post(worker, -1, None)
        for worker in self._workers:
            # What is left of the last epoch comes first.
            while not isinstance(self._receive([worker])[2], Resumed):
                pass
            worker.running, worker.waiting = True, 0
        self._start_epoch()

    # -- tasks -----------------------------------------------------------------------------------
    def _post(self, worker: _Worker, number: int, index: Any) -> None:
        try:
            worker.tasks.send((number, index, worker.receiver.returned()))
        except (BrokenPipeError, ConnectionResetError, OSError):
            self._raise_for(worker)

    def _send_task(self) -> None:
        """Give the next index to the next worker that has room."""
        limit = max(self._prefetch_factor, 1)
        for _ in self._workers:
            worker = next(self._cycle)
            if worker.running and (self._in_order or worker.waiting < limit):
                break
        else:
            return
        try:
            index = next(self._sampler_iter)
        except StopIteration:
            return
        self._owner[self._sent] = worker
        worker.waiting += 1
        self._post(worker, self._sent, index)
        self._sent += 1

    def _receive(self, workers: list[_Worker]) -> tuple[_Worker, int, Any]:
        """The next message of one of these workers; raises RuntimeError when it dies or takes too long."""
        deadline = time.monotonic() + self._timeout if self._timeout > 0 else None
        by_connection = {worker.receiver.connection: worker for worker in workers}
        by_sentinel = {worker.process.sentinel: worker for worker in workers}
        while True:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            found = wait([*by_connection, *by_sentinel], left)
            if not found:
                raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds")
            # What a worker sent before it died still counts.
            for item in found:
                if item in by_connection:
                    worker = by_connection[item]
                    try:
                        return (worker, *worker.receiver.receive())
                    except EOFError:
                        self._raise_for(worker)
            for item in found:
                worker = by_sentinel[item]
                if not worker.receiver.connection.poll():
                    self._raise_for(worker)

    def _raise_for(self, worker: _Worker) -> None:
        worker.process.join(1)
        pid, code = worker.process.pid, worker.process.exitcode
        if code is not None and code < 0:
            how = f"is killed by signal: {signal.strsignal(-code)}."
            raise RuntimeError(f"DataLoader worker (pid {pid}) {how}")
        raise RuntimeError(f"DataLoader worker (pid(s) {pid}) exited unexpectedly")

    def _next_data(self) -> Any:
        while True:
            # Tasks of a worker whose dataset has ended will not be answered.
            while self._given < self._sent and (
                self._given not in self._owner
                or (not self._owner[self._given].running and self._given not in self._ready)
            ):
                self._owner.pop(self._given, None)
                self._given += 1
            if self._given in self._ready:
                return self._give(self._given)
            if self._ready and not self._in_order:
                return self._give(next(iter(self._ready)))
            if self._given >= self._sent:
                if not self._persistent_workers:
                    self._shutdown_workers()
                raise StopIteration
            if self._in_order:
                asked = [self._owner[self._given]]
            else:
                asked = list({worker.number: worker for worker in self._owner.values() if worker.running}.values())
            worker, number, data = self._receive(asked)
            worker.waiting -= 1
            if isinstance(data, IterableEnd):
                worker.running = False
                self._owner.pop(number, None)
                self._send_task()
                continue
            self._ready[number] = data

    def _give(self, number: int) -> Any:
        data = self._ready.pop(number)
        self._owner.pop(number, None)
        self._send_task()
        if isinstance(data, ExceptionWrapper):
            data.reraise()
        return data

    def _shutdown_workers(self) -> None:
        self._finish()


def _shut_down(workers: list[_Worker], folder: str | None, owner: int) -> None:
    """End the workers and remove what they shared."""
    if os.getpid() != owner:
        return  # a copy of the loader in a forked process, whose workers are not its own
    for worker in workers:
        try:
            worker.tasks.send(None)
        except (BrokenPipeError, ConnectionResetError, OSError):
            pass
        worker.tasks.close()
        # A worker that waits for room in the pipe of results sees it closed.
        worker.receiver.connection.close()
    for worker in workers:
        worker.process.join(_utils.MP_STATUS_CHECK_INTERVAL)
        if worker.process.is_alive():
            worker.process.terminate()
            worker.process.join(1)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
