"""Whole programs give the same compiled as eager: prints, branches on values, writes through views, hooks, changing
shapes, exceptions in the middle, and 50 steps of training."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau as torch
import flambeau.nn.functional as F
from flambeau import nn

X = np.random.default_rng(1).standard_normal((4, 6)).astype(np.float32)


def outcome(program, compiled, *arrays):
    """(printed text, results) of a program."""
    torch.manual_seed(5)
    text = io.StringIO()
    run = torch.compile(program) if compiled else program
    with contextlib.redirect_stdout(text):
        results = run(*[torch.tensor(a) for a in arrays])
        results = results if isinstance(results, tuple) else (results,)
        values = [r.detach().numpy().copy() if isinstance(r, torch.Tensor) else np.asarray(r) for r in results]
    return text.getvalue(), values


def same(program, *arrays):
    (text, values), (compiled_text, compiled_values) = (outcome(program, c, *arrays) for c in (False, True))
    assert compiled_text == text
    assert len(values) == len(compiled_values)
    for a, b in zip(values, compiled_values):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(b, a, rtol=2e-5, atol=1e-5)


def test_printing_in_the_middle():
    def program(x):
        y = (x * 4).round()
        print("first", y)
        y[1].add_(100)
        print(y[1], y.shape, y.sum().item())
        return y / 3

    same(program, X)


def test_branches_loops_and_lengths_by_values():
    def program(x):
        steps = 0
        while x.abs().max() > 0.1 and steps < 20:
            x = torch.where(x > 0, x * 0.5, x * 0.7)
            steps += 1
        picked = x[x > 0.05]
        order = sorted(range(len(x)), key=lambda k: x[k].sum().item())
        return x, picked, steps, x[order]

    same(program, X)


def test_writes_through_overlapping_views():
    def program(x):
        y = x.clone()
        left, right = y[:, :4], y[:, 2:]
        left += 1
        right *= 2
        y.t()[3] = left[:, 0]
        windows = y.view(-1).unfold(0, 4, 2).sum(1)
        left[1:3].copy_(right[0:2])
        z = y.reshape(2, 12)
        z[0, ::3].sub_(5)
        return y, windows, z, left

    same(program, X)


def test_writes_to_an_argument_and_a_view_of_it():
    def program(x):
        row = x[1]
        with pytest.raises(RuntimeError, match="unsupported operation"):
            x.add_(row)  # reads what it writes
        x.add_(row.clone())
        row.mul_(2)
        total = x.sum(0)
        x[2:].zero_()
        return x, row, total

    same(program, X)


def test_results_kept_over_several_calls():
    kept = {False: [], True: []}

    def make(compiled):
        def program(x, k):
            y = x * k
            kept[compiled].append(y[0])
            return y.cumsum(0) + (kept[compiled][-2] if k > 1 else 0)

        return torch.compile(program) if compiled else program

    for compiled in (False, True):
        program = make(compiled)
        last = [program(torch.tensor(X), k) for k in range(1, 5)][-1]
        kept[compiled].append(last)
    for a, b in zip(kept[False], kept[True]):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-6)


def test_hooks_see_and_change_gradients():
    def program(x):
        x = x.requires_grad_()
        seen = []
        y = x * 3
        y.register_hook(lambda g: seen.append(float(g.sum())) or g * 2)
        x.register_hook(lambda g: g + 1)
        (y.exp().sum() + y.sum()).backward()
        return x.grad, np.float64(seen[0])

    same(program, X)


def test_module_hooks():
    net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))
    log = []
    net[0].register_forward_hook(lambda m, i, o: log.append(o.mean().item()) or o * 2)
    net[2].register_full_backward_hook(lambda m, gi, go: (gi[0] * 0.5,))
    found = []
    for run in (net, torch.compile(net)):
        net.zero_grad()
        run(torch.tensor(X)).square().sum().backward()
        found.append([p.grad.numpy().copy() for p in net.parameters()])
    for a, b in zip(*found):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)
    assert log[0] == pytest.approx(log[1])


def test_an_exception_in_the_middle_leaves_what_came_before():
    def program(x):
        y = x + 1
        total = x.clone()
        try:
            total.add_(y)
            total @ torch.ones(5)
        except RuntimeError as error:
            print(str(error)[:40])
        with contextlib.suppress(IndexError):
            y[9]
        total.mul_(y)
        return total, y

    same(program, X)


def test_second_derivatives():
    def program(x):
        x = x.requires_grad_()
        y = (x.tanh() * x).sum()
        (g,) = torch.autograd.grad(y, x, create_graph=True)
        (h,) = torch.autograd.grad((g * g).sum(), x)
        return g, h

    same(program, X)


def test_lengths_that_change_with_every_call():
    layer = nn.Linear(6, 3)

    @torch.compile
    def program(x):
        return F.softmax(layer(x), -1).cumsum(0)

    for n in (3, 1, 7, 2, 0, 5, 7):
        x = torch.randn(n, 6)
        wanted = F.softmax(layer(x), -1).cumsum(0)
        np.testing.assert_allclose(program(x).detach().numpy(), wanted.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_detached_history_and_a_running_average():
    net = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))

    def train(run):
        torch.manual_seed(2)
        for p in net.parameters():
            nn.init.normal_(p) if p.ndim > 1 else nn.init.zeros_(p)
        net[1].reset_running_stats()
        state = torch.zeros(4)
        for k in range(5):
            y = run(torch.randn(8, 6))
            state = (0.9 * state + 0.1 * y.mean(0)).detach()
            if k == 2:
                net.eval()
            if k == 3:
                net.train()
        return state, net[1].running_mean.clone(), net[1].running_var.clone(), net[1].num_batches_tracked.clone()

    for a, b in zip(train(net), train(torch.compile(net))):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-5, atol=1e-6)


class Attends(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 16)
        self.norm = nn.LayerNorm(16)
        self.qkv = nn.Linear(16, 48)
        self.out = nn.Linear(16, 11)
        self.drop = nn.Dropout(0.1)

    def forward(self, x):
        h = self.embed(x)
        q, k, v = (p.view(*x.shape, 2, 8).transpose(1, 2) for p in self.qkv(self.norm(h)).split(16, -1))
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(h + self.drop(a.transpose(1, 2).reshape(h.shape)))


class Convolves(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn, self.conv2 = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 8, 3)
        self.fc = nn.Linear(8 * 3 * 3, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn(self.conv1(x))), 2)
        return self.fc(F.avg_pool2d(F.relu(self.conv2(x)), 2, 1).flatten(1))


def attention():
    x = torch.randint(11, (3, 7))
    return Attends(), lambda run: F.cross_entropy(run(x).flatten(0, 1), x.roll(1, 1).flatten())


def convolution():
    x, y = torch.randn(6, 1, 12, 12), torch.randint(5, (6,))
    return Convolves(), lambda run: F.cross_entropy(run(x), y)


def recurrent():
    x = torch.randn(5, 3, 4)
    net = nn.LSTM(4, 6)
    return net, lambda run: run(x)[0].square().mean() + run(x)[1][0].sum() * 0.1


@pytest.mark.parametrize("make", [attention, convolution, recurrent])
@pytest.mark.parametrize("optimizer", ["AdamW", "SGD"])
def test_fifty_steps_of_training(make, optimizer):
    curves = []
    for compiled in (False, True):
        torch.manual_seed(0)
        net, loss_of = make()
        run = torch.compile(net) if compiled else net
        options = {"momentum": 0.9} if optimizer == "SGD" else {}
        opt = getattr(torch.optim, optimizer)(net.parameters(), lr=0.01, **options)
        losses = []
        for step in range(50):
            opt.zero_grad()
            loss = loss_of(run)
            loss.backward()
            if step % 3 == 0:
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            opt.step()
            losses.append(loss.item())
        curves.append(losses)
    np.testing.assert_allclose(curves[1], curves[0], rtol=2e-3, atol=2e-4)
    assert curves[0][-1] < curves[0][0]


SHAPES = [(4, 6), (2, 3, 4), (24,), (1, 6), (6,)]
UNARY = {
    "exp": lambda t: t.clamp(-3, 3).exp(),
    "tanh": torch.tanh,
    "transpose": lambda t: t.transpose(0, -1),
    "contiguous": lambda t: t.transpose(0, -1).contiguous(),
    "flat": lambda t: t.reshape(-1),
    "half": lambda t: t[: (t.shape[0] + 1) // 2],
    "odd": lambda t: t[..., ::2],
    "sum": lambda t: t.sum(-1, keepdim=True),
    "softmax": lambda t: t.softmax(-1),
    "norm": lambda t: (t - t.mean()) / (t.var(unbiased=False) + 1),
    "sort": lambda t: t.sort(-1)[0],
    "cumsum": lambda t: t.cumsum(0),
    "flip": lambda t: t.flip(0),
    "expand": lambda t: t.unsqueeze(0).expand(2, *t.shape),
    "pad": lambda t: F.pad(t, (1, 2)),
    "max": lambda t: t.amax(0),
    "double": lambda t: t.double().mul(1.5).float(),
    "argmax": lambda t: t.argmax(-1).float(),
    "where": lambda t: torch.where(t > 0, t, t * 0.1),
    "matmul": lambda t: t @ t.transpose(-1, -2) if t.ndim > 1 else t * t.dot(t),
    "clone": lambda t: t.clone(),
    "item": lambda t: t * (1 if t.sum().item() > 0 else -1),
    "roll": lambda t: t.roll(1, 0),
}
WRITES = {
    "add_": lambda t: t.add_(1),
    "row": lambda t: t[0].mul_(-1),
    "last": lambda t: t[..., -1:].fill_(2),
    "columns": lambda t: t[..., ::2].sub_(0.5),
    "mask": lambda t: t.masked_fill_(t > 1, 0.25),
    "itself": lambda t: t.add_(t.flip(0)),
    "index": lambda t: t.index_add_(0, torch.tensor([0, 0]), torch.ones(2, *t.shape[1:])),
    "transposed": lambda t: t.transpose(0, -1)[0].copy_(t.transpose(0, -1)[-1]),
}


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(SHAPES),
    st.lists(st.tuples(st.booleans(), st.integers(0, 99), st.integers(0, 9)), min_size=1, max_size=12),
    st.booleans(),
)
def test_random_programs(shape, steps, write_argument):
    unary, writes = sorted(UNARY), sorted(WRITES)

    def program(x):
        pool = [x if write_argument else x.clone()]
        for write, which, source in steps:
            t = pool[source % len(pool)]
            if t.numel() == 0 or t.ndim == 0 or t.numel() > 2000:
                continue
            if write:
                if not any(s == 0 for s in t.stride()):
                    with contextlib.suppress(RuntimeError):
                        WRITES[writes[which % len(writes)]](t)
            else:
                pool.append(UNARY[unary[which % len(unary)]](t))
        return (x, *pool[-4:])

    x = np.random.default_rng(7).standard_normal(shape).astype(np.float32)
    same(program, x)


def test_explain_tells_programs_kernels_and_what_made_them_run():
    def program(x):
        y = (x * 2).exp() + 1
        if y.sum().item() > 0:
            y = y.softmax(-1)
        return y

    found = torch.compiler.explain(torch.compile(program), torch.tensor(X))
    assert found.graph_count == 2 and found.graph_break_count == 1 and found.op_count == 5
    (reason,) = found.break_reasons
    assert reason.startswith("item at ") and __file__ in reason
    assert {"mul", "exp", "add"} <= {name for k in found.parts[0].kernels for name in k.step.operators}
    assert all(k.seconds > 0 and k.step.nbytes > 0 for part in found.parts for k in part.kernels)
    text = str(found)
    assert "GB/s" in text and "softmax" in text and "the end of the call" in text


def test_stances_disabling_and_reset():
    seen = []

    @torch.compiler.disable
    def aside(x):
        seen.append(torch.compiler.is_compiling())
        return x + 1

    @torch.compile
    def program(x):
        seen.append(torch.compiler.is_compiling())
        return aside(x * 2)

    x = torch.ones(2)
    assert program(x).tolist() == [3, 3] and seen == [True, False]
    torch.compiler.reset()
    with torch.compiler.set_stance("force_eager"):
        assert program(x).tolist() == [3, 3] and seen[2:] == [False, False]
    assert program(x).tolist() == [3, 3] and seen[4:] == [True, False]
    with pytest.raises(RuntimeError, match="stance"):
        torch.compiler.set_stance("never")
    assert torch.compiler.wrap_numpy(np.cumsum)(torch.ones(3)).tolist() == [1, 2, 3]
