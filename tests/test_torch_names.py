"""Names of the main namespace that PyTorch takes from its C++ module."""

from __future__ import annotations

import os
import zipfile

import numpy as np
import pytest

import flambeau
from flambeau import numa

reference = pytest.importorskip("torch")


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("limits", [(0, 255), (-128, 127)])
def test_fused_moving_averages(per_row, symmetric, limits):
    a = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    found = []
    for m in (flambeau, reference):
        n = 3 if per_row else 1
        state = [m.full((n,), float("inf")), m.full((n,), float("-inf")), m.ones(n), m.zeros(n, dtype=m.int32)]
        for k in (1, 2):
            x = m.tensor(a * k, requires_grad=True)
            out = m.fused_moving_avg_obs_fake_quant(
                x, m.tensor([1]), m.tensor([1]), *state, 0.1, *limits, 0, per_row, symmetric
            )
        out.sum().backward()
        found.append([out, x.grad, *state])
    for ours, theirs in zip(*found):
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-6, atol=1e-6)
    state = [flambeau.zeros(1), flambeau.zeros(1), flambeau.ones(1), flambeau.zeros(1, dtype=flambeau.int32)]
    off = flambeau.tensor([0])
    x = flambeau.tensor(a)
    assert flambeau.equal(flambeau.fused_moving_avg_obs_fake_quant(x, off, off, *state, 0.1, 0, 255, 0), x)


def test_quantized_pooling_of_volumes():
    a = np.random.default_rng(0).normal(size=(1, 2, 4, 4, 4)).astype(np.float32)
    x = flambeau.quantize_per_tensor(flambeau.tensor(a), 0.1, 3, flambeau.quint8)
    found = flambeau.quantized_max_pool3d(x, [2, 2, 2])
    expected = flambeau.nn.functional.max_pool3d(x.dequantize(), 2)
    assert flambeau.equal(found.dequantize(), expected) and found.q_zero_point() == 3


def test_archives_are_written_record_by_record(tmp_path):
    path = tmp_path / "records.pt"
    writer = flambeau.PyTorchFileWriter(str(path))
    writer.write_record("data.pkl", b"abcd", 3)
    writer.write_record("data/0", flambeau.arange(3).untyped_storage(), 24)
    assert writer.archive_name() == "records" and writer.get_all_written_records() == {"data.pkl", "data/0"}
    with pytest.raises(RuntimeError, match="written before"):
        writer.write_record("data/0", b"", 0)
    writer.write_end_of_file()
    with pytest.raises(RuntimeError, match="complete"):
        writer.write_record("more", b"x", 1)
    assert len(writer.serialization_id()) == 40
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    theirs = reference._C.PyTorchFileReader(str(path))
    assert theirs.get_record("data.pkl") == b"abc" and theirs.has_record("data/0")
    assert flambeau.PyTorchFileReader(str(path)).get_record("data/0") == np.arange(3).tobytes()
    context, storage = flambeau.SerializationStorageContext(), flambeau.zeros(2).untyped_storage()
    assert not context.has_storage(storage)
    assert context.get_or_add_storage(storage) == context.get_or_add_storage(storage) == 0
    read = flambeau.DeserializationStorageContext()
    read.add_storage("0", flambeau.ones(1))
    assert read.has_storage("0") and read.get_storage("0").item() == 1
    with pytest.raises(RuntimeError, match="no storage"):
        read.get_storage("1")


def test_throughput():
    net = flambeau.nn.Linear(3, 2)
    bench = flambeau.utils.ThroughputBenchmark(net)
    with pytest.raises(RuntimeError, match="no inputs"):
        bench.benchmark()
    bench.add_input(flambeau.ones(1, 3))
    bench.add_input(flambeau.zeros(1, 3))
    stats = bench.benchmark(num_calling_threads=2, num_warmup_iters=1, num_iters=5)
    assert stats.num_iters == 5 and stats.latency_avg_ms > 0 and stats.iters_per_second > 0
    assert "Total number of iterations: 5" in str(stats)
    assert flambeau.equal(bench.run_once(flambeau.zeros(1, 3)), net(flambeau.zeros(1, 3)))
    broken = flambeau.ThroughputBenchmark(lambda x: 1 / 0)
    broken.add_input(1)
    with pytest.raises(ZeroDivisionError):
        broken.benchmark(flambeau.BenchmarkConfig(2, num_iters=2))


def test_parts_of_scripted_modules():
    net = flambeau.jit.script(flambeau.nn.Sequential(flambeau.nn.BatchNorm1d(2)))
    assert flambeau.ModuleDict(net).contains("0") and [n for n, _ in flambeau.ModuleDict(net).items()] == ["0"]
    norm = flambeau.ModuleDict(net).getattr("0")
    assert [n for n, _ in flambeau.ParameterDict(norm).items()] == ["weight", "bias"]
    flambeau.BufferDict(norm).setattr("running_mean", flambeau.ones(2))
    assert norm.running_mean.sum() == 2
    with pytest.raises(RuntimeError, match="there is no"):
        flambeau.ParameterDict(norm).getattr("scale")


def test_overrides_are_turned_off():
    class Loud(flambeau.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            return "asked"

    class Mode(flambeau.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return "mode"

    x, plain = flambeau.ones(2).as_subclass(Loud), flambeau.ones(1)
    with flambeau.DisableTorchFunctionSubclass():
        assert not isinstance(x + 1, str)
    with Mode():
        assert flambeau.add(plain, 1) == "mode"
        with flambeau.DisableTorchFunction():
            assert flambeau.add(plain, 1).item() == 2 and not isinstance(x + 1, str)
        assert flambeau.add(plain, 1) == "mode"


def test_storages_and_old_names():
    assert flambeau.Storage is flambeau.FloatStorage
    assert isinstance(flambeau.ones(1).untyped_storage(), flambeau.StorageBase)
    assert flambeau.quantization.QuantStub is flambeau.ao.quantization.QuantStub
    assert issubclass(flambeau.JITException, Exception) and issubclass(flambeau.FatalError, Exception)
    future = flambeau.futures.Future()
    future.set_result(3)
    assert flambeau.wait(future) == 3


@pytest.mark.skipif(not os.path.isdir("/sys/devices/system/node"), reason="needs Linux with nodes of memory")
def test_binding():
    binding = numa.binding
    allowed = os.sched_getaffinity(0)
    assert binding.indices("0-2,5\n") == {0, 1, 2, 5} and binding.indices("\n") == set()
    for mode in binding.AffinityMode:
        assert binding.of_node(0, mode) <= allowed
    with pytest.raises(RuntimeError, match="no processor"):
        binding.of_node(0, binding.AffinityMode.NODE, allowed=set())
    bind = binding.maybe_temporarily_apply_numa_binding_to_current_thread
    with bind(gpu_index=0, numa_options=None):
        assert os.sched_getaffinity(0) == allowed
    options = binding.NumaOptions(binding.AffinityMode.NODE)
    if not flambeau.cuda.is_available():
        with pytest.raises((RuntimeError, AssertionError)), bind(gpu_index=0, numa_options=options):
            pass
    assert os.sched_getaffinity(0) == allowed
