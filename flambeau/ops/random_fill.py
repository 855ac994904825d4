"""Filling tensors with random numbers: the order in which they are drawn, and the methods that fill in place.

The numbers are PyTorch's for the same seed, bit for bit (see ``template/random.py``).  They are drawn when the operator
is called, also while others are deferred, so that the stream never depends on what is computed when.  A tensor is
filled in the order of its memory.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import device as devices
from .. import generator as draw
from .. import primitives as prim
from ..autograd import tape
from ..autograd.mode import no_grad
from ..autograd.mode import state as grad_state
from ..deferred import steps
from ..deferred.deferral import Deferral, deferral
from ..dispatch.call import special
from ..dispatch.operator import Operand, Operator, operator
from ..dtype import dtype as dtype_
from ..generator import Generator
from ..layout import Layout, dense, of
from ..promotion import TITLES
from ..tensor import Tensor, address, contiguous, view, zero
from ..tensor import empty as allocate
from ..transform.level import RANDOM_ERROR, Batched, Dual, Level, Wrapper, blank, blank_like, levels, outside_levels

__all__ = ["check_generator", "fill_in_order", "fresh", "like_members", "need", "number", "row_major", "title"]


FLOATS = ("f16", "bf16", "f32", "f64")
INTEGERS = ("u8", "i8", "i16", "i32", "i64")
DIGITS = {"f16": 11, "bf16": 8, "f32": 24, "f64": 53}  # integers up to 2**digits are exact
_LIMITS = {"f16": 65504.0, "bf16": 3.3895313892515355e38, "f32": 3.4028234663852886e38, "f64": 1.7976931348623157e308}
_C_NAMES = {
    "b1": "bool", "u8": "unsigned char", "i8": "signed char", "i16": "short int", "i32": "int", "i64": "long int",
    "u16": "short unsigned int", "u32": "unsigned int", "u64": "long unsigned int", "f16": "c10::Half",
    "bf16": "c10::BFloat16", "f32": "float", "f64": "double", "c32": "c10::complex<c10::Half>",
    "c64": "c10::complex<float>", "c128": "c10::complex<double>",
}  # fmt: skip
# type -> the lowest and the highest number, and the highest up to which all integers are there
_RANGES: dict[str, tuple[float, float, int]] = {
    **{code: (-limit, limit, 2 ** DIGITS[code]) for code, limit in _LIMITS.items()},
    **{f"i{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"u{bits}": (0, 2**bits - 1, 2**bits - 1) for bits in (8, 16, 32, 64)},
    "b1": (0, 1, 1),
}
_Fill = Callable[..., object]  # of address, number of elements, addresses of parameters


def title(type_: dtype_) -> str:
    """PyTorch's name of an element type in messages ("Float")."""
    return TITLES.get(type_.name, type_.name.capitalize().replace("Uint", "UInt"))


def need(what: str, type_: dtype_, codes: tuple[str, ...] = FLOATS) -> None:
    """Raises NotImplementedError if ``type_`` is none of these (by default the floating-point types)."""
    if type_.code not in codes:
        raise NotImplementedError(f"\"{what}\" not implemented for '{title(type_)}'")


def number(name: str, argument: str, value: Any) -> float:
    """A parameter as a Python float: a number or a tensor of one element.  Raises TypeError otherwise."""
    if value.__class__ is float:
        return value
    if isinstance(value, Tensor) and value._layout.numel == 1:
        value = value.item()  # type: ignore[attr-defined]
    if not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name}(): argument '{argument}' must be float, not {type(value).__name__}")
    return float(value)


def integer(name: str, argument: str, value: Any) -> int:
    """A number or a tensor of one integer as an int; raises TypeError for others."""
    if isinstance(value, Tensor) and value._layout.numel == 1 and value.dtype.kind in "bui":
        value = value.item()  # type: ignore[attr-defined]
    if not hasattr(value, "__index__"):
        raise TypeError(f"{name}(): argument '{argument}' must be int, not {type(value).__name__}")
    return int(value.__index__())


def check_generator(name: str, generator: Any) -> None:
    """Raises TypeError for other than a generator or None."""
    if generator is not None and not isinstance(generator, Generator):
        raise TypeError(f"{name}(): argument 'generator' must be torch.Generator, not {type(generator).__name__}")


# -- fills in place ----------------------------------------------------------------------------------


def _memory_order(strides: tuple[int, ...]) -> list[int]:
    """The dimensions from the longest stride to the shortest."""
    return sorted(range(len(strides)), key=lambda d: (-strides[d], d))


def fill_in_order(target: Tensor, fill: _Fill, *parameters: Tensor) -> None:
    """Runs a fill over the elements of ``target``, in the order of its memory.

    ``parameters`` have an element for each of those, in the same order; the fill gets their addresses as well.
    """
    plain = target._key
    if plain is not None and plain.contiguous and plain.device is devices.cpu and not (
        parameters or levels.stack or Deferral.reading or not plain.numel
    ):  # fmt: skip
        fill(target._storage.ptr + target._offset * plain.itemsize, plain.numel)
        return
    if levels.stack:
        _fill_members(target, fill, parameters, levels.stack)
        return
    if parameters:
        held = [row_major(p) for p in parameters]
        whole, addresses = fill, [address(p) for p in held]
        fill = lambda at, n: whole(at, n, *addresses)  # noqa: E731
    layout = target._layout
    recorder = deferral()
    if recorder.arguments and recorder.reads(target._storage):
        recorder.flush()
    if layout.dense and layout.numel and layout.device is devices.cpu:
        if parameters:
            fill(address(target), layout.numel)
        else:
            steps.draw(target, fill)
        return
    if layout.overlapping and layout.numel > 1:
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
            "Please clone() the tensor before performing the operation."
        )
    if layout.device is devices.meta or not layout.numel:
        return
    order = _memory_order(layout.strides)
    shape, strides = [layout.shape[d] for d in order], [layout.strides[d] for d in order]
    drawn = contiguous(layout.dtype, shape, layout.device)
    fill(address(drawn), layout.numel)
    with no_grad():
        view(target, shape, strides, target._offset).copy_(drawn)  # type: ignore[attr-defined]


def _fill_members(target: Tensor, fill: _Fill, parameters: Sequence[Tensor], stack: Sequence[Level]) -> None:
    """``fill_in_order`` inside of function transforms, of which the innermost is the last of ``stack``: as its
    randomness says, the numbers are drawn once or for each member of its batch."""
    if not stack:
        with outside_levels():
            fill_in_order(target, fill, *parameters)
        return
    *outer, level = stack
    if level.size < 0:
        if isinstance(target, Dual) and target._level is level:
            if target._tangent is not None:
                target._tangent.zero_()  # type: ignore[attr-defined]
            target = target._value
        plain = [p._value if isinstance(p, Dual) and p._level is level else p for p in parameters]
        _fill_members(target, fill, plain, outer)
        return
    batched = isinstance(target, Batched) and target._level is level and target._bdim is not None
    if level.randomness == "error":
        raise RuntimeError(RANDOM_ERROR)
    if level.randomness == "different":
        if not batched:
            raise RuntimeError(
                "vmap: Cannot ask for different inplace randomness on an unbatched tensor. This will appear like same "
                "randomness. If this is necessary for your usage, please file an issue with functorch."
            )
        assert isinstance(target, Batched)
        drawn = target._value
        if target._bdim != 0 or parameters:
            drawn = blank_like(drawn, target.dtype, (level.size, *target.shape), target.device)
        _fill_members(drawn, fill, [_members_of(p, level) for p in parameters], outer)
        if drawn is not target._value:
            with outside_levels(outer):
                target._value.copy_(drawn.movedim(0, target._bdim))  # type: ignore[attr-defined]
        return
    if any(isinstance(p, Batched) and p._level is level and p._bdim is not None for p in parameters):
        raise RuntimeError("Vmap does not currently support same randomness with a batched tensor input")
    inner = [p._value if isinstance(p, Batched) and p._level is level else p for p in parameters]
    if isinstance(target, Batched) and target._level is level:
        once = blank_like(target._value, target.dtype, target.shape, target.device)
        _fill_members(once, fill, inner, outer)
        target.copy_(once)  # type: ignore[attr-defined]
    else:
        _fill_members(target, fill, inner, outer)


def _members_of(p: Tensor, level: Level) -> Tensor:
    """A parameter for all members of a batch, in front of each other."""
    value, bdim = (p._value, p._bdim) if isinstance(p, Batched) and p._level is level else (p, None)
    with no_grad():
        if bdim is None:
            return value.expand((level.size, *value.shape))  # type: ignore[attr-defined,no-any-return]
        return value.movedim(bdim, 0)  # type: ignore[attr-defined,no-any-return]


def fresh(layout: Layout) -> Tensor:
    """An uninitialised tensor to be filled with random numbers: others for each member of every batch that asks for
    it."""
    sizes = [level.size for level in levels.stack if level.randomness == "different" and level.size >= 0]
    if not sizes:
        return allocate(layout)
    inside = layout.span if layout.numel else 1
    steps = [inside * math.prod(sizes[i + 1 :]) for i in range(len(sizes))]
    t = allocate(of(layout.dtype, layout.device, (*sizes, *layout.shape), (*steps, *layout.strides)))
    for level in levels.stack:
        if level.randomness == "different" and level.size >= 0:
            t = Batched.of(t, 0, level)
    return t


def zero_derivative(op: Operator) -> Operator:
    """Gives an operator the derivative of random numbers by anything: zero."""
    op.random = True
    names = [op.params[i] for i in op.tensors]

    def zeros(ctx: Any, *grads: Any) -> list[Tensor | None]:
        layouts = [getattr(ctx, name) for name in names]
        return [zero(contiguous(x.dtype, x.shape, x.device)) if hasattr(x, "dtype") else None for x in layouts]

    op.gradient()(zeros)
    return op


def _inplace(body: Callable[..., None]) -> Operator:
    """Makes a body that fills its first argument a method: it is recorded as a write, and returns the tensor."""
    op = zero_derivative(operator(kind="eager", method=False, function=False, out=False, differentiable=False)(body))

    @functools.wraps(body)
    def recorded(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        check_generator(op.name, kwargs["generator"])
        arguments = (self, *args, *kwargs.values())
        wanted = grad_state.grad and any(isinstance(a, Tensor) and a._requires_grad for a in arguments)
        node = tape.before_inplace(op, arguments) if wanted else None
        body(self, *args, **kwargs)
        self._storage.version += 1
        if node is not None:
            tape.after_inplace(node, self)
        return self

    op.body = recorded

    @functools.wraps(body)
    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if kwargs:
            check_generator(op.name, kwargs.get("generator"))
        plain = self._key is not None and not self._requires_grad and not special and not prim.tracing()
        if not plain or (args and isinstance(args[0], Tensor)) or "p" in kwargs:
            return op.function(self, *args, **kwargs)
        body(self, *args, **kwargs)
        self._storage.version += 1
        return self

    setattr(Tensor, op.name, method)
    return op


@_inplace
def uniform_(self: Tensor, from_: Any = 0.0, to: Any = 1.0, *, generator: Generator | None = None) -> None:
    """Fills with uniform numbers in [from, to).

    Raises NotImplementedError for other than floating-point (and complex) types, RuntimeError for bounds that are not
    finite or in the wrong order.
    """
    fill_uniform(self, number("uniform_", "from", from_), number("uniform_", "to", to), generator)


def fill_uniform(target: Tensor, low: float, high: float, generator: Generator | None) -> None:
    """Fills with numbers from ``low`` to below ``high``, both parts of complex ones; RuntimeError for bounds that the
    type does not hold."""
    type_ = target.dtype
    parts = 1
    if type_.is_complex:
        parts, type_ = 2, type_.to_real()
    code = type_.code
    need("check_uniform_bounds", type_)
    limit = _LIMITS[code]
    if not (-limit <= low <= high <= limit and high - low <= limit):
        raise _bad_range(type_, low, high)
    fill_in_order(target, lambda p, n: draw.fill_uniform(generator, p, n * parts, code, low, high))


def _bad_range(type_: dtype_, low: float, high: float) -> RuntimeError:
    """What is wrong with the bounds of uniform numbers."""
    for name, value in (("from", low), ("to", high)):
        if not abs(value) <= _LIMITS[type_.code]:
            return RuntimeError(f"{name} is out of bounds for {_C_NAMES[type_.code]}: uniform_ got {name}={value:g}")
    if low > high:
        return RuntimeError(f"uniform_ expects to return a [from, to) range, but found from={low:g} > to={high:g}")
    return RuntimeError(
        f"uniform_ expects to-from <= std::numeric_limits<{title(type_)}>::max(), but found to={high:g} and "
        f"from={low:g} which result in to-from to exceed the limit"
    )


def fill_normal(target: Tensor, mean: float, std: float, generator: Generator | None) -> None:
    """Fills with normal numbers; the parts of complex ones have half of the variance each.  RuntimeError for a negative
    ``std``."""
    type_ = target._layout.dtype
    if not std >= 0:
        raise RuntimeError(f"normal expects std >= 0.0, but found std {std:g}")
    parts = 1
    if type_.is_complex:
        parts, std, type_ = 2, std / math.sqrt(2.0), type_.to_real()
    need("normal_kernel_cpu", type_)
    blocks = target._layout.contiguous
    fill_in_order(target, lambda p, n: draw.fill_normal(generator, p, n * parts, type_.code, mean, std, blocks=blocks))


@_inplace
def normal_(self: Tensor, mean: Any = 0.0, std: Any = 1.0, *, generator: Generator | None = None) -> None:
    """Fills with normal numbers of this mean and standard deviation (of a complex number: of both parts together).

    Raises NotImplementedError for integer types, RuntimeError for a negative ``std``.
    """
    fill_normal(self, number("normal_", "mean", mean), number("normal_", "std", std), generator)


@_inplace
def log_normal_(self: Tensor, mean: Any = 1.0, std: Any = 2.0, *, generator: Generator | None = None) -> None:
    """Fills with numbers whose logarithm is normal, of this mean and standard deviation (RuntimeError unless > 0)."""
    centre, width = number("log_normal_", "mean", mean), number("log_normal_", "std", std)
    if not width > 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={width:g}")
    code = self.dtype.code
    need("log_normal_cpu", self.dtype)
    fill_in_order(self, lambda p, n: draw.fill_log_normal(generator, p, n, code, centre, width))


def _need_floating(distribution: str, type_: dtype_, spelled: str) -> None:
    """Raises RuntimeError unless a type, as PyTorch spells it there, can hold a continuous distribution's numbers."""
    if type_.kind != "f":
        raise RuntimeError(
            f"{distribution} distribution is a continuous probability distribution. dtype must be a floating point but "
            f"you specified {spelled}"
        )


@_inplace
def exponential_(self: Tensor, lambd: Any = 1.0, *, generator: Generator | None = None) -> None:
    """Fills with exponential numbers of mean 1 / lambd; RuntimeError unless it is positive and the type floating."""
    rate, code = number("exponential_", "lambd", lambd), self.dtype.code
    _need_floating("Exponential", self.dtype, title(self.dtype))
    if not rate > 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={rate:g}")
    need("exponential_cpu", self.dtype)
    fill_in_order(self, lambda p, n: draw.fill_exponential(generator, p, n, code, rate))


@_inplace
def cauchy_(self: Tensor, median: Any = 0.0, sigma: Any = 1.0, *, generator: Generator | None = None) -> None:
    """Fills with Cauchy numbers; raises RuntimeError unless ``sigma`` is positive and the type floating."""
    centre, width, code = number("cauchy_", "median", median), number("cauchy_", "sigma", sigma), self.dtype.code
    _need_floating("Cauchy", self.dtype, _C_NAMES[code])
    if not width > 0:
        raise RuntimeError(f"cauchy_ expects sigma > 0.0, but found sigma={width:g}")
    need("cauchy_cpu", self.dtype)
    fill_in_order(self, lambda p, n: draw.fill_cauchy(generator, p, n, code, centre, width))


@_inplace
def geometric_(self: Tensor, p: Any, *, generator: Generator | None = None) -> None:
    """Fills with the number of trials up to the first success of probability ``p``; RuntimeError unless 0 < p < 1."""
    chance, code = number("geometric_", "p", p), self.dtype.code
    if not 0 < chance < 1:
        raise RuntimeError(f"geometric_ expects p to be in (0, 1), but got p={chance:g}")
    need("geometric_cpu", self.dtype, FLOATS + INTEGERS)
    fill_in_order(self, lambda at, n: draw.fill_geometric(generator, at, n, code, chance))


@_inplace
def bernoulli_(self: Tensor, p: Operand = 0.5, *, generator: Generator | None = None) -> None:
    """Fills with 1 where a trial of probability ``p`` succeeds, else 0.

    ``p`` is a number, or a tensor that expands to this shape.

    Raises RuntimeError for probabilities not from 0 to 1.
    """
    allowed, code = (*FLOATS, *INTEGERS, "b1"), self.dtype.code
    if isinstance(p, Tensor):
        need("bernoulli_tensor_cpu_self_", self.dtype, allowed)
        need("bernoulli_tensor_cpu_p_", p.dtype)
        if p.ndim > self.ndim:
            raise RuntimeError(
                f"bernoulli_: p of shape {list(p.shape)} does not expand to {list(self.shape)}: the number of sizes "
                f"({self.ndim}) must be greater or equal to the number of dimensions of p ({p.ndim})"
            )
        with no_grad():
            spread = p.expand(self.shape)  # type: ignore[attr-defined]
            chances = spread.permute(_memory_order(self._layout.strides))

        def each(at: int, n: int, chance: int) -> None:
            if not draw.fill_bernoulli_each(generator, at, n, code, chance, p.dtype.code):
                raise RuntimeError("bernoulli_ expects p to be in [0, 1], but an element of p is not")

        fill_in_order(self, each, chances)
        return
    if not isinstance(p, (int, float)):
        raise TypeError(f"bernoulli_(): argument 'p' (position 2) must be float, not {type(p).__name__}")
    chance = float(p)
    if not 0 <= chance <= 1:
        raise RuntimeError(f"bernoulli_ expects p to be in [0, 1], but got p={chance:g}")
    need("bernoulli_scalar_cpu_", self.dtype, allowed)
    fill_in_order(self, lambda at, n: draw.fill_bernoulli(generator, at, n, code, chance))


class _Missing:
    """Stands for an argument that was not given."""

    def __repr__(self) -> str:
        return "<not given>"


_MISSING = _Missing()


@_inplace
def random_(self: Tensor, from_: Any = _MISSING, to: Any = _MISSING, *, generator: Generator | None = None) -> None:
    """Fills with integers from ``from`` up to and without ``to``.

    ``random_(to)`` starts at 0; ``random_(from, None)`` ends at the largest number of the type; ``random_()`` draws
    from 0 to the largest number up to which the type represents all integers.  Raises RuntimeError for bounds out of
    order or beyond the type.
    """
    type_ = self.dtype
    code = type_.code
    if from_ is _MISSING and to is _MISSING:
        need("random_kernel_cpu", type_, (*FLOATS, *INTEGERS, "b1"))
        fill_in_order(self, lambda p, n: draw.fill_random(generator, p, n, code))
        return
    if to is _MISSING:
        from_, to = 0, from_
    low = 0 if from_ is _MISSING else integer("random_", "from", from_)
    fill_integers(self, low, None if to is None else integer("random_", "to", to), generator)


def fill_integers(target: Tensor, low: int, high: int | None, generator: Generator | None) -> None:
    """Integers from ``low`` up to and without ``high`` (None: as far as the type goes)."""
    type_ = target.dtype
    code = type_.code
    if code not in _RANGES:
        if type_.is_complex:
            raise RuntimeError(
                f"check_random_bounds handles only integral, floating-point and boolean types, not {type_}"
            )
        need("random_update_from_to", type_, ())
    least, most, last = _RANGES[code]
    if high is not None:
        if low >= high:
            raise RuntimeError(f"random_ expects 'from' to be less than 'to', but got from={low} >= to={high}")
        if type_.kind == "f":
            low, high = _representable(type_, low, high)
            if low >= high:
                raise RuntimeError(
                    "random_ expects 'from' casted to dtype to be less than 'to' casted to dtype, but got "
                    f"from={low} >= to={high}"
                )
    end = last + 1 if high is None else high
    for name, value in (("from", low), ("to - 1", end - 1)):
        if not least <= value <= most:
            raise RuntimeError(f"{name} is out of bounds for {_C_NAMES[code]}")
        if type_.kind == "f" and abs(value) > last:
            warnings.warn(
                f"{name} is out of bounds [-(2^{DIGITS[code]}), 2^{DIGITS[code]}]. Due to precision limitations "
                f"{_C_NAMES[code]} can support discrete uniform distribution only within this range.",
                stacklevel=4,
            )
    fill_in_order(target, lambda p, n: draw.fill_integers(generator, p, n, code, low, end))


def _representable(type_: dtype_, low: int, high: int) -> tuple[int, int]:
    """Bounds moved inwards where the type rounds ``low + 1`` below ``low``, or ``high - 1`` up to ``high``."""
    digits = DIGITS[type_.code]

    def rounded(value: int) -> int:
        narrow = np.float64(value) if type_.code == "f64" else np.float32(value)
        found = float(narrow.astype(type_.numpy))
        return int(found) if math.isfinite(found) else value

    above, below = rounded(low + 1), rounded(high - 1)
    if above < low:
        low = above + (1 << (abs(low + 1).bit_length() - digits))
    if below >= high:
        high = below - (1 << (abs(high - 1).bit_length() - digits))
    return low, high


# -- given distributions -----------------------------------------------------------------------------


def like_members(input: Tensor) -> Tensor:
    """An uninitialised contiguous tensor like ``input``, to be filled with random numbers of its elements' own."""
    layout = dense(input.dtype, input.shape, input.device)
    return blank(input, layout) if isinstance(input, Wrapper) else fresh(layout)


def row_major(input: Tensor) -> Tensor:
    """The elements in row-major order, as a kernel reads them."""
    with no_grad():
        return input.detach().contiguous()  # type: ignore[attr-defined]
