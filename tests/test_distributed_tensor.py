"""Distributed tensors: what two processes compute, with gradients, equals what one does."""

from __future__ import annotations

import copy
import os
import socket
import tempfile
from datetime import timedelta

import pytest

import flambeau as torch
import flambeau.distributed as dist
import flambeau.distributed.checkpoint as dcp
import flambeau.multiprocessing as mp
import flambeau.nn.functional as F
from flambeau.distributed import tensor as dt
from flambeau.distributed.fsdp import FullyShardedDataParallel, MixedPrecisionPolicy, fully_shard
from flambeau.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from flambeau.distributed.tensor import parallel as tp
from flambeau.distributed.tensor._utils import compute_local_shape_and_global_offset
from flambeau.distributed.tensor.placement_types import _StridedShard

PROGRAMS = {
    "linear": (lambda x, w, b: F.linear(x, w, b).tanh(), [(4, 6), (5, 6), (5,)]),
    "matmul": (lambda x, y: (x @ y).sin(), [(3, 4), (4, 5)]),
    "batched": (lambda x, y: x @ y, [(3, 2, 4), (3, 4, 5)]),
    "batch and matrix": (lambda x, y: x @ y, [(3, 2, 4), (4, 5)]),
    "broadcast": (lambda x, y: (x * y + 2).exp() - y, [(3, 4), (4,)]),
    "both ways": (lambda x, y: x * y, [(3, 1), (1, 4)]),
    "sum": (lambda x: x.sum(0) * 3, [(3, 4)]),
    "mean": (lambda x: x.mean(1, keepdim=True) + x.mean(), [(3, 4)]),
    "transpose": (lambda x: x.transpose(0, 1).relu().permute(1, 0).t(), [(3, 4)]),
    "softmax": (lambda x: x.softmax(-1).pow(2), [(3, 4)]),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (4,), w, b), [(3, 4), (4,), (4,)]),
    "without a rule": (lambda x: torch.cat([x[1:], x.cumsum(0)]).view(-1), [(3, 4)]),
    "sum of addends": (lambda x: (x.sum(0) + x.sum(0)) * 2, [(3, 4)]),
}


def program(mesh: dist.DeviceMesh, places: list, name: str) -> None:
    function, shapes = PROGRAMS[name]
    torch.manual_seed(3)
    plain = [torch.randn(*s, dtype=torch.float64, requires_grad=True) for s in shapes]
    wanted = function(*plain)
    weights = torch.randn(*wanted.shape, dtype=torch.float64)
    grads = torch.autograd.grad((wanted * weights).sum(), plain)
    for first in places:
        for other in places if len(shapes) > 1 else [Replicate()]:
            chosen = [first, *[other] * (len(shapes) - 1)]
            chosen = [p if not isinstance(p, Shard) or p.dim < len(s) else Replicate() for p, s in zip(chosen, shapes)]
            spread = [distribute_tensor(t.detach().requires_grad_(), mesh, [p]) for t, p in zip(plain, chosen)]
            found = function(*spread)
            assert isinstance(found, DTensor) and found.shape == wanted.shape
            torch.testing.assert_close(found.full_tensor(), wanted, msg=f"{name} {chosen}")
            (found * distribute_tensor(weights, mesh)).sum().backward()
            for s, g, p in zip(spread, grads, chosen):
                assert s.grad.placements == (p,)
                torch.testing.assert_close(s.grad.full_tensor(), g, msg=f"gradient of {name} {chosen}")


def moves(rank: int, size: int, mesh: dist.DeviceMesh) -> None:
    whole = torch.arange(15.0).reshape(5, 3)
    places = [Shard(0), Shard(1), Replicate(), _StridedShard(0, split_factor=2)]
    for p in places:
        x = distribute_tensor(whole, mesh, [p])
        shape, _ = compute_local_shape_and_global_offset((5, 3), mesh, [p])
        assert tuple(x.to_local().shape) == shape
        for q in places:
            y = x.redistribute(mesh, [q])
            assert y.placements == (q,) and torch.equal(y.full_tensor(), whole)
            assert torch.equal(y.to_local(), distribute_tensor(whole, mesh, [q]).to_local())
    local = (torch.full((4,), float(rank + 1))).requires_grad_()
    added = DTensor.from_local(local, mesh, [Partial()])
    total = float(sum(range(1, size + 1)))
    assert torch.equal(added.full_tensor(), torch.full((4,), total))
    part = added.redistribute(mesh, [Shard(0)])
    assert torch.equal(part.to_local(), torch.full(part.to_local().shape, total))
    (part.full_tensor() * torch.arange(4.0)).sum().backward()
    assert torch.equal(local.grad, torch.arange(4.0))
    for op, value in (("avg", total / size), ("max", float(size)), ("min", 1.0)):
        assert DTensor.from_local(local.detach(), mesh, [Partial(op)]).full_tensor()[0].item() == value
    with pytest.raises(RuntimeError, match="redistribut"):
        x.redistribute(mesh, [Partial()])
    x = distribute_tensor(torch.ones(3, requires_grad=True), mesh)
    (x.to_local(grad_placements=[Partial()]) * (rank + 1)).sum().backward()
    assert torch.equal(x.grad.to_local(), torch.full((3,), total))
    assert torch.equal(
        dt.full((3, 2), 4.0, device_mesh=mesh, placements=[Shard(0)]).full_tensor(), torch.full((3, 2), 4.0)
    )
    assert dt.randn(5, device_mesh=mesh, placements=[Shard(0)]).full_tensor().shape == (5,)
    y = distribute_tensor(whole, mesh, [Shard(0)])
    y[1] = 7.0
    y.mul_(2).add_(1)
    expected = whole.clone()
    expected[1] = 7.0
    assert torch.equal(y.full_tensor(), expected * 2 + 1)
    with pytest.raises(RuntimeError, match="mixed"):
        y + whole


def grids(rank: int, size: int) -> None:
    mesh = dist.init_device_mesh("cpu", (size // 2 or 1, min(size, 2)), mesh_dim_names=("a", "b"))
    whole = torch.arange(35.0).reshape(7, 5)
    places = [[p, q] for p in (Shard(0), Shard(1), Replicate()) for q in (Shard(0), Shard(1), Replicate())]
    for source in places:
        for target in places:
            x = distribute_tensor(whole, mesh, source).redistribute(mesh, target)
            assert torch.equal(x.to_local(), distribute_tensor(whole, mesh, target).to_local())


def training(rank: int, size: int, mesh: dist.DeviceMesh) -> None:
    torch.manual_seed(0)
    alone = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
    spread, wrapped = copy.deepcopy(alone), copy.deepcopy(alone)
    fully_shard(spread[0], mesh=mesh)
    fully_shard(spread, mesh=mesh)
    wrapped = FullyShardedDataParallel(wrapped)
    assert all(isinstance(p, DTensor) and isinstance(p, torch.nn.Parameter) for p in spread.parameters())
    models = [alone, spread, wrapped]
    optimizers = [torch.optim.AdamW(m.parameters(), 0.05) for m in models]
    for _ in range(4):
        x = torch.randn(2 * size, 3)
        part = slice(2 * rank, 2 * rank + 2)
        for model, optimizer, data in zip(models, optimizers, (x, x[part], x[part])):
            optimizer.zero_grad()
            model(data).square().mean().backward()
            optimizer.step()
    for p, q, r in zip(*(m.parameters() for m in models)):
        torch.testing.assert_close(q.full_tensor(), p)
        torch.testing.assert_close(r.full_tensor(), p)
    state = {k: v.detach() for k, v in spread.state_dict().items()}
    folder = [tempfile.mkdtemp() if rank == 0 else None]
    dist.broadcast_object_list(folder)
    dcp.save(state, checkpoint_id=folder[0])
    read = {k: torch.zeros(v.shape) for k, v in state.items()}
    dcp.load(read, checkpoint_id=folder[0])
    back = {k: distribute_tensor(torch.zeros(v.shape), mesh, [Replicate()]) for k, v in state.items()}
    dcp.load(back, checkpoint_id=folder[0])
    for k, v in state.items():
        assert torch.equal(read[k], v.full_tensor()) and torch.equal(back[k].to_local(), read[k])
    with pytest.raises(RuntimeError, match="Missing key"):
        dcp.load({"nothing": torch.zeros(1)}, checkpoint_id=folder[0])
    half = fully_shard(torch.nn.Linear(3, 2), mesh=mesh, mp_policy=MixedPrecisionPolicy(torch.bfloat16, torch.float32))
    out = half(torch.ones(1, 3))
    out.float().sum().backward()
    assert out.dtype == torch.bfloat16 and half.weight.grad.dtype == torch.float32


class Block(torch.nn.Module):
    """An embedding, a normalization, and layers in parts of columns and of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(7, 4)
        self.norm = torch.nn.LayerNorm(4)
        self.up = torch.nn.Linear(4, 6)
        self.down = torch.nn.Linear(6, 4, bias=True)
        self.head = torch.nn.Linear(4, 3)

    def forward(self, ids: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
        x = self.down(torch.relu(self.up(self.norm(self.table(ids)))))
        return self.head(x if scale is None else x * scale)


def layers_in_parts(rank: int, size: int, mesh: dist.DeviceMesh) -> None:
    torch.manual_seed(5)
    plain = Block()
    spread = copy.deepcopy(plain)
    ids, scale = torch.tensor([[1, 5, 0, 2], [6, 2, 2, 3]]), torch.rand(2, 4, 4)
    plan = {
        "table": tp.RowwiseParallel(input_layouts=Replicate(), output_layouts=Shard(1), use_local_output=False),
        "no*": tp.SequenceParallel(),
        "up": tp.ColwiseParallel(input_layouts=Shard(1)),
        "down": tp.RowwiseParallel(output_layouts=Replicate()),
        "head": tp.ColwiseParallel(output_layouts=Replicate()),
        "": tp.PrepareModuleInput(
            input_kwarg_layouts={"scale": Shard(0)}, desired_input_kwarg_layouts={"scale": Replicate()},
            use_local_output=True,
        ),
    }  # fmt: skip
    tp.parallelize_module(spread, mesh, plan)
    assert spread.up.weight.placements == (Shard(0),) and spread.down.weight.placements == (Shard(1),)
    mine = scale.chunk(size, 0)[rank]
    wanted = plain(ids, scale)
    found = spread(ids, scale=mine)
    assert not isinstance(found, DTensor)
    torch.testing.assert_close(found, wanted)
    wanted.sin().sum().backward()
    found.sin().sum().backward()
    for (name, p), q in zip(plain.named_parameters(), spread.parameters()):
        torch.testing.assert_close(q.grad.full_tensor(), p.grad, msg=name)
    part = tp.parallelize_module(copy.deepcopy(plain.up), mesh, tp.ColwiseParallel())(torch.ones(2, 4))
    torch.testing.assert_close(part, plain.up(torch.ones(2, 4)).chunk(size, -1)[rank])
    moved = tp.PrepareModuleOutput(output_layouts=Replicate(), desired_output_layouts=Shard(0))
    assert tp.parallelize_module(torch.nn.ReLU(), mesh, moved)(torch.ones(4, 2)).shape == (4 // size, 2)
    with pytest.raises(NotImplementedError, match="ReLU"):
        tp.parallelize_module(torch.nn.ReLU(), mesh, tp.ColwiseParallel())
    with pytest.warns(UserWarning, match="no module is called"):
        tp.parallelize_module(plain, mesh, {"nothing": tp.ColwiseParallel()})
    with pytest.raises(TypeError, match="ParallelStyle"):
        tp.parallelize_module(plain, mesh, {"up": 3})


def everything(rank: int, size: int, port: int) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(size))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    mesh = dist.init_device_mesh("cpu", (size,))
    for name in PROGRAMS:
        program(mesh, [Shard(0), Shard(1), Replicate()], name)
    moves(rank, size, mesh)
    grids(rank, size)
    training(rank, size, mesh)
    layers_in_parts(rank, size, mesh)
    table = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    ids = distribute_tensor(torch.tensor([[0, 5, 2], [2, 2, 1]]), mesh)
    for p in (Shard(0), Shard(1), Replicate()):
        weight = distribute_tensor(table.clone().requires_grad_(), mesh, [p])
        out = F.embedding(ids, weight)
        assert torch.equal(out.full_tensor(), table[ids.to_local()])
        out.sum().backward()
        assert weight.grad.full_tensor()[:, 0].tolist() == [1, 1, 3, 0, 0, 1]
    dist.barrier()
    dist.destroy_process_group()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.parametrize("size", [1, 2])
def test_equals_one_process(size: int) -> None:
    mp.spawn(everything, (size, free_port()), size)


def test_placements() -> None:
    assert Shard(0) == Shard(0) != Shard(1) and Replicate() == Replicate() and Partial() != Partial("avg")
    assert Shard(1).is_shard(1) and not Shard(1).is_shard(0) and Replicate().is_replicate() and Partial().is_partial()
    assert not _StridedShard(0, split_factor=2).is_shard() and len({Shard(0), Shard(0), Replicate()}) == 2
    assert [repr(p) for p in (Shard(0), Replicate(), Partial())] == ["Shard(dim=0)", "Replicate()", "Partial(sum)"]
    assert [Shard(0).local_shard_size_and_offset(5, 4, r) for r in range(4)] == [(2, 0), (2, 2), (1, 4), (0, 5)]
