"""Constructors of sparse tensors, and the checks of their parts."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..dtype import int32, int64
from ..ops import members
from ..ops.common import blaming, shape_of
from ..tensor import Tensor
from .base import BLOCKS, COLUMNS, ROWS, SparseTensor, check_indices, index_bounds, make_sparse
from .coo import keys, make_coo

__all__ = [
    "check_sparse_tensor_invariants", "sparse_bsc_tensor", "sparse_bsr_tensor", "sparse_compressed_tensor",
    "sparse_coo_tensor", "sparse_csc_tensor", "sparse_csr_tensor",
]  # fmt: skip


class check_sparse_tensor_invariants:
    """Whether constructors check that indices are sorted, unique and inside of the tensor: a context manager, or
    ``enable``, ``disable`` and ``is_enabled``.  (Every operator refuses indices outside in any case.)"""

    _on = False

    def __init__(self, enable: bool = True) -> None:
        self.state = enable
        self.saved_state: bool | None = None

    @staticmethod
    def is_enabled() -> bool:
        """Whether constructors check."""
        return check_sparse_tensor_invariants._on

    @staticmethod
    def enable() -> None:
        """Makes constructors check."""
        check_sparse_tensor_invariants._on = True

    @staticmethod
    def disable() -> None:
        """Makes constructors check no longer."""
        check_sparse_tensor_invariants._on = False

    def __enter__(self) -> None:
        if self.saved_state is not None:
            raise RuntimeError("This context manager instance is already activated. Use a different one for nesting.")
        self.saved_state = self._on
        check_sparse_tensor_invariants._on = self.state

    def __exit__(self, *exc: Any) -> None:
        assert self.saved_state is not None
        check_sparse_tensor_invariants._on = self.saved_state
        self.saved_state = None

    def __call__(self, function: Any) -> Any:
        """Decorator: the function runs with this setting."""

        def checked(*args: Any, **kwargs: Any) -> Any:
            with type(self)(self.state):
                return function(*args, **kwargs)

        return checked


def _index(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype is int64:
        return value
    found = value if isinstance(value, Tensor) else ops.tensor(value, dtype=int64)
    if found.dtype.kind not in "iu" and found.numel():
        found = found.to(int64)
    return found if found.dtype in (int32, int64) else found.to(int64)


def _values(values: Any, dtype: Any, device: Any, requires_grad: bool) -> Any:
    if isinstance(values, Tensor) and dtype is device is None and not requires_grad:
        return values
    found = ops.as_tensor(values, dtype=dtype, device=device)
    return found.detach().requires_grad_() if requires_grad else found


@blaming
def sparse_coo_tensor(
    indices: Any, values: Any = None, size: Any = None, *, dtype: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False, check_invariants: bool | None = None,
    is_coalesced: bool | None = None,
) -> SparseTensor:  # fmt: skip
    """A COO tensor of (sparse dims, n) ``indices`` and n ``values``; ``sparse_coo_tensor(size)`` has no elements.

    Values of the same indices count as their sum.  Raises RuntimeError for parts that do not fit each other.  Indices
    that are negative or outside of a given size raise RuntimeError in the first operator that reads them, with
    ``check_invariants`` at once; so does then ``is_coalesced`` for indices that are not sorted and unique.
    """
    if values is None:
        shape = tuple(indices if size is None else size)
        empty = ops.zeros((len(shape), 0), dtype=int64)
        return make_coo(empty, _values(ops.zeros(0, dtype=dtype), None, device, requires_grad), shape, True)
    where, data = _index(indices), _values(values, dtype, device, requires_grad)
    if where.dtype is not int64:
        where = where.to(int64)
    if where.dim() != 2:
        if where.numel():
            raise RuntimeError(f"indices must be sparse_dim x nnz, but got: {list(where.shape)}")
        where = where.reshape((0 if size is None else len(size) - (data.dim() - 1), 0))
    sparse_dim, nnz = where.shape
    if data.dim() == 0:
        data = data.expand(nnz)
    found, *dense = data.shape
    if nnz != found:
        raise RuntimeError(
            f"indices and values must have same nnz, but got nnz from indices: {nnz}, nnz from values: {found}"
        )
    if size is None:
        shape = (*(m + 1 for m in index_bounds(where)[1]), *dense)
    else:
        shape = tuple(map(int, size))
        if len(shape) != sparse_dim + len(dense):
            raise RuntimeError(
                f"'len(size) == sparse_dim + dense_dim' is not satisfied: len(size) = {len(shape)}, sparse_dim = "
                f"{sparse_dim}, dense_dim = {len(dense)}"
            )
        if dense and shape[sparse_dim:] != tuple(dense):
            raise RuntimeError(
                f"values has incorrect size, expected {[nnz, *shape[sparse_dim:]]}, got {list(data.shape)}"
            )
    check = check_sparse_tensor_invariants.is_enabled() if check_invariants is None else check_invariants
    if check:
        check_indices(where, shape)
        key = keys(where, shape[:sparse_dim])
        if is_coalesced and (key[1:] <= key[:-1]).any():
            raise RuntimeError("cannot set is_coalesced to true if indices correspond to uncoalesced COO tensor")
    return make_coo(where, data, shape, bool(is_coalesced), checked=check or size is None)


def _check_compressed(kind: Any, pointers: Any, plain: Any, data: Any, shape: tuple[int, ...], order: bool) -> None:
    """Raises RuntimeError for parts that are no compressed tensor; ``order`` also asks for sorted, unique indices."""
    rows = kind in ROWS
    names = ("crow_indices", "col_indices") if rows else ("ccol_indices", "row_indices")
    batch = pointers.dim() - 1
    if pointers.dim() < 1 or plain.dim() != pointers.dim():
        raise RuntimeError(
            f"number of dimensions of {names[0]} and {names[1]} must be the same but got "
            f"{pointers.dim()} and {plain.dim()}"
        )
    if plain.shape != data.shape[: batch + 1]:
        raise RuntimeError(
            f"shape of {names[1]}, {list(plain.shape)}, must be the beginning of the shape of values, "
            f"{list(data.shape)}"
        )
    block = tuple(data.shape[batch + 1 : batch + 3]) if kind in BLOCKS else (1, 1)
    if len(block) != 2 or len(shape) < batch + 2:
        raise RuntimeError(f"{kind}: values of shape {list(data.shape)} do not make a tensor of size {list(shape)}")
    sizes = shape[batch] // block[0], shape[batch + 1] // block[1]
    count, other = sizes if rows else sizes[::-1]
    if pointers.shape[-1] != count + 1:
        raise RuntimeError(
            f"{names[0]}.shape[-1] must be equal to the number of compressed rows + 1 = {count + 1}, but got "
            f"{pointers.shape[-1]}"
        )
    steps = pointers[..., 1:] - pointers[..., :-1]
    n = plain.shape[-1]
    bad = (pointers[..., 0] != 0).any() or (pointers[..., -1] != n).any() or (steps.numel() and steps.min() < 0)
    if bad:
        raise RuntimeError(f"`{names[0]}` must begin with 0, end with {n} and never fall: got {pointers.tolist()}")
    if plain.numel() and (plain.min() < 0 or plain.max() >= other):
        reach = f"{plain.min().item()} to {plain.max().item()}"
        raise RuntimeError(f"`{names[1]}` must be from 0 to {other - 1}: got {reach}")
    if order and not batch and n > 1:
        begins = ops.zeros(n + 1, dtype=int64).index_fill(0, pointers.to(int64), 1)[1:n]
        if ((plain[1:] <= plain[:-1]) & (begins == 0)).any():
            raise RuntimeError(f"`{names[1]}` must be sorted and distinct along each compressed row or column")


@blaming
def sparse_compressed_tensor(
    compressed_indices: Any, plain_indices: Any, values: Any, size: Any = None, *, dtype: Any = None,
    layout: Any = None, device: Any = None, pin_memory: bool = False, requires_grad: bool = False,
    check_invariants: bool | None = None,
) -> SparseTensor:  # fmt: skip
    """A tensor in the compressed ``layout`` (CSR, CSC, BSR, BSC) of pointers, plain indices and values.

    Raises RuntimeError for parts that do not fit each other or the size; with ``check_invariants`` also for plain
    indices that are not sorted.
    """
    if layout not in (*ROWS, *COLUMNS):
        raise RuntimeError(f"sparse_compressed_tensor: expected a compressed sparse layout, got {layout}")
    pointers, plain = _index(compressed_indices), _index(plain_indices)
    data = _values(values, dtype, device, requires_grad)
    if not pointers.ndim or not plain.ndim:
        raise RuntimeError("compressed_indices and plain_indices must have at least one dimension, got a single number")
    if size is None:
        batch = pointers.dim() - 1
        if data.ndim < batch + (3 if layout in BLOCKS else 1):
            raise RuntimeError(
                f"values must have at least {batch + (3 if layout in BLOCKS else 1)} dimensions for {layout} and "
                f"pointers of shape {tuple(pointers.shape)}, got shape {tuple(data.shape)}"
            )
        block = tuple(data.shape[batch + 1 : batch + 3]) if layout in BLOCKS else (1, 1)
        count = pointers.shape[-1] - 1
        other = int(plain.max()) + 1 if plain.numel() else 0
        sizes = (count, other) if layout in ROWS else (other, count)
        dense = data.shape[batch + (3 if layout in BLOCKS else 1) :]
        size = (*pointers.shape[:-1], sizes[0] * block[0], sizes[1] * block[1], *dense)
    shape = tuple(shape_of((size,), "sparse_compressed_tensor"))
    order = check_sparse_tensor_invariants.is_enabled() if check_invariants is None else check_invariants
    _check_compressed(layout, pointers, plain, data, shape, order)
    return make_sparse(layout, (pointers, plain), data, shape)


@blaming
def sparse_csr_tensor(
    crow_indices: Any, col_indices: Any, values: Any, size: Any = None, *, dtype: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False, check_invariants: bool | None = None, layout: Any = None,
) -> SparseTensor:  # fmt: skip
    """A CSR tensor; see ``sparse_compressed_tensor``."""
    return sparse_compressed_tensor(
        crow_indices, col_indices, values, size, dtype=dtype, layout=members.sparse_csr, device=device,
        requires_grad=requires_grad, check_invariants=check_invariants,
    )  # fmt: skip


@blaming
def sparse_csc_tensor(
    ccol_indices: Any, row_indices: Any, values: Any, size: Any = None, *, dtype: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False, check_invariants: bool | None = None, layout: Any = None,
) -> SparseTensor:  # fmt: skip
    """A CSC tensor; see ``sparse_compressed_tensor``."""
    return sparse_compressed_tensor(
        ccol_indices, row_indices, values, size, dtype=dtype, layout=members.sparse_csc, device=device,
        requires_grad=requires_grad, check_invariants=check_invariants,
    )  # fmt: skip


@blaming
def sparse_bsr_tensor(
    crow_indices: Any, col_indices: Any, values: Any, size: Any = None, *, dtype: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False, check_invariants: bool | None = None, layout: Any = None,
) -> SparseTensor:  # fmt: skip
    """A BSR tensor, of blocks; see ``sparse_compressed_tensor``."""
    return sparse_compressed_tensor(
        crow_indices, col_indices, values, size, dtype=dtype, layout=members.sparse_bsr, device=device,
        requires_grad=requires_grad, check_invariants=check_invariants,
    )  # fmt: skip


@blaming
def sparse_bsc_tensor(
    ccol_indices: Any, row_indices: Any, values: Any, size: Any = None, *, dtype: Any = None, device: Any = None,
    pin_memory: bool = False, requires_grad: bool = False, check_invariants: bool | None = None, layout: Any = None,
) -> SparseTensor:  # fmt: skip
    """A BSC tensor, of blocks; see ``sparse_compressed_tensor``."""
    return sparse_compressed_tensor(
        ccol_indices, row_indices, values, size, dtype=dtype, layout=members.sparse_bsc, device=device,
        requires_grad=requires_grad, check_invariants=check_invariants,
    )  # fmt: skip
