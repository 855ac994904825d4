"""Adadelta (Zeiler, "ADADELTA: An Adaptive Learning Rate Method", 2012)."""

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
    check_lr,
    check_nonnegative,
    check_steps,
    new_step,
    number,
    start,
)
from .optimizer import ParamsT

__all__ = ["Adadelta", "adadelta"]


def _formula(variant: Any, arrays: Sequence[Any], scalars: Sequence[Any], maths: Any) -> tuple[Any, ...]:
    maximize, decay = variant
    lr, weight_decay, rho, weight, eps = scalars
    param, grad, square_avg, acc_delta = arrays
    param, grad = start(param, grad, maximize, decay, weight_decay)
    square_avg = square_avg * rho + grad * weight * grad
    delta = maths.sqrt(acc_delta + eps) / maths.sqrt(square_avg + eps) * grad
    acc_delta = acc_delta * rho + delta * weight * delta
    return param - delta * lr, square_avg, acc_delta


RULE = Rule("adadelta", "param grad square_avg acc_delta", reads="grad", formula=_formula)


def adadelta(
    params: list[Tensor],
    grads: list[Tensor],
    square_avgs: list[Tensor],
    acc_deltas: list[Tensor],
    state_steps: list[Tensor],
    capturable: bool = False,
    foreach: bool | None = None,
    differentiable: bool = False,
    has_complex: bool = False,
    *,
    lr: float,
    rho: float,
    eps: float,
    weight_decay: float,
    maximize: bool,
) -> None:
    """One step of :class:`Adadelta` on lists of tensors, updated in place."""
    check_steps(state_steps, params, capturable, bool(foreach) and differentiable)
    scalars = (number(lr, capturable or differentiable), weight_decay, rho, 1 - rho, eps)
    advance(state_steps, keep=True)
    arrays = as_real(params, grads, square_avgs, acc_deltas)
    apply(RULE, (maximize, weight_decay != 0), arrays, [scalars] * len(params))


class Adadelta(GroupOptimizer):
    r"""Adadelta: steps scaled by the ratio of the running sizes of past steps and of gradients.

    :math:`v \leftarrow \rho v + (1-\rho) g^2`, :math:`\Delta = \sqrt{u + \epsilon} / \sqrt{v + \epsilon} \, g`,
    :math:`u \leftarrow \rho u + (1-\rho) \Delta^2`, :math:`p \leftarrow p - \gamma \Delta`.

    Args:
        params: tensors, named tensors, or groups.
        lr: :math:`\gamma`.
        rho: :math:`\rho`.
        eps: :math:`\epsilon`.
        weight_decay: added to the gradient times the parameter.
        foreach: accepted; every step updates all parameters at once where it can.
        capturable: keep step counters on the device of the parameters; not for the CPU.
        maximize: ascend instead of descend.
        differentiable: record the step, so that one can differentiate through it.
    """

    _functional = staticmethod(adadelta)
    _states = ("square_avg", "acc_delta", "step")
    _later_options = FLAGS

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}; it must lie in [0, 1]")
        check_nonnegative("epsilon value", eps)
        check_nonnegative("weight_decay value", weight_decay)
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {
            "step": new_step(param, group["capturable"]),
            "square_avg": ops.zeros_like(param),
            "acc_delta": ops.zeros_like(param),
        }
