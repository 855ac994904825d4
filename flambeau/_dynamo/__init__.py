"""What programs ask of PyTorch's bytecode compiler.  ``compile`` here runs Python, so that most of it has no effect."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from .. import compiler
from ..compiler import (
    allow_in_graph,
    assume_constant_result,
    compile,
    disable,
    flush,
    is_compiling,
    list_backends,
    refuse_break,
    register_backend,
    reset,
    set_stance,
    substitute_in_graph,
)
from ..deferred.deferral import deferral
from ..dispatch.operator import namespace as _namespace
from . import config as config
from . import exc as exc
from . import utils as utils

__all__ = [
    "allow_in_graph", "assume_constant_result", "disable", "disallow_in_graph", "error_on_graph_break", "explain",
    "forbid_in_graph", "graph_break", "is_compiling", "list_backends", "lookup_backend", "mark_dynamic", "mark_static",
    "mark_static_address", "maybe_mark_dynamic", "nonstrict_trace", "optimize", "optimize_assert", "register_backend",
    "reset", "run", "set_stance", "substitute_in_graph",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])


def optimize(backend: Any = "flambeau", *, nopython: bool = False, dynamic: bool | None = None, **_: Any) -> Any:
    """The decorator ``compile(backend=..., fullgraph=nopython)``, under its former name."""
    return functools.partial(compile, backend=backend, fullgraph=nopython, dynamic=dynamic)


optimize_assert = functools.partial(optimize, nopython=True)


def explain(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """``compiler.explain`` of the compiled function; without arguments, a function of them that explains."""
    run = compile(f)
    return compiler.explain(run, *args, **kwargs) if args or kwargs else functools.partial(compiler.explain, run)


def lookup_backend(compiler_fn: Any) -> Any:
    """What a backend's name stands for; functions stand for themselves.  Raises InvalidBackend."""
    if not callable(compiler_fn) and compiler_fn not in list_backends(None):
        raise exc.InvalidBackend(
            f"Invalid backend: {compiler_fn!r}, should be one of: {', '.join(list_backends(None))}"
        )
    return compiler_fn


def run(fn: F | None = None) -> Any:
    """``fn`` itself: what is known is used, and what is not is recorded."""
    return run if fn is None else fn


def nonstrict_trace(traceable_fn: F) -> F:
    """``traceable_fn`` itself: its Python runs in every case."""
    return traceable_fn


class error_on_graph_break:
    """While this is entered with True, compiled functions behave as with ``fullgraph=True``; with False, as without."""

    def __init__(self, error_on_graph_break: bool) -> None:
        self.wanted = error_on_graph_break

    def __enter__(self) -> None:
        recorder = deferral()
        self.before, recorder.refuse = recorder.refuse, refuse_break if self.wanted else None

    def __exit__(self, *error: object) -> None:
        deferral().refuse = self.before

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            with type(self)(self.wanted):
                return fn(*args, **kwargs)

        return guarded


def disallow_in_graph(fn: F) -> F:
    """Says that a function is not to be part of a compiled graph."""
    return fn


forbid_in_graph = disallow_in_graph


def graph_break(msg: str = "") -> None:
    """Ends the graph that is being recorded: computes what is pending."""
    flush()


def mark_dynamic(t: Any, index: Any, *, min: int | None = None, max: int | None = None) -> None:
    """Says that a size will change; no size is built into the compiled code."""


maybe_mark_dynamic = mark_dynamic


def mark_static(t: Any, index: Any = None) -> None:
    """Says that a size will not change."""


def mark_static_address(t: Any, guard: bool = True) -> None:
    """Says that a tensor's memory will stay where it is."""


_find, __dir__ = _namespace(globals(), {}, {"OptimizedModule": ".eval_frame", "eval_frame": "."})
__getattr__ = _find
