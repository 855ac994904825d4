"""RAdam (Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", ICLR 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from .. import ops
from ..tensor import Tensor
from ._update import (
    FLAGS,
    GroupOptimizer,
    Rule,
    advance,
    apply_by_flag,
    as_real,
    bias_corrections,
    check_beta,
    check_lr,
    check_nonnegative,
    check_steps,
    decay_kind,
    new_step,
    number,
    scalars_by_step,
    sqrt,
    start,
)
from .optimizer import ParamsT

__all__ = ["RAdam", "radam"]


def _formula(variant: Any, arrays: Sequence[Any], scalars: Sequence[Any], maths: Any) -> tuple[Any, ...]:
    maximize, decay, rectified = variant
    shrink, weight_decay, weight1, beta2, weight2, correction1, root2, lr, rectification, eps = scalars
    param, grad, exp_avg, exp_avg_sq = arrays
    param, grad = start(param, grad, maximize, decay, weight_decay, shrink)
    exp_avg = maths.lerp(exp_avg, grad, weight1)
    exp_avg_sq = exp_avg_sq * beta2 + grad * weight2 * grad
    step = exp_avg / correction1 * lr
    if rectified:
        step = step * (1 / (maths.sqrt(exp_avg_sq) + eps) * root2) * rectification
    return param - step, exp_avg, exp_avg_sq


RULE = Rule("radam", "param grad exp_avg exp_avg_sq", reads="grad", formula=_formula)


def radam(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    state_steps: list[Tensor],
    decoupled_weight_decay: bool = False,
    foreach: bool | None = None,
    differentiable: bool = False,
    capturable: bool = False,
    has_complex: bool = False,
    maximize: bool = False,
    *,
    beta1: float,
    beta2: float,
    lr: float,
    weight_decay: float,
    eps: float,
) -> None:
    """One step of :class:`RAdam` on lists of tensors, updated in place."""
    check_steps(state_steps, params, capturable, bool(foreach) and differentiable)
    keep = capturable or differentiable
    lr = number(lr, keep)
    rho_inf = 2 / (1 - beta2) - 1

    def scalars(step: Any) -> tuple[bool, tuple[Any, ...]]:
        correction1, correction2 = bias_corrections(step, beta1, beta2)
        rho = rho_inf - 2 * step * beta2**step / correction2
        rectified = bool(rho > 5.0)
        rectification = 1.0
        if rectified:
            rectification = sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
        return rectified, (
            1 - lr * weight_decay,
            weight_decay,
            1 - beta1,
            beta2,
            1 - beta2,
            correction1,
            sqrt(correction2),
            lr,
            rectification,
            eps,
        )

    decay = decay_kind(weight_decay, decoupled_weight_decay)
    numbers = scalars_by_step(advance(state_steps, capturable), scalars)
    arrays = as_real(params, grads, exp_avgs, exp_avg_sqs)
    apply_by_flag(
        RULE, (maximize, decay), [is_rectified for is_rectified, _ in numbers], arrays, [x for _, x in numbers]
    )


class RAdam(GroupOptimizer):
    r"""RAdam: Adam that steps along the mean alone until the variance of its denominator can be rectified.

    With :math:`\rho_\infty = 2 / (1 - \beta_2) - 1` and
    :math:`\rho_t = \rho_\infty - 2 t \beta_2^t / (1 - \beta_2^t)`, the denominator is used when
    :math:`\rho_t > 5`, times the rectification of the paper.

    Args:
        params: tensors, named tensors, or groups.
        lr: the learning rate.
        betas: as in Adam.
        eps: added to the denominator.
        weight_decay: added to the gradient times the parameter, or applied to the parameter itself when
            ``decoupled_weight_decay``.
        foreach: accepted; every step updates all parameters at once where it can.
        maximize: ascend instead of descend.
        capturable: keep step counters on the device of the parameters; not for the CPU.
        differentiable: record the step, so that one can differentiate through it.
    """

    _functional = staticmethod(radam)
    _states = ("exp_avg", "exp_avg_sq", "step")
    _later_options: ClassVar[dict[str, Any]] = {**FLAGS, "decoupled_weight_decay": False}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check_nonnegative("epsilon value", eps)
        check_beta(0, betas[0])
        check_beta(1, betas[1])
        check_nonnegative("weight_decay value", weight_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "step": new_step(param, group["capturable"]),
            "exp_avg": ops.zeros_like(param),
            "exp_avg_sq": ops.zeros_like(param),
        }
