"""``flambeau.compile``: run a function or module with its operators deferred (DESIGN D4).

Python runs as usual at every call; the operators that it calls append to a graph, which runs when someone
looks at a number, when the compiled function is entered again, or when it has grown long.  The results stay pending
when the function returns, so that the loss, the backward pass and the optimizer's step of an ordinary training loop
join the graph.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from .deferral import deferral
from .repeat import Repeater

__all__ = [
    "allow_in_graph",
    "assume_constant_result",
    "compile",
    "cudagraph_mark_step_begin",
    "disable",
    "flush",
    "is_compiling",
    "is_dynamo_compiling",
    "is_exporting",
    "list_backends",
    "reset",
]

_REPEATS = ("reduce-overhead",)
_MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


def compile(
    model: Any = None, *, fullgraph: bool = False, dynamic: bool | None = None, backend: Any = "flambeau",
    mode: str | None = None,
    options: dict[str, Any] | None = None, disable: bool = False,
) -> Any:  # fmt: skip
    """A function or ``nn.Module`` whose operators are deferred and fused; also a decorator.

    All programs are accepted: a look at a value (``item()``, ``bool``, printing) computes what is pending and goes on.
    ``fullgraph``, ``dynamic`` and ``backend`` are accepted for programs written for ``torch.compile``; sizes never need
    recompilation by hand here.  Raises RuntimeError for an unknown ``mode``.
    """
    if mode is not None and mode not in _MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(_MODES)}")
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified at the same time.")
    if model is None:
        return functools.partial(
            compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode, options=options, disable=disable
        )
    if disable:
        return model
    forward = getattr(model, "forward", None)
    if (
        forward is not None
        and not callable(getattr(type(model), "__get__", None))
        and hasattr(model, "register_module")
    ):
        return _compiled_module(model, mode)
    if not callable(model):
        raise RuntimeError(f"compile() takes a function or an nn.Module, got {type(model).__name__}")
    return _compiled_function(model, mode)


def _compiled_function(fn: Callable[..., Any], mode: str | None) -> Callable[..., Any]:
    if mode in _REPEATS:
        repeater = Repeater(fn)

        @functools.wraps(fn)
        def repeat(*args: Any, **kwargs: Any) -> Any:
            return repeater(*args, **kwargs)

        repeat._torchdynamo_orig_callable = fn  # type: ignore[attr-defined]
        return repeat

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        recorder = deferral()
        recorder.enter()
        try:
            return fn(*args, **kwargs)
        finally:
            recorder.leave()

    run._torchdynamo_orig_callable = fn  # type: ignore[attr-defined]
    return run


def _compiled_module(module: Any, mode: str | None) -> Any:
    """The module itself, in a subclass of its class that defers its forward: parameters, hooks and state are its
    own."""
    cls = type(module)
    call = _compiled_function(module.__call__, None) if mode not in _REPEATS else Repeater(module.__call__, module)

    class Compiled(cls):  # type: ignore[misc,valid-type]
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return call(*args, **kwargs)

    Compiled.__name__, Compiled.__qualname__, Compiled.__module__ = "OptimizedModule", "OptimizedModule", cls.__module__
    wrapped = Compiled.__new__(Compiled)
    wrapped.__dict__ = module.__dict__
    object.__setattr__(wrapped, "_orig_mod_", None)
    return wrapped


def disable(fn: Any = None, recursive: bool = True) -> Any:
    """Decorator: a function whose operators run at once even inside of a compiled one."""
    if fn is None:
        return disable

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        recorder = deferral()
        recorder.flush()
        depth, recorder.depth = recorder.depth, 0
        try:
            return fn(*args, **kwargs)
        finally:
            recorder.depth = depth

    return run


def is_compiling() -> bool:
    """Whether operators are being deferred in this thread."""
    return deferral().depth > 0


def flush() -> None:
    """Computes everything that is pending in this thread."""
    deferral().flush()


# -- what programs tell PyTorch's compiler, which has no effect on one that runs Python -------------------

F = TypeVar("F", bound=Callable[..., Any])


def allow_in_graph(fn: F) -> F:
    """Says that a function may be part of a compiled graph: its operators always may."""
    return fn


def assume_constant_result(fn: F) -> F:
    """Says that a function always returns the same; it is called each time."""
    return fn


def cudagraph_mark_step_begin() -> None:
    """Says that a step begins, so that results of the one before may be written over; they never are."""


def is_dynamo_compiling() -> bool:
    """Whether bytecode is being compiled: never."""
    return False


def is_exporting() -> bool:
    """Whether a program is being exported: no."""
    return False


def list_backends(exclude_tags: tuple[str, ...] = ("debug", "experimental")) -> list[str]:
    """The names that ``backend=`` of ``compile`` has a meaning for."""
    return ["flambeau"]


def reset() -> None:
    """Forgets what was compiled: computes what is pending."""
    flush()
