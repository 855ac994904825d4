"""The automatic derivative of an operator whose body is made of operators.

The backward of such an operator is an operator of its own: its body runs the forward body on the tape, while
it is traced, and differentiates it there.  So it is planned, fused and cached like any other, what the forward
computed is computed again where it is needed, and it has a derivative by the same rule.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from .. import primitives as prim
from ..dispatch.forms import finish
from ..dispatch.operator import OPERATORS, Derivative, Operator
from ..dispatch.planning import LIMIT, trace_body
from ..tensor import Tensor
from .api import grad as gradient_of
from .mode import state
from .operator_node import Context

__all__ = ["automatic"]


def automatic(op: Operator) -> Derivative:
    """The derivative of ``op``: saves all its tensors and calls a backward operator, one for each combination of
    gradients that are there, gradients that are wanted, and arguments that are no tensors."""
    names = [f"{n}_" if hasattr(Context, n) else n for n in op.params]
    backwards = _Backwards(op, names)
    # Calls whose tensor parameters are all tensors, by what else they depend on: the backward operator, and which of
    # its results is the gradient of each (-1: none).
    tensors = [names[i] for i in op.tensors]
    others = [names[i] for i in range(len(names)) if i not in op.tensors]
    short: dict[Any, tuple[Operator, list[bool], list[int]]] = {}

    def fn(ctx: Any, *grads: Tensor | None) -> list[Any]:
        operands = [g for g in grads if g is not None]
        if not operands:
            return [None] * len(op.tensors)
        values = [getattr(ctx, name) for name in tensors]
        plain = not op.lists and all(isinstance(value, Tensor) for value in values)
        if not plain:
            return backwards.call(ctx, grads, operands)[0]
        rest = [getattr(ctx, name) for name in others]
        key = (ctx._mask, *[g is None for g in grads], *[x for value in rest for x in (value.__class__, value)])
        try:
            known = short.get(key)
        except TypeError:  # a list among them
            return backwards.call(ctx, grads, operands)[0]
        if known is None:
            result, backward, reached = backwards.call(ctx, grads, operands)
            if len(short) >= LIMIT:
                short.clear()
            numbers = iter(range(len(reached)))
            short[key] = backward, reached, [next(numbers) if ctx.needs(op.params[i]) else -1 for i in op.tensors]
            return result
        backward, reached, where = known
        answer = backward.function(*operands, *values)
        if isinstance(answer, Tensor):
            answer = (answer,)
        return [answer[k] if k >= 0 and reached[k] else None for k in where]

    return Derivative(tuple(op.params[i] for i in op.tensors), fn)


class _Backwards:
    """The backward operators of an operator whose context has its arguments by these names."""

    def __init__(self, op: Operator, names: list[str]) -> None:
        self.op, self.names = op, names
        self.made: dict[Any, tuple[Operator, list[bool]]] = {}

    def call(
        self, ctx: Any, grads: Sequence[Tensor | None], given: list[Tensor]
    ) -> tuple[list[Any], Operator, list[bool]]:
        """The gradients of the operator's tensors, any of which may be missing or a list; ``given`` are those of its
        results that are there.  With them the backward operator and which of its results reach the operands."""
        op, operands = self.op, [*given]
        wanted: list[bool] = []
        rest: list[Any] = []  # the arguments, with slots in the place of tensors
        key: list[Any] = [g is not None for g in grads]
        for i, name in enumerate(self.names):
            value = getattr(ctx, name)
            if i in op.lists:
                rest.append(_Slot(len(value)))
                operands.extend(value)
                wanted.extend([ctx.needs(op.params[i])] * len(value))
            elif isinstance(value, Tensor):
                rest.append(_Slot(-1))
                operands.append(value)
                wanted.append(ctx.needs(op.params[i]))
            else:
                value = tuple(value) if isinstance(value, list) else value
                rest.append(value)
                key.append(value.__class__)
                key.append(value)
                continue
            key.append(rest[-1].count)
        k = (*key, *wanted)
        known = self.made.get(k)
        if known is None:
            if len(self.made) >= LIMIT:
                self.made.clear()
            known = self.made[k] = _backward_operator(op, rest, tuple(wanted), [g is not None for g in grads])
        backward, reached = known
        answer = backward.function(*operands)
        answers = (answer,) if isinstance(answer, Tensor) else answer
        found = iter([g if r else None for g, r in zip(answers, reached)])
        flat = [next(found) if w else None for w in wanted]
        return _by_parameter([rest[i] for i in op.tensors], flat), backward, reached


def _by_parameter(slots: list[Any], flat: list[Tensor | None]) -> list[Any]:
    """The gradients of all tensors as those of parameters: one, a list of them, or None for what is no tensor."""
    result: list[Any] = []
    at = 0
    for slot in slots:
        if not isinstance(slot, _Slot):
            result.append(None)
        elif slot.count >= 0:
            result.append(flat[at : at + slot.count])
            at += slot.count
        else:
            result.append(flat[at])
            at += 1
    return result


class _Slot:
    """Stands for a tensor among the arguments of an operator (``count`` -1), or for a list of so many."""

    __slots__ = ("count",)

    def __init__(self, count: int) -> None:
        self.count = count


def _backward_operator(
    op: Operator, rest: Sequence[Any], wanted: tuple[bool, ...], present: Sequence[bool]
) -> tuple[Operator, list[bool]]:
    """An operator of the gradients that are there and the tensors of ``op``: the gradients wanted; and which of them
    the results depend on differentiably, known after the first call (of the others the operator gives zeros)."""
    count = sum(present)
    reached = [False] * sum(wanted)

    def body(*operands: Tensor) -> Any:
        grads, inputs = operands[:count], operands[count:]
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
                again = any(t._requires_grad for t in operands)  # this body is being differentiated itself
                found = gradient_of(outs, aims, seeds, create_graph=again, allow_unused=True)
        finally:
            state.grad = before
        reached[:] = [r or g is not None for r, g in zip(reached, found)]
        results = [prim.const(0, x.dtype, x.shape) if g is None else g for g, x in zip(found, aims)]
        return results[0] if len(results) == 1 else tuple(results)

    parameters = [
        inspect.Parameter(
            f"{'grad' if i < count else 'input'}{i}", inspect.Parameter.POSITIONAL_ONLY, annotation="Tensor"
        )
        for i in range(count + len(wanted))
    ]
    body.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    made = Operator(f"{op.name}_backward", body, "kernel", (), None, None)
    finish(made, method=False, function=False, inplace=False, out=False, aliases=(), namespace="")
    return made, reached


def _leaf(x: Tensor, wanted: bool) -> Tensor:
    if not wanted:
        return x
    if x._requires_grad:
        # Of its own history nothing counts here, where other operands may come from the same values.
        return OPERATORS["alias"].function(x)  # type: ignore[no-any-return]
    leaf = prim.wrap(prim.read(x))
    leaf._requires_grad = True
    return leaf


def _arguments(rest: Sequence[Any], leaves: Sequence[Tensor]) -> list[Any]:
    values = iter(leaves)
    return [
        r if not isinstance(r, _Slot) else next(values) if r.count < 0 else [next(values) for _ in range(r.count)]
        for r in rest
    ]
