"""``torch.func``: programs run in flambeau and in PyTorch, nested in every order; and what PyTorch refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import flambeau

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch warns of its own parts

Program = Callable[[Any], Any]


def leaves(tree: Any) -> list[Any]:
    """The values in nested containers, in order."""
    if isinstance(tree, dict):
        return [x for v in tree.values() for x in leaves(v)]
    if isinstance(tree, (list, tuple)):
        return [x for v in tree for x in leaves(v)]
    return [tree]


def same(program: Program) -> None:
    """Runs a program with both packages, from the same seed, and compares all that it returns."""
    results = []
    for package in (torch, flambeau):
        package.manual_seed(0)
        results.append(leaves(program(package)))
    expected, found = results
    assert len(expected) == len(found)
    for a, b in zip(expected, found):
        if not isinstance(a, torch.Tensor):
            assert a == b
            continue
        assert tuple(a.shape) == tuple(b.shape)
        np.testing.assert_allclose(b.detach().numpy(), a.detach().numpy(), rtol=2e-5, atol=2e-6)


def product(x: Any) -> Any:
    return (x.sin() * x.sum()).prod()


def inner(T: Any, f: Any) -> dict[str, Any]:
    """Transforms of a scalar function of a vector into functions of a vector that return a scalar."""
    return {
        "grad": lambda x: T.func.grad(f)(x).sum(),
        "vmap": lambda x: T.vmap(lambda y: f(y * x))(T.stack([x, x + 1])).sum(),
        "jvp": lambda x: T.func.jvp(f, (x,), (T.ones_like(x),))[1],
        "vjp": lambda x: T.func.vjp(f, x)[1](T.tensor(2.0))[0].square().sum(),
        "jacrev": lambda x: T.func.jacrev(lambda y: y * f(y))(x).sum(),
        "jacfwd": lambda x: T.func.jacfwd(lambda y: y * f(y))(x).square().sum(),
    }


@pytest.mark.parametrize("outer", ["grad", "vmap", "jvp", "vjp", "jacrev", "jacfwd"])
@pytest.mark.parametrize("middle", ["grad", "vmap", "jvp", "vjp", "jacrev", "jacfwd"])
def test_nested_in_any_order(outer: str, middle: str) -> None:
    same(lambda T: inner(T, inner(T, product)[middle])[outer](T.tensor([0.3, -0.7, 1.1])))


def test_three_deep() -> None:
    same(lambda T: T.vmap(T.func.hessian(product))(T.randn(2, 3)))
    same(lambda T: T.func.grad(lambda x: T.vmap(T.func.grad(product))(x).square().sum())(T.randn(2, 3)))
    same(lambda T: T.func.jvp(T.vmap(T.func.grad(product)), (T.randn(2, 3),), (T.randn(2, 3),)))
    same(lambda T: T.vmap(T.vmap(lambda x, y: x * y.sin(), (0, None)), (None, 0))(T.randn(3), T.randn(2, 4)))


def test_trees_and_aux() -> None:
    def loss(d: Any) -> Any:
        return (d["a"] * d["b"][0]).sum()

    same(lambda T: T.func.grad(loss)({"a": T.randn(3), "b": [T.randn(3)]}))
    same(lambda T: T.func.grad(lambda x, y: (x * y).sum(), argnums=(1, 0))(T.randn(3), T.randn(3)))
    same(lambda T: T.func.grad_and_value(lambda x: ((x**2).sum(), (x * 2, x.sum())), has_aux=True)(T.randn(3)))
    same(lambda T: T.func.jacfwd(lambda x: (x.sin() * x.sum(), x), has_aux=True)(T.randn(3)))
    same(lambda T: T.func.jacrev(lambda x: {"u": x.sin(), "v": x.sum()}, chunk_size=2)(T.randn(3)))
    same(lambda T: T.func.jacrev(lambda x, y: (x * y, x.sum()), argnums=(0, 1))(T.randn(3), T.randn(3)))


def test_linearize() -> None:
    def program(T: Any) -> Any:
        value, push = T.func.linearize(lambda x: x.sin() * x.sum(), T.randn(3))
        return value, push(T.ones(3)), push(T.arange(3.0))

    same(program)


def test_results_keep_the_history_that_was_there_before() -> None:
    def program(T: Any) -> Any:
        x = T.tensor([1.0, 2.0, 3.0], requires_grad=True)
        found = T.func.grad(lambda y: (y**3).sum())(x)
        alone = T.func.grad(lambda y: (y**3).sum())(x.detach())
        (second,) = T.autograd.grad(found.sum(), x)
        return found.requires_grad, alone.requires_grad, second, x.grad is None

    same(program)


def test_training_through_an_inner_gradient() -> None:
    def program(T: Any) -> Any:
        w = T.randn(3, requires_grad=True)

        def loss(w: Any, x: Any) -> Any:
            return ((w * x).sum() - 1) ** 2

        T.vmap(lambda x: loss(w - 0.1 * T.func.grad(loss)(w, x), x))(T.randn(4, 3)).sum().backward()
        return w.grad

    same(program)


def test_no_grad_inside_and_outside() -> None:
    def f(T: Any, x: Any) -> Any:
        with T.no_grad():
            c = x**2
        return (x - c).sum()

    def program(T: Any) -> Any:
        x = T.arange(6.0).view(2, 3)
        with T.no_grad():
            first = T.func.grad(lambda y: f(T, y))(x[0])
        batch = T.func.grad(lambda y: T.vmap(lambda z: f(T, z))(y).sum())(x)
        return first, T.vmap(T.func.grad(lambda y: f(T, y)))(x), batch

    same(program)


# -- vmap --------------------------------------------------------------------------------------------


def test_dimensions_of_arguments_and_results() -> None:
    same(lambda T: T.vmap(lambda x: x.cumsum(0), 1, 1)(T.randn(2, 3)))
    same(lambda T: T.vmap(lambda x, y: x @ y, (-1, None), -1)(T.randn(4, 2, 3), T.randn(2, 5)))
    same(lambda T: T.vmap(lambda x: (x, x.sum()), out_dims=(-1, 0))(T.randn(2, 3)))
    same(lambda T: T.vmap(lambda d: d["a"] + d["b"], ({"a": 0, "b": None},))({"a": T.randn(3), "b": T.tensor(2.0)}))
    same(lambda T: T.vmap(lambda x: (x, T.tensor(1.0)), out_dims=(0, None))(T.randn(3)))
    same(lambda T: T.vmap(lambda x, y: x + y)(T.randn(3), y=T.randn(3)))
    same(lambda T: T.vmap(lambda x: {"s": x.sin(), "n": x.norm()}, chunk_size=2)(T.randn(5, 3)))


def test_writes_in_place() -> None:
    def put(x: Any) -> Any:
        y = x.clone()
        y[0] = x[1] * 2
        y[1:].mul_(3)
        return y.add_(1)

    same(lambda T: T.vmap(put)(T.randn(5, 3)))
    same(lambda T: T.vmap(lambda x: x.clone().unsqueeze_(0).transpose_(0, 1))(T.randn(5, 3)))
    same(lambda T: T.vmap(T.func.grad(lambda x: put(x * 2).square().sum()))(T.randn(5, 3)))
    same(lambda T: T.func.jvp(put, (T.randn(3),), (T.randn(3),)))

    def into_zeros(T: Any) -> Any:
        def f(x: Any) -> Any:
            y = T.zeros(3)
            y[0] = x[1] * 2
            return y

        return T.func.jvp(f, (T.randn(3),), (T.randn(3),))

    same(into_zeros)
    with pytest.raises(RuntimeError, match="inplace arithmetic"):
        flambeau.vmap(lambda x: flambeau.zeros(()).add_(x))(flambeau.ones(2))


def test_new_tensors_are_of_the_batch() -> None:
    same(lambda T: T.vmap(lambda x: x.new_zeros(2).add_(x) + T.ones_like(x) + x.new_full((2,), 3.0))(T.randn(3)))


def test_convolutions() -> None:
    f = torch.nn.functional.conv2d.__name__
    same(lambda T: T.vmap(getattr(T.nn.functional, f))(T.randn(3, 2, 4, 6, 6), T.randn(3, 6, 4, 3, 3)))

    def loss(T: Any) -> Any:
        return lambda w, x: T.nn.functional.conv2d(x, w, groups=2).sin().sum()

    same(lambda T: T.vmap(T.func.grad(loss(T)), (None, 0))(T.randn(6, 2, 3, 3), T.randn(3, 2, 4, 6, 6)))
    same(lambda T: T.vmap(T.func.grad(loss(T)), (0, None))(T.randn(3, 6, 2, 3, 3), T.randn(2, 4, 6, 6)))


def test_host_libraries() -> None:
    same(lambda T: T.vmap(lambda x: T.linalg.eigvalsh(x + x.T))(T.randn(2, 3, 3)))
    same(lambda T: T.vmap(lambda x: T.fft.fft(x).abs())(T.randn(2, 3)))
    same(lambda T: T.func.jacfwd(T.linalg.svdvals)(T.randn(3, 3)))


def test_randomness() -> None:
    def noisy(T: Any) -> Any:
        return lambda x: x + T.randn(3)

    with pytest.raises(RuntimeError, match="randomness error mode"):
        flambeau.vmap(noisy(flambeau))(flambeau.zeros(2, 3))
    same(lambda T: T.vmap(noisy(T), randomness="different")(T.randn(2, 3)))
    same(lambda T: T.vmap(noisy(T), randomness="same")(T.randn(2, 3)))
    same(lambda T: T.vmap(T.nn.functional.dropout, randomness="different")(T.ones(3, 4)))
    same(lambda T: T.vmap(T.bernoulli, randomness="different")(T.tensor([[0.0, 1.0], [1.0, 0.5]])))
    drawn = flambeau.vmap(lambda x: flambeau.zeros_like(x).normal_(), randomness="same")(flambeau.zeros(2, 3))
    assert flambeau.equal(drawn[0], drawn[1])


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda v: v(lambda x: x)(3), ValueError, "non-Tensor"),
        (lambda v: v(lambda: 1)(), ValueError, "no inputs"),
        (lambda v: v(lambda x, y: x + y)(flambeau.ones(2), flambeau.ones(3)), ValueError, "same size"),
        (lambda v: v(lambda x, y: x, in_dims=(0,))(flambeau.ones(2), flambeau.ones(2)), ValueError, "compatible"),
        (lambda v: v(lambda x: x, in_dims=3)(flambeau.ones(2)), ValueError, "dimensionality"),
        (lambda v: v(lambda x: 3)(flambeau.ones(2)), ValueError, "must only return Tensors"),
        (lambda v: v(lambda x: x, out_dims=None)(flambeau.ones(2)), ValueError, "out_dim is None"),
        (lambda v: v(lambda x: x, out_dims=4)(flambeau.ones(2)), IndexError, "Dimension out of range"),
        (lambda v: v(lambda x: x.item())(flambeau.ones(2)), RuntimeError, "item"),
        (lambda v: v(lambda x: x if x > 0 else -x)(flambeau.ones(2)), RuntimeError, "control flow"),
        (lambda v: v(lambda x: x, chunk_size=0), ValueError, "chunk_size"),
        (lambda v: v(lambda x: x, randomness="none"), RuntimeError, "randomness"),
    ],
)
def test_what_vmap_refuses(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(flambeau.vmap)


def test_escaped_tensors() -> None:
    kept: list[Any] = []
    flambeau.vmap(lambda x: kept.append(x) or x)(flambeau.ones(2))
    with pytest.raises(RuntimeError, match="escaped"):
        kept[0] + 1


def test_what_derivatives_refuse() -> None:
    func, x = flambeau.func, flambeau.ones(2)
    with pytest.raises(RuntimeError, match="scalar"):
        func.grad(lambda x: x)(x)
    with pytest.raises(RuntimeError, match="return a Tensor"):
        func.grad(lambda x: 3)(x)
    with pytest.raises(RuntimeError, match="aux"):
        func.grad(lambda x: x.sum(), has_aux=True)(x)
    with pytest.raises(RuntimeError, match="argnum"):
        func.grad(lambda x: x.sum(), argnums=1)(x)
    with pytest.raises(RuntimeError, match="floating point"):
        func.grad(lambda x: x.sum())(flambeau.ones(2, dtype=flambeau.int64))
    with pytest.raises(RuntimeError, match="primals to be a tuple"):
        func.jvp(lambda x: x, x, x)
    with pytest.raises(RuntimeError, match="different size"):
        func.jvp(lambda x: x, (x,), (flambeau.ones(3),))
    with pytest.raises(RuntimeError, match="independent"):
        func.jvp(lambda x: flambeau.ones(2), (x,), (x,), strict=True)


# -- modules -----------------------------------------------------------------------------------------


def test_ensembles() -> None:
    def program(T: Any) -> Any:
        models = [T.nn.Sequential(T.nn.Linear(3, 4), T.nn.ReLU(), T.nn.Linear(4, 2)) for _ in range(3)]
        params, buffers = T.func.stack_module_state(models)

        def call(p: Any, b: Any, x: Any) -> Any:
            return T.func.functional_call(models[0], (p, b), (x,))

        x = T.randn(5, 3)
        grads = T.func.grad(lambda p: T.vmap(call, (0, 0, None))(p, buffers, x).square().sum())(params)
        return T.vmap(call, (0, 0, None))(params, buffers, x), grads, list(params)

    same(program)


def test_per_sample_gradients_of_a_model() -> None:
    def program(T: Any) -> Any:
        model = T.nn.Sequential(T.nn.Conv2d(2, 4, 3), T.nn.GroupNorm(2, 4), T.nn.Flatten(), T.nn.Linear(64, 3))
        params = {k: v.detach() for k, v in model.named_parameters()}

        def loss(p: Any, x: Any, y: Any) -> Any:
            out = T.func.functional_call(model, p, (x.unsqueeze(0),))
            return T.nn.functional.cross_entropy(out, y.unsqueeze(0))

        return T.vmap(T.func.grad(loss), (None, 0, 0))(params, T.randn(4, 2, 6, 6), T.tensor([0, 1, 2, 1]))

    same(program)


RECURRENT = {
    "LSTM": lambda nn: nn.LSTM(3, 4, 2, bidirectional=True),
    "LSTM-projected": lambda nn: nn.LSTM(3, 4, proj_size=2),
    "GRU": lambda nn: nn.GRU(3, 4, batch_first=True),
    "RNN": lambda nn: nn.RNN(3, 4, nonlinearity="relu"),
}


@pytest.mark.parametrize("name", RECURRENT)
def test_transforms_of_recurrent_layers(name: str) -> None:
    flambeau.manual_seed(0)
    model = RECURRENT[name](flambeau.nn).double()
    params = {k: v.detach() for k, v in model.named_parameters()}
    x, v = flambeau.randn(5, 6, 3).double(), flambeau.randn(6, 3).double()

    def call(p: Any, x: Any) -> Any:
        return flambeau.func.functional_call(model, p, (x,))[0]

    def loss(p: Any, x: Any) -> Any:
        return call(p, x).square().sum()

    rows = [call(params, row).detach().numpy() for row in x]
    np.testing.assert_allclose(flambeau.vmap(call, (None, 0))(params, x).numpy(), np.stack(rows), rtol=1e-12)
    ours = flambeau.vmap(flambeau.func.grad(loss), (None, 0))(params, x)
    for i, row in enumerate(x):
        leaf = {k: p.clone().requires_grad_() for k, p in params.items()}
        wanted = flambeau.autograd.grad(loss(leaf, row), list(leaf.values()))
        for k, g in zip(leaf, wanted):
            np.testing.assert_allclose(ours[k][i].numpy(), g.numpy(), rtol=1e-9, atol=1e-12)

    def of_input(x: Any) -> Any:
        return call(params, x)

    h = 1e-6
    slope = flambeau.func.jvp(of_input, (x[0],), (v,))[1]
    difference = (of_input(x[0] + h * v) - of_input(x[0] - h * v)) / (2 * h)
    np.testing.assert_allclose(slope.numpy(), difference.detach().numpy(), rtol=1e-6, atol=1e-8)
    jacobian = flambeau.func.jacrev(of_input)(x[0])
    np.testing.assert_allclose(flambeau.func.jacfwd(of_input)(x[0]).numpy(), jacobian.numpy(), rtol=1e-9, atol=1e-12)


MODULES: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "Bilinear": (lambda nn: TwoInputs(nn.Bilinear(8, 8, 3)), (4, 8)),
    "Conv1d": (lambda nn: nn.Conv1d(4, 3, 3), (4, 8)),
    "ConvTranspose2d": (lambda nn: nn.ConvTranspose2d(2, 3, 3, stride=2), (1, 2, 4, 5)),
    "Conv3d": (lambda nn: nn.Conv3d(1, 3, 2), (1, 1, 2, 4, 4)),
    "BatchNorm1d": (lambda nn: nn.BatchNorm1d(4, track_running_stats=False), (2, 4, 8)),
    "InstanceNorm1d": (lambda nn: nn.InstanceNorm1d(4, affine=True), (2, 4, 8)),
    "RMSNorm": (lambda nn: nn.RMSNorm(8), (4, 8)),
    "TransformerEncoderLayer": (lambda nn: nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), (2, 4, 8)),
    "PReLU": (lambda nn: nn.PReLU(4), (2, 4, 8)),
    "MaxPool2d": (lambda nn: nn.Sequential(nn.Conv2d(2, 3, 3), nn.MaxPool2d(2)), (1, 2, 6, 6)),
    "Upsample": (lambda nn: nn.Sequential(nn.Conv2d(2, 3, 3), nn.Upsample(None, 2, "bilinear")), (1, 2, 4, 5)),
    "weight_norm": (lambda nn: nn.utils.parametrizations.weight_norm(nn.Linear(8, 3)), (4, 8)),
}  # fmt: skip


class TwoInputs(flambeau.nn.Module):
    """A module of two arguments called with one tensor for both."""

    def __init__(self, module: Any):
        super().__init__()
        self.module = module

    def forward(self, x: Any) -> Any:
        return self.module(x, x)


@pytest.mark.parametrize("name", MODULES)
def test_per_sample_gradients_equal_those_of_a_loop(name: str) -> None:
    make, shape = MODULES[name]
    flambeau.manual_seed(0)
    model = make(flambeau.nn).double()
    params = {k: v.detach() for k, v in model.named_parameters()}

    def loss(p: Any, x: Any) -> Any:
        return flambeau.func.functional_call(model, p, (x,)).square().sum()

    batch = flambeau.randn(3, *shape).double()
    ours = flambeau.vmap(flambeau.func.grad(loss), (None, 0))(params, batch)
    for i, row in enumerate(batch):
        leaf = {k: p.clone().requires_grad_() for k, p in params.items()}
        for k, g in zip(leaf, flambeau.autograd.grad(loss(leaf, row), list(leaf.values()))):
            np.testing.assert_allclose(ours[k][i].numpy(), g.numpy(), rtol=1e-9, atol=1e-11)


def test_inside_of_compile() -> None:
    def step(x: Any) -> Any:
        return flambeau.vmap(flambeau.func.grad(product))(x), flambeau.func.jvp(product, (x[0],), (x[1],))

    x = flambeau.randn(4, 3)
    for a, b in zip(leaves(flambeau.compile(step)(x)), leaves(step(x))):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)


def test_rearrange() -> None:
    x = flambeau.arange(24).reshape(2, 3, 4)
    assert flambeau.equal(flambeau.func.rearrange(x, "a b c -> c (a b)"), x.permute(2, 0, 1).reshape(4, 6))
    assert flambeau.equal(flambeau.func.rearrange(x, "a ... (c d) -> a d ... c 1", d=2).squeeze(-1).permute(0, 2, 3, 1)
                          .reshape(2, 3, 4), x)  # fmt: skip
    with pytest.raises(ValueError, match="fit"):
        flambeau.func.rearrange(x, "a b -> b a")


def test_functionalize_and_debug_unwrap() -> None:
    def f(x: Any) -> Any:
        return x.clone().add_(1)

    assert flambeau.equal(flambeau.func.functionalize(f)(flambeau.ones(2)), flambeau.ones(2) + 1)
    with pytest.raises(RuntimeError, match="remove"):
        flambeau.func.functionalize(f, remove="all")
    seen = []
    flambeau.vmap(lambda x: seen.append(flambeau.func.debug_unwrap(x)) or x)(flambeau.arange(3))
    assert seen[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "exp", "softmax"])
def test_jacobians_by_rows_are_on_no_tape(name: str) -> None:
    def program(T: Any) -> Any:
        def f(x: Any) -> Any:
            return (x.softmax(0) if name == "softmax" else getattr(T, name)(x)) * x.sin()

        x = T.randn(4)
        pull = T.func.vjp(f, x)[1]
        rows = T.vmap(lambda v: pull(v)[0])(T.eye(4))
        slopes = T.func.jvp(lambda v: pull(v)[0], (x,), (x,))
        jacobian = T.func.jacrev(f)(x)
        assert not any(t.requires_grad for t in (rows, jacobian, *slopes))
        held = x.clone().requires_grad_()
        of_seed = T.autograd.grad(T.vmap(lambda v: pull(v)[0])(T.stack([held, 2 * held])).sum(), held)[0]
        return rows, jacobian, slopes, of_seed, T.autograd.grad(T.func.jacrev(f)(held).sum(), held)[0]

    same(program)


def test_reverse_over_forward_over_reverse_by_rows():
    """What is computed below a level keeps its history, whoever further up takes gradients of its own."""
    x = flambeau.tensor([0.3, -0.7, 1.1], dtype=flambeau.float64)
    func = flambeau.func
    third = func.jacrev(func.jacfwd(func.jacrev(lambda x: (x**3).sum() + x.prod())))(x)
    cross = flambeau.zeros(3, 3, 3, dtype=flambeau.float64)
    for i, j, k in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        cross[i, j, k] = 1
    for i in range(3):
        cross[i, i, i] = 6
    flambeau.testing.assert_close(third, cross)
    along = func.grad(lambda x: func.jvp(func.jacrev(lambda x: (x**3).sum()), (x,), (flambeau.ones_like(x),))[1].sum())
    flambeau.testing.assert_close(along(x), flambeau.full_like(x, 6.0))


def test_forward_derivative_of_as_strided_scatter_keeps_what_is_not_written() -> None:
    x, along = flambeau.arange(9.0).reshape(3, 3), flambeau.full((3, 3), 2.0)
    values, directions = flambeau.ones(2, 2), flambeau.full((2, 2), 3.0)
    value, found = flambeau.func.jvp(
        lambda x, values: flambeau.as_strided_scatter(x, values, (2, 2), (3, 1), 1), (x, values), (along, directions)
    )
    assert value.tolist() == [[0, 1, 1], [3, 1, 1], [6, 7, 8]]
    assert found.tolist() == [[2, 3, 3], [2, 3, 3], [2, 2, 2]]


def test_vmap_over_the_tolerance_of_a_pseudoinverse() -> None:
    a = np.random.default_rng(0).standard_normal((3, 4))
    limits = [0.0, 0.4, 0.9]
    found = flambeau.vmap(lambda r: flambeau.linalg.pinv(flambeau.tensor(a), rtol=r))(flambeau.tensor(limits))
    expected = np.stack([np.linalg.pinv(a, rcond=r) for r in limits])
    assert not np.allclose(expected[0], expected[2])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-10, atol=1e-12)
