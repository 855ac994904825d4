"""Every environment variable that flambeau reads, in one place.

A setting is read as an attribute of this module (``settings.debug``), comes from its environment variable when the
process starts, and can be changed for a while::

    with settings.override(isa="avx2", verify=True):
        ...

``override`` changes the setting for the whole process, not only for the calling thread.  A setting that is used once,
when something is created (the number of threads, the guard mode of the allocator), has no effect after that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

__all__ = ["SETTINGS", "Setting", "describe", "override"]


class Setting(NamedTuple):
    """One setting: the environment variable, how its text is read, the value when it is absent, what it does."""

    variable: str
    read: Callable[[str], Any]
    default: Any
    text: str


def _flag(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in ("1", "true", "yes", "on"):
        return True
    if lowered in ("", "0", "false", "no", "off"):
        return False
    raise ValueError("expected 0 or 1")


def _integer(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise ValueError(f"expected an integer from {low} to {high}")
        return value

    return read


def _choice(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            raise ValueError("expected one of " + ", ".join(names))
        return text

    return read


def _default_cache_dir() -> str:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "flambeau")


SETTINGS: dict[str, Setting] = {
    "isa": Setting(
        "FLAMBEAU_ISA",
        _choice("native", "x86-64", "avx2", "avx512", "neon", "generic"),
        "native",
        "Instruction set that kernels are generated for; 'native' is the widest that the processor has.",
    ),
    "num_threads": Setting(
        "FLAMBEAU_NUM_THREADS",
        _integer(0, 4096),
        0,
        "Threads that a kernel may use; 0 takes OMP_NUM_THREADS, else the physical cores this process may run on.",
    ),
    "cache_dir": Setting(
        "FLAMBEAU_CACHE_DIR", str, _default_cache_dir(), "Folder of the compiled kernels ($XDG_CACHE_HOME/flambeau)."
    ),
    "cache": Setting("FLAMBEAU_CACHE", _flag, True, "0 keeps compiled kernels in memory only."),
    "cache_size": Setting("FLAMBEAU_CACHE_SIZE", _integer(1, 1 << 20), 512, "Bound of the kernel cache on disk, MiB."),
    "debug": Setting(
        "FLAMBEAU_DEBUG",
        _integer(0, 6),
        0,
        "1: kernels and compile times, 2: cache misses and why, 3: graphs, 4: loop IR, 5: LLVM IR, 6: assembly.",
    ),
    "verify": Setting("FLAMBEAU_VERIFY", _flag, False, "1 verifies every intermediate form after every pass."),
    "templates": Setting(
        "FLAMBEAU_TEMPLATES", _flag, True, "0 runs the composite of every operator instead of its template."
    ),
    "guard": Setting(
        "FLAMBEAU_GUARD", _flag, False, "1 ends every allocation at an inaccessible page (slow; for tests)."
    ),
    "perf": Setting(
        "FLAMBEAU_PERF", _flag, False, "1 writes the names of kernels to /tmp/perf-PID.map, where Linux' perf looks."
    ),
}

isa: str
num_threads: int
cache_dir: str
cache: bool
cache_size: int
debug: int
verify: bool
templates: bool
guard: bool
perf: bool


def _from_environment(setting: Setting) -> Any:
    text = os.environ.get(setting.variable)
    if text is None or text == "":
        return setting.default
    try:
        return setting.read(text)
    except ValueError as error:
        raise ValueError(f"environment variable {setting.variable}={text!r}: {error}") from None


globals().update({name: _from_environment(setting) for name, setting in SETTINGS.items()})


@contextmanager
def override(**values: Any) -> Iterator[None]:
    """Gives the settings named other values inside a ``with`` block.

    Raises ``TypeError`` for a name that is no setting and ``ValueError`` for a value that its environment variable
    would not accept either.
    """
    module = globals()
    for name, value in values.items():
        if name not in SETTINGS:
            raise TypeError(f"override: {name!r} is not a setting; the settings are {', '.join(SETTINGS)}")
        text = str(int(value)) if isinstance(value, bool) else str(value)
        try:
            values[name] = SETTINGS[name].read(text)
        except ValueError as error:
            raise ValueError(f"override: {name}={value!r}: {error}") from None
    saved = {name: module[name] for name in values}
    module.update(values)
    try:
        yield
    finally:
        module.update(saved)


def describe() -> str:
    """One line for each setting: its variable, its present value, what it does."""
    return "\n".join(f"{s.variable}={globals()[name]!r}  {s.text}" for name, s in SETTINGS.items())
