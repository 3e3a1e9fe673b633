"""Talking with a model from Python: the conversation and the loop of `ramify chat`, under document 003's names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramify.decoding.config import GenerationConfig
from ramify.errors import InputError
from ramify.inference.models import opened, single

if TYPE_CHECKING:
    from ramify.cli.conversation import Conversation
    from ramify.engine.model import Model

__all__ = ["ChatInterface", "InteractiveGenerator", "interactive_cli"]


def interactive_cli(
    model_path: "str | Path | Model" = "tiny",
    tokenizer_path: str | Path | None = None,
    *,
    system_prompt: str | None = None,
    config: GenerationConfig | None = None,
    device: str | None = None,
    **settings: Any,
) -> None:
    """Talk with a model on standard input and output until /quit or the end of input; /help lists the commands."""
    chosen = single(config, settings, "a conversation")
    _talk(_conversation(model_path, tokenizer_path, system_prompt, chosen, device))


class InteractiveGenerator:
    """A conversation that goes on from call to call: each answer knows what was said before.

    When the history leaves too little room, the oldest exchanges are forgotten first (`Conversation`).
    """

    def __init__(
        self,
        model_path: "str | Path | Model" = "tiny",
        tokenizer_path: str | Path | None = None,
        config: GenerationConfig | None = None,
        *,
        system_prompt: str | None = None,
        device: str | None = None,
        **settings: Any,
    ) -> None:
        chosen = single(config, settings, "a conversation")
        self.conversation = _conversation(model_path, tokenizer_path, system_prompt, chosen, device)

    def start_session(self) -> None:
        """Talk on standard input and output until /quit or the end of input. The conversation stays."""
        _talk(self.conversation)

    def generate(self, prompt: str, **settings: Any) -> str:
        """Say something and get the whole answer; settings hold for this answer alone."""
        return _answer(self.conversation, prompt, settings)

    def reset(self) -> None:
        """Forget what was said; the system prompt and the settings stay."""
        self.conversation.reset()


class ChatInterface:
    """The same with a system prompt, and with a history that the caller may keep instead."""

    def __init__(
        self,
        model_path: "str | Path | Model" = "tiny",
        tokenizer_path: str | Path | None = None,
        system_prompt: str | None = None,
        config: GenerationConfig | None = None,
        *,
        device: str | None = None,
        **settings: Any,
    ) -> None:
        chosen = single(config, settings, "a conversation")
        self.conversation = _conversation(model_path, tokenizer_path, system_prompt, chosen, device)

    def start(self) -> None:
        """Talk on standard input and output until /quit or the end of input. The conversation stays."""
        _talk(self.conversation)

    def respond(self, user_input: str, conversation: Sequence[Mapping[str, str]] | None = None, **settings: Any) -> str:
        """The answer to `user_input`.

        conversation: what was said before, as [{"user": …, "assistant": …}, …], in place of this object's own history; neither
        the list nor this object is changed then. Without it, the exchange joins this object's history.
        Raises InputError for an entry of another shape.
        """
        if conversation is None:
            return _answer(self.conversation, user_input, settings)
        from ramify.cli.conversation import Conversation

        own = self.conversation
        told = Conversation(own.model, own.config, own.system)
        told.exchanges = [_exchange(entry, place) for place, entry in enumerate(conversation)]
        return _answer(told, user_input, settings)


def _conversation(
    model_path: "str | Path | Model",
    tokenizer_path: str | Path | None,
    system: str | None,
    config: GenerationConfig,
    device: str | None,
) -> "Conversation":
    from ramify.cli.conversation import Conversation

    model = opened(model_path, tokenizer_path, device=device)
    if model.chat is None:
        raise InputError(f"{model.info.name} has no chat template, so it cannot chat; generate_text completes raw text")
    return Conversation(model, config, system)


def _talk(conversation: "Conversation") -> None:
    from ramify.cli.chat import talk

    talk(conversation)


def _answer(conversation: "Conversation", text: str, settings: dict[str, Any]) -> str:
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"what is said is {text!r}; it must be text that is not empty")
    kept = conversation.config
    conversation.config = single(kept, settings, "a conversation")
    try:
        return "".join(conversation.answer(text))
    finally:
        conversation.config = kept


def _exchange(entry: Mapping[str, str], place: int) -> tuple[str, str]:
    if not isinstance(entry, Mapping) or set(entry) != {"user", "assistant"}:
        raise InputError(f'conversation holds {entry!r} at {place}; each entry must be {{"user": text, "assistant": text}}')
    user, assistant = entry["user"], entry["assistant"]
    if not isinstance(user, str) or not isinstance(assistant, str):
        raise InputError(f"conversation holds {entry!r} at {place}; both values must be text")
    return user, assistant
