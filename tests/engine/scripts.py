"""Models written down at random, and what can be said of them without an engine."""

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ramify.engine.model import Model
from ramify.models.scripted import ScriptedBackend, ScriptedTokenizer

Ids = tuple[int, ...]


class Written:
    """A model of `words` one-letter tokens and EOS (the last id), whose logits depend on every token so far."""

    def __init__(self, words: int, seed: int, *, scale: float = 1.5) -> None:
        self.codec = ScriptedTokenizer("abcdefgh"[:words])
        self.eos = words
        self._said: Callable[[Ids], NDArray[Any]] = lambda ids: np.random.Generator(
            np.random.Philox(key=zlib.crc32(repr((seed, ids)).encode()))
        ).normal(scale=scale, size=words + 1)

    def model(self) -> Model:
        return Model(ScriptedBackend(self._said, self.codec))

    def logprobs(self, ids: Ids) -> NDArray[Any]:
        """(V,) in nats, of what comes after all these ids."""
        logits = self._said(ids)
        return np.asarray(logits - np.log(np.exp(logits).sum()))
