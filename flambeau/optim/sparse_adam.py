"""Adam for sparse gradients: only the entries that a gradient holds, and their moments, are touched."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..tensor import Tensor
from ._functional import sparse_adam
from ._update import GroupOptimizer, check_beta
from .optimizer import ParamsT

__all__ = ["SparseAdam"]


class SparseAdam(GroupOptimizer):
    """Adam (Kingma and Ba, 2015) masked to the entries of sparse gradients.

    Moments of other entries neither decay nor move their parameter, so the result differs from Adam's on the
    dense gradient.

    Args:
        params: dense tensors, named tensors, or groups; their gradients must be sparse.
        lr: the learning rate.
        betas, eps: as in :class:`Adam`.
        maximize: ascend instead of descend.
    """

    _takes_sparse = True

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError(f"Tensor lr must be 1-element, but has shape {tuple(lr.shape)}")
        if not lr > 0.0:
            raise ValueError(f"Invalid learning rate: {lr}; it must be positive")
        if not eps > 0.0:
            raise ValueError(f"Invalid epsilon value: {eps}; it must be positive")
        check_beta(0, betas[0])
        check_beta(1, betas[1])
        defaults = {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize}
        super().__init__(params, defaults)
        params_at = [
            ([number, i], param)
            for number, group in enumerate(self.param_groups)
            for i, param in enumerate(group["params"])
        ]
        sparse = [place for place, param in params_at if param.is_sparse]
        if sparse:
            raise ValueError(f"Sparse params at indices {sparse}: SparseAdam requires dense parameter tensors")
        complex_ = [place for place, param in params_at if param.dtype.is_complex]
        if complex_:
            raise ValueError(f"Complex params at indices {complex_}: SparseAdam does not support complex parameters")

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {"step": 0, "exp_avg": ops.zeros_like(param), "exp_avg_sq": ops.zeros_like(param)}

    def _update(
        self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor], states: list[dict[str, Any]]
    ) -> None:
        if not all(grad.is_sparse for grad in grads):
            raise RuntimeError("SparseAdam does not support dense gradients, please consider Adam instead")
        for state in states:
            state["step"] += 1
        beta1, beta2 = group["betas"]
        lr = group["lr"]
        sparse_adam(
            params,
            grads,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [state["step"] for state in states],
            eps=group["eps"],
            beta1=beta1,
            beta2=beta2,
            lr=lr.item() if isinstance(lr, Tensor) else lr,
            maximize=group.get("maximize", False),
        )
