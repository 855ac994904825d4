"""Results that arrive later, possibly from another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["Future", "collect_all", "wait_all"]

T = TypeVar("T")


def wait(arg0: Future[T]) -> T:
    """The result of a future, which is waited for."""
    return arg0.wait()


class Future(Generic[T]):
    """A result that is set once; callbacks run in the thread that sets it, or at once if it is there already.

    ``devices`` is accepted for programs with accelerators.
    """

    def __init__(self, devices: list[Any] | None = None) -> None:
        self._changed = threading.Condition()
        self._done = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Future[Any]], Any]] = []

    def done(self) -> bool:
        """Whether there is a result or an error."""
        return self._done

    def wait(self) -> T:
        """Waits for the result and returns it, or raises the error."""
        with self._changed:
            self._changed.wait_for(lambda: self._done)
        return self.value()

    def value(self) -> T:
        """The result, which must be there; raises the error if there is one, and RuntimeError if nothing is there."""
        if not self._done:
            raise RuntimeError("Future.value(): the future has no result yet; call wait()")
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[no-any-return]

    def _finish(self, value: Any, error: BaseException | None) -> None:
        with self._changed:
            if self._done:
                raise RuntimeError("Future can only be marked as completed once")
            self._value, self._error, self._done = value, error, True
            callbacks, self._callbacks = self._callbacks, []
            self._changed.notify_all()
        for callback in callbacks:
            callback(self)

    def set_result(self, result: T) -> None:
        """Sets the result; raises RuntimeError if there is one."""
        self._finish(result, None)

    def set_exception(self, result: BaseException) -> None:
        """Sets an error, which ``wait`` will raise; raises AssertionError for other than exceptions."""
        if not isinstance(result, Exception):
            raise AssertionError(f"{result} is of type {type(result)}, not an Exception.")
        self._finish(None, result)

    def add_done_callback(self, callback: Callable[[Future[T]], None]) -> None:
        """Calls ``callback`` with this future when it is done."""
        with self._changed:
            if not self._done:
                self._callbacks.append(callback)
                return
        callback(self)

    def then(self, callback: Callable[[Future[T]], Any]) -> Future[Any]:
        """A future of what ``callback`` returns, or raises, when it is called with this one, done."""
        result: Future[Any] = Future()

        def run(done: Future[T]) -> None:
            try:
                value = callback(done)
            except Exception as error:
                result.set_exception(error)
            else:
                result.set_result(value)

        self.add_done_callback(run)
        return result


def collect_all(futures: list[Future[Any]]) -> Future[list[Future[Any]]]:
    """A future that is done when all of ``futures`` are, with the list of them as its result."""
    result: Future[list[Future[Any]]] = Future()
    left, lock = len(futures), threading.Lock()
    if not left:
        result.set_result([])

    def count(_: Future[Any]) -> None:
        nonlocal left
        with lock:
            left -= 1
            last = left == 0
        if last:
            result.set_result(list(futures))

    for future in futures:
        future.add_done_callback(count)
    return result


def wait_all(futures: list[Future[Any]]) -> list[Any]:
    """The results of all futures, in order; raises the first error."""
    return [future.wait() for future in collect_all(futures).wait()]
