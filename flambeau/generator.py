"""Generators: where the state of a stream of random numbers lives, and the draws made from it.

A ``Generator`` owns one block of memory with the state of a Mersenne Twister (``template/mersenne.py`` describes it);
the kernels of ``template/random.py`` advance it in place.  A lock makes a draw one step for other threads.

The ``fill_*`` functions write numbers to contiguous memory: they take a generator (``None``: the default one), the
address of the result, its number of elements, the code of its element type ("f32" ...), and the parameters of the
distribution, which their callers have checked.
"""

from __future__ import annotations

import ctypes
import functools
import math
import operator
import os
import struct
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from . import settings, template
from .device import device
from .dtype import uint8
from .template import mersenne_state as layout
from .tensor import Tensor, address, contiguous, numpy_view

__all__ = [
    "DEFAULT_SEED", "STATE_SIZE", "Generator", "default_generator", "dirichlet_gradient", "fill_bernoulli",
    "fill_bernoulli_each", "fill_binomial", "fill_cauchy", "fill_dirichlet", "fill_exponential", "fill_gamma",
    "fill_geometric", "fill_integers", "fill_log_normal", "fill_multinomial", "fill_normal", "fill_permutation",
    "fill_poisson", "fill_random", "fill_rrelu", "fill_uniform", "gamma_gradient",
]  # fmt: skip

DEFAULT_SEED = 67280421310721  # of a new generator, as in PyTorch
STATE_SIZE = 5056  # bytes of an exported state
_LENGTH = layout.LENGTH
# PyTorch's record: seed, words left, whether seeded, next word, the words as 64-bit numbers, three doubles of which the
# second is the kept normal, whether there is one; then a single-precision normal and whether there is one.
_RECORD = struct.Struct(f"<Qii Q {8 * _LENGTH}s ddd i4x f?3x")
_TAIL = struct.Struct("<qqdqQfi")  # the state block from POSITION on

_living: weakref.WeakSet[Generator] = weakref.WeakSet()


def _renew_locks() -> None:
    """A lock that another thread held when the process forked would never be released in the child."""
    for generator in list(_living):
        generator._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


class Generator:
    """A pseudorandom number generator: PyTorch's ``torch.Generator`` of the CPU.

    Two generators with the same seed give the same numbers, and the numbers are those of PyTorch for that seed.
    Copies and pickles continue the stream on their own.  Raises RuntimeError for a device other than the CPU.
    """

    def __init__(self, device: device | str | None = None) -> None:
        self._device = _cpu(device)
        self._lock = threading.Lock()
        self._memory = ctypes.create_string_buffer(layout.STATE_BYTES + 64)
        self._address = -(-ctypes.addressof(self._memory) // 64) * 64
        self._start = self._address - ctypes.addressof(self._memory)
        self._pending: int | None = DEFAULT_SEED  # a seed that the memory does not show yet
        _living.add(self)

    @property
    def device(self) -> device:
        """The device of the generator."""
        return self._device

    # -- seeds -----------------------------------------------------------------------------------
    def manual_seed(self, seed: int) -> Generator:
        """Starts the stream of ``seed`` and returns the generator.

        ``seed`` lies from -2**63 to 2**64 - 1; a negative one stands for itself plus 2**64.  Raises RuntimeError
        if it is no int, ValueError if it is out of range.
        """
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise RuntimeError(f"manual_seed expected a long, but got {type(seed).__name__}")
        value = operator.index(seed)
        if not -(2**63) <= value < 2**64:
            raise ValueError(f"manual_seed: Overflow when unpacking long long: {value} is not from -2**63 to 2**64 - 1")
        with self._lock:
            self._pending = value % 2**64
        return self

    def seed(self) -> int:
        """Starts the stream of a seed taken from the operating system, and returns the seed."""
        seed = int.from_bytes(os.urandom(8), "little")
        self.manual_seed(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed of the present stream."""
        with self._lock:
            if self._pending is not None:
                return self._pending
            return ctypes.c_uint64.from_address(self._address + layout.SEED).value

    # -- states ----------------------------------------------------------------------------------
    def get_state(self) -> Tensor:
        """The state as a uint8 tensor of 5056 elements, in PyTorch's format."""
        state = contiguous(uint8, (STATE_SIZE,), device("cpu"))
        ctypes.memmove(address(state), self.state_bytes(), STATE_SIZE)
        return state

    def set_state(self, new_state: Tensor) -> Generator:
        """Continues from a state that ``get_state`` (or PyTorch's) returned; returns the generator.

        Raises TypeError for other than uint8 tensors, RuntimeError for one that holds no state.
        """
        if not isinstance(new_state, Tensor):
            raise TypeError(f"set_state: expected a torch.ByteTensor, but got {type(new_state).__name__}")
        if new_state.dtype is not uint8:
            raise TypeError(f"set_state: RNG state must be a torch.ByteTensor, but got one of {new_state.dtype}")
        self.set_state_bytes(numpy_view(new_state).tobytes())
        return self

    def state_bytes(self) -> bytes:
        """The state in PyTorch's format of 5056 bytes."""
        with self._lock:
            self._seeded()
            block = ctypes.string_at(self._address, layout.STATE_BYTES)
        words = np.frombuffer(block, np.uint32, _LENGTH, layout.WORDS).astype(np.uint64)
        position, started, normal, has_normal, seed, single, has_single = _TAIL.unpack_from(block, layout.POSITION)
        left = _LENGTH + 1 - position
        next_ = position if started else 0
        return _RECORD.pack(
            seed, left, 1, next_, words.tobytes(), 0.0, normal if has_normal else 0.0, 0.0, has_normal,
            single if has_single else 0.0, bool(has_single),
        )  # fmt: skip

    def set_state_bytes(self, state: bytes | bytearray | memoryview) -> None:
        """Continues from a state in PyTorch's format; raises RuntimeError for bytes that are none."""
        state = bytes(state)
        if len(state) != STATE_SIZE:
            raise RuntimeError(
                f"set_state: Expected a CPUGeneratorImplState of size {STATE_SIZE} but found the input RNG state "
                f"size to be {len(state)}"
            )
        seed, left, seeded, next_, raw, _, normal, _, has_normal, single, has_single = _RECORD.unpack(state)
        started = not (left == 1 and next_ == 0)
        position = _LENGTH if left == 1 else next_
        words = np.frombuffer(raw, np.uint64)
        if seeded != 1 or not 1 <= left <= _LENGTH or left + position != _LENGTH + 1 or words.max() >> np.uint64(32):
            raise RuntimeError(
                f"set_state: Invalid mt19937 state (seeded {seeded}, words left {left}, next word {next_}); "
                "pass what get_state returned"
            )
        tail = _TAIL.pack(position, started, normal, bool(has_normal), seed, single, bool(has_single))
        with self._lock:
            ctypes.memmove(self._address + layout.WORDS, words.astype(np.uint32).tobytes(), 4 * _LENGTH)
            ctypes.memmove(self._address + layout.POSITION, tail, len(tail))
            template.random.kernel("output")(self._address)
            self._pending = None

    def snapshot(self) -> bytes:
        """The memory of the state as it is, for ``restore``: faster than PyTorch's format."""
        with self._lock:
            return ctypes.string_at(self._seeded(), layout.STATE_BYTES)

    def restore(self, snapshot: bytes) -> None:
        """Continues from where ``snapshot`` was taken."""
        with self._lock:
            ctypes.memmove(self._address, snapshot, layout.STATE_BYTES)
            self._pending = None

    def clone_state(self) -> Generator:
        """A new generator that continues from the same state on its own."""
        clone = type(self)(self._device)
        clone.set_state_bytes(self.state_bytes())
        return clone

    def graphsafe_get_state(self) -> Generator:
        """Not supported by generators of the CPU: raises NotImplementedError."""
        raise NotImplementedError("graphsafe_get_state is not supported in this Generator (device cpu)")

    def graphsafe_set_state(self, state: Generator) -> None:
        """Not supported by generators of the CPU: raises NotImplementedError."""
        raise NotImplementedError("graphsafe_set_state is not supported in this Generator (device cpu)")

    def get_offset(self) -> int:
        """Generators of the CPU count no offset: raises RuntimeError."""
        raise RuntimeError("get_offset: CPU Generator does not use offset")

    def set_offset(self, offset: int) -> None:
        """Generators of the CPU count no offset: raises RuntimeError."""
        raise RuntimeError(f"set_offset({offset}): CPU Generator does not use offset")

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restored, (type(self), self._device, self.state_bytes()))

    # -- draws -----------------------------------------------------------------------------------
    def _seeded(self) -> int:
        """The address of the state, after a seeding that was put off.  The lock is held."""
        if self._pending is not None:
            seed, self._pending = self._pending, None
            template.random.kernel("seed")(self._address, seed - 2**64 if seed >= 2**63 else seed)
        return self._address

    def draw(self, name: str, codes: tuple[str, ...], *arguments: Any) -> Any:
        """Calls a kernel of ``template/random.py`` on the state and returns its result."""
        call = _kernel(name, codes, settings.isa)
        with self._lock:
            return call(self._seeded() if self._pending is not None else self._address, *arguments)


@functools.cache
def _kernel(name: str, codes: tuple[str, ...], isa: str) -> Callable[..., Any]:
    return template.random.load(name, codes, isa)


def _restored(cls: type[Generator], place: device, state: bytes) -> Generator:
    generator = cls(place)
    generator.set_state_bytes(state)
    return generator


def _cpu(place: device | str | None) -> device:
    found = device("cpu") if place is None else device(place)
    if found.type != "cpu":
        raise RuntimeError(f"Generator: device '{found}' has no generator; the only one is device='cpu'")
    return device("cpu")


default_generator = Generator()
default_generator.seed()


# -- fills -----------------------------------------------------------------------------------------


def fill_uniform(
    generator: Generator | None, address: int, numel: int, code: str, low: float = 0.0, high: float = 1.0
) -> None:
    """Uniform numbers in [low, high) of a floating-point type."""
    (generator or default_generator).draw("uniform", (code,), address, numel, low, high)


def fill_normal(
    generator: Generator | None, address: int, numel: int, code: str, mean: float = 0.0, std: float = 1.0,
    *, blocks: bool = True,
) -> None:  # fmt: skip
    """Normal numbers of a floating-point type.

    From 16 elements on they are made in blocks, if the tensor that is filled is contiguous: ``blocks``.
    """
    name = "normal_blocks" if blocks and numel >= 16 else "normal"
    (generator or default_generator).draw(name, (code,), address, numel, mean, std)


def fill_log_normal(
    generator: Generator | None, address: int, numel: int, code: str, mean: float = 1.0, std: float = 2.0
) -> None:
    """The exponential of normal numbers."""
    (generator or default_generator).draw("log_normal", (code,), address, numel, mean, std)


def fill_exponential(generator: Generator | None, address: int, numel: int, code: str, rate: float = 1.0) -> None:
    """Exponential numbers of mean 1 / ``rate``."""
    (generator or default_generator).draw("exponential", (code,), address, numel, -1.0 / rate, 0.0)


def fill_geometric(generator: Generator | None, address: int, numel: int, code: str, p: float) -> None:
    """Trials up to the first success, each with the probability ``p`` (0 < p < 1), in any type."""
    (generator or default_generator).draw("geometric", (code,), address, numel, math.log1p(-p), 0.0)


def fill_cauchy(
    generator: Generator | None, address: int, numel: int, code: str, median: float = 0.0, sigma: float = 1.0
) -> None:
    """Cauchy numbers."""
    (generator or default_generator).draw("cauchy", (code,), address, numel, median, sigma)


def fill_bernoulli(
    generator: Generator | None, address: int, numel: int, code: str, p: float = 0.5, value: float = 1.0
) -> None:
    """``value`` with the probability ``p``, else 0, in any type."""
    (generator or default_generator).draw("bernoulli", (code,), address, numel, math.ceil(p * 2.0**53), value)


def fill_bernoulli_each(
    generator: Generator | None, address: int, numel: int, code: str, chances: int, chance_code: str
) -> bool:
    """1 with the probability of each element of ``chances`` (address), else 0.

    Returns False, with nothing drawn, if one of them is not from 0 to 1.
    """
    return not (generator or default_generator).draw("bernoulli_each", (code, chance_code), address, chances, numel)


def fill_integers(generator: Generator | None, address: int, numel: int, code: str, low: int, high: int) -> None:
    """Integers from ``low`` up to and without ``high``, in any type; the range holds at most 2**64 of them.

    All 2**64 are two words as they come, not counted from the lowest.
    """
    size = high - low
    name = "integers64" if size >= 2**28 else "integers32"
    (generator or default_generator).draw(
        name, (code,), address, numel, _signed(size), 0 if size == 2**64 else _signed(low)
    )


# The numbers of ``random_()``: as many as the type represents exactly from 0 on, and the words they are made from.
_FULL_RANGE = {
    "b1": (2, "integers32"), "u8": (2**8, "integers32"), "i8": (2**7, "integers32"), "i16": (2**15, "integers32"),
    "i32": (2**31, "integers32"), "i64": (2**63, "integers64"), "f16": (2**11 + 1, "integers32"),
    "bf16": (2**8 + 1, "integers32"), "f32": (2**24 + 1, "integers32"), "f64": (2**53 + 1, "integers64"),
}  # fmt: skip


def fill_random(generator: Generator | None, address: int, numel: int, code: str) -> None:
    """Integers from 0 to the largest that the type represents together with all smaller ones.

    Raises KeyError for types that PyTorch has no such numbers of (wide unsigned integers, float8).
    """
    size, name = _FULL_RANGE[code]
    (generator or default_generator).draw(name, (code,), address, numel, _signed(size), 0)


def _signed(value: int) -> int:
    """The number of 64 bits with sign that has the low bits of ``value``."""
    value %= 2**64
    return value - 2**64 if value >= 2**63 else value


def fill_permutation(generator: Generator | None, address: int, numel: int, code: str) -> None:
    """0 to ``numel`` - 1 in random order, in any type that holds them."""
    (generator or default_generator).draw("permutation", (code,), address, numel)


def fill_poisson(generator: Generator | None, address: int, numel: int, code: str, rates: int) -> bool:
    """Poisson numbers with the means at ``rates`` (address, same type).

    Returns False, with nothing drawn, if one of them is negative or NaN.
    """
    return not (generator or default_generator).draw("poisson", (code,), address, rates, numel)


def fill_binomial(generator: Generator | None, address: int, numel: int, code: str, numbers: int, chances: int) -> None:
    """Successes among ``numbers`` trials with the probabilities ``chances`` (addresses; "f32" or "f64")."""
    (generator or default_generator).draw("binomial", (code,), address, numbers, chances, numel)


def fill_gamma(generator: Generator | None, address: int, numel: int, code: str, shapes: int) -> None:
    """Gamma numbers of scale 1 with the shapes at ``shapes`` (address; "f32" or "f64")."""
    (generator or default_generator).draw("gamma", (code,), address, shapes, numel)


def fill_dirichlet(generator: Generator | None, address: int, rows: int, columns: int, code: str, shapes: int) -> None:
    """Rows of Dirichlet numbers with the concentrations at ``shapes`` (address; "f32" or "f64")."""
    room = (ctypes.c_double * max(1, columns))()
    (generator or default_generator).draw("dirichlet", (code,), address, shapes, ctypes.addressof(room), rows, columns)


def fill_multinomial(
    generator: Generator | None, address: int, rows: int, columns: int, samples: int, code: str, weights: int
) -> int:
    """``samples`` int64 indices for each row, drawn with replacement with the weights at ``weights`` (address).

    Returns 0; with nothing drawn 1 for a weight that is negative, infinite or NaN, 2 for a row of zeros.
    """
    room = (ctypes.c_double * max(1, columns))()
    arguments = (address, weights, ctypes.addressof(room), rows, columns, samples)
    result: int = (generator or default_generator).draw("multinomial", (code,), *arguments)
    return result


def fill_rrelu(
    generator: Generator | None, address: int, numel: int, code: str, values: int, noise: int, low: float, high: float
) -> None:
    """``values`` (address), those not above 0 times a slope from [low, high) drawn for each.

    The slopes, 1 for the others, go to ``noise`` (address).
    """
    (generator or default_generator).draw("rrelu", (code,), address, values, noise, numel, low, high)


def gamma_gradient(address: int, numel: int, code: str, shapes: int, samples: int) -> None:
    """How gamma numbers ``samples`` move with their ``shapes`` (addresses; "f32" or "f64")."""
    template.random.kernel("gamma_gradient", code)(address, shapes, samples, numel)


def dirichlet_gradient(address: int, numel: int, code: str, samples: int, shapes: int, totals: int) -> None:
    """How shares ``samples`` of Dirichlet numbers move with their ``shapes``, over 1 - sample (addresses)."""
    template.random.kernel("dirichlet_gradient", code)(address, samples, shapes, totals, numel)
