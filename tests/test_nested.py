"""Nested tensors of the jagged layout, compared with PyTorch's."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest

import flambeau
from flambeau import nested

torch = pytest.importorskip("torch")

CALLS = """
nt + 1 | nt * nt | nt + m.ones(3) | nt + m.arange(6.).reshape(2, 1, 3) | m.arange(2.).reshape(2, 1, 1) * nt | 1 / nt
-nt | nt < 3 | nt == nt | nt.abs().sqrt() | nt.pow(2) | nt / 2 | nt - 1.5 | nt % 2 | m.where(nt > 2, nt, nt * 0)
nt.sum() | nt.sum(1) | nt.sum(2) | nt.sum(-1, keepdim=True) | nt.sum(1, keepdim=True) | nt.sum((0, 1)) | nt.mean()
nt.mean(1) | nt.mean(-1) | nt.prod(1) | nt.amax(1) | nt.amin(-1) | nt.argmax(1) | nt.max() | nt.all() | nt.any(1)
nt.softmax(-1) | nt.softmax(1) | m.softmax(nt, 1) | m.nn.functional.softmax(nt, 1) | nt.transpose(1, 2).softmax(1)
m.nn.functional.layer_norm(nt, (3,)) | m.nn.functional.rms_norm(nt, (3,)) | nt @ m.arange(6.).reshape(3, 2)
m.nn.functional.layer_norm(nt, (3,), m.arange(3.), m.ones(3)) | m.nn.functional.linear(nt, m.ones(5, 3), m.arange(5.))
m.matmul(nt, m.arange(24.).reshape(2, 3, 4)) | nt.bmm(m.arange(24.).reshape(2, 3, 4))
nt.transpose(1, 2) | nt.transpose(1, 2) * 2 | nt.permute(0, 2, 1) | nt.unsqueeze(-1) | nt.unsqueeze(2).squeeze(2)
nt.view(2, -1, 3, 1) | nt.reshape(2, -1, 1, 3) | nt.unflatten(-1, (1, 3)) | nt.view(2, -1, 3, 1).flatten(2, 3)
nt.unbind() | nt[0] | nt[1] | nt[-1] | nt.chunk(3, -1) | nt.split([1, 2], -1) | nt.select(2, 1) | nt.select(0, 1)
nt.to_padded_tensor(0) | nt.to_padded_tensor(-1.5, (2, 6, 3)) | m.nested.to_padded_tensor(nt, 2.) | m.cat([nt, nt], -1)
nt.contiguous() | nt.clone() | nt.detach() | nt.double() | nt.to(m.float64) | nt.half() | nt.bool() | m.ones_like(nt)
m.zeros_like(nt) | m.full_like(nt, 3) | nt.masked_fill(nt > 2, 0) | m.nn.functional.relu(nt - 2) | nt.sigmoid()
m.nn.functional.gelu(nt) | m.nn.functional.silu(nt) | m.nn.functional.dropout(nt, .5, False) | nt.clamp(1, 4)
m.nn.functional.softplus(nt) | m.nn.functional.leaky_relu(nt - 3, .1) | m.logical_not(nt > 1) | m.maximum(nt, nt * 2)
m.nn.Linear(3, 3)(nt).shape[0] | m.nn.LayerNorm(3)(nt) | m.nn.ReLU()(nt) | m.nn.Sequential(m.nn.Tanh())(nt)
m.nested.narrow(m.arange(24.).reshape(2, 4, 3), 1, m.tensor([0, 1]), m.tensor([2, 3]), layout=m.jagged)
m.nested.narrow(m.arange(24.).reshape(2, 4, 3), 1, m.tensor([0, 1]), m.tensor([2, 3]), layout=m.jagged) * 2
m.nested.narrow(m.arange(24.).reshape(2, 4, 3), 1, 0, m.tensor([2, 3]), layout=m.jagged).contiguous()
m.nested.nested_tensor_from_jagged(m.arange(12.).reshape(6, 2), m.tensor([0, 2, 6])).sum(1)
m.nested.nested_tensor_from_jagged(m.arange(12.).reshape(6, 2), lengths=m.tensor([2, 4]))
m.nested.nested_tensor_from_jagged(m.arange(12.).reshape(6, 2), m.tensor([0, 2, 6]), m.tensor([1, 3]))
m.nested.masked_select(m.arange(6.).reshape(2, 3), m.tensor([[True, False, True], [False, True, False]]))
m.nested.as_nested_tensor([m.ones(2, 3), m.zeros(3, 3)], layout=m.jagged) | nt.add_(1) | nt.zero_() | nt.copy_(nt * 2)
m.nested.as_nested_tensor(m.arange(24.).reshape(2, 3, 4), layout=m.jagged) | nt.mul_(nt)
m.nested.nested_tensor([[1, 2], [3]])
m.nested.nested_tensor([m.ones(2, 3), m.zeros(2, 4)], layout=m.jagged) * 3
m.nested.nested_tensor([m.ones(2, 3), m.zeros(4, 3)], layout=m.jagged, dtype=m.float64)
m.nn.functional.embedding(m.nested.nested_tensor([m.tensor([1, 2]), m.tensor([0])], layout=m.jagged), \
m.arange(8.).reshape(4, 2))
nt.size(0) | nt.dim() | nt.numel() | nt.dtype | nt.device | nt.layout | nt.is_nested | nt.is_contiguous() | len(nt)
nt.offsets() | nt.values() | nt.lengths() | nt._min_seqlen | nt._max_seqlen | nt.is_floating_point() | nt.ndim
m.nested.nested_tensor([m.arange(2), m.arange(3)])
m.nested.nested_tensor([m.arange(2), m.arange(3)]).to_padded_tensor(0)
"""


def _tensor(m, dtype=None, requires_grad=False):
    members = [m.arange(6.0).reshape(2, 3), m.arange(12.0).reshape(4, 3)]
    return m.nested.nested_tensor(members, layout=m.jagged, dtype=dtype, requires_grad=requires_grad)


def _agree(found, wanted):
    if isinstance(wanted, (tuple, list)):
        assert len(found) == len(wanted)
        for f, w in zip(found, wanted):
            _agree(f, w)
    elif isinstance(wanted, torch.Tensor):
        assert found.is_nested == wanted.is_nested and found.layout.__str__() == str(wanted.layout)
        assert str(found.dtype) == str(wanted.dtype)
        if wanted.is_nested:
            assert found.dim() == wanted.dim() and len(found) == wanted.size(0)
            _agree(found.unbind(), wanted.unbind())
        else:
            assert tuple(found.shape) == tuple(wanted.shape)
            same = torch.allclose(
                torch.tensor(found.tolist(), dtype=torch.float64), wanted.double(), rtol=1e-3, atol=1e-5, equal_nan=True
            )
            assert same, f"{found} is not {wanted}"
    else:
        assert str(found) == str(wanted)


@pytest.mark.parametrize(
    "call", [c.strip() for line in CALLS.replace("\\\n", "").strip().splitlines() for c in line.split(" | ")]
)
def test_call(call):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = []
        for m in (flambeau, torch):
            m.manual_seed(0)
            results.append(eval(call, {"m": m, "nt": _tensor(m)}))
    _agree(*results)


GRADIENTS = """
(nt * nt).sum(1) | nt.sum(-1).to_padded_tensor(0) | nt.softmax(1).to_padded_tensor(0) | nt.softmax(-1).values()
nt.mean(1) | fl.cat(list(nt.unbind())) | nt[1] ** 2 | (nt + nt.mean(1, keepdim=True)).to_padded_tensor(1.0)
nt.values() | fl.nn.functional.layer_norm(nt, (3,)).values() | (nt @ w(3, 2)).values() | nt.bmm(w(2, 3, 4)).values()
nt.amax(1) | (nt.transpose(1, 2) * 2).sum(2) | nt.var(1) | nt.std(-1).values() | nt.transpose(1, 2).matmul(nt)
nt.logsumexp(1) | nt.cumsum(1).values() | nt.norm(dim=1) | fl.cat([nt, nt * 2], -1).values()
nt.prod(1) | nt.sum((0, 1))
(nt * w(2, 1, 3)).values() | nt.unflatten(-1, (3, 1)).flatten(2).values() | nt[:, :, 1].values() | nt.log_softmax(1)[0]
"""


@pytest.mark.parametrize("call", [c.strip() for line in GRADIENTS.strip().splitlines() for c in line.split(" | ")])
def test_gradients(call):
    def weights(*shape):
        return (
            (flambeau.arange(float(flambeau.Size(shape).numel()), dtype=flambeau.float64) * 0.37).sin().reshape(shape)
        )

    def program(a, b):
        nt = nested.as_nested_tensor([a, b], layout=flambeau.jagged)
        return eval(call, {"fl": flambeau, "nt": nt, "w": weights})

    members = [weights(2, 3).requires_grad_(), (weights(4, 3) + 0.3).requires_grad_()]
    assert flambeau.autograd.gradcheck(program, members)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_that_of_each_member(causal):
    flambeau.manual_seed(0)
    sizes, keys = (3, 1, 5), (2, 4, 1)
    keys = sizes if causal else keys

    def made(lengths):
        members = [flambeau.randn(n, 2, 4, requires_grad=True) for n in lengths]
        return members, nested.as_nested_tensor(members, layout=flambeau.jagged).transpose(1, 2)

    (qs, q), (ks, k) = made(sizes), made(keys)
    v = k * 2
    out = flambeau.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    assert out.is_nested and str(out.shape[2]) == str(q.shape[2])
    out.values().square().sum().backward()
    grads = [x.grad for x in (*qs, *ks)]
    for i, member in enumerate(out.unbind()):
        a, b = (t.detach().requires_grad_() for t in (qs[i], ks[i]))
        heads = [t.transpose(0, 1) for t in (a, b, b * 2)]
        wanted = flambeau.nn.functional.scaled_dot_product_attention(*heads, is_causal=causal)
        assert flambeau.allclose(member, wanted, atol=1e-6)
        wanted.square().sum().backward()
        assert flambeau.allclose(grads[i], a.grad, atol=1e-5)
        assert flambeau.allclose(grads[len(qs) + i], b.grad, atol=1e-5)


def test_a_model_of_layers_trains_on_nested_batches():
    flambeau.manual_seed(0)
    nn = flambeau.nn
    model = nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 16), nn.ReLU(), nn.LayerNorm(16), nn.Linear(16, 1))
    optimizer = flambeau.optim.SGD(model.parameters(), lr=0.1)
    tokens = nested.nested_tensor([[1, 2, 3], [4], [5, 6]], layout=flambeau.jagged)
    losses = []
    for _ in range(5):
        loss = (model(tokens).squeeze(-1).mean(1) - flambeau.tensor([1.0, 2.0, 3.0])).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("left_aligned", [True, False])
def test_encoder_in_inference_leaves_out_padding(left_aligned):
    results = []
    for m in (torch, flambeau):
        m.manual_seed(0)
        layer = m.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            encoder = m.nn.TransformerEncoder(layer, 2, norm=m.nn.LayerNorm(8)).eval()
            x = (m.arange(3 * 5 * 8.0).reshape(3, 5, 8) * 0.1).sin()
            mask = m.tensor([[False] * 5, [False] * 3 + [True] * 2, [False] * 4 + [True]])
            mask = mask if left_aligned else mask.flip(1)
            with m.no_grad():
                results.append(encoder(x, src_key_padding_mask=mask).tolist())
    assert torch.allclose(*map(torch.tensor, results), atol=1e-5)


def test_leaf_gradient_is_nested():
    nt = _tensor(flambeau, requires_grad=True)
    (nt * 3).sum().backward()
    assert nt.is_leaf and nt.grad.is_nested and nt.grad[1].tolist() == [[3.0] * 3] * 4


def test_text_is_pytorchs():
    for options in ({}, {"requires_grad": True}):
        mine, theirs = (_tensor(m, **options) for m in (flambeau, torch))
        mark = str(theirs.shape[1])
        assert repr(mine) == repr(theirs).replace(mark, str(mine.shape[1]))
        assert str(mine.stride()) == str(tuple(theirs.stride())).replace(mark, str(mine.shape[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine, theirs = (repr(m.nested.nested_tensor([m.ones(2, 2), m.zeros(1, 2)])) for m in (flambeau, torch))
    assert mine == theirs


def test_sizes_and_symbols():
    nt = _tensor(flambeau)
    j = nt.shape[1]
    assert j == (nt * 2).shape[1] and j != _tensor(flambeau).shape[1] and j > 1 and not j == 4
    assert nt.size() == (2, j, 3) and nt.size(-1) == 3 and hash(j) == hash(nt.size(1))
    with pytest.raises(ValueError, match="differs from member"):
        _ = j > 100
    strided = nested.nested_tensor([[1, 2], [3]])
    with pytest.raises(RuntimeError, match="irregular"):
        strided.size(1)
    with pytest.raises(RuntimeError, match="doesn't support sizes"):
        _ = strided.shape
    assert strided.size(0) == 2 and strided.tolist() == [[1, 2], [3]]


def test_members_with_gaps():
    values = flambeau.arange(12.0).reshape(6, 2)
    nt = nested.nested_tensor_from_jagged(values, flambeau.tensor([0, 2, 6]), flambeau.tensor([1, 3]))
    assert nt.sum().item() == values[[0, 2, 3, 4]].sum().item() and nt.numel() == 8
    assert nt.to_padded_tensor(-1)[0].tolist() == [[0, 1], [-1, -1], [-1, -1]]
    assert (nt * 2).sum(1).tolist() == [[0.0, 2.0], [36.0, 42.0]]
    whole = nt.contiguous()
    assert whole.lengths() is None and whole.offsets().tolist() == [0, 1, 4]


def test_empty_members_and_batches():
    nt = nested.nested_tensor([flambeau.ones(0, 3), flambeau.ones(2, 3)], layout=flambeau.jagged)
    assert nt.sum(1).tolist() == [[0, 0, 0], [2, 2, 2]] and nt.unbind()[0].shape == (0, 3)
    assert nt.softmax(1)[1].tolist() == [[0.5] * 3] * 2
    none = nested.nested_tensor([], layout=flambeau.jagged)
    assert len(none) == 0 and none.unbind() == ()


def test_copies_and_pickles():
    nt = _tensor(flambeau)
    for other in (pickle.loads(pickle.dumps(nt)), copy.deepcopy(nt)):
        assert flambeau.equal(other, nt) and flambeau.allclose(other, nt)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        ("nt + other", "same offsets"), ("nt.sum(0)", "batch dimension but not the ragged"),
        ("nt.sum((1, 2))", "ragged and non-batch"), ("nt.flatten(1, 2)", "ragged dim"), ("nt.squeeze(0)", "dim=0"),
        ("m.stack([nt, nt])", "stack"), ("nt.view(3, -1, 3)", "invalid"), ("nt.transpose(0, 1)", "dim=0"),
        ("m.nested.nested_tensor([m.ones(2), m.ones(2, 4)], layout=m.jagged)", "same dim"),
        ("m.nested.nested_tensor([m.ones(2, 3), m.ones(3, 4)], layout=m.jagged)", "all dimensions but one"),
        ("nt.tolist()", "unbind"), ("nt.numpy()", "not supported"), ("nt.item()", "18 elements"),
        ("nt + m.ones(2, 4, 3)", "sizes 1"), ("nt.to_padded_tensor(0, (2, 3, 3))", "too small"),
        ("m.nested.nested_tensor_from_jagged(m.ones(3))", "At least one"),
        ("m.nested.nested_tensor_from_jagged(m.ones(3), m.tensor([0, 5]))", "outside"),
        ("m.nested.narrow(m.ones(2, 3), 1, 2, 2, layout=m.jagged)", "outside"),
        ("nt.matmul(nt.transpose(1, 2))", "matmul"), ("m.nn.functional.layer_norm(nt.transpose(1, 2), (4,))", "ragged"),
        ("nt.new_ones(3)", "Could not run"), ("nt[:, 0]", "ragged dim"),
    ],
)  # fmt: skip
def test_errors(call, match):
    with pytest.raises((RuntimeError, NotImplementedError), match=match):
        eval(call, {"m": flambeau, "nt": _tensor(flambeau), "other": _tensor(flambeau)})
    with pytest.raises(IndexError):
        _tensor(flambeau)[2]
