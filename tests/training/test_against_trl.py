"""The same rows, order and AdamW give the losses of TRL's own trainers, step for step."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from ramify.training.config import TrainConfig
from ramify.training.examples import completion_example
from ramify.training.gathering import TrainingRow, from_file
from ramify.training.loop import run
from ramify.training.models import LoraConfig, add_adapter, new_model
from ramify.training.objectives import Completions, Labels, Objective, Pairs, PreferenceConfig
from ramify.training.reader import Reader
from ramify.training.spelling import Spelling

pytest.importorskip("trl")

STEPS, ROWS = 6, 3
WORDS = ("red", "blue", "green", "big", "small", "old", "new", "round", "flat")
PAIRS = [
    {"prompt": f"Say {word}\n" * (1 + n % 3), "chosen": f"The {word} one.", "rejected": f"No {word} and no {WORDS[n % 8]}"}
    for n, word in enumerate(WORDS * 2)
]
LABELS = [
    {"prompt": pair["prompt"], "completion": pair["chosen" if n % 3 else "rejected"], "label": bool(n % 3)}
    for n, pair in enumerate(PAIRS)
]
RATE = {"learning_rate": 5e-3, "weight_decay": 0.01, "betas": (0.9, 0.999), "eps": 1e-8}
CONFIG = TrainConfig(
    max_steps=STEPS, batch_size=ROWS, shuffle=False, optimizer="adamw", warmup_steps=0, log_every=1, clip_norm=1.0, **RATE
)


@pytest.fixture(scope="module")
def tiny() -> Spelling:
    return Spelling.of("tiny")


def toy(seed: int = 0) -> Any:
    return new_model(vocab_size=4096, hidden_size=16, layers=2, heads=2, kv_heads=1, intermediate_size=32, seed=seed)


def ours(model: Any, objective: Objective, folder: Path, config: TrainConfig = CONFIG, *, packing: bool = False) -> list[float]:
    seen: list[dict[str, Any]] = []
    run(Reader(model, packing=packing), objective, config, folder, report=seen.append)
    return [line["loss"] for line in seen]


def settings(kind: Any, folder: Path, **fields: Any) -> Any:
    return kind(
        output_dir=str(folder), per_device_train_batch_size=ROWS, max_steps=STEPS, learning_rate=RATE["learning_rate"],
        weight_decay=RATE["weight_decay"], lr_scheduler_type="linear", warmup_steps=0, logging_steps=1, save_strategy="no",
        train_sampling_strategy="sequential", use_cpu=True, bf16=False, report_to=[], disable_tqdm=True, seed=0,
        gradient_checkpointing=False, **fields,
    )  # fmt: skip


def theirs(trainer: Any) -> list[float]:
    trainer.train()
    return [line["loss"] for line in trainer.state.log_history if "loss" in line]


def rows_of(folder: Path, kind: str, rows: list[dict[str, Any]], tiny: Spelling) -> list[TrainingRow]:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return from_file(folder / "rows.jsonl", kind, tiny).rows


def agree(mine: list[float], its: list[float]) -> None:
    assert len(mine) == len(its) == STEPS
    assert mine == pytest.approx(its, abs=1e-3)
    assert abs(mine[-1] - mine[0]) > 1e-2  # something was learned, so more than the first loss was compared


@pytest.mark.parametrize("lora", [False, True])
def test_sft(tmp_path: Path, tiny: Spelling, lora: bool) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    rows = [completion_example(tiny.prompt(pair["prompt"]), tiny.text(pair["chosen"]), 2) for pair in PAIRS]
    mine, its = toy(), toy()
    if lora:
        mine, its = (add_adapter(model, LoraConfig(rank=4, alpha=8.0), seed=3) for model in (mine, its))
    data = Dataset.from_list([{"input_ids": list(row.token_ids), "labels": list(row.labels)} for row in rows])
    args = settings(SFTConfig, tmp_path / "trl", completion_only_loss=False)
    trainer = SFTTrainer(its, args, train_dataset=data, processing_class=tiny.codec.huggingface)
    agree(ours(mine, Completions(rows), tmp_path / "ours"), theirs(trainer))
    packed = ours(add_adapter(toy(), LoraConfig(rank=4, alpha=8.0), seed=3) if lora else toy(),
                  Completions(rows, packing=True), tmp_path / "packed", packing=True)  # fmt: skip
    assert packed == pytest.approx([json.loads(line)["loss"] for line in (tmp_path / "ours/log.jsonl").open()], abs=1e-4)


@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_dpo(tmp_path: Path, tiny: Spelling, loss: Any) -> None:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    model = toy()
    args = settings(DPOConfig, tmp_path / "trl", beta=0.3, loss_type=loss, max_length=None)
    trainer = DPOTrainer(
        copy.deepcopy(model), copy.deepcopy(model), args, train_dataset=Dataset.from_list(PAIRS),
        processing_class=tiny.codec.huggingface,
    )  # fmt: skip
    rows = rows_of(tmp_path, "dpo", PAIRS, tiny)
    first = trainer.train_dataset[0]
    assert rows[0].rejected is not None
    assert list(rows[0].chosen.token_ids) == first["prompt_ids"] + first["chosen_ids"]
    assert list(rows[0].rejected.token_ids) == first["prompt_ids"] + first["rejected_ids"]
    agree(ours(model, Pairs(rows, PreferenceConfig(beta=0.3, loss=loss)), tmp_path / "ours"), theirs(trainer))


@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_dpo_without_a_reference_is_cpo(tmp_path: Path, tiny: Spelling, loss: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    from datasets import Dataset
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    model = toy()
    args = settings(CPOConfig, tmp_path / "trl", beta=0.3, loss_type=loss, cpo_alpha=0.0, max_length=512)
    trainer = CPOTrainer(
        copy.deepcopy(model), args, train_dataset=Dataset.from_list(PAIRS), processing_class=tiny.codec.huggingface
    )
    rows = rows_of(tmp_path, "dpo", PAIRS, tiny)
    first = trainer.train_dataset[0]
    assert rows[0].rejected is not None
    assert list(rows[0].chosen.token_ids) == first["chosen_input_ids"]
    assert list(rows[0].rejected.token_ids) == first["rejected_input_ids"]
    config = PreferenceConfig(beta=0.3, loss=loss, reference=False)
    agree(ours(model, Pairs(rows, config), tmp_path / "ours"), theirs(trainer))


def test_kto(tmp_path: Path, tiny: Spelling) -> None:
    from datasets import Dataset
    from trl import KTOConfig, KTOTrainer

    model = toy()
    args = settings(KTOConfig, tmp_path / "trl", beta=0.3, desirable_weight=1.2, undesirable_weight=0.8, max_length=None)
    trainer = KTOTrainer(
        copy.deepcopy(model), copy.deepcopy(model), args, train_dataset=Dataset.from_list(LABELS),
        processing_class=tiny.codec.huggingface,
    )  # fmt: skip
    rows = rows_of(tmp_path, "kto", LABELS, tiny)
    first = trainer.train_dataset[0]
    assert list(rows[0].chosen.token_ids) == first["prompt_ids"] + first["completion_ids"]
    config = PreferenceConfig(beta=0.3, desirable_weight=1.2, undesirable_weight=0.8)
    agree(ours(model, Labels(rows, config), tmp_path / "ours"), theirs(trainer))
