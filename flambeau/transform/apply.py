"""What operators do with tensors of a level (``level.py``): ``call.py`` comes here when an argument is one.

The innermost level goes first.  If its tensors are on a tape of their own, the call is recorded there; then the rule of
the level runs the operator, or operators made from it, on what the tensors stand for, which may belong to levels
further below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ..autograd import tape
from ..autograd.mode import state as grad_state
from ..autograd.view import replay
from ..dispatch import call as calls
from ..dispatch.operator import FACTOR, SCALAR, STATIC, Operator
from ..dispatch.planning import tensors_in
from ..promotion import check_cast
from ..tensor import Tensor, make
from . import forward
from .batching import batched_call, member_by_member, unwrapped
from .derived import split
from .level import RANDOM_ERROR, Batched, Dual, Level, NoValue, Wrapper, blank, highest, levels, lifted, wrappers_in

__all__ = ["as_result", "below", "call", "call_inplace", "on_tape"]


@contextmanager
def below(level: Level) -> Iterator[None]:
    """Inside the block, the levels from ``level`` on do not exist, and grad mode is that of what lies below."""
    stack, grad, views = levels.stack, grad_state.grad, grad_state.track_views
    grad_state.grad = level.mode_below
    levels.stack = stack[: level.number]
    grad_state.track_views = views or grad_state.grad
    try:
        yield
    finally:
        levels.stack, grad_state.grad, grad_state.track_views = stack, grad, views


def call(op: Operator, args: Sequence[Any]) -> Any:
    """The result of an operator where some argument is a wrapper."""
    level = highest(args)
    assert level is not None
    if op.kind in ("kernel", "eager"):
        args = calls.plain_arguments(op, args)
    if op.kind == "composite" and op._derivative is None:
        return _call_parts(op, args, level)
    args = _plain_static(op, args)
    if op.kind == "eager" and op.random:
        return _call_random(op, args, level)
    if not (op.kind != "view" and op.differentiable and on_tape(args, level) and op.derivative is not None):
        result = _apply(op, args, level)
        if op.kind == "view":
            tape.record_view(op, [lifted(args[0], level), *args[1:]], result)
        return _returned(op, result)
    result = _as_results(_apply(op, args, level), level)
    parts = split(op, args)
    tape.record(op, parts.put([lifted(t, level) for t in parts.tensors]), result)
    return _returned(op, result)


def _plain_static(op: Operator, args: Sequence[Any]) -> Sequence[Any]:
    """The arguments with numbers in place of wrappers where the operator wants numbers; raises TypeError for a tensor
    where it takes none."""
    for i, (a, kind) in enumerate(zip(args, op.kinds)):
        if kind in (SCALAR, FACTOR) and isinstance(a, Wrapper):
            args = [*args[:i], a.item(), *args[i + 1 :]]  # type: ignore[attr-defined]
        if kind == STATIC and isinstance(a, Wrapper):
            if i not in op.numerals:
                raise TypeError(f"{op.name}(): argument '{op.params[i]}' (position {i + 1}) cannot be a Tensor")
            args = calls.literal(op, args)
    return args


def on_tape(args: Sequence[Any], level: Level) -> bool:
    """Whether the call is to be recorded on the tape of ``level``."""
    if not grad_state.grad:
        return False
    if level.shared:
        return any(t._requires_grad for t in tensors_in(args))
    return any(w._level is level and w._requires_grad for w in wrappers_in(args))


def _apply(op: Operator, args: Sequence[Any], level: Level) -> Any:
    """The rule of the level; nothing is recorded but below."""
    rule = batched_call if level.size >= 0 else forward.forward_call
    with below(level):
        return rule(op, args, level)


def _returned(op: Operator, result: Any) -> Any:
    return result if isinstance(result, Tensor) or op.returns is None else op.returns(*result)


def _as_results(result: Any, level: Level) -> Any:
    """Results that can stand on the tape of ``level``."""
    if isinstance(result, Tensor):
        return as_result(result, level)
    return tuple(as_result(r, level) if isinstance(r, Tensor) else r for r in result)


def as_result(result: Tensor, level: Level) -> Tensor:
    """A result as a tensor of ``level``."""
    if isinstance(result, Wrapper) and result._level is level:
        return result
    return Batched.of(result, None, level) if level.size >= 0 else Dual.of(result, None, level)


def _call_parts(op: Operator, args: Sequence[Any], level: Level) -> Any:
    """A body that calls other operators; one that looks at values is run for one member after the other."""
    try:
        return op.run_body(args)
    except NoValue:
        static = any(kind == STATIC and wrappers_in((a,)) for a, kind in zip(args, op.kinds))
        if level.size < 0 or static or on_tape(args, level):
            raise
        try:
            with below(level):
                result = member_by_member(op, args, level)
        except (TypeError, RuntimeError) as error:
            # of members that differ in shape no batch can be made
            raise NoValue(f"vmap: {op.name} gives results that depend on the values of a batch ({error})") from None
        return _returned(op, result)


def _call_random(op: Operator, args: Sequence[Any], level: Level) -> Any:
    """An operator that draws random numbers.  Its body fills tensors in order (``ops/random_fill.py``), which knows of
    levels; what else it does with values has to be done for each member."""
    if level.size < 0:
        if op.name.endswith("_"):
            return op.run_body(args)
        return _call_forward_random(op, args, level)
    try:
        return op.run_body(args)
    except NoValue:
        if level.randomness == "error":
            raise RuntimeError(RANDOM_ERROR) from None
        if level.randomness == "same":
            raise RuntimeError("Vmap does not currently support same randomness with a batched tensor input") from None
        with below(level):
            return member_by_member(op, args, level)


def _call_forward_random(op: Operator, args: Sequence[Any], level: Level) -> Any:
    """Random numbers do not change with a direction, unless their operator says how."""
    parts = split(op, args)
    found = [forward.unwrapped(t, level) for t in parts.tensors]
    with below(level):
        if op.differentiable and op.derivative is not None:
            return forward.forward_call(op, args, level)
        return calls.dispatch(op, parts.put([v for v, _ in found]))


# -- in place ------------------------------------------------------------------------------------------


def call_inplace(op: Operator, args: Sequence[Any]) -> Tensor:
    """An operator whose result replaces the value of its first argument."""
    target: Tensor = args[0]
    level = highest(args)
    assert level is not None
    if level.size < 0:
        _make_dual(target, level)
    elif not (isinstance(target, Batched) and target._level is level):
        raise RuntimeError(
            f"vmap: inplace arithmetic(self, *extra_args) is not possible: in {op.name}_ there exists a Tensor `other` "
            "in extra_args that has more elements than `self`. This happened due to `other` being vmapped over but "
            "`self` not being vmapped over in a vmap. Please try to use out-of-place operators instead of inplace "
            "arithmetic. If said operator is being called inside the PyTorch framework, please file a bug report "
            "instead."
        )
    node = None
    parts_only = op.kind == "composite" and op._derivative is None
    if on_tape(args, level):
        if parts_only:
            return calls.composite_inplace(op, args)
        if op.derivative is not None:
            parts = split(op, args)
            node = tape.before_inplace(op, parts.put([lifted(t, level) for t in parts.tensors]))
    result = _call_parts(op, args, level) if parts_only else _apply(op, args, level)
    if result._layout.shape != target._layout.shape:
        raise RuntimeError(
            f"{op.name}_: output with shape {list(target._layout.shape)} doesn't match the broadcast shape "
            f"{list(result._layout.shape)}"
        )
    check_cast(result._layout.dtype, target._layout.dtype)
    with below(level):
        if isinstance(target, Batched):
            value, bdim = unwrapped(result, level)
            assert target._bdim is not None or bdim is None
            if bdim is None and target._bdim is not None:
                value = value.unsqueeze(target._bdim)
            elif bdim != target._bdim:
                value = value.movedim(bdim, target._bdim)
            target._value.copy_(value)  # type: ignore[attr-defined]
        else:
            _replace_dual(target, *forward.unwrapped(result, level))  # type: ignore[arg-type]
    if target._storage.pending is not None or isinstance(target, Batched):
        target._storage.version += 1
    if node is not None:
        tape.after_inplace(node, target)
    return target


def _make_dual(target: Tensor, level: Level) -> None:
    """Makes a tensor that is written to a dual number of ``level``, and with it the tensor that it is a view of."""
    if isinstance(target, Dual) and target._level is level:
        return
    if isinstance(target, Wrapper):
        raise RuntimeError("a tensor of an outer level cannot take the derivative of an inner one in place")
    view = target._view
    below_: Tensor = make(target._storage, target._layout, target._offset)
    below_._requires_grad, below_._node, below_._output_nr = target._requires_grad, target._node, target._output_nr
    below_._view, below_._key = view, target._key
    tangent = None
    if view is not None:
        _make_dual(view.base, level)
        base = view.base
        assert isinstance(base, Dual)
        _need_tangent(base)
        tangent = replay(view.steps(), base._tangent)
    target.__class__ = Dual
    dual: Any = target
    dual._key, dual._value, dual._tangent, dual._level = None, below_, tangent, level
    dual._requires_grad, dual._node, dual._output_nr = False, None, 0


def _need_tangent(dual: Dual) -> Tensor:
    """The tangent of a dual number, zeros if it had none."""
    if dual._tangent is None:
        dual._tangent = blank(dual._value, dual._layout).zero_()  # type: ignore[attr-defined]
    return dual._tangent


def _replace_dual(target: Dual, value: Tensor, tangent: Tensor | None) -> None:
    """Writes a value and its tangent."""
    target._value.copy_(value)  # type: ignore[attr-defined]
    if tangent is not None:
        base = None if target._view is None else target._view.base
        if target._tangent is None and isinstance(base, Dual):
            _need_tangent(base)
            target._tangent = replay(target._view.steps(), base._tangent)
        _need_tangent(target).copy_(tangent)  # type: ignore[attr-defined]
    elif target._tangent is not None:
        target._tangent.zero_()  # type: ignore[attr-defined]
