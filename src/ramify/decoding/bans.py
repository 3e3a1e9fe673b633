"""Bans that depend on the history (`no_repeat_ngram_size`, `bad_words_ids`) where they forbid every token.

A ban holds: no token that it forbids is ever taken, drawn or searched. A completion with nothing left ends with an error that
names the ban. A beam with nothing left is given up; a search ends with that error when no beam is left and none has ended. What a
constraint or `forced_eos_token_id` asks for outranks a ban. (transformers takes token 0 there, or fails in the drawing.)
"""

import math
from collections.abc import Sequence

from torch import Tensor

from ramify.decoding import penalties
from ramify.decoding.config import GenerationConfig
from ramify.decoding.pipeline import Row
from ramify.errors import ConstraintError

__all__ = ["nothing_left", "overruled"]


def overruled(config: GenerationConfig, rows: Sequence[Row], processed: Tensor) -> dict[int, str]:
    """The rows whose one token left stands there although a ban forbids it, because a processor leaves no row empty.

    processed: (B, V), as the pipeline leaves it. Returns row -> the name of the ban.
    """
    size, words, forced = config.no_repeat_ngram_size, config.bad_words_ids or (), config.forced_eos_token_id or ()
    if not size and not words:
        return {}
    found = {}
    for i in ((processed > -math.inf).sum(dim=-1) <= 1).nonzero().flatten().tolist():
        row, token_id = rows[i], int(processed[i].argmax())
        if row.keep is None and token_id not in forced:
            name = penalties.forbidder([*row.prompt_ids, *row.generated_ids], token_id, size, words)
            if name is not None:
                found[i] = name
    return found


def nothing_left(config: GenerationConfig, name: str, generated: int) -> ConstraintError:
    """What is said where the ban `name` forbids all that could come after so many generated tokens."""
    return ConstraintError(
        f"{name} is {getattr(config, name)!r} and forbids every token that could come after {generated} generated ones. "
        "Loosen it, or let the completion end before: fewer max_new_tokens, or no ban of EOS."
    )
