"""Mixed precision: the class of every operator, nesting, the cache of casts, decorators, and the scaling of losses."""

from __future__ import annotations

import threading
import warnings

import pytest

import flambeau as torch
from flambeau.nn import functional as F


@pytest.fixture
def matrices() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(4, 4), torch.randn(4, 4)


def test_classes_of_operators(matrices) -> None:
    a, b = matrices
    low = a.bfloat16()
    linear = torch.nn.Linear(4, 3)
    with torch.autocast("cpu"):
        lower = [a @ b, torch.mm(a, b), linear(a), torch.einsum("ij,jk->ik", a, b), torch.inner(a, b)]
        assert {t.dtype for t in lower} == {torch.bfloat16}
        full = [low.prod(), torch.trace(low), F.mse_loss(low, low), F.cross_entropy(linear(a), torch.zeros(4).long())]
        assert {t.dtype for t in full} == {torch.float32}
        assert torch.cat([low, a]).dtype is torch.float32 and torch.cat([low, low]).dtype is torch.bfloat16
        given = [torch.mv(a, b[0]), torch.dot(a[0], b[0]), torch.softmax(a, -1), a + 1]
        assert {t.dtype for t in given} == {torch.float32}
        assert torch.softmax(low, -1).dtype is torch.bfloat16
        assert (a.double() @ b.double()).dtype is torch.float64
        assert F.pad(low[None], (1, 1), mode="reflect").dtype is torch.float32
        assert F.pad(low[None], (1, 1)).dtype is torch.bfloat16
        out = torch.zeros(4, 4)
        assert torch.mm(a, b).dtype is torch.bfloat16 and out.addmm_(a, b).dtype is torch.float32
    assert (a @ b).dtype is torch.float32


def test_nesting_and_state(matrices) -> None:
    a, b = matrices
    assert not torch.is_autocast_enabled("cpu")
    with torch.autocast("cpu", dtype=torch.float16):
        assert torch.is_autocast_enabled("cpu") and not torch.is_autocast_enabled()
        assert torch.get_autocast_dtype("cpu") is torch.float16
        with torch.autocast("cpu", enabled=False):
            assert (a @ b).dtype is torch.float32
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert (a @ b).dtype is torch.bfloat16
        assert (a @ b).dtype is torch.float16
        found = []
        thread = threading.Thread(target=lambda: found.append((a @ b).dtype))
        thread.start()
        thread.join()
        assert found == [torch.float32], "the state belongs to a thread"
    assert torch.get_autocast_dtype("cpu") is torch.bfloat16
    with pytest.raises(ZeroDivisionError), torch.autocast("cpu"):
        raise ZeroDivisionError
    assert not torch.is_autocast_enabled("cpu")


def test_decorator_and_gradient(matrices) -> None:
    a, b = matrices
    a.requires_grad_()

    @torch.autocast("cpu")
    def product(x, y):
        return x @ y

    out = product(a, b)
    assert out.dtype is torch.bfloat16
    out.float().sum().backward()
    assert a.grad.dtype is torch.float32
    assert (a.grad - b.sum(1).expand(4, 4)).abs().max() < 0.05


def test_cast_of_a_parameter_is_kept(matrices) -> None:
    a, _ = matrices
    linear = torch.nn.Linear(4, 4, bias=False)
    seen = []
    with torch.autocast("cpu"):
        for _ in range(2):
            seen.append(linear(a).grad_fn.next_functions)
    kept = [node for functions in seen for node, _ in functions if node is not None]
    assert kept[0] is kept[-1], "both products read one cast of the weight"
    with torch.no_grad(), torch.autocast("cpu"):
        assert linear(a).dtype is torch.bfloat16


def test_backward_of_functions(matrices) -> None:
    a, _ = matrices

    class Square(torch.autograd.Function):
        @staticmethod
        @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
        def forward(ctx, x):
            assert not torch.is_autocast_enabled("cpu") and x.dtype is torch.float32
            ctx.save_for_backward(x)
            return x @ x

        @staticmethod
        @torch.amp.custom_bwd(device_type="cpu")
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return grad @ x.T + x.T @ grad

    x = a.clone().requires_grad_()
    with torch.autocast("cpu"):
        Square.apply(x.bfloat16()).sum().backward()
    assert x.grad is not None


def test_what_autocast_refuses() -> None:
    with pytest.raises(ValueError, match="device_type"):
        torch.autocast(3)
    with pytest.raises(RuntimeError, match="nowhere"):
        torch.autocast("nowhere")
    with pytest.warns(UserWarning, match="CUDA is not available"):
        assert not torch.autocast("cuda")._enabled
    with pytest.warns(UserWarning, match="bfloat16, torch.float16"):
        assert not torch.autocast("cpu", dtype=torch.float32)._enabled


def test_scaler_skips_and_adapts() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.5)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)
    scales = []
    for k in range(4):
        optimizer.zero_grad()
        scaler.scale((weight * (float("inf") if k == 2 else 1.0)).sum()).backward()
        if k == 0:
            scaler.unscale_(optimizer)
            assert weight.grad.tolist() == [1, 1, 1]
            with pytest.raises(RuntimeError, match="already been called"):
                scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        scales.append(scaler.get_scale())
    assert scales == [4, 8, 4, 4] and weight.tolist() == [-0.5, -0.5, -0.5]
    other = torch.amp.GradScaler("cpu")
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict()


def test_scaler_disabled() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scaler = torch.amp.GradScaler()  # no CUDA here
    loss = torch.ones(())
    assert not scaler.is_enabled() and scaler.scale(loss) is loss and scaler.state_dict() == {}
    with pytest.raises(ValueError, match="growth factor"):
        torch.amp.GradScaler("cpu", growth_factor=1.0)


def test_lstm_is_one_operator_of_lower_precision() -> None:
    layer, x = torch.nn.LSTM(3, 4), torch.ones(5, 1, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, (h, c) = layer(x)
        packed = torch.nn.utils.rnn.pack_padded_sequence(torch.ones(3, 2, 3), [3, 2])
        assert layer(packed)[0].data.dtype is torch.float32
        assert torch.nn.GRU(3, 4)(x)[0].dtype is torch.float32
    assert output.dtype is h.dtype is c.dtype is torch.bfloat16
    torch.testing.assert_close(output.float(), layer(x)[0], rtol=2e-2, atol=2e-2)
    output.float().sum().backward()
    assert layer.weight_ih_l0.grad.dtype is torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.nn.functional.prelu(x, torch.ones(1)).dtype is torch.bfloat16
        assert layer.double()(x.double())[0].dtype is torch.float64
