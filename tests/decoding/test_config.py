import contextlib
import copy
import dataclasses
import json
import math
import pickle
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramify.decoding.config import FILTERS, ORDER, GenerationConfig
from ramify.decoding.presets import PRESETS
from ramify.errors import ConfigError

NAMES = [field.name for field in dataclasses.fields(GenerationConfig)]


def refusal(**fields: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        GenerationConfig(**fields)
    return caught.value


SPECIFIED = """
max_new_tokens min_new_tokens max_length do_sample temperature top_k top_p min_p typical_p eta_cutoff epsilon_cutoff
repetition_penalty presence_penalty frequency_penalty encoder_repetition_penalty no_repeat_ngram_size
exponential_decay_length_penalty num_beams num_beam_groups diversity_penalty length_penalty early_stopping
num_return_sequences stop_strings stop_token_ids include_stop_str_in_output ignore_eos eos_token_id pad_token_id
bos_token_id bad_words_ids sequence_bias logit_bias suppress_tokens begin_suppress_tokens forced_eos_token_id max_time
seed guidance_scale penalty_alpha use_cache batch_size json_schema regex choices grammar required_words forbidden_words
nucleus_rule beam_rule beam_length processors
prompt_lookup_num_tokens
"""


def test_the_fields_are_those_of_the_specification() -> None:
    assert set(NAMES) == set(SPECIFIED.split())


DOCUMENT_003: list[dict[str, Any]] = [
    {
        "max_new_tokens": 100,
        "min_new_tokens": 10,
        "max_length": 1024,
        "temperature": 0.8,
        "top_k": 50,
        "top_p": 0.9,
        "repetition_penalty": 1.1,
        "pad_token_id": 0,
        "eos_token_id": 2,
        "bos_token_id": 1,
        "do_sample": True,
        "num_beams": 1,
        "early_stopping": True,
    },
    {
        "typical_p": 0.95,
        "eta_cutoff": 1e-4,
        "epsilon_cutoff": 1e-4,
        "repetition_penalty": 1.1,
        "no_repeat_ngram_size": 3,
        "encoder_repetition_penalty": 1.0,
        "length_penalty": 1.0,
        "exponential_decay_length_penalty": None,
        "num_beam_groups": 1,
        "diversity_penalty": 0.0,
        "max_time": None,
        "stop_strings": ["</s>", "\n\n"],
    },
    {"do_sample": False, "temperature": 1.0, "top_k": None, "top_p": None},
    {"temperature": 0.3, "do_sample": True},
    {"do_sample": True, "temperature": 0.8, "top_k": 40, "top_p": None},
    {"do_sample": True, "temperature": 0.8, "top_k": None, "top_p": 0.9},
    {"temperature": 0.9, "top_k": 100, "top_p": 0.95},
    {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "temperature": 0.9, "top_p": 0.9},
    {"temperature": 0.6, "top_k": 40, "top_p": 0.8, "max_new_tokens": 100},
    {"max_new_tokens": 50, "do_sample": False, "use_cache": True, "batch_size": 1},
]


@pytest.mark.parametrize("fields", DOCUMENT_003)
def test_every_config_of_document_003_is_accepted(fields: dict[str, Any]) -> None:
    assert GenerationConfig(**fields).strategy == ("greedy" if fields.get("do_sample") is False else "sampling")


NEUTRAL: list[dict[str, Any]] = [
    {"temperature": None, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0, "eta_cutoff": 0, "epsilon_cutoff": 0},
    {"num_beams": 1, "early_stopping": True},
    {"num_beams": 1, "length_penalty": 1.0, "num_beam_groups": 1, "diversity_penalty": 0.0, "beam_rule": "standard"},
    {"do_sample": False, "temperature": 1.0, "top_k": 0, "top_p": 1.0},
    {"temperature": 0, "top_p": 1.0, "top_k": None},
    {"temperature": 0, "seed": 7},
    {"penalty_alpha": 0.0},
    {"repetition_penalty": 1, "presence_penalty": 0, "frequency_penalty": 0, "guidance_scale": 1},
    dict.fromkeys(NAMES),
]


@pytest.mark.parametrize("fields", NEUTRAL)
def test_neutral_values_change_nothing(fields: dict[str, Any]) -> None:
    config = GenerationConfig(**fields)
    assert (config.strategy, config.order) == ("greedy", ())


REFUSED_VALUES: dict[str, list[Any]] = {
    "temperature": [-1, -0.2, math.nan, math.inf, "0.7", True, [1], 10**400],
    "top_k": [-1, 1.5, True, "5"],
    "top_p": [0, -0.1, 1.1, math.nan, "0.9"],
    "min_p": [-0.1, 1.1],
    "typical_p": [0, 1.1],
    "eta_cutoff": [-0.1, 1],
    "epsilon_cutoff": [-0.1, 1],
    "max_new_tokens": [0, -5, 2.0, True],
    "min_new_tokens": [-1, "3"],
    "max_length": [0],
    "do_sample": [1, "yes"],
    "repetition_penalty": [0, -1, math.inf],
    "encoder_repetition_penalty": [0],
    "presence_penalty": [-2.1, 2.1],
    "frequency_penalty": [-2.1, 2.1],
    "no_repeat_ngram_size": [-1],
    "exponential_decay_length_penalty": [(1,), (1.5, 2.0), (-1, 2.0), (1, 0), 3],
    "bad_words_ids": [[], [[]], [3], [[-1]], [["a"]], "ab"],
    "sequence_bias": [{}, {(1,): "x"}, {(): 1.0}, [[[1], math.inf]], [[[1], 1.0], [[1], 2.0]]],
    "logit_bias": [{}, {1: 101}, {-1: 1}, {"x": 1}, {True: 1}, [1]],
    "suppress_tokens": [[], [-1], 3, "3"],
    "begin_suppress_tokens": [[], [-1]],
    "forced_eos_token_id": [-1, [], True, "2"],
    "eos_token_id": [-1, [], [1.0]],
    "guidance_scale": [-1, math.nan],
    "num_beams": [0, 1.0],
    "num_beam_groups": [0],
    "diversity_penalty": [-1],
    "length_penalty": [math.nan, math.inf, 1000],
    "early_stopping": ["always", 1, 0],
    "beam_rule": ["fast"],
    "beam_length": ["all"],
    "nucleus_rule": ["both", True],
    "penalty_alpha": [-0.1, 1.1],
    "num_return_sequences": [0],
    "stop_strings": ["", [], ["a", ""], [1]],
    "stop_token_ids": [[], 3],
    "include_stop_str_in_output": [1],
    "ignore_eos": ["no"],
    "max_time": [0, -1, math.inf],
    "json_schema": ["{", "[]", 3, {"a": {1, 2}}, {"a": math.nan}],
    "regex": ["", 3],
    "choices": [[], "yes", [""], [1]],
    "grammar": [""],
    "required_words": [[], [""], ""],
    "forbidden_words": [[], [""]],
    "pad_token_id": [-1],
    "bos_token_id": [[1]],
    "use_cache": [0],
    "prompt_lookup_num_tokens": [0, 2.5],
    "batch_size": [0],
    "seed": [-1, 2**63, 1.5],
    "processors": ["top_k", [1]],
}
OUT_OF_RANGE = [(name, value) for name, values in REFUSED_VALUES.items() for value in values]


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_refused_with_what_was_given_and_what_is_allowed(name: str, value: Any) -> None:
    error = refusal(**{name: value})
    allowed = next(row["allowed"] for row in GenerationConfig.describe() if row["name"] == name)
    assert error.fields == (name,)
    assert str(error).startswith(f"{name} is ")
    assert allowed in str(error)


def test_every_field_has_a_refused_value_in_the_table() -> None:
    assert set(REFUSED_VALUES) == set(NAMES)


CONTRADICTIONS: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"min_new_tokens": 5, "max_new_tokens": 4}, ("min_new_tokens", "max_new_tokens")),
    ({"min_new_tokens": 5, "max_length": 5}, ("min_new_tokens", "max_length")),
    ({"do_sample": True, "temperature": 0}, ("do_sample", "temperature")),
    ({"temperature": 0, "top_k": 5}, ("temperature", "top_k")),
    ({"temperature": 0, "top_p": 0.9, "min_p": 0.1}, ("temperature", "top_p", "min_p")),
    ({"do_sample": False, "temperature": 0.7}, ("do_sample", "temperature")),
    *[({"do_sample": False, name: 3 if name == "top_k" else 0.5}, ("do_sample", name)) for name in FILTERS],
    ({"nucleus_rule": "exclusive"}, ("nucleus_rule", "top_p")),
    ({"nucleus_rule": "exclusive", "top_p": 1.0}, ("nucleus_rule", "top_p")),
    ({"penalty_alpha": 0.6}, ("penalty_alpha", "top_k")),
    ({"penalty_alpha": 0.6, "top_k": 1}, ("penalty_alpha", "top_k")),
    ({"penalty_alpha": 0.6, "top_k": 4, "do_sample": True}, ("penalty_alpha", "do_sample")),
    ({"penalty_alpha": 0.6, "top_k": 4, "temperature": 0.7}, ("penalty_alpha", "temperature")),
    ({"penalty_alpha": 0.6, "top_k": 4, "top_p": 0.9}, ("penalty_alpha", "top_p")),
    ({"penalty_alpha": 0.6, "top_k": 4, "num_return_sequences": 2}, ("penalty_alpha", "num_return_sequences")),
    ({"penalty_alpha": 0.6, "top_k": 4, "num_beams": 2}, ("penalty_alpha", "num_beams", "beam_rule")),
    ({"length_penalty": 2.0}, ("length_penalty", "num_beams")),
    ({"early_stopping": "never"}, ("early_stopping", "num_beams")),
    ({"num_beams": 2, "num_return_sequences": 3}, ("num_return_sequences", "num_beams")),
    ({"diversity_penalty": 0.5, "num_beams": 2}, ("diversity_penalty", "num_beam_groups")),
    ({"num_beams": 4, "num_beam_groups": 3, "diversity_penalty": 0.5}, ("num_beam_groups", "num_beams")),
    ({"num_beams": 4, "num_beam_groups": 2}, ("num_beam_groups", "diversity_penalty")),
    (
        {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5, "do_sample": True},
        ("num_beam_groups", "do_sample", "temperature"),
    ),
    (
        {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5, "required_words": ["a"]},
        ("num_beam_groups", "required_words"),
    ),
    ({"num_beams": 2, "required_words": ["a"], "top_k": 5}, ("required_words", "num_beams", "do_sample", "temperature")),
    ({"num_beams": 2, "beam_length": "prompt_and_generated"}, ("beam_length", "beam_rule")),
    ({"beam_rule": "early_stopped", "num_beams": 2, "early_stopping": "never"}, ("beam_rule", "early_stopping")),
    ({"beam_rule": "early_stopped", "num_beams": 2, "temperature": 0.5}, ("beam_rule", "do_sample", "temperature")),
    (
        {"beam_rule": "early_stopped", "num_beams": 2, "num_beam_groups": 2, "diversity_penalty": 1.0},
        ("beam_rule", "num_beam_groups"),
    ),
    ({"beam_rule": "early_stopped", "num_beams": 2, "required_words": ["a"]}, ("beam_rule", "required_words")),
    ({"beam_rule": "early_stopped", "num_return_sequences": 2}, ("num_return_sequences", "num_beams")),
    ({"beam_rule": "early_stopped", "beam_length": "prompt_and_generated"}, ("beam_length", "num_beams")),
    ({"include_stop_str_in_output": True}, ("include_stop_str_in_output", "stop_strings")),
    ({"ignore_eos": True, "eos_token_id": 2}, ("ignore_eos", "eos_token_id")),
    ({"ignore_eos": True, "min_new_tokens": 2}, ("ignore_eos", "min_new_tokens")),
    (
        {"ignore_eos": True, "exponential_decay_length_penalty": (2, 1.1)},
        ("ignore_eos", "exponential_decay_length_penalty"),
    ),
    ({"bad_words_ids": [[5], [2]], "eos_token_id": [2, 3]}, ("bad_words_ids", "eos_token_id")),
    ({"json_schema": {}, "regex": "a"}, ("json_schema", "regex")),
    ({"choices": ["a"], "grammar": 'start: "a"', "regex": "a"}, ("regex", "choices", "grammar")),
    ({"regex": "a", "forced_eos_token_id": 2}, ("regex", "forced_eos_token_id")),
    ({"required_words": ["a"], "forced_eos_token_id": 2}, ("required_words", "forced_eos_token_id")),
    ({"json_schema": {}, "ignore_eos": True}, ("json_schema", "ignore_eos")),
    ({"required_words": ["a"], "stop_strings": ["b"]}, ("required_words", "stop_strings")),
    ({"required_words": ["a"], "stop_token_ids": [5]}, ("required_words", "stop_token_ids")),
]


@pytest.mark.parametrize(("fields", "named"), CONTRADICTIONS)
def test_a_contradiction_is_refused_naming_its_fields(fields: dict[str, Any], named: tuple[str, ...]) -> None:
    error = refusal(**fields)
    assert error.fields == named
    assert any(name in str(error) for name in named)
    assert all(name in str(error) for name in named if name in fields)


def test_an_unknown_setting_is_refused_with_the_nearest_known_one() -> None:
    error = refusal(temprature=0.7)
    assert str(error) == "temprature=0.7 is not a setting; did you mean temperature?"
    assert error.fields == ("temprature",)
    with pytest.raises(ConfigError, match="did you mean top_k"):
        GenerationConfig.from_dict({"topk": 5})
    with pytest.raises(ConfigError, match="did you mean top_k"):
        GenerationConfig().replace(topk=5)
    assert "the settings are max_new_tokens" in str(refusal(xyzzy=1))


@pytest.mark.parametrize("given", [{1: 2}, [("top_k", 5)], "top_k", None])
def test_settings_that_are_no_object_of_names_are_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match="must be an object of names and values"):
        GenerationConfig.from_dict(given)


def test_settings_are_given_by_name() -> None:
    with pytest.raises(ConfigError, match=r"0\.7 has none"):
        GenerationConfig(*[0.7])


STRATEGIES: list[tuple[dict[str, Any], str]] = [
    ({}, "greedy"),
    ({"temperature": 0}, "greedy"),
    ({"temperature": 0, "do_sample": False}, "greedy"),
    ({"temperature": 1.0}, "sampling"),
    ({"top_k": 3}, "sampling"),
    ({"min_p": 0.1}, "sampling"),
    ({"do_sample": True}, "sampling"),
    ({"penalty_alpha": 0.6, "top_k": 4}, "contrastive"),
    ({"penalty_alpha": 0.6, "top_k": 4, "temperature": 1.0, "do_sample": False}, "contrastive"),
    ({"num_beams": 4}, "beam"),
    ({"num_beams": 4, "temperature": 0}, "beam"),
    ({"num_beams": 4, "do_sample": True}, "beam_sampling"),
    ({"num_beams": 4, "top_p": 0.5}, "beam_sampling"),
    ({"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5}, "diverse_beam"),
    ({"num_beams": 4, "required_words": ["a"]}, "forced_beam"),
    ({"num_beams": 4, "beam_rule": "early_stopped"}, "beam"),
    ({"beam_rule": "early_stopped"}, "beam"),
    ({"required_words": ["a"]}, "greedy"),
]


@pytest.mark.parametrize(("fields", "strategy"), STRATEGIES)
def test_the_strategy_follows_from_the_settings(fields: dict[str, Any], strategy: str) -> None:
    config = GenerationConfig(**fields)
    assert config.strategy == strategy
    assert config.samples == (strategy in ("sampling", "beam_sampling"))


def test_the_order_is_transformers_order_and_can_be_changed() -> None:
    fields: dict[str, Any] = {"top_p": 0.9, "temperature": 0.7, "repetition_penalty": 1.1, "regex": "a+", "min_p": 0.1}
    assert GenerationConfig(**fields).order == ("repetition_penalty", "constraint", "temperature", "top_p", "min_p")
    mine = ("min_p", "temperature", "top_p", "repetition_penalty", "constraint")
    assert GenerationConfig(**fields, processors=mine).order == mine
    error = refusal(**fields, processors=("min_p", "temperature", "top_k", "constraint"))
    assert "it names top_k, which does not act here" in str(error)
    assert "it leaves out repetition_penalty, top_p" in str(error)
    assert error.fields == ("processors",)


def test_the_default_order_of_all_that_can_act_together() -> None:
    fields: dict[str, Any] = {
        **dict.fromkeys(FILTERS, 0.5), "top_k": 5, "temperature": 0.7, "suppress_tokens": [1], "begin_suppress_tokens": [1],
        "exponential_decay_length_penalty": (1, 1.1), "forbidden_words": ["x"], "forced_eos_token_id": 2,
        "min_new_tokens": 1, "bad_words_ids": [[1]], "no_repeat_ngram_size": 2, "frequency_penalty": 1,
        "presence_penalty": 1, "repetition_penalty": 2, "encoder_repetition_penalty": 2, "logit_bias": {1: 1},
        "sequence_bias": {(1,): 1.0},
    }  # fmt: skip
    assert GenerationConfig(**fields).order == (
        *("sequence_bias", "logit_bias", "encoder_repetition_penalty", "repetition_penalty", "presence_penalty"),
        *("frequency_penalty", "no_repeat_ngram_size", "bad_words_ids", "min_new_tokens", "constraint"),
        *("forced_eos_token_id", "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens"),
        *("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"),
    )


def test_every_processor_is_a_setting_or_the_constraint() -> None:
    assert set(ORDER) - set(NAMES) == {"constraint"}


def test_required_words_in_beams_are_no_mask_but_forbidden_ones_are() -> None:
    assert GenerationConfig(num_beams=2, required_words=("a",)).constrained is False
    assert GenerationConfig(num_beams=2, required_words=("a",), forbidden_words=("b",)).constrained is True


@pytest.mark.parametrize(
    ("fields", "prompt", "window", "budget"),
    [
        ({}, 10, None, None),
        ({}, 10, 64, 54),
        ({"max_new_tokens": 20}, 10, 64, 20),
        ({"max_new_tokens": 20}, 50, 64, 14),
        ({"max_new_tokens": 20, "max_length": 25}, 10, 64, 15),
        ({"max_new_tokens": 5, "max_length": 25}, 10, 64, 5),
        ({"max_length": 25}, 30, 64, 0),
    ],
)
def test_the_tightest_length_binds(fields: dict[str, Any], prompt: int, window: int | None, budget: int | None) -> None:
    assert GenerationConfig(**fields).budget(prompt, window) == budget


ROUND_TRIPS: list[dict[str, Any]] = [
    *DOCUMENT_003,
    {"sequence_bias": {(1, 2): -math.inf, (3,): 2.0}, "logit_bias": {"5": 1, 7: -100.0}},
    {"bad_words_ids": [[1, 2]], "json_schema": {"type": "object"}, "eos_token_id": 3},
    {"json_schema": '{"type": "string"}'},
    {"json_schema": True},
    {"early_stopping": "never", "num_beams": 3},
    {"early_stopping": True},
    {"top_k": 3, "top_p": 0.5, "processors": ["top_p", "top_k"]},
]


@pytest.mark.parametrize("fields", ROUND_TRIPS)
def test_a_config_survives_json_pickle_and_copy(fields: dict[str, Any]) -> None:
    config = GenerationConfig(**fields)
    again = GenerationConfig.from_dict(json.loads(json.dumps(config.to_dict(), allow_nan=False)))
    assert again == config
    assert hash(again) == hash(config)
    assert pickle.loads(pickle.dumps(config)) == config
    assert copy.deepcopy(config) == config


def test_to_dict_holds_only_what_differs() -> None:
    assert GenerationConfig.from_dict({"top_p": 0.9, "num_beams": 1, "stop_strings": "\n"}).to_dict() == {
        "top_p": 0.9,
        "stop_strings": ["\n"],
    }


def test_replace_lays_settings_over_and_none_unsets() -> None:
    config = GenerationConfig(temperature=0.7, top_k=5)
    assert config.replace(top_k=None, top_p=0.5) == GenerationConfig(temperature=0.7, top_p=0.5)
    with pytest.raises(ConfigError):
        config.replace(temperature=0)


def test_what_was_given_is_copied() -> None:
    schema = {"type": "object", "properties": {}}
    config = GenerationConfig(json_schema=schema)
    schema["properties"] = {"a": 1}
    assert config.json_schema == {"type": "object", "properties": {}}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_a_config(name: str) -> None:
    assert GenerationConfig.preset(name) == GenerationConfig(**PRESETS[name].fields)


def test_the_bands_and_an_unknown_preset() -> None:
    assert [GenerationConfig.preset(name).temperature for name in ("conservative", "balanced", "creative")] == [0.3, 0.8, 1.5]
    with pytest.raises(ConfigError, match="choose one of conservative, balanced, creative"):
        GenerationConfig.preset("wild")


def test_describe_has_a_line_of_help_and_a_range_for_every_field() -> None:
    rows = GenerationConfig.describe()
    assert [row["name"] for row in rows] == NAMES
    assert all(row["help"].endswith(".") and row["allowed"] and row["type"] for row in rows)


def test_importing_the_config_loads_nothing_heavy() -> None:
    code = (
        "import sys, ramify.decoding.config; "
        "print([name for name in ('torch', 'numpy', 'transformers', 'llguidance') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


anything = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 9), st.floats(), st.text(max_size=3), st.lists(st.integers(-1, 5), max_size=3)
)


@given(st.dictionaries(st.sampled_from(NAMES), anything, max_size=4))
def test_a_config_is_made_or_refused_with_config_error(fields: dict[str, Any]) -> None:
    with contextlib.suppress(ConfigError):
        config = GenerationConfig(**fields)
        assert GenerationConfig.from_dict(config.to_dict()).to_dict() == config.to_dict()
