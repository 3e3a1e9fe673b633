"""What one request's answers become: OpenAI's `text_completion` and `chat.completion` objects, whole or in chunks."""

import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ramify.api.errors import ApiError
from ramify.api.openai_answers import ChatLogprobs, LegacyLogprobs, choice_end, prompt_logprobs, usage
from ramify.api.openai_fields import ChatRequest, CompletionRequest, Sampling, StreamOptions
from ramify.api.parts import Answer, Piece
from ramify.api.streaming import DONE, HERE, event, filled, template
from ramify.engine.model import Model
from ramify.engine.requests import CompletionResult, TokenLogprob

__all__ = ["ChatChoices", "Choices", "CompletionChoices"]


class Choices(ABC):
    """The shape of one request's answers. It remembers what its stream has said already."""

    prefix: str
    whole_object: str
    chunk_object: str

    def __init__(self, model: Model, body: Sampling, *, logprobs: bool) -> None:
        self.id = f"{self.prefix}-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.model = model
        self._options = body.stream_options or StreamOptions()
        self._answers: dict[int, Answer] = {}
        self._made = 0
        self._plain = not (logprobs or body.return_token_ids or self._options.continuous_usage_stats)
        """Whether an event in the middle of a stream says nothing but its text."""
        self._templates: dict[int, tuple[bytes, bytes]] = {}
        """For each choice, such an event without its text."""

    def head(self, *, chunk: bool = True) -> dict[str, Any]:
        """What every object of the request begins with."""
        info = self.model.info
        return {
            "id": self.id,
            "object": self.chunk_object if chunk else self.whole_object,
            "created": self.created,
            "model": info.name,
            "system_fingerprint": info.fingerprint,
        }

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        return self.head(chunk=False) | self.body(answers) | {"usage": usage(answers)}

    def written(self, pieces: Sequence[Piece]) -> bytes:
        found: list[bytes] = []
        for piece in pieces:
            self._answers[piece.part] = piece.answer
            made = piece.event
            self._made += len(made.token_ids) if made is not None else 0
            if made is not None and made.result is None and self._plain:
                if made.text:
                    found.append(filled(self._template(piece.part, made.index), made.text))
                continue
            for chunk in self.chunks(piece):
                if self._options.continuous_usage_stats:
                    prompt = sum(len(answer.prompt_ids) for answer in self._answers.values())
                    total = prompt + self._made
                    chunk["usage"] = {"prompt_tokens": prompt, "completion_tokens": self._made, "total_tokens": total}
                elif self._options.include_usage:
                    chunk["usage"] = None
                found.append(event(chunk))
        return b"".join(found)

    def _template(self, part: int, index: int) -> tuple[bytes, bytes]:
        at = self._index(part, index)
        if at not in self._templates:
            chunk = self._chunk(self._choice(at, HERE))
            self._templates[at] = template(chunk | {"usage": None} if self._options.include_usage else chunk)
        return self._templates[at]

    def end(self) -> bytes:
        if not self._options.include_usage:
            return DONE
        return event(self.head() | {"choices": [], "usage": usage(list(self._answers.values()))}) + DONE

    def failure(self, error: ApiError) -> bytes:
        return event(error.body) + DONE

    @abstractmethod
    def body(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """The choices, and what stands beside them."""

    @abstractmethod
    def chunks(self, piece: Piece) -> Iterator[dict[str, Any]]:
        """What a piece adds to the stream; nothing where it says nothing new."""

    @abstractmethod
    def _index(self, part: int, index: int) -> int:
        """Where a completion of a part stands among the choices."""

    @abstractmethod
    def _choice(self, index: int, text: str) -> dict[str, Any]:
        """A choice that has grown by a text."""

    def _chunk(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        return self.head() | {"choices": [dict(choice)]}


class CompletionChoices(Choices):
    """/v1/completions. Choice j of prompt i has index i * n + j."""

    prefix = "cmpl"
    whole_object = chunk_object = "text_completion"

    def __init__(self, model: Model, body: CompletionRequest, prompts: Sequence[str | Sequence[int]]) -> None:
        super().__init__(model, body, logprobs=body.logprobs is not None)
        self._body = body
        self._prompts = prompts
        self._n = body.n or 1
        self._logprobs: dict[int, LegacyLogprobs] = {}

    def body(self, answers: Sequence[Answer]) -> dict[str, Any]:
        choices = []
        for part, answer in enumerate(answers):
            for j, result in enumerate(self._best(answer)):
                choices.append(self._whole_choice(part, part * self._n + j, answer, result))
        return {"choices": choices}

    def _best(self, answer: Answer) -> Sequence[CompletionResult | None]:
        """The n likeliest a token, where more were made; [None] where nothing was."""
        if not answer.completions:
            return [None] * self._n
        if len(answer.completions) <= self._n or self._body.use_beam_search:
            return answer.completions[: self._n]
        return sorted(answer.completions, key=_mean_logprob, reverse=True)[: self._n]

    def _whole_choice(self, part: int, index: int, answer: Answer, result: CompletionResult | None) -> dict[str, Any]:
        body, found = self._body, self._choice(index)
        if body.echo:
            found["text"] = self._prompt_text(part, answer)
        if body.logprobs is not None:
            found["logprobs"] = self._prompt_part(part, index, answer) if body.echo else self._maker(index).generated(())
        if result is not None:
            found["text"] += result.generated_text
            if body.logprobs is not None:
                added = self._maker(index).generated(result.logprobs or ())
                found["logprobs"] = {name: entries + added[name] for name, entries in found["logprobs"].items()}
            found |= choice_end(result)
        else:
            found["finish_reason"] = "length"
        if body.prompt_logprobs is not None and answer.measured is not None:
            found["prompt_logprobs"] = prompt_logprobs(self.model.codec, answer.measured.logprobs)
        if body.return_token_ids:
            found["prompt_token_ids"] = list(answer.prompt_ids)
            found["token_ids"] = [] if result is None else list(result.generated_token_ids)
        return found

    def chunks(self, piece: Piece) -> Iterator[dict[str, Any]]:
        if piece.event is None:
            yield from self._first_chunks(piece)
            return
        made, body = piece.event, self._body
        index = self._index(piece.part, made.index)
        if made.text or made.finish_reason or (made.token_ids and (body.logprobs is not None or body.return_token_ids)):
            found = self._choice(index, made.text)
            if body.logprobs is not None:
                found["logprobs"] = self._maker(index).generated(made.logprobs)
            if body.return_token_ids:
                found["token_ids"] = list(made.token_ids)
            if made.result is not None:
                found |= choice_end(made.result)
            yield self._chunk(found)

    def _first_chunks(self, piece: Piece) -> Iterator[dict[str, Any]]:
        body, nothing_follows = self._body, self._body.max_tokens == 0
        if not (body.echo or body.return_token_ids or nothing_follows):
            return
        for index in range(piece.part * self._n, (piece.part + 1) * self._n):
            found = self._choice(index)
            if body.echo:
                found["text"] = self._prompt_text(piece.part, piece.answer)
                if body.logprobs is not None:
                    found["logprobs"] = self._prompt_part(piece.part, index, piece.answer)
            if body.return_token_ids:
                found |= {"prompt_token_ids": list(piece.answer.prompt_ids), "token_ids": []}
            if nothing_follows:
                found["finish_reason"] = "length"
            yield self._chunk(found)

    def _index(self, part: int, index: int) -> int:
        return part * self._n + index

    def _choice(self, index: int, text: str = "") -> dict[str, Any]:
        return {"index": index, "text": text, "logprobs": None, "finish_reason": None}

    def _maker(self, index: int) -> LegacyLogprobs:
        if index not in self._logprobs:
            body = self._body
            self._logprobs[index] = LegacyLogprobs(
                self.model.codec,
                as_ids=bool(body.return_tokens_as_token_ids),
                special_tokens=body.skip_special_tokens is False,
            )
        return self._logprobs[index]

    def _prompt_part(self, part: int, index: int, answer: Answer) -> dict[str, Any]:
        measured = answer.measured.logprobs if answer.measured is not None else ()
        return self._maker(index).prompt(
            answer.prompt_ids, _narrowed(measured, self._body.logprobs or 0), self._prompt_text(part, answer)
        )

    def _prompt_text(self, part: int, answer: Answer) -> str:
        prompt = self._prompts[part]
        if isinstance(prompt, str):
            return prompt
        return b"".join(self.model.codec.literal_bytes[i] for i in answer.prompt_ids).decode("utf-8", "replace")


class ChatChoices(Choices):
    """/v1/chat/completions: one prompt, n choices."""

    prefix = "chatcmpl"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def __init__(self, model: Model, body: ChatRequest) -> None:
        super().__init__(model, body, logprobs=bool(body.logprobs))
        self._body = body
        self._logprobs = ChatLogprobs(model.codec, as_ids=bool(body.return_tokens_as_token_ids))

    def body(self, answers: Sequence[Answer]) -> dict[str, Any]:
        (answer,) = answers
        found: dict[str, Any] = {
            "choices": [self._whole_choice(index, result) for index, result in enumerate(answer.completions)]
        }
        if self._body.prompt_logprobs is not None and answer.measured is not None:
            found["prompt_logprobs"] = prompt_logprobs(self.model.codec, answer.measured.logprobs)
        if self._body.return_token_ids:
            found["prompt_token_ids"] = list(answer.prompt_ids)
        return found

    def _whole_choice(self, index: int, result: CompletionResult) -> dict[str, Any]:
        found: dict[str, Any] = {
            "index": index,
            "message": {"role": "assistant", "content": result.generated_text, "refusal": None},
            "logprobs": self._logprobs.generated(result.logprobs or ()) if self._body.logprobs else None,
            **choice_end(result),
        }
        if self._body.return_token_ids:
            found["token_ids"] = list(result.generated_token_ids)
        return found

    def chunks(self, piece: Piece) -> Iterator[dict[str, Any]]:
        if piece.event is None:
            for index in range(self._body.n or 1):
                chunk = self._chunk(self._delta(index, {"role": "assistant", "content": ""}))
                if self._body.return_token_ids:
                    chunk["prompt_token_ids"] = list(piece.answer.prompt_ids)
                yield chunk
            return
        made, body = piece.event, self._body
        if made.text or (made.token_ids and (body.logprobs or body.return_token_ids)):
            found = self._choice(made.index, made.text)
            if body.logprobs:
                found["logprobs"] = self._logprobs.generated(made.logprobs)
            if body.return_token_ids:
                found["token_ids"] = list(made.token_ids)
            yield self._chunk(found)
        if made.result is not None:
            yield self._chunk(self._delta(made.index, {}) | choice_end(made.result))

    def _index(self, part: int, index: int) -> int:
        return index

    def _choice(self, index: int, text: str) -> dict[str, Any]:
        return self._delta(index, {"content": text})

    @staticmethod
    def _delta(index: int, delta: Mapping[str, Any]) -> dict[str, Any]:
        return {"index": index, "delta": dict(delta), "logprobs": None, "finish_reason": None}


def _narrowed(tokens: Sequence[TokenLogprob], alternatives: int) -> Sequence[TokenLogprob]:
    """The same with fewer alternatives: a prompt is measured once, with as many as any field asks for."""
    return [replace(token, raw=replace(token.raw, alternatives=token.raw.alternatives[:alternatives])) for token in tokens]


def _mean_logprob(result: CompletionResult) -> float:
    tokens = result.logprobs or ()
    return sum(token.logprob for token in tokens) / len(tokens) if tokens else float("-inf")
