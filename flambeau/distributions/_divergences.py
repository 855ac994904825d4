"""Divergences within a family."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..dispatch.operator import Operand
from ..tensor import Tensor
from ._parameters import batch_mahalanobis
from .bernoulli import Bernoulli
from .beta import Beta
from .binomial import Binomial
from .categorical import Categorical
from .cauchy import Cauchy
from .continuous_bernoulli import ContinuousBernoulli
from .dirichlet import Dirichlet
from .exp_family import ExponentialFamily
from .exponential import Exponential
from .gamma import Gamma
from .geometric import Geometric
from .gumbel import Gumbel
from .half_normal import HalfNormal
from .independent import Independent
from .kl import kl_divergence, register_kl
from .laplace import Laplace
from .lowrank_multivariate_normal import LowRankMultivariateNormal, mahalanobis
from .multivariate_normal import MultivariateNormal
from .normal import Normal
from .one_hot_categorical import OneHotCategorical
from .pareto import Pareto
from .poisson import Poisson
from .transformed_distribution import TransformedDistribution
from .uniform import Uniform
from .utils import _sum_rightmost, euler_constant, fused, softplus

__all__: list[str] = []

_INF = float("inf")


@fused
def _kl_bernoulli(p: Operand, p_logits: Operand, q: Operand, q_logits: Operand) -> Tensor:
    one = p * (softplus(-q_logits) - softplus(-p_logits))
    one = one.masked_fill(q == 0, _INF).masked_fill(p == 0, 0.0)
    zero = (1 - p) * (softplus(q_logits) - softplus(p_logits))
    return one + zero.masked_fill(q == 1, _INF).masked_fill(p == 1, 0.0)


@register_kl(Bernoulli, Bernoulli)
def _(p: Bernoulli, q: Bernoulli) -> Tensor:
    return _kl_bernoulli(p.probs, p.logits, q.probs, q.logits)


@register_kl(Binomial, Binomial)
def _(p: Binomial, q: Binomial) -> Tensor:
    if (p.total_count < q.total_count).any():
        raise NotImplementedError("KL between Binomials where q.total_count > p.total_count is not implemented")
    odds = p.probs * (p.logits - q.logits) + (-p.probs).log1p() - (-q.probs).log1p()
    return (p.total_count * odds).masked_fill(p.total_count > q.total_count, _INF)


@register_kl(Categorical, Categorical)
def _(p: Categorical, q: Categorical) -> Tensor:
    each = p.probs * (p.logits - q.logits)
    each = each.masked_fill((q.probs == 0).expand_as(each), _INF).masked_fill((p.probs == 0).expand_as(each), 0.0)
    return each.sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _(p: OneHotCategorical, q: OneHotCategorical) -> Tensor:
    return kl_divergence(p._categorical, q._categorical)


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _(p: ContinuousBernoulli, q: ContinuousBernoulli) -> Tensor:
    inner = p.mean * (p.logits - q.logits)
    return inner + p._log_norm() + (-p.probs).log1p() - q._log_norm() - (-q.probs).log1p()


@register_kl(Beta, Beta)
def _(p: Beta, q: Beta) -> Tensor:
    return kl_divergence(p._dirichlet, q._dirichlet)


@register_kl(Dirichlet, Dirichlet)
def _(p: Dirichlet, q: Dirichlet) -> Tensor:
    a, b = p.concentration, q.concentration
    total = a.sum(-1)
    normalizers = total.lgamma() - b.sum(-1).lgamma() + (b.lgamma() - a.lgamma()).sum(-1)
    return normalizers + ((a - b) * (a.digamma() - total.digamma().unsqueeze(-1))).sum(-1)


@fused
def _kl_exponential(p: Operand, q: Operand) -> Tensor:
    ratio = q / p
    return ratio - ratio.log() - 1


@register_kl(Exponential, Exponential)
def _(p: Exponential, q: Exponential) -> Tensor:
    return _kl_exponential(p.rate, q.rate)


@fused
def _kl_gamma(a: Operand, r: Operand, b: Operand, s: Operand) -> Tensor:
    return b * (r / s).log() + b.lgamma() - a.lgamma() + (a - b) * a.digamma() + (s - r) * (a / r)


@register_kl(Gamma, Gamma)
def _(p: Gamma, q: Gamma) -> Tensor:
    return _kl_gamma(p.concentration, p.rate, q.concentration, q.rate)


@register_kl(Geometric, Geometric)
def _(p: Geometric, q: Geometric) -> Tensor:
    return -p.entropy() - (-q.probs).log1p() / p.probs - q.logits


@register_kl(Gumbel, Gumbel)
def _(p: Gumbel, q: Gumbel) -> Tensor:
    ratio, off = p.scale / q.scale, (q.loc - p.loc) / q.scale
    tail = (off + (1 + ratio).lgamma()).exp()
    return -ratio.log() - off + ratio * euler_constant + tail - (1 + euler_constant)


@fused
def _kl_laplace(p_loc: Operand, p_scale: Operand, q_loc: Operand, q_scale: Operand) -> Tensor:
    ratio, off = p_scale / q_scale, (p_loc - q_loc).abs()
    return -ratio.log() + off / q_scale + ratio * (-off / p_scale).exp() - 1


@register_kl(Laplace, Laplace)
def _(p: Laplace, q: Laplace) -> Tensor:
    return _kl_laplace(p.loc, p.scale, q.loc, q.scale)


@fused
def _kl_cauchy(p_loc: Operand, p_scale: Operand, q_loc: Operand, q_scale: Operand) -> Tensor:
    # F. Chyzak, F. Nielsen, A closed-form formula for the Kullback-Leibler divergence between Cauchy distributions
    return ((p_scale + q_scale).square() + (p_loc - q_loc).square()).log() - (4 * p_scale * q_scale).log()


@register_kl(Cauchy, Cauchy)
def _(p: Cauchy, q: Cauchy) -> Tensor:
    return _kl_cauchy(p.loc, p.scale, q.loc, q.scale)


@fused
def _kl_normal(p_loc: Operand, p_scale: Operand, q_loc: Operand, q_scale: Operand) -> Tensor:
    ratio = (p_scale / q_scale).square()
    return 0.5 * (ratio + ((p_loc - q_loc) / q_scale).square() - 1 - ratio.log())


@register_kl(Normal, Normal)
def _(p: Normal, q: Normal) -> Tensor:
    return _kl_normal(p.loc, p.scale, q.loc, q.scale)


@register_kl(HalfNormal, HalfNormal)
def _(p: HalfNormal, q: HalfNormal) -> Tensor:
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(Pareto, Pareto)
def _(p: Pareto, q: Pareto) -> Tensor:
    ratio = q.alpha / p.alpha
    found = q.alpha * (p.scale / q.scale).log() - ratio.log() + ratio - 1
    return found.masked_fill(p.scale < q.scale, _INF)


@register_kl(Poisson, Poisson)
def _(p: Poisson, q: Poisson) -> Tensor:
    return p.rate * (p.rate.log() - q.rate.log()) - (p.rate - q.rate)


@register_kl(Uniform, Uniform)
def _(p: Uniform, q: Uniform) -> Tensor:
    found = ((q.high - q.low) / (p.high - p.low)).log()
    return found.masked_fill((q.low > p.low) | (q.high < p.high), _INF)


@register_kl(ExponentialFamily, ExponentialFamily)
def _(p: ExponentialFamily, q: ExponentialFamily) -> Tensor:
    """The Bregman divergence of the log-normaliser."""
    if type(p) is not type(q):
        raise NotImplementedError(
            "The cross KL-divergence between different exponential families cannot be computed using Bregman "
            f"divergences: {type(p).__name__} and {type(q).__name__}"
        )
    params, normalizer, means = p._statistics()
    others = q._natural_params
    found = q._log_normalizer(*others) - normalizer
    for a, b, mean in zip(params, others, means):
        found = found - _sum_rightmost((b - a) * mean, a.dim() - normalizer.dim())
    return found


@register_kl(TransformedDistribution, TransformedDistribution)
def _(p: TransformedDistribution, q: TransformedDistribution) -> Tensor:
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError("kl_divergence of distributions sent through different transforms")
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(Independent, Independent)
def _(p: Independent, q: Independent) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError(
            "kl_divergence of Independent distributions with different reinterpreted_batch_ndims: "
            f"{p.reinterpreted_batch_ndims} and {q.reinterpreted_batch_ndims}"
        )
    return _sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


# -- normal vectors ----------------------------------------------------------------------------------


def _half_log_det(d: Any) -> Tensor:
    return d._half_log_det() if isinstance(d, MultivariateNormal) else 0.5 * d._log_det()


def _square(q: Any, off: Tensor) -> Tensor:
    """``off' S^-1 off`` with the covariance S of q."""
    if isinstance(q, MultivariateNormal):
        return batch_mahalanobis(q._unbroadcasted_scale_tril, off)
    return mahalanobis(q._unbroadcasted_cov_factor, q._unbroadcasted_cov_diag, off, q._capacitance_tril)


def _roots(p: Any) -> list[Tensor]:
    """Matrices whose products with their transposes add up to the covariance of p."""
    if isinstance(p, MultivariateNormal):
        return [p._unbroadcasted_scale_tril]
    return [p._unbroadcasted_cov_factor, p._unbroadcasted_cov_diag.sqrt().diag_embed()]


def _kl_normal_vectors(p: Any, q: Any) -> Tensor:
    if p.event_shape != q.event_shape:
        raise ValueError(
            f"KL-divergence between {type(p).__name__} and {type(q).__name__} with different event shapes cannot be "
            f"computed: {tuple(p.event_shape)} and {tuple(q.event_shape)}"
        )
    # tr(S^-1 R R') is the sum of c' S^-1 c over the columns c of R
    trace: Any = sum(_square_columns(q, root) for root in _roots(p))
    return _half_log_det(q) - _half_log_det(p) + 0.5 * (trace + _square(q, q.loc - p.loc) - p.event_shape[0])


def _square_columns(q: Any, root: Tensor) -> Tensor:
    columns = root.mT.movedim(-2, 0)  # one vector of a batch for each column
    batch = q.loc.shape[:-1]
    shape = ops.broadcast_shapes(columns.shape[1:-1], batch)
    columns = columns.reshape((columns.shape[0], *(1,) * (len(shape) - columns.dim() + 2), *columns.shape[1:]))
    return _square(q, columns).sum(0)


for _p in (MultivariateNormal, LowRankMultivariateNormal):
    for _q in (MultivariateNormal, LowRankMultivariateNormal):
        register_kl(_p, _q)(_kl_normal_vectors)
