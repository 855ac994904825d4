"""``torch.testing``, compared with PyTorch's: what passes, what does not, and with what message."""

from __future__ import annotations

import numpy as np
import pytest

import flambeau
from flambeau import testing

torch = pytest.importorskip("torch")

NAN = "float('nan')"
CASES = [
    ("m.tensor([1., 2, 3])", "m.tensor([1., 2, 4])", {}),
    ("m.tensor([1, 2, 3])", "m.tensor([1, 2, 4])", {}),
    ("m.tensor([1., 2, 3])", "m.tensor([1., 2])", {}),
    ("m.tensor([1., 2, 3])", "m.tensor([1., 2, 3]).double()", {}),
    ("m.tensor([1., 2, 3])", "m.tensor([1., 2, 3]).double()", {"check_dtype": False}),
    ("m.ones(2, 3)", "m.ones(3, 2).t()", {"check_stride": True}),
    ("m.ones(2, 3)", "m.ones(3, 2).t()", {}),
    ("m.tensor(1.)", "m.tensor(2.)", {}),
    ("m.tensor([1., 2])", "m.tensor([1., 2.1])", {"rtol": 0.1, "atol": 0}),
    (f"m.tensor([1., {NAN}])", f"m.tensor([1., {NAN}])", {}),
    (f"m.tensor([1., {NAN}])", f"m.tensor([1., {NAN}])", {"equal_nan": True}),
    ("m.tensor([1 + 1j])", "m.tensor([1 + 2j])", {}),
    ("m.tensor([True, False])", "m.tensor([True, True])", {}),
    ("m.ones(0)", "m.ones(0)", {}),
    ("m.ones(2).bfloat16()", "m.full((2,), 1.01).bfloat16()", {}),
    ("m.ones(2)", "m.ones(2) * 2", {"msg": "hello"}),
    ("[1., 2]", "[1., 3.]", {}),
    ("{'a': 1.}", "{'b': 1.}", {}),
    ("{'a': [1., m.ones(2)]}", "{'a': [1., m.zeros(2)]}", {}),
    ("{'a': 1, 'b': (2, m.ones(1))}", "{'a': 1, 'b': (2, m.ones(1))}", {}),
    ("[1.]", "[1., 2]", {}),
    ("1.0", "1.1", {}),
    ("1", "2", {}),
    ("True", "False", {}),
    ("None", "1", {}),
    ("None", "None", {}),
    ("'a'", "'b'", {}),
    ("m.tensor([1.])", "[1.]", {}),
    ("1", "1", {"rtol": 1}),
    ("m.eye(2).to_sparse()", "m.eye(2).to_sparse()", {}),
]


def _outcome(module, m, actual, expected, options):
    try:
        module.assert_close(eval(actual, {"m": m}), eval(expected, {"m": m}), **options)
    except Exception as error:
        return type(error), str(error).replace("torch.Tensor", "T").replace("flambeau.tensor.Tensor", "T")
    return None


@pytest.mark.parametrize(("actual", "expected", "options"), CASES)
def test_assert_close_as_pytorch(actual, expected, options):
    found = _outcome(testing, flambeau, actual, expected, options)
    assert found == _outcome(torch.testing, torch, actual, expected, options)


def test_assert_close_takes_arrays_and_makes_messages():
    testing.assert_close(np.ones(3), np.ones(3))
    with pytest.raises(AssertionError, match=r"^about Tensor-likes"):
        testing.assert_close(np.ones(3), np.zeros(3), msg=lambda text: "about " + text)
    with pytest.warns(FutureWarning, match="assert_allclose"):
        testing.assert_allclose(flambeau.ones(2), flambeau.ones(2).double())


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int64", "float16", "float32", "float64", "complex64"])
def test_make_tensor(dtype):
    kind = getattr(flambeau, dtype)
    t = testing.make_tensor(50, 4, dtype=kind, device="cpu", noncontiguous=True, exclude_zero=True)
    assert t.dtype is kind and t.shape == (50, 4) and not t.is_contiguous() and not bool((t == 0).any())
    if dtype not in ("bool", "complex64"):
        t = testing.make_tensor((200,), dtype=kind, device="cpu", low=2, high=5)
        assert t.min() >= 2 and (t.max() < 5 or dtype == "float16")
    assert testing.make_tensor(0, 3, dtype=kind, device="cpu").shape == (0, 3)


def test_make_tensor_errors():
    for options in (
        {"low": 3, "high": 2},
        {"low": float("nan")},
        {"noncontiguous": True, "memory_format": flambeau.channels_last},
    ):
        with pytest.raises(ValueError):
            testing.make_tensor(2, dtype=flambeau.float32, device="cpu", **options)
    with pytest.raises(ValueError, match="requires_grad"):
        testing.make_tensor(2, dtype=flambeau.int8, device="cpu", requires_grad=True)
    assert testing.make_tensor(2, dtype=flambeau.float32, device="cpu", requires_grad=True).requires_grad
