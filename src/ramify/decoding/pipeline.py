"""The processors of one config, in its order, applied to a batch of rows.

Rows of one call share a config but not a length: everything that depends on a row's history reads it from its Row.
A row's result depends on that row alone.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ramify.decoding import filters, penalties
from ramify.decoding.config import GenerationConfig
from ramify.errors import ConfigError

__all__ = ["Pipeline", "Row", "build"]


@dataclass(kw_only=True, eq=False)
class Row:
    """What the processors may know of one row. Never changed by them."""

    prompt_ids: Sequence[int]
    generated_ids: Sequence[int]
    keep: Tensor | None = None
    """(V,) bool from the row's constraint: the tokens that stay; None restricts nothing."""
    taken: Sequence[int] = field(default_factory=tuple)
    """Diverse beams: the tokens that earlier groups chose at this step."""
    limit: int | None = None
    """Most tokens that this row may generate; None: what the config's lengths and the window leave."""


Step = Callable[[Tensor, Sequence[Row]], Tensor]


class Pipeline:
    """The acting processors of one config. `names` lists them in order."""

    def __init__(self, steps: Sequence[tuple[str, Step]]) -> None:
        self.names = tuple(name for name, _ in steps)
        self._steps = tuple(step for _, step in steps)

    def __call__(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        """Process logits (B, V) float32, one Row for each of B; returns a new (B, V), removed tokens at -inf."""
        processed = logits
        for _, left in self.stages(logits, rows):
            processed = left
        return logits.clone() if processed is logits else processed

    def stages(self, logits: Tensor, rows: Sequence[Row]) -> Iterator[tuple[str, Tensor]]:
        """The same one processor at a time: its name, and what it leaves (B, V). The last one's is the result."""
        if len(rows) != len(logits):
            raise ValueError(f"{len(rows)} rows were given for {len(logits)} rows of logits; give one for each")
        processed = logits
        for name, step in zip(self.names, self._steps, strict=True):
            processed = _constrain(processed, logits, rows) if name == "constraint" else step(processed, rows)
            yield name, processed


def build(config: GenerationConfig, *, eos_token_ids: tuple[int, ...], vocab_size: int, context: int | None = None) -> Pipeline:
    """The pipeline of `config` for a model with these EOS ids, V = vocab_size, and a context window of `context`.

    Raises ConfigError for ids beyond V, for EOS settings of a model without EOS, and for an EOS among bad_words_ids.
    """
    _check_ids(config, eos_token_ids, vocab_size)
    # Beam sampling must keep a token besides every EOS, or a beam could only end (transformers' rule).
    least = max(1, len(eos_token_ids)) + 1 if config.num_beams > 1 else 1
    return Pipeline([(name, _step(name, config, eos_token_ids, least, context)) for name in config.order])


def _step(name: str, config: GenerationConfig, eos: tuple[int, ...], least: int, context: int | None) -> Step:
    def histories(rows: Sequence[Row]) -> list[list[int]]:
        return [[*row.prompt_ids, *row.generated_ids] for row in rows]

    def generated(rows: Sequence[Row]) -> list[Sequence[int]]:
        return [row.generated_ids for row in rows]

    def left(rows: Sequence[Row]) -> list[int | None]:
        limits = [config.budget(len(row.prompt_ids), context) if row.limit is None else row.limit for row in rows]
        return [None if most is None else most - len(row.generated_ids) for most, row in zip(limits, rows, strict=True)]

    decay = config.exponential_decay_length_penalty or (0, 1.0)
    steps: dict[str, Step] = {
        "sequence_bias": lambda x, rows: penalties.sequence_bias(x, histories(rows), config.sequence_bias or ()),
        "logit_bias": lambda x, rows: penalties.logit_bias(x, config.logit_bias or {}),
        "diversity_penalty": lambda x, rows: penalties.diversity(x, [row.taken for row in rows], config.diversity_penalty),
        "encoder_repetition_penalty": lambda x, rows: penalties.encoder_repetition(
            x, [row.prompt_ids for row in rows], config.encoder_repetition_penalty
        ),
        "repetition_penalty": lambda x, rows: penalties.repetition(x, histories(rows), config.repetition_penalty),
        "presence_penalty": lambda x, rows: penalties.presence(x, generated(rows), config.presence_penalty),
        "frequency_penalty": lambda x, rows: penalties.frequency(x, generated(rows), config.frequency_penalty),
        "no_repeat_ngram_size": lambda x, rows: penalties.no_repeat_ngram(x, histories(rows), config.no_repeat_ngram_size),
        "bad_words_ids": lambda x, rows: penalties.bad_words(x, histories(rows), config.bad_words_ids or ()),
        "min_new_tokens": lambda x, rows: penalties.min_length(x, generated(rows), config.min_new_tokens, eos),
        "constraint": lambda x, rows: _constrain(x, x, rows),
        "forced_eos_token_id": lambda x, rows: penalties.forced_eos(x, left(rows), config.forced_eos_token_id or ()),
        "exponential_decay_length_penalty": lambda x, rows: penalties.exponential_decay(
            x, generated(rows), decay[0], decay[1], eos
        ),
        "suppress_tokens": lambda x, rows: penalties.suppress(x, config.suppress_tokens or ()),
        "begin_suppress_tokens": lambda x, rows: penalties.begin_suppress(x, generated(rows), config.begin_suppress_tokens or ()),
        "temperature": lambda x, rows: filters.temperature(x, config.temperature or 1.0),
        "top_k": lambda x, rows: filters.top_k(x, config.top_k or 1, least),
        "top_p": lambda x, rows: filters.top_p(x, config.top_p or 1.0, config.nucleus_rule, least),
        "min_p": lambda x, rows: filters.min_p(x, config.min_p or 0.0, least),
        "typical_p": lambda x, rows: filters.typical_p(x, config.typical_p or 1.0, least),
        "epsilon_cutoff": lambda x, rows: filters.epsilon_cutoff(x, config.epsilon_cutoff or 1.0, least),
        "eta_cutoff": lambda x, rows: filters.eta_cutoff(x, config.eta_cutoff or 1.0, least),
    }
    return steps[name]


def _constrain(logits: Tensor, original: Tensor, rows: Sequence[Row]) -> Tensor:
    """Apply each row's `keep`. Where earlier processors removed all that it keeps, those tokens come back with the
    logits they entered the pipeline with: a fulfilled constraint outranks a ban."""
    if all(row.keep is None for row in rows):
        return logits
    everything = torch.ones(logits.shape[-1], dtype=torch.bool, device=logits.device)
    keep = torch.stack([everything if row.keep is None else row.keep.to(logits.device) for row in rows])
    kept = logits.masked_fill(~keep, -math.inf)
    empty = kept.amax(dim=-1, keepdim=True).isneginf()
    return torch.where(empty, original.masked_fill(~keep, -math.inf), kept) if bool(empty.any()) else kept


def _check_ids(config: GenerationConfig, eos_token_ids: tuple[int, ...], vocab_size: int) -> None:
    given: dict[str, list[int]] = {
        "bad_words_ids": [token for sequence in config.bad_words_ids or () for token in sequence],
        "sequence_bias": [token for sequence, _ in config.sequence_bias or () for token in sequence],
        "logit_bias": list(config.logit_bias or ()),
        "suppress_tokens": list(config.suppress_tokens or ()),
        "begin_suppress_tokens": list(config.begin_suppress_tokens or ()),
        "forced_eos_token_id": list(config.forced_eos_token_id or ()),
        "stop_token_ids": list(config.stop_token_ids or ()),
        "eos_token_id": list(config.eos_token_id or ()),
    }
    for name, ids in given.items():
        beyond = sorted({token for token in ids if token >= vocab_size})
        if beyond:
            raise ConfigError(
                f"{name} holds {beyond[0]}; this model's token ids are 0 to {vocab_size - 1}. Leave it out", (name,)
            )
    for sequence in config.bad_words_ids or ():
        if len(sequence) == 1 and sequence[0] in eos_token_ids:
            raise ConfigError(
                f"bad_words_ids holds {list(sequence)}, which ends this model's completions; "
                "use ignore_eos or suppress_tokens for that",
                ("bad_words_ids",),
            )
    for name in ("min_new_tokens", "exponential_decay_length_penalty"):
        if name in config.order and not eos_token_ids:
            raise ConfigError(f"{name} is given and this model has no EOS token; leave it out, or give eos_token_id", (name,))
