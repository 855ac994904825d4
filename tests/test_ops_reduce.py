"""Reductions, scans, order statistics and searches against numpy and PyTorch."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau
from flambeau.autograd import gradcheck, gradgradcheck

torch = pytest.importorskip("torch")


def both(a: np.ndarray, requires_grad: bool = False) -> tuple[Any, Any]:
    """The same numbers as a tensor of ours and of the reference."""
    return flambeau.tensor(a, requires_grad=requires_grad), torch.tensor(a, requires_grad=requires_grad)


def array(x: Any) -> np.ndarray:
    return x.detach().resolve_conj().numpy() if isinstance(x, torch.Tensor) else x.detach().numpy()


def same(ours: Any, theirs: Any, rtol: float = 1e-5, atol: float = 1e-6) -> None:
    if isinstance(theirs, (tuple, list)):
        assert len(ours) == len(theirs)
        for o, t in zip(ours, theirs):
            same(o, t, rtol, atol)
        return
    a, b = array(ours), array(theirs)
    assert a.shape == b.shape and a.dtype == b.dtype
    np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


RNG = np.random.default_rng(5)
X = RNG.standard_normal((4, 5, 6)).astype(np.float32)
SPECIAL = np.array([[1, math.nan, 3], [math.inf, -math.inf, 0], [-0.0, 0.0, 2]], np.float32)

REDUCTIONS = {
    "sum": lambda m, x, d: x.sum(d), "mean": lambda m, x, d: x.mean(d), "amax": lambda m, x, d: x.amax(d),
    "var": lambda m, x, d: m.var(x, d),
    "std0": lambda m, x, d: m.std(x, d, unbiased=False), "std_mean": lambda m, x, d: m.std_mean(x, d, correction=0,
    keepdim=True),
    "logsumexp": lambda m, x, d: m.logsumexp(x, d), "nansum": lambda m, x, d: m.nansum(x, d), "nanmean": lambda m, x,
    d: m.nanmean(x, d),
    "count_nonzero": lambda m, x, d: m.count_nonzero(x, d), "norm3": lambda m, x, d: m.norm(x, 3, d),
    "norminf": lambda m, x, d: m.norm(x, math.inf, d),
    "norm0": lambda m, x, d: m.linalg.vector_norm(x, 0, d), "any": lambda m, x, d: m.any(x > 1, d), "all": lambda m, x,
    d: m.all(x > -2, d),
}  # fmt: skip


@pytest.mark.parametrize("dim", [0, 2, (0, 2), (-1, 1), (0, 1, 2)])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name: str, dim: Any) -> None:
    ours, theirs = both(X)
    same(REDUCTIONS[name](flambeau, ours, dim), REDUCTIONS[name](torch, theirs, dim))
    same(
        REDUCTIONS[name](flambeau, ours.permute(2, 0, 1)[::2], dim),
        REDUCTIONS[name](torch, theirs.permute(2, 0, 1)[::2], dim),
    )


ALONG = {
    "max": lambda m, x: m.max(x, 1), "min": lambda m, x: m.min(x, -1, keepdim=True), "max_all": lambda m, x: m.max(x),
    "argmax": lambda m, x: x.argmax(1),
    "aminmax": lambda m, x: m.aminmax(x, dim=0), "prod": lambda m, x: m.prod(x, 1), "prod_all": lambda m, x: x.prod(),
    "median": lambda m, x: m.median(x, 1),
    "median_all": lambda m, x: m.median(x), "nanmedian": lambda m, x: m.nanmedian(x, 2), "kthvalue": lambda m,
    x: m.kthvalue(x, 3, 1),
    "quantile": lambda m, x: m.quantile(x, 0.3, 1), "quantiles": lambda m, x: m.quantile(x, m.tensor([0.1, 0.5, 1.0]),
    -1, True),
    "higher": lambda m, x: m.quantile(x, 0.35, interpolation="higher"), "nanquantile": lambda m, x: m.nanquantile(x,
    0.6, 0, interpolation="midpoint"),
    "cumsum": lambda m, x: x.cumsum(1), "cumprod": lambda m, x: x.cumprod(2), "cummax": lambda m, x: m.cummax(x, 1),
    "cummin": lambda m, x: m.cummin(x, 0),
    "logcumsumexp": lambda m, x: m.logcumsumexp(x, 1), "diff": lambda m, x: m.diff(x, 2, 1), "trapezoid": lambda m,
    x: m.trapezoid(x, dim=1),
    "cumulative": lambda m, x: m.cumulative_trapezoid(x, dx=0.5), "gradient": lambda m, x: m.gradient(x, dim=(0, 2),
    edge_order=2),
    "sort": lambda m, x: m.sort(x, 1, descending=True), "msort": lambda m, x: m.msort(x), "topk": lambda m, x: m.topk(x,
    3, 1),
    "cov": lambda m, x: m.cov(x[0]), "corrcoef": lambda m, x: m.corrcoef(x[0]), "cdist": lambda m, x: m.cdist(x,
    x[:1] + 1),
    "cdist1": lambda m, x: m.cdist(x[0], x[1], p=1.0), "pdist": lambda m, x: m.pdist(x[0]), "renorm": lambda m,
    x: m.dist(x, x * 2, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", ALONG)
def test_values_and_gradients(name: str) -> None:
    ours, theirs = both(X, True)
    f, g = ALONG[name](flambeau, ours), ALONG[name](torch, theirs)
    same(f, g, 2e-5, 2e-5)
    first, second = (f[0], g[0]) if isinstance(g, tuple) else (f, g)
    if second.requires_grad:
        weight = RNG.standard_normal(tuple(second.shape)).astype(np.float32)
        (first * flambeau.tensor(weight)).sum().backward()
        (second * torch.tensor(weight)).sum().backward()
        same(ours.grad, theirs.grad, 1e-4, 1e-4)


@pytest.mark.parametrize("name", ["sum", "amax", "logsumexp", "nansum", "nanmean"])
def test_nan_and_infinity(name: str) -> None:
    ours, theirs = both(SPECIAL)
    for dim in (0, 1):
        same(REDUCTIONS[name](flambeau, ours, dim), REDUCTIONS[name](torch, theirs, dim))


@pytest.mark.parametrize("function", ["max", "min", "median", "nanmedian", "cummax", "cummin"])
def test_places_with_nan(function: str) -> None:
    ours, theirs = both(SPECIAL)
    for dim in (0, 1):
        same(getattr(flambeau, function)(ours, dim), getattr(torch, function)(theirs, dim))


def test_logsumexp_of_infinities_has_a_gradient() -> None:
    x = flambeau.tensor([[-math.inf, 0.0], [-math.inf, -math.inf]], dtype=flambeau.float64, requires_grad=True)
    flambeau.logsumexp(x, 1)[0].backward()
    assert array(x.grad).tolist() == [[0.0, 1.0], [0.0, 0.0]]


@pytest.mark.parametrize("zeros", [[], [2], [1, 3]])
@pytest.mark.parametrize("name", ["prod", "cumprod"])
def test_products_with_zeros(name: str, zeros: list[int]) -> None:
    a = np.array([[1.5, -2.0, 0.5, 3.0]])
    a[0, zeros] = 0
    x = flambeau.tensor(a, requires_grad=True)
    assert gradcheck(lambda t: getattr(t, name)(1), (x,))
    assert gradgradcheck(lambda t: getattr(t, name)(1), (x,))


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x.std(1),
        lambda x: x.logsumexp(0),
        lambda x: flambeau.norm(x, 3, 1),
        lambda x: x.logcumsumexp(1),
        lambda x: x.median(1)[0],
        lambda x: flambeau.var_mean(x),
    ],
)
def test_second_derivatives(f: Any) -> None:
    x = flambeau.tensor(RNG.standard_normal((3, 4)), requires_grad=True)
    assert gradcheck(f, (x,)) and gradgradcheck(f, (x,))


def test_empty() -> None:
    x = flambeau.empty(3, 0, 2)
    assert x.sum().item() == 0 and x.prod().item() == 1 and math.isnan(x.mean().item()) and not x.any() and x.all()
    assert array(x.sum(1)).tolist() == [[0, 0]] * 3 and array(x.logsumexp(1)).tolist() == [[-math.inf] * 2] * 3
    with pytest.raises(IndexError, match="non-zero size"):
        x.max(1)
    with pytest.raises(RuntimeError, match="numel\\(\\) == 0"):
        x.max()
    with pytest.raises(IndexError):
        x.amax(1)
    assert x.max(0).values.shape == (0, 2)


def test_errors() -> None:
    x = flambeau.ones(2, 3)
    for call, kind in (
        (lambda: x.sum(2), IndexError), (lambda: x.sum((0, 0)), RuntimeError), (lambda: x.long().mean(), RuntimeError),
        (lambda: x.long().std(), RuntimeError),
        (lambda: x.kthvalue(4), RuntimeError), (lambda: flambeau.quantile(x, 1.5), RuntimeError),
        (lambda: flambeau.bincount(x.long()), RuntimeError),
        (lambda: flambeau.bincount(flambeau.tensor([-1])), RuntimeError), (lambda: x.to(flambeau.complex64).max(),
        RuntimeError),
        (lambda: flambeau.searchsorted(x, x.double()), RuntimeError), (lambda: flambeau.histc(x, 0), RuntimeError),
        (lambda: flambeau.cdist(x, flambeau.ones(2, 2)), RuntimeError),
    ):  # fmt: skip
        with pytest.raises(kind):
            call()


def test_one_sample_warns() -> None:
    with pytest.warns(UserWarning, match="degrees of freedom"):
        assert math.isnan(flambeau.ones(1).var().item())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert flambeau.ones(1).var(unbiased=False).item() == 0


def test_overloads() -> None:
    x, y = flambeau.tensor([1.0, 5.0]), flambeau.tensor([2.0, 3.0])
    assert array(flambeau.max(x, y)).tolist() == [2, 5] == array(x.max(other=y)).tolist()
    found = x.max(0)
    assert found.values.item() == 5 and found.indices.item() == 1 and repr(found).startswith("torch.return_types.max(")
    assert x.std(False).item() == x.std(0, False).item() == x.std(dim=0, correction=0).item() == 2
    values, places = flambeau.empty(0), flambeau.empty(0, dtype=flambeau.int64)
    flambeau.max(x, 0, out=(values, places))
    assert values.item() == 5 and places.item() == 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_adds_in_float32(dtype: str) -> None:
    x = flambeau.full((10000,), 0.1, dtype=getattr(flambeau, dtype))
    assert abs(x.sum().item() / (10000 * x[0].item()) - 1) < 0.01
    assert flambeau.ones(3000, dtype=flambeau.float16).cumsum(0)[-1].item() == 3000


def test_integers_add_as_int64() -> None:
    x = flambeau.full((1000,), 100, dtype=flambeau.int8)
    assert (
        x.sum().item() == 100000
        and x.sum().dtype is flambeau.int64
        and flambeau.ones(3, dtype=flambeau.bool).cumsum(0).tolist() == [1, 2, 3]
    )


def test_accuracy_of_many() -> None:
    """Sums of blocks are added pairwise or by lanes: errors stay far below those of one running sum."""
    a = np.random.default_rng(0).random(1_000_000).astype(np.float32)
    x, exact = flambeau.tensor(a), a.astype(np.float64)
    assert abs(x.sum().item() / exact.sum() - 1) < 1e-6
    assert abs(x.mean().item() / exact.mean() - 1) < 1e-6
    assert abs(x.var().item() / exact.var(ddof=1) - 1) < 1e-6


def test_threads_do_not_change_results() -> None:
    x = flambeau.tensor(np.random.default_rng(1).standard_normal((300, 1000)).astype(np.float32))
    before = flambeau.get_num_threads()
    found = []
    for threads in (1, 2):
        flambeau.set_num_threads(threads)
        found.append([array(t).tobytes() for t in (x.sum(), x.sum(0), x.var(), x.logsumexp(1), x.cumsum(0), x.norm())])
    flambeau.set_num_threads(before)
    assert found[0] == found[1]


@pytest.mark.parametrize("shape", [(3000, 300), (513, 1025), (2, 600, 512), (40, 5000)])
def test_wide_columns(shape: tuple[int, ...]) -> None:
    """Many rows beside each other: pieces of them, folded in memory's order."""
    a = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    a[..., 7, 5] = math.nan
    x, t = both(a)
    clean, exact = flambeau.tensor(np.nan_to_num(a)), np.nan_to_num(a).astype(np.float64)
    same(x.amax(-2), t.amax(-2))
    same(x.amin(-2), t.amin(-2))
    assert np.abs(clean.sum(-2).numpy() - exact.sum(-2)).max() < 1e-4
    same((x > 1).any(-2), (t > 1).any(-2))
    same((x > 1).sum(-2), (t > 1).sum(-2))
    np.testing.assert_allclose(clean.var(-2).numpy(), exact.var(-2, ddof=1), rtol=1e-5)


def test_reductions_in_pieces_share_their_pass() -> None:
    """Sums over the same rows are one pass over memory; a sum that needs another one waits for it."""
    a = np.random.default_rng(3).standard_normal((2000, 400)).astype(np.float32)

    @flambeau.compile
    def statistics(x: Any) -> Any:
        return x.sum(0), (x * x).sum(0), (x - x.mean(0)).square().sum(0)

    exact = a.astype(np.float64)
    wanted = exact.sum(0), (exact**2).sum(0), ((exact - exact.mean(0)) ** 2).sum(0)
    for found, want in zip(statistics(flambeau.tensor(a)), wanted):
        np.testing.assert_allclose(found.numpy(), want, rtol=1e-5, atol=1e-4)


# -- order and search --------------------------------------------------------------------------------


@given(st.lists(st.integers(-4, 4), max_size=40), st.booleans())
@settings(max_examples=25, deadline=None)
def test_unique(numbers: list[int], consecutive: bool) -> None:
    ours, theirs = both(np.array(numbers, np.int64))
    name = "unique_consecutive" if consecutive else "unique"
    same(
        getattr(flambeau, name)(ours, return_inverse=True, return_counts=True),
        getattr(torch, name)(theirs, return_inverse=True, return_counts=True),
    )


def test_unique_slices() -> None:
    ours, theirs = both(np.random.default_rng(2).integers(0, 2, (3, 9, 2)))
    same(
        flambeau.unique(ours, dim=1, return_inverse=True, return_counts=True),
        torch.unique(theirs, dim=1, return_inverse=True, return_counts=True),
    )
    same(flambeau.unique_consecutive(ours, dim=1), torch.unique_consecutive(theirs, dim=1))


@given(st.integers(0, 20), st.booleans(), st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_searchsorted(n: int, right: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges, values = (
        np.sort(rng.integers(0, 8, (2, n)).astype(np.float32)),
        rng.integers(-1, 9, (2, 5)).astype(np.float32),
    )
    (s, t), (v, w) = both(edges), both(values)
    same(flambeau.searchsorted(s, v, right=right), torch.searchsorted(t, w, right=right))
    same(
        flambeau.bucketize(v, s[0], right=right, out_int32=True),
        torch.bucketize(w, t[0].contiguous(), right=right, out_int32=True),
    )


def test_searchsorted_with_order() -> None:
    s, v = flambeau.tensor([3.0, 1.0, 2.0]), flambeau.tensor([0.0, 2.0, 9.0, math.nan])
    assert flambeau.searchsorted(s, v, sorter=flambeau.argsort(s)).tolist() == [0, 1, 3, 3]
    assert flambeau.searchsorted(flambeau.tensor([1, 2]), 2).item() == 1


@pytest.mark.parametrize("count", [0, 3, 40])
def test_isin(count: int) -> None:
    rng = np.random.default_rng(count)
    a, b = rng.integers(0, 60, (4, 10)), rng.integers(0, 60, count)
    assert (array(flambeau.isin(flambeau.tensor(a), flambeau.tensor(b))) == np.isin(a, b)).all()
    assert (array(flambeau.isin(flambeau.tensor(a), flambeau.tensor(b), invert=True)) == ~np.isin(a, b)).all()


def test_counting() -> None:
    ours, theirs = both(np.random.default_rng(3).integers(0, 7, 50))
    w, u = both(np.random.default_rng(4).random(50))
    same(flambeau.bincount(ours, minlength=12), torch.bincount(theirs, minlength=12))
    same(flambeau.bincount(ours, w), torch.bincount(theirs, u))
    same(flambeau.histc(w, 6), torch.histc(u, 6))
    same(flambeau.histc(w, 5, 0.2, 0.7), torch.histc(u, 5, 0.2, 0.7))
    same(
        flambeau.histogram(w, 7, range=(0.1, 0.8), density=True), torch.histogram(u, 7, range=(0.1, 0.8), density=True)
    )
    same(
        flambeau.histogram(w, flambeau.tensor([0.0, 0.5, 0.6, 1.0], dtype=flambeau.float64), weight=w),
        torch.histogram(u, torch.tensor([0.0, 0.5, 0.6, 1.0], dtype=torch.float64), weight=u),
    )
    points, others = both(np.random.default_rng(4).random((30, 2)))
    found, wanted = flambeau.histogramdd(points, [3, 4]), torch.histogramdd(others, [3, 4])
    same(found.hist, wanted.hist)
    same(found.bin_edges, wanted.bin_edges)


def test_mode() -> None:
    x = flambeau.tensor([[3, 1, 3, 1], [2, 2, 5, 4]])
    found = x.mode(1)
    assert found.values.tolist() == [1, 2] and flambeau.gather(x, 1, found.indices.unsqueeze(1)).squeeze(
        1
    ).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("shape", "dims"),
    [((100_000,), 0), ((4, 18_392), 1), ((2, 4, 22, 22, 19), (0, 2, 3, 4)), ((32, 8, 1024), (0, 2)), ((9001, 3), 0)],
)
def test_rounding_errors_of_long_sums_stay_small(shape: tuple[int, ...], dims: Any) -> None:
    """A sum of n numbers near 1 one after the other errs by about n/2 roundings; in runs by a few."""
    x = np.random.default_rng(0).random(shape, np.float32) + np.float32(0.5)
    found = flambeau.from_numpy(x).sum(dims).numpy()
    exact = x.sum(dims, dtype=np.float64)
    assert (np.abs(found - exact) <= 12 * np.spacing(exact.astype(np.float32))).all()
    mean = flambeau.from_numpy(x).mean(dims).numpy()
    np.testing.assert_allclose(mean, x.mean(dims, dtype=np.float64), rtol=1e-6)


def test_long_sums_err_by_what_their_last_additions_do() -> None:
    """Numbers of both signs: lanes are summed in short runs, and added to each other only at the end."""
    x = np.random.default_rng(0).standard_normal((64, 18_392), np.float32)
    errors = flambeau.from_numpy(x).sum(1).numpy() - x.sum(1, dtype=np.float64)
    assert np.sqrt(np.mean(errors**2)) < 2.4e-5
