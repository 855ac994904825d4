"""Datasets, samplers, collation and the loader in one process, against PyTorch's."""

from __future__ import annotations

import collections
import copy
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import flambeau as fl
from flambeau.utils import data
from flambeau.utils.data import distributed

torch = pytest.importorskip("torch")
theirs = torch.utils.data

Point = collections.namedtuple("Point", "x y")


class Squares(data.Dataset):
    """The squares of small numbers."""

    def __init__(self, size: int = 10) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        return index * index


class Stream(data.IterableDataset):
    def __init__(self, size: int = 7, said: int | None = None) -> None:
        self.size, self.said = size, said

    def __iter__(self) -> Any:
        return iter(range(self.size))

    def __len__(self) -> int:
        return self.size if self.said is None else self.said


def plain(value: Any) -> Any:
    """Tensors of either package as types, shapes and lists."""
    if isinstance(value, (fl.Tensor, torch.Tensor)):
        return (str(value.dtype), tuple(value.shape), value.tolist())
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(plain, value))
    if isinstance(value, (list, tuple)):
        return type(value)(map(plain, value))
    return value


# -- datasets --------------------------------------------------------------------------------------
def test_dataset_wants_items() -> None:
    with pytest.raises(NotImplementedError, match="__getitem__"):
        data.Dataset()[0]


def test_concatenation() -> None:
    both = Squares(3) + Squares(4)
    assert isinstance(both, data.ConcatDataset) and len(both) == 7 and both.cumulative_sizes == [3, 7]
    assert [both[i] for i in range(7)] == [0, 1, 4, 0, 1, 4, 9] and both[-1] == 9 and both[-7] == 0
    with pytest.raises(ValueError, match="absolute value of index"):
        both[-8]
    with pytest.raises(AssertionError, match="empty"):
        data.ConcatDataset([])
    with pytest.raises(AssertionError, match="IterableDataset"):
        data.ConcatDataset([Stream()])


def test_chain() -> None:
    chained = Stream(2) + Stream(3)
    assert isinstance(chained, data.ChainDataset) and list(chained) == [0, 1, 0, 1, 2] and len(chained) == 5
    with pytest.raises(AssertionError, match="IterableDataset"):
        list(data.ChainDataset([Squares()]))


def test_stack() -> None:
    pairs = data.StackDataset(Squares(3), data.Subset(Squares(), [5, 6, 7]))
    assert len(pairs) == 3 and pairs[1] == (1, 36) and pairs.__getitems__([0, 2]) == [(0, 25), (4, 49)]
    named = data.StackDataset(a=Squares(3), b=Squares(3))
    assert named[2] == {"a": 4, "b": 4} and named.__getitems__([1]) == [{"a": 1, "b": 1}]
    for make in (
        lambda: data.StackDataset(),
        lambda: data.StackDataset(Squares(2), Squares(3)),
        lambda: data.StackDataset(Squares(2), b=Squares(2)),
    ):
        with pytest.raises(ValueError):
            make()


def test_subset() -> None:
    subset = data.Subset(Squares(), [3, 1, 4])
    assert len(subset) == 3 and subset[0] == 9 and subset.__getitems__([2, 1]) == [16, 1]


def test_tensor_dataset() -> None:
    dataset = data.TensorDataset(fl.arange(6).reshape(3, 2), fl.arange(3))
    assert len(dataset) == 3 and plain(dataset[1]) == plain(
        theirs.TensorDataset(torch.arange(6).reshape(3, 2), torch.arange(3))[1]
    )
    with pytest.raises(AssertionError, match="Size mismatch"):
        data.TensorDataset(fl.arange(3), fl.arange(4))


@pytest.mark.filterwarnings("ignore:Length of split")
@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 2**31))
def test_random_split_as_pytorch(first: int, second: int, seed: int) -> None:
    parts = data.random_split(Squares(first + second), [first, second], fl.Generator().manual_seed(seed))
    reference = theirs.random_split(range(first + second), [first, second], torch.Generator().manual_seed(seed))
    assert [part.indices for part in parts] == [part.indices for part in reference]


def test_random_split_by_fractions() -> None:
    for fractions in ([0.5, 0.5], [0.1, 0.2, 0.7], [1.0], [0.999, 0.001]):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ours = [len(part) for part in data.random_split(Squares(11), fractions)]
            assert ours == [len(part) for part in theirs.random_split(range(11), fractions)]
    with pytest.warns(UserWarning, match="Length of split at index 1 is 0"):
        data.random_split(Squares(3), [1.0, 0.0])
    with pytest.raises(ValueError, match="Sum of input lengths"):
        data.random_split(Squares(3), [1, 1])
    with pytest.raises(ValueError, match="between 0 and 1"):
        data.random_split(Squares(3), [1.5, -0.5])


# -- samplers --------------------------------------------------------------------------------------
SAMPLERS = {
    "sequential": lambda d: d.SequentialSampler(range(7)),
    "random": lambda d: d.RandomSampler(range(37)),
    "random more": lambda d: d.RandomSampler(range(5), num_samples=13),
    "random fewer": lambda d: d.RandomSampler(range(50), num_samples=4),
    "random again": lambda d: d.RandomSampler(range(9), replacement=True, num_samples=75),
    "random exact": lambda d: d.RandomSampler(range(9), replacement=True, num_samples=64),
    "subset": lambda d: d.SubsetRandomSampler([5, 3, 8, 1]),
    "weighted": lambda d: d.WeightedRandomSampler([0.1, 0.0, 3, 0.5], 9),
    "weighted once": lambda d: d.WeightedRandomSampler([0.1, 0.2, 3, 0.5], 3, replacement=False),
    "batch": lambda d: d.BatchSampler(d.RandomSampler(range(11)), 4, False),
    "batch dropped": lambda d: d.BatchSampler(d.RandomSampler(range(11)), 4, True),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_draw_what_pytorch_draws(name: str) -> None:
    for seed in (0, 5):
        fl.manual_seed(seed)
        torch.manual_seed(seed)
        ours, reference = SAMPLERS[name](data), SAMPLERS[name](theirs)
        for _ in range(2):
            assert list(ours) == list(reference)
        assert len(ours) == len(reference)
        assert fl.rand(1).item() == torch.rand(1).item()


def test_samplers_with_a_generator() -> None:
    for make in (
        lambda d, g: d.RandomSampler(range(9), generator=g),
        lambda d, g: d.RandomSampler(range(9), replacement=True, generator=g),
        lambda d, g: d.SubsetRandomSampler(range(9), generator=g),
        lambda d, g: d.WeightedRandomSampler([1.0, 2.0], 5, generator=g),
    ):
        ours, reference = make(data, fl.Generator().manual_seed(3)), make(theirs, torch.Generator().manual_seed(3))
        assert [list(ours), list(ours)] == [list(reference), list(reference)]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: data.RandomSampler(range(3), replacement=1), TypeError),
        (lambda: data.RandomSampler(range(3), num_samples=-1), ValueError),
        (lambda: data.RandomSampler(range(3), num_samples=1.5), ValueError),
        (lambda: data.WeightedRandomSampler([1.0], 0), ValueError),
        (lambda: data.WeightedRandomSampler([1.0], True), ValueError),
        (lambda: data.WeightedRandomSampler([[1.0]], 1), ValueError),
        (lambda: data.WeightedRandomSampler([1.0], 1, replacement=1), ValueError),
        (lambda: data.BatchSampler(range(3), 0, False), ValueError),
        (lambda: data.BatchSampler(range(3), True, False), ValueError),
        (lambda: data.BatchSampler(range(3), 2, 1), ValueError),
    ],
)
def test_samplers_refuse(make: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


def test_an_empty_dataset_can_be_shuffled() -> None:
    assert list(data.DataLoader(Squares(0), shuffle=True)) == []


@pytest.mark.parametrize("size", [0, 1, 3, 10, 11])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_distributed_sampler(size: int, drop_last: bool, shuffle: bool) -> None:
    for rank in range(4):
        options = {"num_replicas": 4, "rank": rank, "shuffle": shuffle, "seed": 9, "drop_last": drop_last}
        ours = data.DistributedSampler(Squares(size), **options)
        if size:
            reference = theirs.DistributedSampler(range(size), **options)
            for epoch in (0, 3):
                ours.set_epoch(epoch)
                reference.set_epoch(epoch)
                assert list(ours) == list(reference) and len(ours) == len(reference)
        else:
            assert list(ours) == []


def test_distributed_sampler_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="Invalid rank 2"):
        data.DistributedSampler(Squares(), 2, 2)
    with pytest.raises(RuntimeError, match="process group"):
        data.DistributedSampler(Squares())
    monkeypatch.setattr(distributed, "_process_group", [lambda: (3, 1)])
    assert list(data.DistributedSampler(Squares(6), shuffle=False)) == [1, 4]


# -- collation -------------------------------------------------------------------------------------
def batches(package: Any) -> list[Any]:
    """Lists of samples made of a package's tensors."""
    row = package.arange(3)
    return [
        [row, row + 1],
        [1, 2, 3],
        [True, False],
        [1.5, 2.5],
        [np.float32(1), np.float32(2)],
        [np.int16(1), np.int16(2)],
        [np.bool_(True), np.bool_(False)],
        [np.arange(3.0), np.ones(3)],
        [np.array(1.0), np.array(2.0)],
        ["a", "b"],
        [b"a", b"b"],
        [(1, 2.0, "x"), (3, 4.0, "y")],
        [[1, [2.0]], [3, [4.0]]],
        [{"a": row, "b": (1, "u")}, {"a": row, "b": (2, "v")}],
        [Point(1, row), Point(2, row)],
        [collections.OrderedDict(a=1), collections.OrderedDict(a=2)],
        [(), ()],
        [{}, {}],
    ]


@pytest.mark.parametrize("i", range(len(batches(torch))))
def test_collation_as_pytorch(i: int) -> None:
    ours, reference = data.default_collate(batches(fl)[i]), theirs.default_collate(batches(torch)[i])
    assert plain(ours) == plain(reference) and type(plain(ours)) is type(plain(reference))


def test_collation_keeps_mapping_types() -> None:
    found = data.default_collate([collections.defaultdict(list, a=1), collections.defaultdict(list, a=2)])
    assert type(found) is collections.defaultdict and found.default_factory is list and found["a"].tolist() == [1, 2]


def test_collation_refuses() -> None:
    with pytest.raises(RuntimeError, match="equal size"):
        data.default_collate([[1, 2], [3]])
    with pytest.raises(TypeError, match="batch must contain"):
        data.default_collate([object()])
    with pytest.raises(TypeError, match="batch must contain"):
        data.default_collate([np.array(["a"]), np.array(["b"])])
    with pytest.raises(RuntimeError):
        data.default_collate([fl.ones(2), fl.ones(3)])


def test_collation_with_a_map_of_ones_own() -> None:
    from flambeau.utils.data._utils.collate import collate, default_collate_fn_map

    class Box:
        def __init__(self, value: int) -> None:
            self.value = value

    table = {Box: lambda batch, *, collate_fn_map: sum(box.value for box in batch), **default_collate_fn_map}
    assert collate([{"a": Box(1)}, {"a": Box(2)}], collate_fn_map=table) == {"a": 3}


def test_conversion_as_pytorch() -> None:
    sample = {"a": np.arange(3), "b": [np.float32(2), "text", (np.ones(2), 3)], "c": np.array(["u"]), "d": None}
    ours, reference = data.default_convert(sample), theirs.default_convert(sample)
    assert plain({k: v for k, v in ours.items() if k != "c"}) == plain({k: v for k, v in reference.items() if k != "c"})
    assert ours["c"] is sample["c"]


# -- the loader without workers --------------------------------------------------------------------
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 3},
        {"batch_size": 3, "drop_last": True},
        {"batch_size": 4, "shuffle": True},
        {"batch_size": None},
        {"batch_size": None, "shuffle": True},
        {"sampler": [5, 2, 7], "batch_size": 2},
        {"batch_sampler": [[1], [2, 3], [4, 5, 6]]},
    ],
)
def test_batches_as_pytorchs(options: dict[str, Any]) -> None:
    fl.manual_seed(1)
    torch.manual_seed(1)
    ours, reference = data.DataLoader(Squares(), **options), theirs.DataLoader(Squares(), **options)
    for _ in range(2):
        assert plain(list(ours)) == plain(list(reference))
        assert fl.rand(1).item() == torch.rand(1).item()
    assert len(ours) == len(reference)


def test_shuffling_with_a_generator() -> None:
    ours = data.DataLoader(Squares(), shuffle=True, generator=fl.Generator().manual_seed(4))
    reference = theirs.DataLoader(Squares(), shuffle=True, generator=torch.Generator().manual_seed(4))
    for _ in range(2):
        assert plain(list(ours)) == plain(list(reference))


def test_iterable_datasets() -> None:
    assert [b.tolist() for b in data.DataLoader(Stream(), batch_size=3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [b.tolist() for b in data.DataLoader(Stream(), batch_size=3, drop_last=True)] == [[0, 1, 2], [3, 4, 5]]
    assert list(data.DataLoader(Stream(), batch_size=None)) == list(range(7))
    loader = data.DataLoader(Stream(7, said=5), batch_size=1)
    assert len(loader) == 5
    with pytest.warns(UserWarning, match="was reported to be 5"):
        list(loader)


def test_datasets_that_give_a_batch_at_once() -> None:
    class Many(Squares):
        def __getitems__(self, indices: list[int]) -> list[int]:
            return [-i for i in indices]

    assert [b.tolist() for b in data.DataLoader(Many(4), batch_size=3)] == [[0, -1, -2], [-3]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_workers": -1}, "num_workers"),
        ({"timeout": -1}, "timeout"),
        ({"prefetch_factor": 2}, "prefetch_factor"),
        ({"num_workers": 1, "prefetch_factor": -2}, "prefetch_factor"),
        ({"persistent_workers": True}, "persistent_workers"),
        ({"sampler": [1], "shuffle": True}, "mutually exclusive"),
        ({"batch_sampler": [[1]], "batch_size": 2}, "mutually exclusive"),
        ({"batch_sampler": [[1]], "shuffle": True}, "mutually exclusive"),
        ({"batch_sampler": [[1]], "drop_last": True}, "mutually exclusive"),
        ({"batch_size": None, "drop_last": True}, "mutually exclusive"),
        ({"batch_size": 0}, "batch_size"),
        ({"multiprocessing_context": "fork"}, "num_workers"),
        ({"multiprocessing_context": "teleport", "num_workers": 1}, "start method"),
    ],
)
def test_loader_refuses(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        data.DataLoader(Squares(), **options)
    with pytest.raises(ValueError, match=words):
        theirs.DataLoader(range(3), **options)


def test_loader_refuses_for_iterables() -> None:
    for options in ({"shuffle": True}, {"sampler": [1]}, {"batch_sampler": [[1]]}):
        with pytest.raises(ValueError, match="expected unspecified"):
            data.DataLoader(Stream(), **options)
    with pytest.raises(TypeError, match="multiprocessing_context"):
        data.DataLoader(Squares(), num_workers=1, multiprocessing_context=3)


def test_attributes_are_fixed() -> None:
    loader = data.DataLoader(Squares(), batch_size=2)
    for name in ("batch_size", "sampler", "batch_sampler", "drop_last", "dataset"):
        with pytest.raises(ValueError, match=f"{name} attribute should not be set"):
            setattr(loader, name, None)
    loader.num_workers = 0


def test_loaders_can_be_copied_but_iterators_not() -> None:
    loader = data.DataLoader(Squares(3))
    assert [b.item() for b in copy.deepcopy(loader)] == [0, 1, 4]
    with pytest.raises(NotImplementedError, match="cannot be pickled"):
        copy.deepcopy(iter(loader))


def test_pinning_is_accepted() -> None:
    with pytest.warns(UserWarning, match="pin_memory"):
        assert len(list(data.DataLoader(Squares(3), pin_memory=True))) == 3
