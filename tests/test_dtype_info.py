"""finfo and iinfo: against numpy's and ml_dtypes' limits, and against PyTorch's where it is installed."""

from __future__ import annotations

import copy
import pickle

import ml_dtypes
import numpy as np
import pytest

import flambeau
from flambeau import finfo, iinfo
from flambeau.dtype import ALL, dtype

FLOATS = [t for t in ALL if t.is_floating_point and t.is_signed]
COMPLEX = [t for t in ALL if t.is_complex]
INTEGERS = [t for t in ALL if t.kind in "iu"]
FLOAT_FIELDS = ("bits", "eps", "max", "min", "tiny", "smallest_normal", "resolution", "dtype")


@pytest.mark.parametrize("type_", FLOATS, ids=str)
def test_floats_against_the_types_themselves(type_: dtype) -> None:
    info = finfo(type_)
    cast = type_.numpy.type
    assert info.bits == 8 * type_.itemsize and info.dtype == type_.name
    assert float(cast(1 + info.eps)) - 1 == info.eps
    assert float(np.nextafter(cast(1), cast(2))) - 1 == info.eps
    assert info.max == float(ml_dtypes.finfo(type_.numpy).max) and info.min == -info.max
    assert float(cast(info.max)) == info.max
    assert info.tiny == info.smallest_normal == float(cast(info.tiny))


def test_powers_of_two() -> None:
    info = finfo(flambeau.float8_e8m0fnu)
    assert (info.min, info.max, info.eps) == (2.0**-127, 2.0**127, 1)


@pytest.mark.parametrize("type_", INTEGERS, ids=str)
def test_integers_against_numpy(type_: dtype) -> None:
    info, expected = iinfo(type_), np.iinfo(type_.numpy)
    assert (info.min, info.max, info.bits, info.dtype) == (expected.min, expected.max, expected.bits, type_.name)


def test_against_pytorch() -> None:
    torch = pytest.importorskip("torch")
    for type_ in FLOATS + COMPLEX:
        if type_.name == "float8_e5m2fnuz":  # of which PyTorch gives half of eps
            continue
        ours, theirs = finfo(type_), torch.finfo(getattr(torch, type_.name))
        assert repr(ours) == repr(theirs)
        assert [getattr(ours, f) for f in FLOAT_FIELDS] == [getattr(theirs, f) for f in FLOAT_FIELDS]
    for type_ in INTEGERS:
        ours, theirs = iinfo(type_), torch.iinfo(getattr(torch, type_.name))
        assert repr(ours) == repr(theirs)


def test_default_type_comparison_and_copies() -> None:
    assert finfo() == finfo(flambeau.get_default_dtype())
    assert finfo(flambeau.complex128) == finfo(flambeau.float64) != finfo(flambeau.float32)
    assert iinfo(flambeau.int8) == iinfo(flambeau.int8) != iinfo(flambeau.uint8)
    assert iinfo(flambeau.int8) != 3
    assert pickle.loads(pickle.dumps(finfo(flambeau.bfloat16))) == copy.deepcopy(finfo(flambeau.bfloat16))
    with pytest.raises(TypeError, match="unhashable"):
        hash(finfo())
    with pytest.raises(AttributeError):
        finfo().eps = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("make", "argument", "message"),
    [
        (finfo, flambeau.int32, "requires a floating point input type"),
        (finfo, flambeau.bool, "requires a floating point input type"),
        (finfo, "float32", "must be torch.dtype, not str"),
        (iinfo, flambeau.float32, "requires an integer input type"),
        (iinfo, flambeau.complex64, "requires an integer input type"),
        (iinfo, flambeau.bool, "torch.bool is not supported by torch.iinfo"),
        (iinfo, 3, "must be torch.dtype, not int"),
    ],
)
def test_wrong_types(make: type, argument: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make(argument)
