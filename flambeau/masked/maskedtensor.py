"""A tensor that carries a mask: operators take and give elements where it is true."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, ClassVar

from .. import ops
from ..composed import ComposedTensor
from ..dtype import bool_
from ..tensor import Tensor

__all__ = ["MaskedTensor", "as_masked_tensor", "is_masked_tensor", "masked_tensor"]


class MaskedTensor(ComposedTensor):
    """``data`` with a boolean ``mask`` of its shape; elements where the mask is false do not count.

    Raises TypeError for other than tensors, ValueError for a mask of another shape.
    """

    _mask: Any
    _table: ClassVar[dict[str, Callable[..., Any]]] = {}
    _backend = "MaskedTensor"

    def __new__(cls, data: Any, mask: Any, requires_grad: bool = False) -> MaskedTensor:
        if not isinstance(data, Tensor) or not isinstance(mask, Tensor):
            raise TypeError(f"data and mask must be Tensors, got {type(data).__name__} and {type(mask).__name__}")
        if mask.dtype is not bool_:
            raise TypeError(f"mask must have dtype bool, got {mask.dtype}")
        if tuple(data.shape) != tuple(mask.shape):
            raise ValueError(f"data.shape ({list(data.shape)}) and mask.shape ({list(mask.shape)}) must be the same")
        return cls._made(data.detach().clone().requires_grad_(requires_grad), mask.clone())  # type: ignore[attr-defined]

    def __init__(self, data: Any, mask: Any, requires_grad: bool = False) -> None:
        pass

    @classmethod
    def _made(cls, data: Any, mask: Any) -> MaskedTensor:
        t = object.__new__(cls)
        t._shape_as(data.dtype, data.device, data.shape)
        t._data, t._mask = data, mask
        return t

    def _like(self, data: Any) -> MaskedTensor:
        return self._made(data, self._mask)

    def get_data(self) -> Any:
        """The elements, of which those outside of the mask mean nothing."""
        return self._data

    def get_mask(self) -> Any:
        """Where elements count."""
        return self._mask

    def to_tensor(self, value: Any) -> Any:
        """A plain tensor with ``value`` outside of the mask."""
        return self._data.masked_fill(~self._mask, value)

    def is_sparse_coo(self) -> bool:
        """Whether elements are stored by coordinates: never."""
        return False

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        def shown(data: Any, mask: Any, indent: int) -> str:
            if not isinstance(data, list):
                if not mask:
                    return "--".rjust(8)
                return f"{data:8.4f}" if isinstance(data, float) else f"{data!s:>8}"
            if not data or not isinstance(data[0], list):
                return "[" + ", ".join(shown(d, m, 0) for d, m in zip(data, mask)) + "]"
            lines = (shown(d, m, indent + 2) for d, m in zip(data, mask))
            pad = " " * indent
            return f"{pad}[\n" + ",\n".join(x if x.startswith(" ") else f"{pad}  {x}" for x in lines) + f"\n{pad}]"

        text = shown(self._data.detach().tolist(), self._mask.tolist(), 2 if self.dim() > 1 else 0)
        return f"MaskedTensor(\n{text}\n)" if self.dim() > 1 else f"MaskedTensor({text})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return MaskedTensor._made, (self._data, self._mask)


_on = MaskedTensor.implements
_ELEMENTWISE = (
    "abs acos asin atan ceil cos cosh deg2rad digamma erf erfc erfinv exp expm1 floor frac lgamma log log10 "
    "log1p log2 logit neg positive rad2deg reciprocal relu round rsqrt sigmoid sign sin sinh sqrt square tan "
    "tanh trunc nan_to_num clamp to float double half bfloat16 clone contiguous bitwise_not logical_not isnan"
)
_BINARY = (
    "add sub mul div true_divide floor_divide fmod remainder pow atan2 maximum minimum logaddexp bitwise_and "
    "bitwise_or bitwise_xor eq ne lt le gt ge logical_and logical_or arctan2"
)
_MOVING = (
    "view reshape permute transpose t select narrow unsqueeze squeeze flatten expand __getitem__ index_select "
    "chunk unbind"
)
_REDUCTIONS = "sum prod amax amin argmax argmin mean median norm var std"
_KEEPING = "softmax log_softmax cumsum cumprod"


def _elementwise(name: str) -> Callable[..., Any]:
    return lambda self, *args, **kwargs: self._like(getattr(self._data, name)(*args, **kwargs))


def _binary(name: str) -> Callable[..., Any]:
    def operator(input: Any, other: Any, **kwargs: Any) -> Any:
        both = [x for x in (input, other) if isinstance(x, MaskedTensor)]
        if len(both) == 2 and not ops.equal(both[0]._mask, both[1]._mask):
            raise ValueError(f"{name}: input masks must match; give both the same mask first")
        values = [x._data if isinstance(x, MaskedTensor) else x for x in (input, other)]
        found = getattr(ops, name)(*values, **kwargs)
        return MaskedTensor._made(found, both[0]._mask.expand(found.shape))

    return operator


def _moving(name: str) -> Callable[..., Any]:
    def operator(self: Any, *args: Any, **kwargs: Any) -> Any:
        data, mask = (getattr(x, name)(*args, **kwargs) for x in (self._data, self._mask))
        if isinstance(data, tuple):
            return tuple(MaskedTensor._made(d, m) for d, m in zip(data, mask))
        return MaskedTensor._made(data, mask)

    return operator


def _reduction(name: str) -> Callable[..., Any]:
    def operator(self: Any, *args: Any, **kwargs: Any) -> Any:
        # these functions take masked tensors themselves, so their file imports this one
        found = getattr(importlib.import_module(f"{__package__}.reductions"), name)(self, *args, **kwargs)
        if name in _KEEPING.split():
            return self._like(found)
        dim = kwargs.get("dim", None if name == "norm" else args[0] if args else None)
        if dim is None:
            return MaskedTensor._made(found, self._mask.any().expand(found.shape))
        return MaskedTensor._made(found, self._mask.sum(dim, kwargs.get("keepdim", False)) > 0)

    return operator


for _names, _maker in (
    (_ELEMENTWISE, _elementwise), (_BINARY, _binary), (_MOVING, _moving), (f"{_REDUCTIONS} {_KEEPING}", _reduction),
):  # fmt: skip
    for _name in _names.split():
        _on(_name)(_maker(_name))


@_on("where")
def _where(condition: Any, input: Any, other: Any) -> MaskedTensor:
    whole = ops.ones_like(condition)
    pairs = [(x._data, x._mask) if isinstance(x, MaskedTensor) else (x, whole) for x in (input, other)]
    (a, m), (b, n) = pairs
    return MaskedTensor._made(ops.where(condition, a, b), ops.where(condition, m, n))


@_on("zeros_like", "ones_like", "empty_like", "full_like")
def _refused_factory(input: Any, *args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError("factories like a masked tensor: use those of its data, and masked_tensor(data, mask)")


@_on("item")
def _item(self: Any) -> Any:
    return self._data.item() if bool(self._mask.all()) else None


@_on("numpy", "__array__", "_array", "tolist")
def _plain(self: Any, *args: Any, **kwargs: Any) -> Any:
    raise TypeError("a masked tensor has no plain elements: use to_tensor(value) or get_data()")


def masked_tensor(data: Any, mask: Any, requires_grad: bool = False) -> MaskedTensor:
    """A tensor of copies of ``data`` and ``mask``, off the tape of ``data``."""
    return MaskedTensor(data, mask, requires_grad)


def as_masked_tensor(data: Any, mask: Any) -> MaskedTensor:
    """A tensor over ``data`` and ``mask`` themselves; gradients flow to ``data``."""
    if tuple(data.shape) != tuple(mask.shape):
        raise ValueError(f"data.shape ({list(data.shape)}) and mask.shape ({list(mask.shape)}) must be the same")
    return MaskedTensor._made(data, mask)


def is_masked_tensor(obj: Any, /) -> bool:
    """Whether ``obj`` carries a mask."""
    return isinstance(obj, MaskedTensor)
