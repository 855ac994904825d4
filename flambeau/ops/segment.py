"""Reductions of consecutive segments."""

from __future__ import annotations

import math

from ..dispatch.operator import OPERATORS, operator
from ..tensor import Tensor
from . import create
from .common import dim_of

__all__: list[str] = []

_START = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "max": -math.inf, "min": math.inf}
_SCATTER = {"sum": "sum", "mean": "sum", "prod": "prod", "max": "amax", "min": "amin"}


@operator(kind="composite", method=False, aliases=("_segment_reduce",))
def segment_reduce(
    data: Tensor, reduce: str, *, lengths: Tensor | None = None, indices: Tensor | None = None,
    offsets: Tensor | None = None, axis: int = 0, unsafe: bool = False, initial: float | None = None,
) -> Tensor:  # fmt: skip
    """Reduces segments of ``data`` that follow each other along ``axis``: their ``lengths`` are given, of shape
    ``data.shape[:axis] + (n,)``, or their ``offsets``, one more than there are segments.

    ``reduce`` is "sum", "mean", "prod", "max" or "min"; ``initial`` takes part in each segment, and is the result of an
    empty one (else 0, NaN, 1, -inf, inf).  ``unsafe`` leaves out the check that the lengths add up.
    Raises RuntimeError for other reductions, for lengths that do not fit, and for ``indices``, which PyTorch does not
    support either.
    """
    if reduce not in _START:
        raise RuntimeError(f"segment_reduce(): unsupported reduction {reduce!r}; expected one of {', '.join(_START)}")
    if indices is not None:
        raise RuntimeError("segment_reduce(): indices based reduction is not supported yet.")
    if data.dtype.kind != "f":
        raise RuntimeError(f"segment_reduce(): expected floating-point data, got {data.dtype}")
    given = lengths if lengths is not None else offsets
    if given is None:
        raise RuntimeError("segment_reduce(): Either lengths or offsets must be defined.")
    d = dim_of(axis, data.ndim, "segment_reduce")
    if d != given.ndim - 1:
        raise RuntimeError(f"segment_reduce(): Expected axis to be the last dimension of lengths but got {axis}.")
    if tuple(given.shape[:d]) != tuple(data.shape[:d]):
        raise RuntimeError(
            f"segment_reduce(): lengths of shape {list(given.shape)} do not fit data of shape {list(data.shape)}"
        )
    n = data.shape[d]
    given = given.long()  # type: ignore[attr-defined]
    if lengths is not None:
        counts, ends = given, given.cumsum(d)  # type: ignore[attr-defined]
        starts = ends - given
        if not unsafe and (bool((given < 0).any()) or (given.shape[d] > 0 and bool((ends.select(d, -1) != n).any()))):
            raise RuntimeError(f"segment_reduce(): Expected all lengths to be >= 0 and to add up to {n} along axis.")
    else:
        starts, ends = given.narrow(d, 0, given.shape[d] - 1), given.narrow(d, 1, given.shape[d] - 1)  # type: ignore[attr-defined]
        counts = ends - starts
    rows, rest = math.prod(data.shape[:d]), math.prod(data.shape[d + 1 :])
    segments = counts.shape[d]
    place = create.arange(n, device=data.device).expand(rows, n).contiguous()  # type: ignore[attr-defined]
    number = OPERATORS["searchsorted"].function(ends.reshape(rows, segments).contiguous(), place, right=True)
    before = place < starts.reshape(rows, segments)[:, :1]
    number = number.masked_fill(before, segments)  # what lies outside of all segments goes into one of its own
    x = data.reshape(rows, n, rest)  # type: ignore[attr-defined]
    start = _START[reduce] if initial is None else float(initial)
    base = x.new_full((rows, segments + 1, rest), start)
    index = number.unsqueeze(-1).expand(rows, n, rest)
    found = base.scatter_reduce(1, index, x, _SCATTER[reduce], include_self=True).narrow(1, 0, segments)
    if reduce == "mean":
        size = counts.reshape(rows, segments, 1)
        found = found / size.clamp(min=1).to(x.dtype)
        if initial is None:
            found = found.masked_fill(size == 0, math.nan)
    return found.reshape([*data.shape[:d], segments, *data.shape[d + 1 :]])  # type: ignore[no-any-return]
