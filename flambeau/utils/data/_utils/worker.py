"""What runs in a worker process."""

from __future__ import annotations

import os
import queue
import random
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from ....random import manual_seed
from ....runtime.pool import set_num_threads
from .transfer import Sender

__all__ = ["ExceptionWrapper", "IterableEnd", "Resumed", "WorkerInfo", "get_worker_info", "worker_loop"]

_CHECK_SECONDS = 5.0


class KeyErrorMessage(str):
    """A text that a KeyError shows as it is, line breaks included."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class ExceptionWrapper:
    """An exception on its way to another process, with its traceback as text.

    Args:
        exc_info: what ``sys.exc_info()`` gives; None asks it.
        where: what the text says of its origin.
    """

    def __init__(self, exc_info: Any = None, where: str = "in background") -> None:
        info = sys.exc_info() if exc_info is None else exc_info
        self.exc_type = info[0]
        self.exc_msg = "".join(traceback.format_exception(*info))
        self.where = where

    def reraise(self) -> None:
        """Raise an exception of the same type, whose text tells the origin."""
        message = f"Caught {self.exc_type.__name__} {self.where}.\nOriginal {self.exc_msg}"
        if self.exc_type is KeyError:
            message = KeyErrorMessage(message)
        elif getattr(self.exc_type, "message", None):
            raise self.exc_type(message=message)
        try:
            exception = self.exc_type(message)
        except Exception:
            # The type wants other arguments than a text.
            raise RuntimeError(message) from None
        raise exception


class IterableEnd:
    """Says that the dataset of a worker has ended."""


class Resumed:
    """Says that a worker has begun the next epoch."""


class WorkerInfo:
    """What a worker knows of itself: ``id``, ``num_workers``, ``seed`` and its copy of the ``dataset``."""

    __initialized = False

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)
        self.__keys = tuple(values)
        self.__initialized = True

    def __setattr__(self, name: str, value: Any) -> None:
        if self.__initialized:
            raise RuntimeError(f"Cannot assign attributes to {type(self).__name__} objects")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={getattr(self, key)}' for key in self.__keys)})"


_worker_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """In a worker process, what it knows of itself; None in any other."""
    return _worker_info


def _generate_state(base_seed: int, worker_id: int) -> list[int]:
    """Four seeds for numpy from a base seed and the number of a worker (numpy's SeedSequence)."""
    entropy = [worker_id, base_seed & 0xFFFFFFFF, base_seed >> 32, 0]
    return [int(word) for word in np.random.SeedSequence(entropy).generate_state(4)]


def _listen(connection: Connection, tasks: queue.SimpleQueue[Any], parent: int) -> None:
    """Take in tasks as they come, so that the loader never waits for a worker that waits for the loader."""
    try:
        while True:
            if connection.poll(_CHECK_SECONDS):
                tasks.put(connection.recv())
            elif os.getppid() != parent:
                break
    except (EOFError, OSError):
        pass
    tasks.put(None)


def _introduce(dataset: Any, base_seed: int, worker_id: int, num_workers: int) -> None:
    """Seeds all generators, and has ``get_worker_info`` tell of this worker."""
    seed = base_seed + worker_id
    random.seed(seed)
    manual_seed(seed)
    np.random.seed(_generate_state(base_seed, worker_id))
    global _worker_info
    _worker_info = WorkerInfo(id=worker_id, num_workers=num_workers, seed=seed, dataset=dataset)


def _fetched(fetcher: Any, index: Any, where: str) -> Any:
    """What the fetcher has for an index, or what stands for its end or failure."""
    try:
        return fetcher.fetch(index)
    except StopIteration as error:
        # Only the end of an iterable dataset ends it; in a map it is the user's error.
        if hasattr(fetcher, "dataset_iter"):
            return IterableEnd()
        return ExceptionWrapper((type(error), error, error.__traceback__), where)
    except Exception:
        return ExceptionWrapper(where=where)


def worker_loop(
    make_fetcher: Callable[..., Any],
    dataset: Any,
    task_connection: Connection,
    result_connection: Connection,
    unused: list[Connection],
    auto_collation: bool,
    collate_fn: Callable[[Any], Any],
    drop_last: bool,
    base_seed: int,
    init_fn: Callable[[int], None] | None,
    worker_id: int,
    num_workers: int,
    parent: int,
    folder: str | None,
) -> None:
    """Work on tasks until told to end, or until the loader's process has gone.

    A task is ``(number, index, blocks)``: the index to fetch, and the blocks of shared memory that are free again.
    A number below zero says that the next epoch begins; None says that all is done.
    """
    for connection in unused:
        connection.close()
    set_num_threads(1)  # the cores are the workers'; each computes alone
    _introduce(dataset, base_seed, worker_id, num_workers)
    where = f"in DataLoader worker process {worker_id}"
    tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(task_connection, tasks, parent), daemon=True).start()
    sender = Sender(result_connection, folder)
    failure: ExceptionWrapper | None = None
    fetcher: Any = None
    ended = False
    try:
        if init_fn is not None:
            init_fn(worker_id)
        fetcher = make_fetcher(dataset, auto_collation, collate_fn, drop_last)
    except Exception:
        failure = ExceptionWrapper(where=where)
    try:
        while (task := tasks.get()) is not None:
            number, index, blocks = task
            sender.release(blocks)
            if number < 0:
                ended = False
                fetcher = make_fetcher(dataset, auto_collation, collate_fn, drop_last)
                sender.send(number, Resumed())
                continue
            if ended:
                continue
            data, failure = failure, None
            if data is None:
                data = _fetched(fetcher, index, where)
                ended = isinstance(data, IterableEnd)
            try:
                sender.send(number, data)
            except (BrokenPipeError, ConnectionResetError):
                raise
            except Exception:
                sender.send(number, ExceptionWrapper(where=where))
            del data
    except (KeyboardInterrupt, BrokenPipeError, ConnectionResetError):
        pass  # the loader's process reports, or has gone
