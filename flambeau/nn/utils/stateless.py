"""Modules called with tensors other than their own."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

from .._base import Tensor

__all__ = ["functional_call"]

_MISSING = object()


def _place(module: Any, path: str) -> tuple[Any, str]:
    """The submodule that owns ``path``, and the name there."""
    parent, _, name = path.rpartition(".")
    return module.get_submodule(parent), name


def _swap(module: Any, path: str, tensor: Any) -> Any:
    """Put ``tensor`` (or nothing) at ``path`` and return what was there (or that nothing was)."""
    owner, name = _place(module, path)
    for members in (owner._parameters, owner._buffers):
        if name in members:
            before = members[name]
            if tensor is _MISSING:
                del members[name]
            else:
                members[name] = tensor
            return before
    before = getattr(owner, name, _MISSING)
    if before is not _MISSING and before is not None and not isinstance(before, Tensor):
        raise TypeError(f"{path}: {before} is not an instance of torch.Tensor")
    if tensor is _MISSING:
        delattr(owner, name)
    else:
        setattr(owner, name, tensor)
    return before


def _untied(module: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """``tensors`` with those given for one of several tied names given for all of them.

    Raises ValueError when tied names are given different tensors.
    """
    groups: dict[int, set[str]] = {}
    for members in (module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False)):
        for name, tensor in members:
            groups.setdefault(id(tensor), set()).add(name)
    result = dict(tensors)
    for names in groups.values():
        given = sorted(name for name in names if name in tensors)
        if len(names) < 2 or not given:
            continue
        if len({id(tensors[name]) for name in given}) > 1:
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(names)}, which are tied. Consider using "
                "tie_weights=False"
            )
        result.update(dict.fromkeys(names, tensors[given[0]]))
    return result


@contextlib.contextmanager
def _reparametrize_module(
    module: Any,
    parameters_and_buffers: dict[str, Tensor],
    tie_weights: bool = False,
    strict: bool = False,
    stack_weights: bool = False,
) -> Iterator[None]:
    """``module`` with other tensors in place of its own; ``strict`` demands all of them and no others."""
    tensors = _untied(module, parameters_and_buffers) if tie_weights else parameters_and_buffers
    if strict:
        own = {
            *(name for name, _ in module.named_parameters(remove_duplicate=False)),
            *(name for name, _ in module.named_buffers(remove_duplicate=False)),
        }
        faults = []
        for what, keys in (("Unexpected", set(tensors) - own), ("Missing", own - set(tensors))):
            if keys:
                faults.append(f"{what} key(s): " + ", ".join(f"'{key}'" for key in sorted(keys)) + ".")
        if faults:
            text = "\n\t".join(faults)
            raise RuntimeError(f"Error(s) in reparametrizing for {module._get_name()}:\n\t{text}")
    before: dict[str, Any] = {}
    try:
        for name, tensor in tensors.items():
            before[name] = _swap(module, name, tensor)
        yield
    finally:
        for name, tensor in reversed(before.items()):
            _swap(module, name, tensor)


def _functional_call(
    module: Any,
    parameters_and_buffers: dict[str, Tensor],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """``module(*args, **kwargs)`` computed with other tensors; what ``torch.func.functional_call`` does."""
    if args is None:
        args = ()
    elif not isinstance(args, tuple):
        args = (args,)
    with _reparametrize_module(module, parameters_and_buffers, tie_weights=tie_weights, strict=strict):
        return module(*args, **(kwargs or {}))


def functional_call(
    module: Any,
    parameters_and_buffers: dict[str, Tensor],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call ``module`` with the given tensors in place of its parameters and buffers of those names.

    The old name of ``torch.func.functional_call``.

    Args:
        module: the module; it is as before afterwards.
        parameters_and_buffers: tensors by path.
        args: positional arguments, a tuple or a single value.
        kwargs: keyword arguments.
        tie_weights: parameters that are one object stay one tensor.
        strict: demand a tensor for every parameter and buffer, and for nothing else (RuntimeError).
    """
    warnings.warn(
        "This API is deprecated as of PyTorch 2.0 and will be removed in a future version of PyTorch. Please use "
        "torch.func.functional_call instead which is a drop-in replacement for this API.",
        FutureWarning,
        stacklevel=2,
    )
    return _functional_call(module, parameters_and_buffers, args, kwargs, tie_weights=tie_weights, strict=strict)
