"""Text from a prompt: one, many, or as it is made. What is returned is the completion, without the prompt."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramify.decoding.config import GenerationConfig
from ramify.errors import InputError
from ramify.inference.models import opened, single

if TYPE_CHECKING:
    from ramify.engine.model import Model
    from ramify.engine.requests import Prompt

__all__ = ["batch_generate", "generate_text", "stream_generate"]


def generate_text(
    model_path: "str | Path | Model" = "tiny",
    tokenizer_path: str | Path | None = None,
    prompt: "Prompt | None" = None,
    *,
    config: GenerationConfig | None = None,
    device: str | None = None,
    **settings: Any,
) -> str:
    """Complete a prompt; the text is the completion alone, special tokens left out, and ends where the model ends it.

    Settings are a GenerationConfig, its fields as keywords laid over it, or both; unknown ones are refused. Without
    max_new_tokens it goes on until EOS or the end of the context window. Raises InputError and what `opened` raises.
    """
    chosen = single(config, settings, "generate_text")
    asked = _given(prompt)
    model = opened(model_path, tokenizer_path, device=device)
    return model.complete(asked, chosen, logprobs=None).generated_text


def batch_generate(
    model_path: "str | Path | Model" = "tiny",
    tokenizer_path: str | Path | None = None,
    prompts: "Sequence[Prompt] | None" = None,
    *,
    config: GenerationConfig | None = None,
    device: str | None = None,
    **settings: Any,
) -> list[str]:
    """One completion for each prompt, in their order. All prompts are checked before the first one runs.

    batch_size: how many run together; unset, as many as the engine takes. Each text is what `generate_text` gives alone.
    """
    chosen = single(config, settings, "batch_generate")
    if prompts is None or isinstance(prompts, str) or not isinstance(prompts, Sequence):
        raise InputError(f"prompts is {prompts!r}; give a list of prompts")
    model = opened(model_path, tokenizer_path, device=device)
    return [results[0].generated_text for results in model.batch(prompts, chosen, logprobs=None)]


def stream_generate(
    model_path: "str | Path | Model" = "tiny",
    tokenizer_path: str | Path | None = None,
    prompt: "Prompt | None" = None,
    *,
    config: GenerationConfig | None = None,
    device: str | None = None,
    **settings: Any,
) -> Iterator[str]:
    """The same completion in pieces, each whole UTF-8; joined they are `generate_text`'s. Leaving the loop stops the model.

    Refusals come at the call, not at the first piece. Beams arrive in one piece, when they are decided.
    """
    chosen = single(config, settings, "stream_generate")
    asked = _given(prompt)
    events = opened(model_path, tokenizer_path, device=device).stream(asked, chosen, logprobs=None)
    return (event.text for event in events if event.text)


def _given(prompt: "Prompt | None") -> "Prompt":
    if prompt is None:
        raise InputError("no prompt was given; give prompt=…: text, token ids, or chat messages")
    return prompt
