"""Where the elements of a triangle of a matrix lie."""

from __future__ import annotations

from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import Scalar, operator
from ..dtype import dtype as dtype_
from ..tensor import Tensor
from .common import overridable
from .convert import convert

__all__ = ["tril_indices", "triu_indices"]


@operator(method=False, function=False, differentiable=False, out=False)
def _places(
    size: int,
    last: Scalar,
    top: Scalar,
    first: Scalar,
    sloped: Scalar,
    col: Scalar,
    rows: Scalar,
    level: bool,
    turned: bool,
) -> Tensor:
    """(2, ``size``): the row and the column of every element of a lower triangle, in row-major order.

    Rows from ``top`` on have ``first``, ``first + 1`` ... elements; after ``sloped`` of these, if it is ``level``, all
    have ``col``.  With ``turned`` it is the upper triangle, of ``rows`` rows, that is this one turned by half a turn.
    Double precision finds places exactly: roots and quotients that are whole numbers are so in it, up to 2^52.
    """
    work, g = dtypes.float64, prim.apply

    def number(value: Tensor) -> Tensor:
        return prim.cast(value, work)

    one, two = prim.const(1, work), prim.const(2, work)
    k = prim.cast(prim.iota((size,), 0), work)
    if turned:
        k = g("sub", number(last), k)
    slope = g("sub", g("mul", two, number(first)), one)

    def before(m: Tensor) -> Tensor:
        """The elements of the first m sloped rows."""
        return g("mul", g("mul", m, g("add", slope, m)), prim.const(0.5, work))

    root = g("sqrt", g("add", g("mul", slope, slope), g("mul", prim.const(8, work), k)))
    row = g("floor", g("mul", g("sub", root, slope), prim.const(0.5, work)))
    column = g("sub", k, before(row))
    if level:
        rest = g("sub", k, before(number(sloped)))
        beyond = g("ge", rest, prim.const(0, work))
        whole = g("floor", g("div", rest, number(col)))
        row = g("select", beyond, g("add", number(sloped), whole), row)
        column = g("select", beyond, g("sub", rest, g("mul", whole, number(col))), column)
    row = g("add", number(top), row)
    if turned:
        row = g("sub", g("sub", number(rows), one), row)
        column = g("sub", g("sub", number(col), one), column)
    out = prim.undef((2, size), dtypes.int64)
    for which, value in enumerate((row, column)):
        place = prim.move(_whole(value), ((0, ((1, 1),)),), (1, size))
        out = prim.update(out, place, ((which, ()), (0, ((1, 1),))))
    return out


def _whole(value: Tensor) -> Tensor:
    """Whole numbers below 2^52 as integers: beside 2^52 they are the last bits of a double, and few processors have an
    instruction that converts vectors of doubles."""
    bits = prim.bitcast(prim.apply("add", value, prim.const(2.0**52, dtypes.float64)), dtypes.int64)
    return prim.apply("sub", bits, prim.const(0x433 << 52, dtypes.int64))


def _indices(name: str, row: int, col: int, offset: int, dtype: dtype_ | None, device: Any, upper: bool) -> Tensor:
    if row < 0 or col < 0:
        raise RuntimeError(f"{name}: row and col must be non-negative, got {row} and {col}")
    offset = col - row - offset if upper else offset
    top = max(0, -offset)  # the first row that has elements
    first = min(top + offset + 1, col)
    sloped = max(0, min(row - top, col - first + 1))
    level = max(0, row - top - sloped)
    size = sloped * (2 * first - 1 + sloped) // 2 + level * col if row > top and col else 0
    found = _places.function(size, size - 1, top, first, sloped, col, row, level > 0, upper)
    return convert(found, dtype or dtypes.int64, device)


@overridable
def tril_indices(
    row: int, col: int, offset: int = 0, *, dtype: dtype_ | None = None, device: Any = None, layout: Any = None
) -> Tensor:
    """The rows and columns (2, N) of the lower triangle of a matrix, in row-major order."""
    return _indices("tril_indices", row, col, offset, dtype, device, False)


@overridable
def triu_indices(
    row: int, col: int, offset: int = 0, *, dtype: dtype_ | None = None, device: Any = None, layout: Any = None
) -> Tensor:
    """The rows and columns (2, N) of the upper triangle of a matrix, in row-major order."""
    return _indices("triu_indices", row, col, offset, dtype, device, True)
