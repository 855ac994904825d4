"""Reading and writing at computed places along one dimension: gather, scatter, index_add and their kin, embedding.

Indices are checked before memory is read or written.  Additions happen one after the other in the order of the
indices, so that results do not depend on the number of threads.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.callforms import call_forms
from ..dispatch.operator import Factor, Operand, operator
from ..graph.node import broadcast_shapes
from ..tensor import Tensor
from . import create
from .common import dim_of, overridable, times
from .index import index as index_op
from .index import index_grad, wrapped

__all__: list[str] = []


def _whole(index: Tensor, name: str) -> None:
    if index.dtype not in (dtypes.int64, dtypes.int32) and index.numel():
        raise RuntimeError(f"{name}(): Expected dtype int64 for index, got {index.dtype}")


def _along(dim: int, ndim: int) -> list[tuple[str, int]]:
    return [("i", 0) if d == dim else ("d", d) for d in range(ndim)]


def _fits(name: str, input: Tensor, index: Tensor, dim: int) -> None:
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


def _one(t: Tensor) -> Tensor:
    """A 0-dim tensor as one of one dimension (inside of a body)."""
    return prim.wrap(prim.current().graph.reshape(prim.read(t), (1,))) if t.ndim == 0 else t


def _reshaped(t: Tensor, shape: Sequence[int]) -> Tensor:
    return t if t.shape == tuple(shape) else prim.wrap(prim.current().graph.reshape(prim.read(t), shape))


@operator(index_error=RuntimeError)
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """The elements whose index along ``dim`` is given, the other indices being those of the result, which has the shape
    of ``index`` (int64).  With ``sparse_grad`` the gradient is a sparse tensor of the elements taken.  Raises
    RuntimeError for an index outside of the dimension."""
    _whole(index, "gather")
    d = dim_of(dim, input.ndim, "gather")
    _fits("gather", input, index, d)
    shape = index.shape
    if 0 in shape:
        return prim.undef(shape, input.dtype)
    x, i = _one(input), _one(index)
    return _reshaped(prim.gather(x, [i], _along(d, x.ndim), i.shape), shape)


@gather.gradient("index")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    shape = ctx.shape("input")
    if ctx.sparse_grad and shape and not grad.requires_grad:
        # imported when it is used: few programs have sparse gradients
        return importlib.import_module("flambeau.sparse.gradients").gathered(shape, ctx.dim, ctx.index, grad), None
    return grad.new_zeros(shape).scatter_add(ctx.dim, ctx.index, grad), None


_REDUCE = {"add": "add", "multiply": "mul"}


def _scattered(name: str, kind: str, input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    _whole(index, name)
    d = dim_of(dim, input.ndim, name)
    _fits(name, input, index, d)
    if 0 in index.shape:
        return input
    x, i = _one(input), _one(index)
    s = _one(src) if src.ndim or not index.ndim else src
    if src.ndim:
        for k, n in enumerate(i.shape):
            if s.ndim != i.ndim or n > s.shape[k]:
                raise RuntimeError(
                    f"Expected index {list(index.shape)} to be no larger than src {list(src.shape)} "
                    f"(and self {list(input.shape)} apart from dimension {dim})"
                )
        if s.shape != i.shape:
            s = prim.move(s, tuple((0, ((k, 1),)) for k in range(s.ndim)), i.shape)
    else:
        s = prim.wrap(prim.current().graph.expand(prim.read(src), i.shape))
    work = dtypes.uint8 if input.dtype is dtypes.bool_ and kind != "set" else input.dtype
    result = prim.scatter(kind, prim.cast(x, work), prim.cast(prim.cast(s, input.dtype), work), [i], _along(d, x.ndim))
    return _reshaped(prim.cast(result, input.dtype), input.shape)


@operator(name="_scatter_src", inplace=True, method=False, function=False, index_error=RuntimeError)
def scatter_src(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """``input`` with the elements of ``src`` at the indices."""
    if src.dtype is not input.dtype:
        raise RuntimeError(
            f"scatter(): Expected self.dtype to be equal to src.dtype, got {input.dtype} and {src.dtype}"
        )
    return _scattered("scatter", "set", input, dim, index, src)


scatter_src.disjoint = ("index", "src")
scatter_src.spoken = "scatter"
scatter_src.linear = True  # where indices repeat, the gradient is not the transpose (nor is PyTorch's)


@scatter_src.gradient("index")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return (
        scatter_value.function(grad, ctx.dim, ctx.index, 0),
        None,
        _sliced(grad.gather(ctx.dim, ctx.index), ctx.shape("src")),
    )


def _sliced(grad: Tensor, shape: Sequence[int]) -> Tensor:
    """The gradient of ``src[: n0, : n1...]``."""
    if grad.shape == tuple(shape):
        return grad
    zeros: Any = grad.new_zeros(shape)  # type: ignore[attr-defined]
    return zeros.index_put((*[
        create.arange(n).reshape([-1 if k == d else 1 for k in range(len(shape))]) for d, n in enumerate(grad.shape)  # type: ignore[attr-defined]
    ],), grad)  # fmt: skip


@operator(name="_scatter_value", inplace=True, method=False, function=False, index_error=RuntimeError)
def scatter_value(input: Tensor, dim: int, index: Tensor, value: Operand) -> Tensor:
    """``input`` with ``value`` at the indices."""
    return _scattered("scatter", "set", input, dim, index, value)


scatter_value.spoken = "scatter"


@scatter_value.gradient("index")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return (
        scatter_value.function(grad, ctx.dim, ctx.index, 0),
        None,
        grad.gather(ctx.dim, ctx.index).sum() if ctx.needs("value") else None,
    )


@operator(
    name="_scatter_combine", inplace=True, method=False, function=False, index_error=RuntimeError, differentiable=False
)
def scatter_combine(input: Tensor, dim: int, index: Tensor, src: Operand, kind: str) -> Tensor:
    """``input`` combined with ``src`` at the indices."""
    return _scattered("scatter", kind, input, dim, index, src)


scatter_combine.spoken = "scatter"


@operator(inplace=True, index_error=RuntimeError)
def scatter_add(input: Tensor, dim: int, index: Tensor, src: Tensor) -> Tensor:
    """``input`` to which the elements of ``src`` are added at the indices along ``dim``, one after the other."""
    if src.dtype is not input.dtype:
        raise RuntimeError(
            f"scatter_add(): Expected self.dtype to be equal to src.dtype, got {input.dtype} and {src.dtype}"
        )
    return _scattered("scatter_add", "add", input, dim, index, src)


scatter_add.disjoint = ("index", "src")


@scatter_add.gradient("index")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad, None, _sliced(grad.gather(ctx.dim, ctx.index), ctx.shape("src")) if ctx.needs("src") else None


def _scatter(inplace: bool, self: Tensor, dim: int, index: Tensor, src: Any, value: Any, reduce: str | None) -> Tensor:
    given = src if src is not None else value
    rest: tuple[str, ...] = ()
    if given is None:
        raise TypeError("scatter(): src or value is required")
    if reduce is not None:
        if reduce not in _REDUCE:
            raise RuntimeError(f"reduce argument must be either add or multiply, got {reduce}")
        op, rest = scatter_combine, (_REDUCE[reduce],)
    elif isinstance(given, Tensor) and (given.ndim or not self.ndim):
        op = scatter_src
    else:
        op = scatter_value
    return (op.inplace if inplace else op.function)(self, dim, index, given, *rest)  # type: ignore[misc]


@operator(kind="composite", method=False)
def scatter(
    input: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:
    """A copy of ``input`` with the elements of ``src`` (or a number) at the indices along ``dim``; of several for one
    place the last stays.  ``reduce`` "add" or "multiply" combines instead."""
    return _scatter(False, input, dim, index, src, value, reduce)


def _scatter_method(
    self: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:
    return scatter.function(self, dim, index, src, value=value, reduce=reduce)


@call_forms("scatter_(dim, index, src, *, reduce=None)", "scatter_(dim, index, value, *, reduce=None)")
def _scatter_inplace(
    self: Tensor, dim: int, index: Tensor, src: Any = None, *, value: Any = None, reduce: str | None = None
) -> Tensor:
    """``scatter`` in place."""
    return _scatter(True, self, dim, index, src, value, reduce)


_scatter_method.__name__, _scatter_inplace.__name__ = "scatter", "scatter_"
_scatter_method.__doc__ = scatter.__doc__
Tensor.scatter, Tensor.scatter_ = _scatter_method, _scatter_inplace  # type: ignore[attr-defined]

_KINDS = {"sum": "add", "prod": "mul", "amax": "max", "amin": "min"}
_IDENTITY = {"sum": 0, "prod": 1}


def _extreme(kind: str, type_: Any) -> Any:
    """What leaves every element as it is under max or min."""
    if type_.kind == "f":
        return float("-inf") if kind == "amax" else float("inf")
    if type_ is dtypes.bool_:
        return kind == "amin"
    bits = 8 * type_.itemsize
    if type_.kind == "u":
        return 0 if kind == "amax" else (1 << bits) - 1
    return -(1 << (bits - 1)) if kind == "amax" else (1 << (bits - 1)) - 1


@operator(kind="composite")
def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """``input`` combined with ``src`` at the indices along ``dim`` by "sum", "prod", "mean", "amax" or "amin"; without
    ``include_self`` the elements that get something do not count themselves."""
    if reduce not in (*_KINDS, "mean"):
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}")
    if src.dtype is not input.dtype:
        raise RuntimeError(
            f"scatter(): Expected self.dtype to be equal to src.dtype, got {input.dtype} and {src.dtype}"
        )
    return _combined(input, dim, index, src, reduce, include_self)


def _combined(input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, include_self: bool) -> Tensor:
    base: Any = input
    kind = "sum" if reduce == "mean" else reduce
    if not include_self:
        base = scatter_value.function(
            input, dim, index, _IDENTITY[kind] if kind in _IDENTITY else _extreme(kind, input.dtype)
        )
    if kind == "sum":
        total = base.scatter_add(dim, index, src)
    else:
        total = scatter_extreme.function(base, dim, index, src, kind)
    if reduce != "mean":
        return total
    ones: Any = create.ones_like(src, dtype=dtypes.int64)
    count = (
        create.zeros(input.shape, dtype=dtypes.int64)
        if not include_self
        else create.ones(input.shape, dtype=dtypes.int64)
    )
    count = scatter_add.function(count, dim, index, ones).clamp(min=1)
    return total / count if input.dtype.kind in "fc" else total.div(count.to(total.dtype), rounding_mode="floor")


@operator(name="_scatter_extreme", method=False, function=False, index_error=RuntimeError)
def scatter_extreme(input: Tensor, dim: int, index: Tensor, src: Tensor, kind: str) -> Tensor:
    """``input`` combined with ``src`` at the indices by "prod", "amax" or "amin"."""
    return _scattered("scatter_reduce", _KINDS[kind], input, dim, index, src)


@scatter_extreme.gradient("input", "index", "src", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    index, dim = ctx.index, ctx.dim
    if ctx.kind == "prod":
        return _prod_grad(ctx, grad)
    same_self = ctx.input == ctx.result
    here = _top(ctx.src, index)
    same_src = (here == ctx.result.gather(dim, index)).to(grad.dtype)
    count = same_self.to(grad.dtype).scatter_add(dim, index, same_src).clamp(min=1)
    share = grad / count
    return share * same_self, None, _sliced(share.gather(dim, index) * same_src, ctx.shape("src"))


def _top(src: Any, index: Tensor) -> Any:
    """The part of ``src`` that belongs to an index."""
    for d, n in enumerate(index.shape):
        if src.shape[d] != n:
            src = src.narrow(d, 0, n)
    return src


def _prod_grad(ctx: Any, grad: Any) -> Any:
    """The product without one factor: the factors that are not zero by division, times those that are, of which the
    first two count: what is left without them is zero, and so is its derivative."""
    x, index, dim = ctx.input, ctx.index, ctx.dim
    src = _top(ctx.src, index)
    zero_x, zero_s = x == 0, src == 0
    zeros = zero_x.to(dtypes.int64).scatter_add(dim, index, zero_s.to(dtypes.int64))
    lost = x.where(zero_x, 0).scatter_add(dim, index, src.where(zero_s, 0))  # the zeros' sum, to be differentiated
    rest = scatter_extreme.function(x.masked_fill(zero_x, 1), dim, index, src.masked_fill(zero_s, 1), "prod")

    def share(value: Any, is_zero: Any, product: Any, count: Any, lost: Any) -> Any:
        others = count - is_zero.to(count.dtype)  # zeros beside this factor
        zero = (lost - value.where(is_zero, 0)).where(others == 1, (others == 0).to(value.dtype))
        return product / value.masked_fill(is_zero, 1) * zero

    gx = grad * share(x, zero_x, rest, zeros, lost)
    gs = grad.gather(dim, index) * share(src, zero_s, *(t.gather(dim, index) for t in (rest, zeros, lost)))
    return gx, None, _sliced(gs, ctx.shape("src"))


# -- whole slices ------------------------------------------------------------------------------------


def _vector(name: str, index: Tensor) -> None:
    if index.ndim > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector, but got {index.ndim} dimensions")
    if index.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(f"{name}(): Expected dtype int32 or int64 for index, got {index.dtype}")


def _column(index: Tensor, dim: int, ndim: int) -> Tensor:
    """The index vector as a column along ``dim`` (inside of a body)."""
    return _reshaped(index, [index.numel() if d == dim else 1 for d in range(ndim)])


@operator()
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices at the indices (a vector of int64 or int32) along ``dim``.  Raises IndexError for an index outside of
    it."""
    _vector("index_select", index)
    d = dim_of(dim, input.ndim, "index_select")
    x = _one(input)
    shape = [index.numel() if k == d else n for k, n in enumerate(x.shape)]
    if 0 in shape:
        return prim.undef(shape if input.ndim else input.shape, input.dtype)
    picked = prim.gather(x, [_column(index, d, x.ndim)], _along(d, x.ndim), shape)
    return _reshaped(picked, shape if input.ndim else ()) if input.ndim or shape == [1] else picked


@index_select.gradient("index")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    shape = ctx.shape("input")
    if not shape:
        return grad.sum(), None
    return index_grad.function(grad, [ctx.index.reshape(-1)], (ctx.dim % len(shape),), tuple(shape)), None


def _slices(name: str, kind: str, input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    _vector(name, index)
    d = dim_of(dim, input.ndim, name)
    if source.dtype is not input.dtype:
        raise RuntimeError(f"{name}(): self ({input.dtype}) and source ({source.dtype}) must have the same scalar type")
    x, s = _one(input), _one(source) if source.ndim else source
    n = index.numel()
    wanted = [n if k == d else m for k, m in enumerate(x.shape)]
    if source.ndim == 0:
        if n != 1 and x.ndim == 1:
            raise RuntimeError(f"{name}(): Number of indices ({n}) should be equal to source.size(dim) (1)")
        s = _reshaped(source, [1] * x.ndim)
    if list(s.shape) != wanted:
        if s.ndim == x.ndim and s.shape[d] != n:
            raise (IndexError if name == "index_copy" else RuntimeError)(
                f"{name}(): Number of indices ({n}) should be equal to source.size(dim): ({s.shape[d]}), for dim: {d}"
            )
        raise (RuntimeError if s.ndim == x.ndim or name != "index_copy" else IndexError)(
            f"{name}(): source shape {list(source.shape)} must match the indexed part of self, {wanted}"
        )
    if 0 in wanted:
        return input
    work = dtypes.uint8 if input.dtype is dtypes.bool_ and kind != "set" else input.dtype
    result = prim.scatter(kind, prim.cast(x, work), prim.cast(s, work), [_column(index, d, x.ndim)], _along(d, x.ndim))
    return _reshaped(prim.cast(result, input.dtype), input.shape)


@operator(inplace=True, index_error=RuntimeError)
def index_add(input: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Factor = 1) -> Tensor:
    """``input`` to which ``alpha`` times the slices of ``source`` are added at the indices along ``dim``."""
    return _slices("index_add", "add", input, dim, index, times(alpha, source))


index_add.disjoint = ("index", "source")


@index_add.gradient("index")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    found = None
    if ctx.needs("source"):
        found = grad.index_select(ctx.dim, ctx.index).reshape(ctx.shape("source"))
        found = found if ctx.alpha == 1 else found * ctx.alpha
    return grad, None, found


@operator(
    inplace=True,
    index_error=IndexError,
    synonyms={
        "source": (
            "tensor",
            "tensor2",
        )
    },
)
def index_copy(input: Tensor, dim: int, index: Tensor, source: Tensor) -> Tensor:
    """``input`` with the slices of ``source`` at the indices along ``dim``."""
    return _slices("index_copy", "set", input, dim, index, source)


index_copy.linear = True
index_copy.disjoint = ("index", "source")


@index_copy.gradient("index")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    rest = grad.index_fill(ctx.dim, ctx.index, 0) if ctx.needs("input") else None
    return (
        rest,
        None,
        grad.index_select(ctx.dim, ctx.index).reshape(ctx.shape("source")) if ctx.needs("source") else None,
    )


@operator(strides="first", inplace=True)
def index_fill(input: Tensor, dim: int, index: Tensor, value: Operand) -> Tensor:
    """``input`` with ``value`` in the slices at the indices along ``dim``."""
    _vector("index_fill", index)
    if value.ndim:
        raise RuntimeError(
            f"index_fill_ only supports a 0-dimensional value tensor, but got tensor with {value.ndim} dimension(s)."
        )
    d = dim_of(dim, input.ndim, "index_fill")
    x = _one(input)
    shape = [index.numel() if k == d else m for k, m in enumerate(x.shape)]
    if 0 in shape:
        return input
    if value.dtype.is_complex and not input.dtype.is_complex:
        raise RuntimeError("index_fill_(): Converting complex Scalar to non-complex type is not supported")
    source = prim.wrap(prim.current().graph.expand(prim.read(prim.cast(value, input.dtype)), shape))
    where = wrapped(_column(index, d, x.ndim), x.shape[d])
    return _reshaped(prim.scatter("set", x, source, [where], _along(d, x.ndim)), input.shape)


@index_fill.gradient("index")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return (
        grad.index_fill(ctx.dim, ctx.index, 0) if ctx.needs("input") else None,
        None,
        _filled(grad, ctx).sum() if ctx.needs("value") else None,
    )


def _filled(grad: Any, ctx: Any) -> Any:
    """``grad`` where ``index_fill`` wrote (once, however often an index is named), zero elsewhere."""
    written = create.zeros(grad.shape, dtype=dtypes.bool_).index_fill(ctx.dim, ctx.index, True)  # type: ignore[attr-defined]
    return grad.masked_fill(~written, 0)


@operator(kind="composite")
def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """``input`` combined with the slices of ``source`` at the indices along ``dim`` by "prod", "mean", "amax" or
    "amin"."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(f"index_reduce(): Expected reduce to be one of prod, mean, amax or amin but got {reduce}.")
    _vector("index_reduce", index)
    d = dim_of(dim, input.ndim, "index_reduce")
    if input.ndim == 0:
        return _combined(input.reshape(1), 0, index.reshape(-1), source.reshape(-1), reduce, include_self).reshape(())  # type: ignore[attr-defined]
    full = index.reshape([-1 if k == d else 1 for k in range(input.ndim)]).long().expand(source.shape)  # type: ignore[attr-defined]
    return _combined(input, d, full, source, reduce, include_self)


def _copied(name: str, form: Any) -> Any:
    """The in-place form of an operator that is computed beside the tensor and copied into it."""

    def scatter(
        self: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
    ) -> Tensor:
        return self.copy_(form(self.clone(), dim, index, src, reduce, include_self=include_self))  # type: ignore[attr-defined]

    def by_index(
        self: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
    ) -> Tensor:
        return scatter(self, dim, index, source, reduce, include_self=include_self)

    method = scatter if name.startswith("scatter") else by_index
    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"``{name[:-1]}`` in place."
    return method


Tensor.scatter_reduce_ = _copied("scatter_reduce_", scatter_reduce.function)  # type: ignore[attr-defined]
Tensor.index_reduce_ = _copied("index_reduce_", index_reduce.function)  # type: ignore[attr-defined]


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


# -- rows of a table ---------------------------------------------------------------------------------


@operator(name="_embedding", method=False, function=False)
def embedding_rows(weight: Tensor, indices: Tensor, padding_idx: int, scale_grad_by_freq: bool) -> Tensor:
    """The rows of ``weight`` at ``indices``."""
    shape = (*indices.shape, *weight.shape[1:])
    if 0 in shape:
        return prim.undef(shape, weight.dtype)
    g = prim.current().graph
    lead = indices.ndim
    rows = prim.wrap(g.reshape(prim.read(indices), (*indices.shape, *(1,) * (weight.ndim - 1))))
    return prim.gather(weight, [rows], [("i", 0), *(("d", lead + k) for k in range(weight.ndim - 1))], shape)


@embedding_rows.gradient("indices")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    indices = ctx.indices
    if ctx.scale_grad_by_freq:
        flat = indices.reshape(-1)
        count = index_grad.function(
            create.ones((flat.shape[0],), dtype=grad.dtype), [flat], (0,), (ctx.shape("weight")[0],)
        )
        grad = grad / count[flat].reshape(*indices.shape, *(1,) * (grad.ndim - indices.ndim))
    if ctx.padding_idx >= 0:
        grad = grad.masked_fill(
            (indices == ctx.padding_idx).reshape(*indices.shape, *(1,) * (grad.ndim - indices.ndim)), 0
        )
    return index_grad.function(grad, [indices], (0,), tuple(ctx.shape("weight"))), None


@operator(kind="composite", method=False, namespace="torch")
def embedding(
    weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False, sparse: bool = False
) -> Tensor:
    """The rows of ``weight`` at ``indices``; ``padding_idx`` gets no gradient, and ``scale_grad_by_freq`` divides
    gradients by how often an index occurs."""
    if weight.ndim != 2:
        raise RuntimeError("'weight' must be 2-D")
    if indices.dtype not in (dtypes.int64, dtypes.int32):
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar "
            f"types: Long, Int; but got {indices.dtype} instead (while checking arguments for "
            "embedding)"
        )
    return embedding_rows.function(weight, indices, padding_idx, bool(scale_grad_by_freq))


@operator(name="_renorm_rows", inplace=True, method=False, function=False, differentiable=False)
def renorm_rows(input: Tensor, indices: Tensor, max_norm: float, norm_type: float) -> Tensor:
    """Rows at ``indices`` with a norm above ``max_norm`` scaled down to it."""
    touched = index_grad.body(prim.const(1, dtypes.int32, indices.shape), [indices], (0,), (input.shape[0],))
    work: Any = prim.cast(input, dtypes.float32 if input.dtype.itemsize < 4 else input.dtype)
    norm = (
        work.abs().pow(norm_type).sum(1, True).pow(1 / norm_type if norm_type else float("inf"))
        if norm_type not in (float("inf"),)
        else work.abs().amax(1, True)
    )
    over = prim.apply("and", prim.apply("gt", touched.reshape(-1, 1), prim.const(0, dtypes.int32)), norm > max_norm)
    return prim.cast(prim.apply("select", over, work * (max_norm / (norm + 1e-7)), work), input.dtype)


@overridable
def embedding_renorm_(input: Tensor, indices: Tensor, max_norm: float, norm_type: float) -> Tensor:
    """Scales rows of ``input`` down to a norm of ``max_norm`` in place."""
    return renorm_rows.inplace(input, indices.reshape(-1), float(max_norm), float(norm_type))  # type: ignore[misc,attr-defined]


for _op in (gather, index_select, take):
    _op.apart = True

__all__ += ["embedding_renorm_"]
