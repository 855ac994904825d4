"""``python -m flambeau SCRIPT [ARGS]`` and ``python -m flambeau -m MODULE [ARGS]``: a PyTorch program, run by flambeau.

The program runs as if Python had been called with it, but for ``import torch``, which gives flambeau.
"""

from __future__ import annotations

import io
import os
import runpy
import sys
from types import ModuleType

from flambeau import kernels, viz
from flambeau.alias import install_as_torch
from flambeau.version import __version__

_USAGE = """usage: python -m flambeau SCRIPT [ARGS ...]
       python -m flambeau -m MODULE [ARGS ...]
       python -m flambeau cache [list | warm | prune | clear]
       python -m flambeau viz [-o PAGE.html] [--no-open] SCRIPT [ARGS ...]

Runs a program written for PyTorch: in it, and in the processes it starts, `import torch` gives flambeau.
`viz` runs it too and writes a page that shows what became of it."""


def _run_file(path: str) -> None:
    """Runs a script as Python does: in a module of its own called __main__, which new processes find by its file."""
    if os.path.isdir(path) or path.endswith((".zip", ".pyz")):
        runpy.run_path(path, run_name="__main__")
        return
    with io.open_code(os.path.abspath(path)) as file:
        code = compile(file.read(), path, "exec")
    module = ModuleType("__main__")
    module.__file__ = path
    module.__builtins__ = __builtins__  # type: ignore[attr-defined]
    sys.modules["__main__"] = module
    exec(code, module.__dict__)


def main(arguments: list[str]) -> None:
    """Runs the program that the command line names; exits with 2 if it names none."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE)
        sys.exit(0 if arguments else 2)
    if arguments[0] in ("-V", "--version"):
        print(f"flambeau, with the API of PyTorch {__version__}")
        return
    if arguments[0] == "cache" and not os.path.exists("cache"):
        sys.exit(kernels.main(arguments[1:]))
    if arguments[0] == "viz" and not os.path.exists("viz"):
        sys.exit(viz.run(arguments[1:], _execute))
    _execute(arguments)


def _execute(arguments: list[str]) -> None:
    """Runs a program with its arguments."""
    named = arguments[0] == "-m"
    if named and len(arguments) < 2:
        print("Argument expected for the -m option\n" + _USAGE, file=sys.stderr)
        sys.exit(2)
    program = arguments[1] if named else arguments[0]
    if not named:
        if not os.path.exists(program):
            print(f"python -m flambeau: can't open file {program!r}: no such file or directory", file=sys.stderr)
            sys.exit(2)
        # ``python -m`` has put the working directory there; a script has its own folder instead.
        sys.path[0] = os.path.dirname(os.path.abspath(program))
    sys.argv = [program, *arguments[1 + named :]]
    install_as_torch()
    if named:
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        _run_file(program)


if __name__ == "__main__":
    main(sys.argv[1:])
