"""Elementwise functions that numpy and scipy compute: nodes of a graph for what is too rare to generate code for.

``Ufunc(module, name)`` names a ufunc (or a function like one, with ``out=``); scipy is imported when the first of its
functions is bound.
"""

from __future__ import annotations

import ctypes
import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..dtype import coded
from ..graph.batch import spread
from ..graph.node import Graph, Node

__all__ = ["Ufunc"]

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
            with np.errstate(all="ignore"):
                function(*arrays, out=outs[0] if len(outs) == 1 else outs)
            return 0

        return run
