"""Tensor's Python protocol: operators of the language, methods that take ``*sizes``."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from .. import device as devices
from .. import dtype as dtypes
from ..autograd.mode import state as grad_state
from ..dispatch.forms import LazyMethod, symbol_form
from ..dispatch.operator import OPERATORS
from ..dispatch.view_cache import sized_view
from ..printing import tensor_repr
from ..tensor import Tensor, host_values, materialize, numpy_view
from . import convert, from_data, reduce, shape
from .common import shape_of

__all__: list[str] = []

_get = tuple.__getitem__
_OPERANDS = (Tensor, bool, int, float, complex, np.generic)


def _dunder(name: str, reverse: bool = False) -> Any:
    op = OPERATORS[name]

    if reverse:

        def method(self: Tensor, other: Any) -> Any:
            if not isinstance(self, Tensor):  # PyTorch's division looks for a method of the operand
                kind = AttributeError if name == "true_divide" else TypeError
                raise kind(f"the reflected operator of '{name}' belongs to a Tensor, not to {type(self).__name__}")
            if name == "true_divide" and isinstance(other, np.ndarray):
                return self.reciprocal() * other  # type: ignore[attr-defined]
            return op.function(other, self) if isinstance(other, _OPERANDS) else NotImplemented
    else:

        def method(self: Tensor, other: Any) -> Any:
            if isinstance(other, _OPERANDS) or hasattr(type(other), "__torch_function__"):
                return op.function(self, other)
            if name == "eq" and isinstance(other, np.ndarray):
                return op.function(self, from_data.as_tensor(other))
            return NotImplemented

    return method


def _same(tensor: type[Tensor], symbol: str, name: str) -> LazyMethod:
    """The special method for a symbol, made as the method ``name`` is."""
    return LazyMethod(f"__{symbol}__", partial(getattr, tensor, name))


def _view_otherwise(self: Tensor, *shape_: Any, size: Any = None, dtype: Any = None) -> Tensor:
    if dtype is not None or size is not None:
        shape_ = (*shape_, dtype if size is None else size)
    if len(shape_) == 1 and isinstance(dtype := dtypes.meant(shape_[0]), convert.dtype_):
        return shape.view_dtype.function(self, dtype)  # type: ignore[attr-defined,no-any-return]
    return _view(self, *shape_of(shape_, "view"))


def _expand_otherwise(self: Tensor, *sizes: Any, implicit: bool = False, size: Any = None) -> Tensor:
    return _expand(self, *shape_of(sizes if size is None else (*sizes, size), "expand"))


_view = sized_view(
    shape.view, "view", shape_of, lambda t, sizes: shape.view.function(t, sizes), other=_view_otherwise,
    forms=("view(*shape)", "view(shape)", "view(dtype)"),
    text="The same elements with another shape, or the same bytes as another element type, over the same memory.",
)  # fmt: skip
_expand = sized_view(
    shape.expand, "expand", shape_of, lambda t, sizes: shape.expand.function(t, sizes), other=_expand_otherwise,
    text="Repeats dimensions of size 1 without copying; -1 keeps a size.",
)  # fmt: skip
_reshape = sized_view(
    shape.view, "reshape", shape_of, lambda t, sizes: shape.reshape.function(t, sizes), "shape",
    text="See ``torch.reshape``.",
)  # fmt: skip
_permute = sized_view(
    shape.permute, "permute", shape_of, lambda t, dims: shape.permute.function(t, dims), "dims",
    text="The dimensions in another order.",
)  # fmt: skip


def _sum_to_size(self: Tensor, *size: Any) -> Tensor:
    """The sum over the dimensions along which ``size`` would be broadcast to this shape; itself if there are none."""
    wanted = shape_of(size, "sum_to_size")
    if not wanted:
        return reduce.sum.function(self)  # type: ignore[no-any-return]
    lead = self.ndim - len(wanted)
    if lead < 0 or any(w not in (1, n) for w, n in zip(wanted, self.shape[lead:])):
        raise RuntimeError(f"size {{{list(wanted)}}} is not expandable to size {{{list(self.shape)}}}.")
    dims = [*range(lead), *(lead + i for i, w in enumerate(wanted) if w == 1 and self.shape[lead + i] != 1)]
    if not dims:
        return self
    kept = reduce.sum.function(self, dims, True)
    return kept if lead == 0 else kept.reshape(wanted)  # type: ignore[no-any-return]


def _size(self: Tensor, dim: int | None = None) -> Any:
    """The shape, or the size of one dimension."""
    layout = self._layout
    if dim is None:
        return layout.shape
    if dim.__class__ is not int or not -layout.ndim <= dim < layout.ndim:
        return _of_dim("size", layout.shape, dim)
    return _get(layout.shape, dim)


def _of_dim(name: str, numbers: tuple[int, ...], dim: int) -> int:
    """The number of one dimension; raises IndexError where a tensor has none, or not this one."""
    dim = shape.dim_of(dim, len(numbers), name)
    if not numbers:
        raise IndexError(f"{name}(): Dimension specified as {dim} but tensor has no dimensions")
    return numbers[dim]


def _stride(self: Tensor, dim: int | None = None) -> Any:
    """The strides in elements, or that of one dimension."""
    strides = self._layout.strides
    return strides if dim is None else _of_dim("stride", strides, dim)


def _numpy(self: Tensor, *, force: bool = False) -> np.ndarray:
    """A numpy array over the same memory; raises RuntimeError for a tensor that requires grad, TypeError for other
    devices and for complex32, which numpy does not have.

    ``force=True`` detaches first.
    """
    if self._requires_grad and grad_state.grad and not force:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
    if self._layout.dtype is dtypes.complex32:
        raise TypeError("numpy(): got unsupported ScalarType ComplexHalf; convert the tensor with .cfloat() first")
    return numpy_view(self)


def _array(self: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
    """numpy's protocol: shares memory unless another type is asked for."""
    found = _numpy(self)
    if dtype is not None and found.dtype != dtype:
        return found.astype(dtype)
    return found.copy() if copy else found


def _real(self: Tensor) -> Any:
    """The only element as a real number; raises RuntimeError for one with an imaginary part."""
    value = from_data.item(self)
    if isinstance(value, complex):
        if value.imag:
            raise RuntimeError(f"value cannot be converted to type double without overflow: {value}")
        return value.real
    return value


def _int(self: Tensor) -> int:
    value = _real(self)
    try:
        return int(value)
    except (ValueError, OverflowError) as error:  # of NaN and of infinities
        raise type(error)(f"{error}: {value!r}") from None


def _bool(self: Tensor) -> bool:
    if self._layout.numel != 1:
        if self._layout.numel == 0:
            raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
    return bool(from_data.item(self))


def _index(self: Tensor) -> int:
    if self._layout.numel != 1 or self._layout.dtype.kind not in "bui":
        raise TypeError("only integer tensors of a single element can be converted to an index")
    return int(self.item())  # type: ignore[attr-defined]


def _data_ptr(self: Tensor) -> int:
    """The address of the first element (0 without elements or on the meta device)."""
    layout = self._key
    if layout is None or self._storage.pending is not None:
        layout = materialize(self)._layout
    if layout.device is devices.meta or not layout.numel:
        return 0
    return self._storage.ptr + self._offset * layout.itemsize


def _repr(self: Tensor, *, tensor_contents: str | None = None) -> str:
    """The tensor as PyTorch prints it."""
    layout = self._layout
    if layout.device is devices.meta:
        return tensor_repr(self, None, tensor_contents)
    return tensor_repr(self, host_values(self), tensor_contents)


def _format(self: Tensor, format_spec: str) -> str:
    if self._layout.ndim or self._layout.device is devices.meta:
        return format(repr(self), format_spec)
    return format(self.item(), format_spec)  # type: ignore[attr-defined]


def install(tensor: type[Tensor]) -> None:
    """Attaches everything in this file, and the forms of operators that Python spells with symbols."""
    for function in (_view, _reshape, _expand, _permute, _sum_to_size, _size, _stride, _numpy, _data_ptr):
        function.__name__ = function.__name__.removeprefix("_")
    tensor.view, tensor.reshape, tensor.expand, tensor.permute = _view, _reshape, _expand, _permute  # type: ignore[attr-defined]
    tensor.sum_to_size, tensor.size, tensor.stride = _sum_to_size, _size, _stride  # type: ignore[attr-defined]
    tensor.numpy, tensor.__array__, tensor.data_ptr = _numpy, _array, _data_ptr  # type: ignore[attr-defined]
    tensor.__bool__, tensor.__index__ = _bool, _index  # type: ignore[attr-defined,assignment]
    tensor.__int__ = _int  # type: ignore[attr-defined]
    tensor.__float__ = lambda self: float(_real(self))  # type: ignore[attr-defined]
    tensor.__complex__ = lambda self: complex(self.item())  # type: ignore[attr-defined]
    for name in ("__array__", "__bool__", "__complex__", "__float__", "__index__", "__int__"):
        getattr(tensor, name).__name__ = name  # what a handler of ``__torch_function__`` sees
    forms = {
        "add": "add", "sub": "sub", "mul": "mul", "truediv": "true_divide", "div": "true_divide",
        "floordiv": "floor_divide", "mod": "remainder", "pow": "pow",
        "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor", "lshift": "bitwise_left_shift",
        "rshift": "bitwise_right_shift", "matmul": "matmul",
    }  # fmt: skip
    for symbol, name in forms.items():
        if name in OPERATORS:
            op = OPERATORS[name]
            op.symbols = (*op.symbols, symbol)
            own = name in vars(tensor)
            form = LazyMethod(f"__{symbol}__", partial(symbol_form, op))
            setattr(tensor, f"__{symbol}__", form if own else _dunder(name))
            setattr(tensor, f"__r{symbol}__", _dunder(name, reverse=True))
            if op.make_inplace is not None:
                setattr(tensor, f"__i{symbol}__", LazyMethod(f"__i{symbol}__", partial(symbol_form, op, True)))
    for symbol in ("eq", "ne", "lt", "le", "gt", "ge"):
        if symbol in OPERATORS:
            setattr(tensor, f"__{symbol}__", _dunder(symbol))
    tensor.__repr__, tensor.__format__ = _repr, _format  # type: ignore[method-assign,assignment]
    tensor.__hash__ = lambda self: id(self)  # type: ignore[method-assign,assignment]
    for symbol, name in {"neg": "neg", "abs": "abs", "invert": "bitwise_not", "pos": "positive"}.items():
        if name in OPERATORS:
            setattr(tensor, f"__{symbol}__", _same(tensor, symbol, name))
