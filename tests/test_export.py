"""``export``: captured programs against their modules, sizes that change, files, what cannot be captured."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import flambeau as torch
from flambeau import nn
from flambeau.export import AdditionalInputs, Dim, ExportedProgram, ShapesCollection, dims, export, load, save
from flambeau.export.graph_signature import InputKind
from flambeau.utils._pytree import tree_leaves

F = nn.functional


class Block(nn.Module):
    def __init__(self, width=16, heads=2):
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        b, t, c = x.size()
        q, k, v = self.qkv(self.norm(x)).split(c, dim=2)
        q, k, v = (s.view(b, t, self.heads, c // self.heads).transpose(1, 2) for s in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return x + F.gelu(self.out(y.transpose(1, 2).contiguous().view(b, t, c)))


class GPT(nn.Module):
    def __init__(self, vocabulary=20, width=16, length=32):
        super().__init__()
        self.length = length
        self.wte, self.wpe = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(2))
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.wte.weight

    def forward(self, i):
        t = i.size(1)
        assert t <= self.length
        x = self.wte(i) + self.wpe(torch.arange(t, device=i.device))
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Linear(4, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)).softmax(-1)


class Assorted(nn.Module):
    """Methods, properties, indices, reflected operators, writes in place, constants, factories, trees of results."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([2.0, 3.0]))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("last", torch.zeros(2), persistent=False)
        self.table = torch.tensor([[1.0, 2.0], [3.0, 4.0]])

    def forward(self, x, *, flip=False, more=()):
        n = x.shape[0]
        self.calls += 1
        y = 2 - x.T.contiguous().t() * self.scale.exp()
        y = y.to(torch.float64).float()
        y[0] = 7.0
        y[:, 1].mul_(0.5)
        mask = (x > 0) & (torch.ones(n, 2) > 0.5)
        z = torch.where(mask, y, torch.zeros_like(y)) @ self.table
        if flip:
            z = z.flip(0)
        self.last = z.detach().sum(0)
        parts = torch.cat([z, torch.full((n, 1), 0.25)], 1).chunk(3, dim=1)
        return {"z": z, "parts": parts, "n": n, "mean": z.numel() / n, "more": [m + 1 for m in more], "none": None}


def _seeded(make):
    torch.manual_seed(0)
    return make()


class Sized(nn.Module):
    """What is made, moved and cut by a size."""

    def forward(self, x):
        n = x.shape[0]
        made = torch.linspace(0, n, n) + torch.logspace(0, 1, n) + torch.eye(n).sum(0) + torch.hann_window(n)
        return made + x.roll(n // 2), x.narrow(0, 1, n - 1), torch.tril_indices(n, n), x * torch.kaiser_window(n)


B, T, H, W = Dim("B"), Dim("T", max=32), Dim("H", min=4), Dim("W", min=4)
CASES = {
    "gpt": (lambda: GPT().eval(), lambda b, t: ((torch.randint(0, 20, (b, t)),), {}), {"i": {0: B, 1: T}}),
    "cnn": (lambda: CNN().eval(), lambda b, t: ((torch.randn(b, 3, t + 4, t + 5),), {}), ({0: B, 2: H, 3: W},)),
    "lstm": (lambda: nn.LSTM(4, 6, batch_first=True), lambda b, t: ((torch.randn(b, 5, 4),), {}), ({0: B},)),
    "encoder": (lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval(),
                lambda b, t: ((torch.randn(b, t, 16),), {}), ({0: B, 1: T},)),
    "sized": (Sized, lambda b, t: ((torch.randn(b),), {}), ({0: Dim("B", min=2)},)),
    "assorted": (Assorted, lambda b, t: ((torch.randn(b, 2),), {"flip": True, "more": [torch.ones(3), torch.ones(2)]}),
                 {"x": {0: B}, "flip": None, "more": None}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_programs_give_what_their_modules_give_for_every_size(name):
    make, arguments, shapes = CASES[name]
    module, reference = _seeded(make), _seeded(make)
    args, kwargs = arguments(2, 8)
    program = export(module, args, kwargs, dynamic_shapes=shapes)
    buffer = io.BytesIO()
    save(program, buffer)
    loaded = load(buffer)
    runs = [program.module(), loaded.module(), program.run_decompositions().module()]
    assert str(loaded) == str(program)
    for b, t in ((2, 8), (5, 3), (3, 17)):
        args, kwargs = arguments(b, t)
        wanted = reference(*args, **kwargs)
        for run in runs:
            found = run(*args, **kwargs)
            for x, y in zip(tree_leaves(found), tree_leaves(wanted), strict=True):
                if isinstance(y, torch.Tensor):
                    np.testing.assert_allclose(x.detach().numpy(), y.detach().numpy(), rtol=1e-5, atol=1e-6)
                else:
                    assert x == y
    # what was written to buffers was written in the program, too
    for key, value in reference.named_buffers():
        np.testing.assert_allclose(dict(runs[1].named_buffers())[key].numpy(), value.numpy(), rtol=1e-5)


def test_gradients_flow_through_programs_and_their_parameters_are_the_modules():
    module = _seeded(CNN)
    program = export(module, (torch.randn(2, 3, 8, 8),), dynamic_shapes=({0: B},))
    run = program.module()
    assert dict(run.named_parameters()).keys() == dict(module.named_parameters()).keys()
    assert all(a is b for a, b in zip(run.parameters(), module.parameters()))
    assert list(run.state_dict()) == list(program.state_dict) == list(module.state_dict())
    x = torch.randn(4, 3, 8, 8)
    reference = _seeded(CNN)
    run(x).square().sum().backward()
    reference(x).square().sum().backward()
    for p, q in zip(run.parameters(), reference.parameters()):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-4, atol=1e-6)
    compiled = torch.compile(program.module(), fullgraph=True)
    np.testing.assert_allclose(compiled(x).detach().numpy(), run(x).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_a_program_runs_without_the_models_python(tmp_path):
    torch.manual_seed(0)
    module = GPT().eval()
    program = export(module, (torch.randint(0, 20, (2, 8)),), dynamic_shapes={"i": {0: B, 1: T}})
    path = tmp_path / "gpt.pt2"
    save(program, path, extra_files={"note.txt": "hello"})
    i = torch.arange(9).reshape(3, 3)
    code = (
        "import flambeau as torch, numpy as np, sys\n"
        f"extra = {{'note.txt': ''}}\nm = torch.export.load({str(path)!r}, extra_files=extra).module()\n"
        "assert extra['note.txt'] == 'hello'\n"
        "np.save(sys.argv[1], m(torch.arange(9).reshape(3, 3)).detach().numpy())"
    )
    out = tmp_path / "out.npy"
    root = Path(__file__).resolve().parent.parent
    subprocess.run([sys.executable, "-c", code, str(out)], check=True, env={**os.environ, "PYTHONPATH": str(root)})
    np.testing.assert_allclose(np.load(out), module(i).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_signature_and_text():
    program = export(_seeded(Assorted), (torch.ones(3, 2),), dynamic_shapes={"x": {0: B}})
    signature = program.graph_signature
    assert signature.parameters == ["scale"] and signature.buffers == ["calls", "last"]
    assert signature.non_persistent_buffers == ["last"] and signature.inputs_to_parameters == {"p_scale": "scale"}
    assert signature.user_inputs == ("x",) and len(signature.lifted_tensor_constants) == 1
    assert [s.kind for s in signature.input_specs][-1] is InputKind.USER_INPUT
    assert list(program.state_dict) == ["scale", "calls"] and "last" in program.constants
    assert repr(program.range_constraints) == "{'B': VR[0, int_oo]}"
    text = str(program)
    assert 'x: "f32[B, 2]"' in text and f"{__file__}:" in text and "torch.ops.aten.exp.default(p_scale)" in text
    assert "p_scale: PARAMETER target='scale'" in text and "last" in text and "persistent=False" in text
    assert [n.name for n in program.graph.nodes][:3] == ["p_scale", "b_calls", "b_last"]
    assert program.example_inputs[0][0].shape == (3, 2)
    with pytest.raises(RuntimeError, match="Unable to call ExportedProgram directly"):
        program(torch.ones(3, 2))
    with pytest.raises(NotImplementedError):
        program.module().train()


class Add(nn.Module):
    def forward(self, x, y):
        return x + y


class Tall(nn.Module):
    def forward(self, x):
        return x * 2 if x.shape[0] > 20 else x * 3


def test_what_the_arguments_must_be():
    run = export(Add(), (torch.ones(4, 3), torch.ones(4, 3)), dynamic_shapes=({0: T}, {0: T})).module()
    assert run(torch.ones(7, 3), torch.ones(7, 3)).shape == (7, 3)
    assert run(torch.ones(7, 3), y=torch.ones(7, 3)).shape == (7, 3)
    for bad, text in (
        ((torch.ones(40, 3), torch.ones(40, 3)), r"x.size\(\)\[0\] <= 32, got 40"),
        ((torch.ones(7, 2), torch.ones(7, 2)), r"x.size\(\)\[1\] == 3, got 2"),
        ((torch.ones(7, 3), torch.ones(6, 3)), r"y.size\(\)\[0\] == T, got 6 with T = 7"),
        ((torch.ones(7, 3).double(), torch.ones(7, 3)), "x.dtype == torch.float32"),
        ((torch.ones(7), torch.ones(7)), r"x.dim\(\) == 2"),
        ((torch.ones(7, 3), 3), "y is a tensor, got int"),
    ):
        with pytest.raises(AssertionError, match=text):
            run(*bad)
    with pytest.raises(ValueError, match="arguments"):
        run(torch.ones(7, 3))


def test_sizes_that_depend_on_each_other():
    class Pairs(nn.Module):
        def forward(self, x, y):
            return x.view(-1, 2).sum(1) + y

    half = Dim("half", max=100)
    program = export(Pairs(), (torch.arange(8.0), torch.ones(4)), dynamic_shapes=({0: 2 * half}, {0: half}))
    run = program.module()
    assert run(torch.arange(6.0), torch.ones(3)).tolist() == [2, 6, 10]
    with pytest.raises(AssertionError, match="2\\*half"):
        run(torch.arange(7.0), torch.ones(3))
    with pytest.raises(RuntimeError, match="cannot be"):
        export(Pairs(), (torch.arange(7.0), torch.ones(4)), dynamic_shapes=({0: 2 * half}, {0: half}))


def test_branches_by_sizes():
    with pytest.raises(RuntimeError, match=rf"Constraints violated \(B\).*branch.*{Path(__file__).name}"):
        export(Tall(), (torch.ones(4),), dynamic_shapes=({0: B},))
    run = export(Tall(), (torch.ones(4),), dynamic_shapes=({0: Dim("few", max=20)},)).module()
    assert run(torch.ones(2)).tolist() == [3, 3]
    # where it may turn out that a size cannot change, it is fixed
    program = export(Tall(), (torch.ones(4),), dynamic_shapes=({0: Dim.AUTO},))
    assert 'x: "f32[4]"' in str(program)
    assert 'x: "f32[s0]"' in str(export(CNN(), (torch.ones(4, 3, 8, 8),), dynamic_shapes=({0: Dim.AUTO},))).replace(
        ", 3, 8, 8", ""
    )


def test_what_was_decided_between_the_probes_is_checked_when_the_program_runs():
    class Gap(nn.Module):
        def forward(self, x):
            return x * 2 if x.shape[0] != 19 else x * 3

    run = export(Gap(), (torch.ones(4),), dynamic_shapes=({0: Dim("n", max=100)},)).module()
    assert run(torch.ones(18)).sum() == 36
    with pytest.raises(RuntimeError, match="exported for sizes with ne"):
        run(torch.ones(19))


def test_shapes_by_tensor_and_by_further_inputs():
    x, y = torch.ones(4, 3), torch.ones(4, 3)
    shapes = ShapesCollection()
    shapes[x] = {0: B}
    shapes[y][0] = B
    assert export(Add(), (x, y), dynamic_shapes=shapes).module()(torch.ones(9, 3), torch.ones(9, 3)).shape == (9, 3)
    more = AdditionalInputs()
    more.add((torch.ones(6, 3), torch.ones(6, 3)))
    assert "s0" in export(Add(), (x, y), dynamic_shapes=more).range_constraints
    assert [d.__name__ for d in dims("a", "b", max=3)] == ["a", "b"]


class Reads(nn.Module):
    def forward(self, x):
        return x * x.sum().item()


class Chooses(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Selects(nn.Module):
    def forward(self, x):
        return x[x > 0]


@pytest.mark.parametrize("module", [Reads, Chooses, Selects])
def test_values_cannot_be_looked_at(module):
    with pytest.raises(RuntimeError, match=f"{Path(__file__).name}:.*needs the value of a tensor"):
        export(module(), (torch.ones(3),))


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ((lambda x: x, (torch.ones(2),)), ValueError, "instance of `torch.nn.Module`, got function"),
        ((Tall(), torch.ones(2)), ValueError, "to be a tuple"),
        ((Tall(), (torch.ones(2),), {}, ({0: B}, {0: B})), RuntimeError, "2 entries for the 1 arguments"),
        ((Tall(), (torch.ones(2),), {}, {"y": {0: B}, "z": None}), RuntimeError, "names of the arguments"),
        ((Tall(), (torch.ones(2),), {}, ({3: B},)), RuntimeError, "dimension 3 of x, which has 1"),
        ((Tall(), (object(),)), RuntimeError, "argument x is a object"),
    ],
)
def test_wrong_arguments(arguments, kind, text):
    mod, args, *rest = arguments
    with pytest.raises(kind, match=text):
        export(mod, args, rest[0] if rest else None, dynamic_shapes=rest[1] if len(rest) > 1 else None)


def test_the_module_is_left_as_it_was():
    module = _seeded(Assorted)
    before = dict([*module.named_parameters(), *module.named_buffers()])
    export(module, (torch.ones(3, 2),))
    failing = nn.Sequential(Reads())
    failing.inner = module
    with pytest.raises(RuntimeError):
        export(failing, (torch.ones(3, 2),))
    assert all(before[k] is v for k, v in [*module.named_parameters(), *module.named_buffers()])
    assert module.calls == 0 and not torch.compiler.is_exporting() and torch.is_grad_enabled()
    assert torch.zeros(2).device == torch.device("cpu")


# -- files ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "program.pt2"
    save(export(_seeded(Assorted), (torch.ones(3, 2),), dynamic_shapes={"x": {0: B}}), path)
    return path


def rewritten(archive, change):
    """The file with its graph changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(archive) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "program.json":
                body = json.loads(content)
                change(body)
                content = json.dumps(body).encode()
            target.writestr(name, content)
    out.seek(0)
    return out


def _node(body, op="call_function"):
    return next(n for n in body["nodes"] if n["op"] == op)


def _constants_gone(body):
    body["inputs"] = [i for i in body["inputs"] if i[0] != "CONSTANT_TENSOR"]


CHANGES = {
    "an unknown function": lambda b: _node(b).update(target="os.system"),
    "an unknown operator": lambda b: _node(b).update(target="aten:__import__"),
    "a function that is no operator": lambda b: _node(b).update(target="aten:save"),
    "a hidden method": lambda b: _node(b, "call_method").update(target="method:__reduce_ex__"),
    "an attribute": lambda b: _node(b).update(target="getattr", args=["x", "__class__"], kwargs={}),
    "a name that is code": lambda b: _node(b).update(name="x; import os"),
    "a parameter that is code": lambda b: b["nodes"][0].update(target="p=print(1)"),
    "a keyword that is code": lambda b: _node(b).update(kwargs={"a=print(1), b": 1}),
    "a node twice": lambda b: b["nodes"].insert(1, b["nodes"][0]),
    "an unknown node": lambda b: _node(b).update(args=[{"node": "nobody"}]),
    "an unknown kind": lambda b: _node(b).update(args=[{"pickle": "gASVAAAA"}]),
    "a type": lambda b: b["nodes"][0].update(type="f99"),
    "a size": lambda b: next(n for n in b["nodes"] if n["name"] == "x").update(shape=["Q", 2]),
    "no output": lambda b: b["nodes"].pop(),
    "no nodes": lambda b: b.pop("nodes"),
    "a kind of argument": lambda b: b["inputs"][0].__setitem__(0, "EVIL"),
    "a missing argument": _constants_gone,
    "a missing tensor": lambda b: b["inputs"][0].__setitem__(2, "elsewhere"),
    "a tree": lambda b: b.update(in_spec='[1, {"type": "os.system", "context": "1", "children_spec": []}]'),
    "deep nesting": lambda b: _node(b).update(args=[_nested(100)]),
}


def _nested(depth):
    return 1 if not depth else {"list": [_nested(depth - 1)]}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_files_are_refused(archive, change):
    with pytest.raises(RuntimeError, match="cannot be read as an exported program"):
        load(rewritten(archive, CHANGES[change]))


def test_damaged_files_are_refused(archive, tmp_path):
    content = archive.read_bytes()
    path = tmp_path / "damaged.pt2"
    for damaged in (content[:100], content[: len(content) // 2], b"", content.replace(b"aten:exp", b"aten:exq")):
        path.write_bytes(damaged)
        with pytest.raises(RuntimeError, match="cannot be read"):
            load(path)
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "nothing.pt2")
    with pytest.raises(TypeError, match="ExportedProgram"):
        save(Add(), path)


def test_a_failed_save_leaves_the_old_file(archive, tmp_path, monkeypatch):
    program = load(archive)
    path = tmp_path / "p.pt2"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        save(program, path)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["p.pt2"]


def test_backends_get_the_graph():
    seen = []

    def backend(graph_module, example_inputs):
        seen.append((len(example_inputs), [n.op for n in graph_module.graph.nodes].count("call_function")))
        return graph_module.forward

    torch._dynamo.register_backend(backend, name="mine")
    module = _seeded(CNN)
    x = torch.randn(2, 3, 8, 8)
    for chosen in (backend, "mine"):
        run = torch.compile(module, backend=chosen)
        for _ in range(2):
            np.testing.assert_allclose(run(x).detach().numpy(), module(x).detach().numpy(), rtol=1e-5, atol=1e-6)
    assert len(seen) == 2 and seen[0][0] == len(module.state_dict()) + 1 and seen[0][1] >= 7
    loss = torch.compile(lambda a, b: (a * b).sum(), backend=backend)
    a = torch.ones(3, requires_grad=True)
    loss(a, torch.arange(3.0)).backward()
    assert a.grad.tolist() == [0, 1, 2]
    with pytest.warns(UserWarning, match="runs without the backend"):
        assert torch.compile(Reads(), backend=backend)(torch.ones(2)).tolist() == [2, 2]


def test_decomposition_table():
    program = export(CNN().eval(), (torch.randn(2, 3, 8, 8),))
    table = {torch.ops.aten.relu.default: lambda x: torch.clamp(x, min=0)}
    text = str(program.run_decompositions(table))
    assert "aten.relu" in str(program) and "aten.relu" not in text and "clamp" in text
    assert isinstance(program.run_decompositions(), ExportedProgram)
