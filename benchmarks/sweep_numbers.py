"""What `sweep.py` times: elementwise operators, reductions, scans, sorting, creation and random numbers."""

from __future__ import annotations

from sweep_group import Group, each

__all__ = ["GROUPS"]

_X = "x = torch.randn(n // 1024, 1024)"
_UNIT = "x = torch.rand(n // 1024, 1024) * 0.9 + 0.05"  # inside of the domain of nearly everything
_ABOVE = "x = torch.rand(n // 1024, 1024) + 1.05"
_XY = "x, y = torch.randn(n // 1024, 1024), torch.randn(n // 1024, 1024)"
_POSITIVE = "x, y = torch.rand(n // 1024, 1024) + 0.5, torch.rand(n // 1024, 1024) + 0.5"
_INTEGERS = "x, y = torch.randint(1, 60, (n // 2048, 1024)), torch.randint(1, 9, (n // 2048, 1024))"
_FLAGS = "x, y = torch.randn(n // 256, 1024) > 0, torch.randn(n // 256, 1024) > 1"
_COMPLEX = "x = torch.randn(n // 2048, 1024, dtype=torch.complex64)"
_IMAGE = "x = torch.randn(max(n // 65536, 1), 64, 32, 32)"
_SMALL = "x = torch.rand(n // 8192, 1024) + 0.5"  # an eighth: functions that cost 20 to 100 times as much as the others
_ONE_ROW = "x = torch.randn(n // 4)"

_ELEMENTWISE = (
    "abs acos angle asin asinh atan atanh ceil conj_physical cos cosh deg2rad digamma erf erfc erfinv exp exp2 expm1"
    " floor frac i0 lgamma log log10 log1p log2 logit nan_to_num neg positive rad2deg reciprocal relu round rsqrt selu"
    " sgn sigmoid sign sin sinc sinh sqrt square tan tanh trunc"
)
_TESTS = "isfinite isinf isnan isneginf isposinf isreal logical_not signbit"
_ACTIVATIONS = (
    "celu elu gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu logsigmoid mish relu6 silu softplus softshrink"
    " softsign tanhshrink"
)
_PAIRS = "add atan2 copysign div fmax fmin fmod hypot logaddexp logaddexp2 maximum minimum mul remainder rsub sub"
_SPECIAL = "entr erfcx i0e i1 i1e log_ndtr ndtr ndtri"
_BESSEL = (
    "airy_ai bessel_j0 bessel_j1 bessel_y0 bessel_y1 modified_bessel_i0 modified_bessel_i1 modified_bessel_k0"
    " modified_bessel_k1 scaled_modified_bessel_k0 scaled_modified_bessel_k1 spherical_bessel_j0"
)
_POLYNOMIALS = (
    "chebyshev_polynomial_t chebyshev_polynomial_u chebyshev_polynomial_v chebyshev_polynomial_w hermite_polynomial_h"
    " hermite_polynomial_he laguerre_polynomial_l legendre_polynomial_p shifted_chebyshev_polynomial_t"
    " shifted_chebyshev_polynomial_u shifted_chebyshev_polynomial_v shifted_chebyshev_polynomial_w"
)
_INPLACE = (
    "abs_() exp_() sigmoid_() tanh_() relu_() neg_() sqrt_() clamp_(-1, 1) add_(y) sub_(y) mul_(0.99) div_(1.01)"
    " copy_(y) zero_() fill_(1.0) lerp_(y,0.1) addcmul_(y,y,value=0.1) addcdiv_(y,y,value=0.1)"
    " floor_() masked_fill_(m,0.0)  tril_() triu_() fill_diagonal_(1.0)"
)

ELEMENTWISE = [
    Group(_UNIT, "x", each("torch.{}(x)", _ELEMENTWISE)),
    Group(_UNIT, "", each("torch.{}(x)", _TESTS)),
    Group(_ABOVE, "x", ("torch.acosh(x)", "torch.polygamma(1, x)", "torch.mvlgamma(x + 1, 2)")),
    Group(_X, "x", each("F.{}(x)", _ACTIVATIONS)),
    Group(
        _X + "; w = torch.full((1,), 0.25)",
        "x",
        ("F.threshold(x, 0.1, 0.0)", "F.prelu(x, w)", "F.rrelu(x, 0.1, 0.3)", "F.glu(x)", "x ** 2", "x ** 3", "x * 2"),
    ),
    Group(
        _X,
        "x",
        ("x.clamp(-1, 1)", "x.clamp_min(0.1)", "x.clamp_max(0.1)", "torch.clip(x, -1, 1)", "torch.fill(x, 1.0)")
        + ("torch.frexp(x)[0]",),
    ),
    Group(_XY, "x y", each("torch.{}(x, y)", _PAIRS)),
    Group(_POSITIVE, "x y", ("torch.pow(x, y)", "torch.xlogy(x, y)", "torch.special.xlog1py(x, y)")),
    Group(_POSITIVE, "", ("torch.heaviside(x, y)", "torch.nextafter(x, y)", "torch.floor_divide(x, y)")),
    Group(_POSITIVE, "x", ("torch.float_power(x, 2)", "torch.div(x, y, rounding_mode='floor')", "x.true_divide(3)")),
    Group(_XY, "", each("torch.{}(x, y)", "eq ge gt le lt ne isclose logical_and logical_or logical_xor")),
    Group(_XY, "", ("torch.equal(x, x + 0)", "torch.allclose(x, x)", "x == 1.0", "x > 0")),
    Group(_X + "; y = torch.randn(1024); z = torch.randn(n // 1024, 1)", "x y", ("x + y", "x * y", "x / (y + 9)")),
    Group(_X + "; y = torch.randn(n // 1024, 1)", "x y", ("x + y", "x * y")),
    Group(
        _XY + "; m = x > 0; z = torch.rand(n // 1024, 1024) + 1",
        "x y",
        ("torch.lerp(x, y, 0.3)", "torch.lerp(x, y, z)", "torch.addcmul(x, x, y, value=0.5)", "torch.addcdiv(x, y, z)")
        + ("torch.where(m, x, y)",),
    ),
    Group(_X + "; m = x > 1", "x", ("x.masked_fill(m, 0.0)",)),
    Group(_XY + "; m = x > 1", "", tuple("x." + c for c in _INPLACE.replace(", ", ",").split())),
    Group(
        _X, "", each("F.{}(x, inplace=True)", "leaky_relu elu silu hardtanh hardsigmoid hardswish mish relu6 celu selu")
    ),
    Group(_INTEGERS, "", each("torch.{}(x, y)", "bitwise_and bitwise_or bitwise_xor gcd lcm")),
    Group(_INTEGERS, "", each("torch.{}(x, y)", "bitwise_left_shift bitwise_right_shift ldexp floor_divide remainder")),
    Group(_INTEGERS, "", ("x + y", "x * y", "x // 7", "x % 7", "-x", "x == y", "torch.bitwise_not(x)", "x.sum()")),
    Group(_INTEGERS, "", ("x.sum(1)", "x.max()", "x.max(1)", "x.float()", "x.to(torch.int32)", "x.cumsum(1)", "x / y")),
    Group(_FLAGS, "", ("x & y", "x | y", "~x", "x.any()", "x.all()", "x.any(1)", "x.all(1)", "x.sum()", "x.float()")),
    Group(_FLAGS, "", ("x.logical_and(y)", "x.nonzero()", "x.count_nonzero()", "x.long()", "x == y")),
    Group(
        _COMPLEX + "; y = torch.randn_like(x)",
        "x",
        ("x + y", "x * y", "x / y", "x.abs()", "x.angle()", "x.real + 0", "x.imag + 0", "torch.exp(x)", "x.sum()")
        + ("x.conj() * y", "x.conj_physical()", "torch.view_as_real(x) + 0", "x.conj().resolve_conj()", "x.mean(1)")
        + ("torch.sqrt(x)", "torch.log(x)", "torch.sin(x)", "torch.tanh(x)", "x.sgn()", "torch.reciprocal(x)"),
    ),
    Group(
        "x, y = torch.randn(n // 2048, 1024), torch.randn(n // 2048, 1024)",
        "x y",
        ("torch.complex(x, y)", "torch.polar(x.abs(), y)", "torch.view_as_complex(torch.stack([x, y], -1))"),
    ),
    Group(_UNIT, "x", each("torch.special.{}(x)", _SPECIAL)),
    Group(_SMALL, "", each("torch.special.{}(x)", _BESSEL)),
    Group(_SMALL + "; k = torch.randint(0, 5, (1024,))", "", each("torch.special.{}(x, k)", _POLYNOMIALS)),
    Group(
        _SMALL + "; y = x + 1",
        "",
        ("torch.special.zeta(y, x)", "torch.igamma(x, y)", "torch.igammac(x, y)"),
    ),
    Group(
        _X,
        "",
        each("x.{}()", "double half bfloat16 int long short char byte bool cfloat clone")
        + ("x.to(torch.float64)", "x.type(torch.int16)", "x.type_as(x.double()) + 0"),
    ),
    Group(_X, "x", ("x.double()", "x.bfloat16()", "x.half()", "x.clone()")),
    Group(
        "x, y = torch.randn(n // 512, 1024).bfloat16(), torch.randn(n // 512, 1024).bfloat16()", "x", ("x + y", "x * y")
    ),
    Group(
        "x = torch.randn(n // 512, 1024).bfloat16()",
        "x",
        ("F.gelu(x)", "x.softmax(1)", "x.sum(1)", "x.exp()", "x.float()"),
    ),
]

_REDUCE = "sum mean amax amin prod var std nansum nanmean median nanmedian"
_NO_GRADIENT = "argmax argmin all any count_nonzero"

REDUCTIONS = [
    Group(
        _UNIT,
        "x",
        each("x.{}()", _REDUCE) + ("x.norm()", "x.max()", "x.min()", "torch.std_mean(x)", "torch.var_mean(x)"),
    ),
    Group(_UNIT, "x", each("x.{}(1)", _REDUCE + " logsumexp max min")),
    Group(_UNIT, "x", each("x.{}(0)", _REDUCE + " logsumexp max min")),
    Group(
        _X,
        "x",
        ("x.norm(dim=1)", "x.norm(dim=0)", "x.norm(1)", "torch.linalg.vector_norm(x, 3)", "torch.aminmax(x)[0]")
        + ("torch.var_mean(x, 1)", "torch.std_mean(x, 0)", "torch.aminmax(x, dim=1)[0]", "torch.dist(x, x + 1)")
        + ("x.sum((0, 1), keepdim=True)", "x.t().sum(1)", "x.sum_to_size(1, 1024)", "x.trace()", "x.renorm(2, 0, 1.0)")
        + ("torch.quantile(x, 0.3)", "torch.quantile(x, 0.3, 1)", "torch.nanquantile(x, 0.3, 1)", "x.kthvalue(9, 1)")
        + ("x.mode(1)", "x.diff()", "torch.gradient(x)[0]", "torch.trapezoid(x)", "torch.cumulative_trapezoid(x)")
        + ("x.softmax(1)", "x.softmax(0)", "x.log_softmax(1)", "x.log_softmax(0)", "F.softmin(x, 1)", "F.normalize(x)")
        + ("F.gumbel_softmax(x)", "torch.corrcoef(x)", "torch.cov(x)"),
    ),
    Group(_X, "", each("x.{}()", _NO_GRADIENT) + each("x.{}(1)", _NO_GRADIENT) + each("x.{}(0)", _NO_GRADIENT)),
    Group(_IMAGE, "x", ("x.sum((0, 2, 3))", "x.mean((2, 3))", "x.amax((2, 3))", "x.var((0, 2, 3))", "x.mean(1)")),
    Group(_X + "; m = x > 0", "x", ("torch.masked.sum(x, 1, mask=m)", "torch.masked.mean(x, 1, mask=m)")),
    Group(_X + "; m = x > 0", "x", ("torch.masked.softmax(x, 1, mask=m)", "torch.masked.amax(x, 1, mask=m)")),
    Group(
        _X + "; m = x > 0",
        "",
        each("torch.masked.{}(x, 1, mask=m)", "amin argmax argmin log_softmax logsumexp median prod softmin std var")
        + each("torch.masked.{}(x, 1, mask=m)", "cumprod cumsum")
        + ("torch.masked.norm(x, 2, 1, mask=m)", "torch.masked.normalize(x, 2, 1, mask=m)"),
    ),
]

ORDER = [
    Group(_UNIT, "x", each("x.{}(1)", "cumsum cumprod logcumsumexp cummax cummin")),
    Group(_UNIT, "x", each("x.{}(0)", "cumsum cumprod logcumsumexp cummax cummin")),
    Group(_X, "x", ("x.view(-1).cumsum(0)", "x.view(-1).cumprod(0)", "x.view(-1).logcumsumexp(0)")),
    Group(
        _X,
        "x",
        ("x.sort(1)", "x.sort(0)", "x.sort(1, descending=True)", "x.topk(10, 1)", "x.topk(10, 0)", "x.msort()"),
    ),
    Group(_X, "", ("x.argsort(1)", "x.argsort(0)", "x.sort(dim=1, stable=True)", "torch.unique(x)")),
    Group(_ONE_ROW, "x", ("x.sort()", "x.topk(100)", "x.median()", "x.kthvalue(99)")),
    Group(
        "x = torch.randint(0, 1000, (n // 2,)); w = torch.rand(n // 2)",
        "",
        ("x.sort()", "x.bincount()", "x.bincount(w)", "x.unique()", "x.unique(return_inverse=True, return_counts=True)")
        + ("x.unique_consecutive()", "x.mode()", "torch.isin(x, x[:50])"),
    ),
    Group(
        _X + "; e = torch.linspace(-3, 3, 100)",
        "",
        (
            "x.histc(100)",
            "x.histogram(e)",
            "torch.histogram(x, 100)",
            "torch.bucketize(x, e)",
            "torch.searchsorted(e, x)",
        ),
    ),
    Group("x = torch.randn(n // 4, 2)", "", ("torch.histogramdd(x, [20, 20])",)),
    Group(
        _X + "; m = x > 0", "", ("x.nonzero()", "x.argwhere()", "torch.where(m)", "torch.nonzero_static(m, size=1000)")
    ),
    Group(_X + "; m = x > 0", "x", ("x[m]", "torch.masked_select(x, m)")),
]

_WINDOWS = "bartlett_window blackman_window hamming_window hann_window kaiser_window"
_SIGNALS = "bartlett blackman cosine hamming hann kaiser nuttall exponential gaussian general_hamming"

CREATION = [
    Group("", "", each("torch.{}(n)", "zeros ones empty arange rand randn randperm") + ("torch.full((n,), 2.5)",)),
    Group(
        _X,
        "",
        each("torch.{}(x)", "zeros_like ones_like empty_like rand_like randn_like clone")
        + ("torch.full_like(x, 2.5)",),
    ),
    Group(
        "",
        "",
        ("torch.linspace(0, 1, n)", "torch.logspace(0, 1, n)", "torch.eye(512)", "torch.arange(0.0, 1.0, 1 / n)")
        + ("torch.range(1, n)", "torch.randint(0, 99, (n // 2,))", "torch.tril_indices(300, 300)")
        + (
            "torch.triu_indices(300, 300)",
            "torch.empty_strided((n,), (1,))",
            "torch.empty_permuted((n // 4, 4), (1, 0))",
        ),
    ),
    Group("", "", each("torch.{}(n)", _WINDOWS)),
    Group(
        "from importlib import import_module; w = import_module(torch.__name__ + '.signal.windows')",
        "",
        each("w.{}(n)", _SIGNALS) + ("w.general_cosine(n, a=[0.46, 0.23, 0.31])",),
    ),
    Group(
        _X,
        "",
        ("x.new_zeros(n)", "x.new_ones(n)", "x.new_full((n,), 3.0)", "x.new_empty(n)", "x.new_tensor(x[0].tolist())")
        + ("x.tolist()", "x.new_empty_strided((n,), (1,))", "torch.randint_like(x, 99)", "torch.tensor(x[0].tolist())"),
    ),
    Group(
        "import numpy; a = numpy.ones(n, 'f')",
        "",
        ("torch.from_numpy(a) + 0", "torch.as_tensor(a) + 0", "torch.tensor(a)"),
    ),
    Group(
        "import numpy; a = numpy.ones(n, 'f')",
        "",
        ("torch.asarray(a) + 0", "torch.frombuffer(a, dtype=torch.float32) + 0"),
    ),
]

RANDOM = [
    Group(
        _X,
        "",
        each("x.{}()", "uniform_ normal_ exponential_ cauchy_ log_normal_ random_ bernoulli_")
        + ("x.geometric_(0.3)", "x.random_(0, 99)", "torch.normal(x, 1.0)", "torch.normal(0.0, 1.0, (n,))"),
    ),
    Group(
        "x = torch.rand(n // 1024, 1024) + 0.05; c = torch.full((n // 4096, 1024), 20.0)",
        "",
        ("torch.bernoulli(x.clamp(0, 1))", "torch.poisson(x)", "torch.multinomial(x, 4)", "torch.binomial(c, c / 40)"),
    ),
    Group(
        _IMAGE,
        "x",
        (
            "F.dropout(x, 0.1)",
            "F.alpha_dropout(x, 0.1, True)",
            "F.dropout2d(x, 0.1)",
            "F.feature_alpha_dropout(x, 0.1, True)",
        ),
    ),
    Group("x = torch.randn(n // 1024, 64, 16)", "x", ("F.dropout1d(x, 0.1)",)),
    Group("x = torch.randn(n // 65536, 64, 4, 16, 16)", "x", ("F.dropout3d(x, 0.1)",)),
    Group(_X, "x", ("torch.native_dropout(x, 0.1, True)",)),
]

GROUPS = [*ELEMENTWISE, *REDUCTIONS, *ORDER, *CREATION, *RANDOM]
