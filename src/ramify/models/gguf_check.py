"""A GGUF file beside the model that it was made of: do they say the same?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ramify.errors import InputError
from ramify.models.base import Extension
from ramify.models.gguf import GGUFBackend
from ramify.models.gguf_files import read
from ramify.models.tokenizer import Tokenizer

__all__ = ["LARGEST", "Check", "check"]

LARGEST = {"float32": 5e-3, "float16": 0.1, "bfloat16": 0.5, "q8_0": 0.5}
"""How far the logprob of a greedy token may lie from the model's. A tensor in the wrong order is off by whole nats."""
PROMPT_TOKENS, GREEDY_TOKENS = 12, 16


@dataclass(frozen=True, kw_only=True)
class Check:
    """What was compared: the model's own greedy continuation of a drawn prompt, measured by both."""

    tokens: int
    largest_difference: float
    """Of a token's logprob, in nats."""
    same_greedy: int
    """Tokens at whose place the file's likeliest is the model's."""


@torch.inference_mode()
def check(path: Path, model: Any, codec: Tokenizer, type: str) -> Check:
    """Compare, with the model's weights in float32. Raises InputError where they do not agree."""
    ids, theirs = _greedy(model, codec)
    backend = GGUFBackend.load(read(str(path)), name=path.name, fingerprint="")
    try:
        branch = backend.root()
        ours = backend.extend([Extension(branch, ids[:-1], GREEDY_TOKENS)]).logits.log_softmax(-1)
        if backend.codec.fingerprint() != codec.fingerprint() or backend.codec.chat_template != codec.chat_template:
            raise InputError(f"the tokenizer of {path.name!r} did not come back as it was written; nothing is left of the file")
    finally:
        backend.close()
    chosen = torch.tensor(ids[-GREEDY_TOKENS:]).unsqueeze(1)
    apart = float((ours.gather(1, chosen) - theirs.gather(1, chosen)).abs().max())
    same = ours.argmax(-1) == theirs.argmax(-1)
    best = theirs.topk(2, -1).values
    clear = best[:, 0] - best[:, 1] > 2 * LARGEST[type]  # nearer ones may change places
    if apart > LARGEST[type] or not bool(same[clear].all()):
        raise InputError(
            f"what was written does not say what the model says: logprobs differ by up to {apart:.2g} (allowed for {type}: "
            f"{LARGEST[type]}) and {int(same.sum())} of {GREEDY_TOKENS} greedy tokens agree; nothing is left of the file"
        )
    return Check(tokens=GREEDY_TOKENS, largest_difference=apart, same_greedy=int(same.sum()))


def _greedy(model: Any, codec: Tokenizer) -> tuple[list[int], Tensor]:
    """A drawn prompt with the model's greedy continuation, and the logprobs (GREEDY_TOKENS, V) at its places."""
    exists = torch.from_numpy(codec.exists.copy())
    allowed = torch.nonzero(exists).flatten()
    drawn = torch.randint(len(allowed), (PROMPT_TOKENS,), generator=torch.Generator().manual_seed(0))
    ids = [int(i) for i in allowed[drawn]]
    model = model.float()
    for _ in range(GREEDY_TOKENS):
        logits = model(torch.tensor([ids]), use_cache=False).logits[0].masked_fill(~exists, -torch.inf)
        ids.append(int(logits[-1].argmax()))
    return ids, logits[-GREEDY_TOKENS:].log_softmax(-1)
