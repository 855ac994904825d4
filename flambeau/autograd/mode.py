"""Grad mode: whether operators are recorded on the tape, per thread.

The switches are context managers and decorators at once.  A decorated generator function has the mode only while
its own frames run: what consumes the generator keeps the mode it had.
"""

from __future__ import annotations

import functools
import inspect
import threading
import warnings
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any, TypeVar

__all__ = [
    "current_task", "enable_grad", "inference_mode", "is_grad_enabled", "is_inference_mode_enabled",
    "is_multithreading_enabled", "no_grad", "set_grad_enabled", "set_multithreading_enabled", "state",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])


class _State(threading.local):
    """What a thread has switched on; the class attributes are what a new thread starts with."""

    grad = True
    inference = False
    # Views made while nothing is recorded are still remembered as views, so that a later write through them can be
    # refused; inference mode and the engine (whose intermediates nobody sees) do without.  Never off in grad mode.
    track_views = True
    multithreading = True
    task: Any = None  # the run of the engine that the thread is inside of
    gradients = 0  # how often ``.grad`` was read or set, or gradients went into leaves


state = _State()


def is_grad_enabled() -> bool:
    """Whether operators of this thread are recorded."""
    return state.grad


def is_inference_mode_enabled() -> bool:
    """Whether this thread is in inference mode."""
    return state.inference


def current_task() -> Any:
    """The run of the engine that the calling thread is inside of (the innermost), or None."""
    return state.task


def is_multithreading_enabled() -> bool:
    """Whether ``backward`` may use several threads (see ``set_multithreading_enabled``)."""
    return state.multithreading


class _Switch:
    """A context manager that can also decorate functions, generator functions and classes.

    ``clone`` makes a fresh manager for each call, so that a decorated function may recurse.
    """

    def clone(self) -> _Switch:
        """Another manager of the same setting."""
        return type(self)()

    def __enter__(self) -> None:
        raise NotImplementedError

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        raise NotImplementedError

    def __call__(self, orig_func: F) -> F:
        return _decorate(self.clone, orig_func)


def _decorate(make: Callable[[], _Switch], function: F) -> F:
    if isinstance(function, type):
        warnings.warn(
            "Decorating classes is deprecated and will be disabled in future versions. "
            "You should only decorate functions or methods. "
            "To preserve the current behavior of class decoration, you can directly decorate the `__init__` method "
            "and nothing else.",
            FutureWarning,
            stacklevel=3,
        )
        function.__init__ = _decorate(make, function.__init__)  # type: ignore[misc]
        return function
    if inspect.isgeneratorfunction(function):
        return _decorate_generator(make, function)  # type: ignore[return-value]

    @functools.wraps(function)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        with make():
            return function(*args, **kwargs)

    return decorated  # type: ignore[return-value]


def _decorate_generator(
    make: Callable[[], _Switch], function: Callable[..., Generator[Any, Any, Any]]
) -> Callable[..., Generator[Any, Any, Any]]:
    @functools.wraps(function)
    def decorated(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = function(*args, **kwargs)
        resume: Callable[[], Any] = functools.partial(next, generator)
        while True:
            try:
                with make():
                    item = resume()
            except StopIteration as stop:
                return stop.value
            try:
                sent = yield item
            except GeneratorExit:
                with make():
                    generator.close()
                raise
            except BaseException as error:
                resume = functools.partial(generator.throw, error)
            else:
                resume = functools.partial(generator.send, sent)

    return decorated


class _Bare(_Switch):
    """A switch without a parameter: ``@no_grad`` works like ``@no_grad()``."""

    _before: Any

    def __new__(cls, orig_func: Callable[..., Any] | None = None) -> Any:
        if orig_func is None:
            return super().__new__(cls)
        return _decorate(cls, orig_func)


class no_grad(_Bare):
    """Records nothing inside the block or the decorated function."""

    def __enter__(self) -> None:
        self._before = state.grad
        state.grad = False

    def __exit__(self, *exc: object) -> None:
        state.grad = self._before


class enable_grad(_Bare):
    """Records inside the block or the decorated function, also within ``no_grad``."""

    def __enter__(self) -> None:
        self._before = (state.grad, state.track_views)
        state.grad = state.track_views = True

    def __exit__(self, *exc: object) -> None:
        state.grad, state.track_views = self._before


class set_grad_enabled(_Switch):
    """Sets grad mode to ``mode`` at once; as a context manager, sets it back at the end of the block."""

    def __init__(self, mode: bool) -> None:
        self._before = (state.grad, state.track_views)
        self.mode = mode
        self.__enter__()

    def __call__(self, orig_func: F) -> F:
        self.__exit__()  # being used as a decorator, it must not act outside the function
        return super().__call__(orig_func)

    def __enter__(self) -> None:
        state.grad = bool(self.mode)
        state.track_views |= state.grad

    def __exit__(self, *exc: object) -> None:
        state.grad, state.track_views = self._before

    def __str__(self) -> str:
        return f"{type(self).__module__}.{type(self).__name__}(mode={self.mode})"

    __repr__ = __str__

    def clone(self) -> set_grad_enabled:
        """Another manager of the same setting; it acts when it is entered."""
        made = object.__new__(type(self))
        made._before = (state.grad, state.track_views)
        made.mode = self.mode
        return made


class inference_mode(_Switch):
    """Like ``no_grad``, and views are not tracked either (``mode=False`` leaves inference mode)."""

    def __new__(cls, mode: Any = True) -> Any:
        if isinstance(mode, bool):
            return super().__new__(cls)
        return _decorate(cls, mode)  # @inference_mode without parentheses

    def __init__(self, mode: bool = True) -> None:
        self.mode = mode
        self._previous: list[tuple[bool, bool, bool]] = []

    def __enter__(self) -> None:
        self._previous.append((state.grad, state.inference, state.track_views))
        state.inference = self.mode
        state.grad = state.track_views = not self.mode

    def __exit__(self, *exc: object) -> None:
        state.grad, state.inference, state.track_views = self._previous.pop()

    def clone(self) -> inference_mode:
        """Another manager of the same setting."""
        return type(self)(self.mode)


class set_multithreading_enabled(_Switch):
    """Sets whether ``backward`` may use several threads.

    The engine runs a graph on the thread that called ``backward``, and its kernels use the thread pool; the setting
    is kept for programs that ask for it.
    """

    def __init__(self, mode: bool) -> None:
        self._previous = state.multithreading
        self.mode = mode
        state.multithreading = bool(mode)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        state.multithreading = self._previous

    def clone(self) -> set_multithreading_enabled:
        """Another manager of the same setting."""
        return type(self)(self.mode)
