"""The quantized tensor: integers q that stand for the numbers (q - zero point) * scale."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from .. import ops
from ..composed import ComposedTensor
from ..dispatch.operator import Operand, operator
from ..dtype import dtype, float32, int8, int32, int64, qint8, qint32, quint2x4, quint4x2, quint8, uint8
from ..tensor import Tensor

__all__ = ["INTEGERS", "QuantizedTensor", "channel_shape", "qscheme"]

INTEGERS: dict[dtype, tuple[dtype, int, int]] = {
    quint8: (uint8, 0, 255), qint8: (int8, -128, 127), qint32: (int32, -(2**31), 2**31 - 1),
    quint4x2: (uint8, 0, 15), quint2x4: (uint8, 0, 3),
}  # fmt: skip
"""Of each quantized type the integers' type, the least and the greatest."""


class qscheme:
    """How scales are chosen: one for a tensor, or one for each channel."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return SCHEMES.__getitem__, (self.name,)


SCHEMES = {
    name: qscheme(name)
    for name in (
        "per_tensor_affine",
        "per_channel_affine",
        "per_tensor_symmetric",
        "per_channel_symmetric",
        "per_channel_affine_float_qparams",
    )
}


def channel_shape(ndim: int, axis: int) -> tuple[int, ...]:
    """The shape in which a vector of parameters lies along ``axis``."""
    return tuple(-1 if d == axis else 1 for d in range(ndim))


class QuantizedTensor(ComposedTensor):
    """``_data`` are the integers; ``_scale`` and ``_zero`` numbers, or (with ``_axis``) vectors of one per channel."""

    _scale: Any
    _zero: Any
    _axis: int | None
    _table: ClassVar[dict[str, Callable[..., Any]]] = {}
    _backend = "QuantizedCPU"

    is_quantized = property(lambda self: True)  # type: ignore[assignment]
    requires_grad = property(lambda self: False)  # type: ignore[assignment]

    @classmethod
    def make(cls, data: Any, scale: Any, zero: Any, axis: int | None, type_: dtype) -> QuantizedTensor:
        """A tensor of these integers."""
        t = object.__new__(cls)
        t._shape_as(type_, data.device, data.shape)
        t._data, t._scale, t._zero, t._axis = data, scale, zero, axis
        return t

    def _like(self, data: Any) -> QuantizedTensor:
        return self.make(data, self._scale, self._zero, self._axis, self.dtype)

    def numbers(self) -> Tensor:
        """The numbers, in float32."""
        if self._axis is None:
            return _numbers.function(self._data, self._zero, self._scale)  # type: ignore[no-any-return]
        shape = channel_shape(self.dim(), self._axis)
        zero, scale = self._zero.reshape(shape), self._scale.reshape(shape)
        return _numbers.function(self._data, zero, scale)  # type: ignore[no-any-return]

    def requantized(self, numbers: Any) -> QuantizedTensor:
        """Other numbers with these parameters."""
        return quantize(numbers, self._scale, self._zero, self._axis, self.dtype)

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        text = repr(self.numbers()).removesuffix(")")
        parts = [f"size={tuple(self.shape)}", f"dtype={self.dtype}", f"quantization_scheme={scheme_of(self)}"]
        if self._axis is None:
            parts += [f"scale={self._scale}", f"zero_point={self._zero}"]
            out, used = text, len(text.rpartition("\n")[2]) + 2
            for part in parts:
                fits = used + len(part) + 2 <= 80
                out += f", {part}" if fits else f",\n       {part}"
                used = used + len(part) + 2 if fits else 7 + len(part)
            return out + ")"
        head = f"{text}, {parts[0]}, {parts[1]},\n       {parts[2]},\n       scale={self._scale!r},\n       "
        return f"{head}zero_point={self._zero!r}, axis={self._axis})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return QuantizedTensor.make, (self._data, self._scale, self._zero, self._axis, self.dtype)


def scheme_of(t: QuantizedTensor) -> qscheme:
    """How the scale was chosen."""
    if t._axis is None:
        return SCHEMES["per_tensor_affine"]
    return SCHEMES["per_channel_affine" if t._zero.dtype is int64 else "per_channel_affine_float_qparams"]


@operator(name="_quantized_steps", method=False, function=False, out=False, differentiable=False)
def _steps(input: Tensor, scale: Operand, zero: Operand, least: float, most: float, kind: dtype) -> Tensor:
    """``clamp(round(input / scale) + zero)``, computed in float32, as integers."""
    x: Any = input
    factor = scale.to(float32).reciprocal() if scale.ndim else (1.0 / scale).to(float32)
    return ((x * factor).round() + zero.to(float32)).clamp(least, most).to(kind)  # type: ignore[no-any-return]


@operator(name="_quantized_numbers", method=False, function=False, out=False, differentiable=False)
def _numbers(input: Tensor, zero: Operand, scale: Operand) -> Tensor:
    """``(input - zero) * scale`` in float32."""
    return (input.to(float32) - zero.to(float32)) * scale.to(float32)  # type: ignore[attr-defined,no-any-return]


def quantize(numbers: Any, scale: Any, zero: Any, axis: int | None, type_: dtype) -> QuantizedTensor:
    """The nearest integers (ties to even) that stand for the numbers."""
    kind, least, most = INTEGERS[type_]
    # an int32 is not exact in float32 at its end
    limits = (least, most) if kind is not int32 else (-2147483648.0, 2147483520.0)
    shape = channel_shape(numbers.ndim, axis) if axis is not None else ()
    by, start = (scale, zero) if axis is None else (scale.reshape(shape), zero.reshape(shape))
    return QuantizedTensor.make(_steps.function(numbers, by, start, *limits, kind), scale, zero, axis, type_)


# -- operators ---------------------------------------------------------------------------------------

_on = QuantizedTensor.implements


def _moved(name: str) -> Callable[..., Any]:
    def operator(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._axis is not None and name not in ("clone", "contiguous"):
            raise RuntimeError(f"{name}: only per-tensor quantized tensors are supported, got {scheme_of(self)}")
        found = getattr(self._data, name)(*args, **kwargs)
        return tuple(map(self._like, found)) if isinstance(found, tuple) else self._like(found)

    return operator


for _name in (
    "clone contiguous view reshape permute transpose t select narrow unsqueeze squeeze flatten expand unfold "
    "index_select __getitem__ chunk split unbind repeat flip as_strided"
).split():
    _on(_name)(_moved(_name))
for _name in "max min amax amin".split():  # larger integers stand for larger numbers

    def _extreme(self: Any, *args: Any, _name: str = _name, **kwargs: Any) -> Any:
        found = getattr(self._data, _name)(*args, **kwargs)
        return type(found)(self._like(found[0]), found[1]) if isinstance(found, tuple) else self._like(found)

    _on(_name)(_extreme)
for _name in "mean relu6 sigmoid tanh hardtanh clamp leaky_relu".split():

    def _through_numbers(self: Any, *args: Any, _name: str = _name, **kwargs: Any) -> Any:
        return self.requantized(getattr(ops, _name)(self.numbers(), *args, **kwargs))

    _on(_name)(_through_numbers)


@_on("relu")
def _relu(self: Any) -> Any:
    return self._like(self._data.clamp(min=self._zero))


for _name in "eq ne lt le gt ge".split():

    def _compare(self: Any, other: Any, *, _name: str = _name) -> Tensor:
        values = [x.numbers() if isinstance(x, QuantizedTensor) else x for x in (self, other)]
        return getattr(ops, _name)(*values)

    _on(_name)(_compare)


@_on("cat")
def _cat(tensors: Sequence[Any], dim: int = 0) -> Any:
    first = tensors[0]
    return first.requantized(ops.cat([x.numbers() for x in tensors], dim))


@_on("copy_")
def _copy(self: Any, src: Any, non_blocking: bool = False) -> Any:
    if not isinstance(self, QuantizedTensor):
        return self.copy_(src.numbers())
    numbers = src.numbers() if isinstance(src, QuantizedTensor) else src
    return self._replace(self.requantized(numbers.expand(self.shape)))


@_on("dequantize", "float")
def _dequantize(self: Any) -> Tensor:
    return self.numbers()


@_on("int_repr")
def _int_repr(self: Any) -> Tensor:
    return self._data.clone()


_on("qscheme")(scheme_of)


def _parameter(name: str, attribute: str, by_channel: bool) -> None:
    def member(self: Any) -> Any:
        if (self._axis is not None) != by_channel:
            raise RuntimeError(
                f"{name}: expected a tensor quantized per {'channel' if by_channel else 'tensor'}, got "
                f"{scheme_of(self)}"
            )
        return getattr(self, attribute)

    _on(name)(member)


_parameter("q_scale", "_scale", False)
_parameter("q_zero_point", "_zero", False)
_parameter("q_per_channel_scales", "_scale", True)
_parameter("q_per_channel_zero_points", "_zero", True)
_parameter("q_per_channel_axis", "_axis", True)


@_on("item")
def _item(self: Any) -> float:
    return self.numbers().item()


@_on("tolist", "numpy", "__array__", "_array")
def _refused(self: Any, *args: Any, **kwargs: Any) -> Any:
    raise TypeError(f"Got unsupported ScalarType {self.dtype}: use dequantize() or int_repr() first")


_on("is_contiguous")(lambda self, *args, **kwargs: self._data.is_contiguous())
_on("stride")(lambda self, *args: self._data.stride(*args))
