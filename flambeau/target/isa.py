"""Instruction sets that kernels are generated for."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import cache, cached_property

from .. import settings
from ..runtime import cpu as host_cpu

__all__ = ["ISA"]

_BITS = {"i1": 8, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "half": 16, "bfloat": 16, "float": 32, "double": 64,
         "ptr": 64}  # fmt: skip

# Features beyond the named levels that kernels use when the host has them.
_EXTRA_X86 = (
    "avx512bf16", "avx512fp16", "avx512vnni", "avx512vbmi", "avx512vbmi2", "avx512ifma", "avx512bitalg",
    "avx512vpopcntdq", "avxvnni", "gfni", "amx-tile", "amx-bf16", "amx-int8", "amx-fp16",
)  # fmt: skip
_EXTRA_ARM = ("fullfp16", "dotprod", "bf16", "i8mm")

# What the levels x86-64-v3 and x86-64-v4 of the x86-64 psABI promise beyond x86-64-v2, as far as we can ask.
_V3 = frozenset(("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"))
_V4 = _V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


@dataclass(frozen=True)
class ISA:
    """An instruction set: what LLVM has to be told, and what a code generator has to know.

    ``cpu`` and ``features`` are LLVM's words (``features`` lists what the machine has beyond ``cpu``);
    ``vector_bits`` is the width of a vector register and ``registers`` their number.
    """

    name: str
    triple: str
    cpu: str
    features: tuple[str, ...]
    vector_bits: int
    registers: int
    prefer_512_bit_vectors: bool = False

    def lanes(self, elem: str) -> int:
        """How many values of the LLVM type ``elem`` (``"float"``, ``"i8"`` ...) a vector register holds.

        ``i1`` counts as the byte that it takes in memory.
        """
        return self.vector_bits // _BITS[elem]

    def has(self, feature: str) -> bool:
        """Whether code may use ``feature`` (LLVM's name) beyond what ``name`` implies."""
        return feature in self.features

    @property
    def bf16(self) -> bool:
        """Dot products and conversions of bfloat16 pairs."""
        return self.has("avx512bf16") or self.has("bf16")

    @property
    def vnni(self) -> bool:
        """Dot products of four 8-bit integers."""
        return self.has("avx512vnni") or self.has("avxvnni") or self.has("dotprod")

    @property
    def amx(self) -> bool:
        """Tiles (Intel AMX)."""
        return self.has("amx-tile")

    @property
    def fma(self) -> bool:
        """Whether a fused multiply-add is one instruction (otherwise ``llvm.fma`` is a slow library call)."""
        return self.name in ("avx2", "avx512", "neon")

    @property
    def masks(self) -> bool:
        """Whether masks have registers of their own, and cost next to nothing."""
        return self.name == "avx512"

    @cached_property
    def feature_text(self) -> str:
        """The features as LLVM wants them: ``"+fma,+avx512bf16"``."""
        return ",".join("+" + name for name in self.features)

    @cached_property
    def key(self) -> str:
        """Determines the code that LLVM generates: part of every cache key."""
        return f"{self.name};{self.triple};{self.cpu};{self.feature_text};{self.vector_bits}"

    def function_attributes(self) -> str:
        """The attributes that every function definition carries, as LLVM text."""
        words = ["nounwind", f'"target-cpu"="{self.cpu}"']
        if self.features:
            words.append(f'"target-features"="{self.feature_text}"')
        if self.vector_bits >= 256 and self.name != "neon":
            words.append(f'"prefer-vector-width"="{self.vector_bits}"')
            words.append(f'"min-legal-vector-width"="{self.vector_bits}"')
        return " ".join(words)

    @staticmethod
    def host() -> ISA:
        """The instruction set to use: the one that ``settings.isa`` names, by default the widest the host has.

        Raises ``RuntimeError`` for one that the host has not.
        """
        return _native() if settings.isa == "native" else _forced(settings.isa)

    @staticmethod
    def available() -> tuple[str, ...]:
        """The names of those whose code runs on the host."""
        return tuple(name for name, needs in _NEEDS.get(host_cpu.machine(), {}).items()
                     if needs <= host_cpu.features()) + ("generic",)  # fmt: skip

    @staticmethod
    def named(name: str) -> ISA:
        """``"x86-64"`` (SSE2), ``"avx2"`` (x86-64-v3), ``"avx512"`` (x86-64-v4), ``"neon"`` or ``"generic"``, each
        without the optional features of any machine; ``"native"`` for the host's.  Raises ``ValueError`` otherwise.
        """
        if name == "native":
            return _native()
        if name not in _NAMED:
            raise ValueError(f"no instruction set is called {name!r}; known are native, {', '.join(_NAMED)}")
        return _NAMED[name]


def _triple(machine: str) -> str:
    if sys.platform == "darwin":
        return f"{'arm64' if machine == 'aarch64' else machine}-apple-darwin"
    return f"{machine}-unknown-linux-gnu"


_NAMED = {
    "x86-64": ISA("x86-64", _triple("x86_64"), "x86-64", (), 128, 16),
    "avx2": ISA("avx2", _triple("x86_64"), "x86-64-v3", (), 256, 16),
    "avx512": ISA("avx512", _triple("x86_64"), "x86-64-v4", (), 512, 32, prefer_512_bit_vectors=True),
    "neon": ISA("neon", _triple("aarch64"), "generic", ("neon",), 128, 32),
    "generic": ISA("generic", _triple(host_cpu.machine()), "generic", (), 128, 16),
}


_NEEDS: dict[str, dict[str, frozenset[str]]] = {
    "x86_64": {"x86-64": frozenset(), "avx2": _V3, "avx512": _V4},
    "aarch64": {"neon": frozenset()},
}


@cache
def _forced(name: str) -> ISA:
    if name not in ISA.available():
        raise RuntimeError(f"FLAMBEAU_ISA={name}: this processor runs code for {', '.join(ISA.available())} only")
    return _NAMED[name]


@cache
def _native() -> ISA:
    machine, present = host_cpu.machine(), host_cpu.features()
    if machine == "x86_64":
        base = _NAMED["avx512"] if present >= _V4 else _NAMED["avx2"] if present >= _V3 else _NAMED["x86-64"]
        extra = tuple(name for name in _EXTRA_X86 if name in present)
        if base.name != "avx512":
            extra = tuple(name for name in extra if not name.startswith("avx512"))
        if base.name == "x86-64":
            extra = ()
        if not host_cpu.enable_tiles():
            extra = tuple(name for name in extra if not name.startswith("amx"))
        return replace(base, features=base.features + extra)
    if machine == "aarch64":
        base = _NAMED["neon"]
        return replace(base, features=base.features + tuple(name for name in _EXTRA_ARM if name in present))
    return _NAMED["generic"]
