"""Averaged SGD (Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992)."""

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
    apply_by_flag,
    as_real,
    check_lr,
    check_nonnegative,
    check_steps,
    new_step,
    number,
    start,
)
from .optimizer import ParamsT

__all__ = ["ASGD", "asgd"]


def _formula(variant: Any, arrays: Sequence[Any], scalars: Sequence[Any], maths: Any) -> tuple[Any, ...]:
    maximize, decay, averages = variant
    weight_decay, shrink, eta, mu = scalars
    param, grad, mean = arrays
    param, grad = start(param, grad, maximize, decay, weight_decay)
    param = param * shrink - grad * eta
    return param, mean + (param - mean) * mu if averages else param


RULE = Rule("asgd", "param grad ax", reads="grad", formula=_formula)


def asgd(
    params: list[Tensor],
    grads: list[Tensor],
    axs: list[Tensor],
    mus: list[Tensor],
    etas: list[Tensor],
    state_steps: list[Tensor],
    foreach: bool | None = None,
    maximize: bool = False,
    differentiable: bool = False,
    capturable: bool = False,
    has_complex: bool = False,
    *,
    lambd: float,
    lr: float,
    t0: float,
    alpha: float,
    weight_decay: float,
) -> None:
    """One step of :class:`ASGD` on lists of tensors, updated in place."""
    check_steps(state_steps, params, capturable, bool(foreach) and differentiable)
    keep = capturable or differentiable
    lr = number(lr, keep)
    mu_values = [mu.item() for mu in mus]
    numbers = []
    for eta, mu in zip(etas, mu_values):
        value = eta.clone() if capturable else eta.item()
        numbers.append((weight_decay, 1 - lambd * value, value, mu))
    arrays = as_real(params, grads, axs)
    apply_by_flag(RULE, (maximize, weight_decay != 0), [mu != 1 for mu in mu_values], arrays, numbers)
    for step, eta, mu_tensor in zip(advance(state_steps, capturable), etas, mus):
        following = lr / ((1 + lambd * lr * step) ** alpha)
        mean_of = 1 / (step - t0).clamp(min=1) if isinstance(step, Tensor) else 1 / max(1, step - t0)
        eta.copy_(following if isinstance(following, Tensor) else ops.tensor(following))
        mu_tensor.copy_(mean_of if isinstance(mean_of, Tensor) else ops.tensor(mean_of))


class ASGD(GroupOptimizer):
    r"""Averaged SGD: plain steps with a falling rate, and their mean in ``state[param]["ax"]``.

    :math:`p \leftarrow (1 - \lambda \eta_t) p - \eta_t g` with
    :math:`\eta_t = \gamma / (1 + \lambda \gamma t)^\alpha`; after ``t0`` steps the mean is that of the steps since.

    Args:
        params: tensors, named tensors, or groups.
        lr: :math:`\gamma`.
        lambd: :math:`\lambda`.
        alpha: :math:`\alpha`.
        t0: the step at which averaging starts.
        weight_decay: added to the gradient times the parameter.
        foreach: accepted; every step updates all parameters at once where it can.
        maximize: ascend instead of descend.
        differentiable: record the step, so that one can differentiate through it.
        capturable: keep step counters on the device of the parameters; not for the CPU.
    """

    _functional = staticmethod(asgd)
    _states = ("ax", "mu", "eta", "step")
    _later_options = FLAGS

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_lr(lr)
        check_nonnegative("weight_decay value", weight_decay)
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for own in self.state.values():
            for key in ("eta", "mu"):
                if key in own and not isinstance(own[key], Tensor):
                    own[key] = ops.tensor(own[key], dtype=own["step"].dtype)

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        step = new_step(param, group["capturable"])
        return {
            "step": step,
            "eta": ops.full_like(step, float(group["lr"])),
            "mu": ops.ones_like(step),
            "ax": ops.zeros_like(param),
        }
