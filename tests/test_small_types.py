"""Floating-point types of one byte, and types that only name memory."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau

torch = pytest.importorskip("torch")

FLOAT8 = "float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu".split()


@pytest.mark.parametrize("name", FLOAT8)
def test_conversions_are_exact_and_round_as_pytorch(name):
    every = np.arange(256, dtype=np.uint8)
    wide = [m.from_numpy(every).view(getattr(m, name)).to(m.float32).numpy() for m in (torch, flambeau)]
    np.testing.assert_array_equal(*wide)
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 50_000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    ends = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 240, 248, 256, 448, 464, 57344, 61440], np.float32)
    powers = np.array([2.0**-127, 2.0**-128, 1.5 * 2.0**-127, 1.5, 3, 6, 2.0**127 * 1.6], np.float32)
    usual = (rng.standard_normal(5000) * np.exp(rng.uniform(-15, 15, 5000))).astype(np.float32)
    x = np.concatenate([bits, ends, powers, usual])
    small = [m.from_numpy(x).to(getattr(m, name)).view(m.uint8).numpy() for m in (torch, flambeau)]
    np.testing.assert_array_equal(*small)


def test_short_names_and_limits():
    names = [n for n in dir(torch) if isinstance(getattr(torch, n), torch.dtype) and n not in ("complex32", "chalf")]
    for name in names:
        ours, theirs = getattr(flambeau, name), getattr(torch, name)
        assert (ours.abbr, ours.itemsize, repr(ours)) == (theirs.abbr, theirs.itemsize, repr(theirs)), name
    assert flambeau.finfo(flambeau.float8_e4m3fnuz).max == 240 == torch.finfo(torch.float8_e4m3fnuz).max
    with pytest.raises(TypeError):
        flambeau.iinfo(flambeau.uint3)


@pytest.mark.parametrize("name", ["uint3", "int7", "bits8", "bits16", "float4_e2m1fn_x2"])
def test_names_of_memory(name):
    kind = getattr(flambeau, name)
    assert not flambeau.zeros(3, dtype=kind).view(flambeau.uint8).any()
    assert flambeau.zeros(4, dtype=kind)[1:].shape == (3,)
    assert flambeau.arange(4, dtype=flambeau.uint8).view(flambeau.int16).view(flambeau.uint8).tolist() == [0, 1, 2, 3]
    with pytest.raises(NotImplementedError):
        flambeau.empty(2, dtype=kind) + 1
    with pytest.raises(NotImplementedError):
        flambeau.ones(2).to(kind)
