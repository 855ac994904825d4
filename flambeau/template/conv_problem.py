"""What a convolution asks for, in the terms of the templates: geometries, and contractions over them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..target.isa import ISA
from .epilogue import Epilogue, Plain
from .image import Geometry
from .micro import Number, number

__all__ = [
    "ConvSpec", "Problem", "Window", "by_pixels", "dense", "dense_window", "forward_geometry", "forward_problem",
    "input_gradient_problems", "output_size", "prefer_direct", "single_stride", "three",
]  # fmt: skip


class Window(NamedTuple):
    """Rows and columns of a dense window, and the distances at which it is moved."""

    high: int
    wide: int
    step_h: int
    step_w: int


@dataclass(frozen=True)
class ConvSpec:
    """What determines the code: the type of image and weights, of accumulators and output, the epilogue, and whether
    it is the direct kernel for few channels a group (see `prefer_direct`; with ``window`` that for single channels and
    this window), Winograd's algorithm (``last``: for channels that lie side by side), or the kernel that reads spread
    planes (`conv.choose`)."""

    source: str
    acc: str
    out: str
    epilogue: Epilogue | None = None
    direct: bool = False
    winograd: bool = False
    planes: bool = False
    window: Window | None = None
    last: bool = False

    @property
    def tail(self) -> Epilogue:
        """The epilogue."""
        return Plain(self.acc, self.out) if self.epilogue is None else self.epilogue

    def number(self, isa: ISA) -> Number:
        """How elements are multiplied."""
        if self.direct:
            return Number(self.acc, self.acc)
        return number(self.source, self.source, self.acc, isa)


def dense_window(g: Geometry) -> tuple[Window, tuple[int, int], list[int]] | None:
    """The window of a geometry of two dimensions whose taps fill a rectangle, the place of its first one in the image
    and the offsets in the weights by rows; None for another geometry."""
    if not g.taps or g.grid[0] != 1 or g.bounds[0] != 1:
        return None
    low = [min(tap[a] for tap in g.taps) for a in range(3)]
    high, wide = (max(tap[a] for tap in g.taps) - low[a] + 1 for a in (1, 2))
    at = {tap[:3]: tap[3] for tap in g.taps}
    wanted = [(low[0], low[1] + i, low[2] + j) for i in range(high) for j in range(wide)]
    if low[0] + g.base[0] or len(at) != len(wanted) or not all(place in at for place in wanted):
        return None
    start = low[1] + g.base[1], low[2] + g.base[2]
    return Window(high, wide, g.steps[1], g.steps[2]), start, [at[place] for place in wanted]


def prefer_direct(groups: int, channels: int, rows: int) -> bool:
    """Whether the direct kernel suits ``groups`` groups of so many channels to be summed and channels of the result."""
    return groups > 1 and channels * rows <= 4


def output_size(size: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Places of a kernel along one dimension."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


@dataclass(frozen=True)
class Problem:
    """One contraction: the image, the weights (row and channel stride; taps are in the geometry), the output."""

    batch: int
    groups: int
    rows: int
    """Rows of weights in a group."""
    geometry: Geometry
    x_group: int
    w_group: int
    w_row: int
    w_c: int
    c_at: int
    c_strides: tuple[int, ...]
    jump: tuple[int, int, int] = (1, 1, 1)
    """Distance of the grid's places in the result, which starts at place `phase`."""
    phase: tuple[int, int, int] = (0, 0, 0)


def by_pixels(p: Problem, unit: int = 1) -> bool:
    """Whether threads should share out the pixels rather than the channels of the result.

    What a layer writes, the next one reads: if every layer gives a thread the same part of the image, it finds that in
    its own cache; elements that another processor has written come several times slower, where processors have no
    cache together.  Weights are read by all threads then, and where they are the larger part, which they are in the
    deep layers of a network, each thread should read its own.  ``unit``: elements that are read for one of a kernel.
    """
    g = p.geometry
    weights = unit * p.groups * p.rows * g.channels * len(g.taps)
    image = p.batch * p.groups * (g.channels * math.prod(g.bounds) + p.rows * g.pixels)
    return 4 * weights < 3 * image


def three(values: Sequence[int], fill: int) -> tuple[int, int, int]:
    """Extends to three spatial dimensions in front."""
    a, b, c = (fill,) * (3 - len(values)) + tuple(values)
    return a, b, c


def single_stride(sizes: Sequence[int], strides: Sequence[int]) -> int | None:
    """The stride between elements of the dimensions taken as one; ``None`` if they cannot be."""
    step: int | None = None
    inner = 1
    for size, stride in zip(reversed(sizes), reversed(strides), strict=True):
        if size != 1:
            step = stride if step is None else step
            if stride != step * inner:
                return None
        inner *= size
    return 1 if step is None else step


def dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether the elements fill a stretch of memory, in whatever order."""
    inner = 1
    for stride, size in sorted((s, n) for n, s in zip(shape, strides, strict=True) if n != 1):
        if stride != inner:
            return False
        inner *= size
    return True


def forward_geometry(
    x_shape: Sequence[int],
    x_strides: Sequence[int],
    w_shape: Sequence[int],
    w_strides: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Geometry:
    """How the pixels of ``conv(x, w)`` read the image."""
    kernel = w_shape[2:]
    sizes = [output_size(*v) for v in zip(x_shape[2:], kernel, stride, padding, dilation, strict=True)]
    step, w_taps = three(dilation, 1), three(w_strides[2:], 0)
    taps = tuple(
        (i * step[0], j * step[1], k * step[2], i * w_taps[0] + j * w_taps[1] + k * w_taps[2])
        for i, j, k in itertools.product(*map(range, three(kernel, 1)))
    )
    return Geometry(
        (*x_strides[:2], *three(x_strides[2:], 0)), three(x_shape[2:], 1), three(sizes, 1), three(stride, 1),
        three([-p for p in padding], 0), w_shape[1], taps,
    )  # fmt: skip


def forward_problem(
    x_shape: Sequence[int],
    x_strides: Sequence[int],
    w_shape: Sequence[int],
    w_strides: Sequence[int],
    y_strides: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Problem:
    """``y = conv(x, w)``."""
    geometry = forward_geometry(x_shape, x_strides, w_shape, w_strides, stride, padding, dilation)
    channels, rows = w_shape[1], w_shape[0] // groups
    return Problem(
        x_shape[0], groups, rows, geometry, channels * x_strides[1], rows * w_strides[0], w_strides[0], w_strides[1],
        0, (*y_strides[:2], *three(y_strides[2:], 0)),
    )  # fmt: skip


def input_gradient_problems(
    dx_shape: Sequence[int],
    dx_strides: Sequence[int],
    w_shape: Sequence[int],
    w_strides: Sequence[int],
    dy_shape: Sequence[int],
    dy_strides: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> list[Problem]:
    """The gradient of ``conv(x, w)`` by x: one problem for each remainder of a pixel's place by the stride."""
    kernel, step, jump = three(w_shape[2:], 1), three(dilation, 1), three(stride, 1)
    before, full, w_taps = three(padding, 0), three(dx_shape[2:], 1), three(w_strides[2:], 0)
    c_strides = three(dx_strides[2:], 0)
    channels, rows = w_shape[0] // groups, w_shape[1]
    problems = []
    for phase in itertools.product(range(jump[0]), range(jump[1]), range(jump[2])):
        grid = tuple(max(0, -(-(size - r) // s)) for size, r, s in zip(full, phase, jump, strict=True))
        if 0 in grid and 0 not in full:
            continue
        # a tap meets a pixel at place + padding - tap * dilation if that is a multiple of the stride
        along = [
            [(i, (r + p - i * d) // s) for i in range(k) if (r + p - i * d) % s == 0]
            for k, r, p, d, s in zip(kernel, phase, before, step, jump, strict=True)
        ]
        taps = tuple(
            (i[1], j[1], k[1], i[0] * w_taps[0] + j[0] * w_taps[1] + k[0] * w_taps[2])
            for i, j, k in itertools.product(*along)
        )
        geometry = Geometry(
            (*dy_strides[:2], *three(dy_strides[2:], 0)), three(dy_shape[2:], 1), three(grid, 1), (1, 1, 1),
            (0, 0, 0), channels, taps,
        )  # fmt: skip
        at = sum(r * c for r, c in zip(phase, c_strides, strict=True))
        out = three([s * c for s, c in zip(jump, c_strides, strict=True)], 0)
        problems.append(
            Problem(
                dx_shape[0], groups, rows, geometry, channels * dy_strides[1], channels * w_strides[0], w_strides[1],
                w_strides[0], at, (*dx_strides[:2], *out), jump, phase,
            )
        )  # fmt: skip
    return problems
