"""A killed run leaves a whole checkpoint."""

from pathlib import Path

import torch

from ramify.training.checkpoints import Progress, load_checkpoint, save_checkpoint
from ramify.training.config import TrainConfig
from ramify.training.examples import completion_example
from ramify.training.models import new_model
from ramify.training.optimizers import optimizers_for
from ramify.training.trainers import train


def toy() -> tuple[torch.nn.Module, list[torch.optim.Optimizer]]:
    """A model and its two optimizers."""
    model = new_model(vocab_size=20, hidden_size=8, layers=1, heads=2, kv_heads=1, intermediate_size=16)
    return model, optimizers_for(model, TrainConfig(max_steps=1))


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    model, optimizers = toy()
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, model, optimizers, Progress(step=1))
    save_checkpoint(folder, model, optimizers, Progress(step=2, tokens=30, learned=20, seconds=1.5))
    assert load_checkpoint(folder, *toy()) == Progress(step=2, tokens=30, learned=20, seconds=1.5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint"]


def test_a_run_killed_while_writing_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    model, optimizers = toy()
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, model, optimizers, Progress(step=1))
    half = tmp_path / "checkpoint.new"
    half.mkdir()
    (half / "progress.json").write_text("{")
    assert load_checkpoint(folder, *toy()) == Progress(step=1)
    save_checkpoint(folder, model, optimizers, Progress(step=2))
    assert load_checkpoint(folder, *toy()) == Progress(step=2)
    assert not half.exists()


def test_a_run_killed_between_the_two_renames_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    model, optimizers = toy()
    folder = tmp_path / "checkpoint"
    save_checkpoint(folder, model, optimizers, Progress(step=1))
    folder.rename(tmp_path / "checkpoint.old")
    assert load_checkpoint(folder, *toy()) == Progress(step=1)


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "none", *toy()) is None


def test_nothing_in_a_checkpoint_is_pickled(tmp_path: Path) -> None:
    model, _ = toy()
    train(model, [completion_example([1, 5], [7], 2)], TrainConfig(max_steps=1, tokens_per_step=8), tmp_path)
    names = sorted(path.name for path in (tmp_path / "checkpoint").iterdir() if path.name != "generation_config.json")
    assert names == ["config.json", "model.safetensors", "optimizer.safetensors", "progress.json"]
