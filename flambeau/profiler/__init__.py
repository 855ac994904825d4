"""Profiles of programs, step by step: ``with profile(schedule=schedule(...)) as prof: ...; prof.step()``."""

from __future__ import annotations

from ..autograd.profiler import record_function
from . import profiler as profiler
from .profiler import (
    DeviceType,
    ProfilerAction,
    ProfilerActivity,
    kineto_available,
    profile,
    schedule,
    supported_activities,
    tensorboard_trace_handler,
)

__all__ = [
    "DeviceType", "ProfilerAction", "ProfilerActivity", "kineto_available", "profile", "record_function", "schedule",
    "supported_activities", "tensorboard_trace_handler",
]  # fmt: skip
