"""The processor at hand: instruction-set features, cache sizes, cores.

Everything is read from the operating system's files, so that a process whose kernels are all cached never has to load
LLVM; where those files are missing LLVM is asked (features) or usual values are taken (caches).
"""

from __future__ import annotations

import ctypes
import math
import os
import platform
import sys
from functools import cache
from typing import NamedTuple

__all__ = [
    "CacheSizes",
    "available_cpus",
    "cache_sizes",
    "enable_tiles",
    "features",
    "machine",
    "physical_cores",
    "total_memory",
]

# The names of /proc/cpuinfo that differ from LLVM's ...
_RENAMED = {
    "pni": "sse3",
    "sse4_1": "sse4.1",
    "sse4_2": "sse4.2",
    "bmi1": "bmi",
    "abm": "lzcnt",
    "avx512_bf16": "avx512bf16",
    "avx512_bitalg": "avx512bitalg",
    "avx512_fp16": "avx512fp16",
    "avx512_vbmi2": "avx512vbmi2",
    "avx512_vnni": "avx512vnni",
    "avx512_vp2intersect": "avx512vp2intersect",
    "avx512_vpopcntdq": "avx512vpopcntdq",
    "avx_vnni": "avxvnni",
    "avx_vnni_int8": "avxvnniint8",
    "avx_ne_convert": "avxneconvert",
    "amx_bf16": "amx-bf16",
    "amx_fp16": "amx-fp16",
    "amx_int8": "amx-int8",
    "amx_tile": "amx-tile",
    "asimd": "neon",
    "asimddp": "dotprod",
    "asimdhp": "fullfp16",
}
# ... and those that are the same.
_SAME = frozenset(
    "sse sse2 ssse3 cx16 popcnt movbe avx avx2 f16c fma bmi2 gfni vaes vpclmulqdq avx512f avx512bw avx512cd avx512dq "
    "avx512vl avx512ifma avx512vbmi bf16 i8mm sve sve2".split()
)


_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA = 158, 0x1023, 18


class CacheSizes(NamedTuple):
    """Bytes of the first-level data cache, the second level (both per core) and the third (shared; 0: none)."""

    l1: int
    l2: int
    l3: int


def machine() -> str:
    """``"x86_64"``, ``"aarch64"`` or what else the operating system calls the processor."""
    name = platform.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name, name)


def _read(path: str, limit: int = 1 << 16) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(limit).decode("ascii", "replace")
    except OSError:
        return ""


@cache
def features() -> frozenset[str]:
    """The instruction-set features of the host under LLVM's names, such as ``"avx512f"`` or ``"neon"``.

    Only those that code generation asks about are listed.
    """
    for line in _read("/proc/cpuinfo", 1 << 13).splitlines():
        word, _, rest = line.partition(":")
        if word.strip() in ("flags", "Features"):
            names = set(rest.split())
            found = {_RENAMED[name] for name in names & _RENAMED.keys()} | (names & _SAME)
            return frozenset(found)
    return _features_from_llvm()


def _features_from_llvm() -> frozenset[str]:
    from llvmlite import binding  # slow to import, and only needed where /proc/cpuinfo says nothing

    known = _SAME | set(_RENAMED.values())
    return frozenset(name for name, present in binding.get_host_cpu_features().items() if present and name in known)


@cache
def enable_tiles() -> bool:
    """Asks Linux for the use of AMX's tile registers in this process; without its consent they raise SIGILL.

    False where the processor has none or the system refuses.
    Reference: Linux kernel documentation, "Using XSTATE features in user space applications".
    """
    if machine() != "x86_64" or not sys.platform.startswith("linux") or "amx-tile" not in features():
        return False
    return bool(ctypes.CDLL(None).syscall(_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA) == 0)


@cache
def cache_sizes() -> CacheSizes:
    """The sizes of the data caches; 32 KiB, 512 KiB and 8 MiB where the operating system does not tell."""
    sizes = {1: 32 << 10, 2: 512 << 10, 3: 0}
    found = False
    for index in range(8):
        folder = f"/sys/devices/system/cpu/cpu0/cache/index{index}/"
        level, kind, size = (_read(folder + name).strip() for name in ("level", "type", "size"))
        if kind in ("Data", "Unified") and level.isdigit() and size[:-1].isdigit():
            scale = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(size[-1], 1)
            sizes[int(level)] = int(size[:-1]) * scale
            found = True
    if not found:
        sizes[3] = 8 << 20
    return CacheSizes(sizes[1], sizes[2], sizes[3])


def available_cpus() -> list[int]:
    """The logical processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _quota() -> float:
    """Processors' worth of time that the control group grants (version 2, then 1); infinity when unlimited."""
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").strip().partition(" ")
    if not quota:
        quota = _read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").strip()
        period = _read("/sys/fs/cgroup/cpu/cpu.cfs_period_us").strip()
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        return int(quota) / int(period)
    return math.inf


@cache
def physical_cores() -> int:
    """Physical cores among the processors this process may run on, no more than its control group's quota."""
    cores = set()
    for cpu in available_cpus():
        folder = f"/sys/devices/system/cpu/cpu{cpu}/topology/"
        package, core = _read(folder + "physical_package_id").strip(), _read(folder + "core_id").strip()
        cores.add((package, core) if core else cpu)
    return max(1, min(len(cores), math.ceil(min(_quota(), 1 << 20))))


@cache
def total_memory() -> int:
    """Bytes of physical memory; 4 GiB where the operating system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 4 << 30
