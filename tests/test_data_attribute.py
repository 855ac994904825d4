"""``Tensor.data``: the same memory, no history, and a version of its own."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest

import flambeau as torch


def test_writes_are_not_seen_by_autograd() -> None:
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    z = y * y  # saves y
    y.data[1] = 5.0
    assert y._version == 0 and y.data._version == 0
    z.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [8, 20, 8])


def test_detach_shares_the_version() -> None:
    x = torch.ones(3, requires_grad=True)
    y = x * 2
    z = y * y
    y.detach()[1] = 5.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


def test_views_of_data_keep_its_version() -> None:
    x = torch.zeros(2, 3)
    data = x.data
    data[0].fill_(1)
    data.t()[2] = 4.0
    assert (data._version, x._version) == (2, 0)
    np.testing.assert_array_equal(x.numpy(), [[1, 1, 4], [0, 0, 4]])


def test_it_is_one_memory() -> None:
    x = torch.arange(4.0)
    data = x.data
    assert data.data_ptr() == x.data_ptr() and data.is_set_to(x)
    assert data.untyped_storage() == x.untyped_storage()
    x.resize_(4000)
    assert data.data_ptr() == x.data_ptr()  # the storage has moved, for both
    data.fill_(7)
    assert x[3] == 7
    file = io.BytesIO()
    torch.save([x, data], file)
    assert file.tell() < 2 * 4000 * 4
    kept = copy.deepcopy(data)
    del x
    data.add_(1)
    assert data[0] == 8 and kept[0] == 7


def test_reading_what_is_written() -> None:
    x = torch.arange(5.0)
    with pytest.raises(RuntimeError, match="refer to a single memory location"):
        x.data[1:].copy_(x[:-1])
    np.testing.assert_array_equal(x.numpy(), np.arange(5))


@pytest.mark.parametrize("compiled", [False, True])
def test_in_a_training_step(compiled: bool) -> None:
    """An optimizer of the old kind, which writes to ``p.data``, gives the same numbers compiled."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    run = torch.compile(model) if compiled else model
    x = torch.arange(12.0).reshape(4, 3) / 12
    weights = model.weight.detach().numpy().copy()
    bias = model.bias.detach().numpy().copy()
    for _ in range(3):
        model.zero_grad()
        run(x).square().mean().backward()
        for p in model.parameters():
            seen = p.data
            seen.mul_(0.9)
            p.data.add_(p.grad.data, alpha=-0.1)
        error = x.numpy() @ weights.T + bias
        gradient = error * 2 / error.size
        weights = weights * 0.9 - 0.1 * gradient.T @ x.numpy()
        bias = bias * 0.9 - 0.1 * gradient.sum(0)
        np.testing.assert_allclose(model.weight.detach().numpy(), weights, rtol=1e-5)
        np.testing.assert_allclose(model.bias.detach().numpy(), bias, rtol=1e-5)


def test_a_pending_write_through_data_is_not_lost() -> None:
    x = torch.ones(3)
    double = torch.compile(lambda t: t * 2)
    x.data.copy_(double(x))
    seen = x.data
    x.add_(double(seen))
    np.testing.assert_array_equal(seen.numpy(), [6, 6, 6])
    np.testing.assert_array_equal(x.numpy(), [6, 6, 6])


def test_a_copy_owns_its_memory() -> None:
    x = torch.arange(3.0)
    pair = [x, x.data]
    for again in (copy.deepcopy(pair), pickle.loads(pickle.dumps(pair))):
        again[0].add_(1)
        np.testing.assert_array_equal(again[1].numpy(), [1, 2, 3])
    parameter = torch.nn.Parameter(torch.ones(2))
    assert torch.equal(pickle.loads(pickle.dumps(parameter)), torch.ones(2))
    np.testing.assert_array_equal(x.numpy(), [0, 1, 2])
