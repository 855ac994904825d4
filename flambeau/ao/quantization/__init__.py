"""The places in a model where quantised values begin and end.  Converting a model is not there yet."""

from __future__ import annotations

from .stubs import DeQuantStub, QuantStub, QuantWrapper

__all__ = ["DeQuantStub", "QuantStub", "QuantWrapper"]
