"""Nodes of the tape, and what a tensor carries besides its place on it.

Nodes number themselves when they are made, and a node is made after the nodes that it points to.  So the numbers
fall along every edge, and the engine needs no count of what still has to arrive at a node: it runs the highest
number first.
"""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from ..layout import of

if TYPE_CHECKING:
    from ..device import device
    from ..layout import Layout
    from ..tensor import Tensor

__all__ = ["OWN", "AccumulateGrad", "Edge", "Node", "RemovableHandle", "TensorExtras", "accumulator"]

number: Callable[[], int] = itertools.count(1).__next__


class RemovableHandle:
    """What every ``register_*_hook`` returns: ``remove()`` takes the hook out again, and so does leaving the handle's
    ``with`` block.

    The caller stores the hook in ``hooks_dict`` under ``handle.id``; ``extra_dict`` is one more dictionary, or a list
    of them, whose entry of the same id goes at the same time.  All are held weakly.
    """

    next_id = 0
    _counter = itertools.count()

    def __init__(self, hooks_dict: Any, *, extra_dict: Any = None) -> None:
        self.id = next(RemovableHandle._counter)
        RemovableHandle.next_id = self.id + 1
        self.hooks_dict_ref: Any = weakref.ref(hooks_dict)
        extras = () if extra_dict is None else extra_dict if isinstance(extra_dict, list) else (extra_dict,)
        self.extra_dict_ref: tuple[Any, ...] = tuple(weakref.ref(extra) for extra in extras)

    def remove(self) -> None:
        """Forgets the hook; does nothing the second time."""
        for reference in (self.hooks_dict_ref, *self.extra_dict_ref):
            hooks = reference()
            if hooks is not None:
                hooks.pop(self.id, None)

    def __getstate__(self) -> tuple[Any, ...]:
        return (self.hooks_dict_ref(), self.id, tuple(reference() for reference in self.extra_dict_ref))

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        # A dictionary that has died since comes back as an empty one that nobody holds.
        hooks, self.id, *rest = state
        self.hooks_dict_ref = weakref.ref(OrderedDict() if hooks is None else hooks)
        extras = rest[0] if rest else ()
        self.extra_dict_ref = tuple(weakref.ref(OrderedDict() if extra is None else extra) for extra in extras)
        if self.id >= RemovableHandle.next_id:
            RemovableHandle.next_id = self.id + 1
            RemovableHandle._counter = itertools.count(self.id + 1)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def add_hook(hooks: dict[int, Any], hook: Callable[..., Any]) -> RemovableHandle:
    """Registers ``hook`` under a new handle."""
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


class NodeExtras:
    """What few nodes have: hooks by kind, tensors that retain their gradient, and notes of the user."""

    __slots__ = ("metadata", "post_hooks", "pre_hooks", "retained", "tensor_hooks")

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}
        self.pre_hooks: OrderedDict[int, Any] = OrderedDict()
        self.post_hooks: OrderedDict[int, Any] = OrderedDict()
        self.tensor_hooks: dict[int, OrderedDict[int, Any]] = {}  # by number of the output
        self.retained: dict[int, weakref.ref[Tensor]] = {}  # by number of the output


class Node:
    """A function on the tape: takes gradients with respect to its outputs and gives those of its inputs.

    ``next_functions`` are its edges, one per input tensor: the node that made the input and which of its outputs it
    was; ``(None, 0)`` when the input needs no gradient.  ``_outputs`` holds the layout of the output, or a tuple of
    them when there are several (None for one that has no gradient).
    """

    __slots__ = ("__weakref__", "_extras", "_outputs", "_sequence", "next_functions")

    next_functions: tuple[Edge, ...]
    _sequence: int
    _outputs: Layout | tuple[Layout | None, ...]
    _extras: NodeExtras | None

    _takes_real_part = True  # of a complex gradient for a real input; a custom Function must do so itself
    _pretty: str | None = None  # how repr spells the class, where not as Python does

    def name(self) -> str:
        """The name of the node, such as "MulBackward0"."""
        return type(self).__name__

    def _short_name(self) -> str:
        """The name without "Backward0", as it stands in messages."""
        return self.name().rstrip("0123456789").removesuffix("Backward")

    def __repr__(self) -> str:
        return f"<{self._pretty or type(self).__name__} object at {id(self):#x}>"

    @property
    def metadata(self) -> dict[str, Any]:
        """A dictionary for notes about this node."""
        return self._notes().metadata

    @property
    def requires_grad(self) -> bool:
        """True: a node is made only for what requires grad."""
        return True

    def _sequence_nr(self) -> int:
        """The number of the node; nodes made later have higher ones."""
        return self._sequence

    @property
    def _input_metadata(self) -> tuple[Layout | None, ...]:
        """The layouts of the gradients that the node takes."""
        outputs = self._outputs
        return outputs if type(outputs) is tuple else (outputs,)  # type: ignore[return-value]

    def register_hook(self, fn: Callable[..., Any]) -> RemovableHandle:
        """Calls ``fn(grad_inputs, grad_outputs)`` after the node ran; a tuple it returns replaces ``grad_inputs``."""
        return add_hook(self._notes().post_hooks, fn)

    def register_prehook(self, fn: Callable[..., Any]) -> RemovableHandle:
        """Calls ``fn(grad_outputs)`` before the node runs; a tuple it returns replaces ``grad_outputs``."""
        return add_hook(self._notes().pre_hooks, fn)

    def _notes(self) -> NodeExtras:
        extras = self._extras
        if extras is None:
            extras = self._extras = NodeExtras()
        return extras

    def __call__(self, *grads: Tensor | None) -> Any:
        """Runs the node on these gradients, outside of any ``backward``."""
        found = tuple(self._apply(list(grads), None))
        return found[0] if len(found) == 1 else found

    def _apply(self, grads: list[Tensor | None], wanted: Sequence[bool] | None) -> Sequence[Tensor | None]:
        """The gradients of the inputs, one per edge; those not ``wanted`` may be None.

        ``wanted`` None asks for the gradients of all edges that lead anywhere.
        """
        raise NotImplementedError

    def _differentiate(
        self, grads: list[Tensor | None], wanted: Sequence[bool] | None, owner: Node
    ) -> Sequence[Tensor | None]:
        """``_apply``, where the tape has ``owner`` in the place of this node."""
        return self._apply(grads, wanted)

    def _history(self, output_nr: int, tensor: Tensor) -> Edge:
        """The place on the tape of the saved output ``output_nr``, which is ``tensor`` without history."""
        return (self, output_nr)

    def _release(self) -> None:
        """Drops saved tensors after the node ran for the last time."""


Edge: TypeAlias = "tuple[Node | None, int]"
NO_EDGE: Edge = (None, 0)


class AccumulateGrad(Node):
    """The end of the tape at a leaf: adds its gradient to ``variable.grad``."""

    __slots__ = ("variable",)

    def __init__(self, variable: Tensor) -> None:
        self.variable = variable
        self.next_functions = ()
        self._outputs = variable._layout
        self._extras = None
        self._sequence = number()

    def name(self) -> str:
        """PyTorch's name of this node."""
        return "torch::autograd::AccumulateGrad"


OWN = object()  # ``TensorExtras.grad_dtype`` of a tensor whose gradients have its element type


class AnyType(NamedTuple):
    """Stands for the layout of gradients that may have any element type."""

    device: device
    shape: tuple[int, ...]
    dtype: None = None

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)


class TensorExtras:
    """What few tensors have (``Tensor._hooks``): the leaf's node, hooks, and who views the tensor.

    ``views`` are views made while the tensor did not require grad; should it start to, so do they.
    ``grad_dtype`` is the element type of the gradients that a leaf accumulates: a type, None for any, or `OWN`.
    """

    __slots__ = ("accumulator", "grad_dtype", "hooks", "post_accumulate", "retains", "room", "views")

    def __init__(self) -> None:
        # Weak: a node that keeps its leaf, kept by that leaf, would be a cycle.  Tapes hold the node.
        self.accumulator: weakref.ref[AccumulateGrad] | None = None
        self.grad_dtype: Any = OWN
        self.hooks: OrderedDict[int, Any] | None = None
        self.post_accumulate: OrderedDict[int, Any] | None = None
        self.retains = False
        self.views: list[weakref.ref[Tensor]] | None = None
        self.room = 16  # how long ``views`` may grow before those that are gone are dropped


def extras_of(tensor: Tensor) -> TensorExtras:
    """``tensor._hooks``, made if it is not there."""
    extras = tensor._hooks
    if extras is None:
        extras = tensor._hooks = TensorExtras()
    return extras


def accumulator(tensor: Tensor) -> AccumulateGrad:
    """The node that accumulates the gradient of a leaf: the same one for as long as somebody holds it."""
    extras = tensor._hooks
    if extras is None:
        extras = tensor._hooks = TensorExtras()
    reference = extras.accumulator
    node = None if reference is None else reference()
    if node is None:
        node = AccumulateGrad(tensor)
        if extras.grad_dtype is not OWN:
            node._outputs = gradient_layout(tensor, extras.grad_dtype)
        extras.accumulator = weakref.ref(node)
    return node


def gradient_layout(tensor: Tensor, dtype: Any) -> Any:
    """The layout of gradients of a leaf that are of element type ``dtype`` (None: any)."""
    own = tensor._layout
    return AnyType(own.device, own.shape) if dtype is None else of(dtype, own.device, own.shape, own.strides)
