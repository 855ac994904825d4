"""Views: other shapes and strides over the same storage."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..autograd.mode import state as grad_state
from ..dispatch.operator import operator
from ..dtype import dtype as dtype_
from ..layout import Size, contiguous_strides, of
from ..tensor import Tensor, make, materialize
from ..tensor import view as make_view
from ..transform.level import Wrapper
from .common import dim_of, dims_of, infer_size, shape_of

__all__: list[str] = []


def view_strides(shape: Sequence[int], strides: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...] | None:
    """The strides with which ``wanted`` sees the elements of a strided tensor in row-major order; None when it cannot
    without copying.

    Dimensions that lie one after the other in memory form blocks; each must be split into whole dimensions of
    ``wanted``.
    """
    if 0 in wanted:
        return contiguous_strides(wanted)
    blocks: list[list[int]] = []  # [size, stride of the innermost]
    for n, s in zip(shape, strides):
        if n == 1:
            continue
        if blocks and blocks[-1][1] == n * s:
            blocks[-1] = [blocks[-1][0] * n, s]
        else:
            blocks.append([n, s])
    result: list[int | None] = [None] * len(wanted)
    at = len(wanted) - 1
    for size, stride in reversed(blocks):
        while size > 1:
            while at >= 0 and wanted[at] == 1:
                at -= 1
            if at < 0 or size % wanted[at]:
                return None
            result[at] = stride
            stride *= wanted[at]
            size //= wanted[at]
            at -= 1
    below = 1
    for i in range(len(wanted) - 1, -1, -1):  # dimensions of size 1 step over what lies inside them
        step = result[i]
        result[i] = step = below if step is None else step
        below = step * wanted[i]
    return tuple(result)  # type: ignore[arg-type]


@operator(name="view", kind="view", function=False)
def view(input: Tensor, shape: Size) -> Tensor:
    """The same elements in row-major order with another shape, over the same memory.

    One size may be -1.  Raises RuntimeError if the strides do not allow it (``reshape`` copies then).
    """
    layout = input._layout
    wanted = infer_size(shape, layout.numel, "view")
    strides = view_strides(layout.shape, layout.strides, wanted)
    if strides is None:
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one dimension spans across two "
            "contiguous subspaces). Use .reshape(...) instead."
        )
    return make_view(input, wanted, strides, input._offset)


@view.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad.reshape(ctx.shape("input"))


@operator(kind="composite")
def reshape(input: Tensor, shape: Sequence[int]) -> Tensor:
    """The same elements in row-major order with another shape: a view where the strides allow it, otherwise a copy."""
    layout = input._layout
    wanted = shape if shape.__class__ is Size else shape_of((shape,), "reshape")
    if (input._key, wanted) in view.hot:
        return view.function(input, wanted)
    wanted = infer_size(wanted, layout.numel, "reshape")
    if view_strides(layout.shape, layout.strides, wanted) is None:
        return reshaped_copy.function(input, wanted)
    return view.function(input, wanted)


@operator(name="_unsafe_view", method=False, function=False)
def reshaped_copy(input: Tensor, size: Size) -> Tensor:
    """The elements in row-major order with another shape, in memory of their own."""
    return prim.wrap(prim.current().graph.reshape(prim.read(input), size))


def in_order(t: Tensor) -> Tensor:
    """A copy with memory of its own, row-major."""
    return reshaped_copy.function(t, t._layout.shape)  # type: ignore[no-any-return]


@reshaped_copy.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad.reshape(ctx.shape("input"))


@operator(kind="view", function=False)
def expand(input: Tensor, size: Size) -> Tensor:
    """Repeats dimensions of size 1 without copying (stride 0); -1 keeps a size.  Raises RuntimeError if sizes do not
    fit."""
    layout = input._layout
    lead = len(size) - layout.ndim
    if lead < 0:
        raise RuntimeError(
            f"expand(torch.FloatTensor{{{list(layout.shape)}}}, size={list(size)}): the number "
            f"of sizes provided ({len(size)}) must be greater or equal "
            f"to the number of dimensions in the tensor ({layout.ndim})"
        )
    shape, strides = [], []
    for i, n in enumerate(size):
        have, step = (layout.shape[i - lead], layout.strides[i - lead]) if i >= lead else (1, 0)
        if n == -1:
            if i < lead:
                raise RuntimeError(
                    "expand: The expanded size of the tensor (-1) isn't allowed in a leading, "
                    f"non-existing dimension {i}"
                )
            n = have
        elif n < 0:
            raise RuntimeError(f"expand: The expanded size of the tensor ({n}) isn't allowed in dimension {i}")
        if have == n:
            strides.append(step if i >= lead else 0)
        elif have == 1:
            strides.append(0)
        else:
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have}) at "
                f"non-singleton dimension {i}.  "
                f"Target sizes: {list(size)}.  Tensor sizes: {list(layout.shape)}"
            )
        shape.append(n)
    return make_view(input, shape, strides, input._offset)


@expand.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad.sum_to_size(ctx.shape("input"))


@operator(kind="view")
def permute(input: Tensor, dims: Sequence[int]) -> Tensor:
    """The dimensions in another order, over the same memory."""
    layout = input._layout
    if len(dims) != layout.ndim:
        raise RuntimeError(
            "permute(): number of dimensions in the tensor input does not match the length of "
            "the desired ordering of dimensions "
            f"i.e. input.dim() = {layout.ndim} is not equal to len(dims) = {len(dims)}"
        )
    order = [dim_of(d, layout.ndim, "permute") for d in dims]
    if len(set(order)) != len(order):
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return make_view(input, [layout.shape[d] for d in order], [layout.strides[d] for d in order], input._offset)


@permute.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    ndim = len(ctx.shape("input"))
    order = [d % ndim for d in ctx.dims] if ndim else []
    return grad.permute(sorted(range(ndim), key=order.__getitem__))


@operator(preserve=True, method=False, function=False)
def clone(input: Tensor) -> Tensor:
    """A copy with memory of its own."""
    return prim.wrap(prim.read(input))


clone.elementwise = True


@clone.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad


@operator(kind="view")
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions exchanged, over the same memory."""
    layout = input._layout
    a, b = dim_of(dim0, layout.ndim, "transpose"), dim_of(dim1, layout.ndim, "transpose")
    shape, strides = list(layout.shape), list(layout.strides)
    if layout.ndim:
        shape[a], shape[b] = shape[b], shape[a]
        strides[a], strides[b] = strides[b], strides[a]
    return make_view(input, shape, strides, input._offset)


@transpose.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad.transpose(ctx.dim0, ctx.dim1)


@operator(kind="view")
def t(input: Tensor) -> Tensor:
    """A matrix transposed; tensors of fewer dimensions as they are.  Raises RuntimeError for more than two
    dimensions."""
    layout = input._layout
    if layout.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {layout.ndim}D")
    return make_view(input, layout.shape[::-1], layout.strides[::-1], input._offset)


@t.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad.t()


@operator(kind="view")
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """A new dimension of size 1 before ``dim``."""
    layout = input._layout
    d = dim_of(dim, layout.ndim + 1, "unsqueeze")
    step = layout.shape[d] * layout.strides[d] if d < layout.ndim else 1
    return make_view(
        input,
        (*layout.shape[:d], 1, *layout.shape[d:]),
        (*layout.strides[:d], step, *layout.strides[d:]),
        input._offset,
    )


@unsqueeze.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad.squeeze(ctx.dim)


@operator(kind="view")
def squeeze(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Without dimensions of size 1: all of them, or those named."""
    layout = input._layout
    named = (
        range(layout.ndim)
        if dim is None
        else dims_of(dim, layout.ndim, "squeeze")
        if not isinstance(dim, (tuple, list)) or dim
        else ()
    )
    kept = [d for d in range(layout.ndim) if d not in named or layout.shape[d] != 1]
    return make_view(input, [layout.shape[d] for d in kept], [layout.strides[d] for d in kept], input._offset)


@squeeze.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad.reshape(ctx.shape("input"))


@operator(kind="view", aliases=("moveaxis",))
def movedim(input: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """The dimensions ``source`` at the places ``destination``; the others keep their order."""
    ndim = input.ndim
    sources = (source,) if isinstance(source, int) else tuple(source)
    places = (destination,) if isinstance(destination, int) else tuple(destination)
    if len(sources) != len(places):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({list(sources)} dims) should "
            f"contain the same number of dims as destination ({list(places)} dims)"
        )
    froms, tos = [dim_of(d, ndim, "movedim") for d in sources], [dim_of(d, ndim, "movedim") for d in places]
    for what, dims, given in (("source", froms, sources), ("destination", tos, places)):
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"movedim: repeated dim in `{what}` ({list(given)})")
    if ndim == 0:
        return make_view(input, (), (), input._offset)
    return _permuted(input, moved(froms, tos, ndim))


def moved(froms: Sequence[int], tos: Sequence[int], ndim: int) -> list[int]:
    """The permutation that puts the dimensions ``froms`` at ``tos`` and keeps the order of the others."""
    order = [-1] * ndim
    for f, t_ in zip(froms, tos):
        order[t_] = f
    rest = iter(d for d in range(ndim) if d not in froms)
    return [next(rest) if d < 0 else d for d in order]


def _permuted(input: Tensor, order: Sequence[int]) -> Tensor:
    layout = input._layout
    return make_view(input, [layout.shape[d] for d in order], [layout.strides[d] for d in order], input._offset)


@movedim.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad.movedim(ctx.destination, ctx.source)


@operator(kind="view")
def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """Two dimensions exchanged, over the same memory: ``transpose`` by another name."""
    return transpose.body(input, axis0, axis1)


@swapaxes.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad.transpose(ctx.axis0, ctx.axis1)


@operator(kind="view")
def swapdims(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Two dimensions exchanged, over the same memory: ``transpose`` by another name."""
    return transpose.body(input, dim0, dim1)


@swapdims.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad.transpose(ctx.dim0, ctx.dim1)


@operator(name="_reversed_dims", kind="view", method=False, function=False)
def reversed_dims(input: Tensor) -> Tensor:
    """All dimensions in the opposite order (``Tensor.T``)."""
    layout = input._layout
    return make_view(input, layout.shape[::-1], layout.strides[::-1], input._offset)


@reversed_dims.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return reversed_dims.function(grad)


@operator(kind="view", function=False, method=False)
def alias(input: Tensor) -> Tensor:
    """The tensor itself as a new object over the same memory."""
    return make_view(input, input.shape, input._layout.strides, input._offset)


@alias.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad


@operator(kind="composite", looks=True)
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The dimensions ``start_dim`` to ``end_dim`` (included) as one; a view where the strides allow it."""
    ndim = input.ndim
    first, last = dim_of(start_dim, ndim, "flatten"), dim_of(end_dim, ndim, "flatten")
    if first > last:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if ndim == 0:
        return view.function(input, Size((1,)))
    if first == last:
        return input
    shape = input.shape
    return reshape.function(input, Size((*shape[:first], Size(shape[first : last + 1]).numel(), *shape[last + 1 :])))


@operator(kind="composite", looks=True)
def ravel(input: Tensor) -> Tensor:
    """All elements in row-major order as one dimension; a view where the strides allow it."""
    return reshape.function(input, Size((-1,)))


@operator(kind="composite", looks=True)
def unflatten(input: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    """The dimension ``dim`` as several of these sizes (one may be -1)."""
    if isinstance(dim, str):  # type: ignore[unreachable]
        raise RuntimeError("unflatten: named dimensions are not supported; pass the dimension as an int")
    d = dim_of(dim, input.ndim, "unflatten")
    parts = list(shape_of((sizes,), "unflatten"))
    if not parts:
        raise RuntimeError("unflatten: sizes must be non-empty")
    size = input.shape[d]
    if parts.count(-1) > 1:
        raise RuntimeError(f"unflatten: only one dimension can be inferred, but sizes {parts} have several of -1")
    known = Size(n for n in parts if n != -1).numel()
    if -1 in parts and (known == 0 or size % known):
        raise RuntimeError(
            f"unflatten: Provided sizes {parts} don't multiply up to the size of dim {d} ({size}) in the input tensor"
        )
    if -1 in parts:
        parts[parts.index(-1)] = size // known
    elif known != size:
        raise RuntimeError(
            f"unflatten: Provided sizes {parts} don't multiply up to the size of dim {d} ({size}) in the input tensor"
        )
    return input.view((*input.shape[:d], *parts, *input.shape[d + 1 :]))  # type: ignore[attr-defined]


@operator(kind="composite", function=False)
def view_as(input: Tensor, other: Tensor) -> Tensor:
    """The elements with the shape of ``other``, over the same memory."""
    return view.function(input, other.shape)


@operator(kind="composite", function=False)
def reshape_as(input: Tensor, other: Tensor) -> Tensor:
    """The elements with the shape of ``other``; a view where the strides allow it."""
    return reshape.function(input, other.shape)


@operator(kind="composite", function=False)
def expand_as(input: Tensor, other: Tensor) -> Tensor:
    """Dimensions of size 1 repeated without copying, to the shape of ``other``."""
    return expand.function(input, other.shape)


@operator(kind="composite", looks=True, synonyms={"size": ("shape",)})
def broadcast_to(input: Tensor, size: Sequence[int]) -> Tensor:
    """Dimensions of size 1 repeated without copying, to this shape."""
    return expand.function(input, shape_of((size,), "broadcast_to"))


# -- the same memory as another element type ---------------------------------------------------------


@operator(name="view_dtype", kind="view", function=False, method=False)
def view_dtype(input: Tensor, dtype: dtype_) -> Tensor:
    """The same bytes as elements of another type.

    Of another size, the last dimension grows or shrinks; it must then lie without gaps (RuntimeError).
    """
    layout = input._layout
    have, wanted = layout.itemsize, dtype.itemsize
    if have == wanted:
        return _retyped(input, dtype, layout.shape, layout.strides, input._offset)
    if layout.ndim == 0:
        raise RuntimeError(f"self.dim() cannot be 0 to view {layout.dtype} as {dtype} (different element sizes)")
    if layout.strides[-1] != 1:
        raise RuntimeError(
            f"self.stride(-1) must be 1 to view {layout.dtype} as {dtype} (different element "
            f"sizes), but got {layout.strides[-1]}"
        )
    if have > wanted:
        k = have // wanted
        return _retyped(
            input,
            dtype,
            (*layout.shape[:-1], layout.shape[-1] * k),
            (*(s * k for s in layout.strides[:-1]), 1),
            input._offset * k,
        )
    k = wanted // have
    if layout.shape[-1] % k:
        raise RuntimeError(
            f"self.size(-1) must be divisible by {k} to view {layout.dtype} as {dtype} "
            f"(different element sizes), but got {layout.shape[-1]}"
        )
    if input._offset % k:
        raise RuntimeError(
            f"self.storage_offset() must be divisible by {k} to view {layout.dtype} as {dtype} "
            f"(different element sizes), but got {input._offset}"
        )
    for d, s in enumerate(layout.strides[:-1]):
        if s % k:
            raise RuntimeError(
                f"self.stride({d}) must be divisible by {k} to view {layout.dtype} as {dtype} "
                f"(different element sizes), but got {s}"
            )
    return _retyped(
        input,
        dtype,
        (*layout.shape[:-1], layout.shape[-1] // k),
        (*(s // k for s in layout.strides[:-1]), 1),
        input._offset // k,
    )


view_dtype.without_gradient()


def _retyped(t: Tensor, dtype: dtype_, shape: Sequence[int], strides: Sequence[int], offset: int) -> Tensor:
    if t._storage.pending is not None and not prim.tracing():
        materialize(t)
    return make(t._storage, of(dtype, t._layout.device, shape, strides), offset)


@operator(kind="view", method=False)
def view_as_real(input: Tensor) -> Tensor:
    """Complex elements as pairs of real ones in a last dimension of size 2, over the same memory."""
    layout = input._layout
    if not layout.dtype.is_complex:
        raise RuntimeError("view_as_real is only supported for complex tensors")
    return _retyped(
        input, layout.dtype.to_real(), (*layout.shape, 2), (*(2 * s for s in layout.strides), 1), 2 * input._offset
    )


@view_as_real.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return view_as_complex.function(grad.contiguous())


@operator(kind="view", method=False)
def view_as_complex(input: Tensor) -> Tensor:
    """Pairs of real elements in the last dimension (of size 2) as complex ones, over the same memory."""
    layout = input._layout
    if layout.dtype not in (dtypes.float16, dtypes.float32, dtypes.float64):
        raise RuntimeError(
            "view_as_complex is only supported for half, float and double tensors, but got a "
            f"tensor of scalar type: {layout.dtype}"
        )
    if layout.ndim == 0:
        raise RuntimeError("Input tensor must have one or more dimensions")
    if layout.shape[-1] != 2:
        raise RuntimeError(f"Tensor must have a last dimension of size 2, got {layout.shape[-1]}")
    if layout.strides[-1] != 1:
        raise RuntimeError("Tensor must have a last dimension with stride 1")
    if any(s % 2 for s in layout.strides[:-1]):
        raise RuntimeError(
            f"Tensor must have a stride divisible by 2 for all but last dimension, got {list(layout.strides)}"
        )
    if input._offset % 2:
        raise RuntimeError(f"Tensor must have a storage_offset divisible by 2, got {input._offset}")
    return _retyped(
        input, layout.dtype.to_complex(), layout.shape[:-1], [s // 2 for s in layout.strides[:-1]], input._offset // 2
    )


@view_as_complex.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return view_as_real.function(grad)


# -- views that change the tensor itself -------------------------------------------------------------


def in_place(op: Any) -> Any:
    """A method that gives the tensor itself the shape and strides of a view of it."""
    name, form = f"{op.name}_", op.function

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if "out" in kwargs:  # the view's function has it, but what lies there is no view of the tensor
            raise TypeError(f"{name}() got an unexpected keyword argument 'out'")
        if not isinstance(self, Tensor):
            raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(self).__name__}")
        if self._requires_grad and grad_state.grad and (self._node is None or self._view is not None):
            raise RuntimeError(
                f"{name}: a leaf or a view that requires grad cannot be given another shape in "
                "place; use the form without underscore"
            )
        seen = form(self, *args, **kwargs)
        if self._key is not None:
            self._key = seen._layout
        self._layout, self._offset = seen._layout, seen._offset
        if isinstance(self, Wrapper):
            self._become(seen)
        self._storage.version += 1
        if seen._node is not None:
            self._node, self._output_nr, self._requires_grad = seen._node, seen._output_nr, True
        return self

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"``{op.name}`` in place: the tensor itself takes the other shape."
    method.__signature__ = inspect.signature(form)  # type: ignore[attr-defined]
    return method


# -- views with memory of their own ------------------------------------------------------------------


def _copying(op: Any) -> None:
    """``NAME_copy``: a view with memory of its own."""

    def body(*args: Any, **kwargs: Any) -> Tensor:
        return in_order(op.function(*args, **kwargs))

    body.__name__, body.__module__ = op.name + "_copy", __name__
    body.__doc__ = f"``{op.name}`` with memory of its own."
    body.__signature__ = op.signature  # type: ignore[attr-defined]
    operator(kind="composite", method=False)(body)


for _op in (permute, transpose, t, unsqueeze, squeeze, alias, view_as_real, view_as_complex):
    _copying(_op)


@operator(kind="composite", method=False)
def expand_copy(input: Tensor, size: Sequence[int], *, implicit: bool = False) -> Tensor:
    """``expand`` with memory of its own."""
    return in_order(expand.function(input, Size(size)))


@operator(
    kind="composite", method=False, synonyms={"size": ("dtype",)},
    overloads=("view_copy(input, dtype, *, out=None)", "view_copy(input, size, *, out=None)"),
)  # fmt: skip
def view_copy(input: Tensor, size: Any) -> Tensor:
    """``view`` with memory of its own."""
    return in_order((view_dtype if isinstance(size, dtype_) else view).function(input, size))
