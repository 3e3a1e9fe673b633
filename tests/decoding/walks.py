"""Rows that follow a constraint with random choices, as an engine would."""

import random
from collections.abc import Callable
from typing import Any

from decoding.vocabularies import SmallVocabulary
from ramify.decoding.config import GenerationConfig
from ramify.decoding.constraints import Constraint, compile_constraint

VOCABULARY = SmallVocabulary()

# How likely a token is to be taken, among those kept.
Taste = Callable[[bytes], float]


def compiled(**fields: Any) -> Constraint:
    found = compile_constraint(GenerationConfig.from_dict(fields), VOCABULARY)
    assert found is not None
    return found


def readable(piece: bytes) -> float:
    """Printing ASCII, and what closes things, before anything else."""
    if not piece:
        return 0.0
    return 6.0 if piece in (b'"', b"}", b"]", b",") else 1.0 if all(32 <= byte < 127 for byte in piece) else 1e-6


def walk(constraint: Constraint, seed: int, budget: int, taste: Taste = readable, end: float = 1.0) -> tuple[list[int], str]:
    """The tokens taken before EOS, and how it ended: eos, length or dead. `end` is the weight of EOS."""
    choose, ids = random.Random(seed), list[int]()
    row = constraint.copy()
    for left in range(budget, 0, -1):
        keep = row.keep(left)
        kept = range(VOCABULARY.size) if keep is None else keep.nonzero().flatten().tolist()
        assert row.dead == (len(kept) == 0)
        if row.dead:
            return ids, "dead"
        eos = [token for token in kept if token in VOCABULARY.eos_token_ids]
        assert bool(eos) == row.satisfied
        weights = [end if token in VOCABULARY.eos_token_ids else taste(VOCABULARY.token_bytes[token]) + 1e-12 for token in kept]
        token = choose.choices(list(kept), weights)[0]
        row.advance(token)
        if token in eos:
            return ids, "eos"
        ids.append(token)
    return ids, "length"
