"""Writes to memory that is read by the same call, or of which one element stands for several: both are refused."""

from __future__ import annotations

from collections.abc import Sequence

from ..tensor import Tensor

__all__ = ["check_written"]


def check_written(name: str, out: Tensor, inputs: Sequence[Tensor], apart: bool = False) -> None:
    """Raises RuntimeError for a tensor to be written with elements at one address, and for one that shares some memory
    with an input (all of it, too, if ``apart``: where not every element is taken to its own place)."""
    layout = out._layout
    if layout.overlapping and layout.numel > 1:
        raise RuntimeError(
            f"{name}: unsupported operation: more than one element of the written-to tensor "
            "refers to a single memory location. "
            "Please clone() the tensor before performing the operation."
        )
    for t in inputs:
        if (
            t._storage.memory is not out._storage.memory
            or not layout.numel
            or not t._layout.numel
            or (t._layout is layout and t._offset == out._offset and not apart)
        ):
            continue
        if (
            t._offset < out._offset + layout.span
            and out._offset < t._offset + t._layout.span
            and (apart or (t._layout.dense and layout.dense))
        ):
            raise RuntimeError(
                f"{name}: unsupported operation: some elements of the input tensor and the "
                "written-to tensor refer to a single memory location. "
                "Please clone() the tensor before performing the operation."
            )
