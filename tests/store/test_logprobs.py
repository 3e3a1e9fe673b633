import math

import pytest

from ramify.errors import InputError, NotFoundError
from ramify.store import Database, TokenLogprob
from store.stories import sample_with, sampled, token


def test_any_model_can_score_any_completion_later_with_tokens_of_its_own(db: Database) -> None:
    made = db.completions.add(db.samples.add("Once").id, sampled())
    theirs = [token(4, -0.5, 2, 0.5, [(3, -0.25)]), token(5, -2.0), token(6, -4.0)]
    found = db.logprobs.put(made.id, "judge", "j1", theirs)
    assert (found.tokens, found.start, found.sum_logprob, found.mean_logprob, found.min_logprob) == (
        tuple(theirs),
        0,
        -6.5,
        -6.5 / 3,
        -4.0,
    )
    assert (found.p50_logprob, found.p10_logprob, found.mean_entropy) == (-2.0, -4.0 + 0.2 * 2.0, 2.5 / 3)
    assert [(r.model, [t.token_id for t in r.tokens]) for r in db.logprobs.of(made.id)] == [
        ("tiny", [1, 2, 0]),
        ("judge", [4, 5, 6]),
    ]
    assert db.completions.get(made.id).mean_logprob == made.mean_logprob


def test_scoring_again_replaces_and_undo_brings_the_old_back(db: Database) -> None:
    made = db.completions.add(db.samples.add("Once").id, sampled())
    before = db.logprobs.get(made.id, "tiny")
    db.logprobs.put(made.id, "tiny", "tiny-1", [token(1, -8.0), token(2, -8.0), token(0, -8.0)])
    assert (db.logprobs.get(made.id, "tiny").mean_logprob, db.completions.get(made.id).mean_logprob) == (-8.0, -8.0)
    db.history.undo()
    assert (db.logprobs.get(made.id, "tiny"), db.completions.get(made.id)) == (before, made)


def test_measures_may_begin_at_an_edit(db: Database) -> None:
    made = db.completions.add(db.samples.add("Once").id, sampled(logprobs=False))
    found = db.logprobs.put(made.id, "tiny", "tiny-1", [token(2, -1.0), token(0, -0.5)], start=1)
    assert (found.start, [t.token_id for t in found.tokens]) == (1, [2, 0])
    with pytest.raises(InputError, match="not the completion's own"):
        db.logprobs.put(made.id, "judge", "", [token(5)], start=1)


def test_an_impossible_token_makes_the_whole_impossible(db: Database) -> None:
    _, (made,) = sample_with(db, "x")
    found = db.logprobs.put(made.id, "judge", "", [token(1, -math.inf), token(2, -1.0)])
    assert (found.sum_logprob, found.mean_logprob, found.p10_logprob) == (-math.inf, -math.inf, -math.inf)


def test_alternatives_can_be_dropped_and_chosen_tokens_stay(db: Database) -> None:
    made = db.completions.add(db.samples.add("Once").id, sampled())
    assert [len(t.alternatives) for t in db.logprobs.get(made.id, "tiny").tokens] == [2, 2, 0]
    db.logprobs.drop_alternatives([made.id])
    assert [(t.logprob, t.alternatives) for t in db.logprobs.get(made.id, "tiny").tokens] == [
        (-0.25, ()),
        (-1.5, ()),
        (-0.125, ()),
    ]
    with pytest.raises(NotFoundError, match="no logprobs under x"):
        db.logprobs.get(made.id, "x")
    with pytest.raises(NotFoundError, match="no completion 99"):
        db.logprobs.put(99, "x", "", [])


def spelt(spelling: str, logprob: float, others: tuple[tuple[str, float], ...] = ()) -> TokenLogprob:
    """A token as a remote tells it: without an id, a rank or an entropy."""
    return TokenLogprob(
        token_id=-1,
        token_bytes=spelling.encode(),
        logprob=logprob,
        rank=0,
        entropy=math.nan,
        alternatives=tuple((-1, other.encode(), value) for other, value in others),
    )


def test_tokens_of_a_remote_are_numbered_by_how_they_are_spelt_and_say_what_nobody_told(db: Database) -> None:
    _, (one, two) = sample_with(db, "a b a", "b c")
    first = db.logprobs.put(one.id, "far", "f", [spelt("a", -1.0, (("c", -2.0),)), spelt(" b", -0.5), spelt("a", -0.25)])
    second = db.logprobs.put(two.id, "far", "f", [spelt(" b", -0.5), spelt("c", -4.0)])
    assert [(t.token_id, t.token_bytes, t.rank) for t in first.tokens] == [(0, b"a", 0), (2, b" b", 0), (0, b"a", 0)]
    assert first.tokens[0].alternatives == ((1, b"c", -2.0),)
    assert [t.token_id for t in second.tokens] == [2, 1]
    assert (second.mean_logprob, second.mean_entropy) == (-2.25, None)
    assert all(math.isnan(t.entropy) for t in (*first.tokens, *second.tokens))
    with db.reading() as connection:
        query = "SELECT DISTINCT rank, entropy FROM v_tokens"
        assert [tuple(row) for row in connection.exec_driver_sql(query)] == [(None, None)]


def test_a_text_is_tokenized_once_for_a_model_and_undo_forgets_it(db: Database) -> None:
    _, (made,) = sample_with(db, "Once")
    assert db.tokenizations.of(made.id, "m") is None
    db.tokenizations.keep(made.id, "other", "m", [4, 5])
    db.tokenizations.keep(made.id, "other", "m", [6])
    assert (db.tokenizations.of(made.id, "m"), db.tokenizations.of(made.id, "n")) == ((4, 5), None)
    db.logprobs.put(made.id, "judge", "n", [token(7), token(8)])
    assert db.tokenizations.of(made.id, "n") == (7, 8)
    db.history.undo()
    db.history.undo()
    assert (db.tokenizations.of(made.id, "m"), db.tokenizations.of(made.id, "n")) == (None, None)
    db.history.redo()
    db.completions.delete([made.id])
    assert db.problems() == []
