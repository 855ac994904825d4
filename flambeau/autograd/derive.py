"""The automatic derivative of an operator whose body is made of operators.

The backward of such an operator is an operator of its own: its body runs the forward body on the tape, while
it is traced, and differentiates it there.  So it is planned, fused and cached like any other, what the forward
computed is computed again where it is needed, and it has a derivative by the same rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import primitives as prim
from ..call import dispatch, trace_body
from ..operator import Derivative, Operator, Tensors
from ..tensor import Tensor
from .api import grad as gradient_of
from .mode import state
from .tape import Context

__all__ = ["automatic"]


def automatic(op: Operator) -> Derivative:
    """The derivative of ``op``: saves all its tensors and calls its backward operator."""
    backward = _backward_operator(op)

    def fn(ctx: Any, *grads: Tensor | None) -> list[Any]:
        inputs: list[Tensor] = []
        wanted: list[bool] = []
        rest: list[Any] = []
        names = [f"{n}_" if hasattr(Context, n) else n for n in op.params]
        for i, name in enumerate(names):
            value = getattr(ctx, name)
            if isinstance(value, Tensor):
                rest.append(_Slot(1))
                inputs.append(value)
                wanted.append(ctx.needs(op.params[i]))
            elif i in op.lists:
                rest.append(_Slot(len(value), True))
                inputs.extend(value)
                wanted.extend([ctx.needs(op.params[i])] * len(value))
            else:
                rest.append(tuple(value) if isinstance(value, list) else value)
        given = [g for g in grads if g is not None]
        present = tuple(g is not None for g in grads)
        found = iter(dispatch(backward, (given, inputs, tuple(rest), tuple(wanted), present))) if given else iter(())
        flat = [next(found, None) if w else None for w in wanted]
        result: list[Any] = []
        at = 0
        for i in op.tensors:
            slot = rest[i]
            if not isinstance(slot, _Slot):
                result.append(None)
            elif slot.several:
                result.append(flat[at : at + slot.count])
                at += slot.count
            else:
                result.append(flat[at])
                at += 1
        return result

    return Derivative(tuple(op.params[i] for i in op.tensors), fn)


class _Slot:
    """Stands for tensors among the static arguments of a backward operator."""

    __slots__ = ("count", "several")

    def __init__(self, count: int, several: bool = False) -> None:
        self.count, self.several = count, several

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Slot) and (self.count, self.several) == (other.count, other.several)

    def __hash__(self) -> int:
        return hash((_Slot, self.count, self.several))


def _backward_operator(op: Operator) -> Operator:
    def body(
        grads: Tensors, inputs: Tensors, rest: tuple[Any, ...], wanted: tuple[bool, ...], present: tuple[bool, ...]
    ) -> Any:
        before = state.grad
        state.grad = True
        try:
            leaves = [_leaf(x, w) for x, w in zip(inputs, wanted)]
            outputs = trace_body(op, _arguments(rest, leaves), True)
            outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
            roots = [o for o, p in zip(outputs, present) if p]
            pairs = [(o, g) for o, g in zip(roots, grads) if o._requires_grad]
            aims = [x for x, w in zip(leaves, wanted) if w]
            found: Sequence[Tensor | None] = [None] * len(aims)
            if pairs:
                outs, seeds = zip(*pairs)
                again = any(t._requires_grad for t in (*grads, *inputs))  # this body is being differentiated itself
                found = gradient_of(outs, aims, seeds, create_graph=again, allow_unused=True)
        finally:
            state.grad = before
        return tuple(prim.const(0, x.dtype, x.shape) if g is None else g for g, x in zip(found, aims))

    body.__annotations__ = {
        "grads": "Tensors",
        "inputs": "Tensors",
        "rest": "tuple",
        "wanted": "tuple",
        "present": "tuple",
    }
    return Operator(f"{op.name}_backward", body, "kernel", (), None, None)


def _leaf(x: Tensor, wanted: bool) -> Tensor:
    if x._requires_grad or not wanted:
        return x
    leaf = prim.wrap(prim.read(x))
    leaf._requires_grad = True
    return leaf


def _arguments(rest: Sequence[Any], leaves: Sequence[Tensor]) -> list[Any]:
    values = iter(leaves)
    return [
        r if not isinstance(r, _Slot) else [next(values) for _ in range(r.count)] if r.several else next(values)
        for r in rest
    ]
