"""Tensors like another one: with its element type and on its device."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from .. import device as devices
from ..dispatch.call import special
from ..dtype import dtype as dtype_
from ..layout import Layout, Size
from ..tensor import Tensor
from ..transform.level import Wrapper
from . import create, from_data
from .common import factory, shape_of

__all__ = ["empty_permuted"]


def _new_tensor(
    self: Tensor,
    data: Any,
    *,
    dtype: dtype_ | None = None,
    device: Any = None,
    requires_grad: bool = False,
    layout: Any = None,
    pin_memory: bool = False,
) -> Tensor:
    """A copy of ``data`` with this tensor's element type and device."""
    where: Any = self.device if device is None else device
    if where is devices.cpu and devices.get_default_device() is devices.cpu:
        where = None  # the short way
    return from_data.tensor(data, dtype=dtype or self.dtype, device=where, requires_grad=requires_grad)


def _maker(
    name: str,
    factory: Callable[..., Tensor],
    fill: Callable[[Any], Tensor],
    text: str,
    short: Callable[[Layout], Tensor] | None = None,
) -> Callable[..., Tensor]:
    """The method; ``short(layout)`` is the short way, where nothing is asked for but a shape."""

    def method(
        self: Tensor, *size: Any, dtype: dtype_ | None = None, device: Any = None, requires_grad: bool = False,
        layout: Any = None, pin_memory: bool = False, **more: Any
    ) -> Tensor:  # fmt: skip
        if short is not None and dtype is None and device is None and self._key is not None:
            own = self._layout
            found = None if more or requires_grad or special else create.fresh_layout(name, size, own.dtype, own.device)
            if found is not None:
                return short(found)
        if "size" in more:
            size = (more.pop("size"),)
        if isinstance(self, Wrapper):
            shape = shape_of(size, name)
            made = self._blank(create.wanted_layout(name, dtype or self._layout.dtype, self._layout.device, shape))
            filled = fill(made)
            return filled.requires_grad_() if requires_grad else filled  # type: ignore[attr-defined,no-any-return]
        return factory(
            *size,
            dtype=dtype or self._layout.dtype,
            device=self._layout.device if device is None else device,
            requires_grad=requires_grad,
            **more,
        )

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"{text}, with this tensor's element type and device unless given."
    return method


def _new_full(
    self: Tensor, size: Sequence[int], fill_value: Any, *, dtype: dtype_ | None = None, device: Any = None,
    requires_grad: bool = False, layout: Any = None, pin_memory: bool = False
) -> Tensor:  # fmt: skip
    """A tensor of one number, with this tensor's element type and device unless given."""
    if isinstance(self, Wrapper):
        shape = shape_of((size,), "new_full")
        made = self._blank(create.wanted_layout("new_full", dtype or self.dtype, self.device, shape))
        return made.fill_(fill_value)  # type: ignore[attr-defined,no-any-return]
    return create.full(
        size,
        fill_value,
        dtype=dtype or self.dtype,
        device=self.device if device is None else device,
        requires_grad=requires_grad,
    )


def _new_empty_strided(
    self: Tensor, size: Sequence[int], stride: Sequence[int], dtype: dtype_ | None = None, device: Any = None,
    requires_grad: bool = False, layout: Any = None, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """An uninitialised tensor with these strides, with this tensor's element type and device unless given."""
    if isinstance(self, Wrapper):
        return self._blank(create.wanted_layout("new_empty_strided", dtype or self.dtype, self.device, size, stride))
    own = self._layout
    kind, where = dtype or own.dtype, own.device if device is None else device
    if special:
        return create.empty_strided(size, stride, dtype=kind, device=where, requires_grad=requires_grad)
    layout_ = create.strided_layout("new_empty_strided", kind, where, size, stride)
    return create.finished(create.allocate(layout_), requires_grad)


@factory
def empty_permuted(
    size: Sequence[int], physical_layout: Sequence[int], *, dtype: dtype_ | None = None, layout: Any = None,
    device: Any = None, requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """An uninitialised tensor without gaps whose dimensions lie in memory in the order ``physical_layout``, slowest
    first."""
    try:
        strides = _gapless((*size,), (*physical_layout,))
    except ValueError:
        raise RuntimeError(
            f"empty_permuted: physical_layout {list(physical_layout)} must be a permutation of "
            f"the dimensions of size {list(size)}"
        ) from None
    layout_ = create.strided_layout("empty_permuted", dtype, device, size, strides)
    return create.finished(create.allocate(layout_), requires_grad)


@functools.lru_cache(maxsize=1024)
def _gapless(size: tuple[int, ...], order: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of dimensions that lie in memory in this order, slowest first; ValueError if it is no permutation."""
    if sorted(order) != [*range(len(size))]:
        raise ValueError(order)
    strides, below = [0] * len(size), 1
    for d in reversed(order):
        strides[d] = below
        below *= max(size[d], 1)
    return tuple(strides)


def _new(self: Tensor, *args: Any, device: Any = None) -> Tensor:
    """A tensor of this element type: of a shape (uninitialised), or with a copy of data."""
    return legacy(self.dtype, args, self.device if device is None else device)


def legacy(kind: dtype_, args: tuple[Any, ...], device: Any = None) -> Tensor:
    """What ``torch.FloatTensor(...)`` makes: a tensor of a shape given as ints, or with a copy of a sequence."""
    if not args:
        return create.empty((0,), dtype=kind, device=device)
    if all(isinstance(a, int) and not isinstance(a, bool) for a in args):
        return create.empty(args, dtype=kind, device=device)
    if len(args) == 1 and isinstance(args[0], Size):
        return create.empty(args[0], dtype=kind, device=device)
    if len(args) == 1 and isinstance(args[0], Tensor):
        if args[0].dtype is not kind:
            raise TypeError(f"expected {kind} (got {args[0].dtype})")
        return args[0].detach()  # type: ignore[attr-defined]
    if len(args) == 1 and hasattr(args[0], "__len__"):
        return from_data.tensor(args[0], dtype=kind, device=device)
    raise TypeError(f"new(): invalid combination of arguments {args}")


METHODS: dict[str, Any] = {
    "new_tensor": _new_tensor,
    "new_full": _new_full,
    "new_empty_strided": _new_empty_strided,
    "new": _new,
    "new_zeros": _maker("new_zeros", create.zeros, lambda t: t.zero_(), "A tensor of zeros"),
    "new_ones": _maker("new_ones", create.ones, lambda t: t.fill_(1), "A tensor of ones"),
    "new_empty": _maker("new_empty", create.empty, lambda t: t, "An uninitialised tensor", create.allocate),
}
