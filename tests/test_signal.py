"""Window functions against scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal

import flambeau
from flambeau.signal import windows

CASES = {
    "bartlett": {}, "blackman": {}, "cosine": {}, "hann": {}, "hamming": {}, "nuttall": {}, "kaiser": {"beta": 8.6},
    "gaussian": {"std": 3.0}, "exponential": {"tau": 2.5}, "general_cosine": {"a": [0.5, 0.3, 0.2]},
    "general_hamming": {"alpha": 0.6},
}  # fmt: skip


@pytest.mark.parametrize("sym", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_windows(name: str, sym: bool) -> None:
    for m in (0, 1, 2, 9, 16):
        found = getattr(windows, name)(m, sym=sym, dtype=flambeau.float64, **CASES[name])
        wanted = getattr(scipy.signal.windows, name)(m, sym=sym, **CASES[name])
        np.testing.assert_allclose(found.numpy(), wanted, 1e-12, 1e-12)
    narrow = getattr(windows, name)(9, sym=sym, requires_grad=True, **CASES[name])
    assert (narrow.dtype, narrow.requires_grad) == (flambeau.float32, True)


def test_refusals() -> None:
    for bad in (
        lambda: windows.hann(-1),
        lambda: windows.hann(3, dtype=flambeau.int64),
        lambda: windows.gaussian(3, std=0),
        lambda: windows.exponential(3, tau=-1),
        lambda: windows.exponential(3, center=1.0),
        lambda: windows.kaiser(3, beta=-1),
        lambda: windows.general_cosine(3, a=[]),
        lambda: windows.hann(3, layout=flambeau.sparse_coo),
    ):
        with pytest.raises(ValueError):
            bad()
    with pytest.raises(TypeError):
        windows.general_cosine(3, a=0.5)
    np.testing.assert_allclose(
        windows.exponential(5, center=1.0, sym=False).numpy(), scipy.signal.windows.exponential(5, 1.0, sym=False), 1e-6
    )
