"""Factories of random tensors: uniform and normal numbers, integers, permutations (see ``random_fill`` for how they are
drawn)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import device as devices
from .. import generator as draw
from ..autograd.mode import no_grad
from ..deferred.deferral import Deferral
from ..dispatch.callforms import call_forms
from ..dispatch.operator import Operand, operator
from ..dtype import dtype as dtype_
from ..dtype import int64
from ..generator import Generator
from ..graph.node import broadcast_shapes
from ..tensor import Tensor, contiguous
from ..tensor import empty as allocate
from ..transform.level import levels
from .common import factory, give, overridable, shape_of
from .convert import memory_format, preserve_format
from .create import empty, empty_like, fresh_layout
from .random_fill import (
    DIGITS,
    FLOATS,
    INTEGERS,
    check_generator,
    fill_in_order,
    fill_integers,
    fill_normal,
    fill_uniform,
    fresh,
    integer,
    need,
    number,
    title,
    zero_derivative,
)

__all__ = ["normal", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm"]


def _made(
    name: str,
    shape: tuple[Any, ...],
    out: Tensor | None,
    dtype: dtype_ | None,
    device: Any,
    generator: Any,
    pin_memory: bool,
) -> Tensor:
    """The tensor that a factory fills: ``out``, or a fresh one."""
    if generator is not None:
        check_generator(name, generator)
    if pin_memory:
        raise RuntimeError(f"{name}: pin_memory=True requires an accelerator; there is no pinned memory on this system")
    if out is None:
        found = fresh_layout(name, shape, dtype, device)
        if found is not None:
            return fresh(found) if levels.stack else allocate(found)
    return empty(shape_of(shape, name), out=out, dtype=dtype, device=device)


def _filled(
    t: Tensor, requires_grad: bool, fill: Callable[..., None], *arguments: Any, written: bool = False
) -> Tensor:
    """Fills a fresh tensor, or one given as ``out`` (``written``), which may be on the tape."""
    if t._requires_grad:
        raise RuntimeError("functions with out=... arguments don't support automatic differentiation")
    fill(t, *arguments)
    if written:
        t._storage.version += 1
    return t.requires_grad_(True) if requires_grad else t  # type: ignore[attr-defined]


def _floats(
    name: str, fill: Callable[..., None], slow: Callable[..., None], size: tuple[Any, ...], out: Tensor | None,
    dtype: dtype_ | None, device: Any, generator: Generator | None, requires_grad: bool, pin_memory: bool,
) -> Tensor:  # fmt: skip
    """A factory's numbers: ``fill`` makes them in fresh memory at once where nothing speaks against it, otherwise
    ``slow`` does, a fill of tensors with the parameters 0 and 1."""
    if out is None and generator is None and not (pin_memory or levels.stack or Deferral.reading):
        found = fresh_layout(name, size, dtype, device)
        if found is not None and found.device is devices.cpu and found.numel and found.dtype.code in FLOATS:
            t = allocate(found)
            fill(None, t._storage.ptr, found.numel, found.dtype.code)
            return t.requires_grad_(True) if requires_grad else t  # type: ignore[attr-defined,no-any-return]
    made = _made(name, size, out, dtype, device, generator, pin_memory)
    return _filled(made, requires_grad, slow, 0.0, 1.0, generator, written=out is not None)


@factory
def rand(
    *sizes: Any, size: Any = None,
    generator: Generator | None = None, out: Tensor | None = None, dtype: dtype_ | None = None,
    layout: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Uniform numbers in [0, 1) in this shape; raises NotImplementedError for integer types."""
    return _floats(
        "rand", draw.fill_uniform, fill_uniform, sizes if size is None else (size,), out, dtype, device, generator,
        requires_grad, pin_memory,
    )  # fmt: skip


@factory
def randn(
    *sizes: Any, size: Any = None,
    generator: Generator | None = None, out: Tensor | None = None, dtype: dtype_ | None = None,
    layout: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Normal numbers of mean 0 and standard deviation 1 in this shape; raises NotImplementedError for integer types."""
    return _floats(
        "randn", draw.fill_normal, fill_normal, sizes if size is None else (size,), out, dtype, device, generator,
        requires_grad, pin_memory,
    )  # fmt: skip


def _bounds(name: str, low: Any, high: Any, size: Any) -> tuple[int, int, Any]:
    """The arguments of ``randint(low, high, size)`` and ``randint(high, size)``, told apart."""
    if size is None and isinstance(high, (tuple, list)):
        low, high, size = 0, low, high
    elif high is None and low is not None:
        low, high = 0, low
    return integer(name, "low", 0 if low is None else low), integer(name, "high", high), size


@factory
@call_forms(
    "randint(low, high, size, *, generator=None, out=None, dtype=None, layout=torch.strided, device=None, "
    "requires_grad=False)",
    "randint(high, size, *, generator=None, out=None, dtype=None, layout=torch.strided, device=None, "
    "requires_grad=False)",
)
def randint(
    low: Any = None, high: Any = None, size: Any = None, *, generator: Generator | None = None,
    out: Tensor | None = None, dtype: dtype_ | None = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Integers from ``low`` (0 if not given) up to and without ``high`` in the shape ``size``, by default int64."""
    first, end, shape = _bounds("randint", low, high, size)
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"randint(): argument 'size' must be tuple of ints, not {type(shape).__name__}")
    if dtype is None and out is None:
        dtype = int64
    t = _made("randint", (shape,), out, dtype, device, generator, pin_memory)
    return _filled(t, requires_grad, fill_integers, first, end, generator, written=out is not None)


@overridable
def rand_like(
    input: Tensor, *, generator: Generator | None = None, dtype: dtype_ | None = None, layout: Any = None,
    device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
    memory_format: memory_format = preserve_format,
) -> Tensor:  # fmt: skip
    """Uniform numbers in [0, 1) in the shape (and by default of the type) of ``input``."""
    t = empty_like(input, dtype=dtype, device=device, memory_format=memory_format)
    return _filled(t, requires_grad, fill_uniform, 0.0, 1.0, generator)


@overridable
def randn_like(
    input: Tensor, *, generator: Generator | None = None, dtype: dtype_ | None = None, layout: Any = None,
    device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
    memory_format: memory_format = preserve_format,
) -> Tensor:  # fmt: skip
    """Normal numbers of mean 0 and standard deviation 1 in the shape (and by default of the type) of ``input``."""
    t = empty_like(input, dtype=dtype, device=device, memory_format=memory_format)
    return _filled(t, requires_grad, fill_normal, 0.0, 1.0, generator)


@call_forms(
    "randint_like(input, low, high, *, generator=None, dtype=None, layout=torch.strided, device=None, "
    "requires_grad=False, memory_format=torch.preserve_format)",
    "randint_like(input, high, *, generator=None, dtype=None, layout=torch.strided, device=None, "
    "requires_grad=False, memory_format=torch.preserve_format)",
)
@overridable
def randint_like(
    input: Tensor, low: Any = None, high: Any = None, *, generator: Generator | None = None,
    dtype: dtype_ | None = None, layout: Any = None, device: Any = None, requires_grad: bool = False,
    pin_memory: bool = False,
    memory_format: memory_format = preserve_format,
) -> Tensor:  # fmt: skip
    """Integers from ``low`` (0 if not given) up to and without ``high`` in the shape (and type) of ``input``."""
    first, end, _ = _bounds("randint_like", low, high, ())
    t = empty_like(input, dtype=dtype, device=device, memory_format=memory_format)
    return _filled(t, requires_grad, fill_integers, first, end, generator)


@factory
def randperm(
    n: int, *, generator: Generator | None = None, out: Tensor | None = None, dtype: dtype_ | None = None,
    layout: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """0 to n - 1 in random order, int64 unless said otherwise; raises RuntimeError if the type does not hold n - 1."""
    n = integer("randperm", "n", n)
    if dtype is None:
        dtype = int64 if out is None else out.dtype
    if dtype.code in DIGITS and n > 2 ** DIGITS[dtype.code] + 1:
        raise RuntimeError(f"n cannot be greater than {2 ** DIGITS[dtype.code] + 1} for {title(dtype)} type.")
    if dtype.code in INTEGERS and n > np.iinfo(dtype.numpy).max:
        raise RuntimeError(f"randperm: value cannot be converted to type {dtype.name} without overflow: n={n}")
    t = _made("randperm", ((n,),), out, dtype, device, generator, pin_memory)
    need("randperm", dtype, FLOATS + INTEGERS)
    code = dtype.code
    fill = lambda p, count: draw.fill_permutation(generator, p, count, code)  # noqa: E731
    return _filled(t, requires_grad, fill_in_order, fill, written=out is not None)


@operator(name="normal", kind="eager", method=False, function=False, out=False)
def _normal_of(mean: Operand, std: Operand, *, generator: Generator | None = None) -> Tensor:
    """Normal numbers with the means and standard deviations of tensors."""
    where = mean if isinstance(mean, Tensor) else std
    shape = broadcast_shapes(*(tuple(t.shape) for t in (mean, std) if isinstance(t, Tensor)))
    with no_grad():
        result = contiguous(where.dtype, shape, where.device)
        if not isinstance(std, Tensor):
            return result.normal_(0.0, std, generator=generator).add_(mean)  # type: ignore[attr-defined]
        if std.dtype.is_complex:
            raise RuntimeError("normal expects standard deviation to be non-complex")
        if std.device is not devices.meta and not bool((std >= 0).all()):  # type: ignore[operator,attr-defined]
            raise RuntimeError("normal expects all elements of std >= 0.0")
        return result.normal_(generator=generator).mul_(std).add_(mean)  # type: ignore[attr-defined]


zero_derivative(_normal_of)


@factory
@call_forms(
    "normal(mean, std, *, generator=None, out=None)", "normal(mean, std=1.0, *, generator=None, out=None)",
    "normal(mean=0.0, std, *, generator=None, out=None)",
    "normal(mean, std, size, *, generator=None, out=None, dtype=None, layout=torch.strided, device=None, "
    "requires_grad=False)",
)  # fmt: skip
def normal(
    mean: Any = 0.0, std: Any = 1.0, size: Any = None, *, generator: Generator | None = None,
    out: Tensor | None = None, dtype: dtype_ | None = None, layout: Any = None, device: Any = None,
    requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Normal numbers: with the means and standard deviations of tensors, or of this ``size`` with those of numbers.

    Raises RuntimeError for a negative ``std``, TypeError without a size where both are numbers.
    """
    if isinstance(mean, Tensor) or isinstance(std, Tensor):
        check_generator("normal", generator)
        made = _normal_of.function(mean, std, generator=generator)
        return made if out is None else give(made, out)
    if not isinstance(size, (tuple, list)):
        raise TypeError(
            f"normal(): argument 'size' must be tuple of ints where mean and std are numbers, not {type(size).__name__}"
        )
    t = _made("normal", (size,), out, dtype, device, generator, pin_memory)
    centre, width = number("normal", "mean", mean), number("normal", "std", std)
    return _filled(t, requires_grad, fill_normal, centre, width, generator, written=out is not None)
