"""Every setting is an option, and says of itself what GenerationConfig says of it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Run

from ramify.cli import options
from ramify.cli.main import command
from ramify.decoding.config import GenerationConfig
from ramify.decoding.presets import PRESETS
from ramify.errors import ConfigError, InputError

WRITTEN: dict[str, tuple[list[str], Any]] = {
    "max_new_tokens": (["3"], 3),
    "min_new_tokens": (["1"], 1),
    "max_length": (["9"], 9),
    "do_sample": ([], True),
    "temperature": (["0.5"], 0.5),
    "top_k": (["2"], 2),
    "top_p": (["0.9"], 0.9),
    "min_p": (["0.1"], 0.1),
    "typical_p": (["0.9"], 0.9),
    "eta_cutoff": (["1e-4"], 1e-4),
    "epsilon_cutoff": (["1e-4"], 1e-4),
    "nucleus_rule": (["exclusive"], "exclusive"),
    "seed": (["4"], 4),
    "repetition_penalty": (["1.2"], 1.2),
    "presence_penalty": (["-1"], -1.0),
    "frequency_penalty": (["0.5"], 0.5),
    "encoder_repetition_penalty": (["1.1"], 1.1),
    "no_repeat_ngram_size": (["3"], 3),
    "exponential_decay_length_penalty": (["[3, 1.1]"], (3, 1.1)),
    "bad_words_ids": (["[[1], [2, 3]]"], ((1,), (2, 3))),
    "sequence_bias": (["[[[1, 2], -0.5]]"], (((1, 2), -0.5),)),
    "logit_bias": (['{"1": 2}'], {1: 2.0}),
    "suppress_tokens": (["1,2"], (1, 2)),
    "begin_suppress_tokens": (["[1]"], (1,)),
    "forced_eos_token_id": (["3"], (3,)),
    "guidance_scale": (["1.5"], 1.5),
    "num_beams": (["4"], 4),
    "num_beam_groups": (["2"], 2),
    "diversity_penalty": (["0.5"], 0.5),
    "length_penalty": (["2"], 2.0),
    "early_stopping": (["never"], "never"),
    "beam_rule": (["early_stopped"], "early_stopped"),
    "beam_length": (["prompt_and_generated"], "prompt_and_generated"),
    "penalty_alpha": (["0.6"], 0.6),
    "num_return_sequences": (["2"], 2),
    "stop_strings": (["a, b", "c"], ("a, b", "c")),
    "include_stop_str_in_output": ([], True),
    "stop_token_ids": (["1", "2"], (1, 2)),
    "eos_token_id": (["2"], (2,)),
    "ignore_eos": ([], True),
    "max_time": (["1.5"], 1.5),
    "json_schema": (['{"type": "object"}'], '{"type": "object"}'),
    "regex": (["@?[a-c]+"], "@?[a-c]+"),
    "choices": (["yes", "no"], ("yes", "no")),
    "grammar": (['start: "a"'], 'start: "a"'),
    "required_words": (["a b"], ("a b",)),
    "forbidden_words": (["c"], ("c",)),
    "pad_token_id": (["0"], 0),
    "bos_token_id": (["1"], 1),
    "use_cache": (["no"], False),
    "batch_size": (["2"], 2),
    "prompt_lookup_num_tokens": (["4"], 4),
    "processors": (["top_p, temperature"], ("top_p", "temperature")),
}
BESIDE: dict[str, dict[str, Any]] = {
    "nucleus_rule": {"top_p": 0.9},
    "num_beam_groups": {"num_beams": 4, "diversity_penalty": 0.5},
    "diversity_penalty": {"num_beams": 4, "num_beam_groups": 2},
    "length_penalty": {"num_beams": 2},
    "early_stopping": {"num_beams": 2},
    "beam_length": {"num_beams": 2, "beam_rule": "early_stopped"},
    "penalty_alpha": {"top_k": 4},
    "include_stop_str_in_output": {"stop_strings": "a"},
    "processors": {"top_p": 0.9, "temperature": 0.5},
}
"""What a setting needs beside it in order to act."""


def test_every_setting_is_an_option_and_is_tried_here() -> None:
    names = [field.name for field in dataclasses.fields(GenerationConfig)]
    assert list(WRITTEN) == names
    for name in ("complete", "chat"):
        assert set(names) <= {param.name for param in command(name).params}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_setting_is_read_from_the_command_line(name: str, monkeypatch: pytest.MonkeyPatch, ramify: Run) -> None:
    written, expected = WRITTEN[name]
    found: list[GenerationConfig] = []
    original = options.settings_from

    def record(given: dict[str, Any], *rest: Any) -> GenerationConfig:
        found.append(original({**BESIDE.get(name, {}), **given}, *rest))
        raise InputError("read")

    monkeypatch.setattr(options, "settings_from", record)
    flag = "--" + name.replace("_", "-")
    if written in ([], ["no"]):
        arguments = [flag if not written else flag.replace("--", "--no-")]
    else:
        arguments = [part for text in written for part in (flag, text)]
    result = ramify("complete", "a", *arguments)
    assert result.stderr == "ramify: read\n"
    assert found == [GenerationConfig(**{**BESIDE.get(name, {}), name: expected})]


def test_help_says_what_the_setting_says() -> None:
    from rich.markup import render

    helps = {param.name: render(param.help).plain for param in command("complete").params if getattr(param, "help", None)}
    for row in GenerationConfig.describe():
        assert helps[row["name"]].startswith(row["help"])
        if WRITTEN[row["name"]][0] not in ([], ["no"]):
            assert row["allowed"] in helps[row["name"]]


def test_json_and_grammars_can_be_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "given"
    file.write_text('{"1": 2}', "utf-8")
    assert options.one_setting("logit_bias", f"@{file}") == {"1": 2}
    assert options.one_setting("json_schema", f"@{file}") == '{"1": 2}'
    assert options.one_setting("grammar", f"@{file}") == '{"1": 2}'
    with pytest.raises(InputError, match="cannot be read"):
        options.one_setting("json_schema", "@nowhere.json")


def test_options_lie_over_a_preset_and_a_preset_over_the_models_defaults() -> None:
    defaults = {"temperature": 0.7, "top_p": 0.8, "repetition_penalty": 1.1}
    config = options.settings_from({"temperature": 0.2}, "more_coherent", defaults)
    assert config == GenerationConfig(**{**defaults, **PRESETS["more_coherent"].fields, "temperature": 0.2})


def test_a_model_that_does_not_sample_does_not_keep_an_option_from_sampling() -> None:
    assert options.settings_from({}, None, {"do_sample": False}) == GenerationConfig(do_sample=False)
    assert options.settings_from({"top_k": 3}, None, {"do_sample": False}) == GenerationConfig(top_k=3)
    with pytest.raises(ConfigError, match="do_sample is False"):
        options.settings_from({"top_k": 3, "do_sample": False}, None, {"do_sample": False})


def test_every_preset_is_a_choice() -> None:
    for name, preset in PRESETS.items():
        assert options.settings_from({}, name) == GenerationConfig(**preset.fields)
        assert json.dumps(preset.fields)
