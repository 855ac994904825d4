"""Bad input: the exception is PyTorch's and names what is wrong, and everything still works afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flambeau
from flambeau.graph.node import Graph

# Each call is wrong; the words must all be in flambeau's message.
CALLS: dict[str, tuple[Callable[[Any], Any], tuple[str, ...]]] = {
    "shapes that do not broadcast": (lambda t: t.ones(2, 3) + t.ones(4), ("3", "4")),
    "in place to a smaller shape": (lambda t: t.ones(3).add_(t.ones(2, 3)), ("[3]", "[2, 3]")),
    "in place to a lower type": (lambda t: t.ones(3, dtype=t.int64).add_(0.5), ("Float", "Long")),
    "matrix product": (lambda t: t.ones(2, 3) @ t.ones(4, 5), ("2x3", "4x5")),
    "matrix product of a matrix and a long vector": (lambda t: t.ones(2, 3) @ t.ones(4), ("3", "4")),
    "batches that differ": (lambda t: t.bmm(t.ones(2, 3, 4), t.ones(3, 4, 5)), ()),
    "types of a matrix product": (lambda t: t.ones(2, 2) @ t.ones(2, 2, dtype=t.float64), ("float32", "float64")),
    "linear": (lambda t: t.nn.functional.linear(t.ones(2, 3), t.ones(4, 5)), ()),
    "convolution channels": (lambda t: t.nn.functional.conv2d(t.ones(1, 3, 8, 8), t.ones(4, 2, 3, 3)), ("3", "2")),
    "kernel larger than the image": (lambda t: t.nn.functional.conv2d(t.ones(1, 1, 2, 2), t.ones(1, 1, 3, 3)), ()),
    "view of another size": (lambda t: t.ones(6).view(4), ("[4]", "6")),
    "view of a transposed tensor": (lambda t: t.ones(2, 3).t().view(6), ()),
    "two unknown sizes": (lambda t: t.ones(6).reshape(-1, -1), ("only one dimension",)),
    "negative size": (lambda t: t.ones(-2), ("-2",)),
    "dimension": (lambda t: t.ones(2, 3).sum(2), ("-2", "1", "2")),
    "dimension twice": (lambda t: t.ones(2, 3).sum((0, 0)), ()),
    "dimension of softmax": (lambda t: t.softmax(t.ones(2, 3), 5), ("5",)),
    "permutation": (lambda t: t.ones(2, 3).permute(0, 0), ()),
    "permutation of too few": (lambda t: t.ones(2, 3).permute(0), ()),
    "expansion": (lambda t: t.ones(2, 3).expand(2, 4), ("3", "4")),
    "index": (lambda t: t.ones(2, 3)[2], ("2",)),
    "negative index": (lambda t: t.ones(2, 3)[:, -4], ("-4",)),
    "too many indices": (lambda t: t.ones(2)[0, 0], ()),
    "index tensor": (lambda t: t.ones(3)[t.tensor([0, 3])], ("3",)),
    "negative index tensor": (lambda t: t.ones(3)[t.tensor([-4])], ()),
    "mask of another shape": (lambda t: t.ones(3)[t.ones(4, dtype=t.bool)], ("[4]", "[3]")),
    "index of floats": (lambda t: t.ones(3)[t.ones(2)], ()),
    "assigning through an index outside": (lambda t: t.zeros(3).__setitem__(t.tensor([5]), 1.0), ()),
    "assigning another shape": (lambda t: t.zeros(3).__setitem__(slice(0, 2), t.ones(3)), ("3", "2")),
    "gather outside": (lambda t: t.ones(2, 3).gather(1, t.tensor([[3], [0]])), ()),
    "gather below": (lambda t: t.ones(2, 3).gather(1, t.tensor([[-1], [0]])), ()),
    "scatter outside": (lambda t: t.zeros(2, 3).scatter_(1, t.tensor([[3]]), 1.0), ()),
    "scatter_add outside": (lambda t: t.zeros(3).scatter_add_(0, t.tensor([7]), t.ones(1)), ()),
    "index_select outside": (lambda t: t.ones(3).index_select(0, t.tensor([3])), ()),
    "index_add outside": (lambda t: t.zeros(3, 2).index_add_(0, t.tensor([3]), t.ones(1, 2)), ("3",)),
    "index_put outside": (lambda t: t.zeros(3).index_put_((t.tensor([-4]),), t.ones(1)), ()),
    "take outside": (lambda t: t.take(t.ones(3), t.tensor([3])), ()),
    "embedding outside": (lambda t: t.nn.functional.embedding(t.tensor([4]), t.ones(4, 2)), ()),
    "class outside": (lambda t: t.nn.functional.cross_entropy(t.ones(2, 3), t.tensor([0, 3])), ()),
    "targets of another batch": (
        lambda t: t.nn.functional.cross_entropy(t.ones(2, 3), t.tensor([0, 1, 1])),
        ("2", "3"),
    ),
    "concatenating shapes": (lambda t: t.cat([t.ones(2, 3), t.ones(2, 4)]), ("3", "4")),
    "concatenating nothing": (lambda t: t.cat([]), ()),
    "stacking shapes": (lambda t: t.stack([t.ones(2), t.ones(3)]), ("[2]", "[3]")),
    "splitting": (lambda t: t.ones(5).split([2, 2]), ("5",)),
    "as_strided outside": (lambda t: t.ones(4).as_strided((3, 3), (2, 1)), ()),
    "narrow outside": (lambda t: t.ones(4).narrow(0, 3, 2), ()),
    "maximum of nothing": (lambda t: t.ones(0).max(), ()),
    "item of many": (lambda t: t.ones(2).item(), ("2",)),
    "truth of many": (lambda t: bool(t.ones(2)), ()),
    "ragged list": (lambda t: t.tensor([[1, 2], [3]]), ()),
    "a list of text": (lambda t: t.tensor(["a"]), ()),
    "no tensor": (lambda t: t.exp(1.0), ()),
    "text for a number": (lambda t: t.ones(2) + "a", ()),
    "a subtraction of bools": (lambda t: t.ones(2, dtype=t.bool) - t.ones(2, dtype=t.bool), ()),
    "integers that require grad": (lambda t: t.ones(2, dtype=t.int64, requires_grad=True), ()),
    "backward of many": (lambda t: t.ones(2, requires_grad=True).mul(2).backward(), ()),
    "backward without grad": (lambda t: t.ones(()).backward(), ()),
    "numpy of what requires grad": (lambda t: t.ones(2, requires_grad=True).numpy(), ("detach",)),
    "numpy on meta": (lambda t: t.ones(2, device="meta").numpy(), ()),
    "two devices": (lambda t: t.ones(2) + t.ones(2, device="meta"), ("cpu", "meta")),
    "unknown device": (lambda t: t.ones(2, device="quantum"), ("quantum",)),
    "dropout probability": (lambda t: t.nn.functional.dropout(t.ones(2), 1.5), ("1.5",)),
    "state_dict of another model": (
        lambda t: t.nn.Linear(2, 3).load_state_dict({"weight": t.ones(3, 4), "bais": t.ones(3)}),
        ("weight", "bais", "bias"),
    ),
    "layer of another size": (lambda t: t.nn.Linear(2, 3)(t.ones(4, 5)), ()),
    "batch norm of one value": (lambda t: t.nn.BatchNorm1d(2)(t.ones(1, 2)), ()),
}


def _error(call: Callable[[Any], Any], package: Any) -> Exception | None:
    try:
        call(package)
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("name", CALLS)
def test_wrong_calls_raise_what_pytorch_raises(name: str) -> None:
    torch = pytest.importorskip("torch")
    call, words = CALLS[name]
    ours, theirs = _error(call, flambeau), _error(call, torch)
    assert theirs is not None, "the reference accepts this"
    assert ours is not None, f"no error; PyTorch raises {theirs!r}"
    assert type(ours).__name__ == type(theirs).__name__, f"{ours!r} instead of {theirs!r}"
    assert all(word.lower() in str(ours).lower() for word in words), str(ours)
    assert str(ours)


def test_a_deferred_error_stays_with_its_value() -> None:
    lookup = flambeau.compile(lambda table, index: table[index] * 2)
    bad = lookup(flambeau.ones(3), flambeau.tensor([5]))
    for _ in range(2):
        with pytest.raises(IndexError, match="out of range"):
            bad.tolist()
    assert lookup(flambeau.ones(3), flambeau.tensor([2])).tolist() == [2]
    with pytest.raises(IndexError):
        (bad + 1).sum().item()


def test_a_failed_write_leaves_the_target_alone() -> None:
    target = flambeau.zeros(4)
    index = flambeau.tensor([0, 1, 9])
    for write in (
        lambda: target.index_put_((index,), flambeau.ones(3)),
        lambda: target.scatter_(0, index, 1.0),
        lambda: target.index_add_(0, index, flambeau.ones(3)),
        lambda: target.index_copy_(0, index, flambeau.ones(3)),
        lambda: target.add_(flambeau.ones(5)),
    ):
        with pytest.raises((IndexError, RuntimeError)):
            write()
        assert target.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("size", [1 << 50, 1 << 61])
def test_memory_that_does_not_exist(size: int) -> None:
    before = flambeau.ones(1000)
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        flambeau.empty(size)
    if size < 1 << 60:  # beyond, the number of bytes is no 64-bit integer
        assert isinstance(caught.value, MemoryError)
        assert str(4 * size) in str(caught.value).replace(",", "").replace("_", "")
    assert (before + 1).sum().item() == 2000


# The cache of kernels ----------------------------------------------------------------------------------

PROGRAM = """
import flambeau
from flambeau.graph.node import Graph
x = flambeau.arange(12.0).reshape(3, 4)
print(flambeau.softmax(x, 1).sum().item(), (x @ x.t()).sum().item())
"""


def _run(cache: Path) -> tuple[str, str]:
    environment = {
        **os.environ,
        "FLAMBEAU_CACHE_DIR": str(cache),
        "FLAMBEAU_DEBUG": "1",
        "PYTHONPATH": str(Path(flambeau.__file__).parent.parent),
    }
    command = [sys.executable, "-W", "always", "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


def test_a_damaged_cache_costs_a_compilation(tmp_path: Path) -> None:
    cache = tmp_path / "kernels"
    expected, first = _run(cache)
    assert first.count("flambeau: compiled ") > 3
    again, second = _run(cache)
    assert again == expected
    assert "flambeau: compiled " not in second
    rng = np.random.default_rng(0)
    files = [path for path in cache.rglob("*") if path.is_file()]
    for number, path in enumerate(files):
        content = bytearray(path.read_bytes())
        if number % 3 == 0:
            content = content[: len(content) // 2]
        elif number % 3 == 1:
            content = bytearray()
        else:
            content[int(rng.integers(len(content)))] ^= 0x10
        path.write_bytes(content)
    healed, third = _run(cache)
    assert healed == expected
    assert "flambeau: compiled " in third
    assert "flambeau: compiled " not in _run(cache)[1]


def test_a_cache_that_cannot_be_written_costs_a_warning(tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("not a folder")
    _, errors = _run(occupied / "kernels")
    assert errors.count("Warning") == 1


def test_vectors_of_other_sizes_are_never_read_beyond_their_end() -> None:
    x = flambeau.ones(2, 33, 1, 1)
    for weight in (flambeau.ones(5), flambeau.ones(66), flambeau.ones(1, 33)):
        with pytest.raises(RuntimeError, match=r"33|\[1, 33\]"):
            flambeau.native_batch_norm(x, weight, None, None, None, True, 0.1, 1e-5)
    with pytest.raises(RuntimeError, match="running_var should contain 33 elements not 2"):
        flambeau.native_batch_norm(x, None, None, flambeau.ones(33), flambeau.ones(2), True, 0.1, 1e-5)


def test_negative_sizes_are_refused() -> None:
    x = flambeau.ones(5, 1, 5)
    for call in (
        lambda: x.expand(5, -5, 5), lambda: x.expand(-2, 5, 1, 5), lambda: flambeau.expand_copy(x, (5, -5, 5)),
        lambda: flambeau.broadcast_to(x, (5, -5, 5)), lambda: flambeau.empty_strided((2, -2), (1, 1)),
        lambda: flambeau.compile(lambda: flambeau.expand_copy(x, (5, -5, 5)))(),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match=r"-5|-2"):
            call()


def test_a_running_sum_that_nobody_reads() -> None:
    five = flambeau.tensor(5.0)
    for mask, wanted in ((True, 5.0), (False, 3.0)):
        assert flambeau.tensor(3.0).masked_scatter(flambeau.tensor(mask), five).item() == wanted


def test_powers_of_numbers_that_are_not_finite() -> None:
    x = [0.0, 0.5, 1.0, -2.0, -1.0, float("inf"), float("-inf"), float("nan")]
    for exponent in (float("inf"), float("-inf"), float("nan"), 1e300):
        with np.errstate(all="ignore"):
            wanted = np.power(np.float32(x), np.float32(exponent))
        np.testing.assert_array_equal(flambeau.tensor(x).pow(exponent).numpy(), wanted)
        np.testing.assert_array_equal((flambeau.tensor([0, 1]) ** exponent).numpy(), wanted[[0, 2]])


def test_no_kernel_leaves_its_operands() -> None:
    graph = Graph()
    x = graph.input(0, (3, 4), (4, 1), "f32")
    assert graph.move(x, ((2, ((0, -1),)), (1, ((1, 1),))), (3, 3)).shape == (3, 3)
    for map_, shape in (
        (((0, ((0, 1),)), (0, ((1, 1),))), (4, 4)), (((0, ((0, -1),)), (0, ())), (2,)), (((3, ()), (0, ())), ()),
        (((0, ()),), (2,)),
    ):  # fmt: skip
        with pytest.raises(RuntimeError, match="do not fit"):
            graph.move(x, map_, shape)
    assert graph.move(x, ((5, ((0, 1),)), (0, ())), (0,)).shape == (0,)


def test_operands_that_are_no_tensors_or_numbers_are_named() -> None:
    with pytest.raises(TypeError, match="operand 1 must be Tensor, not NoneType"):
        flambeau.einsum(flambeau.ones(2), [0], None, [0])
    with pytest.raises(TypeError, match="operand 0 must be Tensor, not NoneType"):
        flambeau.einsum(None, (0, 2))
    with pytest.raises(TypeError, match=r"logspace\(\): argument 'end' must be a number or a Tensor, not str"):
        flambeau.logspace(0, "a", 3)
    with pytest.raises(TypeError, match=r"linspace\(\): argument 'start' must be a number or a Tensor, not NoneType"):
        flambeau.linspace(None, 1, 3)
