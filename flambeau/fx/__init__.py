"""Programs as graphs that Python can look at and change: symbolic tracing, and modules written from graphs.

``symbolic_trace`` runs a program on proxies (tracer.py, proxy.py) and gives a ``GraphModule`` (graph_module.py), whose
``forward`` is written from its ``Graph`` (graph.py, node.py).  ``Interpreter`` runs a graph node by node.
"""

from __future__ import annotations

from ..dispatch import operator as _records
from . import graph as graph
from . import graph_module as graph_module
from . import immutable_collections as immutable_collections
from . import interpreter as interpreter
from . import node as node
from . import proxy as proxy
from . import tracer as _symbolic_trace
from .graph import CodeGen, Graph
from .graph_module import GraphModule
from .interpreter import Interpreter, Transformer
from .node import Node, has_side_effect, map_arg
from .proxy import Proxy
from .tracer import Tracer, symbolic_trace, wrap

__all__ = [
    "CodeGen", "Graph", "GraphModule", "Interpreter", "Node", "Proxy", "Tracer", "Transformer", "has_side_effect",
    "map_arg", "symbolic_trace", "wrap",
]  # fmt: skip

_LAZY = dict.fromkeys(("experimental", "passes"), ".")
__getattr__, __dir__ = _records.namespace(globals(), {}, _LAZY)
