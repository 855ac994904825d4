"""The LKJ distribution of correlation matrices, by their Cholesky factors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import ops
from ..autograd.mode import no_grad
from ..dtype_info import finfo
from ..layout import Size
from ..tensor import Tensor
from . import constraints
from .beta import Beta
from .distribution import Distribution
from .utils import broadcast_all

__all__ = ["LKJCholesky"]


class LKJCholesky(Distribution):
    """Cholesky factors of ``dim`` x ``dim`` correlation matrices M with a density like det(M)^(concentration - 1)
    (D. Lewandowski, D. Kurowicka, H. Joe, Generating random correlation matrices based on vines and extended onion
    method, 2009)."""

    arg_constraints = {"concentration": constraints.positive}
    support = constraints.corr_cholesky
    _parameters = {"concentration": 0}

    def __init__(self, dim: int, concentration: Any = 1.0, validate_args: bool | None = None) -> None:
        if dim < 2:
            raise ValueError(f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}.")
        self.dim = dim
        (self.concentration,) = broadcast_all(concentration)
        # row k of the onion method: its length below the diagonal squared is beta
        row = ops.arange(dim - 1, dtype=self.concentration.dtype, device=self.concentration.device)
        row = ops.cat([row.new_zeros((1,)), row])
        last = (self.concentration + 0.5 * (dim - 2)).unsqueeze(-1)
        self._beta = Beta(row + 0.5, last - 0.5 * row)
        super().__init__(self.concentration.shape, (dim, dim), validate_args=validate_args)

    def _expand_more(self, new: Any, batch_shape: Any) -> None:
        new.dim, new._beta = self.dim, self._beta.expand((*batch_shape, self.dim))

    def sample(self, sample_shape: Sequence[int] = Size()) -> Tensor:
        """Samples by the onion method: rows of beta length in uniform directions."""
        with no_grad():
            length = self._beta.sample(sample_shape).unsqueeze(-1)
            place = {"dtype": length.dtype, "device": length.device}
            direction = ops.randn(self._extended_shape(sample_shape), **place).tril(-1)
            direction = direction / direction.norm(dim=-1, keepdim=True)
            direction[..., 0, :] = 0.0
            below = length.sqrt() * direction
            rest = (1 - below.square().sum(-1)).clamp(min=finfo(below.dtype).tiny)
            return below + rest.sqrt().diag_embed()

    def log_prob(self, value: Tensor) -> Tensor:
        """The density of the Cholesky factor of a correlation matrix, by its diagonal.  Lewandowski, Kurowicka & Joe
        2009."""
        if self._validate_args:
            self._validate_sample(value)
        n, eta = self.dim, self.concentration
        diagonal = value.diagonal(dim1=-2, dim2=-1)[..., 1:]
        order = ops.arange(2, n + 1, dtype=eta.dtype, device=eta.device)
        power = 2 * (eta - 1).unsqueeze(-1) + n - order
        alpha = eta + 0.5 * (n - 1)
        normalizer = 0.5 * (n - 1) * math.log(math.pi) + ops.mvlgamma(alpha - 0.5, n - 1) - alpha.lgamma() * (n - 1)
        return (power * diagonal.log()).sum(-1) - normalizer
