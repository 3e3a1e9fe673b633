"""Processors that look at a row's history, or forbid and favour given tokens.

Logits are (B, V) float32, or log-probabilities in beam search; histories are one sequence of ids a row, of any
lengths. Each function returns a new (B, V). Ids at or beyond V are passed over in histories: they cannot be
generated. Only the history's own entries are touched, so the cost does not grow with V beyond one copy.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "bad_words",
    "begin_suppress",
    "diversity",
    "encoder_repetition",
    "exponential_decay",
    "forced_eos",
    "frequency",
    "guide",
    "logit_bias",
    "min_length",
    "no_repeat_ngram",
    "presence",
    "repetition",
    "sequence_bias",
    "suppress",
]

Ids = Sequence[int]


def repetition(logits: Tensor, histories: Sequence[Ids], penalty: float) -> Tensor:
    """Divide the positive logits of every token in the history (prompt and completion) by `penalty`, multiply the
    negative ones; once per token however often it occurred.

    Source: Keskar et al. 2019, "CTRL".
    """
    rows, ids, _ = _occurrences(histories, logits)
    there = logits[rows, ids]
    return logits.index_put((rows, ids), torch.where(there < 0, there * penalty, there / penalty))


def encoder_repetition(logits: Tensor, prompts: Sequence[Ids], penalty: float) -> Tensor:
    """The inverse of `repetition` on the prompt's tokens: above 1 favours them.

    Source: transformers' EncoderRepetitionPenaltyLogitsProcessor.
    """
    return repetition(logits, prompts, 1 / penalty)


def presence(logits: Tensor, generated: Sequence[Ids], penalty: float) -> Tensor:
    """Subtract `penalty` from every token that was generated already; the prompt does not count.

    Source: OpenAI's API reference, vLLM.
    """
    rows, ids, _ = _occurrences(generated, logits)
    return logits.index_put((rows, ids), logits[rows, ids] - penalty)


def frequency(logits: Tensor, generated: Sequence[Ids], penalty: float) -> Tensor:
    """Subtract `penalty` for each time that a token was generated already; the prompt does not count.

    Source: OpenAI's API reference, vLLM.
    """
    rows, ids, counts = _occurrences(generated, logits)
    return logits.index_put((rows, ids), logits[rows, ids] - penalty * counts)


def no_repeat_ngram(logits: Tensor, histories: Sequence[Ids], size: int) -> Tensor:
    """Forbid every token that would complete an n-gram of `size` which the history holds already.

    Source: Paulus et al. 2017, "A Deep Reinforced Model for Abstractive Summarization".
    """
    rows: list[int] = []
    ids: list[int] = []
    for row, history in enumerate(histories):
        for banned in _repeating(history, size):
            if banned < logits.shape[-1]:
                rows.append(row)
                ids.append(banned)
    return _forbid(logits, rows, ids)


def bad_words(logits: Tensor, histories: Sequence[Ids], sequences: Sequence[Ids]) -> Tensor:
    """Forbid the last token of each sequence wherever the history ends with the tokens before it.

    Source: transformers' NoBadWordsLogitsProcessor.
    """
    rows, ids, _ = _matching(histories, [(sequence, 0.0) for sequence in sequences])
    return _forbid(logits, rows, ids)


def forbidder(history: Ids, token_id: int, ngram_size: int, bad_words_ids: Sequence[Ids]) -> str | None:
    """The setting whose ban, which depends on the history, forbids this token after it; None where neither does."""
    if ngram_size and token_id in _repeating(history, ngram_size):
        return "no_repeat_ngram_size"
    if bad_words_ids and token_id in _matching([history], [(sequence, 0.0) for sequence in bad_words_ids])[1]:
        return "bad_words_ids"
    return None


def sequence_bias(logits: Tensor, histories: Sequence[Ids], biases: Sequence[tuple[Ids, float]]) -> Tensor:
    """Add each sequence's bias to its last token wherever the history ends with the tokens before it; biases that
    meet on one token add up.

    Source: transformers' SequenceBiasLogitsProcessor.
    """
    rows, ids, values = _matching(histories, biases)
    bias = torch.tensor(values, dtype=logits.dtype, device=logits.device)
    return _survive(logits, logits.index_put(_places(rows, ids, logits), bias, accumulate=True))


def logit_bias(logits: Tensor, biases: Mapping[int, float]) -> Tensor:
    """Add each bias to its token's logit (OpenAI's meaning)."""
    added = logits.clone()
    ids = torch.tensor(list(biases), device=logits.device)
    added[:, ids] += torch.tensor(list(biases.values()), dtype=logits.dtype, device=logits.device)
    return added


def min_length(logits: Tensor, generated: Sequence[Ids], least: int, eos_token_ids: Ids) -> Tensor:
    """Forbid EOS in the rows that have generated fewer than `least` tokens.

    Source: transformers' MinNewTokensLengthLogitsProcessor.
    """
    return _forbid_in(logits, [len(ids) < least for ids in generated], eos_token_ids)


def suppress(logits: Tensor, ids: Ids) -> Tensor:
    """Forbid the tokens `ids` always."""
    return _forbid_in(logits, [True] * len(logits), ids)


def begin_suppress(logits: Tensor, generated: Sequence[Ids], ids: Ids) -> Tensor:
    """Forbid the tokens `ids` as the first generated one."""
    return _forbid_in(logits, [len(found) == 0 for found in generated], ids)


def forced_eos(logits: Tensor, left: Sequence[int | None], ids: Ids) -> Tensor:
    """Where one token is left (`left` counts the coming one; None: no bound), allow only `ids`, each at logit 0.

    Source: transformers' ForcedEOSTokenLogitsProcessor.
    """
    last = [row for row, tokens in enumerate(left) if tokens == 1]
    forced = logits.clone()
    if last:
        forced[last] = -math.inf
        rows = torch.tensor(last, device=logits.device)[:, None]
        forced[rows, torch.tensor(list(ids), device=logits.device)] = 0.0
    return forced


def exponential_decay(logits: Tensor, generated: Sequence[Ids], start: int, factor: float, eos_token_ids: Ids) -> Tensor:
    """Past `start` generated tokens, add |logit| · (factor ** (tokens past start) - 1) to EOS. An EOS at -inf stays.

    Source: transformers' ExponentialDecayLengthPenalty.
    """
    late = [(row, len(ids) - start) for row, ids in enumerate(generated) if len(ids) > start]
    favoured = logits.clone()
    if late and eos_token_ids:
        rows = torch.tensor([row for row, _ in late], device=logits.device)[:, None]
        ids = torch.tensor(list(eos_token_ids), device=logits.device)
        # A power beyond float32 would be inf; the cap is far above any logit already.
        grown = [min(math.exp(min(past * math.log(factor), 80.0)), 1e30) - 1 for _, past in late]
        powers = torch.tensor(grown, dtype=logits.dtype, device=logits.device)[:, None]
        there = logits[rows, ids]
        favoured[rows, ids] = torch.where(there.isfinite(), there + there.abs() * powers, there)
    return favoured


def diversity(logits: Tensor, taken: Sequence[Ids], penalty: float) -> Tensor:
    """Subtract `penalty` for each time that an earlier group chose the token at this step (`taken`, one list a row).

    Source: Vijayakumar et al. 2016, "Diverse Beam Search" (Hamming diversity).
    """
    return frequency(logits, taken, penalty)


def guide(conditional: Tensor, unconditional: Tensor, scale: float) -> Tensor:
    """Classifier-free guidance: log-probabilities pushed away from those without the prompt.

    Both logits (B, V); returns scale · (log p - log q) + log q. A token at -inf in either is at -inf.
    Source: Sanchez et al. 2023, "Stay on topic with Classifier-Free Guidance".
    """
    with_prompt, without = conditional.log_softmax(dim=-1), unconditional.log_softmax(dim=-1)
    guided = scale * (with_prompt - without) + without
    return guided.masked_fill(with_prompt.isneginf() | without.isneginf(), -math.inf)


def _occurrences(histories: Sequence[Ids], logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each (row, id) of the histories once, and how often it occurs."""
    width = logits.shape[-1]
    lengths = [len(history) for history in histories]
    flat = np.fromiter((token for history in histories for token in history), dtype=np.int64, count=sum(lengths))
    where = np.repeat(np.arange(len(histories), dtype=np.int64), lengths)
    inside = flat < width
    places, counts = np.unique(where[inside] * width + flat[inside], return_counts=True)
    rows, ids = torch.from_numpy(places // width), torch.from_numpy(places % width)
    found = torch.from_numpy(counts).to(logits.dtype)
    return rows.to(logits.device), ids.to(logits.device), found.to(logits.device)


def _repeating(history: Ids, size: int) -> list[int]:
    """The tokens that would repeat an n-gram of the history."""
    if len(history) < size:
        return []
    ids = np.asarray(history, dtype=np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(ids, size)
    suffix = ids[len(ids) + 1 - size :]
    found: list[int] = np.unique(windows[(windows[:, :-1] == suffix).all(axis=1), -1]).tolist()
    return found


def _matching(histories: Sequence[Ids], sequences: Sequence[tuple[Ids, float]]) -> tuple[list[int], list[int], list[float]]:
    """(row, last token, value) of every sequence whose other tokens end the row's history."""
    longest = max(len(sequence) for sequence, _ in sequences)
    found: tuple[list[int], list[int], list[float]] = ([], [], [])
    for row, history in enumerate(histories):
        recent = tuple(history[max(0, len(history) - longest) :])
        for sequence, value in sequences:
            before = tuple(sequence[:-1])
            if not before or recent[-len(before) :] == before:
                found[0].append(row)
                found[1].append(sequence[-1])
                found[2].append(value)
    return found


def _places(rows: Sequence[int], ids: Sequence[int], logits: Tensor) -> tuple[Tensor, Tensor]:
    return (
        torch.tensor(rows, dtype=torch.long, device=logits.device),
        torch.tensor(ids, dtype=torch.long, device=logits.device),
    )


def _forbid(logits: Tensor, rows: Sequence[int], ids: Sequence[int]) -> Tensor:
    if not rows:
        return logits.clone()
    nothing = torch.tensor(-math.inf, dtype=logits.dtype, device=logits.device)
    return _survive(logits, logits.index_put(_places(rows, ids, logits), nothing))


def _forbid_in(logits: Tensor, acting: Sequence[bool], ids: Ids) -> Tensor:
    rows = [row for row, acts in enumerate(acting) if acts for _ in ids]
    return _forbid(logits, rows, [token for acts in acting if acts for token in ids])


def _survive(before: Tensor, after: Tensor) -> Tensor:
    """Where a processor left nothing, the likeliest token before it stays."""
    empty = after.amax(dim=-1).isneginf() & ~before.amax(dim=-1).isneginf()
    if bool(empty.any()):
        rows = empty.nonzero().flatten()
        best = before[rows].argmax(dim=-1)
        after[rows, best] = before[rows, best]
    return after
