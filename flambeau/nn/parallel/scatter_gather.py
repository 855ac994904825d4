"""Arguments of modules spread over devices, and results brought together.

Of the devices that there are, each type has one, so everything is one piece; the functions still take nested
tuples, lists and dictionaries apart as PyTorch's do, and refuse devices that do not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import ops
from ...device import of as device_of
from ...tensor import Tensor
from ...utils._pytree import tree_map_only

__all__ = ["gather", "is_namedtuple", "scatter", "scatter_kwargs"]


def is_namedtuple(obj: Any) -> bool:
    """Whether an object is an instance of a named tuple."""
    return isinstance(obj, tuple) and hasattr(obj, "_asdict") and hasattr(obj, "_fields")


def scatter(inputs: Any, target_gpus: Sequence[Any], dim: int = 0) -> list[Any]:
    """The tensors in ``inputs`` cut along ``dim`` into a chunk for every device; other things go to all.

    Raises RuntimeError for devices that are not there.
    """
    devices = [device_of(d) for d in target_gpus]
    if not devices:
        raise RuntimeError("scatter: expected at least one device to scatter to")
    count = len(devices)

    def piece(k: int) -> Any:
        def cut(t: Tensor) -> Tensor:
            return t.chunk(count, dim)[k].to(devices[k])  # type: ignore[attr-defined,no-any-return]

        return tree_map_only(Tensor, cut, inputs)

    return [piece(k) for k in range(count)]


def scatter_kwargs(
    inputs: Any, kwargs: dict[str, Any] | None, target_gpus: Sequence[Any], dim: int = 0
) -> tuple[tuple[Any, ...], tuple[dict[str, Any], ...]]:
    """``scatter`` of positional and named arguments: one tuple and one dictionary for every device."""
    return tuple(scatter(inputs, target_gpus, dim)), tuple(scatter(kwargs or {}, target_gpus, dim))


def gather(outputs: Sequence[Any], target_device: Any, dim: int = 0) -> Any:
    """Results of all devices, joined along ``dim`` on ``target_device``: tensors, and tuples, lists and dictionaries
    of tensors."""
    from_each = list(outputs)
    first = from_each[0]
    if isinstance(first, Tensor):
        parts = [t.reshape(1) if t.ndim == 0 else t for t in from_each]
        return (parts[0] if len(parts) == 1 else ops.cat(parts, dim)).to(device_of(target_device))
    if first is None:
        return None
    if isinstance(first, dict):
        return type(first)((k, gather([d[k] for d in from_each], target_device, dim)) for k in first)
    if is_namedtuple(first):
        return type(first)._make(gather(each, target_device, dim) for each in zip(*from_each))
    return type(first)(gather(each, target_device, dim) for each in zip(*from_each))
