"""What a model thinks of a text: how fluent it finds it, and how much a prompt has to do with it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ramify.errors import InputError

if TYPE_CHECKING:
    from ramify.engine.model import Model
    from ramify.engine.requests import Prompt

__all__ = ["Likelihood", "likelihood"]


@dataclass(frozen=True, kw_only=True)
class Likelihood:
    """A text under a model, at temperature 1, its tokens measured after the prompt and after nothing."""

    tokens: int
    mean_logprob: float
    """Nats a token, after the prompt where there is one."""
    unprompted: float
    """Nats a token, after nothing but the model's token for a beginning."""

    @property
    def perplexity(self) -> float:
        """exp(- mean logprob), from 1 up."""
        return math.exp(-self.mean_logprob)

    @property
    def fluency(self) -> float:
        """1 / perplexity: the geometric mean of the tokens' probabilities, above 0 to 1."""
        return math.exp(self.mean_logprob)

    @property
    def pmi(self) -> float:
        """Pointwise mutual information of prompt and text, nats a token: log p(text | prompt) - log p(text), over the tokens.

        Source: Church & Hanks 1990; Holtzman et al. 2021, "Surface Form Competition".
        """
        return self.mean_logprob - self.unprompted

    @property
    def relevance(self) -> float:
        """The logistic function of `pmi`: the share of belief, token by token, that the text was written after this prompt and
        not after nothing, at even odds. From 0 to 1; 0.5 says that the prompt tells nothing of it."""
        return 1 / (1 + math.exp(-self.pmi)) if self.pmi > -700 else 0.0


def likelihood(model: "Model", text: str, prompt: "Prompt | None" = None, *, known: Sequence[float] | None = None) -> Likelihood:
    """Measure a text. known: its tokens' logprobs after the prompt, which are then not measured again.

    Raises InputError for a text without tokens, PromptTooLongError where both do not fit the window.
    """
    ids = model.codec.encode(text)
    if not ids:
        raise InputError("the text has no tokens; there is nothing to measure")
    if known is not None and len(known) != len(ids):
        raise InputError(f"{len(known)} logprobs were given for {len(ids)} tokens; give one for each")
    start = _beginning(model)
    alone = model.score(start, ids).mean_logprob
    if prompt is None or not len(prompt):
        after = alone
    else:
        after = sum(known) / len(known) if known is not None else model.score(prompt, ids).mean_logprob
    return Likelihood(tokens=len(ids), mean_logprob=after, unprompted=alone)


def _beginning(model: "Model") -> Sequence[Any]:
    """BOS; else an EOS, which is what ends the document before; else a line end."""
    info = model.info
    if info.bos_token_id is not None:
        return [info.bos_token_id]
    return [info.eos_token_ids[-1]] if info.eos_token_ids else model.codec.encode("\n")
