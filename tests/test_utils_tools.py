"""Smaller tools of ``torch.utils``: timing, counting operations, weak dictionaries, swapping; Sobol points."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import flambeau as fl
from flambeau import nn, types
from flambeau.quasirandom import SobolEngine
from flambeau.utils import benchmark, dlpack, swap_tensors, weak
from flambeau.utils.flop_counter import FlopCounterMode, register_flop_formula
from flambeau.utils.module_tracker import ModuleTracker

torch = pytest.importorskip("torch")


def test_timer_measures_and_compares():
    timer = benchmark.Timer("x + y", "y = x * 2", globals={"x": fl.ones(4)}, label="sum", description="one")
    found = timer.blocked_autorange(min_run_time=0.01)
    assert 0 < found.median < 0.1 and found.mean > 0 and found.iqr >= 0 and "sum" in repr(found)
    merged = benchmark.Measurement.merge([found, timer.timeit(5)])
    assert len(merged) == 1 and len(merged[0].times) == len(found.times) + 1
    text = str(benchmark.Compare([found, timer.timeit(3)]))
    assert "one" in text and "Times are in" in text
    assert timer.adaptive_autorange(max_run_time=0.05).number_per_run >= 1
    with pytest.raises(ValueError, match="only statements in Python"):
        benchmark.Timer("1", language="c++")
    assert benchmark.select_unit(2e-5) == ("us", 1e-6) and benchmark.trim_sigfig(1234.5, 2) == 1200


def test_flops_of_layers_are_pytorchs():
    from torch.utils.flop_counter import FlopCounterMode as Reference

    def build(m):
        return m.nn.Sequential(
            m.nn.Conv2d(3, 8, 3, padding=1, groups=1), m.nn.ReLU(), m.nn.Flatten(), m.nn.Linear(8 * 64, 10)
        )

    counts = []
    for m, mode in ((fl, FlopCounterMode(display=False)), (torch, Reference(display=False))):
        model, x, a = build(m), m.ones(2, 3, 8, 8), m.ones(2, 4, 5)
        with mode:
            model(x)
            a @ a.transpose(1, 2)
        counts.append(mode.get_total_flops())
    assert counts[0] == counts[1]
    a = fl.ones(1, 2, 4, 5)
    with FlopCounterMode(display=False) as mode:
        fl.nn.functional.scaled_dot_product_attention(a, a, a)
    assert mode.get_total_flops() == 2 * (2 * 2 * 4 * 4 * 5)


def test_flops_by_module_and_own_formulas():
    @register_flop_formula("relu")
    def _(x, out_shape=None):
        return int(np.prod(x))

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(4, 4)

        def forward(self, x):
            return fl.relu(self.lin(x))

    with FlopCounterMode(display=False) as mode:
        Two()(fl.ones(2, 4))
    counts = mode.get_flop_counts()
    assert counts["Two.lin"] == {fl.ops.aten.addmm: 64}
    assert counts["Two"] == {fl.ops.aten.addmm: 64, fl.ops.aten.relu: 8}
    assert "Two.lin" in mode.get_table(3)


def test_module_tracker_knows_who_runs():
    seen = []

    class Inner(nn.Module):
        def forward(self, x):
            seen.append(set(tracker.parents))
            return x

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def forward(self, x):
            return self.inner(x)

    with ModuleTracker() as tracker:
        Outer()(fl.ones(1))
    assert seen == [{"Global", "Outer", "Outer.inner"}] and tracker.parents == {"Global"}


def test_weak_dictionary_tells_keys_apart_by_identity_and_lets_them_go():
    a, b = fl.ones(2), fl.ones(2)
    d = weak.WeakTensorKeyDictionary({a: 1})
    d[b] = 2
    assert d[a] == 1 and d[b] == 2 and len(d) == 2 and fl.ones(2) not in d
    ref = weak.TensorWeakRef(a)
    del a
    gc.collect()
    assert len(d) == 1 and list(d.values()) == [2] and ref() is None
    with pytest.raises(KeyError):
        d[fl.ones(1)]


def test_swap_tensors():
    a, b = nn.Parameter(fl.ones(2)), fl.zeros(3)
    swap_tensors(a, b)
    assert a.tolist() == [0, 0, 0] and type(b) is nn.Parameter and b.requires_grad and not a.requires_grad
    with pytest.raises(RuntimeError, match="Cannot swap"):
        swap_tensors(b * 2, a)


def test_dlpack_and_types():
    array = np.from_dlpack(fl.arange(3))
    assert array.tolist() == [0, 1, 2] and dlpack.DLDeviceType.kDLCPU == 1
    x = fl.arange(3)
    capsule = dlpack.to_dlpack(x)
    again = dlpack.from_dlpack(capsule)
    again[0] = 7
    assert x.tolist() == [7, 1, 2]
    with pytest.raises(ValueError, match="PyCapsule"):
        dlpack.from_dlpack(capsule)
    storage = fl.ones(1).untyped_storage()
    assert isinstance(storage, types.Storage) and isinstance(fl.ones(1).storage(), types.Storage)
    assert isinstance(storage, fl.storage.UntypedStorage)


def test_sobol_points_are_pytorchs():
    mine, theirs = SobolEngine(3), torch.quasirandom.SobolEngine(3)
    for n in (1, 3, 4):
        assert mine.draw(n).tolist() == theirs.draw(n).tolist()
    assert mine.fast_forward(5).draw(2).tolist() == theirs.fast_forward(5).draw(2).tolist()
    assert mine.reset().draw_base2(3).tolist() == theirs.reset().draw_base2(3).tolist()
    with pytest.raises(ValueError, match="power of 2"):
        mine.draw(1)
        mine.draw_base2(1)
    scrambled = SobolEngine(2, scramble=True, seed=1).draw(64)
    assert abs(scrambled.mean().item() - 0.5) < 0.02 and len({tuple(p) for p in scrambled.tolist()}) == 64
    assert repr(mine) == "SobolEngine(dimension=3)"
    with pytest.raises(ValueError):
        SobolEngine(30000)
