"""Reading at computed places: gather, take and their kin; what they share with ``scatter.py`` and ``index_slices.py``.

Indices are checked before memory is read or written.  Additions happen one after the other in the order of the
indices, so that results do not depend on the number of threads.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import operator
from ..graph.node import broadcast_shapes
from ..tensor import Tensor
from .common import dim_of
from .index import index as index_op
from .index import wrapped

__all__: list[str] = []


def need_integers(index: Tensor, name: str) -> None:
    """Raises RuntimeError for indices of another type than int64 and int32."""
    if index.dtype not in (dtypes.int64, dtypes.int32) and index.numel():
        raise RuntimeError(f"{name}(): Expected dtype int64 for index, got {index.dtype}")


def along(dim: int, ndim: int) -> list[tuple[str, int]]:
    """Where ``prim.gather`` and ``prim.scatter`` take each coordinate from: index 0 in ``dim``, else the place."""
    return [("i", 0) if d == dim else ("d", d) for d in range(ndim)]


def fits(name: str, input: Tensor, index: Tensor, dim: int) -> None:
    """Raises RuntimeError for an index of other dimensions than the input, or larger in one besides ``dim``."""
    if max(input.ndim, 1) != max(index.ndim, 1) and index.numel():
        raise RuntimeError(
            f"Index tensor must have the same number of dimensions as input tensor: {name} got "
            f"{index.ndim} and {input.ndim}"
        )
    for d in range(input.ndim):
        if d != dim and index.numel() and index.shape[d] > input.shape[d]:
            raise RuntimeError(
                f"Size does not match at dimension {d} expected index {list(index.shape)} to be no "
                f"larger than self {list(input.shape)} apart from dimension {dim}"
            )


def with_dimension(t: Tensor) -> Tensor:
    """A 0-dim tensor as one of one dimension (inside of a body)."""
    return prim.wrap(prim.current().graph.reshape(prim.read(t), (1,))) if t.ndim == 0 else t


def reshaped(t: Tensor, shape: Sequence[int]) -> Tensor:
    """A tensor in another shape (inside of a body)."""
    return t if t.shape == tuple(shape) else prim.wrap(prim.current().graph.reshape(prim.read(t), shape))


@operator(index_error=RuntimeError)
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """The elements whose index along ``dim`` is given, the other indices being those of the result, which has the shape
    of ``index`` (int64).  With ``sparse_grad`` the gradient is a sparse tensor of the elements taken.  Raises
    RuntimeError for an index outside of the dimension."""
    need_integers(index, "gather")
    d = dim_of(dim, input.ndim, "gather")
    fits("gather", input, index, d)
    shape = index.shape
    if 0 in shape:
        return prim.undef(shape, input.dtype)
    x, i = with_dimension(input), with_dimension(index)
    return reshaped(prim.gather(x, [i], along(d, x.ndim), i.shape), shape)


@gather.gradient("index")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    shape = ctx.shape("input")
    if ctx.sparse_grad and shape and not grad.requires_grad:
        # imported when it is used: few programs have sparse gradients
        return importlib.import_module("flambeau.sparse.gradients").gathered(shape, ctx.dim, ctx.index, grad), None
    return grad.new_zeros(shape).scatter_add(ctx.dim, ctx.index, grad), None


# -- by position -------------------------------------------------------------------------------------


@operator(kind="composite", synonyms={"index": ("indices",)})
def take(input: Tensor, index: Tensor) -> Tensor:
    """The elements at row-major positions, in the shape of ``index``.  Raises IndexError for a position outside of
    it."""
    if index.dtype is not dtypes.int64:
        raise RuntimeError(f"take(): Expected a long tensor for index, but got {index.dtype}")
    if not input.numel() and index.numel():
        raise IndexError("take(): tried to take from an empty tensor")
    return index_op.function(input.reshape(-1), [index], (0,))  # type: ignore[attr-defined]


@operator(name="_from_the_end", method=False, function=False, differentiable=False)
def from_the_end(input: Tensor, size: int) -> Tensor:
    """Indices of which negative ones count from the end, as int64."""
    return wrapped(input, size)


@operator(kind="composite")
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """``gather`` with all other dimensions broadcast; without ``dim``, of the flattened tensor."""
    if indices.dtype is not dtypes.int64:
        raise RuntimeError(f"torch.take_along_dim(): dtype of indices should be Long but got {indices.dtype}")
    if dim is None:
        return input.reshape(-1).gather(0, from_the_end.function(indices.reshape(-1), input.numel()))  # type: ignore[attr-defined]
    if input.ndim != indices.ndim:
        raise RuntimeError(
            "torch.take_along_dim(): input and indices should have the same number of "
            f"dimensions, but got {input.ndim} dimensions for input, and {indices.ndim} "
            "dimensions for indices"
        )
    d = dim_of(dim, input.ndim, "take_along_dim")
    indices = from_the_end.function(indices, input.shape[d])
    common = broadcast_shapes(
        [1 if k == d else n for k, n in enumerate(input.shape)],
        [1 if k == d else n for k, n in enumerate(indices.shape)],
    )
    whole = input.expand([input.shape[k] if k == d else n for k, n in enumerate(common)])  # type: ignore[attr-defined]
    return whole.gather(d, indices.expand([indices.shape[k] if k == d else n for k, n in enumerate(common)]))  # type: ignore[attr-defined]


@operator(inplace=True, kind="composite")
def put(input: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Tensor:
    """``input`` with the elements of ``source`` at row-major positions, or added there."""
    if index.dtype is not dtypes.int64:
        raise RuntimeError(f"put_(): Expected a long tensor for index, but got {index.dtype}")
    if source.dtype is not input.dtype:
        raise RuntimeError(
            "put_(): self and source expected to have the same dtype, but got self.dtype = "
            f"{input.dtype} and source.dtype = {source.dtype}"
        )
    if index.numel() != source.numel():
        raise RuntimeError(
            "put_(): Expected source and index to have the same number of elements, but got "
            f"source.numel() = {source.numel()}, index.numel() = {index.numel()}"
        )
    flat = input.reshape(-1)  # type: ignore[attr-defined]
    return flat.index_put((index.reshape(-1),), source.reshape(-1), accumulate).reshape(input.shape)  # type: ignore[attr-defined]


put.disjoint = ("index", "source")

for _op in (gather, take):
    _op.apart = True
