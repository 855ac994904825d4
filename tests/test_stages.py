"""Memory that comes and goes while a backward pass runs, and values that it computes again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau as torch
from flambeau.deferred.deferral import deferral
from flambeau.deferred.record import Recipe
from flambeau.graph.node import topological
from flambeau.graph.steps import Step, staged
from flambeau.runtime import memory

_LAYERS, _WIDTH, _ROWS = 5, 768, 512
_ACTIVATION = _WIDTH * _ROWS * 4


def _net() -> Any:
    """Normalised layers: of two values each that a backward pass reads, one has to be kept."""
    parts: list[Any] = []
    for _ in range(_LAYERS):
        parts += [torch.nn.LayerNorm(_WIDTH), torch.nn.Linear(_WIDTH, _WIDTH)]
    return torch.nn.Sequential(*parts)


@pytest.fixture(scope="module")
def repeated() -> tuple[Any, Any, Any]:
    """A net, the same compiled and called until its calls are repeated, and its argument."""
    torch.manual_seed(0)
    net = _net()
    compiled = torch.compile(net)
    x = torch.randn(_ROWS, _WIDTH)
    for _ in range(4):
        net.zero_grad()
        compiled(x).sum().backward()
    assert compiled(x).grad_fn.name() == "CompiledFunctionBackward"
    return net, compiled, x


def _grads(net: Any, forward: Any, x: Any, **how: Any) -> list[np.ndarray]:
    net.zero_grad()
    y = (forward(x) ** 2).mean()
    y.backward(**how)
    return [p.grad.numpy().copy() for p in net.parameters()]


def test_gradients_are_those_of_eager_execution(repeated: tuple[Any, Any, Any]) -> None:
    net, compiled, x = repeated
    for got, want in zip(_grads(net, compiled, x), _grads(net, net, x)):
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-7 + 2e-5 * np.abs(want).max())


def test_memory_goes_while_the_backward_pass_runs(repeated: tuple[Any, Any, Any]) -> None:
    net, compiled, x = repeated

    def peak(forward: Any) -> int:
        net.zero_grad()
        memory.empty_cache()  # what waits at hand counts in the peak
        before = memory.statistics().allocated
        memory.reset_peak()
        forward(x).sum().backward()
        return memory.statistics().peak - before

    # one more goes early, but what products pack meanwhile differs between instruction sets
    assert peak(net) - peak(compiled) > _ACTIVATION
    y = compiled(x)
    held = memory.statistics().allocated
    y.sum().backward()
    del y
    gone = held - memory.statistics().allocated
    assert gone > (_LAYERS - 1) * _ACTIVATION


def test_a_graph_that_is_kept_can_be_run_again(repeated: tuple[Any, Any, Any]) -> None:
    net, compiled, x = repeated
    net.zero_grad()
    y = compiled(x).sum()
    y.backward(retain_graph=True)
    first = [p.grad.numpy().copy() for p in net.parameters()]
    net.zero_grad()
    y.backward()
    for p, want in zip(net.parameters(), first):
        np.testing.assert_array_equal(p.grad.numpy(), want)
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()


def test_results_and_arguments_that_somebody_holds_stay(repeated: tuple[Any, Any, Any]) -> None:
    net, compiled, x = repeated
    net.zero_grad()
    y = compiled(x)
    seed = torch.ones(_ROWS, _WIDTH)
    want = y.detach().numpy().copy()
    y.backward(seed)
    assert (seed.numpy() == 1).all()
    np.testing.assert_array_equal(y.detach().numpy(), want)


def test_a_recipe_in_part() -> None:
    """The normalised value of a layer norm comes element by element from the statistics; without them, or from a
    product, it does not."""
    recorder = deferral()
    recorder.enter()
    try:
        x, w = torch.ones(4, 8), torch.ones(8, requires_grad=True)
        y = torch.nn.functional.layer_norm(x, (8,), w, w)
        z = x @ torch.ones(8, 8)
        norm, product = [what for what in recorder.text if isinstance(what, Recipe) and what.inputs > 1]
        recipe, arguments, results = norm.part(0, [1, 2])
        assert (recipe.inputs, sorted(arguments), sorted(results)) == (5, [0, 1, 2], [1, 2])
        assert "reduce" not in {n.op for n in topological(recipe.nodes)}
        assert norm.part(0, []) is None
        assert product.part(0, []) is None
    finally:
        recorder.leave()
    assert y.shape == (4, 8) and z.shape == (4, 8)


def test_little_memory_does_not_come_and_go() -> None:
    assert staged([Step(lambda addresses: 0, ())], [], []) == []
