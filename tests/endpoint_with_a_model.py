"""An endpoint with a toy model behind it, whose manners are chosen: what it honours, ignores, doubles or refuses.

The model's next word is a function of all that stands before it, so that an answer which is cut and continued goes on alike.
"""

import hashlib
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from endpoint_made_here import Handler, Reply, Server, says, streams

WORDS = (*("the", "fox", "and", "keeper", "saw", "light", "over", "rock", "but", "then", "a", "wave", "came", "home"), "🦊")
BIAS = " again"


@dataclass(frozen=True, kw_only=True)
class Manners:
    """Each "honoured", "ignored", or "refused" (a 400); a prefill may be "doubled" too."""

    prefill: str = "honoured"
    flag: str = "ignored"
    """continue_final_message."""
    top_k: str = "honoured"
    seed: str = "honoured"
    logit_bias: str = "honoured"
    n: str = "honoured"
    echo: str = "honoured"
    token_ids: str = "honoured"
    stream: str = "honoured"
    temperature: str = "honoured"
    raw: str = "honoured"
    chat: str = "honoured"
    top: int | None = 20
    """The most alternatives; None: no logprobs, though they are asked for."""
    processed: bool = False
    """Logprobs are of the distribution after temperature."""
    lists: bool = True
    """A raw completion's logprobs are OpenAI's parallel lists; else as llama.cpp has them."""
    counts: bool = True
    spoken: bool = False
    """Whether it speaks Anthropic's protocol."""


class RefusedError(Exception):
    """What becomes a 400."""


def ranked(context: str) -> list[tuple[str, float]]:
    """Every word with its logit, the likeliest first."""
    order = sorted(WORDS, key=lambda word: hashlib.sha256(f"{context}|{word}".encode()).digest())
    return [(f" {word}", -0.4 * rank) for rank, word in enumerate(order)]


def normal(logits: Sequence[tuple[str, float]], temperature: float) -> list[tuple[str, float]]:
    total = math.log(sum(math.exp(logit / temperature) for _, logit in logits))
    return [(word, logit / temperature - total) for word, logit in logits]


def words(context: str, body: dict[str, Any], manners: Manners, dice: random.Random) -> list[dict[str, Any]]:
    """Tokens as a chat's logprobs have them."""
    temperature = body.get("temperature", 1.0) if manners.temperature == "honoured" else 1.0
    made: list[dict[str, Any]] = []
    for _ in range(body.get("max_tokens", body.get("max_completion_tokens", 16))):
        logits = ranked(context + "".join(token["token"] for token in made))
        if body.get("logit_bias") and manners.logit_bias == "honoured":
            logits = [(BIAS, 100.0), *logits]
        said = normal(logits, temperature if manners.processed and temperature else 1.0)
        greedy = not temperature or (body.get("top_k") == 1 and manners.top_k == "honoured")
        weights = [1.0, *[0.0] * (len(logits) - 1)] if greedy else [math.exp(p) for _, p in normal(logits, temperature)]
        ((word, logprob),) = dice.choices(said, weights)
        made.append(measured(word, logprob, said))
    return made


def measured(word: str, logprob: float, said: Sequence[tuple[str, float]]) -> dict[str, Any]:
    def one(text: str, value: float) -> dict[str, Any]:
        return {"id": len(text), "token": text, "bytes": list(text.encode()), "logprob": value}

    return {**one(word, logprob), "top_logprobs": [one(*each) for each in said]}


def asked_for(body: dict[str, Any], manners: Manners, chat: bool) -> int | None:
    """How many alternatives, None without logprobs."""
    given = body.get("logprobs")
    if given is None or given is False:
        return None
    top = body.get("top_logprobs", 0) if chat else int(given)
    if manners.top is not None and top > manners.top:
        raise RefusedError(f"top_logprobs is {top}; at most {manners.top} are given")
    return None if manners.top is None else top


def answer(path: str, body: dict[str, Any], manners: Manners) -> tuple[dict[str, Any], list[str]]:
    """The body of an answer, and the first completion's pieces."""
    chat = path.endswith(("/chat/completions", "/messages"))
    for name, field in (("n", "n"), ("top_k", "top_k"), ("seed", "seed"), ("logit_bias", "logit_bias"), ("echo", "echo")):
        if field in body and getattr(manners, name) == "refused":
            raise RefusedError(f"{field}: unknown field")
    if body.get("temperature", 1.0) != 1.0 and manners.temperature == "refused":
        raise RefusedError("`temperature` may not be set for this model")
    if not 0 <= body.get("repeat_last_n", 64) < 2**31:  # llama.cpp's, where -1 used to mean all
        raise RefusedError("Field 'repeat_last_n': Value must be between 0 <= value <= 2147483647, but got -1")
    if body.get("continue_final_message") and manners.flag == "refused":
        raise RefusedError("continue_final_message: unknown field")
    if (manners.chat if chat else manners.raw) == "refused":
        raise RefusedError("no such route")
    begun, context = prompt_of(body, manners, chat)
    dice = random.Random(body["seed"]) if "seed" in body and manners.seed == "honoured" else random.Random()
    top = asked_for(body, manners, chat)
    rows = [words(context + begun, body, manners, dice) for _ in range(body.get("n", 1) if manners.n == "honoured" else 1)]
    repeated = context if body.get("echo") and manners.echo == "honoured" else begun if manners.prefill == "doubled" else ""
    counted = {"prompt_tokens": len(f"{context} {begun}".split()), "completion_tokens": sum(map(len, rows))}
    if isinstance(body.get("prompt"), list):
        counted["prompt_tokens"] = len(body["prompt"]) if manners.token_ids == "honoured" else len(str(body["prompt"]))
    choices = []
    for index, tokens in enumerate(rows):
        text = repeated + "".join(token["token"] for token in tokens)
        said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
        logprobs = None
        if top is not None:
            before = [measured(f" {word}", -1.0, ()) for word in context.split()] if body.get("echo") and repeated else []
            shown = [{**token, "top_logprobs": token["top_logprobs"][:top]} for token in [*before, *tokens]]
            logprobs = {"content": shown} if chat or not manners.lists else lists(shown, context if before else "")
        choices.append({"index": index, **said, "finish_reason": "length", "logprobs": logprobs})
    told = {"id": "id-1", "object": "chat.completion", "model": body["model"], "choices": choices}
    return {**told, **({"usage": counted} if manners.counts else {})}, [repeated, *(token["token"] for token in rows[0])]


def prompt_of(body: dict[str, Any], manners: Manners, chat: bool) -> tuple[str, str]:
    """What was begun, and what stands before it."""
    if not chat:
        if isinstance(body["prompt"], list) and manners.token_ids == "refused":
            raise RefusedError("prompt: not a text")
        return "", body["prompt"] if isinstance(body["prompt"], str) else str(body["prompt"])
    *turns, last = body["messages"]
    if last["role"] != "assistant":
        return "", "|".join(turn["content"] for turn in body["messages"])
    if manners.prefill == "refused":
        raise RefusedError(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )
    return "" if manners.prefill == "ignored" else last["content"], "|".join(turn["content"] for turn in turns)


def lists(tokens: Sequence[dict[str, Any]], prompt: str) -> dict[str, Any]:
    texts = [token["token"] for token in tokens]
    if prompt:
        texts[0] = texts[0].lstrip()
    return {
        "tokens": texts,
        "token_logprobs": [None if prompt and not at else token["logprob"] for at, token in enumerate(tokens)],
        "top_logprobs": [{other["token"]: other["logprob"] for other in token["top_logprobs"]} for token in tokens],
    }


def behaves(manners: Manners) -> Reply:
    """A reply for every question, in the manners' way."""

    def reply(handler: Handler) -> None:
        try:
            told, pieces = answer(handler.path, handler.body, manners)
        except RefusedError as refused:
            error = {"code": 400, "message": str(refused), "type": "invalid_request_error"}
            return says({"type": "error", "error": error}, 400)(handler)
        if manners.spoken:
            if handler.body.get("stream"):
                return streams(message_events(told, pieces), done=False)(handler)
            return says(message(told))(handler)
        if handler.body.get("stream") and manners.stream == "honoured":
            chat = handler.path.endswith("/chat/completions")
            chunks = [
                {"choices": [{"index": 0, **({"delta": {"content": piece}} if chat else {"text": piece})}]} for piece in pieces
            ]
            end = {"choices": [{"index": 0, **({"delta": {}} if chat else {"text": ""}), "finish_reason": "length"}]}
            return streams([*chunks, end])(handler)
        return says(told)(handler)

    return reply


# --- Anthropic's protocol


def message(told: dict[str, Any]) -> dict[str, Any]:
    text = told["choices"][0]["message"]["content"]
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": told["model"],
        "content": [{"type": "text", "text": text}],
        "stop_reason": "max_tokens",
        "stop_sequence": None,
        "usage": {
            "input_tokens": told["usage"]["prompt_tokens"],
            "output_tokens": told["usage"]["completion_tokens"],
        },
    }


def message_events(told: dict[str, Any], pieces: Sequence[str]) -> list[str]:
    """As they come over the wire: a line that names each event, and its data."""
    whole = message(told)
    begin = {**whole, "content": [], "stop_reason": None, "usage": {**whole["usage"], "output_tokens": 1}}
    return events(
        {"type": "message_start", "message": begin},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}} for piece in pieces),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "max_tokens", "stop_sequence": None},
            "usage": {"output_tokens": whole["usage"]["output_tokens"]},
        },
        {"type": "message_stop"},
    )


def events(*each: dict[str, Any]) -> list[str]:
    return [f"event: {event['type']}\ndata: {json.dumps(event)}" for event in each]


# --- llama.cpp's server

LLAMA_CPP = Manners(prefill="doubled", flag="ignored", echo="ignored", lists=False, top=100)
"""As one of November 2026 was seen to be: its raw completions' logprobs are shaped like a chat's, it takes `echo` and does not
repeat the prompt, and repeats an assistant's last turn before it goes on. Earlier ones refused `echo` and only went on.
"""


def tells_like_llama_cpp(server: Server) -> None:
    """Its model list and properties, as its manual shows them."""
    meta = {"vocab_type": 2, "n_vocab": 128256, "n_ctx_train": 131072, "n_embd": 4096, "n_params": 8030261312, "size": 4912898304}
    entry = {"id": "../models/an-8B-Q4_K_M.gguf", "object": "model", "created": 1735142223, "owned_by": "llamacpp", "meta": meta}
    server.pages["/v1/models"] = {"object": "list", "data": [entry]}
    settings = {"id": 0, "id_task": -1, "n_ctx": 1024, "speculative": False, "is_processing": False, "params": {"top_k": 40}}
    server.pages["/props"] = {"default_generation_settings": settings, "total_slots": 1, "build_info": "b1-c0ffee"}
