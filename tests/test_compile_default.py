"""The default mode of ``compile``: small calls are repeated without their Python only where nobody can notice."""

from __future__ import annotations

import gc
import math
import random
import time
from dataclasses import dataclass

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn
from flambeau.compiled.default_mode import DefaultMode
from flambeau.compiled.replay import Recording
from flambeau.nn import functional as F

X = np.linspace(-1, 1, 24, dtype=np.float32).reshape(6, 4)
SCALE = 2.0
SETTINGS = {"power": 2}


def helper(x):
    return x * SCALE


class Block(nn.Module):
    factor = 1.5

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 3)])
        self.act = F.relu
        self.config = Config()

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = self.act(layer(x))
        if self.config.double:
            x = x * 2
        return self.layers[-1](x) * self.factor


@dataclass
class Config:
    double: bool = True


def repeated(fn):
    """Whether calls of a compiled function are repeated by now."""
    return any(type(found) is Recording for found in fn.known.values())


def run(fn, compiled, x, grad=True):
    found = []
    for f in (fn, compiled):
        given = torch.tensor(x, requires_grad=grad)
        result = f(given)
        if grad:
            (result * result).sum().backward()
            found.append((result.detach().numpy(), given.grad.numpy()))
        else:
            found.append((result.numpy(),))
    for a, b in zip(*found):
        np.testing.assert_allclose(b, a, rtol=2e-5, atol=1e-6)


def many(fn, compiled, grad=True):
    for k in range(6):
        run(fn, compiled, X + k, grad)


def closure():
    weights = [torch.tensor(0.5), torch.tensor(0.25)]
    return lambda x: sum((torch.sin(x * w) for w in weights), torch.zeros(6, 4))


def with_locals(x):
    parts = []
    for k, row in enumerate(x.unbind(0)):
        parts.append(row * k if k % 2 else row.exp())
    table = {"all": torch.stack(parts)}
    table["more"] = table["all"] + math.sqrt(2.0)
    return table["more"]


PURE = {
    "module": Block,
    "closure": closure,
    "locals": lambda: with_locals,
    "globals": lambda: lambda x: (helper(x) ** SETTINGS["power"]).sin(),
    "modules": lambda: nn.Sequential(
        nn.Linear(4, 4), nn.Tanh(), nn.Flatten(0), nn.Unflatten(0, (6, 4)), nn.Softmax(-1)
    ),
}


@pytest.mark.parametrize("name", PURE)
@pytest.mark.parametrize("grad", [True, False])
def test_a_call_that_only_computes_is_repeated(name, grad):
    fn = PURE[name]()
    compiled = DefaultMode(fn)
    with torch.set_grad_enabled(grad):
        many(fn, compiled, grad)
    assert repeated(compiled)


def test_a_call_is_not_repeated_if_looking_at_what_it_may_read_takes_longer():
    fn = nn.Sequential(*[nn.Identity() for _ in range(100)], nn.Linear(4, 4))
    compiled = DefaultMode(fn)
    with torch.no_grad():
        many(fn, compiled, False)
    assert not repeated(compiled)


class Holder:
    pass


def _attribute(m):
    m.act = torch.tanh


def _flag(m):
    m.config.double = False


def _factor(m):
    Block.factor = 3.0


def _layer(m):
    m.layers[0] = nn.Linear(4, 8)


def _weight(m):
    m.layers[2].weight = nn.Parameter(torch.ones(3, 8))


def _data(m):
    m.layers[2].weight.data = torch.ones(3, 8)


def _frozen(m):
    m.layers[0].weight.requires_grad_(False)


def _forward(m):
    m.forward = lambda x: x.sum(-1, keepdim=True)


def _hook(m):
    m.layers[0].register_forward_hook(lambda module, args, result: result * 2)


def _directly(m):
    m.__dict__["act"] = F.silu


def _shorter(m):
    del m.layers[1]


@pytest.mark.parametrize(
    "change",
    [_attribute, _flag, _factor, _layer, _weight, _data, _frozen, _forward, _hook, _directly, _shorter],
)
def test_a_change_of_what_the_call_depends_on_is_noticed(change):
    before = Block.factor
    try:
        m = Block()
        compiled = DefaultMode(m)
        many(m, compiled)
        assert repeated(compiled)
        change(m)
        many(m, compiled)
    finally:
        Block.factor = before


def test_a_global_hook_is_noticed():
    m = Block()
    compiled = DefaultMode(m)
    many(m, compiled)
    handle = nn.modules.module.register_module_forward_hook(lambda module, args, result: result + 1)
    try:
        many(m, compiled)
    finally:
        handle.remove()


def test_changed_globals_and_closures_are_noticed(monkeypatch):
    fn = PURE["globals"]()
    compiled = DefaultMode(fn)
    many(fn, compiled)
    assert repeated(compiled)
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    many(fn, compiled)
    monkeypatch.setitem(SETTINGS, "power", 3)
    many(fn, compiled)
    monkeypatch.setitem(globals(), "helper", lambda x: x - 1)
    many(fn, compiled)
    rate = 2.0

    def program(x):
        return (x * rate).exp().sin()

    compiled = DefaultMode(program)
    many(program, compiled)
    rate = 5.0
    many(program, compiled)
    assert repeated(compiled)
    program.__code__ = (lambda x: (x * rate - 1).sin()).__code__
    many(program, compiled)


def _counts():
    seen = Holder()
    seen.calls = 0

    def program(x):
        seen.calls += 1
        return x * 2

    return program, lambda: seen.calls


def _appends():
    seen = []

    def program(x):
        seen.append(x.shape[0])
        return x * 2

    return program, lambda: len(seen)


def _fills():
    seen = {}

    def program(x):
        seen[len(seen)] = None
        return x * 2

    return program, lambda: len(seen)


def _nonlocal():
    calls = 0

    def program(x):
        nonlocal calls
        calls += 1
        return x * 2

    return program, lambda: calls


def _global():
    seen = Holder()
    seen.calls = 0
    exec("def program(x):\n    global calls\n    calls = calls + 1\n    return x * 2", space := {"calls": 0})
    return space["program"], lambda: space["calls"]


def _iterates():
    numbers = iter(range(100))

    def program(x):
        next(numbers)
        return x * 2

    return program, lambda: next(numbers)


@pytest.mark.parametrize("make", [_counts, _appends, _fills, _nonlocal, _global, _iterates])
def test_what_python_does_besides_goes_on(make):
    program, calls = make()
    compiled = DefaultMode(program)
    for _ in range(7):
        compiled(torch.tensor(X))
    assert calls() == 7 and not repeated(compiled)


def test_values_from_elsewhere_are_taken_anew():
    counter = [0]

    def tick(k):
        counter[0] += 1
        return counter[0]

    for source in (
        lambda x: x * random.random(),
        lambda x: x + time.perf_counter(),
        lambda x: x * max(map(tick, (1,))),
        lambda x: x + id(object()),
        lambda x: x * np.random.rand(),
        lambda x: x * next(ITERATOR),
    ):
        compiled = DefaultMode(source)
        for _ in range(6):
            compiled(torch.tensor(X))
        assert not repeated(compiled)


ITERATOR = iter(range(1000))


def test_numbers_in_tensors_are_looked_at_every_time():
    gate = torch.tensor(1.0)

    def program(x):
        return x * 2 if gate.item() > 0 else x - 1

    compiled = DefaultMode(program)
    for k in range(8):
        gate.fill_(1.0 if k % 2 else -1.0)
        run(program, compiled, X + k)

    def branch(x):
        return x * 2 if x.sum() > 0 else x - 1

    compiled = DefaultMode(branch)
    for k in range(8):
        run(branch, compiled, X + (1 if k % 2 else -1))


def test_a_tensor_kept_by_the_function_is_the_last_one():
    kept = {}

    def program(x):
        kept["h"] = x.exp()
        return kept["h"] * 2

    compiled = DefaultMode(program)
    for k in range(6):
        compiled(torch.tensor(X + k, requires_grad=True))
        np.testing.assert_allclose(kept["h"].detach().numpy(), np.exp(X + k), rtol=1e-6)


def test_arguments_of_the_program_s_own_classes_are_seen():
    def program(x, holder):
        return x * holder.scale

    compiled = DefaultMode(program)
    holder = Holder()
    for k in range(6):
        holder.scale = float(k)
        np.testing.assert_allclose(compiled(torch.tensor(X), holder).numpy(), X * k)


def test_a_parameter_among_the_arguments_may_be_another_tensor_next_time():
    layer = nn.Linear(4, 4)

    def program(x, w):
        return layer(x) @ w

    compiled = DefaultMode(program)
    for k in range(6):
        w = layer.weight if k < 4 else torch.ones(4, 4)
        np.testing.assert_allclose(
            compiled(torch.tensor(X), w).detach().numpy(), program(torch.tensor(X), w).detach().numpy(), rtol=1e-5
        )


def test_derivatives_of_higher_order_and_of_writes():
    def program(x):
        return torch.tanh(x * 2).pow(3)

    compiled = DefaultMode(program)
    for k in range(5):
        found = []
        for f in (program, compiled):
            x = torch.tensor(X + k, requires_grad=True)
            (g,) = torch.autograd.grad(f(x).sum(), x, create_graph=True)
            (h,) = torch.autograd.grad(g.pow(2).sum(), x)
            found.append(h.numpy())
        np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-6)
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh())
    compiled = DefaultMode(net)
    for k in range(5):
        x = torch.tensor(X + k, requires_grad=True)
        (g,) = torch.autograd.grad(compiled(x).sum(), x, create_graph=True)
        g.pow(2).sum().backward()
    assert net[1].num_batches_tracked.item() == 5


def test_little_work_that_cannot_be_repeated_runs_as_if_not_compiled():
    state = Holder()
    state.calls = 0

    def program(x):
        state.calls += 1
        assert torch.compiler.is_compiling()
        return x * 2

    compiled = torch.compile(program)
    for _ in range(5):
        y = compiled(torch.tensor(X))
    assert y._storage.pending is None and state.calls == 5


def test_modes_around_a_call_are_kept():
    m = Block()
    compiled = DefaultMode(m)
    many(m, compiled)
    x = torch.tensor(X)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert compiled(x).dtype is m(x).dtype
    packed = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t) or t, lambda t: t):
        compiled(x)
    assert packed
    out = torch.func.vmap(compiled)(x.reshape(6, 1, 4))
    np.testing.assert_allclose(out.detach().numpy()[:, 0], m(x).detach().numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: torch.fft.fft(x).real * 2 + 1,
        lambda x: x * 2 if x.sum().item() > 0 else x - 1,
    ],
)
def test_small_calls_that_run_in_parts_are_not_recorded(fn):
    compiled = DefaultMode(fn)
    for k in range(4):
        x = torch.tensor(X + k)
        found, expected = compiled(x), fn(x)
        first, second = (r[0] if isinstance(r, tuple) else r for r in (found, expected))
        assert first.tolist() == second.tolist()
    x = torch.tensor(X)
    result = compiled(x)
    assert (result[0] if isinstance(result, tuple) else result)._storage.pending is None
    assert not repeated(compiled)


def test_calls_of_one_operator_run_as_they_are():
    calls = DefaultMode(lambda x: x.relu())
    x = torch.tensor(X, requires_grad=True)
    calls(x)  # the first one is weighed
    for _ in range(70):
        y = calls(x)
        assert y._storage.pending is None and y.grad_fn.name() == "ReluBackward0"
    assert not repeated(calls)
    layer = nn.Linear(4, 2)
    calls = DefaultMode(layer, layer)  # the call of a module takes longer than its operator
    many(layer, calls)
    assert repeated(calls)


def test_a_function_of_small_calls_is_compiled_for_larger_ones():
    calls = DefaultMode(lambda x: (x * 2).relu() if len(x) < 10 else (x @ x.t()).relu().sqrt().sum(0))
    small, big = torch.ones(3, 3), torch.ones(256, 256)
    for _ in range(70):
        calls(small)
    for _ in range(150):
        assert calls(big)[0] == 256 * 16 and calls(small)[0, 0] == 2
    assert any(made.__class__ is Recording for made in calls.known.values())


def test_collections_of_garbage_are_not_taken_for_what_a_call_does():
    seen = []

    def collected(phase, info):
        seen.append(SETTINGS["power"])

    calls = DefaultMode(lambda x: helper(x).relu() + 1)
    thresholds = gc.get_threshold()
    gc.callbacks.append(collected)
    gc.set_threshold(1)
    try:
        for _ in range(8):
            calls(torch.from_numpy(X))
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(collected)
    assert seen and gc.isenabled()
    assert repeated(calls)


def test_defaults_of_keywords_that_change():
    def scaled(x, *, by=2.0):
        return (x * by + 1).sin()

    calls = DefaultMode(scaled)
    x = torch.tensor(X)
    for _ in range(6):
        assert torch.equal(calls(x), (x * 2.0 + 1).sin())
    assert repeated(calls)
    scaled.__kwdefaults__["by"] = 3.0
    assert torch.equal(calls(x), (x * 3.0 + 1).sin())
    scaled.__kwdefaults__ = {"by": 4.0}
    assert torch.equal(calls(x), (x * 4.0 + 1).sin())


_scale = 2.0


def _scaled(x):
    return torch.relu((x * _scale).sin() + x).cos()


def test_names_in_the_programs_globals_are_noticed_however_they_change(monkeypatch):
    """The dictionaries of names are compared by their versions where those stand, name by name otherwise."""
    x = torch.linspace(-1, 1, 6)
    compiled = torch.compile(_scaled)
    for _ in range(6):
        compiled(x)
    for k in range(4):
        monkeypatch.setitem(globals(), "_other", k)  # a new version, the same names
        assert torch.equal(compiled(x), _scaled(x))
    monkeypatch.setitem(globals(), "_scale", 3.0)
    assert torch.equal(compiled(x), _scaled(x))
    monkeypatch.delitem(globals(), "_scale")
    with pytest.raises(NameError):
        compiled(x)
    monkeypatch.undo()
    monkeypatch.setitem(globals(), "torch", type("Other", (), {"relu": staticmethod(lambda t: t * 0 + 7)}))
    assert compiled(x).tolist() == pytest.approx([math.cos(7)] * 6)


def test_a_compiled_modules_own_hooks_are_called():
    model = torch.nn.Linear(3, 2)
    compiled = torch.compile(model)
    x, seen = torch.ones(1, 3), []
    expected = model(x)
    handle = compiled.register_forward_hook(lambda module, args, result: seen.append(result) or result * 2)
    with torch.no_grad():
        assert torch.equal(compiled(x), expected * 2)
    assert torch.equal(compiled(x), expected * 2)
    handle.remove()
    assert torch.equal(compiled(x), expected) and len(seen) == 2
