"""Calls of compiled functions that draw random numbers: repeated, they draw what the calls themselves would."""

from __future__ import annotations

import pytest

import flambeau as torch
from flambeau import nn, optim
from flambeau.autograd import grad
from flambeau.compiled.default_mode import DefaultMode
from flambeau.compiled.reduce_overhead import ReduceOverhead
from flambeau.compiled.replay import Recording
from flambeau.nn import functional as F
from flambeau.runtime import memory

pytestmark = pytest.mark.usefixtures("few_operators_are_worth_repeating")

MODES = {"default": DefaultMode, "reduce-overhead": ReduceOverhead}


def repeated(fn):
    """Whether calls of a compiled function are repeated by now."""
    return any(type(found) is Recording for found in fn.known.values())


def numbers(fn, calls=7):
    """What calls give with the stream of one seed, and the number after them."""
    torch.manual_seed(5)
    x = torch.linspace(-1, 1, 24).reshape(6, 4)
    found = [fn(x + k).tolist() for k in range(calls)]
    return [*found, torch.rand(1).item()]


def check(fn, mode, repeats=True):
    compiled = MODES[mode](fn)
    assert numbers(compiled) == numbers(fn)
    assert repeated(compiled) is repeats
    assert numbers(compiled) == numbers(fn)


class Dropped(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(4, 32), nn.Linear(32, 2)
        self.norm, self.dropout = nn.LayerNorm(32), nn.Dropout(0.4)

    def forward(self, x):
        h = self.dropout(self.norm(F.gelu(self.first(x))))
        return F.dropout(self.second(h), 0.2, self.training)


def trained(wrap):
    model = Dropped()
    fn = wrap(model)
    optimizer = optim.Adam(model.parameters(), 0.01)
    torch.manual_seed(1)
    losses = []
    for k in range(8):
        optimizer.zero_grad()
        loss = fn(torch.full((6, 4), float(k))).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, torch.rand(2).tolist()


@pytest.mark.parametrize("mode", MODES)
def test_a_model_with_dropout_trains_as_in_eager_mode(mode):
    expected = trained(lambda model: model)
    found = trained(lambda model: torch.compile(model, mode=mode))
    assert found[1] == expected[1]
    assert found[0] == pytest.approx(expected[0], rel=1e-5)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "fn",
    [
        lambda x: F.dropout(x, 0.5),
        lambda x: F.dropout(F.dropout(x, 0.5), 0.1),
        lambda x: F.dropout1d(x, 0.5),
        lambda x: F.alpha_dropout(x, 0.5),
        lambda x: x + torch.randn_like(x),
        lambda x: x * torch.rand(4) + torch.randn(6, 1),
        lambda x: x + torch.randn_like(x).mul(2).exp(),
        lambda x: x + torch.randint(0, 9, (6, 4)),
    ],
)
def test_numbers_are_drawn_anew_and_in_order(fn, mode):
    check(fn, mode)


@pytest.mark.parametrize("mode", MODES)
def test_attention_with_dropout(mode):
    def fn(x):
        heads = torch.stack([x, x * 2]).unsqueeze(0)
        return F.scaled_dot_product_attention(heads, heads, heads, dropout_p=0.3)

    check(fn, mode)


@pytest.mark.parametrize("mode", MODES)
def test_numbers_that_depend_on_values_are_as_in_eager_mode(mode):
    check(lambda x: torch.bernoulli(torch.sigmoid(x)), mode, repeats=False)
    check(lambda x: F.rrelu(torch.randn(4), training=True) + x, mode, repeats=False)
    check(lambda x: x + torch.normal(torch.zeros(4), 1.0), mode, repeats=False)
    check(lambda x: x * torch.empty(4, 6).t().uniform_(-1, 2), mode, repeats=False)


@pytest.mark.parametrize("mode", MODES)
def test_a_generator_of_the_programs_own(mode):
    def drawn(wrap):
        generator = torch.Generator().manual_seed(4)
        return numbers(wrap(lambda x: x + torch.rand(4, generator=generator)))

    assert drawn(lambda fn: torch.compile(fn, mode=mode)) == drawn(lambda fn: fn)


@pytest.mark.parametrize("mode", MODES)
def test_a_seed_set_inside(mode):
    def fn(x):
        torch.manual_seed(2)
        return x + torch.rand(4)

    check(fn, mode, repeats=False)


@pytest.mark.parametrize("mode", MODES)
def test_memory_that_stays_is_filled_where_it_is(mode):
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("noise", torch.zeros(4))

        def forward(self, x):
            self.noise.normal_()
            return x + self.noise

    def drawn(wrap):
        model = Noisy()
        found = numbers(wrap(model))
        return found, model.noise.tolist()

    assert drawn(lambda model: torch.compile(model, mode=mode)) == drawn(lambda model: model)


@pytest.mark.parametrize("mode", MODES)
def test_drawn_numbers_that_are_results_or_kept(mode):
    kept = []

    def fn(x):
        noise = torch.rand(4)
        kept.append(noise)
        return x * noise

    compiled = torch.compile(fn, mode=mode)
    assert numbers(compiled) == numbers(fn)
    assert len({tuple(t.tolist()) for t in kept[:7]}) == 7
    assert [t.tolist() for t in kept[:7]] == [t.tolist() for t in kept[7:]]
    both = torch.compile(lambda x: torch.stack(list(noise_of(x))), mode=mode)
    assert numbers(both) == numbers(lambda x: torch.stack(list(noise_of(x))))
    check(lambda x: torch.rand(4), mode, repeats=False)


def noise_of(x):
    noise = torch.rand(4)
    return noise, x[0] * noise


@pytest.mark.parametrize("mode", MODES)
def test_a_second_derivative_sees_the_same_numbers(mode):
    def slopes(wrap):
        fn = wrap(lambda x: F.dropout(x, 0.5).pow(3).sum())
        torch.manual_seed(6)
        found = []
        for _ in range(6):
            x = torch.linspace(0.5, 1, 32, requires_grad=True)
            (first,) = grad(fn(x), x, create_graph=True)
            (second,) = grad(first.sum(), x)
            found.append([first.tolist(), second.tolist()])
        return found, torch.rand(1).item()

    (found, after), (expected, wanted) = slopes(lambda fn: torch.compile(fn, mode=mode)), slopes(lambda fn: fn)
    assert after == wanted
    for one, other in zip(found, expected):
        assert one[0] == pytest.approx(other[0], rel=1e-6)
        assert one[1] == pytest.approx(other[1], rel=1e-6)


def test_a_whole_training_step_with_dropout_is_repeated():
    def losses(compiled):
        model = Dropped()
        optimizer = optim.SGD(model.parameters(), 0.05, momentum=0.9)

        def step(x):
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            return loss.detach()

        run = ReduceOverhead(step) if compiled else step
        torch.manual_seed(9)
        found = [run(torch.full((6, 4), float(k))).item() for k in range(8)]
        assert not compiled or repeated(run)
        return found, torch.rand(1).item()

    found, expected = losses(True), losses(False)
    assert found[1] == expected[1]
    assert found[0] == pytest.approx(expected[0], rel=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_masks_go_with_the_graph_that_needs_them(mode):
    model = torch.compile(nn.Sequential(nn.Linear(256, 256), nn.Dropout(0.5), nn.Linear(256, 1)), mode=mode)
    x = torch.ones(512, 256)
    losses = []
    for k in range(10):
        if k == 5:
            before = memory.statistics().allocated
        losses.append(model(x).sum())
        losses[-1].backward()
    assert memory.statistics().allocated - before < x.nbytes
