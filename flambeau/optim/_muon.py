"""Muon (Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024)."""

from __future__ import annotations

import math
from typing import Any

from .. import ops
from ..dtype import bfloat16
from ..tensor import Tensor
from ._update import GroupOptimizer, common_kind, number
from .optimizer import ParamsT

__all__ = ["Muon"]

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ADJUSTMENTS = (None, "original", "match_rms_adamw")


class Muon(GroupOptimizer):
    """Muon: momentum whose matrix is made nearly orthogonal by Newton-Schulz iterations before each step.

    Args:
        params: matrices (two dimensions), named or not, or groups of them.
        lr: the learning rate, adjusted for the shape of each matrix.
        weight_decay: shrinks the parameter itself.
        momentum: the weight of the past in the running mean of gradients.
        nesterov: look ahead along the mean.
        ns_coefficients: the quintic's coefficients for the first, third and fifth power.
        eps: least norm that the matrix is divided by.
        ns_steps: number of iterations, fewer than 100.
        adjust_lr_fn: "original" (the default): times sqrt(max(1, rows / columns)); "match_rms_adamw": times
            0.2 sqrt(max(rows, columns)), after which learning rates of AdamW fit (Liu et al., "Muon is Scalable
            for LLM Training", 2025).
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = _COEFFICIENTS,
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError(f"Tensor lr must be 1-element, but has shape {tuple(lr.shape)}")
        if not lr >= 0.0:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not momentum >= 0.0:
            raise ValueError(f"momentum should be >= 0 but is: {momentum}")
        if not weight_decay >= 0.0:
            raise ValueError(f"weight decay should be >= 0 but is: {weight_decay}")
        if adjust_lr_fn not in _ADJUSTMENTS:
            raise ValueError(
                f"Adjust learning rate function {adjust_lr_fn} is not supported; choose 'original' or 'match_rms_adamw'"
            )
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)
        for group in self.param_groups:
            for param in group["params"]:
                if param.ndim != 2:
                    raise ValueError(
                        f"Muon only supports 2D parameters whereas we found a parameter with size: {param.size()}"
                    )

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        if param.is_complex():
            raise RuntimeError("Muon does not support complex parameters")
        return {"momentum_buffer": ops.zeros_like(param.grad)}

    def _update(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], states: list[dict[str, Any]]
    ) -> None:
        lr, momentum = number(group["lr"], keep=False), group["momentum"]
        for param, grad, mean in zip(params, grads, common_kind(states, "momentum_buffer")):
            mean.lerp_(grad, 1 - momentum)
            direction = grad.lerp(mean, momentum) if group["nesterov"] else mean
            update = _orthogonalize(direction, group["ns_coefficients"], group["ns_steps"], group["eps"])
            rate = _adjusted(lr, group["adjust_lr_fn"], param.shape)
            param.mul_(1 - lr * group["weight_decay"])
            param.sub_(update.to(param.dtype) * rate)


def _adjusted(lr: float, adjust_lr_fn: str | None, shape: Any) -> float:
    """The learning rate for a matrix of this shape."""
    rows, columns = shape[:2]
    if adjust_lr_fn == "match_rms_adamw":
        return lr * 0.2 * math.sqrt(max(rows, columns))
    return lr * math.sqrt(max(1, rows / columns))


def _orthogonalize(matrix: Tensor, coefficients: Any, steps: int, eps: float) -> Tensor:
    """``matrix`` with its singular values driven towards 1, in bfloat16.

    Newton-Schulz: ``X <- a X + (b A + c A A) X`` with ``A = X X'``, on the wide side of the matrix.
    """
    if steps >= 100:
        raise ValueError(f"Number of steps must be less than 100 for computational efficiency, but is {steps}")
    if len(coefficients) != 3:
        raise ValueError(f"Coefficients must be a tuple of exactly 3 values, but are {coefficients}")
    if matrix.ndim != 2:
        raise ValueError(f"Input tensor gradient must be a 2D matrix, but has shape {tuple(matrix.shape)}")
    a, b, c = coefficients
    x = matrix.to(bfloat16)
    tall = x.size(0) > x.size(1)
    if tall:
        x = x.T
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = ops.addmm(x, ops.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
