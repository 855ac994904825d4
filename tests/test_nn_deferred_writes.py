"""Deferred values written into memory that other tensors see."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

import flambeau

READS = {
    "sum": lambda z: z.sum(),
    "product": lambda z: z * 2,
    "contraction": lambda z: z @ flambeau.ones(2, 5),
    "pieces": lambda z: flambeau.cat([r * 2 for r in z.transpose(0, 1).reshape(12, 2).split([4] * 3)]),
    "number": lambda z: z[0, -1, 0].item(),
    "list": lambda z: z.tolist(),
    "copy": lambda z: z.clone(),
}


@pytest.mark.parametrize("name", READS)
def test_a_pending_value_written_through_a_view_is_seen_through_the_base(name):
    g = flambeau.arange(1.0, 9.0).reshape(4, 2)

    def program(value):
        z = flambeau.zeros(4, 3, 2)
        z[:, -1] = value
        return np.asarray(READS[name](z))

    deferred = flambeau.compile(lambda x: x * 2)
    np.testing.assert_array_equal(program(deferred(g)), program(g * 2))


def test_a_gradient_through_a_selected_row_of_a_compiled_result():
    def gradients(wrap):
        x, w = flambeau.ones(3, 4, 2).requires_grad_(), flambeau.arange(10.0).reshape(2, 5).requires_grad_()
        y = wrap(lambda a, b: (a @ b)[:, -1])(x, w)
        (y * y).sum().backward()
        return x.grad.numpy(), w.grad.numpy()

    for expected, got in zip(gradients(lambda f: f), gradients(flambeau.compile)):
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_the_short_path_is_open_again_afterwards():
    from flambeau.dispatch.call import special

    z = flambeau.zeros(2)
    z[:1] = flambeau.compile(lambda x: x * 2)(flambeau.ones(1))
    assert special
    assert z.tolist() == [2.0, 0.0]
    assert not special


def test_short_ways_to_numbers_see_the_write():
    double = flambeau.compile(lambda x: x * 2)
    for look in (lambda z: z[0].item(), lambda z: z.sum().item(), lambda z: float(z[:1]), lambda z: z[:1].item(),
                 lambda z: z[:1].tolist()[0], lambda z: int(z[0]), lambda z: z.numpy()[0],
                 lambda z: ctypes.c_float.from_address(z.data_ptr()).value):  # fmt: skip
        z = flambeau.zeros(2)
        z[:1] = double(flambeau.ones(1))
        assert look(z) == 2.0
        part = z[:1]
        z[:1] = double(flambeau.ones(1))
        assert part.item() == 2.0
