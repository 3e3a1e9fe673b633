"""Text that must hold some words and must not hold others."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramify.decoding.config import GenerationConfig
from ramify.errors import ConstraintError
from ramify.inference.models import opened, single

if TYPE_CHECKING:
    from ramify.engine.model import Model
    from ramify.engine.requests import Prompt

__all__ = ["ConstrainedGenerator"]

GRAMMARS = ("json_schema", "regex", "choices", "grammar")


class ConstrainedGenerator:
    """Completions with every required word and phrase and no forbidden one, whatever their tokenization.

    A phrase occurs where its UTF-8 bytes stand in the completion, A-Z and a-z alike, other letters exactly; it need not stand
    alone ("cat" is in "concatenate"). The prompt does not count. Required words are woven in where the model finds them
    likeliest (`weaving`); with num_beams the engine's search with forced words decides, and beside a grammar, a schema or
    contrastive search its constraint.
    max_length: tokens of prompt and completion together, as in GenerationConfig.
    Raises ConstraintError at once for words that contradict each other or cannot fit max_length.
    """

    def __init__(
        self,
        model_path: "str | Path | Model" = "tiny",
        tokenizer_path: str | Path | None = None,
        required_words: str | Sequence[str] | None = None,
        forbidden_words: str | Sequence[str] | None = None,
        max_length: int | None = None,
        *,
        config: GenerationConfig | None = None,
        device: str | None = None,
        **settings: Any,
    ) -> None:
        given = {"required_words": required_words, "forbidden_words": forbidden_words, "max_length": max_length}
        # An empty list asks for nothing; None leaves what the config says.
        settings |= {name: value for name, value in given.items() if value is not None and value != [] and value != ()}
        self.config = single(config, settings, "ConstrainedGenerator")
        self.model = opened(model_path, tokenizer_path, device=device)
        if self.config.required_words is not None:
            from ramify.inference.weaving import check_budget

            check_budget(self.model, self.config, 1)

    def generate(self, prompt: "Prompt", **settings: Any) -> str:
        """One completion, without the prompt; settings hold for this one alone.

        Raises ConstraintError before anything runs where the prompt leaves too few tokens for the words.
        """
        config = single(self.config, settings, "ConstrainedGenerator.generate")
        if config.required_words is None:
            return self.model.complete(prompt, config, logprobs=None).generated_text
        from ramify.inference.weaving import check_budget, weave

        check_budget(self.model, config, len(self.model.ids_of(prompt)[0]))
        if config.strategy not in ("greedy", "sampling") or any(getattr(config, name) is not None for name in GRAMMARS):
            text = self.model.complete(prompt, config, logprobs=None).generated_text
        else:
            seed = secrets.randbits(31) if config.seed is None else config.seed
            text = self.model.codec.decode(weave(self.model, prompt, config, seed))
        return _kept(text, config)


def _kept(text: str, config: GenerationConfig) -> str:
    """The text, if it keeps its word: the last look at what was promised."""
    from ramify.decoding.words import fold

    folded = fold(text)
    missing = [word for word in config.required_words or () if fold(word) not in folded]
    found = [word for word in config.forbidden_words or () if fold(word) in folded]
    if missing or found:
        raise ConstraintError(
            f"the completion ended without {missing!r} or with {found!r}: time ran out, or constraints contradict each other. "
            "Give more tokens or time, or fewer constraints"
        )
    return text
