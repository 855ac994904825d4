"""Connectionist temporal classification: A. Graves et al., "Connectionist Temporal Classification: Labelling
Unsegmented Sequence Data with Recurrent Neural Networks" (2006)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from .. import dtype as dtypes
from .. import primitives as prim
from ..dispatch.operator import operator
from ..tensor import Tensor
from ..transform.level import recorded
from .create import arange, full, zeros
from .from_data import tensor
from .pad import constant_pad_nd

__all__: list[str] = []

_REDUCTIONS = ("none", "mean", "sum")


def _log_sum(parts: Sequence[Tensor]) -> Tensor:
    """log(sum(exp(parts))) while an operator is traced; -inf where all are."""
    low = prim.const(-math.inf, parts[0].dtype)
    top = parts[0]
    for p in parts[1:]:
        top = prim.apply("max", top, p)
    safe = prim.apply("select", prim.apply("eq", top, low), prim.const(0, top.dtype), top)
    total = prim.apply("exp", prim.apply("sub", parts[0], safe))
    for p in parts[1:]:
        total = prim.apply("add", total, prim.apply("exp", prim.apply("sub", p, safe)))
    return prim.apply("add", safe, prim.apply("log", total))


def _shifted(x: Tensor, by: int) -> Tensor:
    """Elements ``by`` places further along the last dimension (in front, or behind if negative); -inf where there were
    none."""
    g = prim.current().graph
    n, m = x.shape
    base = g.const(-math.inf, x.dtype.code, (n, m))
    if m <= abs(by):
        return prim.wrap(base)
    part = g.move(prim.read(x), ((0, ((0, 1),)), (max(-by, 0), ((1, 1),))), (n, m - abs(by)))
    return prim.wrap(g.update(base, part, ((0, ((0, 1),)), (max(by, 0), ((1, 1),)))))


def _paths(alpha: Tensor, skip: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What a state is reached from: itself, the one before, and the one before that where ``skip`` allows it."""
    low = prim.const(-math.inf, alpha.dtype)
    return alpha, _shifted(alpha, 1), prim.apply("select", skip, _shifted(alpha, 2), low)


@operator(name="_ctc_step", method=False, function=False)
def step(alpha: Tensor, emission: Tensor, skip: Tensor, alive: Tensor) -> Tensor:
    """The log-probability of all labellings that end in each state (n, s) one step later; rows that are not ``alive``
    (n, 1) stay."""
    moved = prim.apply("add", _log_sum(_paths(alpha, skip)), emission)
    return prim.apply("select", alive, moved, alpha)


@step.gradient("alpha", "emission", "skip", "alive", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    form = _step_backward_again if recorded() else step_backward.function
    da, de = form(grad, ctx.alpha, ctx.emission, ctx.skip, ctx.alive, ctx.result)
    return da, de, None, None


def _step_backward_again(grad: Any, alpha: Any, emission: Any, skip: Any, alive: Any, after: Any) -> tuple[Any, Any]:
    """``step_backward`` in operators, which have derivatives themselves."""
    use = (after > -math.inf) & alive
    moved = (after - emission).where(use, 0)
    g = grad.where(use, 0)

    def weight(path: Any) -> Any:
        share = (path - moved).where(use & (path > -math.inf), 0).exp()
        return share.where(use & (path > -math.inf), 0) * g

    def later(by: int) -> Any:
        return constant_pad_nd.function(alpha, (by, -by), -math.inf)

    one, two = weight(later(1)), weight(later(2).where(skip, -math.inf))
    back = [constant_pad_nd.function(x, (-k, k), 0) for k, x in ((1, one), (2, two))]
    return (weight(alpha) + back[0] + back[1]).where(alive, grad), g


@operator(name="_ctc_step_backward", method=False, function=False, differentiable=False)
def step_backward(grad: Tensor, alpha: Tensor, emission: Tensor, skip: Tensor, alive: Tensor, after: Tensor) -> Any:
    """The gradients of ``_ctc_step`` by alpha and emission: a state's gradient is shared by the paths into it."""
    zero = prim.const(0, grad.dtype)
    reached = prim.apply("gt", after, prim.const(-math.inf, after.dtype))
    use = prim.apply("and", reached, alive)
    moved = prim.apply("select", use, prim.apply("sub", after, emission), zero)
    g = prim.apply("select", use, grad, zero)
    own, one, two = (
        prim.apply("mul", g, prim.apply("select", use, prim.apply("exp", prim.apply("sub", p, moved)), zero))
        for p in _paths(alpha, skip)
    )

    def back(x: Tensor, by: int) -> Tensor:
        graph = prim.current().graph
        n, m = x.shape
        base = graph.const(0, x.dtype.code, (n, m))
        if m <= by:
            return prim.wrap(base)
        part = graph.move(prim.read(x), ((0, ((0, 1),)), (by, ((1, 1),))), (n, m - by))
        return prim.wrap(graph.update(base, part, ((0, ((0, 1),)), (0, ((1, 1),)))))

    total = prim.apply("add", own, prim.apply("add", back(one, 1), back(two, 2)))
    return prim.apply("select", alive, total, grad), g


@operator(name="_ctc_end", method=False, function=False)
def end(last: Tensor, before: Tensor) -> Tensor:
    """log(exp(last) + exp(before))"""
    return _log_sum((last, before))


@end.gradient("last", "before", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    possible = ctx.result > -math.inf
    safe = ctx.result.where(possible, 0)
    nothing = grad * 0
    return tuple((grad * (x - safe).exp()).where(possible, nothing) for x in (ctx.last, ctx.before))


def _lengths(value: Any, what: str, count: int) -> list[int]:
    if isinstance(value, Tensor):
        if value.dtype.kind not in "iu":
            raise RuntimeError(f"{what} must be integral")
        value = value.reshape(-1).tolist()  # type: ignore[attr-defined]
    given = value if isinstance(value, (tuple, list)) else [value]
    if not all(isinstance(n, int) for n in given):
        raise TypeError(f"ctc_loss(): {what} must be a tensor or a tuple of ints, got {value!r}")
    found = list(given)
    if len(found) != count:
        raise RuntimeError(f"{what} must be of size batch_size")
    return found


def _starts(targets: Tensor, lengths: Sequence[int], count: int) -> list[int]:
    """Where each member's labels begin among all of them."""
    if targets.ndim == 2:
        if targets.shape[0] != count:
            raise RuntimeError(
                f"Expected tensor to have size {count} at dimension 0, but got size {targets.shape[0]} for "
                "argument #2 'targets'"
            )
        if max(lengths, default=0) > targets.shape[1]:
            raise RuntimeError(
                f"Expected tensor to have size at least {max(lengths)} at dimension 1, but got size "
                f"{targets.shape[1]} for argument #2 'targets'"
            )
        return [k * targets.shape[1] for k in range(count)]
    if sum(lengths) != targets.numel():
        raise RuntimeError(
            f"Expected tensor to have size {sum(lengths)} at dimension 0, but got size {targets.numel()} for "
            "argument #2 'targets'"
        )
    return [0, *itertools.accumulate(lengths)][:count]


@operator(name="_ctc_states", method=False, function=False, differentiable=False)
def label_states(targets: Tensor, starts: Tensor, lengths: Tensor, longest: int, blank: int) -> Any:
    """The states of each member, and which of them may follow the last but one: blank, label, blank, label, ..., blank,
    where a label may follow another one directly unless they are equal.

    ``targets`` (n,) has the labels of member k (of ``count``) from ``starts[k]`` on; behind the last all are blank.
    """
    shape = (starts.shape[0], 2 * longest + 1)
    if not longest:
        return prim.const(blank, dtypes.int64, shape), prim.const(False, dtypes.bool_, shape)
    g = prim.current().graph
    first, many = (prim.wrap(g.expand(g.reshape(prim.read(t), (shape[0], 1)), shape)) for t in (starts, lengths))

    def number(k: int) -> Tensor:
        return prim.const(k, dtypes.int64)

    state = prim.iota(shape, 1)
    label = prim.apply("shr", state, number(1))
    odd = prim.apply("eq", prim.apply("and", state, number(1)), number(1))

    def look(back: int) -> Tensor:
        there = prim.apply("and", odd, prim.apply("lt", label, many))
        if back:
            there = prim.apply("and", there, prim.apply("ge", label, number(back)))
        place = prim.apply("sub", prim.apply("add", first, label), number(back))
        place = prim.apply("select", there, place, number(0))
        found = prim.cast(prim.gather(targets, [place], [("i", 0)], shape), dtypes.int64)
        return prim.apply("select", there, found, number(blank))

    own = look(0)
    skip = prim.apply("and", prim.apply("ge", state, number(2)), prim.apply("ne", own, number(blank)))
    return own, prim.apply("and", skip, prim.apply("ne", own, look(1)))


@operator(kind="composite", method=False, out=False)
def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: Any = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """The negative log-likelihood of target sequences, summed over all alignments with the steps of ``log_probs``.

    ``log_probs`` is (steps, batch, classes) or (steps, classes), log-softmaxed; ``targets`` (batch, longest) or all
    targets in a row; the lengths are tensors or sequences of ints.  "mean" divides each loss by its target's length.
    ``zero_infinity`` makes impossible alignments count as 0.  As in PyTorch the gradient is the one that a log_softmax
    before it turns into the right one.  Raises RuntimeError for lengths and labels that do not fit.
    """
    if isinstance(reduction, int):
        reduction = _REDUCTIONS[reduction] if 0 <= reduction < len(_REDUCTIONS) else reduction
    if reduction not in _REDUCTIONS:
        raise ValueError(f"{reduction} is not a valid value for reduction")
    x: Any = log_probs
    if log_probs.dtype not in (dtypes.float32, dtypes.float64):
        raise RuntimeError(f'"ctc_loss_cpu" not implemented for {log_probs.dtype}')
    if targets.dtype not in (dtypes.int32, dtypes.int64):
        raise RuntimeError(
            f"Expected tensor for argument #2 'targets' to have scalar type Long or Int, but got {targets.dtype}"
        )
    if x.ndim not in (2, 3):
        raise RuntimeError(f"log_probs should be a tensor of 2 or 3 dimensions, but got {x.ndim} dimensions")
    single = x.ndim == 2
    if single:
        x = x.unsqueeze(1)
        targets = targets.unsqueeze(0) if targets.ndim == 1 else targets  # type: ignore[attr-defined]
    steps, count, classes = x.shape
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    inputs, lengths = _lengths(input_lengths, "input_lengths", count), _lengths(target_lengths, "target_lengths", count)
    if any(n < 0 or n > steps for n in inputs):
        raise RuntimeError(
            f"Expected input_lengths to have value at most {steps}, but got value {max(inputs)} (while checking "
            "arguments for ctc_loss_cpu)"
        )
    if any(n < 0 for n in lengths):
        raise RuntimeError(
            f"Expected target_lengths to have value at least 0, but got value {min(lengths)} (while checking "
            "arguments for ctc_loss_cpu)"
        )
    starts, longest = _starts(targets, lengths, count), max(lengths, default=0)
    begin, many = tensor(starts, dtype=dtypes.int64), tensor(lengths, dtype=dtypes.int64)
    label, skip = label_states.function(targets.detach().reshape(-1), begin, many, longest, blank)  # type: ignore[attr-defined]
    if label.numel() and bool(((label < 0) | (label >= classes)).any()):
        raise RuntimeError(f"ctc_loss: target labels must be in [0, {classes - 1}]")
    loss = _losses(x, label, skip, tensor(inputs, dtype=dtypes.int64), many, max(inputs, default=0))
    if zero_infinity:
        loss = loss.where(loss < math.inf, 0)
    if reduction == "none":
        return loss.squeeze(0) if single else loss  # type: ignore[no-any-return]
    if reduction == "sum":
        return loss.sum()  # type: ignore[no-any-return]
    return (loss / tensor([max(n, 1) for n in lengths], dtype=loss.dtype, device=loss.device)).mean()  # type: ignore[no-any-return]


def _losses(x: Any, label: Any, skip: Tensor, inputs: Any, lengths: Any, last: int) -> Any:
    """The loss of each member from its states; ``last`` is the greatest of ``inputs``."""
    steps, count, _ = x.shape
    states = label.shape[1]
    emission = x.gather(2, label.unsqueeze(0).expand(steps, -1, -1))
    # before the first step only the state in front of everything is possible: it leads to the first two
    begins = arange(states) == 0  # type: ignore[comparison-overlap]
    alpha: Any = full((count, states), -math.inf, dtype=x.dtype).masked_fill(begins, 0.0)  # type: ignore[attr-defined]
    nowhere = zeros(1, states, dtype=dtypes.bool_)
    alive: Any = arange(steps).reshape(-1, 1) < inputs  # type: ignore[attr-defined]
    rows = alive.unsqueeze(-1).unbind(0)
    for t, emitted in enumerate(emission[:last].unbind(0)):
        alpha = step.function(alpha, emitted, skip if t else nowhere, rows[t])
    ending = alpha.gather(1, (2 * lengths).unsqueeze(1)).squeeze(1)
    if states > 1:
        before = alpha.gather(1, (2 * lengths - 1).clamp(min=0).unsqueeze(1)).squeeze(1)
        ending = end.function(ending, before.masked_fill(lengths == 0, -math.inf))
    loss = -ending
    if not x.requires_grad:
        return loss
    # PyTorch's gradient by a log-probability is exp(log_prob) minus the probability of the label at that step, which
    # the log_softmax that made it leaves alone: a term of value 0 with the gradient exp(log_prob) is added for
    # possible losses
    used = alive.unsqueeze(-1) & (loss.detach() < math.inf).unsqueeze(-1)
    mass = x.exp().where(used, 0).sum((0, 2))
    return loss + (mass - mass.detach())
