"""Modules in several processes and on several devices, as far as there is one of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import flambeau as torch
from flambeau.nn.parallel import DistributedDataParallel, gather, scatter
from flambeau.nn.parallel.scatter_gather import scatter_kwargs


@pytest.fixture
def group() -> Iterator[None]:
    torch.distributed.init_process_group("gloo", world_size=1, rank=0)
    yield
    torch.distributed.destroy_process_group()


def test_distributed_data_parallel(group: None) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    alone = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    alone.load_state_dict(model.state_dict())
    wrapped = DistributedDataParallel(model)
    assert set(wrapped.state_dict()) == {f"module.{name}" for name in model.state_dict()}
    x = torch.arange(12.0).reshape(4, 3)
    with wrapped.no_sync():
        wrapped(x).square().sum().backward()
    wrapped(x).square().sum().backward()
    for _ in range(2):
        alone(x).square().sum().backward()
    for p, q in zip(wrapped.parameters(), alone.parameters()):
        np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy())


def test_what_cannot_be_distributed(group: None) -> None:
    with pytest.raises(RuntimeError, match="requires a gradient"):
        DistributedDataParallel(torch.nn.ReLU())


def test_scatter_and_gather() -> None:
    x = torch.arange(5.0)
    parts = scatter({"a": x, "b": [x, "text"]}, ["cpu", "cpu"])
    assert [p["a"].tolist() for p in parts] == [[0, 1, 2], [3, 4]] and parts[1]["b"][1] == "text"
    assert torch.equal(gather([p["a"] for p in parts], "cpu"), x)
    joined = gather([(p["a"], {"n": p["a"].sum()}) for p in parts], "cpu")
    assert torch.equal(joined[0], x) and joined[1]["n"].tolist() == [3, 7]
    args, kwargs = scatter_kwargs((x,), None, ["cpu"])
    assert torch.equal(args[0][0], x) and kwargs == ({},)
    with pytest.raises(RuntimeError, match="at least one device"):
        scatter(x, [])


def test_records_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save(torch.arange(4), path)
    reader = torch.PyTorchFileReader(str(path))
    assert "data.pkl" in reader.get_all_records() and reader.has_record("data/0") and not reader.has_record("data/1")
    assert reader.get_storage_from_record("data/0", 4, torch.int64).tolist() == [0, 1, 2, 3]
    start = reader.get_record_offset("data/0")
    assert path.read_bytes()[start : start + 32] == np.arange(4).tobytes()
    with pytest.raises(RuntimeError, match="data/7"):
        reader.get_record("data/7")
    path.write_bytes(b"no archive")
    with pytest.raises(RuntimeError, match="zip archive"):
        torch.PyTorchFileReader(path)


def test_what_the_build_is() -> None:
    assert "flambeau" in torch.__config__.show() and "threads" in torch.__config__.parallel_info()
