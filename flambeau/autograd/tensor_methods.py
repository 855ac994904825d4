"""The members of ``Tensor`` that belong to autograd; ``install`` attaches them."""

from __future__ import annotations

import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from ..dtype import dtype
from ..ops.common import overridable
from ..tensor import Tensor
from . import api
from .mode import state
from .node import OWN, Node, RemovableHandle, add_hook, extras_of, gradient_layout
from .saved import scalar_name
from .view import refresh, start_requiring_grad

__all__ = ["install"]

Hook = Callable[[Tensor], "Tensor | None"]


def _requires_grad(self: Tensor) -> bool:
    """Whether gradients are computed for this tensor."""
    return self._requires_grad


def _set_requires_grad(self: Tensor, value: bool) -> None:
    if self._node is not None:
        if not value:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in "
                "a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
            )
        return
    if value and self._layout.dtype.kind not in "fc":
        raise RuntimeError(
            "only Tensors of floating point dtype can require gradients"
            if self._layout.dtype.kind == "b" or self._layout.dtype.kind in "ui"
            else f"a tensor of {self._layout.dtype} cannot require gradients"
        )
    if value and not self._requires_grad:
        start_requiring_grad(self)
    elif not value:
        self._requires_grad = False


def requires_grad_(self: Tensor, requires_grad: bool = True) -> Tensor:
    """Sets whether gradients are computed for this leaf; returns it.

    Raises RuntimeError for integer types, and for switching it off on a computed tensor.
    """
    _set_requires_grad(self, requires_grad)
    return self


def _grad(self: Tensor) -> Tensor | None:
    """The accumulated gradient, or None."""
    state.gradients += 1
    if self._grad is None and self._node is not None and (self._hooks is None or not self._hooks.retains):
        warnings.warn(
            "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute won't be "
            "populated during autograd.backward(). If you indeed want the .grad field to be populated for a non-leaf "
            "Tensor, use .retain_grad() on the non-leaf Tensor. If you access the non-leaf Tensor by mistake, make "
            "sure you access the leaf Tensor instead. See github.com/pytorch/pytorch/pull/30531 for more "
            "informations.",
            stacklevel=2,
        )
    return self._grad


def _set_grad(self: Tensor, value: Tensor | None) -> None:
    state.gradients += 1
    if value is None:
        self._grad = None
        return
    if not isinstance(value, Tensor):
        raise TypeError(f"assigned grad expected to be a Tensor or None but got grad of type {type(value).__name__}")
    if value is self:
        raise RuntimeError("can't assign Variable as its own grad")
    own, new = self._layout, value._layout
    wanted = own.dtype if self._hooks is None or self._hooks.grad_dtype is OWN else self._hooks.grad_dtype
    if new.dtype is not wanted and wanted is not None:
        raise RuntimeError(
            f"attempting to assign a gradient with dtype '{new.dtype.name}' to a tensor with grad_dtype "
            f"'{scalar_name(wanted)}'. The gradient must match the tensor's grad_dtype (defaults to the tensor's "
            "dtype)."
        )
    if new.device is not own.device:
        raise RuntimeError(
            f"attempting to assign a gradient with device type '{new.device.type}' to a tensor with device type "
            f"'{own.device.type}'. Please ensure that the gradient and the tensor are on the same device"
        )
    if new.shape != own.shape:
        raise RuntimeError(
            f"attempting to assign a gradient of size '{list(new.shape)}' to a tensor of size '{list(own.shape)}'. "
            "Please ensure that the gradient and the tensor are the same size"
        )
    self._grad = value


def _del_grad(self: Tensor) -> None:
    state.gradients += 1
    self._grad = None


def _grad_dtype(self: Tensor) -> dtype | None:
    """The element type of the gradients that this leaf accumulates, its own by default; None stands for any.

    Raises RuntimeError for tensors that were computed, and for a type that an existing gradient does not have.
    """
    if not _is_leaf(self):
        raise RuntimeError("grad_dtype can only be accessed on leaf tensors.")
    extras = self._hooks
    if extras is None or extras.grad_dtype is OWN:
        return self._layout.dtype
    found: dtype | None = extras.grad_dtype
    return found


def _set_grad_dtype(self: Tensor, value: dtype | None) -> None:
    if not _is_leaf(self):
        raise RuntimeError("grad_dtype can only be set on leaf tensors.")
    if value is not None and not isinstance(value, dtype):
        raise RuntimeError(f"grad_dtype must be a torch.dtype or None, but got {type(value).__name__}")
    if self._grad is not None and value is not None and self._grad._layout.dtype is not value:
        raise RuntimeError(
            f"Cannot set grad_dtype to '{scalar_name(value)}' because there is already a gradient with dtype "
            f"'{self._grad._layout.dtype.name}'. Please clear the gradient (.grad = None) before changing grad_dtype, "
            "or ensure the new grad_dtype matches the existing gradient's dtype."
        )
    extras = extras_of(self)
    extras.grad_dtype = OWN if value is self._layout.dtype else value
    node = None if extras.accumulator is None else extras.accumulator()
    if node is not None:
        node._outputs = gradient_layout(self, value)


def _grad_fn(self: Tensor) -> Node | None:
    """The node of the tape that computed this tensor; None for a leaf."""
    if self._view is not None:
        refresh(self)
    return self._node


def _is_leaf(self: Tensor) -> bool:
    """Whether the tensor was not computed from others that require grad."""
    if self._view is not None:
        refresh(self)
    return self._node is None


def retain_grad(self: Tensor) -> None:
    """Keeps the gradient of this computed tensor in ``.grad``, too.

    Raises RuntimeError if the tensor does not require grad.
    """
    if not self._requires_grad:
        raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
    node = _grad_fn(self)
    if node is None:
        return
    extras_of(self).retains = True
    node._notes().retained[self._output_nr] = weakref.ref(self)


def _retains_grad(self: Tensor) -> bool:
    """Whether ``retain_grad`` was called on this computed tensor."""
    return self._hooks is not None and self._hooks.retains


def _hooks_of(self: Tensor) -> OrderedDict[int, Hook]:
    """The dictionary of the tensor's hooks: with its node, or with the tensor itself if it is a leaf."""
    node = _grad_fn(self)
    if node is not None:
        return node._notes().tensor_hooks.setdefault(self._output_nr, OrderedDict())
    extras = extras_of(self)
    if extras.hooks is None:
        extras.hooks = OrderedDict()
    return extras.hooks


def register_hook(self: Tensor, hook: Hook) -> RemovableHandle:
    """Calls ``hook(grad)`` whenever the gradient of this tensor is computed; a tensor it returns takes its place.

    Raises RuntimeError if the tensor does not require grad.
    """
    if not self._requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    return add_hook(_hooks_of(self), hook)


def register_post_accumulate_grad_hook(self: Tensor, hook: Callable[[Tensor], None]) -> RemovableHandle:
    """Calls ``hook(tensor)`` after the gradient of this leaf was added to its ``.grad``.

    Raises RuntimeError for a tensor that does not require grad or is no leaf.
    """
    if not self._requires_grad:
        raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
    if _grad_fn(self) is not None:
        raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
    extras = extras_of(self)
    if extras.post_accumulate is None:
        extras.post_accumulate = OrderedDict()
    return add_hook(extras.post_accumulate, hook)


def _backward_hooks(self: Tensor) -> OrderedDict[int, Hook] | None:
    if not self._requires_grad:
        return None
    return _hooks_of(self) or None


def _set_backward_hooks(self: Tensor, value: OrderedDict[int, Hook] | None) -> None:
    if not self._requires_grad:
        if value:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        return
    hooks = _hooks_of(self)
    hooks.clear()
    hooks.update(value or {})


def _post_accumulate_grad_hooks(self: Tensor) -> OrderedDict[int, Any] | None:
    return None if self._hooks is None else self._hooks.post_accumulate


@overridable
def backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensor | Sequence[Tensor] | None = None,
) -> None:
    """Adds the derivatives of this tensor (of its dot product with ``gradient``) to the ``.grad`` of the leaves it
    depends on, or of ``inputs`` only.  See ``autograd.backward``.
    """
    api.backward(self, gradient, retain_graph, create_graph, inputs=inputs)


def detach_(self: Tensor) -> Tensor:
    """Takes the tensor off the tape: it becomes a leaf that requires no grad.  Raises RuntimeError for views."""
    if not isinstance(self, Tensor):
        raise TypeError(f"detach_(): argument 'input' (position 1) must be Tensor, not {type(self).__name__}")
    if self._view is not None:
        raise RuntimeError(
            "Can't detach views in-place. Use detach() instead. If you are using DistributedDataParallel (DDP) for "
            "training, and gradient_as_bucket_view is set as True, gradients are views of DDP buckets, and hence "
            "detach_() cannot be called on these gradients. To fix this error, please refer to the "
            "Optimizer.zero_grad() function in torch/optim/optimizer.py as the solution."
        )
    self._node = None
    self._output_nr = 0
    self._requires_grad = False
    if self._hooks is not None:
        self._hooks.retains = False
    return self


def _version(self: Tensor) -> int:
    """How often the storage has been written to in place."""
    return self._storage.version


def _output_nr(self: Tensor) -> int:
    """Which output of ``grad_fn`` the tensor is."""
    if self._view is not None:
        refresh(self)
    return self._output_nr


def _base(self: Tensor) -> Tensor | None:
    """The tensor that this one is a view of, or None."""
    return None if self._view is None else self._view.base


def _is_view(self: Tensor) -> bool:
    return self._view is not None


def install(cls: type[Tensor]) -> None:
    """Attaches the members to the tensor class."""
    properties: dict[str, property] = {
        "requires_grad": property(_requires_grad, _set_requires_grad),
        "grad": property(_grad, _set_grad, _del_grad),
        "grad_dtype": property(_grad_dtype, _set_grad_dtype),
        "grad_fn": property(_grad_fn),
        "is_leaf": property(_is_leaf),
        "retains_grad": property(_retains_grad),
        "_backward_hooks": property(_backward_hooks, _set_backward_hooks),
        "_post_accumulate_grad_hooks": property(_post_accumulate_grad_hooks),
        "_version": property(_version),
        "output_nr": property(_output_nr),
        "_base": property(_base),
    }
    for name, member in properties.items():
        setattr(cls, name, member)
    functions = (
        backward, detach_, register_hook, register_post_accumulate_grad_hook, requires_grad_, retain_grad, _is_view
    )  # fmt: skip
    for function in functions:
        setattr(cls, function.__name__, function)
