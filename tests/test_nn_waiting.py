"""Convolutions and large linear layers in modules called without grad mode, which take up what follows them: the same
numbers, in the same order of reads and writes, and everything there when the outermost module's call returns."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn
from flambeau.deferred.deferral import Habit, deferral
from flambeau.nn import functional as F


def pending(t):
    return t._storage.pending is not None


class Program(nn.Module):
    """A module whose ``forward`` is a function of some layers and the image."""

    def __init__(self, run):
        super().__init__()
        torch.manual_seed(3)
        self.conv = nn.Conv2d(4, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.last = nn.Conv2d(6, 6, 1)
        self.up = nn.ConvTranspose2d(6, 4, 2, 2)
        self.run = run
        with torch.no_grad():
            self.norm.running_mean.uniform_(-1, 1)
            self.norm.running_var.uniform_(0.5, 2)
            self.norm.bias.uniform_(-1, 1)
        self.eval()

    def forward(self, x):
        return self.run(self, x)


def in_place(m, x):
    y = m.conv(x)
    y = m.norm(y).relu_()
    y += 1
    return y.mul_(y)


def residual(m, x):
    y = F.relu6(m.norm(m.conv(x)))
    return F.relu(m.last(y) + y)


def two_branches(m, x):
    a = m.norm(m.conv(x))
    return a.sigmoid() * F.hardswish(m.last(a)), a


def squeeze(m, x):
    y = F.silu(m.norm(m.conv(x)))
    s = m.last(y.mean((2, 3), keepdim=True)).sigmoid()
    return y * s


def kept(m, x):
    m.seen = m.conv(x)
    return m.norm(m.seen).relu(), m.seen


def transposed(m, x):
    return F.gelu(m.up(m.conv(x).relu())) + x.repeat_interleave(2, -1).repeat_interleave(2, -2)


def views(m, x):
    y = m.conv(x)
    y[:, 1].zero_()
    y[:, :, ::2] += 1
    return y.flatten(1).relu().reshape(x.shape[0], 6, -1).sum(-1)


def image_written(m, x):
    x = x.clone()
    y = m.conv(x)
    x.zero_()  # what waits still has to read it
    return y + 1, m.conv(x)


def weights_written(m, x):
    w = m.conv.weight
    before = w.detach().clone()
    y = m.conv(x)
    w.mul_(2)
    z = m.conv(x)
    w.copy_(before)
    return z - y


def looked_at(m, x):
    y = m.conv(x)
    total = float(y.sum())
    return F.relu(y) * total


def to_array(m, x):
    y = m.conv(x).relu()
    return torch.tensor(np.maximum(y.numpy(), 0.5))


def into(m, x):
    out = torch.ones(x.shape[0], 6, *x.shape[2:])
    torch.add(m.conv(x), 1, out=out)
    return out


def target_in_memory(m, x):
    total = torch.ones(x.shape[0], 6, *x.shape[2:])
    total += m.conv(x)
    total.mul_(m.norm(m.conv(x)))
    return total


def with_grad_inside(m, x):
    with torch.enable_grad():
        w = m.conv.weight.detach().requires_grad_()
        y = F.conv2d(x, w).square().sum()
        (g,) = torch.autograd.grad(y, w)
    return F.conv2d(x, g * 1e-3).relu()


def compiled_inside(m, x):
    return torch.compile(lambda x: m.norm(m.conv(x)).relu())(x) + m.conv(x)


PROGRAMS = [in_place, residual, two_branches, squeeze, kept, transposed, views, image_written, weights_written,
            looked_at, to_array, into, target_in_memory, with_grad_inside, compiled_inside]  # fmt: skip


def results(found):
    return [t.detach().numpy().copy() for t in (found if isinstance(found, tuple) else (found,))]


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_the_same_numbers(program, off):
    m = Program(program)
    x = torch.randn(2, 4, 8, 8)
    given = x.numpy().copy()
    with off():
        expected = results(program(m, x))  # no module is being called: nothing waits
        for _ in range(6):  # the first ones run at once, then each convolution waits, then the whole call
            found = m(x)
            assert not any(pending(t) for t in (found if isinstance(found, tuple) else (found,)))
            assert not deferral().text and not deferral().waits
            for a, b in zip(results(found), expected):
                np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)
    np.testing.assert_array_equal(x.numpy(), given)


def test_one_program_for_a_convolution_and_what_follows(monkeypatch):
    monkeypatch.setattr("flambeau.deferred.deferral._CALLS", 9)  # the call as a whole does not wait
    waits = []

    def run(m, x):
        y = m.conv(x)
        z = m.norm(y).relu()
        waits.append((pending(y), pending(z)))
        return m.last(z)

    m, x = Program(run), torch.randn(2, 4, 9, 7)  # a size that no other test has met
    with torch.no_grad():
        for _ in range(2):
            m(x)
        before = deferral().runs
        m(x)
    assert waits[0] == (False, False) and waits[-1] == (True, True)
    assert deferral().runs == before + 2


def test_a_whole_call_is_one_program():
    def run(m, x):
        y = F.max_pool2d(m.norm(m.conv(x)).relu(), 3, 2, 1)
        return m.last(y).mean((2, 3)) @ m.last.weight.flatten(1)

    m, x = Program(run), torch.randn(2, 4, 9, 7)
    with torch.no_grad():
        expected = m(x).numpy().copy()
        for _ in range(5):
            before = deferral().runs
            torch.testing.assert_close(m(x), torch.tensor(expected))
    assert deferral().runs == before + 1


def test_what_the_caller_drops_is_computed():
    def run(m, x):
        m.last(m.conv(x))  # nobody looks at it
        m.seen = m.conv(x)

    m, x = Program(run), torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        for _ in range(6):
            m(x)
            assert not pending(m.seen)
            torch.testing.assert_close(m.seen, m.conv(x))


def test_a_module_that_does_something_else_in_every_call_is_not_planned_again_and_again():
    count = [0]

    def run(m, x):
        y = m.conv(x)
        count[0] += 1
        for _ in range(count[0]):
            y = m.last(y) + 1
        return y

    m, x = Program(run), torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        for _ in range(16):
            m(x)
    habit = Habit.of(m)
    assert 0 < habit.planned < 8 and not habit.settled([x])


def test_what_is_known_of_a_module_goes_with_it():
    m = Program(residual)
    identity, habit = id(m), Habit.of(m)
    assert Habit.of(m) is habit and Habit._of[identity][1] is habit
    del m
    gc.collect()
    assert identity not in Habit._of


def test_what_can_fail_because_of_a_value_fails_at_the_call():
    where = []

    def run(m, x):
        y = m.conv(x).relu()
        index = (y.sum() > -1).long() + m.past
        try:
            return y[0].index_select(0, index.reshape(1)) + 1
        except IndexError:
            where.append("in the module")
            return y

    m, x = Program(run), torch.randn(2, 4, 8, 8)
    m.past = 0
    with torch.no_grad():
        for _ in range(6):
            m(x)
        m.past = 6
        m(x)
    assert where == ["in the module"]


def test_random_numbers_come_in_order():
    m, x = Program(lambda m, x: F.dropout(m.conv(x), 0.5) + torch.rand(8)), torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        torch.manual_seed(1)
        expected = [F.dropout(m.conv(x), 0.5) + torch.rand(8) for _ in range(6)]
        torch.manual_seed(1)
        for value in expected:
            torch.testing.assert_close(m(x), value)


def test_statistics_of_the_batch_move_without_grad_mode():
    m, x = Program(lambda m, x: m.norm(m.conv(x)).relu().mean((2, 3))), torch.randn(2, 4, 8, 8)
    other = Program(lambda m, x: None)
    other.load_state_dict(m.state_dict())
    m.norm.train()
    other.norm.train()
    with torch.no_grad():
        for _ in range(6):
            found, expected = m(x), other.norm(other.conv(x)).relu().mean((2, 3))
            torch.testing.assert_close(found, expected)
            torch.testing.assert_close(m.norm.running_var, other.norm.running_var)
    assert int(m.norm.num_batches_tracked) == 6


def test_nothing_waits_with_gradients_or_outside_of_modules():
    waits = []
    m = Program(lambda m, x: waits.append(pending(y := m.conv(x))) or y)
    x = torch.randn(2, 4, 8, 8)
    for _ in range(3):
        m(x).sum().backward()
    assert waits == [False] * 3
    with torch.no_grad():
        for _ in range(3):
            assert not pending(F.conv2d(x, m.conv.weight)) and not pending(m.conv(x))


def test_an_error_leaves_everything_computed():
    def run(m, x):
        m.seen = m.conv(x)
        raise KeyError("of the model's own")

    m, x = Program(run), torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        for _ in range(3):
            with pytest.raises(KeyError):
                m(x)
        assert not pending(m.seen) and not deferral().waits
        np.testing.assert_allclose(m.seen.numpy(), m.conv(x).numpy(), rtol=1e-6)


def test_shapes_that_do_not_fit_raise_at_the_call():
    m, x = Program(lambda m, x: m.last(m.conv(x))), torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        for _ in range(3):
            m(x)
        for _ in range(3):
            with pytest.raises(RuntimeError, match="channels"):
                m(torch.randn(2, 5, 8, 8))


def test_hooks_see_values():
    m, x = Program(residual), torch.randn(2, 4, 8, 8)
    seen = []
    m.norm.register_forward_hook(lambda module, args, out: seen.append(out))
    with torch.no_grad():
        for _ in range(6):
            m(x)
        expected = m.norm(m.conv(x))
    for value in seen[:6]:
        torch.testing.assert_close(value, expected)


def test_another_thread_reads_what_waits():
    def run(m, x):
        y = m.conv(x)
        found = []
        other = threading.Thread(target=lambda: found.append((y + 1).numpy().copy()))
        other.start()
        other.join()
        return torch.tensor(found[0]) - 1

    m, x = Program(run), torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        for _ in range(6):
            torch.testing.assert_close(m(x), m.conv(x))


class Block(nn.Module):
    """A block of a transformer that keeps its keys."""

    def __init__(self, dim=256):
        super().__init__()
        self.up, self.down = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.register_buffer("keys", torch.zeros(80, dim))
        self.waited = []

    def forward(self, x):
        h = self.up(self.norm(x))
        self.waited.append(pending(h))
        self.keys[: x.shape[-2]].copy_(x.reshape(-1, x.shape[-2], x.shape[-1])[0])
        y = x + self.down(F.gelu(h))
        return F.scaled_dot_product_attention(y, self.keys[: x.shape[-2]].expand_as(y), y)


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_a_call_waits_behind_a_large_linear_layer(off):
    torch.manual_seed(5)
    m, x = Block(), torch.randn(1, 2, 64, 256)
    with off():
        expected = m.forward(x).numpy().copy()  # not a call of the module: nothing waits
        for _ in range(6):
            y = m(x)
            assert not pending(y) and not pending(m.keys) and not deferral().waits
            torch.testing.assert_close(y, torch.tensor(expected), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(m.keys[:64], x[0, 0])
            m.keys.zero_()
    assert m.waited == [False] * 3 + [True] * 4


@pytest.mark.parametrize(("rows", "dim"), [(4, 256), (64, 64)])
def test_nothing_waits_behind_a_small_linear_layer(rows, dim):
    m, x = Block(dim), torch.randn(1, 1, rows, dim)
    with torch.no_grad():
        for _ in range(6):
            m(x)
    assert not any(m.waited)


def test_a_linear_layer_that_waits_raises_at_the_call_and_knows_other_types():
    m, x = Block(), torch.randn(1, 2, 64, 256)
    with torch.no_grad():
        for _ in range(6):
            m(x)
        with pytest.raises(RuntimeError, match="cannot be multiplied"):
            m.up(torch.randn(64, 255))
        with pytest.raises(RuntimeError, match="shape"):
            m(torch.randn(1, 2, 64, 255))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            for _ in range(3):
                assert m.up(x).dtype is torch.bfloat16
                assert torch.isfinite(nn.Sequential(m.norm, m.up, m.down)(x)).all()
