"""The loop on a toy model."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ramify.errors import InputError
from ramify.training.checkpoints import Progress
from ramify.training.config import TrainConfig
from ramify.training.examples import Example, completion_example
from ramify.training.models import load_model, new_model, save_model
from ramify.training.objectives import Completions
from ramify.training.optimizers import learning_rate_share
from ramify.training.trainers import evaluate, train

ROWS = [completion_example([1, 4 + n % 6], [10 + n % 6, 4 + n % 6], 2) for n in range(24)]


def toy(seed: int = 0) -> Any:
    """1 layer, 8 wide, 20 tokens."""
    return new_model(
        vocab_size=20, hidden_size=8, layers=1, heads=2, kv_heads=1, intermediate_size=16, seed=seed, context_window=32
    )


def config(**fields: Any) -> TrainConfig:
    """Small steps, every one of them logged."""
    return TrainConfig(**{"tokens_per_step": 40, "warmup_steps": 2, "log_every": 1, "max_length": 32} | fields)


def losses(folder: Path) -> list[float]:
    """The losses of log.jsonl in order."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path: Path) -> None:
    whole, parted = toy(), toy()
    train(whole, ROWS, config(max_steps=12), tmp_path / "whole")

    class KilledError(Exception):
        pass

    def kill(line: dict[str, Any]) -> None:
        if line["step"] == 8:
            raise KilledError

    with pytest.raises(KilledError):  # the last checkpoint is of step 7
        train(parted, ROWS, config(max_steps=12, save_every_s=0), tmp_path / "parted", report=kill)
    resumed = toy(seed=1)  # other weights: everything must come from the checkpoint
    progress = train(resumed, ROWS, config(max_steps=12), tmp_path / "parted")
    assert progress.step == 12
    assert losses(tmp_path / "parted") == losses(tmp_path / "whole")
    assert len(losses(tmp_path / "whole")) == 12
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_the_rows_are_measured_once_and_not_at_every_step() -> None:
    class Counted(list[Example]):
        walks = 0

        def __iter__(self) -> Iterator[Example]:
            self.walks += 1
            return super().__iter__()

    objective = Completions(rows := Counted(ROWS))
    assert [objective.lengths[row] for row in range(len(ROWS))] == [len(each.token_ids) for each in ROWS]
    assert rows.walks == 1


def test_training_teaches_the_completions(tmp_path: Path) -> None:
    model = toy()
    before = evaluate(model, ROWS)
    train(model, ROWS, config(max_steps=150, log_every=50, learning_rate=0.02, matrix_learning_rate=0.02), tmp_path)
    assert before > 2.5
    assert evaluate(model, ROWS) < 0.1


def test_a_finished_run_is_not_trained_further(tmp_path: Path) -> None:
    model = toy()
    train(model, ROWS, config(max_steps=3), tmp_path)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    assert train(model, ROWS, config(max_steps=3), tmp_path).step == 3
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_the_log_tells_steps_losses_rates_and_validation(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    train(toy(), ROWS, config(max_steps=2, schedule="constant"), tmp_path, validation={"held": ROWS[:4]}, report=seen.append)
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == seen
    assert [line["step"] for line in seen] == [1, 2, 2]
    assert set(seen[0]) == {"step", "loss", "lr", "tokens_per_s", "tokens", "seconds"}
    assert [line["lr"] for line in seen[:2]] == [0.0015, 0.003]
    assert math.isclose(seen[2]["validation"]["held"], 3.0, abs_tol=0.5)


def test_the_rate_warms_up_and_falls_to_nothing_at_the_limit() -> None:
    steps = config(max_steps=10)
    assert [round(learning_rate_share(steps, Progress(step=n)), 3) for n in (0, 1, 5, 9, 10)] == [0.5, 0.9, 0.5, 0.1, 0.0]
    timed = config(max_seconds=100.0)
    assert [learning_rate_share(timed, Progress(step=9, seconds=s)) for s in (0, 25, 100)] == [1.0, 0.75, 0.0]
    level = config(max_seconds=100.0, schedule="constant")
    assert learning_rate_share(level, Progress(step=9, seconds=99)) == 1.0


def test_a_run_ends_when_its_seconds_are_over(tmp_path: Path) -> None:
    progress = train(toy(), ROWS, config(max_seconds=0.05), tmp_path)
    assert progress.seconds >= 0.05
    assert (tmp_path / "checkpoint" / "progress.json").is_file()


def test_a_saved_model_is_loaded_in_bfloat16_by_transformers(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = toy()
    save_model(model, tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.dtype == torch.bfloat16
    assert loaded.config.eos_token_id == 2
    assert loaded.lm_head.weight.data_ptr() == loaded.model.embed_tokens.weight.data_ptr()
    for name, value in model.named_parameters():
        assert torch.equal(value.bfloat16(), loaded.get_parameter(name)), name
    assert load_model(tmp_path).dtype == torch.float32


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "neither max_steps nor max_seconds nor epochs"),
        ({"max_steps": 0}, "max_steps is 0; it must be more than 0"),
        ({"max_steps": 1, "learning_rate": -1.0}, "learning_rate is -1.0; it must be more than 0"),
        ({"max_steps": 1, "schedule": "cube"}, "schedule is 'cube'; it must be constant, linear or cosine"),
    ],
)
def test_settings_that_cannot_train_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig(**fields)


def test_rows_that_cannot_be_trained_on_are_refused_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are no rows"):
        train(toy(), [], config(max_steps=1), tmp_path / "a")
    with pytest.raises(InputError, match="row 1 has token id 20, outside the vocabulary of 20"):
        train(toy(), [Example((1, 20), (1, 20))], config(max_steps=1), tmp_path / "b")
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    train(toy(), ROWS, config(max_steps=1), tmp_path)
    other = new_model(vocab_size=20, hidden_size=8, layers=2, heads=2, kv_heads=1, intermediate_size=16)
    with pytest.raises(InputError, match="is of another model"):
        train(other, ROWS, config(max_steps=2), tmp_path)


def test_the_plain_attention_equals_transformers_own() -> None:
    from ramify.training.attention import register

    model = new_model(vocab_size=20, hidden_size=16, layers=2, heads=4, kv_heads=2, intermediate_size=16)
    token_ids = torch.randint(0, 20, (3, 7), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(input_ids=token_ids).logits
        model.set_attn_implementation(register())
        assert torch.allclose(model(input_ids=token_ids).logits, expected, atol=1e-5)
