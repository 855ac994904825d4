"""Templates as nodes of a graph: objects for ``Graph.extern`` that bind a template to operands
(``graph.plan.Extern``)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .. import template
from ..dtype import coded
from ..graph.batch import spread
from ..graph.epilogue import Opened
from ..graph.node import Graph, Node
from ..graph.program import Launch, Packed
from ..layout import row_major
from ..runtime import engine, pool
from ..target.isa import ISA
from .formula import Formula, steps_of

__all__ = ["BagSum", "Compress", "Conv", "ConvTranspose", "ConvWeight", "MatMul", "Pool", "Sort"]

Results = Sequence[tuple[tuple[int, ...], str]]  # shape and type of each
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


def _launch(
    spec: Any, requests: Any, binding: template.gemm.Binding, out: int, a: int, b: int, *extra: int,
    offsets: Sequence[int] = (), big: bool = True, stack: bool = False,
) -> Launch:  # fmt: skip
    """The launch of a kernel whose entry takes (out, a, b, extra..., scratch): operands as ``Launch`` numbers them,
    with byte ``offsets``."""
    name = requests[0].name
    address = engine.load_many(requests)[0].address(name)
    operands = [out, a, b, *extra]
    places = list(zip(operands, offsets or [0] * len(operands)))
    if binding.swap:
        places[1], places[2] = places[2], places[1]
    packed = None
    if binding.ready is not None:
        ready = binding.ready
        packed = Packed(1 + ready.operand, ready.key, ready.nbytes, ready.params)
    return Launch(address, tuple(binding.params), tuple(places), binding.scratch_bytes, (), big, stack, packed)


@dataclass(frozen=True)
class MatMul:
    """``out = alpha * a @ b + beta * addend`` over batches; the inputs are a, b and, if there is a ``beta``, the addend
    in the shape of the result (broadcast dimensions with stride 0)."""

    alpha: float = 1
    beta: float | None = None
    formula: Formula | None = None
    """What is stored instead of the product, and computed from it and from operands that follow a and b."""

    def opened(self, g: Graph, inputs: Sequence[Node], result: tuple[tuple[int, ...], str]) -> Opened | None:
        """See ``graph.epilogue``."""
        acc = template.gemm.accumulator(inputs[0].type, inputs[1].type)
        if self.formula is not None or acc != result[1] or acc[0] != "f" or 0 in result[0]:
            return None
        addends = [(inputs[2], self.beta)] if self.beta is not None else []
        return Opened(MatMul(), list(inputs[:2]), self.alpha, addends)

    def with_formula(self, acc: str, operands: tuple[str, ...], code: Any, kept: int | None) -> MatMul:
        """See ``graph.epilogue``."""
        return MatMul(formula=Formula(acc, operands, code, kept))

    def accepts(self, k: int, shape: Sequence[int], strides: Sequence[int], result: Sequence[int]) -> bool:
        """See ``graph.epilogue``."""
        return k < 2 or self.formula is None or _steps_of_matrix(shape, strides, result) is not None

    def batched(
        self, g: Graph, operands: Sequence[Node], flags: Sequence[bool], results: Results, size: int
    ) -> list[Node]:
        """See ``graph.batch``: rows of the batch below each other if only they differ, otherwise one more batch."""
        (shape, type_), (a, b) = results[0], operands[:2]
        if flags[0] and not flags[1] and len(shape) == 2:
            rows = g.reshape(a, (size * shape[0], a.shape[-1]))
            found = g.extern(MatMul(), [rows, b], [((size * shape[0], shape[1]), type_)])[0]
            found = g.reshape(found, (size, *shape))
        else:
            whole = [spread(g, (n, f), size) for n, f in zip((a, b), flags)]
            found = g.extern(MatMul(), whole, [((size, *shape), type_)])[0]
        if self.alpha != 1:
            found = g.apply("mul", found, g.const(self.alpha, type_))
        if self.beta is None:
            return [found]
        addend = spread(g, (operands[2], flags[2]), size)
        if self.beta != 1:
            addend = g.apply("mul", addend, g.const(self.beta, type_))
        return [g.apply("add", found, addend)]

    def operations(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        """Multiplications and additions."""
        return 2 * math.prod(outputs[0].shape) * int(inputs[0].shape[-1])

    def launches(self, inputs: Sequence[Any], outputs: Sequence[Any], workers: int) -> list[Launch]:
        """The kernels for operands and results at these places, with ``workers`` threads."""
        a, b = inputs[:2]
        out = outputs[0]
        isa = ISA.host()
        acc = template.gemm.accumulator(a.type, b.type)
        *batch, m, n = out.shape
        k = a.shape[-1]
        addend = inputs[2] if self.beta is not None else None
        epilogue = None
        numbers: tuple[int, ...] = ()
        if addend is not None or self.alpha != 1:
            assert addend is not None
            scaled = (self.alpha, self.beta) != (1, 1)
            epilogue = template.gemm.AddIn(acc, out.type, addend.type, scaled)
            if scaled:
                numbers = (
                    template.epilogue.number_word(self.alpha, acc),
                    template.epilogue.number_word(self.beta or 0, acc),
                )
        spec = template.gemm.GemmSpec(a.type, b.type, acc, out.type, epilogue)
        operands = [a, b, out] + ([addend] if addend is not None else [])
        if self.formula is not None:
            return self._with_formula(inputs, outputs, spec, acc, workers)
        sizes, strides = _collapse(batch, [o.strides[:-2] for o in operands])
        lead, inner = sizes[: max(0, len(sizes) - _MERGED)], sizes[max(0, len(sizes) - _MERGED) :]
        steps = [s[: len(lead)] for s in strides]
        within = [s[len(lead) :] + list(o.strides[-2:]) for s, o in zip(strides, operands)]
        words: Sequence[int] = ()
        if addend is not None:
            words = (*_addend_words(within[3], len(inner), inner), *numbers)
        if not inner:
            inner, within = [1], [[0, *w] for w in within]
        spec = template.gemm.choose(spec, m, n, k, within[0], within[1], within[2])

        binding = template.gemm.bind(
            spec, isa, inner, m, n, k, within[0], within[1], within[2], pool.address(), workers, words
        )
        work = m * n * k
        for size in sizes:
            work *= size
        places = (~0, 0, 1, 2) if addend is not None else (~0, 0, 1)
        order = (2, 0, 1, 3)[: len(places)]
        entry, big = template.gemm.requests(spec, isa)[:1], work > _SMALL
        stack = binding.scratch_bytes <= template.contract.STACK
        found = []
        for index in itertools.product(*map(range, lead)):
            at = [sum(i * s for i, s in zip(index, step)) * coded(o.type).itemsize for o, step in zip(operands, steps)]
            offsets = [at[k] for k in order]
            found.append(_launch(spec, entry, binding, *places, offsets=offsets, big=big, stack=stack))
        return found

    def _with_formula(
        self, inputs: Sequence[Any], outputs: Sequence[Any], spec: template.gemm.GemmSpec, acc: str, workers: int
    ) -> list[Launch]:
        """The launches of a product whose tail is a formula; at most three batch dimensions that do not step evenly."""
        assert self.formula is not None
        a, b = inputs[:2]
        out = outputs[0]
        isa = ISA.host()
        *batch, m, n = out.shape
        sizes, strides = _collapse(batch, [o.strides[:-2] for o in (a, b, out)])
        if len(sizes) > _MERGED:
            raise ValueError("a product with a formula has at most three batch dimensions")
        within = [s + list(o.strides[-2:]) for s, o in zip(strides, (a, b, out))]
        if not sizes:
            sizes, within = [1], [[0, *w] for w in within]
        steps = [_steps_of_matrix(o.shape, o.strides, out.shape) for o in (*inputs[2:], *outputs[1:])]
        words = tuple(w for three in steps for w in three or ())
        k, (left, right, result) = a.shape[-1], within
        spec = template.gemm.choose(replace(spec, epilogue=self.formula), m, n, k, left, right, result)
        binding = template.gemm.bind(
            spec, isa, sizes, m, n, k, left, right, result, pool.address(), workers, words
        )  # fmt: skip
        places = (~0, 0, 1, *range(2, len(inputs)), *([~1] if len(outputs) > 1 else []))
        big = math.prod(out.shape) * a.shape[-1] > _SMALL
        stack = binding.scratch_bytes <= template.contract.STACK
        spec = replace(spec, epilogue=self.formula.bound(words, binding.swap))
        return [_launch(spec, template.gemm.requests(spec, isa)[:1], binding, *places, big=big, stack=stack)]


def _steps_of_matrix(shape: Sequence[int], strides: Sequence[int], result: Sequence[int]) -> tuple[int, ...] | None:
    """The (batch, row, column) strides of an operand of a formula."""
    rank = len(result)
    return steps_of(shape, strides, result, (range(rank - 2), (rank - 2,), (rank - 1,)))


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
class _Convolution:
    """What convolution and transposed convolution do alike when more is computed from their sums."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    bias: bool
    formula: Formula | None = None
    """What is stored instead of the sums, and computed from them and from operands that follow the weights."""

    def opened(self, g: Graph, inputs: Sequence[Node], result: tuple[tuple[int, ...], str]) -> Opened | None:
        """See ``graph.epilogue``."""
        return _opened_conv(self, g, inputs, result)

    def with_formula(self, acc: str, operands: tuple[str, ...], code: Any, kept: int | None) -> Any:
        """See ``graph.epilogue``."""
        return replace(self, formula=Formula(acc, operands, code, kept))

    def accepts(self, k: int, shape: Sequence[int], strides: Sequence[int], result: Sequence[int]) -> bool:
        """See ``graph.epilogue``."""
        return k < 2 or self.formula is None or _steps_of_image(shape, strides, result, 1) is not None


@dataclass(frozen=True)
class Conv(_Convolution):
    """Convolution; the inputs are image, weights and, if ``bias``, one number per output channel."""

    def batched(
        self, g: Graph, operands: Sequence[Node], flags: Sequence[bool], results: Results, size: int
    ) -> list[Node]:
        """See ``graph.batch``: more images for the same weights, otherwise more groups."""
        return _batched_conv(self, g, operands, flags, results[0], size)

    def operations(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        """Multiplications and additions."""
        return 2 * math.prod(outputs[0].shape) * math.prod(inputs[1].shape[1:])

    def launches(self, inputs: Sequence[Any], outputs: Sequence[Any], workers: int) -> list[Launch]:
        """The kernels for operands and results at these places, with ``workers`` threads."""
        x, w = inputs[:2]
        out = outputs[0]
        isa = ISA.host()
        acc = template.gemm.accumulator(x.type, w.type)
        words, epilogue = _tail(self, inputs, acc, outputs)
        spec = template.conv.ConvSpec(x.type, acc, out.type, epilogue, _direct(self.groups, w, acc))
        problem = template.conv_problem.forward_problem(
            x.shape, x.strides, w.shape, w.strides, out.strides, self.stride, self.padding, self.dilation, self.groups
        )
        spec = template.conv.choose(spec, isa, [problem])

        binding = template.conv.bind_forward(
            spec, isa, x.shape, x.strides, w.shape, w.strides, out.strides, self.stride, self.padding, self.dilation,
            self.groups, pool.address(), workers, words, w.constant,
        )  # fmt: skip
        return _conv_launches(spec, isa, binding, words, len(inputs) - 2, len(outputs) - 1)


@dataclass(frozen=True)
class ConvTranspose(_Convolution):
    """Transposed convolution, which is the gradient of a convolution by its image: the inputs are image, weights
    (in channels, out channels / groups, *kernel) and, if ``bias``, one number per output channel."""

    def batched(
        self, g: Graph, operands: Sequence[Node], flags: Sequence[bool], results: Results, size: int
    ) -> list[Node]:
        """See ``graph.batch``: more images for the same weights, otherwise more groups."""
        return _batched_conv(self, g, operands, flags, results[0], size)

    def operations(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        """Multiplications and additions."""
        return 2 * math.prod(inputs[0].shape) * math.prod(inputs[1].shape[1:])

    def launches(self, inputs: Sequence[Any], outputs: Sequence[Any], workers: int) -> list[Launch]:
        """The kernels for operands and results at these places, with ``workers`` threads."""
        y, w = inputs[:2]
        out = outputs[0]
        isa = ISA.host()
        acc = template.gemm.accumulator(y.type, w.type)
        words, epilogue = _tail(self, inputs, acc, outputs)
        spec = template.conv.ConvSpec(y.type, acc, out.type, epilogue, _direct(self.groups, w, acc))
        problems = template.conv_problem.input_gradient_problems(
            out.shape, out.strides, w.shape, w.strides, y.shape, y.strides, self.stride, self.padding, self.dilation,
            self.groups,
        )  # fmt: skip
        spec = template.conv.choose(spec, isa, problems)

        binding = template.conv.bind_input_gradient(
            spec, isa, out.shape, out.strides, w.shape, w.strides, y.shape, y.strides, self.stride, self.padding,
            self.dilation, self.groups, pool.address(), workers, words,
        )  # fmt: skip
        return _conv_launches(spec, isa, binding, words, len(inputs) - 2, len(outputs) - 1)


def _members_as_channels(g: Graph, x: Node) -> Node:
    """(batch, n, channels, ...) as (n, batch * channels, ...)."""
    turned = g.permute(x, (1, 0, *range(2, len(x.shape))))
    return g.reshape(turned, (turned.shape[0], turned.shape[1] * turned.shape[2], *turned.shape[3:]))


def _batched_conv(
    spec: Conv | ConvTranspose, g: Graph, operands: Sequence[Node], flags: Sequence[bool],
    result: tuple[tuple[int, ...], str], size: int,
) -> list[Node]:  # fmt: skip
    """A convolution, or a transposed one, of each member of a batch."""
    shape, type_ = result
    x = spread(g, (operands[0], flags[0]), size)
    if not any(flags[1:]):
        many = g.reshape(x, (size * x.shape[1], *x.shape[2:]))
        found = g.extern(spec, [many, *operands[1:]], [((size * shape[0], *shape[1:]), type_)])[0]
        return [g.reshape(found, (size, *shape))]
    factors = [spread(g, (n, f), size) for n, f in zip(operands[1:], flags[1:])]
    factors = [g.reshape(f, (size * f.shape[1], *f.shape[2:])) for f in factors]
    n, channels, *places = shape
    groups = replace(spec, groups=spec.groups * size)
    found = g.extern(groups, [_members_as_channels(g, x), *factors], [((n, size * channels, *places), type_)])[0]
    apart = g.reshape(found, (n, size, channels, *places))
    return [g.permute(apart, (1, 0, *range(2, len(apart.shape))))]


def _direct(groups: int, weight: Any, acc: str) -> bool:
    """Whether weights of this shape are for the kernel that does not pack, which is for floating numbers."""
    return acc[0] == "f" and template.conv.prefer_direct(groups, weight.shape[1], weight.shape[0] // groups)


@dataclass(frozen=True)
class ConvWeight:
    """The gradient of a convolution by its weights; the inputs are the image and the gradient of the result."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def batched(
        self, g: Graph, operands: Sequence[Node], flags: Sequence[bool], results: Results, size: int
    ) -> list[Node]:
        """See ``graph.batch``: every member is a group of channels."""
        shape, type_ = results[0]
        images = [_members_as_channels(g, spread(g, (n, f), size)) for n, f in zip(operands, flags)]
        spec = replace(self, groups=self.groups * size)
        found = g.extern(spec, images, [((size * shape[0], *shape[1:]), type_)])[0]
        return [g.reshape(found, (size, *shape))]

    def operations(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        """Multiplications and additions."""
        return 2 * math.prod(inputs[1].shape) * math.prod(outputs[0].shape[1:])

    def launches(self, inputs: Sequence[Any], outputs: Sequence[Any], workers: int) -> list[Launch]:
        """The kernels for operands and results at these places, with ``workers`` threads."""
        x, dy = inputs
        out = outputs[0]
        isa = ISA.host()
        acc = template.gemm.accumulator(x.type, dy.type)
        spec = template.conv.ConvSpec(x.type, acc, out.type, None, _direct(self.groups, out, acc))
        spec = template.conv_weight.choose(
            spec, isa, out.shape, out.strides, x.shape, x.strides, self.stride, self.padding, self.dilation, self.groups
        )

        binding = template.conv_weight.bind(
            spec, isa, out.shape, out.strides, x.shape, x.strides, dy.shape, dy.strides, self.stride, self.padding,
            self.dilation, self.groups, pool.address(), workers,
        )  # fmt: skip
        # the kernel's operands are the gradient, then the image
        return [_launch(spec, template.conv_weight.requests(spec, isa), binding, ~0, 1, 0)]


def _tail(
    spec: Conv | ConvTranspose, inputs: Sequence[Any], acc: str, outputs: Sequence[Any]
) -> tuple[tuple[int, ...], Any]:
    """A bias is an addend with a step per row (an output channel) and per batch (a group)."""
    out = outputs[0]
    if spec.formula is not None:
        steps = [_steps_of_image(o.shape, o.strides, out.shape, spec.groups) for o in (*inputs[2:], *outputs[1:])]
        return tuple(w for three in steps for w in three or ()), spec.formula
    if not spec.bias:
        return (), None
    step = inputs[2].strides[0]
    return (step * (out.shape[1] // spec.groups), step, 0), template.gemm.AddIn(acc, out.type, inputs[2].type, False)


def _steps_of_image(
    shape: Sequence[int], strides: Sequence[int], result: Sequence[int], groups: int
) -> tuple[int, ...] | None:
    """The (group, channel, pixel) strides of an operand of a formula; pixels count through all images."""
    found = steps_of(shape, strides, result, ((1,), (0, *range(2, len(result)))))
    return None if found is None else (found[0] * (result[1] // groups), *found)


def _opened_conv(
    spec: _Convolution, g: Graph, inputs: Sequence[Node], result: tuple[tuple[int, ...], str]
) -> Opened | None:
    shape, type_ = result
    acc = template.gemm.accumulator(inputs[0].type, inputs[1].type)
    if spec.formula is not None or acc != type_ or acc[0] != "f" or 0 in shape:
        return None
    addends = []
    if spec.bias:
        bias = inputs[2]
        addends.append((g.reshape(bias, (*bias.shape, *[1] * (len(shape) - 2))), 1.0))
    return Opened(replace(spec, bias=False), list(inputs[:2]), 1, addends)


def _conv_launches(
    spec: template.conv.ConvSpec, isa: ISA, binding: template.gemm.Binding, words: Sequence[int], operands: int,
    kept: int,
) -> list[Launch]:  # fmt: skip
    # the kernel's operands are the weights, then the image
    if isinstance(spec.epilogue, (Formula, template.gemm.AddIn)):
        spec = replace(spec, epilogue=spec.epilogue.bound(words, binding.swap))
    more = (*range(2, 2 + operands), *([~1] if kept else []))
    return [_launch(spec, template.conv.requests(spec, isa), binding, ~0, 1, 0, *more)]


@dataclass(frozen=True)
class Pool:
    """The maxima of windows and their positions, or (``kind`` "sum") their sums divided by ``divisor``, of an image
    (batch, channels, ...)."""

    kind: str
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    divisor: int = 1

    def batched(
        self, g: Graph, operands: Sequence[Node], flags: Sequence[bool], results: Results, size: int
    ) -> list[Node]:
        """See ``graph.batch``: more images."""
        x = operands[0]
        many = g.reshape(x, (size * x.shape[1], *x.shape[2:]))
        found = g.extern(self, [many], [((size * shape[0], *shape[1:]), type_) for shape, type_ in results])
        return [g.reshape(f, (size, *shape)) for f, (shape, _) in zip(found, results)]

    def launches(self, inputs: Sequence[Any], outputs: Sequence[Any], workers: int) -> list[Launch]:
        """The kernels for operands and results at these places, with ``workers`` threads."""
        x, isa = inputs[0], ISA.host()
        last = all(o.strides[1] == 1 for o in (x, *outputs)) and x.shape[1] > 1
        spec = template.pool.PoolSpec(x.type, self.kind, last)
        binding = template.pool.bind(
            spec, isa, x.shape, x.strides, outputs[0].shape, [o.strides for o in outputs], self.kernel, self.stride,
            self.padding, self.dilation, self.divisor, pool.address(), workers,
        )  # fmt: skip
        address = engine.load_many(template.pool.requests(spec, isa))[0].address(template.pool.kernel_name(spec))
        buffers = (*((~i, 0) for i in range(spec.results)), (0, 0))
        return [Launch(address, tuple(binding.params), buffers, binding.scratch_bytes)]


@dataclass(frozen=True)
class Unpool:
    """Elements (batch, channels, ...) added to zeros of the shape of the result at positions in its flattened spatial
    dimensions; the inputs are the elements and their positions."""

    def batched(
        self, g: Graph, operands: Sequence[Node], flags: Sequence[bool], results: Results, size: int
    ) -> list[Node]:
        """See ``graph.batch``: more images."""
        (shape, type_), whole = results[0], [spread(g, (n, f), size) for n, f in zip(operands, flags)]
        many = [g.reshape(n, (size * n.shape[1], *n.shape[2:])) for n in whole]
        found = g.extern(self, many, [((size * shape[0], *shape[1:]), type_)])[0]
        return [g.reshape(found, (size, *shape))]

    def launches(self, inputs: Sequence[Any], outputs: Sequence[Any], workers: int) -> list[Launch]:
        """The kernels for operands and results at these places, with ``workers`` threads."""
        (x, at), out = inputs, outputs[0]
        isa, spec = ISA.host(), template.unpool.UnpoolSpec(x.type)
        binding = template.unpool.bind(out.shape, out.strides, x.shape, x.strides, at.strides, pool.address())
        name = template.unpool.kernel_name(spec)
        address = engine.load_many(template.unpool.requests(spec, isa))[0].address(name)
        return [Launch(address, tuple(binding.params), ((~0, 0), (0, 0), (1, 0)), binding.scratch_bytes)]


@dataclass(frozen=True)
class BagSum:
    """Sums (or means) of rows of a table over ranges of a list of row numbers, without the row ``padding``; the inputs
    are the table (rows, columns), the row numbers, starts and ends of the ranges, and the weights if there are any."""

    mean: bool
    padding: int

    def accepts(self, k: int, shape: Sequence[int], strides: Sequence[int], result: Sequence[int]) -> bool:
        """Whether an operand is read as it lies: the rows of the table and the lists have no gaps."""
        return strides[-1] == 1 or shape[-1] == 1

    def batched(
        self, g: Graph, operands: Sequence[Node], flags: Sequence[bool], results: Results, size: int
    ) -> list[Node]:
        """See ``graph.batch``: the ranges of all members in one list, over one table."""
        (shape, type_), table = results[0], operands[0]
        rows, count = table.shape[-2], operands[1].shape[-1]
        if flags[0]:
            table = g.in_memory(g.reshape(table, (size * rows, table.shape[-1])))
        members = [spread(g, (n, f), size) for n, f in zip(operands[1:], flags[1:])]
        if flags[0]:
            members[0] = self._of_members(g, members[0], rows)

        def joined(n: Node, step: int) -> Node:
            if step:
                number = g.apply("mul", g.iota(n.shape, 0), g.const(step, "i64"))
                n = g.apply("add", n, g.cast(number, n.type))
            return g.in_memory(g.reshape(n, (n.shape[0] * n.shape[1],)))

        many = [joined(n, step) for n, step in zip(members, [0, count, count, 0])]
        found = g.extern(self, [table, *many], [((size * shape[0], shape[1]), type_)])[0]
        return [g.reshape(found, (size, *shape))]

    def _of_members(self, g: Graph, index: Node, rows: int) -> Node:
        """Row numbers (members, numbers) in the tables of all members, one after the other: those outside of a table
        are outside of all, and the row that is left out is the first member's."""
        index = g.cast(index, "i64")
        below, above = (g.apply("lt", index, g.const(bound, "i64")) for bound in (0, rows))
        place = g.apply("add", index, g.apply("mul", g.iota(index.shape, 0), g.const(rows, "i64")))
        place = g.apply("select", above, place, g.const(-1, "i64"))
        place = g.apply("select", below, g.const(-1, "i64"), place)
        if self.padding < 0:
            return place
        padding = g.const(self.padding, "i64")
        return g.apply("select", g.apply("eq", index, padding), padding, place)

    def launches(self, inputs: Sequence[Any], outputs: Sequence[Any], workers: int) -> list[Launch]:
        """The kernels for operands and results at these places, with ``workers`` threads."""
        table, index, start, *weights = inputs
        spec = template.bags.BagSpec(table.type, index.type, start.type, len(weights) > 1, self.mean)
        binding = template.bags.bind(
            start.shape[0], index.shape[0], table.shape, table.strides[0], self.padding, pool.address()
        )
        requests = template.bags.requests(spec, ISA.host())
        address = engine.load_many(requests)[0].address(template.bags.kernel_name(spec))
        places = ((~0, 0), *((k, 0) for k in range(len(inputs))))
        return [Launch(address, tuple(binding.params), places, binding.scratch_bytes)]


@dataclass(frozen=True)
class Sort:
    """The first ``k`` elements of every row of a contiguous (rows, n) matrix in stable order, and their positions."""

    k: int
    descending: bool

    def accepts(self, k: int, shape: Sequence[int], strides: Sequence[int], result: Sequence[int]) -> bool:
        """Whether an operand is read as it lies: without gaps, in row-major order."""
        return row_major(shape, strides)

    def batched(
        self, g: Graph, operands: Sequence[Node], flags: Sequence[bool], results: Results, size: int
    ) -> list[Node]:
        """See ``graph.batch``: more rows."""
        _, rows, n = operands[0].shape
        many = g.in_memory(g.reshape(operands[0], (size * rows, n)))
        found = g.extern(self, [many], [((size * rows, *shape[1:]), type_) for shape, type_ in results])
        return [g.reshape(f, (size, *shape)) for f, (shape, _) in zip(found, results)]

    def launches(self, inputs: Sequence[Any], outputs: Sequence[Any], workers: int) -> list[Launch]:
        """The kernels for operands and results at these places, with ``workers`` threads."""
        x = inputs[0]
        rows, n = x.shape
        isa = ISA.host()
        name = f"sort_{x.type}_{'down' if self.descending else 'up'}"
        address = engine.load(
            name, f"{name}|{isa.key}", lambda: template.sort.kernel_ir(name, x.type, self.descending, isa), isa
        ).address(name)
        words = template.sort.params(x.type, rows, n, pool.address(), self.k)
        scratch = template.sort.scratch_bytes(x.type, rows, n, workers, self.k)
        return [Launch(address, tuple(words), ((~0, 0), (~1, 0), (0, 0)), scratch, (), rows * n > _SMALL // 64)]


@dataclass(frozen=True)
class Compress:
    """Of every contiguous row, of flags (rows, n) and if given of values, the values (or positions) where a flag holds,
    one behind the other (the rest of the row is undefined), and their number (rows,)."""

    def accepts(self, k: int, shape: Sequence[int], strides: Sequence[int], result: Sequence[int]) -> bool:
        """Whether an operand is read as it lies: without gaps, in row-major order."""
        return row_major(shape, strides)

    def batched(
        self, g: Graph, operands: Sequence[Node], flags: Sequence[bool], results: Results, size: int
    ) -> list[Node]:
        """See ``graph.batch``: more rows."""
        whole = [spread(g, (n, f), size) for n, f in zip(operands, flags)]
        many = [g.in_memory(g.reshape(n, (size * n.shape[1], n.shape[2]))) for n in whole]
        found = g.extern(self, many, [((size * shape[0], *shape[1:]), type_) for shape, type_ in results])
        return [g.reshape(f, (size, *shape)) for f, (shape, _) in zip(found, results)]

    def launches(self, inputs: Sequence[Any], outputs: Sequence[Any], workers: int) -> list[Launch]:
        """The kernels for operands and results at these places, with ``workers`` threads."""
        rows, n = inputs[0].shape
        isa = ISA.host()
        spec = template.compress.CompressSpec(8 * coded(inputs[1].type).itemsize if len(inputs) > 1 else 0)
        binding = template.compress.bind(rows, n, pool.address())
        address = engine.load_many(template.compress.requests(spec, isa))[0].address(
            template.compress.kernel_name(spec)
        )
        places = ((~0, 0), (~1, 0), *((k, 0) for k in range(len(inputs))))
        return [Launch(address, tuple(binding.params), places, binding.scratch_bytes, (), rows * n > _SMALL // 8)]
