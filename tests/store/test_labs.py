"""Runs of the decoding lab: kept with their reports, out of the history's way; what came of their texts is found again."""

import pytest

from ramify.errors import NotFoundError
from ramify.store import Database, NewCompletion
from ramify.store.labs import lab_key

PLAN = {"name": "mine", "prompts": [{"title": "one", "prompt": "a"}], "experiments": [{"title": "greedy", "settings": {}}]}


def test_a_run_is_kept_as_it_goes_and_ends_once(db: Database) -> None:
    run = db.labs.add("mine", PLAN, ["tiny", "other"], asked=5)
    assert (run.name, run.plan, run.models, run.state, run.asked, run.done) == ("mine", PLAN, ("tiny", "other"), "running", 5, 0)
    assert (db.labs.report(run.id), run.ended_at, run.problem) == (None, None, None)
    db.labs.put(run.id, {"groups": ["half ☂"]}, done=2)
    assert (db.labs.report(run.id), db.labs.get(run.id).done, db.labs.get(run.id).state) == ({"groups": ["half ☂"]}, 2, "running")
    db.labs.put(run.id, {"groups": ["whole"]}, done=5, state="completed")
    after = db.labs.get(run.id)
    assert (after.state, after.done, after.ended_at is not None) == ("completed", 5, True)
    assert db.labs.report(run.id) == {"groups": ["whole"]}


def test_runs_come_newest_first_in_pages_and_are_no_part_of_the_history(db: Database) -> None:
    ids = [db.labs.add(f"run {i}", PLAN, ["tiny"], asked=1).id for i in range(5)]
    assert [run.id for run in db.labs.list(limit=2)] == ids[:2:-1]
    assert [run.id for run in db.labs.list(limit=9, before=ids[3])] == ids[2::-1]
    assert db.history.list() == []
    assert not db.history.undo()
    db.labs.delete(ids[4])
    for asked in (db.labs.get, db.labs.report, db.labs.delete):
        with pytest.raises(NotFoundError, match=f"no run {ids[4]}"):
            asked(ids[4])
    # A number is never used twice.
    assert db.labs.add("again", PLAN, ["tiny"], asked=1).id == ids[4] + 1


def test_runs_that_nobody_is_at_work_on_are_ended(db: Database) -> None:
    mine, lost = (db.labs.add("x", PLAN, ["tiny"], asked=3).id for _ in range(2))
    db.labs.put(lost, {"groups": [1]}, done=1)
    assert db.labs.abandon([mine]) == 1
    assert db.labs.abandon([mine]) == 0
    assert [(run.state, run.done) for run in db.labs.list()] == [("failed", 1), ("running", 0)]
    assert "ended before it did" in (db.labs.get(lost).problem or "")
    assert db.labs.report(lost) == {"groups": [1]}


def test_texts_that_became_completions_and_the_votes_between_them_are_found_by_their_run(db: Database) -> None:
    sample = db.samples.add("a prompt")
    for name in ("vivid", "plain"):
        db.facets.add(name)
    made = {}
    for run, place, number in ((1, 0, 0), (1, 0, 3), (1, 1, 2), (11, 0, 0), (2, 0, 0)):
        new = NewCompletion(text=f"{run} {place} {number}", finish_reason="length", bulk=lab_key(run, (place, number)))
        made[run, place, number] = db.completions.add(sample, new).id
    # Neither a run that begins with the same digit nor a bulk generation's word is in the way.
    db.completions.add(sample, NewCompletion(text="x", finish_reason="length", bulk="lab"))
    assert db.labs.kept(1) == {(0, 0): made[1, 0, 0], (0, 3): made[1, 0, 3], (1, 2): made[1, 1, 2]}
    db.judgements.prefer(made[1, 0, 3], made[1, 0, 0], "vivid", origin="lab")
    db.judgements.prefer(made[1, 0, 3], made[1, 1, 2], "vivid", tie=True, origin="lab")
    db.judgements.prefer(made[1, 0, 0], made[1, 1, 2], "vivid", origin="hand")
    db.judgements.prefer(made[1, 0, 0], made[1, 0, 3], "plain", origin="lab")
    db.judgements.prefer(made[11, 0, 0], made[1, 0, 0], "vivid", origin="lab")
    assert list(db.labs.votes(1, "vivid")) == [((0, 3), (0, 0), 1.0), ((0, 3), (1, 2), 0.5)]
    assert list(db.labs.votes(1, "plain")) == [((0, 0), (0, 3), 1.0)]
    db.history.undo()
    db.history.undo()
    assert list(db.labs.votes(1, "plain")) == []
    with pytest.raises(NotFoundError, match="nobody"):
        db.labs.votes(1, "nobody")
