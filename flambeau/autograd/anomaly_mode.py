"""Anomaly mode: errors and nans of a backward pass tell which forward call they come from."""

from __future__ import annotations

import warnings

from .saved import watch

__all__ = ["detect_anomaly", "is_anomaly_check_nan_enabled", "is_anomaly_enabled", "set_detect_anomaly"]


def is_anomaly_enabled() -> bool:
    """Whether anomaly mode is on."""
    return watch.anomaly


def is_anomaly_check_nan_enabled() -> bool:
    """Whether anomaly mode also refuses gradients that hold nan."""
    return watch.check_nan


def _set(mode: bool, check_nan: bool) -> None:
    watch.add(int(mode) - int(watch.anomaly))
    watch.anomaly = mode
    watch.check_nan = check_nan


class set_detect_anomaly:
    """Switches anomaly mode (of all threads) at once; as a context manager, back at the end of the block."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.prev = watch.anomaly
        self.prev_check_nan = watch.check_nan
        _set(bool(mode), check_nan)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        _set(self.prev, self.prev_check_nan)


class detect_anomaly:
    """Inside the block, every node remembers where it was recorded; an error in its derivative, or (``check_nan``) a
    nan that it returns, is reported with that place.
    """

    def __init__(self, check_nan: bool = True) -> None:
        self.prev = watch.anomaly
        self.prev_check_nan = watch.check_nan
        self.check_nan = check_nan
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should only be enabled for "
            "debugging.",
            stacklevel=2,
        )

    def __enter__(self) -> None:
        self.prev = watch.anomaly
        self.prev_check_nan = watch.check_nan
        _set(True, self.check_nan)

    def __exit__(self, *exc: object) -> None:
        _set(self.prev, self.prev_check_nan)
