"""The documents: what they show is what comes out, and what they name exists.

The ``python`` blocks of a document are run, in order and in one namespace; a ``text`` block after one is what it
prints.  ``python tests/test_docs.py`` writes the present output into the documents.
"""

from __future__ import annotations

import contextlib
import io
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "flambeau/*/README.md", "tests/*.md", "examples/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
EXECUTED = [f"docs/{name}.md" for name in ("tour", "debugging", "distributed", "function-transforms", "quantization")]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_blocks(text: str) -> str:
    """``text`` with the output of its python blocks as it is now."""
    namespace: dict[str, Any] = {"__name__": "tour"}
    printed: str | None = None

    def replace(match: re.Match[str]) -> str:
        nonlocal printed
        kind, body = match.groups()
        if kind == "python":
            stream = io.StringIO()
            with contextlib.redirect_stdout(stream):
                exec(compile(body, "<document>", "exec"), namespace)
            printed = stream.getvalue()
        elif kind == "text" and printed is not None:
            # No line of a document ends in blanks.
            body, printed = re.sub(r"[ \t]+$", "", printed, flags=re.MULTILINE), None
        return f"```{kind}\n{body}```"

    return BLOCK.sub(replace, text)


@pytest.mark.parametrize("document", EXECUTED)
def test_blocks_print_what_the_document_shows(document: str) -> None:
    text = (ROOT / document).read_text()
    assert run_blocks(text) == text, "python tests/test_docs.py writes the present output"


def test_a_program_written_for_pytorch_runs() -> None:
    """In a process of its own, because it gives flambeau PyTorch's name."""
    blocks = dict(BLOCK.findall((ROOT / "docs/running-programs.md").read_text()))
    command = [sys.executable, "-c", blocks["python"]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == (blocks["text"], 0), done.stderr


def test_readme_has_two_commands_and_ci_runs_the_second() -> None:
    commands = [body for kind, body in BLOCK.findall((ROOT / "README.md").read_text()) if kind == "sh"]
    assert len(commands) == 2
    assert all(command.count("\n") == 1 for command in commands)
    example, tests = (command.strip().split(" && ") for command in commands)
    assert (ROOT / example[-1].split()[-1]).is_file()
    assert tests[-1] == (ROOT / ".ci/run").read_text().strip().splitlines()[-1]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_a_document_names_exist(document: str) -> None:
    text = BLOCK.sub("", (ROOT / document).read_text())
    names = re.findall(r"`([\w./-]+(?:\.py|\.md|/))`", text) + re.findall(r"\]\(([\w./-]+)\)", text)
    folders = [ROOT, (ROOT / document).parent, ROOT / "flambeau", ROOT / "docs"]
    if document == "docs/architecture.md":  # a row names a folder and then what is in it
        folders += [path for path in (ROOT / "flambeau").iterdir() if path.is_dir()]
    written = ("out/", "flambeau/ops/softclip.py")  # by the examples, and by the test below
    missing = [
        name
        for name in names
        if name not in written
        and not any((folder / name).exists() for folder in folders)
        and not any((ROOT / document).parent.glob(f"*/{name}"))
    ]
    assert not missing, f"{document} names {missing}"


# What the page on adding an operator promises, as a program that runs with the package of the page.
PROMISES = """
import inspect
import numpy as np
import flambeau as torch

def expected(x, limit):
    return x / (1 + np.abs(x) / limit)

x = torch.randn(5, 7, dtype=torch.float64)
values = x.numpy()
assert np.allclose(torch.softclip(x).numpy(), expected(values, 1.0))
assert np.allclose(x.softclip(limit=3).numpy(), expected(values, 3))
assert np.allclose(torch.softclip(x.t(), 2.0).numpy(), expected(values.T, 2.0))
assert torch.softclip(torch.tensor([-4, 0, 4]), 4).tolist() == [-2, 0, 2]
assert torch.softclip(torch.empty(0, 3)).shape == (0, 3)
assert torch.softclip(torch.tensor(1.0)).item() == 0.5

y = x.clone()
assert y.softclip_(2.0) is y and np.allclose(y.numpy(), expected(values, 2.0))
out = torch.empty(5, 7, dtype=torch.float64)
assert torch.softclip(x, 2.0, out=out) is out and np.allclose(out.numpy(), expected(values, 2.0))
meta = torch.softclip(torch.empty(4, 2, device="meta", dtype=torch.int32))
assert (meta.shape, meta.dtype, meta.device.type) == ((4, 2), torch.float32, "meta")

w = torch.randn(6, dtype=torch.float64, requires_grad=True)
assert torch.autograd.gradcheck(lambda t: torch.softclip(t, 1.5), w)
assert torch.autograd.gradgradcheck(lambda t: torch.softclip(t, 1.5), w)
assert "SoftclipBackward" in repr(torch.softclip(w))

compiled = torch.compile(lambda t: torch.softclip(t, 1.5).sum())
assert np.isclose(compiled(x).item(), expected(values, 1.5).sum())
assert list(inspect.signature(torch.softclip).parameters)[:2] == ["input", "limit"]
assert "close to ``input`` near 0" in torch.softclip.__doc__
"""


@pytest.mark.parametrize("own_gradient", [False, True])
def test_an_operator_is_one_file(tmp_path: Path, own_gradient: bool) -> None:
    blocks = [body for kind, body in BLOCK.findall((ROOT / "docs/add-an-operator.md").read_text()) if kind == "python"]
    shutil.copytree(ROOT / "flambeau", tmp_path / "flambeau", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "flambeau/ops/softclip.py").write_text("\n\n".join(blocks if own_gradient else blocks[:1]))
    done = subprocess.run([sys.executable, "-c", PROMISES], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    for name in EXECUTED:
        path = ROOT / name
        path.write_text(run_blocks(path.read_text()))
