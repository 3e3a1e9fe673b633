"""A probe's questions on their way: bodies in the endpoint's protocol, errors as answers, and a count of both."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from ramify.errors import RemoteError
from ramify.models.cards import Finding
from ramify.models.endpoints import Endpoint
from ramify.models.messages_answers import MessagesAnswer
from ramify.models.messages_fields import MESSAGES
from ramify.models.remote_answers import Answer, Asked, RemoteCompletion, shown
from ramify.models.remote_calls import Connection
from ramify.models.remote_fields import SAID_ALOUD

__all__ = ["REFUSALS", "TOKENS", "WARM", "Asking", "Prompt", "Said"]

Prompt = str | Sequence[int] | Sequence[Mapping[str, object]]
Said = RemoteCompletion | RemoteError

TOKENS = 24
HOT, WARM = 1.5, 1.0
REFUSALS = (400, 403, 404, 405, 413, 415, 422, 501)
"""Statuses that say no to a question; all others say nothing of it."""
CHAT, RAW = "/chat/completions", "/completions"
QUOTED = 60


class Asking:
    """One model at one endpoint. Every question is short, and greedy unless it is asked hot."""

    def __init__(self, connection: Connection, model: str, endpoint: Endpoint, prompt: Prompt) -> None:
        self.model, self.endpoint = model, endpoint
        self.dialect = endpoint.dialect or "compatible"
        self.far = self.dialect == "anthropic"
        self.prompt = prompt
        """What is asked where nothing else is."""
        self.cold: float | None = 0.0
        """The temperature of greedy questions; None where none may be said."""
        self.hot: float | None = WARM if self.far else HOT
        self.requests = self.tokens = 0
        self._connection = connection
        self._where = f"{model!r} at {endpoint.base_url}"

    async def ask(self, prompt: Prompt | None = None, *, tokens: int = TOKENS, hot: bool = False, **fields: Any) -> Said:
        """One completion, or the error that came in its place."""
        made = await self.all(prompt, tokens=tokens, hot=hot, **fields)
        return made if isinstance(made, RemoteError) else made[0]

    async def all(
        self, prompt: Prompt | None = None, *, tokens: int = TOKENS, hot: bool = False, **fields: Any
    ) -> tuple[RemoteCompletion, ...] | RemoteError:
        path, body = self._body(self.prompt if prompt is None else prompt, tokens, self.hot if hot else self.cold, fields)
        answer = self._answer("logprobs" in body)
        self.requests += 1
        try:
            answer.feed(await self._connection.post(path, body))
            made = answer.complete()
        except RemoteError as error:
            return error
        self._count(made)
        return made

    async def stream(self) -> int | RemoteError:
        """In how many pieces a completion comes, or the error that came in its place."""
        path, body = self._body(self.prompt, TOKENS, self.cold, {"stream": True})
        answer, pieces = self._answer(False), 0
        self.requests += 1
        try:
            async with contextlib.aclosing(self._connection.events(path, body)) as events:
                async for event in events:
                    pieces += sum(bool(piece.text) for piece in answer.feed(event))
            self._count(answer.complete())
        except RemoteError as error:
            return error
        return pieces

    async def get(self, path: str) -> Mapping[str, Any]:
        """What stands at a path, or whole address; empty where nothing usable does."""
        self.requests += 1
        with contextlib.suppress(RemoteError):
            told = await self._connection.get(path)
            if isinstance(told, Mapping):
                return told
        return {}

    def failure(self, error: RemoteError) -> Finding:
        """What an error in an answer's place says."""
        said = str(error).removeprefix(f"{self._where} ")
        return Finding("refused" if error.status in REFUSALS else "unclear", f"it {said}")

    def quoted(self, text: str) -> str:
        """`words` in quotation marks."""
        return repr(self.words(text))

    def words(self, text: str) -> str:
        """An endpoint's words for a card: cut, on one line, without the key."""
        return shown(text, self._connection.hide)[:QUOTED]

    def _body(self, prompt: Prompt, tokens: int, temperature: float | None, fields: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        chat = not isinstance(prompt, str) and isinstance(prompt[0], Mapping)
        most = "max_completion_tokens" if chat and self.dialect == "openai" else "max_tokens"
        body = {
            "model": self.model,
            "messages" if chat else "prompt": prompt,
            **SAID_ALOUD.get(self.dialect, {}),
            most: tokens,
            **({} if temperature is None else {"temperature": temperature}),
            **fields,
        }
        return MESSAGES if self.far else CHAT if chat else RAW, body

    def _answer(self, logprobs: bool) -> Answer:
        asked = Asked(where=self._where, logprobs=logprobs, hide=self._connection.hide)
        return MessagesAnswer(asked) if self.far else Answer(asked)

    def _count(self, made: Sequence[RemoteCompletion]) -> None:
        if (usage := made[0].usage) is not None:
            self.tokens += usage.prompt_tokens + usage.completion_tokens
