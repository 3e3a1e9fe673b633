"""A model in training is held to what it, or another one, used to expect."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import models_made_here
from ramify.errors import InputError
from ramify.models.loading import resolve
from ramify.models.weights import load_folder
from ramify.training import distance as distances
from ramify.training import keeping
from ramify.training.batches import pad
from ramify.training.distance import Expected, distance, expectations
from ramify.training.examples import Example, completion_example
from ramify.training.keeping import Keeping, expected_of
from ramify.training.models import new_model
from ramify.training.objectives import Completions
from ramify.training.plans import plan_from
from ramify.training.reader import Reader
from ramify.training.runs import execute, prepare


def kl(before: torch.Tensor, after: torch.Tensor) -> float:
    """Over whole distributions, each place's summed."""
    p, q = before.log_softmax(-1), after.log_softmax(-1)
    return float((p.exp() * (p - q)).sum())


def test_where_all_tokens_but_one_are_kept_the_distance_is_the_whole_kl() -> None:
    before, after = torch.randn(3, 9, generator=torch.Generator().manual_seed(0)), torch.zeros(3, 9)
    expected = expectations(before, None)
    assert expected.token_ids.shape == (3, 8)
    assert float(distance(after, None, expected)) == pytest.approx(kl(before, after), rel=1e-5)
    assert float(distance(before, None, expected)) == pytest.approx(0, abs=1e-6)


def test_with_fewer_tokens_kept_it_is_less_and_its_gradient_still_leads_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "LIKELIEST", 2)
    before = torch.randn(3, 9, generator=torch.Generator().manual_seed(0)) * 2
    after = torch.zeros(3, 9, requires_grad=True)
    expected = expectations(before, None)
    first = distance(after, None, expected)
    assert 0 < float(first) < kl(before, after)
    first.backward()
    assert after.grad is not None
    assert float(distance(after.detach() - 0.1 * after.grad, None, expected)) < float(first)


def test_a_projection_in_chunks_says_what_its_logits_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "rows_at_once", lambda weight: 2)
    generator = torch.Generator().manual_seed(0)
    hidden, weight, bias = (torch.randn(*shape, generator=generator) for shape in ((5, 4), (9, 4), (9,)))
    logits = hidden @ weight.T + bias
    parts, whole = expectations(hidden, weight, bias), expectations(logits, None)
    assert torch.equal(parts.token_ids, whole.token_ids)
    moved = Expected(whole.token_ids, whole.probabilities.flip(0))
    assert float(distance(hidden, weight, moved, bias)) == pytest.approx(float(distance(logits, None, moved)), rel=1e-4)


@pytest.mark.parametrize("name", ["llama", "gemma2"])  # the second gives all its logits: they are capped
def test_a_model_has_not_moved_from_itself(name: str) -> None:
    reader = Reader(load_folder(resolve(models_made_here.folder(name))).eval())
    text = Example((1, 9, 12, 30, 40), (-100, 9, 12, 30, 40))
    [expected] = expected_of(reader, [text])
    with torch.no_grad():
        assert float(reader.distance(pad([text]), expected)) == pytest.approx(0, abs=1e-4)


def moved(weight: float | None) -> tuple[float, float]:
    """The rows' loss and the distance from the model before, after some steps."""
    model = new_model(vocab_size=40, hidden_size=16, layers=1, heads=2, kv_heads=1, intermediate_size=32)
    reader = Reader(model)
    texts = [Example((1, n, n + 1, n + 2), (-100, n, n + 1, n + 2)) for n in range(20, 30)]
    rows = Completions([completion_example([1, 5, n], [n + 1, n + 2], 2) for n in range(6, 10)])
    kept = Keeping(rows, texts, weight or 1.0)
    kept.prepare(reader)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(12):
        loss, told = (kept if weight else rows).measure(reader, [0, 1, 2, 3])
        (loss / told["weight"]).backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        _, told = kept.measure(reader, [0, 1, 2, 3])
    return told["loss"] / told["weight"], told["moved"] / told["weight"]


def test_what_is_kept_moves_less_while_the_rows_are_learned_all_the_same() -> None:
    (loss, free), (kept_loss, held) = moved(None), moved(3.0)
    assert held < free / 3
    assert kept_loss < 3.0 < 3.7  # of ln 40, where it began
    assert loss < kept_loss


def test_every_old_text_is_read_however_few_rows_there_are_and_the_seed_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(new_model(vocab_size=40, hidden_size=16, layers=1, heads=2, kv_heads=1, intermediate_size=32))
    texts = [Example((1, n, n + 1), (-100, n, n + 1)) for n in range(20, 26)]
    kept = Keeping(Completions([completion_example([1, 5, n], [n + 1], 2) for n in (6, 7)]), texts, 1.0)
    kept.prepare(reader)
    read: list[Example] = []
    whole = keeping._batch
    monkeypatch.setattr(keeping, "_batch", lambda texts, reader: read.extend(texts) or whole(texts, reader))

    def step(number: int) -> list[Example]:
        read.clear()
        torch.manual_seed(number)
        kept.measure(reader, [0, 1])
        return list(read)

    steps = [step(number) for number in range(20)]
    assert [len(each) for each in steps] == [2] * 20
    assert {each for one in steps for each in one} == set(texts)
    assert step(7) == steps[7]


def test_a_model_with_another_tokenizer_cannot_be_the_old_self(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAMIFY_HOME", str(tmp_path / "home"))
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
    plan = {"method": "sft", "model": "tiny", "rows": [str(rows)], "out": str(tmp_path / "out")}
    with pytest.raises(InputError, match="have different tokenizers; a model is held to one of its own"):
        prepare(plan_from({**plan, "keep": {"model": str(models_made_here.folder("llama"))}}))
    assert prepare(plan_from({**plan, "keep": {"model": "tiny"}})).plan.keep is not None


@pytest.mark.parametrize("old", [None, pytest.param("tiny", marks=pytest.mark.slow)])
def test_a_packed_run_with_an_adapter_is_held_too_and_tells_how_far_it_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str | None
) -> None:
    monkeypatch.setenv("RAMIFY_HOME", str(tmp_path / "home"))
    rows = tmp_path / "rows.jsonl"
    prompt = "A rather long prompt, which is the same for both of the rows that are here, so that they share it."
    rows.write_text("".join(json.dumps({"prompt": prompt, "completion": each}) + "\n" for each in (" one", " two")))
    lines: list[dict[str, Any]] = []
    plan = {
        "method": "sft", "model": "tiny", "rows": [str(rows)], "out": str(tmp_path / "out"), "lora": {"rank": 2}, "device": "cpu",
        "keep": {"texts": 2, "weight": 2.0, "model": old},
        "train": {"max_steps": 2, "packing": True, "together": True, "checkpointing": True, "learning_rate": 0.01},
    }  # fmt: skip
    execute(plan_from(plan), report=lines.append)
    first, second = (line["moved"] for line in lines if "loss" in line)
    assert first == pytest.approx(0, abs=1e-3)
    assert 0 < second < 1
