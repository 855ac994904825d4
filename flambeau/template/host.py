"""Elementwise functions that numpy and scipy compute: nodes of a graph for what is too rare to generate code for.

``Ufunc(module, name)`` names a ufunc (or a function like one, with ``out=``); scipy is imported when the first of its
functions is bound.
"""

from __future__ import annotations

import ctypes
import importlib
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..dtype import coded
from ..graph.batch import spread
from ..graph.node import Graph, Node
from ..runtime.pool import get_num_threads

__all__ = ["Ufunc"]

_PART = 16_384
"""Elements that are worth a thread of their own: a function that is worth a host's takes 5 to 300 ns for one."""

Run = Callable[[Sequence[int], Sequence[int]], int]


def _array(address: int, operand: Any) -> np.ndarray:
    """The array that lies at ``address``."""
    type_ = coded(operand.type)
    shape = tuple(operand.shape)
    if not math.prod(shape):
        return np.empty(shape, type_.numpy)
    span = 1 + sum((n - 1) * s for n, s in zip(shape, operand.strides))
    block = (ctypes.c_byte * (span * type_.itemsize)).from_address(address)
    return np.ndarray(shape, type_.numpy, block, 0, tuple(s * type_.itemsize for s in operand.strides))


def _in_parts(function: Any, arrays: Sequence[np.ndarray], outs: tuple[np.ndarray, ...]) -> None:
    """``function`` of arrays of one shape, by several threads (numpy's loops do not hold the interpreter's lock)."""
    shape = outs[0].shape
    dim = max(range(len(shape)), key=shape.__getitem__, default=0)
    count = min(get_num_threads(), outs[0].size // _PART, shape[dim] if shape else 1)
    raised: list[BaseException] = []

    def compute(first: int, last: int) -> None:
        part = (*[slice(None)] * dim, slice(first, last)) if count > 1 else ...
        made = tuple([out[part] for out in outs])
        try:
            with np.errstate(all="ignore"):
                function(*[a[part] for a in arrays], out=made[0] if len(made) == 1 else made)
        except BaseException as error:  # raised again by the caller's thread
            raised.append(error)

    if count < 2:
        compute(0, 0)
    else:
        ends = [k * shape[dim] // count for k in range(count + 1)]
        threads = [threading.Thread(target=compute, args=pair) for pair in zip(ends[1:], ends[2:])]
        for thread in threads:
            thread.start()
        compute(0, ends[1])
        for thread in threads:
            thread.join()
    if raised:
        raise raised[0]


@dataclass(frozen=True)
class Ufunc:
    """``module.name`` of operands of one shape, with one or more results of that shape."""

    module: str
    name: str

    def batched(
        self, g: Graph, operands: Sequence[Node], flags: Sequence[bool], results: Sequence[Any], size: int
    ) -> list[Node]:
        """See ``graph.batch``: larger operands."""
        whole = [spread(g, (n, f), size) for n, f in zip(operands, flags)]
        return list(g.extern(self, whole, [((size, *shape), type_) for shape, type_ in results]))

    def bind(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Run:
        """The call of the function on arrays at these places."""
        function: Any = getattr(importlib.import_module(self.module), self.name)
        given, made = tuple(inputs), tuple(outputs)

        def run(sources: Sequence[int], results: Sequence[int]) -> int:
            arrays = [_array(a, o) for a, o in zip(sources, given)]
            outs = tuple(_array(a, o) for a, o in zip(results, made))
            _in_parts(function, arrays, outs)
            return 0

        return run
