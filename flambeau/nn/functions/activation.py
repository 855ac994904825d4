"""Activation functions with PyTorch's arguments; the operators are in ``ops``."""

from __future__ import annotations

import warnings
from typing import Any

from ...dispatch.operator import OPERATORS
from ...ops.convert import contiguous_format
from .._base import Tensor, dtype, ops, overridable

__all__ = [
    "celu",
    "celu_",
    "elu",
    "elu_",
    "glu",
    "gumbel_softmax",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hardtanh_",
    "leaky_relu",
    "leaky_relu_",
    "log_softmax",
    "logsigmoid",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "relu_",
    "rrelu",
    "rrelu_",
    "selu",
    "selu_",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
    "threshold_",
]


# These take PyTorch's arguments as they are.
hardshrink = ops.hardshrink
logsigmoid = ops.logsigmoid
prelu = ops.prelu
sigmoid = ops.sigmoid
softplus = ops.softplus
softshrink = ops.softshrink
tanh = ops.tanh


def in_place(name: str, input: Tensor, *args: Any) -> Tensor:
    """Replace the value of ``input`` by that of the operator ``name``; returns it."""
    operator = OPERATORS[name]
    if operator.inplace is not None:
        return operator.inplace(input, *args)
    # The derivative may need the old value: it gets a copy of its own.
    return input.copy_(operator.function(input.clone(), *args))


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(0, x)."""
    return in_place("relu", input) if inplace else ops.relu(input)


def relu_(input: Tensor) -> Tensor:
    """``relu`` in place."""
    return in_place("relu", input)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(0, x), 6)."""
    return hardtanh(input, 0.0, 6.0, inplace)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """min(max(x, min_val), max_val).  Raises ValueError if min_val > max_val."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    return in_place("hardtanh", input, min_val, max_val) if inplace else ops.hardtanh(input, min_val, max_val)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """``hardtanh`` in place."""
    return hardtanh(input, min_val, max_val, True)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, else value."""
    return in_place("threshold", input, threshold, value) if inplace else ops.threshold(input, threshold, value)


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """``threshold`` in place."""
    return in_place("threshold", input, threshold, value)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha (exp(x) - 1)."""
    return in_place("elu", input, alpha) if inplace else ops.elu(input, alpha)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """``elu`` in place."""
    return in_place("elu", input, alpha)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1))."""
    return in_place("celu", input, alpha) if inplace else ops.celu(input, alpha)


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """``celu`` in place."""
    return in_place("celu", input, alpha)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """scale (max(0, x) + min(0, alpha (exp(x) - 1))) with the constants of Klambauer et al., 2017."""
    return in_place("selu", input) if inplace else ops.selu(input)


def selu_(input: Tensor) -> Tensor:
    """``selu`` in place."""
    return in_place("selu", input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x >= 0, else negative_slope x."""
    return in_place("leaky_relu", input, negative_slope) if inplace else ops.leaky_relu(input, negative_slope)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """``leaky_relu`` in place."""
    return in_place("leaky_relu", input, negative_slope)


def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """x where x >= 0, else a x, with a drawn from U(lower, upper) in training, their mean otherwise."""
    return ops.rrelu_(input, lower, upper, training) if inplace else ops.rrelu(input, lower, upper, training)


def rrelu_(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False) -> Tensor:
    """``rrelu`` in place."""
    return ops.rrelu_(input, lower, upper, training)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x sigmoid(x)."""
    return in_place("silu", input) if inplace else ops.silu(input)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x tanh(softplus(x))."""
    return in_place("mish", input) if inplace else ops.mish(input)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x + 3, 0), 6) / 6."""
    return in_place("hardsigmoid", input) if inplace else ops.hardsigmoid(input)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x min(max(x + 3, 0), 6) / 6."""
    return in_place("hardswish", input) if inplace else ops.hardswish(input)


@overridable
def softsign(input: Tensor) -> Tensor:
    """x / (1 + abs(x))."""
    return input / (input.abs() + 1)


@overridable
def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)."""
    return input - input.tanh()


@overridable
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a sigmoid(b), where a and b are the halves of x along ``dim``.  Raises RuntimeError for scalars."""
    if input.dim() == 0:
        raise RuntimeError("glu does not support scalars because halving size must be even")
    return ops.glu(input, dim)


def _chosen_dim(name: str, input: Tensor, stacklevel: int) -> int:
    """The dimension that PyTorch takes where none is given, with its warning."""
    if not isinstance(input, Tensor):
        raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include dim=X as an argument.",
        stacklevel=stacklevel,
    )
    return 0 if input.dim() in (0, 1, 3) else 1


def softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: dtype | None = None) -> Tensor:
    """exp(x_i) / sum_j exp(x_j) along ``dim``; ``dtype`` is the type to compute in and to give."""
    if dim is None:
        dim = _chosen_dim("softmax", input, _stacklevel)
    return ops.softmax(input, dim, dtype)


@overridable
def softmin(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: dtype | None = None) -> Tensor:
    """``softmax`` of -x."""
    if dim is None:
        dim = _chosen_dim("softmin", input, _stacklevel)
    return ops.softmax(-input, dim, dtype)


def log_softmax(input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: dtype | None = None) -> Tensor:
    """The logarithm of ``softmax``, without loss of accuracy."""
    if dim is None:
        dim = _chosen_dim("log_softmax", input, _stacklevel)
    return ops.log_softmax(input, dim, dtype)


@overridable
def gumbel_softmax(logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A sample of the Gumbel-Softmax distribution: softmax((logits + g) / tau), g of the Gumbel distribution.

    Maddison et al., 2016; Jang et al., 2016.  With ``hard`` the result is one-hot, with the gradient of the soft one.

    Args:
        logits: unnormalised log-probabilities.
        tau: the temperature.
        hard: see above.
        eps: has no effect; kept for old programs.
        dim: the dimension of the classes.
    """
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=2)
    gumbels = -ops.empty_like(logits, memory_format=contiguous_format).exponential_().log()
    soft = ops.softmax((logits + gumbels) / tau, dim)
    if not hard:
        return soft
    index = soft.max(dim, keepdim=True)[1]
    one_hot = ops.zeros_like(logits).scatter_(dim, index, 1.0)
    return one_hot - soft.detach() + soft
