"""Adagrad (Duchi, Hazan and Singer, "Adaptive Subgradient Methods", JMLR 2011)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from .. import ops
from ..tensor import Tensor
from ._update import (
    GroupOptimizer,
    Rule,
    advance,
    apply,
    as_real,
    check_flags,
    check_lr,
    check_nonnegative,
    check_steps,
    new_step,
    number,
    scalars_by_step,
    start,
    unscale,
)
from .optimizer import ParamsT

__all__ = ["Adagrad", "adagrad"]


def _formula(variant: Any, arrays: Sequence[Any], scalars: Sequence[Any], maths: Any) -> tuple[Any, ...]:
    maximize, decay = variant
    weight_decay, rate, eps = scalars
    param, grad, total = arrays
    param, grad = start(param, grad, maximize, decay, weight_decay)
    total = total + grad * grad
    return param - grad * rate / (maths.sqrt(total) + eps), total


RULE = Rule("adagrad", "param grad sum", reads="grad", formula=_formula)


def adagrad(
    params: list[Tensor],
    grads: list[Tensor],
    state_sums: list[Tensor],
    state_steps: list[Tensor],
    fused: bool | None = None,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
    has_sparse_grad: bool = False,
    foreach: bool | None = None,
    differentiable: bool = False,
    has_complex: bool = False,
    *,
    lr: float,
    weight_decay: float,
    lr_decay: float,
    eps: float,
    maximize: bool,
) -> None:
    """One step of :class:`Adagrad` on lists of tensors, updated in place."""
    check_flags(foreach, fused, differentiable)
    check_steps(state_steps, params, False, bool(foreach) and differentiable)
    if not unscale(grads, grad_scale, found_inf):
        return
    lr = number(lr, differentiable)
    scalars = scalars_by_step(
        advance(state_steps, keep=False),
        lambda step: (weight_decay, lr / (1 + (step - 1) * lr_decay), eps),
    )
    dense = [i for i, grad in enumerate(grads) if not (has_sparse_grad and grad.is_sparse)]
    for i in sorted(set(range(len(grads))) - set(dense)):
        _sparse_update(params[i], grads[i], state_sums[i], *scalars[i], maximize)
    arrays = as_real(*([tensors[i] for i in dense] for tensors in (params, grads, state_sums)))
    apply(RULE, (maximize, weight_decay != 0), arrays, [scalars[i] for i in dense])


class Adagrad(GroupOptimizer):
    r"""Adagrad: :math:`s \leftarrow s + g^2`, :math:`p \leftarrow p - \gamma_t g / (\sqrt s + \epsilon)`.

    Args:
        params: tensors, named tensors, or groups. Sparse gradients are taken.
        lr: the learning rate :math:`\gamma`; at step t it is :math:`\gamma_t = \gamma / (1 + (t - 1) \eta)`.
        lr_decay: :math:`\eta`.
        weight_decay: added to the gradient times the parameter; not with sparse gradients.
        initial_accumulator_value: the first :math:`s`.
        eps: :math:`\epsilon`.
        foreach, fused: accepted; every step updates all parameters at once where it can.
        maximize: ascend instead of descend.
        differentiable: record the step, so that one can differentiate through it.
    """

    _takes_sparse = True
    _functional = staticmethod(adagrad)
    _states = ("sum", "step")
    _later_options: ClassVar[dict[str, Any]] = {
        "foreach": None,
        "maximize": False,
        "differentiable": False,
        "fused": None,
    }

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_lr(lr)
        check_nonnegative("lr_decay value", lr_decay)
        check_nonnegative("weight_decay value", weight_decay)
        check_nonnegative("initial_accumulator_value value", initial_accumulator_value)
        check_nonnegative("epsilon value", eps)
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        if fused:
            self._need_device_dtype_check_for_fused = True
            self._step_supports_amp_scaling = True
            check_flags(foreach, fused, differentiable)
        # Adagrad's state exists from the start, so that share_memory() can move it before workers begin.
        for group in self.param_groups:
            for param in group["params"]:
                self.state[param] = self._new_state(param, group)

    def share_memory(self) -> None:
        """Move the state to shared memory, for training by several processes."""
        for group in self.param_groups:
            for param in group["params"]:
                self.state[param]["sum"].share_memory_()

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        first = group["initial_accumulator_value"]
        return {
            "step": new_step(param, group["fused"]),
            "sum": ops.full_like(param.detach(), complex(first, first) if param.is_complex() else first),
        }


def _sparse_update(
    param: Tensor, grad: Tensor, total: Tensor, weight_decay: float, rate: Any, eps: float, maximize: bool
) -> None:
    """The rule on the entries that a sparse gradient holds."""
    if weight_decay != 0:
        raise RuntimeError("weight_decay option is not compatible with sparse gradients: set it to 0 for this group")
    grad = (-grad if maximize else grad).coalesce()
    where, values = grad._indices().unbind(0), grad._values()
    sums = total[where] + values * values
    total[where] = sums
    param.index_put_(where, values * -rate / (sums.sqrt() + eps), accumulate=True)
