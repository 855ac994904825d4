"""What all tests share: hypothesis' profile, and the threads of a parallel run."""

from __future__ import annotations

import os
import zlib

import hypothesis
import numpy as np
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers already fill the cores; numpy's and PyTorch's pools read this when they are imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The first call of a kernel compiles it, so an example's time says nothing; CI repeats the same examples.
hypothesis.settings.register_profile("flambeau", deadline=None, derandomize="CI" in os.environ, print_blob=True)
hypothesis.settings.load_profile("flambeau")


@pytest.fixture(autouse=True)
def own_numbers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives each test of a file with a generator ``RNG`` a new one, seeded with the test's name: what a test draws does
    not depend on which tests ran before it."""
    if hasattr(request.module, "RNG"):
        monkeypatch.setattr(request.module, "RNG", np.random.default_rng(zlib.crc32(request.node.name.encode())))


@pytest.fixture
def few_operators_are_worth_repeating(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests whose compiled functions are small and stand for larger ones."""
    monkeypatch.setattr("flambeau.compiled.default_mode._FEW", -1)
