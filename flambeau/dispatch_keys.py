"""The keys by which PyTorch's dispatcher chooses a kernel, sets of them, and the tags of operators.

There is no such dispatcher here: registrations (``library``) name keys, and a few of them mean something there.
"""

from __future__ import annotations

import enum
from typing import Any

__all__ = ["DispatchKey", "DispatchKeySet", "ExcludeDispatchKeyGuard", "Tag"]

# Keys of what a kernel does, in order, then one key for every pair of such a key and a kind of device.
_FIRST = (
    "Undefined Dense _ _ _ Quantized _ _ Sparse SparseCsr NestedTensor BackendSelect _ Python "
    "FuncTorchDynamicLayerBackMode Functionalize Conjugate Negative ZeroTensor ADInplaceOrView AutogradOther "
    "AutogradFunctionality "
    "AutogradNestedTensor _ AutocastCPU _ _ AutocastXPU AutocastIPU AutocastHPU _ AutocastMPS AutocastCUDA "
    "AutocastPrivateUse1 FuncTorchBatched _ FuncTorchVmapMode _ _ FuncTorchGradWrapper _ PythonTLSSnapshot "
    "FuncTorchDynamicLayerFrontMode _ _ PreDispatch PythonDispatcher"
).split()
_BACKENDS = "CPU CUDA HIP XLA MPS IPU XPU HPU VE Lazy MTIA MAIA PrivateUse1 PrivateUse2 PrivateUse3 Meta".split()
_BY_BACKEND = {"": "Dense", "Quantized": "Quantized", "Sparse": "Sparse", "SparseCsr": "SparseCsr",
               "NestedTensor": "NestedTensor", "Autograd": "AutogradFunctionality"}  # fmt: skip
_ALIASES = {
    "Autograd": 150, "CompositeImplicitAutograd": 151, "FuncTorchBatchedDecomposition": 152,
    "CompositeImplicitAutogradNestedTensor": 153, "CompositeExplicitAutograd": 154,
    "CompositeExplicitAutogradNonFunctional": 155,
}  # fmt: skip


def _keys() -> dict[str, int]:
    found = {name: i for i, name in enumerate(_FIRST) if name != "_"}
    start = len(_FIRST) + 1
    for prefix, functionality in _BY_BACKEND.items():
        found[f"StartOf{functionality}Backends"] = start
        for i, backend in enumerate(_BACKENDS, 1):
            found[prefix + backend] = start + i
        start += len(_BACKENDS)
        found[f"EndOf{functionality}Backends"] = start
        start += 1
    return found | _ALIASES


class _Named(enum.IntEnum):
    def __str__(self) -> str:
        return f"{type(self).__name__}.{self.name}"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


DispatchKey: Any = _Named("DispatchKey", _keys(), module=__name__)  # type: ignore[call-overload]
DispatchKey.__doc__ = "What a kernel can be registered for."

Tag: Any = _Named(  # type: ignore[call-overload]
    "Tag",
    (
        "core cudagraph_unsafe data_dependent_output dynamic_output_shape flexible_layout generated inplace "
        "inplace_view maybe_aliasing_or_mutating needs_contiguous_strides needs_exact_strides needs_fixed_stride_order "
        "nondeterministic_bitwise nondeterministic_seeded out out_variant pointwise pt2_compliant_tag "
        "reduction view_copy"
    ),
    module=__name__,
    start=0,
)
Tag.__doc__ = "What is true of an operator."


class DispatchKeySet:
    """A set of keys: one bit for every kind of device, and one for everything that a kernel does.

    ``raw_repr`` is the number with these bits.  A key of a kind of device and something that a kernel does sets both.
    """

    __slots__ = ("_bits",)

    def __init__(self, key: Any) -> None:
        self._bits = _bits(key)

    @staticmethod
    def from_raw_repr(arg0: int) -> DispatchKeySet:
        """The set with these bits."""
        made = DispatchKeySet(DispatchKey.Undefined)
        made._bits = arg0
        return made

    def raw_repr(self) -> int:
        """The bits."""
        return self._bits

    def has(self, arg0: Any) -> bool:
        """Whether the key is in the set."""
        bits = _bits(arg0)
        return self._bits & bits == bits

    def add(self, arg0: Any) -> DispatchKeySet:
        """The set with a key besides."""
        return self.from_raw_repr(self._bits | _bits(arg0))

    def remove(self, arg0: Any) -> DispatchKeySet:
        """The set without what the key says a kernel does; kinds of devices stay."""
        return self.from_raw_repr(self._bits & ~(_bits(arg0) >> len(_BACKENDS) << len(_BACKENDS)))

    def _members(self) -> list[Any]:
        found = []
        devices = [b for i, b in enumerate(_BACKENDS) if self._bits >> i & 1]
        for number, name in enumerate(_FIRST[1:], 1):
            if name == "_" or not self._bits >> (len(_BACKENDS) + number - 1) & 1:
                continue
            prefix = next((p for p, f in _BY_BACKEND.items() if f == name), None)
            found += [DispatchKey[name]] if prefix is None else [DispatchKey[prefix + d] for d in devices]
        return found

    def highestPriorityTypeId(self) -> Any:
        """The key of the set that comes first in dispatch: the last in the order of keys."""
        found = self._members()
        return found[-1] if found else DispatchKey.Undefined

    def __or__(self, other: DispatchKeySet) -> DispatchKeySet:
        return self.from_raw_repr(self._bits | other._bits)

    def __and__(self, other: DispatchKeySet) -> DispatchKeySet:
        return self.from_raw_repr(self._bits & other._bits)

    def __sub__(self, other: DispatchKeySet) -> DispatchKeySet:
        kept = (1 << len(_BACKENDS)) - 1
        return self.from_raw_repr(self._bits & (kept | ~other._bits))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DispatchKeySet) and self._bits == other._bits

    def __hash__(self) -> int:
        return hash(self._bits)

    def __iter__(self) -> Any:
        return iter(self._members())

    def __repr__(self) -> str:
        return f"DispatchKeySet({', '.join(k.name for k in self._members())})"


def _bits(key: Any) -> int:
    number = int(key)
    if number < len(_FIRST):
        return 1 << (len(_BACKENDS) + number - 1) if number else 0
    if number >= min(_ALIASES.values()):
        return 0
    block, place = divmod(number - len(_FIRST) - 1, len(_BACKENDS) + 1)
    functionality = DispatchKey[list(_BY_BACKEND.values())[block]]
    return (1 << place - 1 if place else 0) | 1 << (len(_BACKENDS) + functionality - 1)


class ExcludeDispatchKeyGuard:
    """``with ExcludeDispatchKeyGuard(keys)``: the keys are left out of dispatch in the block, in PyTorch.

    Accepted, with no effect: calls do not go by keys here.
    """

    def __init__(self, keys: DispatchKeySet) -> None:
        self.keys = keys

    def __enter__(self) -> ExcludeDispatchKeyGuard:
        return self

    def __exit__(self, arg0: Any, arg1: Any, arg2: Any) -> None:
        return None
