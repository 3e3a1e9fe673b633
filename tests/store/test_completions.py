from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from ramify.errors import InputError, NotFoundError
from ramify.store import Database, NewCompletion, SpanRecord
from ramify.store.records import _OWN
from store.stories import sample_with, sampled, state, token, written


def test_a_completion_comes_back_as_it_was_given(db: Database) -> None:
    sample = db.samples.add("Once")
    parent = db.completions.add(sample.id, written())
    when = datetime(2025, 1, 2, 3, 4, 5, 6, UTC)
    new = sampled(
        "There was a hedgehog",
        generated_start=9,
        spans=[SpanRecord(0, 1, "prefill"), SpanRecord(1, 2, "sampled"), SpanRecord(2, 3, "picked")],
        parent_id=parent.id,
        branch_position=1,
        labels={"style": "plain", "refusal": "no"},
        details={"block": 2},
        beam_score=-0.5,
        created_at=when,
    )
    made = db.completions.add(sample.id, new, tags=["draft", "best"])
    assert db.completions.get(made.id) == made
    for name in (
        "text",
        "model",
        "fingerprint",
        "finish_reason",
        "seed",
        "config",
        "labels",
        "details",
        "parent_id",
        "branch_position",
        "beam_score",
    ):
        assert getattr(made, name) == getattr(new, name), name
    assert (made.token_ids, made.spans, made.processors) == ((1, 2, 0), tuple(new.spans), ("temperature",))
    assert (made.generated_text, made.token_count, made.created_at, made.tags) == (" a hedgehog", 3, when, ("best", "draft"))
    assert (made.mean_logprob, made.min_logprob, made.truncated) == (-0.625, -1.5, False)
    assert db.completions.children(parent.id) == [made]


def test_a_copy_says_all_that_a_completion_says_of_itself(db: Database) -> None:
    sample = db.samples.add("Once")
    parent = db.completions.add(sample.id, written())
    made = db.completions.add(sample.id, sampled("There", parent_id=parent.id, branch_position=1, labels={"style": "plain"}))
    copy = db.completions.add(sample.id, made.anew(model="other"))
    assert replace(made, id=copy.id, model="other", parent_id=None, branch_position=None, **MEASURED) == replace(copy, **MEASURED)
    left_out = {field.name for field in fields(NewCompletion)} - set(_OWN)
    assert left_out == {"parent_id", "branch_position", "draft", "bulk", "logprobs", "spelt"}


MEASURED = {"mean_logprob": None, "min_logprob": None}


@pytest.mark.parametrize(
    ("reason", "truncated"),
    [
        ("eos", False),
        ("stop", True),
        ("length", True),
        ("time", True),
        ("cancelled", True),
        ("error", True),
        ("user", True),
        ("written", False),
        ("imported", False),
    ],
)
def test_a_completion_is_truncated_unless_eos_ended_it_or_a_person_wrote_it(reason: str, truncated: bool) -> None:
    assert NewCompletion(text="x", finish_reason=reason).is_truncated is truncated
    assert NewCompletion(text="x", finish_reason=reason, truncated=not truncated).is_truncated is not truncated


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"finish_reason": "done"}, "finish_reason is 'done'"),
        ({"finish_reason": None}, "only a draft"),
        ({"generated_start": 5}, "within the text's 1 characters"),
        ({"spans": [SpanRecord(0, 2, "typed")]}, "has 1 places"),
        ({"spans": [SpanRecord(0, 1, "found")]}, "origin is 'found'"),  # type: ignore[arg-type]
        ({"logprobs": [token(1)]}, "without token_ids"),
    ],
)
def test_a_completion_that_contradicts_itself_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        NewCompletion(**{"text": "x", "finish_reason": "written", **values})


@pytest.mark.parametrize(
    ("new", "error", "said"),
    [
        (sampled(token_ids=[1, 2], spans=[]), InputError, "3 logprobs were given for 2 tokens"),
        (sampled(token_ids=[1, 2, 3]), InputError, "not the last token ids"),
        (sampled(token_ids=[1, 2, 1 << 24], logprobs=None), InputError, "16777215"),
        (written(model=" "), InputError, "name of its model"),
        (written(labels={"mood": "glad"}), InputError, "no label 'mood'"),
        (written(parent_id=99), NotFoundError, "no completion 99"),
        (written(text="\ud800"), InputError, "surrogate"),
    ],
)
def test_a_completion_that_cannot_be_kept_leaves_nothing(
    db: Database, new: NewCompletion, error: type[Exception], said: str
) -> None:
    sample = db.samples.add("Once")
    before = state(db)
    with pytest.raises(error, match=said):
        db.completions.add(sample.id, new)
    assert state(db) == before
    with pytest.raises(NotFoundError, match="no sample 99"):
        db.completions.add(99, written())


def test_a_parent_is_of_the_same_sample(db: Database) -> None:
    _, (other,) = sample_with(db, "one")
    sample = db.samples.add("Twice")
    with pytest.raises(InputError, match="must be of the same sample"):
        db.completions.add(sample.id, written(parent_id=other.id))


def test_archive_hide_and_delete_are_three_things(db: Database) -> None:
    sample, (plain, archived, hidden, gone) = sample_with(db, "plain", "archived", "hidden", "gone")
    assert (db.completions.archive([archived.id]), db.completions.archive([archived.id])) == (1, 0)
    db.completions.hide([hidden.id])
    db.completions.delete([gone.id])
    assert [c.text for c in db.completions.of(sample.id)] == ["plain"]
    assert [c.text for c in db.completions.of(sample.id, hidden=None)] == ["plain", "hidden"]
    assert [c.text for c in db.completions.of(sample.id, archived=None, hidden=None)] == ["plain", "archived", "hidden"]
    db.facets.add("f")
    assert [s.item for s in db.judgements.ranking(sample.id, "f").strengths] == [plain.id, hidden.id]
    db.completions.archive([archived.id], False)
    assert [c.text for c in db.completions.of(sample.id)] == ["plain", "archived"]


def test_a_draft_grows_and_survives_and_one_undo_takes_it_back(where: str) -> None:
    with Database.open(where) as db:
        sample = db.samples.add("Once")
        empty = state(db)
        draft = db.completions.add(sample.id, NewCompletion(text="", model="tiny", draft=True))
        db.completions.grow(draft.id, NewCompletion(text=" a", model="tiny", draft=True, token_ids=[1], logprobs=[token(1)]))
        with pytest.raises(InputError, match="still growing"):
            db.completions.save(draft.id)
    with Database.open(where) as db:
        assert db.completions.get(draft.id).text == " a"
        db.completions.grow(draft.id, sampled(reason="cancelled", draft=True))
        saved = db.completions.save(draft.id)
        assert (saved.draft, saved.text, saved.truncated, saved.mean_logprob) == (False, " a hedgehog", True, -0.625)
        assert len(db.logprobs.get(draft.id, "tiny").tokens) == 3
        with pytest.raises(InputError, match="is saved"):
            db.completions.grow(draft.id, sampled())
        full = state(db)
        db.history.undo()
        db.history.undo()
        assert state(db)["completions"] == []
        db.history.undo()
        db.history.redo()
        assert state(db) == empty
        db.history.redo()
        db.history.redo()
        assert state(db) == full


def test_labels_are_put_on_and_taken_off(db: Database) -> None:
    _, (one,) = sample_with(db, "one")
    db.completions.label([one.id], style="plain", length="short")
    db.completions.label([one.id], length=None, reasoning="none")
    assert db.completions.get(one.id).labels == {"style": "plain", "reasoning": "none"}


def test_the_same_text_of_a_prompt_is_found(db: Database) -> None:
    sample, (one, _two, again) = sample_with(db, "one", "two", "one")
    sample_with(db, "one", prompt="Twice")
    assert db.completions.same_text(sample.prompt_id, "one") == [one.id, again.id]


def test_many_are_added_as_one_action(db: Database) -> None:
    samples = db.samples.add_many([("a", "", ""), ("b", "", "")])
    empty = state(db)
    ids = db.completions.add_many([(samples[i % 2], sampled(f"t{i}", model=f"m{i % 3}")) for i in range(20)])
    assert [c.text for c in db.completions.get_many(ids)] == [f"t{i}" for i in range(20)]
    assert [c.id for c in db.completions.of(samples[1])] == ids[1::2]
    db.history.undo()
    assert state(db) == empty


def test_children_outlive_their_parent(db: Database) -> None:
    sample, (parent,) = sample_with(db, "parent")
    child = db.completions.add(sample.id, written("child", parent_id=parent.id))
    db.completions.delete([parent.id])
    assert db.completions.get(child.id).parent_id is None
    db.history.undo()
    assert db.completions.get(child.id).parent_id == parent.id
