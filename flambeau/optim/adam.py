"""Adam (Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015).

With ``amsgrad`` of Reddi, Kale and Kumar, "On the Convergence of Adam and Beyond", ICLR 2018, and the
decoupled weight decay of Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.
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
    bias_corrections,
    check_beta,
    check_flags,
    check_lr,
    check_nonnegative,
    check_steps,
    decay_kind,
    new_step,
    number,
    scalars_by_step,
    sqrt,
    start,
    unscale,
)
from .optimizer import ParamsT

__all__ = ["Adam", "adam"]


def _formula(variant: Any, arrays: Sequence[Any], scalars: Sequence[Any], maths: Any) -> tuple[Any, ...]:
    maximize, decay, amsgrad = variant
    shrink, weight_decay, weight1, beta2, weight2, step_size, correction, eps = scalars
    param, grad, exp_avg, exp_avg_sq, *largest = arrays
    param, grad = start(param, grad, maximize, decay, weight_decay, shrink)
    exp_avg = maths.lerp(exp_avg, grad, weight1)
    exp_avg_sq = exp_avg_sq * beta2 + grad * weight2 * grad
    if amsgrad:
        largest = [maths.maximum(largest[0], exp_avg_sq)]
    denominator = maths.sqrt(largest[0] if amsgrad else exp_avg_sq) / correction + eps
    return param - exp_avg * step_size / denominator, exp_avg, exp_avg_sq, *largest


RULE = Rule("adam", "param grad exp_avg exp_avg_sq max_exp_avg_sq", reads="grad", formula=_formula)


def adam(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    max_exp_avg_sqs: list[Tensor],
    state_steps: list[Tensor],
    foreach: bool | None = None,
    capturable: bool = False,
    differentiable: bool = False,
    fused: bool | None = None,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
    has_complex: bool = False,
    decoupled_weight_decay: bool = False,
    *,
    amsgrad: bool,
    beta1: float | Tensor,
    beta2: float | Tensor,
    lr: float | Tensor,
    weight_decay: float,
    eps: float,
    maximize: bool,
) -> None:
    """One step of :class:`Adam` on lists of tensors, all updated in place."""
    check_flags(foreach, fused, differentiable)
    check_steps(state_steps, params, capturable, bool(foreach) and differentiable)
    if not unscale(grads, grad_scale, found_inf):
        return
    keep = capturable or differentiable
    lr, beta1, beta2 = number(lr, keep), number(beta1, keep), number(beta2, keep)

    def scalars(step: Any) -> tuple[Any, ...]:
        correction1, correction2 = bias_corrections(step, beta1, beta2)
        return (
            1 - lr * weight_decay,
            weight_decay,
            1 - beta1,
            beta2,
            1 - beta2,
            lr / correction1,
            sqrt(correction2),
            eps,
        )

    decay = decay_kind(weight_decay, decoupled_weight_decay)
    arrays = as_real(params, grads, exp_avgs, exp_avg_sqs, *([max_exp_avg_sqs] if amsgrad else []))
    apply(RULE, (maximize, decay, amsgrad), arrays, scalars_by_step(advance(state_steps, capturable), scalars))


class Adam(GroupOptimizer):
    r"""Adam: steps along the mean of the gradients over the root of the mean of their squares.

    :math:`m \leftarrow \beta_1 m + (1-\beta_1) g`, :math:`v \leftarrow \beta_2 v + (1-\beta_2) g^2`,
    :math:`p \leftarrow p - \gamma \hat m / (\sqrt{\hat v} + \epsilon)`, where the hats divide by
    :math:`1 - \beta^t`.

    Args:
        params: tensors, named tensors, or groups.
        lr: the learning rate :math:`\gamma`.
        betas: :math:`\beta_1, \beta_2`, both floats or both tensors of one element.
        eps: :math:`\epsilon`.
        weight_decay: added to the gradient times the parameter, or applied to the parameter itself when
            ``decoupled_weight_decay``.
        amsgrad: use the largest :math:`v` so far.
        maximize: ascend instead of descend.
        foreach, fused: accepted; every step updates all parameters at once where it can.
        capturable: keep step counters on the device of the parameters; not for the CPU.
        differentiable: record the step, so that one can differentiate through it.
    """

    _sparse_remedy = ", please consider SparseAdam instead"
    _functional = staticmethod(adam)
    _states = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq if amsgrad", "step")
    _later_options: ClassVar[dict[str, Any]] = {
        **FLAGS,
        "amsgrad": False,
        "decoupled_weight_decay": False,
        "fused": None,
    }

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check_lr(lr, foreach, capturable)
        check_nonnegative("epsilon value", eps)
        check_beta(0, betas[0])
        check_beta(1, betas[1])
        check_nonnegative("weight_decay value", weight_decay)
        if isinstance(betas[0], Tensor) != isinstance(betas[1], Tensor):
            raise ValueError(f"betas must be either both floats or both Tensors, but got {betas!r}")
        for i, beta in enumerate(betas):
            if isinstance(beta, Tensor):
                if foreach and not capturable:
                    raise ValueError(
                        f"betas[{i}] as a Tensor is not supported for capturable=False and foreach=True: pass a float"
                    )
                if beta.numel() != 1:
                    raise ValueError(f"Tensor betas[{i}] must be 1-element, but has shape {tuple(beta.shape)}")
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)
        if fused:
            self._step_supports_amp_scaling = True
            check_flags(foreach, fused, differentiable)

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state = {
            "step": new_step(param, group["capturable"] or group["fused"]),
            "exp_avg": ops.zeros_like(param),
            "exp_avg_sq": ops.zeros_like(param),
        }
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = ops.zeros_like(param)
        return state
