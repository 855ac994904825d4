"""Functions of the main namespace by PyTorch's C++ signatures: recurrent and int8 layers, sparse products, views."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import flambeau

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")


def ours(value):
    if isinstance(value, torch.Tensor):
        return flambeau.from_numpy(value.detach().numpy())
    return type(value)(map(ours, value)) if isinstance(value, (list, tuple)) else value


def same(mine, theirs, **tolerance):
    if isinstance(theirs, (tuple, list)):
        assert len(mine) == len(theirs)
        for a, b in zip(mine, theirs):
            same(a, b, **tolerance)
    elif isinstance(theirs, torch.Tensor):
        assert str(mine.dtype) == str(theirs.dtype)
        np.testing.assert_allclose(
            mine.detach().numpy(), theirs.detach().numpy(), **{"rtol": 1e-5, "atol": 1e-5, **tolerance}
        )
    else:
        assert mine == pytest.approx(theirs, rel=1e-6)


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
@pytest.mark.parametrize("both", [False, True])
def test_recurrent_layers(name, both):
    torch.manual_seed(0)
    cls = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}.get(name, torch.nn.RNN)
    layer = cls(4, 3, 2, bidirectional=both)
    x = torch.randn(5, 2, 4)
    h = torch.randn(2 * (1 + both), 2, 3)
    hidden = (h, h * 0.5) if name == "lstm" else h
    rest = ([p.detach() for p in layer.parameters()], True, 2, 0.0, False, both)
    args = (x, hidden, *rest, False)
    same(getattr(flambeau, name)(*ours(args)), getattr(torch, name)(*args))
    first = (x.transpose(0, 1).contiguous(), hidden, *rest, True)
    same(getattr(flambeau, name)(*ours(first)), getattr(torch, name)(*first))
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, [5, 3])
    args = (packed.data, packed.batch_sizes, hidden, *rest)
    same(getattr(flambeau, name)(*ours(args)), getattr(torch, name)(*args))
    with pytest.raises(TypeError):
        getattr(flambeau, name)(ours(x))


def sparse_columns(w):
    """Weights of which every second column is zero, whose least and greatest are nearly opposite.

    Without dot-product instructions, PyTorch sums pairs of products of bytes in 16 bits, which saturate; one of these
    fits.
    """
    w = w.clamp(-2, 2)
    w[:, 1::2] = 0
    w[0, 0], w[0, 2] = 1.99, -2
    return w


def test_int8_layers():
    torch.manual_seed(0)
    w, x, b = sparse_columns(torch.randn(6, 10)), torch.randn(4, 10), torch.randn(6)
    theirs = torch.fbgemm_linear_quantize_weight(w)
    mine = flambeau.fbgemm_linear_quantize_weight(ours(w))
    same(mine, theirs)
    packed = torch.fbgemm_pack_quantized_matrix(theirs[0])
    expected = torch.fbgemm_linear_int8_weight(x, theirs[0], packed, *theirs[1:], b)
    same(flambeau.fbgemm_linear_int8_weight(ours(x), mine[0], mine[0], *mine[1:], ours(b)), expected)
    half = torch.fbgemm_linear_fp16_weight(x, torch.fbgemm_pack_gemm_matrix_fp16(w), b)
    same(flambeau.fbgemm_linear_fp16_weight(ours(x), flambeau.fbgemm_pack_gemm_matrix_fp16(ours(w)), ours(b)), half)
    for n in (100, 400):
        v = torch.randn(n) ** 3
        same(
            flambeau.choose_qparams_optimized(ours(v), n, 200, 0.16, 4),
            torch.choose_qparams_optimized(v, n, 200, 0.16, 4),
        )


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn_tanh", "rnn_relu"])
def test_int8_cells(name):
    torch.manual_seed(1)
    gates = {"lstm": 4, "gru": 3}.get(name, 1)
    x, h = torch.randn(4, 10), torch.randn(4, 3)
    hx = (h, torch.randn(4, 3)) if name == "lstm" else h
    quantized = [torch.fbgemm_linear_quantize_weight(sparse_columns(torch.randn(3 * gates, k))) for k in (10, 3)]
    (a, ca, sa, za), (b, cb, sb, zb) = quantized
    biases = torch.randn(3 * gates), torch.randn(3 * gates)
    pack = torch.fbgemm_pack_quantized_matrix
    expected = getattr(torch, f"quantized_{name}_cell")(x, hx, a, b, *biases, pack(a), pack(b), ca, cb, sa, sb, za, zb)
    found = getattr(flambeau, f"quantized_{name}_cell")(*ours((x, hx, a, b, *biases, a, b, ca, cb)), sa, sb, za, zb)
    same(found, expected)


def test_mkldnn_tensors():
    x = flambeau.randn(2, 3)
    packed = x.to_mkldnn()
    assert packed.is_mkldnn and repr(packed.layout) == "torch._mkldnn" and packed.shape == (2, 3)
    assert flambeau.equal(packed.to_dense(), x)
    assert flambeau.equal((packed + packed).relu().to_dense(), (x + x).relu())
    with pytest.raises(RuntimeError):
        packed + x
    with pytest.raises(RuntimeError):
        flambeau.ones(2, dtype=flambeau.int64).to_mkldnn()
    conv = (torch.randn(1, 2, 5, 5), torch.randn(4, 1, 3, 3), torch.randn(4), [1, 1], [2, 2], [1, 1], 2)
    same(flambeau.mkldnn_convolution(*ours(conv)), torch.mkldnn_convolution(*conv))


def test_batch_norm_update_stats():
    x = torch.randn(4, 3, 5)
    running = [torch.zeros(3), torch.ones(3)]
    mine = ours([r.clone() for r in running])
    same(flambeau.batch_norm_update_stats(ours(x), *mine, 0.1), torch.batch_norm_update_stats(x, *running, 0.1))
    same(mine, running)


def test_sparse_products_by_old_names():
    a, b, c = torch.randn(3, 4), torch.randn(4, 5), torch.randn(3, 5)
    s = flambeau.from_numpy(a.numpy()).to_sparse()
    same(flambeau.spmm(s, ours(b)), a @ b)
    same(flambeau.saddmm(ours(c), s, ours(b), beta=0.5, alpha=2), 0.5 * c + 2 * (a @ b))
    same(flambeau.dsmm(ours(b.t().contiguous()), s.t()), b.t() @ a.t())
    found = flambeau.hsmm(s, ours(b))
    assert found.is_sparse
    same(found.to_dense(), a @ b)


def test_slice_inverse_and_ranges():
    whole = torch.arange(12.0).reshape(3, 4)
    part = whole[1:]
    mine = ours(whole)
    found = flambeau.slice_inverse(mine[1:], mine, 0, 1)
    same(found, torch.slice_inverse(part, whole, 0, 1))
    assert found.data_ptr() == mine.data_ptr()
    assert flambeau.sym_constrain_range(3, min=1, max=4) is None
    with pytest.raises(RuntimeError):
        flambeau.sym_constrain_range(3, min=5, max=6)
    with pytest.raises(RuntimeError, match="without overflow"):
        flambeau.sym_constrain_range_for_size(float("inf"))
    with pytest.raises(TypeError, match="'max' must be int, not float"):
        flambeau.sym_constrain_range_for_size(5, max=float("inf"))


@pytest.mark.parametrize("reduction", [0, 1, 2])
def test_losses_with_numbers_for_reductions(reduction):
    x, y, z = torch.randn(3, 4, 5)
    sign = torch.tensor([1.0, -1, 1, 1])
    calls = {
        "cosine_embedding_loss": (x, y, sign, 0.1, reduction), "hinge_embedding_loss": (x[:, 0], sign, 1.0, reduction),
        "margin_ranking_loss": (x[:, 0], y[:, 0], sign, 0.2, reduction),
        "triplet_margin_loss": (x, y, z, 1.0, 2.0, 1e-6, False, reduction),
    }  # fmt: skip
    for name, args in calls.items():
        same(getattr(flambeau, name)(*ours(args)), getattr(torch, name)(*args))


def test_what_the_cpu_does_not_have():
    x = flambeau.ones(1, 1, 3, 3)
    assert not flambeau.cudnn_is_acceptable(x) and not flambeau.is_vulkan_available()
    with pytest.raises(NotImplementedError, match="cudnn_convolution"):
        flambeau.cudnn_convolution(x, x, [0, 0], [1, 1], [1, 1], 1, False, False, False)
    with pytest.raises(RuntimeError, match="linalg"):
        flambeau.eig(x[0, 0])
    with pytest.raises(RuntimeError, match="linalg"):
        x[0, 0].symeig()


def test_grouped_and_scaled_products():
    F, G = torch.nn.functional, flambeau.nn.functional
    a, b = torch.randn(6, 16), torch.randn(3, 16, 8)
    offs = torch.tensor([2, 4, 6], dtype=torch.int32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same(G.grouped_mm(ours(a), ours(b), offs=ours(offs)), F.grouped_mm(a, b, offs=offs))
    same(
        G.grouped_mm(ours(a.t().contiguous()), ours(a), offs=ours(offs)),
        torch.stack([a.t()[:, i : i + 2] @ a[i : i + 2] for i in (0, 2, 4)]),
    )
    with pytest.raises(RuntimeError):
        G.grouped_mm(ours(a), ours(b))
    x, w = torch.randn(16, 32).to(torch.float8_e4m3fn), torch.randn(16, 32).to(torch.float8_e4m3fn).t()
    rows = torch.rand(16, 1), torch.rand(1, 16)
    mine = [flambeau.from_numpy(t.view(torch.uint8).numpy()).view(flambeau.float8_e4m3fn) for t in (x, w.t())]
    R, O = F.ScalingType.RowWise, G.ScalingType.RowWise
    expected = F.scaled_mm(x, w, rows[0], R, rows[1], R, output_dtype=torch.float32)
    found = G.scaled_mm(mine[0], mine[1].t(), ours(rows[0]), O, ours(rows[1]), O, output_dtype=flambeau.float32)
    same(found, expected, rtol=1e-4)
    with pytest.raises(ValueError):
        G.scaled_mm(mine[0], mine[1].t(), ours(rows[0]), G.ScalingType.BlockWise1x32, ours(rows[1]), O)


def test_convolution_over_time():
    args = torch.randn(5, 2, 3), torch.randn(2, 3, 4), torch.randn(4)
    same(flambeau.nn.functional.conv_tbc(*ours(args), 1), torch.nn.functional.conv_tbc(*args, 1))
