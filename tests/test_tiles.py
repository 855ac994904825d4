"""Products on tile registers: their code runs on an emulation of the instructions, and assembles to the real ones."""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes
import numpy as np
import pytest
import template_kernels as harness
import tile_emulator

from flambeau.runtime import image, llvm
from flambeau.target.isa import ISA
from flambeau.template import gemm, micro, tiles
from flambeau.template.gemm import GemmSpec
from flambeau.template.micro import Number, number

BF16, INT8 = GemmSpec("bf16", "bf16", "f32", "f32"), GemmSpec("i8", "i8", "i32", "i32")


@dataclass(frozen=True)
class WithTiles(ISA):
    """An instruction set that claims tiles, which LLVM is not told about."""

    def has(self, feature: str) -> bool:
        return feature.startswith("amx") or super().has(feature)

    @property
    def key(self) -> str:
        return ISA.key.func(self) + ";emulated tiles"


@pytest.fixture
def isa(monkeypatch):
    host = ISA.host()
    if host.name != "avx512":
        pytest.skip("tiles come with AVX-512 only")
    known = image.symbol_address
    monkeypatch.setattr(tiles, "_INTRINSICS", tile_emulator.PREFIX)
    monkeypatch.setattr(image, "symbol_address", lambda name: tile_emulator.ADDRESSES.get(name) or known(name))
    tile_emulator.faults.clear()
    tile_emulator.used.clear()
    features = tuple(name for name in host.features if not name.startswith("amx"))
    yield WithTiles(host.name, host.triple, host.cpu, features, 512, 32)
    micro.micro_kernel.cache_clear()
    assert not tile_emulator.faults


def run(spec, isa, a, b, c):
    strides = [harness.element_strides(x) for x in (a, b, c)]
    entry = harness.function(gemm.kernel_name(spec), gemm.key(spec, isa), lambda: gemm.make_ir(spec, isa), isa, 4)
    bound = gemm.bind(spec, isa, c.shape[:-2], *c.shape[-2:], a.shape[-1], *strides, 0, 1)
    first, second = (b, a) if bound.swap else (a, b)
    harness.launch(entry, bound.params, [c, first, second], bound.scratch_bytes)


def operand(rng, shape, dtype, turned):
    shape = shape[::-1] if turned else shape
    made = (
        rng.integers(-128, 128, shape).astype(dtype) if dtype == np.int8 else rng.standard_normal(shape).astype(dtype)
    )
    return made.T if turned else made


@pytest.mark.parametrize("spec", [BF16, INT8], ids=["bf16", "int8"])
@pytest.mark.parametrize("turned", range(4))
@pytest.mark.parametrize(
    "size", [(32, 32, 64), (17, 5, 33), (33, 40, 7), (70, 90, 200), (5, 100, 128), (64, 33, 1), (40, 40, 0)], ids=str
)
def test_products(isa, spec, turned, size):
    m, n, k = size
    rng = np.random.default_rng(m)
    dtype = ml_dtypes.bfloat16 if spec is BF16 else np.int8
    a, b = operand(rng, (m, k), dtype, turned & 1), operand(rng, (k, n), dtype, turned & 2)
    c = np.full((m, n), 77, np.float32 if spec is BF16 else np.int32)
    run(spec, isa, a, b, c)
    if spec is BF16:
        np.testing.assert_allclose(c, a.astype(np.float64) @ b.astype(np.float64), rtol=1e-5, atol=1e-5 * (k + 1))
        assert tile_emulator.used == ({"tdpbf16ps"} if k else set())
    else:
        np.testing.assert_array_equal(c, a.astype(np.int32) @ b.astype(np.int32))
        assert tile_emulator.used == ({"tdpbssd"} if k else set())


def test_batches_long_sums_and_results_of_any_stride(isa):
    rng = np.random.default_rng(1)
    a = rng.standard_normal((3, 50, 2100)).astype(ml_dtypes.bfloat16)
    b = rng.standard_normal((3, 2100, 36)).astype(ml_dtypes.bfloat16)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    c = np.full((3, 50, 36), np.nan, np.float32)
    run(BF16, isa, a, b, c)
    np.testing.assert_allclose(c, exact, rtol=1e-4, atol=1e-3)
    wide = np.full((3, 36, 50), np.nan, np.float32)
    run(BF16, isa, a, b, wide.transpose(0, 2, 1))
    np.testing.assert_allclose(wide.transpose(0, 2, 1), exact, rtol=1e-4, atol=1e-3)
    rounded = np.full((3, 50, 36), 7, ml_dtypes.bfloat16)
    run(GemmSpec("bf16", "bf16", "f32", "bf16"), isa, a, b, rounded)
    np.testing.assert_allclose(rounded.astype(np.float64), exact, rtol=8e-3, atol=1e-2)


@pytest.mark.parametrize(("code", "acc", "instruction"), [("bf16", "f32", "tdpbf16ps"), ("i8", "i32", "tdpbssd")])
def test_the_code_uses_the_instructions(code, acc, instruction):
    base = ISA.named("avx512")
    isa = ISA(base.name, base.triple, "sapphirerapids", ("amx-tile", "amx-bf16", "amx-int8"), 512, 32)
    num = number(code, code, acc, isa, product=True)
    assert num.tiles and not number(code, code, acc, isa).tiles
    assert not number(code, code, acc, base, product=True).tiles
    request = micro.micro_request(num, isa, False)
    assembly = llvm.assembly(request.make_ir(), isa)
    for word in (instruction, "ldtilecfg", "tileloadd", "tilestored", "tilerelease"):
        assert word in assembly
    assert Number(code, acc, num.depth).code != num.code
