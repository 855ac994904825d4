"""Singular values and eigenvalues of batches of matrices by LAPACK: one call of the routine a matrix, laid out as in
``matrices``.  Large matrices of single precision are computed in it, small ones in double (numpy's functions compute
all in double).

LAPACK's iterations need not end on infinities, so that matrices with elements that are not finite never reach it:
their results are nan.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..runtime import blas
from . import matrices

__all__ = ["eigen", "eigen_hermitian", "singular", "singular_values"]

Array = np.ndarray
_SMALL = 32
_NARROW = {"d": np.float32, "D": np.complex64}
_at = blas.address_of


class _Room(NamedTuple):
    """Scratch space of a routine: arrays, and the addresses that are passed for them and their lengths."""

    arrays: tuple[Array, ...]
    addresses: tuple[int, ...]


_lengths: dict[tuple[Any, ...], list[int]] = {}
_MOST_LENGTHS = 4096


def _room(asks: tuple[Any, ...], query: Callable[..., None], *types: Any) -> _Room:
    """What a routine wants: ``query`` is called with an array and the length -1 for each of the types, once for all
    calls that ``asks`` (routine, element type, options and sizes) does not tell apart."""
    lengths = _lengths.get(asks)
    if lengths is None:
        answers = [np.zeros(1, type_) for type_ in types]
        query(*[address for answer in answers for address in (answer.ctypes.data, _at(-1))])
        # float32 rounds lengths beyond 2**24
        lengths = [max(1, math.ceil(float(a[0].real) * (1 + 1e-6))) for a in answers]
        if len(_lengths) == _MOST_LENGTHS:
            _lengths.clear()
        _lengths[asks] = lengths
    arrays = tuple(np.empty(length, type_) for length, type_ in zip(lengths, types))
    return _Room(arrays, tuple(address for a in arrays for address in (a.ctypes.data, _at(a.size))))


def _side(a: Array) -> int:
    """The rows of square matrices: LAPACK does not ask how large what it is given is."""
    if a.shape[-1] != a.shape[-2]:
        raise ValueError(f"eigenvalues are those of square matrices, got {a.shape[-2]} by {a.shape[-1]}")
    return a.shape[-1]


def _for_finite(a: Array, call: Callable[[int], None], *results: Array) -> None:
    """``call(k)`` for the matrices whose elements are all finite; the ``results`` for others are nan."""
    finite = np.isfinite(a).all((-2, -1))
    if finite.all():
        for k in range(finite.size):
            call(k)
        return
    for result in results:
        result[~finite] = math.nan
    for place in np.flatnonzero(finite):
        call(int(place))


def _small_in_double(function: Callable[..., tuple[Array, ...]]) -> Any:
    """Single-precision matrices of up to `_SMALL` rows and columns are computed in double and the results rounded:
    there the calls cost more than the arithmetic, and derivatives divide by differences of the values, which makes
    rounding errors many times larger."""

    @functools.wraps(function)
    def form(a: Array, *options: Any) -> tuple[Array, ...]:
        if a.dtype.char not in "fF" or max(a.shape[-2:]) > _SMALL:
            return function(a, *options)
        found = function(a.astype(np.complex128 if a.dtype.kind == "c" else np.float64), *options)
        with np.errstate(over="ignore"):  # beyond the type's range lies infinity
            return tuple(x.astype(_NARROW.get(x.dtype.char, x.dtype)) for x in found)

    return form


def _gesdd(a: Array, job: str) -> tuple[Array, Array, Array, Array]:
    """(U, S, Vh, info): all vectors for ``job`` "A", as many as there are values for "S", none for "N"."""
    (m, n), batch = a.shape[-2:], a.shape[:-2]
    least, most = min(m, n), max(m, n)
    left, right, width = {"A": ((m, m), (n, n), n), "S": ((least, m), (n, least), least), "N": ((0, 0), (0, 0), 1)}[job]
    data = np.array(a.swapaxes(-1, -2), order="C")
    values = np.empty((*batch, least), a.real.dtype)
    u, vh = np.empty((*batch, *left), a.dtype), np.empty((*batch, *right), a.dtype)
    info, places = np.zeros(batch, np.int32), np.empty(8 * least, np.int32)
    more: tuple[int, ...] = (places.ctypes.data,)
    if a.dtype.kind == "c":
        # LAPACK's documentation of zgesdd, "LRWORK"
        vectors = max(5 * least + 5, 2 * most + 2 * least + 1) if job != "N" else 7
        reals = np.empty(vectors * least, values.dtype)
        more = (reals.ctypes.data, *more)
    gesdd = blas.routine(blas.letter(a.dtype) + "gesdd", 13 + len(more))
    sizes, rows, others = (_at(job), _at(m), _at(n)), _at(m), _at(width)
    starts = [(x.ctypes.data, math.prod(x.shape[len(batch) :]) * x.itemsize) for x in (data, values, u, vh, info)]

    def call(k: int, *space: int) -> None:
        matrix, found, columns, across, where = (start + k * step for start, step in starts)
        gesdd(*sizes, matrix, rows, found, columns, rows, across, others, *space, *more, where)

    room = _room(("gesdd", a.dtype, job, m, n), lambda *space: call(0, *space), a.dtype)
    _for_finite(a, lambda k: call(k, *room.addresses), values, u, vh)
    return u.swapaxes(-1, -2), values, vh.swapaxes(-1, -2), info


def _with_nan(a: Array, info: Array) -> Array:
    """-4 in ``info`` for matrices with nan elements: what LAPACK answers."""
    info[np.isnan(a).any((-2, -1))] = -4
    return info


@_small_in_double
def singular_values(a: Array) -> tuple[Array, Array]:
    """(S, info), S descending; info is -4 for matrices with nan, positive where the iteration did not converge."""
    _, values, _, info = _gesdd(a, "N")
    return values, _with_nan(a, info)


@_small_in_double
def singular(a: Array, full: bool) -> tuple[Array, Array, Array, Array]:
    """(U, S, Vh, info) of matrices, with the signs of PyTorch's; info is that of ``singular_values``.

    LAPACK brings real matrices with 11/6 times as many columns as rows into a triangle before it makes them
    bidiagonal.  MKL, which PyTorch uses, does so only from about 18 times; the signs of singular vectors tell.  So the
    triangle is made here, and LAPACK given a matrix that it does not think wide.
    """
    m, n = a.shape[-2:]
    if a.dtype.kind != "c" and m >= 2 and 11 * m // 6 <= n < 18 * m and np.isfinite(a).all():
        q, r = matrices.orthogonalize(a.swapaxes(-1, -2), full)
        size = max(m, 3)
        square = np.zeros((*a.shape[:-2], size, size + 1), a.dtype)
        square[..., :m, :m] = r[..., :m, :].swapaxes(-1, -2)
        u, s, vh, info = _gesdd(square, "S")
        if (s[..., m - 1] > 0).all():  # vectors of singular values 0 may lie in the columns that were added
            rows = q.swapaxes(-1, -2)
            vh = np.matmul(vh[..., :m, :m], rows[..., :m, :])
            return u[..., :m, :m], s[..., :m], np.concatenate([vh, rows[..., m:, :]], -2), info
    u, s, vh, info = _gesdd(a, "A" if full else "S")
    return u, s, vh, _with_nan(a, info)


@_small_in_double
def eigen_hermitian(a: Array, lower: bool, vectors: bool) -> tuple[Array, Array, Array]:
    """(values, vectors, info) of Hermitian matrices, of which one triangle is read; values ascend.

    Without ``vectors`` those returned are of no use; info is positive where the iteration did not converge.
    """
    n, batch = _side(a), a.shape[:-2]
    found = np.array(a.swapaxes(-1, -2), order="C")
    values, info = np.empty((*batch, n), a.real.dtype), np.zeros(batch, np.int32)
    real = a.dtype.kind != "c"
    evd = blas.routine(blas.letter(a.dtype) + ("syevd" if real else "heevd"), 11 if real else 13)
    sizes, rows = (_at("V" if vectors else "N"), _at("L" if lower else "U"), _at(n)), _at(n)
    starts = [(x.ctypes.data, math.prod(x.shape[len(batch) :]) * x.itemsize) for x in (found, values, info)]

    def call(k: int, *space: int) -> None:
        matrix, places, where = (start + k * step for start, step in starts)
        evd(*sizes, matrix, rows, places, *space, where)

    types = (a.dtype, np.int32) if real else (a.dtype, values.dtype, np.int32)
    room = _room(("evd", a.dtype, vectors, n), lambda *space: call(0, *space), *types)
    kept = np.tril(a) if lower else np.triu(a)
    _for_finite(kept, lambda k: call(k, *room.addresses), values, found)
    return values, found.swapaxes(-1, -2), info


@_small_in_double
def eigen(a: Array, vectors: bool) -> tuple[Array, Array, Array]:
    """(values, vectors, info) of square matrices, complex; the vectors have norm 1.

    Without ``vectors`` those returned are of no use; info is positive where the iteration did not converge.
    """
    n, batch = _side(a), a.shape[:-2]
    data = np.array(a.swapaxes(-1, -2), order="C")
    columns = np.empty((*batch, n, n) if vectors else (*batch, 1, 1), a.dtype)
    info = np.zeros(batch, np.int32)
    real = a.dtype.kind != "c"
    values, imaginary = np.empty((*batch, n), a.dtype), np.empty((*batch, n), a.dtype)
    reals = np.empty(2 * n, a.real.dtype)
    geev = blas.routine(blas.letter(a.dtype) + "geev", 14)
    jobs, rows, none = (_at("N"), _at("V" if vectors else "N"), _at(n)), _at(n), np.empty(1, a.dtype)
    starts = [
        (x.ctypes.data, math.prod(x.shape[len(batch) :]) * x.itemsize) for x in (data, values, imaginary, columns, info)
    ]

    def call(k: int, *space: int) -> None:
        matrix, first, second, found, where = (start + k * step for start, step in starts)
        parts = (first, second) if real else (first,)
        more = () if real else (reals.ctypes.data,)
        geev(*jobs, matrix, rows, *parts, none.ctypes.data, _at(1), found, rows, *space, *more, where)

    room = _room(("geev", a.dtype, vectors, n), lambda *space: call(0, *space), a.dtype)
    _for_finite(a, lambda k: call(k, *room.addresses), values, imaginary, columns)
    if not real:
        return values, columns.swapaxes(-1, -2), info
    kind = np.result_type(a.dtype, np.complex64)
    if not vectors:
        return values + imaginary * kind.type(1j), columns, info
    # a conjugate pair's vectors: the real part in the first one's column, the imaginary part in the second one's
    found, first, second = columns.astype(kind), imaginary > 0, imaginary < 0
    found[first] = columns[first] + columns[second] * kind.type(1j)
    found[second] = found[first].conj()
    return values + imaginary * kind.type(1j), found.swapaxes(-1, -2), info
