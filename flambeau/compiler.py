"""``flambeau.compile``: run a function or module with its operators deferred.

Python runs as usual at every call; the operators that it calls append to a graph, which runs when someone
looks at a number, when the compiled function is entered again, or when it has grown long.  The results stay pending
when the function returns, so that the loss, the backward pass and the optimizer's step of an ordinary training loop
join the graph; without grad mode nothing of the kind follows, and the graph runs when the outermost compiled function
returns, whether or not somebody keeps its results.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import numpy as np

from . import prepared
from .autograd.mode import state as grad_state
from .compiled.default_mode import DefaultMode
from .compiled.explain import Explanation, explain, explained
from .compiled.places import who_called
from .compiled.quick_call import MISSED
from .compiled.reduce_overhead import ReduceOverhead
from .deferred.deferral import deferral, plans
from .dispatch.operator import OPERATORS
from .errors import InvalidBackend, Unsupported
from .tensor import Tensor, from_numpy, numpy_view

__all__ = [
    "Explanation", "allow_in_graph", "assume_constant_result", "compile", "config", "cudagraph_mark_step_begin",
    "disable", "explain", "flush", "get_default_backend", "is_compiling", "is_dynamo_compiling", "is_exporting",
    "keep_portable_guards_unsafe", "keep_tensor_guards_unsafe", "list_backends", "nested_compile_region",
    "register_backend", "reset", "set_default_backend",
    "set_enable_guard_collectives", "set_stance", "skip_all_guards_unsafe", "skip_guard_on_all_nn_modules_unsafe",
    "skip_guard_on_globals_unsafe", "skip_guard_on_inbuilt_nn_modules_unsafe", "substitute_in_graph", "wrap_numpy",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])

_MODES = ("default", "lite", "reduce-overhead", "max-autotune-no-cudagraphs", "max-autotune")
_OPTIONS: dict[str, type] = {
    "repeat": bool, "explain": bool, "memory_limit": int, "triton.cudagraphs": bool, "trace.enabled": bool,
    "trace.graph_diagram": bool, "epilogue_fusion": bool, "max_autotune": bool, "coordinate_descent_tuning": bool,
    "fallback_random": bool, "shape_padding": bool, "guard_filter_fn": object,
}  # fmt: skip
"""What ``options`` may name, with the type of its value.  The first three are flambeau's own, the next two PyTorch's
words for the first two; the others are PyTorch's too and ask for what is so anyway, or for what is not there."""
_COMPILING = ("flambeau", "inductor", "cudagraphs", "openxla", "tvm")
_PLAIN = (
    "eager", "eager_debug", "eager_noexcept", "aot_eager", "aot_eager_decomp_partition", "pre_dispatch_eager", "ts",
    "aot_ts",
)  # fmt: skip
_STANCES = ("default", "force_eager", "eager_on_recompile", "fail_on_recompile", "aot_eager_then_compile",
            "eager_then_compile")  # fmt: skip
_HOST_FAMILIES = ("linalg", "solve", "factors", "qr", "svd_eig", "lowrank")
_backends: dict[str, Callable[..., Any]] = {}  # that programs have registered

config = ModuleType(f"{__name__}.config", "``torch.compiler.config``, kept for programs that set it; nothing reads it.")
vars(config).update(
    dict.fromkeys((
        "allow_unspec_int_on_nn_module", "capture_dynamic_output_shape_ops", "capture_scalar_outputs",
        "fail_on_recompile_limit_hit", "force_disable_caches", "verbose",
    ), False),
    **dict.fromkeys((
        "assume_static_by_default", "automatic_dynamic_shapes", "dynamic_shapes", "enable_cpp_symbolic_shape_guards",
        "skip_tensor_guards_with_matching_dict_tags", "wrap_top_frame",
    ), True),
    job_id=None, log_file_name=None, dynamic_sources="", unbacked_sources="", recompile_limit=8,
    accumulated_recompile_limit=256, reorderable_logging_functions=set(),
)  # fmt: skip
sys.modules[config.__name__] = config


class _State:
    stance = "default"
    backend: Any = "flambeau"
    exporting = 0


_state = _State()


def compile(
    model: Any = None, *, fullgraph: bool = False, dynamic: bool | None = None, backend: Any = None,
    mode: str | None = None, options: dict[str, Any] | None = None, name: str | None = None, disable: bool = False,
    recompile_limit: int | None = None, isolate_recompiles: bool = False, shapes_spec: Any = None,
) -> Any:  # fmt: skip
    """A function or ``nn.Module`` whose operators are deferred and fused; also a decorator, with and without arguments.

    All programs are accepted: a look at a value (``item()``, ``bool``, printing) computes what is pending and goes on.

    - ``fullgraph=True`` forbids that: such a look raises Unsupported (a RuntimeError) that tells the user's file and
      line.
    - ``mode="reduce-overhead"``, or ``options={"repeat": True}``, skips the function's Python when a signature repeats
      (``compiled/reduce_overhead.py`` states the contract).  ``options={"explain": True}`` prints at the second call
      what became of it.  ``options={"memory_limit": n}`` keeps the temporary memory of the program, with the backward
      pass that joins it, below n bytes by computing values again rather than keeping them, and warns where that does
      not suffice.
    - ``backend``: "flambeau", of which PyTorch's compiling backends are other names; "eager" and its kin run the
      function as it is; a function ``backend(graph_module, example_inputs)``, or the name of a registered one, gets
      the captured graph of every new signature and returns what is called instead.
    - ``dynamic``, ``recompile_limit``, ``isolate_recompiles`` and ``shapes_spec`` need no effect: no size is built
      into the code.  ``disable=True`` returns ``model`` itself.

    Raises RuntimeError for a mode or option that is unknown or of another type, and for both at once; InvalidBackend
    for an unknown backend; AssertionError for what is no function, and for a ``dynamic`` that is no bool.
    """
    if mode is not None and mode not in _MODES:
        raise RuntimeError(f"Unrecognized mode={mode}, should be one of: {', '.join(_MODES)}")
    if mode is not None and options is not None:
        raise RuntimeError("Either mode or options can be specified, but both can't be specified at the same time.")
    if dynamic is not None and not isinstance(dynamic, bool):
        raise AssertionError(f"compile: expected dynamic to be True, False or None, got {dynamic!r}")
    chosen = _checked(options or {})
    found = _backend(_state.backend if backend is None else backend)
    if model is None:
        return functools.partial(
            compile, fullgraph=fullgraph, dynamic=dynamic, backend=backend, mode=mode, options=options, disable=disable
        )
    if disable:
        return model
    if not callable(model):
        raise AssertionError(f"compile: a function or an nn.Module is expected, got {type(model).__name__}")
    repeat = mode == "reduce-overhead" or chosen.get("repeat") or chosen.get("triton.cudagraphs")
    report = chosen.get("explain") or chosen.get("trace.enabled")
    how = _How(fullgraph, bool(repeat) or backend == "cudagraphs", bool(report), found, chosen.get("memory_limit"))
    if hasattr(model, "_as_compiled") and not isinstance(model, type):  # a module, which another one stands for
        return model._as_compiled(functools.partial(_module_call, how))
    return _compiled(model, how)


class _How(NamedTuple):
    """What was asked of ``compile``; ``backend`` is None for ours."""

    whole: bool
    repeat: bool
    report: bool
    backend: Callable[..., Any] | None
    limit: int | None


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    for name, value in options.items():
        if name not in _OPTIONS:
            raise RuntimeError(f"Unexpected optimization option {name}, known options are {', '.join(_OPTIONS)}")
        if not isinstance(value, _OPTIONS[name]):
            raise RuntimeError(
                f"Unexpected type of option {name}, got {type(value).__name__} should be {_OPTIONS[name].__name__}"
            )
    if options.get("memory_limit", 1) <= 0:
        raise RuntimeError(f"compile: memory_limit must be a positive number of bytes, got {options['memory_limit']}")
    return options


def _as_it_is(graph_module: Any, example_inputs: Sequence[Any]) -> Any:
    """The backend "eager"."""
    return graph_module


def _backend(named: Any) -> Callable[..., Any] | None:
    if callable(named):
        return named
    if named in _COMPILING:
        return None
    if named in _PLAIN:
        return _as_it_is
    if named not in _backends:
        raise InvalidBackend(
            f"Invalid backend: {named!r}, should be a function or one of: {', '.join(list_backends())}"
        )
    return _backends[named]


def _compiled(fn: Callable[..., Any], how: _How, module: Any = None) -> Callable[..., Any]:
    call = _called(fn, how, module)
    if how.whole:
        call = _unbroken(call)
    if how.report:
        call = _reported(call)
    run = _repeating(fn, call) if isinstance(call, ReduceOverhead) else _calling(fn, call)
    run._torchdynamo_orig_callable = fn  # type: ignore[attr-defined]
    return run


def _calling(fn: Callable[..., Any], call: Callable[..., Any]) -> Callable[..., Any]:
    """``fn`` by ``call``, unless the stance says otherwise."""

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        if _state.stance == "force_eager":
            return fn(*args, **kwargs)
        return call(*args, **kwargs)

    return run


def _repeating(fn: Callable[..., Any], replaying: ReduceOverhead) -> Callable[..., Any]:
    """The same by ``replaying``, for whose calls each frame of Python counts."""

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        if _state.stance == "force_eager":
            return fn(*args, **kwargs)
        result = replaying.quick(args, kwargs)
        return replaying.call(args, kwargs) if result is MISSED else result

    return run


def _module_call(how: _How, module: Any) -> Callable[..., Any]:
    return _compiled(module.__call__, how, module)


def _called(fn: Callable[..., Any], how: _How, module: Any) -> Callable[..., Any]:
    if how.backend is _as_it_is and not how.whole:
        return fn
    if how.backend is not None and how.backend is not _as_it_is:
        assert capture is not None
        return capture(fn, how.backend, module)
    if how.repeat:
        return ReduceOverhead(fn, module, how.limit)
    return _deferring(fn, how.limit) if how.whole or how.report or how.limit else DefaultMode(fn, module)


def _deferring(fn: Callable[..., Any], limit: int | None) -> Callable[..., Any]:
    """``fn`` with its operators recorded: one function, for its cost is paid at every call."""

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        if _state.stance == "force_eager":
            return fn(*args, **kwargs)
        recorder = deferral()
        recorder.enter(limit)
        try:
            result = fn(*args, **kwargs)
        finally:
            recorder.leave()
        if not grad_state.grad and not recorder.depth:  # no backward pass will join the program
            recorder.conclude()
        return result

    run._torchdynamo_orig_callable = fn  # type: ignore[attr-defined]
    return run


capture: Callable[..., Callable[..., Any]] | None = None
"""Makes a function that runs another through a backend of the user's; set by ``export``, which stands above this
file."""


def _unbroken(call: Callable[..., Any]) -> Callable[..., Any]:
    """``call`` under ``fullgraph``."""

    def whole(*args: Any, **kwargs: Any) -> Any:
        recorder = deferral()
        before, recorder.refuse = recorder.refuse, refuse_break
        try:
            return call(*args, **kwargs)
        finally:
            recorder.refuse = before

    return whole


_LOOKS = {
    "item": "a number is asked of a tensor by .item()",
    "tolist": "numbers are asked of a tensor by .tolist()",
    "numpy": "a tensor is made an array by .numpy()",
    "__array__": "a tensor is given to numpy",
    "__bool__": "a branch depends on the value of a tensor",
    "__int__": "a tensor is made an int",
    "__float__": "a tensor is made a float",
    "__index__": "a tensor is used where Python needs an int",
    "__contains__": "'in' is asked of a tensor",
    "__repr__": "a tensor is printed",
    "__format__": "a tensor is printed",
    "disabled": "a function is called that torch.compiler.disable excludes",
    "graph_break": "graph_break() is called",
}


def refuse_break() -> None:
    """Raises Unsupported for what makes the recorded program run; linear algebra may, which works on memory."""
    caller = who_called()
    op = OPERATORS.get(caller.name)
    if op is not None and op.__module__.rpartition(".")[2] in _HOST_FAMILIES:
        return
    what = _LOOKS.get(caller.name, f"{caller.name}() needs the value of a tensor")
    raise Unsupported(
        f"compile(fullgraph=True): {what}, which breaks the graph, at {caller.place}"
        f"{f': {caller.line}' if caller.line else ''}\nKeep the value in a tensor (torch.where instead of a branch, "
        "say), look at it outside of the compiled function, or leave fullgraph away: the program then runs in parts."
    )


def _reported(call: Callable[..., Any]) -> Callable[..., Any]:
    """``call``, the second time with an explanation on the standard error stream."""
    calls = 0

    def told(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != 2:
            return call(*args, **kwargs)
        found, result = explained(call, args, kwargs)
        print(found, file=sys.stderr)
        return result

    return told


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """Decorator: a function whose operators run at once even inside of a compiled one.

    ``recursive`` and ``reason`` are accepted for programs written for ``torch.compiler``.
    """
    if fn is None:
        return functools.partial(disable, recursive=recursive, reason=reason)

    @functools.wraps(fn)
    def disabled(*args: Any, **kwargs: Any) -> Any:
        recorder = deferral()
        recorder.flush()
        before = recorder.depth, recorder.plain
        recorder.depth = recorder.plain = 0
        try:
            return fn(*args, **kwargs)
        finally:
            recorder.depth, recorder.plain = before

    return disabled


def is_compiling() -> bool:
    """Whether operators are being deferred in this thread, or a program is being exported."""
    recorder = deferral()
    return (recorder.depth > 0 and not recorder.unasked) or recorder.plain > 0 or _state.exporting > 0


def is_dynamo_compiling() -> bool:
    """Whether bytecode is being compiled: never."""
    return False


def is_exporting() -> bool:
    """Whether a program is being exported."""
    return _state.exporting > 0


@contextmanager
def exporting() -> Iterator[None]:
    """Inside of ``with``, ``is_exporting`` says so."""
    _state.exporting += 1
    try:
        yield
    finally:
        _state.exporting -= 1


def flush() -> None:
    """Computes everything that is pending in this thread."""
    deferral().flush()


def reset() -> None:
    """Forgets the plans of all compiled programs, and what is kept of constants; kernels stay known."""
    deferral().flush()
    plans.clear()
    prepared.forget()


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
    """The names that ``compile`` takes as backend; with ``exclude_tags=None`` also those that do not compile."""
    return sorted({*_COMPILING, *_backends, *(() if exclude_tags else _PLAIN)})


def register_backend(compiler_fn: Any = None, name: str | None = None, tags: Any = ()) -> Any:
    """Makes a function ``backend(graph_module, example_inputs)`` known by its name; also a decorator."""
    if compiler_fn is None:
        return functools.partial(register_backend, name=name, tags=tags)
    _backends[name or compiler_fn.__name__] = compiler_fn
    return compiler_fn


def get_default_backend() -> Any:
    """What compiles where ``compile`` is not told a backend: "flambeau" at first."""
    return _state.backend


def set_default_backend(backend: Any) -> None:
    """Sets what compiles where ``compile`` is not told a backend; None is ours.  Raises InvalidBackend."""
    _backend("flambeau" if backend is None else backend)
    _state.backend = "flambeau" if backend is None else backend


def set_enable_guard_collectives(enabled: bool) -> bool:
    """Accepted for programs written for ``torch.compiler``: there are no guards to agree upon.  Returns False."""
    return False


def skip_all_guards_unsafe(guard_entries: Sequence[Any]) -> list[bool]:
    """For each guard whether it is kept, for ``options={"guard_filter_fn": ...}``: there are none here."""
    return [False for _ in guard_entries]


def keep_tensor_guards_unsafe(guard_entries: Sequence[Any], keep_parameters: bool = False) -> list[bool]:
    """As ``skip_all_guards_unsafe``: there are no guards, of tensors either."""
    return skip_all_guards_unsafe(guard_entries)


keep_portable_guards_unsafe = skip_all_guards_unsafe
skip_guard_on_globals_unsafe = skip_all_guards_unsafe
skip_guard_on_inbuilt_nn_modules_unsafe = skip_all_guards_unsafe
skip_guard_on_all_nn_modules_unsafe = skip_all_guards_unsafe


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
