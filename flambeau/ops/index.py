"""``tensor[...]`` and ``tensor[...] = value``: integers, slices, None, Ellipsis, masks and tensors of indices.

Integers and slices give views.  Everything else gathers: masks become the positions where they hold, the indices are
broadcast together, and one kernel reads at them.  Every index is checked before memory is read or written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dtype as dtypes
from .. import primitives as prim
from ..autograd import tape
from ..dispatch.call import special
from ..dispatch.operator import Tensors, operator
from ..dispatch.torch_function import ordinary, overridden
from ..graph.node import broadcast_shapes
from ..tensor import Tensor
from . import create, from_data
from .common import blaming
from .masks import masked_select
from .region import region, select
from .subscript import check_mask, parse

__all__: list[str] = []

_new = object.__new__
_record_look = tape.record_look
_views: dict[Any, Any] = {}
LIMIT = 20_000


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


@operator(strides="first", name="_index_write", inplace=True, method=False, function=False, out=False)
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


index_write.disjoint = ("values",)
index_write.spoken = "index_put"
index_write.linear = True  # where indices repeat, the gradient is not the transpose (nor is PyTorch's)


@index_write.gradient("indices")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    indices = list(ctx.indices)
    rest = None
    if ctx.needs("input"):
        rest = grad if ctx.accumulate else index_write.function(grad, grad.new_zeros(()), indices, ctx.dims, False)
    return rest, index.function(grad, indices, ctx.dims) if ctx.needs("values") else None, None


# -- the language's brackets -------------------------------------------------------------------------


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
                return getitem(self, from_data.item(index))
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
        value = from_data.as_tensor(value)
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
        check_mask(index_, t.shape)
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
