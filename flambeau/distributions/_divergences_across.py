"""Divergences between families.

KL(p || q) is the mean of -log q(x) over x from p, without the entropy of p.  For each q that mean is written once, in
terms of moments of p: the mean, the variance, the mean logarithm, or the moment generating function.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .. import ops
from ..tensor import Tensor
from .bernoulli import Bernoulli
from .beta import Beta
from .binomial import Binomial
from .continuous_bernoulli import ContinuousBernoulli
from .exponential import Exponential
from .gamma import Gamma
from .gumbel import Gumbel
from .kl import register_kl
from .laplace import Laplace
from .normal import Normal
from .pareto import Pareto
from .poisson import Poisson
from .uniform import Uniform
from .utils import HALF_LOG_2PI, euler_constant

__all__: list[str] = []

_INF = float("inf")


# -- moments -----------------------------------------------------------------------------------------


def _lowest(p: Any) -> Any:
    """The lower end of the support."""
    return p.low if isinstance(p, Uniform) else 0.0


def _highest(p: Any) -> Any:
    """The upper end of the support of a distribution of bounded numbers."""
    return p.high if isinstance(p, Uniform) else 1.0


def _x_log_x(x: Tensor) -> Tensor:
    return x.xlogy(x)


_mean_logs: dict[type, Callable[[Any], Tensor]] = {
    Beta: lambda p: p.concentration1.digamma() - (p.concentration1 + p.concentration0).digamma(),
    Exponential: lambda p: -euler_constant - p.rate.log(),
    Gamma: lambda p: p.concentration.digamma() - p.rate.log(),
    Pareto: lambda p: p.alpha.reciprocal() + p.scale.log(),
    Uniform: lambda p: (_x_log_x(p.high) - _x_log_x(p.low)) / (p.high - p.low) - 1,
}


def _mean_log(p: Any) -> Tensor:
    """The mean of log(x)."""
    return _mean_logs[type(p) if type(p) in _mean_logs else next(c for c in _mean_logs if isinstance(p, c))](p)


_log_mgfs: dict[type, Callable[[Any, Tensor], Tensor]] = {
    Exponential: lambda p, t: -(-t / p.rate).log1p(),
    Gamma: lambda p, t: -p.concentration * (-t / p.rate).log1p(),
    Normal: lambda p, t: p.loc * t + 0.5 * (p.scale * t).square(),
    Uniform: lambda p, t: (((p.high * t).exp() - (p.low * t).exp()) / (t * (p.high - p.low))).log(),
}


def _log_mgf(p: Any, t: Tensor) -> Tensor:
    """The logarithm of the mean of exp(t x)."""
    return next(f for c, f in _log_mgfs.items() if isinstance(p, c))(p, t)


# -- the mean of -log q ------------------------------------------------------------------------------


def _cross_normal(p: Any, q: Normal) -> Tensor:
    spread = (p.variance + (p.mean - q.loc).square()) / (2 * q.scale.square())
    spread = spread.masked_fill(ops.isinf(p.mean) | ops.isinf(p.variance), _INF)
    return HALF_LOG_2PI + q.scale.log() + spread


def _cross_exponential(p: Any, q: Exponential) -> Tensor:
    return _inside(p, q.rate * p.mean - q.rate.log())


def _cross_gamma(p: Any, q: Gamma) -> Tensor:
    normalizer = q.concentration.lgamma() - q.concentration * q.rate.log()
    return _inside(p, normalizer - (q.concentration - 1) * _mean_log(p) + q.rate * p.mean)


def _cross_gumbel(p: Any, q: Gumbel) -> Tensor:
    off = (p.mean - q.loc) / q.scale
    return q.scale.log() + off + (q.loc / q.scale + _log_mgf(p, -q.scale.reciprocal())).exp()


def _cross_pareto(p: Any, q: Pareto) -> Tensor:
    found = (q.alpha + 1) * _mean_log(p) - q.alpha.log() - q.alpha * q.scale.log()
    return found.masked_fill(_lowest(p) < q.scale, _INF)


def _cross_uniform(p: Any, q: Uniform) -> Tensor:
    found = (q.high - q.low).log()
    return found.masked_fill((_lowest(p) < q.low) | (_highest(p) > q.high), _INF)


def _cross_continuous_bernoulli(p: Any, q: ContinuousBernoulli) -> Tensor:
    return _inside(p, -p.mean * q.logits - (-q.probs).log1p() - q._log_norm(), 1.0)


def _cross_beta(p: Uniform, q: Beta) -> Tensor:
    a, b = q.concentration1, q.concentration0
    width = p.high - p.low
    mean_log_rest = (_x_log_x(1 - p.low) - _x_log_x(1 - p.high)) / width - 1
    normalizer = a.lgamma() + b.lgamma() - (a + b).lgamma()
    return _inside(p, normalizer - (a - 1) * _mean_log(p) - (b - 1) * mean_log_rest, 1.0)


def _cross_laplace(p: Normal, q: Laplace) -> Tensor:
    off = p.loc - q.loc
    z = off / p.scale
    # the mean of a folded normal number
    distance = p.scale * math.sqrt(2 / math.pi) * (-0.5 * z.square()).exp() + off * (z * math.sqrt(0.5)).erf()
    return (2 * q.scale).log() + distance / q.scale


def _cross_poisson(p: Bernoulli, q: Poisson) -> Tensor:
    return q.rate - p.probs * q.rate.log()


def _inside(p: Any, found: Tensor, top: float | None = None) -> Tensor:
    """Infinity where p reaches below 0, or above ``top``."""
    if not isinstance(p, Uniform):
        return found
    outside = p.low < 0 if top is None else (p.low < 0) | (p.high > top)
    return ops.where(outside, _INF, found)


def _registered(cross: Callable[[Any, Any], Tensor]) -> Callable[[Any, Any], Tensor]:
    return lambda p, q: cross(p, q) - p.entropy()


_CROSS: list[tuple[type, Callable[[Any, Any], Tensor], tuple[type, ...]]] = [
    (Normal, _cross_normal, (Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Laplace, Pareto, Uniform)),
    (Exponential, _cross_exponential, (Beta, ContinuousBernoulli, Gamma, Pareto, Uniform)),
    (Gamma, _cross_gamma, (Beta, Exponential, Pareto, Uniform)),
    (Gumbel, _cross_gumbel, (Exponential, Gamma, Normal, Uniform)),
    (Pareto, _cross_pareto, (Uniform,)),
    (Uniform, _cross_uniform, (Beta, ContinuousBernoulli)),
    (ContinuousBernoulli, _cross_continuous_bernoulli, (Beta, Uniform)),
    (Beta, _cross_beta, (Uniform,)),
    (Laplace, _cross_laplace, (Normal,)),
    (Poisson, _cross_poisson, (Bernoulli,)),
]
for _q, _formula, _ps in _CROSS:
    for _p in _ps:
        register_kl(_p, _q)(_registered(_formula))


def _infinite(p: Any, q: Any) -> Tensor:
    """Where p has mass where q has none."""
    return ops.full_like(p.mean, _INF)


_UNBOUNDED: list[tuple[type, tuple[type, ...]]] = [
    (Beta, (Exponential, Gamma, Gumbel, Laplace, Normal, Pareto)),
    (ContinuousBernoulli, (Exponential, Gamma, Gumbel, Laplace, Normal, Pareto)),
    (Exponential, (Gumbel, Laplace, Normal)),
    (Gamma, (Gumbel, Laplace, Normal)),
    (Pareto, (Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Laplace, Normal)),
    (Uniform, (Exponential, Gamma, Gumbel, Laplace, Normal, Pareto)),
    (Bernoulli, (Poisson,)),
    (Binomial, (Poisson,)),
]
for _q, _ps in _UNBOUNDED:
    for _p in _ps:
        register_kl(_p, _q)(_infinite)
