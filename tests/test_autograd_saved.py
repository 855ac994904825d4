"""Hooks on saved tensors, anomaly mode and grad modes, against PyTorch."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import pytest
from autograd_programs import Programs, check

import flambeau

programs = Programs()


def leaf(torch: Any, *shape: int, value: float = 2.0) -> Any:
    return torch.full(shape, value, requires_grad=True)


# -- hooks on saved tensors --------------------------------------------------------------------------


@programs.add
def packed_and_unpacked(torch):
    seen: list[Any] = []

    def pack(t):
        seen.append("pack")
        return t * 10

    def unpack(t):
        seen.append("unpack")
        return t / 10

    x = leaf(torch, 2)
    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        y = x.exp()
        z = y * y
    z.sum().backward()
    return seen, x.grad


@programs.add
def unpacked_takes_part_in_the_graph(torch):
    x = leaf(torch, 2)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.numpy(), lambda a: torch.from_numpy(a)):
        y = x.exp()
        z = y * y * x
    (first,) = torch.autograd.grad(z.sum(), x, create_graph=True)
    return first, torch.autograd.grad(first.sum(), x)


@programs.add
def unpacked_is_what_counts(torch):
    x = leaf(torch, 2)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t * 0 + 7):
        y = x.exp()
    y.sum().backward()
    return x.grad


@programs.add
def innermost_pair(torch):
    seen: list[Any] = []
    hooks = torch.autograd.graph.saved_tensors_hooks

    def pair(name):
        return lambda t: (seen.append(name), t)[1], lambda t: t

    x = leaf(torch, 2)
    with hooks(*pair("outer")):
        x.exp()
        with hooks(*pair("inner")):
            x.exp()
        x.exp()
    x.exp()
    return seen


@programs.add
def not_inside_hooks(torch):
    count = itertools.count()
    x = leaf(torch, 2)

    def pack(t):
        next(count)
        return t.exp().log()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = x.exp()
    y.sum().backward()
    return next(count), x.grad


@programs.add
def custom_function(torch):
    class Mine(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a):
            ctx.save_for_backward(a, a * 2)
            return a * a

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[1]

    x = leaf(torch, 2)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t * 2, lambda t: t):
        y = Mine.apply(x)
    y.sum().backward()
    return x.grad


@programs.add
def on_one_saved_tensor(torch):
    x = leaf(torch, 2)
    y = x.exp()
    y.grad_fn._raw_saved_result.register_hooks(lambda t: t * 3, lambda t: t)
    y.sum().backward()
    return x.grad


@programs.add
def on_one_saved_argument(torch):
    x, w = leaf(torch, 2), leaf(torch, 2)
    y = x * w
    y.grad_fn._raw_saved_other.register_hooks(lambda t: t * 3, lambda t: t)
    y.sum().backward()
    return x.grad, w.grad


@programs.add
def twice_on_one(torch):
    y = leaf(torch, 2).exp()
    for _ in range(2):
        y.grad_fn._raw_saved_result.register_hooks(lambda t: t, lambda t: t)


@programs.add
def pack_writes(torch):
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.add_(1), lambda t: t):
        (leaf(torch, 2) * 1).exp()


@programs.add
def unpack_returns_number(torch):
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: 3):
        y = leaf(torch, 2).exp()
    y.sum().backward()


@programs.add
def disabled(torch):
    with torch.autograd.graph.disable_saved_tensors_hooks("not here"):
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
            pass


@programs.add
def written_after_packing(torch):
    x = leaf(torch, 2)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        y = x.exp()
    y.add_(5)
    y.sum().backward()
    return x.grad


@programs.add
def kept_on_the_cpu(torch):
    x = leaf(torch, 2)
    with torch.autograd.graph.save_on_cpu():
        y = (x * x).exp()
    y.sum().backward()
    return x.grad


@programs.add
def hooks_and_a_write_through_a_view(torch):
    x = leaf(torch, 2, 2)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        y = x * 1
        y[0].exp_()
    (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    return first, torch.autograd.grad(first.sum(), x)


# -- modes -------------------------------------------------------------------------------------------


@programs.add
def switches(torch):
    on = torch.is_grad_enabled
    seen = [on()]
    with torch.no_grad():
        seen.append(on())
        with torch.enable_grad():
            seen.append(on())
            with torch.set_grad_enabled(False):
                seen.append(on())
            seen.append(on())
        seen.append(on())
    torch.set_grad_enabled(False)
    seen.append(on())
    torch.set_grad_enabled(True)
    with torch.inference_mode():
        seen.append((on(), torch.is_inference_mode_enabled()))
        with torch.inference_mode(False):
            seen.append((on(), torch.is_inference_mode_enabled()))
    seen.append(on())
    return seen


@programs.add
def nothing_recorded(torch):
    x = leaf(torch, 2)
    with torch.no_grad():
        y = x * 2
    with torch.inference_mode():
        z = x * 2
    return y.requires_grad, y.grad_fn, z.requires_grad, (x * 2).requires_grad


@programs.add
def decorators(torch):
    @torch.no_grad()
    def off(n):
        return [torch.is_grad_enabled()] + (off(n - 1) if n else [])

    @torch.no_grad
    def bare():
        return torch.is_grad_enabled()

    @torch.set_grad_enabled(False)
    def set_off():
        return torch.is_grad_enabled()

    @torch.inference_mode()
    def inference():
        return torch.is_inference_mode_enabled()

    @torch.inference_mode
    def bare_inference():
        return torch.is_inference_mode_enabled()

    @torch.enable_grad()
    def on():
        return torch.is_grad_enabled()

    with torch.no_grad():
        inside = on()
    return off(2), bare(), set_off(), inference(), bare_inference(), inside, torch.is_grad_enabled(), off.__name__


@programs.add
def decorated_generator(torch):
    seen: list[Any] = []

    @torch.no_grad()
    def numbers():
        try:
            for i in range(3):
                seen.append(("in", torch.is_grad_enabled()))
                got = yield i
                seen.append(("got", got))
        except ValueError:
            seen.append(("caught", torch.is_grad_enabled()))
            yield 10
        finally:
            seen.append(("end", torch.is_grad_enabled()))
        return 5

    generator = numbers()
    seen.append((next(generator), torch.is_grad_enabled()))
    seen.append((generator.send("x"), torch.is_grad_enabled()))
    seen.append((generator.throw(ValueError()), torch.is_grad_enabled()))
    generator.close()

    def outer():
        return (yield from numbers())

    iterator = outer()
    values = []
    while True:
        try:
            values.append(next(iterator))
        except StopIteration as stop:
            return seen, values, stop.value


@programs.add
def decorated_class(torch):
    @torch.no_grad()
    class C:
        def __init__(self):
            self.on = torch.is_grad_enabled()

    return C().on


@programs.add
def exception_restores(torch):
    try:
        with torch.no_grad():
            raise ValueError
    except ValueError:
        pass
    return torch.is_grad_enabled()


@programs.add
def multithreading(torch):
    with torch.autograd.set_multithreading_enabled(False):
        x = leaf(torch, 2)
        (x * x).sum().backward()
    return x.grad


# -- anomaly mode ------------------------------------------------------------------------------------


@programs.add
def nan_in_backward(torch):
    with torch.autograd.detect_anomaly():
        x = torch.zeros(2, requires_grad=True)
        (x / x).sum().backward()


@programs.add
def nan_unchecked(torch):
    with torch.autograd.set_detect_anomaly(True, check_nan=False):
        x = torch.zeros(2, requires_grad=True)
        (x / x).sum().backward()
    return x.grad


@programs.add
def hint_in_anomaly_mode(torch):
    with torch.autograd.detect_anomaly():
        y = leaf(torch, 2).exp()
        y.add_(1)
        y.sum().backward()


@programs.add
def anomaly_mode_ends(torch):
    with torch.autograd.detect_anomaly():
        pass
    x = torch.zeros(2, requires_grad=True)
    (x / x).sum().backward()
    return x.grad


@pytest.mark.parametrize("program", programs.all)
def test_same_as_pytorch(program: Any) -> None:
    check(program)


def test_anomaly_mode_tells_the_forward_call() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with flambeau.autograd.detect_anomaly():
            x = flambeau.zeros(2, requires_grad=True)
            y = x / x  # the culprit
            with pytest.raises(RuntimeError, match="nan"):
                y.sum().backward()
    texts = [str(warning.message) for warning in seen]
    assert any("the culprit" in text for text in texts), texts
    assert flambeau.autograd.saved.watch.count == 0
