"""Selective checkpointing: which results of a checkpointed part are kept, and which are computed again.

The first pass keeps what a policy names; in the second these operators do not run: their kept results take the place of
what they would compute, and are on the tape as theirs.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any

from ..autograd import tape
from ..autograd.mode import state as grad_state
from ..dispatch.call import around, special
from ..dispatch.operator import Operator
from ..dispatch.planning import tensors_in
from ..library.namespaces import OpOverload, namespace_of
from ..tensor import Tensor

__all__ = [
    "SAC_IGNORED_OPS", "CheckpointPolicy", "GraphExecGroup", "SelectiveCheckpointContext",
    "create_selective_checkpoint_contexts",
]  # fmt: skip


class CheckpointPolicy(enum.Enum):
    """What selective checkpointing may say of an operator's result.

    The two that would move a result to the CPU keep it where it is: it is there.
    """

    MUST_SAVE = 0
    PREFER_SAVE = 1
    MUST_RECOMPUTE = 2
    PREFER_RECOMPUTE = 3
    MUST_CPU_OFFLOAD = 4
    PREFER_CPU_OFFLOAD = 5


_KEEP = (
    CheckpointPolicy.MUST_SAVE, CheckpointPolicy.PREFER_SAVE, CheckpointPolicy.MUST_CPU_OFFLOAD,
    CheckpointPolicy.PREFER_CPU_OFFLOAD,
)  # fmt: skip
_aten = namespace_of("aten")
SAC_IGNORED_OPS: set[Any] = set()
"""Operators that no policy is asked about, besides those that look at a tensor without computing anything."""


class GraphExecGroup:
    """``with GraphExecGroup()``: several backward passes in the block compute a checkpointed part again only once.

    What a part computes again is kept until it is used, so this holds anyway.  Raises RuntimeError inside of another.
    """

    _current: GraphExecGroup | None = None

    def __enter__(self) -> GraphExecGroup:
        if GraphExecGroup._current is not None:
            raise RuntimeError("GraphExecGroup contexts cannot be nested. Already inside another group")
        GraphExecGroup._current = self
        return self

    def __exit__(self, *args: object) -> None:
        GraphExecGroup._current = None


class SelectiveCheckpointContext:
    """What a policy is told besides the operator: which pass it is, and in the first the operator's result."""

    def __init__(self, *, is_recompute: bool, op_output: Any = None) -> None:
        self.is_recompute, self.op_output = is_recompute, op_output


def _public(op: Operator, args: Sequence[Any]) -> Any:
    """The operator as PyTorch would show it to a policy: products by the name of what computes them."""
    name = op.name
    if name == "linear":
        name = "addmm" if len(args) > 2 and args[2] is not None else "mm"
    elif name == "matmul":
        name = "mm" if all(isinstance(a, Tensor) and a.ndim <= 2 for a in args) else "bmm"
    try:
        return getattr(_aten, name).default
    except AttributeError:
        return None


def _listed(ops: Sequence[Any]) -> Callable[..., CheckpointPolicy]:
    for op in ops:
        if not isinstance(op, OpOverload) and not str(op).startswith("<operator"):
            raise ValueError(
                f"create_selective_checkpoint_contexts: expected operators of torch.ops in the list, got {op!r}"
            )
    names = {op.__name__.partition(".")[0] for op in ops}

    def policy(ctx: Any, op: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
        listed = op.__name__.partition(".")[0] in names
        return CheckpointPolicy.MUST_SAVE if listed else CheckpointPolicy.PREFER_RECOMPUTE

    return policy


class _Pass:
    """One pass over the part: a wrapper around every operator in the ``with`` block."""

    def __init__(self, policy: Callable[..., Any], kept: dict[Any, list[Any]], again: bool, mutable: bool) -> None:
        self._policy, self._kept, self._again, self._mutable = policy, kept, again, mutable

    def __enter__(self) -> _Pass:
        special.append(self._around)
        around.wrappers = (*around.wrappers, self._around)
        return self

    def __exit__(self, *exc: object) -> None:
        special.remove(self._around)
        around.wrappers = tuple(w for w in around.wrappers if w != self._around)

    def _around(self, op: Operator, args: tuple[Any, ...], proceed: Callable[[Any], Any], inplace: bool) -> Any:
        shown = None if inplace or op.kind == "view" else _public(op, args)
        if shown is None or shown in SAC_IGNORED_OPS:
            return proceed(args)
        if self._again:
            ctx = SelectiveCheckpointContext(is_recompute=True)
            found = self._policy(ctx, shown, *args)
            if self._saves(found) and self._kept.get(op):
                return self._instead(op, args, self._kept[op].pop(0))
            return self._plain(args, proceed)
        result = self._plain(args, proceed)
        ctx = SelectiveCheckpointContext(is_recompute=False, op_output=result)
        if self._saves(self._policy(ctx, shown, *args)):
            several = isinstance(result, (tuple, list))
            parts = [t.detach() if isinstance(t, Tensor) else t for t in (result if several else (result,))]  # type: ignore[attr-defined]
            versions = [t._storage.version if isinstance(t, Tensor) else 0 for t in parts]
            self._kept.setdefault(op, []).append((parts, several, versions))
        return result

    def _plain(self, args: tuple[Any, ...], proceed: Callable[[Any], Any]) -> Any:
        """The call, without asking about the operators that it is made of."""
        before = around.wrappers
        around.wrappers = tuple(w for w in before if w != self._around)
        try:
            return proceed(args)
        finally:
            around.wrappers = before

    @staticmethod
    def _saves(found: Any) -> bool:
        if isinstance(found, bool):
            return found
        if not isinstance(found, CheckpointPolicy):
            raise TypeError(f"a policy must return a CheckpointPolicy, got {type(found).__name__}")
        return found in _KEEP

    def _instead(self, op: Operator, args: tuple[Any, ...], kept: tuple[list[Any], bool, list[int]]) -> Any:
        """The kept result, as what the call returned."""
        parts, several, versions = kept
        changed = any(isinstance(t, Tensor) and t._storage.version != v for t, v in zip(parts, versions))
        if changed and not self._mutable:
            raise RuntimeError(
                f"a result of {op.name} that selective checkpointing kept was written to in place; "
                "pass allow_cache_entry_mutation=True to allow it"
            )
        fresh = [t.detach() if isinstance(t, Tensor) else t for t in parts]  # type: ignore[attr-defined]
        result = (tuple(fresh) if op.returns is None else op.returns(*fresh)) if several else fresh[0]
        if grad_state.grad and op.derivative is not None and any(t._requires_grad for t in tensors_in(args)):
            tape.record(op, args, result)
        return result


def create_selective_checkpoint_contexts(
    policy_fn_or_list: Any, allow_cache_entry_mutation: bool = False
) -> tuple[Any, Any]:
    """The two contexts for ``checkpoint(..., context_fn=...)``.

    Args:
        policy_fn_or_list: the operators of ``torch.ops`` whose results are kept, or a function (ctx, op, *args,
            **kwargs) that returns a ``CheckpointPolicy``.
        allow_cache_entry_mutation: do not complain about kept results that were written to in place.

    Raises TypeError for other policies, ValueError for a list of other things.
    """
    if isinstance(policy_fn_or_list, list):
        policy = _listed(policy_fn_or_list)
    elif callable(policy_fn_or_list):
        policy = policy_fn_or_list
    else:
        raise TypeError("policy_fn_or_list must be either a function or a list of ops.")
    kept: dict[Any, list[Any]] = {}
    return _Pass(policy, kept, False, allow_cache_entry_mutation), _Pass(policy, kept, True, allow_cache_entry_mutation)
