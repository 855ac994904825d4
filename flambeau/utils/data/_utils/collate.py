"""Making batches of samples."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from .... import ops
from ....dtype import float64
from ....tensor import Tensor

__all__ = ["collate", "default_collate", "default_collate_fn_map", "default_convert", "np_str_obj_array_pattern"]

CollateMap = dict[Any, Callable[..., Any]]

np_str_obj_array_pattern = re.compile("[SaUO]")
"""Kinds of numpy's types of which no tensors are made; packages ask for it by this name."""


def default_convert(data: Any) -> Any:
    """A sample with its numpy arrays and scalars made tensors, at any depth; other leaves are left as they are."""
    if isinstance(data, Tensor):
        return data
    if _is_numpy(data):
        return data if np_str_obj_array_pattern.match(data.dtype.kind) else ops.as_tensor(data)
    if isinstance(data, Mapping):
        return _like_mapping(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(default_convert(value) for value in data))
    if isinstance(data, tuple):
        return [default_convert(value) for value in data]
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _like_sequence(data, [default_convert(value) for value in data])
    return data


def _is_numpy(data: Any) -> bool:
    return isinstance(data, (np.ndarray, np.generic)) and not isinstance(data, (np.str_, np.bytes_))


def _like_mapping(model: Any, values: dict[Any, Any]) -> Any:
    """The values in a mapping of the same type as ``model``, where that can be made."""
    try:
        if isinstance(model, MutableMapping):
            # A copy keeps what the type has besides its items (a default factory, say).
            result = copy.copy(model)
            result.update(values)
            return result
        return type(model)(values)  # type: ignore[call-arg]
    except TypeError:
        return values


def _like_sequence(model: Any, values: list[Any]) -> Any:
    """The values in a sequence of the same type as ``model``, where that can be made."""
    try:
        if isinstance(model, MutableSequence):
            result = copy.copy(model)
            for i, value in enumerate(values):
                result[i] = value
            return result
        return type(model)(values)  # type: ignore[call-arg]
    except TypeError:
        return values


def collate(batch: Any, *, collate_fn_map: CollateMap | None = None) -> Any:
    """Combine samples of the same structure: leaves of the types in the map by its functions.

    Args:
        batch: the samples.
        collate_fn_map: function by type, or tuple of types, called as ``fn(leaves, collate_fn_map=...)``.

    Raises:
        TypeError: a leaf is of another type.
        RuntimeError: sequences differ in length.
    """
    element = batch[0]
    kind = type(element)
    if collate_fn_map is not None:
        if kind in collate_fn_map:
            return collate_fn_map[kind](batch, collate_fn_map=collate_fn_map)
        for known, function in collate_fn_map.items():
            if isinstance(element, known):
                return function(batch, collate_fn_map=collate_fn_map)
    if isinstance(element, Mapping):
        columns = {key: collate([sample[key] for sample in batch], collate_fn_map=collate_fn_map) for key in element}
        return _like_mapping(element, columns)
    if isinstance(element, tuple) and hasattr(element, "_fields"):
        return kind(*(collate(column, collate_fn_map=collate_fn_map) for column in zip(*batch)))
    if isinstance(element, Sequence):
        if any(len(sample) != len(element) for sample in batch):
            raise RuntimeError(
                f"each element in list of batch should be of equal size, but they have {[len(s) for s in batch]}"
            )
        columns_of = [collate(column, collate_fn_map=collate_fn_map) for column in zip(*batch)]
        return columns_of if isinstance(element, tuple) else _like_sequence(element, columns_of)
    raise TypeError(f"default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found {kind}")


def collate_tensor_fn(batch: Sequence[Tensor], *, collate_fn_map: CollateMap | None = None) -> Tensor:
    """The tensors along a new first dimension."""
    return ops.stack(list(batch), 0)


def collate_numpy_array_fn(batch: Sequence[np.ndarray], *, collate_fn_map: CollateMap | None = None) -> Any:
    """The arrays as one tensor; raises TypeError for arrays of text or objects."""
    if batch[0].dtype.kind in "SUO":
        raise TypeError(
            "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
            f"found {batch[0].dtype}"
        )
    return collate([ops.as_tensor(array) for array in batch], collate_fn_map=collate_fn_map)


def collate_numpy_scalar_fn(batch: Sequence[np.generic], *, collate_fn_map: CollateMap | None = None) -> Tensor:
    """The scalars as a vector."""
    return ops.as_tensor(np.array(batch))


def collate_float_fn(batch: Sequence[float], *, collate_fn_map: CollateMap | None = None) -> Tensor:
    """The numbers as a vector of float64."""
    return ops.tensor(batch, dtype=float64)


def collate_int_fn(batch: Sequence[int], *, collate_fn_map: CollateMap | None = None) -> Tensor:
    """The numbers as a vector."""
    return ops.tensor(batch)


def collate_str_fn(batch: Sequence[Any], *, collate_fn_map: CollateMap | None = None) -> Sequence[Any]:
    """Texts stay as they are."""
    return batch


default_collate_fn_map: CollateMap = {
    Tensor: collate_tensor_fn,
    np.ndarray: collate_numpy_array_fn,
    (np.bool_, np.number): collate_numpy_scalar_fn,
    float: collate_float_fn,
    int: collate_int_fn,
    str: collate_str_fn,
    bytes: collate_str_fn,
}


def default_collate(batch: Any) -> Any:
    """A batch of samples: tensors, arrays and numbers are stacked, containers keep their structure, texts are listed.

    Raises:
        TypeError: a leaf is of another type.
        RuntimeError: sequences differ in length, or tensors in shape.
    """
    return collate(batch, collate_fn_map=default_collate_fn_map)
