"""What is done to the graph of a deferred program before it is scheduled, in this order.

Equal values are one node and constants are folded as nodes are made (``node.py``); values that nobody holds are in no
graph.  Each pass takes a graph and results (and where they go) and returns results; with ``FLAMBEAU_DEBUG=3`` the
values before and after each are printed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from .. import settings
from .epilogue import fuse_epilogues
from .node import Graph, Node, graph_text
from .recompute import recompute

__all__ = ["PASSES", "improved"]

PASSES: dict[str, Callable[[Graph, Sequence[Node], Sequence[int | None]], list[Node]]] = {
    "epilogues": fuse_epilogues,
    "recompute": recompute,
}
"""The passes by name: elementwise work becomes part of the product or convolution before it ("epilogues"); values are
computed twice rather than kept, where memory is limited ("recompute")."""


def improved(graph: Graph, outputs: Sequence[Node], into: Sequence[int | None]) -> list[Node]:
    """The outputs after all passes; each goes into an argument, given by its slot, or is new (None)."""
    found = list(outputs)
    for name, run in PASSES.items():
        if settings.debug >= 3:
            print(f"before {name}:", graph_text(found), sep="\n", file=sys.stderr)
        found = run(graph, found, into)
        if settings.debug >= 3:
            print(f"after {name}:", graph_text(found), sep="\n", file=sys.stderr)
    return found
