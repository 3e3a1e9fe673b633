"""Every field of GenerationConfig changes what is generated in a case built for it, or is refused as documented."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ramify.decoding.config import GenerationConfig
from ramify.errors import ConfigError
from ramify.inference import generate_text
from ramify.inference.models import opened

PROMPT = "Once upon a time"
LONG: dict[str, Any] = {"max_new_tokens": 24, "ignore_eos": True}
DRAWN: dict[str, Any] = {**LONG, "do_sample": True, "seed": 3}
SCHEMA = {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2}

CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # field: (settings without it, what is laid over them)
    "max_new_tokens": ({"ignore_eos": True, "max_new_tokens": 8}, {"max_new_tokens": 4}),
    "max_length": (LONG, {"max_length": 20}),
    "do_sample": (LONG, {"do_sample": True, "seed": 3}),
    "temperature": (DRAWN, {"temperature": 3.0}),
    "top_k": ({**DRAWN, "temperature": 3.0}, {"top_k": 2}),
    "top_p": ({**DRAWN, "temperature": 3.0}, {"top_p": 0.2}),
    "min_p": ({**DRAWN, "temperature": 3.0}, {"min_p": 0.5}),
    "typical_p": ({**DRAWN, "temperature": 3.0}, {"typical_p": 0.1}),
    "eta_cutoff": ({**DRAWN, "temperature": 3.0}, {"eta_cutoff": 0.5}),
    "epsilon_cutoff": ({**DRAWN, "temperature": 3.0}, {"epsilon_cutoff": 0.1}),
    "nucleus_rule": ({**DRAWN, "top_p": 0.3}, {"nucleus_rule": "exclusive"}),
    "seed": (DRAWN, {"seed": 4}),
    "repetition_penalty": (LONG, {"repetition_penalty": 5.0}),
    "presence_penalty": (LONG, {"presence_penalty": 2.0}),
    "frequency_penalty": (LONG, {"frequency_penalty": 2.0}),
    "encoder_repetition_penalty": (LONG, {"encoder_repetition_penalty": 10.0}),
    "no_repeat_ngram_size": (LONG, {"no_repeat_ngram_size": 1}),
    "guidance_scale": (LONG, {"guidance_scale": 5.0}),
    "num_beams": (LONG, {"num_beams": 4}),
    "num_beam_groups": ({**LONG, "num_beams": 4}, {"num_beam_groups": 4, "diversity_penalty": 50.0}),
    "penalty_alpha": (LONG, {"penalty_alpha": 0.9, "top_k": 8}),
    "json_schema": (LONG, {"json_schema": SCHEMA, "ignore_eos": False, "max_new_tokens": 60}),
    "regex": (LONG, {"regex": "[0-9]{4}", "ignore_eos": False}),
    "choices": (LONG, {"choices": ["yes", "no"], "ignore_eos": False}),
    "grammar": (LONG, {"grammar": 'start: "yes" | "no"', "ignore_eos": False}),
    "required_words": (LONG, {"required_words": "hedgehog"}),
}
"""What needs nothing but the model."""


@pytest.fixture(scope="module")
def cases(folder: Path) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """The same, and fields that speak of ids and texts of this model."""
    model = opened(folder)
    plain = model.complete(PROMPT, **LONG)
    first, second = plain.generated_token_ids[:2]
    codec = model.codec
    # Thirty at once: a random model ends when chance has it.
    drawn = model.completions(PROMPT, do_sample=True, seed=0, n=30, max_new_tokens=200, logprobs=None)
    ended = min((r for r in drawn if not r.truncated), key=lambda r: len(r.generated_token_ids))
    runs: dict[str, Any] = {"do_sample": True, "seed": ended.seed, "max_new_tokens": 200}
    size = len(ended.generated_token_ids)
    # A piece of the greedy text that is whole characters.
    piece = next(text for text in (codec.decode([i]) for i in plain.generated_token_ids) if text.strip() and "\ufffd" not in text)
    beams = {"num_beams": 4, "max_new_tokens": 40}
    return {
        **CHANGES,
        "min_new_tokens": (runs, {"min_new_tokens": size + 5}),
        "ignore_eos": (runs, {"ignore_eos": True}),
        "eos_token_id": ({"max_new_tokens": 24}, {"eos_token_id": [second]}),
        "stop_token_ids": (LONG, {"stop_token_ids": [second]}),
        "stop_strings": (LONG, {"stop_strings": [piece]}),
        "include_stop_str_in_output": ({**LONG, "stop_strings": [piece]}, {"include_stop_str_in_output": True}),
        "bad_words_ids": (LONG, {"bad_words_ids": [[first]]}),
        "sequence_bias": (LONG, {"sequence_bias": {(first,): -100.0}}),
        "logit_bias": (LONG, {"logit_bias": {first: -100}}),
        "suppress_tokens": (LONG, {"suppress_tokens": [first]}),
        "begin_suppress_tokens": (LONG, {"begin_suppress_tokens": [first]}),
        "forbidden_words": (LONG, {"forbidden_words": [piece]}),
        "exponential_decay_length_penalty": (runs, {"exponential_decay_length_penalty": (1, 5.0)}),
        "forced_eos_token_id": (
            {"max_new_tokens": 4, "eos_token_id": [second + 200 if second < 90 else 7]},
            {"forced_eos_token_id": [9]},
        ),
        "length_penalty": (beams, {"length_penalty": -10.0}),
        "early_stopping": ({**beams, "length_penalty": 10.0}, {"early_stopping": True}),
        "beam_rule": (beams, {"beam_rule": "early_stopped"}),
        "beam_length": (
            {**beams, "beam_rule": "early_stopped", "length_penalty": 10.0},
            {"beam_length": "prompt_and_generated"},
        ),
        "diversity_penalty": (
            {**LONG, "num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.01},
            {"diversity_penalty": 100.0},
        ),
        "processors": (
            {**DRAWN, "temperature": 4.0, "top_p": 0.5},
            {"processors": ["top_p", "temperature"]},
        ),
    }


def test_every_field_acts_in_a_case_built_for_it(folder: Path, cases: dict[str, tuple[dict[str, Any], dict[str, Any]]]) -> None:
    model = opened(folder)

    def start(settings: dict[str, Any], prompt: str) -> Any:
        # Every sequence of a search, as groups of beams differ in the later ones.
        several = {"num_return_sequences": settings["num_beams"]} if settings.get("num_beams", 1) > 1 else {}
        return model.submit(model.request(prompt, **settings, **several, logprobs=None))

    def made(handle: Any) -> list[tuple[Any, ...]]:
        return [(result.generated_text, result.generated_token_ids) for result in handle.future.result()]

    # Prompts enough that a search has something to choose from; all cases of a prompt run together.
    same = list(cases)
    for prompt in (PROMPT, "The end", "Hello", "One day", "cat", "Sonic", "sea", "He", "walk", "x"):
        asked = {name: (start(cases[name][0], prompt), start({**cases[name][0], **cases[name][1]}, prompt)) for name in same}
        same = [name for name, (without, over) in asked.items() if made(without) == made(over)]
    assert same == []


def test_max_time_ends_a_completion(folder: Path) -> None:
    began = time.monotonic()
    result = opened(folder).complete(PROMPT, ignore_eos=True, max_time=0.05)
    assert result.finish_reason == "time"
    assert len(result.generated_token_ids) < 1200
    assert time.monotonic() - began < 30


def test_num_return_sequences_gives_so_many_and_one_text_refuses_it(folder: Path) -> None:
    assert len(opened(folder).completions(PROMPT, num_return_sequences=3, **DRAWN)) == 3
    with pytest.raises(ConfigError, match="num_return_sequences is 3 and generate_text gives one text"):
        generate_text(folder, prompt=PROMPT, num_return_sequences=3, **DRAWN)


def test_batch_size_and_use_cache_change_the_work_and_not_the_text(folder: Path) -> None:
    model = opened(folder)
    plain = model.completions(PROMPT, num_return_sequences=4, **DRAWN)
    before = model.engine.forward_passes
    assert [r.text for r in model.completions(PROMPT, num_return_sequences=4, **DRAWN)] == [r.text for r in plain]
    together = model.engine.forward_passes - before
    before = model.engine.forward_passes
    narrow = model.completions(PROMPT, num_return_sequences=4, batch_size=1, **DRAWN)
    assert [r.text for r in narrow] == [r.text for r in plain]
    assert model.engine.forward_passes - before > 2 * together
    computed = model.engine.computed_tokens
    cold = model.complete(PROMPT, use_cache=False, **LONG)
    assert cold.text == model.complete(PROMPT, **LONG).text
    assert model.engine.computed_tokens - computed > 24 * len(cold.prompt_token_ids)


def test_guesses_change_the_work_and_not_the_text(folder: Path) -> None:
    model, again = opened(folder), PROMPT * 3
    plain = model.complete(again, **LONG)
    before = model.engine.computed_tokens
    assert model.complete(again, prompt_lookup_num_tokens=4, **LONG).text == plain.text
    assert model.engine.computed_tokens - before >= len(plain.token_ids)


def test_bos_starts_an_empty_prompt_and_pad_is_checked_and_never_generated(folder: Path) -> None:
    model = opened(folder)
    ids = [model.request_of_ids((), (), GenerationConfig(bos_token_id=i)).prompt_ids for i in (20, 30)]
    assert ids == [(20,), (30,)]
    with pytest.raises(Exception, match="pad_token_id holds token id 100000"):
        model.complete(PROMPT, pad_token_id=100_000)
    assert model.complete(PROMPT, pad_token_id=0, **LONG).text == model.complete(PROMPT, **LONG).text


ELSEWHERE: dict[str, Callable[..., None]] = {
    "max_time": test_max_time_ends_a_completion,
    "num_return_sequences": test_num_return_sequences_gives_so_many_and_one_text_refuses_it,
    "batch_size": test_batch_size_and_use_cache_change_the_work_and_not_the_text,
    "use_cache": test_batch_size_and_use_cache_change_the_work_and_not_the_text,
    "prompt_lookup_num_tokens": test_guesses_change_the_work_and_not_the_text,
    "bos_token_id": test_bos_starts_an_empty_prompt_and_pad_is_checked_and_never_generated,
    "pad_token_id": test_bos_starts_an_empty_prompt_and_pad_is_checked_and_never_generated,
}
"""Fields that have a test of their own."""


def test_no_field_is_left_out_here(cases: dict[str, tuple[dict[str, Any], dict[str, Any]]]) -> None:
    names = {field.name for field in dataclasses.fields(GenerationConfig)}
    assert set(cases) | set(ELSEWHERE) == names
    assert [name for name, (_, over) in cases.items() if name not in over] == []


REFUSED: list[tuple[str, dict[str, Any]]] = [
    (name, {name: object()}) for name in (field.name for field in dataclasses.fields(GenerationConfig))
]


@pytest.mark.parametrize(("name", "settings"), REFUSED, ids=[name for name, _ in REFUSED])
def test_nonsense_is_refused_by_name_and_never_a_type_error(folder: Path, name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{name} is <object") as caught:
        generate_text(folder, prompt=PROMPT, **settings)
    assert caught.value.fields == (name,)
