"""Every layer against PyTorch: text, state, initial values, outputs, gradients, running statistics, errors."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from nn_reference import check, from_numpy, torch

import flambeau
from flambeau import nn

# (layer, shapes of its inputs); "index N" asks for whole numbers below N.
LAYERS: list[tuple[str, list]] = [
    ("Identity(3)", [(2, 3)]),
    ("Linear(3, 2)", [(4, 3)]),
    ("Linear(3, 2, bias=False)", [(2, 4, 3)]),
    ("Linear(3, 2)", [(0, 3)]),
    ("Linear(3, 2)", [(3,)]),
    ("Bilinear(3, 2, 4)", [(5, 3), (5, 2)]),
    ("Flatten()", [(2, 3, 4)]),
    ("Flatten(0, 1)", [(2, 3, 4)]),
    ("Unflatten(1, (2, 3))", [(4, 6)]),
    ("Threshold(0.1, 20)", [(3, 4)]),
    ("ReLU()", [(3, 4)]),
    ("ReLU(inplace=True)", [(3, 4)]),
    ("RReLU()", [(3, 4)]),
    ("Hardtanh(-0.5, 0.7)", [(3, 4)]),
    ("ReLU6()", [(3, 4)]),
    ("Sigmoid()", [(3, 4)]),
    ("Hardsigmoid()", [(3, 4)]),
    ("Tanh()", [()]),
    ("SiLU()", [(3, 4)]),
    ("SiLU(inplace=True)", [(3, 4)]),
    ("Mish()", [(3, 4)]),
    ("Hardswish()", [(3, 4)]),
    ("ELU(0.7)", [(3, 4)]),
    ("ELU(0.7, inplace=True)", [(3, 4)]),
    ("CELU(0.7)", [(3, 4)]),
    ("SELU()", [(3, 4)]),
    ("GLU()", [(3, 4)]),
    ("GELU()", [(3, 4)]),
    ("GELU('tanh')", [(3, 4)]),
    ("Hardshrink()", [(3, 4)]),
    ("LeakyReLU()", [(3, 4)]),
    ("LogSigmoid()", [(3, 4)]),
    ("Softplus()", [(3, 4)]),
    ("Softshrink()", [(3, 4)]),
    ("PReLU()", [(3, 4)]),
    ("PReLU(4)", [(3, 4, 2)]),
    ("Softsign()", [(3, 4)]),
    ("Tanhshrink()", [(3, 4)]),
    ("Softmin(1)", [(3, 4)]),
    ("Softmax(0)", [(3, 4)]),
    ("Softmax2d()", [(2, 3, 4, 2)]),
    ("LogSoftmax(-1)", [(3, 4)]),
    ("MultiheadAttention(4, 2)", [(5, 2, 4), (3, 2, 4), (3, 2, 4)]),
    ("MultiheadAttention(4, 2, batch_first=True)", [(2, 5, 4)] * 3),
    (
        "MultiheadAttention(4, 2, kdim=3, vdim=6, add_bias_kv=True, add_zero_attn=True)",
        [(5, 2, 4), (3, 2, 3), (3, 2, 6)],
    ),
    ("MultiheadAttention(4, 4, bias=False)", [(5, 4)] * 3),
    ("Dropout(0.4)", [(20, 30)]),
    ("Dropout1d()", [(4, 5, 6)]),
    ("Dropout2d()", [(4, 5, 2, 2)]),
    ("Dropout3d()", [(4, 5, 2, 2, 1)]),
    ("AlphaDropout(0.3)", [(20, 30)]),
    ("FeatureAlphaDropout(0.3)", [(20, 5, 3)]),
    ("Conv1d(2, 4, 3)", [(2, 2, 7)]),
    ("Conv1d(2, 4, 4, padding='same')", [(2, 2, 7)]),
    ("Conv1d(2, 4, 3, padding=2, padding_mode='circular')", [(2, 2, 7)]),
    ("Conv2d(2, 4, 3, 2, 1)", [(2, 2, 7, 6)]),
    ("Conv2d(2, 4, (3, 2), dilation=2, groups=2, bias=False)", [(2, 7, 6)]),
    ("Conv2d(2, 4, 3, padding=1, padding_mode='reflect')", [(1, 2, 5, 6)]),
    ("Conv2d(2, 4, 3, padding='valid', padding_mode='replicate')", [(1, 2, 5, 6)]),
    ("Conv3d(2, 2, 2)", [(1, 2, 3, 4, 3)]),
    ("ConvTranspose1d(2, 3, 3, 2)", [(2, 2, 5)]),
    ("ConvTranspose2d(2, 4, 3, 2, 1, 1, groups=2)", [(2, 2, 3, 4)]),
    ("ConvTranspose3d(2, 2, 2, dilation=2, bias=False)", [(1, 2, 2, 3, 2)]),
    ("LazyConv2d(4, 3)", [(2, 2, 7, 6)]),
    ("LazyConvTranspose1d(4, 3)", [(2, 2, 7)]),
    ("LazyLinear(4)", [(2, 3)]),
    ("LazyBatchNorm2d()", [(2, 3, 4, 2)]),
    ("LazyInstanceNorm1d()", [(2, 3, 4)]),
    ("BatchNorm1d(3)", [(5, 3)]),
    ("BatchNorm1d(3, momentum=None)", [(5, 3, 4)]),
    ("BatchNorm2d(3, affine=False)", [(2, 3, 4, 2)]),
    ("BatchNorm2d(3, bias=False)", [(2, 3, 4, 2)]),
    ("BatchNorm3d(3, track_running_stats=False)", [(2, 3, 2, 2, 2)]),
    ("SyncBatchNorm(3)", [(4, 3, 2)]),
    ("InstanceNorm1d(3)", [(2, 3, 4)]),
    ("InstanceNorm2d(3, affine=True, track_running_stats=True)", [(2, 3, 4, 2)]),
    ("InstanceNorm3d(3, affine=True)", [(3, 2, 3, 2)]),
    ("GroupNorm(2, 4)", [(3, 4, 5)]),
    ("GroupNorm(2, 4, bias=False)", [(3, 4)]),
    ("LayerNorm(4)", [(3, 4)]),
    ("LayerNorm((3, 4), bias=False)", [(2, 3, 4)]),
    ("LayerNorm(4, elementwise_affine=False)", [(2, 4)]),
    ("RMSNorm(4)", [(3, 4)]),
    ("RMSNorm((3, 4), 1e-3, False)", [(3, 4)]),
    ("LocalResponseNorm(3)", [(2, 5, 4)]),
    ("LocalResponseNorm(2, 0.3, 0.6, 2.0)", [(2, 5, 4, 3)]),
    ("Embedding(5, 3)", [("index 5", 2, 4)]),
    ("Embedding(5, 3, padding_idx=-1)", [("index 5", 7)]),
    ("Embedding(5, 3, max_norm=1.0, scale_grad_by_freq=True)", [("index 5", 7)]),
    ("EmbeddingBag(5, 3)", [("index 5", 4, 2)]),
    ("EmbeddingBag(5, 3, mode='sum', padding_idx=1)", [("index 5", 4, 2)]),
    ("EmbeddingBag(5, 3, mode='max')", [("index 5", 4, 2)]),
    ("RNN(3, 4)", [(5, 2, 3)]),
    ("RNN(3, 4, 2, nonlinearity='relu', batch_first=True)", [(2, 5, 3)]),
    ("LSTM(3, 4, 2, bidirectional=True)", [(5, 2, 3)]),
    ("LSTM(3, 4, bias=False, proj_size=2)", [(5, 3)]),
    ("LSTM(3, 4, 3, dropout=0.5)", [(5, 2, 3)]),
    ("GRU(3, 4, bidirectional=True, batch_first=True)", [(2, 5, 3)]),
    ("RNNCell(3, 4)", [(2, 3)]),
    ("RNNCell(3, 4, False, 'relu')", [(3,)]),
    ("LSTMCell(3, 4)", [(2, 3)]),
    ("GRUCell(3, 4)", [(2, 3), (2, 4)]),
    ("MaxPool1d(2)", [(2, 3, 7)]),
    ("MaxPool2d((2, 3), 2, 1, ceil_mode=True)", [(2, 3, 7, 6)]),
    ("MaxPool2d(2, return_indices=True)", [(3, 7, 6)]),
    ("MaxPool3d(2)", [(1, 2, 4, 5, 4)]),
    ("AvgPool1d(3, 2, 1)", [(2, 3, 7)]),
    ("AvgPool2d(2, ceil_mode=True, count_include_pad=False)", [(2, 3, 7, 5)]),
    ("AvgPool3d(2, divisor_override=3)", [(1, 2, 4, 4, 4)]),
    ("FractionalMaxPool2d(2, output_ratio=0.5)", [(2, 3, 9, 8)]),
    ("FractionalMaxPool3d(2, output_size=3, return_indices=True)", [(2, 3, 9, 8, 7)]),
    ("LPPool1d(2, 3)", [(2, 3, 7)]),
    ("LPPool2d(2, 2, ceil_mode=True)", [(2, 3, 5, 5)]),
    ("LPPool3d(1, 2)", [(2, 3, 4, 4, 4)]),
    ("AdaptiveMaxPool1d(3)", [(2, 3, 7)]),
    ("AdaptiveMaxPool2d((3, None), return_indices=True)", [(2, 3, 7, 5)]),
    ("AdaptiveMaxPool3d(2)", [(2, 3, 4, 5, 3)]),
    ("AdaptiveAvgPool1d(3)", [(2, 3, 7)]),
    ("AdaptiveAvgPool2d((3, None))", [(2, 3, 7, 5)]),
    ("AdaptiveAvgPool3d(2)", [(2, 3, 4, 5, 3)]),
    ("ConstantPad1d(2, 3.5)", [(2, 3)]),
    ("ConstantPad2d((1, 2, 0, -1), 3)", [(2, 4, 3)]),
    ("ConstantPad3d(1, 0.5)", [(1, 2, 2, 3)]),
    ("ZeroPad1d(2)", [(2, 3)]),
    ("ZeroPad2d(1)", [(2, 3, 4)]),
    ("ZeroPad3d(1)", [(2, 3, 4, 2)]),
    ("ReflectionPad1d(2)", [(2, 3, 5)]),
    ("ReflectionPad2d(1)", [(2, 3, 4, 5)]),
    ("ReflectionPad3d(1)", [(2, 3, 4, 2, 3)]),
    ("ReplicationPad1d(2)", [(2, 5)]),
    ("ReplicationPad2d((1, 2, 3, 0))", [(2, 3, 4, 5)]),
    ("ReplicationPad3d(1)", [(2, 3, 4, 2, 3)]),
    ("CircularPad1d(2)", [(2, 3, 5)]),
    ("CircularPad2d(1)", [(3, 4, 5)]),
    ("CircularPad3d(1)", [(2, 3, 4, 2, 3)]),
    ("PixelShuffle(2)", [(1, 8, 3, 4)]),
    ("PixelUnshuffle(2)", [(1, 2, 6, 4)]),
    ("ChannelShuffle(2)", [(1, 4, 3, 3)]),
    ("Upsample(scale_factor=2)", [(1, 2, 5)]),
    ("Upsample(size=(7, 3), mode='bilinear', align_corners=True)", [(1, 2, 4, 5)]),
    ("Upsample(scale_factor=(1.5, 2), mode='bicubic')", [(1, 2, 4, 5)]),
    ("UpsamplingNearest2d(scale_factor=2)", [(1, 2, 3, 4)]),
    ("UpsamplingBilinear2d(size=5)", [(1, 2, 3, 4)]),
    ("Fold((4, 5), (2, 3))", [(2, 18, 9)]),
    ("Unfold((2, 3), padding=1)", [(2, 3, 6, 7)]),
    ("CosineSimilarity(dim=1)", [(3, 4), (3, 4)]),
    ("PairwiseDistance()", [(3, 4), (3, 4)]),
    ("L1Loss()", [(3, 4), (3, 4)]),
    ("MSELoss(reduction='sum')", [(3, 4), (3, 4)]),
    ("SmoothL1Loss(beta=0.5)", [(3, 4), (3, 4)]),
    ("HuberLoss(delta=0.5)", [(3, 4), (3, 4)]),
    ("NLLLoss()", [(3, 4), ("index 4", 3)]),
    ("CrossEntropyLoss(label_smoothing=0.1)", [(3, 4), ("index 4", 3)]),
    ("CrossEntropyLoss(ignore_index=1, reduction='none')", [(3, 4, 2), ("index 4", 3, 2)]),
    ("KLDivLoss(reduction='batchmean')", [(3, 4), ("positive", 3, 4)]),
    ("PoissonNLLLoss(full=True)", [(3, 4), ("positive", 3, 4)]),
    ("GaussianNLLLoss()", [(3, 4), (3, 4), ("positive", 3, 4)]),
    ("BCELoss()", [("unit", 3, 4), ("unit", 3, 4)]),
    ("BCEWithLogitsLoss()", [(3, 4), ("unit", 3, 4)]),
    ("HingeEmbeddingLoss()", [(3, 4), ("sign", 3, 4)]),
    ("SoftMarginLoss()", [(3, 4), ("sign", 3, 4)]),
    ("MarginRankingLoss(0.1)", [(5,), (5,), ("sign", 5)]),
    ("CosineEmbeddingLoss(0.1)", [(5, 3), (5, 3), ("sign", 5)]),
    ("MultiLabelMarginLoss()", [(3, 4), ("index 4", 3, 4)]),
    ("MultiLabelSoftMarginLoss()", [(3, 4), ("unit", 3, 4)]),
    ("MultiMarginLoss(p=2)", [(3, 4), ("index 4", 3)]),
    ("TripletMarginLoss(swap=True)", [(3, 4), (3, 4), (3, 4)]),
    ("TripletMarginWithDistanceLoss(margin=0.5)", [(3, 4), (3, 4), (3, 4)]),
    ("LinearCrossEntropyLoss(3, 5, bias=True)", [(4, 3), ("index 5", 4)]),
    ("LinearCrossEntropyLoss(3, 5, out_features=(2,))", [(4, 3), ("index 5", 4, 2)]),
    ("AdaptiveLogSoftmaxWithLoss(8, 20, [5, 10])", [(4, 8), ("index 20", 4)]),
    ("TransformerEncoderLayer(8, 2, 16)", [(3, 2, 8)]),
    ("TransformerEncoderLayer(8, 2, 16, activation='gelu', batch_first=True, norm_first=True)", [(2, 3, 8)]),
    ("TransformerDecoderLayer(8, 2, 16, bias=False)", [(3, 2, 8), (4, 2, 8)]),
    ("Transformer(8, 2, 1, 1, 16)", [(3, 2, 8), (4, 2, 8)]),
    ("Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2))", [(6, 4)]),
]  # fmt: skip


def make_input(package, rng, spec):
    """A tensor for a shape, or for ("index N", *shape), ("positive", ...), ("unit", ...), ("sign", ...)."""
    kind, shape = (spec[0], spec[1:]) if spec and isinstance(spec[0], str) else ("", spec)
    if kind.startswith("index"):
        return from_numpy(package, rng.integers(0, int(kind.split()[1]), shape))
    values = rng.standard_normal(shape)
    if kind:
        values = {"positive": np.abs(values) + 0.1, "unit": 1 / (1 + np.exp(-values)), "sign": np.sign(values)}[kind]
    return from_numpy(package, values.astype(np.float32), requires_grad=not kind)


def tensors_of(value, package):
    if isinstance(value, package.Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [t for each in value for t in tensors_of(each, package)]
    return []


def run(package, text, specs, training):
    nn = package.nn  # noqa: F841 - used by the text
    module = eval(f"nn.{text}")
    drawn = text.startswith(("Dropout", "Alpha", "Feature", "RReLU", "Fractional"))
    lazy = text.startswith("Lazy")
    before = None if lazy else module.state_dict()
    before = None if before is None else {name: tensor.clone() for name, tensor in before.items()}
    module.train(training)
    rng = np.random.default_rng(5)
    inputs = [make_input(package, rng, spec) for spec in specs]
    given = [t.clone() if t.requires_grad else t for t in inputs]  # in-place layers need what is no leaf
    output = module(*given)
    outputs = [t for t in tensors_of(output, package) if t.requires_grad]
    leaves = [t for t in (*inputs, *module.parameters()) if t.requires_grad]
    if outputs and leaves:
        sum((t * t).sum() for t in outputs).backward()
    return {
        "text": repr(module),
        "before": before,
        "output": output,
        "gradients": [t.grad for t in leaves],
        "state": module.state_dict(),
        "drawn": package.rand(1) if drawn or not training else None,
    }


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(("text", "specs"), LAYERS, ids=[text for text, _ in LAYERS])
def test_layer(text, specs, training):
    check(lambda package: run(package, text, specs, training), tolerance=2e-5)


ERRORS = [
    "Bilinear(0, 1, 1)",
    "Conv2d(3, 4, 3, groups=2)",
    "Conv2d(4, 3, 3, groups=2)",
    "Conv2d(3, 4, 3, groups=0)",
    "Conv2d(3, 4, 3, 2, padding='same')",
    "ConvTranspose2d(3, 4, 3, padding_mode='reflect')",
    "ConvTranspose2d(1, 1, 3, 2)(p.ones(1, 1, 4, 4), output_size=(12, 12))",
    "ConvTranspose2d(1, 1, 3, 2)(p.ones(1, 1, 4, 4), output_size=(12,))",
    "ConvTranspose2d(1, 1, 3, 2)(p.ones(1, 1, 4, 4), output_size=(1, 1, 10, 10)).shape",
    "LazyConv2d(3, 2)(p.ones(3))",
    "BatchNorm1d(3)(p.ones(3))",
    "BatchNorm2d(3)(p.ones(3))",
    "BatchNorm3d(3)(p.ones(3))",
    "SyncBatchNorm(3)(p.ones(3))",
    "InstanceNorm1d(3)(p.ones(3))",
    "InstanceNorm2d(3, affine=True)(p.ones(4, 2, 2))",
    "InstanceNorm1d(3).load_state_dict({'running_mean': p.ones(3), 'running_var': p.ones(3)})",
    "GroupNorm(2, 3)",
    "Embedding(3, 2, 5)",
    "Embedding(3, 2, _weight=p.ones(2, 2))",
    "Embedding.from_pretrained(p.ones(2))",
    "Embedding.from_pretrained(p.ones(2, 3)).weight.requires_grad",
    "EmbeddingBag(3, 2, padding_idx=9)",
    "EmbeddingBag.from_pretrained(p.ones(2))",
    "FractionalMaxPool2d(2)",
    "FractionalMaxPool2d(2, 3, 0.5)",
    "FractionalMaxPool2d(2, output_ratio=2)",
    "MultiheadAttention(5, 2)",
    "MultiheadAttention(-1, 2)",
    "MultiheadAttention(4, 2)(p.ones(1, 1, 1, 4), p.ones(1, 4), p.ones(1, 4))",
    "MultiheadAttention(4, 2)(p.ones(3, 1, 4), p.ones(1, 4), p.ones(1, 4))",
    "MultiheadAttention(4, 2)(p.ones(3, 1, 5), p.ones(3, 1, 5), p.ones(3, 1, 5))",
    "MultiheadAttention(4, 2)(p.ones(3, 1, 4), p.ones(3, 1, 4), p.ones(3, 1, 4), is_causal=True)",
    "MultiheadAttention(4, 2)(p.ones(3, 1, 4), p.ones(3, 1, 4), p.ones(3, 1, 4), attn_mask=p.ones(2, 2))",
    "RNN(1, 2, nonlinearity='x')",
    "RNN(1, 2, dropout=2.0)",
    "LSTM(1, 0)",
    "LSTM(1, 2, 0)",
    "LSTM(1, 2, proj_size=3)",
    "LSTM(1, 2, proj_size=-1)",
    "GRU(1, 2, proj_size=1)",
    "LSTM(1, 2.0)",
    "LSTM(3, 2)(p.ones(3))",
    "LSTM(3, 2)(p.ones(1, 2, 2))",
    "LSTM(3, 2)(p.ones(1, 2, 3), (p.ones(1, 2, 2), p.ones(1, 2, 3)))",
    "LSTM(3, 2)(p.ones(1, 2, 3), (p.ones(1, 2), p.ones(1, 2, 3)))",
    "LSTM(3, 2)(p.ones(2, 3), (p.ones(1, 1, 2), p.ones(1, 2, 3)))",
    "LSTM(3, 2)(p.ones(2, 3, dtype=p.float64))",
    "GRU(3, 2)(p.ones(2, 3), p.ones(1, 1, 2))",
    "GRU(3, 2)(p.ones(2, 2, 3), p.ones(1, 3, 2))",
    "RNNCell(1, 2, nonlinearity='x')(p.ones(1, 1))",
    "LSTMCell(3, 2)(p.ones(1, 1, 3))",
    "LSTMCell(3, 2)(p.ones(2, 4))",
    "LSTMCell(3, 2)(p.ones(2, 3), (p.ones(1, 2), p.ones(1, 2)))",
    "GRUCell(3, 2)(p.ones(2, 3), p.ones(1, 1, 2))",
    "Dropout(1.5)",
    "MultiMarginLoss(3)",
    "TripletMarginLoss(-1)",
    "TripletMarginWithDistanceLoss(margin=-1)",
    "MSELoss(size_average=False).reduction",
    "MSELoss(reduce=False).reduction",
    "LinearCrossEntropyOptions(acc_policy='x')",
    "LinearCrossEntropyOptions(batch_chunk_size=0)",
    "LinearCrossEntropyOptions()",
    "AdaptiveLogSoftmaxWithLoss(8, 20, [])",
    "AdaptiveLogSoftmaxWithLoss(8, 20, [5, 3])",
    "AdaptiveLogSoftmaxWithLoss(8, 20, [5])(p.ones(2, 8), p.tensor([1, 25]))",
    "Softmax2d()(p.ones(2))",
    "Unflatten(1, 3)",
    "Unflatten(1, ('a',))",
    "CircularPad2d(1)(p.ones(2))",
    "Transformer(8, 2, 1, 1, 16)(p.ones(3, 2, 8), p.ones(4, 3, 8))",
    "Transformer(8, 2, 1, 1, 16)(p.ones(3, 2, 8), p.ones(4, 2, 7))",
    "TransformerEncoderLayer(8, 2, activation='what')",
    "factory_kwargs({'x': 1})",
    "factory_kwargs({'device': 'cpu', 'factory_kwargs': {'device': 'meta'}})",
]


@pytest.mark.parametrize("text", ERRORS)
def test_errors_and_options(text):
    check(lambda p: eval(f"p.nn.{text}"))


@pytest.mark.parametrize("bound", [("Conv2d", "padding must"), ("Invalid", "")])
def test_unordered_texts(bound):
    # PyTorch writes these choices as a set, in any order.
    with pytest.raises(ValueError, match="Invalid padding string 'x', should be one of"):
        nn.Conv2d(3, 4, 3, padding="x")
    with pytest.raises(ValueError, match="padding_mode must be one of"):
        nn.Conv2d(3, 4, 3, padding_mode="x")


def test_masks_of_attention():
    def program(p):
        m = p.nn.MultiheadAttention(4, 2)
        x = p.arange(24.0).reshape(3, 2, 4) / 24
        causal = p.nn.Transformer.generate_square_subsequent_mask(3)
        padding = p.tensor([[False, False, True], [False, False, False]])
        return (
            m(x, x, x, attn_mask=causal),
            m(x, x, x, attn_mask=causal, need_weights=False, is_causal=True),
            m(x, x, x, key_padding_mask=padding, average_attn_weights=False),
            m(x, x, x, attn_mask=causal == 0, key_padding_mask=padding, need_weights=False)[0][:, 1],
        )

    check(program)


def test_cross_map_lrn():
    check(lambda p: p.nn.CrossMapLRN2d(3, 0.3, 0.75, 1.5)(p.arange(24.0).reshape(1, 6, 2, 2)))
    check(lambda p: p.nn.CrossMapLRN2d(3)(p.ones(2, 2)))


def test_unpooling():
    def program(p):
        x = p.arange(32.0).reshape(1, 2, 4, 4)
        y, places = p.nn.functional.max_pool2d(x, 2, return_indices=True)
        m = p.nn.MaxUnpool2d(2)
        return repr(m), m(y, places), m(y, places, output_size=(5, 5)), m(y[0], places[0])

    check(program)
    for error in (
        lambda p, y, i: p.nn.MaxUnpool2d(2)(y, i, output_size=(9, 9)),
        lambda p, y, i: p.nn.MaxUnpool2d(2)(y, i, output_size=(9,)),
        lambda p, y, i: p.nn.MaxUnpool2d(2)(y, i.masked_fill(i == 10, 110)),  # PyTorch names any of several
        lambda p, y, i: p.nn.MaxUnpool2d(2)(y, i[:, :, :1]),
    ):
        check(lambda p, error=error: error(p, *p.nn.functional.max_pool2d(p.ones(1, 1, 4, 4), 2, return_indices=True)))


def test_adaptive_softmax_predictions():
    def program(p):
        m = p.nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 10], div_value=2.0, head_bias=True)
        x = p.arange(32.0).reshape(4, 8) / 16 - 1
        return m.log_prob(x), m.predict(x), m(x[0], p.tensor(7))

    check(program)


def test_converted_sync_batch_norm():
    def program(p):
        m = p.nn.Sequential(p.nn.Linear(2, 3), p.nn.BatchNorm1d(3, momentum=0.3), p.nn.Sequential(p.nn.BatchNorm2d(2)))
        n = p.nn.SyncBatchNorm.convert_sync_batchnorm(m)
        return repr(n), list(n.state_dict()), n[1].weight is m[1].weight

    check(program)


def test_lazy_modules():
    def program(p):
        m = p.nn.LazyLinear(3)
        first = repr(m), list(m.state_dict()), m.has_uninitialized_params()
        m(p.ones(2, 4))
        state = m.state_dict()
        n = p.nn.LazyLinear(3)
        n.load_state_dict(state)
        return first, repr(m), type(m), state, n.state_dict(), n.has_uninitialized_params()

    check(program)


def test_signatures_are_pytorchs():
    """Every public class takes PyTorch's arguments under their names, with PyTorch's defaults."""
    for name in torch.nn.modules.__all__:
        expected, got = getattr(torch.nn, name), getattr(nn, name)
        for method in ("__init__", "forward") if issubclass(got, nn.Module) else ("__init__",):
            theirs = inspect.signature(getattr(expected, method)).parameters
            if name == "RNNBase" and method == "forward":
                continue  # abstract in PyTorch
            ours = inspect.signature(getattr(got, method)).parameters
            assert list(ours) == list(theirs), (name, method)
            for parameter, value in theirs.items():
                default = ours[parameter].default
                if not callable(value.default) or isinstance(value.default, type):
                    assert default == value.default or default is value.default, (name, parameter)
        assert tuple(getattr(expected, "__constants__", ())) == tuple(getattr(got, "__constants__", ())), name
        assert getattr(expected, "_version", None) == getattr(got, "_version", None), name


def test_no_public_class_is_missing():
    assert not [name for name in torch.nn.modules.__all__ if not hasattr(nn, name)]


def test_module_forward_is_fast_path_without_hooks():
    m = nn.Linear(2, 2)
    x = flambeau.ones(1, 2)
    assert np.array_equal(m(x).detach().numpy(), m.forward(x).detach().numpy())
