"""Element types and PyTorch's promotion of them."""

from __future__ import annotations

import functools
from typing import Any

import ml_dtypes
import numpy as np

__all__ = [
    "ALL", "bfloat16", "bool_", "complex32", "complex64", "complex128", "dtype", "float8_e4m3fn", "float8_e4m3fnuz",
    "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float16", "float32",
    "float64", "from_numpy_dtype", "get_default_dtype", "int8", "int16", "int32", "int64", "meant", "promote_types",
    "set_default_dtype", "uint8", "uint16", "uint32", "uint64",
]  # fmt: skip


class dtype:
    """An element type, with PyTorch's attributes.

    ``kind`` is "b" (bool), "u", "i", "f", "c", "q" (quantized) or "s" (a name for memory alone); ``code`` is the short
    name used in kernels ("f32"); ``numpy`` is the numpy type of the same memory format.
    """

    __slots__ = ("code", "is_complex", "is_floating_point", "is_signed", "itemsize", "kind", "name", "numpy")

    def __init__(self, name: str, code: str, kind: str, numpy_type: object) -> None:
        self.name = name
        self.code = code
        self.kind = kind
        self.numpy = np.dtype(numpy_type)  # type: ignore[call-overload]
        self.itemsize: int = self.numpy.itemsize
        self.is_floating_point = kind == "f"
        self.is_complex = kind == "c"
        self.is_signed = (kind in "ifc" and not name.endswith("fnu")) or name.startswith(("qint", "int", "float4"))

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> str | tuple[object, ...]:
        return (named, (self.name,))

    def __copy__(self) -> dtype:
        return self

    def __deepcopy__(self, memo: object) -> dtype:
        return self

    @property
    def abbr(self) -> str:
        """The name in few letters: "f32", "bf16", "i64", "b8" for bool."""
        if self.kind in "qs":
            return _SHORT.get(self.name, self.name)
        return "b8" if self.kind == "b" else self.name.replace("float8_", "f8") if "8_" in self.name else self.code

    def to_real(self) -> dtype:
        """The type of the real part: float32 for complex64."""
        return _PARTS.get(self, self)

    def to_complex(self) -> dtype:
        """The complex type whose parts have this type, complex64 if there is none."""
        return self if self.is_complex else _WHOLES.get(self, complex64)

    @property
    def wide(self) -> dtype:
        """The type in which arithmetic on this type is done: float32 for float16 and bfloat16, complex64 for complex32,
        otherwise the type itself."""
        return _WIDE.get(self, self)


bool_ = dtype("bool", "b1", "b", np.bool_)
uint8 = dtype("uint8", "u8", "u", np.uint8)
int8 = dtype("int8", "i8", "i", np.int8)
int16 = dtype("int16", "i16", "i", np.int16)
int32 = dtype("int32", "i32", "i", np.int32)
int64 = dtype("int64", "i64", "i", np.int64)
uint16 = dtype("uint16", "u16", "u", np.uint16)
uint32 = dtype("uint32", "u32", "u", np.uint32)
uint64 = dtype("uint64", "u64", "u", np.uint64)
float16 = dtype("float16", "f16", "f", np.float16)
bfloat16 = dtype("bfloat16", "bf16", "f", ml_dtypes.bfloat16)
float32 = dtype("float32", "f32", "f", np.float32)
float64 = dtype("float64", "f64", "f", np.float64)
float8_e4m3fn = dtype("float8_e4m3fn", "e4m3", "f", ml_dtypes.float8_e4m3fn)
float8_e5m2 = dtype("float8_e5m2", "e5m2", "f", ml_dtypes.float8_e5m2)
float8_e4m3fnuz = dtype("float8_e4m3fnuz", "e4m3z", "f", ml_dtypes.float8_e4m3fnuz)
float8_e5m2fnuz = dtype("float8_e5m2fnuz", "e5m2z", "f", ml_dtypes.float8_e5m2fnuz)
float8_e8m0fnu = dtype("float8_e8m0fnu", "e8m0", "f", ml_dtypes.float8_e8m0fnu)
# numpy has no complex numbers of this size: its arrays have two fields
complex32 = dtype("complex32", "c32", "c", [("real", np.float16), ("imag", np.float16)])
complex64 = dtype("complex64", "c64", "c", np.complex64)
complex128 = dtype("complex128", "c128", "c", np.complex128)

ALL: tuple[dtype, ...] = (
    bool_, uint8, int8, int16, int32, int64, uint16, uint32, uint64, float16, bfloat16, float32, float64, float8_e4m3fn,
    float8_e5m2, float8_e4m3fnuz, float8_e5m2fnuz, float8_e8m0fnu, complex32, complex64, complex128,
)  # fmt: skip

_PARTS = {complex32: float16, complex64: float32, complex128: float64}
_WHOLES = {part: whole for whole, part in _PARTS.items()}
_WIDE = {float16: float32, bfloat16: float32, complex32: complex64}

# Types of quantized tensors, whose elements are integers of these numpy types; no kernel sees them.
quint8 = dtype("quint8", "qu8", "q", np.uint8)
qint8 = dtype("qint8", "qi8", "q", np.int8)
qint32 = dtype("qint32", "qi32", "q", np.int32)
quint4x2 = dtype("quint4x2", "qu4", "q", np.uint8)
quint2x4 = dtype("quint2x4", "qu2", "q", np.uint8)

# Names for memory in which a library packs something of its own: such tensors can be made, filled with zeros, cut
# and viewed as another type; no operator computes with them.
_SHORT = {"bits8": "b8x1", "bits1x8": "b1x8", "bits2x4": "b2x4", "bits4x2": "b4x2", "bits16": "b16x1",
          "float4_e2m1fn_x2": "f4e2m1fnx2"}  # fmt: skip
SHELLS: dict[str, dtype] = {
    name: dtype(name, name, "s", np.uint16 if name == "bits16" else np.uint8)
    for name in (*(f"{sign}int{bits}" for sign in ("", "u") for bits in range(1, 8)), *_SHORT)
}
SHELLS["float4_e2m1fn_x2"].is_floating_point = True

_BY_NAME = {t.name: t for t in (*ALL, quint8, qint8, qint32, quint4x2, quint2x4, *SHELLS.values())}
_BY_CODE = {t.code: t for t in ALL}
_BY_NUMPY = {t.numpy: t for t in ALL if t is not complex32}


def named(name: str) -> dtype:
    """The type called ``name``; raises KeyError."""
    return _BY_NAME[name]


def coded(code: str) -> dtype:
    """The type with the short name ``code`` ("f32"); raises KeyError."""
    return _BY_CODE[code]


def from_numpy_dtype(numpy_type: np.dtype) -> dtype | None:
    """The type of the same memory format in native byte order, or None."""
    return _BY_NUMPY.get(numpy_type)


_OF_PYTHON: dict[type, dtype] = {bool: bool_, int: int64, float: float64, complex: complex128}


def meant(value: Any) -> Any:
    """The element type that a Python type of numbers stands for as an argument (``dtype=float``); any other value
    itself."""
    return _OF_PYTHON.get(value, value) if value.__class__ is type else value


# Within a kind, the wider type wins.  uint16/32/64 take part only with themselves, bool, Python
# numbers and floating-point types, as in PyTorch.
_INT_ORDER = (bool_, uint8, int8, int16, int32, int64)
_FLOAT_ORDER = (float16, bfloat16, float32, float64)
_BARE_UNSIGNED = (uint16, uint32, uint64)
_FLOAT8 = (float8_e4m3fn, float8_e5m2, float8_e4m3fnuz, float8_e5m2fnuz, float8_e8m0fnu)


@functools.cache
def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The smallest type to which both types promote (PyTorch's lattice).

    Raises RuntimeError for pairs PyTorch does not promote (float8 with other types, wide unsigned with
    signed integers).
    """
    if type1 is type2:
        return type1
    type1, type2 = meant(type1), meant(type2)
    for i, given in enumerate((type1, type2), 1):
        if not isinstance(given, dtype):
            raise TypeError(
                f"promote_types(): argument 'type{i}' (position {i}) must be torch.dtype, not {type(given).__name__}"
            )
    if type1 in _FLOAT8 or type2 in _FLOAT8:
        raise RuntimeError(
            f"Promotion for Float8 Types is not supported, attempted to promote {type1.name} and {type2.name}; "
            "convert one of them explicitly with .to()"
        )
    kinds = {type1.kind, type2.kind}
    if "c" in kinds:
        parts = [t.to_real() for t in (type1, type2)]
        return functools.reduce(promote_types, [p for p in parts if p.is_floating_point]).to_complex()
    if "f" in kinds:
        floats = [t for t in (type1, type2) if t.kind == "f"]
        if len(floats) == 1:
            return floats[0]
        if set(floats) == {float16, bfloat16}:
            return float32
        return max(floats, key=_FLOAT_ORDER.index)
    for a, b in ((type1, type2), (type2, type1)):
        if a in _BARE_UNSIGNED:
            if b is bool_:
                return a
            if b in _BARE_UNSIGNED or b is uint8:
                return max(a, b, key=lambda t: t.itemsize)
            raise RuntimeError(
                f"Promotion for uint16, uint32, uint64 types is not supported, attempted to promote "
                f"{type1.name} and {type2.name}; convert one of them explicitly with .to()"
            )
    if {type1, type2} == {uint8, int8}:
        return int16
    return max(type1, type2, key=_INT_ORDER.index)


class Default:
    """What holds until ``set_default_dtype`` says otherwise."""

    dtype = float32


def get_default_dtype() -> dtype:
    """The floating-point type that new tensors of Python floats have (float32 at start)."""
    return Default.dtype


def set_default_dtype(d: dtype) -> None:
    """Sets the type of new floating-point tensors; raises TypeError for other than floating types."""
    if not isinstance(d, dtype) or not d.is_floating_point:
        raise TypeError(f"set_default_dtype: only floating-point types are supported as the default type, got {d!r}")
    Default.dtype = d


def __getattr__(name: str) -> dtype:
    if name in SHELLS or name == "bit":
        return SHELLS["uint1" if name == "bit" else name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
