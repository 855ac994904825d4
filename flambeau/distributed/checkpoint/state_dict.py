"""The state of modules that may be distributed, by the names of their parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...autograd.mode import no_grad
from ...nn import Module
from ..tensor import DTensor, distribute_tensor

__all__ = ["StateDictOptions", "get_model_state_dict", "set_model_state_dict"]


@dataclass
class StateDictOptions:
    """Whether tensors come whole, in the host's memory; whether names must fit."""

    full_state_dict: bool = False
    cpu_offload: bool = False
    ignore_frozen_params: bool = False
    strict: bool = True


def get_model_state_dict(
    model: Any, *, submodules: Any = None, options: StateDictOptions | None = None
) -> dict[str, Any]:
    """The parameters and buffers by name; all processes must call it."""
    options, found = options or StateDictOptions(), {}
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad} if options.ignore_frozen_params else set()
    for name, value in model.state_dict().items():
        if name not in frozen:
            whole = options.full_state_dict and isinstance(value, DTensor)
            value = value.full_tensor() if whole else value
            found[name] = value.cpu() if options.cpu_offload else value
    return found


def set_model_state_dict(
    model: Module, model_state_dict: dict[str, Any], *, options: StateDictOptions | None = None
) -> Any:
    """Copies these values into a module; whole tensors are shared out as its parameters are."""
    options, mine = options or StateDictOptions(), model.state_dict()
    given = {}
    with no_grad():
        for name, value in model_state_dict.items():
            target = mine.get(name)
            if isinstance(target, DTensor) and not isinstance(value, DTensor):
                value = distribute_tensor(value.detach(), target.device_mesh, target.placements)
            given[name] = value
    return model.load_state_dict(given, strict=options.strict)
