"""Random numbers: fills in place, factories, sampling from given distributions, dropout.

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
from ..call import special
from ..deferral import Deferral, deferral
from ..dtype import dtype as dtype_
from ..dtype import int64
from ..forms import call_forms
from ..generator import Generator
from ..graph.node import broadcast_shapes
from ..layout import Layout, dense, of
from ..operator import Operand, Operator, operator
from ..promotion import TITLES
from ..tensor import Tensor, address, contiguous, view, zero
from ..tensor import empty as allocate
from ..transform.level import RANDOM_ERROR, Batched, Dual, Level, Wrapper, blank, blank_like, levels, outside_levels
from .common import give, overridable, shape_of
from .convert import memory_format, preserve_format
from .create import empty, empty_like, fresh_layout

__all__ = ["normal", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm"]

_FLOATS = ("f16", "bf16", "f32", "f64")
_INTEGERS = ("u8", "i8", "i16", "i32", "i64")
_DIGITS = {"f16": 11, "bf16": 8, "f32": 24, "f64": 53}  # integers up to 2**digits are exact
_LIMITS = {"f16": 65504.0, "bf16": 3.3895313892515355e38, "f32": 3.4028234663852886e38, "f64": 1.7976931348623157e308}
_C_NAMES = {
    "b1": "bool", "u8": "unsigned char", "i8": "signed char", "i16": "short int", "i32": "int", "i64": "long int",
    "u16": "short unsigned int", "u32": "unsigned int", "u64": "long unsigned int", "f16": "c10::Half",
    "bf16": "c10::BFloat16", "f32": "float", "f64": "double", "c32": "c10::complex<c10::Half>",
    "c64": "c10::complex<float>", "c128": "c10::complex<double>",
}  # fmt: skip
# type -> the lowest and the highest number, and the highest up to which all integers are there
_RANGES: dict[str, tuple[float, float, int]] = {
    **{code: (-limit, limit, 2 ** _DIGITS[code]) for code, limit in _LIMITS.items()},
    **{f"i{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"u{bits}": (0, 2**bits - 1, 2**bits - 1) for bits in (8, 16, 32, 64)},
    "b1": (0, 1, 1),
}
_Fill = Callable[..., object]  # of address, number of elements, addresses of parameters


def title(type_: dtype_) -> str:
    """PyTorch's name of an element type in messages ("Float")."""
    return TITLES.get(type_.name, type_.name.capitalize().replace("Uint", "UInt"))


def need(what: str, type_: dtype_, codes: tuple[str, ...] = _FLOATS) -> None:
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


def _integer(name: str, argument: str, value: Any) -> int:
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
    if layout.contiguous and layout.numel and layout.device is devices.cpu:
        fill(address(target), layout.numel)
        return
    if layout.overlapping and layout.numel > 1:
        raise RuntimeError(
            "unsupported operation: more than one element of the written-to tensor refers to a single memory location. "
            "Please clone() the tensor before performing the operation."
        )
    if layout.device is devices.meta or not layout.numel:
        return
    if layout.dense:
        fill(address(target), layout.numel)
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


def _random(op: Operator) -> Operator:
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
    op = _random(operator(kind="eager", method=False, function=False, out=False, differentiable=False)(body))

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
    _uniform(self, number("uniform_", "from", from_), number("uniform_", "to", to), generator)


def _uniform(target: Tensor, low: float, high: float, generator: Generator | None) -> None:
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


def _normal(target: Tensor, mean: float, std: float, generator: Generator | None) -> None:
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
    _normal(self, number("normal_", "mean", mean), number("normal_", "std", std), generator)


@_inplace
def log_normal_(self: Tensor, mean: Any = 1.0, std: Any = 2.0, *, generator: Generator | None = None) -> None:
    """Fills with numbers whose logarithm is normal, of this mean and standard deviation (RuntimeError unless > 0)."""
    centre, width = number("log_normal_", "mean", mean), number("log_normal_", "std", std)
    if not width > 0:
        raise RuntimeError(f"log_normal_ expects std > 0.0, but found std={width:g}")
    code = self.dtype.code
    need("log_normal_cpu", self.dtype)
    fill_in_order(self, lambda p, n: draw.fill_log_normal(generator, p, n, code, centre, width))


@_inplace
def exponential_(self: Tensor, lambd: Any = 1.0, *, generator: Generator | None = None) -> None:
    """Fills with exponential numbers of mean 1 / lambd; RuntimeError unless it is positive and the type floating."""
    rate, code = number("exponential_", "lambd", lambd), self.dtype.code
    if self.dtype.kind != "f":
        raise RuntimeError(
            "Exponential distribution is a continuous probability distribution. dtype must be a floating point but you "
            f"specified {title(self.dtype)}"
        )
    if not rate > 0:
        raise RuntimeError(f"exponential_ expects lambda > 0.0, but found lambda={rate:g}")
    need("exponential_cpu", self.dtype)
    fill_in_order(self, lambda p, n: draw.fill_exponential(generator, p, n, code, rate))


@_inplace
def cauchy_(self: Tensor, median: Any = 0.0, sigma: Any = 1.0, *, generator: Generator | None = None) -> None:
    """Fills with Cauchy numbers; raises RuntimeError unless ``sigma`` is positive and the type floating."""
    centre, width, code = number("cauchy_", "median", median), number("cauchy_", "sigma", sigma), self.dtype.code
    if self.dtype.kind != "f":
        raise RuntimeError(
            "Cauchy distribution is a continuous probability distribution. dtype must be a floating point but you "
            f"specified {_C_NAMES[code]}"
        )
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
    need("geometric_cpu", self.dtype, _FLOATS + _INTEGERS)
    fill_in_order(self, lambda at, n: draw.fill_geometric(generator, at, n, code, chance))


@_inplace
def bernoulli_(self: Tensor, p: Operand = 0.5, *, generator: Generator | None = None) -> None:
    """Fills with 1 where a trial of probability ``p`` succeeds, else 0.

    ``p`` is a number, or a tensor that expands to this shape.

    Raises RuntimeError for probabilities not from 0 to 1.
    """
    allowed, code = (*_FLOATS, *_INTEGERS, "b1"), self.dtype.code
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
        need("random_kernel_cpu", type_, (*_FLOATS, *_INTEGERS, "b1"))
        fill_in_order(self, lambda p, n: draw.fill_random(generator, p, n, code))
        return
    if to is _MISSING:
        from_, to = 0, from_
    low = 0 if from_ is _MISSING else _integer("random_", "from", from_)
    _integers(self, low, None if to is None else _integer("random_", "to", to), generator)


def _integers(target: Tensor, low: int, high: int | None, generator: Generator | None) -> None:
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
                f"{name} is out of bounds [-(2^{_DIGITS[code]}), 2^{_DIGITS[code]}]. Due to precision limitations "
                f"{_C_NAMES[code]} can support discrete uniform distribution only within this range.",
                stacklevel=4,
            )
    fill_in_order(target, lambda p, n: draw.fill_integers(generator, p, n, code, low, end))


def _representable(type_: dtype_, low: int, high: int) -> tuple[int, int]:
    """Bounds moved inwards where the type rounds ``low + 1`` below ``low``, or ``high - 1`` up to ``high``."""
    digits = _DIGITS[type_.code]

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


# -- factories ---------------------------------------------------------------------------------------


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
    if out is None and generator is None and not pin_memory and not levels.stack:
        found = fresh_layout(name, size, dtype, device)
        if found is not None and found.device is devices.cpu and found.numel and found.dtype.code in _FLOATS:
            t = allocate(found)
            fill(None, t._storage.ptr, found.numel, found.dtype.code)
            return t.requires_grad_(True) if requires_grad else t  # type: ignore[attr-defined,no-any-return]
    made = _made(name, size, out, dtype, device, generator, pin_memory)
    return _filled(made, requires_grad, slow, 0.0, 1.0, generator, written=out is not None)


def rand(
    *sizes: Any, size: Any = None,
    generator: Generator | None = None, out: Tensor | None = None, dtype: dtype_ | None = None,
    layout: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Uniform numbers in [0, 1) in this shape; raises NotImplementedError for integer types."""
    return _floats(
        "rand", draw.fill_uniform, _uniform, sizes if size is None else (size,), out, dtype, device, generator,
        requires_grad, pin_memory,
    )  # fmt: skip


def randn(
    *sizes: Any, size: Any = None,
    generator: Generator | None = None, out: Tensor | None = None, dtype: dtype_ | None = None,
    layout: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """Normal numbers of mean 0 and standard deviation 1 in this shape; raises NotImplementedError for integer types."""
    return _floats(
        "randn", draw.fill_normal, _normal, sizes if size is None else (size,), out, dtype, device, generator,
        requires_grad, pin_memory,
    )  # fmt: skip


def _bounds(name: str, low: Any, high: Any, size: Any) -> tuple[int, int, Any]:
    """The arguments of ``randint(low, high, size)`` and ``randint(high, size)``, told apart."""
    if size is None and isinstance(high, (tuple, list)):
        low, high, size = 0, low, high
    elif high is None and low is not None:
        low, high = 0, low
    return _integer(name, "low", 0 if low is None else low), _integer(name, "high", high), size


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
    return _filled(t, requires_grad, _integers, first, end, generator, written=out is not None)


@overridable
def rand_like(
    input: Tensor, *, generator: Generator | None = None, dtype: dtype_ | None = None, layout: Any = None,
    device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
    memory_format: memory_format = preserve_format,
) -> Tensor:  # fmt: skip
    """Uniform numbers in [0, 1) in the shape (and by default of the type) of ``input``."""
    t = empty_like(input, dtype=dtype, device=device, memory_format=memory_format)
    return _filled(t, requires_grad, _uniform, 0.0, 1.0, generator)


@overridable
def randn_like(
    input: Tensor, *, generator: Generator | None = None, dtype: dtype_ | None = None, layout: Any = None,
    device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
    memory_format: memory_format = preserve_format,
) -> Tensor:  # fmt: skip
    """Normal numbers of mean 0 and standard deviation 1 in the shape (and by default of the type) of ``input``."""
    t = empty_like(input, dtype=dtype, device=device, memory_format=memory_format)
    return _filled(t, requires_grad, _normal, 0.0, 1.0, generator)


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
    return _filled(t, requires_grad, _integers, first, end, generator)


def randperm(
    n: int, *, generator: Generator | None = None, out: Tensor | None = None, dtype: dtype_ | None = None,
    layout: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False,
) -> Tensor:  # fmt: skip
    """0 to n - 1 in random order, int64 unless said otherwise; raises RuntimeError if the type does not hold n - 1."""
    n = _integer("randperm", "n", n)
    if dtype is None:
        dtype = int64 if out is None else out.dtype
    if dtype.code in _DIGITS and n > 2 ** _DIGITS[dtype.code] + 1:
        raise RuntimeError(f"n cannot be greater than {2 ** _DIGITS[dtype.code] + 1} for {title(dtype)} type.")
    if dtype.code in _INTEGERS and n > np.iinfo(dtype.numpy).max:
        raise RuntimeError(f"randperm: value cannot be converted to type {dtype.name} without overflow: n={n}")
    t = _made("randperm", ((n,),), out, dtype, device, generator, pin_memory)
    need("randperm", dtype, _FLOATS + _INTEGERS)
    code = dtype.code
    fill = lambda p, count: draw.fill_permutation(generator, p, count, code)  # noqa: E731
    return _filled(t, requires_grad, fill_in_order, fill, written=out is not None)


# -- given distributions -----------------------------------------------------------------------------


def like_members(input: Tensor) -> Tensor:
    """An uninitialised contiguous tensor like ``input``, to be filled with random numbers of its elements' own."""
    layout = dense(input.dtype, input.shape, input.device)
    return blank(input, layout) if isinstance(input, Wrapper) else fresh(layout)


def row_major(input: Tensor) -> Tensor:
    """The elements in row-major order, as a kernel reads them."""
    with no_grad():
        return input.detach().contiguous()  # type: ignore[attr-defined]


@operator(name="normal", kind="eager", method=False, function=False, out=False)
def _normal_of(mean: Operand, std: Operand, *, generator: Generator | None = None) -> Tensor:
    """Normal numbers with the means and standard deviations of tensors."""
    where = mean if isinstance(mean, Tensor) else std
    shape = np.broadcast_shapes(*(tuple(t.shape) for t in (mean, std) if isinstance(t, Tensor)))
    with no_grad():
        result = contiguous(where.dtype, shape, where.device)
        if not isinstance(std, Tensor):
            return result.normal_(0.0, std, generator=generator).add_(mean)  # type: ignore[attr-defined]
        if std.dtype.is_complex:
            raise RuntimeError("normal expects standard deviation to be non-complex")
        if std.device is not devices.meta and not bool((std >= 0).all()):  # type: ignore[operator,attr-defined]
            raise RuntimeError("normal expects all elements of std >= 0.0")
        return result.normal_(generator=generator).mul_(std).add_(mean)  # type: ignore[attr-defined]


_random(_normal_of)


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
    return _filled(t, requires_grad, _normal, centre, width, generator, written=out is not None)


@operator(kind="eager")
def bernoulli(input: Tensor, p: Any = None, *, generator: Generator | None = None) -> Tensor:
    """1 where a trial succeeds, else 0: of the probabilities ``input``, or all of ``p`` in the shape of ``input``."""
    check_generator("bernoulli", generator)
    if p is not None:
        return empty_like(input).bernoulli_(p, generator=generator)  # type: ignore[attr-defined]
    result = like_members(input)
    return result.bernoulli_(input.detach(), generator=generator)  # type: ignore[attr-defined]


_random(bernoulli)


@operator(kind="eager", method=False, out=False)
def poisson(input: Tensor, generator: Generator | None = None) -> Tensor:
    """Poisson numbers with the means ``input``; RuntimeError for a negative one, NotImplementedError for integers."""
    check_generator("poisson", generator)
    need("poisson_cpu", input.dtype)
    code = input.dtype.code
    result = like_members(input)

    def fill(at: int, n: int, rates: int) -> None:
        if not draw.fill_poisson(generator, at, n, code, rates):
            raise RuntimeError("poisson: invalid Poisson rate, expected rate to be non-negative")

    fill_in_order(result, fill, input)
    return result


_random(poisson)


@operator(kind="eager", method=False, out=False, differentiable=False)
def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """Successes among ``count`` trials of probability ``prob`` (float32 or float64 tensors of one type, broadcast)."""
    check_generator("binomial", generator)
    if count.dtype is not prob.dtype:
        raise RuntimeError(f"binomial: Found dtype {title(prob.dtype)} but expected {title(count.dtype)}")
    need("binomial_cpu", count.dtype, ("f32", "f64"))
    shape = np.broadcast_shapes(tuple(count.shape), tuple(prob.shape))
    numbers, chances = (t.expand(shape) for t in (count, prob))  # type: ignore[attr-defined]
    result = like_members(numbers if isinstance(count, Wrapper) else chances)
    code = count.dtype.code
    fill_in_order(result, lambda p, n, *of: draw.fill_binomial(generator, p, n, code, *of), numbers, chances)
    return result


binomial.random = True


@operator(kind="eager", differentiable=False)
def multinomial(
    input: Tensor, num_samples: int, replacement: bool = False, *, generator: Generator | None = None
) -> Tensor:
    """``num_samples`` indices (int64) for each row of weights; without ``replacement`` all different.

    Raises RuntimeError for weights that are negative, infinite, NaN or all zero, and for more samples than weights.
    """
    check_generator("multinomial", generator)
    if not 0 < input.ndim <= 2:
        raise RuntimeError(f"multinomial: prob_dist must be 1 or 2 dim, got {input.ndim}")
    if input.dtype.kind != "f":
        raise RuntimeError(f"multinomial only supports floating-point dtypes for input, got: {title(input.dtype)}")
    columns = input.shape[-1]
    if num_samples <= 0:
        raise RuntimeError(f"multinomial: cannot sample n_sample <= 0 samples, got {num_samples}")
    if not replacement and num_samples > columns:
        raise RuntimeError(
            "multinomial: cannot sample n_sample > prob_dist.size(-1) samples without replacement "
            f"({num_samples} > {columns})"
        )
    if columns > 2**24:
        raise RuntimeError(f"multinomial: number of categories cannot exceed 2^24, got {columns}")
    shape = (*input.shape[:-1], num_samples)
    result = contiguous(int64, shape, input.device)
    if result.numel() == 0 or input.device is devices.meta:
        return result
    weights = row_major(input)
    rows = weights.numel() // max(1, columns)
    if replacement and num_samples > 1:
        args = (rows, columns, num_samples, input.dtype.code, address(weights))
        fault = draw.fill_multinomial(generator, address(result), *args)
        if fault:
            raise _MULTINOMIAL[fault]()
        return result
    with no_grad():
        if not bool(((weights >= 0) & (weights < math.inf)).all()):  # type: ignore[attr-defined,operator]
            raise _MULTINOMIAL[1]()
        if bool((weights.sum(-1) == 0).any()):  # type: ignore[attr-defined]
            raise _MULTINOMIAL[2]()
        # The smallest of exponential times with these rates comes first (P. Efraimidis, P. Spirakis, 2006).
        race = weights / empty_like(weights).exponential_(1.0, generator=generator)  # type: ignore[attr-defined]
        if num_samples == 1:
            return race.argmax(-1, keepdim=True)
        return race.topk(num_samples, -1)[1]


multinomial.random = True
multinomial.apart = True  # ``out`` must be int64


_MULTINOMIAL: dict[int, Callable[[], RuntimeError]] = {
    1: lambda: RuntimeError("multinomial: probability tensor contains either `inf`, `nan` or element < 0"),
    2: lambda: RuntimeError("multinomial: invalid multinomial distribution (sum of probabilities <= 0)"),
}


@operator(kind="eager", method=False, out=False)
def _standard_gamma(self: Tensor, generator: Generator | None = None) -> Tensor:
    """Gamma numbers of scale 1 with the shapes ``self`` (float32 or float64), by which they can be differentiated."""
    check_generator("_standard_gamma", generator)
    need("gamma_cpu", self.dtype, ("f32", "f64"))
    result = like_members(self)
    fill_in_order(result, lambda p, n, shapes: draw.fill_gamma(generator, p, n, self.dtype.code, shapes), self)
    return result


@_standard_gamma.gradient("self", "result")
def _(ctx, grad):  # type: ignore[no-untyped-def]
    return grad * _standard_gamma_grad.function(ctx.self, ctx.result)


def _alike(name: str, *operands: Tensor) -> list[Tensor]:
    """The operands in row-major order, broadcast together; raises RuntimeError where their types differ."""
    for t in operands[1:]:
        if t.dtype is not operands[0].dtype:
            raise RuntimeError(f"{name}: expected scalar type {operands[0].dtype} but found {t.dtype}")
    shape = broadcast_shapes(*(t.shape for t in operands))
    return [row_major(t.expand(shape)) for t in operands]  # type: ignore[attr-defined]


@operator(kind="eager", method=False, out=False, differentiable=False)
def _standard_gamma_grad(self: Tensor, output: Tensor) -> Tensor:
    """The derivative of gamma numbers ``output`` by their shapes ``self``."""
    need("standard_gamma_grad_cpu", self.dtype, ("f32", "f64"))
    shapes, samples = _alike("_standard_gamma_grad", self, output)
    result = contiguous(self.dtype, shapes.shape, self.device)
    fill_in_order(result, lambda p, n: draw.gamma_gradient(p, n, self.dtype.code, address(shapes), address(samples)))
    return result


@operator(kind="eager", method=False, out=False, differentiable=False)
def _sample_dirichlet(self: Tensor, generator: Generator | None = None) -> Tensor:
    """Dirichlet numbers with the concentrations along the last dimension of ``self`` (float32 or float64)."""
    check_generator("_sample_dirichlet", generator)
    need("dirichlet", self.dtype, ("f32", "f64"))
    columns = self.shape[-1] if self.ndim else 1
    shapes, result = row_major(self), contiguous(self.dtype, self.shape, self.device)
    fill_in_order(
        result, lambda p, n: draw.fill_dirichlet(generator, p, n // columns, columns, self.dtype.code, address(shapes))
    )  # fmt: skip
    return result


_sample_dirichlet.random = True


@operator(kind="eager", method=False, out=False, differentiable=False)
def _dirichlet_grad(x: Tensor, alpha: Tensor, total: Tensor) -> Tensor:
    """How Dirichlet numbers ``x`` move with their concentrations ``alpha`` of the sum ``total``, over 1 - x."""
    need("_dirichlet_grad_cpu", x.dtype, ("f32", "f64"))
    parts = _alike("_dirichlet_grad", x, alpha, total)
    result = contiguous(x.dtype, parts[0].shape, x.device)
    fill_in_order(result, lambda p, n: draw.dirichlet_gradient(p, n, x.dtype.code, *(address(t) for t in parts)))
    return result
