"""Views: other shapes and strides over the same storage."""

from __future__ import annotations

from collections.abc import Sequence

from .. import primitives as prim
from ..layout import Size, contiguous_strides
from ..operator import operator
from ..tensor import Tensor, view as make_view
from .common import dim_of, dims_of, infer_size, shape_of

__all__: list[str] = []


def view_strides(shape: Sequence[int], strides: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...] | None:
    """The strides with which ``wanted`` sees the elements of a strided tensor in row-major order; None when it cannot
    without copying.

    Dimensions that lie one after the other in memory form blocks; each must be split into whole dimensions of ``wanted``.
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
    wanted = infer_size(shape_of((shape,) if not isinstance(shape, int) else (shape,), "reshape"), layout.numel, "reshape")
    if view_strides(layout.shape, layout.strides, wanted) is None:
        input = input.contiguous()  # type: ignore[attr-defined]
    return view.function(input, wanted)  # type: ignore[no-any-return]


@operator(kind="view", function=False)
def expand(input: Tensor, size: Size) -> Tensor:
    """Repeats dimensions of size 1 without copying (stride 0); -1 keeps a size.  Raises RuntimeError if sizes do not fit."""
    layout = input._layout
    lead = len(size) - layout.ndim
    if lead < 0:
        raise RuntimeError(
            f"expand(torch.FloatTensor{{{list(layout.shape)}}}, size={list(size)}): the number of sizes provided ({len(size)}) must be greater or equal "
            f"to the number of dimensions in the tensor ({layout.ndim})"
        )
    shape, strides = [], []
    for i, n in enumerate(size):
        have, step = (layout.shape[i - lead], layout.strides[i - lead]) if i >= lead else (1, 0)
        if n == -1:
            if i < lead:
                raise RuntimeError(f"expand: The expanded size of the tensor (-1) isn't allowed in a leading, non-existing dimension {i}")
            n = have
        if have == n:
            strides.append(step if i >= lead else 0)
        elif have == 1:
            strides.append(0)
        else:
            raise RuntimeError(
                f"The expanded size of the tensor ({n}) must match the existing size ({have}) at non-singleton dimension {i}.  "
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
            f"permute(sparse_coo): number of dimensions in the tensor input does not match the length of the desired ordering of dimensions "
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


@operator(preserve=True, method=False)
def clone(input: Tensor) -> Tensor:
    """A copy with memory of its own."""
    return prim.wrap(prim.read(input))


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
    """A matrix transposed; tensors of fewer dimensions as they are.  Raises RuntimeError for more than two dimensions."""
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
    return make_view(input, (*layout.shape[:d], 1, *layout.shape[d:]), (*layout.strides[:d], step, *layout.strides[d:]), input._offset)


@unsqueeze.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad.squeeze(ctx.dim)


@operator(kind="view")
def squeeze(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Without dimensions of size 1: all of them, or those named."""
    layout = input._layout
    named = range(layout.ndim) if dim is None else dims_of(dim, layout.ndim, "squeeze") if not isinstance(dim, (tuple, list)) or dim else ()
    kept = [d for d in range(layout.ndim) if d not in named or layout.shape[d] != 1]
    return make_view(input, [layout.shape[d] for d in kept], [layout.strides[d] for d in kept], input._offset)


@squeeze.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad.reshape(ctx.shape("input"))
