"""Views, pieces, joins, arrangements and borders against PyTorch."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

import flambeau as fl
import flambeau.nn.functional as F

os.environ.setdefault("OMP_NUM_THREADS", "1")
torch = pytest.importorskip("torch")

VIEWS: dict[str, Any] = {
    "view": lambda x: x.view(6, 4),
    "view -1": lambda x: x.view(-1, 2),
    "flatten": lambda x: x.flatten(1),
    "unflatten": lambda x: x.unflatten(2, (2, -1)),
    "transpose": lambda x: x.transpose(0, -1),
    "permute": lambda x: x.permute(2, 0, 1),
    "movedim": lambda x: x.movedim((0, 1), (-1, 0)),
    "swapaxes": lambda x: x.swapaxes(1, 2),
    "T": lambda x: x[0].T,
    "mT": lambda x: x.mT,
    "unsqueeze": lambda x: x.unsqueeze(-2),
    "squeeze": lambda x: x[:1].squeeze(),
    "expand": lambda x: x[:, :1].expand(2, 5, 4),
    "narrow": lambda x: x.narrow(1, 1, 2),
    "select": lambda x: x.select(2, -1),
    "diagonal": lambda x: x.diagonal(-1, 1, 2),
    "unfold": lambda x: x.unfold(2, 3, 1),
    "as_strided": lambda x: x.as_strided((2, 3), (1, 2), 5),
    "as_strided of a part": lambda x: x[1].as_strided((2, 2), (3, 1), 2),
    "split": lambda x: x.split(2, 1)[1],
    "split sizes": lambda x: x.split([1, 3], 2)[1],
    "chunk": lambda x: x.chunk(3, 2)[-1],
    "tensor_split": lambda x: x.tensor_split(3, 2)[0],
    "tensor_split at": lambda x: x.tensor_split([1, 5, 2], 1)[0],
    "hsplit": lambda x: x.hsplit(3)[1],
    "unbind": lambda x: x.unbind(1)[2],
    "detour": lambda x: x.permute(2, 1, 0)[1:, ::2].transpose(0, 1),
}
COPIES: dict[str, Any] = {
    "reshape": lambda x: x.transpose(0, 1).reshape(2, 12),
    "ravel": lambda x: x.mT.ravel(),
    "tril": lambda x: x.tril(-1),
    "triu": lambda x: x.triu(2),
    "diag": lambda x: x[0, 0].diag(1),
    "diag_embed": lambda x: x.diag_embed(-1, 0, 2),
    "flip": lambda x: x.flip(0, 2),
    "roll": lambda x: x.roll((1, -6), (0, 2)),
    "roll all": lambda x: x.roll(5),
    "rot90": lambda x: x.rot90(3, (1, 2)),
    "repeat": lambda x: x.repeat(2, 1, 3, 2),
    "tile": lambda x: x.tile((2,)),
    "repeat_interleave": lambda x: x.repeat_interleave(2, 1),
    "narrow_copy": lambda x: x.narrow_copy(0, 1, 1),
}


def pair(shape: tuple[int, ...] = (2, 3, 4)) -> tuple[Any, Any]:
    array = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    return fl.from_numpy(array.copy()).requires_grad_(), torch.from_numpy(array.copy()).requires_grad_()


@pytest.mark.parametrize("name", [*VIEWS, *COPIES])
def test_values_strides_sharing_and_gradients(name: str) -> None:
    call = {**VIEWS, **COPIES}[name]
    x, y = pair()
    ours, theirs = call(x), call(y)
    assert ours.tolist() == theirs.tolist()
    assert [k for n, k in zip(ours.shape, ours.stride()) if n > 1] == [
        k for n, k in zip(theirs.shape, theirs.stride()) if n > 1
    ]
    assert (ours._storage is x._storage) == (name in VIEWS)
    assert ours._is_view() == (name in VIEWS)
    weight = np.arange(ours.numel(), dtype=np.float32).reshape(tuple(ours.shape)) + 1
    (ours * fl.from_numpy(weight)).sum().backward()
    (theirs * torch.from_numpy(weight)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", VIEWS)
def test_second_call_of_a_view_is_as_the_first(name: str) -> None:
    x, _ = pair()
    first, second = VIEWS[name](x), VIEWS[name](x)
    assert first.tolist() == second.tolist() and first.stride() == second.stride()
    assert second.grad_fn is not None and second._base is x
    moved = fl.zeros(2, 2, 3, 4)[1]  # the same layout at another place of another storage
    moved.copy_(x.detach())
    if not name.startswith("as_strided"):
        assert VIEWS[name](moved).tolist() == first.tolist()


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda x: x.view(5, 5), RuntimeError),
        (lambda x: x.transpose(0, 1).view(-1), RuntimeError),
        (lambda x: x.view(-1, -1), RuntimeError),
        (lambda x: x.transpose(0, 3), IndexError),
        (lambda x: x.permute(0, 1), RuntimeError),
        (lambda x: x.permute(0, 1, 1), RuntimeError),
        (lambda x: x.expand(2, 4, 4), RuntimeError),
        (lambda x: x.select(0, 2), IndexError),
        (lambda x: x.narrow(0, 1, 5), RuntimeError),
        (lambda x: x.split([1, 1], 1), RuntimeError),
        (lambda x: x.split(0), RuntimeError),
        (lambda x: x.chunk(0), RuntimeError),
        (lambda x: x.as_strided((9, 9), (9, 1)), RuntimeError),
        (lambda x: x.unfold(0, 3, 1), RuntimeError),
        (lambda x: x.unflatten(0, (3, 3)), RuntimeError),
        (lambda x: x.movedim(0, 5), IndexError),
        (lambda x: x.squeeze(7), IndexError),
        (lambda x: x.diagonal(0, 1, 1), RuntimeError),
        (lambda x: x.hsplit(2), RuntimeError),
        (lambda x: x[0, 0].tril(), RuntimeError),
        (lambda x: fl.cat([]), ValueError),
        (lambda x: fl.cat([x, x[0]]), RuntimeError),
        (lambda x: fl.cat([x, x[:, :1]]), RuntimeError),
        (lambda x: fl.cat(x), TypeError),
        (lambda x: fl.stack([x, x[0]]), RuntimeError),
        (lambda x: x.flatten(2, 1), RuntimeError),
    ],
)
def test_errors(call: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        call(pair()[0])


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_cat_and_stack(dim: int) -> None:
    x, y = pair()
    ours, theirs = fl.cat([x, x * 2, x], dim), torch.cat([y, y * 2, y], dim)
    assert ours.tolist() == theirs.tolist()
    (ours**2).sum().backward()
    (theirs**2).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-5)
    assert fl.stack([x, x.detach()], dim).tolist() == torch.stack([y, y.detach()], dim).tolist()


def test_cat_promotes_skips_empty_and_keeps_channels_last() -> None:
    found = fl.cat([fl.tensor([1]), fl.tensor([2.5]), fl.tensor([])])
    assert found.dtype is fl.float32 and found.tolist() == [1.0, 2.5]
    assert fl.cat([fl.zeros(0, 3), fl.ones(2, 3)]).shape == (2, 3)
    assert fl.cat([fl.zeros(0), fl.ones(2, 3)]).shape == (2, 3)
    image = fl.zeros(2, 3, 4, 5).contiguous(memory_format=fl.channels_last)
    assert fl.cat([image, image], 1).is_contiguous(memory_format=fl.channels_last)
    out = fl.zeros(0)
    assert fl.cat([fl.ones(2), fl.zeros(1)], out=out) is out and out.tolist() == [1.0, 1.0, 0.0]


def test_stacks_grids_and_blocks() -> None:
    a, b = np.arange(3.0), np.arange(4.0, 7.0)
    c = np.arange(2.0)
    for name in ("hstack", "vstack", "dstack", "column_stack"):
        ours, theirs = (
            getattr(fl, name)([fl.tensor(a), fl.tensor(b)]),
            getattr(torch, name)([torch.tensor(a), torch.tensor(b)]),
        )
        assert ours.tolist() == theirs.tolist()
    for indexing in ("ij", "xy"):
        ours, theirs = (
            fl.meshgrid(fl.tensor(a), fl.tensor(c), indexing=indexing),
            torch.meshgrid(torch.tensor(a), torch.tensor(c), indexing=indexing),
        )
        assert [g.tolist() for g in ours] == [g.tolist() for g in theirs]
    assert (
        fl.block_diag(fl.ones(1, 2), fl.tensor(3.0), fl.ones(2)).tolist()
        == torch.block_diag(torch.ones(1, 2), torch.tensor(3.0), torch.ones(2)).tolist()
    )
    assert fl.cartesian_prod(fl.tensor([1, 2]), fl.tensor([3, 4])).tolist() == [[1, 3], [1, 4], [2, 3], [2, 4]]
    assert fl.combinations(fl.arange(3), 2, True).tolist() == [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]]
    assert [t.shape for t in fl.atleast_2d(fl.tensor(1.0), fl.ones(2))] == [(1, 1), (1, 2)]
    assert fl.broadcast_shapes((2, 1), (3,)) == (2, 3)
    with pytest.raises(RuntimeError):
        fl.broadcast_shapes((2,), (3,))


def test_triangle_indices_and_identity() -> None:
    assert fl.tril_indices(3, 4, 1).tolist() == torch.tril_indices(3, 4, 1).tolist()
    assert fl.triu_indices(3, 4, -1).tolist() == torch.triu_indices(3, 4, -1).tolist()
    assert fl.eye(2, 3).tolist() == torch.eye(2, 3).tolist()
    for arguments in ((0, 1, 7), (-3, 11, 50), (5, 5, 1), (2, -2, 2), (0, 1, 0)):
        np.testing.assert_allclose(
            fl.linspace(*arguments).numpy(), torch.linspace(*arguments).numpy(), rtol=1e-6, atol=1e-7
        )
    np.testing.assert_allclose(fl.logspace(-2, 2, 5).numpy(), [0.01, 0.1, 1, 10, 100], rtol=1e-6)
    assert [t.tolist() for t in fl.unravel_index(fl.tensor([5, 11]), (3, 4))] == [[1, 2], [1, 3]]


# -- other element types of the same memory ----------------------------------------------------------


def test_view_as_another_type() -> None:
    x = fl.tensor([[1.0, -2.0]])
    assert x.view(fl.int32).tolist() == torch.tensor([[1.0, -2.0]]).view(torch.int32).tolist()
    assert x.view(fl.uint8).shape == (1, 8)
    assert x.view(fl.float64).shape == (1, 1)
    with pytest.raises(RuntimeError, match="stride"):
        x.t().view(fl.float64)
    z = fl.view_as_complex(fl.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert z.tolist() == [1 + 2j, 3 + 4j]
    assert fl.view_as_real(z).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    x = fl.ones(3, 2, requires_grad=True)
    fl.view_as_real(fl.view_as_complex(x) * (2 + 1j)).sum().backward()
    assert x.grad.tolist() == [[3.0, 1.0]] * 3


def test_views_in_place_change_the_tensor() -> None:
    x = fl.arange(6.0).view(2, 3)
    assert x.t_() is x and x.shape == (3, 2) and (x + 1).tolist() == [[1, 4], [2, 5], [3, 6]]
    assert x.unsqueeze_(0).shape == (1, 3, 2) and x.squeeze_().shape == (3, 2)
    assert x.resize_(2, 2).tolist() == [[0, 1], [2, 3]]
    assert fl.zeros(4).resize_(8).shape == (8,)


# -- borders and windows -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_pad(mode: str) -> None:
    x, y = pair((2, 3, 4, 5))
    ours, theirs = F.pad(x, (2, 1, 0, 2), mode), torch.nn.functional.pad(y, (2, 1, 0, 2), mode)
    assert ours.tolist() == theirs.tolist()
    (ours**2).sum().backward()
    (theirs**2).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-5)


def test_pad_cuts_and_fills_and_complains() -> None:
    x = fl.arange(6.0).view(2, 3)
    assert F.pad(x, (-1, 1), value=9.0).tolist() == [[1, 2, 9], [4, 5, 9]]
    assert F.pad(fl.zeros(0, 2), (1, 1)).shape == (0, 4)
    for arguments in (((1,),), ((1, 1, 1, 1, 1, 1),), ((-2, -2),), ((3, 0), "reflect")):
        with pytest.raises((RuntimeError, NotImplementedError)):
            F.pad(x, *arguments)


def test_windows_and_their_sum() -> None:
    x, y = pair((2, 3, 5, 6))
    ours = F.unfold(x, (2, 3), dilation=(2, 1), padding=1, stride=(1, 2))
    theirs = torch.nn.functional.unfold(y, (2, 3), dilation=(2, 1), padding=1, stride=(1, 2))
    assert ours.tolist() == theirs.tolist()
    back = F.fold(ours, (5, 6), (2, 3), dilation=(2, 1), padding=1, stride=(1, 2))
    expected = torch.nn.functional.fold(theirs, (5, 6), (2, 3), dilation=(2, 1), padding=1, stride=(1, 2))
    np.testing.assert_allclose(back.detach().numpy(), expected.detach().numpy(), rtol=1e-6)
    (back**2).sum().backward()
    (expected**2).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-5)
    with pytest.raises(RuntimeError, match="divisible"):
        F.fold(fl.zeros(1, 5, 4), (3, 3), 2)


def test_pixels_and_channels() -> None:
    x, y = pair((2, 8, 4, 6))
    assert F.pixel_shuffle(x, 2).tolist() == torch.nn.functional.pixel_shuffle(y, 2).tolist()
    assert F.pixel_unshuffle(x, 2).tolist() == torch.nn.functional.pixel_unshuffle(y, 2).tolist()
    assert F.channel_shuffle(x, 4).tolist() == torch.nn.functional.channel_shuffle(y, 4).tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "bfloat16", "bool", "complex64"])
def test_copies_that_turn_dimensions(dtype):
    """Whole tiles, borders, offsets, and what is not taken in tiles."""
    for shape, dims in (
        ((37, 53), (1, 0)),
        ((5, 20, 33), (2, 0, 1)),
        ((2, 16, 3, 35), (0, 3, 2, 1)),
        ((16, 16), (1, 0)),
    ):
        x = (fl.randn(*shape) * 10).to(getattr(fl, dtype))
        wide = x.float() if dtype == "bfloat16" else x
        expected = wide.numpy().transpose(dims)
        turned = x.permute(dims).contiguous()
        assert np.array_equal((turned.float() if dtype == "bfloat16" else turned).numpy(), expected)
        room = fl.zeros([n + 3 for n in expected.shape], dtype=x.dtype)
        room[tuple(slice(2, -1) for _ in dims)].copy_(x.permute(dims))
        inside = room[tuple(slice(2, -1) for _ in dims)]
        assert np.array_equal((inside.float() if dtype == "bfloat16" else inside).numpy(), expected)
        assert bool((room[0] == 0).all())


@pytest.mark.parametrize("shape", [(5, 7), (3, 1000), (2, 4097), (64, 16), (7, 300, 5)])
def test_reversed_and_running(shape):
    """Vectors read from their ends, and scans along and across them."""
    x = fl.randn(*shape)
    array = x.numpy()
    for d in range(len(shape)):
        assert np.array_equal(x.flip(d).numpy(), np.flip(array, d))
        assert np.allclose(x.cumsum(d).numpy(), array.astype(np.float64).cumsum(d), rtol=1e-6, atol=1e-5)
        assert np.array_equal(x.cummax(d)[0].numpy(), np.maximum.accumulate(array, d))
        whole = (x * 10).to(fl.int32)
        assert np.array_equal(whole.cumsum(d).numpy(), whole.numpy().astype(np.int64).cumsum(d))
    assert np.array_equal(x.flip(list(range(len(shape)))).numpy(), np.flip(array))


def test_results_beyond_the_caches():
    """Streamed stores: whole vectors, a tail, and a view that begins off a line."""
    for n in (5 << 20, (5 << 20) + 7):
        x, y = fl.rand(n), fl.rand(n)
        assert np.array_equal((x + y).numpy(), x.numpy() + y.numpy())
        assert np.array_equal((x[1:] > y[:-1]).numpy(), x.numpy()[1:] > y.numpy()[:-1])
