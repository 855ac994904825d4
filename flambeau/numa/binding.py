"""Keeping a worker on the processors near its device (Linux: ``/sys/devices/system``, ``sched_setaffinity``)."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from .. import cuda

__all__ = ["AffinityMode", "NumaOptions", "maybe_temporarily_apply_numa_binding_to_current_thread"]

_log = logging.getLogger(__name__)
_SYSTEM = Path("/sys/devices/system")


class AffinityMode(str, Enum):
    """Which processors a worker may run on: those of its device's node, of all nodes of the socket, its own share of
    the node's cores, or those of the node that share one cache."""

    NODE = "node"
    SOCKET = "socket"
    EXCLUSIVE = "exclusive"
    CORE_COMPLEX = "core-complex"


@dataclass(frozen=True)
class NumaOptions:
    """How to bind; with ``should_fall_back_if_binding_fails`` a failure is logged and nothing is bound."""

    affinity_mode: AffinityMode
    should_fall_back_if_binding_fails: bool = False


@contextlib.contextmanager
def maybe_temporarily_apply_numa_binding_to_current_thread(
    *, gpu_index: int, numa_options: NumaOptions | None
) -> Iterator[None]:
    """``with`` this, the thread (and what it starts) runs on the processors near a device.  Without options nothing
    happens; without the device RuntimeError is raised."""
    before = os.sched_getaffinity(0)
    if numa_options is not None:
        try:
            os.sched_setaffinity(0, processors(gpu_index, numa_options.affinity_mode))
        except (OSError, RuntimeError) as error:
            if not numa_options.should_fall_back_if_binding_fails:
                raise RuntimeError(f"numa binding {asdict(numa_options)} of GPU {gpu_index} failed: {error}") from error
            _log.warning("numa binding of GPU %d failed, nothing is bound: %s", gpu_index, error)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def processors(gpu_index: int, mode: AffinityMode, allowed: set[int] | None = None) -> set[int]:
    """The processors, of those ``allowed`` to the process, on which a device's worker should run."""
    properties = cuda.get_device_properties(gpu_index)
    place = f"{properties.pci_domain_id:04x}:{properties.pci_bus_id:02x}:{properties.pci_device_id:02x}.0"
    node = int(Path(f"/sys/bus/pci/devices/{place}/numa_node").read_text())
    return of_node(max(node, 0), mode, allowed)


def of_node(
    node: int, mode: AffinityMode, allowed: set[int] | None = None, share: tuple[int, int] = (0, 1)
) -> set[int]:
    """The processors of a node for a mode; ``share`` (k, n): of n workers the k-th, for exclusive cores.

    Raises RuntimeError if none is allowed.
    """
    usable = os.sched_getaffinity(0) if allowed is None else allowed
    found = indices((_SYSTEM / f"node/node{node}/cpulist").read_text()) & usable
    if mode is AffinityMode.SOCKET:
        sockets = {_number(cpu, "topology/physical_package_id") for cpu in found}
        found = {cpu for cpu in usable if _number(cpu, "topology/physical_package_id") in sockets}
    elif mode is AffinityMode.EXCLUSIVE:
        cores = sorted({_number(cpu, "topology/core_id") for cpu in found})
        mine = set(cores[share[0] * len(cores) // share[1] : (share[0] + 1) * len(cores) // share[1]])
        found = {cpu for cpu in found if _number(cpu, "topology/core_id") in mine}
    elif mode is AffinityMode.CORE_COMPLEX and found:
        groups: dict[str, set[int]] = {}
        for cpu in found:
            text = (_SYSTEM / f"cpu/cpu{cpu}/cache/index3/shared_cpu_list").read_text()
            groups.setdefault(text, set()).add(cpu)
        found = max(groups.values(), key=lambda group: (len(group), -min(group)))
    if not found:
        raise RuntimeError(f"node {node} has no processor that this process may use")
    return found


def indices(text: str) -> set[int]:
    """The numbers that the kernel's lists mean: "0-2,5" is {0, 1, 2, 5}."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first:
            found.update(range(int(first), int(last or first) + 1))
    return found


def _number(cpu: int, name: str) -> int:
    return int((_SYSTEM / f"cpu/cpu{cpu}" / name).read_text())
