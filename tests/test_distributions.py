"""Distributions against PyTorch: densities, moments, divergences, and the very same samples for the same seed."""

from __future__ import annotations

import importlib
import math
import pickle
import warnings

import numpy as np
import pytest
import scipy.stats
from distribution_cases import cases

import flambeau

d = flambeau.distributions
CASES = cases(flambeau)
MOMENTS = ("mean", "mode", "variance", "stddev")


def both(name: str, dtype: str = "float64", grad: bool = False):
    """The distribution and its parameters, in both frameworks."""
    torch = pytest.importorskip("torch")
    made = []
    for framework in (flambeau, torch):
        make, values = cases(framework)[name]
        params = [framework.tensor(v, dtype=getattr(framework, dtype)).requires_grad_(grad) for v in values]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.append((make(*params), params))
    return made


def numbers(t) -> np.ndarray:
    return np.asarray(t.detach().numpy())


def close(mine, theirs, tolerance: float = 1e-9) -> None:
    assert tuple(mine.shape) == tuple(theirs.shape)
    assert str(mine.dtype) == str(theirs.dtype)
    np.testing.assert_allclose(numbers(mine), numbers(theirs), tolerance, tolerance)


def attempt(function, *args):
    """The result, or the class of the exception."""
    try:
        return function(*args)
    except (NotImplementedError, ValueError, RuntimeError, TypeError) as error:
        return type(error)


def sampled(theirs, shape=(), draw: str = "sample"):
    """PyTorch's samples.  Those of Wishart's distribution it draws again while they are *not* singular: the first."""
    torch = pytest.importorskip("torch")
    if isinstance(theirs, torch.distributions.Wishart):
        return theirs._bartlett_sampling(torch.Size(shape))
    return getattr(theirs, draw)(shape)


def same(mine, theirs, tolerance: float = 1e-9) -> None:
    if isinstance(theirs, type):
        assert mine is theirs
    else:
        close(mine, theirs, tolerance)


@pytest.mark.parametrize("name", CASES)
def test_shapes_moments_and_text(name: str) -> None:
    (mine, _), (theirs, _) = both(name)
    assert tuple(mine.batch_shape) == tuple(theirs.batch_shape)
    assert tuple(mine.event_shape) == tuple(theirs.event_shape)
    assert repr(mine) == repr(theirs)
    assert repr(mine.support) == repr(theirs.support)
    assert repr(mine.arg_constraints) == repr(theirs.arg_constraints)
    assert (mine.has_rsample, mine.has_enumerate_support) == (theirs.has_rsample, theirs.has_enumerate_support)
    # PyTorch's multinomial entropy is in single precision, its Bessel functions are to 1e-7
    tolerance = 1e-5 if name.startswith(("Multinomial", "VonMises")) else 1e-9
    for moment in MOMENTS:
        if (name, moment) != ("Kumaraswamy", "mode"):  # PyTorch's is NaN
            same(attempt(getattr, mine, moment), attempt(getattr, theirs, moment), tolerance)
    same(attempt(mine.entropy), attempt(theirs.entropy), tolerance)
    same(attempt(mine.perplexity), attempt(theirs.perplexity), tolerance)
    for expand in (True, False):
        same(attempt(mine.enumerate_support, expand), attempt(theirs.enumerate_support, expand))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CASES)
def test_samples_are_the_same_numbers(name: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    (mine, _), (theirs, _) = both(name, dtype)
    for draw in ("sample", "rsample"):
        flambeau.manual_seed(7)
        torch.manual_seed(7)
        for shape in ((), (5,), (2, 3)):
            found, wanted = attempt(getattr(mine, draw), shape), attempt(sampled, theirs, shape, draw)
            same(found, wanted, 3e-5 if dtype == "float32" else 1e-11)
    assert flambeau.rand(1).item() == torch.rand(1).item()  # as many numbers have been drawn


@pytest.mark.parametrize("name", CASES)
def test_densities_and_their_gradients(name: str) -> None:
    torch = pytest.importorskip("torch")
    (mine, params), (theirs, their_params) = both(name, grad=True)
    torch.manual_seed(3)
    drawn = sampled(theirs, (4,)).detach()
    value = flambeau.tensor(drawn.numpy())
    if name == "GeneralizedPareto":
        return  # PyTorch's density is of single precision alone; scipy's is compared below
    found, wanted = mine.log_prob(value), theirs.log_prob(drawn)
    tolerance = 1e-6 if name == "VonMises" else 1e-8
    close(found, wanted, tolerance)
    weights = np.random.default_rng(0).standard_normal(tuple(wanted.shape))
    (found * flambeau.tensor(weights)).sum().backward()
    (wanted * torch.tensor(weights)).sum().backward()
    for a, b in zip(params, their_params):
        assert (a.grad is None) == (b.grad is None)
        if b.grad is not None:
            close(a.grad, b.grad, 10 * tolerance)
    same(attempt(mine.cdf, value), attempt(theirs.cdf, drawn), 1e-8)
    unit = np.random.default_rng(1).uniform(0.05, 0.95, tuple(drawn.shape))
    same(attempt(mine.icdf, flambeau.tensor(unit)), attempt(theirs.icdf, torch.tensor(unit)), 1e-8)


@pytest.mark.parametrize("name", [n for n in CASES if "StraightThrough" not in n])
def test_gradients_of_samples(name: str) -> None:
    torch = pytest.importorskip("torch")
    (mine, params), (theirs, their_params) = both(name, grad=True)
    if not theirs.has_rsample:
        return
    flambeau.manual_seed(11)
    torch.manual_seed(11)
    found, wanted = mine.rsample((6,)), sampled(theirs, (6,), "rsample")
    weights = np.random.default_rng(0).standard_normal(tuple(wanted.shape))
    (found * flambeau.tensor(weights)).sum().backward()
    (wanted * torch.tensor(weights)).sum().backward()
    for a, b in zip(params, their_params):
        assert (a.grad is None) == (b.grad is None)
        if b.grad is not None:
            close(a.grad, b.grad, 3e-3 if name in IMPLICIT else 1e-6)


@pytest.mark.parametrize("name", CASES)
def test_expansion(name: str) -> None:
    torch = pytest.importorskip("torch")
    (mine, _), (theirs, _) = both(name)
    shape = (2, *theirs.batch_shape)
    mine, theirs = mine.expand(flambeau.Size(shape)), theirs.expand(torch.Size(shape))
    assert tuple(mine.batch_shape) == shape
    assert tuple(mine.event_shape) == tuple(theirs.event_shape)
    assert repr(mine) == repr(theirs)
    flambeau.manual_seed(5)
    torch.manual_seed(5)
    drawn = sampled(theirs, (3,))
    close(mine.sample((3,)), drawn, 1e-11)
    if name == "GeneralizedPareto":
        return  # PyTorch's density is of single precision alone
    close(mine.log_prob(flambeau.tensor(drawn.numpy())), theirs.log_prob(drawn), 1e-6 if name == "VonMises" else 1e-8)
    same(attempt(getattr, mine, "mean"), attempt(getattr, theirs, "mean"))


@pytest.mark.parametrize("name", ["Normal", "Categorical", "MultivariateNormal", "Gamma", "TransformedDistribution"])
def test_pickling(name: str) -> None:
    (mine, _), _ = both(name)
    again = pickle.loads(pickle.dumps(mine))
    value = mine.sample()
    assert flambeau.equal(again.log_prob(value), mine.log_prob(value))


def test_gradients_of_gamma_samples() -> None:
    """Implicit reparameterisation: with the distribution function F and the density f, dx/da = -(dF/da) / f."""
    a = np.array([0.05, 0.4, 1.0, 3.0, 12.0, 150.0])
    shape = flambeau.tensor(a).requires_grad_()
    flambeau.manual_seed(2)
    x = d.Gamma(shape, 1.0).rsample((40,))
    x.sum(0).backward(flambeau.ones(6, dtype=flambeau.float64))
    z, h = x.detach().numpy(), 1e-5 * a
    by_shape = (scipy.stats.gamma.cdf(z, a + h) - scipy.stats.gamma.cdf(z, a - h)) / (2 * h)
    np.testing.assert_allclose(shape.grad.numpy(), -(by_shape / scipy.stats.gamma.pdf(z, a)).sum(0), 2e-4)


# PyTorch's series for the gradient of a gamma number are to three digits
IMPLICIT = {
    "Beta",
    "Chi2",
    "Dirichlet",
    "FisherSnedecor",
    "Gamma",
    "InverseGamma",
    "StudentT",
    "Wishart",
    "Wishart scale_tril",
}
PAIRS = [
    ("Bernoulli", "Bernoulli logits"), ("Bernoulli", "Poisson"), ("Beta", "Beta"), ("Beta", "Gamma"),
    ("Beta", "Normal3"), ("Beta", "Exponential3"), ("Beta", "Pareto"), ("Beta", "Unit"),
    ("Beta", "ContinuousBernoulli3"), ("Binomial", "Binomial"), ("Categorical", "Categorical"), ("Cauchy", "Cauchy"),
    ("ContinuousBernoulli3", "ContinuousBernoulli3"), ("ContinuousBernoulli3", "Exponential3"),
    ("ContinuousBernoulli3", "Normal3"), ("ContinuousBernoulli3", "Pareto"), ("ContinuousBernoulli3", "Unit"),
    ("Dirichlet", "Dirichlet"), ("Exponential3", "Beta"), ("Exponential3", "ContinuousBernoulli3"),
    ("Exponential", "Exponential"), ("Exponential3", "Gamma"), ("Exponential", "Gumbel"), ("Exponential", "Normal"),
    ("Exponential3", "Pareto"), ("Exponential3", "Unit"), ("Gamma", "Beta"), ("Gamma", "Gamma"),
    ("Gamma", "Exponential3"), ("Gamma", "Gumbel3"), ("Gamma", "Normal3"), ("Gamma", "Pareto"), ("Gamma", "Unit"),
    ("Geometric", "Geometric"), ("Gumbel", "Gumbel"), ("Gumbel", "Normal"), ("Gumbel", "Exponential"),
    ("Gumbel3", "Gamma"), ("Gumbel3", "Beta"), ("HalfNormal", "HalfNormal"), ("Independent", "Independent"),
    ("Laplace", "Laplace"), ("Laplace", "Normal"), ("Laplace", "Uniform"), ("LogNormal", "LogNormal"),
    ("LowRankMultivariateNormal", "LowRankMultivariateNormal"), ("LowRankMultivariateNormal", "MultivariateNormal"),
    ("MultivariateNormal", "LowRankMultivariateNormal"), ("MultivariateNormal", "MultivariateNormal"),
    ("MultivariateNormal", "MultivariateNormal precision"), ("MultivariateNormal precision", "MultivariateNormal"),
    ("Normal", "Gumbel"), ("Normal", "Laplace"), ("Normal", "Normal"), ("Normal3", "Beta"), ("Normal3", "Pareto"),
    ("OneHotCategorical", "OneHotCategorical"), ("Pareto", "Beta"), ("Pareto", "Exponential3"), ("Pareto", "Gamma"),
    ("Pareto", "Normal3"), ("Pareto", "Pareto"), ("Poisson", "Poisson"), ("Poisson", "Bernoulli"),
    ("Poisson", "Binomial"), ("Uniform", "Uniform"), ("Unit", "Beta"), ("Unit", "ContinuousBernoulli3"),
    ("Unit", "Exponential3"), ("Unit", "Gamma"), ("Unit", "Gumbel3"), ("Unit", "Normal3"), ("Unit", "Pareto"),
    ("Uniform", "Exponential"), ("VonMises", "VonMises"), ("Normal", "Poisson"),
]  # fmt: skip


def pair_member(torch, name: str, first: bool):
    d = torch.distributions
    t = lambda *v: torch.tensor(v, dtype=torch.float64)  # noqa: E731
    if name == "Unit":
        return d.Uniform(t(0.1, 0.2, 0.6), t(0.9, 0.8, 0.95))
    if name == "Normal3":
        return d.Normal(t(0.1, 0.2, 2.0), t(0.9, 0.8, 1.0))
    if name == "Gumbel3":
        return d.Gumbel(t(0.1, 0.2, 2.0), t(0.9, 0.8, 1.0))
    if name == "Exponential3":
        return d.Exponential(t(0.1, 0.9, 2.0))
    if name == "ContinuousBernoulli3":
        return d.ContinuousBernoulli(t(0.1, 0.5, 0.8))
    make, values = cases(torch)[name]
    shift = 0.0 if first or "Low" in name or name == "Binomial" else 0.07
    return make(*(torch.tensor(v, dtype=torch.float64) + (shift if i == 0 else 0) for i, v in enumerate(values)))


@pytest.mark.parametrize(("p", "q"), PAIRS)
def test_divergences(p: str, q: str) -> None:
    torch = pytest.importorskip("torch")
    mine, theirs = (
        attempt(f.distributions.kl_divergence, pair_member(f, p, True), pair_member(f, q, False))
        for f in (flambeau, torch)
    )
    same(mine, theirs, 1e-8)


def test_divergences_of_subclasses() -> None:
    class Special(d.Normal):
        pass

    p = Special(0.0, 1.0)
    assert d.kl_divergence(p, d.Normal(1.0, 1.0)).item() == pytest.approx(0.5)

    @d.register_kl(Special, Special)
    def _(p, q):
        return flambeau.tensor(-1.0)

    assert d.kl_divergence(p, p).item() == -1.0
    with pytest.raises(TypeError):
        d.register_kl(3, Special)


def test_divergences_of_foreign_classes() -> None:
    """A library may have distributions of its own, which are not below ours."""

    class Foreign:
        pass

    @d.register_kl(Foreign, d.Normal)
    def _(p, q):
        return flambeau.tensor(-2.0)

    assert d.kl_divergence(Foreign(), d.Normal(0.0, 1.0)).item() == -2.0


def test_divergence_of_wishart_numbers() -> None:
    """A 1 x 1 Wishart matrix is a gamma number.  (PyTorch's divergences are negative here.)"""
    n, v, m, w = (flambeau.tensor(x, dtype=flambeau.float64) for x in (4.0, 0.7, 5.5, 1.3))
    found = d.kl_divergence(d.Wishart(n, v.reshape(1, 1)), d.Wishart(m, w.reshape(1, 1)))
    close(found, d.kl_divergence(d.Gamma(n / 2, 0.5 / v), d.Gamma(m / 2, 0.5 / w)))


SCIPY = {
    "Beta": lambda a, b: scipy.stats.beta(a, b),
    "Cauchy": lambda a, b: scipy.stats.cauchy(a, b),
    "Chi2": lambda a: scipy.stats.chi2(a),
    "Exponential": lambda a: scipy.stats.expon(scale=1 / a),
    "FisherSnedecor": lambda a, b: scipy.stats.f(a, b),
    "Gamma": lambda a, b: scipy.stats.gamma(a, scale=1 / b),
    "GeneralizedPareto": lambda a, b, c: scipy.stats.genpareto(c, a, b),
    "Gumbel": lambda a, b: scipy.stats.gumbel_r(a, b),
    "HalfCauchy": lambda a: scipy.stats.halfcauchy(scale=a),
    "HalfNormal": lambda a: scipy.stats.halfnorm(scale=a),
    "InverseGamma": lambda a, b: scipy.stats.invgamma(a, scale=b),
    "Laplace": lambda a, b: scipy.stats.laplace(a, b),
    "LogNormal": lambda a, b: scipy.stats.lognorm(b, scale=np.exp(a)),
    "Normal": lambda a, b: scipy.stats.norm(a, b),
    "Pareto": lambda a, b: scipy.stats.pareto(b, scale=a),
    "StudentT": lambda n, a, b: scipy.stats.t(n, a, b),
    "Uniform": lambda a, b: scipy.stats.uniform(a, b - a),
    "VonMises": lambda a, b: scipy.stats.vonmises(b, a),
    "Weibull": lambda a, b: scipy.stats.weibull_min(b, scale=a),
}


@pytest.mark.parametrize("name", SCIPY)
def test_densities_against_scipy(name: str) -> None:
    make, values = CASES[name]
    mine = make(*(flambeau.tensor(v, dtype=flambeau.float64) for v in values))
    reference = SCIPY[name](*(np.array(v) for v in values))
    flambeau.manual_seed(0)
    x = mine.sample((50,))
    np.testing.assert_allclose(mine.log_prob(x).numpy(), reference.logpdf(x.numpy()), 1e-8, 1e-9)
    below = attempt(mine.cdf, x)
    if not isinstance(below, type):
        np.testing.assert_allclose(below.numpy(), reference.cdf(x.numpy()), 1e-8, 1e-9)
    entropy = attempt(mine.entropy)
    if not isinstance(entropy, type):
        np.testing.assert_allclose(entropy.numpy(), reference.entropy(), 1e-5)


def test_samples_follow_their_distribution() -> None:
    flambeau.manual_seed(1)
    for name in ("Beta", "Gamma", "StudentT", "VonMises", "Weibull", "Gumbel"):
        make, values = CASES[name]
        params = [np.array(v)[-1] for v in values]
        drawn = make(*(flambeau.tensor(p) for p in params)).sample((4000,)).numpy().astype(float)
        assert scipy.stats.kstest(drawn, SCIPY[name](*params).cdf).pvalue > 1e-3


# -- errors ------------------------------------------------------------------------------------------


def test_parameters_are_checked() -> None:
    with pytest.raises(ValueError, match=r"Expected parameter scale .*GreaterThan\(lower_bound=0.0\).*\n.*-1"):
        d.Normal(0.0, -1.0)
    with pytest.raises(ValueError, match="LessThan"):
        d.Uniform(1.0, 0.0)
    with pytest.raises(ValueError, match="PositiveDefinite"):
        d.MultivariateNormal(flambeau.zeros(2), -flambeau.eye(2))
    with pytest.raises(ValueError, match="Exactly one of"):
        d.MultivariateNormal(flambeau.zeros(2))
    with pytest.raises(ValueError, match="but not both"):
        d.Bernoulli(0.5, logits=0.1)
    with pytest.raises(ValueError, match="at least one-dimensional"):
        d.Categorical(flambeau.tensor(1.0))
    with pytest.raises(ValueError, match=r"Number, torch\.Tensor"):
        d.Normal("a", 1.0)
    with pytest.raises(ValueError, match="ndim - 1"):
        d.Wishart(flambeau.tensor(1.0), flambeau.eye(2))
    with pytest.raises(ValueError, match="reinterpreted_batch_ndims"):
        d.Independent(d.Normal(0.0, 1.0), 1)
    d.Normal(0.0, -1.0, validate_args=False)


def test_samples_are_checked() -> None:
    normal = d.Normal(flambeau.zeros(2), 1.0)
    with pytest.raises(ValueError, match="must be a Tensor"):
        normal.log_prob(1.0)
    with pytest.raises(ValueError, match=r"not broadcastable .*\[3\]\) vs torch.Size\(\[2\]\)"):
        normal.log_prob(flambeau.zeros(3))
    with pytest.raises(ValueError, match=r"within the support \(Boolean\(\)\)"):
        d.Bernoulli(0.5).log_prob(flambeau.tensor(2.0))
    with pytest.raises(ValueError, match="right-most size"):
        d.Dirichlet(flambeau.ones(3)).log_prob(flambeau.ones(2) / 2)
    assert d.Uniform(0.0, 1.0, validate_args=False).log_prob(flambeau.tensor(2.0)).item() == -math.inf
    d.Distribution.set_default_validate_args(False)
    try:
        assert d.Normal(0.0, 1.0).log_prob(flambeau.tensor(math.nan)).isnan()
    finally:
        d.Distribution.set_default_validate_args(True)
    with pytest.raises(ValueError):
        d.Distribution.set_default_validate_args(3)


def test_what_a_distribution_lacks() -> None:
    poisson = d.Poisson(1.0)
    for missing in (
        poisson.rsample,
        poisson.entropy,
        poisson.enumerate_support,
        lambda: poisson.cdf(flambeau.ones(())),
    ):
        with pytest.raises(NotImplementedError):
            missing()
    with pytest.raises(NotImplementedError, match="No KL"):
        d.kl_divergence(d.LKJCholesky(3), poisson)
    with pytest.raises(NotImplementedError, match="inhomogeneous"):
        d.Multinomial(flambeau.tensor([3]), flambeau.ones(2))
    with pytest.warns(FutureWarning, match="sample_n"):
        assert d.Normal(0.0, 1.0).sample_n(3).shape == (3,)

    class Own(d.Normal):
        def __init__(self):
            super().__init__(0.0, 1.0)

    with pytest.raises(NotImplementedError, match=r"custom \.expand"):
        Own().expand((2,))


def test_bad_values_have_their_probabilities() -> None:
    t = flambeau.tensor
    assert d.Bernoulli(t([0.0, 1.0])).log_prob(t([0.0, 1.0])).abs().max() < 1e-6
    assert d.Categorical(t([0.0, 1.0])).entropy().item() == pytest.approx(0, abs=1e-5)
    assert d.Poisson(t(0.0)).log_prob(t(0.0)).item() == 0
    assert d.Geometric(t(1.0)).log_prob(t(0.0)).item() == 0
    assert d.NegativeBinomial(t(0.0), t(0.3)).log_prob(t(0.0)).item() == pytest.approx(0, abs=1e-6)
    assert d.kl_divergence(d.Bernoulli(t([0.0, 0.5])), d.Bernoulli(t([0.0, 0.0]))).tolist() == [0.0, math.inf]
    assert d.Normal(flambeau.zeros(0), flambeau.ones(0)).sample((2,)).shape == (2, 0)
    assert d.Normal(t(0.0), t(1.0)).log_prob(t([math.inf, -math.inf])).tolist() == [-math.inf] * 2


# -- constraints and transforms ----------------------------------------------------------------------


REGIONS = {
    "boolean": [0.0, 1.0, 0.5, math.nan], "nonnegative_integer": [0.0, -1.0, 1.5], "positive_integer": [0.0, 1.0, 2.5],
    "real": [0.0, math.inf, math.nan], "positive": [0.0, 1.0], "nonnegative": [0.0, -1.0],
    "unit_interval": [0.0, 1.0, 1.1],
    "simplex": [[0.5, 0.5], [0.5, 0.6], [-0.5, 1.5]], "one_hot": [[0.0, 1.0], [1.0, 1.0], [0.5, 0.5]],
    "real_vector": [[0.0, 1.0], [math.nan, 1.0]],
    "lower_triangular": [[[1.0, 0.0], [1.0, -1.0]], [[1.0, 1.0], [1.0, 1.0]]],
    "lower_cholesky": [[[1.0, 0.0], [1.0, -1.0]], [[1.0, 0.0], [1.0, 1.0]]],
    "corr_cholesky": [[[1.0, 0.0], [0.6, 0.8]], [[1.0, 0.0], [1.0, 1.0]]],
    "square": [[1.0, 2.0], [1.0, 2.0]], "symmetric": [[[1.0, 2.0], [2.0, 2.0]], [[1.0, 2.0], [2.1, 2.0]]],
    "positive_definite": [[[1.0, 0.5], [0.5, 2.0]], [[1.0, 2.0], [2.0, 2.0]]],
    "positive_semidefinite": [[[1.0, 0.5], [0.5, 2.0]], [[1.0, 2.0], [2.0, 2.0]]],
}  # fmt: skip


@pytest.mark.parametrize("name", REGIONS)
def test_regions(name: str) -> None:
    torch = pytest.importorskip("torch")
    mine, theirs = (getattr(f.distributions.constraints, name) for f in (flambeau, torch))
    assert mine.check(flambeau.tensor(REGIONS[name])).tolist() == theirs.check(torch.tensor(REGIONS[name])).tolist()
    assert (repr(mine), mine.is_discrete, mine.event_dim) == (repr(theirs), theirs.is_discrete, theirs.event_dim)


def maps(d, torch):
    t = lambda *v: torch.tensor(v, dtype=torch.float64)  # noqa: E731
    return [
        d.ExpTransform(), d.SigmoidTransform(), d.TanhTransform(), d.SoftplusTransform(),
        d.AffineTransform(t(1.0), t(-2.0)),
        d.AffineTransform(0.5, 2.0, event_dim=1), d.PowerTransform(t(2.5)), d.AbsTransform(), d.SoftmaxTransform(),
        d.StickBreakingTransform(), d.CorrCholeskyTransform(), d.ReshapeTransform((6,), (2, 3)),
        d.ComposeTransform([d.ExpTransform(), d.AffineTransform(1.0, 2.0), d.ExpTransform().inv]),
        d.IndependentTransform(d.SigmoidTransform(), 1), d.ExpTransform().inv, d.SigmoidTransform().inv,
        d.ComposeTransform([d.SoftplusTransform(), d.StickBreakingTransform()]),
        d.CatTransform([d.ExpTransform(), d.SigmoidTransform()], dim=-1, lengths=[2, 4]),
        d.StackTransform([d.ExpTransform(), d.TanhTransform()], dim=0),
        d.CumulativeDistributionTransform(d.Normal(t(0.3), t(1.2))), d.LowerCholeskyTransform(),
        d.PositiveDefiniteTransform(),
        d.transforms.identity_transform,
    ]  # fmt: skip


@pytest.mark.parametrize("at", range(23))
@pytest.mark.parametrize("cache", [0, 1])
def test_maps(at: int, cache: int) -> None:
    torch = pytest.importorskip("torch")
    mine, theirs = (maps(f.distributions, f)[at] for f in (flambeau, torch))
    if cache:
        mine, theirs = mine.with_cache(), theirs.with_cache()
    assert (repr(mine), mine.bijective, repr(mine.domain), repr(mine.codomain)) == (
        repr(theirs), theirs.bijective, repr(theirs.domain), repr(theirs.codomain)
    )  # fmt: skip
    shape = (2, 3, 3) if ("Cholesky" in repr(mine) and "Corr" not in repr(mine)) or "Definite" in repr(mine) else (2, 6)
    x = np.random.default_rng(at).uniform(0.1, 0.9, shape)
    a, b = flambeau.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    ya, yb = mine(a), theirs(b)
    close(ya, yb)
    close(mine.inv(ya), theirs.inv(yb), 1e-7)
    same(attempt(mine.log_abs_det_jacobian, a, ya), attempt(theirs.log_abs_det_jacobian, b, yb), 1e-8)
    assert tuple(mine.forward_shape(shape)) == tuple(theirs.forward_shape(shape)) == tuple(ya.shape)
    assert tuple(mine.inverse_shape(ya.shape)) == tuple(theirs.inverse_shape(yb.shape))
    weights = np.random.default_rng(0).standard_normal(tuple(yb.shape))
    (ya * flambeau.tensor(weights)).sum().backward()
    (yb * torch.tensor(weights)).sum().backward()
    close(a.grad, b.grad, 1e-8)
    assert mine.inv.inv is mine and (mine == mine)
    if cache:
        assert mine.inv(ya) is a or at in (12, 16, 22)


def test_equality_of_maps() -> None:
    assert d.ExpTransform() == d.ExpTransform() != d.TanhTransform()
    assert d.AffineTransform(0, 1) == d.AffineTransform(flambeau.zeros(2), 1)
    assert d.AffineTransform(0, 1) != d.AffineTransform(0, 2)
    assert d.ComposeTransform([d.ExpTransform()]) == d.ComposeTransform([d.ExpTransform()])
    assert d.ExpTransform().inv == d.ExpTransform().inv
    with pytest.raises(ValueError, match="cache_size"):
        d.ExpTransform(cache_size=2)
    with pytest.raises(ValueError, match="different numbers"):
        d.ReshapeTransform((2,), (3,))
    with pytest.raises(ValueError, match="shape with size at least 1"):
        d.TransformedDistribution(d.Normal(0.0, 1.0), d.StickBreakingTransform())


@pytest.mark.parametrize("registry", ["biject_to", "transform_to"])
def test_maps_to_regions(registry: str) -> None:
    torch = pytest.importorskip("torch")
    x = np.linspace(-2, 2, 6)
    images = []
    for f in (flambeau, torch):
        c, to = f.distributions.constraints, getattr(f.distributions, registry)
        single = [c.real, c.positive, c.greater_than(2.0), c.less_than(-1.0), c.unit_interval, c.interval(-1.0, 3.0)]
        grouped = [
            c.simplex,
            c.corr_cholesky,
            c.real_vector,
            c.independent(c.positive, 1),
            c.half_open_interval(0.0, 2.0),
        ]
        joined = [c.stack([c.positive] * 6), c.cat([c.positive, c.real], -1, [2, 4])]
        images.append([to(region)(f.tensor(x)) for region in single + grouped + joined])
        assert all(bool(r.check(y).all()) for r, y in zip(single + grouped + joined, images[-1]))
        with pytest.raises(NotImplementedError, match="Dependent"):
            to(c.dependent)
        with pytest.raises(TypeError):
            to.register(int, lambda region: None)
    for mine, theirs in zip(*images):
        close(mine, theirs)


def test_files_of_distributions_name_their_base():
    for name in ("binomial", "laplace", "multivariate_normal", "relaxed_categorical"):
        module = importlib.import_module(f"flambeau.distributions.{name}")
        assert module.Distribution is flambeau.distributions.Distribution
