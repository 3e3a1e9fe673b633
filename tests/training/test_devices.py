"""Two processes that share a run's passes give the losses of one."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch

from ramify.training.config import TrainConfig
from ramify.training.curves import read_log
from ramify.training.examples import completion_example
from ramify.training.loop import run
from ramify.training.models import new_model
from ramify.training.objectives import Completions
from ramify.training.reader import Reader

ROWS = [completion_example([1, 4 + n % 5], [10 + n % 6] * (1 + n % 4), 2) for n in range(12)]


def go(folder: Path, accumulation: int) -> None:
    how = TrainConfig(
        max_steps=4, batch_size=2, accumulation=accumulation, optimizer="adamw", learning_rate=0.01, log_every=1, warmup_steps=0
    )
    model = new_model(vocab_size=20, hidden_size=8, layers=1, heads=2, kv_heads=1, intermediate_size=16)
    run(Reader(model), Completions(ROWS), how, folder)


def one_of_two(rank: int, folder: Path, port: int) -> None:
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}  # fmt: skip
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    go(folder, 1)


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(tmp_path: Path) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    torch.multiprocessing.spawn(one_of_two, args=(tmp_path / "two", port), nprocs=2)  # type: ignore[no-untyped-call]
    go(tmp_path / "one", 2)

    def losses(name: str) -> list[Any]:
        return [line["loss"] for line in read_log(tmp_path / name) if "loss" in line]

    assert len(losses("one")) == 4
    assert losses("two") == pytest.approx(losses("one"), abs=1e-5)
