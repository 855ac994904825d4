"""``python -m flambeau viz``: what is collected of a script, and the page made of it."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import flambeau as torch
from flambeau.compiled.limits import limits
from flambeau.dispatch.call import around, special
from flambeau.runtime import engine
from flambeau.viz import page
from flambeau.viz.collect import Collection, collecting
from flambeau.viz.describe import describe
from flambeau.viz.layout import layered

SCRIPT = """
import sys
import torch

w = torch.ones(4, 4, requires_grad=True)
x = torch.linspace(0, 1, 8).reshape(2, 4)


@torch.compile
def model(x):
    return torch.tanh(x @ w).softmax(-1)


for _ in range(3):
    loss = (model(x) ** 2).sum()
    loss.backward()
    print(loss.item())
    w.grad.mul_(0.5)
torch.linalg.inv(torch.eye(3))
print("</script><b>", sys.argv[1])
raise SystemExit(3)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(the finished process, the text of the page) of a run of the script."""
    folder = tmp_path_factory.mktemp("viz")
    script = folder / "training <b>.py"
    script.write_text(SCRIPT)
    out = folder / "page.html"
    command = [sys.executable, "-m", "flambeau", "viz", "-o", str(out), "--no-open", str(script), "argument"]
    root = Path(__file__).resolve().parent.parent
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment(root), check=False)
    return ran, out.read_text()


def environment(root):
    return {**os.environ, "PYTHONPATH": str(root)}


def unpacked(text, name):
    (found,) = re.findall(rf'<script id="{name}" type="application/octet-stream">([^<]*)</script>', text)
    return json.loads(gzip.decompress(base64.b64decode(found)))


def test_the_script_runs_as_it_would(made):
    ran, _ = made
    assert ran.returncode == 3
    assert ran.stdout.splitlines()[-1] == "</script><b> argument" and len(ran.stdout.splitlines()) == 4
    assert "page.html: " in ran.stderr


def test_the_page_stands_for_itself(made):
    _, text = made
    assert "http:" not in text.replace("http://www.w3.org/2000/svg", "") and "https:" not in text
    assert "default-src 'none'" in text and "{{" not in text
    assert "<title>training &lt;b&gt;.py argument</title>" in text


def test_the_page_tells_kernels_with_lines_code_and_limits(made):
    _, text = made
    data = unpacked(text, "data")
    names, places = data["names"], data["places"]
    program = max((r for r in data["runs"] if names[r["name"]].startswith("program")), key=lambda r: r["operators"])
    assert program["count"] >= 2 and names[program["reason"]] == "item"
    lines = SCRIPT.splitlines()
    forward = next(k for k, line in enumerate(lines, 1) if "tanh" in line)
    backward = next(k for k, line in enumerate(lines, 1) if "backward" in line)
    calls = [call for kernel in program["kernels"] for call in kernel["calls"]]
    assert any(places[p].endswith(f":{forward}") and by == -1 for _, p, by in calls)
    # what differentiates a line belongs to that line
    assert any(
        places[p].endswith(f":{forward}") and by >= 0 and places[by].endswith(f":{backward}") for _, p, by in calls
    )
    for kernel in program["kernels"]:
        assert kernel["us"] > 0 and kernel["limit"] > 0 and kernel["bytes"] > 0
        code = unpacked(text, f"code{kernel['code']}")
        assert "define" in code["llvm"] and "ret" in code["assembly"]
        assert ("kernel(" in code["loop"]) == (kernel["name"] == "kernel")
    assert all(a < b for a, b in program["edges"]) and len(program["at"]) == len(program["kernels"])
    eager = [names[r["name"]] for r in data["runs"]]
    assert "mul_" in eager and "_linear_steps" in eager
    assert sum(names[e[3]] == "mul_" for e in data["events"]) == 3
    starts = [e[0] for e in data["events"]]
    assert starts == sorted(starts) and all(e[1] >= 0 for e in data["events"])
    (file,) = {p.rpartition(":")[0] for p in places if p.endswith(".py") or "training" in p}
    assert data["files"][file][str(forward)] == lines[forward - 1]


def test_collecting_leaves_nothing_behind_and_changes_no_values():
    x = torch.linspace(-1, 1, 6)
    run = torch.compile(lambda t: t.exp().mul_(2))
    wanted = run(x).tolist()
    collection = Collection()
    torch.manual_seed(3)
    drawn = torch.rand(2).tolist()
    torch.manual_seed(3)
    with collecting(collection):
        assert run(x).tolist() == wanted
        target = torch.ones(3)
        target.add_(1)
        assert target.tolist() == [2, 2, 2]
        assert torch.rand(2).tolist() == drawn
    assert engine.observer is None and not special and not around.wrappers
    assert {"add_", "program 0"} <= {run.name for run in collection.runs}
    data, texts = describe(collection, limits(), "here")
    assert len(data["runs"]) == len(collection.runs) and texts and "</html>" in page(collection, "here")


def test_a_resized_plan_tells_its_own_bytes():
    torch.ones(10).exp()
    collection = Collection()
    x = torch.ones(1000)
    with collecting(collection):
        x.exp()
    (run,) = collection.runs
    assert run.work[0].step.nbytes == 8000 and run.work[0].step.work == 1000


def test_layers_follow_the_edges():
    edges = [(0, 1), (0, 2), (1, 3), (2, 3), (4, 5)]
    at = layered(6, edges)
    assert all(at[a][1] < at[b][1] for a, b in edges)
    assert len(set(at)) == 6
    wide = layered(100, [(0, k) for k in range(1, 100)])
    assert len(set(wide)) == 100 and max(abs(c) for c, _ in wide) <= 4
    assert layered(0, []) == []


@pytest.mark.parametrize("arguments", [[], ["-x", "a.py"], ["-o"]])
def test_wrong_command_lines(arguments):
    command = [sys.executable, "-m", "flambeau", "viz", *arguments]
    root = Path(__file__).resolve().parent.parent
    ran = subprocess.run(command, capture_output=True, text=True, env=environment(root), check=False)
    assert ran.returncode == 2 and "usage: python -m flambeau viz" in ran.stderr
