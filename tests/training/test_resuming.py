"""Killed at any step and resumed: the same losses and the same weights; and what no run goes on from."""

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from ramify.errors import CancelledError, InputError, UnsafeModelError
from ramify.training.checkpoints import load_checkpoint
from ramify.training.config import TrainConfig
from ramify.training.curves import read_log
from ramify.training.examples import completion_example
from ramify.training.gathering import TrainingRow
from ramify.training.keeping import Keeping
from ramify.training.loop import run
from ramify.training.models import LoraConfig, add_adapter, new_model
from ramify.training.objectives import Completions, Labels, Objective, Pairs, PreferenceConfig
from ramify.training.optimizers import optimizers_for
from ramify.training.reader import Reader
from ramify.training.stopping import Stop

STEPS = 6
COMPLETIONS = [completion_example([1, 4 + n % 5], [10 + n % 6, 4 + n % 3], 2) for n in range(9)]
ROWS = [
    TrainingRow(
        name=f"row {n}",
        chosen=chosen,
        rejected=completion_example([1, 4 + n % 5], [9 - n % 4], 2),
        label=bool(n % 2),
        prompt_length=2,
    )
    for n, chosen in enumerate(COMPLETIONS)
]
OBJECTIVES: dict[str, Any] = {
    "sft": lambda: Completions(COMPLETIONS),
    "dpo": lambda: Pairs(ROWS, PreferenceConfig(beta=0.5)),
    "dpo without a reference": lambda: Pairs(ROWS, PreferenceConfig(beta=0.5, reference=False)),
    "sft that keeps": lambda: Keeping(Completions(COMPLETIONS), COMPLETIONS[:4], 2.0),
    "kto": lambda: Labels(ROWS, PreferenceConfig(beta=0.5)),
}


def config(**fields: Any) -> TrainConfig:
    given = {"max_steps": STEPS, "batch_size": 2, "accumulation": 2, "optimizer": "adamw", "learning_rate": 0.01, "log_every": 1}
    return TrainConfig(**{**given, "save_every": 1, "validate_every": 2, "patience": 9, "warmup_steps": 2, **fields})


def model(seed: int = 0) -> Any:
    toy = new_model(vocab_size=20, hidden_size=8, layers=1, heads=2, kv_heads=1, intermediate_size=16, context_window=32)
    return add_adapter(toy, LoraConfig(rank=2, alpha=8.0, dropout=0.3), seed=seed)


class KilledError(Exception):
    pass


def go(objective: Objective, folder: Path, *, kill_at: int | None = None, seed: int = 0, **fields: Any) -> Any:
    """A run; killed while it tells of a step, whose checkpoint is then not written yet."""

    def tell(line: dict[str, Any]) -> None:
        if line["step"] == kill_at and "loss" in line:
            raise KilledError

    trained = model(seed)
    run(Reader(trained), objective, config(**fields), folder, validation={"held": Completions(COMPLETIONS[:3])}, report=tell)
    return trained


def test_asked_to_end_a_run_ends_after_its_step_with_a_checkpoint_and_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    whole = go(OBJECTIVES["dpo"](), tmp_path / "whole", save_every=100)
    stop, begun = Stop(), list[int | None]()

    def tell(line: dict[str, Any]) -> None:
        if line["step"] == 3:
            stop.ask()

    def half(**more: Any) -> Any:
        trained = model()
        run(
            Reader(trained), OBJECTIVES["dpo"](), config(save_every=100), tmp_path / "half",
            validation={"held": Completions(COMPLETIONS[:3])}, begin=begun.append, **more,
        )  # fmt: skip
        return trained

    with pytest.raises(CancelledError, match="cancelled after step 4; the checkpoint is kept"):
        half(report=tell, stop=stop)
    assert [line["step"] for line in read_log(tmp_path / "half") if "loss" in line] == [1, 2, 3, 4]
    resumed = half()
    assert begun == [STEPS, STEPS]
    assert losses(tmp_path / "half") == losses(tmp_path / "whole")
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


def losses(folder: Path) -> list[Any]:
    return [line.get("loss", line.get("validation")) for line in read_log(folder)]


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_killed_at_any_step_and_resumed_a_run_ends_as_the_uninterrupted_one(tmp_path: Path, kind: str) -> None:
    whole = go(OBJECTIVES[kind](), tmp_path / "whole")
    assert len(losses(tmp_path / "whole")) == STEPS + STEPS // 2
    for step in range(1, STEPS + 1):
        folder = tmp_path / f"killed at {step}"
        with pytest.raises(KilledError):
            go(OBJECTIVES[kind](), folder, kill_at=step)
        resumed = go(OBJECTIVES[kind](), folder)
        assert losses(folder) == losses(tmp_path / "whole"), step
        for name, value in whole.state_dict().items():
            assert torch.equal(value, resumed.state_dict()[name]), (step, name)


def test_a_run_that_gets_no_better_ends_early_and_keeps_its_best_weights(tmp_path: Path) -> None:
    trained = model()
    held = {"held": Completions([completion_example([1, 5], [9, 9, 9], 2)])}
    how = config(max_steps=40, learning_rate=0.1, validate_every=1, patience=3)
    progress = run(Reader(trained), Completions(COMPLETIONS), how, tmp_path, validation=held)
    measured = [line["validation"]["held"] for line in read_log(tmp_path) if "validation" in line]
    assert progress.step == len(measured) < 40
    assert min(measured) == measured[-4] == progress.best
    after: dict[str, Any] = {}
    still = config(max_steps=1, learning_rate=1e-9, validate_every=1)
    run(Reader(trained), Completions(COMPLETIONS), still, tmp_path / "again", validation=held, report=after.update)
    assert after["validation"]["held"] == pytest.approx(min(measured), abs=2e-4)


def test_accumulated_passes_weigh_every_token_the_same(tmp_path: Path) -> None:
    rows = [completion_example([1], [4] * size, 2) for size in (1, 9, 2, 5)]
    found = []
    for batch, accumulation in ((4, 1), (2, 2), (1, 4)):
        trained = new_model(vocab_size=20, hidden_size=8, layers=1, heads=2, kv_heads=1, intermediate_size=16)
        how = config(batch_size=batch, accumulation=accumulation, shuffle=False, max_steps=3, patience=None)
        run(Reader(trained), Completions(rows), how, tmp_path / f"{batch}")
        found.append(losses(tmp_path / f"{batch}"))
    assert found[0] == pytest.approx(found[1], abs=1e-5)
    assert found[0] == pytest.approx(found[2], abs=1e-5)


def test_a_pickled_checkpoint_is_refused_before_anything_of_it_is_loaded(tmp_path: Path) -> None:
    class Bad:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bad()))
    (folder / "optimizer.pt").write_bytes(pickle.dumps(Bad()))
    with pytest.raises(UnsafeModelError, match=r"is pickled \(optimizer.pt, pytorch_model.bin\)"):
        go(Completions(COMPLETIONS), tmp_path)
    assert not (tmp_path / "ran").exists()
    assert read_log(tmp_path) == []


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    trained = model()
    run(Reader(trained), Completions(COMPLETIONS), config(max_steps=1), tmp_path, of="these rows")
    with pytest.raises(InputError, match="of a run with another model, other rows or other settings"):
        run(Reader(trained), Completions(COMPLETIONS), config(), tmp_path, of="other rows")
    (tmp_path / "checkpoint" / "model.safetensors").write_bytes(b"\x00" * 40)
    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(tmp_path / "checkpoint", trained, optimizers_for(trained, config()), of="these rows")


def test_tensorboards_files_hold_every_line_of_the_log(tmp_path: Path) -> None:
    go(Completions(COMPLETIONS), tmp_path)
    (file,) = (tmp_path / "tensorboard").iterdir()
    found = [json.loads(json.dumps(event)) for event in events(file.read_bytes())]
    told = [(line["step"], line["loss"]) for line in read_log(tmp_path) if "loss" in line]
    assert [(step, values["train/loss"]) for step, values in found if "train/loss" in values] == [
        (step, pytest.approx(loss, rel=1e-6)) for step, loss in told
    ]
    held = [line["validation"]["held"] for line in read_log(tmp_path) if "validation" in line]
    got = [values["validation/held/loss"] for _, values in found if "validation/held/loss" in values]
    assert got == pytest.approx(held, rel=1e-6)


def events(data: bytes) -> list[tuple[int, dict[str, float]]]:
    """(step, {tag: value}) of each event with values, read as the format's description says; checksums by zlib's cousin below."""
    import struct

    found = []
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        assert struct.unpack_from("<I", data, at + 8)[0] == crc(data[at : at + 8])
        body = data[at + 12 : at + 12 + size]
        assert struct.unpack_from("<I", data, at + 12 + size)[0] == crc(body)
        at += size + 16
        fields = parsed(body)
        if 5 in fields:
            values = [parsed(each) for each in parsed(fields[5][0])[1]]
            found.append((fields[2][0], {value[1][0].decode(): struct.unpack("<f", value[2][0])[0] for value in values}))
    return found


def parsed(data: bytes) -> dict[int, list[Any]]:
    """Fields of a protocol buffer: whole numbers, four or eight bytes, or bytes."""
    found: dict[int, list[Any]] = {}
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = number()
        kind = key & 7
        if kind == 0:
            value: Any = number()
        else:
            size = {1: 8, 5: 4}.get(kind) or number()
            value, at = data[at : at + size], at + size
        found.setdefault(key >> 3, []).append(value)
    return found


def crc(data: bytes) -> int:
    """Bit by bit; b"123456789" gives 0xE3069283 before it is masked."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    value ^= 0xFFFFFFFF
    assert data != b"123456789" or value == 0xE3069283
    return ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
