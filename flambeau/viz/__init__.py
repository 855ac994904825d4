"""``python -m flambeau viz``: a script runs, and a page shows what became of it: when what ran, the graph of fused
kernels, and for every kernel its operators, the lines they come from, its code and how far it is from the limit.

The page is one file that needs no network and executes nothing but its own script; texts lie compressed in it.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import html
import json
import os
import sys
import webbrowser
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

from ..compiled.limits import limits
from .collect import Collection, collecting
from .describe import describe

__all__ = ["collecting", "page", "run", "write"]

USAGE = """usage: python -m flambeau viz [-o PAGE.html] [--no-open] SCRIPT [ARGS ...]

Runs a script and writes a page (SCRIPT.viz.html, or PAGE.html) that shows what became of it, and opens it in the
browser where there is one."""


def run(arguments: Sequence[str], execute: Callable[[list[str]], None]) -> int:
    """Runs the command; ``execute`` runs a script with its arguments.  Returns the exit status, which is that of the
    script, or 2 for a command line that is not understood.  The page is written also if the script fails."""
    rest = list(arguments)
    out, show = "", True
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option in ("-h", "--help"):
            print(USAGE)
            return 0
        if option == "--no-open":
            show = False
        elif option in ("-o", "--output") and rest:
            out = rest.pop(0)
        else:
            print(USAGE, file=sys.stderr)
            return 2
    if not rest:
        print(USAGE, file=sys.stderr)
        return 2
    status: Any = 0
    collection = Collection()
    try:
        with collecting(collection):
            execute(rest)
    except SystemExit as stop:
        status = stop.code
    finally:
        target = out or os.path.basename(rest[0]).removesuffix(".py") + ".viz.html"
        write(target, page(collection, " ".join([os.path.basename(rest[0]), *rest[1:]])))
        print(f"{target}: {len(collection.runs)} programs and operators", file=sys.stderr)
        if show and (os.name == "nt" or sys.platform == "darwin" or os.environ.get("DISPLAY")):
            with contextlib.suppress(webbrowser.Error):
                webbrowser.open(f"file://{os.path.abspath(target)}")
    if isinstance(status, str):
        print(status, file=sys.stderr)
        return 1
    return int(status or 0)


def page(collection: Collection, title: str) -> str:
    """The page of what was collected."""
    data, texts = describe(collection, limits(), title)
    codes = "\n".join(
        f'<script id="code{k}" type="application/octet-stream">{_packed(text)}</script>' for k, text in enumerate(texts)
    )
    parts = {
        "title": html.escape(title),
        "style": _file("page.css"),
        "script": _file("page.js"),
        "data": _packed(data),
        "codes": codes,
    }
    made = _file("page.html")
    for name, part in parts.items():
        made = made.replace("{{" + name + "}}", part)
    return made


def write(path: str, text: str) -> None:
    """Writes a file whole or not at all."""
    part = f"{path}.{os.getpid()}.part"
    with open(part, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(part, path)


def _file(name: str) -> str:
    return (resources.files(__package__) / name).read_text("utf-8")


def _packed(value: Any) -> str:
    return base64.b64encode(gzip.compress(json.dumps(value, separators=(",", ":")).encode(), 6, mtime=0)).decode()
