"""Document 001's training part, step by step: the pair it shows, the mask it implies, the loss by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from ramify.errors import InputError
from ramify.training.batches import pack, pad
from ramify.training.examples import IGNORED, Example
from ramify.training.fitting import fit
from ramify.training.gathering import from_file
from ramify.training.models import new_model
from ramify.training.reader import Reader
from ramify.training.spelling import Spelling

_ = IGNORED
PROMPT = "Write a short, optimistic phrase about the future."
COMPLETION = "The horizon ahead is bright and full of promise."
EOS = 2


@pytest.fixture(scope="module")
def tiny() -> Spelling:
    return Spelling.of("tiny")


def row_of(folder: Path, row: dict[str, Any], tiny: Spelling) -> Example:
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    (found,) = from_file(path, "sft", tiny).rows
    assert found.problems == ()
    return found.chosen


def test_step_1_prompt_and_completion_become_one_sequence_that_ends_in_eos(tmp_path: Path, tiny: Spelling) -> None:
    row = row_of(tmp_path, {"prompt": PROMPT, "completion": COMPLETION}, tiny)
    assert tiny.codec.decode(row.token_ids) == PROMPT + COMPLETION
    assert row.token_ids[-1] == EOS
    assert row.token_ids[0] == 1
    assert tuple(row.token_ids).count(EOS) == 1


def test_step_2_the_sequence_must_fit_into_the_context_window(tmp_path: Path, tiny: Spelling) -> None:
    row_of(tmp_path, {"prompt": PROMPT, "completion": COMPLETION}, tiny)
    found = from_file(tmp_path / "rows.jsonl", "sft", tiny)
    size = len(found.rows[0].chosen.token_ids)
    assert fit(found, size).rows == found.rows
    with pytest.raises(InputError, match=rf"rows.jsonl, line 1: it has {size} tokens, the window holds {size - 1}"):
        fit(found, size - 1)


def test_step_3_the_mask_keeps_the_completion_alone(tmp_path: Path, tiny: Spelling) -> None:
    row = row_of(tmp_path, {"prompt": PROMPT, "completion": COMPLETION}, tiny)
    words = [tiny.codec.token_text(token_id) for token_id in row.token_ids]
    kept = [word for word, label in zip(words, row.labels, strict=True) if label != _]
    assert "".join(kept) == COMPLETION + "<|im_end|>"
    assert "".join(words[: len(words) - len(kept)]) == "<s>" + PROMPT
    assert row.labels == (*[_] * (len(words) - len(kept)), *row.token_ids[len(words) - len(kept) :])


def test_step_3_the_loss_is_the_cross_entropy_of_the_completion_tokens_computed_by_hand() -> None:
    # Document 001's numbers as ids of a toy vocabulary: four of a prompt, three of a completion, 2 as EOS.
    row = Example((15, 4, 21, 7, 11, 13, 16, 2), (_, _, _, _, 11, 13, 16, 2))
    model = new_model(vocab_size=24, hidden_size=8, layers=1, heads=2, kv_heads=1, intermediate_size=16)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([row.token_ids])).logits[0].double()
        total, count = Reader(model).loss(pad([row]))
    by_hand = 0.0
    for place, token in ((3, 11), (4, 13), (5, 16), (6, 2)):  # each position predicts the token after it
        exponentials = [math.exp(value) for value in logits[place].tolist()]
        by_hand -= math.log(exponentials[token] / sum(exponentials))
    assert count == 4
    assert float(total) == pytest.approx(by_hand, rel=1e-5)


def test_causal_masking_a_later_token_changes_no_earlier_loss() -> None:
    model = new_model(vocab_size=24, hidden_size=8, layers=1, heads=2, kv_heads=1, intermediate_size=16)
    rows = [Example((15, 4, 21, 7, last), (_, _, 21, 7, _)) for last in (11, 13)]
    with torch.no_grad():
        first, second = (float(Reader(model).loss(pad([row]))[0]) for row in rows)
    assert first == second


# ---------------------------------------------------------------- the mask written by hand for every other kind of row


def test_several_turns_learn_the_last_or_all_answers(tmp_path: Path, tiny: Spelling) -> None:
    from ramify.training.gathering import Learning

    t, nl = tiny.text, tiny.text("\n")
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"},
             {"role": "assistant", "content": "d"}]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    user_a = (1, 3, *t("user\na"), 2, *nl, 3, *t("assistant\n"))
    user_c = (*nl, 3, *t("user\nc"), 2, *nl, 3, *t("assistant\n"))
    b, d = (*t("b"), 2), (*t("d"), 2)
    masks = {
        "last": (*[_] * len(user_a), *[_] * len(b), *[_] * len(user_c), *d),
        "all": (*[_] * len(user_a), *b, *[_] * len(user_c), *d),
    }
    for which, labels in masks.items():
        (row,) = from_file(tmp_path / "rows.jsonl", "sft", tiny, Learning(turns=which)).rows  # type: ignore[arg-type]
        assert row.chosen == Example((*user_a, *b, *user_c, *d), labels)


def test_a_truncated_completion_learns_no_eos(tmp_path: Path, tiny: Spelling) -> None:
    row = row_of(tmp_path, {"prompt_token_ids": [1, 50], "completion_token_ids": [60, 61], "ended": False}, tiny)
    assert row == Example((1, 50, 60, 61), (_, _, 60, 61))


def test_packed_rows_learn_nothing_across_their_borders() -> None:
    made = pack([Example((1, 5, 6, 7, 2), (_, _, _, 7, 2)), Example((1, 8, 9), (_, 8, 9))])
    assert made.token_ids.tolist() == [[1, 5, 6, 7, 2, 1, 8, 9]]
    assert made.labels.tolist() == [[_, _, _, 7, 2, _, 8, 9]]
    assert made.position_ids.tolist() == [[0, 1, 2, 3, 4, 0, 1, 2]]
