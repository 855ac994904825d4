"""Attention kernels as nodes of a graph (``graph.plan.Extern``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..graph.batch import spread
from ..graph.node import Graph, Node
from ..graph.program import Launch
from ..runtime import engine, pool
from ..target.isa import ISA
from .attention import Binding, Spec, bind_forward, forward_requests
from .attention_backward import backward_requests, bind_backward

__all__ = ["Attention", "AttentionGradient"]


def _launch(requests: list[engine.Request], binding: Binding, results: int, inputs: int) -> Launch:
    """The launch of an entry that takes its results, then its inputs, then scratch memory."""
    address = engine.load_many(requests)[0].address(requests[0].name)
    places = [*(~k for k in range(results)), *range(inputs)]
    return Launch(address, tuple(binding.params), tuple((k, 0) for k in places), binding.scratch_bytes)


@dataclass(frozen=True)
class Attention:
    """``softmax(scale * q k^T + mask) v`` and the base-2 logarithm of the softmax's denominators.

    The inputs are q, k, v of four dimensions, then, as the spec has them, the mask and the factors of a dropout in the
    shape of the scores (broadcast dimensions with stride 0).
    """

    spec: Spec
    scale: float

    def batched(
        self, g: Graph, operands: Sequence[Node], flags: Sequence[bool], results: Sequence[Any], size: int
    ) -> list[Node]:
        """See ``graph.batch``: more sequences."""
        return _batched(self, g, operands, flags, results, size)

    def operations(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        """Multiplications and additions of the products, as if nothing were masked."""
        q, k, v = inputs[:3]
        pairs = math.prod(q.shape[:3]) * int(k.shape[2])
        return 2 * pairs * int(q.shape[3] + v.shape[3])

    def launches(self, inputs: Sequence[Any], outputs: Sequence[Any], workers: int) -> list[Launch]:
        """The kernel for operands and results at these places."""
        q, k, v = inputs[:3]
        isa = ISA.host()
        shapes = _shapes(q, k, v)
        strides = {"q": q.strides, "k": k.strides, "v": v.strides, "o": outputs[0].strides}
        strides |= _extras(self.spec, inputs[3:])
        binding = bind_forward(self.spec, isa, shapes, strides, self.scale, pool.address(), workers)
        return [_launch(forward_requests(self.spec, isa), binding, len(outputs), len(inputs))]


@dataclass(frozen=True)
class AttentionGradient:
    """The gradients by q, k and v; the inputs are the gradient of the result, q, k, v, the two results of `Attention`,
    and the mask and the factors of a dropout as there."""

    spec: Spec
    scale: float

    def batched(
        self, g: Graph, operands: Sequence[Node], flags: Sequence[bool], results: Sequence[Any], size: int
    ) -> list[Node]:
        """See ``graph.batch``: more sequences."""
        return _batched(self, g, operands, flags, results, size)

    def operations(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
        """Multiplications and additions of the products, as if nothing were masked."""
        q, k, v = inputs[1:4]
        pairs = math.prod(q.shape[:3]) * int(k.shape[2])
        return 2 * pairs * int(3 * q.shape[3] + 2 * v.shape[3])

    def launches(self, inputs: Sequence[Any], outputs: Sequence[Any], workers: int) -> list[Launch]:
        """The kernels for operands and results at these places."""
        grad, q, k, v, out = inputs[:5]
        isa = ISA.host()
        shapes = _shapes(q, k, v)
        strides = {"q": q.strides, "k": k.strides, "v": v.strides, "o": out.strides, "g": grad.strides}
        strides |= {name: o.strides for name, o in zip(("dq", "dk", "dv"), outputs, strict=True)}
        strides |= _extras(self.spec, inputs[6:])
        binding = bind_backward(self.spec, isa, shapes, strides, self.scale, pool.address(), workers)
        return [_launch(backward_requests(self.spec, isa), binding, len(outputs), len(inputs))]


def _batched(
    spec: object, g: Graph, operands: Sequence[Node], flags: Sequence[bool], results: Sequence[Any], size: int
) -> list[Node]:
    """The members of a batch as further sequences of one call."""
    whole = [spread(g, pair, size) for pair in zip(operands, flags, strict=True)]
    joined = [g.reshape(x, (size * x.shape[1], *x.shape[2:])) for x in whole]
    found = g.extern(spec, joined, [((size * shape[0], *shape[1:]), type_) for shape, type_ in results])
    return [g.reshape(x, (size, *shape)) for x, (shape, _) in zip(found, results, strict=True)]


def _shapes(q: Any, k: Any, v: Any) -> dict[str, int]:
    batch, heads, s, e = k.shape
    return {
        "batch": batch, "heads": heads, "rep": q.shape[1] // heads, "l": q.shape[2], "s": s, "e": e,
        "d": v.shape[3],
    }  # fmt: skip


def _extras(spec: Spec, operands: Sequence[Any]) -> dict[str, Sequence[int]]:
    names = ["m"] * (spec.mask is not None) + ["n"] * (spec.keep is not None)
    return {name: o.strides for name, o in zip(names, operands, strict=True)}
