"""Rows by the thousand: the same as one by one, on both databases, in one step of the history."""

import pytest

from ramify.store import Database, NewCompletion, TokenLogprob
from ramify.store.bulk_rows import BulkRows, NewSample
from ramify.store.prompts import prompt_columns
from ramify.store.walking import mean_at, prompts_of, texts_of, walk


def sample(text: str, **more: str) -> NewSample:
    return NewSample(columns=prompt_columns([{"role": "user", "content": text}]), **more)


def test_bulk_rows_are_those_that_are_added_one_by_one(db: Database) -> None:
    db.facets.add("f")
    new = NewCompletion(
        text="é 🦔", model="m", finish_reason="imported", truncated=True, details={"a": [1]}, labels={"style": "x"}
    )
    with db.action("bulk") as action:
        bulk = BulkRows(db, action)
        ((sample_id, prompt_id),) = bulk.add_samples([sample("Hi", title="t", group="g/ /h", notes="n")])
        (completion_id,) = bulk.add_completions([(sample_id, prompt_id, new)])
        assert bulk.rate("f", {completion_id: 7}, origin="import") == 1
        assert bulk.rate("f", {completion_id: 3}, origin="import") == 0
    with db.action("one by one"):
        other = db.samples.add([{"role": "user", "content": "Hi"}], title="t", group="g/ /h", notes="n")
        twin = db.completions.add(other.id, new)
    first, second = db.samples.get(sample_id), db.samples.get(other.id)
    assert (first.prompt, first.title, first.group, first.notes) == (second.prompt, second.title, second.group, second.notes)
    mine = db.completions.get(completion_id)
    ids = ("id", "sample_id", "prompt_id", "created_at")
    assert {n: getattr(mine, n) for n in mine.__slots__ if n not in ids} == {
        n: getattr(twin, n) for n in twin.__slots__ if n not in ids
    }
    assert [found.id for found in db.samples.find(first.prompt)] == [sample_id, other.id]
    db.history.undo()
    db.history.undo()
    assert (db.samples.count(), db.judgements.ratings_of(completion_id)) == (0, [])
    db.history.redo()
    assert db.completions.get(completion_id).text == "é 🦔"


def test_what_is_there_is_found_by_the_hash_of_its_prompt(db: Database) -> None:
    old = db.samples.add([{"role": "user", "content": "Hi"}])
    made = db.completions.add(old.id, NewCompletion(text="x", model="m", finish_reason="written"))
    db.completions.add(old.id, NewCompletion(text="draft", draft=True))
    with db.action("look") as action:
        bulk = BulkRows(db, action)
        keys = [str(sample(text).columns["hash"]) for text in ("Hi", "Ho")]
        assert bulk.prompts(keys) == {keys[0]: (old.id, old.prompt_id)}
        (known,) = bulk.completions([old.prompt_id])[old.prompt_id]
        assert (known.id, known.model) == (made.id, "m")


def test_a_preference_of_one_origin_is_kept_once(db: Database) -> None:
    db.facets.add("f")
    old = db.samples.add("Hi")
    a, b = (db.completions.add(old.id, NewCompletion(text=t, finish_reason="written")).id for t in "ab")
    with db.action("prefer") as action:
        bulk = BulkRows(db, action)
        rows = [(old.id, a, b, False), (old.id, a, b, False), (old.id, a, a, False)]
        assert bulk.prefer("f", rows, origin="import") == 1
        assert bulk.prefer("f", rows, origin="import") == 0
    assert [(each.better_id, each.worse_id) for each in db.judgements.preferences()] == [(a, b)]


def test_parents_and_logprobs_are_not_for_bulk(db: Database) -> None:
    old = db.samples.add("Hi")
    made = db.completions.add(old.id, NewCompletion(text="x", finish_reason="written"))
    with db.action("bulk") as action, pytest.raises(ValueError, match="neither a parent nor logprobs"):
        BulkRows(db, action).add_completions(
            [(old.id, old.prompt_id, NewCompletion(text="y", finish_reason="written", parent_id=made.id))]
        )


def test_a_walk_tells_what_counts_under_a_facet_in_either_direction(db: Database) -> None:
    db.facets.add("p")
    db.facets.add("c", parent="p")
    found = []
    for i in range(3):
        each = db.samples.add(f"q{i}")
        new = NewCompletion(text=f"a{i}", model="m", finish_reason="eos", token_ids=(1,))
        made = db.completions.add(each.id, new)
        other = db.completions.add(each.id, NewCompletion(text=f"b{i}", finish_reason="written"))
        db.completions.add(each.id, NewCompletion(text="draft", draft=True))
        db.judgements.rate(made.id, "p", 9)
        db.judgements.prefer(made.id, other.id, "p")
        token = TokenLogprob(token_id=1, token_bytes=b"x", logprob=-1.0 - i, rank=1, entropy=0.0)
        db.logprobs.put(made.id, "m", "", [token])
        found.append((each.id, made.id, other.id))
    db.judgements.rate(found[0][1], "c", 2)
    db.judgements.prefer(found[1][2], found[1][1], "c")
    db.judgements.approve(found[2][1], "c")
    with db.reading() as connection:
        told = list(walk(connection, db, facet="c", scored_by="m"))
        backwards = [each.id for each in walk(connection, db, newest_first=True)]
        assert mean_at(connection, "m", 50) == -2.0
        assert texts_of(connection, [found[0][1]])[found[0][1]].text == "a0"
        assert list(prompts_of(connection, [told[0].candidates[0].prompt_id]).values()) == ["q0"]
    assert backwards == [each[0] for each in reversed(found)]
    assert [[c.rating for c in each.candidates] for each in told] == [[2, None], [9, None], [9, None]]
    assert [[(s.better, s.worse) for s in each.preferences] for each in told] == [
        [found[0][1:]],
        [found[1][:0:-1]],
        [found[2][1:]],
    ]
    assert [[c.approved for c in each.candidates] for each in told] == [[False, False], [False, False], [True, False]]
    assert [each.candidates[0].mean_logprob for each in told] == [-1.0, -2.0, -3.0]
    assert [c.by_hand for c in told[0].candidates] == [False, True]
