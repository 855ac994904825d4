"""Look-ups in a table, with PyTorch's order of arguments."""

from __future__ import annotations

from .._base import Tensor, no_grad, ops

__all__ = ["embedding"]


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """The rows of ``weight``, (V, D), at ``input`` (any shape of integers): shape ``(*input.shape, D)``.

    The row ``padding_idx`` gets no gradient.  ``max_norm`` first scales the rows looked up down to that norm, in place.
    Raises AssertionError for a ``padding_idx`` outside the table, IndexError for an index outside of it.
    """
    rows = weight.shape[0]
    if padding_idx is None:
        padding_idx = -1
    else:
        if not -rows <= padding_idx < rows:
            raise AssertionError("Padding_idx must be within num_embeddings")
        padding_idx %= rows
    if max_norm is not None:
        with no_grad():
            ops.embedding_renorm_(weight, input.detach(), max_norm, norm_type)
    return ops.embedding(weight, input, padding_idx, scale_grad_by_freq, sparse)
