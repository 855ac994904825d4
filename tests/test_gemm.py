"""The matrix product against numpy in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import template_kernels as harness

from flambeau.runtime import pool
from flambeau.target.isa import ISA
from flambeau.template import gemm

HOST = ISA.host()


def run(spec, a, b, c, *, isa=HOST, extra=(), scalars=(), words=(), use_pool=False):
    """c = epilogue(a @ b) by the kernel of ``spec``; a, b and c have the same number of batch dimensions."""
    entry = harness.function(
        gemm.kernel_name(spec), gemm.key(spec, isa), lambda: gemm.make_ir(spec, isa), isa, 4 + len(extra), spec.tail.scalars
    )
    bound = gemm.bind(
        spec, isa, c.shape[:-2], c.shape[-2], c.shape[-1], a.shape[-1],
        *(harness.element_strides(x) for x in (a, b, c)), pool.address() if use_pool else 0, pool.get_num_threads(), words,
    )  # fmt: skip
    first, second = (b, a) if bound.swap else (a, b)
    harness.launch(entry, bound.params, [c, first, second, *extra], bound.scratch_bytes, scalars)


def normal(rng, shape, dtype=np.float32, order=None):
    """A random array; ``order`` permutes the dimensions in memory."""
    order = range(len(shape)) if order is None else order
    made = rng.standard_normal([shape[i] for i in order]).astype(dtype)
    return made.transpose(np.argsort(order))


SIZES = [
    (1, 1, 1), (1, 1, 0), (14, 32, 8), (15, 33, 7), (13, 31, 16), (64, 64, 64), (100, 100, 100), (3, 200, 17), (200, 5, 1000),
    (1, 300, 400), (300, 1, 400), (333, 333, 333), (17, 40, 20000), (600, 50, 2000), (50, 600, 700), (5, 5, 0),
]  # fmt: skip


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("transposed", range(8))
def test_f32(size, transposed):
    m, n, k = size
    rng = np.random.default_rng(0)
    a = normal(rng, (m, k), order=(1, 0) if transposed & 1 else None)
    b = normal(rng, (k, n), order=(1, 0) if transposed & 2 else None)
    c = np.full((n, m), np.nan, np.float32).T if transposed & 4 else np.full((m, n), np.nan, np.float32)
    run(gemm.GemmSpec("f32", "f32", "f32", "f32"), a, b, c, use_pool=True)
    np.testing.assert_allclose(c, a.astype(np.float64) @ b, rtol=1e-5, atol=1e-5 * np.sqrt(k + 1))
