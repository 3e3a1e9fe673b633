"""What lists show beside records, tokens as columns, versions, and the next duel."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ramify.errors import InputError, NotFoundError, StaleError
from ramify.store import Database, NewCompletion, SpanRecord, TokenLogprob
from ramify.store.duels import Duel, next_duel
from ramify.store.overview import Group, SampleCounts, facet_counts, group_tree, judged, measured, sample_counts, tag_counts
from ramify.store.token_columns import token_columns
from ramify.store.versions import check_version, version_of


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "w.ramify") as opened:
        yield opened


def token(token_id: int, logprob: float, *others: tuple[int, float]) -> TokenLogprob:
    spelt = {1: b"a", 2: b"b", 3: b"c"}
    alternatives = tuple((i, spelt[i], value) for i, value in others)
    return TokenLogprob(
        token_id=token_id, token_bytes=spelt[token_id], logprob=logprob, rank=1, entropy=0.5, alternatives=alternatives
    )


def kept(db: Database, sample_id: int, text: str, **more: object) -> int:
    return db.completions.add(sample_id, NewCompletion(text=text, finish_reason="written", **more)).id  # type: ignore[arg-type]


def test_counts_of_samples_leave_archived_completions_out(db: Database) -> None:
    first, second = db.samples.add("one").id, db.samples.add("two").id
    one, cut = kept(db, first, "x"), kept(db, first, "y", truncated=True)
    db.completions.add(first, NewCompletion(text="", draft=True))
    db.completions.archive([kept(db, first, "z")])
    db.facets.add("tone")
    db.judgements.approve(one, "tone")
    assert sample_counts(db, [first, second]) == {first: SampleCounts(2, 1, 1, ["tone"]), second: SampleCounts()}
    assert cut > 0


def test_groups_count_what_is_below_them(db: Database) -> None:
    for group in ("a/b", "a/b", "a!", "", "a/b/c"):
        db.samples.add("x", group=group)
    db.samples.archive([db.samples.add("x", group="gone").id])
    assert group_tree(db) == [Group("a", 0, 3), Group("a/b", 2, 3), Group("a/b/c", 1, 1), Group("a!", 1, 1)]


def test_ratings_are_counted_by_the_facets_own_thresholds(db: Database) -> None:
    sample = db.samples.add("one").id
    ids = [kept(db, sample, str(i)) for i in range(3)]
    db.facets.add("strict", good_rating=9, bad_rating=8)
    db.facets.add("mild", good_rating=3, bad_rating=1)
    for facet in ("strict", "mild"):
        for completion, rating in zip(ids, (1, 8, 9), strict=True):
            db.judgements.rate(completion, facet, rating)
    db.judgements.prefer(ids[0], ids[1], "mild")
    db.unanswered.add("mild", "who?")
    found = {each.facet: (each.rated, each.good, each.bad, each.preferences, each.waiting) for each in facet_counts(db)}
    assert found == {"mild": (3, 2, 1, 1, 1), "strict": (3, 1, 2, 0, 0)}
    assert judged(db, ids)[ids[2]].ratings == {"mild": 9, "strict": 9}
    db.tags.put(["t"], samples=[sample], completions=ids[:2])
    assert list(tag_counts(db).values()) == [(1, 2)]


def test_tokens_come_as_columns_from_any_place_on(db: Database) -> None:
    sample = db.samples.add("one").id
    new = NewCompletion(
        text="abc",
        model="m",
        fingerprint="f",
        finish_reason="length",
        token_ids=(1, 2, 3),
        spans=[SpanRecord(0, 1, "prefill"), SpanRecord(1, 3, "sampled")],
        logprobs=(token(2, -0.5, (2, -0.5), (3, -1.5)), token(3, -1.0, (1, -0.25))),
    )
    made = db.completions.add(sample, new).id
    whole = token_columns(db, made)
    assert (whole.ids, whole.start, whole.total, whole.own) == ((1, 2, 3), 0, 3, True)
    assert whole.logprobs == [None, -0.5, -1.0]
    assert whole.offsets == [0, 0, 2, 3]
    assert whole.alternative_ids == [2, 3, 1]
    last = token_columns(db, made, "m", start=2, alternatives=1)
    assert (last.ids, last.logprobs, last.offsets, last.alternative_ids) == ((3,), [-1.0], [0, 1], [1])
    assert last.pieces == {1: b"a", 3: b"c"}
    assert token_columns(db, made, start=9).ids == ()
    (summary,) = measured(db, [made])[made]
    assert (summary.model, summary.start, summary.count, summary.sum_logprob) == ("m", 1, 2, -1.5)
    with pytest.raises(NotFoundError, match="no logprobs under other"):
        token_columns(db, made, "other")
    with pytest.raises(InputError, match="nobody knows the tokens"):
        token_columns(db, kept(db, sample, "by hand"))
    with pytest.raises(NotFoundError, match="no completion 99"):
        token_columns(db, 99)


def test_a_version_changes_with_any_field_and_nothing_else(db: Database) -> None:
    sample = db.samples.add("one", title="t")
    assert version_of(sample) == version_of(db.samples.get(sample.id))
    tagged = db.tags.put(["x"], samples=[sample.id])
    assert tagged == 1
    now = db.samples.get(sample.id)
    assert version_of(now) != version_of(sample)
    check_version(now, None, "it")
    check_version(now, version_of(now), "it")
    with pytest.raises(StaleError, match="it was changed"):
        check_version(now, version_of(sample), "it")


def test_a_duel_is_of_the_newest_sample_with_a_pair_open(db: Database) -> None:
    db.facets.add("tone")
    old, new = db.samples.add("old").id, db.samples.add("new").id
    pair = kept(db, old, "a"), kept(db, old, "b")
    assert next_duel(db, "tone", sample_id=new) is None
    assert next_duel(db, "tone") == Duel(old, pair, 0, 1)
    three = [kept(db, new, text) for text in "abc"]
    found = next_duel(db, "tone")
    assert found is not None
    assert (found.sample_id, set(found.pair) <= set(three), found.pairs) == (new, True, 3)
    db.judgements.prefer(*pair, "tone")
    assert next_duel(db, "tone", sample_id=old) is None
    with pytest.raises(NotFoundError):
        next_duel(db, "none")


def test_undo_takes_the_step_that_is_expected_and_no_other(db: Database) -> None:
    db.samples.add("one")
    seen = db.history.list()[0]
    db.samples.add("two")
    with pytest.raises(StaleError, match="add sample"):
        db.history.undo(expected=seen.id)
    assert db.samples.count() == 2
    db.history.undo()
    db.history.undo(expected=seen.id)
    with pytest.raises(StaleError):
        db.history.redo(expected=seen.id + 1)
    assert db.samples.count() == 0
