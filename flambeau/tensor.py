"""The tensor: a layout over a storage.  Operators are attached to this class by ``operator.py``."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from weakref import ref

import numpy as np

from . import device as devices
from . import dtype as dtypes
from . import prepared
from .device import device
from .dtype import dtype
from .layout import Layout, Size, contiguous_strides, dense, of
from .storage import Storage, maker, makers

__all__ = [
    "OWN_ATTRIBUTES", "Tensor", "TensorBase", "all_attributes", "empty", "from_numpy", "host_values", "make",
    "numpy_view", "view",
]  # fmt: skip


class Attributes(dict[str, Any]):
    """The attributes that a program has given a tensor, as they are when one asks for its ``__dict__``; what is changed
    here is changed there.

    The tensor's own parts (`OWN_ATTRIBUTES`) lie in the same dictionary of the instance and are left out, as programs
    copy ``__dict__`` from one tensor to another.
    """

    def __init__(self, every: dict[str, Any]) -> None:
        super().__init__({name: value for name, value in every.items() if name not in OWN_ATTRIBUTES})
        self._every = every

    def __setitem__(self, name: str, value: Any) -> None:
        if name in OWN_ATTRIBUTES:
            raise KeyError(f"'{name}' is a part of the tensor: give the attribute another name")
        super().__setitem__(name, value)
        self._every[name] = value

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        del self._every[name]

    def __ior__(self, other: Any) -> Attributes:  # type: ignore[override,misc]
        self.update(other)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)

    def clear(self) -> None:
        """Takes all of them from the tensor."""
        for name in list(self):
            del self[name]

    def pop(self, name: str, *default: Any) -> Any:
        """Takes one from the tensor."""
        found = super().pop(name, *default)
        self._every.pop(name, None) if name not in OWN_ATTRIBUTES else None
        return found

    def popitem(self) -> tuple[str, Any]:
        """Takes the last from the tensor."""
        name, value = super().popitem()
        del self._every[name]
        return name, value

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Gives the tensor one that it does not have."""
        if name not in self:
            self[name] = default
        return self[name]

    def update(self, *others: Any, **more: Any) -> None:
        """Gives the tensor several."""
        for name, value in dict(*others, **more).items():
            self[name] = value


class TensorBase:
    """What Tensor derives from."""


all_attributes = TensorBase.__dict__["__dict__"].__get__
"""The dictionary of a tensor with its own parts."""


def _attributes(tensor: Any) -> Attributes:
    return Attributes(all_attributes(tensor))


def _set_attributes(tensor: Any, attributes: dict[str, Any]) -> None:
    given, found = dict(attributes), _attributes(tensor)
    found.clear()
    found.update(given)


class _TensorMeta(type):
    """The class of Tensor and its subclasses, which all show programs their own attributes only."""

    def __new__(mcls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
        namespace.setdefault("__dict__", property(_attributes, _set_attributes))
        return super().__new__(mcls, name, bases, namespace, **options)


class Tensor(TensorBase, metaclass=_TensorMeta):
    """A multi-dimensional array of one element type.

    ``_layout`` and ``_storage`` say what and where it is, from element ``_offset`` of the storage on.  ``_key`` is the
    layout of a plain tensor whose memory holds its value; it is None where an operator must look closer (a pending
    value, a subclass with ``__torch_function__``), which is how one dictionary look-up serves the hot path.
    """

    _layout: Layout
    _storage: Storage
    _offset: int
    _key: Layout | None
    _requires_grad: bool = False
    _node: Any = None
    _output_nr: int = 0
    _grad: Tensor | None = None
    _view: Any = None
    _hooks: Any = None
    _plain: bool = True  # of the class: results of operators need no look at ``__torch_function__``
    _weak: bool = False  # stands for a Python number: takes part in promotion by its category only

    # -- what it is ------------------------------------------------------------------------------
    @property
    def shape(self) -> Size:
        """The size of each dimension."""
        return self._layout.shape

    @property
    def dtype(self) -> dtype:
        """The type of the elements."""
        return self._layout.dtype

    @property
    def device(self) -> device:
        """Where the memory is."""
        return self._layout.device

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._layout.ndim

    @property
    def itemsize(self) -> int:
        """Bytes of one element."""
        return self._layout.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self._layout.nbytes

    def dim(self) -> int:
        """The number of dimensions."""
        return self._layout.ndim

    def numel(self) -> int:
        """The number of elements."""
        return self._layout.numel

    nelement = numel

    def element_size(self) -> int:
        """Bytes of one element."""
        return self._layout.itemsize

    def storage_offset(self) -> int:
        """Elements of the storage before the first one of this tensor."""
        return self._offset

    def __len__(self) -> int:
        if not self._layout.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self._layout.shape[0]

    def __hash__(self) -> int:
        return id(self)


OWN_ATTRIBUTES = frozenset(Tensor.__annotations__) | {"_backward_hooks"}
"""What lies in a tensor's dictionary and is none of the program's attributes."""


_new = object.__new__


def make(storage: Storage, layout: Layout, offset: int = 0) -> Tensor:
    """A tensor over a storage."""
    t = _new(Tensor)
    t._layout = layout
    t._storage = storage
    t._offset = offset
    t._key = layout if storage.pending is None else None
    return t


def view(t: Tensor, shape: Sequence[int], strides: Sequence[int], offset: int) -> Tensor:
    """Another tensor over the storage of ``t``; ``offset`` counts from the start of the storage."""
    layout = t._layout
    return make(t._storage, of(layout.dtype, layout.device, shape, strides), offset)


def empty(layout: Layout) -> Tensor:
    """A tensor of uninitialised memory of its own, as large as the layout needs."""
    nbytes = layout.span * layout.itemsize
    if layout.device is devices.meta:
        return make(Storage(0, nbytes, device_=devices.meta), layout)
    storage = (makers.get(nbytes) or maker(nbytes))()
    t = _new(Tensor)
    t._layout = t._key = layout
    t._storage = storage
    t._offset = 0
    return t


def materialize(t: Tensor) -> Tensor:
    """Computes the value of ``t`` if it is pending; returns ``t``."""
    pending = t._storage.pending
    if pending is not None:
        pending.trace.flush()
    if t._key is None and t._plain and not t._weak:
        t._key = t._layout
    return t


def address(t: Tensor) -> int:
    """The address of the first element; the value is computed first if need be."""
    if t._storage.pending is not None:
        materialize(t)
    return t._storage.ptr + t._offset * t._layout.itemsize


@lru_cache(maxsize=256)
def _bytes(count: int) -> Any:
    """The type of a block of ``count`` bytes; ctypes itself keeps such a class only as long as a block of it lives."""
    return ctypes.c_byte * count


def borrowed_array(t: Tensor) -> np.ndarray:
    """A numpy array over the memory of a CPU tensor, for as long as the caller holds the tensor and writes nothing."""
    layout = t._layout
    if layout.device is not devices.cpu:
        raise TypeError(
            f"can't convert {layout.device} device type tensor to numpy. Use Tensor.cpu() to "
            "copy the tensor to host memory first."
        )
    start = address(t)
    itemsize = layout.itemsize
    if not layout.span:
        return np.empty(tuple(layout.shape), layout.dtype.numpy)
    block = _bytes(layout.span * itemsize).from_address(start)
    return np.ndarray(tuple(layout.shape), layout.dtype.numpy, block, 0, tuple([s * itemsize for s in layout.strides]))


def numpy_view(t: Tensor) -> np.ndarray:
    """A numpy array over the memory of a CPU tensor, which it keeps alive."""
    found = borrowed_array(t)
    if not t._layout.span:
        return found
    block: Any = found.base
    block._owner = t._storage
    state = t._storage.memory.__dict__
    state.pop("prepared", None)  # what is made of the memory is kept only while no array may write it unseen
    arrays = state.setdefault("arrays", [])
    if not len(arrays) & (len(arrays) - 1):  # now and then, however many live
        prepared.forget_dead(arrays)
    arrays.append(ref(block))
    return found


def host_values(t: Tensor) -> np.ndarray:
    """The elements of a CPU tensor in a type that numpy computes with: ``numpy_view``, but complex32 as complex64."""
    found = numpy_view(t)
    if t._layout.dtype is dtypes.complex32:
        found, pairs = np.empty(found.shape, np.complex64), found
        found.real, found.imag = pairs["real"], pairs["imag"]
    return found


def from_numpy(ndarray: np.ndarray) -> Tensor:
    """A tensor over the memory of ``ndarray``; writes through either are seen by both.

    Raises TypeError for other than arrays and for element types PyTorch does not have, ValueError for negative strides.
    """
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    type_ = dtypes.from_numpy_dtype(ndarray.dtype)
    if type_ is None:
        names = ", ".join(t.name for t in dtypes.ALL)
        raise TypeError(f"can't convert np.ndarray of type {ndarray.dtype}. The only supported types are: {names}.")
    itemsize = ndarray.itemsize
    if any(s < 0 for s in ndarray.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with "
            "negative strides are not currently supported. (You can probably work around this "
            "by making a copy of your array  with array.copy().)"
        )
    if any(s % itemsize for s in ndarray.strides):
        raise ValueError(
            f"from_numpy: strides {ndarray.strides} are not multiples of the element size "
            f"{itemsize}; copy the array first"
        )
    layout = of(type_, devices.cpu, ndarray.shape, [s // itemsize for s in ndarray.strides])
    return make(Storage(ndarray.ctypes.data, layout.span * itemsize, ndarray), layout)


def over_array(array: np.ndarray, layout: Layout) -> Tensor:
    """A tensor of a layout without gaps over all the memory of a writable array in row-major order, not empty."""
    start = ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]
    return make(Storage(start, array.nbytes, array), layout)


def zero(t: Tensor) -> Tensor:
    """Fills the memory of a fresh contiguous tensor with zero bytes."""
    if t._layout.device is devices.cpu and t._layout.nbytes:
        ctypes.memset(address(t), 0, t._layout.nbytes)
    return t


def contiguous(type_: dtype, shape: Sequence[int], device_: device | None = None) -> Tensor:
    """An uninitialised contiguous tensor."""
    return empty(dense(type_, shape, devices.of(None) if device_ is None else device_))


__all__ += ["address", "borrowed_array", "contiguous", "contiguous_strides", "materialize", "over_array", "zero"]
