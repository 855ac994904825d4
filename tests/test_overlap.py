"""Calls in place on memory that they also read are refused as PyTorch refuses them, and never computed half-way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import flambeau as torch

REFUSED: dict[str, Callable[[torch.Tensor], object]] = {
    "transposed": lambda y: y.add_(y.t()), "through data": lambda y: y.data.add_(y.t()),
    "into data": lambda y: y.add_(y.t().data), "rows": lambda y: y[1:].mul_(y[:-1]), "row": lambda y: y.add_(y[0]),
    "element": lambda y: y.sub_(y[0, 0]), "copy": lambda y: y.copy_(y.t()), "slices": lambda y: y[1:].copy_(y[:-1]),
    "lerp": lambda y: y.lerp_(y.t(), 0.5), "addcmul": lambda y: y.addcmul_(y.t(), y),
    "comparison": lambda y: y.gt_(y.t()), "quotient": lambda y: y[1:].div_(y[:-1]),
    "rounded quotient": lambda y: y[1:].div_(y[:-1], rounding_mode="floor"), "power": lambda y: y.pow_(y.t()),
    "logic": lambda y: y.logical_and_(y.t()), "put": lambda y: y[1:].put_(torch.arange(12), y[:-1]),
    "index_add": lambda y: y[1:].index_add_(0, torch.arange(3), y[:-1]),
    "index_copy": lambda y: y[1:].index_copy_(0, torch.arange(3), y[:-1]),
    "scatter": lambda y: y[1:].scatter_(0, torch.zeros(3, 4, dtype=torch.int64), y[:-1]),
    "scatter_add": lambda y: y[1:].scatter_add_(0, torch.zeros(3, 4, dtype=torch.int64), y[:-1]),
    "index_put": lambda y: y[1:].index_put_((torch.arange(3),), y[:-1]),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    for run in (REFUSED[name], torch.compile(REFUSED[name])):
        y = torch.arange(16.0).reshape(4, 4)
        for _ in range(3):
            with pytest.raises(RuntimeError, match="refer to a single memory location"):
                run(y)
        assert y.tolist() == torch.arange(16.0).reshape(4, 4).tolist()


def test_what_does_not_meet_is_computed() -> None:
    y = torch.arange(16.0).reshape(4, 4)
    assert y[:, ::2].add_(y[:, 1::2]).tolist() == [[1, 5], [9, 13], [17, 21], [25, 29]]
    assert y[:2].add_(y[2:])[0].tolist() == [18, 10, 26, 14]
    assert y.add_(y)[3].tolist() == [50, 26, 58, 30]
    assert y.data.add_(y)[3].tolist() == [100, 52, 116, 60]


def test_fills_write_the_elements_of_expanded_tensors_once() -> None:
    base = torch.arange(3.0)
    wide = base.unsqueeze(1).expand(3, 4)
    mask = torch.zeros(3, 4, dtype=torch.bool)
    mask[1, 2] = True
    assert wide.masked_fill_(mask, 9.0) is wide and base.tolist() == [0, 9, 2]
    base.expand(2, 3)[torch.tensor([[True, False, False], [False, False, True]])] = 7.0
    assert base.tolist() == [7, 9, 7]
    version = base._version
    assert wide.fill_(4.0).tolist() == [[4.0] * 4] * 3 and base.tolist() == [4, 4, 4] and base._version > version
    wide.zero_()
    assert base.tolist() == [0, 0, 0]
    one = torch.zeros(1, 1)
    assert one.expand(3, 3).fill_diagonal_(2.0).tolist() == [[2.0] * 3] * 3 and one.tolist() == [[2.0]]


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("fill_", lambda: torch.zeros(5).as_strided((3, 3), (1, 1)).fill_(1.0)),
        ("add_", lambda: torch.zeros(1).expand(4).add_(1)),
        ("scatter_", lambda: torch.zeros(1).expand(4).scatter_(0, torch.arange(4), torch.ones(4))),
        ("scatter_", lambda: torch.zeros(1).expand(4).scatter_(0, torch.arange(4), 1.0)),
        ("scatter_", lambda: torch.zeros(1).expand(4).scatter_(0, torch.arange(4), torch.ones(4), reduce="add")),
        ("index_put_", lambda: torch.zeros(1).expand(4).index_put_((torch.arange(4),), torch.ones(4))),
        ("masked_scatter_", lambda: torch.zeros(1).expand(4).masked_scatter_(torch.ones(4) > 0, torch.ones(4))),
    ],
)
def test_other_writes_to_an_element_that_stands_for_several_are_refused(name: str, write: Callable[[], object]) -> None:
    with pytest.raises(RuntimeError, match=f"^{name}: unsupported operation: more than one element"):
        write()
