"""Views with memory of their own: ``NAME_copy``."""

from __future__ import annotations

from typing import Any

from ..dispatch.operator import operator
from ..tensor import Tensor
from .common import dim_of
from .pieces import split, split_with_sizes, unbind
from .region import as_strided, diagonal, select, slice_of
from .shape import in_order
from .unfold import unfold

__all__: list[str] = []


def _copying(op: Any) -> None:
    """``NAME_copy``: a view with memory of its own."""

    def body(*args: Any, **kwargs: Any) -> Any:
        found = op.function(*args, **kwargs)
        return tuple(map(in_order, found)) if isinstance(found, tuple) else in_order(found)

    body.__name__, body.__module__ = op.name + "_copy", __name__
    body.__doc__ = f"``{op.name}`` with memory of its own."
    body.__signature__ = op.signature  # type: ignore[attr-defined]
    operator(kind="composite", method=False)(body)


for _view_op in (diagonal, as_strided, unbind, split_with_sizes, unfold, select):
    _copying(_view_op)


@operator(kind="composite", method=False)
def split_copy(input: Tensor, split_size: int, dim: int = 0) -> tuple[Tensor, ...]:
    """``split`` with memory of its own."""
    return tuple(map(in_order, split.function(input, split_size, dim)))


@operator(kind="composite", method=False)
def slice_copy(input: Tensor, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Tensor:
    """A slice along ``dim`` with memory of its own."""
    d = dim_of(dim, input.ndim, "slice_copy")
    first, last, by = slice(start, end, step).indices(input.shape[d])
    return in_order(slice_of(input, d, first, len(range(first, last, by)), by))
