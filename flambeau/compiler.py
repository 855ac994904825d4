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

import numpy as np

from .deferral import deferral, plans
from .explain import Explanation, explain
from .repeat import Repeater
from .tensor import Tensor, from_numpy, numpy_view

__all__ = [
    "Explanation", "allow_in_graph", "assume_constant_result", "compile", "cudagraph_mark_step_begin", "disable",
    "explain", "flush", "get_default_backend", "is_compiling", "is_dynamo_compiling", "is_exporting", "list_backends",
    "nested_compile_region", "reset", "set_default_backend", "set_stance", "substitute_in_graph", "wrap_numpy",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])

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
            if _state.stance == "force_eager":
                return fn(*args, **kwargs)
            return repeater(*args, **kwargs)

        repeat._torchdynamo_orig_callable = fn  # type: ignore[attr-defined]
        return repeat

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        if _state.stance == "force_eager":
            return fn(*args, **kwargs)
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


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """Decorator: a function whose operators run at once even inside of a compiled one.

    ``recursive`` and ``reason`` are accepted for programs written for ``torch.compiler``.
    """
    if fn is None:
        return functools.partial(disable, recursive=recursive, reason=reason)

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


def is_dynamo_compiling() -> bool:
    """Whether bytecode is being compiled: never."""
    return False


def is_exporting() -> bool:
    """Whether a program is being exported: never while it runs."""
    return False


def flush() -> None:
    """Computes everything that is pending in this thread."""
    deferral().flush()


def reset() -> None:
    """Forgets the plans of all compiled programs; kernels stay known."""
    deferral().flush()
    plans.clear()


def allow_in_graph(fn: F) -> F:
    """``fn`` itself: every function may be part of a compiled program."""
    return fn


def assume_constant_result(fn: F) -> F:
    """``fn`` itself, whose Python runs at every call."""
    return fn


def nested_compile_region(fn: Any = None, **options: Any) -> Any:
    """``fn`` itself: equal parts of a program are found by their text."""
    return functools.partial(nested_compile_region, **options) if fn is None else fn


def substitute_in_graph(original_fn: Any, **options: Any) -> Callable[[F], F]:
    """A decorator that leaves its function as it is: originals need no substitute, since their Python runs."""
    return lambda fn: fn


def wrap_numpy(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function of arrays as one of tensors."""

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        result = fn(*map(_as_array, args), **{name: _as_array(value) for name, value in kwargs.items()})
        if isinstance(result, (tuple, list)):
            return type(result)(from_numpy(r) if isinstance(r, np.ndarray) else r for r in result)
        return from_numpy(result) if isinstance(result, np.ndarray) else result

    return run


def _as_array(value: Any) -> Any:
    return numpy_view(value) if isinstance(value, Tensor) else value


def list_backends(exclude_tags: Any = ("debug", "experimental")) -> list[str]:
    """The names of what can compile: flambeau itself."""
    return ["flambeau"]


def get_default_backend() -> str:
    """The name of what compiles."""
    return "flambeau"


def set_default_backend(backend: Any) -> None:
    """Accepted for programs written for ``torch.compiler``: there is one backend."""


def cudagraph_mark_step_begin() -> None:
    """Accepted for programs written for ``torch.compiler``: results never share memory with those of later calls."""


class set_stance:
    """Says what compiled functions do, at once; as a context manager or decorator, for a while.

    "force_eager" runs them as they are; with "default" and the other stances of ``torch.compiler`` they are compiled.
    """

    def __init__(
        self, stance: str = "default", *, skip_guard_eval_unsafe: bool = False, force_backend: Any = None
    ) -> None:
        if stance not in _STANCES:
            raise RuntimeError(f"invalid torch.compile stance {stance!r}, should be one of: {', '.join(_STANCES)}")
        self.before, self.stance = _state.stance, stance
        _state.stance = stance

    def __enter__(self) -> None:
        _state.stance = self.stance

    def __exit__(self, *exc: object) -> None:
        _state.stance = self.before

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        _state.stance = self.before

        @functools.wraps(fn)
        def run(*args: Any, **kwargs: Any) -> Any:
            with set_stance(self.stance):
                return fn(*args, **kwargs)

        return run


_STANCES = ("default", "force_eager", "eager_on_recompile", "fail_on_recompile", "aot_eager_then_compile",
            "eager_then_compile")  # fmt: skip


class _State:
    stance = "default"


_state = _State()
