"""Rows from a workspace with their stored ids, from files, and what becomes of those that cannot be trained on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ramify.errors import InputError, RecordError
from ramify.exchange.templates import ExportTemplate, FacetShare
from ramify.store import Database
from ramify.store.records import NewCompletion, SpanRecord
from ramify.training.examples import IGNORED, Example
from ramify.training.fitting import fit
from ramify.training.gathering import Gathered, Learning, TrainingRow, from_file, from_workspace
from ramify.training.spelling import Spelling
from ramify.training.viewing import view

_ = IGNORED
EOS, START = 2, 3


@pytest.fixture(scope="module")
def tiny() -> Spelling:
    return Spelling.of("tiny")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "w.ramify") as opened:
        opened.facets.add("kind")
        yield opened


def sft(**fields: Any) -> ExportTemplate:
    return ExportTemplate(kind="sft", facets=(FacetShare(name="kind"),) if not fields.pop("all", False) else (), **fields)


def kept(db: Database, spelling: Spelling, text: str, *, prompt: Any = "Say hi", rating: int | None = 9, **fields: Any) -> int:
    """A sample with a completion of this text, its ids as the model would have sampled them, rated."""
    sample = db.samples.add(prompt)
    ids = fields.pop("token_ids", (*spelling.text(text), EOS))
    given = {"model": "tiny", "fingerprint": "f", "finish_reason": "eos", **fields}
    new = NewCompletion(text=text, token_ids=ids, **given)
    made = db.completions.add(sample, new)
    if rating is not None:
        db.judgements.rate(made, "kind", rating)
    return made.id


def only(found: Gathered) -> TrainingRow:
    (row,) = found.rows
    return row


# ---------------------------------------------------------------- stored ids


def test_a_completion_keeps_the_ids_it_was_sampled_with(db: Database, tiny: Spelling) -> None:
    letters = tuple(tiny.text(letter)[0] for letter in "hello")
    assert letters != tiny.text("hello")  # the tokenizer would spell it shorter
    kept(db, tiny, "hello", token_ids=(*letters, EOS))
    row = only(from_workspace(db, sft(), tiny))
    prompt = tiny.prompt("Say hi")
    assert row.problems == ()
    assert row.chosen == Example((*prompt, *letters, EOS), (*[_] * len(prompt), *letters, EOS))
    assert row.source == {"sample": 1, "prompt": 1, "completion": 1, "facet": "kind"}


def test_a_text_without_ids_is_spelt_once_and_ends_with_eos(db: Database, tiny: Spelling) -> None:
    made = kept(db, tiny, "hello there", token_ids=None, finish_reason="written", model="manual")
    row = only(from_workspace(db, sft(), tiny))
    ids = tiny.text("hello there")
    assert row.chosen.token_ids[row.prompt_length :] == (*ids, EOS)
    assert db.tokenizations.of(made, tiny.fingerprint) == ids


def test_truncated_ones_stay_out_and_learn_no_eos_when_asked_for(db: Database, tiny: Spelling) -> None:
    ids = tiny.text("hello there")
    kept(db, tiny, "hello there", token_ids=ids, finish_reason="length")
    with pytest.raises(InputError, match="1: truncated"):
        from_workspace(db, sft(), tiny)
    row = only(from_workspace(db, sft(truncated=True), tiny))
    assert row.chosen.token_ids[row.prompt_length :] == ids
    assert row.chosen.labels[row.prompt_length :] == ids


def test_a_prefill_is_learned_unless_it_is_masked(db: Database, tiny: Spelling) -> None:
    begun, rest = tiny.text("Once upon"), tiny.text(" a time")
    spans = [SpanRecord(0, len(begun), "prefill"), SpanRecord(len(begun), len(begun) + len(rest) + 1, "sampled")]
    kept(db, tiny, "Once upon a time", token_ids=(*begun, *rest, EOS), spans=spans, generated_start=len("Once upon"))
    at = len(tiny.prompt("Say hi"))
    assert only(from_workspace(db, sft(), tiny)).chosen.labels[at:] == (*begun, *rest, EOS)
    masked = only(from_workspace(db, sft(), tiny, Learning(prefill=False)))
    assert masked.chosen.labels[at:] == (*[_] * len(begun), *rest, EOS)


def test_a_prefill_of_a_text_without_ids_is_masked_by_its_characters(db: Database, tiny: Spelling) -> None:
    kept(db, tiny, "Once upon a time", token_ids=None, finish_reason="eos", generated_start=len("Once upon"))
    row = only(from_workspace(db, sft(), tiny, Learning(prefill=False)))
    labels = row.chosen.labels[row.prompt_length :]
    masked = [tiny.codec.token_text(i) for i, label in zip(tiny.text("Once upon a time"), labels, strict=False) if label == _]
    assert "".join(masked) == "Once upon"


def test_messages_are_spelt_as_generation_spells_them_and_earlier_turns_are_learned_when_asked(
    db: Database, tiny: Spelling
) -> None:
    turns = [("user", "Say hi"), ("assistant", "Hi!"), ("user", "again")]
    prompt = [{"role": role, "content": content} for role, content in turns]
    kept(db, tiny, "Hi hi!", prompt=prompt)
    text, newline = tiny.text, tiny.text("\n")
    before = (1, START, *text("user\nSay hi"), EOS, *newline, START, *text("assistant\n"))
    hi, after = (*text("Hi!"), EOS), (*newline, START, *text("user\nagain"), EOS, *newline, START, *text("assistant\n"))
    last = (*text("Hi hi!"), EOS)
    whole = (*before, *hi, *after, *last)
    row = only(from_workspace(db, sft(), tiny))
    assert row.chosen == Example(whole, (*[_] * (len(whole) - len(last)), *last))
    every = only(from_workspace(db, sft(), tiny, Learning(turns="all")))
    assert every.chosen == Example(whole, (*[_] * len(before), *hi, *[_] * len(after), *last))


def test_of_several_eos_ids_the_sampled_one_is_learned_and_a_written_answer_gets_the_templates(tmp_path: Path) -> None:
    import models_made_here

    spelling = Spelling.of(str(models_made_here.folder("qwen2")))
    first, second = spelling.codec.eos_token_ids
    ending = spelling.codec.added_tokens["<|im_end|>"]
    with Database.open(tmp_path / "w.ramify") as db:
        for end in (first, second):
            sample = db.samples.add(f"Say {end}")
            ids = (*spelling.text("hi"), end)
            db.completions.add(sample, NewCompletion(text="hi", model="q", fingerprint="f", token_ids=ids, finish_reason="eos"))
        sample = db.samples.add([{"role": "user", "content": "Say hi"}])
        db.completions.add(sample, NewCompletion(text="hi", finish_reason="written"))
        raw = from_workspace(db, sft(all=True, prompts="raw"), spelling)
        chat = from_workspace(db, sft(all=True, prompts="messages"), spelling)
    assert [row.chosen.labels[-1] for row in raw.rows] == [first, second]
    assert only(chat).chosen.labels[-1] == ending


def test_pairs_and_labels_come_from_the_judgements(db: Database, tiny: Spelling) -> None:
    sample = db.samples.add("Say hi")
    good, bad = (
        db.completions.add(
            sample,
            NewCompletion(text=t, model="tiny", fingerprint="f", token_ids=(*tiny.text(t), EOS), finish_reason="eos"),
        )
        for t in ("hi", "no")
    )
    db.judgements.prefer(good, bad, "kind")
    pair = only(from_workspace(db, ExportTemplate(kind="dpo", facets=(FacetShare(name="kind"),)), tiny))
    assert pair.rejected is not None
    assert pair.chosen.token_ids[pair.prompt_length :] == (*tiny.text("hi"), EOS)
    assert pair.rejected.token_ids[pair.prompt_length :] == (*tiny.text("no"), EOS)
    assert pair.name == f"sample {sample.id}, completion {good.id} over {bad.id}"
    labels = from_workspace(db, ExportTemplate(kind="kto", facets=(FacetShare(name="kind"),)), tiny)
    assert [(row.source["completion"], row.label) for row in labels.rows] == [(good.id, True), (bad.id, False)]


def test_no_prompt_is_in_training_and_validation(db: Database, tiny: Spelling) -> None:
    for number in range(10):
        kept(db, tiny, "hi", prompt=f"Say hi {number}")
    found = from_workspace(db, sft(validation=0.2), tiny)
    assert (len(found.training), len(found.validation)) == (8, 2)


# ---------------------------------------------------------------- what cannot be trained on


def test_ids_of_another_tokenizer_are_refused_unless_the_text_is_spelt_anew(db: Database, tiny: Spelling) -> None:
    made = kept(db, tiny, "hello", token_ids=(77, 88, 99), model="other")
    found = from_workspace(db, sft(), tiny)
    with pytest.raises(InputError, match=f"completion {made} has ids of other, which tiny spells otherwise; two tokenizers"):
        fit(found, 512)
    again = only(from_workspace(db, sft(), tiny, Learning(retokenize=True)))
    assert again.chosen.token_ids[again.prompt_length :] == (*tiny.text("hello"), EOS)


def test_every_bad_row_is_told_at_once_and_may_be_left_out(tmp_path: Path, tiny: Spelling) -> None:
    rows = [
        {"prompt_token_ids": [1, 50], "completion_token_ids": [60, 61]},
        {"prompt_token_ids": [1, 50], "completion_token_ids": [9999]},
        {"prompt_token_ids": [1, 50], "completion_token_ids": []},
        {"prompt_token_ids": [1, 1, 50], "completion_token_ids": [60]},
        {"prompt_token_ids": [1] + [50] * 20, "completion_token_ids": [60]},
    ]
    path = written(tmp_path, rows)
    found = from_file(path, "sft", tiny)
    with pytest.raises(InputError) as caught:
        fit(found, 16)
    assert str(caught.value).startswith(
        "4 of 5 rows cannot be trained on: rows.jsonl, line 2: token id 9999 is outside the vocabulary of 4096; "
        "rows.jsonl, line 3: its completion is empty; "
        "rows.jsonl, line 4: its prompt begins with two BOS tokens; take one out of the text; "
        "rows.jsonl, line 5: it has 23 tokens, the window holds 16."
    )
    left = fit(found, 16, unusable="leave-out")
    assert [row.name for row in left.rows] == ["rows.jsonl, line 1"]
    assert left.chosen == [
        "4 rows were left out: rows.jsonl, line 2: token id 9999 is outside the vocabulary of 4096; rows.jsonl, line 3: its "
        "completion is empty; rows.jsonl, line 4: its prompt begins with two BOS tokens; take one out of the text; rows.jsonl, "
        "line 5: it has 23 tokens, the window holds 16"
    ]


def written(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_row_over_the_window_is_cut_where_it_was_chosen(tmp_path: Path, tiny: Spelling) -> None:
    found = from_file(
        written(tmp_path, [{"prompt_token_ids": [1, 50, 51, 52, 53], "completion_token_ids": [60, 61]}]), "sft", tiny
    )
    whole = only(found).chosen
    assert whole == Example((1, 50, 51, 52, 53, 60, 61, EOS), (_, _, _, _, _, 60, 61, EOS))
    front = fit(found, 6, overlong="cut-prompt")
    assert only(front).chosen == Example((1, 52, 53, 60, 61, EOS), (_, _, _, 60, 61, EOS))
    assert front.chosen == ["1 rows over the window of 6 were cut (cut-prompt): rows.jsonl, line 1 (8 tokens)"]
    back = fit(found, 6, overlong="cut-completion")
    assert only(back).chosen == Example((1, 50, 51, 52, 53, 60), (_, _, _, _, _, 60))
    with pytest.raises(InputError, match="no row is left"):
        fit(found, 6, overlong="leave-out")
    with pytest.raises(InputError, match="it has 8 tokens, the window holds 4"):
        fit(found, 4, overlong="cut-completion")  # the prompt alone fills it
    with pytest.raises(InputError, match="overlong is 'trim'; it must be one of refuse"):
        fit(found, 6, overlong="trim")  # type: ignore[arg-type]


def test_rows_of_ids_of_two_tokenizers_are_refused(tmp_path: Path, tiny: Spelling) -> None:
    row = {"prompt_token_ids": [1], "completion_token_ids": [60], "tokenizer": tiny.codec.fingerprint()}
    assert only(from_file(written(tmp_path, [row]), "sft", tiny)).problems == ()
    with pytest.raises(RecordError, match="line 2: its ids are of the tokenizer 'b', others are not"):
        from_file(written(tmp_path, [row, {**row, "tokenizer": "b"}]), "sft", tiny)
    with pytest.raises(InputError, match="are of the tokenizer 'b'"):
        from_file(written(tmp_path, [{**row, "tokenizer": "b"}]), "sft", tiny)


# ---------------------------------------------------------------- files


def test_an_exported_file_gives_the_rows_that_the_workspace_gives(db: Database, tiny: Spelling, tmp_path: Path) -> None:
    from ramify.exchange.exporting import export

    kept(db, tiny, "hello there", prompt=[{"role": "user", "content": "Say hi"}])
    kept(db, tiny, "good day", prompt=[{"role": "user", "content": "Say it better"}])
    for form in ("trl", "sharegpt", "openai", "alpaca"):
        export(db, sft(form=form), tmp_path / f"{form}.jsonl")
        mine, theirs = from_workspace(db, sft(), tiny), from_file(tmp_path / f"{form}.jsonl", "sft", tiny)
        assert [row.chosen for row in theirs.rows] == [row.chosen for row in mine.rows], form


def test_conversations_may_stand_beside_texts_in_one_file(tmp_path: Path, tiny: Spelling) -> None:
    turns = [{"role": "user", "content": "Say hi"}, {"role": "assistant", "content": "hi"}]
    found = from_file(written(tmp_path, [{"messages": turns}, {"text": "Once upon a time"}]), "sft", tiny)
    assert [row.chosen.learned for row in found.rows] == [len(tiny.text("hi")) + 1, len(tiny.text("Once upon a time")) + 1]
    assert found.rows[1].chosen.token_ids[0] == tiny.codec.bos_token_id


def test_a_file_without_rows_of_the_kind_says_what_a_row_has(tmp_path: Path, tiny: Spelling) -> None:
    path = written(tmp_path, [{"prompt": "a", "completion": "b"}])
    with pytest.raises(InputError, match="has no rows for dpo; a row has a prompt, chosen and rejected"):
        from_file(path, "dpo", tiny)


# ---------------------------------------------------------------- the trainer's view


def test_the_view_counts_what_is_learned_and_names_what_is_not(db: Database, tiny: Spelling) -> None:
    kept(db, tiny, "hello", prompt="Say hi")
    kept(db, tiny, "hello there", prompt="Say hi again", token_ids=tiny.text("hello there"), finish_reason="length")
    kept(db, tiny, "hi", prompt="word " * 30)
    kept(db, tiny, "unrated", prompt="Say", rating=None)
    seen = view(from_workspace(db, sft(truncated=True), tiny), tiny, 20)
    assert (seen.rows, seen.without_eos, seen.passes) == (3, 1, False)
    assert seen.learned == sum(len(tiny.text(text)) for text in ("hello", "hello there", "hi")) + 2
    assert seen.problems == {"over the window": 1}
    assert seen.stayed == {"not rated": 1}
    (bad,) = seen.bad
    assert (bad.number, bad.name) == (3, "sample 3, completion 3")
    assert "".join(bad.sides[0].texts).endswith("hi<|im_end|>")
    assert (bad.sides[0].eos, bad.sides[0].eos_id) == (True, EOS)
    assert view(from_workspace(db, sft(), tiny), tiny, 512).passes
