"""Forward-mode derivatives of operators, from the derivatives that they have for reverse mode.

The gradient of the arguments is a linear function of the gradient of the result: u -> J'u.  The derivative of *that*
along a direction v is Jv (the "double backward trick", J. Townsend, 2017; transposition as in R. Frostig et al.,
"Decomposing reverse-mode automatic differentiation", 2021).  For an operator with a kernel both steps happen while a
body is traced, so that J'u is never computed: what is left is one fused kernel for Jv, planned and cached like any
other, and differentiable in its turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import primitives as prim
from ..autograd.api import grad as gradient_of
from ..autograd.mode import enable_grad
from ..autograd.mode import state as grad_state
from ..dispatch.call import dispatch, run_traced
from ..dispatch.operator import OPERATORS, Operator
from ..layout import Layout
from ..storage import NotTraceable
from ..tensor import Tensor
from .derived import derived, split
from .level import Dual, Level, bare, blank

__all__ = ["check_tangent", "forward_call", "tangents_of", "unwrapped"]

_forms: dict[Operator, Operator] = {}
_untraceable: set[Operator] = set()


def unwrapped(t: Any, level: Level) -> tuple[Any, Tensor | None]:
    """What a tensor stands for at ``level``, and its tangent."""
    if isinstance(t, Dual) and t._level is level:
        return t._value, t._tangent
    return t, None


def forward_call(op: Operator, args: Sequence[Any], level: Level) -> Any:
    """The results of an operator of dual numbers of ``level``."""
    parts = split(op, args)
    found = [unwrapped(t, level) for t in parts.tensors]
    values = parts.put([v for v, _ in found])
    results = dispatch(op, values)
    tangents = [d for _, d in found]
    if not any(r._layout.dtype.kind in "fc" for r in ((results,) if isinstance(results, Tensor) else results)):
        return results
    if all(d is None for d in tangents) or not (op.differentiable or op.kind == "view"):
        return results if op.kind != "view" else _dual(results, None, level)
    if op.kind == "view":
        first = tangents[0]
        return _dual(results, None if first is None else dispatch(op, [first, *values[1:]]), level)
    return _dual(results, tangents_of(op, values, parts, tangents, results), level)


def _dual(results: Any, tangents: Any, level: Level) -> Any:
    """Dual numbers of results; one without a derivative stays what it is."""
    if isinstance(results, Tensor):
        return Dual.of(results, _aligned(results, tangents), level)
    given = [None] * len(results) if tangents is None else tangents
    return tuple(
        Dual.of(r, _aligned(r, d), level) if r._layout.dtype.kind in "fc" else r for r, d in zip(results, given)
    )


def _aligned(value: Tensor, tangent: Tensor | None) -> Tensor | None:
    """The tangent, lying in memory as its value does, so that views see the same elements of both."""
    if tangent is None:
        return None
    layout, have = value._layout, tangent._layout
    if have.strides == layout.strides or not layout.dense or have.shape != layout.shape:
        return tangent
    if all(n == 1 or a == b for n, a, b in zip(layout.shape, have.strides, layout.strides)):
        return tangent
    return blank(tangent, layout).copy_(tangent)  # type: ignore[attr-defined,no-any-return]


def check_tangent(x: Tensor, tangent: Tensor) -> Tensor:
    """A direction for ``x``, lying in memory as it does; raises RuntimeError for one of another shape."""
    if tangent.shape != x.shape:
        raise RuntimeError(
            "Trying to set a forward gradient that has a different size than that of the original Tensor, this is not "
            f"supported. Tensor is of size {list(x.shape)} while the given forward gradient is of size "
            f"{list(tangent.shape)}."
        )
    aligned = _aligned(x, tangent)
    assert aligned is not None
    return aligned


def tangents_of(
    op: Operator, values: Sequence[Any], parts: Any, tangents: Sequence[Tensor | None], results: Any
) -> Any:
    """The derivatives of the results along ``tangents`` (None: zero) of the arguments: a tensor, or one for each."""
    given = [t for t in tangents if t is not None]
    which = (tuple(t is not None for t in tangents), parts.positions)
    found: Any = None
    if op.linear:
        moved = [
            like.new_zeros(like.shape) if t is None and like._layout.dtype.kind in "fc" else like if t is None else t
            for like, t in zip(split(op, values).tensors, tangents)
        ]
        found = dispatch(op, parts.put(moved))
    elif op.kind == "kernel" and op not in _untraceable:
        try:
            found = dispatch(_form(op), [*values, given, which])
        except NotTraceable:  # its derivative depends on values
            _untraceable.add(op)
    if found is None:
        found = _pushed(op, values, given, which)
    found = (found,) if isinstance(found, Tensor) else found
    if isinstance(results, Tensor):
        return found[0]
    rest = iter(found)
    return [next(rest) if r._layout.dtype.kind in "fc" else None for r in results]


def _form(op: Operator) -> Operator:
    """The operator that computes the derivatives of the results of a kernel."""
    found = _forms.get(op)
    if found is None:
        body = _body(op)
        found = _forms[op] = derived(op, f"{op.name}_forward", "kernel", {"tangents": "Tensors", "which": "Any"}, body)
    return found


def _body(op: Operator) -> Any:
    def body(values: list[Any]) -> Any:
        which = values.pop()
        tangents = list(values.pop())
        again = any(t._requires_grad for t in [*split(op, values).tensors, *tangents])
        with enable_grad():
            return _transposed(op, values, tangents, which, lambda args: run_traced(op, args, True), again)

    return body


def _pushed(
    op: Operator, values: Sequence[Any], tangents: Sequence[Tensor], which: tuple[tuple[bool, ...], tuple[int, ...]]
) -> tuple[Any, ...]:
    """The same for an operator that works on memory or calls others: on the tape, at once."""
    own = split(op, values).tensors
    again = grad_state.grad and any(t._requires_grad for t in (*own, *tangents))
    with enable_grad():
        return _transposed(op, values, tangents, which, lambda args: dispatch(op, args), again)


def _transposed(
    op: Operator,
    values: Sequence[Any],
    tangents: Sequence[Tensor],
    which: tuple[tuple[bool, ...], tuple[int, ...]],
    run: Any,
    again: bool,
) -> tuple[Any, ...]:
    """Differentiates twice; ``again``: so that the result can be differentiated itself."""
    marks, positions = which
    parts = split(op, values, positions)
    leaves = [_leaf(t) if mark else t for t, mark in zip(parts.tensors, marks)]
    aims = [leaf for leaf, mark in zip(leaves, marks) if mark]
    found = run(parts.put(leaves))
    results = [r for r in ((found,) if isinstance(found, Tensor) else found) if r._layout.dtype.kind in "fc"]
    duals = [_zero(r, True) for r in results]
    pairs = [(r, u) for r, u in zip(results, duals) if r._requires_grad]
    pushed: Sequence[Tensor | None] = [None] * len(duals)
    if pairs:
        outs, seeds = zip(*pairs)
        pulled = gradient_of(outs, aims, seeds, create_graph=True, allow_unused=True)
        used = [(g, t) for g, t in zip(pulled, tangents) if g is not None and g._requires_grad]
        if used:
            pushed = gradient_of(
                [g for g, _ in used], duals, [t for _, t in used], create_graph=again, allow_unused=True
            )
    return tuple(_zero(r, False) if p is None else p for r, p in zip(results, pushed))


def _leaf(t: Tensor) -> Tensor:
    """The tensor as an argument to differentiate by; still on the tape that it is on."""
    if t._requires_grad:
        return OPERATORS["alias"].function(t)  # type: ignore[no-any-return]
    leaf = prim.wrap(prim.read(t)) if prim.tracing() else bare(t)
    leaf._requires_grad = True
    return leaf


def _zero(like: Tensor, leaf: bool) -> Tensor:
    layout: Layout = like._layout
    if prim.tracing():
        made = prim.const(0, layout.dtype, layout.shape)
    else:
        made = like.new_zeros(layout.shape)  # type: ignore[attr-defined]
    made._requires_grad = leaf
    return made
