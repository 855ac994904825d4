"""Running combinations along a dimension, differences, and integrals by the trapezoidal rule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import Operator, operator
from ..dtype import dtype as dtype_
from ..tensor import Tensor
from ..transform.level import recorded
from . import return_types
from .arithmetic import conj_of
from .common import dim_of
from .compare import where
from .join import cat
from .shape import view_as_real

__all__: list[str] = []


def _sum_type(name: str, input: Tensor, dtype: dtype_ | None) -> dtype_:
    if dtype is dtypes.bool_:
        raise NotImplementedError(f"{name}: not implemented for booleans; give another dtype, such as torch.int64")
    return dtype or (dtypes.int64 if input.dtype.kind in "bui" else input.dtype)


@operator(inplace=True, loose=("dtype",))
def cumsum(input: Tensor, dim: int, *, dtype: dtype_ | None = None) -> Tensor:
    """Running sums along ``dim``.  Integers and booleans are added as int64; ``dtype`` converts first."""
    x = prim.cast(input, _sum_type("cumsum", input, dtype))
    d = dim_of(dim, input.ndim, "cumsum")
    if not input.ndim:
        return x
    if x.dtype is dtypes.float32:  # running sums in double precision, as rounding errors of long ones add up
        return prim.cast(prim.scan("add", prim.cast(x, dtypes.float64), d), dtypes.float32)
    return prim.scan("add", x, d)


@cumsum.gradient()
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return _from_the_end(grad, ctx.dim)


def _from_the_end(x: Tensor, dim: int) -> Tensor:
    """Running sums that start at the end of ``dim``."""
    return running_from_end.function(x, dim) if x.ndim else x


@operator(name="_cumsum_from_end", method=False, function=False, out=False)
def running_from_end(input: Tensor, dim: int) -> Tensor:
    """Running sums along ``dim`` that start at its end."""
    return input.flip(dim).cumsum(dim).flip(dim)  # type: ignore[attr-defined,no-any-return]


@operator(inplace=True, loose=("dtype",))
def cumprod(input: Tensor, dim: int, *, dtype: dtype_ | None = None) -> Tensor:
    """Running products along ``dim``.  Integers and booleans are multiplied as int64; ``dtype`` converts first."""
    x = prim.cast(input, _sum_type("cumprod", input, dtype))
    d = dim_of(dim, input.ndim, "cumprod")
    if not input.ndim:
        return x
    return prim.scan("mul", x, d)


@cumprod.gradient("input", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    x, dim = ctx.input.to(grad.dtype), ctx.dim
    if not x.ndim or x.numel() == 0:
        return grad
    x = conj_of(x)
    if recorded():
        return _product_gradient(grad, x, dim)
    y = conj_of(ctx.result)
    zero = x == 0
    zeros = zero.cumsum(dim)
    # Before the first zero the other factors of y[k] are y[k] / x[i]; at the first one they are the products without
    # it; behind it 0.
    first = zero & (zeros == 1)
    safe = x.masked_fill(zero, 1)
    without = x.masked_fill(first, 1).cumprod(dim)
    at_first = (grad * without).masked_fill(zeros != 1, 0).sum(dim, True)
    return where((zeros == 0), _from_the_end(grad * y, dim) / safe, where(first, at_first, 0))


def _product_gradient(grad: Tensor, x: Tensor, dim: int) -> Tensor:
    """The gradient of running products, in a form that has every derivative wherever there are zeros:
    ``before[i] * s[i]`` with ``s[i] = grad[i] + x[i + 1] * s[i + 1]``."""
    n = x.shape[dim]
    first = x.narrow(dim, 0, 1) * 0 + 1  # type: ignore[attr-defined]
    before = cat([first, x.narrow(dim, 0, n - 1)], dim).cumprod(dim)  # type: ignore[attr-defined]
    return before * _scaled_from_the_end(grad, x.roll(-1, dim), dim)  # type: ignore[attr-defined,no-any-return]


@operator(name="_affine_scan", method=False, function=False)
def _affine_scan(input: Tensor, factor: Tensor, dim: int) -> Tensor:
    """``y[i] = input[i] + factor[i] * y[i - 1]`` along ``dim``; the first factor is not used.

    Neighbours 1, 2, 4 ... apart are combined in turn (Blelloch 1990, "Prefix sums and their applications").
    """
    apart = 1
    while apart < input.shape[dim]:
        input = prim.apply("add", input, prim.apply("mul", factor, _shifted(input, dim, apart, 0)))
        factor = prim.apply("mul", factor, _shifted(factor, dim, apart, 0))
        apart *= 2
    return input


@_affine_scan.gradient("factor", "result:factor")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    dim = ctx.dim
    summed = _scaled_from_the_end(grad, conj_of(ctx.factor).roll(-1, dim), dim)
    if not ctx.needs("factor"):
        return summed, None
    y = conj_of(ctx.result)
    before = cat([y.narrow(dim, 0, 1) * 0, y.narrow(dim, 0, y.shape[dim] - 1)], dim)
    return summed, summed * before


def _scaled_from_the_end(grad: Tensor, factor: Tensor, dim: int) -> Tensor:
    """``s[i] = grad[i] + factor[i] * s[i + 1]`` along ``dim``; the last factor is not used."""
    backwards = _affine_scan.function(grad.flip(dim), factor.flip(dim), dim % grad.ndim)  # type: ignore[attr-defined]
    return backwards.flip(dim)  # type: ignore[no-any-return]


@operator(inplace=True)
def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """``log`` of the running sums of ``exp(x)`` along ``dim``, without overflow.

    No element is scaled by a maximum that comes behind it: sums are kept relative to the running maximum m, as ``s[i] =
    s[i - 1] exp(m[i - 1] - m[i]) + exp(x[i] - m[i])``.  Complex neighbours 1, 2, 4 ... apart are combined in turn
    (Hillis and Steele 1986).
    """
    kind = input.dtype
    if kind.kind not in "fc":
        raise RuntimeError(f'"logcumsumexp_out_cpu" not implemented for {kind}')
    d = dim_of(dim, input.ndim, "logcumsumexp")
    x = prim.cast(input, dtypes.float32) if kind.itemsize < 4 else input
    if not input.ndim:
        return prim.wrap(prim.read(input))
    if not kind.is_complex:
        return prim.cast(_log_of_sums(x, d), kind)
    apart, terms = 1, x
    while apart < input.shape[d]:
        x = _log_add(x, _shifted(x, d, apart, -math.inf))
        apart *= 2
    return prim.cast(_same_branch(x, terms, d), kind)


def _log_of_sums(x: Tensor, d: int) -> Tensor:
    """See ``logcumsumexp``, of real numbers."""
    g = prim.apply
    most = prim.scan("max", x, d)
    before = _shifted(most, d, 1, -math.inf)
    one, none = prim.const(1, x.dtype), prim.const(0, x.dtype)
    endless = g("eq", most, prim.const(-math.inf, x.dtype))
    factor = g("select", g("eq", before, most), one, g("exp", g("sub", before, most)))
    term = g("select", g("eq", x, most), one, g("exp", g("sub", x, most)))
    total = _affine_scan.body(g("select", endless, none, term), factor, d)
    return g("select", g("eq", g("abs", most), prim.const(math.inf, x.dtype)), most, g("add", most, g("log", total)))


def _same_branch(sums: Tensor, terms: Tensor, d: int) -> Tensor:
    """Logarithms of running sums with the imaginary parts that adding one term after the other leads to.

    These run on beyond pi: the next sum lies within pi / 2 of the greater (by real part) of term and sum before.
    ``sums`` are right but for multiples of 2 pi.
    """
    g = prim.apply
    before = _shifted(sums, d, 1, -math.inf)
    real, imag = prim.part("real", terms), prim.part("imag", terms)
    ahead = g("gt", real, prim.part("real", before))  # the sum so far starts anew from the term
    gap = g("select", ahead, g("sub", before, terms), g("sub", terms, before))
    term = g("exp", gap)
    turn = g("atan2", prim.part("imag", term), g("add", prim.part("real", term), prim.const(1, real.dtype)))
    turn = g("select", g("isnan", turn), prim.const(0, real.dtype), turn)
    steps = g("select", ahead, g("add", turn, imag), turn)
    path = prim.scan("add", steps, d)
    place = g("select", ahead, prim.iota(sums.shape, d), prim.const(0, dtypes.int64))
    start = prim.scan("max", place, d)
    where_from = [("i", 0) if i == d else ("d", i) for i in range(sums.ndim)]
    angle = g("sub", path, prim.gather(g("sub", path, steps), [start], where_from, sums.shape))
    found = prim.part("imag", sums)
    turns = g("rint", g("div", g("sub", angle, found), prim.const(2 * math.pi, real.dtype)))
    moved = g("add", found, g("mul", turns, prim.const(2 * math.pi, real.dtype)))
    return prim.join(prim.part("real", sums), g("select", g("isnan", moved), found, moved))


def _shifted(x: Tensor, d: int, by: int, fill: float) -> Tensor:
    """x moved along ``d`` by some places, ``fill`` where nothing comes from."""
    g = prim.current().graph
    index = prim.iota(x.shape, d)
    source = prim.apply("max", prim.apply("sub", index, prim.const(by, dtypes.int64)), prim.const(0, dtypes.int64))
    moved = prim.gather(x, [source], [("i", 0) if i == d else ("d", i) for i in range(x.ndim)], x.shape)
    inside = g.apply("ge", prim.read(index), g.const(by, "i64"))
    return prim.apply("select", prim.wrap(inside), moved, prim.const(fill, x.dtype))


def _log_add(a: Tensor, b: Tensor) -> Tensor:
    """``log(exp(a) + exp(b))`` of complex numbers, scaled by the greater (by real part)."""
    swap = prim.apply("lt", prim.part("real", a), prim.part("real", b))
    high, low = prim.apply("select", swap, b, a), prim.apply("select", swap, a, b)
    real = prim.part("real", high)
    same = prim.apply("eq", prim.apply("abs", real), prim.const(math.inf, real.dtype))
    term = prim.apply("exp", prim.apply("sub", low, high))
    summed = prim.apply("add", high, prim.apply("log", prim.apply("add", prim.const(1, a.dtype), term)))
    return prim.apply("select", same, high, summed)


@logcumsumexp.gradient("input", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    x, y, dim = ctx.input, ctx.result, ctx.dim
    if not x.ndim or x.numel() == 0:
        return grad

    dim %= x.ndim
    n = x.shape[dim]
    real = view_as_real.function(x.detach()).select(-1, 0) if x.dtype.is_complex else x
    none = (real == -math.inf).cumprod(dim).bool()  # nothing has been added up yet
    y = y.masked_fill(none, 0)
    growth = (y - cat([y.narrow(dim, 1, n - 1), y.narrow(dim, n - 1, 1)], dim)).exp().masked_fill(none, 0)
    return conj_of((x - y).exp()) * _scaled_from_the_end(grad, conj_of(growth), dim)


def _running_extreme(kind: str) -> Operator:
    name = "cum" + kind

    def body(input: Tensor, dim: int) -> Any:
        d = dim_of(dim, input.ndim, name)
        if input.dtype.is_complex:
            raise RuntimeError(f'"{name}_cpu" not implemented for {input.dtype}')
        if not input.ndim:
            return prim.wrap(prim.read(input)), prim.const(0, dtypes.int64)
        x = prim.cast(input, dtypes.uint8) if input.dtype is dtypes.bool_ else input
        best = prim.scan(kind, x, d)
        hit = prim.apply("eq", x, best)
        if x.dtype.kind == "f":
            hit = prim.apply("or", hit, prim.apply("isnan", x))
        place = prim.apply("select", hit, prim.iota(x.shape, d), prim.const(0, dtypes.int64))
        return prim.cast(best, input.dtype), prim.scan("max", place, d)

    body.__name__, body.__module__ = "_" + name, __name__
    body.__doc__ = (
        f"The {'greatest' if kind == 'max' else 'least'} element so far along ``dim``, and the last place that has it."
    )
    op = operator(name="_" + name, method=False, function=False)(body)

    @op.gradient("result1")
    def _(ctx, grad, grad_index):  # type: ignore[no-untyped-def]
        shape = ctx.shape("input")
        if not shape:
            return grad
        wide = grad.float() if grad.dtype.itemsize < 4 else grad
        return wide.new_zeros(shape).scatter_add(ctx.dim, ctx.results[1], wide)

    return op


_cummax, _cummin = _running_extreme("max"), _running_extreme("min")


@operator(kind="composite", returns=return_types.cummax)
def cummax(input: Tensor, dim: int) -> Any:
    """The greatest element so far along ``dim`` (NaN counts as greatest), and the last place that has it."""
    return return_types.cummax(*_cummax(input, dim))


@operator(kind="composite", returns=return_types.cummin)
def cummin(input: Tensor, dim: int) -> Any:
    """The least element so far along ``dim`` (NaN counts as least), and the last place that has it."""
    return return_types.cummin(*_cummin(input, dim))


# -- differences and integrals -----------------------------------------------------------------------


@operator(kind="composite")
def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """The ``n``-th differences of neighbours along ``dim``, of ``prepend``, ``input`` and ``append`` one behind the
    other."""
    if not input.ndim:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    d = dim_of(dim, input.ndim, "diff")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    if n == 0:
        return input.clone()  # type: ignore[attr-defined,no-any-return]
    parts = [t for t in (prepend, input, append) if t is not None]
    x = cat(parts, d) if len(parts) > 1 else input
    for _ in range(n):
        size = x.shape[d]
        if size <= 1:
            return x.narrow(d, 0, 0).clone()  # type: ignore[attr-defined,no-any-return]
        high, low = x.narrow(d, 1, size - 1), x.narrow(d, 0, size - 1)  # type: ignore[attr-defined]
        x = high ^ low if x.dtype is dtypes.bool_ else high - low
    return x


def _steps(name: str, y: Tensor, x: Any, dim: int) -> Any:
    """The widths of the intervals: a number, or a tensor that broadcasts to the intervals."""
    if not isinstance(x, Tensor):
        return x
    if x.ndim == 1:
        if x.shape[0] != y.shape[dim]:
            raise RuntimeError(
                f"{name}(): There must be one `x` value for each sample point, got {x.shape[0]} and {y.shape[dim]}"
            )
        widths = x.narrow(0, 1, x.shape[0] - 1) - x.narrow(0, 0, x.shape[0] - 1)  # type: ignore[attr-defined]
        return widths.reshape([-1 if d == dim else 1 for d in range(y.ndim)])
    d = dim - y.ndim
    n = x.shape[d]
    return x.narrow(d, 1, n - 1) - x.narrow(d, 0, n - 1)  # type: ignore[attr-defined]


def _intervals(name: str, y: Tensor, x: Any, dx: Any, dim: int) -> tuple[Tensor | None, int]:
    d = dim_of(dim, y.ndim, name)
    if not y.ndim:
        raise IndexError(f"{name}(): Dimension specified as {dim} but tensor has no dimensions")
    if y.dtype is dtypes.bool_ or (isinstance(x, Tensor) and x.dtype is dtypes.bool_):
        raise RuntimeError(
            f"{name}: received a bool input for `{'y' if y.dtype is dtypes.bool_ else 'x'}`, but bool is not supported"
        )
    n = y.shape[d]
    if n == 0:
        return None, d
    high, low = y.narrow(d, 1, n - 1), y.narrow(d, 0, n - 1)  # type: ignore[attr-defined]
    width = _steps(name, y, x, d) if x is not None else dx
    return (high + low) * width / 2.0, d


def _trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float | None = None, dim: int = -1) -> Tensor:
    """The integral of samples ``y`` along ``dim`` by the trapezoidal rule; at points ``x``, or ``dx`` (1) apart."""
    if x is None and dx.__class__ in (float, int, type(None)) and y.ndim and y.numel() and y.dtype is not dtypes.bool_:
        d = dim_of(dim, y.ndim, "trapezoid")  # all but half of the ends
        ends = (y.select(d, 0) + y.select(d, -1)) / 2.0  # type: ignore[attr-defined]
        total = y.sum(d) - ends  # type: ignore[attr-defined]
        return total if dx is None or dx == 1 else total * dx  # type: ignore[no-any-return]
    area, d = _intervals("trapezoid", y, x, 1 if dx is None else dx, dim)
    if area is None:
        shape = [n for i, n in enumerate(y.shape) if i != d]
        return y.new_zeros(shape)  # type: ignore[attr-defined,no-any-return]
    return area.sum(d)  # type: ignore[attr-defined,no-any-return]


_trapezoid.__name__ = "trapezoid"
trapezoid = operator(kind="composite", method=False, out=False, aliases=("trapz",))(_trapezoid)


@operator(kind="composite", method=False, out=False)
def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float | None = None, dim: int = -1) -> Tensor:
    """The running integrals of samples ``y`` along ``dim`` by the trapezoidal rule; at points ``x``, or ``dx`` (1)
    apart."""
    area, d = _intervals("cumulative_trapezoid", y, x, 1 if dx is None else dx, dim)
    if area is None:
        return y.clone()  # type: ignore[attr-defined,no-any-return]
    return area.cumsum(d)  # type: ignore[attr-defined,no-any-return]


@operator(kind="composite", method=False, out=False)
def gradient(
    input: Tensor, *, spacing: Any = 1, dim: int | Sequence[int] | None = None, edge_order: int = 1
) -> tuple[Tensor, ...]:
    """Estimates of the derivative along each of ``dim`` by second-order differences, one-sided ones at the borders.

    ``spacing`` is the distance of samples, one for each dimension, or their coordinates (1-dim tensors).  Raises
    RuntimeError for an ``edge_order`` other than 1 and 2 and for dimensions of fewer than ``edge_order + 1`` elements.
    """
    spacing = 1 if spacing is None else spacing
    if edge_order not in (1, 2):
        raise RuntimeError(f"torch.gradient only supports edge_order=1 and edge_order=2, got {edge_order}")
    dims = (
        list(range(input.ndim))
        if dim is None
        else [dim_of(d, input.ndim, "gradient") for d in (dim if isinstance(dim, (tuple, list)) else [dim])]
    )
    spaces = list(spacing) if isinstance(spacing, (tuple, list)) else [spacing] * len(dims)
    if len(spaces) != len(dims):
        raise RuntimeError(
            "torch.gradient expected spacing to be unspecified, a scalar, or a list of length "
            f"equal to 'self.dim() = {len(dims)}', since dim argument was not given, but got a "
            f"list of length {len(spaces)}"
        )
    if len(set(dims)) != len(dims):
        raise RuntimeError("dim appears multiple times in the list of dims")
    if not input.dtype.is_floating_point and not input.dtype.is_complex:
        input = input.to(dtypes.get_default_dtype())  # type: ignore[attr-defined]
    kind = input.dtype
    x = input.float() if kind.itemsize < 4 else input  # type: ignore[attr-defined]
    return tuple(_gradient_along(x, d, h, edge_order).to(kind) for d, h in zip(dims, spaces))  # type: ignore[attr-defined]


def _gradient_along(f: Tensor, d: int, spacing: Any, edge_order: int) -> Tensor:
    n = f.shape[d]
    if n <= edge_order:
        raise RuntimeError("torch.gradient expected each dimension size to be at least edge_order+1")

    def part(x: Any, start: int, count: int) -> Any:
        return x.narrow(d, start, count)

    if isinstance(spacing, Tensor) and spacing.ndim:
        if spacing.shape[0] != n:
            raise RuntimeError(
                f"torch.gradient expected each element of spacing to have {n} coordinates, but got {spacing.shape[0]}"
            )
        shape = [-1 if i == d else 1 for i in range(f.ndim)]
        width = (spacing[1:] - spacing[:-1]).reshape(shape)  # type: ignore[index,attr-defined]
    elif edge_order == 1:
        inner = (part(f, 2, n - 2) - part(f, 0, n - 2)) / (2 * spacing)
        ends = [(part(f, k + 1, 1) - part(f, k, 1)) / spacing for k in (0, n - 2)]
        return cat([ends[0], inner, ends[1]], d)  # type: ignore[no-any-return]
    else:
        width = f.new_ones([n - 1 if i == d else 1 for i in range(f.ndim)]) * spacing  # type: ignore[attr-defined]
    slope = (part(f, 1, n - 1) - part(f, 0, n - 1)) / width
    left, right = part(width, 0, n - 2), part(width, 1, n - 2)
    inner = (part(slope, 0, n - 2) * right + part(slope, 1, n - 2) * left) / (left + right)
    first, last = part(slope, 0, 1), part(slope, n - 2, 1)
    if edge_order == 2:
        change = (part(slope, 1, 1) - first) / (part(width, 0, 1) + part(width, 1, 1))
        first = first - change * part(width, 0, 1)
        change = (last - part(slope, n - 3, 1)) / (part(width, n - 3, 1) + part(width, n - 2, 1))
        last = last + change * part(width, n - 2, 1)
    return cat([first, inner, last], d)  # type: ignore[no-any-return]
