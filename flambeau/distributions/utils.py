"""What distributions share: broadcasting of parameters, probabilities and logits, properties computed once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import update_wrapper
from numbers import Number
from typing import Any

from .. import ops
from ..autograd.mode import enable_grad
from ..dispatch.operator import operator
from ..dtype import dtype as dtype_
from ..dtype import get_default_dtype
from ..dtype_info import finfo
from ..tensor import Tensor

__all__ = [
    "broadcast_all",
    "clamp_probs",
    "lazy_property",
    "logits_to_probs",
    "probs_to_logits",
    "tril_matrix_to_vec",
    "vec_to_tril_matrix",
]

euler_constant = 0.57721566490153286060
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def fused(body: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Makes an elementwise formula of tensors (annotated ``Operand``) one operator: a kernel forward, one backward."""
    code = body.__code__
    names = tuple(n for n in code.co_varnames[: code.co_argcount] if body.__annotations__[n] == "Operand")
    made = operator(
        name="_distributions" + body.__name__, promote=names, to="float", method=False, function=False, out=False
    )(body)
    return made.function


def broadcast_all(*values: Any) -> tuple[Tensor, ...]:
    """The values as tensors of one shape; numbers become tensors of the first tensor's type and device.

    Raises ValueError for other than numbers and tensors (or objects with ``__torch_function__``).
    """
    tensors = [v for v in values if isinstance(v, Tensor)]
    if len(tensors) < len(values):
        for v in values:
            if not (isinstance(v, (Tensor, Number)) or hasattr(v, "__torch_function__")):
                raise ValueError(
                    "Input arguments must all be instances of Number, torch.Tensor or objects implementing "
                    f"__torch_function__; got {type(v).__name__}."
                )
        place = {
            "dtype": tensors[0].dtype if tensors else get_default_dtype(),
            "device": tensors[0].device if tensors else None,
        }
        values = tuple(ops.tensor(v, **place) if isinstance(v, Number) else v for v in values)
    return tuple(ops.broadcast_tensors(*values))


def _standard_normal(shape: Sequence[int], dtype: dtype_, device: Any) -> Tensor:
    """Normal numbers of mean 0 and deviation 1."""
    return ops.empty(shape, dtype=dtype, device=device).normal_()


def drawn_like(parameter: Tensor, shape: Sequence[int]) -> Tensor:
    """An unfilled tensor of this shape, of the type and on the device of a parameter."""
    return ops.empty(shape, dtype=parameter.dtype, device=parameter.device)


def uniform_like(parameter: Tensor, shape: Sequence[int]) -> Tensor:
    """Uniform numbers in [0, 1) of the type of a parameter."""
    return ops.rand(shape, dtype=parameter.dtype, device=parameter.device)


def _sum_rightmost(value: Any, dims: int) -> Any:
    """The sum over the last ``dims`` dimensions; numbers stay."""
    return value if dims == 0 or not isinstance(value, Tensor) else value.sum(tuple(range(-dims, 0)))


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """Probabilities of log-odds (``is_binary``), or of unnormalised log-probabilities along the last dimension."""
    return logits.sigmoid() if is_binary else logits.softmax(-1)


def clamp_probs(probs: Tensor) -> Tensor:
    """Probabilities kept a rounding error away from 0 and 1."""
    eps = finfo(probs.dtype).eps
    return probs.clamp(eps, 1 - eps)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """Log-odds (``is_binary``) or logarithms of probabilities, those of 0 and 1 finite."""
    inside = clamp_probs(probs)
    return inside.log() - (-inside).log1p() if is_binary else inside.log()


def softplus(x: Tensor) -> Tensor:
    """``log(1 + exp(x))``; its slope at 0 is a half."""
    return -ops.logsigmoid(-x)


class LazyProperty(property):
    """What a class shows of a ``lazy_property``."""


class lazy_property:
    """A property that is computed when first read, with gradients recorded, and kept as an attribute."""

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        self.wrapped = wrapped
        update_wrapper(self, wrapped)  # type: ignore[arg-type]

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return LazyProperty(self.wrapped)
        with enable_grad():
            value = self.wrapped(instance)
        setattr(instance, self.wrapped.__name__, value)
        return value


def tril_matrix_to_vec(mat: Tensor, diag: int = 0) -> Tensor:
    """The elements on and below diagonal ``diag`` of (..., n, n) matrices, row by row.

    Raises ValueError for a diagonal outside of the matrix.
    """
    n = mat.shape[-1]
    if not -n <= diag < n:
        raise ValueError(f"diag ({diag}) provided is outside [{-n}, {n - 1}].")
    rows, columns = ops.tril_indices(n, n, diag, device=mat.device)
    return mat[..., rows, columns]


def vec_to_tril_matrix(vec: Tensor, diag: int = 0) -> Tensor:
    """The (..., n, n) matrices whose elements on and below diagonal ``diag``, row by row, are ``vec``; else 0.

    Raises ValueError for a number of elements that fits no matrix.
    """
    count = vec.shape[-1]
    # count = n (n + 1) / 2 + n diag for diag <= 0; those above the diagonal that do not exist are left out
    root = (2 * diag + 1) ** 2 + 8 * count + 4 * abs(diag) * (diag + 1)
    size = (-(2 * diag + 1) + root**0.5) / 2
    n = round(size)
    if abs(size - n) > finfo(vec.dtype).eps:
        raise ValueError(
            f"The size of last dimension is {count} which cannot be expressed as the lower triangular part of a square "
            "D x D matrix."
        )
    rows, columns = ops.tril_indices(n, n, diag, device=vec.device)
    mat = vec.new_zeros((*vec.shape[:-1], n, n))
    mat[..., rows, columns] = vec
    return mat
