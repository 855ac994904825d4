"""Calling operators: the eager hot path, and everything that takes more care.

``dispatch`` looks up the plan of a call by the layouts and static arguments; a miss traces the operator's body
and plans it.  Calls with pending operands are recorded instead of run.  All public forms of an operator (function,
method, in-place, ``out=``) are made from its record (``forms``; ``out_variants`` has what ``out=`` does).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from .. import device as devices
from .. import graph
from .. import primitives as prim
from ..autograd import tape
from ..autograd.mode import state as grad_state
from ..deferred.deferral import Deferral, NeedsMemory, deferral
from ..promotion import check_cast
from ..tensor import Tensor, address, empty, materialize, numpy_view
from ..transform.level import wrappers_in
from .argument_errors import FAULTS, blamed, with_dtypes
from .arguments import literal, plain_arguments, signature
from .operator import Operator
from .overlap import check_written
from .planning import LIMIT, OpPlan, build, common_device, fit, recipe_of, tensors_in, trace_body
from .short_path import WarmPlan, WarmWrite, keep_plan, keep_recipe
from .torch_function import ordinary, overridden

if TYPE_CHECKING:
    from ..graph.plan import Plan

__all__ = ["around", "dispatch", "special"]

special: list[object] = []
"""Not empty while operators must not take the hot path (deferral, function modes); its members say why."""
Deferral.special = special

_LITERAL = {type(None), int, float, bool, str}  # classes that are no tensors and hold none


# -- running -----------------------------------------------------------------------------------------


def _execute(op: Operator, plan: OpPlan, tensors: Sequence[Tensor], numbers: list[Any]) -> Any:
    outs = [empty(layout) for layout in plan.layouts]
    if plan.plan is not None:
        run_plan(op, plan.plan, [t._storage.ptr for t in outs], tensors, numbers)
    if not plan.several:
        return outs[0]
    return tuple(outs) if op.returns is None else op.returns(*outs)


def run_plan(op: Operator, plan: Plan, results: list[int], tensors: Sequence[Tensor], numbers: list[Any]) -> None:
    try:
        plan.run(results, [address(t) for t in tensors], numbers)
    except graph.plan.KernelError as error:
        raise kernel_error(op, error.code, tensors) from None


def kernel_error(op: Operator, code: int, tensors: Sequence[Tensor]) -> Exception:
    """The exception for a kernel's error code; looks at the arguments again to say what is wrong."""
    kind, text = graph.plan.CODES[code]
    if kind is not IndexError:
        return kind(f"{op.name}: {text}" if code != 2 else text)
    found = [numpy_view(t) for t in tensors[1:] if t.dtype.kind in "iu" and t.numel()]
    name = op.name.strip("_")  # of a part of an operator, too, the user is to recognise it
    if not found:
        return op.index_error(f"{name}: {text}")
    low, high = min(int(v.min()) for v in found), max(int(v.max()) for v in found)
    given = f"index {low}" if low == high else f"indices from {low} to {high}"
    return op.index_error(f"{name}: {text}: got {given} for a tensor of shape {list(tensors[0].shape)}")


class _Around(threading.local):
    """What a thread has put around every call of an operator, outermost first (autocast, the profiler).

    A wrapper is called with the operator, its arguments, what goes on with the call (a function of the arguments), and
    whether the call writes in place.  ``special`` must have a member while a thread has wrappers.
    """

    wrappers: tuple[Callable[[Operator, tuple[Any, ...], Callable[[Any], Any], bool], Any], ...] = ()


around = _Around()


def _through(op: Operator, args: Sequence[Any], run: Callable[[Operator, Sequence[Any]], Any], inplace: bool) -> Any:
    """Runs a call inside of this thread's wrappers."""
    proceed: Callable[[Any], Any] = partial(run, op)
    for wrapper in reversed(around.wrappers):
        proceed = partial(_enter, wrapper, op, proceed, inplace)
    return proceed(tuple(args))


def _enter(wrapper: Any, op: Operator, proceed: Callable[[Any], Any], inplace: bool, args: tuple[Any, ...]) -> Any:
    return wrapper(op, args, proceed, inplace)


transformed: Callable[[Operator, Sequence[Any]], Any] | None = None
transformed_inplace: Callable[[Operator, Sequence[Any]], Tensor] | None = None
"""What operators do with tensors of a function transform; set by ``transform``, which stands above this file."""


below: Callable[[Operator, Sequence[Any], bool], Any] | None = None
"""Asks those who have their say below the tape (``__torch_dispatch__``) about a call, in place or not; NotImplemented
if nobody has.  Set by ``dispatching`` once a program uses it, which stands above this file."""
below_function: Callable[[str, str, tuple[Any, ...], dict[str, Any]], Any] | None = None
"""The same for a function that is no operator, by its name, overload and arguments."""


def dispatch(op: Operator, args: Sequence[Any], public: Any = None) -> Any:
    """Calls an operator: ``args`` are all its arguments, in order."""
    if (
        special
        or not ordinary(map(type, args))
        or (op.lists and not all(ordinary(map(type, args[i])) for i in op.lists if args[i].__class__ in (list, tuple)))
    ):
        result = overridden(public or op.function, args, None, op)
        if result is not NotImplemented:
            return result
        if around.wrappers and not prim.tracing():
            return _through(op, args, _call_any, False)
        return _call_any(op, args)
    try:
        return _call(op, args)
    except FAULTS as error:
        return mended(op, args, error)


def mended(op: Operator, args: Sequence[Any], error: Exception) -> Any:
    """The result of a call that failed because a Python type (``dtype=float``) stands for an element type; raises what
    is wrong with any other."""
    plain = with_dtypes(args)
    if plain is None:
        raise blamed(op, args, error)
    return dispatch(op, plain)


def _call_any(op: Operator, args: Sequence[Any]) -> Any:
    """A call that nobody stands around any more, perhaps of tensors of a function transform."""
    try:
        if wrappers_in(args):
            assert transformed is not None
            return transformed(op, args)
        if below is not None and not prim.tracing():
            result = below(op, args, False)
            if result is not NotImplemented:
                return result
        return _call(op, args)
    except FAULTS as error:
        return mended(op, args, error)


def _call(op: Operator, args: Sequence[Any]) -> Any:
    """A call of plain tensors."""
    for i in op.numerals:
        if args[i].__class__ not in _LITERAL:
            args = literal(op, args)
            break
    if op.kind == "composite":
        return _composite(op, args)
    if op.kind == "view":
        return _look(op, args)
    args = plain_arguments(op, args)
    tensors = tensors_in(args)
    wanted = grad_state.grad and op.differentiable and any(t._requires_grad for t in tensors)
    if prim.tracing():
        return run_traced(op, args, wanted)
    if op.kind == "eager":
        recorder = deferral()
        recorder.outside += 1
        # The program ends here for the operator's sake: the user's program does not look at a value.
        refuse, recorder.refuse = recorder.refuse, None
        for t in tensors:
            materialize(t)
        recorder.refuse = refuse
        result = op.run_body(args)
    else:
        recorder = deferral()
        if recorder.depth or any(t._storage.pending is not None for t in tensors):
            if common_device(op, tensors) is devices.cpu and _joins(op, args, recorder):
                return _deferred(op, args, wanted, recorder)
            for t in tensors:
                materialize(t)
        key, tensors, numbers = signature(op, args)
        k = tuple(key)
        try:
            plan = op.plans.get(k)
        except TypeError:
            raise TypeError(
                f"{op.name}(): an argument has a type that is not accepted: {[type(a).__name__ for a in args]}"
            ) from None
        if plan is None:
            if len(op.plans) >= LIMIT:
                op.plans.clear()
            plan = op.plans[k] = build(op, args, tensors)
        result = _execute(op, plan, tensors, numbers)
        if op.warmable and plan.plan is not None and all(layout.numel for layout in plan.layouts):
            keep_plan(op.warm, op, args, WarmPlan, plan)
    if wanted and op.derivative is not None:
        tape.record(op, args, result)
    return result


def _joins(op: Operator, args: Sequence[Any], recorder: Deferral) -> bool:
    """Whether a call is recorded that has a pending operand, or comes from a compiled function."""
    return (
        not recorder.waits
        or recorder.depth > 0
        or op.follows
        or recipe_of(op, args, signature(op, args)[0]).joins >= recorder.waits
    )


def _look(op: Operator, args: Sequence[Any]) -> Any:
    """A call of a view, which is remembered: the same arguments give the same layout, as far from the source."""
    source = args[0]
    if not isinstance(source, Tensor):
        raise TypeError(
            f"{op.name}(): argument '{op.params[0]}' (position 1) must be Tensor, not {type(source).__name__}"
        )
    out = op.run_body(args)
    if (
        isinstance(out, Tensor)
        and (source._key is not None or (source._plain and source._storage.pending is not None and not prim.tracing()))
        and out._storage is source._storage
        and out._layout.dtype is source._layout.dtype
        and not (any(isinstance(a, Tensor) for a in args[1:]))
    ):
        if len(op.hot) >= LIMIT:
            op.hot.clear()
        try:
            key = (source._layout, *args[1:])
            op.hot[key] = out._layout, out._offset - source._offset, (op, tuple(args[1:]), None)
        except TypeError:  # an argument is a list
            pass
    tape.record_view(op, args, out)
    return out


def _composite(op: Operator, args: Sequence[Any]) -> Any:
    if op._derivative is None:
        return op.run_body(args)
    wanted = grad_state.grad and any(t._requires_grad for t in tensors_in(args))
    if not wanted:
        return op.run_body(args)
    grad_state.grad = False
    try:
        result = op.run_body(args)
    finally:
        grad_state.grad = True
    tape.record(op, args, result)
    return result


def run_traced(op: Operator, args: Sequence[Any], wanted: bool) -> Any:
    """A call inside of the body of another operator that is being traced."""
    if op.kind == "eager":
        raise RuntimeError(f"{op.name} works on memory and cannot be part of a fused operator")
    own = wanted and op._derivative is not None
    if own:
        grad_state.grad = False
    try:
        result = trace_body(op, args, True)
    finally:
        if own:
            grad_state.grad = True
    if own:
        tape.record(op, args, result)
    return result if isinstance(result, Tensor) or op.returns is None else op.returns(*result)


def _deferred(op: Operator, args: Sequence[Any], wanted: bool, recorder: Deferral) -> Any:
    """Records a call in this thread's deferred program."""
    if recorder.full():
        recorder.flush()
    key, tensors, numbers = signature(op, args)
    recipe = recipe_of(op, args, key)
    try:
        found = recorder.apply(recipe, tensors, numbers)
    except NeedsMemory:
        recorder.flush()
        found = recorder.apply(recipe, tensors, numbers)
    if op.warmable:
        keep_recipe(op, args, recipe)
    result: Any = found[0] if not recipe.several else tuple(found) if op.returns is None else op.returns(*found)
    if wanted and op.derivative is not None:
        tape.record(op, args, result)
    return result


# -- in place and out= -------------------------------------------------------------------------------


def dispatch_inplace(op: Operator, args: Sequence[Any], public: Any = None) -> Tensor:
    """Calls an operator so that the result replaces the value of the first argument, which it returns."""
    if special or not ordinary(map(type, args)):
        result = overridden(public, args, None, op)
        if result is not NotImplemented:
            return result
        if around.wrappers and not prim.tracing():
            return _through(op, args, _call_any_inplace, True)
    return _call_any_inplace(op, args)


def _call_any_inplace(op: Operator, args: Sequence[Any]) -> Tensor:
    """``_call_any`` of a call in place."""
    try:
        if wrappers_in(args):
            assert transformed_inplace is not None
            return transformed_inplace(op, plain_arguments(op, args))
        if below is not None and not prim.tracing():
            result: Any = below(op, args, True)
            if result is not NotImplemented:
                return result
        return _call_inplace(op, args)
    except FAULTS as error:
        if not isinstance(args[0], Tensor):
            raise TypeError(
                f"{op.name}_(): argument '{op.params[0]}' (position 1) must be Tensor, not {type(args[0]).__name__}"
            ) from None
        raise blamed(op, args, error)  # noqa: B904


def _call_inplace(op: Operator, args: Sequence[Any]) -> Tensor:
    """A call in place of plain tensors."""
    target: Tensor = args[0]
    args = plain_arguments(op, args)
    tensors = tensors_in(args)
    layout = target._layout
    node = None
    if layout.overlapping and op.folded is not None and not target._requires_grad:
        once = op.folded(*args)
        if once[0]._layout is not layout:
            _call_inplace(op, once)
            return target
    check_written(f"{op.spoken or op.name}_", target, [args[i] for i in op.whole if isinstance(args[i], Tensor)])
    if grad_state.grad and any(t._requires_grad for t in tensors):
        if op.kind == "composite" and op._derivative is None:
            return composite_inplace(op, args)
        if op.derivative is not None:
            node = tape.before_inplace(op, args)
        elif target._requires_grad:
            node = tape.before_inplace(_detached_write(op), args)
    recorder = deferral()
    if recorder.waits and not recorder.depth and (target._storage.pending is None or not op.follows):
        for t in tensors:
            materialize(t)
    waits = recorder.depth and layout.device is not devices.meta  # without data there is nothing to wait for
    if prim.tracing() or waits or any(t._storage.pending is not None for t in tensors):
        _write_deferred(op, args, target)
    else:
        settle(target)
        args = [_apart(target, a) if i else a for i, a in enumerate(args)]
        key, tensors, numbers = signature(op, args)
        k = ("in place", *key)
        plan = op.plans.get(k)
        if plan is None:
            if len(op.plans) >= LIMIT:
                op.plans.clear()
            plan = op.plans[k] = build(op, args, tensors, layout)
        if plan.plan is not None:
            run_plan(op, plan.plan, [0], tensors, numbers)
            if op.writes and layout.numel:
                keep_plan(op.writing, op, args, WarmWrite, plan.plan)
    target._storage.version += 1
    if node is not None:
        tape.after_inplace(node, target)
    return target


def composite_inplace(op: Operator, args: Sequence[Any]) -> Tensor:
    """The in-place form of an operator whose parts are recorded: computed beside the target, then copied into it."""
    target: Tensor = args[0]
    # A copy of the target takes its place, so that what the parts save for their derivatives is not written to.
    result = op.run_body((target.clone(), *args[1:]))  # type: ignore[attr-defined]
    if result._layout.shape != target._layout.shape:
        raise RuntimeError(
            f"{op.name}_: output with shape {list(target._layout.shape)} doesn't match the "
            f"broadcast shape {list(result._layout.shape)}"
        )
    check_cast(result._layout.dtype, target._layout.dtype)
    return target.copy_(result)  # type: ignore[attr-defined]


def _detached_write(op: Operator) -> Operator:
    raise RuntimeError(f"{op.name}_: the operator has no derivative; call it under no_grad() or on a detached tensor")


def settle(target: Tensor) -> None:
    """Runs the deferred graph if it still has to read the memory that is about to be written."""
    recorder = deferral()
    if recorder.arguments and recorder.reads(target._storage.memory):
        recorder.flush()


def _apart(target: Tensor, value: Any) -> Any:
    """An argument, or a copy of it if writing to ``target`` could change it."""
    if isinstance(value, Tensor):
        return value.clone() if _overlaps(target, value) else value  # type: ignore[attr-defined]
    if isinstance(value, (list, tuple)) and any(isinstance(t, Tensor) and _overlaps(target, t) for t in value):
        return [_apart(target, t) for t in value]
    return value


def _overlaps(target: Tensor, other: Tensor) -> bool:
    """Whether writing ``target`` element by element could change elements of ``other`` that are read later."""
    if target._storage.memory is not other._storage.memory:
        return False
    return target._layout is not other._layout or target._offset != other._offset


def _write_deferred(op: Operator, args: Sequence[Any], target: Tensor) -> None:
    if prim.tracing():
        before = grad_state.grad
        grad_state.grad = False
        try:
            with prim.current():
                result = fit(op, trace_body(op, args, True), target._layout)
                prim.write(target, prim.read(result))
        finally:
            grad_state.grad = before
    else:
        recorder = deferral()
        if recorder.full():
            recorder.flush()
        key, tensors, numbers = signature(op, args)
        recipe = recipe_of(op, args, key, target._layout)
        try:
            recorder.write(target, recipe, tensors, numbers)
        except NeedsMemory:
            recorder.flush()
            recorder.write(target, recipe, tensors, numbers)
    if target._storage.pending is not None:
        target._key = None


_new = object.__new__


def run_several(plan: WarmPlan, op: Operator, args: Sequence[Any], operands: Sequence[Any], recorded: bool) -> Any:
    """The short path of an operator with several results; ``operands`` are addresses and numbers."""
    outs = []
    for layout, make in plan.results:
        t = _new(Tensor)
        t._layout = t._key = layout
        t._storage = make()
        t._offset = 0
        outs.append(t)
    try:
        status = plan.run(*[t._storage.ptr for t in outs], *operands)
    except OverflowError:
        status = -1
    if status:
        return dispatch(op, args)
    result = tuple(outs) if op.returns is None else op.returns(*outs)
    if recorded and op.derivative is not None:
        tape.record(op, args, result)
    return result
