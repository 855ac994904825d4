"""Fake tensors: programs run by their shapes alone, on devices that need not exist."""

from __future__ import annotations

import copy
from typing import Any

import pytest

import flambeau as torch
from flambeau import nn
from flambeau._subclasses import FakeTensor, FakeTensorMode
from flambeau._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorDeviceMismatchError,
    is_fake,
    unset_fake_temporarily,
)
from flambeau.overrides import TorchFunctionMode

F = nn.functional


def test_what_is_made_is_fake_on_any_device() -> None:
    with FakeTensorMode() as mode:
        made = [
            torch.empty(3, 4, device="cuda"),
            torch.zeros((3, 4), device="cuda:0"),
            torch.randn(3, 4, device="cuda"),
            torch.full((3, 4), 2.0, device="cuda"),
            torch.arange(12.0, device="cuda").view(3, 4),
        ]
        big = torch.empty(100_000, 100_000, device="cuda")
        assert (big @ big).shape == (100_000, 100_000)
    for t in made:
        assert is_fake(t)
        assert t.fake_mode is mode
        assert str(t.device) == "cuda:0"
        assert t.is_cuda
        assert not t.is_meta
        assert (t.shape, t.stride(), t.dtype) == ((3, 4), (4, 1), torch.float32)
    assert type(torch.ones(2)) is torch.Tensor
    assert type(made[0].shape) is torch.Size


def test_what_is_made_by_kernels_of_no_device() -> None:
    reflections, factors = torch.geqrf(torch.randn(6, 5))
    real = torch.linalg.householder_product(reflections, factors)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        window = torch.kaiser_window(9, device="cuda")
        product = torch.linalg.householder_product(mode.from_tensor(reflections), mode.from_tensor(factors))
    assert is_fake(window)
    assert (window.shape, str(window.device)) == ((9,), "cuda:0")
    assert (product.shape, product.stride()) == (real.shape, real.stride()) == ((6, 5), (1, 6))


def test_a_training_step_by_shapes() -> None:
    with FakeTensorMode():
        net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(512, 5))
        net.to("cuda")
        assert all(isinstance(p, nn.Parameter) and isinstance(p, FakeTensor) for p in net.parameters())
        out = net(torch.randn(4, 3, 10, 10, device="cuda"))
        loss = F.cross_entropy(out, torch.randint(0, 5, (4,), device="cuda"))
        loss.backward()
        optimizer = torch.optim.AdamW(net.parameters())
        optimizer.step()
        weight = net[0].weight
        assert (out.shape, str(out.device), loss.shape) == ((4, 5), "cuda:0", ())
        assert is_fake(weight.grad)
        assert weight.grad is weight.grad
        assert weight.grad.shape == weight.shape
        assert str(optimizer.state[weight]["exp_avg"].device) == "cuda:0"
        assert str(copy.deepcopy(net)[0].weight.device) == "cuda:0"


def test_real_tensors_are_converted_once_or_refused() -> None:
    mode, real = FakeTensorMode(), torch.randn(6, 4).t()
    fake = mode.from_tensor(real)
    assert mode.from_tensor(real) is fake
    assert (fake.shape, fake.stride(), str(fake.device)) == ((4, 6), (1, 4), "cpu")
    assert (fake @ fake.t()).shape == (4, 4)
    with pytest.raises(AssertionError, match="convert all Tensors to FakeTensors first"):
        fake + real
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert is_fake(torch.ones(4, 6) + real)
    layer = nn.Linear(3, 4)
    fakes = {name: mode.from_tensor(p) for name, p in layer.named_parameters()}
    assert isinstance(fakes["weight"], nn.Parameter)
    result = torch.func.functional_call(layer, fakes, (mode.from_tensor(torch.randn(2, 3)),))
    assert result.shape == (2, 4)
    assert result.requires_grad


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda t: t.sum().item(), DataDependentOutputException),
        (lambda t: t.tolist(), DataDependentOutputException),
        (lambda t: bool(t.sum() > 0), DataDependentOutputException),
        (lambda t: float(t[0, 0]), DataDependentOutputException),
        (lambda t: t.nonzero(), DynamicOutputShapeException),
        (lambda t: t[t > 0], DynamicOutputShapeException),
        (lambda t: t.unique(), DynamicOutputShapeException),
        (lambda t: t.numpy(), RuntimeError),
        (lambda t: t @ t, RuntimeError),
    ],
)
def test_what_depends_on_values_is_refused(ask: Any, error: type[Exception]) -> None:
    with FakeTensorMode():
        t = torch.randn(3, 4)
        with pytest.raises(error):
            ask(t)
        assert t.sum().shape == ()  # goes on working


def test_numbers_that_are_known_stay_known() -> None:
    with FakeTensorMode():
        step = torch.tensor(1.0)
        step += 2
        assert step.item() == 3
        assert int(torch.tensor(3) * 2) == 6
        assert torch.arange(5.0)[torch.tensor(1)].shape == ()
        assert torch.tensor([1, 2]).tolist() == [1, 2]
        known = torch.tensor([1, 2])
        known.add_(1)
        with pytest.raises(DataDependentOutputException):
            known.tolist()
    with pytest.raises(DataDependentOutputException):
        torch.tensor([4]).add(FakeTensorMode(allow_non_fake_inputs=True).from_tensor(torch.ones(1))).item()


def test_devices() -> None:
    with FakeTensorMode():
        here, there = torch.ones(3), torch.ones(3, device="cuda")
        with pytest.raises(FakeTensorDeviceMismatchError, match=r"cuda:0 and cpu|cpu and cuda:0"):
            here + there
        assert str((there * torch.tensor(2.0)).device) == "cuda:0"
        assert [str(t.device) for t in (here.cuda(), there.cpu(), here.to("cuda:1"), there.to(torch.float64))] == [
            "cuda:0", "cpu", "cuda:1", "cuda:0",
        ]  # fmt: skip
        assert str(there.new_zeros(2).device) == "cuda:0"
        assert str(here.copy_(there).device) == "cpu"


def test_views_writes_and_transforms() -> None:
    with FakeTensorMode():
        t = torch.empty(4, 6)
        view = t.t()[1:]
        view[0] = 1.0
        view.add_(1)
        assert (view.stride(), view._base is t, is_fake(view)) == ((1, 6), True, True)
        assert torch.vmap(lambda row: row.sum())(t).shape == (4,)
        assert torch.func.grad(lambda x: (x**2).sum())(t).shape == (4, 6)
        x = torch.empty(3, requires_grad=True)
        (gradient,) = torch.autograd.grad((x * x).sum(), x, create_graph=True)
        assert (is_fake(gradient), gradient.requires_grad) == (True, True)
        with unset_fake_temporarily() as left:
            assert isinstance(left, FakeTensorMode)
            assert type(torch.ones(2)) is torch.Tensor


def test_printing() -> None:
    with FakeTensorMode():
        assert repr(torch.empty(2, 3)) == "FakeTensor(..., size=(2, 3))"
        x = torch.empty(2, dtype=torch.float64, device="cuda", requires_grad=True)
        assert repr(x) == "FakeTensor(..., device='cuda:0', size=(2,), dtype=torch.float64, requires_grad=True)"
        assert f"{x * 2}".endswith("grad_fn=<MulBackward0>)")


def test_modes_are_asked_about_functions_that_make_tensors() -> None:
    seen = []

    class Watching(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(func.__name__)
            return func(*args, **(kwargs or {}))

    with Watching():
        x = torch.ones(2, requires_grad=True)
        (x * torch.randn(2)).sum().backward()
        torch.tensor([1])
        torch.arange(3)
    assert seen == ["ones", "randn", "mul", "sum", "backward", "tensor", "arange"]
    assert torch.ones in torch.overrides.get_ignored_functions()
