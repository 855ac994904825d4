"""Running combinations of the slices of tensors by an associative function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..ops import join
from ..tensor import Tensor
from ..utils._pytree import tree_flatten, tree_unflatten

__all__ = ["associative_scan"]

_cat = join.cat.function


def associative_scan(
    combine_fn: Callable[[Any, Any], Any], xs: Any, dim: int, reverse: bool = False, combine_mode: str = "pointwise"
) -> Any:
    """The running combination along ``dim`` of the tensors in ``xs``: the first slice, the first two combined, ...

    ``combine_fn`` combines two trees like ``xs`` and is associative; it is called on many slices at once, log2(n)
    times (Hillis and Steele 1986, "Data parallel algorithms").  Raises ValueError for tensors of different lengths.
    """
    if not callable(combine_fn):
        raise ValueError(f"combine_fn must be callable, got {type(combine_fn).__name__}")
    leaves, spec = tree_flatten(xs)
    if not leaves or not all(isinstance(t, Tensor) for t in leaves):
        raise ValueError("xs must be a tree of tensors, with at least one")
    lengths = {t.shape[dim] for t in leaves}
    if len(lengths) > 1:
        raise ValueError(f"the tensors of xs must have one length along dimension {dim}, got {sorted(lengths)}")
    (length,) = lengths
    if reverse:
        leaves = [t.flip([dim]) for t in leaves]
    step = 1
    while step < length:
        late = [t.narrow(dim, step, length - step) for t in leaves]
        early = [t.narrow(dim, 0, length - step) for t in leaves]
        combined, _ = tree_flatten(combine_fn(tree_unflatten(early, spec), tree_unflatten(late, spec)))
        leaves = [_cat([t.narrow(dim, 0, step), c], dim) for t, c in zip(leaves, combined)]
        step *= 2
    if reverse:
        leaves = [t.flip([dim]) for t in leaves]
    return tree_unflatten(leaves, spec)
