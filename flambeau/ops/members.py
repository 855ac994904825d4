"""Tensor's members that tell what it is; attached here with those of ``new_tensors.py`` and ``resizing.py``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .. import device as devices
from .. import dtype as dtypes
from ..dispatch.forms import LazyMethod
from ..dtype import dtype as dtype_
from ..tensor import Tensor, from_numpy
from . import new_tensors, resizing
from .common import blaming, dim_of, overridable, shape_of
from .convert import convert, memory_format, preserve_format
from .region import as_strided
from .shape import in_place, reversed_dims, squeeze, swapaxes, swapdims, t, transpose, unflatten, unsqueeze

__all__ = [
    "adjoint", "can_cast", "get_device", "is_complex", "is_conj", "is_distributed",
    "is_floating_point", "is_inference", "is_neg", "is_nonzero",
    "is_same_size", "is_signed", "is_tensor", "jagged", "layout", "numel", "resolve_conj", "resolve_neg",
    "sparse_bsc", "sparse_bsr",
    "sparse_coo", "sparse_csc", "sparse_csr", "strided",
]  # fmt: skip


class layout:
    """How elements are stored: ``strided`` or one of the sparse and jagged ones."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_layout_named, (self.name,))


strided, sparse_coo, sparse_csr = layout("strided"), layout("sparse_coo"), layout("sparse_csr")
sparse_csc, sparse_bsr, sparse_bsc, jagged = (
    layout("sparse_csc"),
    layout("sparse_bsr"),
    layout("sparse_bsc"),
    layout("jagged"),
)
_LAYOUTS = {x.name: x for x in (strided, sparse_coo, sparse_csr, sparse_csc, sparse_bsr, sparse_bsc, jagged)}


def _layout_named(name: str) -> layout:
    return _LAYOUTS[name]


_TITLES = {
    "bool": "Bool", "uint8": "Byte", "int8": "Char", "int16": "Short", "int32": "Int", "int64": "Long",
    "float16": "Half", "bfloat16": "BFloat16",
    "float32": "Float", "float64": "Double", "complex32": "ComplexHalf", "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
    "uint16": "UInt16", "uint32": "UInt32",
    "uint64": "UInt64", "float8_e4m3fn": "Float8_e4m3fn", "float8_e5m2": "Float8_e5m2",
    **{name: name.capitalize() for name in ("float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")},
}  # fmt: skip


# -- transposes --------------------------------------------------------------------------------------


def _T(self: Tensor) -> Tensor:
    """All dimensions in the opposite order: a view."""
    return t.function(self) if self._layout.ndim == 2 else reversed_dims.function(self)


def _mT(self: Tensor) -> Tensor:
    """The last two dimensions exchanged: a view."""
    if self.ndim < 2:
        raise RuntimeError(f"tensor.mT is only supported on matrices or batches of matrices. Got {self.ndim}-D tensor.")
    return transpose.function(self, -2, -1)


def _H(self: Tensor) -> Tensor:
    """A matrix transposed and conjugated."""
    if self.ndim not in (0, 2):
        raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {self.ndim}-D tensor.")
    return adjoint(self) if self.ndim == 2 else _conj(self)


def _mH(self: Tensor) -> Tensor:
    """The last two dimensions exchanged, and conjugated."""
    if self.ndim < 2:
        raise RuntimeError(f"tensor.mH is only supported on matrices or batches of matrices. Got {self.ndim}-D tensor.")
    return adjoint(self)


def _conj(self: Tensor) -> Tensor:
    return self.conj() if self.dtype.is_complex else self  # type: ignore[attr-defined]


@overridable
def adjoint(input: Tensor) -> Tensor:
    """The last two dimensions exchanged, and conjugated."""
    return _conj(transpose.function(input, -2, -1))


# -- predicates --------------------------------------------------------------------------------------


def is_tensor(obj: Any) -> bool:
    """Whether ``obj`` is a tensor."""
    return isinstance(obj, Tensor)


@overridable
def numel(input: Tensor) -> int:
    """The number of elements."""
    return input._layout.numel


@overridable
def is_floating_point(input: Tensor) -> bool:
    """Whether the elements are real floating-point numbers."""
    return input._layout.dtype.kind == "f"


@overridable
def is_complex(input: Tensor) -> bool:
    """Whether the elements are complex numbers."""
    return input._layout.dtype.kind == "c"


@overridable
def is_signed(input: Tensor) -> bool:
    """Whether the element type has negative numbers."""
    return input._layout.dtype.is_signed


@overridable
def is_conj(input: Tensor) -> bool:
    """Whether the elements are conjugated when they are read: never, conjugation is computed."""
    return False


@overridable
def is_neg(input: Tensor) -> bool:
    """Whether the elements are negated when they are read: never, negation is computed."""
    return False


@overridable
def resolve_conj(input: Tensor) -> Tensor:
    """The tensor with conjugation computed: itself."""
    return input


@overridable
def resolve_neg(input: Tensor) -> Tensor:
    """The tensor with negation computed: itself."""
    return input


@overridable
def is_inference(input: Tensor) -> bool:
    """Whether the tensor was made under inference mode; not remembered, so False."""
    return False


def is_distributed(input: Tensor) -> bool:
    """Whether the tensor is distributed: never."""
    return False


@overridable
def is_nonzero(input: Tensor) -> bool:
    """Whether the only element is not zero; raises RuntimeError if there are none or several."""
    if input.numel() != 1:
        raise RuntimeError(
            f"Boolean value of Tensor with {'no values' if not input.numel() else 'more than one value'} is ambiguous"
        )
    return bool(input.item())  # type: ignore[attr-defined]


@overridable
def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape."""
    return input.shape == other.shape


@overridable
def get_device(input: Tensor) -> int:
    """The index of the device; -1 on the CPU."""
    return -1 if input.device.index is None else input.device.index


@overridable
def can_cast(from_: dtype_, to: dtype_) -> bool:
    """Whether values of one type may be written to another: not to a lower category."""
    order = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}
    return order[from_.kind] <= order[to.kind]


def _is_set_to(self: Tensor, tensor: Tensor) -> bool:
    """Whether both are the same part of the same storage."""
    return (
        self._storage.memory is tensor._storage.memory
        and self._offset == tensor._offset
        and self.shape == tensor.shape
        and self._layout.strides == tensor._layout.strides
    )


def _type(self: Tensor, dtype: Any = None, non_blocking: bool = False, **kwargs: Any) -> Any:
    """The name of the type ("torch.FloatTensor"), or the tensor converted to ``dtype`` (a dtype, a name or a class)."""
    if dtype is None:
        place = "" if self.device.type == "cpu" else f"{self.device.type}."
        return f"torch.{place}{_TITLES[self.dtype.name]}Tensor"
    return self.to(type_of(dtype))  # type: ignore[attr-defined]


def type_of(value: Any) -> dtype_:
    """The element type meant by a dtype, a name like "torch.FloatTensor" or a legacy class."""
    if isinstance(value, dtype_):
        return value
    found = getattr(value, "dtype", None)
    if isinstance(found, dtype_):
        return found
    if isinstance(value, str):
        for name, title in _TITLES.items():
            if value == f"torch.{title}Tensor":
                return dtypes.named(name)
        raise ValueError(f"invalid type: '{value}'")
    if isinstance(value, type):
        raise ValueError(f"invalid type: '{value.__name__}'")
    raise TypeError(f"type(): argument 'dtype' must be torch.dtype, str or a tensor class, not {type(value).__name__}")


def _type_as(self: Tensor, tensor: Tensor) -> Tensor:
    """The tensor with the element type and device of ``tensor``; raises TypeError for what is none."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"type_as(): argument 'other' (position 1) must be Tensor, not {type(tensor).__name__}")
    return self.to(tensor.device, tensor.dtype)  # type: ignore[attr-defined]


def _check_order(self: Tensor, check: Any) -> None:
    """Raises RuntimeError where the order of the dimensions in memory is not told by the strides."""
    layout = self._layout
    if check is True:
        sizes = [(s, n) for s, n in zip(layout.strides, layout.shape)]
        if any(n == 1 for _, n in sizes) or len({s for s, _ in sizes}) < layout.ndim:
            raise RuntimeError(
                "The tensor does not have unique dim order, or cannot map to exact one of the given formats."
            )
        return
    if not isinstance(check, (list, tuple)) or not all(isinstance(f, memory_format) for f in check):
        raise TypeError(
            f"The ambiguity_check argument must be a bool or a list of memory formats, but got {type(check).__name__}"
        )
    if sum(self.is_contiguous(memory_format=f) for f in check) != 1:  # type: ignore[attr-defined]
        raise RuntimeError(
            "The tensor does not have unique dim order, or cannot map to exact one of the given formats."
        )


def _dim_order(self: Tensor, *, ambiguity_check: Any = False) -> tuple[int, ...]:
    """The dimensions in the order of memory, slowest first.

    ``ambiguity_check``: raises RuntimeError if the strides fit several orders; a list of memory formats if they fit
    several of those.  Raises TypeError for anything else.
    """
    strides = self._layout.strides
    if ambiguity_check is not False:
        _check_order(self, ambiguity_check)
    return tuple(sorted(range(self.ndim), key=lambda d: (-strides[d], d)))


# -- what else a tensor does -------------------------------------------------------------------------


def _index_dims(self: Tensor, positions: Any, dims: Any) -> Tensor:
    """The elements at ``positions`` (a tensor, or one for each dimension of ``dims``) along ``dims``."""
    places = (dims,) if isinstance(dims, int) else tuple(dims)
    given = (positions,) if isinstance(positions, Tensor) else tuple(positions)
    index: list[Any] = [slice(None)] * self.ndim
    if not self.ndim and places:
        raise IndexError(f"index: a tensor without dimensions has none of {places}")
    for d, where in zip(places, given):
        index[dim_of(d, self.ndim, "index")] = where
    return self[tuple(index)]  # type: ignore[index,no-any-return]


def _cuda_array_interface(self: Tensor) -> Any:
    """What other libraries for CUDA read of a tensor; AttributeError: it is in the CPU's memory."""
    if self._layout.device.type == "cuda":
        return self.storage().__cuda_array_interface__  # type: ignore[attr-defined]
    raise AttributeError(
        f"Can't get __cuda_array_interface__ on non-CUDA tensor type: {self.type()} "  # type: ignore[attr-defined]
        "If CUDA data is required use tensor.cuda() to copy tensor to device memory."
    )


def _array_wrap(self: Tensor, array: Any, context: Any = None, return_scalar: bool = False) -> Tensor:
    """A tensor over an array that numpy computed from this one; of Boolean values as 0 and 1 of type uint8, as in
    PyTorch."""
    array = np.asarray(array)
    return from_numpy(array.astype(np.uint8) if array.dtype == np.bool_ else array)


def _module_load(self: Tensor, other: Any, assign: bool = False) -> Any:
    """What a module keeps when ``other`` is loaded in the place of this parameter or buffer.

    With ``assign`` that is ``other`` itself, a parameter if this is one; otherwise this tensor with the values of
    ``other``.
    """
    if not assign:
        return self.copy_(other).detach()  # type: ignore[attr-defined]
    kept = other if type(other) is type(self) or type(self) is Tensor else type(self)(other, self._requires_grad)  # type: ignore[call-arg]
    return kept.requires_grad_(self._requires_grad) if kept is not other else other.detach()


def _no_device(name: str) -> Callable[..., Tensor]:
    def method(
        self: Tensor, device: Any = None, non_blocking: bool = False, memory_format: memory_format = preserve_format
    ) -> Tensor:
        return convert(self, None, devices.device(name) if device is None else device, memory_format=memory_format)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"The tensor on a device of type {name}; raises RuntimeError where there is none."
    return method


def _cpu(self: Tensor, memory_format: memory_format = preserve_format) -> Tensor:
    """The tensor in the memory of the CPU; itself if it is there."""
    return convert(self, None, devices.cpu, memory_format=memory_format)


def _pin_memory(self: Tensor, device: Any = None) -> Tensor:
    """The tensor itself: without an accelerator no memory is pinned."""
    return self


def _is_pinned(self: Tensor, device: Any = None) -> bool:
    """False: without an accelerator no memory is pinned."""
    return False


def _has_names(self: Tensor) -> bool:
    """Whether dimensions have names; a tensor that has is of a class of its own."""
    return False


def _record_stream(self: Tensor, stream: Any) -> None:
    """Keeps memory of an accelerator for the work of a stream; raises NotImplementedError on the CPU."""
    _refuse_stream(self, stream)


def _refuse_stream(self: Tensor, stream: Any) -> None:
    if stream is None:
        raise RuntimeError("record_stream(): expected a stream, got None")
    raise NotImplementedError(
        f"Could not run 'aten::record_stream' with arguments from the '{self.device.type.upper()}' backend: only "
        "accelerators have streams whose work outlives the call"
    )


def install(cls: type[Tensor]) -> None:
    """Attaches the members of this file."""
    properties: dict[str, Any] = {
        "T": property(_T), "mT": property(_mT), "H": property(_H), "mH": property(_mH),
        "data": property(resizing.data, resizing.set_data),
        "layout": property(lambda self: strided), "is_cpu": property(lambda self: self._layout.device.type == "cpu"),
        "is_meta": property(lambda self: self._layout.device.type == "meta"),
        "is_cuda": property(lambda self: self._layout.device.type == "cuda"),
        "names": property(lambda self: (None,) * self._layout.ndim), "name": property(lambda self: None),
        "__array_priority__": 1000, "__cuda_array_interface__": property(_cuda_array_interface),
        "volatile": property(lambda self: False),
    }  # fmt: skip
    for name in (
        "sparse",
        "sparse_csr",
        "quantized",
        "mkldnn",
        "mps",
        "xpu",
        "xla",
        "ipu",
        "vulkan",
        "nested",
        "maia",
        "mtia",
        "hpu",
        "ort",
    ):
        properties[f"is_{name}"] = property(lambda self: False)
    for name, member in properties.items():
        setattr(cls, name, member)
    methods: dict[str, Any] = {
        **new_tensors.METHODS, **resizing.METHODS,
        "adjoint": adjoint, "is_floating_point": is_floating_point, "is_complex": is_complex, "is_signed": is_signed,
        "is_conj": is_conj,
        "is_neg": is_neg, "resolve_conj": resolve_conj, "resolve_neg": resolve_neg, "is_inference": is_inference,
        "is_distributed": is_distributed,
        "is_nonzero": is_nonzero, "is_same_size": is_same_size, "get_device": get_device, "is_set_to": _is_set_to,
        "type": _type, "type_as": _type_as,
        "dim_order": _dim_order, "module_load": _module_load,
        "__nonzero__": lambda self: bool(self), "__long__": lambda self: int(self),
        "index": _index_dims, "__array_wrap__": _array_wrap,
        "__reversed__": _reversed, "__delitem__": _delitem,
        "const_data_ptr": lambda self: self.data_ptr(),
        "to_dense": _to_dense, "storage_type": lambda self: type(self.storage()), "cpu": _cpu,
        "cuda": _no_device("cuda"), "xpu": _no_device("xpu"), "ipu": _no_device("ipu"), "hpu": _no_device("hpu"),
        "mtia": _no_device("mtia"),
        "pin_memory": _pin_memory, "is_pinned": _is_pinned, "has_names": _has_names,
        "dense_dim": lambda self: self.ndim, "sparse_dim": lambda self: 0,
        "ndimension": Tensor.dim,
        "unflatten": _unflatten,
        "record_stream": _record_stream,
    }  # fmt: skip
    for name, method in methods.items():
        if method.__name__.startswith(("_", "<")):
            method.__name__ = method.__qualname__ = name
        code = getattr(method, "__code__", None)
        setattr(cls, name, blaming(method) if code is not None and code.co_argcount > 1 else method)
    for op in (unsqueeze, squeeze, transpose, t, swapaxes, swapdims, as_strided):
        setattr(cls, f"{op.name}_", LazyMethod(f"{op.name}_", partial(in_place, op)))
    for file, names in _ELSEWHERE.items():
        for name in names.split():
            setattr(cls, name, LazyMethod(name, partial(_from, file, name)))


_ELSEWHERE = {
    "absent_kernels": "eig lstsq reinforce solve symeig",
    "mkldnn": "to_mkldnn",
    "native_layers": "resize_as_sparse_ slice_inverse",
    "nested.operators": "to_padded_tensor",
    "quantized.dense": """
        dequantize int_repr q_per_channel_axis q_per_channel_scales q_per_channel_zero_points q_scale q_zero_point
        qscheme
    """,
    "sparse.dense": """
        _indices _nnz _values ccol_indices coalesce col_indices crow_indices indices is_coalesced row_indices smm
        sparse_mask sparse_resize_ sparse_resize_and_clear_ sspaddmm to_sparse to_sparse_bsc to_sparse_bsr to_sparse_coo
        to_sparse_csc to_sparse_csr values
    """,
}  # file of the package whose ``METHODS`` has these: imported when one of them is first looked up


def _from(file: str, name: str) -> Callable[..., Any]:
    return blaming(importlib.import_module(f"{__package__.rpartition('.')[0]}.{file}").METHODS[name])


def _to_dense(self: Tensor, dtype: dtype_ | None = None, *, masked_grad: bool | None = None) -> Tensor:
    """The tensor with all its elements in memory: itself, converted to ``dtype`` if given."""
    return self if dtype is None else convert(self, dtype)


def _reversed(self: Tensor) -> Tensor:
    return self.flip(0) if self.ndim else self  # type: ignore[attr-defined]


def _delitem(self: Tensor, index: Any) -> None:
    raise TypeError("Tensor does not support deleting items")


def _unflatten(self: Tensor, dim: int, *sizes: Any, **kwargs: Any) -> Tensor:
    """A dimension as several of these sizes (one may be -1)."""
    return unflatten.function(self, dim, kwargs["sizes"] if "sizes" in kwargs else tuple(shape_of(sizes, "unflatten")))


install(Tensor)
