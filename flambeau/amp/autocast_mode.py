"""``autocast``: inside of the block, operators run in the precision that PyTorch documents for their class.

The casts stand around the operators (``call.around``), so they are on the tape like any others.  While an operator of a
class runs, the operators that it calls itself are left alone.
"""

from __future__ import annotations

import collections
import functools
import threading
import warnings
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import numpy as np

from ..autograd.mode import state as grad_state
from ..dispatch.call import around, special
from ..dispatch.callforms import call_forms
from ..dispatch.operator import Operator
from ..dtype import bfloat16, dtype, float16, float32, float64
from ..tensor import Tensor
from .policy import POLICIES, policy_of

__all__ = [
    "autocast", "autocast_decrement_nesting", "autocast_increment_nesting", "clear_autocast_cache", "custom_bwd",
    "custom_fwd", "get_autocast_cpu_dtype", "get_autocast_dtype", "get_autocast_gpu_dtype", "is_autocast_available",
    "is_autocast_cache_enabled", "is_autocast_cpu_enabled", "is_autocast_enabled", "lowered",
    "set_autocast_cache_enabled", "set_autocast_cpu_dtype", "set_autocast_cpu_enabled", "set_autocast_dtype",
    "set_autocast_enabled", "set_autocast_gpu_dtype",
]  # fmt: skip

# The type that autocast brings operators to unless told otherwise, for every device type that PyTorch knows it for.
_DTYPES: dict[str, dtype] = {
    "cpu": bfloat16, "cuda": float16, "xpu": float16, "mps": float16, "hpu": bfloat16, "mtia": bfloat16,
    "maia": bfloat16, "xla": bfloat16, "ipu": float16, "privateuseone": float16,
}  # fmt: skip
_AVAILABLE = ("cpu", "cuda", "mtia", "maia", "xpu", "hpu", "xla", "mps", "ipu", "privateuseone")
_CPU_TYPES = (bfloat16, float16)


class _State(threading.local):
    """What a thread has switched on."""

    def __init__(self) -> None:
        self.enabled: dict[str, bool] = {}
        self.dtypes = dict(_DTYPES)
        self.keep = True  # whether casts of parameters are kept until the outermost block ends
        self.nesting = 0
        self.kept: dict[tuple[int, dtype, bool], tuple[Tensor, Tensor]] = {}


_state = _State()


def _cast(value: Any, wanted: dtype) -> Any:
    """An argument in the wanted type: floating-point tensors but float64, also inside of lists."""
    if isinstance(value, Tensor):
        type_ = value._layout.dtype
        if type_ is wanted or type_.kind != "f" or type_ is float64:
            return value
        if _state.keep and value._requires_grad and value._node is None and type_ is float32 and wanted is not float32:
            key = (id(value), wanted, grad_state.grad)
            found = _state.kept.get(key)
            if found is None:
                found = _state.kept[key] = (value, value.to(wanted))  # type: ignore[attr-defined]
            return found[1]
        return value.to(wanted)  # type: ignore[attr-defined]
    if isinstance(value, (list, tuple)) and any(isinstance(v, Tensor) for v in value):
        return [_cast(v, wanted) for v in value]
    return value


def _widest(args: Any, lower: dtype) -> dtype:
    """float32 if an argument has it, otherwise autocast's type."""
    flat = [v for a in args for v in (a if isinstance(a, (list, tuple)) else (a,))]
    return float32 if any(isinstance(v, Tensor) and v._layout.dtype is float32 for v in flat) else lower


def _around(op: Operator, args: tuple[Any, ...], proceed: Callable[[Any], Any], inplace: bool) -> Any:
    """Runs an operator on arguments cast as its class asks for.  Writes in place keep to the type of their target."""
    name = op.name
    if inplace or (name not in POLICIES and name != "pad"):
        return proceed(args)
    policy = policy_of(name, dict(zip(op.params, args)))
    if policy is None:
        return proceed(args)
    before = around.wrappers
    around.wrappers = tuple(w for w in before if w is not _around)
    try:
        if policy != "given":
            lower = _state.dtypes["cpu"]
            wanted = lower if policy == "lower" else float32 if policy == "full" else _widest(args, lower)
            args = tuple(_cast(a, wanted) for a in args)
        return proceed(args)
    finally:
        around.wrappers = before


def lowered(value: Any) -> Any:
    """What autocast makes of an argument, or a list of them, of something that is one operator of the class "lower" in
    PyTorch and many here (an LSTM): the same, or in bfloat16 where autocast to bfloat16 is on."""
    on = _state.enabled.get("cpu", False) and _state.dtypes["cpu"] is bfloat16
    return _cast(value, bfloat16) if on else value


# -- the switches ------------------------------------------------------------------------------------


def _device_type(device_type: Any, function: str) -> str:
    if not isinstance(device_type, str):
        raise TypeError(f"{function}(): argument 'device_type' must be str, not {type(device_type).__name__}")
    if device_type not in _AVAILABLE:
        raise RuntimeError(f"{function}(): unknown device type for autocast: {device_type!r}; known are {_AVAILABLE}")
    return device_type


def is_autocast_available(device_type: str) -> bool:
    """Whether autocast knows a device type."""
    if not isinstance(device_type, str):
        raise TypeError(
            f"is_autocast_available(): argument 'device_type' must be str, not {type(device_type).__name__}"
        )
    return device_type in _AVAILABLE


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether autocast is on in this thread for a device type (without one, as in PyTorch, for "cuda")."""
    return _state.enabled.get(_device_type(device_type, "is_autocast_enabled"), False)


@call_forms("set_autocast_enabled(device_type, enabled)", "set_autocast_enabled(enabled)")
def set_autocast_enabled(device_type: Any = None, enabled: bool | None = None) -> None:
    """Switches autocast on or off for a device type; ``set_autocast_enabled(enabled)`` does so for "cuda"."""
    if enabled is None:
        enabled = device_type
    if not isinstance(device_type, str):
        device_type = "cuda"
    if not isinstance(enabled, (bool, int)):
        raise TypeError("set_autocast_enabled() missing 1 required positional arguments: 'enabled'")
    name = _device_type(device_type, "set_autocast_enabled")
    if name == "cpu" and bool(enabled) != _state.enabled.get(name, False):
        if enabled:
            special.append(_around)
            around.wrappers = (*around.wrappers, _around)
        else:
            special.remove(_around)
            around.wrappers = tuple(w for w in around.wrappers if w is not _around)
    _state.enabled[name] = bool(enabled)


def get_autocast_dtype(device_type: str) -> dtype:
    """The type that autocast brings operators of the lower class to."""
    return _state.dtypes[_device_type(device_type, "get_autocast_dtype")]


def set_autocast_dtype(device_type: str, dtype: dtype) -> None:
    """Sets the type that autocast brings operators of the lower class to."""
    _state.dtypes[_device_type(device_type, "set_autocast_dtype")] = dtype


def is_autocast_cpu_enabled() -> bool:
    """Whether autocast is on for the CPU; ``is_autocast_enabled("cpu")``."""
    return is_autocast_enabled("cpu")


def set_autocast_cpu_enabled(enabled: bool) -> None:
    """``set_autocast_enabled("cpu", enabled)``."""
    set_autocast_enabled("cpu", enabled)


def get_autocast_cpu_dtype() -> dtype:
    """``get_autocast_dtype("cpu")``."""
    return get_autocast_dtype("cpu")


def set_autocast_cpu_dtype(dtype: dtype) -> None:
    """``set_autocast_dtype("cpu", dtype)``."""
    set_autocast_dtype("cpu", dtype)


def get_autocast_gpu_dtype() -> dtype:
    """``get_autocast_dtype("cuda")``."""
    return get_autocast_dtype("cuda")


def set_autocast_gpu_dtype(dtype: dtype) -> None:
    """``set_autocast_dtype("cuda", dtype)``."""
    set_autocast_dtype("cuda", dtype)


def _by_device(name: str) -> dict[str, Callable[..., Any]]:
    """The functions of one device type, as older programs call them."""

    def enabled() -> bool:
        return is_autocast_enabled(name)

    def set_enabled(enabled: bool) -> None:
        set_autocast_enabled(name, enabled)

    def get_dtype() -> dtype:
        return get_autocast_dtype(name)

    def set_dtype(dtype: dtype) -> None:
        set_autocast_dtype(name, dtype)

    forms: dict[str, Any] = {
        f"is_autocast_{name}_enabled": (enabled, "Whether autocast is on"),
        f"set_autocast_{name}_enabled": (set_enabled, "Switches autocast"),
        f"get_autocast_{name}_dtype": (get_dtype, "The type that autocast brings operators to"),
        f"set_autocast_{name}_dtype": (set_dtype, "Sets the type that autocast brings operators to"),
    }
    for title, (function, text) in forms.items():
        function.__name__ = function.__qualname__ = title
        function.__doc__ = f"{text} for {name!r}; deprecated in favour of the forms with a device type."
    return {title: function for title, (function, _) in forms.items()}


globals().update({**_by_device("ipu"), **_by_device("xla")})


def is_autocast_cache_enabled() -> bool:
    """Whether casts of parameters are kept until the outermost block ends."""
    return _state.keep


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Sets whether casts of parameters are kept until the outermost block ends."""
    _state.keep = bool(enabled)


def clear_autocast_cache() -> None:
    """Forgets the casts of parameters that are kept."""
    _state.kept.clear()


def autocast_increment_nesting() -> int:
    """Enters a block; returns how many are open."""
    _state.nesting += 1
    return _state.nesting


def autocast_decrement_nesting() -> int:
    """Leaves a block; returns how many are still open."""
    _state.nesting -= 1
    return _state.nesting


# -- the context manager -----------------------------------------------------------------------------


class autocast:
    """A context manager and decorator under which operators run in mixed precision.

    ``dtype`` is the type of the lower class (the device's own if it is None), ``cache_enabled`` says whether a
    parameter is cast once in the outermost block.  Blocks nest, also with ``enabled=False``.  Raises RuntimeError for
    a device type that autocast does not know; warns and does nothing for one that this machine lacks, and for a type
    other than bfloat16 and float16.
    """

    def __init__(
        self, device_type: str, dtype: dtype | None = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        self.device = device_type
        if not is_autocast_available(device_type):
            raise RuntimeError(f"User specified an unsupported autocast device_type '{device_type}'")
        self.fast_dtype = get_autocast_dtype(device_type) if dtype is None else dtype
        self._cache_enabled = _state.keep if cache_enabled is None else cache_enabled
        if enabled and device_type != "cpu":
            warnings.warn(
                f"User provided device_type of '{device_type}', but {device_type.upper()} is not available. Disabling",
                stacklevel=2,
            )
            enabled = False
        elif enabled and self.fast_dtype not in _CPU_TYPES:
            warnings.warn(
                "In CPU autocast, but the target dtype is not supported. Disabling autocast.\n"
                "CPU Autocast only supports dtypes of torch.bfloat16, torch.float16 currently.",
                stacklevel=2,
            )
            enabled = False
        self._enabled = enabled
        self._before: list[tuple[bool, bool, Any]] = []

    def __enter__(self) -> autocast:
        self._before.append((_state.keep, is_autocast_enabled(self.device), get_autocast_dtype(self.device)))
        set_autocast_enabled(self.device, self._enabled)
        set_autocast_dtype(self.device, self.fast_dtype)
        autocast_increment_nesting()
        set_autocast_cache_enabled(self._cache_enabled)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        if autocast_decrement_nesting() == 0:
            clear_autocast_cache()
        keep, enabled, type_ = self._before.pop()
        set_autocast_enabled(self.device, enabled)
        set_autocast_dtype(self.device, type_)
        set_autocast_cache_enabled(keep)

    def __call__(self, func: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(func)
        def decorated(*args: Any, **kwargs: Any) -> Any:
            with self:
                return func(*args, **kwargs)

        decorated.__script_unsupported = (  # type: ignore[attr-defined]
            "@autocast() decorator is not supported in script mode"
        )
        return decorated


def _cast_all(value: Any, device_type: str, wanted: dtype) -> Any:
    """Floating-point tensors of a device in another type, through lists, tuples and mappings."""
    if isinstance(value, Tensor):
        layout = value._layout
        eligible = layout.dtype.kind == "f" and layout.dtype is not float64 and layout.device.type == device_type
        return value.to(wanted) if eligible else value  # type: ignore[attr-defined]
    if isinstance(value, (str, np.ndarray)):
        return value
    if isinstance(value, Mapping):
        return {_cast_all(k, device_type, wanted): _cast_all(v, device_type, wanted) for k, v in value.items()}
    if isinstance(value, collections.abc.Iterable):
        items = [_cast_all(v, device_type, wanted) for v in value]
        return type(value)(items) if isinstance(value, (list, tuple)) else items  # type: ignore[call-arg]
    return value


def custom_fwd(
    fwd: Callable[..., Any] | None = None, *, device_type: str, cast_inputs: dtype | None = None
) -> Callable[..., Any]:
    """Decorator for the ``forward`` of an ``autograd.Function``.

    ``cast_inputs``: inside of autocast, floating-point arguments are brought to this type and the body runs without
    autocast.  The state is kept for ``custom_bwd``.
    """
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)

    @functools.wraps(fwd)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        args[0]._dtype = get_autocast_dtype(device_type)
        if cast_inputs is None:
            args[0]._fwd_used_autocast = is_autocast_enabled(device_type)
            return fwd(*args, **kwargs)
        was_on = is_autocast_enabled(device_type)
        args[0]._fwd_used_autocast = False
        if not was_on:
            return fwd(*args, **kwargs)
        with autocast(device_type=device_type, enabled=False):
            cast = tuple(_cast_all(a, device_type, cast_inputs) for a in args)
            return fwd(*cast, **_cast_all(kwargs, device_type, cast_inputs))

    return decorated


def custom_bwd(bwd: Callable[..., Any] | None = None, *, device_type: str) -> Callable[..., Any]:
    """Decorator for the ``backward`` of an ``autograd.Function``: it runs in the autocast state of the ``forward``."""
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)

    @functools.wraps(bwd)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        with autocast(device_type=device_type, enabled=args[0]._fwd_used_autocast, dtype=args[0]._dtype):
            return bwd(*args, **kwargs)

    return decorated
