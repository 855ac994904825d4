"""Rprop (Riedmiller and Braun, "A Direct Adaptive Method for Faster Backpropagation Learning", 1993)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import ops
from ..tensor import Tensor
from ._update import FLAGS, GroupOptimizer, Rule, advance, apply, as_real, check_lr, check_steps, new_step
from .optimizer import ParamsT

__all__ = ["Rprop", "rprop"]


def _formula(variant: Any, arrays: Sequence[Any], scalars: Sequence[Any], maths: Any) -> tuple[Any, ...]:
    (maximize,) = variant
    etaminus, etaplus, smallest, largest = scalars
    param, grad, previous, step_size = arrays
    if maximize:
        grad = -grad
    agreement = grad * previous
    turned = agreement < 0
    step_size = maths.select(agreement > 0, step_size * etaplus, maths.select(turned, step_size * etaminus, step_size))
    step_size = maths.clamp(step_size, smallest, largest)
    # Where the gradient turned, this step rests and the next one counts as neutral.
    grad = maths.select(turned, 0.0, grad)
    return param - maths.sign(grad) * step_size, grad, step_size


RULE = Rule("rprop", "param grad prev step_size", reads="grad", formula=_formula)


def rprop(
    params: list[Tensor],
    grads: list[Tensor],
    prevs: list[Tensor],
    step_sizes: list[Tensor],
    state_steps: list[Tensor],
    foreach: bool | None = None,
    capturable: bool = False,
    maximize: bool = False,
    differentiable: bool = False,
    has_complex: bool = False,
    *,
    step_size_min: float,
    step_size_max: float,
    etaminus: float,
    etaplus: float,
) -> None:
    """One step of :class:`Rprop` on lists of tensors, updated in place."""
    check_steps(state_steps, params, capturable, bool(foreach) and differentiable)
    advance(state_steps, keep=True)
    scalars = (etaminus, etaplus, step_size_min, step_size_max)
    apply(RULE, (maximize,), as_real(params, grads, prevs, step_sizes), [scalars] * len(params))


class Rprop(GroupOptimizer):
    """Resilient backpropagation: each element has its own step size, which grows while the sign of the gradient lasts.

    Args:
        params: tensors, named tensors, or groups.
        lr: the first step size.
        etas: the factors by which a step size shrinks and grows.
        step_sizes: the smallest and largest step size.
        capturable: keep step counters on the device of the parameters; not for the CPU.
        foreach: accepted; every step updates all parameters at once where it can.
        maximize: ascend instead of descend.
        differentiable: record the step, so that one can differentiate through it.
    """

    _functional = staticmethod(rprop)
    _states = ("prev", "step_size", "step")
    _later_options = FLAGS

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_lr(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}; they must satisfy 0 < first < 1 < second")
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        lr = float(group["lr"])
        return {
            "step": new_step(param, group["capturable"]),
            "prev": ops.zeros_like(param),
            "step_size": ops.full_like(param.grad, complex(lr, lr) if param.is_complex() else lr),
        }
