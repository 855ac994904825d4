"""Functions of the main namespace with the arguments of PyTorch's C++ operators, against PyTorch."""

from __future__ import annotations

import pytest

import flambeau

torch = pytest.importorskip("torch")

CALLS = """
m.avg_pool1d(m.arange(8.).reshape(1, 1, 8), 2) | m.bilinear(m.ones(2, 2), m.ones(2, 3), m.ones(4, 2, 3), None)
m.celu_(m.tensor([-1., 1.]), 2.) | m.selu_(m.tensor([-1., 1.])) | m.threshold_(m.arange(3.), 1., 7.)
m.conv_tbc(m.arange(12.).reshape(4, 1, 3), m.ones(2, 3, 2), m.zeros(2), 1) | m.detach_copy(m.ones(2))
m.batch_norm(m.arange(8.).reshape(2, 2, 2), m.ones(2), m.zeros(2), m.zeros(2), m.ones(2), True, 0.1, 1e-5, False)
m.instance_norm(m.arange(8.).reshape(1, 2, 4), m.ones(2), m.zeros(2), None, None, True, 0.1, 1e-5, False)
m.max_pool1d(m.arange(8.).reshape(1, 8), 2) | m.max_pool2d(m.arange(16.).reshape(1, 4, 4), 2, 1)
m.max_pool3d(m.arange(8.).reshape(1, 2, 2, 2), 2) | m.max_pool1d_with_indices(m.arange(8.).reshape(1, 1, 8), 3, 2)
m.adaptive_max_pool1d(m.arange(8.).reshape(1, 1, 8), 3) | m.affine_grid_generator(m.ones(1, 2, 3), (1, 1, 2, 2), False)
m.kl_div(m.ones(3), m.full((3,), .5), 2) | m.poisson_nll_loss(m.ones(3), m.ones(3), True, True, 1e-8, 1)
m.binary_cross_entropy_with_logits(m.arange(3.), m.ones(3), None, None, 0)
m.embedding_bag(m.arange(8.).reshape(4, 2), m.tensor([0, 1, 3]), m.tensor([0, 2]), False, 1)[0]
m.embedding_bag(m.arange(8.).reshape(4, 2), m.tensor([0, 1, 3]), m.tensor([0, 2]), False, 1)[1]
m.convolution(m.ones(1, 2, 5), m.ones(3, 2, 2), None, [1], [0], [1], False, [0], 1)
m.convolution(m.ones(1, 2, 5), m.ones(2, 3, 2), m.ones(3), [2], [0], [1], True, [1], 1)
m.frobenius_norm(m.arange(6.).reshape(2, 3), [0, 1]) | m.frobenius_norm(m.arange(6.).reshape(2, 3), 1, True)
m.nuclear_norm(m.eye(3)) | m.nuclear_norm(m.eye(3), (0, 1), True) | m.norm_except_dim(m.arange(6.).reshape(2, 3), 2, 0)
m.norm_except_dim(m.arange(6.).reshape(2, 3), 2, -1) | m.sym_float(2) | m.sym_int(-2.5) | m.sym_not(True)
m.sym_max(1, 2.) | m.sym_min(1, 2) | m.sym_sum([1, 2, 3]) | m.sym_ite(True, 1, 2) | m.sym_sqrt(4)
m.cond(m.tensor(True), lambda x: x + 1, lambda x: x - 1, (m.ones(2),))
m.is_anomaly_enabled() | m.is_anomaly_check_nan_enabled() | m.thread_safe_generator()
m.quantized_max_pool1d(m.quantize_per_tensor(m.arange(8.).reshape(1, 8), .5, 2, m.quint8), 2).dequantize()
m.quantized_max_pool2d(m.quantize_per_tensor(m.arange(8.).reshape(1, 2, 4), .5, 2, m.quint8), 2).dequantize()
m.quantized_batch_norm(q(m), m.ones(2), m.zeros(2), m.zeros(2), m.ones(2), 1e-5, .2, 2).dequantize()
m.lstm_cell(m.ones(1, 2), (m.ones(1, 2), m.ones(1, 2)), m.ones(8, 2), m.ones(8, 2))
m.gru_cell(m.ones(1, 2), m.ones(1, 2), m.ones(6, 2), m.ones(6, 2))
m.rnn_tanh_cell(m.ones(1, 2), m.ones(1, 2), m.ones(2, 2), m.ones(2, 2))
"""


def _quantized(m):
    return m.quantize_per_tensor(m.ones(1, 2, 1, 2), 0.5, 2, m.quint8)


def _close(found, wanted):
    if isinstance(wanted, (tuple, list)):
        assert len(found) == len(wanted)
        for f, w in zip(found, wanted):
            _close(f, w)
    elif isinstance(wanted, torch.Tensor):
        assert str(found.dtype) == str(wanted.dtype) and tuple(found.shape) == tuple(wanted.shape)
        torch.testing.assert_close(torch.tensor(found.tolist()), torch.tensor(wanted.tolist()), rtol=1e-5, atol=1e-6)
    else:
        assert found == wanted and type(found) is type(wanted)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("call", [c.strip() for line in CALLS.strip().splitlines() for c in line.split(" | ")])
def test_call(call):
    _close(*(eval(call, {"m": m, "q": _quantized}) for m in (flambeau, torch)))


def test_lobpcg_finds_extreme_pairs():
    x = torch.randn(12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, b = x @ x.T, torch.eye(12, dtype=torch.float64) * 2
    mine = [flambeau.from_numpy(t.numpy()) for t in (a, b)]
    for largest in (True, False):
        values, vectors = flambeau.lobpcg(mine[0], 2, mine[1], largest=largest)
        every = torch.linalg.eigvalsh(a / 2)
        wanted = every.flip(0)[:2] if largest else every[:2]
        assert torch.allclose(torch.tensor(values.tolist(), dtype=torch.float64), wanted)
        assert flambeau.allclose(mine[0] @ vectors, mine[1] @ vectors * values)
    with pytest.raises(ValueError, match="3 x the number"):
        flambeau.lobpcg(flambeau.eye(4), 2)


def test_while_loop_and_cond_refuse_what_they_cannot_do():
    assert flambeau.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * 2), (0, 1)) == (3, 8)
    with pytest.raises(RuntimeError, match="must return 2 values"):
        flambeau.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1,), (0, 1))
    for bad in [("no", len, len), (True, 1, len), (flambeau.ones(2), len, len)]:
        with pytest.raises(RuntimeError):
            flambeau.cond(*bad)


def test_from_file_shares_what_it_maps(tmp_path):
    path = str(tmp_path / "numbers")
    t = flambeau.from_file(path, shared=True, size=4, dtype=flambeau.float32)
    t.fill_(2)
    assert flambeau.from_file(path, size=4).tolist() == [2, 2, 2, 2]


def test_default_tensor_type():
    try:
        flambeau.set_default_tensor_type("torch.DoubleTensor")
        assert flambeau.ones(1).dtype is flambeau.float64
        flambeau.set_default_tensor_type(flambeau.FloatTensor)
        assert flambeau.ones(1).dtype is flambeau.float32
    finally:
        flambeau.set_default_dtype(flambeau.float32)
    with pytest.raises(TypeError, match="invalid type object"):
        flambeau.set_default_tensor_type("torch.LongTensor")


@pytest.mark.parametrize("number", [-1, -0.5, flambeau.tensor(-2.0)], ids=str)
def test_square_roots_of_negative_numbers_are_refused(number):
    with pytest.raises(ValueError, match="not negative"):
        flambeau.sym_sqrt(number)
