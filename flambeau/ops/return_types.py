"""Named results of operators that return several tensors (PyTorch's ``torch.return_types``)."""

from __future__ import annotations

from typing import NamedTuple

from ..tensor import Tensor

__all__ = ["sort", "topk"]


class sort(NamedTuple):  # noqa: N801 - PyTorch's name
    values: Tensor
    indices: Tensor


class topk(NamedTuple):  # noqa: N801 - PyTorch's name
    values: Tensor
    indices: Tensor
