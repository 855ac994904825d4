"""Adafactor (Shazeer and Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost", ICML 2018)."""

from __future__ import annotations

from typing import Any, ClassVar

from .. import ops
from ..dtype_info import finfo
from ..tensor import Tensor
from ._update import GroupOptimizer, advance, check_lr, check_steps, number
from .optimizer import ParamsT, _get_scalar_dtype

__all__ = ["Adafactor", "adafactor"]


def adafactor(
    params: list[Tensor],
    grads: list[Tensor],
    row_vars: list[Tensor | None],
    col_vars: list[Tensor | None],
    variances: list[Tensor | None],
    state_steps: list[Tensor],
    foreach: bool | None = None,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
    has_complex: bool = False,
    *,
    d: float,
    lr: float | Tensor,
    beta2_decay: float,
    weight_decay: float,
    eps1: float | None,
    eps2: float,
    maximize: bool,
) -> None:
    """One step of :class:`Adafactor` on lists of tensors, updated in place."""
    if grad_scale is not None or found_inf is not None:
        raise AssertionError("Adafactor: grad_scale and found_inf are for fused optimizers and must be None")
    check_steps(state_steps, params, False, False)
    lr = number(lr, keep=False)
    steps = advance(state_steps, keep=False)
    for param, grad, rows, columns, variance, step in zip(params, grads, row_vars, col_vars, variances, steps):
        if maximize:
            grad = -grad
        smallest = finfo(param.dtype).eps if eps1 is None else eps1
        weight = step**beta2_decay
        scale = max(eps2, param.norm(2).item() / param.numel() ** 0.5) * min(lr, 1 / step**0.5)
        if weight_decay != 0:
            param.mul_(1 - lr * weight_decay)
        if rows is not None and columns is not None:
            rows.lerp_(grad.norm(dim=-1, keepdim=True).square_().div_(grad.size(-1)), weight)
            columns.lerp_(grad.norm(dim=-2, keepdim=True).square_().div_(grad.size(-2)), weight)
            estimate = rows @ columns
            estimate.div_(rows.mean(dim=-2, keepdim=True).clamp_(min=smallest))
        elif variance is not None:
            variance.lerp_(grad.square(), weight)
            estimate = variance.clone()
        else:
            raise AssertionError("adafactor: a parameter needs row and column variances, or a variance")
        update = estimate.clamp_(min=smallest * smallest).rsqrt_().mul_(grad)
        clipped = max(1.0, update.norm(2).item() / (update.numel() ** 0.5 * d))
        param.sub_(update * (scale / clipped))


class Adafactor(GroupOptimizer):
    r"""Adafactor: the second moment of a matrix is kept as the product of its row and column means.

    The step is :math:`\max(\epsilon_2, \mathrm{RMS}(p)) \cdot \min(\gamma, 1/\sqrt t)` times the update, which
    is clipped to a root mean square of at most ``d``; :math:`\beta_2` at step t is :math:`1 - t^{\tau}`.

    Args:
        params: tensors, named tensors, or groups.
        lr: :math:`\gamma`.
        beta2_decay: :math:`\tau`, not positive.
        eps: :math:`\epsilon_1` (None: the machine epsilon of the parameter's type) and :math:`\epsilon_2`.
        d: the clipping threshold, at least 1.
        weight_decay: shrinks the parameter itself.
        foreach: accepted.
        maximize: ascend instead of descend.
    """

    _functional = staticmethod(adafactor)
    _states = ("row_var", "col_var", "variance", "step")
    _later_options: ClassVar[dict[str, Any]] = {"foreach": None}

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        check_lr(lr)
        if beta2_decay > 0.0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None and not eps[0] >= 0.0:
            raise ValueError(f"epsilon1 should be >= 0 but is: {eps[0]}")
        if not eps[1] >= 0.0:
            raise ValueError(f"epsilon2 should be >= 0 but is: {eps[1]}")
        if not d >= 1.0:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        if not weight_decay >= 0.0:
            raise ValueError(f"weight_decay should be >= 0 but is: {weight_decay}")
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        grad = param.grad
        if param.is_complex() or grad.is_complex():
            raise RuntimeError("Adafactor does not support complex parameters")
        state = {"step": ops.tensor(0.0, dtype=_get_scalar_dtype())}
        if grad.dim() > 1:
            rows, columns = list(grad.shape), list(grad.shape)
            rows[-1], columns[-2] = 1, 1
            state["row_var"], state["col_var"] = grad.new_zeros(rows), grad.new_zeros(columns)
        else:
            state["variance"] = ops.zeros_like(grad)
        return state

    def _update(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], states: list[dict[str, Any]]
    ) -> None:
        lists = [[state.get(name) for state in states] for name in self._states]
        adafactor(params, grads, *lists, **self._arguments(group, grads))
