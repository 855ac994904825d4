"""Which passes a Fourier transform takes, the tables of its factors, and the words of its kernel (``fourier.py``)."""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..dtype import coded
from ..graph.batch import spread
from ..graph.node import Graph, Node
from ..graph.program import Launch
from ..runtime import cpu, engine, pool
from ..target.isa import ISA
from . import fourier
from .butterfly import RADICES
from .fourier_access import ALONE, COLUMNS, FIXES, FOLDED, HEAD, MAX_PASSES, MAX_RANK, PART, PLANES, ROWS, SCATTERED

__all__ = ["LARGEST", "Form", "Transform", "factors_of", "form_of", "table_of"]

LARGEST = 300  # prime factor that is summed over directly
_SHORT = 64  # points that are not worth two parts
_GRAIN = 16384  # points that are worth a chunk
_TOGETHER = 4 << 20  # bytes of temporary memory between two parts whose strips are shared out
_REALS = {"f32": "float", "f64": "double"}

Shape = tuple[int, ...]


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def factors_of(n: int) -> list[int]:
    """The prime factors of n, ascending."""
    found, p = [], 2
    while p * p <= n:
        while n % p == 0:
            found.append(p)
            n //= p
        p += 1
    return [*found, n] if n > 1 else found


def _radices(n: int) -> list[int]:
    """The radices of the passes of n points."""
    primes = factors_of(n)
    twos = primes.count(2)
    eights, rest = divmod(twos, 3)
    if rest == 1 and eights:
        powers = [8] * (eights - 1) + [4, 4]
    else:
        powers = [8] * eights + [1 << rest] * (rest > 0)
    return powers + primes[twos:]


def roots(exponents: np.ndarray, n: int) -> np.ndarray:
    """``exp(-2 pi i k / n)`` for integers k in double precision, the pair (real, imaginary) last.

    Angles are brought into the first eighth of the circle, where sine and cosine lose nothing."""
    k = 8 * (np.asarray(exponents, np.int64) % n)
    octant, k = k // n, k % n
    turn = octant % 2 == 1
    angle = np.where(turn, n - k, k) * (np.pi / 4 / n)
    c, s = np.cos(angle), np.sin(angle)
    c, s = np.where((octant + 1) // 2 % 2 == 1, s, c), np.where((octant + 1) // 2 % 2 == 1, c, s)
    real = np.where((octant >= 2) & (octant < 6), -c, c)
    imag = np.where(octant < 4, -s, s)
    return np.stack([real, imag], -1)


@dataclass(frozen=True, eq=False)  # compared as objects: it is part of the key of every call
class Form:
    """How transforms of ``points`` numbers of one kind are computed: in two parts, whose first has ``split`` points, or
    in one (0). Kinds are "c2c"; "r2c" and "r2w", of real numbers to half and to the whole of their spectrum; "c2r"."""

    kind: str
    real: str  # code of the type of real numbers
    points: int
    split: int

    @property
    def halved(self) -> bool:
        """Whether these are real numbers that are transformed as half as many complex ones."""
        return self.kind != "c2c" and self.points % 2 == 0

    @property
    def sizes(self) -> list[int]:
        """The points of each part."""
        if self.split and self.halved:
            both = [self.split // 2, self.points // self.split]
            return both if self.kind == "r2c" else both[::-1]
        n = self.points // 2 if self.halved else self.points
        return [self.split, n // self.split] if self.split else [n]

    @property
    def between(self) -> tuple[int, int]:
        """(rows, columns) of the temporary matrix: points of the first part, lines of the second."""
        if self.split and self.halved:
            both = self.split // 2 + 1, self.points // self.split
            return both if self.kind == "r2c" else both[::-1]
        return self.sizes[0], self.sizes[1]


class _Table(NamedTuple):
    """The numbers, and for each part its words "roots", "twist" and those of its passes."""

    numbers: np.ndarray
    parts: list[tuple[int, int, list[int]]]


@functools.lru_cache(maxsize=64)
def _table(form: Form, lanes: int, together: int) -> _Table:
    found: list[np.ndarray] = []
    count = 0

    def add(numbers: np.ndarray) -> int:
        nonlocal count
        start = count
        found.append(numbers.ravel())
        count += numbers.size
        return start

    parts = []
    for k, n in enumerate(form.sizes):
        separate = add(roots(np.arange(n // 2 + 1), 2 * n)) if form.halved else 0
        twist = -1
        if form.split and k == 0:
            points, lines = form.between
            rows = np.arange(points)
            near = roots(rows[:, None] * np.arange(lanes), form.points)
            twist = add(np.moveaxis(near, -1, 1))
            starts = np.arange(ceil_div(lines, lanes)) * lanes
            add(roots(starts[:, None] * rows, form.points))
        words: list[int] = []
        near_, far = n, 1
        for radix in _radices(n):
            near_ //= radix
            place = add(roots(np.arange(near_)[:, None] * far * np.arange(1, radix), n))
            cosines = 0
            if radix not in RADICES:
                half = radix // 2
                to = np.arange(1, ceil_div(half, together) * together + 1).reshape(-1, 1, together)
                angles = roots(to * np.arange(1, half + 1)[:, None], radix)
                cosines = add(angles * (1, -1))
            words += [radix, near_, far, place, cosines]
            far *= radix
        parts.append((separate, twist, words))
    numbers = np.concatenate(found) if found else np.zeros(0)
    return _Table(numbers.astype(coded(form.real).numpy), parts)


def table_of(form: Form) -> np.ndarray:
    """The numbers that a kernel takes besides its input."""
    isa = ISA.host()
    return _table(form, isa.lanes(_REALS[form.real]), fourier.tile(isa)).numbers


def _split(n: int, lanes: int) -> int:
    """The points of the first of two parts of n points; 0 if there is no good choice."""

    def cost(a: int) -> float:
        return abs(math.log(a * a / n)) + (a % lanes > 0) + (n // a % lanes > 0)

    best = min((a for a in _divisors(n) if a * a <= n * 64 and a * 64 >= n // a), key=cost, default=0)
    return best if best >= 4 and n // best >= 4 else 0


def _divisors(n: int) -> list[int]:
    found = [1]
    for p in factors_of(n):
        found = list(dict.fromkeys([*found, *(a * p for a in found)]))
    return found


@functools.lru_cache(maxsize=4096)
def form_of(kind: str, real: str, points: int, lines: int, last: bool = True) -> Form | None:
    """How ``lines`` transforms are computed, whose points are neighbours if ``last``; None for lengths with large prime
    factors, and for some lines of real numbers that are too long."""
    single = Form(kind, real, points, 0)
    n = single.sizes[0]
    primes = factors_of(n)
    if (primes and primes[-1] > LARGEST) or len(_radices(n)) > MAX_PASSES:
        return None
    isa = ISA.host()
    lanes = isa.lanes(_REALS[real])
    nbytes = 4 * lanes * coded(real).itemsize * n  # of a strip and its copy
    caches = cpu.cache_sizes()
    if kind == "c2c":
        if n >= _SHORT and (lines < lanes or nbytes > 2 * caches.l1):
            return replace(single, split=_split(n, lanes))
        return single
    if single.halved and kind != "r2w" and last and (nbytes > caches.l2 // 2 or (lines < lanes and n >= 2 * _SHORT)):
        half = _split(n, lanes)
        return replace(single, split=2 * half) if half else single if nbytes <= caches.l2 else None
    return single if nbytes <= caches.l2 else None


def _bits(value: float) -> int:
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


class _Side(NamedTuple):
    """How one of a part's operands lies: strides of its lines (outermost first) and points, in numbers."""

    lines: tuple[int, ...]
    step: int
    other: int
    temporary: int = 0

    def kind(self) -> int:
        if self.other == 1 and self.lines and self.lines[-1] == 2:
            return COLUMNS
        if self.other == 1 and self.step == 2:
            return ROWS
        return PLANES if self.lines and self.lines[-1] == 1 else SCATTERED


def _part(
    form: Form, table: tuple[int, int, list[int]], points: int, have: int, made: int, sizes: Sequence[int],
    given: _Side, out: _Side, **more: int,
) -> tuple[dict[str, int], int]:  # fmt: skip
    """(the words of a part by name, how many lots of lines its strips are made from)"""
    load, store = given.kind(), out.kind()
    across = {COLUMNS, PLANES} & {load, store} or given.temporary or out.temporary
    inner = sizes[-1] if across else math.prod(sizes)
    lanes = ISA.host().lanes(_REALS[form.real])
    separate, twist, passes = table
    found = {
        "points": points, "have": have, "made": made, "inner": inner, "strips": ceil_div(inner, lanes),
        "rank": len(sizes), "linear": len(sizes) == 1 or inner == sizes[-1],
        "in_step": given.step, "in_other": given.other, "out_step": out.step,
        "out_other": out.other, "load": load, "store": store, "in_temporary": given.temporary,
        "out_temporary": out.temporary, "scale": _bits(1), "scale_other": _bits(1), "sign": 1, "roots": separate,
        "twist": twist, "passes": len(passes) // 5,
    }  # fmt: skip
    found.update((f"size{d}", n) for d, n in enumerate(sizes))
    found.update((f"in{d}", n) for d, n in enumerate(given.lines))
    found.update((f"out{d}", n) for d, n in enumerate(out.lines))
    found.update(zip(PART[PART.index("radix0") :], passes))
    found.update(more)
    return found, math.prod(sizes) // max(inner, 1)


def _collapsed(shape: Shape, dim: int, strides: Sequence[Shape]) -> tuple[list[int], list[list[int]]]:
    """The dimensions over which lines lie, outermost first, joined where all operands allow it; the last one is that
    along which lines lie side by side in one of them, if there is one."""
    order = [d for d in range(len(shape)) if d != dim and shape[d] != 1]
    order.sort(key=lambda d: min(s[d] for s in strides) == 1)
    sizes: list[int] = []
    kept: list[list[int]] = [[] for _ in strides]
    for d in order:
        if sizes and all(k[-1] == s[d] * shape[d] for k, s in zip(kept, strides)):
            sizes[-1] *= shape[d]
            for k, s in zip(kept, strides):
                k[-1] = s[d]
            continue
        sizes.append(shape[d])
        for k, s in zip(kept, strides):
            k.append(s[d])
    return (sizes, kept) if sizes else ([1], [[0] for _ in strides])


@dataclass(frozen=True)
class Transform:
    """A Fourier transform along ``dim``, times ``scale``; the inputs are the numbers and the form's table.

    ``inverse`` is the direction of a transform of complex numbers; of real ones it is the direction that is not usual:
    the conjugate of the spectrum is made, or taken."""

    form: Form
    dim: int
    inverse: bool
    scale: float

    def batched(self, g: Graph, operands: Sequence[Node], flags: Sequence[bool], results: Any, size: int) -> list[Node]:
        """See ``graph.batch``: more lines."""
        whole = g.in_memory(spread(g, (operands[0], flags[0]), size))
        shape, type_ = results[0]
        return list(g.extern(replace(self, dim=self.dim + 1), [whole, operands[1]], [((size, *shape), type_)]))

    def operations(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        """Multiplications and additions, about."""
        total = math.prod(inputs[0].shape)
        return int(5 * total * max(1.0, math.log2(max(2, self.form.points))))

    def launches(self, inputs: Sequence[Any], outputs: Sequence[Any], workers: int) -> list[Launch]:
        """The kernels for operands and results at these places, with ``workers`` threads."""
        x, out = inputs[0], outputs[0]
        isa, form = ISA.host(), self.form
        real = _REALS[form.real]
        lanes, itemsize = isa.lanes(real), coded(form.real).itemsize
        # strides in numbers; complex ones are two
        wide = [2 if coded(o.type).is_complex else 1 for o in (x, out)]
        sizes, (ins, outs) = _collapsed(x.shape, self.dim, [x.strides, out.strides])
        if len(sizes) > MAX_RANK - 1:
            raise ValueError(f"a transform over more than {MAX_RANK - 1} dimensions of lines")
        given = _Side(tuple(s * wide[0] for s in ins), x.strides[self.dim] * wide[0], 1)
        result = _Side(tuple(s * wide[1] for s in outs), out.strides[self.dim] * wide[1], 1)
        if form.halved:  # pairs of real numbers are complex ones
            if wide[0] == 1:
                given = given._replace(step=2 * given.step, other=given.step)
            else:
                result = result._replace(step=2 * result.step, other=result.step)
        elif form.kind != "c2c":
            given = given._replace(other=ALONE) if wide[0] == 1 else given
            result = result._replace(other=ALONE) if wide[1] == 1 else result
        table = _table(form, lanes, fourier.tile(isa))
        more = {"scale": _bits(self.scale), "scale_other": _bits(self.scale)}
        have, made = x.shape[self.dim], out.shape[self.dim]
        if form.kind == "c2c":
            more.update(in_swap=self.inverse, out_swap=self.inverse)
        elif form.kind != "c2r":
            scale = self.scale / 2 if form.halved else self.scale
            more.update(scale=_bits(scale), scale_other=_bits(-scale if self.inverse else scale))
            more.update(fix=FIXES.index("separate") if form.halved else 0)
            have = have // 2 if form.halved else have
        else:
            more.update(out_swap=1, sign=-1 if self.inverse else 1)
            more.update(fix=FIXES.index("spread" if form.halved else "mirror"))
            made = made // 2 if form.halved else made
        parts: list[tuple[dict[str, int], int]]
        if not form.split:
            n = form.sizes[0]
            parts = [_part(form, table.parts[0], n, have, made, sizes, given, result, **more)]
        elif form.halved:
            parts = self._two_of_real(sizes, given, result, table, more)
        else:
            parts = self._two(sizes, given, result, table, more)
        return [_launch(form, parts, lanes, itemsize, workers, isa, real)]

    def _two(
        self, sizes: list[int], given: _Side, result: _Side, table: _Table, more: dict[str, int]
    ) -> list[tuple[dict[str, int], int]]:
        """The parts of the transform of a line in two."""
        a, b = self.form.sizes
        pitch = _pitch(self.form)
        first = _Side((*given.lines, given.step), b * given.step, given.other)
        between = _Side((*[0] * len(sizes), 2), 2 * pitch, 1, 2 * pitch * a)
        back = _Side((*[0] * len(sizes), 2 * pitch), 2, 1, 2 * pitch * a)
        last = _Side((*result.lines, result.step), a * result.step, result.other)
        one = {"in_swap": more["in_swap"]}
        two = {**more, "in_swap": 0}
        return [
            _part(self.form, table.parts[0], a, a, a, [*sizes, b], first, between, **one),
            _part(self.form, table.parts[1], b, b, b, [*sizes, a], back, last, **two),
        ]

    def _two_of_real(
        self, sizes: list[int], given: _Side, result: _Side, table: _Table, more: dict[str, int]
    ) -> list[tuple[dict[str, int], int]]:
        """The parts of the transform of a line of real numbers: of half of it, or from half of it."""
        form, a = self.form, self.form.split
        b, pitch, none = form.points // a, _pitch(form), [0] * len(sizes)
        rows, columns = form.between
        to = _Side((*none, 2), 2 * pitch, 1, 2 * pitch * rows)
        back = _Side((*none, 2 * pitch), 2, 1, 2 * pitch * rows)
        # of the real numbers every b-th is a point of a line
        side, spectrum = (given, result) if form.kind == "r2c" else (result, given)
        apart = _Side((*side.lines, side.other), b * side.step, b * side.other)
        folded = _Side((*spectrum.lines, spectrum.step), a * spectrum.step, 1)
        if spectrum.step != 2:
            raise ValueError("half of a spectrum in two parts takes points that follow each other")
        if form.kind == "r2c":
            fix, last = more.pop("fix"), {**more, "store": FOLDED}
            return [
                _part(form, table.parts[0], a // 2, a // 2, rows, [*sizes, b], apart, to, fix=fix),
                _part(form, table.parts[1], b, b, b, [*sizes, rows], back, folded, **last),
            ]
        swap = int(not self.inverse)
        return [
            _part(
                form, table.parts[0], b, b, b, [*sizes, columns], folded, to, load=FOLDED, in_swap=swap, out_swap=swap
            ),
            _part(form, table.parts[1], a // 2, columns, a // 2, [*sizes, b], back, apart, **more),
        ]


def _pitch(form: Form) -> int:
    """Complex numbers from row to row between two parts: rows that do not compete for the same lines of a cache."""
    return form.between[1] + 64 // (2 * coded(form.real).itemsize)


def _launch(
    form: Form, parts: list[tuple[dict[str, int], int]], lanes: int, itemsize: int, workers: int, isa: ISA, real: str
) -> Launch:
    """The call of the kernel: how lines and strips are shared out, and its scratch memory."""
    (first, lines), point = parts[0], 2 * lanes * itemsize
    room = (max(max(p["points"], p["have"], p["made"]) + 1 for p, _ in parts) + lanes) * point
    most = max((f for n in form.sizes for f in _radices(n)), default=1)
    space = 64 + ceil_div(16 * lanes, 64) * 64 + 2 * room + (most // 2 * 2 * point if most > 8 else 0)
    head = {"pool": pool.address(), "groups": 1, "each": lines, "lines": lines, "room": room, "space": space}
    line = first["out_temporary"] * itemsize

    def shared(part: dict[str, int], units: int) -> tuple[int, int]:
        """(strips of a chunk, chunks)"""
        grain = max(1, _GRAIN // (lanes * max(part["points"], 1)))
        return grain, ceil_div(units, grain)

    scratch = workers * space
    if len(parts) == 1:
        head["grain"], head["chunks"] = shared(first, lines * first["strips"])
    elif line + 2 * room <= cpu.cache_sizes().l2 and lines >= 2 * workers:
        grain = max(1, _GRAIN // form.points)
        apart = ceil_div(space + line, 64) * 64  # every worker's memory is aligned, however long the lines
        head.update(both=1, temporary=space, space=apart, grain=grain, chunks=ceil_div(lines, grain))
        scratch = workers * apart
    else:
        each = max(1, min(lines, _TOGETHER // line))
        head.update(each=each, groups=ceil_div(lines, each), temporary=scratch)
        head["grain"], head["chunks"] = shared(first, each * first["strips"])
        head["grain_later"], head["later"] = shared(parts[1][0], each * parts[1][0]["strips"])
        scratch += each * line
    words = [head.get(name, 0) for name in HEAD]
    for part, _ in parts:
        words += [int(part.get(name, 0)) for name in PART]
    name = f"fourier_{form.real}"
    address = engine.load(name, f"{name}|{isa.key}", lambda: fourier.kernel_ir(name, real, isa), isa).address(name)
    work = lines * form.points
    return Launch(address, tuple(words), ((~0, 0), (0, 0), (1, 0)), scratch, (), work > 2048)
