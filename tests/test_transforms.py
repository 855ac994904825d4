"""Batching and forward mode: over PyTorch's operator database, through Functions of the user, and with the tape."""

from __future__ import annotations

import importlib.util
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau.autograd import forward_ad, functional, gradcheck, gradgradcheck

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")  # PyTorch warns of its own parts


def _tool() -> Any:
    path = Path(__file__).resolve().parent.parent / "tools/check_transforms.py"
    spec = importlib.util.spec_from_file_location("check_transforms", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
    return module


# One entry for each primitive, and for each way an operator is made of them; the tool checks all of them.
ENTRIES = (
    "add atan2 where clamp polygamma.polygamma_n_0 softmax sum var_mean amax argmax cumsum cummax sort topk kthvalue "
    "gather scatter_add index_select index_put take flip roll cat stack select_scatter diagonal tril expand unfold "
    "as_strided view_as_complex complex angle matmul addbmm linalg.solve linalg.svdvals linalg.lstsq fft.rfft "
    "nn.functional.conv2d nn.functional.conv_transpose1d nn.functional.max_pool2d nn.functional.interpolate.bilinear "
    "nn.functional.layer_norm nn.functional.cross_entropy nn.functional.embedding nn.functional.pad.reflect "
    "masked_scatter quantile linspace.tensor_overload prod norm"
).split()


@pytest.fixture(scope="module")
def tool() -> Any:
    return _tool()


@pytest.mark.parametrize("name", ENTRIES)
def test_entry_of_the_database(tool: Any, name: str) -> None:
    found = [op for op in tool.op_db if re.fullmatch(re.escape(name) + r"\.?", op.full_name)]
    assert found, name
    result = tool.check(found[0], 2)
    assert not result["failures"]
    assert "missing" not in result
    assert result["vmap"][0] + result["jvp"][0] > 0


# -- Functions of the user ---------------------------------------------------------------------------


def functions(T: Any) -> tuple[Any, Any]:
    """A Function whose vmap rule is generated, and one that has its own; their derivatives are recognisably wrong."""

    class Generated(T.autograd.Function):  # type: ignore[misc,name-defined]
        generate_vmap_rule = True

        @staticmethod
        def forward(x: Any, k: float) -> Any:
            return x.sin() * k

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_backward(inputs[0])
            ctx.save_for_forward(inputs[0])
            ctx.k = inputs[1]

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return g * x.cos() * ctx.k * 2, None

        @staticmethod
        def jvp(ctx: Any, t: Any, _: Any) -> Any:
            (x,) = ctx.saved_tensors
            return t * x.cos() * ctx.k * 3

    class Own(T.autograd.Function):  # type: ignore[misc,name-defined]
        @staticmethod
        def forward(x: Any) -> Any:
            return x.sin()

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_backward(inputs[0])

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * ctx.saved_tensors[0].cos()

        @staticmethod
        def vmap(info: Any, in_dims: Any, x: Any) -> Any:
            return Own.apply(x) + info.batch_size, in_dims[0]

    return Generated, Own


PROGRAMS = {
    "grad": lambda T, f, g: T.func.grad(lambda x: f.apply(x, 2.0).sum())(T.arange(3.0)),
    "grad of grad": lambda T, f, g: T.func.grad(T.func.grad(lambda x: f.apply(x, 2.0)))(T.tensor(1.0)),
    "vmap": lambda T, f, g: T.vmap(lambda x: f.apply(x, 2.0))(T.arange(3.0)),
    "vmap of vmap": lambda T, f, g: T.vmap(T.vmap(lambda x: f.apply(x, 2.0)))(T.arange(4.0).reshape(2, 2)),
    "vmap of grad": lambda T, f, g: T.vmap(T.func.grad(lambda x: f.apply(x, 2.0)))(T.arange(3.0)),
    "grad of vmap": lambda T, f, g: T.func.grad(lambda x: T.vmap(lambda y: f.apply(y, 2.0))(x).sum())(T.arange(3.0)),
    "jvp": lambda T, f, g: T.func.jvp(lambda x: f.apply(x, 2.0), (T.arange(3.0),), (T.ones(3),))[1],
    "jacfwd": lambda T, f, g: T.func.jacfwd(lambda x: f.apply(x, 2.0))(T.arange(3.0)),
    "own vmap": lambda T, f, g: T.vmap(g.apply)(T.arange(3.0)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_functions_of_the_user(name: str) -> None:
    expected, found = (PROGRAMS[name](T, *functions(T)) for T in (torch, flambeau))
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_a_function_without_vmap() -> None:
    class Plain(flambeau.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return x.sin()

    with pytest.raises(RuntimeError, match="vmap"):
        flambeau.vmap(Plain.apply)(flambeau.ones(2))


# -- forward_ad --------------------------------------------------------------------------------------


def test_dual_tensors() -> None:
    x, v = flambeau.arange(3.0), flambeau.tensor([1.0, 2.0, 3.0])
    with forward_ad.dual_level():
        d = forward_ad.make_dual(x, v)
        primal, tangent = forward_ad.unpack_dual((d * d).view(3, 1)[1:])
        assert primal.tolist() == [[1.0], [4.0]] and tangent.tolist() == [[4.0], [12.0]]
        assert forward_ad.unpack_dual(x).tangent is None
        assert forward_ad.unpack_dual(d.detach()).tangent is None
        with pytest.raises(RuntimeError, match="Nested"):
            forward_ad.enter_dual_level()
    with pytest.raises(RuntimeError, match="no level"):
        forward_ad.make_dual(x, v)
    with pytest.raises(RuntimeError, match="escaped"):
        d * 2
    with forward_ad.dual_level(), pytest.raises(ValueError, match="floating point"):
        forward_ad.make_dual(flambeau.arange(3), flambeau.arange(3))


def test_forward_over_reverse() -> None:
    found = []
    for T in (torch, flambeau):
        T.manual_seed(0)
        A = T.autograd.forward_ad
        model = T.nn.Linear(3, 2)
        with A.dual_level():
            out = (model(A.make_dual(T.ones(3), T.ones(3))) ** 2).sum()
            (g,) = T.autograd.grad(out, model.weight, create_graph=True)
            found.append([t.detach().numpy() for t in A.unpack_dual(g)])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)


def test_gradcheck_of_forward_mode() -> None:
    x = flambeau.randn(3, dtype=flambeau.float64, requires_grad=True)
    z = flambeau.randn(3, dtype=flambeau.complex128, requires_grad=True)

    def f(a: Any, b: Any) -> Any:
        return a * b.exp(), a.sin()

    options: dict[str, Any] = {"check_batched_grad": True}
    assert gradcheck(f, (x, z), check_forward_ad=True, check_batched_forward_grad=True, **options)
    assert gradgradcheck(f, (x, z), check_fwd_over_rev=True, **options)

    class Wrong(flambeau.autograd.Function):
        @staticmethod
        def forward(ctx: Any, a: Any) -> Any:
            ctx.save_for_forward(a)
            ctx.save_for_backward(a)
            return a * a

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2 * ctx.saved_tensors[0]

        @staticmethod
        def jvp(ctx: Any, t: Any) -> Any:
            return t * 3 * ctx.saved_tensors[0]

    assert gradcheck(Wrong.apply, (x,))
    with pytest.raises(RuntimeError, match="forward mode"):
        gradcheck(Wrong.apply, (x,), check_forward_ad=True)


@pytest.mark.parametrize("strategy", ["reverse-mode", "forward-mode"])
def test_jacobians_and_hessians_at_once(strategy: str) -> None:
    def results(T: Any) -> list[np.ndarray]:
        F = T.autograd.functional
        x, y = T.arange(3.0), T.ones(3) * 2
        jacobian = F.jacobian(lambda a, b: (a.sin() * b, (a * a).sum()), (x, y), vectorize=True, strategy=strategy)
        hessian = F.hessian(
            lambda a, b: (a.sin() * b).sum() ** 2, (x, y), vectorize=True, outer_jacobian_strategy=strategy
        )
        return [t.detach().numpy() for row in (*jacobian, *hessian) for t in row]

    for a, b in zip(results(flambeau), results(torch)):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    with pytest.raises(NotImplementedError, match="vectorize"):
        functional.jacobian(lambda a: a, flambeau.ones(2), strategy="forward-mode")


def test_batched_gradients() -> None:
    x = flambeau.arange(3.0, requires_grad=True)
    y = x**3 + x.sum()
    (found,) = flambeau.autograd.grad(y, x, flambeau.eye(3), is_grads_batched=True)
    np.testing.assert_allclose(found.numpy(), np.diag([0.0, 3.0, 12.0]) + 1)
