"""Random programs of operators, views and writes in place: values, gradients and second derivatives as PyTorch's."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from autograd_programs import same
from hypothesis import given, settings
from hypothesis import strategies as st

import flambeau

torch = pytest.importorskip("torch")

STEPS = ("add", "mul", "select", "slice", "transpose", "reshape", "add_", "mul_", "sin_", "exp_", "copy_", "no_grad")


class Item(NamedTuple):
    tensor: Any
    family: int  # tensors of one family share memory


Step = tuple[str, int, int]
programs = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=12)


def step(package: Any, pool: list[Item], name: str, i: int, j: int) -> None:
    """One instruction; PyTorch's RuntimeError for shapes that do not fit is part of what is compared."""
    t, family = pool[i % len(pool)]
    other = pool[j % len(pool)]
    # What is read while it is written is not defined in PyTorch.
    u = other.tensor.clone() if other.family == family else other.tensor
    if name == "add":
        pool.append(Item(t + u, len(pool)))
    elif name == "mul":
        pool.append(Item(t * u, len(pool)))
    elif name == "select" and t.dim():
        pool.append(Item(t[j % t.shape[0]], family))
    elif name == "slice" and t.dim() and t.shape[-1] > 1:
        pool.append(Item(t[..., 1:], family))
    elif name == "transpose" and t.dim() > 1:
        pool.append(Item(t.transpose(0, -1), family))
    elif name == "reshape":
        pool.append(Item(t.clone().reshape(-1), len(pool)))
    elif name == "add_":
        t.add_(u)
    elif name == "mul_":
        t.mul_(u)
    elif name == "sin_":
        t.sin_()
    elif name == "exp_":
        t.mul_(0.1)
        t.exp_()
    elif name == "copy_":
        t.copy_(u)
    elif name == "no_grad":
        with package.no_grad():
            t.add_(0.5)


def run(package: Any, program: list[Step]) -> Any:
    leaves = [
        package.tensor(values.tolist(), dtype=package.float64, requires_grad=True)
        for values in np.random.default_rng(1).uniform(0.5, 1.5, (2, 3, 4))
    ]
    pool = [Item(x * 1, n) for n, x in enumerate(leaves)]
    seen: list[Any] = []
    for name, i, j in program:
        try:
            step(package, pool, name, i, j)
        except RuntimeError:
            seen.append(name)
    try:
        loss = sum((item.tensor * (n + 1)).sum() for n, item in enumerate(pool))
        first = package.autograd.grad(loss, leaves, create_graph=True, materialize_grads=True)
        seen.append([x.detach().numpy() for x in first])
        squares = sum((x * x).sum() for x in first)
        if squares.requires_grad:
            second = package.autograd.grad(squares, leaves, materialize_grads=True)
            seen.append([x.detach().numpy() for x in second])
    except RuntimeError as error:
        seen.append(str(error).split("[")[0])  # not the node, which PyTorch names AsStrided for any view
    seen.append([item.tensor.detach().numpy() for item in pool])
    seen.append([item.tensor.requires_grad for item in pool])
    seen.append([item.tensor._version for item in pool])
    return seen


@settings(max_examples=40)
@given(programs)
def test_same_as_pytorch(program: list[Step]) -> None:
    expected, found = run(torch, program), run(flambeau, program)
    assert same(expected, found), f"PyTorch: {expected}\nflambeau: {found}"
