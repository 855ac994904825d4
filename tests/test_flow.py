"""The structured builder of the templates: stores of a vector's first lanes."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from flambeau.runtime import engine, llvm
from flambeau.target.builder import vec_type
from flambeau.target.emit import new_module
from flambeau.target.isa import ISA
from flambeau.template.flow import Flow, function

TYPES = {"float": np.float32, "double": np.float64, "i16": np.int16, "i8": np.int8}


def storing(elem, isa):
    """The module of ``store(to, from, count)``, which copies the first ``count`` elements of a vector."""
    lanes = isa.lanes(elem)

    def write(b: Flow, to, origin, count) -> None:
        value = b.load(vec_type(elem, lanes), origin)
        b.masked_store(value, to, b.lane_mask(count, lanes))
        b.ret()

    module = new_module(isa)
    function(module, isa, "store", [("ptr", "to"), ("ptr", "from"), ("i64", "count")], write, linkage="")
    return module.text()


@pytest.mark.parametrize("name", ISA.available())
@pytest.mark.parametrize("elem", TYPES)
def test_only_the_first_lanes_are_stored(elem, name):
    isa = ISA.named(name)
    lanes = isa.lanes(elem)
    address = engine.load("store", f"store {elem} {isa.key}", lambda: storing(elem, isa), isa).address("store")
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)(address)
    origin = np.arange(1, lanes + 1, dtype=TYPES[elem])
    for count in range(-2, lanes + 3):
        to = np.zeros(lanes + 2, TYPES[elem])
        call(to[1:].ctypes.data, origin.ctypes.data, count)
        stored = min(max(count, 0), lanes)
        np.testing.assert_array_equal(to, [0, *origin[:stored], *[0] * (lanes + 1 - stored)])


def test_avx2_stores_halves_instead_of_masking():
    text = llvm.assembly(storing("float", ISA.named("avx2")), ISA.named("avx2"))
    assert "vmovups" in text and "vmaskmov" not in text
