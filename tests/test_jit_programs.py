"""Programs that ``torch.jit.save`` wrote, and graphs of TorchScript's intermediate representation."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from typing import Dict, List, Optional  # noqa: UP035  # what TorchScript's compiler reads

import numpy as np
import pytest

import flambeau
from flambeau import jit

reference = pytest.importorskip("torch")


class _Pair:
    def __init__(self, a: int, b: int):
        self.a = a
        self.b = b

    def total(self) -> int:
        return self.a + self.b


with warnings.catch_warnings():  # the reference's compiler is deprecated
    warnings.simplefilter("ignore")
    Pair = reference.jit.script(_Pair)

pytestmark = pytest.mark.filterwarnings("ignore")


class Model(reference.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = reference.nn.Linear(3, 2)
        self.rest = reference.nn.ModuleList([reference.nn.Linear(2, 2), reference.nn.Linear(2, 2)])
        self.norm = reference.nn.Sequential(reference.nn.Conv1d(1, 2, 3), reference.nn.BatchNorm1d(2))
        self.register_buffer("shift", reference.ones(2))
        self.scale = 3

    def forward(self, x, flag: bool = True, more: Optional[reference.Tensor] = None):  # noqa: UP045
        out = self.first(x)
        if flag:
            out = out + self.shift * self.scale
        for i in range(3):
            out = out.relu() + i
            if i > 5:
                break
        for layer in self.rest:
            out = layer(out)
        n = 0
        while bool(out.sum() < 100) and n < 5:
            out = out * 2
            n += 1
        if more is not None:
            out = out + more
        table: Dict[str, reference.Tensor] = {"out": out}  # noqa: UP006
        pair = Pair(1, n)
        squares: List[int] = [k * k for k in range(pair.total())]  # noqa: UP006
        assert len(squares) == n + 1
        half = out.to(reference.float64)[..., 0:1]
        return table["out"] + self.norm(reference.ones(1, 1, 5)).mean(), squares, f"{n} steps", half, out.shape[0]

    @reference.jit.export
    def more(self, n: int) -> int:
        return n + self.scale


def same(ours, theirs):
    if isinstance(theirs, reference.Tensor):
        assert str(ours.dtype) == str(theirs.dtype)
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-4, atol=1e-5)
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs):
            same(a, b)
    else:
        assert ours == theirs


def saved(module, **options):
    buffer = io.BytesIO()
    reference.jit.save(module, buffer, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def program():
    reference.manual_seed(0)
    return reference.jit.script(Model())


def test_a_scripted_model(program, tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(saved(program, _extra_files={"note": "hello"}))
    extra = {"note": ""}
    ours = jit.load(path, _extra_files=extra)
    assert extra["note"] == b"hello" and isinstance(ours, flambeau.jit.ScriptModule)
    assert list(ours.state_dict()) == list(program.state_dict())
    x = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    for options in ({}, {"flag": False}):
        same(ours(flambeau.tensor(x), **options), program(reference.tensor(x), **options))
    assert ours.more(4) == 7
    ours(flambeau.tensor(x))[0].sum().backward()
    assert all(p.grad is not None for p in ours.rest.parameters())
    assert ours.eval().norm.training is False


def test_layers_scripted_and_traced():
    nn = reference.nn
    image = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Upsample(scale_factor=2.0),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(16, 4),
        nn.Softmax(-1),
    ).eval()
    words = nn.Sequential(nn.Embedding(7, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.GELU()).eval()
    for module, x in ((image, reference.randn(2, 3, 8, 8)), (words, reference.randint(0, 7, (2, 5)))):
        for made in (reference.jit.script(module), reference.jit.trace(module, x, check_trace=False)):
            with flambeau.no_grad(), reference.no_grad():
                same(jit.load(io.BytesIO(saved(made)))(flambeau.tensor(x.numpy())), made(x))


def test_units_keep_classes_and_functions(program):
    unit = flambeau.CompilationUnit()
    module = flambeau.import_ir_module_from_buffer(unit, saved(program))
    assert module.more(1) == 4 and isinstance(unit.get_class(_name(unit)), type)
    text = flambeau.CompilationUnit("def twice(x):\n    return torch.relu(x) * 2")
    assert text.twice(flambeau.tensor(3)).item() == 6 and len(text.get_functions()) == 1
    with pytest.raises(AttributeError, match="has no attribute"):
        _ = text.thrice


def _name(unit):
    return next(n for n in unit._members if n.endswith(".Model"))


def altered(data, old, new):
    """The archive with other code."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        for entry in source.namelist():
            contents = source.read(entry)
            target.writestr(entry, contents.replace(old, new) if entry.endswith(".py") else contents)
    return out.getvalue()


@pytest.mark.parametrize(
    "code",
    [
        b"n.__class__",
        b"(n).bit_length()",
        b'getattr(n, "__class__")',
        b'open("x")',
        b"[n for n in [1]]",
        b"(lambda: n)()",
        b'ops.prim.eval("1")',
        b"torch.__class__",
        b'__torch__.os.system("true")',
        b"print.__self__",
    ],
)
def test_code_that_is_not_torchscript_is_refused(program, code):
    data = altered(saved(program), b"return torch.add(n, scale)", b"return " + code)
    with pytest.raises((RuntimeError, NameError, AttributeError)):
        jit.load(io.BytesIO(data)).more(1)


def test_files_that_hold_no_program(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        jit.load(tmp_path / "none.pt")
    flambeau.save({"a": 1}, tmp_path / "plain.pt")
    with pytest.raises(RuntimeError, match="holds no program"):
        jit.load(tmp_path / "plain.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(RuntimeError, match="no archive"):
        jit.load(tmp_path / "text.pt")


# -- graphs ------------------------------------------------------------------------------------------


def test_graphs_have_the_text_that_was_read(program):
    for text in (str(program.graph), str(program.inlined_graph)):
        graph = flambeau.parse_ir(text)
        graph.lint()
        again = flambeau.parse_ir(str(graph))
        assert str(again) == str(graph) and len(list(again.nodes())) == len(list(graph.nodes()))


def numbered(graph):
    """The text with values numbered in the order in which they are met: the reference keeps few names."""
    names = {}
    return re.sub(r"%[\w.]+", lambda m: f"%{names.setdefault(m[0], len(names))}", str(graph))


def test_graphs_agree_with_the_reference():
    text = """graph(%a : Tensor, %flag : bool):
  %one : int = prim::Constant[value=1]()
  %s : str = prim::Constant[value="a, b"]()
  %c : Tensor = aten::add(%a, %a, %one)
  %d : Tensor = prim::If(%flag)
    block0():
      %e : Tensor = aten::relu(%c)
      -> (%e)
    block1():
      -> (%a)
  %f : Tensor, %g : Tensor = aten::max(%d, %one, %flag)
  return (%f, %g)
"""
    ours, theirs = flambeau.parse_ir(text), reference._C.parse_ir(text)
    assert numbered(ours) == numbered(theirs)
    assert [n.kind() for n in ours.nodes()] == [n.kind() for n in theirs.nodes()]
    add, branch = ours.findNode("aten::add"), ours.findNode("prim::If")
    assert [v.debugName() for v in add.inputs()] == ["a", "a", "one"] and str(add.output().type()) == "Tensor"
    assert len(ours.findAllNodes("aten::relu")) == 1 and not ours.findAllNodes("aten::relu", recurse=False)
    assert [u.user.kind() for u in add.output().uses()] == ["aten::relu"]
    assert ours.findNode("prim::Constant").output().toIValue() == 1
    assert ours.findNode("prim::Constant").i("value") == 1 and ours.findNode("prim::Constant").kindOf("value") == "i"
    negative = ours.create("aten::neg", [add.output()])
    negative.insertAfter(add)
    branch.output().replaceAllUsesWith(negative.output())
    branch.destroy()
    ours.lint()
    assert "prim::If" not in str(ours) and ours.copy().findNode("aten::neg") is not None
    with pytest.raises(RuntimeError, match="cannot be destroyed"):
        add.destroy()


def test_graphs_that_are_built():
    graph = flambeau.Graph()
    x = graph.addInput("x")
    two = graph.insertConstant(2)
    node = graph.appendNode(graph.create("aten::mul", [x, two]))
    node.output().setDebugName("y")
    graph.registerOutput(node.output())
    graph.lint()
    assert numbered(graph) == numbered(reference._C.parse_ir(str(graph)))
    node.replaceInput(1, x)
    assert [u.offset for u in x.uses()] == [0, 1]
    for bad, words in (("graph(%a : Tensor):\n  return (%b)\n", "before it is computed"), ("hello", "cannot read")):
        with pytest.raises(RuntimeError, match=words):
            flambeau.parse_ir(bad)
