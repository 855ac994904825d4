"""What this build is made of, as text."""

from __future__ import annotations

import platform

from .runtime.cpu import features, physical_cores
from .runtime.pool import get_num_threads
from .target.isa import ISA
from .version import flambeau as _version

__all__ = ["parallel_info", "show"]


def show() -> str:
    """The settings that this package was built with: it is not built, kernels are made for the processor at hand."""
    isa = ISA.host()
    return (
        f"flambeau {_version}, Python {platform.python_version()}\n"
        f"  - kernels are generated through LLVM for {isa.name} ({isa.cpu})\n"
        f"  - CPU capability usage: {isa.name.upper()}\n"
    )


def parallel_info() -> str:
    """How many threads kernels run on."""
    return (
        f"threads of kernels: {get_num_threads()}\nphysical cores: {physical_cores()}\n"
        f"features of the processor: {', '.join(sorted(features()))}\n"
    )
