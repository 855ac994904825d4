"""What several families of operators need: dimensions, shapes, reductions undone."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .. import primitives as prim
from ..device import device
from ..dispatch import call
from ..dispatch.argument_errors import FAULTS, blamed_function, with_dtypes
from ..dispatch.call import special
from ..dispatch.operator import OPERATORS
from ..dispatch.torch_function import modes, ordinary, overridden
from ..dtype import dtype
from ..layout import Size
from ..tensor import Tensor

__all__ = [
    "attach", "dim_of", "dims_of", "drop_dims", "each_once", "factory", "give", "need_tensor", "overridable",
    "shape_of", "times", "unreduce", "zeros_of",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., Any])


def each_once(t: Tensor) -> Tensor:
    """The elements of a tensor without those that `expand` repeated: such dimensions have one element."""
    for d, (n, step) in enumerate(zip(t._layout.shape, t._layout.strides)):
        if n > 1 and step == 0:
            t = OPERATORS["narrow"].function(t, d, 0, 1)
    return t


def attach(cls: type, members: dict[str, Any]) -> None:
    """Gives a class these members; functions of a file take their public name."""
    for name, member in members.items():
        if not isinstance(member, (classmethod, staticmethod)):
            member.__name__ = member.__qualname__ = name
        setattr(cls, name, member)


def dim_of(dim: int, ndim: int, name: str = "") -> int:
    """A dimension counted from the front; raises IndexError outside ``[-ndim, ndim)`` (a 0-dim tensor has one),
    TypeError for other than ints."""
    if isinstance(dim, bool) or not hasattr(dim, "__index__"):
        raise TypeError(f"{name}(): argument 'dim' must be int, not {type(dim).__name__}")
    dim = dim.__index__()
    size = max(ndim, 1)
    if not -size <= dim < size:
        raise IndexError(
            f"{name}(): Dimension out of range (expected to be in range of [{-size}, {size - 1}], but got {dim})"
        )
    return dim % size


def need_tensor(name: str, *operands: object) -> None:
    """Raises TypeError if none of the operands is a tensor (a number that is being traced is none)."""
    if not any(isinstance(x, Tensor) and not x._weak for x in operands):
        kind = type(operands[0]).__name__ if not isinstance(operands[0], Tensor) else "Number"
        raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {kind}")


def dims_of(dim: int | Sequence[int] | None, ndim: int, name: str = "") -> tuple[int, ...]:
    """The dimensions meant by an argument ``dim`` of a reduction: all for None and for an empty sequence.

    Raises RuntimeError for a dimension named twice.
    """
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(ndim))
    if not isinstance(dim, (tuple, list)):
        dim = (dim,)  # type: ignore[assignment]
    found = tuple(dim_of(d, ndim, name) for d in dim)  # type: ignore[union-attr]
    if len(set(found)) != len(found):
        twice = next(d for d in found if found.count(d) > 1)
        raise RuntimeError(f"{name}(): dim {twice} appears multiple times in the list of dims")
    return tuple(d for d in found if d < ndim)


def drop_dims(x: Tensor, dims: Sequence[int], keepdim: bool) -> Tensor:
    """Removes dimensions of size 1 while an operator is traced, unless they are to be kept."""
    if keepdim or not dims:
        return x
    shape = [n for d, n in enumerate(x.shape) if d not in dims]
    return prim.wrap(prim.current().graph.reshape(prim.read(x), shape))


def unreduce(grad: Tensor, dim: int | Sequence[int] | None, keepdim: bool, shape: Size) -> Tensor:
    """Spreads the gradient of a reduction over the dimensions that it took away."""
    if not keepdim and shape:
        dims = dims_of(dim, len(shape))
        kept = [1 if d in dims else n for d, n in enumerate(shape)]
        grad = grad.reshape(kept)  # type: ignore[attr-defined]
    return grad.expand(shape)  # type: ignore[attr-defined,no-any-return]


def zeros_of(grad: Tensor) -> Tensor:
    """Zeros like a gradient, infinite and NaN ones too; an operator that is being traced can call it."""
    return OPERATORS["zero"].function(grad)  # type: ignore[no-any-return]


def times(factor: Tensor | None, x: Tensor) -> Tensor:
    """``factor * x`` in the type of ``x``, while an operator is traced; None stands for 1.

    Raises RuntimeError for a complex factor of real numbers.
    """
    if factor is None:
        return x
    if factor.dtype.is_complex and not x.dtype.is_complex:
        raise RuntimeError(f"value cannot be converted to type {x.dtype} without overflow: the factor is complex")
    return prim.apply("and" if x.dtype.kind == "b" else "mul", prim.cast(factor, x.dtype), x)


_INTS = frozenset({int})


def shape_of(size: Sequence[object], name: str) -> Size:
    """The shape meant by ``*size`` arguments: ints, or one sequence of ints.  Raises TypeError otherwise."""
    if len(size) == 1 and isinstance(size[0], (tuple, list)):
        size = size[0]
        if size.__class__ is Size:
            return size
    if _INTS.issuperset(map(type, size)):
        return tuple.__new__(Size, size)
    try:
        return Size(size)  # type: ignore[arg-type]
    except (AttributeError, TypeError):
        bad = next((s for s in size if not hasattr(s, "__index__") or isinstance(s, Tensor)), size)
        raise TypeError(
            f"{name}(): argument 'size' must be tuple of ints, but found element of type {type(bad).__name__}"
        ) from None


def infer_size(shape: Sequence[int], numel: int, name: str) -> Size:
    """Replaces a -1 in a requested shape; raises RuntimeError when ``numel`` elements cannot have it."""
    unknown = [i for i, n in enumerate(shape) if n == -1]
    if len(unknown) > 1:
        raise RuntimeError(
            f"{name}: only one dimension can be inferred, but shape {list(shape)} has {len(unknown)} of -1"
        )
    if any(n < -1 for n in shape):
        raise RuntimeError(f"invalid shape dimension {min(shape)}")
    known = math.prod(n for n in shape if n != -1)
    if unknown:
        if known == 0:
            if numel == 0:
                raise RuntimeError(
                    f"cannot reshape tensor of 0 elements into shape {list(shape)} because the "
                    "unspecified dimension size -1 can be any value and is ambiguous"
                )
        elif numel % known == 0:
            return Size(numel // known if n == -1 else n for n in shape)
    elif known == numel:
        return Size(shape)
    raise RuntimeError(f"{name}: shape '{list(shape)}' is invalid for input of size {numel}")


def give(made: Tensor, out: Tensor) -> Tensor:
    """Puts a result into ``out``, which gets its shape; returns ``out``."""
    if out.shape != made.shape:
        out.resize_(made.shape)  # type: ignore[attr-defined]
    return out.copy_(made)  # type: ignore[attr-defined,no-any-return]


def _mended(form: Any, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception) -> Any:
    """The result of a call that failed because a Python type (``dtype=float``) stands for an element type; raises what
    is wrong with any other."""
    plain = with_dtypes((*args, *kwargs.values()))
    if plain is None:
        raise blamed_function(function, args, kwargs, error)
    return form(*plain[: len(args)], **dict(zip(kwargs, plain[len(args) :])))


def blaming(function: F) -> F:
    """Makes a plain function say which of its arguments was wrong where Python cannot go on (`misuse`)."""

    @functools.wraps(function)
    def form(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except FAULTS as error:
            return _mended(form, function, args, kwargs, error)

    return form  # type: ignore[return-value]


def factory(function: F) -> F:
    """Makes a function that makes a tensor from nothing ask the modes that are entered (`overriding.modes`, and those
    below the tape): of its arguments none has a say."""

    @functools.wraps(function)
    def form(*args: Any, **kwargs: Any) -> Any:
        if special:
            if modes.stack:
                result = overridden(form, (), kwargs, None, args)
                if result is not NotImplemented:
                    return result
            if call.below_function is not None:
                result = call.below_function(function.__name__, "default", args, kwargs)
                if result is not NotImplemented:
                    return result
        try:
            return function(*args, **kwargs)
        except FAULTS as error:
            return _mended(form, function, args, kwargs, error)

    return form  # type: ignore[return-value]


_single = frozenset({Tensor, bool, int, float, complex, str, type(None), Size, dtype, device}).issuperset
"""Whether arguments are ordinary and have no parts that might not be."""


def overridable(function: F, module: str = "flambeau") -> F:
    """Makes a function that is no operator ask the classes of its arguments that have ``__torch_function__``.

    ``module`` is where users find it, and how graphs of calls name it.
    """

    @functools.wraps(function)
    def form(*args: Any, **kwargs: Any) -> Any:
        given = (*args, *kwargs.values()) if kwargs else args
        if (special or not _single(map(type, given))) and (
            special
            or not ordinary(map(type, given))
            or not all(ordinary(map(type, a)) for a in given if a.__class__ in (list, tuple))
        ):
            result = overridden(form, given, kwargs, None, args)
            if result is not NotImplemented:
                return result
        try:
            return function(*args, **kwargs)
        except FAULTS as error:
            return _mended(form, function, args, kwargs, error)

    form.__module__ = module
    return form  # type: ignore[return-value]
