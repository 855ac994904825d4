"""What stands in the brackets of ``tensor[...]``: a part, by integers and slices, and the tensors that index it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import dtype as dtypes
from ..tensor import Tensor
from . import from_data
from .masks import nonzero, positions

__all__ = ["Subscript", "check_mask", "parse"]

_INDEX_TYPES = (dtypes.int64, dtypes.int32, dtypes.uint8, dtypes.bool_)
_MASK_TYPES = (dtypes.bool_, dtypes.uint8)
_EXACT = (int, type(None))  # what an end of a slice mostly is


class Subscript(NamedTuple):
    """An index, taken apart."""

    map: tuple[Any, ...]  # the part that integers and slices name, as ``region`` takes it ...
    shape: tuple[int, ...]  # ... and its shape
    advanced: list[tuple[int, Tensor]]  # the dimensions of the part that are indexed, and by what
    plain: bool  # whether there is nothing but Python's numbers in it


def parse(t: Tensor, index: Any) -> Subscript:
    """What ``index`` says of ``t``.  Raises IndexError, TypeError and ValueError as ``getitem`` does."""
    entries = _entries(index)
    reader = _Reader(t)
    used = 0  # dimensions
    for i, e in enumerate(entries):
        if isinstance(e, (list, tuple, range, np.ndarray)):
            entries[i] = e = _as_index(list(e) if isinstance(e, range) else e, t.device)
        if isinstance(e, Tensor):
            used += e.ndim if e.dtype in _MASK_TYPES else 1
            reader.plain = False
        elif isinstance(e, (bool, np.bool_)):
            reader.plain = False
        elif e is not None and e is not Ellipsis:
            used += 1
    if used > t.ndim:
        raise _too_many(t, entries)
    seen = False
    for e in entries:
        if isinstance(e, slice):
            reader.slice(e)
        elif _is_number(e):
            reader.number(int(e))
        elif e is None:
            reader.shape.append(1)
        elif e is Ellipsis:
            for _ in range(1 if seen else t.ndim - used):
                reader.whole()
            seen = True
        elif isinstance(e, (bool, np.bool_)):
            reader.indexed(from_data.tensor([0] if e else [], dtype=dtypes.int64))
            reader.shape.append(1)
        elif isinstance(e, Tensor):
            reader.tensor(e)
        else:
            raise IndexError(
                "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables "
                f"are valid indices (got {e.__class__.__name__})"
            )
    while len(reader.map) < t.ndim:
        reader.whole()
    return Subscript(tuple(reader.map), tuple(reader.shape), reader.advanced, reader.plain)


class _Reader:
    """Takes the entries of an index, one after the other."""

    def __init__(self, t: Tensor) -> None:
        self.sizes = t.shape
        self.map: list[Any] = []
        self.shape: list[int] = []
        self.advanced: list[tuple[int, Tensor]] = []
        self.plain = True

    def whole(self) -> None:
        """All of the next dimension."""
        self.map.append((0, ((len(self.shape), 1),)))
        self.shape.append(self.sizes[len(self.map) - 1])

    def number(self, i: int) -> None:
        """One place of the next dimension."""
        d = len(self.map)
        n = self.sizes[d]
        if not -n <= i < n:
            raise IndexError(f"index {i} is out of bounds for dimension {d} with size {n}")
        self.map.append((i + n if i < 0 else i, ()))

    def slice(self, s: slice) -> None:
        """A range of the next dimension."""
        if not (s.start.__class__ in _EXACT and s.stop.__class__ in _EXACT and s.step.__class__ in _EXACT):
            self.plain = self.plain and not any(isinstance(b, Tensor) for b in (s.start, s.stop, s.step))
            s = slice(_bound(s.start), _bound(s.stop), _bound(s.step))
        if s.step is not None and s.step <= 0:
            raise ValueError("step must be greater than zero")
        first, last, step = s.indices(self.sizes[len(self.map)])
        count = len(range(first, last, step))
        self.map.append((first if count else 0, ((len(self.shape), step),)))
        self.shape.append(count)

    def indexed(self, by: Tensor) -> None:
        """What comes next is a dimension with these indices."""
        self.advanced.append((len(self.shape), by))

    def tensor(self, e: Tensor) -> None:
        """A tensor of indices for the next dimension, or a mask for the next ones."""
        if e.dtype not in _INDEX_TYPES:
            raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
        if e.dtype is dtypes.uint8:
            warnings.warn(
                "indexing with dtype torch.uint8 is now deprecated, please use a dtype torch.bool instead.",
                stacklevel=4,
            )
        if e.dtype not in _MASK_TYPES:
            self.indexed(e)
            self.whole()
        elif e.ndim == 0:
            self.indexed(positions(e))
            self.shape.append(1)
        else:
            check_mask(e, self.sizes, len(self.map))
            for one in [positions(e)] if e.ndim == 1 else nonzero.function(e, as_tuple=True):
                self.indexed(one)
                self.whole()


def check_mask(mask: Tensor, sizes: Sequence[int], first: int = 0) -> None:
    """Raises IndexError unless the mask has the shape of the dimensions from ``first`` on."""
    for k, n in enumerate(mask.shape):
        if n != sizes[first + k]:
            raise IndexError(
                f"The shape of the mask {list(mask.shape)} at index {k} does not match the "
                f"shape of the indexed tensor {list(sizes)} at index {first + k}"
            )


def _is_number(e: Any) -> bool:
    """Whether an entry is one place of a dimension: an integer, also one in a tensor without dimensions."""
    if isinstance(e, Tensor):
        return e.ndim == 0 and e.dtype.kind in "ui" and e.dtype is not dtypes.uint8
    return isinstance(e, (int, np.integer)) and not isinstance(e, bool)


def _too_many(t: Tensor, entries: Sequence[Any]) -> IndexError:
    if t.ndim == 0 and len(entries) == 1 and isinstance(entries[0], slice):
        return IndexError("slice() cannot be applied to a 0-dim tensor.")
    if t.ndim == 0 and len(entries) == 1 and isinstance(entries[0], (int, np.integer)):
        return IndexError(
            "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or "
            "`tensor.item<T>()` in C++ to convert a 0-dim tensor to a number"
        )
    return IndexError(f"too many indices for tensor of dimension {t.ndim}: got {len(entries)}")


def _as_index(value: Any, device: Any) -> Tensor:
    """A list or array of indices as a tensor."""
    t = from_data.tensor(value, device=device) if not isinstance(value, np.ndarray) else from_data.as_tensor(value)
    return t.long() if not t.numel() and t.dtype.kind == "f" else t  # type: ignore[attr-defined]


def _is_tuple_of_indices(value: Sequence[Any]) -> bool:
    """Whether a list is meant as a tuple of indices (numpy's old rule: short, and one of its members is no number)."""
    return len(value) < 32 and any(
        v is None or v is Ellipsis or isinstance(v, (slice, Tensor, list, tuple)) for v in value
    )


def _entries(index: Any) -> list[Any]:
    if isinstance(index, tuple):
        return list(index)
    if isinstance(index, list) and _is_tuple_of_indices(index):
        warnings.warn(
            "Using a non-tuple sequence for multidimensional indexing is deprecated and will be "
            "changed in pytorch 2.9; use x[tuple(seq)] instead of "
            "x[seq]. In pytorch 2.9 this will be interpreted as tensor index, "
            "x[torch.tensor(seq)], which will result either in an error or a different "
            "result",
            stacklevel=4,
        )
        return list(index)
    return [index]


def _bound(value: Any) -> int | None:
    """An end of a slice."""
    if value is None:
        return None
    if isinstance(value, Tensor):
        return int(value.item())  # type: ignore[attr-defined]
    try:
        return value.__index__()
    except AttributeError:
        raise TypeError("slice indices must be integers or None or have an __index__ method") from None
