"""Initial values: PyTorch's, bit for bit, for PyTorch's seeds; errors and warnings."""

from __future__ import annotations

import numpy as np
import pytest
from nn_reference import check, torch

import flambeau
from flambeau import nn

FILLS = [
    ("uniform_", ()),
    ("uniform_", (-2.0, 3.0)),
    ("normal_", ()),
    ("normal_", (1.0, 0.02)),
    ("trunc_normal_", ()),
    ("trunc_normal_", (0.1, 2.0, -1.0, 3.0)),
    ("trunc_normal_", (0.0, 0.02)),
    ("trunc_normal_", (0.0, 1.0, 2.0, 4.0)),
    ("constant_", (0.3,)),
    ("ones_", ()),
    ("zeros_", ()),
    ("eye_", ()),
    ("xavier_uniform_", ()),
    ("xavier_normal_", (2.0,)),
    ("kaiming_uniform_", (5**0.5,)),
    ("kaiming_normal_", (0, "fan_out", "relu")),
    ("sparse_", (0.3,)),
]


@pytest.mark.parametrize("kind", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("shape", [(30, 20), (20, 31), (3, 2)])
@pytest.mark.parametrize(("name", "args"), FILLS, ids=[f"{name}{args}" for name, args in FILLS])
def test_fills_are_pytorchs_bits(name, args, shape, kind):
    def program(p):
        tensor = p.empty(shape, dtype=getattr(p, kind))
        result = getattr(p.nn.init, name)(tensor, *args)
        return result is tensor, tensor, p.rand(1)

    check(program, tolerance=0)


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3), (4, 2, 3)])
def test_orthogonal(shape):
    check(lambda p: (p.nn.init.orthogonal_(p.empty(shape), 1.5), p.rand(1)), tolerance=1e-5)
    q = nn.init.orthogonal_(flambeau.empty(shape)).numpy().reshape(shape[0], -1).astype(np.float64)
    product = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(product, np.eye(min(q.shape)), atol=1e-6)


@pytest.mark.parametrize(("shape", "groups"), [((4, 3, 3), 1), ((6, 2, 3, 2), 3), ((2, 4, 1, 2, 3), 1)])
def test_dirac(shape, groups):
    check(lambda p: p.nn.init.dirac_(p.empty(shape), groups))


def test_generator():
    check(lambda p: p.nn.init.normal_(p.empty(5), generator=p.Generator().manual_seed(3)))


ERRORS = [
    "eye_(p.empty(2))",
    "dirac_(p.empty(2, 2))",
    "dirac_(p.empty(3, 2, 2), 2)",
    "xavier_uniform_(p.empty(2))",
    "kaiming_uniform_(p.empty(2, 2), mode='x')",
    "kaiming_normal_(p.empty(2, 2), nonlinearity='x')",
    "kaiming_uniform_(p.empty(2, 0))",
    "orthogonal_(p.empty(2))",
    "orthogonal_(p.empty(0, 3))",
    "sparse_(p.empty(2), 0.5)",
    "calculate_gain('x')",
    "calculate_gain('leaky_relu', 'x')",
    "calculate_gain('leaky_relu', True)",
    "calculate_gain('leaky_relu', 0.2)",
    *(
        f"calculate_gain({name!r})"
        for name in "linear conv1d conv_transpose3d sigmoid tanh relu leaky_relu selu".split()
    ),
    "trunc_normal_(p.empty(2, device='meta')).shape",
    "_calculate_fan_in_and_fan_out(p.empty(4, 3, 2, 5))",
]


@pytest.mark.parametrize("text", ERRORS)
def test_errors_and_gains(text):
    check(lambda p: eval(f"p.nn.init.{text}"))


def test_warnings():
    with pytest.warns(UserWarning, match="zero-element"):
        nn.init.kaiming_uniform_(flambeau.empty(2, 0))
    with pytest.warns(UserWarning, match="mean is more than 2 std"):
        nn.init.trunc_normal_(flambeau.empty(2), 5.0)
    with pytest.warns(FutureWarning, match=r"`nn.init.uniform` is now deprecated in favor of `nn.init.uniform_`"):
        nn.init.uniform(flambeau.empty(2))


def test_parameters_are_filled_off_the_tape():
    p = nn.Parameter(flambeau.empty(3, 3))
    for name in ("uniform_", "normal_", "eye_", "orthogonal_", "xavier_normal_", "zeros_"):
        assert getattr(nn.init, name)(p) is p
        assert p.is_leaf and p.grad_fn is None


def test_no_function_is_missing():
    assert set(torch.nn.init.__all__) <= set(dir(nn.init))
