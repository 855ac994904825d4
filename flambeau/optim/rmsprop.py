"""RMSprop (Tieleman and Hinton, Lecture 6.5 of "Neural Networks for Machine Learning", 2012).

The centred form is that of Graves, "Generating Sequences With Recurrent Neural Networks", 2013.
"""

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

__all__ = ["RMSprop", "rmsprop"]


def _formula(variant: Any, arrays: Sequence[Any], scalars: Sequence[Any], maths: Any) -> tuple[Any, ...]:
    maximize, decay, centered, moves = variant
    lr, weight_decay, alpha, weight, eps, momentum = scalars
    param, grad, square_avg, *more = arrays
    param, grad = start(param, grad, maximize, decay, weight_decay)
    square_avg = square_avg * alpha + grad * weight * grad
    variance, result = square_avg, []
    if centered:
        mean = maths.lerp(more.pop(0), grad, weight)
        variance = square_avg - mean * mean
        result.append(mean)
    scale = maths.sqrt(variance) + eps
    if not moves:
        return param - grad * lr / scale, square_avg, *result
    velocity = more.pop(0) * momentum + grad / scale
    return param - velocity * lr, square_avg, *result, velocity


RULE = Rule("rmsprop", "param grad square_avg first second", reads="grad", formula=_formula)


def rmsprop(
    params: list[Tensor],
    grads: list[Tensor],
    square_avgs: list[Tensor],
    grad_avgs: list[Tensor],
    momentum_buffer_list: list[Tensor],
    state_steps: list[Tensor],
    foreach: bool | None = None,
    maximize: bool = False,
    differentiable: bool = False,
    capturable: bool = False,
    has_complex: bool = False,
    *,
    lr: float,
    alpha: float,
    eps: float,
    weight_decay: float,
    momentum: float,
    centered: bool,
) -> None:
    """One step of :class:`RMSprop` on lists of tensors, updated in place."""
    check_steps(state_steps, params, capturable, bool(foreach) and differentiable)
    keep = capturable or differentiable
    scalars = (number(lr, keep), weight_decay, alpha, 1 - alpha, eps, momentum)
    advance(state_steps, keep=True)
    lists = [params, grads, square_avgs]
    if centered:
        lists.append(grad_avgs)
    if momentum > 0:
        lists.append(momentum_buffer_list)
    variant = (maximize, weight_decay != 0, centered, momentum > 0)
    apply(RULE, variant, as_real(*lists), [scalars] * len(params))


class RMSprop(GroupOptimizer):
    r"""RMSprop: :math:`p \leftarrow p - \gamma g / (\sqrt v + \epsilon)`.

    Here :math:`v \leftarrow \alpha v + (1-\alpha) g^2`.

    Args:
        params: tensors, named tensors, or groups.
        lr: the learning rate :math:`\gamma`.
        alpha: :math:`\alpha`.
        eps: :math:`\epsilon`.
        weight_decay: added to the gradient times the parameter.
        momentum: accumulate the steps with this factor.
        centered: subtract the squared mean of the gradients from :math:`v`, which makes it a variance.
        capturable: keep step counters on the device of the parameters; not for the CPU.
        foreach: accepted; every step updates all parameters at once where it can.
        maximize: ascend instead of descend.
        differentiable: record the step, so that one can differentiate through it.
    """

    _functional = staticmethod(rmsprop)
    _states = ("square_avg", "grad_avg if centered", "momentum_buffer if momentum", "step")
    _later_options: ClassVar[dict[str, Any]] = {**FLAGS, "momentum": 0, "centered": False}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        check_nonnegative("epsilon value", eps)
        check_nonnegative("momentum value", momentum)
        check_nonnegative("weight_decay value", weight_decay)
        check_nonnegative("alpha value", alpha)
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state = {"step": new_step(param, group["capturable"]), "square_avg": ops.zeros_like(param)}
        if group["momentum"] > 0:
            state["momentum_buffer"] = ops.zeros_like(param)
        if group["centered"]:
            state["grad_avg"] = ops.zeros_like(param)
        return state
