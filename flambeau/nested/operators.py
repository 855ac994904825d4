"""What operators do with nested tensors.

Along the batch and the ragged dimension there are no sizes to speak of: reductions and softmax over the ragged
dimension, products of two nested tensors and attention go through members padded to one length.  Everything else is
done on the rows of all members at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .. import ops
from ..composed import member_of
from ..dtype import bool_
from ..dtype_info import finfo, iinfo
from ..ops.convert import contiguous_format
from ..tensor import Tensor
from .structure import RaggedSize, Structure
from .tensor import NestedTensor, _dim, make_nested, pointwise

__all__ = ["METHODS", "pad", "unpad"]

_on = NestedTensor.implements


def pad(t: NestedTensor, value: Any, width: int | None = None) -> Any:
    """The members as one dense tensor, filled up along the ragged dimension with ``value``."""
    parts, at = t._parts, t._ragged - 1
    width = parts.longest if width is None else width
    rows = t._valid().movedim(at, 0)
    full = ops.full((parts.count * width, *rows.shape[1:]), value, dtype=rows.dtype, device=rows.device)
    if rows.shape[0]:
        full = full.index_copy(0, parts.places(width), rows)  # type: ignore[attr-defined]
    return full.reshape((parts.count, width, *rows.shape[1:])).movedim(1, at + 1)  # type: ignore[attr-defined]


def unpad(full: Any, like: NestedTensor, ragged: int | None = None) -> Any:
    """A nested tensor of the rows of dense members that ``like`` has: what ``pad`` undoes."""
    ragged = like._ragged if ragged is None else ragged
    parts = like._parts if like._parts.lengths is None else Structure.of_sizes(like._parts.sizes)
    moved = full.movedim(ragged, 1)
    rows = moved.reshape((-1, *moved.shape[2:])).index_select(0, parts.places(moved.shape[1]))
    return make_nested(rows.movedim(0, ragged - 1), parts, ragged, like._strided)


def _refuse(name: str, what: str) -> RuntimeError:
    return RuntimeError(f"{name}(): not supported for NestedTensor on {what}")


def _inner(t: NestedTensor, dim: int, name: str) -> int:
    """A dimension of the rows; RuntimeError for the batch and for the ragged one."""
    d = _dim(t, dim, name)
    if d == 0 or d == t._ragged:
        raise _refuse(name, "dim=0" if d == 0 else "ragged dim")
    return d - 1


# -- members ---------------------------------------------------------------------------------------------


@_on("unbind")
def unbind(self: NestedTensor, dim: int = 0) -> tuple[Any, ...]:
    """The members."""
    if _dim(self, dim, "unbind") != 0:
        raise RuntimeError("unbind(): only supported for NestedTensor on dim=0")
    parts, at = self._parts, self._ragged - 1
    if parts.lengths is None:
        return tuple(self._data.split(parts.sizes, at)) if parts.count else ()
    return tuple(self._data.narrow(at, first, n) for first, n in zip(parts.starts, parts.sizes))


@_on("__iter__")
def _iterate(self: NestedTensor) -> Any:
    return iter(unbind(self))


@_on("select")
def _select(self: NestedTensor, dim: int, index: int) -> Any:
    if _dim(self, dim, "select") == 0:
        return unbind(self)[index]
    at = _inner(self, dim, "select")
    return self._like(self._data.select(at, index), self._ragged - (at + 1 < self._ragged))


@_on("__getitem__")
def _getitem(self: NestedTensor, index: Any) -> Any:
    items = index if isinstance(index, tuple) else (index,)
    if Ellipsis in [x for x in items if x is Ellipsis]:
        place = next(i for i, x in enumerate(items) if x is Ellipsis)
        items = (*items[:place], *[slice(None)] * (self._data.ndim + 2 - len(items)), *items[place + 1 :])
    if items and isinstance(items[0], int):
        if not -self._parts.count <= items[0] < self._parts.count:
            raise IndexError(f"index {items[0]} is out of bounds for dimension 0 with size {self._parts.count}")
        member = unbind(self)[items[0]]
        return member[items[1:]] if items[1:] else member
    whole = slice(None)
    for d in (0, self._ragged):
        if d < len(items) and items[d] != whole:
            raise _refuse("slice", f"dim={d}" if d == 0 else "ragged dim")
    if any(not isinstance(x, (int, slice)) for x in items):
        raise _refuse("index", "other than ints and slices")
    dropped = sum(isinstance(x, int) for x in items[1 : self._ragged])
    return self._like(self._data[items[1:]], self._ragged - dropped)


@_on("to_padded_tensor")
def to_padded_tensor(self: NestedTensor, padding: float, output_size: Sequence[int] | None = None) -> Any:
    """The members filled up with ``padding`` to the longest, or to the sizes ``output_size``.  RuntimeError for sizes
    that are too small."""
    found = pad(self, padding)
    if output_size is None:
        return found
    if len(output_size) != found.ndim or any(n < m for n, m in zip(output_size, found.shape)):
        raise RuntimeError(
            f"to_padded_tensor(): output_size {tuple(output_size)} is too small for members of sizes "
            f"{tuple(found.shape)}"
        )
    more = [x for n, m in zip(reversed(output_size), reversed(found.shape)) for x in (0, n - m)]
    return ops.constant_pad_nd(found, more, padding)


# -- shapes ------------------------------------------------------------------------------------------------


@_on("transpose", "swapaxes", "swapdims")
def _transpose(self: NestedTensor, dim0: int, dim1: int) -> Any:
    a, b = (_dim(self, d, "transpose") for d in (dim0, dim1))
    if 0 in (a, b):
        raise _refuse("transpose", "dim=0")
    ragged = b if self._ragged == a else a if self._ragged == b else self._ragged
    return self._like(self._data.transpose(a - 1, b - 1), ragged)


_on("mT")(lambda self: _transpose(self, -2, -1))


@_on("permute")
def _permute(self: NestedTensor, *dims: Any) -> Any:
    order = [_dim(self, d, "permute") for d in (dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims)]
    if order[0] != 0 or sorted(order) != list(range(self._data.ndim + 1)):
        raise RuntimeError(f"permute(): dims {order} must name every dimension, and begin with the batch (0)")
    return self._like(self._data.permute([d - 1 for d in order[1:]]), order.index(self._ragged))


@_on("unsqueeze")
def _unsqueeze(self: NestedTensor, dim: int) -> Any:
    n = self._data.ndim + 2
    if not -n <= dim < n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but got {dim})")
    d = dim % n
    if d == 0:
        raise _refuse("unsqueeze", "dim=0")
    return self._like(self._data.unsqueeze(d - 1), self._ragged + (d <= self._ragged))


@_on("squeeze")
def _squeeze(self: NestedTensor, dim: Any = None) -> Any:
    if dim is None:
        raise RuntimeError("squeeze(): a NestedTensor needs to be told which dim to squeeze")
    found = self
    dims = [_dim(self, d, "squeeze") for d in ((dim,) if isinstance(dim, int) else dim)]
    for d in sorted(dims, reverse=True):
        at = _inner(self, d, "squeeze")
        if found._data.shape[at] == 1:
            found = found._like(found._data.squeeze(at), found._ragged - (at + 1 < found._ragged))
    return found


@_on("view", "reshape")
def _view(self: NestedTensor, *shape: Any, **named: Any) -> Any:
    sizes = next(iter(named.values())) if named else shape[0] if len(shape) == 1 else shape
    if isinstance(sizes, type(self.dtype)):
        return self._like(self._data.view(sizes))
    sizes = list(sizes)
    if len(sizes) < 2 or sizes[0] not in (self._parts.count, -1):
        raise RuntimeError(f"view(): shape {sizes} is invalid for a NestedTensor of {self._parts.count} members")
    symbols = [i for i, n in enumerate(sizes) if isinstance(n, RaggedSize)]
    unknown = [i for i, n in enumerate(sizes) if not isinstance(n, RaggedSize) and n == -1 and i]
    ragged = (symbols or unknown or [0])[0]
    if ragged != self._ragged or (symbols and sizes[ragged] != self._parts.symbol):
        raise RuntimeError(f"view(): shape {sizes} is invalid: the ragged dimension {self._ragged} stays as it is")
    sizes[ragged] = self._data.shape[self._ragged - 1]
    return self._like(self._data.reshape(sizes[1:]))


@_on("flatten")
def _flatten(self: NestedTensor, start_dim: int = 0, end_dim: int = -1) -> Any:
    first, last = (_dim(self, d, "flatten") for d in (start_dim, end_dim))
    if first == 0:
        raise _refuse("flatten", "dim=0")
    if first <= self._ragged <= last and first != last:
        raise _refuse("flatten", "ragged dim")
    return self._like(self._data.flatten(first - 1, last - 1), self._ragged - (last - first) * (last < self._ragged))


@_on("unflatten")
def _unflatten(self: NestedTensor, dim: int, *sizes: Any, **named: Any) -> Any:
    at = _inner(self, dim, "unflatten")
    found = self._data.unflatten(at, *sizes, **named)
    return self._like(found, self._ragged + (found.ndim - self._data.ndim) * (at + 1 < self._ragged))


def _pieces(name: str) -> Callable[..., Any]:
    def operator(self: NestedTensor, sizes: Any, dim: int = 0) -> Any:
        if _dim(self, dim, name) == 0 and name == "chunk":
            members = unbind(self)
            step = -(-len(members) // sizes) if members else 1
            groups = [members[i : i + step] for i in range(0, len(members), step)]
            return tuple(_joined(g, self._ragged, self._strided) for g in groups)
        return tuple(self._like(x) for x in getattr(self._data, name)(sizes, _inner(self, dim, name)))

    return operator


for _name in ("split", "chunk", "tensor_split", "split_with_sizes"):
    _on(_name)(_pieces(_name))


def _joined(members: Sequence[Any], ragged: int, strided: bool) -> NestedTensor:
    """A nested tensor of members that differ in their dimension ``ragged - 1`` only."""
    parts = Structure.of_sizes([m.shape[ragged - 1] for m in members])
    return make_nested(ops.cat(list(members), ragged - 1), parts, ragged, strided)


@_on("narrow")
def _narrow(self: NestedTensor, dim: int, start: int, length: int) -> Any:
    return self._like(self._data.narrow(_inner(self, dim, "narrow"), start, length))


@_on("cat", "concat", "concatenate")
def _cat(tensors: Sequence[Any], dim: int = 0, **named: Any) -> Any:
    dim = named.get("axis", dim)
    like = next(t for t in tensors if isinstance(t, NestedTensor))
    if _dim(like, dim, "cat") == 0 and all(isinstance(t, NestedTensor) for t in tensors):
        members = [m for t in tensors for m in unbind(t)]
        return _joined(members, like._ragged, like._strided)
    at = _inner(like, dim, "cat")
    return pointwise("cat", lambda values: ops.cat(values, at), (list(tensors),), {})


@_on("stack")
def _stack(tensors: Sequence[Any], dim: int = 0) -> Any:
    raise _refuse("stack", f"dim={dim}")


@_on("contiguous")
def _contiguous(self: NestedTensor, memory_format: Any = contiguous_format) -> Any:
    if self._parts.lengths is None:
        return self._like(self._data.contiguous())
    return make_nested(self._valid(), Structure.of_sizes(self._parts.sizes), self._ragged, self._strided)


@_on("expand_as", "view_as", "reshape_as")
def _as_other(self: Any, other: NestedTensor) -> Any:
    return other._like(self._data.expand(other._data.shape)) if isinstance(self, NestedTensor) else other * 0 + self


# -- reductions ----------------------------------------------------------------------------------------------

_IDENTITY: dict[str, Callable[[Any], Any]] = {
    "sum": lambda kind: 0, "mean": lambda kind: 0, "prod": lambda kind: 1, "all": lambda kind: True,
    "any": lambda kind: False, "amax": lambda kind: _extreme(kind, -1), "amin": lambda kind: _extreme(kind, 1),
    "argmax": lambda kind: _extreme(kind, -1), "argmin": lambda kind: _extreme(kind, 1),
    "logsumexp": lambda kind: -math.inf, "max": lambda kind: _extreme(kind, -1), "min": lambda kind: _extreme(kind, 1),
    "norm": lambda kind: 0, "count_nonzero": lambda kind: 0,
}  # fmt: skip


def _extreme(kind: Any, sign: int) -> Any:
    if kind is bool_:
        return sign > 0
    info = finfo(kind) if kind.is_floating_point else iinfo(kind)
    return sign * math.inf if kind.is_floating_point else info.max if sign > 0 else info.min


def _reduction(name: str) -> Callable[..., Any]:
    form = getattr(ops, name)

    def operator(self: NestedTensor, dim: Any = None, keepdim: bool = False, **named: Any) -> Any:
        keepdim = named.pop("keepdims", keepdim)
        dim = named.pop("axis", dim)
        if dim is None:
            return form(self._valid(), **named)
        return _over(name, form, self, [dim] if isinstance(dim, int) else list(dim), keepdim, named)

    return operator


def _over(name: str, form: Any, t: NestedTensor, dim: Sequence[int], keepdim: bool, named: dict[str, Any]) -> Any:
    """A reduction over some dimensions."""
    dims = sorted({_dim(t, d, name) for d in dim})
    several = len(dims) > 1
    if 0 in dims:
        if t._ragged not in dims:
            raise RuntimeError(
                f"{name}(): reducing along the batch dimension but not the ragged dimension is not supported for "
                "nested tensors"
            )
        rows = t._valid()
        inner = [d - 1 for d in dims if d]
        found = form(rows, inner if len(inner) > 1 else inner[0], keepdim, **named)
        return found.unsqueeze(0) if keepdim else found
    if t._ragged not in dims:
        found = form(t._data, [d - 1 for d in dims] if several else dims[0] - 1, keepdim, **named)
        ragged = t._ragged - (0 if keepdim else sum(d < t._ragged for d in dims))
        if isinstance(found, tuple):
            return type(found)(*(t._like(x, ragged) for x in found))
        return t._like(found, ragged)
    if several:
        raise RuntimeError(
            f"{name}(): reducing along a ragged and non-batch dimension is not supported for nested tensors"
        )
    if name == "mean":
        total = pad(t, 0).sum(t._ragged, keepdim, **named)
        count = t._parts.tensor_of_sizes.to(total.dtype)
        return total / count.reshape([-1] + [1] * (total.ndim - 1))
    return form(pad(t, _IDENTITY[name](t.dtype)), t._ragged, keepdim, **named)


for _name in "sum mean prod all any amax amin argmax argmin logsumexp count_nonzero".split():
    _on(_name)(_reduction(_name))


def _extremes(name: str) -> Callable[..., Any]:
    reduction = _reduction(name)

    def operator(self: NestedTensor, dim: Any = None, keepdim: bool = False, other: Any = None, **named: Any) -> Any:
        other = dim if isinstance(dim, Tensor) else other
        if other is not None:
            return pointwise(f"{name}imum", getattr(ops, f"{name}imum"), (self, other), {})
        return reduction(self, dim, keepdim, **named)

    return operator


for _name in ("max", "min"):
    _on(_name)(_extremes(_name))


def _spread(name: str) -> Callable[..., Any]:
    """Variance and its root: the mean square of what is left without the mean."""

    def operator(
        self: NestedTensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
        correction: float | None = None,
    ) -> Any:  # fmt: skip
        by = correction if correction is not None else 1.0 if unbiased is None or unbiased else 0.0
        if dim is None:
            return getattr(ops, name)(self._valid(), correction=by)
        dims = [_dim(self, d, name) for d in ((dim,) if isinstance(dim, int) else dim)]
        if self._ragged not in dims:
            at = [d - 1 for d in dims]
            found = getattr(ops, name)(self._data, at, correction=by, keepdim=keepdim)
            return self._like(found, self._ragged - (0 if keepdim else sum(d < self._ragged for d in dims)))
        off = self - _over("mean", ops.mean, self, dims, True, {})
        total = _over("sum", ops.sum, off * off, dims, keepdim, {})
        count = (self._parts.tensor_of_sizes.to(total.dtype) - by).clamp(min=0)
        found = total / count.reshape([-1] + [1] * (total.ndim - 1))
        return found.sqrt() if name == "std" else found

    return operator


for _name in ("var", "std"):
    _on(_name)(_spread(_name))


@_on("norm")
def _norm(
    self: NestedTensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None, **named: Any
) -> Any:
    if dim is None:
        return self._valid().norm(p, dtype=dtype)
    form = lambda x, d, keep: x.norm(p, d, keep, dtype)  # noqa: E731
    return _over("norm", form, self, [dim] if isinstance(dim, int) else list(dim), keepdim, {})


def _along(name: str, filler: Callable[[Any], Any]) -> Callable[..., Any]:
    """An operator along one dimension that keeps the shape."""

    def operator(self: NestedTensor, dim: int, *args: Any, **named: Any) -> Any:
        form = getattr(ops, name)
        d = _dim(self, dim, name)
        if d == 0:
            raise _refuse(name, "dim=0")
        if d == self._ragged:
            return unpad(form(pad(self, filler(self.dtype)), d, **named), self)
        return self._like(form(self._data, d - 1, **named))

    return operator


for _name, _filler in (
    ("softmax", -math.inf), ("log_softmax", -math.inf), ("cumsum", 0), ("cumprod", 1), ("logcumsumexp", -math.inf),
):  # fmt: skip
    _on(_name)(_along(_name, lambda kind, value=_filler: value))
    _on(f"_{_name}")(_along(_name, lambda kind, value=_filler: value))


@_on("equal")
def _equal(input: Any, other: Any) -> bool:
    both = isinstance(input, NestedTensor) and isinstance(other, NestedTensor)
    if not both or input._parts.sizes != other._parts.sizes or input._ragged != other._ragged:
        return False
    return bool(ops.equal(input._valid(), other._valid()))


@_on("allclose")
def _allclose(input: Any, other: Any, *args: Any, **named: Any) -> bool:
    if input._parts.sizes != other._parts.sizes:
        raise RuntimeError("allclose(): the members of the nested tensors differ in size")
    return bool(ops.allclose(input._valid(), other._valid(), *args, **named))


@_on("item")
def _item(self: NestedTensor) -> Any:
    if self.numel() != 1:
        raise RuntimeError(f"a Tensor with {self.numel()} elements cannot be converted to Scalar")
    return self._valid().item()


# -- layers --------------------------------------------------------------------------------------------------


@_on("linear")
def _linear(input: NestedTensor, weight: Any, bias: Any = None) -> Any:
    if input._ragged == input._data.ndim:
        raise _refuse("linear", "ragged dim as the last")
    return input._like(ops.linear(input._data, weight, bias))


def _normalized(name: str) -> Callable[..., Any]:
    def operator(input: NestedTensor, normalized_shape: Sequence[int], *args: Any, **named: Any) -> Any:
        if input._data.ndim + 1 - len(normalized_shape) <= input._ragged:
            raise RuntimeError(f"{name}(): normalizing over the ragged dimension not supported for NestedTensor")
        return input._like(getattr(ops, name)(input._data, normalized_shape, *args, **named))

    return operator


for _name in ("layer_norm", "rms_norm"):
    _on(_name)(_normalized(_name))


@_on("embedding")
def _embedding(*args: Any, **named: Any) -> Any:
    like = next(x for x in (*args, *named.values()) if isinstance(x, NestedTensor))
    values = [x._data if x is like else x for x in args]
    return like._like(ops.embedding(*values, **{k: v._data if v is like else v for k, v in named.items()}))


@_on("matmul", "bmm", "__matmul__", "__rmatmul__")
def _matmul(input: Any, other: Any) -> Any:
    a, b = input, other
    nested = [x for x in (a, b) if isinstance(x, NestedTensor)]
    if len(nested) == 2:
        if a._parts is not b._parts or not (a._ragged == a._data.ndim and b._ragged == b._data.ndim - 1):
            raise RuntimeError(
                f"matmul(): not supported between inputs of shapes {tuple(a.shape)} and {tuple(b.shape)}"
            )
        return ops.matmul(pad(a, 0), pad(b, 0))
    t = nested[0]
    last = t._data.ndim
    if t is a and b.ndim == 2 and t._ragged != last:
        return t._like(ops.matmul(t._data, b))
    if t is b and a.ndim == 2 and t._ragged != last - 1:
        return t._like(ops.matmul(a, t._data))
    if (t is a and t._ragged == last) or (t is b and t._ragged == last - 1):
        raise RuntimeError(
            f"matmul(): not supported between inputs of shapes {tuple(a.shape)} and {tuple(b.shape)}: the ragged "
            "dimension would be summed over"
        )
    dense = [pad(x, 0) if x is t else x for x in (a, b)]
    return unpad(ops.matmul(*dense), t)


@_on("scaled_dot_product_attention")
def _attention(
    query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    """Attention of each member's queries to its keys: of (batch, heads, ragged, features)."""
    for name, t in (("query", query), ("key", key), ("value", value)):
        if not isinstance(t, NestedTensor) or t._ragged != t._data.ndim - 1:
            raise RuntimeError(
                f"scaled_dot_product_attention: expected {name} to be a nested tensor that is ragged in its last "
                "dimension but one"
            )
    if key._parts.sizes != value._parts.sizes or query._parts.count != key._parts.count:
        raise RuntimeError("scaled_dot_product_attention: key and value must have members of the same sizes")
    if attn_mask is not None:
        raise RuntimeError("NestedTensor: scaled_dot_product_attention does not take attn_mask with nested tensors")
    width = key._parts.longest
    inside = ops.arange(width) < key._parts.tensor_of_sizes.unsqueeze(1)
    mask = inside.reshape((key._parts.count, *[1] * (key._data.ndim - 1), width))  # type: ignore[attr-defined]
    if is_causal:
        mask = mask & ops.ones((query._parts.longest, width), dtype=bool_).tril()  # type: ignore[attr-defined]
    found = ops.scaled_dot_product_attention(
        pad(query, 0), pad(key, 0), pad(value, 0), mask, dropout_p, False, scale=scale, enable_gqa=enable_gqa
    )
    return unpad(found, query)


# -- methods of every tensor ---------------------------------------------------------------------------------


def _dense_to_padded(self: Any, padding: float, output_size: Any = None) -> Any:
    """The members of a nested tensor as one dense tensor, filled up with ``padding`` to the longest, or to the sizes
    ``output_size``; NotImplementedError for a dense tensor."""
    raise NotImplementedError(
        "Could not run 'aten::to_padded_tensor' with arguments from the 'CPU' backend: it is of nested tensors"
    )


METHODS = {"to_padded_tensor": member_of("to_padded_tensor", _dense_to_padded)}
