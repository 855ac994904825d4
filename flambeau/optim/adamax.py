"""Adamax (Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, section 7.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from ..tensor import Tensor
from ._update import (
    FLAGS,
    GroupOptimizer,
    Rule,
    advance,
    apply,
    as_real,
    bias_corrections,
    check_beta,
    check_lr,
    check_nonnegative,
    check_steps,
    new_step,
    number,
    scalars_by_step,
    start,
)
from .optimizer import ParamsT

__all__ = ["Adamax", "adamax"]


def _formula(variant: Any, arrays: Sequence[Any], scalars: Sequence[Any], maths: Any) -> tuple[Any, ...]:
    maximize, decay = variant
    weight_decay, weight1, beta2, rate, eps = scalars
    param, grad, exp_avg, exp_inf = arrays
    param, grad = start(param, grad, maximize, decay, weight_decay)
    exp_avg = maths.lerp(exp_avg, grad, weight1)
    exp_inf = maths.maximum(exp_inf * beta2, maths.abs(grad) + eps)
    return param - exp_avg * rate / exp_inf, exp_avg, exp_inf


RULE = Rule("adamax", "param grad exp_avg exp_inf", reads="grad", formula=_formula)


def adamax(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_infs: list[Tensor],
    state_steps: list[Tensor],
    foreach: bool | None = None,
    maximize: bool = False,
    differentiable: bool = False,
    capturable: bool = False,
    has_complex: bool = False,
    *,
    eps: float,
    beta1: float,
    beta2: float,
    lr: float,
    weight_decay: float,
) -> None:
    """One step of :class:`Adamax` on lists of tensors, updated in place."""
    check_steps(state_steps, params, capturable, bool(foreach) and differentiable)
    keep = capturable or differentiable
    lr = number(lr, keep)
    scalars = scalars_by_step(
        advance(state_steps, capturable),
        lambda step: (weight_decay, 1 - beta1, beta2, lr / bias_corrections(step, beta1)[0], eps),
    )
    apply(RULE, (maximize, weight_decay != 0), as_real(params, grads, exp_avgs, exp_infs), scalars)


class Adamax(GroupOptimizer):
    r"""Adamax: Adam with the infinity norm, :math:`u \leftarrow \max(\beta_2 u, |g| + \epsilon)`.

    :math:`p \leftarrow p - \gamma / (1 - \beta_1^t) \cdot m / u`.

    Args:
        params: tensors, named tensors, or groups.
        lr: the learning rate :math:`\gamma`.
        betas: :math:`\beta_1, \beta_2`.
        eps: :math:`\epsilon`.
        weight_decay: added to the gradient times the parameter.
        foreach: accepted; every step updates all parameters at once where it can.
        maximize: ascend instead of descend.
        differentiable: record the step, so that one can differentiate through it.
        capturable: keep step counters on the device of the parameters; not for the CPU.
    """

    _functional = staticmethod(adamax)
    _states = ("exp_avg", "exp_inf", "step")
    _later_options = FLAGS

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
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
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "step": new_step(param, group["capturable"]),
            "exp_avg": ops.zeros_like(param),
            "exp_inf": ops.zeros_like(param),
        }
