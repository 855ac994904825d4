"""Stochastic gradient descent, with momentum (Polyak 1964) and Nesterov's momentum (Sutskever et al. 2013)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from .. import ops
from ..tensor import Tensor
from ._update import GroupOptimizer, Rule, apply, check_flags, check_lr, check_nonnegative, number, start, unscale
from .optimizer import ParamsT

__all__ = ["SGD", "sgd"]


def _formula(variant: Any, arrays: Sequence[Any], scalars: Sequence[Any], maths: Any) -> tuple[Any, ...]:
    maximize, decay, momentum_is, nesterov = variant
    lr, weight_decay, momentum, undamped = scalars
    param, grad, *buffer = arrays
    param, grad = start(param, grad, maximize, decay, weight_decay)
    if not momentum_is:
        return (param - grad * lr,)
    velocity = grad if momentum_is == "first" else buffer[0] * momentum + grad * undamped
    direction = grad + velocity * momentum if nesterov else velocity
    return param - direction * lr, velocity


RULE = Rule("sgd", "param grad momentum_buffer", reads="grad", formula=_formula)


def sgd(
    params: list[Tensor],
    d_p_list: list[Tensor],
    momentum_buffer_list: list[Tensor | None],
    has_sparse_grad: bool = False,
    foreach: bool | None = None,
    fused: bool | None = None,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
    *,
    weight_decay: float,
    momentum: float,
    lr: float,
    dampening: float,
    nesterov: bool,
    maximize: bool,
) -> None:
    """One step of :class:`SGD` on lists of tensors; missing momentum buffers are made and put in their list."""
    check_flags(foreach, fused, False)
    if not unscale(d_p_list, grad_scale, found_inf):
        return
    scalars = (lr, weight_decay, momentum, 1 - dampening)
    decays = not (isinstance(weight_decay, (int, float)) and weight_decay == 0)
    fresh: list[int] = []
    held: list[int] = []
    for i, (param, grad) in enumerate(zip(params, d_p_list)):
        if has_sparse_grad and grad.is_sparse and momentum == 0 and not decays:
            # A sparse gradient touches the rows it has: adding it to the parameter is all there is to do.
            param.add_(grad, alpha=lr if maximize else -lr)
            continue
        (fresh if momentum != 0 and momentum_buffer_list[i] is None else held).append(i)
    for i in fresh:
        momentum_buffer_list[i] = ops.empty_like(d_p_list[i]).detach()
    for chosen, momentum_is in ((fresh, "first"), (held, "later" if momentum != 0 else "")):
        if chosen:
            lists = [params, d_p_list, momentum_buffer_list] if momentum != 0 else [params, d_p_list]
            arrays = [[tensors[i] for i in chosen] for tensors in lists]
            apply(RULE, (maximize, decays, momentum_is, nesterov), arrays, [scalars] * len(chosen))


class SGD(GroupOptimizer):
    r"""Stochastic gradient descent: :math:`b \leftarrow \mu b + (1 - \tau) g`, :math:`p \leftarrow p - \gamma b`.

    The first step takes :math:`b = g`. Nesterov's form steps along :math:`g + \mu b` instead.

    Args:
        params: tensors, named tensors, or groups.
        lr: the learning rate :math:`\gamma`.
        momentum: :math:`\mu`.
        dampening: :math:`\tau`.
        weight_decay: added to the gradient times the parameter.
        nesterov: use Nesterov's form; needs momentum and no dampening.
        maximize: ascend instead of descend.
        foreach, fused: accepted; every step updates all parameters at once where it can.
        differentiable: record the step, so that one can differentiate through it.
    """

    _takes_sparse = True
    _functional = staticmethod(sgd)
    _states = ("momentum_buffer",)
    _later_options: ClassVar[dict[str, Any]] = {
        "nesterov": False,
        "maximize": False,
        "foreach": None,
        "differentiable": False,
        "fused": False,
    }

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError(f"Tensor lr must be 1-element, but has shape {tuple(lr.shape)}")
        check_lr(lr)
        check_nonnegative("momentum value", momentum)
        check_nonnegative("weight_decay value", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError(
                "Nesterov momentum requires a momentum and zero dampening, "
                f"but got momentum={momentum} and dampening={dampening}"
            )
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)
        if fused:
            self._step_supports_amp_scaling = True
            check_flags(foreach, fused, differentiable, [p for g in self.param_groups for p in g["params"]])

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {}

    def _update(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], states: list[dict[str, Any]]
    ) -> None:
        buffers = [state.get("momentum_buffer") for state in states]
        arguments = self._arguments(group, grads)
        if not group["differentiable"]:
            arguments["lr"] = number(group["lr"], keep=False)
        sgd(params, grads, buffers, **arguments)
        if group["momentum"] != 0:
            for state, buffer in zip(states, buffers):
                state["momentum_buffer"] = buffer
