"""Modules called without grad mode whose Python is left out once that cannot be noticed: it is left out, the results
are those of the call, bit for bit, and whoever could notice does not."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import warnings
import weakref

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn
from flambeau.compiled.replay import Recording
from flambeau.deferred.deferral import Habit
from flambeau.nn import functional as F

MANY = 10


class Net(nn.Module):
    """A small net of convolutions; ``extra`` does more with its result."""

    def __init__(self, extra=None):
        super().__init__()
        torch.manual_seed(5)
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.ReLU6()
        self.last = nn.Conv2d(8, 4, 1)
        self.scale = 1.5
        self.extra = extra
        with torch.no_grad():
            self.norm.running_mean.uniform_(-1, 1)
            self.norm.running_var.uniform_(0.5, 2)
        self.eval()

    def forward(self, x, power=1):
        y = self.last(self.act(self.norm(self.conv(x)))) * self.scale
        if self.extra is not None:
            y = self.extra(self, y)
        return y**power


def repeated(m):
    habit = Habit.known(m)
    known = habit.again.known if habit is not None and habit.again is not None else {}
    return any(v.__class__ is Recording for v in known.values())


def learned(m, *args, **kwargs):
    with torch.no_grad():
        return [m(*args, **kwargs) for _ in range(MANY)]


def expected(m, x):
    """The same without modules that wait."""
    y = m.act(m.norm(m.conv(x)))
    return m.last(y) * m.scale


@pytest.fixture
def x():
    torch.manual_seed(1)
    return torch.randn(2, 3, 12, 12)


@pytest.fixture(autouse=True)
def alone(request):
    """Nothing is learnt beside other threads, which a parallel run has, or while others look on."""
    if "ALONE" not in os.environ and request.function is not test_in_a_process_of_its_own:
        pytest.skip("runs in a process of its own")


def test_in_a_process_of_its_own():
    if "ALONE" in os.environ:
        pytest.skip("this is that process")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", __file__],
        env={**{k: v for k, v in os.environ.items() if "XDIST" not in k}, "ALONE": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout + done.stderr


def test_the_python_of_a_call_is_left_out_and_the_bits_are_the_same(x):
    m = Net()
    results = learned(m, x)
    assert repeated(m)
    for y in results[5:]:  # the first calls wait for less, and round otherwise
        np.testing.assert_array_equal(y.numpy(), results[4].numpy())
    other = torch.randn(2, 3, 12, 12)
    with torch.no_grad():
        np.testing.assert_allclose(m(other).numpy(), expected(m, other).numpy(), rtol=1e-5, atol=1e-5)
    assert len({y.data_ptr() for y in results}) == MANY


def test_another_shape_value_or_mode_is_another_call(x):
    m = Net()
    learned(m, x)
    with torch.no_grad():
        np.testing.assert_allclose(m(x, power=2).numpy(), expected(m, x).numpy() ** 2, rtol=1e-5, atol=1e-5)
        assert m(x[:1]).shape == (1, 4, 12, 12)
        np.testing.assert_allclose(m(x.transpose(2, 3)).numpy(), expected(m, x.transpose(2, 3)).numpy(), atol=1e-5)
    y = m(x)
    assert y.requires_grad
    with torch.inference_mode():
        np.testing.assert_allclose(m(x).numpy(), y.detach().numpy(), rtol=1e-5, atol=1e-5)


def change_number(m):
    m.scale = -2.0


def change_weights(m):
    m.last.weight.data.mul_(2)


def replace_weights(m):
    m.last.weight = nn.Parameter(torch.randn(4, 8, 1, 1))


def replace_layer(m):
    m.act = nn.Hardswish()


def load(m):
    m.load_state_dict({k: v * 3 if v.is_floating_point() else v for k, v in m.state_dict().items()})


def patch_forward(m):
    m.act.forward = lambda y: y + 1


@pytest.mark.parametrize("change", [change_number, change_weights, replace_weights, replace_layer, load, patch_forward])
def test_what_the_call_depends_on_is_looked_at(x, change):
    m = Net()
    learned(m, x)
    assert repeated(m)
    with torch.no_grad():
        change(m)
        for _ in range(MANY):
            np.testing.assert_allclose(m(x).numpy(), expected(m, x).numpy(), rtol=1e-4, atol=1e-5)


def test_training_and_statistics(x):
    m = Net()
    learned(m, x)
    m.train()
    before = m.norm.running_mean.clone()
    with torch.no_grad():
        a = m(x)
    assert not torch.equal(before, m.norm.running_mean) and not torch.allclose(a, m.eval()(x).detach())
    for _ in range(MANY):
        before = m.norm.running_mean.clone()
        with torch.no_grad():
            m.train()(x)
        assert not torch.equal(before, m.norm.running_mean)


def test_hooks_are_called(x):
    m, seen = Net(), []
    learned(m, x)
    handle = m.norm.register_forward_hook(lambda *a: seen.append(1))
    learned(m, x)
    assert len(seen) == MANY
    handle.remove()
    handle = nn.modules.module.register_module_forward_pre_hook(lambda *a: seen.append(2))
    try:
        learned(m, x)
    finally:
        handle.remove()
    assert seen.count(2) == 5 * MANY


def test_a_function_that_layers_call_may_be_replaced(x, monkeypatch):
    m = Net()
    learned(m, x)
    assert repeated(m)
    conv2d, seen = F.conv2d, []

    def mine(*args, **kwargs):
        seen.append(1)
        return conv2d(*args, **kwargs)

    monkeypatch.setattr(F, "conv2d", mine)
    calls = len(seen)
    with torch.no_grad():
        m.last(m.act(m.conv(x)))
    each, seen[:] = len(seen) - calls, []
    learned(m, x)
    assert len(seen) == MANY * each


def count(m, y):
    m.calls = getattr(m, "calls", 0) + 1
    return y


def draw(m, y):
    return y + torch.rand(1)


def branch(m, y):
    return y if y.sum() > 0 else -y


def look_at_an_argument(m, y):
    return y if m.last.weight[0, 0, 0, 0] > 0 else -y


def collect(m, y):
    KEPT.append(y)
    return y


def warn(m, y):
    warnings.warn("once more", stacklevel=1)
    return y


def ask(m, y):
    KEPT.append(torch.compiler.is_compiling())
    return y


KEPT: list = []


@pytest.mark.parametrize("extra", [count, draw, branch, look_at_an_argument, collect, warn, ask])
def test_what_can_be_noticed_is_done_every_time(x, extra):
    KEPT.clear()
    m = Net(extra)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = learned(m, x)
    assert not repeated(m)
    assert extra is not count or m.calls == MANY
    assert extra is not draw or len({y.sum().item() for y in results}) == MANY
    assert extra not in (collect, ask) or len(KEPT) == MANY
    assert extra is not ask or not any(KEPT)
    assert extra is not warn or len(caught) == MANY


def test_what_the_package_warns_of_is_told_every_time(x):
    m = Net(lambda m, y: F.upsample(y, scale_factor=2))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learned(m, x)
    with warnings.catch_warnings(record=True) as once:
        warnings.simplefilter("always")
        F.upsample(x, scale_factor=2)
    assert len(caught) == MANY * len(once)


def test_results_may_be_several_and_views(x):
    m = Net(lambda m, y: y)

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = m

        def forward(self, x):
            y = self.inner(x)
            return {"whole": y, "part": y[:, 1], "both": (y.relu(), 3), "same": x}

    outer = Outer().eval()
    *_, first, last = learned(outer, x)
    assert repeated(outer)
    assert last["same"] is x and last["both"][1] == 3
    for a, b in ((first["whole"], last["whole"]), (first["part"], last["part"]), (first["both"][0], last["both"][0])):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    last["whole"][:, 1] = 7
    assert (last["part"] == 7).all()


def test_whoever_follows_python_sees_it(x):
    m = Net()
    learned(m, x)
    assert repeated(m)
    names = []
    sys.setprofile(lambda frame, event, arg: names.append(frame.f_code.co_name) if event == "call" else None)
    try:
        with torch.no_grad():
            m(x)
    finally:
        sys.setprofile(None)
    assert names.count("forward") >= 5
    with torch.profiler.profile() as profile, torch.no_grad():
        m(x)
    assert any("conv" in e.name for e in profile.events())


def test_nothing_is_learnt_beside_other_threads(x):
    m, end = Net(), threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()
    try:
        learned(m, x)
        assert not repeated(m)
    finally:
        end.set()
        other.join()
    learned(m, x)
    assert repeated(m)


def test_threads_repeat_at_once(x):
    m = Net()
    y = learned(m, x)[-1].numpy()
    assert repeated(m)
    found = []

    def work():
        with torch.no_grad():
            found.extend(m(x).numpy() for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 150
    for f in found:
        np.testing.assert_array_equal(f, y)


def test_a_module_is_not_kept_alive(x):
    m = Net()
    learned(m, x)
    assert repeated(m)
    there, weights = weakref.ref(m), weakref.ref(m.conv.weight)
    gc.disable()
    try:
        del m
        assert there() is None and weights() is None
    finally:
        gc.enable()


class Known(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = Net()

    def forward(self, x):
        return self.conv(x) * len(GLOBAL)


GLOBAL: list = [1, 2]


def test_a_global_that_changes(x):
    m = Known().eval()
    before = learned(m, x)[-1].numpy()
    assert repeated(m)
    GLOBAL.append(3)
    try:
        np.testing.assert_allclose(learned(m, x)[-1].numpy(), before * 1.5, rtol=1e-4, atol=1e-5)
    finally:
        GLOBAL.pop()


def test_weights_that_an_array_changes(x):
    m = Net()
    learned(m, x)
    with torch.no_grad():
        m.last.weight.numpy()[:] = 1
        np.testing.assert_allclose(m(x).numpy(), expected(m, x).numpy(), rtol=1e-5, atol=1e-5)


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.table = nn.Embedding(10, 3)
        self.conv = nn.Conv1d(3, 4, 3)

    def forward(self, i):
        return self.conv(self.table(i).transpose(1, 2)).relu()


def test_what_is_computed_beforehand_is_part_of_the_program():
    m, i = Words().eval(), torch.randint(0, 10, (2, 9))
    results = learned(m, i)
    assert repeated(m)
    for y in results[1:]:
        np.testing.assert_allclose(y.numpy(), results[0].numpy(), rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        other = torch.randint(0, 10, (2, 9))
        np.testing.assert_allclose(
            m(other).numpy(), m.conv(m.table(other).transpose(1, 2)).relu().numpy(), rtol=1e-5, atol=1e-6
        )


def test_a_call_that_fails_fails_as_ever():
    bad = torch.full((2, 9), 11)
    fresh, m = Words().eval(), Words().eval()
    learned(m, torch.randint(0, 10, (2, 9)))
    assert repeated(m)
    said = []
    for module in (fresh, m, m):
        with torch.no_grad(), pytest.raises(IndexError) as error:
            module(bad)
        said.append(str(error.value))
    assert said[0] == said[1] == said[2]
    learned(m, torch.randint(0, 10, (2, 9)))
    late = Words().eval()
    for _ in range(MANY):
        with torch.no_grad(), pytest.raises(IndexError) as error:
            late(bad)
        assert str(error.value) == said[0]
