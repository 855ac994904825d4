"""Masked reductions against PyTorch, and tensors that carry their mask against numpy's."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import flambeau
from flambeau import masked

X = np.random.default_rng(0).standard_normal((3, 4, 2))
MASK = np.random.default_rng(1).random((3, 4, 2)) < 0.6
MASK[:, 0] = True

CALLS = {
    "sum": [{}, {"dim": 1}, {"dim": (0, 2), "keepdim": True}], "prod": [{}, {"dim": 1}], "amax": [{}, {"dim": 1}],
    "amin": [{"dim": (0, 1)}], "argmax": [{}, {"dim": 1}], "argmin": [{"dim": 1, "keepdim": True}],
    "cumsum": [{"dim": 1}], "cumprod": [{"dim": 1}], "mean": [{}, {"dim": 1}], "median": [{"dim": 1}],
    "norm": [{"ord": 2.0, "dim": 1}, {"ord": 1.0}, {"ord": float("inf"), "dim": 1}],
    "var": [{"dim": 1}, {"dim": (0, 1), "unbiased": False}, {}], "std": [{"dim": (0, 1), "unbiased": True}],
    "softmax": [{"dim": 1}], "log_softmax": [{"dim": 1}], "softmin": [{"dim": 1}],
    "normalize": [{"ord": 2.0, "dim": 1}], "logsumexp": [{"dim": 1}],
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_functions(name: str) -> None:
    torch = pytest.importorskip("torch")
    warnings.simplefilter("ignore")
    for call in CALLS[name]:
        for mask in (MASK, None):
            args = {**call, "unbiased": True} if name in ("var", "std") and "unbiased" not in call else call
            found = []
            for f in (flambeau, torch):
                x = f.tensor(X, requires_grad=name not in ("argmax", "argmin"))
                y = getattr(f.masked, name)(x, **args, mask=None if mask is None else f.tensor(mask))
                if x.requires_grad:
                    y[y.isfinite()].sum().backward()
                found.append((y.detach().numpy(), None if x.grad is None else x.grad.numpy()))
            (mine, mine_grad), (theirs, theirs_grad) = found
            if name in ("softmax", "log_softmax", "softmin", "normalize", "cumsum", "cumprod") and mask is not None:
                mine, theirs = mine[mask], theirs[mask]  # what is outside of the mask means nothing
            np.testing.assert_allclose(mine, theirs, 1e-9, 1e-12)
            if mine_grad is not None and name not in ("log_softmax", "normalize"):
                np.testing.assert_allclose(mine_grad, theirs_grad, 1e-7, 1e-9)


def test_nothing_left() -> None:
    x, none = flambeau.ones(2, 3), flambeau.zeros(2, 3, dtype=flambeau.bool)
    assert masked.sum(x, 1, mask=none).tolist() == [0, 0]
    assert masked.amax(x, 1, mask=none).tolist() == [float("-inf")] * 2
    assert masked.mean(x, 1, mask=none).isnan().all()
    assert (
        masked.sum(flambeau.ones(2, dtype=flambeau.int32), mask=flambeau.tensor([True, False])).dtype is flambeau.int64
    )
    assert masked.median(x, 1, mask=none).isnan().all()
    with pytest.raises(ValueError, match="median"):
        masked.median(x.long(), 1, mask=none)


def test_tensors_with_masks() -> None:
    x = np.ma.MaskedArray(X, ~MASK)
    t = masked.masked_tensor(flambeau.tensor(X), flambeau.tensor(MASK))
    assert masked.is_masked_tensor(t)
    assert not masked.is_masked_tensor(flambeau.ones(2))
    for mine, theirs in (
        (t + t, x + x), (2 * t, 2 * x), (t.exp(), np.ma.exp(x)), (t.sum(1), x.sum(1)), (t.mean((0, 2)), x.mean((0, 2))),
        (t.amax(1), x.max(1)), (t.prod(1), x.prod(1)), (t[1], x[1]), (t.transpose(0, 2), x.transpose(2, 1, 0)),
        (t.reshape(6, 4), x.reshape(6, 4)), (t.sum(), np.ma.MaskedArray(x.sum())),
    ):  # fmt: skip
        np.testing.assert_allclose(mine.to_tensor(0.5).numpy(), np.ma.filled(theirs, 0.5), 1e-9)
        np.testing.assert_array_equal(mine.get_mask().numpy(), ~np.ma.getmaskarray(theirs))
    with pytest.raises(ValueError, match="masks must match"):
        t + masked.masked_tensor(flambeau.tensor(X), ~flambeau.tensor(MASK))
    with pytest.raises(TypeError):
        masked.masked_tensor(X, MASK)
    with pytest.raises(ValueError):
        masked.masked_tensor(flambeau.ones(2), flambeau.ones(3, dtype=flambeau.bool))
    with pytest.raises(NotImplementedError):
        t.cholesky()
    assert "--" in repr(t)


def test_gradients_of_tensors_with_masks() -> None:
    data = flambeau.tensor(X, requires_grad=True)
    masked.as_masked_tensor(data, flambeau.tensor(MASK)).mul(3).sum().get_data().backward()
    np.testing.assert_array_equal(data.grad.numpy(), 3.0 * MASK)
    t = masked.masked_tensor(flambeau.tensor(X), flambeau.tensor(MASK), requires_grad=True)
    t.sum().backward()
    np.testing.assert_array_equal(t.grad.get_data().numpy(), 1.0 * MASK)
