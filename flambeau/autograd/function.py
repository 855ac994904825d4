"""``Function``: operators with a derivative of the user's own."""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..layout import Layout
from ..tensor import Tensor, contiguous, make
from ..transform.level import wrappers_in
from .mode import no_grad, state
from .node import Edge, Node, RemovableHandle, number
from .saved import FREED, SavedTensor, hooks, watch
from .tape import take_traceback
from .view import CUSTOM, View, edge_of, rebase, set_history

__all__ = ["BackwardCFunction", "Function", "FunctionCtx", "FunctionMeta", "InplaceFunction", "once_differentiable"]

F = TypeVar("F", bound=Callable[..., Any])


class FunctionCtx:
    """What ``forward`` leaves for ``backward``: tensors through ``save_for_backward``, anything else as attributes."""

    needs_input_grad: tuple[bool, ...]
    _to_save: tuple[Tensor | None, ...] = ()
    _dirty: tuple[Tensor, ...] = ()
    _non_differentiable: tuple[Tensor, ...] = ()
    _materialize = True

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keeps tensors (or None) until ``backward``, which finds them in ``saved_tensors``.

        Inputs and outputs must be kept this way and not as attributes: a write to them is then noticed, and outputs
        make no reference cycle.  A later call replaces what an earlier one kept.
        """
        self._to_save = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Keeps tensors for ``jvp``."""
        for tensor in tensors:
            if tensor is not None and not isinstance(tensor, Tensor):
                raise TypeError(
                    "save_for_forward expects all arguments to be tensors; you should save non-tensors as attributes "
                    "on ctx."
                )
        self.saved_for_forward = tensors

    def mark_dirty(self, *args: Tensor) -> None:
        """Says which inputs ``forward`` wrote to in place; each must be returned as well."""
        self._dirty = args

    def mark_shared_storage(self, *pairs: object) -> None:
        """Does nothing: shared storage is seen without it."""
        warnings.warn(
            "function 'mark_shared_storage' is deprecated. Tensors with shared storages are automatically tracked. "
            "Note that calls to `set_()` are not tracked",
            FutureWarning,
            stacklevel=2,
        )

    def mark_non_differentiable(self, *args: Tensor) -> None:
        """Says which outputs have no gradient; ``backward`` gets zeros for them."""
        self._non_differentiable = args

    def set_materialize_grads(self, value: bool) -> None:
        """Whether ``backward`` gets zeros (the default) or None for outputs without a gradient."""
        self._materialize = value


class BackwardCFunction(Node, FunctionCtx):
    """The node of a custom Function, which is also its context."""

    _forward_cls: type[Function]
    _takes_real_part = False
    _saved: tuple[SavedTensor | None, ...] | None = ()
    _is_tensor: tuple[bool, ...] = ()  # per argument of apply
    _layouts: tuple[Layout | None, ...] = ()  # of all outputs; None for one that is no tensor
    _owner: Node | None = None  # where the node stands in for itself (see Node._differentiate)

    def __init__(self) -> None:
        self.next_functions = ()
        self._outputs = ()
        self._extras = None
        self._sequence = 0

    def __repr__(self) -> str:
        return f"<torch.autograd.function.{type(self).__name__} object at {id(self):#x}>"

    def apply(self, *grads: Any) -> Any:
        """Calls the ``backward`` (or ``vjp``) of the Function."""
        return self._user_backward()(self, *grads)

    def _user_backward(self) -> Callable[..., Any]:
        cls = self._forward_cls
        own_backward, own_vjp = cls.backward is not Function.backward, cls.vjp is not Function.vjp
        if own_backward and own_vjp:
            raise RuntimeError(
                "Implementing both 'backward' and 'vjp' for a custom Function is not allowed. You should only "
                "implement one of them."
            )
        return cls.vjp if own_vjp else cls.backward

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What ``save_for_backward`` kept.  Raises RuntimeError when it was freed or written to."""
        if self._saved is None:
            raise RuntimeError(FREED)
        owner = self._owner or self
        return tuple(None if saved is None else saved.unpack(owner) for saved in self._saved)

    saved_variables = saved_tensors

    @property
    def _raw_saved_tensors(self) -> tuple[SavedTensor | None, ...]:
        if self._saved is None:
            raise RuntimeError(FREED)
        return self._saved

    def _tensors_kept(self) -> list[Tensor | None]:
        """All tensors that the node keeps, saved ones and those that are attributes or in a list that is one."""
        found = [None if saved is None else saved.unpack(self) for saved in self._saved or ()]
        for value in vars(self).values():
            found += [t for t in (value if isinstance(value, (tuple, list)) else (value,)) if isinstance(t, Tensor)]
        return found

    @property
    def materialize_grads(self) -> bool:
        """Whether missing gradients are passed to ``backward`` as zeros."""
        return self._materialize

    @property
    def to_save(self) -> tuple[Tensor | None, ...]:
        """What will be kept when ``forward`` returns."""
        return self._to_save

    @property
    def dirty_tensors(self) -> tuple[Tensor, ...]:
        """The inputs that ``forward`` wrote to."""
        return self._dirty

    @property
    def non_differentiable(self) -> tuple[Tensor, ...]:
        """The outputs without gradients."""
        return self._non_differentiable

    def maybe_clear_saved_tensors(self) -> None:
        """Drops the saved tensors, unless the present run of the engine keeps the graph."""
        if state.task is None or not state.task.keep_graph:
            self._release()

    def _register_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        return self.register_hook(hook)

    def _differentiate(
        self, grads: list[Tensor | None], wanted: Sequence[bool] | None, owner: Node
    ) -> Sequence[Tensor | None]:
        self._owner = owner
        try:
            return self._apply(grads, wanted)
        finally:
            self._owner = None

    def _apply(self, grads: list[Tensor | None], wanted: Sequence[bool] | None) -> Sequence[Tensor | None]:
        if self._materialize:
            for index, layout in enumerate(self._layouts):
                if grads[index] is None and layout is not None:
                    zeros = contiguous(layout.dtype, layout.shape, layout.device)
                    grads[index] = zeros.zero_()  # type: ignore[attr-defined]
        found = self._user_backward()(self, *grads)
        if not isinstance(found, tuple):
            found = (found,)
        count = len(self._is_tensor)
        if len(found) > count and all(entry is None for entry in found[count:]):
            found = found[:count]
        if len(found) != count:
            raise RuntimeError(
                f"function {self.name()} returned an incorrect number of gradients (expected {count}, got {len(found)})"
            )
        gradients: list[Tensor | None] = []
        for position, (entry, is_tensor) in enumerate(zip(found, self._is_tensor), 1):
            if is_tensor:
                if entry is not None and not isinstance(entry, Tensor):
                    raise RuntimeError(f"expected Variable or None (got {type(entry).__name__})")
                gradients.append(entry)
            elif entry is not None:
                raise RuntimeError(
                    f"function {self.name()} returned a gradient different than None at position {position}, but the "
                    "corresponding forward input was not a Variable"
                )
        return gradients

    def _release(self) -> None:
        if self._saved:
            self._saved = None


class FunctionMeta(type):
    """Gives every Function the class of its nodes, "NAMEBackward"."""

    _backward_cls: type[BackwardCFunction]

    def __init__(cls, name: str, bases: tuple[type, ...], attrs: dict[str, Any]) -> None:
        cls._backward_cls = type(name + "Backward", (BackwardCFunction,), {"_forward_cls": cls})
        super().__init__(name, bases, attrs)


transformed: Callable[..., Any] | None = None
"""What a Function does with tensors of a function transform; set by ``transform``, which stands above this file."""


class Function(metaclass=FunctionMeta):
    """Base class of custom operators.

    A subclass defines the static methods ``forward(ctx, *args)`` and ``backward(ctx, *grads)``, or ``forward(*args)``
    with ``setup_context(ctx, inputs, output)``; ``apply`` runs it.  ``backward`` returns one gradient per argument,
    None for those that are no tensors or need none.
    """

    generate_vmap_rule = False
    _only_computes = False
    """Whether all that ``backward`` does is to compute gradients by operators: true of some of the package's own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warnings.warn(
            f"{type(self)} should not be instantiated. Methods on autograd functions are all static, so you should "
            "invoke them on the class itself. Instantiating an autograd function will raise an error in a future "
            "version of PyTorch.",
            DeprecationWarning,
            stacklevel=2,
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. Please use new-style autograd "
            "function with static forward method. (Example: "
            "https://pytorch.org/docs/stable/autograd.html#torch.autograd.Function)"
        )

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Computes the outputs; what it does is not recorded."""
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        """Saves what ``backward`` needs, where ``forward`` takes no ``ctx``."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """The gradients of the inputs, given those of the outputs."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom autograd.Function to use it with "
            "backward mode AD."
        )

    @staticmethod
    def vjp(ctx: Any, *grad_outputs: Any) -> Any:
        """Another name of ``backward``; a Function defines one of them."""
        raise NotImplementedError("vjp is not implemented.")

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """The derivatives of the outputs, given those of the inputs (forward mode)."""
        raise NotImplementedError(
            "You must implement the jvp function for custom autograd.Function to use it with forward mode AD."
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:
        """How ``vmap`` batches the Function."""
        raise NotImplementedError(
            "To use autograd.Function with vmap, you must either override the vmap static method or set "
            "generate_vmap_rule=True."
        )

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Runs ``forward`` on these arguments and records the Function if one of them requires grad."""
        context = cls._backward_cls()
        two_steps = cls.setup_context is not Function.setup_context
        if two_steps:
            bound = inspect.signature(cls.forward).bind(*args, **kwargs)
            bound.apply_defaults()
            args, kwargs = bound.args, bound.kwargs
        if wrappers_in(args):
            assert transformed is not None
            return transformed(cls, args, kwargs, two_steps)
        return cls._apply_plainly(context, args, kwargs, two_steps)

    @classmethod
    def _apply_plainly(
        cls, context: BackwardCFunction, args: tuple[Any, ...], kwargs: dict[str, Any], two_steps: bool
    ) -> Any:
        is_tensor = tuple(isinstance(arg, Tensor) for arg in args)
        context.needs_input_grad = tuple(found and arg._requires_grad for found, arg in zip(is_tensor, args))
        recorded = state.grad and any(context.needs_input_grad)
        if recorded:
            context.next_functions = tuple(edge_of(arg) for found, arg in zip(is_tensor, args) if found)
            context._is_tensor = is_tensor
        with no_grad():
            if two_steps:
                raw = cls.forward(*args, **kwargs)
                cls.setup_context(context, args, raw)
            else:
                raw = cls.forward(context, *args, **kwargs)
        outputs = raw if isinstance(raw, tuple) else (raw,)
        finished = _finish(context, [arg for found, arg in zip(is_tensor, args) if found], outputs, recorded)
        return finished if isinstance(raw, tuple) else finished[0]


def _finish(
    context: BackwardCFunction, inputs: Sequence[Tensor], outputs: Sequence[Any], recorded: bool
) -> tuple[Any, ...]:
    """The outputs as their user gets them: with their place on the tape, and never an input itself."""
    dirty = {id(tensor) for tensor in context._dirty}
    if not dirty <= {id(output) for output in outputs}:
        raise RuntimeError(
            "Some elements marked as dirty during the forward method were not returned as output. The inputs that "
            "are modified inplace must all be outputs of the Function."
        )
    for tensor in context._dirty:
        tensor._storage.version += 1
    if recorded:
        context._sequence = number()
        context._layouts = tuple(output._layout if isinstance(output, Tensor) else None for output in outputs)
        context._outputs = context._layouts
    constant = {id(tensor) for tensor in context._non_differentiable}
    known = {id(tensor): tensor for tensor in inputs}
    finished: list[Any] = []
    for output_nr, output in enumerate(outputs):
        if not isinstance(output, Tensor):
            finished.append(output)
            continue
        returned = id(output) in known and id(output) not in dirty
        if returned:
            output = _alias(output)
        if recorded and id(outputs[output_nr]) not in constant and output._layout.dtype.kind in "fc":
            if id(output) in dirty:
                _rebase(context, output, output_nr, inputs, outputs)
            else:
                set_history(output, context, output_nr)
                if output._view is not None:
                    output._view.creation = CUSTOM
                    output._view.version = output._storage.version
        elif returned:
            output._requires_grad = False
        finished.append(output)
    if recorded:
        _save(context, finished)
        if watch.anomaly:
            take_traceback(context)
    context._to_save = context._dirty = context._non_differentiable = ()
    return tuple(finished)


def _alias(tensor: Tensor) -> Tensor:
    """A view of all of a tensor."""
    found = make(tensor._storage, tensor._layout, tensor._offset)
    parent = tensor._view
    found._view = View(tensor if parent is None else parent.base, parent, None, (), None, CUSTOM)
    return found


def _rebase(
    context: BackwardCFunction, output: Tensor, output_nr: int, inputs: Sequence[Tensor], outputs: Sequence[Any]
) -> None:
    """The history of an input that ``forward`` wrote to."""
    if output._requires_grad and output._node is None:
        raise RuntimeError("a leaf Variable that requires grad has been used in an in-place operation.")
    view = output._view
    if view is None:
        set_history(output, context, output_nr)
        return
    if sum(isinstance(other, Tensor) for other in outputs) > 1:
        raise RuntimeError(
            "If your Function modifies inplace an input that is a view of another Tensor, your Function cannot return "
            "more than one Tensor. This is not supported by the current autograd engine. You should either make sure "
            "the input is not a view (using .clone() for example) or make your Function only return one Tensor "
            "(potentially splitting it into two Functions: one doing the inplace that returns a single Tensor and a "
            "second one that does the other operations). You can ask on the forum https://discuss.pytorch.org/ if you "
            "need help to do this change."
        )
    rebase(output, view, context, next(index for index, tensor in enumerate(inputs) if tensor is output))


def _save(context: BackwardCFunction, outputs: Sequence[Any]) -> None:
    own = {id(output) for output in outputs}
    pair = hooks.stack[-1] if hooks.stack else None
    saved: list[SavedTensor | None] = []
    for position, tensor in enumerate(context._to_save):
        if tensor is None:
            saved.append(None)
        elif isinstance(tensor, Tensor):
            saved.append(SavedTensor(tensor, id(tensor) in own and tensor._requires_grad, pair))
        else:
            raise TypeError(
                f"save_for_backward can only save variables, but argument {position} is of type {type(tensor).__name__}"
            )
    context._saved = tuple(saved)


class InplaceFunction(Function):
    """A Function with a flag ``inplace``, kept for old programs."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


class _Error(Node):
    """Stands where the tape cannot go on."""

    __slots__ = ("message",)
    _pretty = "Error"

    def __init__(self, message: str, outputs: tuple[Layout | None, ...]) -> None:
        self.message = message
        self.next_functions: tuple[Edge, ...] = ()
        self._outputs = outputs
        self._extras = None
        self._sequence = number()

    def name(self) -> str:
        """PyTorch's name of this node."""
        return "Error"

    def _apply(self, grads: list[Tensor | None], wanted: Sequence[bool] | None) -> Sequence[Tensor | None]:
        raise RuntimeError(self.message)


def once_differentiable(fn: F) -> F:
    """Decorates a ``backward`` that cannot be differentiated itself: doing so raises RuntimeError."""

    @functools.wraps(fn)
    def wrapped(ctx: Any, *grads: Any) -> Any:
        with no_grad():
            found = fn(ctx, *grads)
        if not state.grad or not any(isinstance(grad, Tensor) and grad._requires_grad for grad in grads):
            return found
        entries = found if isinstance(found, tuple) else (found,)
        layouts = tuple(entry._layout if isinstance(entry, Tensor) else None for entry in entries)
        node = _Error("trying to differentiate twice a function that was marked with @once_differentiable", layouts)
        marked: list[Any] = []
        for output_nr, entry in enumerate(entries):
            if isinstance(entry, Tensor):
                entry = make(entry._storage, entry._layout, entry._offset)
                set_history(entry, node, output_nr)
            marked.append(entry)
        return tuple(marked) if isinstance(found, tuple) else marked[0]

    return wrapped  # type: ignore[return-value]
