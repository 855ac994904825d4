"""Quantizing models: observers, rounding in training, and the modules that take the places of others.

observer.py and fake_quantize.py watch and round, qconfig.py says which of them a module gets, quantize.py replaces
modules.
"""

from __future__ import annotations

from .fake_quantize import *  # noqa: F403
from .observer import *  # noqa: F403
from .qconfig import *  # noqa: F403
from .quantize import *  # noqa: F403
from .stubs import DeQuantStub, QuantStub, QuantWrapper

__all__ = ["DeQuantStub", "QuantStub", "QuantWrapper"]
