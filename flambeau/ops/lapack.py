"""What the files of linear algebra share: operators on matrices in the host's LAPACK (through numpy and scipy), checks,
small helpers.

``small`` has kernels for batches of small matrices; ``systems`` has triangular and square systems, inverses and
determinants; ``factors`` Cholesky, LU and LDL; ``orthogonal`` QR; ``spectra`` singular values, eigenvalues and what is
found by them; ``linalg`` norms, powers and products.  Every operator takes batches: the last two dimensions are the
matrix.  The derivatives follow M. Giles, "An extended collection of matrix derivative results for forward and reverse
mode algorithmic differentiation" (2008), with the parts of complex matrices after C. Hubig et al. and the
rank-deficient ones after G. Golub and V. Pereyra (1973).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import device as devices
from ..dispatch.operator import Operator, operator
from ..dtype import dtype as dtype_
from ..graph.node import broadcast_shapes
from ..layout import Layout, column_strides, of
from ..runtime import blas
from ..tensor import Tensor, borrowed_array, empty, from_numpy, numpy_view, over_array
from .shape import view_as_real

__all__ = ["LinAlgError", "adjoint", "by_columns", "check_floating", "check_square", "in_columns"]

_LARGE = 16_384
"""Elements from which on a kernel turns a matrix faster than numpy does."""


class LinAlgError(RuntimeError):
    """A matrix has not the property that an operation needs."""


def scipy_module(module: str) -> Any:
    """A module of scipy, imported by the first operator that needs it."""
    return importlib.import_module(f"scipy.{module}")


def check_floating(name: str, *tensors: Tensor) -> None:
    """Raises RuntimeError for element types that LAPACK does not know."""
    for t in tensors:
        if t.dtype.wide is not t.dtype:
            raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {t.dtype}")
        if t.dtype.kind not in "fc":
            raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got {t.dtype}")
        if t.dtype is not tensors[0].dtype:
            raise RuntimeError(
                f"{name}: Expected A and B to have the same dtype, but found A of type "
                f"{tensors[0].dtype} and B of type {t.dtype} instead"
            )


def check_matrix(name: str, A: Tensor) -> None:
    """Raises RuntimeError for fewer than two dimensions."""
    if A.ndim < 2:
        raise RuntimeError(f"{name}: The input tensor A must have at least 2 dimensions.")


def check_square(name: str, A: Tensor) -> None:
    """Raises RuntimeError unless the last two dimensions are equal."""
    check_matrix(name, A)
    if A.shape[-1] != A.shape[-2]:
        raise RuntimeError(
            f"{name}: A must be batches of square matrices, but they are {A.shape[-2]} by {A.shape[-1]} matrices"
        )


def check_fits(name: str, A: Tensor, B: Tensor, left: bool = True) -> None:
    """Raises RuntimeError unless A is square and as large as the columns of B (``left=False``: the rows)."""
    check_square(name, A)
    if B.shape[-2 if left else -1] != A.shape[-1]:
        raise RuntimeError(
            f"{name}: Incompatible shapes of A and B for the equation "
            f"{'AX = B' if left else 'XA = B'} ({A.shape[-2]}x{A.shape[-1]} and "
            f"{B.shape[-2]}x{B.shape[-1]})"
        )


def some_failed(info: Tensor) -> bool:
    """Whether a number is not 0, if they lie in plain memory."""
    return info._key is not None and info.device is not devices.meta and bool(borrowed_array(info).any())


def check_info(name: str, info: Tensor, problem: str) -> None:
    """Raises LinAlgError for the first matrix of a batch whose ``info`` is not 0."""
    if info.device.type == "meta" or not info.numel():
        return
    if info._key is not None and not some_failed(info):  # mostly nothing to report
        return
    failed = info.reshape(-1).nonzero()  # type: ignore[attr-defined]
    if failed.numel():
        at = int(failed[0, 0])
        code = int(info.reshape(-1)[at])  # type: ignore[attr-defined]
        where_ = f"(Batch element {at}): " if info.ndim else ""
        raise LinAlgError(f"{name}: {where_}{problem.format(code)}")


def is_vector(A: Tensor, B: Tensor) -> bool:
    """Whether B is a batch of vectors: one-dimensional, or a dimension fewer than A and of its batch."""
    return B.ndim == 1 or (A.ndim - 1 == B.ndim and B.shape == A.shape[:-1])


def _spread(x: Tensor, batch: Sequence[int]) -> Tensor:
    return x if tuple(x.shape[:-2]) == tuple(batch) else x.expand((*batch, *x.shape[-2:]))  # type: ignore[attr-defined,no-any-return]


def batches(A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Both with the batch dimensions that they broadcast to."""
    batch = broadcast_shapes(A.shape[:-2], B.shape[:-2])
    return _spread(A, batch), _spread(B, batch)


def adjoint(x: Tensor) -> Tensor:
    """The conjugate transpose of the last two dimensions."""
    x = x.transpose(-2, -1)  # type: ignore[attr-defined]
    return x.conj() if x.dtype.is_complex else x  # type: ignore[attr-defined,no-any-return]


def identity_like(A: Tensor) -> Tensor:
    """Identity matrices of A's shape and type."""
    return A.new_ones(A.shape[:-1]).diag_embed()  # type: ignore[attr-defined,no-any-return]


def diagonal_of(x: Tensor) -> Tensor:
    """The diagonals of the last two dimensions."""
    return x.diagonal(0, -2, -1)  # type: ignore[attr-defined,no-any-return]


def real_part(x: Tensor) -> Tensor:
    """The real part; a real tensor itself."""
    return view_as_real.function(x).select(-1, 0) if x.dtype.is_complex else x  # type: ignore[no-any-return]


def pad_rows(x: Tensor, count: int) -> Tensor:
    """x with rows of zeros below."""
    return x.new_zeros((*x.shape[:-2], x.shape[-2] + count, x.shape[-1])).slice_scatter(x, -2, 0, x.shape[-2])  # type: ignore[attr-defined,no-any-return]


def by_columns(kind: dtype_, shape: Sequence[int]) -> Layout:
    """The layout of matrices that come out of LAPACK: their columns lie in one piece each."""
    return of(kind, devices.cpu, shape, column_strides(shape))


def in_columns(x: Tensor) -> Tensor:
    """A copy whose columns lie in one piece each, as those of all matrices that LAPACK computes do."""
    return empty(by_columns(x.dtype, x.shape)).copy_(x)  # type: ignore[attr-defined,no-any-return]


def on_host(layouts: Sequence[Layout], inputs: Sequence[Tensor], compute: Callable[..., Any]) -> tuple[Tensor, ...]:
    """The results of ``compute`` on numpy arrays, which will lie as the ``layouts`` say; on the meta device nothing is
    computed."""
    if any(t.device is devices.meta for t in inputs):
        return tuple(empty(of(x.dtype, devices.meta, x.shape, x.strides)) for x in layouts)
    arrays = [_columns_of(t) for t in inputs]
    with blas.limited(max([a.shape[-1] * a.shape[-2] if a.ndim > 1 else a.size for a in arrays], default=0)):
        found = compute(*arrays)
    found = found if isinstance(found, tuple) else (found,)
    return tuple([_tensor_of(np.asarray(a, x.dtype.numpy), x) for a, x in zip(found, layouts)])


def _columns_of(x: Tensor) -> np.ndarray:
    """The array of x, with the columns of larger matrices in one piece each, as LAPACK wants them: numpy takes ten
    times as long to turn a matrix."""
    layout = x._layout
    if layout.ndim < 2 or layout.numel < _LARGE or layout.strides[-2] == 1:
        return borrowed_array(x)
    return numpy_view(x.transpose(-2, -1).contiguous()).swapaxes(-1, -2)  # type: ignore[attr-defined]


def _tensor_of(a: np.ndarray, layout: Layout) -> Tensor:
    """A tensor of this layout of what was computed, over the array's memory if it is the array's own and lies so."""
    if not a.size:
        return empty(layout)  # numpy's strides of nothing may be 0
    inside = a if layout.contiguous else a.swapaxes(-1, -2)
    flags = inside.flags
    own = flags.writeable and inside.dtype.isnative and (flags.owndata or _is_own(inside.base))
    if not (flags.c_contiguous and own):
        if a.ndim >= 2 and a.size >= _LARGE and own and inside.swapaxes(-1, -2).flags.c_contiguous:
            return empty(layout).copy_(from_numpy(a))  # type: ignore[attr-defined,no-any-return]
        inside = np.array(inside, order="C", copy=True)
    return over_array(inside, layout)


def _is_own(base: Any) -> bool:
    """Whether memory was made by numpy; that of an argument was not."""
    return isinstance(base, np.ndarray) and base.flags.owndata


def for_each_matrix(count: int, function: Callable[..., Any], *arrays: np.ndarray) -> list[np.ndarray]:
    """The results of a function of matrices for every matrix of a batch, stacked: ``count`` arrays."""
    batch = arrays[0].shape[:-2]
    rows = [a.reshape((-1, *a.shape[-2:])) for a in arrays]
    found = [function(*matrices) for matrices in zip(*rows)]
    return [np.stack([np.asarray(f[k]) for f in found]).reshape((*batch, *np.shape(found[0][k]))) for k in range(count)]


def matrix_kernel(name: str, **options: Any) -> Callable[[Callable[..., Any]], Operator]:
    """A private operator of batches of matrices on the host; one more dimension in front is a larger batch."""

    def make(body: Callable[..., Any]) -> Operator:
        op = operator(name=name, kind="eager", method=False, function=False, **options)(body)
        op.batching = list
        return op

    return make
