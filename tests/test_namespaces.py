"""Namespaces that programs ask about the machine: devices that are not there, backends, versions, process settings."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pytest

import flambeau as torch
from flambeau.torch_version import TorchVersion


def test_rare_namespaces_are_imported_late() -> None:
    code = (
        "import sys, flambeau; late = ['amp', 'cuda', 'jit', 'multiprocessing', 'backends', 'xpu'];"
        "assert not any('flambeau.' + n in sys.modules for n in late), sys.modules.keys();"
        "assert not flambeau.cuda.is_available() and 'flambeau.cuda' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_are_listed_and_others_are_not() -> None:
    listed, starred = set(dir(torch)), set(torch.__all__)
    assert {"nn", "autograd", "random", "softmax", "float32", "Tensor", "compile", "__version__"} <= listed
    assert {"softmax", "float32", "Tensor", "save", "pi"} <= starred <= listed
    assert not {"nn", "autograd"} & starred  # as in PyTorch, `from torch import *` brings no modules
    assert not {"annotations", "call", "forms", "graph", "planning"} & listed
    for space, own in ((torch.linalg, "OPERATORS"), (torch.fft, "annotations"), (torch.nn.functional, "namespace")):
        assert own not in dir(space)
    code = "from flambeau import *; assert softmax(ones(2), 0).tolist() == [0.5, 0.5] and float32 is Tensor([1]).dtype"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_listed_names_are_there() -> None:
    assert [name for name in dir(torch) if not hasattr(torch, name)] == []


@pytest.mark.parametrize("name", ["cuda", "xpu", "mps", "mtia", "accelerator"])
def test_devices_that_are_not_there(name: str) -> None:
    space = getattr(torch, name)
    assert space.is_available() is False and space.device_count() == 0
    refused: tuple[type[Exception], ...] = (RuntimeError, AssertionError)
    with pytest.raises(refused, match=r"not compiled|without|none is available"):
        space.synchronize()
    with pytest.raises(TypeError):
        space.is_available("now")


def test_cuda_answers_like_a_build_without_it() -> None:
    cuda = torch.cuda
    cuda.manual_seed_all(3)
    cuda.empty_cache()
    assert cuda.memory_allocated() == 0 and cuda.memory_stats() == {} and cuda.get_rng_state_all() == []
    assert cuda.memory_stats() is not cuda.memory_stats()
    for call in (
        cuda.current_device,
        cuda.get_device_name,
        lambda: cuda.set_device(0),
        lambda: torch.zeros(1, device="cuda"),
    ):
        with pytest.raises(AssertionError, match="not compiled with CUDA"):
            call()
    for make in (cuda.Stream, cuda.Event, cuda.CUDAGraph):
        with pytest.raises(RuntimeError):
            make()
    with pytest.raises(TypeError, match="FloatTensor not available"):
        cuda.FloatTensor(2)
    with cuda.device(-1), cuda.device_of(torch.zeros(1)), cuda.stream(None):
        pass
    with pytest.raises(RuntimeError, match="without CUDA"), cuda.device(0):
        pass


def test_cpu_namespace() -> None:
    assert torch.cpu.is_available() and torch.cpu.device_count() == 1 and torch.cpu.current_device() == "cpu"
    torch.cpu.synchronize()
    with torch.cpu.stream(torch.cpu.Stream()) as nothing:
        assert nothing is None
    assert torch.cpu.get_capabilities()["architecture"]
    assert torch.get_device_module("cuda") is torch.cuda and torch.get_device_module() is torch.cpu
    with pytest.raises(RuntimeError, match="nowhere"):
        torch.get_device_module("nowhere")


def test_backends() -> None:
    backends = torch.backends
    assert backends.cpu.get_cpu_capability() in ("AVX512", "AVX2", "DEFAULT")
    for name in ("cudnn", "mps", "mkl", "mkldnn", "nnpack", "openmp", "cusparselt", "kleidiai"):
        assert getattr(backends, name).is_available() is False
    assert not backends.cuda.is_built() and not backends.mps.is_built()
    with backends.cudnn.flags(enabled=False, benchmark=True):
        assert backends.cudnn.benchmark and not backends.cudnn.enabled
    assert not backends.cudnn.benchmark and backends.cudnn.enabled
    backends.cuda.matmul.allow_tf32 = True
    assert torch.get_float32_matmul_precision() == "high"
    backends.cuda.matmul.allow_tf32 = False
    with pytest.raises(AttributeError):
        backends.cuda.matmul.nothing
    with backends.cuda.sdp_kernel(enable_math=False):
        assert not backends.cuda.math_sdp_enabled()
    assert backends.cuda.math_sdp_enabled()


def test_settings_of_the_process() -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    assert torch.are_deterministic_algorithms_enabled() and torch.get_deterministic_debug_mode() == 1
    torch.set_deterministic_debug_mode("default")
    assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(RuntimeError, match="expected 0, 1, or 2"):
        torch.set_deterministic_debug_mode(7)
    with pytest.warns(UserWarning, match="highest"):
        torch.set_float32_matmul_precision("low")
    with pytest.raises(RuntimeError, match="positive"):
        torch.set_num_interop_threads(0)


def test_versions_compare() -> None:
    v = TorchVersion("2.13.0+flambeau.0.1.0")
    assert v > "2.4" and v >= (2, 13) and v >= "2.13.0" and v < "2.14.0a0" and v != "2.13.0" and v != "x"
    assert TorchVersion("2.4.0rc1") < "2.4.0" and TorchVersion("2.10.0") > "2.9"
    assert torch.version.cuda is None and torch.__version__.startswith("2.13.0")


def test_members_of_every_object() -> None:
    x = torch.arange(3.0)
    with pytest.raises(TypeError, match="deleting"):
        del x[0]
    with pytest.raises(NotImplementedError, match="record_stream"):
        x.record_stream(object())
    x.label = 1
    assert "label" in dir(x) and "sum" in dir(x)
    y = torch.empty(0)
    y.__setstate__((x.storage(), 1, (2,), (1,)))
    assert y.tolist() == [1, 2]


class _Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(2, 2)

    def forward(self, x: Any) -> Any:
        return self.linear(x) if x.sum() > 0 else -x

    @torch.jit.export
    def other(self, x: Any) -> Any:
        return x + 1

    @torch.jit.unused
    def rare(self) -> None:
        raise ZeroDivisionError


def test_scripts_run_python() -> None:
    model = _Model()
    x = torch.ones(1, 2)
    for made in (torch.jit.script(model), torch.jit.trace(model, x), torch.jit.trace_module(model, {"other": x})):
        assert isinstance(made, torch.jit.ScriptModule) and isinstance(made, _Model) and made.original_name == "_Model"
        assert torch.equal(made(x), model(x)) and torch.equal(made(-x), x) and torch.equal(made.other(x), x + 1)
        assert made.state_dict().keys() == model.state_dict().keys()

    @torch.jit.script
    def double(x):
        return x * 2 if not torch.jit.is_scripting() else x

    assert double(2) == 4 and isinstance(double, torch.jit.ScriptFunction) and double.__name__ == "double"
    seen = []
    torch.jit.trace(lambda x: (seen.append(torch.jit.is_tracing()), x)[1], x)
    assert seen == [True] and not torch.jit.is_tracing()
    with pytest.raises(RuntimeError, match="Only tensors"):
        torch.jit.trace(lambda x: 3, x)
    assert torch.jit.isinstance([1, 2], list[int]) and not torch.jit.isinstance([1, "a"], list[int])
    assert torch.jit.wait(torch.jit.fork(lambda: 5)) == 5
    assert torch.jit.annotate(int, 3) == 3
    assert pickle.loads(pickle.dumps(torch.jit.script(len)))([1]) == 1


def test_futures() -> None:
    first, second = torch.futures.Future(), torch.futures.Future()
    doubled = first.then(lambda f: f.wait() * 2)
    both = torch.futures.collect_all([first, second])
    first.set_result(4)
    assert doubled.wait() == 8 and not both.done()
    second.set_exception(ValueError("no"))
    assert both.done()
    with pytest.raises(ValueError, match="no"):
        torch.futures.wait_all([first, second])
    with pytest.raises(RuntimeError, match="once"):
        first.set_result(1)
