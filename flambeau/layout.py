"""How a tensor lies over its storage: element type, device, shape and strides, interned."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from operator import index
from typing import SupportsIndex

from .device import cpu, device
from .dtype import dtype

__all__ = ["Layout", "Size", "contiguous_strides", "dense", "of"]


_get = tuple.__getitem__


class Size(tuple[int, ...]):
    """The shape of a tensor: a tuple of ints with PyTorch's ``numel`` and spelling."""

    __slots__ = ()

    def __new__(cls, iterable: Iterable[SupportsIndex] = ()) -> Size:
        return tuple.__new__(cls, map(index, iterable))

    def numel(self) -> int:
        """The number of elements: the product of the sizes."""
        return math.prod(self)

    def __repr__(self) -> str:
        return f"torch.Size([{', '.join(map(str, self))}])"

    __str__ = __repr__

    def __add__(self, other: tuple[int, ...]) -> Size:  # type: ignore[override]
        return Size(tuple.__add__(self, tuple(other)))

    def __radd__(self, other: tuple[int, ...]) -> Size:
        return Size(tuple.__add__(tuple(other), self))

    def __mul__(self, n: SupportsIndex) -> Size:
        return Size(tuple.__mul__(self, n))

    __rmul__ = __mul__

    def __getitem__(self, item):  # type: ignore[no-untyped-def]
        found = _get(self, item)
        return Size(found) if item.__class__ is slice else found

    def __reduce__(self) -> tuple[object, ...]:
        return (Size, (tuple(self),))


class Layout:
    """Type, device, shape and strides (in elements) of a tensor.  Made only by ``of``: equal layouts are
    one object, so that a layout is its own key in the tables of plans.

    ``contiguous``: elements lie in row-major order without gaps.  ``span``: elements from the first
    to one past the last address touched (0 when empty).
    """

    __slots__ = (
        "__weakref__",
        "_dense",
        "contiguous",
        "device",
        "dtype",
        "itemsize",
        "nbytes",
        "ndim",
        "numel",
        "shape",
        "span",
        "strides",
    )

    dtype: dtype
    device: device
    shape: Size
    strides: tuple[int, ...]
    ndim: int
    numel: int
    itemsize: int
    nbytes: int
    span: int
    contiguous: bool
    _dense: bool | None  # not looked at yet

    def __repr__(self) -> str:
        return f"Layout({self.dtype.code}, {self.device}, {tuple(self.shape)}, {self.strides})"

    @property
    def dense(self) -> bool:
        """Whether the elements fill their span exactly once (a permutation of a contiguous layout)."""
        found = self._dense
        if found is None:
            found = self._dense = self.contiguous or (self.span == self.numel and not self.overlapping)
        return found

    @property
    def overlapping(self) -> bool:
        """Whether two indices may share an address (conservatively: yes unless strides are nested)."""
        reach = 1
        for stride, size in sorted((t, s) for t, s in zip(self.strides, self.shape) if s > 1):
            if stride < reach:
                return True
            reach = stride * (size - 1) + reach
        return False


_table: dict[tuple[object, ...], Layout] = {}
_LIMIT = 200_000  # forgetting all only costs planning anew


def of(type_: dtype, device_: device, shape: Sequence[int], strides: Sequence[int]) -> Layout:
    """The layout with these parts."""
    key = (type_, device_, tuple(shape), tuple(strides))
    found = _table.get(key)
    if found is None:
        found = Layout()
        found.dtype = type_
        found.device = device_
        found.shape = shape if type(shape) is Size else tuple.__new__(Size, map(_whole, shape))
        found.strides = key[3]
        found.ndim = len(shape)
        found.numel = math.prod(shape)
        found.itemsize = type_.itemsize
        found.nbytes = found.numel * found.itemsize
        found.span = 0 if found.numel == 0 else 1 + sum((n - 1) * s for n, s in zip(shape, strides))
        found.contiguous = row_major(shape, strides)
        found._dense = None
        if len(_table) >= _LIMIT:
            _table.clear()
        _table[key] = found
    return found


def _whole(n: SupportsIndex) -> int:
    """``n`` as an int; those of a class of their own stay (``graph/varying.py``)."""
    return n if isinstance(n, int) and n.__class__ is not bool else index(n)


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Row-major strides; a dimension of size 0 counts as 1, as in PyTorch."""
    strides = [1] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        strides[i] = strides[i + 1] * max(shape[i + 1], 1)
    return tuple(strides)


def row_major(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether elements with these strides lie in row-major order without gaps."""
    return 0 in shape or all(n == 1 or s == c for n, s, c in zip(shape, strides, contiguous_strides(shape)))


def column_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of batches of matrices, the last two dimensions, whose columns lie in one piece each (as LAPACK has
    them); the batches are row-major."""
    strides = contiguous_strides(shape)
    return (*strides[:-2], 1, max(shape[-2], 1))


def iterated_strides(shape: Sequence[int], operands: Sequence[Layout]) -> tuple[int, ...]:
    """The strides of what is computed element by element from operands that broadcast to ``shape``.

    They are those of the operands where all agree on dense ones.  Otherwise dimensions are sorted by the strides of the
    first operand that tells two of them apart (the larger of them lies further out where strides are equal), from
    row-major order on.
    """
    whole = [x for x in operands if x.shape == shape]
    if len(whole) == len(operands) and whole:
        first = whole[0]
        if all(x.contiguous for x in whole):
            return contiguous_strides(shape)
        if first.dense and all(x.strides == first.strides for x in whole):
            return first.strides
    steps = []
    for x in operands:
        lead = len(shape) - x.ndim
        own = [0 if m == 1 != n else s for m, n, s in zip(x.shape, shape[lead:], x.strides)]
        steps.append([0] * lead + own)
    order = list(range(len(shape)))[::-1]
    for last in range(1, len(order)):
        at = last
        for other in range(last - 1, -1, -1):
            inner, outer = order[other], order[at]
            found = _compare(inner, outer, shape, steps)
            if found > 0:
                order[other], order[at] = outer, inner
                at = other
            elif found < 0:
                break
    return ordered_strides(shape, order[::-1])


def _compare(inner: int, outer: int, shape: Sequence[int], steps: Sequence[Sequence[int]]) -> int:
    """-1 if dimension ``inner`` lies within ``outer``, 1 if it is the other way round, 0 if nothing tells."""
    for own in steps:
        a, b = own[inner], own[outer]
        if not a or not b:
            continue
        if a != b:
            return -1 if a < b else 1
        if shape[inner] > shape[outer]:
            return 1
    return 0


_LAST = {4: (0, 2, 3, 1), 5: (0, 2, 3, 4, 1)}
"""The dimensions of images and volumes with channels last as they lie in memory, the last one fastest."""


def ordered_strides(shape: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    """The strides without gaps of dimensions that lie in this order, the last one fastest."""
    strides, below = [0] * len(shape), 1
    for d in reversed(order):
        strides[d] = below
        below *= max(shape[d], 1)
    return tuple(strides)


def lies_last(layout: Layout) -> bool:
    """Whether the channels (dimension 1) of images or volumes lie side by side in memory, and those of a row do not."""
    order = _LAST.get(layout.ndim)
    if order is None or layout.contiguous:
        return False
    wanted = ordered_strides(layout.shape, order)
    return all(n == 1 or s == w for n, s, w in zip(layout.shape, layout.strides, wanted))


def image_strides(shape: Sequence[int], operands: Sequence[Layout]) -> tuple[int, ...]:
    """The strides of a result that has channels last if an operand does, and is row-major otherwise."""
    if len(shape) in _LAST and any(map(lies_last, operands)):
        return ordered_strides(shape, _LAST[len(shape)])
    return contiguous_strides(shape)


def dense(type_: dtype, shape: Sequence[int], device_: device = cpu) -> Layout:
    """The contiguous layout of this type and shape."""
    return of(type_, device_, shape, contiguous_strides(shape))
