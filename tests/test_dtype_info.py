"""finfo and iinfo: against numpy's and ml_dtypes' limits, and against PyTorch's where it is installed."""

from __future__ import annotations

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest

from flambeau import dtype as types
from flambeau.dtype_info import finfo, iinfo

FLOATS = [t for t in types.ALL if t.is_floating_point]
COMPLEX = [t for t in types.ALL if t.is_complex]
INTEGERS = [t for t in types.ALL if t.kind in "iu"]
FLOAT_FIELDS = ("bits", "eps", "max", "min", "tiny", "smallest_normal", "resolution", "dtype")


@pytest.mark.parametrize("type_", FLOATS, ids=str)
def test_floats_against_the_types_themselves(type_: types.dtype) -> None:
    info = finfo(type_)
    cast = type_.numpy.type
    assert info.bits == 8 * type_.itemsize and info.dtype == type_.name
    assert float(cast(1 + info.eps)) - 1 == info.eps
    assert float(np.nextafter(cast(1), cast(2))) - 1 == info.eps
    assert info.max == float(ml_dtypes.finfo(type_.numpy).max) and info.min == -info.max
    assert float(cast(info.max)) == info.max
    assert info.tiny == info.smallest_normal == float(cast(info.tiny))


@pytest.mark.parametrize("type_", INTEGERS, ids=str)
def test_integers_against_numpy(type_: types.dtype) -> None:
    info, expected = iinfo(type_), np.iinfo(type_.numpy)
    assert (info.min, info.max, info.bits, info.dtype) == (expected.min, expected.max, expected.bits, type_.name)


def test_against_pytorch() -> None:
    torch = pytest.importorskip("torch")
    for type_ in FLOATS + COMPLEX:
        ours, theirs = finfo(type_), torch.finfo(getattr(torch, type_.name))
        assert repr(ours) == repr(theirs)
        assert [getattr(ours, f) for f in FLOAT_FIELDS] == [getattr(theirs, f) for f in FLOAT_FIELDS]
    for type_ in INTEGERS:
        ours, theirs = iinfo(type_), torch.iinfo(getattr(torch, type_.name))
        assert repr(ours) == repr(theirs)


def test_default_type_comparison_and_copies() -> None:
    assert finfo() == finfo(types.get_default_dtype())
    assert finfo(types.complex128) == finfo(types.float64) != finfo(types.float32)
    assert iinfo(types.int8) == iinfo(types.int8) != iinfo(types.uint8)
    assert iinfo(types.int8) != 3
    assert pickle.loads(pickle.dumps(finfo(types.bfloat16))) == copy.deepcopy(finfo(types.bfloat16))
    with pytest.raises(TypeError, match="unhashable"):
        hash(finfo())
    with pytest.raises(AttributeError):
        finfo().eps = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("make", "argument", "message"),
    [
        (finfo, types.int32, "requires a floating point input type"),
        (finfo, types.bool_, "requires a floating point input type"),
        (finfo, "float32", "must be torch.dtype, not str"),
        (iinfo, types.float32, "requires an integer input type"),
        (iinfo, types.complex64, "requires an integer input type"),
        (iinfo, types.bool_, "torch.bool is not supported by torch.iinfo"),
        (iinfo, 3, "must be torch.dtype, not int"),
    ],
)
def test_wrong_types(make: type, argument: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make(argument)
