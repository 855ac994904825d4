"""Quantizing models: observers, dynamic and static quantization, training that rounds; against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")
tq, fq = torch.ao.quantization, flambeau.ao.quantization


def ours(t):
    return flambeau.from_numpy(t.detach().numpy().copy())


def pair(make):
    """The same model in both, with the same weights."""
    torch.manual_seed(0)
    theirs, mine = make(torch), make(flambeau)
    mine.load_state_dict({k: ours(v) for k, v in theirs.state_dict().items()})
    return mine, theirs


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("MinMaxObserver", {}), ("MinMaxObserver", {"reduce_range": True}),
        ("MinMaxObserver", {"dtype": "qint8", "qscheme": "per_tensor_symmetric"}),
        ("MinMaxObserver", {"dtype": "quint8", "qscheme": "per_tensor_symmetric"}),
        ("MovingAverageMinMaxObserver", {"averaging_constant": 0.1}),
        ("PerChannelMinMaxObserver", {"ch_axis": 1}),
        ("PerChannelMinMaxObserver", {"dtype": "qint8", "qscheme": "per_channel_symmetric"}),
        ("MovingAveragePerChannelMinMaxObserver", {"ch_axis": 0}),
    ],
)  # fmt: skip
def test_observers(name, arguments):
    made = [
        getattr(m.ao.quantization, name)(
            **{k: getattr(m, v) if isinstance(v, str) else v for k, v in arguments.items()}
        )
        for m in (flambeau, torch)
    ]
    torch.manual_seed(0)
    for _ in range(3):
        x = torch.randn(4, 5) * 2 + 0.3
        made[0](ours(x))
        made[1](x)
    for mine, theirs in zip(*(m.calculate_qparams() for m in made)):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-6)
        assert str(mine.dtype) == str(theirs.dtype)


@pytest.mark.parametrize("spec", [None, "class", "name"])
def test_dynamic_quantization(spec):
    mine, theirs = pair(lambda m: m.nn.Sequential(m.nn.Linear(20, 32), m.nn.ReLU(), m.nn.Linear(32, 5)))
    which = {None: (None, None), "class": ({flambeau.nn.Linear}, {torch.nn.Linear}), "name": ({"0"}, {"0"})}[spec]
    small = fq.quantize_dynamic(mine, which[0])
    expected = tq.quantize_dynamic(theirs, which[1])
    x = torch.randn(7, 20)
    np.testing.assert_allclose(small(ours(x)).detach().numpy(), expected(x).detach().numpy(), rtol=1e-3, atol=2e-2)
    assert type(small[0]).__module__.endswith("quantized.dynamic") and small[0].weight().dtype is flambeau.qint8
    assert (type(small[2]) is flambeau.nn.Linear) == (spec == "name")
    assert type(mine[0]) is flambeau.nn.Linear
    np.testing.assert_array_equal(small[0].weight().int_repr().numpy(), expected[0].weight().int_repr().numpy())
    half = fq.quantize_dynamic(mine, dtype=flambeau.float16)
    np.testing.assert_allclose(half(ours(x)).detach().numpy(), theirs(x).detach().numpy(), rtol=1e-2, atol=1e-2)
    with pytest.raises(ValueError):
        fq.quantize_dynamic(mine, dtype=flambeau.float32)


def make_static(m):
    class Net(m.nn.Module):
        def __init__(self):
            super().__init__()
            self.quant, self.dequant = m.ao.quantization.QuantStub(), m.ao.quantization.DeQuantStub()
            self.first, self.act, self.second = m.nn.Linear(12, 16), m.nn.ReLU(), m.nn.Linear(16, 4)

        def forward(self, x):
            return self.dequant(self.second(self.act(self.first(self.quant(x)))))

    return Net()


@pytest.mark.parametrize("per_channel", [False, True])
def test_static_quantization(per_channel):
    mine, theirs = pair(make_static)
    name = "default_per_channel_qconfig" if per_channel else "default_qconfig"
    data = torch.randn(50, 12)
    results = []
    for model, m in ((mine, fq), (theirs, tq)):
        model.eval()
        model.qconfig = getattr(m, name)
        ready = m.prepare(model)
        for i in range(5):
            ready(ours(data[i * 10 : i * 10 + 10]) if m is fq else data[i * 10 : i * 10 + 10])
        results.append(m.convert(ready))
    small, expected = results
    for layer in ("first", "second"):
        a, b = getattr(small, layer), getattr(expected, layer)
        assert a.scale == pytest.approx(b.scale, rel=1e-5) and a.zero_point == b.zero_point
        np.testing.assert_array_equal(a.weight().int_repr().numpy(), b.weight().int_repr().numpy())
    found, wanted = small(ours(data)).numpy(), expected(data).numpy()
    assert np.abs(found - wanted).max() <= 2 * small.second.scale  # a step or two, where a rounding is a close call
    assert np.mean(np.abs(found - wanted) < 1e-5) > 0.9
    assert np.abs(found - theirs(data).detach().numpy()).max() < 0.2


def test_training_that_rounds():
    mine, _ = pair(make_static)
    mine.train()
    mine.qconfig = fq.get_default_qat_qconfig("x86")
    ready = fq.prepare_qat(mine)
    optimizer = flambeau.optim.SGD(ready.parameters(), 0.05)
    flambeau.manual_seed(0)
    x = flambeau.randn(64, 12)
    y = x[:, :4] * 0.5
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = ((ready(x) - y) ** 2).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    rounded = ready.eval()(x)
    small = fq.convert(ready)
    assert (small(x) - rounded).abs().max().item() < 0.1
    with pytest.raises(AssertionError):
        fq.prepare_qat(small.eval())


def test_fake_quantize_switches():
    x = torch.randn(5, 6)
    mine, theirs = fq.default_fake_quant(), tq.default_fake_quant()
    np.testing.assert_allclose(mine(ours(x)).numpy(), theirs(x).numpy(), atol=1e-6)
    mine.apply(fq.disable_observer)
    scale = mine.scale.clone()
    mine(ours(x * 10))
    assert flambeau.equal(mine.scale, scale)
    mine.apply(fq.disable_fake_quant)
    assert flambeau.equal(mine(ours(x)), ours(x))


def test_float_functional():
    class Sum(flambeau.nn.Module):
        def __init__(self):
            super().__init__()
            self.quant, self.dequant = fq.QuantStub(), fq.DeQuantStub()
            self.plus = flambeau.ao.nn.quantized.FloatFunctional()

        def forward(self, x):
            x = self.quant(x)
            return self.dequant(self.plus.add(x, x))

    model = Sum()
    model.qconfig = fq.default_qconfig
    ready = fq.prepare(model)
    x = flambeau.randn(20)
    ready(x)
    small = fq.convert(ready)
    assert (small(x) - 2 * x).abs().max().item() < 0.1
    with pytest.raises(RuntimeError):
        model.plus(x)
