"""A group of one process: what collectives do, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import flambeau as torch
import flambeau.distributed as dist


@pytest.fixture
def group() -> Iterator[None]:
    dist.init_process_group("gloo", rank=0, world_size=1)
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def test_collectives_of_one(group: None) -> None:
    x = torch.arange(3.0)
    assert (dist.get_rank(), dist.get_world_size(), dist.get_backend()) == (0, 1, "gloo")
    assert dist.all_reduce(x) is None and x.tolist() == [0, 1, 2]
    work = dist.all_reduce(x, async_op=True)
    assert work.wait() and work.is_completed() and work.get_future().wait()[0] is x
    out = [torch.zeros(3)]
    dist.all_gather(out, x)
    whole = torch.zeros(3)
    dist.all_gather_into_tensor(whole, x)
    part = torch.zeros(3)
    dist.reduce_scatter(part, [x])
    dist.barrier()
    assert out[0].tolist() == whole.tolist() == part.tolist() == [0, 1, 2]
    objects = [None]
    dist.all_gather_object(objects, {"a": 1})
    assert objects == [{"a": 1}]
    dist.broadcast_object_list(objects, src=0)
    assert dist.new_group([0]) is not dist.group.WORLD and dist.get_process_group_ranks(dist.group.WORLD) == [0]


def test_mesh(group: None) -> None:
    mesh = dist.init_device_mesh("cpu", (1, 1), mesh_dim_names=("data", "model"))
    assert mesh.shape == (1, 1) and mesh["model"].ndim == 1 and mesh.get_coordinate() == [0, 0]
    with pytest.raises(KeyError):
        mesh["other"]
    with pytest.raises(RuntimeError, match="bigger"):
        dist.init_device_mesh("cpu", (2,))


def test_refusals() -> None:
    assert dist.is_available() and not dist.is_initialized()
    with pytest.raises(ValueError, match="has not been initialized"):
        dist.all_reduce(torch.ones(1))
    with pytest.raises(ValueError, match="MASTER_ADDR"):
        dist.init_process_group("gloo", rank=0, world_size=2)
    with pytest.raises(ValueError, match="rank 3"):
        dist.init_process_group("gloo", rank=3, world_size=1)
    with pytest.raises(RuntimeError, match="not there"):
        dist.init_process_group("nccl", rank=0, world_size=1)


def test_what_one_process_cannot(group: None) -> None:
    with pytest.raises(ValueError, match="twice"):
        dist.init_process_group("gloo", rank=0, world_size=1)
    with pytest.raises(ValueError, match="rank 1"):
        dist.broadcast(torch.ones(1), src=1)
    with pytest.raises(ValueError, match="cannot send"):
        dist.send(torch.ones(1), 0)
    with pytest.raises(ValueError, match="agree"):
        dist.all_gather([torch.zeros(2)], torch.zeros(3))
    with pytest.raises(TypeError, match="parameter `tensor`"):
        dist.all_reduce([1])
