"""Models behind an endpoint, asked over a real connection: what is sent, what is read, and what goes wrong."""

import asyncio
import dataclasses
import gc
import logging
import pickle
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoint_made_here import Server, chat, delta, says, serving, silent, slams, streams
from ramify.decoding.config import GenerationConfig
from ramify.decoding.stopping import FinishReason
from ramify.errors import CancelledError, InputError, ModelNotFoundError, RamifyError, RemoteError, UnsupportedError
from ramify.models.endpoints import Endpoint
from ramify.models.registry import Registry
from ramify.models.remote import Remote, RemoteAlternative, RemoteCompletion, RemoteToken, RemoteUsage, Retries, connect
from ramify.models.remote_answers import Answer, Asked
from ramify.settings import Key, Settings, read_key

KEY = "sk-very-secret-0123456789"
HELLO = [{"role": "user", "content": "Hello"}]
GREEDY = GenerationConfig(max_new_tokens=9)
QUICK = Retries(tries=1)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment that says nothing of endpoints, and a proxy that must not be asked for a loopback address."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAMIFY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MINE_KEY", KEY)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


class Opened:
    """Makes remotes of the server and closes them all."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.made: list[Remote] = []

    def __call__(self, *, retries: Retries = QUICK, timeout_s: float = 5.0, **endpoint: Any) -> Remote:
        described = Endpoint(**{"base_url": self.server.url, "api_key_env": "MINE_KEY", **endpoint})
        self.made.append(Remote("small", described, retries=retries, timeout_s=timeout_s))
        return self.made[-1]


@pytest.fixture
def remote(server: Server) -> Iterator[Opened]:
    opened = Opened(server)
    yield opened
    for made in opened.made:
        made.close()


class Patience:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def retries(self, **fields: Any) -> Retries:
        return Retries(
            **{
                "sleep": self.sleep,
                "clock": lambda: sum(self.slept),
                "wall_clock": lambda: 1_000_000_000.0,
                "jitter": lambda: 1.0,
                **fields,
            }
        )


# --- whole answers


def test_a_chat_is_sent_and_read_whole(server: Server, remote: Opened) -> None:
    usage = {
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 1},
    }
    server.script = [says(chat("Hi there", usage=usage, system_fingerprint="fp"))]
    assert remote().complete(HELLO, GREEDY) == (
        RemoteCompletion(
            text="Hi there",
            prefill="",
            finish_reason="eos",
            reported_finish="stop",
            stop_string=None,
            tokens=None,
            usage=RemoteUsage(prompt_tokens=7, completion_tokens=2, cached_tokens=4, reasoning_tokens=1),
            model="small-1",
            system_fingerprint="fp",
            id="id-1",
            index=0,
            reasoning="",
            refusal=None,
        ),
    )
    (request,) = server.asked
    assert request["path"] == "/v1/chat/completions"
    assert request["body"] == {"model": "small", "messages": HELLO, "temperature": 0.0, "max_tokens": 9}
    assert request["headers"]["authorization"] == f"Bearer {KEY}"
    assert sorted(request["headers"]) == [
        *("accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "host", "user-agent"),
    ]


@pytest.mark.parametrize(("prompt", "sent"), [("Once <s>", "Once <s>"), ([5, 6, 7], [5, 6, 7])])
def test_texts_and_ids_are_raw_completions(server: Server, remote: Opened, prompt: Any, sent: Any) -> None:
    server.script = [says({"id": "c", "model": "m", "choices": [{"index": 0, "text": " upon", "finish_reason": "length"}]})]
    (made,) = remote().complete(prompt, GREEDY)
    assert (made.text, made.finish_reason, made.truncated) == (" upon", "length", True)
    assert server.asked[0]["path"] == "/v1/completions"
    assert server.bodies == [{"model": "small", "prompt": sent, "temperature": 0.0, "max_tokens": 9}]


def test_several_completions_come_in_order(server: Server, remote: Opened) -> None:
    answer = chat("a", "b", "c")
    answer["choices"].reverse()
    server.script = [says(answer)]
    made = remote().complete(HELLO, GenerationConfig(do_sample=True, num_return_sequences=3, seed=5))
    assert [(one.index, one.text) for one in made] == [(0, "a"), (1, "b"), (2, "c")]
    assert server.bodies[0]["n"] == 3


def test_fewer_completions_than_asked_for_are_an_error_that_keeps_them(server: Server, remote: Opened) -> None:
    server.script = [says(chat("a"))]
    with pytest.raises(RemoteError, match="answered 1 completions of the 2 asked for") as caught:
        remote().complete(HELLO, GenerationConfig(do_sample=True, num_return_sequences=2))
    assert [one.text for one in caught.value.completions] == ["a"]


@pytest.mark.parametrize(
    ("reported", "stops", "more", "expected"),
    [
        ("stop", None, {}, ("eos", None)),
        ("eos_token", None, {}, ("eos", None)),
        ("stop", ["."], {}, ("stop", None)),
        ("stop", ["."], {"stop_reason": "."}, ("stop", ".")),
        ("stop", ["."], {"stop_reason": 13}, ("stop", None)),
        ("stop", ["."], {"stop_reason": None}, ("stop", None)),
        ("length", ["."], {}, ("length", None)),
        ("max_tokens", None, {}, ("length", None)),
        ("content_filter", None, {}, ("error", None)),
        ("tool_calls", None, {}, ("error", None)),
        ("a new word", None, {}, ("error", None)),
    ],
)
def test_endings_are_told_in_our_words(
    server: Server, remote: Opened, reported: str, stops: Any, more: dict[str, Any], expected: tuple[FinishReason, str | None]
) -> None:
    answer = chat("text", finish=reported)
    answer["choices"][0] |= more
    server.script = [says(answer)]
    (made,) = remote().complete(HELLO, GREEDY.replace(stop_strings=stops))
    assert (made.finish_reason, made.stop_string) == expected
    assert (made.reported_finish, made.text, made.truncated) == (reported, "text", expected[0] != "eos")


def test_vllm_alone_tells_an_eos_from_a_stop_string(server: Server, remote: Opened) -> None:
    answer = chat("text")
    answer["choices"][0]["stop_reason"] = None
    server.script = [says(answer)] * 2
    model = remote(dialect="vllm")
    stopped = [model.complete(HELLO, GREEDY.replace(**fields))[0] for fields in ({"stop_strings": "."}, {"stop_token_ids": [3]})]
    assert [made.finish_reason for made in stopped] == ["eos", "eos"]


def test_a_refusal_and_thoughts_are_kept_beside_the_text(server: Server, remote: Opened) -> None:
    answer = chat("", finish="stop")
    answer["choices"][0]["message"] = {"content": None, "refusal": "No.", "reasoning_content": "Hm."}
    server.script = [says(answer)]
    (made,) = remote().complete(HELLO, GREEDY)
    assert (made.text, made.refusal, made.reasoning) == ("", "No.", "Hm.")


# --- logprobs

CAKE = "🍰".encode()


def measured(text: str, token: bytes, logprob: float, *others: tuple[str, float]) -> dict[str, Any]:
    top = [{"token": other, "bytes": list(other.encode()), "logprob": value} for other, value in others]
    return {"token": text, "bytes": list(token), "logprob": logprob, "top_logprobs": top}


def test_logprobs_of_a_chat_have_bytes_and_alternatives(server: Server, remote: Opened) -> None:
    answer = chat("A🍰")
    answer["choices"][0]["logprobs"] = {
        "content": [
            measured("A", b"A", -0.5, ("A", -0.5), ("B", -1.0)),
            measured("\\x", CAKE[:2], -1.0),
            measured("\\x", CAKE[2:], 0),
        ]
    }
    server.script = [says(answer)]
    (made,) = remote().complete(HELLO, GREEDY, logprobs=2)
    assert made.tokens == (
        RemoteToken("A", b"A", -0.5, (RemoteAlternative("A", b"A", -0.5), RemoteAlternative("B", b"B", -1.0))),
        RemoteToken("\\x", CAKE[:2], -1.0),
        RemoteToken("\\x", CAKE[2:], 0.0),
    )
    assert made.tokens_cover_text
    assert {key: server.bodies[0][key] for key in ("logprobs", "top_logprobs")} == {"logprobs": True, "top_logprobs": 2}


def test_logprobs_of_a_raw_completion_have_texts_only(server: Server, remote: Opened) -> None:
    lists = {
        "tokens": [" a", " b"],
        "token_logprobs": [-0.5, -0.25],
        "top_logprobs": [{" c": -2.0, " a": -0.5}, None],
        "text_offset": [0, 2],
    }
    server.script = [says({"choices": [{"index": 0, "text": " a b", "finish_reason": "stop", "logprobs": lists}]})]
    (made,) = remote().complete("x", GREEDY, logprobs=2)
    assert made.tokens == (
        RemoteToken(" a", None, -0.5, (RemoteAlternative(" a", None, -0.5), RemoteAlternative(" c", None, -2.0))),
        RemoteToken(" b", None, -0.25),
    )
    assert (made.tokens_cover_text, server.bodies[0]["logprobs"]) == (True, 2)


def test_logprobs_that_are_not_given_are_none_and_the_chosen_ones_alone_ask_for_no_alternatives(
    server: Server, remote: Opened
) -> None:
    server.script = [says(chat("a")), says(chat("a"))]
    (made,) = remote().complete(HELLO, GREEDY, logprobs=0)
    assert (made.tokens, made.tokens_cover_text) == (None, False)
    assert server.bodies[0]["logprobs"] is True
    assert "top_logprobs" not in server.bodies[0]
    with pytest.raises(InputError, match="logprobs is -1"):
        remote().complete(HELLO, GREEDY, logprobs=-1)


# --- settings

SAMPLES: dict[str, Any] = {
    "max_new_tokens": {"max_new_tokens": 3},
    "min_new_tokens": {"min_new_tokens": 2},
    "max_length": {"max_length": 50},
    "do_sample": {"do_sample": True},
    "temperature": {"temperature": 0.7},
    "top_k": {"top_k": 5},
    "top_p": {"top_p": 0.5},
    "min_p": {"min_p": 0.1},
    "typical_p": {"typical_p": 0.5},
    "eta_cutoff": {"eta_cutoff": 0.1},
    "epsilon_cutoff": {"epsilon_cutoff": 0.1},
    "nucleus_rule": {"nucleus_rule": "exclusive", "top_p": 0.5},
    "seed": {"seed": 7},
    "repetition_penalty": {"repetition_penalty": 1.2},
    "presence_penalty": {"presence_penalty": 0.5},
    "frequency_penalty": {"frequency_penalty": 0.5},
    "encoder_repetition_penalty": {"encoder_repetition_penalty": 1.2},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 3},
    "exponential_decay_length_penalty": {"exponential_decay_length_penalty": (1, 1.5)},
    "bad_words_ids": {"bad_words_ids": [[1]]},
    "sequence_bias": {"sequence_bias": {(1,): 2.0}},
    "logit_bias": {"logit_bias": {3: -100}},
    "suppress_tokens": {"suppress_tokens": [1]},
    "begin_suppress_tokens": {"begin_suppress_tokens": [1]},
    "forced_eos_token_id": {"forced_eos_token_id": 1},
    "guidance_scale": {"guidance_scale": 2.0},
    "num_beams": {"num_beams": 2},
    "num_beam_groups": {"num_beam_groups": 2, "num_beams": 2, "diversity_penalty": 1.0},
    "diversity_penalty": {"num_beam_groups": 2, "num_beams": 2, "diversity_penalty": 1.0},
    "length_penalty": {"length_penalty": 2.0, "num_beams": 2},
    "early_stopping": {"early_stopping": "never", "num_beams": 2},
    "beam_rule": {"beam_rule": "early_stopped"},
    "beam_length": {"beam_rule": "early_stopped", "beam_length": "prompt_and_generated", "num_beams": 2},
    "penalty_alpha": {"penalty_alpha": 0.6, "top_k": 4},
    "num_return_sequences": {"num_return_sequences": 2, "do_sample": True},
    "stop_strings": {"stop_strings": ["."]},
    "include_stop_str_in_output": {"include_stop_str_in_output": True, "stop_strings": ["."]},
    "stop_token_ids": {"stop_token_ids": [1]},
    "eos_token_id": {"eos_token_id": 1},
    "ignore_eos": {"ignore_eos": True},
    "max_time": {"max_time": 5.0},
    "json_schema": {"json_schema": {"type": "object"}},
    "regex": {"regex": "a+"},
    "choices": {"choices": ["a", "b"]},
    "grammar": {"grammar": 'start: "a"'},
    "required_words": {"required_words": ["a"]},
    "forbidden_words": {"forbidden_words": ["a"]},
    "pad_token_id": {"pad_token_id": 1},
    "bos_token_id": {"bos_token_id": 1},
    "use_cache": {"use_cache": False},
    "prompt_lookup_num_tokens": {"prompt_lookup_num_tokens": 4},
    "batch_size": {"batch_size": 2},
    "processors": {"temperature": 0.5, "top_p": 0.5, "processors": ["top_p", "temperature"]},
}
"""For each setting, a config in which it acts."""

STANDARD = {
    *("max_new_tokens", "do_sample", "temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "logit_bias"),
    *("num_return_sequences", "stop_strings", "max_time"),
}
HONOURED = {
    "openai": STANDARD | {"json_schema"},
    "compatible": STANDARD,
    "vllm": {
        *STANDARD,
        *("json_schema", "top_k", "min_p", "repetition_penalty", "min_new_tokens", "ignore_eos", "stop_token_ids"),
        *("include_stop_str_in_output", "regex", "choices"),
    },
    "llama.cpp": {
        *(STANDARD - {"presence_penalty", "frequency_penalty"}),
        *("json_schema", "top_k", "min_p", "typical_p", "repetition_penalty", "ignore_eos"),
    },
    "ollama": STANDARD - {"logit_bias", "num_return_sequences"} | {"json_schema"},
    "openrouter": STANDARD | {"json_schema", "top_k", "min_p", "repetition_penalty"},
}
"""For each dialect, the settings that are sent; all others are refused."""


def test_every_setting_has_a_sample() -> None:
    assert set(SAMPLES) == {field.name for field in dataclasses.fields(GenerationConfig)}
    assert all(name in GenerationConfig(**fields).to_dict() for name, fields in SAMPLES.items())


@pytest.fixture(scope="module")
def unsent() -> Iterator[dict[str, Remote]]:
    """A remote of each dialect at an address that is never asked."""
    made = {name: Remote("small", Endpoint(base_url="http://127.0.0.1:9", dialect=name)) for name in HONOURED}  # type: ignore[arg-type]
    yield made
    for one in made.values():
        one.close()


@pytest.mark.parametrize("dialect", HONOURED)
@pytest.mark.parametrize("setting", SAMPLES)
def test_every_setting_is_sent_or_refused_by_name(unsent: dict[str, Remote], dialect: str, setting: str) -> None:
    config, model = GenerationConfig(**SAMPLES[setting]), unsent[dialect]
    if setting in HONOURED[dialect]:
        plain = model.check(HELLO, GenerationConfig())
        assert model.check(HELLO, config) != plain
    else:
        with pytest.raises(UnsupportedError) as caught:
            model.check(HELLO, config)
        refused = str(caught.value).split(" is ")[0]
        assert refused in SAMPLES[setting]
        assert f"'small' at http://127.0.0.1:9 ({dialect}) cannot honour" in str(caught.value)


@pytest.mark.parametrize("dialect", HONOURED)
def test_neutral_settings_change_nothing(unsent: dict[str, Remote], dialect: str) -> None:
    neutral = {"top_p": 1.0, "top_k": 0, "min_p": 0.0, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0}
    more = {"early_stopping": True, "num_beams": 1, "penalty_alpha": 0.0, "exponential_decay_length_penalty": (3, 1.0)}
    plain = unsent[dialect].check(HELLO, GenerationConfig(temperature=1.0))
    assert unsent[dialect].check(HELLO, GenerationConfig(temperature=1.0, **neutral, **more)) == plain


@pytest.mark.parametrize(
    ("dialect", "config", "fields"),
    [
        ("openai", {}, {"temperature": 0.0}),
        ("openai", {"do_sample": True}, {"temperature": 1.0}),
        ("openai", {"top_p": 0.5, "max_new_tokens": 3}, {"temperature": 1.0, "top_p": 0.5, "max_completion_tokens": 3}),
        ("compatible", {"seed": 1, "logit_bias": {7: -1.5}}, {"temperature": 0.0, "seed": 1, "logit_bias": {"7": -1.5}}),
        (
            "vllm",
            {"temperature": 0.5, "top_k": 3, "stop_token_ids": [9], "choices": ["a", "b"]},
            {
                "temperature": 0.5,
                "top_p": 1.0,
                "top_k": 3,
                "min_p": 0.0,
                "repetition_penalty": 1.0,
                "stop_token_ids": [9],
                "structured_outputs": {"choice": ["a", "b"]},
            },
        ),
        (
            "llama.cpp",
            {"temperature": 0.5, "repetition_penalty": 1.1},
            {
                "temperature": 0.5,
                "top_p": 1.0,
                "top_k": 0,
                "min_p": 0.0,
                "typical_p": 1.0,
                "repeat_penalty": 1.1,
                "repeat_last_n": 2**20,
                "samplers": ["penalties", "temperature", "top_k", "top_p", "min_p", "typ_p"],
                "presence_penalty": 0.0,
                "frequency_penalty": 0.0,
            },
        ),
        ("ollama", {"stop_strings": ["a"]}, {"temperature": 0.0, "top_p": 1.0, "stop": ["a"]}),
        ("openrouter", {"min_p": 0.1}, {"temperature": 1.0, "min_p": 0.1, "provider": {"require_parameters": True}}),
        (
            "openai",
            {"json_schema": '{"type": "object"}'},
            {
                "temperature": 0.0,
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "strict": True, "schema": {"type": "object"}},
                },
            },
        ),
    ],
)
def test_settings_become_the_servers_own_fields(
    unsent: dict[str, Remote], dialect: str, config: dict[str, Any], fields: dict[str, Any]
) -> None:
    body = unsent[dialect].check(HELLO, GenerationConfig(**config))
    assert body == {"model": "small", "messages": HELLO, **fields}


@pytest.mark.parametrize(
    ("dialect", "prompt", "config", "logprobs", "says"),
    [
        ("openai", HELLO, {"stop_strings": list("abcde")}, None, "stop_strings is .* takes 4 at most"),
        ("openai", HELLO, {}, 21, "logprobs is 21.* 20 alternatives at most"),
        ("openai", "raw", {"max_new_tokens": 1}, 6, "logprobs is 6.* 5 alternatives at most"),
        ("openai", "raw", {}, None, "max_new_tokens is None.* 16 tokens"),
        ("vllm", "raw", {}, None, "max_new_tokens is None"),
        ("openai", "raw", {"max_new_tokens": 1, "json_schema": {}}, None, "json_schema is"),
        ("openai", HELLO, {"json_schema": True}, None, "json_schema is"),
        ("llama.cpp", HELLO, {"seed": 2**32}, None, "seed is 4294967296.*below"),
    ],
)
def test_what_a_server_has_in_part_is_refused_beyond_it(
    unsent: dict[str, Remote], dialect: str, prompt: Any, config: dict[str, Any], logprobs: int | None, says: str
) -> None:
    with pytest.raises(UnsupportedError, match=says):
        unsent[dialect].check(prompt, GenerationConfig(**config), logprobs=logprobs)


def test_what_cannot_be_written_is_refused(unsent: dict[str, Remote]) -> None:
    with pytest.raises(InputError, match="cannot be written as JSON"):
        unsent["openai"].check([{"role": "user", "content": "half \ud83c"}], GREEDY)
    with pytest.raises(InputError, match="cannot be written as JSON"):
        unsent["openai"].check([{"role": "user", "content": "a", "name": {1}}], GREEDY)


@pytest.mark.parametrize("prompt", [[], [{"role": "user"}], [{"role": "user", "content": ["a"]}], [True], ["a"]])
def test_what_is_no_prompt_is_refused(unsent: dict[str, Remote], prompt: Any) -> None:
    with pytest.raises(InputError, match="prompt"):
        unsent["openai"].check(prompt, GREEDY)


# --- prefill


def test_a_prefill_is_refused_until_the_owner_says_how(unsent: dict[str, Remote]) -> None:
    assert not unsent["vllm"].prefills
    with pytest.raises(UnsupportedError, match=r"nobody said what 'small' at .* continue_final_message or assistant_turn"):
        unsent["vllm"].check(HELLO, GREEDY, prefill="Sure")
    with pytest.raises(InputError, match="the last message is the assistant's own; give it as prefill"):
        unsent["vllm"].check([*HELLO, {"role": "assistant", "content": "Sure"}], GREEDY)
    with pytest.raises(UnsupportedError, match="a prefill is text and the prompt token ids"):
        unsent["vllm"].check([1, 2], GREEDY, prefill="Sure")
    assert unsent["vllm"].check("Once", GREEDY, prefill=" upon")["prompt"] == "Once upon"


@pytest.mark.parametrize(
    ("style", "flags"),
    [("assistant_turn", {}), ("continue_final_message", {"continue_final_message": True, "add_generation_prompt": False})],
)
def test_a_prefill_is_sent_in_the_endpoints_style(server: Server, remote: Opened, style: str, flags: dict[str, bool]) -> None:
    server.script = [says(chat("Sure, yes"))]
    model = remote(prefill=style)
    (made,) = model.complete(HELLO, GREEDY, prefill="Sure")
    begun = [*HELLO, {"role": "assistant", "content": "Sure"}]
    assert server.bodies == [{"model": "small", "messages": begun, "temperature": 0.0, "max_tokens": 9, **flags}]
    assert (model.prefills, made.prefill, made.text, made.repeats_prefill) == (True, "Sure", "Sure, yes", True)


# --- streams


def test_a_stream_joined_is_its_completion(server: Server, remote: Opened) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    server.script = [
        streams(
            [
                delta("", index=0),
                delta("On", logprobs={"content": [measured("On", b"On", -1.0)]}),
                delta("ce", logprobs={"content": [measured("ce", b"ce", -2.0)]}),
                delta(finish="length"),
                usage,
            ]
        )
    ]
    events = list(remote(dialect="vllm").stream(HELLO, GREEDY, logprobs=0))
    assert [(event.text, event.tokens) for event in events] == [
        ("On", (RemoteToken("On", b"On", -1.0),)),
        ("ce", (RemoteToken("ce", b"ce", -2.0),)),
        ("", ()),
    ]
    last = events[-1].completion
    assert last is not None
    assert (events[-1].finish_reason, last.text, last.finish_reason, last.id) == ("length", "Once", "length", "id-1")
    assert (last.usage, last.tokens_cover_text) == (RemoteUsage(prompt_tokens=3, completion_tokens=2), True)
    assert [server.bodies[0][key] for key in ("stream", "stream_options")] == [True, {"include_usage": True}]


def test_an_unknown_server_is_not_asked_for_options_it_may_refuse(server: Server, remote: Opened) -> None:
    server.script = [streams([delta("a", finish="stop")])]
    assert [event.text for event in remote().stream(HELLO, GREEDY)] == ["a", ""]
    assert "stream_options" not in server.bodies[0]


def test_pings_empty_endings_and_usage_alone_are_no_pieces(server: Server, remote: Opened) -> None:
    usage = {"usage": {"prompt_tokens": 3, "completion_tokens": 1}}
    server.script = [streams([": still working", delta("a", finish=""), ": ping", delta(finish="stop", index=None), usage])]  # type: ignore[arg-type]
    (first, last) = remote().stream(HELLO, GREEDY)
    assert last.completion is not None
    assert (first.text, last.finish_reason) == ("a", "eos")
    assert last.completion.usage == RemoteUsage(prompt_tokens=3, completion_tokens=1)


@given(st.lists(st.tuples(st.integers(0, 2), st.text(max_size=3)), max_size=12))
def test_pieces_of_several_completions_are_joined_each_for_itself(pieces: list[tuple[int, str]]) -> None:
    answer = Answer(Asked(where="x", count=3))
    chunks = [*(delta(text, index=index) for index, text in pieces), *(delta(index=index, finish="stop") for index in range(3))]
    events = [event for chunk in chunks for event in answer.feed(chunk)]
    for index, made in enumerate(answer.complete()):
        assert made.text == "".join(text for at, text in pieces if at == index)
        assert made.text == "".join(event.text for event in events if event.index == index)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (streams([delta("On"), delta("ce")], done=True), "ends without a finish_reason after 4 characters"),
        (streams([delta("On"), delta("ce")], done=False), "ends without a finish_reason after 4 characters"),
        (streams([delta("On"), delta("ce")], done=False, then="break"), "broke off its stream"),
        (streams([delta("On"), delta("ce"), {"error": {"message": "out of memory", "code": 500}}]), "out of memory"),
        (streams([delta("On"), delta("ce"), "{no json"]), "sent an event that is not JSON"),
        (streams([delta("On"), delta("ce"), {"object": "nothing"}]), "answered JSON without `choices`"),
        (streams([delta("On"), delta("ce"), delta(index=1, finish="stop")]), "ends without a finish_reason"),
    ],
)
def test_half_a_stream_is_an_error_that_keeps_the_text(server: Server, remote: Opened, reply: Any, says: str) -> None:
    server.script = [reply]
    stream = remote().stream(HELLO, GREEDY)
    assert [next(stream).text, next(stream).text] == ["On", "ce"]
    with pytest.raises(RemoteError, match=says) as caught:
        next(stream)
    kept = caught.value.completions[0]
    assert (kept.text, kept.finish_reason) == ("Once", "error")
    assert list(stream) == []


def test_silence_in_the_middle_is_an_error_that_keeps_the_text(server: Server, remote: Opened) -> None:
    server.script = [streams([delta("On")], done=False, then="hold")]
    stream = remote(timeout_s=0.2, retries=Retries()).stream(HELLO, GREEDY)
    with pytest.raises(RemoteError, match=r"said nothing for 0\.2 s") as caught:
        list(stream)
    assert (caught.value.completions[0].text, len(server.asked)) == ("On", 1)


def test_a_stream_that_cannot_be_read_on_is_closed(server: Server, remote: Opened) -> None:
    server.script = [streams([delta("On"), {"object": "nothing"}], done=False, then="hold")]
    with pytest.raises(RemoteError, match="without `choices`"):
        list(remote().stream(HELLO, GREEDY))
    assert server.left.wait(2)


def test_a_connection_that_breaks_after_the_end_takes_nothing_away(server: Server, remote: Opened) -> None:
    server.script = [streams([delta("a", finish="stop")], done=False, then="break")]
    assert [(event.text, event.finish_reason) for event in remote().stream(HELLO, GREEDY)] == [("a", None), ("", "eos")]


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (says("<html>Welcome</html>", kind="text/html"), "answered HTML, not a stream: <html>Welcome"),
        (says(chat("a")), "answered application/json, not a stream"),
        (says({"error": {"message": "no such model", "code": 404}}), "answered with an error: no such model"),
        (streams([]), "answered no completion: its `choices` are empty"),
    ],
)
def test_what_is_no_stream_is_told(server: Server, remote: Opened, reply: Any, says: str) -> None:
    server.script = [reply]
    with pytest.raises(RemoteError, match=says) as caught:
        list(remote().stream(HELLO, GREEDY))
    assert caught.value.completions == ()


# --- cancelling


def test_a_stream_that_is_cancelled_keeps_its_text_and_closes_the_connection(server: Server, remote: Opened) -> None:
    server.script = [streams([delta("On"), delta("ce")], done=False, then="hold")]
    stream = remote().stream(HELLO, GREEDY)
    assert next(stream).text + next(stream).text == "Once"
    threading.Timer(0.05, stream.cancel).start()
    (last,) = list(stream)
    assert last.completion is not None
    assert (last.finish_reason, last.completion.text, last.completion.truncated) == ("cancelled", "Once", True)
    assert server.left.wait(2)


def test_a_stream_that_is_dropped_or_left_closes_the_connection(server: Server, remote: Opened) -> None:
    model = remote()
    server.script = [streams([delta("a")], done=False, then="hold")] * 2
    for _ in model.stream(HELLO, GREEDY):
        break
    gc.collect()
    assert server.left.wait(2)
    server.left.clear()
    with model.stream(HELLO, GREEDY) as stream:
        next(stream)
    assert server.left.wait(2)


def test_a_request_without_an_answer_yet_is_cancelled_too(server: Server, remote: Opened) -> None:
    server.script = [silent]
    stream = remote(timeout_s=30.0).stream(HELLO, GREEDY)
    while not server.asked:
        time.sleep(0.005)
    stream.cancel()
    assert list(stream) == []
    assert server.left.wait(2)


def test_waiting_to_try_again_is_cancelled_too(server: Server, remote: Opened) -> None:
    server.script = [says({}, 503)]
    stream = remote(retries=Retries(first_s=60.0, longest_s=60.0, jitter=lambda: 1.0)).stream(HELLO, GREEDY)
    while not server.asked:
        time.sleep(0.005)
    began = time.monotonic()
    stream.cancel()
    assert list(stream) == []
    assert time.monotonic() - began < 5


def test_closing_a_remote_ends_what_runs_and_refuses_what_comes(server: Server, remote: Opened) -> None:
    server.script = [streams([delta("a")], done=False, then="hold")]
    model = remote()
    stream = model.stream(HELLO, GREEDY)
    next(stream)
    model.close()
    model.close()
    assert [event.finish_reason for event in stream] == ["cancelled"]
    assert server.left.wait(2)
    for call in (model.complete, model.stream):
        with pytest.raises(InputError, match="is closed; connect anew"):
            call(HELLO, GREEDY)


def test_an_answer_that_is_waited_for_is_cancelled_by_closing(server: Server, remote: Opened) -> None:
    server.script = [silent, silent]
    model = remote(timeout_s=30.0)

    async def twin() -> None:
        await model.acomplete(HELLO, GREEDY)

    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(model.complete, HELLO, GREEDY), pool.submit(asyncio.run, twin())]
        while len(server.asked) < 2:
            time.sleep(0.005)
        model.close()
        for one in waiting:
            with pytest.raises(CancelledError, match="was closed before its answer came"):
                one.result(5)


def test_a_stream_keeps_its_remote(server: Server) -> None:
    server.script = [streams([delta("a"), delta("b", finish="stop")])]
    stream = Remote("small", Endpoint(base_url=server.url)).stream(HELLO, GREEDY)
    gc.collect()
    assert [event.text for event in stream] == ["a", "b", ""]


def test_a_dropped_remote_ends_its_thread(server: Server) -> None:
    before = threading.active_count()
    model = Remote("small", Endpoint(base_url=server.url))
    assert threading.active_count() == before + 1
    thread = model._thread
    del model
    gc.collect()
    thread.join(2)
    assert not thread.is_alive()


@pytest.mark.parametrize("whole", [True, False])
def test_max_time_ends_a_completion_with_its_text(server: Server, remote: Opened, whole: bool) -> None:
    server.script = [streams([delta("On"), delta("ce")], done=False, then="hold")]
    config = GREEDY.replace(max_time=0.3)
    if whole:
        (made,) = remote().complete(HELLO, config)
    else:
        last = list(remote().stream(HELLO, config))[-1].completion
        assert last is not None
        made = last
    assert (made.text, made.finish_reason) == ("Once", "time")
    assert server.left.wait(2)


def test_max_time_changes_nothing_of_a_quick_answer(server: Server, remote: Opened) -> None:
    server.script = [streams([delta("a", finish="stop")])]
    (made,) = remote().complete(HELLO, GREEDY.replace(max_time=30))
    assert (made.text, made.finish_reason) == ("a", "eos")


# --- async twins and threads


def test_the_async_twins_do_the_same(server: Server, remote: Opened) -> None:
    server.script = [says(chat("whole")), streams([delta("a"), delta("b", finish="stop")])]

    async def both(model: Remote) -> tuple[str, list[str]]:
        (made,) = await model.acomplete(HELLO, GREEDY)
        return made.text, [event.text async for event in model.astream(HELLO, GREEDY)]

    assert asyncio.run(both(remote())) == ("whole", ["a", "b", ""])


def test_a_cancelled_task_closes_the_connection(server: Server, remote: Opened) -> None:
    server.script = [silent]

    async def give_up(model: Remote) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(model.acomplete(HELLO, GREEDY), 0.2)

    asyncio.run(give_up(remote()))
    assert server.left.wait(2)


def test_an_async_stream_that_is_left_closes_the_connection(server: Server, remote: Opened) -> None:
    server.script = [streams([delta("a")], done=False, then="hold")]

    async def leave(model: Remote) -> None:
        async with model.astream(HELLO, GREEDY) as stream:
            async for _ in stream:
                break

    asyncio.run(leave(remote()))
    assert server.left.wait(2)


def test_half_an_async_stream_is_an_error_that_keeps_the_text(server: Server, remote: Opened) -> None:
    server.script = [streams([delta("On")])]

    async def read(model: Remote) -> None:
        with pytest.raises(RemoteError, match="without a finish_reason") as caught:
            _ = [event async for event in model.astream(HELLO, GREEDY)]
        assert caught.value.completions[0].text == "On"

    asyncio.run(read(remote()))


def test_many_threads_each_get_their_own_answer(server: Server, remote: Opened) -> None:
    model = remote()
    server.always = lambda handler: says(chat(handler.body["messages"][0]["content"]))(handler)
    words = [f"word {i}" for i in range(24)]
    with ThreadPoolExecutor(6) as pool:
        made = pool.map(lambda word: model.complete([{"role": "user", "content": word}], GREEDY), words)
        assert [one.text for (one,) in made] == words


# --- retries


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_failures_are_tried_again_with_growing_waits(server: Server, remote: Opened, status: int) -> None:
    patience = Patience()
    server.script = [says({"error": {"message": "busy"}}, status)] * 3 + [says(chat("at last"))]
    (made,) = remote(retries=patience.retries()).complete(HELLO, GREEDY)
    assert (made.text, patience.slept) == ("at last", [0.5, 1.0, 2.0])
    assert len({str(body) for body in server.bodies}) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 501])
def test_what_will_not_pass_is_not_tried_again(server: Server, remote: Opened, status: int) -> None:
    server.script = [says({"error": {"message": "no, never", "code": "bad"}}, status)]
    with pytest.raises(RemoteError, match=f"'small' at {server.url} answered {status}: no, never") as caught:
        remote(retries=Patience().retries()).complete(HELLO, GREEDY)
    assert (caught.value.status, caught.value.code) == (status, "bad")


@pytest.mark.parametrize(
    ("headers", "slept"),
    [
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0.1"}, 0.5),
        ({"retry_after": "Sun, 09 Sep 2001 01:46:51 GMT"}, 11.0),
        ({"retry_after": "Sun, 09 Sep 2001 01:46:00 GMT"}, 0.5),
        ({"retry_after_ms": "1500", "retry_after": "9"}, 1.5),
        ({"retry_after": "soon"}, 0.5),
        ({"retry_after": "-3"}, 0.5),
        ({"retry_after": "nan"}, 0.5),
    ],
)
def test_retry_after_is_obeyed(server: Server, remote: Opened, headers: dict[str, str], slept: float) -> None:
    patience = Patience()
    server.script = [says({}, 429, **headers), says(chat("a"))]
    remote(retries=patience.retries()).complete(HELLO, GREEDY)
    assert patience.slept == [slept]


@pytest.mark.parametrize(
    ("reply", "fields", "says_", "slept"),
    [
        (says({"error": "busy"}, 429), {"tries": 3}, "answered 429: busy .tried 3 times", 2),
        (says({}, 429, retry_after="3600"), {}, "it asks to wait 3600 s", 0),
        (says({}, 503, retry_after="50"), {"total_s": 120.0}, "asks to wait 50 s .tried 3 times", 2),
        (says({"error": {"message": "pay", "code": "insufficient_quota"}}, 429), {}, "answered 429: pay", 0),
        (says({"error": {"message": "no"}}, 500, x_should_retry="false"), {}, "answered 500: no", 0),
        (slams, {"tries": 2}, "broke off the connection: .* .tried 2 times", 1),
    ],
)
def test_patience_ends(server: Server, remote: Opened, reply: Any, fields: dict[str, Any], says_: str, slept: int) -> None:
    patience = Patience()
    server.always = reply
    with pytest.raises(RemoteError, match=says_):
        remote(retries=patience.retries(**fields)).complete(HELLO, GREEDY)
    assert (len(patience.slept), len(server.asked)) == (slept, slept + 1)


def test_an_error_told_under_a_good_status_counts_as_its_own(server: Server, remote: Opened) -> None:
    patience = Patience()
    server.script = [says({"error": {"message": "upstream", "code": 502}}), says({"error": {"message": "bad", "code": 400}})]
    with pytest.raises(RemoteError, match="answered with an error: bad") as caught:
        remote(retries=patience.retries()).complete(HELLO, GREEDY)
    assert (caught.value.status, patience.slept) == (400, [0.5])


def test_silence_is_tried_again_and_then_told(server: Server, remote: Opened) -> None:
    patience = Patience()
    server.always = silent
    with pytest.raises(RemoteError, match=r"said nothing for 0\.1 s \(tried 2 times\)"):
        remote(retries=patience.retries(tries=2), timeout_s=0.1).complete(HELLO, GREEDY)
    assert len(server.asked) == 2


def test_a_stream_is_tried_again_until_it_began_and_not_after(server: Server, remote: Opened) -> None:
    patience = Patience()
    server.script = [says({}, 503), streams([delta("a")], done=False, then="break")]
    with pytest.raises(RemoteError, match="broke off its stream"):
        list(remote(retries=patience.retries()).stream(HELLO, GREEDY))
    assert (len(server.asked), patience.slept) == (2, [0.5])


def test_nobody_there_is_told(remote: Opened) -> None:
    with pytest.raises(RemoteError, match=r"'small' at http://127\.0\.0\.1:9 could not be reached: ConnectError") as caught:
        remote(base_url="http://127.0.0.1:9").complete(HELLO, GREEDY)
    assert caught.value.status is None


@given(st.integers(1, 2000), st.none() | st.floats(0, 100), st.floats(0, 400), st.floats(0, 1, exclude_max=True))
def test_waits_are_bounded(tried: int, asked_for_s: float | None, spent_s: float, share: float) -> None:
    retries = Retries(tries=1500, jitter=lambda: share)
    wait = retries.wait_s(tried, asked_for_s, spent_s)
    if wait is None:
        assert tried >= 1500 or (asked_for_s or 0) > 60 or spent_s > 240
    else:
        assert max(asked_for_s or 0.0, 0.25) <= wait <= 60
        assert spent_s + wait <= 300


# --- answers that are none


@pytest.mark.parametrize(
    ("reply", "says_"),
    [
        (
            says("<html><title>Login</title></html>", kind="text/html; charset=utf-8"),
            "answered HTML, not JSON: <html><title>Login",
        ),
        (says("", kind="text/plain"), "answered text/plain, not JSON"),
        (says('{"choices": ['), "answered application/json, not JSON"),
        (says(b'{"a": "\xff"}'), "not JSON"),
        (says([1, 2]), r"answered JSON without `choices`: \[1, 2\]"),
        (says({"a": "\x1b[31m"}), r"answered JSON without `choices`: \{'a': '\\x1b\[31m'\}"),
        (says("\x1b[31m", 400, "text/plain"), r"answered 400: text/plain: �\[31m$"),
        (says("a", content_length="9"), "broke off the connection: RemoteProtocolError"),
        (says({"choices": None}), "answered JSON without `choices`"),
        (says({"choices": []}), "answered no completion: its `choices` are empty"),
        (says({"choices": ["a"]}), "answered a choice that is none"),
        (says({"choices": [{"index": "a"}]}), "answered a choice that is none"),
        (says({"choices": [{"message": "a"}]}), "answered a message that is none"),
        (says({"choices": [{"message": {"content": ["a"]}}]}), "answered a content that is not text"),
        (says(chat("half", finish=None)), "ends without a finish_reason after 4 characters"),
        (says("<html>Bad gateway</html>", 404, "text/html"), "answered 404: HTML: <html>Bad gateway.*often /v1"),
        (says({"detail": "Not Found"}, 404), "answered 404: Not Found"),
        (says({}, 307, location="http://elsewhere/v1"), "answered 307: it moved to http://elsewhere/v1; configure that"),
    ],
)
def test_what_is_no_answer_is_told(server: Server, remote: Opened, reply: Any, says_: str) -> None:
    server.script = [reply]
    with pytest.raises(RemoteError, match=says_):
        remote().complete(HELLO, GREEDY)
    assert len(server.asked) == 1


# --- scoring


def scored(*tokens: tuple[str, float | None]) -> dict[str, Any]:
    lists = {"tokens": [text for text, _ in tokens], "token_logprobs": [logprob for _, logprob in tokens]}
    joined = "".join(text for text, _ in tokens)
    return {"choices": [{"index": 0, "text": joined, "finish_reason": "length", "logprobs": lists}]}


def test_a_given_text_is_scored_where_the_endpoint_repeats_prompts(server: Server, remote: Opened) -> None:
    server.script = [says(scored(("<s>", None), ("On", -1.0), ("ce", -2.0), (" upon", -0.5), (" a", -0.25), (" new", -9.0)))]
    assert remote(dialect="vllm").score("Once", " upon a") == (RemoteToken(" upon", None, -0.5), RemoteToken(" a", None, -0.25))
    body = {"model": "small", "prompt": "Once upon a", "echo": True, "logprobs": 0, "max_tokens": 1, "temperature": 0.0}
    assert server.bodies == [body]


def test_a_score_across_a_token_is_refused(server: Server, remote: Opened) -> None:
    server.script = [says(scored(("On", -1.0), ("ce upon", -2.0), (" a", -9.0)))]
    with pytest.raises(RemoteError, match="tokens that do not part where the completion begins"):
        remote(dialect="vllm").score("Once", " upon")


def test_an_endpoint_that_cannot_score_says_so(unsent: dict[str, Remote]) -> None:
    assert [name for name, model in unsent.items() if model.scores] == ["vllm"]
    with pytest.raises(UnsupportedError, match=r"\(openai\) cannot score a given text"):
        unsent["openai"].score("a", "b")


# --- keys


def everything_of(error: BaseException) -> str:
    """An error's texts, its attributes', its causes' and contexts', and the locals that a traceback would show."""
    seen: list[str] = []
    queue: list[BaseException | None] = [error]
    while queue:
        one = queue.pop()
        if one is not None:
            shown = traceback.TracebackException.from_exception(one, capture_locals=True)
            seen += [*shown.format(), repr(one), repr(vars(one)), str(one)]
            headers = getattr(getattr(one, "request", None), "headers", {})
            seen += [f"{name}: {value}" for name, value in headers.items()]
            queue += [one.__cause__, one.__context__]
    return "\n".join(seen)


def leaks(text: str) -> bool:
    """Whether even the beginning of the key is there."""
    return KEY[:8] in text


@pytest.mark.parametrize(
    "reply",
    [
        says({"error": {"message": f"Incorrect API key provided: {KEY}."}}, 401),
        says(f"<html>{KEY}</html>", kind="text/html"),
        says({"error": {"message": KEY, "code": KEY}}),
        says({"error": {"message": "x" * 290 + KEY}}, 400),
        says({}, 302, location=f"http://elsewhere/?key={KEY}"),
        slams,
        silent,
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
def test_a_key_is_in_no_error_and_no_log(
    server: Server, remote: Opened, caplog: pytest.LogCaptureFixture, reply: Any, streamed: bool
) -> None:
    server.script = [reply]
    model = remote(timeout_s=0.2)
    with caplog.at_level(logging.DEBUG), pytest.raises(RemoteError) as caught:
        list(model.stream(HELLO, GREEDY)) if streamed else model.complete(HELLO, GREEDY)
    assert server.asked[0]["headers"]["authorization"] == f"Bearer {KEY}"
    assert caplog.records != []
    assert KEY not in caplog.text
    assert not leaks(everything_of(caught.value))
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert KEY not in repr(model) + repr(vars(model)) + repr(vars(model._connection)) + repr(vars(model.endpoint))


@pytest.mark.parametrize("streamed", [True, False])
def test_a_key_that_comes_back_in_an_answer_is_not_told(server: Server, remote: Opened, streamed: bool) -> None:
    server.script = [streams([{"object": KEY}]) if streamed else says({"object": KEY})]
    with pytest.raises(RemoteError, match=r"answered JSON without `choices`: \{'object': '\*\*\*'\}") as caught:
        list(remote().stream(HELLO, GREEDY)) if streamed else remote().complete(HELLO, GREEDY)
    assert not leaks(str(caught.value) + repr(vars(caught.value)))


def test_a_refused_key_is_named_by_its_variable(server: Server, remote: Opened) -> None:
    server.script = [says({"error": {"message": "who?"}}, 401)] * 2
    with pytest.raises(RemoteError, match=r"answered 401: who\?; the key came from MINE_KEY"):
        remote().complete(HELLO, GREEDY)
    with pytest.raises(RemoteError, match="no key was sent: name its variable as api_key_env"):
        remote(api_key_env=None).complete(HELLO, GREEDY)


def test_a_key_cannot_be_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    key = read_key("MINE_KEY")
    assert key is not None
    assert (repr(key), f"{key}", key.hide(f"a {KEY} b")) == ("Key(from MINE_KEY)", "Key(from MINE_KEY)", "a *** b")
    with pytest.raises(TypeError):
        pickle.dumps(Key("a", "B"))
    monkeypatch.setenv("MINE_KEY", "sk-\nBad")
    with pytest.raises(InputError) as caught:
        read_key("MINE_KEY")
    assert "Bad" not in str(caught.value)


def test_openais_key_goes_to_openai_and_to_what_the_environment_names_only(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-mine")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Mine: mine")
    server.always = says(chat("a"))
    with Remote("small", Endpoint(base_url=server.url)) as model:
        model.complete(HELLO, GREEDY)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/")
    with Remote("small") as model:
        model.complete(HELLO, GREEDY)
        assert model.endpoint == Endpoint(base_url=server.url, api_key_env="OPENAI_API_KEY", dialect="compatible")
    first, second = (request["headers"] for request in server.asked)
    assert "authorization" not in first
    assert second["authorization"] == "Bearer sk-openai"
    assert not [name for name in (*first, *second) if name.startswith(("openai-", "x-mine"))]


def test_a_key_that_is_not_set_is_missed_at_once() -> None:
    with pytest.raises(InputError, match=r"OPENAI_API_KEY is not set; put the key for https://api\.openai\.com/v1"):
        Remote("gpt-4o")
    with pytest.raises(InputError, match="GONE_KEY is not set"):
        Remote("small", Endpoint(base_url="http://localhost:1", api_key_env="GONE_KEY"))


# --- endpoints and names


@pytest.mark.parametrize(
    ("fields", "says_"),
    [
        ({"base_url": "localhost:8000"}, "base_url is not an address"),
        ({"base_url": "ftp://host/v1"}, "base_url is not an address"),
        ({"base_url": "http://host:99999/"}, "base_url is not an address"),
        ({"base_url": "http://ho st/"}, "base_url is not an address"),
        ({"base_url": f"http://me:{KEY}@host/"}, r"base_url \(at host\) holds a user"),
        ({"base_url": f"http://host/?key={KEY}"}, r"base_url \(at host\) holds a user"),
        ({"api_key_env": KEY}, "api_key_env is not the name of an environment variable"),
        ({"dialect": "bard"}, "dialect is 'bard'; it must be one of openai, compatible"),
        ({"prefill": "yes"}, "prefill is 'yes'; it must be one of continue_final_message, assistant_turn"),
    ],
)
def test_an_endpoint_that_cannot_be_is_refused_without_showing_a_key(fields: dict[str, Any], says_: str) -> None:
    with pytest.raises(InputError, match=says_) as caught:
        Endpoint(**fields)
    assert KEY not in str(caught.value)


def test_a_registered_name_is_connected_to(server: Server, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    described = Endpoint(base_url=server.url, api_key_env="MINE_KEY", dialect="vllm", prefill="continue_final_message")
    Registry(settings).add("mine", "openai:org/small", endpoint=described)
    assert KEY not in Registry(settings).file.read_text()
    server.script = [says(chat("a"))]
    with connect("mine", settings=settings) as model:
        assert (model.name, model.model, model.endpoint) == ("mine", "org/small", described)
        model.complete(HELLO, GREEDY)
    assert server.bodies[0]["model"] == "org/small"
    with pytest.raises(UnsupportedError, match=r"'tiny' is a local model .*ramify\.load opens it"):
        connect("tiny", settings=settings)
    with pytest.raises(ModelNotFoundError):
        connect("mime", settings=settings)


def test_everything_raised_is_ours() -> None:
    assert issubclass(RemoteError, RamifyError)
