"""Sparse tensors against dense ones (numpy), PyTorch and scipy."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import flambeau
from flambeau import sparse

F64 = flambeau.float64
LAYOUTS = ["sparse_coo", "sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc"]


def dense(*shape: int, seed: int = 0, fill: float = 0.4):
    rng = np.random.default_rng(seed)
    return flambeau.tensor(rng.standard_normal(shape) * (rng.random(shape) < fill))


def made(d, layout: str):
    blocks = {"blocksize": (2, 2)} if "bs" in layout else {}
    return d.to_sparse(layout=getattr(flambeau, layout), **blocks)


def repeated():
    """A tensor with indices that repeat and are not sorted."""
    i = flambeau.tensor([[0, 2, 1, 0, 2], [1, 0, 3, 1, 2]])
    return flambeau.sparse_coo_tensor(i, flambeau.tensor([1.0, 2.0, 3.0, 4.0, 5.0], dtype=F64), (3, 4))


def equal(a, b, tolerance: float = 1e-12) -> None:
    a = a.to_dense() if a.layout is not flambeau.strided else a
    b = b if isinstance(b, np.ndarray) else (b.to_dense() if b.layout is not flambeau.strided else b).detach().numpy()
    assert tuple(a.shape) == b.shape
    np.testing.assert_allclose(a.detach().numpy(), b, tolerance, tolerance)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(4, 6), (2, 4, 6), (0, 4), (4, 0)])
def test_there_and_back(layout: str, shape) -> None:
    d = flambeau.ones(shape, dtype=F64) if len(shape) == 3 and layout != "sparse_coo" else dense(*shape)
    s = made(d, layout)
    assert (s.layout, tuple(s.shape), s.dtype) == (getattr(flambeau, layout), shape, F64)
    equal(s, d)
    for other in LAYOUTS if layout != "sparse_coo" or len(shape) == 2 else []:
        equal(made(s, other), d)


@pytest.mark.parametrize("layout", ["sparse_csr", "sparse_csc", "sparse_bsr"])
def test_compressed_parts_against_scipy(layout: str) -> None:
    d = dense(4, 6)
    s = made(d, layout)
    kind = layout.removeprefix("sparse_")
    wanted = getattr(scipy.sparse, f"{kind}_matrix")(d.numpy(), **({"blocksize": (2, 2)} if kind == "bsr" else {}))
    wanted.sort_indices()
    names = ("ccol_indices", "row_indices") if kind == "csc" else ("crow_indices", "col_indices")
    for name, part in zip(names, (wanted.indptr, wanted.indices)):
        assert getattr(s, name)().tolist() == part.tolist()
    np.testing.assert_array_equal(s.values().numpy(), wanted.data)


def test_coalescing() -> None:
    s = repeated()
    assert (s.is_coalesced(), s._nnz(), s.sparse_dim(), s.dense_dim()) == (False, 5, 2, 0)
    c = s.coalesce()
    assert c.indices().tolist() == [[0, 1, 2, 2], [1, 3, 0, 2]]
    assert c.values().tolist() == [5.0, 3.0, 2.0, 5.0]
    assert c.coalesce() is c
    equal(s, c)
    with pytest.raises(RuntimeError, match="uncoalesced"):
        s.indices()
    hybrid = flambeau.sparse_coo_tensor([[1, 1]], flambeau.ones(2, 3), (2, 3))
    assert hybrid.coalesce().values().tolist() == [[2.0, 2.0, 2.0]]


def test_text_is_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    texts = []
    warnings.simplefilter("ignore")
    for f in (flambeau, torch):
        i, v = f.tensor([[0, 1, 1], [2, 0, 2]]), f.tensor([3.0, 4.0, 5.0])
        s = f.sparse_coo_tensor(i, v, (2, 3))
        d = f.ones(2, 2, dtype=f.float64)
        texts.append(
            [repr(x) for x in (s, s.coalesce(), s.double(), f.sparse_coo_tensor((2, 3)), s.to_sparse_csr(),
                               d.to_sparse_csc(),
                               f.ones(2, 2).to_sparse_bsr((1, 2)), f.sparse_coo_tensor(i, v, requires_grad=True),
                               f.ones(2, 2).to_sparse(1))]
        )  # fmt: skip
    assert texts[0] == texts[1]


UNARY = "neg abs sin tanh sqrt relu floor sign expm1 log1p asinh square".split()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pointwise(layout: str) -> None:
    d = dense(4, 6).abs()
    s = made(d, layout)
    for name in UNARY:
        found = getattr(s, name)()
        assert found.layout is s.layout
        equal(found, getattr(d, name)())
    equal(s * 3, d * 3)
    equal(2 * s, d * 2)
    equal(s / 4, d / 4)
    equal(s.pow(2), d.pow(2))
    other = dense(4, 6, seed=1)
    equal(s + made(other, layout), d + other)
    equal(s - made(other, layout), d - other)
    equal(s * made(other, layout), d * other)
    equal(s * other, d * other)
    equal(other + s, other + d)
    equal(other.clone().add_(s, alpha=-2), other - 2 * d)
    equal(s.sum(), d.sum())
    equal(s.norm(), d.norm())
    equal(s.to(flambeau.float32).double(), d.float())
    equal(flambeau.zeros_like(s), d * 0)
    equal(s.clone().zero_(), d * 0)
    equal(s.clone().mul_(2), d * 2)


def test_uncoalesced_arguments() -> None:
    s = repeated()
    d = s.to_dense()
    for name in UNARY:
        equal(getattr(s, name)(), getattr(d, name)())
    equal(s + s, d + d)
    equal(s * s, d * d)
    equal(s @ d.t(), d @ d.t())
    equal(s.t(), d.t())
    equal(sparse.softmax(s, 1).coalesce().sum(1), np.ones(3))
    for name in ("abs", "square"):
        equal(getattr(s, name)().sum(), getattr(d, name)().sum())


def test_structure() -> None:
    s = repeated()
    d = s.to_dense()
    equal(flambeau.cat([s, s], 1), flambeau.cat([d, d], 1))
    equal(flambeau.stack([s, s]), flambeau.stack([d, d]))
    equal(s.unsqueeze(1), d.unsqueeze(1))
    equal(s.unsqueeze(1).squeeze(1), d)
    equal(s.permute(1, 0), d.permute(1, 0))
    equal(s.index_select(0, flambeau.tensor([2, 0, 2])), d[[2, 0, 2]])
    equal(s[0], d[0])
    equal(s[2, 2], d[2, 2])
    equal(s[1:, ::2], d[1:, ::2])
    equal(s.narrow(1, 1, 2), d.narrow(1, 1, 2))
    equal(s.unbind(0)[2], d[2])
    equal(s.sum(0), d.sum(0))
    equal(s.sum((0, 1)), d.sum())
    equal(sparse.sum(s, 1), d.sum(1))
    hybrid = dense(3, 4, 2).to_sparse(2)
    assert (hybrid.sparse_dim(), hybrid.dense_dim()) == (2, 1)
    for dims in (0, 1, 2, (0, 2), (0, 1)):
        equal(sparse.sum(hybrid, dims), hybrid.to_dense().sum(dims))
    equal(flambeau.ones(3, 4, dtype=F64).sparse_mask(s.coalesce()), (d != 0).double())
    with pytest.raises(IndexError):
        s.index_select(0, flambeau.tensor([3]))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_products(layout: str) -> None:
    d, e = dense(4, 6), dense(6, 8, seed=1)
    s, t = made(d, layout), made(e, layout)
    equal(s @ e, d @ e)
    equal(s @ t, d @ e)
    equal(d @ t, d @ e)
    equal(s @ e[:, 0], d @ e[:, 0])
    equal(sparse.mm(s, e), d @ e)
    equal(flambeau.addmm(flambeau.ones(4, 8, dtype=F64), s, e, beta=2, alpha=3), 2 + 3 * (d @ e))
    equal(flambeau.mv(s, e[:, 1]), d @ e[:, 1])
    batch = dense(3, 6, 2, seed=2, fill=1)
    inside = s._like(flambeau.ones_like(s.values())).to_dense() if layout != "sparse_coo" else d != 0
    equal(s @ batch, d @ batch)
    equal(sparse.sampled_addmm(s, d, d.t() @ dense(4, 6, seed=3)), d + (d @ d.t() @ dense(4, 6, seed=3)) * inside)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        s @ d


def test_batched_product() -> None:
    d, e = dense(3, 4, 5), dense(3, 5, 2, seed=1, fill=1)
    equal(flambeau.bmm(d.to_sparse(), e), d @ e)


@pytest.mark.parametrize("logarithm", [False, True])
def test_softmax(logarithm: bool) -> None:
    d = dense(3, 4)
    filled = flambeau.where(d != 0, d, float("-inf"))
    for dim in (0, 1):
        found = (sparse.log_softmax if logarithm else sparse.softmax)(d.to_sparse(), dim).to_dense()
        wanted = (filled.log_softmax(dim) if logarithm else filled.softmax(dim))[d != 0]
        np.testing.assert_allclose(found[d != 0].numpy(), wanted.numpy())


def test_gradients_flow_through_values() -> None:
    d, e = dense(4, 6), dense(6, 3, seed=1, fill=1)
    s = d.to_sparse().detach().requires_grad_()
    e.requires_grad_()
    full = d.clone().requires_grad_()
    loss = [((x @ e).tanh() * flambeau.arange(12, dtype=F64).reshape(4, 3)).sum() for x in (s, full)]
    loss[0].backward()
    by_sparse = e.grad.clone()
    e.grad = None
    loss[1].backward()
    equal(by_sparse, e.grad)
    assert s.grad.layout is flambeau.sparse_coo
    equal(s.grad, full.grad * (d != 0))
    values = flambeau.tensor([1.0, 2.0, 3.0], dtype=F64, requires_grad=True)
    index = flambeau.tensor([[0, 1, 1], [2, 0, 0]])

    def function(v):
        s = flambeau.sparse_coo_tensor(index, v, (2, 3))
        return (
            (s * s).sum(1).to_dense(),
            sparse.softmax(s, 1).to_dense(),
            (s.t() @ s).to_dense(),
            (s + 2 * s).to_dense(),
        )

    assert flambeau.autograd.gradcheck(function, (values,))
    assert sparse.as_sparse_gradcheck(flambeau.autograd.gradcheck)(lambda x: sparse.mm(x, e.detach()), (s,))


def test_dense_to_sparse_is_on_the_tape() -> None:
    d = dense(3, 4).requires_grad_()
    (d.to_sparse() * 2).to_dense().sum().backward()
    equal(d.grad, 2.0 * (d.detach() != 0).double())


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # PyTorch's, once in a process
@pytest.mark.parametrize("optimizer", ["SparseAdam", "SGD", "Adagrad"])
def test_sparse_gradients_of_embeddings(optimizer: str) -> None:
    torch = pytest.importorskip("torch")
    table = np.random.default_rng(0).standard_normal((10, 3)).astype(np.float32)
    found = []
    for f in (flambeau, torch):
        layer = f.nn.Embedding.from_pretrained(f.tensor(table), freeze=False, sparse=True, padding_idx=2)
        steps = getattr(f.optim, optimizer)(layer.parameters(), lr=0.1)
        for index in ([1, 2, 1], [[0, 9], [9, 9]], [3]):
            steps.zero_grad()
            (layer(f.tensor(index)) ** 2).sum().backward()
            assert layer.weight.grad.is_sparse
            steps.step()
        layer(f.tensor([4, 4])).sum().backward()  # adds to the gradient that is there
        found.append((layer.weight.detach().numpy(), layer.weight.grad.to_dense().numpy()))
    for mine, theirs in zip(*found):
        np.testing.assert_allclose(mine, theirs, 1e-5, 1e-6)


def test_sparse_and_dense_gradients_of_one_table() -> None:
    weight = flambeau.ones(4, 2, requires_grad=True)
    rows = flambeau.nn.functional.embedding(flambeau.tensor([1, 1]), weight, sparse=True)
    (rows.sum() + weight.sum()).backward()
    assert weight.grad.tolist() == [[1, 1], [3, 3], [1, 1], [1, 1]]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_copies_pickles_and_files(layout: str) -> None:
    s = made(dense(4, 6), layout)
    buffer = io.BytesIO()
    flambeau.save({"s": s}, buffer)
    buffer.seek(0)
    for again in (pickle.loads(pickle.dumps(s)), copy.deepcopy(s), flambeau.load(buffer)["s"]):
        assert again.layout is s.layout
        equal(again, s)


def test_files_are_pytorchs() -> None:
    torch = pytest.importorskip("torch")
    s = dense(4, 6).to_sparse()
    warnings.simplefilter("ignore")
    buffer = io.BytesIO()
    flambeau.save(s, buffer)
    buffer.seek(0)
    theirs = torch.load(buffer)
    np.testing.assert_array_equal(theirs.to_dense().numpy(), s.to_dense().numpy())
    back = io.BytesIO()
    torch.save(theirs.to_sparse_csr(), back)
    back.seek(0)
    equal(flambeau.load(back), s)


def test_parts_are_checked() -> None:
    i, v = flambeau.tensor([[0, 1, 1], [2, 0, 2]]), flambeau.ones(3)
    for bad, words in (
        (lambda: flambeau.sparse_coo_tensor(i, v, (2, 2), check_invariants=True), "inconsistent with indices"),
        (
            lambda: flambeau.sparse_coo_tensor(i.flip(1), v, (2, 3), check_invariants=True, is_coalesced=True),
            "uncoalesced",
        ),
        (lambda: flambeau.sparse_coo_tensor(-i, v), "negative index"),
        (lambda: flambeau.sparse_coo_tensor(i, v.expand(2, 3).t(), (2, 3, 3)), "values has incorrect size"),
        (lambda: flambeau.sparse_coo_tensor(i, v[:2]), "same nnz"),
        (lambda: flambeau.sparse_coo_tensor(i, v, (2,)), "sparse_dim"),
        (lambda: flambeau.sparse_coo_tensor([0, 1], v), "indices must be sparse_dim x nnz"),
        (lambda: flambeau.sparse_csr_tensor([0, 2, 1], [2, 0, 2], v, (2, 3)), "never fall"),
        (lambda: flambeau.sparse_csr_tensor([0, 1, 3], [2, 0, 3], v, (2, 3)), "from 0 to 2"),
        (lambda: flambeau.sparse_csr_tensor([0, 1, 3], [2, 2, 0], v, (2, 3), check_invariants=True), "sorted"),
        (lambda: flambeau.ones(2).coalesce(), "expected sparse coordinate tensor layout but got Strided"),
        (lambda: flambeau.ones(2).crow_indices(), "row compressed"),
        (lambda: flambeau.ones(4, 4).to_sparse_bsr((3, 2)), "divisible"),
        (lambda: repeated() + flambeau.ones(3, 4), "Use add\\(dense, sparse\\)"),
        (lambda: repeated().pow(0), "zeroth power"),
    ):
        with pytest.raises(RuntimeError, match=words):
            bad()
    with sparse.check_sparse_tensor_invariants(), pytest.raises(RuntimeError, match="sorted"):
        flambeau.sparse_csr_tensor([0, 1, 3], [2, 2, 0], v, (2, 3))
    assert not sparse.check_sparse_tensor_invariants.is_enabled()


@pytest.mark.parametrize("bad", [[[0, 1], [2, 3]], [[0, -1], [2, 1]]])
def test_indices_outside_are_refused_by_the_first_operator(bad: list[list[int]]) -> None:
    """A tensor of indices outside of its size can be made, looked at and printed, but no operator takes it."""

    def make() -> Any:
        return flambeau.sparse_coo_tensor(bad, [1.0, 2.0], (2, 3))

    s = make()
    assert (s._nnz(), s.sparse_dim(), s._indices().tolist(), tuple(s.shape)) == (2, 2, bad, (2, 3))
    assert "nnz=2" in repr(s)
    dense = flambeau.ones(3, 2)
    for use in (
        make().to_dense, make().coalesce, make().to_sparse_csr, make().t, lambda: make() @ dense, lambda: make() * 2,
        lambda: make() + make(), lambda: dense.t() + make(), lambda: sparse.sum(make(), 0), lambda: make()[1],
        lambda: flambeau.cat([make(), make()]), lambda: dense.t().sparse_mask(make()),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match=r"inconsistent with indices|negative index"):
            use()


def test_no_kernel_sees_a_sparse_tensor() -> None:
    s = repeated()
    for refused in (lambda: s.view(12), s.exp, lambda: s == s, s.max, lambda: flambeau.cos(s), s.data_ptr, s.storage):
        with pytest.raises(NotImplementedError):
            refused()
    with pytest.raises(TypeError, match="to_dense"):
        s.numpy()
    with pytest.raises(TypeError, match="to_dense"):
        np.asarray(s)


def test_diagonals() -> None:
    d = flambeau.arange(1, 10, dtype=F64).reshape(3, 3)
    found = sparse.spdiags(d, flambeau.tensor([0, -1, 2]), (4, 3))
    equal(found, scipy.sparse.spdiags(d.numpy(), [0, -1, 2], 4, 3).toarray())
    a = dense(4, 4, fill=1)
    equal(sparse.spsolve(a.to_sparse_csr(), flambeau.ones(4, dtype=F64)), np.linalg.solve(a.numpy(), np.ones(4)))


@pytest.mark.parametrize("mode", ["sum", "mean"])
def test_sparse_gradients_of_bags(mode: str) -> None:
    torch = pytest.importorskip("torch")

    def gradient(f: Any) -> Any:
        table = f.arange(40.0).reshape(10, 4).requires_grad_()
        weights = f.tensor([0.5, 2.0, 1.0, 3.0, -1.0]) if mode == "sum" else None
        bags = f.nn.functional.embedding_bag(
            f.tensor([1, 2, 4, 2, 1]), table, f.tensor([0, 2]), mode=mode, sparse=True, per_sample_weights=weights,
            padding_idx=4,
        )  # fmt: skip
        (bags * f.arange(8.0).reshape(2, 4)).sum().backward()
        assert table.grad.layout is f.sparse_coo
        return table.grad.to_dense().numpy()

    np.testing.assert_allclose(gradient(flambeau), gradient(torch))


def test_bags_of_maxima_have_no_sparse_gradients() -> None:
    layer = flambeau.nn.EmbeddingBag(3, 2, mode="max", sparse=True)
    with pytest.raises(ValueError, match="max mode does not support sparse weights"):
        layer(flambeau.tensor([[0, 1]]))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_reduced_products_of_half_precision_are_rounded_once(dtype: str, reduce: str) -> None:
    numbers = np.random.default_rng(0)
    a = flambeau.tensor(numbers.standard_normal((8, 40))).to(getattr(flambeau, dtype))
    b = flambeau.tensor(numbers.standard_normal((40, 6))).to(getattr(flambeau, dtype))
    left, right = a.to_sparse_csr().requires_grad_(), b.clone().requires_grad_()
    found = flambeau.sparse.mm(left, right, reduce)
    found.backward(flambeau.ones_like(found))
    share = 40 if reduce == "mean" else 1
    step = flambeau.finfo(found.dtype).eps
    exact = [a.double() @ b.double(), b.double().sum(1).expand(8, 40), a.double().sum(0).unsqueeze(1).expand(40, 6)]
    for x, y in zip([found, left.grad.to_dense(), right.grad], exact):
        y = (y.detach() / share).numpy()
        assert (abs(x.detach().double().numpy() - y) <= 0.51 * step * abs(y) + 1e-6).all()
