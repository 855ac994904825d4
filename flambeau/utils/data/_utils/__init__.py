"""The parts of the loader: what makes batches, and what runs in worker processes."""

from __future__ import annotations

from . import collate as collate
from . import fetch as fetch
from . import pin_memory as pin_memory
from . import transfer as transfer
from . import worker as worker

MP_STATUS_CHECK_INTERVAL = 5.0
"""Seconds after which a process that waits looks whether the other still lives."""
