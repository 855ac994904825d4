"""Where the boxes of a graph are drawn: layers from top to bottom, neighbours above each other.

After K. Sugiyama, S. Tagawa and M. Toda, "Methods for Visual Understanding of Hierarchical System Structures" (1981):
each node in the layer below its last operand, layers sorted by the mean position of the neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["layered"]

_SWEEPS = 4
_WIDEST = 8  # nodes beside each other; further ones begin another layer


def layered(count: int, edges: Sequence[tuple[int, int]]) -> list[tuple[float, int]]:
    """(column, layer) of ``count`` nodes; every edge goes from a smaller number to a larger one."""
    above: list[list[int]] = [[] for _ in range(count)]
    below: list[list[int]] = [[] for _ in range(count)]
    for a, b in edges:
        above[b].append(a)
        below[a].append(b)
    layers: list[list[int]] = []
    of = [0] * count
    for k in range(count):
        at = max((of[a] + 1 for a in above[k]), default=0)
        while at < len(layers) and len(layers[at]) >= _WIDEST:
            at += 1
        while len(layers) <= at:
            layers.append([])
        layers[at].append(k)
        of[k] = at
    column = [0.0] * count
    for layer in layers:
        _spread(layer, column)
    for sweep in range(_SWEEPS):
        near = below if sweep % 2 else above
        for layer in reversed(layers) if sweep % 2 else layers:
            mean = {k: sum(column[n] for n in near[k]) / len(near[k]) if near[k] else column[k] for k in layer}
            layer.sort(key=mean.__getitem__)
            _spread(layer, column)
    return [(column[k], of[k]) for k in range(count)]


def _spread(layer: Sequence[int], column: list[float]) -> None:
    """Places a layer's nodes beside each other, around the middle."""
    for i, k in enumerate(layer):
        column[k] = i - (len(layer) - 1) / 2
