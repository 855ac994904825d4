"""Settings of the process that PyTorch programs switch.  All results here are deterministic, and float32 is float32."""

from __future__ import annotations

import warnings

__all__ = [
    "are_deterministic_algorithms_enabled", "compiled_with_cxx11_abi", "get_deterministic_debug_mode",
    "get_float32_matmul_precision", "get_num_interop_threads", "init_num_threads",
    "is_deterministic_algorithms_warn_only_enabled", "is_warn_always_enabled", "set_deterministic_debug_mode",
    "set_float32_matmul_precision", "set_flush_denormal", "set_num_interop_threads", "set_warn_always",
    "use_deterministic_algorithms",
]  # fmt: skip


# What PyTorch's builds can leave out: linear algebra, threads and transforms are always there, whoever computes them.
has_lapack = has_mkl = has_openmp = has_spectral = True


class _Modes:
    deterministic = False
    warn_only = False
    warn_always = False
    precision = "highest"
    interop_threads = 1


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Asks for operators that give the same bits whenever they get the same: all of them do, for any number of threads.

    The setting is kept for programs that ask for it.
    """
    _Modes.deterministic, _Modes.warn_only = bool(mode), bool(warn_only)


def are_deterministic_algorithms_enabled() -> bool:
    """Whether ``use_deterministic_algorithms(True)`` was called."""
    return _Modes.deterministic


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether ``use_deterministic_algorithms`` was asked to warn instead of raising."""
    return _Modes.warn_only


_DEBUG_MODES = ("default", "warn", "error")


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """``use_deterministic_algorithms`` by a number or name: 0 "default" off, 1 "warn" warns, 2 "error" raises.

    Raises TypeError for other types, RuntimeError for other values.
    """
    if not isinstance(debug_mode, (int, str)):
        raise TypeError(f"debug_mode must be str or int, but got {type(debug_mode)}")
    if isinstance(debug_mode, str):
        if debug_mode not in _DEBUG_MODES:
            raise RuntimeError(
                f"invalid value of debug_mode, expected one of `default`, `warn`, `error`, but got {debug_mode}"
            )
        debug_mode = _DEBUG_MODES.index(debug_mode)
    if debug_mode not in (0, 1, 2):
        raise RuntimeError(f"invalid value of debug_mode, expected 0, 1, or 2, but got {debug_mode}")
    use_deterministic_algorithms(debug_mode > 0, warn_only=debug_mode == 1)


def get_deterministic_debug_mode() -> int:
    """The number that ``set_deterministic_debug_mode`` takes for the present setting."""
    return 0 if not _Modes.deterministic else 1 if _Modes.warn_only else 2


def set_float32_matmul_precision(precision: str) -> None:
    """Allows products of float32 matrices to be less precise ("high", "medium"); they never are on the CPU."""
    if precision not in ("highest", "high", "medium"):
        warnings.warn(
            f"{precision} is not one of 'highest', 'high', or 'medium'; the current setting, "
            f"{_Modes.precision!r}, stays as it is",
            stacklevel=2,
        )
        return
    _Modes.precision = precision


def get_float32_matmul_precision() -> str:
    """What ``set_float32_matmul_precision`` was given last; "highest" at first."""
    return _Modes.precision


def set_warn_always(b: bool, /) -> None:
    """Asks for warnings at every occurrence instead of once."""
    if not isinstance(b, bool):
        raise TypeError(f"setWarnOnlyOnce expects a bool, but got {type(b).__name__}")
    _Modes.warn_always = b


def is_warn_always_enabled() -> bool:
    """What ``set_warn_always`` was given last."""
    return _Modes.warn_always


def set_num_interop_threads(int: int) -> None:
    """Sets the number of threads that run operators side by side: kept for programs that ask for it.

    Operators run one after the other; each uses the pool of ``set_num_threads``.  Raises RuntimeError for less than 1.
    """
    if int < 1:
        raise RuntimeError("set_num_interop_threads expects a positive integer")
    _Modes.interop_threads = int


def get_num_interop_threads() -> int:
    """What ``set_num_interop_threads`` was given last; 1 at first."""
    return _Modes.interop_threads


def init_num_threads() -> None:
    """Does nothing: the pool has its size from the start."""


def set_flush_denormal(mode: bool) -> bool:
    """Asks the processor to take denormal numbers for zero; False: it is not done, kernels compute with them."""
    return False


def compiled_with_cxx11_abi() -> bool:
    """True, as for every PyTorch since 2.6; nothing here is compiled by a C++ compiler."""
    return True
