"""The engine's answers in OpenAI's shapes, with vLLM's additions (ids, prompt logprobs, stop_reason) and ours (`ramify`)."""

from collections.abc import Sequence
from typing import Any

from ramify.api.parts import Answer
from ramify.engine.requests import Alternative, CompletionResult, TokenLogprob
from ramify.models.base import TextCodec
from ramify.models.detokenizer import StreamDecoder

__all__ = ["ChatLogprobs", "LegacyLogprobs", "choice_end", "prompt_logprobs", "spelt", "usage"]

LOWEST = -9999.0
"""In place of minus infinity, which JSON lacks; vLLM's number."""

REASONS = {"eos": "stop", "stop": "stop", "length": "length", "time": "length", "cancelled": "abort", "error": "error"}


def number(logprob: float) -> float:
    return max(logprob, LOWEST)


def spelt(codec: TextCodec, token_id: int, *, as_id: bool = False) -> str:
    """A token as a string: special ones by name, bytes that are no text as OpenAI writes them ("bytes:\\xe2\\x82")."""
    if as_id:
        return f"token_id:{token_id}"
    data = codec.literal_bytes[token_id]
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)


class LegacyLogprobs:
    """The `logprobs` of /v1/completions. It counts characters along, so that pieces of a stream fit together."""

    def __init__(self, codec: TextCodec, *, as_ids: bool = False, special_tokens: bool = False) -> None:
        """special_tokens: whether they are part of the text."""
        self._codec = codec
        self._as_ids = as_ids
        self._offset = 0
        self._decoder = StreamDecoder(codec.literal_bytes if special_tokens else codec.token_bytes)
        self._prompt_decoder = StreamDecoder(codec.literal_bytes)

    def prompt(self, ids: Sequence[int], measured: Sequence[TokenLogprob], text: str) -> dict[str, Any]:
        """Of an echoed prompt: nothing can be said of its first token, so its entry is null. text: the prompt as echoed."""
        first = ids[0]
        found = self._empty()
        # A BOS that the tokenizer put before the text is no part of it.
        shown = text.startswith(spelt(self._codec, first)) or first not in self._codec.special_ids
        self._add(found, first, None, self._prompt_decoder.feed(first) if shown else "")
        for token in measured:
            self._add(found, token.token_id, token, self._prompt_decoder.feed(token.token_id))
        self._offset = len(text)
        return found

    def generated(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
        """Of generated tokens, an EOS too. The chosen one is always among the top, with the same number."""
        found = self._empty()
        for token in tokens:
            self._add(found, token.token_id, token, self._decoder.feed(token.token_id))
        return found

    @staticmethod
    def _empty() -> dict[str, Any]:
        return {"text_offset": [], "token_logprobs": [], "tokens": [], "top_logprobs": []}

    def _add(self, found: dict[str, Any], token_id: int, token: TokenLogprob | None, text: str) -> None:
        name = spelt(self._codec, token_id, as_id=self._as_ids)
        found["tokens"].append(name)
        found["text_offset"].append(self._offset)
        self._offset += len(text)
        found["token_logprobs"].append(None if token is None else number(token.logprob))
        found["top_logprobs"].append(None if token is None else self._top(token, name))

    def _top(self, token: TokenLogprob, name: str) -> dict[str, float]:
        top: dict[str, float] = {}
        for other in token.alternatives:
            top.setdefault(spelt(self._codec, other.token_id, as_id=self._as_ids), number(other.logprob))
        top[name] = number(token.logprob)
        return top


class ChatLogprobs:
    """The `logprobs` of /v1/chat/completions."""

    def __init__(self, codec: TextCodec, *, as_ids: bool = False) -> None:
        self._codec = codec
        self._as_ids = as_ids

    def generated(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any]:
        return {"content": [self._entry(token) for token in tokens], "refusal": None}

    def _entry(self, token: TokenLogprob) -> dict[str, Any]:
        return {**self._one(token.token_id, token.logprob), "top_logprobs": [self._other(each) for each in token.alternatives]}

    def _other(self, other: Alternative) -> dict[str, Any]:
        return self._one(other.token_id, other.logprob)

    def _one(self, token_id: int, logprob: float) -> dict[str, Any]:
        name = spelt(self._codec, token_id, as_id=self._as_ids)
        return {"token": name, "logprob": number(logprob), "bytes": list(self._codec.literal_bytes[token_id])}


def prompt_logprobs(codec: TextCodec, measured: Sequence[TokenLogprob]) -> list[dict[str, Any] | None]:
    """vLLM's `prompt_logprobs`: null for the first token, then {id: {logprob, rank, decoded_token}} for each."""
    found: list[dict[str, Any] | None] = [None]
    for token in measured:
        entry = {
            str(other.token_id): {"logprob": number(other.logprob), "rank": rank, "decoded_token": spelt(codec, other.token_id)}
            for rank, other in enumerate(token.alternatives, 1)
        }
        entry[str(token.token_id)] = {
            "logprob": number(token.logprob),
            "rank": token.rank,
            "decoded_token": spelt(codec, token.token_id),
        }
        found.append(entry)
    return found


def choice_end(result: CompletionResult) -> dict[str, Any]:
    """Why a choice ended, in OpenAI's word, in vLLM's, and exactly."""
    return {
        "finish_reason": REASONS.get(result.finish_reason, "stop"),
        "stop_reason": result.stop_string,
        "ramify": {"finish_reason": result.finish_reason, "truncated": result.truncated, "seed": result.seed},
    }


def usage(answers: Sequence[Answer]) -> dict[str, Any]:
    """Tokens given and made; of the prompts, how many had been computed before."""
    prompt = sum(len(answer.prompt_ids) for answer in answers)
    made = sum(len(result.generated_token_ids) for answer in answers for result in answer.completions)
    cached = sum(answer.completions[0].cached_tokens for answer in answers if answer.completions)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": made,
        "total_tokens": prompt + made,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
