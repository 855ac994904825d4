"""Operators of neural networks against PyTorch: convolution, products, normalisation, resizing, sampling, CTC."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import flambeau
import flambeau.nn.functional as F

torch = pytest.importorskip("torch")
TF = torch.nn.functional


def _both(call: Any, reference: Any, *arrays: np.ndarray, tol: float = 2e-5) -> None:
    """Compares results and the gradients of all floating arguments."""
    ours = [flambeau.tensor(a) for a in arrays]
    theirs = [torch.tensor(a) for a in arrays]
    for group in (ours, theirs):
        for t in group:
            if t.is_floating_point() or t.is_complex():
                t.requires_grad_()
    y, z = call(*ours), reference(*theirs)
    assert tuple(y.shape) == tuple(z.shape) and str(y.dtype) == str(z.dtype)
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=tol, atol=tol)
    if not z.requires_grad:
        return
    weight = np.random.default_rng(5).standard_normal(tuple(z.shape)).astype(z.detach().numpy().dtype)
    y.backward(flambeau.tensor(weight))
    z.backward(torch.tensor(weight))
    for a, b in zip(ours, theirs):
        if b.grad is not None:
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=10 * tol, atol=10 * tol)


def _normal(*shape: int, dtype: str = "float32") -> np.ndarray:
    rng = np.random.default_rng(sum(shape) + len(shape))
    x = rng.standard_normal(shape)
    return (x + 1j * rng.standard_normal(shape)).astype(dtype) if dtype.startswith("complex") else x.astype(dtype)


@pytest.mark.parametrize(
    ("x", "w", "options"),
    [
        ((2, 3, 7, 8), (4, 3, 3, 3), {"padding": 1}),
        ((2, 4, 9, 8), (6, 2, 3, 2), {"stride": (2, 3), "padding": (1, 0), "dilation": 2, "groups": 2}),
        ((1, 5, 6, 6), (5, 1, 3, 3), {"padding": 1, "groups": 5}),  # depthwise
        ((3, 2, 10), (4, 2, 3), {"stride": 2}),
        ((1, 2, 4, 5, 4), (3, 2, 2, 2, 2), {"padding": 1}),
        ((2, 3, 6, 6), (4, 3, 2, 2), {"padding": "same"}),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_convolution(x: tuple[int, ...], w: tuple[int, ...], options: dict[str, Any], dtype: str) -> None:
    name = f"conv{len(x) - 2}d"
    _both(
        lambda a, b, c: getattr(F, name)(a, b, c, **options), lambda a, b, c: getattr(TF, name)(a, b, c, **options),
        _normal(*x, dtype=dtype), _normal(*w, dtype=dtype), _normal(w[0], dtype=dtype),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("x", "w", "options"),
    [
        ((2, 4, 5, 5), (4, 3, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
        ((2, 4, 4), (4, 1, 3), {"stride": 3, "groups": 4}),
        (
            (2, 4, 4, 4),
            (4, 1, 4, 5),
            {"stride": (3, 2), "padding": (1, 2), "output_padding": (2, 3), "groups": 2, "dilation": 4},
        ),
    ],
)
def test_transposed_convolution(x: tuple[int, ...], w: tuple[int, ...], options: dict[str, Any]) -> None:
    name = f"conv_transpose{len(x) - 2}d"
    _both(
        lambda a, b: getattr(F, name)(a, b, **options),
        lambda a, b: getattr(TF, name)(a, b, **options),
        _normal(*x),
        _normal(*w),
        tol=5e-5,
    )


def test_convolution_of_integers_and_of_nothing() -> None:
    x, w = np.arange(64).reshape(2, 4, 8), np.arange(12).reshape(2, 2, 3)
    got = F.conv1d(flambeau.tensor(x), flambeau.tensor(w), stride=3, padding=1, groups=2, dilation=2)
    want = TF.conv1d(torch.tensor(x), torch.tensor(w), stride=3, padding=1, groups=2, dilation=2)
    assert got.tolist() == want.tolist()
    assert F.conv2d(flambeau.zeros(0, 3, 5, 5), flambeau.zeros(2, 3, 3, 3)).shape == (0, 2, 3, 3)
    with pytest.raises(RuntimeError, match="channels"):
        F.conv2d(flambeau.zeros(1, 4, 5, 5), flambeau.zeros(2, 3, 3, 3))


def test_second_derivative_of_convolution() -> None:
    x = flambeau.tensor(_normal(1, 2, 5, 5, dtype="float64"), requires_grad=True)
    w = flambeau.tensor(_normal(3, 2, 3, 3, dtype="float64"), requires_grad=True)
    assert flambeau.autograd.gradgradcheck(lambda a, b: F.conv2d(a, b, stride=2, padding=1), (x, w))


@pytest.mark.parametrize("beta_alpha", [(1, 1), (0.5, 2.0), (0, 1.5)])
def test_sums_with_products(beta_alpha: tuple[float, float]) -> None:
    beta, alpha = beta_alpha
    cases = {
        "addmv": [(3,), (3, 4), (4,)],
        "addr": [(3, 4), (3,), (4,)],
        "addbmm": [(3, 5), (2, 3, 4), (2, 4, 5)],
        "baddbmm": [(5,), (2, 3, 4), (2, 4, 5)],
    }
    for name, shapes in cases.items():
        _both(
            lambda *t, name=name: getattr(flambeau, name)(*t, beta=beta, alpha=alpha),
            lambda *t, name=name: getattr(torch, name)(*t, beta=beta, alpha=alpha), *(_normal(*s) for s in shapes),
        )  # fmt: skip


def test_addr_of_booleans() -> None:
    a, b, c = flambeau.tensor([True, False]), flambeau.tensor([True, False]), flambeau.tensor([False, True])
    assert flambeau.addr(a, b, c, beta=3, alpha=2).tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize(
    "shapes",
    [((3, 4), (2, 4, 5)), ((2, 3, 4), (4, 5)), ((4,), (2, 4, 5)), ((5, 5, 0), (0, 5)), ((2, 1, 3, 4), (5, 4, 2))],
)
def test_matmul(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    _both(flambeau.matmul, torch.matmul, *(_normal(*s) for s in shapes))


_RESIZED = [
    ("nearest", (2, 3, 5), (8,)), ("nearest", (1, 2, 5, 6), (3, 9)), ("nearest-exact", (1, 2, 3, 4, 5), (5, 3, 5)),
    ("area", (1, 2, 5, 6), (3, 4)),
    ("linear", (2, 3, 5), (8,)), ("bilinear", (1, 2, 5, 6), (9, 3)), ("bicubic", (1, 2, 5, 6), (9, 3)), ("trilinear",
    (1, 2, 3, 4, 5), (5, 2, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("mode", "shape", "size"), _RESIZED)
def test_interpolate_to_size(mode: str, shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    for align in (None,) if mode in ("nearest", "nearest-exact", "area") else (False, True):
        _both(
            lambda x, align=align: F.interpolate(x, size, mode=mode, align_corners=align),
            lambda x, align=align: TF.interpolate(x, size, mode=mode, align_corners=align), _normal(*shape),
        )  # fmt: skip


@pytest.mark.parametrize("factor", [2, 0.6, 1.7, (0.5, 3)])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_interpolate_by_factor(mode: str, factor: Any) -> None:
    for again in (None, True):
        _both(
            lambda x, again=again: F.interpolate(x, scale_factor=factor, mode=mode, recompute_scale_factor=again),
            lambda x, again=again: TF.interpolate(x, scale_factor=factor, mode=mode, recompute_scale_factor=again),
            _normal(1, 2, 5, 6),
        )  # fmt: skip


@pytest.mark.parametrize("size", [(3, 4), (17, 20), (1, 1)])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("align", [False, True])
def test_interpolate_smoothed(mode: str, size: tuple[int, int], align: bool) -> None:
    _both(
        lambda x: F.interpolate(x, size, mode=mode, antialias=True, align_corners=align),
        lambda x: TF.interpolate(x, size, mode=mode, antialias=True, align_corners=align), _normal(2, 1, 13, 9),
        tol=5e-5,
    )  # fmt: skip


def test_interpolate_checks_its_arguments() -> None:
    x = flambeau.zeros(1, 1, 4, 4)
    with pytest.raises(ValueError, match="either size or scale_factor"):
        F.interpolate(x)
    with pytest.raises(ValueError, match="only one of"):
        F.interpolate(x, 3, 2.0)
    with pytest.raises(ValueError, match="align_corners"):
        F.interpolate(x, 3, align_corners=True)
    with pytest.raises(ValueError, match="Anti-alias"):
        F.interpolate(x, 3, antialias=True)
    with pytest.raises(NotImplementedError, match="4D input"):
        F.interpolate(x, 3, mode="linear")
    with pytest.raises(RuntimeError, match="greater than 0"):
        F.interpolate(x, (0, 3))


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("align", [False, True])
def test_grid_sample(mode: str, padding: str, align: bool) -> None:
    grid = np.random.default_rng(2).uniform(-1.6, 1.6, (2, 3, 5, 2)).astype("float32")
    _both(
        lambda x, g: F.grid_sample(x, g, mode, padding, align), lambda x, g: TF.grid_sample(x, g, mode, padding, align),
        _normal(2, 3, 5, 4), grid,
        tol=5e-5,
    )  # fmt: skip


def test_grid_sample_of_volumes_and_far_places() -> None:
    grid = np.random.default_rng(2).uniform(-1.2, 1.2, (1, 2, 3, 2, 3)).astype("float32")
    _both(
        lambda x, g: F.grid_sample(x, g, align_corners=True),
        lambda x, g: TF.grid_sample(x, g, align_corners=True),
        _normal(1, 2, 3, 4, 3),
        grid,
    )
    far = flambeau.tensor([[[[1e30, 0.0], [math.inf, 0.0], [math.nan, 0.0]]]])
    assert F.grid_sample(flambeau.ones(1, 1, 3, 3), far, align_corners=False).tolist() == [[[[0.0, 0.0, 0.0]]]]
    with pytest.raises(RuntimeError, match="same batch size"):
        F.grid_sample(flambeau.ones(1, 1, 3, 3), flambeau.zeros(2, 1, 1, 2), align_corners=False)


@pytest.mark.parametrize("size", [(3, 1, 4, 5), (3, 2, 1, 6), (3, 1, 2, 3, 4)])
@pytest.mark.filterwarnings("ignore:Since version 1.3.0")
def test_affine_grid(size: tuple[int, ...]) -> None:
    n = len(size) - 2
    for align in (False, True):
        _both(
            lambda t, align=align: F.affine_grid(t, size, align),
            lambda t, align=align: TF.affine_grid(t, size, align),
            _normal(3, n, n + 1),
        )


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_ctc_loss(reduction: str) -> None:
    targets = np.array([[1, 1, 2], [3, 2, 0], [1, 0, 0], [2, 2, 2]])
    inputs, lengths = [7, 6, 3, 5], [3, 2, 0, 3]

    def call(f: Any, make: Any) -> Any:
        return lambda x: f.ctc_loss(x.log_softmax(-1), make(targets), make(inputs), make(lengths), reduction=reduction)

    _both(call(F, flambeau.tensor), call(TF, torch.tensor), _normal(7, 4, 5))


def test_ctc_loss_of_impossible_targets() -> None:
    x = flambeau.tensor(_normal(2, 1, 4), requires_grad=True)
    targets = flambeau.tensor([[1, 1]])
    assert (
        F.ctc_loss(x.log_softmax(-1), targets, [2], [2], reduction="sum").item() == math.inf
    )  # equal labels need a blank between them
    loss = F.ctc_loss(x.log_softmax(-1), targets, [2], [2], reduction="sum", zero_infinity=True)
    loss.backward()
    assert loss.item() == 0 and not x.grad.any()
    with pytest.raises(RuntimeError, match="blank must be"):
        F.ctc_loss(x, targets, [2], [2], blank=4)
    with pytest.raises(RuntimeError, match="input_lengths"):
        F.ctc_loss(x, targets, [3], [2])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normalisations(dtype: str) -> None:
    x, w, b = _normal(3, 6, 4, dtype=dtype), _normal(6, dtype=dtype), _normal(6, dtype=dtype)
    _both(lambda *t: F.group_norm(t[0], 3, t[1], t[2]), lambda *t: TF.group_norm(t[0], 3, t[1], t[2]), x, w, b)
    _both(
        lambda *t: F.batch_norm(t[0], None, None, t[1], t[2], True),
        lambda *t: TF.batch_norm(t[0], None, None, t[1], t[2], True),
        x,
        w,
        b,
    )
    _both(lambda *t: flambeau.layer_norm(t[0], (4,)), lambda *t: torch.layer_norm(t[0], (4,)), x)


def test_half_precision_attention() -> None:
    q, k, v = (torch.randn(2, 5, 8) for _ in range(3))
    ours = [flambeau.tensor(t.numpy()).to(flambeau.bfloat16).requires_grad_() for t in (q, k, v)]
    exact = [t.bfloat16().double().requires_grad_() for t in (q, k, v)]
    F.scaled_dot_product_attention(*ours, is_causal=True).float().sum().backward()
    TF.scaled_dot_product_attention(*exact, is_causal=True).sum().backward()
    for a, e in zip(ours, exact):
        np.testing.assert_allclose(a.grad.float().numpy(), e.grad.numpy(), rtol=0.05, atol=0.05)


def test_no_gradient_where_results_do_not_depend_differentiably() -> None:
    flambeau.manual_seed(0)
    a, b = (flambeau.randn(5, 5, dtype=flambeau.float64, requires_grad=True) for _ in range(2))
    sign = flambeau.tensor([1.0, -1, 1, -1, 1], dtype=flambeau.float64, requires_grad=True)  # only compared with
    loss = flambeau.nn.functional.cosine_embedding_loss(a, b, sign, margin=0.3)
    grads = flambeau.autograd.grad(loss, (a, b, sign), create_graph=True, allow_unused=True)
    assert grads[2] is None and grads[0].requires_grad
    again = flambeau.autograd.grad(grads[0].sum(), (a, sign), allow_unused=True)
    assert again[0] is not None and again[1] is None
    loss.backward()
    assert sign.grad is None and a.grad is not None
