"""Random numbers of distributions whose parameters are tensors (see ``random_fill`` for how they are drawn)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .. import device as devices
from .. import generator as draw
from ..autograd.mode import no_grad
from ..dispatch.operator import operator
from ..dtype import int64
from ..generator import Generator
from ..graph.node import broadcast_shapes
from ..tensor import Tensor, address, contiguous
from ..transform.level import Wrapper
from .create import empty_like
from .random_fill import check_generator, fill_in_order, like_members, need, row_major, title, zero_derivative

__all__: list[str] = []


@operator(kind="eager")
def bernoulli(input: Tensor, p: Any = None, *, generator: Generator | None = None) -> Tensor:
    """1 where a trial succeeds, else 0: of the probabilities ``input``, or all of ``p`` in the shape of ``input``."""
    check_generator("bernoulli", generator)
    if p is not None:
        return empty_like(input).bernoulli_(p, generator=generator)  # type: ignore[attr-defined]
    result = like_members(input)
    return result.bernoulli_(input.detach(), generator=generator)  # type: ignore[attr-defined]


zero_derivative(bernoulli)


@operator(kind="eager", method=False, out=False)
def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Poisson numbers with the means ``input``; RuntimeError for a negative one, NotImplementedError for integers."""
    check_generator("poisson", generator)
    need("poisson_cpu", input.dtype)
    code = input.dtype.code
    result = like_members(input)

    def fill(at: int, n: int, rates: int) -> None:
        if not draw.fill_poisson(generator, at, n, code, rates):
            raise RuntimeError("poisson: invalid Poisson rate, expected rate to be non-negative")

    fill_in_order(result, fill, input)
    return result


zero_derivative(poisson)


@operator(kind="eager", method=False, out=False, differentiable=False)
def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """Successes among ``count`` trials of probability ``prob`` (float32 or float64 tensors of one type, broadcast)."""
    check_generator("binomial", generator)
    if count.dtype is not prob.dtype:
        raise RuntimeError(f"binomial: Found dtype {title(prob.dtype)} but expected {title(count.dtype)}")
    need("binomial_cpu", count.dtype, ("f32", "f64"))
    shape = broadcast_shapes(tuple(count.shape), tuple(prob.shape))
    numbers, chances = (t.expand(shape) for t in (count, prob))  # type: ignore[attr-defined]
    result = like_members(numbers if isinstance(count, Wrapper) else chances)
    code = count.dtype.code
    fill_in_order(result, lambda p, n, *of: draw.fill_binomial(generator, p, n, code, *of), numbers, chances)
    return result


binomial.random = True


@operator(kind="eager", differentiable=False)
def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """``num_samples`` indices (int64) for each row of weights; without ``replacement`` all different.

    Raises RuntimeError for weights that are negative, infinite, NaN or all zero, and for more samples than weights.
    """
    check_generator("multinomial", generator)
    if not 0 < input.ndim <= 2:
        raise RuntimeError(f"multinomial: prob_dist must be 1 or 2 dim, got {input.ndim}")
    if input.dtype.kind != "f":
        raise RuntimeError(f"multinomial only supports floating-point dtypes for input, got: {title(input.dtype)}")
    columns = input.shape[-1]
    if num_samples <= 0:
        raise RuntimeError(f"multinomial: cannot sample n_sample <= 0 samples, got {num_samples}")
    if not replacement and num_samples > columns:
        raise RuntimeError(
            "multinomial: cannot sample n_sample > prob_dist.size(-1) samples without replacement "
            f"({num_samples} > {columns})"
        )
    if columns > 2**24:
        raise RuntimeError(f"multinomial: number of categories cannot exceed 2^24, got {columns}")
    shape = (*input.shape[:-1], num_samples)
    result = contiguous(int64, shape, input.device)
    if result.numel() == 0 or input.device is devices.meta:
        return result
    weights = row_major(input)
    rows = weights.numel() // max(1, columns)
    if replacement and num_samples > 1:
        args = (rows, columns, num_samples, input.dtype.code, address(weights))
        fault = draw.fill_multinomial(generator, address(result), *args)
        if fault:
            raise _MULTINOMIAL[fault]()
        return result
    with no_grad():
        if not bool(((weights >= 0) & (weights < math.inf)).all()):  # type: ignore[attr-defined,operator]
            raise _MULTINOMIAL[1]()
        if bool((weights.sum(-1) == 0).any()):  # type: ignore[attr-defined]
            raise _MULTINOMIAL[2]()
        # The smallest of exponential times with these rates comes first (P. Efraimidis, P. Spirakis, 2006).
        race = weights / empty_like(weights).exponential_(1.0, generator=generator)  # type: ignore[attr-defined]
        if num_samples == 1:
            return race.argmax(-1, keepdim=True)
        return race.topk(num_samples, -1)[1]


multinomial.random = True
multinomial.apart = True  # ``out`` must be int64


_MULTINOMIAL: dict[int, Callable[[], RuntimeError]] = {
    1: lambda: RuntimeError("multinomial: probability tensor contains either `inf`, `nan` or element < 0"),
    2: lambda: RuntimeError("multinomial: invalid multinomial distribution (sum of probabilities <= 0)"),
}


@operator(kind="eager", method=False, out=False)
def _standard_gamma(self: Tensor, generator: Generator | None = None) -> Tensor:
    """Gamma numbers of scale 1 with the shapes ``self`` (float32 or float64), by which they can be differentiated."""
    check_generator("_standard_gamma", generator)
    need("gamma_cpu", self.dtype, ("f32", "f64"))
    result = like_members(self)
    fill_in_order(result, lambda p, n, shapes: draw.fill_gamma(generator, p, n, self.dtype.code, shapes), self)
    return result


@_standard_gamma.gradient("self", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad * _standard_gamma_grad.function(ctx.self, ctx.result)


def _alike(name: str, *operands: Tensor) -> list[Tensor]:
    """The operands in row-major order, broadcast together; raises RuntimeError where their types differ."""
    for t in operands[1:]:
        if t.dtype is not operands[0].dtype:
            raise RuntimeError(f"{name}: expected scalar type {operands[0].dtype} but found {t.dtype}")
    shape = broadcast_shapes(*(t.shape for t in operands))
    return [row_major(t.expand(shape)) for t in operands]  # type: ignore[attr-defined]


@operator(kind="eager", method=False, out=False, differentiable=False)
def _standard_gamma_grad(self: Tensor, output: Tensor) -> Tensor:
    """The derivative of gamma numbers ``output`` by their shapes ``self``."""
    need("standard_gamma_grad_cpu", self.dtype, ("f32", "f64"))
    shapes, samples = _alike("_standard_gamma_grad", self, output)
    result = contiguous(self.dtype, shapes.shape, self.device)
    fill_in_order(result, lambda p, n: draw.gamma_gradient(p, n, self.dtype.code, address(shapes), address(samples)))
    return result


@operator(kind="eager", method=False, out=False, differentiable=False)
def _sample_dirichlet(self: Tensor, generator: Generator | None = None) -> Tensor:
    """Dirichlet numbers with the concentrations along the last dimension of ``self`` (float32 or float64)."""
    check_generator("_sample_dirichlet", generator)
    need("dirichlet", self.dtype, ("f32", "f64"))
    columns = self.shape[-1] if self.ndim else 1
    shapes, result = row_major(self), contiguous(self.dtype, self.shape, self.device)
    fill_in_order(
        result, lambda p, n: draw.fill_dirichlet(generator, p, n // columns, columns, self.dtype.code, address(shapes))
    )  # fmt: skip
    return result


_sample_dirichlet.random = True


@operator(kind="eager", method=False, out=False, differentiable=False)
def _dirichlet_grad(x: Tensor, alpha: Tensor, total: Tensor) -> Tensor:
    """How Dirichlet numbers ``x`` move with their concentrations ``alpha`` of the sum ``total``, over 1 - x."""
    need("_dirichlet_grad_cpu", x.dtype, ("f32", "f64"))
    parts = _alike("_dirichlet_grad", x, alpha, total)
    result = contiguous(x.dtype, parts[0].shape, x.device)
    fill_in_order(result, lambda p, n: draw.dirichlet_gradient(p, n, x.dtype.code, *(address(t) for t in parts)))
    return result
