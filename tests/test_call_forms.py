"""Calls in every form that PyTorch takes: by keyword, by other names, with factors among the tensors."""

from __future__ import annotations

import inspect
import warnings

import pytest

import flambeau

torch = pytest.importorskip("torch")

CALLS = """
m.zeros(size=(2, 3)) | m.ones(size=(2,)) | m.empty(size=(2,)).fill_(1) | m.full(size=(2,), fill_value=3)
m.arange(6.).expand(size=(2, 6)) | m.arange(6.).reshape(shape=(2, 3)) | m.arange(6.).view(size=(2, 3))
m.ones(2, 3).permute(dims=(1, 0)) | m.arange(end=3) | m.arange(start=1, end=3) | m.clone(m.ones(2, 3).t())
m.clone(m.ones(2, 3).t(), memory_format=m.contiguous_format) | m.norm(m.arange(6.), 2, 0, False, None, m.float64)
m.norm(m.arange(6.), p=1, out=m.empty(())) | m.max(m.arange(3.), m.tensor([2., 0, 1])) | m.min(m.arange(3.), 0)
m.max(m.arange(3.), other=m.tensor([2., 0, 1])) | m.max(m.arange(3.), dim=0) | m.max(m.ones(2, 3), axis=1)
m.arange(4).hsplit(sections=2) | m.arange(4).hsplit(indices=[1]) | m.tensor_split(m.arange(5), sections=2)
m.tensor_split(m.arange(5), indices=[2, 3]) | m.arange(5.).tensor_split(2) | m.ones(4, 2).vsplit(sections=2)
m.view_copy(m.ones(2), dtype=m.int32) | m.view_copy(m.ones(2), (2, 1)) | m.view_copy(m.ones(2), m.int32)
m.result_type(tensor=m.ones(1), other=1) | m.result_type(scalar1=1, scalar2=1.5) | m.result_type(1, m.ones(1).int())
m.arange(6.).index_reduce_(0, m.tensor([0]), source=m.ones(1) * 5, reduce="amax")
m.arange(4).unsafe_split(split_size=2)
m.ones(2, 3, 4).dim_order(ambiguity_check=True) | m.ones(2, 3).dim_order() | m.abs_(input=m.tensor([-1.]))
m.clamp_(m.arange(3.), max=1) | m.as_strided_(m.arange(4.), (2,), (1,)) | m.zero_(input=m.ones(2))
m.add(m.ones(2), 3, m.ones(2)) | m.ones(2).add(3, m.ones(2)) | m.ones(2).add_(3, m.ones(2))
m.ones(2).sub_(3, m.ones(2)) | m.sub(m.ones(2), 2, m.ones(2)) | m.ones(2).addcmul_(.5, m.ones(2), m.arange(2.))
m.addcdiv(m.ones(2), 2, m.arange(2.), m.ones(2) * 4) | m.addcmul(m.ones(2), 2, m.arange(2.), m.arange(2.))
m.addmm(2, m.ones(2, 2), m.eye(2), m.eye(2)) | m.addmm(2, m.ones(2, 2), 3, m.eye(2), m.eye(2))
m.ones(2, 2).addmm_(2, 3, m.eye(2), m.eye(2)) | m.ones(2, 2).addmm(2, m.eye(2), m.eye(2))
m.ones(2).addmv(.5, 2, m.eye(2), m.ones(2)) | m.addr(.5, m.ones(2, 2), 2, m.ones(2), m.ones(2))
m.baddbmm(.5, m.ones(1, 2, 2), 2, m.ones(1, 2, 2), m.ones(1, 2, 2))
m.ones(2, 2).addbmm(.5, m.ones(3, 2, 2), m.ones(3, 2, 2))
"""


def _plain(value):
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return (str(value.dtype), value.tolist()) if hasattr(value, "tolist") else str(value)


@pytest.mark.parametrize("call", [c.strip() for line in CALLS.strip().splitlines() for c in line.split(" | ")])
def test_call(call):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted, found = (eval(call, {"m": m}) for m in (torch, flambeau))
    assert _plain(found) == _plain(wanted)


def test_factors_among_tensors_warn_once_and_keep_gradients():
    x, y = flambeau.ones(2, requires_grad=True), flambeau.ones(2, requires_grad=True)
    from flambeau.dispatch import argument_aliases

    argument_aliases._warned.clear()
    with pytest.warns(UserWarning, match="add is deprecated: give alpha"):
        flambeau.add(x, 3, y).sum().backward()
    assert y.grad.tolist() == [3, 3]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flambeau.add(x, 2, y)


@pytest.mark.parametrize(
    "call",
    [
        "m.add(m.ones(2), m.ones(2), m.ones(2))", "m.add(m.ones(2), 1, 2, m.ones(2))", "m.zeros(2, shape=3)",
        "m.ones(2).reshape(size=2)", "m.result_type(1)", "m.result_type(1, typ=2)", "m.tensor_split(m.ones(2))",
        "m.ones(2).dim_order(ambiguity_check=3)", "m.normal(1., 2.)",
    ],
)  # fmt: skip
def test_wrong_calls_are_type_errors(call):
    with pytest.raises(TypeError):
        eval(call, {"m": flambeau})


def test_ambiguous_order_is_refused():
    with pytest.raises(RuntimeError, match="unique dim order"):
        flambeau.ones(2, 1).dim_order(ambiguity_check=True)


def test_signatures_tell_the_call_forms():
    assert next(iter(inspect.signature(flambeau.exp_).parameters)) == "input"
    assert flambeau.max.__doc__.startswith("max(input, *, out=None) -> Tensor\nmax(input, dim=None, keepdim=False")
    assert flambeau.Tensor.max.__doc__.startswith("max(*, out=None)") or "max(dim" in flambeau.Tensor.max.__doc__


def test_other_names_of_a_function_are_functions_of_their_own():
    assert flambeau.multiply is not flambeau.mul and flambeau.multiply.__name__ == "multiply"
    assert flambeau.multiply(flambeau.tensor(2), 3).item() == 6
    assert flambeau.concatenate([flambeau.ones(1, 2)] * 2, axis=1).shape == (1, 4)
    assert flambeau.concatenate([flambeau.ones(1, 2)] * 2, dim=1).shape == (1, 4)
    assert flambeau.pow(self=2.0, exponent=flambeau.tensor(3.0)).item() == 8


def test_views_that_take_sizes_tell_their_calls():
    assert flambeau.Tensor.view.__doc__.startswith("view(*shape) -> Tensor\nview(shape) -> Tensor\nview(dtype)")
    assert list(inspect.signature(flambeau.Tensor.transpose_).parameters) == ["input", "dim0", "dim1"]
    x = flambeau.ones(2, 3, dtype=flambeau.float64)
    assert x.to(flambeau.float32, False, True, flambeau.contiguous_format).dtype is flambeau.float32
    assert flambeau.finfo(dtype=flambeau.float16).bits == flambeau.finfo(type=flambeau.float16).bits == 16
    with pytest.raises(TypeError, match="missing 1 required"):
        flambeau.iinfo()


@pytest.mark.parametrize("name", ["mm", "bmm"])
def test_products_of_half_precision_that_are_not_rounded(name):
    shape = (2, 3, 4) if name == "bmm" else (3, 4)
    a = flambeau.randn(shape).bfloat16().requires_grad_()
    b = flambeau.randn(shape).mT.bfloat16().requires_grad_()
    found = getattr(flambeau, name)(a, b, out_dtype=flambeau.float32)
    exact = getattr(flambeau, name)(a.detach().double(), b.detach().double())
    assert found.dtype is flambeau.float32
    flambeau.testing.assert_close(found.double(), exact, rtol=1e-6, atol=1e-5)
    found.sum().backward()
    assert a.grad.dtype is flambeau.bfloat16
    wide = b.detach().double().sum(-1)
    flambeau.testing.assert_close(a.grad.double(), wide.unsqueeze(-2).expand(a.shape), rtol=1e-2, atol=1e-2)
    with pytest.raises(RuntimeError, match="out_dtype"):
        getattr(flambeau, name)(a.float(), b.float(), out_dtype=flambeau.float64)


def test_results_that_are_given():
    x = flambeau.randn(5, 2)
    hist, edges = flambeau.empty(0), [flambeau.empty(0), flambeau.empty(0)]
    found = flambeau.histogramdd(x, [2, 3], out=(hist, edges))
    assert found.hist is hist and hist.shape == (2, 3) and hist.sum() == 5 and edges[1].shape == (4,)
    pair = flambeau.empty(2), flambeau.empty(2)
    flambeau.var_mean(x, 0, out=pair)
    flambeau.testing.assert_close(pair[1], x.mean(0))
    out = flambeau.empty(2, 2)
    assert flambeau.sparse.mm(x.t().to_sparse(), x, out=out) is out
    flambeau.testing.assert_close(out, x.t() @ x)
    assert x.to_sparse(sparseDims=1).sparse_dim() == 1
