"""Calls with ``out=``: what is computed goes into tensors that the caller gives.

A call whose results are laid out as the given tensors are runs its plan on their memory; so does every operator with a
kernel.  Otherwise the results are computed beside them and copied, which converts and reshapes as PyTorch does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .. import graph
from .. import primitives as prim
from ..autograd.mode import state as grad_state
from ..deferred.deferral import deferral
from ..layout import Layout, Size
from ..promotion import check_cast
from ..tensor import Tensor, address
from .arguments import plain_arguments, signature
from .call import dispatch, kernel_error, run_plan, settle, special
from .operator import FACTOR, OPERAND, SCALAR, TENSORS, Operator
from .overlap import check_written
from .planning import LIMIT, build, tensors_in

if TYPE_CHECKING:
    from ..graph.plan import Plan

__all__ = ["dispatch_out"]

_PLAIN = {type(None), bool, int, float, str, tuple, Size}  # what is part of a plan's key by its value
_WORD = 1 << 63
_LINE = 64  # bytes: kernels may count on results that start on a cache line


def dispatch_out(op: Operator, args: Sequence[Any], out: Any) -> Any:
    """Calls an operator with its results written to ``out`` (resized if it has another shape)."""
    if out.__class__ is Tensor and not special and _at_once(op, args, out):
        return out
    outs = out if isinstance(out, (tuple, list)) else (out,)
    for o in outs:
        if not isinstance(o, Tensor):
            raise TypeError(f"{op.name}(): argument 'out' must be Tensor, not {type(o).__name__}")
    if grad_state.grad and any(t._requires_grad for t in [*tensors_in(args), *outs]):
        raise RuntimeError(
            f"{op.name}(): functions with out=... arguments don't support automatic "
            "differentiation, but one of the arguments requires grad."
        )
    for o in outs:
        check_written(op.spoken or op.name, o, tensors_in(args), op.apart)
    if _straight(op, args, outs):
        return _given(op, out, outs)
    result = dispatch(op, args)
    results = (result,) if isinstance(result, Tensor) else result
    if len(results) != len(outs):
        raise TypeError(f"{op.name}(): expected {len(results)} tensors in out, got {len(outs)}")
    for r, o in zip(results, outs):
        check_cast(r._layout.dtype, o._layout.dtype)
        if op.apart and not op.lists and o._layout.dtype is not r._layout.dtype:
            raise RuntimeError(
                f"{op.name}(): Expected out tensor to have dtype {r._layout.dtype}, but got {o._layout.dtype} instead"
            )
        if o._layout.device is not r._layout.device:
            raise RuntimeError(
                f"{op.name}(): Expected out tensor to have device {r._layout.device}, but got "
                f"{o._layout.device} instead"
            )
    for r, o in zip(results, outs):
        resize_output(o, r._layout)
        o.copy_(r)
    return out if isinstance(result, Tensor) else _given(op, out, outs)


def _at_once(op: Operator, args: Sequence[Any], out: Tensor) -> bool:
    """The short way of a call that was met before, of plain tensors without a tape and of numbers: no more than a look
    at its plan and at who shares memory.  Returns whether it was one."""
    layout, storage = out._key, out._storage
    if layout is None or out._requires_grad:
        return False
    key: list[Any] = [layout]
    addresses = [storage.ptr + out._offset * layout.itemsize]
    numbers = []
    memory = storage.memory
    for a, kind in zip(args, op.kinds):
        cls = a.__class__
        if cls is Tensor:
            known, held = a._key, a._storage
            if known is None or a._requires_grad or a._weak or held.memory is memory:
                return False
            key.append(known)
            addresses.append(held.ptr + a._offset * known.itemsize)
        elif kind == OPERAND or kind == SCALAR:
            if cls is not float and (cls is not int or not -_WORD <= a < _WORD):
                return False
            key.append(cls)
            numbers.append(a)
        elif kind <= TENSORS or cls not in _PLAIN or (kind == FACTOR and a != 1):
            return False
        else:
            key.append((cls, a))
    try:
        plan = op.given.get(tuple(key))
    except TypeError:  # a tuple of lists
        return False
    if plan is None or addresses[0] % _LINE:
        return False
    run_plan_at(op, plan, addresses, numbers, args)
    storage.version += 1
    return True


def run_plan_at(op: Operator, plan: Plan, addresses: list[int], numbers: list[Any], args: Sequence[Any]) -> None:
    """Runs a plan of one result on addresses, the result's first."""
    try:
        plan.run(addresses[:1], addresses[1:], numbers)
    except graph.plan.KernelError as error:
        raise kernel_error(op, error.code, tensors_in(args)) from None


def _remember(op: Operator, args: Sequence[Any], out: Tensor, plan: Plan) -> None:
    """Keeps the plan of a call for ``_at_once``."""
    key: list[Any] = [out._layout]
    for a, kind in zip(args, op.kinds):
        cls = a.__class__
        number = kind in (OPERAND, SCALAR)
        key.append(a._layout if cls is Tensor else cls if number else (cls, a))
    if len(op.given) >= LIMIT:
        op.given.clear()
    op.given[tuple(key)] = plan


def _given(op: Operator, out: Any, outs: Sequence[Tensor]) -> Any:
    """What a call returns: the tensors given, as the operator names several results."""
    if out is outs[0] or op.returns is None:
        return out
    return getattr(op.returns, "out_form", op.returns)(*outs)


def _straight(op: Operator, args: Sequence[Any], outs: Sequence[Tensor]) -> bool:
    """Computes the results where they are wanted, if they fit there as they are and nothing is read afterwards of what
    is written; returns whether it did.
    """
    if op.kind != "kernel" or special or prim.tracing():
        return False
    if any(o.__class__ is not Tensor or o._key is None or not o._layout.numel for o in outs):
        return False
    kinds = zip(args, op.kinds)
    flat = [t for a, kind in kinds for t in (a if kind == TENSORS and isinstance(a, (list, tuple)) else (a,))]
    if any(isinstance(t, Tensor) and (t.__class__ is not Tensor or t._key is None) for t in flat) or deferral().depth:
        return False
    args = plain_arguments(op, args)
    key, tensors, numbers = signature(op, args)
    k = tuple(key)
    try:
        plan = op.plans.get(k)
    except TypeError:
        return False
    if plan is None:
        if len(op.plans) >= LIMIT:
            op.plans.clear()
        plan = op.plans[k] = build(op, args, tensors)
    if plan.plan is None or [o._layout for o in outs] != list(plan.layouts):
        return False
    results = [address(o) for o in outs]
    if any(at % _LINE for at in results):
        return False
    for i, o in enumerate(outs):
        start, end = results[i], results[i] + o._layout.span * o._layout.itemsize
        if any(_meets(start, end, r) for r in outs[:i]):
            return False
        for t in tensors:
            same = plan.plan.elementwise and t._layout is o._layout and address(t) == start
            if not same and _meets(start, end, t):
                return False
    for o in outs:
        settle(o)
    run_plan(op, plan.plan, results, tensors, numbers)
    if len(outs) == 1 and not any(kind == TENSORS for kind in op.kinds):
        _remember(op, args, outs[0], plan.plan)
    for o in outs:
        o._storage.version += 1
    return True


def _meets(start: int, end: int, t: Tensor) -> bool:
    """Whether elements of a tensor may lie between two addresses."""
    layout = t._layout
    at = address(t)
    return bool(layout.numel) and at < end and start < at + layout.span * layout.itemsize


def resize_output(out: Tensor, wanted: Layout) -> None:
    """Gives ``out`` the shape of a result, as PyTorch does for ``out=``."""
    if out._layout.shape != wanted.shape:
        out.resize_(wanted.shape)  # type: ignore[attr-defined]
