import pytest

from ramify.errors import InputError, NotFoundError
from ramify.store import Database
from store.stories import sample_with


def test_one_completion_is_preferred_under_one_facet_and_the_other_under_another(db: Database) -> None:
    sample, (a, b) = sample_with(db, "a", "b")
    db.facets.add("legal")
    db.facets.add("brainstorming")
    db.judgements.prefer(a.id, b.id, "legal")
    db.judgements.prefer(b.id, a.id, "brainstorming", origin="beam")
    found = [(p.facet, p.better_id, p.worse_id, p.tie, p.origin) for p in db.judgements.preferences(sample_id=sample.id)]
    assert found == [("legal", a.id, b.id, False, "hand"), ("brainstorming", b.id, a.id, False, "beam")]
    assert db.judgements.report("legal").conflicts == ()
    assert [db.judgements.ranking(sample.id, f).strengths[0].item for f in ("legal", "brainstorming")] == [a.id, b.id]


def test_a_rating_replaces_the_last_and_none_takes_it_back(db: Database) -> None:
    _, (a, b) = sample_with(db, "a", "b")
    db.facets.add("f")
    db.judgements.rate(a.id, "f", 3)
    db.judgements.rate_many([a.id, b.id], "f", 8)
    assert [(r.facet, r.rating, r.origin) for r in db.judgements.ratings_of(a.id)] == [("f", 8, "hand")]
    db.judgements.rate(a.id, "f", None)
    assert (db.judgements.ratings_of(a.id), len(db.judgements.ratings_of(b.id))) == ([], 1)


@pytest.mark.parametrize("rating", [-1, 11, 2.5, True])
def test_a_rating_that_cannot_be_is_refused(db: Database, rating: object) -> None:
    _, (a,) = sample_with(db, "a")
    db.facets.add("f")
    with pytest.raises(InputError, match="from 0 to 10"):
        db.judgements.rate(a.id, "f", rating)  # type: ignore[arg-type]


def test_what_cannot_be_compared_is_refused(db: Database) -> None:
    _, (a,) = sample_with(db, "a")
    _, (b,) = sample_with(db, "b", prompt="other")
    db.facets.add("f")
    with pytest.raises(InputError, match="with itself"):
        db.judgements.prefer(a.id, a.id, "f")
    with pytest.raises(InputError, match="only completions of one sample"):
        db.judgements.prefer(a.id, b.id, "f")
    with pytest.raises(NotFoundError, match="no completion 999"):
        db.judgements.prefer(a.id, 999, "f")
    with pytest.raises(NotFoundError, match="no facet 'g'"):
        db.judgements.rate(a.id, "g", 1)


def test_a_changed_mind_replaces_and_another_origin_conflicts(db: Database) -> None:
    _, (a, b) = sample_with(db, "a", "b")
    db.facets.add("f")
    db.judgements.prefer(a.id, b.id, "f")
    mine = db.judgements.prefer(b.id, a.id, "f")
    other = db.judgements.prefer(a.id, b.id, "f", tie=True, origin="duel")
    report = db.judgements.report("f")
    assert [(c.pair, c.preferences) for c in report.conflicts] == [((a.id, b.id), (mine.id, other.id))]
    db.judgements.withdraw(other.id)
    assert db.judgements.report("f").conflicts == ()


def test_circles_and_disagreement_with_ratings_are_reported(db: Database) -> None:
    _, (a, b, c) = sample_with(db, "a", "b", "c")
    db.facets.add("f")
    db.judgements.prefer(a.id, b.id, "f")
    db.judgements.prefer(b.id, c.id, "f")
    against = db.judgements.prefer(c.id, a.id, "f")
    for completion, rating in ((a, 9), (b, 5), (c, 5)):
        db.judgements.rate(completion.id, "f", rating)
    report = db.judgements.report("f")
    assert report.cycles == ((a.id, b.id, c.id),)
    found = report.agreement
    assert (found.agree, found.disagree, found.undecided, found.against, found.share) == (1, 1, 1, (against.id,), 0.5)


def test_a_facets_own_judgement_counts_before_its_parents(db: Database) -> None:
    sample, (a, b, c) = sample_with(db, "a", "b", "c")
    db.facets.add("parent")
    db.facets.add("child", parent="parent")
    for completion, rating in ((a, 2), (b, 9)):
        db.judgements.rate(completion.id, "parent", rating)
    db.judgements.rate(a.id, "child", 7)
    db.judgements.prefer(b.id, a.id, "parent")
    db.judgements.prefer(b.id, c.id, "parent")
    db.judgements.prefer(a.id, b.id, "child")
    found = db.judgements.effective(sample.id, "child")
    assert {i: (r.rating, r.facet) for i, r in found.ratings.items()} == {a.id: (7, "child"), b.id: (9, "parent")}
    assert [(p.better_id, p.worse_id, p.facet) for p in found.preferences] == [(b.id, c.id, "parent"), (a.id, b.id, "child")]
    assert [s.item for s in db.judgements.ranking(sample.id, "child").strengths] == [a.id, b.id, c.id]
    assert db.judgements.next_pair(sample.id, "child") == (a.id, c.id)
    db.completions.archive([a.id])
    assert set(db.judgements.effective(sample.id, "child").ratings) == {b.id}


def test_one_completion_a_facet_is_approved(db: Database) -> None:
    sample, (a, b, draft) = sample_with(db, "a", "b", "c")
    db.facets.add("f")
    assert db.judgements.approved(sample.id, "f") is None
    db.judgements.approve(a.id, "f")
    db.judgements.approve(b.id, "f")
    assert db.judgements.approved(sample.id, "f") == b.id
    db.judgements.disapprove(sample.id, "f")
    assert db.judgements.approved(sample.id, "f") is None
    db.completions.archive([draft.id])
    with pytest.raises(InputError, match="archived"):
        db.judgements.approve(draft.id, "f")


def test_unanswered_requests_wait_once_and_count(db: Database) -> None:
    db.facets.add("f")
    asked = [{"role": "user", "content": "Why?"}]
    db.unanswered.add("f", "How?")
    first = db.unanswered.add("f", asked)
    again = db.unanswered.add("f", asked)
    assert (again.id, again.asked, again.prompt, again.state) == (first.id, 2, tuple(asked), "waiting")
    sample, _ = sample_with(db, "Because.")
    db.unanswered.answer(first.id, sample.id)
    assert [r.prompt for r in db.unanswered.list("f")] == ["How?"]
    assert db.unanswered.list("f", state="answered")[0].sample_id == sample.id
    db.unanswered.dismiss(db.unanswered.list()[0].id)
    assert db.unanswered.list() == []
