"""From a request that is understood to its response: who answers, whole or as a stream, for as long as the client is there."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fastapi import Request
from starlette.responses import JSONResponse, Response

from ramify.api import curated
from ramify.api.admission import Arrival
from ramify.api.errors import ApiError
from ramify.api.parts import Answer, Ids, Kept, Part, Piece
from ramify.api.running import Run
from ramify.api.state import Server
from ramify.api.streaming import PING, EventStream
from ramify.api.waiting import ClientGoneError, off_loop, while_connected
from ramify.decoding.config import GenerationConfig
from ramify.engine.model import Model

__all__ = ["Asked", "Shape"]

Asking = str | Sequence[int] | Sequence[Mapping[str, Any]]


class Shape(Protocol):
    """How a family of clients wants to be answered. One object a request; it remembers what its stream has said."""

    def whole(self, answers: Sequence[Answer]) -> Mapping[str, Any]:
        """The answer in one piece."""
        ...

    def written(self, pieces: Sequence[Piece]) -> bytes:
        """What has become known, as events of the stream; b"" where it says nothing new."""
        ...

    def end(self) -> bytes:
        """The end of a stream that went well."""
        ...

    def failure(self, error: ApiError) -> bytes:
        """The end of a stream that did not."""
        ...


@dataclass(kw_only=True)
class Asked:
    """A request for completions of one or several prompts."""

    server: Server
    model: str | None
    prompts: Sequence[Asking]
    encoders: Sequence[Callable[[Model], Ids]]
    """For each prompt, how it becomes ids."""
    config: GenerationConfig | None
    """None: the prompts are measured, and nothing is generated."""
    logprobs: int | None
    special_tokens: bool = False
    """Whether special tokens are part of the text."""
    measure: int | None = None
    max_tokens: int | None = None
    max_tokens_name: str = "max_tokens"
    stream: bool = False

    async def answer(self, request: Request, shape_for: Callable[[Model], Shape]) -> Response:
        """Run it. What is wrong with the request is raised; what fails once a stream has begun is its last event."""
        try:
            return await while_connected(request.receive, self._answer(shape_for, request.scope.get("ramify.arrival")))
        except ClientGoneError:
            return Response(status_code=499)  # which nobody reads

    async def _answer(self, shape_for: Callable[[Model], Shape], arrival: Arrival | None) -> Response:
        chosen = await self._chosen()
        if arrival is not None:
            arrival.over()
        run = Run(*chosen)
        try:
            shape = shape_for(await run.prepare())
            if not self.stream:
                return JSONResponse(shape.whole(await run.answers()))
            pieces = run.pieces(ping_s=self.server.limits.ping_s)
        except BaseException:
            run.close()
            raise
        finally:
            if not self.stream:
                run.close()
        return EventStream(_events(pieces, shape), close=run.close, failure=shape.failure)

    async def _chosen(self) -> tuple[Server, str, list[Part]]:
        """Who answers, and the parts of the work."""
        name = self.model
        kept: tuple[Kept | None, ...] = (None,) * len(self.prompts)
        if self.server.workspace is not None and name is not None and "@" in name:
            if self.config is not None and self.config.num_return_sequences != 1:
                raise ApiError(400, "under a facet a prompt has one approved completion; ask for one", param="n")
            choice = await off_loop(sum(map(_characters, self.prompts)), lambda: curated.choose(self.server, name, self.prompts))
            name, kept = choice.model, choice.kept
        name = name or self.server.models.default
        self.server.models.check(name)
        return self.server, name, [self._part(i, each) for i, each in enumerate(kept)]

    def _part(self, i: int, kept: Kept | None) -> Part:
        return Part(
            encode=self.encoders[i],
            characters=_characters(self.prompts[i]),
            config=self.config,
            logprobs=self.logprobs,
            special_tokens=self.special_tokens,
            measure=self.measure,
            max_tokens=self.max_tokens if kept is None else None,
            max_tokens_name=self.max_tokens_name,
            kept=kept,
        )


async def _events(pieces: AsyncIterator[list[Piece]], shape: Shape) -> AsyncIterator[bytes]:
    async for some in pieces:
        found = shape.written(some) if some else PING
        if found:
            yield found
    yield shape.end()


def _characters(prompt: Asking) -> int:
    if isinstance(prompt, str) or (prompt and isinstance(prompt[0], int)):
        return len(prompt)
    return sum(len(str(message.get("content"))) for message in prompt if isinstance(message, Mapping))
