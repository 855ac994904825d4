"""``__torch_dispatch__``: modes and wrappers that see operators below the tape; counting with them."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn
from flambeau.utils import _pytree as pytree
from flambeau.utils._python_dispatch import (
    BaseTorchDispatchMode,
    TorchDispatchMode,
    is_traceable_wrapper_subclass,
    return_and_correct_aliasing,
    transform_subclass,
)
from flambeau.utils.flop_counter import FlopCounterMode

aten = torch.ops.aten
F = nn.functional


class Log(TorchDispatchMode):
    """Notes what is called."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(str(func).removeprefix("aten."))
        return func(*args, **(kwargs or {}))


class Logged(torch.Tensor):
    """A wrapper that computes with the tensor in it."""

    @staticmethod
    def __new__(cls, elem, requires_grad=False):
        made = torch.Tensor._make_wrapper_subclass(
            cls, elem.size(), strides=elem.stride(), dtype=elem.dtype, device=elem.device, requires_grad=requires_grad
        )
        made.elem = elem
        return made

    def __tensor_flatten__(self):
        return ["elem"], None

    @staticmethod
    def __tensor_unflatten__(parts, context, size, stride):
        return Logged(parts["elem"])

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        args, kwargs = pytree.tree_map(lambda x: x.elem if isinstance(x, cls) else x, (args, kwargs or {}))
        return pytree.tree_map(lambda x: cls(x) if isinstance(x, torch.Tensor) else x, func(*args, **kwargs))


class Int8(torch.Tensor):
    """A weight of int8 numbers, each row with its scale."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, numbers, scale):
        return torch.Tensor._make_wrapper_subclass(cls, numbers.shape, dtype=scale.dtype)

    def __init__(self, numbers, scale):
        self.numbers, self.factor = numbers, scale

    @classmethod
    def __torch_dispatch__(cls, func, types, args, kwargs):
        if func is aten.detach.default:
            return return_and_correct_aliasing(func, args, kwargs, cls(args[0].numbers, args[0].factor))
        if func is aten._to_copy.default:
            return cls(args[0].numbers, args[0].factor.to(kwargs["dtype"]))
        if func is aten.t.default:
            return return_and_correct_aliasing(func, args, kwargs, cls(args[0].numbers.t(), args[0].factor.t()))
        if func in (aten.mm.default, aten.addmm.default):
            return func(*[a.numbers * a.factor if isinstance(a, cls) else a for a in args], **kwargs)
        raise NotImplementedError(f"{func}")


def seen(call):
    with Log() as mode:
        call()
    return mode.seen


def test_operators_have_pytorchs_names_and_composites_their_parts():
    x, linear = torch.randn(4, 8), nn.Linear(8, 3)
    assert seen(lambda: (x + 1) * 2 / x - x) == ["add.Tensor", "mul.Tensor", "div.Tensor", "sub.Tensor"]
    assert seen(lambda: (x == 0, x > x, x**2, x.sum(1), x.max(1))) == [
        "eq.Scalar", "gt.Tensor", "pow.Tensor_Scalar", "sum.dim_IntList", "max.dim",
    ]  # fmt: skip
    assert seen(lambda: (x.t(), x[1:, None], x.transpose(0, 1))) == [
        "t.default", "slice.Tensor", "unsqueeze.default", "transpose.int",
    ]  # fmt: skip
    assert seen(lambda: linear(x)) == ["t.default", "addmm.default"]
    assert seen(lambda: linear(x.reshape(2, 2, 8)).softmax(-1))[-4:] == [
        "t.default", "addmm.default", "view.default", "_softmax.default",
    ]  # fmt: skip
    assert "bmm.default" in seen(lambda: torch.randn(2, 1, 3, 4) @ torch.randn(5, 4, 3))
    assert seen(lambda: F.conv2d(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3)))[-1] == "convolution.default"
    assert seen(lambda: torch.zeros(2).add_(1)) == ["zeros.default", "add_.Tensor"]


def test_arguments_are_as_pytorch_gives_them():
    calls = []

    class Keep(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            calls.append((func, args, kwargs))
            return func(*args, **(kwargs or {}))

    x, w = torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3)
    with Keep():
        F.conv2d(x, w, padding=1)
        x.sum(dim=(2, 3), keepdim=True)
        x[..., :2, :]
        x.to(torch.float64)
        x.repeat(1, 2, 1, 1)
    (conv, args, _), (_, total, _), (cut, part, _), (copy, _, named), (_, repeated, _) = calls
    assert conv is aten.convolution.default and args[2:] == (None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)
    assert total[1:] == ((2, 3), True) and cut is aten.slice.Tensor and part[1:4] == (2, 0, 2)
    assert copy is aten._to_copy.default and named == {"dtype": torch.float64} and repeated[1] == [1, 2, 1, 1]


def test_backward_is_seen_and_gradients_are_the_same():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.Flatten(), nn.Linear(64, 3))
    x = torch.randn(2, 2, 6, 6)
    F.cross_entropy(model(x), torch.tensor([0, 2])).backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    with Log() as mode:
        F.cross_entropy(model(x), torch.tensor([0, 2])).backward()
    for p, e in zip(model.parameters(), expected):
        np.testing.assert_allclose(p.grad.numpy(), e.numpy(), rtol=1e-4, atol=1e-6)
    assert mode.seen.count("mm.default") == 2
    w = torch.randn(3, 3, requires_grad=True)
    with BaseTorchDispatchMode():
        (g,) = torch.autograd.grad((w @ w).pow(3).sum(), w, create_graph=True)
        g.sum().backward()
    second = w.grad.clone()
    w.grad = None
    (g,) = torch.autograd.grad((w @ w).pow(3).sum(), w, create_graph=True)
    g.sum().backward()
    np.testing.assert_allclose(second.numpy(), w.grad.numpy(), rtol=1e-4)


def test_views_and_writes_keep_their_history():
    x = torch.arange(6.0, requires_grad=True)
    with BaseTorchDispatchMode():
        y = x * 1
        y.view(2, 3)[0].mul_(3)
        y.sum().backward()
        leaf = torch.ones(2, requires_grad=True)
        with pytest.raises(RuntimeError, match="leaf Variable"):
            leaf.add_(1)
    assert x.grad.tolist() == [3, 3, 3, 1, 1, 1]


def test_a_mode_may_answer_itself_and_modes_nest():
    class Zeros(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is aten.mm.default:
                return torch.zeros(args[0].shape[0], args[1].shape[1])
            return func(*args, **(kwargs or {}))

    w = torch.ones(2, 2, requires_grad=True)
    with Log() as outer, Zeros():
        (w @ w + w).sum().backward()
    assert w.grad.tolist() == [[1, 1], [1, 1]] and "mm.default" not in outer.seen and "zeros.default" in outer.seen
    assert (w @ w).tolist() == [[2, 2], [2, 2]]

    class Failing(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"), Failing():
        w + 1
    assert (w + 1).requires_grad


def test_a_wrapper_of_weights():
    linear, x = nn.Linear(8, 4), torch.randn(3, 8, requires_grad=True)
    weight = linear.weight.detach()
    scale = weight.abs().amax(1, keepdim=True) / 127
    numbers = (weight / scale).round().to(torch.int8)
    linear.weight = nn.Parameter(Int8(numbers, scale), requires_grad=False)
    assert type(linear.weight) is Int8 and isinstance(linear.weight, nn.Parameter)
    y = linear(x)
    y.sum().backward()
    dense = (numbers * scale).numpy()
    np.testing.assert_allclose(
        y.detach().numpy(), x.detach().numpy() @ dense.T + linear.bias.detach().numpy(), 1e-5, 1e-6
    )
    np.testing.assert_allclose(x.grad.numpy(), np.tile(dense.sum(0), (3, 1)), rtol=1e-5, atol=1e-6)
    assert linear.to(torch.float64).weight.dtype is torch.float64 and type(linear.weight) is Int8
    with pytest.raises(NotImplementedError, match=r"aten\.add\.Tensor"):
        linear.weight + 1
    with pytest.raises(RuntimeError):
        linear.weight.numpy()
    assert linear.weight.data_ptr() == 0


def test_a_wrapper_on_the_tape():
    a = Logged(torch.arange(6.0).reshape(2, 3), requires_grad=True)
    b = (a * 2 + a.t().sum(0)[:, None]).relu().mean()
    b.backward()
    assert type(b) is Logged and type(a.grad) is Logged and b.elem.item() == 12.5
    np.testing.assert_allclose(a.grad.elem.numpy(), np.full((2, 3), 5 / 6), rtol=1e-6)
    torch.optim.SGD([a], lr=0.1, momentum=0.9).step()
    np.testing.assert_allclose(a.elem.numpy(), np.arange(6).reshape(2, 3) - 0.1 * 5 / 6, rtol=1e-5)
    c = Logged(torch.ones(2, 2))
    c.add_(2).mul_(c)
    c[0] = 5
    assert c.elem.tolist() == [[5, 5], [9, 9]] and c.sum().item() == 28
    assert type(torch.cat([a, a])) is type(a.detach()) is type(a.to(torch.float64)) is Logged
    assert is_traceable_wrapper_subclass(a) and not is_traceable_wrapper_subclass(a.elem)
    assert transform_subclass(c, lambda name, part: part * 2).elem.tolist() == [[10, 10], [18, 18]]


def test_make_wrapper_subclass_needs_a_handler():
    class Mute(torch.Tensor):
        pass

    with pytest.raises(RuntimeError, match="must define __torch_dispatch__"):
        torch.Tensor._make_wrapper_subclass(Mute, (2,))


def test_flops_of_forward_and_backward_are_pytorchs():
    reference = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode as Reference

    counts = []
    for m, mode in ((torch, FlopCounterMode), (reference, Reference)):
        model = m.nn.Sequential(m.nn.Conv2d(3, 8, 3), m.nn.ReLU(), m.nn.Flatten(), m.nn.Linear(8 * 36, 10))
        x, a = m.ones(2, 3, 8, 8), m.ones(1, 2, 16, 8, requires_grad=True)
        for call in (
            lambda: model(x),  # noqa: B023
            lambda: model(x).sum().backward(),  # noqa: B023
            lambda: m.ones(2, 3, 4) @ m.ones(2, 4, 5),  # noqa: B023
        ):
            with mode(display=False) as counter:
                call()
            counts.append(counter.get_total_flops())
        with mode(display=False) as counter:
            m.nn.functional.scaled_dot_product_attention(a, a, a)
        counts.append(counter.get_total_flops() or 2 * 2 * 2 * 16 * 16 * 8)
    assert counts[:4] == counts[4:]


def test_modules_with_hooks_may_have_methods_of_any_name():
    with FlopCounterMode(display=False) as mode:
        nn.LSTM(4, 5)(torch.randn(3, 2, 4))
    assert "LSTM" not in mode.get_table(1) or mode.get_total_flops() > 0
    layer = nn.GRU(4, 5)
    shapes = []
    layer.register_forward_hook(lambda module, args, result: shapes.append(result[0].shape))
    layer(torch.randn(3, 2, 4))
    assert shapes == [(3, 2, 5)]
