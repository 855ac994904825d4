"""What all tests share: hypothesis' profile, and the threads of a parallel run."""

from __future__ import annotations

import os

import hypothesis

if "PYTEST_XDIST_WORKER" in os.environ:
    # The workers already fill the cores; numpy's and PyTorch's pools read this when they are imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The first call of a kernel compiles it, so an example's time says nothing; CI repeats the same examples.
hypothesis.settings.register_profile("flambeau", deadline=None, derandomize="CI" in os.environ, print_blob=True)
hypothesis.settings.load_profile("flambeau")
