"""Tensors joined into one: side by side, on top of one another, in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import primitives as prim
from ..dispatch.operator import Tensors, operator
from ..dtype import get_default_dtype
from ..graph.node import broadcast_shapes as broadcast_shape
from ..layout import Size, dense, image_strides, lies_last, of
from ..promotion import result_type
from ..tensor import Tensor, empty
from .common import dim_of, overridable

__all__: list[str] = []


def _wide(t: Tensor) -> bool:
    """Whether a tensor takes part in ``cat``: PyTorch skips empty ones of one dimension, whatever the others are."""
    return t._layout.shape != (0,)


@operator(method=False, aliases=("concat",))
def cat(tensors: Tensors, dim: int = 0) -> Tensor:
    """The tensors one after the other along ``dim``; element types are promoted.

    All other sizes must agree (RuntimeError); empty tensors of one dimension are skipped.
    """
    if not tensors:
        raise ValueError("expected a non-empty list of Tensors")
    for i, t in enumerate(tensors):
        if not t.ndim:
            raise RuntimeError(f"zero-dimensional tensor (at position {i}) cannot be concatenated")
    kind = result_type(tensors)
    parts = [t for t in tensors if _wide(t)]
    if not parts:
        dim_of(dim, 1, "cat")
        return prim.undef((0,), kind)
    first = parts[0].shape
    d = dim_of(dim, len(first), "cat")
    for i, t in enumerate(tensors):
        if not _wide(t):
            continue
        if t.ndim != len(first):
            raise RuntimeError(f"Tensors must have same number of dimensions: got {len(first)} and {t.ndim}")
        for k, (n, m) in enumerate(zip(first, t.shape)):
            if n != m and k != d:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {d}. Expected size {n} but got "
                    f"size {m} for tensor number {i} in the list."
                )
    shape = [*first]
    shape[d] = sum(t.shape[d] for t in parts)
    if len(parts) == 1:
        return prim.cast(prim.wrap(prim.read(parts[0])), kind)
    out = prim.undef(shape, kind)
    start = 0
    for t in parts:
        if t.shape[d]:
            place = tuple((start if k == d else 0, ((k, 1),)) for k in range(len(shape)))
            out = prim.update(out, prim.cast(t, kind), place)
            start += t.shape[d]
    last = [t._layout for t in parts]
    if all(map(lies_last, last)):
        strides = image_strides(shape, last)
        return prim.wrap(prim.read(out), strides, of(kind, out.device, shape, strides))
    return out


cat.apart = True


@cat.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    layouts = ctx.tensors
    first = next((x for x in layouts if x.shape != (0,)), None)
    if first is None:
        return ([grad.new_zeros((0,)) for _ in layouts],)
    d = ctx.dim % first.ndim
    found, start = [], 0
    for x in layouts:
        if x.shape == (0,):
            found.append(grad.new_zeros((0,)))
        else:
            found.append(grad.narrow(d, start, x.shape[d]))
            start += x.shape[d]
    return (found,)


@operator(
    kind="composite", method=False, synonyms={"axis": ("dim",)}, loose=("out",),
    overloads=("concatenate(tensors, axis=0, out=None)", "concatenate(tensors, dim=0, out=None)"),
)  # fmt: skip
def concatenate(tensors: Tensors, axis: int = 0) -> Tensor:
    """The tensors one after the other along ``axis``: numpy's name for ``cat``."""
    return cat.function(tensors, axis)  # type: ignore[no-any-return]


@operator(method=False)
def stack(tensors: Tensors, dim: int = 0) -> Tensor:
    """The tensors, all of one shape (RuntimeError), along a new dimension ``dim``; element types are promoted."""
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    shape = tensors[0].shape
    d = dim_of(dim, len(shape) + 1, "stack")
    for i, t in enumerate(tensors):
        if t.shape != shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(shape)} at entry 0 and "
                f"{list(t.shape)} at entry {i}"
            )
    kind = result_type(tensors)
    out = prim.undef((*shape[:d], len(tensors), *shape[d:]), kind)
    if 0 in shape:
        return out
    for i, t in enumerate(tensors):
        place = tuple((i, ()) if k == d else (0, ((k - (k > d), 1),)) for k in range(len(shape) + 1))
        out = prim.update(out, prim.cast(t, kind), place)
    return out


@stack.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return (list(grad.unbind(ctx.dim)),)


def _each(tensors: Sequence[Tensor] | tuple[Sequence[Tensor]]) -> Sequence[Tensor]:
    """The tensors of ``f(a, b)`` or ``f([a, b])``; raises TypeError for anything else among them."""
    found = tensors[0] if len(tensors) == 1 and isinstance(tensors[0], (tuple, list)) else tensors
    for i, t in enumerate(found):
        if not isinstance(t, Tensor):
            raise TypeError(f"expected Tensor as element {i} in the arguments, but got {type(t).__name__}")
    return found  # type: ignore[return-value]


def _at_least(name: str, shape_of_: Any, text: str) -> Any:
    def body(*tensors: Any) -> Any:
        if len(tensors) == 1 and isinstance(tensors[0], Tensor):
            return shape_of_(tensors[0])
        return tuple(shape_of_(t) for t in _each(tensors))

    body.__name__ = body.__qualname__ = name
    body.__doc__ = text
    return overridable(body)


def _to_2d(t: Tensor) -> Tensor:
    return t.reshape(1, 1) if t.ndim == 0 else t.unsqueeze(0) if t.ndim == 1 else t  # type: ignore[attr-defined]


def _to_3d(t: Tensor) -> Tensor:
    if t.ndim == 0:
        return t.reshape(1, 1, 1)  # type: ignore[attr-defined]
    return t.unsqueeze(0).unsqueeze(-1) if t.ndim == 1 else t.unsqueeze(-1) if t.ndim == 2 else t  # type: ignore[attr-defined]


atleast_1d = _at_least(
    "atleast_1d", lambda t: t.reshape(1) if t.ndim == 0 else t, "Tensors with at least one dimension: views."
)
atleast_2d = _at_least("atleast_2d", _to_2d, "Tensors with at least two dimensions: views.")
atleast_3d = _at_least("atleast_3d", _to_3d, "Tensors with at least three dimensions: views.")


@operator(kind="composite", method=False)
def hstack(tensors: Tensors) -> Tensor:
    """The tensors side by side: along dimension 1, or 0 if they have one dimension."""
    if not tensors:
        raise RuntimeError("hstack expects a non-empty TensorList")
    rows = atleast_1d(*tensors) if len(tensors) > 1 else (atleast_1d(tensors[0]),)
    return cat.function(list(rows), 0 if rows[0].ndim == 1 else 1)


@operator(kind="composite", method=False, aliases=("row_stack",))
def vstack(tensors: Tensors) -> Tensor:
    """The tensors on top of one another, as matrices at least."""
    if not tensors:
        raise RuntimeError("vstack expects a non-empty TensorList")
    return cat.function([_to_2d(t) for t in tensors], 0)


@operator(kind="composite", method=False)
def dstack(tensors: Tensors) -> Tensor:
    """The tensors one behind the other, along dimension 2."""
    if not tensors:
        raise RuntimeError("dstack expects a non-empty TensorList")
    return cat.function([_to_3d(t) for t in tensors], 2)


@operator(kind="composite", method=False)
def column_stack(tensors: Tensors) -> Tensor:
    """The tensors side by side, those of one dimension as columns."""
    if not tensors:
        raise RuntimeError("column_stack expects a non-empty TensorList")
    return cat.function([t.reshape(t.numel(), 1) if t.ndim <= 1 else t for t in tensors], 1)  # type: ignore[attr-defined]


@operator(name="_block_diag", method=False, function=False)
def _block_diag(tensors: Tensors) -> Tensor:
    """Matrices along the diagonal of a matrix of zeros."""
    shape = (sum(t.shape[0] for t in tensors), sum(t.shape[1] for t in tensors))
    kind = result_type(tensors)
    out = prim.const(0, kind, shape)
    row = column = 0
    for t in tensors:
        if t.numel():
            out = prim.update(out, prim.cast(t, kind), ((row, ((0, 1),)), (column, ((1, 1),))))
        row, column = row + t.shape[0], column + t.shape[1]
    return out


@_block_diag.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    found, row, column = [], 0, 0
    for x in ctx.tensors:
        found.append(grad.narrow(0, row, x.shape[0]).narrow(1, column, x.shape[1]))
        row, column = row + x.shape[0], column + x.shape[1]
    return (found,)


@overridable
def block_diag(*tensors: Tensor) -> Tensor:
    """Tensors of at most two dimensions as blocks along the diagonal of a matrix of zeros."""
    blocks = list(_each(tensors))
    if not blocks:
        return empty(dense(get_default_dtype(), (1, 0)))
    for i, t in enumerate(blocks):
        if t.ndim > 2:
            raise RuntimeError(
                f"torch.block_diag: Input tensors must have 2 or fewer dimensions. Input {i} has {t.ndim} dimensions"
            )
    return _block_diag.function([_to_2d(t) for t in blocks])


@operator(name="_broadcast_tensors", kind="composite", method=False, function=False)
def _broadcast_tensors(tensors: Tensors) -> tuple[Tensor, ...]:
    shape = broadcast_shape(*(t.shape for t in tensors))
    return tuple(t.expand(shape) for t in tensors)  # type: ignore[attr-defined]


@overridable
def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """The tensors expanded to the shape to which all broadcast: views.  Raises RuntimeError if there is none."""
    return _broadcast_tensors.function(list(_each(tensors)))


def broadcast_shapes(*shapes: Any) -> Any:
    """The shape to which all these shapes broadcast.  Raises RuntimeError if there is none."""
    sizes = [(s,) if isinstance(s, int) else tuple(s) for s in shapes]
    if any(n < 0 for s in sizes for n in s):
        raise RuntimeError(
            f"Trying to create tensor with negative dimension ({min(n for s in sizes for n in s)}): {sizes}"
        )
    try:
        return Size(broadcast_shape(*sizes))
    except RuntimeError:
        raise RuntimeError(
            f"Shape mismatch: objects cannot be broadcast to a single shape: {[list(s) for s in sizes]}"
        ) from None


@overridable
def meshgrid(*tensors: Any, indexing: str | None = None) -> tuple[Tensor, ...]:
    """The coordinates of the grid that 1-dim tensors span: expanded views, one for each tensor.

    ``indexing`` "ij" (the default) counts the first tensor along the first dimension, "xy" along the second.
    """
    each: list[Any] = list(_each(tensors))
    if not each:
        raise ValueError("meshgrid expects a non-empty TensorList")
    for t in each:
        if t.ndim > 1:
            raise RuntimeError(f"torch.meshgrid: Expected 0D or 1D tensor in the tensor list but got: {t}")
        if t.dtype is not each[0].dtype:
            raise RuntimeError("torch.meshgrid expects all tensors to have the same dtype")
    if indexing not in (None, "ij", "xy"):
        raise RuntimeError(f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}')
    swap = indexing == "xy" and len(each) >= 2
    if swap:
        each[0], each[1] = each[1], each[0]
    shape = [t.numel() for t in each]
    grids = [
        t.reshape([n if k == i else 1 for k in range(len(each))]).expand(shape)
        for i, (t, n) in enumerate(zip(each, shape))
    ]
    if swap:
        grids[0], grids[1] = grids[1], grids[0]
    return tuple(grids)


@overridable
def cartesian_prod(*tensors: Any) -> Tensor:
    """All combinations of one element of each 1-dim tensor, as rows."""
    each = list(_each(tensors))
    for t in each:
        if t.ndim != 1:
            raise RuntimeError(f"Expect a 1D vector, but got shape {list(t.shape)}")
    if len(each) == 1:
        return each[0]
    return stack.function([g.reshape(-1) for g in meshgrid(*each, indexing="ij")], 1)  # type: ignore[attr-defined]


__all__ += [
    "atleast_1d", "atleast_2d", "atleast_3d", "block_diag", "broadcast_shapes", "broadcast_tensors", "cartesian_prod",
    "meshgrid",
]  # fmt: skip
