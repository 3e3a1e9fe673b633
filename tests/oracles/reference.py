"""transformers 5 as the reference: what its `generate` answers on the models made here, in float32, prompt by prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from models_made_here import CONFIGS, IM_START, TEXT, TOKENIZER_SIZE, folder

# Text for every model, from one word to far beyond the sliding windows.
PROMPTS = (
    "The end",
    "One day Sonic",
    "Once upon a time there was",
    "“Hello,” said the cat, “where are you going?” “To",
    TEXT[1],
)
# What transformers fills rows with. Not the models' own padding id, 0: its beams take that for "none given" and fill with an EOS.
FILL = IM_START
NAMES = frozenset(CONFIGS)
MORE_PROMPTS = ("He lived in", TEXT[0][:40], TEXT[3], TEXT[4], "e", " sea see sea see sea see")


@dataclass(frozen=True)
class Said:
    """One returned sequence: generated ids with the EOS, without padding, and its score where beams gave one."""

    ids: list[int]
    score: float | None


@cache
def model(name: str) -> Any:
    """The model as transformers loads it, with ids beyond the tokenizer held at -1e9: they can never be generated."""
    torch.set_num_threads(1)
    loaded = AutoModelForCausalLM.from_pretrained(folder(name), dtype=torch.float32, attn_implementation="eager").eval()
    padded = torch.arange(TOKENIZER_SIZE, loaded.config.vocab_size)
    if len(padded):
        loaded.get_output_embeddings().register_forward_hook(lambda _m, _i, out: out.index_fill(-1, padded, -1e9))
    return loaded


@cache
def tokenizer(name: str) -> Any:
    return AutoTokenizer.from_pretrained(folder(name))


def endings(name: str) -> set[int]:
    ids = model(name).generation_config.eos_token_id
    return set(ids) if isinstance(ids, list) else {ids}


def encode(name: str, text: str) -> list[int]:
    """Ids of a text with no special token added."""
    return list(tokenizer(name).encode(text, add_special_tokens=False))


def generate(name: str, prompt: Sequence[int], **fields: Any) -> list[Said]:
    """transformers' answer to one prompt of ids; greedy or beams unless `do_sample` is given."""
    given = torch.tensor([list(prompt)])
    if "stop_strings" in fields:
        fields["tokenizer"] = tokenizer(name)
    asked = {"do_sample": False, "pad_token_id": FILL, "return_dict_in_generate": True, "output_scores": True} | fields
    out = model(name).generate(given, attention_mask=torch.ones_like(given), **asked)
    scores = getattr(out, "sequences_scores", None)
    said = fields.get("eos_token_id")
    ends = endings(name) if said is None else {said} if isinstance(said, int) else set(said)
    cut = [_until_ending(row[len(prompt) :], ends) for row in out.sequences.tolist()]
    if "stop_strings" in fields:
        # A beam that a stop string ended is padded with no EOS before the padding.
        cut = [_without_padding(ids) for ids in cut]
    return [Said(ids, score) for ids, score in zip(cut, [None] * len(cut) if scores is None else scores.tolist(), strict=True)]


def _until_ending(ids: list[int], ends: set[int]) -> list[int]:
    return next((ids[: i + 1] for i, token in enumerate(ids) if token in ends), ids)


def _without_padding(ids: list[int]) -> list[int]:
    kept = len(ids)
    while kept and ids[kept - 1] == FILL:
        kept -= 1
    return ids[:kept]


@cache
def long_prompts(name: str, count: int) -> list[list[int]]:
    """Ids of the prompts with the longest greedy answers: what shapes an answer has something to shape."""
    prompts = [encode(name, text) for text in PROMPTS + MORE_PROMPTS]
    return sorted(prompts, key=lambda ids: -len(generate(name, ids, max_new_tokens=24)[0].ids))[:count]


@torch.no_grad()
def logits(name: str, ids: Sequence[int]) -> torch.Tensor:
    """(T, V) float64 logits after each of the T ids, computed in float32 in one pass."""
    found: torch.Tensor = model(name)(torch.tensor([list(ids)])).logits[0].double()
    return found


def how_near(name: str, prompt: Sequence[int], ours: Sequence[int], theirs: Sequence[int]) -> str:
    """A sentence on how far apart the model holds two different continuations: an exact near-tie is seen at once."""
    at = next((i for i, (a, b) in enumerate(zip_longest(ours, theirs)) if a != b), None)
    if at is None:
        return "the same tokens"
    whole = [_logprob(name, prompt, ids) for ids in (ours, theirs)]
    words = f"{name}: ours {list(ours)} and transformers' {list(theirs)} part at token {at}; log-probabilities {whole}"
    if at < min(len(ours), len(theirs)):
        last = logits(name, [*prompt, *ours[:at]])[-1]
        words += f"; raw logits there differ by {float(last[ours[at]] - last[theirs[at]]):.2e}"
    return words


def _logprob(name: str, prompt: Sequence[int], ids: Sequence[int]) -> float:
    if not ids:
        return 0.0
    rows = logits(name, [*prompt, *ids])[len(prompt) - 1 : -1].log_softmax(-1)
    return float(rows.gather(1, torch.tensor([list(ids)]).T).sum())
