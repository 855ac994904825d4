"""Decompositions and solutions of batches of matrices by LAPACK, on numpy arrays: one call of the routine a matrix, and
nothing else.

Rows of an array are columns for LAPACK: what lies in memory is the transpose of what it sees.  Results are views of
such transposes, their columns in one piece each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..runtime import blas

__all__ = [
    "bunch_kaufman", "cholesky", "dominant_basis", "invert_product", "least_squares", "lu", "orthogonalize",
    "permutations", "reflect", "reflections", "solve", "solve_bunch_kaufman", "substitute", "triangulate",
]  # fmt: skip

Array = np.ndarray
_at = blas.address_of


def _run(count: int, infos: Array, call: Callable[[int, int], None]) -> None:
    """``call(k, info)`` for each of ``count`` matrices; ``info`` is where the k-th answer goes."""
    start = infos.ctypes.data
    for k in range(count):
        call(k, start + 4 * k)


def cholesky(a: Array, upper: bool) -> tuple[Array, Array]:
    """(factor, info) of Hermitian matrices, of which one triangle is read; info is the order of the first minor that is
    not positive, or 0."""
    n, batch = a.shape[-1], a.shape[:-2]
    factor = np.array(a.swapaxes(-1, -2), order="C")
    info = np.zeros(batch, np.int32)
    potrf = blas.routine(blas.letter(a.dtype) + "potrf", 5)
    side, size, data, step = _at("U" if upper else "L"), _at(n), factor.ctypes.data, n * n * a.itemsize
    _run(math.prod(batch), info, lambda k, where: potrf(side, size, data + k * step, size, where))
    return (np.tril if upper else np.triu)(factor).swapaxes(-1, -2), info


def invert_product(a: Array) -> tuple[Array, Array]:
    """(``(L L^H)^-1``, info) for lower triangles L; info is the place of the first zero on the diagonal, or 0.

    Only the lower triangle is of use.
    """
    n = a.shape[-1]
    found, info = np.array(a.swapaxes(-1, -2), order="C"), np.zeros(a.shape[:-2], np.int32)
    potri = blas.routine(blas.letter(a.dtype) + "potri", 5)
    side, size, data, step = _at("L"), _at(n), found.ctypes.data, n * n * a.itemsize
    _run(math.prod(a.shape[:-2]), info, lambda k, where: potri(side, size, data + k * step, size, where))
    return found.swapaxes(-1, -2), info


def lu(a: Array) -> tuple[Array, Array, Array]:
    """(L and U in one matrix, row exchanges from 1, info); info is the place of the first pivot that is 0, or 0."""
    (m, n), batch = a.shape[-2:], a.shape[:-2]
    factors = np.array(a.swapaxes(-1, -2), order="C")
    pivots, info = np.zeros((*batch, min(m, n)), np.int32), np.zeros(batch, np.int32)
    getrf = blas.routine(blas.letter(a.dtype) + "getrf", 6)
    rows, cols, data, step = _at(m), _at(n), factors.ctypes.data, m * n * a.itemsize
    places, more = pivots.ctypes.data, 4 * min(m, n)
    _run(
        math.prod(batch),
        info,
        lambda k, where: getrf(rows, cols, data + k * step, rows, places + k * more, where),
    )
    return factors.swapaxes(-1, -2), pivots, info


def solve(a: Array, b: Array) -> tuple[Array, Array]:
    """(X, info) with ``A X = B``; X is of no use where info, the place of the first pivot that is 0, is not 0."""
    n, columns, batch = a.shape[-1], b.shape[-1], a.shape[:-2]
    factors, x = np.array(a.swapaxes(-1, -2), order="C"), np.array(b.swapaxes(-1, -2), order="C")
    pivots, info = np.zeros(n, np.int32), np.zeros(batch, np.int32)
    gesv = blas.routine(blas.letter(a.dtype) + "gesv", 8)
    size, right, data, step = _at(n), _at(columns), factors.ctypes.data, n * n * a.itemsize
    found, more, places = x.ctypes.data, n * columns * a.itemsize, pivots.ctypes.data
    _run(
        math.prod(batch),
        info,
        lambda k, where: gesv(size, right, data + k * step, size, places, found + k * more, size, where),
    )
    return x.swapaxes(-1, -2), info


def substitute(a: Array, b: Array, upper: bool, left: bool, unit: bool) -> Array:
    """X with ``A X = B`` (or ``X A = B``) for triangular A; what a diagonal of 0 makes is infinite."""
    x = np.array(b.swapaxes(-1, -2), order="C")
    by_rows = a.strides[-1] <= a.strides[-2]  # LAPACK sees A^T then
    a = np.ascontiguousarray(a if by_rows else a.swapaxes(-1, -2))
    rows, columns = b.shape[-2:]
    n = a.shape[-1]
    trsm = blas.routine(blas.letter(a.dtype) + "trsm", 11)
    one = np.ones((), a.dtype)
    flags = (
        _at("L" if left else "R"), _at("U" if upper != by_rows else "L"), _at("T" if by_rows else "N"),
        _at("U" if unit else "N"),
    )  # fmt: skip
    shape = (_at(rows), _at(columns), one.ctypes.data)
    lda, ldb, data, found = _at(n), _at(rows), a.ctypes.data, x.ctypes.data
    step, more = n * n * a.itemsize, rows * columns * a.itemsize
    for k in range(math.prod(b.shape[:-2])):
        trsm(*flags, *shape, data + k * step, lda, found + k * more, ldb)
    return x.swapaxes(-1, -2)


def reflections(a: Array, tau: Array) -> Array:
    """The first columns of the product of Householder's reflections, kept below the diagonals."""
    (m, n), k, batch = a.shape[-2:], tau.shape[-1], a.shape[:-2]
    q, t = np.array(a.swapaxes(-1, -2), order="C"), np.ascontiguousarray(tau)
    info, room = np.zeros(batch, np.int32), 64 * n
    work = np.empty(room, a.dtype)
    orgqr = blas.routine(blas.letter(a.dtype) + ("ungqr" if a.dtype.kind == "c" else "orgqr"), 9)
    sizes, rows, data, step = (_at(m), _at(n), _at(k)), _at(m), q.ctypes.data, m * n * a.itemsize
    factors, more, space, length = t.ctypes.data, k * a.itemsize, work.ctypes.data, _at(room)
    _run(
        math.prod(batch),
        info,
        lambda i, where: orgqr(*sizes, data + i * step, rows, factors + i * more, space, length, where),
    )
    return q.swapaxes(-1, -2)


def reflect(a: Array, tau: Array, x: Array, transposed: bool) -> Array:
    """``Q x`` (``transposed``: ``Q^H x``) for the product Q of Householder's reflections, kept below the diagonals."""
    m, k, columns, batch = a.shape[-2], tau.shape[-1], x.shape[-1], a.shape[:-2]
    vectors, t = np.ascontiguousarray(a.swapaxes(-1, -2)), np.ascontiguousarray(tau)
    found = np.array(x.swapaxes(-1, -2), order="C")
    info, room = np.zeros(batch, np.int32), 64 * columns + 65 * 64  # LAPACK's block of 64, and its triangle
    work, real = np.empty(room, a.dtype), a.dtype.kind != "c"
    ormqr = blas.routine(blas.letter(a.dtype) + ("ormqr" if real else "unmqr"), 13)
    side, way = _at("L"), _at(("T" if real else "C") if transposed else "N")
    sizes, rows, space, length = (_at(m), _at(columns), _at(k)), _at(m), work.ctypes.data, _at(room)
    starts = [(y.ctypes.data, math.prod(y.shape[len(batch) :]) * y.itemsize) for y in (vectors, t, found)]

    def call(i: int, where: int) -> None:
        matrix, factors, into = (start + i * step for start, step in starts)
        ormqr(side, way, *sizes, matrix, rows, factors, into, rows, space, length, where)

    _run(math.prod(batch), info, call)
    return found.swapaxes(-1, -2)


def least_squares(a: Array, b: Array, cut: float) -> tuple[Array, Array]:
    """(X of least norm with ``|A X - B|`` least, rank) of finite matrices, by QR with exchanges of columns; pivots of R
    are zero where the condition would exceed ``1 / cut``."""
    (m, n), columns, batch = a.shape[-2:], b.shape[-1], a.shape[:-2]
    most, count = max(m, n), math.prod(batch)
    data = np.array(a.swapaxes(-1, -2), order="C")
    x = np.zeros((*batch, columns, most), a.dtype)
    x[..., :m] = b.swapaxes(-1, -2)
    exchanges, ranks, info = np.zeros((*batch, n), np.int32), np.zeros(batch, np.int32), np.zeros(batch, np.int32)
    limit, real = np.array(cut, a.real.dtype), a.dtype.kind != "c"
    reals = () if real else (np.empty(2 * n, limit.dtype),)
    gelsy = blas.routine(blas.letter(a.dtype) + "gelsy", 13 + len(reals))
    starts = [(y.ctypes.data, math.prod(y.shape[len(batch) :]) * y.itemsize) for y in (data, x, exchanges, ranks)]
    sizes, rows, right, room = (_at(m), _at(n), _at(columns)), _at(m), _at(most), np.empty(1, a.dtype)

    def call(i: int, where: int) -> None:
        matrix, into, places, rank = (start + i * step for start, step in starts)
        more = [y.ctypes.data for y in reals]
        edge = limit.ctypes.data
        gelsy(*sizes, matrix, rows, into, right, places, edge, rank, room.ctypes.data, length, *more, where)

    length = _at(-1)
    call(0, info.ctypes.data)
    room = np.empty(math.ceil(float(room[0].real) * (1 + 1e-6)), a.dtype)  # float32 rounds lengths beyond 2**24
    length = _at(room.size)
    _run(count, info, call)
    return x[..., :n].swapaxes(-1, -2), ranks


def triangulate(a: Array) -> tuple[Array, Array]:
    """(R above Householder's vectors, their factors) of each matrix."""
    (m, n), batch = a.shape[-2:], a.shape[:-2]
    k = min(m, n)
    found, tau = np.array(a.swapaxes(-1, -2), order="C"), np.zeros((*batch, k), a.dtype)
    info, room = np.zeros(batch, np.int32), 64 * n
    work = np.empty(room, a.dtype)
    geqrf = blas.routine(blas.letter(a.dtype) + "geqrf", 8)
    rows, cols, data, step = _at(m), _at(n), found.ctypes.data, m * n * a.itemsize
    factors, more, space, length = tau.ctypes.data, k * a.itemsize, work.ctypes.data, _at(room)
    _run(
        math.prod(batch),
        info,
        lambda i, where: geqrf(rows, cols, data + i * step, rows, factors + i * more, space, length, where),
    )
    return found.swapaxes(-1, -2), tau


def orthogonalize(a: Array, complete: bool) -> tuple[Array, Array]:
    """(Q, R) with ``A = Q R``; all columns of Q for ``complete``, otherwise as many as A has rows or columns."""
    (m, n), batch = a.shape[-2:], a.shape[:-2]
    k = min(m, n)
    found, tau = triangulate(a)
    columns = m if complete else k
    vectors = np.zeros((*batch, columns, m), a.dtype).swapaxes(-1, -2)
    vectors[..., :k] = found[..., :k]
    return reflections(vectors, tau), np.tril(found.swapaxes(-1, -2)[..., :columns]).swapaxes(-1, -2)


def dominant_basis(a: Array, start: Array, steps: int) -> Array:
    """Orthonormal columns that nearly span the range of each A: those of ``A start``, sharpened by ``steps`` products
    with ``A A^H`` (randomized subspace iteration: N. Halko, P. Martinsson, J. Tropp 2011, algorithm 4.4).

    ``start`` has no more columns than A has columns or rows.
    """
    batch, (m, n), k = a.shape[:-2], a.shape[-2:], start.shape[-1]
    # columns of LAPACK's matrices are rows here: products are of transposes, and laid out as the next routine wants
    q, room = np.array(start.swapaxes(-1, -2), order="C"), 64 * k
    tau, work, info = np.empty(k, a.dtype), np.empty(room, a.dtype), np.zeros(1, np.int32)
    letter, last = blas.letter(a.dtype), "ungqr" if a.dtype.kind == "c" else "orgqr"
    geqrf, orgqr = blas.routine(letter + "geqrf", 8), blas.routine(letter + last, 9)
    columns, rest = _at(k), (tau.ctypes.data, work.ctypes.data, _at(room), info.ctypes.data)
    across, back = a.swapaxes(-1, -2), a.conj() if a.dtype.kind == "c" else a
    space = [np.empty((*batch, k, rows), a.dtype) for rows in (m, n)]
    starts = [(x.ctypes.data, _at(x.shape[-1]), k * x.shape[-1] * a.itemsize) for x in space]
    for step in range(2 * steps + 1):
        q = np.matmul(q, back if step % 2 else across, out=space[step % 2])
        data, rows, more = starts[step % 2]
        for _ in range(math.prod(batch)):
            geqrf(rows, columns, data, rows, *rest)
            orgqr(rows, columns, columns, data, rows, *rest)
            data += more
    return q.swapaxes(-1, -2)


def bunch_kaufman(a: Array, hermitian: bool) -> tuple[Array, Array, Array]:
    """(factors, exchanges, info) of symmetric (or Hermitian) matrices, of which the lower triangle is read."""
    n, batch = a.shape[-1], a.shape[:-2]
    found = np.array(a.swapaxes(-1, -2), order="C")
    pivots, info, room = np.zeros((*batch, n), np.int32), np.zeros(batch, np.int32), 64 * n
    work = np.empty(room, a.dtype)
    trf = blas.routine(blas.letter(a.dtype) + ("hetrf" if hermitian and a.dtype.kind == "c" else "sytrf"), 8)
    side, size, data, step = _at("L"), _at(n), found.ctypes.data, n * n * a.itemsize
    places, space, length = pivots.ctypes.data, work.ctypes.data, _at(room)
    _run(
        math.prod(batch),
        info,
        lambda i, where: trf(side, size, data + i * step, size, places + 4 * n * i, space, length, where),
    )
    return np.triu(found).swapaxes(-1, -2), pivots, info


def solve_bunch_kaufman(a: Array, pivots: Array, b: Array, hermitian: bool) -> Array:
    """X with ``A X = B``, from what ``bunch_kaufman`` made of A; raises RuntimeError for other exchanges."""
    n, columns, batch = a.shape[-1], b.shape[-1], a.shape[:-2]
    places = np.ascontiguousarray(pivots, np.int32)
    rows = np.abs(places)
    if places.shape != a.shape[:-1] or (rows.size and not (rows.min() >= 1 and rows.max() <= n)):
        raise RuntimeError(
            f"pivots of shape {list(pivots.shape)} are no exchanges of {n} rows: pass the ones that ldl_factor gave"
        )
    factors, x = np.ascontiguousarray(a.swapaxes(-1, -2)), np.array(b.swapaxes(-1, -2), order="C")
    info = np.zeros(batch, np.int32)
    trs = blas.routine(blas.letter(a.dtype) + ("hetrs" if hermitian and a.dtype.kind == "c" else "sytrs"), 9)
    side, size, right = _at("L"), _at(n), _at(columns)
    starts = [(y.ctypes.data, math.prod(y.shape[len(batch) :]) * y.itemsize) for y in (factors, places, x)]

    def call(i: int, where: int) -> None:
        matrix, exchanges, into = (start + i * step for start, step in starts)
        trs(side, size, right, matrix, size, exchanges, into, size, where)

    _run(math.prod(batch), info, call)
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
    laswp = blas.routine("dlaswp", 7)
    one, rows, many = _at(1), _at(max(n, 1)), _at(flat.shape[1])
    for k in range(flat.shape[0] if flat.shape[1] else 0):
        laswp(one, order.ctypes.data + 8 * n * k, rows, one, many, flat.ctypes.data + 4 * flat.shape[1] * k, one)
    return order.astype(np.int64).reshape((*pivots.shape[:-1], n))
