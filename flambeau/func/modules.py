"""Modules as functions of their parameters."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from .. import ops
from ..nn.modules.batchnorm import _BatchNorm
from ..nn.utils.stateless import _functional_call
from ..tensor import Tensor

__all__ = ["functional_call", "replace_all_batch_norm_modules_", "stack_module_state"]


def functional_call(
    module: Any,
    parameter_and_buffer_dicts: dict[str, Tensor] | Sequence[dict[str, Tensor]],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """``module(*args, **kwargs)`` with other tensors in the place of its parameters and buffers of these names.

    Several dictionaries count as one; a name may stand in one of them only (ValueError).  ``tie_weights``: parameters
    that are one object stay one tensor.  ``strict`` demands a tensor for each, and for nothing else (RuntimeError).
    """
    if isinstance(parameter_and_buffer_dicts, dict):
        tensors = parameter_and_buffer_dicts
    elif isinstance(parameter_and_buffer_dicts, Sequence):
        if not all(isinstance(d, dict) for d in parameter_and_buffer_dicts):
            raise ValueError("Expected all elements of parameter_and_buffer_dicts to be dictionaries")
        names = [name for d in parameter_and_buffer_dicts for name in d]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous")
        tensors = {name: tensor for d in parameter_and_buffer_dicts for name, tensor in d.items()}
    else:
        raise ValueError(
            "Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got "
            f"{type(parameter_and_buffer_dicts)}"
        )
    return _functional_call(module, tensors, args, kwargs, tie_weights=tie_weights, strict=strict)


def stack_module_state(models: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(parameters, buffers) of models of one class, each name's tensors stacked along a new first dimension.

    For ``vmap`` over an ensemble with ``functional_call``.  The stacked parameters are leaves that require grad if all
    of them do.  Raises RuntimeError for no models, for models of different classes or modes, and for a parameter that
    requires grad in some of them only.
    """
    if not len(models):
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if any(m.training != models[0].training for m in models):
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if any(type(m) is not type(models[0]) for m in models):
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")

    def stacked(name: str, tensors: Sequence[Any]) -> Any:
        if all(t.requires_grad for t in tensors):
            return ops.stack(list(tensors)).detach().requires_grad_()
        if any(t.requires_grad for t in tensors):
            raise RuntimeError(f"Expected {name} from each model to have the same .requires_grad")
        return ops.stack(list(tensors))

    all_parameters = [dict(m.named_parameters()) for m in models]
    all_buffers = [dict(m.named_buffers()) for m in models]
    return (
        {name: stacked(name, [d[name] for d in all_parameters]) for name in all_parameters[0]},
        {name: stacked(name, [d[name] for d in all_buffers]) for name in all_buffers[0]},
    )


def replace_all_batch_norm_modules_(root: Any) -> Any:
    """Makes every batch norm in ``root`` use the statistics of its batch only, and returns ``root``.

    Running statistics are written in place, which ``vmap`` cannot do for tensors that it does not map over.
    """
    for module in (root, *copy.copy(list(root.modules()))):
        if isinstance(module, _BatchNorm):
            module.running_mean = None
            module.running_var = None
            module.num_batches_tracked = None
            module.track_running_stats = False
    return root
