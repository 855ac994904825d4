"""What FLAMBEAU_DEBUG shows: each level a stage more, all of it on stderr."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import flambeau

STAGES = {  # what the first level that shows a stage prints
    1: "flambeau: compiled ",
    2: "flambeau: must compile ",
    3: "= exp(%0)",
    4: "for i0 in",
    5: "define internal void",
    6: "flambeau: assembly of ",
}


@pytest.mark.parametrize("level", range(7))
def test_levels(level: int) -> None:
    environment = {
        **os.environ,
        "FLAMBEAU_DEBUG": str(level),
        "FLAMBEAU_CACHE": "0",
        "PYTHONPATH": str(Path(flambeau.__file__).parent.parent),
    }
    program = "import flambeau; print(flambeau.exp(flambeau.ones(3)).shape)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "torch.Size([3])\n"
    shown = {stage for stage, sign in STAGES.items() if sign in done.stderr}
    assert shown == set(range(1, level + 1))
