"""The documents: what they show is what comes out, and what they name exists.

A ``python`` block of docs/tour.md is run, in order and in one namespace; a ``text`` block after it is what it
prints.  ``python tests/test_docs.py`` writes the present output into the document.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "flambeau/*/README.md", "tests/*.md", "examples/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
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


@pytest.mark.parametrize("document", ["docs/tour.md"])
def test_blocks_print_what_the_document_shows(document: str) -> None:
    text = (ROOT / document).read_text()
    assert run_blocks(text) == text, "python tests/test_docs.py writes the present output"


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
    written = ("out/",)  # by the examples
    missing = [name for name in names if name not in written and not any((f / name).exists() for f in folders)]
    assert not missing, f"{document} names {missing}"


if __name__ == "__main__":
    tour = ROOT / "docs/tour.md"
    tour.write_text(run_blocks(tour.read_text()))
