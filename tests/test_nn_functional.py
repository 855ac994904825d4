"""nn.functional: names, arguments, in-place forms and errors; compared with PyTorch."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from nn_reference import check, from_numpy, torch

import flambeau
from flambeau.nn import functional as F

ACTIVATIONS = [
    ("relu", ()),
    ("relu6", ()),
    ("hardtanh", (-0.5, 0.7)),
    ("threshold", (0.1, 3.0)),
    ("elu", (0.7,)),
    ("celu", (0.7,)),
    ("selu", ()),
    ("leaky_relu", (0.2,)),
    ("silu", ()),
    ("mish", ()),
    ("hardsigmoid", ()),
    ("hardswish", ()),
    ("rrelu", (0.1, 0.3, True)),
]


def values(p, *shape, seed=3):
    return from_numpy(p, np.random.default_rng(seed).standard_normal(shape).astype(np.float32), requires_grad=True)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(("name", "args"), ACTIVATIONS, ids=[name for name, _ in ACTIVATIONS])
def test_activations(name, args, inplace):
    def program(p):
        x = values(p, 4, 5)
        y = x * 1.0
        result = getattr(p.nn.functional, name)(y, *args, inplace=inplace)
        (result * result).sum().backward()
        return result, result is y, x.grad, p.rand(1)

    check(program)


@pytest.mark.parametrize(
    "name", ["relu_", "hardtanh_", "threshold_", "elu_", "celu_", "selu_", "leaky_relu_", "rrelu_"]
)
def test_in_place_names(name):
    def program(p):
        x = values(p, 4, 5).detach()
        result = getattr(p.nn.functional, name)(x, *((0.1, 2.0) if name == "threshold_" else ()))
        return result is x, x

    check(program)


CALLS = [
    "softmax(x, 1, dtype=p.float64)",
    "softmax(x)",
    "softmin(x, 0)",
    "log_softmax(x, -1)",
    "softsign(x)",
    "tanhshrink(x)",
    "glu(x, 1)",
    "glu(p.ones(()))",
    "hardtanh(x, 2, 1)",
    "gumbel_softmax(x, 0.5)",
    "gumbel_softmax(x, 0.5, hard=True, dim=0)",
    "dropout(x, 2.0)",
    "dropout(x, 0.5)",
    "dropout(x, 0.5, False) is x",
    "alpha_dropout(x, -1.0)",
    "dropout1d(x, 0.5)",
    "dropout1d(p.ones(1))",
    "dropout2d(p.ones(3, 4, 2, 2))",
    "dropout2d(p.ones(3, 4, 2))",
    "dropout3d(p.ones(3, 4, 2, 2, 2))",
    "dropout3d(p.ones(4, 2, 2, 2))",
    "feature_alpha_dropout(p.ones(3, 4, 2), 0.5, True)",
    "normalize(x)",
    "normalize(x, 1.0, 0, 0.5)",
    "normalize(x, dim=(0, 1))",
    "local_response_norm(p.ones(2))",
    "local_response_norm(p.ones(0, 3, 2), 2)",
    "lp_pool2d(x.abs().reshape(1, 1, 4, 6), 3, 2)",
    "lp_pool1d(x, 2, 2, 1)",
    "lp_pool2d(p.ones(3, 3), 2, 2)",
    "max_pool2d_with_indices(x.reshape(1, 4, 6), 2)",
    "max_pool1d_with_indices(x, 3, 2)",
    "adaptive_max_pool1d_with_indices(x, 3)",
    "fractional_max_pool2d(x.reshape(1, 1, 4, 6), 2)",
    "fractional_max_pool2d(x.reshape(1, 1, 4, 6), 2, (2, 3), _random_samples=p.full((1, 1, 2), 0.3))",
    "fractional_max_pool2d(x.reshape(1, 4, 6), 2, output_ratio=(0.5, 0.6), return_indices=True)",
    "fractional_max_pool2d(x.reshape(1, 4, 6), 3, 4)",
    "linear_cross_entropy(p.ones(2, 7, 3), p.ones(4, 3), p.ones(2, 7).long())",
    "linear_cross_entropy(p.ones(2, 3), p.ones(3), p.ones(2, 4))",
    "linear_cross_entropy(p.ones(2, 3), p.ones(4, 3), p.ones(2, 4), ignore_index=3)",
    "linear_cross_entropy(p.ones(3), p.ones(4, 3), p.tensor(1))",
    "linear_cross_entropy(p.ones(2, 3), p.ones(4, 5, 3), p.zeros(2, 5).long(), linear_bias=p.ones(4, 5))",
    "triplet_margin_with_distance_loss(x, x + 1, x - 1, swap=True, reduction='none')",
    "triplet_margin_with_distance_loss(x, x[0], x, margin=1.0)",
    "triplet_margin_with_distance_loss(x, x, x, margin=0.0)",
    "triplet_margin_with_distance_loss(x, x, x, reduction='what')",
    "mse_loss(x, x + 1, reduction='what')",
]


@pytest.mark.parametrize("text", CALLS)
def test_calls(text):
    def program(p):
        x = values(p, 4, 6)
        result = eval(f"F.{text}", {"F": p.nn.functional, "p": p, "x": x})
        tensors = result if isinstance(result, tuple) else (result,)
        if isinstance(tensors[0], p.Tensor) and tensors[0].requires_grad:
            (tensors[0] * tensors[0]).sum().backward()
        return result, x.grad

    check(program)


def test_missing_dim_warns():
    with pytest.warns(UserWarning, match="Implicit dimension choice for softmax has been deprecated"):
        F.softmax(flambeau.ones(2, 3))


def test_gumbel_softmax_is_one_hot_with_the_soft_gradient():
    x = flambeau.zeros(6, 5, requires_grad=True)
    y = F.gumbel_softmax(x, hard=True)
    assert ((y.detach() == 0) | ((y.detach() - 1).abs() < 1e-6)).all() and (y.detach().sum(-1) - 1).abs().max() < 1e-6
    y[:, 0].sum().backward()
    assert x.grad.abs().sum() > 0


def test_gradients_of_convolutions():
    def program(p):
        grad, x, w = p.nn.grad, p.rand(2, 4, 7, 6), p.rand(6, 2, 3, 2)
        g = p.rand(*p.nn.functional.conv2d(x, w, None, 2, 1, 1, 2).shape)
        return (
            grad.conv2d_input(x.shape, w, g, 2, 1, 1, 2),
            grad.conv2d_weight(x, w.shape, g, 2, 1, 1, 2),
            grad.conv1d_input((2, 3, 8), p.ones(4, 3, 3), p.ones(2, 4, 6)),
            grad.conv1d_weight(p.ones(2, 3, 8), (4, 3, 3), p.ones(2, 4, 6)),
            grad.conv3d_input((1, 1, 3, 3, 3), p.ones(1, 1, 2, 2, 2), p.ones(1, 1, 2, 2, 2)),
            grad.conv3d_weight(p.ones(1, 1, 3, 3, 3), (1, 1, 2, 2, 2), p.ones(1, 1, 2, 2, 2)),
        )

    check(program)


def test_signatures_are_pytorchs():
    """Functions written in Python there and here take the same arguments, in the same order."""
    different = []
    for name, theirs in vars(torch.nn.functional).items():
        ours = getattr(F, name, None)
        if name.startswith("_") or not inspect.isfunction(theirs) or ours is None:
            continue
        expected = list(inspect.signature(theirs).parameters.values())
        if any(q.kind in (q.VAR_POSITIONAL, q.VAR_KEYWORD) for q in expected):
            continue
        got = [q for q in inspect.signature(ours).parameters if q != "out" or "out" in [e.name for e in expected]]
        if got[: len(expected)] != [q.name for q in expected]:
            different.append((name, got, [q.name for q in expected]))
    assert not different
