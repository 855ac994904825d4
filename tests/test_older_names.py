"""Modules of PyTorch's own that packages import from."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import flambeau


def test_classes_are_the_public_ones() -> None:
    assert importlib.import_module("flambeau._tensor").Tensor is flambeau.Tensor
    assert isinstance(flambeau.ops.aten.add.Tensor, importlib.import_module("flambeau._ops").OpOverload)
    fsdp = importlib.import_module("flambeau.distributed.fsdp.fully_sharded_data_parallel")
    assert fsdp.FullyShardedDataParallel is flambeau.distributed.fsdp.FullyShardedDataParallel


def test_several_tensors_as_one_and_back() -> None:
    tensors = [flambeau.arange(6.0).view(2, 3).t(), flambeau.tensor(7.0), flambeau.zeros(0, 2)]
    flat = flambeau._utils._flatten_dense_tensors(tensors)
    np.testing.assert_array_equal(flat.numpy(), [0, 3, 1, 4, 2, 5, 7])
    found = flambeau._utils._unflatten_dense_tensors(flat, tensors)
    assert all(flambeau.equal(a, b) for a, b in zip(found, tensors)) and found[0].data_ptr() == flat.data_ptr()


def test_numbers_of_devices() -> None:
    index = flambeau._utils._get_device_index
    assert index(3) == 3 and index("cuda:1") == 1 and index(flambeau.device("cpu"), allow_cpu=True) == -1
    assert index(None, optional=True) == 0
    for wrong in (None, "cuda"):
        with pytest.raises(ValueError, match="specified index"):
            index(wrong)
    with pytest.raises(ValueError, match="non cpu device"):
        index("cpu")
