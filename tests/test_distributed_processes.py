"""Groups of several processes: stores, collectives, and training that equals that of one process."""

from __future__ import annotations

import os
import socket
import threading
from datetime import timedelta
from pathlib import Path

import pytest

import flambeau as torch
import flambeau.distributed as dist
import flambeau.distributed._functional_collectives as funcol
import flambeau.multiprocessing as mp


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def start(rank: int, size: int, port: int) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(size))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))


def collectives(rank: int, size: int, port: int) -> None:
    start(rank, size, port)
    assert (dist.get_rank(), dist.get_world_size()) == (rank, size)
    for count in (1, 5, 20_000):  # whole, and in parts
        x = torch.arange(count, dtype=torch.float32) + rank
        dist.all_reduce(x)
        assert torch.equal(x, torch.arange(count, dtype=torch.float32) * size + sum(range(size)))
    for op, wanted in ((dist.ReduceOp.MAX, size - 1), (dist.ReduceOp.MIN, 0), (dist.ReduceOp.PRODUCT, 0)):
        x = torch.tensor([rank])
        dist.all_reduce(x, op)
        assert x.item() == wanted
    strided = torch.zeros(4, 2)
    strided[:, 1] = rank + 1
    dist.all_reduce(strided[:, 1])
    assert strided[:, 1].tolist() == [sum(range(1, size + 1))] * 4 and not strided[:, 0].any()
    half = torch.full((3,), float(rank), dtype=torch.bfloat16)
    dist.broadcast(half, src=1)
    assert half.tolist() == [1, 1, 1]
    parts = [torch.zeros(2, dtype=torch.int64) for _ in range(size)]
    dist.all_gather(parts, torch.tensor([rank, rank * 10]))
    assert [p.tolist() for p in parts] == [[r, r * 10] for r in range(size)]
    whole = torch.zeros(size, 2)
    dist.all_gather_into_tensor(whole, torch.full((2,), float(rank)))
    assert whole[:, 0].tolist() == list(range(size))
    out = torch.zeros(2)
    dist.reduce_scatter(out, [torch.full((2,), float(r + rank)) for r in range(size)])
    assert out.tolist() == [size * rank + sum(range(size))] * 2
    dist.reduce_scatter_tensor(out, torch.ones(2 * size))
    assert out.tolist() == [size] * 2
    x = torch.tensor([float(rank)])
    dist.reduce(x, dst=0)
    assert x.item() == (sum(range(size)) if rank == 0 else rank)
    gathered = [torch.zeros(1) for _ in range(size)] if rank == 0 else None
    dist.gather(torch.tensor([float(rank)]), gathered, dst=0)
    assert gathered is None or [g.item() for g in gathered] == list(range(size))
    mine = torch.zeros(1)
    dist.scatter(mine, [torch.tensor([10.0 * r]) for r in range(size)] if rank == 0 else None, src=0)
    assert mine.item() == 10 * rank
    given = torch.zeros(size)
    dist.all_to_all_single(given, torch.arange(size, dtype=torch.float32) + 10 * rank)
    assert given.tolist() == [10.0 * r + rank for r in range(size)]
    objects = [None] * size
    dist.all_gather_object(objects, {"rank": rank})
    assert objects == [{"rank": r} for r in range(size)]
    listed = [rank, "a"]
    dist.broadcast_object_list(listed, src=0)
    assert listed == [0, "a"]
    one = [None]
    dist.scatter_object_list(one, [f"for {r}" for r in range(size)] if rank == 0 else None)
    assert one == [f"for {rank}"]
    dist.monitored_barrier()
    # started, and waited for in another order
    xs = [torch.full((10,), float(rank + i)) for i in range(3)]
    works = [dist.all_reduce(x, async_op=True) for x in xs]
    for work in reversed(works):
        assert work.wait() and work.is_success()
    assert [x[0].item() for x in xs] == [sum(range(size)) + i * size for i in range(3)]
    assert works[0].get_future().wait()[0] is xs[0]
    right, left = (rank + 1) % size, (rank - 1) % size
    got = torch.zeros(3)
    works = dist.batch_isend_irecv(
        [dist.P2POp(dist.isend, torch.full((3,), float(rank)), right), dist.P2POp(dist.irecv, got, left)]
    )
    for work in works:
        work.wait()
    assert got.tolist() == [left] * 3
    if rank == 0:
        dist.send(torch.tensor([7.0]), dst=1, tag=5)
        dist.send_object_list([{"x": 1}], dst=1)
    if rank == 1:
        x = torch.zeros(1)
        assert dist.recv(x, tag=5) == 0 and x.item() == 7
        received: list = [None]
        assert dist.recv_object_list(received, src=0) == 0 and received == [{"x": 1}]
    evens = dist.new_group([r for r in range(size) if r % 2 == 0])
    if rank % 2 == 0:
        x = torch.ones(1)
        dist.all_reduce(x, group=evens)
        assert x.item() == (size + 1) // 2 and dist.get_world_size(evens) == (size + 1) // 2
    else:
        assert evens == dist.GroupMember.NON_GROUP_MEMBER and dist.get_rank(evens) == -1
    with pytest.raises(ValueError):
        dist.broadcast(torch.zeros(1), src=size)
    mesh = dist.init_device_mesh("cpu", (size,), mesh_dim_names=("data",))
    assert mesh.get_local_rank() == rank and mesh.get_group("data").size() == size
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize("size", [2, 3])
def test_collectives(size: int) -> None:
    mp.spawn(collectives, (size, free_port()), size)


def make_model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(6, 16), torch.nn.BatchNorm1d(16, track_running_stats=False, affine=False), torch.nn.Tanh(),
        torch.nn.Linear(16, 3),
    )  # fmt: skip


def batches() -> list:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(8, 6, generator=generator), torch.randint(0, 3, (8,), generator=generator)) for _ in range(4)]


def train(rank: int, size: int, port: int, file: str) -> None:
    start(rank, size, port)
    torch.manual_seed(rank)  # the first process's parameters count
    model = make_model()
    model[1] = torch.nn.Identity()
    with torch.no_grad():
        model[0].weight.add_(rank)
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(parallel.parameters(), 0.1, momentum=0.9)
    for step, (x, y) in enumerate(batches()):
        part = slice(rank * 8 // size, (rank + 1) * 8 // size)
        optimizer.zero_grad()
        if step == 2:  # in two halves, of which only the second is averaged
            middle = (part.start + part.stop) // 2
            with parallel.no_sync():
                (
                    torch.nn.functional.cross_entropy(parallel(x[part.start : middle]), y[part.start : middle]) / 2
                ).backward()
            (torch.nn.functional.cross_entropy(parallel(x[middle : part.stop]), y[middle : part.stop]) / 2).backward()
        else:
            torch.nn.functional.cross_entropy(parallel(x[part]), y[part]).backward()
        optimizer.step()
    states = [None] * size
    dist.all_gather_object(states, [p.tolist() for p in model.parameters()])
    assert all(s == states[0] for s in states)
    if rank == 0:
        torch.save(parallel.module.state_dict(), file)
    dist.destroy_process_group()


def test_training_on_two_processes_equals_training_on_one(tmp_path: Path) -> None:
    file = str(tmp_path / "model.pt")
    mp.spawn(train, (2, free_port(), file), 2)
    model = make_model()
    model[1] = torch.nn.Identity()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for x, y in batches():
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    for name, value in torch.load(file).items():
        assert torch.allclose(value, model.state_dict()[name], rtol=1e-5, atol=1e-6), name


def functional(rank: int, size: int, port: int) -> None:
    start(rank, size, port)
    mesh = dist.init_device_mesh("cpu", (size,))
    x = torch.arange(4.0).reshape(2, 2) + 10 * rank
    before = x.clone()
    both = torch.cat([torch.arange(4.0).reshape(2, 2) + 10 * r for r in range(size)])
    assert torch.equal(funcol.all_reduce(x, "sum", mesh), both[:2] + both[2:])
    assert torch.equal(funcol.broadcast(x, 1, dist.group.WORLD), both[2:])
    assert torch.equal(funcol.all_gather_tensor(x, 0, (mesh, 0)), both)
    assert torch.equal(funcol.all_gather_tensor(x, 1, mesh), torch.cat([both[:2], both[2:]], 1))
    assert torch.equal(funcol.reduce_scatter_tensor(x, "avg", 0, mesh), (both[:2] + both[2:])[rank : rank + 1] / 2)
    assert torch.equal(funcol.permute_tensor(x, [1, 0], mesh), both[2:] if rank == 0 else both[:2])
    sizes = ([1, 2], [1, 1]) if rank == 0 else ([1, 0], [2, 0])  # from each, to each
    found = funcol.all_to_all_single(x, *sizes, mesh)
    assert torch.equal(found, torch.cat([both[:1], both[2:]]) if rank == 0 else both[1:2])
    assert torch.equal(x, before) and funcol.wait_tensor(x) is x
    w = torch.full((2, 2), float(rank + 1), requires_grad=True)
    (funcol.all_gather_tensor_autograd(w, 0, mesh) * both).sum().backward()
    assert torch.equal(w.grad, before * size)
    with pytest.raises(RuntimeError, match="multiple of group_size"):
        funcol.reduce_scatter_tensor(torch.ones(3), "sum", 0, mesh)
    with pytest.raises(ValueError, match="Invalid reduction"):
        funcol.all_reduce(x, "median", mesh)
    dist.destroy_process_group()


def test_collectives_as_functions() -> None:
    mp.spawn(functional, (2, free_port()), 2)


def batches_of(rank: int) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(rank)
    return [torch.randn(4, 3, generator=rng) for _ in range((3, 1)[rank])]


def uneven(rank: int, size: int, port: int, file: str) -> None:
    start(rank, size, port)
    for by_all in (True, False):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        model.register_buffer("seen", torch.zeros(1))
        parallel = torch.nn.parallel.DistributedDataParallel(model)
        optimizer = torch.optim.SGD(parallel.parameters(), 0.1)
        with parallel.join(divide_by_initial_world_size=by_all):
            for x in batches_of(rank):
                optimizer.zero_grad()
                parallel(x).square().mean().backward()
                optimizer.step()
                model.seen += 1
        assert model.seen.item() == 3  # of who trained to the end
        states = [None] * size
        dist.all_gather_object(states, [p.tolist() for p in model.parameters()])
        assert states[0] == states[1]
        if rank == 0:
            torch.save(model.state_dict(), f"{file}{by_all}")
    parallel = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 2))
    with pytest.raises(RuntimeError, match="exhausted"), parallel.join(throw_on_early_termination=True):
        for x in batches_of(rank):
            parallel(x).sum().backward()
    with parallel.join(enable=False):
        parallel(batches_of(rank)[0]).sum().backward()
    dist.destroy_process_group()


def test_a_process_without_batches_shadows_the_others(tmp_path: Path) -> None:
    file = str(tmp_path / "model")
    mp.spawn(uneven, (2, free_port(), file), 2)
    for by_all in (True, False):
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for step in range(3):
            optimizer.zero_grad()
            parts = [b[step] for b in map(batches_of, range(2)) if step < len(b)]
            divisor = 2 if by_all else len(parts)
            (sum(model(x).square().mean() for x in parts) / divisor).backward()
            optimizer.step()
        for name, value in torch.load(f"{file}{by_all}").items():
            if name != "seen":
                assert torch.allclose(value, model.state_dict()[name], rtol=1e-5, atol=1e-6), name


def lost(rank: int, size: int, port: int) -> None:
    start(rank, size, port)
    if rank == 1:
        os._exit(0)
    with pytest.raises(RuntimeError, match="rank 1"):
        dist.all_reduce(torch.ones(1))


def test_a_process_that_is_gone() -> None:
    mp.spawn(lost, (2, free_port()), 2)


def stores(tmp_path: Path) -> list:
    server = dist.TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=5))
    return [
        dist.HashStore(), server, dist.TCPStore("127.0.0.1", server.port, timeout=timedelta(seconds=5)),
        dist.FileStore(str(tmp_path / "store"), 1), dist.PrefixStore("a", dist.HashStore()),
    ]  # fmt: skip


@pytest.mark.parametrize("which", range(5))
def test_stores(which: int, tmp_path: Path) -> None:
    every = stores(tmp_path)
    store = every[which]
    store.set("a", "1")
    store.set("b", b"\x00\xff")
    assert store.get("a") == b"1" and store.get("b") == b"\x00\xff" and store.check(["a", "b"])
    assert store.add("n", 5) == 5 and store.add("n", -2) == 3 and store.get("n") == b"3"
    store.append("a", "2")
    assert store.get("a") == b"12"
    assert store.compare_set("a", "x", "y") == b"12" and store.compare_set("a", "12", "13") == b"13"
    assert store.compare_set("new", "", "first") == b"first"
    assert store.delete_key("b") and not store.delete_key("b") and not store.check(["b"])
    assert {"a", "n", "new"} <= set(store.list_keys()) and store.num_keys() >= 3
    store.multi_set(["p", "q"], ["1", "2"])
    assert store.multi_get(["p", "q"]) == [b"1", b"2"]
    store.queue_push("w", "x")
    assert store.queue_len("w") == 1 and store.queue_pop("w") == b"x"
    with pytest.raises(RuntimeError):
        store.queue_pop("w", block=False)
    with pytest.raises(RuntimeError, match="timeout"):
        store.wait(["nothing"], timedelta(milliseconds=30))
    threading.Timer(0.05, lambda: store.set("late", "v")).start()
    assert store.get("late") == b"v"


def test_two_stores_over_one_file(tmp_path: Path) -> None:
    a, b = (dist.FileStore(str(tmp_path / "f"), 2) for _ in range(2))
    a.set("x", "1")
    assert b.get("x") == b"1" and b.add("n", 1) == 1 and a.add("n", 1) == 2


def test_a_file_brings_processes_together(tmp_path: Path) -> None:
    mp.spawn(by_file, (str(tmp_path / "rendezvous"),), 2)


def by_file(rank: int, file: str) -> None:
    dist.init_process_group("gloo", f"file://{file}", rank=rank, world_size=2, timeout=timedelta(seconds=60))
    x = torch.tensor([float(rank)])
    dist.all_reduce(x)
    assert x.item() == 1
    dist.destroy_process_group()
