"""Nested tensors: batches of tensors that differ in the size of one dimension (PyTorch's ``torch.nested``).

The jagged layout keeps the members side by side with the offsets at which they begin.  Operators take nested tensors
that share their offsets; see ``operators.py`` for what they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from ..dtype import bool_, int64
from ..dtype import dtype as dtype_
from ..ops import members
from ..tensor import Tensor
from . import operators as operators
from .structure import Structure
from .tensor import NestedTensor, make_nested

__all__ = [
    "as_nested_tensor", "masked_select", "narrow", "nested_tensor", "nested_tensor_from_jagged", "to_padded_tensor",
]  # fmt: skip


def _is_jagged(layout: Any, name: str) -> bool:
    if layout is None or layout is members.strided:
        return False
    if layout is not members.jagged:
        raise RuntimeError(f"Specified layout is unsupported for nested tensors: {layout} ({name})")
    return True


def _nested(tensors: Sequence[Any], jagged: bool, name: str) -> NestedTensor:
    """Members, which differ in one dimension at most, as a nested tensor on the tape of each."""
    if not tensors:
        return make_nested(ops.empty((0,)), Structure.of_sizes([]), 1, not jagged)
    shapes = [tuple(m.shape) for m in tensors]
    if len({len(s) for s in shapes}) != 1:
        raise RuntimeError("When constructing a nested tensor, all tensors in list must have the same dim")
    if not shapes[0]:
        raise RuntimeError(f"{name}: the tensors of a nested tensor need at least one dimension")
    for what in ("dtype", "device"):
        if len({getattr(m, what) for m in tensors}) != 1:
            raise RuntimeError(f"When constructing a nested tensor, all tensors in list must have the same {what}")
    unequal = [d for d, sizes in enumerate(zip(*shapes)) if len(set(sizes)) > 1]
    if len(unequal) > 1:
        raise RuntimeError(
            f"{name}: all tensors in the list must have the same sizes in all dimensions but one, which is ragged; "
            f"got {', '.join(map(str, shapes))}"
        )
    at = unequal[0] if unequal else 0
    return make_nested(ops.cat(list(tensors), at), Structure.of_sizes([s[at] for s in shapes]), at + 1, not jagged)


def nested_tensor(
    tensor_list: Any, *, dtype: dtype_ | None = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False, pin_memory: bool = False,
) -> NestedTensor:  # fmt: skip
    """A nested tensor of copies of the members, which are tensors or what ``torch.tensor`` takes; a leaf of the tape.

    The members may differ in the size of one dimension.  ``layout=torch.jagged`` gives that dimension a symbol for a
    size; with the strided layout, the default, it has none.  Raises RuntimeError for members that differ in more.
    """
    jagged = _is_jagged(layout, "nested_tensor")
    given = [
        (m.detach() if isinstance(m, Tensor) else ops.tensor(m)).to(device=device, dtype=dtype)  # type: ignore[attr-defined]
        for m in tensor_list
    ]
    found = _nested(given, jagged, "nested_tensor")
    if len(given) == 1:
        found._data = found._data.clone()
    return found.requires_grad_(requires_grad)


def as_nested_tensor(ts: Any, dtype: dtype_ | None = None, device: Any = None, layout: Any = None) -> NestedTensor:
    """A nested tensor of a list of tensors, to which gradients flow, or of the members of a dense one."""
    if isinstance(ts, NestedTensor):
        return ts.to(device=device, dtype=dtype)  # type: ignore[attr-defined]
    jagged = _is_jagged(layout, "as_nested_tensor")
    if not isinstance(ts, (list, tuple)) and not isinstance(ts, Tensor):
        raise TypeError("as_nested_tensor(): Expected first argument to be a tensor or a list / tuple of tensors ")
    if isinstance(ts, Tensor):
        dense: Any = ts.to(device=device, dtype=dtype)  # type: ignore[attr-defined]
        parts = Structure.of_sizes([dense.shape[1]] * dense.shape[0])
        return make_nested(dense.flatten(0, 1), parts, 1, not jagged)
    if not all(isinstance(t, Tensor) for t in ts):
        raise TypeError("as_nested_tensor(): Expected first argument to be a tensor or a list / tuple of tensors ")
    return _nested([t.to(device=device, dtype=dtype) for t in ts], jagged, "as_nested_tensor")


def nested_tensor_from_jagged(
    values: Any, offsets: Any = None, lengths: Any = None, jagged_dim: int | None = None,
    min_seqlen: int | None = None, max_seqlen: int | None = None,
) -> NestedTensor:  # fmt: skip
    """The nested tensor whose members lie side by side in ``values`` along ``jagged_dim`` (1, the batch counted).

    Member i begins at ``offsets[i]`` and ends before the next one, or after ``lengths[i]`` rows; without ``offsets``
    the lengths alone tell.  Raises RuntimeError if both are missing or do not fit the values.
    """
    if offsets is None and lengths is None:
        raise RuntimeError("nested_tensor_from_jagged(): At least one of offsets or lengths is required.")
    at = 1 if jagged_dim is None else jagged_dim
    if not 1 <= at <= values.ndim:
        raise RuntimeError(f"nested_tensor_from_jagged(): jagged_dim must be from 1 to {values.ndim}, got {jagged_dim}")
    if offsets is None:
        offsets = ops.cat([ops.zeros((1,), dtype=int64), lengths.cumsum(0)])
        lengths = None
    parts = Structure(offsets, lengths)
    rows = values.shape[at - 1]
    ends = [s + n for s, n in zip(parts.starts, parts.sizes)]
    if any(n < 0 for n in (*parts.starts, *parts.sizes)) or max(ends, default=0) > rows:
        raise RuntimeError(
            f"nested_tensor_from_jagged(): offsets {parts.starts} and lengths {parts.sizes} reach outside of the "
            f"{rows} rows of values"
        )
    return make_nested(values, parts, at)


def narrow(tensor: Any, dim: int, start: Any, length: Any, layout: Any = members.strided) -> Any:
    """The parts of the members of a dense tensor from ``start`` on, ``length`` long, each its own or all one number.

    With ``layout=torch.jagged`` a nested tensor over the same values, for ``dim=1``.
    """
    if not _is_jagged(layout, "narrow"):
        if isinstance(start, int) and isinstance(length, int):
            return tensor.narrow(dim, start, length)
        raise RuntimeError("start and length must be ints for the strided layout NT; use layout=torch.jagged")
    if dim != 1:
        raise RuntimeError("jagged layout only supports dim=1")
    count, width = tensor.shape[:2]
    first, n = (
        x.to(int64) if isinstance(x, Tensor) else ops.full((count,), x, dtype=int64)  # type: ignore[attr-defined]
        for x in (start, length)
    )
    bounds = [first, first + n]
    if count and (int(bounds[0].min()) < 0 or int(bounds[1].max()) > width or int(n.min()) < 0):
        raise RuntimeError(
            f"narrow(): start {first.tolist()} and length {n.tolist()} reach outside of the {width} rows of the members"
        )
    starts = ops.arange(count) * width + first
    offsets = ops.cat([starts, ops.full((1,), count * width, dtype=int64)])
    return make_nested(tensor.flatten(0, 1), Structure(offsets, n), 1)


def masked_select(tensor: Any, mask: Any) -> NestedTensor:
    """The elements where ``mask`` holds, those of each row as a member."""
    if tensor.layout is not members.strided:
        raise RuntimeError(f"torch.nested.masked_select requires a strided tensor, not {tensor.layout}")
    if mask.dtype is not bool_:
        raise RuntimeError(f"masked_select: expected a mask of booleans, got {mask.dtype}")
    full = mask.expand(tensor.shape) if mask.ndim <= tensor.ndim else mask
    counts = full.reshape(full.shape[0], -1).sum(1)
    return make_nested(ops.masked_select(tensor, mask), Structure.of_sizes(counts.tolist()), 1)


def to_padded_tensor(
    input: Any, padding: float, output_size: Sequence[int] | None = None, out: Tensor | None = None
) -> Any:
    """The members as one dense tensor, filled up with ``padding``: see ``Tensor.to_padded_tensor``."""
    if not isinstance(input, NestedTensor):
        raise RuntimeError("to_padded_tensor: expected a nested tensor, got a dense one")
    found = input.to_padded_tensor(padding, output_size)  # type: ignore[attr-defined]
    return found if out is None else out.resize_(found.shape).copy_(found)  # type: ignore[attr-defined]
