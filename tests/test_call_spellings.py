"""Other names and places of arguments, as PyTorch's documentation has them; results written to ``out``."""

from __future__ import annotations

import pytest

import flambeau


def test_other_names_of_arguments():
    x, m = flambeau.tensor([1.0, 2, 3]), flambeau.eye(3) * 2
    assert flambeau.equal(x.mul(value=2), x * 2) and flambeau.equal(
        x.div(value=2, rounding_mode="floor"), (x / 2).floor()
    )
    assert flambeau.equal(flambeau.bitwise_and(flambeau.tensor([3]), x2=flambeau.tensor([1])), flambeau.tensor([1]))
    assert flambeau.equal(flambeau.cholesky_solve(B=m, L=m), flambeau.cholesky_solve(m, m))
    assert flambeau.equal(x.narrow(dimension=0, start=1, length=2), x[1:])
    assert flambeau.equal(x.type_as(tensor=flambeau.ones(1, dtype=flambeau.int64)), flambeau.tensor([1, 2, 3]))
    index = flambeau.tensor([[0, 1, 2]])
    assert flambeau.equal(flambeau.gather(m, axis=0, index=index), flambeau.gather(m, 0, index))
    assert flambeau.equal(flambeau.true_divide(dividend=x, divisor=2), x / 2)
    for call in (x.mul, x.bitwise_and, lambda: flambeau.cholesky_solve(m), lambda: flambeau.gather(m, 0)):
        with pytest.raises(TypeError):
            call()


def test_keywords_by_position():
    x = flambeau.tensor([1.5, 2.25])
    assert x.sum(0, False, flambeau.float64).dtype is flambeau.float64
    assert x.cumsum(0, flambeau.float64).dtype is flambeau.float64
    assert flambeau.equal(x.round(1), flambeau.round(x, decimals=1))
    assert flambeau.equal(flambeau.nn.functional.gelu(x, "tanh"), flambeau.nn.functional.gelu(x, approximate="tanh"))


def test_calls_are_in_the_docstring():
    assert flambeau.Tensor.mul.__doc__.startswith("mul(other) -> Tensor\nmul(value) -> Tensor\n")


def test_results_in_out_have_their_own_class():
    x = flambeau.randn(3, 4)
    out = flambeau.empty(3), flambeau.empty(3, dtype=flambeau.int64)
    found = flambeau.max(x, 1, out=out)
    assert type(found).__name__ == "max_out" and found.values is out[0]
    assert type(flambeau.max(x, 1)) is flambeau.return_types.max
    assert flambeau.return_types.max((1, 2)).indices == 2
    assert flambeau.return_types.max_out in flambeau.return_types.all_return_types


def test_map2_and_index():
    x = flambeau.ones(2)
    assert x.map2_(flambeau.ones(2), flambeau.ones(2), lambda a, b, c: a + b + c).tolist() == [3, 3]
    m = flambeau.arange(6).reshape(2, 3)
    assert flambeau.equal(m.index(flambeau.tensor([2, 0]), 1), m[:, [2, 0]])
    with pytest.raises(AttributeError):
        m.__cuda_array_interface__
