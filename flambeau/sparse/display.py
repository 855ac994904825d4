"""The text of sparse tensors, and how they are pickled (with PyTorch's function, so that either reads the other's)."""

from __future__ import annotations

from typing import Any

from ..dtype import get_default_dtype
from ..ops import members
from .base import COLUMNS, SparseTensor
from .create import sparse_compressed_tensor, sparse_coo_tensor

__all__: list[str] = []


def _indented(name: str, tensor: Any) -> str:
    text = repr(tensor.detach())
    if not tensor.numel():
        text = f"tensor([], size={tuple(tensor.shape)})"
    lead = " " * (7 + len(name) + 1)
    return f"{name}={text}".replace("\n", "\n" + lead)


def _repr(self: SparseTensor, *, tensor_contents: Any = None) -> str:
    names = ["indices"] if self._kind is members.sparse_coo else ["crow_indices", "col_indices"]
    if self._kind in COLUMNS:
        names = ["ccol_indices", "row_indices"]
    tail = [f"size={tuple(self.shape)}", f"nnz={self._given[-1].shape[-1]}"]
    if self.dtype is not get_default_dtype() and not (self.dtype.is_complex and self.dtype.itemsize == 8):
        tail.append(f"dtype={self.dtype}")
    if self.grad_fn is not None:
        tail.append(f"layout={self._kind}, grad_fn=<{type(self.grad_fn).__name__}>")
    else:
        tail.append(f"layout={self._kind}" + (", requires_grad=True" if self.requires_grad else ""))
    plain = self._data.detach()
    values = repr(plain)
    suffix = f", dtype={plain.dtype}"
    values = values.replace(suffix, "")
    if not plain.numel():
        values = f"tensor([], size={tuple(plain.shape)})"
    lines = [_indented(n, w) for n, w in zip(names, self._given)]
    first, *more = values.split("\n")
    lines.append("\n".join([f"values={first}", *(" " * 14 * bool(line) + line for line in more)]))
    if self._kind is members.sparse_coo:
        return "tensor(" + ",\n       ".join([*lines, ", ".join(tail)]) + ")"
    head = ",\n       ".join(lines)
    return f"tensor({head}, {tail[0]}, {tail[1]},\n       {', '.join(tail[2:])})"


def _rebuild_sparse_tensor(layout: Any, data: tuple[Any, ...]) -> SparseTensor:
    """The tensor that was pickled; its parts are checked."""
    if layout is members.sparse_coo:
        indices, values, size, *rest = data
        return sparse_coo_tensor(indices, values, size, is_coalesced=rest[0] if rest else None)
    pointers, plain, values, size = data
    return sparse_compressed_tensor(pointers, plain, values, size, layout=layout, check_invariants=True)


def _reduce(self: SparseTensor, protocol: Any) -> tuple[Any, ...]:
    if self._kind is members.sparse_coo:
        return _rebuild_sparse_tensor, (self._kind, (self._given[0], self._data, self.shape, self._coalesced))
    return _rebuild_sparse_tensor, (self._kind, (*self._given, self._data, self.shape))


SparseTensor.__repr__ = SparseTensor.__str__ = _repr  # type: ignore[method-assign,assignment]
SparseTensor.__format__ = lambda self, spec: format(_repr(self), spec)  # type: ignore[method-assign]
SparseTensor.__reduce_ex__ = _reduce  # type: ignore[method-assign,assignment]
