"""The array-API standard (2024.12) on random arrays, with numpy as the reference.

Names are those of the standard where PyTorch has them; ``NAMES`` gives PyTorch's for the others.  What PyTorch defines
otherwise than the standard is as in PyTorch: integer division by zero, names of keywords, types of sums.
"""

from __future__ import annotations

import os
import re

import numpy as np
import pytest

import flambeau as xp

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, assume, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from hypothesis.extra import numpy as hnp  # noqa: E402

EXAMPLES = int(os.environ.get("FLAMBEAU_ARRAY_API_EXAMPLES", "8"))
QUICK = settings(
    max_examples=EXAMPLES, deadline=None, database=None, derandomize=EXAMPLES == 8,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip

FLOATS = ("float32", "float64")
COMPLEX = ("complex64", "complex128")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8")
REAL = (*INTEGERS, *FLOATS)
ALL = ("bool", *REAL, *COMPLEX)

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, np.inf, -np.inf, np.nan, 1e-30, 1e30]


def values(dtype, small=False):
    """Elements of a type: for floating-point ones often special values."""
    kind = np.dtype(dtype).kind
    if kind == "b":
        return st.booleans()
    if kind in "iu":
        info = np.iinfo(dtype)
        return st.integers(max(info.min, -9), 9) if small else st.integers(int(info.min), int(info.max))
    width = 32 if dtype in ("float32", "complex64") else 64
    plain = (
        st.floats(-8, 8, width=width)
        if small
        else st.floats(width=width, allow_subnormal=False) | st.sampled_from(SPECIAL)
    )
    return st.complex_numbers(max_magnitude=8, width=2 * width) if kind == "c" else plain


def arrays(dtypes, shape=SHAPES, small=False):
    """Arrays of one of the types, in row-major order or transposed."""
    return st.sampled_from(dtypes).flatmap(
        lambda d: hnp.arrays(d, shape, elements=values(d, small)).flatmap(
            lambda a: st.sampled_from([a, np.asfortranarray(a)])
        )
    )


def tensor(a):
    return xp.from_numpy(np.asarray(a))


def same(found, wanted, rtol=None, exact=False):
    """A result against numpy's: shape, type, values (to rounding), signs of zeros not counted."""
    found = found.numpy()
    wanted = np.asarray(wanted)
    assert found.shape == wanted.shape and found.dtype == wanted.dtype, (
        found.dtype,
        found.shape,
        wanted.dtype,
        wanted.shape,
    )
    if exact or found.dtype.kind in "biu":
        np.testing.assert_array_equal(found, wanted)
    else:
        single = found.dtype in (np.float32, np.complex64)
        np.testing.assert_allclose(found, wanted, rtol=rtol or (2e-5 if single else 1e-11), atol=1e-30, equal_nan=True)


# -- elementwise -------------------------------------------------------------------------------------------

NAMES = {"bitwise_invert": "bitwise_not", "divide": "true_divide", "equal": "eq", "remainder": "remainder"}
UNARY = {
    "abs": REAL, "acos": FLOATS, "acosh": FLOATS, "asin": FLOATS, "asinh": FLOATS, "atan": FLOATS, "atanh": FLOATS,
    "bitwise_invert": ("bool", *INTEGERS), "ceil": REAL, "conj": (*REAL, *COMPLEX), "cos": FLOATS, "cosh": FLOATS,
    "exp": FLOATS, "expm1": FLOATS, "floor": REAL, "imag": COMPLEX, "isfinite": ALL, "isinf": ALL, "isnan": ALL,
    "log": FLOATS, "log10": FLOATS, "log1p": FLOATS, "log2": FLOATS, "logical_not": ALL,
    "negative": ("int8", "int64", *FLOATS, *COMPLEX), "positive": (*REAL, *COMPLEX), "real": (*FLOATS, *COMPLEX),
    "reciprocal": FLOATS, "round": REAL, "sign": REAL, "signbit": FLOATS, "sin": FLOATS, "sinh": FLOATS,
    "sqrt": FLOATS, "square": (*REAL, *COMPLEX), "tan": FLOATS, "tanh": FLOATS, "trunc": REAL,
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_unary(name):
    reference = getattr(np, {"bitwise_invert": "invert"}.get(name, re.sub("^a(?=cos|sin|tan)", "arc", name)))

    @QUICK
    @given(arrays(UNARY[name]))
    def check(a):
        if name in ("sin", "cos", "tan"):
            assume(not a.size or np.nanmax(np.where(np.isfinite(a), np.abs(a), 0)) < 1e6)
        with np.errstate(all="ignore"):
            wanted = reference(a)
        if name in ("ceil", "floor", "round", "trunc"):
            wanted = wanted.astype(a.dtype)
        same(getattr(xp, NAMES.get(name, name))(tensor(a)), wanted)

    check()


BINARY = {
    "add": (*REAL, *COMPLEX), "atan2": FLOATS, "bitwise_and": ("bool", *INTEGERS), "bitwise_or": ("bool", *INTEGERS),
    "bitwise_xor": ("bool", *INTEGERS), "copysign": FLOATS, "divide": FLOATS, "equal": ALL, "greater": REAL,
    "greater_equal": REAL, "hypot": FLOATS, "less": REAL, "less_equal": REAL, "logaddexp": FLOATS, "logical_and": ALL,
    "logical_or": ALL, "logical_xor": ALL, "maximum": REAL, "minimum": REAL, "multiply": (*REAL, *COMPLEX),
    "nextafter": FLOATS, "not_equal": ALL, "subtract": (*REAL, *COMPLEX),
}  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
def test_binary_broadcasts(name):
    shapes = hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3, min_side=0)

    @QUICK
    @given(st.data(), st.sampled_from(BINARY[name]), shapes)
    def check(data, dtype, both):
        a, b = (data.draw(hnp.arrays(dtype, s, elements=values(dtype))) for s in both.input_shapes)
        with np.errstate(all="ignore"):
            wanted = getattr(np, {"atan2": "arctan2"}.get(name, name))(a, b)
        same(getattr(xp, NAMES.get(name, name))(tensor(a), tensor(b)), wanted, exact=name in ("copysign", "nextafter"))

    check()


@pytest.mark.parametrize("name", ["floor_divide", "remainder", "pow", "bitwise_left_shift", "bitwise_right_shift"])
def test_integer_arithmetic(name):
    @QUICK
    @given(st.data(), st.sampled_from(INTEGERS), SHAPES)
    def check(data, dtype, shape):
        a, b = (data.draw(hnp.arrays(dtype, shape, elements=values(dtype, small=True))) for _ in "ab")
        if name == "pow":
            b = np.abs(b)
        elif "shift" in name:
            b = np.abs(b) % (8 * b.itemsize)
        else:
            b = np.where(b == 0, 1, b).astype(dtype)
        with np.errstate(all="ignore"):
            wanted = getattr(np, {"pow": "power"}.get(name, name))(a, b)
        same(getattr(xp, name)(tensor(a), tensor(b)), wanted)

    check()


@QUICK
@given(st.data(), arrays(FLOATS, small=True))
def test_floating_division_with_remainder(data, a):
    b = data.draw(hnp.arrays(a.dtype, a.shape, elements=st.sampled_from([0.5, 1.0, -2.0, 3.0, np.inf])))
    for name in ("floor_divide", "remainder"):
        with np.errstate(all="ignore"):
            wanted = getattr(np, name)(a, b)
        if name == "floor_divide":  # numpy gives -1 for a negative number over infinity, PyTorch rounds 0 down
            keep = np.isfinite(b)
            same(xp.floor_divide(tensor(a[keep]), tensor(b[keep])), wanted[keep])
        else:
            same(xp.remainder(tensor(a), tensor(b)), wanted)


def test_promotion_of_types_is_that_of_the_standard():
    lattice = {**{d: ("i", np.dtype(d).itemsize) for d in INTEGERS}}
    for a in ALL:
        for b in ALL:
            kinds = {np.dtype(a).kind, np.dtype(b).kind}
            if kinds <= set("iu") or len(kinds) == 1 or kinds == set("fc"):
                wanted = np.result_type(a, b).name
                assert (
                    str(xp.result_type(xp.ones(1, dtype=getattr(xp, a)), xp.ones(1, dtype=getattr(xp, b))))
                    == f"torch.{wanted}"
                )
    assert lattice


@QUICK
@given(st.data(), arrays(REAL))
def test_numbers_take_the_type_of_the_array(data, a):
    n = data.draw(st.integers(0, 5))
    with np.errstate(all="ignore"):
        same(tensor(a) + n, a + np.asarray(n).astype(a.dtype))
        same(n * tensor(a), np.asarray(n).astype(a.dtype) * a)
        same(tensor(a) > n, a > n)


@QUICK
@given(st.data(), arrays(REAL))
def test_clip_and_where(data, a):
    low, high = sorted((data.draw(st.integers(0, 4)), data.draw(st.integers(0, 9))))
    same(xp.clip(tensor(a), low, high), np.clip(a, low, high))
    same(xp.where(tensor(a) > low, tensor(a), tensor(a) * 0), np.where(a > low, a, a * 0) if a.dtype.kind != "f" else
         np.where(a > low, a, a * np.zeros((), a.dtype)))  # fmt: skip


# -- creation ------------------------------------------------------------------------------------------------


@QUICK
@given(st.integers(-20, 20), st.integers(-20, 20), st.integers(1, 5), st.booleans())
def test_arange(start, stop, step, down):
    step = -step if down else step
    stop = start - abs(stop - start) if down else start + abs(stop - start)
    same(xp.arange(start, stop, step), np.arange(start, stop, step))


@QUICK
@given(st.floats(-9, 9), st.floats(-9, 9), st.integers(1, 20))
def test_linspace(start, stop, n):
    found = xp.linspace(start, stop, n, dtype=xp.float64).numpy()
    np.testing.assert_allclose(found, np.linspace(start, stop, n), rtol=1e-12, atol=1e-14)


@QUICK
@given(SHAPES, st.sampled_from(ALL))
def test_filled(shape, dtype):
    kind = getattr(xp, dtype)
    same(xp.zeros(shape, dtype=kind), np.zeros(shape, dtype))
    same(xp.ones(shape, dtype=kind), np.ones(shape, dtype))
    same(xp.full(shape, 1, dtype=kind), np.full(shape, 1, dtype))
    same(xp.full_like(xp.empty(shape, dtype=kind), 0), np.zeros(shape, dtype))
    assert xp.empty(shape, dtype=kind).shape == shape


@QUICK
@given(st.integers(0, 5), st.integers(0, 5), st.integers(-4, 4), st.sampled_from(REAL))
def test_eye_and_triangles(n, m, k, dtype):
    same(xp.eye(n, m, dtype=getattr(xp, dtype)), np.eye(n, m, dtype=dtype))
    a = np.arange(n * m).reshape(n, m).astype(dtype)
    same(xp.tril(tensor(a), k), np.tril(a, k))
    same(xp.triu(tensor(a), k), np.triu(a, k))


@QUICK
@given(arrays(ALL))
def test_asarray_shares_or_copies(a):
    t = xp.asarray(a)
    same(t, a, exact=True)
    if a.size:
        same(xp.asarray(a.tolist(), dtype=t.dtype), a, exact=True)
    assert xp.asarray(t) is t or xp.asarray(t).data_ptr() == t.data_ptr()
    if a.size:
        assert xp.asarray(t, copy=True).data_ptr() != t.data_ptr()
    same(xp.from_dlpack(a.copy()), a, exact=True)


# -- manipulation ----------------------------------------------------------------------------------------------


@QUICK
@given(st.data(), arrays(ALL, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)))
def test_manipulation(data, a):
    t, axis = tensor(a), data.draw(st.integers(-a.ndim, a.ndim - 1))
    order = data.draw(st.permutations(range(a.ndim)))
    shift = data.draw(st.integers(-5, 5))
    same(xp.permute(t, order), np.transpose(a, order))
    same(xp.flip(t, [axis]), np.flip(a, axis))
    same(xp.roll(t, shift, axis), np.roll(a, shift, axis))
    same(xp.roll(t, shift), np.roll(a, shift))
    same(xp.unsqueeze(t, axis), np.expand_dims(a, axis))
    same(xp.concat([t, t], dim=axis), np.concatenate([a, a], axis))
    same(xp.stack([t, t], dim=axis), np.stack([a, a], axis))
    same(xp.reshape(t, (-1,)) if a.size else t.reshape(0), a.reshape(-1))
    same(xp.movedim(t, axis, 0), np.moveaxis(a, axis, 0))
    same(xp.broadcast_to(t, (2, *a.shape)), np.broadcast_to(a, (2, *a.shape)))
    same(xp.tile(t, (2,) * a.ndim), np.tile(a, (2,) * a.ndim))
    same(xp.repeat_interleave(t, 2, dim=axis), np.repeat(a, 2, axis))
    for piece, wanted in zip(t.unbind(axis), np.moveaxis(a, axis, 0)):
        same(piece, wanted)


@QUICK
@given(st.data(), arrays(REAL, hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)))
def test_taking(data, a):
    axis = data.draw(st.integers(0, a.ndim - 1))
    index = data.draw(hnp.arrays(np.int64, st.integers(0, 5), elements=st.integers(0, a.shape[axis] - 1)))
    same(xp.index_select(tensor(a), axis, tensor(index)), np.take(a, index, axis))
    whole = data.draw(hnp.arrays(np.int64, a.shape, elements=st.integers(0, a.shape[axis] - 1)))
    same(xp.take_along_dim(tensor(a), tensor(whole), axis), np.take_along_axis(a, whole, axis))


@QUICK
@given(st.data(), arrays(ALL, hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=4)))
def test_indexing(data, a):
    index = data.draw(hnp.basic_indices(a.shape, allow_ellipsis=True, allow_newaxis=True))
    parts = index if isinstance(index, tuple) else (index,)
    assume(all(not isinstance(p, slice) or p.step is None or p.step > 0 for p in parts))
    same(tensor(a)[index], a[index], exact=True)
    mine, theirs = tensor(a.copy()), a.copy()
    mine[index] = 1
    theirs[index] = 1
    same(mine, theirs, exact=True)
    mask = data.draw(hnp.arrays(bool, a.shape))
    same(tensor(a)[tensor(mask)], a[mask], exact=True)


# -- statistics, searching, sorting, sets -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "mean", "var", "std", "all", "any", "count_nonzero"])
def test_reductions(name):
    types = (
        FLOATS if name in ("mean", "var", "std") else ALL[:1] + FLOATS + ("int64",) if name in ("all", "any") else REAL
    )

    @QUICK
    @given(st.data(), arrays(types, small=True))
    def check(data, a):
        axes = data.draw(
            st.none() | st.lists(st.integers(0, a.ndim - 1), unique=True, min_size=1) if a.ndim else st.none()
        )
        keep = data.draw(st.booleans())
        if not a.size and name in ("max", "min", "mean", "var", "std"):
            return
        axis = None if axes is None else tuple(axes)
        options = {} if name == "count_nonzero" else {"keepdims": keep}
        wanted = getattr(np, name)(a, axis=axis, **options)
        if name in ("sum", "prod") and a.dtype.kind in "u":
            wanted = wanted.astype(np.int64)
        if name == "count_nonzero":
            wanted = np.asarray(wanted, np.int64)
        t, options = tensor(a), {} if name == "count_nonzero" else {"keepdim": keep}
        form = {"max": xp.amax, "min": xp.amin}.get(name, getattr(xp, name))
        if name in ("var", "std"):
            options["correction"] = 0
        if name == "prod":  # PyTorch's takes one dimension
            found = t.reshape(-1).prod() if axis is None else t
            if axis is None:
                found = found.reshape(wanted.shape)
            else:
                for d in sorted(axis, reverse=True):
                    found = found.prod(d, keepdim=keep)
        elif axis is None:
            found = form(t, **{k: v for k, v in options.items() if k != "keepdim"})
            found = found.reshape(wanted.shape)
        else:
            found = form(t, dim=list(axis), **options)
        same(found, wanted, rtol=1e-4 if a.dtype == np.float32 else 1e-9)

    check()


@QUICK
@given(st.data(), arrays(REAL, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5), small=True))
def test_cumulative(data, a):
    axis = data.draw(st.integers(0, a.ndim - 1))
    kind = np.int64 if a.dtype.kind in "iu" else a.dtype
    same(xp.cumsum(tensor(a), axis), np.cumsum(a, axis, dtype=kind), rtol=1e-4)
    same(xp.cumprod(tensor(a), axis), np.cumprod(a, axis, dtype=kind), rtol=1e-4)
    if a.shape[axis]:
        same(xp.diff(tensor(a), dim=axis), np.diff(a, axis=axis))


@QUICK
@given(st.data(), arrays(REAL, hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=6)), st.booleans())
def test_sorting_and_searching(data, a, descending):
    axis = data.draw(st.integers(0, a.ndim - 1))
    t = tensor(a)
    found, order = xp.sort(t, dim=axis, stable=True)
    same(found, np.sort(a, axis))
    same(order, np.argsort(a, axis, kind="stable"))
    found, order = xp.sort(t, dim=axis, stable=True, descending=descending)
    same(xp.take_along_dim(t, order, axis), found.numpy(), exact=True)
    same(xp.argmax(t, axis), np.argmax(a, axis))
    same(xp.argmin(t, axis), np.argmin(a, axis))
    for mine, theirs in zip(xp.nonzero(t, as_tuple=True), np.nonzero(a)):
        same(mine, theirs)
    row = np.sort(a.reshape(-1))
    if not (a.dtype.kind == "f" and np.isnan(a).any()):
        for side in ("left", "right"):
            same(xp.searchsorted(tensor(row), t, side=side), np.searchsorted(row, a, side))


@QUICK
@given(arrays(INTEGERS, small=True))
def test_sets(a):
    found, inverse, counts = xp.unique(tensor(a), return_inverse=True, return_counts=True)
    wanted, back, numbers = np.unique(a, return_inverse=True, return_counts=True)
    same(found, wanted)
    same(inverse, back.reshape(a.shape))
    same(counts, numbers)
    same(xp.isin(tensor(a), found[:1]), np.isin(a, wanted[:1]))


# -- linear algebra, Fourier transforms ---------------------------------------------------------------------------


@QUICK
@given(st.data(), st.sampled_from((*REAL, *COMPLEX)))
def test_products(data, dtype):
    n, k, m = (data.draw(st.integers(0, 4)) for _ in "nkm")
    batch = data.draw(st.sampled_from([(), (2,), (1, 3)]))
    a = data.draw(hnp.arrays(dtype, (*batch, n, k), elements=values(dtype, small=True)))
    b = data.draw(hnp.arrays(dtype, (*batch[1:], k, m), elements=values(dtype, small=True)))
    with np.errstate(all="ignore"):
        found, wanted = xp.matmul(tensor(a), tensor(b)).numpy(), np.matmul(a, b)
        assert found.dtype == wanted.dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
        if not batch:
            np.testing.assert_allclose(xp.tensordot(tensor(a), tensor(b), 1).numpy(), wanted, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(
                xp.outer(*(tensor(x.reshape(-1)) for x in (a, b))).numpy(), np.outer(a, b), rtol=1e-5
            )
        dots = np.vecdot(a, a) if hasattr(np, "vecdot") else (a.conj() * a).sum(-1, dtype=a.dtype)
        found = xp.linalg.vecdot(tensor(a), tensor(a)).numpy().astype(a.dtype)  # PyTorch adds up integers as int64
        np.testing.assert_allclose(found, dots, rtol=1e-4, atol=1e-4)
    same(tensor(a).mT, np.swapaxes(a, -1, -2))


@QUICK
@given(st.data(), st.sampled_from(("float64", "complex128")), st.integers(1, 4), st.sampled_from([(), (2,), (2, 1)]))
def test_factorizations(data, dtype, n, batch):
    a = data.draw(hnp.arrays(dtype, (*batch, n, n), elements=values(dtype, small=True))) + 20 * np.eye(n)
    t = tensor(a)
    close = {"rtol": 1e-9, "atol": 1e-9}
    np.testing.assert_allclose(xp.linalg.inv(t).numpy(), np.linalg.inv(a), **close)
    np.testing.assert_allclose(xp.linalg.det(t).numpy(), np.linalg.det(a), rtol=1e-9)
    for mine, theirs in zip(xp.linalg.slogdet(t), np.linalg.slogdet(a)):
        np.testing.assert_allclose(mine.numpy(), theirs, **close)
    np.testing.assert_allclose(xp.linalg.svdvals(t).numpy(), np.linalg.svd(a, compute_uv=False), **close)
    np.testing.assert_allclose(xp.linalg.pinv(t).numpy(), np.linalg.pinv(a), **close)
    np.testing.assert_array_equal(xp.linalg.matrix_rank(t).numpy(), np.linalg.matrix_rank(a))
    np.testing.assert_allclose(xp.linalg.matrix_power(t, 2).numpy(), np.linalg.matrix_power(a, 2), **close)
    np.testing.assert_allclose(xp.linalg.solve(t, t).numpy(), np.broadcast_to(np.eye(n), a.shape), **close)
    q, r = xp.linalg.qr(t)
    np.testing.assert_allclose((q @ r).numpy(), a, **close)
    hermitian = a + np.swapaxes(a.conj(), -1, -2)
    np.testing.assert_allclose(xp.linalg.eigvalsh(tensor(hermitian)).numpy(), np.linalg.eigvalsh(hermitian), **close)
    lower = xp.linalg.cholesky(tensor(hermitian @ hermitian + np.eye(n))).numpy()
    np.testing.assert_allclose(
        lower @ np.swapaxes(lower.conj(), -1, -2), hermitian @ hermitian + np.eye(n), rtol=1e-8, atol=1e-8
    )
    for order in ("fro", "nuc", 1, -1, np.inf, -np.inf, 2, -2):
        np.testing.assert_allclose(
            xp.linalg.matrix_norm(t, ord=order).numpy(), np.linalg.norm(a, order, axis=(-2, -1)), **close
        )


@QUICK
@given(st.data(), st.sampled_from(("float32", "float64", "complex64", "complex128")))
def test_fourier_transforms(data, dtype):
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=6))
    a = data.draw(hnp.arrays(dtype, shape, elements=values(dtype, small=True)))
    norm = data.draw(st.sampled_from(["backward", "ortho", "forward"]))
    axis = data.draw(st.integers(-a.ndim, a.ndim - 1))
    length = data.draw(st.none() | st.integers(1, 8))
    single = dtype in ("float32", "complex64")
    names = ["fft", "ifft", "hfft", "irfft"] + (["rfft", "ihfft"] if a.dtype.kind == "f" else [])
    for name in names:
        if name in ("hfft", "irfft") and (a.dtype.kind == "f" or (length or 2 * (a.shape[axis] - 1)) < 1):
            continue
        found = getattr(xp.fft, name)(tensor(a), n=length, dim=axis, norm=norm).numpy()
        wanted = getattr(np.fft, name)(a, n=length, axis=axis, norm=norm)
        assert found.dtype.itemsize == (a.dtype.itemsize * 2 if found.dtype.kind == "c" and a.dtype.kind == "f" else
                                        a.dtype.itemsize // 2 if found.dtype.kind == "f" and a.dtype.kind == "c" else
                                        a.dtype.itemsize)  # fmt: skip
        np.testing.assert_allclose(found, wanted, rtol=1e-4 if single else 1e-9, atol=1e-3 if single else 1e-9)
    for name in ("fftn", "ifftn"):
        found, wanted = getattr(xp.fft, name)(tensor(a), norm=norm).numpy(), getattr(np.fft, name)(a, norm=norm)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3 if single else 1e-9)
    n = data.draw(st.integers(1, 9))
    np.testing.assert_allclose(xp.fft.fftfreq(n, 0.5).numpy(), np.fft.fftfreq(n, 0.5), rtol=1e-6)
    np.testing.assert_allclose(xp.fft.rfftfreq(n, 0.5).numpy(), np.fft.rfftfreq(n, 0.5), rtol=1e-6)
    same(xp.fft.fftshift(tensor(a)), np.fft.fftshift(a))
    same(xp.fft.ifftshift(tensor(a), dim=axis), np.fft.ifftshift(a, axes=axis))
