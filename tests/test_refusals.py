"""What cannot be honoured is refused: the same clear sentence in Python and on the command line, and nothing half-done."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import models_made_here
import ramify
from ramify.errors import ConfigError, ConstraintError, InputError, ModelNotFoundError, PromptTooLongError, UnsafeModelError

SETTINGS: list[tuple[dict[str, Any], type[InputError], tuple[str, ...]]] = [
    # what was given, the error, what its message says
    ({"max_tokens": 5}, ConfigError, ("max_tokens", "max_new_tokens")),
    ({"temperature": -1}, ConfigError, ("temperature is -1", ">= 0")),
    ({"temperature": float("nan")}, ConfigError, ("temperature",)),
    ({"top_p": 1.5}, ConfigError, ("top_p is 1.5", "<= 1")),
    ({"top_k": -1}, ConfigError, ("top_k is -1",)),
    ({"max_new_tokens": 0}, ConfigError, ("max_new_tokens is 0", ">= 1")),
    ({"max_new_tokens": True}, ConfigError, ("max_new_tokens is True",)),
    ({"min_new_tokens": 9, "max_new_tokens": 3}, ConfigError, ("min_new_tokens", "max_new_tokens")),
    ({"do_sample": False, "temperature": 0.7}, ConfigError, ("do_sample", "temperature")),
    ({"do_sample": True, "temperature": 0}, ConfigError, ("do_sample", "temperature")),
    ({"temperature": 0, "top_p": 0.9}, ConfigError, ("temperature", "top_p")),
    ({"num_beams": 4, "num_beam_groups": 3}, ConfigError, ("num_beam_groups", "num_beams")),
    ({"num_beam_groups": 2}, ConfigError, ("num_beam_groups", "num_beams")),
    ({"diversity_penalty": 1.0}, ConfigError, ("diversity_penalty",)),
    ({"length_penalty": 2.0}, ConfigError, ("length_penalty", "num_beams")),
    ({"num_return_sequences": 5, "num_beams": 2}, ConfigError, ("num_return_sequences", "num_beams")),
    ({"penalty_alpha": 0.6}, ConfigError, ("penalty_alpha", "top_k")),
    ({"nucleus_rule": "exclusive"}, ConfigError, ("nucleus_rule", "top_p")),
    ({"guidance_scale": 2.0, "num_beams": 2}, ConfigError, ("guidance_scale", "num_beams")),
    ({"guidance_scale": 2.0, "penalty_alpha": 0.6, "top_k": 4}, ConfigError, ("guidance_scale", "penalty_alpha")),
    ({"regex": "a+", "choices": ["a", "b"]}, ConfigError, ("regex", "choices")),
    ({"processors": ["top_k"]}, ConfigError, ("processors",)),
    ({"suppress_tokens": [10**9]}, ConfigError, ("suppress_tokens", "1000000000")),
    ({"suppress_tokens": list(range(300))}, ConfigError, ("suppress_tokens", "300")),
    ({"begin_suppress_tokens": list(range(300))}, ConfigError, ("begin_suppress_tokens", "300")),
    ({"json_schema": {"type": "text"}}, ConstraintError, ("text",)),
    ({"json_schema": {"uniqueItems": True, "type": "array"}}, ConstraintError, ("uniqueItems",)),
    ({"regex": "("}, ConstraintError, ("regex",)),
    ({"grammar": 'start: "a" start'}, ConstraintError, ("grammar",)),
    ({"grammar": "start: missing"}, ConstraintError, ("missing",)),
    ({"required_words": ["a very long phrase that needs many tokens"], "max_new_tokens": 2}, ConstraintError, ("2",)),
    ({"required_words": ["cat"], "forbidden_words": ["CA"]}, InputError, ("cat",)),
]


@pytest.mark.parametrize(("settings", "error", "says"), SETTINGS, ids=lambda v: str(v)[:60] if isinstance(v, dict) else "")
def test_settings_that_cannot_be_honoured_are_refused(
    load: Callable[[str], Any], settings: dict[str, Any], error: type[InputError], says: tuple[str, ...]
) -> None:
    model = load("llama")
    with pytest.raises(error) as caught:
        model.complete([5, 6, 7], **settings)
    assert all(part in str(caught.value) for part in says), str(caught.value)
    assert model.complete([5, 6, 7], max_new_tokens=1, ignore_eos=True).finish_reason == "length"


def test_an_overlong_prompt_is_refused_with_both_numbers(load: Callable[[str], Any]) -> None:
    model = load("llama")
    with pytest.raises(PromptTooLongError, match=r"1300 tokens.* 1280"):
        model.complete([5] * 1300)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A small model's folder that may be spoilt."""
    import shutil

    return Path(shutil.copytree(models_made_here.folder("llama"), tmp_path / "model"))


class _Runs:
    """Unpickling it would create a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> Any:
        return (Path.touch, (self.proof,))


def test_pickled_weights_are_refused_unread(copied: Path, tmp_path: Path) -> None:
    (copied / "model.safetensors").unlink()
    proof = tmp_path / "executed"
    (copied / "pytorch_model.bin").write_bytes(pickle.dumps(_Runs(proof)))
    with pytest.raises(UnsafeModelError, match=r"pytorch_model\.bin.*allow_pickle"):
        ramify.load(str(copied))
    assert not proof.exists()


def test_remote_code_is_refused_unread(copied: Path, tmp_path: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "evil.Model"}
    (copied / "config.json").write_text(json.dumps(config))
    proof = tmp_path / "executed"
    (copied / "evil.py").write_text(f"from pathlib import Path\nPath({str(proof)!r}).touch()\n")
    with pytest.raises(UnsafeModelError, match="trust_remote_code"):
        ramify.load(str(copied))
    assert not proof.exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [("no-such-model", "no-such-model"), ("./no/such/folder", "no/such/folder"), ("", "name")],
)
def test_a_model_that_is_not_there_is_named(name: str, says: str) -> None:
    with pytest.raises((ModelNotFoundError, InputError)) as caught:
        ramify.load(name)
    assert says in str(caught.value)


def test_a_bare_checkpoint_names_the_conversion(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"\x80\x04.")
    with pytest.raises(InputError, match="convert"):
        ramify.load(str(tmp_path / "model.pt"))


def test_precision_and_device_are_checked(load: Callable[[str], Any]) -> None:
    where = str(models_made_here.folder("llama"))
    with pytest.raises(InputError, match=r"int3.*float32"):
        ramify.load(where, precision="int3")
    with pytest.raises(InputError, match=r"toaster.*cpu"):
        ramify.load(where, device="toaster")
