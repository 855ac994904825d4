"""The processor's widest instruction set."""

from __future__ import annotations

from ..target.isa import ISA

__all__ = ["get_cpu_capability"]

_TITLES = {"avx512": "AVX512", "avx2": "AVX2", "neon": "DEFAULT"}


def get_cpu_capability() -> str:
    """The instruction set that kernels are generated for, by PyTorch's names: "AVX512", "AVX2", "DEFAULT"."""
    return _TITLES.get(ISA.host().name, "DEFAULT")
