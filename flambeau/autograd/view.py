"""Views and what a write in place through them does to the tape.

A view remembers the base it belongs to (never a view itself) and how to make it from the base again.  A write
through a view changes the history of the base: the base's node becomes a ``CopySlices``, which gives the part of the
gradient under the view to the operator that wrote, and the rest to the base's old history.  Every other view of the
base then finds, by the version of the storage, that its node is out of date, and is derived from the base anew when
it is next used.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from ..layout import Layout, of
from ..tensor import Tensor, empty
from ..transform.level import blank
from .mode import enable_grad, state
from .node import NO_EDGE, Edge, Node, accumulator, extras_of, number

__all__ = ["CopySlices", "How", "View", "check_view", "edge_of", "rebase", "refresh", "set_history"]

How = tuple[Any, tuple[Any, ...], "int | None"]
Steps = tuple[How, ...]

# How a view was made, where a write through it cannot be recorded as usual.
DEFAULT, NO_GRAD, MULTIPLE, CUSTOM = range(4)

_WHY = {
    MULTIPLE: " This view is the output of a function that returns multiple views. Such functions do not allow the "
    "output views to be modified inplace. You should replace the inplace operation by an out-of-place one.",
    NO_GRAD: " Given that this use case is ambiguous and error-prone, it is forbidden. You can clarify your code by "
    "moving both the view and the inplace either both inside the no_grad block (if you don't want the inplace to be "
    "tracked) or both outside (if you want the inplace to be tracked).",
    CUSTOM: " This view was created inside a custom Function (or because an input was returned as-is) and the autograd "
    "logic to handle view+inplace would override the custom backward associated with the custom Function, leading to "
    "incorrect gradients. This behavior is forbidden. You can fix this by cloning the output of the custom Function.",
}


class View:
    """How a view came to be: output ``index`` of ``op(parent, *arguments)``, where ``parent`` is ``base`` itself or a
    view of it; ``how`` is (op, arguments, index).  ``version`` is that of the storage when the view's node was last
    known to be right.
    """

    __slots__ = ("base", "creation", "how", "parent", "version")

    def __init__(
        self, base: Tensor, parent: View | None, op: Any, arguments: tuple[Any, ...], index: int | None, creation: int
    ) -> None:
        self.base = base
        self.parent = parent
        self.how: How = (op, arguments, index)
        self.creation = creation
        self.version = base._storage.version

    def steps(self) -> Steps:
        """The operators from the base to the view."""
        views = [self]
        while (parent := views[-1].parent) is not None:
            views.append(parent)
        return tuple(view.how for view in reversed(views))


def replay(steps: Steps, tensor: Tensor) -> Tensor:
    """The view that ``steps`` make of a tensor with the base's layout."""
    for op, arguments, index in steps:
        found = op(tensor, *arguments)
        tensor = found if index is None else found[index]
    return tensor


def check_view(tensor: Tensor, view: View, indirect: bool) -> None:
    """Raises RuntimeError if a write through ``tensor`` (``indirect``: elsewhere in its base) cannot be recorded."""
    if view.creation == DEFAULT:
        return
    node = tensor._node
    happens = "its base or another view of its base has been" if indirect else "is being"
    if node is None:
        what = f"A view was created in no_grad mode and {happens} modified inplace with grad mode enabled."
    elif view.creation == NO_GRAD:
        what = (
            f"Output {tensor._output_nr} of {node._short_name()} is a view of a view which was created in no_grad "
            f"mode and {happens} modified inplace with grad mode enabled."
        )
    else:
        what = f"Output {tensor._output_nr} of {node._short_name()} is a view and {happens} modified inplace."
    raise RuntimeError(what + _WHY[view.creation])


def refresh(tensor: Tensor) -> None:
    """Brings the node of a view up to date after a write to its storage."""
    view = tensor._view
    if view is None or view.version == tensor._storage.version:
        return
    base = view.base
    if tensor._node is None and not base._requires_grad:
        return
    check_view(tensor, view, indirect=True)
    with enable_grad():
        derived = replay(view.steps(), base)
    set_history(tensor, derived._node, derived._output_nr)
    view.version = tensor._storage.version


def set_history(tensor: Tensor, node: Node | None, output_nr: int) -> None:
    """Makes the tensor output ``output_nr`` of ``node``; a retained gradient is then that of the new value."""
    extras = tensor._hooks
    if extras is not None and extras.retains:
        old = tensor._node
        if old is not None and old._extras is not None:
            old._extras.retained.pop(tensor._output_nr, None)
        if node is not None:
            node._notes().retained[output_nr] = weakref.ref(tensor)
    tensor._node = node
    tensor._output_nr = output_nr
    if node is None:
        tensor._requires_grad = False
    elif not tensor._requires_grad:
        start_requiring_grad(tensor)


def start_requiring_grad(tensor: Tensor) -> None:
    """Makes the tensor require grad, and with it the views that were made of it before."""
    tensor._requires_grad = True
    extras = tensor._hooks
    if extras is not None and extras.views is not None:
        for reference in extras.views:
            view = reference()
            if view is not None:
                view._requires_grad = True
        extras.views = None


def make_room(base: Tensor) -> list[weakref.ref[Tensor]]:
    """The list of the views of a base that does not require grad (yet), with room for one more: when it is full, those
    that are gone are dropped, and the next look is when it has doubled."""
    extras = extras_of(base)
    views = extras.views
    if views is None:
        views = extras.views = []
    elif len(views) >= extras.room:
        views[:] = [reference for reference in views if reference() is not None]
        extras.room = 2 * len(views) + 16
    return views


def edge_of(tensor: Tensor) -> Edge:
    """Where the gradient of ``tensor`` goes; ``(None, 0)`` if it requires none."""
    view = tensor._view
    if view is not None and view.version != tensor._storage.version:
        refresh(tensor)
    if tensor._node is not None:
        return (tensor._node, tensor._output_nr)
    if tensor._requires_grad:
        return (accumulator(tensor), 0)
    return NO_EDGE


class CopySlices(Node):
    """A write through a view, seen from the base: the base's gradient without the part under the view goes to the
    base's history, and that part to ``inner``, the operator that wrote.

    ``place`` is the number of the edge of ``inner`` that belonged to the view.
    """

    __slots__ = ("_layout", "_place", "_steps", "inner")

    def __init__(self, base: Tensor, view: View, inner: Node, place: int) -> None:
        self.inner = inner
        self._steps = view.steps()  # and not the view, whose base owns this node
        self._place = place
        self._layout: Layout = base._layout
        self._outputs = base._layout
        self._extras = None
        edges = list(inner.next_functions)
        edges[place] = edge_of(base)
        self.next_functions = tuple(edges)
        self._sequence = number()

    def name(self) -> str:
        """PyTorch's name of this node."""
        return "torch::autograd::CopySlices"

    def _short_name(self) -> str:
        return self.inner._short_name()

    def _apply(self, grads: list[Tensor | None], wanted: Sequence[bool] | None) -> Sequence[Tensor | None]:
        grad = grads[0]
        if grad is None:
            return [None] * len(self.next_functions)
        layout, place = self._layout, self._place
        rest: Any = blank(grad, of(grad._layout.dtype, layout.device, layout.shape, layout.strides))
        rest.copy_(grad)
        under: Any = replay(self._steps, rest)
        found = list(self.inner._differentiate([under.clone()], wanted, self))
        if self.next_functions[place][0] is not None if wanted is None else wanted[place]:
            if found[place] is None:
                under.zero_()
            else:
                under.copy_(found[place])
            found[place] = rest
        return found

    def _history(self, output_nr: int, tensor: Tensor) -> Edge:
        if not state.grad:
            return NO_EDGE
        # The output of the operator that wrote is now the view of the base that this node made.
        layout = self._layout
        base = empty(layout)
        base._node = self
        base._requires_grad = True
        derived = replay(self._steps, base)
        return (derived._node, derived._output_nr)

    def _release(self) -> None:
        self.inner._release()


def rebase(target: Tensor, view: View, node: Node, place: int = 0) -> None:
    """Puts ``node``, which wrote to ``target``, a view, into the history of the base."""
    base = view.base
    set_history(base, CopySlices(base, view, node, place), 0)
    if not target._requires_grad:
        start_requiring_grad(target)
    view.version = -1
    if target._hooks is not None and target._hooks.retains:
        refresh(target)
