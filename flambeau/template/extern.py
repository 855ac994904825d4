"""Templates as nodes of a graph: objects for ``Graph.extern`` that bind a template to operands
(``graph.plan.Extern``)."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..dtype import coded
from ..runtime import engine, memory, pool
from ..runtime.native import make_caller
from ..target.isa import ISA
from . import conv, conv_weight, gemm, sort

__all__ = ["Conv", "ConvTranspose", "ConvWeight", "MatMul", "Sort"]

Run = Callable[[Sequence[int], Sequence[int]], int]
_MERGED = 3  # batch dimensions that one launch takes
_SMALL = 200_000  # multiply-adds below which the lock of the interpreter is kept


def _collapse(batch: Sequence[int], strides: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """Batch dimensions joined where all operands allow it, without those of size 1."""
    sizes: list[int] = []
    kept: list[list[int]] = [[] for _ in strides]
    for d, n in enumerate(batch):
        if n == 1:
            continue
        if sizes and all(k[-1] == s[d] * n for k, s in zip(kept, strides)):
            sizes[-1] *= n
            for k, s in zip(kept, strides):
                k[-1] = s[d]
            continue
        sizes.append(n)
        for k, s in zip(kept, strides):
            k.append(s[d])
    return sizes, kept


class _Launch:
    """A kernel's entry with its parameters, called with addresses and given scratch memory.

    ``bind(workers)`` makes the parameters; it is asked again should the pool have grown since.
    """

    def __init__(self, spec: Any, requests: Any, bind: Callable[[int], gemm.Binding], buffers: int, big: bool) -> None:
        name = requests[0].name
        self.address = engine.load_many(requests)[0].address(name)
        self.signature = "p" * (buffers + 1) + "".join("d" if s == "f64" else "i" for s in spec.tail.scalars)
        self.bind, self.big = bind, big
        self.workers = 0
        self._prepare()

    def _prepare(self) -> None:
        workers = pool.get_num_threads()
        binding = self.bind(workers)
        self.params = (ctypes.c_int64 * len(binding.params))(*binding.params)
        self.call = make_caller(
            self.address, self.signature, bound=(ctypes.addressof(self.params),), release_gil=self.big
        )
        self.scratch, self.swap, self.workers = binding.scratch_bytes, binding.swap, workers

    def __call__(self, out: int, a: int, b: int, extra: Sequence[int], scalars: Sequence[float]) -> int:
        if pool.get_num_threads() > self.workers:
            self._prepare()
        if self.swap:
            a, b = b, a
        if not self.scratch:
            return self.call(out, a, b, *extra, 0, *scalars)
        scratch = memory.allocate(self.scratch)
        try:
            return self.call(out, a, b, *extra, scratch, *scalars)
        finally:
            memory.free(scratch, self.scratch)


@dataclass(frozen=True)
class MatMul:
    """``out = alpha * a @ b + beta * addend`` over batches; the inputs are a, b and, if there is a ``beta``, the addend
    in the shape of the result (broadcast dimensions with stride 0)."""

    alpha: float = 1
    beta: float | None = None

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Run:
        a, b = inputs[:2]
        out = outputs[0]
        isa = ISA.host()
        acc = gemm.accumulator(a.type, b.type)
        *batch, m, n = out.shape
        k = a.shape[-1]
        addend = inputs[2] if self.beta is not None else None
        epilogue = None
        scalars: tuple[float, ...] = ()
        if addend is not None or self.alpha != 1:
            assert addend is not None
            scaled = (self.alpha, self.beta) != (1, 1)
            epilogue = gemm.AddIn(acc, out.type, addend.type, scaled)
            if scaled:
                number = int if acc[0] == "i" else float
                scalars = (number(self.alpha), number(self.beta or 0))
        spec = gemm.GemmSpec(a.type, b.type, acc, out.type, epilogue)
        operands = [a, b, out] + ([addend] if addend is not None else [])
        sizes, strides = _collapse(batch, [o.strides[:-2] for o in operands])
        lead, inner = sizes[: max(0, len(sizes) - _MERGED)], sizes[max(0, len(sizes) - _MERGED) :]
        steps = [s[: len(lead)] for s in strides]
        within = [s[len(lead) :] + list(o.strides[-2:]) for s, o in zip(strides, operands)]
        words: Sequence[int] = ()
        if addend is not None:
            words = _addend_words(within[3], len(inner), inner)
        if not inner:
            inner, within = [1], [[0, *w] for w in within]
        spec = gemm.choose(spec, m, n, within[0], within[1], within[2])

        def bind(workers: int) -> gemm.Binding:
            return gemm.bind(spec, isa, inner, m, n, k, within[0], within[1], within[2], pool.address(), workers, words)

        work = m * n * k
        for size in sizes:
            work *= size
        launch = _Launch(spec, gemm.requests(spec, isa), bind, 4 if addend is not None else 3, work > _SMALL)
        offsets = [
            tuple(sum(i * s for i, s in zip(index, step)) * coded(o.type).itemsize for o, step in zip(operands, steps))
            for index in itertools.product(*map(range, lead))
        ]

        def run(sources: Sequence[int], results: Sequence[int]) -> int:
            for at in offsets:
                extra = (sources[2] + at[3],) if addend is not None else ()
                status = launch(results[0] + at[2], sources[0] + at[0], sources[1] + at[1], extra, scalars)
                if status:
                    return status
            return 0

        return run


def _addend_words(strides: Sequence[int], batches: int, sizes: Sequence[int]) -> tuple[int, ...]:
    """(batch, row, column) strides of an addend: its batch dimensions must step evenly."""
    step = strides[batches - 1] if batches else 0
    for d in range(batches - 1):
        inner = 1
        for n in sizes[d + 1 :]:
            inner *= n
        if strides[d] != step * inner:
            raise ValueError("the addend of a batched product must step evenly through the batch")
    return (step, strides[-2], strides[-1])


@dataclass(frozen=True)
class Conv:
    """Convolution; the inputs are image, weights and, if ``bias``, one number per output channel."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    bias: bool

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Run:
        x, w = inputs[:2]
        out = outputs[0]
        isa = ISA.host()
        acc = gemm.accumulator(x.type, w.type)
        words, epilogue = _bias(self.bias, inputs, acc, out, self.groups, out.shape[1])
        spec = conv.ConvSpec(x.type, acc, out.type, epilogue, _direct(self.groups, w, acc))

        def bind(workers: int) -> gemm.Binding:
            return conv.bind_forward(
                spec, isa, x.shape, x.strides, w.shape, w.strides, out.strides, self.stride, self.padding,
                self.dilation, self.groups,
                pool.address(), workers, words,
            )  # fmt: skip

        return _run_conv(spec, isa, bind, self.bias)


@dataclass(frozen=True)
class ConvTranspose:
    """Transposed convolution, which is the gradient of a convolution by its image: the inputs are image, weights
    (in channels, out channels / groups, *kernel) and, if ``bias``, one number per output channel."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    bias: bool

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Run:
        y, w = inputs[:2]
        out = outputs[0]
        isa = ISA.host()
        acc = gemm.accumulator(y.type, w.type)
        words, epilogue = _bias(self.bias, inputs, acc, out, self.groups, out.shape[1])
        spec = conv.ConvSpec(y.type, acc, out.type, epilogue, _direct(self.groups, w, acc))

        def bind(workers: int) -> gemm.Binding:
            return conv.bind_input_gradient(
                spec, isa, out.shape, out.strides, w.shape, w.strides, y.shape, y.strides, self.stride, self.padding,
                self.dilation,
                self.groups, pool.address(), workers, words,
            )  # fmt: skip

        return _run_conv(spec, isa, bind, self.bias)


def _direct(groups: int, weight: Any, acc: str) -> bool:
    """Whether weights of this shape are for the kernel that does not pack, which is for floating numbers."""
    return acc[0] == "f" and conv.prefer_direct(groups, weight.shape[1], weight.shape[0] // groups)


@dataclass(frozen=True)
class ConvWeight:
    """The gradient of a convolution by its weights; the inputs are the image and the gradient of the result."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Run:
        x, dy = inputs
        out = outputs[0]
        isa = ISA.host()
        acc = gemm.accumulator(x.type, dy.type)
        spec = conv.ConvSpec(x.type, acc, out.type, None, _direct(self.groups, out, acc))

        def bind(workers: int) -> gemm.Binding:
            return conv_weight.bind(
                spec, isa, out.shape, out.strides, x.shape, x.strides, dy.shape, dy.strides, self.stride, self.padding,
                self.dilation,
                self.groups, pool.address(), workers,
            )  # fmt: skip

        launch = _Launch(spec, conv_weight.requests(spec, isa), bind, 3, True)

        def run(sources: Sequence[int], results: Sequence[int]) -> int:
            # the kernel's operands are the gradient, then the image
            return launch(results[0], sources[1], sources[0], (), ())

        return run


def _bias(
    bias: bool, inputs: Sequence[Any], acc: str, out: Any, groups: int, channels: int
) -> tuple[tuple[int, ...], Any]:
    """A bias is an addend with a step per row (an output channel) and per batch (a group)."""
    if not bias:
        return (), None
    step = inputs[2].strides[0]
    return (step * (channels // groups), step, 0), gemm.AddIn(acc, out.type, inputs[2].type, False)


def _run_conv(spec: conv.ConvSpec, isa: ISA, bind: Callable[[int], gemm.Binding], bias: bool) -> Run:
    launch = _Launch(spec, conv.requests(spec, isa), bind, 4 if bias else 3, True)

    def run(sources: Sequence[int], results: Sequence[int]) -> int:
        # the kernel's operands are the weights, then the image
        return launch(results[0], sources[1], sources[0], sources[2:3], ())

    return run


@dataclass(frozen=True)
class Sort:
    """The first ``k`` elements of every row of a contiguous (rows, n) matrix in stable order, and their positions."""

    k: int
    descending: bool

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Run:
        x = inputs[0]
        rows, n = x.shape
        isa = ISA.host()
        name = f"sort_{x.type}_{'down' if self.descending else 'up'}"
        address = engine.load(
            name, f"{name}|{isa.key}", lambda: sort.kernel_ir(name, x.type, self.descending, isa), isa
        ).address(name)
        words = sort.params(x.type, rows, n, pool.address(), self.k)
        params = (ctypes.c_int64 * len(words))(*words)
        call = make_caller(address, "pppp", bound=(ctypes.addressof(params),), release_gil=rows * n > _SMALL // 64)

        def run(sources: Sequence[int], results: Sequence[int], keep: object = params) -> int:
            nbytes = sort.scratch_bytes(x.type, rows, n, pool.get_num_threads(), self.k)
            scratch = memory.allocate(nbytes)
            try:
                return call(results[0], results[1], sources[0], scratch)
            finally:
                memory.free(scratch, nbytes)

        return run
