"""The block of a launch, as the functions of a contraction's kernel see it."""

from __future__ import annotations

from ..target.builder import Val
from .flow import Flow
from .words import Words

__all__ = ["BATCH", "ERROR", "FINISH", "SCRATCH", "SLOTS", "SWEEP", "WORDS", "Frame"]

ERROR, SCRATCH, BATCH, WORDS, FINISH, SWEEP = range(-1, -7, -1)
"""Slots in front of a launch's arguments: its error code, the scratch memory, the first matrix of the chunks, the words
of the problem, the function that finishes tiles, the one that computes and finishes rows of them (null: none)."""

SLOTS = -SWEEP
"""How many slots lie in front of the arguments."""


class Frame:
    """The block inside a function: the problem's words (as attributes), buffers, scalars."""

    def __init__(self, b: Flow, block: Val, words: Words) -> None:
        self.b, self.block = b, block
        self._index = words.index
        self.words = self.slot(WORDS)
        self._loaded: dict[str, Val] = {}

    def preload(self, *names: str) -> None:
        """Loads words here, so that later blocks may use them."""
        for name in names:
            if name not in self._loaded:
                self._loaded[name] = self.b.word(self.words, self._index[name])

    def __getattr__(self, name: str) -> Val:
        try:
            return self._loaded[name]
        except KeyError:
            raise AttributeError(f"word {name!r} was not loaded") from None

    def slot(self, index: int, type_: str = "ptr") -> Val:
        """An argument of the launch, or a slot in front of them."""
        return self.b.load(type_, self.b.at("i64", self.block, index), align=8)
