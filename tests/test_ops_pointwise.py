"""Pointwise operators, special functions, activations and losses against independent references."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special as special

import flambeau

RNG = np.random.default_rng(7)
SPECIAL = np.array([0.0, -0.0, math.inf, -math.inf, math.nan, 1e-310, -1e300, 1.0, -1.0, 0.5])

UNARY: dict[str, Callable[[Any], Any]] = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log2": np.log2, "log10": np.log10,
    "log1p": np.log1p, "sqrt": np.sqrt,
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "sinh": np.sinh, "cosh": np.cosh,
    "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "erf": special.erf,
    "erfc": special.erfc,
    "erfinv": special.erfinv, "sigmoid": special.expit, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc,
    "round": np.round,
    "square": np.square, "abs": np.abs, "sign": np.sign, "reciprocal": np.reciprocal, "deg2rad": np.deg2rad,
    "rad2deg": np.rad2deg,
    "sinc": np.sinc, "isnan": np.isnan, "isinf": np.isinf, "isfinite": np.isfinite, "signbit": np.signbit,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(UNARY))
def test_unary(name: str) -> None:
    x = np.concatenate([SPECIAL, RNG.normal(size=40) * 2, RNG.random(14)]).reshape(8, 8)
    with np.errstate(all="ignore"):
        expected = UNARY[name](x)
    function = getattr(flambeau, name)
    np.testing.assert_allclose(function(flambeau.tensor(x)).numpy(), expected, rtol=1e-13, atol=1e-300)
    turned = flambeau.tensor(x).t()[1:, ::3]
    np.testing.assert_allclose(function(turned).numpy(), expected.T[1:, ::3], rtol=1e-13, atol=1e-300)
    assert function(flambeau.tensor(0.25)).shape == ()
    assert function(flambeau.empty(0, 3)).shape == (0, 3)


@pytest.mark.parametrize("name", ["exp", "sqrt", "sin", "erf", "sigmoid", "reciprocal", "deg2rad", "sinc"])
def test_integers_become_floating(name: str) -> None:
    x = np.array([1, 2, 3])
    result = getattr(flambeau, name)(flambeau.tensor(x))
    assert result.dtype is flambeau.float32
    expected = UNARY[name](x.astype(np.float32)) if name in UNARY else None
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["floor", "ceil", "trunc", "round", "abs", "sign", "neg", "square"])
def test_integers_stay(name: str) -> None:
    result = getattr(flambeau, name)(flambeau.tensor([-3, 0, 4]))
    assert result.dtype is flambeau.int64
    expected = {"abs": [3, 0, 4], "sign": [-1, 0, 1], "neg": [3, 0, -4], "square": [9, 0, 16]}.get(name, [-3, 0, 4])
    assert result.tolist() == expected


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "true_divide": np.divide, "fmod": np.fmod,
    "remainder": np.mod,
    "floor_divide": np.floor_divide, "maximum": np.maximum, "minimum": np.minimum, "fmax": np.fmax, "fmin": np.fmin,
    "atan2": np.arctan2,
    "hypot": np.hypot, "copysign": np.copysign, "nextafter": np.nextafter, "logaddexp": np.logaddexp,
    "logaddexp2": np.logaddexp2,
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "logical_and": np.logical_and, "logical_or": np.logical_or, "logical_xor": np.logical_xor, "xlogy": special.xlogy,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BINARY))
def test_binary(name: str) -> None:
    values = np.array([0.0, math.inf, -math.inf, math.nan, 1.5, -2.25, 3.0])
    a, b = (m.copy() for m in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        expected = BINARY[name](a, b)
    if name in ("remainder", "floor_divide"):  # numpy and PyTorch differ at infinite operands
        a, b, expected = (m[4:, 4:] for m in (a, b, expected))
    result = getattr(flambeau, name)(flambeau.tensor(a), flambeau.tensor(b))
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-14)
    row = getattr(flambeau, name)(flambeau.tensor(a), flambeau.tensor(b[-1]))
    with np.errstate(all="ignore"):
        expected = BINARY[name](a, b[-1])
    np.testing.assert_allclose(row.numpy(), expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64"])
@pytest.mark.parametrize(
    "name", ["gcd", "lcm", "floor_divide", "remainder", "fmod", "bitwise_and", "bitwise_or", "bitwise_xor"]
)
def test_integer_pairs(name: str, dtype: str) -> None:
    low = 1 if dtype == "uint8" else -11
    a = RNG.integers(low, 12, (6, 5)).astype(dtype)
    b = RNG.integers(1, 12, (5,)).astype(dtype) * (1 if dtype == "uint8" else -1)
    result = getattr(flambeau, name)(flambeau.tensor(a), flambeau.tensor(b))
    assert str(result.dtype) == f"torch.{dtype}"
    assert (result.numpy() == getattr(np, name)(a, b)).all()


def test_promotion() -> None:
    f32, i64 = flambeau.ones(2), flambeau.ones(2, dtype=flambeau.int64)
    assert (f32 + i64).dtype is flambeau.float32
    assert (i64 / 2).dtype is flambeau.float32
    assert (i64 * 2.5).dtype is flambeau.float32
    assert (i64 + True).dtype is flambeau.int64
    assert (f32 + flambeau.tensor(1.0, dtype=flambeau.float64)).dtype is flambeau.float32
    assert (f32 * 1j).dtype is flambeau.complex64
    assert flambeau.float_power(i64, 2).dtype is flambeau.float64
    assert flambeau.clamp(i64, 0.5).dtype is flambeau.float32
    assert flambeau.ldexp(f32, i64).tolist() == [2.0, 2.0]


def test_frexp() -> None:
    x = np.array([0.0, -0.0, 1.0, -6.5, 1e-310, 5e-324, 1e308, math.inf, math.nan])
    mantissa, exponent = flambeau.frexp(flambeau.tensor(x))
    expected, power = np.frexp(x)
    np.testing.assert_array_equal(mantissa.numpy(), expected)
    assert exponent.dtype is flambeau.int32
    assert exponent.tolist()[:7] == power.tolist()[:7]
    single = flambeau.frexp(flambeau.tensor([1e-45, 3.0], dtype=flambeau.float32))
    assert single.mantissa.tolist() == [0.5, 0.75] and single.exponent.tolist() == [-148, 2]


def test_parts_of_complex_numbers_are_views() -> None:
    z = flambeau.tensor([[1 + 2j, 3 - 4j], [5j, 6]])
    z.real[0] = 9.0
    z.imag = 1.0
    assert z.tolist() == [[9 + 1j, 9 + 1j], [1j, 6 + 1j]]
    assert z.t().real.data_ptr() == z.data_ptr()
    x = flambeau.ones(3)
    assert x.real is x
    with pytest.raises(RuntimeError, match="imag"):
        flambeau.imag(x)
    leaf = flambeau.tensor([1 + 2j, 3 - 4j], requires_grad=True)
    (leaf.real * 2 + leaf.imag**2).sum().backward()
    assert leaf.grad.tolist() == [2 + 4j, 2 - 8j]


SCIPY = {
    "i0": special.i0, "i0e": special.i0e, "i1": special.i1, "i1e": special.i1e, "bessel_j0": special.j0,
    "bessel_j1": special.j1,
    "bessel_y0": special.y0, "bessel_y1": special.y1, "modified_bessel_k0": special.k0,
    "modified_bessel_k1": special.k1,
    "scaled_modified_bessel_k0": special.k0e, "scaled_modified_bessel_k1": special.k1e, "erfcx": special.erfcx,
    "ndtr": special.ndtr,
    "log_ndtr": special.log_ndtr, "ndtri": special.ndtri, "entr": special.entr, "gammaln": special.gammaln,
    "psi": special.psi,
    "airy_ai": lambda x: special.airy(x)[0], "spherical_bessel_j0": lambda x: special.spherical_jn(0, x),
    "expit": special.expit,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(SCIPY))
def test_special(name: str) -> None:
    x = np.concatenate([RNG.random(9) * 6, [0.01, 0.25, 0.75]]).reshape(3, 4)
    result = getattr(flambeau.special, name)(flambeau.tensor(x))
    np.testing.assert_allclose(result.numpy(), SCIPY[name](x), rtol=1e-12, atol=1e-14)
    half = getattr(flambeau.special, name)(flambeau.tensor(x).bfloat16())
    assert half.dtype is flambeau.bfloat16


def test_special_of_two_numbers() -> None:
    a, x = RNG.random((4, 1)) * 5 + 1.1, RNG.random(3) * 5 + 0.1
    s, t = flambeau.tensor(a), flambeau.tensor(x)
    np.testing.assert_allclose(flambeau.special.zeta(s, t).numpy(), special.zeta(a, x), rtol=1e-13)
    np.testing.assert_allclose(flambeau.special.gammainc(s, t).numpy(), special.gammainc(a, x), rtol=1e-13)
    np.testing.assert_allclose(flambeau.igammac(s, t).numpy(), special.gammaincc(a, x), rtol=1e-13)
    np.testing.assert_allclose(flambeau.special.xlog1py(s, t).numpy(), special.xlog1py(a, x), rtol=1e-13)
    np.testing.assert_allclose(flambeau.mvlgamma(s, 3).numpy(), _multigammaln(a, 3), rtol=1e-12)
    for n in range(4):
        np.testing.assert_allclose(flambeau.polygamma(n, t).numpy(), special.polygamma(n, x), rtol=1e-12)
    far = np.array([-3.7, -0.2, 0.3, 25.0, 1e5])
    np.testing.assert_allclose(flambeau.tensor(far).polygamma(1).numpy(), special.polygamma(1, far), rtol=1e-11)


def _multigammaln(a: np.ndarray, p: int) -> np.ndarray:
    return p * (p - 1) / 4 * math.log(math.pi) + sum(special.gammaln(a - j / 2) for j in range(p))


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("chebyshev_polynomial_t", special.eval_chebyt), ("chebyshev_polynomial_u", special.eval_chebyu),
        ("shifted_chebyshev_polynomial_t", special.eval_sh_chebyt), ("shifted_chebyshev_polynomial_u",
        special.eval_sh_chebyu),
        ("hermite_polynomial_h", special.eval_hermite), ("hermite_polynomial_he", special.eval_hermitenorm),
        ("laguerre_polynomial_l", special.eval_laguerre), ("legendre_polynomial_p", special.eval_legendre),
    ],
)  # fmt: skip
def test_polynomials(name: str, reference: Any) -> None:
    x, n = np.linspace(-1.5, 1.5, 7)[:, None], np.arange(13)
    result = getattr(flambeau.special, name)(flambeau.tensor(x), flambeau.tensor(n))
    np.testing.assert_allclose(result.numpy(), reference(n, x), rtol=1e-10, atol=1e-12)
    assert getattr(flambeau.special, name)(flambeau.tensor([0.5]), -1).tolist() == [0.0]


ACTIVATIONS = [
    ("relu", {}), ("relu6", {}), ("gelu", {}), ("gelu", {"approximate": "tanh"}), ("silu", {}), ("mish", {}), ("elu",
    {"alpha": 1.3}),
    ("celu", {"alpha": 0.7}), ("selu", {}), ("leaky_relu", {"negative_slope": 0.2}), ("hardsigmoid", {}), ("hardswish",
    {}),
    ("hardshrink", {"lambd": 0.3}), ("softshrink", {"lambd": 0.3}), ("softplus", {"beta": 2.0, "threshold": 3.0}),
    ("logsigmoid", {}),
    ("hardtanh", {"min_val": -0.5, "max_val": 0.7}), ("threshold", {"threshold": 0.1, "value": 2.0}), ("softsign", {}),
    ("tanhshrink", {}),
    ("glu", {}), ("softmin", {"dim": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments"), ACTIVATIONS, ids=[f"{n}{i}" for i, (n, _) in enumerate(ACTIVATIONS)])
def test_activation(name: str, arguments: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    values = RNG.normal(size=(3, 6)) * 3
    results = []
    for package in (flambeau, torch):
        x = package.tensor(values, requires_grad=True)
        y = getattr(package.nn.functional, name)(x, **arguments)
        (y * y).sum().backward()
        results.append((y.detach().numpy(), x.grad.numpy()))
    for ours, theirs in zip(*results):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-12)  # PyTorch rounds some constants to float32


@pytest.mark.parametrize(("name", "alpha"), [("elu", 1.3), ("celu", 0.7), ("celu", -0.7), ("selu", None)])
def test_exponential_activations_of_vectors_of_one_sign(name: str, alpha: float | None) -> None:
    """Vectors without a negative lane take another way than those with one: each lane counts for itself."""
    values = np.abs(np.random.default_rng(5).normal(size=300)).astype(np.float32)
    values[100:200] *= -1
    values[[7, 230, 299]] = -0.0, -1e-30, -2.5
    values[[31, 63, 110, 290, 150, 250]] = np.nan, np.inf, -np.inf, -3e-8, 1e-40, -1e-40
    x = values.astype(np.float64)
    low, high = {"elu": (alpha, 1), "celu": (alpha, 1), "selu": (1.0507009873554805 * 1.6732632423543772,
        1.0507009873554805)}[name]  # fmt: skip
    with np.errstate(over="ignore"):
        expected = np.where(x > 0, high * x, low * np.expm1(x / alpha if name == "celu" else x))
    result = getattr(flambeau.nn.functional, name)(
        flambeau.tensor(values), **({} if alpha is None else {"alpha": alpha})
    )
    np.testing.assert_allclose(result.numpy(), expected.astype(np.float32), rtol=4e-7, atol=1e-44)
    np.testing.assert_array_equal(
        np.signbit(result.numpy()[[7, 110]]), [low > 0, low > 0] if name != "celu" else [True] * 2
    )


def _losses() -> list[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    x, p = RNG.normal(size=(4, 5)), RNG.random((4, 5))
    p /= p.sum(1, keepdims=True)
    classes, w = np.array([1, 0, -100, 4]), RNG.random(5)
    sign = np.sign(RNG.normal(size=(4, 5)))
    labels = np.array([[0, 1, -1, 2, 3], [4, -1, 0, 0, 0], [-1, 0, 0, 0, 0], [0, 1, 2, 3, 4]])
    return [
        ("mse_loss", (x, p), {}), ("l1_loss", (x, p), {}), ("smooth_l1_loss", (x, p), {"beta": 0.5}), ("huber_loss", (x,
        p), {"delta": 0.7}),
        ("nll_loss", (x, classes), {"weight": w}), ("cross_entropy", (x * 30, classes), {"weight": w}),
        ("cross_entropy", (x, classes), {"weight": w, "label_smoothing": 0.2}), ("cross_entropy", (x, p), {"weight": w,
        "label_smoothing": 0.1}),
        ("cross_entropy", (x[0], np.array(2)), {}), ("binary_cross_entropy", (p, (sign + 1) / 2), {"weight": w}),
        ("binary_cross_entropy_with_logits", (x, p), {"weight": w, "pos_weight": w}), ("kl_div", (x, p), {}), ("kl_div",
        (x, x), {"log_target": True}),
        ("poisson_nll_loss", (x, p * 9), {"full": True}), ("gaussian_nll_loss", (x, p, p), {}), ("hinge_embedding_loss",
        (x, sign), {}),
        ("margin_ranking_loss", (x, p, sign), {"margin": 0.3}), ("soft_margin_loss", (x, sign), {}),
        ("multilabel_margin_loss", (x, labels), {}),
        ("multilabel_soft_margin_loss", (x, (sign + 1) / 2), {}), ("multi_margin_loss", (x, np.abs(classes) % 5),
        {"p": 2, "weight": w}),
        ("cosine_embedding_loss", (x, p, sign[:, 0]), {"margin": 0.1}), ("triplet_margin_loss", (x, p, sign),
        {"swap": True}),
    ]  # fmt: skip


LOSSES = _losses()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("case", range(len(LOSSES)), ids=[f"{n}{i}" for i, (n, _, _) in enumerate(LOSSES)])
def test_loss(case: int, reduction: str) -> None:
    torch = pytest.importorskip("torch")
    name, values, arguments = LOSSES[case]
    results = []
    for package in (flambeau, torch):
        tensors = [package.tensor(v) for v in values]
        tensors[0].requires_grad_()
        keywords = {k: package.tensor(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}
        loss = getattr(package.nn.functional, name)(*tensors, **keywords, reduction=reduction)
        (loss * loss).sum().backward()
        results.append((loss.detach().numpy(), tensors[0].grad.numpy()))
    for ours, theirs in zip(*results):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_cross_entropy_of_huge_scores() -> None:
    x = flambeau.tensor([[1e4, 1e4 - 1.0, -1e4], [-math.inf, 3.0, 2.0]], requires_grad=True)
    loss = flambeau.nn.functional.cross_entropy(x, flambeau.tensor([1, 1]), reduction="none")
    expected = [1 + math.log1p(math.exp(-1)), math.log1p(math.exp(-1))]
    np.testing.assert_allclose(loss.detach().numpy(), expected, rtol=1e-6)
    loss.sum().backward()
    assert np.isfinite(x.grad.numpy()).all()
    with pytest.raises(IndexError):
        flambeau.nn.functional.cross_entropy(x, flambeau.tensor([1, 3]))


GRADCHECKED: dict[str, Callable[..., Any]] = {
    "pow": lambda a, b: a.abs() ** b, "atan2": lambda a, b: flambeau.atan2(a, b), "logaddexp": lambda a,
    b: flambeau.logaddexp(a, b),
    "logaddexp2": lambda a, b: flambeau.logaddexp2(a, b), "xlogy": lambda a, b: flambeau.xlogy(a, b.abs()),
    "hypot": lambda a, b: flambeau.hypot(a, b),
    "lerp": lambda a, b: flambeau.lerp(a, b, a * b), "addcdiv": lambda a, b: flambeau.addcdiv(a, b, a, value=2.5),
    "addcmul": lambda a, b: flambeau.addcmul(a, b, a, value=2.5), "clamp": lambda a, b: flambeau.clamp(a, b - 1,
    b + 0.5),
    "sinc": lambda a, b: flambeau.sinc(a), "i1e": lambda a, b: flambeau.special.i1e(a), "erfcx": lambda a,
    b: flambeau.special.erfcx(a),
    "polygamma": lambda a, b: flambeau.polygamma(2, a.abs()), "log_ndtr": lambda a, b: flambeau.special.log_ndtr(a),
    "zeta": lambda a, b: flambeau.special.zeta(2.5, a.abs()), "entr": lambda a, b: flambeau.special.entr(a.abs()),
    "frexp": lambda a, b: flambeau.frexp(a).mantissa, "mvlgamma": lambda a, b: flambeau.mvlgamma(a.abs() + 1, 2),
    "igamma": lambda a, b: flambeau.igamma(flambeau.tensor(1.7), a.abs()), "float_power": lambda a,
    b: flambeau.float_power(a.abs(), b),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(GRADCHECKED))
def test_gradients(name: str) -> None:
    a, b = (flambeau.tensor(RNG.normal(size=(2, 3)) + 0.1, requires_grad=True) for _ in range(2))
    assert flambeau.autograd.gradcheck(GRADCHECKED[name], (a, b))


COMPLEX = [
    "exp",
    "log",
    "sqrt",
    "sin",
    "cos",
    "tan",
    "tanh",
    "asin",
    "acos",
    "atan",
    "asinh",
    "acosh",
    "atanh",
    "reciprocal",
    "square",
    "sgn",
    "sigmoid",
]


@pytest.mark.parametrize("name", COMPLEX)
def test_complex(name: str) -> None:
    z = RNG.normal(size=(3, 4)) + 1j * RNG.normal(size=(3, 4))
    names = {
        "asin": "arcsin",
        "acos": "arccos",
        "atan": "arctan",
        "asinh": "arcsinh",
        "acosh": "arccosh",
        "atanh": "arctanh",
    }
    special_cases = {"sgn": lambda v: v / np.abs(v), "sigmoid": lambda v: 1 / (1 + np.exp(-v))}
    reference = special_cases.get(name) or getattr(np, names.get(name, name))
    leaf = flambeau.tensor(z, requires_grad=True)
    np.testing.assert_allclose(getattr(flambeau, name)(leaf).detach().numpy(), reference(z), rtol=1e-12)
    assert flambeau.autograd.gradcheck(getattr(flambeau, name), (leaf,))


def test_in_place() -> None:
    x = flambeau.tensor([1.0, 4.0, 9.0])
    assert x.sqrt_() is x and x.tolist() == [1.0, 2.0, 3.0]
    assert x.clamp_(max=2).tolist() == [1.0, 2.0, 2.0]
    assert x.lerp_(flambeau.zeros(3), 0.5).tolist() == [0.5, 1.0, 1.0]
    with pytest.raises(RuntimeError, match="can't be cast"):
        flambeau.tensor([1, 2]).sqrt_()
    with pytest.raises(RuntimeError, match="float_power_"):
        x.float_power_(2)


def test_errors() -> None:
    booleans, z = flambeau.tensor([True]), flambeau.tensor([1j])
    with pytest.raises(RuntimeError, match="bool"):
        booleans - booleans
    with pytest.raises(RuntimeError, match="not supported"):
        -booleans
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        flambeau.tensor([1]) // 0
    with pytest.raises(RuntimeError, match="negative integer powers"):
        flambeau.tensor([2]) ** -1
    with pytest.raises(RuntimeError, match="complex"):
        z < z  # noqa: B015
    with pytest.raises(RuntimeError, match="must match the size"):
        flambeau.ones(2) + flambeau.ones(3)
    with pytest.raises(RuntimeError, match="not implemented"):
        flambeau.gcd(flambeau.ones(2), flambeau.ones(2))
    with pytest.raises(RuntimeError, match="frexp"):
        flambeau.frexp(flambeau.tensor([1]))
    with pytest.raises(RuntimeError, match="negative n"):
        flambeau.polygamma(-1, flambeau.ones(1))
    with pytest.raises(RuntimeError, match="At least one of"):
        flambeau.clamp(z.real)
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        flambeau.nn.functional.binary_cross_entropy(flambeau.tensor([1.5]), flambeau.tensor([1.0]))
    with pytest.raises(ValueError, match="batch_size"):
        flambeau.nn.functional.cross_entropy(flambeau.ones(2, 3), flambeau.tensor([1]))
    with pytest.raises(RuntimeError, match="derivative"):
        flambeau.special.bessel_j0(flambeau.ones(1, requires_grad=True)).backward()


def test_operands_that_must_be_tensors() -> None:
    x = flambeau.ones(2)
    for name, operands in {
        "atan2": (x, 2),
        "hypot": (2, x),
        "fmod": (2, x),
        "pow": (2, 3),
        "float_power": (2, 3),
        "rsub": (2, x),
        "ldexp": (x, 2),
        "isclose": (x, 2),
    }.items():
        with pytest.raises(TypeError, match="must be Tensor"):
            getattr(flambeau, name)(*operands)
    assert flambeau.rsub(x, 3, 2).tolist() == [1.0, 1.0]
    assert flambeau.copysign(x, -1).tolist() == [-1.0, -1.0]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64"])
def test_divisors_of_extreme_numbers(dtype: str) -> None:
    info = np.iinfo(dtype)
    some = [0, 1, 2, 3, 60, 97, info.max, info.max - 1, info.min, info.min + 1]
    some += [] if dtype == "uint8" else [-1, -60]
    a, b = (v.reshape(-1).astype(dtype) for v in np.meshgrid(some, some))
    wrap = 1 << info.bits
    wanted = [math.gcd(int(x), int(y)) % wrap for x, y in zip(a, b)]
    found = flambeau.gcd(flambeau.from_numpy(a), flambeau.from_numpy(b))
    assert [int(v) % wrap for v in found] == wanted
    for x, y, v in zip(a.tolist(), b.tolist(), flambeau.lcm(flambeau.from_numpy(a), flambeau.from_numpy(b)).tolist()):
        if math.lcm(x, y) <= info.max:
            assert v == math.lcm(x, y)
