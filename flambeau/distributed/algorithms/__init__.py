"""Ways of communicating in training."""

from __future__ import annotations

from . import ddp_comm_hooks as ddp_comm_hooks
