"""``tensor[...]`` and ``tensor[...] = value``: integers, slices, None, Ellipsis, masks and tensors of indices.

Integers and slices give views.  Everything else gathers: masks become the positions where they hold, the indices are
broadcast together, and one kernel reads at them.  Every index is checked before memory is read or written.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtype as dtypes
from .. import primitives as prim
from ..autograd import tape
from ..dispatch.call import special
from ..dispatch.operator import Tensors, operator
from ..dispatch.overriding import ordinary, overridden
from ..graph.node import broadcast_shapes
from ..tensor import Tensor
from . import create
from .common import blaming
from .masks import masked_select, nonzero, positions
from .region import region, select

__all__: list[str] = []

_new = object.__new__
_record_look = tape.record_look
_views: dict[Any, Any] = {}
LIMIT = 20_000
_INDEX_TYPES = (dtypes.int64, dtypes.int32, dtypes.uint8, dtypes.bool_)


# -- reading and writing at indices ------------------------------------------------------------------


def wrapped(index: Tensor, size: int) -> Tensor:
    """Indices of which negative ones count from the end, as int64 (inside of a body)."""
    index = prim.cast(index, dtypes.int64)
    zero = prim.const(0, dtypes.int64)
    return prim.apply(
        "select", prim.apply("lt", index, zero), prim.apply("add", index, prim.size(size, dtypes.int64)), index
    )


def _arranged(
    shape: Sequence[int], indices: Sequence[Tensor], dims: Sequence[int]
) -> tuple[list[Tensor], list[tuple[str, int]], tuple[int, ...]]:
    """The indices as the kernel wants them, the map of the dimensions of the whole, and the shape of the result.

    The dimensions of the indices stand where the indexed dimensions stood if these are neighbours, otherwise first.
    """
    if len(indices) != len(dims) or not dims or list(dims) != sorted({d for d in dims if 0 <= d < len(shape)}):
        raise IndexError(
            f"index(): {len(indices)} indices for the dimensions {list(dims)} of a tensor of shape {list(shape)}: give "
            "one index for each dimension, and dimensions from 0 that ascend"
        )
    for i in indices:
        if i.dtype.is_floating_point or i.dtype.is_complex:
            raise IndexError(f"tensors used as indices must be long, int, byte or bool tensors, not {i.dtype}")
    try:
        common = broadcast_shapes(*(i.shape for i in indices))
    except RuntimeError:
        raise IndexError(
            "shape mismatch: indexing tensors could not be broadcast together with shapes "
            f"{', '.join(str(list(i.shape)) for i in indices)}"
        ) from None
    rest = [d for d in range(len(shape)) if d not in dims]
    at = dims[0] if list(dims) == list(range(dims[0], dims[0] + len(dims))) else 0
    result = [shape[d] for d in rest]
    result[at:at] = common
    place = {d: (i if i < at else i + len(common)) for i, d in enumerate(rest)}
    map_ = [("i", list(dims).index(d)) if d in dims else ("d", place[d]) for d in range(len(shape))]
    g = prim.current().graph
    trailing = (1,) * (len(result) - at - len(common))
    found = []
    for index, d in zip(indices, dims):
        node = prim.read(wrapped(index, shape[d]))
        found.append(prim.wrap(g.reshape(node, (*node.shape, *trailing))))
    return found, map_, tuple(result)


def _empty_read(shape: Sequence[int], dims: Sequence[int], result: Sequence[int]) -> None:
    """Raises IndexError for reading from a dimension of size 0."""
    if 0 not in result:
        for d in dims:
            if shape[d] == 0:
                raise IndexError("index is out of bounds for dimension with size 0")


@operator(name="index", method=False, function=False, out=False)
def index(input: Tensor, indices: Tensors, dims: tuple[int, ...]) -> Tensor:
    """The elements where the dimensions ``dims`` have the indices given, which are broadcast together."""
    found, map_, shape = _arranged(input.shape, indices, dims)
    _empty_read(input.shape, dims, shape)
    if 0 in shape:
        return prim.undef(shape, input.dtype)
    return prim.gather(input, found, map_, shape)


index_rows = index.function
pick = masked_select.function


@index.gradient("indices")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return index_grad.function(grad, list(ctx.indices), ctx.dims, tuple(ctx.shape("input"))), None


@operator(name="_index_grad", method=False, function=False, out=False)
def index_grad(input: Tensor, indices: Tensors, dims: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
    """Zeros in ``shape`` to which the elements of ``input`` are added where ``index`` reads them, one after the
    other."""
    found, map_, _ = _arranged(shape, indices, dims)
    if 0 in input.shape:
        return prim.const(0, input.dtype, shape)
    work = input.dtype.wide
    return prim.cast(prim.scatter("add", prim.const(0, work, shape), prim.cast(input, work), found, map_), input.dtype)


@index_grad.gradient("indices")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return index.function(grad, list(ctx.indices), ctx.dims), None


@operator(name="_index_write", inplace=True, method=False, function=False, out=False)
def index_write(input: Tensor, values: Tensor, indices: Tensors, dims: tuple[int, ...], accumulate: bool) -> Tensor:
    """``input`` with ``values`` (broadcast) put at the indices, or added there; of several for one place the last
    stays."""
    found, map_, shape = _arranged(input.shape, indices, dims)
    _empty_read(input.shape, dims, shape)
    if 0 in shape:
        return input
    kind = "set" if not accumulate else "or" if input.dtype is dtypes.bool_ else "add"
    if kind == "or":
        return prim.cast(
            prim.scatter(
                "add", prim.cast(input, dtypes.uint8), _spread(prim.cast(values, dtypes.uint8), shape), found, map_
            ),
            dtypes.bool_,
        )
    return prim.scatter(kind, input, _spread(values, shape), found, map_)


def _spread(values: Tensor, shape: Sequence[int]) -> Tensor:
    if len(values.shape) > len(shape) or any(v not in (1, n) for v, n in zip(reversed(values.shape), reversed(shape))):
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(values.shape)} cannot be broadcast to "
            f"indexing result of shape {list(shape)}"
        )
    return prim.wrap(prim.current().graph.expand(prim.read(values), shape))


index_write.linear = True  # where indices repeat, the gradient is not the transpose (nor is PyTorch's)


@index_write.gradient("indices")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    indices = list(ctx.indices)
    rest = None
    if ctx.needs("input"):
        rest = grad if ctx.accumulate else index_write.function(grad, grad.new_zeros(()), indices, ctx.dims, False)
    return rest, index.function(grad, indices, ctx.dims) if ctx.needs("values") else None, None


# -- the language's brackets -------------------------------------------------------------------------


def _as_index(value: Any, device: Any) -> Tensor:
    """A list or array of indices as a tensor."""
    t = create.tensor(value, device=device) if not isinstance(value, np.ndarray) else create.as_tensor(value)
    return t.long() if not t.numel() and t.dtype.kind == "f" else t  # type: ignore[attr-defined]


def _is_tuple_of_indices(value: Sequence[Any]) -> bool:
    """Whether a list is meant as a tuple of indices (numpy's old rule: short, and one of its members is no number)."""
    return len(value) < 32 and any(
        v is None or v is Ellipsis or isinstance(v, (slice, Tensor, list, tuple)) for v in value
    )


def _entries(index_: Any) -> list[Any]:
    if isinstance(index_, tuple):
        return list(index_)
    if isinstance(index_, list) and _is_tuple_of_indices(index_):
        warnings.warn(
            "Using a non-tuple sequence for multidimensional indexing is deprecated and will be "
            "changed in pytorch 2.9; use x[tuple(seq)] instead of "
            "x[seq]. In pytorch 2.9 this will be interpreted as tensor index, "
            "x[torch.tensor(seq)], which will result either in an error or a different "
            "result",
            stacklevel=4,
        )
        return list(index_)
    return [index_]


def _bound(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, Tensor):
        return int(value.item())  # type: ignore[attr-defined]
    try:
        return value.__index__()
    except AttributeError:
        raise TypeError("slice indices must be integers or None or have an __index__ method") from None


def parse(t: Tensor, index_: Any) -> tuple[Any, tuple[int, ...], list[tuple[int, Tensor]], bool]:
    """(map, shape, advanced, plain): the part of ``t`` that integers and slices name, the tensors of indices with the
    dimensions of the part that they index, and whether the index has nothing but Python's numbers."""
    entries = _entries(index_)
    ndim, sizes = t.ndim, t.shape
    plain = True
    uses = 0
    for i, e in enumerate(entries):
        if isinstance(e, (list, tuple, range)) or isinstance(e, np.ndarray):
            entries[i] = e = _as_index(list(e) if isinstance(e, range) else e, t.device)
        if isinstance(e, Tensor):
            plain = False
            uses += e.ndim if e.dtype in (dtypes.bool_, dtypes.uint8) else 1
        elif e is not None and e is not Ellipsis and not isinstance(e, (bool, np.bool_)):
            uses += 1
    if uses > ndim:
        if (
            ndim == 0
            and len(entries) == 1
            and isinstance(entries[0], (int, slice, np.integer))
            and not isinstance(entries[0], bool)
        ):
            if isinstance(entries[0], slice):
                raise IndexError("slice() cannot be applied to a 0-dim tensor.")
            raise IndexError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or "
                "`tensor.item<T>()` in C++ to convert a 0-dim tensor to a number"
            )
        raise IndexError(f"too many indices for tensor of dimension {ndim}: got {len(entries)}")
    map_: list[Any] = []
    shape: list[int] = []
    advanced: list[tuple[int, Tensor]] = []
    seen = False
    for e in entries:
        d = len(map_)
        cls = e.__class__
        if (
            cls is int
            or (cls is not bool and isinstance(e, (int, np.integer)))
            or (isinstance(e, Tensor) and e.ndim == 0 and e.dtype.kind in "ui" and e.dtype is not dtypes.uint8)
        ):
            i, n = int(e), sizes[d]
            if not -n <= i < n:
                raise IndexError(f"index {i} is out of bounds for dimension {d} with size {n}")
            map_.append((i + n if i < 0 else i, ()))
        elif cls is slice:
            if e.start.__class__ is not int or e.stop.__class__ is not int:
                plain = plain and not any(isinstance(b, Tensor) for b in (e.start, e.stop, e.step))
                e = slice(_bound(e.start), _bound(e.stop), _bound(e.step))
            if e.step is not None and _bound(e.step) <= 0:  # type: ignore[operator]
                raise ValueError("step must be greater than zero")
            first, last, step = e.indices(sizes[d])
            count = len(range(first, last, step))
            map_.append((first if count else 0, ((len(shape), step),)))
            shape.append(count)
        elif e is None:
            shape.append(1)
        elif e is Ellipsis:
            if seen:
                e = slice(None)
            for _ in range(ndim - uses if not seen else 0):
                map_.append((0, ((len(shape), 1),)))
                shape.append(sizes[len(map_) - 1])
            seen = True
        elif isinstance(e, (bool, np.bool_)):
            plain = False
            advanced.append((len(shape), create.tensor([0] if e else [], dtype=dtypes.int64)))
            shape.append(1)
        elif isinstance(e, Tensor):
            if e.dtype in (dtypes.bool_, dtypes.uint8):
                if e.dtype is dtypes.uint8:
                    warnings.warn(
                        "indexing with dtype torch.uint8 is now deprecated, please use a dtype torch.bool instead.",
                        stacklevel=3,
                    )
                if e.ndim == 0:
                    advanced.append((len(shape), positions(e)))
                    shape.append(1)
                    continue
                for k, n in enumerate(e.shape):
                    if n != sizes[d + k]:
                        raise IndexError(
                            f"The shape of the mask {list(e.shape)} at index {k} does not match the "
                            f"shape of the indexed tensor {list(sizes)} at index {d + k}"
                        )
                found = [positions(e)] if e.ndim == 1 else nonzero.function(e, as_tuple=True)
                for one in found:
                    advanced.append((len(shape), one))
                    map_.append((0, ((len(shape), 1),)))
                    shape.append(sizes[len(map_) - 1])
                continue
            if e.dtype not in _INDEX_TYPES:
                raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
            advanced.append((len(shape), e))
            map_.append((0, ((len(shape), 1),)))
            shape.append(sizes[d])
        else:
            raise IndexError(
                "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables "
                f"are valid indices (got {cls.__name__})"
            )
    while len(map_) < ndim:
        map_.append((0, ((len(shape), 1),)))
        shape.append(sizes[len(map_) - 1])
    return tuple(map_), tuple(shape), advanced, plain


def _key_of(index_: Any) -> Any:
    """The index as a key: slices as triples.  None for an index that is no view."""
    cls = index_.__class__
    if cls is int:
        return index_
    if cls is slice:
        return ((index_.start, index_.stop, index_.step),)
    if cls is not tuple:
        return (index_,) if index_ is None or index_ is Ellipsis else None
    key = []
    for i in index_:
        c = i.__class__
        if c is slice:
            key.append((i.start, i.stop, i.step))
        elif c is int or i is None or i is Ellipsis:
            key.append(i)
        else:
            return None
    return tuple(key)


def _is_index(value: Any) -> bool:
    """Whether a member of an index is a tensor of indices, and nothing needs a closer look."""
    return value.__class__ is Tensor and value._layout.dtype is dtypes.int64 and value._layout.ndim > 0


def getitem(self: Tensor, index: Any) -> Tensor:
    """``tensor[index]``: a view for integers, slices, None and Ellipsis; a copy where tensors, lists or booleans take
    part.

    Raises IndexError for indices outside of their dimensions and for too many of them.
    """
    layout = self._key
    cls = index.__class__
    key = index if cls is int else _key_of(index)
    if layout is not None and not special:
        if key is not None:
            try:
                new_layout, delta, how = _views[layout, key]
            except (KeyError, TypeError):
                pass
            else:
                t = _new(Tensor)
                t._layout = t._key = new_layout
                t._storage = self._storage
                t._offset = self._offset + delta
                _record_look(self, how, t)
                return t
        elif cls is Tensor and index._layout.dtype is dtypes.int64 and layout.ndim:
            if index._layout.ndim:
                return index_rows(self, [index], (0,))
            if index._key is not None and index._storage.ptr:
                return getitem(self, create.item(index))
        elif cls is Tensor and index._layout.dtype is dtypes.bool_ and index._layout.shape == layout.shape != ():
            return pick(self, index)
        elif cls is tuple and 0 < len(index) <= layout.ndim and all(map(_is_index, index)):
            return index_rows(self, list(index), tuple(range(len(index))))
    if (
        not ordinary((self.__class__,))
        or (index.__class__ is tuple and not ordinary(map(type, index)))
        or not ordinary((index.__class__,))
    ):
        seen = [self, *(index if isinstance(index, tuple) else (index,))]
        result = overridden(getitem, seen, {}, None, (self, index))
        if result is not NotImplemented:
            return result
    map_, shape, advanced, plain = parse(self, index)
    if advanced:
        return _advanced(self, map_, shape, advanced)
    if cls is int:
        op, rest = select, (0, index)
    else:
        op, rest = region, (map_, shape)
    t = op.function(self, *rest)
    if layout is not None and plain and key is not None:
        if len(_views) >= LIMIT:
            _views.clear()
        _views[layout, key] = t._layout, t._offset - self._offset, (op, rest, None)
    return t


def _advanced(t: Tensor, map_: Any, shape: tuple[int, ...], advanced: list[tuple[int, Tensor]]) -> Tensor:
    part = t if _is_all(t, map_, shape) else region.function(t, map_, shape)
    return index.function(part, [i for _, i in advanced], tuple(d for d, _ in advanced))


def _is_all(t: Tensor, map_: Any, shape: tuple[int, ...]) -> bool:
    return shape == t.shape and all(start == 0 and terms == ((d, 1),) for d, (start, terms) in enumerate(map_))


def setitem(self: Tensor, index: Any, value: Any) -> None:
    """``tensor[index] = value``: a number or a tensor, broadcast and converted.  See ``getitem`` for errors."""
    if self.__class__ is Tensor and not special and (index.__class__ is int or _key_of(index) is not None):
        kind = value.__class__
        if kind is float or kind is int:
            getitem(self, index).fill_(value)  # type: ignore[attr-defined]
            return
        if kind is Tensor:
            part = getitem(self, index)
            if value._layout.shape == part._layout.shape:
                part.copy_(value)  # type: ignore[attr-defined]
            else:
                _assign(part, value)
            return
    if not ordinary((self.__class__, value.__class__)) or (index.__class__ is tuple and not ordinary(map(type, index))):
        seen = [self, *(index if isinstance(index, tuple) else (index,)), value]
        result = overridden(setitem, seen, {}, None, (self, index, value))
        if result is not NotImplemented:
            return
    if isinstance(value, np.ndarray):
        value = create.as_tensor(value)
    elif isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, (Tensor, bool, int, float, complex)):
        raise TypeError(f"can't assign a {type(value).__name__} to a torch.{self.dtype.name} tensor")
    mask = _only_mask(self, index)
    if mask is not None and (not isinstance(value, Tensor) or value.ndim == 0):
        self.masked_fill_(mask.reshape(*mask.shape, *(1,) * (self.ndim - mask.ndim)), value)  # type: ignore[attr-defined]
        return
    if _key_of(index) is not None:
        _assign(getitem(self, index), value)
        return
    map_, shape, advanced, _ = parse(self, index)
    part = self if _is_all(self, map_, shape) else region.function(self, map_, shape)
    if not advanced:
        _assign(part, value)
        return
    if not isinstance(value, Tensor):
        value = create.full((), value, dtype=self.dtype, device=self.device)
    elif value.dtype is not self.dtype:
        if value.ndim == 0 or value.numel() == 1 or value.dtype is self.dtype:
            value = value.to(self.dtype)  # type: ignore[attr-defined]
        else:
            raise RuntimeError(
                f"Index put requires the source and destination dtypes match, got {self.dtype} for "
                f"the destination and {value.dtype} for the source."
            )
    index_write.inplace(part, value, [i for _, i in advanced], tuple(d for d, _ in advanced), False)  # type: ignore[misc]


def _only_mask(t: Tensor, index_: Any) -> Tensor | None:
    if isinstance(index_, tuple) and len(index_) == 1:
        index_ = index_[0]
    if isinstance(index_, Tensor) and index_.dtype is dtypes.bool_ and 0 < index_.ndim <= t.ndim:
        for k, n in enumerate(index_.shape):
            if n != t.shape[k]:
                raise IndexError(
                    f"The shape of the mask {list(index_.shape)} at index {k} does not match the "
                    f"shape of the indexed tensor {list(t.shape)} at index {k}"
                )
        return index_
    return None


def _assign(part: Tensor, value: Any) -> None:
    if not isinstance(value, Tensor):
        part.fill_(value)  # type: ignore[attr-defined]
        return
    lead = value.ndim - part.ndim
    if lead > 0 and all(n == 1 for n in value.shape[:lead]):
        value = value.reshape(value.shape[lead:])  # type: ignore[attr-defined]
    if len(value.shape) > part.ndim or any(
        v not in (1, n) for v, n in zip(reversed(value.shape), reversed(part.shape))
    ):
        d = next(
            (
                part.ndim - 1 - i
                for i, (v, n) in enumerate(zip(reversed(value.shape), reversed(part.shape)))
                if v not in (1, n)
            ),
            0,
        )
        raise RuntimeError(
            f"The expanded size of the tensor ({part.shape[d] if part.ndim else 0}) must match "
            f"the existing size ({value.shape[d - part.ndim] if part.ndim else value.shape[0]}) "
            "at "
            f"non-singleton dimension {d}.  Target sizes: {list(part.shape)}.  Tensor sizes: {list(value.shape)}"
        )
    part.copy_(value)  # type: ignore[attr-defined]


def _put_parts(t: Tensor, indices: Any, name: str) -> tuple[Any, tuple[int, ...], list[tuple[int, Tensor]]]:
    if not isinstance(indices, (tuple, list)):
        raise TypeError(
            f"{name}(): argument 'indices' (position 1) must be tuple of Tensors, not {type(indices).__name__}"
        )
    map_, shape, advanced, _ = parse(
        t,
        tuple(
            slice(None)
            if i is None
            else i
            if not isinstance(i, Tensor) or i.ndim or i.dtype.kind == "b"
            else i.reshape(1)  # type: ignore[attr-defined]
            for i in indices
        ),
    )
    return map_, shape, advanced


@operator(kind="composite")
def index_put(input: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """A copy of ``input`` with ``values`` (broadcast) put at the indices, a tuple of tensors as in ``input[indices]``;
    or added there with ``accumulate``."""
    _, _, advanced = _put_parts(input, indices, "index_put")
    _same_type(input, values)
    if not advanced:
        return input.clone()  # type: ignore[attr-defined]
    return index_write.function(input, values, [i for _, i in advanced], tuple(d for d, _ in advanced), accumulate)


def _same_type(input: Tensor, values: Tensor) -> None:
    if values.dtype is not input.dtype:
        raise RuntimeError(
            f"Index put requires the source and destination dtypes match, got {input.dtype} for "
            f"the destination and {values.dtype} for the source."
        )


@blaming
def index_put_(self: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Tensor:
    """``index_put`` in place."""
    _, _, advanced = _put_parts(self, indices, "index_put_")
    _same_type(self, values)
    if advanced:
        index_write.inplace(self, values, [i for _, i in advanced], tuple(d for d, _ in advanced), accumulate)  # type: ignore[misc]
    return self


def _iterate(self: Tensor) -> Any:
    if not self._layout.ndim:
        raise TypeError("iteration over a 0-d tensor")
    return iter(self.unbind(0))  # type: ignore[attr-defined]


def _contains(self: Tensor, element: Any) -> bool:
    if not isinstance(element, (Tensor, bool, int, float, complex, np.generic)):
        raise RuntimeError(f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}.")
    return bool((self == element).any().item())  # type: ignore[attr-defined]


_MEMBERS = {
    "__getitem__": getitem,
    "__setitem__": setitem,
    "__iter__": _iterate,
    "__contains__": _contains,
    "index_put_": index_put_,
}
for _name, _member in _MEMBERS.items():
    _member.__name__ = _member.__qualname__ = _name
    setattr(Tensor, _name, _member)
