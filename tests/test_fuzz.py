"""Random calls in guard mode (``tools/fuzz.py``), and what longer runs of it found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import flambeau as torch

ROOT = Path(__file__).resolve().parent.parent


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs Python in guard mode, where a stray access ends the process."""
    environment = {**os.environ, "FLAMBEAU_GUARD": "1", "PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1"}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, env=environment, cwd=ROOT)


def test_random_calls() -> None:
    """Forty calls; hours of them are for ``tools/fuzz.py`` itself."""
    chosen = "^(add|sum|cat|gather|index_select|softmax|matmul|where|Tensor.unfold|nn.functional.conv1d)$"
    done = run(str(ROOT / "tools/fuzz.py"), "--cases", "40", "--only", chosen)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 cases of 9 targets" in done.stderr


def test_a_crash_is_a_finding() -> None:
    """A case that kills its worker is named, and the run goes on."""
    script = (
        "import ctypes, sys; sys.path.insert(0, 'tools'); import fuzz\n"
        "fuzz.SCRIPT = ['-c', sys.orig_argv[2]]\n"
        "if '--worker' in sys.argv: fuzz.perform = lambda *a: ctypes.string_at(0)\n"
        "fuzz.main()"
    )
    done = run("-c", script, "--cases", "2", "--only", "^(add|mul)$")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1 and [f["kind"] for f in found] == ["crash", "crash"], done.stderr
    assert {f["case"].split(":")[0] for f in found} == {"add", "mul"}


READS = """
import flambeau as torch
F = torch.nn.functional
for kind in (torch.float64, torch.complex64, torch.bool):
    for shape in ((1, 0), (2, 0, 3)):
        x = torch.zeros(shape, dtype=kind).as_strided(shape, (0,) * len(shape))
        assert x.sum() == 0 and torch.all(x) and not torch.any(x)
x = torch.randn(3, 16, 40, 50)
F.max_pool2d(x, 5, 3, 2)
F.avg_pool2d(x, 5, 3, 2)
torch.nn.LocalResponseNorm(3)(x)
"""


def test_nothing_is_read_outside_of_storages() -> None:
    """Loads moved out of loops that never run; the vectors in which rows of a pooling are read back."""
    done = run("-c", READS)
    assert done.returncode == 0, done.stderr


WRONG = {
    "qr of a number": (TypeError, "'input' (position 1) must be Tensor, not float", lambda: torch.qr(3.0)),
    "sum along a name": (TypeError, "'dim' (position 2) must be int, not str", lambda: torch.ones(3).sum("x")),
    "a size with parts": (TypeError, "found element of type float", lambda: torch.empty((2.5,))),
    "no complex form": (NotImplementedError, "trunc", lambda: torch.frac(torch.ones(2, dtype=torch.complex64))),
    "dimension of tensordot": (
        IndexError,
        "tensordot",
        lambda: torch.tensordot(torch.ones(2), torch.ones(2), [[5], [0]]),
    ),
    "memory format": (
        RuntimeError,
        "required rank 4",
        lambda: torch.ones(3).contiguous(memory_format=torch.channels_last),
    ),
    "value of a batch": (
        RuntimeError,
        "item",
        lambda: torch.vmap(lambda n: torch.polygamma(n, torch.ones(2)))(torch.tensor([1, 2])),
    ),
    "factor of a product": (
        TypeError,
        "'alpha'",
        lambda: torch.addbmm(torch.ones(2, 2), torch.ones(1, 2, 2), torch.ones(1, 2, 2), alpha=()),
    ),
    "elements of atleast": (TypeError, "element 0", lambda: torch.atleast_2d([3, torch.ones(2)])),
    "length of a window": (MemoryError, "cannot get", lambda: torch.bartlett_window(1 << 62)),
    "number of a reduction": (ValueError, "reduction", lambda: torch.kl_div(torch.ones(2), torch.ones(2), 7)),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_are_named(name: str) -> None:
    kind, text, call = WRONG[name]
    with pytest.raises(kind) as caught:
        call()
    assert text in str(caught.value)
