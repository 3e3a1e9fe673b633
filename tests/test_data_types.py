"""Document 002's shapes: what they hold, what they refuse, and what `json()` gives."""

import json
from typing import Any

import pytest

from ramify.data_types import (
    CompletionOutput,
    CompletionRequest,
    CompletionStreamResponse,
    CompletionSyncResponse,
    CreateBatchCompletionsModelConfig,
    CreateBatchCompletionsRequest,
    CreateBatchCompletionsRequestContent,
    TokenOutput,
    ToolConfig,
)
from ramify.decoding.config import GenerationConfig
from ramify.errors import BadRequestError, InputError, RemoteError


def test_json_is_one_line_of_text_without_what_is_none() -> None:
    output = CompletionOutput(text="________ and I am a ________", num_completion_tokens=10)
    answer = CompletionSyncResponse(request_id="c4bf0732-08e0-48a8-8b44-dfe8d4702fb0", output=output)
    expected = (
        '{"request_id": "c4bf0732-08e0-48a8-8b44-dfe8d4702fb0", '
        '"output": {"text": "________ and I am a ________", "num_completion_tokens": 10}}'
    )
    assert answer.json() == expected


def test_what_json_gives_makes_the_same_answer_again() -> None:
    output = CompletionOutput(
        text='a "b"\n\u2028é🙂', num_prompt_tokens=3, num_completion_tokens=2, tokens=[TokenOutput(token="é", log_prob=-0.5)]
    )
    answer = CompletionSyncResponse(request_id="r", output=output)
    assert CompletionSyncResponse(**json.loads(answer.json())) == answer
    assert "\n" not in answer.json()


def test_a_part_that_a_newer_service_adds_is_kept() -> None:
    answer = CompletionStreamResponse(request_id="r", output={"text": "a", "finished": True, "speed": 3})
    assert json.loads(answer.json()) == {"request_id": "r", "output": {"text": "a", "finished": True, "speed": 3}}


DEFAULTS = {"max_new_tokens": 20, "temperature": 0.2}


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        ({}, DEFAULTS),
        ({"temperature": 0}, {**DEFAULTS, "temperature": 0}),
        ({"temperature": 0, "top_p": 1.0, "top_k": -1}, {**DEFAULTS, "temperature": 0, "top_p": 1.0}),
        ({"top_k": 5, "top_p": 0.5, "seed": 7}, {**DEFAULTS, "top_k": 5, "top_p": 0.5, "seed": 7}),
        ({"presence_penalty": 2, "frequency_penalty": 0}, {**DEFAULTS, "presence_penalty": 2, "frequency_penalty": 0}),
        ({"stop_sequences": []}, DEFAULTS),
        ({"stop_sequences": ["a"], "include_stop_str_in_output": False}, {**DEFAULTS, "stop_strings": ("a",)}),
        (
            {"stop_sequences": ["a"], "include_stop_str_in_output": True},
            {**DEFAULTS, "stop_strings": ("a",), "include_stop_str_in_output": True},
        ),
        ({"guided_json": {"type": "object"}}, {**DEFAULTS, "json_schema": {"type": "object"}}),
        ({"guided_regex": "a+"}, {**DEFAULTS, "regex": "a+"}),
        ({"guided_choice": ["a", "b"]}, {**DEFAULTS, "choices": ["a", "b"]}),
        ({"guided_grammar": 'start: "a"'}, {**DEFAULTS, "grammar": 'start: "a"'}),
    ],
)
def test_a_request_is_settings_of_a_generation(given: dict[str, Any], settings: dict[str, Any]) -> None:
    request = CompletionRequest(prompt="Once", **given)
    assert request.settings() == settings
    GenerationConfig(**request.settings())


@pytest.mark.parametrize(
    ("given", "says", "param"),
    [
        ({"prompt": ["a", "b"]}, "prompt is ['a', 'b']; it must be a string", "prompt"),
        ({"prompt": None}, "prompt is None; it must be a string", "prompt"),
        ({"prompt": "a\ud800"}, "prompt: it holds half a character (a lone surrogate) at 1", "prompt"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0; it must be a whole number >= 1", "max_new_tokens"),
        ({"max_new_tokens": -3}, "max_new_tokens is -3; it must be a whole number >= 1", "max_new_tokens"),
        ({"max_new_tokens": True}, "max_new_tokens is True; it must be a whole number >= 1", "max_new_tokens"),
        ({"max_new_tokens": "5"}, "max_new_tokens is '5'; it must be a whole number >= 1", "max_new_tokens"),
        ({"temperature": 1.01}, "temperature is 1.01; it must be a number from 0 (greedy) to 1", "temperature"),
        ({"temperature": -0.1}, "temperature is -0.1; it must be a number from 0", "temperature"),
        ({"temperature": float("nan")}, "temperature is nan; it must be a number from 0", "temperature"),
        ({"presence_penalty": -1}, "presence_penalty is -1; it must be a number from 0 to 2", "presence_penalty"),
        ({"frequency_penalty": 2.5}, "frequency_penalty is 2.5; it must be a number from 0 to 2", "frequency_penalty"),
        ({"top_k": 0}, "top_k is 0; it must be strictly positive, or -1 or left out for off", None),
        ({"top_k": -2}, "top_k is -2; it must be a whole number >= 1, or -1 for off", "top_k"),
        ({"top_p": 0}, "top_p is 0; it must be above 0, at most 1 (off)", "top_p"),
        ({"top_p": 1.5}, "top_p is 1.5; it must be above 0, at most 1 (off)", "top_p"),
        ({"temperature": 0, "top_k": 5}, "top_k and top_p cannot be used when temperature is 0", None),
        ({"temperature": 0, "top_p": 0.5}, "top_k and top_p cannot be used when temperature is 0", None),
        ({"stop_sequences": ["a", ""]}, "stop_sequences.1 is ''; stop_sequences must be a list of strings", "stop_sequences"),
        ({"stop_sequences": "a"}, "stop_sequences is 'a'; it must be a list of strings", "stop_sequences"),
        ({"skip_special_tokens": False}, "skip_special_tokens is False; it must be True", "skip_special_tokens"),
        ({"guided_json": "{}"}, "guided_json is '{}'; it must be a JSON Schema, as a dict", "guided_json"),
        ({"guided_choice": []}, "guided_choice is []; it must be a list of strings, not empty", "guided_choice"),
        ({"guided_regex": "a", "guided_choice": ["a"]}, "guided_regex and guided_choice are given together; only one", None),
        ({"seed": -1}, "seed is -1; it must be a whole number from 0", "seed"),
        ({"max_tokens": 5}, "max_tokens is not a parameter; did you mean max_new_tokens?", "max_tokens"),
        ({"n": 2}, "n is not a parameter; the parameters are ", "n"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(given: dict[str, Any], says: str, param: str | None) -> None:
    with pytest.raises(BadRequestError) as refused:
        CompletionRequest(**{"prompt": "a", **given})
    assert str(refused.value).startswith(says)
    assert (refused.value.status, refused.value.param) == (400, param)
    assert isinstance(refused.value, InputError)
    assert isinstance(refused.value, RemoteError)


def test_a_refused_value_is_shown_in_part_only() -> None:
    with pytest.raises(BadRequestError) as refused:
        CompletionRequest(prompt=["x" * 10_000])
    assert len(str(refused.value)) < 200


def test_a_batch_has_its_prompts_from_one_place() -> None:
    content = CreateBatchCompletionsRequestContent(
        prompts=["What is deep learning", "What is a neural network"], max_new_tokens=10, temperature=0.0
    )
    config = CreateBatchCompletionsModelConfig(
        model="tiny", checkpoint_path="s3://checkpoint-path", labels={"team": "my-team", "product": "my-product"}
    )
    batch = CreateBatchCompletionsRequest(output_data_path="s3://my-path", model_config=config, content=content)
    assert batch.chosen_model == config
    assert CreateBatchCompletionsRequest(**json.loads(batch.json())) == batch
    with pytest.raises(BadRequestError, match="neither is given: the prompts come from exactly one"):
        CreateBatchCompletionsRequest(output_data_path="out", model_config=config)
    with pytest.raises(BadRequestError, match="both are given: the prompts come from exactly one"):
        CreateBatchCompletionsRequest(output_data_path="out", model_config=config, content=content, input_data_path="in")


@pytest.mark.parametrize(
    ("shape", "given", "says"),
    [
        (CreateBatchCompletionsRequestContent, {"prompts": []}, "prompts is []; it must be a list of strings, not empty"),
        (CreateBatchCompletionsRequestContent, {"prompts": ["a", 5]}, "prompts.1 is 5; prompts must be a list of strings"),
        (CreateBatchCompletionsRequestContent, {"prompts": ["a"], "guided_regex": "a"}, "guided_regex is not a parameter"),
        (CreateBatchCompletionsModelConfig, {"model": ""}, "model is ''; it must be a model's name"),
        (
            CreateBatchCompletionsModelConfig,
            {"model": "m", "labels": {"a": 1}},
            "labels.a is 1; labels must be a dict of strings",
        ),
        (ToolConfig, {"name": "browser"}, "name is 'browser'; it must be \"code_evaluator\""),
        (ToolConfig, {"name": "code_evaluator", "max_iterations": 0}, "max_iterations is 0; it must be a whole number >= 1"),
        (
            CreateBatchCompletionsRequest,
            {"output_data_path": "o", "input_data_path": "i", "model_config": {"model": "m"}, "data_parallelism": 65},
            "data_parallelism is 65; it must be a whole number from 1 to 64",
        ),
        (
            CreateBatchCompletionsRequest,
            {"output_data_path": "o", "input_data_path": "i", "model_config": {"model": "m", "quantize": "awq"}},
            "model_config: quantize is not a parameter",
        ),
    ],
)
def test_a_batch_that_cannot_be_run_is_refused_by_name(shape: Any, given: dict[str, Any], says: str) -> None:
    with pytest.raises(BadRequestError) as refused:
        shape(**given)
    assert str(refused.value).startswith(says)
