"""Symbolic tracing: the graph of a program, the code written from it, and changes to both."""

from __future__ import annotations

import copy
import math
import operator
import pickle
from typing import Any

import pytest

import flambeau as torch
from flambeau import fx, nn


@fx.wrap
def _opaque(x: Any, n: int) -> Any:
    return x * n if x.sum() > 0 else x


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.full((4,), 2.0))
        self.register_buffer("shift", torch.ones(4))
        self.stack = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    def forward(self, x, y=None, factor: float = 2.0):
        x = self.stack(self.linear(x)) + self.scale * self.shift
        a, b = x.chunk(2, -1)
        z = torch.cat([a, b], dim=1).relu().view(x.size(0), -1)
        return torch.softmax(z, -1)[:, 1:] * factor, {"total": torch.zeros(1) + z.sum()}, 1 - z, z.shape[0]


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def same(left: Any, right: Any) -> bool:
    pairs = ((left[0], right[0]), (left[1]["total"], right[1]["total"]), (left[2], right[2]))
    return all(torch.equal(a, b) for a, b in pairs) and left[3] == right[3]


def test_what_is_traced_runs_the_same(net: Net) -> None:
    x = torch.randn(2, 4)
    traced = fx.symbolic_trace(net)
    want = net(x)
    assert same(traced(x), want) and same(fx.Interpreter(traced).run(x), want)
    for again in (copy.deepcopy(traced), pickle.loads(pickle.dumps(traced)), fx.Transformer(traced).transform()):
        assert same(again(x), want) and type(again).__name__ == "Net"
    kinds = {n.op for n in traced.graph.nodes}
    assert kinds == {"placeholder", "call_module", "get_attr", "call_function", "call_method", "output"}
    assert [str(n.target) for n in traced.graph.nodes if n.op == "call_module"] == ["linear", "stack.0", "stack.1"]
    assert "_tensor_constant0" in traced.state_dict() and "mul = scale * shift" in traced.code
    traced(x)[0].sum().backward()
    assert traced.scale.grad is net.scale.grad is not None, "parameters are shared"


def test_changing_a_graph(net: Net) -> None:
    traced = fx.symbolic_trace(net)
    graph = traced.graph
    relu = next(n for n in graph.nodes if n.op == "call_method" and n.target == "relu")
    with graph.inserting_after(relu):
        negated = graph.call_function(torch.neg, (relu,))
    relu.replace_all_uses_with(negated, lambda user: user is not negated)
    with graph.inserting_before(relu):
        graph.call_function(torch.exp, (relu.args[0],))
    assert len(relu.users) == 1 and list(negated.all_input_nodes) == [relu]
    assert graph.eliminate_dead_code() and not graph.find_nodes(op="call_function", target=torch.exp)
    graph.lint()
    traced.recompile()
    x = torch.randn(2, 4)
    assert torch.equal(traced(x)[2], 2 - net(x)[2] * 0 - 1 + (1 - net(x)[2]))
    with pytest.raises(RuntimeError, match="users"):
        graph.erase_node(relu)
    relu.prepend(negated)
    with pytest.raises(RuntimeError, match="before it has been defined"):
        graph.lint()


def test_a_graph_written_by_hand() -> None:
    graph = fx.Graph()
    x = graph.placeholder("x")
    y = graph.call_function(operator.add, (x, float("inf")))
    graph.output((graph.call_method("clamp", (y,), {"max": 3}), [torch.float32, slice(1, None), torch.Size((2,))]))
    made = fx.GraphModule({}, graph)
    out, rest = made(torch.ones(2))
    assert out.tolist() == [3, 3] and rest == [torch.float32, slice(1, None), torch.Size((2,))]
    with pytest.raises(RuntimeError, match="not in the dictionary"):
        graph = fx.Graph()
        graph.output(graph.call_module("missing", ()))
        fx.GraphModule({}, graph)
    with pytest.raises(TypeError, match="mutation"):
        next(n for n in made.graph.nodes if n.op == "output").args[0][1].append(1)


def test_what_is_looked_into() -> None:
    def program(x, flag):
        return _opaque(x, 3) + math.sqrt(x.size(0)) if flag else x

    traced = fx.symbolic_trace(program, {"flag": True})
    assert {n.target for n in traced.graph.nodes if n.op == "call_function"} >= {_opaque, math.sqrt}
    assert traced(torch.ones(4)).tolist() == [5] * 4 and traced(-torch.ones(4)).tolist() == [1] * 4

    class Deep(fx.Tracer):
        def is_leaf_module(self, m, module_qualified_name):
            return False

    graph = Deep().trace(nn.Sequential(nn.ReLU()))
    assert not graph.find_nodes(op="call_module")


def test_what_cannot_be_traced() -> None:
    with pytest.raises(fx.proxy.TraceError, match="control flow"):
        fx.symbolic_trace(lambda x: x if x.sum() > 0 else -x)
    with pytest.raises(fx.proxy.TraceError, match="iterated"):
        fx.symbolic_trace(lambda x: list(x))
    with pytest.raises(RuntimeError, match="'len' is not supported"):
        fx.symbolic_trace(lambda x: len(x))
    with pytest.raises(NotImplementedError, match="top level"):
        fx.wrap("len")
    assert nn.Linear(1, 1)(torch.ones(1)).shape == (1,), "modules are called as before"


def test_submodules_of_graph_modules(net: Net, capsys: pytest.CaptureFixture[str]) -> None:
    traced = fx.symbolic_trace(net)
    assert traced.add_submodule("extra.inner", nn.ReLU()) and isinstance(traced.extra.inner, nn.ReLU)
    traced.delete_all_unused_submodules()
    assert not hasattr(traced.extra, "inner") if hasattr(traced, "extra") else True
    assert not traced.delete_submodule("nothing")
    traced.print_readable()
    traced.graph.print_tabular()
    text = capsys.readouterr().out
    assert "class Net(torch.nn.Module):" in text and "call_module" in text
