"""Calls of operators as ``torch.ops.aten`` spells them: the overload, its arguments by position, and keywords.

Most operators have PyTorch's name and signature already.  The tables say what the overload is called, which of our own
parts of an operator are one of PyTorch's, and what PyTorch has in parts.  An operator that PyTorch does not have
(a fused gradient, say) appears under its own name.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from .dispatch.operator import OPERATORS, Operator
from .graph.node import broadcast_shapes
from .library.namespaces import OpOverload, OpOverloadPacket, namespace_of
from .ops.convert import contiguous_format
from .tensor import Tensor

__all__ = ["in_parts", "overload", "spelled"]

_Call = tuple[str, str, tuple[Any, ...], dict[str, Any]]

_OVERLOADS = {
    **dict.fromkeys("add sub mul div floor_divide slice split copysign heaviside".split(), "Tensor"),
    **dict.fromkeys("select transpose unbind".split(), "int"),
    **dict.fromkeys("std var var_mean std_mean".split(), "correction"),
    "index": "Tensor", "where": "self",
}  # fmt: skip

_BY_SECOND = frozenset("eq ne lt le gt ge remainder fmod bitwise_and bitwise_or bitwise_xor masked_fill fill".split())
"""Operators whose overload says whether the last argument without a default is a tensor or a number."""

_BY_DIM = {
    "sum": ("default", "dim_IntList"), "mean": ("default", "dim"), "any": ("default", "dim"), "all": ("default", "dim"),
    "nansum": ("default", "default"), "squeeze": ("default", "dim"), "prod": ("default", "dim_int"),
}  # fmt: skip
"""Overloads without and with a dimension."""


def _second(value: Any) -> str:
    return "Tensor" if isinstance(value, Tensor) else "Scalar"


def _convolution(x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> _Call:
    lists = (list(stride), list(padding), list(dilation))
    return "convolution", "default", (x, weight, bias, *lists, False, [0] * len(lists[0]), groups), {}


def _transposed(
    x: Any, weight: Any, bias: Any, stride: Any, padding: Any, output_padding: Any, groups: int, dilation: Any
) -> _Call:
    lists = (list(stride), list(padding), list(dilation))
    return "convolution", "default", (x, weight, bias, *lists, True, list(output_padding), groups), {}


def _power(input: Any, exponent: Any) -> _Call:
    if not isinstance(input, Tensor):
        return "pow", "Scalar", (input, exponent), {}
    kind = "Tensor_Tensor" if isinstance(exponent, Tensor) else "Tensor_Scalar"
    return "pow", kind, (input, exponent), {}


def _row_major(input: Tensor, order: tuple[int, ...]) -> _Call | None:
    if order != tuple(range(len(order))):
        return None
    return "clone", "default", (input,), {"memory_format": contiguous_format}


_REDUCTIONS = ("none", "mean", "sum")


def _cuts(input: Tensor, map_: Any, shape: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """The slices (dimension, start, end, step) of a region of a tensor."""
    found = []
    for d, (start, terms) in enumerate(map_):
        if terms:
            ((place, step),) = terms
            size = shape[place]
            if (start, step, size) != (0, 1, input.shape[d]):
                found.append((d, start, start + (size - 1) * step + 1 if size else start, step))
    return found


def _regular(map_: Any) -> bool:
    """Whether a region is one of slices and single elements, and no diagonal."""
    places = [terms[0][0] for _, terms in map_ if terms]
    return all(len(terms) < 2 for _, terms in map_) and all(a < b for a, b in zip(places, places[1:]))


def _region(input: Tensor, map_: Any, shape: tuple[int, ...]) -> _Call | None:
    if not _regular(map_):
        return None
    cuts = _cuts(input, map_, shape)
    return "slice", "Tensor", (input, *(cuts[0] if cuts else (0, 0, input.shape[0], 1))), {}


def _cut(input: Any, map_: Any, shape: tuple[int, ...]) -> Any:
    """A region of a tensor step by step: slices, then single elements, then new dimensions."""
    for cut in _cuts(input, map_, shape):
        input = OPERATORS["_slice"].function(input, *cut)
    for d in reversed([d for d, (_, terms) in enumerate(map_) if not terms]):
        input = input.select(d, map_[d][0])
    kept = {place for _, terms in map_ for place, _ in terms}
    for place in range(len(shape)):
        if place not in kept:
            input = input.unsqueeze(place)
    return input


def _gathered(input: Tensor, indices: Sequence[Tensor], dims: Sequence[int]) -> _Call:
    places: list[Any] = [None] * (max(dims) + 1)
    for d, index in zip(dims, indices):
        places[d] = index
    return "index", "Tensor", (input, places), {}


_PARTS: dict[str, Callable[..., _Call | None]] = {
    "_contiguous": _row_major,
    "_convolution": _convolution,
    "_convolution_transpose": _transposed,
    "_embedding": lambda *args: ("embedding", "default", args[:2] if args[2:] == (-1, False) else args, {}),
    "_extreme_dim": lambda x, dim, keepdim, kind: (kind, "dim", (x, dim, keepdim), {}),
    "_log_softmax": lambda x, dim, dtype: None if dtype else ("_log_softmax", "default", (x, dim, False), {}),
    "_pow_number": _power,
    "_pow_tensor": _power,
    "_repeat": lambda x, repeats: ("repeat", "default", (x, list(repeats)), {}),
    "_softmax": lambda x, dim, dtype: None if dtype else ("_softmax", "default", (x, dim, False), {}),
    "_split": lambda x, sizes, dim: ("split_with_sizes", "default", (x, list(sizes), dim), {}),
    "_square_difference": lambda x, y, weight, reduction: (
        None if weight is not None else ("mse_loss", "default", (x, y, _REDUCTIONS.index(reduction)), {})
    ),
    "_to_dtype": lambda x, dtype: ("_to_copy", "default", (x,), {"dtype": dtype}),
    "_where": lambda *args: ("where", "self", args, {}),
    "index": _gathered,
    "slice": _region,
    "true_divide": lambda *args: ("div", "Tensor", args, {}),
}
"""Parts of our operators that are an operator of PyTorch's: its name, overload and arguments; None for a call of the
part that PyTorch has no name for."""


def overload(name: str, kind: str = "default") -> OpOverload:
    """``torch.ops.aten.NAME.KIND``."""
    return getattr(getattr(namespace_of("aten"), name), kind)  # type: ignore[no-any-return]


def spelled(op: Operator, args: Sequence[Any], inplace: bool) -> tuple[OpOverload, tuple[Any, ...], dict[str, Any]]:
    """(overload, arguments, keywords) of a call of an operator: ``args`` are all its arguments, in order."""
    part = _PARTS.get(op.name)
    found = None if part is None or inplace else part(*args)
    if found is not None:
        name, kind, given, named = found
        return overload(name, kind), given, named
    positional: list[Any] = []
    keywords: dict[str, Any] = {}
    for p, a in zip(op.signature.parameters.values(), args):
        if p.kind is inspect.Parameter.KEYWORD_ONLY:
            if a is not p.default and a != p.default:
                keywords[p.name] = a
        else:
            positional.append((a, p.default))
    while positional and _same(*positional[-1]):
        positional.pop()
    given = tuple(a for a, _ in positional)
    name = op.name + "_" * inplace
    if OPERATORS.get(op.name) is not op or (part is not None and not inplace):
        # A derivative that was made for one operator, or a part that has no name there.
        return _unlisted(op), given, keywords
    return overload(name, _kind(op.name, given, keywords)), given, keywords


@functools.lru_cache(maxsize=1024)
def _unlisted(op: Operator) -> OpOverload:
    """The overload of an operator that ``torch.ops.aten`` does not list."""
    return OpOverloadPacket(f"aten::{op.name}", op.function).default  # type: ignore[no-any-return]


def _same(value: Any, default: Any) -> bool:
    if value is default:
        return True
    return isinstance(value, (bool, int, float, str)) and value.__class__ is default.__class__ and value == default


def _kind(name: str, given: tuple[Any, ...], keywords: dict[str, Any]) -> str:
    """PyTorch's name of the overload that a call takes."""
    if name in _BY_SECOND and len(given) > 1:
        return _second(given[-1])
    if name == "div" and "rounding_mode" in keywords:
        return "Tensor_mode"
    if name in _BY_DIM:
        return _BY_DIM[name][len(given) > 1]
    if name == "clamp" and any(isinstance(a, Tensor) for a in given[1:]):
        return "Tensor"
    return _OVERLOADS.get(name, "default")


# -- what PyTorch has in parts -----------------------------------------------------------------------


def _linear(input: Any, weight: Any, bias: Any) -> Any:
    """``linear`` as rows by a matrix."""
    if weight.ndim != 2 or input.ndim < 1:
        return input @ weight.t() if bias is None else input @ weight.t() + bias
    rows = input if input.ndim == 2 else input.reshape(-1, input.shape[-1])
    turned = weight.t()
    if bias is None:
        product = OPERATORS["mm"].function(rows, turned)
    else:
        product = OPERATORS["addmm"].function(bias, rows, turned)
    return product if input.ndim == 2 else product.reshape(*input.shape[:-1], weight.shape[0])


def _matmul(input: Any, other: Any) -> Any:
    """``matmul`` as products of matrices, or of batches of them."""
    mm, bmm = OPERATORS["mm"].function, OPERATORS["bmm"].function
    if input.ndim == 1 and other.ndim == 1:
        return OPERATORS["dot"].function(input, other)
    if input.ndim == 1:
        return _matmul(input.unsqueeze(0), other).squeeze(-2)
    if other.ndim == 1:
        return _matmul(input, other.unsqueeze(1)).squeeze(-1)
    if input.ndim == other.ndim == 2:
        return mm(input, other)
    if other.ndim == 2:
        return mm(input.reshape(-1, input.shape[-1]), other).reshape(*input.shape[:-1], other.shape[-1])
    batch = broadcast_shapes(input.shape[:-2], other.shape[:-2])
    left = input.expand(*batch, *input.shape[-2:]).reshape(-1, *input.shape[-2:])
    right = other.expand(*batch, *other.shape[-2:]).reshape(-1, *other.shape[-2:])
    return bmm(left, right).reshape(*batch, input.shape[-2], other.shape[-1])


def _own_parts(name: str) -> Callable[..., Any]:
    """A body that is made of operators, called as it is."""
    return lambda *args: OPERATORS[name].run_body(args)


_IN_PARTS: dict[str, Callable[..., Any]] = {
    "linear": _linear,
    "matmul": _matmul,
    **{name: _own_parts(name) for name in ("_linear_backward", "_matrix_backward", "_plain_attention")},
}


def in_parts(op: Operator, args: Sequence[Any]) -> Callable[..., Any] | None:
    """What computes a call of an operator by others, where PyTorch has it made of them; None for one of its own."""
    if op.name == "slice" and _regular(args[1]):
        cuts, picked = len(_cuts(*args)), sum(not terms for _, terms in args[1])
        made = len(args[2]) - (len(args[1]) - picked)
        return None if cuts < 2 and not picked and not made else _cut
    return _IN_PARTS.get(op.name)
