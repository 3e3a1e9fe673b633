"""transformers 5 as the reference: what its `generate` answers on the models made here, in float32, prompt by prompt."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import hypothesis
import torch

import ramify
from models_made_here import CONFIGS, IM_START, TEXT, folder

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
MORE_PROMPTS = ("He lived in", TEXT[0][:40], TEXT[3], TEXT[4], "e", " sea see sea see sea see")


# Names that another model plays where hypothesis draws them, for a backend that cannot run theirs (`conftest.py`).
STAND_INS: dict[str, str] = {}


def _played(name: str) -> str:
    return STAND_INS.get(name, name) if hypothesis.currently_in_test_context() else name


@dataclass(frozen=True)
class Said:
    """One returned sequence: generated ids with the EOS, without padding, and its score where beams gave one."""

    ids: list[int]
    score: float | None


def place(name: str) -> Path:
    """The folder of a model made here, or of `tiny`."""
    name = _played(name)
    return folder(name) if name in CONFIGS else Path(ramify.__file__).parent / "models" / "embedded" / name


def model(name: str) -> Any:
    return _model(_played(name))


@cache
def _model(name: str) -> Any:
    """The model as transformers loads it, with ids beyond the tokenizer held at -1e9: they can never be generated."""
    # Imported where it is used: collecting the tests stays quick.
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)
    loaded = AutoModelForCausalLM.from_pretrained(place(name), dtype=torch.float32, attn_implementation="eager").eval()
    padded = torch.arange(len(tokenizer(name)), loaded.config.vocab_size)
    if len(padded):
        loaded.get_output_embeddings().register_forward_hook(lambda _m, _i, out: out.index_fill(-1, padded, -1e9))
    return loaded


def tokenizer(name: str) -> Any:
    return _tokenizer(_played(name))


@cache
def _tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(place(name))


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
def short_prompts(name: str, count: int) -> list[list[int]]:
    """Ids of the prompts with the shortest greedy answers: what forbids an ending has an ending to forbid."""
    return list(reversed(long_prompts(name, len(PROMPTS + MORE_PROMPTS))))[:count]


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


@torch.no_grad()
def contrastive(name: str, prompt: Sequence[int], *, alpha: float, k: int, new: int) -> list[int]:
    """Contrastive search by its definition (Su et al. 2022), every step computed from the first token.

    Of the k likeliest tokens, the one with the greatest (1 - alpha) p - alpha max_j cos(h, h_j); h is its hidden state, h_j are
    those of the tokens before it.
    """
    ids = list(prompt)
    while len(ids) < len(prompt) + new:
        values, tokens = logits(name, ids)[-1].softmax(-1).topk(k)
        worth = []
        for p, token in zip(values.tolist(), tokens.tolist(), strict=True):
            hidden = model(name)(torch.tensor([[*ids, token]]), output_hidden_states=True).hidden_states[-1][0].double()
            likeness = torch.nn.functional.cosine_similarity(hidden[:-1], hidden[-1:], dim=-1).max()
            worth.append((1 - alpha) * p - alpha * float(likeness))
        ids.append(int(tokens[worth.index(max(worth))]))
        if ids[-1] in endings(name):
            break
    return ids[len(prompt) :]


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
