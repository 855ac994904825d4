"""Tensors cut into pieces: views of their memory."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from ..dispatch.operator import operator
from ..runtime.cpu import total_memory
from ..tensor import Tensor
from ..tensor import view as make_view
from .common import dim_of
from .join import cat
from .region import integer, slice_of

__all__: list[str] = []

_PIECE_BYTES = 600  # about what a view and the list that holds it take


def _split_sizes(input: Tensor, split_size: int | Sequence[int], dim: int, name: str) -> tuple[int, list[int]]:
    if not input.ndim:
        raise RuntimeError(f"{name} expects at least a 1-dimensional tensor")
    d = dim_of(dim, input.ndim, name)
    n = input.shape[d]
    if isinstance(split_size, (tuple, list)):
        sizes = [integer(s, name, "split_sizes") for s in split_size]
        if sum(sizes) != n or any(s < 0 for s in sizes):
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size "
                f"at dimension {dim}), and to have only non-negative "
                f"entries, but got split_sizes={sizes}"
            )
        return d, sizes
    size = integer(split_size, name, "split_size_or_sections")
    if size < 0:
        raise RuntimeError(f"split expects split_size be non-negative, but got split_size={size}")
    if size == 0:
        if n:
            raise RuntimeError(f"split_size can only be 0 if dimension size is 0, but got dimension size of {n}")
        return d, [0]
    return d, [min(size, n - i) for i in range(0, max(n, 1), size)]


def _pieces(input: Tensor, d: int, sizes: Sequence[int]) -> tuple[Tensor, ...]:
    layout = input._layout
    shape, strides, step = layout.shape, layout.strides, layout.strides[d]
    start, found = input._offset, []
    for n in sizes:
        found.append(make_view(input, (*shape[:d], n, *shape[d + 1 :]), strides, start))
        start += n * step
    return tuple(found)


@operator(name="_split", kind="view", method=False, function=False, looks=True)
def pieces(input: Tensor, sizes: tuple[int, ...], dim: int) -> tuple[Tensor, ...]:
    """Pieces of these sizes along ``dim``."""
    return _pieces(input, dim, sizes)


@pieces.gradient()
def _(ctx, *grads):  # type: ignore[no-untyped-def]
    shape, d = ctx.shape("input"), ctx.dim
    some = next(g for g in grads if g is not None)
    full = [g if g is not None else some.new_zeros((*shape[:d], n, *shape[d + 1 :])) for g, n in zip(grads, ctx.sizes)]
    return _join(full, d)


def _join(parts: Sequence[Tensor], d: int) -> Tensor:
    return parts[0] if len(parts) == 1 else cat.function(parts, d)


@operator(kind="composite", method=False, looks=True)
def split(tensor: Tensor, split_size_or_sections: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces along ``dim``: of one size (the last may be smaller), or of the sizes given.  Views of the tensor.

    Raises RuntimeError for sizes that do not sum to the dimension, and for 0-dim tensors.
    """
    d, sizes = _split_sizes(tensor, split_size_or_sections, dim, "split")
    return pieces.function(tensor, tuple(sizes), d)


def _split_method(self: Tensor, split_size: int | Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    return split.function(self, split_size, dim)


_split_method.__name__, _split_method.__doc__ = "split", split.__doc__


Tensor.split = _split_method  # type: ignore[attr-defined]


@operator(kind="composite", looks=True)
def split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces of the sizes given along ``dim``."""
    return split.function(input, tuple(split_sizes), dim)


@operator(kind="composite", looks=True)
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most ``chunks`` pieces along ``dim`` of one size (the last may be smaller).  Views of the tensor."""
    if not input.ndim:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    d = dim_of(dim, input.ndim, "chunk")
    n = input.shape[d]
    size = -(-n // chunks)
    if size == 0:
        _refuse_more_than_fit(chunks, "chunk")
        return pieces.function(input, (0,) * chunks, d)
    return split.function(input, size, d)


def _refuse_more_than_fit(count: int, name: str) -> None:
    """Raises ``RuntimeError`` where ``count`` tensors without elements would take more memory than the machine has."""
    if count * _PIECE_BYTES > total_memory():
        raise RuntimeError(f"{name}: not enough memory for {count} tensors; ask for fewer pieces")


def _bounds(input: Tensor, spec: Any, dim: int, name: str) -> list[tuple[int, int]]:
    """(start, length) of the pieces of ``tensor_split``."""
    n = input.shape[dim]
    if isinstance(spec, Tensor):
        if spec.device.type != "cpu" or spec.dtype.name != "int64":
            raise RuntimeError(
                f"{name} expected tensor_indices_or_sections to be a long tensor on cpu, got "
                f"{spec.dtype} on {spec.device}"
            )
        if spec.ndim > 1:
            raise RuntimeError(
                f"{name} expected tensor_indices_or_sections to be a zero-dimensional or "
                f"one-dimensional tensor, but got a tensor with {spec.ndim} dims"
            )
        spec = spec.tolist()  # type: ignore[attr-defined]
    if isinstance(spec, int):
        if spec <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {spec}")
        _refuse_more_than_fit(spec, name)
        small, more = divmod(n, spec)
        lengths = [small + (i < more) for i in range(spec)]
        return list(zip(accumulate(lengths, initial=0), lengths))
    edges = [integer(e, name, "indices") for e in spec]
    starts_, ends = [0, *edges], [*edges, n]
    found = []
    for start, end in zip(starts_, ends):
        start, end, _ = slice(start, end).indices(n)
        found.append((start, max(0, end - start)))
    return found


def _tensor_split(input: Tensor, spec: Any, dim: int, name: str) -> tuple[Tensor, ...]:
    if not input.ndim:
        raise RuntimeError(f"{name} expected at least a 1-dimensional tensor, but got a tensor with 0 dims")
    d = dim_of(dim, input.ndim, name)
    return tuple(slice_of(input, d, start, length) for start, length in _bounds(input, spec, d, name))


_CUTS = {"indices_or_sections": ("sections", "indices", "tensor_indices_or_sections", "split_size_or_sections")}


@operator(
    kind="composite", synonyms=_CUTS, looks=True,
    overloads=(
        "tensor_split(input, indices_or_sections, dim=0)", "tensor_split(input, sections, dim=0)",
        "tensor_split(input, indices, dim=0)",
    ),
)  # fmt: skip
def tensor_split(input: Tensor, indices_or_sections: Any, dim: int = 0) -> tuple[Tensor, ...]:
    """Pieces along ``dim``: a number of them as equal as can be, or cut at the indices given.  Views of the tensor."""
    return _tensor_split(input, indices_or_sections, dim, "tensor_split")


def _cut(name: str, least: int, dim_of_: Any, which: int) -> None:
    def body(input: Tensor, indices_or_sections: Any) -> tuple[Tensor, ...]:
        if input.ndim < least:
            raise RuntimeError(
                f"torch.{name} requires a tensor with at least {least} dimension, but got a tensor "
                f"with {input.ndim} dimensions!"
            )
        d = dim_of_(input)
        if isinstance(indices_or_sections, int):
            if indices_or_sections == 0 or input.shape[d] % indices_or_sections:
                raise RuntimeError(
                    f"torch.{name} attempted to split along dimension {d}, but the size of the "
                    f"dimension {input.shape[d]} is not divisible by the "
                    f"split_size {indices_or_sections}!"
                )
        return _tensor_split(input, indices_or_sections, d, name)

    body.__name__, body.__module__ = name, __name__
    body.__doc__ = f"``tensor_split`` along dimension {which}; the sizes must come out even."
    operator(kind="composite", looks=True, synonyms=_CUTS)(body)


_cut("hsplit", 1, lambda t: 0 if t.ndim == 1 else 1, 1)


_cut("vsplit", 2, lambda t: 0, 0)


_cut("dsplit", 3, lambda t: 2, 2)


@operator(kind="view", looks=True)
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """The elements at each index along ``dim``, as views without that dimension."""
    layout = input._layout
    if not layout.ndim:
        raise IndexError("Dimension specified as 0 but tensor has no dimensions")
    d = dim_of(dim, layout.ndim, "unbind")
    shape, strides = (*layout.shape[:d], *layout.shape[d + 1 :]), (*layout.strides[:d], *layout.strides[d + 1 :])
    return tuple(
        make_view(input, shape, strides, input._offset + i * layout.strides[d]) for i in range(layout.shape[d])
    )


@unbind.gradient()
def _(ctx, *grads):  # type: ignore[no-untyped-def]
    shape = ctx.shape("input")
    d = ctx.dim % len(shape)
    some = next(g for g in grads if g is not None)
    rest = (*shape[:d], *shape[d + 1 :])
    return _join([(g if g is not None else some.new_zeros(rest)).unsqueeze(d) for g in grads], d)


@operator(kind="composite")
def unsafe_chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """``chunk``, the pieces of which are views here as well: writes in place are followed."""
    return chunk.function(input, chunks, dim)


@operator(kind="composite")
def unsafe_split_with_sizes(input: Tensor, split_sizes: Sequence[int], dim: int = 0) -> tuple[Tensor, ...]:
    """``split_with_sizes``; see ``unsafe_chunk``."""
    return split.function(input, tuple(split_sizes), dim)


@operator(kind="composite", synonyms={"split_size": ("split_size_or_sections",)})
def unsafe_split(tensor: Tensor, split_size: int, dim: int = 0) -> tuple[Tensor, ...]:
    """``split``; see ``unsafe_chunk``."""
    return split.function(tensor, split_size, dim)
