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
from typing import Any

import numpy as np

from . import matrices
from .matrices import columns_of
from .routines import Shared, each, letter

__all__ = ["eigen", "eigen_hermitian", "low_rank", "singular", "singular_values"]

Array = np.ndarray
_SMALL = 32
_NARROW = {"d": np.float32, "D": np.complex64}

_lengths: dict[tuple[Any, ...], list[int]] = {}
_MOST_LENGTHS = 4096


def _room(asks: tuple[Any, ...], query: Callable[..., None], *types: Any) -> list[Shared | int]:
    """Scratch space that a routine wants, each followed by its length: ``query`` is called with arrays of one element
    and the length -1 for each of the types, once for all calls that ``asks`` (routine, element type, options and sizes)
    does not tell apart."""
    lengths = _lengths.get(asks)
    if lengths is None:
        answers = [np.zeros(1, type_) for type_ in types]
        query(*[x for answer in answers for x in (Shared(answer), -1)])
        # float32 rounds lengths beyond 2**24
        lengths = [max(1, math.ceil(float(a[0].real) * (1 + 1e-6))) for a in answers]
        if len(_lengths) == _MOST_LENGTHS:
            _lengths.clear()
        _lengths[asks] = lengths
    return [x for length, type_ in zip(lengths, types) for x in (Shared(np.empty(length, type_)), length)]


def _side(a: Array) -> int:
    """The rows of square matrices: LAPACK does not ask how large what it is given is."""
    if a.shape[-1] != a.shape[-2]:
        raise ValueError(f"eigenvalues are those of square matrices, got {a.shape[-2]} by {a.shape[-1]}")
    return a.shape[-1]


def _of_finite(compute: Callable[[Array], tuple[Array, ...]], a: Array) -> tuple[Array, ...]:
    """``compute(a)``, its last result the info about each matrix; with nan and info 0 for the matrices that have
    elements which are not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        if math.isfinite(abs(a.sum())):  # no need to look at each
            return compute(a)
    finite = np.isfinite(a).all((-2, -1))
    if finite.all():
        return compute(a)
    flat = finite.reshape(-1)
    *parts, info = compute(np.concatenate([a.reshape(-1, *a.shape[-2:])[flat], np.ones((1, *a.shape[-2:]), a.dtype)]))
    found = []
    for part in (*parts, info):
        whole = np.full((flat.size, *part.shape[1:]), 0 if part is info else math.nan, part.dtype)
        whole[flat] = part[:-1]  # the matrix of ones was there for the shapes
        found.append(whole.reshape((*finite.shape, *part.shape[1:])))
    return tuple(found)


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
            return tuple([x.astype(_NARROW.get(x.dtype.char, x.dtype)) for x in found])

    return form


def _gesdd(a: Array, job: str) -> tuple[Array, Array, Array, Array]:
    """(U, S, Vh, info): all vectors for ``job`` "A", as many as there are values for "S", none for "N"."""
    return _of_finite(functools.partial(_gesdd_of_finite, job=job), a)  # type: ignore[return-value]


def _gesdd_of_finite(a: Array, job: str) -> tuple[Array, Array, Array, Array]:
    (m, n), batch = a.shape[-2:], a.shape[:-2]
    least, most = min(m, n), max(m, n)
    left, right, width = {"A": ((m, m), (n, n), n), "S": ((least, m), (n, least), least), "N": ((0, 0), (0, 0), 1)}[job]
    data, values = columns_of(a), np.empty((*batch, least), a.real.dtype)
    u, vh = np.empty((*batch, *left), a.dtype), np.empty((*batch, *right), a.dtype)
    info = np.zeros(batch, np.int32)
    more = [Shared(np.empty(8 * least, np.int32))]
    if a.dtype.kind == "c":
        # LAPACK's documentation of zgesdd, "LRWORK"
        vectors = max(5 * least + 5, 2 * most + 2 * least + 1) if job != "N" else 7
        more.insert(0, Shared(np.empty(vectors * least, values.dtype)))

    def call(count: int, *space: Shared | int) -> None:
        each(letter(a) + "gesdd", count, job, m, n, data, m, values, u, m, vh, width, *space, *more, info)

    call(info.size, *_room(("gesdd", a.dtype, job, m, n), lambda *space: call(1, *space), a.dtype))
    return u.swapaxes(-1, -2), values, vh.swapaxes(-1, -2), info


def _with_nan(a: Array, values: Array, info: Array) -> Array:
    """-4 in ``info`` for matrices with nan elements, whose ``values`` are nan: what LAPACK answers."""
    if math.isnan(values.sum()):
        info[np.isnan(a).any((-2, -1))] = -4
    return info


@_small_in_double
def singular_values(a: Array) -> tuple[Array, Array]:
    """(S, info), S descending; info is -4 for matrices with nan, positive where the iteration did not converge."""
    _, values, _, info = _gesdd(a, "N")
    return values, _with_nan(a, values, info)


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
        u, s, vh, info = _gesdd_of_finite(square, "S")
        if (s[..., m - 1] > 0).all():  # vectors of singular values 0 may lie in the columns that were added
            rows = q.swapaxes(-1, -2)
            vh = np.matmul(vh[..., :m, :m], rows[..., :m, :])
            return u[..., :m, :m], s[..., :m], np.concatenate([vh, rows[..., m:, :]], -2), info
    u, s, vh, info = _gesdd(a, "A" if full else "S")
    return u, s, vh, _with_nan(a, s, info)


def low_rank(a: Array, start: Array, steps: int) -> tuple[Array, Array, Array, Array]:
    """(U, S, Vh, info) of the greatest singular values of each A, nearly: of ``Q Q^H A`` for the columns Q of
    ``matrices.dominant_basis``, as many as ``start`` has."""
    q = matrices.dominant_basis(a, start, steps)
    u, s, vh, info = singular(np.matmul(q.swapaxes(-1, -2).conj(), a), False)
    return np.matmul(q, u), s, vh, info


@_small_in_double
def eigen_hermitian(a: Array, lower: bool, vectors: bool) -> tuple[Array, Array, Array]:
    """(values, vectors, info) of Hermitian matrices, of which one triangle is read; values ascend.

    Without ``vectors`` those returned are of no use; info is positive where the iteration did not converge.
    """
    _side(a)
    kept = matrices.lower(a) if lower else matrices.upper(a)
    return _of_finite(functools.partial(_evd, job="V" if vectors else "N", side="L" if lower else "U"), kept)  # type: ignore[return-value]


def _evd(a: Array, job: str, side: str) -> tuple[Array, Array, Array]:
    n, batch, real = a.shape[-1], a.shape[:-2], a.dtype.kind != "c"
    found, values, info = columns_of(a), np.empty((*batch, n), a.real.dtype), np.zeros(batch, np.int32)
    routine = letter(a) + ("syevd" if real else "heevd")

    def call(count: int, *space: Shared | int) -> None:
        each(routine, count, job, side, n, found, n, values, *space, info)

    types = (a.dtype, np.int32) if real else (a.dtype, values.dtype, np.int32)
    call(info.size, *_room(("evd", a.dtype, job, n), lambda *space: call(1, *space), *types))
    return values, found.swapaxes(-1, -2), info


@_small_in_double
def eigen(a: Array, vectors: bool) -> tuple[Array, Array, Array]:
    """(values, vectors, info) of square matrices, complex; the vectors have norm 1.

    Without ``vectors`` those returned are of no use; info is positive where the iteration did not converge.
    """
    _side(a)
    return _of_finite(functools.partial(_geev, vectors=vectors), a)  # type: ignore[return-value]


def _geev(a: Array, vectors: bool) -> tuple[Array, Array, Array]:
    n, batch, real = a.shape[-1], a.shape[:-2], a.dtype.kind != "c"
    data, info = columns_of(a), np.zeros(batch, np.int32)
    columns = np.empty((*batch, n, n) if vectors else (*batch, 1, 1), a.dtype)
    values, imaginary = np.empty((*batch, n), a.dtype), np.empty((*batch, n), a.dtype)
    parts, none = (values, imaginary) if real else (values,), Shared(np.empty(1, a.dtype))
    more = () if real else (Shared(np.empty(2 * n, a.real.dtype)),)

    def call(count: int, *space: Shared | int) -> None:
        job = "V" if vectors else "N"
        each(letter(a) + "geev", count, "N", job, n, data, n, *parts, none, 1, columns, n, *space, *more, info)

    call(info.size, *_room(("geev", a.dtype, vectors, n), lambda *space: call(1, *space), a.dtype))
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
