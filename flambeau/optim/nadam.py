"""NAdam (Dozat, "Incorporating Nesterov Momentum into Adam", ICLR workshop 2016)."""

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
    check_lr,
    check_nonnegative,
    check_steps,
    decay_kind,
    new_step,
    number,
    start,
)
from .optimizer import ParamsT, _get_scalar_dtype

__all__ = ["NAdam", "nadam"]


def _formula(variant: Any, arrays: Sequence[Any], scalars: Sequence[Any], maths: Any) -> tuple[Any, ...]:
    maximize, decay = variant
    shrink, weight_decay, weight1, beta2, weight2, correction2, of_grad, of_mean, eps = scalars
    param, grad, exp_avg, exp_avg_sq = arrays
    param, grad = start(param, grad, maximize, decay, weight_decay, shrink)
    exp_avg = maths.lerp(exp_avg, grad, weight1)
    exp_avg_sq = exp_avg_sq * beta2 + grad * weight2 * grad
    denominator = maths.sqrt(exp_avg_sq / correction2) + eps
    param = param - grad * of_grad / denominator - exp_avg * of_mean / denominator
    return param, exp_avg, exp_avg_sq


RULE = Rule("nadam", "param grad exp_avg exp_avg_sq", reads="grad", formula=_formula)


def nadam(
    params: list[Tensor],
    grads: list[Tensor],
    exp_avgs: list[Tensor],
    exp_avg_sqs: list[Tensor],
    mu_products: list[Tensor],
    state_steps: list[Tensor],
    decoupled_weight_decay: bool = False,
    foreach: bool | None = None,
    capturable: bool = False,
    differentiable: bool = False,
    has_complex: bool = False,
    maximize: bool = False,
    *,
    beta1: float,
    beta2: float,
    lr: float,
    weight_decay: float,
    momentum_decay: float,
    eps: float,
) -> None:
    """One step of :class:`NAdam` on lists of tensors, updated in place."""
    check_steps(state_steps, params, capturable, bool(foreach) and differentiable)
    keep = capturable or differentiable
    lr = number(lr, keep)

    def scalars(step: Any, product: Tensor) -> tuple[Any, ...]:
        momentum = beta1 * (1.0 - 0.5 * 0.96 ** (step * momentum_decay))
        following = beta1 * (1.0 - 0.5 * 0.96 ** ((step + 1) * momentum_decay))
        product *= momentum
        so_far = product if capturable else product.item()
        return (
            1 - lr * weight_decay,
            weight_decay,
            1 - beta1,
            beta2,
            1 - beta2,
            bias_corrections(step, beta2)[0],
            lr * (1.0 - momentum) / (1.0 - so_far),
            lr * following / (1.0 - so_far * following),
            eps,
        )

    decay = decay_kind(weight_decay, decoupled_weight_decay)
    numbers = [scalars(step, product) for step, product in zip(advance(state_steps, capturable), mu_products)]
    apply(RULE, (maximize, decay), as_real(params, grads, exp_avgs, exp_avg_sqs), numbers)


class NAdam(GroupOptimizer):
    r"""NAdam: Adam with Nesterov's momentum.

    The momentum at step t is :math:`\mu_t = \beta_1 (1 - 0.5 \cdot 0.96^{t \psi})`.

    Args:
        params: tensors, named tensors, or groups.
        lr: the learning rate.
        betas: as in Adam.
        eps: added to the denominator.
        weight_decay: added to the gradient times the parameter, or applied to the parameter itself when
            ``decoupled_weight_decay``.
        momentum_decay: :math:`\psi`.
        foreach: accepted; every step updates all parameters at once where it can.
        maximize: ascend instead of descend.
        capturable: keep step counters on the device of the parameters; not for the CPU.
        differentiable: record the step, so that one can differentiate through it.
    """

    _functional = staticmethod(nadam)
    _states = ("exp_avg", "exp_avg_sq", "mu_product", "step")
    _later_options: ClassVar[dict[str, Any]] = {**FLAGS, "decoupled_weight_decay": False}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
        check_nonnegative("momentum_decay value", momentum_decay)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for own in self.state.values():
            if "mu_product" in own and not isinstance(own["mu_product"], Tensor):
                own["mu_product"] = ops.tensor(own["mu_product"], dtype=_get_scalar_dtype())

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        step = new_step(param, group["capturable"])
        return {
            "step": step,
            "mu_product": ops.ones_like(step),
            "exp_avg": ops.zeros_like(param),
            "exp_avg_sq": ops.zeros_like(param),
        }
