"""Operators made from operators: with the parameters of the original and some more behind them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..autograd.operator_node import Context
from ..dispatch.call import dispatch
from ..dispatch.operator import FACTOR, Operator
from ..layout import Layout
from ..tensor import Tensor

__all__ = ["Split", "derived", "fields_of", "split"]


def derived(op: Operator, name: str, kind: str, more: dict[str, str], body: Callable[..., Any]) -> Operator:
    """An operator with the parameters of ``op``, then ``more`` (annotations by name); ``body`` takes a list of all.

    It is called by ``dispatch``, never by a user.
    """

    def run(*args: Any, **kwargs: Any) -> Any:
        values = [*args, *kwargs.values()]
        for i in factors:  # a factor of 1 is not there while a body is traced; the original's derivative asks for it
            if values[i] is None:
                values[i] = 1
        return body(values)

    factors = [i for i, kind in enumerate(op.kinds) if kind == FACTOR]

    given = list(op.signature.parameters.values())
    depth = len(given)  # a form of a form has one more of the same parameter
    last = [inspect.Parameter(f"{n}{depth}_", inspect.Parameter.KEYWORD_ONLY, annotation=a) for n, a in more.items()]
    run.__signature__ = inspect.Signature([*given, *last])  # type: ignore[attr-defined]
    made = Operator(name, run, kind, (), None, None)
    made.differentiable = op.differentiable
    made.index_error = op.index_error
    made.make_function = lambda name: partial(_call_by_signature, made)
    return made


def _call_by_signature(op: Operator, *args: Any, **kwargs: Any) -> Any:
    """Calls a derived operator; a handler of ``__torch_function__`` gives its last arguments by name."""
    if len(args) < len(op.params):
        bound = op.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        args = tuple(bound.arguments.values())
    return dispatch(op, args)


def fields_of(op: Operator) -> list[str]:
    """The names that the arguments of an operator have in the context of its derivative."""
    return [f"{n}_" if hasattr(Context, n) else n for n in op.params]


class Split:
    """Arguments of an operator, taken apart: ``tensors`` is a flat list (in a derivative, layouts among them), ``put``
    makes arguments of another one.
    """

    __slots__ = ("args", "counts", "op", "tensors")

    def __init__(self, op: Operator, args: Sequence[Any], positions: Sequence[int] | None = None) -> None:
        self.op, self.args = op, args
        self.tensors: list[Any] = []
        self.counts: list[tuple[int, int]] = []  # position of a parameter, number of tensors in it (-1: itself one)
        for i in op.tensors if positions is None else positions:
            a = args[i]
            if i in op.lists:
                self.counts.append((i, len(a)))
                self.tensors.extend(a)
            elif isinstance(a, (Tensor, Layout)):
                self.counts.append((i, -1))
                self.tensors.append(a)

    def put(self, tensors: Sequence[Any]) -> list[Any]:
        """The arguments with these tensors in the place of the original ones."""
        values = list(self.args)
        rest = iter(tensors)
        for i, count in self.counts:
            values[i] = next(rest) if count < 0 else [next(rest) for _ in range(count)]
        return values

    @property
    def positions(self) -> tuple[int, ...]:
        """The parameters that ``tensors`` come from."""
        return tuple(i for i, _ in self.counts)

    def flatten(self, found: Sequence[Any]) -> list[Any]:
        """One entry for each tensor, from one for each tensor parameter (a list or None for a list)."""
        flat: list[Any] = []
        by_position = dict(zip(self.op.tensors, found))
        for i, count in self.counts:
            entry = by_position.get(i)
            if count < 0:
                flat.append(entry)
            else:
                flat.extend([None] * count if entry is None else entry)
        return flat


def split(op: Operator, args: Sequence[Any], positions: Sequence[int] | None = None) -> Split:
    """Takes the arguments of a call apart.

    In a body that is traced, numbers have become tensors: ``positions`` are the parameters that count.
    """
    return Split(op, args, positions)
