"""``onnx.export``: models in ONNX against their modules, by the standard's reference and, if there, ONNX Runtime."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn
from flambeau.export import Dim, export
from flambeau.onnx.errors import UnsupportedOperatorError
from flambeau.utils._pytree import tree_leaves

F = nn.functional
HAS_ONNX = importlib.util.find_spec("onnx") is not None
needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason="the package onnx is not installed")


class Function(nn.Module):
    """A function of tensors as a module."""

    def __init__(self, fn):
        super().__init__()
        self.fn = fn

    def forward(self, *args):
        return self.fn(*args)


def check(module, args, dynamic_shapes=None, others=(), **options):
    """Exports, and compares for these arguments and others."""
    program = torch.onnx.export(module, args, dynamic_shapes=dynamic_shapes, **options)
    runs = [lambda *a: [r.numpy() for r in program(*a)]]
    if importlib.util.find_spec("onnxruntime") is not None:
        import onnxruntime

        session = onnxruntime.InferenceSession(program.model_proto.SerializeToString())
        names = [i.name for i in session.get_inputs()]
        runs.append(lambda *a: session.run(None, dict(zip(names, (t.numpy() for t in a)))))
    for given in (args, *others):
        wanted = [t.detach().numpy() for t in tree_leaves(module(*given)) if isinstance(t, torch.Tensor)]
        for run in runs:
            for found, want in zip(run(*given), wanted, strict=True):
                assert found.dtype == want.dtype and found.shape == want.shape
                np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-5)
    return program


A, B = torch.linspace(-2, 2, 24).reshape(2, 3, 4), torch.linspace(0.5, 2, 24).reshape(2, 3, 4)
IMAGE = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)
I = torch.tensor([[0, 2], [1, 1]])
FUNCTIONS = {
    "arithmetic": (lambda x, y: (x + y * 2 - 1) / (3 - y) + torch.sub(x, y, alpha=2), A, B),
    "reflected": (lambda x, y: 2**y - (1 - x) * 3 + 1 / y, A, B),
    "division": (lambda x, y: (torch.div(x, y, rounding_mode="floor"), torch.div(x, y, rounding_mode="trunc")), A, B),
    "maths": (
        lambda y: y.exp().log().sqrt().rsqrt().tanh().sigmoid() + y.sin() * y.cos() + y.erf() + y.abs().floor(),
        B,
    ),
    "activations": (
        lambda x: (
            F.relu(x)
            + F.gelu(x)
            + F.gelu(x, approximate="tanh")
            + F.silu(x)
            + F.elu(x)
            + F.softplus(x)
            + F.leaky_relu(x, 0.2)
            + F.hardtanh(x)
            + F.relu6(x)
        ),
        A,
    ),
    "comparisons": (lambda x, y: (x > y) | (x <= 0) & ~(y == 1) & (x != y), A, B),
    "where": (lambda x, y: torch.where(x > 0, x, y).masked_fill(y > 1.5, -7.0).clamp(-1, 1.5).clamp(min=0), A, B),
    "products": (lambda x, y: torch.bmm(x, y.transpose(1, 2)) + x @ y.transpose(-1, -2), A, B),
    "reductions": (
        lambda x: (
            x.sum(),
            x.mean(1),
            x.sum((0, 2), keepdim=True),
            x.amax(-1),
            x.argmax(1),
            x.argmax(),
            x.logsumexp(0),
            x.cumsum(1),
        ),
        A,
    ),
    "softmaxes": (lambda x: (x.softmax(1), F.log_softmax(x, -1)), A),
    "shapes": (
        lambda x: (
            x.view(6, 4),
            x.reshape(2, -1),
            x.flatten(1),
            x.flatten(0, 1),
            x.permute(2, 0, 1),
            x.unsqueeze(-1),
            x[:, :1].squeeze(1),
            x[:, :1].expand(2, 5, 4),
            x.transpose(0, 2).contiguous(),
            x[0].t(),
        ),
        A,
    ),
    "indices": (lambda x: (x[0], x[:, 1:], x[..., ::2], x[None, :, -1], x[1, :, 2], x[:, 0:3:2]), A),
    "joins": (lambda x, y: (torch.cat([x, y], 1), torch.stack([x, y], -1), *x.split(2, dim=2), *y.chunk(3, 1)), A, B),
    "gathers": (lambda x, i: (x[:, :2, 0].gather(1, i.clamp(max=1)), x[0][i[0]], x.index_select(1, i[0])), A, I),
    "casts": (lambda x, i: (x.to(torch.float64), i.float() + x[0, :2, :2], x.long(), (i > 0).to(torch.int32)), A, I),
    "factories": (lambda x: torch.arange(4) + x + torch.zeros(3, 4) + torch.ones_like(x) + torch.full((4,), 2.5), A),
    "triangles": (lambda x: (x.tril(), x.triu(1)), A),
    "topk": (lambda x: x.topk(2, dim=1), A),
    "attention": (
        lambda x, y: (
            F.scaled_dot_product_attention(x, y, y),
            F.scaled_dot_product_attention(x, x, y, is_causal=True),
            F.scaled_dot_product_attention(x, x, y, attn_mask=torch.ones(3, 3).tril() > 0),
        ),
        A,
        B,
    ),
    "pooling": (
        lambda x: (F.max_pool2d(x, 2), F.avg_pool2d(x, 3, stride=2, padding=1), F.adaptive_avg_pool2d(x, 1)),
        IMAGE,
    ),
    "constants": (lambda x: x * torch.tensor([1.0, 2.0, 3.0, 4.0]), A),
}


@needs_onnx
@pytest.mark.parametrize("name", FUNCTIONS)
def test_operators(name):
    fn, *args = FUNCTIONS[name]
    check(Function(fn), tuple(args))


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 6, 3, padding=1, groups=3), nn.BatchNorm2d(6), nn.Linear(6, 5)

    def forward(self, x):
        x = F.dropout(F.max_pool2d(F.relu(self.norm(self.conv(x))), 2), 0.5, self.training)
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)).softmax(-1)


class Language(nn.Module):
    def __init__(self):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(20, 16), nn.Embedding(32, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.layers, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(16, 20)

    def forward(self, i):
        b, t = i.shape
        assert t <= 32
        x = self.wte(i) + self.wpe(torch.arange(t, device=i.device))
        return self.head(self.layers(x).view(b, t, -1))


@needs_onnx
def test_models_for_other_sizes():
    torch.manual_seed(0)
    batch, height = Dim("batch"), Dim("height", min=4)
    model = CNN().eval()
    shapes = ({0: batch, 2: height},)
    program = check(model, (IMAGE,), shapes, [(torch.randn(3, 3, 10, 8),)], input_names=["image"], output_names=["p"])
    graph = program.model_proto.graph
    assert [d.dim_param or d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == ["batch", 3, "height", 8]
    assert graph.input[0].name == "image" and graph.output[0].name == "p"
    assert {"conv.weight", "norm.running_mean"} <= {t.name for t in graph.initializer}
    language = Language().eval()
    shapes = ({0: batch, 1: Dim("t", max=32)},)
    check(language, (torch.randint(0, 20, (2, 8)),), shapes, [(torch.randint(0, 20, (3, 17)),)])


@needs_onnx
def test_training_models_are_exported_for_inference_and_left_as_they_were(tmp_path):
    model = CNN().train()
    path = tmp_path / "model.onnx"
    axes = {"x": {0: "n"}, "y": {0: "n"}}
    program = torch.onnx.export(model, IMAGE, str(path), input_names=["x"], output_names=["y"], dynamic_axes=axes)
    assert model.training and model.norm.training and model.norm.num_batches_tracked == 0
    assert path.read_bytes() == program.model_proto.SerializeToString()
    assert list(tmp_path.iterdir()) == [path]
    np.testing.assert_allclose(program(IMAGE[:1])[0].numpy(), model.eval()(IMAGE[:1]).detach().numpy(), rtol=1e-4)
    torch.onnx.export(model, (IMAGE,), tmp_path / "apart.onnx", external_data=True)
    assert (tmp_path / "apart.onnx.data").stat().st_size > 0


@needs_onnx
def test_exported_programs_and_what_has_no_translation():
    program = export(Function(lambda x: x * 2), (A,))
    assert torch.onnx.export(program)(A)[0].tolist() == (A * 2).tolist()
    with pytest.raises(UnsupportedOperatorError, match=f"cdist.*{__file__}"):
        torch.onnx.export(Function(lambda x: torch.cdist(x, x)), (A,))
    with pytest.raises(RuntimeError, match="opset_version 99"):
        torch.onnx.export(Function(lambda x: x), (A,), opset_version=99)


@pytest.mark.skipif(HAS_ONNX, reason="the package onnx is installed")
def test_without_the_package_the_error_says_what_to_install():
    assert "onnx" not in sys.modules
    with pytest.raises(ModuleNotFoundError, match="pip install onnx"):
        torch.onnx.export(Function(lambda x: x * 2), (A,))
