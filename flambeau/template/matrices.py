"""Decompositions and solutions of batches of matrices by LAPACK, on numpy arrays: one call of the routine a matrix, and
nothing else.

Rows of an array are columns for LAPACK: what lies in memory is the transpose of what it sees.  Results are views of
such transposes, their columns in one piece each.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .routines import Shared, each, letter, prepared

__all__ = [
    "bunch_kaufman", "cholesky", "dominant_basis", "invert_product", "least_squares", "lower", "lu", "orthogonalize",
    "permutations", "reflect", "reflections", "solve", "solve_bunch_kaufman", "substitute", "triangulate", "upper",
]  # fmt: skip

Array = np.ndarray
_BLOCK = 64
"""Columns that LAPACK's routines take at a time at most, by which scratch space is measured."""


def columns_of(a: Array) -> Array:
    """A copy of matrices as LAPACK wants them: an array (..., columns, rows) in row-major order."""
    return np.array(a.swapaxes(-1, -2), order="C")


def _zeros(a: Array) -> Array:
    """Room for the answer of a routine about each matrix."""
    return np.zeros(a.shape[:-2], np.int32)


@functools.lru_cache(maxsize=64)
def _triangle(rows: int, columns: int, above: bool) -> Array:
    whole = np.ones((rows, columns), bool)
    return np.triu(whole) if above else np.tril(whole)


def lower(a: Array) -> Array:
    """The lower triangles of matrices, zero above, as a copy whose columns lie in one piece each."""
    turned = a.swapaxes(-1, -2)
    return np.where(_triangle(*turned.shape[-2:], True), turned, a.dtype.type(0)).swapaxes(-1, -2)


def upper(a: Array) -> Array:
    """The upper triangles; see ``lower``."""
    turned = a.swapaxes(-1, -2)
    return np.where(_triangle(*turned.shape[-2:], False), turned, a.dtype.type(0)).swapaxes(-1, -2)


def cholesky(a: Array, above: bool) -> tuple[Array, Array]:
    """(factor, info) of Hermitian matrices, of which one triangle is read: ``L L^H``, or ``U^H U`` with the one above;
    info is the order of the first minor that is not positive, or 0."""
    factor, info, n = columns_of(a), _zeros(a), a.shape[-1]
    each(letter(a) + "potrf", info.size, "U" if above else "L", n, factor, n, info)
    return (upper if above else lower)(factor.swapaxes(-1, -2)), info


def invert_product(a: Array) -> tuple[Array, Array]:
    """(``(L L^H)^-1``, info) for lower triangles L; info is the place of the first zero on the diagonal, or 0.

    Only the lower triangle is of use.
    """
    found, info, n = columns_of(a), _zeros(a), a.shape[-1]
    each(letter(a) + "potri", info.size, "L", n, found, n, info)
    return found.swapaxes(-1, -2), info


def lu(a: Array) -> tuple[Array, Array, Array]:
    """(L and U in one matrix, row exchanges from 1, info); info is the place of the first pivot that is 0, or 0."""
    (m, n), factors, info = a.shape[-2:], columns_of(a), _zeros(a)
    pivots = np.zeros((*a.shape[:-2], min(m, n)), np.int32)
    each(letter(a) + "getrf", info.size, m, n, factors, m, pivots, info)
    return factors.swapaxes(-1, -2), pivots, info


def solve(a: Array, b: Array) -> tuple[Array, Array]:
    """(X, info) with ``A X = B``; X is of no use where info, the place of the first pivot that is 0, is not 0."""
    n, factors, x, info = a.shape[-1], columns_of(a), columns_of(b), _zeros(a)
    pivots = Shared(np.empty(n, np.int32))
    each(letter(a) + "gesv", info.size, n, b.shape[-1], factors, n, pivots, x, n, info)
    return x.swapaxes(-1, -2), info


def substitute(a: Array, b: Array, above: bool, left: bool, unit: bool) -> Array:
    """X with ``A X = B`` (or ``X A = B``) for triangular A; what a diagonal of 0 makes is infinite."""
    x, (rows, columns), n = columns_of(b), b.shape[-2:], a.shape[-1]
    by_rows = a.strides[-1] <= a.strides[-2]  # LAPACK sees A^T then
    a = np.ascontiguousarray(a if by_rows else a.swapaxes(-1, -2))
    each(
        letter(a) + "trsm", math.prod(a.shape[:-2]), "L" if left else "R", "U" if above != by_rows else "L",
        "T" if by_rows else "N", "U" if unit else "N", rows, columns, Shared(np.ones(1, a.dtype)), a, n, x, rows,
    )  # fmt: skip
    return x.swapaxes(-1, -2)


def reflections(a: Array, tau: Array) -> Array:
    """The first columns of the product of Householder's reflections, kept below the diagonals."""
    (m, n), q, info, room = a.shape[-2:], columns_of(a), _zeros(a), _BLOCK * a.shape[-1]
    routine = letter(a) + ("ungqr" if a.dtype.kind == "c" else "orgqr")
    work = Shared(np.empty(room, a.dtype))
    each(routine, info.size, m, n, tau.shape[-1], q, m, np.ascontiguousarray(tau), work, room, info)
    return q.swapaxes(-1, -2)


def reflect(a: Array, tau: Array, x: Array, transposed: bool) -> Array:
    """``Q x`` (``transposed``: ``Q^H x``) for the product Q of Householder's reflections, kept below the diagonals."""
    (m, columns), k, found, info = x.shape[-2:], tau.shape[-1], columns_of(x), _zeros(a)
    vectors, factors = np.ascontiguousarray(a.swapaxes(-1, -2)), np.ascontiguousarray(tau)
    room, real = _BLOCK * columns + (_BLOCK + 1) * _BLOCK, a.dtype.kind != "c"  # a block, and its triangle
    way, work = ("T" if real else "C") if transposed else "N", Shared(np.empty(room, a.dtype))
    each(
        letter(a) + ("ormqr" if real else "unmqr"), info.size, "L", way, m, columns, k, vectors, m, factors, found, m,
        work, room, info,
    )  # fmt: skip
    return found.swapaxes(-1, -2)


def least_squares(a: Array, b: Array, cut: float) -> tuple[Array, Array]:
    """(X of least norm with ``|A X - B|`` least, rank) of finite matrices, by QR with exchanges of columns; pivots of R
    are zero where the condition would exceed ``1 / cut``."""
    (m, n), columns, batch, info = a.shape[-2:], b.shape[-1], a.shape[:-2], _zeros(a)
    most, least, real = max(m, n), min(m, n), a.dtype.kind != "c"
    data, x = columns_of(a), np.zeros((*batch, columns, most), a.dtype)
    x[..., :m] = b.swapaxes(-1, -2)
    exchanges, ranks = np.zeros((*batch, n), np.int32), np.zeros(batch, np.int32)
    limit = Shared(np.full(1, cut, a.real.dtype))
    more = () if real else (Shared(np.empty(2 * n, a.real.dtype)),)
    # LAPACK's documentation of dgelsy, "LWORK", for blocks of the largest size
    room = least + max(2 * n + (_BLOCK + 1) * (n + 1), 2 * least + _BLOCK * columns)
    work = Shared(np.empty(room, a.dtype))
    each(
        letter(a) + "gelsy", info.size, m, n, columns, data, m, x, most, exchanges, limit, ranks, work, room, *more,
        info,
    )  # fmt: skip
    return x[..., :n].swapaxes(-1, -2), ranks


def triangulate(a: Array) -> tuple[Array, Array]:
    """(R above Householder's vectors, their factors) of each matrix."""
    (m, n), found, info, room = a.shape[-2:], columns_of(a), _zeros(a), _BLOCK * a.shape[-1]
    tau = np.zeros((*a.shape[:-2], min(m, n)), a.dtype)
    each(letter(a) + "geqrf", info.size, m, n, found, m, tau, Shared(np.empty(room, a.dtype)), room, info)
    return found.swapaxes(-1, -2), tau


def orthogonalize(a: Array, complete: bool) -> tuple[Array, Array]:
    """(Q, R) with ``A = Q R``; all columns of Q for ``complete``, otherwise as many as A has rows or columns."""
    (m, n), batch = a.shape[-2:], a.shape[:-2]
    k = min(m, n)
    found, tau = triangulate(a)
    columns = m if complete else k
    vectors = found[..., :k]
    if columns > k:
        vectors = np.zeros((*batch, columns, m), a.dtype).swapaxes(-1, -2)
        vectors[..., :k] = found[..., :k]
    return reflections(vectors, tau), upper(found[..., :columns, :])


def dominant_basis(a: Array, start: Array, steps: int) -> Array:
    """Orthonormal columns that nearly span the range of each A: those of ``A start``, sharpened by ``steps`` products
    with ``A A^H`` (randomized subspace iteration: N. Halko, P. Martinsson, J. Tropp 2011, algorithm 4.4).

    ``start`` has no more columns than A has columns or rows.
    """
    batch, (m, n), k = a.shape[:-2], a.shape[-2:], start.shape[-1]
    # columns of LAPACK's matrices are rows here: products are of transposes, and laid out as the next routine wants
    q, room, count = columns_of(start), _BLOCK * k, math.prod(batch)
    tau, work, info = np.empty((*batch, k), a.dtype), Shared(np.empty(room, a.dtype)), _zeros(a)
    last = "ungqr" if a.dtype.kind == "c" else "orgqr"
    across, back = a.swapaxes(-1, -2), a.conj() if a.dtype.kind == "c" else a
    space = [np.empty((*batch, k, rows), a.dtype) for rows in (m, n)]
    orthonormal = [
        (
            prepared(letter(a) + "geqrf", count, x.shape[-1], k, x, x.shape[-1], tau, work, room, info),
            prepared(letter(a) + last, count, x.shape[-1], k, k, x, x.shape[-1], tau, work, room, info),
        )
        for x in (space if steps else space[:1])
    ]
    for step in range(2 * steps + 1):
        q = np.matmul(q, back if step % 2 else across, out=space[step % 2])
        for run in orthonormal[step % 2]:
            run()
    return q.swapaxes(-1, -2)


def bunch_kaufman(a: Array, hermitian: bool) -> tuple[Array, Array, Array]:
    """(factors, exchanges, info) of symmetric (or Hermitian) matrices, of which the lower triangle is read."""
    n, found, info, room = a.shape[-1], columns_of(a), _zeros(a), _BLOCK * a.shape[-1]
    pivots = np.zeros(a.shape[:-1], np.int32)
    routine = letter(a) + ("hetrf" if hermitian and a.dtype.kind == "c" else "sytrf")
    each(routine, info.size, "L", n, found, n, pivots, Shared(np.empty(room, a.dtype)), room, info)
    return lower(found.swapaxes(-1, -2)), pivots, info


def solve_bunch_kaufman(a: Array, pivots: Array, b: Array, hermitian: bool) -> Array:
    """X with ``A X = B``, from what ``bunch_kaufman`` made of A; raises RuntimeError for other exchanges."""
    n, info = a.shape[-1], _zeros(a)
    places = np.ascontiguousarray(pivots, np.int32)
    rows = np.abs(places)
    if places.shape != a.shape[:-1] or (rows.size and not (rows.min() >= 1 and rows.max() <= n)):
        raise RuntimeError(
            f"pivots of shape {list(pivots.shape)} are no exchanges of {n} rows: pass the ones that ldl_factor gave"
        )
    factors, x = np.ascontiguousarray(a.swapaxes(-1, -2)), columns_of(b)
    routine = letter(a) + ("hetrs" if hermitian and a.dtype.kind == "c" else "sytrs")
    each(routine, info.size, "L", n, b.shape[-1], factors, n, places, x, n, info)
    return x.swapaxes(-1, -2)


def permutations(pivots: Array, n: int) -> Array:
    """Row exchanges (from 1) of each matrix as a permutation of ``n`` rows; raises RuntimeError for other numbers."""
    flat: Any = pivots.reshape(math.prod(pivots.shape[:-1]), pivots.shape[-1])
    if flat.shape[1] > n or (flat.size and not (flat.min() >= 1 and flat.max() <= n)):
        raise RuntimeError(
            f"pivots of shape {list(pivots.shape)} are no exchanges of {n} rows, which are counted from 1: pass the "
            "ones that lu_factor gave"
        )
    flat = np.ascontiguousarray(flat, np.int32)
    order = np.tile(np.arange(n, dtype=np.float64), (flat.shape[0], 1))  # LAPACK exchanges rows of numbers only
    if flat.size:
        each("dlaswp", flat.shape[0], 1, order, n, 1, flat.shape[1], flat, 1)
    return order.astype(np.int64).reshape((*pivots.shape[:-1], n))
