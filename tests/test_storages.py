"""Storages: conversions, their classes, files; tensors resized the old way."""

from __future__ import annotations

import pytest

import flambeau as fl

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(
    "name", ["float", "double", "half", "bfloat16", "int", "long", "short", "char", "byte", "bool"]
)
def test_conversions(name):
    mine, theirs = (getattr(m.tensor([0.0, 1.0, 3.0]).storage(), name)() for m in (fl, torch))
    assert mine.tolist() == theirs.tolist() and str(mine.dtype) == str(theirs.dtype)
    mine, theirs = (getattr(m.tensor([0.0, 2.0]).untyped_storage(), name)() for m in (fl, torch))
    assert mine.tolist() == theirs.tolist()
    assert mine.type() == theirs.type() and mine.type(fl.float64).dtype is fl.float64


def test_classes_of_storages():
    s = fl.FloatStorage([1, 2, 3])
    assert isinstance(s, fl.FloatStorage) and not isinstance(s, fl.LongStorage) and s.tolist() == [1, 2, 3]
    assert fl.DoubleStorage(4).dtype is fl.float64 and len(fl.DoubleStorage(4)) == 4
    assert s.copy_(fl.LongStorage([4, 5, 6])).tolist() == [4, 5, 6]
    assert s.type("torch.IntStorage").dtype is fl.int32 and s.type(fl.FloatStorage) is s
    assert not s.is_cuda and not s.is_sparse and s.get_device() == -1 and s.cpu() is s and s.pin_memory() is s
    with pytest.raises(AssertionError):
        s.cuda()


def test_bytes_swapped():
    s = fl.tensor([1, 256], dtype=fl.int16).untyped_storage()
    s.byteswap(fl.int16)
    assert fl.empty(0, dtype=fl.int16).set_(s).tolist() == [256, 1]


def test_storage_of_a_file(tmp_path):
    path = str(tmp_path / "file")
    s = fl.FloatStorage.from_file(path, shared=True, size=3)
    s.fill_(2)
    assert fl.FloatStorage.from_file(path, size=3).tolist() == [2, 2, 2]


def test_old_resize_and_loading():
    x = fl.arange(6.0)
    assert x.resize(2, 3).shape == (2, 3) and x.resize_as(fl.ones(3, 2)).shape == (3, 2)
    with pytest.raises(RuntimeError, match="6 elements"):
        x.resize(4)
    p, q = fl.nn.Parameter(fl.ones(2)), fl.zeros(2)
    with fl.no_grad():
        assert p.module_load(q).tolist() == [0, 0] and p.tolist() == [0, 0]
    assert type(p.module_load(q, assign=True)) is fl.nn.Parameter
    assert fl.ones(1).__nonzero__() and fl.tensor(3.5).__long__() == 3


def test_devices_have_one_of_each():
    assert fl.empty(0, device=fl.device("cpu", 1)).device == fl.device("cpu")
    assert fl.empty(0, device=fl.device("meta", 3)).device == fl.device("meta")
    for bad in ("cpu:01", "cpu:-1", "cpu:"):
        with pytest.raises(RuntimeError, match="Invalid device string"):
            fl.device(bad)
    with pytest.raises(RuntimeError, match="must not be negative"):
        fl.device("cpu", -1)
