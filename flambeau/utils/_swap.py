"""``swap_tensors``: two tensors change places while everybody keeps hold of what they hold."""

from __future__ import annotations

from ..tensor import Tensor, all_attributes

__all__ = ["swap_tensors"]


def swap_tensors(t1: Tensor, t2: Tensor) -> None:
    """Exchanges all that two tensors are: memory, type, gradient, attributes, class.

    Raises RuntimeError for tensors with a history (others that were computed from them would not see the change).
    """
    for t in (t1, t2):
        if t._node is not None or t._view is not None:
            raise RuntimeError("Cannot swap tensors that are part of a graph or views: swap leaves, or detach() first")
    first, second = dict(all_attributes(t1)), dict(all_attributes(t2))
    t1.__class__, t2.__class__ = t2.__class__, t1.__class__
    all_attributes(t1).clear()
    all_attributes(t2).clear()
    all_attributes(t1).update(second)
    all_attributes(t2).update(first)
