"""flambeau under PyTorch's name, in this process's children: one module object each, and no part of another torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import flambeau
from flambeau.alias import TREE

PROGRAM = """
import importlib.metadata, importlib.util, subprocess, sys
import torch, torch.nn as nn, torch.nn.functional as F
from torch.utils.data import DataLoader
import torch.multiprocessing as mp

def child(index):
    import torch
    assert torch is sys.modules["flambeau"] and importlib.metadata.version("torch") == torch.__version__

if __name__ == "__main__":
    import flambeau
    assert torch is flambeau and nn is sys.modules["flambeau.nn"] is torch.nn and F is torch.nn.functional
    assert importlib.metadata.version("torch") == str(torch.__version__)
    assert importlib.util.find_spec("torch") and importlib.util.find_spec("torch.optim.adam")
    assert importlib.util.find_spec("torch.nothing") is None
    assert nn.__spec__.name == "flambeau.nn" and not [m for m in sys.modules if m.startswith("torch._C.")]
    try:
        import torch.nothing
    except ModuleNotFoundError:
        pass
    mp.spawn(child)
    subprocess.run([sys.executable, "-c", "import torch.nn, flambeau; assert torch is flambeau"], check=True)
    print(sys.argv[1:], sys.path[0], __file__)
"""


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    place = str(Path(flambeau.__file__).parent.parent)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([place, os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(
        [sys.executable, "-m", "flambeau", *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=300
    )


def test_programs_run_as_if_under_pytorch(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    done = run(str(script), "a", "-b", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"['a', '-b'] {tmp_path} {script}"
    done = run("-m", "program", "c", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.startswith("['c']"), done.stderr


def test_command_line(tmp_path: Path) -> None:
    assert run(cwd=tmp_path).returncode == 2 and run("missing.py", cwd=tmp_path).returncode == 2
    assert "usage" in run("--help", cwd=tmp_path).stdout
    (tmp_path / "fails.py").write_text("raise SystemExit(7)")
    assert run("fails.py", cwd=tmp_path).returncode == 7


def test_another_torch_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "torch"
    other.mkdir()
    (other / "__init__.py").write_text("")
    path = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
    code = path + "import torch, flambeau; flambeau.install_as_torch()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "imported already" in done.stderr
    code = path + "import flambeau; flambeau.install_as_torch(); import torch; print(torch.__file__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == flambeau.__file__


def test_metadata_has_the_version() -> None:
    (info,) = TREE.glob("torch-*.dist-info")
    assert f"Version: {flambeau.__version__}\n" in (info / "METADATA").read_text()
