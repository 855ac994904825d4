"""Functions of the user (``autograd.Function``) on tensors of a level.

In a forward-mode level the Function's own ``jvp`` is called.  In a batch its own ``vmap`` is, or, with
``generate_vmap_rule``, everything it defines is run on tensors that stand for members.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..autograd.function import BackwardCFunction, Function, _finish
from ..autograd.mode import no_grad
from ..autograd.saved import SavedTensor
from ..autograd.view import edge_of
from ..tensor import Tensor
from .apply import as_result, below, on_tape
from .batching import collected, to_front, unwrapped
from .forward import unwrapped as dual_parts
from .level import Batched, Dual, Level, highest, lifted, vmap_level

__all__ = ["VmapInfo", "call"]


class VmapInfo(NamedTuple):
    """What a Function's ``vmap`` is told: the size of the batch, and the randomness asked for."""

    batch_size: int
    randomness: str


def call(cls: type[Function], args: tuple[Any, ...], kwargs: dict[str, Any], two_steps: bool) -> Any:
    """``cls.apply`` where some argument is a wrapper."""
    level = highest(args)
    assert level is not None
    recorded = on_tape(args, level)
    rule = _call_batched if level.size >= 0 else _call_dual
    with below(level):
        raw = rule(cls, args, kwargs, level, two_steps)
    if not recorded:
        return raw
    if not two_steps and level.shared:
        # What forward saved are values, not dual numbers: the tape below is the only one.
        for output in raw if isinstance(raw, tuple) else (raw,):
            if isinstance(output, Dual):
                below_ = output._value
                output._requires_grad, output._node = below_._requires_grad, below_._node
                output._output_nr = below_._output_nr
        return raw
    if not two_steps:
        raise RuntimeError(
            "In order to use an autograd.Function with functorch transforms (vmap, grad, jvp, jacrev, ...), it must "
            "override the setup_context staticmethod."
        )
    return _recorded(cls, args, raw, level)


def _recorded(cls: type[Function], args: tuple[Any, ...], raw: Any, level: Level) -> Any:
    """The results on the tape of ``level``: the Function's derivative reads what it saves of wrappers."""
    context = cls._backward_cls()
    here = tuple(lifted(a, level) if isinstance(a, Tensor) else a for a in args)
    is_tensor = tuple(isinstance(a, Tensor) for a in here)
    context.needs_input_grad = tuple(isinstance(a, Tensor) and a._requires_grad for a in here)
    context.next_functions = tuple(edge_of(a) for a in here if isinstance(a, Tensor))
    context._is_tensor = is_tensor
    outputs = raw if isinstance(raw, tuple) else (raw,)
    outputs = tuple(as_result(o, level) if isinstance(o, Tensor) else o for o in outputs)
    with no_grad():
        cls.setup_context(context, here, outputs if isinstance(raw, tuple) else outputs[0])
    finished = _finish(context, [a for a in here if isinstance(a, Tensor)], outputs, True)
    return finished if isinstance(raw, tuple) else finished[0]


# -- forward mode ------------------------------------------------------------------------------------


def _call_dual(
    cls: type[Function], args: tuple[Any, ...], kwargs: dict[str, Any], level: Level, two_steps: bool
) -> Any:
    """The results with the tangents that the Function's ``jvp`` gives."""
    found = [dual_parts(a, level) for a in args]
    values = tuple(v for v, _ in found)
    context = cls._backward_cls()
    if highest(values) is None:
        raw = cls._apply_plainly(context, values, kwargs, two_steps)
        kept = getattr(context, "saved_for_forward", ())
    else:  # what is below are wrappers again: the context has to be made of them
        raw = cls.apply(*values, **kwargs)
        if not two_steps:
            raise RuntimeError(
                f"{cls.__name__} must override the setup_context staticmethod to be nested in transforms"
            )
        with no_grad():
            cls.setup_context(context, values, raw)
        kept = getattr(context, "saved_for_forward", ())
    tangents = [t for _, t in found]
    if all(t is None for t in tangents):
        return raw
    inner = _ForwardContext(context, tuple(kept))
    given = [
        a.new_zeros(a.shape)  # type: ignore[attr-defined]
        if t is None and isinstance(a, Tensor) and a._layout.dtype.kind in "fc" and context._materialize
        else t
        for a, t in zip(values, tangents)
    ]
    pushed = cls.jvp(inner, *given)
    outputs = raw if isinstance(raw, tuple) else (raw,)
    pushed = pushed if isinstance(pushed, tuple) else (pushed,)
    if len(pushed) != len(outputs):
        raise RuntimeError(
            f"{cls.__name__}: the jvp returned {len(pushed)} tangents, but forward returned {len(outputs)} results"
        )
    wrapped = tuple(
        Dual.of(o, t, level) if isinstance(o, Tensor) and isinstance(t, Tensor) else o for o, t in zip(outputs, pushed)
    )
    return wrapped if isinstance(raw, tuple) else wrapped[0]


class _ForwardContext:
    """The context that ``jvp`` sees: that of ``forward``, with what was saved for it."""

    def __init__(self, context: BackwardCFunction, saved: tuple[Any, ...]) -> None:
        self._context = context
        self.saved_tensors = saved

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)


# -- batches -----------------------------------------------------------------------------------------


def _call_batched(
    cls: type[Function], args: tuple[Any, ...], kwargs: dict[str, Any], level: Level, two_steps: bool
) -> Any:
    found = [unwrapped(a, level) for a in args]
    values, dims = tuple(v for v, _ in found), tuple(d for _, d in found)
    own = cls.vmap is not Function.vmap
    if own and cls.generate_vmap_rule:
        raise RuntimeError(
            f"You tried to vmap over {cls.__name__}, but it has both generate_vmap_rule=True and an overridden vmap "
            "staticmethod. Please set generate_vmap_rule=False or delete the overridden vmap staticmethod to avoid "
            "ambiguity."
        )
    if all(d is None for d in dims):
        return cls.apply(*values, **kwargs)
    if own:
        raw, out_dims = cls.vmap(VmapInfo(level.size, level.randomness), dims, *values, **kwargs)
        if not isinstance(raw, tuple):
            return _member(raw, out_dims, level)
        if not isinstance(out_dims, (tuple, list)):
            out_dims = (out_dims,) * len(raw)
        return tuple(_member(r, d, level) for r, d in zip(raw, out_dims))
    if not cls.generate_vmap_rule:
        raise RuntimeError(
            f"You tried to vmap over {cls.__name__}, but it does not have vmap support. Please override and implement "
            "the vmap staticmethod or set generate_vmap_rule=True."
        )
    plan = _Plan(cls, level.size, dims, kwargs, two_steps)
    raw = _OverBatch.apply(plan, *values)
    results = tuple(_member(r, 0, level) for r in (raw if isinstance(raw, tuple) else (raw,)))
    return results if isinstance(raw, tuple) else results[0]


def _member(value: Any, bdim: Any, level: Level) -> Any:
    return Batched.of(value, bdim, level) if isinstance(value, Tensor) else value


class _Plan(NamedTuple):
    """A Function to be run over a batch: what stands beside its arguments."""

    cls: Any
    size: int
    dims: tuple[int | None, ...]
    kwargs: dict[str, Any]
    two_steps: bool


class _OverBatch(Function):
    """Runs what a Function defines on tensors that stand for members."""

    generate_vmap_rule = True

    @staticmethod
    def forward(ctx: Any, plan: _Plan, *values: Any) -> Any:
        """The results for all members."""
        inner = plan.cls._backward_cls()
        inner.needs_input_grad = tuple(isinstance(v, Tensor) and v._requires_grad for v in values)
        with vmap_level(plan.size, "different") as level:
            members = tuple(_member(v, d, level) for v, d in zip(values, plan.dims))
            if plan.two_steps:
                raw = plan.cls.forward(*members, **plan.kwargs)
                plan.cls.setup_context(inner, members, raw)
            else:
                raw = plan.cls.forward(inner, *members, **plan.kwargs)
            saved = [unwrapped(t, level) for t in inner._to_save]
            kept = [unwrapped(t, level) for t in getattr(inner, "saved_for_forward", ())]
            outputs = [unwrapped(o, level) for o in (raw if isinstance(raw, tuple) else (raw,))]
        ctx.plan, ctx.inner, ctx.values = plan, inner, [v if not isinstance(v, Tensor) else None for v in values]
        ctx.saved_dims, ctx.kept_dims = [d for _, d in saved], [d for _, d in kept]
        ctx.save_for_backward(*[v for v, _ in saved])
        if kept:
            ctx.save_for_forward(*[v for v, _ in kept])
        results = tuple(to_front(o, d, plan.size) if isinstance(o, Tensor) else o for o, d in outputs)
        return results if isinstance(raw, tuple) else results[0]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """The gradients of all members; a sum for what is the same for all."""
        plan, inner = ctx.plan, ctx.inner
        with vmap_level(plan.size, "different") as level:
            saved = [_member(t, d, level) for t, d in zip(ctx.saved_tensors, ctx.saved_dims)]
            inner._saved = tuple(None if t is None else SavedTensor(t, False, None) for t in saved)
            found = inner._user_backward()(inner, *[_member(g, 0, level) for g in grads])
            found = found if isinstance(found, tuple) else (found,)
            results: list[Any] = [None]
            for grad, dim in zip(found, plan.dims):
                value, bdim = unwrapped(grad, level)
                results.append(value if value is None else collected(value, bdim, dim, plan.size))
        return tuple(results)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Any:
        """The derivatives of all members."""
        plan, inner = ctx.plan, ctx.inner
        with vmap_level(plan.size, "different") as level:
            kept = tuple(_member(t, d, level) for t, d in zip(ctx.saved_tensors, ctx.kept_dims))
            context = _ForwardContext(inner, kept)
            found = plan.cls.jvp(context, *[_member(t, d, level) for t, d in zip(tangents[1:], plan.dims)])
            outputs = [unwrapped(t, level) for t in (found if isinstance(found, tuple) else (found,))]
        results = tuple(to_front(o, d, plan.size) if isinstance(o, Tensor) else o for o, d in outputs)
        return results if isinstance(found, tuple) else results[0]
