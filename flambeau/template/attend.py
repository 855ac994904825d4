"""Attention kernels as nodes of a graph (``graph.plan.Extern``)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..runtime import engine, memory, pool
from ..runtime.native import make_caller
from ..target.isa import ISA
from .attention import Binding, Spec, bind_forward, forward_requests
from .attention_backward import backward_requests, bind_backward

__all__ = ["Attention", "AttentionGradient"]

Run = Callable[[Sequence[int], Sequence[int]], int]


class _Launch:
    """A kernel's entry with its parameters, called with addresses and given scratch memory.

    ``bind(workers)`` makes the parameters; it is asked again should the pool have grown since.
    """

    def __init__(self, requests: list[engine.Request], bind: Callable[[int], Binding], buffers: int) -> None:
        self.address = engine.load_many(requests)[0].address(requests[0].name)
        self.bind, self.signature, self.workers = bind, "p" * (buffers + 1), 0

    def __call__(self, *addresses: int) -> int:
        if pool.get_num_threads() > self.workers:
            self.workers = pool.get_num_threads()
            binding = self.bind(self.workers)
            self.params = (ctypes.c_int64 * len(binding.params))(*binding.params)
            bound = (ctypes.addressof(self.params),)
            self.call = make_caller(self.address, self.signature, bound=bound, release_gil=True)
            self.bytes = binding.scratch_bytes
        scratch = memory.allocate(self.bytes)
        try:
            return self.call(*addresses, scratch)
        finally:
            memory.free(scratch, self.bytes)


@dataclass(frozen=True)
class Attention:
    """``softmax(scale * q k^T + mask) v`` and the base-2 logarithm of the softmax's denominators.

    The inputs are q, k, v of four dimensions, then, as the spec has them, the mask and the factors of a dropout in the
    shape of the scores (broadcast dimensions with stride 0).
    """

    spec: Spec
    scale: float

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Run:
        q, k, v = inputs[:3]
        isa = ISA.host()
        shapes = _shapes(q, k, v)
        strides = {"q": q.strides, "k": k.strides, "v": v.strides, "o": outputs[0].strides}
        strides |= _extras(self.spec, inputs[3:])

        def bind(workers: int) -> Binding:
            return bind_forward(self.spec, isa, shapes, strides, self.scale, pool.address(), workers)

        launch = _Launch(forward_requests(self.spec, isa), bind, len(inputs) + 2)
        return lambda sources, results: launch(results[0], results[1], *sources)


@dataclass(frozen=True)
class AttentionGradient:
    """The gradients by q, k and v; the inputs are the gradient of the result, q, k, v, the two results of `Attention`, and
    the mask and the factors of a dropout as there."""

    spec: Spec
    scale: float

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Run:
        grad, q, k, v, out = inputs[:5]
        isa = ISA.host()
        shapes = _shapes(q, k, v)
        strides = {"q": q.strides, "k": k.strides, "v": v.strides, "o": out.strides, "g": grad.strides}
        strides |= {name: o.strides for name, o in zip(("dq", "dk", "dv"), outputs, strict=True)}
        strides |= _extras(self.spec, inputs[6:])

        def bind(workers: int) -> Binding:
            return bind_backward(self.spec, isa, shapes, strides, self.scale, pool.address(), workers)

        launch = _Launch(backward_requests(self.spec, isa), bind, len(inputs) + 3)
        return lambda sources, results: launch(*results, *sources)


def _shapes(q: Any, k: Any, v: Any) -> dict[str, int]:
    batch, heads, s, e = k.shape
    return {
        "batch": batch, "heads": heads, "rep": q.shape[1] // heads, "l": q.shape[2], "s": s, "e": e,
        "d": v.shape[3],
    }  # fmt: skip


def _extras(spec: Spec, operands: Sequence[Any]) -> dict[str, Sequence[int]]:
    names = ["m"] * (spec.mask is not None) + ["n"] * (spec.keep is not None)
    return {name: o.strides for name, o in zip(names, operands, strict=True)}
