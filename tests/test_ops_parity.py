"""Operators where PyTorch's behaviour is easily missed: compared with the real PyTorch where it is there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau.runtime import engine

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:.*masked:UserWarning", "ignore:Casting complex")

RNG = np.random.default_rng(7)


def same(got: Any, expected: Any, rtol: float = 1e-6, atol: float = 1e-6) -> None:
    assert str(got.dtype) == str(expected.dtype)
    theirs = expected.detach().resolve_conj().to(torch.float32 if expected.dtype == torch.bfloat16 else expected.dtype)
    mine = got.detach().resolve_conj()
    mine = mine.float() if got.dtype is flambeau.bfloat16 else mine
    np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol, atol, equal_nan=True)


# -- factors: alpha and value are numbers of the kernel ---------------------------------------------


@pytest.mark.parametrize("name", ["add", "sub"])
@pytest.mark.parametrize("alpha", [1, 2, -1.5, 0, 1.0])
def test_alpha(name: str, alpha: float) -> None:
    a, b = RNG.normal(size=(2, 3, 5)).astype("f")
    same(
        getattr(flambeau, name)(flambeau.tensor(a), flambeau.tensor(b), alpha=alpha),
        getattr(torch, name)(torch.tensor(a), torch.tensor(b), alpha=alpha),
    )
    same(
        getattr(flambeau.tensor(a), name + "_")(flambeau.tensor(b), alpha=alpha),
        getattr(torch.tensor(a), name + "_")(torch.tensor(b), alpha=alpha),
    )
    x = flambeau.tensor(a, requires_grad=True)
    getattr(flambeau, name)(flambeau.tensor(b), x, alpha=alpha).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.full_like(a, alpha if name == "add" else -alpha))
    fused = flambeau.compile(lambda s, t: getattr(flambeau, name)(s.sin(), t, alpha=alpha))
    for _ in range(2):
        same(
            fused(flambeau.tensor(a), flambeau.tensor(b)),
            getattr(torch, name)(torch.tensor(a).sin(), torch.tensor(b), alpha=alpha),
        )


@pytest.mark.parametrize("name", ["addcmul", "addcdiv"])
def test_value(name: str) -> None:
    a, b, c = RNG.normal(size=(3, 4, 3)).astype("f")
    for value in (1, 3, -0.25):
        mine = [flambeau.tensor(t, requires_grad=True) for t in (a, b, c)]
        theirs = [torch.tensor(t, requires_grad=True) for t in (a, b, c)]
        got, expected = getattr(flambeau, name)(*mine, value=value), getattr(torch, name)(*theirs, value=value)
        same(got, expected, 1e-5)
        got.sum().backward()
        expected.sum().backward()
        for s, t in zip(mine, theirs):
            same(s.grad, t.grad, 1e-5, 1e-5)


def test_another_factor_compiles_nothing() -> None:
    x, y = flambeau.ones(6, 3), flambeau.ones(6, 3)
    calls = (
        lambda k: x.add(y, alpha=k), lambda k: x.sub_(y, alpha=k), lambda k: x.addcmul_(y, y, value=k),
        lambda k: flambeau.addcdiv(x, y, y, value=k), lambda k: x.index_add(0, flambeau.tensor([0]), y[:1], alpha=k),
    )  # fmt: skip
    for call in calls:
        call(0.5)
        before = engine.statistics().compiled
        call(0.75)
        assert engine.statistics().compiled == before


def test_refused_factors() -> None:
    f, i = flambeau.ones(2), flambeau.ones(2, dtype=flambeau.int64)
    for call in (
        lambda: f.add(f, alpha=True), lambda: i.add(i, alpha=1.5), lambda: f.sub(f, alpha=1j),
        lambda: f.addcmul(f, f, value=1j), lambda: i.addcdiv(i, i, value=2),
    ):  # fmt: skip
        with pytest.raises(RuntimeError):
            call()
    b = flambeau.tensor([True, False])
    assert b.add(flambeau.tensor([True, True]), alpha=False).tolist() == [True, False]
    assert i.addcmul(i, i, value=1.5).tolist() == [2, 2]  # the factor has the type of the result


# -- running logarithms of sums ---------------------------------------------------------------------


def test_logcumsumexp_far_above_one() -> None:
    """Derivatives are exact though values are so great that float32 has no digits behind the point left."""
    a = RNG.uniform(-9, 9, (4, 5))
    a[0] = 10000
    g, c = RNG.normal(size=(2, 4, 5))

    def derivatives(lib: Any, kind: Any) -> list[Any]:
        x, grad = (lib.tensor(v).to(lib.float32).to(kind).requires_grad_() for v in (a, g))
        (first,) = lib.autograd.grad(lib.logcumsumexp(x, 0), x, grad, create_graph=True)
        return [first, *lib.autograd.grad(first, (x, grad), lib.tensor(c).to(lib.float32).to(kind))]

    for got, exact in zip(derivatives(flambeau, flambeau.float32), derivatives(torch, torch.float64)):
        np.testing.assert_allclose(got.detach().numpy(), exact.detach().numpy(), 2e-6, 2e-6)


@pytest.mark.parametrize("n", [1, 5, 40])
def test_logcumsumexp_keeps_turning(n: int) -> None:
    """Imaginary parts run on beyond pi as they do when one term after the other is added."""
    a = RNG.uniform(-9, 9, (3, n, 2)) + 1j * RNG.uniform(-9, 9, (3, n, 2))
    same(flambeau.tensor(a).logcumsumexp(1), torch.tensor(a).logcumsumexp(1), 1e-9, 1e-9)


def test_logcumsumexp_of_nothing_yet() -> None:
    x = flambeau.tensor([-math.inf, -math.inf, 0.5, 1.0], dtype=flambeau.float64, requires_grad=True)
    (first,) = flambeau.autograd.grad(x.logcumsumexp(0)[2:].sum(), x, create_graph=True)
    share = math.exp(0.5) / (math.exp(0.5) + math.e)
    np.testing.assert_allclose(first.detach().numpy(), [0, 0, 1 + share, 1 - share])
    (second,) = flambeau.autograd.grad(first[2], x)
    np.testing.assert_allclose(second.numpy(), [0, 0, share * (1 - share), -share * (1 - share)])


# -- second derivatives of half precision -----------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    [
        lambda lib, x: lib.softmax(x, 0),
        lambda lib, x: x.tanh() * x.exp().sum(),
        lambda lib, x: lib.nn.functional.normalize(x[None])[0],
        lambda lib, x: lib.nn.functional.layer_norm(x, (6,)),
    ],
)
def test_second_derivatives_are_rounded_at_their_ends(function: Any) -> None:
    a, g, c = (torch.tensor(v).bfloat16().double().numpy() for v in RNG.normal(size=(3, 6)))

    def second(lib: Any, kind: Any) -> list[Any]:
        x, grad = (lib.tensor(v).to(kind).requires_grad_() for v in (a, g))
        (first,) = lib.autograd.grad(function(lib, x), x, grad, create_graph=True)
        assert first.dtype == kind
        return list(lib.autograd.grad(first, (x, grad), lib.tensor(c).to(kind)))

    for got, exact in zip(second(flambeau, flambeau.bfloat16), second(torch, torch.float64)):
        assert got.dtype is flambeau.bfloat16
        scale = exact.abs().max().item()
        np.testing.assert_allclose(got.double().numpy(), exact.numpy(), 0.02, 0.02 * scale)


def test_programs_see_half_precision_gradients() -> None:
    seen = []
    x = flambeau.ones(3, dtype=flambeau.bfloat16, requires_grad=True)
    y = x.exp()
    y.register_hook(lambda g: seen.append(g.dtype))
    (first,) = flambeau.autograd.grad(y.sin().sum(), x, create_graph=True)
    z = x * 2
    z.retain_grad()
    (first.sum() + z.float().sum()).backward()
    assert seen and set(seen) == {flambeau.bfloat16}
    assert x.grad.dtype is z.grad.dtype is flambeau.bfloat16


# -- others -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduce", ["sum", "mean", "amax", "amin"])
def test_sparse_product_with_a_reduction(reduce: str) -> None:
    dense = RNG.normal(size=(5, 4)) * (RNG.random((5, 4)) < 0.5)
    dense[2] = 0
    b = RNG.normal(size=(4, 3))
    mine, theirs = flambeau.tensor(b, requires_grad=True), torch.tensor(b, requires_grad=True)
    got = flambeau.sparse.mm(flambeau.tensor(dense).to_sparse_csr(), mine, reduce)
    expected = torch.sparse.mm(torch.tensor(dense).to_sparse_csr(), theirs, reduce)
    same(got, expected, 1e-12)
    got.sum().backward()
    expected.sum().backward()
    same(mine.grad, theirs.grad, 1e-12)
    with pytest.raises(RuntimeError, match="reduce"):
        flambeau.sparse.mm(flambeau.tensor(dense).to_sparse_csr(), mine, "prod")


def test_gradients_of_sparse_results() -> None:
    pattern = flambeau.eye(3, dtype=flambeau.float64).to_sparse_csr().requires_grad_()
    a = flambeau.tensor(RNG.normal(size=(3, 2)), requires_grad=True)
    b = flambeau.tensor(RNG.normal(size=(2, 3)), requires_grad=True)
    g = flambeau.tensor(RNG.normal(size=(3, 3)))
    out = flambeau.sparse.sampled_addmm(pattern, a, b, beta=0.5)
    da, ds = flambeau.autograd.grad(out, (a, pattern), g)
    np.testing.assert_allclose(da.numpy(), (g.numpy() * np.eye(3)) @ b.detach().numpy().T)
    assert ds.layout is flambeau.sparse_csr
    np.testing.assert_allclose(ds.to_dense().numpy(), g.numpy() * np.eye(3) * 0.5)


def test_masked_reductions_have_pytorchs_types() -> None:
    x, mask = RNG.normal(size=(3, 4)), np.array([True, False, True, True])
    for name in ("argmax", "argmin"):
        got = getattr(flambeau.masked, name)(flambeau.tensor(x), 1, mask=flambeau.tensor(mask))
        same(got, getattr(torch.masked, name)(torch.tensor(x), 1, mask=torch.tensor(mask)))
    z = x + 1j
    for name in ("var", "std"):
        same(getattr(flambeau.masked, name)(flambeau.tensor(z), 1), getattr(torch.masked, name)(torch.tensor(z), 1))
    none = flambeau.masked.median(flambeau.tensor(x), 0, mask=flambeau.tensor(mask))
    assert bool(none[1].isnan()) and not bool(none[0].isnan())
    whole = flambeau.arange(12).reshape(3, 4)
    assert flambeau.masked.median(whole, 0).dtype is flambeau.int64
    with pytest.raises(ValueError, match="no element"):
        flambeau.masked.median(whole, 0, mask=flambeau.tensor(mask))
    assert (
        flambeau.masked.logsumexp(whole, 1).tolist() == torch.masked.logsumexp(torch.tensor(whole.tolist()), 1).tolist()
    )


def test_determinants_of_numbers_have_no_second_derivative() -> None:
    a = flambeau.tensor([[[1.7]], [[-0.3]]], requires_grad=True)
    (first,) = flambeau.autograd.grad(a.det().sum(), a, create_graph=True)
    np.testing.assert_array_equal(first.detach().numpy(), np.ones((2, 1, 1), "f"))
    assert not first.requires_grad or not flambeau.autograd.grad(first.sum(), a, allow_unused=True)[0]


@pytest.mark.parametrize("name", ["huber_loss", "smooth_l1_loss"])
def test_second_derivative_where_there_is_no_loss(name: str) -> None:
    x = flambeau.tensor([0.5, 1.0, 9.0], requires_grad=True)
    loss = getattr(flambeau.nn.functional, name)(x, flambeau.tensor([0.5, 0.75, 0.0]), reduction="sum")
    (first,) = flambeau.autograd.grad(loss, x, create_graph=True)
    (second,) = flambeau.autograd.grad(first.sum(), x)
    assert second.tolist() == [1, 1, 0]


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, math.inf])
def test_unit_vectors_and_distances(p: float) -> None:
    a, b = RNG.normal(size=(2, 4, 3, 5)).astype("f")
    a[1, 1] = 0
    for call in (
        lambda lib, x, y: lib.nn.functional.normalize(x, p, 2),
        lambda lib, x, y: lib.nn.functional.normalize(x, p, 0, 0.5),
        lambda lib, x, y: lib.nn.functional.pairwise_distance(x, y, p),
        lambda lib, x, y: lib.nn.functional.pairwise_distance(x, y[0], p, 0.25, True),
    ):
        mine = [flambeau.tensor(t, requires_grad=True) for t in (a, b)]
        theirs = [torch.tensor(t, requires_grad=True) for t in (a, b)]
        got, expected = call(flambeau, *mine), call(torch, *theirs)
        same(got, expected, 1e-5)
        got.sin().sum().backward()
        expected.sin().sum().backward()
        for s, t in zip(mine, theirs):
            if t.grad is not None:
                same(s.grad, t.grad, 1e-4, 1e-5)


@pytest.mark.parametrize("shape", [(2, 3), (3, 5), (2, 2, 9), (4, 7), (2, 40), (1, 5), (4, 2)])
@pytest.mark.parametrize("full", [False, True])
def test_singular_vectors_have_the_same_signs(shape: tuple[int, ...], full: bool) -> None:
    a = RNG.normal(size=shape)
    got = flambeau.linalg.svd(flambeau.tensor(a), full)
    expected = torch.linalg.svd(torch.tensor(a), full)
    k = min(shape[-2:])
    pairs = ((got.U[..., :k], expected.U[..., :k]), (got.S, expected.S), (got.Vh[..., :k, :], expected.Vh[..., :k, :]))
    for mine, theirs in pairs:
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), 1e-9, 1e-9)
    square = (got.Vh @ got.Vh.mT).numpy()
    np.testing.assert_allclose(square, np.broadcast_to(np.eye(square.shape[-1]), square.shape), 1e-9, 1e-9)


@pytest.mark.parametrize("rank", [0, 1])
def test_singular_vectors_of_wide_matrices_of_low_rank(rank: int) -> None:
    a = np.outer([1.0, -2.0, 0.5], np.arange(7)) * rank
    u, s, vh = (t.numpy() for t in flambeau.linalg.svd(flambeau.tensor(a), False))
    np.testing.assert_allclose(u * s @ vh, a, atol=1e-9)
    np.testing.assert_allclose(vh @ vh.T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(u.T @ u, np.eye(3), atol=1e-9)


def test_pieces_made_one_by_one_have_gradients_every_time() -> None:
    for cuts in ((2, 4), 3, (2, 4), 3):
        x = flambeau.ones(6, 3, requires_grad=True)
        pieces = flambeau.tensor_split(x * 2, cuts)
        flambeau.stack([k * p.sum() for k, p in enumerate(pieces)]).sum().backward()
        assert x.grad[:, 0].tolist() == [0, 0, 2, 2, 4, 4]


@pytest.mark.parametrize("shape", [(), (2,)])
def test_greater_of_two_tensors_into_another(shape: tuple[int, ...]) -> None:
    a, b = flambeau.full(shape, 1.0), flambeau.full(shape, 2.0)
    out = flambeau.zeros(shape)
    assert flambeau.max(a, b, out=out) is out and bool((out == 2).all())
    assert flambeau.min(a, b, out=out) is out and bool((out == 1).all())


def test_sparse_adam_refuses_complex_parameters() -> None:
    with pytest.raises(ValueError, match="Complex params at indices"):
        flambeau.optim.SparseAdam([flambeau.nn.Parameter(flambeau.ones(2, dtype=flambeau.complex64))])
