"""The interface of ``compile``: its options, decorators, compiled modules, ``torch.compiler`` and ``torch._dynamo``."""

from __future__ import annotations

import copy
import inspect
import pickle

import pytest

import flambeau as torch
from flambeau import nn
from flambeau.compiled.watch import watching
from flambeau.deferred.deferral import deferral

X = torch.linspace(-1, 1, 12).reshape(3, 4)


def pending(t):
    return t._storage.pending is not None


def double(x):
    return x * 2 + 1


DECORATED = {
    "bare": lambda fn: torch.compile(fn),
    "arguments": lambda fn: torch.compile(fullgraph=True, dynamic=True)(fn),
    "mode": lambda fn: torch.compile(mode="max-autotune")(fn),
    "options": lambda fn: torch.compile(fn, options={"epilogue_fusion": True, "max_autotune": True}),
    "backend": lambda fn: torch.compile(fn, backend="inductor"),
    "optimize": lambda fn: torch._dynamo.optimize("inductor", nopython=True)(fn),
    "nested": lambda fn: torch.compile(torch.compile(fn)),
}


@pytest.mark.parametrize("way", DECORATED)
def test_every_way_of_compiling_defers(way):
    run = DECORATED[way](double)
    found = run(X)
    assert pending(found) and found.tolist() == double(X).tolist()
    assert run.__name__ == "double" and run._torchdynamo_orig_callable is not None


@pytest.mark.parametrize("options", [{"backend": "eager"}, {"backend": "aot_eager"}, {"disable": True}])
def test_ways_of_not_compiling(options):
    run = torch.compile(double, **options)
    assert not pending(run(X)) and (run is double) == ("disable" in options)


def test_methods_and_nested_functions():
    class Scale:
        def __init__(self, by):
            self.by = by

        @torch.compile
        def once(self, x):
            return x * self.by

        @torch.compile(fullgraph=True)
        def twice(self, x):
            return self.once(self.once(x))

    found = Scale(3).twice(X)
    assert pending(found) and found.tolist() == (X * 9).tolist()


def test_signature_is_torchs():
    reference = pytest.importorskip("torch")
    assert list(inspect.signature(torch.compile).parameters) == list(inspect.signature(reference.compile).parameters)
    missing = [
        name for name in reference.compiler.__all__
        if not hasattr(torch.compiler, name)
        and not name.startswith(("load_", "save_"))  # of compiled artifacts, which there are none of
    ]  # fmt: skip
    assert missing == []


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"mode": "fast"}, RuntimeError, "default, lite, reduce-overhead"),
        ({"mode": "default", "options": {}}, RuntimeError, "both can't be specified"),
        ({"options": {"fusion": True}}, RuntimeError, "fusion, known options are repeat, explain"),
        ({"options": {"repeat": "yes"}}, RuntimeError, "repeat, got str should be bool"),
        ({"backend": "nope"}, RuntimeError, "'nope', should be a function or one of: cudagraphs"),
        ({"dynamic": 3}, AssertionError, "dynamic to be True, False or None, got 3"),
    ],
)
def test_wrong_options_name_what_there_is(options, kind, text):
    with pytest.raises(kind, match=text):
        torch.compile(double, **options)


def test_what_is_no_function():
    with pytest.raises(AssertionError, match=r"a function or an nn\.Module is expected, got int"):
        torch.compile(3)


def item(x):
    return x * x.sum().item()


def branch(x):
    return x if x.sum() > 0 else -x


def shown(x):
    print(x)
    return x


def array(x):
    return torch.from_numpy((x + 1).numpy())


LOOKS = {item: r"\.item\(\)", branch: "a branch depends", shown: "is printed", array: r"\.numpy\(\)"}


@pytest.mark.parametrize("program", LOOKS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_fullgraph_names_the_line_that_breaks_the_graph(program, mode):
    def run(x):
        return program(x + 1)

    lines, first = inspect.getsourcelines(program)
    for _ in range(3):
        with pytest.raises(torch._dynamo.exc.Unsupported, match=LOOKS[program]) as error:
            torch.compile(run, fullgraph=True, mode=mode)(X)
        place = next(k for k in range(first, first + len(lines)) if f"{__file__}:{k}" in str(error.value))
        assert lines[place - first].strip() in str(error.value)
        assert deferral().depth == 0 and deferral().refuse is None
    assert torch.compile(run)(X).tolist() == run(X).tolist()


def test_fullgraph_allows_operators_that_need_memory_and_looks_outside():
    run = torch.compile(lambda a: torch.linalg.inv(a + torch.eye(3)) * 2, fullgraph=True)
    a = torch.arange(9.0).reshape(3, 3)
    assert torch.allclose(run(a), torch.linalg.inv(a + torch.eye(3)) * 2)
    found = torch.compile(double, fullgraph=True)(X)
    assert found.sum().item() == double(X).sum().item()


def test_fullgraph_forbids_functions_that_are_excluded():
    @torch.compiler.disable
    def aside(x):
        return x + 1

    with pytest.raises(RuntimeError, match=r"torch\.compiler\.disable excludes"):
        torch.compile(lambda x: aside(x * 2), fullgraph=True)(X)
    with pytest.raises(RuntimeError, match="graph_break"):
        torch.compile(lambda x: (x + 1, torch._dynamo.graph_break())[0], fullgraph=True)(X)


def test_error_on_graph_break():
    @torch.compile
    def run(x):
        with torch._dynamo.error_on_graph_break(True):
            y = double(x)
        return item(y)

    run(X)

    @torch.compile
    @torch._dynamo.error_on_graph_break(True)
    def other(x):
        return item(x * 2)

    with pytest.raises(RuntimeError, match="item"):
        other(X)


def test_the_explain_option_prints_once(capsys):
    run = torch.compile(item, options={"explain": True})
    wanted = item(X).tolist()
    for _ in range(3):
        assert run(X).tolist() == wanted
    text = capsys.readouterr().err
    assert text.count("operators in 2 program(s)") == 1 and f"item at {__file__}" in text


def test_explaining_changes_nothing():
    weight = torch.ones(4)

    def step(x):
        weight.mul_(2).add_((x * 2).sum(0))
        return weight.sum()

    run = torch.compile(step)
    found = torch.compiler.explain(run, X)
    assert torch.allclose(weight, (torch.ones(4) * 2 + (X * 2).sum(0)) * 2 + (X * 2).sum(0))
    (part,) = found.parts
    assert part.operators == len(part.calls) == 5 and part.reason == "the end of the call"
    assert {c.name for c in part.calls} == {"mul", "sum", "add"}
    assert all(c.place.startswith(__file__) and "weight" in c.line for c in part.calls)
    assert sum(k.step.work for k in part.kernels) > 0 and all(k.limit > 0 and k.share > 0 for k in part.kernels)
    assert torch._dynamo.explain(step)(X).op_count == 5
    with pytest.raises(ZeroDivisionError):
        torch.compiler.explain(torch.compile(lambda: 1 / 0))
    assert type(deferral()).__name__ == "Deferral"


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh())


def test_compiled_modules():
    module = net()
    compiled = torch.compile(module)
    assert isinstance(compiled, torch._dynamo.OptimizedModule) and isinstance(compiled, nn.Module)
    assert compiled._orig_mod is module and torch.compile(net())._orig_mod is not module
    assert list(compiled.state_dict()) == ["_orig_mod.0.weight", "_orig_mod.0.bias"]
    assert pending(compiled(X)) and compiled(X).tolist() == module(X).tolist()
    assert compiled.eval().training is False and module.training is False
    compiled.note = 3
    assert module.note == 3 and compiled.note == 3 and "note" in dir(compiled)
    del compiled.note
    with pytest.raises(AttributeError, match="note"):
        compiled.note
    seen = []
    compiled.register_forward_hook(lambda *_: seen.append("outer"))
    module.register_forward_hook(lambda *_: seen.append("inner"))
    compiled(X)
    assert seen == ["inner", "outer"]
    compiled.load_state_dict(torch.compile(net()).state_dict())


def test_compiled_modules_are_copied_and_pickled():
    compiled = torch.compile(net(), mode="reduce-overhead")
    for other in (copy.deepcopy(compiled), pickle.loads(pickle.dumps(compiled))):
        assert type(other) is type(compiled) and other._orig_mod is not compiled._orig_mod
        assert other(X).tolist() == compiled(X).tolist()


def test_compiling_a_module_in_place():
    module = net()
    module.compile(fullgraph=True)
    assert pending(module(X)) and list(module.state_dict()) == ["0.weight", "0.bias"]


def test_default_backend_and_registered_ones():
    assert torch.compiler.get_default_backend() == "flambeau" and "inductor" in torch.compiler.list_backends()
    assert "eager" in torch._dynamo.list_backends(None)
    torch.compiler.set_default_backend("eager")
    try:
        assert not pending(torch.compile(double)(X))
    finally:
        torch.compiler.set_default_backend(None)
    assert pending(torch.compile(double)(X))
    with pytest.raises(torch._dynamo.exc.InvalidBackend):
        torch.compiler.set_default_backend("nope")
    assert torch._dynamo.lookup_backend(double) is double


def test_an_error_of_who_watches_is_not_the_programs():
    run = torch.compile(double)

    def fails(program):
        raise ArithmeticError("of the watcher")

    found = run(X)
    with pytest.raises(ArithmeticError), watching(fails):
        found = run(X)
        found.sum().item()
    assert found.tolist() == double(X).tolist() and type(deferral()).__name__ == "Deferral"
