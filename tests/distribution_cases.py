"""Distributions with parameters, for the tests: a constructor over any framework, by name."""

from __future__ import annotations

from typing import Any

E = [[1.5, 0.5], [0.5, 1.0]]
L = [[1.2, 0.0], [-0.4, 0.7]]


def cases(torch: Any) -> dict[str, Any]:
    """name -> a function of tensors that makes the distribution, and the values of these tensors."""
    d = torch.distributions
    return {
        "Bernoulli": (lambda p: d.Bernoulli(p), [[0.2, 0.5, 0.9]]),
        "Bernoulli logits": (lambda x: d.Bernoulli(logits=x), [[-1.5, 0.0, 4.0]]),
        "Beta": (lambda a, b: d.Beta(a, b), [[0.5, 2.0, 5.0], [1.5, 0.7, 3.0]]),
        "Binomial": (lambda p: d.Binomial(5, p), [[0.2, 0.5, 0.9]]),
        "Binomial logits": (lambda x: d.Binomial(40, logits=x), [[-1.5, 0.2, 2.0]]),
        "Categorical": (lambda p: d.Categorical(p), [[[0.2, 0.5, 0.9], [1.0, 1.0, 2.0]]]),
        "Categorical logits": (lambda x: d.Categorical(logits=x), [[0.3, -0.5, 2.0, 1.0]]),
        "Cauchy": (lambda a, b: d.Cauchy(a, b), [[0.5, -2.0], [1.5, 0.7]]),
        "Chi2": (lambda a: d.Chi2(a), [[0.5, 2.0, 7.0]]),
        "ContinuousBernoulli": (lambda p: d.ContinuousBernoulli(p), [[0.2, 0.4995, 0.5, 0.9]]),
        "ContinuousBernoulli logits": (lambda x: d.ContinuousBernoulli(logits=x), [[-1.5, 0.0005, 2.0]]),
        "Dirichlet": (lambda a: d.Dirichlet(a), [[[0.5, 2.0, 3.0], [1.5, 1.2, 4.0]]]),
        "Exponential": (lambda a: d.Exponential(a), [[0.5, 2.0]]),
        "FisherSnedecor": (lambda a, b: d.FisherSnedecor(a, b), [[0.5, 2.0, 5.0], [1.5, 3.0, 6.0]]),
        "Gamma": (lambda a, b: d.Gamma(a, b), [[0.5, 2.0, 5.0], [1.5, 3.0, 0.6]]),
        "GeneralizedPareto": (lambda a, b, c: d.GeneralizedPareto(a, b, c), [[0.5, 1.0], [1.5, 2.0], [0.2, 0.3]]),
        "Geometric": (lambda p: d.Geometric(p), [[0.2, 0.5, 0.9]]),
        "Geometric logits": (lambda x: d.Geometric(logits=x), [[-1.5, 0.2, 2.0]]),
        "Gumbel": (lambda a, b: d.Gumbel(a, b), [[0.5, -2.0], [1.5, 0.7]]),
        "HalfCauchy": (lambda a: d.HalfCauchy(a), [[0.5, 2.0]]),
        "HalfNormal": (lambda a: d.HalfNormal(a), [[0.5, 2.0]]),
        "Independent": (lambda a, b: d.Independent(d.Normal(a, b), 1), [E, [1.5, 0.7]]),
        "InverseGamma": (lambda a, b: d.InverseGamma(a, b), [[0.5, 2.0, 5.0], [1.5, 3.0, 0.6]]),
        "Kumaraswamy": (lambda a, b: d.Kumaraswamy(a, b), [[0.5, 2.0, 5.0], [1.5, 3.0, 0.6]]),
        "LKJCholesky": (lambda a: d.LKJCholesky(3, a), [[0.5, 2.0]]),
        "Laplace": (lambda a, b: d.Laplace(a, b), [[0.5, -2.0], [1.5, 0.7]]),
        "LogNormal": (lambda a, b: d.LogNormal(a, b), [[0.5, -2.0], [1.5, 0.7]]),
        "LogisticNormal": (lambda a, b: d.LogisticNormal(a, b), [[0.5, -2.0], [1.5, 0.7]]),
        "LowRankMultivariateNormal": (
            lambda a, w, c: d.LowRankMultivariateNormal(a, w, c),
            [[[0.5, -2.0], [1.0, 1.0]], [[0.5], [0.3]], [1.5, 0.7]],
        ),
        "MixtureSameFamily": (
            lambda p, a, b: d.MixtureSameFamily(d.Categorical(p), d.Normal(a, b)),
            [[0.3, 0.7], [0.5, -2.0], [1.5, 0.7]],
        ),
        "Mixture of vectors": (
            lambda p, a, b: d.MixtureSameFamily(d.Categorical(p), d.Independent(d.Normal(a, b), 1)),
            [[0.3, 0.7], E, [1.5, 0.7]],
        ),
        "Multinomial": (lambda p: d.Multinomial(6, p), [[[0.2, 0.5, 0.9], [1.0, 1.0, 2.0]]]),
        "Multinomial logits": (lambda x: d.Multinomial(3, logits=x), [[0.2, 0.5, 0.9]]),
        "MultivariateNormal": (lambda a, c: d.MultivariateNormal(a, c), [[[0.5, -2.0], [1.0, 1.0]], E]),
        "MultivariateNormal precision": (lambda a, c: d.MultivariateNormal(a, precision_matrix=c), [[0.5, -2.0], E]),
        "MultivariateNormal scale_tril": (lambda a, c: d.MultivariateNormal(a, scale_tril=c), [[0.5, -2.0], [L, L]]),
        "NegativeBinomial": (lambda p: d.NegativeBinomial(5, p), [[0.2, 0.5, 0.9]]),
        "NegativeBinomial logits": (lambda n, x: d.NegativeBinomial(n, logits=x), [[0.5, 3.0], [-0.5, 0.4]]),
        "Normal": (lambda a, b: d.Normal(a, b), [[0.5, -2.0], [1.5, 0.7]]),
        "OneHotCategorical": (lambda p: d.OneHotCategorical(p), [[[0.2, 0.5, 0.9], [1.0, 1.0, 2.0]]]),
        "OneHotCategoricalStraightThrough": (lambda p: d.OneHotCategoricalStraightThrough(p), [[0.2, 0.5, 0.9]]),
        "Pareto": (lambda a, b: d.Pareto(a, b), [[0.5, 2.0, 1.0], [1.5, 3.0, 0.6]]),
        "Poisson": (lambda a: d.Poisson(a), [[0.5, 2.0, 30.0]]),
        "RelaxedBernoulli": (lambda t, p: d.RelaxedBernoulli(t, p), [0.7, [0.2, 0.5, 0.9]]),
        "RelaxedBernoulli logits": (lambda t, x: d.RelaxedBernoulli(t, logits=x), [0.7, [-0.2, 0.5, 0.9]]),
        "RelaxedOneHotCategorical": (lambda t, p: d.RelaxedOneHotCategorical(t, p), [0.7, [0.2, 0.5, 0.9]]),
        "StudentT": (lambda n, a, b: d.StudentT(n, a, b), [[0.5, 1.5, 5.0], [0.0, 1.0, 2.0], [1.5, 0.7, 2.0]]),
        "TransformedDistribution": (
            lambda a, b: d.TransformedDistribution(
                d.Normal(a, b), [d.AffineTransform(1.0, -2.0), d.SigmoidTransform(), d.AffineTransform(0.5, 2.0)]
            ),
            [[0.5, -0.2], [0.5, 0.7]],
        ),
        "Uniform": (lambda a, b: d.Uniform(a, b), [[0.5, -2.0], [1.5, 0.7]]),
        "VonMises": (lambda a, b: d.VonMises(a, b), [[0.5, -2.0, 1.0], [1.5, 0.7, 30.0]]),
        "Weibull": (lambda a, b: d.Weibull(a, b), [[0.5, 2.0], [1.5, 2.7]]),
        "Wishart": (lambda n, c: d.Wishart(n, c), [[4.0, 5.5], E]),
        "Wishart scale_tril": (lambda n, c: d.Wishart(n, scale_tril=c), [4.0, L]),
    }
