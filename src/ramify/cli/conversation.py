"""A conversation with a model, and the one rule for its history.

The whole conversation is the prompt. When it would leave less room than an answer needs, the oldest exchanges are
forgotten, a user's message and its answer together, until it fits; the system message stays. A cancelled answer
stays as far as it got; an exchange that has no answer at all is taken back.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ramify.decoding.config import GenerationConfig
from ramify.errors import PromptTooLongError

if TYPE_CHECKING:
    from ramify.engine.model import Model
    from ramify.engine.requests import CompletionResult

__all__ = ["Conversation"]

SHARE = 4
"""Where max_new_tokens is not set, an answer needs a quarter of the context window."""


class Conversation:
    """Messages, and the model that answers them."""

    def __init__(self, model: "Model", config: GenerationConfig | None = None, system: str | None = None) -> None:
        self.model = model
        self.config = GenerationConfig() if config is None else config
        self.system = system
        self.exchanges: list[tuple[str, str]] = []
        self.forgotten = 0
        """How many exchanges the last answer had to do without."""
        self.last: CompletionResult | None = None
        """The last answer as the engine gave it; None while there is none, and after a cancelled one."""

    @property
    def messages(self) -> list[dict[str, str]]:
        """Everything said so far, oldest first."""
        said = [
            message
            for user, assistant in self.exchanges
            for message in ({"role": "user", "content": user}, {"role": "assistant", "content": assistant})
        ]
        return self._opening() + said

    def answer(self, text: str) -> Iterator[str]:
        """Say something and get the answer in pieces; leaving the loop cancels the rest of it.

        Raises PromptTooLongError when even the message alone does not fit.
        """
        prompt = self._fitting(text)
        self.last = None
        answered: list[str] = []
        try:
            for event in self.model.stream(prompt, self.config, logprobs=None):
                if event.text:
                    answered.append(event.text)
                    yield event.text
                self.last = event.result or self.last
        finally:
            if answered or self.last is not None:
                self.exchanges.append((text, "".join(answered)))

    def reset(self) -> None:
        """Forget everything but the system message and the settings."""
        self.exchanges.clear()
        self.last, self.forgotten = None, 0

    def _opening(self) -> list[dict[str, str]]:
        return [] if self.system is None else [{"role": "system", "content": self.system}]

    def _fitting(self, text: str) -> Sequence[dict[str, str]]:
        window = self.model.info.context_window
        needed = min(self.config.max_new_tokens or window // SHARE, window - 1)
        for start in range(len(self.exchanges) + 1):
            said = [
                message
                for user, assistant in self.exchanges[start:]
                for message in ({"role": "user", "content": user}, {"role": "assistant", "content": assistant})
            ]
            prompt = [*self._opening(), *said, {"role": "user", "content": text}]
            tokens = len(self.model.ids_of(prompt)[0])
            if tokens + needed <= window:
                break
        if tokens >= window:
            raise PromptTooLongError(tokens, window)
        self.forgotten = start
        return prompt
