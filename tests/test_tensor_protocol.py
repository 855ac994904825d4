"""Tensor among other Python objects: subclasses, copies, pickles, storages, other libraries' arrays."""

from __future__ import annotations

import copy
import pickle
from typing import Any, ClassVar

import numpy as np
import pytest

import flambeau as fl

# -- what it is --------------------------------------------------------------------------------------


def test_predicates_and_names() -> None:
    x = fl.zeros(2, 3)
    assert (
        x.is_floating_point() and not x.is_complex() and x.is_signed() and not fl.zeros(1, dtype=fl.uint8).is_signed()
    )
    assert x.type() == "torch.FloatTensor" and fl.zeros(1, dtype=fl.int64).type() == "torch.LongTensor"
    assert x.type("torch.DoubleTensor").dtype is fl.float64 and x.type(fl.int32).dtype is fl.int32
    assert x.layout is fl.strided and not x.is_sparse and x.is_cpu and not x.is_cuda and not x.is_meta
    assert fl.is_tensor(x) and not fl.is_tensor(1) and fl.numel(x) == 6
    assert x.get_device() == -1 and x.is_same_size(fl.ones(2, 3)) and x.T.shape == (3, 2)
    assert isinstance(x, fl.FloatTensor) and not isinstance(x, fl.LongTensor)
    with pytest.raises(ValueError, match="invalid type"):
        x.type("torch.NoTensor")


def test_makers_take_type_and_device_of_the_tensor() -> None:
    x = fl.zeros(2, dtype=fl.float64)
    for made in (x.new_zeros(3, 2), x.new_ones((3, 2)), x.new_empty(3, 2), x.new_full((3, 2), 4)):
        assert made.shape == (3, 2) and made.dtype is fl.float64
    assert x.new_tensor([1, 2]).dtype is fl.float64
    assert x.new_zeros(2, dtype=fl.int64).dtype is fl.int64
    assert fl.zeros(1, device="meta").new_zeros(2).is_meta


def test_constructors_of_the_first_days() -> None:
    assert fl.Tensor([1, 2]).tolist() == [1.0, 2.0] and fl.Tensor(2, 3).shape == (2, 3) and fl.Tensor().shape == (0,)
    assert fl.LongTensor([3]).dtype is fl.int64 and fl.ByteTensor(4).shape == (4,)


def test_moving_between_devices() -> None:
    x = fl.ones(2)
    assert x.cpu() is x
    with pytest.raises(AssertionError, match="not compiled with CUDA"):
        x.cuda()
    assert x.pin_memory() is x and not x.is_pinned()


# -- memory ------------------------------------------------------------------------------------------


def test_data_replaces_the_memory_of_a_parameter() -> None:
    p = fl.nn.Parameter(fl.ones(2))
    p.data = fl.full((3,), 2.0)
    assert p.shape == (3,) and p.requires_grad and p.is_leaf and not p.data.requires_grad
    p.data.mul_(2)
    assert p.tolist() == [4.0] * 3
    (p * 2).sum().backward()
    assert p.grad.tolist() == [2.0] * 3
    with pytest.raises(TypeError):
        p.data = 3


def test_set_and_storages() -> None:
    x = fl.arange(6.0)
    y = fl.zeros(0).set_(x.untyped_storage(), 2, (2, 2), (1, 2))
    assert y.tolist() == [[2, 4], [3, 5]]
    y[0, 0] = 9
    assert x[2] == 9 and y.is_set_to(y) and not y.is_set_to(x)
    assert x.untyped_storage().nbytes() == 24 and x.storage().size() == 6 and x.storage()[2] == 9.0
    assert x.untyped_storage() == y.untyped_storage() and x.data_ptr() == x.untyped_storage().data_ptr()
    with pytest.raises(RuntimeError, match="out of bounds"):
        fl.zeros(0).set_(x.untyped_storage(), 4, (3,), (1,))


def test_resize() -> None:
    x = fl.arange(4.0)
    assert x.resize_(2, 3).shape == (2, 3) and x.view(-1)[:4].tolist() == [0, 1, 2, 3]
    with pytest.raises(RuntimeError, match="require"):
        fl.ones(2, requires_grad=True).resize_(3)
    with pytest.raises(RuntimeError, match="resizable"):
        fl.from_numpy(np.zeros(2)).resize_(3)


# -- copies and pickles ------------------------------------------------------------------------------


def test_deepcopy_keeps_what_is_shared() -> None:
    x = fl.arange(6.0).view(2, 3)
    found = copy.deepcopy({"whole": x, "row": x[1], "again": x})
    found["whole"].zero_()
    assert found["row"].tolist() == [0, 0, 0] and found["again"] is found["whole"] and x[1].tolist() == [3, 4, 5]
    leaf = fl.ones(2, requires_grad=True)
    (leaf * 3).sum().backward()
    twin = copy.deepcopy(leaf)
    assert twin.requires_grad and twin.grad.tolist() == [3, 3] and twin.grad is not leaf.grad
    with pytest.raises(RuntimeError, match="leaves"):
        copy.deepcopy(leaf * 2)


@pytest.mark.parametrize("type_", ["float32", "bfloat16", "int8", "bool", "complex64"])
def test_pickle(type_: str) -> None:
    x = fl.tensor([[1, 0], [2, 3]]).to(getattr(fl, type_))
    whole, part = pickle.loads(pickle.dumps((x, x.t()[1])))
    assert whole.dtype is x.dtype and whole.tolist() == x.tolist() and part.tolist() == x.t()[1].tolist()
    assert whole.untyped_storage() == part.untyped_storage()


def test_parameter_keeps_its_class() -> None:
    p = fl.nn.Parameter(fl.ones(2))
    for twin in (copy.deepcopy(p), pickle.loads(pickle.dumps(p))):
        assert type(twin) is fl.nn.Parameter and twin.requires_grad and twin.tolist() == [1, 1]
    assert type(p + 1) is fl.Tensor and type(p.view(2, 1)) is fl.Tensor and type(p[0]) is fl.Tensor


# -- subclasses --------------------------------------------------------------------------------------


class Tagged(fl.Tensor):
    pass


class Logged(fl.Tensor):
    calls: ClassVar[list[Any]] = []

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        cls.calls.append((getattr(func, "__name__", func), kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs or {})


class Foreign:
    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return "foreign", func.__name__


def test_results_keep_the_subclass() -> None:
    t = fl.arange(6.0).view(2, 3).as_subclass(Tagged)
    for found in (
        t + 1,
        1 + t,
        t.view(-1),
        t[0],
        t[[0, 1]],
        t.T,
        fl.cat([t, t]),
        t.sum(0),
        t.mT,
        t.add_(0),
        t.split(1)[0],
        t.clone(),
    ):
        assert type(found) is Tagged
    assert type(copy.deepcopy(t)) is Tagged and type(pickle.loads(pickle.dumps(t))) is Tagged
    t.requires_grad_()
    (t * 2).sum().backward()
    assert t.grad.tolist() == [[2.0] * 3] * 2


def test_overrides_see_functions_methods_and_properties() -> None:
    x = fl.ones(2, 3).as_subclass(Logged)
    Logged.calls.clear()
    fl.add(x, 1, alpha=2)
    assert Logged.calls == [("add", {"alpha": 2})]
    Logged.calls.clear()
    x.shape
    x.view(-1)
    x[0]
    fl.stack([x, x])
    x.mul_(2)
    assert [name for name, _ in Logged.calls] == ["__get__", "view", "__getitem__", "stack", "mul_"]


def test_objects_that_are_no_tensors_can_override() -> None:
    assert fl.add(fl.ones(1), Foreign()) == ("foreign", "add")
    assert fl.sum(Foreign()) == ("foreign", "sum")
    assert fl.stack([fl.ones(1), Foreign()]) == ("foreign", "stack")


def test_subclass_with_a_constructor() -> None:
    class Wrapped(fl.Tensor):
        @staticmethod
        def __new__(cls, data: Any, note: str) -> Any:
            result = fl.Tensor._make_subclass(cls, data)
            result.note = note
            return result

    w = Wrapped(fl.ones(2), "hello")
    assert type(w) is Wrapped and w.note == "hello" and w.tolist() == [1, 1]


# -- other libraries ---------------------------------------------------------------------------------


def test_numpy_shares_memory() -> None:
    array = np.arange(4.0)
    assert np.asarray(fl.from_numpy(array)).ctypes.data == array.ctypes.data
    assert fl.from_dlpack(array).data_ptr() == array.ctypes.data
    x = fl.arange(3)
    assert np.from_dlpack(x).tolist() == [0, 1, 2]
    with pytest.raises(BufferError):
        fl.ones(1, requires_grad=True).__dlpack__()


def test_frombuffer() -> None:
    data = bytearray(b"\x01\x00\x02\x00\x03\x00")
    x = fl.frombuffer(data, dtype=fl.int16, offset=2)
    assert x.tolist() == [2, 3]
    x[0] = 7
    assert data[2] == 7
    for bad in ({"offset": 9}, {"count": 9}, {"offset": 1}):
        with pytest.raises(ValueError, match="buffer"):
            fl.frombuffer(data, dtype=fl.int16, **bad)


def test_elements_one_by_one() -> None:
    x = fl.arange(4.0).view(2, 2)
    assert [row.tolist() for row in x] == [[0, 1], [2, 3]] and 3 in x and 9 not in x
    assert x.apply_(lambda v: v * 2).tolist() == [[0, 2], [4, 6]]
    assert x.map_(fl.ones(2), lambda a, b: a + b).tolist() == [[1, 3], [5, 7]]
    assert fl.zeros(3, 3).fill_diagonal_(1).tolist() == np.eye(3).tolist()


@pytest.mark.parametrize(
    ("function", "type_"),
    [(np.sin, fl.float32), (np.isnan, fl.uint8), (lambda x: np.multiply(np.ones(2), x), fl.float64)],
)
def test_numpys_functions_of_tensors_give_tensors(function: Any, type_: Any) -> None:
    values = np.array([1.0, np.nan], np.float32)
    got = function(fl.from_numpy(values))
    assert type(got) is fl.Tensor and got.dtype is type_
    np.testing.assert_array_equal(got.numpy(), function(values))
    assert np.sin(fl.tensor(0.0)).shape == ()
