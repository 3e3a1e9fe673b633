"""OpenAI's routes on `tiny`: what every field does, against the library's own answers."""

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from tests.api.listening import Live

from ramify.api.openai_fields import ON_THE_WIRE, SAME, ChatRequest, CompletionRequest, config_of
from ramify.decoding.config import GenerationConfig

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
ASK = [{"role": "user", "content": "Tell me a story about a cat."}]


@pytest.fixture(scope="module")
def tiny(load: Callable[[str], Any]) -> Any:
    return load("tiny")


def post(live: Live, path: str, **body: Any) -> dict[str, Any]:
    answer = live.client().post(path, json={"model": "tiny", "temperature": 0, **body})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def refused(live: Live, path: str, **body: Any) -> tuple[int, str | None, str]:
    answer = live.client().post(path, json={"model": "tiny", **body})
    error = answer.json()["error"]
    return answer.status_code, error["param"], error["message"]


def test_every_setting_is_a_field_by_its_own_name_or_the_protocols() -> None:
    settings = {field.name for field in dataclasses.fields(GenerationConfig)}
    for request in (CompletionRequest, ChatRequest):
        assert settings - set(request.model_fields) == set(ON_THE_WIRE)
        assert set(ON_THE_WIRE.values()) <= set(request.model_fields)
    said = {"pad_token_id": 0, "batch_size": 2, "num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 1.0}
    config = config_of(CompletionRequest(prompt="a", **said), max_tokens=3, rows=4)
    assert {name: getattr(config, name) for name in said} == said
    assert set(SAME) <= settings


@pytest.mark.parametrize("path", [COMPLETIONS, CHAT])
@pytest.mark.parametrize(
    "said", [{"max_tokens": 3}, {"max_tokens": -1}, {"max_token": 3}, {"n": 2, "stop": 7}, {"model": "none"}, None]
)
def test_a_body_that_says_its_encoding_is_answered_like_one_that_does_not(
    live: Live, path: str, said: dict[str, Any] | None
) -> None:
    """The one goes past the search for a route, the other does not."""
    asked = {"prompt": "Once upon a time"} if path == COMPLETIONS else {"messages": ASK}
    content = b"{" if said is None else json.dumps({**asked, "temperature": 0, "seed": 1, **said}).encode()
    answers = []
    for kind in ("application/json", "application/json; charset=utf-8"):
        answer = live.client().post(path, content=content, headers={"content-type": kind})
        body = {key: value for key, value in answer.json().items() if key not in ("id", "created", "usage")}
        answers.append((answer.status_code, {**answer.headers, "date": "", "content-length": ""}, body))
    assert answers[0] == answers[1]
    assert answers[0][0] == (200 if said == {"max_tokens": 3} else 404 if said == {"model": "none"} else 400)


# Completions.


def test_a_completion_is_the_librarys(live: Live, tiny: Any) -> None:
    found = post(live, COMPLETIONS, prompt="Once upon a time", max_tokens=20)
    expected = tiny.complete("Once upon a time", max_new_tokens=20)
    assert found["object"] == "text_completion"
    assert found["model"] == "tiny"
    assert found["system_fingerprint"] == tiny.info.fingerprint
    (choice,) = found["choices"]
    assert {key: choice[key] for key in ("index", "text", "logprobs", "finish_reason", "stop_reason")} == {
        "index": 0,
        "text": expected.text,
        "logprobs": None,
        "finish_reason": "length",
        "stop_reason": None,
    }
    assert choice["ramify"]["finish_reason"] == "length"
    assert {key: found["usage"][key] for key in ("prompt_tokens", "completion_tokens", "total_tokens")} == {
        "prompt_tokens": len(expected.prompt_token_ids),
        "completion_tokens": 20,
        "total_tokens": len(expected.prompt_token_ids) + 20,
    }


def test_sixteen_tokens_and_temperature_1_are_the_defaults(live: Live, tiny: Any) -> None:
    answer = live.client().post(COMPLETIONS, json={"prompt": "Once upon a time", "seed": 11}).json()
    expected = tiny.complete("Once upon a time", temperature=1.0, seed=11, max_new_tokens=16)
    assert answer["choices"][0]["text"] == expected.text
    assert answer["choices"][0]["ramify"]["seed"] == 11


def test_texts_and_token_ids_are_prompts_alone_and_in_lists(live: Live, tiny: Any) -> None:
    texts = ["The cat", "A dog"]
    ids = [list(tiny.codec.encode(text, special=True)) for text in texts]
    alone = [post(live, COMPLETIONS, prompt=text, max_tokens=6)["choices"][0]["text"] for text in texts]
    assert [c["text"] for c in post(live, COMPLETIONS, prompt=texts, max_tokens=6)["choices"]] == alone
    assert [c["text"] for c in post(live, COMPLETIONS, prompt=ids, max_tokens=6)["choices"]] == alone
    assert post(live, COMPLETIONS, prompt=ids[0], max_tokens=6)["choices"][0]["text"] == alone[0]


def test_n_completions_of_each_prompt_are_in_order(live: Live, tiny: Any) -> None:
    found = post(live, COMPLETIONS, prompt=["The cat", "A dog"], n=2, temperature=1, seed=5, max_tokens=6)
    expected = [r.text for p in ("The cat", "A dog") for r in tiny.completions(p, n=2, temperature=1.0, seed=5, max_new_tokens=6)]
    assert [choice["index"] for choice in found["choices"]] == [0, 1, 2, 3]
    assert [choice["text"] for choice in found["choices"]] == expected
    assert found["usage"]["completion_tokens"] == 24


def test_best_of_gives_the_likeliest_a_token(live: Live, tiny: Any) -> None:
    found = post(live, COMPLETIONS, prompt="The cat", n=2, best_of=5, temperature=1.5, seed=5, max_tokens=6)
    made = tiny.completions("The cat", n=5, temperature=1.5, seed=5, max_new_tokens=6)
    means = [sum(t.logprob for t in result.logprobs) / len(result.logprobs) for result in made]
    best = sorted(range(5), key=lambda i: means[i], reverse=True)[:2]
    assert [choice["text"] for choice in found["choices"]] == [made[i].text for i in best]
    assert [choice["index"] for choice in found["choices"]] == [0, 1]
    assert all(choice["logprobs"] is None for choice in found["choices"])
    assert found["usage"]["completion_tokens"] == sum(len(result.token_ids) for result in made)


def test_echo_with_logprobs_measures_the_prompt_and_what_follows(live: Live, tiny: Any) -> None:
    prompt = "Once upon a time, there was"
    ids = tiny.codec.encode(prompt, special=True)
    (choice,) = post(live, COMPLETIONS, prompt=prompt, echo=True, logprobs=2, max_tokens=3)["choices"]
    made = tiny.complete(prompt, max_new_tokens=3, logprobs=2)
    measured = [*tiny.score(ids[:1], ids[1:], top=2).logprobs, *made.logprobs]
    found = choice["logprobs"]
    assert choice["text"] == prompt + made.text
    assert found["tokens"] == [tiny.codec.token_text(i) for i in (*ids, *made.token_ids)]
    assert found["token_logprobs"][0] is None
    assert found["top_logprobs"][0] is None
    assert found["token_logprobs"][1:] == pytest.approx([token.logprob for token in measured], abs=1e-4)
    for top, token, name in zip(found["top_logprobs"][1:], measured, found["tokens"][1:], strict=True):
        assert {key: pytest.approx(value, abs=1e-4) for key, value in top.items()} == {
            **{other.text: other.logprob for other in token.alternatives},
            name: token.logprob,
        }
    # Joined from each offset on, the tokens are the text; the BOS before it is no part of it.
    assert [choice["text"][at:][: len(name)] for at, name in zip(found["text_offset"][1:], found["tokens"][1:], strict=True)] == [
        *found["tokens"][1:]
    ]


def test_echo_of_nothing_more_measures_the_prompt_alone(live: Live) -> None:
    (choice,) = post(live, COMPLETIONS, prompt="The cat sat", echo=True, logprobs=0, max_tokens=0)["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("The cat sat", "length")
    assert len(choice["logprobs"]["tokens"]) == len(choice["logprobs"]["token_logprobs"]) > 2
    assert [list(top.values()) for top in choice["logprobs"]["top_logprobs"][1:]] == [
        [number] for number in choice["logprobs"]["token_logprobs"][1:]
    ]


def test_a_generated_eos_is_an_entry_and_the_chosen_token_is_among_the_top(live: Live, tiny: Any) -> None:
    prompt = "<|im_start|>user\nSay yes.<|im_end|>\n<|im_start|>assistant\n"
    (choice,) = post(live, COMPLETIONS, prompt=prompt, choices=["yes"], logprobs=1, max_tokens=9)["choices"]
    tokens = choice["logprobs"]["tokens"]
    assert (choice["text"], choice["finish_reason"], choice["ramify"]["truncated"]) == ("yes", "stop", False)
    assert tokens[-1] == tiny.codec.token_text(tiny.info.eos_token_ids[0])
    assert "".join(tokens[:-1]) == "yes"
    for name, number, top in zip(tokens, choice["logprobs"]["token_logprobs"], choice["logprobs"]["top_logprobs"], strict=True):
        assert top[name] == number
        assert number > -math.inf


def test_tokens_that_are_no_text_are_written_as_bytes_and_lose_nothing(live: Live) -> None:
    (choice,) = post(live, COMPLETIONS, prompt="é 漢字 🙂", echo=True, logprobs=0, max_tokens=0)["choices"]
    joined = b"".join(
        bytes(int(byte, 16) for byte in name.removeprefix("bytes:").split("\\x")[1:])
        if name.startswith("bytes:")
        else name.encode()
        for name in choice["logprobs"]["tokens"][1:]
    )
    assert joined.decode() == "é 漢字 🙂"


def test_prompt_logprobs_and_token_ids_are_vllms(live: Live, tiny: Any) -> None:
    ids = list(tiny.codec.encode("The cat sat", special=True))
    found = post(live, COMPLETIONS, prompt="The cat sat", prompt_logprobs=2, return_token_ids=True, max_tokens=2)["choices"][0]
    measured = tiny.score(ids[:1], ids[1:], top=2).logprobs
    assert found["prompt_token_ids"] == ids
    assert found["token_ids"] == list(tiny.complete("The cat sat", max_new_tokens=2).token_ids)
    assert found["prompt_logprobs"][0] is None
    for entry, token in zip(found["prompt_logprobs"][1:], measured, strict=True):
        mine = entry[str(token.token_id)]
        assert (mine["logprob"], mine["rank"]) == (pytest.approx(token.logprob, abs=1e-4), token.rank)
        assert {int(i) for i in entry} == {token.token_id, *(other.token_id for other in token.alternatives)}


def test_tokens_as_ids(live: Live, tiny: Any) -> None:
    (choice,) = post(live, COMPLETIONS, prompt="The cat", logprobs=1, return_tokens_as_token_ids=True, max_tokens=2)["choices"]
    ids = tiny.complete("The cat", max_new_tokens=2).token_ids
    assert choice["logprobs"]["tokens"] == [f"token_id:{i}" for i in ids]


@pytest.mark.parametrize(
    ("fields", "settings"),
    [
        ({"stop": "the"}, {"stop_strings": "the"}),
        (
            {"stop": ["the", "a"], "include_stop_str_in_output": True},
            {"stop_strings": ["the", "a"], "include_stop_str_in_output": True},
        ),
        ({"logit_bias": {"100": 50, "200": -50}}, {"logit_bias": {100: 50, 200: -50}}),
        ({"temperature": 0.7, "seed": 3, "top_k": 5}, {"temperature": 0.7, "seed": 3, "top_k": 5}),
        ({"temperature": 0.7, "seed": 3, "top_k": -1, "top_p": 0.5}, {"temperature": 0.7, "seed": 3, "top_p": 0.5}),
        ({"temperature": 0.7, "seed": 3, "min_p": 0.2}, {"temperature": 0.7, "seed": 3, "min_p": 0.2}),
        ({"presence_penalty": 1.5, "frequency_penalty": 0.5}, {"presence_penalty": 1.5, "frequency_penalty": 0.5}),
        ({"repetition_penalty": 1.5}, {"repetition_penalty": 1.5}),
        ({"min_tokens": 4, "eos_token_id": 5}, {"min_new_tokens": 4, "eos_token_id": 5}),
        ({"ignore_eos": True, "stop_token_ids": [100]}, {"ignore_eos": True, "stop_token_ids": [100]}),
        ({"temperature": None, "num_beams": 3}, {"num_beams": 3}),
        ({"temperature": None, "use_beam_search": True, "n": 2}, {"num_beams": 2, "num_return_sequences": 2}),
        ({"temperature": None, "penalty_alpha": 0.6, "top_k": 4}, {"penalty_alpha": 0.6, "top_k": 4}),
        ({"no_repeat_ngram_size": 2, "suppress_tokens": [100]}, {"no_repeat_ngram_size": 2, "suppress_tokens": [100]}),
        ({"regex": "[a-f]{4,8}"}, {"regex": "[a-f]{4,8}"}),
        ({"guided_regex": "[a-f]{4,8}"}, {"regex": "[a-f]{4,8}"}),
        ({"guided_choice": ["red", "blue"]}, {"choices": ["red", "blue"]}),
        ({"guided_grammar": 'start: "x" | "y"'}, {"grammar": 'start: "x" | "y"'}),
        ({"guided_json": {"type": "integer"}}, {"json_schema": {"type": "integer"}}),
        ({"structured_outputs": {"choice": ["red", "blue"]}}, {"choices": ["red", "blue"]}),
        ({"response_format": {"type": "json_object"}}, {"json_schema": {"type": "object"}}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "strict": True, "schema": {"type": "boolean"}},
                }
            },
            {"json_schema": {"type": "boolean"}},
        ),
        ({"required_words": ["lake"], "forbidden_words": ["the"]}, {"required_words": ["lake"], "forbidden_words": ["the"]}),
    ],
    ids=lambda given: "+".join(given),
)
def test_a_field_is_the_setting_that_it_names(live: Live, tiny: Any, fields: dict[str, Any], settings: dict[str, Any]) -> None:
    found = post(live, COMPLETIONS, prompt="Once upon a time there was a", max_tokens=12, **fields)
    expected = tiny.completions("Once upon a time there was a", max_new_tokens=12, **settings)
    assert [choice["text"] for choice in found["choices"]] == [result.generated_text for result in expected]
    assert [choice["ramify"]["finish_reason"] for choice in found["choices"]] == [result.finish_reason for result in expected]
    assert [choice["stop_reason"] for choice in found["choices"]] == [result.stop_string for result in expected]


def test_the_best_of_several_beams_come_at_temperature_0_too(live: Live, tiny: Any) -> None:
    found = post(live, COMPLETIONS, prompt="The", max_tokens=4, temperature=0, use_beam_search=True, best_of=3, n=2)
    best = tiny.completions("The", num_beams=3, num_return_sequences=3, max_new_tokens=4)[:2]
    assert [choice["text"] for choice in found["choices"]] == [result.generated_text for result in best]


def test_without_special_tokens_no_bos_is_put_before(live: Live, tiny: Any) -> None:
    found = post(live, COMPLETIONS, prompt="The cat", max_tokens=2, add_special_tokens=False, return_token_ids=True)
    assert found["choices"][0]["prompt_token_ids"] == tiny.codec.encode_rendered("The cat")


def test_neutral_values_of_the_official_client_are_accepted(live: Live) -> None:
    neutral = {
        "n": 1,
        "best_of": 1,
        "top_p": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "user": "me",
        "suffix": None,
        "echo": False,
    }
    post(live, COMPLETIONS, prompt="The cat", max_tokens=1, logit_bias=None, stop=None, seed=None, stream=False, **neutral)
    more = {
        "store": False,
        "tools": [],
        "tool_choice": "none",
        "modalities": ["text"],
        "service_tier": "auto",
        "metadata": {"a": "b"},
    }
    post(live, CHAT, messages=ASK, max_completion_tokens=1, response_format={"type": "text"}, **more)


@pytest.mark.parametrize(
    ("path", "body", "param", "words"),
    [
        (COMPLETIONS, {"prompt": "a", "n": 3, "best_of": 2}, "best_of", "best_of is 2 and n is 3"),
        (COMPLETIONS, {"prompt": "a", "best_of": 2, "stream": True}, "best_of", "known at the end only"),
        (COMPLETIONS, {"prompt": "a", "best_of": 2, "temperature": 0}, "best_of", "all are alike"),
        (COMPLETIONS, {"prompt": "a", "max_new_tokens": 5}, "max_new_tokens", "here it is called max_tokens"),
        (COMPLETIONS, {"prompt": "a", "tempature": 1}, "tempature", "did you mean temperature?"),
        (CHAT, {"messages": ASK, "stop_strings": ["a"]}, "stop_strings", "here it is called stop"),
        (COMPLETIONS, {"prompt": "a", "max_tokens": 0, "top_p": 7}, "top_p", "top_p is 7"),
        (COMPLETIONS, {"prompt": "a", "use_beam_search": True}, "use_beam_search", "there is one beam"),
        (COMPLETIONS, {"prompt": "a", "return_tokens_as_token_ids": True}, "return_tokens_as_token_ids", "no logprobs"),
        (COMPLETIONS, {"prompt": "a", "n": 129}, "n", "less than or equal to 128"),
        (COMPLETIONS, {"prompt": "a", "temperature": 0, "top_p": 0.5}, "temperature", "greedy"),
        (COMPLETIONS, {"prompt": "a", "min_tokens": 9, "max_tokens": 2}, "min_tokens", "min_tokens is 9 and max_tokens is 2"),
        (COMPLETIONS, {"prompt": "a", "stream_options": {"include_usage": True}}, "stream_options", "stream is not true"),
        (COMPLETIONS, {"prompt": "a", "stream": True, "prompt_logprobs": 1}, "prompt_logprobs", "no"),
        (COMPLETIONS, {"prompt": []}, "prompt", "empty list"),
        (COMPLETIONS, {"prompt": ["a", [1]]}, "prompt", "a text, token ids, or a list of either"),
        (COMPLETIONS, {"prompt": "a", "logit_bias": {"x": 1}}, "logit_bias", "logit_bias"),
        (COMPLETIONS, {"prompt": "a", "response_format": {"type": "json_schema"}}, "response_format", "give the schema"),
        (COMPLETIONS, {"prompt": "a", "skip_special_tokens": "no"}, "skip_special_tokens", "boolean"),
        (CHAT, {"messages": ASK, "top_logprobs": 2}, "top_logprobs", "logprobs is not true"),
        (CHAT, {"messages": ASK, "max_tokens": 2, "max_completion_tokens": 3}, "max_tokens", "give one of them"),
        (
            CHAT,
            {"messages": ASK, "continue_final_message": True, "add_generation_prompt": True},
            "add_generation_prompt",
            "leave one",
        ),
        (CHAT, {"messages": ASK, "continue_final_message": True}, f"messages[{len(ASK) - 1}]", "assistant"),
        (CHAT, {"messages": ASK, "chat_template_kwargs": {"prefill": "x"}}, "chat_template_kwargs", "own fields"),
        (CHAT, {"messages": ASK, "chat_template_kwargs": {"thinking": True}}, "chat_template_kwargs", "does not read thinking"),
        (CHAT, {"messages": []}, "messages", "messages is empty"),
        (CHAT, {"messages": ["hi"]}, "messages[0]", "messages[0] is 'hi'"),
        (CHAT, {"messages": [*ASK, {"role": "user"}]}, f"messages[{len(ASK)}].content", "content is NoneType"),
        (CHAT, {"messages": [{"role": " ", "content": "a"}]}, "messages[0].role", "must be a text such as"),
        (CHAT, {"messages": [{"role": "<|im_end|>", "content": "a"}]}, "messages[0].role", "control token"),
        (CHAT, {"messages": [{"role": "user", "content": "a", "mood": 1}]}, "messages[0].mood", "unknown keys mood"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]", "only parts like"),
        (CHAT, {"messages": ASK, "max_tokens": 2047}, "max_tokens", "context window holds 2048"),
    ],
    ids=lambda given: "+".join(given) if isinstance(given, dict) else "",
)
def test_what_cannot_be_honoured_is_refused_by_name(
    live: Live, path: str, body: dict[str, Any], param: str | None, words: str
) -> None:
    status, found, message = refused(live, path, **body)
    assert (status, found) == (400, param)
    assert words in message


def test_a_prompt_too_long_says_both_numbers(live: Live, tiny: Any) -> None:
    words = "Once upon a time " * 900
    status, _, message = refused(live, COMPLETIONS, prompt=words)
    assert status == 400
    assert f"the prompt has {len(tiny.codec.encode(words, special=True))} tokens" in message
    assert "holds 2048" in message


ALWAYS_START: dict[str, Any] = {"logit_bias": {"3": 100}, "max_tokens": 3}
"""<|im_start|>, <|im_start|>, <|im_start|>."""
ALWAYS_END: dict[str, Any] = {"logit_bias": {"2": 100}, "max_tokens": 2}
"""<|im_end|>, which is an EOS of `tiny`."""


@pytest.mark.parametrize(
    ("given", "text", "shown"),
    [
        (ALWAYS_START, "", "<|im_start|>" * 3),
        ({**ALWAYS_START, "num_beams": 2, "temperature": None}, "", "<|im_start|>" * 3),
        ({**ALWAYS_START, "stop_token_ids": [3]}, "", ""),
        ({**ALWAYS_START, "stop_token_ids": [3], "stop": "no", "include_stop_str_in_output": True}, "", "<|im_start|>"),
        ({**ALWAYS_START, "stop": "art|><|im"}, "", "<|im_st"),
        (ALWAYS_END, "", ""),
        ({**ALWAYS_END, "num_beams": 2, "temperature": None, "early_stopping": True}, "", ""),
        ({**ALWAYS_END, "stop": "no", "include_stop_str_in_output": True}, "", "<|im_end|>"),
        ({**ALWAYS_END, "ignore_eos": True}, "", "<|im_end|>" * 2),
    ],
    ids=lambda given: "+".join(given) if isinstance(given, dict) else "",
)
def test_special_tokens_are_shown_on_request_and_the_one_that_ends_is_not(
    live: Live, given: dict[str, Any], text: str, shown: str
) -> None:
    assert post(live, COMPLETIONS, prompt="a", **given)["choices"][0]["text"] == text
    given = {**given, "skip_special_tokens": False}
    assert post(live, COMPLETIONS, prompt="a", **given)["choices"][0]["text"] == shown
    assert post(live, CHAT, messages=ASK, **given)["choices"][0]["message"]["content"] == shown
    streamed = live.client().post(COMPLETIONS, json={"temperature": 0, "prompt": "a", "stream": True, **given}).text
    pieces = [json.loads(line[6:])["choices"][0]["text"] for line in streamed.splitlines() if line.startswith("data: {")]
    assert "".join(pieces) == shown


def test_the_offsets_of_logprobs_count_special_tokens_where_they_are_shown(live: Live) -> None:
    found = post(live, COMPLETIONS, prompt="a", logprobs=0, **ALWAYS_START, skip_special_tokens=False)
    assert found["choices"][0]["logprobs"]["text_offset"] == [0, 12, 24]


# Chat.


def test_an_answer_is_the_librarys_with_logprobs_and_bytes(live: Live, tiny: Any) -> None:
    found = post(live, CHAT, messages=ASK, max_tokens=8, logprobs=True, top_logprobs=3)
    expected = tiny.complete(ASK, max_new_tokens=8, logprobs=3)
    (choice,) = found["choices"]
    assert (found["object"], choice["message"]) == (
        "chat.completion",
        {"role": "assistant", "content": expected.text, "refusal": None},
    )
    entries = choice["logprobs"]["content"]
    assert [entry["token"] for entry in entries] == [token.text for token in expected.logprobs]
    assert [bytes(entry["bytes"]) for entry in entries] == [token.token_bytes for token in expected.logprobs]
    assert [entry["logprob"] for entry in entries] == pytest.approx([token.logprob for token in expected.logprobs], abs=1e-4)
    for entry, token in zip(entries, expected.logprobs, strict=True):
        assert [(each["token"], bytes(each["bytes"])) for each in entry["top_logprobs"]] == [
            (other.text, other.token_bytes) for other in token.alternatives
        ]


def test_a_prefill_is_continued_exactly_and_only_the_new_part_comes_back(live: Live, tiny: Any) -> None:
    prefill = "Once upon a time, there was a cat nam"
    found = post(
        live, CHAT, messages=[*ASK, {"role": "assistant", "content": prefill}], continue_final_message=True, max_tokens=8
    )
    expected = tiny.complete(ASK, prefill=prefill, max_new_tokens=8)
    assert found["choices"][0]["message"]["content"] == expected.generated_text
    assert expected.text == prefill + expected.generated_text


def test_messages_of_parts_and_several_answers(live: Live, tiny: Any) -> None:
    parts = [
        {"role": "user", "content": [{"type": "text", "text": "Tell me a story "}, {"type": "text", "text": "about a cat."}]}
    ]
    found = post(live, CHAT, messages=parts, n=2, temperature=1, seed=4, max_completion_tokens=6)
    expected = [result.text for result in tiny.completions(ASK, n=2, temperature=1.0, seed=4, max_new_tokens=6)]
    assert [choice["message"]["content"] for choice in found["choices"]] == expected


def test_control_tokens_in_a_message_are_its_words(live: Live) -> None:
    found = post(live, CHAT, messages=[{"role": "user", "content": "<|im_end|>{{ 7 * 7 }}"}], max_tokens=1, return_token_ids=True)
    ids = found["prompt_token_ids"]
    text = live.client().post("/detokenize", json={"tokens": ids}).json()["prompt"]
    assert "<|im_end|>{{ 7 * 7 }}" in text
    assert ids.count(live.server.models.loaded()["tiny"].codec.added_tokens["<|im_end|>"]) < text.count("<|im_end|>")


# The rest.


def test_models_are_listed_and_shown(live: Live, tiny: Any) -> None:
    entry = {
        "id": "tiny",
        "object": "model",
        "created": 0,
        "owned_by": "ramify",
        "max_model_len": 2048,
        "fingerprint": tiny.info.fingerprint,
    }
    assert live.client().get("/v1/models").json() == {"object": "list", "data": [entry]}
    assert live.client().get("/v1/models/tiny").json() == entry
    assert live.client().get("/v1/models/other").status_code == 404


def test_tokens_there_and_back(live: Live, tiny: Any) -> None:
    with live.client() as client:
        found = client.post("/tokenize", json={"prompt": "The cat <|im_end|>", "return_token_strs": True}).json()
        assert found["tokens"] == list(tiny.codec.encode("The cat <|im_end|>", special=True))
        assert (found["count"], found["max_model_len"]) == (len(found["tokens"]), 2048)
        assert "".join(found["token_strs"][1:]) == "The cat <|im_end|>"
        assert client.post("/detokenize", json={"tokens": found["tokens"][1:]}).json() == {"prompt": "The cat <|im_end|>"}
        chat = client.post("/tokenize", json={"messages": ASK}).json()["tokens"]
        assert chat == list(tiny.ids_of(ASK)[0])
        assert client.post("/detokenize", json={"tokens": [10**6]}).status_code == 400


def test_metrics_count_what_was_asked_and_made(live: Live) -> None:
    def read() -> dict[str, float]:
        lines = live.client().get("/metrics").text.splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    before = read()
    assert refused(live, COMPLETIONS, prompt="x", max_tokens=3, logit_bias={"500000": 30})[0] == 400
    post(live, COMPLETIONS, prompt=[3, 4, 5], n=2, max_tokens=7, ignore_eos=True)
    after = read()
    grown = {name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)}
    assert grown['ramify_prompt_tokens_total{model="tiny"}'] == 3
    assert grown['ramify_generated_tokens_total{model="tiny"}'] == 14
    assert grown['ramify_completions_total{finish_reason="length",model="tiny"}'] == 2
    assert grown['ramify_request_errors_total{model="tiny",status="400"}'] == 1
    assert 'ramify_completions_total{finish_reason="error",model="tiny"}' not in grown
    assert grown['ramify_forward_passes_total{model="tiny"}'] == 7
    assert grown['ramify_time_to_first_token_seconds_count{model="tiny"}'] == 1
    assert grown['ramify_request_seconds_count{model="tiny"}'] == 2
    assert after['ramify_completions_running{model="tiny"}'] == after['ramify_completions_waiting{model="tiny"}'] == 0
    assert after['ramify_engine_up{model="tiny"}'] == 1
