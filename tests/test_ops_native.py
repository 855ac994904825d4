"""Operators below PyTorch's public ones, segments, products of complex numbers, and long sums, against PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flambeau

torch = pytest.importorskip("torch")

RNG = np.random.default_rng(7)


def pair(*shape: int, dtype: str = "float32") -> tuple[Any, Any]:
    """The same numbers as a tensor of PyTorch and of flambeau."""
    x = RNG.standard_normal(shape).astype(dtype)
    return torch.from_numpy(x.copy()), flambeau.from_numpy(x.copy())


def close(want: Any, got: Any, rtol: float = 1e-5) -> None:
    if isinstance(want, (tuple, list)):
        assert len(want) == len(got)
        for a, b in zip(want, got):
            close(a, b, rtol)
        return
    np.testing.assert_allclose(
        got.detach().numpy(), want.detach().numpy(), rtol=rtol, atol=1e-6 if rtol > 1e-7 else 1e-12
    )


def both(name: str, *args: Any, **kwargs: Any) -> None:
    """Compares ``torch.name`` with ``flambeau.name``; an argument may be a pair of tensors."""

    def pick(value: Any, k: int) -> Any:
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], torch.Tensor):
            return value[k]
        return [pick(v, k) for v in value] if isinstance(value, list) else value

    found = []
    for k, module in enumerate((torch, flambeau)):
        function = module
        for part in name.split("."):
            function = getattr(function, part)
        found.append(function(*[pick(a, k) for a in args], **{n: pick(v, k) for n, v in kwargs.items()}))
    close(*found)


def test_norms_with_their_statistics() -> None:
    x, w, b = pair(4, 6, 5), pair(6), pair(6)
    both("native_layer_norm", x, [5], None, None, 1e-5)
    both("native_group_norm", x, w, b, 4, 6, 5, 3, 1e-5)
    for training in (True, False):
        mean, var = pair(6), tuple(v.abs() for v in pair(6))
        both("native_batch_norm", x, w, b, mean, var, training, 0.1, 1e-5)
        close(*mean)
        close(*var)
    with pytest.raises(RuntimeError, match="normalized_shape"):
        flambeau.native_layer_norm(x[1], [4], None, None, 1e-5)


def test_second_derivatives_of_norms() -> None:
    for norm in (
        lambda m, x: m.nn.functional.layer_norm(x, (5,)),
        lambda m, x: m.nn.functional.group_norm(x, 3),
        lambda m, x: m.nn.functional.batch_norm(x, None, None, training=True),
    ):
        found = []
        data = pair(4, 6, 5, dtype="float64")
        for module, x in zip((torch, flambeau), data):
            x = x.requires_grad_(True)
            (first,) = module.autograd.grad((norm(module, x) ** 3).sum(), x, create_graph=True)
            found.append(module.autograd.grad((first**2).sum(), x)[0])
        close(*found, rtol=1e-9)


@pytest.mark.parametrize("kind", ["sum", "mean", "prod", "max", "min"])
def test_segments(kind: str) -> None:
    data = pair(7, 3)
    for initial in (None, 2.0):
        for lengths in ([3, 0, 4], [7], [1, 1, 5]):
            given = (torch.tensor(lengths), flambeau.tensor(lengths))
            both("segment_reduce", data, kind, lengths=given, initial=initial)
            ends = np.cumsum([0, *lengths])
            both("segment_reduce", data, kind, offsets=(torch.tensor(ends), flambeau.tensor(ends)), initial=initial)
    with pytest.raises(RuntimeError, match="unsupported reduction"):
        flambeau.segment_reduce(data[1], "median", lengths=flambeau.tensor([7]))
    with pytest.raises(RuntimeError, match="add up"):
        flambeau.segment_reduce(data[1], kind, lengths=flambeau.tensor([3, 3]))


def test_renorm() -> None:
    for p, dim in ((2, 0), (1, 1), (float("inf"), -1)):
        both("renorm", pair(3, 4, 2), p, dim, 1.0)
    for bad in ((0, 0, 1.0), (2, 0, -1.0)):
        with pytest.raises(RuntimeError, match="renorm"):
            flambeau.ones(2, 2).renorm(*bad)


def test_chunks_side_by_side() -> None:
    both("_chunk_cat", [pair(3, 3, 2), pair(1, 4), pair(5)], 0, 2)
    with pytest.raises(RuntimeError, match="positive num_chunks"):
        flambeau._chunk_cat([flambeau.ones(2)], 0, 0)
    with pytest.raises(RuntimeError, match="non-empty"):
        flambeau._chunk_cat([flambeau.ones(2), flambeau.ones(0)], 0, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_hash_of_bits(dtype: str) -> None:
    x = (RNG.standard_normal((3, 5, 4)) * 10).astype(dtype)
    for dim in ((), 1, (0, 2)):
        want = torch.hash_tensor(torch.from_numpy(x), dim)
        got = flambeau.hash_tensor(flambeau.from_numpy(x), dim)
        assert got.dtype is flambeau.uint64 and (want.numpy() == got.numpy()).all()


def test_aten_names() -> None:
    aten = flambeau.ops.aten
    x = flambeau.tensor([[-float("inf")] * 3, [0.0, 1.0, 2.0]])
    assert aten._safe_softmax.default(x, 1)[0].tolist() == [0, 0, 0]
    assert aten.slice.Tensor(x, 1, 0, 2).shape == (2, 2) and aten.add(x, 1)[1].tolist() == [1, 2, 3]
    y = x.clone()
    assert aten.zero_.default(y) is y and not y.any()
    with pytest.raises(AttributeError, match="no_such"):
        _ = aten.no_such


@pytest.mark.parametrize("n", [0, 1, 2, 7, 100])
def test_products_of_complex_numbers(n: int) -> None:
    x = RNG.standard_normal((3, n, 2)) + 1j * RNG.standard_normal((3, n, 2))
    got = flambeau.from_numpy(x)
    np.testing.assert_allclose(got.prod(1).numpy(), x.prod(1), rtol=1e-12)
    np.testing.assert_allclose(got.cumprod(1).numpy(), x.cumprod(1), rtol=1e-12)
    np.testing.assert_allclose(got.prod().item(), x.prod(), rtol=1e-12)


def test_long_sums_over_rows() -> None:
    for shape, dims in (((100_000, 3), (0,)), ((129, 64, 2), (0, 1)), ((128, 5), (0,)), ((65, 1000), (0,))):
        x = (RNG.standard_normal(shape) * 9).astype(np.float32)
        want = x.astype(np.float64).sum(dims)
        got = flambeau.from_numpy(x).sum(dims).numpy()
        assert np.abs(got - want).max() <= 3e-6 * np.sqrt(x.size) * 9


def test_ranges_of_integers() -> None:
    for args in ((0.0, -8.5, -4.0), (0.5, 9.9, 2.5)):
        assert flambeau.arange(*args, dtype=flambeau.int64).tolist() == torch.arange(*args, dtype=torch.int64).tolist()
    for ends in ((4.3, -3, 50), (0.9, 50.7, 11)):
        for name in ("linspace", "logspace"):
            extra = (2.0,) if name == "logspace" else ()
            want = getattr(torch, name)(*ends, *extra, dtype=torch.int64)
            assert getattr(flambeau, name)(*ends, *extra, dtype=flambeau.int64).tolist() == want.tolist()
    with pytest.raises(ValueError, match="nonzero"):
        flambeau.arange(0, 5, 0.5, dtype=flambeau.int64)


def test_no_derivative_of_rounded_quotients() -> None:
    x = flambeau.tensor([7.0, -7.0], requires_grad=True)
    for mode in ("trunc", "floor"):
        (grad,) = flambeau.autograd.grad(flambeau.div(x, 2, rounding_mode=mode).sum(), x)
        assert grad.tolist() == [0, 0]


def test_numbers_where_a_tensor_belongs() -> None:
    for name in ("xlogy", "atan2", "maximum"):
        with pytest.raises(TypeError, match="must be Tensor"):
            getattr(flambeau, name)(2, 3)
    assert flambeau.add(2, 3).item() == 5
    with pytest.raises(TypeError):
        flambeau.Tensor.__radd__(2, 3)
